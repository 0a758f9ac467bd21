#include "worker_scene.h"
#include "clock.h"
#include "config.h"
#include "memfile.h"
#include "merge.h"
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUF_MAX (256u * 1024 * 1024)

uint64_t scene_now(void)
{
	return clock_ms();
}

void scene_turn(struct scene *scene)
{
	const struct timeval turn = {.tv_usec = 2000};

	event_base_loopexit(scene->base, &turn);
	event_base_loop(scene->base, EVLOOP_ONCE);
}

void scene_settle(struct scene *scene, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end)
		scene_turn(scene);
}

static void copy(char *dst, size_t size, struct span text)
{
	snprintf(dst, size, "%.*s", SPAN_ARG(text));
}

static struct link *link_to(struct event_base *base, enum role self, enum role peer, bool opener,
	const struct link_handlers *handlers, void *arg, int *ret_fd)
{
	const struct link_config config = {.self = self, .peer = {.role = peer}, .opener = opener};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(base, pair[0], &config, handlers, arg, &link, &err), 0);
	*ret_fd = pair[1];
	return link;
}

/* --- servers
 * ---------------------------------------------------------------------------------------- */

struct played *played(struct subject *subject, const char *name)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		struct played *server = &subject->servers[i];

		if (!server->name[0]) {
			snprintf(server->name, sizeof(server->name), "%s", name);
			server->subject = subject;
			buf_init(&server->attach, BUF_MAX);
			buf_init(&server->notes, BUF_MAX);
		}
		if (strcmp(server->name, name) == 0)
			return server;
	}
	ck_abort_msg("too many servers");
}

static void on_attach(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_attach *attach = msg->fields;
	struct played *server = arg;

	(void)link;
	server->attached++;
	buf_clear(&server->attach);
	buf_append_span(&server->attach, msg->payload);
	buf_append(&server->attach, "", 1);
	copy(server->session, sizeof(server->session), attach->session);
	copy(server->version, sizeof(server->version), attach->version);
	copy(server->log_level, sizeof(server->log_level), attach->log_level);
}

static void on_detach(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct played *)arg)->detached++;
}

static void on_call(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_call *fields = msg->fields;
	struct played *server = arg;
	struct scene *scene = server->subject->scene;
	struct call *call = calloc(1, sizeof(*call));

	(void)link;
	ck_assert_uint_lt(scene->n_calls, CALLS_MAX);
	scene->calls[scene->n_calls++] = call;
	call->server = server;
	call->stream = msg->stream;
	copy(call->method, sizeof(call->method), fields->method);
	copy(call->name, sizeof(call->name), fields->name);
	copy(call->traceparent, sizeof(call->traceparent), fields->traceparent);
	call->timeout_ms = fields->timeout_ms;
	call->safe = fields->safe;
	call->progress = fields->progress;
	buf_init(&call->reason, 8192);
	buf_init(&call->params, BUF_MAX);
	buf_append_span(&call->params, msg->payload);
	buf_append(&call->params, "", 1);
}

static void on_cancel(struct link *link, const struct message *msg, void *arg)
{
	struct played *server = arg;
	struct scene *scene = server->subject->scene;

	(void)link;
	for (unsigned i = 0; i < scene->n_calls; i++) {
		struct call *call = scene->calls[i];

		if (call->server != server || call->stream != msg->stream)
			continue;
		call->cancelled = true;
		buf_append_span(&call->reason, msg->payload);
		buf_append(&call->reason, "", 1);
		return;
	}
	ck_abort_msg("a cancel of no call");
}

static void on_note(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_client_note *note = msg->fields;
	struct played *server = arg;

	(void)link;
	buf_printf(&server->notes, "%.*s %.*s\n", SPAN_ARG(note->method), SPAN_ARG(msg->payload));
}

static void on_ask_answered(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_answer *fields = msg->fields;
	struct played *server = arg;
	struct scene *scene = server->subject->scene;

	(void)link;
	for (unsigned i = 0; i < scene->n_asks; i++) {
		struct asked *asked = scene->asks[i];

		if (asked->server != server || asked->stream != msg->stream)
			continue;
		ck_assert(!asked->answered);
		asked->answered = true;
		asked->kind = (unsigned)fields->kind;
		asked->code = (unsigned)fields->code;
		buf_append_span(&asked->payload, msg->payload);
		buf_append(&asked->payload, "", 1);
		return;
	}
	ck_abort_msg("an answer to no question");
}

static void on_upstream_closed(struct link *link, int code, const char *why, void *arg)
{
	struct played *server = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("link of %s: %s", server->name, why);
	server->link = NULL;
	link_free(link);
}

static const struct link_handlers upstream_handlers = {
	.on = {[MSG_ATTACH] = on_attach,
		[MSG_DETACH] = on_detach,
		[MSG_CALL] = on_call,
		[MSG_CALL_CANCEL] = on_cancel,
		[MSG_CLIENT_NOTE] = on_note,
		[MSG_ANSWER] = on_ask_answered},
	.closed = on_upstream_closed,
};

struct call *call_wait(struct scene *scene)
{
	WAIT_FOR(scene, scene->n_calls > scene->taken_calls);
	return scene->calls[scene->taken_calls++];
}

void call_forwarded(struct call *call)
{
	ck_assert_int_eq(link_post(call->server->link, MSG_CALL_FORWARDED, call->stream, NULL), 0);
}

void call_note(struct call *call, const char *method, const char *params)
{
	const struct msg_call_note note = {.method = span_str(method)};

	ck_assert_int_eq(link_send(call->server->link, MSG_CALL_NOTE, call->stream, &note,
				 span_str(params), NULL),
		0);
}

static void done(struct call *call, const struct msg_call_done *fields, const char *payload)
{
	ck_assert_int_eq(link_send(call->server->link, MSG_CALL_DONE, call->stream, fields,
				 span_str(payload), NULL),
		0);
}

void call_result(struct call *call, const char *result)
{
	const struct msg_call_done fields = {.kind = 0, .executed = 1, .upstream_us = 1000};

	done(call, &fields, result);
}

void call_error(struct call *call, const char *error)
{
	const struct msg_call_done fields = {.kind = 1, .executed = 1};

	done(call, &fields, error);
}

void call_failed(struct call *call, enum err_code code, unsigned executed)
{
	const struct msg_call_done fields = {.kind = 2,
		.code = code,
		.executed = executed,
		.detail = SPAN_LIT("as the upstream worker says")};

	done(call, &fields, "");
}

struct asked *server_asks(
	struct played *server, const struct call *call, const char *method, const char *params)
{
	struct scene *scene = server->subject->scene;
	const struct msg_ask ask = {.method = span_str(method), .call = call ? call->stream : 0};
	struct asked *asked = calloc(1, sizeof(*asked));

	ck_assert_uint_lt(scene->n_asks, ASKED_MAX);
	scene->asks[scene->n_asks++] = asked;
	asked->server = server;
	asked->stream = link_stream(server->link);
	buf_init(&asked->payload, BUF_MAX);
	ck_assert_int_eq(
		link_send(server->link, MSG_ASK, asked->stream, &ask, span_str(params), NULL), 0);
	return asked;
}

void server_cancels(struct asked *asked)
{
	ck_assert_int_eq(link_send(asked->server->link, MSG_ASK_CANCEL, asked->stream, NULL,
				 SPAN_LIT("\"changed my mind\""), NULL),
		0);
}

void server_notes(struct played *server, const char *method, const char *params)
{
	const struct msg_server_note note = {.method = span_str(method)};

	ck_assert_int_eq(
		link_send(server->link, MSG_SERVER_NOTE, 0, &note, span_str(params), NULL), 0);
}

void server_dies(struct played *server)
{
	link_flush(server->link);
	link_free(server->link);
	server->link = NULL;
}

/* --- gateways
 * ------------------------------------------------------------------------------------------ */

static struct answer *find_answer(
	struct subject *subject, const struct link *gateway, uint32_t stream)
{
	struct scene *scene = subject->scene;

	for (unsigned i = scene->n_answers; i-- > 0;)
		if (scene->answers[i]->gateway == gateway && scene->answers[i]->stream == stream)
			return scene->answers[i];
	ck_abort_msg("an answer to nothing");
}

static void on_head(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_head *head = msg->fields;
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(!answer->head && !answer->done);
	answer->head = true;
	answer->status = (unsigned)head->status;
	answer->content = (unsigned)head->content;
	copy(answer->session, sizeof(answer->session), head->session);
}

static void on_data(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_credit credit = {.bytes = msg->payload.len};
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(answer->head && !answer->done);
	ck_assert_int_eq(buf_append_span(&answer->data, msg->payload), 0);
	if (!answer->keep_credit)
		link_post(link, MSG_CREDIT, msg->stream, &credit);
}

static void on_end(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_end *end = msg->fields;
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(answer->head && !answer->done);
	answer->done = true;
	answer->code = (unsigned)end->code;
	answer->executed = (unsigned)end->executed;
}

static void on_answer(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_answer *fields = msg->fields;
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(!answer->head && !answer->done);
	answer->done = true;
	answer->status = (unsigned)fields->status;
	answer->content = (unsigned)fields->content;
	answer->code = (unsigned)fields->code;
	answer->executed = (unsigned)fields->executed;
	copy(answer->session, sizeof(answer->session), fields->session);
	copy(answer->method, sizeof(answer->method), fields->method);
	copy(answer->server, sizeof(answer->server), fields->server);
	copy(answer->tool, sizeof(answer->tool), fields->tool);
	buf_append_span(&answer->data, msg->payload);
}

static void on_forwarded(struct link *link, const struct message *msg, void *arg)
{
	struct answer *answer = find_answer(arg, link, msg->stream);

	answer->forwarded = true;
	answer->forwards++;
}

static void on_gateway_closed(struct link *link, int code, const char *why, void *arg)
{
	struct subject *subject = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("a gateway's link: %s", why);
	for (unsigned i = 0; i < 2; i++)
		if (subject->gateways[i] == link)
			subject->gateways[i] = NULL;
	link_free(link);
}

static const struct link_handlers gateway_handlers = {
	.on = {[MSG_EXCHANGE_HEAD] = on_head,
		[MSG_EXCHANGE_DATA] = on_data,
		[MSG_EXCHANGE_END] = on_end,
		[MSG_EXCHANGE_ANSWER] = on_answer,
		[MSG_EXCHANGE_FORWARDED] = on_forwarded},
	.closed = on_gateway_closed,
};

struct answer *exchange(struct subject *subject, const char *body, struct options o)
{
	struct scene *scene = subject->scene;
	struct link **gateway = &subject->gateways[o.gateway];
	struct msg_exchange fields = {
		.verb = o.verb ? o.verb : 1,
		.accept = o.accept ? o.accept : 3,
		.session = span_str(o.session ? o.session : "session-1"),
		.epoch = 1,
		.principal = span_str(o.principal ? o.principal : "anonymous"),
		.version = span_str(o.version),
		.mcp_method = span_str(o.method),
		.mcp_name = span_str(o.name),
		.last_event_id = span_str(o.last_event_id),
		.traceparent = span_str(o.traceparent),
		.mcp_params = span_str(o.params),
	};
	struct answer *answer = calloc(1, sizeof(*answer));

	if (!*gateway)
		*gateway = subject_open(subject, ROLE_GATEWAY, &gateway_handlers);
	ck_assert_uint_lt(scene->n_answers, ANSWERS_MAX);
	scene->answers[scene->n_answers++] = answer;
	answer->subject = subject;
	answer->gateway = *gateway;
	answer->keep_credit = o.keep_credit;
	answer->stream = link_stream(*gateway);
	buf_init(&answer->data, BUF_MAX);
	ck_assert_int_eq(
		link_send(*gateway, MSG_EXCHANGE, answer->stream, &fields, span_str(body), NULL),
		0);
	return answer;
}

struct answer *post(struct subject *subject, const char *body)
{
	return exchange(subject, body, (struct options){0});
}

const char *answer_text(const struct answer *answer)
{
	struct buf *data = (struct buf *)(uintptr_t)&answer->data;

	if (buf_reserve(data, 1) == 0)
		data->data[data->len] = '\0';
	return data->data;
}

void answer_wait(struct answer *answer)
{
	WAIT_FOR(answer->subject->scene, answer->done);
}

void answer_is(struct answer *answer, unsigned status, const char *body)
{
	answer_wait(answer);
	ck_assert_str_eq(answer_text(answer), body);
	ck_assert_uint_eq(answer->status, status);
}

void answer_has(struct answer *answer, unsigned status, const char *piece)
{
	answer_wait(answer);
	ck_assert_msg(strstr(answer_text(answer), piece), "%s\nis not in\n%s", piece,
		answer_text(answer));
	ck_assert_uint_eq(answer->status, status);
}

void answer_close(struct answer *answer)
{
	ck_assert_int_eq(link_post(answer->gateway, MSG_EXCHANGE_CLOSED, answer->stream, NULL), 0);
}

const char *answer_last_id(const struct answer *answer)
{
	static char id[80];
	const char *p = answer_text(answer), *last = NULL;

	while ((p = strstr(p, "id: ")))
		last = p += 4;
	ck_assert_ptr_nonnull(last);
	copy(id, sizeof(id), span_of(last, strcspn(last, "\n")));
	return id;
}

unsigned answer_count(const struct answer *answer, const char *piece)
{
	const char *p = answer_text(answer);
	unsigned n = 0;

	while ((p = strstr(p, piece))) {
		p += strlen(piece);
		n++;
	}
	return n;
}

/* --- the session manager
 * ---------------------------------------------------------------------------------- */

static void on_taken(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_lease_taken *taken = msg->fields;
	struct subject *subject = arg;

	(void)link;
	subject->taken++;
	subject->epoch = taken->epoch;
	snprintf(subject->claimed, sizeof(subject->claimed), "%.*s %u", SPAN_ARG(taken->principal),
		(unsigned)taken->era);
}

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_state *state = msg->fields;
	struct subject *subject = arg;
	const struct msg_session_saved saved = {.code = subject->save_code};

	subject->saves++;
	subject->save_stream = msg->stream;
	subject->next_event = state->next_event;
	buf_clear(&subject->state);
	buf_append_span(&subject->state, msg->payload);
	buf_append(&subject->state, "", 1);
	if (!subject->hold_saves)
		link_post(link, MSG_SESSION_SAVED, msg->stream, &saved);
}

static void on_events(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	buf_append_span(&((struct subject *)arg)->events, msg->payload);
}

static void on_session_close(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_close *fields = msg->fields;
	struct subject *subject = arg;

	(void)link;
	copy(subject->closed, sizeof(subject->closed), fields->reason);
}

static void on_sessions_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		ck_abort_msg("the session manager's link: %s", why);
	((struct subject *)arg)->sessions = NULL;
	link_free(link);
}

static const struct link_handlers sessions_handlers = {
	.on = {[MSG_LEASE_TAKEN] = on_taken,
		[MSG_SESSION_STATE] = on_state,
		[MSG_SESSION_EVENTS] = on_events,
		[MSG_SESSION_CLOSE] = on_session_close},
	.closed = on_sessions_closed,
};

void subject_open_sessions(struct subject *subject)
{
	subject->sessions = subject_open(subject, ROLE_SESSIONS, &sessions_handlers);
}

void subject_lease(struct subject *subject, const char *session, uint64_t epoch, unsigned era,
	const char *state, uint64_t next_event)
{
	const struct msg_lease lease = {.session = span_str(session),
		.principal = SPAN_LIT("anonymous"),
		.epoch = epoch,
		.era = era,
		.next_event = next_event};
	unsigned before = subject->taken;

	ck_assert_int_eq(
		link_send(subject->sessions, MSG_LEASE, 0, &lease, span_str(state), NULL), 0);
	WAIT_FOR(subject->scene, subject->taken > before);
	ck_assert_uint_eq(subject->epoch, epoch);
}

/* --- the root
 * ------------------------------------------------------------------------------------------------
 */

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct subject *)arg)->ready = true;
}

static void grant(struct subject *subject, uint32_t stream, const struct msg_link_open *open,
	const struct link_handlers *handlers, void *arg, struct link **ret)
{
	const struct msg_link_grant granted = {.role = open->role, .name = open->name};
	int fd;

	*ret = link_to(subject->scene->base, (enum role)open->role, ROLE_WORKER, false, handlers,
		arg, &fd);
	ck_assert_int_eq(
		link_send(subject->root, MSG_LINK_GRANT, stream, &granted, SPAN_NONE, &fd), 0);
	close(fd);
}

static void on_link_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_link_open *open = msg->fields;
	const struct msg_link_deny deny = {.code = ERR_CLOSED, .detail = SPAN_LIT("not there")};
	struct subject *subject = arg;
	struct scene *scene = subject->scene;
	struct played *server;
	char name[LIMIT_SERVER_NAME + 1];

	if (open->role == ROLE_SESSIONS)
		subject->sessions_asked++;
	else
		subject->links_asked++;
	if (open->role == ROLE_SESSIONS ? scene->no_sessions : scene->no_upstreams) {
		link_post(link, MSG_LINK_DENY, msg->stream, &deny);
	} else if (open->role == ROLE_SESSIONS) {
		grant(subject, msg->stream, open, &sessions_handlers, subject, &subject->sessions);
	} else {
		copy(name, sizeof(name), open->name);
		server = played(subject, name);
		server->opened++;
		grant(subject, msg->stream, open, &upstream_handlers, server, &server->link);
	}
}

static void on_root_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		ck_abort_msg("a worker's link with the root: %s", why);
	((struct subject *)arg)->root = NULL;
	link_free(link);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_READY] = on_ready, [MSG_LINK_OPEN] = on_link_open},
	.closed = on_root_closed,
};

struct link *subject_open(
	struct subject *subject, enum role role, const struct link_handlers *handlers)
{
	const struct msg_link_offer offer = {.role = role, .instance = 7};
	struct link *link;
	int fd;

	link = link_to(subject->scene->base, role, ROLE_WORKER, true, handlers, subject, &fd);
	ck_assert_int_eq(link_send(subject->root, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
	close(fd);
	return link;
}

static void on_zygote_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct scene *)arg)->zygote_ready = true;
}

static void on_forked(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_forked *forked = msg->fields;
	struct scene *scene = arg;

	(void)link;
	for (unsigned i = 0; i < scene->n_subjects; i++) {
		struct subject *subject = scene->subjects[i];

		if (subject->instance != forked->instance)
			continue;
		subject->pid = (pid_t)forked->pid;
		subject->pidfd = msg->fds[0];
		msg->fds[0] = -1;
	}
}

static void on_fork_failed(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_fork_failed *failed = msg->fields;

	(void)link;
	(void)arg;
	ck_abort_msg("fork: %.*s", SPAN_ARG(failed->reason));
}

static void on_zygote_closed(struct link *link, int code, const char *why, void *arg)
{
	struct scene *scene = arg;

	(void)code;
	(void)why;
	scene->zygote_closed = true;
	scene->zygote = NULL;
	link_free(link);
}

static const struct link_handlers zygote_handlers = {
	.on = {[MSG_READY] = on_zygote_ready,
		[MSG_FORKED] = on_forked,
		[MSG_FORK_FAILED] = on_fork_failed},
	.closed = on_zygote_closed,
};

static int config_file(const char *yaml)
{
	struct config_report report;
	struct config *config;
	struct err err = {0};
	struct buf json;
	int fd;

	config_report_init(&report);
	buf_init(&json, 8u << 20);
	ck_assert_int_eq(config_load_text(span_str(yaml), CONFIG_SYNTAX_YAML, "test.yaml", "/",
				 &config, &report),
		0);
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_PUBLIC, NULL, &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&json);
	config_free(config);
	config_report_free(&report);
	return fd;
}

static void send_start(struct link *link, uint64_t instance, int fd)
{
	const struct msg_start start = {
		.instance = instance, .state_dir = SPAN_LIT("/"), .run_dir = SPAN_LIT("/")};

	ck_assert_int_eq(link_send(link, MSG_START, 0, &start, SPAN_NONE, &fd), 0);
	close(fd);
}

static const char usual_config[] = "session: {request_timeout: 30s}\n"
				   "servers:\n"
				   "  alpha: {command: /bin/true, idempotent: [\"idem*\"]}\n"
				   "  beta: {command: /bin/true}\n";

void scene_start(struct scene *scene, const char *yaml)
{
	char *argv[] = {(char *)(uintptr_t)WORKER_PROGRAM, NULL};
	int fd;

	signal(SIGPIPE, SIG_IGN);
	*scene = (struct scene){.base = event_base_new()};
	scene->catalogue = scene_catalogue(1, "", false);
	scene->zygote =
		link_to(scene->base, ROLE_ROOT, ROLE_ZYGOTE, true, &zygote_handlers, scene, &fd);
	scene->zygote_pid = fork();
	if (scene->zygote_pid == 0) {
		if (fd == PROCESS_ROOT_FD)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, PROCESS_ROOT_FD);
		execv(WORKER_PROGRAM, argv);
		_exit(127);
	}
	close(fd);
	send_start(scene->zygote, 1, config_file(*yaml ? yaml : usual_config));
	WAIT_FOR(scene, scene->zygote_ready);
}

struct subject *scene_fork(struct scene *scene)
{
	struct subject *subject = calloc(1, sizeof(*subject));
	struct msg_fork order = {.instance = 100 + scene->n_subjects};
	struct err err = {0};
	int fd, none;

	ck_assert_uint_lt(scene->n_subjects, SUBJECTS_MAX);
	subject->scene = scene;
	subject->instance = order.instance;
	subject->pidfd = -1;
	buf_init(&subject->state, BUF_MAX);
	buf_init(&subject->events, BUF_MAX);
	scene->subjects[scene->n_subjects++] = subject;
	subject->root =
		link_to(scene->base, ROLE_ROOT, ROLE_WORKER, true, &root_handlers, subject, &fd);
	ck_assert_int_eq(link_send(scene->zygote, MSG_FORK, 0, &order, SPAN_NONE, &fd), 0);
	close(fd);
	ck_assert_int_eq(memfile_new("config", SPAN_NONE, &none, &err), 0);
	send_start(subject->root, subject->instance, none);
	scene_publish(subject, scene->catalogue, 1);
	return subject;
}

struct subject *scene_worker(struct scene *scene)
{
	struct subject *subject = scene_fork(scene);

	WAIT_FOR(scene, subject->ready && subject->pid);
	subject_open_sessions(subject);
	return subject;
}

struct subject *scene_session(struct scene *scene, const char *version, const char *capabilities)
{
	struct subject *subject = scene_worker(scene);
	struct answer *answer;
	char body[4096];

	subject_lease(subject, "session-1", 1, 0, "", 1);
	snprintf(body, sizeof(body),
		"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{"
		"\"protocolVersion\":\"%s\","
		"\"capabilities\":%s,\"clientInfo\":{\"name\":\"tester\",\"version\":\"1\"}}}",
		version, capabilities);
	answer_has(answer = post(subject, body), 200, "\"protocolVersion\"");
	ck_assert_str_eq(answer->session, "session-1");
	answer_is(post(subject, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"),
		202, "");
	return subject;
}

struct subject *scene_modern(struct scene *scene)
{
	struct subject *subject = scene_worker(scene);

	subject_lease(subject, "shared-1", 1, 1, "", 1);
	return subject;
}

int subject_wait_exit(struct subject *subject)
{
	struct scene *scene = subject->scene;
	siginfo_t info = {0};

	WAIT_FOR(scene, waitid(P_PIDFD, (id_t)subject->pidfd, &info, WEXITED | WNOHANG) == 0 &&
				info.si_pid);
	close(subject->pidfd);
	subject->pidfd = -1;
	WAIT_FOR(scene, !subject->root && !subject->sessions);
	return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

void subject_kill(struct subject *subject)
{
	ck_assert_int_eq(kill(subject->pid, SIGKILL), 0);
	ck_assert_int_eq(subject_wait_exit(subject), -SIGKILL);
}

static void subject_free(struct subject *subject)
{
	const struct msg_stop stop = {.deadline_ms = 5000};

	if (subject->pidfd >= 0) {
		ck_assert_int_eq(link_post(subject->root, MSG_STOP, 0, &stop), 0);
		ck_assert_int_eq(subject_wait_exit(subject), 0);
	}
	link_free(subject->root);
	link_free(subject->sessions);
	for (unsigned i = 0; i < 2; i++)
		link_free(subject->gateways[i]);
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		link_free(subject->servers[i].link);
		buf_free(&subject->servers[i].attach);
		buf_free(&subject->servers[i].notes);
	}
	buf_free(&subject->state);
	buf_free(&subject->events);
	free(subject);
}

void scene_end(struct scene *scene)
{
	const struct msg_stop stop = {.deadline_ms = 5000};
	int status;

	for (unsigned i = 0; i < scene->n_calls; i++) {
		struct call *call = scene->calls[i];

		if (call->server->link && !call->cancelled && call->stream)
			call_failed(call, ERR_DRAINING, 0);
		buf_free(&call->params);
		buf_free(&call->reason);
	}
	for (unsigned i = 0; i < scene->n_subjects; i++)
		subject_free(scene->subjects[i]);
	for (unsigned i = 0; i < scene->n_calls; i++)
		free(scene->calls[i]);
	for (unsigned i = 0; i < scene->n_answers; i++) {
		buf_free(&scene->answers[i]->data);
		free(scene->answers[i]);
	}
	for (unsigned i = 0; i < scene->n_asks; i++) {
		buf_free(&scene->asks[i]->payload);
		free(scene->asks[i]);
	}
	if (scene->zygote)
		link_post(scene->zygote, MSG_STOP, 0, &stop);
	WAIT_FOR(scene, waitpid(scene->zygote_pid, &status, WNOHANG) == scene->zygote_pid);
	ck_assert(scene->zygote_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	link_free(scene->zygote);
	close(scene->catalogue);
	event_base_free(scene->base);
}

/* --- the catalogue
 * ---------------------------------------------------------------------------------------------- */

#define TOOLS \
	"[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}," \
	"{\"name\":\"read\",\"inputSchema\":{\"type\":\"object\"},\"annotations\":{" \
	"\"readOnlyHint\":true}}," \
	"{\"name\":\"idem1\",\"inputSchema\":{\"type\":\"object\"}}," \
	"{\"name\":\"zoned\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"region\":{" \
	"\"type\":\"string\"," \
	"\"x-mcp-header\":\"Region\"},\"at\":{\"type\":\"object\",\"properties\":{\"zone\":{" \
	"\"type\":\"integer\"," \
	"\"x-mcp-header\":\"Zone\"}}}}}}%s]"

int scene_catalogue(uint64_t generation, const char *more_tools, bool starting)
{
	const struct merge_config config = {
		.naming = MERGE_PREFIX, .generation = generation, .tasks = true};
	struct merge_server servers[2] = {
		{.facts = {.name = SPAN_LIT("alpha"),
			 .upstream = SPAN_LIT("alpha"),
			 .state = starting ? SERVER_STARTING : SERVER_UP,
			 .call_timeout_ms = 20000,
			 .isolation = SERVER_SHARED}},
		{.facts = {.name = SPAN_LIT("beta"),
			 .upstream = SPAN_LIT("beta"),
			 .state = SERVER_UP,
			 .call_timeout_ms = 20000,
			 .isolation = SERVER_PER_SESSION}},
	};
	struct merge_result *result;
	struct err err = {0};
	static char tools[131072];
	int fd;

	snprintf(tools, sizeof(tools), TOOLS, more_tools);
	if (!starting) {
		servers[0].facts.capabilities =
			SPAN_LIT("{\"tools\":{\"listChanged\":true},\"prompts\":{},\"logging\":{},"
				 "\"resources\":{\"subscribe\":true},\"completions\":{}}");
		servers[0].lists[CATALOGUE_TOOL] = span_str(tools);
	}
	for (int i = 0; i < 2; i++)
		memset(servers[i].facts.cache_private, true,
			sizeof(servers[i].facts.cache_private));
	servers[0].facts.instructions = SPAN_LIT("Use alpha.");
	servers[0].lists[CATALOGUE_PROMPT] =
		SPAN_LIT("[{\"name\":\"greet\",\"arguments\":[{\"name\":\"who\"}]}]");
	servers[0].lists[CATALOGUE_RESOURCE] =
		SPAN_LIT("[{\"uri\":\"file:///a.txt\",\"name\":\"a\"}]");
	servers[0].lists[CATALOGUE_TEMPLATE] =
		SPAN_LIT("[{\"uriTemplate\":\"test://t/{id}/data\",\"name\":\"t\"}]");
	servers[1].facts.capabilities = SPAN_LIT("{\"tools\":{},\"tasks\":{\"list\":{}}}");
	servers[1].lists[CATALOGUE_TOOL] =
		SPAN_LIT("[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}]");
	ck_assert_int_eq(merge_catalogue(&config, servers, 2, &result, &err), 0);
	fd = result->fd;
	result->fd = -1;
	merge_result_free(result);
	return fd;
}

void scene_publish(struct subject *subject, int catalogue, uint64_t generation)
{
	const struct msg_catalogue fields = {.generation = generation};

	ck_assert_int_eq(
		link_send(subject->root, MSG_CATALOGUE, 0, &fields, SPAN_NONE, &catalogue), 0);
}
