#include "programs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_FD 10

void programs_none(struct programs *programs)
{
	*programs = (struct programs){0};
	for (int role = 0; role < ROLE_MAX; role++)
		programs->fds[role] = -1;
}

bool programs_are_open(const struct programs *programs)
{
	return programs->fds[ROLE_ROOT] >= 0;
}

/* An earlier role with the same program; role itself if it is the first. */
static int first_with_program(int role)
{
	for (int i = 0; i < role; i++)
		if (strcmp(role_program((enum role)i), role_program((enum role)role)) == 0)
			return i;
	return role;
}

void programs_close(struct programs *programs)
{
	for (int role = 0; role < ROLE_MAX; role++)
		if (programs->fds[role] >= 0 && first_with_program(role) == role)
			close(programs->fds[role]);
	programs_none(programs);
}

static void path_of(const struct programs *programs, enum role role, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", programs->dir, role_program(role));
}

/* Above the numbers that a new process finds its descriptors at. */
static int move_up(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);

	close(fd);
	return moved;
}

static int open_program(struct programs *programs, enum role role, struct err *err)
{
	char path[PROGRAMS_DIR_MAX + 64];
	struct stat st;
	int fd;

	path_of(programs, role, path, sizeof(path));
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd >= 0)
		fd = move_up(fd);
	if (fd < 0)
		return err_set_errno(err, "cannot execute %s", path);
	programs->fds[role] = fd;
	if (faccessat(fd, "", X_OK, AT_EMPTY_PATH) < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "cannot execute %s", path);
	return S_ISREG(st.st_mode)
		       ? 0
		       : err_set(err, ERR_INVALID_ARGUMENT, "%s is no program", path);
}

int programs_open(struct programs *programs, const char *dir, struct err *err)
{
	char *path = realpath(dir, NULL);
	int r = 0;

	programs_none(programs);
	if (!path)
		return err_set_errno(err, "there is no folder %s", dir);
	if (strlen(path) >= sizeof(programs->dir))
		r = err_set(err, ERR_TOO_LARGE, "the path of the folder %s is too long", dir);
	else
		snprintf(programs->dir, sizeof(programs->dir), "%s", path);
	free(path);
	for (int role = 0; r == 0 && role < ROLE_MAX; role++) {
		int first = first_with_program(role);

		if (first == role)
			r = open_program(programs, (enum role)role, err);
		else
			programs->fds[role] = programs->fds[first];
	}
	if (r < 0)
		programs_close(programs);
	return r;
}

static int check_owner(const char *path, const struct stat *next, const struct stat *present,
	struct err *err)
{
	if (next->st_uid != 0 && next->st_uid != geteuid() && next->st_uid != present->st_uid)
		return err_set(err, ERR_SYSTEM,
			"%s belongs to another user than root, the node's, or that of the present "
			"program",
			path);
	if (next->st_mode & S_IWOTH)
		return err_set(err, ERR_SYSTEM, "%s can be written by everybody", path);
	if (next->st_mode & S_IWGRP && next->st_gid != 0 && next->st_gid != getegid() &&
		next->st_gid != present->st_gid)
		return err_set(err, ERR_SYSTEM, "%s can be written by another group", path);
	return 0;
}

int programs_check_owner(
	const struct programs *next, const struct programs *present, struct err *err)
{
	char path[PROGRAMS_DIR_MAX + 64];
	struct stat one, other;
	int r = 0;

	for (int role = 0; r == 0 && role < ROLE_MAX; role++) {
		path_of(next, (enum role)role, path, sizeof(path));
		if (fstat(next->fds[role], &one) < 0 || fstat(present->fds[role], &other) < 0)
			return err_set_errno(err, "cannot look at %s", path);
		r = check_owner(path, &one, &other, err);
	}
	return r;
}

/* Then ps and pgrep find the process by the program's name. */
static bool still_stands_there(const char *path, int fd)
{
	struct stat there, open_one;

	return stat(path, &there) == 0 && fstat(fd, &open_one) == 0 &&
	       there.st_dev == open_one.st_dev && there.st_ino == open_one.st_ino;
}

void programs_exec(
	const struct programs *programs, enum role role, char *const *argv, char *const *env)
{
	char path[PROGRAMS_DIR_MAX + 64];

	path_of(programs, role, path, sizeof(path));
	if (still_stands_there(path, programs->fds[role]))
		execve(path, argv, env);
	else
		execveat(programs->fds[role], "", argv, env, AT_EMPTY_PATH);
}

/* --- saved -------------------------------------------------------------------------------------- */

void programs_save(const struct programs *programs, struct saved_writer *writer)
{
	saved_put_bytes(writer, "dir", span_str(programs->dir));
	for (int role = 0; role < ROLE_MAX; role++)
		if (first_with_program(role) == role)
			saved_put_fd(
				writer, role_program((enum role)role), programs->fds[role]);
}

int programs_load(struct programs *ret_programs, struct span saved, struct err *err)
{
	struct span dir = saved_get_bytes(saved, "dir");

	programs_none(ret_programs);
	if (dir.len == 0 || dir.len >= sizeof(ret_programs->dir))
		return err_set(err, ERR_PROTOCOL, "the saved state names no programs");
	memcpy(ret_programs->dir, dir.p, dir.len);
	for (int role = 0; role < ROLE_MAX; role++) {
		ret_programs->fds[role] = saved_get_fd(saved, role_program((enum role)role));
		if (ret_programs->fds[role] < 0)
			return err_set(err, ERR_PROTOCOL, "the saved state lacks the program %s",
				role_program((enum role)role));
	}
	return 0;
}
