/*
 * gatehouse-launcher: starts stdio MCP servers. It alone knows their commands and secrets, makes a
 * keeper for each server process and forgets it: keepers are the root's children, and outlive it.
 */
#include "cgroup.h"
#include "launch.h"
#include "log.h"
#include "process.h"
#include "recipes.h"

#include <sys/prctl.h>
#include <unistd.h>

/* Launches between two looks for cgroups that were left behind. */
#define SWEEP_EVERY 64

static struct launcher {
	struct recipes *recipes;
	pid_t root;
	char cgroup[CGROUP_PATH_MAX];
	unsigned launches;
	char *title;
} launcher;

static int launcher_before_jail(struct process *process, struct span config, struct err *err)
{
	(void)process;
	/* the servers run as the same user and must not look into this process */
	prctl(PR_SET_DUMPABLE, 0);
	launcher.root = getppid();
	cgroup_find(launcher.cgroup);
	return recipes_read(config, &launcher.recipes, err);
}

static void launcher_configured(struct process *process, struct span config, uint64_t generation)
{
	struct recipes *recipes;
	struct err err = {0};

	(void)process;
	if (recipes_read(config, &recipes, &err) < 0) {
		log_error("config.unreadable", err_text(&err), KV_INT("generation", generation));
		return;
	}
	recipes_free(launcher.recipes);
	launcher.recipes = recipes;
}

static void launcher_cleanup(struct process *process)
{
	(void)process;
	recipes_free(launcher.recipes);
}

static void say_failed(struct link *root, uint32_t stream, uint64_t instance, const struct err *err)
{
	const struct msg_fork_failed failed = {
		.instance = instance, .reason = span_str(err_text(err))};

	if (link_post(root, MSG_FORK_FAILED, stream, &failed) < 0)
		log_error("launch.failed", err_text(err), KV_INT("instance", instance));
}

static void on_launch(struct link *root, const struct message *msg, void *arg)
{
	const struct msg_launch *wanted = msg->fields;
	const struct launch_order order = {
		.recipes = launcher.recipes,
		.server = wanted->server,
		.session = wanted->session,
		.root_fd = msg->fds[0],
		.root = launcher.root,
		.cgroup = launcher.cgroup,
		.title = launcher.title,
	};
	struct msg_launched said = {.instance = wanted->instance};
	struct launched launched;
	struct err err = {0};
	int r;

	(void)arg;
	if (launcher.launches++ % SWEEP_EVERY == 0)
		cgroup_sweep(launcher.cgroup);
	if (launch(&order, &launched, &err) < 0) {
		say_failed(root, msg->stream, wanted->instance, &err);
		return;
	}
	said.pid = (uint64_t)launched.pid;
	r = link_send(root, MSG_LAUNCHED, msg->stream, &said, SPAN_NONE, launched.fds);
	if (r < 0) {
		launched_kill(&launched);
		err_set(&err, (enum err_code) - r, "cannot tell the root of server %.*s: %s",
			SPAN_ARG(wanted->server), err_reason(r));
		say_failed(root, msg->stream, wanted->instance, &err);
	}
	launched_close(&launched);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_LAUNCH] = on_launch},
};

static const struct process_role launcher_role = {
	.role = ROLE_LAUNCHER,
	.root = &root_handlers,
	.before_jail = launcher_before_jail,
	.configured = launcher_configured,
	.cleanup = launcher_cleanup,
};

int main(int argc, char **argv)
{
	launcher.title = argc > 0 ? argv[0] : (char[]){""};
	return process_main(&launcher_role, argc, argv);
}
