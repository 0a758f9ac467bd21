#include "ask.h"
#include "alike.h"
#include "call.h"
#include "client.h"
#include "keep.h"
#include "parked.h"
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define ASKS_MAX 256u

static void send_text(struct instance *instance)
{
	struct upstream *up = instance->up;
	const struct transport_message msg = {.text = buf_span(&up->scratch)};

	if (instance->transport)
		up->ops->send(instance->transport, &msg);
}

void ask_answer_result(struct instance *instance, struct span raw_id, struct span result)
{
	buf_clear(&instance->up->scratch);
	if (jsonrpc_write_result(&instance->up->scratch, raw_id, result) == 0)
		send_text(instance);
}

void ask_answer_err(
	struct instance *instance, struct span raw_id, enum err_code code, const char *why)
{
	struct err err = {0};

	err_set(&err, code, "%s", why);
	buf_clear(&instance->up->scratch);
	if (jsonrpc_write_err(&instance->up->scratch, raw_id, &err, JSONRPC_EXECUTED_NO) == 0)
		send_text(instance);
}

static void answer_error(struct instance *instance, struct span raw_id, struct span error)
{
	struct buf *out = &instance->up->scratch;

	buf_clear(out);
	buf_append_str(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	buf_append_span(out, raw_id);
	buf_append_str(out, ",\"error\":");
	buf_append_span(out, error);
	if (buf_append_char(out, '}') == 0)
		send_text(instance);
}

static void ask_free(struct instance *instance, struct ask *ask)
{
	DL_DELETE(instance->asks, ask);
	instance->n_asks--;
	free(ask);
}

/* One that nobody stands behind: the probe promised roots and has none, a shared server was
 * promised nothing, and clients without a session can be asked during their calls only. */
static void answer_for_nobody(struct instance *instance, const struct jsonrpc *msg)
{
	if (mcp_method_find(msg->method) == MCP_ROOTS_LIST && upstream_isolates(instance->up))
		ask_answer_result(instance, msg->id, SPAN_LIT("{\"roots\":[]}"));
	else
		ask_answer_err(
			instance, msg->id, ERR_METHOD_NOT_FOUND, "nobody here can be asked that");
}

static void ask_client(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	struct client *client = instance->client;
	const struct call *call = related ? call_find(instance, related) : calls_only(instance);
	struct msg_ask fields = {
		.method = msg->method, .call = call && call->client ? call->stream : 0};
	struct ask *ask = instance->n_asks < ASKS_MAX ? malloc(sizeof(*ask) + msg->id.len) : NULL;

	if (!ask || !client->link) {
		ask_answer_err(instance, msg->id, ask ? ERR_BUSY : ERR_TOO_MANY,
			ask ? "the client is not there at the moment"
			    : "too many questions are open");
		free(ask);
		return;
	}
	alike_asked(client);
	*ask = (struct ask){.stream = link_stream(client->link), .id_len = msg->id.len};
	memcpy(ask->id, msg->id.p, msg->id.len);
	DL_APPEND(instance->asks, ask);
	instance->n_asks++;
	keep_now(instance);
	if (link_send(client->link, MSG_ASK, ask->stream, &fields, msg->params, NULL) < 0) {
		ask_answer_err(instance, msg->id, ERR_BUSY, "the client cannot be asked at the moment");
		keep_answered(instance, msg->id);
		ask_free(instance, ask);
	}
}

static void ask_pooled(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	struct call *call = related ? call_find(instance, related) : calls_only(instance);

	if (call && (call->client || call->parked))
		parked_ask(call, msg);
	else
		answer_for_nobody(instance, msg);
}

void ask_take(struct instance *instance, const struct jsonrpc *msg, uint64_t related)
{
	if (mcp_method_find(msg->method) == MCP_PING)
		ask_answer_result(instance, msg->id, SPAN_NONE);
	else if (instance->pool)
		ask_pooled(instance, msg, related);
	else if (!instance->client)
		answer_for_nobody(instance, msg);
	else
		ask_client(instance, msg, related);
}

void ask_cancelled(struct instance *instance, struct span raw_id, struct span reason)
{
	struct ask *ask, *next;

	if (instance->pool)
		parked_unask(instance, raw_id);
	DL_FOREACH_SAFE(instance->asks, ask, next)
	{
		if (!json_equal_scalar(span_of(ask->id, ask->id_len), raw_id))
			continue;
		if (json_type(reason) != JSON_STRING || reason.len > 4096)
			reason = SPAN_NONE;
		/* a control message would overtake the question */
		link_flush(instance->client->link);
		link_send(instance->client->link, MSG_ASK_CANCEL, ask->stream, NULL, reason, NULL);
		ask_free(instance, ask);
		keep_changed(instance);
	}
}

void ask_answered(struct instance *instance, uint32_t stream, const struct msg_answer *answer,
	struct span payload)
{
	char why[ERR_DETAIL_MAX];
	struct span id;
	struct ask *ask;

	DL_SEARCH_SCALAR(instance->asks, ask, stream, stream);
	if (!ask)
		return;
	id = span_of(ask->id, ask->id_len);
	if (answer->kind == 0) {
		ask_answer_result(instance, id, payload);
	} else if (answer->kind == 1) {
		answer_error(instance, id, payload);
	} else {
		snprintf(why, sizeof(why), "%.*s", SPAN_ARG(answer->detail));
		ask_answer_err(instance, id, (enum err_code)answer->code, why);
	}
	instance_touch(instance);
	keep_answered(instance, id);
	ask_free(instance, ask);
}

void asks_drop(struct instance *instance, bool tell_client)
{
	while (instance->asks) {
		if (tell_client && instance->client && instance->client->link)
			link_post(instance->client->link, MSG_ASK_CANCEL, instance->asks->stream,
				NULL);
		ask_free(instance, instance->asks);
	}
}
