#include "methods.h"
#include "initialize.h"
#include "listens.h"
#include "lists.h"
#include "modern.h"
#include "own_lists.h"
#include "points.h"
#include "task_handle.h"
#include "tasks.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

/* Of a name that nobody has, in an error. */
#define NAME_SHOWN_MAX 256u

/* --- what is answered here ------------------------------------------------------------------ */

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

static void on_set_level(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	enum mcp_log_level level = mcp_log_level_parse(json_object_get(params, SPAN_LIT("level")));

	if (level == MCP_LOG_NONE) {
		request_refuse(request, ERR_INVALID_PARAMS,
			"logging/setLevel: level is not one of debug … emergency");
		return;
	}
	worker->session.log_level = level;
	session_save(worker, NULL, NULL);
	server_notify(worker, NULL, SPAN_LIT("logging/setLevel"), params);
	request_result(request, SPAN_LIT("{}"));
}

/* --- what goes to a server ------------------------------------------------------------------ */

static bool reply_modern(struct request *request, const struct reply *reply, void *arg)
{
	struct reply changed = *reply;
	struct buf out;
	int r = -ERR_INVALID_ARGUMENT;

	(void)arg;
	request->on_reply = NULL;
	if (reply->kind == 1 && modern_wants_urls(request, reply->payload)) {
		modern_ask_urls(request, reply->payload);
		return true;
	}
	buf_init(&out, reply->payload.len + 256);
	if (reply->kind == 0)
		r = modern_result(request, reply->payload, &out);
	else if (reply->kind == 1)
		r = modern_error(reply->payload, &out);
	if (r == 0)
		changed.payload = buf_span(&out);
	request_reply(request, &changed);
	buf_free(&out);
	return true;
}

static void call_server(
	struct request *request, uint32_t index, struct span tool, struct span params)
{
	struct worker *worker = request->worker;
	struct catalogue_server server;

	catalogue_get_server(worker->catalogue, index, &server);
	if (server.state == SERVER_FAILED || server.state == SERVER_DISABLED) {
		request_refuse(request, ERR_SERVER_DOWN, "server %.*s is %s: %.*s",
			SPAN_ARG(server.name), server_state_name(server.state),
			SPAN_ARG(server.error));
		return;
	}
	if (request->era == MCP_MODERN && !request->on_reply)
		request->on_reply = reply_modern;
	if (server_call(worker, server.name, request, tool, params, server.call_timeout_ms) < 0)
		request_refuse(request, ERR_NO_MEMORY, "no memory for the call");
}

static struct span unquoted(struct span token)
{
	return token.len > 2 ? span_of(token.p + 1, token.len - 2) : SPAN_NONE;
}

/* params with the exposed name replaced by the server's own. */
static void call_renamed(struct request *request, const struct catalogue_item *item,
	struct span token, struct span params)
{
	struct json_edit edit = {.at = token, .with = item->original};
	struct span tool = unquoted(item->original);
	struct buf out;

	if (!POINT(NAMES))
		edit.with = point_after_separator(token);
	if (!(item->flags & CATALOGUE_RENAMED)) {
		call_server(request, item->server, tool, params);
		return;
	}
	buf_init(&out, params.len + item->original.len + 64);
	if (json_splice(params, &edit, 1, &out) == 0)
		call_server(request, item->server, tool, buf_span(&out));
	else
		request_refuse(request, ERR_NO_MEMORY, "no memory for the call");
	buf_free(&out);
}

static bool find_named(struct request *request, enum catalogue_kind kind, struct span token,
	struct catalogue_item *ret)
{
	const struct catalogue *catalogue = request->worker->catalogue;
	char text[LIMIT_TOOL_NAME * 4];
	struct span name;

	return catalogue && json_string_copy(token, text, sizeof(text), &name) == 0 &&
	       (own_lists_find(request->worker, kind, name, ret) ||
		       catalogue_find(catalogue, kind, name, ret, 1) > 0);
}

static void fail_unknown(struct request *request, const char *what, struct span token)
{
	char text[NAME_SHOWN_MAX];
	struct span name;

	if (json_type(token) != JSON_STRING)
		request_refuse(request, ERR_INVALID_PARAMS,
			"%s: its name is missing or not a string", what);
	else if (json_string_copy(token, text, sizeof(text), &name) < 0)
		request_refuse(request, ERR_INVALID_PARAMS,
			"%s: its name is longer than %u bytes", what, NAME_SHOWN_MAX);
	else
		request_refuse(request, ERR_INVALID_PARAMS, "%s \"%.*s\" is not known", what,
			SPAN_ARG(name));
}

/* A call that asked for a task: remember whose the task is. */
static bool reply_task(struct request *request, const struct reply *reply, void *arg)
{
	struct span id = json_path(reply->payload, "task", "taskId", NULL);
	char text[256];
	struct span key;

	(void)arg;
	if (reply->kind == 0 && request->server &&
		json_string_copy(id, text, sizeof(text), &key) == 0 &&
		session_mark_add(&request->worker->session.tasks, key, request->server->name) == 0)
		session_save(request->worker, NULL, NULL);
	request->on_reply = NULL;
	request_reply(request, reply);
	return true;
}

/* May it run twice? By what the server says of its tool, or the configuration. */
static bool is_safe(
	const struct worker *worker, const struct catalogue_item *item, struct span original)
{
	const struct config_server *config;
	struct catalogue_server server;

	if (item->flags & (CATALOGUE_READ_ONLY | CATALOGUE_IDEMPOTENT))
		return true;
	catalogue_get_server(worker->catalogue, item->server, &server);
	for (size_t i = 0; i < worker->config->server_count; i++) {
		config = &worker->config->servers[i];
		if (span_is(server.name, config->name))
			return config_tool_idempotent(config, original);
	}
	return false;
}

/*
 * A name that the catalogue does not know may be one that a server offers to this client alone: its
 * lists tell. True: the request goes on when they are there.
 */
static bool wait_for_lists(
	struct request *request, enum catalogue_kind kind, struct span token, struct span params)
{
	if (request->asked_lists || json_type(token) != JSON_STRING)
		return false;
	request->asked_lists = true;
	free(request->params);
	request->params = strndup(params.p, params.len);
	request->params_len = params.len;
	return request->params && own_lists_fetch(request, kind);
}

static void on_tool(struct request *request, struct span params)
{
	struct span token = mcp_route_value(request->method, params);
	struct catalogue_item item;
	struct err err = {0};

	if (!find_named(request, CATALOGUE_TOOL, token, &item)) {
		if (!wait_for_lists(request, CATALOGUE_TOOL, token, params))
			fail_unknown(request, "tool", token);
		return;
	}
	if (request->era == MCP_MODERN && (item.flags & CATALOGUE_HEADERS) && request->exchange &&
		!(request->exchange->accept & EXCHANGE_NO_PARAMS) &&
		modern_check_headers(item.schema, json_object_get(params, SPAN_LIT("arguments")),
			request->exchange->mcp_params, &err) < 0) {
		request_fail(request, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	if (request->exchange)
		snprintf(request->exchange->outcome.tool, sizeof(request->exchange->outcome.tool),
			"%.*s", SPAN_ARG(item.name));
	request->safe = is_safe(request->worker, &item, unquoted(item.original));
	if (request->era == MCP_LEGACY && json_object_get(params, SPAN_LIT("task")).len)
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

/* Whose a URI is, by the lists, then by the templates: those of the session's view. */
static bool find_listed(struct worker *worker, struct span uri, struct catalogue_item *ret)
{
	const struct catalogue *catalogue = worker->catalogue;

	return own_lists_find(worker, CATALOGUE_RESOURCE, uri, ret) ||
	       own_lists_find(worker, CATALOGUE_TEMPLATE, uri, ret) ||
	       catalogue_find(catalogue, CATALOGUE_RESOURCE, uri, ret, 1) > 0 ||
	       catalogue_find(catalogue, CATALOGUE_TEMPLATE, uri, ret, 1) > 0 ||
	       own_lists_match(worker, uri, ret) || catalogue_match(catalogue, uri, ret, 1) > 0;
}

/* The only server that has resources at all. */
static bool find_only(const struct worker *worker, uint32_t *ret_server)
{
	struct catalogue_server server;
	unsigned candidates = 0;

	for (uint32_t i = 0; i < catalogue_servers(worker->catalogue); i++) {
		catalogue_get_server(worker->catalogue, i, &server);
		if (mcp_capable(server.capabilities, "resources")) {
			*ret_server = i;
			candidates++;
		}
	}
	return candidates == 1;
}

/* A view's patterns hold for the URI, and for the resource or template that it belongs to. */
bool method_find_resource(struct worker *worker, struct span uri, uint32_t *ret_server)
{
	const struct config_virtual *view = worker_view(worker);
	struct catalogue_item item;

	if (!worker->catalogue || (view && config_view_excludes(view, CONFIG_RESOURCES, uri)))
		return false;
	if (POINT(URIS) && find_listed(worker, uri, &item)) {
		*ret_server = item.server;
		return true;
	}
	return (!view || config_view_is_open(view, CONFIG_RESOURCES)) &&
	       find_only(worker, ret_server);
}

static void call_uri(struct request *request, struct span token, struct span params)
{
	struct buf uri;
	uint32_t server = 0;

	buf_init(&uri, CATALOGUE_URI_MAX);
	if (json_string_append(token, &uri) < 0)
		request_refuse(
			request, ERR_INVALID_PARAMS, "uri is missing, not a string, or too long");
	else if (request->method == MCP_RESOURCES_SUBSCRIBE &&
		 !session_mark_fits(
			 &request->worker->session.subscriptions, buf_span(&uri)))
		request_refuse(request, ERR_TOO_MANY, "this session has too many subscriptions");
	else if (method_find_resource(request->worker, buf_span(&uri), &server))
		call_server(request, server, SPAN_NONE, params);
	else
		request_refuse(request,
			request->era == MCP_MODERN ? ERR_INVALID_PARAMS : ERR_RESOURCE_NOT_FOUND,
			"Resource not found: %.*s", (int)(uri.len > 200 ? 200 : uri.len),
			uri.data ? uri.data : "");
	buf_free(&uri);
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
	if (request->server &&
		json_string_append(json_object_get(params, SPAN_LIT("uri")), &uri) == 0) {
		if (request->method == MCP_RESOURCES_SUBSCRIBE)
			session_mark_add(
				&session->subscriptions, buf_span(&uri), request->server->name);
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

/* Whose a task is stands in its handle, which that server's upstream worker checks. */
static void on_handle(struct request *request, struct span params)
{
	const struct catalogue *catalogue = request->worker->catalogue;
	struct task_handle handle;
	char text[TASK_HANDLE_MAX];
	struct span copy;
	uint32_t server;

	if (!modern_declares(params, MCP_EXTENSION_TASKS))
		modern_refuse_undeclared(request, MCP_EXTENSION_TASKS);
	else if (json_string_copy(mcp_route_value(request->method, params), text, sizeof(text),
			 &copy) < 0 ||
		 !task_handle_split(copy, &handle) ||
		 catalogue_find_server(catalogue, handle.server, &server) < 0)
		request_refuse(request, ERR_INVALID_PARAMS, "taskId: the task is not known");
	else
		call_server(request, server, SPAN_NONE, params);
}

static void on_task(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	const struct session_mark *mark = NULL;
	char text[256];
	struct span id;
	uint32_t server;

	if (request->era == MCP_MODERN) {
		on_handle(request, params);
		return;
	}
	if (json_string_copy(mcp_route_value(request->method, params), text, sizeof(text), &id) ==
		0)
		mark = session_mark_find(&worker->session.tasks, id);
	if (!mark || !worker->catalogue ||
		catalogue_find_server(worker->catalogue, span_str(mark->server), &server) < 0)
		request_refuse(request, ERR_INVALID_PARAMS,
			"taskId is missing, or not a task of this session");
	else
		call_server(request, POINT(TASKS) ? server : 0, SPAN_NONE, params);
}

static method_fn *const methods[MCP_METHOD_MAX] = {
	[MCP_INITIALIZE] = initialize_request,
	[MCP_PING] = on_ping,
	[MCP_DISCOVER] = on_discover,
	[MCP_TOOLS_LIST] = list_request,
	[MCP_RESOURCES_LIST] = list_request,
	[MCP_TEMPLATES_LIST] = list_request,
	[MCP_PROMPTS_LIST] = list_request,
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
	[MCP_TASKS_LIST] = tasks_list,
	[MCP_SUBSCRIPTIONS_LISTEN] = listen_request,
};

method_fn *method_find(enum mcp_method method)
{
	return methods[method];
}
