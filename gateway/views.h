/*
 * Views: the virtual servers that this gateway has been asked for, and the workers that serve
 * sessionless requests in each. The view of all is one of them, with an empty name. Which of them
 * may be asked for is checked by admission_check.
 */
#ifndef GATEHOUSE_VIEWS_H
#define GATEHOUSE_VIEWS_H

#include "bounds.h"
#include "span.h"

#include <uthash.h>

/* Workers of one principal that a gateway spreads sessionless requests over, at most. */
#define POOL_MAX 64u

struct gateway;
struct route;

struct view {
	char name[LIMIT_VIEW_NAME + 1];
	struct route *pool[POOL_MAX]; /* gateway.pool_size of them */
	unsigned pool_next;
	UT_hash_handle hh; /* gateway.views */
};

/* Lives as long as the gateway: there are no more than configurations have named. NULL: out of
 * memory, or a name that is none. */
struct view *view_get(struct gateway *gateway, struct span name);
void views_free(struct gateway *gateway);

#endif
