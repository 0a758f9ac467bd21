/* The upstream worker and WebSocket: handshake, frames that are not allowed, pings, closing. What
 * it has in common with the other transports is in tests/conformance/test_transports.c. */
#include "clock.h"
#include "upstream_peer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct world world;
static struct peer peer;

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(
		text && strstr(text, part), "'%s' is not in '%s'", part, text ? text : "(nothing)");
}

static void start(const char *modes, const char *more)
{
	peer_start(&peer, "ws", modes, false);
	peer_world(&peer, &world, NULL, more);
}

static struct world_session *start_up(const char *modes, const char *more)
{
	start(modes, more);
	world_until(&world, world.state == SERVER_UP);
	return world_attach(&world, "a", NULL);
}

static void end(void)
{
	world_end(&world);
	peer_end(&peer);
}

static void echo(struct world_session *session)
{
	struct world_call *call = world_call(session, "tools/call",
		"{\"name\":\"echo\",\"arguments\":{\"text\":\"well\"}}", 20000, true);

	world_until(&world, call->done);
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	assert_contains(call->payload, "well");
}

static const struct {
	const char *modes, *detail;
} refused[] = {
	{"accept", "its Sec-WebSocket-Accept does not answer our key"},
	{"protocol", "it chose another WebSocket subprotocol than mcp"},
	{"extension", "it uses a WebSocket extension, which was not offered"},
	{"upgrade", "it switches to another protocol than WebSocket"},
	{"status=401", "it answered the WebSocket handshake with HTTP 401 Unauthorized"},
	{"status=200", "it answered the WebSocket handshake with HTTP 200 OK"},
	{"status=302", "it answered the WebSocket handshake with HTTP 302 Found"},
};

START_TEST(test_refused)
{
	start(refused[_i].modes, "");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, refused[_i].detail);
	ck_assert_uint_eq(peer_count(&peer, "got"), 0);
	end();
}
END_TEST

static const char *const good[] = {"noprotocol", "fragments", "fragments,trickle"};

START_TEST(test_good)
{
	struct world_session *session = start_up(good[_i], "");

	for (int i = 0; i < 3; i++)
		echo(session);
	end();
}
END_TEST

START_TEST(test_headers)
{
	struct world_session *session = start_up("-",
		"    headers: { Authorization: \"Bearer x\", Sec-WebSocket-Protocol: soap }\n");
	struct world_call *call = world_tool_done(session, "headers", "{}");

	assert_contains(call->payload, "\\\"authorization\\\": \\\"Bearer x\\\"");
	assert_contains(call->payload, "\\\"sec-websocket-protocol\\\": \\\"mcp\\\"");
	assert_contains(call->payload, "\\\"user-agent\\\": \\\"gatehouse/");
	end();
}
END_TEST

static const struct {
	const char *hex, *detail;
	unsigned code;
	const char *end; /* what the server hears of it */
} said[] = {
	{"820178", "over its WebSocket a binary message came", ERR_SERVER_GARBAGE, "end * 1003"},
	{"8102c328", "over its WebSocket a text came that is not UTF-8", ERR_SERVER_GARBAGE,
		"end * 1007"},
	{"c10178", "a frame came that WebSocket does not allow", ERR_SERVER_GARBAGE, "end * 1002"},
	{"818101020304ff", "a frame came that WebSocket does not allow", ERR_SERVER_GARBAGE,
		"end * 1002"},
	{"817f7fffffffffffffff78", "longer than maxMessage", ERR_SERVER_GARBAGE, "end * 1009"},
	{"880703e968656c6c6f", "it closed the WebSocket: 1001, hello", ERR_SERVER_DIED,
		"end * 1001"},
	{"8800", "it closed the WebSocket: without a code", ERR_SERVER_DIED, "end * 0"},
};

START_TEST(test_said)
{
	struct world_session *session = start_up("-", "");
	char arguments[128];
	struct world_call *call;

	snprintf(arguments, sizeof(arguments), "{\"hex\":\"%s\"}", said[_i].hex);
	call = world_tool_done(session, "say", arguments);
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, said[_i].code);
	ck_assert_uint_eq(call->executed, 2);
	assert_contains(call->detail, said[_i].detail);
	world_until(&world, peer_count(&peer, said[_i].end) == 1);
	echo(session);
	end();
}
END_TEST

START_TEST(test_close_codes)
{
	struct world_session *session = start_up("-", "");

	echo(session);
	link_post(session->link, MSG_DETACH, 0, NULL);
	world_until(&world, peer_count(&peer, "end 2 1000") == 1);
	world_end(&world);
	/* the process ends when the server has heard of it */
	ck_assert_uint_eq(peer_count(&peer, "end 1 1000"), 1);
	peer_end(&peer);
}
END_TEST

START_TEST(test_ping)
{
	struct world_session *session = start_up("-", "    pingInterval: 100ms\n");

	echo(session);
	world_until(&world, peer_count(&peer, "ping") >= 4);
	echo(session);
	ck_assert_uint_eq(peer_count(&peer, "open"), 2);
	end();
}
END_TEST

START_TEST(test_no_pong)
{
	struct world_session *session = start_up("nopong", "    pingInterval: 300ms\n");
	struct world_call *call = world_tool_done(session, "hang", "{}");

	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DIED);
	ck_assert_uint_eq(call->executed, 2);
	assert_contains(call->detail, "it did not answer a ping within pingInterval");
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("upstream_ws");
	TCase *all = tcase_create("ws");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(all, 60);
	tcase_add_loop_test(all, test_refused, 0, sizeof(refused) / sizeof(*refused));
	tcase_add_loop_test(all, test_good, 0, sizeof(good) / sizeof(*good));
	tcase_add_test(all, test_headers);
	tcase_add_loop_test(all, test_said, 0, sizeof(said) / sizeof(*said));
	tcase_add_test(all, test_close_codes);
	tcase_add_test(all, test_ping);
	tcase_add_test(all, test_no_pong);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
