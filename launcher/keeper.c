#include "keeper.h"
#include "descendants.h"
#include "log.h"
#include "points.h"
#include "process.h"
#include "spawn.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The longest grace that is believed. */
#define GRACE_MAX_MS (60u * 60u * 1000u)
/* Pauses between attempts to kill what does not go: first, longest. */
#define KILL_PAUSE_MS 5u
#define KILL_PAUSE_MAX_MS 1000u
/* A stop by the root has three parts: end of input, SIGTERM, SIGKILL. */
#define STOP_PARTS 3u

enum stage {
	STAGE_RUNNING,
	STAGE_WAITING,     /* its input has ended, it may finish by itself */
	STAGE_TERMINATING, /* everybody was sent SIGTERM */
	STAGE_KILLING,
};

static struct keeper {
	struct keeper_plan plan;
	struct process *process;
	struct descendants all;
	char cgroup[CGROUP_PATH_MAX];
	enum stage stage;
	uint32_t grace_ms;
	uint32_t pause_ms;
	pid_t server;
	pid_t visible;      /* the server's pid as the root has it */
	bool ended;         /* the server itself is reaped */
	int status;         /* then: its wait status */
	int report;         /* -1 once it is known whether the program was executed */
	struct err failure; /* why it was not */
	struct event *on_report, *on_child, *on_term, *on_time;
} keeper;

static void set_timer(uint32_t ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(keeper.on_time, &tv);
}

/* --- the end -------------------------------------------------------------------------------- */

static void describe_end(char *text, size_t size)
{
	if (keeper.failure.code)
		snprintf(text, size, "%s", keeper.failure.detail);
	else if (!keeper.ended)
		snprintf(text, size, "not started");
	else if (WIFEXITED(keeper.status))
		snprintf(text, size, "exit %d", WEXITSTATUS(keeper.status));
	else
		snprintf(text, size, "signal %d (%s)", WTERMSIG(keeper.status),
			strsignal(WTERMSIG(keeper.status)));
}

static void say_ended(void)
{
	char reason[ERR_DETAIL_MAX];
	struct msg_server_exited exited = {.instance = process_instance(keeper.process)};

	describe_end(reason, sizeof(reason));
	exited.reason = span_str(reason);
	cgroup_remove(keeper.cgroup);
	link_post(process_root(keeper.process), MSG_SERVER_EXITED, 0, &exited);
	log_info("server.exited", reason, KV_STR("server", keeper.plan.server),
		KV_STR("session", keeper.plan.session));
	process_exit(keeper.process, EXIT_SUCCESS, NULL);
}

static void begin_killing(void)
{
	keeper.stage = STAGE_KILLING;
	keeper.pause_ms = KILL_PAUSE_MS;
	descendants_kill(&keeper.all);
	set_timer(keeper.pause_ms);
}

static void begin_terminating(void)
{
	keeper.stage = STAGE_TERMINATING;
	descendants_terminate(&keeper.all, keeper.ended ? 0 : keeper.server);
	set_timer(keeper.grace_ms);
}

static void begin_stopping(uint32_t grace_ms)
{
	if (grace_ms > GRACE_MAX_MS)
		grace_ms = GRACE_MAX_MS;
	/* said again, it can only become quicker */
	if (keeper.stage == STAGE_KILLING ||
		(keeper.stage != STAGE_RUNNING && grace_ms >= keeper.grace_ms))
		return;
	keeper.grace_ms = grace_ms;
	if (keeper.stage == STAGE_RUNNING)
		keeper.stage = STAGE_WAITING;
	set_timer(grace_ms);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	switch (keeper.stage) {
	case STAGE_RUNNING:
		break;
	case STAGE_WAITING:
		begin_terminating();
		break;
	case STAGE_TERMINATING:
		begin_killing();
		break;
	case STAGE_KILLING:
		descendants_kill(&keeper.all);
		if (keeper.pause_ms < KILL_PAUSE_MAX_MS)
			keeper.pause_ms *= 2;
		set_timer(keeper.pause_ms);
		break;
	}
}

/* --- the server ----------------------------------------------------------------------------- */

static void log_started(void)
{
	char layers[64];

	snprintf(layers, sizeof(layers), "%s%s",
		keeper.all.namespaced ? "pid namespace" : "subreaper",
		keeper.cgroup[0] ? ", cgroup" : "");
	log_info("server.started", "server is running", KV_STR("server", keeper.plan.server),
		KV_STR("session", keeper.plan.session), KV_INT("server_pid", keeper.visible),
		KV_STR("layers", layers));
}

static void take_report(void)
{
	int r = keeper.report < 0 ? -ERR_AGAIN : spawn_read_report(keeper.report, &keeper.failure);

	if (r == -ERR_AGAIN)
		return;
	event_free(keeper.on_report);
	keeper.on_report = NULL;
	close(keeper.report);
	keeper.report = -1;
	if (r == 0) {
		log_started();
		process_ready(keeper.process);
	}
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	take_report();
}

static void on_child(evutil_socket_t fd, short what, void *arg)
{
	bool ended_before = keeper.ended;
	bool any_left = descendants_reap(keeper.server, &keeper.ended, &keeper.status);

	(void)fd;
	(void)what;
	(void)arg;
	/* READY, or why not, comes before the end */
	take_report();
	if (!any_left || (keeper.ended && !POINT(GROUP))) {
		say_ended();
		return;
	}
	if (ended_before || !keeper.ended)
		return;
	/* what it left behind: being stopped, it is asked to go, like the server was; else nobody
	 * expects it to be there */
	if (keeper.stage == STAGE_WAITING)
		begin_terminating();
	else if (keeper.stage == STAGE_RUNNING)
		begin_killing();
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	process_exit(keeper.process, EXIT_FAILURE, NULL);
}

/* The server's pid as the root's namespace has it. The server is the only child. */
static pid_t visible_pid(pid_t pid)
{
	FILE *file = keeper.plan.namespaced ? fopen("/proc/thread-self/children", "re") : NULL;
	int visible;

	if (!file)
		return pid;
	if (fscanf(file, "%d", &visible) != 1)
		visible = pid;
	fclose(file);
	return visible;
}

static void give_up_plan(void)
{
	struct keeper_plan *plan = &keeper.plan;

	recipes_free(plan->recipes);
	plan->recipes = NULL;
	plan->recipe = (struct recipe){0};
	for (int i = 0; i < 3; i++)
		close(plan->stdio[i]);
}

static int start_server(struct err *err)
{
	const struct spawn_order order = {
		.recipes = keeper.plan.recipes,
		.recipe = keeper.plan.recipe,
		.program = keeper.plan.program,
		.stdio = {keeper.plan.stdio[0], keeper.plan.stdio[1], keeper.plan.stdio[2]},
		.cgroup = keeper.cgroup[0] ? keeper.cgroup : NULL,
		.namespaced = keeper.plan.namespaced,
	};
	struct msg_server_pid said;
	int r = spawn_server(&order, &keeper.server, &keeper.report, err);

	give_up_plan();
	if (r < 0)
		return r;
	keeper.visible = visible_pid(keeper.server);
	said.pid = (uint64_t)keeper.visible;
	link_post(process_root(keeper.process), MSG_SERVER_PID, 0, &said);
	return 0;
}

/* --- hooks ---------------------------------------------------------------------------------- */

static int make_events(struct event_base *base, struct err *err)
{
	keeper.on_child = evsignal_new(base, SIGCHLD, on_child, NULL);
	keeper.on_term = evsignal_new(base, SIGTERM, on_term, NULL);
	keeper.on_time = evtimer_new(base, on_time, NULL);
	if (!keeper.on_child || !keeper.on_term || !keeper.on_time ||
		event_add(keeper.on_child, NULL) < 0 || event_add(keeper.on_term, NULL) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a keeper");
	return 0;
}

static int watch_report(struct event_base *base)
{
	keeper.on_report = event_new(base, keeper.report, EV_READ | EV_PERSIST, on_report, NULL);
	return keeper.on_report && event_add(keeper.on_report, NULL) == 0 ? 0 : -ERR_NO_MEMORY;
}

static int keeper_after_jail(struct process *process, struct err *err)
{
	int r;

	keeper.process = process;
	cgroup_make(keeper.plan.cgroup, keeper.cgroup);
	keeper.all = (struct descendants){keeper.plan.namespaced, keeper.cgroup};
	r = make_events(process_base(process), err);
	if (r == 0)
		r = start_server(err);
	if (r == 0)
		r = watch_report(process_base(process));
	if (r < 0) {
		err_set(&keeper.failure, (enum err_code) - r, "%s", err_text(err));
		say_ended();
	}
	return 1;
}

static void keeper_stop(struct process *process, uint32_t deadline_ms)
{
	(void)process;
	begin_stopping(deadline_ms / STOP_PARTS);
}

static void keeper_cleanup(struct process *process)
{
	(void)process;
	descendants_finish(&keeper.all);
	cgroup_remove(keeper.cgroup);
	if (keeper.on_report)
		event_free(keeper.on_report);
	if (keeper.on_child)
		event_free(keeper.on_child);
	if (keeper.on_term)
		event_free(keeper.on_term);
	if (keeper.on_time)
		event_free(keeper.on_time);
}

static void on_server_stop(struct link *root, const struct message *msg, void *arg)
{
	const struct msg_server_stop *stop = msg->fields;

	(void)root;
	(void)arg;
	begin_stopping(stop->grace_ms > GRACE_MAX_MS ? GRACE_MAX_MS : (uint32_t)stop->grace_ms);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_SERVER_STOP] = on_server_stop},
};

static const struct process_role keeper_role = {
	.role = ROLE_KEEPER,
	.root = &root_handlers,
	.after_jail = keeper_after_jail,
	.stop = keeper_stop,
	.cleanup = keeper_cleanup,
};

int keeper_run(const struct keeper_plan *plan, int root_fd)
{
	keeper.plan = *plan;
	keeper.report = -1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return process_run(&keeper_role, root_fd, NULL);
}
