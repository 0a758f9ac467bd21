/* WebSocket as bytes: a client and a server of ours against each other, and what must be refused.
 */
#include "buf.h"
#include "websocket.h"

#include <check.h>
#include <stdlib.h>

#define MAX 1000u

static struct buf got; /* messages, each with a '|' after it */
static struct websocket *to_close;

static void on_message(void *arg, struct span text)
{
	(void)arg;
	buf_append_span(&got, text);
	buf_append_char(&got, '|');
	if (to_close)
		websocket_close(to_close, WEBSOCKET_NORMAL, "");
}

static struct buf *out_of_put; /* where frames go; NULL: nothing is taken */

static size_t put(void *arg, struct span bytes)
{
	(void)arg;
	return out_of_put && buf_append_span(out_of_put, bytes) == 0 ? bytes.len : 0;
}

static const struct websocket_ops ops = {.message = on_message, .put = put};

/* What is queued, all of it, to the end of out. */
static void take(struct websocket *ws, struct buf *out)
{
	out_of_put = out;
	websocket_flush(ws);
	out_of_put = NULL;
	ck_assert_uint_eq(websocket_queued(ws), 0);
}

static struct websocket *make(enum websocket_side side)
{
	struct websocket *ws = websocket_new(side, MAX, 1u << 20, &ops, NULL);

	ck_assert_ptr_nonnull(ws);
	return ws;
}

static void setup(void)
{
	buf_init(&got, 1u << 24);
	to_close = NULL;
}

static void teardown(void)
{
	buf_free(&got);
}

static int read_bytes(struct websocket *ws, const char *p, size_t len, struct err *err)
{
	return websocket_read(ws, span_of(p, len), err);
}

START_TEST(test_accept)
{
	char accept[WEBSOCKET_ACCEPT_SIZE], key[WEBSOCKET_KEY_SIZE], other[WEBSOCKET_KEY_SIZE];

	/* the example of RFC 6455 §1.3 */
	ck_assert_int_eq(websocket_accept(SPAN_LIT("dGhlIHNhbXBsZSBub25jZQ=="), accept), 0);
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	ck_assert_int_eq(websocket_key(key), 0);
	ck_assert_int_eq(websocket_key(other), 0);
	ck_assert_str_ne(key, other);
	ck_assert_int_eq(websocket_accept(span_str(key), accept), 0);
	ck_assert_int_eq(websocket_accept(SPAN_LIT("dGhlIHNhbXBsZSBub25jZQ="), accept),
		-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(websocket_accept(SPAN_LIT("dGhlIHNhbXBsZSBub25j\r\nQ=="), accept),
		-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(websocket_accept(SPAN_NONE, accept), -ERR_INVALID_ARGUMENT);
}
END_TEST

START_TEST(test_both_ways)
{
	enum websocket_side side = _i ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT;
	struct websocket *from = make(side), *to = make(!side);
	char *long_text = calloc(1, MAX + 1);
	struct err err = {0};
	struct buf out;

	buf_init(&out, 1u << 20);
	memset(long_text, 'x', MAX);
	ck_assert_int_eq(websocket_send(from, SPAN_LIT("{\"h\":\"é\"}")), 0);
	ck_assert_int_eq(websocket_ping(from), 0);
	ck_assert_int_eq(websocket_send(from, SPAN_LIT("")), 0);
	ck_assert_int_eq(websocket_send(from, span_of(long_text, MAX)), 0);
	take(from, &out);
	for (size_t i = 0; i < out.len; i++)
		ck_assert_int_eq(read_bytes(to, out.data + i, 1, &err), 0);
	ck_assert_uint_eq(got.len, 11 + 1 + MAX + 1);
	ck_assert_mem_eq(got.data, "{\"h\":\"é\"}||xxx", 14);
	/* the ping is answered, and both close */
	buf_clear(&out);
	websocket_close(to, WEBSOCKET_GOING_AWAY, "bye\n");
	ck_assert_int_eq(websocket_send(to, SPAN_LIT("late")), -ERR_CLOSED);
	take(to, &out);
	ck_assert_int_eq(read_bytes(from, out.data, out.len, &err), -ERR_CLOSED);
	ck_assert_str_eq(err.detail, "it closed the WebSocket: 1001, bye ");
	ck_assert(websocket_close_received(from));
	buf_clear(&out);
	take(from, &out);
	ck_assert_int_eq(read_bytes(to, out.data, out.len, &err), -ERR_CLOSED);
	buf_free(&out);
	free(long_text);
	websocket_free(from);
	websocket_free(to);
}
END_TEST

#define BYTES(literal) literal, sizeof(literal) - 1
static const struct {
	const char *bytes;
	size_t len;
	int code;
	unsigned close;
	const char *detail;
} refused[] = {
	{BYTES("\x81\x7f\0\0\0\0\0\0\x01\0x"), -ERR_PROTOCOL, 0, NULL}, /* not the shortest */
	{BYTES("\x82\x01x"), -ERR_PROTOCOL, 1003, "a binary message came"},
	{BYTES("\x81\x7e\x04\0x"), -ERR_TOO_LARGE, 1009, "a message longer than 1000 bytes came"},
	{BYTES("\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx"), -ERR_TOO_LARGE, 1009, NULL},
	{BYTES("\x81\x02\xc3\x28"), -ERR_PROTOCOL, 1007, "a text came that is not UTF-8"},
	{BYTES("\x81\x01\xc3"), -ERR_PROTOCOL, 1007, NULL},
	{BYTES("\x81\x81\1\2\3\4x"), -ERR_PROTOCOL, 1002, NULL},  /* masked by a server */
	{BYTES("\xc1\x01x"), -ERR_PROTOCOL, 1002, NULL},          /* an extension */
	{BYTES("\x80\x01x"), -ERR_PROTOCOL, 1002, NULL},          /* continues nothing */
	{BYTES("\x01\x01x\x01\x01x"), -ERR_PROTOCOL, 1002, NULL}, /* interrupts a message */
	{BYTES("\x89\x7e\x01\0"), -ERR_PROTOCOL, 0, NULL},        /* a ping of 256 bytes */
	{BYTES("\x83\x01x"), -ERR_PROTOCOL, 0, NULL},             /* an unknown kind */
	{BYTES("\x88\x02\x03\xec"), -ERR_PROTOCOL, 1002, NULL},   /* code 1004 */
};

START_TEST(test_refused)
{
	struct websocket *ws = make(WEBSOCKET_CLIENT);
	struct err err = {0};
	struct buf out;

	buf_init(&out, 4096);
	ck_assert_int_eq(
		read_bytes(ws, refused[_i].bytes, refused[_i].len, &err), refused[_i].code);
	if (refused[_i].detail)
		ck_assert_str_eq(err.detail, refused[_i].detail);
	ck_assert_uint_eq(got.len, 0);
	ck_assert_int_eq(websocket_send(ws, SPAN_LIT("x")), -ERR_CLOSED);
	ck_assert_int_eq(read_bytes(ws, "\x81\x01x", 3, &err), refused[_i].code);
	take(ws, &out);
	ck_assert_uint_ge(out.len, 6);
	ck_assert_uint_eq((unsigned char)out.data[0], 0x88);
	if (refused[_i].close) {
		const unsigned char *p = (const unsigned char *)out.data;

		ck_assert_uint_eq(
			(unsigned)((p[6] ^ p[2]) << 8 | (p[7] ^ p[3])), refused[_i].close);
	}
	buf_free(&out);
	websocket_free(ws);
}
END_TEST

START_TEST(test_fragments)
{
	static const char parts[] = "\x01\x02{\xc3\x89\0\x00\x01\xa9\x80\x01}";
	struct websocket *ws = make(WEBSOCKET_CLIENT);
	struct err err = {0};
	struct buf out;

	/* cut in the middle of a character, with a ping between */
	buf_init(&out, 4096);
	ck_assert_int_eq(read_bytes(ws, parts, sizeof(parts) - 1, &err), 0);
	ck_assert_uint_eq(got.len, 5);
	ck_assert_mem_eq(got.data, "{é}|", 5);
	take(ws, &out);
	ck_assert_uint_eq(out.len, 6);
	ck_assert_uint_eq((unsigned char)out.data[0], 0x8a);
	buf_free(&out);
	websocket_free(ws);
}
END_TEST

static int flood(const char *first, const char *frame, unsigned times)
{
	struct websocket *ws = make(WEBSOCKET_CLIENT);
	struct err err = {0};
	struct buf in;
	int r;

	buf_init(&in, 1u << 24);
	buf_append(&in, first, 2);
	for (unsigned i = 0; i < times; i++)
		buf_append(&in, frame, 2);
	r = read_bytes(ws, in.data, in.len, &err);
	buf_free(&in);
	websocket_free(ws);
	return r;
}

START_TEST(test_flood)
{
	ck_assert_int_eq(flood("\x89\0", "\x89\0", WEBSOCKET_CONTROL_MAX / 2), 0);
	ck_assert_int_eq(flood("\x89\0", "\x89\0", WEBSOCKET_CONTROL_MAX * 2), -ERR_PROTOCOL);
	ck_assert_int_eq(flood("\x01\0", "\0\0", WEBSOCKET_FRAMES_MAX / 2), 0);
	ck_assert_int_eq(flood("\x01\0", "\0\0", WEBSOCKET_FRAMES_MAX), -ERR_PROTOCOL);
}
END_TEST

START_TEST(test_closed_within)
{
	struct websocket *ws = make(WEBSOCKET_CLIENT);
	struct err err = {0};

	/* whoever closes while it is given a message hears no more */
	to_close = ws;
	ck_assert_int_eq(read_bytes(ws, "\x81\x01x\x81\x01y\x81\x01z", 9, &err), 0);
	ck_assert_uint_eq(got.len, 2);
	ck_assert_int_eq(read_bytes(ws, "\x88\0", 2, &err), -ERR_CLOSED);
	ck_assert_str_eq(err.detail, "it closed the WebSocket: without a code");
	websocket_free(ws);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("websocket");
	TCase *all = tcase_create("websocket");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(all, setup, teardown);
	tcase_add_test(all, test_accept);
	tcase_add_loop_test(all, test_both_ways, 0, 2);
	tcase_add_loop_test(all, test_refused, 0, sizeof(refused) / sizeof(*refused));
	tcase_add_test(all, test_fragments);
	tcase_add_test(all, test_flood);
	tcase_add_test(all, test_closed_within);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
