#include "call.h"
#include "alike.h"
#include "client.h"
#include "clock.h"
#include "era.h"
#include "handles.h"
#include "keep.h"
#include "listen.h"
#include "parked.h"
#include "points.h"
#include "pool.h"
#include "round.h"
#include "task_handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Until the worker has CALL_FORWARDED in writing, a call waits for so long and tries again. */
#define HELD_MS 2
/* A task keeps its process for its ttl, but at most so long after it was last asked for. */
#define TASK_KEPT_MS 3600000u
/* Of one request, those that repeat its body. */
#define HEADERS_MAX (256u * 1024u)

struct call *call_find(struct instance *instance, uint64_t id)
{
	struct call *call;

	HASH_FIND(hh, instance->calls, &id, sizeof(id), call);
	return call;
}

struct call *calls_only(struct instance *instance)
{
	struct call *call, *found = NULL;

	for (call = instance->calls; call; call = call->hh.next) {
		if (!call->client && !call->parked)
			continue;
		if (found)
			return NULL;
		found = call;
	}
	return found;
}

/* --- waiting ----------------------------------------------------------------------------- */

static void hold(struct instance *instance)
{
	const struct timeval tv = {.tv_usec = HELD_MS * 1000};

	event_add(instance->held, &tv);
}

static void wait_in_line(struct call *call)
{
	if (!call->waits_us)
		call->waits_us = clock_us();
	DL_APPEND(call->instance->waiting, call);
	call->instance->n_waiting++;
}

bool calls_under_way(const struct instance *instance)
{
	const struct call *call;

	for (call = instance->calls; call; call = call->hh.next)
		if (call->client || call->parked)
			return true;
	return instance->resting;
}

bool calls_of_clients(const struct instance *instance)
{
	return instance->waiting || calls_under_way(instance);
}

/* Between two rounds: it has neither been sent nor does it wait to be. */
static void stop_resting(struct call *call)
{
	if (!call->resting)
		return;
	DL_DELETE(call->instance->resting, call);
	call->resting = false;
}

/* Did a call run that does not leave now? An earlier round of it may have. */
static enum executed fate_unsent(const struct call *call)
{
	return call->round ? EXECUTED_UNKNOWN : EXECUTED_NO;
}

/* --- ending ------------------------------------------------------------------------------ */

static void unlist(struct call *call)
{
	struct instance *instance = call->instance;

	if (call->id) {
		HASH_DEL(instance->calls, call);
		instance->n_calls--;
		call->id = 0;
	} else if (call->resting) {
		stop_resting(call);
	} else {
		DL_DELETE(instance->waiting, call);
		instance->n_waiting--;
	}
}

static void call_free(struct call *call)
{
	event_del(&call->timer);
	round_free(call);
	free(call->name);
	free(call->params);
	free(call->subject);
	free(call);
}

/* What runs as a task is in the server's memory: its process stays meanwhile. */
static void note_task(struct instance *instance, struct span result)
{
	static const struct span ended[] = {
		SPAN_LIT("completed"), SPAN_LIT("failed"), SPAN_LIT("cancelled")};
	struct span nested = json_object_get(result, SPAN_LIT("task"));
	struct span task = json_type(nested) == JSON_OBJECT ? nested : result;
	struct span status = json_object_get(task, SPAN_LIT("status"));
	struct span ttl = json_object_get(task, SPAN_LIT("ttlMs"));
	uint64_t ms = TASK_KEPT_MS, until;

	for (size_t i = 0; i < sizeof(ended) / sizeof(*ended); i++)
		if (json_equal_string(status, ended[i]))
			return;
	if (jsonrpc_id_uint64(ttl.len ? ttl : json_object_get(task, SPAN_LIT("ttl")), &ms) < 0 ||
		ms > TASK_KEPT_MS)
		ms = TASK_KEPT_MS;
	until = clock_ms() + ms;
	if (json_type(status) == JSON_STRING && until > instance->tasks_until_ms)
		instance->tasks_until_ms = until;
	keep_changed(instance);
}

/* Another process of the server need not know it: the oldest are forgotten first. */
static void note_holder(struct instance *instance, struct span result)
{
	char room[TASK_ID_MAX];
	struct span id;

	if (json_string_copy(json_object_get(result, SPAN_LIT("taskId")), room, sizeof(room), &id) <
		0)
		return;
	if (HASH_COUNT(instance->tasks) >= TASKS_KNOWN_MAX)
		mark_remove(&instance->tasks, span_of(instance->tasks->hh.key,
						      instance->tasks->hh.keylen));
	mark_put(&instance->tasks, id, TASKS_KNOWN_MAX);
	keep_changed(instance);
}

/* What a success changes in what we know of the client. */
static void note_success(const struct call *call, struct span result)
{
	struct client *client = call->client;
	struct buf id;

	alike_answered(call, result);
	if (call->subject) {
		mark_remove(&call->instance->told, span_str(call->subject));
		keep_changed(call->instance);
	}
	if (call->method == MCP_RESOURCES_SUBSCRIBE && call->subject)
		mark_add(&client->subscriptions, span_str(call->subject));
	else if (call->method == MCP_RESOURCES_UNSUBSCRIBE && call->subject)
		mark_remove(&client->subscriptions, span_str(call->subject));
	if (call->task || call->method == MCP_TASKS_GET || handle_is_in(call, result))
		note_task(call->instance, result);
	if (handle_is_in(call, result))
		note_holder(call->instance, result);
	if (!call->task)
		return;
	buf_init(&id, 4096);
	if (json_string_append(json_path(result, "task", "taskId", NULL), &id) == 0)
		mark_add(&client->tasks, buf_span(&id));
	keep_changed(call->instance);
	buf_free(&id);
}

void call_finish(struct call *call, struct outcome *outcome)
{
	struct instance *instance = call->instance;
	struct client *client = call->client;

	if (call->id && instance->transport)
		instance->up->ops->forget(instance->transport, call->id);
	unlist(call);
	if (call->sent) {
		outcome->upstream_us = clock_us() - call->sent_us;
		metrics_call(instance, call, outcome);
	} else if (call->waits_us) {
		call->queue_us += clock_us() - call->waits_us;
	}
	outcome->queue_us = call->queue_us;
	instance->proven |= outcome->kind != 2 && (client || call->parked);
	instance_touch(instance);
	if (client) {
		HASH_DELETE(by_stream, client->calls, call);
		client->n_calls--;
		if (outcome->kind == 0)
			note_success(call, outcome->payload);
		client_done(client, call, outcome);
	} else if (call->done) {
		call->done(instance, outcome, call->arg);
	}
	if (call->parked)
		parked_over(call, outcome);
	call_free(call);
	keep_busy(instance);
	if (instance->pool && instance->waiting && instance->state == INSTANCE_READY)
		hold(instance);
}

void call_fail(struct call *call, enum err_code code, const char *detail, enum executed executed)
{
	struct outcome outcome = {.kind = 2, .executed = executed};

	err_set(&outcome.err, code, "%s", detail);
	call_finish(call, &outcome);
}

/* The server need not go on. Returns what is then known of its fate. */
static enum executed withdraw(struct call *call, struct span reason)
{
	struct instance *instance = call->instance;
	struct upstream *up = instance->up;
	const struct mcp_method_info *info = mcp_method_info(MCP_CANCELLED);
	struct transport_message msg = {0};
	struct buf params;

	if (!call->id || !instance->transport)
		return call->sent && call->id ? EXECUTED_UNKNOWN : fate_unsent(call);
	if (instance->era == MCP_MODERN && up->ops->withdraw)
		return up->ops->withdraw(instance->transport, call->id) ? fate_unsent(call)
									 : EXECUTED_UNKNOWN;
	if (up->ops->forget(instance->transport, call->id))
		return fate_unsent(call);
	/* what begins a conversation is never cancelled */
	if (call->method == MCP_INITIALIZE || call->method == MCP_DISCOVER)
		return EXECUTED_UNKNOWN;
	buf_init(&params, 8192);
	buf_printf(&params, "{\"requestId\":%" PRIu64, POINT(CANCEL) ? call->id : call->stream);
	if (json_type(reason) == JSON_STRING && reason.len <= 4096) {
		buf_append_str(&params, ",\"reason\":");
		buf_append_span(&params, reason);
	}
	buf_append_char(&params, '}');
	buf_clear(&up->scratch);
	if (jsonrpc_write_notification(&up->scratch, info->name, buf_span(&params)) == 0) {
		msg.text = buf_span(&up->scratch);
		up->ops->send(instance->transport, &msg);
	}
	buf_free(&params);
	return EXECUTED_UNKNOWN;
}

void call_cancel(struct call *call, struct span reason)
{
	if (json_check(reason, LIMIT_JSON_DEPTH, NULL) < 0)
		reason = SPAN_NONE;
	call_fail(call, ERR_CANCELLED, "cancelled by the client", withdraw(call, reason));
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct call *call = arg;
	char why[160];

	(void)fd;
	(void)what;
	snprintf(why, sizeof(why), "%s: no answer within the time allowed",
		call->instance->up->server->name);
	call_fail(call, ERR_TIMEOUT, why, withdraw(call, SPAN_LIT("\"timeout\"")));
}

/* --- sending ----------------------------------------------------------------------------- */

/* The request as one JSON object; *ret_params: the params in it. */
static int write_request(
	const struct call *call, uint64_t id, struct span params, struct buf *out, size_t *ret_params)
{
	int r = jsonrpc_write_request(out, id, span_str(call->name), SPAN_NONE);
	size_t bare;

	if (r < 0)
		return r;
	out->len--; /* the brace that ends the object comes after params */
	bare = out->len;
	r = buf_append_str(out, ",\"params\":");
	*ret_params = out->len;
	if (r == 0)
		r = era_write_params(call, id, params, out);
	if (r == 0 && out->len == *ret_params)
		buf_cut(out, *ret_params = bare);
	return r == 0 ? buf_append_char(out, '}') : r;
}

/* What is not for a server of this era to answer. True: it is answered. */
static bool answered_here(struct call *call)
{
	struct outcome nothing = {.payload = SPAN_LIT("{}"), .executed = EXECUTED_YES};
	struct instance *instance = call->instance;

	if (instance->era == MCP_LEGACY && call->resumes) {
		wait_in_line(call);
		call_fail(call, ERR_STATE_INVALID,
			"requestState is not one that was given out for this request", EXECUTED_NO);
		return true;
	}
	if (instance->era != MCP_MODERN || !call->client ||
		(call->method != MCP_RESOURCES_SUBSCRIBE &&
			call->method != MCP_RESOURCES_UNSUBSCRIBE))
		return false;
	wait_in_line(call);
	call_finish(call, &nothing);
	listen_update(instance);
	return true;
}

/* None that a call still has, however long it has been under way. */
static uint64_t next_id(struct instance *instance)
{
	uint64_t id;

	do {
		id = upstream_next_id(instance->up);
	} while (call_find(instance, id));
	return id;
}

/* Hand it to the transport. On failure it is as before. */
static int send_now(struct call *call, struct span params)
{
	struct instance *instance = call->instance;
	struct upstream *up = instance->up;
	uint64_t id = next_id(instance);
	struct transport_message msg = {.id = id,
		.safe = call->safe,
		.modern = instance->era == MCP_MODERN,
		.traceparent = span_str(call->traceparent)};
	struct buf headers;
	size_t at = 0;
	int r;

	buf_clear(&up->scratch);
	buf_init(&headers, HEADERS_MAX);
	r = write_request(call, id, params, &up->scratch, &at);
	msg.text = buf_span(&up->scratch);
	if (r == 0 && msg.modern)
		r = era_write_headers(
			call, span_of(msg.text.p + at, msg.text.len - at - 1), &headers);
	msg.headers = buf_span(&headers);
	if (r == 0)
		r = up->ops->send(instance->transport, &msg);
	buf_free(&headers);
	if (up->scratch.cap > 1024u * 1024)
		buf_free(&up->scratch);
	if (r < 0)
		return r;
	call->id = id;
	call->sent = true;
	stop_resting(call);
	call->sent_us = clock_us();
	if (call->waits_us)
		call->queue_us += call->sent_us - call->waits_us;
	call->waits_us = 0;
	HASH_ADD(hh, instance->calls, id, sizeof(call->id), call);
	instance->n_calls++;
	keep_busy(instance);
	return 0;
}

static int keep_params(struct call *call, struct span params)
{
	if (call->params)
		return 0;
	call->params = malloc(params.len + 1);
	if (!call->params)
		return -ERR_NO_MEMORY;
	if (params.len)
		memcpy(call->params, params.p, params.len);
	call->params_len = params.len;
	return 0;
}

static void fail_unsent(struct call *call, int r)
{
	char why[160];

	snprintf(why, sizeof(why), "%s: %s", call->instance->up->server->name,
		r == -ERR_BUSY ? "too much waits to be written to it" : "the call cannot be sent");
	call_fail(call, (enum err_code) - r, why, fate_unsent(call));
}

/* May it leave this moment? */
static bool may_leave(struct call *call)
{
	if (call->instance->state != INSTANCE_READY || pool_is_taken(call))
		return false;
	/* its worker sends it again, to the successor */
	if (call->client && call->instance->up->leaving)
		return false;
	if (!call->client || client_knows(call->client, call))
		return true;
	hold(call->instance);
	return false;
}

/* Of a session the server had forgotten, or in a further round. */
static bool may_be_sent_again(const struct call *call)
{
	const struct instance *instance = call->instance;

	if (call->safe && instance->up->ops->per_session)
		return true;
	return instance->era == MCP_MODERN && era_of_caller(call) == MCP_LEGACY &&
	       (mcp_method_info(call->method)->flags & MCP_ROUNDS);
}

void calls_go(struct instance *instance)
{
	struct call *call, *next;
	int r;

	DL_FOREACH_SAFE(instance->waiting, call, next)
	{
		if (instance->state != INSTANCE_READY)
			return;
		if (!may_leave(call))
			continue;
		DL_DELETE(instance->waiting, call);
		instance->n_waiting--;
		if (answered_here(call))
			continue;
		r = send_now(call, span_of(call->params, call->params_len));
		if (r == 0) {
			if (may_be_sent_again(call))
				continue;
			free(call->params);
			call->params = NULL;
			continue;
		}
		if (r == -ERR_CLOSED) {
			/* the transport is about to say so; the next one gets it */
			DL_PREPEND(instance->waiting, call);
			instance->n_waiting++;
			return;
		}
		wait_in_line(call);
		fail_unsent(call, r);
	}
}

struct call *call_new(struct instance *instance, struct client *client, uint32_t stream)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->instance = instance;
	evtimer_assign(&call->timer, upstream_base(instance->up), on_timeout, call);
	call->client = client;
	call->stream = stream;
	if (client) {
		HASH_ADD(by_stream, client->calls, stream, sizeof(call->stream), call);
		client->n_calls++;
	}
	return call;
}

static void start_timer(struct call *call, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(&call->timer, &tv);
}

void call_start(struct call *call, struct span params, uint64_t timeout_ms)
{
	struct instance *instance = call->instance;
	bool go = !instance->waiting && may_leave(call);
	int r = 0;

	start_timer(call, timeout_ms);
	if (go && answered_here(call))
		return;
	if (!go || may_be_sent_again(call))
		r = keep_params(call, params);
	if (r == 0 && go)
		r = send_now(call, params);
	if (r == 0 && go)
		return;
	if (r == -ERR_CLOSED)
		r = keep_params(call, params);
	wait_in_line(call);
	if (r < 0)
		fail_unsent(call, r);
}

int call_own(struct instance *instance, enum mcp_method method, struct span params,
	uint32_t timeout_ms, call_done_fn *done, void *arg)
{
	struct span name = mcp_method_info(method)->name;
	struct call *call;
	int r;

	if (!instance->transport)
		return -ERR_CLOSED;
	call = call_new(instance, NULL, 0);
	if (!call)
		return -ERR_NO_MEMORY;
	call->method = method;
	call->safe = true;
	call->done = done;
	call->arg = arg;
	call->name = strndup(name.p, name.len);
	r = call->name ? send_now(call, params) : -ERR_NO_MEMORY;
	if (r < 0) {
		call_free(call);
		return r;
	}
	if (timeout_ms)
		start_timer(call, timeout_ms);
	return 0;
}

void call_tell(struct instance *instance, enum mcp_method method, struct span params)
{
	call_own(instance, method, params, (uint32_t)instance->up->server->timeout, NULL, NULL);
}

/* --- rounds ------------------------------------------------------------------------------ */

void call_rest(struct call *call)
{
	struct instance *instance = call->instance;

	if (instance->transport)
		instance->up->ops->forget(instance->transport, call->id);
	unlist(call);
	DL_APPEND(instance->resting, call);
	call->resting = true;
}

void call_resend(struct call *call)
{
	struct span params = span_of(call->params, call->params_len);
	struct err err = {0};
	int r = instance_want(call->instance, &err);

	if (r < 0) {
		call_fail(call, (enum err_code) - r, err_text(&err), EXECUTED_UNKNOWN);
		return;
	}
	if (call->instance->state == INSTANCE_READY)
		r = send_now(call, params);
	if (call->id)
		return;
	stop_resting(call);
	wait_in_line(call);
	if (r < 0 && r != -ERR_CLOSED)
		fail_unsent(call, r);
}

void call_part(struct call *call)
{
	HASH_DELETE(by_stream, call->client->calls, call);
	call->client->n_calls--;
	call->client = NULL;
	event_del(&call->timer);
}

void call_rejoin(struct call *call, struct client *client, uint32_t stream, uint64_t timeout_ms)
{
	call->client = client;
	call->stream = stream;
	call->posted = false;
	HASH_ADD(by_stream, client->calls, stream, sizeof(call->stream), call);
	client->n_calls++;
	start_timer(call, timeout_ms);
}

/* --- the conversation is over ------------------------------------------------------------ */

bool call_again(struct call *call)
{
	if (!call->safe || call->retried || !call->params || !call->client)
		return false;
	unlist(call);
	call->sent = false;
	call->retried = true;
	wait_in_line(call);
	return true;
}

/* Nothing new joins meanwhile: the instance is stopped. */
void calls_lost(struct instance *instance, const struct err *err, bool waiting_too)
{
	bool renewed = err->code == -ERR_SESSION_UNKNOWN && !waiting_too;

	if (!POINT(DEATH))
		return;
	while (instance->calls) {
		struct call *call = instance->calls;
		bool never_left = !instance->transport ||
				  instance->up->ops->forget(instance->transport, call->id);

		if (renewed && call_again(call))
			continue;
		call_fail(call,
			err->code == -ERR_SESSION_UNKNOWN ? ERR_SERVER_DIED
							  : (enum err_code) - err->code,
			err_text(err), never_left ? fate_unsent(call) : EXECUTED_UNKNOWN);
	}
	while (waiting_too && instance->waiting)
		call_fail(instance->waiting, (enum err_code) - err->code, err_text(err),
			fate_unsent(instance->waiting));
	while (waiting_too && instance->resting)
		call_fail(instance->resting, (enum err_code) - err->code, err_text(err),
			EXECUTED_UNKNOWN);
}
