/* What leaves a connection: a bounded queue, gathered so that a head and its body leave in one
 * call. */
#include "http_internal.h"

/* Sent bytes at the front of the queue are cut off when they are at least
 * this many and half of it. */
#define COMPACT_MIN 65536u

size_t http_conn_unsent(const struct http_conn *conn)
{
	return conn->out.len - conn->out_used;
}

static void took(struct http_conn *conn, size_t n)
{
	conn->out_used += n;
	conn->write_window += n;
	conn->server->stats->bytes_out += n;
	if (conn->out_used == conn->out.len) {
		buf_free(&conn->out);
		conn->out_used = 0;
	} else if (conn->out_used >= COMPACT_MIN && conn->out_used >= conn->out.len / 2) {
		buf_consume(&conn->out, conn->out_used);
		conn->out_used = 0;
	}
}

/* One call for what waits and the parts. Returns how many bytes of the parts were taken, or
 * -ERR_CLOSED. */
static ssize_t write_through(struct http_conn *conn, const struct span *parts, int nparts)
{
	struct iovec iov[4];
	int n = 0;
	size_t waiting = http_conn_unsent(conn);
	ssize_t sent;

	if (waiting)
		iov[n++] = (struct iovec){conn->out.data + conn->out_used, waiting};
	for (int i = 0; i < nparts; i++)
		if (parts[i].len)
			iov[n++] = (struct iovec){(void *)parts[i].p, parts[i].len};
	sent = conn->transport.ops->write(conn->transport.state, iov, n);
	if (sent == -ERR_AGAIN) {
		conn->writable = false;
		return 0;
	}
	if (sent < 0) {
		conn->broken = true;
		return -ERR_CLOSED;
	}
	if ((size_t)sent <= waiting) {
		took(conn, (size_t)sent);
		return 0;
	}
	took(conn, waiting);
	conn->write_window += (size_t)sent - waiting;
	conn->server->stats->bytes_out += (size_t)sent - waiting;
	return sent - (ssize_t)waiting;
}

static int append_rest(struct http_conn *conn, const struct span *parts, int nparts, size_t skip)
{
	size_t total = 0;
	int r;

	for (int i = 0; i < nparts; i++)
		total += parts[i].len;
	if (total == skip)
		return 0;
	r = buf_reserve(&conn->out, total - skip);
	for (int i = 0; r == 0 && i < nparts; i++) {
		size_t n = skip < parts[i].len ? skip : parts[i].len;

		r = buf_append(&conn->out, parts[i].p + n, parts[i].len - n);
		skip -= n;
	}
	return r;
}

int http_out_put(struct http_conn *conn, const struct span *parts, int nparts)
{
	size_t total = 0;
	ssize_t sent = 0;
	int r;

	if (conn->broken || conn->phase == HTTP_DEAD)
		return -ERR_CLOSED;
	for (int i = 0; i < nparts; i++)
		total += parts[i].len;
	if (total >= HTTP_DIRECT_MIN && conn->writable)
		sent = write_through(conn, parts, nparts);
	if (sent < 0)
		return -ERR_CLOSED;
	r = append_rest(conn, parts, nparts, (size_t)sent);
	if (r < 0 && sent > 0) {
		/* half an answer is out and the rest cannot be kept */
		conn->broken = true;
		return -ERR_CLOSED;
	}
	return r;
}

void http_out_flush(struct http_conn *conn)
{
	while (conn->phase != HTTP_DEAD && http_conn_unsent(conn) && conn->writable &&
		!conn->broken)
		write_through(conn, NULL, 0);
}
