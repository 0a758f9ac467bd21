/* registry/merge and proto/catalogue: from lists to look-ups, and files that are not what they
 * should be. */
#include "arena.h"
#include "buf.h"
#include "glob.h"
#include "json.h"
#include "merge.h"
#include "memfile.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SERVERS 20
#define TOOLS 50 /* of each server */

static struct merge_result *merge_all(
	const struct merge_config *config, const struct merge_server *servers, uint32_t n)
{
	struct merge_result *result = NULL;
	struct err err = {0};
	int r = merge_catalogue(config, servers, n, &result, &err);

	ck_assert_msg(r == 0, "%s", err_text(&err));
	return result;
}

static struct catalogue *open_all(const struct merge_result *result)
{
	struct catalogue *catalogue;
	struct err err = {0};
	int r = catalogue_open(result->fd, &catalogue, &err);

	ck_assert_msg(r == 0, "%s", err_text(&err));
	return catalogue;
}

static struct merge_server server(const char *name)
{
	return (struct merge_server){
		.facts = {.name = span_str(name), .upstream = span_str(name), .state = SERVER_UP}};
}

static uint32_t notes_of(const struct merge_result *result, enum merge_note_kind kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < result->notes_len; i++)
		n += result->notes[i].note == kind;
	return n;
}

static struct catalogue_item find(
	struct catalogue *catalogue, enum catalogue_kind kind, const char *name)
{
	struct catalogue_item item = {0};

	ck_assert_msg(catalogue_find(catalogue, kind, span_str(name), &item, 1) == 1, "%s", name);
	return item;
}

#define MARGIN \
	"{\"description\" : \"d\\u00e9\", \"x\":1e2, \"inputSchema\":{\"type\":\"object\"},  "

static struct span big_list(struct arena *arena, int s)
{
	struct span list;
	struct buf out;

	buf_init(&out, 1 << 20);
	buf_append_str(&out, "[ ");
	for (int i = 0; i < TOOLS; i++)
		buf_printf(&out,
			"%s" MARGIN "\"name\":\"tool_%d\", \"annotations\":{\"readOnlyHint\":%s},"
			"\"outputSchema\" : {\"n\":%d}}",
			i ? " ,\n" : "", i, i % 2 ? "true" : "false", s);
	buf_append_str(&out, "]");
	list = arena_copy(arena, buf_span(&out));
	buf_free(&out);
	return list;
}

static void check_tool(struct catalogue *catalogue, int s, int i)
{
	struct catalogue_item item, again;
	char name[64], expect[512];

	snprintf(name, sizeof(name), "server%02d__tool_%d", s, i);
	item = find(catalogue, CATALOGUE_TOOL, name);
	ck_assert_uint_eq(item.server, (uint32_t)s);
	ck_assert_uint_eq(item.flags, CATALOGUE_RENAMED | (i % 2 ? CATALOGUE_READ_ONLY : 0));
	snprintf(expect, sizeof(expect), "\"tool_%d\"", i);
	ck_assert(span_is(item.original, expect));
	ck_assert(span_is(item.schema, "{\"type\":\"object\"}"));
	snprintf(expect, sizeof(expect), "{\"n\":%d}", s);
	ck_assert(span_is(item.output_schema, expect));
	snprintf(expect, sizeof(expect),
		MARGIN "\"name\":\"%s\", \"annotations\":{\"readOnlyHint\":%s},\"outputSchema\" : "
		       "{\"n\":%d}}",
		name, i % 2 ? "true" : "false", s);
	ck_assert_msg(span_is(item.json, expect), "%.*s", SPAN_ARG(item.json));
	ck_assert(json_equal_string(item.name_token, item.name));
	ck_assert(catalogue_get(catalogue, CATALOGUE_TOOL, (uint32_t)s, (uint32_t)i, &again));
	ck_assert_ptr_eq(again.json.p, item.json.p);
}

START_TEST(test_thousand)
{
	struct merge_config config = {.naming = MERGE_PREFIX, .generation = 7};
	struct merge_server servers[SERVERS];
	struct merge_result *result, *same;
	struct catalogue *catalogue;
	struct catalogue_item item;
	struct memfile a, b;
	struct arena arena;
	uint32_t index;
	char name[16];

	arena_init(&arena, 1 << 24);
	for (int s = 0; s < SERVERS; s++) {
		snprintf(name, sizeof(name), "server%02d", s);
		servers[s] = server(arena_strdup(&arena, span_str(name)));
		servers[s].lists[CATALOGUE_TOOL] = big_list(&arena, s);
	}
	result = merge_all(&config, servers, SERVERS);
	same = merge_all(&config, servers, SERVERS);
	arena_free(&arena);
	ck_assert_uint_eq(result->notes_len, 0);
	ck_assert_uint_eq(result->items, SERVERS * TOOLS);
	catalogue = open_all(result);
	ck_assert_uint_eq(catalogue_generation(catalogue), 7);
	ck_assert_uint_eq(catalogue_servers(catalogue), SERVERS);
	ck_assert_uint_eq(
		catalogue_count(catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS), SERVERS * TOOLS);
	for (int s = 0; s < SERVERS; s++)
		for (int i = 0; i < TOOLS; i++)
			check_tool(catalogue, s, i);
	/* the order: servers as configured, within one its own */
	for (uint32_t n = 0; n < SERVERS * TOOLS; n++) {
		ck_assert(
			catalogue_get(catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS, n, &item));
		snprintf(name, sizeof(name), "\"tool_%u\"", n % TOOLS);
		ck_assert(item.server == n / TOOLS && span_is(item.original, name));
	}
	ck_assert(!catalogue_get(
		catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS, SERVERS * TOOLS, &item));
	ck_assert_uint_eq(
		catalogue_find(catalogue, CATALOGUE_TOOL, SPAN_LIT("tool_1"), &item, 1), 0);
	ck_assert_uint_eq(catalogue_find(catalogue, CATALOGUE_TOOL, SPAN_NONE, &item, 1), 0);
	ck_assert_uint_eq(
		catalogue_find(catalogue, CATALOGUE_PROMPT, SPAN_LIT("server00__tool_1"), &item, 1),
		0);
	ck_assert_int_eq(catalogue_find_server(catalogue, SPAN_LIT("server13"), &index), 0);
	ck_assert_uint_eq(index, 13);
	ck_assert_int_eq(
		catalogue_find_server(catalogue, SPAN_LIT("server99"), &index), -ERR_NOT_FOUND);
	/* the same input, the same bytes */
	ck_assert_int_eq(memfile_map(&a, result->fd, NULL), 0);
	ck_assert_int_eq(memfile_map(&b, same->fd, NULL), 0);
	ck_assert(span_equal(memfile_span(&a), memfile_span(&b)));
	memfile_unmap(&a);
	memfile_unmap(&b);
	catalogue_free(catalogue);
	merge_result_free(result);
	merge_result_free(same);
}
END_TEST

#define TOOL(name) "{\"name\":\"" name "\",\"inputSchema\":{}}"
#define LONG50 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"

START_TEST(test_names_prefix)
{
	/* exposed names that must hold for ever: clients' approvals and configurations name them */
	static const struct {
		const char *original;
		const char *exposed;
	} rows[] = {
		{"\"plain\"", "s__plain"},
		{"\"with-dash_1\"", "s__with-dash_1"},
		{"\"pl\\u0061in2\"", "s__plain2"},
	};
	struct merge_server servers[3] = {server("s"), server("s__x"), server("caf\xc3\xa9")};
	struct merge_config config = {.naming = MERGE_PREFIX};
	struct merge_result *result;
	struct catalogue *catalogue;
	struct catalogue_item item;
	uint32_t n;

	servers[0].lists[CATALOGUE_TOOL] = SPAN_LIT(
		"[" TOOL("plain") "," TOOL("with-dash_1") "," TOOL("pl\\u0061in2") "," TOOL(
			"x__y") "," TOOL("dots.and/slash") "," TOOL("dots_and_slash") "," TOOL(LONG50
				LONG50 "1") "," TOOL(LONG50 LONG50
			"2") "," TOOL("\\u540d\\u524d") "," TOOL("\xe5\x90\x8d\xe5\x89\x8d\xe5\x90"
								 "\x8d") "," TOOL("plain") "," TOOL("pl\\u0061in") "]");
	servers[1].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("y") "," TOOL("y") "]");
	servers[2].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("t") "]");
	servers[2].lists[CATALOGUE_PROMPT] = SPAN_LIT("[{\"name\":\"t\"}]");
	result = merge_all(&config, servers, 3);
	catalogue = open_all(result);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert(span_is(find(catalogue, CATALOGUE_TOOL, rows[i].exposed).original,
			rows[i].original));
	/* s + x__y and s__x + y: the first keeps it, the second gets a hash; each is found, none is
	 * split */
	ck_assert_uint_eq(find(catalogue, CATALOGUE_TOOL, "s__x__y").server, 0);
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, 1), 1);
	ck_assert(catalogue_get(catalogue, CATALOGUE_TOOL, 1, 0, &item));
	ck_assert(item.name.len == 16 && memcmp(item.name.p, "s__x__y_", 8) == 0);
	ck_assert(span_is(item.original, "\"y\""));
	ck_assert_uint_eq(notes_of(result, MERGE_DUPLICATE), 3);
	ck_assert_uint_eq(notes_of(result, MERGE_CONFLICT), 0);
	ck_assert_uint_eq(notes_of(result, MERGE_RENAMED), 8);
	/* every exposed name is legal, short enough and found again */
	n = catalogue_count(catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS);
	ck_assert_uint_eq(n, 12);
	for (uint32_t i = 0; i < n; i++) {
		struct catalogue_item again;

		catalogue_get(catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS, i, &item);
		ck_assert_uint_le(item.name.len, CATALOGUE_NAME_MAX);
		for (size_t j = 0; j < item.name.len; j++)
			ck_assert(strchr(
				"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
				item.name.p[j]));
		ck_assert_uint_eq(
			catalogue_find(catalogue, CATALOGUE_TOOL, item.name, &again, 1), 1);
		ck_assert_ptr_eq(again.json.p, item.json.p);
		ck_assert_int_eq(json_check(item.json, 16, NULL), 0);
	}
	ck_assert(catalogue_get(catalogue, CATALOGUE_PROMPT, 2, 0, &item));
	ck_assert_int_eq(memcmp(item.name.p, "caf____t_", 9), 0);
	catalogue_free(catalogue);
	merge_result_free(result);
}
END_TEST

START_TEST(test_names_none)
{
	struct merge_server servers[2] = {server("one"), server("two")};
	struct merge_config config = {.naming = MERGE_NONE};
	struct merge_result *result;
	struct catalogue *catalogue;
	struct catalogue_item item;

	servers[0].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("a") "," TOOL("\\u00e9.t") "]");
	servers[1].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("b") "," TOOL("a") "]");
	servers[1].lists[CATALOGUE_PROMPT] = SPAN_LIT("[{\"name\":\"a\"}]");
	result = merge_all(&config, servers, 2);
	catalogue = open_all(result);
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS), 3);
	ck_assert_uint_eq(find(catalogue, CATALOGUE_TOOL, "a").server, 0);
	ck_assert_uint_eq(find(catalogue, CATALOGUE_TOOL, "b").server, 1);
	ck_assert_uint_eq(find(catalogue, CATALOGUE_PROMPT, "a").server, 1);
	item = find(catalogue, CATALOGUE_TOOL, "\xc3\xa9.t");
	ck_assert(span_is(item.json, TOOL("\\u00e9.t")));
	ck_assert_uint_eq(item.flags, 0);
	ck_assert_uint_eq(result->notes_len, 1);
	ck_assert_int_eq(result->notes[0].note, MERGE_CONFLICT);
	ck_assert_uint_eq(result->notes[0].server, 1);
	ck_assert_uint_eq(result->notes[0].other, 0);
	ck_assert(span_is(result->notes[0].name, "a"));
	ck_assert(merge_note_dropped(MERGE_CONFLICT));
	ck_assert_str_eq(merge_note_word(MERGE_CONFLICT), "conflict");
	catalogue_free(catalogue);
	merge_result_free(result);
}
END_TEST

START_TEST(test_resources)
{
	struct merge_server servers[3] = {server("one"), server("two"), server("three")};
	struct merge_config config = {.naming = MERGE_PREFIX};
	struct merge_result *result;
	struct catalogue *catalogue;
	struct catalogue_item items[4];

	servers[0].lists[CATALOGUE_RESOURCE] =
		SPAN_LIT("[{\"uri\":\"file:///b\",\"name\":\"b\"},{\"uri\":\"file:\\/\\/\\/"
			 "a\",\"name\":\"a\"}]");
	servers[1].lists[CATALOGUE_RESOURCE] =
		SPAN_LIT("[{\"uri\":\"file:///a\",\"name\":\"a\"},"
			 "{\"uri\":\"file:///a\",\"name\":\"again\"}]");
	servers[0].lists[CATALOGUE_TEMPLATE] =
		SPAN_LIT("[{\"uriTemplate\":\"db://{table}/{id}\",\"name\":\"row\"}]");
	servers[2].lists[CATALOGUE_TEMPLATE] =
		SPAN_LIT("[{\"uriTemplate\":\"db://{+any}\",\"name\":\"any\"},"
			 "{\"uriTemplate\":\"db://users/{id}\",\"name\":\"user\"}]");
	result = merge_all(&config, servers, 3);
	catalogue = open_all(result);
	ck_assert_uint_eq(notes_of(result, MERGE_AMBIGUOUS), 1);
	ck_assert_uint_eq(notes_of(result, MERGE_DUPLICATE), 1);
	ck_assert_uint_eq(
		catalogue_find(catalogue, CATALOGUE_RESOURCE, SPAN_LIT("file:///a"), items, 4), 2);
	ck_assert_uint_eq(items[0].server, 0);
	ck_assert_uint_eq(items[1].server, 1);
	/* no bytes of a resource change */
	ck_assert(span_is(items[0].json, "{\"uri\":\"file:\\/\\/\\/a\",\"name\":\"a\"}"));
	ck_assert_uint_eq(
		catalogue_find(catalogue, CATALOGUE_RESOURCE, SPAN_LIT("file:///a"), items, 1), 2);
	ck_assert_uint_eq(
		catalogue_find(catalogue, CATALOGUE_RESOURCE, SPAN_LIT("file:///c"), items, 4), 0);
	/* best first: the most literal characters */
	ck_assert_uint_eq(catalogue_match(catalogue, SPAN_LIT("db://users/7"), items, 4), 3);
	ck_assert(span_is(items[0].name, "db://users/{id}"));
	ck_assert(span_is(items[1].name, "db://{table}/{id}"));
	ck_assert(span_is(items[2].name, "db://{+any}"));
	memset(items, 0, sizeof(items));
	ck_assert_uint_eq(catalogue_match(catalogue, SPAN_LIT("db://users/7"), items, 1), 3);
	ck_assert(span_is(items[0].name, "db://users/{id}"));
	ck_assert_ptr_null(items[1].json.p);
	ck_assert_uint_eq(catalogue_match(catalogue, SPAN_LIT("db://a/b/c"), items, 4), 1);
	ck_assert_uint_eq(items[0].server, 2);
	ck_assert_uint_eq(catalogue_match(catalogue, SPAN_LIT("http://x"), items, 4), 0);
	catalogue_free(catalogue);
	merge_result_free(result);
}
END_TEST

START_TEST(test_templates)
{
	static const struct {
		const char *template;
		const char *uri;
		bool match;
	} rows[] = {
		{"test://template/{id}/data", "test://template/12/data", true},
		{"test://template/{id}/data", "test://template//data", false},
		{"test://template/{id}/data", "test://template/1/2/data", false},
		{"test://template/{id}/data", "test://template/1/data/", false},
		{"{x}", "abc", true},
		{"{x}", "", false},
		{"{x}{y}", "a", false},
		{"{x}{y}", "ab", true},
		{"a{x}a", "aaa", true},
		{"a{x}a", "aa", false},
		{"file:///{+path}", "file:///a/b/c", true},
		{"file:///{+path}", "file:///", false},
		{"s://h{/seg}", "s://h/x", true},
		{"s://h{?q,r}", "s://h?q=1&r=2", true},
		{"s://h{?q,r}", "s://h", true},
		{"s://h{?q}/e", "s://h/e", true},
		{"x{", "x{", false},
		{"x}", "x}", false},
		{"x{}", "x", false},
		{"plain", "plain", true},
		{"plain", "plai", false},
		{"", "", true},
		{"", "x", false},
		{"s://{name}", "s://\xc3\xa9", true},
	};
	char big[CATALOGUE_URI_MAX + 1], braces[CATALOGUE_TEMPLATE_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(catalogue_template_matches(span_str(rows[i].template),
				      span_str(rows[i].uri)) == rows[i].match,
			"%s %s", rows[i].template, rows[i].uri);
	/* hostile: no backtracking */
	memset(big, 'a', sizeof(big));
	for (size_t i = 0; i + 4 <= sizeof(braces); i += 4)
		memcpy(braces + i, "{+x}", 4);
	ck_assert(catalogue_template_matches(
		span_of(braces, sizeof(braces)), span_of(big, CATALOGUE_URI_MAX)));
	braces[sizeof(braces) - 1] = 'b';
	ck_assert(!catalogue_template_matches(
		span_of(braces, sizeof(braces)), span_of(big, CATALOGUE_URI_MAX)));
	ck_assert(!catalogue_template_matches(SPAN_LIT("{+x}"), span_of(big, sizeof(big))));
}
END_TEST

START_TEST(test_filters_and_bad_input)
{
	static const char *const include[] = {"get_*", "list", NULL};
	static const char *const exclude[] = {"*_secret", "get_?", NULL};
	struct merge_server servers[4] = {
		server("f"), server("bad"), server("off"), server("many")};
	struct merge_config config = {.naming = MERGE_PREFIX, .limits = {.items = 3}};
	struct merge_result *result;
	struct catalogue *catalogue;

	servers[0].include = include;
	servers[0].exclude = exclude;
	servers[0].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("get_a_secret") "," TOOL(
		"get_all") "," TOOL("get_x") "," TOOL("list") "," TOOL("lists") "]");
	servers[0].lists[CATALOGUE_PROMPT] = SPAN_LIT("[{\"name\":\"free_of_filters\"}]");
	servers[1].lists[CATALOGUE_TOOL] =
		SPAN_LIT("[1,{\"name\":\"x\"},{\"name\":5,\"inputSchema\":{}},{\"name\":\"\","
			 "\"inputSchema\":{}},"
			 "{\"name\":\"a\",\"name\":\"b\",\"inputSchema\":{}},{\"name\":\"y\","
			 "\"inputSchema\":[]}," TOOL("ok") "]");
	servers[1].lists[CATALOGUE_RESOURCE] = SPAN_LIT("[{\"uri\":\"a:b\"}]");
	servers[1].lists[CATALOGUE_PROMPT] = SPAN_LIT("[{\"name\":\"cut\"}");
	servers[1].facts.capabilities = SPAN_LIT("[]");
	servers[2].facts.state = SERVER_DISABLED;
	servers[2].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("t") "]");
	servers[3].lists[CATALOGUE_TOOL] =
		SPAN_LIT("[" TOOL("1") "," TOOL("2") "," TOOL("3") "," TOOL("4") "]");
	result = merge_all(&config, servers, 4);
	catalogue = open_all(result);
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, 0), 2);
	find(catalogue, CATALOGUE_TOOL, "f__get_all");
	find(catalogue, CATALOGUE_TOOL, "f__list");
	find(catalogue, CATALOGUE_PROMPT, "f__free_of_filters");
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, 1), 1);
	find(catalogue, CATALOGUE_TOOL, "bad__ok");
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, 2), 0);
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, 3), 3);
	ck_assert_uint_eq(notes_of(result, MERGE_BAD_ITEM), 7);
	ck_assert_uint_eq(notes_of(result, MERGE_BAD_LIST), 1);
	ck_assert_uint_eq(notes_of(result, MERGE_TOO_MANY), 1);
	ck_assert_uint_eq(notes_of(result, MERGE_BAD_CAPABILITIES), 1);
	catalogue_free(catalogue);
	merge_result_free(result);
	config.limits = (struct merge_limits){.item_bytes = 10, .servers = 4};
	result = merge_all(&config, servers, 4);
	ck_assert_uint_eq(result->items, 0);
	ck_assert_uint_gt(notes_of(result, MERGE_TOO_LARGE), 8);
	merge_result_free(result);
	config.limits.servers = 3;
	ck_assert_int_eq(merge_catalogue(&config, servers, 4, &result, NULL), -ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_facts)
{
	struct merge_server servers[4] = {server("a"), server("b"), server("c"), server("d")};
	struct merge_config config = {.naming = MERGE_PREFIX, .tasks = true};
	struct catalogue_server facts;
	struct merge_result *result;
	struct catalogue *catalogue;
	bool private;

	servers[0].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("t") "]");
	servers[0].facts = (struct catalogue_server){
		.name = SPAN_LIT("a"),
		.upstream = SPAN_LIT("a-worker"),
		.version = SPAN_LIT("2026-07-28"),
		.capabilities = SPAN_LIT(
			" {\"tools\":{},\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}} "),
		.info = SPAN_LIT("{\"name\":\"A\"}"),
		.instructions = SPAN_LIT("Use a."),
		.state = SERVER_UP,
		.isolation = SERVER_PER_SESSION,
		.transport = SERVER_HTTP,
		.era = CATALOGUE_MODERN,
		.call_timeout_ms = 60000,
		.start_timeout_ms = 30000,
		.idle_ms = 600000,
		.ttl_ms = {5000},
	};
	servers[1].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("t") "]");
	servers[1].facts.ttl_ms[CATALOGUE_TOOL] = 3000;
	servers[1].facts.capabilities =
		SPAN_LIT("{\"resources\":{\"subscribe\":true},\"logging\":{},"
			 "\"tasks\":{\"list\":{},\"requests\":{\"tools\":{\"call\":{}}}}}");
	servers[2].facts.state = SERVER_DISABLED;
	servers[2].facts.capabilities = SPAN_LIT("{\"prompts\":{}}");
	servers[2].facts.instructions = SPAN_LIT("never shown");
	servers[3].facts.cache_private[CATALOGUE_TOOL] = true; /* no tools: does not count */
	result = merge_all(&config, servers, 4);
	catalogue = open_all(result);
	ck_assert(span_is(catalogue_capabilities(catalogue, CATALOGUE_LEGACY),
		"{\"tools\":{\"listChanged\":true},\"resources\":{\"listChanged\":true,"
		"\"subscribe\":true},"
		"\"logging\":{},\"tasks\":{\"list\":{},\"requests\":{\"tools\":{\"call\":{}}}}}"));
	ck_assert(span_is(catalogue_capabilities(catalogue, CATALOGUE_MODERN),
		"{\"tools\":{\"listChanged\":true},\"resources\":{\"listChanged\":true,"
		"\"subscribe\":true},"
		"\"logging\":{},\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}"));
	ck_assert(span_is(catalogue_instructions(catalogue), "Use a."));
	ck_assert_uint_eq(catalogue_ttl_ms(catalogue, CATALOGUE_TOOL, &private), 3000);
	ck_assert(!private);
	catalogue_get_server(catalogue, 0, &facts);
	ck_assert(span_is(facts.name, "a") && span_is(facts.upstream, "a-worker") &&
		  span_is(facts.version, "2026-07-28") && span_is(facts.info, "{\"name\":\"A\"}"));
	ck_assert(facts.state == SERVER_UP && facts.isolation == SERVER_PER_SESSION &&
		  facts.transport == SERVER_HTTP && facts.era == CATALOGUE_MODERN);
	ck_assert(facts.call_timeout_ms == 60000 && facts.start_timeout_ms == 30000 &&
		  facts.idle_ms == 600000 && facts.ttl_ms[0] == 5000 && facts.count[0] == 1);
	ck_assert_str_eq(server_state_name(facts.state), "up");
	ck_assert_str_eq(server_isolation_name(facts.isolation), "session");
	ck_assert_str_eq(server_transport_name(facts.transport), "http");
	catalogue_get_server(catalogue, 4, &facts);
	ck_assert(facts.state == SERVER_DISABLED && facts.name.len == 0);
	catalogue_free(catalogue);
	merge_result_free(result);

	servers[1].facts.instructions = SPAN_LIT("Use b.");
	servers[1].facts.state = SERVER_DOWN;
	servers[1].facts.cache_private[CATALOGUE_TOOL] = true;
	config.tasks = false;
	result = merge_all(&config, servers, 4);
	catalogue = open_all(result);
	ck_assert(span_is(catalogue_instructions(catalogue), "# a\n\nUse a.\n\n# b\n\nUse b."));
	ck_assert_uint_eq(catalogue_ttl_ms(catalogue, CATALOGUE_TOOL, &private), 0);
	ck_assert(private);
	ck_assert(!memmem(catalogue_capabilities(catalogue, CATALOGUE_LEGACY).p,
		catalogue_capabilities(catalogue, CATALOGUE_LEGACY).len, "tasks", 5));
	catalogue_free(catalogue);
	merge_result_free(result);
	result = merge_all(&config, NULL, 0);
	catalogue = open_all(result);
	ck_assert(span_is(catalogue_capabilities(catalogue, CATALOGUE_LEGACY), "{}"));
	ck_assert_uint_eq(catalogue_count(catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS), 0);
	catalogue_free(catalogue);
	merge_result_free(result);
}
END_TEST

START_TEST(test_digest)
{
	static const char *const lists[] = {
		"[" TOOL("t") "]", "[ " TOOL("t") " ]", "[{\"name\":\"t\",\"inputSchema\":{ }}]"};
	struct merge_server servers[1] = {server("s")};
	struct merge_config config = {.naming = MERGE_PREFIX};
	uint64_t digest[3];

	for (int i = 0; i < 3; i++) {
		struct merge_result *result;
		struct catalogue *catalogue;

		servers[0].lists[CATALOGUE_TOOL] = span_str(lists[i]);
		config.naming = i == 1 ? MERGE_NONE : MERGE_PREFIX;
		result = merge_all(&config, servers, 1);
		catalogue = open_all(result);
		digest[i] = find(catalogue, CATALOGUE_TOOL, i == 1 ? "t" : "s__t").digest;
		catalogue_free(catalogue);
		merge_result_free(result);
	}
	ck_assert_uint_eq(digest[0], digest[1]);
	ck_assert_uint_ne(digest[0], digest[2]);
}
END_TEST

/* Use everything a reader can ask for; the sum keeps the reads. */
static size_t use_span(struct span span)
{
	size_t sum = 0;

	for (size_t i = 0; i < span.len; i++)
		sum += (unsigned char)span.p[i];
	return sum;
}

static size_t use_all(struct catalogue *catalogue)
{
	struct catalogue_item item, found[2];
	struct catalogue_server facts;
	size_t sum = 0;
	bool private;

	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		sum += catalogue_ttl_ms(catalogue, (enum catalogue_kind)kind, &private);
		for (uint32_t n = 0; catalogue_get(
			     catalogue, (enum catalogue_kind)kind, CATALOGUE_ALL_SERVERS, n, &item);
			n++) {
			sum += use_span(item.json) + use_span(item.schema) +
			       use_span(item.original) + use_span(item.name_token) +
			       use_span(item.output_schema);
			sum += catalogue_find(
				catalogue, (enum catalogue_kind)kind, item.name, found, 2);
			catalogue_get_server(catalogue, item.server, &facts);
			sum += use_span(facts.name) + use_span(facts.error);
		}
	}
	for (uint32_t i = 0; i < catalogue_servers(catalogue); i++) {
		catalogue_get_server(catalogue, i, &facts);
		sum += use_span(facts.capabilities) + use_span(facts.instructions);
		sum += use_span(span_str(server_state_name(facts.state)));
		for (uint32_t n = 0; catalogue_get(catalogue, CATALOGUE_TOOL, i, n, &item); n++)
			sum += use_span(item.json);
	}
	sum += catalogue_match(catalogue, SPAN_LIT("db://users/7"), found, 2);
	sum += use_span(catalogue_instructions(catalogue));
	return sum + use_span(catalogue_capabilities(catalogue, CATALOGUE_MODERN));
}

/* In a heap block of exactly its size, so that AddressSanitizer sees a byte too far. */
static bool try_bytes(const char *bytes, size_t len)
{
	struct catalogue *catalogue;
	char *copy = malloc(len ? len : 1);
	bool accepted;

	if (len)
		memcpy(copy, bytes, len);
	accepted = catalogue_parse(span_of(copy, len), &catalogue, NULL) == 0;
	if (accepted) {
		use_all(catalogue);
		catalogue_free(catalogue);
	}
	free(copy);
	return accepted;
}

START_TEST(test_bad_files)
{
	struct merge_server servers[2] = {server("one"), server("two")};
	struct merge_config config = {.naming = MERGE_PREFIX};
	struct merge_result *result;
	struct memfile file;
	size_t refused = 0;
	char *bytes;
	int fd;

	servers[0].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("a") "," TOOL("b") "]");
	servers[1].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("c") "]");
	servers[1].lists[CATALOGUE_PROMPT] = SPAN_LIT("[{\"name\":\"p\"}]");
	servers[0].lists[CATALOGUE_RESOURCE] = SPAN_LIT("[{\"uri\":\"x:y\",\"name\":\"r\"}]");
	servers[0].lists[CATALOGUE_TEMPLATE] =
		SPAN_LIT("[{\"uriTemplate\":\"db://{+x}\",\"name\":\"t\"}]");
	servers[1].facts.instructions = SPAN_LIT("hello");
	result = merge_all(&config, servers, 2);
	ck_assert_int_eq(memfile_map(&file, result->fd, NULL), 0);
	bytes = malloc(file.len + 8);
	memcpy(bytes, file.map, file.len);
	ck_assert(try_bytes(bytes, file.len));
	for (size_t cut = 0; cut < file.len; cut++)
		ck_assert(!try_bytes(bytes, cut));
	memset(bytes + file.len, 0, 8);
	ck_assert(!try_bytes(bytes, file.len + 8));
	for (size_t at = 0; at < file.len; at++)
		for (int pattern = 0; pattern < 10; pattern++) {
			char was = bytes[at];

			bytes[at] = (char)(pattern < 8 ? was ^ 1 << pattern
						       : (pattern == 8 ? ~was : 0));
			refused += !try_bytes(bytes, file.len);
			bytes[at] = was;
		}
	ck_assert_uint_gt(refused, 1000);
	/* only a sealed file is believed */
	fd = memfd_create("unsealed", MFD_CLOEXEC);
	ck_assert_int_eq((int)write(fd, bytes, file.len), (int)file.len);
	ck_assert_int_eq(catalogue_open(fd, &(struct catalogue *){NULL}, NULL), -ERR_PROTOCOL);
	close(fd);
	ck_assert_int_eq(memfile_new("empty", SPAN_NONE, &fd, NULL), 0);
	ck_assert_int_eq(catalogue_open(fd, &(struct catalogue *){NULL}, NULL), -ERR_PROTOCOL);
	close(fd);
	memfile_unmap(&file);
	merge_result_free(result);
	free(bytes);
}
END_TEST

/* --- views ---------------------------------------------------------------------------------- */

#define VIEWS_YAML \
	"mcpServers: {one: {command: x}, two: {command: x}}\n" \
	"views:\n" \
	"  few: {servers: [one], tools: {exclude: [one__c], rename: {one__a: b, one__b: one__a}}," \
	" resources: {include: [\"x:*\"]}, prompts: {exclude: [\"*\"]}, instructions: mine}\n" \
	"  taken: {tools: {rename: {two__a: one__a}}}\n" \
	"  none: {servers: [\"z*\"]}\n"

static struct config *views_config(void)
{
	struct config_report report;
	struct config *config = NULL;

	config_report_init(&report);
	ck_assert_int_eq(config_load_text(span_str(VIEWS_YAML), CONFIG_SYNTAX_YAML, "t", "/",
				 &config, &report),
		0);
	config_report_free(&report);
	return config;
}

static void expect_few(struct catalogue *view)
{
	struct catalogue_item item = find(view, CATALOGUE_TOOL, "b");

	ck_assert_uint_eq(catalogue_servers(view), 1);
	ck_assert_uint_eq(catalogue_count(view, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS), 2);
	ck_assert(span_is(item.original, "\"a\""));
	ck_assert(span_is(item.json, "{\"name\":\"b\",\"inputSchema\":{}}"));
	ck_assert(span_is(item.schema, "{}"));
	item = find(view, CATALOGUE_TOOL, "one__a");
	ck_assert(span_is(item.original, "\"b\""));
	ck_assert_uint_eq(catalogue_count(view, CATALOGUE_PROMPT, CATALOGUE_ALL_SERVERS), 0);
	ck_assert_uint_eq(catalogue_count(view, CATALOGUE_RESOURCE, CATALOGUE_ALL_SERVERS), 1);
	ck_assert(span_is(catalogue_instructions(view), "mine"));
	ck_assert(span_is(catalogue_capabilities(view, CATALOGUE_LEGACY),
		"{\"tools\":{\"listChanged\":true},\"resources\":{\"listChanged\":true}}"));
}

/* Whatever a bit of the file becomes: it is refused, or a view leads nowhere outside. */
static void damage_views(const struct merge_result *result)
{
	struct memfile file;
	size_t refused = 0;
	char *bytes;

	ck_assert_int_eq(memfile_map(&file, result->fd, NULL), 0);
	bytes = malloc(file.len);
	memcpy(bytes, file.map, file.len);
	for (size_t at = 0; at < file.len; at++) {
		struct catalogue *catalogue = NULL;
		struct catalogue_item item;

		bytes[at] ^= (char)(1 << at % 8);
		if (catalogue_parse(span_of(bytes, file.len), &catalogue, NULL) < 0 ||
			catalogue_select(catalogue, SPAN_LIT("few"), NULL) < 0)
			refused++;
		else
			catalogue_get(catalogue, CATALOGUE_TOOL, 0, 1, &item);
		catalogue_free(catalogue);
		bytes[at] ^= (char)(1 << at % 8);
	}
	ck_assert_uint_gt(refused, 50);
	memfile_unmap(&file);
	free(bytes);
}

START_TEST(test_views)
{
	struct config *config = views_config();
	struct merge_config merging = {.naming = MERGE_PREFIX,
		.views = config->views,
		.views_len = config->view_count};
	struct merge_server servers[2] = {server("one"), server("two")};
	struct merge_result *result;
	struct catalogue *whole, *view;
	struct catalogue_item item;

	servers[0].facts.capabilities =
		SPAN_LIT("{\"tools\":{},\"prompts\":{},\"resources\":{}}");
	servers[0].facts.instructions = SPAN_LIT("of one");
	servers[0].lists[CATALOGUE_TOOL] =
		SPAN_LIT("[" TOOL("a") "," TOOL("b") "," TOOL("c") "]");
	servers[0].lists[CATALOGUE_RESOURCE] =
		SPAN_LIT("[{\"uri\":\"x:1\",\"name\":\"r\"},{\"uri\":\"y:1\",\"name\":\"r\"}]");
	servers[0].lists[CATALOGUE_PROMPT] = SPAN_LIT("[{\"name\":\"p\"}]");
	servers[1].lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("a") "]");
	result = merge_all(&merging, servers, 2);
	ck_assert_uint_eq(result->notes_len, 1);
	ck_assert_uint_eq(notes_of(result, MERGE_CONFLICT), 1);
	ck_assert_ptr_nonnull(strstr(result->notes[0].detail, "view taken"));
	whole = open_all(result);
	ck_assert_uint_eq(catalogue_count(whole, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS), 4);
	ck_assert_uint_eq(catalogue_view_bytes(whole, SPAN_LIT("other")).len, 0);
	ck_assert_uint_eq(catalogue_view_bytes(whole, SPAN_NONE).len, 0);
	ck_assert_int_eq(catalogue_select(whole, SPAN_LIT("other"), NULL), -ERR_NOT_FOUND);
	ck_assert_int_eq(
		catalogue_parse(catalogue_view_bytes(whole, SPAN_LIT("none")), &view, NULL), 0);
	ck_assert_uint_eq(catalogue_servers(view), 0);
	catalogue_free(view);
	/* of two that want one name, the renamed one has it */
	ck_assert_int_eq(
		catalogue_parse(catalogue_view_bytes(whole, SPAN_LIT("taken")), &view, NULL), 0);
	item = find(view, CATALOGUE_TOOL, "one__a");
	ck_assert_uint_eq(item.server, 1);
	ck_assert_uint_eq(catalogue_count(view, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS), 3);
	catalogue_free(view);
	damage_views(result);
	ck_assert_int_eq(catalogue_select(whole, SPAN_LIT("few"), NULL), 0);
	expect_few(whole);
	catalogue_free(whole);
	merge_result_free(result);
	config_free(config);
}
END_TEST

/* tools.rename of a server: its tools have other names before the prefix, and without one. */
START_TEST(test_server_rename)
{
	const struct config_pair pairs[] = {{"a", {"x", false}}, {"b", {"a", false}}};
	const struct config_map rename = {pairs, 2};

	for (int naming = MERGE_PREFIX; naming <= MERGE_NONE; naming++) {
		struct merge_config config = {.naming = (enum merge_naming)naming};
		struct merge_server one = server("one");
		struct merge_result *result;
		struct catalogue *catalogue;
		struct catalogue_item item;

		one.rename = &rename;
		one.lists[CATALOGUE_TOOL] = SPAN_LIT("[" TOOL("a") "," TOOL("b") "]");
		result = merge_all(&config, &one, 1);
		catalogue = open_all(result);
		item = find(catalogue, CATALOGUE_TOOL, naming == MERGE_NONE ? "x" : "one__x");
		ck_assert(span_is(item.original, "\"a\""));
		ck_assert(item.flags & CATALOGUE_RENAMED);
		ck_assert(json_equal_string(item.name_token, item.name));
		item = find(catalogue, CATALOGUE_TOOL, naming == MERGE_NONE ? "a" : "one__a");
		ck_assert(span_is(item.original, "\"b\""));
		catalogue_free(catalogue);
		merge_result_free(result);
	}
}
END_TEST

START_TEST(test_glob)
{
	static const struct {
		const char *pattern;
		const char *text;
		bool match;
	} rows[] = {
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a*b*c", "axxbyybzc", true},
		{"a*b*c", "axxbyybz", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		{"**a", "ba", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(glob_match(rows[i].pattern, span_str(rows[i].text)) == rows[i].match,
			"%s %s", rows[i].pattern, rows[i].text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("catalogue");
	TCase *tc = tcase_create("catalogue");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 100);
	tcase_add_test(tc, test_thousand);
	tcase_add_test(tc, test_names_prefix);
	tcase_add_test(tc, test_names_none);
	tcase_add_test(tc, test_resources);
	tcase_add_test(tc, test_templates);
	tcase_add_test(tc, test_filters_and_bad_input);
	tcase_add_test(tc, test_facts);
	tcase_add_test(tc, test_digest);
	tcase_add_test(tc, test_bad_files);
	tcase_add_test(tc, test_views);
	tcase_add_test(tc, test_server_rename);
	tcase_add_test(tc, test_glob);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
