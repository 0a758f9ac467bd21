/*
 * A cgroup (v2) per server, where this process's own cgroup may be divided: the last word in
 * killing, because nothing gets out of it by forking. Where there is none, the other layers do.
 */
#ifndef GATEHOUSE_CGROUP_H
#define GATEHOUSE_CGROUP_H

#include <stdint.h>
#include <sys/types.h>

#define CGROUP_PATH_MAX 400

/*
 * The folder of this process's own cgroup (path: CGROUP_PATH_MAX bytes), after removing from it
 * what servers of nodes that are gone left there. "" when there is none that may be divided.
 */
void cgroup_find(char *path);
/* Make one for the server with this instance under node root (its pid). path (CGROUP_PATH_MAX
 * bytes) becomes "" when that is not possible. */
void cgroup_make(const char *parent, pid_t root, uint64_t instance, char *path);
/* Kill what is in it. path "" is accepted here and below. */
void cgroup_kill(const char *path);
void cgroup_remove(const char *path);

#endif
