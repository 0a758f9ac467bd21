/* JSON-RPC 2.0: writing messages. */
#include "jsonrpc.h"
#include "json_write.h"

#include <inttypes.h>
#include <stdio.h>

/* A message under construction: after the first failure nothing more is written, and finish() takes
 * it all back. */
struct writer {
	struct buf *out;
	size_t start;
	int r;
};

static struct writer begin(struct buf *out)
{
	struct writer w = {out, out->len, 0};

	w.r = buf_append_str(out, "{\"jsonrpc\":\"2.0\"");
	return w;
}

static void raw(struct writer *w, struct span text)
{
	if (w->r == 0)
		w->r = buf_append_span(w->out, text);
}

static void literal(struct writer *w, const char *text)
{
	raw(w, span_str(text));
}

static void string(struct writer *w, struct span text)
{
	if (w->r == 0)
		w->r = json_write_string(w->out, text);
}

static void integer(struct writer *w, int64_t v)
{
	if (w->r == 0)
		w->r = buf_printf(w->out, "%" PRId64, v);
}

static void member(struct writer *w, const char *key, struct span value)
{
	if (value.len == 0)
		return;
	literal(w, ",\"");
	literal(w, key);
	literal(w, "\":");
	raw(w, value);
}

static void method(struct writer *w, struct span name)
{
	literal(w, ",\"method\":");
	string(w, name);
}

static int finish(struct writer *w)
{
	literal(w, "}");
	if (w->r < 0)
		buf_cut(w->out, w->start);
	return w->r;
}

static struct span or_null(struct span raw_id)
{
	return raw_id.len ? raw_id : SPAN_LIT("null");
}

int jsonrpc_write_request(struct buf *out, uint64_t id, struct span name, struct span params)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, id);

	return jsonrpc_write_request_raw(out, span_of(digits, (size_t)len), name, params);
}

int jsonrpc_write_request_raw(
	struct buf *out, struct span raw_id, struct span name, struct span params)
{
	struct writer w = begin(out);

	member(&w, "id", or_null(raw_id));
	method(&w, name);
	member(&w, "params", params);
	return finish(&w);
}

int jsonrpc_write_notification(struct buf *out, struct span name, struct span params)
{
	struct writer w = begin(out);

	method(&w, name);
	member(&w, "params", params);
	return finish(&w);
}

int jsonrpc_write_result(struct buf *out, struct span raw_id, struct span result)
{
	struct writer w = begin(out);

	member(&w, "id", or_null(raw_id));
	member(&w, "result", result.len ? result : SPAN_LIT("{}"));
	return finish(&w);
}

static void error_open(struct writer *w, struct span raw_id, int64_t code, struct span message)
{
	member(w, "id", or_null(raw_id));
	literal(w, ",\"error\":{\"code\":");
	integer(w, code);
	literal(w, ",\"message\":");
	string(w, message);
}

int jsonrpc_write_error(
	struct buf *out, struct span raw_id, int64_t code, struct span message, struct span data)
{
	struct writer w = begin(out);

	error_open(&w, raw_id, code, message);
	member(&w, "data", data);
	literal(&w, "}");
	return finish(&w);
}

int jsonrpc_write_err(
	struct buf *out, struct span raw_id, const struct err *err, enum jsonrpc_executed executed)
{
	return jsonrpc_write_err_data(out, raw_id, err, executed, SPAN_NONE);
}

int jsonrpc_write_err_data(struct buf *out, struct span raw_id, const struct err *err,
	enum jsonrpc_executed executed, struct span extra)
{
	struct writer w = begin(out);

	error_open(&w, raw_id, err_rpc_code(err->code), span_str(err_text(err)));
	literal(&w, ",\"data\":{");
	raw(&w, extra);
	literal(&w, extra.len ? ",\"reason\":" : "\"reason\":");
	string(&w, span_str(err_reason(err->code)));
	literal(&w, err_retryable(err->code) ? ",\"retryable\":true" : ",\"retryable\":false");
	literal(&w, executed == JSONRPC_EXECUTED_NO ? ",\"executed\":\"no\"}"
						    : ",\"executed\":\"unknown\"}");
	literal(&w, "}");
	return finish(&w);
}
