/* Questions to a configuration that was loaded. */
#include "config_internal.h"
#include "glob.h"

const struct config_server *config_find_server(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->server_count; i++)
		if (strcmp(config->servers[i].name, name) == 0)
			return &config->servers[i];
	return NULL;
}

static bool list_matches(const struct config_list *list, struct span name)
{
	for (size_t i = 0; i < list->count; i++)
		if (glob_match(list->items[i].p, name))
			return true;
	return false;
}

bool config_offers_tool(const struct config_server *server, struct span name)
{
	if (server->tools_include.count > 0 && !list_matches(&server->tools_include, name))
		return false;
	return !list_matches(&server->tools_exclude, name);
}

static struct span renamed(const struct config_map *rename, struct span name)
{
	for (size_t i = 0; i < rename->count; i++)
		if (span_is(name, rename->items[i].name))
			return span_str(rename->items[i].value.p);
	return name;
}

struct span config_tool_name(const struct config_server *server, struct span name)
{
	return renamed(&server->tools_rename, name);
}

/* --- views ---------------------------------------------------------------------------------- */

struct part {
	const struct config_list *include, *exclude;
	const struct config_map *rename;
};

static struct part part_of(const struct config_virtual *view, enum config_part part)
{
	static const struct config_map none;

	if (part == CONFIG_TOOLS)
		return (struct part){
			&view->tools_include, &view->tools_exclude, &view->tools_rename};
	if (part == CONFIG_PROMPTS)
		return (struct part){
			&view->prompts_include, &view->prompts_exclude, &view->prompts_rename};
	return (struct part){&view->resources_include, &view->resources_exclude, &none};
}

const struct config_virtual *config_find_view(const struct config *config, struct span name)
{
	for (size_t i = 0; i < config->view_count; i++)
		if (span_is(name, config->views[i].name))
			return &config->views[i];
	return NULL;
}

bool config_view_has_server(const struct config_virtual *view, struct span server)
{
	return view->servers.count == 0 || list_matches(&view->servers, server);
}

bool config_view_offers(const struct config_virtual *view, enum config_part part, struct span name)
{
	struct part p = part_of(view, part);

	return (p.include->count == 0 || list_matches(p.include, name)) &&
	       !list_matches(p.exclude, name);
}

bool config_view_excludes(
	const struct config_virtual *view, enum config_part part, struct span name)
{
	return list_matches(part_of(view, part).exclude, name);
}

bool config_view_is_open(const struct config_virtual *view, enum config_part part)
{
	struct part p = part_of(view, part);

	return p.include->count == 0 && p.exclude->count == 0;
}

bool config_view_hides(const struct config_virtual *view, enum config_part part)
{
	struct part p = part_of(view, part);

	for (size_t i = 0; i < p.exclude->count; i++)
		if (strcmp(p.exclude->items[i].p, "*") == 0)
			return true;
	return false;
}

struct span config_view_name(
	const struct config_virtual *view, enum config_part part, struct span name)
{
	return renamed(part_of(view, part).rename, name);
}

/* --- servers -------------------------------------------------------------------------------- */

bool config_tool_idempotent(const struct config_server *server, struct span name)
{
	return list_matches(&server->idempotent, name);
}

/* A shorter one would make riddles of harmless words. */
#define SECRET_MIN 4u
/* What is cut at the end of a text counts from this many bytes on. */
#define SECRET_CUT_MIN 8u
#define MASK "***"

static void hide(const struct config_text *secret, char *text)
{
	size_t len = strlen(secret->p), rest;

	if (!secret->secret || len < SECRET_MIN)
		return;
	for (char *at = text; (at = strstr(at, secret->p)); at += strlen(MASK)) {
		memcpy(at, MASK, strlen(MASK));
		memmove(at + strlen(MASK), at + len, strlen(at + len) + 1);
	}
	rest = strlen(text);
	for (size_t n = len - 1; n >= SECRET_CUT_MIN; n--)
		if (n <= rest && memcmp(text + rest - n, secret->p, n) == 0) {
			memcpy(text + rest - n, MASK, sizeof(MASK));
			return;
		}
}

void config_hide_secrets(const struct config_server *server, char *text)
{
	if (!server)
		return;
	hide(&server->command, text);
	hide(&server->cwd, text);
	hide(&server->url, text);
	for (size_t i = 0; i < server->args.count; i++)
		hide(&server->args.items[i], text);
	for (size_t i = 0; i < server->env.count; i++)
		hide(&server->env.items[i].value, text);
	for (size_t i = 0; i < server->headers.count; i++)
		hide(&server->headers.items[i].value, text);
}
