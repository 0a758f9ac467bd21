/* From nodes of the tree to values of a struct, by its rows. */
#include "config_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define LABEL_MAX 256

struct reading {
	const struct config_section *section;
	void *base;
	const char *label;
	config_other_key *other;
};

/* Bytes of text that fit max without cutting a character in two. */
static int whole_characters(struct span text, size_t max)
{
	size_t len = text.len < max ? text.len : max;

	while (len > 0 && len < text.len && ((unsigned char)text.p[len] & 0xc0) == 0x80)
		len--;
	return (int)len;
}

const char *loader_found(const struct yaml_node *node, char *out, size_t size)
{
	if (node->kind != YAML_KIND_SCALAR)
		snprintf(out, size, node->kind == YAML_KIND_LIST ? "a list" : "a map");
	else if (yaml_tree_is_null(node))
		snprintf(out, size, "nothing");
	else
		snprintf(out, size, "\"%.*s\"%s", whole_characters(node->text, 40), node->text.p,
			node->text.len > 40 ? "…" : "");
	return out;
}

/* "label.path", cut where a key is longer than any known one. */
static const char *join(const char *label, const char *path, char *out, size_t size)
{
	int len = snprintf(out, size, "%s%s%s", label, label[0] && path[0] ? "." : "", path);

	if (len < 0)
		out[0] = '\0';
	return out;
}

static void report_type(struct config_loader *l, const char *where, const struct config_row *row,
	const struct yaml_node *node)
{
	char found[64], expected[256];

	if (node->kind == YAML_KIND_SCALAR && row->type == CONFIG_ROW_DURATION &&
		config_is_bare_number(node->text.p))
		loader_error(l, node, "%s: found %s, which has no unit; write %.20ss or %.20sms",
			where, loader_found(node, found, sizeof(found)), node->text.p,
			node->text.p);
	else
		loader_error(l, node, "%s: found %s, expected %s", where,
			loader_found(node, found, sizeof(found)),
			config_value_expected(row, expected, sizeof(expected)));
}

/* What config_write_json made of a secret string: {"secret": "…"}. */
static const struct yaml_node *raw_secret(
	const struct config_loader *l, const struct yaml_node *node)
{
	const struct yaml_node *inner = l->raw ? yaml_tree_get(node, "secret") : NULL;

	return inner && inner->kind == YAML_KIND_SCALAR && node->count == 1 ? inner : NULL;
}

/* A string of a list, a map or a row of its own; false: no scalar, or a mistake inside, which is
 * reported. */
static bool read_text(struct config_loader *l, const char *where, const struct yaml_node *node,
	bool named_secret, struct config_text *ret)
{
	const struct yaml_node *inner = raw_secret(l, node);
	char found[64];

	if (inner) {
		*ret = (struct config_text){loader_strdup(l, inner->text), true};
		return true;
	}
	if (node->kind != YAML_KIND_SCALAR || yaml_tree_is_null(node)) {
		loader_error(l, node, "%s: found %s, expected a string", where,
			loader_found(node, found, sizeof(found)));
		return false;
	}
	if (!config_substitute(l, node, ret))
		return false;
	/* what was written knows which strings are secret; only a file has to be judged */
	if (!l->raw)
		ret->secret = ret->secret || named_secret || config_value_secret(ret->p);
	if (l->verbatim && ret->secret && !strstr(ret->p, "${"))
		loader_notice(l, node,
			"%s: stands there in clear; ${VAR} or ${file:PATH} would keep it out of "
			"the file",
			where);
	return true;
}

static void read_list(struct config_loader *l, const char *where, const struct yaml_node *node,
	struct config_list *ret)
{
	struct config_text *items = loader_alloc(l, (node->count + 1) * sizeof(*items));
	bool secret_next = false;
	size_t n = 0;

	for (const struct yaml_item *i = node->items; items && i; i = i->next) {
		struct config_text text;

		if (!read_text(l, where, i->value, secret_next, &text))
			continue;
		/* --api-key VALUE */
		secret_next = text.p[0] == '-' && !strchr(text.p, '=') &&
			      config_name_secret(span_str(text.p));
		items[n++] = text;
	}
	*ret = (struct config_list){items, n};
}

static void read_map(struct config_loader *l, const char *where, const struct config_row *row,
	const struct yaml_node *node, struct config_map *ret)
{
	struct config_pair *items = loader_alloc(l, (node->count + 1) * sizeof(*items));
	char label[LABEL_MAX];
	size_t n = 0;

	for (const struct yaml_item *i = node->items; items && i; i = i->next) {
		struct config_pair *pair = &items[n];

		if (yaml_tree_is_null(i->value))
			continue;
		if (!read_text(l, join(where, i->key->text.p, label, sizeof(label)), i->value,
			    config_name_secret(i->key->text), &pair->value))
			continue;
		pair->name = loader_strdup(l, i->key->text);
		pair->value.secret &= !(row->flags & CONFIG_PLAIN);
		n++;
	}
	*ret = (struct config_map){items, n};
}

static void read_simple(struct config_loader *l, const char *where, const struct config_row *row,
	void *value, const struct yaml_node *node)
{
	struct config_text text;
	union {
		bool b;
		int word;
		int64_t n;
		struct config_access access;
	} parsed = {0};
	static const size_t sizes[] = {
		[CONFIG_ROW_BOOL] = sizeof(bool),
		[CONFIG_ROW_INT] = sizeof(int64_t),
		[CONFIG_ROW_COUNT] = sizeof(int64_t),
		[CONFIG_ROW_DURATION] = sizeof(int64_t),
		[CONFIG_ROW_SIZE] = sizeof(int64_t),
		[CONFIG_ROW_WORD] = sizeof(int),
		[CONFIG_ROW_ACCESS] = sizeof(struct config_access),
	};

	if (!config_substitute(l, node, &text))
		return;
	if (config_value_parse(row, text.p, &parsed))
		memcpy(value, &parsed, sizes[row->type]);
	else
		report_type(l, where, row, node);
}

static void read_string(struct config_loader *l, const char *where, const struct config_row *row,
	struct config_text *value, const struct yaml_node *node)
{
	struct config_text text;

	if (!read_text(l, where, node, false, &text))
		return;
	text.secret &= !(row->flags & CONFIG_PLAIN);
	if (row->type == CONFIG_ROW_PATH)
		text.p = loader_path(l, text.p);
	*value = text;
}

static bool kind_fits(
	const struct config_loader *l, const struct config_row *row, const struct yaml_node *node)
{
	if (row->type == CONFIG_ROW_LIST)
		return node->kind == YAML_KIND_LIST;
	if (row->type == CONFIG_ROW_MAP)
		return node->kind == YAML_KIND_MAP;
	return node->kind == YAML_KIND_SCALAR ||
	       ((row->type == CONFIG_ROW_TEXT || row->type == CONFIG_ROW_PATH) &&
		       raw_secret(l, node));
}

void config_read_value(struct config_loader *l, const struct config_section *section,
	const struct config_row *row, void *base, const char *label, const struct yaml_node *node)
{
	void *value = (char *)base + row->offset;
	uint32_t *origin = config_row_origin(section, row, base);
	char where[LABEL_MAX];

	join(label, row->path, where, sizeof(where));
	if (*origin != 0) {
		loader_error(l, node, "%s: given twice, first at line %u", where, *origin);
		return;
	}
	*origin = node->line;
	if (yaml_tree_is_null(node))
		return;
	if (!kind_fits(l, row, node))
		report_type(l, where, row, node);
	else if (row->type == CONFIG_ROW_LIST)
		read_list(l, where, node, value);
	else if (row->type == CONFIG_ROW_MAP)
		read_map(l, where, row, node, value);
	else if (row->type == CONFIG_ROW_TEXT || row->type == CONFIG_ROW_PATH)
		read_string(l, where, row, value, node);
	else
		read_simple(l, where, row, value, node);
}

static void report_unknown(struct config_loader *l, const struct reading *rd,
	const struct yaml_node *key, const char *path, bool is_map)
{
	const char *nearest = config_row_nearest(rd->section, path);
	char where[LABEL_MAX], group[LABEL_MAX];

	/* another version's, which knows more settings */
	if (l->raw)
		return;
	join(rd->label, path, where, sizeof(where));
	if (is_map && config_row_nearest_group(rd->section, path, group, sizeof(group)))
		nearest = group;
	if (strcmp(key->text.p, "<<") == 0)
		loader_error(l, key, "%s: merge keys (<<) are not read; write the keys out", where);
	else if (nearest)
		loader_error(l, key, "%s: unknown setting; did you mean \"%s\"?", where, nearest);
	else
		loader_error(l, key,
			"%s: unknown setting; `gatehouse config schema` lists the known ones",
			where);
}

static void read_pairs(struct config_loader *l, const struct reading *rd, const char *prefix,
	const struct yaml_node *map);

static void read_pair(struct config_loader *l, const struct reading *rd, const char *prefix,
	const struct yaml_item *item)
{
	const struct config_row *row;
	char path[LABEL_MAX], where[LABEL_MAX], found[64];

	join(prefix, item->key->text.p, path, sizeof(path));
	row = config_row_find(rd->section, path);
	if (row) {
		config_read_value(l, rd->section, row, rd->base, rd->label, item->value);
	} else if (config_row_is_group(rd->section, path) && item->value->kind == YAML_KIND_MAP) {
		read_pairs(l, rd, path, item->value);
	} else if (!rd->other || !rd->other(l, rd->base, item->key, item->value, path)) {
		if (!config_row_is_group(rd->section, path))
			report_unknown(l, rd, item->key, path,
				item->value->kind == YAML_KIND_MAP);
		else if (!yaml_tree_is_null(item->value))
			loader_error(l, item->value, "%s: found %s, expected a map",
				join(rd->label, path, where, sizeof(where)),
				loader_found(item->value, found, sizeof(found)));
	}
}

static void read_pairs(struct config_loader *l, const struct reading *rd, const char *prefix,
	const struct yaml_node *map)
{
	for (const struct yaml_item *i = map->items; i; i = i->next)
		read_pair(l, rd, prefix, i);
}

void config_read_map(struct config_loader *l, const struct config_section *section, void *base,
	const char *label, const struct yaml_node *map, config_other_key *other)
{
	struct reading rd = {section, base, label, other};

	read_pairs(l, &rd, "", map);
}
