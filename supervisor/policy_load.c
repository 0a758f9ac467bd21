/* The tree from bytes: see policy_save.c. Nothing of what they say is trusted to make sense. */
#include "policy_rows.h"

#include <stdlib.h>
#include <string.h>

struct list {
	void **items;
	size_t n;
};

struct loading {
	struct tree *tree;
	const struct tree_cookies *cookies;
	struct err *err;
	struct list specs, groups, children, sups;
};

static int no_memory(struct loading *l)
{
	return err_set(l->err, ERR_NO_MEMORY, "no memory for the saved tree");
}

static int no_sense(struct loading *l, const char *what)
{
	return err_set(l->err, ERR_PROTOCOL, "the saved tree has a %s that is none", what);
}

static int list_add(struct loading *l, struct list *list, void *item)
{
	/* grows at each power of two */
	if ((list->n & (list->n - 1)) == 0) {
		size_t cap = list->n ? list->n * 2 : 1;
		void **items = realloc(list->items, cap * sizeof(*items));

		if (!items)
			return no_memory(l);
		list->items = items;
	}
	list->items[list->n++] = item;
	return 0;
}

/* By number; 0 and what is none: NULL. */
static void *list_get(const struct list *list, uint64_t number)
{
	return number > 0 && number <= list->n ? list->items[number - 1] : NULL;
}

static int load_object(struct loading *l, struct span object, const char *name,
	const struct saved_field *rows, size_t n, void *members)
{
	return saved_get_fields(saved_get_object(object, name), rows, n, members, l->err);
}

static struct spec *new_spec(struct loading *l, struct span id)
{
	struct spec *spec = calloc(1, sizeof(*spec) + id.len + 1);

	if (!spec) {
		no_memory(l);
		return NULL;
	}
	spec->refs = 1;
	spec->owner = l->tree->owner;
	if (id.len)
		memcpy(spec->id, id.p, id.len);
	spec->data.id = spec->id;
	return spec;
}

static int load_cookie(struct loading *l, struct span object, const char *name, void **ret)
{
	struct saved_item item;

	while (saved_next(&object, &item)) {
		if (!saved_is(&item, name, SAVED_OBJECT))
			continue;
		*ret = l->cookies->load(l->tree->owner.ctx, item.bytes, l->err);
		return *ret ? 0 : l->err->code ? l->err->code : no_memory(l);
	}
	return 0;
}

static int fill_spec(struct loading *l, struct span object, struct spec *spec)
{
	struct child_spec *data = &spec->data;
	uint64_t group = saved_get_uint(object, "group", 0);
	int r = saved_get_fields(object, SAVED_ROWS(spec_rows), data, l->err);

	if (r == 0)
		r = load_object(l, object, "shutdown", SAVED_ROWS(shutdown_rows), &data->shutdown);
	if (r == 0 && group) {
		spec->group = list_get(&l->groups, group);
		if (!spec->group)
			return no_sense(l, "group");
		spec_group_ref(spec->group);
	}
	return r == 0 ? load_cookie(l, object, "start", &data->start) : r;
}

static int load_spec(struct loading *l, struct span object)
{
	struct span id = saved_get_bytes(object, "id");
	struct spec *spec;
	int r;

	if (id.len > SPEC_ID_MAX)
		return no_sense(l, "name");
	spec = new_spec(l, id);
	if (!spec)
		return -ERR_NO_MEMORY;
	r = fill_spec(l, object, spec);
	if (r == 0)
		r = list_add(l, &l->specs, spec);
	if (r < 0)
		spec_unref(spec);
	return r;
}

static int fill_group(struct loading *l, struct span object, struct spec_group *group)
{
	struct saved_item item;
	size_t n = 0;
	int r = load_object(l, object, "flags", SAVED_ROWS(flags_rows), &group->flags);

	if (r < 0)
		return r;
	for (struct span rest = object; saved_next(&rest, &item);)
		n += saved_is(&item, "spec", SAVED_UINT);
	group->specs = calloc(n + 1, sizeof(struct spec *));
	if (!group->specs)
		return no_memory(l);
	while (saved_next(&object, &item)) {
		if (!saved_is(&item, "spec", SAVED_UINT))
			continue;
		if (!list_get(&l->specs, item.number))
			return no_sense(l, "spec");
		group->specs[group->n_specs++] = spec_ref(list_get(&l->specs, item.number));
	}
	return 0;
}

static int load_group(struct loading *l, struct span object)
{
	struct spec_group *group = calloc(1, sizeof(*group));
	int r;

	if (!group)
		return no_memory(l);
	group->refs = 1;
	r = fill_group(l, object, group);
	if (r == 0)
		r = list_add(l, &l->groups, group);
	if (r < 0)
		spec_group_unref(group);
	return r;
}

static int load_args(struct loading *l, struct span object, struct args **ret)
{
	struct saved_item item;
	int r;

	while (saved_next(&object, &item)) {
		if (!saved_is(&item, "args", SAVED_OBJECT))
			continue;
		*ret = calloc(1, sizeof(**ret));
		if (!*ret)
			return no_memory(l);
		(*ret)->refs = 1;
		r = load_cookie(l, item.bytes, "cookie", &(*ret)->cookie);
		if (r < 0) {
			free(*ret);
			*ret = NULL;
		}
		return r;
	}
	return 0;
}

static int fill_child(struct loading *l, struct span object, struct child *child)
{
	int r = saved_get_fields(object, SAVED_ROWS(child_rows), child, l->err);

	if (r == 0)
		r = load_object(l, object, "exit", SAVED_ROWS(exit_rows), &child->exit);
	if (r == 0)
		r = load_args(l, object, &child->args);
	if (r == 0 && saved_get_uint(object, "mapped", 0) &&
		tree_map_add(l->tree, child, child->instance) < 0)
		r = no_memory(l);
	return r;
}

static int load_child(struct loading *l, struct sup *sup, struct span object)
{
	struct spec *spec = list_get(&l->specs, saved_get_uint(object, "spec", 0));
	struct child *child;
	int r;

	if (!spec)
		return no_sense(l, "spec");
	r = sup_child_new(sup, spec, NULL, &child);
	if (r < 0)
		return err_set(l->err, (enum err_code)-r, "no room for a saved child");
	spec_ref(spec);
	r = fill_child(l, object, child);
	sup->n_alive += sup_child_is_alive(child);
	return r < 0 ? r : list_add(l, &l->children, child);
}

static int load_request(struct loading *l, struct sup *sup, struct span object)
{
	struct span id = saved_get_bytes(object, "id");
	struct request *request = calloc(1, sizeof(*request) + id.len + 1);
	uint64_t spec = saved_get_uint(object, "spec", 0);
	uint64_t group = saved_get_uint(object, "group", 0);
	int r;

	if (!request)
		return no_memory(l);
	request->message.kind = MESSAGE_REQUEST;
	if (id.len)
		memcpy(request->id, id.p, id.len);
	r = saved_get_fields(object, SAVED_ROWS(request_rows), request, l->err);
	if (r == 0 && ((spec && !list_get(&l->specs, spec)) ||
			      (group && !list_get(&l->groups, group))))
		r = no_sense(l, "request");
	if (r == 0)
		r = load_args(l, object, &request->args);
	if (r < 0) {
		free(request);
		return r;
	}
	request->spec = spec ? spec_ref(list_get(&l->specs, spec)) : NULL;
	request->group = group ? spec_group_ref(list_get(&l->groups, group)) : NULL;
	sup_mail_push(sup, &request->message);
	return 0;
}

static int load_mail(struct loading *l, struct sup *sup, struct span object)
{
	uint64_t number = saved_get_uint(object, "child", 0);
	struct child *child = list_get(&l->children, number);

	if (!number)
		return load_request(l, sup, object);
	if (!child || child->sup != sup || child->message.queued)
		return no_sense(l, "message");
	sup_mail_push(sup, &child->message);
	return 0;
}

static int child_named(struct loading *l, const struct sup *sup, struct span object,
	const char *name, struct child **ret)
{
	uint64_t number = saved_get_uint(object, name, 0);
	struct child *child = list_get(&l->children, number);

	if (number && (!child || child->sup != sup))
		return no_sense(l, name);
	*ret = child;
	return 0;
}

static int load_op(struct loading *l, struct sup *sup, struct span object)
{
	int r = saved_get_fields(object, SAVED_ROWS(op_rows), &sup->op, l->err);

	if (r == 0)
		r = child_named(l, sup, object, "cursor", &sup->op.cursor);
	if (r == 0)
		r = child_named(l, sup, object, "anchor", &sup->op.anchor);
	if (r == 0)
		r = child_named(l, sup, object, "waiting", &sup->op.waiting);
	return r;
}

static int load_parts(struct loading *l, struct sup *sup, struct span object)
{
	struct saved_item item;
	int r = 0;

	while (r == 0 && saved_next(&object, &item)) {
		if (saved_is(&item, "child", SAVED_OBJECT))
			r = load_child(l, sup, item.bytes);
		else if (saved_is(&item, "mail", SAVED_OBJECT))
			r = load_mail(l, sup, item.bytes);
		else if (saved_is(&item, "op", SAVED_OBJECT))
			r = load_op(l, sup, item.bytes);
		else if (saved_is(&item, "restart", SAVED_UINT))
			window_recall(&sup->window, item.number);
	}
	return r;
}

static int load_sup(struct loading *l, struct span object)
{
	uint64_t of = saved_get_uint(object, "self", 0);
	uint64_t template = saved_get_uint(object, "template", 0);
	struct child *self = list_get(&l->children, of);
	struct supervisor_flags flags = {0};
	struct sup *sup;
	int r = load_object(l, object, "flags", SAVED_ROWS(flags_rows), &flags);

	if (r < 0)
		return r;
	if (of ? !self || self->below || !self->spec->group : l->tree->root != NULL)
		return no_sense(l, "supervisor");
	sup = sup_new_empty(l->tree, self, &flags);
	if (!sup)
		return no_memory(l);
	*(self ? &self->below : &l->tree->root) = sup;
	if (template && !list_get(&l->specs, template))
		return no_sense(l, "template");
	sup->template = template ? spec_ref(list_get(&l->specs, template)) : NULL;
	if (sup_is_simple(sup) != (sup->template != NULL))
		return no_sense(l, "template");
	r = saved_get_fields(object, SAVED_ROWS(sup_rows), sup, l->err);
	if (r == 0)
		r = list_add(l, &l->sups, sup);
	return r == 0 ? load_parts(l, sup, object) : r;
}

static int load_timer(struct loading *l, struct span object)
{
	uint64_t of = saved_get_uint(object, "of", 0);
	struct heap_timer saved = {0}, *timer;
	struct child *child;
	struct sup *sup;
	int r = saved_get_fields(object, SAVED_ROWS(timer_rows), &saved, l->err);

	if (r < 0)
		return r;
	child = saved.kind == TIMER_OF_CHILD ? list_get(&l->children, of) : NULL;
	sup = saved.kind == TIMER_OF_SUP ? list_get(&l->sups, of) : NULL;
	timer = child ? &child->timer : sup ? &sup->timer : NULL;
	if (!timer || timer->place)
		return no_sense(l, "timer");
	timer_heap_arm(&l->tree->timers, timer, saved.at);
	return 0;
}

static int load_items(struct loading *l, struct span saved)
{
	static const struct {
		const char *name;
		int (*load)(struct loading *l, struct span object);
	} parts[] = {
		{"spec", load_spec},
		{"group", load_group},
		{"sup", load_sup},
		{"timer", load_timer},
	};
	struct saved_item item;
	int r = 0;

	while (r == 0 && saved_next(&saved, &item))
		for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
			if (saved_is(&item, parts[i].name, SAVED_OBJECT))
				r = parts[i].load(l, item.bytes);
	return r;
}

static int load_tree(struct loading *l, struct span saved)
{
	struct tree *tree = l->tree;
	int r = saved_get_fields(saved, SAVED_ROWS(tree_rows), tree, l->err);

	if (r == 0)
		r = load_items(l, saved);
	if (r < 0)
		return r;
	tree->group = list_get(&l->groups, saved_get_uint(saved, "root", 0));
	if (!tree->group)
		return no_sense(l, "root");
	spec_group_ref(tree->group);
	return 0;
}

/* The lists hold one reference of each. */
static void let_go(struct loading *l)
{
	for (size_t i = 0; i < l->groups.n; i++)
		spec_group_unref(l->groups.items[i]);
	for (size_t i = 0; i < l->specs.n; i++)
		spec_unref(l->specs.items[i]);
	free(l->specs.items);
	free(l->groups.items);
	free(l->children.items);
	free(l->sups.items);
}

/* Nothing was due: whoever was woken while the parts were put together has nothing to do. */
static void put_to_sleep(struct tree *tree)
{
	while (tree->wake_first) {
		struct sup *sup = tree->wake_first;

		tree->wake_first = sup->wake_next;
		sup->awake = false;
	}
	tree->wake_last = NULL;
}

int tree_load(struct span saved, const struct tree_cookies *cookies, spec_release_fn *release,
	void *ctx, struct tree **ret_tree, struct err *err)
{
	struct err why = {0};
	struct loading l = {.cookies = cookies, .err = err ? err : &why};
	int r;

	l.tree = calloc(1, sizeof(*l.tree));
	if (!l.tree)
		return no_memory(&l);
	l.tree->owner = (struct spec_owner){release, ctx};
	r = load_tree(&l, saved);
	put_to_sleep(l.tree);
	let_go(&l);
	if (r < 0) {
		tree_free(l.tree);
		return r;
	}
	*ret_tree = l.tree;
	return 0;
}
