/*
 * All the processes that came from this one, however often they forked, detached and changed their
 * session. This process must be their reaper (PR_SET_CHILD_SUBREAPER, or init of a pid namespace):
 * then those whose parent died become its children, and none is left exactly when it has no
 * children.
 */
#ifndef GATEHOUSE_DESCENDANTS_H
#define GATEHOUSE_DESCENDANTS_H

#include <stdbool.h>
#include <sys/types.h>

struct descendants {
	bool namespaced;    /* this process is init of its pid namespace: they are all it holds */
	const char *cgroup; /* what holds most of them, or "" */
};

/*
 * Send them SIGTERM, once each. group: the process group to signal in one go, whose leader is not
 * yet reaped; 0: none.
 */
void descendants_terminate(const struct descendants *all, pid_t group);

/* Kill them. Those that escaped by being forked meanwhile are found when called again. */
void descendants_kill(const struct descendants *all);

/*
 * Reap those children that have ended. When watched is among them, *ret_status is its wait status
 * and *ret_ended true (else untouched). Returns whether any child is left.
 */
bool descendants_reap(pid_t watched, bool *ret_ended, int *ret_status);

/* Kill and reap until none is left. Blocks. */
void descendants_finish(const struct descendants *all);

#endif
