/* Other flags and specs while the supervisor runs (L). */
#include "policy_private.h"

#include <stdlib.h>

static void child_set_spec(struct child *child, struct spec *spec)
{
	spec_unref(child->spec);
	child->spec = spec_ref(spec);
}

/* The children of ids that are not there yet, not in the list; none of them if memory is out. */
static int change_make_new(struct sup *sup, const struct spec_group *group, struct child **made)
{
	for (size_t i = 0; i < group->n_specs; i++) {
		if (sup_find_child(sup, group->specs[i]->id))
			continue;
		made[i] = sup_child_make(sup, group->specs[i], NULL);
		if (made[i]) {
			spec_ref(group->specs[i]);
			continue;
		}
		while (i-- > 0) {
			if (made[i])
				sup_child_free(made[i]);
		}
		return -ERR_NO_MEMORY;
	}
	return 0;
}

static void sup_child_take_out(struct sup *sup, struct child *child)
{
	if (child->prev)
		child->prev->next = child->next;
	else
		sup->first = child->next;
	if (child->next)
		child->next->prev = child->prev;
	else
		sup->last = child->prev;
}

/* L3: the named ones in their new order; those no longer named follow, as the newest. */
static void change_order(struct sup *sup, const struct spec_group *group, struct child *const *made)
{
	struct child *kept_first;
	struct child *kept_last;

	for (size_t i = 0; i < group->n_specs; i++) {
		struct child *child = made[i];

		if (!child) {
			child = sup_find_child(sup, group->specs[i]->id);
			child_set_spec(child, group->specs[i]);
			sup_child_take_out(sup, child);
		}
	}
	kept_first = sup->first;
	kept_last = sup->last;
	sup->first = NULL;
	sup->last = NULL;
	for (size_t i = 0; i < group->n_specs; i++)
		sup_child_append(sup, sup_find_child(sup, group->specs[i]->id));
	if (!kept_first)
		return;
	kept_first->prev = sup->last;
	if (sup->last)
		sup->last->next = kept_first;
	else
		sup->first = kept_first;
	sup->last = kept_last;
}

static int change_static(struct sup *sup, const struct spec_group *group)
{
	struct child **made = calloc(group->n_specs + 1, sizeof(struct child *));
	int rc;

	if (!made)
		return -ERR_NO_MEMORY;
	rc = change_make_new(sup, group, made);
	if (rc == 0)
		change_order(sup, group, made);
	free(made);
	return rc;
}

static void change_template(struct sup *sup, struct spec *spec)
{
	spec_unref(sup->template);
	sup->template = spec_ref(spec);
	for (struct child *child = sup->first; child; child = child->next)
		child_set_spec(child, spec);
}

enum request_result sup_change(struct sup *sup, struct spec_group *group)
{
	struct spec_group **declared = sup->self ? &sup->self->spec->group : &sup->tree->group;
	bool simple = group->flags.strategy == STRATEGY_SIMPLE_ONE_FOR_ONE;

	if (simple != sup_is_simple(sup))
		return RESULT_INVALID;
	if (simple)
		change_template(sup, group->specs[0]);
	else if (change_static(sup, group))
		return RESULT_START_ERROR;
	sup->flags = group->flags;
	window_set(&sup->window, (uint64_t)group->flags.intensity,
		(uint64_t)group->flags.period_s * 1000u);
	/* The template of a group of supervisors is not one member's to change. */
	if (!sup->self || !sup_is_simple(sup->self->sup)) {
		spec_group_unref(*declared);
		*declared = spec_group_ref(group);
	}
	return RESULT_OK;
}
