/* Links: handshake, and who may say what. */
#include "link_ends.h"

#include <endian.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- handshake and law ---------------------------------------------------------------------- */

START_TEST(both_sides_speak)
{
	const struct msg_credit credit = {.bytes = 5};

	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	ck_assert_int_eq(exchange(&a, 1, 100, 1), 0);
	ck_assert_int_eq(link_post(a.link, MSG_CREDIT, 1, &credit), 0);
	ck_assert_int_eq(
		link_post(b.link, MSG_EXCHANGE_END, 1, &(struct msg_exchange_end){.code = 1}), 0);
	settle();
	ck_assert_uint_eq(b.n, 2);
	check_record(&b, 0, MSG_CREDIT, 1, 0, 0);
	check_record(&b, 1, MSG_EXCHANGE, 1, 100, 1);
	check_record(&a, 0, MSG_EXCHANGE_END, 1, 0, 0);
	ck_assert_uint_eq(a.closed + b.closed, 0);
}
END_TEST

START_TEST(streams_do_not_meet)
{
	open_pair(ROLE_GATEWAY, ROLE_WORKER);
	for (unsigned i = 0; i < 1000; i++) {
		ck_assert_uint_eq(link_stream(a.link) & 1, 1);
		ck_assert_uint_eq(link_stream(b.link) & 1, 0);
	}
}
END_TEST

START_TEST(a_ping_is_answered)
{
	open_pair(ROLE_ROOT, ROLE_GATEWAY);
	ck_assert_int_eq(link_post(a.link, MSG_PING, 7, NULL), 0);
	settle();
	ck_assert_uint_eq(a.n, 1);
	check_record(&a, 0, MSG_PONG, 7, 0, 0);
}
END_TEST

START_TEST(what_may_not_be_said_is_not_sent)
{
	open_pair(ROLE_WORKER, ROLE_GATEWAY);
	ck_assert_int_eq(exchange(&a, 1, 0, 0), -ERR_FORBIDDEN);
	ck_assert_int_eq(link_post(a.link, MSG_READY, 0, NULL), -ERR_FORBIDDEN);
	ck_assert_int_eq(link_send(a.link, MSG_EXCHANGE_FORWARDED, 1,
				 &(struct msg_exchange_forwarded){0}, SPAN_LIT("x"), NULL),
		-ERR_TOO_LARGE);
	settle();
	ck_assert_uint_eq(a.closed + b.closed + b.n, 0);
}
END_TEST

/* --- a peer of any manners: raw frames ------------------------------------------------------ */

static int raw;

static void open_raw(enum role self, enum role peer)
{
	static const unsigned char hello[8] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	end_open(&a, fds[0], self, peer, false);
	raw = fds[1];
	ck_assert_int_eq(write(raw, hello, 8), 8);
}

static void raw_frame(struct buf *frame, struct span payload, const int *fds, unsigned nfds)
{
	unsigned char head[9] = {1};
	uint64_t len = htobe64(frame->len + payload.len);
	char control[CMSG_SPACE(8 * sizeof(int))] = {0};
	struct iovec iov[3] = {
		{head, 9}, {frame->data, frame->len}, {(void *)(uintptr_t)payload.p, payload.len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};
	ssize_t n;

	memcpy(head + 1, &len, 8);
	if (nfds) {
		struct cmsghdr *cmsg = (struct cmsghdr *)control;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		*cmsg = (struct cmsghdr){CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
	}
	n = sendmsg(raw, &msg, MSG_NOSIGNAL);
	ck_assert_int_eq(n, (ssize_t)(9 + frame->len + payload.len));
	buf_free(frame);
	turn();
}

static void say(
	enum message_type type, uint32_t stream, bool more, const void *fields, size_t payload)
{
	struct buf frame;

	buf_init(&frame, LIMIT_FRAME);
	message_encode(&frame, type, stream, more, message_row(type)->fds, fields);
	raw_frame(&frame, payload_of(payload, 1), NULL, 0);
}

static void say_hello(unsigned version, enum role role)
{
	const struct msg_hello hello = {
		.version = version, .build = SPAN_LIT("test"), .role = role};

	say(MSG_HELLO, 0, false, &hello, 0);
}

static void rude_version(void)
{
	say_hello(MESSAGE_VERSION_OLDEST - 1, ROLE_GATEWAY);
}

static void rude_role(void)
{
	say_hello(1, ROLE_ADMIN);
}

static void rude_role_number(void)
{
	say_hello(1, (enum role)200);
}

static void rude_silence(void)
{
	say(MSG_PING, 0, false, NULL, 0);
}

static void rude_sender(void)
{
	say_hello(1, ROLE_GATEWAY);
	say(MSG_EXCHANGE_FORWARDED, 1, false, &(struct msg_exchange_forwarded){0}, 0);
}

static void rude_number(void)
{
	struct buf frame;

	say_hello(1, ROLE_GATEWAY);
	buf_init(&frame, LIMIT_FRAME);
	buf_append(&frame, "\x7f\xff\0\0\0\0\0\0\0\0\0\0", 12);
	raw_frame(&frame, SPAN_NONE, NULL, 0);
}

static void rude_short_frame(void)
{
	struct buf frame;

	say_hello(1, ROLE_GATEWAY);
	buf_init(&frame, LIMIT_FRAME);
	buf_append(&frame, "\0\4\0", 3);
	raw_frame(&frame, SPAN_NONE, NULL, 0);
}

static void rude_data(void)
{
	say_hello(1, ROLE_GATEWAY);
	say(MSG_DATA, 9, false, NULL, 10);
}

static void rude_control_in_pieces(void)
{
	say_hello(1, ROLE_GATEWAY);
	say(MSG_CREDIT, 1, true, &(struct msg_credit){1}, 0);
}

static void rude_twice(void)
{
	say_hello(1, ROLE_GATEWAY);
	say(MSG_EXCHANGE, 1, true, &(struct msg_exchange){0}, 10);
	say(MSG_EXCHANGE, 1, true, &(struct msg_exchange){0}, 10);
}

static void rude_crowd(void)
{
	say_hello(1, ROLE_GATEWAY);
	for (uint32_t i = 0; i < 257 && !a.closed; i++)
		say(MSG_EXCHANGE, 2 * i + 1, true, &(struct msg_exchange){0}, 10);
}

static void rude_length(void)
{
	say_hello(1, ROLE_GATEWAY);
	say(MSG_EXCHANGE, 1, true, &(struct msg_exchange){0}, 10);
	for (int i = 0; i < 1025 && !a.closed; i++)
		say(MSG_DATA, 1, true, NULL, LIMIT_FRAME_PAYLOAD);
}

static void rude_total(void)
{
	say_hello(1, ROLE_GATEWAY);
	for (uint32_t stream = 1; stream < 12 && !a.closed; stream += 2) {
		say(MSG_EXCHANGE, stream, true, &(struct msg_exchange){0}, 10);
		for (int i = 0; i < 1023 && !a.closed; i++)
			say(MSG_DATA, stream, true, NULL, LIMIT_FRAME_PAYLOAD);
	}
}

static void rude_payload(void)
{
	say_hello(1, ROLE_GATEWAY);
	say(MSG_CREDIT, 1, false, &(struct msg_credit){1}, 1);
}

static void rude_descriptors(void)
{
	struct buf frame;

	say_hello(1, ROLE_GATEWAY);
	buf_init(&frame, LIMIT_FRAME);
	message_encode(&frame, MSG_PING, 0, false, 1, NULL);
	raw_frame(&frame, SPAN_NONE, &raw, 1);
}

static void rude_announcement(void)
{
	struct buf frame;

	say_hello(1, ROLE_GATEWAY);
	buf_init(&frame, LIMIT_FRAME);
	message_encode(&frame, MSG_PING, 0, false, 1, NULL);
	raw_frame(&frame, SPAN_NONE, NULL, 0);
}

static const struct {
	void (*act)(void);
	int code;
	const char *why;
} rude[] = {
	{rude_version, -ERR_PROTOCOL, "catalogue version 0, the oldest accepted is 1"},
	{rude_role, -ERR_PROTOCOL, "the peer says it is admin, not gateway"},
	{rude_role_number, -ERR_PROTOCOL, "the peer says it is unknown, not gateway"},
	{rude_silence, -ERR_PROTOCOL, "PING before HELLO"},
	{rude_sender, -ERR_PROTOCOL, "gateway may not send EXCHANGE_FORWARDED to worker"},
	{rude_number, -ERR_PROTOCOL, "unknown message number 32767"},
	{rude_short_frame, -ERR_PROTOCOL, "shorter than its header"},
	{rude_data, -ERR_PROTOCOL, "DATA on stream 9, where nothing began"},
	{rude_control_in_pieces, -ERR_PROTOCOL, "CREDIT does not come in pieces"},
	{rude_twice, -ERR_PROTOCOL, "EXCHANGE on stream 1 within a message"},
	{rude_crowd, -ERR_TOO_MANY, "more than 256 messages in pieces"},
	{rude_length, -ERR_TOO_LARGE, "EXCHANGE is longer than 67108864 bytes"},
	{rude_total, -ERR_TOO_LARGE, "more than 268435456 bytes in pieces"},
	{rude_payload, -ERR_TOO_LARGE, "CREDIT with 1 bytes; at most 0"},
	{rude_descriptors, -ERR_PROTOCOL, "protocol"}, /* the endpoint takes none on this link */
	{rude_announcement, -ERR_PROTOCOL, "PING with 0 descriptors instead of 0"},
};

START_TEST(rudeness_closes)
{
	open_raw(ROLE_WORKER, ROLE_GATEWAY);
	rude[_i].act();
	settle();
	ck_assert_uint_eq(a.closed, 1);
	ck_assert_msg(strstr(a.why, rude[_i].why), "%s", a.why);
	ck_assert_int_eq(a.code, rude[_i].code);
	ck_assert_uint_eq(a.n, 0);
	ck_assert_int_eq(link_post(a.link, MSG_PING, 0, NULL), -ERR_CLOSED);
	close(raw);
}
END_TEST

START_TEST(no_handler_closes)
{
	open_raw(ROLE_WORKER, ROLE_GATEWAY);
	a.handlers.on[MSG_CREDIT] = NULL;
	say_hello(1, ROLE_GATEWAY);
	say(MSG_CREDIT, 1, false, &(struct msg_credit){1}, 0);
	ck_assert_uint_eq(a.closed, 1);
	ck_assert_str_eq(a.why, "no handler for CREDIT");
	close(raw);
}
END_TEST

/* A newer program's HELLO has a higher version and more fields. */
START_TEST(newer_peer_is_welcome)
{
	open_raw(ROLE_WORKER, ROLE_GATEWAY);
	say_hello(MESSAGE_VERSION + 1, ROLE_GATEWAY);
	say(MSG_CREDIT, 1, false, &(struct msg_credit){1}, 0);
	ck_assert_uint_eq(a.closed, 0);
	ck_assert_uint_eq(a.n, 1);
	close(raw);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {both_sides_speak, streams_do_not_meet, a_ping_is_answered,
		what_may_not_be_said_is_not_sent, no_handler_closes, newer_peer_is_welcome};
	Suite *suite = suite_create("link");
	TCase *cases = tcase_create("link");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, rudeness_closes, 0, (int)(sizeof(rude) / sizeof(*rude)));
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		tcase_add_test(cases, tests[i]);
	suite_add_tcase(suite, cases);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
