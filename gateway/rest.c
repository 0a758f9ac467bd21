/* Requests of the REST view: what they ask, as a message of 2026-07-28. */
#include "rest.h"
#include "edge.h"
#include "json.h"
#include "json_write.h"
#include "payloads.h"
#include "route.h"

#define ALLOWED "GET, POST"
/* Beside a body, in the message made of it: names and a cursor, escaped. */
#define MESSAGE_SPARE (64u * 1024)
#define META \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
	"\"io.modelcontextprotocol/clientCapabilities\":{}," \
	"\"io.modelcontextprotocol/clientInfo\":{\"name\":\"rest\",\"version\":\"" GATEHOUSE_VERSION \
	"\"}}"

/* A request on its way to becoming a message. */
struct asking {
	struct exchange *exchange;
	struct rest_target target;
	enum mcp_method method;
	struct buf name; /* of the tool, prompt or resource, decoded */
	struct err *err;
};

/* --- what is checked from the head ---------------------------------------------------------- */

static bool takes(
	const struct gateway *gateway, const struct http1_head *head, struct span *ret_view)
{
	struct rest_target target;

	if (!gateway->config->rest || !rest_find(head->path, &target))
		return false;
	*ret_view = target.view;
	return true;
}

static bool has_body(const struct http1_head *head)
{
	return head->framing != HTTP1_FRAMING_NONE &&
	       !(head->framing == HTTP1_FRAMING_LENGTH && head->content_length == 0);
}

static bool is_allowed(enum rest_kind kind, struct span method)
{
	if (span_is(method, "GET"))
		return kind != REST_PROMPT;
	return span_is(method, "POST") && (kind == REST_TOOL || kind == REST_PROMPT);
}

static int check(const struct door *door, const struct http1_head *head,
	const struct facts *facts, struct err *err)
{
	struct rest_target target;
	int r = admission_check(&door->admission, head->host, facts, err);

	if (r < 0)
		return r;
	rest_find(head->path, &target);
	if (target.kind == REST_NOTHING)
		return err_set(err, ERR_NOT_FOUND,
			"there is nothing here: " REST_PATH "/openapi.json says what there is");
	if (!is_allowed(target.kind, head->method))
		return err_set(err, ERR_METHOD_NOT_ALLOWED, "this can be asked with %s alone",
			rest_allow(target.kind));
	if (span_is(head->method, "POST") && has_body(head) && !is_json_type(facts->content_type))
		return err_set(err, ERR_UNSUPPORTED_MEDIA, "Content-Type must be application/json");
	return 0;
}

/* --- the catalogue -------------------------------------------------------------------------- */

/* That of the view; *ret_own is to be freed. NULL: it has not come yet. */
static const struct catalogue *catalogue_of(
	const struct gateway *gateway, struct span view, struct catalogue **ret_own)
{
	*ret_own = NULL;
	if (!gateway->catalogue || !view.len)
		return gateway->catalogue;
	if (catalogue_parse(catalogue_view_bytes(gateway->catalogue, view), ret_own, NULL) < 0)
		*ret_own = NULL;
	return *ret_own;
}

static int not_there(struct err *err)
{
	return err_set(err, ERR_BUSY, "what the servers offer is not known yet: try again");
}

/* What is found is used before the catalogue goes. */
typedef int item_fn(struct exchange *exchange, const struct catalogue_item *item);

static int with_item(struct asking *asking, enum catalogue_kind kind, item_fn *fn)
{
	struct exchange *exchange = asking->exchange;
	struct catalogue *own;
	const struct catalogue *catalogue =
		catalogue_of(exchange->gateway, asking->target.view, &own);
	struct catalogue_item item;
	struct span name = buf_span(&asking->name);
	int r;

	if (!catalogue)
		r = not_there(asking->err);
	else if (catalogue_find(catalogue, kind, name, &item, 1) == 0)
		r = err_set(asking->err, ERR_NOT_FOUND, "%s \"%.*s\" is not known",
			catalogue_kind_name(kind), (int)(name.len > 200 ? 200 : name.len), name.p);
	else
		r = fn ? fn(exchange, &item) : 0;
	catalogue_free(own);
	return r;
}

static int give_item(struct exchange *exchange, const struct catalogue_item *item)
{
	exchange->method = MCP_TOOLS_LIST;
	rest_give(exchange, "application/json", item->json);
	return 0;
}

static int give_openapi(struct asking *asking)
{
	struct exchange *exchange = asking->exchange;
	struct catalogue *own;
	const struct catalogue *catalogue =
		catalogue_of(exchange->gateway, asking->target.view, &own);
	struct buf out;
	int r;

	buf_init(&out, CATALOGUE_BYTES_MAX);
	exchange->method = MCP_TOOLS_LIST;
	if (!catalogue)
		r = not_there(asking->err);
	else if (rest_write_openapi(catalogue, asking->target.view, &out) < 0)
		r = err_set(asking->err, ERR_TOO_LARGE, "the description is too large");
	else
		r = 0;
	if (r == 0)
		rest_give(exchange, "application/json", buf_span(&out));
	buf_free(&out);
	catalogue_free(own);
	return r;
}

/* --- the message ---------------------------------------------------------------------------- */

static enum mcp_method method_of(enum rest_kind kind)
{
	static const enum mcp_method methods[] = {
		[REST_TOOLS] = MCP_TOOLS_LIST,
		[REST_TOOL] = MCP_TOOLS_CALL,
		[REST_RESOURCES] = MCP_RESOURCES_LIST,
		[REST_TEMPLATES] = MCP_TEMPLATES_LIST,
		[REST_READ] = MCP_RESOURCES_READ,
		[REST_PROMPTS] = MCP_PROMPTS_LIST,
		[REST_PROMPT] = MCP_PROMPTS_GET,
		[REST_OPENAPI] = MCP_TOOLS_LIST,
	};

	return methods[kind];
}

static int read_name(struct asking *asking, struct span encoded)
{
	if (asking->target.kind == REST_READ && !encoded.len)
		return err_set(asking->err, ERR_INVALID_PARAMS,
			"the parameter uri is missing: which resource?");
	if (rest_decode(encoded, &asking->name) < 0)
		return err_set(asking->err, ERR_INVALID_PARAMS,
			"a name or uri is too long, or not percent-encoded UTF-8");
	return 0;
}

/* Only one value, and an object: it becomes part of the message as it is. */
static int check_arguments(struct span body, struct err *err)
{
	if (!json_trim(body).len)
		return 0;
	if (json_check(body, LIMIT_JSON_DEPTH - 2, err) < 0)
		return err->code;
	if (json_type(json_trim(body)) != JSON_OBJECT)
		return err_set(err, ERR_INVALID_PARAMS,
			"the body must be a JSON object: the arguments by name");
	return 0;
}

static int write_cursor(struct span query, struct buf *out, struct err *err)
{
	struct span encoded = rest_parameter(query, "cursor");
	struct buf cursor;
	int r = 0;

	if (!encoded.len)
		return 0;
	buf_init(&cursor, 1024);
	if (rest_decode(encoded, &cursor) < 0) {
		r = err_set(err, ERR_INVALID_PARAMS, "the cursor is none of this server");
	} else {
		buf_append_str(out, ",\"cursor\":");
		json_write_string(out, buf_span(&cursor));
	}
	buf_free(&cursor);
	return r;
}

static int write_params(struct asking *asking, const struct http_request *request, struct buf *out)
{
	struct span body = json_trim(request->body);
	bool calls = asking->method == MCP_TOOLS_CALL || asking->method == MCP_PROMPTS_GET;
	int r = 0;

	buf_append_str(out, "{" META);
	if (asking->name.len) {
		buf_append_str(out, calls ? ",\"name\":" : ",\"uri\":");
		json_write_string(out, buf_span(&asking->name));
	} else {
		r = write_cursor(request->head->query, out, asking->err);
	}
	if (calls) {
		buf_append_str(out, ",\"arguments\":");
		buf_append_span(out, body.len ? body : SPAN_LIT("{}"));
	}
	return r < 0 ? r : buf_append_char(out, '}');
}

/* The message, and behind it what Mcp-Name would say. */
static int write_message(struct asking *asking, const struct http_request *request)
{
	struct exchange *exchange = asking->exchange;
	struct buf out;
	size_t len = 0, size;
	int r;

	buf_init(&out, request->body.len + MESSAGE_SPARE);
	buf_printf(&out, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%.*s\",\"params\":",
		SPAN_ARG(mcp_method_info(asking->method)->name));
	r = write_params(asking, request, &out);
	if (r == 0 && (r = buf_append_char(&out, '}')) == 0) {
		len = out.len;
		r = asking->name.len ? mcp_header_encode(buf_span(&asking->name), &out) : 0;
	}
	if (r < 0) {
		buf_free(&out);
		return asking->err->code ? asking->err->code
					 : err_set(asking->err, ERR_TOO_LARGE, "the request is too large");
	}
	exchange->own_body = buf_steal(&out, &size);
	exchange->body = span_of(exchange->own_body, len);
	exchange->facts.mcp_name = span_of(exchange->own_body + len, size - len);
	exchange->facts.mcp_method = mcp_method_info(asking->method)->name;
	exchange->facts.version = SPAN_LIT("2026-07-28");
	exchange->facts.accept = ACCEPTS_JSON | ACCEPTS_NO_PARAMS;
	return 0;
}

static int send_message(struct asking *asking, const struct http_request *request)
{
	struct exchange *exchange = asking->exchange;
	int r = check_arguments(request->body, asking->err);

	if (r == 0 && asking->method == MCP_TOOLS_CALL)
		r = with_item(asking, CATALOGUE_TOOL, NULL);
	if (r == 0 && asking->method == MCP_PROMPTS_GET)
		r = with_item(asking, CATALOGUE_PROMPT, NULL);
	if (r == 0)
		r = write_message(asking, request);
	if (r == 0)
		r = exchange_read_body(exchange, asking->err);
	if (r < 0)
		return r;
	if (exchange->gateway->config->log_payloads)
		exchange->payloads = payloads_new(exchange->body);
	route_to_shared(exchange);
	return 0;
}

static int answer(struct asking *asking, const struct http_request *request)
{
	struct span encoded = asking->target.name;
	int r;

	if (asking->target.kind == REST_READ)
		encoded = rest_parameter(request->head->query, "uri");
	r = read_name(asking, encoded);
	if (r < 0)
		return r;
	if (asking->target.kind == REST_OPENAPI)
		return give_openapi(asking);
	if (asking->target.kind == REST_TOOL && span_is(request->head->method, "GET"))
		return with_item(asking, CATALOGUE_TOOL, give_item);
	return send_message(asking, request);
}

/* --- the request ---------------------------------------------------------------------------- */

static void on_request(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts)
{
	struct err err = {0};
	struct asking asking = {.err = &err};
	struct exchange *exchange = streamable_exchange(door, conn, request, facts, &rest_answers);

	if (!exchange)
		return;
	rest_find(request->head->path, &asking.target);
	asking.exchange = exchange;
	asking.method = exchange->method = method_of(asking.target.kind);
	exchange->verb = EXCHANGE_POST;
	exchange->era = MCP_MODERN;
	exchange->facts.origin = facts->origin;
	buf_init(&asking.name, CATALOGUE_URI_MAX);
	if (answer(&asking, request) < 0)
		exchange_fail(exchange, &err, JSONRPC_EXECUTED_NO);
	buf_free(&asking.name);
}

static const char *allow_at(struct span path)
{
	struct rest_target target;

	rest_find(path, &target);
	return rest_allow(target.kind);
}

static const char *refusal(struct buf *out, const struct err *err, struct span request_id)
{
	rest_write_problem(out, err, request_id);
	return REST_PROBLEM_TYPE;
}

const struct client_transport transport_rest = {
	.name = "rest",
	.takes = takes,
	.check = check,
	.allow = ALLOWED,
	.allow_at = allow_at,
	.refusal = refusal,
	.request = on_request,
};
