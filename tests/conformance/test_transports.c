/*
 * What every transport towards servers must do, each property once and run for each transport: the
 * real upstream worker against the same scripted server over stdio, Streamable HTTP, HTTP+SSE and
 * WebSocket.
 *
 * A new transport is a row in transports[], and a class in tests/support/scripted_peer.py.
 */
#include "../unit/upstream_peer.h"
#include "clock.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *name;
	const char *transport; /* of scripted_peer.py */
	const char *type;      /* in the configuration */
	bool tls;
	bool ordered; /* the server gets messages in the order in which they are sent */
	bool lines;   /* a message is a line */
	bool variant; /* of the row before: what does not depend on the difference is left out */
} transports[] = {
	{"stdio", "stdio", NULL, false, true, true, false},
	{"http", "http", "http", false, false, false, false},
	{"sse", "sse", "sse", false, false, false, false},
	{"sse, probed", "sse", NULL, false, false, false, true},
	{"ws", "ws", "ws", false, true, false, false},
	{"wss", "ws", NULL, true, true, false, true},
};
#define TRANSPORTS (sizeof(transports) / sizeof(*transports))

static struct world world;
static struct peer peer;
static struct world_session *session;

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(
		text && strstr(text, part), "'%s' is not in '%s'", part, text ? text : "(nothing)");
}

static void start(int i, const char *modes, const char *more)
{
	peer_start(&peer, transports[i].transport, modes, transports[i].tls);
	peer_world(&peer, &world, transports[i].type, more);
}

static void start_up(int i, const char *modes, const char *more)
{
	start(i, modes, more);
	world_until(&world, world.state == SERVER_UP);
	session = world_attach(&world, "a", NULL);
}

static void end(void)
{
	world_end(&world);
	peer_end(&peer);
}

/* A call that may be repeated: it waits for a new conversation where there has to be one. */
static struct world_call *call_safely(const char *params)
{
	struct world_call *call = world_call(session, "tools/call", params, 20000, true);

	world_until(&world, call->done);
	return call;
}

static void assert_works(void)
{
	struct world_call *call =
		call_safely("{\"name\":\"echo\",\"arguments\":{\"text\":\"well\"}}");

	ck_assert_msg(call->kind == 0, "%s", call->detail);
	assert_contains(call->payload, "\"well\"");
}

/* A call that meets a server while it ends has no result; one that comes later meets the next. */
static void assert_works_again(void)
{
	for (int i = 0; call_safely("{\"name\":\"echo\",\"arguments\":{\"text\":\"\"}}")->kind != 0;
		i++) {
		ck_assert_int_lt(i, 10);
		world_pass(&world, 100);
	}
	assert_works();
}

/* --- messages -------------------------------------------------------------------------------- */

START_TEST(test_byte_exact)
{
	static const char params[] =
		"{ \"name\":\"raw\",\t\"arguments\":{\"b\":1.50,\"a\":\"\\u00e9\\/\xc3\xa9\",\"b\":"
		"12345678901234567890123,\"e\":1E400,\"deep\":[[{}],null]} }";
	static const char odd[] =
		"{\"content\": [ {\"type\":\"text\",\"text\":\"\\u00e9\\/\xc3\xa9\"} ],  "
		"\"n\":1.50, \"big\":12345678901234567890123, \"n\":1}";
	struct world_call *call;

	start_up(_i, "-", "");
	assert_contains(world.facts, "scripted-peer");
	call = world_call(session, "tools/call", params, 20000, false);
	world_until(&world, call->done);
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	ck_assert_str_eq(call->payload, params);
	ck_assert_uint_eq(call->executed, 1);
	ck_assert_str_eq(world_tool_done(session, "odd", "{}")->payload, odd);
	/* line ends are white space to JSON, but the end of a message where lines frame messages */
	call = call_safely("{\"name\":\"raw\",\n\"arguments\":{\n\n}}");
	ck_assert_str_eq(call->payload, transports[_i].lines
						? "{\"name\":\"raw\", \"arguments\":{  }}"
						: "{\"name\":\"raw\",\n\"arguments\":{\n\n}}");
	end();
}
END_TEST

START_TEST(test_order)
{
	struct world_call *calls[30], *call;
	char arguments[64], expected[512];
	int n = 0;

	start_up(_i, "-", "");
	assert_works();
	for (int i = 0; i < 30; i++) {
		snprintf(arguments, sizeof(arguments), "{\"n\":%d,\"text\":\"t%d\"}", i, i);
		calls[i] = world_tool(session, i % 2 ? "echo" : "order", arguments);
	}
	for (int i = 0; i < 30; i++) {
		world_until(&world, calls[i]->done);
		snprintf(expected, sizeof(expected), "\"t%d\"", i);
		assert_contains(calls[i]->payload, i % 2 ? expected : "\"done\"");
	}
	n = snprintf(expected, sizeof(expected), "[");
	for (int i = 0; i < 30; i += 2)
		n += snprintf(expected + n, sizeof(expected) - (size_t)n, "%s%d", i ? ", " : "", i);
	call = world_tool_done(session, "ordered", "{}");
	if (transports[_i].ordered)
		assert_contains(call->payload, expected);
	end();
}
END_TEST

#define FORMS \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
	"\"io.modelcontextprotocol/clientCapabilities\":{\"elicitation\":{\"form\":{}}}}"

static struct world_call *ask(struct world_session *client, int n, const char *more)
{
	char params[1024];

	snprintf(params, sizeof(params),
		"{\"name\":\"ask\",\"arguments\":{\"text\":\"%d\"}," FORMS "%s}", n, more);
	return world_call(client, "tools/call", params, 20000, false);
}

/* What the server asks in two calls at once, of clients without a session, belongs to each its own. */
START_TEST(test_questions)
{
	struct world_session *client;
	struct world_call *calls[2];
	char more[512], expected[64];

	start_up(_i, "-", "");
	client = world_attach_modern(&world, "w", "p");
	for (int i = 0; i < 2; i++)
		calls[i] = ask(client, i, "");
	for (int i = 0; i < 2; i++) {
		const char *state;

		world_until(&world, calls[i]->done);
		ck_assert_msg(calls[i]->kind == 0, "%s", calls[i]->detail);
		snprintf(expected, sizeof(expected), "\"params\":{\"message\": \"%d\"}", i);
		assert_contains(calls[i]->payload, expected);
		state = strstr(calls[i]->payload, "\"requestState\":");
		ck_assert_ptr_nonnull(state);
		snprintf(more, sizeof(more),
			",%.*s,\"inputResponses\":{\"q1\":{\"action\":\"accept\",\"content\":{\"n\":"
			"\"answer %d\"}}}",
			(int)(strchr(state, '}') - state), state, i);
		calls[i] = ask(client, i, more);
	}
	for (int i = 0; i < 2; i++) {
		world_until(&world, calls[i]->done);
		ck_assert_msg(calls[i]->kind == 0, "%s", calls[i]->detail);
		snprintf(expected, sizeof(expected), "answer %d", i);
		assert_contains(calls[i]->payload, expected);
	}
	end();
}
END_TEST

START_TEST(test_notes)
{
	struct world_call *call;

	/* all of them, in their order, before the answer */
	start_up(_i, "-", "");
	call = world_call(session, "tools/call",
		"{\"name\":\"notes\",\"arguments\":{\"n\":100},\"_meta\":{\"progressToken\":7}}",
		20000, false);
	for (unsigned seen = 0; !call->done;) {
		char progress[32];

		world_turn(&world);
		ck_assert_uint_ge(call->n_notes, seen);
		seen = call->n_notes;
		snprintf(progress, sizeof(progress), "\"progress\": %u}", seen);
		if (seen)
			assert_contains(call->last_note, progress);
	}
	ck_assert_uint_eq(call->n_notes, 100);
	end();
}
END_TEST

START_TEST(test_large)
{
	size_t size = 3u << 20;
	char *params = malloc(size + 100);
	struct world_call *call;
	int head;

	start_up(_i, "-", "");
	call = world_tool_done(session, "big", "{\"n\":5000000}");
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	ck_assert_uint_gt(call->payload_len, 5000000);
	ck_assert_uint_eq(strspn(strstr(call->payload, "yy"), "y"), 5000000);
	head = sprintf(params, "{\"name\":\"raw\",\"arguments\":{\"text\":\"");
	for (size_t i = 0; i < size; i++)
		params[head + (int)i] = (char)('a' + i % 26);
	strcpy(params + head + size, "\"}}");
	call = call_safely(params);
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	ck_assert(strcmp(call->payload, params) == 0);
	free(params);
	end();
}
END_TEST

START_TEST(test_too_large)
{
	struct world_call *call;

	start_up(_i, "-", "    maxMessage: 64KiB\n");
	call = world_tool_done(session, "big", "{\"n\":60000}");
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	call = world_tool_done(session, "big", "{\"n\":70000}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_GARBAGE);
	ck_assert_uint_eq(call->executed, 2);
	assert_contains(call->detail, "longer than maxMessage");
	assert_works();
	end();
}
END_TEST

START_TEST(test_trickle)
{
	start_up(_i, "trickle", "");
	for (int i = 0; i < 3; i++)
		assert_works();
	end();
}
END_TEST

START_TEST(test_forwarded)
{
	struct world_call *call;

	start_up(_i, "-", "");
	assert_works();
	call = world_tool(session, "hang", "{}");
	ck_assert(!call->forwarded);
	world_until(&world, peer_count(&peer, "got * tools/call hang") == 1);
	/* the mark was sent before the call: it is there */
	world_turn(&world);
	ck_assert(call->forwarded);
	world_cancel(session, call);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->code, ERR_CANCELLED);
	world_until(&world, peer_count(&peer, "got * notifications/cancelled") == 1);
	end();
}
END_TEST

/* --- ends ------------------------------------------------------------------------------------ */

START_TEST(test_server_closes)
{
	start_up(_i, "-", "");
	for (unsigned i = 1; i < 4; i++) {
		ck_assert_uint_eq(world_tool_done(session, "bye", "{}")->kind, 0);
		world_until(&world, peer_has_ended(&peer, i + 1));
		world_pass(&world, 20);
		if (i < 3) /* the third end within a minute: the pause is longer than a call waits */
			assert_works_again();
	}
	end();
}
END_TEST

START_TEST(test_server_dies)
{
	struct world_call *call, *other;

	start_up(_i, "-", "");
	other = world_tool(session, "hang", "{}");
	call = world_tool_done(session, "die", "{}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DIED);
	ck_assert_uint_eq(call->executed, 2);
	if (other->done)
		ck_assert_uint_eq(other->executed, 2);
	assert_works();
	ck_assert_uint_eq(peer_count(&peer, "got * tools/call die"), 1);
	ck_assert_uint_eq(peer_count(&peer, "got * tools/call hang"), 1);
	end();
}
END_TEST

START_TEST(test_refused)
{
	peer_start(&peer, transports[_i].transport, "-", transports[_i].tls);
	if (peer.pid)
		peer_kill(&peer);
	else
		snprintf(peer.command, sizeof(peer.command), "/nonexistent");
	peer_world(&peer, &world, transports[_i].type, "");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail,
		peer.command[0] ? "its process ended: exit 127" : "Connection refused");
	session = world_attach(&world, "a", NULL);
	ck_assert_uint_eq(world_tool_done(session, "echo", "{\"text\":\"x\"}")->executed, 0);
	end();
}
END_TEST

START_TEST(test_never_answers)
{
	start(_i, "mute", "    startTimeout: 300ms\n");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, "not answered within startTimeout (300 ms)");
	end();
}
END_TEST

START_TEST(test_nothing_after_close)
{
	start_up(_i, "-", "");
	assert_works();
	world_tool(session, "hang", "{}");
	world_until(&world, peer_count(&peer, "got * tools/call hang") == 1);
	link_post(session->link, MSG_DETACH, 0, NULL);
	world_until(&world, peer_has_ended(&peer, 2));
	world_pass(&world, 100);
	ck_assert(peer_has_ended(&peer, 2));
	end();
}
END_TEST

START_TEST(test_many_conversations)
{
	struct world_session *sessions[10];
	struct world_call *calls[10];
	char id[16], arguments[64];

	start_up(_i, "-", "");
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		sessions[i] = world_attach(&world, id, NULL);
		snprintf(arguments, sizeof(arguments), "{\"text\":\"to %d\"}", i);
		calls[i] = world_tool(sessions[i], "echo", arguments);
	}
	for (int i = 0; i < 10; i++) {
		world_until(&world, calls[i]->done);
		snprintf(id, sizeof(id), "\"to %d\"", i);
		assert_contains(calls[i]->payload, id);
	}
	/* the catalogue's and theirs; the first session has called nothing */
	ck_assert_uint_eq(peer_count(&peer, "open *"), 11);
	end();
	ck_assert_int_eq(world.n_children, strcmp(transports[_i].name, "stdio") ? 0 : 11);
}
END_TEST

static void add_all(TCase *tc, int i)
{
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_byte_exact, i, i + 1);
	tcase_add_loop_test(tc, test_large, i, i + 1);
	tcase_add_loop_test(tc, test_trickle, i, i + 1);
	tcase_add_loop_test(tc, test_server_dies, i, i + 1);
	tcase_add_loop_test(tc, test_refused, i, i + 1);
	tcase_add_loop_test(tc, test_nothing_after_close, i, i + 1);
	if (transports[i].variant)
		return;
	tcase_add_loop_test(tc, test_order, i, i + 1);
	tcase_add_loop_test(tc, test_notes, i, i + 1);
	tcase_add_loop_test(tc, test_questions, i, i + 1);
	tcase_add_loop_test(tc, test_too_large, i, i + 1);
	tcase_add_loop_test(tc, test_forwarded, i, i + 1);
	tcase_add_loop_test(tc, test_server_closes, i, i + 1);
	tcase_add_loop_test(tc, test_never_answers, i, i + 1);
	tcase_add_loop_test(tc, test_many_conversations, i, i + 1);
}

int main(void)
{
	Suite *suite = suite_create("transports");
	SRunner *runner = srunner_create(suite);
	int failed;

	for (int i = 0; i < (int)TRANSPORTS; i++) {
		TCase *tc = tcase_create(transports[i].name);

		add_all(tc, i);
		suite_add_tcase(suite, tc);
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
