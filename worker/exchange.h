/*
 * One HTTP exchange, as the gateway handed it over: a POST with its answer, or a GET that carries an event stream.
 *
 * An answer that is ready soon goes out as plain JSON; one that takes longer, or has something before it, makes the answer
 * an event stream. What the client accepts has the last word.
 */
#ifndef GATEHOUSE_EXCHANGE_H
#define GATEHOUSE_EXCHANGE_H

#include "jsonrpc.h"
#include "link.h"
#include "mcp.h"

#define EXCHANGE_ACCEPTS_JSON 1u
#define EXCHANGE_ACCEPTS_SSE 2u
#define EXCHANGE_PREFERS_SSE 4u

enum exchange_verb { EXCHANGE_POST = 1, EXCHANGE_GET, EXCHANGE_DELETE };
enum exchange_content { EXCHANGE_NO_CONTENT, EXCHANGE_JSON, EXCHANGE_SSE };
enum exchange_state { EXCHANGE_WAITING, EXCHANGE_STREAMING, EXCHANGE_DONE };

struct worker;
struct stream;

/* For the access log and the metrics of the gateway. */
struct outcome {
	char method[64];
	char server[LIMIT_SERVER_NAME + 1];
	char tool[LIMIT_TOOL_NAME + 1];
	int code;           /* 0, or the magnitude of the JSON-RPC error code */
	unsigned executed;  /* 0 no, 1 yes, 2 unknown */
	uint64_t upstream_us;
};

struct exchange {
	struct exchange *prev, *next;
	struct worker *worker;
	struct link *gateway; /* NULL once the client or the gateway is gone */
	uint32_t number;      /* stream on that link */
	enum exchange_verb verb;
	unsigned accept;
	enum exchange_state state;
	enum mcp_era era;     /* modern: without a session, whatever its messages are */
	struct stream *events; /* while STREAMING */
	unsigned unanswered;   /* requests that came with it */
	bool batch;            /* answers are elements of an array when they go out as JSON */
	struct buf held;       /* answers of a batch so far */
	size_t credit;         /* bytes that may still be sent */
	struct buf queue;      /* bytes that wait for credit */
	bool ending;           /* the end follows the queue */
	unsigned status;       /* of a plain answer */
	bool opens_session;    /* its answer carries Mcp-Session-Id */
	uint64_t began_ms;
	struct outcome outcome;
};

/* A new exchange from a message EXCHANGE; NULL when memory is out. */
struct exchange *exchange_new(struct worker *worker, struct link *gateway, const struct message *msg);

/* Answer with a status and no body. Frees the exchange. */
void exchange_answer_status(struct exchange *exchange, unsigned status);
/* Answer with JSON. Frees the exchange. */
void exchange_answer_json(struct exchange *exchange, unsigned status, struct span body);
/* Answer with an error of ours; id is the raw JSON-RPC id or empty. Frees the exchange. */
void exchange_answer_err(struct exchange *exchange, struct span id, const struct err *err, enum jsonrpc_executed executed);

/* Make the answer an event stream. stream becomes the one whose events go here. */
void exchange_begin_stream(struct exchange *exchange, struct stream *stream);
/*
 * Bytes of an event stream. droppable: left out when the client is slow. Returns 0; -ERR_SLOW_CONSUMER: dropped, or the
 * stream was ended because the client is too slow for what may not be dropped.
 */
int exchange_write(struct exchange *exchange, struct span bytes, bool droppable);
/* The event stream is complete. Frees the exchange once its queue is out. */
void exchange_end(struct exchange *exchange);

/* One message for the client that belongs to this exchange; final: it answers one of its requests. May free it. */
void exchange_deliver(struct exchange *exchange, struct span message, bool final);
/* One of its requests ends without an answer (it was cancelled). May free it. */
void exchange_settle(struct exchange *exchange);

/* Close its event stream before the answer is there, where the client's revision lets it come back for the rest. */
void exchange_park(struct exchange *exchange);

/* The client has closed it, or its gateway died. Frees the exchange; its requests go on (legacy) or end (modern). */
void exchange_closed(struct exchange *exchange);
void exchange_credit(struct exchange *exchange, size_t bytes);
/* Turn answers that take long into streams. */
void exchange_tick(struct worker *worker, uint64_t now_ms);

struct exchange *exchange_find(struct worker *worker, const struct link *gateway, uint32_t number);
void exchange_free(struct exchange *exchange);

#endif
