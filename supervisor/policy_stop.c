/* How a supervisor ends, and how its children are ended (G, H, K5). */
#include "policy_private.h"

#include <signal.h>
#include <stdio.h>

void sup_child_check_stop(struct child *child)
{
	enum exit_class exit_class = exit_status_classify(&child->exit, child->signalled);
	bool permanent = child->spec->data.restart == RESTART_PERMANENT;
	char reason[EXIT_REASON_MAX + 32];

	if (exit_class == EXIT_CLASS_SHUTDOWN || (!permanent && exit_class_is_clean(exit_class)) ||
		(child->brutal && exit_class == EXIT_CLASS_KILLED) || child->sup->killed)
		return;
	sup_child_describe_exit(child, exit_class, reason, sizeof(reason));
	tree_report(child, REPORT_SHUTDOWN_ERROR, exit_class,
		exit_class == EXIT_CLASS_KILLED ? "killed" : reason);
}

void sup_child_kill(struct child *child)
{
	child->state = CHILD_KILLING;
	timer_heap_disarm(&child->sup->tree->timers, &child->timer);
	if (child->below)
		sup_kill(child->below);
	else if (!child->spec->group)
		tree_emit_child(child, ACTION_KILL);
}

/* with_timer: the child has its own T; else its supervisor counts for all (K5). */
static void child_ask_to_stop(struct child *child, bool with_timer)
{
	const struct shutdown_rule *rule = &child->spec->data.shutdown;
	struct tree *tree = child->sup->tree;

	timer_heap_disarm(&tree->timers, &child->timer);
	if (rule->kind == SHUTDOWN_BRUTAL_KILL) {
		child->brutal = true;
		sup_child_kill(child);
		return;
	}
	child->state = CHILD_STOPPING;
	child->signalled = true;
	if (child->below) {
		child->below->stop_wanted = true;
		sup_wake(child->below);
	} else if (!child->spec->group) {
		tree_emit_child(child, ACTION_SIGNAL);
	}
	if (rule->kind == SHUTDOWN_AFTER && rule->ms == 0) /* H3 */
		sup_child_kill(child);
	else if (rule->kind == SHUTDOWN_AFTER && with_timer)
		timer_heap_arm(&tree->timers, &child->timer, tree->now + (uint64_t)rule->ms);
}

static void child_forget(struct child *child)
{
	sup_mail_remove(child->sup, &child->message);
	timer_heap_disarm(&child->sup->tree->timers, &child->timer);
	if (child->state == CHILD_DEAD)
		sup_child_check_stop(child);
	tree_map_remove(child->sup->tree, child);
	child->state = CHILD_UNDEFINED;
}

bool sup_child_stop(struct child *child)
{
	switch (child->state) {
	case CHILD_UNDEFINED:
		return false;
	case CHILD_DEAD:       /* H6 */
	case CHILD_RESTARTING: /* E6 */
		child_forget(child);
		return false;
	case CHILD_STARTING:
	case CHILD_RUNNING:
		child_ask_to_stop(child, true);
		return true;
	default:
		return true;
	}
}

void sup_begin_stop(struct sup *sup, const char *reason)
{
	struct op *op = &sup->op;
	struct op stop = {.asked = op->asked, .request = op->request};

	/* H1: one that is already stopping is waited for before the next is signalled. */
	if (op->waiting && op->waiting->state >= CHILD_STOPPING) {
		stop.waiting = op->waiting;
		stop.discard = true;
	}
	snprintf(sup->end_reason, sizeof(sup->end_reason), "%s", reason);
	stop.kind = sup_is_simple(sup) ? OP_SIGNAL_ALL : OP_STOP_ALL;
	stop.cursor = sup_is_simple(sup) ? sup->first : sup->last;
	*op = stop;
	sup_wake(sup);
}

/* Backwards through the start order, each gone before the next is asked (H1). */
void sup_step_stop_list(struct sup *sup)
{
	struct child *child = sup->op.cursor;

	if (!child) {
		sup->op.kind = OP_END;
		sup_wake(sup);
		return;
	}
	if (sup->op.outcome == OUTCOME_NONE && sup_child_stop(child)) {
		sup->op.waiting = child;
		return;
	}
	sup->op.outcome = OUTCOME_NONE;
	sup->op.cursor = child->prev;
	if (sup_child_is_temporary(child)) /* D4 */
		sup_child_free(child);
	sup_wake(sup);
}

/* simple_one_for_one: all are asked at once, one timer for all (K5). */

void sup_step_signal_all(struct sup *sup)
{
	struct child *child = sup->op.cursor;
	const struct shutdown_rule *rule = &sup->template->data.shutdown;

	sup_wake(sup);
	if (!child) {
		sup->op.kind = OP_WAIT_ALL;
		if (rule->kind == SHUTDOWN_AFTER && sup->n_alive > 0)
			timer_heap_arm(&sup->tree->timers, &sup->timer,
				sup->tree->now + (uint64_t)rule->ms);
		return;
	}
	sup->op.cursor = child->next;
	if (child->state == CHILD_STARTING || child->state == CHILD_RUNNING) {
		child_ask_to_stop(child, false);
	} else if (!sup_child_is_alive(child)) {
		child_forget(child);
		sup_child_free(child);
	}
}

void sup_step_wait_all(struct sup *sup)
{
	if (sup->n_alive > 0)
		return;
	sup->op.kind = OP_END;
	sup_wake(sup);
}

void sup_step_kill_all(struct sup *sup)
{
	struct child *child = sup->op.cursor;

	sup_wake(sup);
	if (!child) {
		sup->op.kind = OP_WAIT_ALL;
		return;
	}
	sup->op.cursor = child->next;
	if (child->state != CHILD_KILLING)
		sup_child_kill(child);
}

void sup_timer(struct sup *sup)
{
	if (sup->killed || sup->op.kind != OP_WAIT_ALL)
		return;
	sup->op.kind = OP_KILL_ALL;
	sup->op.cursor = sup->first;
	sup_wake(sup);
}

/* exit(P, kill) to a supervisor: all below it die with it (G5). */

void sup_kill(struct sup *sup)
{
	if (sup->killed || sup->op.kind == OP_END)
		return;
	sup->killed = true;
	timer_heap_disarm(&sup->tree->timers, &sup->timer);
	sup->op = (struct op){.kind = OP_KILL_ALL,
		.cursor = sup->first,
		.asked = sup->op.asked,
		.request = sup->op.request};
	sup_wake(sup);
}

void sup_step_killed(struct sup *sup)
{
	struct child *child = sup->op.cursor;

	if (!child) {
		if (sup->n_alive == 0) {
			sup->op.kind = OP_END;
			sup_wake(sup);
		}
		return;
	}
	sup_wake(sup);
	sup->op.cursor = child->next;
	if (!sup_child_is_alive(child))
		child_forget(child);
	else if (child->state != CHILD_KILLING)
		sup_child_kill(child);
}

/* The end. */

static void sup_tell_parent(struct sup *sup)
{
	struct child *self = sup->self;

	self->exit = (struct exit_status){.code = EXIT_CODE_SHUTDOWN};
	self->exit_note = NOTE_EXITED;
	if (sup->killed) {
		self->exit = (struct exit_status){.signalled = true, .code = SIGKILL};
	} else if (sup->start_failed) {
		snprintf(self->exit.reason, sizeof(self->exit.reason), "%.*s",
			(int)sizeof(self->exit.reason) - 1, sup->end_reason);
		self->exit_note = NOTE_FAILED;
	}
	self->below = NULL;
	tree_note(self);
}

static void sup_end(struct sup *sup)
{
	struct tree *tree = sup->tree;

	if (sup->self) {
		sup_tell_parent(sup);
	} else {
		bool by_itself = sup->gave_up || sup->start_failed;
		struct action *action =
			tree_emit(tree, by_itself ? ACTION_GAVE_UP : ACTION_STOPPED);

		action->supervisor = sup->instance;
		snprintf(action->reason, sizeof(action->reason), "%s", sup->end_reason);
		tree->root = NULL;
	}
	sup_free(sup);
}

/* J12: who still waits for an answer is told, one at a step. */
void sup_step_end(struct sup *sup)
{
	struct request *request;

	if (sup->op.asked) {
		sup->op.asked = false;
		tree_reply(sup, sup->op.request, RESULT_NOPROC, NULL, NULL);
		sup_wake(sup);
		return;
	}
	if (!sup->mail_first) {
		sup_end(sup);
		return;
	}
	/* The children are gone, and their messages with them. */
	request = (struct request *)sup->mail_first;
	sup_mail_remove(sup, &request->message);
	tree_reply(sup, request->number, RESULT_NOPROC, NULL, NULL);
	sup_request_free(sup->tree, request);
	sup_wake(sup);
}
