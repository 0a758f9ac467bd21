/*
 * What a server of the modern era tells of its own accord comes on a stream that is asked for
 * (2026-07-28, subscriptions/listen). A conversation has one such stream, for all that its clients
 * are subscribed to; when that changes a new one takes its place.
 */
#ifndef GATEHOUSE_LISTEN_H
#define GATEHOUSE_LISTEN_H

#include "instance.h"

struct listen;

/* What is to be listened for may have changed, or listening has just become possible. */
void listen_update(struct instance *instance);
/* The id of the request; 0: there is none. */
uint64_t listen_id(const struct instance *instance);
/* The conversation is over, or the instance ends (then listen_free). */
void listen_reset(struct instance *instance);
void listen_free(struct instance *instance);

#endif
