#include "modern.h"
#include "json.h"
#include "json_write.h"
#include "worker.h"

#include <stdio.h>
#include <strings.h>

/* Nesting of properties whose annotations are looked at. */
#define PROPERTIES_DEPTH 16u
/* The code of an error of 2025-11-25. */
#define URL_ELICITATION_REQUIRED "-32042"

void modern_write_members(struct buf *out, uint32_t ttl_ms, bool is_private)
{
	buf_printf(out, "\"resultType\":\"complete\",\"ttlMs\":%u,\"cacheScope\":\"%s\"", ttl_ms,
		is_private ? "private" : "public");
}

void modern_discover(struct request *request)
{
	const struct catalogue *catalogue = request->worker->catalogue;
	struct span capabilities =
		catalogue ? catalogue_capabilities(catalogue, CATALOGUE_MODERN) : SPAN_LIT("{}");
	struct span instructions = catalogue ? catalogue_instructions(catalogue) : SPAN_NONE;
	struct buf out;

	buf_init(&out, 4u * 1024 * 1024);
	buf_append_char(&out, '{');
	modern_write_members(&out, 0, false);
	buf_append_str(&out, ",\"supportedVersions\":");
	mcp_write_versions(&out);
	buf_append_str(&out, ",\"capabilities\":");
	buf_append_span(&out, capabilities);
	buf_append_str(&out, ",\"_meta\":{\"" MCP_META_SERVER_INFO
			     "\":{\"name\":\"gatehouse\",\"title\":\"Gatehouse\","
			     "\"version\":\"" GATEHOUSE_VERSION "\"}}");
	if (instructions.len) {
		buf_append_str(&out, ",\"instructions\":");
		json_write_string(&out, instructions);
	}
	buf_append_char(&out, '}');
	request_result(request, buf_span(&out));
	buf_free(&out);
}

bool modern_declares(struct span params, const char *extension)
{
	return mcp_has_extension(
		json_path(params, "_meta", MCP_META_CLIENT_CAPABILITIES, NULL), extension);
}

/* out: the error. */
static void refuse_missing(struct request *request, struct buf *out)
{
	struct exchange *exchange = request->exchange;

	if (exchange) {
		exchange->outcome.code = err_rpc_code(ERR_MISSING_CAPABILITY);
		exchange->status = modern_status(ERR_MISSING_CAPABILITY);
	}
	request_answer(request, buf_span(out));
	buf_free(out);
}

void modern_refuse_undeclared(struct request *request, const char *extension)
{
	struct buf out;

	buf_init(&out, 65536);
	mcp_write_missing_extension(&out, request->id, extension);
	refuse_missing(request, &out);
}

/* --- URLs to be visited first (2025-11-25, URLElicitationRequiredError) ---------------------- */

#define URL_ELICITATION "elicitation.url"

bool modern_wants_urls(const struct request *request, struct span error)
{
	struct json_iter iter = json_iter(json_path(error, "data", "elicitations", NULL));
	struct span element;

	return (mcp_method_info(request->method)->flags & MCP_ROUNDS) &&
	       span_is(json_object_get(error, SPAN_LIT("code")), URL_ELICITATION_REQUIRED) &&
	       json_iter_element(&iter, &element) && json_type(element) == JSON_OBJECT;
}

static int write_urls(struct span error, struct buf *out)
{
	struct json_iter iter = json_iter(json_path(error, "data", "elicitations", NULL));
	struct span element;
	unsigned n = 0;

	buf_append_str(out, "{\"resultType\":\"input_required\",\"inputRequests\":{");
	while (json_iter_element(&iter, &element)) {
		if (json_type(element) != JSON_OBJECT)
			continue;
		buf_printf(out, "%s\"u%u\":{\"method\":\"elicitation/create\",\"params\":",
			n ? "," : "", n + 1);
		n++;
		buf_append_span(out, element);
		buf_append_char(out, '}');
	}
	return buf_append_str(out, "}}");
}

void modern_ask_urls(struct request *request, struct span error)
{
	struct span params = span_of(request->params, request->params_len);
	struct buf out;

	buf_init(&out, error.len * 64 + 65536);
	if (!mcp_client_can(
		    json_path(params, "_meta", MCP_META_CLIENT_CAPABILITIES, NULL), URL_ELICITATION)) {
		mcp_write_missing_capability(&out, request->id, URL_ELICITATION);
		refuse_missing(request, &out);
		return;
	}
	if (write_urls(error, &out) == 0)
		request_result(request, buf_span(&out));
	else
		request_refuse(request, ERR_NO_MEMORY, "no memory for what the server asks");
	buf_free(&out);
}

int modern_result(const struct request *request, struct span result, struct buf *out)
{
	bool cached = mcp_method_info(request->method)->flags & MCP_CACHED;
	bool has_type = json_object_get(result, SPAN_LIT("resultType")).len > 0;
	struct span members = cached ? SPAN_LIT("\"resultType\":\"complete\",\"ttlMs\":0,"
						"\"cacheScope\":\"private\"")
				     : SPAN_LIT("\"resultType\":\"complete\"");
	struct json_edit edit;

	if (has_type || json_type(result) != JSON_OBJECT)
		return buf_append_span(out, result);
	edit = json_edit_prepend(result, members);
	return json_splice(result, &edit, 1, out);
}

int modern_error(struct span error, struct buf *out)
{
	struct span code = json_object_get(error, SPAN_LIT("code"));
	struct json_edit edit = {.at = code, .with = SPAN_LIT("-32602")};

	/* that does not say which, or of a request that cannot ask */
	if (span_is(code, URL_ELICITATION_REQUIRED))
		edit.with = SPAN_LIT("-32603");
	/* "resource not found" of the legacy era */
	else if (!span_is(code, "-32002"))
		return -ERR_INVALID_ARGUMENT;
	return json_splice(error, &edit, 1, out);
}

/* --- Mcp-Param-… (2026-07-28, "Custom Headers from Tool Parameters") ------------------------ */

/* The header's value, and in *ret_count how often it is there. */
static struct span find_header(struct span headers, const char *name, unsigned *ret_count)
{
	struct span found = SPAN_NONE;
	size_t len = strlen(name);

	*ret_count = 0;
	while (headers.len > 0) {
		const char *end = memchr(headers.p, '\r', headers.len);
		size_t line = end ? (size_t)(end - headers.p) : headers.len;

		if (line > len && headers.p[len] == ':' &&
			strncasecmp(headers.p, name, len) == 0 && ++*ret_count == 1)
			found = mcp_header_trim(span_of(headers.p + len + 1, line - len - 1));
		line = line + 2 < headers.len ? line + 2 : headers.len;
		headers = span_of(headers.p + line, headers.len - line);
	}
	return found;
}

static int check_one(
	struct span annotation, struct span value, struct span headers, struct err *err)
{
	char word[64], name[80];
	struct span text, header;
	unsigned count;

	/* what no client can send as a header it need not send */
	if (json_string_copy(annotation, word, sizeof(word), &text) < 0 || text.len == 0)
		return 0;
	snprintf(name, sizeof(name), "Mcp-Param-%.*s", SPAN_ARG(text));
	header = find_header(headers, name, &count);
	/* it agrees with one of them, who reads only headers may take the other */
	if (count > 1)
		return err_set(err, ERR_HEADER_MISMATCH, "header %s is given twice", name);
	return mcp_header_check(name, header, value, err);
}

static int check_properties(
	struct span schema, struct span value, struct span headers, unsigned depth, struct err *err)
{
	struct json_iter iter = json_iter(json_object_get(schema, SPAN_LIT("properties")));
	struct span key, property;
	int r = 0;

	while (r == 0 && depth > 0 && json_iter_member(&iter, &key, &property)) {
		struct span annotation = json_object_get(property, SPAN_LIT("x-mcp-header"));
		struct json_field inner = {.key = SPAN_NONE};
		char name[256];

		if (json_string_copy(key, name, sizeof(name), &inner.key) == 0)
			json_object_get_many(value, &inner, 1);
		/* the header agrees with one of them, the server may read the other */
		if (inner.count > 1)
			return err_set(err, ERR_INVALID_PARAMS, "arguments have \"%.*s\" twice",
				SPAN_ARG(inner.key));
		if (annotation.len)
			r = check_one(annotation, inner.value, headers, err);
		else if (json_type(inner.value) == JSON_OBJECT)
			r = check_properties(property, inner.value, headers, depth - 1, err);
	}
	return r;
}

int modern_check_headers(
	struct span schema, struct span arguments, struct span headers, struct err *err)
{
	return check_properties(schema, arguments, headers, PROPERTIES_DEPTH, err);
}

/*
 * What is found out before a request is worked on has its status; what comes of the work is told in
 * the body alone (the reference server does the same).
 */
unsigned modern_status(int code)
{
	code = code < 0 ? -code : code;
	switch (code) {
	case ERR_METHOD_NOT_FOUND:
	case ERR_HEADER_MISMATCH:
	case ERR_MISSING_CAPABILITY:
		return (unsigned)err_http_status(code);
	default:
		return 200;
	}
}

unsigned modern_status_of_rpc(int64_t code)
{
	if (code == err_rpc_code(ERR_METHOD_NOT_FOUND))
		return modern_status(ERR_METHOD_NOT_FOUND);
	if (code == err_rpc_code(ERR_MISSING_CAPABILITY))
		return modern_status(ERR_MISSING_CAPABILITY);
	return 200;
}
