/* One message of a client on its way to a session worker, and its answer on the way back. */
#ifndef GATEHOUSE_EXCHANGE_H
#define GATEHOUSE_EXCHANGE_H

#include "checks.h"
#include "jsonrpc.h"
#include "link.h"
#include "mcp.h"
#include "transport.h"

/* Numbers as in messages.def. */
enum exchange_verb { EXCHANGE_POST = 1, EXCHANGE_GET, EXCHANGE_DELETE };
enum exchange_content { EXCHANGE_NO_CONTENT, EXCHANGE_JSON, EXCHANGE_SSE };

/* One event of a worker: a message and the framing around it. */
#define EXCHANGE_EVENT_MAX (LIMIT_MESSAGE_PAYLOAD + 4096u)

/* 16 hex digits. */
#define REQUEST_ID_MAX 17
/* version-trace-parent-flags (W3C Trace Context), and its end. */
#define TRACEPARENT_MAX 56

struct channel;
struct gateway;
struct payloads;
struct route;
struct sse_parser;

struct exchange {
	struct conn_user user;                    /* of conn */
	struct exchange *prev, *next;             /* in its route: waiting or active */
	struct exchange *chain;                   /* in its bucket, while a worker has it */
	struct exchange *quiet_prev, *quiet_next; /* among the event streams */
	struct gateway *gateway;
	const struct answer_ops *answers;
	struct http_conn *conn; /* that waits for the answer; NULL: it goes to the channel */
	struct route *route; /* NULL: it is with no worker any more */
	struct view *view;   /* the virtual server it is for */
	uint32_t stream;     /* on the worker's link; 0: not there */
	/* on a channel, see channel.h */
	struct channel *channel;
	struct exchange *channel_prev, *channel_next;
	char *own_body; /* where body lies */
	struct sse_parser *parser; /* of the stream the worker sends; NULL: none is needed */
	/* the request; spans lie in the connection until it is released */
	enum exchange_verb verb;
	enum mcp_era era;
	enum mcp_method method;
	enum jsonrpc_kind kind;
	struct facts facts;
	char traceparent[TRACEPARENT_MAX]; /* of the header, else of params._meta; or "" */
	const struct http1_head *head;
	struct span body;
	struct span id; /* raw */
	char *kept_id;  /* where id lies once the request is released */
	struct buf answered; /* ids of a batch that have their answer, a line each (batch.h) */
	struct buf rest;     /* where body lies, when it is what is left of a batch */
	size_t bytes_in;
	bool shared;   /* any of the principal's shared workers will do */
	bool released; /* head and body are gone: it cannot be sent again */
	bool retried;
	bool forwarded; /* may have reached a server */
	bool safe;      /* and may do so again */
	/* the answer */
	bool streaming;      /* an event stream was begun */
	bool between_events; /* its bytes so far end with a whole event */
	bool ended;          /* the worker has said all; the queue is to leave yet */
	struct buf queue;    /* what the connection had no room for, a credit window at most */
	size_t owed;         /* bytes that left and are not yet credited */
	size_t stale; /* first bytes of the queue that a dead worker sent: nobody is owed credit for
			 them */
	uint64_t bytes_out;
	uint64_t began_us;
	uint64_t waiting_us;    /* since when it waits for a worker; 0: it does not */
	uint64_t waited_us;     /* for workers */
	uint64_t gateway_us;    /* until it first left for a worker, without the waiting */
	uint64_t answered_us;   /* when the answer was there; 0: not yet */
	uint64_t wait_until_ms; /* for a worker */
	uint64_t wrote_ms;      /* last bytes of the event stream */
	char request_id[REQUEST_ID_MAX];
	char session_tag[9];         /* short hash of its session, for logs; or "" */
	char remote[NET_TEXT_MAX]; /* the client behind trusted proxies, or "": the connection's */
	struct payloads *payloads; /* log.payloads; NULL: off */
};

/* How one ended: what the worker said with EXCHANGE_ANSWER or EXCHANGE_END,
 * or what happened here. */
struct outcome {
	const char *word; /* ok, error, failed, client_gone */
	unsigned status;  /* HTTP */
	struct span method, server, tool, version, client;
	int code;          /* JSON-RPC error code, or 0 */
	unsigned executed; /* 0 no, 1 yes, 2 unknown */
	uint64_t upstream_us, queue_us, worker_us; /* as in messages.def */
	bool cut; /* the client was too slow for the stream, and misses the rest */
};

/* 16 hex digits that no other request has. */
void request_id_make(struct gateway *gateway, char out[REQUEST_ID_MAX]);

/* conn, if there is one, gets it as its data. NULL when memory is out. */
struct exchange *exchange_new(
	struct gateway *gateway, struct http_conn *conn, const struct answer_ops *answers);

/* The route is ready: hand it to the worker. May answer it (and free it). */
void exchange_send(struct exchange *exchange);

/* Answer with an error of ours, on the event stream if one was begun. Frees the exchange. */
void exchange_fail(
	struct exchange *exchange, const struct err *err, enum jsonrpc_executed executed);

/* The client is gone. Frees the exchange. */
void exchange_client_closed(struct exchange *exchange);

/* The worker of its route is dead: send it again, or say what is known. May free it. */
void exchange_worker_died(struct exchange *exchange, struct route *route);

/* It lives as long as the client wants, not until it is answered: a GET, subscriptions/listen. */
bool exchange_is_endless(const struct exchange *exchange);
/* End all those event streams: the gateway is about to go. */
void exchanges_end_streams(struct gateway *gateway);
/* Comments on quiet event streams. */
void exchanges_keep_alive(struct gateway *gateway);
void exchanges_free(struct gateway *gateway);

/* The trace id within its traceparent, or nothing. */
struct span exchange_trace_id(const struct exchange *exchange);

/* Headers that every answer of an exchange has; at most EXCHANGE_HEADERS_MAX are written, their
 * number returned. */
#define EXCHANGE_HEADERS_MAX 8
struct answer_headers {
	struct http1_header list[EXCHANGE_HEADERS_MAX];
	unsigned n;
	char timing[96];
};
/*
 * Server-Timing. upstream_us: the server's part of the time so far; UINT64_MAX: not known yet, as
 * the answer begins before it is there.
 */
void answer_headers_timing(
	struct answer_headers *headers, struct exchange *exchange, uint64_t upstream_us);
void answer_headers_add(struct answer_headers *headers, const char *name, struct span value);
/* Retry-After, with an answer that says that it may be better in a moment (503, 429). */
void answer_headers_retry(struct answer_headers *headers, unsigned status);
/* For a page of an allowed origin; nothing when origin is empty. */
void answer_headers_cors(struct answer_headers *headers, struct span origin);

/* --- between exchange.c, retry.c and the transports ----------------------------------------- */

/* Count and log how it ended. */
void exchange_tell(struct exchange *exchange, const struct outcome *outcome);
/* Tell, and free it. */
void exchange_finish(struct exchange *exchange, const struct outcome *outcome);
/* The answer has been given or cannot be. */
void exchange_free(struct exchange *exchange);
/* The worker has no more to do with it. */
void exchange_leave(struct exchange *exchange);
/* What is known of the outcome without a worker. */
struct outcome exchange_outcome(const struct exchange *exchange, const char *word, unsigned status);
struct exchange *exchange_find(struct gateway *gateway, const struct route *route, uint32_t stream);
/* Head and body are not needed any more. */
void exchange_release(struct exchange *exchange);
/* So many bytes of its stream have gone on: the worker may send as many more. */
void exchange_took(struct exchange *exchange, size_t n);
/* Tell the worker that nobody wants the answer any more. */
void exchange_tell_closed(const struct exchange *exchange);
/* What its envelope says; the id is set whatever happens. */
int exchange_read_body(struct exchange *exchange, struct err *err);
void exchange_take_trace(struct exchange *exchange, struct span traceparent);

/* stream.c: answers of Streamable HTTP. */
extern const struct answer_ops streamable_answers;
extern const struct conn_ops streamable_conn;
/*
 * streamable.c: an exchange of its own for an HTTP request: connection, view, client, trace, bytes.
 * NULL: memory is out, and the request is answered.
 */
struct exchange *streamable_exchange(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts,
	const struct answer_ops *answers);

/* Handlers of the links with session workers (closed: see route.c). */
void exchange_on_head(struct link *link, const struct message *msg, void *arg);
void exchange_on_data(struct link *link, const struct message *msg, void *arg);
void exchange_on_end(struct link *link, const struct message *msg, void *arg);
void exchange_on_answer(struct link *link, const struct message *msg, void *arg);
void exchange_on_forwarded(struct link *link, const struct message *msg, void *arg);

#endif
