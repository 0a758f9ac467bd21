/* Answers: whole or streamed. */
#include "http_internal.h"

#include <stdio.h>

/* Status line, Date, Content-Length or Transfer-Encoding, Connection, those of SSE. */
#define HEAD_FIXED_MAX 320

static bool answerable(const struct http_conn *conn)
{
	return (conn->phase == HTTP_IN_BODY || conn->phase == HTTP_PENDING) && !conn->broken;
}

static bool is_ours(struct span name)
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
		r = is_ours(headers[i].name)
			    ? -ERR_INVALID_ARGUMENT
			    : http1_write_header(out, headers[i].name, headers[i].value);
	return r;
}

/* Statuses whose answers end with their headers, RFC 9110 §6.4.1. */
static bool is_bodyless(unsigned status)
{
	return status == 204 || status == 304;
}

static int write_connection(struct http_conn *conn, struct buf *out)
{
	if (conn->switched)
		return buf_append_str(out, "Connection: Upgrade\r\n");
	if (conn->will_close)
		return buf_append_str(out, "Connection: close\r\n");
	return conn->minor == 0 ? buf_append_str(out, "Connection: keep-alive\r\n") : 0;
}

/* framing is a whole header line or empty. */
static int append_head(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span framing)
{
	struct buf *out = &conn->out;
	int r = http1_write_status_line(out, status);

	if (r == 0)
		r = buf_append_str(out, "Date: ");
	if (r == 0)
		r = buf_append_span(out, http_server_date(conn->server));
	if (r == 0)
		r = buf_append_str(out, "\r\n");
	if (r == 0)
		r = write_headers(out, headers, nheaders);
	if (r == 0)
		r = buf_append_span(out, framing);
	if (r == 0)
		r = write_connection(conn, out);
	return r ? r : http1_write_head_end(out);
}

static int write_head(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span framing, size_t room)
{
	size_t before = conn->out.len, need = HEAD_FIXED_MAX + room;
	int r;

	for (unsigned i = 0; i < nheaders; i++)
		need += headers[i].name.len + headers[i].value.len + 4;
	r = buf_reserve(&conn->out, need);
	if (r == 0)
		r = append_head(conn, status, headers, nheaders, framing);
	if (r < 0)
		buf_cut(&conn->out, before);
	return r;
}

static void decide_close(struct http_conn *conn, bool until_close)
{
	conn->will_close =
		until_close || !conn->keep_alive || !conn->body_done || conn->server->draining;
}

/* With what the client may already have sent unread, closing at once would reset the answer on its
 * way. */
static void finish(struct http_conn *conn)
{
	bool more = !conn->body_done || conn->keep_alive || conn->input.len > 0 ||
		    http_input_saved(conn) > 0 || conn->readable;

	buf_free(&conn->body);
	if (conn->will_close || conn->server->draining) {
		http_conn_wind_up(conn, more);
		return;
	}
	http1_next(conn->http);
	conn->phase = HTTP_READING;
	conn->minor = 1;
	conn->is_head = false;
	if (conn->pumping)
		return;
	http_input_set_timer(conn);
	http_server_queue(conn, HTTP_THIS_TURN);
}

int http_conn_respond(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span body)
{
	char line[48];
	int n = 0, r;

	if (!answerable(conn))
		return -ERR_CLOSED;
	if (status < 200)
		return -ERR_INVALID_ARGUMENT;
	if (body.len > conn->server->limits.response)
		return -ERR_TOO_LARGE;
	decide_close(conn, false);
	if (!is_bodyless(status))
		n = snprintf(line, sizeof(line), "Content-Length: %zu\r\n", body.len);
	if (conn->is_head || is_bodyless(status))
		body.len = 0;
	r = write_head(conn, status, headers, nheaders, span_of(line, (size_t)n),
		body.len < HTTP_DIRECT_MIN ? body.len : 0);
	if (r < 0)
		return r;
	if (http_out_put(conn, &body, 1) < 0)
		conn->broken = true;
	finish(conn);
	return 0;
}

static int begin_framing(struct http_conn *conn, bool bodyless, enum http_stream stream,
	uint64_t length, char *line, size_t size)
{
	static const char sse[] = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n"
				  "X-Accel-Buffering: no\r\n";

	conn->chunked = stream != HTTP_STREAM_LENGTH && conn->minor > 0 && !bodyless;
	if (stream == HTTP_STREAM_LENGTH)
		return snprintf(line, size, "Content-Length: %llu\r\n", (unsigned long long)length);
	return snprintf(line, size, "%s%s", stream == HTTP_STREAM_SSE ? sse : "",
		conn->chunked ? "Transfer-Encoding: chunked\r\n" : "");
}

int http_conn_begin(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, enum http_stream stream, uint64_t length)
{
	bool bodyless = is_bodyless(status);
	char line[160];
	int n, r;

	if (!answerable(conn))
		return -ERR_CLOSED;
	if (status < 200 || (bodyless && stream == HTTP_STREAM_LENGTH))
		return -ERR_INVALID_ARGUMENT;
	n = begin_framing(conn, bodyless, stream, length, line, sizeof(line));
	conn->without_body = bodyless || conn->is_head;
	decide_close(conn, stream != HTTP_STREAM_LENGTH && !conn->chunked && !conn->without_body);
	r = write_head(conn, status, headers, nheaders, span_of(line, (size_t)n), 0);
	if (r < 0)
		return r;
	conn->stream = stream;
	conn->stream_left = length;
	conn->phase = HTTP_STREAMING;
	if (!conn->pumping)
		http_server_queue(conn, HTTP_THIS_TURN);
	return 0;
}

int http_conn_switch(struct http_conn *conn, const struct http1_header *headers, unsigned nheaders)
{
	int r;

	if (conn->phase != HTTP_PENDING || conn->broken)
		return -ERR_CLOSED;
	if (conn->minor == 0)
		return -ERR_INVALID_ARGUMENT;
	conn->switched = true;
	r = write_head(conn, 101, headers, nheaders, SPAN_NONE, 0);
	if (r < 0) {
		conn->switched = false;
		return r;
	}
	http_conn_release_request(conn);
	conn->chunked = conn->without_body = false;
	conn->will_close = true;
	conn->stream = HTTP_STREAM_CHUNKED;
	conn->phase = HTTP_STREAMING;
	if (!conn->pumping)
		http_server_queue(conn, HTTP_THIS_TURN);
	return 0;
}

int http_conn_write(struct http_conn *conn, struct span data)
{
	char line[HTTP1_CHUNK_LINE_MAX];
	struct span parts[3] = {SPAN_NONE, data, SPAN_NONE};
	int r;

	if (conn->phase != HTTP_STREAMING || conn->broken)
		return -ERR_CLOSED;
	if (data.len > conn->server->limits.output ||
		(conn->stream == HTTP_STREAM_LENGTH && data.len > conn->stream_left))
		return -ERR_TOO_LARGE;
	if (data.len == 0)
		return 0;
	if (!conn->without_body &&
		http_conn_unsent(conn) + data.len > conn->server->limits.output) {
		conn->wants_writable = true;
		return -ERR_AGAIN;
	}
	if (conn->chunked) {
		parts[0] = span_of(line, http1_chunk_line(line, data.len));
		parts[2] = SPAN_LIT("\r\n");
	}
	r = conn->without_body ? 0 : http_out_put(conn, parts, 3);
	if (r == 0 && conn->stream == HTTP_STREAM_LENGTH)
		conn->stream_left -= data.len;
	if (!conn->pumping)
		http_server_queue(conn, HTTP_THIS_TURN);
	return r;
}

int http_conn_end(struct http_conn *conn)
{
	struct span last = SPAN_LIT("0\r\n\r\n");

	if (conn->phase != HTTP_STREAMING || conn->broken)
		return -ERR_CLOSED;
	if (conn->stream == HTTP_STREAM_LENGTH && conn->stream_left > 0 && !conn->without_body) {
		http_conn_abort(conn);
		return -ERR_CLOSED;
	}
	if (conn->chunked && !conn->without_body && http_out_put(conn, &last, 1) < 0) {
		http_conn_abort(conn);
		return -ERR_CLOSED;
	}
	conn->wants_writable = false;
	finish(conn);
	return 0;
}

void http_conn_abort(struct http_conn *conn)
{
	http_conn_kill(conn, true);
}
