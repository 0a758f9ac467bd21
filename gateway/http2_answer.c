/* Answers on a stream of HTTP/2: whole or streamed. */
#include "http2_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* :status, date, content-length, and those of SSE. */
#define HEADERS_FIXED 6u
/* Bytes at the front of the queue that are in frames are cut off when they are at least this many
 * and half of it. */
#define COMPACT_MIN 65536u

static struct http2_stream *of_conn(const struct http_conn *conn)
{
	return (struct http2_stream *)conn;
}

size_t http2_unsent(const struct http2_stream *stream)
{
	return stream->out.len - stream->out_used;
}

void http2_out_free(struct http2_stream *stream)
{
	stream->http2->queued -= http2_unsent(stream);
	buf_free(&stream->out);
	stream->out_used = 0;
}

static bool answerable(const struct http2_stream *stream)
{
	return (stream->phase == HTTP_IN_BODY || stream->phase == HTTP_PENDING) &&
	       !stream->http2->ending && !stream->http2->sock->broken;
}

/* --- headers -------------------------------------------------------------------------------- */

/* A list that is sent within the same call: nothing in it is copied. */
struct header_list {
	nghttp2_nv *nv;
	size_t n;
	char status[4];
	char length[24];
};

static void put(struct header_list *list, struct span name, struct span value)
{
	list->nv[list->n++] = (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)(value.p ? value.p : ""),
		name.len, value.len, NGHTTP2_NV_FLAG_NONE};
}

/* Any case: libnghttp2 sends them in lower case, but checks only such. */
static bool is_name(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = (uint8_t)tolower((unsigned char)name.p[i]);

		if (!nghttp2_check_header_name(&c, 1))
			return false;
	}
	return name.len > 0;
}

static int put_theirs(
	struct header_list *list, const struct http1_header *headers, unsigned nheaders)
{
	for (unsigned i = 0; i < nheaders; i++) {
		struct span name = headers[i].name, value = headers[i].value;

		if (http_header_is_ours(name) || !is_name(name) ||
			!nghttp2_check_header_value((const uint8_t *)value.p, value.len))
			return -ERR_INVALID_ARGUMENT;
		put(list, name, value);
	}
	return 0;
}

static void put_sse(struct header_list *list)
{
	put(list, SPAN_LIT("content-type"), SPAN_LIT("text/event-stream"));
	put(list, SPAN_LIT("cache-control"), SPAN_LIT("no-store"));
	put(list, SPAN_LIT("x-accel-buffering"), SPAN_LIT("no"));
}

/* length: UINT64_MAX for none. */
static int list_headers(struct http2_stream *stream, struct header_list *list, unsigned status,
	const struct http1_header *headers, unsigned nheaders, uint64_t length)
{
	list->nv = calloc(nheaders + HEADERS_FIXED, sizeof(*list->nv));
	if (!list->nv)
		return -ERR_NO_MEMORY;
	snprintf(list->status, sizeof(list->status), "%u", status % 1000);
	put(list, SPAN_LIT(":status"), span_str(list->status));
	put(list, SPAN_LIT("date"), http_server_date(stream->http2->sock->server));
	if (length != UINT64_MAX) {
		snprintf(list->length, sizeof(list->length), "%llu", (unsigned long long)length);
		put(list, SPAN_LIT("content-length"), span_str(list->length));
	}
	return put_theirs(list, headers, nheaders);
}

/* --- the body, frame by frame --------------------------------------------------------------- */

static void took(struct http2_stream *stream, size_t n)
{
	struct buf *out = &stream->out;

	stream->out_used += n;
	stream->write_window += n;
	stream->http2->queued -= n;
	if (stream->out_used == out->len) {
		http2_out_free(stream);
		http_timer_stop(stream->http2->sock->server, &stream->write_timer);
	} else if (stream->out_used >= COMPACT_MIN && stream->out_used >= out->len / 2) {
		buf_consume(out, stream->out_used);
		stream->out_used = 0;
	}
}

/* As much of it as libnghttp2 has a window for. */
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *data, size_t room,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct http2_stream *stream = source->ptr;
	size_t n = http2_unsent(stream);

	(void)session;
	(void)id;
	(void)arg;
	if (n > room)
		n = room;
	if (n)
		memcpy(data, stream->out.data + stream->out_used, n);
	if (n)
		took(stream, n);
	if (http2_unsent(stream) == 0 && stream->out_ended)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (n == 0) {
		stream->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

/* There is more, or the end. */
static void resume(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;

	if (stream->deferred)
		nghttp2_session_resume_data(stream->http2->session, stream->id);
	stream->deferred = false;
	if (http2_unsent(stream) && stream->write_timer.kind == HTTP_TIMER_NONE) {
		stream->write_window = 0;
		http_timer_start(server, &stream->write_timer, HTTP_TIMER_WRITE);
	}
	http2_wake(stream->http2);
}

static int queue(struct http2_stream *stream, struct span data)
{
	int r = buf_append_span(&stream->out, data);

	if (r == 0)
		stream->http2->queued += data.len;
	return r;
}

/* --- answers -------------------------------------------------------------------------------- */

static int submit(struct http2_stream *stream, const struct header_list *list, bool with_body)
{
	const nghttp2_data_provider body = {.source = {.ptr = stream}, .read_callback = read_body};
	int r = nghttp2_submit_response(stream->http2->session, stream->id, list->nv, list->n,
		with_body ? &body : NULL);

	return r < 0 ? -ERR_NO_MEMORY : 0;
}

/* What is queued leaves yet; what comes of the request's body is thrown away. */
static void finish(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;

	stream->out_ended = true;
	stream->phase = HTTP_CLOSING;
	if (stream->wants_writable)
		stream->http2->waiting--;
	stream->wants_writable = false;
	http_timer_stop(server, &stream->read_timer);
	http2_stream_release(stream);
	resume(stream);
}

static int respond(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span body)
{
	struct http2_stream *stream = of_conn(conn);
	const struct http_limits *limits = &conn->sock->server->limits;
	struct header_list list = {.n = 0};
	bool bodyless = http_status_is_bodyless(status);
	int r;

	if (!answerable(stream))
		return -ERR_CLOSED;
	if (status < 200 || status > 599)
		return -ERR_INVALID_ARGUMENT;
	if (body.len > limits->response)
		return -ERR_TOO_LARGE;
	/* the answers of all streams together are bounded as one is; an error of ours always fits */
	if (stream->http2->queued + body.len > limits->response && body.len > limits->output)
		return -ERR_TOO_LARGE;
	r = list_headers(
		stream, &list, status, headers, nheaders, bodyless ? UINT64_MAX : body.len);
	if (bodyless || stream->is_head)
		body.len = 0;
	if (r == 0)
		r = queue(stream, body);
	if (r == 0)
		r = submit(stream, &list, body.len > 0);
	free(list.nv);
	if (r < 0) {
		http2_out_free(stream);
		return r;
	}
	finish(stream);
	return 0;
}

static int begin(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, enum http_stream kind, uint64_t length)
{
	struct http2_stream *stream = of_conn(conn);
	struct header_list list = {.n = 0};
	bool bodyless = http_status_is_bodyless(status);
	int r;

	if (!answerable(stream))
		return -ERR_CLOSED;
	if (status < 200 || status > 599 || (bodyless && kind == HTTP_STREAM_LENGTH))
		return -ERR_INVALID_ARGUMENT;
	stream->without_body = bodyless || stream->is_head;
	r = list_headers(stream, &list, status, headers, nheaders,
		kind == HTTP_STREAM_LENGTH ? length : UINT64_MAX);
	if (r == 0 && kind == HTTP_STREAM_SSE)
		put_sse(&list);
	if (r == 0)
		r = submit(stream, &list, true);
	free(list.nv);
	if (r < 0)
		return r;
	stream->stream = kind;
	stream->stream_left = length;
	stream->phase = HTTP_STREAMING;
	http2_wake(stream->http2);
	return 0;
}

static int write_piece(struct http_conn *conn, struct span data)
{
	struct http2_stream *stream = of_conn(conn);
	const struct http_limits *limits = &conn->sock->server->limits;
	int r;

	if (stream->phase != HTTP_STREAMING || stream->http2->ending || conn->sock->broken)
		return -ERR_CLOSED;
	if (data.len > limits->output ||
		(stream->stream == HTTP_STREAM_LENGTH && data.len > stream->stream_left))
		return -ERR_TOO_LARGE;
	if (data.len == 0)
		return 0;
	if (!stream->without_body && http2_unsent(stream) + data.len > limits->output) {
		stream->http2->waiting += !stream->wants_writable;
		stream->wants_writable = true;
		return -ERR_AGAIN;
	}
	r = stream->without_body ? 0 : queue(stream, data);
	if (r < 0)
		return r;
	if (stream->stream == HTTP_STREAM_LENGTH)
		stream->stream_left -= data.len;
	resume(stream);
	return 0;
}

static int end(struct http_conn *conn)
{
	struct http2_stream *stream = of_conn(conn);

	if (stream->phase != HTTP_STREAMING || stream->http2->ending || conn->sock->broken)
		return -ERR_CLOSED;
	if (stream->stream == HTTP_STREAM_LENGTH && stream->stream_left > 0 &&
		!stream->without_body) {
		http2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR, false);
		return -ERR_CLOSED;
	}
	finish(stream);
	return 0;
}

static void close_stream(struct http_conn *conn, bool abort)
{
	http2_stream_reset(
		of_conn(conn), abort ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL, false);
}

static size_t unsent(const struct http_conn *conn)
{
	return http2_unsent(of_conn(conn));
}

static void release_request(struct http_conn *conn)
{
	struct http2_stream *stream = of_conn(conn);

	if (stream->phase == HTTP_PENDING || stream->phase == HTTP_STREAMING)
		http2_stream_release(stream);
}

static const char *version(const struct http_conn *conn)
{
	(void)conn;
	return "2";
}

const struct http_protocol http2_protocol = {
	.respond = respond,
	.begin = begin,
	.write = write_piece,
	.end = end,
	.close = close_stream,
	.unsent = unsent,
	.release_request = release_request,
	.version = version,
};
