#include "asks.h"
#include "clock.h"
#include "points.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define ASKS_MAX 256u

static void ask_free(struct worker *worker, struct ask *ask)
{
	HASH_DEL(worker->asks, ask);
	free(ask->token);
	free(ask);
}

static void refuse(struct server *server, uint32_t stream, enum err_code code, const char *detail)
{
	const struct msg_answer fields = {.kind = 2, .code = code, .detail = span_str(detail)};

	if (server->link)
		link_post(server->link, MSG_ANSWER, stream, &fields);
}

static struct ask *find(struct worker *worker, uint64_t id)
{
	struct ask *ask;

	HASH_FIND(hh, worker->asks, &id, sizeof(id), ask);
	return ask;
}

/* Not that of a question which an earlier worker of this session asked. */
static uint64_t next_id(struct worker *worker)
{
	uint64_t id;

	do {
		id = jsonrpc_own_id(worker->session.epoch, ++worker->next_ask);
	} while (id == 0 || find(worker, id));
	return id;
}

static struct ask *ask_new(
	struct worker *worker, struct server *server, uint32_t stream, struct span params)
{
	struct span token = mcp_progress_token(params);
	struct ask *ask = calloc(1, sizeof(*ask));

	if (!ask)
		return NULL;
	*ask = (struct ask){.id = next_id(worker),
		.server = server,
		.stream = stream,
		.deadline_ms = clock_ms() + (uint64_t)worker->config->session_request_timeout};
	if (token.len) {
		ask->token = strndup(token.p, token.len);
		if (!ask->token) {
			free(ask);
			return NULL;
		}
	}
	HASH_ADD(hh, worker->asks, id, sizeof(ask->id), ask);
	worker_tick_in(worker, (uint64_t)worker->config->session_request_timeout);
	return ask;
}

/* The message for the client; a progress token of the server's becomes our id, which no other
 * server uses. */
static int write_ask(const struct ask *ask, struct span method, struct span params, struct buf *out)
{
	struct span token = mcp_progress_token(params);
	char id[24];
	struct json_edit edit = {.at = token,
		.with = {
			id, (size_t)snprintf(id, sizeof(id), "%llu", (unsigned long long)ask->id)}};
	struct buf spliced;
	int r;

	if (!token.len)
		return jsonrpc_write_request(out, ask->id, method, params);
	buf_init(&spliced, params.len + 64);
	r = json_splice(params, &edit, 1, &spliced);
	if (r == 0)
		r = jsonrpc_write_request(out, ask->id, method, buf_span(&spliced));
	buf_free(&spliced);
	return r;
}

/*
 * A stdio server does not say which call its question belongs to. If this session has calls under
 * way there, the newest is as good as certain.
 */
static struct request *related(struct worker *worker, const struct server *server)
{
	struct request *request, *found = NULL;

	DL_FOREACH(worker->requests, request)
	{
		if (request->server == server && request->call && request->exchange &&
			(request->exchange->accept & EXCHANGE_ACCEPTS_SSE))
			found = request;
	}
	return found;
}

static bool is_open(const struct request *request)
{
	return request && request->exchange && (request->exchange->accept & EXCHANGE_ACCEPTS_SSE);
}

/*
 * On the stream of the call it belongs to; else the standalone one; else that of a call under way
 * at the same server; else the call's own, whose client may come back for it. True: ask->told_on is
 * where.
 */
static bool deliver(
	struct worker *worker, struct ask *ask, struct request *request, struct span message)
{
	struct stream *standalone = &worker->streams.standalone;

	if (!POINT(ASKS)) {
		request = NULL;
	} else if (!is_open(request) && !streams_listened(&worker->streams)) {
		struct request *other = related(worker, ask->server);

		request = other || !request || !request->stream ? other : request;
	} else if (!is_open(request)) {
		request = NULL;
	}
	if (request) {
		request_note(request, message, false);
		ask->told_on = request->stream ? request->stream->number : STREAM_STANDALONE;
		return true;
	}
	/* kept for the stream that a client opens after initialize */
	if (!streams_listened(&worker->streams) && worker->session.initialized &&
		!worker_is_young(worker))
		return false;
	stream_send(&worker->streams, standalone, message, false);
	ask->told_on = STREAM_STANDALONE;
	return true;
}

void ask_client(struct worker *worker, struct server *server, uint32_t stream,
	struct request *request, struct span method, struct span params)
{
	const char *need = mcp_request_need(mcp_method_find(method), params);
	struct ask *ask;
	struct buf out;

	if (worker->session.era == MCP_MODERN) {
		refuse(server, stream, ERR_METHOD_NOT_FOUND,
			"this client cannot be asked: it has no session");
		return;
	}
	if (*need && !session_client_can(&worker->session, need)) {
		refuse(server, stream, ERR_METHOD_NOT_FOUND,
			"the client has not declared the capability this needs");
		return;
	}
	ask = HASH_COUNT(worker->asks) < ASKS_MAX ? ask_new(worker, server, stream, params) : NULL;
	if (!ask) {
		refuse(server, stream, ERR_TOO_MANY,
			"too many questions are open towards this client");
		return;
	}
	buf_init(&out, params.len + 4096);
	if (write_ask(ask, method, params, &out) < 0 ||
		!deliver(worker, ask, request, buf_span(&out))) {
		refuse(server, stream, ERR_CLOSED,
			"the client has no stream open on which it could be asked");
		ask_free(worker, ask);
	}
	buf_free(&out);
}

static struct ask *find_stream(struct worker *worker, const struct server *server, uint32_t stream)
{
	struct ask *ask;

	for (ask = worker->asks; ask; ask = ask->hh.next)
		if (ask->server == server && ask->stream == stream)
			return ask;
	return NULL;
}

/* Tell the client, where it was asked, that the answer is no longer wanted. */
static void tell_cancelled(struct worker *worker, const struct ask *ask, struct span reason)
{
	struct stream *stream = stream_find(&worker->streams, ask->told_on);
	struct buf out;

	buf_init(&out, 16384);
	buf_printf(&out,
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
		"cancelled\",\"params\":{\"requestId\":%llu",
		(unsigned long long)ask->id);
	if (json_type(reason) == JSON_STRING) {
		buf_append_str(&out, ",\"reason\":");
		buf_append_span(&out, reason);
	}
	buf_append_str(&out, "}}");
	stream_send(&worker->streams, stream ? stream : &worker->streams.standalone, buf_span(&out),
		false);
	buf_free(&out);
}

void ask_cancel(struct worker *worker, struct server *server, uint32_t stream, struct span reason)
{
	struct ask *ask = find_stream(worker, server, stream);

	if (!ask)
		return;
	tell_cancelled(worker, ask, reason);
	ask_free(worker, ask);
}

void asks_tick(struct worker *worker, uint64_t now_ms)
{
	struct ask *ask, *next;
	uint64_t nearest = UINT64_MAX;

	HASH_ITER (hh, worker->asks, ask, next) {
		if (now_ms >= ask->deadline_ms) {
			refuse(ask->server, ask->stream, ERR_TIMEOUT,
				"the client has not answered within the time allowed");
			tell_cancelled(worker, ask, SPAN_LIT("\"timeout\""));
			ask_free(worker, ask);
		} else if (ask->deadline_ms < nearest) {
			nearest = ask->deadline_ms;
		}
	}
	if (nearest != UINT64_MAX)
		worker_tick_in(worker, nearest - now_ms);
}

static struct ask *find_id(struct worker *worker, struct span raw)
{
	uint64_t id;

	return jsonrpc_id_uint64(raw, &id) < 0 ? NULL : find(worker, id);
}

bool ask_answered(struct worker *worker, const struct jsonrpc *reply)
{
	struct ask *ask = find_id(worker, reply->id);
	bool ok = reply->kind == JSONRPC_RESULT;
	const struct msg_answer fields = {.kind = ok ? 0 : 1};

	if (!ask)
		return false;
	if (ask->server->link)
		link_send(ask->server->link, MSG_ANSWER, ask->stream, &fields,
			ok ? reply->result : reply->error, NULL);
	ask_free(worker, ask);
	return true;
}

void ask_progress(struct worker *worker, struct span params)
{
	struct span token = json_object_get(params, SPAN_LIT("progressToken"));
	struct ask *ask = find_id(worker, token);
	struct json_edit edit;
	struct buf spliced;

	if (!ask || !ask->token)
		return;
	edit = (struct json_edit){.at = token, .with = span_str(ask->token)};
	buf_init(&spliced, params.len + 512);
	if (json_splice(params, &edit, 1, &spliced) == 0)
		server_notify(worker, ask->server, SPAN_LIT("notifications/progress"),
			buf_span(&spliced));
	buf_free(&spliced);
}

void asks_server_gone(struct worker *worker, const struct server *server)
{
	struct ask *ask, *next;

	HASH_ITER (hh, worker->asks, ask, next) {
		if (ask->server != server)
			continue;
		tell_cancelled(worker, ask, SPAN_NONE);
		ask_free(worker, ask);
	}
}

void asks_free(struct worker *worker)
{
	while (worker->asks)
		ask_free(worker, worker->asks);
}
