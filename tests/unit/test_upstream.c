/* The upstream worker of a stdio server: the real program, real child processes, everybody else
 * played by the test. */
#include "clock.h"
#include "mcp.h"
#include "upstream_world.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define SESSION "    command: /bin/true\n    isolation: session\n"
#define SHARED "    command: /bin/true\n    isolation: shared\n"

static struct world world;

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(
		text && strstr(text, part), "'%s' is not in '%s'", part, text ? text : "(nothing)");
}

static void start(const char *server, const char *command)
{
	world_start(&world, server, command);
}

static void start_up(const char *server, const char *command)
{
	start(server, command);
	world_until(&world, world.state == SERVER_UP);
}

/* --- the catalogue --------------------------------------------------------------------------- */

START_TEST(test_probe)
{
	start_up(SESSION, SCRIPTED);
	ck_assert_str_eq(world.version, "2025-11-25");
	assert_contains(world.facts, "\"serverInfo\":{\"name\":\"scripted\",\"version\":\"1\"}");
	assert_contains(world.facts, "\"instructions\":\"Say what to do.\"");
	assert_contains(world.lists[CATALOGUE_TOOL],
		"{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}");
	ck_assert_str_eq(
		world.lists[CATALOGUE_RESOURCE], "[{\"uri\":\"test://a\",\"name\":\"a\"}]");
	ck_assert_str_eq(world.lists[CATALOGUE_TEMPLATE], "[]");
	ck_assert_str_eq(world.lists[CATALOGUE_PROMPT], "[]");
	/* the probe has done its work */
	ck_assert_str_eq(world.children[0].session, "probe");
	world_until(&world, world_alive(&world) == 0);
	ck_assert_uint_eq(world.n_children, 1);
	world_end(&world);
}
END_TEST

START_TEST(test_pages)
{
	unsigned tools = 0;

	start_up(SHARED, SCRIPTED " --pages 2 --bare");
	for (const char *p = world.lists[CATALOGUE_TOOL]; (p = strstr(p, "\"name\"")); p++)
		tools++;
	ck_assert_uint_eq(tools, 22);
	world_end(&world);
}
END_TEST

START_TEST(test_circle)
{
	start_up(SHARED, SCRIPTED " --circle --bare");
	assert_contains(world.lists[CATALOGUE_TOOL], "\"echo\"");
	world_end(&world);
}
END_TEST

START_TEST(test_changed)
{
	struct world_session *session;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	ck_assert_uint_eq(world.n_lists[CATALOGUE_TOOL], 1);
	world_tool(session, "changed", "{}");
	world_tool(session, "changed", "{}");
	world_until(&world, world.n_lists[CATALOGUE_TOOL] == 2);
	assert_contains(world.lists[CATALOGUE_TOOL], "\"extra22\"");
	world_pass(&world, 200);
	ck_assert_uint_eq(world.n_lists[CATALOGUE_TOOL], 2);
	ck_assert_uint_eq(world.n_lists[CATALOGUE_PROMPT], 1);
	ck_assert_uint_eq(session->n_notes, 0);
	world_end(&world);
}
END_TEST

START_TEST(test_changed_session)
{
	struct world_session *session;

	start_up(SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	world_tool_done(session, "changed", "{}");
	ck_assert_uint_eq(session->n_notes, 1);
	ck_assert_str_eq(session->last_note, "notifications/tools/list_changed ");
	world_end(&world);
}
END_TEST

START_TEST(test_registry_again)
{
	start_up(SHARED, SCRIPTED);
	link_free(world.registry);
	world.registry = NULL;
	world.state = SERVER_STARTING;
	world_until(&world, world.state == SERVER_UP);
	ck_assert_uint_eq(world.n_lists[CATALOGUE_TOOL], 2);
	ck_assert_uint_eq(world.n_children, 1);
	world_end(&world);
}
END_TEST

static const struct {
	const char *command;
	const char *detail;
} refused[] = {
	{SCRIPTED " --refuse -32601", "it refuses initialize: -32601 \"not like this\""},
	{SCRIPTED " --refuse -32022", "it refuses initialize: -32022 \"not like this\""},
	{SCRIPTED " --refuse -32603", "it refuses initialize: -32603 \"not like this\""},
	{SCRIPTED " --version 2026-07-28", "it speaks revision 2026-07-28"},
	{SCRIPTED " --version 1999-01-01", "it speaks revision 1999-01-01"},
	{SCRIPTED " --mute", "initialize was not answered"},
	{"/bin/false", "its process ended: exit 1"},
};

START_TEST(test_refused)
{
	start("    command: /bin/true\n    startTimeout: 1s\n", refused[_i].command);
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, refused[_i].detail);
	world_end(&world);
}
END_TEST

START_TEST(test_no_process)
{
	struct world_session *session;
	struct world_call *call;

	start(SESSION, SCRIPTED);
	world_until(&world, world.state == SERVER_UP);
	world.refuse_spawn = true;
	session = world_attach(&world, "a", NULL);
	call = world_tool_done(session, "echo", "{}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DOWN);
	ck_assert_uint_eq(call->executed, 0);
	assert_contains(call->detail, "no such program");
	world_end(&world);
}
END_TEST

/* --- calls ----------------------------------------------------------------------------------- */

START_TEST(test_call)
{
	struct world_session *session;
	struct world_call *call;

	start_up(_i ? SHARED : SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_tool_done(session, "echo", "{\"text\":\"h\\u00e9\\n\"}");
	ck_assert_uint_eq(call->kind, 0);
	ck_assert_uint_eq(call->executed, 1);
	ck_assert(call->forwarded);
	ck_assert_str_eq(
		call->payload, "{\"content\":[{\"type\":\"text\",\"text\":\"h\xc3\xa9\\n\"}]}");
	call = world_call(session, "resources/list", "{}", 5000, true);
	world_until(&world, call->done);
	ck_assert(!call->forwarded);
	call = world_call(session, "resources/templates/list", "{}", 5000, true);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->kind, 1);
	ck_assert_str_eq(call->payload, "{\"code\":-32601,\"message\":\"Method not found\"}");
	world_end(&world);
}
END_TEST

START_TEST(test_progress)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_call(session, "tools/call",
		"{\"name\":\"progress\",\"arguments\":{\"n\":5},\"_meta\":{ \"progressToken\" : "
		"\"mine\" , \"x\":1.0}}",
		5000, false);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->kind, 0);
	ck_assert_uint_eq(call->n_notes, 5);
	/* the token was ours, and nothing of the client's */
	assert_contains(call->last_note, "notifications/progress {\"progressToken\":14011");
	assert_contains(call->last_note, "\"progress\":5,\"total\":5}");
	world_end(&world);
}
END_TEST

/* Servers whose ids are numbers of 32 bits, or doubles. */
START_TEST(test_kept_ids)
{
	struct world_session *session;

	start_up(SESSION, _i == 0 ? SCRIPTED " --narrow" : SCRIPTED " --point");
	session = world_attach(&world, "a", NULL);
	assert_contains(world_tool_done(session, "echo", "{\"text\":\"hi\"}")->payload, "hi");
	world_end(&world);
}
END_TEST

START_TEST(test_cancel)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_tool(session, "slow", "{\"ms\":300}");
	world_until(&world, call->forwarded);
	world_pass(&world, 50);
	world_cancel(session, call);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_CANCELLED);
	ck_assert_uint_eq(call->executed, 2);
	/* the late answer is dropped */
	world_pass(&world, 400);
	call = world_tool_done(session, "state", "{}");
	assert_contains(call->payload, "notifications/cancelled");
	assert_contains(call->payload, "\\\"reason\\\":\\\"enough\\\"");
	world_end(&world);
}
END_TEST

START_TEST(test_timeout)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_call(session, "tools/call", "{\"name\":\"hang\"}", 150, false);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_TIMEOUT);
	ck_assert_uint_eq(call->executed, 2);
	call = world_tool_done(session, "state", "{}");
	assert_contains(call->payload, "notifications/cancelled");
	world_end(&world);
}
END_TEST

START_TEST(test_cut_utf8)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_tool_done(session, "cut", "{\"text\":\"\xf0\x9f\x8f\xa0\xe2\x82\xac\"}");
	ck_assert_str_eq(call->payload,
		"{\"content\":[{\"type\":\"text\",\"text\":\"\xf0\x9f\x8f\xa0\xe2\x82\xac\"}]}");
	world_end(&world);
}
END_TEST

/* Line ends between the tokens of a message would end it (MCP, stdio transport). */
START_TEST(test_one_line)
{
	static const char hidden[] = "{\"name\":\"echo\",\"arguments\":{\"text\":\r\n\"x\",\"more\":\n"
				     "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\","
				     "\"params\":{\"name\":\"die\"}}\n}}";
	struct world_session *session;
	struct world_call *call;

	start_up(_i ? SHARED : SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_call(session, "tools/call", hidden, 5000, false);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->kind, 0);
	ck_assert_str_eq(call->payload, "{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}");
	world_end(&world);
}
END_TEST

START_TEST(test_big)
{
	struct world_session *session;
	struct world_call *calls[4];

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	/* more than the link queues: none is lost */
	for (int i = 0; i < 4; i++)
		calls[i] = world_tool(session, "big", "{\"n\":5000000}");
	for (int i = 0; i < 4; i++) {
		world_until(&world, calls[i]->done);
		ck_assert_uint_eq(calls[i]->kind, 0);
		ck_assert_uint_gt(calls[i]->payload_len, 5000000);
	}
	world_end(&world);
}
END_TEST

/* --- a server that misbehaves ---------------------------------------------------------------- */

START_TEST(test_garbage)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_tool_done(session, "garbage", "{}");
	ck_assert_uint_eq(call->kind, 0);
	assert_contains(world_query(&world, "status"), "\"invalid_lines\":7,");
	assert_contains(world_query(&world, "metrics"),
		"gatehouse_server_stdout_invalid_lines_total{server=\"s\"} 7\n");
	world_end(&world);
}
END_TEST

START_TEST(test_long_line)
{
	struct world_session *session;
	struct world_call *call, *other;

	start_up(
		"    command: /bin/true\n    isolation: shared\n    maxMessage: 64KiB\n", SCRIPTED);
	session = world_attach(&world, "a", NULL);
	other = world_tool(session, "hang", "{}");
	call = world_tool(session, "long", "{\"n\":70000}");
	world_until(&world, call->done && other->done);
	ck_assert_uint_eq(call->code, ERR_SERVER_GARBAGE);
	ck_assert_uint_eq(other->code, ERR_SERVER_GARBAGE);
	ck_assert_uint_eq(other->executed, 2);
	call = world_tool_done(session, "echo", "{}");
	ck_assert_uint_eq(call->kind, 0);
	ck_assert_uint_eq(world.n_children, 2);
	assert_contains(world_query(&world, "metrics"),
		"gatehouse_server_restarts_total{server=\"s\",reason=\"garbage\"} 1\n");
	world_end(&world);
}
END_TEST

START_TEST(test_death)
{
	struct world_session *session;
	struct world_call *call, *other;
	unsigned before;

	start_up(_i ? SHARED : SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	world_tool_done(session, "echo", "{}");
	before = world.n_children;
	other = world_tool(session, "hang", "{}");
	call = world_tool(session, "die", "{\"n\":9}");
	world_until(&world, call->done && other->done);
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DIED);
	ck_assert_uint_eq(call->executed, 2);
	assert_contains(call->detail, "exit 9");
	ck_assert_uint_eq(other->code, ERR_SERVER_DIED);
	/* the first restart comes at once */
	call = world_tool_done(session, "echo", "{}");
	ck_assert_uint_eq(call->kind, 0);
	ck_assert_uint_eq(world.n_children, before + 1);
	world_end(&world);
}
END_TEST

/* Between the first failed write and the end of the server: what comes then goes to the next one. */
START_TEST(test_deaf)
{
	struct world_session *session;
	struct world_call *first, *later;

	start_up(_i ? SHARED : SESSION, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	world_tool_done(session, "deaf", "{\"ms\":1000}");
	first = world_tool(session, "echo", "{\"text\":\"lost\"}");
	world_pass(&world, 100);
	ck_assert(!first->done);
	later = world_tool(session, "echo", "{\"text\":\"kept\"}");
	world_until(&world, first->done && later->done);
	ck_assert_uint_eq(first->kind, 2);
	ck_assert_uint_eq(first->executed, 0);
	ck_assert_uint_eq(later->kind, 0);
	assert_contains(later->payload, "kept");
	world_end(&world);
}
END_TEST

START_TEST(test_back_off)
{
	struct world_session *session;
	struct world_call *call;
	uint64_t began;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	/* one that has answered its clients is there again at once, each time */
	began = clock_ms();
	for (int i = 0; i < 3; i++) {
		world_tool_done(session, "die", "{\"n\":1}");
		ck_assert_uint_eq(world_tool_done(session, "echo", "{}")->kind, 0);
	}
	ck_assert_uint_lt(clock_ms() - began, 900);
	/* one that only dies is waited for: 1 s, 2 s */
	began = clock_ms();
	world_tool_done(session, "die", "{\"n\":1}");
	world_tool_done(session, "die", "{\"n\":1}");
	world_tool_done(session, "die", "{\"n\":1}");
	ck_assert_uint_ge(clock_ms() - began, 900);
	world_tool_done(session, "die", "{\"n\":1}");
	ck_assert_uint_ge(clock_ms() - began, 2900);
	/* the next start is too far off to wait for it */
	call = world_tool_done(session, "echo", "{}");
	ck_assert_uint_eq(call->code, ERR_SERVER_DOWN);
	ck_assert_uint_eq(call->executed, 0);
	assert_contains(call->detail, "it is started again in 4 s");
	ck_assert_int_eq(world.state, SERVER_DOWN);
	world_end(&world);
}
END_TEST

START_TEST(test_restored)
{
	struct world_session *session;
	struct world_call *call;

	start_up(_i ? SHARED : SESSION, SCRIPTED);
	session = world_attach(&world, "a",
		"{\"capabilities\":{},\"clientInfo\":{},\"subscriptions\":[\"test://old\"]}");
	call = world_call(session, "resources/subscribe", "{\"uri\":\"test://new\"}", 5000, true);
	world_until(&world, call->done);
	link_send(session->link, MSG_CLIENT_NOTE, 0,
		&(struct msg_client_note){.method = SPAN_LIT("logging/setLevel")},
		SPAN_LIT("{\"level\":\"warning\"}"), NULL);
	call = world_tool_done(session, "state", "{}");
	assert_contains(call->payload, "test://old");
	world_tool_done(session, "die", "{\"n\":1}");
	call = world_tool_done(session, "state", "{}");
	assert_contains(call->payload, "test://old");
	assert_contains(call->payload, "test://new");
	assert_contains(call->payload, "{\\\"level\\\":\\\"warning\\\"}");
	world_tool_done(session, "update", "{\"text\":\"test://new\"}");
	ck_assert_uint_eq(session->n_notes, 1);
	assert_contains(
		session->last_note, "notifications/resources/updated {\"uri\":\"test://new\"}");
	world_tool_done(session, "update", "{\"text\":\"test://other\"}");
	ck_assert_uint_eq(session->n_notes, 1);
	world_end(&world);
}
END_TEST

START_TEST(test_full_pipe)
{
	struct world_session *session;
	struct world_call *calls[24], *call;
	static char params[1100000];
	uint64_t began;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	call = world_tool(session, "echo", "{}");
	world_until(&world, call->done);
	kill(world.children[0].pid, SIGSTOP);
	memset(params, 'z', sizeof(params) - 1);
	memcpy(params, "{\"name\":\"echo\",\"arguments\":{\"text\":\"", 36);
	memcpy(params + sizeof(params) - 5, "\"}}", 4);
	for (int i = 0; i < 24; i++)
		calls[i] = world_call(session, "tools/call", params, 20000, false);
	/* all but the first half fit nowhere */
	for (int i = 12; i < 24; i++) {
		world_until(&world, calls[i]->done);
		ck_assert_uint_eq(calls[i]->code, ERR_BUSY);
		ck_assert_uint_eq(calls[i]->executed, 0);
	}
	/* the worker itself is not blocked */
	began = clock_ms();
	world_query(&world, "status");
	ck_assert_uint_lt(clock_ms() - began, 1000);
	kill(world.children[0].pid, SIGCONT);
	for (int i = 0; i < 24; i++)
		world_until(&world, calls[i]->done);
	world_end(&world);
}
END_TEST

/* Ways to misbehave (garbage_server.c), and what comes of them. */
static const struct {
	const char *mode;
	const char *detail; /* NULL: it works all the same */
} odd[] = {
	{"noise", NULL},
	{"twice", NULL},
	{"flood", NULL},
	{"flood_stderr", NULL},
	{"stubborn", NULL},
	{"half", "initialize was not answered"},
	{"deaf", "initialize was not answered"},
	{"mute", "initialize was not answered"},
	{"long", "it wrote a line longer than maxMessage"},
	{"exit", "its process ended: exit 0"},
};

START_TEST(test_odd)
{
	char command[512];
	struct world_session *session;
	uint64_t began;

	snprintf(command, sizeof(command), "%s %s", GARBAGE, odd[_i].mode);
	start("    command: /bin/true\n    isolation: shared\n    startTimeout: 1s\n    "
	      "maxMessage: 1MiB\n    stderr: discard\n",
		command);
	world_until(&world, world.state == SERVER_UP || world.state == SERVER_DOWN);
	session = world_attach(&world, "a", NULL);
	if (odd[_i].detail) {
		assert_contains(world.detail, odd[_i].detail);
	} else {
		for (int i = 0; i < 3; i++)
			ck_assert_uint_eq(
				world_tool_done(session, "echo", "{\"text\":\"x\"}")->kind, 0);
	}
	began = clock_ms();
	world_query(&world, "status");
	ck_assert_uint_lt(clock_ms() - began, 1000);
	world_end(&world);
}
END_TEST

/* Bytes without meaning, without end: they are counted, and nobody waits for ever. */
START_TEST(test_random)
{
	start("    command: /bin/true\n    isolation: shared\n    startTimeout: 500ms\n",
		GARBAGE " random");
	world_until(&world, world.state == SERVER_DOWN);
	ck_assert_ptr_null(strstr(world_query(&world, "status"), "\"invalid_lines\":0,"));
	world_end(&world);
}
END_TEST

/* --- sessions -------------------------------------------------------------------------------- */

/* All pages of its tools. */
static void world_list_done(struct world_session *session)
{
	char params[256] = "";
	const char *cursor;

	do {
		struct world_call *call = world_call(session, "tools/list", params, 0, true);

		world_until(&world, call->done);
		ck_assert_uint_eq(call->kind, 0);
		cursor = strstr(call->payload, "\"nextCursor\":");
		if (cursor)
			snprintf(params, sizeof(params), "{\"cursor\":%.*s}",
				(int)strcspn(cursor + 13, ",}"), cursor + 13);
	} while (cursor);
}

START_TEST(test_sessions)
{
	struct world_session *sessions[50];
	struct world_call *calls[50];
	char who[200], name[16];

	start_up("    command: /bin/true\n    max: 50\n", SCRIPTED);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		snprintf(who, sizeof(who),
			"{\"capabilities\":{\"sampling\":{\"n\":%d}},\"clientInfo\":{\"name\":\"c%"
			"d\"}}",
			i, i);
		sessions[i] = world_attach(&world, name, who);
		calls[i] = world_tool(sessions[i], "whoami", "{}");
	}
	for (int i = 0; i < 50; i++) {
		world_until(&world, calls[i]->done);
		snprintf(who, sizeof(who),
			"{\\\"protocolVersion\\\":\\\"2025-06-18\\\",\\\"capabilities\\\":{"
			"\\\"sampling\\\":{\\\"n\\\":%d}},"
			"\\\"clientInfo\\\":{\\\"name\\\":\\\"c%d\\\"}}",
			i, i);
		assert_contains(calls[i]->payload, who);
	}
	for (int i = 0; i < 50; i++)
		calls[i] = world_tool_done(sessions[i], "pid", "{}");
	for (int i = 0; i < 50; i++)
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(calls[i]->payload, calls[j]->payload);
	/* one too many, until another one ends */
	sessions[0] = world_attach(&world, "more", NULL);
	calls[0] = world_tool_done(sessions[0], "pid", "{}");
	ck_assert_uint_eq(calls[0]->code, ERR_SERVER_CAPACITY);
	ck_assert_uint_eq(calls[0]->executed, 0);
	if (_i)
		link_post(sessions[1]->link, MSG_DETACH, 0, NULL);
	else
		world_close(sessions[1]);
	world_pass(&world, 50);
	calls[0] = world_tool_done(sessions[0], "pid", "{}");
	ck_assert_uint_eq(calls[0]->kind, 0);
	world_until(&world, world_alive(&world) == 50);
	world_end(&world);
}
END_TEST

/* A fresh conversation shows whether clients of its kind get what the catalogue has. */
START_TEST(test_alike)
{
	struct world_session *session, *other;

	start_up(SESSION, SCRIPTED " --pages 2");
	session = world_attach(&world, "a", "{\"capabilities\":{},\"clientInfo\":{\"name\":\"c\"}}");
	world_list_done(session);
	world_until(&world, world.n_alike == 1);
	ck_assert_uint_eq(world.alike_kinds, 1u << CATALOGUE_TOOL);
	ck_assert_uint_eq(world.alike_client,
		mcp_client_digest(MCP_2025_06_18, SPAN_LIT("{}"), SPAN_LIT("{\"name\":\"c\"}")));
	/* not said again; what a session has called may have changed what it is shown */
	other = world_attach(&world, "b", "{\"capabilities\":{},\"clientInfo\":{\"name\":\"c\"}}");
	world_list_done(other);
	session = world_attach(&world, "c", "{\"capabilities\":{},\"clientInfo\":{\"name\":\"d\"}}");
	world_tool_done(session, "pid", "{}");
	world_list_done(session);
	world_pass(&world, 50);
	ck_assert_uint_eq(world.n_alike, 1);
	world_end(&world);
}
END_TEST

START_TEST(test_idle)
{
	struct world_session *session;

	start_up("    command: /bin/true\n    idle: 200ms\n", SCRIPTED);
	session = world_attach(&world, "a", NULL);
	world_tool_done(session, "echo", "{}");
	world_until(&world, world_alive(&world) == 0);
	ck_assert_uint_eq(world_tool_done(session, "echo", "{}")->kind, 0);
	ck_assert_uint_eq(world.n_children, 3);
	world_end(&world);
}
END_TEST

START_TEST(test_ask)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SESSION, SCRIPTED);
	session = world_attach(&world, "a", "{\"capabilities\":{\"roots\":{}},\"clientInfo\":{}}");
	call = world_tool(session, "ask", "{\"text\":\"roots/list\"}");
	world_until(&world, session->n_asks == 1);
	ck_assert_str_eq(session->ask_method, "roots/list");
	ck_assert_str_eq(session->ask_params, "{\"x\":1.50}");
	ck_assert_uint_eq(session->ask_call, call->stream);
	link_send(session->link, MSG_ANSWER, session->ask_stream, &(struct msg_answer){.kind = 0},
		SPAN_LIT("{\"roots\":[ ]}"), NULL);
	world_until(&world, call->done);
	/* the server's id comes back as it wrote it */
	assert_contains(call->payload, "{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":\\\"q\\\\u0031\\\","
				       "\\\"result\\\":{\\\"roots\\\":[ ]}}");
	call = world_tool(session, "ask", "{\"text\":\"sampling/createMessage\"}");
	world_until(&world, session->n_asks == 2);
	link_send(session->link, MSG_ANSWER, session->ask_stream, &(struct msg_answer){.kind = 1},
		SPAN_LIT("{\"code\":-1,\"message\":\"no\"}"), NULL);
	world_until(&world, call->done);
	assert_contains(
		call->payload, "\\\"error\\\":{\\\"code\\\":-1,\\\"message\\\":\\\"no\\\"}");
	call = world_tool(session, "ask", "{\"text\":\"roots/list\"}");
	world_until(&world, session->n_asks == 3);
	link_send(session->link, MSG_ANSWER, session->ask_stream,
		&(struct msg_answer){
			.kind = 2, .code = ERR_METHOD_NOT_FOUND, .detail = SPAN_LIT("cannot")},
		SPAN_NONE, NULL);
	world_until(&world, call->done);
	assert_contains(call->payload, "\\\"code\\\":-32601,\\\"message\\\":\\\"cannot\\\"");
	call = world_tool(session, "unask", "{\"text\":\"roots/list\"}");
	world_until(&world, session->ask_cancelled);
	world_cancel(session, call);
	call = world_tool_done(session, "ping", "{}");
	assert_contains(call->payload, "\\\"result\\\":{}");
	world_end(&world);
}
END_TEST

START_TEST(test_ask_shared)
{
	struct world_session *session;
	struct world_call *call;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", "{\"capabilities\":{\"roots\":{}},\"clientInfo\":{}}");
	call = world_tool_done(session, "ask", "{\"text\":\"roots/list\"}");
	assert_contains(call->payload, "\\\"code\\\":-32601");
	ck_assert_uint_eq(session->n_asks, 0);
	call = world_tool_done(session, "whoami", "{}");
	assert_contains(call->payload, "\\\"capabilities\\\":{}");
	world_end(&world);
}
END_TEST

START_TEST(test_log_notes)
{
	struct world_session *a, *b;
	struct world_call *call, *slow;

	start_up(SHARED, SCRIPTED);
	a = world_attach(&world, "a", NULL);
	b = world_attach(&world, "b", NULL);
	call = world_tool_done(a, "log", "{}");
	ck_assert_uint_eq(call->n_notes, 1);
	assert_contains(
		call->last_note, "notifications/message {\"level\":\"info\",\"data\":\"hello\"}");
	/* with two calls under way nobody knows whose it is */
	slow = world_tool(b, "slow", "{\"ms\":200}");
	world_until(&world, slow->forwarded);
	call = world_tool_done(a, "log", "{}");
	ck_assert_uint_eq(call->n_notes, 0);
	world_until(&world, slow->done);
	ck_assert_uint_eq(a->n_notes, 1);
	ck_assert_uint_eq(b->n_notes, 1);
	world_end(&world);
}
END_TEST

START_TEST(test_shared_subscriptions)
{
	struct world_session *a, *b;
	struct world_call *call;

	start_up(SHARED, SCRIPTED);
	a = world_attach(&world, "a", NULL);
	b = world_attach(&world, "b", NULL);
	call = world_call(a, "resources/subscribe", "{\"uri\":\"u:1\"}", 5000, true);
	world_until(&world, call->done);
	call = world_call(b, "resources/subscribe", "{\"uri\":\"u:1\"}", 5000, true);
	world_until(&world, call->done);
	call = world_call(a, "resources/unsubscribe", "{\"uri\":\"u:1\"}", 5000, true);
	world_until(&world, call->done);
	ck_assert_str_eq(call->payload, "{}");
	call = world_tool_done(b, "state", "{}");
	ck_assert_ptr_null(strstr(call->payload, "unsubscribe"));
	world_tool_done(a, "update", "{\"text\":\"u:1\"}");
	world_until(&world, b->n_notes == 1);
	ck_assert_uint_eq(a->n_notes, 0);
	world_close(b);
	world_pass(&world, 100);
	call = world_tool_done(a, "state", "{}");
	assert_contains(call->payload, "resources/unsubscribe");
	world_end(&world);
}
END_TEST

START_TEST(test_logs)
{
	struct world_session *session;

	start_up(SHARED, SCRIPTED);
	session = world_attach(&world, "a", NULL);
	world_tool_done(session, "stderr", "{\"text\":\"a \\\"word\\\" to the wise\"}");
	world_pass(&world, 50);
	assert_contains(world_query(&world, "logs"), "\"text\":\"a \\\"word\\\" to the wise\"}");
	assert_contains(world_query(&world, "status"), "\"state\":\"up\"");
	assert_contains(world_query(&world, "metrics"),
		"mcp_client_operation_duration_seconds_count{mcp_method_name=\"tools/call\","
		"gen_ai_tool_name=\"stderr\",mcp_protocol_version=\"2025-11-25\",error_type=\"\","
		"server=\"s\",network_transport=\"pipe\"} 1\n");
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("upstream");
	TCase *lists = tcase_create("lists"), *calls = tcase_create("calls"),
	      *bad = tcase_create("bad"), *sessions = tcase_create("sessions");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(lists, 60);
	tcase_set_timeout(calls, 60);
	tcase_set_timeout(bad, 60);
	tcase_set_timeout(sessions, 60);
	tcase_add_test(lists, test_probe);
	tcase_add_test(lists, test_pages);
	tcase_add_test(lists, test_circle);
	tcase_add_test(lists, test_changed);
	tcase_add_test(lists, test_changed_session);
	tcase_add_test(lists, test_registry_again);
	tcase_add_loop_test(lists, test_refused, 0, sizeof(refused) / sizeof(*refused));
	tcase_add_test(lists, test_no_process);
	tcase_add_loop_test(calls, test_call, 0, 2);
	tcase_add_test(calls, test_progress);
	tcase_add_loop_test(calls, test_kept_ids, 0, 2);
	tcase_add_test(calls, test_cancel);
	tcase_add_test(calls, test_timeout);
	tcase_add_test(calls, test_cut_utf8);
	tcase_add_loop_test(calls, test_one_line, 0, 2);
	tcase_add_test(calls, test_big);
	tcase_add_test(bad, test_garbage);
	tcase_add_test(bad, test_long_line);
	tcase_add_loop_test(bad, test_death, 0, 2);
	tcase_add_loop_test(bad, test_deaf, 0, 2);
	tcase_add_test(bad, test_back_off);
	tcase_add_loop_test(bad, test_restored, 0, 2);
	tcase_add_test(bad, test_full_pipe);
	tcase_add_loop_test(bad, test_odd, 0, sizeof(odd) / sizeof(*odd));
	tcase_add_test(bad, test_random);
	tcase_add_loop_test(sessions, test_sessions, 0, 2);
	tcase_add_test(sessions, test_alike);
	tcase_add_test(sessions, test_idle);
	tcase_add_test(sessions, test_ask);
	tcase_add_test(sessions, test_ask_shared);
	tcase_add_test(sessions, test_log_notes);
	tcase_add_test(sessions, test_shared_subscriptions);
	tcase_add_test(sessions, test_logs);
	suite_add_tcase(suite, lists);
	suite_add_tcase(suite, calls);
	suite_add_tcase(suite, bad);
	suite_add_tcase(suite, sessions);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
