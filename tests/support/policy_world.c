#include "policy_world_private.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof(*world));

	if (world)
		buf_init(&world->trace, 1u << 24);
	return world;
}

void world_free(struct world *world)
{
	struct decl *decl;
	struct decl *tmp;

	if (!world)
		return;
	tree_free(world->tree);
	HASH_CLEAR(by_instance, world->processes);
	HASH_ITER (hh, world->decls, decl, tmp) {
		HASH_DEL(world->decls, decl);
		free(decl->specs);
		free(decl);
	}
	buf_free(&world->trace);
	free(world);
}

void world_drop_tree(struct world *world)
{
	tree_free(world->tree);
	world->tree = NULL;
}

struct tree *world_tree(struct world *world)
{
	return world->tree;
}

size_t world_alive(const struct world *world)
{
	return HASH_CNT(by_instance, world->processes);
}

long world_unanswered(const struct world *world)
{
	return world->unanswered;
}

long world_cookies(const struct world *world)
{
	return world->cookies;
}

const char *world_take_trace(struct world *world)
{
	static const char none[] = "";

	buf_append_char(&world->trace, '\0');
	buf_clear(&world->trace);
	return world->trace.data ? world->trace.data : none;
}

void say(struct world *world, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (world->trace.len > 0)
		buf_append_str(&world->trace, ", ");
	buf_append_str(&world->trace, text);
}

struct decl *decl_find(struct world *world, const char *name)
{
	struct decl *decl;

	HASH_FIND_STR(world->decls, name, decl);
	if (!decl)
		err_set(world->err, ERR_INVALID_ARGUMENT, "nothing is called '%s'", name);
	return decl;
}

struct decl *decl_new(struct world *world, const char *name)
{
	struct decl *decl = NULL;

	HASH_FIND_STR(world->decls, name, decl);
	if (decl)
		return decl;
	decl = calloc(1, sizeof(*decl));
	snprintf(decl->name, sizeof(decl->name), "%s", name);
	decl->dies_at = TREE_NO_DEADLINE;
	decl->onstop_exit = (struct exit_status){.code = EXIT_CODE_SHUTDOWN};
	HASH_ADD_STR(world->decls, name, decl);
	return decl;
}

static enum plan decl_next_plan(struct decl *decl)
{
	enum plan plan;

	if (decl->n_plan == 0)
		return PLAN_OK;
	plan = decl->plan[0];
	if (decl->n_plan == 1 && decl->plan_sticks)
		return plan;
	memmove(decl->plan, decl->plan + 1, --decl->n_plan * sizeof(plan));
	return plan;
}

/* Whose flags and children a supervisor has. */
static struct decl *decl_group(struct decl *decl)
{
	struct decl *of = decl->of ? decl->of : decl;

	return of->now ? of->now : of;
}

long decl_build(struct decl *decl)
{
	long cookies = 1;

	if (!decl->spec.supervisor)
		return cookies;
	if (decl_group(decl) != decl) {
		decl->spec.supervisor = &decl_group(decl)->sup;
		return decl_build(decl_group(decl));
	}
	free(decl->specs);
	decl->specs = calloc(decl->n_children + 1, sizeof(*decl->specs));
	for (size_t i = 0; i < decl->n_children; i++) {
		cookies += decl_build(decl->children[i]);
		decl->specs[i] = decl->children[i]->spec;
	}
	decl->sup.children = decl->specs;
	decl->sup.n_children = decl->n_children;
	return cookies;
}

/* Processes. */

void process_ends(
	struct world *world, struct decl *decl, const char *word, const struct exit_status *status)
{
	uint64_t instance = decl->instance;

	if (word)
		say(world, "%s %s", word, decl->name);
	HASH_DELETE(by_instance, world->processes, decl);
	decl->instance = 0;
	decl->began = false;
	decl->dies_at = TREE_NO_DEADLINE;
	tree_child_exited(world->tree, world->now, instance, status);
}

static void act_start(struct world *world, const struct action *action)
{
	static const char *const words[] = {"start", "fail", "ignore", "begin"};
	struct decl *decl = action->args ? action->args : action->start;
	enum plan plan = decl_next_plan(decl);

	if (decl->instance) { /* D9: one name, one process */
		say(world, "STILL ALIVE %s", decl->name);
		tree_child_start_failed(world->tree, world->now, action->instance, "still alive");
		return;
	}
	say(world, "%s %s", words[plan], decl->name);
	decl->instance = action->instance;
	decl->began = plan == PLAN_HANG;
	if (plan == PLAN_OK || plan == PLAN_HANG)
		decl->last = decl->instance;
	HASH_ADD(by_instance, world->processes, instance, sizeof(decl->instance), decl);
	if (plan == PLAN_OK)
		tree_child_ready(world->tree, world->now, decl->instance, 0);
	else if (plan == PLAN_FAIL)
		process_ends(world, decl, NULL, &(struct exit_status){.code = 3});
	else if (plan == PLAN_IGNORE)
		process_ends(world, decl, NULL, &(struct exit_status){.code = EXIT_CODE_IGNORE});
}

static void act_signal(struct world *world, struct decl *decl)
{
	switch (decl->onstop) {
	case ONSTOP_EXIT:
		process_ends(world, decl, "stop", &decl->onstop_exit);
		return;
	case ONSTOP_HANG:
		say(world, "signal %s", decl->name);
		return;
	case ONSTOP_AFTER:
		say(world, "signal %s", decl->name);
		decl->dies_at = world->now + decl->onstop_after;
		return;
	}
}

static void act_reply(struct world *world, const struct action *action)
{
	world->unanswered--;
	say(world, "reply %s", request_result_name(action->result));
}

static void act(struct world *world, const struct action *action)
{
	struct decl *decl;

	HASH_FIND(by_instance, world->processes, &action->instance, sizeof(uint64_t), decl);
	switch (action->kind) {
	case ACTION_START:
		act_start(world, action);
		return;
	case ACTION_SIGNAL:
		if (decl)
			act_signal(world, decl);
		return;
	case ACTION_KILL:
		if (decl)
			process_ends(world, decl, "kill",
				&(struct exit_status){.signalled = true, .code = SIGKILL});
		return;
	case ACTION_REPORT:
		if (world->reports && action->context != REPORT_PROGRESS)
			say(world, "report %s %s (%s)", report_context_name(action->context),
				action->child_id, action->reason);
		return;
	case ACTION_REPLY:
		act_reply(world, action);
		return;
	case ACTION_READY:
		say(world, "ready");
		return;
	case ACTION_GAVE_UP:
		say(world, "gave_up");
		return;
	case ACTION_STOPPED:
		say(world, "stopped");
		return;
	case ACTION_MAX:
		return;
	}
}

void world_drain(struct world *world)
{
	struct action action;

	while (world->tree && tree_next_action(world->tree, &action))
		act(world, &action);
}

static struct decl *world_next_death(struct world *world)
{
	struct decl *next = NULL;

	for (struct decl *decl = world->processes; decl; decl = decl->by_instance.next) {
		if (decl->dies_at != TREE_NO_DEADLINE && (!next || decl->dies_at < next->dies_at))
			next = decl;
	}
	return next;
}

/* Lets time pass up to a moment, stopping at all that happens on the way. */
void world_pass(struct world *world, uint64_t until)
{
	for (;;) {
		struct decl *dying;
		uint64_t deadline;

		world_drain(world);
		dying = world_next_death(world);
		deadline = tree_next_deadline(world->tree);
		if (dying && dying->dies_at <= until && dying->dies_at <= deadline) {
			world->now = dying->dies_at;
			process_ends(world, dying, "stop", &dying->onstop_exit);
		} else if (deadline <= until && deadline != TREE_NO_DEADLINE) {
			world->now = deadline > world->now ? deadline : world->now;
			tree_tick(world->tree, world->now);
		} else {
			return;
		}
	}
}

/* One tree after the other. */

static void cookie_save(struct saved_writer *writer, const void *cookie)
{
	saved_put_uint(writer, "decl", (uint64_t)(uintptr_t)cookie);
}

static void *cookie_load(void *ctx, struct span object, struct err *err)
{
	struct world *world = ctx;

	(void)err;
	world->cookies++;
	return (void *)(uintptr_t)saved_get_uint(object, "decl", 0);
}

static const struct tree_cookies cookies = {cookie_save, cookie_load};

static int save(struct tree *tree, struct buf *out)
{
	struct saved_writer writer;
	int r;

	buf_init(out, 1u << 26);
	saved_begin(&writer, out, 1, 1);
	r = tree_save(tree, &cookies, &writer);
	return r < 0 ? r : saved_end(&writer);
}

void world_exchange_trees(struct world *world)
{
	world->exchanging = true;
}

int world_exchange(struct world *world)
{
	struct tree *tree = NULL;
	struct span values;
	struct buf first, second = {0};
	int r;

	if (!world->exchanging || !world->tree)
		return 0;
	r = save(world->tree, &first);
	if (r == 0)
		r = saved_read(buf_span(&first), 1, 1, &values, world->err);
	if (r == 0)
		r = tree_load(values, &cookies, cookie_released, world, &tree, world->err);
	if (r == 0)
		r = save(tree, &second);
	if (r == 0 && !span_equal(buf_span(&first), buf_span(&second)))
		r = err_set(world->err, ERR_INTERNAL, "a loaded tree is not what was saved");
	else if (r < 0 && !world->err->code)
		err_set(world->err, (enum err_code)-r, "a tree cannot be saved");
	tree_free(world->tree);
	world->tree = tree;
	buf_free(&first);
	buf_free(&second);
	return r;
}
