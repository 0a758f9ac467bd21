/*
 * A session worker: the process that holds one client's session (legacy era), or serves a
 * principal's sessionless requests (modern era). The files of this folder that belong to it:
 *
 *   zygote.c      the process that workers are forked from
 *   worker.c      the role: hooks, gateways, time, the end
 *   lease.h       the session manager: leases, its return
 *   exchange.h    one HTTP request and its answer
 *   stream.h      event streams that can be resumed
 *   session.h     what is known of the client
 *   request.h     one JSON-RPC request and its answer
 *   router.h      messages of the client
 *   methods.h     method → what is done
 *   initialize.h  the beginning of a session
 *   modern.h      the sessionless era
 *   listens.h     its streams of subscriptions
 *   servers.h     links with the servers' upstream workers
 *   notes.h       notifications of servers
 *   asks.h        requests of servers to the client
 *   lists.h       lists, from the catalogue
 *   own_lists.h   lists of servers that run once per session
 *   tasks.h       tasks of all servers in one list
 */
#ifndef GATEHOUSE_WORKER_H
#define GATEHOUSE_WORKER_H

#include "asks.h"
#include "catalogue.h"
#include "config.h"
#include "exchange.h"
#include "lease.h"
#include "notes.h"
#include "process.h"
#include "request.h"
#include "servers.h"
#include "session.h"
#include "stream.h"

/* A client opens its GET stream right after initialize; until then messages for it are kept. */
#define WORKER_YOUNG_MS 10000u

/* A link that a gateway opened. */
struct worker_gateway {
	struct worker_gateway *prev, *next;
	struct link *link;
};

struct worker {
	struct process *process;
	const struct config *config; /* the zygote's; after a reload its own */
	struct config *reloaded;     /* NULL: none came yet */
	struct manager_link manager;
	struct worker_gateway *gateways;
	struct catalogue *catalogue; /* that of the session's view; NULL until it came */
	struct session session;
	struct exchange *exchanges; /* open ones */
	struct streams streams;
	struct server *servers;
	struct ask *asks;
	struct request *requests; /* unanswered */
	struct event *tick;       /* whenever something is due */
	uint64_t tick_ms;         /* when that is; 0: never */
	uint64_t seen_ms;         /* the clock when it was last looked at */
	struct event *save;       /* batches of events, ≤ 50 ms */
	bool leased;
	bool session_over; /* nothing is served any more */
	bool view_gone;    /* the configuration has this view no more: nothing new is begun */
	bool ending;       /* the process ends once what it said has left */
	uint64_t ending_until_ms;
	uint64_t leased_ms;
	uint32_t n_requests;
	uint32_t own_lists[CATALOGUE_KIND_MAX]; /* servers whose lists differ from the catalogue's */
	struct list_change changes[NOTES_CHANGES];
	uint32_t next_save;
	uint32_t next_ask;
	struct request *initialize; /* being answered */
	bool initialize_waits;      /* for servers that are starting */
	uint64_t initialize_until_ms;
};

/* The one worker of this process. */
struct worker *worker_of(const struct process *process);

/* The clock, in ms. */
uint64_t worker_now(struct worker *worker);
/* The same in microseconds. */
uint64_t worker_now_us(struct worker *worker);
/* Something happened on this session: it is not idle. */
void worker_touch(struct worker *worker);
/* Look after what is due in so many ms, or sooner. */
void worker_tick_in(struct worker *worker, uint64_t ms);
/* Send logged events to the session manager within 50 ms. */
void worker_save_soon(struct worker *worker);
/* Was the session begun a moment ago, so that its client may still be about to listen? */
bool worker_is_young(const struct worker *worker);
/* The session is known, and with it which view's catalogue it sees. */
void worker_set_view(struct worker *worker);
/* NULL: the session sees everything, or its view is not in the configuration (any more). */
const struct config_virtual *worker_view(const struct worker *worker);
/*
 * Is this in the session's view, and what is it called there? name: as at /mcp, of a resource its
 * URI. Nothing is, in a view that the configuration does not have (any more).
 */
bool worker_sees(const struct worker *worker, enum config_part part, struct span name,
	struct span *ret_name);
/* Without memory a worker ends: its successor has the session. */
void worker_out_of_memory(struct worker *worker);

/* The session ends: streams and calls too, then the process. tell: the session manager does not
 * know it yet. */
void worker_end_session(struct worker *worker, const char *reason, bool tell);
/* End the process; the session may go on elsewhere. */
void worker_end(struct worker *worker);

/* What a worker inherits from the zygote it was forked from, read-only. */
struct worker_heritage {
	const struct config *config;
};
extern struct worker_heritage worker_heritage;

extern const struct process_role worker_role;
extern const struct link_handlers worker_gateway_handlers;

#endif
