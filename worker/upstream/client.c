#include "client.h"
#include "adopt.h"
#include "ask.h"
#include "clock.h"
#include "handles.h"
#include "hash.h"
#include "json_write.h"
#include "keep.h"
#include "listen.h"
#include "log.h"
#include "parked.h"
#include "pool.h"
#include "round.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Beyond this much unread by its worker, notifications are left out, */
#define NOTES_MAX (1024u * 1024u)
/* and results beyond this are replaced by an error. */
#define UNDELIVERED_MAX (64u * 1024u * 1024u)
#define RETRY_MS 5

struct undelivered {
	struct undelivered *prev, *next;
	uint32_t stream;
	struct msg_call_done fields;
	char detail[ERR_DETAIL_MAX];
	size_t len;
	char payload[];
};

/* --- marks ----------------------------------------------------------------------------------- */

bool mark_has(const struct mark *marks, struct span key)
{
	struct mark *mark;

	HASH_FIND(hh, marks, key.p, key.len, mark);
	return mark != NULL;
}

int mark_add(struct mark **marks, struct span key)
{
	return mark_put(marks, key, CLIENT_MARKS_MAX);
}

int mark_put(struct mark **marks, struct span key, unsigned max)
{
	struct mark *mark;

	if (key.len == 0 || mark_has(*marks, key))
		return 0;
	if (HASH_COUNT(*marks) >= max)
		return -ERR_TOO_MANY;
	mark = malloc(sizeof(*mark) + key.len);
	if (!mark)
		return -ERR_NO_MEMORY;
	memcpy(mark->key, key.p, key.len);
	HASH_ADD_KEYPTR(hh, *marks, mark->key, key.len, mark);
	return 0;
}

void mark_remove(struct mark **marks, struct span key)
{
	struct mark *mark;

	HASH_FIND(hh, *marks, key.p, key.len, mark);
	if (!mark)
		return;
	HASH_DEL(*marks, mark);
	free(mark);
}

void marks_free(struct mark **marks)
{
	struct mark *mark, *next;

	HASH_ITER (hh, *marks, mark, next) {
		HASH_DEL(*marks, mark);
		free(mark);
	}
}

/* Are these two served by the same instances? */
static bool shares_instances(const struct client *a, const struct client *b)
{
	if (!upstream_isolates(a->up))
		return true;
	return a->era == MCP_MODERN && b->era == MCP_MODERN && strcmp(a->principal, b->principal) == 0;
}

bool client_shares_subscription(const struct client *client, struct span uri)
{
	const struct client *other;

	DL_FOREACH(client->up->clients, other)
	{
		if (other != client && shares_instances(client, other) &&
			mark_has(other->subscriptions, uri))
			return true;
	}
	return false;
}

/* --- towards the session worker -------------------------------------------------------------- */

struct instance *client_instance(const struct client *client)
{
	return upstream_isolates(client->up) ? client->instance : client->up->catalogue;
}

bool client_uses(const struct client *client, const struct instance *instance)
{
	return instance->pool ? pool_serves(instance->pool, client)
			      : client_instance(client) == instance;
}

bool client_hears(const struct client *client, const struct instance *instance)
{
	return client_uses(client, instance) && (!instance->pool || instance->subscriber);
}

bool client_knows(struct client *client, struct call *call)
{
	if (call->safe)
		return true;
	if (!client->link)
		return false;
	if (!call->posted && link_post(client->link, MSG_CALL_FORWARDED, call->stream, NULL) < 0)
		return false;
	call->posted = true;
	return link_flush(client->link);
}

void client_note(
	struct client *client, const struct call *call, struct span method, struct span params)
{
	const struct msg_call_note of_call = {.method = method};
	const struct msg_server_note of_none = {.method = method};
	int r = -ERR_AGAIN;

	if (!client->link || !client->attached)
		return;
	if (link_queued(client->link) < NOTES_MAX)
		r = call ? link_send(client->link, MSG_CALL_NOTE, call->stream, &of_call, params,
				   NULL)
			 : link_send(client->link, MSG_SERVER_NOTE, 0, &of_none, params, NULL);
	if (r < 0)
		client->up->metrics.dropped_notes++;
}

void client_parked(struct client *client, const struct call *call)
{
	if (client->link && client->attached)
		link_post(client->link, MSG_CALL_PARKED, call->stream, NULL);
}

static int send_done(struct client *client, uint32_t stream, const struct msg_call_done *fields,
	struct span payload)
{
	return link_send(client->link, MSG_CALL_DONE, stream, fields, payload, NULL);
}

static void retry_later(struct client *client)
{
	const struct timeval tv = {.tv_usec = RETRY_MS * 1000};

	event_add(client->retry, &tv);
}

static void keep_undelivered(struct client *client, uint32_t stream,
	const struct msg_call_done *fields, struct span payload)
{
	struct undelivered *kept;

	if (client->undelivered_bytes + payload.len > UNDELIVERED_MAX)
		payload = SPAN_NONE;
	kept = malloc(sizeof(*kept) + payload.len);
	if (!kept) {
		log_error("call.lost", "no memory for an answer",
			KV_STR("server", client->up->server->name));
		return;
	}
	*kept = (struct undelivered){.stream = stream, .fields = *fields, .len = payload.len};
	if (fields->kind != 2 && payload.len == 0) {
		kept->fields.kind = 2;
		kept->fields.code = ERR_SLOW_CONSUMER;
		snprintf(kept->detail, sizeof(kept->detail), "answers are not read fast enough");
	} else {
		snprintf(kept->detail, sizeof(kept->detail), "%.*s", SPAN_ARG(fields->detail));
		if (payload.len)
			memcpy(kept->payload, payload.p, payload.len);
	}
	kept->fields.detail = span_str(kept->detail);
	DL_APPEND(client->undelivered, kept);
	client->undelivered_bytes += payload.len;
	retry_later(client);
}

static void drop_undelivered(struct client *client, struct undelivered *kept)
{
	DL_DELETE(client->undelivered, kept);
	client->undelivered_bytes -= kept->len;
	free(kept);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;

	(void)fd;
	(void)what;
	while (client->undelivered && client->link) {
		struct undelivered *kept = client->undelivered;

		kept->fields.detail = span_str(kept->detail);
		if (send_done(client, kept->stream, &kept->fields,
			    span_of(kept->payload, kept->len)) == -ERR_AGAIN) {
			retry_later(client);
			return;
		}
		drop_undelivered(client, kept);
	}
}

void client_tell(struct client *client, uint32_t stream, const struct outcome *outcome)
{
	struct msg_call_done fields = {
		.kind = outcome->kind,
		.executed = outcome->executed,
		.upstream_us = outcome->upstream_us,
		.queue_us = outcome->queue_us,
	};
	int r;

	if (!client->link)
		return;
	if (outcome->kind == 2) {
		fields.code = (uint64_t)-outcome->err.code;
		fields.detail = span_str(err_text(&outcome->err));
	}
	r = send_done(client, stream, &fields, outcome->payload);
	if (r == -ERR_TOO_LARGE) {
		fields.kind = 2;
		fields.code = ERR_TOO_LARGE;
		fields.detail = SPAN_LIT("the server's answer is too large");
		r = send_done(client, stream, &fields, SPAN_NONE);
	}
	if (r == -ERR_AGAIN || r == -ERR_NO_MEMORY)
		keep_undelivered(
			client, stream, &fields, fields.kind == 2 ? SPAN_NONE : outcome->payload);
}

/* The answer names a task: the client gets its handle. */
static void tell_handle(struct client *client, const struct call *call, struct outcome *outcome)
{
	struct outcome changed = *outcome;
	struct buf out;

	buf_init(&out, outcome->payload.len + 6 * TASK_HANDLE_MAX);
	if (handle_give(client, outcome->payload, &out, &changed.err) < 0)
		changed.kind = 2;
	changed.payload = buf_span(&out);
	client_tell(client, call->stream, &changed);
	buf_free(&out);
}

void client_done(struct client *client, const struct call *call, struct outcome *outcome)
{
	if (outcome->kind == 0 && handle_is_in(call, outcome->payload))
		tell_handle(client, call, outcome);
	else
		client_tell(client, call->stream, outcome);
}

static void refuse(struct client *client, uint32_t stream, const struct err *err)
{
	struct outcome outcome = {.kind = 2, .err = *err, .executed = EXECUTED_NO};

	client_tell(client, stream, &outcome);
}

/* --- from the session worker ----------------------------------------------------------------- */

static char *keep_object(struct span value)
{
	return json_type(value) == JSON_OBJECT ? strndup(value.p, value.len) : strdup("{}");
}

static void take_subscriptions(struct client *client, struct span array)
{
	struct json_iter iter = json_iter(array);
	struct span value;
	struct buf uri;

	buf_init(&uri, 65536);
	while (json_iter_element(&iter, &value)) {
		buf_clear(&uri);
		if (json_string_append(value, &uri) == 0)
			mark_add(&client->subscriptions, buf_span(&uri));
	}
	buf_free(&uri);
}

static enum mcp_log_level level_of(struct span name)
{
	char quoted[32];

	snprintf(quoted, sizeof(quoted), "\"%.*s\"", SPAN_ARG(name));
	return mcp_log_level_parse(span_str(quoted));
}

static void set_session(struct client *client, struct span session)
{
	snprintf(client->session, sizeof(client->session), "%.*s", SPAN_ARG(session));
	snprintf(client->tag, sizeof(client->tag), "%08x",
		(unsigned)hash64(session.p, session.len, 0));
}

/*
 * A client that was subscribed before this process was there: it is not to be deaf until
 * it calls something.
 */
static void resume_subscriptions(struct client *client)
{
	struct upstream *up = client->up;
	struct err err = {0};

	if (!client->attached || !client->subscriptions || !up->ops || !upstream_isolates(up) ||
		up->stop_until_ms)
		return;
	if (client->era == MCP_MODERN) {
		pool_subscribe(client);
		return;
	}
	client->instance = instance_new(up, client, NULL);
	if (!client->instance || instance_want(client->instance, &err) < 0)
		log_warn("server.not_subscribed",
			client->instance ? err_text(&err) : "no memory for a conversation",
			KV_STR("server", up->server->name), KV_STR("session", client->tag));
}

static void on_attach(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_attach *attach = msg->fields;
	struct client *client = link_user(link);
	struct instance *instance;
	struct span who = json_check(msg->payload, LIMIT_JSON_DEPTH, NULL) == 0
				  ? json_trim(msg->payload)
				  : SPAN_NONE;

	(void)arg;
	free(client->capabilities);
	free(client->info);
	client->capabilities = keep_object(json_object_get(who, SPAN_LIT("capabilities")));
	client->info = keep_object(json_object_get(who, SPAN_LIT("clientInfo")));
	client->version = mcp_version_parse(attach->version);
	client->era = mcp_version_era(client->version);
	if (client->version == MCP_VERSION_NONE || client->era != MCP_LEGACY)
		client->version = MCP_LATEST_LEGACY;
	snprintf(client->principal, sizeof(client->principal), "%.*s",
		SPAN_ARG(attach->principal));
	client->level = level_of(attach->log_level);
	set_session(client, attach->session);
	take_subscriptions(client, json_object_get(who, SPAN_LIT("subscriptions")));
	client->attached = client->capabilities && client->info;
	adopt_claim(client);
	instance = client_instance(client);
	if (instance) {
		handshake_set_level(instance);
		handshake_subscribe(instance, client);
		adopt_settle(instance);
		listen_update(instance);
	} else {
		resume_subscriptions(client);
	}
}

/* A subscription that another session of a shared server still needs is ended for this session
 * only. */
static bool is_shared_unsubscribe(struct client *client, const struct call *call)
{
	return call->method == MCP_RESOURCES_UNSUBSCRIBE && call->subject &&
	       client_shares_subscription(client, span_str(call->subject));
}

static char *read_uri(struct span params)
{
	struct buf uri;

	buf_init(&uri, 65536);
	if (json_string_append(json_object_get(params, SPAN_LIT("uri")), &uri) < 0 ||
		buf_append(&uri, "", 1) < 0)
		buf_free(&uri);
	return buf_steal(&uri, NULL);
}

static struct call *make_call(
	struct client *client, struct instance *instance, const struct message *msg)
{
	const struct msg_call *fields = msg->fields;
	struct call *call = call_new(instance, client, msg->stream);

	if (!call)
		return NULL;
	call->method = mcp_method_find(fields->method);
	call->name = strndup(fields->method.p ? fields->method.p : "", fields->method.len);
	call->tool = operations_tool(client->up->metrics.operations, fields->name);
	call->safe = fields->safe;
	call->progress = fields->progress;
	call->task = call->method == MCP_TOOLS_CALL &&
		     json_object_get(msg->payload, SPAN_LIT("task")).len > 0;
	snprintf(call->traceparent, sizeof(call->traceparent), "%.*s",
		SPAN_ARG(fields->traceparent));
	if (call->method == MCP_RESOURCES_SUBSCRIBE || call->method == MCP_RESOURCES_UNSUBSCRIBE)
		call->subject = read_uri(msg->payload);
	call->resumes = client->era == MCP_MODERN &&
			json_object_get(msg->payload, SPAN_LIT("requestState")).len > 0;
	if (instance->pool && (mcp_method_info(call->method)->flags & MCP_ROUNDS))
		parked_digest(call->method, msg->payload, call->digest);
	return call;
}

static bool is_cancelled(const struct client *client, uint32_t stream)
{
	for (unsigned i = 0; i < CLIENT_EARLY_CANCELS; i++)
		if (client->cancelled[i] == stream)
			return true;
	return false;
}

static int find_instance(struct client *client, enum mcp_method method, struct span params,
	struct instance **ret, struct err *err)
{
	struct upstream *up = client->up;

	if (up->stop_until_ms)
		return err_set(
			err, ERR_DRAINING, "%s: the server is being stopped", up->server->name);
	if (!client->attached)
		return err_set(err, ERR_PROTOCOL, "a call before ATTACH");
	if (client->n_calls >= UPSTREAM_CALLS_MAX)
		return err_set(
			err, ERR_TOO_MANY, "%s: too many calls are under way", up->server->name);
	if (upstream_isolates(up) && client->era == MCP_MODERN)
		return pool_pick(client, method, params, ret, err);
	if (upstream_isolates(up) && !client->instance) {
		client->instance = up->ops ? instance_new(up, client, NULL) : NULL;
		if (!client->instance && up->ops)
			return err_set(err, ERR_NO_MEMORY, "no memory for a conversation");
	}
	*ret = client_instance(client);
	if (!*ret)
		return err_set(
			err, ERR_SERVER_DOWN, "%s: %.400s", up->server->name, up->last_error);
	return instance_want(*ret, err);
}

/* Perhaps of ours; of a server of the modern era the requestState is the server's own. */
static bool is_resumption(const struct client *client, const struct message *msg)
{
	const struct msg_call *fields = msg->fields;

	return client->era == MCP_MODERN && client->attached &&
	       (mcp_method_info(mcp_method_find(fields->method))->flags & MCP_ROUNDS) &&
	       json_object_get(msg->payload, SPAN_LIT("requestState")).len > 0;
}

static void take_call(struct client *client, const struct message *msg)
{
	const struct msg_call *fields = msg->fields;
	struct outcome nothing = {.payload = SPAN_LIT("{}"), .executed = EXECUTED_YES};
	struct instance *instance = NULL;
	struct call *call = NULL;
	struct err err = {0};
	int r = is_cancelled(client, msg->stream)
			? err_set(&err, ERR_CANCELLED, "cancelled by the client")
			: 0;

	if (r == 0 && is_resumption(client, msg) && parked_resume(client, msg))
		return;
	if (r == 0)
		r = find_instance(client, mcp_method_find(fields->method), msg->payload, &instance,
			&err);
	if (r == 0) {
		HASH_FIND(by_stream, client->calls, &msg->stream, sizeof(msg->stream), call);
		if (call)
			return;
		call = make_call(client, instance, msg);
		if (!call)
			err_set(&err, ERR_NO_MEMORY, "no memory for the call");
	}
	if (!call) {
		refuse(client, msg->stream, &err);
		return;
	}
	if (is_shared_unsubscribe(client, call)) {
		DL_APPEND(instance->waiting, call);
		instance->n_waiting++;
		call_finish(call, &nothing);
		return;
	}
	call_start(call, msg->payload,
		fields->timeout_ms ? fields->timeout_ms : (uint64_t)client->up->server->timeout);
}

/* About a task: the server knows it by its own id. */
static void take_handle(struct client *client, const struct message *msg)
{
	struct message changed = *msg;
	struct err err = {0};
	struct buf params;

	buf_init(&params, msg->payload.len + 6 * TASK_ID_MAX);
	if (handle_take(client, msg->payload, &params, &err) < 0) {
		refuse(client, msg->stream, &err);
	} else {
		changed.payload = buf_span(&params);
		take_call(client, &changed);
	}
	buf_free(&params);
}

static void on_call(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_call *fields = msg->fields;
	struct client *client = link_user(link);

	(void)arg;
	if (client->era == MCP_MODERN &&
		mcp_method_info(mcp_method_find(fields->method))->route == MCP_ROUTE_TASK)
		take_handle(client, msg);
	else
		take_call(client, msg);
}

static void on_cancel(struct link *link, const struct message *msg, void *arg)
{
	struct client *client = link_user(link);
	struct call *call;

	(void)arg;
	HASH_FIND(by_stream, client->calls, &msg->stream, sizeof(msg->stream), call);
	if (call)
		call_cancel(call, msg->payload);
	else
		client->cancelled[client->n_cancelled++ % CLIENT_EARLY_CANCELS] = msg->stream;
}

static void on_note(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_client_note *note = msg->fields;
	struct client *client = link_user(link);
	struct instance *instance = client_instance(client);
	struct upstream *up = client->up;
	struct transport_message out = {0};

	(void)arg;
	if (mcp_method_find(note->method) == MCP_LOGGING_SET_LEVEL) {
		client->level =
			mcp_log_level_parse(json_object_get(msg->payload, SPAN_LIT("level")));
		if (instance)
			handshake_set_level(instance);
		return;
	}
	if (!instance || !instance->client || instance->state != INSTANCE_READY ||
		!mcp_method_in(mcp_method_find(note->method), instance->version))
		return;
	buf_clear(&up->scratch);
	if (jsonrpc_write_notification(&up->scratch, note->method, msg->payload) < 0)
		return;
	out.text = buf_span(&up->scratch);
	up->ops->send(instance->transport, &out);
}

static void on_answer(struct link *link, const struct message *msg, void *arg)
{
	struct client *client = link_user(link);

	(void)arg;
	if (!round_answered(client, msg->stream, msg->fields, msg->payload) && client->instance)
		ask_answered(client->instance, msg->stream, msg->fields, msg->payload);
}

static void on_detach(struct link *link, const struct message *msg, void *arg)
{
	struct client *client = link_user(link);

	(void)msg;
	(void)arg;
	instance_free(client->instance, ERR_CLOSED, "the session is over");
	client->instance = NULL;
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	(void)arg;
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", role_name(link_peer(link)->role)));
	client_free(link_user(link));
}

const struct link_handlers client_handlers = {
	.on =
		{
			[MSG_ATTACH] = on_attach,
			[MSG_DETACH] = on_detach,
			[MSG_CALL] = on_call,
			[MSG_CALL_CANCEL] = on_cancel,
			[MSG_CLIENT_NOTE] = on_note,
			[MSG_ANSWER] = on_answer,
		},
	.closed = on_closed,
};

/* --- life ------------------------------------------------------------------------------------ */

static struct client *client_new(struct upstream *up)
{
	struct client *client =
		up->n_clients < UPSTREAM_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;

	if (client)
		client->retry = evtimer_new(upstream_base(up), on_retry, client);
	if (!client || !client->retry) {
		free(client);
		return NULL;
	}
	client->up = up;
	DL_APPEND(up->clients, client);
	up->n_clients++;
	return client;
}

void client_accepted(struct process *process, struct link *link)
{
	struct client *client = client_new(upstream_of(process));

	if (!client) {
		link_free(link);
		return;
	}
	client->link = link;
	link_set_user(link, client);
}

struct client *client_new_absent(
	struct upstream *up, const char *session, const char *principal)
{
	struct client *client = client_new(up);

	if (!client)
		return NULL;
	set_session(client, span_str(session));
	snprintf(client->principal, sizeof(client->principal), "%s", principal);
	client->capabilities = strdup("{}");
	client->info = strdup("{}");
	client->version = MCP_LATEST_LEGACY;
	client->absent_ms = clock_ms();
	if (client->capabilities && client->info)
		return client;
	client_free(client);
	return NULL;
}

/* What it alone had subscribed to on a shared server. */
static void end_subscriptions(struct client *client)
{
	struct instance *instance = client_instance(client);
	const struct mark *mark;

	if (upstream_isolates(client->up) || !instance || instance->state != INSTANCE_READY)
		return;
	for (mark = client->subscriptions; mark; mark = mark->hh.next) {
		struct span uri = span_of(mark->key, mark->hh.keylen);

		if (client_shares_subscription(client, uri))
			continue;
		mark_remove(&instance->told, uri);
		handshake_unsubscribe(instance, uri);
	}
	keep_changed(instance);
}

void client_free(struct client *client)
{
	struct upstream *up = client->up;
	struct instance *instance = client->instance;

	link_free(client->link);
	client->link = NULL;
	while (client->calls)
		call_cancel(client->calls, SPAN_NONE);
	end_subscriptions(client);
	client->instance = NULL;
	if (instance) {
		instance_free(instance, ERR_CLOSED, "the session is over");
	}
	while (client->undelivered)
		drop_undelivered(client, client->undelivered);
	DL_DELETE(up->clients, client);
	up->n_clients--;
	if (up->catalogue && instance_is_shared(up->catalogue))
		handshake_set_level(up->catalogue);
	event_free(client->retry);
	marks_free(&client->subscriptions);
	if (up->catalogue && up->catalogue->listen)
		listen_update(up->catalogue);
	marks_free(&client->tasks);
	free(client->capabilities);
	free(client->info);
	free(client);
}
