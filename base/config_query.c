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
