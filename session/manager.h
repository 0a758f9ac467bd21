/*
 * The session manager: who has which session. It gives sessions to workers (leases), one at a time,
 * each lease with a higher epoch, so that of two workers that think they have a session only one is
 * right; and it keeps what they must not lose.
 *
 *   main.c      the role, time             gateways.c  what gateways ask
 *   leases.c    leases and who waits       offers.c    handing a lease to a worker
 *   workers.c   what workers say           pool.c      workers kept ready
 *   sweep.c     sessions nobody uses       queries.c   what the admin process asks
 *   ids.h       session ids                records.h   LMDB, live and durable
 */
#ifndef GATEHOUSE_MANAGER_H
#define GATEHOUSE_MANAGER_H

#include "bounds.h"
#include "config.h"
#include "event_log.h"
#include "histogram.h"
#include "ids.h"
#include "mcp.h"
#include "process.h"
#include "records.h"

#include <uthash.h>

#define PRINCIPAL_SIZE 128u /* with the terminating zero */
/* Gateways' requests that wait for one lease, and for all. */
#define WAITERS_MAX 1024u
#define WAITERS_ALL_MAX 65536u
/* A gateway's request that found no worker is answered after this. */
#define WAIT_MS 5000u
/* A worker takes its lease within this, or is killed. */
#define OFFER_MS 2500u
/* Workers that die of one lease before it is given up. */
#define OFFERS_MAX 3u
/* Before the second and the third of them: when many workers die at once, those whose deaths are
 * not known yet are not taken for victims of the lease. Doubled each time. */
#define OFFER_PAUSE_MS 50u
/* A session that begins is saved within this (initialize was answered), or ends. */
#define UNSAVED_MS 60000u
/* A worker without a task ends by itself within this, or is killed. */
#define ENDING_MS 10000u

struct lease;
struct manager;

enum worker_state {
	WORKER_LINKING, /* the root is asked for a link */
	WORKER_WARM,    /* ready for a lease */
	WORKER_LEASED,
	WORKER_ENDING, /* its session is over; or it came from an earlier manager and has not said
			  what it has */
	WORKER_KILLED,
};

/* A session worker, as seen from here. User of its link. */
struct worker {
	struct manager *manager;
	uint64_t instance;
	struct link *link; /* NULL while LINKING */
	struct lease *lease;
	enum worker_state state;
	uint64_t since_ms;
	struct worker *prev, *next; /* WARM, ENDING: by age */
	UT_hash_handle hh;
};

enum lease_state {
	LEASE_NEEDY,   /* waits for a worker */
	LEASE_OFFERED, /* a worker has it and has not yet said so */
	LEASE_LIVE,
};

struct waiter {
	struct lease *lease;
	struct link *gateway;
	uint32_t stream;
	uint64_t since_ms;
	struct waiter *prev, *next;         /* of the lease */
	struct waiter *prev_all, *next_all; /* by age */
};

/* Whose a session is, and which virtual server it sees (empty: all). */
struct owner {
	struct span principal;
	struct span view;
};

/* A session that has a worker or is being given one. */
struct lease {
	char session[LIMIT_SESSION_ID + 1];
	char principal[PRINCIPAL_SIZE];
	char view[LIMIT_VIEW_NAME + 1];
	enum mcp_era era;
	enum lease_state state;
	uint64_t epoch;
	int64_t opened_s; /* wall clock */
	uint64_t since_ms;
	uint64_t needy_us;       /* since when it has no worker */
	struct worker *worker;   /* OFFERED, LIVE */
	unsigned offers;         /* workers that died of it */
	uint64_t pause_until_ms; /* NEEDY: none is tried before */
	bool fresh;              /* no record yet: a session that is just being opened */
	bool loading;            /* OFFERED: events go first, from load_from */
	uint64_t load_from;
	struct event_log log;
	struct waiter *waiters;
	unsigned n_waiters;
	struct lease *prev, *next;               /* in the manager's list of its state */
	struct lease *prev_shared, *next_shared; /* MCP_MODERN: of the sharer */
	UT_hash_handle hh;
};

/* A gateway or the admin process. User of its link. */
struct guest {
	struct link *link;
	struct guest *prev, *next;
};

/* Whose sessionless requests, in which view, share workers. */
#define SHARER_SIZE (PRINCIPAL_SIZE + LIMIT_VIEW_NAME + 1)
struct sharer {
	char name[SHARER_SIZE]; /* principal, zero, view */
	struct lease *shared; /* the longest unasked first */
	unsigned n_shared;
	UT_hash_handle hh;
};

struct manager {
	struct process *process;
	struct config *config;
	struct ids *ids;
	struct records *records;
	unsigned cores;
	struct lease *leases;
	struct sharer *sharers;
	struct guest *guests;
	/* leases by state and age: NEEDY; OFFERED; LIVE and fresh */
	struct lease *needy, *offered, *unsaved;
	unsigned n_needy, n_fresh;
	struct waiter *waiters; /* all, by age */
	unsigned n_waiters;
	struct worker *workers;
	struct worker *warm, *ending; /* by age */
	unsigned n_warm, n_linking, n_ending;
	unsigned wanted;      /* asked for and not yet given */
	uint64_t wanted_ms;   /* since when nothing came */
	uint64_t retry_ms;    /* no worker is asked for before */
	unsigned retry_pause; /* ms, doubled by each refusal */
	char refusal[160];    /* the root's last; "" since it gave one */
	struct event *tick;   /* 50 ms while something waits, else each second */
	struct event *flush;  /* commits what a turn of the loop has queued */
	bool flush_failed, sync_failed;
	uint64_t grace_until_ms; /* workers of an earlier manager may claim their sessions until
				    then */
	uint64_t synced_ms;
	uint64_t sweep_ms; /* when the next pass begins */
	bool sweeping;
	char sweep_from[LIMIT_SESSION_ID + 1];
	uint64_t opened, woken, closed;
	struct histogram wake; /* from needy to taken */
};

struct manager *manager_of(const struct process *process);
/* Call the tick soon: something waits. */
void manager_tick_soon(struct manager *manager);
/* Commit what is queued at the end of this turn of the loop. */
void manager_flush_soon(struct manager *manager);
/* Commit it now: what follows reads it. */
void manager_flush(struct manager *manager);

void guest_accepted(struct process *process, struct link *link);
/* Closes its link. */
void guest_free(struct manager *manager, struct guest *guest);

/* gateways.c */
extern const struct link_handlers manager_gateway_handlers;

/* leases.c */
struct lease *lease_find(struct manager *manager, struct span session);
/* A NEEDY lease that nobody waits for yet. NULL: out of memory, or one of the words is too long. */
struct lease *lease_new(struct manager *manager, struct span session, struct owner owner,
	enum mcp_era era, uint64_t epoch);
/* Out of the table; who waits is forgotten without an answer. */
void lease_free(struct manager *manager, struct lease *lease);
void lease_set_state(struct manager *manager, struct lease *lease, enum lease_state state);
/* Its first record is committed. */
void lease_set_stored(struct manager *manager, struct lease *lease);
/* Answer the gateway now or when the lease is live. */
void lease_wait(
	struct manager *manager, struct lease *lease, struct link *gateway, uint32_t stream);
void lease_answer_error(struct link *gateway, uint32_t stream, int code, const char *detail);
/* Tell all who wait; the lease is freed. */
void lease_refuse(struct manager *manager, struct lease *lease, int code, const char *detail);
void lease_taken(struct manager *manager, struct lease *lease);
/* Its worker is gone: to the next one if anybody waits,
 * else the record waits for being asked for. */
void lease_lost(struct manager *manager, struct lease *lease);
/* The session is over; reason for the log. The worker is told unless it said so itself. */
void lease_close(
	struct manager *manager, struct lease *lease, const char *reason, bool tell_worker);
void leases_forget_gateway(struct manager *manager, const struct link *gateway);
/* Waiters, offers and unsaved sessions whose time is over. */
void leases_tick(struct manager *manager, uint64_t now_ms);
struct owner lease_owner(const struct lease *lease);
bool lease_is_of(const struct lease *lease, struct owner owner);
/* One of the owner's shared leases in turn, or NULL. */
struct lease *lease_shared(struct manager *manager, struct owner owner, unsigned *ret_count);
void leases_free(struct manager *manager);

/* offers.c */
void lease_offer(struct manager *manager, struct lease *lease, struct worker *worker);
/* Events of offered sessions that did not fit into the link at once. */
void offers_go_on(struct manager *manager);
/* Read what is stored of the session's events into lease->log. */
void lease_read_log(struct manager *manager, struct lease *lease);

/* workers.c */
struct worker *worker_new(struct manager *manager, uint64_t instance);
/* Closes its link. */
void worker_free(struct worker *worker);
void worker_set_state(struct worker *worker, enum worker_state state);
void worker_kill(struct worker *worker);
/* Say SESSION_CLOSE; it ends. */
void worker_dismiss(struct worker *worker, struct span session, uint64_t epoch, const char *reason);
void workers_tick(struct manager *manager, uint64_t now_ms);
void workers_on_exited(struct manager *manager, uint64_t instance);
void worker_accepted(struct process *process, struct link *link);
extern const struct link_handlers manager_worker_handlers;

/* pool.c */
/* Give waiting leases the workers there are, and ask for more. */
void pool_turn(struct manager *manager);
void pool_tick(struct manager *manager, uint64_t now_ms);
/* Neither is a worker ready nor may another be made. */
bool pool_is_exhausted(const struct manager *manager);
void pool_on_given(struct link *root, const struct message *msg, void *arg);

/* sweep.c */
void sweep_tick(struct manager *manager, uint64_t now_ms);

/* queries.c */
void manager_on_query(struct link *link, const struct message *msg, void *arg);
void manager_on_command(struct link *link, const struct message *msg, void *arg);

#endif
