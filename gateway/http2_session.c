/* A connection of HTTP/2: frames in, frames out, its end. */
#include "http2_internal.h"

#include <stdlib.h>

/* Rounds of filling the socket in one turn of the loop, before others get theirs. */
#define ROUNDS_PER_TURN 16
/* A block of headers beyond limits.head is read on, for HPACK's state, up to this multiple of it. */
#define BLOCK_FACTOR 4u
#define FRAME_MAX 16384u
/* CONTINUATION frames that a block within the limits does not need. */
#define CONTINUATIONS_SPARE 4u

void http2_wake(struct http2 *http2)
{
	if (!http2->sock->pumping)
		http_server_queue(http2->sock, HTTP_THIS_TURN);
}

void http2_terminate(struct http2 *http2, uint32_t code)
{
	if (http2->ending)
		return;
	http2->ending = true;
	if (nghttp2_session_terminate_session(http2->session, code) < 0)
		http2->sock->broken = true;
	http2_wake(http2);
}

static struct http2_stream *find(struct http2 *http2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(http2->session, id);
}

/* --- what comes ----------------------------------------------------------------------------- */

static bool begins_request(const nghttp2_frame *frame)
{
	return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream;

	http2->in_head = true;
	http2->block_size = 0;
	if (!begins_request(frame))
		return 0;
	stream = http2_stream_new(http2, frame->hd.stream_id);
	if (!stream)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	nghttp2_session_set_stream_user_data(session, stream->id, stream);
	return 0;
}

/*
 * HPACK makes large headers of single bytes: what is beyond the limit is not kept, and what is far
 * beyond it ends the connection. Trailers are not kept at all.
 */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find(http2, frame->hd.stream_id);

	(void)session;
	(void)flags;
	http2->block_size += name_len + value_len;
	if (http2->block_size > BLOCK_FACTOR * http2->sock->server->limits.head)
		http2_terminate(http2, NGHTTP2_ENHANCE_YOUR_CALM);
	else if (stream && stream->phase == HTTP_READING)
		http2_head_add(stream, span_of((const char *)name, name_len),
			span_of((const char *)value, value_len));
	return 0;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
	const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
	void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find(http2, frame->hd.stream_id);

	(void)session;
	(void)name;
	(void)name_len;
	(void)value;
	(void)value_len;
	(void)flags;
	if (stream && !stream->bad) {
		stream->bad = -ERR_BAD_HTTP;
		stream->bad_detail = "a header holds a character that must not be there";
	}
	return 0;
}

/* A stream that was passed over is closed; libnghttp2 would ignore what is sent on it. */
static void check_id(struct http2 *http2, int32_t id)
{
	if (id >= http2->gap_first && id <= http2->gap_last)
		http2_terminate(http2, NGHTTP2_PROTOCOL_ERROR);
	if (id <= http2->last_id)
		return;
	if (id > http2->last_id + 2) {
		http2->gap_first = http2->last_id + 2;
		http2->gap_last = id - 2;
	}
	http2->last_id = id;
}

/* Those that make a request, or carry some of one, are bounded by streams and windows. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct http2 *http2 = arg;
	bool carries = hd->type == NGHTTP2_HEADERS || (hd->type == NGHTTP2_DATA && hd->length > 0);

	(void)session;
	/* nothing may come within a block of headers (RFC 9113 §4.3) */
	if (hd->type != NGHTTP2_CONTINUATION)
		http2->in_head = false;
	if (!carries)
		http2_calm_control(http2);
	if (hd->type == NGHTTP2_HEADERS)
		check_id(http2, hd->stream_id);
	return 0;
}

static void take_headers(struct http2 *http2, const nghttp2_frame *frame, bool more)
{
	struct http2_stream *stream = find(http2, frame->hd.stream_id);

	http2->in_head = false;
	if (stream && begins_request(frame))
		http2_stream_head(stream, more);
}

static void say_final(struct http2 *http2)
{
	if (http2->said_final)
		return;
	http2->said_final = true;
	nghttp2_submit_goaway(http2->session, NGHTTP2_FLAG_NONE,
		nghttp2_session_get_last_proc_stream_id(http2->session), NGHTTP2_NO_ERROR, NULL, 0);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *http2 = arg;
	bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
	bool last = carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
	struct http2_stream *stream;

	(void)session;
	if (http2->ending)
		return 0;
	if (frame->hd.type == NGHTTP2_SETTINGS)
		http2->greeted = true;
	else if (frame->hd.type == NGHTTP2_HEADERS)
		take_headers(http2, frame, !last);
	else if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) &&
		 http2->sock->server->draining)
		say_final(http2);
	if (!last)
		return 0;
	stream = find(http2, frame->hd.stream_id);
	if (stream)
		http2_stream_complete(stream);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *arg)
{
	struct http2_stream *stream = find(arg, id);

	(void)session;
	(void)flags;
	if (stream)
		http2_stream_body(stream, span_of((const char *)data, len));
	return 0;
}

/* libnghttp2 answers it with RST_STREAM or GOAWAY; the owner counts and logs it like any other. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *arg)
{
	struct http2 *http2 = arg;
	struct http_server *server = http2->sock->server;
	struct http2_stream *stream = find(http2, frame->hd.stream_id);

	(void)session;
	if (!stream || !begins_request(frame) || stream->phase != HTTP_READING)
		return 0;
	server->stats->refused++;
	if (server->ops->refused)
		server->ops->refused(&stream->conn, -ERR_BAD_HTTP, nghttp2_strerror(code), server->arg);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find(http2, id);

	(void)session;
	if (!stream)
		return 0;
	if (code == NGHTTP2_NO_ERROR || stream->answered)
		http2_calm_answered(http2);
	else
		http2_calm_reset(http2);
	http2_stream_leave(stream, true);
	http2_stream_free(stream);
	return 0;
}

void http2_read(struct http2 *http2, struct span bytes)
{
	ssize_t n = nghttp2_session_mem_recv(
		http2->session, (const uint8_t *)bytes.p, bytes.len);

	if (n >= 0)
		return;
	if (n == NGHTTP2_ERR_NOMEM)
		http2->sock->broken = true;
	else
		http2_terminate(http2, n == NGHTTP2_ERR_BAD_CLIENT_MAGIC
					       ? NGHTTP2_PROTOCOL_ERROR
					       : NGHTTP2_ENHANCE_YOUR_CALM);
}

/* --- what leaves ---------------------------------------------------------------------------- */

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
	struct http2_stream *stream;

	if (frame->hd.type == NGHTTP2_DATA)
		http2_calm_sent(arg, frame->hd.length);
	if (!carries || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	stream = find(arg, frame->hd.stream_id);
	if (stream)
		http2_stream_answered(stream,
			nghttp2_session_get_stream_remote_close(session, stream->id) != 0);
	return 0;
}

/* False: there is nothing more to say. */
static bool fill(struct http2 *http2)
{
	struct http_socket *sock = http2->sock;

	while (http_socket_unsent(sock) < HTTP2_FILL) {
		const uint8_t *frame;
		ssize_t n = nghttp2_session_mem_send(http2->session, &frame);

		if (n < 0 || (n > 0 && buf_append(&sock->out, frame, (size_t)n) < 0))
			sock->broken = true;
		if (n <= 0 || sock->broken)
			return false;
	}
	return true;
}

void http2_send(struct http2 *http2)
{
	struct http_socket *sock = http2->sock;

	if (sock->phase != HTTP_STREAMING) {
		http_out_flush(sock);
		return;
	}
	for (int i = 0; !sock->broken; i++) {
		bool more = fill(http2);

		http_out_flush(sock);
		if (!more || !sock->writable)
			return;
		if (i == ROUNDS_PER_TURN) {
			http_server_queue(sock, HTTP_NEXT_TURN);
			return;
		}
	}
}

static bool owes_writable(const struct http2_stream *stream)
{
	return stream->wants_writable && stream->phase == HTTP_STREAMING &&
	       http2_unsent(stream) <= stream->http2->sock->server->limits.output / 2;
}

/* No stream is freed meanwhile: that is done while frames are read and sent. */
void http2_tell_writable(struct http2 *http2)
{
	struct http_server *server = http2->sock->server;
	struct http2_stream *stream;

	if (http2->waiting == 0)
		return;
	TAILQ_FOREACH(stream, &http2->streams, link)
	{
		if (!owes_writable(stream))
			continue;
		stream->wants_writable = false;
		http2->waiting--;
		if (server->ops->writable)
			server->ops->writable(&stream->conn, server->arg);
		http_server_queue(http2->sock, HTTP_NEXT_TURN);
	}
}

/* --- its end -------------------------------------------------------------------------------- */

void http2_tell_half(struct http2 *http2)
{
	struct http_server *server = http2->sock->server;
	struct http2_stream *stream;

	if (http2->told_half)
		return;
	http2->told_half = true;
	TAILQ_FOREACH(stream, &http2->streams, link)
	{
		bool owned = stream->phase == HTTP_PENDING || stream->phase == HTTP_STREAMING;

		if (stream->phase == HTTP_READING || stream->phase == HTTP_IN_BODY)
			http2_stream_reset(stream, NGHTTP2_CANCEL, true);
		else if (owned && server->ops->client_gone)
			server->ops->client_gone(&stream->conn, HTTP_GONE_HALF, server->arg);
	}
}

/*
 * First that there will be an end, then, when everything that the client had sent by then is there,
 * with which stream it is (RFC 9113 §6.8).
 */
void http2_drain(struct http2 *http2)
{
	if (http2->ending || http2->sock->phase != HTTP_STREAMING)
		return;
	nghttp2_submit_shutdown_notice(http2->session);
	nghttp2_submit_ping(http2->session, NGHTTP2_FLAG_NONE, NULL);
	http_timer_start(http2->sock->server, &http2->sock->read_timer, HTTP_TIMER_LINGER);
	http2_wake(http2);
}

static void set_timer(struct http2 *http2)
{
	struct http_socket *sock = http2->sock;
	enum http_timer_kind kind = sock->read_timer.kind, want;

	if (!http2->greeted || kind == HTTP_TIMER_LINGER)
		return;
	want = http2->in_head ? HTTP_TIMER_HEADER
			      : http2->nstreams == 0 ? HTTP_TIMER_IDLE : HTTP_TIMER_NONE;
	if (kind == want)
		return;
	if (want == HTTP_TIMER_NONE)
		http_timer_stop(sock->server, &sock->read_timer);
	else
		http_timer_start(sock->server, &sock->read_timer, want);
}

void http2_timer(struct http2 *http2, enum http_timer_kind kind)
{
	struct http_socket *sock = http2->sock;

	if (kind == HTTP_TIMER_LINGER) {
		say_final(http2);
	} else if (kind == HTTP_TIMER_HEADER) {
		sock->server->stats->timeouts++;
		http2_terminate(http2, http2->greeted ? NGHTTP2_ENHANCE_YOUR_CALM
						      : NGHTTP2_SETTINGS_TIMEOUT);
	} else {
		http2_terminate(http2, NGHTTP2_NO_ERROR);
	}
	http2_wake(http2);
}

void http2_settle(struct http2 *http2)
{
	struct http_socket *sock = http2->sock;
	nghttp2_session *session = http2->session;

	if (sock->phase != HTTP_STREAMING)
		return;
	if (nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0)
		http_socket_wind_up(sock, true);
	else if (sock->eof && http2->nstreams == 0)
		http_socket_wind_up(sock, false);
	else
		set_timer(http2);
}

bool http2_wants_read(const struct http2 *http2)
{
	return http2->sock->phase == HTTP_STREAMING && !http2->ending &&
	       http_socket_unsent(http2->sock) < HTTP2_FILL;
}

void http2_abandon(struct http2 *http2)
{
	struct http2_stream *stream;

	TAILQ_FOREACH(stream, &http2->streams, link)
	http2_stream_leave(stream, true);
}

void http2_free(struct http2 *http2)
{
	struct http2_stream *stream;

	if (!http2)
		return;
	while ((stream = TAILQ_FIRST(&http2->streams)))
		http2_stream_free(stream);
	nghttp2_session_del(http2->session);
	free(http2);
}

/* --- its beginning -------------------------------------------------------------------------- */

static int set_callbacks(nghttp2_session_callbacks **ret)
{
	nghttp2_session_callbacks *callbacks;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return -ERR_NO_MEMORY;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
	*ret = callbacks;
	return 0;
}

static int make_session(struct http2 *http2, const nghttp2_option *option)
{
	nghttp2_session_callbacks *callbacks;
	int r = set_callbacks(&callbacks);

	if (r < 0)
		return r;
	r = nghttp2_session_server_new2(&http2->session, callbacks, http2, option);
	nghttp2_session_callbacks_del(callbacks);
	return r == 0 ? 0 : -ERR_NO_MEMORY;
}

/* Beside our own limits stand those of the library: on answers to PING and SETTINGS that the client
 * does not read, on resets, on the entries of one SETTINGS. */
static int open_session(struct http2 *http2)
{
	const struct http_limits *limits = &http2->sock->server->limits;
	nghttp2_option *option;
	int r;

	if (nghttp2_option_new(&option) != 0)
		return -ERR_NO_MEMORY;
	nghttp2_option_set_max_continuations(
		option, limits->head / FRAME_MAX + CONTINUATIONS_SPARE);
	r = make_session(http2, option);
	nghttp2_option_del(option);
	return r;
}

static int greet(struct http2 *http2)
{
	const struct http_limits *limits = &http2->sock->server->limits;
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->head},
	};

	if (nghttp2_submit_settings(http2->session, NGHTTP2_FLAG_NONE, settings,
		    sizeof(settings) / sizeof(*settings)) < 0 ||
		nghttp2_session_set_local_window_size(
			http2->session, NGHTTP2_FLAG_NONE, 0, HTTP2_WINDOW) < 0)
		return -ERR_NO_MEMORY;
	return 0;
}

int http2_begin(struct http_socket *sock)
{
	struct http2 *http2 = calloc(1, sizeof(*http2));

	if (!http2)
		return -ERR_NO_MEMORY;
	http2->sock = sock;
	http2->last_id = -1;
	TAILQ_INIT(&http2->streams);
	http2_calm_init(&http2->calm);
	if (open_session(http2) < 0 || greet(http2) < 0) {
		http2_free(http2);
		return -ERR_NO_MEMORY;
	}
	sock->http2 = http2;
	sock->phase = HTTP_STREAMING;
	sock->server->nhttp2++;
	if (sock->server->draining)
		http2_drain(http2);
	return 0;
}
