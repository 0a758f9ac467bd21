/*
 * What a request of the modern era says about itself: params._meta, and the headers that mirror the
 * body.
 *
 * Sources: 2026-07-28 basic/index ("_meta"), basic/versioning, basic/transports/streamable-http
 * ("Request Metadata").
 */
#include "mcp.h"
#include "json.h"
#include "json_write.h"

#include <stdio.h>

#define SHOWN 64 /* bytes of a peer's value repeated in a message to it */

static struct span shown(struct span text)
{
	return text.len > SHOWN ? span_of(text.p, SHOWN) : text;
}

enum mcp_era mcp_request_era(const struct jsonrpc *msg, const struct mcp_headers *headers)
{
	return mcp_era_of(msg, json_object_get(msg->params, SPAN_LIT("_meta")), headers);
}

enum mcp_era mcp_era_of(
	const struct jsonrpc *msg, struct span meta, const struct mcp_headers *headers)
{
	if (json_object_get(meta, SPAN_LIT(MCP_META_PROTOCOL_VERSION)).len)
		return MCP_MODERN;
	if (span_is(msg->method, "initialize"))
		return MCP_LEGACY;
	if (headers && mcp_version_looks_modern(mcp_header_trim(headers->version)))
		return MCP_MODERN;
	return MCP_LEGACY;
}

/* A member of _meta as it must be. */
static int want(
	struct span value, enum json_type type, bool required, const char *key, struct err *err)
{
	if (value.len == 0 && required)
		return err_set(err, ERR_INVALID_PARAMS, "params._meta lacks \"%s\"", key);
	if (value.len && json_type(value) != type)
		return err_set(err, ERR_INVALID_PARAMS, "params._meta: \"%s\" must be a %s", key,
			json_type_name(type));
	return 0;
}

enum { F_VERSION, F_CAPABILITIES, F_INFO, F_LEVEL, F_TOKEN, F_MAX };

static int check_fields(const struct json_field *f, bool required, struct err *err)
{
	int r = want(f[F_VERSION].value, JSON_STRING, required, MCP_META_PROTOCOL_VERSION, err);

	if (r == 0)
		r = want(f[F_CAPABILITIES].value, JSON_OBJECT, required,
			MCP_META_CLIENT_CAPABILITIES, err);
	if (r == 0)
		r = want(f[F_INFO].value, JSON_OBJECT, false, MCP_META_CLIENT_INFO, err);
	if (r == 0)
		r = want(f[F_LEVEL].value, JSON_STRING, false, MCP_META_LOG_LEVEL, err);
	for (size_t i = 0; r == 0 && i < F_MAX; i++)
		if (f[i].count > 1)
			r = err_set(err, ERR_INVALID_PARAMS, "params._meta gives \"%.*s\" twice",
				SPAN_ARG(f[i].key));
	return r;
}

static int read_meta(const struct jsonrpc *msg, struct mcp_meta *ret, struct err *err)
{
	bool required = msg->kind == JSONRPC_REQUEST;
	struct json_field f[F_MAX] = {
		[F_VERSION] = {.key = SPAN_LIT(MCP_META_PROTOCOL_VERSION)},
		[F_CAPABILITIES] = {.key = SPAN_LIT(MCP_META_CLIENT_CAPABILITIES)},
		[F_INFO] = {.key = SPAN_LIT(MCP_META_CLIENT_INFO)},
		[F_LEVEL] = {.key = SPAN_LIT(MCP_META_LOG_LEVEL)},
		[F_TOKEN] = {.key = SPAN_LIT(MCP_META_PROGRESS_TOKEN)},
	};
	int r;

	ret->meta = json_object_get(msg->params, SPAN_LIT("_meta"));
	if (required && json_type(ret->meta) != JSON_OBJECT)
		return err_set(
			err, ERR_INVALID_PARAMS, "params._meta is required and must be an object");
	json_object_get_many(ret->meta, f, F_MAX);
	r = check_fields(f, required, err);
	if (r < 0)
		return r;
	ret->requested = f[F_VERSION].value;
	ret->capabilities = f[F_CAPABILITIES].value;
	ret->client_info = f[F_INFO].value;
	ret->progress_token = mcp_progress_token(msg->params);
	ret->log_level = mcp_log_level_parse(f[F_LEVEL].value);
	if (f[F_LEVEL].value.len && ret->log_level == MCP_LOG_NONE)
		return err_set(err, ERR_INVALID_PARAMS, "params._meta: unknown \"%s\"",
			MCP_META_LOG_LEVEL);
	return 0;
}

static int mismatch(struct err *err, const char *name, struct span header, struct span body)
{
	header = shown(header);
	body = shown(body);
	return err_set(err, ERR_HEADER_MISMATCH, "header %s says '%.*s', the body says '%.*s'",
		name, SPAN_ARG(header), SPAN_ARG(body));
}

/* Headers that are there must agree with what the body has. */
static int check_given(const struct jsonrpc *msg, const struct mcp_headers *h,
	const struct mcp_meta *meta, struct err *err)
{
	struct span version = mcp_header_trim(h->version), method = mcp_header_trim(h->method);

	if (version.p && meta->requested.len && !json_equal_string(meta->requested, version))
		return mismatch(err, "MCP-Protocol-Version", version, meta->requested);
	if (method.p && !span_equal(method, msg->method))
		return mismatch(err, "Mcp-Method", method, msg->method);
	return 0;
}

static int read_version(struct mcp_meta *ret, struct err *err)
{
	char text[16];
	struct span plain;

	if (ret->requested.len == 0)
		return 0;
	if (json_string_copy(ret->requested, text, sizeof(text), &plain) == 0)
		ret->version = mcp_version_parse(plain);
	if (mcp_version_era(ret->version) == MCP_MODERN)
		return 0;
	ret->version = MCP_VERSION_NONE;
	plain = shown(ret->requested);
	return err_set(err, ERR_UNSUPPORTED_VERSION, "protocol version %.*s is not supported",
		SPAN_ARG(plain));
}

/* The member of params that Mcp-Name repeats; NULL if the method has none. */
static const char *name_source(enum mcp_method method)
{
	switch (method) {
	case MCP_TOOLS_CALL:
	case MCP_PROMPTS_GET:
		return "name";
	case MCP_RESOURCES_READ:
		return "uri";
	case MCP_TASKS_GET:
	case MCP_TASKS_UPDATE:
	case MCP_TASKS_CANCEL:
		return "taskId";
	default:
		return NULL;
	}
}

/* Headers that every request needs. */
static int check_required(const struct jsonrpc *msg, const struct mcp_headers *h,
	enum mcp_method method, struct err *err)
{
	const char *source = name_source(method);
	struct span value;

	if (!h->version.p)
		return err_set(err, ERR_HEADER_MISMATCH, "header MCP-Protocol-Version is missing");
	if (!h->method.p)
		return err_set(err, ERR_HEADER_MISMATCH, "header Mcp-Method is missing");
	if (!source)
		return 0;
	/* A name that is missing or no string is for the validation of params to refuse. */
	value = json_object_get(msg->params, span_str(source));
	if (json_type(value) != JSON_STRING)
		return 0;
	return mcp_header_check("Mcp-Name", h->name, value, err);
}

int mcp_request_meta(const struct jsonrpc *msg, const struct mcp_headers *headers,
	struct mcp_meta *ret, struct err *err)
{
	int r;

	*ret = (struct mcp_meta){.method = mcp_method_find(msg->method)};
	r = read_meta(msg, ret, err);
	if (r == 0 && headers)
		r = check_given(msg, headers, ret, err);
	if (r == 0)
		r = read_version(ret, err);
	if (r == 0 && headers && msg->kind == JSONRPC_REQUEST)
		r = check_required(msg, headers, ret->method, err);
	return r;
}

static int write_extra(struct buf *out, struct span requested)
{
	int r = buf_append_str(out, "\"supported\":");

	if (r == 0)
		r = mcp_write_versions(out);
	if (r == 0)
		r = buf_append_str(out, ",\"requested\":");
	return r < 0 ? r : buf_append_span(out, requested);
}

int mcp_write_err(struct buf *out, struct span raw_id, const struct err *err,
	const struct mcp_meta *meta, enum jsonrpc_executed executed)
{
	struct buf extra;
	int r;

	if (err->code != -ERR_UNSUPPORTED_VERSION || !meta || meta->requested.len == 0)
		return jsonrpc_write_err(out, raw_id, err, executed);
	buf_init(&extra, out->max);
	r = write_extra(&extra, meta->requested);
	if (r == 0)
		r = jsonrpc_write_err_data(out, raw_id, err, executed, buf_span(&extra));
	buf_free(&extra);
	return r;
}

/* "a.b" → "requiredCapabilities":{"a":{"b":{}}} */
static int write_required(struct buf *out, const char *capability)
{
	int r = buf_append_str(out, "\"requiredCapabilities\":{"), depth = 0;

	while (r == 0 && *capability) {
		size_t n = strcspn(capability, ".");

		r = json_write_string(out, span_of(capability, n));
		if (r == 0)
			r = buf_append_str(out, ":{");
		capability += capability[n] ? n + 1 : n;
		depth++;
	}
	for (depth++; r == 0 && depth > 0; depth--)
		r = buf_append_char(out, '}');
	return r;
}

static int write_missing(
	struct buf *out, struct span raw_id, const char *what, const char *name, struct buf *extra)
{
	struct err err = {0};
	int r = extra->failed;

	err_set(&err, ERR_MISSING_CAPABILITY, "the client has not declared the %s %s", what, name);
	if (r == 0)
		r = jsonrpc_write_err_data(
			out, raw_id, &err, JSONRPC_EXECUTED_NO, buf_span(extra));
	buf_free(extra);
	return r;
}

int mcp_write_missing_capability(struct buf *out, struct span raw_id, const char *capability)
{
	struct buf extra;

	buf_init(&extra, out->max);
	write_required(&extra, capability);
	return write_missing(out, raw_id, "capability", capability, &extra);
}

int mcp_write_missing_extension(struct buf *out, struct span raw_id, const char *extension)
{
	struct buf extra;

	buf_init(&extra, out->max);
	buf_printf(&extra, "\"requiredCapabilities\":{\"extensions\":{\"%s\":{}}}", extension);
	return write_missing(out, raw_id, "extension", extension, &extra);
}
