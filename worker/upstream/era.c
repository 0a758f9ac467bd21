#include "era.h"
#include "client.h"
#include "json_write.h"
#include "round.h"

#include <inttypes.h>
#include <stdio.h>

/* Nesting of properties whose annotations are looked at. */
#define PROPERTIES_DEPTH 16u
#define EDITS_MAX 32u
/* What a client says of itself is bounded where it comes in. */
#define META_MAX (1024u * 1024u)

/* Members of _meta that concern one hop only. */
static const struct span hop_members[] = {
	{MCP_META_PROTOCOL_VERSION, sizeof(MCP_META_PROTOCOL_VERSION) - 1},
	{MCP_META_CLIENT_INFO, sizeof(MCP_META_CLIENT_INFO) - 1},
	{MCP_META_CLIENT_CAPABILITIES, sizeof(MCP_META_CLIENT_CAPABILITIES) - 1},
	{MCP_META_LOG_LEVEL, sizeof(MCP_META_LOG_LEVEL) - 1},
};
#define HOP_MEMBERS (sizeof(hop_members) / sizeof(*hop_members))
/*
 * Those of params. A wish for a task (2025-11-25) is none of the other era's; the last is removed
 * only where it is no object.
 */
static const struct span round_members[] = {
	{"inputResponses", 14}, {"requestState", 12}, {"task", 4}, {"_meta", 5}};
#define ROUND_MEMBERS 3u

enum mcp_era era_of_caller(const struct call *call)
{
	return call->client ? call->client->era : call->instance->era;
}

/* --- _meta ------------------------------------------------------------------------------- */

static void write_who(const struct call *call, struct buf *out)
{
	const struct client *client = call->client;
	const char *info = ERA_OUR_INFO, *can = ERA_EVERYTHING;

	if (client && client->info && json_object_get(span_str(client->info), SPAN_LIT("name")).len)
		info = client->info;
	if (client)
		can = client->capabilities;
	if (out->len > 0)
		buf_append_char(out, ',');
	buf_printf(out, "\"" MCP_META_PROTOCOL_VERSION "\":\"%s\",\"" MCP_META_CLIENT_INFO "\":",
		mcp_version_name(MCP_FIRST_MODERN));
	buf_append_str(out, info);
	buf_append_str(out, ",\"" MCP_META_CLIENT_CAPABILITIES "\":");
	buf_append_str(out, can);
	if (client && client->level != MCP_LOG_NONE)
		buf_printf(out, ",\"" MCP_META_LOG_LEVEL "\":\"%s\"",
			mcp_log_level_name(client->level));
}

struct edits {
	struct json_edit list[EDITS_MAX];
	size_t n;
};

static int edit_object(struct edits *edits, struct span object, const struct span *remove,
	size_t n_remove, struct span members)
{
	size_t n = 0;
	int r = json_edit_object(object, remove, n_remove, members, edits->list + edits->n,
		EDITS_MAX - edits->n, &n);

	edits->n += n;
	return r;
}

static void edit_token(struct edits *edits, struct span params, uint64_t id, char room[24])
{
	struct span token = mcp_progress_token(params);

	if (!token.len || edits->n == EDITS_MAX)
		return;
	edits->list[edits->n++] = (struct json_edit){
		.at = token, .with = {room, (size_t)snprintf(room, 24, "%" PRIu64, id)}};
}

/*
 * The trace context of the client's HTTP header, from where servers behind any transport take it;
 * params may have its own, which stays.
 */
static void write_trace(const struct call *call, struct span meta, struct buf *hop)
{
	if (call->traceparent[0] && (!meta.len || json_type(meta) == JSON_OBJECT) &&
		!json_object_get(meta, SPAN_LIT("traceparent")).len)
		buf_printf(hop, "\"traceparent\":\"%s\"", call->traceparent);
}

/* How a request crosses from its caller's era to the server's. */
struct crossing {
	bool leaves;   /* what the client says of this hop is not for the server */
	struct buf hop, members; /* for _meta, and for params */
};

static int edit_params(struct crossing *crossing, struct span params, struct edits *edits)
{
	struct span meta = json_object_get(params, SPAN_LIT("_meta"));
	struct buf *hop = &crossing->hop, *members = &crossing->members;
	size_t n_hop = crossing->leaves ? HOP_MEMBERS : 0;
	size_t n_round = crossing->leaves ? ROUND_MEMBERS : 0;
	int r = hop->failed;

	if (r == 0 && json_type(meta) == JSON_OBJECT) {
		r = edit_object(edits, meta, hop_members, n_hop, buf_span(hop));
	} else if (r == 0 && hop->len > 0) {
		buf_append_str(members, members->len ? ",\"_meta\":{" : "\"_meta\":{");
		buf_append_span(members, buf_span(hop));
		buf_append_char(members, '}');
		/* one that is no object gives way */
		n_round += crossing->leaves && meta.len > 0;
	}
	if (r == 0)
		r = members->failed;
	return r < 0 ? r : edit_object(edits, params, round_members, n_round, buf_span(members));
}

int era_write_params(const struct call *call, uint64_t id, struct span params, struct buf *out)
{
	enum mcp_era from = era_of_caller(call), to = call->instance->era;
	bool says_who = to == MCP_MODERN && (from == MCP_LEGACY || !call->client);
	struct crossing crossing = {
		.leaves = says_who || (to == MCP_LEGACY && from == MCP_MODERN)};
	struct edits edits = {.n = 0};
	char token[24];
	int r = 0;

	buf_init(&crossing.hop, META_MAX);
	buf_init(&crossing.members, out->max);
	if (!params.len && (says_who || call->traceparent[0]))
		params = SPAN_LIT("{}");
	write_trace(call, json_object_get(params, SPAN_LIT("_meta")), &crossing.hop);
	if (says_who)
		write_who(call, &crossing.hop);
	if (says_who && call->round)
		round_write_members(call->round, &crossing.members);
	if (params.len)
		r = edit_params(&crossing, params, &edits);
	if (call->progress)
		edit_token(&edits, params, id, token);
	json_edit_sort(edits.list, edits.n);
	if (r == 0 && params.len)
		r = json_splice(params, edits.list, edits.n, out);
	buf_free(&crossing.hop);
	buf_free(&crossing.members);
	return r;
}

/* --- headers ----------------------------------------------------------------------------- */

static int write_header(struct buf *out, struct span name, struct span value)
{
	size_t start = out->len;
	int r = buf_append_span(out, name);

	if (r == 0)
		r = buf_append_str(out, ": ");
	if (r == 0)
		r = mcp_header_write(value, out);
	if (r == 0)
		r = buf_append_str(out, "\r\n");
	if (r < 0)
		buf_cut(out, start);
	/* what is no string, number or boolean has no header */
	return r == -ERR_INVALID_ARGUMENT ? 0 : r;
}

static bool is_token(struct span word)
{
	for (size_t i = 0; i < word.len; i++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
			    word.p[i]) ||
			!word.p[i])
			return false;
	return word.len > 0;
}

static int write_properties(struct span schema, struct span value, unsigned depth, struct buf *out)
{
	struct json_iter iter = json_iter(json_object_get(schema, SPAN_LIT("properties")));
	struct span key, property, word, text;
	char name[80], copy[64], room[256];
	int r = 0;

	while (r == 0 && depth > 0 && json_iter_member(&iter, &key, &property)) {
		struct span annotation = json_object_get(property, SPAN_LIT("x-mcp-header"));
		struct span inner = SPAN_NONE;

		if (json_string_copy(key, room, sizeof(room), &text) == 0)
			inner = json_object_get(value, text);
		if (json_string_copy(annotation, copy, sizeof(copy), &word) == 0 &&
			is_token(word)) {
			snprintf(name, sizeof(name), "Mcp-Param-%.*s", SPAN_ARG(word));
			r = write_header(out, span_str(name), inner);
		} else if (json_type(inner) == JSON_OBJECT) {
			r = write_properties(property, inner, depth - 1, out);
		}
	}
	return r;
}

/* What the server's list says of this tool; SPAN_NONE: nothing. */
static struct span find_schema(const struct upstream *up, struct span name)
{
	struct json_iter iter = json_iter(span_of(
		up->reporter.lists[CATALOGUE_TOOL], up->reporter.list_len[CATALOGUE_TOOL]));
	struct span tool;

	if (!up->header_tools)
		return SPAN_NONE;
	while (json_iter_element(&iter, &tool))
		if (json_equal_scalar(json_object_get(tool, SPAN_LIT("name")), name))
			return json_object_get(tool, SPAN_LIT("inputSchema"));
	return SPAN_NONE;
}

int era_write_headers(const struct call *call, struct span params, struct buf *out)
{
	struct span method = span_str(call->name), name = SPAN_NONE;
	int r = buf_printf(out, "Mcp-Method: %.*s\r\n", SPAN_ARG(method));

	switch (call->method) {
	case MCP_TOOLS_CALL:
	case MCP_PROMPTS_GET:
		name = json_object_get(params, SPAN_LIT("name"));
		break;
	case MCP_RESOURCES_READ:
		name = json_object_get(params, SPAN_LIT("uri"));
		break;
	case MCP_TASKS_GET:
	case MCP_TASKS_UPDATE:
	case MCP_TASKS_CANCEL:
		name = json_object_get(params, SPAN_LIT("taskId"));
		break;
	default:
		break;
	}
	if (r == 0 && json_type(name) == JSON_STRING)
		r = write_header(out, SPAN_LIT("Mcp-Name"), name);
	if (r == 0 && call->method == MCP_TOOLS_CALL)
		r = write_properties(find_schema(call->instance->up, name),
			json_object_get(params, SPAN_LIT("arguments")), PROPERTIES_DEPTH, out);
	return r;
}

/* --- what a client can ------------------------------------------------------------------- */

static const struct {
	const char *path;
	unsigned bit;
} abilities_by_path[] = {
	{"roots", ERA_ROOTS},
	{"sampling", ERA_SAMPLING},
	{"sampling.tools", ERA_SAMPLING_TOOLS},
	{"sampling.context", ERA_SAMPLING_CONTEXT},
	{"elicitation.form", ERA_FORM},
	{"elicitation.url", ERA_URL},
};

unsigned era_abilities(struct span capabilities)
{
	unsigned abilities = 0;

	for (size_t i = 0; i < sizeof(abilities_by_path) / sizeof(*abilities_by_path); i++)
		if (mcp_client_can(capabilities, abilities_by_path[i].path))
			abilities |= abilities_by_path[i].bit;
	return abilities;
}

void era_write_abilities(unsigned abilities, char room[ERA_ABILITIES_SIZE])
{
	bool tools = abilities & ERA_SAMPLING_TOOLS, context = abilities & ERA_SAMPLING_CONTEXT;
	bool form = abilities & ERA_FORM, url = abilities & ERA_URL;
	struct buf out;

	buf_init(&out, ERA_ABILITIES_SIZE - 1);
	buf_append_char(&out, '{');
	if (abilities & ERA_ROOTS)
		buf_append_str(&out, "\"roots\":{}");
	if (abilities & ERA_SAMPLING)
		buf_printf(&out, "%s\"sampling\":{%s%s%s}", out.len > 1 ? "," : "",
			context ? "\"context\":{}" : "", context && tools ? "," : "",
			tools ? "\"tools\":{}" : "");
	if (form || url)
		buf_printf(&out, "%s\"elicitation\":{%s%s%s}", out.len > 1 ? "," : "",
			form ? "\"form\":{}" : "", form && url ? "," : "", url ? "\"url\":{}" : "");
	buf_append_char(&out, '}');
	snprintf(room, ERA_ABILITIES_SIZE, "%.*s", SPAN_ARG(buf_span(&out)));
	buf_free(&out);
}
