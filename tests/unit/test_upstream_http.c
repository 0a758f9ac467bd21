/* The upstream worker of a Streamable HTTP server: the real program against a scripted server over
 * real sockets. */
#include "clock.h"
#include "upstream_world.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct world world;
static pid_t server_pid;
static int server_in;
static int port;

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(
		text && strstr(text, part), "'%s' is not in '%s'", part, text ? text : "(nothing)");
}

/* cert: files of a certificate and its key; NULL: no TLS */
static void run_server(char *cert, char *key)
{
	char python[] = "python3", script[] = SCRIPTED_HTTP;
	char *argv[] = {python, script, cert, key, NULL};

	int in[2], out[2];
	FILE *said;

	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	server_pid = fork();
	if (server_pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	server_in = in[1];
	said = fdopen(out[0], "r");
	ck_assert_int_eq(fscanf(said, "%d", &port), 1);
	fclose(said);
}

static void start_server(void)
{
	run_server(NULL, NULL);
}

static void stop_server(void)
{
	close(server_in);
	kill(server_pid, SIGTERM);
	waitpid(server_pid, NULL, 0);
}

static void start(const char *path, const char *more)
{
	char server[512];

	snprintf(server, sizeof(server), "    url: \"http://127.0.0.1:%d/%s\"\n%s", port, path,
		more);
	world_start(&world, server, "");
}

static void start_up(const char *path)
{
	start(path, "");
	world_until(&world, world.state == SERVER_UP);
}

static struct world_session *attach(void)
{
	return world_attach(&world, "a",
		"{\"capabilities\":{\"roots\":{}},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"
		"}");
}

static const char *const ways[] = {"mcp", "sse", "mcp/none", "sse/none", "mcp/close", "mcp/chunked",
	"mcp/nostream", "mcp/chunked/close", "move"};

START_TEST(test_call)
{
	struct world_session *session;
	struct world_call *call;

	start_up(ways[_i]);
	ck_assert_str_eq(world.lists[CATALOGUE_TOOL],
		"[{\"name\": \"echo\", \"inputSchema\": {\"type\": \"object\"}}]");
	assert_contains(world.facts, "scripted-http");
	session = attach();
	for (int i = 0; i < 3; i++) {
		call = world_tool_done(session, "echo", "{\"text\":\"h\\u00e9\"}");
		ck_assert_msg(call->kind == 0, "%s", call->detail);
		assert_contains(call->payload, "\"text\": \"h\\u00e9\"");
		ck_assert_uint_eq(call->executed, 1);
		ck_assert(call->forwarded);
	}
	world_end(&world);
}
END_TEST

START_TEST(test_headers)
{
	struct world_session *session;
	struct world_call *call;

	start("mcp", "    headers: { Authorization: \"Bearer x\", Host: evil, X-Own: \"1\" }\n");
	world_until(&world, world.state == SERVER_UP);
	session = attach();
	call = world_tool_done(session, "who", "{}");
	assert_contains(call->payload, "\\\"authorization\\\": \\\"Bearer x\\\"");
	assert_contains(call->payload, "\\\"x-own\\\": \\\"1\\\"");
	assert_contains(call->payload, "\\\"host\\\": \\\"127.0.0.1:");
	assert_contains(
		call->payload, "\\\"accept\\\": \\\"application/json, text/event-stream\\\"");
	assert_contains(call->payload, "\\\"mcp-protocol-version\\\": \\\"2025-06-18\\\"");
	assert_contains(call->payload, "\\\"mcp-session-id\\\": \\\"session-2\\\"");
	world_end(&world);
}
END_TEST

START_TEST(test_sessions)
{
	struct world_session *sessions[20];
	struct world_call *call;
	char text[64];

	start_up("mcp");
	for (int i = 0; i < 20; i++) {
		sessions[i] = attach();
		call = world_tool_done(sessions[i], "who", "{}");
		snprintf(text, sizeof(text), "\\\"mcp-session-id\\\": \\\"session-%d\\\"", i + 2);
		assert_contains(call->payload, text);
	}
	/* over few connections: 21 streams, and those of the requests */
	call = world_tool_done(sessions[0], "who", "{}");
	assert_contains(call->payload, "\\\"sessions\\\": 21");
	for (int i = 1; i < 20; i++)
		link_post(sessions[i]->link, MSG_DETACH, 0, NULL);
	world_pass(&world, 200);
	call = world_tool_done(sessions[0], "who", "{}");
	assert_contains(call->payload, "\\\"sessions\\\": 2");
	assert_contains(call->payload, "\\\"deleted\\\": 19");
	world_end(&world);
}
END_TEST

START_TEST(test_kept_connections)
{
	struct world_session *session;
	struct world_call *call;

	start_up("mcp/nostream");
	session = attach();
	for (int i = 0; i < 30; i++)
		call = world_tool_done(session, "who", "{}");
	/* the probe's GET and ours take one each at most */
	ck_assert_msg(strstr(call->payload, "\\\"connections\\\": 1,") ||
			      strstr(call->payload, "\\\"connections\\\": 2,") ||
			      strstr(call->payload, "\\\"connections\\\": 3,"),
		"%s", call->payload);
	world_end(&world);
}
END_TEST

static const char *const stale[] = {
	"mcp", "sse", "mcp/stale=400", "mcp/stale=401", "mcp/stale=503"};

START_TEST(test_forgotten)
{
	struct world_session *session;
	struct world_call *call;

	start_up(stale[_i]);
	session = attach();
	ck_assert_uint_eq(world_tool_done(session, "forget", "{}")->kind, 0);
	/* a safe call goes again in a new session */
	call = world_call(session, "tools/call",
		"{\"name\":\"echo\",\"arguments\":{\"text\":\"again\"}}", 10000, true);
	world_until(&world, call->done);
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	assert_contains(call->payload, "again");
	/* another does not: its caller is told, and the next call works (within a second restart's
	 * pause) */
	ck_assert_uint_eq(world_tool_done(session, "forget", "{}")->kind, 0);
	call = world_tool_done(session, "count", "{}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DOWN);
	world_pass(&world, 50);
	call = world_call(session, "tools/call", "{\"name\":\"count\"}", 10000, true);
	world_until(&world, call->done);
	ck_assert_msg(call->kind == 0, "%s", call->detail);
	assert_contains(call->payload, "\"text\": \"1\"");
	world_end(&world);
}
END_TEST

START_TEST(test_doubtful)
{
	struct world_session *session;
	struct world_call *call;

	/* the status means the request, not the session, which stays */
	start_up("mcp");
	session = attach();
	world_tool_done(session, "echo", "{}");
	call = world_call(session, "tools/call", "{\"name\":\"status\",\"arguments\":{\"n\":400}}",
		10000, true);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->code, ERR_SERVER_DOWN);
	assert_contains(call->detail, "HTTP 400");
	call = world_tool_done(session, "status",
		"{\"n\":400,\"body\":{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,"
		"\"message\":\"Parse error\",\"data\":\"crypto is \\\"not\\\" defined\"}}}");
	assert_contains(
		call->detail, "HTTP 400 Bad Request: Parse error: crypto is \"not\" defined");
	call = world_tool_done(session, "who", "{}");
	assert_contains(call->payload, "\\\"mcp-session-id\\\": \\\"session-2\\\"");
	call = world_tool_done(session, "status", "{\"n\":500}");
	ck_assert_uint_eq(call->executed, 2);
	call = world_tool_done(session, "status", "{\"n\":202}");
	ck_assert_uint_eq(call->code, ERR_SERVER_GARBAGE);
	world_end(&world);
}
END_TEST

START_TEST(test_drop)
{
	struct world_session *session;
	struct world_call *call;

	start_up("mcp/nostream");
	session = attach();
	world_tool_done(session, "echo", "{}");
	call = world_tool_done(session, "drop", "{}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_DIED);
	ck_assert_uint_eq(call->executed, 2);
	/* it ran once, and only once */
	call = world_tool_done(session, "count", "{}");
	assert_contains(call->payload, "\"text\": \"2\"");
	world_end(&world);
}
END_TEST

START_TEST(test_resume)
{
	struct world_session *session;
	struct world_call *call;

	start_up(_i ? "sse/poll" : "sse/break");
	session = attach();
	for (int i = 1; i < 4; i++) {
		char text[32];

		call = world_tool_done(session, "count", "{}");
		ck_assert_msg(call->kind == 0, "%s", call->detail);
		snprintf(text, sizeof(text), "\"text\": \"%d\"", i);
		assert_contains(call->payload, text);
		/* a stream that the server ended is told, one that broke is not */
		ck_assert_uint_eq(call->n_parked, (unsigned)_i);
	}
	world_end(&world);
}
END_TEST

START_TEST(test_notes)
{
	struct world_session *session;
	struct world_call *call;

	start_up("sse");
	session = attach();
	call = world_tool_done(session, "note", "{}");
	ck_assert_uint_eq(call->n_notes, 1);
	assert_contains(call->last_note, "mine");
	world_tool_done(session, "push", "{}");
	world_until(&world, session->n_notes == 1);
	assert_contains(session->last_note, "pushed");
	world_end(&world);
}
END_TEST

START_TEST(test_ask)
{
	struct world_session *session;
	struct world_call *call, *other;

	start_up("sse");
	session = attach();
	other = world_tool(session, "slow", "{\"ms\":500}");
	call = world_tool(session, "ask", "{}");
	world_until(&world, session->n_asks == 1);
	ck_assert_uint_eq(session->ask_call, call->stream);
	ck_assert_str_eq(session->ask_method, "roots/list");
	link_send(session->link, MSG_ANSWER, session->ask_stream, &(struct msg_answer){.kind = 0},
		SPAN_LIT("{\"roots\":[]}"), NULL);
	world_until(&world, call->done);
	assert_contains(call->payload, "{\\\"roots\\\": []}");
	world_until(&world, other->done);
	world_end(&world);
}
END_TEST

START_TEST(test_cancel)
{
	struct world_session *session;
	struct world_call *call;

	start_up("mcp");
	session = attach();
	call = world_tool(session, "slow", "{\"ms\":300}");
	world_until(&world, call->forwarded);
	world_pass(&world, 50);
	world_cancel(session, call);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->code, ERR_CANCELLED);
	world_pass(&world, 400);
	ck_assert_uint_eq(world_tool_done(session, "echo", "{}")->kind, 0);
	world_end(&world);
}
END_TEST

static const struct {
	const char *path, *detail;
} refused[] = {
	{"away", "redirects to another origin, http://example.org: not followed"},
	{"mcp/modern", "it refuses initialize: -32022"},
};

START_TEST(test_refused)
{
	start(refused[_i].path, "");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, refused[_i].detail);
	world_end(&world);
}
END_TEST

START_TEST(test_nobody)
{
	world_start(&world,
		_i ? "    url: \"http://no-such-host.invalid/mcp\"\n"
		   : "    url: \"http://127.0.0.1:1/mcp\"\n",
		"");
	world_until(&world, world.state == SERVER_DOWN);
	assert_contains(world.detail, _i ? "cannot resolve no-such-host.invalid"
					 : "cannot connect to 127.0.0.1:1: Connection refused");
	world_end(&world);
}
END_TEST

START_TEST(test_server_restarts)
{
	struct world_session *session;
	struct world_call *call;

	start_up("mcp");
	session = attach();
	world_tool_done(session, "echo", "{}");
	stop_server();
	world_pass(&world, 50);
	call = world_tool_done(session, "echo", "{}");
	ck_assert_uint_eq(call->code, ERR_SERVER_DOWN);
	ck_assert_uint_eq(call->executed, 0);
	start_server(); /* elsewhere; only what waits at the old place is looked at here */
	world_end(&world);
}
END_TEST

static const struct {
	const char *host, *name; /* in the address, in the certificate */
	bool trusted;
	const char *detail; /* NULL: it works */
} tls[] = {
	{"localhost", "DNS:localhost", true, NULL},
	{"127.0.0.1", "IP:127.0.0.1", true, NULL},
	{"localhost", "DNS:example.org", true, "no TLS with localhost:"},
	{"127.0.0.1", "DNS:localhost", true, "IP address mismatch"},
	{"localhost", "DNS:localhost", false, "no TLS with localhost:"},
};

START_TEST(test_tls)
{
	char dir[] = "/tmp/upstream-tls-XXXXXX", cert[64], key[64], command[512], server[128];
	struct world_session *session;
	struct world_call *call;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	snprintf(command, sizeof(command),
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "
		"%s -out %s -subj /CN=x "
		"-addext subjectAltName=%s 2>/dev/null",
		key, cert, tls[_i].name);
	ck_assert_int_eq(system(command), 0);
	stop_server();
	run_server(cert, key);
	if (tls[_i].trusted)
		setenv("SSL_CERT_FILE", cert, 1);
	snprintf(server, sizeof(server), "    url: \"https://%s:%d/sse\"\n", tls[_i].host, port);
	world_start(&world, server, "");
	world_until(&world, world.state == SERVER_UP || world.state == SERVER_DOWN);
	if (tls[_i].detail) {
		assert_contains(world.detail, tls[_i].detail);
	} else {
		session = attach();
		for (int i = 0; i < 5; i++) {
			call = world_tool_done(session, "echo", "{\"text\":\"secret\"}");
			assert_contains(call->payload, "secret");
		}
		world_tool_done(session, "push", "{}");
		world_until(&world, session->n_notes == 1);
	}
	world_end(&world);
	unlink(cert);
	unlink(key);
	rmdir(dir);
}
END_TEST

/* --- revision 2026-07-28 -------------------------------------------------------------------- */

/* Headers repeat the body as it goes to this server, and there is no session. */
START_TEST(test_fresh)
{
	struct world_session *session;
	struct world_call *call;

	start_up(_i ? "sse/fresh" : "mcp/fresh");
	ck_assert_str_eq(world.version, "2026-07-28");
	session = world_attach(&world, "a", NULL);
	call = world_tool_done(session, "zoned", "{\"region\":\"Z\\u00fcrich\"}");
	ck_assert_msg(call->kind == 0, "%s", call->payload);
	assert_contains(call->payload, "=?base64?WsO8cmljaA==?=");
	call = world_tool_done(session, "nowhere", "{}");
	ck_assert_uint_eq(call->kind, 1);
	assert_contains(call->payload, "-32601");
	world_end(&world);
}
END_TEST

/* Closing the stream is how a request is cancelled there. */
START_TEST(test_fresh_cancel)
{
	struct world_session *session;
	struct world_call *call;

	start_up("mcp/fresh");
	session = world_attach(&world, "a", NULL);
	call = world_tool(session, "hang", "{}");
	world_pass(&world, 300);
	world_cancel(session, call);
	world_until(&world, call->done);
	ck_assert_uint_eq(call->code, ERR_CANCELLED);
	world_pass(&world, 200);
	call = world_tool_done(session, "who", "{}");
	assert_contains(call->payload, "closed\\\": 1");
	world_end(&world);
}
END_TEST

START_TEST(test_fresh_listens)
{
	struct world_session *session;
	unsigned lists;

	start_up("mcp/fresh");
	session = world_attach(&world, "a", NULL);
	world_pass(&world, 200);
	lists = world.n_lists[CATALOGUE_TOOL];
	world_tool_done(session, "changed", "{}");
	world_until(&world, world.n_lists[CATALOGUE_TOOL] == lists + 1);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("upstream_http");
	TCase *all = tcase_create("http");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(all, start_server, stop_server);
	tcase_set_timeout(all, 60);
	tcase_add_loop_test(all, test_call, 0, sizeof(ways) / sizeof(*ways));
	tcase_add_test(all, test_headers);
	tcase_add_test(all, test_sessions);
	tcase_add_test(all, test_kept_connections);
	tcase_add_loop_test(all, test_forgotten, 0, sizeof(stale) / sizeof(*stale));
	tcase_add_test(all, test_doubtful);
	tcase_add_test(all, test_drop);
	tcase_add_loop_test(all, test_resume, 0, 2);
	tcase_add_test(all, test_notes);
	tcase_add_test(all, test_ask);
	tcase_add_test(all, test_cancel);
	tcase_add_loop_test(all, test_refused, 0, sizeof(refused) / sizeof(*refused));
	tcase_add_loop_test(all, test_nobody, 0, 2);
	tcase_add_test(all, test_server_restarts);
	tcase_add_loop_test(all, test_tls, 0, sizeof(tls) / sizeof(*tls));
	tcase_add_loop_test(all, test_fresh, 0, 2);
	tcase_add_test(all, test_fresh_cancel);
	tcase_add_test(all, test_fresh_listens);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
