/*
 * Answers of Streamable HTTP: one HTTP response each, whole or an event stream. For the latter the
 * worker may send as much as it has credit for; credit is given back as the connection takes the
 * bytes, so that a slow client holds up its own stream and costs no more than a window.
 */
#include "batch.h"
#include "clock.h"
#include "exchange.h"
#include "gateway.h"
#include "hash.h"
#include "payloads.h"
#include "points.h"
#include "route.h"
#include "sse.h"

#include <utlist.h>

/* Handed to the connection at once; its own bound is a small multiple (edge.c). */
#define PIECE_MAX LIMIT_FRAME_PAYLOAD
/* How soon clients whose event stream ends because its gateway does are to come back. */
#define RETRY_FIRST_MS 200u
/* What an event makes of its data at most: each line end begins another "data: ". */
#define EVENT_GROWTH 7u

static void touch(struct exchange *exchange)
{
	struct gateway *gateway = exchange->gateway;

	exchange->wrote_ms = clock_ms();
	DL_DELETE2(gateway->streams, exchange, quiet_prev, quiet_next);
	DL_APPEND2(gateway->streams, exchange, quiet_prev, quiet_next);
}

static void keep_alive_soon(struct gateway *gateway, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	if (!evtimer_pending(gateway->keepalive, NULL))
		event_add(gateway->keepalive, &tv);
}

static int stream_begin(struct exchange *exchange, unsigned status, struct span session)
{
	struct gateway *gateway = exchange->gateway;
	struct answer_headers headers = {.n = 0};
	int r;

	answer_headers_add(&headers, "Mcp-Session-Id", session);
	answer_headers_add(
		&headers, "X-Request-Id", span_of(exchange->request_id, REQUEST_ID_MAX - 1));
	answer_headers_timing(&headers, exchange, UINT64_MAX);
	answer_headers_cors(&headers, exchange->facts.origin);
	r = http_conn_begin(exchange->conn, status, headers.list, headers.n, HTTP_STREAM_SSE, 0);
	if (r < 0)
		return r;
	exchange->streaming = true;
	exchange->wrote_ms = clock_ms();
	gateway->n_streams++;
	DL_APPEND2(gateway->streams, exchange, quiet_prev, quiet_next);
	keep_alive_soon(gateway, (uint64_t)gateway->config->sse_keepalive);
	return 0;
}

static void stream_stop(struct exchange *exchange)
{
	struct gateway *gateway = exchange->gateway;

	if (!exchange->streaming)
		return;
	exchange->streaming = false;
	gateway->n_streams--;
	DL_DELETE2(gateway->streams, exchange, quiet_prev, quiet_next);
}

/* --- bytes ---------------------------------------------------------------------------------- */

static void took(struct exchange *exchange, size_t n)
{
	size_t stale = n < exchange->stale ? n : exchange->stale;

	exchange->bytes_out += n;
	exchange->stale -= stale;
	exchange_took(exchange, n - stale);
}

/* As much as the connection takes. Returns what is left; everything counts as taken by a broken
 * connection. */
static struct span pass_on(struct exchange *exchange, struct span bytes)
{
	while (bytes.len) {
		struct span piece = span_of(bytes.p, bytes.len < PIECE_MAX ? bytes.len : PIECE_MAX);

		if (http_conn_write(exchange->conn, piece) == -ERR_AGAIN)
			break;
		took(exchange, piece.len);
		bytes = span_of(bytes.p + piece.len, bytes.len - piece.len);
	}
	return bytes;
}

static bool ends_event(struct span bytes)
{
	return bytes.len >= 2 && bytes.p[bytes.len - 1] == '\n' &&
	       (bytes.p[bytes.len - 2] == '\n' || bytes.p[bytes.len - 2] == '\r');
}

/* 0; -ERR_CLOSED: the exchange is gone. */
static int stream_write(struct exchange *exchange, struct span bytes)
{
	if (!bytes.len)
		return 0;
	touch(exchange);
	if (batch_note_events(exchange, bytes) < 0) {
		http_conn_abort(exchange->conn);
		return -ERR_CLOSED;
	}
	payloads_event(exchange->payloads, bytes, exchange->between_events);
	exchange->between_events = ends_event(bytes);
	if (exchange->queue.len == 0)
		bytes = pass_on(exchange, bytes);
	if (bytes.len == 0 || buf_append_span(&exchange->queue, bytes) == 0)
		return 0;
	/* more than was granted */
	http_conn_abort(exchange->conn);
	return -ERR_CLOSED;
}

static void stream_writable(struct exchange *exchange)
{
	struct buf *queue = &exchange->queue;
	struct span left;

	if (queue->len == 0)
		return;
	touch(exchange);
	left = pass_on(exchange, buf_span(queue));
	if (left.len) {
		buf_consume(queue, queue->len - left.len);
		return;
	}
	buf_free(queue);
	if (exchange->ended) {
		http_conn_end(exchange->conn);
		exchange_free(exchange);
	}
}

/* --- the end -------------------------------------------------------------------------------- */

/* The exchange is freed when the queue is out. */
static void stream_end(struct exchange *exchange, const struct outcome *outcome)
{
	exchange_tell(exchange, outcome);
	exchange_leave(exchange);
	if (exchange->queue.len) {
		exchange->ended = true;
		return;
	}
	http_conn_end(exchange->conn);
	exchange_free(exchange);
}

static void end_by_us(struct exchange *exchange, const char *word)
{
	const struct outcome outcome = exchange_outcome(exchange, word, 200);

	exchange_tell_closed(exchange);
	stream_end(exchange, &outcome);
}

/* Without a word: the client may come back for what it missed. */
static void stream_cut(struct exchange *exchange)
{
	end_by_us(exchange, "failed");
}

/* All come back, each at another time: RETRY_FIRST_MS to twice that. */
static void write_retry(struct exchange *exchange)
{
	uint64_t spread = hash64(exchange->request_id, REQUEST_ID_MAX - 1, 0) % RETRY_FIRST_MS;
	struct buf out;

	if (exchange->verb != EXCHANGE_GET || !exchange->between_events || exchange->queue.len)
		return;
	buf_init(&out, 64);
	if (sse_write_retry(&out, (unsigned)(RETRY_FIRST_MS + spread)) == 0)
		http_conn_write(exchange->conn, buf_span(&out));
	buf_free(&out);
}

void exchanges_end_streams(struct gateway *gateway)
{
	struct exchange *exchange, *next;

	DL_FOREACH_SAFE2(gateway->streams, exchange, next, quiet_next)
	{
		if (!exchange_is_endless(exchange) || exchange->ended)
			continue;
		write_retry(exchange);
		end_by_us(exchange, "ok");
	}
}

/* Those that may have a comment now: a client that does not take what it has needs none. */
static void comment(struct exchange *exchange)
{
	if (POINT(KEEP_ALIVE) && exchange->between_events && exchange->queue.len == 0 &&
		http_conn_unsent(exchange->conn) == 0)
		http_conn_write(exchange->conn, SPAN_LIT(": keep-alive\n\n"));
	touch(exchange);
}

void exchanges_keep_alive(struct gateway *gateway)
{
	uint64_t now = clock_ms(), pause = (uint64_t)gateway->config->sse_keepalive;

	while (gateway->streams && now - gateway->streams->wrote_ms >= pause)
		comment(gateway->streams);
	if (gateway->streams)
		keep_alive_soon(gateway, gateway->streams->wrote_ms + pause - now);
}

/* --- answers -------------------------------------------------------------------------------- */

static const char *const content_types[] = {"", "application/json", "text/event-stream"};

/* 0; -ERR_CLOSED: the connection broke, and the exchange is gone. */
static int respond(
	struct exchange *exchange, const struct answer *answer, const struct outcome *outcome)
{
	struct answer_headers headers = {.n = 0};
	unsigned content = answer->content <= EXCHANGE_SSE ? answer->content : EXCHANGE_NO_CONTENT;
	int r;

	answer_headers_add(&headers, "Content-Type", span_str(content_types[content]));
	answer_headers_add(&headers, "Mcp-Session-Id", answer->session);
	answer_headers_add(
		&headers, "X-Request-Id", span_of(exchange->request_id, REQUEST_ID_MAX - 1));
	answer_headers_timing(&headers, exchange, outcome->upstream_us);
	answer_headers_retry(&headers, outcome->status);
	answer_headers_cors(&headers, exchange->facts.origin);
	exchange->bytes_out = answer->body.len;
	payloads_answer(exchange->payloads, answer->body);
	r = http_conn_respond(
		exchange->conn, outcome->status, headers.list, headers.n, answer->body);
	/* what remains for a client whose answer cannot be given is to see its connection break */
	if (r < 0 && r != -ERR_CLOSED && http_conn_respond_error(exchange->conn, r, NULL) < 0) {
		http_conn_abort(exchange->conn);
		return -ERR_CLOSED;
	}
	return 0;
}

/* A whole answer where an event stream was begun: its only event, or its last. */
static void give_on_stream(
	struct exchange *exchange, struct span json, const struct outcome *outcome)
{
	struct outcome said = *outcome;
	struct buf event;
	int r = 0;

	said.status = 200;
	buf_init(&event, EVENT_GROWTH * json.len + 64);
	if (json.len && exchange->verb == EXCHANGE_POST)
		r = sse_write_event(&event, SPAN_NONE, SPAN_LIT("message"), json);
	exchange->queue.max += event.len;
	if (r < 0)
		http_conn_abort(exchange->conn);
	else if (stream_write(exchange, buf_span(&event)) == 0)
		stream_end(exchange, &said);
	buf_free(&event);
}

static void give(
	struct exchange *exchange, const struct answer *answer, const struct outcome *outcome)
{
	if (exchange->streaming)
		give_on_stream(exchange, answer->body, outcome);
	else if (respond(exchange, answer, outcome) == 0)
		exchange_finish(exchange, outcome);
}

static void write_bytes(struct exchange *exchange, struct span bytes)
{
	stream_write(exchange, bytes);
}

/* What is queued came from a worker that is dead: nobody is owed credit for it. */
static void again(struct exchange *exchange)
{
	exchange->owed = 0;
	exchange->stale = exchange->queue.len;
	batch_forget_half(exchange);
}

static void broken(struct exchange *exchange)
{
	http_conn_abort(exchange->conn);
}

static const char *remote(const struct exchange *exchange)
{
	return exchange->remote[0] ? exchange->remote : http_conn_remote(exchange->conn);
}

static const char *transport(const struct exchange *exchange)
{
	(void)exchange;
	return transport_streamable.name;
}

const struct answer_ops streamable_answers = {
	.give = give,
	.begin = stream_begin,
	.write = write_bytes,
	.end = stream_end,
	.again = again,
	.cut = stream_cut,
	.broken = broken,
	.stop = stream_stop,
	.remote = remote,
	.transport = transport,
};

/* --- the connection ------------------------------------------------------------------------- */

static void on_writable(struct conn_user *user)
{
	stream_writable((struct exchange *)user);
}

/*
 * The client has closed its side for writing. Nobody who still wants an answer does that, but for a
 * person with a simple tool; so: a modern request is cancelled by it (closing is cancelling); on a
 * legacy event stream a comment finds out whether somebody still listens; else the answer is
 * awaited.
 */
static void on_gone(struct conn_user *user, enum http_gone gone)
{
	struct exchange *exchange = (struct exchange *)user;

	if (gone != HTTP_GONE_HALF)
		return;
	if (exchange->era == MCP_MODERN && exchange->verb == EXCHANGE_POST && !exchange->ended)
		http_conn_close(exchange->conn);
	else if (exchange->streaming && exchange->between_events && exchange->queue.len == 0)
		http_conn_write(exchange->conn, SPAN_LIT(":\n\n"));
}

static void on_closed(struct conn_user *user)
{
	exchange_client_closed((struct exchange *)user);
}

const struct conn_ops streamable_conn = {
	.writable = on_writable, .gone = on_gone, .closed = on_closed};
