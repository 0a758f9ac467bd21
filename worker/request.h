/*
 * A JSON-RPC request of the client that is not answered yet, and its way to a server and back.
 *
 * At most once: before a call leaves for a server, the gateway is told (EXCHANGE_FORWARDED); the
 * upstream worker tells here (CALL_FORWARDED) before it writes to the server. When one of them
 * dies, what was not marked is sent again, what was is repeated only if it is safe, else answered
 * with an error that says executed: unknown.
 */
#ifndef GATEHOUSE_REQUEST_H
#define GATEHOUSE_REQUEST_H

#include "exchange.h"
#include "jsonrpc.h"

struct listen;
struct server;
struct request;
struct task_list;

/* What the server made of it. kind as CALL_DONE: 0 result, 1 the server's error object, 2 failed on
 * the way (err). */
struct reply {
	unsigned kind;
	struct span payload;
	struct err err;
	unsigned executed; /* 0 no, 1 yes, 2 unknown */
	uint64_t upstream_us, queue_us;
};

/* Instead of answering the client with it. The request is freed afterwards unless the callee sent
 * it on (returns true). */
typedef bool request_reply_fn(struct request *request, const struct reply *reply, void *arg);

struct request {
	struct request *prev, *next;
	struct worker *worker;
	struct exchange *exchange; /* NULL: the connection is gone */
	struct stream *stream;     /* where its messages go once the exchange streams */
	struct listen *listen;     /* it lasts until its client closes it (listens.h); or NULL */
	char *memory;              /* holds id, token, name */
	struct span id;            /* raw */
	struct span token;         /* the client's progress token, raw; empty: none */
	struct span name;          /* the server's own name of the tool, or "" */
	enum mcp_method method;
	enum mcp_era era;
	bool safe;
	bool cancelled;
	bool told;                    /* the gateway has EXCHANGE_FORWARDED */
	enum mcp_log_level log_level; /* modern: of the request itself */
	/* on its way to a server */
	struct server *server;
	bool awaits_lists; /* of servers, to be answered itself (own_lists.h) */
	uint64_t lists_until_ms; /* but no longer */
	bool asked_lists;  /* for a name that the catalogue does not know */
	bool waiting;      /* to be sent (again) */
	uint32_t call;     /* stream on the server's link; 0: not there */
	bool forwarded;    /* it may have reached the server */
	unsigned tries;
	char *params; /* as the server gets them; owned */
	size_t params_len;
	uint64_t deadline_ms;
	struct task_list *tasks; /* a tasks/list under way; owned (tasks.h) */
	request_reply_fn *on_reply;
	void *arg;
};

/* msg is borrowed. NULL when memory is out. Counts as unanswered in exchange. */
struct request *request_new(struct worker *worker, struct exchange *exchange,
	const struct jsonrpc *msg, enum mcp_era era);
/* One that this worker sends of its own accord, to a server. NULL when memory is out. */
struct request *request_new_own(
	struct worker *worker, enum mcp_method method, request_reply_fn *fn, void *arg);
void request_free(struct request *request);

/* Each answers the client and frees the request. */
void request_result(struct request *request, struct span result);
void request_error(struct request *request, struct span error);
void request_fail(struct request *request, const struct err *err, enum jsonrpc_executed executed);
/* The beginning of a message that answers it: the raw result and a brace are to follow. */
void request_begin_result(const struct request *request, struct buf *out);
/* A whole message that answers it (with its id). */
void request_answer(struct request *request, struct span message);
/* The client cancelled it: it ends without an answer. */
void request_drop(struct request *request);

/* A message for the client that comes before the answer. droppable: a slow client may miss it. */
void request_note(struct request *request, struct span message, bool droppable);
/* Fail with a code and a sentence; nothing was executed. */
void request_refuse(struct request *request, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* What came back from the server: to on_reply if there is one, else to the client. */
void request_reply(struct request *request, const struct reply *reply);

/* The session ends: every request is answered with that. */
void request_end_all(struct worker *worker, const char *why);

/* The exchange is gone: messages go to the stream's log from now on. */
void request_exchange_gone(struct worker *worker, const struct exchange *exchange);
void request_exchange_streams(
	struct worker *worker, const struct exchange *exchange, struct stream *stream);
/* Its client is gone, and with it the wish for its answers. */
void request_cancel_exchange(struct worker *worker, struct exchange *exchange);

/* The client's notifications/cancelled. Nothing happens when there is no such request. */
void request_cancel(struct worker *worker, struct span raw_id, struct span reason);
/* Is a request still unanswered whose messages go to this stream? */
bool request_on_stream(const struct worker *worker, const struct stream *stream);
/* Deadlines. */
void request_tick(struct worker *worker, uint64_t now_ms);

#endif
