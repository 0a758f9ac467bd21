/* Children that others make for the root: session workers by the zygote, the keepers of stdio
 * servers by the launcher. */
#include "clock.h"
#include "log.h"
#include "node.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The root keeps some descriptors for what the node cannot do without: links, the restart of its
 * own processes, its answers to the admin process. An eighth of what it may have, within these.
 */
#define SPARE_MIN 8
#define SPARE_MAX 64
/* What a process that is asked for is still going to take: its pidfd, a server's its three pipes,
 * and for a moment both ends of its first link. */
#define PER_ASKED 6

/* A descriptor is always the lowest that is free: from the number of a new one it can be told how
 * many are left at most. */
static int check_spare(const struct node *node, struct err *err)
{
	struct rlimit limit;
	rlim_t spare;
	int fd;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return 0;
	spare = limit.rlim_cur / 8;
	spare = spare < SPARE_MIN ? SPARE_MIN : spare > SPARE_MAX ? SPARE_MAX : spare;
	fd = fcntl(node->state_lock, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
	spare += (rlim_t)node->children.asked * PER_ASKED;
	if (fd >= 0 && (rlim_t)fd + spare < limit.rlim_cur)
		return 0;
	return err_set(err, ERR_BUSY,
		"the root has used up its descriptors (RLIMIT_NOFILE %llu): raise the limit, or "
		"lower worker.max and the servers' max",
		(unsigned long long)limit.rlim_cur);
}

/* --- session workers ------------------------------------------------------------------------ */

static int ask_zygote(struct node *node, uint64_t instance, struct err *err)
{
	const struct msg_fork fork = {.instance = instance};
	struct child *zygote = children_find_named(&node->children, ROLE_ZYGOTE, "");
	struct child *child;
	int fd, r;

	if (!zygote || !zygote->link)
		return err_set(err, ERR_BUSY, "the zygote is not ready");
	r = child_expect(&node->children, ROLE_WORKER, "", instance, zygote, &fd, &child, err);
	if (r < 0)
		return r;
	r = link_send(zygote->link, MSG_FORK, 0, &fork, SPAN_NONE, &fd);
	close(fd);
	if (r < 0) {
		child_failed(child);
		return err_set(err, (enum err_code) - r, "the zygote cannot be asked");
	}
	child->parent = zygote->instance;
	node_introduce(node, child);
	return 0;
}

void node_start_worker(struct node *node, const struct action *action)
{
	struct err err = {0};

	if (ask_zygote(node, action->instance, &err) < 0)
		tree_child_start_failed(node->tree, clock_ms(), action->instance, err_text(&err));
}

static void want_worker(struct node *node, uint64_t workers, uint32_t stream)
{
	struct child *sessions = children_find_named(&node->children, ROLE_SESSIONS, "");
	struct msg_worker_given none = {0};
	struct err err = {0};
	int r;

	if (node->children.of_role[ROLE_WORKER] >= (uint64_t)node->config->worker_max)
		r = err_set(&err, ERR_TOO_MANY, "worker.max (%lld) session workers are alive",
			(long long)node->config->worker_max);
	else
		r = check_spare(node, &err);
	if (r == 0)
		r = tree_start_dynamic(node->tree, clock_ms(), workers, stream, NULL, &err);
	none.detail = span_str(err_text(&err));
	if (r < 0 && sessions && sessions->link)
		link_post(sessions->link, MSG_WORKER_GIVEN, stream, &none);
}

/* The session manager starts before there is a zygote: what it wants by then waits. */
void node_serve_early_wants(struct node *node)
{
	uint64_t workers;

	if (node->n_early_wants == 0)
		return;
	workers = tree_find_supervisor(node->tree, "sessions/workers");
	if (!workers)
		return;
	for (unsigned i = 0; i < node->n_early_wants; i++)
		want_worker(node, workers, node->early_wants[i]);
	node->n_early_wants = 0;
}

void node_on_worker_want(struct link *link, const struct message *msg, void *arg)
{
	struct node *node = child_node(arg);
	uint64_t workers = tree_find_supervisor(node->tree, "sessions/workers");
	static const struct msg_worker_given none = {.detail = SPAN_LIT("the zygote is not ready")};

	/* nobody new is served any more */
	if (node->stopping)
		return;
	if (workers)
		want_worker(node, workers, msg->stream);
	else if (node->n_early_wants < NODE_EARLY_WANTS_MAX)
		node->early_wants[node->n_early_wants++] = msg->stream;
	else
		link_post(link, MSG_WORKER_GIVEN, msg->stream, &none);
	node_turn(node);
}

/* The policy's answer to a WORKER_WANT: its request number is the stream. */
void node_worker_answered(struct node *node, const struct action *action)
{
	struct child *sessions = children_find_named(&node->children, ROLE_SESSIONS, "");
	struct child *worker = children_find(&node->children, action->instance);
	struct msg_worker_given given = {.detail = span_str(action->reason)};

	if (action->request == 0 || action->request > UINT32_MAX)
		return;
	if (action->result == RESULT_OK && worker)
		given.instance = action->instance;
	if (!sessions || !sessions->link ||
		link_post(sessions->link, MSG_WORKER_GIVEN, (uint32_t)action->request, &given) <
			0) {
		/* nobody to give it to */
		if (worker)
			child_stop(worker, 0);
		return;
	}
	if (worker)
		worker->handed = true;
}

void node_on_worker_kill(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_worker_kill *kill = msg->fields;
	const struct child *sender = arg;
	struct child *child = children_find(&child_node(arg)->children, kill->instance);

	(void)link;
	if (!child || child->role != ROLE_WORKER)
		return;
	if (sender->role == ROLE_GATEWAY)
		node_child_stuck(child, "it does not answer");
	else
		child_kill(child);
}

void node_on_serving(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_serving *serving = msg->fields;
	struct child *child = arg;

	(void)link;
	snprintf(child->label, sizeof(child->label), "%.*s", SPAN_ARG(serving->session));
}

/* A process that nobody waits for any more. */
static void discard(int pidfd)
{
	siginfo_t info;

	pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
}

void node_on_forked(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_forked *forked = msg->fields;
	struct node *node = child_node(arg);
	struct child *child = children_find(&node->children, forked->instance);
	struct err err = {0};
	int pidfd = msg->fds[0];

	(void)link;
	if (!child || child->state != CHILD_ASKED) {
		discard(pidfd);
		return;
	}
	msg->fds[0] = -1;
	if (child_made(child, (pid_t)forked->pid, pidfd, &err) < 0) {
		log_error("child.lost", err_text(&err), KV_INT("instance", forked->instance));
		child_failed(child);
		tree_child_start_failed(node->tree, clock_ms(), forked->instance, err_text(&err));
		node_turn(node);
	} else if (child->said_ready) {
		node_child_ready(child);
	}
}

static void fail_asked(struct node *node, struct child *child, const char *reason)
{
	const struct msg_server_spawn_failed failed = {.reason = span_str(reason)};
	struct child *upstream = children_find(&node->children, child->parent);
	uint64_t instance = child->instance;

	if (child->role == ROLE_KEEPER && upstream && upstream->link)
		link_post(upstream->link, MSG_SERVER_SPAWN_FAILED, child->stream, &failed);
	child_failed(child);
	tree_child_start_failed(node->tree, clock_ms(), instance, reason);
}

void node_on_fork_failed(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_fork_failed *failed = msg->fields;
	struct node *node = child_node(arg);
	struct child *child = children_find(&node->children, failed->instance);
	char reason[ERR_DETAIL_MAX];

	(void)link;
	if (!child || child->state != CHILD_ASKED)
		return;
	snprintf(reason, sizeof(reason), "%.*s", SPAN_ARG(failed->reason));
	config_hide_secrets(config_find_server(node->config, child->name), reason);
	fail_asked(node, child, reason);
	node_turn(node);
}

/* --- stdio servers -------------------------------------------------------------------------- */

static int ask_launcher(struct node *node, const struct child *upstream, uint32_t stream,
	struct span session, struct err *err)
{
	struct child *launcher = children_find_named(&node->children, ROLE_LAUNCHER, "");
	struct msg_launch launch = {.server = span_str(upstream->name), .session = session};
	struct child *keeper;
	int fd, r;

	if (node->stopping)
		return err_set(err, ERR_DRAINING, "the node stops");
	if (!launcher || !launcher->link)
		return err_set(err, ERR_BUSY, "the launcher is not ready");
	r = check_spare(node, err);
	if (r < 0)
		return r;
	launch.instance = children_next_instance(&node->children);
	r = child_expect(&node->children, ROLE_KEEPER, upstream->name, launch.instance, launcher,
		&fd, &keeper, err);
	if (r < 0)
		return r;
	keeper->parent = upstream->instance;
	keeper->stream = stream;
	snprintf(keeper->label, sizeof(keeper->label), "%.*s", SPAN_ARG(session));
	r = link_send(launcher->link, MSG_LAUNCH, 0, &launch, SPAN_NONE, &fd);
	close(fd);
	if (r < 0) {
		child_failed(keeper);
		return err_set(err, (enum err_code) - r, "the launcher cannot be asked");
	}
	node_introduce(node, keeper);
	return 0;
}

static void spawn_server(struct node *node, const struct child *upstream, uint32_t stream,
	struct span session)
{
	struct msg_server_spawn_failed failed;
	struct err err = {0};

	if (ask_launcher(node, upstream, stream, session, &err) == 0)
		return;
	failed.reason = span_str(err_text(&err));
	link_post(upstream->link, MSG_SERVER_SPAWN_FAILED, stream, &failed);
}

/* A launcher that ended has a successor in a moment. */
static bool waits_for_launcher(struct node *node, const struct child *upstream, uint32_t stream,
	struct span session)
{
	struct node_spawn *wait = &node->spawns[node->n_spawns];

	if (children_find_named(&node->children, ROLE_LAUNCHER, "") || node->stopping ||
		node->n_spawns == NODE_SPAWNS_MAX)
		return false;
	*wait = (struct node_spawn){.upstream = upstream->instance, .stream = stream};
	snprintf(wait->session, sizeof(wait->session), "%.*s", SPAN_ARG(session));
	node->n_spawns++;
	return true;
}

void node_on_server_spawn(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_spawn *spawn = msg->fields;
	struct child *upstream = arg;
	struct node *node = child_node(upstream);

	(void)link;
	if (!waits_for_launcher(node, upstream, msg->stream, spawn->session))
		spawn_server(node, upstream, msg->stream, spawn->session);
}

void node_serve_spawns(struct node *node)
{
	unsigned n = node->n_spawns;

	node->n_spawns = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct node_spawn *wait = &node->spawns[i];
		const struct child *upstream = children_find(&node->children, wait->upstream);

		if (upstream && upstream->link)
			spawn_server(node, upstream, wait->stream, span_str(wait->session));
	}
}

void node_on_launched(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_launched *launched = msg->fields;
	struct node *node = child_node(arg);
	struct child *keeper = children_find(&node->children, launched->instance);
	struct child *upstream = keeper ? children_find(&node->children, keeper->parent) : NULL;
	const struct msg_server_spawned spawned = {.instance = launched->instance};
	struct err err = {0};
	int pidfd = msg->fds[0];

	(void)link;
	if (!keeper || keeper->state != CHILD_ASKED) {
		discard(pidfd);
		return;
	}
	msg->fds[0] = -1;
	if (child_made(keeper, (pid_t)launched->pid, pidfd, &err) < 0) {
		log_error("child.lost", err_text(&err), KV_STR("server", keeper->name));
		fail_asked(node, keeper, err_text(&err));
		return;
	}
	if (!keeper->link || !upstream || !upstream->link ||
		node_keep(node, keeper, msg->fds + 1) < 0 ||
		link_send(upstream->link, MSG_SERVER_SPAWNED, keeper->stream, &spawned, SPAN_NONE,
			keeper->kept->pipes) < 0)
		node_let_server_go(keeper);
	else if (keeper->said_ready)
		node_child_ready(keeper);
}

void node_on_server_stop(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_stop *stop = msg->fields;
	const struct child *upstream = arg;
	struct child *keeper = children_find(&child_node(upstream)->children, stop->instance);

	(void)link;
	if (!keeper || keeper->role != ROLE_KEEPER || keeper->parent != upstream->instance)
		return;
	keeper->state = keeper->state == CHILD_ASKED ? CHILD_ASKED : CHILD_STOPPING;
	/* or its input would not end */
	node_drop_pipes(keeper);
	if (!keeper->link || link_post(keeper->link, MSG_SERVER_STOP, 0, stop) < 0)
		child_let_go(keeper);
}

void node_on_server_pid(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_pid *pid = msg->fields;
	struct child *keeper = arg;

	(void)link;
	keeper->server_pid = (pid_t)pid->pid;
}

void node_on_server_exited(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_exited *exited = msg->fields;
	struct child *keeper = arg;
	char reason[ERR_DETAIL_MAX];

	(void)link;
	snprintf(reason, sizeof(reason), "%.*s", SPAN_ARG(exited->reason));
	config_hide_secrets(config_find_server(child_node(keeper)->config, keeper->name), reason);
	child_set_reason(keeper, span_str(reason));
}

/* --- what hangs on a child that is gone ----------------------------------------------------- */

static void tell_upstream(struct node *node, const struct child *keeper)
{
	const struct msg_server_exited exited = {
		.instance = keeper->instance,
		.reason = span_str(keeper->reason ? keeper->reason : "its keeper died"),
	};
	struct child *upstream = children_find(&node->children, keeper->parent);

	if (upstream && upstream->link)
		link_post(upstream->link, MSG_SERVER_EXITED, 0, &exited);
}

static void fail_all_asked(struct node *node, const struct child *maker)
{
	enum role made = maker->role == ROLE_ZYGOTE ? ROLE_WORKER : ROLE_KEEPER;
	struct child *child, *next;

	HASH_ITER (hh, node->children.by_instance, child, next)
		if (child->state == CHILD_ASKED && child->role == made)
			fail_asked(node, child, "the process that should make it died");
}

void node_release_dependants(struct node *node, struct child *gone)
{
	if (gone->role == ROLE_SESSIONS)
		node->n_early_wants = 0;
	if (gone->role == ROLE_KEEPER) {
		tell_upstream(node, gone);
		node_forget_kept(node, gone);
	} else if (gone->role == ROLE_UPSTREAM)
		node_leave_servers(node, gone);
	else if (gone->role == ROLE_ZYGOTE || gone->role == ROLE_LAUNCHER)
		fail_all_asked(node, gone);
	else
		return;
	/* what a killed keeper left behind comes to us as orphans, and so does a process that was
	 * made and not told */
	event_active(node->orphans, EV_TIMEOUT, 0);
}
