/*
 * Streamable HTTP towards a server (MCP 2025-03-26 to 2026-07-28, transports): what http.c (the
 * conversation) and http_exchange.c (one request and its response) share. With them, in
 * http_legacy.c, its predecessor HTTP+SSE (MCP 2024-11-05): all messages of the server come on the
 * response of one GET, ours are POSTed to the endpoint that this stream begins with.
 */
#ifndef GATEHOUSE_UPSTREAM_HTTP_H
#define GATEHOUSE_UPSTREAM_HTTP_H

#include "connection.h"
#include "sse.h"
#include "transport.h"

#define HTTP_SESSION_MAX 1024u

/* Of the whole process: the server's address, and its connections. */
struct http_host {
	struct upstream *up;
	struct url url; /* where a permanent redirect led, within the origin */
	struct connections *connections;
	struct exchange *farewells; /* DELETEs of conversations that are over */
	bool legacy;                /* HTTP+SSE, as configured or found out */
};

enum http_mode {
	HTTP_STREAMABLE,
	HTTP_PROBING, /* initialize was refused: is it HTTP+SSE? */
	HTTP_LEGACY,
};

/* One conversation. */
struct http {
	struct transport base;
	struct http_host *host;
	const struct transport_events *events;
	void *arg;
	struct event *opened;
	char session[HTTP_SESSION_MAX + 1]; /* as the server named it; empty: it did not */
	enum mcp_version version;           /* NONE until negotiated */
	struct exchange *exchanges;         /* under way */
	struct exchange *held;              /* wait for the barrier */
	size_t n_held, held_bytes;
	struct exchange *barrier;
	bool streaming; /* a stream for the server's own messages is wanted */
	enum http_mode mode;
	struct url endpoint;      /* LEGACY: where messages go; no target until it is announced */
	struct exchange *refused; /* PROBING: initialize, to be sent again */
};

enum exchange_kind { EXCHANGE_POST, EXCHANGE_STREAM, EXCHANGE_DELETE, EXCHANGE_LEGACY };
enum exchange_body { BODY_NONE, BODY_JSON, BODY_EVENTS, BODY_OTHER };

/* One request and its response, over several connections where need be. */
struct exchange {
	struct exchange *prev, *next;
	struct exchange **list; /* it is in */
	struct http *http;      /* NULL for a farewell */
	struct http_host *host;
	enum exchange_kind kind;
	uint64_t id; /* of the message; 0 when no answer is waited for (any more) */
	char *text;
	size_t len;
	char traceparent[64];
	char *headers; /* of the message; NULL: none */
	bool safe, modern;

	struct connection *connection;
	struct url url;
	unsigned redirects, resumes;
	bool repeated; /* sent again after a kept connection had died */
	bool moved;    /* reading goes on by GET after the response stream had broken */
	bool ever_written;
	unsigned status;
	char reason[64];
	enum exchange_body body_kind;
	bool redirected; /* the response only leads elsewhere */
	struct buf body;
	struct sse_parser *events;
	char last_event[SSE_ID_MAX + 1];
	uint64_t began_ms;   /* this response */
	struct event *timer; /* to resume, or to give up */
	bool resume_due;
	bool busy, dead; /* freed when the work at hand is done */
};

/* --- http_exchange.c --- */

/* text is copied. Not sent yet. NULL: no memory. */
struct exchange *exchange_new(struct http_host *host, struct http *http, enum exchange_kind kind,
	const struct transport_message *msg);
/* Send it. Its end comes from the loop, also when it fails at once. */
void exchange_send(struct exchange *exchange, bool fresh);
void exchange_free(struct exchange *exchange);
/* End by itself after so long. */
void exchange_expire(struct exchange *exchange, unsigned ms);

/* It is over: the server did not take the message. */
void exchange_refuse(struct exchange *exchange, const struct err *err);

/* --- http_legacy.c --- */

/* Ask for the stream that a conversation over HTTP+SSE begins with. -ERR_NO_MEMORY. */
int legacy_begin(struct http *http);
/* The server refused this message. True: it may be one that speaks HTTP+SSE only, which is being
 * tried; the exchange waits for that. */
bool legacy_probe(struct exchange *exchange);
/* Of an EXCHANGE_LEGACY: the stream says where messages go; its response is over; it is over. */
void legacy_announced(struct exchange *exchange, struct span endpoint);
void legacy_complete(struct exchange *exchange);
void legacy_over(struct exchange *exchange, const struct err *err);
/* Is this a message that is POSTed to an announced endpoint? */
bool legacy_is_post(const struct exchange *exchange);

/* --- http.c --- */

/* The first response that names a session opens it. */
void http_name_session(struct http *http, struct span name);
/* The server has taken the message of this exchange (or refused it): what was held may go. */
void http_taken(struct http *http, const struct exchange *exchange);

#endif
