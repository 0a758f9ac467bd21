/*
 * What all HTTP connections of a gateway share: limits, timers, the Date header, one read buffer,
 * the list of connections. Single-threaded, on libevent (edge-triggered epoll). See http_conn.h and
 * http_listener.h.
 */
#ifndef GATEHOUSE_HTTP_SERVER_H
#define GATEHOUSE_HTTP_SERVER_H

#include "err.h"
#include "http1.h"
#include "network.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

struct http_conn;
struct http_server;

/* From the configuration. Times in milliseconds, 0 is not "none" but refused; bytes unless said
 * otherwise. */
struct http_limits {
	unsigned connections; /* open connections; more are not accepted until some close */
	size_t head;          /* request line and headers */
	size_t target;        /* request target */
	unsigned headers;     /* header lines */
	size_t body;          /* request body, decoded */
	size_t pipeline;      /* bytes of further requests kept while one is being answered */
	unsigned streams;     /* requests at once on one connection of HTTP/2 */
	size_t output;   /* unsent bytes of one connection beyond which http_conn_write refuses */
	size_t response; /* one whole response given to http_conn_respond */
	size_t linger;   /* bytes read and thrown away after an error was answered */
	unsigned header_ms; /* from the first byte (or accept) to the end of the headers */
	unsigned body_ms;   /* in each such period at least body_min bytes of body must come */
	size_t body_min;
	unsigned idle_ms;  /* between requests */
	unsigned write_ms; /* in each such period at least write_min bytes must leave, while some
			      wait */
	size_t write_min;
	unsigned linger_ms; /* reading on after an error was answered */
};

/* Reasonable values for all of them: what the configuration's defaults should say. */
extern const struct http_limits http_limits_default;

/* A request. Spans live until the response has ended, http_conn_release_request, or closed. */
struct http_request {
	const struct http1_head *head;
	struct span body; /* whole, chunk framing removed */
};

enum http_gone {
	HTTP_GONE_HALF,  /* the client sends no more (FIN); it may or may not still read: an answer
			    can still be sent */
	HTTP_GONE_RESET, /* nothing can reach it any more: of HTTP/2, RST_STREAM came, or it kept its
			    window shut */
	HTTP_GONE_STALLED, /* after http_conn_switch: it has taken next to nothing for write_ms; the
			      connection is closed when that happens a second time */
};

/*
 * What the owner of the connections does. Any of these may call any http_conn function,
 * http_conn_close included: the connection's memory outlives the call that is running.
 */
struct http_server_ops {
	/*
	 * Whole request. Answer now or later, by http_conn_respond or http_conn_begin …_end; the
	 * next request of this connection comes only after that.
	 */
	void (*request)(struct http_conn *conn, const struct http_request *request, void *arg);
	/*
	 * Headers are there, the body not yet; for deciding before a client uploads (rights, Host,
	 * Origin). May answer: the body is then not read and the connection closes after the
	 * answer. May be NULL.
	 */
	void (*head)(struct http_conn *conn, const struct http1_head *head, void *arg);
	/*
	 * Bytes of a connection that was switched to another protocol; all of them count as taken.
	 * May be NULL when none is ever switched.
	 */
	void (*input)(struct http_conn *conn, struct span bytes, void *arg);
	/* http_conn_write had refused; the queue has now fallen below half. May be NULL. */
	void (*writable)(struct http_conn *conn, void *arg);
	/*
	 * The client went away while its request was being answered: at most one HALF, one STALLED, then
	 * at most one RESET; closed follows a RESET. May be NULL.
	 */
	void (*client_gone)(struct http_conn *conn, enum http_gone gone, void *arg);
	/*
	 * A request is about to be refused by the connection itself. code is negative. May answer
	 * it by http_conn_respond, else the connection does. May be NULL.
	 */
	void (*refused)(struct http_conn *conn, int code, const char *detail, void *arg);
	/*
	 * May this peer say by the PROXY protocol for whom it speaks? Asked before the first byte
	 * of a connection is read. From others a preamble is refused. NULL: nobody may.
	 */
	bool (*trusts)(const struct net_address *peer, void *arg);
	/* A connection was accepted, before anything is read: a place for http_conn_set_data. May
	 * be NULL. */
	void (*opened)(struct http_conn *conn, void *arg);
	/* Last word, exactly once for each connection, whoever closed it. conn is still readable.
	 * May be NULL. */
	void (*closed)(struct http_conn *conn, void *arg);
};

/* limits are copied, ops and base borrowed. Returns 0, -ERR_INVALID_ARGUMENT, -ERR_NO_MEMORY. */
int http_server_new(struct event_base *base, const struct http_limits *limits,
	const struct http_server_ops *ops, void *arg, struct http_server **ret_server,
	struct err *err);

/*
 * Closes all connections (each gets `closed`). Free its listeners first. Not from within a callback
 * of a connection. NULL is accepted.
 */
void http_server_free(struct http_server *server);

/*
 * New limits. Those of a head (head, target, headers) and streams hold for connections accepted from
 * now on, times from the next start of a timer on.
 */
int http_server_set_limits(
	struct http_server *server, const struct http_limits *limits, struct err *err);

enum http_drain {
	/* Idle connections are closed. */
	HTTP_DRAIN_CLOSE,
	/* Idle connections wait for http_server_hand_over; those that may not move, for the request
	 * whose response says Connection: close, or for their time limit. */
	HTTP_DRAIN_HAND_OVER,
};

/*
 * From now on each response says Connection: close, but on connections that can be handed over, and
 * those of HTTP/2 say GOAWAY. What is being answered goes on; http_server_connections tells when all
 * are gone.
 */
void http_server_drain(struct http_server *server, enum http_drain how);

/* fresh, undecided: as in the message CONNECTION. */
struct http_idle {
	int fd;
	struct net_address peer;
	bool fresh, undecided;
};

/* Returns 0: it has a copy of the descriptor; else the connection stays. */
typedef int http_give_fn(const struct http_idle *idle, void *arg);
/*
 * Give away at most max connections on which no request is under way; for these `closed` is called.
 * Not from within a callback of a connection.
 */
void http_server_hand_over(
	struct http_server *server, unsigned max, http_give_fn *give, void *arg);

unsigned http_server_connections(const struct http_server *server);

/* What there is of HTTP/2 at present. */
struct http2_counts {
	unsigned connections, busy; /* busy: of those, with a stream or more */
	unsigned streams;
};
struct http2_counts http_server_http2(const struct http_server *server);

/* What has been counted since the start. */
struct http_server_stats {
	uint64_t accepted, requests, refused, timeouts, bytes_in, bytes_out, accept_pauses;
};
/* Count there from now on (borrowed), on top of what stands there. */
void http_server_count_in(struct http_server *server, struct http_server_stats *stats);
const struct http_server_stats *http_server_stats(const struct http_server *server);

#endif
