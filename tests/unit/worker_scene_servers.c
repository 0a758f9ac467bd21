/* The upstream workers of all servers, as played for session workers (worker_scene.h). */
#include "worker_scene_parts.h"

#include <stdio.h>
#include <stdlib.h>

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
	scene_copy(server->session, sizeof(server->session), attach->session);
	scene_copy(server->version, sizeof(server->version), attach->version);
	scene_copy(server->log_level, sizeof(server->log_level), attach->log_level);
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
	scene_copy(call->method, sizeof(call->method), fields->method);
	scene_copy(call->name, sizeof(call->name), fields->name);
	scene_copy(call->traceparent, sizeof(call->traceparent), fields->traceparent);
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

const struct link_handlers scene_upstream_handlers = {
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
