/*
 * HTTP/1.1 connections to one origin: plain or TLS, kept open between requests, one request at a
 * time each. Which conversation a request belongs to is nothing to a connection: it has no state of
 * its own.
 */
#ifndef GATEHOUSE_CONNECTION_H
#define GATEHOUSE_CONNECTION_H

#include "err.h"
#include "http1.h"
#include "url.h"

#include <event2/event.h>

/* Connections at once, streams included, and those kept idle. */
#define CONNECTIONS_MAX 4096u
#define CONNECTIONS_IDLE_MAX 64u

struct connection;
struct connections;

/* What becomes of a request. After complete or failed, and after connection_abort, nothing more is
 * said. */
struct connection_events {
	/* The final response's head; valid during the call. */
	void (*head)(void *arg, const struct http1_head *head);
	void (*body)(void *arg, struct span piece);
	/*
	 * The server switches protocols (101). From now on body gives its bytes as they come, the
	 * connection is written to by connection_write, and failed tells its end. NULL: it was not
	 * asked to, which makes 101 an error.
	 */
	void (*switched)(void *arg, const struct http1_head *head);
	/* What was handed to connection_write has left. */
	void (*drained)(void *arg);
	void (*complete)(void *arg);
	/*
	 * written: bytes of the request have left, so that it may have been taken. stale: the
	 * connection had been kept, and died before a byte of the response.
	 */
	void (*failed)(void *arg, const struct err *err, bool written, bool stale);
};

/* The origin's connections. -ERR_SYSTEM when TLS cannot be had, -ERR_NO_MEMORY. */
int connections_new(struct event_base *base, const struct url *origin, struct connections **ret,
	struct err *err);
/* Requests under way are forgotten. NULL is accepted. */
void connections_free(struct connections *connections);

/*
 * Send a request (all its bytes, copied), on a kept connection unless fresh. Events come from the
 * loop, never from here. -ERR_BUSY: too many connections; -ERR_NO_MEMORY.
 */
int connection_request(struct connections *connections, struct span request, bool fresh,
	const struct connection_events *events, void *arg, struct connection **ret,
	struct err *err);
/* Have bytes of the request left? */
bool connection_written(const struct connection *connection);
/*
 * After switched: send bytes, taken out of buf. Only when nothing waits to be sent. True: they have
 * left; false: drained will tell.
 */
bool connection_write(struct connection *connection, struct buf *bytes);
/* Do bytes wait to be sent? */
bool connection_is_full(const struct connection *connection);
/* Nobody waits any more: close it. */
void connection_abort(struct connection *connection);

#endif
