/* The servers, as our own files and those of MCP clients describe them. */
#include "bounds.h"
#include "config_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum dialect_kind { DIALECT_ALIAS, DIALECT_NEGATED, DIALECT_IGNORED };

static const struct {
	enum dialect_kind kind;
	const char *key;
	const char *to; /* our setting, or why it is ignored */
} dialect_keys[] = {
#define ALIAS(key, to) {DIALECT_ALIAS, key, to},
#define NEGATED(key, to) {DIALECT_NEGATED, key, to},
#define IGNORED(key, why) {DIALECT_IGNORED, key, why},
#include "config_dialects.def"
};

static const char *server_label(const struct config_server *server, char *out, size_t size)
{
	snprintf(out, size, "mcpServers.%.80s", server->title);
	return out;
}

static void read_negated(struct config_loader *l, struct config_server *server, const char *key,
	const struct config_row *row, const struct yaml_node *node)
{
	char label[128], found[64];
	struct yaml_node copy = *node;

	if (node->kind == YAML_KIND_SCALAR && span_is(node->text, "true")) {
		copy.text = SPAN_LIT("false");
	} else if (node->kind == YAML_KIND_SCALAR && span_is(node->text, "false")) {
		copy.text = SPAN_LIT("true");
	} else {
		loader_error(l, node, "%s.%s: found %s, expected true or false",
			server_label(server, label, sizeof(label)), key,
			loader_found(node, found, sizeof(found)));
		return;
	}
	config_read_value(l, &config_server_section, row, server,
		server_label(server, label, sizeof(label)), &copy);
}

static void read_alias(struct config_loader *l, struct config_server *server,
	const struct yaml_node *key, const struct config_row *row, const struct yaml_node *node)
{
	char label[128];

	if (strcmp(key->text.p, "httpUrl") == 0 && server->type == CONFIG_TYPE_AUTO)
		server->type = CONFIG_TYPE_HTTP;
	config_read_value(l, &config_server_section, row, server,
		server_label(server, label, sizeof(label)), node);
}

static bool other_key(struct config_loader *l, void *base, const struct yaml_node *key,
	const struct yaml_node *value, const char *path)
{
	struct config_server *server = base;
	char label[128];

	if (l->raw && strcmp(path, "title") == 0 && value->kind == YAML_KIND_SCALAR) {
		server->title = loader_strdup(l, value->text);
		return true;
	}
	for (size_t i = 0; i < sizeof(dialect_keys) / sizeof(dialect_keys[0]); i++) {
		const struct config_row *row;

		if (strcmp(dialect_keys[i].key, path) != 0)
			continue;
		row = config_row_find(&config_server_section, dialect_keys[i].to);
		if (dialect_keys[i].kind == DIALECT_IGNORED)
			loader_notice(l, key, "%s.%s: ignored: %s",
				server_label(server, label, sizeof(label)), path,
				dialect_keys[i].to);
		else if (dialect_keys[i].kind == DIALECT_NEGATED)
			read_negated(l, server, path, row, value);
		else
			read_alias(l, server, key, row, value);
		return true;
	}
	return false;
}

static bool name_valid(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		bool underscore = name.p[i] == '_';

		if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '-' && !underscore)
			return false;
		/* server__tool must be taken apart again, so no "__" and no "_" at either end */
		if (underscore && (i == 0 || i + 1 == name.len || name.p[i + 1] == '_'))
			return false;
	}
	return name.len > 0 && name.len <= LIMIT_SERVER_NAME;
}

/* "My Server (2)" → "my-server-2"; "" if nothing remains. */
static void make_slug(struct span name, char out[LIMIT_SERVER_NAME + 1])
{
	size_t len = 0;

	for (size_t i = 0; i < name.len && len < LIMIT_SERVER_NAME; i++) {
		unsigned char c = (unsigned char)name.p[i];
		bool joint = !isalnum(c);

		if (joint && (len == 0 || out[len - 1] == '-' || out[len - 1] == '_'))
			continue;
		out[len++] = joint ? (c == '_' ? '_' : '-') : (char)tolower(c);
	}
	while (len > 0 && (out[len - 1] == '-' || out[len - 1] == '_'))
		len--;
	out[len] = '\0';
}

static bool name_server(
	struct config_loader *l, struct config_server *server, const struct yaml_node *key)
{
	char slug[LIMIT_SERVER_NAME + 1];
	const struct config_server *same;

	server->title = server->name = loader_strdup(l, key->text);
	if (!name_valid(key->text)) {
		make_slug(key->text, slug);
		if (!slug[0]) {
			loader_error(l, key,
				"mcpServers: found the name \"%.60s\", expected one with letters "
				"or digits (a-z, 0-9)",
				key->text.p);
			return false;
		}
		server->name = loader_strdup(l, span_str(slug));
		loader_notice(l, key, "mcpServers: the server \"%.60s\" is called %s here",
			key->text.p, slug);
	}
	same = config_find_server(l->config, server->name);
	if (same)
		loader_error(l, key,
			"mcpServers: \"%.60s\" and \"%.60s\" (line %u) are both called %s",
			key->text.p, same->title, same->line, server->name);
	return !same;
}

/* Before anything else of it: in a disabled server, what is not set is no mistake. */
static bool is_disabled(const struct yaml_node *node)
{
	const struct yaml_node *disabled = yaml_tree_get(node, "disabled");
	const struct yaml_node *enabled = yaml_tree_get(node, "enabled");

	return (disabled && disabled->kind == YAML_KIND_SCALAR &&
		       span_is(disabled->text, "true")) ||
	       (enabled && enabled->kind == YAML_KIND_SCALAR && span_is(enabled->text, "false"));
}

static void read_server(
	struct config_loader *l, const struct yaml_node *key, const struct yaml_node *node)
{
	struct config_server *server = &l->config->servers[l->config->server_count];
	char label[128], found[64];
	size_t errors = l->report->errors;
	bool known_name = name_server(l, server, key);

	server->line = key->line;
	server_label(server, label, sizeof(label));
	if (node->kind != YAML_KIND_MAP) {
		loader_error(l, node, "%s: found %s, expected a map with command or url", label,
			loader_found(node, found, sizeof(found)));
		return;
	}
	config_row_defaults(&config_server_section, server, "", l->arena);
	l->lenient = is_disabled(node);
	config_read_map(l, &config_server_section, server, label, node, other_key);
	if (!l->raw)
		config_check_server(l, server, l->report->errors == errors);
	l->lenient = false;
	if (known_name)
		l->config->server_count++;
}

void config_read_servers(struct config_loader *l, const struct yaml_node *map)
{
	size_t have = l->config->server_count;
	struct config_server *servers;
	char found[64];

	if (yaml_tree_is_null(map))
		return;
	if (map->kind != YAML_KIND_MAP) {
		loader_error(l, map, "mcpServers: found %s, expected a map of servers by name",
			loader_found(map, found, sizeof(found)));
		return;
	}
	if (have + map->count > CONFIG_MAX_SERVERS) {
		loader_error(l, map, "mcpServers: found %zu servers, expected at most %u",
			have + map->count, CONFIG_MAX_SERVERS);
		return;
	}
	/* one more: a server whose name is taken is read there for its mistakes and not counted */
	servers = loader_alloc(l, (have + map->count + 1) * sizeof(*servers));
	if (!servers)
		return;
	if (have > 0)
		memcpy(servers, l->config->servers, have * sizeof(*servers));
	l->config->servers = servers;
	for (const struct yaml_item *i = map->items; i; i = i->next) {
		memset(&servers[l->config->server_count], 0, sizeof(*servers));
		read_server(l, i->key, i->value);
	}
}
