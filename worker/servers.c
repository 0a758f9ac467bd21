#include "servers.h"
#include "asks.h"
#include "backoff.h"
#include "clock.h"
#include "json_write.h"
#include "log.h"
#include "notes.h"
#include "own_lists.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define RETRY_MS 50u
#define RETRY_LAST_MS 5000u
/* How long calls wait for an upstream worker that is not there. */
#define WAIT_MS 5000u
#define TRIES_MAX 3u
/* How long a conversation that an upstream worker left is asked after. */
#define RESUME_MS 120000u
/* A call whose way is not clear yet is looked at again after this. */
#define HELD_MS 2u
/* A server that wants to ask a new client something, its roots perhaps, does so by then. */
#define LET_GO_MS 2000u

struct server *server_find(struct worker *worker, struct span name)
{
	struct server *server;

	HASH_FIND(hh, worker->servers, name.p, name.len, server);
	return server;
}

struct server *server_get(struct worker *worker, struct span name)
{
	struct server *server = server_find(worker, name);

	if (server || name.len > LIMIT_SERVER_NAME)
		return server;
	server = calloc(1, sizeof(*server));
	if (!server)
		return NULL;
	snprintf(server->name, sizeof(server->name), "%.*s", SPAN_ARG(name));
	server->worker = worker;
	HASH_ADD(hh, worker->servers, name[0], name.len, server);
	return server;
}

/* --- sending -------------------------------------------------------------------------------- */

/*
 * Before a call that must not run twice leaves this process, the gateway has it in writing. False:
 * its link takes no more at the moment.
 */
static bool gateway_knows(struct request *request)
{
	const struct msg_exchange_forwarded fields = {.safe = 0};
	const struct exchange *exchange = request->exchange;

	if (request->safe || !exchange || !exchange->gateway)
		return true;
	if (!request->told &&
		link_post(exchange->gateway, MSG_EXCHANGE_FORWARDED, exchange->number, &fields) < 0)
		return false;
	request->told = true;
	return link_flush(exchange->gateway);
}

static void fail(struct request *request, enum err_code code, const char *text, unsigned executed)
{
	struct reply reply = {.kind = 2, .executed = executed};

	err_set(&reply.err, code, "%s: %s", request->server->name, text);
	request_reply(request, &reply);
}

static void send_call(struct server *server, struct request *request)
{
	struct exchange *exchange = request->exchange;
	uint64_t now_us = worker_now_us(server->worker), now = now_us / 1000;
	struct msg_call fields = {
		.method = mcp_method_info(request->method)->name,
		.name = request->name,
		.timeout_ms = request->deadline_ms > now ? request->deadline_ms - now : 1,
		.safe = request->safe,
		.progress = request->token.len > 0,
		.traceparent = exchange ? span_str(exchange->traceparent) : SPAN_NONE,
	};
	uint32_t call = link_stream(server->link);
	int r = gateway_knows(request) ? 0 : -ERR_AGAIN;

	if (r == 0)
		r = link_send(server->link, MSG_CALL, call, &fields,
			span_of(request->params, request->params_len), NULL);
	if (r == -ERR_AGAIN) {
		worker_tick_in(server->worker, HELD_MS);
		return;
	}
	/* what a link that has just closed had is looked after when it says so */
	if (exchange && !exchange->outcome.worker_us)
		exchange->outcome.worker_us = now_us - exchange->began_us;
	request->waiting = false;
	request->call = call;
	request->tries++;
	if (r < 0 && r != -ERR_CLOSED) {
		request->call = 0;
		fail(request, (enum err_code) - r, "the call cannot be handed over", 0);
	}
}

static bool takes_calls(const struct server *server)
{
	return server->link && !server->draining;
}

static void send_waiting(struct server *server)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(server->worker->requests, request, next)
	{
		if (request->server == server && request->waiting && takes_calls(server))
			send_call(server, request);
	}
}

/* What a server process that starts anew must be told again. */
static void write_subscriptions(const struct server *server, struct buf *out)
{
	const struct session_mark *mark;
	bool first = true;

	for (mark = server->worker->session.subscriptions.first; mark; mark = mark->hh.next) {
		if (strcmp(mark->server, server->name) != 0)
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		json_write_string(out, span_of(mark->key, mark->hh.keylen));
	}
}

static void attach(struct server *server)
{
	const struct session *session = &server->worker->session;
	const struct msg_attach fields = {
		.session = span_str(session->id),
		.version = span_str(mcp_version_name(
			session->era == MCP_MODERN ? MCP_FIRST_MODERN : session->version)),
		.principal = span_str(session->principal),
		.log_level =
			span_str(session->log_level ? mcp_log_level_name(session->log_level) : ""),
	};
	struct buf who;
	size_t before;

	buf_init(&who, message_row(MSG_ATTACH)->max_payload);
	buf_printf(&who, "{\"capabilities\":%s,\"clientInfo\":%s,\"subscriptions\":[",
		session->capabilities ? session->capabilities : "{}",
		session->client_info ? session->client_info : "{}");
	before = who.len;
	write_subscriptions(server, &who);
	if (buf_append_str(&who, "]}") < 0) {
		/* more than a message may carry */
		buf_cut(&who, before);
		buf_append_str(&who, "]}");
	}
	link_send(server->link, MSG_ATTACH, 0, &fields, buf_span(&who), NULL);
	buf_free(&who);
}

static bool is_waited_for(const struct server *server)
{
	const struct request *request;

	DL_FOREACH(server->worker->requests, request)
	{
		if (request->server == server && request->waiting)
			return true;
	}
	return false;
}

/* Calls do not wait long; for what the client is subscribed to there is time. */
static uint64_t pause_of(struct server *server)
{
	server->denials++;
	return is_waited_for(server) ? RETRY_MS
				     : backoff_ms(server->denials, RETRY_MS, RETRY_LAST_MS,
					       hash64(server->name, strlen(server->name),
						       server->worker->session.epoch));
}

static void on_link(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct server *server = arg;

	(void)process;
	server->opening = false;
	if (!link) {
		log_debug("server.no_link", err_text(err), KV_STR("server", server->name));
		server->retry_ms = clock_ms() + pause_of(server);
		worker_tick_in(server->worker, RETRY_MS);
		return;
	}
	server->link = link;
	server->denials = 0;
	server->since_ms = 0;
	server->called |= server->resumed_until_ms != 0;
	server->resumed_until_ms = 0;
	link_set_user(link, server);
	attach(server);
	send_waiting(server);
}

static void ask_for_link(struct server *server, uint64_t now)
{
	if (server->opening || server->link || now < server->retry_ms)
		return;
	server->opening = process_open_link(server->worker->process, ROLE_UPSTREAM, server->name, 0,
				  on_link, server) == 0;
}

static void open_link(struct server *server)
{
	uint64_t now = clock_ms();

	if (!server->since_ms)
		server->since_ms = now;
	worker_tick_in(server->worker, RETRY_MS);
	ask_for_link(server, now);
}

static bool is_subscribed(const struct server *server)
{
	const struct session_mark *mark;

	for (mark = server->worker->session.subscriptions.first; mark; mark = mark->hh.next)
		if (strcmp(mark->server, server->name) == 0)
			return true;
	return false;
}

/*
 * Nobody calls it; but the client is to hear of what it is subscribed to there, and a process of
 * the server that is its own is to be known as such by who speaks with it now.
 */
static void keep_link(struct server *server)
{
	uint64_t now = clock_ms();

	server->since_ms = 0;
	if (server->worker->session_over || server->worker->ending ||
		(!is_subscribed(server) && now >= server->resumed_until_ms))
		return;
	worker_tick_in(server->worker,
		server->retry_ms > now ? server->retry_ms - now : (uint64_t)RETRY_MS);
	ask_for_link(server, now);
}

void servers_resubscribe(struct worker *worker)
{
	const struct session_mark *mark;
	struct server *server;

	for (mark = worker->session.subscriptions.first; mark; mark = mark->hh.next) {
		server = server_get(worker, span_str(mark->server));
		if (server && !server->link)
			keep_link(server);
	}
}

int server_call(struct worker *worker, struct span name, struct request *request, struct span tool,
	struct span params, uint32_t timeout_ms)
{
	struct server *server = server_get(worker, name);
	char *copy = malloc(params.len + tool.len + 1);

	if (!server || !copy) {
		free(copy);
		return -ERR_NO_MEMORY;
	}
	if (params.len)
		memcpy(copy, params.p, params.len);
	if (tool.len)
		memcpy(copy + params.len, tool.p, tool.len);
	free(request->params);
	request->params = copy;
	request->params_len = params.len;
	request->name = span_of(copy + params.len, tool.len);
	request->server = server;
	request->waiting = true;
	request->call = 0;
	request->forwarded = false;
	request->tries = 0;
	server->called |= !(mcp_method_info(request->method)->list.len);
	if (timeout_ms && worker->seen_ms + timeout_ms < request->deadline_ms)
		request->deadline_ms = worker->seen_ms + timeout_ms;
	if (request->exchange)
		snprintf(request->exchange->outcome.server,
			sizeof(request->exchange->outcome.server), "%s", server->name);
	if (takes_calls(server))
		send_call(server, request);
	else if (!server->link)
		open_link(server);
	return 0;
}

void server_forget(struct request *request)
{
	request->server = NULL;
	request->waiting = false;
	request->call = 0;
}

void server_cancel(struct request *request, struct span reason)
{
	struct server *server = request->server;

	if (server && server->link && request->call)
		link_send(server->link, MSG_CALL_CANCEL, request->call, NULL,
			reason.len > 4096 ? SPAN_NONE : reason, NULL);
}

void server_notify(
	struct worker *worker, struct server *server, struct span method, struct span params)
{
	const struct msg_client_note fields = {.method = method};
	struct server *each;

	for (each = worker->servers; each; each = each->hh.next)
		if (each->link && (!server || server == each))
			link_send(each->link, MSG_CLIENT_NOTE, 0, &fields, params, NULL);
}

/* Too long without an upstream worker: whoever waits is told. One at a time, because an answer may
 * change the list. */
static bool give_up_one(struct server *server)
{
	struct request *request;

	DL_FOREACH(server->worker->requests, request)
	{
		if (request->server == server && request->waiting) {
			request->waiting = false;
			fail(request, ERR_SERVER_DOWN, "the server is not available at the moment",
				0);
			return true;
		}
	}
	return false;
}

static bool is_asked_of(const struct server *server)
{
	const struct request *request;

	DL_FOREACH(server->worker->requests, request)
	{
		if (request->server == server)
			return true;
	}
	return false;
}

void server_let_go(struct server *server)
{
	server->let_go_ms = clock_ms() + LET_GO_MS;
	worker_tick_in(server->worker, LET_GO_MS);
}

static void tick_let_go(struct server *server, uint64_t now_ms)
{
	if (!server->let_go_ms)
		return;
	if (server->called || !server->link) {
		server->let_go_ms = 0;
		return;
	}
	if (now_ms < server->let_go_ms) {
		worker_tick_in(server->worker, server->let_go_ms - now_ms);
		return;
	}
	server->let_go_ms = 0;
	if (is_asked_of(server))
		return;
	link_free(server->link);
	server->link = NULL;
}

void server_tick(struct worker *worker, uint64_t now_ms)
{
	struct server *server, *next;

	HASH_ITER (hh, worker->servers, server, next) {
		tick_let_go(server, now_ms);
		if (server->link) {
			send_waiting(server);
			continue;
		}
		if (!is_waited_for(server)) {
			keep_link(server);
			continue;
		}
		if (!server->since_ms || now_ms - server->since_ms <= WAIT_MS) {
			open_link(server);
			continue;
		}
		server->since_ms = 0;
		while (give_up_one(server))
			;
	}
}

bool servers_flush(struct worker *worker)
{
	struct server *server;
	bool all = true;

	for (server = worker->servers; server; server = server->hh.next)
		all &= !server->link || link_flush(server->link);
	return all;
}

void server_detach_all(struct worker *worker)
{
	struct server *server;

	for (server = worker->servers; server; server = server->hh.next)
		if (server->link)
			link_post(server->link, MSG_DETACH, 0, NULL);
}

void servers_free(struct worker *worker)
{
	struct server *server, *next;

	HASH_ITER (hh, worker->servers, server, next) {
		HASH_DEL(worker->servers, server);
		link_free(server->link);
		own_lists_free(server);
		free(server);
	}
}

/* --- what the upstream worker says ---------------------------------------------------------- */

static struct request *find_call(
	const struct link *link, const struct worker *worker, uint32_t call)
{
	const struct server *server = link_user(link);
	struct request *request;

	DL_FOREACH(worker->requests, request)
	{
		if (request->server == server && request->call == call && call != 0)
			return request;
	}
	return NULL;
}

static void on_forwarded(struct link *link, const struct message *msg, void *arg)
{
	struct request *request = find_call(link, worker_of(arg), msg->stream);

	if (request)
		request->forwarded = true;
}

static void on_parked(struct link *link, const struct message *msg, void *arg)
{
	struct request *request = find_call(link, worker_of(arg), msg->stream);

	if (request && request->exchange)
		exchange_park(request->exchange);
}

/*
 * Its upstream worker is being replaced and has not begun with the call: it goes to the successor.
 * What runs on this link is waited for; then it closes.
 */
static bool is_for_the_next(const struct request *request, const struct msg_call_done *done)
{
	return done->kind == 2 && done->code == ERR_DRAINING && done->executed == 0 &&
	       !request->cancelled && request->tries < TRIES_MAX;
}

static void on_done(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_call_done *done = msg->fields;
	struct request *request = find_call(link, worker_of(arg), msg->stream);
	struct server *server = link_user(link);
	struct reply reply = {
		.kind = (unsigned)done->kind,
		.payload = msg->payload,
		.executed = (unsigned)done->executed,
		.upstream_us = done->upstream_us,
		.queue_us = done->queue_us,
	};

	if (!request)
		return;
	if (is_for_the_next(request, done)) {
		server->draining = true;
		request->call = 0;
		request->forwarded = false;
		request->waiting = true;
		return;
	}
	if (done->kind == 2)
		err_set(&reply.err, (enum err_code)done->code, "%.*s", SPAN_ARG(done->detail));
	/* whose answer it was is still asked for, by what remembers tasks and subscriptions */
	request->call = 0;
	request_reply(request, &reply);
}

static void on_call_note(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_call_note *note = msg->fields;
	struct worker *worker = worker_of(arg);
	struct request *request = find_call(link, worker, msg->stream);

	if (request && !request->cancelled)
		notes_of_call(request, note->method, msg->payload);
}

static void on_server_note(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_note *note = msg->fields;

	notes_of_server(worker_of(arg), link_user(link), note->method, msg->payload);
}

static void on_ask(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_ask *fields = msg->fields;
	struct worker *worker = worker_of(arg);
	struct server *server = link_user(link);

	server->called = true;
	ask_client(worker, link_user(link), msg->stream,
		find_call(link, worker, (uint32_t)fields->call), fields->method, msg->payload);
}

static void on_ask_cancel(struct link *link, const struct message *msg, void *arg)
{
	ask_cancel(worker_of(arg), link_user(link), msg->stream, msg->payload);
}

/* Calls that were under way: see request.h. True when one was answered, and the list may have
 * changed. */
static bool settle_one(struct server *server)
{
	struct request *request;

	DL_FOREACH(server->worker->requests, request)
	{
		if (request->server != server || request->call == 0)
			continue;
		request->call = 0;
		if (request->cancelled) {
			request_drop(request);
			return true;
		}
		if ((request->forwarded && !request->safe) || request->tries >= TRIES_MAX) {
			fail(request, ERR_PROCESS_DIED,
				"the process that spoke with the server died",
				request->forwarded ? 2 : 0);
			return true;
		}
		request->forwarded = false;
		request->waiting = true;
	}
	return false;
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct worker *worker = worker_of(arg);
	struct server *server = link_user(link);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("server", server->name));
	link_free(link);
	server->link = NULL;
	if (server->called && worker->session.era == MCP_LEGACY)
		server->resumed_until_ms = clock_ms() + RESUME_MS;
	server->draining = server->called = false;
	own_lists_outdated(server, MCP_METHOD_NONE);
	asks_server_gone(worker, server);
	while (settle_one(server))
		;
	if (is_waited_for(server))
		open_link(server);
	else
		keep_link(server);
}

const struct link_handlers worker_upstream_handlers = {
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
	.closed = on_closed,
};
