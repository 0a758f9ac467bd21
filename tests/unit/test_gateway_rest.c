/* A real gateway, asked over REST; workers, session manager and root are played. */
#include "gateway_node.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct node node;
static struct client client;
static unsigned count; /* exchanges seen so far */

static void start(const char *yaml)
{
	count = 0;
	node_start(&node, yaml, NULL);
	client_open(&client, &node);
}

static void finish(void)
{
	client_close(&client);
	node_end(&node);
}

static void say(const char *line, const char *headers, const char *body)
{
	char request[4096];

	client_forget(&client);
	snprintf(request, sizeof(request),
		"%s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n%s", line, headers,
		strlen(body), body);
	client_say(&client, request);
}

static struct seen *next_seen(void)
{
	node_wait_seen(&node, ++count);
	return &node.seen[count - 1];
}

static void expect(unsigned status, const char *text)
{
	ck_assert_uint_eq(client_status(&client), status);
	ck_assert_msg(client_wait(&client, text), "%s", client_text(&client));
}

/* --- what becomes of a request -------------------------------------------------------------- */

START_TEST(becomes_a_message)
{
	struct seen *seen;

	start("rest: true\n");
	say("GET /v1/resources/read?x=1&uri=a%3A%2F%2F%C3%A9%22", "", "");
	seen = next_seen();
	ck_assert_str_eq(seen->version, "2026-07-28");
	ck_assert_str_eq(seen->mcp_method, "resources/read");
	ck_assert_ptr_nonnull(strstr(seen->body, "\"uri\":\"a://\xc3\xa9\\\"\""));
	ck_assert_ptr_nonnull(strstr(seen->body, "\"io.modelcontextprotocol/clientCapabilities\":{}"));
	seen_answer(seen, 200,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"contents\" : [1e2, \"\\u0061\"]}}");
	expect(200, "\r\n\r\n{\"contents\" : [1e2, \"\\u0061\"]}");
	say("GET /v1/tools?cursor=g1-2%22", "", "");
	seen = next_seen();
	ck_assert_str_eq(seen->mcp_method, "tools/list");
	ck_assert_ptr_nonnull(strstr(seen->body, "\"cursor\":\"g1-2\\\"\""));
	seen_answer(seen, 200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]}}");
	expect(200, "{\"tools\":[]}");
	finish();
}
END_TEST

/* --- what becomes of an answer -------------------------------------------------------------- */

static const struct {
	const char *answer; /* after the id */
	unsigned status;
	const char *reason, *also;
} answers[] = {
	{"\"result\":{\"resultType\":\"input_required\",\"inputRequests\":{}}", 501, "input_required",
		"use an MCP client"},
	{"\"result\":{\"resultType\":\"task\",\"taskId\":\"x\"}", 501, "input_required", ""},
	{"\"error\":{\"code\":-32000,\"message\":\"m\\u0061\",\"data\":{\"reason\":\"server_down\","
	 "\"retryable\":true,\"executed\":\"no\"}}",
		503, "server_down",
		"\"detail\":\"m\\u0061\",\"code\":-32000,\"retryable\":true,\"executed\":\"no\""},
	{"\"error\":{\"code\":-32000,\"message\":\"m\",\"data\":{\"reason\":\"process_died\","
	 "\"retryable\":true,\"executed\":\"unknown\"}}",
		502, "process_died", "\"executed\":\"unknown\""},
	{"\"error\":{\"code\":-32001,\"message\":\"m\",\"data\":{\"reason\":\"timeout\","
	 "\"retryable\":true,\"executed\":\"unknown\"}}",
		504, "timeout", ""},
	{"\"error\":{\"code\":-32603,\"message\":\"m\",\"data\":[1]}", 502, "server_error",
		"\"data\":[1]"},
	{"\"error\":{\"code\":-32602,\"message\":\"m\"}", 404, "server_error", "\"code\":-32602"},
	{"\"error\":{\"code\":-32021,\"message\":\"m\"}", 501, "server_error", ""},
	{"\"nonsense\":1", 500, "internal", ""},
};

START_TEST(becomes_a_problem)
{
	char text[512];

	start("rest: true\n");
	say("GET /v1/resources/read?uri=x:y", "", "");
	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":1,%s}", answers[_i].answer);
	seen_answer(next_seen(), 200, text);
	ck_assert_uint_eq(client_status(&client), answers[_i].status);
	snprintf(text, sizeof(text), "{\"type\":\"urn:gatehouse:problem:%s\",\"title\":\"",
		answers[_i].reason);
	ck_assert_msg(client_wait(&client, text), "%s", client_text(&client));
	snprintf(text, sizeof(text), "\"status\":%u,", answers[_i].status);
	ck_assert(client_wait(&client, text));
	ck_assert_msg(client_wait(&client, answers[_i].also), "%s", client_text(&client));
	ck_assert(client_wait(&client, "Content-Type: application/problem+json\r\n"));
	finish();
}
END_TEST

/* --- what is refused ------------------------------------------------------------------------ */

static const struct {
	const char *line, *headers, *body;
	unsigned status;
	const char *reason;
} refused[] = {
	{"GET /v1/nothing", "", "", 404, "not_found"},
	{"GET /v1/tools/", "", "", 404, "not_found"},
	{"GET /v1/tools/a/b", "", "", 404, "not_found"},
	{"GET /v1/views/none/tools", "", "", 404, "not_found"},
	{"GET /v1/views/docs", "", "", 404, "not_found"},
	{"GET /v1/views//tools", "", "", 404, "not_found"},
	{"PUT /v1/tools", "", "", 405, "method_not_allowed"},
	{"POST /v1/tools", "Content-Type: application/json\r\n", "{}", 405, "method_not_allowed"},
	{"GET /v1/prompts/x", "", "", 405, "method_not_allowed"},
	{"POST /v1/tools/x", "", "{}", 415, "unsupported_media"},
	{"POST /v1/tools/x", "Content-Type: application/json\r\n", "[]", 400, "invalid_params"},
	{"POST /v1/tools/x", "Content-Type: application/json\r\n", "{\"a\":1}},\"x\":{\"y\":1}", 400,
		"parse"},
	{"POST /v1/tools/x", "Content-Type: application/json\r\n", "{}", 404, "not_found"},
	{"POST /v1/tools/%zz", "Content-Type: application/json\r\n", "{}", 400, "invalid_params"},
	{"POST /v1/tools/%ff", "", "", 400, "invalid_params"},
	{"GET /v1/tools/x%00", "", "", 400, "invalid_params"},
	{"GET /v1/tools/x", "", "", 404, "not_found"},
	{"GET /v1/resources/read", "", "", 400, "invalid_params"},
	{"GET /v1/tools?cursor=%", "", "", 400, "invalid_params"},
	{"GET /v1/tools", "Origin: http://evil.example\r\n", "", 403, "bad_origin"},
};

START_TEST(is_refused)
{
	static const struct node_server none[] = {{"s", SERVER_UP, true}};
	char text[128];

	start("rest: true\nviews: { docs: {} }\n");
	node_publish(&node, none, 1);
	node_run(&node, 20);
	say(refused[_i].line, refused[_i].headers, refused[_i].body);
	ck_assert_msg(client_status(&client) == refused[_i].status, "%s", client_text(&client));
	snprintf(text, sizeof(text), "\"type\":\"urn:gatehouse:problem:%s\"", refused[_i].reason);
	ck_assert_msg(client_wait(&client, text), "%s", client_text(&client));
	ck_assert_uint_eq(node.n_seen, 0);
	finish();
}
END_TEST

/* Off unless it is asked for; then what is not known yet is told. */
START_TEST(is_switched_on)
{
	start("");
	say("GET /v1/tools", "", "");
	expect(404, "MCP is at /mcp");
	finish();
	start("rest: true\n");
	say("GET /v1/openapi.json", "", "");
	expect(503, "urn:gatehouse:problem:busy");
	finish();
}
END_TEST

/* A worker that dies before anything was forwarded costs nothing; after it, the problem says so. */
START_TEST(worker_dies)
{
	struct seen *seen;

	start("rest: true\n");
	say("GET /v1/prompts", "", "");
	worker_die(next_seen()->worker);
	seen = next_seen();
	ck_assert_str_eq(seen->mcp_method, "prompts/list");
	seen_forwarded(seen, false);
	node_run(&node, 10);
	worker_die(seen->worker);
	expect(502, "\"executed\":\"unknown\"");
	finish();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gateway_rest");
	TCase *tcase = tcase_create("gateway_rest");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, becomes_a_message);
	tcase_add_loop_test(tcase, becomes_a_problem, 0, sizeof(answers) / sizeof(*answers));
	tcase_add_loop_test(tcase, is_refused, 0, sizeof(refused) / sizeof(*refused));
	tcase_add_test(tcase, is_switched_on);
	tcase_add_test(tcase, worker_dies);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
