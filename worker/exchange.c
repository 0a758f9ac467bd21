#include "exchange.h"
#include "clock.h"
#include "request.h"
#include "worker.h"

#include <stdlib.h>
#include <utlist.h>

/* An answer that is ready within this time goes out as plain JSON. */
#define PLAIN_ANSWER_MS 200u
/* Bytes that may wait for a slow client: notifications beyond the first bound are dropped, the second ends the stream. */
#define QUEUE_DROP (256u * 1024)
#define QUEUE_MAX (96u * 1024 * 1024)

struct exchange *exchange_new(struct worker *worker, struct link *gateway, const struct message *msg)
{
	const struct msg_exchange *fields = msg->fields;
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	if (!exchange)
		return NULL;
	exchange->worker = worker;
	exchange->gateway = gateway;
	exchange->number = msg->stream;
	exchange->verb = (enum exchange_verb)fields->verb;
	exchange->accept = (unsigned)fields->accept;
	exchange->credit = LIMIT_STREAM_WINDOW;
	exchange->began_ms = clock_ms();
	exchange->era = worker->session.era;
	exchange->status = 200;
	buf_init(&exchange->held, QUEUE_MAX);
	buf_init(&exchange->queue, QUEUE_MAX);
	DL_APPEND(worker->exchanges, exchange);
	return exchange;
}

void exchange_free(struct exchange *exchange)
{
	struct worker *worker = exchange->worker;

	request_exchange_gone(worker, exchange);
	streams_exchange_gone(&worker->streams, exchange);
	DL_DELETE(worker->exchanges, exchange);
	buf_free(&exchange->held);
	buf_free(&exchange->queue);
	free(exchange);
}

struct exchange *exchange_find(struct worker *worker, const struct link *gateway, uint32_t number)
{
	struct exchange *exchange;

	DL_FOREACH(worker->exchanges, exchange) {
		if (exchange->gateway == gateway && exchange->number == number)
			return exchange;
	}
	return NULL;
}

/* For the Mcp-Session-Id header. */
static struct span session_to_tell(const struct exchange *exchange)
{
	return exchange->opens_session ? span_str(exchange->worker->session.id) : SPAN_NONE;
}

/* --- plain answers -------------------------------------------------------------------------------------------- */

static void answer(struct exchange *exchange, unsigned status, enum exchange_content content, struct span body)
{
	const struct outcome *outcome = &exchange->outcome;
	const struct session *client = &exchange->worker->session;
	const struct msg_exchange_answer fields = {
		.status = status,
		.content = content,
		.session = session_to_tell(exchange),
		.method = span_str(outcome->method),
		.server = span_str(outcome->server),
		.tool = span_str(outcome->tool),
		.code = (uint64_t)(outcome->code < 0 ? -outcome->code : outcome->code),
		.executed = outcome->executed,
		.upstream_us = outcome->upstream_us,
		.version = span_str(mcp_version_name(client->version)),
		.client = span_str(client->client_name),
	};

	exchange->state = EXCHANGE_DONE;
	if (exchange->gateway)
		link_send(exchange->gateway, MSG_EXCHANGE_ANSWER, exchange->number, &fields, body, NULL);
	exchange_free(exchange);
}

void exchange_answer_status(struct exchange *exchange, unsigned status)
{
	answer(exchange, status, EXCHANGE_NO_CONTENT, SPAN_NONE);
}

void exchange_answer_json(struct exchange *exchange, unsigned status, struct span body)
{
	answer(exchange, status, EXCHANGE_JSON, body);
}

void exchange_answer_err(struct exchange *exchange, struct span id, const struct err *err, enum jsonrpc_executed executed)
{
	struct buf body;

	buf_init(&body, 65536);
	jsonrpc_write_err(&body, id, err, executed);
	exchange->outcome.code = err_rpc_code(err->code);
	exchange_answer_json(exchange, (unsigned)err_http_status(err->code), buf_span(&body));
	buf_free(&body);
}

/* --- event streams ------------------------------------------------------------------------------------------------ */

void exchange_begin_stream(struct exchange *exchange, struct stream *stream)
{
	const struct msg_exchange_head head = {
		.status = 200, .content = EXCHANGE_SSE, .session = session_to_tell(exchange)};

	exchange->state = EXCHANGE_STREAMING;
	exchange->events = stream;
	if (exchange->gateway)
		link_post(exchange->gateway, MSG_EXCHANGE_HEAD, exchange->number, &head);
	stream_attach(&exchange->worker->streams, stream, exchange);
}

static void send_end(struct exchange *exchange)
{
	const struct outcome *outcome = &exchange->outcome;
	const struct session *client = &exchange->worker->session;
	const struct msg_exchange_end fields = {
		.method = span_str(outcome->method),
		.server = span_str(outcome->server),
		.tool = span_str(outcome->tool),
		.code = (uint64_t)(outcome->code < 0 ? -outcome->code : outcome->code),
		.executed = outcome->executed,
		.upstream_us = outcome->upstream_us,
		.version = span_str(mcp_version_name(client->version)),
		.client = span_str(client->client_name),
	};

	exchange->state = EXCHANGE_DONE;
	if (exchange->gateway)
		link_post(exchange->gateway, MSG_EXCHANGE_END, exchange->number, &fields);
	exchange_free(exchange);
}

/* What credit allows, in pieces that a message may have. */
static void pump(struct exchange *exchange)
{
	while (exchange->queue.len > 0 && exchange->credit > 0) {
		size_t n = exchange->queue.len < exchange->credit ? exchange->queue.len : exchange->credit;

		if (n > LIMIT_FRAME_PAYLOAD)
			n = LIMIT_FRAME_PAYLOAD;
		if (!exchange->gateway || link_send(exchange->gateway, MSG_EXCHANGE_DATA, exchange->number, NULL,
						  span_of(exchange->queue.data, n), NULL) < 0)
			return;
		buf_consume(&exchange->queue, n);
		exchange->credit -= n;
	}
}

int exchange_write(struct exchange *exchange, struct span bytes, bool droppable)
{
	if (!exchange->gateway)
		return 0;
	if (exchange->ending || (droppable && exchange->queue.len > QUEUE_DROP))
		return -ERR_SLOW_CONSUMER;
	if (buf_append_span(&exchange->queue, bytes) < 0) {
		/* what is cut can be had again by its event id; the end is sent by the next tick */
		buf_clear(&exchange->queue);
		exchange->ending = true;
		return -ERR_SLOW_CONSUMER;
	}
	pump(exchange);
	return 0;
}

void exchange_end(struct exchange *exchange)
{
	if (exchange->queue.len > 0 && exchange->gateway) {
		exchange->ending = true;
		return;
	}
	send_end(exchange);
}

void exchange_credit(struct exchange *exchange, size_t bytes)
{
	exchange->credit += bytes;
	pump(exchange);
	if (exchange->ending && exchange->queue.len == 0)
		send_end(exchange);
}

void exchange_park(struct exchange *exchange)
{
	if (exchange->state != EXCHANGE_STREAMING || exchange->ending || exchange->batch ||
		exchange->worker->session.version < MCP_2025_11_25 || exchange->era == MCP_MODERN)
		return;
	request_exchange_gone(exchange->worker, exchange);
	streams_exchange_gone(&exchange->worker->streams, exchange);
	exchange->events = NULL;
	exchange_end(exchange);
}

void exchange_closed(struct exchange *exchange)
{
	exchange->gateway = NULL;
	if (exchange->era == MCP_MODERN)
		request_cancel_exchange(exchange->worker, exchange);
	exchange_free(exchange);
}

/* --- answers of requests --------------------------------------------------------------------------------------------- */

static bool may_stream(const struct exchange *exchange)
{
	return exchange->accept & EXCHANGE_ACCEPTS_SSE;
}

static bool may_answer_json(const struct exchange *exchange)
{
	return !may_stream(exchange) ||
	       ((exchange->accept & EXCHANGE_ACCEPTS_JSON) && !(exchange->accept & EXCHANGE_PREFERS_SSE));
}

static void become_stream(struct exchange *exchange)
{
	struct stream *stream = stream_new(&exchange->worker->streams);

	if (!stream)
		return;
	request_exchange_streams(exchange->worker, exchange, stream);
	exchange_begin_stream(exchange, stream);
	if (exchange->held.len > 0) {
		/* answers of a batch that were held for one array */
		struct json_iter iter;
		struct span element;

		buf_append_char(&exchange->held, ']');
		iter = json_iter(buf_span(&exchange->held));
		while (json_iter_element(&iter, &element))
			stream_send(&exchange->worker->streams, stream, element, false);
		buf_clear(&exchange->held);
	}
}

static void all_answered(struct exchange *exchange)
{
	struct worker *worker = exchange->worker;

	if (exchange->state == EXCHANGE_STREAMING) {
		stream_finish(&worker->streams, exchange->events);
	} else if (exchange->batch && exchange->held.len > 0) {
		buf_append_char(&exchange->held, ']');
		exchange_answer_json(exchange, 200, buf_span(&exchange->held));
	} else if (may_stream(exchange)) {
		/* nothing to say: an event stream that ends */
		become_stream(exchange);
		if (exchange->state == EXCHANGE_STREAMING)
			stream_finish(&worker->streams, exchange->events);
	} else {
		exchange_answer_status(exchange, 202);
	}
}

static void hold(struct exchange *exchange, struct span message)
{
	buf_append_char(&exchange->held, exchange->held.len == 0 ? '[' : ',');
	buf_append_span(&exchange->held, message);
}

void exchange_deliver(struct exchange *exchange, struct span message, bool final)
{
	struct worker *worker = exchange->worker;

	if (final)
		exchange->unanswered--;
	if (exchange->state == EXCHANGE_WAITING && final && may_answer_json(exchange)) {
		if (!exchange->batch) {
			exchange_answer_json(exchange, exchange->status, message);
			return;
		}
		hold(exchange, message);
	} else if (exchange->state == EXCHANGE_WAITING && may_stream(exchange)) {
		become_stream(exchange);
	}
	if (exchange->state == EXCHANGE_STREAMING)
		stream_send(&worker->streams, exchange->events, message, !final);
	if (final && exchange->unanswered == 0)
		all_answered(exchange);
}

void exchange_settle(struct exchange *exchange)
{
	exchange->unanswered--;
	if (exchange->unanswered == 0)
		all_answered(exchange);
}

void exchange_tick(struct worker *worker, uint64_t now_ms)
{
	struct exchange *exchange, *next;

	DL_FOREACH_SAFE(worker->exchanges, exchange, next) {
		if (exchange->ending && exchange->queue.len == 0)
			send_end(exchange);
		else if (exchange->verb == EXCHANGE_POST && exchange->state == EXCHANGE_WAITING && exchange->unanswered > 0 &&
			may_stream(exchange) && now_ms - exchange->began_ms >= PLAIN_ANSWER_MS)
			become_stream(exchange);
	}
}
