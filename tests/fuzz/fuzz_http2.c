/*
 * What a client sends on a connection of HTTP/2: in pieces of the size in the first byte, to an owner that
 * answers in all ways there are. The preface is put before it. Every stream that was opened must end, and
 * what is kept for the client must stay within the limits.
 */
#include "fuzz.h"
#include "http_conn.h"
#include "http_server.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HELD_MAX 8u
#define ROUNDS 4

static struct {
	struct http_conn *held[HELD_MAX];
	unsigned nheld, opened, closed;
	size_t unsent_max;
} owner;

static void hold(struct http_conn *conn)
{
	if (owner.nheld < HELD_MAX)
		owner.held[owner.nheld++] = conn;
	else
		http_conn_close(conn);
}

static void stream_some(struct http_conn *conn)
{
	static const char block[4096];

	if (http_conn_begin(conn, 200, NULL, 0, HTTP_STREAM_SSE, 0) < 0)
		return;
	http_conn_release_request(conn);
	while (http_conn_write(conn, span_of(block, sizeof(block))) == 0)
		FUZZ_CHECK(http_conn_unsent(conn) <= owner.unsent_max);
	hold(conn);
}

static void on_request(struct http_conn *conn, const struct http_request *request, void *arg)
{
	const struct http1_head *head = request->head;

	(void)arg;
	FUZZ_CHECK(head->method.len > 0);
	for (unsigned i = 0; i < head->nheaders; i++)
		FUZZ_CHECK(head->headers[i].name.len > 0 && head->headers[i].name.p[0] != ':');
	switch (head->path.len % 5) {
	case 0:
		hold(conn);
		break;
	case 1:
		http_conn_respond(conn, 200, head->headers, 0, request->body);
		break;
	case 2:
		stream_some(conn);
		break;
	case 3:
		http_conn_abort(conn);
		break;
	default:
		http_conn_respond_error(conn, -ERR_BUSY, "busy");
	}
}

static void forget(struct http_conn *conn)
{
	for (unsigned i = 0; i < owner.nheld; i++)
		if (owner.held[i] == conn)
			owner.held[i--] = owner.held[--owner.nheld];
}

static void on_head(struct http_conn *conn, const struct http1_head *head, void *arg)
{
	(void)arg;
	if (span_is(head->path, "/no"))
		http_conn_respond_error(conn, -ERR_FORBIDDEN, "not you");
}

static void on_writable(struct http_conn *conn, void *arg)
{
	(void)arg;
	http_conn_end(conn);
	forget(conn);
}

static void on_opened(struct http_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
	owner.opened++;
}

static void on_closed(struct http_conn *conn, void *arg)
{
	(void)arg;
	forget(conn);
	owner.closed++;
}

static const struct http_server_ops ops = {
	.request = on_request,
	.head = on_head,
	.writable = on_writable,
	.opened = on_opened,
	.closed = on_closed,
};

static void answer_held(void)
{
	unsigned n = owner.nheld;
	struct http_conn *conns[HELD_MAX];

	memcpy(conns, owner.held, sizeof(conns));
	for (unsigned i = 0; i < n; i++) {
		forget(conns[i]);
		if (http_conn_respond(conns[i], 200, NULL, 0, SPAN_LIT("late")) < 0)
			http_conn_end(conns[i]);
	}
}

/* Read what the server says, or its queue would fill. */
static void turn(struct event_base *base, int fd)
{
	static char drain[65536];

	for (int i = 0; i < ROUNDS; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		while (recv(fd, drain, sizeof(drain), MSG_DONTWAIT) > 0)
			;
	}
}

static void feed(struct event_base *base, int fd, struct span text, size_t step)
{
	while (text.len > 0) {
		size_t n = step < text.len ? step : text.len;
		ssize_t sent = send(fd, text.p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		turn(base, fd);
		if (sent <= 0)
			return;
		text = span_of(text.p + sent, text.len - (size_t)sent);
	}
}

static void serve(struct event_base *base, struct http_server *server, struct span text, size_t step)
{
	const struct net_address peer = {.kind = NET_UNIX};
	struct http_transport transport;
	struct http_conn *conn;
	int ends[2];

	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	transport = http_transport_plain(ends[0]);
	FUZZ_CHECK(http_conn_new(server, &transport, &peer, &conn) == 0);
	feed(base, ends[1], SPAN_LIT(PREFACE), SIZE_MAX);
	feed(base, ends[1], text, step);
	answer_held();
	turn(base, ends[1]);
	http_server_drain(server, HTTP_DRAIN_CLOSE);
	turn(base, ends[1]);
	close(ends[1]);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_limits limits = http_limits_default;
	struct event_base *base;
	struct http_server *server;

	if (size < 1)
		return 0;
	memset(&owner, 0, sizeof(owner));
	limits.head = 2048;
	limits.headers = 20;
	limits.body = 4096;
	limits.output = owner.unsent_max = 65536;
	limits.streams = 16;
	base = event_base_new();
	FUZZ_CHECK(base);
	FUZZ_CHECK(http_server_new(base, &limits, &ops, NULL, &server, NULL) == 0);
	serve(base, server, span_of((const char *)data + 1, size - 1), data[0] ? data[0] * 16u : SIZE_MAX);
	http_server_free(server);
	event_base_free(base);
	FUZZ_CHECK(owner.opened == owner.closed);
	return 0;
}
