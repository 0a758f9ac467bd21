#include "launch.h"
#include "keeper.h"
#include "log.h"
#include "points.h"
#include "process.h"
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEEPER_TITLE "gatehouse-keeper"

struct pipes {
	int ends[3][2]; /* of the server's stdin, stdout, stderr */
};

static void pipes_close(struct pipes *pipes)
{
	for (int i = 0; i < 6; i++)
		if (pipes->ends[i / 2][i % 2] >= 0)
			close(pipes->ends[i / 2][i % 2]);
}

static int pipes_open(struct pipes *pipes, struct err *err)
{
	memset(pipes, -1, sizeof(*pipes));
	for (int i = 0; i < 3; i++)
		if (pipe2(pipes->ends[i], O_CLOEXEC) < 0) {
			int r = err_set_errno(err, "cannot make pipes");

			pipes_close(pipes);
			return r;
		}
	return 0;
}

/* --- the new process ------------------------------------------------------------------------ */

/* Keep the standard descriptors, the link and the server's ends;
 * everything else is the launcher's. */
static void keep_descriptors(int root_fd, int *stdio)
{
	int *wanted[4] = {&root_fd, &stdio[0], &stdio[1], &stdio[2]};
	int moved[4];

	/* the root gives it one of its own */
	log_set_file(-1);
	for (int i = 0; i < 4; i++)
		moved[i] = fcntl(*wanted[i], F_DUPFD_CLOEXEC, PROCESS_ROOT_FD + 4);
	for (int i = 0; i < 4; i++) {
		*wanted[i] = PROCESS_ROOT_FD + i;
		if (moved[i] < 0 || dup3(moved[i], *wanted[i], O_CLOEXEC) < 0)
			_exit(EXIT_FAILURE);
	}
	close_range(PROCESS_ROOT_FD + 4, ~0u, 0);
}

static void take_title(char *title)
{
	size_t room = strlen(title);

	prctl(PR_SET_NAME, KEEPER_TITLE);
	if (room < strlen(KEEPER_TITLE))
		return;
	memset(title, 0, room);
	memcpy(title, KEEPER_TITLE, strlen(KEEPER_TITLE));
}

static _Noreturn void become_keeper(
	const struct launch_order *order, struct keeper_plan *plan, int root_fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* in a pid namespace the parent has no number; a root that is gone shows by its link */
	if (!plan->namespaced && getppid() != order->root)
		_exit(EXIT_FAILURE);
	/* what a terminal sends to the node is the root's to decide upon */
	setsid();
	keep_descriptors(root_fd, plan->stdio);
	take_title(order->title);
	/* not exit(): what is registered for it, and what stdio holds, is the launcher's */
	_exit(keeper_run(plan, PROCESS_ROOT_FD));
}

/* --- in the launcher ------------------------------------------------------------------------ */

/*
 * The C library remembers a thread's id in its own memory and is not asked by clone3: have the
 * kernel write it there. As for fork, the parent's signal applies: with CLONE_PARENT, that of the
 * launcher.
 */
static pid_t clone_sibling(uint64_t flags, int *pidfd)
{
	struct clone_args args = {
		.flags = CLONE_PARENT | CLONE_PIDFD | flags,
		.pidfd = (uint64_t)(uintptr_t)pidfd,
	};
	int *tid = NULL;

	if (prctl(PR_GET_TID_ADDRESS, &tid) == 0 && tid) {
		args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
		args.child_tid = (uint64_t)(uintptr_t)tid;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* In a pid namespace of its own where that is allowed. */
static pid_t clone_keeper(bool *ret_namespaced, int *pidfd)
{
	pid_t pid;

	*ret_namespaced = POINT(GROUP);
	pid = clone_sibling(*ret_namespaced ? CLONE_NEWPID : 0, pidfd);
	if (pid >= 0 || (errno != EPERM && errno != ENOSPC && errno != EINVAL))
		return pid;
	*ret_namespaced = false;
	return clone_sibling(0, pidfd);
}

static int start_keeper(const struct launch_order *order, struct keeper_plan *plan,
	struct pipes *pipes, struct launched *ret, struct err *err)
{
	plan->stdio[0] = pipes->ends[0][0];
	plan->stdio[1] = pipes->ends[1][1];
	plan->stdio[2] = pipes->ends[2][1];
	ret->pid = clone_keeper(&plan->namespaced, &ret->fds[LAUNCH_PIDFD]);
	if (ret->pid == 0)
		become_keeper(order, plan, order->root_fd);
	if (ret->pid < 0)
		return err_set_errno(err, "cannot make a process");
	ret->fds[LAUNCH_STDIN] = pipes->ends[0][1];
	ret->fds[LAUNCH_STDOUT] = pipes->ends[1][0];
	ret->fds[LAUNCH_STDERR] = pipes->ends[2][0];
	pipes->ends[0][1] = pipes->ends[1][0] = pipes->ends[2][0] = -1;
	return 0;
}

static int prepare(const struct launch_order *order, struct keeper_plan *plan, char **ret_program,
	struct err *err)
{
	int r;

	if (!order->recipes)
		return err_set(err, ERR_CONFIG, "there is no configuration");
	r = recipes_find(order->recipes, order->server, &plan->recipe, err);
	if (r == 0)
		r = spawn_find_program(&plan->recipe, ret_program, err);
	if (r < 0)
		return r;
	plan->program = *ret_program;
	snprintf(plan->server, sizeof(plan->server), "%.*s", SPAN_ARG(order->server));
	snprintf(plan->session, sizeof(plan->session), "%.*s", SPAN_ARG(order->session));
	return 0;
}

int launch(const struct launch_order *order, struct launched *ret, struct err *err)
{
	struct keeper_plan plan = {.recipes = order->recipes, .cgroup = order->cgroup};
	struct err cause = {0};
	struct pipes pipes;
	char *program = NULL;
	int r = prepare(order, &plan, &program, err);

	if (r < 0)
		return r;
	r = pipes_open(&pipes, &cause);
	if (r == 0) {
		r = start_keeper(order, &plan, &pipes, ret, &cause);
		pipes_close(&pipes);
	}
	free(program);
	if (r < 0)
		err_set(err, (enum err_code) - r, "cannot run '%s': %s", plan.recipe.shown,
			err_text(&cause));
	return r;
}

void launched_close(struct launched *launched)
{
	for (int i = 0; i < LAUNCH_FD_MAX; i++)
		close(launched->fds[i]);
}

void launched_kill(const struct launched *launched)
{
	pidfd_send_signal(launched->fds[LAUNCH_PIDFD], SIGKILL, NULL, 0);
}
