#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "gatehouse-"

/* The part of path below the mount, from the line "0::/path" of /proc/self/cgroup. */
static bool read_own(char *path, size_t size)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[CGROUP_PATH_MAX];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "0::", 3) != 0 || !strchr(line, '\n'))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(path, size, "%s", strcmp(line + 3, "/") == 0 ? "" : line + 3);
		found = true;
	}
	fclose(file);
	return found;
}

static bool read_mount(char *path, size_t size)
{
	FILE *file = fopen("/proc/self/mounts", "re");
	char line[1024], folder[256], type[32];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		found = sscanf(line, "%*s %255s %31s", folder, type) == 2 &&
			strcmp(type, "cgroup2") == 0;
		if (found)
			snprintf(path, size, "%s", folder);
	}
	fclose(file);
	return found;
}

void cgroup_find(char *path)
{
	char mount[256], own[CGROUP_PATH_MAX];
	int len;

	path[0] = '\0';
	if (!read_mount(mount, sizeof(mount)) || !read_own(own, sizeof(own)))
		return;
	len = snprintf(path, CGROUP_PATH_MAX, "%s%s", mount, own);
	/* room for the name of a server's below it, and of a file in that */
	if (len < 0 || len > CGROUP_PATH_MAX - 80 || access(path, W_OK) < 0)
		path[0] = '\0';
}

void cgroup_sweep(const char *parent)
{
	DIR *dir = parent[0] ? opendir(parent) : NULL;
	const struct dirent *entry;
	int keeper;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (sscanf(entry->d_name, PREFIX "%d", &keeper) == 1 && kill(keeper, 0) < 0 &&
			errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	closedir(dir);
}

static int open_kill(const char *path)
{
	char file[CGROUP_PATH_MAX + 16];

	snprintf(file, sizeof(file), "%s/cgroup.kill", path);
	return open(file, O_WRONLY | O_CLOEXEC);
}

/* The name is the keeper's pid, as /proc has it: in its own pid namespace each is 1. */
static bool name_own(const char *parent, char *path)
{
	char pid[32];
	ssize_t len = readlink("/proc/self", pid, sizeof(pid) - 1);

	if (len <= 0)
		return false;
	pid[len] = '\0';
	snprintf(path, CGROUP_PATH_MAX, "%s/" PREFIX "%s", parent, pid);
	return true;
}

void cgroup_make(const char *parent, char *path)
{
	int fd;

	path[0] = '\0';
	if (!parent[0] || !name_own(parent, path))
		return;
	/* one that is there already was left by a keeper whose number this one got */
	if (mkdir(path, 0755) < 0 && errno != EEXIST) {
		path[0] = '\0';
		return;
	}
	fd = open_kill(path);
	if (fd < 0) { /* a kernel before 5.14 */
		rmdir(path);
		path[0] = '\0';
		return;
	}
	close(fd);
}

void cgroup_kill(const char *path)
{
	int fd;
	ssize_t n;

	if (!path[0])
		return;
	fd = open_kill(path);
	if (fd < 0)
		return;
	n = write(fd, "1", 1);
	(void)n; /* the other layers kill as well */
	close(fd);
}

void cgroup_remove(const char *path)
{
	if (path[0])
		rmdir(path);
}
