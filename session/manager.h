/*
 * The session manager: who has which session. It gives sessions to workers (leases), one at a time, each lease with a higher
 * epoch, so that of two workers that think they have a session only one is right; and it keeps what they must not lose.
 *
 *   main.c   the role, gateways     leases.c  leases and their waiters     pool.c     workers kept ready
 *   ids.h    session ids            records.h LMDB, live and durable       queries.c  what the admin process asks
 */
#ifndef GATEHOUSE_MANAGER_H
#define GATEHOUSE_MANAGER_H

#include "config.h"
#include "ids.h"
#include "mcp.h"
#include "process.h"
#include "records.h"

#include <uthash.h>

/* Gateways' requests that wait for one lease. */
#define WAITERS_MAX 1024u

enum lease_state {
	LEASE_IDLE,    /* no worker has it */
	LEASE_WAITING, /* needs a worker from the pool */
	LEASE_OFFERED, /* LEASE was sent, LEASE_TAKEN has not come */
	LEASE_LIVE,
};

struct waiter {
	struct waiter *next;
	struct link *gateway;
	uint32_t stream;
};

struct lease {
	char session[LIMIT_SESSION_ID + 1];
	char principal[128];
	enum mcp_era era;
	uint64_t epoch;
	enum lease_state state;
	uint64_t instance; /* of the worker, 0: none */
	struct link *worker;
	bool fresh; /* never stored: a session that is just being opened */
	struct waiter *waiters;
	unsigned n_waiters;
	uint64_t since_ms;
	struct lease *next_needy;
	UT_hash_handle hh;
};

/* A worker without a lease. */
struct warm {
	struct warm *next;
	uint64_t instance;
	struct link *link;
};

struct manager {
	struct process *process;
	struct config *config;
	struct ids *ids;
	struct records *records;
	struct lease *leases; /* with a worker, or being given one */
	struct lease *needy, **needy_end;
	struct warm *warm;
	unsigned n_warm, wanted; /* ready; asked for and not yet given */
	uint64_t retry_ms;       /* no worker is asked for before */
	struct event *tick;      /* 50 ms while something waits, else each second */
	struct event *flush;
	uint64_t grace_until_ms; /* workers of an earlier manager may claim their sessions until then */
	uint64_t swept_ms;
	uint64_t synced_ms;
	uint64_t opened, woken, closed;
	char (*swept)[LIMIT_SESSION_ID + 1]; /* during a sweep */
	unsigned n_swept;
};

struct manager *manager_of(const struct process *process);

/* leases.c */
struct lease *lease_find(struct manager *manager, struct span session);
/* NULL: out of memory. */
struct lease *lease_new(struct manager *manager, struct span session, struct span principal, enum mcp_era era, uint64_t epoch);
void lease_free(struct manager *manager, struct lease *lease);
/* Answer the gateway now or when the lease is live. */
void lease_wait(struct manager *manager, struct lease *lease, struct link *gateway, uint32_t stream);
void lease_answer_error(struct link *gateway, uint32_t stream, int code, const char *detail);
/* Give the lease to a ready worker. */
void lease_offer(struct manager *manager, struct lease *lease, uint64_t instance, struct link *worker);
void lease_taken(struct manager *manager, struct lease *lease);
/* Its worker is gone. */
void lease_lost(struct manager *manager, struct lease *lease);
struct lease *lease_of_worker(struct manager *manager, const struct link *worker);
void lease_forget_gateway(struct manager *manager, const struct link *gateway);
/* The session is over; reason for the log. */
void lease_close(struct manager *manager, struct lease *lease, const char *reason);
extern const struct link_handlers manager_worker_handlers;
void manager_worker_accepted(struct process *process, struct link *link);

/* pool.c: workers. need: give this lease one as soon as there is one. */
void pool_need(struct manager *manager, struct lease *lease);
void pool_forget(struct manager *manager, struct lease *lease);
void pool_fill(struct manager *manager);
void pool_on_given(struct link *root, const struct message *msg, void *arg);
/* True: the link was that of a warm worker, which is gone. */
bool pool_lost(struct manager *manager, const struct link *link);
void pool_free(struct manager *manager);

/* queries.c */
void manager_on_query(struct link *link, const struct message *msg, void *arg);
void manager_on_command(struct link *link, const struct message *msg, void *arg);

/* Call the tick soon: something waits. */
void manager_tick_soon(struct manager *manager);
/* Commit what is queued at the end of this turn of the loop. */
void manager_flush_soon(struct manager *manager);

#endif
