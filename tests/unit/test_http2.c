/* gateway/http2_*: a real client (libnghttp2), frames by hand where it would not send such. */
#include "clock.h"
#include "http2_peer.h"

#include <check.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELD_MAX 256u
#define BLOCK 8192u
/* GET, http, the path, authority h; in HPACK without its table (RFC 7541 appendix A). */
#define HOLD "\x82\x86\x04\x05/hold\x01\x01h"

/* What the owner of the streams in these tests saw and still has to do. */
struct owner {
	struct peer peer;
	struct http_conn *held[HELD_MAX]; /* of /hold and /stream, in order */
	unsigned nheld;
	unsigned requests, heads, opened, closed, half, reset, refused;
	int last_refused;
	size_t last_body;
	size_t to_stream; /* bytes still to write, of /stream */
	size_t max_unsent;
	char version[8];
	char host[40];
	bool deny; /* the head hook answers 403 */
};

static struct owner owner;
static struct http_limits limits;
static struct h2_client h2, other;

static void stream_on(struct http_conn *conn)
{
	static char block[BLOCK];

	memset(block, 's', sizeof(block));
	while (owner.to_stream > 0) {
		size_t n = owner.to_stream < BLOCK ? owner.to_stream : BLOCK;
		int r = http_conn_write(conn, span_of(block, n));

		if (http_conn_unsent(conn) > owner.max_unsent)
			owner.max_unsent = http_conn_unsent(conn);
		if (r == -ERR_AGAIN)
			return;
		ck_assert_int_eq(r, 0);
		owner.to_stream -= n;
	}
	http_conn_end(conn);
}

static void begin_stream(struct http_conn *conn, const struct http_request *request)
{
	enum http_stream kind = span_is(request->head->path, "/length") ? HTTP_STREAM_LENGTH
				: span_is(request->head->path, "/sse")	? HTTP_STREAM_SSE
									: HTTP_STREAM_CHUNKED;

	owner.to_stream = (size_t)atol(request->head->query.p);
	ck_assert_int_eq(http_conn_begin(conn, 200, NULL, 0, kind, owner.to_stream), 0);
	http_conn_release_request(conn);
	stream_on(conn);
}

static void answer_path(struct http_conn *conn, const struct http_request *request)
{
	const struct http1_header type = {SPAN_LIT("Content-Type"), SPAN_LIT("text/plain")};
	struct buf text;

	buf_init(&text, 20000);
	buf_printf(&text, "%.*s %.*s?%.*s;", SPAN_ARG(request->head->method),
		SPAN_ARG(request->head->path), SPAN_ARG(request->head->query));
	ck_assert_int_eq(http_conn_respond(conn, 200, &type, 1, buf_span(&text)), 0);
	ck_assert_int_eq(http_conn_respond(conn, 200, &type, 1, buf_span(&text)), -ERR_CLOSED);
	buf_free(&text);
}

/* A given length that is not reached. */
static void cut_short(struct http_conn *conn)
{
	ck_assert_int_eq(http_conn_begin(conn, 200, NULL, 0, HTTP_STREAM_LENGTH, 100), 0);
	ck_assert_int_eq(http_conn_write(conn, SPAN_LIT("half")), 0);
	ck_assert_int_eq(http_conn_end(conn), -ERR_CLOSED);
}

static void try_bad_headers(struct http_conn *conn)
{
	static const struct http1_header bad[] = {
		{SPAN_LIT("Connection"), SPAN_LIT("close")},
		{SPAN_LIT("X"), SPAN_LIT("a\r\nb")},
		{SPAN_LIT("a b"), SPAN_LIT("x")},
		{SPAN_LIT(""), SPAN_LIT("x")},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_int_eq(http_conn_respond(conn, 200, &bad[i], 1, SPAN_NONE),
			-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http_conn_switch(conn, NULL, 0), -ERR_INVALID_ARGUMENT);
	http_conn_respond(conn, 204, NULL, 0, SPAN_LIT("dropped"));
}

static void respond_large(struct http_conn *conn, size_t len)
{
	char *body = calloc(1, len);
	int r = http_conn_respond(conn, 200, NULL, 0, span_of(body, len));

	if (r < 0)
		ck_assert_int_eq(http_conn_respond_error(conn, r, "too large"), 0);
	free(body);
}

static void on_request(struct http_conn *conn, const struct http_request *request, void *arg)
{
	struct span path = request->head->path;

	(void)arg;
	owner.requests++;
	owner.last_body = request->body.len;
	snprintf(owner.version, sizeof(owner.version), "%s", http_conn_version(conn));
	snprintf(owner.host, sizeof(owner.host), "%.*s", SPAN_ARG(request->head->host));
	if (span_is(path, "/echo"))
		ck_assert_int_eq(http_conn_respond(conn, 200, NULL, 0, request->body), 0);
	else if (span_is(path, "/hold") && owner.nheld < HELD_MAX)
		owner.held[owner.nheld++] = conn;
	else if (span_is(path, "/stream") || span_is(path, "/sse") || span_is(path, "/length"))
		begin_stream(conn, request);
	else if (span_is(path, "/close"))
		http_conn_close(conn);
	else if (span_is(path, "/abort"))
		http_conn_abort(conn);
	else if (span_is(path, "/short"))
		cut_short(conn);
	else if (span_is(path, "/large"))
		respond_large(conn, (size_t)atol(request->head->query.p));
	else if (span_is(path, "/bad"))
		try_bad_headers(conn);
	else
		answer_path(conn, request);
}

static void on_head(struct http_conn *conn, const struct http1_head *head, void *arg)
{
	(void)head;
	(void)arg;
	owner.heads++;
	if (owner.deny)
		ck_assert_int_eq(http_conn_respond_error(conn, -ERR_FORBIDDEN, "not you"), 0);
}

static void on_writable(struct http_conn *conn, void *arg)
{
	(void)arg;
	stream_on(conn);
}

static void on_gone(struct http_conn *conn, enum http_gone gone, void *arg)
{
	(void)conn;
	(void)arg;
	if (gone == HTTP_GONE_HALF)
		owner.half++;
	else
		owner.reset++;
}

static void on_refused(struct http_conn *conn, int code, const char *detail, void *arg)
{
	(void)conn;
	(void)arg;
	ck_assert_uint_gt(strlen(detail), 5);
	owner.refused++;
	owner.last_refused = code;
}

static bool trusts(const struct net_address *peer, void *arg)
{
	(void)peer;
	(void)arg;
	return owner.deny;
}

static void on_opened(struct http_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
	owner.opened++;
}

static void on_closed(struct http_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
	owner.closed++;
}

static const struct http_server_ops ops = {
	.request = on_request,
	.head = on_head,
	.writable = on_writable,
	.client_gone = on_gone,
	.refused = on_refused,
	.trusts = trusts,
	.opened = on_opened,
	.closed = on_closed,
};

static void setup(void)
{
	memset(&owner, 0, sizeof(owner));
	limits = http_limits_default;
	limits.body = 100000;
	limits.output = 65536;
	limits.header_ms = limits.body_ms = limits.idle_ms = limits.write_ms = 60000;
	peer_start(&owner.peer, &limits, &ops, NULL);
	h2_open(&h2, &owner.peer, false);
}

/* For the connection that is opened anew. */
static void apply_limits(bool manual)
{
	ck_assert_int_eq(http_server_set_limits(owner.peer.server, &limits, NULL), 0);
	h2_close(&h2);
	h2_open(&h2, &owner.peer, manual);
}

static void teardown(void)
{
	h2_close(&h2);
	peer_stop(&owner.peer);
	ck_assert_uint_eq(owner.opened, owner.closed);
}

static bool body_is(unsigned i, const char *text)
{
	return span_is(buf_span(&h2.streams[i].body), text);
}

static void expect_status(unsigned i, unsigned status)
{
	ck_assert(h2_wait(&h2, i));
	ck_assert_uint_eq(h2.streams[i].status, status);
}

/* --- requests and answers ------------------------------------------------------------------- */

START_TEST(test_get)
{
	unsigned a = h2_get(&h2, "/x/y?q=1"), b = h2_get(&h2, "/z");

	expect_status(a, 200);
	expect_status(b, 200);
	ck_assert(body_is(a, "GET /x/y?q=1;"));
	ck_assert(body_is(b, "GET /z?;"));
	ck_assert_str_eq(h2.streams[a].type, "text/plain");
	ck_assert_uint_eq(h2.streams[a].length, 13);
	ck_assert_str_eq(owner.version, "2");
	ck_assert_str_eq(owner.host, "h");
	ck_assert_uint_eq(h2.max_streams, 100);
	ck_assert_uint_eq(http_server_http2(owner.peer.server).connections, 1);
	ck_assert_uint_eq(http_server_http2(owner.peer.server).streams, 0);
	ck_assert_uint_eq(owner.requests, 2);
}
END_TEST

START_TEST(test_post)
{
	unsigned a = h2_post(&h2, "/echo", 90000, true, NULL);
	unsigned b = h2_post(&h2, "/echo", 90000, false, NULL);
	unsigned c = h2_post(&h2, "/echo", 1, false, NULL);

	expect_status(a, 200);
	expect_status(b, 200);
	expect_status(c, 200);
	ck_assert_uint_eq(h2.streams[a].body.len, 90000);
	ck_assert_uint_eq(h2.streams[b].body.len, 90000);
	ck_assert_uint_eq(h2.streams[c].body.len, 1);
}
END_TEST

START_TEST(test_many_at_once)
{
	for (int i = 0; i < 100; i++)
		h2_get(&h2, "/hold");
	h2_run(&h2, 50);
	for (int i = 0; owner.nheld < 100 && i < 100; i++)
		h2_run(&h2, 20);
	ck_assert_uint_eq(owner.nheld, 100);
	ck_assert_uint_eq(http_server_http2(owner.peer.server).streams, 100);
	ck_assert_uint_eq(http_server_http2(owner.peer.server).busy, 1);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 1);
	for (unsigned i = 100; i-- > 0;)
		http_conn_respond(owner.held[i], 200, NULL, 0, SPAN_LIT("now"));
	for (unsigned i = 0; i < 100; i++) {
		expect_status(i, 200);
		ck_assert(body_is(i, "now"));
	}
	ck_assert_uint_eq(owner.requests, 100);
}
END_TEST

/* libnghttp2 keeps the 101st back until there is room. */
START_TEST(test_stream_limit)
{
	unsigned late;

	limits.streams = 3;
	apply_limits(false);
	h2_run(&h2, 20);
	for (int i = 0; i < 3; i++)
		h2_get(&h2, "/hold");
	late = h2_get(&h2, "/late");
	for (int i = 0; owner.nheld < 3 && i < 100; i++)
		h2_run(&h2, 20);
	ck_assert_uint_eq(h2.max_streams, 3);
	ck_assert_uint_eq(owner.requests, 3);
	http_conn_respond(owner.held[1], 200, NULL, 0, SPAN_NONE);
	expect_status(late, 200);
}
END_TEST

START_TEST(test_head_and_bodyless)
{
	unsigned a = h2_ask(&h2, "HEAD", "/h", NULL), b = h2_get(&h2, "/bad");
	unsigned c = h2_ask(&h2, "HEAD", "/stream?100", NULL);

	expect_status(a, 200);
	ck_assert_uint_eq(h2.streams[a].body.len, 0);
	ck_assert_uint_eq(h2.streams[a].length, 9);
	expect_status(b, 204);
	ck_assert_uint_eq(h2.streams[b].body.len, 0);
	expect_status(c, 200);
	ck_assert_uint_eq(h2.streams[c].body.len, 0);
	ck_assert_uint_eq(owner.reset, 0);
}
END_TEST

START_TEST(test_continue)
{
	static const char *const expect[] = {"expect", "100-continue", NULL};
	unsigned a = h2_post(&h2, "/echo", 10, true, expect);

	expect_status(a, 200);
	ck_assert_uint_eq(h2.streams[a].informed, 1);
	ck_assert_uint_eq(h2.streams[a].body.len, 10);
}
END_TEST

START_TEST(test_trailers_are_dropped)
{
	static const nghttp2_nv trailer = {(uint8_t *)"x-end", (uint8_t *)"1", 5, 1, 0};
	unsigned a = h2_post(&h2, "/echo", 10, false, NULL);

	h2.streams[a].open_ended = true;
	h2_run(&h2, 20);
	ck_assert_uint_eq(owner.requests, 0);
	nghttp2_submit_headers(h2.session, NGHTTP2_FLAG_END_STREAM, h2.streams[a].id, NULL, &trailer,
		1, NULL);
	expect_status(a, 200);
	ck_assert_uint_eq(owner.last_body, 10);
}
END_TEST

/* --- how the protocol is chosen ------------------------------------------------------------- */

START_TEST(test_preface_in_pieces)
{
	struct client c;

	client_open(&c, &owner.peer, false);
	for (const char *p = H2_PREFACE; *p; p++) {
		client_send(&c, p, 1);
		peer_run(&owner.peer, 1);
	}
	h2_frame(&c, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
	ck_assert(client_wait(&c, "\x04"));
	ck_assert_uint_eq(http_server_http2(owner.peer.server).connections, 1);
	client_close(&c);
}
END_TEST

/* Requests of HTTP/1 that begin as the preface does. */
START_TEST(test_http1_beside)
{
	static const char *const texts[] = {"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
		"PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "GET /p HTTP/1.1\r\nHost: h\r\n\r\n"};
	struct client c;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		client_open(&c, &owner.peer, false);
		for (const char *p = texts[i]; *p; p++) {
			client_send(&c, p, 1);
			peer_run(&owner.peer, 0);
		}
		ck_assert(client_wait(&c, " /p?;"));
		ck_assert_str_eq(owner.version, "1.1");
		client_close(&c);
	}
	client_open(&c, &owner.peer, false);
	client_say(&c, "PRI * HTTP/2.1\r\nHost: h\r\n\r\n");
	ck_assert(client_wait(&c, "HTTP/1.1 "));
	ck_assert_uint_eq(owner.requests, 3);
	client_close(&c);
}
END_TEST

START_TEST(test_half_a_preface)
{
	struct client c;

	limits.header_ms = 50;
	apply_limits(false);
	client_open(&c, &owner.peer, false);
	client_say(&c, "PRI * HTTP/2");
	ck_assert(client_wait(&c, "HTTP/1.1 408 "));
	client_close(&c);
}
END_TEST

START_TEST(test_after_proxy_preamble)
{
	static const char text[] = "PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n" H2_PREFACE;
	struct client c;

	owner.deny = true;
	client_open(&c, &owner.peer, false);
	for (const char *p = text; *p; p++) {
		client_send(&c, p, 1);
		peer_run(&owner.peer, 0);
	}
	h2_frame(&c, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
	h2_frame(&c, NGHTTP2_HEADERS, 5, 1, HOLD, sizeof(HOLD) - 1);
	for (int i = 0; owner.heads == 0 && i < 500; i++)
		peer_run(&owner.peer, 1);
	ck_assert_uint_eq(owner.heads, 1);
	ck_assert_uint_eq(http_server_http2(owner.peer.server).connections, 1);
	client_close(&c);
}
END_TEST

/* --- refusals ------------------------------------------------------------------------------- */

START_TEST(test_denied_at_the_head)
{
	unsigned a, b;

	owner.deny = true;
	a = h2_post(&h2, "/echo", 80000, true, NULL);
	b = h2_post(&h2, "/echo", 80000, false, NULL);
	expect_status(a, 403);
	expect_status(b, 403);
	ck_assert_uint_eq(owner.requests, 0);
	ck_assert_uint_eq(h2.streams[a].error, NGHTTP2_NO_ERROR);
	ck_assert_ptr_nonnull(strstr(h2.streams[a].body.data, "not you"));
}
END_TEST

/* A short body is not cut off by its refusal. */
START_TEST(test_short_body_is_taken)
{
	unsigned a = h2_post(&h2, "/echo", 20000, false, NULL);

	expect_status(a, 200);
	ck_assert_uint_eq(owner.heads, 0);
	h2_post(&h2, "/echo", 40000, false, NULL);
	expect_status(1, 200);
	ck_assert_uint_eq(owner.heads, 1);
}
END_TEST

START_TEST(test_body_too_large)
{
	unsigned a = h2_post(&h2, "/echo", 100001, true, NULL);
	unsigned b = h2_post(&h2, "/echo", 100001, false, NULL);

	expect_status(a, 413);
	expect_status(b, 413);
	ck_assert_int_eq(owner.last_refused, -ERR_TOO_LARGE);
	ck_assert_uint_eq(owner.requests, 0);
	expect_status(h2_get(&h2, "/after"), 200);
}
END_TEST

/* Nobody sends so much and reads no answer: the stream is reset, without an error. */
START_TEST(test_rest_of_a_body)
{
	unsigned a = h2_post(&h2, "/echo", 10000000, true, NULL);

	expect_status(a, 413);
	ck_assert(h2.streams[a].ended);
	ck_assert_uint_eq(h2.streams[a].error, NGHTTP2_NO_ERROR);
	ck_assert_uint_gt(h2.streams[a].to_send, 8000000);
}
END_TEST

/* One whose body stops coming after the answer is not waited for. */
START_TEST(test_rest_never_comes)
{
	unsigned a;

	limits.linger_ms = 50;
	apply_limits(false);
	a = h2_post(&h2, "/echo", 50, true, NULL);
	h2.streams[a].to_send = 0;
	h2.streams[a].open_ended = true;
	owner.deny = true;
	expect_status(a, 403);
	ck_assert_uint_eq(h2.streams[a].error, NGHTTP2_NO_ERROR);
}
END_TEST

START_TEST(test_bodies_together)
{
	unsigned last = 0, refused = 0;

	for (int i = 0; i < 6; i++) {
		last = h2_post(&h2, "/echo", 90000, false, NULL);
		h2.streams[last].open_ended = true;
	}
	h2_run(&h2, 100);
	for (int i = 0; owner.refused < 2 && i < 100; i++)
		h2_run(&h2, 20);
	for (unsigned i = 0; i <= last; i++)
		refused += h2.streams[i].status == 429;
	ck_assert_uint_ge(refused, 2);
	ck_assert_uint_lt(refused, 6);
	ck_assert_int_eq(owner.last_refused, -ERR_TOO_MANY);
}
END_TEST

START_TEST(test_bad_heads)
{
	static char large[17000], many[120][8];
	const char *more[300] = {"x-large", large, NULL};
	const char *const hosts[] = {"host", "elsewhere", NULL};
	unsigned n = 0;

	memset(large, 'l', sizeof(large) - 1);
	expect_status(h2_ask(&h2, "GET", "/x", more), 431);
	ck_assert_int_eq(owner.last_refused, -ERR_HEADERS_TOO_LARGE);
	for (unsigned i = 0; i < 120; i++, n += 2) {
		snprintf(many[i], sizeof(many[i]), "x%u", i);
		more[n] = many[i];
		more[n + 1] = "1";
	}
	more[n] = NULL;
	expect_status(h2_ask(&h2, "GET", "/x", more), 431);
	large[0] = '/';
	large[9000] = '\0';
	expect_status(h2_get(&h2, large), 414);
	expect_status(h2_ask(&h2, "GET", "/x", hosts), 400);
	ck_assert_int_eq(owner.last_refused, -ERR_BAD_HTTP);
	ck_assert_uint_eq(owner.requests, 0);
	expect_status(h2_get(&h2, "/after"), 200);
}
END_TEST

static void greet(struct client *c)
{
	client_open(c, &owner.peer, false);
	client_say(c, H2_PREFACE);
	h2_frame(c, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

/* Literal headers without indexing: a line end in a value, and one in a name. */
START_TEST(test_bad_characters)
{
	struct client c;

	greet(&c);
	h2_frame(&c, NGHTTP2_HEADERS, 5, 1, "\x82\x86\x84\x01\x01h\x00\x01x\x03" "a\nb", 13);
	ck_assert(client_wait(&c, "bad_http"));
	ck_assert_int_eq(owner.last_refused, -ERR_BAD_HTTP);
	h2_frame(&c, NGHTTP2_HEADERS, 5, 3, "\x82\x86\x84\x01\x01h\x00\x01X\x01" "a", 11);
	for (int i = 0; owner.refused < 2 && i < 500; i++)
		peer_run(&owner.peer, 1);
	ck_assert_uint_eq(owner.refused, 2);
	ck_assert_uint_eq(owner.requests, 0);
	client_close(&c);
}
END_TEST

/* --- streams that end ----------------------------------------------------------------------- */

START_TEST(test_reset_by_client)
{
	unsigned a = h2_get(&h2, "/hold"), b = h2_get(&h2, "/hold");

	h2_run(&h2, 20);
	h2_reset(&h2, a);
	for (int i = 0; owner.closed == 0 && i < 100; i++)
		h2_run(&h2, 10);
	ck_assert_uint_eq(owner.reset, 1);
	ck_assert_uint_eq(owner.closed, 1);
	http_conn_respond(owner.held[1], 200, NULL, 0, SPAN_LIT("b"));
	expect_status(b, 200);
	ck_assert_uint_eq(owner.reset, 1);
}
END_TEST

START_TEST(test_ended_by_owner)
{
	unsigned a = h2_get(&h2, "/close"), b = h2_get(&h2, "/abort"), c = h2_get(&h2, "/short");
	unsigned d = h2_get(&h2, "/after");

	expect_status(d, 200);
	ck_assert(h2_wait(&h2, a));
	ck_assert(h2_wait(&h2, b));
	ck_assert(h2_wait(&h2, c));
	ck_assert_uint_eq(h2.streams[a].error, NGHTTP2_CANCEL);
	ck_assert_uint_eq(h2.streams[b].error, NGHTTP2_INTERNAL_ERROR);
	ck_assert_uint_eq(h2.streams[c].error, NGHTTP2_INTERNAL_ERROR);
	ck_assert(!h2.streams[c].ended);
	ck_assert_uint_eq(owner.reset, 0);
}
END_TEST

START_TEST(test_connection_lost)
{
	for (int i = 0; i < 10; i++)
		h2_get(&h2, "/hold");
	h2_run(&h2, 20);
	for (int i = 0; owner.nheld < 10 && i < 100; i++)
		h2_run(&h2, 10);
	client_reset(&h2.client);
	for (int i = 0; owner.closed < owner.opened && i < 500; i++)
		peer_run(&owner.peer, 1);
	ck_assert_uint_eq(owner.reset, 10);
	ck_assert_uint_eq(http_server_http2(owner.peer.server).streams, 0);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 0);
}
END_TEST

START_TEST(test_half_closed)
{
	unsigned a = h2_get(&h2, "/hold");

	h2_run(&h2, 20);
	shutdown(h2.client.fd, SHUT_WR);
	for (int i = 0; owner.half == 0 && i < 500; i++)
		peer_run(&owner.peer, 1);
	ck_assert_uint_eq(owner.half, 1);
	http_conn_respond(owner.held[0], 200, NULL, 0, SPAN_LIT("yet"));
	ck_assert(h2_wait_closed(&h2));
	ck_assert_uint_eq(h2.streams[a].status, 200);
	ck_assert(body_is(a, "yet"));
}
END_TEST

/* --- flow control --------------------------------------------------------------------------- */

START_TEST(test_streaming)
{
	unsigned a = h2_get(&h2, "/sse?3000000");

	expect_status(a, 200);
	ck_assert_uint_eq(h2.streams[a].body.len, 3000000);
	ck_assert_str_eq(h2.streams[a].type, "text/event-stream");
	ck_assert_uint_le(owner.max_unsent, limits.output);
	a = h2_get(&h2, "/length?1000000");
	expect_status(a, 200);
	ck_assert_uint_eq(h2.streams[a].length, 1000000);
	ck_assert_uint_eq(h2.streams[a].body.len, 1000000);
}
END_TEST

START_TEST(test_slow_stream_stalls_itself)
{
	unsigned slow, quick;

	apply_limits(true);
	slow = h2_get(&h2, "/stream?1000000");
	ck_assert(h2_wait_body(&h2, slow, 65535));
	/* the connection's window is open again, the stream's is not */
	nghttp2_session_consume_connection(h2.session, 65535);
	h2_run(&h2, 50);
	ck_assert_uint_eq(h2.streams[slow].body.len, 65535);
	ck_assert_uint_le(owner.max_unsent, limits.output);
	for (int i = 0; i < 20; i++) {
		quick = h2_get(&h2, "/quick");
		expect_status(quick, 200);
	}
	while (h2.streams[slow].body.len < 1000000) {
		size_t before = h2.streams[slow].body.len;

		nghttp2_session_consume_stream(h2.session, h2.streams[slow].id, 60000);
		nghttp2_session_consume_connection(h2.session, 60000);
		ck_assert(h2_wait_body(&h2, slow,
			before + 60000 < 1000000 ? before + 60000 : 1000000));
	}
	expect_status(slow, 200);
}
END_TEST

START_TEST(test_window_stays_shut)
{
	unsigned a, b;

	limits.write_ms = 60;
	apply_limits(true);
	a = h2_get(&h2, "/stream?1000000");
	ck_assert(h2_wait(&h2, a));
	ck_assert_uint_eq(h2.streams[a].error, NGHTTP2_ENHANCE_YOUR_CALM);
	ck_assert_uint_eq(owner.reset, 1);
	ck_assert_uint_eq(http_server_stats(owner.peer.server)->timeouts, 1);
	nghttp2_session_consume_connection(h2.session, 65535);
	b = h2_get(&h2, "/after");
	expect_status(b, 200);
}
END_TEST

/* Answers that are not read are bounded together. */
START_TEST(test_answers_together)
{
	limits.response = 1000000;
	apply_limits(true);
	h2_get(&h2, "/large?900000");
	h2_get(&h2, "/large?900000");
	h2_run(&h2, 50);
	nghttp2_session_consume_connection(h2.session, 65535);
	ck_assert(h2_wait(&h2, 1));
	ck_assert_uint_eq(h2.streams[0].status, 200);
	ck_assert_uint_eq(h2.streams[1].status, 413);
}
END_TEST

/* --- time ----------------------------------------------------------------------------------- */

START_TEST(test_slow_body)
{
	unsigned a;

	limits.body_ms = 60;
	apply_limits(false);
	a = h2_post(&h2, "/echo", 100, true, NULL);
	h2.streams[a].to_send = 10;
	h2.streams[a].open_ended = true;
	h2_run(&h2, 20);
	for (int i = 0; owner.refused == 0 && i < 100; i++)
		h2_run(&h2, 10);
	ck_assert_int_eq(owner.last_refused, -ERR_REQUEST_TIMEOUT);
	h2_run(&h2, 20);
	ck_assert_uint_eq(h2.streams[a].status, 408);
}
END_TEST

START_TEST(test_slow_head)
{
	struct client c;

	limits.header_ms = 60;
	apply_limits(false);
	greet(&c);
	/* without END_HEADERS */
	h2_frame(&c, NGHTTP2_HEADERS, 0, 1, "\x82\x86\x84", 3);
	ck_assert(client_wait_closed(&c, 5000));
	ck_assert_ptr_nonnull(memmem(c.in.data, c.in.len, "\0\0\0\x0b", 4));
	client_close(&c);
}
END_TEST

START_TEST(test_no_settings)
{
	struct client c;

	limits.header_ms = 60;
	apply_limits(false);
	client_open(&c, &owner.peer, false);
	client_say(&c, H2_PREFACE);
	ck_assert(client_wait_closed(&c, 5000));
	client_close(&c);
}
END_TEST

START_TEST(test_idle)
{
	limits.idle_ms = 80;
	apply_limits(false);
	expect_status(h2_get(&h2, "/x"), 200);
	ck_assert(h2_wait_goaway(&h2, 1));
	ck_assert_uint_eq(h2.goaway_code, NGHTTP2_NO_ERROR);
	ck_assert(h2_wait_closed(&h2));
}
END_TEST

/* --- drain ---------------------------------------------------------------------------------- */

START_TEST(test_drain)
{
	unsigned a = h2_get(&h2, "/hold"), b;

	h2_run(&h2, 20);
	http_server_drain(owner.peer.server, HTTP_DRAIN_CLOSE);
	/* that it will end; then, after the ping, with which stream */
	ck_assert(h2_wait_goaway(&h2, 2));
	ck_assert_uint_eq(h2.goaway_code, NGHTTP2_NO_ERROR);
	ck_assert_int_eq(h2.goaway_last, h2.streams[a].id);
	ck_assert(!h2.client.closed);
	http_conn_respond(owner.held[0], 200, NULL, 0, SPAN_LIT("whole"));
	expect_status(a, 200);
	ck_assert(body_is(a, "whole"));
	ck_assert(h2_wait_closed(&h2));
	/* one that comes to a listener which drains is told at once, and served */
	h2_close(&h2);
	h2_open(&h2, &owner.peer, false);
	b = h2_get(&h2, "/b");
	expect_status(b, 200);
	ck_assert(h2_wait_closed(&h2));
}
END_TEST

/* A client that does not answer the ping. */
START_TEST(test_drain_without_pong)
{
	struct client c;

	limits.linger_ms = 60;
	apply_limits(false);
	greet(&c);
	peer_run(&owner.peer, 20);
	http_server_drain(owner.peer.server, HTTP_DRAIN_CLOSE);
	ck_assert(client_wait_closed(&c, 5000));
	client_close(&c);
}
END_TEST

/* --- abuse ---------------------------------------------------------------------------------- */

static bool told_to_calm_down(struct client *c)
{
	return client_wait_closed(c, 5000) && c->in.len > 8 &&
	       memmem(c->in.data, c->in.len, "\0\0\0\x0b", 4);
}

/* CVE-2023-44487. */
START_TEST(test_rapid_reset)
{
	struct client c;

	greet(&c);
	for (int32_t id = 1; id < 4001; id += 2) {
		h2_frame(&c, NGHTTP2_HEADERS, 5, id, HOLD, sizeof(HOLD) - 1);
		h2_frame(&c, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\x08", 4);
	}
	ck_assert(told_to_calm_down(&c));
	ck_assert_uint_lt(owner.requests, 500);
	ck_assert_uint_eq(owner.reset, owner.requests);
	client_close(&c);
}
END_TEST

/* The same with resets that the server is made to send: WINDOW_UPDATE of 0. */
START_TEST(test_made_to_reset)
{
	struct client c;

	greet(&c);
	for (int32_t id = 1; id < 4001; id += 2) {
		h2_frame(&c, NGHTTP2_HEADERS, 5, id, HOLD, sizeof(HOLD) - 1);
		h2_frame(&c, NGHTTP2_WINDOW_UPDATE, 0, id, "\0\0\0\0", 4);
	}
	ck_assert(client_wait_closed(&c, 5000));
	ck_assert_uint_lt(owner.requests, 500);
	client_close(&c);
}
END_TEST

/* A client that cancels as many as it has at once, now and then, is no attack. */
START_TEST(test_cancelling_is_allowed)
{
	for (int round = 0; round < 2; round++) {
		unsigned first = h2.n;

		for (int i = 0; i < 80; i++)
			h2_get(&h2, "/hold");
		h2_run(&h2, 20);
		for (unsigned i = first; i < h2.n; i++)
			h2_reset(&h2, i);
		h2_run(&h2, 20);
	}
	expect_status(h2_get(&h2, "/after"), 200);
	ck_assert_uint_eq(h2.goaways, 0);
}
END_TEST

static const struct {
	uint8_t type;
	uint8_t flags;
	int32_t stream;
	const char *payload;
	size_t len;
} floods[] = {
	{NGHTTP2_PING, 0, 0, "01234567", 8},
	{NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "01234567", 8},
	{NGHTTP2_SETTINGS, 0, 0, NULL, 0},
	{NGHTTP2_SETTINGS, 0, 0, "\0\x04\0\0\0\1", 6},
	{NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4},
	{NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4},
	{NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\1", 5},
	{NGHTTP2_DATA, 0, 1, NULL, 0},
};

START_TEST(test_floods)
{
	struct client c;

	greet(&c);
	/* a POST whose body is coming */
	h2_frame(&c, NGHTTP2_HEADERS, 4, 1, "\x83\x86\x84\x01\x01h", 6);
	for (int i = 0; i < 20000 && !c.closed; i++) {
		h2_frame(&c, floods[_i].type, floods[_i].flags, floods[_i].stream,
			floods[_i].payload, floods[_i].len);
		if (i % 100 == 0)
			client_read(&c);
	}
	ck_assert(told_to_calm_down(&c));
	client_close(&c);
}
END_TEST

START_TEST(test_continuation_flood)
{
	struct client c;

	greet(&c);
	h2_frame(&c, NGHTTP2_HEADERS, 0, 1, "\x82\x86\x84\x01\x01h", 6);
	for (int i = 0; i < 1000 && !c.closed; i++)
		h2_frame(&c, NGHTTP2_CONTINUATION, 0, 1, "\x00\x01x\x01y", 5);
	ck_assert(told_to_calm_down(&c));
	ck_assert_uint_eq(owner.requests, 0);
	client_close(&c);
}
END_TEST

/* A header of 4,000 bytes in HPACK's table, and a byte for each time it is meant. */
START_TEST(test_hpack_bomb)
{
	static char block[16000];
	struct client c;
	size_t n = 0, value = 4000 - 33;

	memcpy(block, "\x82\x86\x84\x01\x01h\x40\x01x\x7f", 10);
	n = 10;
	/* the length beyond 127, seven bits at a time (RFC 7541 §5.1) */
	block[n++] = (char)(0x80 | ((value - 127) & 0x7f));
	block[n++] = (char)((value - 127) >> 7);
	memset(block + n, 'v', value);
	n += value;
	memset(block + n, '\xbe', sizeof(block) - n);
	greet(&c);
	h2_frame(&c, NGHTTP2_HEADERS, 5, 1, block, n + 10);
	ck_assert(client_wait(&c, "headers_too_large"));
	h2_frame(&c, NGHTTP2_HEADERS, 5, 3, block + n - 10, 10000);
	ck_assert(told_to_calm_down(&c));
	ck_assert_uint_eq(owner.requests, 0);
	client_close(&c);
}
END_TEST

/* A window that is opened byte by byte. */
START_TEST(test_tiny_windows)
{
	struct client c;

	greet(&c);
	/* SETTINGS_INITIAL_WINDOW_SIZE 0 */
	h2_frame(&c, NGHTTP2_SETTINGS, 0, 0, "\0\x04\0\0\0\0", 6);
	h2_frame(&c, NGHTTP2_HEADERS, 5, 1, "\x82\x86\x04\x0e/stream?100000\x01\x01h", 21);
	for (int i = 0; i < 40000 && !c.closed; i++) {
		h2_frame(&c, NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4);
		if (i % 100 == 0)
			client_read(&c);
	}
	ck_assert(told_to_calm_down(&c));
	ck_assert_uint_eq(owner.reset, 1);
	client_close(&c);
}
END_TEST

/* What one client does is nothing to another. */
START_TEST(test_others_go_on)
{
	h2_open(&other, &owner.peer, false);
	expect_status(h2_get(&h2, "/x"), 200);
	for (int i = 0; i < 10000 && !other.client.closed; i++)
		h2_frame(&other.client, NGHTTP2_PING, 0, 0, "01234567", 8);
	expect_status(h2_get(&h2, "/y"), 200);
	h2_close(&other);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("http2");
	TCase *tc = tcase_create("requests");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_get);
	tcase_add_test(tc, test_post);
	tcase_add_test(tc, test_many_at_once);
	tcase_add_test(tc, test_stream_limit);
	tcase_add_test(tc, test_head_and_bodyless);
	tcase_add_test(tc, test_continue);
	tcase_add_test(tc, test_trailers_are_dropped);
	tcase_add_test(tc, test_preface_in_pieces);
	tcase_add_test(tc, test_http1_beside);
	tcase_add_test(tc, test_half_a_preface);
	tcase_add_test(tc, test_after_proxy_preamble);
	tcase_add_test(tc, test_denied_at_the_head);
	tcase_add_test(tc, test_short_body_is_taken);
	tcase_add_test(tc, test_body_too_large);
	tcase_add_test(tc, test_rest_of_a_body);
	tcase_add_test(tc, test_rest_never_comes);
	tcase_add_test(tc, test_bodies_together);
	tcase_add_test(tc, test_bad_heads);
	tcase_add_test(tc, test_bad_characters);
	suite_add_tcase(suite, tc);
	tc = tcase_create("ends");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_reset_by_client);
	tcase_add_test(tc, test_ended_by_owner);
	tcase_add_test(tc, test_connection_lost);
	tcase_add_test(tc, test_half_closed);
	tcase_add_test(tc, test_streaming);
	tcase_add_test(tc, test_slow_stream_stalls_itself);
	tcase_add_test(tc, test_window_stays_shut);
	tcase_add_test(tc, test_answers_together);
	tcase_add_test(tc, test_slow_body);
	tcase_add_test(tc, test_slow_head);
	tcase_add_test(tc, test_no_settings);
	tcase_add_test(tc, test_idle);
	tcase_add_test(tc, test_drain);
	tcase_add_test(tc, test_drain_without_pong);
	suite_add_tcase(suite, tc);
	tc = tcase_create("abuse");
	tcase_set_timeout(tc, 20);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_rapid_reset);
	tcase_add_test(tc, test_made_to_reset);
	tcase_add_test(tc, test_cancelling_is_allowed);
	tcase_add_loop_test(tc, test_floods, 0, sizeof(floods) / sizeof(*floods));
	tcase_add_test(tc, test_continuation_flood);
	tcase_add_test(tc, test_hpack_bomb);
	tcase_add_test(tc, test_tiny_windows);
	tcase_add_test(tc, test_others_go_on);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(make_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
