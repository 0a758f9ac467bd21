/* What leaves a connection: a bounded queue, gathered so that a head and its body leave in one
 * call. */
#include "http_internal.h"

/* Sent bytes at the front of the queue are cut off when they are at least
 * this many and half of it. */
#define COMPACT_MIN 65536u

size_t http_socket_unsent(const struct http_socket *sock)
{
	return sock->out.len - sock->out_used;
}

static void took(struct http_socket *sock, size_t n)
{
	sock->out_used += n;
	sock->write_window += n;
	sock->server->stats->bytes_out += n;
	if (sock->out_used == sock->out.len) {
		buf_free(&sock->out);
		sock->out_used = 0;
	} else if (sock->out_used >= COMPACT_MIN && sock->out_used >= sock->out.len / 2) {
		buf_consume(&sock->out, sock->out_used);
		sock->out_used = 0;
	}
}

/* One call for what waits and the parts. Returns how many bytes of the parts were taken, or
 * -ERR_CLOSED. */
static ssize_t write_through(struct http_socket *sock, const struct span *parts, int nparts)
{
	struct iovec iov[4];
	int n = 0;
	size_t waiting = http_socket_unsent(sock);
	ssize_t sent;

	if (waiting)
		iov[n++] = (struct iovec){sock->out.data + sock->out_used, waiting};
	for (int i = 0; i < nparts; i++)
		if (parts[i].len)
			iov[n++] = (struct iovec){(void *)parts[i].p, parts[i].len};
	sent = sock->transport.ops->write(sock->transport.state, iov, n);
	if (sent == -ERR_AGAIN) {
		sock->writable = false;
		return 0;
	}
	if (sent < 0) {
		sock->broken = true;
		return -ERR_CLOSED;
	}
	if ((size_t)sent <= waiting) {
		took(sock, (size_t)sent);
		return 0;
	}
	took(sock, waiting);
	sock->write_window += (size_t)sent - waiting;
	sock->server->stats->bytes_out += (size_t)sent - waiting;
	return sent - (ssize_t)waiting;
}

static int append_rest(struct http_socket *sock, const struct span *parts, int nparts, size_t skip)
{
	size_t total = 0;
	int r;

	for (int i = 0; i < nparts; i++)
		total += parts[i].len;
	if (total == skip)
		return 0;
	r = buf_reserve(&sock->out, total - skip);
	for (int i = 0; r == 0 && i < nparts; i++) {
		size_t n = skip < parts[i].len ? skip : parts[i].len;

		r = buf_append(&sock->out, parts[i].p + n, parts[i].len - n);
		skip -= n;
	}
	return r;
}

int http_out_put(struct http_socket *sock, const struct span *parts, int nparts)
{
	size_t total = 0;
	ssize_t sent = 0;
	int r;

	if (sock->broken || sock->phase == HTTP_DEAD)
		return -ERR_CLOSED;
	for (int i = 0; i < nparts; i++)
		total += parts[i].len;
	if (total >= HTTP_DIRECT_MIN && sock->writable)
		sent = write_through(sock, parts, nparts);
	if (sent < 0)
		return -ERR_CLOSED;
	r = append_rest(sock, parts, nparts, (size_t)sent);
	if (r < 0 && sent > 0) {
		/* half an answer is out and the rest cannot be kept */
		sock->broken = true;
		return -ERR_CLOSED;
	}
	return r;
}

void http_out_flush(struct http_socket *sock)
{
	while (sock->phase != HTTP_DEAD && http_socket_unsent(sock) && sock->writable &&
		!sock->broken)
		write_through(sock, NULL, 0);
}
