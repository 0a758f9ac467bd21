/* This session's links with the upstream workers of MCP servers, opened at the first call. */
#ifndef GATEHOUSE_SERVERS_H
#define GATEHOUSE_SERVERS_H

#include "catalogue.h"
#include "link.h"
#include "request.h"

#include <uthash.h>

struct worker;
struct own_list;

struct server {
	char name[LIMIT_SERVER_NAME + 1];
	struct worker *worker;
	struct link *link; /* NULL: not open */
	bool opening;
	bool draining; /* what is new waits for the successor of its upstream worker */
	bool called; /* in this conversation something else than lists was asked for, or it asked */
	uint64_t resumed_until_ms; /* its upstream worker died: the conversation may wait for us */
	uint64_t let_go_ms; /* when the link is closed unless it is called; 0: never */
	struct own_list *own[CATALOGUE_KIND_MAX]; /* or NULL */
	uint64_t retry_ms;                        /* not asked for again before */
	unsigned denials;                         /* in a row */
	uint64_t since_ms;                        /* since when calls wait for it; 0: none do */
	UT_hash_handle hh;
};

extern const struct link_handlers worker_upstream_handlers;

/*
 * Send a request to a server. method: as the server knows it; params: raw JSON, or empty. name: the
 * tool, for the server's statistics. The request's fate comes by request_reply. -ERR_NO_MEMORY: the
 * request is untouched.
 */
int server_call(struct worker *worker, struct span server, struct request *request,
	struct span name, struct span params, uint32_t timeout_ms);
/* The request is over: a late answer is dropped. */
void server_forget(struct request *request);
/* Ask the server to stop working on it. reason: raw JSON string, or empty. */
void server_cancel(struct request *request, struct span reason);
/* A notification of the client for one server (NULL: for all this session has spoken with). */
void server_notify(
	struct worker *worker, struct server *server, struct span method, struct span params);
/* The session is taken up: its servers are to tell of what it is subscribed to. */
void servers_resubscribe(struct worker *worker);
/* The conversation with it was begun for a list, which holds no surprise: it ends in a while. */
void server_let_go(struct server *server);
/* Calls that wait: open links, or give up. */
void server_tick(struct worker *worker, uint64_t now_ms);
struct server *server_find(struct worker *worker, struct span name);
/* The same, made when it is not there yet; NULL when memory is out. */
struct server *server_get(struct worker *worker, struct span name);
/* The session is over: the servers' children that belong to it may end. */
void server_detach_all(struct worker *worker);
/* True: all that was said to them has left. */
bool servers_flush(struct worker *worker);
void servers_free(struct worker *worker);

#endif
