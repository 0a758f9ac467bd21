#include "edge.h"
#include "access_log.h"
#include "json.h"
#include "metrics.h"
#include "payloads.h"
#include "route.h"

#include <ctype.h>

#define REFUSAL_MAX (8u * 1024)
/* Bodies up to this are read before the request is judged: its connection can then be kept. */
#define SCREEN_MIN (64u * 1024)
/* Unsent bytes of one connection beyond which event streams wait in their queues. */
#define OUTPUT_MAX (2u * LIMIT_FRAME_PAYLOAD)
#define ALLOWED "GET, POST, DELETE"

struct http_limits edge_limits(const struct config *config, uint32_t index)
{
	struct http_limits limits = http_limits_default;
	const struct config_listen *listen =
		index < config->listen_count ? &config->listen[index] : NULL;
	int64_t connections = listen ? listen->max_connections : config->http_max_connections;
	int64_t gateways = config->gateways > 0 ? config->gateways : gateway_cores();

	limits.output = OUTPUT_MAX;
	limits.head = (size_t)(listen ? listen->max_header : config->http_max_header);
	if (limits.target > limits.head)
		limits.target = limits.head;
	limits.body = (size_t)(listen ? listen->max_body : config->http_max_body);
	limits.header_ms =
		(unsigned)(listen ? listen->header_timeout : config->http_header_timeout);
	limits.body_ms = (unsigned)(listen ? listen->body_timeout : config->http_body_timeout);
	limits.idle_ms = (unsigned)(listen ? listen->idle_timeout : config->http_idle_timeout);
	limits.connections = (unsigned)((connections + gateways - 1) / gateways);
	return limits;
}

/* --- refusing ------------------------------------------------------------------------------- */

void edge_refuse(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct err *err, struct span id, const char *allow)
{
	struct answer_headers headers = {.n = 0};
	char request_id[REQUEST_ID_MAX];
	struct buf body;

	request_id_make(door->gateway, request_id);
	metrics_refused(door->gateway->metrics, err->code);
	access_log_refused(door->gateway, conn, head, request_id, err->code, err_text(err));
	buf_init(&body, REFUSAL_MAX);
	jsonrpc_write_err(&body, id, err, JSONRPC_EXECUTED_NO);
	answer_headers_add(&headers, "Content-Type", SPAN_LIT("application/json"));
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	answer_headers_add(&headers, "Allow", span_str(allow));
	http_conn_respond(conn, (unsigned)err_http_status(err->code), headers.list, headers.n,
		buf_span(&body));
	buf_free(&body);
}

static const char *allow_of(const struct err *err)
{
	return err->code == -ERR_METHOD_NOT_ALLOWED ? ALLOWED : NULL;
}

static enum exchange_verb verb_of(struct span method)
{
	if (span_is(method, "POST"))
		return EXCHANGE_POST;
	if (span_is(method, "GET"))
		return EXCHANGE_GET;
	return span_is(method, "DELETE") ? EXCHANGE_DELETE : 0;
}

static int check_media(enum exchange_verb verb, const struct facts *facts, struct err *err)
{
	if (verb == EXCHANGE_POST && !is_json_type(facts->content_type))
		return err_set(err, ERR_UNSUPPORTED_MEDIA, "Content-Type must be application/json");
	if (verb == EXCHANGE_POST && !facts->accept)
		return err_set(err, ERR_NOT_ACCEPTABLE,
			"Accept must contain application/json or text/event-stream");
	if (verb == EXCHANGE_GET && !(facts->accept & ACCEPTS_SSE))
		return err_set(err, ERR_NOT_ACCEPTABLE, "Accept must contain text/event-stream");
	return 0;
}

/* GET and DELETE concern a session; there are none in the modern era. */
static int check_session(enum exchange_verb verb, const struct facts *facts, struct err *err)
{
	if (verb == EXCHANGE_POST)
		return 0;
	if (!facts->session.p && mcp_version_looks_modern(facts->version))
		return err_set(err, ERR_METHOD_NOT_ALLOWED, "this revision of MCP knows only POST");
	if (!facts->session.p)
		return err_set(err, ERR_SESSION_REQUIRED,
			"Mcp-Session-Id is missing: only a session has this");
	return 0;
}

/* All that can be said from the head of a request for MCP_PATH. */
static int check_mcp(const struct door *door, const struct http1_head *head,
	const struct facts *facts, struct err *err)
{
	enum exchange_verb verb = verb_of(head->method);
	int r = admission_check(&door->admission, head->host, facts, err);

	if (r == 0 && verb == 0)
		r = err_set(err, ERR_METHOD_NOT_ALLOWED, "MCP is spoken by " ALLOWED);
	if (r == 0)
		r = check_session(verb, facts, err);
	return r ? r : check_media(verb, facts, err);
}

/* --- MCP ------------------------------------------------------------------------------------ */

/* What is not in the form of version 00, nor begins with it, is as good as none. */
static void take_trace(struct exchange *exchange, struct span traceparent)
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

static bool begins_session(const struct exchange *exchange)
{
	return exchange->kind == JSONRPC_REQUEST && exchange->method == MCP_INITIALIZE;
}

static void go(struct exchange *exchange)
{
	if (exchange->verb != EXCHANGE_POST)
		route_to_session(exchange);
	else if (exchange->era == MCP_MODERN)
		route_to_shared(exchange);
	else if (exchange->facts.session.p)
		route_to_session(exchange);
	else if (begins_session(exchange))
		route_to_new_session(exchange);
	else
		route_to_shared(exchange);
}

/* What stands between the quotes of a string. */
static struct span inner(struct span string)
{
	return json_type(string) == JSON_STRING ? span_of(string.p + 1, string.len - 2) : SPAN_NONE;
}

/* What the envelope says; the id is echoed whatever happens. */
static int read_body(struct exchange *exchange, struct err *err)
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
		take_trace(exchange, inner(json_object_get(meta, SPAN_LIT("traceparent"))));
	return 0;
}

static void begin_exchange(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts)
{
	struct exchange *exchange = exchange_new(door->gateway, conn);
	struct err err = {0};
	struct span id;

	if (!exchange) {
		err_set(&err, ERR_NO_MEMORY, "the gateway is out of memory");
		edge_refuse(door, conn, request->head, &err, SPAN_NONE, NULL);
		return;
	}
	exchange->verb = verb_of(request->head->method);
	exchange->facts = *facts;
	exchange->head = request->head;
	exchange->body = request->body;
	exchange->bytes_in = request->body.len;
	take_trace(exchange, facts->traceparent);
	if (door->gateway->trust.count)
		access_log_remote(door->gateway, conn, request->head, exchange->remote);
	if (door->gateway->config->log_payloads && exchange->verb == EXCHANGE_POST)
		exchange->payloads = payloads_new(request->body);
	if (read_body(exchange, &err) == 0) {
		go(exchange);
		return;
	}
	id = exchange->id;
	exchange_free(exchange);
	edge_refuse(door, conn, request->head, &err, id, NULL);
}

/* A page of an allowed origin asks whether it may send its headers (Fetch, CORS preflight). */
static void answer_preflight(struct door *door, struct http_conn *conn, const struct facts *facts)
{
	struct answer_headers headers = {.n = 0};
	char request_id[REQUEST_ID_MAX];

	answer_headers_cors(&headers, facts->origin);
	answer_headers_add(&headers, "Access-Control-Allow-Methods", SPAN_LIT(ALLOWED));
	answer_headers_add(&headers, "Access-Control-Allow-Headers",
		SPAN_LIT("Content-Type, Accept, Authorization, Mcp-Session-Id, "
			 "MCP-Protocol-Version, Mcp-Method, "
			 "Mcp-Name, Last-Event-ID, traceparent"));
	answer_headers_add(&headers, "Access-Control-Max-Age", SPAN_LIT("600"));
	request_id_make(door->gateway, request_id);
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	http_conn_respond(conn, 204, headers.list, headers.n, SPAN_NONE);
}

static bool is_preflight(
	const struct door *door, const struct http1_head *head, const struct facts *facts)
{
	return span_is(head->method, "OPTIONS") && facts->preflight && facts->origin.len &&
	       admission_check(&door->admission, head->host, facts, NULL) == 0;
}

/* --- the connections' callbacks ------------------------------------------------------------- */

static void on_request(struct http_conn *conn, const struct http_request *request, void *arg)
{
	const struct http1_head *head = request->head;
	struct door *door = arg;
	struct facts facts;
	struct err err;

	err.code = 0;
	if (!span_is(head->path, MCP_PATH)) {
		if (page_exists(head->path)) {
			page_answer(door, conn, head);
			return;
		}
		err_set(&err, ERR_NOT_FOUND, "there is nothing here: MCP is at " MCP_PATH);
		edge_refuse(door, conn, head, &err, SPAN_NONE, NULL);
		return;
	}
	facts_read(head, &facts);
	if (is_preflight(door, head, &facts))
		answer_preflight(door, conn, &facts);
	else if (check_mcp(door, head, &facts, &err) < 0)
		edge_refuse(door, conn, head, &err, SPAN_NONE, allow_of(&err));
	else
		begin_exchange(door, conn, request, &facts);
}

/* A large body is not taken from those who would be refused anyway. */
static void on_head(struct http_conn *conn, const struct http1_head *head, void *arg)
{
	struct door *door = arg;
	struct facts facts;
	struct err err = {0};

	if (head->framing == HTTP1_FRAMING_NONE ||
		(head->framing == HTTP1_FRAMING_LENGTH && head->content_length <= SCREEN_MIN &&
			!head->expect_continue))
		return;
	facts_read(head, &facts);
	if (!span_is(head->path, MCP_PATH))
		err_set(&err, ERR_NOT_FOUND,
			"there is nothing here that takes a body: MCP is at " MCP_PATH);
	else
		check_mcp(door, head, &facts, &err);
	if (err.code)
		edge_refuse(door, conn, head, &err, SPAN_NONE, allow_of(&err));
}

static void on_writable(struct http_conn *conn, void *arg)
{
	struct exchange *exchange = http_conn_data(conn);

	(void)arg;
	if (exchange)
		exchange_writable(exchange);
}

static void on_gone(struct http_conn *conn, enum http_gone gone, void *arg)
{
	struct exchange *exchange = http_conn_data(conn);

	(void)arg;
	if (exchange && gone == HTTP_GONE_HALF)
		exchange_client_half(exchange);
}

static void on_refused(struct http_conn *conn, int code, const char *detail, void *arg)
{
	struct err err = {0};

	err_set(&err, (enum err_code)(code < 0 ? -code : code), "%s", detail);
	edge_refuse(arg, conn, NULL, &err, SPAN_NONE, NULL);
}

static bool trusts(const struct net_address *peer, void *arg)
{
	const struct door *door = arg;

	return trust_has(&door->gateway->trust, peer);
}

static void on_closed(struct http_conn *conn, void *arg)
{
	struct exchange *exchange = http_conn_data(conn);

	(void)arg;
	if (exchange)
		exchange_client_closed(exchange);
}

const struct http_server_ops edge_ops = {
	.request = on_request,
	.head = on_head,
	.writable = on_writable,
	.client_gone = on_gone,
	.refused = on_refused,
	.trusts = trusts,
	.closed = on_closed,
};
