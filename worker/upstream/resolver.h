/* Names to addresses without making the loop wait: each look-up runs in a thread of its own. */
#ifndef GATEHOUSE_RESOLVER_H
#define GATEHOUSE_RESOLVER_H

#include "err.h"

#include <event2/event.h>
#include <sys/socket.h>

#define RESOLVER_ADDRESSES_MAX 8u

struct resolver_address {
	struct sockaddr_storage address;
	socklen_t len;
};

struct resolver_result {
	struct resolver_address list[RESOLVER_ADDRESSES_MAX];
	unsigned count;
	struct err err; /* where count is 0 */
};

struct resolver;

/* result is borrowed. */
typedef void resolver_fn(const struct resolver_result *result, void *arg);

struct resolver *resolver_new(struct event_base *base);
/* Look-ups that run are abandoned. NULL is accepted. */
void resolver_free(struct resolver *resolver);
/* True when host is an address by itself: then ret is filled in at once. */
bool resolver_numeric(const char *host, const char *port, struct resolver_result *ret);
/* fn is called from the loop, once. -ERR_SYSTEM, -ERR_NO_MEMORY. */
int resolver_start(struct resolver *resolver, const char *host, const char *port, resolver_fn *fn,
	void *arg, struct err *err);

#endif
