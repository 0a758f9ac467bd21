/* MCP as data: revisions, methods, capabilities. Requests of the modern era are in mcp_meta.c. */
#include "mcp.h"
#include "hash.h"
#include "json.h"

static const char *const version_names[MCP_VERSION_MAX] = {
	[MCP_VERSION_NONE] = "",
	[MCP_2024_11_05] = "2024-11-05",
	[MCP_2025_03_26] = "2025-03-26",
	[MCP_2025_06_18] = "2025-06-18",
	[MCP_2025_11_25] = "2025-11-25",
	[MCP_2026_07_28] = "2026-07-28",
};

enum mcp_version mcp_version_parse(struct span text)
{
	for (enum mcp_version v = MCP_VERSION_NONE + 1; v < MCP_VERSION_MAX; v++)
		if (span_is(text, version_names[v]))
			return v;
	return MCP_VERSION_NONE;
}

const char *mcp_version_name(enum mcp_version version)
{
	return (unsigned)version < MCP_VERSION_MAX ? version_names[version] : "";
}

enum mcp_era mcp_version_era(enum mcp_version version)
{
	return version >= MCP_FIRST_MODERN ? MCP_MODERN : MCP_LEGACY;
}

bool mcp_version_looks_modern(struct span text)
{
	static const char shape[] = "dddd-dd-dd";

	if (text.len != sizeof(shape) - 1)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		bool is_digit = text.p[i] >= '0' && text.p[i] <= '9';

		if (shape[i] == 'd' ? !is_digit : text.p[i] != '-')
			return false;
	}
	return memcmp(text.p, version_names[MCP_FIRST_MODERN], text.len) >= 0;
}

enum mcp_version mcp_version_negotiate(struct span requested)
{
	enum mcp_version v = mcp_version_parse(requested);

	return v == MCP_VERSION_NONE || v > MCP_LATEST_LEGACY ? MCP_LATEST_LEGACY : v;
}

int mcp_write_versions(struct buf *out)
{
	size_t start = out->len;
	int r = buf_append_char(out, '[');

	for (int v = MCP_VERSION_MAX - 1; v >= (int)MCP_FIRST_MODERN && r == 0; v--)
		r = buf_printf(
			out, "%s\"%s\"", v < MCP_VERSION_MAX - 1 ? "," : "", version_names[v]);
	if (r == 0)
		r = buf_append_char(out, ']');
	if (r < 0)
		buf_cut(out, start);
	return r;
}

static const struct mcp_method_info methods[MCP_METHOD_MAX] = {
	[MCP_METHOD_NONE] = {.name = {"", 0}, .need = "", .since = MCP_VERSION_MAX},
#define MCP_METHOD(NAME, text, direction, kind, since, until, route, need, list, flags) \
	[MCP_##NAME] = {{text, sizeof(text) - 1}, MCP_##direction, MCP_##kind, MCP_##since, \
		MCP_##until, MCP_ROUTE_##route, need, {list, sizeof(list) - 1}, flags},
#include "mcp_methods.def"
#undef MCP_METHOD
};

static int span_compare(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

enum mcp_method mcp_method_find(struct span name)
{
	unsigned low = MCP_METHOD_NONE + 1, high = MCP_METHOD_MAX;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		int c = span_compare(name, methods[middle].name);

		if (c == 0)
			return middle;
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return MCP_METHOD_NONE;
}

const struct mcp_method_info *mcp_method_info(enum mcp_method method)
{
	return &methods[(unsigned)method < MCP_METHOD_MAX ? method : MCP_METHOD_NONE];
}

bool mcp_method_in(enum mcp_method method, enum mcp_version version)
{
	const struct mcp_method_info *m = mcp_method_info(method);

	return version >= m->since && version <= m->until;
}

static struct span ref_value(struct span params)
{
	struct span ref = json_object_get(params, SPAN_LIT("ref"));
	struct span name = json_object_get(ref, SPAN_LIT("name"));

	return name.len ? name : json_object_get(ref, SPAN_LIT("uri"));
}

struct span mcp_route_value(enum mcp_method method, struct span params)
{
	static const char *const keys[MCP_ROUTE_MAX] = {
		[MCP_ROUTE_TOOL] = "name",
		[MCP_ROUTE_PROMPT] = "name",
		[MCP_ROUTE_URI] = "uri",
		[MCP_ROUTE_TASK] = "taskId",
		[MCP_ROUTE_TOKEN] = "progressToken",
		[MCP_ROUTE_REQUEST] = "requestId",
	};
	enum mcp_route route = mcp_method_info(method)->route;

	if (route == MCP_ROUTE_REF)
		return ref_value(params);
	return keys[route] ? json_object_get(params, span_str(keys[route])) : SPAN_NONE;
}

struct span mcp_progress_token(struct span params)
{
	struct span token = json_path(params, "_meta", MCP_META_PROGRESS_TOKEN, NULL);
	enum json_type type = json_type(token);

	return type == JSON_STRING || type == JSON_NUMBER ? token : SPAN_NONE;
}

static const char *const level_names[MCP_LOG_MAX] = {
	"", "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"};

enum mcp_log_level mcp_log_level_parse(struct span value)
{
	for (enum mcp_log_level l = MCP_LOG_NONE + 1; l < MCP_LOG_MAX; l++)
		if (json_equal_string(value, span_str(level_names[l])))
			return l;
	return MCP_LOG_NONE;
}

const char *mcp_log_level_name(enum mcp_log_level level)
{
	return (unsigned)level < MCP_LOG_MAX ? level_names[level] : "";
}

static bool declared(struct span value)
{
	return json_type(value) == JSON_OBJECT || span_is(value, "true");
}

bool mcp_capable(struct span capabilities, const char *path)
{
	struct span value = capabilities;

	if (strcmp(path, "elicitation.form") == 0) {
		struct span elicitation = json_object_get(capabilities, SPAN_LIT("elicitation"));

		/* An elicitation that names no mode means the form,
		 * the only one before 2025-11-25. */
		if (declared(elicitation) &&
			!declared(json_object_get(elicitation, SPAN_LIT("url"))))
			return true;
	}
	while (*path) {
		size_t n = strcspn(path, ".");

		value = json_object_get(value, span_of(path, n));
		path += path[n] ? n + 1 : n;
	}
	return declared(value);
}

bool mcp_client_can(struct span capabilities, const char *path)
{
	return mcp_capable(capabilities, path);
}

uint64_t mcp_client_digest(
	enum mcp_version version, struct span capabilities, struct span client_info)
{
	uint64_t digest = hash64(capabilities.p, capabilities.len, (uint64_t)version);

	return hash64(client_info.p, client_info.len, digest);
}

bool mcp_has_extension(struct span capabilities, const char *id)
{
	return json_type(json_path(capabilities, "extensions", id, NULL)) == JSON_OBJECT;
}

const char *mcp_request_need(enum mcp_method method, struct span params)
{
	if (method == MCP_ELICITATION_CREATE)
		return json_equal_string(json_object_get(params, SPAN_LIT("mode")), SPAN_LIT("url"))
			       ? "elicitation.url"
			       : "elicitation.form";
	if (method == MCP_SAMPLING_CREATE &&
		json_type(json_object_get(params, SPAN_LIT("tools"))) == JSON_ARRAY)
		return "sampling.tools";
	return mcp_method_info(method)->need;
}
