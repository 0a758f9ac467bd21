/*
 * Answers that are event streams. The worker may send as much as it has credit for; credit is given
 * back as the connection takes the bytes, so that a slow client holds up its own stream and costs
 * no more than a window.
 */
#include "clock.h"
#include "exchange.h"
#include "gateway.h"
#include "payloads.h"
#include "route.h"

#include <utlist.h>

/* Credit is given in such pieces. */
#define CREDIT_MIN (LIMIT_STREAM_WINDOW / 4)
/* Handed to the connection at once; its own bound is a small multiple (edge.c). */
#define PIECE_MAX LIMIT_FRAME_PAYLOAD

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

int stream_begin(struct exchange *exchange, unsigned status, struct span session)
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

void stream_stop(struct exchange *exchange)
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
	struct msg_credit credit;
	size_t stale = n < exchange->stale ? n : exchange->stale;

	exchange->bytes_out += n;
	exchange->stale -= stale;
	exchange->owed += n - stale;
	if (exchange->owed < CREDIT_MIN || !exchange->stream)
		return;
	credit = (struct msg_credit){.bytes = exchange->owed};
	if (link_post(exchange->route->link, MSG_CREDIT, exchange->stream, &credit) == 0)
		exchange->owed = 0;
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

int stream_write(struct exchange *exchange, struct span bytes)
{
	if (!bytes.len)
		return 0;
	touch(exchange);
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

void exchange_writable(struct exchange *exchange)
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

void stream_end(struct exchange *exchange, const struct outcome *outcome)
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

	if (exchange->stream)
		link_post(exchange->route->link, MSG_EXCHANGE_CLOSED, exchange->stream, NULL);
	stream_end(exchange, &outcome);
}

void stream_cut(struct exchange *exchange)
{
	end_by_us(exchange, "failed");
}

void exchanges_end_streams(struct gateway *gateway)
{
	struct exchange *exchange, *next;

	DL_FOREACH_SAFE2(gateway->streams, exchange, next, quiet_next)
	{
		if (exchange_is_endless(exchange) && !exchange->ended)
			end_by_us(exchange, "ok");
	}
}

/* Those that may have a comment now: a client that does not take what it has needs none. */
static void comment(struct exchange *exchange)
{
	if (exchange->between_events && exchange->queue.len == 0 &&
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
