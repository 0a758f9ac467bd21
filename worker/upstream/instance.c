#include "instance.h"
#include "adopt.h"
#include "ask.h"
#include "call.h"
#include "client.h"
#include "clock.h"
#include "keep.h"
#include "listing.h"
#include "listen.h"
#include "log.h"
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Pauses before a restart: none at first, then doubling between these. */
#define PAUSE_FIRST_MS 1000u
#define PAUSE_LAST_MS 60000u
/* Ready for so long, an instance has recovered: its next failure is the first again. */
#define RECOVERED_MS 60000u
/* Calls wait for a restart that is so near, else they are told at once. */
#define WORTH_WAITING_MS 2000u

static const char *const state_names[] = {
	"stopped", "queued", "starting", "starting", "up", "down"};

static void set_timer(struct instance *instance, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(instance->timer, &tv);
}

bool instance_is_shared(const struct instance *instance)
{
	return instance->listing && !upstream_isolates(instance->up);
}

bool instance_can(const struct instance *instance, const char *capability)
{
	return mcp_capable(instance->capabilities, capability);
}

void instance_touch(struct instance *instance)
{
	instance->used_ms = clock_ms();
}

/* --- starting -------------------------------------------------------------------------------- */

static void open_now(struct instance *instance)
{
	struct upstream *up = instance->up;
	struct err err = {0};

	instance->state = INSTANCE_OPENING;
	instance->level = MCP_LOG_NONE;
	instance->tasks_until_ms = 0;
	memset(instance->asked, 0, sizeof(instance->asked));
	memset(instance->denied, 0, sizeof(instance->denied));
	instance->asked_again = false;
	if (up->ops->open(up, instance->label, &instance_events, instance, &instance->transport,
		    &err) < 0) {
		instance_fail(instance, RESTART_SPAWN, &err);
		return;
	}
	set_timer(instance, (uint64_t)up->server->start_timeout);
}

/* Places taken among config max: by children that run, and by all that have not ended yet. */
static void count_places(const struct upstream *up, unsigned *ret_live, unsigned *ret_all)
{
	const struct instance *each;
	unsigned live = 0;

	DL_FOREACH(up->instances, each)
	{
		if (!each->listing && each->transport)
			live++;
	}
	*ret_live = live;
	*ret_all = live + up->children_closing;
}

static int open_if_room(struct instance *instance, struct err *err)
{
	struct upstream *up = instance->up;
	unsigned live, all;

	if (!instance->listing && up->ops->has_child) {
		count_places(up, &live, &all);
		if (live >= (unsigned)up->server->max && adopt_make_room(up))
			count_places(up, &live, &all);
		if (live >= (unsigned)up->server->max)
			return err_set(err, ERR_SERVER_CAPACITY,
				"%s: all %u processes that max allows are in use", up->server->name,
				live);
		if (all >= (unsigned)up->server->max) {
			instance->state = INSTANCE_QUEUED;
			return 0;
		}
	}
	open_now(instance);
	return 0;
}

int instance_want(struct instance *instance, struct err *err)
{
	uint64_t now = clock_ms();

	instance_touch(instance);
	if (instance->state != INSTANCE_STOPPED && instance->state != INSTANCE_PAUSED)
		return 0;
	if (instance->start_ms > now + WORTH_WAITING_MS)
		return err_set(err, ERR_SERVER_DOWN, "%s: %.300s; it is started again in %llu s",
			instance->up->server->name, instance->up->last_error,
			(unsigned long long)((instance->start_ms - now + 999) / 1000));
	if (instance->state == INSTANCE_PAUSED)
		return 0;
	if (instance->start_ms > now) {
		instance->state = INSTANCE_PAUSED;
		set_timer(instance, instance->start_ms - now);
		return 0;
	}
	return open_if_room(instance, err);
}

/* No place could be had: those who wait are told. */
static void refuse_waiting(struct instance *instance, const struct err *err)
{
	instance->state = INSTANCE_STOPPED;
	calls_lost(instance, err, true);
	if (instance->pool)
		set_timer(instance, (uint64_t)instance->up->server->idle);
}

void instances_admit(struct upstream *up)
{
	struct instance *each, *next;
	struct err err = {0};

	DL_FOREACH_SAFE(up->instances, each, next)
	{
		if (each->state == INSTANCE_QUEUED && open_if_room(each, &err) < 0)
			refuse_waiting(each, &err);
	}
}

/* --- ending ---------------------------------------------------------------------------------- */

static void drop_transport(struct instance *instance)
{
	event_del(instance->timer);
	event_del(instance->held);
	if (instance->transport)
		instance->up->ops->close(instance->transport);
	instance->transport = NULL;
	keep_reset(instance);
	instance->former_listen = 0;
	instance->unheard = false;
	marks_free(&instance->tasks);
	listen_reset(instance);
	if (instance->listing)
		listing_reset(instance->listing);
}

void instance_stop(struct instance *instance)
{
	struct err err = {0};

	err_set(&err, ERR_DRAINING, "%s: the server is being stopped",
		instance->up->server->name);
	instance->state = INSTANCE_STOPPED;
	calls_lost(instance, &err, true);
	asks_drop(instance, true);
	drop_transport(instance);
}

static uint64_t next_pause(struct instance *instance, bool was_ready)
{
	/* one that serves its clients is not held back because it dies now and then */
	if (was_ready && (instance->proven || clock_ms() - instance->ready_ms > RECOVERED_MS))
		instance->failures = 0;
	instance->proven = false;
	instance->failures++;
	if (instance->failures == 1)
		return 0;
	if (instance->failures > 7)
		return PAUSE_LAST_MS;
	return PAUSE_FIRST_MS << (instance->failures - 2) < PAUSE_LAST_MS
		       ? PAUSE_FIRST_MS << (instance->failures - 2)
		       : PAUSE_LAST_MS;
}

/* Somebody wants it back without asking. */
static bool is_missed(const struct instance *instance)
{
	return instance->listing || instance->waiting ||
	       (instance->pool ? pool_is_subscribed(instance)
			       : instance->client->subscriptions != NULL);
}

void instance_fail(struct instance *instance, enum restart_reason reason, const struct err *cause)
{
	struct upstream *up = instance->up;
	bool was_ready = instance->state == INSTANCE_READY;
	uint64_t pause = next_pause(instance, was_ready);
	struct err why = {0}, told = *cause, *err = &told;

	config_hide_secrets(up->server, told.detail);
	err_set(&why, (enum err_code) - err->code, "%s: %s", up->server->name, err_text(err));
	upstream_note_error(up, err_text(err));
	up->metrics.restarts[reason]++;
	log_warn("server.failed", err_text(err), KV_STR("server", up->server->name),
		KV_STR("session", instance->label), KV_INT("pause_ms", pause));
	instance->state = INSTANCE_STOPPED;
	instance->start_ms = clock_ms() + pause;
	calls_lost(instance, &why, !was_ready || pause > WORTH_WAITING_MS);
	asks_drop(instance, true);
	drop_transport(instance);
	if (was_ready)
		up->speaks[MCP_LEGACY] = up->speaks[MCP_MODERN] = SPEAKS_UNKNOWN;
	if (instance->listing)
		reporter_state(up, SERVER_DOWN, err_text(err), NULL, NULL);
	if (is_missed(instance) && !up->stop_until_ms) {
		instance->state = INSTANCE_PAUSED;
		set_timer(instance, pause);
	} else if (instance->pool) {
		set_timer(instance, (uint64_t)up->server->idle);
	}
}

/* --- time ------------------------------------------------------------------------------------ */

static bool is_idle(const struct instance *instance)
{
	return !instance->listing && !calls_of_clients(instance) &&
	       !(instance->client && instance->client->n_calls) &&
	       !instance->asks && clock_ms() >= instance->tasks_until_ms &&
	       !(instance->pool ? pool_is_subscribed(instance)
				: instance->client->subscriptions != NULL);
}

static void on_idle(struct instance *instance)
{
	uint64_t idle = (uint64_t)instance->up->server->idle;
	uint64_t since = clock_ms() - instance->used_ms;

	if (instance->unheard)
		adopt_hear(instance);
	if (!is_idle(instance))
		set_timer(instance, idle);
	else if (since < idle)
		set_timer(instance, idle - since);
	else if (instance->pool)
		pool_leave(instance);
	else
		instance_stop(instance);
}

void instance_wait_idle(struct instance *instance, uint64_t ms)
{
	if (!instance->listing)
		set_timer(instance, ms ? ms : (uint64_t)instance->up->server->idle);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct instance *instance = arg;
	struct err err = {0};

	(void)fd;
	(void)what;
	switch (instance->state) {
	case INSTANCE_OPENING:
	case INSTANCE_GREETING:
		err_set(&err, ERR_TIMEOUT,
			"initialize was not answered within startTimeout (%lld ms)",
			(long long)instance->up->server->start_timeout);
		instance_fail(instance, RESTART_HANDSHAKE, &err);
		break;
	case INSTANCE_READY:
		on_idle(instance);
		break;
	case INSTANCE_PAUSED:
		instance->state = INSTANCE_STOPPED;
		if (open_if_room(instance, &err) < 0)
			refuse_waiting(instance, &err);
		break;
	case INSTANCE_STOPPED:
		/* nobody has wanted it back since */
		if (instance->pool && !pool_is_subscribed(instance))
			pool_leave(instance);
		else if (instance->pool && open_if_room(instance, &err) < 0)
			refuse_waiting(instance, &err);
		break;
	default:
		break;
	}
}

static void on_held(evutil_socket_t fd, short what, void *arg)
{
	struct instance *instance = arg;

	(void)fd;
	(void)what;
	if (instance->state == INSTANCE_GREETING)
		handshake_unanswered(instance);
	else
		calls_go(instance);
}

/* --- what the transport says ----------------------------------------------------------------- */

static void on_opened(void *arg)
{
	handshake_begin(arg);
}

static void on_message(void *arg, struct span text, uint64_t related)
{
	incoming_message(arg, text, related);
}

static void on_pinged(struct instance *instance, const struct outcome *outcome, void *arg)
{
	struct err err = {0};

	(void)arg;
	if (instance->state != INSTANCE_READY)
		return;
	if (outcome->kind != 2) {
		calls_go(instance);
		return;
	}
	err_set(&err, ERR_SESSION_UNKNOWN, "the server has forgotten the session");
	instance_fail(instance, RESTART_SESSION, &err);
}

/*
 * One request failed. Some servers tell a forgotten session by 400, 401 or 503, which also mean
 * other things: a ping in the same session finds out, before a call that may be repeated is.
 */
static void on_failed(void *arg, uint64_t id, const struct err *err, enum executed executed)
{
	struct instance *instance = arg;
	struct call *call = call_find(instance, id);
	bool lost = err->code == -ERR_SESSION_UNKNOWN;
	bool doubtful = err->code == -ERR_SESSION_REQUIRED;
	struct err named = {0};
	bool again;

	if ((lost || doubtful) && instance->state != INSTANCE_READY) {
		lost = doubtful = false;
	}
	again = call && (lost || doubtful) && call_again(call);
	err_set(&named, lost || doubtful ? ERR_SERVER_DOWN : (enum err_code) - err->code, "%s: %s",
		instance->up->server->name, err_text(err));
	if (call && !again)
		call_fail(call, (enum err_code) - named.code, err_text(&named), executed);
	if (lost)
		instance_fail(instance, RESTART_SESSION, err);
	else if (doubtful && again &&
		 call_own(instance, MCP_PING, SPAN_NONE, 10000, on_pinged, NULL) < 0)
		calls_go(instance);
}

static void on_parked(void *arg, uint64_t id)
{
	const struct call *call = call_find(arg, id);

	if (call && call->client)
		client_parked(call->client, call);
}

static void on_closed(void *arg, const struct err *err)
{
	struct instance *instance = arg;

	/* some end when they are asked something before initialize */
	if (instance->state == INSTANCE_GREETING && instance->era == MCP_MODERN)
		instance->up->speaks[MCP_MODERN] = SPEAKS_NO;
	instance_fail(instance,
		err->code == -ERR_SERVER_GARBAGE      ? RESTART_GARBAGE
		: instance->state == INSTANCE_OPENING ? RESTART_SPAWN
		: err->code == -ERR_SESSION_UNKNOWN   ? RESTART_SESSION
						      : RESTART_EXIT,
		err);
}

const struct transport_events instance_events = {
	.opened = on_opened,
	.message = on_message,
	.parked = on_parked,
	.failed = on_failed,
	.closed = on_closed,
};

/* --- life ------------------------------------------------------------------------------------ */

struct instance *instance_new(struct upstream *up, struct client *client, struct pool *pool)
{
	bool catalogue = !client && !pool;
	struct instance *instance = calloc(1, sizeof(*instance));

	if (!instance)
		return NULL;
	instance->up = up;
	instance->client = client;
	instance->pool = pool;
	instance->timer = evtimer_new(upstream_base(up), on_timer, instance);
	instance->held = evtimer_new(upstream_base(up), on_held, instance);
	if (catalogue)
		instance->listing = listing_new(instance);
	if (!instance->timer || !instance->held || (catalogue && !instance->listing)) {
		if (instance->timer)
			event_free(instance->timer);
		if (instance->held)
			event_free(instance->held);
		free(instance);
		return NULL;
	}
	if (client)
		snprintf(instance->label, sizeof(instance->label), "%s", client->tag);
	else if (pool)
		snprintf(instance->label, sizeof(instance->label), "sessionless");
	else if (upstream_isolates(up))
		snprintf(instance->label, sizeof(instance->label), "probe");
	DL_APPEND(up->instances, instance);
	return instance;
}

void instance_free(struct instance *instance, enum err_code code, const char *why)
{
	struct err err = {0};

	if (!instance)
		return;
	err_set(&err, code, "%s", why);
	instance->state = INSTANCE_STOPPED;
	calls_lost(instance, &err, true);
	asks_drop(instance, false);
	drop_transport(instance);
	listing_free(instance->listing);
	listen_free(instance);
	event_free(instance->timer);
	event_free(instance->held);
	DL_DELETE(instance->up->instances, instance);
	free(instance->facts);
	free(instance);
}

void instance_refresh(struct upstream *up)
{
	struct instance *instance = up->catalogue;
	struct err err = {0};

	if (!instance || up->stop_until_ms)
		return;
	if (instance->state == INSTANCE_READY)
		listing_begin(instance->listing);
	else
		instance_want(instance, &err);
}

void instances_count(const struct upstream *up, unsigned *ret_in_flight, unsigned *ret_queued)
{
	const struct instance *each;

	*ret_in_flight = *ret_queued = 0;
	DL_FOREACH(up->instances, each)
	{
		*ret_in_flight += each->n_calls;
		*ret_queued += each->n_waiting;
		if (each->transport)
			*ret_queued += (unsigned)up->ops->queued(each->transport);
	}
}

const char *instance_state_name(const struct instance *instance)
{
	return state_names[instance->state];
}
