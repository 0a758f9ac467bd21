/* Session workers: requests of the legacy era, their way to a server and back. The real program,
 * see worker_scene.h. */
#include "mcp.h"
#include "worker_scene.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
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

#define CALL(id, name, rest) \
	"{\"jsonrpc\":\"2.0\",\"id\":" id \
	",\"method\":\"tools/call\",\"params\":{\"name\":\"" name "\"" rest "}}"
#define LIST(id) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"tools/list\"}"
#define PING(id) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"ping\"}"
#define CANCEL(id) \
	"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/" \
	"cancelled\",\"params\":{\"requestId\":" id ",\"reason\":\"no\"}}"
#define RESULT(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"

/* --- initialize ----------------------------------------------------------------------------- */

#define INITIALIZE(version) \
	"{\"jsonrpc\":\"2.0\",\"id\":\"a\\u0062\",\"method\":\"initialize\",\"params\":{" \
	"\"protocolVersion\":\"" version \
	"\",\"capabilities\":{},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}}}"

static const struct {
	const char *body, *version;
} negotiations[] = {
	{INITIALIZE("2024-11-05"), "2024-11-05"},
	{INITIALIZE("2025-03-26"), "2025-03-26"},
	{INITIALIZE("2025-06-18"), "2025-06-18"},
	{INITIALIZE("2025-11-25"), "2025-11-25"},
	{INITIALIZE("2026-07-28"), "2025-11-25"},
	{INITIALIZE("1999-01-01"), "2025-11-25"},
};

START_TEST(test_initialize)
{
	struct subject *subject = scene_worker(&scene);
	struct answer *answer;
	char expected[64];

	subject_lease(subject, "session-1", 1, 0, "", 1);
	answer = post(subject, negotiations[_i].body);
	snprintf(expected, sizeof(expected),
		"\"id\":\"a\\u0062\",\"result\":{\"protocolVersion\":\"%s\"",
		negotiations[_i].version);
	answer_has(answer, 200, expected);
	ck_assert_uint_eq(answer->content, 1);
	ck_assert_str_eq(answer->session, "session-1");
	ck_assert_ptr_nonnull(strstr(answer_text(answer), "\"tools\":{\"listChanged\":true}"));
	ck_assert_ptr_nonnull(strstr(answer_text(answer), "\"name\":\"gatehouse\""));
	ck_assert_ptr_nonnull(strstr(answer_text(answer), "Use alpha."));
	ck_assert_ptr_nonnull(strstr(subject->state.data, negotiations[_i].version));
	ck_assert_uint_gt(subject->next_event, 1);
	/* once only */
	answer_has(post(subject, negotiations[_i].body), 200, "initialized already");
}
END_TEST

START_TEST(test_initialize_is_stored_first)
{
	struct subject *subject = scene_worker(&scene);
	const struct msg_session_saved saved = {.code = 0};
	struct answer *answer;

	subject_lease(subject, "session-1", 1, 0, "", 1);
	subject->hold_saves = true;
	answer = exchange(subject, INITIALIZE("2025-06-18"), (struct options){.accept = 1});
	WAIT_FOR(&scene, subject->saves == 1);
	scene_settle(&scene, 300);
	ck_assert(!answer->done);
	link_post(subject->sessions, MSG_SESSION_SAVED, subject->save_stream, &saved);
	answer_has(answer, 200, "2025-06-18");
}
END_TEST

START_TEST(test_initialize_not_stored)
{
	struct subject *subject = scene_worker(&scene);
	struct answer *answer;

	subject_lease(subject, "session-1", 1, 0, "", 1);
	subject->save_code = ERR_STORE_FULL;
	answer = post(subject, INITIALIZE("2025-06-18"));
	answer_has(answer, 200, "could not be stored");
	ck_assert_str_eq(answer->session, "");
	ck_assert_int_eq(subject_wait_exit(subject), 0);
	ck_assert_str_eq(subject->closed, "not initialized");
}
END_TEST

static void initialize_while_starting(bool comes_up, unsigned accept)
{
	struct subject *subject = scene_worker(&scene);
	int starting = scene_catalogue(2, "", true);
	uint64_t began;
	struct answer *answer;

	scene_publish(subject, starting, 2);
	subject_lease(subject, "session-1", 1, 0, "", 1);
	began = scene_now();
	answer = exchange(subject, INITIALIZE("2025-06-18"), (struct options){.accept = accept});
	scene_settle(&scene, 300);
	/* a head that leaves before the answer could not tell the session */
	ck_assert(!answer->done && !answer->head);
	if (comes_up)
		scene_publish(subject, scene.catalogue, 3);
	answer_has(answer, 200, "protocolVersion");
	ck_assert_str_eq(answer->session, "session-1");
	if (comes_up)
		ck_assert_uint_lt(scene_now() - began, 2000);
	else
		ck_assert_uint_ge(scene_now() - began, 2900);
	close(starting);
}

START_TEST(test_initialize_waits_for_servers)
{
	/* JSON, events, both, both and rather events */
	static const unsigned accepts[] = {1, 2, 3, 7};

	initialize_while_starting(true, accepts[_i]);
}
END_TEST

START_TEST(test_initialize_waits_so_long)
{
	initialize_while_starting(false, 3);
}
END_TEST

START_TEST(test_before_initialize)
{
	struct subject *subject = scene_worker(&scene);

	subject_lease(subject, "session-1", 1, 0, "", 1);
	answer_is(post(subject, PING("1")), 200, RESULT("1", "{}"));
	answer_has(post(subject, LIST("1")), 200, "send initialize first");
	answer_has(post(subject, "[" PING("1") "," INITIALIZE("2025-03-26") "]"), 200,
		"cannot be part of a batch");
	answer_has(exchange(subject, PING("1"), (struct options){.session = "session-2"}), 404,
		"-32001");
	answer_has(exchange(subject, PING("1"), (struct options){.principal = "mallory"}), 404,
		"-32001");
	answer_has(
		post(subject,
			"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}"),
		200, "protocolVersion");
	ck_assert_int_eq(subject_wait_exit(subject), 0);
}
END_TEST

/* --- answered here -------------------------------------------------------------------------- */

static const struct {
	const char *body;
	unsigned status;
	const char *piece;
} plain[] = {
	{PING("1"), 200, RESULT("1", "{}")},
	{PING("9007199254740993123"), 200, RESULT("9007199254740993123", "{}")},
	{PING("\"\\u00e9\\n\""), 200, RESULT("\"\\u00e9\\n\"", "{}")},
	{PING("-5"), 200, RESULT("-5", "{}")},
	{PING("null"), 400, "-32600"},
	{"{", 400, "-32700"},
	{"[]", 400, "-32600"},
	{"[" PING("1") "]", 400, "later than 2025-03-26 have no batches"},
	{LIST("1"), 200, "{\"name\":\"alpha__echo\",\"inputSchema\":{\"type\":\"object\"}}"},
	{LIST("1"), 200, "\"beta__echo\""},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/"
	 "list\",\"params\":{\"cursor\":\"nonsense\"}}",
		200, "-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/"
	 "list\",\"params\":{\"cursor\":\"g1-99999\"}}",
		200, "-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"cursor\":7}}", 200,
		"-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"prompts/list\"}", 200, "\"alpha__greet\""},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/list\"}", 200,
		"\"uri\":\"file:///a.txt\""},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/templates/list\"}", 200,
		"\"resourceTemplates\":[{\"uriTemplate\""},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no/such\"}", 200, "-32601"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/discover\"}", 200, "-32601"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"notifications/initialized\"}", 200, "-32601"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"logging/"
	 "setLevel\",\"params\":{\"level\":\"loud\"}}",
		200, "-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"logging/"
	 "setLevel\",\"params\":{\"level\":\"error\"}}",
		200, RESULT("1", "{}")},
	{CALL("1", "gamma__x", ""), 200, "gamma__x\\\" is not known"},
	{CALL("1", "echo", ""), 200, "-32602"},
	{CALL("1", "alpha__echo", ",\"name\":\"beta__echo\""), 200, "twice"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":7}}", 200,
		"not a string"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}", 200, "-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"prompts/"
	 "get\",\"params\":{\"name\":\"greet\"}}",
		200, "-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/read\",\"params\":{}}", 200,
		"-32602"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tasks/get\",\"params\":{\"taskId\":\"t\"}}",
		200, "-32602"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"no/such\"}", 202, ""},
	{"{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{}}", 202, ""},
	{CANCEL("99"), 202, ""},
};

START_TEST(test_plain)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");

	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
		answer_has(post(subject, plain[i].body), plain[i].status, plain[i].piece);
	answer_has(exchange(subject, PING("1"), (struct options){.version = "1999-01-01"}), 400,
		"MCP-Protocol-Version");
	answer_is(exchange(subject, PING("1"), (struct options){.version = "2025-06-18"}), 200,
		RESULT("1", "{}"));
	/* nothing but lists went to a server */
	for (unsigned i = 0; i < scene.n_calls; i++)
		ck_assert_ptr_nonnull(strstr(scene.calls[i]->method, "/list"));
}
END_TEST

/* More tools than fit a page: the cursor leads to the rest. */
START_TEST(test_pages)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer;
	struct buf more;
	int catalogue;

	buf_init(&more, 1 << 20);
	for (int i = 0; i < 1200; i++)
		buf_printf(&more, ",{\"name\":\"t%d\",\"inputSchema\":{}}", i);
	buf_append(&more, "", 1);
	catalogue = scene_catalogue(2, more.data, false);
	buf_free(&more);
	scene_publish(subject, catalogue, 2);
	close(catalogue);
	answer_has(answer = post(subject, LIST("1")), 200, "],\"nextCursor\":\"g2-1000\"}");
	ck_assert_uint_eq(answer_count(answer, "\"name\""), 1000);
	answer = post(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/"
			       "list\",\"params\":{\"cursor\":\"g2-1000\"}}");
	answer_has(answer, 200, "\"beta__echo\"");
	ck_assert_uint_eq(answer_count(answer, "\"name\""), 205);
	ck_assert_uint_eq(answer_count(answer, "nextCursor"), 0);
}
END_TEST

/* --- calls ---------------------------------------------------------------------------------- */

/* Every byte but the name is as it came. */
START_TEST(test_splice)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{\"roots\":{}}");
	const char *rest = ", \"arguments\" : {\"n\":1e400,\"big\":12345678901234567890, "
			   "\"s\":\"\\u00e9\\ud83d\\ude00\"},\"x\":[1 ,2]";
	struct answer *answer;
	struct call *call;
	char body[1024], expected[1024];

	snprintf(body, sizeof(body),
		"{\"jsonrpc\":\"2.0\",\"id\":\"x\\\"1\",\"method\":\"tools/"
		"call\",\"params\":{\"name\":\"alpha\\u005f_echo\"%s}}",
		rest);
	snprintf(expected, sizeof(expected), "{\"name\":\"echo\"%s}", rest);
	answer = exchange(subject, body,
		(struct options){
			.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"});
	call = call_wait(&scene);
	ck_assert_str_eq(call->params.data, expected);
	ck_assert_str_eq(call->method, "tools/call");
	ck_assert_str_eq(call->name, "echo");
	ck_assert_str_eq(call->server->name, "alpha");
	ck_assert_str_eq(
		call->traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	ck_assert(!call->safe && !call->progress && call->timeout_ms <= 20000 &&
		  call->timeout_ms > 19000);
	ck_assert(answer->forwarded);
	ck_assert_str_eq(call->server->session, "session-1");
	ck_assert_str_eq(call->server->version, "2025-06-18");
	ck_assert_str_eq(call->server->attach.data,
		"{\"capabilities\":{\"roots\":{}},\"clientInfo\":{\"name\":\"tester\",\"version\":"
		"\"1\"},\"subscriptions\":[]}");
	call_forwarded(call);
	call_result(call, "{\"content\":[ ],\"n\":1.0, \"e\":\"\\u00e9\"}");
	answer_is(answer, 200,
		"{\"jsonrpc\":\"2.0\",\"id\":\"x\\\"1\",\"result\":{\"content\":[ ],\"n\":1.0, "
		"\"e\":\"\\u00e9\"}}");
	ck_assert_str_eq(answer->tool, "alpha__echo");
	ck_assert_str_eq(answer->server, "alpha");
	ck_assert_str_eq(answer->method, "tools/call");
	ck_assert_uint_eq(answer->executed, 1);
}
END_TEST

static const struct {
	const char *body, *server, *method, *params;
	bool safe;
} ways[] = {
	{CALL("1", "beta__echo", ""), "beta", "tools/call", "{\"name\":\"echo\"}", false},
	{CALL("1", "alpha__read", ""), "alpha", "tools/call", "{\"name\":\"read\"}", true},
	{CALL("1", "alpha__idem1", ""), "alpha", "tools/call", "{\"name\":\"idem1\"}", true},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"prompts/"
	 "get\",\"params\":{\"arguments\":{\"who\":\"me\"},\"name\":\"alpha__greet\"}}",
		"alpha", "prompts/get", "{\"arguments\":{\"who\":\"me\"},\"name\":\"greet\"}",
		true},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/read\",\"params\":{\"uri\":\"file://"
	 "/a.txt\"}}",
		"alpha", "resources/read", "{\"uri\":\"file:///a.txt\"}", true},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/read\",\"params\":{\"uri\":\"test://"
	 "t/9/data\"}}",
		"alpha", "resources/read", "{\"uri\":\"test://t/9/data\"}", true},
	/* the only server with resources */
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/read\",\"params\":{\"uri\":\"other:/"
	 "/x\"}}",
		"alpha", "resources/read", "{\"uri\":\"other://x\"}", true},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"completion/"
	 "complete\",\"params\":{\"ref\":{\"type\":\"ref/prompt\","
	 "\"name\":\"alpha__greet\"},\"argument\":{\"name\":\"who\",\"value\":\"a\"}}}",
		"alpha", "completion/complete",
		"{\"ref\":{\"type\":\"ref/"
		"prompt\",\"name\":\"greet\"},\"argument\":{\"name\":\"who\",\"value\":\"a\"}}",
		true},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"completion/"
	 "complete\",\"params\":{\"ref\":{\"type\":\"ref/resource\","
	 "\"uri\":\"test://t/{id}/data\"},\"argument\":{\"name\":\"id\",\"value\":\"a\"}}}",
		"alpha", "completion/complete",
		"{\"ref\":{\"type\":\"ref/resource\",\"uri\":\"test://t/{id}/"
		"data\"},\"argument\":{\"name\":\"id\",\"value\":\"a\"}}",
		true},
};

START_TEST(test_ways)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct answer *answer = post(subject, ways[i].body);
		struct call *call = call_wait(&scene);

		ck_assert_str_eq(call->server->name, ways[i].server);
		ck_assert_str_eq(call->method, ways[i].method);
		ck_assert_str_eq(call->params.data, ways[i].params);
		ck_assert(call->safe == ways[i].safe);
		call_error(call, "{\"code\":-32000,\"message\":\"own\",\"data\":{\"k\":1.50}}");
		answer_is(answer, 200,
			"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":"
			"\"own\",\"data\":{\"k\":1.50}}}");
		ck_assert_uint_eq(answer->code, 32000);
		ck_assert(answer->forwarded != ways[i].safe);
	}
	ck_assert_uint_eq(played(subject, "alpha")->opened, 1);
}
END_TEST

/* The root is told what a worker serves, so that people can tell it from a warm one. */
START_TEST(test_serving)
{
	struct subject *subject = scene_worker(&scene);

	ck_assert_str_eq(subject->serves, "");
	subject_lease(subject, "session-of-somebody", 1, 0, "", 0);
	WAIT_FOR(&scene, strlen(subject->serves) == 8);
}
END_TEST

/* A call that becomes a task with this id. */
static void start_task(struct subject *subject, const char *tool, const char *id)
{
	struct answer *answer;
	char body[256];

	snprintf(body, sizeof(body),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\","
		"\"task\":{}}}",
		tool);
	answer = post(subject, body);
	snprintf(body, sizeof(body), "{\"task\":{\"taskId\":\"%s\"}}", id);
	call_result(call_wait(&scene), body);
	answer_has(answer, 200, id);
}

#define LIST_TASKS "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tasks/list\",\"params\":{}}"

/* Those of all servers, all pages, without those of other sessions, and without a server that
 * fails. */
START_TEST(test_task_list)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *answer = post(subject, LIST_TASKS);
	struct call *call;

	answer_is(answer, 200, RESULT("9", "{\"tasks\":[]}"));
	start_task(subject, "alpha__echo", "a1");
	start_task(subject, "alpha__echo", "a2");
	start_task(subject, "beta__echo", "b1");
	answer = post(subject, LIST_TASKS);
	call = call_wait(&scene);
	ck_assert_str_eq(call->server->name, "alpha");
	call_result(call, "{\"tasks\":[{\"taskId\":\"a1\",\"n\":1.50},{\"taskId\":\"other\"},"
			  "{\"taskId\":\"b1\"}],\"nextCursor\":\"x\"}");
	call = call_wait(&scene);
	ck_assert_str_eq(call->params.data, "{\"cursor\":\"x\"}");
	call_result(call, "{\"tasks\":[{\"taskId\":\"a2\"}],\"nextCursor\":\"x\"}");
	call = call_wait(&scene);
	ck_assert_str_eq(call->server->name, "beta");
	ck_assert_str_eq(call->method, "tasks/list");
	call_result(call, "{\"tasks\":[{\"taskId\":\"b1\"}]}");
	answer_is(answer, 200,
		RESULT("9", "{\"tasks\":[{\"taskId\":\"a1\",\"n\":1.50},{\"taskId\":\"a2\"},"
			    "{\"taskId\":\"b1\"}]}"));
	answer = post(subject, LIST_TASKS);
	call_error(call_wait(&scene), "{\"code\":-32000,\"message\":\"no\"}");
	call_result(call_wait(&scene), "{\"tasks\":[{\"taskId\":\"b1\"}]}");
	answer_is(answer, 200, RESULT("9", "{\"tasks\":[{\"taskId\":\"b1\"}]}"));
	answer = post(subject, LIST_TASKS);
	call_error(call_wait(&scene), "{\"code\":-32000,\"message\":\"no\"}");
	call_error(call_wait(&scene), "{\"code\":-32001,\"message\":\"neither\"}");
	answer_has(answer, 200, "neither");
	answer_has(post(subject, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tasks/list\","
				 "\"params\":{\"cursor\":\"x\"}}"),
		200, "-32602");
}
END_TEST

static const struct {
	const char *token;
} tokens[] = {{"7"}, {"\"7\""}, {"\"a\\u0062\""}, {"12345678901234567890"}};

START_TEST(test_progress)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	char body[512], expected[512];
	struct answer *answer;
	struct call *call;

	snprintf(body, sizeof(body), CALL("1", "alpha__echo", ",\"_meta\":{\"progressToken\":%s}"),
		tokens[_i].token);
	answer = post(subject, body);
	call = call_wait(&scene);
	ck_assert(call->progress);
	call_note(call, "notifications/progress",
		"{\"progress\":0.50,\"progressToken\":99,\"total\":1}");
	WAIT_FOR(&scene, answer->head);
	call_result(call, "{}");
	answer_wait(answer);
	ck_assert_uint_eq(answer->content, 2);
	snprintf(expected, sizeof(expected),
		"data: "
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
		"progress\",\"params\":{\"progress\":0.50,"
		"\"progressToken\":%s,\"total\":1}}\n\n",
		tokens[_i].token);
	answer_has(answer, 200, expected);
	answer_has(answer, 200, "data: " RESULT("1", "{}") "\n\n");
	/* nothing after the answer */
	call_note(call, "notifications/progress",
		"{\"progress\":0.50,\"progressToken\":99,\"total\":1}");
	scene_settle(&scene, 50);
	ck_assert_uint_eq(answer_count(answer, "data: "), 2);
}
END_TEST

/* None asked for, none sent. */
START_TEST(test_progress_unasked)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer = post(subject, CALL("1", "alpha__echo", ""));
	struct call *call = call_wait(&scene);

	ck_assert(!call->progress);
	call_note(call, "notifications/progress", "{\"progress\":1,\"progressToken\":99}");
	call_result(call, "{}");
	answer_is(answer, 200, RESULT("1", "{}"));
	ck_assert_uint_eq(answer->content, 1);
}
END_TEST

START_TEST(test_logging)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer, *other;
	struct call *call;

	answer = post(subject, CALL("1", "alpha__echo", ""));
	call = call_wait(&scene);
	answer_is(post(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"logging/"
				"setLevel\",\"params\":{\"level\":\"warning\"}}"),
		200, RESULT("1", "{}"));
	WAIT_FOR(&scene, call->server->notes.len > 0);
	ck_assert_int_eq(
		strncmp(call->server->notes.data, "logging/setLevel {\"level\":\"warning\"}", 36),
		0);
	call_note(call, "notifications/message", "{\"level\":\"info\",\"data\":\"quiet\"}");
	call_note(call, "notifications/message", "{\"level\":\"error\",\"data\":\"loud\"}");
	call_result(call, "{}");
	answer_has(answer, 200, "loud");
	ck_assert_uint_eq(answer_count(answer, "quiet"), 0);
	WAIT_FOR(&scene, strstr(subject->state.data, "\"logLevel\":4"));
	/* told to servers spoken with later, too */
	other = post(subject, CALL("2", "beta__echo", ""));
	call = call_wait(&scene);
	ck_assert_str_eq(call->server->log_level, "warning");
	call_result(call, "{}");
	answer_wait(other);
}
END_TEST

/* --- servers with a process for this session ------------------------------------------------ */

#define OWN(name) "{\"name\":\"" name "\",\"x\":1.0,\"inputSchema\":{}}"

/* What its own process offers stands in the place of what the catalogue says. */
START_TEST(test_own_lists)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer = post(subject, CALL("1", "beta__echo", "")), *second;
	struct call *call = call_wait(&scene);

	call_result(call, "{}");
	answer_wait(answer);
	answer = post(subject, LIST("3"));
	call = call_wait(&scene);
	second = post(subject, LIST("4"));
	ck_assert_str_eq(call->server->name, "beta");
	ck_assert_str_eq(call->method, "tools/list");
	ck_assert_str_eq(call->params.data, "");
	call_result(call, "{\"tools\":[" OWN("sample") "," OWN("echo") "," OWN(
				  "bad name") "],\"nextCursor\":\"c\\n\"}");
	call = call_wait(&scene);
	ck_assert_str_eq(call->params.data, "{\"cursor\":\"c\\n\"}");
	ck_assert(!answer->done);
	/* a cursor that leads nowhere ends it */
	call_result(call, "{\"tools\":[{\"name\":\"last\",\"annotations\":{\"readOnlyHint\":true}}]"
			  ",\"nextCursor\":\"c\\n\"}");
	answer_has(answer, 200,
		OWN("beta__sample") "," OWN("beta__echo") "," OWN(
			"beta__bad_name_5c0e01df") ",{\"name\":\"beta__last\",\"annotations\":{\"readOnlyHint\":"
				      "true}}]");
	answer_has(answer, 200, "[{\"name\":\"alpha__echo\"");
	ck_assert_uint_eq(answer_count(answer, "\"name\""), 8);
	answer_has(second, 200, OWN("beta__sample"));
	/* not asked again */
	answer_has(post(subject, LIST("5")), 200, OWN("beta__sample"));
	ck_assert_uint_eq(scene.n_calls, scene.taken_calls);
	/* its tools are found */
	answer = post(subject, CALL("6", "beta__last", ""));
	call = call_wait(&scene);
	ck_assert_str_eq(call->params.data, "{\"name\":\"last\"}");
	ck_assert(call->safe);
	call_result(call, "{}");
	answer_has(answer, 200, RESULT("6", "{}"));
	answer = post(subject, CALL("7", "beta__bad_name_5c0e01df", ""));
	call = call_wait(&scene);
	ck_assert_str_eq(call->params.data, "{\"name\":\"bad name\"}");
	call_result(call, "{}");
	answer_has(answer, 200, RESULT("7", "{}"));
}
END_TEST

START_TEST(test_own_lists_change)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *stream = exchange(subject, "", (struct options){.verb = 2, .accept = 2}),
		      *answer;
	struct played *beta = played(subject, "beta");

	answer = post(subject, CALL("1", "beta__echo", ""));
	call_result(call_wait(&scene), "{}");
	answer_wait(answer);
	answer = post(subject, LIST("2"));
	call_result(call_wait(&scene), "{\"tools\":[]}");
	answer_has(answer, 200, "alpha__zoned");
	ck_assert_uint_eq(answer_count(answer, "beta"), 0);
	server_notes(beta, "notifications/tools/list_changed", "");
	WAIT_FOR(&scene, strstr(answer_text(stream), "tools/list_changed"));
	/* one that fails, or is slow, is done without */
	answer = post(subject, LIST("3"));
	call_failed(call_wait(&scene), ERR_SERVER_DIED, 2);
	answer_has(answer, 200, "alpha__zoned");
	ck_assert_uint_eq(answer_count(answer, "beta"), 0);
	answer = post(subject, LIST("4"));
	call_result(call_wait(&scene), "{\"tools\":[" OWN("echo") "]}");
	answer_has(answer, 200, OWN("beta__echo"));
	/* a process that is gone has a successor, which is asked */
	server_dies(beta);
	scene_settle(&scene, 30);
	answer = post(subject, LIST("5"));
	call_result(call_wait(&scene), "{\"tools\":[" OWN("echo") "]}");
	answer_has(answer, 200, OWN("beta__echo"));
	/* cancelled while it waits */
	answer = post(subject, CALL("6", "beta__echo", ""));
	call_result(call_wait(&scene), "{}");
	answer_wait(answer);
	server_notes(played(subject, "beta"), "notifications/tools/list_changed", "");
	scene_settle(&scene, 30);
	answer = exchange(subject, LIST("7"), (struct options){.accept = 1});
	call_wait(&scene);
	answer_is(post(subject, CANCEL("7")), 202, "");
	answer_is(answer, 202, "");
	answer_is(post(subject, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
				"cancelled\",\"params\":{}}"),
		202, "");
	call_result(scene.calls[scene.n_calls - 1], "{\"tools\":[" OWN("echo") "]}");
	answer_has(post(subject, LIST("8")), 200, OWN("beta__echo"));
}
END_TEST

/* Clients like this one are known to be shown what the catalogue has: no conversation is begun to
 * see it once more. */
START_TEST(test_own_lists_alike)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{\"roots\":{}}");
	int catalogue = scene_catalogue_alike(2,
		mcp_client_digest(MCP_2025_06_18, SPAN_LIT("{\"roots\":{}}"),
			SPAN_LIT("{\"name\":\"tester\",\"version\":\"1\"}")) +
			(unsigned)_i);
	struct answer *answer;

	scene_publish(subject, catalogue, 2);
	close(catalogue);
	scene_settle(&scene, 30);
	answer = post(subject, LIST("1"));
	if (_i)
		call_result(call_wait(&scene), "{\"tools\":[" OWN("mine") "]}");
	answer_has(answer, 200, _i ? "beta__mine" : "beta__echo");
	ck_assert_uint_eq(subject->links_asked, (unsigned)_i);
	if (_i)
		return;
	/* a conversation of its own counts more */
	answer = post(subject, CALL("2", "beta__echo", ""));
	call_result(call_wait(&scene), "{}");
	answer_wait(answer);
	answer = post(subject, LIST("3"));
	call_result(call_wait(&scene), "{\"tools\":[" OWN("mine") "]}");
	answer_has(answer, 200, "beta__mine");
}
END_TEST

/* What the catalogue has is not kept twice, and what was asked for nothing else ends. */
START_TEST(test_own_lists_same)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer = post(subject, LIST("1"));
	struct call *call = call_wait(&scene);
	struct played *beta = call->server;

	call_result(call,
		"{\"tools\":[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}]}");
	answer_has(answer, 200, "beta__echo");
	ck_assert_ptr_nonnull(beta->link);
	if (_i) {
		answer = post(subject, CALL("2", "beta__echo", ""));
		call_result(call_wait(&scene), "{}");
		answer_wait(answer);
		scene_settle(&scene, 2300);
		ck_assert_ptr_nonnull(beta->link);
	} else {
		WAIT_FOR(&scene, !beta->link);
	}
	answer_has(post(subject, LIST("3")), 200, "beta__echo");
	ck_assert_uint_eq(scene.n_calls, scene.taken_calls);
}
END_TEST

/* However often a server says so, the client is told at once, and once more in a second. */
START_TEST(test_changes_coalesce)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *stream = exchange(subject, "", (struct options){.verb = 2, .accept = 2}),
		      *answer = post(subject, CALL("1", "beta__echo", ""));
	uint64_t began_ms = scene_now();

	call_result(call_wait(&scene), "{}");
	answer_wait(answer);
	for (unsigned i = 0; i < 200; i++)
		server_notes(played(subject, "beta"), "notifications/tools/list_changed", "");
	WAIT_FOR(&scene, strstr(answer_text(stream), "tools/list_changed"));
	WAIT_FOR(&scene, answer_count(stream, "tools/list_changed") > 1);
	ck_assert_uint_ge(scene_now() - began_ms, 900);
	scene_settle(&scene, 100);
	ck_assert_uint_le(
		answer_count(stream, "tools/list_changed"), 2 + (scene_now() - began_ms) / 1000);
}
END_TEST

/* A server that is not there is named in the list that lacks it. */
START_TEST(test_left_out)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	int starting = scene_catalogue(2, "", true);
	struct answer *answer;

	answer = post(subject, LIST("1"));
	call_result(call_wait(&scene), "{\"tools\":[]}");
	answer_has(answer, 200, "alpha__echo");
	ck_assert_uint_eq(answer_count(answer, "leftOut"), 0);
	scene_publish(subject, starting, 2);
	close(starting);
	scene_settle(&scene, 30);
	answer_has(post(subject, LIST("2")), 200,
		"{\"_meta\":{\"gatehouse/leftOut\":[\"alpha\"]},\"tools\":[");
}
END_TEST

/* --- cancelling ----------------------------------------------------------------------------- */

START_TEST(test_cancel)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer = post(subject, CALL("\"\\u0061\"", "alpha__echo", ""));
	struct answer *json =
		exchange(subject, CALL("2", "alpha__echo", ""), (struct options){.accept = 1});
	struct call *call = call_wait(&scene), *second = call_wait(&scene);

	answer_is(post(subject, CANCEL("\"a\"")), 202, "");
	WAIT_FOR(&scene, call->cancelled);
	ck_assert_str_eq(call->reason.data, "\"no\"");
	ck_assert(!second->cancelled);
	call_failed(call, ERR_CANCELLED, 2);
	answer_wait(answer);
	ck_assert_uint_eq(answer_count(answer, "data: {"), 0);
	answer_is(post(subject, CANCEL("2")), 202, "");
	WAIT_FOR(&scene, second->cancelled);
	/* a result that comes nevertheless is dropped */
	call_result(second, "{\"late\":1}");
	answer_is(json, 202, "");
	call->stream = second->stream = 0;
}
END_TEST

/* Without an upstream worker there is nobody to ask. */
START_TEST(test_cancel_unsent)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer;

	scene.no_upstreams = true;
	answer = exchange(subject, CALL("5", "alpha__echo", ""), (struct options){.accept = 1});
	WAIT_FOR(&scene, subject->links_asked > 0);
	answer_is(post(subject, CANCEL("5")), 202, "");
	answer_is(answer, 202, "");
}
END_TEST

/* Clients that give every request the same id. */
START_TEST(test_same_ids)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *first = post(subject, CALL("1", "alpha__echo", ",\"arguments\":{\"n\":1}"));
	struct answer *second =
		exchange(subject, CALL("1", "alpha__echo", ",\"arguments\":{\"n\":2}"),
			(struct options){.gateway = 1});
	struct call *a = call_wait(&scene), *b = call_wait(&scene);
	bool in_order = strstr(a->params.data, "\"n\":1");

	call_result(in_order ? b : a, "{\"n\":2}");
	call_result(in_order ? a : b, "{\"n\":1}");
	answer_is(first, 200, RESULT("1", "{\"n\":1}"));
	answer_is(second, 200, RESULT("1", "{\"n\":2}"));
}
END_TEST

START_TEST(test_too_many)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");

	for (int i = 0; i < 64; i++) {
		exchange(subject, CALL("1", "alpha__echo", ""), (struct options){.accept = 1});
		call_wait(&scene);
	}
	answer_has(post(subject, PING("1")), 200,
		"\"reason\":\"too_many\",\"retryable\":true,\"executed\":\"no\"");
	for (unsigned i = 0; i < scene.n_calls; i++)
		call_result(scene.calls[i], "{}");
	for (unsigned i = 0; i < scene.n_calls; i++)
		scene.calls[i]->stream = 0;
	for (unsigned i = 0; i < scene.n_answers; i++)
		answer_wait(scene.answers[i]);
	answer_is(post(subject, PING("1")), 200, RESULT("1", "{}"));
}
END_TEST

/* --- batches -------------------------------------------------------------------------------- */

START_TEST(test_batch)
{
	struct subject *subject = scene_session(&scene, "2025-03-26", "{}");
	struct answer *answer =
		post(subject, "[" PING("1") ",{\"jsonrpc\":\"2.0\",\"method\":\"x\"},7,"
					    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"no/such\"},"
					    "{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}},"
					    "[]," CALL("5", "alpha__echo", "") "]");
	struct call *call = call_wait(&scene);

	call_result(call, "{\"n\":5}");
	answer_has(answer, 200, "[" RESULT("1", "{}") ",");
	ck_assert_uint_eq(answer->content, 1);
	ck_assert_uint_eq(answer_count(answer, "\"jsonrpc\""), 5);
	ck_assert_uint_eq(answer_count(answer, "-32600"), 2);
	ck_assert_uint_eq(answer_count(answer, "-32601"), 1);
	ck_assert_ptr_nonnull(strstr(answer_text(answer), RESULT("5", "{\"n\":5}") "]"));
	answer_is(post(subject, "[{\"jsonrpc\":\"2.0\",\"method\":\"x\"},{\"jsonrpc\":\"2.0\","
				"\"id\":4,\"result\":{}}]"),
		202, "");
	answer_has(post(subject, "[]"), 400, "-32600");
	answer_is(post(subject, "[" PING("1") "]"), 200, "[" RESULT("1", "{}") "]");
	answer_has(post(subject, "[1]"), 200, "[{\"jsonrpc\":\"2.0\",\"id\":null,\"error\"");
}
END_TEST

/* What takes long makes it a stream, with the answers that are there already first. */
START_TEST(test_batch_streams)
{
	struct subject *subject = scene_session(&scene, "2025-03-26", "{}");
	struct answer *answer = post(subject, "[" PING("1") "," CALL("2", "alpha__echo",
						      "") "," CALL("3", "alpha__echo", "") "]");
	struct call *a = call_wait(&scene), *b = call_wait(&scene);

	WAIT_FOR(&scene, answer->head);
	call_result(b, "{\"n\":3}");
	answer_is(post(subject, CANCEL("2")), 202, "");
	WAIT_FOR(&scene, a->cancelled);
	call_failed(a, ERR_CANCELLED, 2);
	answer_wait(answer);
	ck_assert_uint_eq(answer_count(answer, "data: {"), 2);
	a->stream = 0;
}
END_TEST

/* --- JSON or an event stream ---------------------------------------------------------------- */

START_TEST(test_two_hundred_ms)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	uint64_t began = scene_now();
	struct answer *answer = post(subject, CALL("1", "alpha__echo", ""));
	struct answer *json =
		exchange(subject, CALL("2", "alpha__echo", ""), (struct options){.accept = 1});
	struct call *call = call_wait(&scene), *second = call_wait(&scene);

	WAIT_FOR(&scene, answer->head);
	ck_assert_uint_ge(scene_now() - began, 190);
	ck_assert_uint_lt(scene_now() - began, 1000);
	call_result(call, "{}");
	call_note(second, "notifications/message", "{\"level\":\"info\",\"data\":\"x\"}");
	call_result(second, "{}");
	answer_has(answer, 200, "data: " RESULT("1", "{}") "\n\n");
	ck_assert_uint_eq(answer->content, 2);
	ck_assert_uint_eq(answer->executed, 1);
	/* no priming event before 2025-11-25 */
	ck_assert_uint_eq(answer_count(answer, "id: "), 1);
	ck_assert_uint_eq(answer_count(answer, "retry:"), 0);
	answer_is(json, 200, RESULT("2", "{}"));
}
END_TEST

START_TEST(test_sse_only)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *answer = exchange(subject, PING("1"), (struct options){.accept = 2});
	const char *text;

	answer_has(answer, 200, "data: " RESULT("1", "{}") "\n\n");
	ck_assert_uint_eq(answer->content, 2);
	/* the priming event: an id and nothing else */
	text = answer_text(answer);
	ck_assert_int_eq(strncmp(text, "retry: ", 7), 0);
	ck_assert_ptr_nonnull(strstr(text, "\ndata: \n\n"));
	ck_assert_uint_eq(answer_count(answer, "id: "), 2);
	/* preferred, though JSON would do */
	ck_assert_uint_eq(exchange(subject, PING("1"), (struct options){.accept = 7})->content, 0);
	answer_has(scene.answers[scene.n_answers - 1], 200, "data: " RESULT("1", "{}"));
}
END_TEST

/* A result of many frames, in both forms. */
START_TEST(test_large)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	size_t size = 9u * 1024 * 1024;
	char *result = malloc(size + 16);

	memset(result, 'x', size);
	memcpy(result, "{\"t\":\"", 6);
	memcpy(result + size, "\"}", 3);
	for (unsigned accept = 1; accept <= 2; accept++) {
		struct answer *answer = exchange(
			subject, CALL("1", "alpha__echo", ""), (struct options){.accept = accept});

		call_result(call_wait(&scene), result);
		answer_wait(answer);
		ck_assert_uint_ge(answer->data.len, size + 30);
		ck_assert_ptr_nonnull(strstr(answer_text(answer), result));
	}
	free(result);
}
END_TEST

#define READ(uri) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/read\",\"params\":{" \
	"\"uri\":\"" uri "\"}}"

/* What is read by a URI is what the lists show. */
static const struct {
	const char *view, *body;
	bool found;
} read_in_view[] = {
	{"without", READ("file:///a.txt"), true},
	{"without", READ("test://t/9/data"), false},
	{"without", READ("other://x"), false},
	{"only", READ("test://t/9/data"), true},
	{"only", READ("test://t/7/data"), false},
	{"only", READ("file:///a.txt"), false},
	{"only", READ("other://x"), false},
};

START_TEST(test_read_in_view)
{
	struct subject *subject;
	struct answer *answer;

	scene.view = read_in_view[_i].view;
	subject = scene_session(&scene, "2025-06-18", "{}");
	answer = post(subject, read_in_view[_i].body);
	if (read_in_view[_i].found)
		call_result(call_wait(&scene), "{\"contents\":[]}");
	answer_has(answer, 200, read_in_view[_i].found ? "contents" : "Resource not found");
	ck_assert_uint_eq(scene.n_calls, read_in_view[_i].found);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("worker");
	TCase *t = tcase_create("legacy");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_initialize, 0, sizeof(negotiations) / sizeof(*negotiations));
	tcase_add_loop_test(
		t, test_read_in_view, 0, sizeof(read_in_view) / sizeof(*read_in_view));
	tcase_add_test(t, test_initialize_is_stored_first);
	tcase_add_test(t, test_initialize_not_stored);
	tcase_add_loop_test(t, test_initialize_waits_for_servers, 0, 4);
	tcase_add_test(t, test_initialize_waits_so_long);
	tcase_add_test(t, test_before_initialize);
	tcase_add_test(t, test_plain);
	tcase_add_test(t, test_pages);
	tcase_add_test(t, test_splice);
	tcase_add_test(t, test_ways);
	tcase_add_test(t, test_task_list);
	tcase_add_test(t, test_serving);
	tcase_add_loop_test(t, test_progress, 0, sizeof(tokens) / sizeof(*tokens));
	tcase_add_test(t, test_progress_unasked);
	tcase_add_test(t, test_logging);
	tcase_add_test(t, test_own_lists);
	tcase_add_test(t, test_own_lists_change);
	tcase_add_loop_test(t, test_own_lists_alike, 0, 2);
	tcase_add_loop_test(t, test_own_lists_same, 0, 2);
	tcase_add_test(t, test_changes_coalesce);
	tcase_add_test(t, test_left_out);
	tcase_add_test(t, test_cancel);
	tcase_add_test(t, test_cancel_unsent);
	tcase_add_test(t, test_same_ids);
	tcase_add_test(t, test_too_many);
	tcase_add_test(t, test_batch);
	tcase_add_test(t, test_batch_streams);
	tcase_add_test(t, test_two_hundred_ms);
	tcase_add_test(t, test_sse_only);
	tcase_add_test(t, test_large);
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
