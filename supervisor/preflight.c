/*
 * gatehouse-supervisor --preflight: asked by the root of a node that runs, whether the programs of this folder can take
 * over. One line on standard output says so, or why not.
 */
#include "process.h"
#include "state.h"
#include "upgrade.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSION_LINE_MAX 256

static int check_state(int fd, struct config **ret_config, struct err *err)
{
	struct memfile map = MEMFILE_NONE;
	struct span values;
	int r = state_open(fd, &map, &values, err);

	if (r == 0)
		r = state_check(values, ret_config, err);
	memfile_unmap(&map);
	return r;
}

/* The file as it stands: the next start or reload of the new programs reads it. */
static int check_file(const struct node_options *options, struct err *err)
{
	struct config_report report;
	struct config *config = NULL;
	int r = 0;

	if (!*options->config)
		return 0;
	config_report_init(&report);
	if (config_load(options->config, &config, &report) < 0)
		r = err_set(err, ERR_CONFIG, "the new programs cannot read %s: %s",
			options->config,
			report.count ? report.items[0].text : "it is no configuration");
	config_report_free(&report);
	config_free(config);
	return r;
}

/* --- the other programs ------------------------------------------------------------------------- */

static int read_line(int fd, char *line, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < size && (n = read(fd, line + len, size - 1 - len)) > 0)
		len += (size_t)n;
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return (int)len;
}

/* What it says to --version, or, when it cannot even begin, why. Returns its exit status, or -1. */
static int ask_version(const char *path, char *line, size_t size)
{
	char *argv[] = {(char *)(uintptr_t)path, (char *)(uintptr_t)"--version", NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], status = -1, r;
	pid_t pid;

	if (pipe(ends) < 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	r = posix_spawn(&pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (r == 0)
		read_line(ends[0], line, size);
	else
		snprintf(line, size, "%s", strerror(r));
	close(ends[0]);
	if (r != 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int check_program(const char *dir, enum role role, struct err *err)
{
	char path[PROGRAMS_DIR_MAX + 64], line[VERSION_LINE_MAX] = "", expected[VERSION_LINE_MAX];
	int status;

	snprintf(path, sizeof(path), "%s/%s", dir, role_program(role));
	status = ask_version(path, line, sizeof(line));
	if (status != 0)
		return err_set(err, ERR_SYSTEM, "%s cannot be executed: %s", path,
			line[0] ? line : "it ended at once");
	snprintf(expected, sizeof(expected), "%s " PROCESS_VERSION, role_program(role));
	if (strcmp(line, expected) != 0)
		return err_set(err, ERR_SYSTEM,
			"%s is of another build than the supervisor beside it (%s; %s)", path, line,
			PROCESS_VERSION);
	return 0;
}

static int check_programs(struct err *err)
{
	char self[PROGRAMS_DIR_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *dir;
	int r = 0;

	if (n <= 0)
		return err_set_errno(err, "cannot find the programs");
	self[n] = '\0';
	dir = dirname(self);
	for (int role = ROLE_ROOT + 1; r == 0 && role < ROLE_MAX; role++)
		r = check_program(dir, (enum role)role, err);
	return r;
}

int preflight_main(int state, const struct node_options *options)
{
	struct config *config = NULL;
	struct err err = {0};
	int r = check_state(state, &config, &err);

	if (r == 0)
		r = check_file(options, &err);
	if (r == 0)
		r = check_programs(&err);
	config_free(config);
	if (r < 0)
		printf("%s\n", err_text(&err));
	else
		printf("fit: " PROCESS_VERSION "\n");
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
