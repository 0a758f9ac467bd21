/*
 * The other gateways of the node. Connections of one client can end at several of them, and what it
 * posts for an event stream (sse_stream.h) is handed to the one that has the stream. Links are
 * opened when they are first needed, and stay.
 */
#ifndef GATEHOUSE_NEIGHBOURS_H
#define GATEHOUSE_NEIGHBOURS_H

#include "gateway.h"

/* How long a neighbour may take to say that it has the message. */
#define NEIGHBOUR_WAIT_MS 5000u

struct neighbour;

/* What was posted is for the gateway of this slot, which knows the key. The connection is answered
 * when that one has taken it, or when it cannot be reached. */
void neighbour_post(struct door *door, struct http_conn *conn, const struct http_request *request,
	const struct facts *facts, struct span slot, struct span key);

extern const struct link_handlers neighbour_handlers;
void neighbour_accepted(struct process *process, struct link *link);
void neighbours_free(struct gateway *gateway);

#endif
