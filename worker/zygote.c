/*
 * gatehouse-worker: the zygote, and the session workers forked from it. The zygote has everything
 * loaded and read, and no state of its own; a worker begins as its copy. Children are made as
 * children of the root (CLONE_PARENT), which alone reaps them and whose death alone ends them.
 */
#include "config.h"
#include "log.h"
#include "syscall_filter.h"
#include "worker.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct zygote {
	struct config *config;
	struct syscall_filter *filter; /* of a worker; NULL: the kernel refuses */
	int fork_fd; /* in a new worker: its link with the root; else -1 */
};

static struct zygote zygote = {.fork_fd = -1};

static int clone_worker(int *ret_pidfd)
{
	int *tid_address = NULL;
	struct clone_args args;

	/* glibc caches the thread id where the kernel may be told to update it: abort() and locks
	 * rely on it */
	prctl(PR_GET_TID_ADDRESS, &tid_address);
	args = (struct clone_args){
		.flags = CLONE_PARENT | CLONE_PIDFD |
			 (tid_address ? CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID : 0),
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.child_tid = (uint64_t)(uintptr_t)tid_address,
	};
	return (int)syscall(SYS_clone3, &args, sizeof(args));
}

static void fork_failed(struct link *root, uint64_t instance)
{
	struct err err = {0};
	struct msg_fork_failed failed = {.instance = instance};

	err_set_errno(&err, "cannot fork a session worker");
	failed.reason = span_str(err_text(&err));
	link_post(root, MSG_FORK_FAILED, 0, &failed);
}

static void on_fork(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_fork *fork = msg->fields;
	struct msg_forked forked = {.instance = fork->instance};
	int pidfd = -1, pid;

	/* what else was read with this message is the zygote's to do, not its child's */
	if (zygote.fork_fd >= 0)
		return;
	pid = clone_worker(&pidfd);
	forked.pid = (uint64_t)pid;
	if (pid == 0) {
		/* the worker leaves the zygote's loop and begins its own in main() */
		zygote.fork_fd = msg->fds[0];
		msg->fds[0] = -1;
		process_abandon(process);
		return;
	}
	if (pid < 0) {
		fork_failed(root, fork->instance);
		return;
	}
	link_send(root, MSG_FORKED, 0, &forked, SPAN_NONE, &pidfd);
	close(pidfd);
}

/* Its children get it from the root, each the newest. */
static void on_catalogue(struct link *root, const struct message *msg, void *arg)
{
	(void)root;
	(void)msg;
	(void)arg;
}

/* If the kernel refuses, the zygote learns whether that matters when it enters its own. */
static int compile_filter(struct err *err)
{
	int r = syscall_filter_new(sandbox_groups(SANDBOX_WORKER), &zygote.filter, err);

	return r == -ERR_SYSTEM ? 0 : r;
}

/* What a child would otherwise have to ask the system for, or copy: it inherits the zygote's pages
 * as they are. */
static int before_jail(struct process *process, struct span config, struct err *err)
{
	int r = config_read_json(config, &zygote.config, err);

	(void)process;
	if (r == 0)
		r = compile_filter(err);
	malloc_trim(0);
	return r;
}

static void configured(struct process *process, struct span json, uint64_t generation)
{
	struct config *fresh;
	struct err err = {0};

	(void)process;
	(void)generation;
	if (config_read_json(json, &fresh, &err) < 0) {
		log_error("config.unreadable", err_text(&err));
		return;
	}
	config_free(zygote.config);
	zygote.config = fresh;
	malloc_trim(0);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_FORK] = on_fork, [MSG_CATALOGUE] = on_catalogue}};

static const struct process_role zygote_role = {
	.role = ROLE_ZYGOTE,
	.root = &root_handlers,
	.before_jail = before_jail,
	.configured = configured,
};

static int run_worker(void)
{
	prctl(PR_SET_NAME, "gatehouse-sessn");
	worker_heritage.config = zygote.config;
	return process_run(&worker_role, zygote.fork_fd, zygote.filter);
}

int main(int argc, char **argv)
{
	int status = process_main(&zygote_role, argc, argv);

	if (zygote.fork_fd >= 0)
		status = run_worker();
	config_free(zygote.config);
	syscall_filter_free(zygote.filter);
	return status;
}
