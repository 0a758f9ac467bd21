/* Links: messages in pieces, order, bounds, descriptors, ends. */
#include "link_ends.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- messages in pieces --------------------------------------------------------------------- */

START_TEST(sixty_four_megabytes)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	ck_assert_int_eq(exchange(&a, 1, 64 * MIB, 3), 0);
	ck_assert_int_eq(exchange(&a, 3, 1, 4), -ERR_AGAIN);
	/* some of it has left: then a word of control, and another stream, pass it */
	while (link_queued(a.link) > 20 * MIB)
		turn();
	ck_assert_uint_eq(b.n, 0);
	ck_assert_int_eq(link_post(a.link, MSG_CREDIT, 5, &(struct msg_credit){1}), 0);
	for (int i = 0; i < 20; i++)
		turn();
	ck_assert_uint_eq(b.n, 1);
	ck_assert_uint_gt(link_queued(a.link), 10 * MIB);
	while (link_queued(a.link) > 3 * MIB)
		turn();
	ck_assert_int_eq(exchange(&a, 7, 200000, 5), 0);
	ck_assert_int_eq(exchange(&a, 9, 10, 6), 0);
	settle();
	check_record(&b, 0, MSG_CREDIT, 5, 0, 0);
	check_record(&b, 1, MSG_EXCHANGE, 9, 10, 6);
	check_record(&b, 2, MSG_EXCHANGE, 7, 200000, 5);
	check_record(&b, 3, MSG_EXCHANGE, 1, 64 * MIB, 3);
	ck_assert_uint_eq(b.n, 4);
}
END_TEST

START_TEST(a_byte_too_many)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	ck_assert_int_eq(exchange(&a, 1, 64 * MIB + 1, 3), -ERR_TOO_LARGE);
	for (int i = -1; i <= 1; i++)
		ck_assert_int_eq(exchange(&a, (uint32_t)(3 + 2 * i),
					 (size_t)((int)LIMIT_FRAME_PAYLOAD + i), 1),
			0);
	settle();
	ck_assert_uint_eq(b.n, 3);
	for (int i = -1; i <= 1; i++)
		check_record(&b, (unsigned)(i + 1), MSG_EXCHANGE, (uint32_t)(3 + 2 * i),
			(size_t)((int)LIMIT_FRAME_PAYLOAD + i), 1);
}
END_TEST

/* Sizes around the frame's, several streams: each stream's messages arrive in order and whole. */
START_TEST(order_per_stream)
{
	static const size_t sizes[] = {0, 1, 70000, 65536, 300000, 5, 65537, 200000, 131072, 12};
	unsigned sent = 0, seen[8] = {0};

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	while (sent < 800) {
		uint32_t stream = sent % 8 * 2 + 1;
		int r = exchange(&a, stream, sizes[sent / 8 % 10], sent / 8);

		if (r == 0)
			sent++;
		else
			turn();
	}
	settle();
	ck_assert_uint_eq(b.n, 800);
	for (unsigned i = 0; i < b.n; i++) {
		uint32_t stream = b.records[i].stream;
		unsigned n = seen[stream / 2]++;

		check_record(&b, i, MSG_EXCHANGE, stream, sizes[n % 10], n);
	}
}
END_TEST

/* Far more large messages at once than a receiver takes in pieces: the sender holds back. */
START_TEST(a_crowd_of_large_messages)
{
	unsigned sent = 0;

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	while (sent < 1000) {
		if (exchange(&a, 2 * sent + 1, 66000, sent) == 0)
			sent++;
		else
			turn();
	}
	settle();
	ck_assert_uint_eq(b.closed, 0);
	ck_assert_uint_eq(b.n, 1000);
	for (unsigned i = 0; i < b.n; i++)
		check_record(
			&b, i, MSG_EXCHANGE, b.records[i].stream, 66000, b.records[i].stream / 2);
}
END_TEST

/* Every stream advances, not only the first ones. */
START_TEST(streams_take_turns)
{
	unsigned where[20];

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(exchange(&a, 2 * i + 1, i == 9 ? 100000 : 400000, i), 0);
	settle();
	ck_assert_uint_eq(b.n, 10);
	for (unsigned i = 0; i < b.n; i++)
		where[b.records[i].stream / 2] = i;
	ck_assert_uint_eq(where[9], 0);
}
END_TEST

START_TEST(stream_zero_goes_first)
{
	const struct msg_call call = {.method = SPAN_LIT("tools/call")};

	open_pair(ROLE_WORKER, ROLE_UPSTREAM);
	ck_assert_int_eq(link_send(a.link, MSG_CALL, 1, &call, payload_of(900000, 1), NULL), 0);
	ck_assert_int_eq(
		link_send(a.link, MSG_ATTACH, 0, &(struct msg_attach){.session = SPAN_LIT("s")},
			payload_of(1000000, 2), NULL),
		0);
	for (uint32_t stream = 3; stream < 9; stream += 2)
		ck_assert_int_eq(
			link_send(a.link, MSG_CALL, stream, &call, payload_of(10, stream), NULL),
			0);
	settle();
	ck_assert_uint_eq(b.n, 5);
	check_record(&b, 0, MSG_CALL, 1, 900000, 1);
	check_record(&b, 1, MSG_ATTACH, 0, 1000000, 2);
	for (unsigned i = 2; i < 5; i++)
		check_record(&b, i, MSG_CALL, 2 * i - 1, 10, 2 * i - 1);
}
END_TEST

/* Behind all that was sent before, on whatever stream, and in front of nothing that is sent later. */
START_TEST(what_goes_behind)
{
	const struct msg_exchange fields = {.verb = 1};

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	ck_assert_int_eq(exchange(&a, 1, 900000, 1), 0);
	ck_assert_int_eq(exchange(&a, 3, 700000, 2), 0);
	ck_assert_int_eq(
		link_send_behind(a.link, MSG_EXCHANGE, 5, &fields, payload_of(10, 3)), 0);
	ck_assert_int_eq(exchange(&a, 7, 20, 4), 0);
	settle();
	ck_assert_uint_eq(b.n, 4);
	check_record(&b, 0, MSG_EXCHANGE, 7, 20, 4);
	check_record(&b, 3, MSG_EXCHANGE, 5, 10, 3);
	/* alone it waits for nothing */
	ck_assert_int_eq(
		link_send_behind(a.link, MSG_EXCHANGE, 9, &fields, payload_of(100000, 5)), 0);
	settle();
	check_record(&b, 4, MSG_EXCHANGE, 9, 100000, 5);
}
END_TEST

/* --- bounds --------------------------------------------------------------------------------- */

START_TEST(a_peer_that_does_not_read)
{
	unsigned data = 0, control = 0;
	int r;

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	while ((r = exchange(&a, 1, 50000, data)) == 0) {
		data++;
		ck_assert_uint_lt(data, 1000);
	}
	ck_assert_int_eq(r, -ERR_AGAIN);
	ck_assert_uint_le(link_queued(a.link), LIMIT_LINK_QUEUE + 5 * LIMIT_FRAME_PAYLOAD);
	ck_assert_uint_ge(link_queued(a.link), LIMIT_LINK_QUEUE - 65536);
	/* control still passes, up to its own bound */
	while ((r = link_post(a.link, MSG_CREDIT, 1, &(struct msg_credit){control})) == 0) {
		control++;
		ck_assert_uint_lt(control, 1000000);
	}
	ck_assert_int_eq(r, -ERR_AGAIN);
	ck_assert_uint_ge(control, 10000);
	ck_assert_uint_le(link_queued(a.link), 3 * LIMIT_LINK_QUEUE);
	free(b.records);
	b.records = calloc(RECORDS_MAX * 4, sizeof(*b.records));
	b.handlers.on[MSG_CREDIT] = NULL;
	b.closed = 0;
}
END_TEST

START_TEST(all_that_was_taken_arrives)
{
	unsigned data = 0;

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	while (exchange(&a, 1, 50000, data) == 0)
		data++;
	for (unsigned i = 0; i < 30000; i++)
		ck_assert_int_eq(link_post(a.link, MSG_CREDIT, 1, &(struct msg_credit){i}), 0);
	settle();
	ck_assert_uint_eq(b.n, data + 30000);
	for (unsigned i = 0; i < 30000; i++)
		ck_assert_int_eq(b.records[i].type, MSG_CREDIT);
	for (unsigned i = 0; i < data; i++)
		check_record(&b, 30000 + i, MSG_EXCHANGE, 1, 50000, i);
	/* and there is room again */
	ck_assert_int_eq(exchange(&a, 1, 50000, 0), 0);
}
END_TEST

START_TEST(small_messages_are_counted_too)
{
	unsigned n = 0;

	open_pair(ROLE_WORKER, ROLE_GATEWAY);
	while (link_post(a.link, MSG_EXCHANGE_HEAD, 2 * n + 1,
		       &(struct msg_exchange_head){.status = 200}) == 0) {
		n++;
		ck_assert_uint_lt(n, 200000);
	}
	settle();
	ck_assert_uint_eq(b.n, n);
}
END_TEST

START_TEST(flush_says_the_truth)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	ck_assert_int_eq(exchange(&a, 1, 3 * MIB, 1), 0);
	ck_assert(!link_flush(a.link));
	ck_assert_uint_gt(link_queued(a.link), 0);
	while (!link_flush(a.link))
		link_drain(b.link);
	/* the sender may die now */
	ck_assert_uint_eq(link_queued(a.link), 0);
	link_free(a.link);
	a.link = NULL;
	settle();
	ck_assert_uint_eq(b.n, 1);
	check_record(&b, 0, MSG_EXCHANGE, 1, 3 * MIB, 1);
	ck_assert_uint_eq(b.closed, 1);
	ck_assert_int_eq(b.code, -ERR_CLOSED);
	ck_assert(!link_flush(b.link));
}
END_TEST

/* --- descriptors ---------------------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

START_TEST(descriptors_travel)
{
	const struct msg_listener listener = {.index = 1, .kind = SPAN_LIT("mcp")};
	int pipes[2];
	unsigned before;
	char c = 0;

	open_pair(ROLE_ROOT, ROLE_GATEWAY);
	settle();
	ck_assert_int_eq(pipe(pipes), 0);
	before = open_descriptors();
	for (int i = 0; i < 500; i++)
		ck_assert_int_eq(
			link_send(a.link, MSG_LISTENER, 0, &listener, SPAN_NONE, &pipes[1]), 0);
	settle();
	ck_assert_uint_eq(b.n, 500);
	ck_assert_uint_eq(open_descriptors(), before);
	b.keep_fd = true;
	ck_assert_int_eq(link_send(a.link, MSG_LISTENER, 0, &listener, SPAN_NONE, &pipes[1]), 0);
	settle();
	ck_assert_int_eq(write(b.kept, "x", 1), 1);
	ck_assert_int_eq(read(pipes[0], &c, 1), 1);
	ck_assert_int_eq(c, 'x');
	ck_assert_uint_eq(open_descriptors(), before + 1);
	close(b.kept);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

START_TEST(descriptors_of_a_freed_link_are_closed)
{
	const struct msg_listener listener = {.index = 1};
	unsigned before = open_descriptors();
	int pipes[2];

	open_pair(ROLE_ROOT, ROLE_GATEWAY);
	ck_assert_int_eq(pipe(pipes), 0);
	b.free_on_message = true;
	for (int i = 0; i < 20; i++)
		link_send(a.link, MSG_LISTENER, 0, &listener, SPAN_NONE, &pipes[1]);
	settle();
	ck_assert_uint_eq(b.n, 1);
	link_free(a.link);
	a.link = NULL;
	close(pipes[0]);
	close(pipes[1]);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* --- ends ----------------------------------------------------------------------------------- */

START_TEST(free_in_a_handler)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	b.free_on_message = true;
	a.free_on_closed = true;
	for (int i = 0; i < 10; i++)
		exchange(&a, 1, i == 0 ? 100000 : 10, 1);
	settle();
	ck_assert_uint_eq(b.n, 1);
	ck_assert_uint_eq(b.closed, 0);
	ck_assert_uint_eq(a.closed, 1);
	ck_assert_ptr_null(a.link);
}
END_TEST

START_TEST(free_while_draining)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	settle();
	for (int i = 0; i < 10; i++)
		exchange(&a, 1, 10, 1);
	link_flush(a.link);
	b.free_on_message = true;
	link_drain(b.link);
	ck_assert_uint_eq(b.n, 1);
	ck_assert_ptr_null(b.link);
}
END_TEST

START_TEST(last_words)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	settle();
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(exchange(&a, 1, 100, i), 0);
	ck_assert(link_flush(a.link));
	link_free(a.link);
	a.link = NULL;
	link_drain(b.link);
	ck_assert_uint_eq(b.n, 100);
	ck_assert_uint_eq(b.closed, 1);
	for (unsigned i = 0; i < 100; i++)
		check_record(&b, i, MSG_EXCHANGE, 1, 100, i);
}
END_TEST

/* A process that is killed while it sends: what it sent whole arrives, the rest does not. */
START_TEST(killed_amid_a_message)
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		event_reinit(base);
		end_open(&a, fds[1], ROLE_GATEWAY, ROLE_WORKER, true);
		exchange(&a, 1, 500, 1);
		exchange(&a, 1, 32 * MIB, 2);
		event_base_dispatch(base);
		_exit(0);
	}
	close(fds[1]);
	end_open(&b, fds[0], ROLE_WORKER, ROLE_GATEWAY, false);
	while (b.n == 0)
		event_base_loop(base, EVLOOP_ONCE);
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(b.n, 1);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	link_drain(b.link);
	settle();
	check_record(&b, 0, MSG_EXCHANGE, 1, 500, 1);
	ck_assert_uint_eq(b.n, 1);
	ck_assert_uint_eq(b.closed, 1);
	ck_assert_int_eq(b.code, -ERR_CLOSED);
}
END_TEST

START_TEST(closed_refuses)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	settle();
	link_free(b.link);
	b.link = NULL;
	settle();
	ck_assert_uint_eq(a.closed, 1);
	ck_assert_int_eq(exchange(&a, 1, 10, 1), -ERR_CLOSED);
	ck_assert_int_eq(link_post(a.link, MSG_PING, 0, NULL), -ERR_CLOSED);
	ck_assert_int_eq(exchange(&a, 1, 10 * MIB, 1), -ERR_CLOSED);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {sixty_four_megabytes, a_byte_too_many, order_per_stream,
		a_crowd_of_large_messages, streams_take_turns, stream_zero_goes_first,
		what_goes_behind,
		a_peer_that_does_not_read, all_that_was_taken_arrives,
		small_messages_are_counted_too, flush_says_the_truth, descriptors_travel,
		descriptors_of_a_freed_link_are_closed, free_in_a_handler, free_while_draining,
		last_words, killed_amid_a_message, closed_refuses};
	Suite *suite = suite_create("link_flow");
	TCase *cases = tcase_create("link_flow");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_set_timeout(cases, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		tcase_add_test(cases, tests[i]);
	suite_add_tcase(suite, cases);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
