/*
 * Session workers that hang. They are too many to be asked all the time, and an idle one that
 * hangs costs nobody anything: a worker is asked while it has requests that should have been
 * answered or at least streamed by now. One that says nothing is ended by the root, and its
 * requests go the way of those of any worker that died (retry.c).
 */
#ifndef GATEHOUSE_PROBE_H
#define GATEHOUSE_PROBE_H

#include "link.h"

struct gateway;

/* From now on, every second. 0 or -ERR_NO_MEMORY. */
int probes_start(struct gateway *gateway);
void probes_stop(struct gateway *gateway);

/* A worker answers (MSG_PONG); the link's user is its route. */
void probe_on_pong(struct link *link, const struct message *msg, void *arg);

#endif
