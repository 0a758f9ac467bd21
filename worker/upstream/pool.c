#include "pool.h"
#include "clock.h"
#include "keep.h"
#include "listen.h"
#include "log.h"
#include "task_handle.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Where the server is known to be told with each request, abilities make no difference. */
static unsigned abilities_that_count(const struct upstream *up, struct span params)
{
	if (up->speaks[MCP_MODERN] == SPEAKS_YES ||
		(up->speaks[MCP_MODERN] == SPEAKS_UNKNOWN && up->was_modern))
		return 0;
	return era_abilities(json_path(params, "_meta", MCP_META_CLIENT_CAPABILITIES, NULL));
}

static struct pool *pool_of(struct upstream *up, struct span principal, unsigned abilities)
{
	char key[CLIENT_PRINCIPAL_SIZE + 16];
	struct pool *pool;
	size_t len;

	len = (size_t)snprintf(key, sizeof(key), "%.*s\n%u", SPAN_ARG(principal), abilities);
	HASH_FIND(hh, up->pools, key, len, pool);
	if (pool)
		return pool;
	pool = calloc(1, sizeof(*pool) + len + 1);
	if (!pool)
		return NULL;
	pool->up = up;
	pool->abilities = abilities;
	pool->principal_len = principal.len;
	era_write_abilities(abilities, pool->capabilities);
	memcpy(pool->key, key, len + 1);
	HASH_ADD_KEYPTR(hh, up->pools, pool->key, len, pool);
	return pool;
}

static void free_if_empty(struct pool *pool)
{
	if (pool->n > 0)
		return;
	HASH_DEL(pool->up->pools, pool);
	free(pool);
}

static bool serves_one_at_a_time(const struct instance *instance)
{
	const struct upstream *up = instance->up;

	return instance->pool && instance->pool->abilities != 0 && instance->era == MCP_LEGACY &&
	       !(up->ops->relates && up->ops->relates(up));
}

static bool may_ask_back(const struct call *call)
{
	return (call->client || call->parked) &&
	       (mcp_method_info(call->method)->flags & MCP_ROUNDS);
}

bool pool_is_busy(const struct instance *instance)
{
	const struct call *call;

	if (!serves_one_at_a_time(instance))
		return false;
	for (call = instance->calls; call; call = call->hh.next)
		if (may_ask_back(call))
			return true;
	return false;
}

bool pool_is_taken(const struct call *call)
{
	return may_ask_back(call) && pool_is_busy(call->instance);
}

/* Calls of clients; what we ask ourselves keeps nobody waiting. */
static unsigned load(const struct instance *instance)
{
	const struct call *call;
	unsigned n = instance->n_waiting;

	for (call = instance->calls; call; call = call->hh.next)
		n += call->client || call->parked;
	return n;
}

/* It has failed, and is not tried again yet. */
static bool is_down(const struct instance *instance)
{
	return (instance->state == INSTANCE_STOPPED || instance->state == INSTANCE_PAUSED) &&
	       instance->start_ms > clock_ms();
}

static bool is_better(const struct instance *a, const struct instance *b)
{
	if (is_down(a) != is_down(b))
		return is_down(b);
	/* what a process of the modern era has given out, it alone may know again */
	if (a->up->ops->has_child && b->era == MCP_MODERN)
		return false;
	return load(a) < load(b);
}

static unsigned count_pooled(const struct upstream *up)
{
	const struct pool *pool;
	unsigned n = 0;

	for (pool = up->pools; pool; pool = pool->hh.next)
		n += pool->n;
	return n;
}

static struct instance *least_busy(const struct pool *pool)
{
	struct instance *each, *best = NULL;

	DL_FOREACH(pool->up->instances, each)
	{
		if (each->pool == pool && (!best || is_better(each, best)))
			best = each;
	}
	return best;
}

static int add(struct pool *pool, struct instance **ret, struct err *err)
{
	struct instance *instance =
		count_pooled(pool->up) < POOLED_MAX ? instance_new(pool->up, NULL, pool) : NULL;
	int r;

	if (!instance)
		return err_set(err, ERR_TOO_MANY, "%s: too many conversations with it are open",
			pool->up->server->name);
	pool->n++;
	r = instance_want(instance, err);
	if (r == 0) {
		*ret = instance;
		return 0;
	}
	instance_free(instance, ERR_CLOSED, "it could not be started");
	pool->n--;
	return r;
}

static bool is_subscription(enum mcp_method method)
{
	return method == MCP_RESOURCES_SUBSCRIBE || method == MCP_RESOURCES_UNSUBSCRIBE;
}

static struct instance *find_subscriber(const struct client *client)
{
	struct instance *each;

	DL_FOREACH(client->up->instances, each)
	{
		if (each->subscriber && pool_serves(each->pool, client))
			return each;
	}
	return NULL;
}

/* Whose process has given out the task: another one need not know it. */
static struct instance *find_holder(const struct client *client, struct span params)
{
	char room[TASK_ID_MAX];
	struct instance *each;
	struct span id;

	if (json_string_copy(json_object_get(params, SPAN_LIT("taskId")), room, sizeof(room), &id) <
		0)
		return NULL;
	DL_FOREACH(client->up->instances, each)
	{
		if (each->pool && pool_serves(each->pool, client) && mark_has(each->tasks, id))
			return each;
	}
	return NULL;
}

static struct instance *find_holder_or_subscriber(
	const struct client *client, enum mcp_method method, struct span params)
{
	if (is_subscription(method))
		return find_subscriber(client);
	return mcp_method_info(method)->route == MCP_ROUTE_TASK ? find_holder(client, params)
								: NULL;
}

/* Can it take one call more, whatever is under way in it? */
static bool has_room(const struct instance *instance, enum mcp_method method)
{
	return load(instance) == 0 || !serves_one_at_a_time(instance) ||
	       !(mcp_method_info(method)->flags & MCP_ROUNDS);
}

static int pick(struct pool *pool, enum mcp_method method, struct instance **ret, struct err *err)
{
	struct instance *best = least_busy(pool);
	int r;

	if (best && !is_down(best) && has_room(best, method)) {
		*ret = best;
		return instance_want(best, err);
	}
	r = add(pool, ret, err);
	if (r < 0 && best) {
		*ret = best;
		return instance_want(best, err);
	}
	free_if_empty(pool);
	return r;
}

int pool_pick(struct client *client, enum mcp_method method, struct span params,
	struct instance **ret, struct err *err)
{
	struct instance *its = find_holder_or_subscriber(client, method, params);
	struct pool *pool;
	int r;

	if (its) {
		*ret = its;
		return instance_want(its, err);
	}
	pool = pool_of(client->up, span_str(client->principal),
		abilities_that_count(client->up, params));
	if (!pool)
		return err_set(err, ERR_NO_MEMORY, "no memory for a conversation");
	r = pick(pool, method, ret, err);
	if (r == 0 && is_subscription(method)) {
		(*ret)->subscriber = true;
		keep_changed(*ret);
	}
	return r;
}

void pool_settle(struct instance *instance)
{
	struct pool *from = instance->pool, *to;

	if (!from || instance->era != MCP_MODERN || from->abilities == 0)
		return;
	to = pool_of(from->up, span_of(from->key, from->principal_len), 0);
	if (!to)
		return;
	instance->pool = to;
	to->n++;
	from->n--;
	free_if_empty(from);
}

struct instance *pool_adopt(struct upstream *up, struct span principal, unsigned abilities)
{
	struct pool *pool = pool_of(up, principal, abilities);
	struct instance *instance =
		pool && count_pooled(up) < POOLED_MAX ? instance_new(up, NULL, pool) : NULL;

	if (instance)
		pool->n++;
	else if (pool)
		free_if_empty(pool);
	return instance;
}

/* --- subscriptions ----------------------------------------------------------------------- */

bool pool_serves(const struct pool *pool, const struct client *client)
{
	return client->era == MCP_MODERN && strlen(client->principal) == pool->principal_len &&
	       memcmp(client->principal, pool->key, pool->principal_len) == 0;
}

bool pool_is_subscribed(const struct instance *instance)
{
	const struct client *client;

	if (!instance->subscriber)
		return false;
	DL_FOREACH(instance->up->clients, client)
	{
		if (client->subscriptions && pool_serves(instance->pool, client))
			return true;
	}
	return false;
}

void pool_subscribe(struct client *client)
{
	struct instance *instance = NULL;
	struct err err = {0};

	if (!client->subscriptions || client->up->stop_until_ms)
		return;
	if (pool_pick(client, MCP_RESOURCES_SUBSCRIBE, SPAN_NONE, &instance, &err) < 0) {
		log_warn("server.not_subscribed", err_text(&err),
			KV_STR("server", client->up->server->name));
		return;
	}
	handshake_subscribe(instance, client);
	listen_update(instance);
}

/* --- the end ----------------------------------------------------------------------------- */

void pool_leave(struct instance *instance)
{
	struct pool *pool = instance->pool;

	instance_free(instance, ERR_CLOSED, "nobody uses it");
	pool->n--;
	free_if_empty(pool);
}

void pools_free(struct upstream *up)
{
	struct instance *each, *next;

	DL_FOREACH_SAFE(up->instances, each, next)
	{
		if (each->pool)
			pool_leave(each);
	}
}
