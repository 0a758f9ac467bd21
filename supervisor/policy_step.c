/* What a supervisor does: it starts children, learns of their ends, and restarts by its strategy
 * (B-F, I). */
#include "policy_private.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

void sup_op_none(struct sup *sup)
{
	sup->op = (struct op){.kind = OP_NONE};
	sup_wake(sup);
}

void sup_child_describe_exit(
	const struct child *child, enum exit_class exit_class, char *text, size_t size)
{
	const struct exit_status *exit = &child->exit;

	if (child->timed_out)
		snprintf(text, size, "start_timeout");
	else if (exit->signalled)
		snprintf(text, size, "signal %d%s%s", exit->code, exit->reason[0] ? ": " : "",
			exit->reason);
	else if (exit->reason[0])
		snprintf(text, size, "%s%s",
			exit_class == EXIT_CLASS_SHUTDOWN_REASON ? "shutdown: " : "", exit->reason);
	else if (exit_class == EXIT_CLASS_ABNORMAL)
		snprintf(text, size, "exit code %d", exit->code);
	else
		snprintf(text, size, "%s", exit_class_name(exit_class));
}

/* One more incarnation. False, with the reason in child->exit, when there is no memory for it. */
static bool child_launch(struct child *child)
{
	struct sup *sup = child->sup;
	struct tree *tree = sup->tree;
	const struct child_spec *spec = &child->spec->data;

	tree_map_remove(tree, child);
	child->ready = child->signalled = child->brutal = child->timed_out = false;
	child->overlapped = false;
	child->extra = 0;
	child->exit = (struct exit_status){.code = 1, .reason = "out_of_memory"};
	if (tree_map_add(tree, child, ++tree->last_instance))
		return false;
	if (child->spec->group) {
		child->below = sup_new(tree, child, child->spec->group);
		if (!child->below) {
			tree_map_remove(tree, child);
			return false;
		}
		sup_wake(child->below);
	} else {
		tree_emit_child(child, ACTION_START);
		if (spec->start_timeout_ms != SPEC_TIMEOUT_NONE)
			timer_heap_arm(&tree->timers, &child->timer,
				tree->now + (uint64_t)spec->start_timeout_ms);
	}
	child->state = CHILD_STARTING;
	sup->n_alive++;
	return true;
}

void sup_child_start(struct sup *sup, struct child *child)
{
	sup->op.outcome = OUTCOME_NONE;
	if (child_launch(child)) {
		sup->op.waiting = child;
		return;
	}
	child->state = CHILD_UNDEFINED;
	sup->op.outcome = OUTCOME_FAILED;
	sup_wake(sup);
}

bool sup_child_start_overlapped(struct sup *sup, struct child *child, uint64_t request)
{
	if (!child_launch(child)) {
		tree_reply(sup, request, RESULT_START_ERROR, child, child->exit.reason);
		sup_child_free(child);
		return false;
	}
	child->overlapped = true;
	child->request = request;
	return true;
}

/* E1: tried again at once, but after what is already queued; or after its back-off (Q2). */
static void sup_await_retry(struct sup *sup, struct child *child)
{
	struct tree *tree = sup->tree;
	const struct child_spec *spec = &child->spec->data;
	uint64_t delay = (uint64_t)spec->backoff_min_ms;
	uint64_t most = (uint64_t)spec->backoff_max_ms;

	for (unsigned i = 0; i < child->failures && delay < most; i++)
		delay *= 2;
	if (delay > most)
		delay = most;
	child->failures++;
	child->state = CHILD_RESTARTING;
	if (sup_is_simple(sup))
		tree_map_add(tree, child, child->former);
	if (delay == 0)
		sup_mail_push(sup, &child->message);
	else
		timer_heap_arm(&tree->timers, &child->timer, tree->now + delay);
}

/* What became of a start or stop that the supervisor's operation waits for. */
static void sup_outcome(struct sup *sup, struct child *child, enum outcome outcome)
{
	sup_wake(sup);
	if (sup->op.waiting != child)
		return;
	sup->op.waiting = NULL;
	sup->op.outcome = sup->op.discard ? OUTCOME_NONE : outcome;
	sup->op.discard = false;
}

static void child_became_ready(struct child *child)
{
	struct sup *sup = child->sup;

	if (child->state != CHILD_STARTING || child->timed_out)
		return;
	child->state = CHILD_RUNNING;
	child->failures = 0;
	timer_heap_disarm(&sup->tree->timers, &child->timer);
	tree_report(child, REPORT_PROGRESS, EXIT_CLASS_NORMAL, "");
	if (child->overlapped) {
		child->overlapped = false;
		tree_reply(sup, child->request, RESULT_OK, child, NULL);
	} else {
		sup_outcome(sup, child, OUTCOME_STARTED);
	}
	if (sup_child_is_temporary(child) && child->args) { /* K4 */
		sup_args_unref(sup->tree, child->args);
		child->args = NULL;
	}
}

static void child_start_ended(struct child *child, enum exit_note note)
{
	struct sup *sup = child->sup;
	bool ignored = note == NOTE_IGNORED || (note == NOTE_EXITED && !child->exit.signalled &&
						       child->exit.code == EXIT_CODE_IGNORE);
	char reason[EXIT_REASON_MAX + 32];

	if (child->timed_out)
		ignored = false;
	child->state = CHILD_UNDEFINED;
	if (!child->overlapped) {
		sup_outcome(sup, child, ignored ? OUTCOME_IGNORED : OUTCOME_FAILED);
		return;
	}
	sup_child_describe_exit(
		child, exit_status_classify(&child->exit, false), reason, sizeof(reason));
	tree_reply(sup, child->request, ignored ? RESULT_IGNORED : RESULT_START_ERROR, child,
		ignored ? NULL : reason);
	sup_child_free(child);
}

static void child_stop_ended(struct child *child)
{
	struct sup *sup = child->sup;

	sup_child_check_stop(child);
	child->state = CHILD_UNDEFINED;
	if (child->overlapped) {
		child->overlapped = false;
		tree_reply(sup, child->request,
			sup_is_ending(sup) ? RESULT_NOPROC : RESULT_START_ERROR, child,
			"terminated");
	}
	sup_outcome(sup, child, OUTCOME_GONE);
	if (sup_is_simple(sup) && sup->op.kind >= OP_SIGNAL_ALL)
		sup_child_free(child);
}

static void child_ended(struct child *child)
{
	struct sup *sup = child->sup;
	enum exit_note note = child->exit_note;

	child->exit_note = NOTE_NONE;
	child->below = NULL;
	child->former = child->instance;
	tree_map_remove(sup->tree, child);
	timer_heap_disarm(&sup->tree->timers, &child->timer);
	sup->n_alive--;
	if (sup->killed || child->state >= CHILD_STOPPING) {
		child_stop_ended(child);
	} else if (child->state == CHILD_STARTING) {
		child_start_ended(child, note);
	} else {
		child->state = CHILD_DEAD;
		sup_mail_push(sup, &child->message);
	}
}

void sup_child_note(struct child *child)
{
	if (child->ready) {
		child->ready = false;
		child_became_ready(child);
	}
	if (child->exit_note != NOTE_NONE)
		child_ended(child);
}

void sup_child_timer(struct child *child)
{
	switch (child->state) {
	case CHILD_STARTING: /* Q1 */
		child->timed_out = true;
		tree_emit_child(child, ACTION_KILL);
		return;
	case CHILD_STOPPING: /* H2 */
		sup_child_kill(child);
		return;
	case CHILD_RESTARTING:
		sup_mail_push(child->sup, &child->message);
		return;
	default:
		return;
	}
}

/* Starting in order: all at first (B), or a group again (D2, D3). */

static void sup_list_started(struct sup *sup)
{
	bool first = sup->op.kind == OP_INIT;

	sup_op_none(sup);
	if (!first)
		return;
	sup->started = true;
	if (sup->self) {
		sup->self->ready = true;
		tree_note(sup->self);
	} else {
		tree_emit(sup->tree, ACTION_READY)->supervisor = sup->instance;
	}
}

static void sup_list_start_failed(struct sup *sup, struct child *child)
{
	char reason[EXIT_REASON_MAX + 32];
	char why[sizeof(sup->end_reason)];

	sup_child_describe_exit(
		child, exit_status_classify(&child->exit, false), reason, sizeof(reason));
	tree_report(child, REPORT_START_ERROR, EXIT_CLASS_ABNORMAL, reason);
	if (sup->op.kind == OP_INIT) { /* B3 */
		snprintf(why, sizeof(why), "failed_to_start_child %s: %s", child->id, reason);
		sup->start_failed = true;
		sup_begin_stop(sup, why);
		return;
	}
	sup_await_retry(sup, child);
	sup_op_none(sup);
}

static void sup_step_start_list(struct sup *sup)
{
	struct child *child = sup->op.cursor;
	enum outcome outcome = sup->op.outcome;

	sup->op.outcome = OUTCOME_NONE;
	if (outcome == OUTCOME_FAILED) {
		sup_list_start_failed(sup, child);
		return;
	}
	if (outcome != OUTCOME_NONE) {
		sup->op.cursor = child->next;
		if (outcome == OUTCOME_IGNORED && sup_child_is_temporary(child)) /* B4 */
			sup_child_free(child);
	}
	if (sup->op.cursor && !sup_is_simple(sup))
		sup_child_start(sup, sup->op.cursor);
	else
		sup_list_started(sup);
}

static void sup_step_restart(struct sup *sup)
{
	struct child *child = sup->op.cursor;
	enum outcome outcome = sup->op.outcome;
	char reason[EXIT_REASON_MAX + 32];

	sup_op_none(sup);
	if (outcome == OUTCOME_FAILED) {
		sup_child_describe_exit(
			child, exit_status_classify(&child->exit, false), reason, sizeof(reason));
		tree_report(child, REPORT_START_ERROR, EXIT_CLASS_ABNORMAL, reason);
		sup_await_retry(sup, child);
	} else if (outcome == OUTCOME_IGNORED && sup_is_simple(sup)) { /* E8 */
		tree_report(child, REPORT_CHILD_DROPPED, EXIT_CLASS_NORMAL, "ignore");
		sup_child_free(child);
	}
}

static void sup_give_up(struct sup *sup, struct child *child)
{
	static const char *const why = "reached_max_restart_intensity";

	child->state = CHILD_UNDEFINED;
	tree_report(child, REPORT_GIVES_UP, EXIT_CLASS_SHUTDOWN, why);
	if (sup_is_simple(sup))
		sup_child_free(child);
	sup->gave_up = true;
	sup_begin_stop(sup, why);
}

static void sup_restart(struct sup *sup, struct child *child)
{
	if (!window_add(&sup->window, sup->tree->now)) { /* D8: before any sibling is touched */
		sup_give_up(sup, child);
		return;
	}
	child->state = CHILD_UNDEFINED;
	sup->op = (struct op){.anchor = child};
	if (sup->flags.strategy == STRATEGY_ONE_FOR_ALL ||
		sup->flags.strategy == STRATEGY_REST_FOR_ONE) {
		sup->op.kind = OP_GROUP_STOP;
		sup->op.cursor = sup->last;
		sup_wake(sup);
		return;
	}
	sup->op.kind = OP_RESTART;
	sup->op.cursor = child;
	sup_child_start(sup, child);
}

/* I: does the end of this child end its supervisor? */
static bool sup_ends_with(const struct sup *sup, const struct child *ended)
{
	if (!ended->spec->data.significant)
		return false;
	if (sup->flags.auto_shutdown == AUTO_SHUTDOWN_ANY_SIGNIFICANT)
		return true;
	if (sup->flags.auto_shutdown != AUTO_SHUTDOWN_ALL_SIGNIFICANT)
		return false;
	for (const struct child *child = sup->first; child; child = child->next) {
		if (child != ended && child->spec->data.significant &&
			child->state != CHILD_UNDEFINED)
			return false;
	}
	return true;
}

static void sup_child_not_restarted(
	struct sup *sup, struct child *child, enum exit_class exit_class, const char *reason)
{
	bool ends = sup_ends_with(sup, child);

	child->state = CHILD_UNDEFINED;
	if (ends)
		tree_report(child, REPORT_AUTO_SHUTDOWN, exit_class, reason);
	if (sup_child_is_temporary(child) || sup_is_simple(sup)) {
		tree_report(child, REPORT_CHILD_DROPPED, exit_class, reason);
		sup_child_free(child);
	}
	if (ends) {
		sup->gave_up = true;
		sup_begin_stop(sup, "auto_shutdown");
	}
}

static void sup_child_died(struct sup *sup, struct child *child)
{
	enum exit_class exit_class = exit_status_classify(&child->exit, false);
	enum restart_type restart = child->spec->data.restart;
	bool clean = exit_class_is_clean(exit_class);
	char reason[EXIT_REASON_MAX + 32];

	sup_child_describe_exit(child, exit_class, reason, sizeof(reason));
	if (restart == RESTART_PERMANENT || !clean) /* C6 */
		tree_report(child, REPORT_CHILD_TERMINATED, exit_class, reason);
	if (restart == RESTART_PERMANENT || (restart == RESTART_TRANSIENT && !clean))
		sup_restart(sup, child);
	else
		sup_child_not_restarted(sup, child, exit_class, reason);
}

/* Idle: the next message. */
static void sup_step_mail(struct sup *sup)
{
	struct message *message = sup->mail_first;
	struct child *child;

	if (!message)
		return;
	sup_mail_remove(sup, message);
	sup_wake(sup);
	if (message->kind == MESSAGE_REQUEST) {
		sup_serve(sup, (struct request *)message);
		return;
	}
	child = (struct child *)((char *)message - offsetof(struct child, message));
	if (child->state == CHILD_DEAD)
		sup_child_died(sup, child);
	else if (child->state == CHILD_RESTARTING)
		sup_restart(sup, child);
}

/* Requests that take time. */

static void sup_step_asked_start(struct sup *sup)
{
	struct child *child = sup->op.cursor;
	enum outcome outcome = sup->op.outcome;
	uint64_t request = sup->op.request;
	char reason[EXIT_REASON_MAX + 32];
	bool kept = sup->op.kind == OP_ASKED_RESTART;

	sup_op_none(sup);
	if (outcome == OUTCOME_STARTED) {
		tree_reply(sup, request, RESULT_OK, child, NULL);
		return;
	}
	if (outcome == OUTCOME_IGNORED) {
		tree_reply(sup, request, RESULT_IGNORED, child, NULL);
		kept |= !sup_child_is_temporary(child) && !sup_is_simple(sup);
	} else {
		sup_child_describe_exit(
			child, exit_status_classify(&child->exit, false), reason, sizeof(reason));
		tree_reply(sup, request, RESULT_START_ERROR, child, reason);
	}
	if (!kept)
		sup_child_free(child);
}

static void sup_step_asked_stop(struct sup *sup)
{
	struct child *child = sup->op.cursor;

	tree_reply(sup, sup->op.request, RESULT_OK, child, NULL);
	sup_op_none(sup);
	if (sup_child_is_temporary(child) || sup_is_simple(sup))
		sup_child_free(child);
}

static void sup_step_group_stop(struct sup *sup)
{
	bool rest = sup->flags.strategy == STRATEGY_REST_FOR_ONE;

	if (sup->op.outcome == OUTCOME_NONE &&
		(!sup->op.cursor || (rest && sup->op.cursor == sup->op.anchor))) {
		sup->op.kind = OP_GROUP_START;
		sup->op.cursor = rest ? sup->op.anchor : sup->first;
		sup_wake(sup);
		return;
	}
	sup_step_stop_list(sup);
}

void sup_step(struct sup *sup)
{
	static void (*const steps[OP_MAX])(struct sup * sup) = {
		[OP_NONE] = sup_step_mail,
		[OP_INIT] = sup_step_start_list,
		[OP_RESTART] = sup_step_restart,
		[OP_GROUP_STOP] = sup_step_group_stop,
		[OP_GROUP_START] = sup_step_start_list,
		[OP_ASKED_START] = sup_step_asked_start,
		[OP_ASKED_RESTART] = sup_step_asked_start,
		[OP_ASKED_STOP] = sup_step_asked_stop,
		[OP_STOP_ALL] = sup_step_stop_list,
		[OP_SIGNAL_ALL] = sup_step_signal_all,
		[OP_WAIT_ALL] = sup_step_wait_all,
		[OP_KILL_ALL] = sup_step_kill_all,
		[OP_END] = sup_step_end,
	};

	if (sup->killed && sup->op.kind != OP_END) {
		sup_step_killed(sup);
		return;
	}
	if (sup->stop_wanted && sup->op.kind < OP_STOP_ALL)
		sup_begin_stop(sup, "shutdown");
	if (!sup->op.waiting)
		steps[sup->op.kind](sup);
}
