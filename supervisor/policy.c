/* The policy's outside: trees, events, the ring of actions, the order in which things are looked
 * at. */
#include "policy_private.h"

#include "log.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct report_row {
	const char *name;
	int level;
};

static const struct report_row report_rows[REPORT_MAX] = {
#define REPORT(name, word, level) [REPORT_##name] = {word, level},
#include "reports.def"
#undef REPORT
};

const char *request_result_name(enum request_result result)
{
	static const char *const names[RESULT_MAX] = {
#define RESULT(name, word) [RESULT_##name] = word,
#include "results.def"
#undef RESULT
	};

	return result < RESULT_MAX ? names[result] : "unknown";
}

const char *report_context_name(enum report_context context)
{
	return context < REPORT_MAX ? report_rows[context].name : "unknown";
}

int report_context_level(enum report_context context)
{
	return context < REPORT_MAX ? report_rows[context].level : LOG_ERROR;
}

/* Trees. */

int tree_new(const struct supervisor_spec *spec, spec_release_fn *release, void *ctx,
	struct tree **ret_tree, struct err *err)
{
	enum spec_verdict verdict = spec_check_supervisor(spec, err);
	struct tree *tree;

	if (verdict != SPEC_OK)
		return verdict == SPEC_NO_MEMORY ? -ERR_NO_MEMORY : -ERR_INVALID_ARGUMENT;
	tree = calloc(1, sizeof(*tree));
	if (!tree)
		return err_set(err, ERR_NO_MEMORY, "supervision tree");
	tree->last_instance = TREE_ROOT;
	/* Owned only when complete, so that a failure releases nothing. */
	tree->group = spec_group_copy(spec, (struct spec_owner){0});
	if (tree->group)
		tree->root = sup_new(tree, NULL, tree->group);
	if (!tree->root) {
		tree_free(tree);
		return err_set(err, ERR_NO_MEMORY, "supervision tree");
	}
	tree->owner = (struct spec_owner){release, ctx};
	spec_group_set_owner(tree->group, tree->owner);
	*ret_tree = tree;
	return 0;
}

static void slot_clear(struct tree *tree, struct action_slot *slot)
{
	spec_unref(slot->spec);
	sup_args_unref(tree, slot->args);
	*slot = (struct action_slot){0};
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	sup_free(tree->root);
	slot_clear(tree, &tree->taken);
	for (size_t i = 0; i < STEP_ACTIONS * 2; i++)
		slot_clear(tree, &tree->ring[i]);
	spec_group_unref(tree->group);
	timer_heap_free(&tree->timers);
	free(tree);
}

void tree_set_now(struct tree *tree, uint64_t now)
{
	if (now > tree->now)
		tree->now = now;
}

void tree_start(struct tree *tree, uint64_t now)
{
	tree_set_now(tree, now);
	if (tree->root)
		sup_wake(tree->root);
}

void tree_stop(struct tree *tree, uint64_t now)
{
	tree_set_now(tree, now);
	if (!tree->root)
		return;
	tree->root->stop_wanted = true;
	sup_wake(tree->root);
}

/* Actions. */

struct action *tree_emit(struct tree *tree, enum action_kind kind)
{
	size_t place = (tree->ring_first + tree->ring_count) % (STEP_ACTIONS * 2);
	struct action_slot *slot = &tree->ring[place];

	/* A step makes at most STEP_ACTIONS and begins with an empty ring. */
	if (tree->ring_count == STEP_ACTIONS * 2)
		abort();
	tree->ring_count++;
	slot->action = (struct action){.kind = kind};
	return &slot->action;
}

static void action_set_supervisor(struct action *action, const struct sup *sup)
{
	action->supervisor = sup->instance;
	snprintf(action->supervisor_id, sizeof(action->supervisor_id), "%s",
		!sup->self         ? "root"
		: sup->self->id[0] ? sup->self->id
				   : sup->self->spec->data.id);
}

struct action *tree_emit_child(struct child *child, enum action_kind kind)
{
	struct action *action = tree_emit(child->sup->tree, kind);
	struct action_slot *slot =
		(struct action_slot *)((char *)action - offsetof(struct action_slot, action));

	action_set_supervisor(action, child->sup);
	action->instance = child->instance;
	action->start = child->spec->data.start;
	action->args = child->args ? child->args->cookie : NULL;
	snprintf(action->child_id, sizeof(action->child_id), "%s",
		child->id[0] ? child->id : child->spec->data.id);
	slot->spec = spec_ref(child->spec);
	slot->args = sup_args_ref(child->args);
	return action;
}

void tree_report(struct child *child, enum report_context context, enum exit_class exit_class,
	const char *reason)
{
	struct action *action = tree_emit_child(child, ACTION_REPORT);

	action->context = context;
	action->exit_class = exit_class;
	snprintf(action->reason, sizeof(action->reason), "%s", reason);
}

void tree_reply(struct sup *sup, uint64_t request, enum request_result result,
	const struct child *child, const char *reason)
{
	struct action *action = tree_emit(sup->tree, ACTION_REPLY);

	action_set_supervisor(action, sup);
	action->request = request;
	action->result = result;
	if (child) {
		snprintf(action->child_id, sizeof(action->child_id), "%s", child->id);
		if (sup_child_is_alive(child)) {
			action->instance = child->instance;
			action->extra = child->extra;
		}
	}
	snprintf(action->reason, sizeof(action->reason), "%s", reason ? reason : "");
}

/* Events. */

void tree_note(struct child *child)
{
	struct tree *tree = child->sup->tree;

	if (child->noted)
		return;
	child->noted = true;
	child->note_next = NULL;
	if (tree->note_last)
		tree->note_last->note_next = child;
	else
		tree->note_first = child;
	tree->note_last = child;
}

/* A child with a process: logical supervisors speak for themselves. */
static struct child *tree_find_worker(struct tree *tree, uint64_t now, uint64_t instance)
{
	struct child *child = tree_map_find(tree, instance);

	tree_set_now(tree, now);
	if (!child || child->spec->group || !sup_child_is_alive(child) ||
		child->exit_note != NOTE_NONE)
		return NULL;
	return child;
}

int tree_child_ready(struct tree *tree, uint64_t now, uint64_t instance, uint64_t extra)
{
	struct child *child = tree_find_worker(tree, now, instance);

	if (!child)
		return -ERR_NOT_FOUND;
	child->ready = true;
	child->extra = extra;
	tree_note(child);
	return 0;
}

static int tree_child_ended(
	struct child *child, enum exit_note note, const struct exit_status *status)
{
	if (!child)
		return -ERR_NOT_FOUND;
	child->exit_note = note;
	child->exit = *status;
	tree_note(child);
	return 0;
}

int tree_child_ignored(struct tree *tree, uint64_t now, uint64_t instance)
{
	return tree_child_ended(tree_find_worker(tree, now, instance), NOTE_IGNORED,
		&(struct exit_status){.code = EXIT_CODE_IGNORE});
}

int tree_child_start_failed(struct tree *tree, uint64_t now, uint64_t instance, const char *reason)
{
	struct exit_status status = {.code = 1};

	snprintf(status.reason, sizeof(status.reason), "%s", reason ? reason : "");
	return tree_child_ended(tree_find_worker(tree, now, instance), NOTE_FAILED, &status);
}

int tree_child_exited(
	struct tree *tree, uint64_t now, uint64_t instance, const struct exit_status *status)
{
	return tree_child_ended(tree_find_worker(tree, now, instance), NOTE_EXITED, status);
}

void tree_tick(struct tree *tree, uint64_t now)
{
	tree_set_now(tree, now);
}

uint64_t tree_next_deadline(const struct tree *tree)
{
	return timer_heap_next(&tree->timers);
}

/* Steps. */

static bool tree_step_note(struct tree *tree)
{
	struct child *child = tree->note_first;

	if (!child)
		return false;
	tree->note_first = child->note_next;
	if (!tree->note_first)
		tree->note_last = NULL;
	child->noted = false;
	sup_child_note(child);
	return true;
}

static bool tree_step_sup(struct tree *tree)
{
	struct sup *sup = tree->wake_first;

	if (!sup)
		return false;
	tree->wake_first = sup->wake_next;
	if (tree->wake_first)
		tree->wake_first->wake_prev = NULL;
	else
		tree->wake_last = NULL;
	sup->awake = false;
	sup_step(sup);
	return true;
}

static bool tree_step_timer(struct tree *tree)
{
	struct heap_timer *timer = timer_heap_pop(&tree->timers, tree->now);

	if (!timer)
		return false;
	if (timer->kind == TIMER_OF_CHILD)
		sup_child_timer((struct child *)((char *)timer - offsetof(struct child, timer)));
	else
		sup_timer((struct sup *)((char *)timer - offsetof(struct sup, timer)));
	return true;
}

bool tree_next_action(struct tree *tree, struct action *ret_action)
{
	struct action_slot *slot;

	slot_clear(tree, &tree->taken);
	while (tree->ring_count == 0) {
		/* What has happened comes before what was due: an exit at the deadline is no
		 * timeout. */
		if (!tree_step_note(tree) && !tree_step_sup(tree) && !tree_step_timer(tree))
			return false;
	}
	slot = &tree->ring[tree->ring_first];
	tree->ring_first = (tree->ring_first + 1) % (STEP_ACTIONS * 2);
	tree->ring_count--;
	tree->taken = *slot;
	*slot = (struct action_slot){0};
	*ret_action = tree->taken.action;
	return true;
}
