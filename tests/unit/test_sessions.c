/* session/: the real program between a played root, gateways and workers (sessions_node.h): the
 * pool, leases, who may have which session. What survives is in test_sessions_kept.c. */
#include "sessions_node.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define PLAIN "worker: {warm: 2, per_principal: 2}\n"
#define STATE "{\"version\":\"2025-11-25\",\"clientInfo\":{\"name\":\"tester\"}}"
#define WHO "anonymous"

static struct node node;

static void start(const char *yaml)
{
	node_start(&node, yaml);
	ck_assert_msg(node.ready, "the session manager did not start");
	/* until then it waits for workers of an earlier one */
	NEVER(&node, node.closed, 260);
}

/* A session that is open, saved and live; its worker. */
static struct peer *begin(struct node *in)
{
	struct ask *ask = open_now(in, WHO, 0);
	struct peer *peer = peer_of(in, ask->instance);

	peer_save_now(peer, STATE);
	return peer;
}

static unsigned ready_workers(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < node.n_workers; i++)
		n += node.workers[i].link && node.workers[i].leases == 0;
	return n;
}

/* --- the pool ------------------------------------------------------------------------------- */

START_TEST(keeps_workers_warm)
{
	start(PLAIN);
	AWAIT(&node, ready_workers() == 2);
	NEVER(&node, node.wants > 2, 300);
	open_now(&node, WHO, 0);
	AWAIT(&node, ready_workers() == 2);
	peer_die(&node.workers[2]);
	AWAIT(&node, ready_workers() == 2);
	ck_assert_uint_eq(node.wants, 4);
	node_end(&node);
}
END_TEST

START_TEST(waits_for_a_worker)
{
	struct ask *ask;

	start("worker: {warm: 0}\n");
	node.giving = HOLD;
	ask = ask_open(&node, 0, WHO, 0);
	AWAIT(&node, node.wants == 1);
	/* one refusal is not the end */
	node_give(&node, true);
	AWAIT(&node, node.wants == 2);
	ck_assert(!ask->told);
	node_give(&node, false);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, 0);
	ck_assert_uint_eq(ask->instance, node.workers[0].instance);
	node_end(&node);
}
END_TEST

START_TEST(nobody_waits_for_ever)
{
	struct ask *refused, *held;
	uint64_t began = clock_ms();

	start("worker: {warm: 0}\n");
	node.giving = REFUSE;
	refused = ask_open(&node, 0, WHO, 0);
	AWAIT(&node, refused->told);
	ck_assert_uint_eq(refused->code, ERR_BUSY);
	ck_assert_ptr_nonnull(strstr(refused->detail, "the test gives none"));
	ck_assert_uint_le(refused->told_ms - began, 6000);
	/* asked with growing pauses, and said once */
	ck_assert_uint_lt(node.wants, 15);
	node.giving = HOLD;
	held = ask_open(&node, 0, WHO, 1);
	AWAIT(&node, held->told);
	ck_assert_uint_eq(held->code, ERR_BUSY);
	/* it is not over for ever */
	node.giving = GIVE;
	AWAIT(&node, node.wanted[0]);
	node_give(&node, false);
	open_now(&node, WHO, 0);
	node_end(&node);
}
END_TEST

START_TEST(worker_max_is_final)
{
	struct ask *ask;
	uint64_t began;

	start("worker: {warm: 1, max: 2, per_principal: 4}\n");
	open_now(&node, WHO, 0);
	open_now(&node, WHO, 1);
	began = clock_ms();
	ask = ask_open(&node, 0, WHO, 0);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, ERR_TOO_MANY);
	ck_assert_uint_lt(ask->told_ms - began, 1000);
	/* sessionless requests share what there is */
	open_now(&node, WHO, 1);
	ck_assert_uint_eq(node.wants, 2);
	/* room again */
	peer_die(&node.workers[0]);
	AWAIT(&node, node.wants == 3);
	open_now(&node, WHO, 0);
	node_end(&node);
}
END_TEST

START_TEST(session_max)
{
	struct ask *ask;
	struct peer *first;

	start("worker: {warm: 1}\nsession: {max: 2}\n");
	first = begin(&node);
	/* one that is not saved yet counts, too */
	open_now(&node, WHO, 0);
	ask = ask_open(&node, 0, WHO, 0);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, ERR_TOO_MANY);
	ck_assert_ptr_nonnull(strstr(ask->detail, "session.max"));
	peer_close(first, "deleted");
	AWAIT(&node, (admin_query(&node, "sessions"), strstr(node.reply.data, "\"count\":0")));
	open_now(&node, WHO, 0);
	node_end(&node);
}
END_TEST

START_TEST(link_refused)
{
	struct ask *ask;

	start("worker: {warm: 0}\n");
	node.deny_links = true;
	ask = ask_open(&node, 0, WHO, 0);
	AWAIT(&node, node.wants > 1);
	/* nobody would ever use it */
	ck_assert(node.workers[0].killed);
	node.deny_links = false;
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, 0);
	node_end(&node);
}
END_TEST

/* --- leases --------------------------------------------------------------------------------- */

START_TEST(opens_a_session)
{
	struct ask *ask, *again;
	struct peer *peer;

	start(PLAIN);
	ask = open_now(&node, WHO, 0);
	peer = peer_of(&node, ask->instance);
	ck_assert_uint_eq(ask->epoch, 1);
	ck_assert_str_eq(ask->session, peer->session);
	ck_assert_str_eq(peer->principal, WHO);
	ck_assert_uint_eq(peer->state.len, 0);
	ck_assert_uint_eq(peer->next_event, 1);
	ck_assert_uint_ge(strlen(ask->session), 32);
	peer_save_now(peer, STATE);
	again = find_now(&node, ask->session);
	ck_assert_uint_eq(again->code, 0);
	ck_assert_uint_eq(again->instance, ask->instance);
	ck_assert_uint_eq(again->epoch, 1);
	ck_assert_str_ne(open_now(&node, WHO, 0)->session, ask->session);
	node_end(&node);
}
END_TEST

START_TEST(worker_dies)
{
	struct peer *first, *second;
	struct ask *ask;
	char session[64];

	start(PLAIN);
	first = begin(&node);
	strcpy(session, first->session);
	first->next_event = 1024;
	peer_save_now(first, "{\"n\":2}");
	peer_log(first, 5, 3, 100);
	peer_log(first, 8, 1, 10);
	peer_save_now(first, "{\"n\":3}");
	peer_die(first);
	ask = find_now(&node, session);
	second = peer_of(&node, ask->instance);
	ck_assert_ptr_ne(second, first);
	ck_assert_uint_eq(ask->epoch, 2);
	ck_assert_uint_eq(second->epoch, 2);
	ck_assert_str_eq(second->session, session);
	ck_assert_uint_eq(second->next_event, 1024);
	ck_assert(span_is(buf_span(&second->state), "{\"n\":3}"));
	/* what was logged came before the lease */
	ck_assert_uint_eq(second->events_before, 4 * 16 + 310);
	ck_assert_uint_eq(second->events.len, second->events_before);
	node_end(&node);
}
END_TEST

/* More events than a link holds at once; those beyond the limits are gone. */
START_TEST(many_events)
{
	struct peer *first, *second;
	struct ask *ask;

	start("worker: {warm: 2}\nsession: {max_events: 100, max_event_bytes: 20MiB}\n");
	first = begin(&node);
	for (unsigned i = 0; i < 60; i++)
		peer_log(first, 1 + i * 4, 4, 64 * 1024);
	peer_save_now(first, "{}");
	peer_die(first);
	ask = find_now(&node, first->session);
	ck_assert_uint_eq(ask->code, 0);
	second = peer_of(&node, ask->instance);
	ck_assert_uint_eq(second->events_before, 100 * (16 + 64 * 1024));
	/* next_event is above what was logged, whatever the record says */
	ck_assert_uint_eq(second->next_event, 241);
	/* nor do they grow beyond max_event_bytes */
	node_configure(
		&node, "worker: {warm: 2}\nsession: {max_events: 100, max_event_bytes: 1MiB}\n");
	node_settle(&node);
	peer_log(second, 241, 1, 64 * 1024);
	peer_save_now(second, "{}");
	peer_die(second);
	ask = find_now(&node, first->session);
	ck_assert_uint_eq(peer_of(&node, ask->instance)->events_before, 13 * (16 + 64 * 1024));
	node_end(&node);
}
END_TEST

START_TEST(bad_events)
{
	struct peer *peer;
	struct ask *ask;

	start(PLAIN);
	peer = begin(&node);
	peer_log(peer, 10, 2, 5);
	/* what is there already is passed over: a worker sends all again after a restart */
	peer_log(peer, 9, 3, 5);
	peer_log(peer, 11, 2, 5);
	ck_assert(!node_logged(&node, "session.events_refused"));
	peer_log(peer, 0, 1, 5);
	peer_save_now(peer, "{}");
	peer_die(peer);
	ask = find_now(&node, peer->session);
	ck_assert_uint_eq(peer_of(&node, ask->instance)->events_before, 3 * 21);
	ck_assert(node_logged(&node, "session.events_refused"));
	node_end(&node);
}
END_TEST

START_TEST(old_epoch)
{
	struct peer *peer;

	start(PLAIN);
	peer = begin(&node);
	peer_save(peer, 77, 0, SPAN_LIT("{}"));
	AWAIT(&node, peer->saved == 2);
	ck_assert_uint_eq(peer->saved_code, ERR_FORBIDDEN);
	ck_assert_uint_eq(peer->saved_stream, 77);
	/* another's session */
	strcpy(peer->session + 5, begin(&node)->session + 5);
	peer_save(peer, 78, 1, SPAN_LIT("{}"));
	AWAIT(&node, peer->saved == 3);
	ck_assert_uint_eq(peer->saved_code, ERR_FORBIDDEN);
	node_end(&node);
}
END_TEST

/* The worker dies between LEASE and LEASE_TAKEN: the next one gets a higher epoch. */
START_TEST(dies_before_it_takes)
{
	struct peer *peer;
	struct ask *ask;

	start("worker: {warm: 1}\n");
	peer = begin(&node);
	peer_die(peer);
	node.lazy = true;
	ask = ask_find(&node, 0, peer->session, WHO);
	AWAIT(&node, node.n_workers == 3 && node.workers[1].leases == 1);
	ck_assert_uint_eq(node.workers[1].epoch, 2);
	peer_die(&node.workers[1]);
	AWAIT(&node, node.workers[2].leases == 1);
	ck_assert_uint_eq(node.workers[2].epoch, 3);
	peer_take(&node.workers[2]);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, 0);
	ck_assert_uint_eq(ask->epoch, 3);
	node_end(&node);
}
END_TEST

/* A session whose state kills workers does not kill them all. */
START_TEST(poison)
{
	struct peer *peer;
	struct ask *ask;
	unsigned killed = 0;

	start("worker: {warm: 1}\n");
	peer = begin(&node);
	peer_die(peer);
	node.lazy = true;
	ask = ask_find(&node, 0, peer->session, WHO);
	while (!ask->told) {
		node_turn(&node);
		for (unsigned i = 1; i < node.n_workers; i++)
			if (node.workers[i].leases && node.workers[i].link) {
				peer_die(&node.workers[i]);
				killed++;
			}
	}
	ck_assert_uint_eq(ask->code, ERR_INTERNAL);
	ck_assert_uint_eq(killed, 3);
	node_end(&node);
}
END_TEST

/* All workers that were ready die at once, one of them with the lease: that is not poison. */
START_TEST(many_die_at_once)
{
	struct peer *peer;
	struct ask *ask;

	start("worker: {warm: 4}\n");
	peer = begin(&node);
	AWAIT(&node, node.n_workers == 5);
	peer_die(peer);
	node.lazy = true;
	ask = ask_find(&node, 0, peer->session, WHO);
	AWAIT(&node, node.workers[1].leases == 1);
	node.lazy = false;
	for (unsigned i = 1; i < 5; i++)
		peer_vanish(&node.workers[i]);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, 0);
	node_end(&node);
}
END_TEST

START_TEST(never_taken)
{
	struct peer *peers[64];
	struct ask *asks[64];
	unsigned killed = 0;
	uint64_t began;

	start("worker: {warm: 64}\n");
	for (unsigned i = 0; i < 64; i++)
		peers[i] = begin(&node);
	for (unsigned i = 0; i < 64; i++)
		peer_vanish(peers[i]);
	node_settle(&node);
	AWAIT(&node, ready_workers() == 64);
	node.lazy = true;
	began = clock_ms();
	for (unsigned i = 0; i < 64; i++)
		asks[i] = ask_find(&node, 0, peers[i]->session, WHO);
	AWAIT(&node, ready_workers() == 64 && node.n_workers == 192);
	node.lazy = false;
	for (unsigned i = 0; i < 64; i++) {
		AWAIT(&node, asks[i]->told);
		ck_assert_msg(asks[i]->code == 0, "%s", asks[i]->detail);
		/* each once, and not the second worker with the first */
		ck_assert_uint_eq(asks[i]->epoch, 3);
		ck_assert(!peer_of(&node, asks[i]->instance)->killed);
		ck_assert_uint_lt(asks[i]->told_ms - began, 4500);
	}
	for (unsigned i = 0; i < node.n_workers; i++)
		killed += node.workers[i].killed;
	ck_assert_uint_eq(killed, 64);
	node_end(&node);
}
END_TEST

START_TEST(one_worker_for_two_gateways)
{
	struct ask *asks[8];
	struct peer *peer;
	unsigned before;

	start(PLAIN);
	peer = begin(&node);
	gate_open(&node, 1);
	peer_die(peer);
	AWAIT(&node, ready_workers() == 2);
	before = node.wants;
	for (unsigned i = 0; i < 8; i++)
		asks[i] = ask_find(&node, i % 2, peer->session, WHO);
	for (unsigned i = 0; i < 8; i++) {
		AWAIT(&node, asks[i]->told);
		ck_assert_uint_eq(asks[i]->code, 0);
		ck_assert_uint_eq(asks[i]->instance, asks[0]->instance);
		ck_assert_uint_eq(asks[i]->epoch, 2);
	}
	AWAIT(&node, ready_workers() == 2);
	ck_assert_uint_eq(node.wants, before + 1);
	node_end(&node);
}
END_TEST

START_TEST(gateway_goes)
{
	struct ask *ask;
	struct peer *peer;

	start("worker: {warm: 0}\n");
	node.giving = HOLD;
	gate_open(&node, 1);
	ask_open(&node, 1, WHO, 0);
	AWAIT(&node, node.wants == 1);
	gate_close(&node, 1);
	NEVER(&node, node.closed, 100);
	/* nobody needs that session any more: its worker is there for the next one */
	node_give(&node, false);
	NEVER(&node, node.workers[0].leases > 0, 100);
	ask = ask_open(&node, 0, WHO, 0);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->instance, node.workers[0].instance);
	/* it goes while a worker takes the lease: the session that nobody knows ends */
	node.lazy = true;
	node.giving = GIVE;
	gate_open(&node, 1);
	ask_open(&node, 1, WHO, 0);
	AWAIT(&node, node.n_workers == 2 && node.workers[1].leases == 1);
	peer = &node.workers[1];
	gate_close(&node, 1);
	NEVER(&node, node.closed, 50);
	peer_take(peer);
	AWAIT(&node, peer->dismissed);
	node_end(&node);
}
END_TEST

/* --- whose sessions ------------------------------------------------------------------------- */

static void expect_unknown(const char *session, const char *principal)
{
	struct ask *ask;

	do {
		ask = ask_find(&node, 0, session, principal);
		AWAIT(&node, ask->told);
		node_turn(&node);
	} while (ask->code == ERR_AGAIN);
	ck_assert_msg(ask->code == ERR_SESSION_UNKNOWN, "%s of %s gives %llu", session, principal,
		(unsigned long long)ask->code);
	ck_assert_str_eq(ask->session, "");
}

START_TEST(unknown_sessions)
{
	static const char *const forged[] = {"x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"../../../../etc/passwd", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"2345678901234567890123456789012345678901234567"};
	struct peer *peer, *shared;
	char session[64];

	start(PLAIN);
	for (unsigned i = 0; i < sizeof(forged) / sizeof(*forged); i++)
		expect_unknown(forged[i], WHO);
	peer = begin(&node);
	strcpy(session, peer->session);
	/* live, and idle */
	expect_unknown(session, "mallory");
	peer_die(peer);
	expect_unknown(session, "mallory");
	expect_unknown(session, "");
	ck_assert_uint_eq(find_now(&node, session)->code, 0);
	session[3] ^= 1;
	expect_unknown(session, WHO);
	/* what a principal shares is nobody's session */
	shared = peer_of(&node, open_now(&node, WHO, 1)->instance);
	expect_unknown(shared->session, WHO);
	node_end(&node);
}
END_TEST

/* A session is one of the view it was opened in, and unknown in any other; what is shared is so
 * within a view. */
START_TEST(sessions_of_views)
{
	struct peer *peer;
	char session[64];

	start(PLAIN);
	node.view = "docs";
	peer = begin(&node);
	ck_assert_str_eq(peer->view, "docs");
	strcpy(session, peer->session);
	node.view = NULL;
	expect_unknown(session, WHO);
	peer_die(peer);
	expect_unknown(session, WHO);
	node.view = "other";
	expect_unknown(session, WHO);
	node.view = "docs";
	peer = peer_of(&node, find_now(&node, session)->instance);
	ck_assert_str_eq(peer->view, "docs");
	ck_assert_str_eq(peer->session, session);
	open_now(&node, WHO, 1);
	open_now(&node, WHO, 1);
	node.view = NULL;
	peer = peer_of(&node, open_now(&node, WHO, 1)->instance);
	ck_assert_str_eq(peer->view, "");
	node_end(&node);
}
END_TEST

START_TEST(long_principals)
{
	char name[200];
	struct ask *ask;

	start(PLAIN);
	memset(name, 'p', sizeof(name));
	name[128] = '\0';
	ask = ask_open(&node, 0, name, 0);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, ERR_INVALID_ARGUMENT);
	name[127] = '\0';
	ask = open_now(&node, name, 0);
	ck_assert_str_eq(peer_of(&node, ask->instance)->principal, name);
	node_end(&node);
}
END_TEST

START_TEST(closed_is_unknown)
{
	struct peer *peer;

	start(PLAIN);
	peer = begin(&node);
	peer_log(peer, 1, 3, 50);
	peer_close(peer, "deleted");
	/* what it says after that counts for nothing */
	peer_save(peer, 9, 1, SPAN_LIT("{}"));
	AWAIT(&node, peer->saved == 2);
	ck_assert_uint_eq(peer->saved_code, ERR_FORBIDDEN);
	expect_unknown(peer->session, WHO);
	node_kill(&node);
	node_again(&node);
	expect_unknown(peer->session, WHO);
	ck_assert_uint_eq(admin_query(&node, "sessions"), 0);
	ck_assert_ptr_nonnull(strstr(node.reply.data, "\"sessions\":[],\"count\":0"));
	node_end(&node);
}
END_TEST

START_TEST(ended_workers_are_killed)
{
	struct peer *peer;

	start(PLAIN);
	peer = begin(&node);
	peer_close(peer, "idle");
	NEVER(&node, peer->killed, 5000);
	AWAIT(&node, peer->killed);
	node_end(&node);
}
END_TEST

/* --- sessionless ---------------------------------------------------------------------------- */

START_TEST(shared_workers)
{
	struct ask *asks[7], *other;
	struct peer *peer;

	start(PLAIN);
	for (unsigned i = 0; i < 6; i++)
		asks[i] = open_now(&node, WHO, 1);
	ck_assert_uint_ne(asks[0]->instance, asks[1]->instance);
	for (unsigned i = 2; i < 6; i++)
		ck_assert_uint_eq(asks[i]->instance, asks[i - 2]->instance);
	ck_assert_uint_eq(peer_of(&node, asks[0]->instance)->era, 1);
	other = open_now(&node, "somebody else", 1);
	ck_assert_uint_ne(other->instance, asks[0]->instance);
	ck_assert_uint_ne(other->instance, asks[1]->instance);
	/* nothing of theirs is stored */
	peer = peer_of(&node, asks[0]->instance);
	peer_save(peer, 3, 1, SPAN_LIT("{}"));
	AWAIT(&node, peer->saved == 1);
	ck_assert_uint_eq(peer->saved_code, ERR_FORBIDDEN);
	/* one that dies is replaced */
	peer_die(peer);
	asks[6] = open_now(&node, WHO, 1);
	if (asks[6]->instance == asks[1]->instance)
		asks[6] = open_now(&node, WHO, 1);
	ck_assert_uint_ne(asks[6]->instance, asks[1]->instance);
	ck_assert_uint_ne(asks[6]->instance, asks[0]->instance);
	node_end(&node);
}
END_TEST

/* --- people --------------------------------------------------------------------------------- */

static cJSON *listing(void)
{
	cJSON *json;

	ck_assert_uint_eq(admin_query(&node, "sessions"), 0);
	json = cJSON_Parse(node.reply.data);
	ck_assert_msg(json != NULL, "no JSON: %s", node.reply.data);
	return json;
}

START_TEST(listing_and_close)
{
	static const char *const states[] = {STATE, "{\"clientInfo\":{\"name\":\"q\\\"\\u00e9\"}}",
		"{\"version\":[1,{\"a\":2}],\"clientInfo\":7}", "not JSON {", "\"", ""};
	struct peer *peers[6];
	cJSON *json, *row;
	char tag[16];

	start("worker: {warm: 2}\n");
	for (unsigned i = 0; i < 6; i++) {
		peers[i] = peer_of(&node, open_now(&node, WHO, 0)->instance);
		peer_save_now(peers[i], states[i]);
	}
	open_now(&node, "q\"\\", 1);
	json = listing();
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "sessions")), 7);
	ck_assert_int_eq(cJSON_GetObjectItem(json, "count")->valueint, 6);
	cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "sessions"))
	{
		if (cJSON_GetObjectItem(row, "worker")->valueint == (int)peers[0]->instance)
			snprintf(tag, sizeof(tag), "%s",
				cJSON_GetObjectItem(row, "session")->valuestring);
	}
	cJSON_Delete(json);
	/* the id is a credential */
	for (unsigned i = 0; i < 6; i++)
		ck_assert_ptr_null(strstr(node.reply.data, peers[i]->session));
	ck_assert_uint_eq(admin_command(&node, "close", "nothing"), ERR_NOT_FOUND);
	ck_assert_uint_eq(admin_command(&node, "close", tag), 0);
	AWAIT(&node, peers[0]->dismissed);
	expect_unknown(peers[0]->session, WHO);
	ck_assert_uint_eq(admin_command(&node, "close", tag), ERR_NOT_FOUND);
	ck_assert_uint_eq(admin_command(&node, "explode", ""), ERR_NOT_FOUND);
	ck_assert_uint_eq(admin_query(&node, "explode"), ERR_NOT_FOUND);
	ck_assert_uint_eq(admin_query(&node, "metrics"), 0);
	ck_assert_ptr_nonnull(
		strstr(node.reply.data, "gatehouse_sessions{era=\"legacy\",state=\"live\"} 5\n"));
	ck_assert_ptr_nonnull(
		strstr(node.reply.data, "gatehouse_sessions{era=\"modern\",state=\"live\"} 1\n"));
	node_end(&node);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const tests[] = {keeps_workers_warm, waits_for_a_worker, nobody_waits_for_ever,
		worker_max_is_final, session_max, link_refused, opens_a_session, worker_dies,
		many_events, bad_events, old_epoch, dies_before_it_takes, poison,
		many_die_at_once, never_taken, one_worker_for_two_gateways, gateway_goes, unknown_sessions, sessions_of_views,
		long_principals,
		closed_is_unknown, ended_workers_are_killed, shared_workers, listing_and_close};
	Suite *s = suite_create("sessions");
	TCase *tc = tcase_create("sessions");

	tcase_set_timeout(tc, 60);
	for (unsigned i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
