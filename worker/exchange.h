/*
 * One HTTP exchange, as the gateway handed it over: a POST with its answer, or a GET that carries
 * an event stream.
 *
 * An answer that is ready soon goes out as plain JSON; one that takes longer, or has something
 * before it, makes the answer an event stream. What the client accepts has the last word.
 */
#ifndef GATEHOUSE_EXCHANGE_H
#define GATEHOUSE_EXCHANGE_H

#include "jsonrpc.h"
#include "link.h"
#include "mcp.h"

#define EXCHANGE_ACCEPTS_JSON 1u
#define EXCHANGE_ACCEPTS_SSE 2u
#define EXCHANGE_NO_PARAMS 16u /* there are no Mcp-Param-… headers to compare */
#define EXCHANGE_PREFERS_SSE 4u
#define EXCHANGE_TO_THE_END 8u /* the stream must not end before the answer */

/* A traceparent header of version 00 (W3C Trace Context); a longer one is not passed on. */
#define LIMIT_TRACEPARENT 55u

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
	int code;          /* 0, or the magnitude of the JSON-RPC error code */
	unsigned executed; /* 0 no, 1 yes, 2 unknown */
	uint64_t upstream_us, queue_us, worker_us; /* as in messages.def */
};

struct exchange {
	struct exchange *prev, *next;
	struct worker *worker;
	struct link *gateway; /* NULL once the client or the gateway is gone */
	uint32_t number;      /* stream on that link */
	enum exchange_verb verb;
	unsigned accept;
	enum exchange_state state;
	enum mcp_era era;      /* modern: without a session, whatever its messages are */
	struct stream *events; /* while STREAMING */
	unsigned unanswered;   /* requests that came with it */
	bool batch;            /* answers are elements of an array when they go out as JSON */
	struct buf held;       /* answers of a batch so far */
	bool overflow;         /* there were too many bytes of them */
	size_t credit;         /* bytes that may still be sent */
	struct buf queue;      /* bytes that wait for credit; of a plain answer, its body */
	size_t queue_sent;     /* of which these have been sent */
	bool head_due;         /* the head of the event stream waits for room on the link */
	bool ending;           /* the end follows the queue */
	bool cut;              /* the queue was too long, and is gone */
	enum exchange_content content; /* of a plain answer that waits for room on the link */
	unsigned status;               /* of a plain answer */
	struct span mcp_params; /* Mcp-Param-… headers; while its message is being routed */
	char traceparent[LIMIT_TRACEPARENT + 1];
	bool opens_session; /* its answer carries Mcp-Session-Id */
	bool whole; /* no event stream before it is answered: its head depends on the answer */
	uint64_t began_us;
	uint64_t began_ms;
	struct outcome outcome;
};

/* A new exchange from a message EXCHANGE; NULL when memory is out. */
struct exchange *exchange_new(
	struct worker *worker, struct link *gateway, const struct message *msg);

/*
 * Each of these three gives the exchange up: it is freed as soon as the gateway's link has taken
 * the answer.
 *
 * Answer with a status and no body.
 */
void exchange_answer_status(struct exchange *exchange, unsigned status);
/* Answer with JSON. */
void exchange_answer_json(struct exchange *exchange, unsigned status, struct span body);
/* Answer with an error of ours; id is the raw JSON-RPC id or empty. */
void exchange_answer_err(struct exchange *exchange, struct span id, const struct err *err,
	enum jsonrpc_executed executed);

/* Make the answer an event stream. stream: the one whose events go here;
 * it is yet to be attached. */
void exchange_begin_stream(struct exchange *exchange, struct stream *stream);
/*
 * Bytes of an event stream. droppable: left out when the client is slow. Returns 0;
 * -ERR_SLOW_CONSUMER: dropped, or the stream was ended because the client is too slow for what may
 * not be dropped.
 */
int exchange_write(struct exchange *exchange, struct span bytes, bool droppable);
/* The event stream is complete. Frees the exchange once its queue is out. */
void exchange_end(struct exchange *exchange);

/*
 * One message for the client that belongs to this exchange. final: it answers one of its requests.
 * droppable: a slow client may miss it. May free the exchange.
 */
void exchange_deliver(struct exchange *exchange, struct span message, bool final, bool droppable);
/* One of its requests ends without an answer (it was cancelled). May free it. */
void exchange_settle(struct exchange *exchange);

/* Another listener has its stream now: nothing more comes here. Ends it. */
void exchange_evict(struct exchange *exchange);
/* Close its event stream before the answer is there, where the client's revision lets it come back
 * for the rest. */
void exchange_park(struct exchange *exchange);

/* The client has closed it, or its gateway died. Frees the exchange; its requests go on (legacy) or
 * end (modern). */
void exchange_closed(struct exchange *exchange);
void exchange_credit(struct exchange *exchange, size_t bytes);
/* Turn answers that take long into streams, and try again what a link had no room for. */
void exchange_tick(struct worker *worker, uint64_t now_ms);

struct exchange *exchange_find(struct worker *worker, const struct link *gateway, uint32_t number);
void exchange_free(struct exchange *exchange);

#endif
