/*
 * Links that pass from one program to another (Q11): at any moment, with half a message in either direction, what was
 * said arrives whole, once, in order, and the peer notices nothing.
 */
#include "link_ends.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS_ROOM 4096

struct kept_fd {
	int number, copy;
};

static struct kept_fd kept[FDS_ROOM];
static unsigned n_kept;

static void keep(int fd, void *arg)
{
	(void)arg;
	ck_assert_uint_lt(n_kept, FDS_ROOM);
	kept[n_kept++] = (struct kept_fd){fd, fcntl(fd, F_DUPFD_CLOEXEC, 1000)};
	ck_assert_int_ge(kept[n_kept - 1].copy, 0);
}

static void save(const struct link *link, struct buf *out)
{
	struct saved_writer writer;

	buf_init(out, 256 * MIB);
	saved_begin(&writer, out, 1, 1);
	link_save(link, &writer);
	ck_assert_int_eq(saved_end(&writer), 0);
}

/* The link of this end ends, as a program does that is replaced, and another begins with what was
 * saved and with the same descriptors. */
static void pass_on(struct end *end)
{
	struct buf before, after;
	struct span values;
	struct err err = {0};

	save(end->link, &before);
	ck_assert_msg(saved_read(buf_span(&before), 1, 1, &values, &err) == 0, "%s", err_text(&err));
	n_kept = 0;
	saved_each_fd(values, keep, NULL);
	link_free(end->link);
	for (unsigned i = 0; i < n_kept; i++) {
		ck_assert_int_eq(dup3(kept[i].copy, kept[i].number, O_CLOEXEC), kept[i].number);
		close(kept[i].copy);
	}
	ck_assert_msg(link_load(base, values, &end->handlers, end, &end->link, &err) == 0, "%s",
		err_text(&err));
	save(end->link, &after);
	ck_assert(span_equal(buf_span(&before), buf_span(&after)));
	buf_free(&before);
	buf_free(&after);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* --- moments ---------------------------------------------------------------------------------- */

START_TEST(a_new_link)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	pass_on(&a);
	pass_on(&b);
	ck_assert_int_eq(exchange(&a, 1, 100, 1), 0);
	pass_on(&a);
	settle();
	check_record(&b, 0, MSG_EXCHANGE, 1, 100, 1);
}
END_TEST

START_TEST(streams_go_on)
{
	uint32_t stream;

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	stream = link_stream(a.link);
	pass_on(&a);
	ck_assert_uint_eq(link_stream(a.link), stream + 2);
	ck_assert_int_eq(link_peer(a.link)->role, ROLE_WORKER);
}
END_TEST

/* More than the socket takes, then a part of it read: half a message waits on both sides. */
START_TEST(half_a_message_both_ways)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	settle();
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(exchange(&a, 2 * i + 1, MIB / 2 + i, i), 0);
	for (unsigned i = 0; i < 40; i++) {
		pass_on(&a);
		turn();
		pass_on(&b);
	}
	settle();
	ck_assert_uint_eq(b.n, 8);
	for (unsigned i = 0; i < 8; i++) {
		unsigned stream = (b.records[i].stream - 1) / 2;

		check_record(&b, i, MSG_EXCHANGE, 2 * stream + 1, MIB / 2 + stream, stream);
	}
	ck_assert_uint_eq(a.closed + b.closed, 0);
}
END_TEST

/* The descriptor is neither lost nor left open twice. */
START_TEST(descriptors_go_along)
{
	const struct msg_config config = {.generation = 7};
	unsigned before;
	struct stat mine, theirs;
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	open_pair(ROLE_ROOT, ROLE_GATEWAY);
	settle();
	before = open_fds();
	b.keep_fd = true;
	ck_assert_int_eq(link_send(a.link, MSG_CONFIG, 0, &config, SPAN_NONE, &fd), 0);
	pass_on(&a);
	ck_assert_uint_eq(open_fds(), before + 1);
	pass_on(&a);
	settle();
	ck_assert_uint_eq(b.n, 1);
	ck_assert_int_ge(b.kept, 0);
	ck_assert_uint_eq(open_fds(), before + 1);
	ck_assert_int_eq(fstat(fd, &mine), 0);
	ck_assert_int_eq(fstat(b.kept, &theirs), 0);
	ck_assert_uint_eq(mine.st_rdev, theirs.st_rdev);
	close(b.kept);
	close(fd);
}
END_TEST

/* The end of the peer is noticed by the link that goes on, after what it had said. */
START_TEST(the_last_words_are_heard)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	settle();
	ck_assert_int_eq(exchange(&a, 1, 40000, 3), 0);
	ck_assert(link_flush(a.link));
	link_free(a.link);
	a.link = NULL;
	pass_on(&b);
	settle();
	check_record(&b, 0, MSG_EXCHANGE, 1, 40000, 3);
	ck_assert_uint_eq(b.closed, 1);
	ck_assert_int_eq(b.code, -ERR_CLOSED);
}
END_TEST

/* --- any moment ------------------------------------------------------------------------------- */

static unsigned state;

static unsigned any(unsigned n)
{
	state = state * 1103515245u + 12345u;
	return (state >> 16) % n;
}

static void say_something(unsigned number)
{
	static const size_t sizes[] = {0, 10, 3000, 70000, 200000};
	size_t len = sizes[any(5)] + any(50);

	if (any(3) == 0)
		link_post(a.link, MSG_CREDIT, number, &(struct msg_credit){.bytes = number});
	else
		exchange(&a, 2 * any(9) + 1, len, number);
	if (any(2) == 0)
		link_send(b.link, MSG_EXCHANGE_DATA, 2 * any(9) + 1, NULL,
			payload_of(len % 60000, number), NULL);
}

/* What both ends hear of a random conversation, in order of each stream. */
static void converse(unsigned seed, bool passing, struct record *ret, unsigned *ret_n)
{

	state = seed * 7919 + 1;
	set_up();
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	for (unsigned i = 0; i < 60; i++) {
		say_something(i);
		for (unsigned n = any(3); n > 0; n--)
			turn();
		if (passing && i % 2)
			pass_on(&a);
		if (passing && i % 3 == 0)
			pass_on(&b);
	}
	settle();
	ck_assert_uint_eq(a.closed + b.closed, 0);
	*ret_n = a.n + b.n;
	ck_assert_uint_lt(*ret_n, 4096);
	memcpy(ret, a.records, a.n * sizeof(*ret));
	memcpy(ret + a.n, b.records, b.n * sizeof(*ret));
	tear_down();
}

/* Stable: what came on one stream stays in its order. */
static void sort_by_stream(struct record *records, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		struct record one = records[i];
		unsigned place = i;

		while (place > 0 && (records[place - 1].type > one.type ||
					    (records[place - 1].type == one.type &&
						    records[place - 1].stream > one.stream))) {
			records[place] = records[place - 1];
			place--;
		}
		records[place] = one;
	}
}

START_TEST(any_conversation)
{
	static struct record plain[4096], passed[4096];
	unsigned n_plain, n_passed;

	converse((unsigned)_i, false, plain, &n_plain);
	converse((unsigned)_i, true, passed, &n_passed);
	ck_assert_uint_eq(n_plain, n_passed);
	ck_assert_uint_gt(n_plain, 20);
	sort_by_stream(plain, n_plain);
	sort_by_stream(passed, n_passed);
	for (unsigned i = 0; i < n_plain; i++) {
		ck_assert_int_eq(plain[i].type, passed[i].type);
		ck_assert_uint_eq(plain[i].stream, passed[i].stream);
		ck_assert_uint_eq(plain[i].len, passed[i].len);
		ck_assert_uint_eq(plain[i].sum, passed[i].sum);
	}
}
END_TEST

/* --- what is no link ---------------------------------------------------------------------------- */

START_TEST(damage_is_refused)
{
	struct err err = {0};
	struct link *link;
	struct span values;
	struct buf out;

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	ck_assert_int_eq(exchange(&a, 1, 300000, 1), 0);
	save(a.link, &out);
	for (size_t at = 20; at < out.len && at < 1500; at++) {
		out.data[at] ^= 0x11;
		if (saved_read(buf_span(&out), 1, 1, &values, NULL) == 0 &&
			saved_get_fd(saved_get_object(values, "endpoint"), "socket") < 0)
			ck_assert_int_lt(
				link_load(base, values, &a.handlers, &a, &link, &err), 0);
		out.data[at] ^= 0x11;
	}
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("link saved");
	TCase *moments = tcase_create("moments"), *any_moment = tcase_create("any moment");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(moments, set_up, tear_down);
	tcase_add_test(moments, a_new_link);
	tcase_add_test(moments, streams_go_on);
	tcase_add_test(moments, half_a_message_both_ways);
	tcase_add_test(moments, descriptors_go_along);
	tcase_add_test(moments, the_last_words_are_heard);
	tcase_add_test(moments, damage_is_refused);
	tcase_add_loop_test(any_moment, any_conversation, 0, 40);
	suite_add_tcase(suite, moments);
	suite_add_tcase(suite, any_moment);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
