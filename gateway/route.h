/*
 * Routes: which worker has which session, and the link with it. The session manager says so; a
 * route is kept as long as its worker lives, or until others need the place.
 */
#ifndef GATEHOUSE_ROUTE_H
#define GATEHOUSE_ROUTE_H

#include "bounds.h"
#include "link.h"
#include "mcp.h"

#include <uthash.h>

/* Ready routes that nobody uses, at most; the longest unused is closed. */
#define ROUTES_IDLE_MAX 16384u
/* How long a request waits for a worker. */
#define ROUTE_WAIT_MS 5000u
/* Pause before the session manager is asked again. */
#define ROUTE_RETRY_MS 50u

struct exchange;
struct gateway;

enum route_state {
	ROUTE_ASKING,  /* the session manager */
	ROUTE_LINKING, /* the root, for a link */
	ROUTE_READY,
	ROUTE_OVER, /* nothing new goes there: the worker ends the session */
};

struct route {
	struct route *prev, *next; /* pending or idle */
	struct gateway *gateway;
	struct view *view; /* the virtual server that its session sees */
	enum route_state state;
	enum mcp_era era;                   /* modern: a shared worker */
	char session[LIMIT_SESSION_ID + 1]; /* "": a new one is asked for */
	size_t session_len;
	char tag[9]; /* short hash of it, for logs */
	uint64_t instance, epoch;
	struct link *link;
	struct exchange *waiting; /* for READY */
	struct exchange *active;  /* the worker has them */
	uint32_t ask;             /* stream of the question; 0: not asked now */
	uint64_t retry_ms;        /* not asked before */
	unsigned probes;          /* questions that the worker has not answered */
	bool is_idle;
	bool has_name;         /* in by_session */
	UT_hash_handle hh;     /* by_session */
	UT_hash_handle hh_ask; /* by_ask */
};

/* Each sends the exchange to its worker, at once or when it is known,
 * or answers it with an error. */
void route_to_session(struct exchange *exchange);
void route_to_new_session(struct exchange *exchange);
void route_to_shared(struct exchange *exchange);
/* Again, after the worker of this route died. */
void route_resume(struct route *route, struct exchange *exchange);

/* The exchange is through with its route (which may be gone afterwards). */
void route_leave(struct exchange *exchange);
/* The session of this route ends: whoever asks for it next asks the session manager. */
void route_end(struct route *route);

/* Open the link with the session manager, again and again until it is there. */
void routes_open_sessions(struct gateway *gateway);
void routes_tick(struct gateway *gateway);
void routes_free(struct gateway *gateway);

extern const struct link_handlers route_sessions_handlers;
extern const struct link_handlers route_worker_handlers;

#endif
