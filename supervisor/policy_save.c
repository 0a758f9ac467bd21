/*
 * The tree as bytes (Q11). Specs and groups of specs are shared: they are written once, numbered from 1, each after what
 * it refers to, and named by number. So are children, by supervisor, and supervisors, each after the child it belongs to.
 *
 * Only a tree without actions to take is saved: its lists of notes and of supervisors that have something to do are
 * empty then.
 */
#include "policy_rows.h"

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
