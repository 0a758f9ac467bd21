/* Which members of the tree are saved, and by what name; what refers to another is written by hand (policy_save.c). */
#ifndef GATEHOUSE_POLICY_ROWS_H
#define GATEHOUSE_POLICY_ROWS_H

#include "policy_private.h"

static const struct saved_field tree_rows[] = {
	SAVED_MEMBER(struct tree, now),
	SAVED_MEMBER(struct tree, last_instance),
};

static const struct saved_field flags_rows[] = {
	SAVED_ENUM(struct supervisor_flags, strategy, STRATEGY_MAX),
	SAVED_SIGNED(struct supervisor_flags, intensity),
	SAVED_SIGNED(struct supervisor_flags, period_s),
	SAVED_ENUM(struct supervisor_flags, auto_shutdown, AUTO_SHUTDOWN_MAX),
	SAVED_MEMBER(struct supervisor_flags, overlap_starts),
};

static const struct saved_field spec_rows[] = {
	SAVED_ENUM(struct child_spec, restart, RESTART_MAX),
	SAVED_ENUM(struct child_spec, type, CHILD_MAX),
	SAVED_ENUM(struct child_spec, significant, 2),
	SAVED_SIGNED(struct child_spec, start_timeout_ms),
	SAVED_SIGNED(struct child_spec, backoff_min_ms),
	SAVED_SIGNED(struct child_spec, backoff_max_ms),
};

static const struct saved_field shutdown_rows[] = {
	SAVED_ENUM(struct shutdown_rule, kind, SHUTDOWN_MAX),
	SAVED_SIGNED(struct shutdown_rule, ms),
};

static const struct saved_field sup_rows[] = {
	SAVED_MEMBER(struct sup, instance),
	SAVED_MEMBER(struct sup, stop_wanted),
	SAVED_MEMBER(struct sup, killed),
	SAVED_MEMBER(struct sup, started),
	SAVED_MEMBER(struct sup, gave_up),
	SAVED_MEMBER(struct sup, start_failed),
	SAVED_TEXT(struct sup, end_reason),
};

static const struct saved_field op_rows[] = {
	SAVED_ENUM(struct op, kind, OP_MAX),
	SAVED_MEMBER(struct op, discard),
	SAVED_ENUM(struct op, outcome, OUTCOME_GONE + 1),
	SAVED_MEMBER(struct op, asked),
	SAVED_MEMBER(struct op, request),
};

static const struct saved_field child_rows[] = {
	SAVED_ENUM(struct child, state, CHILD_RESTARTING + 1),
	SAVED_MEMBER(struct child, instance),
	SAVED_MEMBER(struct child, former),
	SAVED_MEMBER(struct child, failures),
	SAVED_MEMBER(struct child, signalled),
	SAVED_MEMBER(struct child, brutal),
	SAVED_MEMBER(struct child, timed_out),
	SAVED_MEMBER(struct child, overlapped),
	SAVED_MEMBER(struct child, request),
	SAVED_MEMBER(struct child, extra),
};

static const struct saved_field exit_rows[] = {
	SAVED_MEMBER(struct exit_status, signalled),
	SAVED_SIGNED(struct exit_status, code),
	SAVED_TEXT(struct exit_status, reason),
};

static const struct saved_field request_rows[] = {
	SAVED_ENUM(struct request, kind, REQUEST_MAX),
	SAVED_MEMBER(struct request, number),
	SAVED_MEMBER(struct request, instance),
};

static const struct saved_field timer_rows[] = {
	SAVED_ENUM(struct heap_timer, kind, TIMER_OF_SUP + 1),
	SAVED_MEMBER(struct heap_timer, at),
};

#endif
