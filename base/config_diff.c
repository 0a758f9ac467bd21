/* What changes from one configuration to the next. */
#include "config_internal.h"

#include <stdlib.h>

static int add(struct config_diff *diff, enum config_change_kind kind, const char *name, char *keys,
	bool restart)
{
	struct config_change *items =
		reallocarray(diff->items, diff->count + 1, sizeof(*diff->items));

	if (!items) {
		free(keys);
		return -ERR_NO_MEMORY;
	}
	diff->items = items;
	items[diff->count++] = (struct config_change){kind, name, keys, restart};
	return 0;
}

static bool row_differs(const struct config_row *row, const void *a, const void *b)
{
	return !config_value_equal(
		row, (const char *)a + row->offset, (const char *)b + row->offset);
}

static const struct config_listen *find_listen(const struct config *config, const char *url)
{
	for (size_t i = 0; i < config->listen_count; i++)
		if (strcmp(config->listen[i].url.p, url) == 0)
			return &config->listen[i];
	return NULL;
}

/* The same addresses, in whatever order. */
static bool addresses_equal(const struct config *before, const struct config *after)
{
	bool equal = before->listen_count == after->listen_count;

	for (size_t i = 0; equal && i < before->listen_count; i++)
		equal = find_listen(after, before->listen[i].url.p) != NULL;
	return equal;
}

static bool listen_equal(const struct config *before, const struct config *after)
{
	if (before->listen_count != after->listen_count)
		return false;
	for (size_t i = 0; i < before->listen_count; i++)
		for (size_t j = 0; j < config_listen_section.count; j++)
			if (row_differs(&config_listen_section.rows[j], &before->listen[i],
				    &after->listen[i]))
				return false;
	return true;
}

static int diff_settings(
	const struct config *before, const struct config *after, struct config_diff *diff)
{
	int r = 0;

	if (!listen_equal(before, after))
		r = add(diff, CONFIG_CHANGE_SETTING, "listen", NULL,
			!addresses_equal(before, after));
	for (size_t i = 0; r == 0 && i < config_settings.count; i++) {
		const struct config_row *row = &config_settings.rows[i];

		if (row_differs(row, before, after))
			r = add(diff, CONFIG_CHANGE_SETTING, row->path, NULL,
				(row->flags & CONFIG_RESTART) != 0);
	}
	return r;
}

/* "env, timeout" into *ret_keys, NULL when nothing differs. */
static int changed_keys(
	const struct config_section *section, const void *a, const void *b, char **ret_keys)
{
	struct buf keys;
	size_t len;
	int r = 0;

	buf_init(&keys, 4096);
	for (size_t i = 0; r == 0 && i < section->count; i++) {
		const struct config_row *row = &section->rows[i];

		if (row_differs(row, a, b))
			r = buf_printf(&keys, "%s%s", keys.len > 0 ? ", " : "", row->path);
	}
	if (r == 0 && keys.len > 0)
		r = buf_append_char(&keys, '\0');
	if (r < 0) {
		buf_free(&keys);
		return -ERR_NO_MEMORY;
	}
	*ret_keys = buf_steal(&keys, &len);
	return 0;
}

static const struct config_server *find_enabled(const struct config *config, const char *name)
{
	const struct config_server *server = config_find_server(config, name);

	return server && !server->disabled ? server : NULL;
}

static int diff_server(
	const struct config *before, const struct config_server *server, struct config_diff *diff)
{
	const struct config_server *old = find_enabled(before, server->name);
	char *keys = NULL;
	int r;

	if (server->disabled)
		return 0;
	if (!old)
		return add(diff, CONFIG_CHANGE_ADDED, server->name, NULL, false);
	r = changed_keys(&config_server_section, old, server, &keys);
	if (r < 0 || !keys)
		return r;
	return add(diff, CONFIG_CHANGE_CHANGED, server->name, keys, false);
}

static int diff_view(
	const struct config *before, const struct config_virtual *view, struct config_diff *diff)
{
	const struct config_virtual *old = config_find_view(before, span_str(view->name));
	char *keys = NULL;
	int r;

	if (!old)
		return add(diff, CONFIG_CHANGE_VIEW_ADDED, view->name, NULL, false);
	r = changed_keys(&config_view_section, old, view, &keys);
	return r < 0 || !keys ? r : add(diff, CONFIG_CHANGE_VIEW_CHANGED, view->name, keys, false);
}

static int diff_views(
	const struct config *before, const struct config *after, struct config_diff *diff)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < after->view_count; i++)
		r = diff_view(before, &after->views[i], diff);
	for (size_t i = 0; r == 0 && i < before->view_count; i++)
		if (!config_find_view(after, span_str(before->views[i].name)))
			r = add(diff, CONFIG_CHANGE_VIEW_REMOVED, before->views[i].name, NULL,
				false);
	return r;
}

int config_diff(
	const struct config *before, const struct config *after, struct config_diff *ret_diff)
{
	struct config_diff diff = {NULL, 0};
	int r = diff_settings(before, after, &diff);

	for (size_t i = 0; r == 0 && i < after->server_count; i++)
		r = diff_server(before, &after->servers[i], &diff);
	for (size_t i = 0; r == 0 && i < before->server_count; i++) {
		const struct config_server *server = &before->servers[i];

		if (!server->disabled && !find_enabled(after, server->name))
			r = add(&diff, CONFIG_CHANGE_REMOVED, server->name, NULL, false);
	}
	if (r == 0)
		r = diff_views(before, after, &diff);
	if (r < 0) {
		config_diff_free(&diff);
		return r;
	}
	*ret_diff = diff;
	return 0;
}

void config_diff_free(struct config_diff *diff)
{
	for (size_t i = 0; i < diff->count; i++)
		free(diff->items[i].keys);
	free(diff->items);
	*diff = (struct config_diff){NULL, 0};
}

int config_diff_write(const struct config_diff *diff, struct buf *out)
{
	static const char *const signs[] = {
		"", "+ ", "~ ", "- ", "+ view ", "~ view ", "- view "};
	int r = 0;

	if (diff->count == 0)
		return buf_append_str(out, "no changes");
	for (size_t i = 0; r == 0 && i < diff->count; i++) {
		const struct config_change *change = &diff->items[i];

		r = buf_printf(out, "%s%s%s", i > 0 ? "  " : "", signs[change->kind], change->name);
		if (r == 0 && change->keys)
			r = buf_printf(out, " (%s)", change->keys);
		if (r == 0 && change->restart)
			r = buf_append_str(out, " (takes effect at the next start)");
	}
	return r;
}

/* ---- what stays until the next start ---- */

static int keep_listen(struct config_loader *l, const struct config *running)
{
	struct config_listen *kept = loader_alloc(l, (running->listen_count + 1) * sizeof(*kept));

	for (size_t i = 0; kept && i < running->listen_count; i++) {
		const struct config_listen *old = &running->listen[i];
		const struct config_listen *now = find_listen(l->config, old->url.p);

		kept[i] = now ? *now : *old;
		if (now)
			continue;
		kept[i].url.p = loader_strdup(l, span_str(old->url.p));
		kept[i].host = loader_strdup(l, span_str(old->host));
		kept[i].path = loader_strdup(l, span_str(old->path));
	}
	if (l->no_memory)
		return -ERR_NO_MEMORY;
	l->config->listen = kept;
	l->config->listen_count = running->listen_count;
	return 0;
}

static void keep_value(
	struct config_loader *l, const struct config_row *row, const struct config *running)
{
	char *to = (char *)l->config + row->offset;
	const char *from = (const char *)running + row->offset;

	if (row->type == CONFIG_ROW_TEXT || row->type == CONFIG_ROW_PATH) {
		struct config_text *text = (struct config_text *)to;

		*text = *(const struct config_text *)from;
		text->p = loader_strdup(l, span_str(text->p));
	} else if (row->type == CONFIG_ROW_BOOL) {
		*(bool *)to = *(const bool *)from;
	} else if (row->type == CONFIG_ROW_WORD) {
		*(int *)to = *(const int *)from;
	} else {
		*(int64_t *)to = *(const int64_t *)from;
	}
}

const char *config_setting_name(struct span text)
{
	for (size_t i = 0; i < config_settings.count; i++)
		if (span_is(text, config_settings.rows[i].path))
			return config_settings.rows[i].path;
	return span_is(text, "listen") ? "listen" : NULL;
}

int config_keep_running(struct config *fresh, const struct config *running)
{
	struct config_loader l = {.config = fresh, .arena = fresh->arena};

	for (size_t i = 0; i < config_settings.count; i++)
		if ((config_settings.rows[i].flags & CONFIG_RESTART) &&
			row_differs(&config_settings.rows[i], running, fresh))
			keep_value(&l, &config_settings.rows[i], running);
	return keep_listen(&l, running);
}
