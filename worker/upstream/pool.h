/*
 * Conversations for clients without a session (2026-07-28). What such a client can it says with
 * each request; a server of the legacy era is told once, when the conversation begins. So there is
 * a pool of conversations for each principal and each set of abilities; a request takes one of
 * them, never one of its own. With a child process that may ask something back, a conversation
 * serves one request at a time: nothing else tells to which one a question belongs.
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

/* The conversation for a request with these params, started if need be. As find_instance. */
int pool_pick(struct client *client, struct span params, struct instance **ret, struct err *err);
/* Nobody uses it any more. */
void pool_leave(struct instance *instance);
/* The process ends. */
void pools_free(struct upstream *up);
/* Does this conversation serve that client's principal? */
bool pool_serves(const struct pool *pool, const struct client *client);
/* Must this call wait until the one that is under way in its conversation is over? */
bool pool_is_taken(const struct call *call);
/* A call has subscribed its client to something: the other conversations of the principal shall
 * know. */
void pool_subscribed(const struct call *call);
/* Is anybody of the principal subscribed to anything? */
bool pool_is_subscribed(const struct pool *pool);

#endif
