/*
 * The SP endpoint against libnng: pair0, req0 and rep0, over ipc and tcp, with either side
 * listening; and nngcat as a person would point it at a node. The nng side runs in a thread of its
 * own and echoes, or asks and compares.
 */
#include "sp.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define ID 0x80000001u
#define TIMEOUT_MS 20000
#define MESSAGE_MAX (2u << 20)

static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 255, 256, 4096, 65535, 65536, 65537, 1 << 20};

/* protocol and listening are ours; four of each protocol */
enum { PAIRS = 0, REQS = 4, REPS = 8, VARIANTS = 12 };
static const struct variant {
	const char *name;
	enum sp_protocol protocol;
	enum sp_mapping mapping;
	bool listening;
} variants[VARIANTS] = {
	{"pair0, ipc, nng dials", SP_PAIR0, SP_MAPPING_IPC, true},
	{"pair0, ipc, nng listens", SP_PAIR0, SP_MAPPING_IPC, false},
	{"pair0, tcp, nng dials", SP_PAIR0, SP_MAPPING_TCP, true},
	{"pair0, tcp, nng listens", SP_PAIR0, SP_MAPPING_TCP, false},
	{"req0, ipc, nng dials", SP_REQ0, SP_MAPPING_IPC, true},
	{"req0, ipc, nng listens", SP_REQ0, SP_MAPPING_IPC, false},
	{"req0, tcp, nng dials", SP_REQ0, SP_MAPPING_TCP, true},
	{"req0, tcp, nng listens", SP_REQ0, SP_MAPPING_TCP, false},
	{"rep0, ipc, nng dials", SP_REP0, SP_MAPPING_IPC, true},
	{"rep0, ipc, nng listens", SP_REP0, SP_MAPPING_IPC, false},
	{"rep0, tcp, nng dials", SP_REP0, SP_MAPPING_TCP, true},
	{"rep0, tcp, nng listens", SP_REP0, SP_MAPPING_TCP, false},
};

static struct {
	struct event_base *base;
	char dir[64];
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char url[128];
	nng_socket nng;
	char failure[200]; /* of the nng thread; read after it was joined */
	struct sp *sp;
	char *body; /* the last message our side received */
	size_t len;
	uint32_t id;
	unsigned count;
	unsigned closed;
	bool echo;
} t;

static unsigned char pattern(size_t i, size_t len)
{
	return (unsigned char)(i * 7 + (i >> 8) + len);
}

static void pattern_fill(char *body, size_t len)
{
	for (size_t i = 0; i < len; i++)
		body[i] = (char)pattern(i, len);
}

static bool pattern_is(const char *body, size_t got, size_t len)
{
	if (got != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)body[i] != pattern(i, len))
			return false;
	return true;
}

static void on_message(
	struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg)
{
	struct iovec iov = {(void *)body.p, body.len};

	(void)fds;
	(void)arg;
	ck_assert_uint_eq(nfds, 0);
	ck_assert_uint_le(body.len, MESSAGE_MAX);
	t.count++;
	t.id = id;
	t.len = body.len;
	if (t.echo)
		ck_assert_int_eq(sp_send(sp, SP_DATA, id, &iov, 1, NULL, 0), 0);
	else if (body.len)
		memcpy(t.body, body.p, body.len);
}

static void on_closed(struct sp *sp, int code, void *arg)
{
	(void)sp;
	(void)arg;
	ck_assert_int_eq(code, -ERR_CLOSED);
	t.closed++;
}

static const struct sp_ops ops = {on_message, on_closed, NULL};

static void setup(void)
{
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.body = malloc(MESSAGE_MAX);
	ck_assert(t.base && t.body);
	snprintf(t.dir, sizeof(t.dir), "/tmp/test_sp_nng.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t.dir));
}

static void teardown(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/s", t.dir);
	unlink(path);
	rmdir(t.dir);
	sp_free(t.sp);
	event_base_free(t.base);
	free(t.body);
}

static void address_make(enum sp_mapping mapping)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&t.addr;
	struct sockaddr_in *in = (struct sockaddr_in *)&t.addr;

	if (mapping == SP_MAPPING_IPC) {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s/s", t.dir);
		snprintf(t.url, sizeof(t.url), "ipc://%s/s", t.dir);
		t.addr_len = sizeof(*un);
	} else {
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		snprintf(t.url, sizeof(t.url), "tcp://127.0.0.1:0");
		t.addr_len = sizeof(*in);
	}
}

/* A listening socket of ours; t.url is then where it can be dialled. */
static int our_listener(void)
{
	int fd = socket(t.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&t.addr, t.addr_len), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&t.addr, &t.addr_len), 0);
	if (t.addr.ss_family == AF_INET)
		snprintf(t.url, sizeof(t.url), "tcp://127.0.0.1:%d",
			ntohs(((struct sockaddr_in *)&t.addr)->sin_port));
	return fd;
}

static void sp_open(int fd, enum sp_protocol protocol, enum sp_mapping mapping)
{
	const struct sp_config config = {
		.protocol = protocol,
		.mapping = mapping,
		.max_message = MESSAGE_MAX,
		.max_queue = 2 * MESSAGE_MAX,
		/* that nng never sends any must not matter */
		.max_fds = mapping == SP_MAPPING_IPC ? 8 : 0,
	};
	struct err err = {0};

	ck_assert_msg(
		sp_new(t.base, fd, &config, &ops, NULL, &t.sp, &err) == 0, "%s", err_text(&err));
}

static int nng_open(enum sp_protocol ours)
{
	int r = ours == SP_PAIR0  ? nng_pair0_open(&t.nng)
		: ours == SP_REQ0 ? nng_rep0_open(&t.nng)
				  : nng_req0_open(&t.nng);

	if (r == 0)
		r = nng_socket_set_ms(t.nng, NNG_OPT_RECVTIMEO, TIMEOUT_MS);
	if (r == 0)
		r = nng_socket_set_ms(t.nng, NNG_OPT_SENDTIMEO, TIMEOUT_MS);
	if (r == 0)
		r = nng_socket_set_size(t.nng, NNG_OPT_RECVMAXSZ, MESSAGE_MAX);
	return r;
}

/* Connect the two; t.sp and t.nng are then open. */
static void connect_both(const struct variant *v)
{
	int fd;

	address_make(v->mapping);
	ck_assert_int_eq(nng_open(v->protocol), 0);
	if (v->listening) {
		int listener = our_listener();

		ck_assert_int_eq(nng_dial(t.nng, t.url, NULL, NNG_FLAG_NONBLOCK), 0);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		close(listener);
	} else {
		nng_listener l;

		ck_assert_int_eq(nng_listen(t.nng, t.url, &l, 0), 0);
		if (v->mapping == SP_MAPPING_TCP) {
			int port = 0;

			ck_assert_int_eq(nng_listener_get_int(l, NNG_OPT_TCP_BOUND_PORT, &port), 0);
			((struct sockaddr_in *)&t.addr)->sin_port = htons((uint16_t)port);
		}
		fd = socket(t.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&t.addr, t.addr_len), 0);
	}
	ck_assert_int_ge(fd, 0);
	sp_open(fd, v->protocol, v->mapping);
}

static void until_count(unsigned count)
{
	while (t.count < count && !t.closed)
		ck_assert_int_eq(event_base_loop(t.base, EVLOOP_ONCE), 0);
	ck_assert_uint_eq(t.count, count);
}

/* Sends back what it gets, until the socket is closed. */
static void *nng_echo(void *arg)
{
	nng_msg *msg;

	(void)arg;
	while (nng_recvmsg(t.nng, &msg, 0) == 0)
		if (nng_sendmsg(t.nng, msg, 0) != 0) {
			nng_msg_free(msg);
			break;
		}
	return NULL;
}

/* We send each size and nng returns it. */
static void ask_nng(void)
{
	char *body = malloc(MESSAGE_MAX);
	pthread_t thread;

	ck_assert_ptr_nonnull(body);
	ck_assert_int_eq(pthread_create(&thread, NULL, nng_echo, NULL), 0);
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		struct iovec iov = {body, sizes[i]};

		pattern_fill(body, sizes[i]);
		ck_assert_int_eq(sp_send(t.sp, SP_DATA, ID + i, &iov, 1, NULL, 0), 0);
		until_count(i + 1);
		ck_assert_msg(pattern_is(t.body, t.len, sizes[i]), "%zu bytes, came %zu", sizes[i],
			t.len);
		ck_assert(t.id == 0 || t.id == ID + i);
	}
	nng_close(t.nng);
	pthread_join(thread, NULL);
	free(body);
}

/* nng sends each size and we return it. */
static void *nng_ask(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		nng_msg *msg;
		int r = nng_msg_alloc(&msg, sizes[i]);

		if (r == 0) {
			pattern_fill(nng_msg_body(msg), sizes[i]);
			r = nng_sendmsg(t.nng, msg, 0);
		}
		if (r == 0)
			r = nng_recvmsg(t.nng, &msg, 0);
		if (r != 0) {
			snprintf(t.failure, sizeof(t.failure), "%zu bytes: %s", sizes[i],
				nng_strerror(r));
			break;
		}
		if (!pattern_is(nng_msg_body(msg), nng_msg_len(msg), sizes[i]))
			snprintf(t.failure, sizeof(t.failure), "%zu bytes came back as %zu",
				sizes[i], nng_msg_len(msg));
		nng_msg_free(msg);
	}
	nng_close(t.nng);
	return NULL;
}

static void answer_nng(void)
{
	pthread_t thread;

	t.echo = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, nng_ask, NULL), 0);
	while (!t.closed)
		ck_assert_int_eq(event_base_loop(t.base, EVLOOP_ONCE), 0);
	pthread_join(thread, NULL);
	ck_assert_msg(t.failure[0] == 0, "%s", t.failure);
	ck_assert_uint_eq(t.count, COUNT(sizes));
}

START_TEST(test_we_ask)
{
	connect_both(&variants[_i]);
	ask_nng();
	while (!t.closed)
		ck_assert_int_eq(event_base_loop(t.base, EVLOOP_ONCE), 0);
}
END_TEST

START_TEST(test_nng_asks)
{
	connect_both(&variants[_i]);
	answer_nng();
}
END_TEST

/* Many at once in both directions, so that reads and writes hold parts of several messages. */
START_TEST(test_burst)
{
	enum { BURST = 500 };
	pthread_t thread;
	char *body = malloc(70000);
	unsigned sent = 0;

	ck_assert_ptr_nonnull(body);
	connect_both(&variants[_i]);
	ck_assert_int_eq(pthread_create(&thread, NULL, nng_echo, NULL), 0);
	for (unsigned i = 0; i < BURST; i++) {
		size_t len = i % 10 == 9 ? 66000 + i : i;
		struct iovec iov = {body, len};
		int r;

		pattern_fill(body, len);
		while ((r = sp_send(t.sp, SP_DATA, 0, &iov, 1, NULL, 0)) == -ERR_AGAIN)
			ck_assert_int_eq(event_base_loop(t.base, EVLOOP_ONCE), 0);
		ck_assert_int_eq(r, 0);
		sent++;
	}
	until_count(sent);
	ck_assert(pattern_is(t.body, t.len, 66000 + BURST - 1));
	nng_close(t.nng);
	pthread_join(thread, NULL);
	free(body);
}
END_TEST

/* A wrong protocol number: each side must refuse the other. */
START_TEST(test_mismatch)
{
	struct variant v = variants[_i];
	int fd, listener;
	char byte;

	address_make(v.mapping);
	ck_assert_int_eq(nng_open(v.protocol), 0);
	listener = our_listener();
	ck_assert_int_eq(nng_dial(t.nng, t.url, NULL, NNG_FLAG_NONBLOCK), 0);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	/* nng hears a wrong number from us, and drops the connection */
	ck_assert_int_eq(write(fd, "\0SP\0\0\x63\0\0", 8), 8);
	while (recv(fd, &byte, 1, 0) > 0)
		continue;
	close(fd);
	close(listener);
	nng_close(t.nng);
}
END_TEST

/* nngcat's standard output, until it ends. Our loop runs meanwhile. */
struct cat_output {
	char text[1000];
	size_t len;
	bool ended;
};

static void on_cat_output(evutil_socket_t fd, short what, void *arg)
{
	struct cat_output *out = arg;
	ssize_t n = read(fd, out->text + out->len, sizeof(out->text) - 1 - out->len);

	(void)what;
	if (n > 0)
		out->len += (size_t)n;
	else
		out->ended = true;
}

static pid_t cat_start(const char *socket_option, int *ret_stdout)
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		/* a pair's nngcat goes on receiving until its timeout: that ends it */
		execlp("nngcat", "nngcat", socket_option, "--recv-timeout", "2", "--send-timeout",
			"2", "--dial", t.url, "--data", "hello from nngcat", "--quoted",
			(char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	*ret_stdout = fds[0];
	return pid;
}

START_TEST(test_nngcat)
{
	static const struct {
		const char *option;
		enum sp_protocol ours;
	} cats[] = {{"--req0", SP_REP0}, {"--pair0", SP_PAIR0}};
	enum sp_mapping mapping = _i / 2 ? SP_MAPPING_TCP : SP_MAPPING_IPC;
	struct cat_output out = {0};
	struct event *event;
	int listener, fd, status, cat_stdout;
	pid_t pid;

	address_make(mapping);
	listener = our_listener();
	pid = cat_start(cats[_i % 2].option, &cat_stdout);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	t.echo = true;
	sp_open(fd, cats[_i % 2].ours, mapping);
	event = event_new(t.base, cat_stdout, EV_READ | EV_PERSIST, on_cat_output, &out);
	ck_assert_int_eq(event_add(event, NULL), 0);
	while (!out.ended)
		ck_assert_int_eq(event_base_loop(t.base, EVLOOP_ONCE), 0);
	event_free(event);
	close(cat_stdout);
	close(listener);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_eq(t.len, strlen("hello from nngcat"));
	ck_assert_msg(
		strstr(out.text, "\"hello from nngcat\"") != NULL, "nngcat printed: %s", out.text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sp_nng");
	TCase *tc = tcase_create("sp_nng");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_we_ask, PAIRS, REPS);
	tcase_add_loop_test(tc, test_nng_asks, PAIRS, REQS);
	tcase_add_loop_test(tc, test_nng_asks, REPS, VARIANTS);
	tcase_add_loop_test(tc, test_burst, PAIRS, REQS);
	tcase_add_loop_test(tc, test_mismatch, PAIRS, VARIANTS);
	tcase_add_loop_test(tc, test_nngcat, 0, 4);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
