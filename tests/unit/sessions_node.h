/*
 * A small node for tests of the session manager: it executes the real program, and plays the root,
 * gateways, session workers and the admin process to it over real links.
 */
#ifndef GATEHOUSE_SESSIONS_NODE_H
#define GATEHOUSE_SESSIONS_NODE_H

#include "bounds.h"
#include "buf.h"
#include "clock.h"
#include "link.h"

#include <check.h>
#include <sys/types.h>

#define PATIENCE_MS 10000u
#define WORKERS_MAX 11000u
#define ASKS_MAX 12000u
#define GATES_MAX 4u

/* A session worker, played. */
struct peer {
	struct node *node;
	uint64_t instance;
	struct link *link; /* NULL: not asked for yet, or closed */
	bool linked, killed, dismissed;
	char reason[128]; /* of SESSION_CLOSE */
	unsigned leases;
	char session[LIMIT_SESSION_ID + 1];
	char principal[128];
	char view[LIMIT_VIEW_NAME + 1];
	uint64_t epoch, era, next_event;
	struct buf state;
	struct buf events;
	size_t events_before; /* bytes of events that had come when LEASE came */
	unsigned saved;
	uint64_t saved_code;
	uint32_t saved_stream;
};

/* What a gateway asked, and what it was told. */
struct ask {
	struct link *gate;
	uint32_t stream;
	bool told;
	uint64_t code, instance, epoch;
	char detail[256];
	char session[LIMIT_SESSION_ID + 1];
	uint64_t told_ms;
};

enum giving { GIVE, HOLD, REFUSE };

struct node {
	struct event_base *base;
	char dir[64];
	const char *yaml;
	struct link *manager;
	pid_t pid;
	bool ready, closed;
	int status;        /* of the manager, once closed */
	size_t file_limit; /* RLIMIT_FSIZE of the manager, 0: none */
	/* the root's conduct */
	enum giving giving;
	bool deny_links;
	bool lazy; /* workers do not take their leases */
	unsigned wants;
	uint32_t wanted[256]; /* streams of those not answered */
	struct peer *workers;
	unsigned n_workers;
	uint64_t next_instance;
	struct link *gates[GATES_MAX];
	struct ask *asks;
	const char *view; /* that gateways ask for; NULL: of all */
	unsigned n_asks;
	struct link *admin;
	bool replied;
	uint64_t reply_code;
	struct buf reply;
};

/* Make a folder, start the manager with this configuration (YAML),
 * wait until it is ready or gone. */
void node_start(struct node *node, const char *yaml);
/* Another manager on the same folder, after node_kill or node_stop. */
void node_again(struct node *node);
/* kill -9 the manager; nothing that it had not done is done. */
void node_kill(struct node *node);
/* STOP, and wait for its end. */
void node_stop(struct node *node);
void node_configure(struct node *node, const char *yaml);
/* End everything and remove the folder. */
void node_end(struct node *node);
/* What the manager has logged. */
void node_log(const struct node *node, char *text, size_t size);
bool node_logged(const struct node *node, const char *words);
void node_turn(struct node *node);
/* The manager has dealt with all that was sent to it, on whichever link. */
void node_settle(struct node *node);
/* Answer one WORKER_WANT that was held: a worker, or a refusal. */
void node_give(struct node *node, bool refuse);

#define AWAIT_MS(node, condition, ms) \
	do { \
		uint64_t end_ = clock_ms() + (ms); \
		while (!(condition) && clock_ms() < end_) \
			node_turn(node); \
		ck_assert_msg((condition), "in vain: %s", #condition); \
	} while (0)
#define AWAIT(node, condition) AWAIT_MS(node, condition, PATIENCE_MS)
/* The condition stays false for so long. */
#define NEVER(node, condition, ms) \
	do { \
		uint64_t end_ = clock_ms() + (ms); \
		while (clock_ms() < end_) { \
			node_turn(node); \
			ck_assert_msg(!(condition), "should not be: %s", #condition); \
		} \
	} while (0)

void gate_open(struct node *node, unsigned gate);
void gate_close(struct node *node, unsigned gate);
struct ask *ask_open(struct node *node, unsigned gate, const char *principal, unsigned era);
struct ask *ask_find(struct node *node, unsigned gate, const char *session, const char *principal);
/* The same, and wait for the answer. */
struct ask *open_now(struct node *node, const char *principal, unsigned era);
struct ask *find_now(struct node *node, const char *session);

struct peer *peer_of(struct node *node, uint64_t instance);
/* A worker that lives on: open another link to the new manager. */
void peer_reconnect(struct peer *peer);
void peer_claim(struct peer *peer, const char *session, uint64_t epoch, const char *principal,
	unsigned era);
/* kill -9; with die, the manager has noticed. */
void peer_vanish(struct peer *peer);
void peer_die(struct peer *peer);
void peer_take(struct peer *peer);
void peer_save(struct peer *peer, uint32_t stream, uint64_t epoch, struct span state);
/* Save and wait for the acknowledgement. */
void peer_save_now(struct peer *peer, const char *state);
/* Log events with these ids, each of size bytes. */
void peer_log(struct peer *peer, uint64_t first, unsigned count, size_t size);
void peer_close(struct peer *peer, const char *reason);

/* Ask as the admin process does, and wait. Returns the code; node->reply has the payload. */
uint64_t admin_query(struct node *node, const char *what);
uint64_t admin_command(struct node *node, const char *what, const char *payload);

#endif
