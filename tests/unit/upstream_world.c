#include "upstream_world.h"
#include "clock.h"
#include "config.h"
#include "json.h"
#include "memfile.h"
#include "process.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char *copy_of(struct span bytes)
{
	char *copy = malloc(bytes.len + 1);

	if (bytes.len)
		memcpy(copy, bytes.p, bytes.len);
	copy[bytes.len] = '\0';
	return copy;
}

/* --- the server's processes ------------------------------------------------------------------ */

static void run_server(const char *command, int in, int out, int err)
{
	char line[1024], *argv[16];
	int n = 0;

	snprintf(line, sizeof(line), "%s", command);
	for (char *word = strtok(line, " "); word && n < 15; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n] = NULL;
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	execv(argv[0], argv);
	_exit(127);
}

static void on_spawn(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_spawn *spawn = msg->fields;
	const struct msg_server_spawn_failed failed = {.reason = SPAN_LIT("no such program")};
	struct world *world = arg;
	struct world_child *child = &world->children[world->n_children];
	struct msg_server_spawned spawned;
	int in[2], out[2], err[2];

	if (world->refuse_spawn) {
		link_post(link, MSG_SERVER_SPAWN_FAILED, msg->stream, &failed);
		return;
	}
	ck_assert_uint_lt(world->n_children, WORLD_CHILDREN_MAX);
	ck_assert_int_eq(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	*child = (struct world_child){.instance = 1000 + world->n_children++};
	snprintf(child->session, sizeof(child->session), "%.*s", SPAN_ARG(spawn->session));
	child->pid = fork();
	if (child->pid == 0)
		run_server(world->command, in[0], out[1], err[1]);
	spawned = (struct msg_server_spawned){.instance = child->instance};
	ck_assert_int_eq(link_send(link, MSG_SERVER_SPAWNED, msg->stream, &spawned, SPAN_NONE,
				 (int[]){in[1], out[0], err[0]}),
		0);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	child->pipes[0] = in[1];
	child->pipes[1] = out[0];
	child->pipes[2] = err[0];
}

static struct world_child *find_child(struct world *world, uint64_t instance)
{
	for (unsigned i = 0; i < world->n_children; i++)
		if (world->children[i].instance == instance)
			return &world->children[i];
	ck_abort_msg("a word about a process that is not there");
}

static void drop_pipes(struct world_child *child)
{
	for (int i = 0; i < 3; i++) {
		if (child->pipes[i] > 0)
			close(child->pipes[i]);
		child->pipes[i] = 0;
	}
}

static void on_keep(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_keep *keep = msg->fields;
	struct world_child *child = find_child(arg, keep->instance);

	(void)link;
	child->busy = keep->busy;
	child->n_kept++;
	if (!msg->payload.len)
		return;
	ck_assert_int_eq(json_check(msg->payload, 64, NULL), 0);
	free(child->state);
	child->state = copy_of(msg->payload);
}

static void on_amid(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_amid *amid = msg->fields;
	struct world_child *child = find_child(arg, amid->instance);

	(void)link;
	child->amid = amid->amid;
	child->n_amid++;
}

static void on_take(struct link *link, const struct message *msg, void *arg)
{
	struct world *world = arg;

	for (unsigned i = 0; i < world->n_children; i++) {
		struct world_child *child = &world->children[i];
		struct msg_server_kept kept = {
			.instance = child->instance,
			.session = span_str(child->session),
			.amid = child->amid};

		if (!child->left || !child->pid)
			continue;
		child->left = false;
		ck_assert_int_eq(link_send(link, MSG_SERVER_KEPT, msg->stream, &kept,
					 span_str(child->state), child->pipes),
			0);
		return;
	}
	link_post(link, MSG_SERVER_NONE, msg->stream, NULL);
}

static void on_stop(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_stop *stop = msg->fields;
	struct world *world = arg;

	(void)link;
	for (unsigned i = 0; i < world->n_children; i++) {
		struct world_child *child = &world->children[i];

		if (child->instance != stop->instance || child->stopped)
			continue;
		child->stopped = true;
		drop_pipes(child);
		child->term_ms = clock_ms() + stop->grace_ms;
		child->kill_ms = child->term_ms + stop->grace_ms;
	}
}

static void tell_exit(struct world *world, const struct world_child *child, int status)
{
	char reason[64];
	struct msg_server_exited exited = {.instance = child->instance};

	if (WIFEXITED(status))
		snprintf(reason, sizeof(reason), "exit %d", WEXITSTATUS(status));
	else
		snprintf(reason, sizeof(reason), "signal %d", WTERMSIG(status));
	exited.reason = span_str(reason);
	if (world->root)
		link_post(world->root, MSG_SERVER_EXITED, 0, &exited);
}

static void tend_children(struct world *world)
{
	uint64_t now = clock_ms();
	int status;

	for (unsigned i = 0; i < world->n_children; i++) {
		struct world_child *child = &world->children[i];

		if (child->pid && waitpid(child->pid, &status, WNOHANG) == child->pid) {
			child->pid = 0;
			drop_pipes(child);
			tell_exit(world, child, status);
		}
		if (child->pid && child->stopped && now >= child->kill_ms)
			kill(child->pid, SIGKILL);
		else if (child->pid && child->stopped && now >= child->term_ms)
			kill(child->pid, SIGTERM);
	}
}

unsigned world_alive(struct world *world)
{
	unsigned n = 0;

	tend_children(world);
	for (unsigned i = 0; i < world->n_children; i++)
		n += world->children[i].pid != 0;
	return n;
}

/* --- the registry ---------------------------------------------------------------------------- */

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_state *state = msg->fields;
	struct world *world = arg;

	(void)link;
	world->n_states++;
	world->state = (enum server_state)state->state;
	snprintf(world->detail, sizeof(world->detail), "%.*s", SPAN_ARG(state->detail));
	snprintf(world->version, sizeof(world->version), "%.*s", SPAN_ARG(state->version));
	free(world->facts);
	world->facts = copy_of(msg->payload);
}

static void on_alike(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_alike *fields = msg->fields;
	struct world *world = arg;

	(void)link;
	world->n_alike++;
	world->alike_client = fields->client;
	world->alike_kinds = (unsigned)fields->kinds;
}

static void on_list(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_list *list = msg->fields;
	struct world *world = arg;

	(void)link;
	ck_assert_int_eq(json_check(msg->payload, 64, NULL), 0);
	world->n_lists[list->kind]++;
	world->ttl_ms[list->kind] = (unsigned)list->ttl_ms;
	world->cache_public[list->kind] = list->cache_public;
	free(world->lists[list->kind]);
	world->lists[list->kind] = copy_of(msg->payload);
}

static void on_registry_closed(struct link *link, int code, const char *why, void *arg)
{
	struct world *world = arg;

	(void)code;
	(void)why;
	world->registry = NULL;
	link_free(link);
}

static const struct link_handlers registry_handlers = {
	.on = {[MSG_SERVER_STATE] = on_state, [MSG_SERVER_LIST] = on_list,
		[MSG_SERVER_ALIKE] = on_alike},
	.closed = on_registry_closed};

/* --- the root -------------------------------------------------------------------------------- */

static struct link *make_link(struct world *world, enum role self, bool opener,
	const struct link_handlers *handlers, void *arg, int *ret_fd)
{
	const struct link_config config = {
		.self = self, .peer = {.role = ROLE_UPSTREAM}, .opener = opener};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(world->base, pair[0], &config, handlers, arg, &link, &err), 0);
	*ret_fd = pair[1];
	return link;
}

static void on_link_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_link_open *open = msg->fields;
	const struct msg_link_grant grant = {.role = open->role};
	struct world *world = arg;
	int fd;

	ck_assert_uint_eq(open->role, ROLE_REGISTRY);
	world->registry = make_link(world, ROLE_REGISTRY, false, &registry_handlers, world, &fd);
	ck_assert_int_eq(link_send(link, MSG_LINK_GRANT, msg->stream, &grant, SPAN_NONE, &fd), 0);
	close(fd);
}

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct world *)arg)->ready = true;
}

static void on_root_closed(struct link *link, int code, const char *why, void *arg)
{
	struct world *world = arg;

	(void)code;
	(void)why;
	world->root = NULL;
	link_free(link);
}

static const struct link_handlers root_handlers = {
	.on =
		{
			[MSG_READY] = on_ready,
			[MSG_LINK_OPEN] = on_link_open,
			[MSG_SERVER_SPAWN] = on_spawn,
			[MSG_SERVER_STOP] = on_stop,
			[MSG_SERVER_KEEP] = on_keep,
			[MSG_SERVER_AMID] = on_amid,
			[MSG_SERVER_TAKE] = on_take,
		},
	.closed = on_root_closed,
};

static int config_file(const char *server)
{
	struct config_report report;
	struct config *config;
	struct err err = {0};
	struct buf yaml, json;
	int fd;

	config_report_init(&report);
	buf_init(&yaml, 65536);
	buf_init(&json, 8u << 20);
	buf_printf(&yaml,
		"listen: [\"http://127.0.0.1:0\"]\nlog: { format: text, level: error "
		"}\nmcpServers:\n  s:\n%s",
		server);
	if (config_load_text(
		    buf_span(&yaml), CONFIG_SYNTAX_YAML, "test.yaml", "/", &config, &report) < 0) {
		config_report_write(&report, &json);
		ck_abort_msg("%.*s", SPAN_ARG(buf_span(&json)));
	}
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_FULL, "s", &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&yaml);
	buf_free(&json);
	config_free(config);
	config_report_free(&report);
	return fd;
}

void world_turn(struct world *world)
{
	const struct timeval turn = {.tv_usec = 1000};

	event_base_loopexit(world->base, &turn);
	event_base_loop(world->base, EVLOOP_ONCE);
	tend_children(world);
}

void world_pass(struct world *world, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end)
		world_turn(world);
}

static void start_program(struct world *world)
{
	char *argv[] = {(char *)(uintptr_t)UPSTREAM_PROGRAM, NULL};
	const struct msg_start start = {.instance = 7 + world->n_started++,
		.name = SPAN_LIT("s"),
		.state_dir = span_str(world->state_dir),
		.run_dir = SPAN_LIT("/")};
	int fd;

	world->root = make_link(world, ROLE_ROOT, true, &root_handlers, world, &fd);
	world->pid = fork();
	if (world->pid == 0) {
		if (fd == PROCESS_ROOT_FD)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, PROCESS_ROOT_FD);
		execv(UPSTREAM_PROGRAM, argv);
		_exit(127);
	}
	close(fd);
	fd = config_file(world->server);
	ck_assert_int_eq(link_send(world->root, MSG_START, 0, &start, SPAN_NONE, &fd), 0);
	close(fd);
	world_until(world, world->ready);
}

void world_start(struct world *world, const char *server, const char *command)
{
	signal(SIGPIPE, SIG_IGN);
	memset(world, 0, sizeof(*world));
	snprintf(world->state_dir, sizeof(world->state_dir), "/tmp/gatehouse-world-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world->state_dir));
	world->base = event_base_new();
	world->server = server;
	world->command = command;
	start_program(world);
}

/* As the root would: what has no state, or is busy, ends at once. */
static void leave_children(struct world *world)
{
	for (unsigned i = 0; i < world->n_children; i++) {
		struct world_child *child = &world->children[i];

		child->left = child->pid && child->state && !child->busy && !child->stopped;
		if (!child->pid || child->left)
			continue;
		drop_pipes(child);
		kill(child->pid, SIGKILL);
	}
}

void world_kill(struct world *world)
{
	int status;

	ck_assert_int_eq(kill(world->pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(world->pid, &status, 0), world->pid);
	/* what it had said is heard */
	world_until(world, !world->root);
	leave_children(world);
	for (unsigned i = 0; i < world->n_sessions; i++)
		world_until(world, !world->sessions[i].link);
}

void world_start_again(struct world *world)
{
	world->ready = false;
	link_free(world->registry);
	link_free(world->admin);
	world->registry = world->admin = NULL;
	start_program(world);
}

void world_end(struct world *world)
{
	const struct msg_stop stop = {.deadline_ms = 5000};
	char path[128];
	int status = -1;

	if (world->root)
		link_post(world->root, MSG_STOP, 0, &stop);
	world_until(world, waitpid(world->pid, &status, WNOHANG) == world->pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
	world_until(world, !world_alive(world));
	for (unsigned i = 0; i < world->n_sessions; i++) {
		struct world_session *session = &world->sessions[i];

		link_free(session->link);
		for (unsigned c = 0; c < session->n_calls; c++)
			free(session->calls[c].payload);
	}
	link_free(world->registry);
	link_free(world->admin);
	link_free(world->root);
	event_base_free(world->base);
	free(world->facts);
	free(world->reply);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		free(world->lists[kind]);
	for (unsigned i = 0; i < world->n_children; i++)
		free(world->children[i].state);
	snprintf(path, sizeof(path), "%s/request-state.key", world->state_dir);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(world->state_dir), 0);
}

/* --- session workers ------------------------------------------------------------------------- */

static struct world_call *find_call(struct world_session *session, uint32_t stream)
{
	for (unsigned i = 0; i < session->n_calls; i++)
		if (session->calls[i].stream == stream)
			return &session->calls[i];
	ck_abort_msg("a word about stream %u, where no call is", stream);
}

static void on_forwarded(struct link *link, const struct message *msg, void *arg)
{
	(void)arg;
	find_call(link_user(link), msg->stream)->forwarded = true;
}

static void on_parked(struct link *link, const struct message *msg, void *arg)
{
	(void)arg;
	find_call(link_user(link), msg->stream)->n_parked++;
}

static void on_done(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_call_done *done = msg->fields;
	struct world_call *call = find_call(link_user(link), msg->stream);

	(void)arg;
	ck_assert_msg(!call->done, "answered twice");
	call->done = true;
	call->kind = (unsigned)done->kind;
	call->code = (unsigned)done->code;
	call->executed = (unsigned)done->executed;
	snprintf(call->detail, sizeof(call->detail), "%.*s", SPAN_ARG(done->detail));
	call->payload = copy_of(msg->payload);
	call->payload_len = msg->payload.len;
}

static void on_call_note(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_call_note *note = msg->fields;
	struct world_call *call = find_call(link_user(link), msg->stream);

	(void)arg;
	ck_assert_msg(!call->done, "a note after the answer");
	call->n_notes++;
	snprintf(call->last_note, sizeof(call->last_note), "%.*s %.*s", SPAN_ARG(note->method),
		SPAN_ARG(msg->payload));
}

static void on_server_note(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_note *note = msg->fields;
	struct world_session *session = link_user(link);

	(void)arg;
	session->n_notes++;
	snprintf(session->last_note, sizeof(session->last_note), "%.*s %.*s",
		SPAN_ARG(note->method), SPAN_ARG(msg->payload));
}

static void on_ask(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_ask *ask = msg->fields;
	struct world_session *session = link_user(link);

	(void)arg;
	session->n_asks++;
	session->ask_stream = msg->stream;
	session->ask_call = (uint32_t)ask->call;
	snprintf(session->ask_method, sizeof(session->ask_method), "%.*s", SPAN_ARG(ask->method));
	snprintf(session->ask_params, sizeof(session->ask_params), "%.*s", SPAN_ARG(msg->payload));
}

static void on_ask_cancel(struct link *link, const struct message *msg, void *arg)
{
	struct world_session *session = link_user(link);

	(void)arg;
	session->ask_cancelled = session->ask_stream == msg->stream;
}

static void on_session_closed(struct link *link, int code, const char *why, void *arg)
{
	struct world_session *session = link_user(link);

	(void)arg;
	ck_assert_msg(code == -ERR_CLOSED, "%s", why);
	session->closed = true;
	session->link = NULL;
	link_free(link);
}

static const struct link_handlers session_handlers = {
	.on =
		{
			[MSG_CALL_FORWARDED] = on_forwarded,
			[MSG_CALL_PARKED] = on_parked,
			[MSG_CALL_DONE] = on_done,
			[MSG_CALL_NOTE] = on_call_note,
			[MSG_SERVER_NOTE] = on_server_note,
			[MSG_ASK] = on_ask,
			[MSG_ASK_CANCEL] = on_ask_cancel,
		},
	.closed = on_session_closed,
};

static struct world_session *attach_as(struct world *world, const char *id, const char *version,
	const char *principal, const char *who)
{
	struct world_session *session = &world->sessions[world->n_sessions++];
	const struct msg_link_offer offer = {
		.role = ROLE_WORKER, .instance = 100 + world->n_sessions};
	const struct msg_attach attach = {
		.session = span_str(id),
		.version = span_str(version),
		.principal = span_str(principal)};
	int fd;

	*session = (struct world_session){.world = world};
	session->link = make_link(world, ROLE_WORKER, true, &session_handlers, world, &fd);
	link_set_user(session->link, session);
	ck_assert_int_eq(link_send(world->root, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
	close(fd);
	ck_assert_int_eq(link_send(session->link, MSG_ATTACH, 0, &attach,
				 span_str(who ? who
					      : "{\"capabilities\":{},\"clientInfo\":{\"name\":"
						"\"t\",\"version\":\"1\"}}"),
				 NULL),
		0);
	return session;
}

struct world_session *world_attach(struct world *world, const char *id, const char *who)
{
	return attach_as(world, id, "2025-06-18", "p", who);
}

struct world_session *world_attach_modern(struct world *world, const char *id, const char *principal)
{
	return attach_as(world, id, "2026-07-28", principal, NULL);
}

struct world_session *world_attach_again(
	struct world *world, const char *id, const char *version, const char *who)
{
	return attach_as(world, id, version, "p", who);
}

void world_close(struct world_session *session)
{
	link_free(session->link);
	session->link = NULL;
}

struct world_call *world_call(struct world_session *session, const char *method, const char *params,
	unsigned timeout_ms, bool safe)
{
	struct world_call *call = &session->calls[session->n_calls++];
	char name[64] = "";
	struct msg_call fields = {
		.method = span_str(method),
		.timeout_ms = timeout_ms,
		.safe = safe,
		.progress = strstr(params, "progressToken") != NULL,
	};
	int r;

	/* as a session worker tells the tool */
	if (sscanf(params, "{\"name\":\"%63[^\"]", name) == 1)
		fields.name = span_str(name);
	ck_assert_uint_le(session->n_calls, WORLD_CALLS_MAX);
	*call = (struct world_call){.stream = link_stream(session->link)};
	do {
		r = link_send(
			session->link, MSG_CALL, call->stream, &fields, span_str(params), NULL);
		if (r == -ERR_AGAIN)
			world_pass(session->world, 5);
	} while (r == -ERR_AGAIN);
	ck_assert_int_eq(r, 0);
	return call;
}

struct world_call *world_tool(
	struct world_session *session, const char *tool, const char *arguments)
{
	char params[2048];

	snprintf(params, sizeof(params), "{\"name\":\"%s\",\"arguments\":%s}", tool, arguments);
	return world_call(session, "tools/call", params, 20000, false);
}

struct world_call *world_tool_done(
	struct world_session *session, const char *tool, const char *arguments)
{
	struct world_call *call = world_tool(session, tool, arguments);

	world_until(session->world, call->done);
	return call;
}

void world_cancel(struct world_session *session, const struct world_call *call)
{
	ck_assert_int_eq(link_send(session->link, MSG_CALL_CANCEL, call->stream, NULL,
				 SPAN_LIT("\"enough\""), NULL),
		0);
}

/* --- admin ----------------------------------------------------------------------------------- */

static void on_reply(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query_reply *reply = msg->fields;
	struct world *world = arg;

	(void)link;
	ck_assert_uint_eq(reply->code, 0);
	free(world->reply);
	world->reply = copy_of(msg->payload);
	world->n_replies++;
}

static void on_admin_closed(struct link *link, int code, const char *why, void *arg)
{
	struct world *world = arg;

	(void)code;
	(void)why;
	world->admin = NULL;
	link_free(link);
}

static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY_REPLY] = on_reply}, .closed = on_admin_closed};

const char *world_query(struct world *world, const char *what)
{
	const struct msg_link_offer offer = {.role = ROLE_ADMIN};
	const struct msg_query query = {.what = span_str(what)};
	unsigned before = world->n_replies;
	int fd;

	if (!world->admin) {
		world->admin = make_link(world, ROLE_ADMIN, true, &admin_handlers, world, &fd);
		ck_assert_int_eq(
			link_send(world->root, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
		close(fd);
	}
	link_post(world->admin, MSG_QUERY, link_stream(world->admin), &query);
	world_until(world, world->n_replies > before);
	return world->reply;
}
