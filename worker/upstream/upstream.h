/*
 * gatehouse-upstream: everything that concerns one MCP server lives in this one process.
 *
 *   client     a session worker's link: whose calls these are
 *   instance   one conversation with the server (an MCP client session): its states, back-off
 *   pool       conversations that serve the sessionless requests of one principal
 *   handshake  how a conversation begins; era: which revision the server speaks
 *   call       requests towards the server; incoming: what comes from it; ask: its questions
 *   round      questions of a modern server, asked of a legacy client
 *   parked     calls of a modern client that wait for its answers; seal: their requestState
 *   listen     changes that a modern server is asked to tell
 *   keep       what the root keeps of a conversation; adopt: one that a predecessor left is gone on
 *              with
 *   listing    reads the server's lists; reporter tells the registry
 *   transport  how bytes reach the server: stdio, Streamable HTTP, HTTP+SSE, WebSocket
 *              (connection, url, resolver, tls: what those over a network share)
 *   logs, metrics, queries
 *
 * With isolation session (and always over HTTP) each session has an instance of its own; with
 * shared, all use the catalogue instance, the one that read the lists. Sessionless clients have
 * those of their principal's pool.
 */
#ifndef GATEHOUSE_UPSTREAM_H
#define GATEHOUSE_UPSTREAM_H

#include "config.h"
#include "logs.h"
#include "metrics.h"
#include "process.h"
#include "reporter.h"

struct client;
struct instance;
struct parked;
struct pool;
struct seal;
struct transport_ops;

/* Attached sessions, calls of one client, and conversations at once. */
#define UPSTREAM_CLIENTS_MAX 65536u
#define UPSTREAM_CALLS_MAX 4096u

struct upstream {
	struct process *process;
	struct config *config;
	const struct config_server *server; /* this one, in config */
	const struct transport_ops *ops;
	void *shared; /* what the transport keeps for all its conversations */

	struct client *clients;
	unsigned n_clients;
	struct instance *instances;
	struct instance *catalogue; /* reads the lists; serves all where the server is shared */

	/* does it speak the era? Asked once, remembered until a conversation breaks */
	enum upstream_speaks { SPEAKS_UNKNOWN, SPEAKS_YES, SPEAKS_NO } speaks[2]; /* by enum mcp_era */
	bool was_modern; /* as last known: its conversations are chosen by that while it is asked again */
	struct pool *pools;     /* of clients without a session (pool.h) */
	struct parked *parked;  /* their calls that wait for them (parked.h) */
	size_t parked_bytes;    /* that these keep */
	struct seal *seal;      /* what such a call is known by again */
	bool header_tools;      /* some tool wants headers for its arguments */

	uint64_t next_id;
	unsigned children;         /* processes of the server that have not exited */
	unsigned children_closing; /* of those, told to end */
	struct reporter reporter;
	struct logs logs;
	struct metrics metrics;
	char last_error[ERR_DETAIL_MAX];
	struct buf scratch; /* for one message at a time */

	struct event *keep_timer; /* of keep.h */
	bool settling;            /* not all who use what was taken up are there again (adopt.h) */
	struct link *admin;       /* NULL: not open */
	struct event *stop_timer;
	uint64_t stop_until_ms; /* 0: not stopping */
	bool leaving;           /* stopping, for a successor: no further call of a client leaves */
	unsigned idle_looks;    /* leaving: how often in a row nothing was under way */
};

static inline struct upstream *upstream_of(void *process)
{
	return process_user(process);
}

static inline struct event_base *upstream_base(const struct upstream *up)
{
	return process_base(up->process);
}

/* Does each session have an instance of its own? */
bool upstream_isolates(const struct upstream *up);
/* The next id towards the server: see jsonrpc_own_id. */
uint64_t upstream_next_id(struct upstream *up);
/* All that a predecessor left is taken up: begin. */
void upstream_begin(struct upstream *up);
/* A process of the server is gone: who waits for a place may start. */
void upstream_child_gone(struct upstream *up);
/* Remember why something failed, for `status`. */
void upstream_note_error(struct upstream *up, const char *text);

#endif
