/* proto/: the SP endpoint, over socket pairs; the peer is another endpoint or this test writing raw
 * bytes. */
#include "sp.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_MAX 2048
#define FDS_MAX 16
#define ID 0x80000007u
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

struct message {
	uint32_t id;
	size_t len;
	char *body;
	int fds[FDS_MAX];
	unsigned nfds;
};

/* An endpoint and what it was called with. */
struct end {
	struct sp *sp;
	struct message messages[MESSAGES_MAX];
	unsigned count;
	unsigned closed;
	int code;
	unsigned writable;
	unsigned pause_at; /* pause after that many messages */
	unsigned free_at;
	unsigned drain_at;
	bool free_in_closed;
	bool free_in_writable;
	struct end *drain_other;
};

static struct event_base *base;
static struct end near, far;

static void on_message(
	struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg)
{
	struct end *end = arg;
	struct message *m = &end->messages[end->count];

	ck_assert_ptr_eq(sp, end->sp);
	ck_assert_uint_lt(end->count, MESSAGES_MAX);
	ck_assert_uint_le(nfds, FDS_MAX);
	end->count++;
	if (end->drain_other)
		sp_drain(end->drain_other->sp);
	*m = (struct message){.id = id, .len = body.len, .nfds = nfds};
	m->body = malloc(body.len + 1);
	ck_assert_ptr_nonnull(m->body);
	if (body.len)
		memcpy(m->body, body.p, body.len);
	for (unsigned i = 0; i < nfds; i++)
		m->fds[i] = fds[i];
	if (end->count == end->drain_at)
		sp_drain(sp);
	if (end->count == end->pause_at)
		sp_pause_reading(sp, true);
	if (end->count == end->free_at) {
		sp_free(sp);
		end->sp = NULL;
		/* borrowed until this call returns, even so */
		ck_assert(body.len == 0 || memcmp(m->body, body.p, body.len) == 0);
	}
}

static void on_closed(struct sp *sp, int code, void *arg)
{
	struct end *end = arg;

	end->closed++;
	end->code = code;
	if (end->free_in_closed) {
		sp_free(sp);
		end->sp = NULL;
	}
}

static void on_writable(struct sp *sp, void *arg)
{
	struct end *end = arg;

	end->writable++;
	if (end->free_in_writable) {
		sp_free(sp);
		end->sp = NULL;
	}
}

static const struct sp_ops ops = {on_message, on_closed, on_writable};

static const struct sp_config pair0 = {
	.protocol = SP_PAIR0,
	.mapping = SP_MAPPING_IPC,
	.max_message = 4 << 20,
	.max_queue = 16 << 20,
	.max_fds = 4,
};

static void setup(void)
{
	base = event_base_new();
	ck_assert_ptr_nonnull(base);
}

static void end_clear(struct end *end)
{
	sp_free(end->sp);
	for (unsigned i = 0; i < end->count; i++) {
		free(end->messages[i].body);
		for (unsigned j = 0; j < end->messages[i].nfds; j++)
			close(end->messages[i].fds[j]);
	}
	memset(end, 0, sizeof(*end));
}

static void teardown(void)
{
	end_clear(&near);
	end_clear(&far);
	event_base_free(base);
}

static void pair_make(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void end_open(struct end *end, int fd, const struct sp_config *config)
{
	struct err err = {0};

	ck_assert_msg(
		sp_new(base, fd, config, &ops, end, &end->sp, &err) == 0, "%s", err_text(&err));
}

/* near, and the other side of its socket for raw bytes. */
static int open_raw(const struct sp_config *config)
{
	int fds[2];

	pair_make(fds);
	end_open(&near, fds[0], config);
	return fds[1];
}

static void open_both(const struct sp_config *a, const struct sp_config *b)
{
	int fds[2];

	pair_make(fds);
	end_open(&near, fds[0], a);
	end_open(&far, fds[1], b);
}

/* Turns of the loop without waiting, enough for anything already under way. */
static void turn(unsigned n)
{
	while (n-- > 0)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void until_count(const struct end *end, unsigned count)
{
	for (int i = 0; i < 100000 && end->count < count && !end->closed; i++)
		turn(1);
	ck_assert_uint_eq(end->count, count);
}

static void until_closed(const struct end *end, int code)
{
	for (int i = 0; i < 100000 && !end->closed; i++)
		turn(1);
	ck_assert_uint_eq(end->closed, 1);
	ck_assert_int_eq(end->code, code);
}

static int send_text(struct end *end, enum sp_priority priority, const char *text)
{
	struct iovec iov = {(char *)text, strlen(text)};

	return sp_send(end->sp, priority, 0, &iov, 1, NULL, 0);
}

static void check_text(const struct end *end, unsigned i, const char *text)
{
	ck_assert_uint_lt(i, end->count);
	ck_assert_msg(span_is(span_of(end->messages[i].body, end->messages[i].len), text),
		"message %u: %.*s", i, (int)end->messages[i].len, end->messages[i].body);
}

static unsigned char pattern(size_t i, size_t len)
{
	return (unsigned char)(i * 31 + (i >> 8) + len);
}

static char *body_make(size_t len)
{
	char *body = malloc(len + 1);

	ck_assert_ptr_nonnull(body);
	for (size_t i = 0; i < len; i++)
		body[i] = (char)pattern(i, len);
	return body;
}

static void check_body(const struct message *m, size_t len)
{
	ck_assert_uint_eq(m->len, len);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)m->body[i] != pattern(i, len))
			ck_abort_msg("byte %zu of %zu", i, len);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The wire form of a text message on IPC, at p. Returns its length. */
static size_t wire(char *p, const char *text)
{
	size_t len = strlen(text);

	memset(p, 0, 9);
	p[0] = 1;
	p[7] = (char)(len >> 8);
	p[8] = (char)len;
	memcpy(p + 9, text, len);
	return 9 + len;
}

static void raw_write(int fd, const void *p, size_t len)
{
	ck_assert_int_eq(write(fd, p, len), (ssize_t)len);
}

static void raw_hello(int fd, enum sp_protocol protocol)
{
	const char hello[8] = {0, 'S', 'P', 0, 0, (char)protocol, 0, 0};

	raw_write(fd, hello, sizeof(hello));
}

static void raw_text(int fd, const char *text)
{
	char buf[300];

	raw_write(fd, buf, wire(buf, text));
}

/* One sendmsg with n descriptors (all the same pipe end). */
static void raw_send_fds(int fd, const void *p, size_t len, int pass, unsigned n)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {(void *)p, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
	struct cmsghdr *cmsg = (struct cmsghdr *)control;

	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	*cmsg = (struct cmsghdr){CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &pass, sizeof(int));
	ck_assert_int_eq(sendmsg(fd, &msg, 0), (ssize_t)len);
}

/* Read all that is there, at most max. */
static size_t raw_read(int fd, char *p, size_t max)
{
	size_t len = 0;
	ssize_t n;

	while (len < max && (n = recv(fd, p + len, max - len, MSG_DONTWAIT)) > 0)
		len += (size_t)n;
	return len;
}

static const size_t sizes[] = {
	0, 1, 2, 100, 4087, 4096, 65535, 65536, 82000, 131063, 131072, 200000, 1 << 20, 3 << 20};

static const struct {
	enum sp_protocol a, b;
	enum sp_mapping mapping;
} kinds[] = {
	{SP_PAIR0, SP_PAIR0, SP_MAPPING_IPC},
	{SP_PAIR0, SP_PAIR0, SP_MAPPING_TCP},
	{SP_REQ0, SP_REP0, SP_MAPPING_IPC},
	{SP_REP0, SP_REQ0, SP_MAPPING_TCP},
};

/* Every size, thrice in a row and followed by a short one, in parts. */
START_TEST(test_sizes)
{
	struct sp_config a = pair0, b = pair0;
	uint32_t id = kinds[_i].a == SP_PAIR0 ? 0 : ID;

	a.protocol = kinds[_i].a;
	b.protocol = kinds[_i].b;
	a.mapping = b.mapping = kinds[_i].mapping;
	a.max_fds = b.max_fds = 0;
	open_both(&a, &b);
	for (size_t s = 0; s < COUNT(sizes); s++) {
		size_t len = sizes[s];
		char *body = body_make(len);
		struct iovec iov[3] = {{body, len / 3}, {NULL, 0}, {body + len / 3, len - len / 3}};
		unsigned seen = far.count;

		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(sp_send(near.sp, SP_DATA, id, iov, 3, NULL, 0), 0);
		iov[0] = (struct iovec){(char *)"end", 3};
		ck_assert_int_eq(sp_send(near.sp, SP_DATA, id, iov, 1, NULL, 0), 0);
		until_count(&far, seen + 4);
		for (unsigned i = seen; i < seen + 3; i++) {
			check_body(&far.messages[i], len);
			ck_assert_uint_eq(far.messages[i].id, id);
		}
		check_text(&far, seen + 3, "end");
		free(body);
	}
	ck_assert_uint_eq(sp_queued(near.sp), 0);
	ck_assert_uint_eq(near.closed + far.closed, 0);
}
END_TEST

/* What is sent in one turn leaves at its end, in as few writes as possible, and not before. */
START_TEST(test_gathered)
{
	int fd = open_raw(&pair0);
	char buf[4096];
	struct iovec iov = {(char *)"x", 1};

	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, NULL, 0), 0);
	ck_assert_uint_eq(raw_read(fd, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(sp_queued(near.sp), 8 + 50 * 10);
	turn(1);
	ck_assert_uint_eq(sp_queued(near.sp), 0);
	/* one skb per sendmsg: a read that asks for all gets all */
	ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 8 + 50 * 10);
	ck_assert_int_eq(send_text(&near, SP_DATA, "now"), 0);
	ck_assert_int_eq(sp_flush(near.sp), 0);
	ck_assert_uint_eq(raw_read(fd, buf, sizeof(buf)), 12);
	close(fd);
}
END_TEST

START_TEST(test_trickle)
{
	int fd = open_raw(&pair0), pipe_fds[2];
	char stream[1000];
	size_t len, with_fd;

	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	raw_hello(fd, SP_PAIR0);
	len = wire(stream, "first");
	len += wire(stream + len, "");
	with_fd = len;
	len += wire(stream + len, "with a descriptor");
	len += wire(stream + len, "last");
	for (size_t i = 0; i < len; i++) {
		if (i == with_fd)
			raw_send_fds(fd, stream + i, 1, pipe_fds[0], 1);
		else
			raw_write(fd, stream + i, 1);
		turn(1);
	}
	until_count(&near, 4);
	check_text(&near, 0, "first");
	check_text(&near, 1, "");
	check_text(&near, 2, "with a descriptor");
	check_text(&near, 3, "last");
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(near.messages[i].nfds, i == 2 ? 1 : 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(fd);
}
END_TEST

/* A large message in pieces of every awkward length: the buffer grows as it arrives. */
START_TEST(test_pieces)
{
	static const size_t pieces[] = {1, 7, 4096, 65536, 131072, 131073};
	struct sp_config config = pair0;
	size_t len = 700000, at = 0;
	char *body = body_make(len);
	int fd = open_raw(&config);
	char head[9] = {
		1, 0, 0, 0, 0, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len};

	raw_hello(fd, SP_PAIR0);
	raw_write(fd, head, sizeof(head));
	while (at < len) {
		for (size_t i = 0; i < COUNT(pieces) && at < len; i++) {
			size_t n = pieces[i] < len - at ? pieces[i] : len - at;

			raw_write(fd, body + at, n);
			at += n;
			turn(3);
		}
	}
	raw_text(fd, "after");
	until_count(&near, 2);
	check_body(&near.messages[0], len);
	check_text(&near, 1, "after");
	free(body);
	close(fd);
}
END_TEST

/* With the socket full, control overtakes waiting data, but never enters a message half written. */
START_TEST(test_priorities)
{
	int fd = open_raw(&pair0);
	size_t len = 50000, max = 60 * (len + 9) + 8, got = 0, at = 8;
	char *body = body_make(len), *stream = malloc(max);
	struct iovec iov = {body, len};
	unsigned order = 0, control_at = 0;
	size_t unsent;

	ck_assert_ptr_nonnull(stream);
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, NULL, 0), 0);
	turn(2);
	unsent = sp_queued(near.sp);
	ck_assert_uint_gt(unsent, 5 * len);
	ck_assert_int_eq(send_text(&near, SP_CONTROL, "first control"), 0);
	ck_assert_int_eq(send_text(&near, SP_CONTROL, "second control"), 0);
	for (int i = 0; i < 10000 && sp_queued(near.sp) > 0; i++) {
		got += raw_read(fd, stream + got, max - got);
		turn(1);
	}
	got += raw_read(fd, stream + got, max - got);
	ck_assert_uint_eq(got, 8 + 40 * (9 + len) + 9 + 13 + 9 + 14);
	for (; at < got; order++) {
		size_t n =
			(size_t)(unsigned char)stream[at + 7] << 8 | (unsigned char)stream[at + 8];

		ck_assert_int_eq(stream[at], 1);
		at += 9;
		if (n == 13) {
			ck_assert_int_eq(memcmp(stream + at, "first control", 13), 0);
			control_at = order;
		} else if (n == 14) {
			ck_assert_int_eq(memcmp(stream + at, "second control", 14), 0);
			ck_assert_uint_eq(order, control_at + 1);
		} else {
			ck_assert_uint_eq(n, len);
			ck_assert_int_eq(memcmp(stream + at, body, len), 0);
		}
		at += n;
	}
	/* whole messages before the controls: those written, with the one that was under way */
	ck_assert_uint_eq(control_at, 40 - unsent / (len + 9));
	free(body);
	free(stream);
	close(fd);
}
END_TEST

START_TEST(test_queue_limit)
{
	struct sp_config config = pair0;
	char *body = body_make(4000), *sink = malloc(1 << 20);
	struct iovec iov = {body, 4000};
	int fd, r, n = 0, size = 4096;

	config.max_queue = 100000;
	config.max_message = 100000;
	fd = open_raw(&config);
	ck_assert_int_eq(setsockopt(sp_fd(near.sp), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	while ((r = sp_send(near.sp, SP_DATA, 0, &iov, 1, NULL, 0)) == 0)
		n++;
	ck_assert_int_eq(r, -ERR_AGAIN);
	ck_assert_int_eq(n, (100000 - 8) / 4009);
	ck_assert_uint_le(sp_queued(near.sp), config.max_queue);
	n = 0;
	while ((r = sp_send(near.sp, SP_CONTROL, 0, &iov, 1, NULL, 0)) == 0)
		n++;
	ck_assert_int_eq(r, -ERR_AGAIN);
	ck_assert_uint_gt(sp_queued(near.sp), 2 * config.max_queue - 4009);
	ck_assert_uint_le(sp_queued(near.sp), 2 * config.max_queue);
	turn(5);
	ck_assert_uint_eq(near.writable, 0);
	for (int i = 0; i < 10000 && sp_queued(near.sp) > 0; i++) {
		if (sp_queued(near.sp) > config.max_queue / 2)
			ck_assert_uint_eq(near.writable, 0);
		raw_read(fd, sink, 1 << 20);
		turn(1);
	}
	ck_assert_uint_eq(near.writable, 1);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, (struct iovec[]){{sink, 100000}}, 1, NULL, 0),
		-ERR_TOO_LARGE);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, (struct iovec[]){{sink, 100001}}, 1, NULL, 0),
		-ERR_TOO_LARGE);
	free(body);
	free(sink);
	close(fd);
}
END_TEST

START_TEST(test_message_limit)
{
	struct sp_config config = pair0;
	int fd;

	config.max_message = 100;
	fd = open_raw(&config);
	raw_hello(fd, SP_PAIR0);
	raw_text(fd, "0123456789012345678901234567890123456789012345678901234567890123456789"
		     "012345678901234567890123456789");
	raw_text(fd, "0123456789012345678901234567890123456789012345678901234567890123456789"
		     "0123456789012345678901234567890");
	until_closed(&near, -ERR_TOO_LARGE);
	ck_assert_uint_eq(near.count, 1);
	ck_assert_int_eq(send_text(&near, SP_DATA, "x"), -ERR_CLOSED);
	turn(3);
	ck_assert_uint_eq(near.closed, 1);
	close(fd);
}
END_TEST

/* What a peer may not say: protocol of this side, bytes, expected code. */
static const struct {
	enum sp_protocol protocol;
	size_t len;
	const char *bytes;
	int code;
} bad[] = {
	{SP_PAIR0, 8, "\1SP\0\0\x10\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "\0sP\0\0\x10\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "\0SP\1\0\x10\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "\0SP\0\1\x10\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "\0SP\0\0\x11\0\0", -ERR_PROTOCOL}, /* pair1 */
	{SP_PAIR0, 8, "\0SP\0\0\x30\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "\0SP\0\0\x10\1\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "\0SP\0\0\x10\0\1", -ERR_PROTOCOL},
	{SP_REQ0, 8, "\0SP\0\0\x30\0\0", -ERR_PROTOCOL},
	{SP_REP0, 8, "\0SP\0\0\x31\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 8, "GET / HT", -ERR_PROTOCOL},
	{SP_PAIR0, 17, "\0SP\0\0\x10\0\0\2\0\0\0\0\0\0\0\0", -ERR_PROTOCOL},
	{SP_PAIR0, 17, "\0SP\0\0\x10\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff", -ERR_TOO_LARGE},
	{SP_REP0, 20, "\0SP\0\0\x30\0\0\1\0\0\0\0\0\0\0\3\x80\0\0", -ERR_PROTOCOL},
	{SP_REP0, 21, "\0SP\0\0\x30\0\0\1\0\0\0\0\0\0\0\4\x7f\0\0\1", -ERR_PROTOCOL},
	{SP_PAIR0, 4, "\0SP\0", -ERR_CLOSED},
	{SP_PAIR0, 0, "", -ERR_CLOSED},
};

START_TEST(test_bad)
{
	struct sp_config config = pair0;
	int fd;

	config.protocol = bad[_i].protocol;
	fd = open_raw(&config);
	for (size_t i = 0; i < bad[_i].len; i++) {
		raw_write(fd, bad[_i].bytes + i, 1);
		turn(1);
		/* not before the header is whole: the last byte may be the wrong one */
		ck_assert(!near.closed || i + 1 >= 8);
	}
	shutdown(fd, SHUT_WR);
	until_closed(&near, bad[_i].code);
	ck_assert_uint_eq(near.count, 0);
	close(fd);
}
END_TEST

START_TEST(test_bad_arguments)
{
	struct sp_config config = pair0;
	struct err err = {0};
	struct sp *sp = NULL;
	int fds[2];
	struct iovec huge[2] = {{(char *)"", SIZE_MAX}, {(char *)"", SIZE_MAX}};

	pair_make(fds);
	config.protocol = (enum sp_protocol)0x62;
	ck_assert_int_eq(
		sp_new(base, fds[0], &config, &ops, NULL, &sp, &err), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
	config.protocol = SP_REQ0;
	config.mapping = SP_MAPPING_TCP;
	config.max_fds = 0;
	end_open(&near, fds[1], &config);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 1, huge, 0, NULL, 0), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, ID, huge, 0, fds, 1), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, ID, huge, 2, NULL, 0), -ERR_TOO_LARGE);
	ck_assert_int_eq(sp_new(base, -1, &pair0, &ops, NULL, &sp, &err), -ERR_SYSTEM);
	ck_assert_ptr_null(sp);
}
END_TEST

/* Plain messages and messages with descriptors, all in the socket before the peer reads: each keeps
 * its own. */
START_TEST(test_fds)
{
	static const unsigned with[] = {0, 1, 0, 0, 3, 4, 0, 1, 0};
	unsigned before = open_fds();
	int pipes[16][2];
	unsigned n = 0;

	open_both(&pair0, &pair0);
	for (unsigned i = 0; i < COUNT(with); i++) {
		struct iovec iov = {(void *)&with[i], sizeof(with[i])};
		int fds[4];

		for (unsigned j = 0; j < with[i]; j++) {
			ck_assert_int_eq(pipe2(pipes[n + j], O_CLOEXEC), 0);
			fds[j] = pipes[n + j][1];
		}
		ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, fds, with[i]), 0);
		for (unsigned j = 0; j < with[i]; j++)
			close(fds[j]);
		n += with[i];
	}
	ck_assert_int_eq(sp_flush(near.sp), 0);
	until_count(&far, COUNT(with));
	n = 0;
	for (unsigned i = 0; i < COUNT(with); i++) {
		struct message *m = &far.messages[i];
		char byte = (char)('a' + i), seen;

		ck_assert_uint_eq(m->nfds, with[i]);
		for (unsigned j = 0; j < m->nfds; j++, n++) {
			ck_assert_int_eq(fcntl(m->fds[j], F_GETFD), FD_CLOEXEC);
			raw_write(m->fds[j], &byte, 1);
			ck_assert_int_eq(read(pipes[n][0], &seen, 1), 1);
			ck_assert_int_eq(seen, byte);
			close(pipes[n][0]);
		}
	}
	end_clear(&near);
	end_clear(&far);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

/* A long message with descriptors, partly written, with others behind it: they go with its first
 * byte, once. */
START_TEST(test_fds_partial)
{
	size_t len = 1000000;
	char *body = body_make(len);
	struct iovec iov = {body, len};
	int pipe_fds[2];
	unsigned before;

	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	open_both(&pair0, &pair0);
	before = open_fds();
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, pipe_fds, 2), 0);
	ck_assert_int_eq(send_text(&near, SP_DATA, "plain"), 0);
	ck_assert_int_gt(sp_flush(near.sp), 0);
	iov.iov_len = 3;
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, pipe_fds, 1), 0);
	until_count(&far, 3);
	check_body(&far.messages[0], len);
	ck_assert_uint_eq(far.messages[0].nfds, 2);
	ck_assert_uint_eq(far.messages[1].nfds, 0);
	ck_assert_uint_eq(far.messages[2].nfds, 1);
	ck_assert_uint_eq(open_fds(), before + 3);
	free(body);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}
END_TEST

/* Allowed, sent with one message. */
static const struct {
	unsigned max, sent;
} too_many[] = {{2, 3}, {0, 1}, {1, 16}};

START_TEST(test_fds_too_many)
{
	struct sp_config config = pair0;
	char buf[100];
	unsigned before;
	int fd;

	config.max_fds = too_many[_i].max;
	fd = open_raw(&config);
	before = open_fds();
	raw_hello(fd, SP_PAIR0);
	raw_text(fd, "before");
	raw_send_fds(fd, buf, wire(buf, "offending"), STDIN_FILENO, too_many[_i].sent);
	raw_text(fd, "after");
	until_closed(&near, -ERR_PROTOCOL);
	ck_assert_uint_eq(near.count, 1);
	check_text(&near, 0, "before");
	ck_assert_uint_eq(open_fds(), before);
	close(fd);
}
END_TEST

/* One at a time, with bytes of one message that never ends. */
START_TEST(test_fds_pile_up)
{
	int fd = open_raw(&pair0);
	char buf[100];
	unsigned before = open_fds();

	raw_hello(fd, SP_PAIR0);
	wire(buf, "a message in many pieces");
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_uint_eq(near.closed, 0);
		raw_send_fds(fd, buf + i, 1, STDIN_FILENO, 1);
		turn(3);
	}
	until_closed(&near, -ERR_PROTOCOL);
	ck_assert_uint_eq(open_fds(), before);
	close(fd);
}
END_TEST

START_TEST(test_fds_with_hello)
{
	int fd = open_raw(&pair0);
	unsigned before = open_fds();

	raw_send_fds(fd, "\0SP\0\0\x10\0\0", 8, STDIN_FILENO, 1);
	until_closed(&near, -ERR_PROTOCOL);
	ck_assert_uint_eq(open_fds(), before);
	close(fd);
}
END_TEST

/* No descriptor free in the receiver: the message that lost its own is not delivered. */
START_TEST(test_fds_exhausted)
{
	struct rlimit limit;
	char buf[100];
	int fd = open_raw(&pair0), next;

	raw_hello(fd, SP_PAIR0);
	raw_text(fd, "before");
	raw_send_fds(fd, buf, wire(buf, "with"), STDIN_FILENO, 2);
	raw_text(fd, "after");
	next = dup(STDIN_FILENO);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)next + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	until_closed(&near, -ERR_SYSTEM);
	ck_assert_uint_eq(near.count, 1);
	check_text(&near, 0, "before");
	close(next);
	close(fd);
}
END_TEST

/* More descriptors under way than the kernel allows this user: they wait, nothing is lost. */
START_TEST(test_fds_in_flight)
{
	struct rlimit limit = {40, 40};
	unsigned n = 120, sent = 0;
	int pass = STDIN_FILENO;
	struct iovec iov = {&sent, sizeof(sent)};

	if (geteuid() == 0)
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	open_both(&pair0, &pair0);
	sp_pause_reading(far.sp, true);
	for (; sent < n; sent++) {
		ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, &pass, 1), 0);
		if (sp_flush(near.sp) > 0)
			break;
	}
	ck_assert_uint_lt(sent, n);
	sp_pause_reading(far.sp, false);
	for (unsigned i = 0; i <= sent; i++) {
		while (far.count <= i)
			event_base_loop(base, EVLOOP_ONCE);
		ck_assert_uint_eq(far.messages[i].nfds, 1);
		ck_assert_int_eq(memcmp(far.messages[i].body, &i, sizeof(i)), 0);
		close(far.messages[i].fds[0]);
		far.messages[i].nfds = 0;
	}
}
END_TEST

/* All a peer said before it died is delivered, in the call, then closed. */
START_TEST(test_drain)
{
	int fd = open_raw(&pair0);
	size_t len = 90000;
	char *body = body_make(len);
	char head[9] = {1, 0, 0, 0, 0, 0, (char)(len >> 16), (char)(len >> 8), (char)len};

	raw_hello(fd, SP_PAIR0);
	for (int i = 0; i < 100; i++)
		raw_text(fd, "word");
	raw_write(fd, head, 9);
	raw_write(fd, body, len);
	raw_text(fd, "last");
	raw_write(fd, head, 5);
	close(fd);
	sp_pause_reading(near.sp, true);
	sp_drain(near.sp);
	ck_assert_uint_eq(near.count, 102);
	check_body(&near.messages[100], len);
	check_text(&near, 101, "last");
	ck_assert_uint_eq(near.closed, 1);
	ck_assert_int_eq(near.code, -ERR_CLOSED);
	sp_drain(near.sp);
	turn(3);
	ck_assert_uint_eq(near.closed, 1);
	free(body);
}
END_TEST

/* With a living peer it returns, having delivered what was there. */
START_TEST(test_drain_alive)
{
	int fd = open_raw(&pair0);

	raw_hello(fd, SP_PAIR0);
	sp_drain(near.sp);
	raw_text(fd, "one");
	raw_text(fd, "two");
	sp_drain(near.sp);
	ck_assert_uint_eq(near.count, 2);
	ck_assert_uint_eq(near.closed, 0);
	close(fd);
}
END_TEST

/* From within message: the rest of the socket is taken in the same turn. */
START_TEST(test_drain_inside)
{
	int fd = open_raw(&pair0);
	size_t len = 120000;
	char *body = body_make(len);
	char head[9] = {1, 0, 0, 0, 0, 0, (char)(len >> 16), (char)(len >> 8), (char)len};

	near.drain_at = 1;
	raw_hello(fd, SP_PAIR0);
	raw_text(fd, "one");
	raw_write(fd, head, 9);
	raw_write(fd, body, len);
	raw_text(fd, "two");
	close(fd);
	turn(1);
	ck_assert_uint_eq(near.count, 3);
	ck_assert_uint_eq(near.closed, 1);
	free(body);
}
END_TEST

/* A message stays as it was while its callee drains another endpoint. */
START_TEST(test_drain_other)
{
	struct sp_config config = pair0;
	static struct end other;
	int fd = open_raw(&config), fds[2];

	pair_make(fds);
	end_open(&other, fds[0], &config);
	near.drain_other = &other;
	raw_hello(fd, SP_PAIR0);
	raw_hello(fds[1], SP_PAIR0);
	raw_text(fds[1], "quite another text, from elsewhere");
	raw_text(fd, "a text that must stay");
	/* only near is looked at by the loop */
	sp_pause_reading(other.sp, true);
	until_count(&near, 1);
	check_text(&near, 0, "a text that must stay");
	check_text(&other, 0, "quite another text, from elsewhere");
	end_clear(&other);
	close(fd);
	close(fds[1]);
}
END_TEST

/* Writing to a dead peer: its last words come first. */
START_TEST(test_reset)
{
	size_t len = 1 << 20;
	char *body = body_make(len);
	struct iovec iov = {body, len};
	int fd = open_raw(&pair0);

	raw_hello(fd, SP_PAIR0);
	turn(2);
	for (int i = 0; i < 20; i++)
		raw_text(fd, "last words");
	close(fd);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, NULL, 0), 0);
	ck_assert_int_eq(sp_flush(near.sp), -ERR_CLOSED);
	ck_assert_uint_eq(near.count + near.closed, 0);
	ck_assert_int_eq(send_text(&near, SP_DATA, "x"), -ERR_CLOSED);
	until_closed(&near, -ERR_CLOSED);
	ck_assert_uint_eq(near.count, 20);
	free(body);
}
END_TEST

/* A peer that only stopped reading: no end of file comes, and still closed is called. */
START_TEST(test_broken_write_only)
{
	bool after_reading = _i == 1;
	int fd = open_raw(&pair0);

	raw_hello(fd, SP_PAIR0);
	raw_text(fd, "one");
	if (after_reading)
		until_count(&near, 1);
	shutdown(fd, SHUT_RD);
	ck_assert_int_eq(send_text(&near, SP_DATA, "unheard"), 0);
	until_closed(&near, -ERR_CLOSED);
	ck_assert_uint_eq(near.count, 1);
	close(fd);
}
END_TEST

START_TEST(test_pause)
{
	int fd = open_raw(&pair0);
	char buf[9] = {1, 0, 0, 0, 0, 0, 0, 0, 4};

	near.pause_at = 3;
	raw_hello(fd, SP_PAIR0);
	for (int i = 0; i < 10; i++)
		raw_text(fd, "text");
	raw_write(fd, buf, 9);
	raw_write(fd, "ha", 2);
	turn(5);
	ck_assert_uint_eq(near.count, 3);
	raw_write(fd, "lf", 2);
	near.pause_at = 5;
	sp_pause_reading(near.sp, false);
	ck_assert_uint_eq(near.count, 3);
	turn(5);
	ck_assert_uint_eq(near.count, 5);
	near.pause_at = 0;
	close(fd);
	turn(5);
	ck_assert_uint_eq(near.closed, 0);
	sp_pause_reading(near.sp, false);
	until_closed(&near, -ERR_CLOSED);
	ck_assert_uint_eq(near.count, 11);
	check_text(&near, 9, "text");
	check_text(&near, 10, "half");
}
END_TEST

/* Paused with the socket's end broken: closed waits for resuming, and for what was held back. */
START_TEST(test_pause_broken)
{
	int fd = open_raw(&pair0);

	near.pause_at = 1;
	raw_hello(fd, SP_PAIR0);
	raw_text(fd, "one");
	raw_text(fd, "two");
	turn(3);
	close(fd);
	ck_assert_int_eq(send_text(&near, SP_DATA, "x"), 0);
	turn(3);
	ck_assert_int_eq(send_text(&near, SP_DATA, "x"), -ERR_CLOSED);
	ck_assert_uint_eq(near.count, 1);
	ck_assert_uint_eq(near.closed, 0);
	sp_pause_reading(near.sp, false);
	until_closed(&near, -ERR_CLOSED);
	ck_assert_uint_eq(near.count, 2);
}
END_TEST

static const struct {
	unsigned at; /* which message frees */
	bool big;    /* the first message is long, so that it has a buffer of its own */
	bool drain;
} frees[] = {
	{1, false, false}, {2, false, false}, {1, true, false}, {2, true, true}, {3, false, true}};

START_TEST(test_free_in_message)
{
	int fd = open_raw(&pair0);
	size_t len = 150000;
	char *body = body_make(len);
	char head[9] = {1, 0, 0, 0, 0, 0, (char)(len >> 16), (char)(len >> 8), (char)len};

	near.free_at = frees[_i].at;
	raw_hello(fd, SP_PAIR0);
	if (frees[_i].big) {
		raw_write(fd, head, 9);
		raw_write(fd, body, len / 2);
		turn(2);
		raw_write(fd, body + len / 2, len - len / 2);
	}
	for (int i = 0; i < 5; i++)
		raw_text(fd, "text");
	if (frees[_i].drain)
		sp_drain(near.sp);
	turn(5);
	ck_assert_uint_eq(near.count, frees[_i].at);
	ck_assert_uint_eq(near.closed, 0);
	ck_assert_ptr_null(near.sp);
	free(body);
	close(fd);
}
END_TEST

START_TEST(test_free_in_closed)
{
	int fd = open_raw(&pair0);

	near.free_in_closed = true;
	raw_hello(fd, SP_PAIR0);
	if (_i == 0)
		raw_write(fd, "\7 this is no message", 20);
	close(fd);
	until_closed(&near, _i == 0 ? -ERR_PROTOCOL : -ERR_CLOSED);
	ck_assert_ptr_null(near.sp);
}
END_TEST

START_TEST(test_free_in_writable)
{
	struct sp_config config = pair0;
	int fd;

	config.max_queue = 100;
	fd = open_raw(&config);
	near.free_in_writable = true;
	while (send_text(&near, SP_DATA, "some text") == 0)
		continue;
	turn(3);
	ck_assert_uint_eq(near.writable, 1);
	ck_assert_ptr_null(near.sp);
	close(fd);
}
END_TEST

/* Freed with messages, descriptors and a half message pending: all is given back. */
START_TEST(test_free_pending)
{
	unsigned before = open_fds();
	int fd = open_raw(&pair0);
	char buf[100];
	int pass[2] = {STDIN_FILENO, STDOUT_FILENO};

	raw_hello(fd, SP_PAIR0);
	wire(buf, "a message in pieces");
	raw_send_fds(fd, buf, 12, STDIN_FILENO, 2);
	turn(3);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, NULL, 0, pass, 2), 0);
	end_clear(&near);
	close(fd);
	ck_assert_uint_eq(open_fds(), before);
	sp_free(NULL);
}
END_TEST

/* After a large message has passed, an idle endpoint holds its own record and nothing else. */
START_TEST(test_idle_memory)
{
	enum { ENDS = 200, LEN = 200000 }; /* longer than one read */
	static struct end ends[2];
	struct sp *sps[ENDS][2];
	char *body = body_make(LEN);
	struct iovec iov = {body, LEN};
	size_t before, used;
	int fds[2];

	open_both(&pair0, &pair0);
	ck_assert_int_eq(sp_send(near.sp, SP_DATA, 0, &iov, 1, NULL, 0), 0);
	until_count(&far, 1);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (int i = 0; i < ENDS; i++) {
		pair_make(fds);
		memset(ends, 0, sizeof(ends));
		end_open(&ends[0], fds[0], &pair0);
		end_open(&ends[1], fds[1], &pair0);
		ck_assert_int_eq(sp_send(ends[0].sp, SP_DATA, 0, &iov, 1, NULL, 0), 0);
		until_count(&ends[1], 1);
		check_body(&ends[1].messages[0], LEN);
		free(ends[1].messages[0].body);
		sps[i][0] = ends[0].sp;
		sps[i][1] = ends[1].sp;
	}
	used = mallinfo2().uordblks + mallinfo2().hblkhd - before;
	/* the bound includes libevent's own tables per socket */
	ck_assert_uint_lt(used / (ENDS * 2), 1200);
	for (int i = 0; i < ENDS; i++) {
		sp_free(sps[i][0]);
		sp_free(sps[i][1]);
	}
	free(body);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_loop_test(tc, test_sizes, 0, COUNT(kinds));
	tcase_add_test(tc, test_gathered);
	tcase_add_test(tc, test_trickle);
	tcase_add_test(tc, test_pieces);
	tcase_add_test(tc, test_priorities);
	tcase_add_test(tc, test_queue_limit);
	tcase_add_test(tc, test_message_limit);
	tcase_add_loop_test(tc, test_bad, 0, COUNT(bad));
	tcase_add_test(tc, test_bad_arguments);
	tcase_add_test(tc, test_fds);
	tcase_add_test(tc, test_fds_partial);
	tcase_add_loop_test(tc, test_fds_too_many, 0, COUNT(too_many));
	tcase_add_test(tc, test_fds_pile_up);
	tcase_add_test(tc, test_fds_with_hello);
	tcase_add_test(tc, test_fds_exhausted);
	tcase_add_test(tc, test_fds_in_flight);
	tcase_add_test(tc, test_drain);
	tcase_add_test(tc, test_drain_alive);
	tcase_add_test(tc, test_drain_inside);
	tcase_add_test(tc, test_drain_other);
	tcase_add_test(tc, test_reset);
	tcase_add_loop_test(tc, test_broken_write_only, 0, 2);
	tcase_add_test(tc, test_pause);
	tcase_add_test(tc, test_pause_broken);
	tcase_add_loop_test(tc, test_free_in_message, 0, COUNT(frees));
	tcase_add_loop_test(tc, test_free_in_closed, 0, 2);
	tcase_add_test(tc, test_free_in_writable);
	tcase_add_test(tc, test_free_pending);
	tcase_add_test(tc, test_idle_memory);
}

int main(void)
{
	Suite *suite = suite_create("sp");
	TCase *tc = tcase_create("sp");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
