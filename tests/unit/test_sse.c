/* proto/sse: the parser on every cut of its input, and the writers. */
#include "sse.h"

#include <check.h>
#include <stdlib.h>

/*
 * want: each event as "event|data|id;". The rows follow the algorithm and the examples of WHATWG
 * HTML §9.2.6.
 */
static const struct {
	struct span input;
	const char *want;
} cases[] = {
	{SPAN_LIT("data: hello\n\n"), "message|hello|;"},
	{SPAN_LIT("data:hello\n\n"), "message|hello|;"},
	{SPAN_LIT("data:  hello\n\n"), "message| hello|;"},
	{SPAN_LIT("data: a\r\n\r\n"), "message|a|;"},
	{SPAN_LIT("data: a\r\rdata: b\r\r"), "message|a|;message|b|;"},
	{SPAN_LIT("data: a\n\r\ndata: b\r\n\n"), "message|a|;message|b|;"},
	{SPAN_LIT("data: a\ndata: b\r\ndata: c\rdata\n\n"), "message|a\nb\nc\n|;"},
	{SPAN_LIT("data: YHOO\ndata: +2\ndata: 10\n\n"), "message|YHOO\n+2\n10|;"},
	{SPAN_LIT(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  "
		  "third event\n\n"),
		"message|first event|1;message|second event|;message| third event|;"},
	{SPAN_LIT("data\n\ndata\ndata\n\ndata:"), "message||;message|\n|;"},
	{SPAN_LIT("data:test\n\ndata: test\n\n"), "message|test|;message|test|;"},
	{SPAN_LIT("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: x\n\n"),
		"add|73857293|;remove|2153|;message|x|;"},
	{SPAN_LIT("event: a\nevent: b\ndata: x\n\n"), "b|x|;"},
	{SPAN_LIT("event: a\n\ndata: x\n\n"), "message|x|;"},
	{SPAN_LIT("event\ndata: x\n\n"), "message|x|;"},
	{SPAN_LIT("id: e1\ndata: \n\n"), "message||e1;"},
	{SPAN_LIT("id: e1\n\ndata: x\n\n"), "message|x|e1;"},
	{SPAN_LIT("id: e1\ndata: x\n\ndata: y\n\n"), "message|x|e1;message|y|e1;"},
	{SPAN_LIT("id: e1\nid: a\0b\ndata: x\n\n"), "message|x|e1;"},
	{SPAN_LIT("data: a:b: c\n\n"), "message|a:b: c|;"},
	{SPAN_LIT("Data: no\n data: no\nother: no\nother\ndata: x\n\n"), "message|x|;"},
	{SPAN_LIT(":\n:\r\n: c\n:data: no\ndata: x\n:late\n\n"), "message|x|;"},
	{SPAN_LIT("\n\n\r\n\r\ndata: x\n\n\n\n"), "message|x|;"},
	{SPAN_LIT("\xef\xbb\xbf"
		  "data: x\n\n"),
		"message|x|;"},
	{SPAN_LIT("\xef\xbb\xbf\xef\xbb\xbf"
		  "data: x\n\ndata: y\n\n"),
		"message|y|;"},
	{SPAN_LIT("\xef\xbb"
		  "data: x\n\ndata: y\n\n"),
		"message|y|;"},
	{SPAN_LIT("data: \xc3\xa9\xf0\x9f\x98\x80\n\n"), "message|\xc3\xa9\xf0\x9f\x98\x80|;"},
	{SPAN_LIT("data: x\n"), ""},
	{SPAN_LIT("data: x"), ""},
	{SPAN_LIT(""), ""},
	{SPAN_LIT("data: x\n\r"), "message|x|;"},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void show(struct buf *out, const struct sse_event *e)
{
	buf_append_span(out, e->event);
	buf_append_char(out, '|');
	buf_append_span(out, e->data);
	buf_append_char(out, '|');
	buf_append_span(out, e->id);
	buf_append_char(out, ';');
}

/* Feed bytes in a tight copy, so that a sanitizer sees a read beyond the chunk. */
static int feed(struct sse_parser *parser, struct span bytes, struct buf *out)
{
	char *copy = malloc(bytes.len ? bytes.len : 1);
	struct span input;
	struct sse_event e;
	int r;

	ck_assert_ptr_nonnull(copy);
	if (bytes.len)
		memcpy(copy, bytes.p, bytes.len);
	input = span_of(copy, bytes.len);
	while ((r = sse_parser_next(parser, &input, &e, NULL)) == 1)
		show(out, &e);
	if (r == 0)
		ck_assert_uint_eq(input.len, 0);
	free(copy);
	return r;
}

/* In pieces of every size, and cut in two at every place. */
START_TEST(test_parse_cut)
{
	struct span input = cases[_i].input;

	for (size_t mode = 1; mode <= 2 * input.len + 1; mode++) {
		struct sse_parser *parser = sse_parser_new(1024);
		bool two = mode > input.len;
		size_t first = two ? mode - input.len - 1 : mode, at = 0;
		struct buf out;

		buf_init(&out, 1024);
		while (at < input.len) {
			size_t n = two && at > 0 ? input.len - at : first;

			if (n == 0)
				n = input.len;
			if (n > input.len - at)
				n = input.len - at;
			ck_assert_int_eq(feed(parser, span_of(input.p + at, n), &out), 0);
			at += n;
		}
		ck_assert_msg(span_is(buf_span(&out), cases[_i].want), "case %d mode %zu: %.*s", _i,
			mode, SPAN_ARG(buf_span(&out)));
		buf_free(&out);
		sse_parser_free(parser);
	}
}
END_TEST

START_TEST(test_id_and_retry)
{
	struct sse_parser *parser = sse_parser_new(1024);
	struct buf out;

	buf_init(&out, 1024);
	ck_assert_int_eq(sse_parser_retry_ms(parser), -1);
	feed(parser, SPAN_LIT("retry: 1500\n\n"), &out);
	ck_assert_int_eq(sse_parser_retry_ms(parser), 1500);
	ck_assert_uint_eq(sse_parser_pending(parser), 0);
	feed(parser, SPAN_LIT("retry: 15x\nretry:\nretry: -1\n"), &out);
	ck_assert_int_eq(sse_parser_retry_ms(parser), 1500);
	ck_assert_uint_gt(sse_parser_pending(parser), 0);
	feed(parser, SPAN_LIT("retry: 99999999999999999999\nid: last\nevent: half\ndata: half"),
		&out);
	ck_assert_int_eq(sse_parser_retry_ms(parser), UINT32_MAX);
	sse_parser_reset(parser);
	ck_assert_uint_eq(sse_parser_pending(parser), 0);
	ck_assert(span_is(sse_parser_last_id(parser), "last"));
	ck_assert_uint_eq(out.len, 0);
	feed(parser,
		SPAN_LIT("\xef\xbb\xbf"
			 "data: whole\r\n\r\n"),
		&out);
	ck_assert_uint_eq(sse_parser_pending(parser), 0);
	ck_assert_msg(
		span_is(buf_span(&out), "message|whole|last;"), "%.*s", SPAN_ARG(buf_span(&out)));
	buf_free(&out);
	sse_parser_free(parser);
	sse_parser_free(NULL);
}
END_TEST

/* feed() the text n times; what the last one returned. */
static int feed_many(struct sse_parser *parser, struct span text, int n)
{
	struct buf out;
	int r = 0;

	buf_init(&out, 1 << 20);
	while (n-- > 0 && r == 0)
		r = feed(parser, text, &out);
	buf_free(&out);
	return r;
}

START_TEST(test_event_max)
{
	static const struct {
		struct span text; /* fed up to 1000 times, nothing of it ends an event */
		int r;
	} rows[] = {
		{SPAN_LIT("x"), -ERR_TOO_LARGE},
		{SPAN_LIT("data: x\n"), -ERR_TOO_LARGE},
		{SPAN_LIT("data\n"), -ERR_TOO_LARGE},
		{SPAN_LIT("event: x\n"), -ERR_TOO_LARGE},
		{SPAN_LIT("nothing\n"), -ERR_TOO_LARGE},
		{SPAN_LIT(": keep-alive\n"), 0},
		{SPAN_LIT(": keep-alive\n\n"), 0},
		{SPAN_LIT("\n"), 0},
		{SPAN_LIT("data: x\n\n"), 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sse_parser *parser = sse_parser_new(100);
		struct buf out;

		ck_assert_msg(feed_many(parser, rows[i].text, 1000) == rows[i].r, "row %zu", i);
		/* After an error, a reset makes it usable. */
		buf_init(&out, 1024);
		sse_parser_reset(parser);
		ck_assert_int_eq(feed(parser, SPAN_LIT("data: y\n\n"), &out), 0);
		ck_assert(span_is(buf_span(&out), "message|y|;"));
		buf_free(&out);
		sse_parser_free(parser);
	}
}
END_TEST

START_TEST(test_event_max_exact)
{
	for (unsigned over = 0; over < 2; over++) {
		struct sse_parser *parser = sse_parser_new(100);
		struct buf in, out;
		struct err err = {0};
		struct sse_event e;
		struct span input;

		buf_init(&in, 4096);
		buf_init(&out, 4096);
		buf_printf(&in, "data:%0*d\n\n", 95 + (int)over, 0);
		input = buf_span(&in);
		ck_assert_int_eq(
			sse_parser_next(parser, &input, &e, &err), over ? -ERR_TOO_LARGE : 1);
		ck_assert_int_eq(err.detail[0] != 0, over);
		sse_parser_free(parser);
		parser = sse_parser_new(4096);
		buf_clear(&in);
		buf_printf(&in, "id:%0*d\ndata:x\n\n", (int)(SSE_ID_MAX + over), 0);
		ck_assert_int_eq(feed(parser, buf_span(&in), &out), over ? -ERR_TOO_LARGE : 0);
		sse_parser_free(parser);
		buf_free(&in);
		buf_free(&out);
	}
}
END_TEST

/* What is written is read back, and looks as it should. */
START_TEST(test_write)
{
	static const struct {
		struct span id, event, data;
		const char *text, *want;
	} rows[] = {
		{SPAN_LIT("1"), SPAN_LIT("message"), SPAN_LIT("{}"),
			"id: 1\nevent: message\ndata: {}\n\n", "message|{}|1;"},
		{SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT("{}"), "data: {}\n\n", "message|{}|;"},
		{SPAN_LIT("p"), SPAN_LIT(""), SPAN_LIT(""), "id: p\ndata: \n\n", "message||p;"},
		{SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT(" a\nb\r\nc\rd\n"),
			"data:  a\ndata: b\ndata: c\ndata: d\ndata: \n\n",
			"message| a\nb\nc\nd\n|;"},
		{SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT("\n"), "data: \ndata: \n\n", "message|\n|;"},
		{SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT("\r\n\r"), "data: \ndata: \ndata: \n\n",
			"message|\n\n|;"},
		{SPAN_LIT(""), SPAN_LIT("endpoint"), SPAN_LIT(":/x"),
			"event: endpoint\ndata: :/x\n\n", "endpoint|:/x|;"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sse_parser *parser = sse_parser_new(1024);
		struct buf out, seen;

		buf_init(&out, 1024);
		buf_init(&seen, 1024);
		ck_assert_int_eq(sse_write_event(&out, rows[i].id, rows[i].event, rows[i].data), 0);
		ck_assert_msg(
			span_is(buf_span(&out), rows[i].text), "%.*s", SPAN_ARG(buf_span(&out)));
		ck_assert_int_eq(feed(parser, buf_span(&out), &seen), 0);
		ck_assert_msg(
			span_is(buf_span(&seen), rows[i].want), "%.*s", SPAN_ARG(buf_span(&seen)));
		buf_free(&out);
		for (size_t max = 1; max < strlen(rows[i].text) + 1; max++) {
			buf_init(&out, max);
			buf_append_char(&out, '>');
			ck_assert_int_eq(
				sse_write_event(&out, rows[i].id, rows[i].event, rows[i].data),
				-ERR_TOO_LARGE);
			ck_assert_uint_eq(out.len, 1);
			buf_free(&out);
		}
		buf_free(&seen);
		sse_parser_free(parser);
	}
}
END_TEST

START_TEST(test_write_others)
{
	struct buf out;

	buf_init(&out, 1024);
	ck_assert_int_eq(sse_write_comment(&out, SPAN_LIT("keep-alive")), 0);
	ck_assert_int_eq(sse_write_comment(&out, SPAN_NONE), 0);
	ck_assert_int_eq(sse_write_retry(&out, 3000), 0);
	ck_assert(span_is(buf_span(&out), ": keep-alive\n\n:\n\nretry: 3000\n\n"));
	ck_assert_int_eq(sse_write_comment(&out, SPAN_LIT("a\nb")), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(sse_write_event(&out, SPAN_LIT("a\rb"), SPAN_NONE, SPAN_NONE),
		-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(sse_write_event(&out, SPAN_LIT("a\0b"), SPAN_NONE, SPAN_NONE),
		-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(sse_write_event(&out, SPAN_NONE, SPAN_LIT("a\nb"), SPAN_NONE),
		-ERR_INVALID_ARGUMENT);
	ck_assert_uint_eq(out.len, 30);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sse");
	TCase *tc = tcase_create("sse");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, test_parse_cut, 0, CASES);
	tcase_add_test(tc, test_id_and_retry);
	tcase_add_test(tc, test_event_max);
	tcase_add_test(tc, test_event_max_exact);
	tcase_add_test(tc, test_write);
	tcase_add_test(tc, test_write_others);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
