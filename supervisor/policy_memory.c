/* Supervisors and children: memory, lists, the map of instances, mailboxes. */
#include "policy_private.h"

#include <stdlib.h>
#include <string.h>

struct args *sup_args_ref(struct args *args)
{
	if (args)
		args->refs++;
	return args;
}

void sup_args_unref(struct tree *tree, struct args *args)
{
	if (!args || --args->refs > 0)
		return;
	if (tree->owner.release && args->cookie)
		tree->owner.release(tree->owner.ctx, args->cookie);
	free(args);
}

void sup_request_free(struct tree *tree, struct request *request)
{
	spec_unref(request->spec);
	spec_group_unref(request->group);
	sup_args_unref(tree, request->args);
	free(request);
}

bool sup_child_is_alive(const struct child *child)
{
	return child->state == CHILD_STARTING || child->state == CHILD_RUNNING ||
	       child->state == CHILD_STOPPING || child->state == CHILD_KILLING;
}

bool sup_child_is_temporary(const struct child *child)
{
	return child->spec->data.restart == RESTART_TEMPORARY;
}

bool sup_is_simple(const struct sup *sup)
{
	return sup->flags.strategy == STRATEGY_SIMPLE_ONE_FOR_ONE;
}

bool sup_is_ending(const struct sup *sup)
{
	return sup->killed || sup->stop_wanted || sup->op.kind >= OP_STOP_ALL;
}

/* The map of instances. */

int tree_map_add(struct tree *tree, struct child *child, uint64_t instance)
{
	child->instance = instance;
	HASH_ADD(by_instance, tree->by_instance, instance, sizeof(child->instance), child);
	return child->by_instance.tbl ? 0 : -ERR_NO_MEMORY;
}

void tree_map_remove(struct tree *tree, struct child *child)
{
	if (!child->by_instance.tbl)
		return;
	HASH_DELETE(by_instance, tree->by_instance, child);
	child->by_instance.tbl = NULL;
}

struct child *tree_map_find(const struct tree *tree, uint64_t instance)
{
	struct child *child;

	HASH_FIND(by_instance, tree->by_instance, &instance, sizeof(instance), child);
	return child;
}

struct sup *sup_find(const struct tree *tree, uint64_t instance)
{
	struct child *child;

	if (instance == TREE_ROOT)
		return tree->root;
	child = tree_map_find(tree, instance);
	return child ? child->below : NULL;
}

struct child *sup_find_child(const struct sup *sup, const char *id)
{
	struct child *child;

	HASH_FIND(by_id, sup->by_id, id, strlen(id), child);
	return child;
}

/* The mailbox. */

void sup_mail_push(struct sup *sup, struct message *message)
{
	message->queued = true;
	message->next = NULL;
	message->prev = sup->mail_last;
	if (sup->mail_last)
		sup->mail_last->next = message;
	else
		sup->mail_first = message;
	sup->mail_last = message;
	if (message->kind == MESSAGE_REQUEST)
		sup->n_requests++;
	sup_wake(sup);
}

void sup_mail_remove(struct sup *sup, struct message *message)
{
	if (!message->queued)
		return;
	message->queued = false;
	if (message->prev)
		message->prev->next = message->next;
	else
		sup->mail_first = message->next;
	if (message->next)
		message->next->prev = message->prev;
	else
		sup->mail_last = message->prev;
	if (message->kind == MESSAGE_REQUEST)
		sup->n_requests--;
}

/* The list of nodes that have something to do. */

void sup_wake(struct sup *sup)
{
	struct tree *tree = sup->tree;

	if (sup->awake)
		return;
	sup->awake = true;
	sup->wake_next = NULL;
	sup->wake_prev = tree->wake_last;
	if (tree->wake_last)
		tree->wake_last->wake_next = sup;
	else
		tree->wake_first = sup;
	tree->wake_last = sup;
}

static void sup_sleep(struct sup *sup)
{
	struct tree *tree = sup->tree;

	if (!sup->awake)
		return;
	sup->awake = false;
	if (sup->wake_prev)
		sup->wake_prev->wake_next = sup->wake_next;
	else
		tree->wake_first = sup->wake_next;
	if (sup->wake_next)
		sup->wake_next->wake_prev = sup->wake_prev;
	else
		tree->wake_last = sup->wake_prev;
}

/* Children. */

struct child *sup_child_make(struct sup *sup, struct spec *spec, struct args *args)
{
	const char *id = sup_is_simple(sup) ? "" : spec->data.id;
	size_t len = strlen(id);
	struct child *child = calloc(1, sizeof(*child) + len + 1);

	if (!child)
		return NULL;
	if (timer_heap_reserve(&sup->tree->timers)) {
		free(child);
		return NULL;
	}
	child->sup = sup;
	child->timer.kind = TIMER_OF_CHILD;
	child->message.kind = MESSAGE_CHILD;
	memcpy(child->id, id, len);
	if (!sup_is_simple(sup)) {
		HASH_ADD_KEYPTR(by_id, sup->by_id, child->id, len, child);
		if (!child->by_id.tbl) {
			timer_heap_unreserve(&sup->tree->timers);
			free(child);
			return NULL;
		}
	}
	child->spec = spec;
	child->args = args;
	sup->n_children++;
	return child;
}

void sup_child_append(struct sup *sup, struct child *child)
{
	child->next = NULL;
	child->prev = sup->last;
	if (sup->last)
		sup->last->next = child;
	else
		sup->first = child;
	sup->last = child;
}

int sup_child_new(struct sup *sup, struct spec *spec, struct args *args, struct child **ret_child)
{
	struct child *child;

	if (sup->n_children >= SPEC_CHILDREN_MAX)
		return -ERR_TOO_MANY;
	child = sup_child_make(sup, spec, args);
	if (!child)
		return -ERR_NO_MEMORY;
	sup_child_append(sup, child);
	*ret_child = child;
	return 0;
}

static void sup_child_unlink(struct sup *sup, struct child *child)
{
	if (child->prev)
		child->prev->next = child->next;
	else if (sup->first == child)
		sup->first = child->next;
	if (child->next)
		child->next->prev = child->prev;
	else if (sup->last == child)
		sup->last = child->prev;
}

void sup_child_free(struct child *child)
{
	struct sup *sup = child->sup;
	struct tree *tree = sup->tree;

	/* A walk over the children goes on where it was. */
	if (sup->op.cursor == child) {
		bool backwards = sup->op.kind == OP_GROUP_STOP || sup->op.kind == OP_STOP_ALL;

		sup->op.cursor = backwards ? child->prev : child->next;
	}
	if (child->below)
		sup_free(child->below);
	tree_map_remove(tree, child);
	if (child->by_id.tbl)
		HASH_DELETE(by_id, sup->by_id, child);
	sup_mail_remove(sup, &child->message);
	timer_heap_disarm(&tree->timers, &child->timer);
	timer_heap_unreserve(&tree->timers);
	sup_child_unlink(sup, child);
	sup->n_children--;
	spec_unref(child->spec);
	sup_args_unref(tree, child->args);
	free(child);
}

/* Supervisors. */

static int sup_add_children(struct sup *sup, const struct spec_group *group)
{
	for (size_t i = 0; i < group->n_specs; i++) {
		struct child *child;
		int rc = sup_child_new(sup, group->specs[i], NULL, &child);

		if (rc < 0)
			return rc;
		spec_ref(group->specs[i]);
	}
	return 0;
}

struct sup *sup_new_empty(
	struct tree *tree, struct child *self, const struct supervisor_flags *flags)
{
	struct sup *sup = calloc(1, sizeof(*sup));

	if (!sup)
		return NULL;
	if (timer_heap_reserve(&tree->timers)) {
		free(sup);
		return NULL;
	}
	sup->tree = tree;
	sup->self = self;
	sup->instance = self ? self->instance : TREE_ROOT;
	sup->flags = *flags;
	sup->timer.kind = TIMER_OF_SUP;
	window_init(&sup->window, (uint64_t)flags->intensity, (uint64_t)flags->period_s * 1000u);
	return sup;
}

struct sup *sup_new(struct tree *tree, struct child *self, const struct spec_group *group)
{
	struct sup *sup = sup_new_empty(tree, self, &group->flags);

	if (!sup)
		return NULL;
	if (sup_is_simple(sup)) {
		sup->template = spec_ref(group->specs[0]);
	} else if (sup_add_children(sup, group)) {
		sup_free(sup);
		return NULL;
	}
	sup->op.kind = OP_INIT;
	sup->op.cursor = sup->first;
	return sup;
}

void sup_free(struct sup *sup)
{
	struct tree *tree;

	if (!sup)
		return;
	tree = sup->tree;
	while (sup->first)
		sup_child_free(sup->first);
	while (sup->mail_first) {
		struct message *message = sup->mail_first;

		sup_mail_remove(sup, message);
		sup_request_free(tree, (struct request *)message);
	}
	sup_sleep(sup);
	timer_heap_disarm(&tree->timers, &sup->timer);
	timer_heap_unreserve(&tree->timers);
	window_free(&sup->window);
	spec_unref(sup->template);
	free(sup);
}
