/*
 * A node around one real gateway: this process plays the root, the session manager and the session
 * workers on the links the gateway is born with or asks for, and clients on TCP. All on one loop in
 * one thread. Workers only write down what they are sent, unless the node answers by itself; tests
 * say what they say.
 */
#ifndef GATEHOUSE_GATEWAY_NODE_H
#define GATEHOUSE_GATEWAY_NODE_H

#include "buf.h"
#include "catalogue.h"
#include "link.h"

#include <stdbool.h>
#include <sys/types.h>

#define NODE_WORKERS_MAX 64u
#define NODE_SEEN_MAX 512u
#define PATIENCE_MS 10000u

struct node;

struct worker {
	struct node *node;
	uint64_t instance;
	char session[64];
	enum { WORKER_SESSION, WORKER_SHARED } kind;
	bool alive;
	bool hangs;        /* answers no PING */
	struct link *link; /* with the gateway; NULL: none or closed */
	unsigned links;    /* opened so far */
};

/* One EXCHANGE as a worker got it. */
struct seen {
	struct worker *worker;
	uint32_t stream;
	unsigned verb, accept;
	char session[64], version[32], mcp_method[64], mcp_params[256], last_event_id[64],
		traceparent[64];
	char body[4096];
	bool closed;     /* EXCHANGE_CLOSED came */
	uint64_t credit; /* given back */
};

/* A message that the gateway has handed to its neighbour in slot 1. */
struct posted {
	uint32_t stream;
	char key[128], principal[32], body[4096];
};

struct node {
	struct event_base *base;
	pid_t pid;
	struct link *root;
	bool ready, exited;
	uint16_t port;
	int listener;
	/* the session manager */
	struct link *sessions;
	bool sessions_away; /* the root knows none */
	unsigned opens, finds;
	char view[65]; /* of the last of them */
	unsigned busy;        /* so many next questions are answered BUSY */
	unsigned stale;       /* so many next questions are answered with a worker that is dead */
	unsigned denied;      /* links to workers that are dead */
	unsigned refuse_code; /* all are answered with this */
	struct worker workers[NODE_WORKERS_MAX];
	unsigned n_workers;
	unsigned killed; /* workers that the root was told to end */
	bool automatic;  /* workers answer at once */
	struct seen seen[NODE_SEEN_MAX];
	unsigned n_seen;
	/* the gateway of slot 1 */
	struct link *neighbour;
	unsigned neighbour_code; /* the root denies links to it with this */
	struct posted posted;
	unsigned n_posted;
	bool takes_all; /* what is posted is taken at once */
	unsigned taken_code; /* what was said of a message that it handed over */
	bool taken;
	/* the admin process */
	struct link *admin;
	struct buf reply;
	bool replied;
};

/* yaml: settings beyond the listener's; url: what LISTENER says (%u: the port), NULL for
 * http://127.0.0.1:PORT. */
void node_start(struct node *node, const char *yaml, const char *url);
/* Stops the gateway; it must exit with 0. */
void node_end(struct node *node);
void node_stop(struct node *node, uint32_t deadline_ms);
/* The loop, for ms milliseconds at most; one round takes about 2. */
void node_run(struct node *node, unsigned ms);
bool node_wait(struct node *node, const bool *flag, unsigned ms);
/* Until so many exchanges were seen. */
void node_wait_seen(struct node *node, unsigned count);

struct node_server {
	const char *name;
	enum server_state state;
	bool listed; /* its capabilities are known */
};
void node_publish(struct node *node, const struct node_server *servers, unsigned count);

/* The worker's process is gone: its link closes. */
void worker_die(struct worker *worker);
void seen_answer(struct seen *seen, unsigned status, const char *json);
void seen_answer_session(struct seen *seen, unsigned status, const char *json);
void seen_begin(struct seen *seen);
void seen_data(struct seen *seen, const char *data, size_t len);
void seen_end(struct seen *seen);
/* The same, because the client was too slow. */
void seen_cut(struct seen *seen);
void seen_forwarded(struct seen *seen, bool safe);
void node_drop_sessions(struct node *node);
/* QUERY by an admin process; the reply is in node->reply, zero-terminated. */
const char *node_query(struct node *node, const char *what);

/* The neighbour says that it has what was posted, or why not. */
void node_taken(struct node *node, unsigned code);
/* The neighbour hands over a message, over a link of its own; the code that comes back. */
unsigned node_hand_over(
	struct node *node, const char *key, const char *principal, const char *body);
void node_neighbour_dies(struct node *node);

struct client {
	struct node *node;
	int fd;
	struct buf in;
	bool closed;
	bool stalled; /* reads nothing */
};

void client_open(struct client *client, struct node *node);
void client_close(struct client *client);
void client_say(struct client *client, const char *text);
void client_send(struct client *client, const char *data, size_t len);
/* A POST to /mcp with the headers of an SDK client; headers: more lines, each with CRLF, or "". */
void client_post(struct client *client, const char *headers, const char *body);
/* A turn of the loop, then what has come. */
void client_read(struct client *client);
/* Until text was received; false when the connection closed or patience ended before. */
bool client_wait(struct client *client, const char *text);
bool client_wait_closed(struct client *client);
/* The status of the first answer received and not yet forgotten, once it is whole. */
unsigned client_status(struct client *client);
/* Forget what was received. */
void client_forget(struct client *client);
/* What was received, zero-terminated. */
const char *client_text(struct client *client);

#endif
