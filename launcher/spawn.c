#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of 1000: a server goes before the node's own processes when memory is out. */
#define SERVER_OOM_SCORE 500
#define SHELL "/bin/sh"
/* In the new process: the report stays next to the standard descriptors, everything else goes. */
#define REPORT_FD 3

/* --- finding the program -------------------------------------------------------------------- */

/* 0, or an errno. */
static int check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EISDIR;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

static int find_at(const struct recipe *recipe, char **ret_program, struct err *err)
{
	int why = check_program(recipe->command);

	if (why != 0)
		return err_set(err, why == ENOENT ? ERR_NOT_FOUND : ERR_FORBIDDEN,
			"cannot run '%s': %s", recipe->shown, strerror(why));
	*ret_program = strdup(recipe->command);
	return *ret_program ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a path");
}

/* The first program called name in the folders of path; *ret_program is NULL when there is none. */
static int search(const char *path, const char *name, char **ret_program)
{
	*ret_program = NULL;
	while (*path) {
		size_t len = strcspn(path, ":");
		char *candidate;

		if (path[0] == '/') {
			if (asprintf(&candidate, "%.*s/%s", (int)len, path, name) < 0)
				return -ERR_NO_MEMORY;
			if (check_program(candidate) == 0) {
				*ret_program = candidate;
				return 0;
			}
			free(candidate);
		}
		path += len;
		path += *path == ':';
	}
	return 0;
}

int spawn_find_program(const struct recipe *recipe, char **ret_program, struct err *err)
{
	const char *path = recipe_env(recipe, "PATH");
	int r;

	if (strchr(recipe->command, '/'))
		return find_at(recipe, ret_program, err);
	if (!path)
		path = "";
	r = search(path, recipe->command, ret_program);
	if (r < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a path");
	if (*ret_program)
		return 0;
	return err_set(err, ERR_NOT_FOUND, "cannot run '%s': not found in PATH %s", recipe->shown,
		*path ? path : "(empty)");
}

/* --- in the new process --------------------------------------------------------------------- */

static _Noreturn void fail(int report, const char *command, const char *what, const char *name)
{
	const char *reason = strerror(errno);
	char text[ERR_DETAIL_MAX];
	int len;

	len = snprintf(text, sizeof(text), "cannot run '%s': %s%s%s%s", command, what,
		what[0] ? " " : "", name, name[0] ? ": " : "");
	if (len >= 0 && (size_t)len < sizeof(text))
		snprintf(text + len, sizeof(text) - (size_t)len, "%s", reason);
	/* less than PIPE_BUF: all or nothing; without it the reader sees the exit status */
	_exit(write(report, text, strlen(text)) > 0 ? 127 : 126);
}

/* first, a copy of each of the strings, NULL. */
static char **copy_strings(const char *first, const struct recipe_strings *strings)
{
	char **copy = calloc(strings->count + 2, sizeof(*copy));
	const char *string = strings->first;
	size_t n = 0;

	if (copy && first)
		copy[n++] = strdup(first);
	for (size_t i = 0; copy && i < strings->count; i++, string = recipe_next(string))
		copy[n++] = strdup(string);
	for (size_t i = 0; copy && i < n; i++)
		if (!copy[i])
			return NULL;
	return copy;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	n = write(fd, text, strlen(text));
	(void)n; /* these are layers: what the system does not allow is done without */
	close(fd);
}

static void limit_process(const struct spawn_order *order)
{
	const struct rlimit no_core = {0, 0};
	char text[512];

	setrlimit(RLIMIT_CORE, &no_core);
	snprintf(text, sizeof(text), "%d", SERVER_OOM_SCORE);
	write_file("/proc/self/oom_score_adj", text);
	if (order->cgroup) {
		snprintf(text, sizeof(text), "%s/cgroup.procs", order->cgroup);
		write_file(text, "0");
	}
}

/* A program that looks itself up in /proc by getpid() would find another process there. */
static void mount_proc(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return;
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* Returns the report's new number. */
static int arrange_descriptors(const int *stdio, int report)
{
	int moved[3];

	for (int i = 0; i < 3; i++)
		moved[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, REPORT_FD + 1);
	report = fcntl(report, F_DUPFD_CLOEXEC, REPORT_FD + 1);
	for (int i = 0; i < 3; i++)
		if (moved[i] < 0 || dup2(moved[i], i) < 0)
			_exit(126);
	if (report < 0 || dup3(report, REPORT_FD, O_CLOEXEC) < 0)
		_exit(126);
	close_range(REPORT_FD + 1, ~0u, 0);
	return REPORT_FD;
}

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A script without a first line that names its interpreter is the shell's, as with execvp. */
static void execute_script(const char *program, char **argv, char **envp)
{
	size_t argc = 0;
	char **shell;

	while (argv[argc])
		argc++;
	shell = calloc(argc + 2, sizeof(*shell));
	if (!shell)
		return;
	shell[0] = (char *)(uintptr_t)SHELL;
	shell[1] = (char *)(uintptr_t)program;
	memcpy(shell + 2, argv + 1, (argc - 1) * sizeof(*shell));
	execve(SHELL, shell, envp);
}

/* What is executed; copies, as the recipes are gone by then. */
struct image {
	char **argv, **envp, *folder;
	char *shown, *shown_folder; /* for people */
};

static _Noreturn void execute(
	const struct spawn_order *order, const struct image *image, int report)
{
	char **argv = image->argv, **envp = image->envp;

	if (chdir(image->folder) < 0)
		fail(report, image->shown, "cannot enter its folder", image->shown_folder);
	execve(order->program, argv, envp);
	if (errno == ENOEXEC)
		execute_script(order->program, argv, envp);
	if (errno == ENOENT && access(order->program, F_OK) == 0)
		fail(report, image->shown, "the interpreter of",
			strcmp(image->shown, RECIPE_MASK) == 0 ? image->shown : order->program);
	fail(report, image->shown, "", "");
}

static _Noreturn void become_server(const struct spawn_order *order, pid_t keeper, int report)
{
	const struct recipe *recipe = &order->recipe;
	struct image image;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(126);
	image = (struct image){
		.argv = copy_strings(recipe->command, &recipe->args),
		.envp = copy_strings(NULL, &recipe->env),
		.folder = strdup(recipe->folder),
		.shown = strdup(recipe->shown),
		.shown_folder = strdup(recipe->shown_folder),
	};
	if (!image.argv || !image.envp || !image.folder || !image.shown || !image.shown_folder) {
		errno = ENOMEM;
		fail(report, recipe->shown, "", "");
	}
	/* with the other servers' secrets gone, this process may be looked into: its own files in
	 * /proc are writable only then */
	recipes_free(order->recipes);
	prctl(PR_SET_DUMPABLE, 1);
	setsid();
	limit_process(order);
	report = arrange_descriptors(order->stdio, report);
	if (order->namespaced)
		mount_proc();
	reset_signals();
	execute(order, &image, report);
}

/* --- in the keeper -------------------------------------------------------------------------- */

int spawn_server(const struct spawn_order *order, pid_t *ret_pid, int *ret_report, struct err *err)
{
	pid_t keeper = getpid(), pid;
	int report[2], r;

	if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set_errno(err, "cannot run '%s': no pipe", order->recipe.shown);
	pid = fork();
	if (pid == 0)
		become_server(order, keeper, report[1]);
	close(report[1]);
	if (pid < 0) {
		r = err_set_errno(err, "cannot run '%s': no process", order->recipe.shown);
		close(report[0]);
		return r;
	}
	*ret_pid = pid;
	*ret_report = report[0];
	return 0;
}

int spawn_read_report(int report, struct err *err)
{
	char text[ERR_DETAIL_MAX];
	ssize_t n;

	do
		n = read(report, text, sizeof(text));
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return err_set(err, ERR_SYSTEM, "%.*s", (int)n, text);
	return n < 0 && errno == EAGAIN ? -ERR_AGAIN : 0;
}
