/* Session workers: the sessionless era (2026-07-28). The real program, see worker_scene.h. */
#include "worker_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct scene scene;

static void setup(void)
{
	scene_start(&scene, "");
}

static void teardown(void)
{
	scene_end(&scene);
}

#define META_WITH(more) \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
	"\"io.modelcontextprotocol/clientCapabilities\":{}" more "}"
#define META META_WITH("")
#define META_TASKS \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
	"\"io.modelcontextprotocol/clientCapabilities\":{\"extensions\":{" \
	"\"io.modelcontextprotocol/tasks\":{}}}}"
#define MAC "0123456789abcdef0123456789abcdef"
/* Of no server that there is. */
#define FOREIGN "gt1.nobody." MAC ".t"
#define REQUEST(id, method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":{" params "}}"
#define RESULT(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"

static struct answer *ask(
	struct subject *subject, const char *method, const char *name, const char *body)
{
	return exchange(subject, body,
		(struct options){.version = "2026-07-28", .method = method, .name = name});
}

static const struct {
	const char *method, *name, *body;
	unsigned status;
	const char *piece;
} plain[] = {
	{"server/discover", NULL, REQUEST("1", "server/discover", META), 200,
		"\"supportedVersions\":[\"2026-07-28\"]"},
	{"server/discover", NULL, REQUEST("1", "server/discover", META), 200,
		"\"resultType\":\"complete\",\"ttlMs\":"},
	{"server/discover", NULL, REQUEST("1", "server/discover", META), 200, "\"instructions\":"},
	{"tools/list", NULL, REQUEST("1", "tools/list", META), 200,
		"\"result\":{\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\","
		"\"tools\":[{\"name\":\"alpha__echo\""},
	{"prompts/list", NULL, REQUEST("1", "prompts/list", META), 200,
		"\"cacheScope\":\"private\",\"prompts\":["},
	{"resources/list", NULL, REQUEST("1", "resources/list", META), 200, "\"ttlMs\":0"},
	{"resources/templates/list", NULL, REQUEST("1", "resources/templates/list", META), 200,
		"\"resourceTemplates\""},
	/* envelopes */
	{"tools/list", NULL, REQUEST("1", "tools/list", ""), 400, "-32602"},
	{"tools/list", NULL, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}", 400,
		"-32602"},
	{"prompts/list", NULL, REQUEST("1", "tools/list", META), 400, "-32020"},
	{NULL, NULL, REQUEST("1", "tools/list", META), 400, "-32020"},
	{"tools/call", "beta__echo", REQUEST("1", "tools/call", "\"name\":\"alpha__echo\"," META),
		400, "-32020"},
	{"tools/call", NULL, REQUEST("1", "tools/call", "\"name\":\"alpha__echo\"," META), 400,
		"-32020"},
	{"no/such", NULL, REQUEST("\"x\"", "no/such", META), 404,
		"\"id\":\"x\",\"error\":{\"code\":-32601"},
	{"ping", NULL, REQUEST("1", "ping", META), 404, "-32601"},
	{"tasks/get", "t", REQUEST("1", "tasks/get", "\"taskId\":\"t\"," META), 400,
		"\"requiredCapabilities\":{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}"},
	{"tasks/get", "t", REQUEST("1", "tasks/get", "\"taskId\":\"t\"," META_TASKS), 200,
		"-32602"},
	{"tasks/cancel", FOREIGN,
		REQUEST("1", "tasks/cancel", "\"taskId\":\"" FOREIGN "\"," META_TASKS), 200,
		"-32602"},
	{"tasks/update", "t", REQUEST("1", "tasks/update", "\"taskId\":\"u\"," META_TASKS), 400,
		"-32020"},
	{"tasks/result", "t", REQUEST("1", "tasks/result", "\"taskId\":\"t\"," META_TASKS), 404,
		"-32601"},
	{"tasks/list", NULL, REQUEST("1", "tasks/list", META_TASKS), 404, "-32601"},
	{"initialize", NULL, REQUEST("1", "initialize", META), 404, "-32601"},
	{"logging/setLevel", NULL, REQUEST("1", "logging/setLevel", "\"level\":\"info\"," META),
		404, "-32601"},
	{NULL, NULL, "[" REQUEST("1", "tools/list", META) "]", 400, "-32600"},
	{NULL, NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}", 202, ""},
	/* what comes of the work itself is told in the body */
	{"tools/call", "nope", REQUEST("1", "tools/call", "\"name\":\"nope\"," META), 200,
		"-32602"},
	{"resources/read", "nope:x", REQUEST("1", "resources/read", META), 200, "-32602"},
};

START_TEST(test_plain)
{
	struct subject *subject = scene_modern(&scene);

	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
		answer_has(ask(subject, plain[i].method, plain[i].name, plain[i].body),
			plain[i].status, plain[i].piece);
	answer_has(exchange(subject,
			   REQUEST("1", "tools/list",
				   "\"_meta\":{\"io.modelcontextprotocol/"
				   "protocolVersion\":\"2030-01-01\","
				   "\"io.modelcontextprotocol/clientCapabilities\":{}}"),
			   (struct options){.version = "2030-01-01", .method = "tools/list"}),
		400, "\"supported\":[\"2026-07-28\"],\"requested\":\"2030-01-01\"");
	answer_has(exchange(subject, "", (struct options){.verb = 2, .accept = 2}), 405, "");
	answer_has(exchange(subject, "", (struct options){.verb = 3}), 405, "");
	ck_assert_uint_eq(subject->saves, 0);
}
END_TEST

/* Which server a task is of stands in its handle; what is right about it that server's worker tells. */
START_TEST(test_task)
{
	struct subject *subject = scene_modern(&scene);
	const char *handle = "gt1.beta." MAC ".t.1";
	struct answer *answer;
	struct call *call;
	char params[512], body[1024];

	snprintf(params, sizeof(params), "\"taskId\":\"%s\"," META_TASKS, handle);
	snprintf(body, sizeof(body), REQUEST("1", "tasks/get", "%s"), params);
	answer = ask(subject, "tasks/get", handle, body);
	call = call_wait(&scene);
	ck_assert_str_eq(call->server->name, "beta");
	ck_assert_str_eq(call->method, "tasks/get");
	call_result(call, "{\"resultType\":\"complete\",\"taskId\":\"x\",\"ttlMs\":null}");
	answer_is(answer, 200,
		RESULT("1", "{\"resultType\":\"complete\",\"taskId\":\"x\",\"ttlMs\":null}"));
}
END_TEST

static const struct {
	const char *method, *name, *params, *result, *expected;
} results[] = {
	{"tools/call", "alpha__echo", "\"name\":\"alpha__echo\"," META, "{\"content\":[]}",
		"{\"resultType\":\"complete\",\"content\":[]}"},
	{"tools/call", "alpha__echo", "\"name\":\"alpha__echo\"," META, "{}",
		"{\"resultType\":\"complete\"}"},
	{"tools/call", "alpha__echo", "\"name\":\"alpha__echo\"," META,
		"{\"resultType\":\"input_required\",\"requestState\":\"s\"}",
		"{\"resultType\":\"input_required\",\"requestState\":\"s\"}"},
	{"resources/read", "file:///a.txt", "\"uri\":\"file:///a.txt\"," META, "{\"contents\":[]}",
		"{\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\",\"contents\":["
		"]}"},
};

START_TEST(test_results)
{
	struct subject *subject = scene_modern(&scene);
	char body[1024], expected[1024];
	struct answer *answer;
	struct call *call;

	snprintf(body, sizeof(body), REQUEST("\"i\"", "%s", "%s"), results[_i].method,
		results[_i].params);
	answer = ask(subject, results[_i].method, results[_i].name, body);
	call = call_wait(&scene);
	ck_assert_str_eq(call->server->session, "shared-1");
	call_result(call, results[_i].result);
	snprintf(expected, sizeof(expected), RESULT("\"i\"", "%s"), results[_i].expected);
	answer_is(answer, 200, expected);
	ck_assert_str_eq(answer->session, "");
}
END_TEST

START_TEST(test_errors)
{
	struct subject *subject = scene_modern(&scene);
	const char *body = REQUEST("1", "resources/read", "\"uri\":\"file:///a.txt\"," META);
	struct answer *answer = ask(subject, "resources/read", "file:///a.txt", body);

	/* that code does not exist here */
	call_error(
		call_wait(&scene), "{\"code\":-32002,\"message\":\"no\",\"data\":{\"uri\":\"x\"}}");
	answer_is(answer, 200,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"no\","
		"\"data\":{\"uri\":\"x\"}}}");
	answer = ask(subject, "resources/read", "file:///a.txt", body);
	call_failed(call_wait(&scene), ERR_SERVER_DIED, 2);
	answer_has(answer, 200, "\"reason\":\"server_died\"");
}
END_TEST

#define VISIT "{\"mode\":\"url\",\"elicitationId\":\"e\",\"url\":\"https://x.example\",\"message\":\"go\"}"
#define WANTS_URLS(urls) \
	"{\"code\":-32042,\"message\":\"visit\",\"data\":{\"elicitations\":[" urls "]}}"
#define CALL_OF(can) \
	REQUEST("1", "tools/call", \
		"\"name\":\"alpha__echo\",\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":" \
		"\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{" can "}}")

/* Nor does the one for URLs that the user has to visit first. */
static const struct {
	const char *body, *error;
	unsigned status;
	const char *answer;
} urls[] = {
	{CALL_OF("\"elicitation\":{\"url\":{}}"), WANTS_URLS(VISIT), 200,
		"\"result\":{\"resultType\":\"input_required\",\"inputRequests\":{\"u1\":{\"method\":"
		"\"elicitation/create\",\"params\":" VISIT "}}}}"},
	{CALL_OF("\"elicitation\":{\"url\":{}}"), WANTS_URLS("7," VISIT "," VISIT), 200,
		"\"code\":-32603,"},
	{CALL_OF("\"elicitation\":{\"url\":{}}"), WANTS_URLS(VISIT "," VISIT), 200, "\"u2\":{"},
	{CALL_OF(""), WANTS_URLS(VISIT), 400, "\"requiredCapabilities\":{\"elicitation\":{\"url\":{}}}"},
	{CALL_OF("\"elicitation\":{\"url\":{}}"), "{\"code\":-32042,\"message\":\"visit\"}", 200,
		"{\"code\":-32603,\"message\":\"visit\"}"},
};

START_TEST(test_urls)
{
	struct subject *subject = scene_modern(&scene);
	struct answer *answer = ask(subject, "tools/call", "alpha__echo", urls[_i].body);

	call_error(call_wait(&scene), urls[_i].error);
	answer_has(answer, urls[_i].status, urls[_i].answer);
}
END_TEST

#define TOOL(more) REQUEST("1", "tools/call", "\"name\":\"alpha__echo\"," META_WITH(more))

/* Log messages come to those who ask for them, request by request; streams have no event ids. */
START_TEST(test_notes)
{
	struct subject *subject = scene_modern(&scene);
	struct answer *loud = ask(subject, "tools/call", "alpha__echo",
		TOOL(",\"progressToken\":\"p\",\"io.modelcontextprotocol/logLevel\":\"warning\""));
	struct answer *quiet =
		ask(subject, "tools/call", "alpha__echo", TOOL(",\"progressToken\":5"));
	struct call *calls[2] = {call_wait(&scene), call_wait(&scene)};

	for (int i = 0; i < 2; i++) {
		call_note(
			calls[i], "notifications/message", "{\"level\":\"error\",\"data\":\"E\"}");
		call_note(calls[i], "notifications/message", "{\"level\":\"info\",\"data\":\"I\"}");
		call_note(calls[i], "notifications/progress",
			"{\"progressToken\":77,\"progress\":1}");
		call_result(calls[i], "{}");
	}
	answer_has(loud, 200, "{\"level\":\"error\",\"data\":\"E\"}");
	answer_has(loud, 200, "{\"progressToken\":\"p\",\"progress\":1}");
	answer_has(quiet, 200, "{\"progressToken\":5,\"progress\":1}");
	ck_assert_uint_eq(answer_count(loud, "notifications/message"), 1);
	ck_assert_uint_eq(answer_count(quiet, "notifications/message"), 0);
	ck_assert_uint_eq(answer_count(loud, "id: "), 0);
	ck_assert_uint_eq(subject->events.len, 0);
}
END_TEST

/* Closing is cancelling; ids of others who share the worker are not touched. */
START_TEST(test_close_cancels)
{
	struct subject *subject = scene_modern(&scene);
	struct answer *first = ask(subject, "tools/call", "alpha__echo", TOOL(""));
	struct call *a = call_wait(&scene), *b;
	struct answer *second = ask(subject, "tools/call", "alpha__echo", TOOL(""));
	struct asked *asked;

	b = call_wait(&scene);
	answer_is(ask(subject, NULL, NULL,
			  "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
			  "cancelled\",\"params\":{\"requestId\":1}}"),
		202, "");
	scene_settle(&scene, 50);
	ck_assert(!a->cancelled && !b->cancelled);
	answer_close(first);
	WAIT_FOR(&scene, a->cancelled);
	ck_assert(!b->cancelled);
	call_failed(a, ERR_CANCELLED, 2);
	a->stream = 0;
	call_result(b, "{}");
	answer_wait(second);
	/* and one that waits for a server */
	scene.no_upstreams = true;
	server_dies(b->server);
	first = ask(subject, "tools/call", "alpha__echo", TOOL(""));
	scene_settle(&scene, 50);
	answer_close(first);
	scene_settle(&scene, 50);
	/* nobody can be asked */
	scene.no_upstreams = false;
	second = ask(subject, "tools/call", "alpha__echo", TOOL(""));
	b = call_wait(&scene);
	asked = server_asks(b->server, b, "roots/list", "");
	WAIT_FOR(&scene, asked->answered);
	ck_assert_uint_eq(asked->kind, 2);
	call_result(b, "{}");
	answer_wait(second);
}
END_TEST

#define LISTEN(id, filter) \
	REQUEST(id, "subscriptions/listen", "\"notifications\":{" filter "}," META)
#define ID_META(id) "\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":" id
#define GRANTED(id, filter) \
	"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{" ID_META( \
		id) "},\"notifications\":{" filter "}}}"

static struct answer *listen_to(struct subject *subject, const char *body)
{
	struct answer *answer = ask(subject, "subscriptions/listen", NULL, body);

	WAIT_FOR(&scene, answer_count(answer, "acknowledged") == 1);
	return answer;
}

/* What is granted comes first; what follows carries the id as the client wrote it. */
START_TEST(test_listen)
{
	struct subject *subject = scene_modern(&scene);
	struct answer *lists = listen_to(subject,
		LISTEN("\"l1\"", "\"toolsListChanged\":true,\"promptsListChanged\":false,"
				 "\"resourceSubscriptions\":[7]"));
	struct answer *updates = listen_to(
		subject, LISTEN("7", "\"resourceSubscriptions\":[\"file:///a.txt\"]"));
	struct call *call = call_wait(&scene);

	ck_assert_uint_eq(answer_count(lists, GRANTED("\"l1\"", "\"toolsListChanged\":true")), 1);
	ck_assert_uint_eq(answer_count(updates, GRANTED("7", "\"resourceSubscriptions\":[\"file:///"
							    "a.txt\"]")),
		1);
	ck_assert_str_eq(call->method, "resources/subscribe");
	ck_assert_str_eq(call->server->version, "2026-07-28");
	call_result(call, "{}");
	/* another listener of the same asks no server */
	struct answer *more = listen_to(
		subject, LISTEN("8", "\"resourceSubscriptions\":[\"file:///a.txt\"]"));
	server_notes(call->server, "notifications/resources/updated",
		"{\"uri\":\"file:///\\u0061.txt\",\"_meta\":{\"x\":1.0}}");
	server_notes(call->server, "notifications/resources/updated", "{\"uri\":\"file:///b\"}");
	WAIT_FOR(&scene, answer_count(updates, "{\"uri\":\"file:///\\u0061.txt\"," ID_META("7") ","
					       "\"x\":1.0}}") == 1);
	WAIT_FOR(&scene, answer_count(more, "resources/updated") == 1);
	scene_publish(subject, scene_catalogue(2, ",{\"name\":\"new\",\"inputSchema\":{}}", false), 2);
	WAIT_FOR(&scene, answer_count(lists, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/"
					     "list_changed\",\"params\":{" ID_META("\"l1\"") "}}}") == 1);
	ck_assert_uint_eq(answer_count(updates, "list_changed"), 0);
	ck_assert_uint_eq(answer_count(updates, "notifications/"), 2);
	/* the server is told when the last one goes */
	answer_close(updates);
	scene_settle(&scene, 50);
	answer_close(more);
	call = call_wait(&scene);
	ck_assert_str_eq(call->method, "resources/unsubscribe");
	call_result(call, "{}");
	answer_close(lists);
}
END_TEST

/* Who takes nothing loses its stream alone: the worker that others share goes on. */
START_TEST(test_listen_cut)
{
	enum { SIZE = 14u << 20 };
	const char head[] = "{\"uri\":\"file:///a.txt\",\"pad\":\"";
	struct subject *subject = scene_modern(&scene);
	struct answer *slow = exchange(subject,
		LISTEN("1", "\"resourceSubscriptions\":[\"file:///a.txt\"]"),
		(struct options){.version = "2026-07-28",
			.method = "subscriptions/listen",
			.keep_credit = true});
	struct call *call = call_wait(&scene);
	char *note = malloc(SIZE + 1);

	call_result(call, "{}");
	memset(note, 'x', SIZE);
	note[SIZE] = '\0';
	memcpy(note, head, sizeof(head) - 1);
	memcpy(note + SIZE - 2, "\"}", 2);
	for (int i = 0; i < 8; i++) {
		server_notes(call->server, "notifications/resources/updated", note);
		WAIT_FOR(&scene, link_queued(call->server->link) == 0);
	}
	free(note);
	WAIT_FOR(&scene, slow->done);
	ck_assert(slow->cut);
	/* nobody listens any more */
	call = call_wait(&scene);
	ck_assert_str_eq(call->method, "resources/unsubscribe");
	call_result(call, "{}");
	answer_has(ask(subject, "server/discover", NULL, REQUEST("2", "server/discover", META)), 200,
		"\"id\":2,\"result\"");
}
END_TEST

static const struct {
	const char *body;
	unsigned accept;
	unsigned status;
	const char *piece;
} not_granted[] = {
	{REQUEST("1", "subscriptions/listen", META), 3, 200, "-32602"},
	{LISTEN("1", "\"toolsListChanged\":true"), 1, 200, "text/event-stream"},
	{LISTEN("1", "\"taskIds\":[\"t\"]"), 3, 400,
		"\"requiredCapabilities\":{\"extensions\":{\"io.modelcontextprotocol/tasks\""},
	{LISTEN("1", ""), 3, 200, "\"result\":{\"resultType\":\"complete\"," ID_META("1") "}}"},
};

START_TEST(test_listen_refused)
{
	struct subject *subject = scene_modern(&scene);

	answer_has(exchange(subject, not_granted[_i].body,
			   (struct options){.version = "2026-07-28",
				   .method = "subscriptions/listen",
				   .accept = not_granted[_i].accept}),
		not_granted[_i].status, not_granted[_i].piece);
}
END_TEST

/* An error of the server that the era tells by the HTTP status. */
START_TEST(test_status)
{
	struct subject *subject = scene_modern(&scene);
	struct answer *answer = ask(subject, "tools/call", "alpha__echo", TOOL(""));

	scene_settle(&scene, 300);
	call_error(call_wait(&scene), "{\"code\":-32021,\"message\":\"no\"}");
	answer_is(answer, 400,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32021,\"message\":\"no\"}}");
}
END_TEST

#define ZONED(arguments) \
	REQUEST("1", "tools/call", "\"name\":\"alpha__zoned\",\"arguments\":" arguments "," META)

static const struct {
	const char *arguments, *headers;
	bool ok;
} headers[] = {
	{"{\"region\":\"eu\"}", "Mcp-Param-Region: eu\r\n", true},
	{"{\"region\":\"eu\"}", "mcp-param-other: x\r\nmcp-param-region:  eu \r\n", true},
	{"{\"region\":\"eu\",\"at\":{\"zone\":7}}", "Mcp-Param-Zone: 7\r\nMcp-Param-Region: eu\r\n",
		true},
	{"{\"region\":\"\\u00e9\"}", "Mcp-Param-Region: =?base64?w6k=?=\r\n", true},
	{"{}", "", true},
	{"{\"region\":null}", "", true},
	{"{\"region\":\"eu\"}", "Mcp-Param-Region: us\r\n", false},
	{"{\"region\":\"eu\"}", "", false},
	{"{\"region\":\"eu\"}", "Mcp-Param-Region: eu\r\nMcp-Param-Region: us\r\n", false},
	{"{\"region\":\"eu\",\"at\":{\"zone\":7}}", "Mcp-Param-Region: eu\r\n", false},
	{"{\"region\":\"eu\",\"at\":{\"zone\":7}}", "Mcp-Param-Zone: 8\r\nMcp-Param-Region: eu\r\n",
		false},
};

START_TEST(test_param_headers)
{
	struct subject *subject = scene_modern(&scene);
	struct answer *answer;
	char body[1024];

	snprintf(body, sizeof(body), ZONED("%s"), headers[_i].arguments);
	answer = exchange(subject, body,
		(struct options){.version = "2026-07-28",
			.method = "tools/call",
			.name = "alpha__zoned",
			.params = headers[_i].headers});
	if (!headers[_i].ok) {
		answer_has(answer, 400, "-32020");
		return;
	}
	call_result(call_wait(&scene), "{}");
	answer_has(answer, 200, "complete");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("worker modern");
	TCase *t = tcase_create("modern");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_plain);
	tcase_add_test(t, test_task);
	tcase_add_loop_test(t, test_results, 0, sizeof(results) / sizeof(*results));
	tcase_add_test(t, test_errors);
	tcase_add_loop_test(t, test_urls, 0, sizeof(urls) / sizeof(*urls));
	tcase_add_test(t, test_notes);
	tcase_add_test(t, test_close_cancels);
	tcase_add_test(t, test_listen);
	tcase_add_test(t, test_listen_cut);
	tcase_add_loop_test(
		t, test_listen_refused, 0, sizeof(not_granted) / sizeof(*not_granted));
	tcase_add_test(t, test_status);
	tcase_add_loop_test(t, test_param_headers, 0, sizeof(headers) / sizeof(*headers));
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
