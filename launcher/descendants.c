#include "descendants.h"
#include "cgroup.h"
#include "points.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* Processes looked at in one walk; more are found by the next. */
#define WALK_MAX 65536
/* Walks in a row while processes appear faster than they are killed. */
#define WALKS_MAX 16
/* Between attempts to kill what does not go. */
#define FINISH_PAUSE_US 2000

struct walk {
	pid_t *pids; /* pids[0] is this process */
	pid_t *parents;
	size_t count, cap;
};

static void walk_add(struct walk *walk, pid_t pid, pid_t parent)
{
	if (walk->count == walk->cap) {
		size_t cap = walk->cap ? walk->cap * 2 : 64;
		pid_t *pids = realloc(walk->pids, cap * sizeof(*pids));
		pid_t *parents;

		if (!pids)
			return;
		walk->pids = pids;
		parents = realloc(walk->parents, cap * sizeof(*parents));
		if (!parents)
			return;
		walk->parents = parents;
		walk->cap = cap;
	}
	walk->pids[walk->count] = pid;
	walk->parents[walk->count++] = parent;
}

static void walk_free(struct walk *walk)
{
	free(walk->pids);
	free(walk->parents);
}

/* A thread's children are its own list. */
static void add_children_of_thread(struct walk *walk, pid_t pid, const char *thread)
{
	char path[64];
	FILE *file;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%.12s/children", (int)pid, thread);
	file = fopen(path, "re");
	if (!file)
		return;
	while (walk->count < WALK_MAX && fscanf(file, "%d", &child) == 1)
		walk_add(walk, child, pid);
	fclose(file);
}

static void add_children(struct walk *walk, pid_t pid)
{
	char path[64];
	const struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			add_children_of_thread(walk, pid, entry->d_name);
	closedir(dir);
}

static pid_t parent_of(pid_t pid)
{
	char path[64], line[512];
	const char *after_name;
	FILE *file;
	int parent = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	if (fgets(line, sizeof(line), file) && (after_name = strrchr(line, ')')))
		sscanf(after_name, ") %*c %d", &parent);
	fclose(file);
	return parent;
}

/*
 * A descendant that somebody else reaps may be gone, its number another's. So: hold on to whoever
 * has the number now, and signal only if it is (still) a child of the parent it was found at, or
 * has become ours.
 */
static bool signal_found(pid_t pid, pid_t parent, int sig)
{
	int pidfd = pidfd_open(pid, 0);
	bool sent = false;
	pid_t now;

	if (pidfd < 0)
		return false;
	now = parent_of(pid);
	if (now > 0 && (now == parent || now == getpid()))
		sent = pidfd_send_signal(pidfd, sig, NULL, 0) == 0;
	close(pidfd);
	return sent;
}

static void walk_all(struct walk *walk)
{
	walk_add(walk, getpid(), 0);
	for (size_t i = 0; i < walk->count; i++)
		add_children(walk, walk->pids[i]);
}

static void kill_by_walking(void)
{
	size_t before = 0;

	for (int i = 0; i < WALKS_MAX; i++) {
		struct walk walk = {0};

		walk_all(&walk);
		for (size_t p = 1; p < walk.count; p++)
			signal_found(walk.pids[p], walk.parents[p], SIGKILL);
		walk_free(&walk);
		/* the dead stay listed until reaped, so more than last time means new ones */
		if (walk.count <= 1 || walk.count <= before)
			return;
		before = walk.count;
	}
}

void descendants_kill(const struct descendants *all)
{
	if (!POINT(GROUP))
		return;
	cgroup_kill(all->cgroup);
	if (all->namespaced)
		kill(-1, SIGKILL);
	else
		kill_by_walking();
}

void descendants_terminate(const struct descendants *all, pid_t group)
{
	struct walk walk = {0};

	if (all->namespaced) {
		kill(-1, SIGTERM);
		return;
	}
	walk_all(&walk);
	if (group > 0)
		kill(-group, SIGTERM);
	for (size_t i = 1; i < walk.count; i++)
		if (group <= 0 || getpgid(walk.pids[i]) != group)
			signal_found(walk.pids[i], walk.parents[i], SIGTERM);
	walk_free(&walk);
}

bool descendants_reap(pid_t watched, bool *ret_ended, int *ret_status)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);

		if (pid == watched && pid > 0) {
			*ret_status = status;
			*ret_ended = true;
		}
		if (pid == 0)
			return true;
		if (pid < 0 && errno != EINTR)
			return false;
	}
}

void descendants_finish(const struct descendants *all)
{
	bool ended;
	int status;

	while (descendants_reap(0, &ended, &status) && POINT(GROUP)) {
		descendants_kill(all);
		usleep(FINISH_PAUSE_US);
	}
}
