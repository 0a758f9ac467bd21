#include "exchange.h"
#include "access_log.h"
#include "clock.h"
#include "gateway.h"
#include "hash.h"
#include "metrics.h"
#include "payloads.h"
#include "route.h"
#include "sse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Exchanges kept for reuse. */
#define SPARE_MAX 256u
/* Requests longer than this are not kept when they cannot be sent again anyway. */
#define KEEP_BODY_MAX 4096u
#define ERROR_MAX (8u * 1024)
/* What an event makes of its data at most: each line end begins another "data: ". */
#define EVENT_GROWTH 7u

/* --- life ----------------------------------------------------------------------------------- */

void request_id_make(struct gateway *gateway, char out[REQUEST_ID_MAX])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t id = hash64(&gateway->counter, sizeof(gateway->counter), gateway->seed);

	gateway->counter++;
	for (int i = 15; i >= 0; i--, id >>= 4)
		out[i] = digits[id & 15];
	out[16] = '\0';
}

struct exchange *exchange_new(struct gateway *gateway, struct http_conn *conn)
{
	struct exchange *exchange = gateway->spare;

	if (exchange) {
		gateway->spare = exchange->chain;
		gateway->n_spare--;
		memset(exchange, 0, sizeof(*exchange));
	} else {
		exchange = calloc(1, sizeof(*exchange));
	}
	if (!exchange)
		return NULL;
	exchange->gateway = gateway;
	exchange->conn = conn;
	exchange->between_events = true;
	exchange->began_us = clock_us();
	buf_init(&exchange->queue, LIMIT_STREAM_WINDOW + LIMIT_FRAME_PAYLOAD);
	request_id_make(gateway, exchange->request_id);
	http_conn_set_data(conn, exchange);
	gateway->n_exchanges++;
	return exchange;
}

void exchange_free(struct exchange *exchange)
{
	struct gateway *gateway = exchange->gateway;

	stream_stop(exchange);
	exchange_leave(exchange);
	if (exchange->conn)
		http_conn_set_data(exchange->conn, NULL);
	buf_free(&exchange->queue);
	free(exchange->kept_id);
	payloads_free(exchange->payloads);
	gateway->n_exchanges--;
	if (gateway->n_spare >= SPARE_MAX) {
		free(exchange);
		return;
	}
	exchange->chain = gateway->spare;
	gateway->spare = exchange;
	gateway->n_spare++;
}

void exchanges_free(struct gateway *gateway)
{
	while (gateway->spare) {
		struct exchange *exchange = gateway->spare;

		gateway->spare = exchange->chain;
		free(exchange);
	}
	gateway->n_spare = 0;
}

struct outcome exchange_outcome(const struct exchange *exchange, const char *word, unsigned status)
{
	return (struct outcome){
		.word = word,
		.status = status,
		.method = mcp_method_info(exchange->method)->name,
		.executed = exchange->forwarded && !exchange->safe ? 2 : 0,
	};
}

void exchange_tell(struct exchange *exchange, const struct outcome *outcome)
{
	uint64_t now_us = exchange->answered_us ? exchange->answered_us : clock_us();
	uint64_t took_us = now_us - exchange->began_us;

	/* for a worker that never came */
	if (exchange->waiting_us)
		exchange->waited_us += now_us - exchange->waiting_us;
	exchange->waiting_us = 0;
	metrics_exchange(exchange->gateway->metrics, exchange, outcome, took_us);
	access_log_exchange(exchange, outcome, took_us);
}

static void finish(struct exchange *exchange, const struct outcome *outcome)
{
	exchange_tell(exchange, outcome);
	exchange_free(exchange);
}

struct span exchange_trace_id(const struct exchange *exchange)
{
	return exchange->traceparent[0] ? span_of(exchange->traceparent + 3, 32) : SPAN_NONE;
}

bool exchange_is_endless(const struct exchange *exchange)
{
	return exchange->verb == EXCHANGE_GET || exchange->method == MCP_SUBSCRIPTIONS_LISTEN;
}

void exchange_release(struct exchange *exchange)
{
	if (exchange->released)
		return;
	if (exchange->id.len) {
		exchange->kept_id = strndup(exchange->id.p, exchange->id.len);
		if (!exchange->kept_id)
			return;
		exchange->id.p = exchange->kept_id;
	}
	exchange->released = true;
	exchange->facts = (struct facts){.accept = exchange->facts.accept};
	exchange->head = NULL;
	exchange->body = SPAN_NONE;
	http_conn_release_request(exchange->conn);
}

/* --- towards the worker --------------------------------------------------------------------- */

static struct exchange **bucket(struct gateway *gateway, const struct route *route, uint32_t stream)
{
	uint64_t place = (uint64_t)(uintptr_t)route * UINT64_C(0x9e3779b97f4a7c15) >> 40;

	return &gateway->buckets[(place + (stream >> 1)) % EXCHANGE_BUCKETS];
}

struct exchange *exchange_find(struct gateway *gateway, const struct route *route, uint32_t stream)
{
	struct exchange *exchange = *bucket(gateway, route, stream);

	while (exchange && (exchange->route != route || exchange->stream != stream))
		exchange = exchange->chain;
	return exchange;
}

void exchange_leave(struct exchange *exchange)
{
	struct exchange **place;

	if (!exchange->route)
		return;
	if (exchange->stream) {
		place = bucket(exchange->gateway, exchange->route, exchange->stream);
		while (*place != exchange)
			place = &(*place)->chain;
		*place = exchange->chain;
		exchange->chain = NULL;
	}
	route_leave(exchange);
	exchange->stream = 0;
	exchange->route = NULL;
}

/* The Mcp-Param-… headers, for the worker to compare with the body. */
static struct span write_params(const struct exchange *exchange, struct buf *out)
{
	const struct http1_head *head = exchange->head;

	for (unsigned i = 0; exchange->facts.mcp_params && head && i < head->nheaders; i++)
		if (is_mcp_param(head->headers[i].name))
			http1_write_header(out, head->headers[i].name, head->headers[i].value);
	return buf_span(out);
}

static void enter_bucket(struct exchange *exchange)
{
	struct exchange **place = bucket(exchange->gateway, exchange->route, exchange->stream);

	exchange->chain = *place;
	*place = exchange;
}

static int send_exchange(struct exchange *exchange, struct span mcp_params)
{
	const struct route *route = exchange->route;
	const struct msg_exchange fields = {
		.verb = exchange->verb,
		.accept = exchange->facts.accept,
		.session = span_of(route->session, route->session_len),
		.epoch = route->epoch,
		.principal = SPAN_LIT(PRINCIPAL),
		.version = exchange->facts.version,
		.mcp_method = exchange->facts.mcp_method,
		.mcp_name = exchange->facts.mcp_name,
		.last_event_id = exchange->facts.last_event_id,
		.request_id = span_of(exchange->request_id, REQUEST_ID_MAX - 1),
		.traceparent = span_str(exchange->traceparent),
		.mcp_params = mcp_params,
	};

	return link_send(
		route->link, MSG_EXCHANGE, exchange->stream, &fields, exchange->body, NULL);
}

/* It has its worker now: what it cost to come here. */
static void note_times(struct exchange *exchange)
{
	uint64_t now_us = clock_us();

	if (exchange->waiting_us)
		exchange->waited_us += now_us - exchange->waiting_us;
	exchange->waiting_us = 0;
	if (!exchange->gateway_us)
		exchange->gateway_us = now_us - exchange->began_us - exchange->waited_us;
}

void exchange_send(struct exchange *exchange)
{
	struct buf params;
	struct err err = {0};
	int r;

	note_times(exchange);
	exchange->stream = link_stream(exchange->route->link);
	if (!exchange->shared)
		memcpy(exchange->session_tag, exchange->route->tag, sizeof(exchange->session_tag));
	enter_bucket(exchange);
	buf_init(&params, LIMIT_FRAME_FIELDS);
	r = send_exchange(exchange, write_params(exchange, &params));
	buf_free(&params);
	/* a link that has just closed says so, and what it had is looked after then */
	if (r == 0 || r == -ERR_CLOSED)
		return;
	if (r == -ERR_TOO_LARGE)
		err_set(&err, ERR_HEADERS_TOO_LARGE, "the headers are too long to be passed on");
	else
		err_set(&err, ERR_BUSY, "this session's worker does not keep up: try again");
	exchange_fail(exchange, &err, JSONRPC_EXECUTED_NO);
}

static void tell_closed(const struct exchange *exchange)
{
	if (exchange->stream)
		link_post(exchange->route->link, MSG_EXCHANGE_CLOSED, exchange->stream, NULL);
}

/* --- answers -------------------------------------------------------------------------------- */

void answer_headers_add(struct answer_headers *headers, const char *name, struct span value)
{
	if (value.len && headers->n < EXCHANGE_HEADERS_MAX)
		headers->list[headers->n++] = (struct http1_header){span_str(name), value};
}

void answer_headers_cors(struct answer_headers *headers, struct span origin)
{
	if (!origin.len)
		return;
	answer_headers_add(headers, "Access-Control-Allow-Origin", origin);
	answer_headers_add(
		headers, "Access-Control-Expose-Headers", SPAN_LIT("Mcp-Session-Id, X-Request-Id"));
	answer_headers_add(headers, "Vary", SPAN_LIT("Origin"));
}

void answer_headers_timing(
	struct answer_headers *headers, struct exchange *exchange, uint64_t upstream_us)
{
	uint64_t now_us = clock_us(), total = now_us - exchange->began_us;
	uint64_t own = total > upstream_us ? total - upstream_us : 0;
	int n;

	if (upstream_us == UINT64_MAX) {
		n = snprintf(headers->timing, sizeof(headers->timing),
			"stream;dur=%" PRIu64 ".%03u;desc=\"until the stream began\"", total / 1000,
			(unsigned)(total % 1000));
	} else {
		exchange->answered_us = now_us;
		n = snprintf(headers->timing, sizeof(headers->timing),
			"gatehouse;dur=%" PRIu64 ".%03u, server;dur=%" PRIu64 ".%03u", own / 1000,
			(unsigned)(own % 1000), upstream_us / 1000, (unsigned)(upstream_us % 1000));
	}
	answer_headers_add(headers, "Server-Timing", span_of(headers->timing, (size_t)n));
}

static const char *const content_types[] = {"", "application/json", "text/event-stream"};

static void answer(struct exchange *exchange, unsigned status, unsigned content,
	struct span session, struct span body, uint64_t upstream_us)
{
	struct answer_headers headers = {.n = 0};
	int r;

	answer_headers_add(&headers, "Content-Type",
		span_str(content_types[content <= EXCHANGE_SSE ? content : EXCHANGE_NO_CONTENT]));
	answer_headers_add(&headers, "Mcp-Session-Id", session);
	answer_headers_add(
		&headers, "X-Request-Id", span_of(exchange->request_id, REQUEST_ID_MAX - 1));
	answer_headers_timing(&headers, exchange, upstream_us);
	answer_headers_cors(&headers, exchange->facts.origin);
	exchange->bytes_out = body.len;
	payloads_answer(exchange->payloads, body);
	r = http_conn_respond(exchange->conn, status, headers.list, headers.n, body);
	/* what remains for a client whose answer cannot be given is to see its connection break */
	if (r < 0 && r != -ERR_CLOSED && http_conn_respond_error(exchange->conn, r, NULL) < 0)
		http_conn_abort(exchange->conn);
}

/* A whole answer where an event stream was begun: its only event, or its last. */
static void answer_on_stream(
	struct exchange *exchange, struct span json, const struct outcome *outcome)
{
	struct buf event;
	int r = 0;

	buf_init(&event, EVENT_GROWTH * json.len + 64);
	if (json.len)
		r = sse_write_event(&event, SPAN_NONE, SPAN_LIT("message"), json);
	exchange->queue.max += event.len;
	if (r < 0)
		http_conn_abort(exchange->conn);
	else if (stream_write(exchange, buf_span(&event)) == 0)
		stream_end(exchange, outcome);
	buf_free(&event);
}

/* The error, or an array of it for a batch, with the id of each request. */
static void write_errors(struct exchange *exchange, struct buf *out, const struct err *err,
	enum jsonrpc_executed executed)
{
	struct json_iter iter;
	struct jsonrpc one;
	bool first = true;
	int r;

	if (exchange->kind != JSONRPC_BATCH || exchange->released) {
		jsonrpc_write_err(out, exchange->id, err, executed);
		return;
	}
	iter = json_iter(json_trim(exchange->body));
	buf_append_char(out, '[');
	while ((r = jsonrpc_batch_next(&iter, &one, NULL)) != 0) {
		if (r < 0 || one.kind != JSONRPC_REQUEST)
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		jsonrpc_write_err(out, one.id, err, executed);
	}
	buf_append_char(out, ']');
}

void exchange_fail(struct exchange *exchange, const struct err *err, enum jsonrpc_executed executed)
{
	struct outcome outcome =
		exchange_outcome(exchange, "failed", (unsigned)err_http_status(err->code));
	struct buf body;

	outcome.code = err_rpc_code(err->code);
	outcome.executed = executed == JSONRPC_EXECUTED_NO ? 0 : 2;
	buf_init(&body, exchange->kind == JSONRPC_BATCH ? 1024u * 1024 : ERROR_MAX);
	write_errors(exchange, &body, err, executed);
	if (exchange->streaming) {
		outcome.status = 200;
		answer_on_stream(exchange,
			exchange->verb == EXCHANGE_POST ? buf_span(&body) : SPAN_NONE, &outcome);
	} else {
		answer(exchange, outcome.status, EXCHANGE_JSON, SPAN_NONE, buf_span(&body), 0);
		finish(exchange, &outcome);
	}
	buf_free(&body);
}

/* --- what the worker says ------------------------------------------------------------------- */

static struct exchange *find(struct link *link, const struct message *msg, void *arg)
{
	return exchange_find(gateway_of(arg), link_user(link), msg->stream);
}

void exchange_on_forwarded(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_forwarded *fields = msg->fields;
	struct exchange *exchange = find(link, msg, arg);

	if (!exchange)
		return;
	/* of a batch, the least safe counts */
	exchange->safe = fields->safe && (!exchange->forwarded || exchange->safe);
	exchange->forwarded = true;
}

static struct outcome outcome_of_answer(
	const struct exchange *exchange, const struct msg_exchange_answer *fields)
{
	struct outcome outcome = {
		.word = fields->code || fields->status >= 400 ? "error" : "ok",
		.status = (unsigned)fields->status,
		.method = fields->method,
		.server = fields->server,
		.tool = fields->tool,
		.version = fields->version,
		.client = fields->client,
		.code = -(int)fields->code,
		.executed = (unsigned)fields->executed,
		.upstream_us = fields->upstream_us,
		.queue_us = fields->queue_us,
		.worker_us = fields->worker_us,
	};

	if (!outcome.method.len)
		outcome.method = mcp_method_info(exchange->method)->name;
	return outcome;
}

void exchange_on_answer(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_answer *fields = msg->fields;
	struct exchange *exchange = find(link, msg, arg);
	struct route *route = link_user(link);
	struct outcome outcome;

	if (!exchange)
		return;
	if (fields->status < 200 || fields->status > 599) {
		http_conn_abort(exchange->conn);
		return;
	}
	outcome = outcome_of_answer(exchange, fields);
	if ((exchange->verb == EXCHANGE_DELETE && outcome.status < 300) ||
		(outcome.status == 404 && outcome.code == err_rpc_code(ERR_SESSION_UNKNOWN)))
		route_end(route);
	if (exchange->streaming) {
		answer_on_stream(exchange, msg->payload, &outcome);
		return;
	}
	answer(exchange, outcome.status, (unsigned)fields->content, fields->session, msg->payload,
		outcome.upstream_us);
	finish(exchange, &outcome);
}

void exchange_on_head(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_head *fields = msg->fields;
	struct exchange *exchange = find(link, msg, arg);

	/* a request that was sent again has its stream already */
	if (!exchange || exchange->streaming)
		return;
	if (fields->content != EXCHANGE_SSE || fields->status < 200 || fields->status > 599) {
		http_conn_abort(exchange->conn);
		return;
	}
	if (stream_begin(exchange, (unsigned)fields->status, fields->session) < 0) {
		http_conn_abort(exchange->conn);
		return;
	}
	if (exchange->verb == EXCHANGE_GET ||
		(exchange->forwarded && !exchange->safe && exchange->bytes_in > KEEP_BODY_MAX &&
			exchange->kind != JSONRPC_BATCH))
		exchange_release(exchange);
}

void exchange_on_data(struct link *link, const struct message *msg, void *arg)
{
	struct exchange *exchange = find(link, msg, arg);

	if (exchange && exchange->streaming)
		stream_write(exchange, msg->payload);
}

void exchange_on_end(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_end *fields = msg->fields;
	struct exchange *exchange = find(link, msg, arg);
	struct msg_exchange_answer same = {.status = 200};
	struct outcome outcome;

	if (!exchange || !exchange->streaming)
		return;
	same.method = fields->method;
	same.server = fields->server;
	same.tool = fields->tool;
	same.code = fields->code;
	same.executed = fields->executed;
	same.upstream_us = fields->upstream_us;
	same.version = fields->version;
	same.client = fields->client;
	same.queue_us = fields->queue_us;
	same.worker_us = fields->worker_us;
	outcome = outcome_of_answer(exchange, &same);
	stream_end(exchange, &outcome);
}

/* --- the client goes away ------------------------------------------------------------------- */

void exchange_client_closed(struct exchange *exchange)
{
	struct outcome outcome = exchange_outcome(exchange, "client_gone", 499);

	if (exchange->ended) {
		exchange_free(exchange);
		return;
	}
	if (exchange->streaming)
		outcome.status = 200;
	tell_closed(exchange);
	finish(exchange, &outcome);
}

/*
 * The client has closed its side for writing. Nobody who still wants an answer does that, but for a
 * person with a simple tool; so: a modern request is cancelled by it (closing is cancelling); on a
 * legacy event stream a comment finds out whether somebody still listens; else the answer is
 * awaited.
 */
void exchange_client_half(struct exchange *exchange)
{
	if (exchange->era == MCP_MODERN && exchange->verb == EXCHANGE_POST && !exchange->ended)
		http_conn_close(exchange->conn);
	else if (exchange->streaming && exchange->between_events && exchange->queue.len == 0)
		http_conn_write(exchange->conn, SPAN_LIT(":\n\n"));
}
