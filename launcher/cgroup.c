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

/* Those of a node whose root is gone. What still has processes in it is not removed by rmdir. */
static void sweep(const char *parent)
{
	DIR *dir = opendir(parent);
	const struct dirent *entry;
	int root;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (sscanf(entry->d_name, PREFIX "%d-", &root) == 1 && kill(root, 0) < 0 &&
			errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	closedir(dir);
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
	if (len < 0 || len > CGROUP_PATH_MAX - 80 || access(path, W_OK) < 0) {
		path[0] = '\0';
		return;
	}
	sweep(path);
}

static int open_kill(const char *path)
{
	char file[CGROUP_PATH_MAX + 16];

	snprintf(file, sizeof(file), "%s/cgroup.kill", path);
	return open(file, O_WRONLY | O_CLOEXEC);
}

void cgroup_make(const char *parent, pid_t root, uint64_t instance, char *path)
{
	int fd;

	path[0] = '\0';
	if (!parent[0])
		return;
	snprintf(path, CGROUP_PATH_MAX, "%s/" PREFIX "%d-%llu", parent, (int)root,
		(unsigned long long)instance);
	if (mkdir(path, 0755) < 0) {
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
