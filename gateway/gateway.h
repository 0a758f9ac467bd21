/*
 * A gateway: the edge of the node. It takes HTTP requests, finds the session worker that answers
 * each, and carries the answers back. The files of this folder that belong to it, beside the HTTP
 * server (http_server.h):
 *
 *   main.c        the role: hooks, links, drain
 *   edge.h        a request, and which way it goes
 *   checks.h      Host, Origin, Accept, …
 *   route.h       session → its worker, by the session manager
 *   views.h       virtual servers
 *   exchange.h    one message on its way and its answer
 *   transport.h   the ways in which clients come:
 *   streamable.c    Streamable HTTP, requests; stream.c: answers
 *   channel.h       one connection for all messages of a session
 *   rest.h          REST, for programs that are no MCP clients
 *   websocket.c     WebSocket
 *   sse_stream.h    HTTP+SSE of 2024-11-05; neighbours.h: other gateways
 *   retry.c       what happens when a worker dies
 *   probe.h       session workers that hang
 *   health.h      /livez /healthz /readyz
 *   pages.c       what is not MCP
 *   access_log.h, metrics.h, queries.h
 */
#ifndef GATEHOUSE_GATEWAY_H
#define GATEHOUSE_GATEWAY_H

#include "catalogue.h"
#include "checks.h"
#include "config.h"
#include "forwarded.h"
#include "http_listener.h"
#include "http_server.h"
#include "process.h"
#include "views.h"

/* Every client, until there is authentication. */
#define PRINCIPAL "anonymous"
#define EXCHANGE_BUCKETS 4096u
/* Dead workers remembered. */
#define DEAD_MAX 64u

struct channel;
struct exchange;
struct metrics;
struct neighbour;
struct neighbour_link;
struct route;
struct sse_stream;

/* One listener, with the connections that came by it. */
struct door {
	struct door *next;
	struct gateway *gateway;
	struct http_server *server;
	struct http_listener *listener;
	struct admission admission;
	uint32_t index;
	char *url;
};

/* Another gateway's socket on the address of a door, served while that one cannot. */
struct loan {
	struct loan *next;
	struct http_listener *listener;
	uint64_t index, slot;
};

struct gateway {
	struct process *process;
	struct config *config;
	struct trust trust; /* trusted_proxies */
	struct door *doors;
	struct loan *loans;
	/* the session manager */
	struct link *sessions; /* NULL: away */
	bool opening;
	struct event *reopen;
	/* routes */
	struct route *by_session;
	struct route *by_ask;
	struct route *pending; /* not ready */
	struct route *over;    /* their sessions end */
	struct route *idle;    /* ready and unused, the longest first */
	unsigned n_ready;
	struct view all, *views;
	unsigned pool_size; /* of each view */
	struct event *tick;  /* while routes are pending */
	struct event *probe; /* of workers that have overdue requests */
	struct {
		uint64_t instance, until_ms;
	} dead[DEAD_MAX]; /* whose links closed last */
	unsigned next_dead;
	/* exchanges */
	struct exchange *buckets[EXCHANGE_BUCKETS]; /* by stream, of those a worker has */
	struct exchange *streams;                   /* event streams, the longest quiet first */
	struct exchange *spare;                     /* for reuse */
	unsigned n_exchanges, n_streams, n_spare;
	struct channel *channels;     /* connections that carry a whole session each */
	unsigned n_channel_exchanges; /* of n_exchanges */
	struct sse_stream *sse_streams; /* of these, by number */
	uint64_t sse_counter;
	struct neighbour *neighbours; /* gateways with which there is a link */
	struct neighbour_link *neighbour_links;
	struct event *keepalive;
	uint64_t seed, counter; /* of request ids */
	/* health */
	struct catalogue *catalogue; /* NULL until the first came */
	uint64_t started_ms;
	/* end */
	bool draining;
	uint64_t drain_until_ms;
	struct event *drain;
	struct metrics *metrics;
	struct event *flush; /* of log lines, at the end of a turn of the loop */
	struct link *admin;  /* NULL: none */
};

/* Cores this process may run on: what auto means. */
unsigned gateway_cores(void);

struct gateway *gateway_of(const struct process *process);

#endif
