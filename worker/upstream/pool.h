/*
 * Conversations for clients without a session (2026-07-28). What such a client can it says with
 * each request; a server of the legacy era is told once, when the conversation begins. So there is
 * a pool of conversations for each principal and each set of abilities; a request takes one of
 * them, never one of its own. Where the server may ask something back and its messages do not tell
 * to which request they belong (transport.h), a conversation serves one such request at a time.
 *
 * A server of the modern era is told with each request: a principal has one pool with it. One of a
 * principal's conversations, the subscriber, hears of all that its clients are subscribed to.
 */
#ifndef GATEHOUSE_POOL_H
#define GATEHOUSE_POOL_H

#include "call.h"
#include "client.h"
#include "era.h"

/* Conversations of all pools. */
#define POOLED_MAX 256u

struct pool {
	UT_hash_handle hh;
	struct upstream *up;
	unsigned abilities, n;
	char capabilities[ERA_ABILITIES_SIZE]; /* what the server is told its client can */
	size_t principal_len;
	char key[]; /* principal, then the abilities */
};

/* The conversation for a request, started if need be. As find_instance. */
int pool_pick(struct client *client, enum mcp_method method, struct span params,
	struct instance **ret, struct err *err);
/* A conversation that a predecessor left. NULL: no memory, or there are too many. */
struct instance *pool_adopt(struct upstream *up, struct span principal, unsigned abilities);
/* The conversation has begun: the server's era is known. */
void pool_settle(struct instance *instance);
/* Nobody uses it any more. */
void pool_leave(struct instance *instance);
/* The process ends. */
void pools_free(struct upstream *up);
/* Does this conversation serve that client's principal? */
bool pool_serves(const struct pool *pool, const struct client *client);
/* Must this call wait until the one that is under way in its conversation is over? */
bool pool_is_taken(const struct call *call);
/* Is a call under way to which a question of the server would belong, because it is the only one? */
bool pool_is_busy(const struct instance *instance);
/* The client is subscribed to something: see that a conversation hears of it. */
void pool_subscribe(struct client *client);
/* Is this the one that hears for its principal, and is there anything to hear of? */
bool pool_is_subscribed(const struct instance *instance);

#endif
