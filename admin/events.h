/*
 * What happens in the node, as JSON over SP pub/sub on events.sock beside the admin socket:
 * {"seq":7,"ts":1700000000.123,"event":"server.state", …}. seq grows by one: a subscriber that sees
 * a gap has missed events and reads the state anew (`gatehouse status`). Slow subscribers lose
 * events, the node never waits. The events stand in docs/operating.md.
 */
#ifndef GATEHOUSE_ADMIN_EVENTS_H
#define GATEHOUSE_ADMIN_EVENTS_H

#include "err.h"
#include "span.h"

#include <event2/event.h>

/* Unsent bytes of one subscriber; events beyond it are lost to it. */
#define EVENTS_QUEUE_MAX (1024u * 1024)

struct events;

/* In the folder of the admin socket, with its access. */
int events_open(struct event_base *base, const char *admin_socket, const char *group,
	struct events **ret_events, struct err *err);
void events_close(struct events *events);

/* members: further members of the object without a leading comma, "" for none. */
void events_publish(struct events *events, const char *event, struct span members);

#endif
