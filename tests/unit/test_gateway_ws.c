/* A real gateway, spoken to over WebSocket; workers, session manager and root are played. */
#include "clock.h"
#include "gateway_node.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define INITIALIZE "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{}}"
#define INITIALIZED "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"
#define CALL "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"x\"}}"
#define RESULT "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}"
#define WELCOME "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}"
#define REPLY "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"
#define NOTE "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}"
#define MODERN \
	"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"server/discover\",\"params\":{\"_meta\":{" \
	"\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}}"
/* The example of RFC 6455 §1.3. */
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: mcp\r\n"
#define GET "GET /mcp HTTP/1.1\r\n"
#define HOST "Host: localhost\r\n"

enum { CONTINUATION, TEXT, BINARY, CLOSE = 8, PING, PONG };
#define FIN 0x80
#define NO_FRAME 0x100

static struct node node;
static struct client client;
static unsigned count; /* exchanges seen so far */

/* --- a client ------------------------------------------------------------------------------- */

static void open_ws(void)
{
	char *end;

	client_open(&client, &node);
	client_say(&client, GET HOST UPGRADE KEY VERSION PROTOCOL "\r\n");
	ck_assert(client_wait(&client, "\r\n\r\n"));
	ck_assert_ptr_nonnull(strstr(client_text(&client), "HTTP/1.1 101 "));
	end = strstr(client.in.data, "\r\n\r\n") + 4;
	buf_consume(&client.in, (size_t)(end - client.in.data));
}

static void start(const char *yaml)
{
	count = 0;
	node_start(&node, yaml, NULL);
	open_ws();
}

/* What ends sessions is answered, so that the gateway need not wait for it. */
static void finish(void)
{
	client_close(&client);
	node.automatic = true;
	for (unsigned i = 0; i < node.n_seen; i++)
		if (node.seen[i].verb == 3 && node.seen[i].worker->link)
			seen_answer(&node.seen[i], 204, "");
	node_end(&node);
}

/* first: opcode and flags. */
static void send_frame(unsigned first, const char *payload, size_t len)
{
	static const char mask[4] = {'m', 'a', 's', 'k'};
	struct buf out;
	char header[14] = {(char)first};
	size_t n = 2;

	if (len < 126) {
		header[1] = (char)(0x80 | len);
	} else if (len < 65536) {
		header[1] = (char)(0x80 | 126);
		header[2] = (char)(len >> 8);
		header[3] = (char)len;
		n = 4;
	} else {
		header[1] = (char)(0x80 | 127);
		for (int i = 0; i < 8; i++)
			header[2 + i] = (char)((uint64_t)len >> (56 - 8 * i));
		n = 10;
	}
	buf_init(&out, len + 32);
	buf_append(&out, header, n);
	buf_append(&out, mask, 4);
	for (size_t i = 0; i < len; i++)
		buf_append_char(&out, (char)(payload[i] ^ mask[i % 4]));
	client_send(&client, out.data, out.len);
	buf_free(&out);
}

static void say(const char *text)
{
	send_frame(FIN | TEXT, text, strlen(text));
}

/* Is a whole frame there? *ret_skip: where its payload begins. */
static bool frame_is_there(size_t *ret_skip, size_t *ret_len)
{
	const unsigned char *p = (const unsigned char *)client.in.data;
	size_t have = client.in.len;

	if (have < 2)
		return false;
	ck_assert_uint_eq(p[1] & 0x80, 0);
	*ret_len = p[1] & 0x7f;
	*ret_skip = *ret_len < 126 ? 2 : *ret_len == 126 ? 4 : 10;
	if (have < *ret_skip)
		return false;
	if (*ret_skip > 2) {
		*ret_len = 0;
		for (size_t i = 2; i < *ret_skip; i++)
			*ret_len = *ret_len << 8 | p[i];
	}
	return have >= *ret_skip + *ret_len;
}

/* The next frame's first byte, its payload in ret; NO_FRAME when the connection closed before. */
static unsigned next_frame(struct buf *ret)
{
	uint64_t end = clock_ms() + PATIENCE_MS;
	size_t skip, len;
	unsigned first;

	buf_clear(ret);
	while (!frame_is_there(&skip, &len)) {
		if (client.closed || clock_ms() > end)
			return NO_FRAME;
		client_read(&client);
	}
	first = (unsigned char)client.in.data[0];
	buf_append(ret, client.in.data + skip, len);
	buf_append_char(ret, '\0');
	ret->len--;
	buf_consume(&client.in, skip + len);
	return first;
}

static void expect(const char *text)
{
	struct buf payload;

	buf_init(&payload, 1u << 20);
	ck_assert_uint_eq(next_frame(&payload), FIN | TEXT);
	ck_assert_msg(strstr(payload.data, text), "%s is not in %s", text, payload.data);
	buf_free(&payload);
}

/* Close with this code, after at most so many other frames; then the end. */
static void expect_close(unsigned code, unsigned others)
{
	struct buf payload;
	unsigned first;

	buf_init(&payload, 1u << 20);
	while ((first = next_frame(&payload)) != (FIN | CLOSE) && first != NO_FRAME &&
		others-- > 0)
		;
	ck_assert_uint_eq(first, FIN | CLOSE);
	ck_assert_uint_ge(payload.len, 2);
	ck_assert_uint_eq(
		(unsigned char)payload.data[0] << 8 | (unsigned char)payload.data[1], code);
	buf_free(&payload);
	ck_assert(client_wait_closed(&client));
	ck_assert_uint_eq(client.in.len, 0);
}

static struct seen *next_seen(void)
{
	node_wait_seen(&node, ++count);
	return &node.seen[count - 1];
}

/* A session is open, and its GET is with the worker. */
static struct seen *initialize(void)
{
	struct seen *seen;

	say(INITIALIZE);
	seen = next_seen();
	ck_assert_uint_eq(seen->verb, 1);
	ck_assert_uint_eq(seen->accept, 1);
	seen_answer_session(seen, 200, WELCOME);
	expect(WELCOME);
	seen = next_seen();
	ck_assert_uint_eq(seen->verb, 2);
	ck_assert_uint_eq(seen->accept, 2 | 8);
	ck_assert_str_eq(seen->session, node.workers[0].session);
	seen_begin(seen);
	return seen;
}

/* --- the handshake -------------------------------------------------------------------------- */

static const struct {
	const char *yaml, *request;
	unsigned status;
	const char *says;
} handshakes[] = {
	{"", GET HOST UPGRADE KEY VERSION PROTOCOL, 101, ACCEPT},
	{"", GET HOST UPGRADE KEY VERSION PROTOCOL, 101, PROTOCOL},
	{"", GET HOST UPGRADE KEY VERSION, 101, ACCEPT},
	{"", GET HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: chat, mcp\r\n", 101, PROTOCOL},
	{"", GET HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: chat\r\n", 400, "mcp"},
	{"", GET HOST UPGRADE KEY PROTOCOL, 426, "Sec-WebSocket-Version: 13"},
	{"", GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n", 426, "Upgrade: websocket"},
	{"", GET HOST UPGRADE KEY, 426, "\r\nConnection: Upgrade\r\n"},
	{"", GET HOST UPGRADE VERSION, 400, "Sec-WebSocket-Key"},
	{"", GET HOST UPGRADE VERSION "Sec-WebSocket-Key: c2hvcnQ=\r\n", 400, "bad_http"},
	{"", GET HOST UPGRADE VERSION KEY KEY, 400, "bad_http"},
	{"", GET "Host: evil.example\r\n" UPGRADE KEY VERSION, 403, "bad_host"},
	{"", GET HOST UPGRADE KEY VERSION "Origin: http://evil.example\r\n", 403, "bad_origin"},
	{"", GET HOST UPGRADE KEY VERSION "Origin: http://localhost:3000\r\n", 101, ACCEPT},
	{"allowed_origins: [ 'https://app.example' ]\n",
		GET HOST UPGRADE KEY VERSION "Origin: https://app.example\r\n", 101, ACCEPT},
	/* not for WebSocket */
	{"", GET HOST KEY VERSION "Upgrade: websocket\r\n", 400, "session_required"},
	{"", GET HOST KEY VERSION "Upgrade: h2c\r\nConnection: Upgrade\r\n", 400,
		"session_required"},
	{"", "GET /other HTTP/1.1\r\n" HOST UPGRADE KEY VERSION, 404, "not_found"},
};

START_TEST(test_handshake)
{
	node_start(&node, handshakes[_i].yaml, NULL);
	client_open(&client, &node);
	client_say(&client, handshakes[_i].request);
	client_say(&client, "\r\n");
	ck_assert_msg(client_status(&client) == handshakes[_i].status, "%d: %s", _i,
		client_text(&client));
	ck_assert_msg(strstr(client_text(&client), handshakes[_i].says), "%d: %s", _i,
		client_text(&client));
	ck_assert_ptr_null(strstr(client_text(&client), "Sec-WebSocket-Extensions"));
	finish();
}
END_TEST

/* --- a session ------------------------------------------------------------------------------ */

START_TEST(test_session)
{
	struct seen *events, *call;

	start("");
	events = initialize();
	say(INITIALIZED);
	ck_assert_str_eq(next_seen()->body, INITIALIZED);
	seen_answer(&node.seen[count - 1], 202, "");
	say(CALL);
	call = next_seen();
	ck_assert_str_eq(call->body, CALL);
	ck_assert_str_eq(call->session, node.workers[0].session);
	ck_assert_uint_eq(call->accept, 1 | 2 | 8);
	seen_answer(call, 200, RESULT);
	expect(RESULT);
	/* what belongs to no request; the event is cut anywhere, and one without data is nothing */
	seen_data(events, "id: e-1\ndata:\n\nid: e-2\nevent: message\nda", 40);
	seen_data(events, "ta: " NOTE "\n\n", strlen("ta: " NOTE "\n\n"));
	expect(NOTE);
	/* an answer that is a stream */
	say(CALL);
	call = next_seen();
	seen_begin(call);
	seen_data(call, "data: " NOTE "\n\ndata: " RESULT "\n\n",
		strlen("data: " NOTE "\n\ndata: " RESULT "\n\n"));
	seen_end(call);
	expect(NOTE);
	expect(RESULT);
	ck_assert_uint_eq(node.opens, 1);
	finish();
}
END_TEST

/* The peer's Close is echoed; then the session ends, and what was under way is given up. */
START_TEST(test_close)
{
	struct seen *events, *call;
	bool vanishes = _i == 1;

	start("");
	events = initialize();
	say(CALL);
	call = next_seen();
	if (vanishes) {
		client_close(&client);
	} else {
		send_frame(FIN | CLOSE, "\x03\xe8" "bye", 5);
		expect_close(1000, 0);
	}
	ck_assert_uint_eq(next_seen()->verb, 3);
	ck_assert_str_eq(node.seen[count - 1].session, node.workers[0].session);
	seen_answer(&node.seen[count - 1], 204, "");
	ck_assert(call->closed);
	ck_assert(events->closed);
	node_run(&node, 50);
	ck_assert_uint_eq(node.n_seen, count);
	if (vanishes)
		client_open(&client, &node);
	finish();
}
END_TEST

/* Closed before initialize was answered: the session that comes of it ends all the same. */
START_TEST(test_close_early)
{
	start("");
	say(INITIALIZE);
	next_seen();
	client_close(&client);
	ck_assert_uint_eq(next_seen()->verb, 3);
	ck_assert_str_eq(node.seen[count - 1].session, node.workers[0].session);
	client_open(&client, &node);
	finish();
}
END_TEST

static const struct {
	const char *message, *says; /* NULL: nothing */
} early[] = {
	{CALL, "\"id\":7,\"error\":{\"code\":-32000"},
	{"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}", "\"id\":\"p\",\"result\":{}"},
	{MODERN, "\"id\":3,\"error\":{\"code\":-32601"},
	{"{\"jsonrpc\":", "\"id\":null,\"error\":{\"code\":-32700"},
	{"{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"x\"}", "\"id\":5,\"error\":{\"code\":-32600"},
	{"", "-32700"},
	{INITIALIZED, NULL},
	{"[" CALL "]", "-32000"},
};

START_TEST(test_early)
{
	start("");
	for (size_t i = 0; i < sizeof(early) / sizeof(*early); i++) {
		say(early[i].message);
		if (early[i].says)
			expect(early[i].says);
	}
	ck_assert_uint_eq(node.opens, 0);
	initialize();
	say(INITIALIZE);
	expect("already");
	say(MODERN);
	expect("-32601");
	finish();
}
END_TEST

/* Refused: there is no session, and another initialize may succeed. */
START_TEST(test_initialize_again)
{
	start("");
	say(INITIALIZE);
	say(CALL);
	expect("wait for the answer");
	seen_answer(next_seen(), 400, "{\"jsonrpc\":\"2.0\",\"id\":0,\"error\":{\"code\":-32602}}");
	expect("-32602");
	say(INITIALIZE);
	seen_answer_session(next_seen(), 200, WELCOME);
	expect(WELCOME);
	ck_assert_uint_eq(next_seen()->verb, 2);
	ck_assert_uint_eq(node.opens, 2);
	finish();
}
END_TEST

/* The answers of a batch leave one by one. */
START_TEST(test_batch)
{
	start("");
	initialize();
	say("[" CALL "," CALL "]");
	seen_answer(next_seen(), 200, "[" RESULT ",\n" REPLY "]");
	expect(RESULT);
	expect(REPLY);
	finish();
}
END_TEST

/* What says that a long request is not wanted any more comes after it. */
START_TEST(test_cancel_after_request)
{
	static const char cancel[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\","
				     "\"params\":{\"requestId\":7}}";
	enum { SIZE = 3u << 20 };
	char *text = malloc(SIZE + 1);

	memset(text, ' ', SIZE);
	memcpy(text, CALL, strlen(CALL));
	text[SIZE] = '\0';
	start("");
	initialize();
	say(text);
	say(cancel);
	ck_assert_ptr_nonnull(strstr(next_seen()->body, "tools/call"));
	ck_assert_str_eq(next_seen()->body, cancel);
	free(text);
	finish();
}
END_TEST

/* A request that is too much has its answer; for what has none, the connection ends. */
START_TEST(test_too_many)
{
	static char text[4096];

	memset(text, ' ', sizeof(text));
	memcpy(text, CALL, strlen(CALL));
	text[sizeof(text) - 1] = '\0';
	start("http: { max_body: 4096 }\n");
	initialize();
	for (unsigned asked = 0; asked < 6; asked++)
		say(text);
	expect("\"reason\":\"too_many\"");
	say(NOTE);
	expect_close(1013, 6);
	finish();
}
END_TEST

/* An answer that makes no sense: the worker learns that nobody wants it any more. */
START_TEST(test_broken)
{
	struct seen *call;

	start("");
	initialize();
	say(CALL);
	call = next_seen();
	seen_answer(call, 700, RESULT);
	expect("-32603");
	node_run(&node, 20);
	ck_assert(call->closed);
	finish();
}
END_TEST

/* Events that are not whole: beyond a bound, one is completed, and the others wait for it. */
START_TEST(test_half_events)
{
	enum { PIECE = 32768, MANY = 12u << 20, WINDOW = 256u << 10 };
	static char piece[PIECE];
	struct seen *events, *call;
	struct buf payload;
	uint64_t sent = 6;

	memset(piece, 'x', sizeof(piece));
	start("");
	events = initialize();
	say(CALL);
	call = next_seen();
	seen_begin(call);
	seen_data(events, "data: ", 6);
	for (; sent < MANY; sent += PIECE) {
		while (sent + PIECE > events->credit + WINDOW)
			node_run(&node, 2);
		seen_data(events, piece, PIECE);
	}
	node_run(&node, 50);
	seen_data(call, "data: ", 6);
	for (unsigned i = 0; i < 6; i++)
		seen_data(call, piece, PIECE);
	node_run(&node, 50);
	ck_assert_uint_eq(call->credit, 0);
	seen_data(events, "\n\n", 2);
	buf_init(&payload, 1u << 20);
	while ((next_frame(&payload) & FIN) == 0)
		ck_assert_int_eq(payload.data[0], 'x');
	node_run(&node, 50);
	ck_assert_uint_gt(call->credit, 0);
	buf_free(&payload);
	finish();
}
END_TEST

/* --- frames --------------------------------------------------------------------------------- */

/* Fragments, with a ping between them, and a character that two of them share. */
START_TEST(test_fragments)
{
	static const char text[] =
		"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"ü\"}}";
	size_t cut = (size_t)(strstr(text, "\xc3\xbc") - text) + 1;
	struct buf payload;

	start("");
	initialize();
	buf_init(&payload, 1000);
	send_frame(TEXT, text, cut);
	send_frame(FIN | PING, "hello", 5);
	send_frame(CONTINUATION, "", 0);
	send_frame(FIN | CONTINUATION, text + cut, strlen(text) - cut);
	ck_assert_uint_eq(next_frame(&payload), FIN | PONG);
	ck_assert_str_eq(payload.data, "hello");
	ck_assert_str_eq(next_seen()->body, text);
	buf_free(&payload);
	finish();
}
END_TEST

/* A long answer comes in frames of at most 64 KiB. */
START_TEST(test_long_answer)
{
	struct buf text, frame, whole;
	unsigned first, n = 0;

	start("");
	initialize();
	buf_init(&text, 1u << 20);
	buf_init(&frame, 1u << 20);
	buf_init(&whole, 1u << 20);
	buf_append_str(&text, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"x\":\"");
	for (unsigned i = 0; i < 300000; i++)
		buf_append_char(&text, (char)('a' + i % 26));
	buf_append_str(&text, "\"}}");
	buf_append_char(&text, '\0');
	say(CALL);
	seen_answer(next_seen(), 200, text.data);
	do {
		first = next_frame(&frame);
		ck_assert_uint_eq(first & 0xf, n++ ? CONTINUATION : TEXT);
		ck_assert_uint_le(frame.len, 65536);
		buf_append_span(&whole, buf_span(&frame));
	} while (!(first & FIN));
	ck_assert_uint_eq(n, 5);
	ck_assert(span_is(buf_span(&whole), text.data));
	buf_free(&text);
	buf_free(&frame);
	buf_free(&whole);
	finish();
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
	unsigned code;
} bad_frames[] = {
#define RAW(s) s, sizeof(s) - 1
	{RAW("\x81\x02{}"), 1002},                         /* not masked */
	{RAW("\x82\x82mask\x16\x1c"), 1003},               /* binary */
	{RAW("\xc1\x82mask\x16\x1c"), 1002},               /* RSV1 */
	{RAW("\x83\x80mask"), 1002},                       /* no such opcode */
	{RAW("\x8b\x80mask"), 1002},                       /* no such control frame */
	{RAW("\x80\x80mask"), 1002},                       /* a fragment of nothing */
	{RAW("\x01\x80mask\x01\x80mask"), 1002},           /* a message within another */
	{RAW("\x09\x80mask"), 1002},                       /* a ping in fragments */
	{RAW("\x89\xfe\x00\x7emask"), 1002},               /* a long ping */
	{RAW("\x81\xfe\x00\x02mask\x16\x1c"), 1002},       /* a length that is too long */
	{RAW("\x81\xff\x80\0\0\0\0\0\0\0mask"), 1002},     /* a length beyond all */
	{RAW("\x81\xff\0\0\0\x10\0\0\0\0mask\x16"), 1009}, /* one beyond ours */
	{RAW("\x81\x82mask\x92\x92"), 1007},               /* not UTF-8 */
	{RAW("\x88\x81mask\x6d"), 1002},                   /* a Close with half a code */
	{RAW("\x88\x82mask\x6e\x8c"), 1002},               /* code 1005 may not be sent */
	{RAW("\x88\x82mask\x6e\x89"), 1000},               /* code 1000 */
	{RAW("\x88\x82mask\x62\xc1"), 4000},               /* code 4000 */
};

START_TEST(test_bad_frames)
{
	start("");
	initialize();
	client_send(&client, bad_frames[_i].bytes, bad_frames[_i].len);
	expect_close(bad_frames[_i].code, 0);
	ck_assert_uint_eq(next_seen()->verb, 3);
	finish();
}
END_TEST

static const struct {
	const char *what;
	unsigned frames, first;
	size_t each;
	unsigned code;
} floods[] = {
	{"one long message", 1, FIN | TEXT, 4097, 1009},
	{"a long message in pieces", 5, CONTINUATION, 1024, 1009},
	{"pings", 300, FIN | PING, 10, 1008},
	{"empty fragments", 70000, CONTINUATION, 0, 1008},
};

START_TEST(test_floods)
{
	char payload[8192];

	memset(payload, ' ', sizeof(payload));
	start("http: { max_body: 4096 }\n");
	for (unsigned i = 0; i < floods[_i].frames; i++)
		send_frame(i == 0 && floods[_i].first == CONTINUATION ? TEXT : floods[_i].first,
			payload, floods[_i].each);
	expect_close(floods[_i].code, 300);
	finish();
}
END_TEST

/* --- a worker dies -------------------------------------------------------------------------- */

START_TEST(test_worker_dies)
{
	static const char half[] = "id: e-5\ndata: " NOTE "\n\nid: e-6\nda";
	struct seen *events, *again;
	struct worker *worker;

	start("");
	events = initialize();
	worker = events->worker;
	seen_data(events, half, strlen(half));
	expect(NOTE);
	say(CALL);
	next_seen();
	say("{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"tools/call\"}");
	seen_forwarded(next_seen(), false);
	worker_die(worker);
	/* one is sent again, of the other it is not known whether it ran */
	expect("\"id\":8,\"error\":{\"code\":-32000");
	for (unsigned i = 0; i < 2; i++) {
		again = next_seen();
		ck_assert_ptr_ne(again->worker, worker);
		ck_assert_str_eq(again->session, worker->session);
		if (again->verb == 1) {
			ck_assert_str_eq(again->body, CALL);
			seen_answer(again, 200, RESULT);
			expect(RESULT);
		} else {
			ck_assert_uint_eq(again->verb, 2);
			ck_assert_str_eq(again->last_event_id, "e-5");
			seen_begin(again);
			seen_data(again, "id: e-6\ndata: " REPLY "\n\n",
				strlen("id: e-6\ndata: " REPLY "\n\n"));
			expect(REPLY);
		}
	}
	node_run(&node, 50);
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

/* An answer that had begun as a stream: half an event is forgotten, and said again. */
START_TEST(test_worker_dies_in_event)
{
	struct seen *events, *call;

	start("");
	events = initialize();
	say(CALL);
	call = next_seen();
	seen_begin(call);
	seen_data(call, "data: {\"half", 12);
	node_run(&node, 20);
	worker_die(events->worker);
	for (unsigned i = 0; i < 2; i++) {
		call = next_seen();
		if (call->verb == 2)
			continue;
		seen_begin(call);
		seen_data(call, "data: " RESULT "\n\n", strlen("data: " RESULT "\n\n"));
		seen_end(call);
	}
	expect(RESULT);
	finish();
}
END_TEST

/* --- ends ----------------------------------------------------------------------------------- */

START_TEST(test_session_over)
{
	struct seen *events;

	start("");
	events = initialize();
	node.refuse_code = ERR_SESSION_UNKNOWN;
	seen_end(events);
	worker_die(events->worker);
	expect_close(1000, 0);
	finish();
}
END_TEST

/* The gateway ends: what runs is answered first. */
START_TEST(test_drain)
{
	struct seen *call;

	start("");
	initialize();
	say(CALL);
	call = next_seen();
	node_stop(&node, 5000);
	node_run(&node, 50);
	say("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/list\"}");
	expect("\"id\":9,\"error\":{\"code\":-32000");
	seen_answer(call, 200, RESULT);
	expect(RESULT);
	expect_close(1001, 0);
	ck_assert_uint_eq(next_seen()->verb, 3);
	seen_answer(&node.seen[count - 1], 204, "");
	ck_assert(node_wait(&node, &node.exited, 3000));
	finish();
}
END_TEST

/* A client that does not read: what it would need is not kept without end. */
START_TEST(test_slow_reader)
{
	enum { SIZE = 4u << 20, CALLS = 14 };
	char *text = malloc(SIZE + 1);

	memset(text, ' ', SIZE);
	text[0] = '{';
	text[SIZE - 1] = '}';
	text[SIZE] = '\0';
	start("");
	initialize();
	client.stalled = true;
	for (unsigned i = 0; i < CALLS; i++) {
		say(CALL);
		next_seen();
	}
	for (unsigned i = 0; i < CALLS; i++) {
		seen_answer(&node.seen[count - CALLS + i], 200, text);
		while (!link_flush(node.workers[0].link))
			node_run(&node, 2);
	}
	node_run(&node, 200);
	client.stalled = false;
	/* less than was said arrives */
	expect_close(1013, CALLS * (SIZE / 65536) / 2);
	free(text);
	finish();
}
END_TEST

/* The same, where the worker has seen it first. */
START_TEST(test_cut)
{
	start("");
	seen_cut(initialize());
	expect_close(1013, 0);
	finish();
}
END_TEST

/* No more is asked of a worker than the client takes. */
START_TEST(test_credit)
{
	static char event[32768];
	struct seen *events;
	unsigned sent = 0;

	memset(event, 'x', sizeof(event));
	memcpy(event, "data: ", 6);
	memcpy(event + sizeof(event) - 2, "\n\n", 2);
	start("");
	events = initialize();
	client.stalled = true;
	while (sent < (events->credit + (256u << 10)) && sent < 64u << 20) {
		seen_data(events, event, sizeof(event));
		sent += sizeof(event);
		node_run(&node, 4);
	}
	ck_assert_uint_lt(sent, 16u << 20);
	client.stalled = false;
	for (unsigned i = 0; i < sent / sizeof(event); i++)
		expect("xxxx");
	node_run(&node, 50);
	ck_assert_uint_gt(events->credit + (256u << 10), sent);
	finish();
}
END_TEST

/* Pings; without an answer the client is taken for gone. */
START_TEST(test_keepalive)
{
	struct buf payload;

	start("sse: { keepalive: 200ms }\n");
	buf_init(&payload, 1000);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(next_frame(&payload), FIN | PING);
		send_frame(FIN | PONG, payload.data, payload.len);
	}
	ck_assert_uint_eq(next_frame(&payload), FIN | PING);
	expect_close(1011, 0);
	buf_free(&payload);
	finish();
}
END_TEST

START_TEST(test_unfinished)
{
	start("sse: { keepalive: 200ms }\n");
	send_frame(TEXT, "{", 1);
	expect_close(1008, 3);
	finish();
}
END_TEST

START_TEST(test_metrics)
{
	const char *metrics;

	start("");
	initialize();
	metrics = node_query(&node, "metrics");
	ck_assert_ptr_nonnull(
		strstr(metrics, "gatehouse_connections{transport=\"websocket\",state=\"idle\"} 1\n"));
	ck_assert_ptr_nonnull(
		strstr(metrics, "gatehouse_connections{transport=\"http\",state=\"idle\"} 0\n"));
	say(CALL);
	next_seen();
	ck_assert_ptr_nonnull(strstr(node_query(&node, "metrics"),
		"gatehouse_connections{transport=\"websocket\",state=\"active\"} 1\n"));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("gateway, WebSocket");
	TCase *tcase = tcase_create("websocket");

	tcase_set_timeout(tcase, 90);
	tcase_add_loop_test(
		tcase, test_handshake, 0, sizeof(handshakes) / sizeof(*handshakes));
	tcase_add_test(tcase, test_session);
	tcase_add_loop_test(tcase, test_close, 0, 2);
	tcase_add_test(tcase, test_close_early);
	tcase_add_test(tcase, test_early);
	tcase_add_test(tcase, test_initialize_again);
	tcase_add_test(tcase, test_batch);
	tcase_add_test(tcase, test_cancel_after_request);
	tcase_add_test(tcase, test_too_many);
	tcase_add_test(tcase, test_broken);
	tcase_add_test(tcase, test_half_events);
	tcase_add_test(tcase, test_fragments);
	tcase_add_test(tcase, test_long_answer);
	tcase_add_loop_test(
		tcase, test_bad_frames, 0, sizeof(bad_frames) / sizeof(*bad_frames));
	tcase_add_loop_test(tcase, test_floods, 0, sizeof(floods) / sizeof(*floods));
	tcase_add_test(tcase, test_worker_dies);
	tcase_add_test(tcase, test_worker_dies_in_event);
	tcase_add_test(tcase, test_session_over);
	tcase_add_test(tcase, test_drain);
	tcase_add_test(tcase, test_slow_reader);
	tcase_add_test(tcase, test_cut);
	tcase_add_test(tcase, test_credit);
	tcase_add_test(tcase, test_keepalive);
	tcase_add_test(tcase, test_unfinished);
	tcase_add_test(tcase, test_metrics);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
