/* Answers of the REST view: results as they are, errors as problems (RFC 9457). */
#include "gateway.h"
#include "json.h"
#include "json_write.h"
#include "payloads.h"
#include "rest.h"

#include <inttypes.h>
#include <stdlib.h>

#define PROBLEM_SPARE (64u * 1024)
#define TYPE "urn:gatehouse:problem:"
#define REASON_MAX 64u

/* --- which status --------------------------------------------------------------------------- */

/* Those that are 200 in errors.def, because JSON-RPC says them in the body. */
static unsigned status_of_reason(enum err_code code)
{
	switch (code) {
	case ERR_SERVER_DOWN:
	case ERR_SERVER_CAPACITY:
		return 503;
	case ERR_STATE_GONE:
	case ERR_CANCELLED:
		return 409;
	case ERR_MISSING_CAPABILITY:
		return 501;
	default:
		return err_http_status(-(int)code) == 200 ? 502
							  : (unsigned)err_http_status(-(int)code);
	}
}

/* What a server said. */
static unsigned status_of_code(int64_t code)
{
	switch (code) {
	case -32602:
		return 400;
	case -32002:
		return 404;
	case -32601:
	case -32021:
		return 501;
	default:
		return 502;
	}
}

/* 0: none of ours. */
static enum err_code code_of_reason(struct span reason)
{
	for (int code = 1; code < ERR_MAX; code++)
		if (span_is(reason, err_reason(-code)))
			return (enum err_code)code;
	return 0;
}

/* --- problems ------------------------------------------------------------------------------- */

/* "server_down" → "server down" */
static void write_title(struct buf *out, struct span reason)
{
	for (size_t i = 0; i < reason.len; i++)
		buf_append_char(out, reason.p[i] == '_' ? ' ' : reason.p[i]);
}

static void begin_problem(struct buf *out, struct span reason, unsigned status)
{
	buf_printf(out, "{\"type\":\"" TYPE "%.*s\",\"title\":\"", SPAN_ARG(reason));
	write_title(out, reason);
	buf_printf(out, "\",\"status\":%u,\"detail\":", status);
}

static int end_problem(struct buf *out, struct span request_id)
{
	return buf_printf(out, ",\"request\":\"%.*s\"}", SPAN_ARG(request_id));
}

static void write_member(struct buf *out, const char *name, struct span value)
{
	if (value.len)
		buf_printf(out, ",\"%s\":", name);
	buf_append_span(out, value);
}

/* error: of a JSON-RPC response. Returns the status. */
static unsigned write_error(
	struct buf *out, struct span error, enum mcp_method method, struct span request_id)
{
	struct span message = SPAN_NONE, data = SPAN_NONE, text = SPAN_NONE, executed;
	char room[REASON_MAX];
	int64_t code = 0;
	enum err_code ours = 0;
	unsigned status;

	jsonrpc_error_get(error, &code, &message, &data);
	executed = json_object_get(data, SPAN_LIT("executed"));
	if (executed.len && json_string_copy(json_object_get(data, SPAN_LIT("reason")), room,
				    sizeof(room), &text) == 0)
		ours = code_of_reason(text);
	status = ours ? status_of_reason(ours) : status_of_code(code);
	if (method == MCP_RESOURCES_READ && code == -32602)
		status = 404;
	begin_problem(out, ours ? text : SPAN_LIT("server_error"), status);
	buf_append_span(out, message.len ? message : SPAN_LIT("\"\""));
	buf_printf(out, ",\"code\":%" PRId64, code);
	if (ours) {
		write_member(out, "retryable", json_object_get(data, SPAN_LIT("retryable")));
		write_member(out, "executed", executed);
	} else {
		write_member(out, "data", data);
	}
	end_problem(out, request_id);
	return status;
}

unsigned rest_write_problem(struct buf *out, const struct err *err, struct span request_id)
{
	struct jsonrpc msg;
	struct buf text;
	unsigned status = 500;

	buf_init(&text, PROBLEM_SPARE);
	jsonrpc_write_err(&text, SPAN_NONE, err, JSONRPC_EXECUTED_NO);
	jsonrpc_parse(buf_span(&text), &msg, NULL);
	status = write_error(out, msg.error, MCP_METHOD_NONE, request_id);
	buf_free(&text);
	return status;
}

/* The first text that a tool which failed has to say, raw. */
static struct span first_text(struct span result)
{
	struct json_iter iter = json_iter(json_object_get(result, SPAN_LIT("content")));
	struct span part, text;

	while (json_iter_element(&iter, &part)) {
		text = json_object_get(part, SPAN_LIT("text"));
		if (json_type(text) == JSON_STRING)
			return text;
	}
	return SPAN_LIT("\"the tool failed\"");
}

static int write_tool_error(struct buf *out, struct span result, struct span request_id)
{
	begin_problem(out, SPAN_LIT("tool_error"), 422);
	buf_append_span(out, first_text(result));
	buf_append_str(out, ",\"executed\":\"yes\",\"result\":");
	buf_append_span(out, result);
	return end_problem(out, request_id);
}

static int write_input_required(struct buf *out, struct span request_id)
{
	begin_problem(out, SPAN_LIT("input_required"), 501);
	buf_append_str(out, "\"the server asks something back before it answers, for which there is "
			    "no way here: use an MCP client\"");
	return end_problem(out, request_id);
}

/* --- giving --------------------------------------------------------------------------------- */

static void respond(struct exchange *exchange, struct outcome *outcome, const char *type,
	struct span body)
{
	struct answer_headers headers = {.n = 0};

	answer_headers_add(&headers, "Content-Type", span_str(type));
	answer_headers_add(&headers, "Cache-Control", SPAN_LIT("no-store"));
	answer_headers_add(
		&headers, "X-Request-Id", span_of(exchange->request_id, REQUEST_ID_MAX - 1));
	answer_headers_timing(&headers, exchange, outcome->upstream_us);
	answer_headers_cors(&headers, exchange->facts.origin);
	exchange->bytes_out = body.len;
	if (http_conn_respond(exchange->conn, outcome->status, headers.list, headers.n, body) < 0) {
		http_conn_abort(exchange->conn);
		return;
	}
	exchange_finish(exchange, outcome);
}

void rest_give(struct exchange *exchange, const char *type, struct span body)
{
	struct outcome outcome = exchange_outcome(exchange, "ok", 200);

	respond(exchange, &outcome, type, body);
}

static bool is_complete(struct span result)
{
	struct span type = json_object_get(result, SPAN_LIT("resultType"));

	return !type.len || json_equal_string(type, SPAN_LIT("complete"));
}

/* A result that is none to a program: its problem. False: it is given as it is. */
static bool write_failure(
	struct exchange *exchange, struct span result, struct outcome *outcome, struct buf *out)
{
	struct span id = span_of(exchange->request_id, REQUEST_ID_MAX - 1);

	if (!is_complete(result)) {
		write_input_required(out, id);
		outcome->status = 501;
		return true;
	}
	if (exchange->method != MCP_TOOLS_CALL ||
		!span_is(json_object_get(result, SPAN_LIT("isError")), "true"))
		return false;
	write_tool_error(out, result, id);
	outcome->status = 422;
	return true;
}

static void give(
	struct exchange *exchange, const struct answer *answer, const struct outcome *outcome)
{
	struct outcome said = *outcome;
	struct jsonrpc msg;
	struct buf out;
	struct err err = {0};

	payloads_answer(exchange->payloads, answer->body);
	buf_init(&out, answer->body.len + PROBLEM_SPARE);
	if (jsonrpc_parse(answer->body, &msg, &err) < 0 ||
		(msg.kind != JSONRPC_RESULT && msg.kind != JSONRPC_ERROR)) {
		err_set(&err, ERR_INTERNAL, "the answer is no JSON-RPC response");
		said.status = rest_write_problem(
			&out, &err, span_of(exchange->request_id, REQUEST_ID_MAX - 1));
	} else if (msg.kind == JSONRPC_ERROR) {
		said.status = write_error(&out, msg.error,
			exchange->own_body ? exchange->method : MCP_METHOD_NONE,
			span_of(exchange->request_id, REQUEST_ID_MAX - 1));
	} else if (!write_failure(exchange, msg.result, &said, &out)) {
		said.status = 200;
		respond(exchange, &said, "application/json", msg.result);
		buf_free(&out);
		return;
	}
	respond(exchange, &said, REST_PROBLEM_TYPE, buf_span(&out));
	buf_free(&out);
}

/* No event stream was asked for. */
static int begin(struct exchange *exchange, unsigned status, struct span session)
{
	(void)exchange;
	(void)status;
	(void)session;
	return -ERR_INTERNAL;
}

static void broken(struct exchange *exchange)
{
	http_conn_abort(exchange->conn);
}

static void no_bytes(struct exchange *exchange, struct span bytes)
{
	(void)bytes;
	broken(exchange);
}

static void no_end(struct exchange *exchange, const struct outcome *outcome)
{
	(void)outcome;
	broken(exchange);
}

/* Nothing was said yet. */
static void again(struct exchange *exchange)
{
	(void)exchange;
}

static void stop(struct exchange *exchange)
{
	free(exchange->own_body);
	exchange->own_body = NULL;
}

static const char *remote(const struct exchange *exchange)
{
	return exchange->remote[0] ? exchange->remote : http_conn_remote(exchange->conn);
}

static const char *transport(const struct exchange *exchange)
{
	(void)exchange;
	return transport_rest.name;
}

const struct answer_ops rest_answers = {
	.give = give,
	.begin = begin,
	.write = no_bytes,
	.end = no_end,
	.again = again,
	.cut = broken,
	.broken = broken,
	.stop = stop,
	.remote = remote,
	.transport = transport,
};
