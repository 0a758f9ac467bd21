/* gateway/: the real program with real clients, between a small root, session manager and workers
 * (gateway_node.h). */
#include "clock.h"
#include "gateway_node.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define INITIALIZE \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":" \
	"\"2025-11-25\"}}"
#define CALL \
	"{\"jsonrpc\":\"2.0\",\"id\":\"a\\u00e9-7\",\"method\":\"tools/" \
	"call\",\"params\":{\"name\":\"x\"}}"
#define LIST "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}"
#define META "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}"
#define MODERN "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{" META "}}"
#define JSON "Content-Type: application/json\r\n"
#define BOTH "Accept: application/json, text/event-stream\r\n"
#define EVENT "event: message\ndata: {}\n\n"

static struct node node;
static struct client client;

static void start(const char *yaml)
{
	node_start(&node, yaml, NULL);
	client_open(&client, &node);
}

static void finish(void)
{
	client_close(&client);
	node_end(&node);
}

/* The client has a session, whose first worker this is. */
static struct worker *begin_session(void)
{
	struct worker *worker;

	client_post(&client, "", INITIALIZE);
	node_wait_seen(&node, node.n_seen + 1);
	worker = node.seen[node.n_seen - 1].worker;
	seen_answer_session(
		&node.seen[node.n_seen - 1], 200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	ck_assert_uint_eq(client_status(&client), 200);
	client_forget(&client);
	return worker;
}

static void post_in_session(const struct worker *worker, const char *body)
{
	char header[128];

	snprintf(header, sizeof(header), "Mcp-Session-Id: %s\r\n", worker->session);
	client_post(&client, header, body);
}

static struct seen *next_seen(unsigned *count)
{
	node_wait_seen(&node, ++*count);
	return &node.seen[*count - 1];
}

/* --- which way requests go -------------------------------------------------------------------- */

static const struct {
	const char *what;
	const char *request; /* line and headers without Host */
	const char *body;    /* NULL: none */
	unsigned status;
	const char *says;   /* in the answer */
	const char *worker; /* the session it came with, or NULL: to no worker */
	unsigned accept;
} ways[] = {
	{"initialize", "POST /mcp HTTP/1.1\r\n" JSON BOTH, INITIALIZE, 200,
		"Mcp-Session-Id: session-", "session-", 3},
	{"initialize with a stale session",
		"POST /mcp HTTP/1.1\r\n" JSON BOTH "Mcp-Session-Id: gone\r\n", INITIALIZE, 200,
		"Mcp-Session-Id: session-", "session-", 3},
	{"without a session", "POST /mcp HTTP/1.1\r\n" JSON BOTH, LIST, 400,
		"\"reason\":\"session_required\"", NULL, 0},
	{"modern", "POST /mcp HTTP/1.1\r\n" JSON BOTH, MODERN, 200,
		"Server-Timing: gatehouse;dur=", "shared-", 3},
	{"modern ignores a session", "POST /mcp HTTP/1.1\r\n" JSON BOTH "Mcp-Session-Id: gone\r\n",
		MODERN, 200, "\"result\"", "shared-", 3},
	{"modern by its header",
		"POST /mcp HTTP/1.1\r\n" JSON BOTH "MCP-Protocol-Version: 2026-07-28\r\n", MODERN,
		200, "\"result\"", "shared-", 3},
	{"batch", "POST /mcp HTTP/1.1\r\n" JSON BOTH, "[" LIST "]", 400, "session_required", NULL, 0},
	{"as curl does", "POST /mcp HTTP/1.1\r\n" JSON "Accept: */*\r\n", MODERN, 200, "\"result\"",
		"shared-", 1},
	{"no Accept", "POST /mcp HTTP/1.1\r\n" JSON, MODERN, 200, "\"result\"", "shared-", 1},
	{"only an event stream", "POST /mcp HTTP/1.1\r\n" JSON "Accept: text/event-stream\r\n",
		MODERN, 200, "", "shared-", 6},
	{"event stream first",
		"POST /mcp HTTP/1.1\r\n" JSON "Accept: text/event-stream, application/json\r\n",
		MODERN, 200, "", "shared-", 7},
	{"two lines",
		"POST /mcp HTTP/1.1\r\n" JSON
		"Accept: application/json\r\nAccept: text/event-stream\r\n",
		MODERN, 200, "", "shared-", 3},
	{"wildcard and event stream",
		"POST /mcp HTTP/1.1\r\n" JSON "Accept: text/event-stream, */*;q=0.1\r\n", MODERN, 200,
		"", "shared-", 7},
	{"json refused",
		"POST /mcp HTTP/1.1\r\n" JSON "Accept: application/json;q=0, text/event-stream\r\n",
		MODERN, 200, "", "shared-", 6},
	{"charset", "POST /mcp HTTP/1.1\r\nContent-Type: Application/JSON; charset=utf-8\r\n" BOTH,
		MODERN, 200, "", "shared-", 3},
	{"unknown session", "POST /mcp HTTP/1.1\r\n" JSON BOTH "Mcp-Session-Id: gone\r\n", LIST,
		404, "\"reason\":\"session_unknown\"", NULL, 0},
	{"empty session", "POST /mcp HTTP/1.1\r\n" JSON BOTH "Mcp-Session-Id: \r\n", LIST, 404,
		"\"id\":1,\"error\"", NULL, 0},
	{"GET of an unknown session",
		"GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\nMcp-Session-Id: gone\r\n", NULL,
		404, "session_unknown", NULL, 0},
	{"GET without a session", "GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\n", NULL, 400,
		"session_required", NULL, 0},
	{"modern GET", "GET /mcp HTTP/1.1\r\nMCP-Protocol-Version: 2026-07-28\r\n", NULL, 405,
		"Allow: GET, POST, DELETE", NULL, 0},
	{"GET that takes no stream",
		"GET /mcp HTTP/1.1\r\nAccept: application/json\r\nMcp-Session-Id: x\r\n", NULL, 406,
		"not_acceptable", NULL, 0},
	{"DELETE without a session", "DELETE /mcp HTTP/1.1\r\n", NULL, 400, "session_required",
		NULL, 0},
	{"DELETE of an unknown session", "DELETE /mcp HTTP/1.1\r\nMcp-Session-Id: gone\r\n", NULL,
		404, "session_unknown", NULL, 0},
	{"PUT", "PUT /mcp HTTP/1.1\r\n" JSON BOTH, LIST, 405, "Allow: GET, POST, DELETE", NULL, 0},
	{"form", "POST /mcp HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n" BOTH,
		LIST, 415, "unsupported_media", NULL, 0},
	{"no type", "POST /mcp HTTP/1.1\r\n" BOTH, LIST, 415, "unsupported_media", NULL, 0},
	{"takes html", "POST /mcp HTTP/1.1\r\n" JSON "Accept: text/html\r\n", LIST, 406,
		"not_acceptable", NULL, 0},
	{"not JSON", "POST /mcp HTTP/1.1\r\n" JSON BOTH, "{\"jsonrpc\":", 400, "-32700", NULL, 0},
	{"not JSON-RPC", "POST /mcp HTTP/1.1\r\n" JSON BOTH,
		"{\"jsonrpc\":\"1.0\",\"id\":77,\"method\":\"x\"}", 400,
		"\"id\":77,\"error\":{\"code\":-32600", NULL, 0},
	{"no body", "POST /mcp HTTP/1.1\r\n" JSON BOTH, "", 400, "-32700", NULL, 0},
	{"two sessions",
		"POST /mcp HTTP/1.1\r\n" JSON BOTH "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n",
		LIST, 400, "given twice", NULL, 0},
	{"elsewhere", "POST /mcp/ HTTP/1.1\r\n" JSON BOTH, LIST, 404, "not_found", NULL, 0},
	{"query", "POST /mcp?x=1 HTTP/1.1\r\n" JSON BOTH, MODERN, 200, "\"result\"", "shared-", 3},
	{"front page", "GET / HTTP/1.1\r\n", NULL, 200, "curl http://127.0.0.1:", NULL, 0},
	{"alive", "GET /livez HTTP/1.1\r\n", NULL, 200, "{\"status\":\"ok\"}", NULL, 0},
	{"POST to a page", "POST /livez HTTP/1.1\r\n" JSON, LIST, 405, "Allow: GET, HEAD", NULL, 0},
};

START_TEST(test_ways)
{
	char request[1024];

	start("");
	node.automatic = true;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		const char *body = ways[i].body ? ways[i].body : "";
		unsigned before = node.n_seen;

		snprintf(request, sizeof(request),
			"%sHost: 127.0.0.1:%u\r\nContent-Length: %zu\r\n\r\n%s", ways[i].request,
			node.port, strlen(body), body);
		client_say(&client, request);
		ck_assert_msg(client_status(&client) == ways[i].status &&
				      strstr(client_text(&client), ways[i].says),
			"%s: %s", ways[i].what, client_text(&client));
		ck_assert_msg(node.n_seen == before + (ways[i].worker != NULL), "%s", ways[i].what);
		if (ways[i].worker) {
			ck_assert_str_eq(node.seen[before].body, body);
			ck_assert_msg(
				node.seen[before].accept == ways[i].accept, "%s", ways[i].what);
			ck_assert_msg(strncmp(node.seen[before].session, ways[i].worker,
					      strlen(ways[i].worker)) == 0,
				"%s", ways[i].what);
		}
		client_forget(&client);
	}
	finish();
}
END_TEST

START_TEST(test_passed_on)
{
	unsigned count = 0;
	const struct seen *seen;

	start("");
	client_post(&client,
		"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\nLast-Event-ID: "
		"e-4\r\n"
		"Mcp-Param-Region: eu\r\nmcp-param-x: =?base64?YQ==?=\r\n"
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
		MODERN);
	seen = next_seen(&count);
	ck_assert_str_eq(seen->version, "2026-07-28");
	ck_assert_str_eq(seen->mcp_method, "tools/list");
	ck_assert_str_eq(seen->last_event_id, "e-4");
	ck_assert_str_eq(
		seen->traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	ck_assert_str_eq(
		seen->mcp_params, "Mcp-Param-Region: eu\r\nmcp-param-x: =?base64?YQ==?=\r\n");
	finish();
}
END_TEST

/* One session, one worker, one link: found once, then known. */
START_TEST(test_session)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	for (int i = 0; i < 5; i++) {
		post_in_session(worker, LIST);
		seen_answer(next_seen(&count), 200, "{\"n\":5}");
		ck_assert_uint_eq(client_status(&client), 200);
		ck_assert_ptr_nonnull(strstr(client_text(&client), "{\"n\":5}"));
		client_forget(&client);
	}
	ck_assert_uint_eq(node.opens, 1);
	ck_assert_uint_eq(node.finds, 0);
	ck_assert_uint_eq(worker->links, 1);
	finish();
}
END_TEST

/* After DELETE the session manager is asked again. */
START_TEST(test_delete)
{
	unsigned count = 1;
	struct worker *worker;
	char request[200];

	start("");
	worker = begin_session();
	snprintf(request, sizeof(request),
		"DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: %s\r\n\r\n",
		worker->session);
	client_say(&client, request);
	seen_answer(next_seen(&count), 204, "");
	ck_assert_uint_eq(client_status(&client), 204);
	client_forget(&client);
	post_in_session(worker, LIST);
	snprintf(worker->session, sizeof(worker->session), "forgotten");
	ck_assert_uint_eq(client_status(&client), 404);
	ck_assert_uint_eq(node.finds, 1);
	finish();
}
END_TEST

/* Sessionless requests take turns among the workers; nobody's session id opens them. */
START_TEST(test_shared)
{
	char header[100];

	start("worker: { per_principal: 3 }\n");
	node.automatic = true;
	for (int i = 0; i < 30; i++) {
		client_post(&client, "", MODERN);
		ck_assert_uint_eq(client_status(&client), 200);
		client_forget(&client);
		node_run(&node, 5);
	}
	ck_assert_uint_eq(node.opens, 3);
	ck_assert_uint_eq(node.n_workers, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(node.workers[i].links, 1);
	snprintf(header, sizeof(header), "Mcp-Session-Id: %s\r\n", node.workers[0].session);
	client_post(&client, header, LIST);
	ck_assert_uint_eq(client_status(&client), 404);
	finish();
}
END_TEST

/* --- virtual servers ------------------------------------------------------------------------ */

static unsigned post_at(const char *path, const char *session, const char *body)
{
	char request[1024];
	unsigned status;

	snprintf(request, sizeof(request),
		"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		"Accept: application/json, text/event-stream\r\n%s%s%sContent-Length: %zu\r\n\r\n%s",
		path, session ? "Mcp-Session-Id: " : "", session ? session : "",
		session ? "\r\n" : "", strlen(body), body);
	client_say(&client, request);
	status = client_status(&client);
	client_forget(&client);
	node_run(&node, 5);
	return status;
}

/* Each has sessions and shared workers of its own; one that is not configured is told by name. */
START_TEST(test_views)
{
	start("worker: { per_principal: 1 }\nviews: { docs: {}, other: {} }\n");
	node.automatic = true;
	ck_assert_uint_eq(post_at("/mcp", NULL, MODERN), 200);
	ck_assert_uint_eq(post_at("/mcp/docs", NULL, MODERN), 200);
	ck_assert_uint_eq(post_at("/mcp/docs", NULL, MODERN), 200);
	ck_assert_uint_eq(node.opens, 2);
	ck_assert_str_eq(node.view, "docs");
	ck_assert_uint_eq(post_at("/mcp", NULL, MODERN), 200);
	ck_assert_uint_eq(node.opens, 2);
	ck_assert_uint_eq(post_at("/mcp/docs", NULL, INITIALIZE), 200);
	ck_assert_uint_eq(node.opens, 3);
	ck_assert_uint_eq(post_at("/mcp/docs", node.workers[2].session, LIST), 200);
	ck_assert_uint_eq(post_at("/mcp", node.workers[2].session, LIST), 404);
	ck_assert_uint_eq(post_at("/mcp/other", node.workers[2].session, LIST), 404);
	ck_assert_uint_eq(post_at("/mcp/", NULL, MODERN), 404);
	ck_assert_uint_eq(post_at("/mcp/docs/x", NULL, MODERN), 404);
	client_say(&client, "POST /mcp/nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
			    "Content-Type: application/json\r\n\r\n{}");
	ck_assert(client_wait(&client, "no virtual server 'nope'"));
	finish();
}
END_TEST

/* --- Host and Origin ------------------------------------------------------------------------ */

static const struct {
	const char *yaml, *url, *host, *origin;
	unsigned status;
} names[] = {
	{"", NULL, "127.0.0.1:8080", NULL, 200},
	{"", NULL, "localhost", NULL, 200},
	{"", NULL, "LOCALHOST:1", NULL, 200},
	{"", NULL, "[::1]:8080", NULL, 200},
	{"", NULL, "evil.example", NULL, 403},
	{"", NULL, "127.0.0.1.evil.example", NULL, 403},
	{"", NULL, "127.evil.example", NULL, 403},
	{"", NULL, "", NULL, 403},
	{"", NULL, "localhost", "http://localhost:3000", 200},
	{"", NULL, "localhost", "http://[::1]:3000", 200},
	{"", NULL, "localhost", "http://evil.example", 403},
	{"", NULL, "localhost", "http://localhost.evil.example", 403},
	{"", NULL, "localhost", "http://localhost@evil.example", 403},
	{"", NULL, "localhost", "null", 403},
	{"", NULL, "localhost", "", 403},
	{"allowed_origins: [ 'https://app.example' ]\n", NULL, "localhost", "https://app.example",
		200},
	{"allowed_origins: [ 'https://app.example' ]\n", NULL, "localhost", "http://app.example",
		403},
	{"allowed_origins: [ 'https://app.example' ]\n", NULL, "localhost",
		"https://app.example:444", 403},
	{"allowed_hosts: [ gw.example ]\n", NULL, "gw.example", NULL, 200},
	{"allowed_hosts: [ gw.example ]\n", NULL, "GW.example:8443", NULL, 200},
	{"allowed_hosts: [ gw.example ]\n", NULL, "other.example", NULL, 403},
	{"", "http://0.0.0.0:%u", "anything.example", NULL, 200},
	{"", "http://0.0.0.0:%u", "anything.example", "http://anything.example", 403},
	{"", "http://0.0.0.0:%u", "localhost", "http://localhost", 403},
	{"allowed_hosts: [ gw.example ]\n", "http://0.0.0.0:%u", "anything.example", NULL, 403},
	{"allowed_hosts: [ gw.example ]\n", "http://10.1.2.3:%u", "10.1.2.3:80", NULL, 200},
	{"", "unix:/run/x.sock", "whatever", NULL, 200},
};

START_TEST(test_names)
{
	char request[512], origin[128] = "";

	node_start(&node, names[_i].yaml, names[_i].url);
	client_open(&client, &node);
	node.automatic = true;
	if (names[_i].origin)
		snprintf(origin, sizeof(origin), "Origin: %s\r\n", names[_i].origin);
	snprintf(request, sizeof(request),
		"POST /mcp HTTP/1.1\r\nHost: %s\r\n" JSON BOTH "%sContent-Length: %zu\r\n\r\n%s",
		names[_i].host, origin, strlen(MODERN), MODERN);
	client_say(&client, request);
	ck_assert_msg(
		client_status(&client) == names[_i].status, "%d: %s", _i, client_text(&client));
	if (names[_i].status == 200 && names[_i].origin)
		ck_assert_ptr_nonnull(
			strstr(client_text(&client), "Access-Control-Allow-Origin: "));
	else
		ck_assert_ptr_null(strstr(client_text(&client), "Access-Control-Allow-Origin: "));
	finish();
}
END_TEST

START_TEST(test_preflight)
{
	start("allowed_origins: [ 'https://app.example' ]\n");
	client_say(&client,
		"OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n"
		"Access-Control-Request-Headers: x-other,content-type, mcp-param-region\r\n"
		"Access-Control-Request-Method: POST\r\n\r\n");
	ck_assert_uint_eq(client_status(&client), 204);
	ck_assert(client_wait(&client, "Access-Control-Allow-Methods: GET, POST, DELETE"));
	/* of what is asked for, the arguments that tools have as headers */
	ck_assert_ptr_nonnull(strstr(client_text(&client), "traceparent, mcp-param-region\r\n"));
	client_forget(&client);
	/* a refusal can be read, too */
	client_say(&client,
		"PUT /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n\r\n");
	ck_assert_uint_eq(client_status(&client), 405);
	ck_assert_ptr_nonnull(strstr(
		client_text(&client), "Access-Control-Allow-Origin: https://app.example\r\n"));
	client_forget(&client);
	client_say(&client,
		"OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n"
		"Access-Control-Request-Method: POST\r\n\r\n");
	ck_assert_uint_eq(client_status(&client), 403);
	finish();
}
END_TEST

/* A body that would be refused is not waited for. */
START_TEST(test_large_refused)
{
	start("");
	client_say(&client, "POST /mcp HTTP/1.1\r\nHost: evil.example\r\n" JSON BOTH
			    "Content-Length: 1000000\r\n\r\n{");
	ck_assert_uint_eq(client_status(&client), 403);
	client_close(&client);
	client_open(&client, &node);
	client_say(&client, "POST /mcp HTTP/1.1\r\nHost: localhost\r\n" JSON BOTH
			    "Content-Length: 100000000\r\n\r\n");
	ck_assert_uint_eq(client_status(&client), 413);
	finish();
}
END_TEST

/* --- a worker dies -------------------------------------------------------------------------- */

START_TEST(test_resend)
{
	unsigned count = 1;
	struct worker *worker;
	const struct seen *again;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	next_seen(&count);
	worker_die(worker);
	again = next_seen(&count);
	ck_assert_ptr_ne(again->worker, worker);
	ck_assert_str_eq(again->session, worker->session);
	ck_assert_str_eq(again->body, CALL);
	seen_answer(&node.seen[count - 1], 200, "{\"late\":true}");
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(&client, "{\"late\":true}"));
	node_run(&node, 100);
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

/* The session manager learns of the death later than the gateway. */
START_TEST(test_resend_stale)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	node.stale = 2;
	post_in_session(worker, CALL);
	next_seen(&count);
	worker_die(worker);
	seen_answer(next_seen(&count), 200, "{\"late\":true}");
	ck_assert(client_wait(&client, "{\"late\":true}"));
	ck_assert_uint_eq(node.finds, 3);
	ck_assert_uint_eq(node.denied, 0);
	finish();
}
END_TEST

START_TEST(test_resend_once)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	next_seen(&count);
	worker_die(worker);
	worker_die(next_seen(&count)->worker);
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(&client, "\"id\":\"a\\u00e9-7\",\"error\""));
	ck_assert(client_wait(
		&client, "\"reason\":\"process_died\",\"retryable\":true,\"executed\":\"no\""));
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

/* What a worker said before it died counts. */
START_TEST(test_last_words)
{
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen = next_seen(&count);
	seen_forwarded(seen, false);
	seen_answer(seen, 200, "{\"last\":\"words\"}");
	worker_die(worker);
	ck_assert(client_wait(&client, "{\"last\":\"words\"}"));
	node_run(&node, 50);
	ck_assert_uint_eq(node.n_seen, count);
	ck_assert_ptr_null(strstr(client_text(&client), "process_died"));
	finish();
}
END_TEST

START_TEST(test_forwarded)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen_forwarded(next_seen(&count), false);
	worker_die(worker);
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(&client, "\"id\":\"a\\u00e9-7\",\"error\""));
	ck_assert(client_wait(&client,
		"\"reason\":\"process_died\",\"retryable\":true,\"executed\":\"unknown\""));
	node_run(&node, 100);
	ck_assert_uint_eq(node.n_seen, count);
	/* the session goes on */
	client_forget(&client);
	post_in_session(worker, LIST);
	seen_answer(next_seen(&count), 200, "{}");
	ck_assert_uint_eq(client_status(&client), 200);
	finish();
}
END_TEST

/* One that is alive and answers its probes is waited for; one that hangs is as good as dead. */
START_TEST(test_hangs)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen_forwarded(next_seen(&count), false);
	node_run(&node, 8000);
	ck_assert_uint_eq(node.killed, 0);
	worker->hangs = true;
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(&client,
		"\"reason\":\"process_died\",\"retryable\":true,\"executed\":\"unknown\""));
	ck_assert_uint_eq(node.killed, 1);
	finish();
}
END_TEST

START_TEST(test_forwarded_safe)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen_forwarded(next_seen(&count), true);
	worker_die(worker);
	seen_answer(next_seen(&count), 200, "{\"again\":1}");
	ck_assert(client_wait(&client, "{\"again\":1}"));
	finish();
}
END_TEST

START_TEST(test_forwarded_batch)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	post_in_session(
		worker, "[" CALL ",{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}," LIST "]");
	seen_forwarded(next_seen(&count), false);
	worker_die(worker);
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(
		&client, "\r\n\r\n[{\"jsonrpc\":\"2.0\",\"id\":\"a\\u00e9-7\",\"error\""));
	ck_assert(client_wait(&client, "}},{\"jsonrpc\":\"2.0\",\"id\":1,\"error\""));
	ck_assert(client_wait(&client, "}}]"));
	finish();
}
END_TEST

/* Its worker dies when one answer of three is there: the others are asked for again, or told. */
static const struct {
	const char *what, *events;
	bool forwarded;
	const char *again; /* what a successor gets, or NULL */
	const char *ends;  /* what comes at the end */
	const char *never;
} cut_batches[] = {
	{"sent again", "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n", false,
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},"
		"{\"jsonrpc\":\"2.0\",\"id\":\"2\",\"method\":\"ping\"}]",
		"data: {\"last\":1}\n\n", "\"error\""},
	{"told", "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n", true, NULL,
		"\"executed\":\"unknown\"}}}]\n\n", "\"id\":2,\"error\""},
	{"all are there",
		"data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n"
		"data: {\"jsonrpc\":\"2.0\",\"id\":\"2\",\"result\":{}}\n\n"
		"data: {\"jsonrpc\":\"2.0\",\"id\":1,"
		"\"error\":{\"code\":1,\"message\":\"\"}}\n\n",
		true, NULL, "\r\n0\r\n\r\n", "\"executed\""},
	{"no answer of a request",
		"data: {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"roots/list\"}\n\n", false,
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},"
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},"
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"},"
		"{\"jsonrpc\":\"2.0\",\"id\":\"2\",\"method\":\"ping\"}]",
		"data: {\"last\":1}\n\n", "\"error\""},
};

START_TEST(test_cut_batch)
{
	const char *events = cut_batches[_i].events;
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	post_in_session(worker, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},"
				"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},"
				"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"},"
				"{\"jsonrpc\":\"2.0\",\"id\":\"2\",\"method\":\"ping\"}]");
	seen = next_seen(&count);
	if (cut_batches[_i].forwarded)
		seen_forwarded(seen, false);
	seen_begin(seen);
	seen_data(seen, events, 10);
	seen_data(seen, events + 10, strlen(events + 10));
	worker_die(worker);
	if (cut_batches[_i].again) {
		seen = next_seen(&count);
		ck_assert_str_eq(seen->body, cut_batches[_i].again);
		seen_begin(seen);
		seen_data(seen, "data: {\"last\":1}\n\n", 18);
		seen_end(seen);
	}
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert_msg(strstr(client_text(&client), cut_batches[_i].ends), "%s: %s",
		cut_batches[_i].what, client_text(&client));
	ck_assert_msg(!strstr(client_text(&client), cut_batches[_i].never), "%s: %s",
		cut_batches[_i].what, client_text(&client));
	finish();
}
END_TEST

/* On an event stream that was begun, the error is its last event. */
START_TEST(test_forwarded_stream)
{
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen = next_seen(&count);
	seen_forwarded(seen, false);
	seen_begin(seen);
	seen_data(seen, EVENT, strlen(EVENT));
	worker_die(worker);
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(&client, EVENT));
	ck_assert(client_wait(
		&client, "\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"a\\u00e9-7\",\"error\""));
	ck_assert(client_wait(&client, "\"executed\":\"unknown\"}}}\n\n"));
	ck_assert(client_wait(&client, "\r\n0\r\n\r\n"));
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

/* A stream that was begun goes on with the answer of the second worker. */
START_TEST(test_resend_stream)
{
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen = next_seen(&count);
	seen_begin(seen);
	seen_data(seen, EVENT, strlen(EVENT));
	worker_die(worker);
	seen = next_seen(&count);
	ck_assert_str_eq(seen->body, CALL);
	if (_i == 0) {
		seen_begin(seen);
		seen_data(seen, "data: second\n\n", 14);
		seen_end(seen);
	} else {
		seen_answer(seen, 200, "second");
	}
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert(client_wait(&client, "data: second\n\n"));
	ck_assert_ptr_null(strstr(client_text(&client) + 1, "HTTP/1.1"));
	finish();
}
END_TEST

/* What cannot be taken back breaks visibly. */
START_TEST(test_half_event)
{
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	seen = next_seen(&count);
	seen_begin(seen);
	seen_data(seen, "data: {\"cut", 11);
	ck_assert(client_wait(&client, "cut"));
	worker_die(worker);
	ck_assert(client_wait_closed(&client));
	ck_assert_ptr_null(strstr(client_text(&client), "\r\n0\r\n\r\n"));
	finish();
}
END_TEST

static void get_stream(const struct worker *worker)
{
	char request[200];

	snprintf(request, sizeof(request),
		"GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: "
		"text/event-stream\r\nMcp-Session-Id: %s\r\n\r\n",
		worker->session);
	client_say(&client, request);
}

START_TEST(test_get_ends)
{
	unsigned count = 1;
	struct worker *worker;

	start("");
	worker = begin_session();
	get_stream(worker);
	seen_begin(next_seen(&count));
	ck_assert(client_wait(&client, "Content-Type: text/event-stream\r\n"));
	ck_assert(client_wait(&client, "X-Accel-Buffering: no\r\n"));
	worker_die(worker);
	ck_assert(client_wait(&client, "\r\n0\r\n\r\n"));
	node_run(&node, 50);
	ck_assert_uint_eq(node.n_seen, count);
	finish();
}
END_TEST

/* A shared worker's requests go to another one. */
START_TEST(test_shared_dies)
{
	unsigned count = 0;
	struct worker *worker;

	start("worker: { per_principal: 1 }\n");
	client_post(&client, "", MODERN);
	worker = next_seen(&count)->worker;
	worker_die(worker);
	ck_assert_ptr_ne(next_seen(&count)->worker, worker);
	ck_assert_uint_eq(node.opens, 2);
	ck_assert_uint_eq(node.finds, 0);
	seen_answer(&node.seen[1], 200, "{}");
	ck_assert_uint_eq(client_status(&client), 200);
	finish();
}
END_TEST

/* --- the session manager -------------------------------------------------------------------- */

START_TEST(test_busy)
{
	unsigned count = 0;

	start("");
	node.busy = 3;
	client_post(&client, "", INITIALIZE);
	seen_answer(next_seen(&count), 200, "{}");
	ck_assert_uint_eq(client_status(&client), 200);
	ck_assert_uint_eq(node.opens, 4);
	client_forget(&client);
	node.refuse_code = ERR_TOO_MANY;
	client_post(&client, "", INITIALIZE);
	ck_assert_uint_eq(client_status(&client), 429);
	ck_assert(client_wait(&client, "\"message\":\"as the test says\""));
	finish();
}
END_TEST

START_TEST(test_sessions_away)
{
	unsigned count = 0;

	start("");
	node_run(&node, 30);
	node.sessions_away = true;
	node_drop_sessions(&node);
	client_post(&client, "", INITIALIZE);
	node_run(&node, 200);
	ck_assert_uint_eq(client.in.len, 0);
	node.sessions_away = false;
	seen_answer(next_seen(&count), 200, "{}");
	ck_assert_uint_eq(client_status(&client), 200);
	finish();
}
END_TEST

START_TEST(test_no_worker_in_time)
{
	uint64_t began;

	start("");
	node.busy = 100000;
	began = clock_ms();
	client_post(&client, "", INITIALIZE);
	ck_assert_uint_eq(client_status(&client), 503);
	ck_assert_ptr_nonnull(strstr(client_text(&client), "\r\nRetry-After: 1\r\n"));
	ck_assert(
		client_wait(&client, "\"reason\":\"busy\",\"retryable\":true,\"executed\":\"no\""));
	ck_assert_uint_ge(clock_ms() - began, 4900);
	ck_assert_uint_le(clock_ms() - began, 7000);
	finish();
}
END_TEST

/* --- streams and clients -------------------------------------------------------------------- */

#define BLOCK 32768u
#define BLOCKS 768u

/* What a worker does that has much to say: as much as its credit allows. */
static bool pour(struct seen *seen, unsigned *blocks)
{
	static char block[BLOCK];
	unsigned before = *blocks;

	memset(block, 'x', sizeof(block));
	memcpy(block, "data: ", 6);
	memcpy(block + sizeof(block) - 2, "\n\n", 2);
	for (; *blocks < BLOCKS &&
		(*blocks + 1) * (uint64_t)BLOCK <= LIMIT_STREAM_WINDOW + seen->credit;
		++*blocks)
		seen_data(seen, block, sizeof(block));
	return *blocks > before;
}

static unsigned count_text(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* A client that does not read stops the worker, within its window; once it reads it gets all. */
START_TEST(test_slow_reader)
{
	unsigned count = 1, blocks = 0;
	struct worker *worker;
	struct seen *seen;
	uint64_t moved = clock_ms(), end = clock_ms() + 60000;

	start("");
	worker = begin_session();
	client.stalled = true;
	post_in_session(worker, CALL);
	seen = next_seen(&count);
	seen_begin(seen);
	for (; clock_ms() - moved < 300; client_read(&client))
		if (pour(seen, &blocks))
			moved = clock_ms();
	ck_assert_uint_lt(blocks, BLOCKS);
	ck_assert_uint_le(blocks * (uint64_t)BLOCK - seen->credit, LIMIT_STREAM_WINDOW);
	client.stalled = false;
	for (; blocks < BLOCKS && clock_ms() < end; client_read(&client))
		pour(seen, &blocks);
	seen_end(seen);
	ck_assert(client_wait(&client, "\r\n0\r\n\r\n"));
	ck_assert_uint_eq(count_text(client_text(&client), "data: xxxx"), BLOCKS);
	finish();
}
END_TEST

START_TEST(test_client_gone)
{
	const char *bodies[] = {CALL, CALL, MODERN};
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	if (_i == 2)
		client_post(&client, "", bodies[_i]);
	else
		post_in_session(worker, bodies[_i]);
	seen = next_seen(&count);
	if (_i == 1) {
		seen_begin(seen);
		seen_data(seen, EVENT, strlen(EVENT));
		ck_assert(client_wait(&client, EVENT));
	}
	if (_i == 0) {
		const struct linger reset = {1, 0};

		setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	client_close(&client);
	ck_assert(node_wait(&node, &seen->closed, 2000));
	/* a late answer finds nobody */
	seen_answer(seen, 200, "{}");
	node_run(&node, 20);
	client_open(&client, &node);
	post_in_session(worker, LIST);
	seen_answer(next_seen(&count), 200, "{}");
	ck_assert_uint_eq(client_status(&client), 200);
	finish();
}
END_TEST

/* A legacy client that only closed its side for writing still gets its answer. */
START_TEST(test_half_closed)
{
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("");
	worker = begin_session();
	post_in_session(worker, CALL);
	shutdown(client.fd, SHUT_WR);
	seen = next_seen(&count);
	node_run(&node, 50);
	ck_assert(!seen->closed);
	seen_answer(seen, 200, "{\"kept\":1}");
	ck_assert(client_wait(&client, "{\"kept\":1}"));
	finish();
}
END_TEST

START_TEST(test_keepalive)
{
	unsigned count = 1;
	struct worker *worker;
	struct seen *seen;

	start("sse: { keepalive: 100ms }\n");
	worker = begin_session();
	get_stream(worker);
	seen = next_seen(&count);
	seen_begin(seen);
	ck_assert(client_wait(&client, "\r\n: keep-alive\n\n"));
	/* never within an event */
	client_forget(&client);
	seen_data(seen, "data: half", 10);
	ck_assert(client_wait(&client, "data: half"));
	client_forget(&client);
	node_run(&node, 350);
	seen_data(seen, " done\n\n", 7);
	ck_assert(client_wait(&client, " done\n\n"));
	ck_assert_ptr_null(strstr(client_text(&client), "keep-alive\n\n"));
	finish();
}
END_TEST

/* --- health, metrics, the end --------------------------------------------------------------- */

static void expect_ready(unsigned status, const char *says)
{
	client_forget(&client);
	client_say(&client, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_msg(client_status(&client) == status && strstr(client_text(&client), says), "%s",
		client_text(&client));
}

START_TEST(test_ready)
{
	static const struct node_server starting[] = {
		{"files", SERVER_UP, true}, {"wiki", SERVER_STARTING, false}};
	static const struct node_server down[] = {
		{"files", SERVER_UP, true}, {"wiki", SERVER_DOWN, false}};
	static const struct node_server lost[] = {
		{"files", SERVER_DOWN, true}, {"wiki", SERVER_UP, true}};
	static const struct node_server up[] = {
		{"files", SERVER_UP, true}, {"wiki", SERVER_UP, true}};
	uint64_t end = clock_ms() + 5000;

	start("mcpServers: { files: { command: cat, required: true }, wiki: { command: cat } }\n");
	expect_ready(503, "no catalogue yet");
	node_publish(&node, starting, 2);
	node_run(&node, 20);
	expect_ready(503, "servers are starting");
	node_publish(&node, up, 2);
	node_run(&node, 20);
	expect_ready(200, "\"not_up\":{},\"up\":2");
	node_publish(&node, down, 2);
	node_run(&node, 20);
	expect_ready(200,
		"\"not_up\":{\"wiki\":{\"state\":\"down\",\"error\":\"it fell over\"}},\"up\":1");
	node_publish(&node, lost, 2);
	node_run(&node, 20);
	expect_ready(503, "a required server is not up");
	node_publish(&node, starting, 2);
	node.sessions_away = true;
	node_drop_sessions(&node);
	node_run(&node, 20);
	expect_ready(503, "no link to the session manager");
	node.sessions_away = false;
	node_run(&node, 100);
	do {
		node_run(&node, 50);
		client_forget(&client);
		client_say(&client, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
	} while (client_status(&client) != 200 && clock_ms() < end);
	ck_assert(client_wait(&client, "\"wiki\":{\"state\":\"starting\"}"));
	finish();
}
END_TEST

START_TEST(test_queries)
{
	start("");
	node.automatic = true;
	client_post(&client, "", MODERN);
	ck_assert_uint_eq(client_status(&client), 200);
	client_forget(&client);
	client_say(&client, "GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_uint_eq(client_status(&client), 400);
	ck_assert_ptr_nonnull(
		strstr(node_query(&node, "status"), "\"connections\":1,\"requests\":2}"));
	ck_assert_ptr_nonnull(strstr(node_query(&node, "metrics"),
		"gatehouse_requests_total{method=\"tools/"
		"list\",server=\"files\",era=\"modern\",outcome=\"ok\"} 1\n"));
	ck_assert_ptr_nonnull(
		strstr(node.reply.data, "gatehouse_overhead_seconds_count{stage=\"total\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(
		node.reply.data, "gatehouse_http_refused_total{reason=\"session_required\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(node.reply.data, "gen_ai_tool_name=\"read\""));
	ck_assert_ptr_nonnull(
		strstr(node.reply.data, "gatehouse_http_responses_total{status=\"400\"} 1\n"));
	finish();
}
END_TEST

START_TEST(test_stop)
{
	unsigned count = 1;
	struct worker *worker;
	struct client other;
	struct seen *call, *get;

	start("");
	worker = begin_session();
	get_stream(worker);
	get = next_seen(&count);
	seen_begin(get);
	ck_assert(client_wait(&client, "text/event-stream"));
	other = client;
	client_open(&client, &node);
	post_in_session(worker, CALL);
	call = next_seen(&count);
	node_stop(&node, 5000);
	/* streams end, calls finish */
	ck_assert(client_wait(&other, "\r\n0\r\n\r\n"));
	ck_assert(node_wait(&node, &get->closed, PATIENCE_MS));
	node_run(&node, 100);
	ck_assert(!node.exited);
	seen_answer(call, 200, "{\"finished\":1}");
	ck_assert(client_wait(&client, "{\"finished\":1}"));
	ck_assert(client_wait(&client, "Connection: close"));
	client_close(&other);
	ck_assert(client_wait_closed(&client));
	client_close(&client);
	client_open(&client, &node); /* the listener is still the root's */
	ck_assert(node_wait(&node, &node.exited, 3000));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("gateway");
	TCase *tcase = tcase_create("gateway");

	tcase_set_timeout(tcase, 90);
	tcase_add_test(tcase, test_ways);
	tcase_add_test(tcase, test_passed_on);
	tcase_add_test(tcase, test_session);
	tcase_add_test(tcase, test_delete);
	tcase_add_test(tcase, test_shared);
	tcase_add_test(tcase, test_views);
	tcase_add_loop_test(tcase, test_names, 0, sizeof(names) / sizeof(*names));
	tcase_add_test(tcase, test_preflight);
	tcase_add_test(tcase, test_large_refused);
	tcase_add_test(tcase, test_resend);
	tcase_add_test(tcase, test_resend_stale);
	tcase_add_test(tcase, test_resend_once);
	tcase_add_test(tcase, test_last_words);
	tcase_add_test(tcase, test_forwarded);
	tcase_add_test(tcase, test_hangs);
	tcase_add_test(tcase, test_forwarded_safe);
	tcase_add_test(tcase, test_forwarded_batch);
	tcase_add_loop_test(
		tcase, test_cut_batch, 0, sizeof(cut_batches) / sizeof(*cut_batches));
	tcase_add_test(tcase, test_forwarded_stream);
	tcase_add_loop_test(tcase, test_resend_stream, 0, 2);
	tcase_add_test(tcase, test_half_event);
	tcase_add_test(tcase, test_get_ends);
	tcase_add_test(tcase, test_shared_dies);
	tcase_add_test(tcase, test_busy);
	tcase_add_test(tcase, test_sessions_away);
	tcase_add_test(tcase, test_no_worker_in_time);
	tcase_add_test(tcase, test_slow_reader);
	tcase_add_loop_test(tcase, test_client_gone, 0, 3);
	tcase_add_test(tcase, test_half_closed);
	tcase_add_test(tcase, test_keepalive);
	tcase_add_test(tcase, test_ready);
	tcase_add_test(tcase, test_queries);
	tcase_add_test(tcase, test_stop);
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
