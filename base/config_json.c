/* The configuration as JSON, and back. */
#include "config_internal.h"
#include "json_write.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

struct writer {
	struct buf *out;
	const struct config *config;
	const struct config_section *section;
	const void *base;
	enum config_view view;
	bool comma; /* the next member needs one before it */
};

static int write_key(struct writer *w, const char *name)
{
	int r = w->comma ? buf_append_char(w->out, ',') : 0;

	if (r == 0)
		r = json_write_string(w->out, span_str(name));
	if (r == 0)
		r = buf_append_char(w->out, ':');
	w->comma = true;
	return r;
}

static int write_open(void *arg, const char *name)
{
	struct writer *w = arg;
	int r = write_key(w, name);

	w->comma = false;
	return r < 0 ? r : buf_append_char(w->out, '{');
}

static int write_close(void *arg)
{
	struct writer *w = arg;

	w->comma = true;
	return buf_append_char(w->out, '}');
}

static int write_origin(struct writer *w, const struct config_row *row)
{
	uint32_t line = config_row_line(w->section, row, w->base);
	struct buf text;
	int r;

	if (line == 0)
		return buf_append_str(w->out, ",\"origin\":\"default\"}");
	buf_init(&text, CONFIG_MAX_STRING);
	r = buf_printf(&text, "%s:%u", w->config->file, line);
	if (r == 0)
		r = buf_append_str(w->out, ",\"origin\":");
	if (r == 0)
		r = json_write_string(w->out, buf_span(&text));
	buf_free(&text);
	return r < 0 ? r : buf_append_char(w->out, '}');
}

static int write_leaf(void *arg, const struct config_row *row, const char *name)
{
	struct writer *w = arg;
	bool origin = w->view == CONFIG_VIEW_ORIGIN;
	int r;

	if (w->view == CONFIG_VIEW_PUBLIC && (row->flags & CONFIG_PRIVATE))
		return 0;
	r = write_key(w, name);
	if (r == 0 && origin)
		r = buf_append_str(w->out, "{\"value\":");
	if (r == 0)
		r = config_value_write(row, (const char *)w->base + row->offset,
			w->view == CONFIG_VIEW_FULL, w->out);
	if (r == 0 && origin)
		r = write_origin(w, row);
	return r;
}

static int write_section(struct writer *w, const struct config_section *section, const void *base)
{
	static const struct config_walk walk = {write_open, write_close, write_leaf};

	w->section = section;
	w->base = base;
	return config_row_walk(section, &walk, w);
}

static int write_listen(struct writer *w)
{
	int r = write_key(w, "listen");

	if (r == 0)
		r = buf_append_char(w->out, '[');
	for (size_t i = 0; r == 0 && i < w->config->listen_count; i++) {
		r = buf_append_str(w->out, i > 0 ? ",{" : "{");
		w->comma = false;
		if (r == 0)
			r = write_section(w, &config_listen_section, &w->config->listen[i]);
		if (r == 0)
			r = buf_append_char(w->out, '}');
	}
	w->comma = true;
	return r < 0 ? r : buf_append_char(w->out, ']');
}

static int write_server(struct writer *w, const struct config_server *server)
{
	int r = write_open(w, server->name);

	if (r == 0 && strcmp(server->name, server->title) != 0) {
		r = write_key(w, "title");
		if (r == 0)
			r = json_write_string(w->out, span_str(server->title));
	}
	if (r == 0)
		r = write_section(w, &config_server_section, server);
	return r < 0 ? r : write_close(w);
}

static int write_servers(struct writer *w, const char *only)
{
	int r = write_open(w, "mcpServers");

	for (size_t i = 0; r == 0 && i < w->config->server_count; i++)
		if (!only || strcmp(only, w->config->servers[i].name) == 0)
			r = write_server(w, &w->config->servers[i]);
	return r < 0 ? r : write_close(w);
}

static int write_views(struct writer *w)
{
	int r = write_open(w, "views");

	for (size_t i = 0; r == 0 && i < w->config->view_count; i++) {
		r = write_open(w, w->config->views[i].name);
		if (r == 0)
			r = write_section(w, &config_view_section, &w->config->views[i]);
		if (r == 0)
			r = write_close(w);
	}
	return r < 0 ? r : write_close(w);
}

int config_write_json(
	const struct config *config, enum config_view view, const char *server, struct buf *out)
{
	struct writer w = {.out = out, .config = config, .view = view};
	int r;

	if (server && !config_find_server(config, server))
		return -ERR_NOT_FOUND;
	r = buf_append_char(out, '{');
	if (r == 0 && (view == CONFIG_VIEW_FULL || view == CONFIG_VIEW_PUBLIC)) {
		r = write_key(&w, "file");
		if (r == 0)
			r = json_write_string(out, span_str(config->file));
		if (r == 0)
			r = write_key(&w, "dir");
		if (r == 0)
			r = json_write_string(out, span_str(config->dir));
	}
	if (r == 0)
		r = write_listen(&w);
	if (r == 0)
		r = write_section(&w, &config_settings, config);
	if (r == 0)
		r = write_servers(&w, server);
	if (r == 0 && !server && config->view_count > 0)
		r = write_views(&w);
	return r < 0 ? r : buf_append_char(out, '}');
}

/* ---- reading back ---- */

static struct yaml_node *from_cjson(const cJSON *json, struct arena *arena);

static struct span scalar_text(const cJSON *json, struct arena *arena)
{
	char number[32];

	if (cJSON_IsString(json))
		return span_str(json->valuestring);
	if (cJSON_IsBool(json))
		return cJSON_IsTrue(json) ? SPAN_LIT("true") : SPAN_LIT("false");
	if (!cJSON_IsNumber(json))
		return SPAN_LIT("null");
	/* what was written is a whole number below 2^53 */
	snprintf(number, sizeof(number), "%.0f", json->valuedouble);
	return arena_copy(arena, span_str(number));
}

static bool add_children(struct yaml_node *node, const cJSON *json, struct arena *arena)
{
	struct yaml_item **last = &node->items;

	for (const cJSON *child = json->child; child; child = child->next) {
		struct yaml_item *item = arena_alloc(arena, sizeof(*item));
		struct yaml_node *key = arena_alloc(arena, sizeof(*key));

		if (!item || !key)
			return false;
		if (child->string) {
			key->text = span_str(child->string);
			key->line = key->column = 1;
			item->key = key;
		}
		item->value = from_cjson(child, arena);
		if (!item->value)
			return false;
		*last = item;
		last = &item->next;
		node->count++;
	}
	return true;
}

/* The nodes borrow the strings of json, whose nesting cJSON bounds. */
static struct yaml_node *from_cjson(const cJSON *json, struct arena *arena)
{
	struct yaml_node *node = arena_alloc(arena, sizeof(*node));

	if (!node)
		return NULL;
	node->line = node->column = 1;
	if (cJSON_IsArray(json) || cJSON_IsObject(json)) {
		node->kind = cJSON_IsArray(json) ? YAML_KIND_LIST : YAML_KIND_MAP;
		return add_children(node, json, arena) ? node : NULL;
	}
	node->quoted = cJSON_IsString(json);
	node->text = scalar_text(json, arena);
	return node;
}

static int read_back(struct config_loader *l, const cJSON *json, struct err *err)
{
	struct arena nodes;
	const struct yaml_node *root;
	int r = 0;

	arena_init(&nodes, 2 * (size_t)CONFIG_MAX_MEMORY);
	root = from_cjson(json, &nodes);
	if (root)
		config_read_root(l, root);
	if (!root || l->no_memory)
		r = err_set(err, ERR_NO_MEMORY, "out of memory");
	else if (l->report->errors > 0)
		r = err_set(err, ERR_CONFIG, "%s",
			l->report->count > 0 ? l->report->items[0].text : "unreadable");
	arena_free(&nodes);
	return r;
}

int config_read_json(struct span json, struct config **ret_config, struct err *err)
{
	struct config_report report;
	struct config_loader l = {.report = &report, .raw = true, .workspace = "", .home = ""};
	const char *end = NULL;
	cJSON *tree =
		json.len > 0 ? cJSON_ParseWithLengthOpts(json.p, json.len, &end, false) : NULL;
	int r;

	if (!tree || end != json.p + json.len) {
		cJSON_Delete(tree);
		return err_set(err, ERR_CONFIG, "the configuration is not JSON");
	}
	config_report_init(&report);
	l.config = config_new_default("/");
	if (l.config) {
		l.arena = l.config->arena;
		r = read_back(&l, tree, err);
	} else {
		r = err_set(err, ERR_NO_MEMORY, "out of memory");
	}
	config_report_free(&report);
	cJSON_Delete(tree);
	if (r < 0) {
		config_free(l.config);
		return r;
	}
	*ret_config = l.config;
	return 0;
}
