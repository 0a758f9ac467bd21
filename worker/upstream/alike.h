/*
 * What conversations of sessions' own teach about the lists: servers may vary them with the client,
 * and most do not. A client of a kind (mcp_client_digest) that a fresh conversation has shown the
 * catalogue's own items need not begin one for a list; the registry is told, and through the
 * catalogue every session worker.
 */
#ifndef GATEHOUSE_ALIKE_H
#define GATEHOUSE_ALIKE_H

#include "call.h"

/* A client's own conversation has answered a list: one page of it, in order. */
void alike_answered(const struct call *call, struct span result);
/* The server has asked the client something: what it offers may depend on the answer. */
void alike_asked(struct client *client);

#endif
