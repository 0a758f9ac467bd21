/* Requests of ours towards the server, each answered exactly once: calls of clients, and our own. */
#ifndef GATEHOUSE_CALL_H
#define GATEHOUSE_CALL_H

#include "instance.h"

#include <event2/event_struct.h>

/* What became of a request; kind and executed as in CALL_DONE. */
struct outcome {
	unsigned kind;       /* 0 result, 1 the server's error, 2 err */
	struct span payload; /* raw JSON */
	struct err err;
	enum executed executed;
	uint64_t upstream_us, queue_us;
};

struct call;
struct parked;
struct round;
/* payload is borrowed. */
typedef void call_done_fn(struct instance *instance, const struct outcome *outcome, void *arg);

struct call {
	uint64_t id; /* towards the server; 0 until sent */
	UT_hash_handle hh;
	struct call *prev, *next; /* while waiting */
	struct instance *instance;

	struct client *client; /* NULL: our own, told by done */
	uint32_t stream;       /* on the client's link */
	UT_hash_handle by_stream;
	call_done_fn *done;
	void *arg;

	enum mcp_method method;
	char *name;   /* of the method */
	char *params; /* kept while the call waits, or may be sent again */
	size_t params_len;
	char *subject; /* subscribe: the uri, decoded; else NULL */
	char traceparent[64];
	bool safe, progress, task;
	bool resumes; /* it brings a requestState */
	unsigned char digest[32]; /* of what was asked for, where it may be parked (parked.h) */
	bool posted;  /* CALL_FORWARDED is on the link, perhaps not yet out */
	bool sent;    /* in the transport's hands */
	bool retried; /* after the server had lost our session */
	bool resting; /* between two rounds: neither sent nor waiting */
	struct round *round;   /* NULL: the server has asked nothing (round.h) */
	struct parked *parked; /* NULL: it has not been parked (parked.h) */
	uint64_t sent_us;
	uint64_t waits_us; /* since when it waits; 0: it does not */
	uint64_t queue_us; /* for which it has waited */
	const char *tool;  /* its label in metrics */
	struct event timer;
};

/*
 * Send a request of ours now (the instance is greeting or ready). params: raw JSON, may be empty.
 * done is called once, never from here; it is not called when this fails.
 */
int call_own(struct instance *instance, enum mcp_method method, struct span params,
	uint32_t timeout_ms, call_done_fn *done, void *arg);
/* The same for a request nobody waits for. */
void call_tell(struct instance *instance, enum mcp_method method, struct span params);

/* A call of a client; params are copied. Takes over call, which then is answered in any case. */
struct call *call_new(struct instance *instance, struct client *client, uint32_t stream);
void call_start(struct call *call, struct span params, uint64_t timeout_ms);
void call_cancel(struct call *call, struct span reason);
/* The server has answered this sending of it, and will be sent it again. */
void call_rest(struct call *call);
void call_resend(struct call *call);
/* Its client waits no more; another request of that client may take it up. */
void call_part(struct call *call);
void call_rejoin(struct call *call, struct client *client, uint32_t stream, uint64_t timeout_ms);
/* Answer and forget. */
void call_finish(struct call *call, struct outcome *outcome);
void call_fail(struct call *call, enum err_code code, const char *detail, enum executed executed);

/* The instance is ready: send what waits. */
void calls_go(struct instance *instance);
/* The transport is about to be closed: answer what was sent, and what waits too if it shall not go
 * on. */
void calls_lost(struct instance *instance, const struct err *err, bool waiting_too);
/* The server forgot the session in which this was sent. True: it will be sent again in the next
 * one. */
bool call_again(struct call *call);
/* Does any call of a client (or one that is parked) run or wait here? */
bool calls_of_clients(const struct instance *instance);
/* The same of those that have been sent, in this round or an earlier one. */
bool calls_under_way(const struct instance *instance);
struct call *call_find(struct instance *instance, uint64_t id);
/* The only call of a client that is under way here; NULL if none or several. */
struct call *calls_only(struct instance *instance);

#endif
