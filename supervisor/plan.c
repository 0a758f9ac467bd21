#include "plan.h"

#include <stdio.h>
#include <stdlib.h>

#define GATEWAYS_MAX 256
/* Between failed starts, doubled up to the last: no storm while descriptors or processes lack, and
 * yet a group that cannot start is given up within seconds. */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_LAST_MS 500

struct program *program_new(enum role role, const char *name, uint32_t stop_ms)
{
	struct program *program = calloc(1, sizeof(*program));

	if (!program)
		return NULL;
	program->role = role;
	program->stop_ms = stop_ms;
	snprintf(program->name, sizeof(program->name), "%s", name);
	return program;
}

void program_release(void *ctx, void *cookie)
{
	(void)ctx;
	free(cookie);
}

static struct supervisor_flags flags_of(
	enum strategy strategy, int64_t intensity, int64_t period_ms)
{
	return (struct supervisor_flags){
		.strategy = strategy, .intensity = intensity, .period_s = (period_ms + 999) / 1000};
}

/* A process of its own, always restarted. */
static struct child_spec process_spec(
	enum role role, const char *id, const char *name, uint32_t stop_ms)
{
	return (struct child_spec){
		.id = id,
		.start = program_new(role, name, stop_ms),
		.restart = RESTART_PERMANENT,
		.shutdown = {SHUTDOWN_AFTER, stop_ms},
		.backoff_min_ms = BACKOFF_FIRST_MS,
		.backoff_max_ms = BACKOFF_LAST_MS,
	};
}

/* The root's groups need no start of their own, but the policy asks each spec for a cookie. */
static struct child_spec group_spec(const char *id, const struct supervisor_spec *group)
{
	return (struct child_spec){
		.id = id,
		.start = program_new(ROLE_ROOT, id, 0),
		.restart = RESTART_PERMANENT,
		.supervisor = group,
	};
}

static uint32_t drain_ms(const struct node *node)
{
	return (uint32_t)node->config->drain_timeout;
}

int plan_server(const struct node *node, const char *name, struct plan_room *room,
	struct child_spec *ret_spec)
{
	const struct config *config = node->config;

	room->worker = process_spec(ROLE_UPSTREAM, "worker", name, 5000);
	room->supervisor = (struct supervisor_spec){
		.flags = flags_of(STRATEGY_ONE_FOR_ONE, config->supervisor_upstreams_intensity,
			config->supervisor_upstreams_period),
		.children = &room->worker,
		.n_children = 1,
	};
	*ret_spec = group_spec(name, &room->supervisor);
	ret_spec->restart = RESTART_TEMPORARY;
	if (!room->worker.start || !ret_spec->start) {
		free(room->worker.start);
		free(ret_spec->start);
		return -ERR_NO_MEMORY;
	}
	return 0;
}

static void plan_gateways(const struct node *node, struct child_spec *specs, char ids[][16])
{
	for (unsigned i = 0; i < node->gateways; i++) {
		snprintf(ids[i], 16, "%u", i);
		specs[i] = process_spec(ROLE_GATEWAY, ids[i], ids[i], drain_ms(node));
	}
}

int plan_tree(struct node *node, struct err *err)
{
	const struct config *c = node->config;
	struct child_spec admin[] = {process_spec(ROLE_ADMIN, "admin", "", 2000)};
	struct child_spec core[] = {
		process_spec(ROLE_REGISTRY, "registry", "", 5000),
		process_spec(ROLE_SESSIONS, "sessions", "", 5000),
	};
	struct child_spec launch[] = {process_spec(ROLE_LAUNCHER, "launcher", "", 2000)};
	struct child_spec worker = {
		.id = "worker",
		.start = program_new(ROLE_WORKER, "", drain_ms(node)),
		.restart = RESTART_TEMPORARY,
		.shutdown = {SHUTDOWN_AFTER, drain_ms(node)},
	};
	struct supervisor_spec workers = {.flags = flags_of(STRATEGY_SIMPLE_ONE_FOR_ONE, 1, 5000),
		.children = &worker,
		.n_children = 1};
	struct child_spec sessions[] = {
		process_spec(ROLE_ZYGOTE, "zygote", "", 2000),
		group_spec("workers", &workers),
	};
	struct child_spec gateways[GATEWAYS_MAX];
	char gateway_ids[GATEWAYS_MAX][16];
	struct supervisor_spec groups[] = {
		{flags_of(STRATEGY_ONE_FOR_ONE, c->supervisor_admin_intensity,
			 c->supervisor_admin_period),
			admin, 1},
		{flags_of(STRATEGY_ONE_FOR_ALL, c->supervisor_core_intensity,
			 c->supervisor_core_period),
			core, 2},
		{flags_of(STRATEGY_ONE_FOR_ONE, c->supervisor_launch_intensity,
			 c->supervisor_launch_period),
			launch, 1},
		{flags_of(STRATEGY_ONE_FOR_ONE, c->supervisor_upstreams_intensity,
			 c->supervisor_upstreams_period),
			NULL, 0},
		{flags_of(STRATEGY_ONE_FOR_ONE, c->supervisor_sessions_intensity,
			 c->supervisor_sessions_period),
			sessions, 2},
		{flags_of(STRATEGY_ONE_FOR_ONE, c->supervisor_edge_intensity,
			 c->supervisor_edge_period),
			gateways, node->gateways},
	};
	static const char *const names[] = {
		"admin", "core", "launch", "upstreams", "sessions", "edge"};
	struct child_spec top[sizeof(groups) / sizeof(*groups)];
	struct supervisor_spec root = {flags_of(STRATEGY_ONE_FOR_ONE, c->supervisor_root_intensity,
					       c->supervisor_root_period),
		top, sizeof(groups) / sizeof(*groups)};

	workers.flags.overlap_starts = true;
	plan_gateways(node, gateways, gateway_ids);
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		top[i] = group_spec(names[i], &groups[i]);
	return tree_new(&root, program_release, node, &node->tree, err);
}
