/* Executing a server's program: finding it, preparing its process, telling why it could not be. */
#ifndef GATEHOUSE_SPAWN_H
#define GATEHOUSE_SPAWN_H

#include "err.h"
#include "recipes.h"

#include <stdbool.h>
#include <sys/types.h>

struct spawn_order {
	struct recipes *recipes; /* unmapped in the new process before it executes anything */
	struct recipe recipe;
	const char *program; /* from spawn_find_program */
	int stdio[3];        /* what becomes its descriptors 0, 1, 2; borrowed */
	const char *cgroup;  /* folder of the cgroup it goes into, or NULL */
	bool namespaced;     /* the caller is init of a pid namespace: give it a /proc that fits */
};

/*
 * Look the command up as execvp would, on the PATH of the recipe (relative entries are passed
 * over). Returns 0 with the path (free), -ERR_NOT_FOUND or -ERR_FORBIDDEN with a sentence that
 * names the command, -ERR_NO_MEMORY.
 */
int spawn_find_program(const struct recipe *recipe, char **ret_program, struct err *err);

/*
 * Start the program in a process of its own session, with nothing of the caller's but the three
 * descriptors: default signal dispositions, empty mask, no core files, more likely than the node's
 * own processes to be chosen when memory is out. It dies with the caller.
 *
 * *ret_report is a descriptor to read (non-blocking, spawn_read_report, close). Returns 0,
 * -ERR_SYSTEM, -ERR_NO_MEMORY.
 */
int spawn_server(const struct spawn_order *order, pid_t *ret_pid, int *ret_report, struct err *err);

/*
 * Has the program been executed? Returns 0: yes (or the process ended before it could say
 * otherwise), -ERR_AGAIN: not yet, -ERR_SYSTEM: it could not be, err says why.
 */
int spawn_read_report(int report, struct err *err);

#endif
