/*
 * Lists as hostile servers send them. The first byte chooses naming and limits; the rest, cut at
 * zero bytes, is tools, resources, templates, prompts and capabilities of one server, then of the
 * next. Whatever comes, the file made of it is valid and keeps its promises.
 */
#include "arena.h"
#include "bounds.h"
#include "fuzz.h"
#include "json.h"
#include "merge.h"

#include <string.h>

#define SERVERS 3
#define PARTS (CATALOGUE_KIND_MAX + 1)

static struct span next_part(const char **p, const char *end)
{
	const char *zero = memchr(*p, 0, (size_t)(end - *p));
	struct span part = span_of(*p, (size_t)((zero ? zero : end) - *p));

	*p = zero ? zero + 1 : end;
	return part;
}

static bool is_legal(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
			    name.p[i]))
			return false;
	return name.len >= 1 && name.len <= CATALOGUE_NAME_MAX;
}

static void check_item(
	const struct catalogue *catalogue, const struct catalogue_item *item, bool prefix)
{
	bool named = item->kind == CATALOGUE_TOOL || item->kind == CATALOGUE_PROMPT;
	struct catalogue_item found[SERVERS];
	uint32_t n = catalogue_find(catalogue, item->kind, item->name, found, SERVERS);

	FUZZ_CHECK(json_check(item->json, LIMIT_JSON_DEPTH, NULL) == 0);
	FUZZ_CHECK(json_type(item->json) == JSON_OBJECT);
	FUZZ_CHECK(json_equal_string(item->name_token, item->name));
	FUZZ_CHECK(json_type(item->original) == JSON_STRING);
	FUZZ_CHECK(named ? n == 1 : n >= 1 && n <= SERVERS);
	if (named && prefix)
		FUZZ_CHECK(is_legal(item->name));
	if (item->kind == CATALOGUE_TOOL)
		FUZZ_CHECK(span_equal(
			item->schema, json_object_get(item->json, SPAN_LIT("inputSchema"))));
}

static void check_result(const struct merge_result *result, bool prefix)
{
	struct catalogue *catalogue;
	struct catalogue_item item;
	uint32_t items = 0;

	FUZZ_CHECK(catalogue_open(result->fd, &catalogue, NULL) == 0);
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		for (uint32_t n = 0; catalogue_get(
			     catalogue, (enum catalogue_kind)kind, CATALOGUE_ALL_SERVERS, n, &item);
			n++, items++)
			check_item(catalogue, &item, prefix);
	FUZZ_CHECK(items == result->items);
	for (int era = 0; era < CATALOGUE_ERA_MAX; era++)
		FUZZ_CHECK(json_check(catalogue_capabilities(catalogue, (enum catalogue_era)era),
				   LIMIT_JSON_DEPTH, NULL) == 0);
	catalogue_free(catalogue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[SERVERS] = {"a", "a__b", "caf\xc3\xa9"};
	const char *p = (const char *)data + 1, *end = (const char *)data + size;
	struct merge_config config = {0};
	struct merge_server servers[SERVERS];
	struct merge_result *result;

	if (size == 0)
		return 0;
	config.naming = data[0] & 1 ? MERGE_NONE : MERGE_PREFIX;
	config.tasks = data[0] & 2;
	if (data[0] & 4)
		config.limits = (struct merge_limits){.items = 3, .item_bytes = 100, .bytes = 250};
	for (int i = 0; i < SERVERS; i++) {
		servers[i] = (struct merge_server){
			.facts = {.name = span_str(names[i]), .state = SERVER_UP}};
		for (int part = 0; part < PARTS; part++) {
			struct span text = next_part(&p, end);

			if (part < CATALOGUE_KIND_MAX)
				servers[i].lists[part] = text;
			else
				servers[i].facts.capabilities = text;
		}
	}
	FUZZ_CHECK(merge_catalogue(&config, servers, SERVERS, &result, NULL) == 0);
	check_result(result, config.naming == MERGE_PREFIX);
	merge_result_free(result);
	return 0;
}
