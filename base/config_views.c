/* Virtual servers: their names, and what they name. */
#include "bounds.h"
#include "config_internal.h"
#include "glob.h"

#include <ctype.h>
#include <stdio.h>

static bool name_valid(struct span name, size_t max)
{
	for (size_t i = 0; i < name.len; i++)
		if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '-' && name.p[i] != '_')
			return false;
	return name.len > 0 && name.len <= max;
}

/* What clients and servers agree on as a name, as in catalogue.h. */
#define NAME_MAX_CHARACTERS 64u

const char *config_rename_wrong(const struct config_map *rename, size_t i)
{
	struct span given = span_str(rename->items[i].value.p);

	if (!name_valid(given, NAME_MAX_CHARACTERS))
		return "expected a name of 1 to 64 letters, digits, - and _";
	for (size_t j = 0; j < i; j++)
		if (span_is(given, rename->items[j].value.p))
			return "expected a name that nothing before it is given";
	return NULL;
}

/* ---- reading ---- */

static void read_view(
	struct config_loader *l, const struct yaml_node *key, const struct yaml_node *node)
{
	struct config_virtual *view = &l->config->views[l->config->view_count];
	char label[128], found[64];

	view->name = loader_strdup(l, key->text);
	view->line = key->line;
	snprintf(label, sizeof(label), "views.%.80s", view->name);
	config_row_defaults(&config_view_section, view, "", l->arena);
	if (!name_valid(key->text, LIMIT_VIEW_NAME))
		loader_error(l, key,
			"views: found the name \"%.60s\", expected 1 to %u letters, digits, - and _",
			view->name, LIMIT_VIEW_NAME);
	else if (node->kind == YAML_KIND_MAP)
		config_read_map(l, &config_view_section, view, label, node, NULL);
	else if (!yaml_tree_is_null(node))
		loader_error(l, node, "%s: found %s, expected a map with servers, tools, …", label,
			loader_found(node, found, sizeof(found)));
	l->config->view_count++;
}

void config_read_views(struct config_loader *l, const struct yaml_node *map)
{
	char found[64];

	if (yaml_tree_is_null(map))
		return;
	if (map->kind != YAML_KIND_MAP) {
		loader_error(l, map, "views: found %s, expected a map of virtual servers by name",
			loader_found(map, found, sizeof(found)));
		return;
	}
	if (map->count > CONFIG_MAX_VIEWS) {
		loader_error(l, map, "views: found %zu of them, expected at most %u", map->count,
			CONFIG_MAX_VIEWS);
		return;
	}
	l->config->views = loader_alloc(l, (map->count + 1) * sizeof(*l->config->views));
	if (!l->config->views)
		return;
	memset(l->config->views, 0, (map->count + 1) * sizeof(*l->config->views));
	for (const struct yaml_item *i = map->items; i; i = i->next)
		read_view(l, i->key, i->value);
}

/* ---- checking ---- */

static bool has_item(const struct config_list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].p, text) == 0)
			return true;
	return false;
}

static bool is_renamed(const struct config_map *rename, const char *name)
{
	for (size_t i = 0; i < rename->count; i++)
		if (strcmp(rename->items[i].name, name) == 0)
			return true;
	return false;
}

static uint32_t line_of(const struct config_virtual *view, const char *path)
{
	const struct config_row *row = config_row_find(&config_view_section, path);
	uint32_t line = config_row_line(&config_view_section, row, view);

	return line ? line : view->line;
}

static bool names_a_server(const struct config *config, const char *pattern)
{
	for (size_t i = 0; i < config->server_count; i++)
		if (glob_match(pattern, span_str(config->servers[i].name)))
			return true;
	return false;
}

static void check_servers(struct config_loader *l, const struct config_virtual *view)
{
	for (size_t i = 0; i < view->servers.count; i++) {
		const char *pattern = view->servers.items[i].p;

		if (!names_a_server(l->config, pattern))
			config_report_add(l->report,
				strpbrk(pattern, "*?") ? CONFIG_NOTICE : CONFIG_ERROR,
				line_of(view, "servers"), 1,
				"views.%s.servers: found \"%.60s\", which names no server of "
				"mcpServers",
				view->name, pattern);
	}
}

static void check_list(struct config_loader *l, const struct config_virtual *view,
	const char *path, const struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (!list->items[i].p[0])
			config_report_add(l->report, CONFIG_ERROR, line_of(view, path), 1,
				"views.%s.%s: found \"\", expected a name or pattern", view->name,
				path);
}

static void check_rename(struct config_loader *l, const struct config_virtual *view,
	enum config_part part, const char *path, const struct config_map *rename,
	const struct config_list *include)
{
	for (size_t i = 0; i < rename->count; i++) {
		const struct config_pair *pair = &rename->items[i];
		const char *wrong = config_rename_wrong(rename, i);

		if (wrong)
			config_report_add(l->report, CONFIG_ERROR, line_of(view, path), 1,
				"views.%s.%s.%.60s: found \"%.80s\", %s", view->name, path,
				pair->name, pair->value.p, wrong);
		else if (!config_view_offers(view, part, span_str(pair->name)))
			config_report_add(l->report, CONFIG_NOTICE, line_of(view, path), 1,
				"views.%s.%s.%.60s: has no effect, because it is not in the view",
				view->name, path, pair->name);
		else if (has_item(include, pair->value.p) && !is_renamed(rename, pair->value.p))
			config_report_add(l->report, CONFIG_NOTICE, line_of(view, path), 1,
				"views.%s.%s.%.60s: takes the name of another that is included, "
				"which is then not in the view",
				view->name, path, pair->name);
	}
}

static void check_view(struct config_loader *l, const struct config_virtual *view)
{
	check_servers(l, view);
	check_list(l, view, "tools.include", &view->tools_include);
	check_list(l, view, "tools.exclude", &view->tools_exclude);
	check_list(l, view, "prompts.include", &view->prompts_include);
	check_list(l, view, "prompts.exclude", &view->prompts_exclude);
	check_list(l, view, "resources.include", &view->resources_include);
	check_list(l, view, "resources.exclude", &view->resources_exclude);
	check_rename(l, view, CONFIG_TOOLS, "tools.rename", &view->tools_rename,
		&view->tools_include);
	check_rename(l, view, CONFIG_PROMPTS, "prompts.rename", &view->prompts_rename,
		&view->prompts_include);
}

void config_check_views(struct config_loader *l)
{
	for (size_t i = 0; i < l->config->view_count; i++)
		check_view(l, &l->config->views[i]);
}
