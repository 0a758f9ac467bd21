/*
 * A small root for tests of the admin process: it executes the real program, answers what a root,
 * a registry, a session manager, gateways and upstream workers are asked, and makes requests with
 * nngcat, as anybody could.
 */
#ifndef GATEHOUSE_ADMIN_NODE_H
#define GATEHOUSE_ADMIN_NODE_H

#include "link.h"

#include <cjson/cJSON.h>
#include <sys/types.h>

#define NODE_PARTS_MAX 16
#define NODE_TEXT_MAX 65536

/* What one part says to one question. */
struct node_answer {
	enum role role;
	const char *name; /* "" for a singleton */
	const char *what;
	const char *payload; /* NULL: it says nothing at all */
	int code;
	const char *detail;
};

/* One whose link the admin process has opened. */
struct node_part {
	struct node *node;
	enum role role;
	char name[LIMIT_SERVER_NAME + 1];
	struct link *link;
	unsigned questions;
};

struct node {
	struct event_base *base;
	struct link *admin;
	pid_t pid;
	bool ready, closed;
	char dir[64];
	char socket[96];
	char events[96];
	unsigned http_port;
	const struct node_answer *answers; /* ends with what NULL */
	struct node_part parts[NODE_PARTS_MAX];
	unsigned n_parts;
	enum role absent;    /* no such process runs */
	char commanded[128]; /* the last COMMAND to the root: "what payload" */
};

/* Start the program. yaml: further lines of the configuration. Waits until it is ready or gone. */
void node_start(struct node *node, const char *yaml, const struct node_answer *answers);
/* The same with this admin.socket; NULL: the usual one. */
void node_start_at(
	struct node *node, const char *yaml, const struct node_answer *answers, const char *socket);
/* Stop it, and expect that it exits with 0. */
void node_end(struct node *node);
/* How it ended by itself: its exit status. */
int node_exit_status(struct node *node);
bool node_wait(struct node *node, const bool *flag, unsigned ms);
void node_turn(struct node *node, unsigned ms);

/* Run a program while the node turns; its standard output. uid: as this user, 0: as ourselves. */
char *node_run(struct node *node, uid_t uid, const char *const *argv);
/* The answer to a request to the admin socket, parsed. */
cJSON *node_ask(struct node *node, const char *request);
cJSON *node_ask_as(struct node *node, uid_t uid, const char *request);
/* GET from the metrics port: head and body. */
char *node_get(struct node *node, const char *path);

#endif
