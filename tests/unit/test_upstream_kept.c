/*
 * Processes of a server that outlive the upstream worker in front of them: it is killed with -9,
 * and the next one goes on. The real program and real child processes; the root, which keeps pipes
 * and states, is played by the test.
 */
#include "clock.h"
#include "upstream_world.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SESSION "    command: /bin/true\n    isolation: session\n"
#define SHARED "    command: /bin/true\n    isolation: shared\n"
#define LENIENT SCRIPTED " --lenient"
#define WHO(more) \
	"{\"capabilities\":{\"sampling\":{}},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}" more "}"
#define META(can) \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
	"\"io.modelcontextprotocol/clientCapabilities\":" can "}"

static struct world world;

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(
		text && strstr(text, part), "'%s' is not in '%s'", part, text ? text : "(nothing)");
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

static void start_up(const char *server, const char *command)
{
	world_start(&world, server, command);
	world_until(&world, world.state == SERVER_UP);
}

/* What the server answers to this tool. */
static char *text_of(struct world_session *session, const char *tool)
{
	struct world_call *call = world_tool_done(session, tool, "{}");

	ck_assert_msg(call->kind == 0, "%s: %s", tool, call->detail);
	return strdup(call->payload);
}

static void kill_and_start(void)
{
	world_kill(&world);
	world_start_again(&world);
}

static struct world_child *child_of(const char *pid_answer)
{
	for (unsigned i = 0; i < world.n_children; i++) {
		char pid[24];

		snprintf(pid, sizeof(pid), "\"%d\"", (int)world.children[i].pid);
		if (world.children[i].pid && strstr(pid_answer, pid))
			return &world.children[i];
	}
	ck_abort_msg("no process answers %s", pid_answer);
}

static struct world_call *done(struct world_call *call)
{
	world_until(&world, call->done);
	return call;
}

/* --- a session's own process ----------------------------------------------------------------- */

START_TEST(test_goes_on)
{
	struct world_session *a, *b;
	char *pid_a, *pid_b, *now, *state;

	start_up(SESSION, LENIENT);
	a = world_attach(&world, "session-a", NULL);
	b = world_attach(&world, "session-b", NULL);
	pid_a = text_of(a, "pid");
	pid_b = text_of(b, "pid");
	ck_assert_str_ne(pid_a, pid_b);
	for (int i = 0; i < 5; i++) {
		kill_and_start();
		b = world_attach(&world, "session-b", NULL);
		a = world_attach(&world, "session-a", NULL);
		now = text_of(a, "pid");
		ck_assert_str_eq(now, pid_a);
		free(now);
		now = text_of(b, "pid");
		ck_assert_str_eq(now, pid_b);
		free(now);
	}
	/* it was told nothing but that the handshake is over, once */
	state = text_of(a, "state");
	ck_assert_uint_eq(count(state, "initialized"), 1);
	ck_assert_uint_eq(count(state, "method"), 1);
	ck_assert_uint_eq(count(state, "no message"), 0);
	free(state);
	free(pid_a);
	free(pid_b);
	world_end(&world);
}
END_TEST

/* Neither another session nor another principal gets it. */
START_TEST(test_nobody_elses)
{
	char *pid, *other;

	start_up(SESSION, SCRIPTED);
	pid = text_of(world_attach(&world, "session-a", NULL), "pid");
	kill_and_start();
	other = text_of(world_attach(&world, "session-b", NULL), "pid");
	ck_assert_str_ne(other, pid);
	free(other);
	other = text_of(world_attach_modern(&world, "session-a", "p"), "pid");
	ck_assert_str_ne(other, pid);
	free(other);
	other = text_of(world_attach(&world, "session-a", NULL), "pid");
	ck_assert_str_eq(other, pid);
	free(other);
	free(pid);
	world_end(&world);
}
END_TEST

/* What the dead one had asked is answered to nobody, and nobody's answer is another's. */
START_TEST(test_late_answers)
{
	struct world_session *a;
	struct world_call *slow, *echo;

	start_up(SESSION, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	slow = world_tool(a, "slow", "{\"ms\":300}");
	world_until(&world, slow->forwarded);
	free(text_of(a, "pid"));
	kill_and_start();
	ck_assert(!slow->done);
	a = world_attach(&world, "session-a", NULL);
	for (int i = 0; i < 20; i++) {
		echo = world_tool_done(a, "echo", "{\"text\":\"mine\"}");
		assert_contains(echo->payload, "mine");
		world_pass(&world, 25);
	}
	world_end(&world);
}
END_TEST

/* The successor reads the rest of a line, and of one that it was to end. */
START_TEST(test_half_lines)
{
	static const char half[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"met";
	struct world_session *a;
	struct world_call *cut;
	struct world_child *child;
	char *pid, *state;

	start_up(SESSION, LENIENT);
	a = world_attach(&world, "session-a", NULL);
	pid = text_of(a, "pid");
	child = child_of(pid);
	cut = world_tool(a, "cut", "{\"text\":\"a text that takes the server some time to write\"}");
	world_until(&world, cut->forwarded);
	world_pass(&world, 15);
	world_kill(&world);
	ck_assert(!cut->done);
	ck_assert_int_eq(write(child->pipes[0], half, strlen(half)), (ssize_t)strlen(half));
	child->amid = true;
	world_start_again(&world);
	a = world_attach(&world, "session-a", NULL);
	assert_contains(world_tool_done(a, "echo", "{\"text\":\"whole\"}")->payload, "whole");
	state = text_of(a, "state");
	ck_assert_uint_eq(count(state, "no message"), 1);
	free(state);
	assert_contains(world_query(&world, "metrics"),
		"gatehouse_server_stdout_invalid_lines_total{server=\"s\"} 0");
	world_until(&world, !child->amid);
	free(pid);
	world_end(&world);
}
END_TEST

/* A long line is announced, and then it is over. */
START_TEST(test_long_lines)
{
	struct world_session *a;
	struct world_child *child;
	char *pid, *text = malloc(300000), *arguments = malloc(300100);

	memset(text, 'x', 299999);
	text[299999] = '\0';
	snprintf(arguments, 300100, "{\"name\":\"echo\",\"arguments\":{\"text\":\"%s\"}}", text);
	start_up(SESSION, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	pid = text_of(a, "pid");
	child = child_of(pid);
	ck_assert_uint_eq(child->n_amid, 0);
	for (int i = 0; i < 3; i++)
		assert_contains(
			done(world_call(a, "tools/call", arguments, 10000, false))->payload, text);
	world_until(&world, child->n_amid == 6);
	ck_assert(!child->amid);
	free(pid);
	free(text);
	free(arguments);
	world_end(&world);
}
END_TEST

/* Level and subscriptions are as they were, without a word. */
START_TEST(test_restored)
{
	struct world_session *a;
	struct world_call *update;
	char *state;

	start_up(SESSION, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	done(world_call(a, "resources/subscribe", "{\"uri\":\"test://a\"}", 5000, true));
	done(world_call(a, "resources/subscribe", "{\"uri\":\"test://b\"}", 5000, true));
	link_send(a->link, MSG_CLIENT_NOTE, 0,
		&(struct msg_client_note){.method = SPAN_LIT("logging/setLevel")},
		SPAN_LIT("{\"level\":\"error\"}"), NULL);
	free(text_of(a, "pid"));
	world_pass(&world, 100);
	kill_and_start();
	a = world_attach_again(&world, "session-a", "2025-06-18",
		WHO(",\"subscriptions\":[\"test://a\"]"));
	update = world_tool_done(a, "update", "{\"text\":\"test://a\"}");
	ck_assert_uint_eq(update->kind, 0);
	ck_assert_uint_eq(a->n_notes, 1);
	/* the client had ended this one meanwhile */
	world_pass(&world, 100);
	state = text_of(a, "state");
	ck_assert_uint_eq(count(state, "resources/subscribe"), 2);
	ck_assert_uint_eq(count(state, "resources/unsubscribe"), 1);
	ck_assert_uint_eq(count(state, "logging/setLevel"), 1);
	free(state);
	world_end(&world);
}
END_TEST

/* What the server says while nobody is there waits for its session. */
START_TEST(test_nothing_is_missed)
{
	static const char call[] =
		"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":{\"name\":"
		"\"update\",\"arguments\":{\"text\":\"test://a\"}}}\n";
	struct world_session *a;
	char *pid;

	start_up(SESSION, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	done(world_call(a, "resources/subscribe", "{\"uri\":\"test://a\"}", 5000, true));
	pid = text_of(a, "pid");
	world_pass(&world, 100);
	world_kill(&world);
	ck_assert_int_eq(write(child_of(pid)->pipes[0], call, strlen(call)), (ssize_t)strlen(call));
	world_start_again(&world);
	world_pass(&world, 200);
	a = world_attach_again(
		&world, "session-a", "2025-06-18", WHO(",\"subscriptions\":[\"test://a\"]"));
	world_until(&world, a->n_notes == 1);
	assert_contains(a->last_note, "notifications/resources/updated");
	free(pid);
	world_end(&world);
}
END_TEST

/* The server asked its client something: it is told that no answer will come. */
START_TEST(test_open_question)
{
	struct world_session *a;
	struct world_call *ask;
	char *state;

	start_up(SESSION, LENIENT);
	a = world_attach(&world, "session-a", WHO(""));
	ask = world_tool(a, "ask", "{\"text\":\"sampling/createMessage\"}");
	world_until(&world, a->n_asks == 1);
	kill_and_start();
	ck_assert(!ask->done);
	a = world_attach(&world, "session-a", WHO(""));
	state = text_of(a, "state");
	ck_assert_uint_eq(count(state, "executed"), 1);
	assert_contains(state, "process_died");
	free(state);
	/* and once */
	world_pass(&world, 500);
	kill_and_start();
	a = world_attach(&world, "session-a", WHO(""));
	state = text_of(a, "state");
	ck_assert_uint_eq(count(state, "executed"), 1);
	free(state);
	/* it may ask again */
	world_tool(a, "ask", "{\"text\":\"sampling/createMessage\"}");
	world_until(&world, a->n_asks == 1);
	world_end(&world);
}
END_TEST

/* A session that does not come back: its process is collected, or makes room. */
START_TEST(test_absent)
{
	char *pid;

	start_up(SESSION "    idle: 1s\n", SCRIPTED);
	pid = text_of(world_attach(&world, "session-a", NULL), "pid");
	kill_and_start();
	ck_assert_uint_ge(world_alive(&world), 1);
	world_until(&world, !world_alive(&world));
	free(pid);
	world_end(&world);
}
END_TEST

START_TEST(test_absent_makes_room)
{
	struct world_session *b;
	struct world_call *call;

	start_up(SESSION "    max: 1\n", SCRIPTED);
	free(text_of(world_attach(&world, "session-a", NULL), "pid"));
	kill_and_start();
	b = world_attach(&world, "session-b", NULL);
	call = world_tool_done(b, "pid", "{}");
	ck_assert_uint_eq(call->kind, 2);
	ck_assert_uint_eq(call->code, ERR_SERVER_CAPACITY);
	world_pass(&world, 10100);
	free(text_of(b, "pid"));
	ck_assert_uint_eq(world_alive(&world), 1);
	world_end(&world);
}
END_TEST

/* It ends by itself while it waits, or when it was taken up. */
START_TEST(test_dies_meanwhile)
{
	struct world_session *a;
	struct world_child *child;
	char *pid, *now;

	start_up(SESSION, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	pid = text_of(a, "pid");
	child = child_of(pid);
	if (_i == 0) {
		kill_and_start();
		kill(child->pid, SIGKILL);
		world_until(&world, !child->pid);
		world_pass(&world, 200);
	} else {
		world_kill(&world);
		kill(child->pid, SIGKILL);
		world_until(&world, !child->pid);
		world_start_again(&world);
	}
	a = world_attach(&world, "session-a", NULL);
	now = text_of(a, "pid");
	ck_assert_str_ne(now, pid);
	free(pid);
	free(now);
	world_end(&world);
}
END_TEST

/* A state that is none: the process ends, and the session gets another. */
static const char *const bad_states[] = {
	"{}", "[1]", "nonsense", "{\"v\":2}",
	"{\"v\":1,\"kind\":\"session\",\"version\":\"2025-06-18\",\"facts\":{}}",
	"{\"v\":1,\"kind\":\"shared\",\"version\":\"2025-06-18\",\"facts\":{}}",
	"{\"v\":1,\"kind\":\"pool\",\"version\":\"1\",\"facts\":{},\"principal\":\"p\"}"};

START_TEST(test_bad_state)
{
	struct world_session *a;
	char *pid, *now;

	start_up(SESSION, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	pid = text_of(a, "pid");
	world_kill(&world);
	free(child_of(pid)->state);
	child_of(pid)->state = strdup(bad_states[_i]);
	world_start_again(&world);
	a = world_attach(&world, "session-a", NULL);
	now = text_of(a, "pid");
	ck_assert_str_ne(now, pid);
	free(pid);
	free(now);
	world_end(&world);
}
END_TEST

/* --- one process for several ------------------------------------------------------------------- */

START_TEST(test_shared)
{
	struct world_session *a, *b;
	char *pid, *now, *state;
	unsigned lists;

	start_up(SHARED, SCRIPTED);
	a = world_attach(&world, "session-a", NULL);
	b = world_attach(&world, "session-b", NULL);
	done(world_call(a, "resources/subscribe", "{\"uri\":\"test://a\"}", 5000, true));
	done(world_call(b, "resources/subscribe", "{\"uri\":\"test://b\"}", 5000, true));
	pid = text_of(a, "pid");
	world_pass(&world, 100);
	world.state = SERVER_STARTING;
	lists = world.n_lists[CATALOGUE_TOOL];
	kill_and_start();
	world_until(&world, world.state == SERVER_UP);
	ck_assert_uint_gt(world.n_lists[CATALOGUE_TOOL], lists);
	assert_contains(world.facts, "\"instructions\":\"Say what to do.\"");
	a = world_attach_again(
		&world, "session-a", "2025-06-18", WHO(",\"subscriptions\":[\"test://a\"]"));
	b = world_attach_again(&world, "session-c", "2025-06-18", WHO(""));
	now = text_of(b, "pid");
	ck_assert_str_eq(now, pid);
	world_tool_done(b, "update", "{\"text\":\"test://a\"}");
	world_until(&world, a->n_notes == 1);
	/* session-b does not come back */
	world_pass(&world, 10500);
	state = text_of(a, "state");
	ck_assert_uint_eq(count(state, "resources/subscribe"), 2);
	ck_assert_uint_eq(count(state, "resources/unsubscribe"), 1);
	ck_assert_uint_eq(count(state, "initialized"), 1);
	ck_assert_uint_eq(world.n_children, 1);
	free(state);
	free(pid);
	free(now);
	world_end(&world);
}
END_TEST

START_TEST(test_principal)
{
	struct world_session *p;
	char *pid, *now;

	start_up(SESSION, _i ? SCRIPTED " --modern" : SCRIPTED);
	p = world_attach_modern(&world, "one", "p");
	pid = strdup(world_tool_done(p, "pid", "{}")->payload);
	for (int i = 0; i < 3; i++) {
		kill_and_start();
		now = text_of(world_attach_modern(&world, "other", "p"), "pid");
		assert_contains(now, "\"text\":");
		ck_assert_ptr_eq(child_of(now), child_of(pid));
		free(now);
	}
	now = text_of(world_attach_modern(&world, "one", "q"), "pid");
	ck_assert_ptr_ne(child_of(now), child_of(pid));
	free(now);
	free(pid);
	world_end(&world);
}
END_TEST

/* A process that waits for the answer to a question of a call: the next question could not be told
 * from one of the next call. */
START_TEST(test_busy)
{
	struct world_session *p;
	struct world_call *ask;
	struct world_child *child;
	char *pid;

	start_up(SESSION, SCRIPTED);
	p = world_attach_modern(&world, "one", "p");
	pid = strdup(done(world_call(p, "tools/call",
		"{\"name\":\"pid\",\"arguments\":{}," META("{\"sampling\":{}}") "}", 5000, false))
			     ->payload);
	child = child_of(pid);
	ask = done(world_call(p, "tools/call",
		"{\"name\":\"ask\",\"arguments\":{\"text\":\"sampling/createMessage\"},"
		META("{\"sampling\":{}}") "}", 5000, false));
	assert_contains(ask->payload, "input_required");
	ck_assert(child->busy);
	kill_and_start();
	world_until(&world, !child->pid);
	free(pid);
	world_end(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("upstream kept");
	TCase *t = tcase_create("kept");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_goes_on);
	tcase_add_test(t, test_nobody_elses);
	tcase_add_test(t, test_late_answers);
	tcase_add_test(t, test_half_lines);
	tcase_add_test(t, test_long_lines);
	tcase_add_test(t, test_restored);
	tcase_add_test(t, test_nothing_is_missed);
	tcase_add_test(t, test_open_question);
	tcase_add_test(t, test_absent);
	tcase_add_test(t, test_absent_makes_room);
	tcase_add_loop_test(t, test_dies_meanwhile, 0, 2);
	tcase_add_loop_test(t, test_bad_state, 0, sizeof(bad_states) / sizeof(*bad_states));
	tcase_add_test(t, test_shared);
	tcase_add_loop_test(t, test_principal, 0, 2);
	tcase_add_test(t, test_busy);
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
