#include "edge.h"
#include "access_log.h"
#include "json.h"
#include "metrics.h"
#include "route.h"

#define REFUSAL_MAX (8u * 1024)
/* Bodies up to this are read before the request is judged: its connection can then be kept. */
#define SCREEN_MIN (64u * 1024)
/* Unsent bytes of one connection beyond which event streams wait in their queues. */
#define OUTPUT_MAX (2u * LIMIT_FRAME_PAYLOAD)

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
	limits.streams = (unsigned)(listen ? listen->max_streams : config->http_max_streams);
	limits.connections = (unsigned)((connections + gateways - 1) / gateways);
	return limits;
}

/* --- refusing ------------------------------------------------------------------------------- */

/* A page that may call may also read why not. */
static void add_cors(struct answer_headers *headers, const struct door *door,
	const struct http1_head *head, struct span view)
{
	struct facts facts;

	facts_read(head, &facts);
	facts.view = view;
	if (facts.origin.len && admission_check(&door->admission, head->host, &facts, NULL) == 0)
		answer_headers_cors(headers, facts.origin);
}

static void refuse(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct err *err, struct span id, const char *allow, enum jsonrpc_executed executed)
{
	struct span view = SPAN_NONE;
	const struct client_transport *transport =
		head ? transport_find(door->gateway, head, &view) : NULL;
	struct answer_headers headers = {.n = 0};
	const char *type = "application/json";
	char request_id[REQUEST_ID_MAX];
	struct buf body;

	request_id_make(door->gateway, request_id);
	metrics_refused(door->gateway->metrics, err->code);
	access_log_refused(door->gateway, conn, head, request_id, err->code, err_text(err));
	buf_init(&body, REFUSAL_MAX);
	if (transport && transport->refusal)
		type = transport->refusal(&body, err, span_str(request_id));
	else
		jsonrpc_write_err(&body, id, err, executed);
	answer_headers_add(&headers, "Content-Type", span_str(type));
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	answer_headers_add(&headers, "Allow", span_str(allow));
	answer_headers_retry(&headers, (unsigned)err_http_status(err->code));
	if (head)
		add_cors(&headers, door, head, view);
	if (err->code == -ERR_UPGRADE_REQUIRED) {
		answer_headers_add(&headers, "Upgrade", SPAN_LIT("websocket"));
		answer_headers_add(&headers, "Sec-WebSocket-Version", SPAN_LIT("13"));
	}
	http_conn_respond(conn, (unsigned)err_http_status(err->code), headers.list, headers.n,
		buf_span(&body));
	buf_free(&body);
}

void edge_refuse(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct err *err, struct span id, const char *allow)
{
	refuse(door, conn, head, err, id, allow, JSONRPC_EXECUTED_NO);
}

void edge_refuse_body(struct door *door, struct http_conn *conn, const struct http_request *request,
	const struct err *err)
{
	struct jsonrpc msg;

	jsonrpc_parse(request->body, &msg, NULL);
	refuse(door, conn, request->head, err, jsonrpc_is_reply(&msg) ? SPAN_NONE : msg.id,
		NULL, JSONRPC_EXECUTED_NO);
}

void edge_give_up(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct err *err)
{
	refuse(door, conn, head, err, SPAN_NONE, NULL, JSONRPC_EXECUTED_UNKNOWN);
}

void edge_accept(struct door *door, struct http_conn *conn, struct span origin)
{
	struct answer_headers headers = {.n = 0};
	char request_id[REQUEST_ID_MAX];

	request_id_make(door->gateway, request_id);
	metrics_response(door->gateway->metrics, 202);
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	answer_headers_cors(&headers, origin);
	http_conn_respond(conn, 202, headers.list, headers.n, SPAN_NONE);
}

static const char *allow_of(const struct client_transport *transport,
	const struct http1_head *head, const struct err *err)
{
	if (err->code != -ERR_METHOD_NOT_ALLOWED)
		return NULL;
	return transport->allow_at ? transport->allow_at(head->path) : transport->allow;
}

/* Which headers a page may send: those that MCP names, and of Mcp-Param-… what it asks for. */
static void write_allowed(struct buf *out, const struct http1_head *head)
{
	struct span asked = http1_header_get(head, "Access-Control-Request-Headers");

	buf_append_str(out, "Content-Type, Accept, Authorization, Mcp-Session-Id, "
			    "MCP-Protocol-Version, Mcp-Method, "
			    "Mcp-Name, Last-Event-ID, traceparent");
	while (asked.len) {
		const char *comma = memchr(asked.p, ',', asked.len);
		size_t len = comma ? (size_t)(comma - asked.p) : asked.len;
		struct span name = mcp_header_trim(span_of(asked.p, len));

		asked = span_of(asked.p + len, asked.len - len);
		if (comma)
			asked = span_of(asked.p + 1, asked.len - 1);
		if (is_mcp_param(name))
			buf_printf(out, ", %.*s", SPAN_ARG(name));
	}
}

/* A page of an allowed origin asks whether it may send its headers (Fetch, CORS preflight). */
static void answer_preflight(struct door *door, struct http_conn *conn,
	const struct client_transport *transport, const struct http1_head *head,
	const struct facts *facts)
{
	struct answer_headers headers = {.n = 0};
	char request_id[REQUEST_ID_MAX];
	struct buf allowed;

	answer_headers_cors(&headers, facts->origin);
	answer_headers_add(&headers, "Access-Control-Allow-Methods", span_str(transport->allow));
	buf_init(&allowed, edge_limits(door->gateway->config, door->index).head * 2);
	write_allowed(&allowed, head);
	answer_headers_add(&headers, "Access-Control-Allow-Headers", buf_span(&allowed));
	answer_headers_add(&headers, "Access-Control-Max-Age", SPAN_LIT("600"));
	request_id_make(door->gateway, request_id);
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	http_conn_respond(conn, 204, headers.list, headers.n, SPAN_NONE);
	buf_free(&allowed);
}

static bool is_preflight(
	const struct door *door, const struct http1_head *head, const struct facts *facts)
{
	return span_is(head->method, "OPTIONS") && facts->preflight && facts->origin.len &&
	       admission_check(&door->admission, head->host, facts, NULL) == 0;
}

/* --- the connections' callbacks ------------------------------------------------------------- */

static void no_transport(struct door *door, struct http_conn *conn, const struct http1_head *head)
{
	struct err err = {0};

	if (page_exists(head->path)) {
		page_answer(door, conn, head);
		return;
	}
	err_set(&err, ERR_NOT_FOUND, "there is nothing here: MCP is at " MCP_PATH);
	edge_refuse(door, conn, head, &err, SPAN_NONE, NULL);
}

static void on_request(struct http_conn *conn, const struct http_request *request, void *arg)
{
	const struct http1_head *head = request->head;
	struct door *door = arg;
	const struct client_transport *transport;
	struct facts facts;
	struct span view;
	struct err err;

	transport = transport_find(door->gateway, head, &view);
	if (!transport) {
		no_transport(door, conn, head);
		return;
	}
	err.code = 0;
	facts_read(head, &facts);
	facts.view = view;
	if (is_preflight(door, head, &facts))
		answer_preflight(door, conn, transport, head, &facts);
	else if (transport->check(door, head, &facts, &err) < 0)
		edge_refuse(door, conn, head, &err, SPAN_NONE, allow_of(transport, head, &err));
	else
		transport->request(door, conn, request, &facts);
}

/* A large body is not taken from those who would be refused anyway. */
static void on_head(struct http_conn *conn, const struct http1_head *head, void *arg)
{
	const struct client_transport *transport;
	struct door *door = arg;
	struct facts facts;
	struct span view;
	struct err err = {0};

	if (head->framing == HTTP1_FRAMING_NONE ||
		(head->framing == HTTP1_FRAMING_LENGTH && head->content_length <= SCREEN_MIN &&
			!head->expect_continue))
		return;
	transport = transport_find(door->gateway, head, &view);
	facts_read(head, &facts);
	facts.view = view;
	if (!transport)
		err_set(&err, ERR_NOT_FOUND,
			"there is nothing here that takes a body: MCP is at " MCP_PATH);
	else
		transport->check(door, head, &facts, &err);
	if (err.code)
		edge_refuse(door, conn, head, &err, SPAN_NONE,
			transport ? allow_of(transport, head, &err) : NULL);
}

static void on_input(struct http_conn *conn, struct span bytes, void *arg)
{
	struct conn_user *user = http_conn_data(conn);

	(void)arg;
	if (user && user->ops->input)
		user->ops->input(user, bytes);
}

static void on_writable(struct http_conn *conn, void *arg)
{
	struct conn_user *user = http_conn_data(conn);

	(void)arg;
	if (user && user->ops->writable)
		user->ops->writable(user);
}

static void on_gone(struct http_conn *conn, enum http_gone gone, void *arg)
{
	struct conn_user *user = http_conn_data(conn);

	(void)arg;
	if (user && user->ops->gone)
		user->ops->gone(user, gone);
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
	struct conn_user *user = http_conn_data(conn);

	(void)arg;
	if (user && user->ops->closed)
		user->ops->closed(user);
}

const struct http_server_ops edge_ops = {
	.request = on_request,
	.head = on_head,
	.input = on_input,
	.writable = on_writable,
	.client_gone = on_gone,
	.refused = on_refused,
	.trusts = trusts,
	.closed = on_closed,
};
