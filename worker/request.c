#include "request.h"
#include "listens.h"
#include "modern.h"
#include "points.h"
#include "tasks.h"
#include "worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* The upstream worker keeps the deadline; this is for when it cannot. */
#define DEADLINE_SLACK_MS 2000u

struct request *request_new(struct worker *worker, struct exchange *exchange,
	const struct jsonrpc *msg, enum mcp_era era)
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
		.deadline_ms =
			exchange->began_ms + (uint64_t)worker->config->session_request_timeout,
	};
	if (!POINT(IDS))
		request->id = point_number(request->id);
	request->safe = mcp_method_info(request->method)->flags & MCP_SAFE;
	exchange->unanswered++;
	DL_APPEND(worker->requests, request);
	worker->n_requests++;
	worker_tick_in(
		worker, (uint64_t)worker->config->session_request_timeout + DEADLINE_SLACK_MS);
	return request;
}

struct request *request_new_own(
	struct worker *worker, enum mcp_method method, request_reply_fn *fn, void *arg)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	*request = (struct request){
		.worker = worker,
		.method = method,
		.era = MCP_LEGACY,
		.safe = true,
		.deadline_ms =
			worker_now(worker) + (uint64_t)worker->config->session_request_timeout,
		.on_reply = fn,
		.arg = arg,
	};
	DL_APPEND(worker->requests, request);
	worker->n_requests++;
	return request;
}

void request_free(struct request *request)
{
	if (request->worker->initialize == request)
		request->worker->initialize = NULL;
	server_forget(request);
	DL_DELETE(request->worker->requests, request);
	request->worker->n_requests--;
	listen_free(request);
	free(request->memory);
	free(request->params);
	task_list_free(request->tasks);
	free(request);
}

/* --- answers -------------------------------------------------------------------------------- */

/* A request has left a stream whose exchange is gone: after the last one it is complete. */
static void leave_stream(struct worker *worker, struct stream *stream)
{
	if (stream && !request_on_stream(worker, stream))
		stream_finish(&worker->streams, stream);
}

/* Whose answer it would be by the id alone. */
static struct request *oldest_of_id(struct request *request)
{
	struct request *each;

	DL_FOREACH(request->worker->requests, each)
	{
		if (each->id.len && json_equal_scalar(each->id, request->id))
			return each;
	}
	return request;
}

void request_answer(struct request *request, struct span message)
{
	struct worker *worker = request->worker;
	struct exchange *exchange;
	struct stream *stream;

	if (!POINT(PENDING))
		request = oldest_of_id(request);
	exchange = request->exchange;
	stream = request->stream;
	request->exchange = NULL;
	request_free(request);
	if (exchange) {
		exchange_deliver(exchange, message, true, false);
	} else if (stream) {
		/* nobody listens, or somebody who came back: the log keeps it */
		stream_send(&worker->streams, stream, message, false);
		leave_stream(worker, stream);
		worker_touch(worker);
	}
}

static void note_outcome(struct request *request, int code)
{
	if (request->exchange && code)
		request->exchange->outcome.code = code;
}

/* What one answer may have, with its envelope. */
static bool fits(struct request *request, size_t len)
{
	if (len + request->id.len + 256 <= message_row(MSG_EXCHANGE_ANSWER)->max_payload)
		return true;
	request_refuse(request, ERR_TOO_LARGE, "the answer is too large to be passed on");
	return false;
}

static void begin_answer(const struct request *request, const char *member, struct buf *out)
{
	buf_append_str(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	buf_append_span(out, request->id);
	buf_append_str(out, member);
}

void request_begin_result(const struct request *request, struct buf *out)
{
	begin_answer(request, ",\"result\":", out);
}

static void answer_with(struct request *request, const char *member, struct span value)
{
	struct buf out;

	if (value.len == 0)
		value = SPAN_LIT("{}");
	if (!fits(request, value.len))
		return;
	if (!POINT(BYTES))
		value = point_reencode(value);
	buf_init(&out, value.len + request->id.len + 256);
	buf_reserve(&out, value.len + request->id.len + 48);
	begin_answer(request, member, &out);
	buf_append_span(&out, value);
	if (buf_append_char(&out, '}') == 0)
		request_answer(request, buf_span(&out));
	else
		worker_out_of_memory(request->worker);
	buf_free(&out);
}

void request_result(struct request *request, struct span result)
{
	answer_with(request, ",\"result\":", result);
}

void request_error(struct request *request, struct span error)
{
	int64_t code = 0;
	struct span message, data;

	jsonrpc_error_get(error, &code, &message, &data);
	note_outcome(request, (int)code);
	if (request->exchange && request->era == MCP_MODERN)
		request->exchange->status = modern_status_of_rpc(code);
	answer_with(request, ",\"error\":", error);
}

void request_fail(struct request *request, const struct err *err, enum jsonrpc_executed executed)
{
	struct buf out;

	note_outcome(request, err_rpc_code(err->code));
	/* the sessionless era tells some by the HTTP status, too */
	if (request->exchange && request->era == MCP_MODERN)
		request->exchange->status = modern_status(err->code);
	if (request->exchange && executed == JSONRPC_EXECUTED_UNKNOWN)
		request->exchange->outcome.executed = 2;
	buf_init(&out, 65536);
	jsonrpc_write_err(&out, request->id, err, executed);
	request_answer(request, buf_span(&out));
	buf_free(&out);
}

void request_refuse(struct request *request, enum err_code code, const char *fmt, ...)
{
	char text[ERR_DETAIL_MAX];
	struct err err = {0};
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	err_set(&err, code, "%s", text);
	request_fail(request, &err, JSONRPC_EXECUTED_NO);
}

void request_drop(struct request *request)
{
	struct worker *worker = request->worker;
	struct exchange *exchange = request->exchange;
	struct stream *stream = request->stream;

	request->exchange = NULL;
	request_free(request);
	if (exchange)
		exchange_settle(exchange);
	else
		leave_stream(worker, stream);
}

void request_note(struct request *request, struct span message, bool droppable)
{
	if (request->exchange)
		exchange_deliver(request->exchange, message, false, droppable);
	else if (request->stream)
		stream_send(&request->worker->streams, request->stream, message, droppable);
}

void request_reply(struct request *request, const struct reply *reply)
{
	if (request->exchange) {
		request->exchange->outcome.upstream_us += reply->upstream_us;
		request->exchange->outcome.queue_us += reply->queue_us;
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
		/* also one that has run, whose result could not be passed on */
		request_fail(request, &reply->err,
			reply->executed ? JSONRPC_EXECUTED_UNKNOWN : JSONRPC_EXECUTED_NO);
}

/* --- the exchange changes ------------------------------------------------------------------- */

void request_exchange_gone(struct worker *worker, const struct exchange *exchange)
{
	struct request *request;

	DL_FOREACH(worker->requests, request)
	{
		if (request->exchange == exchange)
			request->exchange = NULL;
	}
}

void request_exchange_streams(
	struct worker *worker, const struct exchange *exchange, struct stream *stream)
{
	struct request *request;

	DL_FOREACH(worker->requests, request)
	{
		if (request->exchange == exchange)
			request->stream = stream;
	}
}

bool request_on_stream(const struct worker *worker, const struct stream *stream)
{
	const struct request *request;

	DL_FOREACH(worker->requests, request)
	{
		if (request->stream == stream)
			return true;
	}
	return false;
}

/* It ends when the server's side has confirmed that; one that is not there yet ends at once. */
static void withdraw(struct request *request, struct span reason)
{
	request->cancelled = true;
	if (request->call)
		server_cancel(request, reason);
	else
		request_drop(request);
}

void request_cancel_exchange(struct worker *worker, struct exchange *exchange)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(worker->requests, request, next)
	{
		if (request->exchange != exchange)
			continue;
		request->exchange = NULL;
		withdraw(request, SPAN_NONE);
	}
}

void request_cancel(struct worker *worker, struct span raw_id, struct span reason)
{
	struct request *request;

	DL_FOREACH(worker->requests, request)
	{
		if (request->cancelled || !request->id.len ||
			!json_equal_scalar(request->id, raw_id) ||
			request->method == MCP_INITIALIZE)
			continue;
		withdraw(request, reason);
		return;
	}
}

static void give_up(
	struct request *request, enum err_code code, const char *why, struct span reason)
{
	struct reply late = {.kind = 2, .executed = request->call || request->forwarded ? 2 : 0};

	err_set(&late.err, code, "%s", why);
	if (request->call)
		server_cancel(request, reason);
	request->call = 0;
	request->waiting = false;
	request_reply(request, &late);
}

void request_end_all(struct worker *worker, const char *why)
{
	while (worker->requests)
		give_up(worker->requests, ERR_CLOSED, why, SPAN_NONE);
}

void request_tick(struct worker *worker, uint64_t now_ms)
{
	struct request *request;
	uint64_t nearest = UINT64_MAX;

	DL_FOREACH(worker->requests, request)
	{
		uint64_t until = request->deadline_ms + DEADLINE_SLACK_MS;

		if (request->listen)
			continue;
		if (now_ms >= until) {
			give_up(request, ERR_TIMEOUT, "no answer within the time allowed",
				SPAN_LIT("\"timeout\""));
			/* the list may have changed: the rest in the next tick */
			worker_tick_in(worker, 0);
			return;
		}
		if (until < nearest)
			nearest = until;
	}
	if (nearest != UINT64_MAX)
		worker_tick_in(worker, nearest - now_ms);
}
