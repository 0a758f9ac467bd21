/*
 * A cgroup (v2) per server, where this process's own cgroup may be divided: the last word in
 * killing, because nothing gets out of it by forking. Where there is none, the other layers do.
 */
#ifndef GATEHOUSE_CGROUP_H
#define GATEHOUSE_CGROUP_H

#define CGROUP_PATH_MAX 400

/* The folder of this process's own cgroup (path: CGROUP_PATH_MAX bytes); "" when there is none that
 * may be divided. For all functions below, a path may be "". */
void cgroup_find(char *path);
/* Make one in the folder parent, for the server of this process. path (CGROUP_PATH_MAX bytes)
 * becomes "" when that is not possible. */
void cgroup_make(const char *parent, char *path);
/* Remove those whose keepers are gone without having removed them: they were killed. */
void cgroup_sweep(const char *parent);
/* Kill what is in it. */
void cgroup_kill(const char *path);
void cgroup_remove(const char *path);

#endif
