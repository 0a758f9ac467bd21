/*
 * New programs are looked at before the node entrusts itself to them: their own gatehouse-supervisor, as a child, reads a
 * copy of the state and examines the rest (preflight.c). What it writes is its answer; that it does not end well, or at all, is one, too.
 */
#include "log.h"
#include "process.h"
#include "state.h"
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_MS 60000
#define SAID_MAX 4096u
/* How an answer begins that has nothing against the programs; the build follows. */
#define GOOD "fit: "

struct checking {
	struct node *node;
	int pidfd, pipe;
	struct event *died, *heard, *late;
	bool was_late;
	struct buf said;
};

static void close_event(struct event *event)
{
	if (event)
		event_free(event);
}

void check_free(struct node *node)
{
	struct checking *checking = node->upgrade ? node->upgrade->checking : NULL;

	if (!checking)
		return;
	close_event(checking->died);
	close_event(checking->heard);
	close_event(checking->late);
	if (checking->pidfd >= 0) {
		siginfo_t info;

		pidfd_send_signal(checking->pidfd, SIGKILL, NULL, 0);
		waitid(P_PIDFD, (id_t)checking->pidfd, &info, WEXITED);
		close(checking->pidfd);
	}
	if (checking->pipe >= 0)
		close(checking->pipe);
	buf_free(&checking->said);
	node->children.stranger = 0;
	free(checking);
	node->upgrade->checking = NULL;
}

/* --- in the child --------------------------------------------------------------------------------- */

static _Noreturn void become(const struct programs *programs, const struct node *node, int state,
	int answer)
{
	char *argv[] = {(char *)(uintptr_t)role_program(ROLE_ROOT), (char *)(uintptr_t)"--config",
		(char *)(uintptr_t)(node->config_path ? node->config_path : ""),
		(char *)(uintptr_t)"--preflight", (char *)(uintptr_t)"3", NULL};

	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* out of each other's way first: either may have one of the numbers */
	state = fcntl(state, F_DUPFD, 10);
	answer = fcntl(answer, F_DUPFD, 10);
	dup2(answer, STDOUT_FILENO);
	dup2(answer, STDERR_FILENO);
	dup2(state, PROCESS_ROOT_FD);
	close_range(PROCESS_ROOT_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	programs_exec(programs, ROLE_ROOT, argv, environ);
	dprintf(STDOUT_FILENO, "cannot execute %s/%s: %s\n", programs->dir, role_program(ROLE_ROOT),
		strerror(errno));
	_exit(127);
}

/* --- what it says --------------------------------------------------------------------------------- */

/* One line of it, without the prefix of a program that cannot even begin. */
static void first_line(const struct buf *said, char *text, size_t size)
{
	size_t len = 0;

	while (len < said->len && said->data[len] != '\n')
		len++;
	snprintf(text, size, "%.*s", (int)len, said->data ? said->data : "");
}

static void conclude(struct checking *checking, int code, int status)
{
	struct node *node = checking->node;
	char line[ERR_DETAIL_MAX - 200], reason[ERR_DETAIL_MAX], end[80];

	first_line(&checking->said, line, sizeof(line));
	child_describe_exit(code, status, end, sizeof(end));
	if (code == CLD_EXITED && status == 0 && strncmp(line, GOOD, strlen(GOOD)) == 0) {
		char build[UPGRADE_BUILD_MAX];

		snprintf(build, sizeof(build), "%.*s", (int)sizeof(build) - 1, line + strlen(GOOD));
		upgrade_checked(node, build, NULL);
		return;
	}
	if (checking->was_late)
		snprintf(reason, sizeof(reason), "the check of the new programs did not end");
	else if (code == CLD_EXITED && line[0])
		snprintf(reason, sizeof(reason), "%s", line);
	else
		snprintf(reason, sizeof(reason), "gatehouse-supervisor of the new programs, which was to check them, ended "
			"with %s%s%s",
			end, line[0] ? ": " : "", line);
	upgrade_checked(node, NULL, reason);
}

static void hear(struct checking *checking)
{
	char room[1024];
	ssize_t n;

	while ((n = read(checking->pipe, room, sizeof(room))) > 0)
		buf_append(&checking->said, room, (size_t)n);
	if (n == 0)
		event_del(checking->heard);
}

static void on_heard(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hear(arg);
}

static void on_died(evutil_socket_t fd, short what, void *arg)
{
	struct checking *checking = arg;
	siginfo_t info = {0};

	(void)what;
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	event_del(checking->died);
	hear(checking);
	close(checking->pidfd);
	checking->pidfd = -1;
	conclude(checking, info.si_code, info.si_status);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct checking *checking = arg;

	(void)fd;
	(void)what;
	checking->was_late = true;
	pidfd_send_signal(checking->pidfd, SIGKILL, NULL, 0);
}

/* --- begin ---------------------------------------------------------------------------------------- */

static int watch(struct checking *checking, struct err *err)
{
	static const struct timeval patience = {CHECK_MS / 1000, 0};
	struct event_base *base = checking->node->base;

	checking->died =
		event_new(base, checking->pidfd, EV_READ | EV_PERSIST, on_died, checking);
	checking->heard =
		event_new(base, checking->pipe, EV_READ | EV_PERSIST, on_heard, checking);
	checking->late = evtimer_new(base, on_late, checking);
	if (!checking->died || !checking->heard || !checking->late ||
		event_add(checking->died, NULL) < 0 || event_add(checking->heard, NULL) < 0 ||
		event_add(checking->late, &patience) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory to check the new programs");
	return 0;
}

static int start(struct checking *checking, const struct programs *programs, int state,
	struct err *err)
{
	struct node *node = checking->node;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set_errno(err, "cannot check the new programs");
	pid = child_fork(&checking->pidfd);
	if (pid == 0)
		become(programs, node, state, ends[1]);
	close(ends[1]);
	checking->pipe = ends[0];
	fcntl(checking->pipe, F_SETFL, O_NONBLOCK);
	if (pid < 0) {
		checking->pidfd = -1;
		return err_set_errno(err, "cannot check the new programs");
	}
	node->children.stranger = pid;
	return watch(checking, err);
}

int check_begin(struct node *node, const struct programs *programs, struct err *err)
{
	struct checking *checking = calloc(1, sizeof(*checking));
	int state = -1, r;

	if (!checking)
		return err_set(err, ERR_NO_MEMORY, "no memory to check the new programs");
	*checking = (struct checking){.node = node, .pidfd = -1, .pipe = -1};
	buf_init(&checking->said, SAID_MAX);
	node->upgrade->checking = checking;
	node->upgrade->phase = UPGRADE_CHECKING;
	r = state_save(node, &state, err);
	if (r == 0)
		r = start(checking, programs, state, err);
	if (state >= 0)
		close(state);
	return r;
}
