/* Answers of HTTP/1: whole or streamed. */
#include "http_internal.h"

#include <stdio.h>

/* Status line, Date, Content-Length or Transfer-Encoding, Connection, those of SSE. */
#define HEAD_FIXED_MAX 320

static bool answerable(const struct http_socket *sock)
{
	return (sock->phase == HTTP_IN_BODY || sock->phase == HTTP_PENDING) && !sock->broken;
}

bool http_header_is_ours(struct span name)
{
	static const char *const ours[] = {
		"Content-Length", "Transfer-Encoding", "Connection", "Date"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		if (http1_name_is(name, ours[i]))
			return true;
	return false;
}

static int write_headers(struct buf *out, const struct http1_header *headers, unsigned nheaders)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < nheaders; i++)
		r = http_header_is_ours(headers[i].name)
			    ? -ERR_INVALID_ARGUMENT
			    : http1_write_header(out, headers[i].name, headers[i].value);
	return r;
}

bool http_status_is_bodyless(unsigned status)
{
	return status == 204 || status == 304;
}

static int write_connection(struct http_socket *sock, unsigned status, struct buf *out)
{
	if (sock->switched)
		return buf_append_str(out, "Connection: Upgrade\r\n");
	/* its Upgrade header is for the next hop alone, RFC 9110 §7.8 and §15.5.22 */
	if (status == 426)
		return buf_append_str(out, sock->will_close ? "Connection: close, Upgrade\r\n"
							    : "Connection: Upgrade\r\n");
	if (sock->will_close)
		return buf_append_str(out, "Connection: close\r\n");
	return sock->minor == 0 ? buf_append_str(out, "Connection: keep-alive\r\n") : 0;
}

/* framing is a whole header line or empty. */
static int append_head(struct http_socket *sock, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span framing)
{
	struct buf *out = &sock->out;
	int r = http1_write_status_line(out, status);

	if (r == 0)
		r = buf_append_str(out, "Date: ");
	if (r == 0)
		r = buf_append_span(out, http_server_date(sock->server));
	if (r == 0)
		r = buf_append_str(out, "\r\n");
	if (r == 0)
		r = write_headers(out, headers, nheaders);
	if (r == 0)
		r = buf_append_span(out, framing);
	if (r == 0)
		r = write_connection(sock, status, out);
	return r ? r : http1_write_head_end(out);
}

static int write_head(struct http_socket *sock, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span framing, size_t room)
{
	size_t before = sock->out.len, need = HEAD_FIXED_MAX + room;
	int r;

	for (unsigned i = 0; i < nheaders; i++)
		need += headers[i].name.len + headers[i].value.len + 4;
	r = buf_reserve(&sock->out, need);
	if (r == 0)
		r = append_head(sock, status, headers, nheaders, framing);
	if (r < 0)
		buf_cut(&sock->out, before);
	return r;
}

static void decide_close(struct http_socket *sock, bool until_close)
{
	sock->will_close =
		until_close || !sock->keep_alive || !sock->body_done || http_socket_must_end(sock);
}

/* With what the client may already have sent unread, closing at once would reset the answer on its
 * way. */
static void finish(struct http_socket *sock)
{
	bool more = !sock->body_done || sock->keep_alive || sock->input.len > 0 ||
		    http_input_saved(sock) > 0 || sock->readable;

	buf_free(&sock->body);
	if (sock->will_close || http_socket_must_end(sock)) {
		http_socket_wind_up(sock, more);
		return;
	}
	http1_next(sock->http);
	sock->phase = HTTP_READING;
	sock->minor = 1;
	sock->is_head = false;
	if (sock->pumping)
		return;
	http_input_set_timer(sock);
	http_server_queue(sock, HTTP_THIS_TURN);
}

static int respond(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span body)
{
	struct http_socket *sock = conn->sock;
	char line[48];
	int n = 0, r;

	if (!answerable(sock))
		return -ERR_CLOSED;
	if (status < 200)
		return -ERR_INVALID_ARGUMENT;
	if (body.len > sock->server->limits.response)
		return -ERR_TOO_LARGE;
	decide_close(sock, false);
	if (!http_status_is_bodyless(status))
		n = snprintf(line, sizeof(line), "Content-Length: %zu\r\n", body.len);
	if (sock->is_head || http_status_is_bodyless(status))
		body.len = 0;
	r = write_head(sock, status, headers, nheaders, span_of(line, (size_t)n),
		body.len < HTTP_DIRECT_MIN ? body.len : 0);
	if (r < 0)
		return r;
	if (http_out_put(sock, &body, 1) < 0)
		sock->broken = true;
	finish(sock);
	return 0;
}

static int begin_framing(struct http_socket *sock, bool bodyless, enum http_stream stream,
	uint64_t length, char *line, size_t size)
{
	static const char sse[] = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n"
				  "X-Accel-Buffering: no\r\n";

	sock->chunked = stream != HTTP_STREAM_LENGTH && sock->minor > 0 && !bodyless;
	if (stream == HTTP_STREAM_LENGTH)
		return snprintf(line, size, "Content-Length: %llu\r\n", (unsigned long long)length);
	return snprintf(line, size, "%s%s", stream == HTTP_STREAM_SSE ? sse : "",
		sock->chunked ? "Transfer-Encoding: chunked\r\n" : "");
}

static int begin(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, enum http_stream stream, uint64_t length)
{
	struct http_socket *sock = conn->sock;
	bool bodyless = http_status_is_bodyless(status);
	char line[160];
	int n, r;

	if (!answerable(sock))
		return -ERR_CLOSED;
	if (status < 200 || (bodyless && stream == HTTP_STREAM_LENGTH))
		return -ERR_INVALID_ARGUMENT;
	n = begin_framing(sock, bodyless, stream, length, line, sizeof(line));
	sock->without_body = bodyless || sock->is_head;
	decide_close(sock, stream != HTTP_STREAM_LENGTH && !sock->chunked && !sock->without_body);
	r = write_head(sock, status, headers, nheaders, span_of(line, (size_t)n), 0);
	if (r < 0)
		return r;
	sock->stream = stream;
	sock->stream_left = length;
	sock->phase = HTTP_STREAMING;
	if (!sock->pumping)
		http_server_queue(sock, HTTP_THIS_TURN);
	return 0;
}

int http_conn_switch(struct http_conn *conn, const struct http1_header *headers, unsigned nheaders)
{
	struct http_socket *sock = conn->sock;
	int r;

	if (conn->protocol != &http1_protocol)
		return -ERR_INVALID_ARGUMENT;
	if (sock->phase != HTTP_PENDING || sock->broken)
		return -ERR_CLOSED;
	if (sock->minor == 0)
		return -ERR_INVALID_ARGUMENT;
	sock->switched = true;
	r = write_head(sock, 101, headers, nheaders, SPAN_NONE, 0);
	if (r < 0) {
		sock->switched = false;
		return r;
	}
	http_conn_release_request(conn);
	sock->chunked = sock->without_body = false;
	sock->will_close = true;
	sock->stream = HTTP_STREAM_CHUNKED;
	sock->phase = HTTP_STREAMING;
	if (!sock->pumping)
		http_server_queue(sock, HTTP_THIS_TURN);
	return 0;
}

static int write_piece(struct http_conn *conn, struct span data)
{
	struct http_socket *sock = conn->sock;
	char line[HTTP1_CHUNK_LINE_MAX];
	struct span parts[3] = {SPAN_NONE, data, SPAN_NONE};
	int r;

	if (sock->phase != HTTP_STREAMING || sock->broken)
		return -ERR_CLOSED;
	if (data.len > sock->server->limits.output ||
		(sock->stream == HTTP_STREAM_LENGTH && data.len > sock->stream_left))
		return -ERR_TOO_LARGE;
	if (data.len == 0)
		return 0;
	if (!sock->without_body &&
		http_socket_unsent(sock) + data.len > sock->server->limits.output) {
		sock->wants_writable = true;
		return -ERR_AGAIN;
	}
	if (sock->chunked) {
		parts[0] = span_of(line, http1_chunk_line(line, data.len));
		parts[2] = SPAN_LIT("\r\n");
	}
	r = sock->without_body ? 0 : http_out_put(sock, parts, 3);
	if (r == 0 && sock->stream == HTTP_STREAM_LENGTH)
		sock->stream_left -= data.len;
	if (!sock->pumping)
		http_server_queue(sock, HTTP_THIS_TURN);
	return r;
}

static int end(struct http_conn *conn)
{
	struct http_socket *sock = conn->sock;
	struct span last = SPAN_LIT("0\r\n\r\n");

	if (sock->phase != HTTP_STREAMING || sock->broken)
		return -ERR_CLOSED;
	if (sock->stream == HTTP_STREAM_LENGTH && sock->stream_left > 0 && !sock->without_body) {
		http_socket_kill(sock, true);
		return -ERR_CLOSED;
	}
	if (sock->chunked && !sock->without_body && http_out_put(sock, &last, 1) < 0) {
		http_socket_kill(sock, true);
		return -ERR_CLOSED;
	}
	sock->wants_writable = false;
	finish(sock);
	return 0;
}

static void close_conn(struct http_conn *conn, bool abort)
{
	http_socket_kill(conn->sock, abort);
}

static size_t unsent(const struct http_conn *conn)
{
	return http_socket_unsent(conn->sock);
}

static void release_request(struct http_conn *conn)
{
	struct http_socket *sock = conn->sock;

	if ((sock->phase != HTTP_PENDING && sock->phase != HTTP_STREAMING) || !sock->body_done)
		return;
	buf_free(&sock->body);
	http1_release(sock->http);
}

static const char *version(const struct http_conn *conn)
{
	return conn->sock->minor ? "1.1" : "1.0";
}

const struct http_protocol http1_protocol = {
	.respond = respond,
	.begin = begin,
	.write = write_piece,
	.end = end,
	.close = close_conn,
	.unsent = unsent,
	.release_request = release_request,
	.version = version,
};
