/*
 * The world of an upstream worker, for its tests: the real program is executed; root, registry,
 * session workers and admin are played here over real links; the server's processes are real
 * children of the test.
 */
#ifndef GATEHOUSE_UPSTREAM_WORLD_H
#define GATEHOUSE_UPSTREAM_WORLD_H

#include "catalogue.h"
#include "link.h"

#include <sys/types.h>

#define WORLD_CHILDREN_MAX 256
#define WORLD_SESSIONS_MAX 64
#define WORLD_CALLS_MAX 64

/* One process of the server. */
struct world_child {
	uint64_t instance;
	pid_t pid; /* 0 once reaped */
	char session[64];
	bool stopped; /* SERVER_STOP came */
	int pipes[3]; /* our copies, as the root keeps them; 0: closed */
	char *state;  /* as SERVER_KEEP had it, or NULL */
	unsigned n_kept; /* SERVER_KEEPs */
	bool amid;    /* as SERVER_AMID had it */
	unsigned n_amid;
	bool busy, left; /* by a worker that died, for the next one */
	uint64_t term_ms, kill_ms;
};

/* One call of a session. */
struct world_call {
	uint32_t stream;
	bool forwarded, done;
	unsigned kind, code, executed;
	char detail[ERR_DETAIL_MAX];
	char *payload; /* zero-terminated */
	size_t payload_len;
	unsigned n_parked;
	unsigned n_notes;
	char last_note[512]; /* method, space, params */
};

/* A session worker's link. */
struct world_session {
	struct world *world;
	struct link *link;
	struct world_call calls[WORLD_CALLS_MAX];
	unsigned n_calls;
	unsigned n_notes; /* that belong to no call */
	char last_note[512];
	unsigned n_asks;
	uint32_t ask_stream, ask_call;
	char ask_method[128], ask_params[512];
	bool ask_cancelled;
	bool closed;
};

struct world {
	struct event_base *base;
	const char *server;  /* its configuration */
	unsigned n_started;  /* upstream workers */
	const char *command; /* of the server: argv as one line */
	char state_dir[64];  /* the node's, removed at the end */
	struct link *root;
	pid_t pid;
	bool ready, gone;
	int status;
	struct world_child children[WORLD_CHILDREN_MAX];
	unsigned n_children;
	bool refuse_spawn;
	/* registry */
	struct link *registry;
	unsigned n_states, n_lists[CATALOGUE_KIND_MAX];
	enum server_state state;
	char detail[ERR_DETAIL_MAX], version[32];
	char *facts, *lists[CATALOGUE_KIND_MAX];
	unsigned ttl_ms[CATALOGUE_KIND_MAX];
	bool cache_public[CATALOGUE_KIND_MAX];
	unsigned n_alike, alike_kinds; /* as told last */
	uint64_t alike_client;
	struct world_session sessions[WORLD_SESSIONS_MAX];
	unsigned n_sessions;
	/* admin */
	struct link *admin;
	char *reply;
	unsigned n_replies;
};

/* Start the program. server: the lines of the server's entry in YAML. command: how its processes
 * are started. */
void world_start(struct world *world, const char *server, const char *command);
/* kill -9 the program, and the same with the next one, to which the server's processes are given. */
void world_kill(struct world *world);
void world_start_again(struct world *world);
/* Stop it politely, and see that nothing is left. */
void world_end(struct world *world);
/* Turn the loop until the condition holds; fails the test when that takes too long. */
#define world_until(world, condition) \
	do { \
		uint64_t world_end_ms = clock_ms() + 15000; \
		while (!(condition)) { \
			if (clock_ms() > world_end_ms) \
				ck_abort_msg("never: %s (state %d %s)", #condition, \
					(int)(world)->state, (world)->detail); \
			world_turn(world); \
		} \
	} while (0)
void world_turn(struct world *world);
/* Turn for so long. */
void world_pass(struct world *world, unsigned ms);

/* A session worker attaches. who: the payload of ATTACH, NULL: a client that can nothing. */
struct world_session *world_attach(struct world *world, const char *id, const char *who);
/* One that serves clients of this principal without sessions. */
struct world_session *world_attach_modern(
	struct world *world, const char *id, const char *principal);
/* Of principal p, with what it has asked for before. */
struct world_session *world_attach_again(
	struct world *world, const char *id, const char *version, const char *who);
void world_close(struct world_session *session);
/* A call; does not wait. */
struct world_call *world_call(struct world_session *session, const char *method, const char *params,
	unsigned timeout_ms, bool safe);
/* tools/call of the tool with these arguments (JSON object). */
struct world_call *world_tool(
	struct world_session *session, const char *tool, const char *arguments);
/* The same, and wait for the answer. */
struct world_call *world_tool_done(
	struct world_session *session, const char *tool, const char *arguments);
void world_cancel(struct world_session *session, const struct world_call *call);
unsigned world_alive(struct world *world);
/* What admin is told: valid until the next. */
const char *world_query(struct world *world, const char *what);

#endif
