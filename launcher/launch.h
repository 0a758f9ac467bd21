/*
 * Making a keeper: a copy of the launcher that is a child of the root, not of the launcher
 * (clone3 with CLONE_PARENT), so that the root watches and reaps it and the launcher may die.
 *
 * Nobody can lose one: it has its link with the root from its first moment and ends with it; the
 * kernel kills it when the root dies; and a launcher that cannot tell the root of it kills it.
 */
#ifndef GATEHOUSE_LAUNCH_H
#define GATEHOUSE_LAUNCH_H

#include "err.h"
#include "recipes.h"
#include "span.h"

#include <stdint.h>
#include <sys/types.h>

struct launch_order {
	struct recipes *recipes;
	struct span server;
	struct span session; /* a word for logs */
	int root_fd;         /* the keeper's end of its link with the root; borrowed */
	pid_t root;
	const char *cgroup; /* from cgroup_find */
	char *title;        /* argv[0], which ps shows */
};

/* In the order in which LAUNCHED carries them. */
enum launch_fd { LAUNCH_PIDFD, LAUNCH_STDIN, LAUNCH_STDOUT, LAUNCH_STDERR, LAUNCH_FD_MAX };

struct launched {
	pid_t pid;
	int fds[LAUNCH_FD_MAX]; /* the keeper's pidfd and our ends of the server's pipes */
};

/*
 * Make a keeper that starts the server once the root has sent it START. Returns 0 with *ret
 * (launched_close), or, nothing having been made: -ERR_NOT_FOUND or -ERR_FORBIDDEN when there is no
 * such server or program, -ERR_SYSTEM, -ERR_NO_MEMORY; err names the command.
 */
int launch(const struct launch_order *order, struct launched *ret, struct err *err);
void launched_close(struct launched *launched);
/* Kill the keeper, and with it the server. */
void launched_kill(const struct launched *launched);

#endif
