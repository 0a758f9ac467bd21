/*
 * One conversation with the server: an MCP client session with its handshake, its ids and its
 * calls. It outlives what carries it: when a child dies, the conversation starts anew on the next
 * one.
 */
#ifndef GATEHOUSE_INSTANCE_H
#define GATEHOUSE_INSTANCE_H

#include "transport.h"

#include <uthash.h>

struct call;
struct ask;
struct listing;

enum instance_state {
	INSTANCE_STOPPED,  /* until somebody needs it */
	INSTANCE_QUEUED,   /* waits for a place among config max */
	INSTANCE_OPENING,  /* the transport is being opened */
	INSTANCE_GREETING, /* initialize is on its way */
	INSTANCE_READY,
	INSTANCE_PAUSED, /* failed; starts again when the timer says so */
};

/* Tasks whose process is remembered. */
#define TASKS_KNOWN_MAX 1024u

struct instance {
	struct instance *prev, *next;
	struct upstream *up;
	struct client *client; /* whose it is; NULL for a pool's and the catalogue's */
	struct pool *pool;     /* whose it is; or NULL */
	bool subscriber;       /* of a pool: the one that hears for its principal */
	char label[24];
	enum instance_state state;
	struct transport *transport;
	enum mcp_era era; /* in which it is spoken with */
	/* this time, whether it speaks that era, and it does not; by enum mcp_era */
	bool asked[2], denied[2];
	bool asked_again; /* server/discover, which had named the revisions it takes */
	struct err refused; /* what it said first */
	enum mcp_version version;
	char *facts;              /* JSON: capabilities, serverInfo, instructions */
	struct span capabilities; /* in facts */

	struct call *calls;   /* sent, by id */
	struct call *waiting; /* not sent yet */
	struct call *resting; /* between two rounds */
	unsigned n_calls, n_waiting;
	struct ask *asks; /* of the server, unanswered */
	unsigned n_asks;

	struct event *timer;      /* what it means depends on the state */
	struct event *held;       /* calls wait until their worker knows they leave; greeting: its
				     first question is not answered */
	unsigned failures;        /* in a row */
	bool proven;              /* it has answered a client since it was opened */
	uint64_t ready_ms;        /* since when */
	uint64_t used_ms;         /* last time */
	uint64_t tasks_until_ms;  /* a task may be running until then */
	struct mark *tasks;       /* by the server's ids: given out since it was opened */
	uint64_t start_ms;        /* not opened again before */
	enum mcp_log_level level; /* as the server was told */
	struct listing *listing;  /* NULL unless this is the catalogue's */
	struct listen *listen;    /* NULL: not told of changes by a modern server (listen.h) */
	/* keep.h: it has changed since it was told; what was told; ids of answers on their way */
	bool unkept, kept_busy;
	struct mark *owed;
	/* adopt.h: not listened to yet; what a predecessor has asked for */
	bool unheard;
	struct mark *told;
	uint64_t former_listen;
};

/* client, pool: both NULL for the catalogue's. NULL: no memory. */
struct instance *instance_new(struct upstream *up, struct client *client, struct pool *pool);
/* Calls that are left are answered with this. The transport is closed politely. */
void instance_free(struct instance *instance, enum err_code code, const char *why);

/*
 * Have it started if it is not. Returns 0 when it runs or will soon, -ERR_SERVER_CAPACITY, or
 * -ERR_SERVER_DOWN when it has failed and pauses.
 */
int instance_want(struct instance *instance, struct err *err);
/* Nobody needs it at the moment. */
void instance_stop(struct instance *instance);
/* Is this the one that all sessions share? */
bool instance_is_shared(const struct instance *instance);
/* Can the server do this? A dotted path of its capabilities. */
bool instance_can(const struct instance *instance, const char *capability);
/* "up", "starting", … for people. */
const char *instance_state_name(const struct instance *instance);
/* It is ready, or was left so: look after so long whether it is idle (0: when it can be). */
void instance_wait_idle(struct instance *instance, uint64_t ms);
/* It was used now. */
void instance_touch(struct instance *instance);
/* End what carries it, answer its calls, and start again by the rules. */
void instance_fail(struct instance *instance, enum restart_reason reason, const struct err *err);
/* What the transport says; their arg is the instance. */
extern const struct transport_events instance_events;

/* --- handshake.c --- */
void handshake_begin(struct instance *instance);
/* The server keeps silent: perhaps it does not know what it was asked. */
void handshake_unanswered(struct instance *instance);
/* Tell a server that has just begun what this client had asked of it before: log level,
 * subscriptions. */
void handshake_restore(struct instance *instance);
/* The subscriptions of one client, who came to a server that runs. */
void handshake_subscribe(struct instance *instance, const struct client *client);
/* What nobody is subscribed to any more. */
void handshake_unsubscribe(struct instance *instance, struct span uri);
/* The level that the sessions of this instance want; told to the server when it changed and can be
 * told. */
void handshake_set_level(struct instance *instance);

/* --- incoming.c --- */
void incoming_message(struct instance *instance, struct span text, uint64_t related);

/* --- all of them --- */
/* Read the lists (again). */
void instance_refresh(struct upstream *up);
/* A place among max is free. */
void instances_admit(struct upstream *up);
void instances_count(const struct upstream *up, unsigned *ret_in_flight, unsigned *ret_queued);

#endif
