#include "router.h"
#include "asks.h"
#include "clock.h"
#include "json_write.h"
#include "lists.h"
#include "modern.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

/* How long `initialize` waits for servers that are starting, so that the first list is not empty. */
#define STARTING_WAIT_MS 3000u
/* Messages of one batch (2025-03-26). */
#define BATCH_MAX 100u

typedef void method_fn(struct request *request, struct span params);

static void fail(struct request *request, enum err_code code, const char *detail)
{
	struct err err = {0};

	err_set(&err, code, "%s", detail);
	request_fail(request, &err, JSONRPC_EXECUTED_NO);
}

/* --- initialize ------------------------------------------------------------------------------------------------- */

static void write_initialize(struct worker *worker, struct buf *out)
{
	const struct catalogue *catalogue = worker->catalogue;
	struct span instructions = catalogue ? catalogue_instructions(catalogue) : SPAN_NONE;

	buf_printf(out, "{\"protocolVersion\":\"%s\",\"capabilities\":", mcp_version_name(worker->session.version));
	buf_append_span(out, catalogue ? catalogue_capabilities(catalogue, CATALOGUE_LEGACY) : SPAN_LIT("{}"));
	buf_append_str(out, ",\"serverInfo\":{\"name\":\"gatehouse\",\"title\":\"Gatehouse\",\"version\":\"" GATEHOUSE_VERSION
			    "\"}");
	if (instructions.len) {
		buf_append_str(out, ",\"instructions\":");
		json_write_string(out, instructions);
	}
	buf_append_char(out, '}');
}

static void initialize_saved(struct worker *worker, int code, void *arg)
{
	struct request *request = worker->initialize;
	struct buf out;

	(void)arg;
	worker->initialize = NULL;
	if (!request)
		return;
	if (code < 0) {
		fail(request, ERR_STORE, "the session could not be stored: try again");
		return;
	}
	buf_init(&out, 4u * 1024 * 1024);
	write_initialize(worker, &out);
	if (request->exchange)
		request->exchange->opens_session = true;
	request_result(request, buf_span(&out));
	buf_free(&out);
}

static bool servers_settled(const struct worker *worker)
{
	struct catalogue_server server;

	if (!worker->catalogue)
		return false;
	for (uint32_t i = 0; i < catalogue_servers(worker->catalogue); i++) {
		catalogue_get_server(worker->catalogue, i, &server);
		if (server.state == SERVER_STARTING && server.capabilities.len == 0)
			return false;
	}
	return true;
}

static void initialize_go_on(struct worker *worker)
{
	worker->initialize_waits = false;
	worker->session.opened = true;
	session_save(worker, initialize_saved, NULL);
}

static void on_initialize(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	char version[32];
	struct span text = SPAN_NONE;

	if (worker->session.era == MCP_MODERN || worker->session.opened || worker->initialize) {
		fail(request, ERR_INVALID_REQUEST, "this session is initialized already");
		return;
	}
	if (json_string_copy(json_object_get(params, SPAN_LIT("protocolVersion")), version, sizeof(version), &text) < 0) {
		fail(request, ERR_INVALID_PARAMS, "initialize: protocolVersion is missing or not a string");
		return;
	}
	if (session_set_client(&worker->session, mcp_version_negotiate(text),
		    json_object_get(params, SPAN_LIT("capabilities")), json_object_get(params, SPAN_LIT("clientInfo"))) < 0) {
		fail(request, ERR_NO_MEMORY, "no memory for the session");
		return;
	}
	worker->initialize = request;
	if (servers_settled(worker)) {
		initialize_go_on(worker);
	} else {
		worker->initialize_waits = true;
		worker->initialize_until_ms = clock_ms() + STARTING_WAIT_MS;
	}
}

void router_tick(struct worker *worker, uint64_t now_ms)
{
	if (worker->initialize_waits && (servers_settled(worker) || now_ms >= worker->initialize_until_ms))
		initialize_go_on(worker);
}

/* --- what is answered here ------------------------------------------------------------------------------------------- */

static void on_ping(struct request *request, struct span params)
{
	(void)params;
	request_result(request, SPAN_LIT("{}"));
}

static void on_discover(struct request *request, struct span params)
{
	(void)params;
	modern_discover(request);
}

static void on_list(struct request *request, struct span params)
{
	list_answer(request, request->worker->catalogue, params);
}

static void on_set_level(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	enum mcp_log_level level = mcp_log_level_parse(json_object_get(params, SPAN_LIT("level")));

	if (level == MCP_LOG_NONE) {
		fail(request, ERR_INVALID_PARAMS, "logging/setLevel: level is not one of debug … emergency");
		return;
	}
	worker->session.log_level = level;
	session_save(worker, NULL, NULL);
	server_notify(worker, NULL, SPAN_LIT("logging/setLevel"), params);
	request_result(request, SPAN_LIT("{}"));
}

/* --- what goes to a server --------------------------------------------------------------------------------------------- */

static bool reply_modern(struct request *request, const struct reply *reply, void *arg)
{
	struct reply changed = *reply;
	struct buf out;

	(void)arg;
	request->on_reply = NULL;
	if (reply->kind != 0) {
		request_reply(request, reply);
		return true;
	}
	buf_init(&out, reply->payload.len + 256);
	if (modern_result(request, reply->payload, &out) == 0)
		changed.payload = buf_span(&out);
	request_reply(request, &changed);
	buf_free(&out);
	return true;
}

static void call_server(struct request *request, uint32_t index, struct span tool, struct span params)
{
	struct worker *worker = request->worker;
	struct catalogue_server server;
	char why[300];

	catalogue_get_server(worker->catalogue, index, &server);
	if (server.state == SERVER_FAILED || server.state == SERVER_DISABLED) {
		snprintf(why, sizeof(why), "server %.*s is %s: %.*s", SPAN_ARG(server.name), server_state_name(server.state),
			SPAN_ARG(server.error));
		fail(request, ERR_SERVER_DOWN, why);
		return;
	}
	if (request->era == MCP_MODERN && !request->on_reply)
		request->on_reply = reply_modern;
	if (server_call(worker, server.name, request, tool, params, server.call_timeout_ms) < 0)
		fail(request, ERR_NO_MEMORY, "no memory for the call");
}

/* params with the exposed name replaced by the server's own. */
static void call_renamed(struct request *request, const struct catalogue_item *item, struct span token, struct span params)
{
	struct json_edit edit = {.at = token, .with = item->original};
	struct span tool = item->original.len > 2 ? span_of(item->original.p + 1, item->original.len - 2) : SPAN_NONE;
	struct buf out;

	if (!(item->flags & CATALOGUE_RENAMED)) {
		call_server(request, item->server, tool, params);
		return;
	}
	buf_init(&out, params.len + item->original.len + 64);
	if (json_splice(params, &edit, 1, &out) == 0)
		call_server(request, item->server, tool, buf_span(&out));
	else
		fail(request, ERR_NO_MEMORY, "no memory for the call");
	buf_free(&out);
}

static bool find_named(struct request *request, enum catalogue_kind kind, struct span token, struct catalogue_item *ret)
{
	const struct catalogue *catalogue = request->worker->catalogue;
	char text[LIMIT_TOOL_NAME * 4];
	struct span name;

	return catalogue && json_string_copy(token, text, sizeof(text), &name) == 0 &&
	       catalogue_find(catalogue, kind, name, ret, 1) > 0;
}

static void fail_unknown(struct request *request, const char *what, struct span token)
{
	char why[256];

	if (json_type(token) != JSON_STRING)
		snprintf(why, sizeof(why), "%s: its name is missing or not a string", what);
	else
		snprintf(why, sizeof(why), "%s %.*s is not known", what, (int)(token.len > 160 ? 160 : token.len), token.p);
	fail(request, ERR_INVALID_PARAMS, why);
}

/* A call that asked for a task: remember whose the task is. */
static bool reply_task(struct request *request, const struct reply *reply, void *arg)
{
	struct span id = json_path(reply->payload, "task", "taskId", NULL);
	char text[256];
	struct span key;

	(void)arg;
	if (reply->kind == 0 && request->server && json_string_copy(id, text, sizeof(text), &key) == 0 &&
		session_mark_add(&request->worker->session.tasks, SESSION_TASKS_MAX, key, request->server->name) == 0)
		session_save(request->worker, NULL, NULL);
	request->on_reply = NULL;
	request_reply(request, reply);
	return true;
}

static void on_tool(struct request *request, struct span params)
{
	struct span token = mcp_route_value(request->method, params);
	struct catalogue_item item;

	if (!find_named(request, CATALOGUE_TOOL, token, &item)) {
		fail_unknown(request, "tool", token);
		return;
	}
	if (request->exchange)
		snprintf(request->exchange->outcome.tool, sizeof(request->exchange->outcome.tool), "%.*s", SPAN_ARG(item.name));
	request->safe = item.flags & (CATALOGUE_READ_ONLY | CATALOGUE_IDEMPOTENT);
	if (json_object_get(params, SPAN_LIT("task")).len)
		request->on_reply = reply_task;
	call_renamed(request, &item, token, params);
}

static void on_prompt(struct request *request, struct span params)
{
	struct span token = mcp_route_value(request->method, params);
	struct catalogue_item item;

	if (find_named(request, CATALOGUE_PROMPT, token, &item))
		call_renamed(request, &item, token, params);
	else
		fail_unknown(request, "prompt", token);
}

/* Whose a URI is: by the lists, then by the templates, then the only server that has resources at all. */
static bool find_uri(const struct worker *worker, struct span uri, uint32_t *ret_server)
{
	struct catalogue_item item;
	struct catalogue_server server;
	unsigned candidates = 0;

	if (!worker->catalogue)
		return false;
	if (catalogue_find(worker->catalogue, CATALOGUE_RESOURCE, uri, &item, 1) > 0 ||
		catalogue_find(worker->catalogue, CATALOGUE_TEMPLATE, uri, &item, 1) > 0 ||
		catalogue_match(worker->catalogue, uri, &item, 1) > 0) {
		*ret_server = item.server;
		return true;
	}
	for (uint32_t i = 0; i < catalogue_servers(worker->catalogue); i++) {
		catalogue_get_server(worker->catalogue, i, &server);
		if (mcp_capable(server.capabilities, "resources")) {
			*ret_server = i;
			candidates++;
		}
	}
	return candidates == 1;
}

static void call_uri(struct request *request, struct span token, struct span params)
{
	struct buf uri;
	uint32_t server = 0;
	char why[300];
	bool found;

	buf_init(&uri, CATALOGUE_URI_MAX);
	if (json_string_append(token, &uri) < 0) {
		fail(request, ERR_INVALID_PARAMS, "uri is missing, not a string, or too long");
		buf_free(&uri);
		return;
	}
	found = find_uri(request->worker, buf_span(&uri), &server);
	snprintf(why, sizeof(why), "Resource not found: %.*s", (int)(uri.len > 200 ? 200 : uri.len), uri.data ? uri.data : "");
	buf_free(&uri);
	if (found)
		call_server(request, server, SPAN_NONE, params);
	else
		fail(request, request->era == MCP_MODERN ? ERR_INVALID_PARAMS : ERR_RESOURCE_NOT_FOUND, why);
}

static void on_uri(struct request *request, struct span params)
{
	call_uri(request, mcp_route_value(request->method, params), params);
}

static void mark_subscription(struct request *request)
{
	struct session *session = &request->worker->session;
	struct span params = span_of(request->params, request->params_len);
	struct buf uri;

	buf_init(&uri, CATALOGUE_URI_MAX);
	if (request->server && json_string_append(json_object_get(params, SPAN_LIT("uri")), &uri) == 0) {
		if (request->method == MCP_RESOURCES_SUBSCRIBE)
			session_mark_add(&session->subscriptions, SESSION_SUBSCRIPTIONS_MAX, buf_span(&uri),
				request->server->name);
		else
			session_mark_remove(&session->subscriptions, buf_span(&uri));
		session_save(request->worker, NULL, NULL);
	}
	buf_free(&uri);
}

static bool reply_subscription(struct request *request, const struct reply *reply, void *arg)
{
	(void)arg;
	if (reply->kind == 0)
		mark_subscription(request);
	request->on_reply = NULL;
	request_reply(request, reply);
	return true;
}

static void on_subscription(struct request *request, struct span params)
{
	request->on_reply = reply_subscription;
	on_uri(request, params);
}

static void on_complete(struct request *request, struct span params)
{
	struct span ref = json_object_get(params, SPAN_LIT("ref"));
	struct span name = json_object_get(ref, SPAN_LIT("name"));
	struct catalogue_item item;

	if (json_equal_string(json_object_get(ref, SPAN_LIT("type")), SPAN_LIT("ref/resource")))
		call_uri(request, json_object_get(ref, SPAN_LIT("uri")), params);
	else if (find_named(request, CATALOGUE_PROMPT, name, &item))
		call_renamed(request, &item, name, params);
	else
		fail_unknown(request, "prompt", name);
}

static void on_task(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	const struct session_mark *mark = NULL;
	char text[256];
	struct span id;
	uint32_t server;

	if (json_string_copy(mcp_route_value(request->method, params), text, sizeof(text), &id) == 0)
		mark = session_mark_find(worker->session.tasks, id);
	if (!mark || !worker->catalogue || catalogue_find_server(worker->catalogue, span_str(mark->server), &server) < 0)
		fail(request, ERR_INVALID_PARAMS, "taskId is missing, or not a task of this session");
	else
		call_server(request, server, SPAN_NONE, params);
}

static void on_task_list(struct request *request, struct span params)
{
	const struct catalogue *catalogue = request->worker->catalogue;
	struct catalogue_server server;

	for (uint32_t i = 0; catalogue && i < catalogue_servers(catalogue); i++) {
		catalogue_get_server(catalogue, i, &server);
		if (mcp_capable(server.capabilities, "tasks.list")) {
			call_server(request, i, SPAN_NONE, params);
			return;
		}
	}
	request_result(request, SPAN_LIT("{\"tasks\":[]}"));
}

static method_fn *const methods[MCP_METHOD_MAX] = {
	[MCP_INITIALIZE] = on_initialize,
	[MCP_PING] = on_ping,
	[MCP_DISCOVER] = on_discover,
	[MCP_TOOLS_LIST] = on_list,
	[MCP_RESOURCES_LIST] = on_list,
	[MCP_TEMPLATES_LIST] = on_list,
	[MCP_PROMPTS_LIST] = on_list,
	[MCP_LOGGING_SET_LEVEL] = on_set_level,
	[MCP_TOOLS_CALL] = on_tool,
	[MCP_PROMPTS_GET] = on_prompt,
	[MCP_RESOURCES_READ] = on_uri,
	[MCP_RESOURCES_SUBSCRIBE] = on_subscription,
	[MCP_RESOURCES_UNSUBSCRIBE] = on_subscription,
	[MCP_COMPLETION_COMPLETE] = on_complete,
	[MCP_TASKS_GET] = on_task,
	[MCP_TASKS_RESULT] = on_task,
	[MCP_TASKS_CANCEL] = on_task,
	[MCP_TASKS_UPDATE] = on_task,
	[MCP_TASKS_LIST] = on_task_list,
};

/* --- messages of the client ------------------------------------------------------------------------------------------------ */

static void on_request(struct worker *worker, struct exchange *exchange, const struct jsonrpc *msg, enum mcp_era era)
{
	enum mcp_version version = era == MCP_MODERN ? MCP_FIRST_MODERN : worker->session.version;
	struct request *request = request_new(worker, exchange, msg, era);
	char why[160];

	if (!request) {
		/* out of memory: this worker ends, its successor has the session */
		process_exit(worker->process, EXIT_FAILURE, NULL);
		return;
	}
	snprintf(exchange->outcome.method, sizeof(exchange->outcome.method), "%.*s",
		SPAN_ARG(mcp_method_info(request->method)->name));
	if (worker->n_requests > (uint32_t)worker->config->session_max_in_flight) {
		fail(request, ERR_TOO_MANY, "too many requests of this session are unanswered: wait for some of them");
	} else if (!methods[request->method] ||
		   (version != MCP_VERSION_NONE && request->method != MCP_INITIALIZE &&
			   !mcp_method_in(request->method, version) && request->method != MCP_PING)) {
		snprintf(why, sizeof(why), "Method not found: %.*s", SPAN_ARG(msg->method));
		fail(request, ERR_METHOD_NOT_FOUND, why);
	} else if (worker->session.era == MCP_LEGACY && !worker->session.opened && request->method != MCP_INITIALIZE &&
		   request->method != MCP_PING) {
		fail(request, ERR_INVALID_REQUEST, "the session is not initialized: send initialize first");
	} else {
		methods[request->method](request, msg->params);
	}
}

static void on_notification(struct worker *worker, const struct jsonrpc *msg)
{
	switch (mcp_method_find(msg->method)) {
	case MCP_INITIALIZED:
		worker->session.initialized = true;
		session_save(worker, NULL, NULL);
		break;
	case MCP_CANCELLED:
		request_cancel(worker, json_object_get(msg->params, SPAN_LIT("requestId")),
			json_object_get(msg->params, SPAN_LIT("reason")));
		break;
	case MCP_PROGRESS:
		ask_progress(worker, msg->params);
		break;
	case MCP_ROOTS_CHANGED:
		server_notify(worker, NULL, msg->method, msg->params);
		break;
	default:
		break;
	}
}

static void on_message(struct worker *worker, struct exchange *exchange, const struct jsonrpc *msg, enum mcp_era era)
{
	if (msg->kind == JSONRPC_REQUEST)
		on_request(worker, exchange, msg, era);
	else if (msg->kind == JSONRPC_NOTIFICATION)
		on_notification(worker, msg);
	else
		ask_answered(worker, msg);
}

/* A batch: every message by itself; with at least one request, the answers come as an array or a stream. */
static void post_batch(struct worker *worker, struct exchange *exchange, const struct jsonrpc *batch)
{
	struct json_iter iter = json_iter(batch->body);
	struct jsonrpc msg;
	struct err err = {0};
	int r;

	if (worker->session.version > MCP_2025_03_26 || batch->batch_len == 0 || batch->batch_len > BATCH_MAX) {
		err_set(&err, ERR_INVALID_REQUEST,
			batch->batch_len == 0 ? "an empty batch"
					      : "batches of at most 100 messages exist in revision 2025-03-26 only");
		exchange_answer_err(exchange, SPAN_NONE, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	exchange->batch = true;
	exchange->unanswered = 1; /* not before all are read */
	while ((r = jsonrpc_batch_next(&iter, &msg, &err)) != 0) {
		struct buf out;

		if (r > 0) {
			on_message(worker, exchange, &msg, MCP_LEGACY);
			continue;
		}
		buf_init(&out, 65536);
		jsonrpc_write_err(&out, msg.id, &err, JSONRPC_EXECUTED_NO);
		exchange->unanswered++;
		exchange_deliver(exchange, buf_span(&out), true);
		buf_free(&out);
	}
	if (exchange->unanswered == 1 && exchange->held.len == 0 && exchange->state == EXCHANGE_WAITING)
		exchange_answer_status(exchange, 202);
	else
		exchange_settle(exchange);
}

/* The checks of a modern message; false when it was answered with what is wrong. */
static bool check_modern(struct exchange *exchange, const struct jsonrpc *msg, const struct mcp_headers *headers)
{
	struct mcp_meta meta;
	struct err err = {0};
	struct buf body;

	if (mcp_request_meta(msg, headers, &meta, &err) == 0)
		return true;
	buf_init(&body, 65536);
	mcp_write_err(&body, msg->id, &err, &meta, JSONRPC_EXECUTED_NO);
	exchange->outcome.code = err_rpc_code(err.code);
	exchange_answer_json(exchange, modern_status(err.code), buf_span(&body));
	buf_free(&body);
	return false;
}

void router_post(struct worker *worker, struct exchange *exchange, struct span body, const struct mcp_headers *headers)
{
	struct jsonrpc msg;
	struct err err = {0};
	enum mcp_era era;

	if (jsonrpc_parse(body, &msg, &err) < 0) {
		exchange_answer_err(exchange, msg.id, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	if (msg.kind == JSONRPC_BATCH) {
		post_batch(worker, exchange, &msg);
		return;
	}
	era = worker->session.era == MCP_MODERN ? mcp_request_era(&msg, headers) : MCP_LEGACY;
	if (era == MCP_MODERN && !check_modern(exchange, &msg, headers))
		return;
	if (msg.kind == JSONRPC_REQUEST) {
		on_message(worker, exchange, &msg, era);
		return;
	}
	snprintf(exchange->outcome.method, sizeof(exchange->outcome.method), "%.*s",
		SPAN_ARG(mcp_method_info(mcp_method_find(msg.method))->name));
	on_message(worker, exchange, &msg, era);
	exchange_answer_status(exchange, 202);
}

/* --- notifications of servers ---------------------------------------------------------------------------------------------- */

/* Is a log message below what the client asked for? */
static bool too_quiet(const struct worker *worker, struct span params)
{
	enum mcp_log_level level = mcp_log_level_parse(json_object_get(params, SPAN_LIT("level")));

	return worker->session.log_level != MCP_LOG_NONE && level != MCP_LOG_NONE && level < worker->session.log_level;
}

static void note_progress(struct request *request, struct span params)
{
	struct span token = json_object_get(params, SPAN_LIT("progressToken"));
	struct json_edit edit = {.at = token, .with = request->token};
	struct buf spliced, out;

	if (!token.len || !request->token.len)
		return;
	buf_init(&spliced, params.len + request->token.len + 64);
	buf_init(&out, params.len + request->token.len + 256);
	if (json_splice(params, &edit, 1, &spliced) == 0 &&
		jsonrpc_write_notification(&out, SPAN_LIT("notifications/progress"), buf_span(&spliced)) == 0)
		request_note(request, buf_span(&out));
	buf_free(&spliced);
	buf_free(&out);
}

void router_call_note(struct request *request, struct span method, struct span params)
{
	enum mcp_method which = mcp_method_find(method);
	struct buf out;

	if (which == MCP_PROGRESS) {
		note_progress(request, params);
		return;
	}
	if (which == MCP_MESSAGE && too_quiet(request->worker, params))
		return;
	buf_init(&out, params.len + 512);
	if (jsonrpc_write_notification(&out, method, params) == 0)
		request_note(request, buf_span(&out));
	buf_free(&out);
}

static void tell_client(struct worker *worker, struct span method, struct span params, bool droppable)
{
	struct buf out;

	if (worker->session.era == MCP_MODERN || !worker->session.opened)
		return;
	buf_init(&out, params.len + 512);
	if (jsonrpc_write_notification(&out, method, params) == 0)
		stream_send(&worker->streams, &worker->streams.standalone, buf_span(&out), droppable);
	buf_free(&out);
}

void router_server_note(struct worker *worker, struct server *server, struct span method, struct span params)
{
	enum mcp_method which = mcp_method_find(method);
	struct buf uri;

	(void)server;
	if (which == MCP_MESSAGE && too_quiet(worker, params))
		return;
	if (which == MCP_RESOURCE_UPDATED) {
		bool wanted;

		buf_init(&uri, CATALOGUE_URI_MAX);
		json_string_append(json_object_get(params, SPAN_LIT("uri")), &uri);
		wanted = session_mark_find(worker->session.subscriptions, buf_span(&uri)) != NULL;
		buf_free(&uri);
		if (!wanted)
			return;
	}
	tell_client(worker, method, params, which == MCP_MESSAGE);
}

void router_catalogue_changed(struct worker *worker, const struct catalogue *before)
{
	static const struct {
		enum catalogue_kind kind;
		struct span method;
	} changes[] = {
		{CATALOGUE_TOOL, {"notifications/tools/list_changed", 32}},
		{CATALOGUE_PROMPT, {"notifications/prompts/list_changed", 34}},
		{CATALOGUE_RESOURCE, {"notifications/resources/list_changed", 36}},
	};

	if (!before || !worker->session.initialized)
		return;
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
		if (list_differs(before, worker->catalogue, changes[i].kind) ||
			(changes[i].kind == CATALOGUE_RESOURCE && list_differs(before, worker->catalogue, CATALOGUE_TEMPLATE)))
			tell_client(worker, changes[i].method, SPAN_NONE, false);
}
