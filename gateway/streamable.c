/*
 * Streamable HTTP: a POST is an exchange, so are a GET (the session's event stream) and a DELETE.
 * Both eras.
 */
#include "access_log.h"
#include "edge.h"
#include "payloads.h"
#include "route.h"

#define ALLOWED "GET, POST, DELETE"

static bool takes(
	const struct gateway *gateway, const struct http1_head *head, struct span *ret_view)
{
	(void)gateway;
	return is_mcp_path(head->path, ret_view);
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

static int check(const struct door *door, const struct http1_head *head,
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

static bool begins_session(const struct exchange *exchange)
{
	return exchange->kind == JSONRPC_REQUEST && exchange->method == MCP_INITIALIZE;
}

/* Of the eras with sessions, and of none. */
static void refuse_without_session(struct exchange *exchange)
{
	struct err err = {0};

	err_set(&err, ERR_SESSION_REQUIRED,
		"Mcp-Session-Id is missing: begin with initialize, or send a request of revision "
		"2026-07-28, whose params._meta says so");
	exchange_fail(exchange, &err, JSONRPC_EXECUTED_NO);
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
		refuse_without_session(exchange);
}

struct exchange *streamable_exchange(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts,
	const struct answer_ops *answers)
{
	struct view *view = view_get(door->gateway, facts->view);
	struct exchange *exchange = view ? exchange_new(door->gateway, conn, answers) : NULL;
	struct err err = {0};

	if (!exchange) {
		err_set(&err, ERR_NO_MEMORY, "the gateway is out of memory");
		edge_refuse(door, conn, request->head, &err, SPAN_NONE, NULL);
		return NULL;
	}
	exchange->view = view;
	exchange->user.ops = &streamable_conn;
	exchange->bytes_in = request->body.len;
	exchange_take_trace(exchange, facts->traceparent);
	if (door->gateway->trust.count)
		access_log_remote(door->gateway, conn, request->head, exchange->remote);
	return exchange;
}

static void on_request(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts)
{
	struct exchange *exchange =
		streamable_exchange(door, conn, request, facts, &streamable_answers);
	struct err err = {0};
	struct span id;

	if (!exchange)
		return;
	exchange->verb = verb_of(request->head->method);
	exchange->facts = *facts;
	exchange->head = request->head;
	exchange->body = request->body;
	if (door->gateway->config->log_payloads && exchange->verb == EXCHANGE_POST)
		exchange->payloads = payloads_new(request->body);
	if (exchange_read_body(exchange, &err) == 0) {
		go(exchange);
		return;
	}
	id = exchange->id;
	exchange_free(exchange);
	edge_refuse(door, conn, request->head, &err, id, NULL);
}

const struct client_transport transport_streamable = {
	.name = "http",
	.takes = takes,
	.check = check,
	.allow = ALLOWED,
	.request = on_request,
};
