/* Session workers: what dies around them, and their own end.
 * The real program, see worker_scene.h. */
#include "worker_scene.h"

#include <signal.h>
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

#define CALL(id, name) \
	"{\"jsonrpc\":\"2.0\",\"id\":" id \
	",\"method\":\"tools/call\",\"params\":{\"name\":\"" name "\"}}"
#define PING "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}"
#define RESULT(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"
#define LEVEL(level) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"logging/" \
	"setLevel\",\"params\":{\"level\":\"" level "\"}}"

/* --- the upstream worker dies --------------------------------------------------------------- */

static const struct {
	const char *name;
	bool forwarded; /* CALL_FORWARDED had come */
	bool again;     /* it is sent to the successor */
} deaths[] = {
	{"alpha__echo", false, true},
	{"alpha__echo", true, false},
	{"alpha__read", true, true},
	{"alpha__idem1", true, true},
};

START_TEST(test_upstream_dies)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	char body[256];
	struct answer *answer;
	struct call *call;

	snprintf(body, sizeof(body), CALL("1", "%s"), deaths[_i].name);
	answer = post(subject, body);
	call = call_wait(&scene);
	if (deaths[_i].forwarded)
		call_forwarded(call);
	WAIT_FOR(&scene, link_flush(call->server->link));
	scene_settle(&scene, 20);
	server_dies(call->server);
	call->stream = 0;
	if (!deaths[_i].again) {
		answer_has(answer, 200,
			"\"reason\":\"process_died\",\"retryable\":true,\"executed\":\"unknown\"");
		ck_assert_uint_eq(answer->executed, 2);
		scene_settle(&scene, 100);
		ck_assert_uint_eq(scene.n_calls, 1);
		return;
	}
	call = call_wait(&scene);
	ck_assert_uint_eq(call->server->opened, 2);
	ck_assert_uint_eq(call->server->attached, 2);
	call_result(call, "{\"n\":2}");
	answer_is(answer, 200, RESULT("1", "{\"n\":2}"));
	/* the gateway need not know twice */
	ck_assert_uint_le(answer->forwards, 1);
}
END_TEST

/* One that is being replaced, by a reload say, takes nothing new: the successor gets it. */
START_TEST(test_upstream_drains)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *first = post(subject, CALL("1", "alpha__echo")), *second;
	struct call *call = call_wait(&scene);
	struct played *alpha = call->server;

	call_failed(call, ERR_DRAINING, 0);
	scene_settle(&scene, 50);
	second = post(subject, CALL("2", "alpha__echo"));
	scene_settle(&scene, 100);
	ck_assert(!first->done && !second->done);
	ck_assert_uint_eq(scene.n_calls, 1);
	server_dies(alpha);
	call_result(call_wait(&scene), "{\"n\":1}");
	call_result(call_wait(&scene), "{\"n\":2}");
	answer_is(first, 200, RESULT("1", "{\"n\":1}"));
	answer_is(second, 200, RESULT("2", "{\"n\":2}"));
}
END_TEST

/* One that dies over and over is not asked for ever. */
START_TEST(test_upstream_keeps_dying)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer = post(subject, CALL("1", "alpha__read"));

	for (int i = 0; i < 3; i++) {
		struct call *call = call_wait(&scene);

		server_dies(call->server);
		call->stream = 0;
	}
	answer_has(answer, 200, "process_died");
	ck_assert_uint_eq(scene.n_calls, 3);
}
END_TEST

START_TEST(test_upstream_returns)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer;

	scene.no_upstreams = true;
	answer = post(subject, CALL("1", "alpha__echo"));
	WAIT_FOR(&scene, subject->links_asked >= 3);
	scene.no_upstreams = false;
	call_result(call_wait(&scene), "{}");
	answer_has(answer, 200, RESULT("1", "{}"));
}
END_TEST

START_TEST(test_upstream_stays_away)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	uint64_t began = scene_now();
	struct answer *answer;

	scene.no_upstreams = true;
	answer = post(subject, CALL("1", "alpha__echo"));
	answer_has(
		answer, 200, "\"reason\":\"server_down\",\"retryable\":true,\"executed\":\"no\"");
	ck_assert_uint_ge(scene_now() - began, 4900);
	ck_assert_uint_lt(scene_now() - began, 8000);
	ck_assert(!answer->forwarded);
	/* later calls wait anew */
	scene.no_upstreams = false;
	answer = post(subject, CALL("2", "alpha__echo"));
	call_result(call_wait(&scene), "{}");
	answer_has(answer, 200, RESULT("2", "{}"));
}
END_TEST

/* executed of CALL_DONE: not, yes (its result cannot be passed on), unknown. */
START_TEST(test_call_fails)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer = post(subject, CALL("1", "alpha__echo"));

	call_failed(call_wait(&scene), ERR_SERVER_CAPACITY, (unsigned)_i);
	answer_has(answer, 200, "\"reason\":\"server_capacity\",\"retryable\":true,\"executed\":");
	answer_has(answer, 200, _i == 0 ? "\"executed\":\"no\"" : "\"executed\":\"unknown\"");
	answer_has(answer, 200, "as the upstream worker says");
}
END_TEST

/* --- a gateway dies ------------------------------------------------------------------------- */

START_TEST(test_gateway_dies)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *answer = post(subject, CALL("1", "alpha__echo"));
	struct call *call = call_wait(&scene);
	char id[80];

	WAIT_FOR(&scene, answer->data.len);
	snprintf(id, sizeof(id), "%s", answer_last_id(answer));
	link_free(subject->gateways[0]);
	subject->gateways[0] = NULL;
	scene_settle(&scene, 50);
	ck_assert(!call->cancelled);
	call_result(call, "{\"n\":1}");
	answer = exchange(subject, "",
		(struct options){.verb = 2, .accept = 2, .last_event_id = id, .gateway = 1});
	answer_has(answer, 200, RESULT("1", "{\"n\":1}"));
}
END_TEST

/* --- the session manager dies --------------------------------------------------------------- */

static void sessions_die(struct subject *subject)
{
	link_free(subject->sessions);
	subject->sessions = NULL;
}

START_TEST(test_sessions_return)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *answer = post(subject, CALL("1", "alpha__echo"));
	struct call *call = call_wait(&scene);
	unsigned taken = subject->taken, saves;

	WAIT_FOR(&scene, answer->data.len);
	scene.no_sessions = true;
	sessions_die(subject);
	WAIT_FOR(&scene, subject->sessions_asked >= 3);
	/* nothing that runs is held up */
	call_note(call, "notifications/message", "{\"level\":\"error\",\"data\":\"meanwhile\"}");
	WAIT_FOR(&scene, strstr(answer_text(answer), "meanwhile"));
	answer_is(post(subject, LEVEL("error")), 200, RESULT("1", "{}"));
	saves = subject->saves;
	buf_clear(&subject->events);
	scene.no_sessions = false;
	WAIT_FOR(&scene, subject->taken > taken);
	ck_assert_uint_eq(subject->epoch, 1);
	WAIT_FOR(&scene, subject->saves > saves && strstr(subject->state.data, "\"logLevel\":5"));
	WAIT_FOR(&scene, memmem(subject->events.data, subject->events.len, "meanwhile", 9));
	call_result(call, "{}");
	answer_has(answer, 200, RESULT("1", "{}"));
}
END_TEST

/* initialize waits for its save. */
START_TEST(test_sessions_die_during_initialize)
{
	struct subject *subject = scene_worker(&scene);
	struct answer *answer;

	subject_lease(subject, "session-1", 1, 0, "", 1);
	subject->hold_saves = true;
	answer = post(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":"
			       "{\"protocolVersion\":\"2025-06-18\"}}");
	WAIT_FOR(&scene, subject->saves == 1);
	sessions_die(subject);
	subject->hold_saves = false;
	answer_has(answer, 200, "protocolVersion");
	ck_assert_uint_ge(subject->taken, 2);
}
END_TEST

/* The new manager has given the session to another worker. */
START_TEST(test_claim_refused)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	const struct msg_session_close close = {.session = SPAN_LIT("session-1"), .epoch = 1};
	unsigned taken = subject->taken;

	sessions_die(subject);
	WAIT_FOR(&scene, subject->taken > taken);
	link_post(subject->sessions, MSG_SESSION_CLOSE, 0, &close);
	ck_assert_int_eq(subject_wait_exit(subject), 0);
	ck_assert_str_eq(subject->closed, "");
}
END_TEST

START_TEST(test_save_refused)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");

	subject->save_code = ERR_FORBIDDEN;
	answer_is(post(subject, LEVEL("error")), 200, RESULT("1", "{}"));
	ck_assert_int_eq(subject_wait_exit(subject), 0);
}
END_TEST

/* Requests are served without one; the new one is told of the worker. */
START_TEST(test_modern_without_sessions)
{
	struct subject *subject = scene_modern(&scene);
	unsigned taken = subject->taken;

	scene.no_sessions = true;
	sessions_die(subject);
	WAIT_FOR(&scene, subject->sessions_asked >= 2);
	answer_has(post(subject, PING), 400, "-32602");
	scene.no_sessions = false;
	WAIT_FOR(&scene, subject->taken > taken);
	ck_assert_str_eq(subject->claimed, "anonymous 1");
	ck_assert_uint_eq(subject->saves, 0);
}
END_TEST

/* A warm worker without anybody who could want it. */
START_TEST(test_unleased)
{
	struct subject *subject = scene_worker(&scene);

	sessions_die(subject);
	ck_assert_int_eq(subject_wait_exit(subject), 0);
}
END_TEST

/* --- the end -------------------------------------------------------------------------------- */

START_TEST(test_delete)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *stream = exchange(subject, "", (struct options){.verb = 2, .accept = 2});
	struct answer *running = post(subject, CALL("1", "alpha__echo")), *deleted, *late;
	struct call *call = call_wait(&scene);

	WAIT_FOR(&scene, stream->head);
	deleted = exchange(subject, "", (struct options){.verb = 3});
	late = post(subject, PING);
	answer_is(deleted, 204, "");
	answer_has(late, 404, "session_unknown");
	answer_has(running, 200, "\"executed\":\"unknown\"");
	answer_wait(stream);
	ck_assert_int_eq(subject_wait_exit(subject), 0);
	ck_assert_str_eq(subject->closed, "deleted");
	ck_assert_uint_eq(call->server->detached, 1);
	ck_assert(call->cancelled);
}
END_TEST

/* The session manager is told once it is back. */
START_TEST(test_delete_without_sessions)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");

	scene.no_sessions = true;
	sessions_die(subject);
	answer_is(exchange(subject, "", (struct options){.verb = 3}), 204, "");
	scene_settle(&scene, 200);
	ck_assert_str_eq(subject->closed, "");
	scene.no_sessions = false;
	ck_assert_int_eq(subject_wait_exit(subject), 0);
	ck_assert_str_eq(subject->closed, "deleted");
}
END_TEST

START_TEST(test_stop)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *stream = exchange(subject, "", (struct options){.verb = 2, .accept = 2});
	struct answer *running = post(subject, CALL("1", "alpha__echo"));
	struct call *call = call_wait(&scene);
	const struct msg_stop stop = {.deadline_ms = 5000};

	WAIT_FOR(&scene, stream->head);
	link_post(subject->root, MSG_STOP, 0, &stop);
	answer_wait(stream);
	scene_settle(&scene, 300);
	ck_assert(!running->done);
	call_result(call, "{\"n\":1}");
	answer_has(running, 200, "{\"n\":1}");
	ck_assert_int_eq(subject_wait_exit(subject), 0);
	/* the session lives on */
	ck_assert_str_eq(subject->closed, "");
}
END_TEST

START_TEST(test_idle)
{
	struct scene quick;
	struct subject *subject;
	struct answer *stream;

	scene_start(&quick, "session: {idle: 400ms}\nservers: {alpha: {command: /bin/true}}\n");
	subject = scene_session(&quick, "2025-06-18", "{}");
	scene_settle(&quick, 250);
	answer_wait(post(subject, PING));
	scene_settle(&quick, 250);
	stream = exchange(subject, "", (struct options){.verb = 2, .accept = 2});
	scene_settle(&quick, 700);
	ck_assert_str_eq(subject->closed, "");
	answer_close(stream);
	ck_assert_int_eq(subject_wait_exit(subject), 0);
	ck_assert_str_eq(subject->closed, "idle");
	scene_end(&quick);
}
END_TEST

/* --- the zygote and the jail ---------------------------------------------------------------- */

START_TEST(test_many)
{
	struct subject *subjects[20];

	for (int i = 0; i < 20; i++)
		subjects[i] = scene_fork(&scene);
	for (int i = 0; i < 20; i++)
		WAIT_FOR(&scene, subjects[i]->ready && subjects[i]->pid);
	/* the zygote's death is nothing to them */
	kill(scene.zygote_pid, SIGKILL);
	scene.zygote_killed = true;
	scene_settle(&scene, 50);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(kill(subjects[i]->pid, 0), 0);
}
END_TEST

START_TEST(test_is_jailed)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	char path[64], line[256];
	int mode = -1, no_new = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)subject->pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "Seccomp: %d", &mode);
		sscanf(line, "NoNewPrivs: %d", &no_new);
	}
	fclose(file);
#ifdef __SANITIZE_ADDRESS__
	ck_assert_int_eq(mode, 0);
#else
	ck_assert_int_eq(mode, 2);
	ck_assert_int_eq(no_new, 1);
#endif
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("worker faults");
	TCase *t = tcase_create("faults");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_upstream_dies, 0, sizeof(deaths) / sizeof(*deaths));
	tcase_add_test(t, test_upstream_drains);
	tcase_add_test(t, test_upstream_keeps_dying);
	tcase_add_test(t, test_upstream_returns);
	tcase_add_test(t, test_upstream_stays_away);
	tcase_add_loop_test(t, test_call_fails, 0, 3);
	tcase_add_test(t, test_gateway_dies);
	tcase_add_test(t, test_sessions_return);
	tcase_add_test(t, test_sessions_die_during_initialize);
	tcase_add_test(t, test_claim_refused);
	tcase_add_test(t, test_save_refused);
	tcase_add_test(t, test_modern_without_sessions);
	tcase_add_test(t, test_unleased);
	tcase_add_test(t, test_delete);
	tcase_add_test(t, test_delete_without_sessions);
	tcase_add_test(t, test_stop);
	tcase_add_test(t, test_idle);
	tcase_add_test(t, test_many);
	tcase_add_test(t, test_is_jailed);
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
