/*
 * A listening Unix socket of the admin process and the SP endpoints of those who came in: who may,
 * how many, and what becomes of the file.
 */
#ifndef GATEHOUSE_ADMIN_DOOR_H
#define GATEHOUSE_ADMIN_DOOR_H

#include "err.h"
#include "sp.h"

#include <event2/event.h>
#include <stdbool.h>

/* Connections at once; another one takes the place of the longest idle. */
#define DOOR_PEERS_MAX 128u
/* The longest path of a Unix socket, without its terminating zero (unix(7)). */
#define DOOR_PATH_MAX 107u

/* What the credentials of the peer allow. */
enum right { RIGHT_NONE, RIGHT_VIEW, RIGHT_OPERATE };

struct door;

struct door_peer {
	struct door_peer *prev, *next; /* the latest last */
	struct door *door;
	struct sp *sp;
	enum right right;
	bool busy;  /* not to be sent away for another */
	void *user; /* of the owner */
};

struct door_ops {
	struct sp_config sp;
	/* as sp_ops.message */
	void (*message)(struct door_peer *peer, uint32_t id, struct span body);
	/* The peer goes away and is freed. May be NULL. */
	void (*left)(struct door_peer *peer);
	void *arg;
};

/*
 * Listen at path: mode 0600, or 0660 and owned by the group where group is a name. The user of this
 * process and root may operate; whoever else the kernel lets in is of the group and may view. A
 * file nobody serves any more is replaced. ops is borrowed. -ERR_TOO_LARGE for a path over
 * DOOR_PATH_MAX, -ERR_EXISTS when another program serves it or it is no socket, -ERR_NOT_FOUND for
 * an unknown group.
 */
int door_open(struct event_base *base, const char *path, const char *group,
	const struct door_ops *ops, struct door **ret_door, struct err *err);
/* Sends everybody away and removes the file. NULL is accepted. */
void door_close(struct door *door);

void *door_arg(const struct door *door);
/* All who are in: walk with next. */
struct door_peer *door_peers(const struct door *door);
/* Send this one away; left is called. */
void door_dismiss(struct door_peer *peer);

#endif
