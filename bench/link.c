/*
 * bench_link [round trips]: what a message there and back costs on a link between two processes:
 * our SP endpoint over a Unix socket pair, and libnng's pair0 over ipc. 512-byte messages, one and
 * 16 in flight. CPU time is that of both processes together, user and system, all threads.
 */
#include "clock.h"
#include "sp.h"

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_LEN 512
#define WARM_UP 1000u
#define ROUND_TRIPS 50000u

struct result {
	double cpu_us;
	double wall_us;
};

/* One side's view of a run; the child only echoes. */
struct bench {
	struct event_base *base;
	unsigned in_flight;
	unsigned total; /* round trips wanted, warm-up included */
	unsigned sent;
	unsigned done;
	bool echo;
	pid_t peer;
	double cpu_start;
	uint64_t wall_start;
};

_Noreturn static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static double cpu_us(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		die("clock_getcpuclockid");
	return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static void measure_start(struct bench *bench)
{
	bench->cpu_start = cpu_us(0) + cpu_us(bench->peer);
	bench->wall_start = clock_us();
}

static struct result measure_end(const struct bench *bench)
{
	double n = bench->total - WARM_UP;

	return (struct result){
		.cpu_us = (cpu_us(0) + cpu_us(bench->peer) - bench->cpu_start) / n,
		.wall_us = (double)(clock_us() - bench->wall_start) / n,
	};
}

/* Forks; the child runs echo(arg) and ends with its parent. */
static pid_t fork_echo(void (*echo)(void *arg), void *arg)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		echo(arg);
		_exit(EXIT_SUCCESS);
	}
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
}

/* ---- our endpoint ---- */

static void ours_send(struct sp *sp, const char *body, size_t len)
{
	struct iovec iov = {(void *)body, len};

	if (sp_send(sp, SP_DATA, 0, &iov, 1, NULL, 0) < 0)
		die("sp_send");
}

static void ours_message(
	struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg)
{
	struct bench *bench = arg;

	(void)id;
	(void)fds;
	(void)nfds;
	if (!bench->echo) {
		if (++bench->done == WARM_UP)
			measure_start(bench);
		if (bench->done == bench->total)
			event_base_loopbreak(bench->base);
		if (bench->sent == bench->total)
			return;
		bench->sent++;
	}
	ours_send(sp, body.p, body.len);
}

static void ours_closed(struct sp *sp, int code, void *arg)
{
	struct bench *bench = arg;

	(void)sp;
	(void)code;
	event_base_loopbreak(bench->base);
}

static struct sp *ours_open(struct bench *bench, int fd)
{
	static const struct sp_ops ops = {ours_message, ours_closed, NULL};
	static const struct sp_config config = {
		.protocol = SP_PAIR0,
		.mapping = SP_MAPPING_IPC,
		.max_message = 1 << 20,
		.max_queue = 4 << 20,
		.max_fds = 8,
	};
	struct sp *sp;

	bench->base = event_base_new();
	if (!bench->base || sp_new(bench->base, fd, &config, &ops, bench, &sp, NULL) < 0)
		die("sp_new");
	return sp;
}

static void ours_echo(void *arg)
{
	struct bench bench = {.echo = true};
	int *fds = arg;

	close(fds[0]);
	ours_open(&bench, fds[1]);
	event_base_dispatch(bench.base);
}

static struct result ours_run(unsigned in_flight, unsigned n)
{
	struct bench bench = {.in_flight = in_flight, .total = n + WARM_UP};
	char body[MESSAGE_LEN] = {0};
	struct result result;
	struct sp *sp;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		die("socketpair");
	bench.peer = fork_echo(ours_echo, fds);
	close(fds[1]);
	sp = ours_open(&bench, fds[0]);
	for (; bench.sent < in_flight; bench.sent++)
		ours_send(sp, body, sizeof(body));
	event_base_dispatch(bench.base);
	result = measure_end(&bench);
	sp_free(sp);
	event_base_free(bench.base);
	reap(bench.peer);
	return result;
}

/* ---- libnng ---- */

static void nng_check(int r, const char *what)
{
	if (r != 0) {
		fprintf(stderr, "%s: %s\n", what, nng_strerror(r));
		exit(EXIT_FAILURE);
	}
}

static nng_socket nng_open(void)
{
	nng_socket socket;

	nng_check(nng_pair0_open(&socket), "nng_pair0_open");
	nng_check(nng_socket_set_int(socket, NNG_OPT_SENDBUF, 32), "NNG_OPT_SENDBUF");
	nng_check(nng_socket_set_int(socket, NNG_OPT_RECVBUF, 32), "NNG_OPT_RECVBUF");
	return socket;
}

static void nng_echo(void *arg)
{
	nng_socket socket = nng_open();
	nng_msg *msg;

	nng_check(nng_listen(socket, arg, NULL, 0), "nng_listen");
	while (nng_recvmsg(socket, &msg, 0) == 0)
		nng_check(nng_sendmsg(socket, msg, 0), "nng_sendmsg");
}

static void nng_dial_patiently(nng_socket socket, const char *url)
{
	int r;

	do {
		usleep(10000);
		r = nng_dial(socket, url, NULL, 0);
	} while (r == NNG_ECONNREFUSED || r == NNG_ENOENT);
	nng_check(r, "nng_dial");
}

static void nng_send_new(nng_socket socket)
{
	nng_msg *msg;

	nng_check(nng_msg_alloc(&msg, MESSAGE_LEN), "nng_msg_alloc");
	nng_check(nng_sendmsg(socket, msg, 0), "nng_sendmsg");
}

static struct result nng_run(unsigned in_flight, unsigned n)
{
	struct bench bench = {.in_flight = in_flight, .total = n + WARM_UP};
	char url[100];
	nng_socket socket;
	struct result result;
	nng_msg *msg;

	/* abstract: leaves no file behind */
	snprintf(url, sizeof(url), "abstract://bench_link.%d.%u", (int)getpid(), in_flight);
	/* nng must not be running when the child is forked */
	bench.peer = fork_echo(nng_echo, url);
	socket = nng_open();
	nng_dial_patiently(socket, url);
	for (; bench.sent < in_flight; bench.sent++)
		nng_send_new(socket);
	while (bench.done < bench.total) {
		nng_check(nng_recvmsg(socket, &msg, 0), "nng_recvmsg");
		if (++bench.done == WARM_UP)
			measure_start(&bench);
		if (bench.sent < bench.total) {
			nng_check(nng_sendmsg(socket, msg, 0), "nng_sendmsg");
			bench.sent++;
		} else {
			nng_msg_free(msg);
		}
	}
	result = measure_end(&bench);
	nng_close(socket);
	reap(bench.peer);
	return result;
}

/* Each run in a process of its own: nng's threads of one would count in the next. */
static struct result in_child(
	struct result (*run)(unsigned in_flight, unsigned n), unsigned in_flight, unsigned n)
{
	struct result result;
	int fds[2], status;
	pid_t pid;

	if (pipe(fds) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		result = run(in_flight, n);
		_exit(write(fds[1], &result, sizeof(result)) == sizeof(result) ? 0 : 1);
	}
	close(fds[1]);
	if (read(fds[0], &result, sizeof(result)) != sizeof(result))
		die("a run failed");
	close(fds[0]);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return result;
}

int main(int argc, char **argv)
{
	static const unsigned in_flight[] = {1, 16};
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : ROUND_TRIPS;

	if (n == 0) {
		fprintf(stderr, "usage: bench_link [round trips]\n");
		return EXIT_FAILURE;
	}
	printf("%u round trips of %d bytes; microseconds per round trip\n", n, MESSAGE_LEN);
	printf("%-10s %12s %12s %12s %12s %8s\n", "in flight", "ours CPU", "libnng CPU",
		"ours wall", "libnng wall", "CPU ratio");
	for (unsigned i = 0; i < sizeof(in_flight) / sizeof(*in_flight); i++) {
		struct result ours = in_child(ours_run, in_flight[i], n);
		struct result nng = in_child(nng_run, in_flight[i], n);

		printf("%-10u %12.2f %12.2f %12.2f %12.2f %7.1fx\n", in_flight[i], ours.cpu_us,
			nng.cpu_us, ours.wall_us, nng.wall_us, nng.cpu_us / ours.cpu_us);
	}
	return EXIT_SUCCESS;
}
