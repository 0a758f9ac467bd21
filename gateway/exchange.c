#include "exchange.h"
#include "access_log.h"
#include "channel.h"
#include "clock.h"
#include "gateway.h"
#include "hash.h"
#include "metrics.h"
#include "payloads.h"
#include "route.h"
#include "sse.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Exchanges kept for reuse. */
#define SPARE_MAX 256u
/* Requests longer than this are not kept when they cannot be sent again anyway. */
#define KEEP_BODY_MAX 4096u
#define ERROR_MAX (8u * 1024)
/* A worker, a gateway or the session manager is there again well within a second. */
#define RETRY_AFTER_S "1"
/* Credit is given in such pieces. */
#define CREDIT_MIN (LIMIT_STREAM_WINDOW / 4)

/* --- life ---------------------------------------------------------------------------------- */

void request_id_make(struct gateway *gateway, char out[REQUEST_ID_MAX])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t id = hash64(&gateway->counter, sizeof(gateway->counter), gateway->seed);

	gateway->counter++;
	for (int i = 15; i >= 0; i--, id >>= 4)
		out[i] = digits[id & 15];
	out[16] = '\0';
}

struct exchange *exchange_new(
	struct gateway *gateway, struct http_conn *conn, const struct answer_ops *answers)
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
	exchange->view = &gateway->all;
	exchange->answers = answers;
	exchange->between_events = true;
	exchange->began_us = clock_us();
	buf_init(&exchange->queue, LIMIT_STREAM_WINDOW + LIMIT_FRAME_PAYLOAD);
	request_id_make(gateway, exchange->request_id);
	if (conn)
		http_conn_set_data(conn, exchange);
	gateway->n_exchanges++;
	return exchange;
}

void exchange_free(struct exchange *exchange)
{
	struct gateway *gateway = exchange->gateway;

	exchange->answers->stop(exchange);
	exchange_leave(exchange);
	if (exchange->conn)
		http_conn_set_data(exchange->conn, NULL);
	sse_parser_free(exchange->parser);
	buf_free(&exchange->queue);
	buf_free(&exchange->answered);
	buf_free(&exchange->rest);
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

void exchange_finish(struct exchange *exchange, const struct outcome *outcome)
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
	if (exchange->own_body && exchange->channel)
		channel_body_gone(exchange->channel, exchange);
	if (exchange->conn)
		http_conn_release_request(exchange->conn);
}

/* --- what the client says ------------------------------------------------------------------- */

/* What is not in the form of version 00, nor begins with it, is as good as none. */
void exchange_take_trace(struct exchange *exchange, struct span traceparent)
{
	static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";

	if (traceparent.len < TRACEPARENT_MAX - 1 || exchange->traceparent[0])
		return;
	for (unsigned i = 0; i < TRACEPARENT_MAX - 1; i++)
		if (form[i] == 'x' ? !isxdigit((unsigned char)traceparent.p[i])
				   : traceparent.p[i] != form[i])
			return;
	memcpy(exchange->traceparent, traceparent.p, TRACEPARENT_MAX - 1);
}

/* What stands between the quotes of a string. */
static struct span inner(struct span string)
{
	return json_type(string) == JSON_STRING ? span_of(string.p + 1, string.len - 2) : SPAN_NONE;
}

int exchange_read_body(struct exchange *exchange, struct err *err)
{
	const struct mcp_headers headers = {.version = exchange->facts.version,
		.method = exchange->facts.mcp_method,
		.name = exchange->facts.mcp_name};
	struct jsonrpc msg;
	struct span meta;
	int r;

	if (exchange->verb != EXCHANGE_POST)
		return 0;
	r = jsonrpc_parse(exchange->body, &msg, err);
	exchange->id = msg.id;
	if (r < 0)
		return r;
	exchange->kind = msg.kind;
	exchange->method = mcp_method_find(msg.method);
	meta = json_object_get(msg.params, SPAN_LIT("_meta"));
	exchange->era = mcp_era_of(&msg, meta, &headers);
	if (meta.len)
		exchange_take_trace(exchange, inner(json_object_get(meta, SPAN_LIT("traceparent"))));
	return 0;
}

/* --- credit --------------------------------------------------------------------------------- */

void exchange_took(struct exchange *exchange, size_t n)
{
	struct msg_credit credit;

	exchange->owed += n;
	if (exchange->owed < CREDIT_MIN || !exchange->stream)
		return;
	credit = (struct msg_credit){.bytes = exchange->owed};
	if (link_post(exchange->route->link, MSG_CREDIT, exchange->stream, &credit) == 0)
		exchange->owed = 0;
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

	/* a notification may be about a request that is on its way: notifications/cancelled */
	if (exchange->kind == JSONRPC_NOTIFICATION || exchange->kind == JSONRPC_BATCH)
		return link_send_behind(
			route->link, MSG_EXCHANGE, exchange->stream, &fields, exchange->body);
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

void exchange_tell_closed(const struct exchange *exchange)
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

void answer_headers_retry(struct answer_headers *headers, unsigned status)
{
	if (status == 503 || status == 429)
		answer_headers_add(headers, "Retry-After", SPAN_LIT(RETRY_AFTER_S));
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
	exchange->answers->give(exchange,
		&(struct answer){.content = EXCHANGE_JSON, .body = buf_span(&body)}, &outcome);
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
		exchange->answers->broken(exchange);
		return;
	}
	outcome = outcome_of_answer(exchange, fields);
	if ((exchange->verb == EXCHANGE_DELETE && outcome.status < 300) ||
		(outcome.status == 404 && outcome.code == err_rpc_code(ERR_SESSION_UNKNOWN)))
		route_end(route);
	exchange->answers->give(exchange,
		&(struct answer){.content = (unsigned)fields->content,
			.session = fields->session,
			.body = msg->payload},
		&outcome);
}

void exchange_on_head(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_head *fields = msg->fields;
	struct exchange *exchange = find(link, msg, arg);

	/* a request that was sent again has its stream already */
	if (!exchange || exchange->streaming)
		return;
	if (fields->content != EXCHANGE_SSE || fields->status < 200 || fields->status > 599 ||
		exchange->answers->begin(exchange, (unsigned)fields->status, fields->session) < 0) {
		exchange->answers->broken(exchange);
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
		exchange->answers->write(exchange, msg->payload);
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
	outcome.cut = fields->cut != 0;
	exchange->answers->end(exchange, &outcome);
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
	exchange_tell_closed(exchange);
	exchange_finish(exchange, &outcome);
}
