/*
 * One process after the other is replaced by one of the present programs, each when the one before is up: first who makes
 * processes, then who serves clients, last the admin process, through which it is watched. What is asked of the policy
 * counts against nobody's restarts (F5). A process that does not start is the end of the upgrade.
 */
#include "clock.h"
#include "log.h"
#include "upgrade.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 10u
#define MEMBERS_MAX 2u

/* Which processes are restarted together: they stop from the last to the first, and start the other way. */
struct row {
	enum role role;
	const char *group; /* of the tree; NULL: the server's own */
	const char *ids[MEMBERS_MAX]; /* NULL: the process's name */
};

enum { ROW_LAUNCHER, ROW_ZYGOTE, ROW_REGISTRY, ROW_SESSIONS, ROW_WORKER, ROW_UPSTREAM, ROW_GATEWAY, ROW_ADMIN };

static const struct row rows[] = {
	[ROW_LAUNCHER] = {ROLE_LAUNCHER, "launch", {"launcher"}},
	[ROW_ZYGOTE] = {ROLE_ZYGOTE, "sessions", {"zygote"}},
	[ROW_REGISTRY] = {ROLE_REGISTRY, "core", {"registry", "sessions"}},
	[ROW_SESSIONS] = {ROLE_SESSIONS, "core", {"registry", "sessions"}},
	[ROW_WORKER] = {ROLE_WORKER, NULL, {NULL}},
	[ROW_UPSTREAM] = {ROLE_UPSTREAM, NULL, {"worker"}},
	[ROW_GATEWAY] = {ROLE_GATEWAY, "edge", {NULL}},
	[ROW_ADMIN] = {ROLE_ADMIN, "admin", {"admin"}},
};

struct replacing {
	struct event *tick;
	uint64_t first;    /* of its requests; answers to earlier ones are a former root's */
	uint64_t request;  /* the last one made */
	unsigned awaited;  /* answers */
	unsigned rolled;   /* bits by role: session workers, gateways have had their turn */
};

static void look_soon(struct replacing *replacing)
{
	static const struct timeval soon = {0, TICK_MS * 1000};

	event_add(replacing->tick, &soon);
}

static bool is_old(const struct node *node, const struct child *child)
{
	return child->epoch != node->children.epoch && !child->replaced &&
	       (child->state == CHILD_RUNNING || child->state == CHILD_STARTING);
}

static struct child *find_old(const struct node *node, enum role role)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (child->role == role && is_old(node, child))
			return child;
	return NULL;
}

/* --- by the policy ------------------------------------------------------------------------------ */

static uint64_t supervisor_of(const struct node *node, const struct row *row, const char *name)
{
	char path[LIMIT_SERVER_NAME + 16];

	if (row->group)
		return tree_find_supervisor(node->tree, row->group);
	snprintf(path, sizeof(path), "upstreams/%s", name);
	return tree_find_supervisor(node->tree, path);
}

static int ask(struct node *node, uint64_t supervisor, const char *id, bool stop, struct err *err)
{
	struct replacing *replacing = node->upgrade->replacing;
	int r = (stop ? tree_terminate_child : tree_restart_child)(node->tree, clock_ms(),
		supervisor, ++replacing->request, id, err);

	if (r == 0)
		replacing->awaited++;
	return r;
}

/* stop: whoever runs is stopped first. name: of a gateway or server. */
static void restart(struct node *node, const struct row *row, const char *name, bool stop)
{
	uint64_t supervisor = supervisor_of(node, row, name);
	const char *ids[MEMBERS_MAX] = {row->ids[0] ? row->ids[0] : name, row->ids[1]};
	struct err err = {0};
	int r = 0;

	for (unsigned i = MEMBERS_MAX; stop && r == 0 && i-- > 0;)
		if (ids[i])
			r = ask(node, supervisor, ids[i], true, &err);
	for (unsigned i = 0; r == 0 && i < MEMBERS_MAX; i++)
		if (ids[i])
			r = ask(node, supervisor, ids[i], false, &err);
	if (r < 0)
		log_warn("upgrade.not_replaced", err_text(&err),
			KV_STR("child_role", role_name(row->role)), KV_STR("name", name));
	node_turn(node);
}

void replace_answered(struct node *node, const struct action *action)
{
	struct replacing *replacing = node->upgrade ? node->upgrade->replacing : NULL;
	char because[ERR_DETAIL_MAX];

	if (!replacing || action->request <= replacing->first)
		return;
	replacing->awaited--;
	if (action->result == RESULT_START_ERROR) {
		snprintf(because, sizeof(because), "%s does not start with the new programs: %s",
			action->child_id, action->reason);
		upgrade_return(node, because);
	}
}

/* What was stopped for a successor that did not start is not missed by the policy, which was asked to stop it. */
static void start_missing(struct node *node)
{
	char name[16];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		unsigned n = rows[i].role == ROLE_GATEWAY ? node->gateways : 1;

		if (!rows[i].group)
			continue;
		for (unsigned slot = 0; slot < n; slot++) {
			snprintf(name, sizeof(name), "%u", slot);
			restart(node, &rows[i], name, false);
		}
	}
	for (size_t i = 0; i < node->config->server_count; i++)
		if (node_wants_server(node, node->config->servers[i].name))
			restart(node, &rows[ROW_UPSTREAM], node->config->servers[i].name, false);
}

/* --- one at a time -------------------------------------------------------------------------------- */

/*
 * Session workers end when they have finished what they do, and the rest does not wait for them. A gateway that did not get a
 * successor is the end of it.
 */
static bool roll(struct node *node, const struct child *old)
{
	struct replacing *replacing = node->upgrade->replacing;
	char because[ERR_DETAIL_MAX];
	struct err err = {0};
	unsigned total;

	if (replacing->rolled & 1u << old->role) {
		if (old->role != ROLE_GATEWAY)
			return false;
		snprintf(because, sizeof(because),
			"gateway %s does not start with the new programs", old->name);
		upgrade_return(node, because);
		return false;
	}
	replacing->rolled |= 1u << old->role;
	return node_roll(node, old->role, &total, &err) == 0;
}

/* Is something being replaced? */
static bool replace_next(struct node *node)
{
	if (node_is_rolling(node))
		return true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct child *old = find_old(node, rows[i].role);

		if (!old)
			continue;
		old->hands_on = old->role == ROLE_UPSTREAM;
		if (rows[i].role != ROLE_WORKER && rows[i].role != ROLE_GATEWAY)
			restart(node, &rows[i], old->name, true);
		else if (!roll(node, old))
			continue;
		return true;
	}
	return false;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;
	struct replacing *replacing = node->upgrade->replacing;

	(void)fd;
	(void)what;
	if (node->stopping)
		return;
	if (replacing->awaited > 0 || replace_next(node))
		look_soon(replacing);
	else if (!node->exchange_wanted)
		upgrade_replaced(node);
}

int replace_begin(struct node *node, struct err *err)
{
	struct replacing *replacing = calloc(1, sizeof(*replacing));
	const struct child *child;

	if (!replacing)
		return err_set(err, ERR_NO_MEMORY, "no memory to replace processes");
	/* larger with each root that goes on */
	replacing->first = replacing->request = REPLACE_REQUEST + clock_us();
	replacing->tick = evtimer_new(node->base, on_tick, node);
	if (!replacing->tick) {
		free(replacing);
		return err_set(err, ERR_NO_MEMORY, "no memory to replace processes");
	}
	node->upgrade->replacing = replacing;
	if (node->upgrade->phase == UPGRADE_RETURNING)
		start_missing(node);
	node->upgrade->total = 0;
	for (child = node->children.by_instance; child; child = child->hh.next)
		node->upgrade->total +=
			child->role != ROLE_KEEPER && child->epoch != node->children.epoch;
	look_soon(replacing);
	return 0;
}

void replace_free(struct node *node)
{
	struct replacing *replacing = node->upgrade ? node->upgrade->replacing : NULL;

	if (!replacing)
		return;
	event_free(replacing->tick);
	free(replacing);
	node->upgrade->replacing = NULL;
}
