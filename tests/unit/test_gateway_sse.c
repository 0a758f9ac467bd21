/* A real gateway, spoken to over HTTP+SSE; workers, session manager, root and a neighbour are played. */
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
#define EVENT(json) "event: message\ndata: " json "\n\n"
#define GET "GET /sse HTTP/1.1\r\n"
#define HOST "Host: localhost\r\n"
#define ACCEPT "Accept: text/event-stream\r\n"
#define JSON "Content-Type: application/json\r\n"
#define TWO "gateways: 2\n"

static struct node node;
static struct client stream, poster;
static char endpoint[256]; /* as announced */
static unsigned count;     /* exchanges seen so far */

/* --- a client ------------------------------------------------------------------------------- */

static void open_stream(const char *headers)
{
	const char *at;

	client_open(&stream, &node);
	client_say(&stream, GET HOST ACCEPT);
	client_say(&stream, headers);
	client_say(&stream, "\r\n");
	ck_assert(client_wait(&stream, "event: endpoint\ndata: "));
	ck_assert(client_wait(&stream, "\n\n\r\n"));
	at = strstr(client_text(&stream), "data: ") + 6;
	snprintf(endpoint, sizeof(endpoint), "%.*s", (int)strcspn(at, "\n"), at);
	client_forget(&stream);
}

static void start(const char *yaml)
{
	count = 0;
	node_start(&node, yaml, NULL);
	open_stream("");
	client_open(&poster, &node);
}

/* What ends sessions is answered, so that the gateway need not wait for it. */
static void finish(void)
{
	client_close(&stream);
	client_close(&poster);
	node.automatic = true;
	for (unsigned i = 0; i < node.n_seen; i++)
		if (node.seen[i].verb == 3 && node.seen[i].worker->link)
			seen_answer(&node.seen[i], 204, "");
	node_end(&node);
}

static void send_post(const char *target, const char *headers, const char *body)
{
	char text[8192];

	client_forget(&poster);
	snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n%s",
		target, headers, strlen(body), body);
	client_say(&poster, text);
}

static unsigned post(const char *body)
{
	send_post(endpoint, JSON, body);
	return client_status(&poster);
}

static void say(const char *body)
{
	ck_assert_msg(post(body) == 202, "%s", client_text(&poster));
}

static void expect(const char *text)
{
	ck_assert_msg(client_wait(&stream, text), "%s is not in %s", text, client_text(&stream));
	client_forget(&stream);
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
	expect(EVENT(WELCOME));
	seen = next_seen();
	ck_assert_uint_eq(seen->verb, 2);
	ck_assert_uint_eq(seen->accept, 2 | 8);
	ck_assert_str_eq(seen->session, node.workers[0].session);
	seen_begin(seen);
	return seen;
}

/* --- opening -------------------------------------------------------------------------------- */

static const struct {
	const char *yaml, *request;
	unsigned status;
	const char *says;
} openings[] = {
	{"", GET HOST ACCEPT, 200, "Content-Type: text/event-stream\r\n"},
	{"", GET HOST ACCEPT, 200, "X-Accel-Buffering: no\r\n"},
	{"", GET HOST ACCEPT, 200, "Cache-Control: no-store"},
	{"", GET HOST ACCEPT, 200, "event: endpoint\ndata: /sse?sessionId=0.1."},
	{"", GET HOST, 200, "event: endpoint\n"},
	{"", GET HOST "Accept: application/json\r\n", 406, "not_acceptable"},
	{"", "GET /sse HTTP/1.1\r\nHost: evil.example\r\n" ACCEPT, 403, "bad_host"},
	{"", GET HOST ACCEPT "Origin: http://evil.example\r\n", 403, "bad_origin"},
	{"allowed_origins: [ 'https://app.example' ]\n",
		GET HOST ACCEPT "Origin: https://app.example\r\n", 200,
		"Access-Control-Allow-Origin: https://app.example\r\n"},
	{"", "PUT /sse HTTP/1.1\r\n" HOST ACCEPT, 405, "Allow: GET, POST\r\n"},
	{"", "GET /events HTTP/1.1\r\n" HOST ACCEPT, 404, "not_found"},
	{"sse: { path: /events }\n", "GET /events HTTP/1.1\r\n" HOST ACCEPT, 200,
		"data: /events?sessionId=0.1."},
	{"sse: { path: /events }\n", GET HOST ACCEPT, 404, "not_found"},
	{"sse: { path: '' }\n", GET HOST ACCEPT, 404, "not_found"},
	/* what stands in front of the path */
	{"trusted_proxies: [ 127.0.0.1 ]\n", GET HOST ACCEPT "X-Forwarded-Prefix: /gw/\r\n", 200,
		"data: /gw/sse?sessionId="},
	{"trusted_proxies: [ 127.0.0.1 ]\n",
		GET HOST ACCEPT "X-Forwarded-Prefix: /outer, /a/b\r\n", 200,
		"data: /a/b/sse?sessionId="},
	{"", GET HOST ACCEPT "X-Forwarded-Prefix: /gw\r\n", 200, "data: /sse?sessionId="},
	{"trusted_proxies: [ 127.0.0.1 ]\n",
		GET HOST ACCEPT "X-Forwarded-Prefix: //evil.example\r\n", 200,
		"data: /sse?sessionId="},
	{"trusted_proxies: [ 127.0.0.1 ]\n",
		GET HOST ACCEPT "X-Forwarded-Prefix: /a?b\r\n", 200, "data: /sse?sessionId="},
	{"trusted_proxies: [ 127.0.0.1 ]\n",
		GET HOST ACCEPT "X-Forwarded-Prefix: http://evil.example/\r\n", 200,
		"data: /sse?sessionId="},
};

START_TEST(test_opening)
{
	node_start(&node, openings[_i].yaml, NULL);
	client_open(&stream, &node);
	client_open(&poster, &node);
	client_say(&stream, openings[_i].request);
	client_say(&stream, "\r\n");
	ck_assert_msg(client_wait(&stream, openings[_i].says), "%d: %s", _i, client_text(&stream));
	ck_assert_int_eq(atoi(client_text(&stream) + 9), (int)openings[_i].status);
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
	expect(EVENT(RESULT));
	/* what belongs to no request; the event is cut anywhere, and one without data is nothing */
	seen_data(events, "id: e-1\ndata:\n\nid: e-2\nevent: message\nda", 40);
	seen_data(events, "ta: " NOTE "\n\n", strlen("ta: " NOTE "\n\n"));
	expect(EVENT(NOTE));
	/* an answer that is a stream */
	say(CALL);
	call = next_seen();
	seen_begin(call);
	seen_data(call, "data: " NOTE "\n\ndata: " RESULT "\n\n",
		strlen("data: " NOTE "\n\ndata: " RESULT "\n\n"));
	seen_end(call);
	expect(EVENT(RESULT));
	/* the answers of a batch leave one by one */
	say("[" CALL "," CALL "]");
	seen_answer(next_seen(), 200, "[" RESULT ",\n" REPLY "]");
	ck_assert(client_wait(&stream, EVENT(RESULT)));
	expect(EVENT(REPLY));
	/* lines stay lines */
	say(CALL);
	seen_answer(next_seen(), 200, "{\"jsonrpc\":\"2.0\",\n\"id\":7,\"result\":{}}");
	expect("data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":7,\"result\":{}}\n\n");
	ck_assert_uint_eq(node.opens, 1);
	finish();
}
END_TEST

/* Streams of one gateway do not get each other's messages. */
START_TEST(test_two_streams)
{
	struct client first;
	char first_endpoint[256];

	start("");
	first = stream;
	snprintf(first_endpoint, sizeof(first_endpoint), "%s", endpoint);
	open_stream("");
	ck_assert_str_ne(endpoint, first_endpoint);
	initialize();
	say(CALL);
	seen_answer(next_seen(), 200, RESULT);
	expect(EVENT(RESULT));
	client_read(&first);
	ck_assert_uint_eq(first.in.len, 0);
	client_close(&first);
	node_run(&node, 20);
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

static const struct {
	const char *body;
	unsigned status;
	const char *says;    /* the answer to the POST */
	const char *streams; /* what comes on the stream, or NULL */
} early[] = {
	{CALL, 202, "", "\"id\":7,\"error\":{\"code\":-32000"},
	{"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}", 202, "",
		"\"id\":\"p\",\"result\":{}"},
	{MODERN, 202, "", "\"id\":3,\"error\":{\"code\":-32601"},
	{"{\"jsonrpc\":", 400, "\"id\":null,\"error\":{\"code\":-32700", NULL},
	{"{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"x\"}", 202, "",
		"\"id\":5,\"error\":{\"code\":-32600"},
	{"", 400, "-32700", NULL},
	{INITIALIZED, 400, "session_required", NULL},
	{"[" CALL "]", 400, "session_required", NULL},
};

START_TEST(test_early)
{
	start("");
	for (size_t i = 0; i < sizeof(early) / sizeof(*early); i++) {
		ck_assert_msg(post(early[i].body) == early[i].status, "%zu: %s", i,
			client_text(&poster));
		ck_assert_msg(strstr(client_text(&poster), early[i].says), "%zu: %s", i,
			client_text(&poster));
		if (early[i].streams)
			expect(early[i].streams);
	}
	ck_assert_uint_eq(node.opens, 0);
	node_run(&node, 20);
	client_read(&stream);
	ck_assert_uint_eq(stream.in.len, 0);
	initialize();
	say(INITIALIZE);
	expect("already");
	finish();
}
END_TEST

/* --- the address ---------------------------------------------------------------------------- */

static const struct {
	const char *what;
	int at; /* this character of the key is another; -1: none is */
	const char *target, *headers;
	unsigned status;
	const char *says;
} addresses[] = {
	{"a wrong secret", -2, NULL, JSON, 404, "session_unknown"},
	{"its first letter", 4, NULL, JSON, 404, "session_unknown"},
	{"another number", 2, NULL, JSON, 404, "session_unknown"},
	{"no key", -1, "/sse", JSON, 404, "not_found"},
	{"an empty one", -1, "/sse?sessionId=", JSON, 404, "not_found"},
	{"nonsense", -1, "/sse?sessionId=abc", JSON, 404, "session_unknown"},
	{"dots", -1, "/sse?sessionId=0..", JSON, 404, "session_unknown"},
	{"a long number", -1, "/sse?sessionId=0.99999999999999999999.x", JSON, 404,
		"session_unknown"},
	{"a slot that is none", -1, "/sse?sessionId=7.1.x", JSON, 404, "session_unknown"},
	{"no number", -1, "/sse?sessionId=00.1.x", JSON, 404, "session_unknown"},
	{"not JSON", -1, NULL, "Content-Type: text/plain\r\n", 415, "unsupported_media"},
	{"no type", -1, NULL, "", 415, "unsupported_media"},
	{"a page of elsewhere", -1, NULL, JSON "Origin: http://evil.example\r\n", 403,
		"bad_origin"},
};

START_TEST(test_address)
{
	char target[256], *key;
	int at = addresses[_i].at;

	start("");
	snprintf(target, sizeof(target), "%s",
		addresses[_i].target ? addresses[_i].target : endpoint);
	key = strchr(target, '=') ? strchr(target, '=') + 1 : target;
	if (at == -2)
		at = (int)strlen(key) - 1;
	if (at >= 0)
		key[at] = key[at] == '7' ? '8' : '7';
	send_post(target, addresses[_i].headers, INITIALIZE);
	ck_assert_uint_eq(client_status(&poster), addresses[_i].status);
	ck_assert_msg(strstr(client_text(&poster), addresses[_i].says), "%s: %s",
		addresses[_i].what, client_text(&poster));
	ck_assert_uint_eq(node.opens, 0);
	initialize();
	finish();
}
END_TEST

/* 192 random bits, never the same. */
START_TEST(test_secret)
{
	char first[256];
	const char *dot;

	start("");
	snprintf(first, sizeof(first), "%s", endpoint);
	client_close(&stream);
	open_stream("");
	dot = strrchr(endpoint, '.');
	ck_assert_uint_eq(strlen(dot + 1), 48);
	ck_assert_uint_eq(strspn(dot + 1, "0123456789abcdef"), 48);
	ck_assert_str_ne(dot, strrchr(first, '.'));
	finish();
}
END_TEST

/* --- ends ----------------------------------------------------------------------------------- */

START_TEST(test_close)
{
	struct seen *events, *call;

	start("");
	events = initialize();
	say(CALL);
	call = next_seen();
	client_close(&stream);
	ck_assert_uint_eq(next_seen()->verb, 3);
	ck_assert_str_eq(node.seen[count - 1].session, node.workers[0].session);
	seen_answer(&node.seen[count - 1], 204, "");
	ck_assert(call->closed);
	ck_assert(events->closed);
	ck_assert_uint_eq(post(CALL), 404);
	ck_assert_ptr_nonnull(strstr(client_text(&poster), "\"id\":7,\"error\":{\"code\":-32001"));
	client_open(&stream, &node);
	finish();
}
END_TEST

START_TEST(test_session_over)
{
	struct seen *events;

	start("");
	events = initialize();
	node.refuse_code = ERR_SESSION_UNKNOWN;
	seen_end(events);
	worker_die(events->worker);
	ck_assert(client_wait(&stream, "0\r\n\r\n"));
	ck_assert_uint_eq(post(CALL), 404);
	finish();
}
END_TEST

START_TEST(test_drain)
{
	struct seen *call;

	start("");
	initialize();
	say(CALL);
	call = next_seen();
	node_stop(&node, 5000);
	node_run(&node, 50);
	seen_answer(call, 200, RESULT);
	ck_assert(client_wait(&stream, EVENT(RESULT)));
	ck_assert(client_wait(&stream, "0\r\n\r\n"));
	ck_assert_uint_eq(next_seen()->verb, 3);
	seen_answer(&node.seen[count - 1], 204, "");
	ck_assert(node_wait(&node, &node.exited, 3000));
	finish();
}
END_TEST

START_TEST(test_worker_dies)
{
	static const char half[] = "id: e-5\ndata: " NOTE "\n\nid: e-6\nda";
	struct seen *events, *again;
	struct worker *worker;

	start("");
	events = initialize();
	worker = events->worker;
	seen_data(events, half, strlen(half));
	expect(EVENT(NOTE));
	say(CALL);
	next_seen();
	worker_die(worker);
	for (unsigned i = 0; i < 2; i++) {
		again = next_seen();
		ck_assert_ptr_ne(again->worker, worker);
		ck_assert_str_eq(again->session, worker->session);
		if (again->verb == 1) {
			ck_assert_str_eq(again->body, CALL);
			seen_answer(again, 200, RESULT);
			expect(EVENT(RESULT));
		} else {
			ck_assert_str_eq(again->last_event_id, "e-5");
			seen_begin(again);
			seen_data(again, "id: e-6\ndata: " REPLY "\n\n",
				strlen("id: e-6\ndata: " REPLY "\n\n"));
			expect(EVENT(REPLY));
		}
	}
	node_run(&node, 50);
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

START_TEST(test_keepalive)
{
	start("sse: { keepalive: 200ms }\n");
	expect(": keep-alive\n");
	expect(": keep-alive\n");
	initialize();
	finish();
}
END_TEST

/* A client that does not read: what it would need is not kept without end, and the stream breaks. */
/* Comments do not keep a stream that nobody uses; a session does. */
START_TEST(test_unused)
{
	start("http: {idle_timeout: 300ms}\nsse: {keepalive: 100ms}\n");
	ck_assert(client_wait(&stream, ": keep-alive"));
	ck_assert(client_wait_closed(&stream));
	finish();
	start("http: {idle_timeout: 300ms}\nsse: {keepalive: 100ms}\n");
	initialize();
	node_run(&node, 600);
	client_forget(&stream);
	ck_assert(client_wait(&stream, ": keep-alive"));
	finish();
}
END_TEST

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
	stream.stalled = true;
	for (unsigned i = 0; i < CALLS; i++) {
		say(CALL);
		next_seen();
	}
	for (unsigned i = 0; i < CALLS; i++) {
		if (!node.workers[0].link)
			break;
		seen_answer(&node.seen[count - CALLS + i], 200, text);
		while (node.workers[0].link && !link_flush(node.workers[0].link))
			node_run(&node, 2);
	}
	node_run(&node, 200);
	stream.stalled = false;
	ck_assert(client_wait_closed(&stream));
	ck_assert_ptr_null(strstr(client_text(&stream), "\r\n0\r\n\r\n"));
	ck_assert_uint_lt(stream.in.len, (size_t)CALLS * SIZE / 2);
	ck_assert_uint_eq(post(CALL), 404);
	free(text);
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
		strstr(metrics, "gatehouse_connections{transport=\"sse\",state=\"idle\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(metrics, "gatehouse_http_responses_total{status=\"202\"} 1\n"));
	say(CALL);
	next_seen();
	ck_assert_ptr_nonnull(strstr(node_query(&node, "metrics"),
		"gatehouse_connections{transport=\"sse\",state=\"active\"} 1\n"));
	finish();
}
END_TEST

/* --- other gateways ------------------------------------------------------------------------- */

#define ELSEWHERE "/sse?sessionId=1.4.secret"

static const struct {
	const char *what;
	unsigned denied; /* by the root */
	unsigned code;   /* of the neighbour */
	bool dies;
	unsigned status;
	const char *says;
} elsewhere[] = {
	{"it takes it", 0, 0, false, 202, ""},
	{"it knows no such stream", 0, ERR_SESSION_UNKNOWN, false, 404,
		"\"id\":7,\"error\":{\"code\":-32001"},
	{"it has no room", 0, ERR_TOO_MANY, false, 429, "\"executed\":\"no\""},
	{"it dies", 0, 0, true, 404, "\"executed\":\"unknown\""},
	{"it is not there", ERR_NOT_FOUND, 0, false, 404, "\"executed\":\"no\""},
	{"it is starting", ERR_BUSY, 0, false, 503, "\"retryable\":true"},
};

START_TEST(test_elsewhere)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	start(TWO);
	node.neighbour_code = elsewhere[_i].denied;
	for (unsigned round = 1; round <= 2; round++) {
		send_post(ELSEWHERE, JSON, CALL);
		while (!elsewhere[_i].denied && node.n_posted < round && clock_ms() < end)
			node_run(&node, 5);
		if (!elsewhere[_i].denied) {
			ck_assert_uint_eq(node.n_posted, round);
			ck_assert_str_eq(node.posted.key, "1.4.secret");
			ck_assert_str_eq(node.posted.principal, "anonymous");
			ck_assert_str_eq(node.posted.body, CALL);
			if (elsewhere[_i].dies)
				node_neighbour_dies(&node);
			else
				node_taken(&node, elsewhere[_i].code);
		}
		ck_assert_msg(client_status(&poster) == elsewhere[_i].status, "%s: %s",
			elsewhere[_i].what, client_text(&poster));
		ck_assert((strstr(client_text(&poster), "\r\nRetry-After: 1\r\n") != NULL) ==
			  (elsewhere[_i].status == 503 || elsewhere[_i].status == 429));
		ck_assert_msg(strstr(client_text(&poster), elsewhere[_i].says), "%s: %s",
			elsewhere[_i].what, client_text(&poster));
	}
	finish();
}
END_TEST

/* Who posted goes away; the answer that comes is for nobody. */
START_TEST(test_elsewhere_gone)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	start(TWO);
	send_post(ELSEWHERE, JSON, CALL);
	while (node.n_posted < 1 && clock_ms() < end)
		node_run(&node, 5);
	client_close(&poster);
	node_run(&node, 30);
	node_taken(&node, 0);
	node_run(&node, 30);
	client_open(&poster, &node);
	initialize();
	finish();
}
END_TEST

/* It may still answer on the stream: what is said here answers no request. */
START_TEST(test_elsewhere_late)
{
	start(TWO);
	send_post(ELSEWHERE, JSON, CALL);
	ck_assert_uint_eq(client_status(&poster), 504);
	ck_assert_ptr_nonnull(strstr(client_text(&poster), "\"executed\":\"unknown\""));
	ck_assert_ptr_null(strstr(client_text(&poster), "\"id\":7"));
	node_taken(&node, 0);
	node_run(&node, 30);
	send_post(ELSEWHERE, JSON, CALL);
	node.takes_all = true;
	ck_assert_uint_eq(client_status(&poster), 202);
	finish();
}
END_TEST

/* More than a link holds at a time: the others wait for their turn. */
START_TEST(test_elsewhere_long)
{
	enum { CLIENTS = 6, SIZE = 3u << 20 };
	struct client clients[CLIENTS];
	char *body = malloc(SIZE + 1), head[200];

	start(TWO);
	node.takes_all = true;
	memset(body, ' ', SIZE);
	memcpy(body, CALL, sizeof(CALL) - 1);
	body[SIZE] = '\0';
	snprintf(head, sizeof(head),
		"POST " ELSEWHERE " HTTP/1.1\r\n" HOST JSON "Content-Length: %u\r\n\r\n", SIZE);
	for (int i = 0; i < CLIENTS; i++) {
		client_open(&clients[i], &node);
		client_say(&clients[i], head);
		client_say(&clients[i], body);
	}
	for (int i = 0; i < CLIENTS; i++) {
		ck_assert_msg(client_status(&clients[i]) == 202, "%s", client_text(&clients[i]));
		client_close(&clients[i]);
	}
	ck_assert_uint_eq(node.n_posted, CLIENTS);
	free(body);
	finish();
}
END_TEST

START_TEST(test_from_elsewhere)
{
	const char *key = NULL;
	char wrong[256];

	start(TWO);
	key = strchr(endpoint, '=') + 1;
	ck_assert_uint_eq(node_hand_over(&node, key, "anonymous", INITIALIZE), 0);
	seen_answer_session(next_seen(), 200, WELCOME);
	expect(EVENT(WELCOME));
	ck_assert_uint_eq(next_seen()->verb, 2);
	ck_assert_uint_eq(node_hand_over(&node, key, "anonymous", CALL), 0);
	ck_assert_str_eq(next_seen()->body, CALL);
	seen_answer(&node.seen[count - 1], 200, RESULT);
	expect(EVENT(RESULT));
	ck_assert_uint_eq(node_hand_over(&node, key, "somebody", CALL), ERR_SESSION_UNKNOWN);
	snprintf(wrong, sizeof(wrong), "%s", key);
	wrong[strlen(wrong) - 1] ^= 1;
	ck_assert_uint_eq(node_hand_over(&node, wrong, "anonymous", CALL), ERR_SESSION_UNKNOWN);
	ck_assert_uint_eq(node_hand_over(&node, key, "anonymous", "{"), ERR_PARSE);
	node_neighbour_dies(&node);
	node_run(&node, 20);
	ck_assert_uint_eq(node_hand_over(&node, key, "anonymous", CALL), 0);
	next_seen();
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("gateway, HTTP+SSE");
	TCase *tcase = tcase_create("sse");

	tcase_set_timeout(tcase, 90);
	tcase_add_loop_test(tcase, test_opening, 0, sizeof(openings) / sizeof(*openings));
	tcase_add_test(tcase, test_session);
	tcase_add_test(tcase, test_two_streams);
	tcase_add_test(tcase, test_early);
	tcase_add_loop_test(tcase, test_address, 0, sizeof(addresses) / sizeof(*addresses));
	tcase_add_test(tcase, test_secret);
	tcase_add_test(tcase, test_close);
	tcase_add_test(tcase, test_session_over);
	tcase_add_test(tcase, test_drain);
	tcase_add_test(tcase, test_worker_dies);
	tcase_add_test(tcase, test_keepalive);
	tcase_add_test(tcase, test_unused);
	tcase_add_test(tcase, test_slow_reader);
	tcase_add_test(tcase, test_metrics);
	tcase_add_loop_test(tcase, test_elsewhere, 0, sizeof(elsewhere) / sizeof(*elsewhere));
	tcase_add_test(tcase, test_elsewhere_gone);
	tcase_add_test(tcase, test_elsewhere_late);
	tcase_add_test(tcase, test_elsewhere_long);
	tcase_add_test(tcase, test_from_elsewhere);
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
