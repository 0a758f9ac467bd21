/* gateway/http_conn, http_listener: real sockets on loopback. */
#include "clock.h"
#include "http_peer.h"

#include <check.h>
#include <event2/event_struct.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWITCH \
	"GET /switch HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
#define REQUEST(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define STREAM_BLOCK 8192u

/* What the owner of the connections in these tests saw and still has to do. */
struct owner {
	struct peer peer;
	struct http_conn *held; /* of /hold, /later, /stream */
	struct event later;
	unsigned requests, opened, closed, half, reset, stalled, refused;
	int last_refused;
	size_t last_body;
	size_t to_stream; /* bytes still to write */
	size_t max_unsent;
	bool deny; /* the head hook answers 403 */
	bool switched;
};

static struct owner owner;
static char block[STREAM_BLOCK];

static void stream_on(struct http_conn *conn)
{
	while (owner.to_stream > 0) {
		size_t n = owner.to_stream < sizeof(block) ? owner.to_stream : sizeof(block);
		int r = http_conn_write(conn, span_of(block, n));

		if (http_conn_unsent(conn) > owner.max_unsent)
			owner.max_unsent = http_conn_unsent(conn);
		if (r < 0) {
			ck_assert_int_eq(r, -ERR_AGAIN);
			return;
		}
		owner.to_stream -= n;
	}
	http_conn_end(conn);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	const char *path = http_conn_data(owner.held);

	(void)fd;
	(void)what;
	(void)arg;
	ck_assert_int_eq(http_conn_respond(owner.held, 200, NULL, 0, span_str(path)), 0);
}

static void answer_later(struct http_conn *conn, const struct http_request *request)
{
	static char path[100];
	struct timeval soon = {.tv_usec = 100};

	snprintf(path, sizeof(path), "%.*s?%.*s;", SPAN_ARG(request->head->path),
		SPAN_ARG(request->head->query));
	http_conn_set_data(conn, path);
	owner.held = conn;
	event_add(&owner.later, &soon);
}

static void begin_stream(struct http_conn *conn, const struct http_request *request)
{
	enum http_stream stream = span_is(request->head->path, "/length") ? HTTP_STREAM_LENGTH
				  : span_is(request->head->path, "/sse")  ? HTTP_STREAM_SSE
									  : HTTP_STREAM_CHUNKED;

	owner.to_stream = (size_t)atol(request->head->query.p);
	owner.held = conn;
	ck_assert_int_eq(http_conn_begin(conn, 200, NULL, 0, stream, owner.to_stream), 0);
	http_conn_release_request(conn);
	stream_on(conn);
}

static void answer_path(struct http_conn *conn, const struct http_request *request)
{
	struct buf text;

	buf_init(&text, 200);
	buf_printf(
		&text, "%.*s?%.*s;", SPAN_ARG(request->head->path), SPAN_ARG(request->head->query));
	ck_assert_int_eq(http_conn_respond(conn, 200, NULL, 0, buf_span(&text)), 0);
	buf_free(&text);
}

static void drain_and_answer(struct http_conn *conn, const struct http_request *request)
{
	http_server_drain(owner.peer.server, HTTP_DRAIN_CLOSE);
	answer_path(conn, request);
}

static void switch_or_say_no(struct http_conn *conn)
{
	static const struct http1_header upgrade[] = {{{"Upgrade", 7}, {"echo", 4}}};

	owner.held = conn;
	if (http_conn_switch(conn, upgrade, 1) < 0)
		http_conn_respond(conn, 200, NULL, 0, SPAN_LIT("not switched"));
	else
		owner.switched = true;
	if (owner.switched)
		ck_assert_int_eq(http_conn_switch(conn, upgrade, 1), -ERR_CLOSED);
}

/* An echo, until one says bye. */
static void on_input(struct http_conn *conn, struct span bytes, void *arg)
{
	(void)arg;
	ck_assert_int_eq(http_conn_write(conn, bytes), 0);
	if (span_is(bytes, "bye"))
		http_conn_end(conn);
}

static void on_request(struct http_conn *conn, const struct http_request *request, void *arg)
{
	struct span path = request->head->path;

	(void)arg;
	owner.requests++;
	owner.last_body = request->body.len;
	if (span_is(path, "/switch"))
		switch_or_say_no(conn);
	else if (span_is(path, "/echo"))
		http_conn_respond(conn, 200, NULL, 0, request->body);
	else if (span_is(path, "/later"))
		answer_later(conn, request);
	else if (span_is(path, "/hold"))
		owner.held = conn;
	else if (span_is(path, "/stream") || span_is(path, "/sse") || span_is(path, "/length"))
		begin_stream(conn, request);
	else if (span_is(path, "/close"))
		http_conn_close(conn);
	else if (span_is(path, "/drain"))
		drain_and_answer(conn, request);
	else if (span_is(path, "/204"))
		http_conn_respond(conn, 204, NULL, 0, SPAN_LIT("dropped"));
	else
		answer_path(conn, request);
}

static void on_head(struct http_conn *conn, const struct http1_head *head, void *arg)
{
	(void)head;
	(void)arg;
	if (owner.deny)
		ck_assert_int_eq(http_conn_respond_error(conn, -ERR_FORBIDDEN, "not you"), 0);
}

static void on_writable(struct http_conn *conn, void *arg)
{
	(void)arg;
	if (!owner.switched)
		stream_on(conn);
}

static void on_gone(struct http_conn *conn, enum http_gone gone, void *arg)
{
	(void)conn;
	(void)arg;
	if (gone == HTTP_GONE_HALF)
		owner.half++;
	else if (gone == HTTP_GONE_STALLED)
		owner.stalled++;
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

static void on_opened(struct http_conn *conn, void *arg)
{
	(void)arg;
	ck_assert_int_eq(strncmp(http_conn_remote(conn), "127.0.0.1:", 10), 0);
	owner.opened++;
}

static void on_closed(struct http_conn *conn, void *arg)
{
	(void)arg;
	owner.closed++;
	/* the answer that was to come later has lost its connection */
	if (conn == owner.held)
		event_del(&owner.later);
}

static const struct http_server_ops ops = {
	.request = on_request,
	.head = on_head,
	.writable = on_writable,
	.client_gone = on_gone,
	.input = on_input,
	.refused = on_refused,
	.opened = on_opened,
	.closed = on_closed,
};

static struct http_limits limits;

static void setup(void)
{
	memset(&owner, 0, sizeof(owner));
	memset(block, 'b', sizeof(block));
	limits = http_limits_default;
	limits.body = 100000;
	limits.header_ms = limits.body_ms = limits.idle_ms = limits.write_ms = 60000;
	peer_start(&owner.peer, &limits, &ops, NULL);
	evtimer_assign(&owner.later, owner.peer.base, on_later, NULL);
}

static void apply_limits(void)
{
	ck_assert_int_eq(http_server_set_limits(owner.peer.server, &limits, NULL), 0);
}

static void teardown(void)
{
	event_del(&owner.later);
	peer_stop(&owner.peer);
	ck_assert_uint_eq(owner.opened, owner.closed);
}

static void open_client(struct client *client)
{
	client_open(client, &owner.peer, false);
}

START_TEST(test_keep_alive)
{
	struct client c;

	open_client(&c);
	for (int i = 0; i < 3; i++) {
		char path[20], expect[20];

		snprintf(path, sizeof(path), "/x?%d", i);
		snprintf(expect, sizeof(expect), "\r\n\r\n/x?%d;", i);
		client_say(&c, "GET ");
		client_say(&c, path);
		client_say(&c, " HTTP/1.1\r\nHost: h\r\n\r\n");
		ck_assert(client_wait(&c, expect));
	}
	ck_assert_uint_eq(client_count(&c, "HTTP/1.1 200 OK\r\nDate: "), 3);
	ck_assert_uint_eq(client_count(&c, "Connection"), 0);
	ck_assert_uint_eq(owner.opened, 1);
	client_say(&c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert_uint_eq(client_count(&c, "Connection: close\r\n"), 1);
	ck_assert(!c.reset);
	client_close(&c);
}
END_TEST

/* 100 requests in one send, answered at once or each after a while; whole or cut in pieces. */
static void pipeline(const char *path, size_t step)
{
	struct client c;
	struct buf text, expect;
	const char *p;

	buf_init(&text, 100000);
	buf_init(&expect, 100000);
	for (int i = 0; i < 100; i++)
		buf_printf(&text, "GET %s?%d HTTP/1.1\r\nHost: h\r\n\r\n", path, i);
	open_client(&c);
	for (size_t at = 0; at < text.len; at += step)
		client_send(&c, text.data + at, step < text.len - at ? step : text.len - at);
	buf_printf(&expect, "%s?99;", path);
	buf_append_char(&expect, 0);
	ck_assert(client_wait(&c, expect.data));
	p = c.in.data;
	buf_append_char(&c.in, 0);
	for (int i = 0; i < 100; i++) {
		buf_clear(&expect);
		buf_printf(&expect, "\r\n\r\n%s?%d;", path, i);
		buf_append_char(&expect, 0);
		p = strstr(p, expect.data);
		ck_assert_msg(p, "answer %d missing or out of order", i);
	}
	ck_assert_uint_eq(owner.requests, 100);
	buf_free(&text);
	buf_free(&expect);
	client_close(&c);
}

START_TEST(test_pipeline_now)
{
	pipeline("/now", 100000);
}
END_TEST

START_TEST(test_pipeline_later)
{
	pipeline("/later", 100000);
}
END_TEST

START_TEST(test_pipeline_pieces)
{
	pipeline("/later", 7);
}
END_TEST

/* More requests than are kept while one is answered: the rest waits in the socket,
 * nothing is lost. */
START_TEST(test_pipeline_beyond_limit)
{
	limits.pipeline = 1000;
	limits.output = 3000;
	apply_limits();
	pipeline("/later", 100000);
}
END_TEST

START_TEST(test_chunked_both_ways)
{
	struct client c;

	open_client(&c);
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	client_say(&c, "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n");
	ck_assert(client_wait(&c, "Content-Length: 11\r\n\r\nhello world"));
	client_say(&c, REQUEST("/stream?20000"));
	ck_assert(client_wait(&c, "\r\n0\r\n\r\n"));
	ck_assert_uint_eq(client_count(&c, "Transfer-Encoding: chunked\r\n"), 1);
	ck_assert_uint_eq(client_count(&c, "2000\r\nbbb"), 2);
	ck_assert_uint_eq(client_count(&c, "\r\ne20\r\nbbb"), 1);
	client_say(&c, REQUEST("/length?20000"));
	ck_assert(client_wait(&c, "Content-Length: 20000\r\n\r\nbbb"));
	client_say(&c, REQUEST("/sse?10"));
	ck_assert(client_wait(&c, "a\r\nbbbbbbbbbb\r\n0\r\n\r\n"));
	ck_assert_uint_eq(client_count(&c, "Content-Type: text/event-stream\r\n"), 1);
	ck_assert(!c.closed);
	client_close(&c);
}
END_TEST

START_TEST(test_body_in_pieces)
{
	struct client c;
	char body[1000];

	memset(body, 'x', sizeof(body));
	open_client(&c);
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n");
	for (int i = 0; i < 90; i++)
		client_send(&c, body, sizeof(body));
	ck_assert(client_wait(&c, "Content-Length: 90000\r\n\r\nxxx"));
	ck_assert_uint_eq(owner.last_body, 90000);
	client_close(&c);
}
END_TEST

START_TEST(test_head_204_http10)
{
	struct client c;

	open_client(&c);
	client_say(&c, "HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n" REQUEST("/204"));
	ck_assert(client_wait(&c, "204 No Content\r\n"));
	ck_assert(client_wait(&c, "\r\n\r\nHTTP/1.1 204"));
	ck_assert_uint_eq(client_count(&c, "Content-Length: 6\r\n"), 1);
	ck_assert_uint_eq(client_count(&c, "/abc"), 0);
	ck_assert_uint_eq(client_count(&c, "dropped"), 0);
	ck_assert_uint_eq(client_count(&c, "Content-Length"), 1);
	client_say(&c, "HEAD /stream?100000000 HTTP/1.1\r\nHost: h\r\n\r\n" REQUEST("/next"));
	ck_assert(client_wait(&c, "/next?;"));
	ck_assert_uint_eq(client_count(&c, "bbb"), 0);
	client_close(&c);
	open_client(&c);
	client_say(&c, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert(client_wait(&c, "/a?;"));
	ck_assert_uint_eq(client_count(&c, "Connection: keep-alive\r\n"), 1);
	client_say(&c, "GET /stream?5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert_uint_eq(client_count(&c, "Connection: close\r\n\r\nbbbbb"), 1);
	ck_assert_uint_eq(client_count(&c, "chunked"), 0);
	client_close(&c);
}
END_TEST

static const struct {
	const char *in, *status, *reason;
} refusals[] = {
	{"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "bad_http"},
	{"GARBAGE\n", "400 Bad Request", "bad_http"},
	{"FROB / HTTP/1.1\r\nHost: h\r\n\r\n", "501 Not Implemented", "http_not_implemented"},
	{"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 HTTP Version Not Supported", "http_version"},
	{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"400 Bad Request", "bad_http"},
	{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n", "413 Content Too Large",
		"too_large"},
	{"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n",
		"413 Content Too Large", "too_large"},
	{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n",
		"413 Content Too Large", "too_large"},
};

START_TEST(test_refusals)
{
	struct client c;
	char text[100];

	open_client(&c);
	client_say(&c, REQUEST("/first"));
	client_say(&c, refusals[_i].in);
	ck_assert(client_wait(&c, "\"executed\":\"no\"}}}"));
	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nDate: ", refusals[_i].status);
	ck_assert_uint_eq(client_count(&c, text), 1);
	snprintf(text, sizeof(text),
		"\"data\":{\"reason\":\"%s\",\"retryable\":", refusals[_i].reason);
	ck_assert_uint_eq(client_count(&c, text), 1);
	ck_assert_uint_eq(
		client_count(&c, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32"), 1);
	ck_assert_uint_eq(client_count(&c, "/first?;"), 1);
	ck_assert_uint_eq(client_count(&c, "Connection: close\r\n"), 1);
	ck_assert_uint_eq(client_count(&c, "100 Continue"), 0);
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert(!c.reset);
	ck_assert_uint_eq(owner.requests, 1);
	ck_assert_uint_eq(owner.refused, 1);
	client_close(&c);
}
END_TEST

START_TEST(test_long_heads)
{
	struct client c;
	char header[] = "X-Header: 0123456789012345678901234567890123456789\r\n";

	open_client(&c);
	client_say(&c, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (int i = 0; i < 400 && client_count(&c, "431 ") == 0; i++) {
		client_say(&c, header);
		client_read(&c);
	}
	ck_assert(client_wait(&c, "431 Request Header Fields Too Large\r\n"));
	client_close(&c);
	open_client(&c);
	client_say(&c, "GET /");
	for (int i = 0; i < 400; i++)
		client_say(&c, "0123456789012345678901234567890123456789");
	ck_assert(client_wait(&c, "414 URI Too Long\r\n"));
	client_close(&c);
}
END_TEST

/* The client goes on sending far more than is allowed and reads only afterwards: it must find the
 * 413. */
START_TEST(test_413_reaches_uploader)
{
	struct client c;
	size_t len = 16 * 1024 * 1024;
	char *body = calloc(1, len);
	struct mallinfo2 before, after;

	open_client(&c);
	before = mallinfo2();
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 16777216\r\n\r\n");
	ck_assert_uint_eq(client_send(&c, body, len), len);
	after = mallinfo2();
	ck_assert_uint_lt(after.uordblks, before.uordblks + 100000);
	ck_assert(client_wait(&c, "413 Content Too Large"));
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert(!c.reset);
	ck_assert_uint_eq(owner.requests, 0);
	client_close(&c);
	free(body);
}
END_TEST

/* But not for ever. */
START_TEST(test_linger_is_bounded)
{
	struct client c;
	char body[100000] = {0};
	size_t sent = 0;

	limits.linger = 1000000;
	apply_limits();
	open_client(&c);
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
	for (int i = 0; i < 100; i++)
		sent += client_send(&c, body, sizeof(body));
	ck_assert_uint_lt(sent, 9000000);
	client_close(&c);
	limits.linger_ms = 50;
	limits.linger = 100000000;
	apply_limits();
	open_client(&c);
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
	ck_assert(client_wait(&c, "413 "));
	peer_run(&owner.peer, 200);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 0);
	client_close(&c);
}
END_TEST

START_TEST(test_expect_continue)
{
	struct client c;

	open_client(&c);
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
		       "2\r\n\r\n");
	ck_assert(client_wait(&c, "HTTP/1.1 100 Continue\r\n\r\n"));
	client_say(&c, "ok");
	ck_assert(client_wait(&c, "Content-Length: 2\r\n\r\nok"));
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
		       "2\r\n\r\nno");
	ck_assert(client_wait(&c, "Content-Length: 2\r\n\r\nno"));
	ck_assert_uint_eq(client_count(&c, "100 Continue"), 1);
	client_close(&c);
}
END_TEST

START_TEST(test_head_hook_denies)
{
	struct client c;

	owner.deny = true;
	open_client(&c);
	client_say(&c, REQUEST("/a") REQUEST("/b"));
	ck_assert(client_wait(&c, "not you"));
	peer_run(&owner.peer, 5);
	client_read(&c);
	ck_assert_uint_eq(client_count(&c, "403 Forbidden"), 2);
	ck_assert(!c.closed);
	client_say(&c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\nbegin");
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert_uint_eq(client_count(&c, "403 Forbidden"), 3);
	ck_assert_uint_eq(owner.requests, 0);
	client_close(&c);
}
END_TEST

START_TEST(test_header_timeout)
{
	struct client slow, silent;
	uint64_t start = clock_ms();

	limits.header_ms = 150;
	apply_limits();
	open_client(&slow);
	open_client(&silent);
	/* a byte now and then does not help */
	for (int i = 0; i < 40 && !slow.closed; i++) {
		client_say(&slow, i == 0 ? "GET / HTTP/1.1\r\nX: " : "x");
		peer_run(&owner.peer, 10);
		client_read(&slow);
	}
	ck_assert_uint_eq(client_count(&slow, "408 "), 1);
	ck_assert_uint_eq(
		client_count(&slow, "\"reason\":\"request_timeout\",\"retryable\":true"), 1);
	ck_assert(client_wait_closed(&silent, 500));
	ck_assert_uint_eq(silent.in.len, 0);
	ck_assert_uint_ge(clock_ms() - start, 150);
	client_close(&slow);
	client_close(&silent);
}
END_TEST

START_TEST(test_body_timeout)
{
	struct client slow, steady;

	limits.body_ms = 150;
	limits.body_min = 100;
	apply_limits();
	open_client(&slow);
	open_client(&steady);
	client_say(&slow, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
	client_say(&steady, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
	for (int i = 0; i < 40; i++) {
		char piece[50] = {0};

		client_say(&slow, "x");
		client_send(&steady, piece, sizeof(piece));
		peer_run(&owner.peer, 12);
	}
	client_read(&slow);
	ck_assert_uint_eq(client_count(&slow, "408 "), 1);
	ck_assert(client_wait(&steady, "Content-Length: 2000\r\n\r\n"));
	client_close(&slow);
	client_close(&steady);
}
END_TEST

START_TEST(test_idle_timeout)
{
	struct client c;
	uint64_t start;

	limits.idle_ms = 150;
	apply_limits();
	open_client(&c);
	client_say(&c, REQUEST("/a"));
	ck_assert(client_wait(&c, "/a?;"));
	peer_run(&owner.peer, 75);
	client_say(&c, REQUEST("/b"));
	ck_assert(client_wait(&c, "/b?;"));
	start = clock_ms();
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert_uint_ge(clock_ms() - start, 140);
	ck_assert(!c.reset);
	ck_assert_uint_eq(client_count(&c, "HTTP/1.1"), 2);
	client_close(&c);
}
END_TEST

/* A client that does not read: cut off after write_ms. One that reads slowly but enough: served. */
START_TEST(test_write_stall)
{
	struct client stuck;

	limits.write_ms = 150;
	limits.write_min = 1;
	apply_limits();
	client_open(&stuck, &owner.peer, true);
	client_say(&stuck, REQUEST("/stream?50000000"));
	peer_run(&owner.peer, 100);
	ck_assert_uint_eq(owner.closed, 0);
	peer_run(&owner.peer, 500);
	ck_assert_uint_eq(owner.closed, 1);
	ck_assert_uint_eq(owner.reset, 1);
	client_close(&stuck);
}
END_TEST

START_TEST(test_back_pressure)
{
	struct client c;
	size_t total = 8 * 1000 * 1000;

	limits.output = 200000;
	apply_limits();
	client_open(&c, &owner.peer, true);
	client_say(&c, REQUEST("/stream?8000000"));
	peer_run(&owner.peer, 50);
	ck_assert_uint_gt(owner.to_stream, 0);
	ck_assert(client_wait(&c, "\r\n0\r\n\r\n"));
	ck_assert_uint_eq(owner.to_stream, 0);
	ck_assert_uint_gt(c.in.len, total);
	/* one chunk's framing may stand above the limit */
	ck_assert_uint_le(owner.max_unsent, limits.output + 20);
	client_say(&c, REQUEST("/after"));
	ck_assert(client_wait(&c, "/after?;"));
	client_close(&c);
}
END_TEST

/* A whole large answer: more than the socket takes at once. */
START_TEST(test_large_echo)
{
	struct client c;
	size_t len = 5 * 1000 * 1000;
	char *body = malloc(len);

	for (size_t i = 0; i < len; i++)
		body[i] = (char)('a' + i % 23);
	limits.body = len;
	apply_limits();
	client_open(&c, &owner.peer, true);
	client_say(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
	ck_assert_uint_eq(client_send(&c, body, len), len);
	client_say(&c, REQUEST("/end"));
	ck_assert(client_wait(&c, "/end?;"));
	ck_assert_ptr_nonnull(memmem(c.in.data, c.in.len, body, len));
	client_close(&c);
	free(body);
}
END_TEST

START_TEST(test_client_leaves)
{
	struct client c;

	open_client(&c);
	client_say(&c, REQUEST("/hold"));
	shutdown(c.fd, SHUT_WR);
	peer_run(&owner.peer, 10);
	ck_assert_uint_eq(owner.half, 1);
	ck_assert_uint_eq(owner.reset, 0);
	ck_assert_int_eq(http_conn_respond(owner.held, 200, NULL, 0, SPAN_LIT("still")), 0);
	ck_assert(client_wait(&c, "still"));
	ck_assert(client_wait_closed(&c, 1000));
	client_close(&c);

	/* half first, then gone */
	open_client(&c);
	client_say(&c, REQUEST("/hold"));
	shutdown(c.fd, SHUT_WR);
	peer_run(&owner.peer, 10);
	client_reset(&c);
	peer_run(&owner.peer, 10);
	ck_assert_uint_eq(owner.half, 2);
	ck_assert_uint_eq(owner.reset, 1);
	ck_assert_uint_eq(owner.closed, 2);

	/* at once */
	open_client(&c);
	client_say(&c, REQUEST("/hold"));
	peer_run(&owner.peer, 10);
	client_reset(&c);
	peer_run(&owner.peer, 10);
	ck_assert_uint_eq(owner.reset, 2);
	ck_assert_uint_eq(owner.closed, 3);

	/* in the middle of a stream */
	client_open(&c, &owner.peer, true);
	client_say(&c, REQUEST("/stream?50000000"));
	peer_run(&owner.peer, 10);
	client_close(&c);
	peer_run(&owner.peer, 20);
	ck_assert_uint_eq(owner.closed, 4);
	ck_assert_uint_eq(owner.reset, 3);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 0);
}
END_TEST

/* Requests sent before the client's end are all answered. */
START_TEST(test_requests_before_half_close)
{
	struct client c;

	open_client(&c);
	client_say(&c, REQUEST("/later?1") REQUEST("/later?2") REQUEST("/3"));
	shutdown(c.fd, SHUT_WR);
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert(!c.reset);
	ck_assert_uint_eq(client_count(&c, "/later?1;"), 1);
	ck_assert_uint_eq(client_count(&c, "/later?2;"), 1);
	ck_assert_uint_eq(client_count(&c, "/3?;"), 1);
	client_close(&c);
}
END_TEST

/* A cut stream must not look like a whole one. */
START_TEST(test_abort)
{
	struct client c;

	owner.to_stream = 0;
	open_client(&c);
	client_say(&c, REQUEST("/hold"));
	ck_assert_int_eq(http_conn_begin(owner.held, 200, NULL, 0, HTTP_STREAM_LENGTH, 100), 0);
	ck_assert_int_eq(http_conn_write(owner.held, SPAN_LIT("part")), 0);
	ck_assert_int_eq(http_conn_write(owner.held, span_of(block, 97)), -ERR_TOO_LARGE);
	peer_run(&owner.peer, 5);
	ck_assert_int_eq(http_conn_end(owner.held), -ERR_CLOSED);
	ck_assert(client_wait_closed(&c, 1000));
	client_close(&c);
	open_client(&c);
	client_say(&c, REQUEST("/close"));
	ck_assert(client_wait_closed(&c, 1000));
	ck_assert_uint_eq(c.in.len, 0);
	client_close(&c);
}
END_TEST

START_TEST(test_bad_use)
{
	static const struct http1_header bad[] = {
		{{"Content-Length", 14}, {"5", 1}},
		{{"transfer-encoding", 17}, {"chunked", 7}},
		{{"X", 1}, {"a\r\nY: b", 7}},
		{{"X Y", 3}, {"a", 1}},
	};
	struct client c;

	open_client(&c);
	client_say(&c, REQUEST("/hold"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_int_eq(http_conn_respond(owner.held, 200, &bad[i], 1, SPAN_LIT("no")),
			-ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http_conn_write(owner.held, SPAN_LIT("x")), -ERR_CLOSED);
	ck_assert_int_eq(http_conn_end(owner.held), -ERR_CLOSED);
	ck_assert_int_eq(
		http_conn_respond(owner.held, 100, NULL, 0, SPAN_NONE), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(http_conn_respond(owner.held, 200, NULL, 0, SPAN_LIT("yes")), 0);
	ck_assert_int_eq(
		http_conn_respond(owner.held, 200, NULL, 0, SPAN_LIT("twice")), -ERR_CLOSED);
	ck_assert(client_wait(&c, "Content-Length: 3\r\n\r\nyes"));
	ck_assert_uint_eq(client_count(&c, "HTTP/1.1"), 1);
	client_close(&c);
}
END_TEST

START_TEST(test_drain)
{
	struct client idle, busy, fresh;

	open_client(&idle);
	open_client(&busy);
	open_client(&fresh);
	client_say(&idle, REQUEST("/a"));
	ck_assert(client_wait(&idle, "/a?;"));
	client_say(&busy, REQUEST("/hold"));
	peer_run(&owner.peer, 5);
	http_server_drain(owner.peer.server, HTTP_DRAIN_CLOSE);
	ck_assert(client_wait_closed(&idle, 1000));
	client_close(&idle);
	client_say(&fresh, REQUEST("/fresh"));
	ck_assert(client_wait(&fresh, "/fresh?;"));
	ck_assert(client_wait_closed(&fresh, 1000));
	ck_assert_uint_eq(client_count(&fresh, "Connection: close\r\n"), 1);
	client_close(&fresh);
	ck_assert_int_eq(http_conn_respond(owner.held, 200, NULL, 0, SPAN_LIT("last")), 0);
	ck_assert(client_wait_closed(&busy, 1000));
	ck_assert_uint_eq(client_count(&busy, "Connection: close\r\n"), 1);
	client_close(&busy);
	peer_run(&owner.peer, 5);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 0);
}
END_TEST

/* From within a request, with more requests waiting on that and on an idle connection: no answer is
 * lost. */
START_TEST(test_drain_within_request)
{
	struct client asking, idle;

	open_client(&idle);
	client_say(&idle, REQUEST("/a"));
	ck_assert(client_wait(&idle, "/a?;"));
	open_client(&asking);
	ck_assert_int_gt(send(asking.fd, REQUEST("/drain") REQUEST("/b"),
				 strlen(REQUEST("/drain") REQUEST("/b")), 0),
		0);
	peer_run(&owner.peer, 5);
	ck_assert(client_wait_closed(&asking, 1000));
	ck_assert(client_wait_closed(&idle, 1000));
	ck_assert_uint_eq(client_count(&asking, "/drain?;"), 1);
	ck_assert_uint_eq(client_count(&asking, "Connection: close"), 1);
	ck_assert(!asking.reset);
	client_close(&asking);
	client_close(&idle);
}
END_TEST

/* A request that stands in the socket of an idle connection when draining begins is answered. */
START_TEST(test_drain_finds_request)
{
	struct client c;

	open_client(&c);
	client_say(&c, REQUEST("/a"));
	ck_assert(client_wait(&c, "/a?;"));
	ck_assert_int_gt(send(c.fd, REQUEST("/b"), strlen(REQUEST("/b")), 0), 0);
	http_server_drain(owner.peer.server, HTTP_DRAIN_CLOSE);
	ck_assert(client_wait(&c, "/b?;"));
	ck_assert_uint_eq(client_count(&c, "Connection: close"), 1);
	ck_assert(client_wait_closed(&c, 1000));
	client_close(&c);
}
END_TEST

/* Bytes that came with the request are given, too; pausing holds them; the end waits for what is
 * unsent. */
START_TEST(test_switch)
{
	struct client c;

	open_client(&c);
	client_say(&c, SWITCH "one");
	ck_assert(client_wait(&c, "Connection: Upgrade\r\n\r\none"));
	ck_assert_uint_eq(client_count(&c, "HTTP/1.1 101 "), 1);
	client_say(&c, "two");
	ck_assert(client_wait(&c, "onetwo"));
	http_conn_pause(owner.held, true);
	client_say(&c, "three");
	peer_run(&owner.peer, 20);
	ck_assert_uint_eq(client_count(&c, "three"), 0);
	http_conn_pause(owner.held, false);
	ck_assert(client_wait(&c, "onetwothree"));
	client_say(&c, "bye");
	ck_assert(client_wait(&c, "threebye"));
	ck_assert(client_wait_closed(&c, 1000));
	client_close(&c);
	ck_assert_uint_eq(owner.requests, 1);
}
END_TEST

/* A client that takes nothing: the owner is told first, and a period later it is cut off. */
START_TEST(test_switch_stalled)
{
	struct client c;

	limits.write_ms = 100;
	apply_limits();
	open_client(&c);
	client_say(&c, SWITCH);
	ck_assert(client_wait(&c, "Upgrade\r\n\r\n"));
	for (int i = 0; i < 1000 && (i < 10 || http_conn_unsent(owner.held) == 0); i++) {
		while (http_conn_write(owner.held, span_of(block, sizeof(block))) == 0)
			;
		peer_run(&owner.peer, 1);
	}
	for (int i = 0; i < 200 && owner.stalled == 0; i++)
		peer_run(&owner.peer, 5);
	ck_assert_uint_eq(owner.stalled, 1);
	ck_assert_uint_eq(owner.closed, 0);
	for (int i = 0; i < 200 && owner.closed == 0; i++)
		peer_run(&owner.peer, 5);
	ck_assert_uint_eq(owner.stalled, 1);
	ck_assert_uint_eq(owner.reset, 1);
	ck_assert_uint_eq(owner.closed, 1);
	client_close(&c);
}
END_TEST

/* Not on HTTP/1.0, and not twice. */
START_TEST(test_switch_refused)
{
	struct client c;

	open_client(&c);
	client_say(&c, "GET /switch HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert(client_wait(&c, "not switched"));
	client_close(&c);
}
END_TEST

/* U13: a reset after each byte of a request; the server stays whole. */
START_TEST(test_reset_at_every_byte)
{
	static const char text[] =
		"POST /later?1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n0\r\n\r\n" REQUEST("/stream?100000");
	struct client c;

	for (size_t n = 0; n < sizeof(text); n++) {
		open_client(&c);
		client_send(&c, text, n);
		client_reset(&c);
		peer_run(&owner.peer, 1);
	}
	peer_run(&owner.peer, 5);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 0);
	ck_assert_uint_eq(owner.opened, sizeof(text));
}
END_TEST

START_TEST(test_max_connections)
{
	struct client c[5];
	unsigned served = 0;

	limits.connections = 3;
	apply_limits();
	for (int i = 0; i < 5; i++) {
		open_client(&c[i]);
		client_say(&c[i], REQUEST("/x"));
	}
	peer_run(&owner.peer, 20);
	ck_assert_uint_eq(http_server_connections(owner.peer.server), 3);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
	for (int i = 3; i < 5; i++)
		served += client_wait(&c[i], "/x?;");
	ck_assert_uint_eq(served, 2);
	for (int i = 3; i < 5; i++)
		client_close(&c[i]);
}
END_TEST

/* No descriptors left: no busy loop, those who wait get served when there are some again, or a
 * reset when it lasts. */
START_TEST(test_no_descriptors)
{
	struct client c[3];
	struct rlimit limit, tight;
	const struct http_server_stats *stats = http_server_stats(owner.peer.server);
	struct rusage before, after;
	long spent;

	open_client(&c[0]);
	getrlimit(RLIMIT_NOFILE, &limit);
	client_open(&c[1], &owner.peer, false);
	tight = limit;
	tight.rlim_cur = (rlim_t)c[1].fd + 2;
	/* the client's own descriptor must still fit, the server's end of it not */
	client_open(&c[2], &owner.peer, false);
	client_close(&c[2]);
	client_close(&c[1]);
	peer_run(&owner.peer, 10);
	http_listener_pause(owner.peer.listener, true);
	client_open(&c[1], &owner.peer, false);
	tight.rlim_cur = (rlim_t)c[1].fd + 1;
	setrlimit(RLIMIT_NOFILE, &tight);
	http_listener_pause(owner.peer.listener, false);
	getrusage(RUSAGE_SELF, &before);
	peer_run(&owner.peer, 300);
	getrusage(RUSAGE_SELF, &after);
	spent = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
		after.ru_utime.tv_usec - before.ru_utime.tv_usec;
	ck_assert_int_lt(spent, 200000);
	ck_assert_uint_ge(stats->accept_pauses, 3);
	ck_assert_uint_le(stats->accept_pauses, 7);
	setrlimit(RLIMIT_NOFILE, &limit);
	client_say(&c[1], REQUEST("/x"));
	ck_assert(client_wait(&c[1], "/x?;"));
	client_close(&c[0]);
	client_close(&c[1]);
}
END_TEST

/* Of a connection within this process. */
static int other_end(int client)
{
	struct sockaddr_in self, peer;
	socklen_t len = sizeof(self);

	ck_assert_int_eq(getsockname(client, (struct sockaddr *)&self, &len), 0);
	for (int fd = 3; fd < 1024; fd++) {
		len = sizeof(peer);
		if (fd != client && getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
			peer.sin_family == AF_INET && peer.sin_port == self.sin_port)
			return fd;
	}
	ck_abort_msg("the server has no such connection");
	return -1;
}

START_TEST(test_nodelay_is_inherited)
{
	struct client c;
	int one = 0, fd;
	socklen_t len = sizeof(one);

	open_client(&c);
	client_say(&c, REQUEST("/hold"));
	peer_run(&owner.peer, 5);
	fd = other_end(c.fd);
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, &len), 0);
	ck_assert_int_ne(one, 0);
	client_close(&c);
}
END_TEST

/* The cost of a connection that waits for its next request. */
START_TEST(test_idle_memory)
{
	enum { N = 100 };
	struct client *c = calloc(N, sizeof(*c));
	struct mallinfo2 before, after;
	size_t each;

	open_client(&c[0]);
	client_say(&c[0], REQUEST("/x"));
	ck_assert(client_wait(&c[0], "/x?;"));
	before = mallinfo2();
	for (int i = 1; i < N; i++) {
		open_client(&c[i]);
		client_say(
			&c[i], "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
		ck_assert(client_wait(&c[i], "body"));
		buf_free(&c[i].in);
	}
	after = mallinfo2();
	each = (after.uordblks - before.uordblks) / (N - 1);
	printf("an idle connection takes %zu bytes of heap\n", each);
	ck_assert_uint_lt(each, 4096);
	for (int i = 0; i < N; i++)
		client_close(&c[i]);
	free(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http_conn");
	TCase *tc = tcase_create("http_conn");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_keep_alive);
	tcase_add_test(tc, test_pipeline_now);
	tcase_add_test(tc, test_pipeline_later);
	tcase_add_test(tc, test_pipeline_pieces);
	tcase_add_test(tc, test_pipeline_beyond_limit);
	tcase_add_test(tc, test_chunked_both_ways);
	tcase_add_test(tc, test_body_in_pieces);
	tcase_add_test(tc, test_head_204_http10);
	tcase_add_loop_test(tc, test_refusals, 0, sizeof(refusals) / sizeof(*refusals));
	tcase_add_test(tc, test_long_heads);
	tcase_add_test(tc, test_413_reaches_uploader);
	tcase_add_test(tc, test_linger_is_bounded);
	tcase_add_test(tc, test_expect_continue);
	tcase_add_test(tc, test_head_hook_denies);
	tcase_add_test(tc, test_header_timeout);
	tcase_add_test(tc, test_body_timeout);
	tcase_add_test(tc, test_idle_timeout);
	tcase_add_test(tc, test_write_stall);
	tcase_add_test(tc, test_back_pressure);
	tcase_add_test(tc, test_large_echo);
	tcase_add_test(tc, test_client_leaves);
	tcase_add_test(tc, test_requests_before_half_close);
	tcase_add_test(tc, test_abort);
	tcase_add_test(tc, test_bad_use);
	tcase_add_test(tc, test_drain);
	tcase_add_test(tc, test_drain_within_request);
	tcase_add_test(tc, test_drain_finds_request);
	tcase_add_test(tc, test_switch);
	tcase_add_test(tc, test_switch_stalled);
	tcase_add_test(tc, test_switch_refused);
	tcase_add_test(tc, test_reset_at_every_byte);
	tcase_add_test(tc, test_max_connections);
	tcase_add_test(tc, test_no_descriptors);
	tcase_add_test(tc, test_nodelay_is_inherited);
	tcase_add_test(tc, test_idle_memory);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
