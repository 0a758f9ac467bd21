/*
 * The world around real session workers, for tests: this process is their root, session manager,
 * gateways and the upstream workers of all servers; the program gatehouse-worker is the zygote, and
 * what it forks is tested.
 */
#ifndef TEST_WORKER_SCENE_H
#define TEST_WORKER_SCENE_H

#include "buf.h"
#include "link.h"

#include <check.h>
#include <sys/types.h>

#define PATIENCE_MS 20000
#define SUBJECTS_MAX 128u
#define ANSWERS_MAX 512u
#define CALLS_MAX 512u
#define SERVERS_MAX 4u
#define ASKED_MAX 64u

/* A server's upstream worker, as played here: its link with one worker. */
struct played {
	struct subject *subject;
	char name[LIMIT_SERVER_NAME + 1];
	struct link *link; /* NULL: none at the moment */
	unsigned opened, attached, detached;
	struct buf attach; /* payload of the last ATTACH */
	char session[64], version[32], log_level[16];
	struct buf notes; /* CLIENT_NOTE: "method params\n" each */
};

struct call {
	struct played *server;
	uint32_t stream;
	char method[64], name[64], traceparent[64];
	struct buf params;
	uint64_t timeout_ms;
	bool safe, progress, cancelled;
	struct buf reason;
};

/* What a server asked, and what came of it. */
struct asked {
	struct played *server;
	uint32_t stream;
	bool answered;
	unsigned kind, code;
	struct buf payload;
};

/* An exchange as the gateway sees it. */
struct answer {
	struct subject *subject;
	struct link *gateway;
	uint32_t stream;
	bool head, done, forwarded, cut;
	unsigned forwards;
	unsigned status, content, code, executed;
	bool keep_credit; /* the client reads nothing */
	char session[64], method[64], server[65], tool[129];
	struct buf data;
};

/* A session worker. */
struct subject {
	struct scene *scene;
	uint64_t instance;
	pid_t pid;
	int pidfd;
	struct link *root, *sessions, *gateways[2];
	bool ready;
	unsigned taken;
	uint64_t epoch;    /* of the last LEASE_TAKEN */
	char claimed[140]; /* its principal and era */
	char serves[16];   /* as it told the root */
	bool hold_saves;
	unsigned save_code;
	unsigned saves;
	uint32_t save_stream;
	uint64_t next_event;
	struct buf state, events; /* last SESSION_STATE; all SESSION_EVENTS */
	char closed[64];          /* reason of SESSION_CLOSE */
	struct played servers[SERVERS_MAX];
	unsigned links_asked, sessions_asked;
};

struct scene {
	struct event_base *base;
	struct link *zygote;
	bool zygote_ready, zygote_closed, zygote_killed;
	pid_t zygote_pid;
	int catalogue;
	bool no_upstreams, no_sessions; /* links are denied */
	const char *view;               /* of the sessions leased from now on; NULL: none */
	struct subject *subjects[SUBJECTS_MAX];
	unsigned n_subjects;
	struct answer *answers[ANSWERS_MAX];
	unsigned n_answers;
	struct call *calls[CALLS_MAX];
	unsigned n_calls, taken_calls;
	struct asked *asks[ASKED_MAX];
	unsigned n_asks;
};

/* yaml: of the node, beyond the defaults; may be "". */
void scene_start(struct scene *scene, const char *yaml);
/* All workers and the zygote end; each worker must have ended well. */
void scene_end(struct scene *scene);
void scene_turn(struct scene *scene);
void scene_settle(struct scene *scene, unsigned ms);
#define WAIT_FOR(scene, condition) \
	do { \
		uint64_t until_ = scene_now() + PATIENCE_MS; \
		bool met_; \
		while (!(met_ = (condition)) && scene_now() < until_) \
			scene_turn(scene); \
		ck_assert_msg(met_, "waited in vain for: %s", #condition); \
	} while (0)
uint64_t scene_now(void);

/* The usual servers alpha and beta; more_tools: appended to alpha's, or "". starting: alpha is not
 * up yet. */
/* The usual configuration, with the views "without" (the template) and "only" (it, but for 7). */
struct config *scene_config(void);
int scene_catalogue(uint64_t generation, const char *more_tools, bool starting);
/* The same; beta shows its tools to clients of this kind (mcp_client_digest) as they are here. */
int scene_catalogue_alike(uint64_t generation, uint64_t client);
void scene_publish(struct subject *subject, int catalogue, uint64_t generation);

/* A worker that is ready, with the session manager's link. */
struct subject *scene_worker(struct scene *scene);
/* The same without waiting. */
struct subject *scene_fork(struct scene *scene);
struct link *subject_open(
	struct subject *subject, enum role role, const struct link_handlers *handlers);
void subject_open_sessions(struct subject *subject);
void subject_lease(struct subject *subject, const char *session, uint64_t epoch, unsigned era,
	const char *state, uint64_t next_event);
/* A leased worker whose session was initialized in that revision; capabilities: of the client. */
struct subject *scene_session(struct scene *scene, const char *version, const char *capabilities);
/* A leased worker of the modern era. */
struct subject *scene_modern(struct scene *scene);
/* Its exit status, once it has ended (negative: the signal). */
int subject_wait_exit(struct subject *subject);
void subject_kill(struct subject *subject);

struct options {
	unsigned verb;   /* 0: POST */
	unsigned accept; /* 0: both */
	unsigned gateway;
	bool keep_credit;
	const char *session, *principal, *version, *method, *name, *last_event_id, *traceparent,
		*params;
};
struct answer *post(struct subject *subject, const char *body);
struct answer *exchange(struct subject *subject, const char *body, struct options options);
void answer_wait(struct answer *answer);
/* Wait, then compare the whole body, or the last event's where it has become a stream: on a busy
 * machine anything may. */
void answer_is(struct answer *answer, unsigned status, const char *body);
/* Wait, then look for a piece of it. */
void answer_has(struct answer *answer, unsigned status, const char *piece);
const char *answer_text(const struct answer *answer);
void answer_close(struct answer *answer);
/* The last event id on it. */
const char *answer_last_id(const struct answer *answer);
unsigned answer_count(const struct answer *answer, const char *piece);

/* The next call that reached a server. */
struct call *call_wait(struct scene *scene);
void call_forwarded(struct call *call);
void call_note(struct call *call, const char *method, const char *params);
void call_result(struct call *call, const char *result);
void call_error(struct call *call, const char *error);
void call_failed(struct call *call, enum err_code code, unsigned executed);
/* call may be NULL: related to none. */
struct asked *server_asks(
	struct played *server, const struct call *call, const char *method, const char *params);
void server_cancels(struct asked *asked);
void server_notes(struct played *server, const char *method, const char *params);
void server_dies(struct played *server);
struct played *played(struct subject *subject, const char *name);

#endif
