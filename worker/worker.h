/*
 * A session worker: the process that holds one client's session (legacy era), or serves a principal's sessionless requests
 * (modern era). The files of this folder that belong to it:
 *
 *   zygote.c      the process that workers are forked from        worker.c    the role: hooks, links
 *   exchange.h    one HTTP request and its answer                 stream.h    event streams that can be resumed
 *   session.h     what is known of the client                     request.h   one JSON-RPC request and its answer
 *   router.c      method → what is done                           lists.c     lists, from the catalogue
 *   servers.h     links with the servers' upstream workers        asks.h      requests of servers to the client
 *   modern.c      the sessionless era
 */
#ifndef GATEHOUSE_WORKER_H
#define GATEHOUSE_WORKER_H

#include "catalogue.h"
#include "config.h"
#include "exchange.h"
#include "asks.h"
#include "process.h"
#include "request.h"
#include "session.h"
#include "servers.h"
#include "stream.h"

struct worker {
	struct process *process;
	const struct config *config;  /* the zygote's */
	struct link *sessions;        /* NULL: the session manager is away */
	struct catalogue *catalogue;  /* NULL until the first came */
	uint64_t catalogue_generation;
	struct session session;
	struct exchange *exchanges;   /* open ones */
	struct streams streams;
	struct server *servers;
	struct ask *asks;
	struct request *requests;     /* unanswered */
	struct event *tick;           /* each 100 ms while there is something to look after */
	struct event *save;           /* batches of events, ≤ 50 ms */
	bool leased;
	bool session_over;            /* DELETEd: the process ends once its last answers have left */
	bool session_young;           /* the client may still be about to open its GET stream */
	uint32_t n_requests;
	uint32_t next_save;
	uint64_t next_ask;
	struct request *initialize;   /* being answered */
	bool initialize_waits;        /* for servers that are starting */
	uint64_t initialize_until_ms;
	uint64_t leased_ms;
};

/* The one worker of this process. */
struct worker *worker_of(const struct process *process);

/* Something happened on this session: it is not idle. */
void worker_touch(struct worker *worker);
/* Look after deadlines while there is something unanswered. */
void worker_tick_soon(struct worker *worker);
/* Send logged events to the session manager within 50 ms. */
void worker_save_soon(struct worker *worker);

/* For a worker that the zygote forks: what it inherits. Both are the zygote's, read-only. */
/* What a worker inherits from the zygote it was forked from: the configuration, read-only. */
struct worker_heritage {
	const struct config *config;
};
extern struct worker_heritage worker_heritage;

extern const struct process_role worker_role;
extern const struct link_handlers worker_gateway_handlers;

#endif
