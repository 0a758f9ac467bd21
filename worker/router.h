/* What is done with each message: from the client by its method, from servers by what it concerns. */
#ifndef GATEHOUSE_ROUTER_H
#define GATEHOUSE_ROUTER_H

#include "exchange.h"
#include "request.h"

struct worker;
struct server;
struct catalogue;

/* The body of a POST. headers: as the gateway saw them. Answers and frees the exchange now or later. */
void router_post(struct worker *worker, struct exchange *exchange, struct span body, const struct mcp_headers *headers);
/* A notification of a server that belongs to a call, or to none. */
void router_call_note(struct request *request, struct span method, struct span params);
void router_server_note(struct worker *worker, struct server *server, struct span method, struct span params);
/* The catalogue has come or changed: what waited for it goes on, the client is told. */
void router_catalogue_changed(struct worker *worker, const struct catalogue *before);
/* initialize that waits for servers which are starting. */
void router_tick(struct worker *worker, uint64_t now_ms);

#endif
