/* The tables that config.def becomes. */
#include "config_internal.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define WORD_TEXT(constant, word) word,
static const char *const config_naming_words[] = {CONFIG_NAMING(WORD_TEXT) NULL};
static const char *const config_sandbox_words[] = {CONFIG_SANDBOX(WORD_TEXT) NULL};
static const char *const config_sync_words[] = {CONFIG_SYNC(WORD_TEXT) NULL};
static const char *const config_log_format_words[] = {CONFIG_LOG_FORMAT(WORD_TEXT) NULL};
static const char *const config_log_level_words[] = {CONFIG_LOG_LEVEL(WORD_TEXT) NULL};
static const char *const config_type_words[] = {CONFIG_TYPE(WORD_TEXT) NULL};
static const char *const config_isolation_words[] = {CONFIG_ISOLATION(WORD_TEXT) NULL};
static const char *const config_stderr_words[] = {CONFIG_STDERR(WORD_TEXT) NULL};

#define ROW(owner, member, path, type, def, min, max, words, flags, about) \
	{path, CONFIG_ROW_##type, def, min, max, words, flags, offsetof(struct owner, member), \
		about},

static const struct config_row setting_rows[] = {
#define SETTING(...) ROW(config, __VA_ARGS__)
#include "config.def"
};
static const struct config_row server_rows[] = {
#define SERVER(...) ROW(config_server, __VA_ARGS__)
#include "config.def"
};
static const struct config_row listen_rows[] = {
#define LISTEN(...) ROW(config_listen, __VA_ARGS__)
#include "config.def"
};
static const struct config_row view_rows[] = {
#define VIEW(...) ROW(config_virtual, __VA_ARGS__)
#include "config.def"
};

const struct config_section config_settings = {
	setting_rows, CONFIG_SETTING_COUNT, offsetof(struct config, origin)};
const struct config_section config_server_section = {
	server_rows, CONFIG_SERVER_ROWS, offsetof(struct config_server, origin)};
const struct config_section config_listen_section = {
	listen_rows, CONFIG_LISTEN_ROWS, offsetof(struct config_listen, origin)};
const struct config_section config_view_section = {
	view_rows, CONFIG_VIEW_ROWS, offsetof(struct config_virtual, origin)};

const char *config_type_name(int type)
{
	return type >= 0 && type <= CONFIG_TYPE_WS ? config_type_words[type] : "?";
}

const char *config_isolation_name(int isolation)
{
	return isolation >= 0 && isolation <= CONFIG_ISOLATION_SHARED
		       ? config_isolation_words[isolation]
		       : "?";
}

const struct config_row *config_row_find(const struct config_section *section, const char *path)
{
	for (size_t i = 0; i < section->count; i++)
		if (strcmp(section->rows[i].path, path) == 0)
			return &section->rows[i];
	return NULL;
}

bool config_row_is_group(const struct config_section *section, const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < section->count; i++)
		if (strncmp(section->rows[i].path, path, len) == 0 &&
			section->rows[i].path[len] == '.')
			return true;
	return false;
}

uint32_t *config_row_origin(
	const struct config_section *section, const struct config_row *row, void *base)
{
	return (uint32_t *)((char *)base + section->origin) + (row - section->rows);
}

uint32_t config_row_line(
	const struct config_section *section, const struct config_row *row, const void *base)
{
	return ((const uint32_t *)((const char *)base + section->origin))[row - section->rows];
}

#define NEAR_MAX 48

/* Edit distance (insert, delete, replace), letters' case aside; NEAR_MAX for long words. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[NEAR_MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > NEAR_MAX || lb > NEAR_MAX)
		return NEAR_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t above = row[j];
			size_t best = diagonal + (strncasecmp(a + i - 1, b + j - 1, 1) != 0);

			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
			diagonal = above;
		}
	}
	return row[lb];
}

/* Mistakes that are still taken for a slip, for a word of this length. */
static size_t near_limit(const char *word)
{
	size_t len = strlen(word);

	return len <= 3 ? 1 : len <= 8 ? 2 : 3;
}

bool config_near(const char *a, const char *b)
{
	return edit_distance(a, b) <= near_limit(a);
}

const char *config_row_nearest(const struct config_section *section, const char *path)
{
	size_t best = near_limit(path) + 1;
	const char *ret = NULL;

	for (size_t i = 0; i < section->count; i++) {
		const char *known = section->rows[i].path;
		const char *dot = strrchr(known, '.');
		size_t distance = edit_distance(path, known);

		/* "max_header" for "http.max_header": right word, wrong place */
		if (distance >= best && dot && strcasecmp(dot + 1, path) == 0 && best > 1)
			distance = 1;
		if (distance < best) {
			best = distance;
			ret = known;
		}
	}
	return ret;
}

bool config_row_nearest_group(const struct config_section *section, const char *path, char *ret,
	size_t size)
{
	size_t best = near_limit(path) + 1;

	for (size_t i = 0; i < section->count; i++) {
		const char *known = section->rows[i].path;

		for (const char *dot = strchr(known, '.'); dot; dot = strchr(dot + 1, '.')) {
			char group[64];
			size_t distance;

			snprintf(group, sizeof(group), "%.*s", (int)(dot - known), known);
			distance = edit_distance(path, group);
			if (distance >= best)
				continue;
			best = distance;
			snprintf(ret, size, "%s", group);
		}
	}
	return best <= near_limit(path);
}

int config_row_defaults(
	const struct config_section *section, void *base, const char *dir, struct arena *arena)
{
	for (size_t i = 0; i < section->count; i++) {
		const struct config_row *row = &section->rows[i];
		void *value = (char *)base + row->offset;
		struct config_text *text = value;

		if (row->type == CONFIG_ROW_LIST || row->type == CONFIG_ROW_MAP)
			continue;
		if (row->type != CONFIG_ROW_TEXT && row->type != CONFIG_ROW_PATH) {
			config_value_parse(row, row->def, value);
			continue;
		}
		text->p = row->def;
		if (row->type == CONFIG_ROW_PATH && row->def[0] == '.' && row->def[1] == '/') {
			size_t size = strlen(dir) + strlen(row->def);
			char *path = arena_alloc(arena, size);

			if (!path)
				return -ERR_NO_MEMORY;
			snprintf(path, size, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir,
				row->def + 2);
			text->p = path;
		}
	}
	return 0;
}

bool config_row_is_default(const struct config_row *row, const void *value)
{
	union {
		int64_t number;
		struct config_access access;
	} def = {0};

	return config_value_parse(row, row->def, &def) && config_value_equal(row, &def, value);
}

/* Bytes of path up to and with its depth-th dot, 0 if it has fewer. */
static size_t group_end(const char *path, size_t depth)
{
	const char *p = path;

	while (depth-- > 0) {
		p = strchr(p, '.');
		if (!p)
			return 0;
		p++;
	}
	return (size_t)(p - path);
}

/* How many groups two paths share. */
static size_t groups_shared(const char *a, const char *b)
{
	size_t depth = 0, end;

	while ((end = group_end(a, depth + 1)) > 0 && strncmp(a, b, end) == 0)
		depth++;
	return depth;
}

static int walk_open(const struct config_walk *walk, void *arg, const char *path, size_t depth)
{
	size_t start = group_end(path, depth), end = group_end(path, depth + 1);
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)(end - start - 1), path + start);
	return walk->open(arg, name);
}

int config_row_walk(const struct config_section *section, const struct config_walk *walk, void *arg)
{
	const char *previous = "";
	size_t depth = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < section->count; i++) {
		const char *path = section->rows[i].path;
		size_t shared = groups_shared(path, previous);

		for (; r == 0 && depth > shared; depth--)
			r = walk->close(arg);
		for (; r == 0 && group_end(path, depth + 1) > 0; depth++)
			r = walk_open(walk, arg, path, depth);
		if (r == 0)
			r = walk->leaf(arg, &section->rows[i], path + group_end(path, depth));
		previous = path;
	}
	for (; r == 0 && depth > 0; depth--)
		r = walk->close(arg);
	return r;
}
