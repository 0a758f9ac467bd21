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
