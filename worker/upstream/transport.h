/*
 * How messages reach the server. A new transport is a file and a row in transports[] (transport.c).
 *
 * A transport is one conversation: a child process, an MCP session over HTTP, a WebSocket. It knows
 * nothing of calls; it carries messages and says what became of them. It never calls back from
 * within open, send, forget or close.
 */
#ifndef GATEHOUSE_TRANSPORT_H
#define GATEHOUSE_TRANSPORT_H

#include "err.h"
#include "mcp.h"
#include "upstream.h"

/* Unsent bytes of one conversation beyond which send refuses; one message alone may be larger. */
#define TRANSPORT_QUEUE_MAX (8u * 1024u * 1024u)

/* Did what was asked run? As in CALL_DONE. */
enum executed { EXECUTED_NO, EXECUTED_YES, EXECUTED_UNKNOWN };

struct transport_message {
	uint64_t id;             /* of a request of ours; 0: a notification or an answer */
	struct span text;        /* one checked JSON object, line ends where the peer had them; copied */
	struct span traceparent; /* where the transport has headers; may be empty */
	struct span headers;     /* "Name: value\r\n" each, of a modern request; may be empty */
	bool modern;             /* it stands alone: no session, nothing to be resumed */
	bool safe;               /* may be sent twice */
	bool barrier;            /* what is sent later waits until the server has taken this */
};

struct transport_events {
	/* Messages can be sent from now on. */
	void (*opened)(void *arg);
	/*
	 * Bytes that should be one message: borrowed, unchecked. related: the id of our request on
	 * whose own stream it came, 0 where nothing tells.
	 */
	void (*message)(void *arg, struct span text, uint64_t related);
	/* The server closed the stream of this request before the answer; the rest is asked for
	 * later. */
	void (*parked)(void *arg, uint64_t id);
	/* This request will have no answer; the conversation goes on. -ERR_SESSION_UNKNOWN: it does
	 * not. */
	void (*failed)(void *arg, uint64_t id, const struct err *err, enum executed executed);
	/* The conversation is over. The callee closes the transport. */
	void (*closed)(void *arg, const struct err *err);
};

struct transport {
	const struct transport_ops *ops;
};

struct transport_ops {
	const char *name;
	/* Every session has a conversation of its own, whatever isolation says. */
	bool per_session;
	/* A conversation costs a process: config max bounds them. */
	bool has_child;
	/*
	 * Does what the server says during a request come on that request's own stream? As far as
	 * is known of the server; NULL: never. Else a question of the server can only be told to
	 * belong to a request while that is the only one.
	 */
	bool (*relates)(const struct upstream *up);
	/* label: a word for logs, empty when shared. Then opened or closed is called. */
	int (*open)(struct upstream *up, const char *label, const struct transport_events *events,
		void *arg, struct transport **ret, struct err *err);
	/* 0, -ERR_BUSY (too much waits; nothing was queued), -ERR_NO_MEMORY, -ERR_CLOSED. Never
	 * blocks. */
	int (*send)(struct transport *transport, const struct transport_message *msg);
	/* initialize was answered. May be NULL. */
	void (*negotiated)(struct transport *transport, enum mcp_version version);
	/* Nobody waits for the answer of this request any more. True: it never left,
	 * and will not. */
	bool (*forget)(struct transport *transport, uint64_t id);
	/*
	 * The same for a modern request, by closing what carries it, which cancels it. NULL: where
	 * a notification does that.
	 */
	bool (*withdraw)(struct transport *transport, uint64_t id);
	/* The root's number for the process it runs on, 0: there is none yet. NULL: never. */
	uint64_t (*child)(const struct transport *transport);
	/* Unsent messages. */
	size_t (*queued)(const struct transport *transport);
	/* End the conversation politely; no event comes afterwards. Frees, now or later. */
	void (*close)(struct transport *transport);
	/* For the whole process; each may be NULL. */
	int (*start)(struct upstream *up, struct err *err);
	void (*stop)(struct upstream *up);
	/* Something still leaves after close. */
	bool (*busy)(const struct upstream *up);
};

/* By the server's configuration; NULL with err where this program has none for it. */
const struct transport_ops *transport_find(const struct config_server *server, struct err *err);

extern const struct transport_ops transport_stdio;
extern const struct transport_ops transport_http;
extern const struct transport_ops transport_sse;
extern const struct transport_ops transport_ws;

/* The root's answers about children; arg is the struct process. */
void stdio_on_spawned(struct link *link, const struct message *msg, void *arg);
void stdio_on_spawn_failed(struct link *link, const struct message *msg, void *arg);
void stdio_on_exited(struct link *link, const struct message *msg, void *arg);

/*
 * Take up the process of a SERVER_KEPT, whose descriptors are taken over. Nothing is read before
 * stdio_hear. The events are instance_events.
 */
int stdio_adopt(struct upstream *up, const struct message *msg, struct instance *instance,
	struct transport **ret);
void stdio_hear(struct transport *transport);

#endif
