/* One stream: its request comes, is handed to the owner, and ends. */
#include "http2_internal.h"

#include <stdlib.h>

/* Part of an announced body that is made room for before it comes. */
#define BODY_FIRST_MAX (64u * 1024u)
/* Beyond limits.response and limits.output: what an owner adds to an answer that had begun. */
#define OUT_SLACK 65536u
/* Of a head in the arena beyond its bytes: that rounds up, and the table of headers grows there. */
#define HEADER_ROOM 160u
#define HEADERS_SPARE 16u

static void on_timer(void *arg, enum http_timer_kind kind);

struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id)
{
	struct http_server *server = http2->sock->server;
	struct http2_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->conn = (struct http_conn){.protocol = &http2_protocol, .sock = http2->sock};
	stream->http2 = http2;
	stream->id = id;
	stream->phase = HTTP_READING;
	arena_init(&stream->arena, server->limits.head +
					   (server->limits.headers + HEADERS_SPARE) * HEADER_ROOM);
	buf_init(&stream->body, server->limits.body);
	buf_init(&stream->out, server->limits.output + server->limits.response + OUT_SLACK);
	stream->read_timer.fired = stream->write_timer.fired = on_timer;
	stream->read_timer.arg = stream->write_timer.arg = stream;
	TAILQ_INSERT_TAIL(&http2->streams, stream, link);
	http2->nstreams++;
	server->streams++;
	if (http2->nstreams == 1)
		server->busy_http2++;
	if (server->ops->opened)
		server->ops->opened(&stream->conn, server->arg);
	return stream;
}

void http2_stream_release(struct http2_stream *stream)
{
	stream->http2->held -= stream->body.len;
	buf_free(&stream->body);
	arena_free(&stream->arena);
	stream->head = (struct http1_head){0};
	stream->headers = NULL;
	stream->headers_room = 0;
	stream->authority = SPAN_NONE;
}

static void stop_timers(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;

	http_timer_stop(server, &stream->read_timer);
	http_timer_stop(server, &stream->write_timer);
}

void http2_stream_leave(struct http2_stream *stream, bool by_client)
{
	struct http_server *server = stream->http2->sock->server;
	bool owned = stream->phase == HTTP_PENDING || stream->phase == HTTP_STREAMING;

	if (stream->phase == HTTP_DEAD)
		return;
	if (by_client && owned && server->ops->client_gone)
		server->ops->client_gone(&stream->conn, HTTP_GONE_RESET, server->arg);
	/* it may have been closed by that */
	if (stream->phase == HTTP_DEAD)
		return;
	stream->phase = HTTP_DEAD;
	stop_timers(stream);
	if (stream->wants_writable)
		stream->http2->waiting--;
	stream->wants_writable = false;
	if (server->ops->closed)
		server->ops->closed(&stream->conn, server->arg);
	http2_stream_release(stream);
	http2_out_free(stream);
}

void http2_stream_free(struct http2_stream *stream)
{
	struct http2 *http2 = stream->http2;
	struct http_server *server = http2->sock->server;

	TAILQ_REMOVE(&http2->streams, stream, link);
	http2->nstreams--;
	server->streams--;
	if (http2->nstreams == 0)
		server->busy_http2--;
	free(stream);
}

void http2_stream_reset(struct http2_stream *stream, uint32_t code, bool by_client)
{
	if (stream->phase == HTTP_DEAD)
		return;
	nghttp2_submit_rst_stream(stream->http2->session, NGHTTP2_FLAG_NONE, stream->id, code);
	http2_wake(stream->http2);
	http2_stream_leave(stream, by_client);
}

void http2_stream_refuse(struct http2_stream *stream, int code, const char *detail)
{
	struct http_server *server = stream->http2->sock->server;

	server->stats->refused++;
	stream->phase = HTTP_IN_BODY;
	if (server->ops->refused)
		server->ops->refused(&stream->conn, code, detail, server->arg);
	if (stream->phase != HTTP_IN_BODY)
		return;
	if (http_conn_respond_error(&stream->conn, code, detail) < 0)
		http2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR, true);
}

/* The client waits for leave to send its body (RFC 9110 §10.1.1). */
static void say_continue(struct http2_stream *stream)
{
	static const nghttp2_nv go = {
		(uint8_t *)":status", (uint8_t *)"100", 7, 3, NGHTTP2_NV_FLAG_NONE};

	if (nghttp2_submit_headers(stream->http2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, &go, 1,
		    NULL) < 0)
		http2_stream_reset(stream, NGHTTP2_INTERNAL_ERROR, true);
}

static void begin_body(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;
	const struct http1_head *head = &stream->head;

	if (head->content_length > server->limits.body) {
		http2_stream_refuse(stream, -ERR_TOO_LARGE, "the body is too large");
		return;
	}
	if (head->expect_continue)
		say_continue(stream);
	if (stream->phase != HTTP_IN_BODY)
		return;
	stream->body_window = 0;
	http_timer_start(server, &stream->read_timer, HTTP_TIMER_BODY);
}

static void screen(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;

	stream->screened = true;
	if (server->ops->head)
		server->ops->head(&stream->conn, &stream->head, server->arg);
}

/*
 * Few clients say how long a body is. Most are short, and a client does better with an answer once it
 * has sent all: so the owner is asked first only when the length is known, or when it turns out long.
 */
void http2_stream_head(struct http2_stream *stream, bool more)
{
	http2_head_finish(stream, more);
	stream->is_head = span_is(stream->head.method, "HEAD");
	stream->phase = HTTP_IN_BODY;
	if (stream->bad) {
		http2_stream_refuse(stream, stream->bad, stream->bad_detail);
		return;
	}
	if (!more || stream->head.framing == HTTP1_FRAMING_LENGTH || stream->head.expect_continue)
		screen(stream);
	if (more && stream->phase == HTTP_IN_BODY)
		begin_body(stream);
}

/* The rest of the request is not wanted (RFC 9113 §8.1). */
static void reset_rest(struct http2_stream *stream)
{
	http_timer_stop(stream->http2->sock->server, &stream->read_timer);
	nghttp2_submit_rst_stream(
		stream->http2->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
	http2_wake(stream->http2);
}

static void swallow(struct http2_stream *stream, size_t n)
{
	bool was_enough = stream->swallowed > HTTP2_SWALLOW;

	stream->swallowed += n;
	if (stream->answered && !was_enough && stream->swallowed > HTTP2_SWALLOW)
		reset_rest(stream);
}

void http2_stream_answered(struct http2_stream *stream, bool request_ended)
{
	stream->answered = true;
	if (request_ended)
		return;
	if (stream->swallowed > HTTP2_SWALLOW)
		reset_rest(stream);
	else
		http_timer_start(
			stream->http2->sock->server, &stream->read_timer, HTTP_TIMER_LINGER);
}

void http2_stream_body(struct http2_stream *stream, struct span piece)
{
	struct http2 *http2 = stream->http2;
	size_t body_max = http2->sock->server->limits.body;
	size_t first = stream->head.content_length < BODY_FIRST_MAX
			       ? (size_t)stream->head.content_length
			       : BODY_FIRST_MAX;
	int r = 0;

	if (stream->phase == HTTP_CLOSING)
		swallow(stream, piece.len);
	if (stream->phase == HTTP_IN_BODY && !stream->screened &&
		stream->body.len + piece.len > HTTP2_SCREEN)
		screen(stream);
	if (stream->phase != HTTP_IN_BODY)
		return;
	stream->body_window += piece.len;
	if (stream->body.len + piece.len > body_max) {
		http2_stream_refuse(stream, -ERR_TOO_LARGE, "the body is too large");
		return;
	}
	if (http2->held + piece.len > HTTP2_BODIES * body_max) {
		http2_stream_refuse(stream, -ERR_TOO_MANY,
			"the requests of this connection are too large together: wait for answers");
		return;
	}
	if (!stream->body.data && first)
		r = buf_reserve(&stream->body, first);
	if (r == 0)
		r = buf_append_span(&stream->body, piece);
	if (r == 0)
		http2->held += piece.len;
	else
		http2_stream_refuse(stream, r, "no room for the request's body");
}

void http2_stream_complete(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;
	struct http_request request = {.head = &stream->head, .body = buf_span(&stream->body)};

	if (stream->phase != HTTP_IN_BODY)
		return;
	http_timer_stop(server, &stream->read_timer);
	stream->phase = HTTP_PENDING;
	server->stats->requests++;
	server->ops->request(&stream->conn, &request, server->arg);
}

/* --- timeouts ------------------------------------------------------------------------------- */

static void body_timeout(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;

	if (stream->body_window >= server->limits.body_min) {
		stream->body_window = 0;
		http_timer_start(server, &stream->read_timer, HTTP_TIMER_BODY);
		return;
	}
	server->stats->timeouts++;
	http2_stream_refuse(stream, -ERR_REQUEST_TIMEOUT, "the body comes too slowly");
}

/* A client that keeps its window shut, or opens it byte by byte. */
static void write_timeout(struct http2_stream *stream)
{
	struct http_server *server = stream->http2->sock->server;

	if (stream->write_window >= server->limits.write_min) {
		stream->write_window = 0;
		http_timer_start(server, &stream->write_timer, HTTP_TIMER_WRITE);
		return;
	}
	server->stats->timeouts++;
	http2_stream_reset(stream, NGHTTP2_ENHANCE_YOUR_CALM, true);
}

static void on_timer(void *arg, enum http_timer_kind kind)
{
	struct http2_stream *stream = arg;
	struct http_socket *sock = stream->http2->sock;

	http_socket_hold(sock);
	if (kind == HTTP_TIMER_BODY)
		body_timeout(stream);
	else if (kind == HTTP_TIMER_LINGER)
		reset_rest(stream);
	else
		write_timeout(stream);
	http2_wake(sock->http2);
	http_socket_release(sock);
}
