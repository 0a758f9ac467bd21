/*
 * What this worker knows of its client: who it is, which revision it speaks, what it can, what it
 * asked for. Saved with the session manager as JSON whenever it changes, so that a successor can go
 * on.
 */
#ifndef GATEHOUSE_SESSION_H
#define GATEHOUSE_SESSION_H

#include "bounds.h"
#include "buf.h"
#include "err.h"
#include "mcp.h"
#include "message.h"

#include <uthash.h>

/*
 * Of the saved state, what the resources a session is subscribed to may take, and as much again
 * what its tasks may: some 3,000 of each with names of ordinary length.
 */
#define SESSION_MARKS_BYTES (384u * 1024)
/* Bytes of what a client may say about itself. */
#define SESSION_CLIENT_BYTES (128u * 1024)

struct worker;

/* A uri the client is subscribed to, or a task it started: whose it is. */
struct session_mark {
	char *key; /* hh.keylen bytes */
	char server[LIMIT_SERVER_NAME + 1];
	UT_hash_handle hh;
};

struct session_marks {
	struct session_mark *first;
	size_t bytes;
};

typedef void session_saved_fn(struct worker *worker, int code, void *arg);

struct session_save {
	uint32_t stream;
	bool sent;
	session_saved_fn *fn;
	void *arg;
	UT_hash_handle hh;
};

struct session {
	char id[LIMIT_SESSION_ID + 1];
	char tag[9]; /* short hash of the id: for event ids and logs */
	char principal[128];
	char view[LIMIT_VIEW_NAME + 1]; /* the virtual server it sees; "": all */
	uint64_t epoch;
	enum mcp_era era;
	enum mcp_version version;
	bool opened;        /* initialize was answered */
	bool initialized;   /* notifications/initialized came */
	char *capabilities; /* the client's, raw JSON */
	char *client_info;  /* raw JSON */
	char client_name[64];
	enum mcp_log_level log_level;
	struct session_marks subscriptions;
	struct session_marks tasks;
	struct session_save *saves; /* not yet acknowledged */
	uint64_t active_ms;         /* last request or stream */
	uint64_t heard;             /* as restored: see struct streams */
};

/* Take a lease: identity, then state as saved before (JSON, empty for a new session). */
int session_begin(struct session *session, const struct msg_lease *lease, struct span state,
	struct err *err);
void session_free(struct session *session);

/*
 * What `initialize` said. capabilities and info are raw JSON; what is no object counts as an empty
 * one. -ERR_TOO_LARGE, -ERR_NO_MEMORY.
 */
int session_set_client(struct session *session, enum mcp_version version, struct span capabilities,
	struct span info);
/* As mcp_client_digest, of what servers are told of it. */
uint64_t session_kind(const struct session *session);
bool session_client_can(const struct session *session, const char *capability);

/* -ERR_TOO_MANY, -ERR_NO_MEMORY. */
int session_mark_add(struct session_marks *marks, struct span key, const char *server);
/* Is there room for this one more? */
bool session_mark_fits(const struct session_marks *marks, struct span key);
const struct session_mark *session_mark_find(const struct session_marks *marks, struct span key);
void session_mark_remove(struct session_marks *marks, struct span key);

/*
 * Save with the session manager; fn (may be NULL) is told when it is durable, or that it failed.
 * While the session manager is away the save waits.
 */
void session_save(struct worker *worker, session_saved_fn *fn, void *arg);
void session_on_saved(struct worker *worker, uint32_t stream, int code);
/* The session manager is back: what was not acknowledged is sent again. */
void session_save_again(struct worker *worker);
/* Send what the link had no room for. */
void session_tick(struct worker *worker);

#endif
