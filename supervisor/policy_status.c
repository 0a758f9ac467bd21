/* Questions about the tree (J7-J9, K6); they change nothing and wait for nobody (Q3). */
#include "policy_private.h"

#include <string.h>

static enum child_status child_status(const struct child *child)
{
	static const enum child_status statuses[] = {
		[CHILD_UNDEFINED] = CHILD_STATUS_UNDEFINED,
		[CHILD_STARTING] = CHILD_STATUS_STARTING,
		[CHILD_RUNNING] = CHILD_STATUS_RUNNING,
		[CHILD_DEAD] = CHILD_STATUS_UNDEFINED,
		[CHILD_STOPPING] = CHILD_STATUS_STOPPING,
		[CHILD_KILLING] = CHILD_STATUS_STOPPING,
		[CHILD_RESTARTING] = CHILD_STATUS_RESTARTING,
	};

	return statuses[child->state];
}

int tree_which_children(const struct tree *tree, uint64_t supervisor, struct child_row *rows,
	size_t max, size_t *ret_n)
{
	const struct sup *sup = sup_find(tree, supervisor);
	size_t n = 0;

	if (!sup)
		return -ERR_NOT_FOUND;
	for (const struct child *child = sup->last; child && n < max; child = child->prev) {
		rows[n++] = (struct child_row){
			.id = sup_is_simple(sup) ? NULL : child->id,
			.instance = sup_child_is_alive(child) ? child->instance : 0,
			.status = child_status(child),
			.type = child->spec->data.type,
			.start = child->spec->data.start,
		};
	}
	*ret_n = sup->n_children;
	return 0;
}

static bool child_is_active(const struct child *child)
{
	return child->state == CHILD_RUNNING || child->state == CHILD_STOPPING ||
	       child->state == CHILD_KILLING;
}

int tree_count_children(
	const struct tree *tree, uint64_t supervisor, struct child_counts *ret_counts)
{
	const struct sup *sup = sup_find(tree, supervisor);
	struct child_counts counts = {0};

	if (!sup)
		return -ERR_NOT_FOUND;
	for (const struct child *child = sup->first; child; child = child->next) {
		counts.active += child_is_active(child);
		if (child->spec->data.type == CHILD_SUPERVISOR)
			counts.supervisors++;
		else
			counts.workers++;
	}
	counts.specs = sup_is_simple(sup) ? 1 : sup->n_children;
	*ret_counts = counts;
	return 0;
}

int tree_get_childspec(const struct tree *tree, uint64_t supervisor, const char *id,
	const struct child_spec **ret_spec)
{
	const struct sup *sup = sup_find(tree, supervisor);
	const struct child *child;

	if (!sup)
		return -ERR_NOT_FOUND;
	if (sup_is_simple(sup)) {
		if (strcmp(id, sup->template->id) != 0)
			return -ERR_NOT_FOUND;
		*ret_spec = &sup->template->data;
		return 0;
	}
	child = sup_find_child(sup, id);
	if (!child)
		return -ERR_NOT_FOUND;
	*ret_spec = &child->spec->data;
	return 0;
}

uint64_t tree_find_child(const struct tree *tree, uint64_t supervisor, const char *id)
{
	const struct sup *sup = sup_find(tree, supervisor);
	const struct child *child = sup ? sup_find_child(sup, id) : NULL;

	return child && sup_child_is_alive(child) ? child->instance : 0;
}

uint64_t tree_find_supervisor(const struct tree *tree, const char *path)
{
	const struct sup *sup = tree->root;

	while (sup && path[0]) {
		size_t len = strcspn(path, "/");
		struct child *child;

		HASH_FIND(by_id, sup->by_id, path, len, child);
		sup = child ? child->below : NULL;
		path += len + (path[len] == '/');
	}
	return sup ? sup->instance : 0;
}
