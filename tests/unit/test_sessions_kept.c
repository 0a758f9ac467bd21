/* session/: what survives: kill -9 and restart of the session manager, a boot, damaged files, a
 * full disk; how it does with ten thousand sessions. The real program in a played node. */
#include "sessions_node.h"
#include "store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLAIN "worker: {warm: 2, per_principal: 2}\n"
#define WHO "anonymous"
#define GRACE_MS 300

static struct node node;

static void start(const char *yaml)
{
	node_start(&node, yaml);
	ck_assert_msg(node.ready, "the session manager did not start");
	NEVER(&node, node.closed, GRACE_MS);
}

static struct peer *begin(const char *state)
{
	struct peer *peer = peer_of(&node, open_now(&node, WHO, 0)->instance);

	peer_save_now(peer, state);
	return peer;
}

/* The session goes to a fresh worker, which gets this state. */
static struct peer *expect_state(const char *session, uint64_t epoch, const char *state)
{
	struct ask *ask = find_now(&node, session);
	struct peer *peer;

	ck_assert_msg(ask->code == 0, "%s: %s", session, ask->detail);
	peer = peer_of(&node, ask->instance);
	ck_assert_uint_eq(ask->epoch, epoch);
	ck_assert_msg(span_is(buf_span(&peer->state), state), "state %.*s instead of %s",
		(int)peer->state.len, peer->state.data, state);
	return peer;
}

static void restart(void)
{
	node_kill(&node);
	node_again(&node);
	ck_assert_msg(node.ready, "the session manager did not come back");
}

/* --- restart -------------------------------------------------------------------------------- */

START_TEST(sessions_come_back)
{
	struct peer *peer;
	char session[64];

	start(PLAIN);
	peer = begin("{\"a\":1}");
	strcpy(session, peer->session);
	peer_log(peer, 1, 3, 10);
	peer_save_now(peer, "{\"a\":2}");
	restart();
	peer = expect_state(session, 2, "{\"a\":2}");
	ck_assert_uint_eq(peer->events_before, 3 * 26);
	/* the lease of epoch 2 saved nothing: the next is higher all the same */
	restart();
	peer = expect_state(session, 3, "{\"a\":2}");
	peer_close(peer, "deleted");
	peer_save_now(peer_of(&node, open_now(&node, WHO, 0)->instance), "{}");
	restart();
	ck_assert_uint_eq(find_now(&node, session)->code, ERR_SESSION_UNKNOWN);
	node_end(&node);
}
END_TEST

START_TEST(workers_claim)
{
	struct peer *legacy, *shared;
	struct ask *ask;

	start(PLAIN);
	legacy = begin("{}");
	shared = peer_of(&node, open_now(&node, WHO, 1)->instance);
	node_kill(&node);
	node_again(&node);
	/* until it has claimed, the gateway is told to ask again */
	ask = ask_find(&node, 0, legacy->session, WHO);
	AWAIT(&node, ask->told);
	ck_assert_uint_eq(ask->code, ERR_AGAIN);
	peer_reconnect(legacy);
	peer_claim(legacy, legacy->session, 1, WHO, 0);
	peer_reconnect(shared);
	peer_claim(shared, shared->session, 1, WHO, 1);
	ask = find_now(&node, legacy->session);
	ck_assert_uint_eq(ask->code, 0);
	ck_assert_uint_eq(ask->instance, legacy->instance);
	ck_assert_uint_eq(ask->epoch, 1);
	peer_save_now(legacy, "{\"after\":true}");
	/* it sends its events again, known ones and new ones */
	peer_log(legacy, 1, 5, 10);
	peer_log(legacy, 1, 9, 10);
	peer_save_now(legacy, "{\"after\":true}");
	do {
		ask = open_now(&node, WHO, 1);
	} while (ask->instance != shared->instance);
	ck_assert(!legacy->dismissed && !shared->dismissed);
	peer_die(legacy);
	ck_assert_uint_eq(
		expect_state(legacy->session, 2, "{\"after\":true}")->events_before, 9 * 26);
	node_end(&node);
}
END_TEST

START_TEST(stale_claims)
{
	struct peer *stale, *fresh, *closed;
	struct ask *ask;

	start(PLAIN);
	stale = begin("{}");
	closed = begin("{}");
	node_kill(&node);
	node_again(&node);
	ck_assert_uint_eq(find_now(&node, stale->session)->code, 0);
	fresh = peer_of(&node, find_now(&node, stale->session)->instance);
	ck_assert_ptr_ne(fresh, stale);
	/* too late: it has gone to another */
	peer_reconnect(stale);
	peer_save(stale, 5, 1, SPAN_LIT("{\"old\":1}"));
	peer_claim(stale, stale->session, 1, WHO, 0);
	AWAIT(&node, stale->dismissed);
	ck_assert_uint_eq(stale->saved_code, ERR_FORBIDDEN);
	ask = find_now(&node, stale->session);
	ck_assert_uint_eq(ask->instance, fresh->instance);
	/* an epoch that was never given, a session that is no more, and names of nobody */
	peer_reconnect(closed);
	peer_claim(closed, "no such session", 1, WHO, 0);
	AWAIT(&node, closed->dismissed);
	closed->dismissed = false;
	peer_claim(closed, "no such session", 1, WHO, 1);
	AWAIT(&node, closed->dismissed);
	closed->dismissed = false;
	peer_claim(closed, closed->session, 0, WHO, 0);
	AWAIT(&node, closed->dismissed);
	/* who claims nothing has no business here */
	AWAIT_MS(&node, stale->killed && closed->killed, 15000);
	node_end(&node);
}
END_TEST

/* The offer was committed, the worker has it, the manager dies: only that worker may claim. */
START_TEST(dies_while_offering)
{
	struct peer *first, *second;
	char session[64];

	start(PLAIN);
	first = begin("{}");
	strcpy(session, first->session);
	peer_die(first);
	node.lazy = true;
	ask_find(&node, 0, session, WHO);
	AWAIT(&node, node.workers[1].leases + node.workers[2].leases == 1);
	second = node.workers[1].leases ? &node.workers[1] : &node.workers[2];
	node.lazy = false;
	restart();
	peer_reconnect(second);
	peer_claim(second, session, 2, WHO, 0);
	ck_assert_uint_eq(find_now(&node, session)->instance, second->instance);
	node_end(&node);
}
END_TEST

START_TEST(stop_is_no_end)
{
	struct peer *peer;
	struct ask *ask;

	start(PLAIN);
	peer = begin("{}");
	node.giving = HOLD;
	for (unsigned i = 0; i < 2; i++)
		open_now(&node, WHO, 0);
	ask = ask_open(&node, 0, WHO, 0);
	for (unsigned i = 0; i < 200; i++)
		peer_save(peer, 10 + i, 1, SPAN_LIT("{\"last\":1}"));
	AWAIT(&node, peer->saved == 201);
	node_stop(&node);
	/* who waits asks the successor; "unknown" would end its session */
	ck_assert(!ask->told);
	node.giving = GIVE;
	node_again(&node);
	expect_state(peer->session, 2, "{\"last\":1}");
	node_end(&node);
}
END_TEST

/* kill -9 at any moment: what was acknowledged is there. */
START_TEST(acknowledged_is_kept)
{
	struct peer *peers[8];
	unsigned acknowledged[8] = {0}, sent = 0;
	char state[32];

	start("worker: {warm: 8}\n");
	for (unsigned i = 0; i < 8; i++)
		peers[i] = begin("{\"n\":0}");
	for (unsigned round = 0; round < 3; round++) {
		uint64_t end = clock_ms() + 60 + 37 * (unsigned)_i;

		while (clock_ms() < end) {
			sent++;
			snprintf(state, sizeof(state), "{\"n\":%u}", sent);
			for (unsigned i = 0; i < 8; i++)
				peer_save(peers[i], sent, peers[i]->epoch, span_str(state));
			event_base_loop(node.base, EVLOOP_NONBLOCK);
		}
		restart();
		for (unsigned i = 0; i < 8; i++) {
			struct peer *peer = peers[i];
			unsigned kept;

			acknowledged[i] = peer->saved_stream;
			ck_assert_uint_eq(peer->saved_code, 0);
			peers[i] = peer_of(&node, find_now(&node, peer->session)->instance);
			kept = (unsigned)strtoul(peers[i]->state.data + 5, NULL, 10);
			ck_assert_uint_ge(kept, round ? acknowledged[i] : 0);
			ck_assert_uint_le(kept, sent);
			peer_save_now(peers[i], "{\"n\":0}");
			peers[i]->saved_stream = 0;
		}
	}
	node_end(&node);
}
END_TEST

/* --- a boot --------------------------------------------------------------------------------- */

/* Make it look as if an environment had been written under another boot. */
static void age(const char *name, enum store_durability durability)
{
	const char *const none[] = {NULL};
	char path[128];
	const struct store_config config = {.path = path,
		.writer = true,
		.durability = durability,
		.tables = none,
		.map_max = (size_t)16 << 30,
		.boot_id = "another boot"};
	struct store *store;
	struct err err = {0};

	snprintf(path, sizeof(path), "%s/%s/data", node.dir, name);
	ck_assert_msg(store_open(&config, &store, &err) == 0, "%s", err_text(&err));
	store_close(store);
}

static void boot(void)
{
	node_kill(&node);
	age("sessions-live", STORE_LIVE);
	age("sessions", STORE_PERIODIC);
	node_again(&node);
	ck_assert(node.ready);
}

START_TEST(survives_a_boot)
{
	struct peer *peer, *closed;

	start(PLAIN);
	closed = begin("{}");
	peer = begin("{\"a\":1}");
	peer_log(peer, 1, 2, 10);
	/* the interval of the sync */
	NEVER(&node, node.closed, 2000);
	peer_log(peer, 3, 2, 10);
	peer_save_now(peer, "{\"a\":2}");
	peer_close(closed, "deleted");
	NEVER(&node, node.closed, 2000);
	boot();
	ck_assert_uint_eq(find_now(&node, closed->session)->code, ERR_SESSION_UNKNOWN);
	ck_assert_uint_eq(expect_state(peer->session, 2, "{\"a\":2}")->events_before, 4 * 26);
	node_end(&node);
}
END_TEST

/* Killed before the sync: its successor carries over what it has not written itself. */
START_TEST(successor_syncs)
{
	struct peer *peer, *closed;

	start(PLAIN);
	closed = begin("{}");
	NEVER(&node, node.closed, 2000);
	peer = begin("{\"a\":1}");
	peer_log(peer, 1, 2, 10);
	peer_close(closed, "deleted");
	ck_assert_uint_eq(find_now(&node, closed->session)->code, ERR_SESSION_UNKNOWN);
	peer_save_now(peer, "{\"a\":2}");
	restart();
	NEVER(&node, node.closed, 2000);
	boot();
	ck_assert_uint_eq(find_now(&node, closed->session)->code, ERR_SESSION_UNKNOWN);
	ck_assert_uint_eq(expect_state(peer->session, 2, "{\"a\":2}")->events_before, 2 * 26);
	node_end(&node);
}
END_TEST

START_TEST(always_synced)
{
	struct peer *peer;

	start("worker: {warm: 2}\nsession: {sync: always}\n");
	peer = begin("{\"a\":1}");
	boot();
	peer = expect_state(peer->session, 2, "{\"a\":1}");
	/* a reload changes it: from now on a second may be lost, and no more than that */
	node_configure(&node, "worker: {warm: 2}\nsession: {sync: interval}\n");
	peer_save_now(peer, "{\"a\":2}");
	NEVER(&node, node.closed, 2000);
	boot();
	expect_state(peer->session, 3, "{\"a\":2}");
	node_end(&node);
}
END_TEST

/* --- damage --------------------------------------------------------------------------------- */

static void damage(const char *name)
{
	char path[128], junk[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s/data", node.dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &st), 0);
	memset(junk, 0x5a, sizeof(junk));
	for (off_t at = 2 * 4096; at < st.st_size; at += 4096)
		ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
	close(fd);
}

START_TEST(live_is_damaged)
{
	struct peer *peer;
	char path[128];

	start(PLAIN);
	peer = begin("{\"a\":1}");
	NEVER(&node, node.closed, 2000);
	for (unsigned i = 1; i < 3; i++) {
		node_kill(&node);
		damage("sessions-live");
		node_again(&node);
		ck_assert(node.ready);
		ck_assert(node_logged(&node, "session.live_damaged"));
		ck_assert(node_logged(&node, "/sessions-live/data is damaged"));
		peer = expect_state(peer->session, i + 1, "{\"a\":1}");
		peer_save_now(peer, "{\"a\":1}");
		NEVER(&node, node.closed, 2000);
	}
	snprintf(path, sizeof(path), "%s/sessions-live.damaged/data", node.dir);
	ck_assert_int_eq(access(path, F_OK), 0);
	node_end(&node);
}
END_TEST

START_TEST(durable_is_damaged)
{
	struct peer *peer;
	char from[128], to[128];

	start(PLAIN);
	peer = begin("{\"a\":1}");
	NEVER(&node, node.closed, 2000);
	node_kill(&node);
	damage("sessions");
	node_again(&node);
	ck_assert(node.closed);
	ck_assert(WIFEXITED(node.status) && WEXITSTATUS(node.status) == 1);
	ck_assert(node_logged(&node, "process.start_failed"));
	ck_assert(node_logged(&node, "/sessions/data is damaged"));
	ck_assert(node_logged(&node, "/sessions away"));
	/* what it said helps */
	snprintf(from, sizeof(from), "%s/sessions", node.dir);
	snprintf(to, sizeof(to), "%s/away", node.dir);
	ck_assert_int_eq(rename(from, to), 0);
	node_again(&node);
	ck_assert(node.ready);
	peer = expect_state(peer->session, 2, "{\"a\":1}");
	NEVER(&node, node.closed, 2000);
	boot();
	/* all of it, not only what has changed since */
	expect_state(peer->session, 3, "{\"a\":1}");
	node_end(&node);
}
END_TEST

static void write_file(const char *name, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", node.dir, name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

START_TEST(bad_files)
{
	static const struct {
		const char *file, *text, *says;
	} rows[] = {
		{"session.key", "short", "session.key is damaged: restore it, or remove it"},
		{"sessions/data", "", "sessions/data is empty"},
		{"sessions/data", "no database", "is truncated"},
	};

	start(PLAIN);
	begin("{}");
	node_stop(&node);
	write_file(rows[_i].file, rows[_i].text);
	node_again(&node);
	ck_assert(node.closed);
	ck_assert_int_eq(WEXITSTATUS(node.status), 1);
	ck_assert_msg(node_logged(&node, rows[_i].says), "%s", rows[_i].says);
	node_end(&node);
}
END_TEST

/* Files may not grow: as a full disk, without one. */
START_TEST(no_room)
{
	struct peer *peer;
	char *big = calloc(1, 400001);
	unsigned refused = 0;

	node_start(&node, PLAIN);
	node_stop(&node);
	node.file_limit = 2u << 20;
	node_again(&node);
	ck_assert(node.ready);
	NEVER(&node, node.closed, GRACE_MS);
	peer = begin("{\"small\":1}");
	memset(big, 'x', 400000);
	for (unsigned i = 0; i < 12 && !refused; i++) {
		struct peer *other = peer_of(&node, open_now(&node, WHO, 0)->instance);

		peer_save(other, 1, 1, span_str(big));
		AWAIT(&node, other->saved == 1);
		refused = other->saved_code != 0;
		ck_assert(!refused || err_retryable((int)other->saved_code));
	}
	ck_assert(refused);
	ck_assert(node_logged(&node, "session.commit_failed"));
	/* reading goes on, and nothing is lost */
	ck_assert_uint_eq(find_now(&node, peer->session)->code, 0);
	ck_assert_uint_eq(admin_query(&node, "sessions"), 0);
	node_kill(&node);
	node.file_limit = 0;
	node_again(&node);
	ck_assert(node.ready);
	peer = expect_state(peer->session, 2, "{\"small\":1}");
	peer_save_now(peer, big);
	free(big);
	node_end(&node);
}
END_TEST

/* A disk that is full at the start is no reason to end, nor to throw the live sessions away. */
START_TEST(no_room_at_the_start)
{
	struct peer *peer;

	start(PLAIN);
	peer = begin("{\"a\":1}");
	node_kill(&node);
	node.file_limit = 4096;
	node_again(&node);
	ck_assert(node.ready);
	ck_assert(node_logged(&node, "session.sync_failed"));
	node_kill(&node);
	node.file_limit = 0;
	node_again(&node);
	ck_assert(node.ready);
	expect_state(peer->session, 2, "{\"a\":1}");
	node_end(&node);
}
END_TEST

/* --- time and number ------------------------------------------------------------------------ */

START_TEST(idle_sessions_end)
{
	struct peer *dead, *live;

	start("worker: {warm: 2}\nsession: {idle: 2s}\n");
	dead = begin("{}");
	live = begin("{}");
	peer_die(dead);
	NEVER(&node, node_logged(&node, "session.collected"), 1900);
	AWAIT(&node, node_logged(&node, "session.collected"));
	ck_assert_uint_eq(find_now(&node, dead->session)->code, ERR_SESSION_UNKNOWN);
	/* one that a worker has is the worker's to end; and was in use until it dies */
	NEVER(&node, live->dismissed || live->killed, 2000);
	peer_die(live);
	NEVER(&node, node.closed, 2000);
	ck_assert_uint_eq(find_now(&node, live->session)->code, 0);
	node_end(&node);
}
END_TEST

static long memory_kb(pid_t pid)
{
	char path[64], line[256];
	long kb = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (fgets(line, sizeof(line), file))
		sscanf(line, "RssAnon: %ld", &kb);
	fclose(file);
	return kb;
}

static double cpu_s(pid_t pid)
{
	unsigned long user = 0, sys = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	ck_assert_int_eq(fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				 &user, &sys),
		2);
	fclose(file);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static char *state_of_1k(void)
{
	char *state = calloc(1, 1025);

	memset(state, 'x', 1024);
	return state;
}

/* Opened and saved, all with a worker each, in bursts of 64. */
static void open_many(unsigned count, const char *state)
{
	for (unsigned done = 0; done < count; done += 64) {
		struct ask *asks[64];

		for (unsigned i = 0; i < 64; i++)
			asks[i] = ask_open(&node, 0, WHO, 0);
		for (unsigned i = 0; i < 64; i++) {
			AWAIT(&node, asks[i]->told);
			ck_assert_msg(asks[i]->code == 0, "%s", asks[i]->detail);
			peer_save(peer_of(&node, asks[i]->instance), 1, 1, span_str(state));
		}
		AWAIT(&node, peer_of(&node, asks[63]->instance)->saved == 1);
	}
}

START_TEST(ten_thousand)
{
	char *state = state_of_1k();
	uint64_t began, took[2], opened;
	double cpu[3];
	long empty;

	start("worker: {warm: 64, max: 20000}\n");
	empty = memory_kb(node.pid);
	for (int half = 0; half < 2; half++) {
		cpu[half] = cpu_s(node.pid);
		began = clock_ms();
		open_many(4992, state);
		took[half] = clock_ms() - began;
	}
	cpu[2] = cpu_s(node.pid);
	printf("10,000 sessions: %llu + %llu ms, CPU %.2f + %.2f s, %ld bytes each\n",
		(unsigned long long)took[0], (unsigned long long)took[1], cpu[1] - cpu[0],
		cpu[2] - cpu[1], (memory_kb(node.pid) - empty) * 1024 / 9984);
	/* the second half costs as much as the first: nothing goes through all of them */
	ck_assert(cpu[2] - cpu[1] < 2 * (cpu[1] - cpu[0]) + 0.2);
	opened = clock_ms();
	gate_open(&node, 1);
	gate_close(&node, 1);
	admin_query(&node, "sessions");
	printf("listing %zu bytes in %llu ms\n", node.reply.len,
		(unsigned long long)(clock_ms() - opened));
	/* all their workers die at once */
	began = clock_ms();
	for (unsigned i = 0; i < node.n_workers; i++)
		if (node.workers[i].leases)
			peer_vanish(&node.workers[i]);
	node_settle(&node);
	ck_assert_uint_eq(find_now(&node, node.workers[0].session)->code, 0);
	printf("after the death of all workers: %llu ms\n",
		(unsigned long long)(clock_ms() - began));
	began = clock_ms();
	restart();
	printf("restart with them: %llu ms\n", (unsigned long long)(clock_ms() - began));
	ck_assert_uint_eq(find_now(&node, node.workers[5].session)->code, 0);
	free(state);
	node_end(&node);
}
END_TEST

static void add(Suite *s, const char *name, const TTest *test, int end)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 100);
	tcase_add_loop_test(tc, test, 0, end);
	suite_add_tcase(s, tc);
}

static Suite *suite(void)
{
	Suite *s = suite_create("sessions kept");

	add(s, "come back", sessions_come_back, 1);
	add(s, "claim", workers_claim, 1);
	add(s, "stale claims", stale_claims, 1);
	add(s, "offering", dies_while_offering, 1);
	add(s, "stop", stop_is_no_end, 1);
	add(s, "acknowledged", acknowledged_is_kept, 4);
	add(s, "boot", survives_a_boot, 1);
	add(s, "successor", successor_syncs, 1);
	add(s, "always", always_synced, 1);
	add(s, "live damaged", live_is_damaged, 1);
	add(s, "durable damaged", durable_is_damaged, 1);
	add(s, "bad files", bad_files, 3);
	add(s, "no room", no_room, 1);
	add(s, "no room at the start", no_room_at_the_start, 1);
	add(s, "idle", idle_sessions_end, 1);
	add(s, "ten thousand", ten_thousand, 1);
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
