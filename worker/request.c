#include "request.h"
#include "clock.h"
#include "modern.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* The upstream worker keeps the deadline; this is for when it cannot. */
#define DEADLINE_SLACK_MS 2000u

struct request *request_new(struct worker *worker, struct exchange *exchange, const struct jsonrpc *msg, enum mcp_era era)
{
	struct span token = mcp_progress_token(msg->params);
	struct request *request = calloc(1, sizeof(*request));
	char *memory = malloc(msg->id.len + token.len + 1);

	if (!request || !memory) {
		free(request);
		free(memory);
		return NULL;
	}
	memcpy(memory, msg->id.p, msg->id.len);
	if (token.len)
		memcpy(memory + msg->id.len, token.p, token.len);
	*request = (struct request){
		.worker = worker,
		.exchange = exchange,
		.memory = memory,
		.id = span_of(memory, msg->id.len),
		.token = span_of(memory + msg->id.len, token.len),
		.method = mcp_method_find(msg->method),
		.era = era,
		.deadline_ms = clock_ms() + (uint64_t)worker->config->session_request_timeout,
	};
	request->safe = mcp_method_info(request->method)->flags & MCP_SAFE;
	exchange->unanswered++;
	DL_APPEND(worker->requests, request);
	worker->n_requests++;
	worker_tick_soon(worker);
	return request;
}

void request_free(struct request *request)
{
	server_forget(request);
	DL_DELETE(request->worker->requests, request);
	request->worker->n_requests--;
	free(request->memory);
	free(request->params);
	free(request);
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

void request_answer(struct request *request, struct span message)
{
	struct worker *worker = request->worker;
	struct exchange *exchange = request->exchange;
	struct stream *stream = request->stream;

	request->exchange = NULL;
	request_free(request);
	if (exchange) {
		exchange_deliver(exchange, message, true);
	} else if (stream) {
		/* nobody listens: the log keeps it until the client comes back */
		stream_send(&worker->streams, stream, message, false);
		if (!request_on_stream(worker, stream))
			stream_finish(&worker->streams, stream);
	}
	worker_touch(worker);
}

static void note_outcome(struct request *request, int code)
{
	if (request->exchange && code)
		request->exchange->outcome.code = code;
}

void request_result(struct request *request, struct span result)
{
	struct buf out;

	buf_init(&out, result.len + request->id.len + 256);
	if (jsonrpc_write_result(&out, request->id, result) == 0)
		request_answer(request, buf_span(&out));
	buf_free(&out);
}

void request_error(struct request *request, struct span error)
{
	int64_t code = 0;
	struct span message, data;
	struct buf out;

	jsonrpc_error_get(error, &code, &message, &data);
	note_outcome(request, (int)code);
	buf_init(&out, error.len + request->id.len + 256);
	buf_append_str(&out, "{\"jsonrpc\":\"2.0\",\"id\":");
	buf_append_span(&out, request->id);
	buf_append_str(&out, ",\"error\":");
	buf_append_span(&out, error);
	buf_append_char(&out, '}');
	request_answer(request, buf_span(&out));
	buf_free(&out);
}

void request_fail(struct request *request, const struct err *err, enum jsonrpc_executed executed)
{
	struct buf out;

	note_outcome(request, err_rpc_code(err->code));
	/* the sessionless era tells by the HTTP status, too */
	if (request->exchange && request->era == MCP_MODERN)
		request->exchange->status = modern_status(err->code);
	if (request->exchange && executed == JSONRPC_EXECUTED_UNKNOWN)
		request->exchange->outcome.executed = 2;
	buf_init(&out, 65536);
	jsonrpc_write_err(&out, request->id, err, executed);
	request_answer(request, buf_span(&out));
	buf_free(&out);
}

void request_drop(struct request *request)
{
	struct exchange *exchange = request->exchange;

	request->exchange = NULL;
	request_free(request);
	if (exchange)
		exchange_settle(exchange);
}

void request_note(struct request *request, struct span message)
{
	if (request->exchange)
		exchange_deliver(request->exchange, message, false);
	else if (request->stream)
		stream_send(&request->worker->streams, request->stream, message, true);
}

void request_reply(struct request *request, const struct reply *reply)
{
	if (request->exchange) {
		request->exchange->outcome.upstream_us += reply->upstream_us;
		request->exchange->outcome.executed = reply->executed;
	}
	if (request->cancelled) {
		request_drop(request);
		return;
	}
	if (request->on_reply) {
		if (!request->on_reply(request, reply, request->arg))
			request_free(request);
		return;
	}
	if (reply->kind == 0)
		request_result(request, reply->payload);
	else if (reply->kind == 1)
		request_error(request, reply->payload);
	else
		request_fail(request, &reply->err, reply->executed == 2 ? JSONRPC_EXECUTED_UNKNOWN : JSONRPC_EXECUTED_NO);
}

/* --- the exchange changes ------------------------------------------------------------------------------------------- */

void request_exchange_gone(struct worker *worker, const struct exchange *exchange)
{
	struct request *request;

	DL_FOREACH(worker->requests, request) {
		if (request->exchange == exchange)
			request->exchange = NULL;
	}
}

void request_exchange_streams(struct worker *worker, const struct exchange *exchange, struct stream *stream)
{
	struct request *request;

	DL_FOREACH(worker->requests, request) {
		if (request->exchange == exchange)
			request->stream = stream;
	}
}

bool request_on_stream(const struct worker *worker, const struct stream *stream)
{
	const struct request *request;

	DL_FOREACH(worker->requests, request) {
		if (request->stream == stream)
			return true;
	}
	return false;
}

void request_cancel_exchange(struct worker *worker, const struct exchange *exchange)
{
	struct request *request;

	DL_FOREACH(worker->requests, request) {
		if (request->exchange == exchange) {
			request->cancelled = true;
			server_cancel(request, SPAN_NONE);
		}
	}
}

void request_cancel(struct worker *worker, struct span raw_id, struct span reason)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(worker->requests, request, next) {
		if (request->cancelled || !json_equal_scalar(request->id, raw_id) || request->method == MCP_INITIALIZE)
			continue;
		request->cancelled = true;
		if (request->server)
			server_cancel(request, reason);
		else
			request_drop(request);
		return;
	}
}

void request_tick(struct worker *worker, uint64_t now_ms)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(worker->requests, request, next) {
		struct reply late = {.kind = 2, .executed = request->forwarded ? 2 : 0};

		if (now_ms < request->deadline_ms + DEADLINE_SLACK_MS)
			continue;
		err_set(&late.err, ERR_TIMEOUT, "no answer within the time allowed");
		if (request->server)
			server_cancel(request, SPAN_LIT("\"timeout\""));
		request_reply(request, &late);
		return; /* the list may have changed: the rest in the next tick */
	}
}
