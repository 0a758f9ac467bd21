/* proto/json: the strict check, the accessors, the edits. */
#include "json.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct check_case {
	struct span text;
	int offset; /* of the error; -1: valid */
};

static const struct check_case check_cases[] = {
#define YES(text) {{text, sizeof(text) - 1}, -1},
#define NO(text, offset) {{text, sizeof(text) - 1}, offset},
#include "json_cases.def"
#undef YES
#undef NO
};

/* On a copy of exact size, so that a sanitizer sees a read beyond the end. */
static int check_copy(struct span text, unsigned depth, struct err *err)
{
	char *copy = malloc(text.len + 1);
	char *tight = realloc(copy, text.len ? text.len : 1);
	int r;

	ck_assert_ptr_nonnull(tight);
	if (text.len)
		memcpy(tight, text.p, text.len);
	r = json_check(span_of(tight, text.len), depth, err);
	free(tight);
	return r;
}

START_TEST(test_check_table)
{
	const struct check_case *c = &check_cases[_i];
	struct err err = {0};
	int r = check_copy(c->text, 128, &err);
	unsigned long offset;

	if (c->offset < 0) {
		ck_assert_msg(r == 0, "%.*s refused: %s", SPAN_ARG(c->text), err.detail);
		return;
	}
	ck_assert_msg(r == -ERR_PARSE, "%.*s accepted", SPAN_ARG(c->text));
	ck_assert_int_eq(sscanf(err.detail, "byte %lu: expected ", &offset), 1);
	ck_assert_msg((int)offset == c->offset, "'%.*s': %s, not at %d", SPAN_ARG(c->text),
		err.detail, c->offset);
	ck_assert_int_eq(check_copy(c->text, 128, NULL), -ERR_PARSE);
}
END_TEST

/* Whatever is valid becomes invalid when its last byte is missing, but for numbers and trailing
 * white space. */
START_TEST(test_check_truncated)
{
	struct span text = check_cases[_i].text;

	if (check_cases[_i].offset >= 0 || !strchr("]}\"", text.p[text.len - 1]))
		return;
	for (size_t n = 0; n < text.len; n++)
		ck_assert_msg(check_copy(span_of(text.p, n), 128, NULL) == -ERR_PARSE,
			"%zu bytes of %.*s", n, SPAN_ARG(text));
}
END_TEST

static struct span nested(char *room, size_t depth, char open, char close)
{
	memset(room, open, depth);
	memset(room + depth, close, depth);
	return span_of(room, 2 * depth);
}

START_TEST(test_check_depth)
{
	static char room[4 * JSON_DEPTH_LIMIT];
	struct err err = {0};

	for (unsigned depth = 1; depth <= JSON_DEPTH_LIMIT; depth++) {
		ck_assert_int_eq(json_check(nested(room, depth, '[', ']'), depth, &err), 0);
		ck_assert_int_eq(
			json_check(nested(room, depth + 1, '[', ']'), depth, &err), -ERR_TOO_DEEP);
	}
	ck_assert_int_eq(json_check(nested(room, JSON_DEPTH_LIMIT + 1, '[', ']'), 1u << 30, NULL),
		-ERR_TOO_DEEP);
	ck_assert_int_eq(json_check(SPAN_LIT("[]"), 0, NULL), -ERR_TOO_DEEP);
	ck_assert_int_eq(json_check(SPAN_LIT("1"), 0, NULL), 0);
	ck_assert_int_eq(json_check(SPAN_LIT("[[1],{\"a\":[]}]"), 3, NULL), 0);
	ck_assert_int_eq(json_check(SPAN_LIT("[[1],{\"a\":[]}]"), 2, NULL), -ERR_TOO_DEEP);
}
END_TEST

/* Levels of both kinds, crossing the words of the stack: each closes with its own bracket only. */
START_TEST(test_check_mixed_depth)
{
	static char room[JSON_DEPTH_LIMIT * 6];
	size_t n = 0, levels = 200;

	for (size_t i = 0; i < levels; i++)
		n += (size_t)sprintf(room + n, "%s", i % 3 ? "{\"k\":" : "[");
	room[n++] = '0';
	for (size_t i = levels; i-- > 0;)
		room[n++] = i % 3 ? '}' : ']';
	ck_assert_int_eq(json_check(span_of(room, n), 200, NULL), 0);
	for (size_t i = n - levels; i < n; i++) {
		char c = room[i];

		room[i] = c == '}' ? ']' : '}';
		ck_assert_int_eq(json_check(span_of(room, n), 200, NULL), -ERR_PARSE);
		room[i] = c;
	}
}
END_TEST

START_TEST(test_check_hostile_depth)
{
	size_t n = 100000;
	char *text = malloc(n);
	struct timespec a, b;

	ck_assert_ptr_nonnull(text);
	memset(text, '[', n);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(json_check(span_of(text, n), 128, NULL), -ERR_TOO_DEEP);
	clock_gettime(CLOCK_MONOTONIC, &b);
	/* A hundred times in less than what one is allowed, and room for a busy machine. */
	ck_assert_int_lt((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000, 50);
	free(text);
}
END_TEST

/* Every byte value at every place of a word-sized string: the fast path and the slow one must
 * agree. */
START_TEST(test_check_every_byte)
{
	char text[24];

	for (size_t at = 1; at < 20; at++) {
		for (int c = 0; c < 256; c++) {
			bool bad = c < 0x20 || c >= 0x80 || c == '\\';
			int r;

			memset(text, 'x', sizeof(text));
			text[0] = text[22] = '"';
			text[at] = (char)c;
			r = json_check(span_of(text, 23), 1, NULL);
			if (c == '"')
				bad = true;
			ck_assert_msg((r != 0) == bad, "byte %d at %zu: %d", c, at, r);
		}
	}
}
END_TEST

/* RFC 3629, by the code point: the plain reading that the fast one must agree with. */
static bool utf8_valid(const unsigned char *p, size_t n)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};

	while (n > 0) {
		unsigned len = p[0] < 0x80   ? 1
			       : p[0] < 0xc0 ? 0
			       : p[0] < 0xe0 ? 2
			       : p[0] < 0xf0 ? 3
			       : p[0] < 0xf8 ? 4
					     : 0;
		unsigned c = len > 1 ? p[0] & (0x7fu >> len) : p[0];

		if (len == 0 || len > n)
			return false;
		for (unsigned i = 1; i < len; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return false;
			c = c << 6 | (p[i] & 0x3f);
		}
		if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
		p += len;
		n -= len;
	}
	return true;
}

/* Sequences with every first and second byte and the third and fourth at the edges, at the end of a
 * text and before more. */
START_TEST(test_check_utf8)
{
	static const unsigned char edges[] = {
		'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
	char text[12] = "\"....aaaaa\"";

	for (int first = 0x80; first < 256; first++) {
		for (int second = 0x5d; second < 256; second++) {
			for (size_t i = 0; i < sizeof(edges) * sizeof(edges); i++) {
				const unsigned char bytes[] = {(unsigned char)first,
					(unsigned char)second, edges[i / sizeof(edges)],
					edges[i % sizeof(edges)]};
				bool valid = utf8_valid(bytes, 4);

				memcpy(text + 1, bytes, 4);
				text[5] = 'a';
				bool before = json_check(span_of(text, 11), 1, NULL) == 0;
				text[5] = '"';
				bool last = json_check(span_of(text, 6), 1, NULL) == 0;
				/* A Check assertion costs more than the check: only for what is
				 * wrong. */
				if (before != valid || last != valid)
					ck_abort_msg("%02x %02x %02x %02x", first, second, bytes[2],
						bytes[3]);
			}
		}
	}
}
END_TEST

#define OBJECT \
	" { \"a\" : 1 , " \
	"\"b\":\"x\\\"}\",\"c\":[1,[2,\"]\"],{}],\"d\":{\"e\":{\"f\":true}},\"\\u0061\":2,\"\":" \
	"null } "

START_TEST(test_object_get)
{
	struct span object = json_trim(SPAN_LIT(OBJECT));
	static const struct {
		const char *key, *value;
	} rows[] = {{"a", "1"}, {"b", "\"x\\\"}\""}, {"c", "[1,[2,\"]\"],{}]"},
		{"d", "{\"e\":{\"f\":true}}"}, {"", "null"}, {"e", ""}, {"x", ""}, {"\\u0061", ""}};

	ck_assert_int_eq(json_check(object, 8, NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(
			span_is(json_object_get(object, span_str(rows[i].key)), rows[i].value),
			"%s", rows[i].key);
	ck_assert(span_is(json_path(object, "d", "e", "f", NULL), "true"));
	ck_assert_uint_eq(json_path(object, "d", "x", "f", NULL).len, 0);
	ck_assert_uint_eq(json_path(object, "a", "x", NULL).len, 0);
	ck_assert_uint_eq(json_object_get(SPAN_LIT("[\"a\",1]"), SPAN_LIT("a")).len, 0);
	ck_assert_uint_eq(json_object_get(SPAN_NONE, SPAN_LIT("a")).len, 0);
	ck_assert_uint_eq(json_count(object), 6);
	ck_assert_uint_eq(json_count(json_path(object, "c", NULL)), 3);
	ck_assert_uint_eq(json_count(SPAN_LIT("{}")), 0);
	ck_assert_uint_eq(json_count(SPAN_LIT("\"ab\"")), 0);
}
END_TEST

START_TEST(test_object_get_many)
{
	struct json_field f[] = {{.key = SPAN_LIT("a")}, {.key = SPAN_LIT("d")},
		{.key = SPAN_LIT("none")}, {.key = SPAN_LIT("c")}};

	ck_assert_uint_eq(json_object_get_many(json_trim(SPAN_LIT(OBJECT)), f, 4), 6);
	ck_assert(span_is(f[0].value, "1"));
	ck_assert_uint_eq(f[0].count, 2); /* the escaped one counts */
	ck_assert_uint_eq(f[1].count, 1);
	ck_assert_uint_eq(f[2].count, 0);
	ck_assert_uint_eq(f[2].value.len, 0);
	ck_assert(span_is(f[3].value, "[1,[2,\"]\"],{}]"));
	ck_assert_uint_eq(json_object_get_many(SPAN_LIT("[1]"), f, 4), 0);
	ck_assert_uint_eq(f[0].count, 0);
}
END_TEST

START_TEST(test_types)
{
	static const struct {
		const char *text;
		enum json_type type;
		const char *name;
	} rows[] = {{"null", JSON_NULL, "null"}, {"true", JSON_BOOL, "boolean"},
		{"false", JSON_BOOL, "boolean"}, {"0", JSON_NUMBER, "number"},
		{"-1.5", JSON_NUMBER, "number"}, {"\"\"", JSON_STRING, "string"},
		{"[]", JSON_ARRAY, "array"}, {"{}", JSON_OBJECT, "object"},
		{"", JSON_NONE, "nothing"}};
	struct json_iter iter = json_iter(SPAN_LIT("[ null,true ,false,0,-1.5,\"\",[],{} ]"));
	struct span value;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(json_type(span_str(rows[i].text)), rows[i].type);
		ck_assert_str_eq(json_type_name(rows[i].type), rows[i].name);
		if (rows[i].type == JSON_NONE)
			continue;
		ck_assert(json_iter_element(&iter, &value));
		ck_assert_msg(span_is(value, rows[i].text), "%.*s", SPAN_ARG(value));
	}
	ck_assert(!json_iter_element(&iter, &value));
	ck_assert(span_is(json_trim(SPAN_LIT("\n 1\t")), "1"));
	ck_assert_uint_eq(json_trim(SPAN_LIT(" ")).len, 0);
}
END_TEST

static const struct {
	struct span raw;
	struct span text;
} strings[] = {
	{SPAN_LIT("\"\""), SPAN_LIT("")},
	{SPAN_LIT("\"plain\""), SPAN_LIT("plain")},
	{SPAN_LIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), SPAN_LIT("\"\\/\b\f\n\r\t")},
	{SPAN_LIT("\"\\u0041\\u00e9\\u20ac\""), SPAN_LIT("A\xc3\xa9\xe2\x82\xac")},
	{SPAN_LIT("\"\\uD83D\\uDE00!\""), SPAN_LIT("\xf0\x9f\x98\x80!")},
	{SPAN_LIT("\"a\\u0000b\""), SPAN_LIT("a\0b")},
	{SPAN_LIT("\"\\ud83d\""), SPAN_LIT("\xef\xbf\xbd")},
	{SPAN_LIT("\"\\ud83dx\""), SPAN_LIT("\xef\xbf\xbdx")},
	{SPAN_LIT("\"\\ude00\\ud83d\""), SPAN_LIT("\xef\xbf\xbd\xef\xbf\xbd")},
	{SPAN_LIT("\"\\ud83d\\u0041\""), SPAN_LIT("\xef\xbf\xbd"
						  "A")},
	{SPAN_LIT("\"\\ud83d\\n\""), SPAN_LIT("\xef\xbf\xbd\n")},
	{SPAN_LIT("\"\\udbff\\udfff\""), SPAN_LIT("\xf4\x8f\xbf\xbf")},
	{SPAN_LIT("\"\\\\u0041\""), SPAN_LIT("\\u0041")},
	{SPAN_LIT("\"\xc3\xa9\\\\\xc3\xa9\""), SPAN_LIT("\xc3\xa9\\\xc3\xa9")},
};
#define STRINGS (sizeof(strings) / sizeof(strings[0]))

START_TEST(test_string_decode)
{
	struct span raw = strings[_i].raw, text = strings[_i].text, got;
	struct arena arena;
	struct buf buf;
	char room[32];

	arena_init(&arena, 4096);
	buf_init(&buf, 64);
	ck_assert_int_eq(json_check(raw, 1, NULL), 0);
	ck_assert_int_eq(json_string_decode(raw, &arena, &got), 0);
	ck_assert(span_equal(got, text));
	ck_assert_int_eq(got.p == raw.p + 1, !json_string_escaped(raw));
	ck_assert_int_eq(json_string_copy(raw, room, text.len, &got), 0);
	ck_assert(span_equal(got, text));
	if (text.len > 0)
		ck_assert_int_eq(json_string_copy(raw, room, text.len - 1, &got), -ERR_TOO_LARGE);
	buf_append_char(&buf, '>');
	ck_assert_int_eq(json_string_append(raw, &buf), 0);
	ck_assert(span_equal(span_of(buf.data + 1, buf.len - 1), text));
	for (size_t i = 0; i < STRINGS; i++) {
		bool same = span_equal(strings[i].text, text);

		ck_assert_int_eq(json_equal_string(raw, strings[i].text), same);
		ck_assert_int_eq(json_equal_scalar(raw, strings[i].raw), same);
	}
	buf_free(&buf);
	arena_free(&arena);
}
END_TEST

START_TEST(test_string_refused)
{
	struct arena arena;
	struct buf small;
	struct span got;
	char room[4];

	arena_init(&arena, 1);
	buf_init(&small, 2);
	ck_assert_int_eq(json_string_decode(SPAN_LIT("1"), &arena, &got), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(json_string_decode(SPAN_LIT("\"\\n\\n\""), &arena, &got), -ERR_NO_MEMORY);
	ck_assert_int_eq(json_string_copy(SPAN_NONE, room, 4, &got), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(json_string_append(SPAN_LIT("\"abc\""), &small), -ERR_TOO_LARGE);
	ck_assert_uint_eq(small.len, 0);
	ck_assert(!json_equal_string(SPAN_LIT("abc"), SPAN_LIT("abc")));
	ck_assert(!json_equal_string(SPAN_NONE, SPAN_NONE));
	ck_assert(json_equal_scalar(SPAN_LIT("7"), SPAN_LIT("7")));
	ck_assert(!json_equal_scalar(SPAN_LIT("7"), SPAN_LIT("\"7\"")));
	ck_assert(!json_equal_scalar(SPAN_LIT("7"), SPAN_LIT("7.0")));
	ck_assert(!json_equal_scalar(SPAN_NONE, SPAN_NONE));
	ck_assert(json_equal_scalar(SPAN_LIT("\"\\u0061b\""), SPAN_LIT("\"a\\u0062\"")));
	buf_free(&small);
	arena_free(&arena);
}
END_TEST

START_TEST(test_numbers)
{
	static const struct {
		const char *text;
		int r;
		int64_t value;
	} rows[] = {{"0", 0, 0}, {"-0", 0, 0}, {"42", 0, 42}, {"-42", 0, -42},
		{"9223372036854775807", 0, INT64_MAX}, {"-9223372036854775808", 0, INT64_MIN},
		{"9223372036854775808", -ERR_INVALID_ARGUMENT, 0},
		{"-9223372036854775809", -ERR_INVALID_ARGUMENT, 0},
		{"99999999999999999999", -ERR_INVALID_ARGUMENT, 0},
		{"1.0", -ERR_INVALID_ARGUMENT, 0}, {"1e2", -ERR_INVALID_ARGUMENT, 0},
		{"-", -ERR_INVALID_ARGUMENT, 0}, {"", -ERR_INVALID_ARGUMENT, 0},
		{"\"1\"", -ERR_INVALID_ARGUMENT, 0}, {"null", -ERR_INVALID_ARGUMENT, 0}};
	bool b;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t v = 77;

		ck_assert_msg(json_get_int64(span_str(rows[i].text), &v) == rows[i].r, "%s",
			rows[i].text);
		ck_assert_int_eq(v, rows[i].r ? 77 : rows[i].value);
	}
	ck_assert(json_get_bool(SPAN_LIT("true"), &b) == 0 && b);
	ck_assert(json_get_bool(SPAN_LIT("false"), &b) == 0 && !b);
	ck_assert_int_eq(json_get_bool(SPAN_LIT("1"), &b), -ERR_INVALID_ARGUMENT);
}
END_TEST

static void assert_splice(
	struct span text, const struct json_edit *edits, size_t n, const char *want)
{
	struct buf out;

	buf_init(&out, 4096);
	buf_append_char(&out, '>');
	ck_assert_int_eq(json_splice(text, edits, n, &out), 0);
	ck_assert_msg(span_is(span_of(out.data + 1, out.len - 1), want), "%.*s",
		SPAN_ARG(buf_span(&out)));
	buf_free(&out);
}

START_TEST(test_splice)
{
	struct span text =
		SPAN_LIT("{\"id\": 1.50, \"\\u0061\":[1e5 ,\"x\"] , \"u\":\"\xc3\xa9\"}");
	struct json_edit e[3] = {
		{.at = json_object_get(text, SPAN_LIT("u")), .with = SPAN_LIT("\"new\"")},
		{.at = json_object_get(text, SPAN_LIT("id")), .with = SPAN_LIT("4294967297")},
		{.at = span_of(text.p, 0), .with = SPAN_LIT(" ")},
	};
	struct buf small;

	assert_splice(
		text, NULL, 0, "{\"id\": 1.50, \"\\u0061\":[1e5 ,\"x\"] , \"u\":\"\xc3\xa9\"}");
	json_edit_sort(e, 3);
	assert_splice(
		text, e, 3, " {\"id\": 4294967297, \"\\u0061\":[1e5 ,\"x\"] , \"u\":\"new\"}");
	buf_init(&small, 10);
	ck_assert_int_eq(json_splice(text, e, 3, &small), -ERR_TOO_LARGE);
	ck_assert_uint_eq(small.len, 0);
	struct json_edit unsorted[2] = {e[2], e[1]}, overlap[2] = {e[1], e[1]};
	struct json_edit outside = {.at = span_of(text.p + text.len - 1, 2)},
			 nowhere = {.at = SPAN_NONE};

	ck_assert_int_eq(json_splice(text, unsorted, 2, &small), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(json_splice(text, overlap, 2, &small), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(json_splice(text, &outside, 1, &small), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(json_splice(text, &nowhere, 1, &small), -ERR_INVALID_ARGUMENT);
	buf_free(&small);
}
END_TEST

START_TEST(test_prepend_and_remove)
{
	static const struct {
		const char *text, *key, *removed, *prepended;
	} rows[] = {
		{"{}", "a", NULL, "{\"n\":0}"},
		{"{ }", "a", NULL, "{\"n\":0 }"},
		{"{\"a\":1}", "a", "{}", "{\"n\":0,\"a\":1}"},
		{"{ \"a\" : 1 }", "a", "{  }", "{\"n\":0, \"a\" : 1 }"},
		{"{\"a\":1,\"b\":2}", "a", "{\"b\":2}", "{\"n\":0,\"a\":1,\"b\":2}"},
		{"{\"a\":1,\"b\":2}", "b", "{\"a\":1}", NULL},
		{"{\"a\":1 , \"b\":[2] , \"c\":3}", "b", "{\"a\":1 , \"c\":3}", NULL},
		{"{\"a\":1,\"a\":2,\"c\":3}", "a", "{\"a\":2,\"c\":3}", NULL},
		{"{\"\\u0061\":1,\"c\":3}", "a", "{\"c\":3}", NULL},
		{"[]", "a", NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span text = span_str(rows[i].text);
		struct json_edit e;

		ck_assert_int_eq(
			json_edit_remove(text, span_str(rows[i].key), &e), rows[i].removed != NULL);
		if (rows[i].removed)
			assert_splice(text, &e, 1, rows[i].removed);
		if (rows[i].prepended) {
			e = json_edit_prepend(text, SPAN_LIT("\"n\":0"));
			assert_splice(text, &e, 1, rows[i].prepended);
		}
	}
}
END_TEST

/* All subsets of five members removed, with and without new ones in front: always valid, always
 * what is left. */
START_TEST(test_edit_object)
{
	struct span text = SPAN_LIT("{ \"a\":1, \"b\" :{\"a\":2},\"a\":[3] , \"c\":4,\"d\":5 }");
	struct span keys[] = {SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), SPAN_LIT("d")};
	static const size_t members[] = {2, 1, 1, 1};

	for (unsigned subset = 0; subset < 32; subset++) {
		struct span remove[4];
		struct json_edit edits[6];
		size_t n_remove = 0, n = 0, left = 5;
		bool add = subset & 16;
		struct buf out;

		buf_init(&out, 256);
		for (unsigned i = 0; i < 4; i++)
			if (subset >> i & 1) {
				remove[n_remove++] = keys[i];
				left -= members[i];
			}
		ck_assert_int_eq(json_edit_object(text, remove, n_remove,
					 add ? SPAN_LIT("\"n\":0") : SPAN_NONE, edits, 6, &n),
			0);
		ck_assert_int_eq(json_splice(text, edits, n, &out), 0);
		ck_assert_msg(
			json_check(buf_span(&out), 4, NULL) == 0, "%.*s", SPAN_ARG(buf_span(&out)));
		ck_assert_uint_eq(json_count(buf_span(&out)), left + add);
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(
				json_object_get(buf_span(&out), keys[i]).len == 0, subset >> i & 1);
		buf_free(&out);
	}
	struct json_edit one[1];
	size_t n;

	ck_assert_int_eq(
		json_edit_object(text, keys, 1, SPAN_LIT("\"n\":0"), one, 1, &n), -ERR_TOO_MANY);
	ck_assert_int_eq(
		json_edit_object(text, keys, 0, SPAN_LIT("\"n\":0"), one, 0, &n), -ERR_TOO_MANY);
	ck_assert_int_eq(json_edit_object(SPAN_LIT("[]"), keys, 1, SPAN_NONE, one, 1, &n),
		-ERR_INVALID_ARGUMENT);
}
END_TEST

/* Accessors on text that is not JSON: any answer, but an answer, and none from outside the span. */
START_TEST(test_walk_garbage)
{
	struct span text = check_cases[_i].text;
	char *copy = malloc(text.len ? text.len : 1);
	struct json_field f[] = {{.key = SPAN_LIT("a")}};
	struct span s;
	struct json_edit e;
	int64_t v;

	ck_assert_ptr_nonnull(copy);
	if (text.len)
		memcpy(copy, text.p, text.len);
	s = span_of(copy, text.len);
	json_object_get_many(s, f, 1);
	ck_assert_uint_le(json_count(s), text.len);
	json_edit_remove(s, SPAN_LIT("a"), &e);
	json_equal_string(s, SPAN_LIT("ab"));
	json_equal_scalar(s, s);
	json_get_int64(s, &v);
	free(copy);
}
END_TEST

int main(void)
{
	int cases = (int)(sizeof(check_cases) / sizeof(check_cases[0]));
	Suite *suite = suite_create("json");
	TCase *check = tcase_create("check"), *walk = tcase_create("walk"),
	      *edit = tcase_create("edit");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(check, test_check_table, 0, cases);
	tcase_add_loop_test(check, test_check_truncated, 0, cases);
	tcase_add_test(check, test_check_depth);
	tcase_add_test(check, test_check_mixed_depth);
	tcase_add_test(check, test_check_hostile_depth);
	tcase_add_test(check, test_check_every_byte);
	tcase_add_test(check, test_check_utf8);
	tcase_set_timeout(check, 60);
	tcase_add_test(walk, test_object_get);
	tcase_add_test(walk, test_object_get_many);
	tcase_add_test(walk, test_types);
	tcase_add_loop_test(walk, test_string_decode, 0, (int)STRINGS);
	tcase_add_test(walk, test_string_refused);
	tcase_add_test(walk, test_numbers);
	tcase_add_loop_test(walk, test_walk_garbage, 0, cases);
	tcase_add_test(edit, test_splice);
	tcase_add_test(edit, test_prepend_and_remove);
	tcase_add_test(edit, test_edit_object);
	suite_add_tcase(suite, check);
	suite_add_tcase(suite, walk);
	suite_add_tcase(suite, edit);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
