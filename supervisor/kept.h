/*
 * What the root keeps of each process of a stdio server, for as long as it lives, so that it outlives the upstream worker
 * that speaks with it: the other ends of its pipes, and what that worker has said its successor needs to know.
 *
 * A root that goes on as another program carries it over (state.c): a new member needs a row in kept_rows there, or a line
 * beside them. Of the keeper, the child with the same instance, its record, link and pidfd go along (child_saved.c). Times
 * are of the monotonic clock, which goes on. There is nothing else: no timer, and nothing half done.
 */
#ifndef GATEHOUSE_KEPT_H
#define GATEHOUSE_KEPT_H

#include "child.h"

struct node;

struct kept {
	struct kept *prev, *next; /* node.kept, oldest first */
	uint64_t instance;        /* of its keeper, whose child.parent is the upstream worker that has it, or 0 */
	int pipes[3];             /* of its stdin the end that is written to, of its stdout and stderr those that are read; -1: dropped */
	char *state;              /* as in SERVER_KEEP; NULL: nobody could go on with it */
	size_t state_len;
	bool busy;           /* the same, at present */
	bool amid;           /* as in SERVER_AMID */
	unsigned handed;     /* to how many upstream workers, of which none has said a word about it since */
	uint64_t without_ms; /* since when it is without one that has; 0: it is not */
};

/* The launcher has made it. Takes over the descriptors, and leaves -1 in their place. -ERR_NO_MEMORY: it is as before. */
int node_keep(struct node *node, struct child *keeper, int pipes[3]);
/* Its pipes are closed: towards the server, that is the end of its input once the upstream worker has closed its own. */
void node_drop_pipes(struct child *keeper);
/* The same, and the keeper is let go, which ends the server at once. */
void node_let_server_go(struct child *keeper);
/* Its keeper is gone. */
void node_forget_kept(struct node *node, struct child *keeper);
/* The upstream worker is gone: each of its processes waits for the next one, or ends. */
void node_leave_servers(struct node *node, const struct child *upstream);
/* Have those that wait for an upstream worker end: of the server of this name, or (NULL) of all. */
void node_end_waiting(struct node *node, const char *name);
/* The same for those that have waited too long. */
void node_look_at_waiting(struct node *node);

void node_on_server_keep(struct link *link, const struct message *msg, void *arg);
void node_on_server_amid(struct link *link, const struct message *msg, void *arg);
void node_on_server_take(struct link *link, const struct message *msg, void *arg);

#endif
