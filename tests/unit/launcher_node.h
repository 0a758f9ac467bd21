/*
 * A small root for tests of the launcher: it executes the real program, speaks with it and with its
 * keepers over real links, and is their parent.
 */
#ifndef GATEHOUSE_LAUNCHER_NODE_H
#define GATEHOUSE_LAUNCHER_NODE_H

#include "link.h"

#include <sys/types.h>

#define NODE_SERVERS_MAX 64

/* One keeper and its server. */
struct kept {
	struct node *node;
	uint64_t instance;
	struct link *link; /* NULL once closed */
	pid_t keeper;
	pid_t pid; /* the server's; 0 until known */
	int pidfd, in, out, err;
	bool launched, refused, ready, exited, closed;
	char reason[ERR_DETAIL_MAX]; /* of what refused or exited says */
};

struct node {
	struct event_base *base;
	struct link *launcher;
	pid_t launcher_pid;
	bool launcher_ready, launcher_closed;
	struct kept servers[NODE_SERVERS_MAX];
	unsigned count;
};

/*
 * Start the launcher with this configuration (YAML). poor: without what only a privileged node has,
 * pid namespaces and cgroups. Waits until it is ready, or gone (launcher_closed).
 */
void node_start(struct node *node, const char *yaml, bool poor);
/* Give the launcher another configuration. */
void node_configure(struct node *node, const char *yaml);
/* Ask for a server; does not wait. */
struct kept *node_launch(struct node *node, const char *server);
/* The same, and wait until it is ready. */
struct kept *node_launch_ready(struct node *node, const char *server);
/* Turn the loop until *flag, at most so long. Returns *flag. */
bool node_wait(struct node *node, const bool *flag, unsigned ms);
void node_close_input(struct kept *kept);
void node_stop_server(struct kept *kept, uint32_t grace_ms);
/* Close our end of the keeper's link. */
void node_drop(struct kept *kept);
/* Has the keeper exited within so long? ret_status as waitid's si_status, may be NULL. */
bool node_keeper_gone(struct kept *kept, unsigned ms, int *ret_status);
/* Send a line and read one (up to size-1 bytes, without its newline). */
void node_say(struct kept *kept, const char *line);
void node_hear(int fd, char *line, size_t size);
/* Read until the end of file or size-1 bytes. */
void node_hear_all(int fd, char *text, size_t size);
/* End everything. Fails the test when a process is left. */
void node_end(struct node *node);

/* How many live processes have NAME=VALUE in their environment. */
unsigned count_marked(const char *mark);
/* The same, waiting so long for it to become zero. */
unsigned count_marked_after(const char *mark, unsigned ms);

#endif
