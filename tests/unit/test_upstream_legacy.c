/* The upstream worker and HTTP+SSE of 2024-11-05: how it is found out, and where messages go. What
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

static void start(const char *modes, const char *type, const char *more)
{
	peer_start(&peer, "sse", modes, false);
	peer_world(&peer, &world, type, more);
}

static void end(void)
{
	world_end(&world);
	peer_end(&peer);
}

static struct world_call *echo(struct world_session *session)
{
	struct world_call *call = world_call(session, "tools/call",
		"{\"name\":\"echo\",\"arguments\":{\"text\":\"well\"}}", 20000, true);

	world_until(&world, call->done);
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	return call;
}

static const char *const forms[] = {"path", "absolute", "query", "dots"};

START_TEST(test_endpoint)
{
	char modes[64];

	snprintf(modes, sizeof(modes), "endpoint=%s", forms[_i]);
	start(modes, "sse", "");
	world_until(&world, world.state == SERVER_UP);
	assert_contains(echo(world_attach(&world, "a", NULL))->payload, "well");
	end();
}
END_TEST

static const struct {
	const char *modes, *detail;
} refused[] = {
	{"endpoint=other",
		"its endpoint event leads to another origin, http://127.0.0.1:1: not followed"},
	{"endpoint=junk", "its endpoint event leads to 'mailto:x', which is no address"},
	{"endpoint=none", "not answered within startTimeout"},
	{"type", "HTTP 200 OK, but not with an event stream"},
};

START_TEST(test_refused)
{
	start(refused[_i].modes, "sse", "    startTimeout: 1s\n");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, refused[_i].detail);
	ck_assert_uint_eq(peer_count(&peer, "got"), 0);
	end();
}
END_TEST

static const int statuses[] = {400, 404, 405};

START_TEST(test_probe)
{
	struct world_session *session;
	char modes[64];

	snprintf(modes, sizeof(modes), "refuse=%d", statuses[_i]);
	start(modes, NULL, "");
	world_until(&world, world.state == SERVER_UP);
	session = world_attach(&world, "a", NULL);
	echo(session);
	ck_assert_uint_eq(peer_count(&peer, "got * initialize"), 2);
	/* after its stream broke it is the same server */
	ck_assert_uint_eq(world_tool_done(session, "die", "{}")->executed, 2);
	echo(session);
	ck_assert_uint_eq(peer_count(&peer, "got * initialize"), 3);
	end();
}
END_TEST

START_TEST(test_probe_elsewhere)
{
	/* any other status is not a reason to ask for something else */
	start("refuse=500", NULL, "");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, "HTTP 500 Internal Server Error: no POST here");
	ck_assert_uint_eq(peer_count(&peer, "open"), 0);
	end();
	/* nor is there anything to ask where the type is given */
	start("refuse=405", "http", "");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, "HTTP 405 Method Not Allowed: no POST here");
	ck_assert_uint_eq(peer_count(&peer, "open"), 0);
	end();
}
END_TEST

START_TEST(test_neither)
{
	start("type,refuse=404", NULL, "");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail,
		"initialize by Streamable HTTP: HTTP 404 Not Found: no POST here; "
		"the stream of HTTP+SSE: HTTP 200 OK, but not with an event stream");
	end();
}
END_TEST

START_TEST(test_headers)
{
	struct world_call *call;

	start("-", "sse", "    headers: { Authorization: \"Bearer x\", Host: evil }\n");
	world_until(&world, world.state == SERVER_UP);
	call = world_tool_done(world_attach(&world, "a", NULL), "headers", "{}");
	assert_contains(call->payload, "\\\"authorization\\\": \\\"Bearer x\\\"");
	assert_contains(call->payload, "\\\"host\\\": \\\"127.0.0.1:");
	assert_contains(call->payload, "\\\"accept\\\": \\\"text/event-stream\\\"");
	end();
}
END_TEST

START_TEST(test_back_off)
{
	struct world_session *session;
	struct world_call *call;

	/* nobody is there any more: calls are told so, and which have not run */
	start("-", "sse", "");
	world_until(&world, world.state == SERVER_UP);
	session = world_attach(&world, "a", NULL);
	echo(session);
	call = world_tool(session, "hang", "{}");
	world_until(&world, peer_count(&peer, "got * tools/call hang") == 1);
	peer_kill(&peer);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->executed, 2);
	world_until(&world, world.state == SERVER_DOWN);
	call = world_tool_done(session, "echo", "{\"text\":\"x\"}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->executed, 0);
	assert_contains(call->detail, "Connection refused");
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("upstream_legacy");
	TCase *all = tcase_create("legacy");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(all, 60);
	tcase_add_loop_test(all, test_endpoint, 0, sizeof(forms) / sizeof(*forms));
	tcase_add_loop_test(all, test_refused, 0, sizeof(refused) / sizeof(*refused));
	tcase_add_loop_test(all, test_probe, 0, sizeof(statuses) / sizeof(*statuses));
	tcase_add_test(all, test_probe_elsewhere);
	tcase_add_test(all, test_neither);
	tcase_add_test(all, test_headers);
	tcase_add_test(all, test_back_off);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
