#include "router.h"
#include "asks.h"
#include "methods.h"
#include "modern.h"
#include "points.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

/* Messages of one batch (2025-03-26). */
#define BATCH_MAX 100u
/* Of a worker that many share, the limit on unanswered requests is so many
 * times that of a session. */
#define SHARED_FACTOR 16u

/* --- messages of the client ----------------------------------------------------------------- */

static bool is_known(const struct request *request)
{
	const struct worker *worker = request->worker;
	enum mcp_version version =
		request->era == MCP_MODERN ? MCP_FIRST_MODERN : worker->session.version;

	if (!method_find(request->method))
		return false;
	/* an extension there */
	if (request->era == MCP_MODERN &&
		mcp_method_info(request->method)->route == MCP_ROUTE_TASK &&
		!(worker->catalogue &&
			mcp_has_extension(
				catalogue_capabilities(worker->catalogue, CATALOGUE_MODERN),
				MCP_EXTENSION_TASKS)))
		return false;
	/* `initialize` comes before a revision is agreed on */
	return version == MCP_VERSION_NONE || mcp_method_in(request->method, version);
}

static bool is_too_early(const struct request *request)
{
	const struct worker *worker = request->worker;

	return request->era == MCP_LEGACY && !worker->session.opened &&
	       request->method != MCP_INITIALIZE && request->method != MCP_PING;
}

static uint32_t in_flight_max(const struct worker *worker)
{
	uint32_t max = (uint32_t)worker->config->session_max_in_flight;

	return worker->session.era == MCP_MODERN ? max * SHARED_FACTOR : max;
}

static void route(struct request *request, const struct jsonrpc *msg)
{
	struct worker *worker = request->worker;
	struct err err = {0};

	if (worker->n_requests > in_flight_max(worker))
		request_refuse(request, ERR_TOO_MANY,
			"too many requests of this session are unanswered: wait for some of them");
	else if (!is_known(request))
		request_refuse(request, ERR_METHOD_NOT_FOUND, "Method not found: %.*s",
			SPAN_ARG(msg->method));
	else if (is_too_early(request))
		request_refuse(request, ERR_INVALID_REQUEST,
			"the session is not initialized: send initialize first");
	else if (request->method == MCP_INITIALIZE && request->exchange->batch)
		request_refuse(
			request, ERR_INVALID_REQUEST, "initialize cannot be part of a batch");
	else if (mcp_params_check(msg->params, &err) < 0)
		request_fail(request, &err, JSONRPC_EXECUTED_NO);
	else
		method_find(request->method)(request, msg->params);
}

static void on_request(struct worker *worker, struct exchange *exchange, const struct jsonrpc *msg,
	enum mcp_log_level log_level)
{
	struct request *request = request_new(worker, exchange, msg, worker->session.era);

	if (!request) {
		worker_out_of_memory(worker);
		return;
	}
	request->log_level = log_level;
	snprintf(exchange->outcome.method, sizeof(exchange->outcome.method), "%.*s",
		SPAN_ARG(mcp_method_info(request->method)->name));
	route(request, msg);
}

static void on_initialized(struct worker *worker)
{
	if (worker->session.initialized)
		return;
	worker->session.initialized = true;
	session_save(worker, NULL, NULL);
}

static void on_notification(struct worker *worker, const struct jsonrpc *msg)
{
	/* who shares a worker has ids of its own: there, closing a stream is the way to cancel */
	if (worker->session.era == MCP_MODERN || !worker->session.opened)
		return;
	switch (mcp_method_find(msg->method)) {
	case MCP_INITIALIZED:
		on_initialized(worker);
		break;
	case MCP_CANCELLED:
		request_cancel(worker, json_object_get(msg->params, SPAN_LIT("requestId")),
			json_object_get(msg->params, SPAN_LIT("reason")));
		break;
	case MCP_PROGRESS:
		ask_progress(worker, msg->params);
		break;
	case MCP_ROOTS_CHANGED:
		server_notify(worker, NULL, msg->method, msg->params);
		break;
	default:
		break;
	}
}

/* A notification or a reply. */
static void on_other(struct worker *worker, const struct jsonrpc *msg)
{
	if (msg->kind == JSONRPC_NOTIFICATION)
		on_notification(worker, msg);
	else
		ask_answered(worker, msg);
}

static void hold_error(struct exchange *exchange, struct span id, const struct err *err)
{
	struct buf out;

	buf_init(&out, 65536);
	jsonrpc_write_err(&out, id, err, JSONRPC_EXECUTED_NO);
	exchange->unanswered++;
	exchange_deliver(exchange, buf_span(&out), true, false);
	buf_free(&out);
}

static bool may_batch(const struct worker *worker, const struct jsonrpc *batch, struct err *err)
{
	if (batch->batch_len == 0)
		err_set(err, ERR_INVALID_REQUEST, "an empty batch");
	else if (worker->session.version > MCP_2025_03_26 || worker->session.era == MCP_MODERN ||
		 !POINT(BATCH))
		err_set(err, ERR_INVALID_REQUEST,
			"revisions later than 2025-03-26 have no batches: send the messages one by "
			"one");
	else if (batch->batch_len > BATCH_MAX)
		err_set(err, ERR_INVALID_REQUEST, "a batch has %zu messages, at most %u are taken",
			batch->batch_len, BATCH_MAX);
	return err->code == 0;
}

/* A batch: every message by itself; with at least one request, the answers come as an array or a
 * stream. */
static void post_batch(
	struct worker *worker, struct exchange *exchange, const struct jsonrpc *batch)
{
	struct json_iter iter = json_iter(batch->body);
	struct jsonrpc msg;
	struct err err = {0};
	bool asks = false;
	int r;

	if (!may_batch(worker, batch, &err)) {
		exchange_answer_err(exchange, SPAN_NONE, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	exchange->batch = true;
	exchange->unanswered = 1; /* not before all are read */
	while ((r = jsonrpc_batch_next(&iter, &msg, &err)) != 0) {
		if (r < 0)
			hold_error(exchange, msg.id, &err);
		else if (msg.kind == JSONRPC_REQUEST)
			on_request(worker, exchange, &msg, MCP_LOG_NONE);
		else
			on_other(worker, &msg);
		asks |= r < 0 || msg.kind == JSONRPC_REQUEST;
	}
	if (asks)
		exchange_settle(exchange);
	else
		exchange_answer_status(exchange, 202);
}

/* The checks of a modern message; false when it was answered with what is wrong. */
static bool check_modern(struct exchange *exchange, const struct jsonrpc *msg,
	const struct mcp_headers *headers, struct mcp_meta *ret_meta)
{
	struct err err = {0};
	struct buf body;

	if (mcp_request_meta(msg, headers, ret_meta, &err) == 0)
		return true;
	buf_init(&body, 65536);
	mcp_write_err(&body, msg->id, &err, ret_meta, JSONRPC_EXECUTED_NO);
	exchange->outcome.code = err_rpc_code(err.code);
	exchange_answer_json(exchange, (unsigned)err_http_status(err.code), buf_span(&body));
	buf_free(&body);
	return false;
}

void router_post(struct worker *worker, struct exchange *exchange, struct span body,
	const struct mcp_headers *headers)
{
	struct mcp_meta meta = {.log_level = MCP_LOG_NONE};
	struct jsonrpc msg;
	struct err err = {0};

	if (jsonrpc_parse(body, &msg, &err) < 0) {
		exchange_answer_err(exchange, msg.id, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	if (msg.kind == JSONRPC_BATCH) {
		post_batch(worker, exchange, &msg);
		return;
	}
	if (worker->session.era == MCP_MODERN && !check_modern(exchange, &msg, headers, &meta))
		return;
	if (msg.kind == JSONRPC_REQUEST) {
		on_request(worker, exchange, &msg, meta.log_level);
		return;
	}
	snprintf(exchange->outcome.method, sizeof(exchange->outcome.method), "%.*s",
		SPAN_ARG(mcp_method_info(mcp_method_find(msg.method))->name));
	on_other(worker, &msg);
	exchange_answer_status(exchange, 202);
}
