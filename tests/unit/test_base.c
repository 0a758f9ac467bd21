/* base/: errors, buffers, arena, JSON strings. */
#include "arena.h"
#include "backoff.h"
#include "buf.h"
#include "err.h"
#include "json_write.h"
#include "log.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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

/* What was written piece by piece has no hole. */
START_TEST(test_buf_whole)
{
	struct buf buf;

	buf_init(&buf, 10);
	buf_append_str(&buf, "0123456");
	ck_assert_int_eq(buf_printf(&buf, "%d", 12345), -ERR_TOO_LARGE);
	ck_assert_int_eq(buf_append_char(&buf, '}'), -ERR_TOO_LARGE);
	ck_assert(span_is(buf_span(&buf), "0123456"));
	buf_cut(&buf, 3);
	ck_assert_int_eq(buf_append_char(&buf, '}'), 0);
	ck_assert(span_is(buf_span(&buf), "012}"));
	ck_assert_int_eq(buf_fail(&buf, -ERR_NO_MEMORY), -ERR_NO_MEMORY);
	ck_assert_int_eq(buf_append(&buf, "", 0), -ERR_NO_MEMORY);
	buf_clear(&buf);
	ck_assert_int_eq(buf_append_char(&buf, 'x'), 0);
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

START_TEST(test_backoff)
{
	static const uint64_t pauses[] = {100, 200, 400, 800, 1000, 1000};
	bool differs = false;

	for (unsigned i = 0; i < 600; i++) {
		uint64_t whole = pauses[i % 6], ms = backoff_ms(i % 6 + 1, 100, 1000, i);

		ck_assert_uint_ge(ms, whole / 2);
		ck_assert_uint_le(ms, whole);
		differs |= ms != whole && ms != whole / 2;
	}
	ck_assert(differs);
	ck_assert_uint_le(backoff_ms(UINT32_MAX, 1000, 60000, 0), 60000);
	ck_assert_uint_eq(backoff_ms(1, 0, 0, 0), 0);
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

static char log_text[65536];

/* What was written to the pipe since the last time, zero-terminated. */
static const char *read_log(int fd)
{
	ssize_t n = read(fd, log_text, sizeof(log_text) - 1);

	log_text[n > 0 ? n : 0] = '\0';
	return log_text;
}

START_TEST(test_log)
{
	static char big[20000];
	int pipe_fds[2], saved = dup(STDERR_FILENO);

	memset(big, 'b', sizeof(big));
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_init("test");
	log_set_format(LOG_FORMAT_JSON);
	dup2(pipe_fds[1], STDERR_FILENO);
	log_info("one.event", "says \"x\"", KV_INT("n", INT64_MIN), KV_MS("ms", 12005),
		KV_BOOL("yes", true), KV_SPAN("big", span_of(big, sizeof(big))), KV_STR("none", ""),
		KV_INT("last", 7));
	dup2(saved, STDERR_FILENO);
	read_log(pipe_fds[0]);
	ck_assert_ptr_nonnull(strstr(log_text,
		",\"event\":\"one.event\",\"msg\":\"says \\\"x\\\"\","
		"\"n\":-9223372036854775808,\"ms\":12.005,\"yes\":true,\"last\":7}\n"));
	ck_assert_int_eq(log_text[strlen("{\"ts\":\"2026-01-01T00:00:00.000")], 'Z');
	close(saved);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}
END_TEST

/* A file takes the place of standard error, another one that of the file; what waited goes to the
 * one it was meant for. */
START_TEST(test_log_file)
{
	int standard[2], first[2], second[2], was = dup(STDERR_FILENO);

	ck_assert_int_eq(pipe2(standard, O_NONBLOCK), 0);
	ck_assert_int_eq(pipe2(first, O_NONBLOCK), 0);
	ck_assert_int_eq(pipe2(second, O_NONBLOCK), 0);
	dup2(standard[1], STDERR_FILENO);
	log_init("test");
	log_set_batching(true);
	log_info("zero", "");
	log_set_file(first[1]);
	log_info("one", "");
	log_set_file(second[1]);
	ck_assert_int_eq(log_fd(), second[1]);
	ck_assert_int_lt(fcntl(first[1], F_GETFD), 0);
	log_warn("two", "");
	log_set_file(-1);
	log_warn("three", "");
	dup2(was, STDERR_FILENO);
	ck_assert_ptr_nonnull(strstr(read_log(standard[0]), "\"zero\""));
	ck_assert_ptr_nonnull(strstr(log_text, "\"three\""));
	ck_assert_ptr_null(strstr(log_text, "\"one\""));
	ck_assert_ptr_nonnull(strstr(read_log(first[0]), "\"one\""));
	ck_assert_ptr_null(strstr(log_text, "\"two\""));
	ck_assert_ptr_nonnull(strstr(read_log(second[0]), "\"two\""));
	ck_assert_ptr_null(strstr(log_text, "\"three\""));
	log_set_batching(false);
}
END_TEST

START_TEST(test_log_batching)
{
	int pipe_fds[2], saved = dup(STDERR_FILENO);

	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_init("test");
	dup2(pipe_fds[1], STDERR_FILENO);
	log_set_batching(true);
	log_info("a", "");
	log_info("b", "");
	ck_assert_str_eq(read_log(pipe_fds[0]), "");
	log_flush();
	ck_assert_ptr_nonnull(strstr(read_log(pipe_fds[0]), "\"b\""));
	ck_assert_ptr_nonnull(strstr(log_text, "\"a\""));
	/* what matters does not wait, and order stays */
	log_info("c", "");
	log_warn("d", "");
	read_log(pipe_fds[0]);
	ck_assert_ptr_nonnull(strstr(log_text, "\"c\""));
	ck_assert(strstr(log_text, "\"c\"") < strstr(log_text, "\"d\""));
	/* a full batch leaves by itself */
	for (int i = 0; i < 200; i++)
		log_info("many", "");
	ck_assert_uint_gt(strlen(read_log(pipe_fds[0])), 8000);
	log_set_batching(false);
	dup2(saved, STDERR_FILENO);
	ck_assert_uint_eq(log_dropped(), 0);
	close(saved);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base");
	TCase *tc = tcase_create("base");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_backoff);
	tcase_add_test(tc, test_err_table);
	tcase_add_test(tc, test_buf_max);
	tcase_add_test(tc, test_buf_whole);
	tcase_add_test(tc, test_arena);
	tcase_add_loop_test(tc, test_json_string, 0, sizeof(strings) / sizeof(*strings));
	tcase_add_test(tc, test_json_string_no_room);
	tcase_add_test(tc, test_log);
	tcase_add_test(tc, test_log_batching);
	tcase_add_test(tc, test_log_file);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
