/* Requests of servers to the client: sampling, elicitation, roots. Each reaches exactly one stream
 * of its session. */
#ifndef GATEHOUSE_ASKS_H
#define GATEHOUSE_ASKS_H

#include "jsonrpc.h"
#include "servers.h"

struct ask {
	uint64_t id; /* ours, towards the client */
	struct server *server;
	uint32_t stream;  /* on the server's link */
	uint32_t told_on; /* number of the event stream the client was asked on */
	uint64_t deadline_ms;
	char *token; /* the server's progress token, raw; or NULL */
	UT_hash_handle hh;
};

/* A server asks. request: the call it belongs to, or NULL. What cannot be delivered is answered
 * with an error at once. */
void ask_client(struct worker *worker, struct server *server, uint32_t stream,
	struct request *request, struct span method, struct span params);
void ask_cancel(struct worker *worker, struct server *server, uint32_t stream, struct span reason);
/* A reply of the client. False: it answers nothing that was asked. */
bool ask_answered(struct worker *worker, const struct jsonrpc *reply);
/* The client's progress on something it was asked. */
void ask_progress(struct worker *worker, struct span params);
void asks_server_gone(struct worker *worker, const struct server *server);
/* Those the client does not answer. */
void asks_tick(struct worker *worker, uint64_t now_ms);
void asks_free(struct worker *worker);

#endif
