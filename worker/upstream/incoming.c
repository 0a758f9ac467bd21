/* What the server says: answers, requests, notifications. */
#include "ask.h"
#include "call.h"
#include "client.h"
#include "listing.h"
#include "log.h"
#include "points.h"
#include "round.h"

#include <stdio.h>
#include <utlist.h>

static void count_invalid(struct instance *instance, const char *why, struct span text)
{
	instance->up->metrics.invalid_lines++;
	if (text.len > 200)
		text.len = 200;
	log_debug("server.invalid_line", why, KV_STR("server", instance->up->server->name),
		KV_STR("session", instance->label), KV_SPAN("text", text));
}

static void on_reply(struct instance *instance, const struct jsonrpc *msg)
{
	struct outcome outcome = {.executed = EXECUTED_YES};
	uint64_t id;
	struct call *call = jsonrpc_id_uint64(msg->id, &id) == 0 ? call_find(instance, id) : NULL;

	if (!call) {
		/* late, said twice, or never asked */
		log_debug("server.stray_answer", "nobody waits for it",
			KV_STR("server", instance->up->server->name), KV_SPAN("id", msg->id));
		return;
	}
	if (msg->kind == JSONRPC_RESULT && round_take(call, msg->result))
		return;
	outcome.kind = msg->kind == JSONRPC_ERROR;
	outcome.payload = outcome.kind ? msg->error : msg->result;
	call_finish(call, &outcome);
}

/*
 * JSON with our id, but no answer: who waits is told now instead of when the time is up. With a
 * method it would be the server's own request, whose id is its own.
 */
static void on_bad_reply(struct instance *instance, const struct jsonrpc *msg, const char *why)
{
	struct call *call = NULL;
	char text[ERR_DETAIL_MAX];
	uint64_t id;

	if (jsonrpc_id_uint64(msg->id, &id) == 0 &&
		!json_object_get(msg->body, SPAN_LIT("method")).len)
		call = call_find(instance, id);
	if (!call)
		return;
	snprintf(text, sizeof(text), "%s: its answer is not JSON-RPC: %s",
		instance->up->server->name, why);
	call_fail(call, ERR_SERVER_GARBAGE, text, EXECUTED_UNKNOWN);
}

/* --- notifications --------------------------------------------------------------------------- */

typedef void note_fn(struct instance *instance, const struct jsonrpc *msg, uint64_t related);

static void tell_clients(struct instance *instance, const struct jsonrpc *msg)
{
	struct client *client;

	if (instance->client) {
		client_note(instance->client, NULL, msg->method, msg->params);
		return;
	}
	if (!instance_is_shared(instance))
		return;
	DL_FOREACH(instance->up->clients, client)
	client_note(client, NULL, msg->method, msg->params);
}

static void on_progress(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	struct call *call;
	uint64_t id;

	(void)related;
	if (jsonrpc_id_uint64(json_object_get(msg->params, SPAN_LIT("progressToken")), &id) < 0)
		return;
	call = call_find(instance, id);
	if (call && call->client && call->progress)
		client_note(call->client, call, msg->method, msg->params);
	else if (!POINT(LATE_PROGRESS))
		tell_clients(instance, msg);
}

static void on_log(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	struct call *call = related ? call_find(instance, related) : calls_only(instance);

	if (call && call->client)
		client_note(call->client, call, msg->method, msg->params);
	else
		tell_clients(instance, msg);
}

static void on_updated(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	struct client *client;
	struct buf uri;

	(void)related;
	buf_init(&uri, 65536);
	if (json_string_append(json_object_get(msg->params, SPAN_LIT("uri")), &uri) == 0) {
		DL_FOREACH(instance->up->clients, client)
		{
			if (client_hears(client, instance) &&
				mark_has(client->subscriptions, buf_span(&uri)))
				client_note(client, NULL, msg->method, msg->params);
		}
	}
	buf_free(&uri);
}

/* Clients without a session have the catalogue's lists. */
static void refresh_catalogue(struct upstream *up, enum mcp_method method)
{
	listing_changed(up->catalogue->listing, method);
	if (up->catalogue->state != INSTANCE_READY)
		instance_refresh(up);
}

static void on_list_changed(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	(void)related;
	if (!POINT(LIST_CHANGED))
		return;
	if (instance->listing)
		listing_changed(instance->listing, mcp_method_find(msg->method));
	else if (instance->pool)
		refresh_catalogue(instance->up, mcp_method_find(msg->method));
	else if (instance->client)
		client_note(instance->client, NULL, msg->method, msg->params);
}

/* A task belongs to the session that started it; who shares the server does not hear of it. */
static void on_task(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	struct client *client;
	struct buf id;

	(void)related;
	buf_init(&id, 65536);
	if (json_string_append(json_object_get(msg->params, SPAN_LIT("taskId")), &id) == 0) {
		DL_FOREACH(instance->up->clients, client)
		{
			if (client_uses(client, instance) &&
				mark_has(client->tasks, buf_span(&id)))
				client_note(client, NULL, msg->method, msg->params);
		}
	}
	buf_free(&id);
}

static void on_elicited(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	(void)related;
	if (instance->client)
		client_note(instance->client, NULL, msg->method, msg->params);
}

static void on_cancelled(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	(void)related;
	ask_cancelled(instance, json_object_get(msg->params, SPAN_LIT("requestId")),
		json_object_get(msg->params, SPAN_LIT("reason")));
}

static const struct {
	enum mcp_method method;
	note_fn *fn;
} notes[] = {
	{MCP_PROGRESS, on_progress},
	{MCP_MESSAGE, on_log},
	{MCP_RESOURCE_UPDATED, on_updated},
	{MCP_TOOLS_CHANGED, on_list_changed},
	{MCP_RESOURCES_CHANGED, on_list_changed},
	{MCP_PROMPTS_CHANGED, on_list_changed},
	{MCP_ELICITATION_COMPLETE, on_elicited},
	{MCP_TASK_STATUS, on_task},
	{MCP_CANCELLED, on_cancelled},
};

static void on_notification(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	enum mcp_method method = mcp_method_find(msg->method);

	for (size_t i = 0; i < sizeof(notes) / sizeof(*notes); i++)
		if (notes[i].method == method) {
			notes[i].fn(instance, msg, related);
			return;
		}
	log_debug("server.unknown_notification", "left out",
		KV_STR("server", instance->up->server->name), KV_SPAN("method", msg->method));
}

/* --- any message ----------------------------------------------------------------------------- */

static void take(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	if (jsonrpc_is_reply(msg))
		on_reply(instance, msg);
	else if (msg->kind == JSONRPC_REQUEST)
		ask_take(instance, msg, related);
	else if (instance->state == INSTANCE_READY || msg->kind != JSONRPC_NOTIFICATION)
		on_notification(instance, msg, related);
}

static void take_invalid(struct instance *instance, const struct jsonrpc *msg, const struct err *err)
{
	count_invalid(instance, err_text(err), msg->body);
	on_bad_reply(instance, msg, err_text(err));
}

static void take_batch(struct instance *instance, const struct jsonrpc *batch, uint64_t related)
{
	struct json_iter iter = json_iter(batch->body);
	struct jsonrpc msg;
	struct err err = {0};
	int r;

	while (instance->transport && (r = jsonrpc_batch_next(&iter, &msg, &err)) != 0) {
		if (r > 0)
			take(instance, &msg, related);
		else
			take_invalid(instance, &msg, &err);
	}
}

void incoming_message(struct instance *instance, struct span text, uint64_t related)
{
	struct jsonrpc msg;
	struct err err = {0};
	int r = jsonrpc_parse(text, &msg, &err);

	if (r < 0 && !POINT(FRAMING))
		instance_fail(instance, RESTART_GARBAGE, &err);
	else if (r < 0)
		take_invalid(instance, &msg, &err);
	else if (msg.kind == JSONRPC_BATCH && instance->version != MCP_2025_03_26)
		count_invalid(instance, "a batch, which only revision 2025-03-26 has", text);
	else if (msg.kind == JSONRPC_BATCH)
		take_batch(instance, &msg, related);
	else
		take(instance, &msg, related);
}
