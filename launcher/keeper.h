/*
 * The keeper: the parent of one server. It starts the server, ends it on demand, and sees to it
 * that nothing the server ever forked is left afterwards: not when the server exits, not when the
 * root goes away, and (by pid namespace, else by PR_SET_PDEATHSIG and the root's care for orphans)
 * not when the keeper itself is killed.
 */
#ifndef GATEHOUSE_KEEPER_H
#define GATEHOUSE_KEEPER_H

#include "bounds.h"
#include "cgroup.h"
#include "recipes.h"

#include <stdbool.h>
#include <sys/types.h>

struct keeper_plan {
	struct recipes *recipes; /* given up as soon as the server's process is made */
	struct recipe recipe;
	const char *program;                /* from spawn_find_program */
	int stdio[3];                       /* the server's ends; the keeper closes them */
	bool namespaced;                    /* this process is init of its pid namespace */
	const char *cgroup;                 /* where a cgroup for the server can be made, or "" */
	char server[LIMIT_SERVER_NAME + 1]; /* these two for logs */
	char session[LIMIT_SESSION_ID + 1];
};

/* Be a keeper in this freshly made process, whose link with the root is root_fd, until the server
 * has ended. Returns the exit status. plan is copied. */
int keeper_run(const struct keeper_plan *plan, int root_fd);

#endif
