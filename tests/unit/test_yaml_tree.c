/* base/yaml_tree: YAML and JSON with comments as a bounded tree with places. */
#include "err.h"
#include "yaml_tree.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

struct told {
	char text[2048];
	int count;
};

static void note(void *arg, uint32_t line, uint32_t column, const char *text)
{
	struct told *told = arg;
	size_t len = strlen(told->text);

	told->count++;
	snprintf(told->text + len, sizeof(told->text) - len, "%u:%u %s\n", line, column, text);
}

static void dump(const struct yaml_node *node, struct buf *out)
{
	const char *open = "", *close = "";

	if (!node || node->kind == YAML_KIND_SCALAR) {
		buf_printf(out,
			!node          ? "none"
			: node->quoted ? "'%s'"
				       : "%s",
			node ? node->text.p : "");
		return;
	}
	open = node->kind == YAML_KIND_LIST ? "[" : "{";
	close = node->kind == YAML_KIND_LIST ? "]" : "}";
	buf_append_str(out, open);
	for (const struct yaml_item *i = node->items; i; i = i->next) {
		if (i->key)
			buf_printf(out, "%s@%u:%u=", i->key->text.p, i->key->line, i->key->column);
		dump(i->value, out);
		buf_append_str(out, i->next ? "," : "");
	}
	buf_append_str(out, close);
}

static const struct {
	enum yaml_syntax syntax;
	const char *text, *tree;
} good[] = {
	{YAML_SYNTAX_YAML, "", "none"},
	{YAML_SYNTAX_YAML, "# only a comment\n", "none"},
	{YAML_SYNTAX_YAML, "a: 1\nb:\n  - x\n  - 'y'\n", "{a@1:1=1,b@2:1=[x,'y']}"},
	{YAML_SYNTAX_YAML,
		"\xef\xbb\xbf"
		"a: 1\n",
		"{a@1:1=1}"},
	{YAML_SYNTAX_YAML, "a: &x {k: v}\nb: *x\n", "{a@1:1={k@1:8=v},b@2:1={k@1:8=v}}"},
	{YAML_SYNTAX_YAML, "a: |\n  two\n  lines\n", "{a@1:1='two\nlines\n'}"},
	{YAML_SYNTAX_JSON, "{\"a\": 1, // one\n \"b\": [\"x\",],\n}", "{a@1:2=1,b@2:2=['x']}"},
	{YAML_SYNTAX_JSON, "\t{\n\t\"a\":\t\"//no /* comment */\"\n}",
		"{a@2:2='//no /* comment */'}"},
	{YAML_SYNTAX_JSON, "{/* \xc3\xa4\n*/ \"a\":null}", "{a@2:4=null}"},
	{YAML_SYNTAX_JSON, "{\"\xc3\xa4\":1, /*\xc3\xa4*/ \"b\":2}", "{\xc3\xa4@1:2=1,b@1:15=2}"},
	{YAML_SYNTAX_JSON, "{\"a\":\"\\ud83d\\ude00\\/\\u00e4\\\\\"}",
		"{a@1:2='\xf0\x9f\x98\x80/\xc3\xa4\\'}"},
	{YAML_SYNTAX_JSON, "{\"a\":\"x\\\"//\"}//", "{a@1:2='x\"//'}"},
	{YAML_SYNTAX_JSON, "{\"a\":true,\"b\":-1.5e3,\"c\":{}}",
		"{a@1:2=true,b@1:11=-1.5e3,c@1:22={}}"},
};

START_TEST(test_good)
{
	const struct yaml_node *root = (const void *)-1;
	struct told told = {0};
	struct arena arena;
	struct buf out;

	arena_init(&arena, 1 << 20);
	buf_init(&out, 1 << 16);
	ck_assert_int_eq(yaml_tree_parse(span_str(good[_i].text), good[_i].syntax, &arena, note,
				 &told, &root),
		0);
	ck_assert_str_eq(told.text, "");
	dump(root, &out);
	buf_append_char(&out, '\0');
	ck_assert_str_eq(out.data, good[_i].tree);
	buf_free(&out);
	arena_free(&arena);
}
END_TEST

static const struct {
	enum yaml_syntax syntax;
	const char *text, *told;
} bad[] = {
	{YAML_SYNTAX_YAML, "a: 1\na: 2\nb: 1\nb: 2\n",
		"2:1 the key \"a\" stands here for the second time, first at line 1\n"
		"4:1 the key \"b\" stands here for the second time, first at line 3\n"},
	{YAML_SYNTAX_YAML, "a: *x\n",
		"1:4 the alias *x names no anchor that stands complete before it\n"},
	{YAML_SYNTAX_YAML, "a: &x [*x]\n",
		"1:8 the alias *x names no anchor that stands complete before it\n"},
	{YAML_SYNTAX_YAML, "a: !python/object x\n",
		"1:4 the tag !python/object is not known here\n"},
	{YAML_SYNTAX_YAML, "[a]: b\n", "1:1 a key must be a string, this is a list\n"},
	{YAML_SYNTAX_YAML, "a: \"\\0\"\n", "1:4 a zero byte in a string\n"},
	{YAML_SYNTAX_YAML, "a: 1\n---\nb: 1\n", "2:1 a second document; only one is read\n"},
	{YAML_SYNTAX_YAML, "a: 1\nb: \xff\n", "2:4 invalid leading UTF-8 octet\n"},
	{YAML_SYNTAX_YAML, "a: [1,\nb: 2\n",
		"3:1 did not find expected ',' or ']' (while parsing a flow sequence that begins "
		"at line 1)\n"},
	{YAML_SYNTAX_YAML, "a:\n\t- x\n",
		"2:1 found character that cannot start any token (while scanning for the next "
		"token that begins at line 2)\n"},
	{YAML_SYNTAX_JSON, "{\n\"a\": 1 /* x\n}",
		"2:1 the comment that begins on this line does not end\n"},
	{YAML_SYNTAX_JSON, "{\"a\": 1 \"b\": 2}",
		"1:12 did not find expected ',' or '}' (while parsing a flow mapping that begins "
		"at "
		"line 1)\n"},
};

START_TEST(test_bad)
{
	const struct yaml_node *root = NULL;
	struct told told = {0};
	struct arena arena;

	arena_init(&arena, 1 << 20);
	ck_assert_int_eq(
		yaml_tree_parse(span_str(bad[_i].text), bad[_i].syntax, &arena, note, &told, &root),
		-ERR_PARSE);
	ck_assert_str_eq(told.text, bad[_i].told);
	ck_assert_ptr_null(root);
	arena_free(&arena);
}
END_TEST

static void expect_refused(const struct buf *text, const char *reason)
{
	const struct yaml_node *root = NULL;
	struct told told = {0};
	struct arena arena;

	arena_init(&arena, 64 << 20);
	ck_assert_int_eq(
		yaml_tree_parse(buf_span(text), YAML_SYNTAX_YAML, &arena, note, &told, &root),
		-ERR_PARSE);
	ck_assert_msg(strstr(told.text, reason) != NULL, "%s", told.text);
	arena_free(&arena);
}

START_TEST(test_limits)
{
	struct buf text;

	buf_init(&text, 4 << 20);
	for (int i = 0; i < 100000; i++)
		buf_append_char(&text, '[');
	expect_refused(&text, "nested deeper than 32 levels");

	buf_clear(&text);
	for (int i = 0; i < 5000; i++)
		buf_printf(&text, "k%d: 1\n", i);
	expect_refused(&text, "more than 4096 keys in one map");

	buf_clear(&text);
	for (unsigned i = 0; i < YAML_TREE_MAX_NODES + 1; i++)
		buf_append_str(&text, "- a\n");
	expect_refused(&text, "more than 100000 values");

	/* each level ten times the one before: small to write, a billion to read */
	buf_clear(&text);
	buf_append_str(&text, "a0: &a0 x\n");
	for (int i = 1; i < 10; i++) {
		buf_printf(&text, "a%d: &a%d [", i, i);
		for (int j = 0; j < 10; j++)
			buf_printf(&text, "%s*a%d", j ? "," : "", i - 1);
		buf_append_str(&text, "]\n");
	}
	expect_refused(&text, "more than 100000 values, those behind aliases counted");

	buf_clear(&text);
	for (unsigned i = 0; i <= YAML_TREE_MAX_SIZE; i++)
		buf_append_char(&text, ' ');
	expect_refused(&text, "larger than 1048576 bytes");
	buf_free(&text);
}
END_TEST

START_TEST(test_no_memory)
{
	const struct yaml_node *root = NULL;
	struct told told = {0};

	for (size_t max = 0; max < 1200; max += 16) {
		struct arena arena;
		int r;

		arena_init(&arena, max);
		r = yaml_tree_parse(SPAN_LIT("a: &x [1, 2]\nb: {c: *x}\n"), YAML_SYNTAX_YAML,
			&arena, note, &told, &root);
		ck_assert_int_eq(r, max < 1024 && r < 0 ? -ERR_NO_MEMORY : 0);
		arena_free(&arena);
	}
	ck_assert_int_eq(told.count, 0);
}
END_TEST

START_TEST(test_get)
{
	const struct yaml_node *root = NULL;
	struct told told = {0};
	struct arena arena;

	arena_init(&arena, 1 << 20);
	ck_assert_int_eq(yaml_tree_parse(SPAN_LIT("a:\nb: ~\nc: null\nd: 'null'\n"),
				 YAML_SYNTAX_YAML, &arena, note, &told, &root),
		0);
	ck_assert(yaml_tree_is_null(yaml_tree_get(root, "a")));
	ck_assert(yaml_tree_is_null(yaml_tree_get(root, "b")));
	ck_assert(yaml_tree_is_null(yaml_tree_get(root, "c")));
	ck_assert(!yaml_tree_is_null(yaml_tree_get(root, "d")));
	ck_assert_ptr_null(yaml_tree_get(root, "e"));
	ck_assert_ptr_null(yaml_tree_get(NULL, "e"));
	ck_assert_ptr_null(yaml_tree_get(yaml_tree_get(root, "d"), "e"));
	arena_free(&arena);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("yaml_tree");
	TCase *tc = tcase_create("tree");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, test_good, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, test_bad, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, test_limits);
	tcase_add_test(tc, test_no_memory);
	tcase_add_test(tc, test_get);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
