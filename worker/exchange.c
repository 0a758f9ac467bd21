#include "exchange.h"
#include "request.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* An answer that is ready within this time goes out as plain JSON. */
#define PLAIN_ANSWER_MS 200u
/*
 * In the modern era an answer's HTTP status says what is wrong with the request, so that there is
 * no stream before something is to be said on it, for so long.
 */
#define MODERN_ANSWER_MS 10000u
/* A gateway's link that has no room is tried again after this. */
#define STUCK_MS 5u
/* Bytes that may wait for a slow client: notifications beyond this are dropped. */
#define QUEUE_DROP (256u * 1024)
/* Bytes that may wait in all exchanges of this process together: beyond it, the slowest goes
 * without. */
#define QUEUE_MAX (96u * 1024 * 1024)
/* Answers of a batch that are held for one array. */
#define HELD_MAX (60u * 1024 * 1024)

static uint64_t plain_ms(const struct exchange *exchange)
{
	return exchange->era == MCP_MODERN ? MODERN_ANSWER_MS : PLAIN_ANSWER_MS;
}

struct exchange *exchange_new(
	struct worker *worker, struct link *gateway, const struct message *msg)
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
	exchange->began_us = worker_now_us(worker);
	exchange->began_ms = exchange->began_us / 1000;
	exchange->era = worker->session.era;
	exchange->status = 200;
	exchange->mcp_params = fields->mcp_params;
	if (fields->traceparent.len <= LIMIT_TRACEPARENT && fields->traceparent.len > 0)
		memcpy(exchange->traceparent, fields->traceparent.p, fields->traceparent.len);
	buf_init(&exchange->held, HELD_MAX);
	buf_init(&exchange->queue, QUEUE_MAX);
	DL_APPEND(worker->exchanges, exchange);
	if (exchange->verb == EXCHANGE_POST)
		worker_tick_in(worker, plain_ms(exchange));
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
	worker_touch(worker);
}

struct exchange *exchange_find(struct worker *worker, const struct link *gateway, uint32_t number)
{
	struct exchange *exchange;

	DL_FOREACH(worker->exchanges, exchange)
	{
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

static uint64_t code_to_tell(const struct exchange *exchange)
{
	int code = exchange->outcome.code;

	return (uint64_t)(code < 0 ? -(int64_t)code : code);
}

static void stuck(const struct exchange *exchange)
{
	worker_tick_in(exchange->worker, STUCK_MS);
}

/* --- room ------------------------------------------------------------------------------------ */

static size_t queued(const struct exchange *exchange)
{
	return exchange->queue.len - exchange->queue_sent;
}

static void forget_queue(struct exchange *exchange)
{
	buf_free(&exchange->queue);
	exchange->queue_sent = 0;
}

/* In the place of an answer that cannot be kept. */
static void keep_refusal(struct exchange *exchange)
{
	struct span id = json_object_get(buf_span(&exchange->queue), SPAN_LIT("id"));
	struct err err = {0};
	struct buf body;

	err_set(&err, ERR_SLOW_CONSUMER, "the client does not take its answers: this one was dropped");
	buf_init(&body, exchange->queue.len + 1024);
	jsonrpc_write_err(&body, id, &err, JSONRPC_EXECUTED_UNKNOWN);
	exchange->outcome.code = err_rpc_code(err.code);
	forget_queue(exchange);
	buf_append_span(&exchange->queue, buf_span(&body));
	buf_free(&body);
}

/* What is cut of a stream can be had again by its event id; its end is sent by the next tick. */
static void go_without(struct exchange *exchange)
{
	if (exchange->state == EXCHANGE_DONE) {
		keep_refusal(exchange);
		return;
	}
	forget_queue(exchange);
	exchange->ending = exchange->cut = true;
	stuck(exchange);
}

/* Room for len more bytes that wait. False: this exchange is the slowest itself. */
static bool make_room(struct exchange *exchange, size_t len)
{
	struct exchange *each, *slowest;
	size_t total;

	for (;;) {
		slowest = NULL;
		total = len;
		DL_FOREACH(exchange->worker->exchanges, each)
		{
			total += queued(each);
			if (each != exchange && (!slowest || queued(each) > queued(slowest)))
				slowest = each;
		}
		if (total <= QUEUE_MAX)
			return true;
		if (!slowest || queued(slowest) <= queued(exchange) + len)
			return false;
		go_without(slowest);
	}
}

/* --- plain answers -------------------------------------------------------------------------- */

static int send_answer(struct exchange *exchange, struct span body)
{
	const struct outcome *outcome = &exchange->outcome;
	const struct session *client = &exchange->worker->session;
	const struct msg_exchange_answer fields = {
		.status = exchange->status,
		.content = exchange->content,
		.session = session_to_tell(exchange),
		.method = span_str(outcome->method),
		.server = span_str(outcome->server),
		.tool = span_str(outcome->tool),
		.code = code_to_tell(exchange),
		.executed = outcome->executed,
		.upstream_us = outcome->upstream_us,
		.version = span_str(mcp_version_name(client->version)),
		.client = span_str(client->client_name),
		.queue_us = outcome->queue_us,
		.worker_us = outcome->worker_us,
	};

	if (!exchange->gateway)
		return 0;
	return link_send(
		exchange->gateway, MSG_EXCHANGE_ANSWER, exchange->number, &fields, body, NULL);
}

/* The link has no room now: the answer waits here, and nothing else concerns the exchange any
 * more. */
static void keep_answer(struct exchange *exchange, struct span body)
{
	bool room = make_room(exchange, body.len);

	request_exchange_gone(exchange->worker, exchange);
	if (buf_append_span(&exchange->queue, body) < 0) {
		worker_out_of_memory(exchange->worker);
		exchange_free(exchange);
		return;
	}
	buf_free(&exchange->held);
	if (!room)
		keep_refusal(exchange);
	stuck(exchange);
}

static void answer(
	struct exchange *exchange, unsigned status, enum exchange_content content, struct span body)
{
	exchange->state = EXCHANGE_DONE;
	exchange->status = status;
	exchange->content = content;
	if (send_answer(exchange, body) == -ERR_AGAIN)
		keep_answer(exchange, body);
	else
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

void exchange_answer_err(struct exchange *exchange, struct span id, const struct err *err,
	enum jsonrpc_executed executed)
{
	struct buf body;

	buf_init(&body, 65536);
	jsonrpc_write_err(&body, id, err, executed);
	exchange->outcome.code = err_rpc_code(err->code);
	exchange_answer_json(exchange, (unsigned)err_http_status(err->code), buf_span(&body));
	buf_free(&body);
}

static void retry_answer(struct exchange *exchange)
{
	if (send_answer(exchange, buf_span(&exchange->queue)) == -ERR_AGAIN)
		stuck(exchange);
	else
		exchange_free(exchange);
}

/* --- event streams -------------------------------------------------------------------------- */

/* True once the head has left. */
static bool send_head(struct exchange *exchange)
{
	const struct msg_exchange_head head = {
		.status = 200, .content = EXCHANGE_SSE, .session = session_to_tell(exchange)};

	exchange->head_due = exchange->gateway && link_post(exchange->gateway, MSG_EXCHANGE_HEAD,
							  exchange->number, &head) == -ERR_AGAIN;
	if (exchange->head_due)
		stuck(exchange);
	return !exchange->head_due;
}

void exchange_begin_stream(struct exchange *exchange, struct stream *stream)
{
	exchange->state = EXCHANGE_STREAMING;
	exchange->events = stream;
	send_head(exchange);
}

/* A modern request lives as long as its stream, whoever closed that. */
static void end_of(struct exchange *exchange)
{
	/* its requests end without ending the stream a second time */
	streams_exchange_gone(&exchange->worker->streams, exchange);
	exchange->events = NULL;
	if (exchange->cut && exchange->era == MCP_MODERN)
		request_cancel_exchange(exchange->worker, exchange);
	exchange_free(exchange);
}

static void send_end(struct exchange *exchange)
{
	const struct outcome *outcome = &exchange->outcome;
	const struct session *client = &exchange->worker->session;
	const struct msg_exchange_end fields = {
		.method = span_str(outcome->method),
		.server = span_str(outcome->server),
		.tool = span_str(outcome->tool),
		.code = code_to_tell(exchange),
		.executed = outcome->executed,
		.upstream_us = outcome->upstream_us,
		.version = span_str(mcp_version_name(client->version)),
		.client = span_str(client->client_name),
		.queue_us = outcome->queue_us,
		.worker_us = outcome->worker_us,
		.cut = exchange->cut,
	};

	if (exchange->gateway && link_post(exchange->gateway, MSG_EXCHANGE_END, exchange->number,
					 &fields) == -ERR_AGAIN)
		stuck(exchange);
	else
		end_of(exchange);
}

/* Send the first n of these bytes as far as credit and link allow. Returns how many have left. */
static size_t send_data(struct exchange *exchange, struct span bytes)
{
	size_t sent = 0;

	while (sent < bytes.len && exchange->credit > 0) {
		size_t n =
			bytes.len - sent < exchange->credit ? bytes.len - sent : exchange->credit;

		if (n > LIMIT_FRAME_PAYLOAD)
			n = LIMIT_FRAME_PAYLOAD;
		if (link_send(exchange->gateway, MSG_EXCHANGE_DATA, exchange->number, NULL,
			    span_of(bytes.p + sent, n), NULL) < 0) {
			stuck(exchange);
			break;
		}
		sent += n;
		exchange->credit -= n;
	}
	return sent;
}

static void pump(struct exchange *exchange)
{
	if (!exchange->gateway || (exchange->head_due && !send_head(exchange)))
		return;
	exchange->queue_sent += send_data(
		exchange, span_of(exchange->queue.data + exchange->queue_sent, queued(exchange)));
	if (queued(exchange) == 0) {
		forget_queue(exchange);
	} else if (exchange->queue_sent > exchange->queue.len / 2) {
		buf_consume(&exchange->queue, exchange->queue_sent);
		exchange->queue_sent = 0;
	}
}

int exchange_write(struct exchange *exchange, struct span bytes, bool droppable)
{
	size_t sent = 0;

	if (!exchange->gateway)
		return 0;
	if (exchange->ending || (droppable && queued(exchange) > QUEUE_DROP))
		return -ERR_SLOW_CONSUMER;
	if (queued(exchange) == 0 && !exchange->head_due)
		sent = send_data(exchange, bytes);
	if (sent == bytes.len)
		return 0;
	if (!make_room(exchange, bytes.len - sent) ||
		buf_append(&exchange->queue, bytes.p + sent, bytes.len - sent) < 0) {
		go_without(exchange);
		return -ERR_SLOW_CONSUMER;
	}
	return 0;
}

void exchange_end(struct exchange *exchange)
{
	exchange->ending = true;
	if (!exchange->gateway || (queued(exchange) == 0 && !exchange->head_due))
		send_end(exchange);
}

void exchange_credit(struct exchange *exchange, size_t bytes)
{
	exchange->credit += bytes;
	pump(exchange);
	if (exchange->ending && queued(exchange) == 0 && !exchange->head_due)
		send_end(exchange);
}

void exchange_evict(struct exchange *exchange)
{
	request_exchange_gone(exchange->worker, exchange);
	streams_exchange_gone(&exchange->worker->streams, exchange);
	exchange->events = NULL;
	exchange_end(exchange);
}

void exchange_closed(struct exchange *exchange)
{
	exchange->gateway = NULL;
	streams_exchange_gone(&exchange->worker->streams, exchange);
	exchange->events = NULL;
	if (exchange->era == MCP_MODERN)
		request_cancel_exchange(exchange->worker, exchange);
	exchange_free(exchange);
}

/* --- answers of requests -------------------------------------------------------------------- */

static bool may_stream(const struct exchange *exchange)
{
	return exchange->accept & EXCHANGE_ACCEPTS_SSE;
}

static bool may_answer_json(const struct exchange *exchange)
{
	return !may_stream(exchange) || exchange->status != 200 ||
	       ((exchange->accept & EXCHANGE_ACCEPTS_JSON) &&
		       !(exchange->accept & EXCHANGE_PREFERS_SSE));
}

static void become_stream(struct exchange *exchange)
{
	struct streams *streams = &exchange->worker->streams;
	struct stream *stream = stream_new(streams);

	if (!stream) {
		worker_out_of_memory(exchange->worker);
		return;
	}
	request_exchange_streams(exchange->worker, exchange, stream);
	exchange_begin_stream(exchange, stream);
	stream_attach(streams, stream, exchange);
	if (exchange->held.len > 0) {
		/* answers of a batch that were held for one array */
		struct json_iter iter;
		struct span element;

		buf_append_char(&exchange->held, ']');
		iter = json_iter(buf_span(&exchange->held));
		while (json_iter_element(&iter, &element))
			stream_send(streams, stream, element, false);
		buf_free(&exchange->held);
	}
}

void exchange_park(struct exchange *exchange)
{
	if (exchange->ending || exchange->batch || exchange->era == MCP_MODERN ||
		(exchange->accept & EXCHANGE_TO_THE_END) ||
		exchange->worker->session.version < MCP_2025_11_25)
		return;
	/* its first event is what the client comes back with */
	if (exchange->state == EXCHANGE_WAITING && may_stream(exchange))
		become_stream(exchange);
	if (exchange->state == EXCHANGE_STREAMING)
		exchange_evict(exchange);
}

static void fail_batch(struct exchange *exchange)
{
	struct err err = {0};

	err_set(&err, ERR_TOO_LARGE, "the answers of this batch are too large for one array");
	exchange_answer_err(exchange, SPAN_NONE, &err, JSONRPC_EXECUTED_UNKNOWN);
}

static void all_answered(struct exchange *exchange)
{
	struct worker *worker = exchange->worker;

	if (exchange->state == EXCHANGE_WAITING && exchange->overflow) {
		fail_batch(exchange);
	} else if (exchange->state == EXCHANGE_STREAMING) {
		stream_finish(&worker->streams, exchange->events);
	} else if (exchange->batch && exchange->held.len > 0) {
		buf_append_char(&exchange->held, ']');
		exchange_answer_json(exchange, 200, buf_span(&exchange->held));
	} else if (may_stream(exchange) && exchange->gateway) {
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
	/* room for the closing bracket is kept */
	if (!exchange->overflow && exchange->held.len + message.len + 2 <= HELD_MAX &&
		buf_append_char(&exchange->held, exchange->held.len == 0 ? '[' : ',') == 0 &&
		buf_append_span(&exchange->held, message) == 0)
		return;
	buf_free(&exchange->held);
	exchange->overflow = true;
}

void exchange_deliver(struct exchange *exchange, struct span message, bool final, bool droppable)
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
		stream_send(&worker->streams, exchange->events, message, droppable);
	if (final && exchange->unanswered == 0)
		all_answered(exchange);
}

void exchange_settle(struct exchange *exchange)
{
	exchange->unanswered--;
	if (exchange->unanswered == 0)
		all_answered(exchange);
}

static void tick_waiting(struct exchange *exchange, uint64_t now_ms)
{
	uint64_t age = now_ms - exchange->began_ms;

	if (!may_stream(exchange) || exchange->whole || exchange->unanswered == 0 ||
		exchange->overflow)
		return;
	if (age >= plain_ms(exchange))
		become_stream(exchange);
	else
		worker_tick_in(exchange->worker, plain_ms(exchange) - age);
}

void exchange_tick(struct worker *worker, uint64_t now_ms)
{
	struct exchange *exchange, *next;

	DL_FOREACH_SAFE(worker->exchanges, exchange, next)
	{
		if (exchange->state == EXCHANGE_DONE)
			retry_answer(exchange);
		else if (exchange->state == EXCHANGE_STREAMING)
			exchange_credit(exchange, 0);
		else if (exchange->verb == EXCHANGE_POST)
			tick_waiting(exchange, now_ms);
	}
}
