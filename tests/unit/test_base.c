/* base/: errors, buffers, arena, JSON strings. */
#include "arena.h"
#include "buf.h"
#include "err.h"
#include "json_write.h"

#include <check.h>
#include <stdlib.h>

START_TEST(test_err_table)
{
	struct err err = {0};

	ck_assert_int_eq(err_set(&err, ERR_NOT_FOUND, "no server '%s'", "x"), -ERR_NOT_FOUND);
	ck_assert_str_eq(err_text(&err), "no server 'x'");
	ck_assert_int_eq(err_http_status(err.code), 404);
	ck_assert_str_eq(err_reason(-99999), "internal");
	for (int code = 1; code < ERR_MAX; code++) {
		ck_assert_ptr_nonnull(err_reason(code));
		ck_assert_int_ge(err_http_status(code), 200);
		ck_assert_int_lt(err_rpc_code(code), 0);
	}
}
END_TEST

START_TEST(test_buf_max)
{
	struct buf buf;

	buf_init(&buf, 10);
	ck_assert_int_eq(buf_append(&buf, "0123456789", 10), 0);
	ck_assert_int_eq(buf_append_char(&buf, 'x'), -ERR_TOO_LARGE);
	ck_assert_uint_eq(buf.len, 10);
	buf_consume(&buf, 4);
	ck_assert(span_is(buf_span(&buf), "456789"));
	ck_assert_int_eq(buf_append(&buf, "ab", 2), 0);
	ck_assert(span_is(buf_span(&buf), "456789ab"));
	buf_free(&buf);
}
END_TEST

START_TEST(test_arena)
{
	struct arena arena;

	arena_init(&arena, 100000);
	for (int i = 1; i < 200; i++) {
		char *p = arena_alloc(&arena, (size_t)i);

		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		ck_assert_int_eq(p[i - 1], 0);
		memset(p, 0xff, (size_t)i);
	}
	ck_assert_ptr_null(arena_alloc(&arena, 100000));
	ck_assert_str_eq(arena_strdup(&arena, SPAN_LIT("name")), "name");
	arena_free(&arena);
}
END_TEST

static const struct {
	const char *in;
	size_t len;
	const char *out;
} strings[] = {
	{"", 0, "\"\""},
	{"plain", 5, "\"plain\""},
	{"a\"b\\c\n\r\t\x01", 9, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\""},
	{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
	{"x\xff\xc3", 3, "\"x\xef\xbf\xbd\xef\xbf\xbd\""},
	{"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	{"\0", 1, "\"\\u0000\""},
};

START_TEST(test_json_string)
{
	struct buf out;

	buf_init(&out, 1000);
	ck_assert_int_eq(json_write_string(&out, span_of(strings[_i].in, strings[_i].len)), 0);
	ck_assert_msg(span_is(buf_span(&out), strings[_i].out), "%.*s", (int)out.len, out.data);
	buf_free(&out);
}
END_TEST

START_TEST(test_json_string_no_room)
{
	for (size_t max = 0; max < 12; max++) {
		struct buf out;

		buf_init(&out, max);
		ck_assert_int_eq(json_write_string(&out, SPAN_LIT("12345\n6789")), -ERR_TOO_LARGE);
		ck_assert_uint_eq(out.len, 0);
		buf_free(&out);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base");
	TCase *tc = tcase_create("base");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_err_table);
	tcase_add_test(tc, test_buf_max);
	tcase_add_test(tc, test_arena);
	tcase_add_loop_test(tc, test_json_string, 0, sizeof(strings) / sizeof(*strings));
	tcase_add_test(tc, test_json_string_no_room);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
