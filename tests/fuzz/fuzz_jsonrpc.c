/*
 * JSON-RPC and MCP envelopes. The first three lines of the input are the headers
 * MCP-Protocol-Version, Mcp-Method and Mcp-Name; the rest is the body.
 */
#include "fuzz.h"
#include "json.h"
#include "mcp.h"

#define ROOM (1u << 22)

static struct span take_line(struct span *text)
{
	const char *end = text->len ? memchr(text->p, '\n', text->len) : NULL;
	struct span line = *text;

	if (!end) {
		*text = SPAN_NONE;
		return line;
	}
	line.len = (size_t)(end - line.p);
	*text = span_of(end + 1, text->len - line.len - 1);
	return line;
}

static void check_message(const struct jsonrpc *msg)
{
	bool call = msg->kind == JSONRPC_REQUEST || msg->kind == JSONRPC_NOTIFICATION;

	FUZZ_CHECK(msg->kind != JSONRPC_NONE);
	FUZZ_CHECK(!call || json_object_get(msg->body, SPAN_LIT("method")).len > 0);
	FUZZ_CHECK(
		jsonrpc_is_reply(msg) ? !json_object_get(msg->body, SPAN_LIT("method")).len : true);
	FUZZ_CHECK(msg->kind != JSONRPC_REQUEST || jsonrpc_id_valid(msg->id));
	FUZZ_CHECK(msg->kind != JSONRPC_NOTIFICATION || msg->id.len == 0);
	FUZZ_CHECK(msg->kind != JSONRPC_RESULT || (msg->id.len && msg->result.len));
	FUZZ_CHECK(msg->kind != JSONRPC_ERROR || json_type(msg->error) == JSON_OBJECT);
	if (mcp_params_check(msg->params, NULL) == 0) {
		struct json_field name = {.key = SPAN_LIT("name")};

		json_object_get_many(msg->params, &name, 1);
		FUZZ_CHECK(name.count <= 1);
	}
}

/* Written again, it is the same message. */
static void write_again(const struct jsonrpc *msg)
{
	struct jsonrpc again;
	struct buf out;

	buf_init(&out, ROOM);
	if (msg->kind == JSONRPC_REQUEST)
		FUZZ_CHECK(jsonrpc_write_request_raw(&out, msg->id, msg->method, msg->params) == 0);
	else if (msg->kind == JSONRPC_NOTIFICATION)
		FUZZ_CHECK(jsonrpc_write_notification(&out, msg->method, msg->params) == 0);
	else if (msg->kind == JSONRPC_RESULT)
		FUZZ_CHECK(jsonrpc_write_result(&out, msg->id, msg->result) == 0);
	if (out.len) {
		FUZZ_CHECK(jsonrpc_parse(buf_span(&out), &again, NULL) == 0);
		FUZZ_CHECK(again.kind == msg->kind && span_equal(again.id, msg->id));
		FUZZ_CHECK(span_equal(again.method, msg->method) &&
			   span_equal(again.params, msg->params));
		FUZZ_CHECK(span_equal(again.result, msg->result));
	}
	buf_free(&out);
}

/* Whatever is wrong, the answer is a valid error that echoes the id. */
static void answer(const struct jsonrpc *msg, const struct err *err, const struct mcp_meta *meta)
{
	struct jsonrpc reply;
	struct buf out;

	buf_init(&out, ROOM);
	FUZZ_CHECK(err->code < 0);
	FUZZ_CHECK(mcp_write_err(&out, msg->id, err, meta, JSONRPC_EXECUTED_NO) == 0);
	FUZZ_CHECK(jsonrpc_parse(buf_span(&out), &reply, NULL) == 0);
	FUZZ_CHECK(reply.kind == JSONRPC_ERROR && span_equal(reply.id, msg->id));
	buf_free(&out);
}

static void try_message(const struct jsonrpc *msg, const struct mcp_headers *headers)
{
	enum mcp_method method = mcp_method_find(msg->method);
	struct mcp_meta meta;
	struct err err = {0};

	check_message(msg);
	write_again(msg);
	mcp_request_era(msg, headers);
	mcp_route_value(method, msg->params);
	mcp_request_need(method, msg->params);
	mcp_progress_token(msg->params);
	if (msg->kind != JSONRPC_REQUEST && msg->kind != JSONRPC_NOTIFICATION)
		return;
	if (mcp_request_meta(msg, headers, &meta, &err) < 0)
		answer(msg, &err, &meta);
	else
		FUZZ_CHECK(msg->kind == JSONRPC_NOTIFICATION ||
			   mcp_version_era(meta.version) == MCP_MODERN);
}

static void try_header(struct span value)
{
	struct buf text, again;

	buf_init(&text, ROOM);
	buf_init(&again, ROOM);
	if (mcp_header_decode(value, &text, NULL) == 0) {
		FUZZ_CHECK(mcp_header_encode(buf_span(&text), &again) == 0);
		buf_clear(&text);
		FUZZ_CHECK(mcp_header_decode(buf_span(&again), &text, NULL) == 0);
	}
	buf_free(&text);
	buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span body = span_of((const char *)data, size);
	struct mcp_headers headers;
	struct jsonrpc msg, element;
	struct json_iter iter;
	struct err err = {0};
	int r;

	headers.version = take_line(&body);
	headers.method = take_line(&body);
	headers.name = take_line(&body);
	try_header(headers.name);
	if (jsonrpc_parse(body, &msg, &err) < 0) {
		answer(&msg, &err, NULL);
		return 0;
	}
	try_message(&msg, &headers);
	if (msg.kind != JSONRPC_BATCH)
		return 0;
	iter = json_iter(msg.body);
	for (size_t n = 0; (r = jsonrpc_batch_next(&iter, &element, &err)) != 0; n++) {
		FUZZ_CHECK(n < msg.batch_len);
		if (r == 1)
			try_message(&element, &headers);
		else
			answer(&element, &err, NULL);
	}
	return 0;
}
