/*
 * The tree as bytes, and from them again (Q11). Specs and groups of specs are shared: they are written once, numbered
 * from 1, each after what it refers to, and named by number. So are children, by supervisor, and supervisors, each
 * after the child it belongs to.
 *
 * Only a tree without actions to take is saved: its lists of notes and of supervisors that have something to do are
 * empty then.
 */
#include "policy_private.h"

#include <stdlib.h>
#include <string.h>

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

/* --- saving ----------------------------------------------------------------------------------- */

struct saving {
	struct tree *tree;
	const struct tree_cookies *cookies;
	struct saved_writer *writer;
	size_t specs, groups, children, sups;
};

static void put_object(struct saved_writer *writer, const char *name,
	const struct saved_field *rows, size_t n, const void *members)
{
	saved_open(writer, name);
	saved_put_fields(writer, rows, n, members);
	saved_close(writer);
}

static void put_cookie(struct saving *s, const char *name, const void *cookie)
{
	if (!cookie)
		return;
	saved_open(s->writer, name);
	s->cookies->save(s->writer, cookie);
	saved_close(s->writer);
}

static size_t save_group(struct saving *s, struct spec_group *group);

static size_t save_spec(struct saving *s, struct spec *spec)
{
	size_t group;

	if (!spec || spec->saved_in == s->tree->saves)
		return spec ? spec->saved : 0;
	group = save_group(s, spec->group);
	spec->saved_in = s->tree->saves;
	spec->saved = ++s->specs;
	saved_open(s->writer, "spec");
	saved_put_bytes(s->writer, "id", span_str(spec->id));
	saved_put_fields(s->writer, SAVED_ROWS(spec_rows), &spec->data);
	put_object(s->writer, "shutdown", SAVED_ROWS(shutdown_rows), &spec->data.shutdown);
	saved_put_uint(s->writer, "group", group);
	put_cookie(s, "start", spec->data.start);
	saved_close(s->writer);
	return spec->saved;
}

static size_t save_group(struct saving *s, struct spec_group *group)
{
	if (!group || group->saved_in == s->tree->saves)
		return group ? group->saved : 0;
	for (size_t i = 0; i < group->n_specs; i++)
		save_spec(s, group->specs[i]);
	group->saved_in = s->tree->saves;
	group->saved = ++s->groups;
	saved_open(s->writer, "group");
	put_object(s->writer, "flags", SAVED_ROWS(flags_rows), &group->flags);
	for (size_t i = 0; i < group->n_specs; i++)
		saved_put_uint(s->writer, "spec", group->specs[i]->saved);
	saved_close(s->writer);
	return group->saved;
}

/* What a supervisor and those below it refer to. */
static void save_specs_of(struct saving *s, struct sup *sup)
{
	save_spec(s, sup->template);
	for (struct child *child = sup->first; child; child = child->next) {
		save_spec(s, child->spec);
		if (child->below)
			save_specs_of(s, child->below);
	}
	for (struct message *message = sup->mail_first; message; message = message->next) {
		struct request *request = (struct request *)message;

		if (message->kind != MESSAGE_REQUEST)
			continue;
		save_spec(s, request->spec);
		save_group(s, request->group);
	}
}

static void save_child(struct saving *s, struct child *child)
{
	child->saved = ++s->children;
	saved_open(s->writer, "child");
	saved_put_uint(s->writer, "spec", child->spec->saved);
	saved_put_fields(s->writer, SAVED_ROWS(child_rows), child);
	saved_put_uint(s->writer, "mapped", child->by_instance.tbl != NULL);
	put_object(s->writer, "exit", SAVED_ROWS(exit_rows), &child->exit);
	if (child->args) {
		saved_open(s->writer, "args");
		put_cookie(s, "cookie", child->args->cookie);
		saved_close(s->writer);
	}
	saved_close(s->writer);
}

static void save_request(struct saving *s, const struct request *request)
{
	saved_put_fields(s->writer, SAVED_ROWS(request_rows), request);
	saved_put_bytes(s->writer, "id", span_str(request->id));
	saved_put_uint(s->writer, "spec", request->spec ? request->spec->saved : 0);
	saved_put_uint(s->writer, "group", request->group ? request->group->saved : 0);
	if (request->args) {
		saved_open(s->writer, "args");
		put_cookie(s, "cookie", request->args->cookie);
		saved_close(s->writer);
	}
}

static size_t number_of(const struct child *child)
{
	return child ? child->saved : 0;
}

static void save_mail(struct saving *s, const struct sup *sup)
{
	for (struct message *message = sup->mail_first; message; message = message->next) {
		saved_open(s->writer, "mail");
		if (message->kind == MESSAGE_REQUEST)
			save_request(s, (const struct request *)message);
		else
			saved_put_uint(s->writer, "child",
				number_of((struct child *)((char *)message -
							   offsetof(struct child, message))));
		saved_close(s->writer);
	}
}

static void save_op(struct saving *s, const struct op *op)
{
	saved_open(s->writer, "op");
	saved_put_fields(s->writer, SAVED_ROWS(op_rows), op);
	saved_put_uint(s->writer, "cursor", number_of(op->cursor));
	saved_put_uint(s->writer, "anchor", number_of(op->anchor));
	saved_put_uint(s->writer, "waiting", number_of(op->waiting));
	saved_close(s->writer);
}

static void save_sup(struct saving *s, struct sup *sup)
{
	sup->saved = ++s->sups;
	saved_open(s->writer, "sup");
	saved_put_uint(s->writer, "self", number_of(sup->self));
	saved_put_fields(s->writer, SAVED_ROWS(sup_rows), sup);
	put_object(s->writer, "flags", SAVED_ROWS(flags_rows), &sup->flags);
	saved_put_uint(s->writer, "template", sup->template ? sup->template->saved : 0);
	for (size_t i = 0; i < sup->window.count; i++)
		saved_put_uint(s->writer, "restart",
			sup->window.times[(sup->window.first + i) % sup->window.cap]);
	for (struct child *child = sup->first; child; child = child->next)
		save_child(s, child);
	save_mail(s, sup);
	save_op(s, &sup->op);
	saved_close(s->writer);
	for (struct child *child = sup->first; child; child = child->next)
		if (child->below)
			save_sup(s, child->below);
}

/* In the order of the heap, so that of two of the same moment the same comes first. */
static void save_timers(struct saving *s)
{
	const struct timer_heap *heap = &s->tree->timers;

	for (size_t i = 0; i < heap->count; i++) {
		const struct heap_timer *timer = heap->timers[i];
		const char *owner = (const char *)timer;

		saved_open(s->writer, "timer");
		saved_put_fields(s->writer, SAVED_ROWS(timer_rows), timer);
		saved_put_uint(s->writer, "of",
			timer->kind == TIMER_OF_CHILD
				? ((const struct child *)(owner - offsetof(struct child, timer)))
					  ->saved
				: ((const struct sup *)(owner - offsetof(struct sup, timer)))
					  ->saved);
		saved_close(s->writer);
	}
}

int tree_save(struct tree *tree, const struct tree_cookies *cookies, struct saved_writer *writer)
{
	struct saving s = {.tree = tree, .cookies = cookies, .writer = writer};

	if (tree->ring_count > 0 || tree->note_first || tree->wake_first)
		return -ERR_BUSY;
	tree->saves++;
	saved_put_fields(writer, SAVED_ROWS(tree_rows), tree);
	save_group(&s, tree->group);
	if (tree->root)
		save_specs_of(&s, tree->root);
	saved_put_uint(writer, "root", tree->group->saved);
	if (tree->root)
		save_sup(&s, tree->root);
	save_timers(&s);
	return writer->out->failed;
}

/* --- loading ---------------------------------------------------------------------------------- */

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
			window_add(&sup->window, item.number);
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
