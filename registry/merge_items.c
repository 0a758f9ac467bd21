/* From the servers' lists to the items of the catalogue: checked, named, limited, in order. */
#include "bounds.h"
#include "glob.h"
#include "hash.h"
#include "json.h"
#include "mcp.h"
#include "merge_internal.h"

#include <stdlib.h>

#define LARGE_URI CATALOGUE_URI_MAX

/* The member that names an item of each kind. */
static const struct span name_keys[CATALOGUE_KIND_MAX] = {
	[CATALOGUE_TOOL] = {"name", 4},
	[CATALOGUE_RESOURCE] = {"uri", 3},
	[CATALOGUE_TEMPLATE] = {"uriTemplate", 11},
	[CATALOGUE_PROMPT] = {"name", 4},
};

/* A list on its way. */
struct list {
	struct merge *merge;
	const struct merge_server *server;
	uint32_t number;
	enum catalogue_kind kind;
	uint32_t taken;
};

static bool is_named(enum catalogue_kind kind)
{
	return kind == CATALOGUE_TOOL || kind == CATALOGUE_PROMPT;
}

static void note(
	const struct list *list, enum merge_note_kind kind, struct span name, const char *detail)
{
	merge_note(list->merge, kind, list->kind, list->number, list->number, name, detail);
}

static bool globs_match(const char *const *globs, struct span name)
{
	for (; globs && *globs; globs++)
		if (glob_match(*globs, name))
			return true;
	return false;
}

static bool is_wanted(const struct list *list, struct span name)
{
	if (list->kind != CATALOGUE_TOOL)
		return true;
	if (list->server->include && list->server->include[0] &&
		!globs_match(list->server->include, name))
		return false;
	return !globs_match(list->server->exclude, name);
}

static bool is_true(struct span object, const char *key)
{
	bool value;

	return json_get_bool(json_object_get(object, span_str(key)), &value) == 0 && value;
}

static uint32_t tool_flags(struct span json, struct span schema)
{
	static const struct {
		const char *key;
		uint32_t flag;
	} hints[] = {
		{"readOnlyHint", CATALOGUE_READ_ONLY},
		{"idempotentHint", CATALOGUE_IDEMPOTENT},
		{"destructiveHint", CATALOGUE_DESTRUCTIVE},
		{"openWorldHint", CATALOGUE_OPEN_WORLD},
	};
	struct span annotations = json_object_get(json, SPAN_LIT("annotations"));
	struct span task = json_path(json, "execution", "taskSupport", NULL);
	uint32_t flags = 0;

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (is_true(annotations, hints[i].key))
			flags |= hints[i].flag;
	if (json_equal_string(task, SPAN_LIT("optional")))
		flags |= CATALOGUE_TASK_OPTIONAL;
	if (json_equal_string(task, SPAN_LIT("required")))
		flags |= CATALOGUE_TASK_REQUIRED;
	if (memmem(schema.p, schema.len, "\"x-mcp-header\"", 14))
		flags |= CATALOGUE_HEADERS;
	return flags;
}

/*
 * What a client's schema would refuse, and with it the whole list of all servers; or what a client
 * must refuse. NULL when the
 * item is good; the spans of name token and schemas then stand in item.
 */
static const char *item_examine(struct list *list, struct span json, struct catalogue_item *item)
{
	struct json_field fields[] = {
		{.key = name_keys[list->kind]},
		{.key = list->kind == CATALOGUE_TOOL ? SPAN_LIT("inputSchema") : SPAN_LIT("name")},
		{.key = SPAN_LIT("outputSchema")},
	};

	if (json_type(json) != JSON_OBJECT)
		return "it is not an object";
	if (json.len > list->merge->config.limits.item_bytes)
		return "it is too large";
	if (merge_has_half_pair(json))
		return "it has half a surrogate pair";
	json_object_get_many(json, fields, 3);
	if (json_type(fields[0].value) != JSON_STRING || fields[0].value.len == 2)
		return "its name is missing, empty or not a string";
	if (fields[0].count != 1)
		return "it has two names";
	if (list->kind == CATALOGUE_TOOL && json_type(fields[1].value) != JSON_OBJECT)
		return "its inputSchema is missing or not an object";
	if (!is_named(list->kind) && json_type(fields[1].value) != JSON_STRING)
		return "its name is missing or not a string";
	if (list->kind == CATALOGUE_TOOL && fields[2].count &&
		json_type(fields[2].value) != JSON_OBJECT)
		return "its outputSchema is not an object";
	item->kind = list->kind;
	item->server = list->number;
	item->json = json;
	item->original = item->name_token = fields[0].value;
	if (list->kind == CATALOGUE_TOOL) {
		item->schema = fields[1].value;
		item->output_schema = fields[2].value;
		item->flags = tool_flags(json, item->schema);
	}
	item->digest = hash64(json.p, json.len, 0);
	if ((item->flags & CATALOGUE_HEADERS) && catalogue_server_has_headers(&list->server->facts))
		return mcp_header_fault(item->schema);
	return NULL;
}

/* Find out who has this name. False when the item cannot be taken. */
static bool name_is_free(struct list *list, const struct catalogue_item *item, struct span own)
{
	uint32_t slot = 0, other = UINT32_MAX, first = UINT32_MAX;

	while (merge_names_next(list->merge, item->kind, item->name, &slot, &other)) {
		if (list->merge->items[other].server == list->number) {
			note(list, MERGE_DUPLICATE, own, "the server lists this name twice, or the configuration gives it twice");
			return false;
		}
		if (first == UINT32_MAX || list->merge->items[other].server < first)
			first = list->merge->items[other].server;
	}
	if (first == UINT32_MAX)
		return true;
	if (is_named(item->kind)) {
		merge_note(list->merge, MERGE_CONFLICT, item->kind, list->number, first, own,
			"a server before it in the configuration has this name");
		return false;
	}
	merge_note(list->merge, MERGE_AMBIGUOUS, item->kind, list->number, first, own,
		"another server claims it, too");
	return true;
}

/* Did this server list the same original name before? Exposed names alone would make of it a
 * renamed second. */
static bool is_repeated(const struct list *list, const struct catalogue_item *item)
{
	const struct merge *merge = list->merge;

	for (uint32_t i = merge->items_len - list->taken; i < merge->items_len; i++)
		if (json_equal_scalar(merge->items[i].original, item->original))
			return true;
	return false;
}

/* naming prefix: give item the first name of its row that is free. False: repeated, or none was
 * free. */
static int name_prefixed(struct list *list, struct catalogue_item *item, struct span own)
{
	struct merge *merge = list->merge;
	char name[CATALOGUE_NAME_MAX + 1];
	bool renamed = false;

	for (unsigned attempt = 0; attempt < CATALOGUE_NAME_ATTEMPTS; attempt++) {
		uint32_t slot, other = UINT32_MAX;

		renamed = catalogue_make_name(list->server->facts.name, own, attempt, name);
		if (!merge_names_next(merge, item->kind, span_str(name), &slot, &other)) {
			item->name = arena_copy(&merge->arena, span_str(name));
			if (!item->name.p)
				return err_set(merge->err, ERR_TOO_LARGE, "names of the catalogue");
			if (renamed)
				note(list, MERGE_RENAMED, own, item->name.p);
			item->flags |= CATALOGUE_RENAMED;
			return 0;
		}
		if (merge->items[other].server == list->number && is_repeated(list, item)) {
			note(list, MERGE_DUPLICATE, own, "the server lists it twice");
			return -ERR_EXISTS;
		}
	}
	note(list, MERGE_CONFLICT, own, "no free name was found");
	return -ERR_EXISTS;
}

int merge_item_rename(struct merge *merge, struct catalogue_item *item)
{
	struct span before = item->json, token = item->name_token;
	size_t at = (size_t)(token.p - before.p), name_len = item->name.len + 2;
	struct span *parts[] = {&item->schema, &item->output_schema};
	char quoted[CATALOGUE_NAME_MAX + 3];
	struct json_edit edit = {.at = token};

	quoted[0] = '"';
	memcpy(quoted + 1, item->name.p, item->name.len);
	quoted[name_len - 1] = '"';
	edit.with = span_of(quoted, name_len);
	buf_clear(&merge->text);
	if (json_splice(before, &edit, 1, &merge->text) < 0)
		return err_set(merge->err, ERR_NO_MEMORY, "naming a tool");
	item->json = arena_copy(&merge->arena, buf_span(&merge->text));
	if (!item->json.p)
		return err_set(merge->err, ERR_TOO_LARGE, "items of the catalogue");
	item->name_token = span_of(item->json.p + at, name_len);
	for (size_t i = 0; i < 2; i++) {
		size_t offset;

		if (parts[i]->len == 0)
			continue;
		offset = (size_t)(parts[i]->p - before.p);
		if (offset > at)
			offset = offset - token.len + name_len;
		parts[i]->p = item->json.p + offset;
	}
	return 0;
}

static int item_add(struct list *list, const struct catalogue_item *item)
{
	struct merge *merge = list->merge;

	if (merge->items_len == merge->items_cap) {
		uint32_t cap = merge->items_cap ? merge->items_cap * 2 : 256;
		struct catalogue_item *items = realloc(merge->items, cap * sizeof(*items));

		if (!items)
			return err_set(merge->err, ERR_NO_MEMORY, "merging items");
		merge->items = items;
		merge->items_cap = cap;
	}
	merge->items[merge->items_len] = *item;
	merge->items_len++;
	merge->bytes += item->json.len;
	list->taken++;
	return merge_names_add(merge, merge->items_len - 1);
}

/* What the configuration calls it, before any prefix. */
static struct span given_name(const struct list *list, struct span own)
{
	const struct config_map *rename = list->server->rename;

	for (size_t i = 0; list->kind == CATALOGUE_TOOL && rename && i < rename->count; i++)
		if (span_is(own, rename->items[i].name))
			return span_str(rename->items[i].value.p);
	return own;
}

/* naming none, and whatever has no name of ours. */
static int item_take_plain(
	struct list *list, struct catalogue_item *item, struct span own, struct span given)
{
	int r = 0;

	item->name = given;
	if (!name_is_free(list, item, own))
		return 0;
	if (!span_equal(given, own)) {
		item->flags |= CATALOGUE_RENAMED;
		r = merge_item_rename(list->merge, item);
	}
	return r < 0 ? r : item_add(list, item);
}

/* Take one item, or note why not. Negative only for what ends the whole merge. */
static int item_take(struct list *list, struct span json)
{
	struct merge *merge = list->merge;
	struct catalogue_item item = {0};
	const char *wrong = item_examine(list, json, &item);
	struct span own, given;
	int r;

	if (wrong) {
		note(list,
			json.len > merge->config.limits.item_bytes ? MERGE_TOO_LARGE
								   : MERGE_BAD_ITEM,
			SPAN_NONE, wrong);
		return 0;
	}
	r = json_string_decode(item.original, &merge->arena, &own);
	if (r < 0)
		return err_set(merge->err, ERR_TOO_LARGE, "names of the catalogue");
	if (!is_wanted(list, own))
		return 0;
	if (is_named(list->kind) ? own.len > LIMIT_TOOL_NAME && merge->config.naming == MERGE_NONE
				 : own.len > LARGE_URI) {
		note(list, MERGE_TOO_LARGE, own, "its name is too long");
		return 0;
	}
	if (merge->bytes + json.len > merge->config.limits.bytes) {
		note(list, MERGE_TOO_LARGE, own, "the limit of bytes of all items is reached");
		return 0;
	}
	given = given_name(list, own);
	if (!is_named(list->kind) || merge->config.naming == MERGE_NONE)
		return item_take_plain(list, &item, own, given);
	r = name_prefixed(list, &item, given);
	if (r < 0)
		return r == -ERR_EXISTS ? 0 : r;
	r = merge_item_rename(merge, &item);
	return r < 0 ? r : item_add(list, &item);
}

static int list_take(struct list *list)
{
	const struct merge_limits *limits = &list->merge->config.limits;
	struct span text = list->server->lists[list->kind], json;
	struct json_iter iter;
	int r = 0;

	if (text.len == 0 || list->server->facts.state == SERVER_DISABLED)
		return 0;
	if (text.len > limits->list_bytes) {
		note(list, MERGE_TOO_LARGE, SPAN_NONE, "the whole list is too large");
		return 0;
	}
	if (json_check(text, LIMIT_JSON_DEPTH, NULL) < 0 ||
		json_type(json_trim(text)) != JSON_ARRAY) {
		note(list, MERGE_BAD_LIST, SPAN_NONE, "the list is not a JSON array");
		return 0;
	}
	iter = json_iter(json_trim(text));
	while (r == 0 && json_iter_element(&iter, &json)) {
		if (list->taken == limits->items) {
			note(list, MERGE_TOO_MANY, SPAN_NONE, "the rest of the list is left out");
			break;
		}
		r = item_take(list, json);
	}
	return r;
}

int merge_items(struct merge *merge)
{
	int r = 0;

	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX && r == 0; kind++)
		for (uint32_t i = 0; i < merge->servers_len && r == 0; i++) {
			struct list list = {
				.merge = merge,
				.server = &merge->servers[i],
				.number = i,
				.kind = (enum catalogue_kind)kind,
			};

			r = list_take(&list);
			merge->facts[i].count[kind] = list.taken;
		}
	return r;
}
