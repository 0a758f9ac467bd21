/* What the servers are together: capabilities, instructions, cache rules (PROTOCOL 23, "Merged
 * lists"). */
#include "bounds.h"
#include "json.h"
#include "mcp.h"
#include "merge_internal.h"

#include <stdlib.h>

#define CAPABILITIES_MAX 4096u

/* Does the view leave out what this group of capabilities is about? */
static bool is_hidden(const struct merge *merge, const char *group)
{
	static const struct {
		const char *group;
		enum config_part part;
	} parts[] = {{"tools", CONFIG_TOOLS}, {"tasks", CONFIG_TOOLS}, {"extensions", CONFIG_TOOLS},
		{"prompts", CONFIG_PROMPTS}, {"resources", CONFIG_RESOURCES}};

	for (size_t i = 0; merge->view && i < sizeof(parts) / sizeof(*parts); i++)
		if (strcmp(parts[i].group, group) == 0)
			return config_view_hides(merge->view, parts[i].part);
	return false;
}

enum capability_when { ALWAYS, WITH_TASKS };

/*
 * What Gatehouse routes, one row each: shown if any server has the capability at path. Rows of one
 * group stand together; member "" opens the group with an empty object. listChanged is Gatehouse's
 * own doing, so it needs no server. Of an extension of the modern era only servers of that era are asked.
 */
static const struct capability {
	enum catalogue_era first, last;
	enum capability_when when;
	const char *group;
	const char *member; /* inside the group */
	const char *value;
	const char *path[4]; /* any server has it; up to the NULL */
} capabilities[] = {
	{CATALOGUE_LEGACY, CATALOGUE_MODERN, ALWAYS, "tools", "listChanged", "true", {"tools"}},
	{CATALOGUE_LEGACY, CATALOGUE_MODERN, ALWAYS, "resources", "listChanged", "true",
		{"resources"}},
	{CATALOGUE_LEGACY, CATALOGUE_MODERN, ALWAYS, "resources", "subscribe", "true",
		{"resources", "subscribe"}},
	{CATALOGUE_LEGACY, CATALOGUE_MODERN, ALWAYS, "prompts", "listChanged", "true", {"prompts"}},
	{CATALOGUE_LEGACY, CATALOGUE_MODERN, ALWAYS, "logging", "", "", {"logging"}},
	{CATALOGUE_LEGACY, CATALOGUE_MODERN, ALWAYS, "completions", "", "", {"completions"}},
	{CATALOGUE_LEGACY, CATALOGUE_LEGACY, WITH_TASKS, "tasks", "list", "{}", {"tasks", "list"}},
	{CATALOGUE_LEGACY, CATALOGUE_LEGACY, WITH_TASKS, "tasks", "cancel", "{}",
		{"tasks", "cancel"}},
	{CATALOGUE_LEGACY, CATALOGUE_LEGACY, WITH_TASKS, "tasks", "requests",
		"{\"tools\":{\"call\":{}}}", {"tasks", "requests", "tools"}},
	{CATALOGUE_MODERN, CATALOGUE_MODERN, WITH_TASKS, "extensions", MCP_EXTENSION_TASKS, "{}",
		{"extensions", MCP_EXTENSION_TASKS}},
};

static bool has(struct span object, const char *const path[4])
{
	struct span value = object;

	for (int i = 0; i < 4 && path[i]; i++)
		value = json_object_get(value, span_str(path[i]));
	return json_type(value) == JSON_OBJECT || span_is(value, "true");
}

/* Has a server that is not disabled this capability? One that is down keeps what it last said. */
static bool any_has(const struct merge *merge, const struct capability *row)
{
	for (uint32_t i = 0; i < merge->servers_len; i++)
		if (merge->facts[i].state != SERVER_DISABLED &&
			(row->first != CATALOGUE_MODERN || merge->facts[i].era == CATALOGUE_MODERN) &&
			has(merge->facts[i].capabilities, row->path))
			return true;
	return false;
}

int merge_capabilities(struct merge *merge, enum catalogue_era era, struct span *ret_json)
{
	const char *open = NULL; /* the group being written */
	struct buf out;
	bool members = false;

	buf_init(&out, CAPABILITIES_MAX);
	buf_append_char(&out, '{');
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		const struct capability *row = &capabilities[i];

		if (era < row->first || era > row->last ||
			(row->when == WITH_TASKS && !merge->config.tasks) ||
			is_hidden(merge, row->group) || !any_has(merge, row))
			continue;
		if (!open || strcmp(open, row->group) != 0) {
			buf_printf(&out, "%s\"%s\":{", open ? "}," : "", row->group);
			open = row->group;
			members = false;
		}
		if (row->member[0]) {
			buf_printf(
				&out, "%s\"%s\":%s", members ? "," : "", row->member, row->value);
			members = true;
		}
	}
	buf_append_str(&out, open ? "}}" : "}");
	*ret_json = arena_copy(&merge->arena, buf_span(&out));
	buf_free(&out);
	return ret_json->p ? 0 : err_set(merge->err, ERR_NO_MEMORY, "merging capabilities");
}

static bool instructs(const struct catalogue_server *server)
{
	return server->state != SERVER_DISABLED && server->instructions.len > 0;
}

/* One server's text stays as it is; of several, each stands under its server's name, as far as
 * there is room. */
int merge_instructions(struct merge *merge, struct span *ret_text)
{
	uint32_t count = 0;
	struct buf out;

	for (uint32_t i = 0; i < merge->servers_len; i++)
		count += instructs(&merge->facts[i]);
	*ret_text = SPAN_NONE;
	if (count == 0)
		return 0;
	buf_init(&out, MERGE_INSTRUCTIONS_MAX);
	for (uint32_t i = 0; i < merge->servers_len; i++) {
		const struct catalogue_server *server = &merge->facts[i];
		size_t before = out.len;
		int r;

		if (!instructs(server))
			continue;
		if (count > 1)
			buf_printf(&out, "%s# %.*s\n\n", out.len ? "\n\n" : "",
				SPAN_ARG(server->name));
		r = buf_append_span(&out, server->instructions);
		if (r < 0) {
			buf_cut(&out, before);
			merge_note(merge, MERGE_TOO_LARGE, CATALOGUE_TOOL, i, i, SPAN_NONE,
				"its instructions are left out");
		}
	}
	if (out.len > 0)
		*ret_text = arena_copy(&merge->arena, buf_span(&out));
	count = (uint32_t)out.len;
	buf_free(&out);
	return count == 0 || ret_text->p
		       ? 0
		       : err_set(merge->err, ERR_NO_MEMORY, "merging instructions");
}

/* The smallest ttl, and private wins. A server that may yet come makes the list one that may change
 * at any time. */
void merge_ttl(const struct merge *merge, struct catalogue_content *content)
{
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		bool any = false;

		for (uint32_t i = 0; i < merge->servers_len; i++) {
			const struct catalogue_server *server = &merge->facts[i];
			uint32_t ttl = server->state == SERVER_UP ? server->ttl_ms[kind] : 0;

			if (server->state == SERVER_DISABLED ||
				(server->state == SERVER_UP && server->count[kind] == 0))
				continue;
			if (!any || ttl < content->ttl_ms[kind])
				content->ttl_ms[kind] = ttl;
			content->cache_private[kind] |= server->cache_private[kind];
			any = true;
		}
	}
}
