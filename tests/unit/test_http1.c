/* proto/http1: good and bad messages as tables, each read whole and byte by byte. */
#include "http1.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static const struct http1_limits limits = {.head = 1024, .target = 100, .headers = 10, .body = 64};

/* "H: x" with the Host that a 1.1 request needs. */
#define H "Host: h\r\n"
#define GET(headers) "GET / HTTP/1.1\r\n" H headers "\r\n"
#define POST(headers, body) "POST /m HTTP/1.1\r\n" H headers "\r\n" body
#define CHUNKED(body) POST("Transfer-Encoding: chunked\r\n", body)
#define OK(headers, body) "HTTP/1.1 200 OK\r\n" headers "\r\n" body
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

/*
 * What was read, as text: for each message "METHOD path?query host" or "status", then "(body)",
 * then + when the connection can be used again or - when not. A trailing "~" means that more is
 * needed; "!reason" is an error.
 */
struct sample {
	const char *in;
	const char *out;
};

static const struct sample requests[] = {
	/* good */
	{GET(""), "GET / h()+"},
	{"GET /a/b?c=d&e HTTP/1.1\r\n" H "\r\n", "GET /a/b?c=d&e h()+"},
	{"GET /? HTTP/1.1\r\n" H "\r\n", "GET /? h()+"},
	{"\r\n" GET(""), "GET / h()+"},
	{"\r\n\r\n" GET(""), "GET / h()+"},
	{GET("Connection: close\r\n"), "GET / h()-"},
	{GET("connection: Keep-Alive, CLOSE\r\n"), "GET / h()-"},
	{GET("Connection: foo\r\nConnection: close\r\n"), "GET / h()-"},
	{GET("Connection: closed\r\n"), "GET / h()+"},
	{"GET / HTTP/1.0\r\n\r\n", "GET / ()-"},
	{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / ()+"},
	{"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / h()-"},
	{POST("Content-Length: 5\r\n", "hello"), "POST /m h(hello)+"},
	{POST("content-length:5\r\n", "hello"), "POST /m h(hello)+"},
	{POST("Content-Length: \t 5  \r\n", "hello"), "POST /m h(hello)+"},
	{POST("Content-Length: 005\r\n", "hello"), "POST /m h(hello)+"},
	{POST("Content-Length: 0\r\n", ""), "POST /m h()+"},
	{POST("", ""), "POST /m h()+"},
	{POST("Content-Length: 5\r\n", "hel"), "POST /m h(hel~"},
	{CHUNKED("5\r\nhello\r\n0\r\n\r\n"), "POST /m h(hello)+"},
	{CHUNKED("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), "POST /m h(hello world)+"},
	{CHUNKED("A\r\n0123456789\r\n0\r\n\r\n"), "POST /m h(0123456789)+"},
	{CHUNKED("0a\r\n0123456789\r\n000\r\n\r\n"), "POST /m h(0123456789)+"},
	{CHUNKED("0\r\n\r\n"), "POST /m h()+"},
	{CHUNKED("5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"), "POST /m h(hello)+"},
	{CHUNKED("5\r\nhello\r\n0\r\nX-T: v\r\nY:\r\n\r\n"), "POST /m h(hello)+"},
	{CHUNKED("5\r\nhello\r\n0\r\n"), "POST /m h(hello~"},
	{POST("Transfer-Encoding: Chunked\r\n", "1\r\nx\r\n0\r\n\r\n"), "POST /m h(x)+"},
	{"GET http://other:8080/p?q HTTP/1.1\r\n" H "\r\n", "GET /p?q other:8080()+"},
	{"GET HTTPS://other HTTP/1.1\r\n" H "\r\n", "GET / other()+"},
	{"GET http://other?x HTTP/1.1\r\n" H "\r\n", "GET /?x other()+"},
	{"OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * h()+"},
	{"DELETE /x HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "DELETE /x [::1]:8080()+"},
	{"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / ()+"},
	{GET("A: \r\nB:\r\nC:x\r\n"), "GET / h()+"},
	{GET("A: b\tc \"d\"; \xc3\xa4\r\n"), "GET / h()+"},
	{GET("") GET("") POST("Content-Length: 1\r\n", "z"), "GET / h()+GET / h()+POST /m h(z)+"},
	{CHUNKED("1\r\nx\r\n0\r\n\r\n") GET(""), "POST /m h(x)+GET / h()+"},
	{POST("Content-Length: 5\r\n", "hello") "\r\n" GET(""), "POST /m h(hello)+GET / h()+"},
	{GET("") "GE", "GET / h()+~"},
	{"", ""},
	{"\r\n", ""},
	{"GET / HTTP/1.1\r\nHost: h\r\n", "~"},
	{"PATCH /x HTTP/1.1\r\n" H "\r\n", "PATCH /x h()+"},
	/* limits */
	{GET("1:1\r\n2:1\r\n3:1\r\n4:1\r\n5:1\r\n6:1\r\n7:1\r\n8:1\r\n9:1\r\n"), "GET / h()+"},
	{GET("1:1\r\n2:1\r\n3:1\r\n4:1\r\n5:1\r\n6:1\r\n7:1\r\n8:1\r\n9:1\r\nA:1\r\n"),
		"!headers_too_large"},
	{GET("A: " X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 "\r\n"), "!headers_too_large"},
	{"GET /" X100 " HTTP/1.1\r\n" H "\r\n", "!uri_too_long"},
	{"GET /" X100 X100 X100, "!uri_too_long"},
	{"GET /" X10 X10 X10 X10 X10 X10 X10 X10 X10 "123456789 HTTP/1.1\r\n" H "\r\n",
		"GET /" X10 X10 X10 X10 X10 X10 X10 X10 X10 "123456789 h()+"},
	{POST("Content-Length: 65\r\n", ""), "POST /m h(!too_large"},
	{POST("Content-Length: 99999999999999999\r\n", ""), "POST /m h(!too_large"},
	{POST("Content-Length: 99999999999999999999999\r\n", ""), "!bad_http"},
	{POST("Content-Length: 9999999999999999999\r\n", ""), "!too_large"},
	{CHUNKED("41\r\n"), "POST /m h(!too_large"},
	{CHUNKED("3f\r\n" X10 X10 X10 X10 X10 X10 "123\r\n2\r\n"),
		"POST /m h(" X10 X10 X10 X10 X10 X10 "123!too_large"},
	{CHUNKED("ffffffffffffffff\r\n"), "POST /m h(!too_large"},
	{CHUNKED("1\r\nx\r\nffffffffffffffff\r\n"), "POST /m h(x!too_large"},
	{CHUNKED("1;" X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100),
		"POST /m h(!headers_too_large"},
	{CHUNKED("0\r\nA: " X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100),
		"POST /m h(!headers_too_large"},
	{CHUNKED("0\r\n1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n9:\r\n10:\r\n11:\r\n"),
		"POST /m h(!headers_too_large"},
	/* versions and methods */
	{"GET / HTTP/2.0\r\n" H "\r\n", "!http_version"},
	{"GET / HTTP/1.2\r\n" H "\r\n", "!http_version"},
	{"GET / HTTP/3.0\r\n" H "\r\n", "!http_version"},
	{"GET / HTTP/0.9\r\n\r\n", "!http_version"},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!http_version"},
	{"GET / HTTP/1.1x\r\n" H "\r\n", "!bad_http"},
	{"GET / HTTP/11\r\n" H "\r\n", "!bad_http"},
	{"GET / http/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET / HTCPCP/1.0\r\n" H "\r\n", "!bad_http"},
	{"GET /\r\n\r\n", "!http_version"},
	{"FROBNICATE / HTTP/1.1\r\n" H "\r\n", "!http_not_implemented"},
	{"get / HTTP/1.1\r\n" H "\r\n", "!http_not_implemented"},
	{"CONNECT h:80 HTTP/1.1\r\n" H "\r\n", "!http_not_implemented"},
	{"G@T / HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{" GET / HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET  / HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET / x HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET /  HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET / HTTP/1.1 \r\n" H "\r\n", "!bad_http"},
	{"GET\t/\tHTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET /\x01 HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET /\xff HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET x HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET * HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET /#f HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET http:///x HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET http://u@h/ HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"GET ftp://h/ HTTP/1.1\r\n" H "\r\n", "!bad_http"},
	{"\x16\x03\x01\x02", "!bad_http"},
	{"\r\n\r\n\r\n\r\n\r\n", "!bad_http"},
	/* line ends */
	{"GET / HTTP/1.1\nHost: h\n\n", "!bad_http"},
	{"GET / HTTP/1.1\r\nHost: h\n\r\n", "!bad_http"},
	{"GET / HTTP/1.1\r\nHost: h\r\n\n", "!bad_http"},
	{"\n" GET(""), "!bad_http"},
	{"GET / HTTP/1.1\rHost: h\r\n\r\n", "!bad_http"},
	{GET("A: b\rC: d\r\n"), "!bad_http"},
	{GET("A:\rC: d\r\n"), "!bad_http"},
	{GET("A: b\r\r\n"), "!bad_http"},
	/* header lines */
	{GET("A: b\r\n c\r\n"), "!bad_http"},
	{GET("A: b\r\n\tc\r\n"), "!bad_http"},
	{"GET / HTTP/1.1\r\n A: b\r\n" H "\r\n", "!bad_http"},
	{GET("A : b\r\n"), "!bad_http"},
	{GET("A\t: b\r\n"), "!bad_http"},
	{GET(": b\r\n"), "!bad_http"},
	{GET("A\r\n"), "!bad_http"},
	{GET("A B: c\r\n"), "!bad_http"},
	{GET("A(: c\r\n"), "!bad_http"},
	{GET("\xc3\xa4: c\r\n"), "!bad_http"},
	{GET("A: b\x01\r\n"), "!bad_http"},
	{GET("A: b\x7f\r\n"), "!bad_http"},
	/* Host */
	{"GET / HTTP/1.1\r\n\r\n", "!bad_http"},
	{GET("Host: h\r\n"), "!bad_http"},
	{GET("hOST: other\r\n"), "!bad_http"},
	{"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "!bad_http"},
	{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "!bad_http"},
	{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!bad_http"},
	{"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "!bad_http"},
	{"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "!bad_http"},
	/* framing */
	{POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "!bad_http"},
	{POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), "!bad_http"},
	{POST("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: 5, 5\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: +5\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: -5\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: 0x5\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: 5 5\r\n", "hello"), "!bad_http"},
	{POST("Content-Length: \r\n", "hello"), "!bad_http"},
	{POST("Content-Length: five\r\n", "hello"), "!bad_http"},
	{POST("Content-Length : 5\r\n", "hello"), "!bad_http"},
	{POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), "!bad_http"},
	{POST("Transfer-Encoding: chunked, chunked\r\n", ""), "!bad_http"},
	{POST("Transfer-Encoding: chunked, gzip\r\n", ""), "!bad_http"},
	{POST("Transfer-Encoding: gzip, chunked\r\n", ""), "!http_not_implemented"},
	{POST("Transfer-Encoding: identity\r\n", ""), "!http_not_implemented"},
	{POST("Transfer-Encoding: xchunked\r\n", ""), "!http_not_implemented"},
	{POST("Transfer-Encoding:\x0b"
	      "chunked\r\n",
		 ""),
		"!bad_http"},
	{POST("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), "!bad_http"},
	{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "!bad_http"},
	{CHUNKED("\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("x\r\n"), "POST /m h(!bad_http"},
	{CHUNKED(" 5\r\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("5 \r\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("0x5\r\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("-5\r\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("5\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("5\rhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("5;a\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("5\r\nhello0\r\n\r\n"), "POST /m h(hello!bad_http"},
	{CHUNKED("5\r\nhello\n0\r\n\r\n"), "POST /m h(hello!bad_http"},
	{CHUNKED("5\r\nhello\r0\r\n\r\n"), "POST /m h(hello!bad_http"},
	{CHUNKED("00000000000000005\r\nhello\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("0\r\n\n"), "POST /m h(!bad_http"},
	{CHUNKED("0\r\n folded\r\n\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("0\r\nA\r\n\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("0\r\nA: \x01\r\n\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("0\r\nA: b\n\r\n"), "POST /m h(!bad_http"},
	{CHUNKED("0\r\n\rx"), "POST /m h(!bad_http"},
};

static const struct sample responses[] = {
	{OK("Content-Length: 5\r\n", "hello"), "200(hello)+"},
	{OK("Content-Length: 0\r\n", ""), "200()+"},
	{OK("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "200(hello)+"},
	{OK("Connection: close\r\nContent-Length: 1\r\n", "x"), "200(x)-"},
	{OK("", "until the end"), "200(until the end~"},
	{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "200(x)-"},
	{"HTTP/1.1 204 No Content\r\n\r\n", "204()+"},
	{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304()+"},
	{"HTTP/1.1 100 Continue\r\n\r\n" OK("Content-Length: 1\r\n", "x"), "100()+200(x)+"},
	{"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", "404()+"},
	{"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", "404()+"},
	{"HTTP/1.1 200 a b\tc\r\nContent-Length: 0\r\n\r\n", "200()+"},
	{"HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n", "!bad_http"},
	{"HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n", "!bad_http"},
	{"HTTP/1.1 20 x\r\nContent-Length: 0\r\n\r\n", "!bad_http"},
	{"HTTP/1.1 200 \x01\r\nContent-Length: 0\r\n\r\n", "!bad_http"},
	{"HTTP/2.0 200 OK\r\n\r\n", "!http_version"},
	{"ICY 200 OK\r\n\r\n", "!bad_http"},
	{"garbage\r\n\r\n", "!bad_http"},
	{OK("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", ""), "!bad_http"},
	{OK("Content-Length: 5\r\nContent-Length: 6\r\n", ""), "!bad_http"},
	{OK("Content-Length: 65\r\n", ""), "200(!too_large"},
	{OK("", X100), "200(!too_large"},
	{OK("A: b\r\n c\r\n", ""), "!bad_http"},
	{"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "!bad_http"},
};

static void tell_head(struct http1 *http, enum http1_kind kind, struct buf *out)
{
	const struct http1_head *head = http1_head(http);

	ck_assert_ptr_nonnull(head);
	if (kind == HTTP1_RESPONSE) {
		buf_printf(out, "%u(", head->status);
		return;
	}
	buf_printf(out, "%.*s %.*s", SPAN_ARG(head->method), SPAN_ARG(head->path));
	if (head->query.p)
		buf_printf(out, "?%.*s", SPAN_ARG(head->query));
	buf_printf(out, " %.*s(", SPAN_ARG(head->host));
}

/* Feeds in pieces of at most `step` bytes, each in a buffer of its own so that ASan sees a read
 * past it. */
static void read_all(
	enum http1_kind kind, struct span in, size_t step, struct buf *out, bool *ret_failed)
{
	struct http1 *http = http1_new(kind, &limits);
	struct err err = {0};
	int r = HTTP1_MORE;

	while (in.len > 0 && r >= 0) {
		size_t n = in.len < step ? in.len : step;
		char *copy = malloc(n);
		struct span piece = span_of(memcpy(copy, in.p, n), n), body;

		while ((r = http1_read(http, &piece, &body, &err)) > HTTP1_MORE) {
			if (r == HTTP1_HEAD)
				tell_head(http, kind, out);
			if (r == HTTP1_BODY)
				buf_append_span(out, body);
			if (r == HTTP1_COMPLETE) {
				buf_append_str(out, http1_head(http)->keep_alive ? ")+" : ")-");
				http1_next(http);
			}
		}
		in = span_of(in.p + n, in.len - n);
		free(copy);
	}
	*ret_failed = r < 0;
	if (r < 0) {
		struct span none = SPAN_NONE, body;

		ck_assert_int_gt(strlen(err.detail), 10);
		ck_assert_int_eq(http1_read(http, &none, &body, NULL), r);
		buf_printf(out, "!%s", err_reason(r));
	} else if (http1_started(http)) {
		buf_append_char(out, '~');
	}
	http1_free(http);
}

static void check_sample(enum http1_kind kind, const struct sample *sample)
{
	static const size_t steps[] = {1, 2, 3, 7, 16, 64, 100000};

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		struct buf out;
		bool failed;
		size_t len;

		buf_init(&out, 10000);
		read_all(kind, span_str(sample->in), steps[i], &out, &failed);
		/* a body too large for a stream is seen at another place when it comes in pieces */
		len = strlen(sample->out);
		if (kind == HTTP1_RESPONSE && strstr(sample->in, "\r\n\r\nxxx")) {
			ck_assert(failed);
			ck_assert(out.len > 10 &&
				  memcmp(out.data + out.len - 10, "!too_large", 10) == 0);
		} else {
			ck_assert_msg(out.len == len &&
					      (len == 0 || memcmp(out.data, sample->out, len) == 0),
				"step %zu of\n%s\nread as %.*s, expected %s", steps[i], sample->in,
				(int)out.len, out.data ? out.data : "", sample->out);
		}
		buf_free(&out);
	}
}

START_TEST(test_requests)
{
	check_sample(HTTP1_REQUEST, &requests[_i]);
}
END_TEST

START_TEST(test_responses)
{
	check_sample(HTTP1_RESPONSE, &responses[_i]);
}
END_TEST

/* A NUL is no character of a C string, so it needs a place of its own: in each position of a good
 * head. */
START_TEST(test_nul_everywhere)
{
	static const char good[] = "GET /path HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";

	for (size_t at = 0; at < sizeof(good) - 1; at++) {
		char in[sizeof(good)];
		struct buf out;
		bool failed;

		memcpy(in, good, sizeof(good));
		in[at] = 0;
		buf_init(&out, 10000);
		read_all(HTTP1_REQUEST, span_of(in, sizeof(good) - 1), 1000, &out, &failed);
		ck_assert_msg(failed || at == sizeof(good) - 2, "NUL at %zu: %.*s", at,
			(int)out.len, out.data ? out.data : "");
		buf_free(&out);
	}
}
END_TEST

static int read_head_of(struct http1 *http, const char *text)
{
	struct span in = span_str(text), body;

	return http1_read(http, &in, &body, NULL);
}

START_TEST(test_headers)
{
	struct http1 *http = http1_new(HTTP1_REQUEST, &limits);
	const struct http1_head *head;

	ck_assert_int_eq(read_head_of(http,
				 POST("Accept: a\r\naccept: b , c\r\nX-Empty:\r\nExpect: "
				      "100-Continue\r\nContent-Length: 3\r\nUpgrade: websocket\r\n"
				      "Connection: x,Upgrade\r\n",
					 "")),
		HTTP1_HEAD);
	head = http1_head(http);
	ck_assert_uint_eq(head->nheaders, 8);
	ck_assert_uint_eq(http1_header_count(head, "ACCEPT"), 2);
	ck_assert(span_is(http1_header_get(head, "accept"), "a"));
	ck_assert(http1_header_has_token(head, "Accept", "C"));
	ck_assert(!http1_header_has_token(head, "Accept", "d"));
	ck_assert_ptr_nonnull(http1_header_get(head, "x-empty").p);
	ck_assert_ptr_null(http1_header_get(head, "missing").p);
	ck_assert(head->expect_continue);
	ck_assert(head->upgrade);
	ck_assert_uint_eq(head->content_length, 3);
	http1_release(http);
	ck_assert_ptr_null(http1_head(http));
	http1_free(http);
}
END_TEST

START_TEST(test_body_limit_moves)
{
	struct http1 *http = http1_new(HTTP1_REQUEST, &limits);
	struct span none = SPAN_NONE, body;

	ck_assert_int_eq(read_head_of(http, POST("Content-Length: 1000\r\n", "")), HTTP1_HEAD);
	http1_set_body_limit(http, 1000);
	ck_assert_int_eq(http1_read(http, &none, &body, NULL), HTTP1_MORE);
	http1_set_body_limit(http, 999);
	ck_assert_int_eq(http1_read(http, &none, &body, NULL), -ERR_TOO_LARGE);
	http1_free(http);
}
END_TEST

START_TEST(test_finish)
{
	static const struct {
		enum http1_kind kind;
		const char *in;
		int expect;
	} cases[] = {
		{HTTP1_REQUEST, "", HTTP1_MORE},
		{HTTP1_REQUEST, "\r\n", HTTP1_MORE},
		{HTTP1_REQUEST, "G", -ERR_BAD_HTTP},
		{HTTP1_REQUEST, POST("Content-Length: 3\r\n", "ab"), -ERR_BAD_HTTP},
		{HTTP1_REQUEST, CHUNKED("0\r\n"), -ERR_BAD_HTTP},
		{HTTP1_RESPONSE, OK("", ""), HTTP1_COMPLETE},
		{HTTP1_RESPONSE, OK("", "x"), HTTP1_COMPLETE},
		{HTTP1_RESPONSE, OK("Content-Length: 2\r\n", "x"), -ERR_BAD_HTTP},
		{HTTP1_RESPONSE, OK("Content-Length: 1\r\n", "x"), HTTP1_COMPLETE},
		{HTTP1_RESPONSE, "", HTTP1_MORE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http1 *http = http1_new(cases[i].kind, &limits);
		struct span in = span_str(cases[i].in), body;
		int r;

		do
			r = http1_read(http, &in, &body, NULL);
		while (r > HTTP1_MORE && r < HTTP1_COMPLETE);
		ck_assert_int_eq(http1_finish(http, NULL), cases[i].expect);
		http1_free(http);
	}
}
END_TEST

START_TEST(test_head_response)
{
	struct http1 *http = http1_new(HTTP1_RESPONSE, &limits);
	struct span in = span_str(
			    "HTTP/1.1 100 Continue\r\n\r\n" OK("Content-Length: 500\r\n", "")),
		    body;

	http1_set_head_response(http);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(http1_read(http, &in, &body, NULL), HTTP1_HEAD);
		ck_assert_int_eq(http1_read(http, &in, &body, NULL), HTTP1_COMPLETE);
		http1_next(http);
	}
	in = span_str(OK("Content-Length: 5\r\n", "hello"));
	ck_assert_int_eq(http1_read(http, &in, &body, NULL), HTTP1_HEAD);
	ck_assert_int_eq(http1_read(http, &in, &body, NULL), HTTP1_BODY);
	http1_free(http);
}
END_TEST

START_TEST(test_writers)
{
	struct buf out;

	buf_init(&out, 1000);
	ck_assert_int_eq(http1_write_status_line(&out, 404), 0);
	ck_assert_int_eq(http1_write_header(&out, SPAN_LIT("A"), SPAN_LIT("b c")), 0);
	ck_assert_int_eq(http1_write_header_uint(&out, SPAN_LIT("N"), UINT64_MAX), 0);
	ck_assert_int_eq(http1_write_head_end(&out), 0);
	ck_assert_int_eq(http1_write_chunk(&out, SPAN_LIT("0123456789abcdefg")), 0);
	ck_assert_int_eq(http1_write_chunk(&out, SPAN_NONE), 0);
	ck_assert_int_eq(http1_write_last_chunk(&out), 0);
	ck_assert(span_is(buf_span(&out),
		"HTTP/1.1 404 Not Found\r\nA: b c\r\nN: 18446744073709551615\r\n\r\n"
		"11\r\n0123456789abcdefg\r\n0\r\n\r\n"));
	buf_clear(&out);
	ck_assert_int_eq(http1_write_request_line(&out, SPAN_LIT("POST"), SPAN_LIT("/a?b")), 0);
	ck_assert(span_is(buf_span(&out), "POST /a?b HTTP/1.1\r\n"));
	buf_free(&out);
}
END_TEST

START_TEST(test_writers_refuse)
{
	static const struct {
		struct span name, value;
	} bad[] = {
		{{"A\r\nB", 4}, {"x", 1}},
		{{"", 0}, {"x", 1}},
		{{"A:", 2}, {"x", 1}},
		{{"A", 1}, {"x\r\nSet-Cookie: y", 16}},
		{{"A", 1}, {"x\0y", 3}},
		{{"A", 1}, {"\x7f", 1}},
	};
	struct buf out;

	buf_init(&out, 1000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_int_eq(
			http1_write_header(&out, bad[i].name, bad[i].value), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http1_write_request_line(&out, SPAN_LIT("GET"), SPAN_LIT("/a b")),
		-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http1_write_request_line(&out, SPAN_LIT("GET"), SPAN_LIT("/\r\nX: y")),
		-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http1_write_status_line(&out, 99), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http1_write_status_line(&out, 600), -ERR_INVALID_ARGUMENT);
	ck_assert_uint_eq(out.len, 0);
	buf_free(&out);
}
END_TEST

/* Chunk lines for sizes around each power of 16 are read back as the same size. */
START_TEST(test_chunk_line)
{
	for (unsigned shift = 0; shift < 64; shift += 4) {
		size_t len = (size_t)1 << shift;

		for (size_t n = len - (shift > 0); n <= len + 1; n++) {
			char line[HTTP1_CHUNK_LINE_MAX], expect[32];
			size_t got = http1_chunk_line(line, n);

			snprintf(expect, sizeof(expect), "%zx\r\n", n);
			ck_assert(span_is(span_of(line, got), expect));
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http1");
	TCase *tc = tcase_create("http1");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, test_requests, 0, sizeof(requests) / sizeof(*requests));
	tcase_add_loop_test(tc, test_responses, 0, sizeof(responses) / sizeof(*responses));
	tcase_add_test(tc, test_nul_everywhere);
	tcase_add_test(tc, test_headers);
	tcase_add_test(tc, test_body_limit_moves);
	tcase_add_test(tc, test_finish);
	tcase_add_test(tc, test_head_response);
	tcase_add_test(tc, test_writers);
	tcase_add_test(tc, test_writers_refuse);
	tcase_add_test(tc, test_chunk_line);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
