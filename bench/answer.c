/*
 * See answer.h.
 */
#include "answer.h"

#include "scan.h"

#define SERVER_INFO "\"serverInfo\":{\"name\":\"bench-fixture\",\"version\":\"1.0.0\"}"
#define MODERN_LIST ",\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\""
#define MODERN_RESULT ",\"resultType\":\"complete\""

static void begin(struct buf *out, struct span id)
{
	buf_append_str(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	buf_append_span(out, id);
}

static void answer_text(struct buf *out, struct span id, const char *text)
{
	begin(out, id);
	buf_append_str(out, text);
}

static void answer_initialize(struct buf *out, struct span id, struct span params)
{
	struct span version = scan_string(params, "protocolVersion");
	begin(out, id);
	buf_append_str(out, ",\"result\":{\"protocolVersion\":\"");
	buf_append_span(out, version.len ? version : SPAN_LIT("2025-11-25"));
	buf_append_str(out, "\",\"capabilities\":{\"tools\":{\"listChanged\":true}}," SERVER_INFO
		"}}");
}

/* A tool as servers of issue trackers, shops and stores have them: about 1 KB. */
static void write_tool(struct buf *out, unsigned n)
{
	static const char *const verbs[] = {"create", "get", "list", "search", "update", "delete",
		"archive", "assign"};
	static const char *const things[] = {"issue", "comment", "project", "user", "invoice",
		"order", "branch", "release", "label", "document"};
	const char *verb = verbs[n % (sizeof verbs / sizeof *verbs)];
	const char *thing = things[n / (sizeof verbs / sizeof *verbs) %
				   (sizeof things / sizeof *things)];
	buf_printf(out, ",{\"name\":\"%s_%s_%u\",\"title\":\"%s %s\",\"description\":\"Use this to %s "
		"one or several of the workspace\\u2019s %ss. Needs the right to write to the project; "
		"what is not given stays as it is. Returns the %s with its identifier and the time "
		"of the last change.\",\"inputSchema\":{\"type\":\"object\",\"properties\":{", verb,
		thing, n, verb, thing, verb, thing, thing);
	buf_printf(out, "\"%s_id\":{\"type\":\"string\",\"pattern\":\"^[A-Z]{2,8}-[0-9]+$\","
		"\"description\":\"Identifier of the %s, such as AB-123\"},\"project\":{\"type\":"
		"\"string\",\"minLength\":1,\"maxLength\":64,\"description\":\"Key of the project\"},",
		thing, thing);
	buf_append_str(out, "\"fields\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"enum\":["
		"\"title\",\"body\",\"state\",\"labels\",\"assignees\",\"milestone\"]},\"description\":"
		"\"Which fields to return\"},\"state\":{\"type\":\"string\",\"enum\":[\"open\","
		"\"closed\",\"all\"],\"default\":\"open\"},\"limit\":{\"type\":\"integer\",\"minimum\":1,"
		"\"maximum\":100,\"default\":30,\"description\":\"How many at most\"}},\"required\":["
		"\"project\"],\"additionalProperties\":false},\"annotations\":{\"readOnlyHint\":false,"
		"\"openWorldHint\":true}}");
}

static void answer_tools(struct buf *out, struct span id, bool modern, unsigned tools)
{
	begin(out, id);
	buf_append_str(out,
		",\"result\":{\"tools\":[{\"name\":\"echo\",\"description\":\"Returns letters\","
		"\"inputSchema\":{\"type\":\"object\",\"properties\":{\"size\":{\"type\":"
		"\"integer\"},"
		"\"padding\":{\"type\":\"string\"}}},\"annotations\":{\"readOnlyHint\":true}}");
	for (unsigned n = 1; n < tools; n++)
		write_tool(out, n);
	buf_append_str(out, modern ? "]" MODERN_LIST "}}" : "]}}");
}

static void answer_call(struct buf *out, struct span id, struct span params, bool modern)
{
	long size = scan_number(scan_member(params, "arguments"), "size", 64);
	if (!span_is(scan_string(params, "name"), "echo") || size < 0 || size > ANSWER_MAX_SIZE) {
		answer_text(out, id,
			",\"error\":{\"code\":-32602,\"message\":\"Unknown tool or size\"}}");
		return;
	}
	begin(out, id);
	buf_append_str(out, ",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"");
	if (buf_reserve(out, (size_t)size) == 0) {
		memset(out->data + out->len, 'x', (size_t)size);
		out->len += (size_t)size;
	}
	buf_append_str(out, "\"}]");
	buf_append_str(out, modern ? MODERN_RESULT "}}" : "}}");
}

enum answer_kind answer_request(
	struct span request, bool modern, unsigned tools, struct buf *out)
{
	struct span id = scan_member(request, "id");
	struct span method = scan_string(request, "method");
	struct span params = scan_member(request, "params");
	if (method.len == 0 || id.len == 0)
		return id.len || method.len ? ANSWER_NOTHING : ANSWER_BAD;
	if (span_is(method, "tools/call")) {
		answer_call(out, id, params, modern);
	} else if (span_is(method, "tools/list")) {
		answer_tools(out, id, modern, tools);
	} else if (span_is(method, "initialize") && !modern) {
		answer_initialize(out, id, params);
		return ANSWER_INITIALIZE;
	} else if (span_is(method, "ping") && !modern) {
		answer_text(out, id, ",\"result\":{}}");
	} else if (span_is(method, "server/discover") && modern) {
		answer_text(out, id,
			",\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":"
			"{\"tools\":{}}," SERVER_INFO MODERN_LIST "}}");
	} else {
		answer_text(
			out, id, ",\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}");
	}
	return ANSWER_RESULT;
}
