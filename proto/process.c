#include "process.h"
#include "log.h"
#include "memfile.h"
#include "memory.h"
#include "points.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>

/* Links asked for and not yet answered. */
#define PROCESS_PENDING_MAX 4096

struct pending_link {
	uint32_t stream;
	process_link_fn *fn;
	void *arg;
	UT_hash_handle hh;
};

struct process {
	const struct process_role *role;
	struct event_base *base;
	struct link *root;
	struct link_handlers root_handlers;
	struct pending_link *pending;
	uint64_t instance;
	char name[LIMIT_SERVER_NAME + 1];
	char *state_dir;
	char *run_dir;
	void *user;
	enum sandbox sandbox;
	struct syscall_filter *filter; /* the parent's; NULL: none */
	bool stopping;
	bool has_successor;
	int status;
};

/* --- links ---------------------------------------------------------------------------------- */

static const struct process_peer *find_peer(const struct process *process, uint64_t role)
{
	const struct process_peer *peer = process->role->peers;

	for (; peer && peer->handlers; peer++)
		if (peer->role == role)
			return peer;
	return NULL;
}

static int make_link(struct process *process, int *fd, const struct link_config *config,
	struct link **ret, struct err *err)
{
	const struct process_peer *peer = find_peer(process, config->peer.role);
	int taken = *fd;

	if (!peer)
		return err_set(err, ERR_FORBIDDEN, "%s has no business with %s",
			role_name(process->role->role), role_name(config->peer.role));
	*fd = -1;
	return link_new(process->base, taken, config, peer->handlers, process, ret, err);
}

static struct link_config link_config_of(const struct process *process, uint64_t role,
	uint64_t instance, struct span name, bool opener)
{
	struct link_config config = {
		.self = process->role->role,
		.self_instance = process->instance,
		.peer = {.role = (enum role)role, .instance = instance},
		.opener = opener,
	};

	snprintf(config.peer.name, sizeof(config.peer.name), "%.*s", SPAN_ARG(name));
	return config;
}

static void on_link_grant(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_link_grant *grant = msg->fields;
	struct link_config config =
		link_config_of(process, grant->role, grant->instance, grant->name, true);
	struct pending_link *pending;
	struct link *link = NULL;
	struct err err = {0};

	(void)root;
	HASH_FIND(hh, process->pending, &msg->stream, sizeof(msg->stream), pending);
	if (!pending)
		return;
	HASH_DEL(process->pending, pending);
	make_link(process, &msg->fds[0], &config, &link, &err);
	pending->fn(process, link, link ? NULL : &err, pending->arg);
	free(pending);
}

static void on_link_deny(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_link_deny *deny = msg->fields;
	struct pending_link *pending;
	struct err err = {0};

	(void)root;
	HASH_FIND(hh, process->pending, &msg->stream, sizeof(msg->stream), pending);
	if (!pending)
		return;
	HASH_DEL(process->pending, pending);
	err_set(&err, (enum err_code)deny->code, "%.*s", SPAN_ARG(deny->detail));
	pending->fn(process, NULL, &err, pending->arg);
	free(pending);
}

static void on_link_offer(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_link_offer *offer = msg->fields;
	struct link_config config =
		link_config_of(process, offer->role, offer->instance, offer->name, false);
	const struct process_peer *peer = find_peer(process, offer->role);
	struct link *link;
	struct err err = {0};

	(void)root;
	if (make_link(process, &msg->fds[0], &config, &link, &err) < 0) {
		log_warn("link.refused", err_text(&err),
			KV_STR("peer", role_name(config.peer.role)));
		return;
	}
	if (peer->accepted)
		peer->accepted(process, link);
}

int process_open_link(struct process *process, enum role role, const char *name, uint64_t instance,
	process_link_fn *fn, void *arg)
{
	const struct msg_link_open open = {
		.role = role, .name = span_str(name), .instance = instance};
	struct pending_link *pending;
	int r;

	if (HASH_COUNT(process->pending) >= PROCESS_PENDING_MAX)
		return -ERR_AGAIN;
	pending = calloc(1, sizeof(*pending));
	if (!pending)
		return -ERR_NO_MEMORY;
	pending->stream = link_stream(process->root);
	pending->fn = fn;
	pending->arg = arg;
	r = link_post(process->root, MSG_LINK_OPEN, pending->stream, &open);
	if (r < 0) {
		free(pending);
		return r;
	}
	HASH_ADD(hh, process->pending, stream, sizeof(pending->stream), pending);
	return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

/* Without the filter only where that is allowed: then it is said, and the process goes on. */
static int enter_sandbox(struct process *process, bool best_effort, struct err *err)
{
	struct err why = {0};
	int r = sandbox_enter(process->sandbox, process->filter, &why);

	if (r < 0 && best_effort) {
		log_warn("sandbox.missing", err_text(&why), KV_STR("name", process->name));
		return 0;
	}
	return r < 0 ? err_set(err, ERR_SYSTEM,
			       "%s: `sandbox: best-effort` in the configuration lets the node run "
			       "without",
			       err_text(&why))
		     : 0;
}

static int run_hooks(
	struct process *process, struct span config, bool best_effort, struct err *err)
{
	const struct process_role *role = process->role;
	int r = 0;

	if (role->before_jail)
		r = role->before_jail(process, config, err);
	if (r == 0)
		r = enter_sandbox(process, best_effort, err);
	if (r == 0 && role->after_jail)
		r = role->after_jail(process, err);
	return r;
}

static void on_start(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_start *start = msg->fields;
	struct memfile config = MEMFILE_NONE;
	struct err err = {0};
	int r;

	(void)root;
	if (start->log_level)
		log_set_level((enum log_level)(start->log_level - 1));
	if (start->log_format)
		log_set_format((enum log_format)(start->log_format - 1));
	process->instance = start->instance;
	snprintf(process->name, sizeof(process->name), "%.*s", SPAN_ARG(start->name));
	process->state_dir =
		strndup(start->state_dir.p ? start->state_dir.p : "", start->state_dir.len);
	process->run_dir = strndup(start->run_dir.p ? start->run_dir.p : "", start->run_dir.len);
	r = process->state_dir && process->run_dir ? memfile_map(&config, msg->fds[0], &err)
						   : -ERR_NO_MEMORY;
	if (r == 0)
		r = run_hooks(process, memfile_span(&config), start->best_effort, &err);
	memfile_unmap(&config);
	if (r < 0) {
		log_error("process.start_failed", err_text(&err), KV_STR("name", process->name));
		process_exit(process, EXIT_FAILURE, NULL);
	} else if (r == 0) {
		process_ready(process);
	}
}

static void on_config(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_config *config = msg->fields;
	struct memfile file = MEMFILE_NONE;
	struct err err = {0};

	(void)root;
	if (!process->role->configured)
		return;
	if (memfile_map(&file, msg->fds[0], &err) < 0) {
		log_error("config.unreadable", err_text(&err));
		return;
	}
	process->role->configured(process, memfile_span(&file), config->generation);
	memfile_unmap(&file);
}

static void on_stop(struct link *root, const struct message *msg, void *arg)
{
	struct process *process = arg;
	const struct msg_stop *stop = msg->fields;

	(void)root;
	if (process->stopping)
		return;
	process->stopping = true;
	process->has_successor = stop->successor != 0;
	if (process->role->stop)
		process->role->stop(process, (uint32_t)stop->deadline_ms);
	else
		process_exit(process, EXIT_SUCCESS, NULL);
}

static void on_log_level(struct link *root, const struct message *msg, void *arg)
{
	const struct msg_log_level *level = msg->fields;

	(void)root;
	(void)arg;
	log_set_level((enum log_level)level->level);
}

static void on_log_file(struct link *root, const struct message *msg, void *arg)
{
	(void)root;
	(void)arg;
	log_set_file(msg->fds[0]);
	msg->fds[0] = -1;
}

/* The root is gone, or does not speak as it should: nobody is left to serve. */
static void on_root_closed(struct link *root, int code, const char *why, void *arg)
{
	struct process *process = arg;

	(void)root;
	if (code != -ERR_CLOSED)
		log_error("process.root_lost", why);
	process_exit(process, EXIT_FAILURE, NULL);
}

static void inherit_handlers(struct process *process)
{
	struct link_handlers *handlers = &process->root_handlers;

	if (process->role->root)
		*handlers = *process->role->root;
	handlers->on[MSG_START] = on_start;
	handlers->on[MSG_CONFIG] = on_config;
	handlers->on[MSG_STOP] = on_stop;
	handlers->on[MSG_LOG_LEVEL] = on_log_level;
	handlers->on[MSG_LOG_FILE] = on_log_file;
	handlers->on[MSG_LINK_GRANT] = on_link_grant;
	handlers->on[MSG_LINK_DENY] = on_link_deny;
	handlers->on[MSG_LINK_OFFER] = on_link_offer;
	handlers->closed = on_root_closed;
}

/* A process does not outlive the root: its link closes, and where that goes unnoticed the kernel
 * kills. */
static void tie_to_root(pid_t root)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != root)
		_exit(EXIT_FAILURE);
}

static void process_cleanup(struct process *process)
{
	struct pending_link *pending, *next;

	if (process->role->cleanup)
		process->role->cleanup(process);
	HASH_ITER (hh, process->pending, pending, next) {
		HASH_DEL(process->pending, pending);
		free(pending);
	}
	link_free(process->root);
	event_base_free(process->base);
	free(process->state_dir);
	free(process->run_dir);
}

int process_run(const struct process_role *role, int root_fd, struct syscall_filter *filter)
{
	const struct link_config config = {
		.self = role->role, .peer = {.role = ROLE_ROOT, .instance = 0}};
	struct process process = {
		.role = role, .sandbox = sandbox_of_role(role->role), .filter = filter};
	struct err err = {0};

	signal(SIGPIPE, SIG_IGN);
	log_reset_process(role_name(role->role));
	process.base = event_base_new();
	if (!process.base) {
		log_error("process.start_failed", "no event loop");
		return EXIT_FAILURE;
	}
	inherit_handlers(&process);
	if (link_new(process.base, root_fd, &config, &process.root_handlers, &process,
		    &process.root, &err) < 0) {
		log_error("process.start_failed", err_text(&err));
		event_base_free(process.base);
		return EXIT_FAILURE;
	}
	event_base_dispatch(process.base);
	process_cleanup(&process);
	return process.status;
}

bool process_version(enum role role, int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "--version") != 0)
		return false;
	printf("%s " PROCESS_VERSION "\n", role_program(role));
	return true;
}

int process_main(const struct process_role *role, int argc, char **argv)
{
	pid_t root = getppid();

	if (process_version(role->role, argc, argv))
		return EXIT_SUCCESS;
	/* executed by descriptor, it would go by the number of that */
	prctl(PR_SET_NAME, role_program(role->role));
	points_open();
	memory_tune();
	log_init(role_name(role->role));
	if (fcntl(PROCESS_ROOT_FD, F_SETFD, FD_CLOEXEC) < 0) {
		fprintf(stderr,
			"%s is started by gatehouse-supervisor, not by hand. Try: gatehouse serve "
			"-c FILE\n",
			role_program(role->role));
		return EXIT_FAILURE;
	}
	/* from a terminal it goes to the whole group: the root ends the others in order */
	signal(SIGINT, SIG_IGN);
	tie_to_root(root);
	return process_run(role, PROCESS_ROOT_FD, NULL);
}

void process_set_sandbox(struct process *process, enum sandbox sandbox)
{
	process->sandbox = sandbox;
}

void process_ready(struct process *process)
{
	link_post(process->root, MSG_READY, 0, NULL);
}

void process_exit(struct process *process, int status, const char *reason)
{
	const struct msg_exit_reason why = {.reason = span_str(reason)};

	if (status == EXIT_STATUS_SHUTDOWN && reason)
		link_post(process->root, MSG_EXIT_REASON, 0, &why);
	if (process->root)
		link_flush(process->root);
	process->status = status;
	event_base_loopbreak(process->base);
}

void process_abandon(struct process *process)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* a copy of the parent's epoll descriptor would watch the parent's sockets */
	event_reinit(process->base);
	/* neither what the parent had yet to say nor what it had yet to hear is for the child */
	link_free(process->root);
	process->root = NULL;
	event_base_loopbreak(process->base);
}

bool process_stopping(const struct process *process)
{
	return process->stopping;
}

bool process_has_successor(const struct process *process)
{
	return process->has_successor;
}

struct event_base *process_base(const struct process *process)
{
	return process->base;
}

struct link *process_root(const struct process *process)
{
	return process->root;
}

uint64_t process_instance(const struct process *process)
{
	return process->instance;
}

const char *process_name(const struct process *process)
{
	return process->name;
}

const char *process_state_dir(const struct process *process)
{
	return process->state_dir;
}

const char *process_run_dir(const struct process *process)
{
	return process->run_dir;
}

void *process_user(const struct process *process)
{
	return process->user;
}

void process_set_user(struct process *process, void *user)
{
	process->user = user;
}
