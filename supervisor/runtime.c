/* Carries out what the policy decides, and tells the policy what happened. */
#include "clock.h"
#include "log.h"
#include "memfile.h"
#include "node.h"
#include "process.h"
#include "upgrade.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define VIEW_MAX (16u * 1024 * 1024)
/* Processes given a new catalogue before the root does something else, and its pause. */
#define SPREAD_AT_ONCE 256u
#define SPREAD_PAUSE_US 10000

/* --- a child is born ------------------------------------------------------------------------ */

static int write_view(const struct node *node, enum config_view view, const char *server,
	int *ret_fd, struct err *err)
{
	struct buf json;
	int r;

	buf_init(&json, VIEW_MAX);
	r = config_write_json(node->config, view, server, &json);
	if (r == 0)
		r = memfile_new("gatehouse-config", buf_span(&json), ret_fd, err);
	else
		err_set(err, (enum err_code) - r, "cannot write the configuration");
	if (json.data)
		explicit_bzero(json.data, json.len);
	buf_free(&json);
	return r;
}

/* The view without secrets is the same for all: it is written once a generation. */
static int public_view(struct node *node, int *ret_fd, struct err *err)
{
	int r = 0;

	if (node->view_generation != node->generation) {
		if (node->view_generation)
			close(node->view);
		node->view_generation = 0;
		r = write_view(node, CONFIG_VIEW_PUBLIC, NULL, &node->view, err);
		if (r < 0)
			return r;
		node->view_generation = node->generation;
	}
	*ret_fd = fcntl(node->view, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? err_set_errno(err, "cannot hand out the configuration") : 0;
}

int node_config_view(struct node *node, const struct child *child, int *ret_fd, struct err *err)
{
	switch (child->role) {
	case ROLE_KEEPER:
		return memfile_new("gatehouse-config", SPAN_NONE, ret_fd, err);
	case ROLE_LAUNCHER:
		return write_view(node, CONFIG_VIEW_FULL, NULL, ret_fd, err);
	case ROLE_UPSTREAM:
		return write_view(node, CONFIG_VIEW_FULL, child->name, ret_fd, err);
	default:
		return public_view(node, ret_fd, err);
	}
}

static void give_catalogue(struct node *node, struct child *child)
{
	const struct msg_catalogue catalogue = {.generation = node->catalogue_generation};

	if (node->catalogue < 0 || child->catalogue == node->catalogues)
		return;
	if (link_send(child->link, MSG_CATALOGUE, 0, &catalogue, SPAN_NONE, &node->catalogue) == 0)
		child->catalogue = node->catalogues;
}

static bool reads_catalogue(const struct child *child)
{
	return child->role == ROLE_ZYGOTE || child->role == ROLE_WORKER ||
	       child->role == ROLE_GATEWAY || child->role == ROLE_ADMIN;
}

/*
 * A new catalogue wakes every worker of the node: they get it some hundred at a time, so that the
 * root stays quick. The walk goes on where it is when a newer one comes, so that none is forgotten.
 */
void node_spread_catalogue(struct node *node)
{
	static const struct timeval soon = {0, SPREAD_PAUSE_US};
	struct children *all = &node->children;
	unsigned given = 0;

	for (; node->spread_left > 0 && given < SPREAD_AT_ONCE; node->spread_left--) {
		struct child *child = all->cursor ? all->cursor : all->by_instance;

		if (!child)
			break;
		all->cursor = child->hh.next;
		if (!child->link || !reads_catalogue(child))
			continue;
		give_catalogue(node, child);
		/* its copy of the descriptor is closed as soon as it is sent */
		link_flush(child->link);
		given++;
	}
	if (node->spread_left > 0 && all->by_instance)
		event_add(node->spread, &soon);
}

void node_introduce(struct node *node, struct child *child)
{
	const struct msg_start start = {
		.instance = child->instance,
		.name = span_str(child->name),
		.state_dir = span_str(node->state_dir),
		.run_dir = span_str(node->run_dir),
		.log_level = (uint64_t)node_log_level(node, child->role, child->name) + 1,
		.log_format = (uint64_t)node->config->log_format + 1,
		.best_effort = node->config->sandbox == CONFIG_SANDBOX_BEST_EFFORT,
	};
	struct err err = {0};
	int fd, r;

	node_give_log(node, child);
	r = node_config_view(node, child, &fd, &err);
	if (r == 0) {
		r = link_send(child->link, MSG_START, 0, &start, SPAN_NONE, &fd);
		close(fd);
	}
	if (r < 0) {
		log_error("process.start_failed", err_text(&err),
			KV_STR("name", role_name(child->role)));
		child_kill(child);
		return;
	}
	if (child->role == ROLE_GATEWAY || child->role == ROLE_ADMIN)
		node_give_listeners(node, child);
	if (reads_catalogue(child))
		give_catalogue(node, child);
	if (child->role == ROLE_REGISTRY)
		node_tell_server_states(node, child);
}

static void start_process(struct node *node, const struct action *action)
{
	const struct program *program = action->start;
	struct child *child;
	struct err err = {0};

	/* its start may have waited while a reload took it away */
	if (program->role == ROLE_UPSTREAM && !node_wants_server(node, program->name)) {
		tree_child_ignored(node->tree, clock_ms(), action->instance);
		return;
	}

	if (program->role == ROLE_WORKER) {
		node_start_worker(node, action);
		return;
	}
	if (child_spawn(&node->children, program->role, program->name, action->instance,
		    &node->programs, &child, &err) < 0) {
		log_error("process.start_failed", err_text(&err),
			KV_STR("child_role", role_name(program->role)),
			KV_STR("name", program->name));
		tree_child_start_failed(node->tree, clock_ms(), action->instance, err_text(&err));
		return;
	}
	child->stop_ms = program->stop_ms;
	node_introduce(node, child);
}

/* --- actions -------------------------------------------------------------------------------- */

/* That a process started is news; that a group did, or one of the many workers, is not. */
static enum log_level report_level(const struct action *action)
{
	const struct program *program = action->start;

	if (action->context == REPORT_PROGRESS &&
		(!program || program->role == ROLE_ROOT || program->role == ROLE_WORKER))
		return LOG_DEBUG;
	return (enum log_level)report_context_level(action->context);
}

static void report(const struct action *action)
{
	if (action->context == REPORT_PROGRESS) {
		LOG_AT(report_level(action), "process.ready", "",
			KV_STR("supervisor", action->supervisor_id),
			KV_STR("child", action->child_id), KV_INT("instance", action->instance));
		return;
	}
	LOG_AT(report_level(action), "supervisor.report", report_context_name(action->context),
		KV_STR("supervisor", action->supervisor_id), KV_STR("child", action->child_id),
		KV_INT("instance", action->instance),
		KV_STR("class", exit_class_name(action->exit_class)),
		KV_STR("reason", action->reason));
}

static void on_report(struct node *node, const struct action *action)
{
	report(action);
	if (strcmp(action->supervisor_id, "upstreams") == 0 &&
		action->context == REPORT_CHILD_DROPPED)
		node_server_dropped(node, action->child_id);
	if (action->context == REPORT_GIVES_UP && upgrade_on_probation(node)) {
		char because[ERR_DETAIL_MAX];

		snprintf(because, sizeof(because), "%s keeps ending with the new programs: %s",
			action->child_id, action->reason);
		upgrade_return(node, because);
	}
}

static void signal_child(struct node *node, const struct action *action, bool kill)
{
	struct child *child = node_acting(node, action->instance);

	if (!child)
		return;
	if (kill && child->state == CHILD_ASKED) {
		/* it may yet be made: its link is closed then,
		 * and FORKED finds nobody and kills it */
		uint64_t instance = child->instance;

		child_failed(child);
		tree_child_start_failed(
			node->tree, clock_ms(), instance, "killed before it was made");
	} else if (kill) {
		child_kill(child);
	} else {
		child_stop(child, child->stop_ms);
	}
}

static void on_ready(struct node *node)
{
	node->ready = true;
	for (unsigned i = 0; i < node->n_listeners; i++)
		if (node->listeners[i].slot == 0)
			log_info("node.listening", node->listeners[i].url,
				KV_STR("kind", node->listeners[i].kind));
	log_info(
		"node.ready", "the node is ready", KV_INT("dur_ms", clock_ms() - node->started_ms));
}

static void finish(struct node *node, int status)
{
	if (node->exit_status == 0)
		node->exit_status = status;
	node->finished = true;
	event_base_loopbreak(node->base);
}

static void carry_out(struct node *node, const struct action *action)
{
	switch (action->kind) {
	case ACTION_START:
		start_process(node, action);
		break;
	case ACTION_SIGNAL:
		signal_child(node, action, false);
		break;
	case ACTION_KILL:
		signal_child(node, action, true);
		break;
	case ACTION_REPORT:
		on_report(node, action);
		break;
	case ACTION_REPLY:
		if (action->request >= REPLACE_REQUEST)
			replace_answered(node, action);
		else
			node_worker_answered(node, action);
		break;
	case ACTION_READY:
		on_ready(node);
		break;
	case ACTION_GAVE_UP:
		log_error("node.gave_up", action->reason);
		finish(node, EXIT_GAVE_UP);
		break;
	case ACTION_STOPPED:
		log_info("node.stopped", "all processes have ended");
		finish(node, 0);
		break;
	case ACTION_MAX:
		break;
	}
}

static void arm_timer(struct node *node)
{
	uint64_t deadline = tree_next_deadline(node->tree), now = clock_ms();
	uint64_t wait = deadline > now ? deadline - now : 0;
	const struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000)};

	if (deadline == TREE_NO_DEADLINE)
		event_del(node->timer);
	else
		event_add(node->timer, &tv);
}

/* The servers' supervisors are dynamic children:
 * they can be started as soon as their group stands. */
static void start_servers(struct node *node)
{
	struct err err = {0};

	if (node->servers_started || node->stopping ||
		!tree_find_supervisor(node->tree, "upstreams"))
		return;
	node->servers_started = true;
	for (size_t i = 0; i < node->config->server_count; i++)
		if (!node->config->servers[i].disabled &&
			node_server_add(node, node->config->servers[i].name, &err) < 0)
			log_error("server.start_failed", err_text(&err),
				KV_STR("server", node->config->servers[i].name));
}

void node_turn(struct node *node)
{
	struct action action;

	/* an action may post an event: the outer turn goes on with what follows from it */
	if (node->in_actions)
		return;
	node->in_actions = true;
	while (tree_next_action(node->tree, &action)) {
		carry_out(node, &action);
		start_servers(node);
		node_serve_early_wants(node);
	}
	node->in_actions = false;
	arm_timer(node);
}

/*
 * The policy stops one after the other. A gateway that does not know yet would go on to say that it
 * is ready, and to take what the others no longer do. And a connection that nobody will accept is
 * better refused than left to wait for the end.
 */
static void drain_gateways(struct node *node)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (child->role == ROLE_GATEWAY && child->state == CHILD_RUNNING)
			child_stop(child, child->stop_ms);
	node_swaps_abandon(node);
	node_close_listeners(node);
}

void node_stop(struct node *node, int exit_status)
{
	if (node->stopping)
		return;
	node->stopping = true;
	node->exit_status = exit_status;
	log_info("node.stopping", "the node stops");
	drain_gateways(node);
	node_tell_server_states(
		node, children_find_named(&node->children, ROLE_REGISTRY, ""));
	node_end_waiting(node, NULL);
	tree_stop(node->tree, clock_ms());
	node_turn(node);
}

/* --- what children say ---------------------------------------------------------------------- */

void node_child_ready(struct child *child)
{
	struct node *node = child_node(child);

	child->said_ready = true;
	/* a forked child may speak before its maker does: then child_made is awaited */
	if (child->state != CHILD_STARTING)
		return;
	child->state = CHILD_RUNNING;
	if (child->role == ROLE_UPSTREAM)
		node_server_ready(node, child->name);
	if (child->role == ROLE_GATEWAY)
		node_check_loans(node);
	if (node_swap_ready(child))
		return;
	tree_child_ready(node->tree, clock_ms(), child->instance, 0);
	node_turn(node);
}

static void on_child_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	node_child_ready(arg);
}

static void on_exit_reason(struct link *link, const struct message *msg, void *arg)
{
	struct child *child = arg;
	const struct msg_exit_reason *why = msg->fields;

	(void)link;
	child_set_reason(child, why->reason);
}

static void on_catalogue(struct link *link, const struct message *msg, void *arg)
{
	struct node *node = child_node(arg);
	const struct msg_catalogue *catalogue = msg->fields;

	(void)link;
	if (node->catalogue >= 0)
		close(node->catalogue);
	node->catalogue = msg->fds[0];
	msg->fds[0] = -1;
	node->catalogue_generation = catalogue->generation;
	node->catalogues++;
	node->spread_left = node->children.total;
	if (!evtimer_pending(node->spread, NULL))
		node_spread_catalogue(node);
}

static void on_pong(struct link *link, const struct message *msg, void *arg)
{
	struct child *child = arg;

	(void)link;
	(void)msg;
	if (child->unanswered)
		child->lag_us = clock_us() - child->pinged_us;
	child->unanswered = 0;
}

static void on_child_link_closed(struct link *link, int code, const char *why, void *arg)
{
	struct child *child = arg;

	(void)link;
	if (code != -ERR_CLOSED)
		log_error("child.bad_message", why, KV_STR("role", role_name(child->role)),
			KV_STR("name", child->name));
	/* who no longer listens to the root cannot be led: if it is not ending already,
	 * it is ended */
	child_let_go(child);
}

const struct link_handlers node_child_handlers = {
	.on =
		{
			[MSG_READY] = on_child_ready,
			[MSG_EXIT_REASON] = on_exit_reason,
			[MSG_PONG] = on_pong,
			[MSG_LINK_OPEN] = node_on_link_open,
			[MSG_CATALOGUE] = on_catalogue,
			[MSG_WORKER_WANT] = node_on_worker_want,
			[MSG_WORKER_KILL] = node_on_worker_kill,
			[MSG_SERVING] = node_on_serving,
			[MSG_CONNECTION] = node_on_connection,
			[MSG_FORKED] = node_on_forked,
			[MSG_FORK_FAILED] = node_on_fork_failed,
			[MSG_SERVER_SPAWN] = node_on_server_spawn,
			[MSG_LAUNCHED] = node_on_launched,
			[MSG_SERVER_STOP] = node_on_server_stop,
			[MSG_SERVER_KEEP] = node_on_server_keep,
			[MSG_SERVER_AMID] = node_on_server_amid,
			[MSG_SERVER_TAKE] = node_on_server_take,
			[MSG_SERVER_PID] = node_on_server_pid,
			[MSG_SERVER_EXITED] = node_on_server_exited,
			[MSG_QUERY] = node_on_query,
			[MSG_COMMAND] = node_on_command,
		},
	.closed = on_child_link_closed,
};

/* --- a child is gone ------------------------------------------------------------------------ */

void node_child_stuck(struct child *child, const char *why)
{
	log_error("child.stuck", why, KV_STR("child_role", role_name(child->role)),
		KV_STR("name", child->name), KV_INT("child_pid", child->pid));
	child_kill(child);
}

static void tell_exit(struct node *node, const struct child *gone, const char *reason)
{
	const struct msg_exited exited = {
		.role = gone->role,
		.instance = gone->instance,
		.name = span_str(gone->name),
		.reason = span_str(reason),
	};
	static const enum role listeners[] = {ROLE_SESSIONS, ROLE_REGISTRY, ROLE_ADMIN};

	for (size_t i = 0; i < sizeof(listeners) / sizeof(*listeners); i++) {
		struct child *child = children_find_named(&node->children, listeners[i], "");

		if (child && child != gone && child->link &&
			link_post(child->link, MSG_EXITED, 0, &exited) < 0)
			node_child_stuck(child, "it does not read what it is told");
	}
}

/* Whoever was told to stop, or has done its work, is no loss. */
static void count_exit(struct node *node, const struct child *gone, int code, int status)
{
	struct node_tally *tally = &node->tally[gone->role];

	tally->cpu_ticks += gone->cpu_ticks;
	if (gone->state == CHILD_STOPPING || node->stopping)
		return;
	if (code != CLD_EXITED)
		tally->killed++;
	else if (status != 0)
		tally->failed++;
}

static void on_child_exited(struct child *child, int code, int status, void *arg)
{
	struct node *node = arg;
	/* a gateway that was told to drain before its turn came, and did */
	bool drained = node->stopping && child->role == ROLE_GATEWAY && code == CLD_EXITED &&
		       status == EXIT_SUCCESS;
	struct exit_status exit_status = exit_status_from_wait(
		code, drained ? EXIT_STATUS_SHUTDOWN : status, child->reason);
	char reason[160];

	child_describe_exit(code, status, reason, sizeof(reason));
	log_debug("child.exited", reason, KV_STR("child_role", role_name(child->role)),
		KV_STR("name", child->name), KV_INT("instance", child->instance),
		KV_INT("child_pid", child->pid));
	child_note_violation(child, code, status);
	if (child->role == ROLE_GATEWAY)
		node_check_loans(node);
	count_exit(node, child, code, status);
	tell_exit(node, child, reason);
	node_release_dependants(node, child);
	if (node_swap_exited(child, reason))
		return;
	tree_child_exited(node->tree, clock_ms(), node_policy_number(child), &exit_status);
	node_turn(node);
}

const struct child_ops node_child_ops = {
	.exited = on_child_exited, .handlers = &node_child_handlers};
