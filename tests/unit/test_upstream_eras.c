/*
 * Upstream workers between the eras: clients and servers with sessions and without (2026-07-28).
 * The real program and real child processes; everybody else is played by the test.
 */
#include "clock.h"
#include "upstream_world.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define SESSION "    command: /bin/true\n    isolation: session\n"
#define SHARED "    command: /bin/true\n    isolation: shared\n"
#define META(can) \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"own\":[1.0]," \
	"\"io.modelcontextprotocol/clientCapabilities\":" can "}"
#define FORMS "{\"elicitation\":{\"form\":{}}}"

static struct world world;

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(
		text && strstr(text, part), "'%s' is not in '%s'", part, text ? text : "(nothing)");
}

static void assert_lacks(const char *text, const char *part)
{
	ck_assert_msg(text && !strstr(text, part), "'%s' is in '%s'", part, text);
}

static void start_up(const char *server, const char *command)
{
	world_start(&world, server, command);
	world_until(&world, world.state == SERVER_UP);
}

static void answer(struct world_session *session, const char *result)
{
	link_send(session->link, MSG_ANSWER, session->ask_stream, &(struct msg_answer){.kind = 0},
		span_str(result), NULL);
}

static struct world_call *done(struct world_call *call)
{
	world_until(&world, call->done);
	return call;
}

/* --- which era --------------------------------------------------------------------------- */

static const struct {
	const char *command, *version;
} eras[] = {
	{SCRIPTED " --modern", "2026-07-28"},
	{SCRIPTED, "2025-11-25"},
	{SCRIPTED " --silent", "2025-11-25"},
};

START_TEST(test_era)
{
	start_up(_i % 2 ? SHARED : SESSION, eras[_i].command);
	ck_assert_str_eq(world.version, eras[_i].version);
	assert_contains(world.facts, "\"serverInfo\":{\"name\":\"scripted\"");
	assert_contains(world.facts, "\"instructions\":\"Say what to do.\"");
	assert_contains(world.lists[CATALOGUE_TOOL], "\"rounds\"");
	world_end(&world);
}
END_TEST

static const struct {
	const char *command;
	unsigned ttl_ms;
	bool is_public;
} freshness[] = {
	{SCRIPTED " --modern", 9000, true},
	/* its second page says less, its last one private */
	{SCRIPTED " --modern --pages 2", 8980, false},
	/* what an older revision does not have */
	{SCRIPTED, 0, false},
};

START_TEST(test_freshness)
{
	start_up(SHARED, freshness[_i].command);
	ck_assert_uint_eq(world.ttl_ms[CATALOGUE_TOOL], freshness[_i].ttl_ms);
	ck_assert_int_eq(world.cache_public[CATALOGUE_TOOL], freshness[_i].is_public);
	/* the server says nothing of this one */
	ck_assert_uint_eq(world.ttl_ms[CATALOGUE_PROMPT], 0);
	ck_assert(!world.cache_public[CATALOGUE_PROMPT]);
	world_end(&world);
}
END_TEST

/* --- a session at a server without ------------------------------------------------------- */

#define WHO \
	"{\"capabilities\":{\"elicitation\":{\"form\":{}}},\"clientInfo\":{\"name\":\"n\"," \
	"\"version\":\"1\"}}"

START_TEST(test_session_to_modern)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED " --modern");
	session = world_attach(&world, "a", WHO);
	call = done(world_call(session, "tools/call",
		"{\"name\":\"whoami\",\"arguments\":{\"x\":1.50},\"_meta\":{\"a\":1,\"io."
		"modelcontextprotocol/clientInfo\":{\"name\":\"fake\"}}}",
		0, false));
	assert_contains(call->payload, "\\\"arguments\\\":{\\\"x\\\":1.50}");
	assert_contains(call->payload, "io.modelcontextprotocol/protocolVersion\\\":\\\"2026-07-28");
	assert_contains(call->payload, "clientInfo\\\":{\\\"name\\\":\\\"n\\\"");
	assert_contains(call->payload, "clientCapabilities\\\":{\\\"elicitation\\\"");
	assert_contains(call->payload, "\\\"a\\\":1");
	assert_lacks(call->payload, "fake");
	assert_lacks(call->payload, "logLevel");
	link_send(session->link, MSG_CLIENT_NOTE, 0,
		&(struct msg_client_note){.method = SPAN_LIT("logging/setLevel")},
		SPAN_LIT("{\"level\":\"error\"}"), NULL);
	call = world_tool_done(session, "whoami", "{}");
	assert_contains(call->payload, "io.modelcontextprotocol/logLevel\\\":\\\"error");
	world_end(&world);
}
END_TEST

/* The server's question becomes a request; then the call goes again, with the state as it was. */
START_TEST(test_session_rounds)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED " --modern");
	session = world_attach(&world, "a", WHO);
	call = world_tool(session, "rounds", "{\"y\":2.0}");
	world_until(&world, session->n_asks == 1);
	ck_assert_str_eq(session->ask_method, "elicitation/create");
	ck_assert_str_eq(session->ask_params, "{\"message\":\"m\",\"x\":1.50}");
	ck_assert_uint_eq(session->ask_call, call->stream);
	answer(session, "{\"action\":\"accept\",\"content\":{\"z\":3.0}}");
	done(call);
	ck_assert_uint_eq(call->kind, 0);
	assert_contains(call->payload,
		"\\\"inputResponses\\\":{\\\"k\\\\u0031\\\":{\\\"action\\\":\\\"accept\\\","
		"\\\"content\\\":{\\\"z\\\":3.0}}},\\\"requestState\\\":\\\"s\\\\u0031 \\\\/ 1\\\"");
	assert_contains(call->payload, "\\\"arguments\\\":{\\\"y\\\":2.0}");
	/* the client will not say */
	call = world_tool(session, "rounds", "{}");
	world_until(&world, session->n_asks == 2);
	link_send(session->link, MSG_ANSWER, session->ask_stream, &(struct msg_answer){.kind = 1},
		SPAN_LIT("{\"code\":-1,\"message\":\"never\"}"), NULL);
	done(call);
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->executed, 2);
	assert_contains(call->detail, "never");
	/* the client gives up: the question is taken back */
	call = world_tool(session, "rounds", "{}");
	world_until(&world, session->n_asks == 3);
	world_cancel(session, call);
	done(call);
	ck_assert_uint_eq(call->code, ERR_CANCELLED);
	world_until(&world, session->ask_cancelled);
	world_end(&world);
}
END_TEST

START_TEST(test_session_listens)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED " --modern");
	session = world_attach(&world, "a", NULL);
	call = done(world_call(session, "resources/subscribe", "{\"uri\":\"test://a\"}", 0, true));
	ck_assert_str_eq(call->payload, "{}");
	call = world_tool_done(session, "state", "{}");
	assert_contains(call->payload, "\\\"resourceSubscriptions\\\":[\\\"test://a\\\"]");
	world_tool_done(session, "update", "{\"text\":\"test://a\"}");
	world_until(&world, session->n_notes == 1);
	assert_contains(session->last_note, "notifications/resources/updated");
	done(world_call(session, "resources/unsubscribe", "{\"uri\":\"test://a\"}", 0, true));
	world_tool_done(session, "update", "{\"text\":\"test://a\"}");
	ck_assert_uint_eq(session->n_notes, 1);
	world_end(&world);
}
END_TEST

/* --- without a session ------------------------------------------------------------------- */

#define ROUNDS "{\"name\":\"rounds\",\"arguments\":{}," META(FORMS)

/* What server and client say goes through as it is, to one process for all of a principal. */
START_TEST(test_modern_to_modern)
{
	struct world_session *first, *second;
	struct world_call *call;

	start_up(SESSION, SCRIPTED " --modern");
	first = world_attach_modern(&world, "w1", "p");
	second = world_attach_modern(&world, "w2", "p");
	call = done(world_call(first, "tools/call", ROUNDS "}", 0, false));
	ck_assert_str_eq(call->payload,
		"{\"resultType\":\"input_required\",\"inputRequests\":{\"k\\u0031\":{\"method\":"
		"\"elicitation/create\",\"params\":{\"message\":\"m\",\"x\":1.50}}},"
		"\"requestState\":\"s\\u0031 \\/ 1\"}");
	call = done(world_call(second, "tools/call",
		ROUNDS ",\"inputResponses\":{\"k1\":{\"v\":1.50}},\"requestState\":\"s\\u0031 \\/ 1\"}",
		0, false));
	assert_contains(call->payload, "\\\"inputResponses\\\":{\\\"k1\\\":{\\\"v\\\":1.50}},"
				       "\\\"requestState\\\":\\\"s\\\\u0031 \\\\/ 1\\\"");
	assert_contains(call->payload, "\\\"own\\\":[1.0]");
	world_until(&world, world_alive(&world) == 1);
	world_end(&world);
}
END_TEST

#define TASKS_META META("{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}")

static struct world_call *about_task(
	struct world_session *session, const char *method, const char *handle)
{
	char params[2048];

	snprintf(params, sizeof(params), "{\"taskId\":%s,\"n\":1.50," TASKS_META "}", handle);
	return done(world_call(session, method, params, 0, true));
}

/* The taskId of a result, as a JSON string. */
static void read_handle(const struct world_call *call, char handle[256])
{
	const char *at;

	ck_assert_uint_eq(call->kind, 0);
	assert_contains(call->payload, "\"taskId\":\"gt1.s.");
	at = strstr(call->payload, "\"taskId\":") + strlen("\"taskId\":");
	snprintf(handle, 256, "%.*s", (int)(strchr(at, ',') - at), at);
}

/* A task is known by a handle that any link of its principal can use, and no other principal. */
START_TEST(test_task)
{
	struct world_session *first, *second, *other;
	struct world_call *call;
	char handle[256], again[256], wrong[256];

	start_up(SESSION, SCRIPTED " --modern");
	first = world_attach_modern(&world, "w1", "p");
	other = world_attach_modern(&world, "w2", "q");
	call = done(world_call(
		first, "tools/call", "{\"name\":\"task\"," TASKS_META "}", 0, false));
	assert_contains(call->payload, "{\"resultType\":\"task\",\"taskId\":\"gt1.");
	assert_contains(call->payload, ".t1.x\",\"status\":\"working\",\"ttlMs\":60000");
	read_handle(call, handle);
	world_close(first);
	second = world_attach_modern(&world, "w3", "p");
	call = about_task(second, "tasks/get", handle);
	assert_contains(call->payload, "\"with\":{\"taskId\":\"t1.x\",\"n\":1.50,\"_meta\":");
	assert_contains(call->payload, "\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}");
	read_handle(call, again);
	ck_assert_str_eq(handle, again);
	ck_assert_uint_eq(about_task(second, "tasks/cancel", handle)->kind, 0);
	/* another's, changed, the server's own */
	ck_assert_uint_eq(about_task(other, "tasks/get", handle)->code, ERR_INVALID_PARAMS);
	ck_assert_uint_eq(about_task(other, "tasks/cancel", handle)->code, ERR_INVALID_PARAMS);
	for (size_t i = 1; i + 1 < strlen(handle); i++) {
		memcpy(wrong, handle, sizeof(wrong));
		wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
		ck_assert_uint_eq(
			about_task(second, "tasks/get", wrong)->code, ERR_INVALID_PARAMS);
	}
	ck_assert_uint_eq(about_task(second, "tasks/get", "\"t1.x\"")->code, ERR_INVALID_PARAMS);
	ck_assert_uint_eq(about_task(second, "tasks/get", "1")->code, ERR_INVALID_PARAMS);
	world_end(&world);
}
END_TEST

static int pid_in(const struct world_call *call)
{
	const char *at = strstr(call->payload, "\"pid\":");

	ck_assert_msg(at, "%s", call->payload);
	return atoi(at + strlen("\"pid\":"));
}

/* While the era is not known, clients of other abilities have other processes. What is asked of a
 * task goes to the one that has it. */
START_TEST(test_task_where_it_is)
{
	struct world_session *session;
	struct world_call *plain, *able, *call;
	char handle[256];

	world_start(&world, SESSION, SCRIPTED " --modern");
	session = world_attach_modern(&world, "w1", "p");
	plain = world_call(session, "tools/call", "{\"name\":\"task\"," TASKS_META "}", 0, false);
	able = world_call(session, "tools/call",
		"{\"name\":\"task\",\"arguments\":{\"text\":\"other\"}," META("{\"elicitation\":{\"form\":{}},\"extensions\":{"
			"\"io.modelcontextprotocol/tasks\":{}}}") "}", 0, false);
	world_until(&world, plain->done && able->done);
	read_handle(able, handle);
	call = about_task(session, "tasks/get", handle);
	ck_assert_int_ne(pid_in(plain), pid_in(able));
	ck_assert_int_eq(pid_in(call), pid_in(able));
	world_end(&world);
}
END_TEST

/* A wish for a task (2025-11-25) means nothing in the other era. */
START_TEST(test_no_wish_for_a_task)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED " --modern");
	session = world_attach(&world, "a", WHO);
	call = done(world_call(session, "tools/call",
		"{\"name\":\"whoami\",\"task\":{\"ttl\":1},\"arguments\":{}}", 0, false));
	assert_lacks(call->payload, "ttl");
	world_end(&world);
}
END_TEST

/* While it may run, its process is kept; after that, it ends as every idle one. */
START_TEST(test_task_keeps_process)
{
	struct world_session *session;

	start_up(SESSION "    idle: 100ms\n", SCRIPTED " --modern");
	session = world_attach_modern(&world, "w1", "p");
	world_until(&world, world_alive(&world) == 0);
	done(world_call(session, "tools/call", "{\"name\":\"echo\"," TASKS_META "}", 0, false));
	world_until(&world, world_alive(&world) == 1);
	world_until(&world, world_alive(&world) == 0);
	done(world_call(session, "tools/call", "{\"name\":\"task\"," TASKS_META "}", 0, false));
	world_pass(&world, 600);
	ck_assert_uint_eq(world_alive(&world), 1);
	world_end(&world);
}
END_TEST

#define ASK "{\"name\":\"ask\",\"arguments\":{\"text\":\"elicitation/create\"}," META(FORMS)

/* The state of an input_required result, as a JSON string. */
static void read_state(const struct world_call *call, char state[256])
{
	const char *at;

	ck_assert_uint_eq(call->kind, 0);
	assert_contains(call->payload,
		"{\"resultType\":\"input_required\",\"inputRequests\":{\"q1\":{\"method\":"
		"\"elicitation/create\",\"params\":{\"x\":1.50}}},\"requestState\":\"gh1.");
	at = strstr(call->payload, "\"requestState\":") + strlen("\"requestState\":");
	snprintf(state, 256, "%.*s", (int)(strchr(at, '}') - at), at);
}

static struct world_call *resume(
	struct world_session *session, const char *ask, const char *state, const char *responses)
{
	char params[2048];

	snprintf(params, sizeof(params), "%s,\"requestState\":%s,\"inputResponses\":%s}", ask, state,
		responses);
	return done(world_call(session, "tools/call", params, 0, false));
}

#define YES "{\"q1\":{\"action\":\"accept\",\"n\":1.50}}"

/* A call that asks something is parked; who brings the state back, on whatever link, has it. */
START_TEST(test_parked)
{
	struct world_session *first, *second, *other;
	struct world_call *call;
	char state[256], wrong[256];

	start_up(SESSION, SCRIPTED);
	first = world_attach_modern(&world, "w1", "p");
	other = world_attach_modern(&world, "w2", "q");
	call = done(world_call(first, "tools/call", ASK "}", 0, false));
	ck_assert(call->forwarded);
	read_state(call, state);
	world_close(first);
	second = world_attach_modern(&world, "w3", "p");
	/* another's, another request's, changed, none of ours */
	ck_assert_uint_eq(resume(other, ASK, state, YES)->code, ERR_STATE_INVALID);
	ck_assert_uint_eq(
		resume(second,
			"{\"name\":\"ask\",\"arguments\":{\"text\":\"roots/list\"}," META(FORMS),
			state, YES)
			->code,
		ERR_STATE_INVALID);
	for (size_t i = 1; i + 1 < strlen(state); i += 13) {
		memcpy(wrong, state, sizeof(wrong));
		wrong[i] = wrong[i] == '3' ? '4' : '3';
		ck_assert_uint_eq(resume(second, ASK, wrong, YES)->code, ERR_STATE_INVALID);
	}
	ck_assert_uint_eq(resume(second, ASK, "\"x\"", YES)->code, ERR_STATE_INVALID);
	ck_assert_uint_eq(resume(second, ASK, state, "{\"q1\":7}")->code, ERR_INVALID_PARAMS);
	/* an answer that is missing is asked for again */
	read_state(resume(second, ASK, state, "{}"), state);
	call = resume(second, ASK, state, YES);
	ck_assert_uint_eq(call->kind, 0);
	ck_assert(call->forwarded);
	assert_contains(call->payload, "\\\"id\\\":\\\"q\\\\u0031\\\",\\\"result\\\":{\\\"action\\\":"
				       "\\\"accept\\\",\\\"n\\\":1.50}");
	call = resume(second, ASK, state, YES);
	ck_assert_uint_eq(call->code, ERR_STATE_GONE);
	ck_assert_uint_eq(call->executed, 2);
	world_end(&world);
}
END_TEST

/* What has become of it meanwhile is told when the client comes back. */
START_TEST(test_parked_dies)
{
	struct world_session *session;
	struct world_call *call;
	char state[256];

	start_up(SESSION, SCRIPTED);
	session = world_attach_modern(&world, "w1", "p");
	read_state(done(world_call(session, "tools/call", ASK "}", 0, false)), state);
	world_until(&world, world_alive(&world) == 1);
	for (unsigned i = 0; i < world.n_children; i++)
		if (world.children[i].pid)
			kill(world.children[i].pid, SIGKILL);
	world_until(&world, world_alive(&world) == 0);
	world_pass(&world, 100);
	call = resume(session, ASK, state, YES);
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DIED);
	ck_assert_uint_eq(call->executed, 2);
	world_end(&world);
}
END_TEST

/* Processes by what clients can; one that may ask serves one call at a time, and is used again. */
START_TEST(test_pool)
{
	struct world_session *session, *other;
	struct world_call *call;
	char a[256], b[256];

	start_up(SESSION, SCRIPTED);
	session = world_attach_modern(&world, "w1", "p");
	other = world_attach_modern(&world, "w2", "p");
	world_until(&world, world_alive(&world) == 0);
	for (int i = 0; i < 5; i++)
		done(world_call(i % 2 ? session : other, "tools/call",
			"{\"name\":\"echo\",\"arguments\":{\"text\":\"t\"}," META("{}") "}", 0,
			false));
	world_until(&world, world_alive(&world) == 1);
	read_state(done(world_call(session, "tools/call", ASK "}", 0, false)), a);
	read_state(done(world_call(other, "tools/call", ASK "}", 0, false)), b);
	world_until(&world, world_alive(&world) == 3);
	resume(other, ASK, a, YES);
	resume(other, ASK, b, YES);
	for (int i = 0; i < 3; i++) {
		call = done(world_call(session, "tools/call",
			"{\"name\":\"whoami\",\"arguments\":{}," META(FORMS) "}", 0, false));
		assert_contains(call->payload,
			"\\\"capabilities\\\":{\\\"elicitation\\\":{\\\"form\\\":{}}}");
	}
	world_until(&world, world_alive(&world) == 3);
	/* what was said of the hop is not passed on */
	call = done(world_call(session, "tools/call",
		"{\"name\":\"ping\",\"arguments\":{}," META("{}") "}", 0, false));
	assert_contains(call->payload, "\\\"result\\\":{}");
	world_end(&world);
}
END_TEST

static const char *const versions[] = {"2025-11-25", "2026-07-28"};
static const char *const commands[] = {SCRIPTED, SCRIPTED " --modern"};

/* What a client was subscribed to through a process that is gone it hears of again, uncalled. */
START_TEST(test_subscribed_again)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, commands[_i / 2]);
	world_until(&world, world_alive(&world) == 0);
	session = world_attach_again(
		&world, "a", versions[_i % 2], "{\"subscriptions\":[\"test://a\"]}");
	world_until(&world, world_alive(&world) == 1);
	call = done(world_call(session, "tools/call",
		"{\"name\":\"state\",\"arguments\":{}," META("{}") "}", 0, false));
	assert_contains(call->payload, "test://a");
	done(world_call(session, "tools/call",
		"{\"name\":\"update\",\"arguments\":{\"text\":\"test://a\"}," META("{}") "}", 0,
		false));
	world_until(&world, session->n_notes == 1);
	world_end(&world);
}
END_TEST

#define STATE(can) "{\"name\":\"state\",\"arguments\":{}," META(can) "}"

/* One of several processes hears for a principal; it stays, and the others may go. */
START_TEST(test_subscriber)
{
	struct world_session *session, *other;
	char a[256], b[256];
	unsigned subscribed = 0;

	start_up(SESSION "    idle: 500ms\n", SCRIPTED);
	session = world_attach_modern(&world, "w1", "p");
	other = world_attach_modern(&world, "w2", "p");
	world_until(&world, world_alive(&world) == 0);
	read_state(done(world_call(session, "tools/call", ASK "}", 0, false)), a);
	read_state(done(world_call(other, "tools/call", ASK "}", 0, false)), b);
	/* not behind the calls that wait for their clients */
	ck_assert_uint_eq(done(world_call(session, "resources/subscribe",
				       "{\"uri\":\"test://a\"," META(FORMS) "}", 0, true))
				  ->kind,
		0);
	ck_assert_uint_eq(done(world_call(other, "resources/subscribe",
				       "{\"uri\":\"test://b\"," META("{}") "}", 0, true))
				  ->kind,
		0);
	subscribed += strstr(done(world_call(session, "tools/call", STATE("{}"), 0, false))->payload,
			      "test://") != NULL;
	resume(other, ASK, a, YES);
	subscribed +=
		strstr(done(world_call(session, "tools/call", STATE(FORMS), 0, false))->payload,
			"test://") != NULL;
	resume(other, ASK, b, YES);
	ck_assert_uint_le(subscribed, 1);
	world_until(&world, world_alive(&world) == 1);
	world_pass(&world, 1200);
	ck_assert_uint_eq(world_alive(&world), 1);
	world_end(&world);
}
END_TEST

static char *pid_of(struct world_session *session, const char *params)
{
	return done(world_call(session, "tools/call", params, 0, false))->payload;
}

#define PID(can) "{\"name\":\"pid\",\"arguments\":{}," META(can) "}"

/* What a client can makes no difference where the server is told each time: not while the era is
 * not known yet, and not after another one's process has died. */
START_TEST(test_one_process)
{
	struct world_session *session, *other;
	struct world_call *call;
	char *pid;

	world_start(&world, SESSION, SCRIPTED " --modern");
	session = world_attach_modern(&world, "w1", "p");
	other = world_attach_modern(&world, "w2", "q");
	pid = pid_of(session, PID(FORMS));
	ck_assert_str_eq(pid_of(session, PID("{}")), pid);
	ck_assert_str_eq(pid_of(session, PID("{\"roots\":{}}")), pid);
	call = done(world_call(other, "tools/call",
		"{\"name\":\"die\",\"arguments\":{\"n\":1}," META("{}") "}", 0, false));
	ck_assert_uint_eq(call->code, ERR_SERVER_DIED);
	ck_assert_str_eq(pid_of(session, PID("{\"roots\":{}}")), pid);
	world_end(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("upstream eras");
	TCase *t = tcase_create("eras");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_era, 0, sizeof(eras) / sizeof(*eras));
	tcase_add_loop_test(t, test_freshness, 0, sizeof(freshness) / sizeof(*freshness));
	tcase_add_test(t, test_session_to_modern);
	tcase_add_test(t, test_session_rounds);
	tcase_add_test(t, test_session_listens);
	tcase_add_test(t, test_modern_to_modern);
	tcase_add_test(t, test_task);
	tcase_add_test(t, test_task_where_it_is);
	tcase_add_test(t, test_no_wish_for_a_task);
	tcase_add_test(t, test_task_keeps_process);
	tcase_add_test(t, test_parked);
	tcase_add_test(t, test_parked_dies);
	tcase_add_test(t, test_pool);
	tcase_add_loop_test(t, test_subscribed_again, 0, 4);
	tcase_add_test(t, test_subscriber);
	tcase_add_test(t, test_one_process);
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
