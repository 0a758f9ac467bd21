/*
 * The supervision policy of the root: a tree of logical supervisors as a pure function
 * (state, event, clock) -> actions (SUPERVISION.md A-L, Q1, Q2). Nothing here forks, signals, reads
 * a clock or logs.
 *
 * How the runtime uses it: it calls an event or request function, then takes actions with
 * tree_next_action until there are none, then arms one timer for tree_next_deadline and calls
 * tree_tick when it fires. Events may also be posted between two tree_next_action calls (a fork
 * that fails while the actions are being carried out).
 *
 * Names: a child is known by an instance, a number that is given when its start is asked for and
 * never used again. A logical supervisor has one too (TREE_ROOT for the root; a new one after each
 * restart). Workers are the runtime's processes; logical supervisors never show up in START, SIGNAL
 * or KILL.
 *
 * now is milliseconds of a monotonic clock; a value smaller than an earlier one is taken as the
 * earlier one.
 */
#ifndef GATEHOUSE_POLICY_H
#define GATEHOUSE_POLICY_H

#include "err.h"
#include "exit_status.h"
#include "saved.h"
#include "spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_ROOT UINT64_C(1)    /* instance of the root supervisor */
#define TREE_REQUESTS_MAX 16384u /* unserved requests of one supervisor */
#define TREE_NO_DEADLINE UINT64_MAX

struct tree;

enum request_result {
#define RESULT(name, word) RESULT_##name,
#include "results.def"
#undef RESULT
	RESULT_MAX,
};

enum report_context {
#define REPORT(name, word, level) REPORT_##name,
#include "reports.def"
#undef REPORT
	REPORT_MAX,
};

const char *request_result_name(enum request_result result);
const char *report_context_name(enum report_context context);
int report_context_level(enum report_context context); /* LOG_ERROR or LOG_INFO of log.h */

enum action_kind {
	ACTION_START,   /* make a process for instance: start (and args) say which */
	ACTION_SIGNAL,  /* send SIGTERM; may come before the child was ready */
	ACTION_KILL,    /* SIGKILL to the child and its cgroup; its exit must still be posted */
	ACTION_REPORT,  /* a record for the log: context, reason, exit_class */
	ACTION_REPLY,   /* the answer to request: result, instance, extra, reason */
	ACTION_READY,   /* all of the tree is started (B2) */
	ACTION_GAVE_UP, /* the root ended by itself, all children are gone (G4); reason says why */
	ACTION_STOPPED, /* the root ended because of tree_stop, all children are gone */
	ACTION_MAX,
};

struct action {
	enum action_kind kind;
	uint64_t instance;   /* of the child concerned; 0 if there is none */
	uint64_t supervisor; /* instance of its supervisor */
	void *start; /* START, REPORT: the spec's cookie. Valid until the next tree_next_action. */
	void *args;  /* START, REPORT: what tree_start_dynamic gave. Valid as start. */
	enum report_context context;
	enum request_result result;
	enum exit_class exit_class;
	uint64_t request;
	uint64_t extra;                      /* REPLY: what tree_child_ready gave (B8) */
	char supervisor_id[SPEC_ID_MAX + 1]; /* "root" for the root */
	char child_id[SPEC_ID_MAX + 1];
	char reason[SPEC_ID_MAX + EXIT_REASON_MAX + 64];
};

/*
 * A tree of what spec declares (all copied), nothing started. release, which may be NULL, is called
 * with ctx and a cookie (child_spec.start, args of tree_start_dynamic) when the tree no longer
 * needs it; it must not call the tree. -ERR_INVALID_ARGUMENT with the verdict's word in err,
 * -ERR_NO_MEMORY: no cookie was taken.
 */
int tree_new(const struct supervisor_spec *spec, spec_release_fn *release, void *ctx,
	struct tree **ret_tree, struct err *err);
/* Releases all cookies. No action is made: a runtime that wants its children gone stops the tree
 * first. */
void tree_free(struct tree *tree);

/* The runtime's cookies, as values of an object of their own. */
struct tree_cookies {
	void (*save)(struct saved_writer *writer, const void *cookie);
	/* ctx: as for release. NULL: memory is out, or the values make no sense (then err says so) */
	void *(*load)(void *ctx, struct span object, struct err *err);
};

/*
 * All that the tree knows, for the program that takes this one's place: children, windows, timers, requests, operations
 * that are under way. -ERR_BUSY while there are actions to take. What the writer's buffer has no room for shows there.
 */
int tree_save(struct tree *tree, const struct tree_cookies *cookies, struct saved_writer *writer);
/*
 * The tree that was saved as these values; it goes on as the first would have. release and ctx as for tree_new.
 * -ERR_PROTOCOL: they are no tree that this program knows; -ERR_NO_MEMORY.
 */
int tree_load(struct span saved, const struct tree_cookies *cookies, spec_release_fn *release, void *ctx,
	struct tree **ret_tree, struct err *err);

/* Begin to start the root's children. Once. */
void tree_start(struct tree *tree, uint64_t now);
/* Stop all, as the parent of the root would (H). Obeyed at once, also in a restart loop or amid a
 * start (E7). */
void tree_stop(struct tree *tree, uint64_t now);

/*
 * What happened to a child. -ERR_NOT_FOUND: not one of ours, or no longer; nothing changed (J13).
 * After ready: exited only. Before: one of start_failed (no process is left or ever was), ignored,
 * exited (code 81 is ignore, all else a failed start). After SIGNAL or KILL whichever comes ends
 * it.
 */
int tree_child_ready(struct tree *tree, uint64_t now, uint64_t instance, uint64_t extra);
int tree_child_ignored(struct tree *tree, uint64_t now, uint64_t instance);
int tree_child_start_failed(struct tree *tree, uint64_t now, uint64_t instance, const char *reason);
int tree_child_exited(
	struct tree *tree, uint64_t now, uint64_t instance, const struct exit_status *status);

/* Time has passed. */
void tree_tick(struct tree *tree, uint64_t now);
/* When tree_tick is wanted, ms; TREE_NO_DEADLINE if never. Valid when all actions were taken. */
uint64_t tree_next_deadline(const struct tree *tree);

/* The next thing to do, in order; false when there is nothing until the next event. */
bool tree_next_action(struct tree *tree, struct action *ret_action);

/*
 * Requests to a supervisor, named by its instance. Each is queued, served in order (J11) and
 * answered by one REPLY with the caller's request number. An error means that no REPLY comes and
 * that nothing was taken over: -ERR_NOT_FOUND no such supervisor, or it is ending (J12);
 * -ERR_TOO_MANY its queue is full; -ERR_NO_MEMORY; -ERR_INVALID_ARGUMENT the spec is refused, err
 * says why (A).
 */
int tree_start_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const struct child_spec *spec, struct err *err);
/* simple_one_for_one: one more of the template. args goes to START and is released when no longer
 * needed (K4). */
int tree_start_dynamic(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	void *args, struct err *err);
int tree_terminate_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err);
/* simple_one_for_one only (J10, K3). */
int tree_terminate_instance(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	uint64_t instance, struct err *err);
int tree_restart_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err);
int tree_delete_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err);
/*
 * Other flags and specs (L): the same ids get the new spec and keep their process, new ids are
 * added and not started, ids no longer named are kept and run on. The supervisor's later
 * incarnations start with the new specs. simple_one_for_one: the template is replaced; the strategy
 * may not change to or from it (RESULT_INVALID).
 */
int tree_change(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const struct supervisor_spec *spec, struct err *err);

/* Status: answered at once, whatever the supervisor is doing (Q3). -ERR_NOT_FOUND: no such
 * supervisor or child. */
enum child_status {
	CHILD_STATUS_UNDEFINED, /* not running */
	CHILD_STATUS_STARTING,
	CHILD_STATUS_RUNNING,
	CHILD_STATUS_STOPPING,
	CHILD_STATUS_RESTARTING, /* its start failed, it will be tried again */
	CHILD_STATUS_MAX,
};

struct child_row {
	const char *id;    /* valid until the tree's next call; NULL under simple_one_for_one */
	uint64_t instance; /* 0 if there is no process */
	enum child_status status;
	enum child_type type;
	void *start;
};

struct child_counts {
	size_t specs;
	size_t active; /* ready, and not yet gone */
	size_t supervisors;
	size_t workers;
};

/* Newest first (J7). *ret_n is the number of children, also when it is more than max and rows were
 * left out. */
int tree_which_children(const struct tree *tree, uint64_t supervisor, struct child_row *rows,
	size_t max, size_t *ret_n);
int tree_count_children(
	const struct tree *tree, uint64_t supervisor, struct child_counts *ret_counts);
/* With the defaults filled in; valid until the tree's next call. */
int tree_get_childspec(const struct tree *tree, uint64_t supervisor, const char *id,
	const struct child_spec **ret_spec);
/* The present instance of a child by id; 0 if there is none. O(1). */
uint64_t tree_find_child(const struct tree *tree, uint64_t supervisor, const char *id);
/* A supervisor's present instance by the ids from the root, "upstreams/files"; "" is the root; 0 if
 * none. */
uint64_t tree_find_supervisor(const struct tree *tree, const char *path);

#endif
