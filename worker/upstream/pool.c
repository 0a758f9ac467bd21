#include "pool.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Where the server is known to be told with each request, abilities make no difference. */
static unsigned abilities_that_count(const struct upstream *up, struct span params)
{
	if (up->speaks[MCP_MODERN] == SPEAKS_YES)
		return 0;
	return era_abilities(json_path(params, "_meta", MCP_META_CLIENT_CAPABILITIES, NULL));
}

static struct pool *pool_of(struct client *client, unsigned abilities)
{
	struct upstream *up = client->up;
	size_t principal_len = strlen(client->principal), len;
	char key[sizeof(client->principal) + 16];
	struct pool *pool;

	len = (size_t)snprintf(key, sizeof(key), "%s\n%u", client->principal, abilities);
	HASH_FIND(hh, up->pools, key, len, pool);
	if (pool)
		return pool;
	pool = calloc(1, sizeof(*pool) + len + 1);
	if (!pool)
		return NULL;
	pool->up = up;
	pool->abilities = abilities;
	pool->principal_len = principal_len;
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
	return instance->pool && instance->pool->abilities != 0 && instance->era == MCP_LEGACY &&
	       instance->up->ops->has_child;
}

bool pool_is_taken(const struct call *call)
{
	const struct call *other;

	if (!call->client || !serves_one_at_a_time(call->instance))
		return false;
	for (other = call->instance->calls; other; other = other->hh.next)
		if (other->client || other->parked)
			return true;
	return false;
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
	return is_down(a) != is_down(b) ? is_down(b) : load(a) < load(b);
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

int pool_pick(struct client *client, struct span params, struct instance **ret, struct err *err)
{
	struct pool *pool = pool_of(client, abilities_that_count(client->up, params));
	struct instance *best = pool ? least_busy(pool) : NULL;
	int r;

	if (!pool)
		return err_set(err, ERR_NO_MEMORY, "no memory for a conversation");
	if (best && !is_down(best) && (load(best) == 0 || !serves_one_at_a_time(best))) {
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

bool pool_serves(const struct pool *pool, const struct client *client)
{
	return client->era == MCP_MODERN && strlen(client->principal) == pool->principal_len &&
	       memcmp(client->principal, pool->key, pool->principal_len) == 0;
}

bool pool_is_subscribed(const struct pool *pool)
{
	const struct client *client;

	DL_FOREACH(pool->up->clients, client)
	{
		if (client->subscriptions && pool_serves(pool, client))
			return true;
	}
	return false;
}

void pool_subscribed(const struct call *call)
{
	const struct instance *here = call->instance;
	struct instance *each;

	mark_add(&call->client->subscriptions, span_str(call->subject));
	if (!here->pool || !call->params)
		return;
	DL_FOREACH(here->up->instances, each)
	{
		if (each != here && each->pool && each->state == INSTANCE_READY &&
			each->era == MCP_LEGACY && pool_serves(each->pool, call->client))
			call_tell(each, MCP_RESOURCES_SUBSCRIBE,
				span_of(call->params, call->params_len));
	}
}
