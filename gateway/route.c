#include "route.h"
#include "clock.h"
#include "exchange.h"
#include "gateway.h"
#include "hash.h"
#include "log.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define TICK_MS 25
#define REOPEN_MS 20
/* How long a worker whose link closed is taken for dead: the session manager knows better soon. */
#define DEAD_MS 1000

static void ask(struct route *route);
static void open_link(struct route *route);

/* --- life ----------------------------------------------------------------------------------- */

static void tick_soon(struct gateway *gateway)
{
	const struct timeval tv = {0, TICK_MS * 1000};

	if (!evtimer_pending(gateway->tick, NULL))
		event_add(gateway->tick, &tv);
}

static struct route *route_new(struct gateway *gateway, struct view *view, enum mcp_era era)
{
	struct route *route = calloc(1, sizeof(*route));

	if (!route)
		return NULL;
	route->gateway = gateway;
	route->view = view;
	route->era = era;
	route->state = ROUTE_ASKING;
	DL_APPEND(gateway->pending, route);
	tick_soon(gateway);
	return route;
}

static void set_session(struct route *route, struct span session)
{
	route->session_len = session.len < LIMIT_SESSION_ID ? session.len : LIMIT_SESSION_ID;
	memcpy(route->session, session.p, route->session_len);
	snprintf(route->tag, sizeof(route->tag), "%08x",
		(unsigned)(hash64(route->session, route->session_len, 0) & 0xffffffffu));
	HASH_ADD(hh, route->gateway->by_session, session, (unsigned)route->session_len, route);
	route->has_name = true;
}

static struct route *find(struct gateway *gateway, struct span session)
{
	struct route *route;

	HASH_FIND(hh, gateway->by_session, session.p, (unsigned)session.len, route);
	return route;
}

static void forget_name(struct route *route)
{
	if (route->has_name)
		HASH_DELETE(hh, route->gateway->by_session, route);
	route->has_name = false;
}

static void forget_ask(struct route *route)
{
	if (route->ask)
		HASH_DELETE(hh_ask, route->gateway->by_ask, route);
	route->ask = 0;
}

static void set_idle(struct route *route, bool idle)
{
	struct gateway *gateway = route->gateway;

	if (idle == route->is_idle)
		return;
	route->is_idle = idle;
	if (idle)
		DL_APPEND(gateway->idle, route);
	else
		DL_DELETE(gateway->idle, route);
}

static void leave_pool(struct route *route)
{
	struct view *view = route->view;

	for (unsigned i = 0; i < route->gateway->pool_size; i++)
		if (view->pool[i] == route)
			view->pool[i] = NULL;
}

/* Nobody waits on it, and nothing will come back for it. */
static void route_free(struct route *route)
{
	struct gateway *gateway = route->gateway;

	forget_ask(route);
	forget_name(route);
	set_idle(route, false);
	if (route->state == ROUTE_OVER)
		DL_DELETE(gateway->over, route);
	if (route->state == ROUTE_ASKING || route->state == ROUTE_LINKING)
		DL_DELETE(gateway->pending, route);
	else
		gateway->n_ready--;
	leave_pool(route);
	link_free(route->link);
	free(route);
}

void routes_free(struct gateway *gateway)
{
	struct route *route, *next;

	HASH_ITER (hh, gateway->by_session, route, next)
		route_free(route);
	while (gateway->pending)
		route_free(gateway->pending);
	while (gateway->over)
		route_free(gateway->over);
	while (gateway->idle)
		route_free(gateway->idle);
}

static void make_room(struct gateway *gateway)
{
	if (gateway->n_ready > ROUTES_IDLE_MAX && gateway->idle)
		route_free(gateway->idle);
}

void route_end(struct route *route)
{
	forget_name(route);
	leave_pool(route);
	if (route->state != ROUTE_READY)
		return;
	set_idle(route, false);
	route->state = ROUTE_OVER;
	DL_APPEND(route->gateway->over, route);
}

/* --- exchanges on routes -------------------------------------------------------------------- */

static void hand_over(struct route *route, struct exchange *exchange)
{
	set_idle(route, false);
	DL_APPEND(route->active, exchange);
	exchange_send(exchange);
}

static void enter(struct route *route, struct exchange *exchange)
{
	exchange->route = route;
	if (route->state == ROUTE_READY) {
		hand_over(route, exchange);
		return;
	}
	exchange->waiting_us = clock_us();
	exchange->wait_until_ms = exchange->waiting_us / 1000 + ROUTE_WAIT_MS;
	DL_APPEND(route->waiting, exchange);
}

void route_leave(struct exchange *exchange)
{
	struct route *route = exchange->route;

	if (!exchange->stream) {
		DL_DELETE(route->waiting, exchange);
		return;
	}
	DL_DELETE(route->active, exchange);
	if (route->active)
		return;
	if (route->state == ROUTE_READY)
		set_idle(route, true);
	else if (route->state == ROUTE_OVER)
		route_free(route);
}

static void no_memory(struct exchange *exchange)
{
	struct err err = {0};

	err_set(&err, ERR_NO_MEMORY, "the gateway is out of memory");
	exchange_fail(exchange, &err, JSONRPC_EXECUTED_NO);
}

static void unknown_session(struct exchange *exchange)
{
	struct err err = {0};

	/* a new session comes of it, whatever the client believes to have */
	if (exchange->method == MCP_INITIALIZE && exchange->kind == JSONRPC_REQUEST) {
		route_to_new_session(exchange);
		return;
	}
	err_set(&err, ERR_SESSION_UNKNOWN,
		"this session is not known: send initialize to begin a new one");
	exchange_fail(exchange, &err, JSONRPC_EXECUTED_NO);
}

void route_to_session(struct exchange *exchange)
{
	struct gateway *gateway = exchange->gateway;
	struct span session = exchange->facts.session;
	struct route *route;

	if (session.len == 0 || session.len > LIMIT_SESSION_ID) {
		unknown_session(exchange);
		return;
	}
	route = find(gateway, session);
	/* names of shared workers are nobody's sessions; in another view than its own, a session is
	 * none */
	if (route && (route->era == MCP_MODERN || route->view != exchange->view)) {
		unknown_session(exchange);
		return;
	}
	if (!route) {
		route = route_new(gateway, exchange->view, MCP_LEGACY);
		if (!route) {
			no_memory(exchange);
			return;
		}
		set_session(route, session);
		enter(route, exchange);
		ask(route);
		return;
	}
	enter(route, exchange);
}

void route_to_new_session(struct exchange *exchange)
{
	struct route *route = route_new(exchange->gateway, exchange->view, MCP_LEGACY);

	if (!route) {
		no_memory(exchange);
		return;
	}
	enter(route, exchange);
	ask(route);
}

/* In turns. While the worker whose turn it is has yet to be found, one that is there does it. */
static struct route *pick_shared(
	struct gateway *gateway, struct view *view, struct route **ret_missing)
{
	unsigned first = view->pool_next;
	struct route *route = view->pool[first];

	view->pool_next = (first + 1) % gateway->pool_size;
	if (!route)
		*ret_missing = route = view->pool[first] = route_new(gateway, view, MCP_MODERN);
	for (unsigned i = 1; route && route->state != ROUTE_READY && i < gateway->pool_size; i++) {
		struct route *other = view->pool[(first + i) % gateway->pool_size];

		if (other && other->state == ROUTE_READY)
			return other;
	}
	return route;
}

void route_to_shared(struct exchange *exchange)
{
	struct route *missing = NULL,
		     *route = pick_shared(exchange->gateway, exchange->view, &missing);

	exchange->shared = true;
	if (!route) {
		no_memory(exchange);
		return;
	}
	enter(route, exchange);
	if (missing)
		ask(missing);
}

/* --- asking the session manager ------------------------------------------------------------- */

static void ask(struct route *route)
{
	struct gateway *gateway = route->gateway;
	const struct msg_session_open open = {.principal = SPAN_LIT(PRINCIPAL),
		.era = route->era,
		.view = span_str(route->view->name)};
	const struct msg_session_find search = {
		.session = span_of(route->session, route->session_len),
		.principal = SPAN_LIT(PRINCIPAL),
		.view = span_str(route->view->name)};
	uint32_t stream;
	int r;

	if (!gateway->sessions || route->ask)
		return;
	stream = link_stream(gateway->sessions);
	if (route->session_len)
		r = link_post(gateway->sessions, MSG_SESSION_FIND, stream, &search);
	else
		r = link_post(gateway->sessions, MSG_SESSION_OPEN, stream, &open);
	if (r < 0)
		return;
	route->ask = stream;
	HASH_ADD(hh_ask, gateway->by_ask, ask, sizeof(route->ask), route);
}

static void retry_later(struct route *route)
{
	route->state = ROUTE_ASKING;
	route->retry_ms = clock_ms() + ROUTE_RETRY_MS;
	tick_soon(route->gateway);
}

/* No worker can be had: all who wait are told. */
static void fail(struct route *route, const struct err *err)
{
	struct exchange *waiting = route->waiting, *exchange, *next;

	route->waiting = NULL;
	DL_FOREACH_SAFE(waiting, exchange, next)
	{
		exchange->route = NULL;
		if (err->code == -ERR_SESSION_UNKNOWN)
			unknown_session(exchange);
		else
			exchange_fail(exchange, err, JSONRPC_EXECUTED_NO);
	}
	route_free(route);
}

/* Two places of the pool got the same worker. */
static void merge(struct route *route, struct route *known)
{
	struct gateway *gateway = route->gateway;
	struct exchange *waiting = route->waiting, *exchange, *next;

	route->waiting = NULL;
	for (unsigned i = 0; i < gateway->pool_size; i++)
		if (route->view->pool[i] == route)
			route->view->pool[i] = known;
	route_free(route);
	DL_FOREACH_SAFE(waiting, exchange, next)
	enter(known, exchange);
}

/*
 * A gateway sees a worker's death when its link closes, before the root has reaped it and told the
 * session manager: the answer may name the dead one still, and the root would still make a link to
 * it.
 */
static bool is_dead(const struct gateway *gateway, uint64_t instance)
{
	for (unsigned i = 0; i < DEAD_MAX; i++)
		if (gateway->dead[i].instance == instance && clock_ms() < gateway->dead[i].until_ms)
			return true;
	return false;
}

static void remember_dead(struct gateway *gateway, uint64_t instance)
{
	unsigned i = gateway->next_dead++ % DEAD_MAX;

	gateway->dead[i].instance = instance;
	gateway->dead[i].until_ms = clock_ms() + DEAD_MS;
}

static void take_lease(struct route *route, const struct msg_session_leased *lease)
{
	struct route *known;

	if (is_dead(route->gateway, lease->instance)) {
		retry_later(route);
		return;
	}
	route->instance = lease->instance;
	route->epoch = lease->epoch;
	if (!route->has_name) {
		known = find(route->gateway, lease->session);
		if (known && known->era == MCP_MODERN && route->era == MCP_MODERN) {
			merge(route, known);
			return;
		}
		if (!known)
			set_session(route, lease->session);
	}
	open_link(route);
}

static void on_leased(struct link *link, const struct message *msg, void *arg)
{
	struct gateway *gateway = gateway_of(arg);
	const struct msg_session_leased *lease = msg->fields;
	struct route *route;
	struct err err = {0};

	(void)link;
	HASH_FIND(hh_ask, gateway->by_ask, &msg->stream, sizeof(msg->stream), route);
	if (!route)
		return;
	forget_ask(route);
	if (lease->code == 0 && lease->session.len && lease->session.len <= LIMIT_SESSION_ID) {
		take_lease(route, lease);
		return;
	}
	if (lease->code == ERR_BUSY || lease->code == ERR_AGAIN) {
		retry_later(route);
		return;
	}
	err_set(&err,
		lease->code && lease->code < ERR_MAX ? (enum err_code)lease->code : ERR_INTERNAL,
		"%.*s", SPAN_ARG(lease->detail));
	fail(route, &err);
}

static void on_sessions_closed(struct link *link, int code, const char *why, void *arg)
{
	struct gateway *gateway = gateway_of(arg);
	struct route *route;

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "sessions"));
	link_free(link);
	gateway->sessions = NULL;
	DL_FOREACH(gateway->pending, route)
	forget_ask(route);
	routes_open_sessions(gateway);
}

const struct link_handlers route_sessions_handlers = {
	.on = {[MSG_SESSION_LEASED] = on_leased},
	.closed = on_sessions_closed,
};

static void sessions_opened(
	struct process *process, struct link *link, const struct err *err, void *arg)
{
	const struct timeval tv = {0, REOPEN_MS * 1000};
	struct gateway *gateway = arg;
	struct route *route;

	(void)process;
	(void)err;
	gateway->opening = false;
	gateway->sessions = link;
	if (!link) {
		event_add(gateway->reopen, &tv);
		return;
	}
	DL_FOREACH(gateway->pending, route)
	{
		if (route->state == ROUTE_ASKING)
			ask(route);
	}
}

void routes_open_sessions(struct gateway *gateway)
{
	const struct timeval tv = {0, REOPEN_MS * 1000};

	if (gateway->opening || gateway->sessions)
		return;
	gateway->opening = process_open_link(gateway->process, ROLE_SESSIONS, "", 0,
				   sessions_opened, gateway) == 0;
	if (!gateway->opening)
		event_add(gateway->reopen, &tv);
}

/* --- links with workers --------------------------------------------------------------------- */

static void worker_opened(
	struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct route *route = arg;
	struct gateway *gateway = route->gateway;
	struct exchange *exchange;

	(void)process;
	(void)err;
	if (!link) {
		/* it died meanwhile; its successor is found by asking again */
		if (route->era == MCP_MODERN) {
			forget_name(route);
			route->session_len = 0;
		}
		retry_later(route);
		return;
	}
	link_set_user(link, route);
	route->link = link;
	route->state = ROUTE_READY;
	DL_DELETE(gateway->pending, route);
	gateway->n_ready++;
	set_idle(route, true);
	while ((exchange = route->waiting)) {
		DL_DELETE(route->waiting, exchange);
		hand_over(route, exchange);
	}
	make_room(gateway);
}

static void open_link(struct route *route)
{
	struct gateway *gateway = route->gateway;

	route->state = ROUTE_LINKING;
	if (process_open_link(
		    gateway->process, ROLE_WORKER, "", route->instance, worker_opened, route) < 0)
		retry_later(route);
}

void route_resume(struct route *route, struct exchange *exchange)
{
	if (exchange->shared)
		route_to_shared(exchange);
	else
		enter(route, exchange);
}

/*
 * Everything the worker had said has been delivered. Its route becomes one that asks for the
 * successor if anybody needs one; without that, the next request asks.
 */
static void on_worker_closed(struct link *link, int code, const char *why, void *arg)
{
	struct route *route = link_user(link);
	struct gateway *gateway = gateway_of(arg);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "worker"));
	link_free(link);
	route->link = NULL;
	remember_dead(gateway, route->instance);
	set_idle(route, false);
	leave_pool(route);
	if (route->state == ROUTE_OVER)
		DL_DELETE(gateway->over, route);
	gateway->n_ready--;
	route->state = ROUTE_ASKING;
	DL_APPEND(gateway->pending, route);
	while (route->active)
		exchange_worker_died(route->active, route);
	if (!route->waiting) {
		route_free(route);
		return;
	}
	tick_soon(gateway);
	ask(route);
}

/* --- patience ------------------------------------------------------------------------------- */

static void give_up(struct route *route, uint64_t now)
{
	struct exchange *exchange, *next;
	struct err err = {0};

	err_set(&err, ERR_BUSY, "no worker for this session came in time: try again");
	DL_FOREACH_SAFE(route->waiting, exchange, next)
	{
		if (exchange->wait_until_ms <= now)
			exchange_fail(exchange, &err, JSONRPC_EXECUTED_NO);
	}
}

void routes_tick(struct gateway *gateway)
{
	struct route *route, *next;
	uint64_t now = clock_ms();

	DL_FOREACH_SAFE(gateway->pending, route, next)
	{
		give_up(route, now);
		if (route->state != ROUTE_ASKING || route->ask)
			continue;
		if (!route->waiting)
			route_free(route);
		else if (route->retry_ms <= now)
			ask(route);
	}
	if (gateway->pending)
		tick_soon(gateway);
}

const struct link_handlers route_worker_handlers = {
	.on =
		{
			[MSG_EXCHANGE_HEAD] = exchange_on_head,
			[MSG_EXCHANGE_DATA] = exchange_on_data,
			[MSG_EXCHANGE_END] = exchange_on_end,
			[MSG_EXCHANGE_ANSWER] = exchange_on_answer,
			[MSG_EXCHANGE_FORWARDED] = exchange_on_forwarded,
			[MSG_PONG] = probe_on_pong,
		},
	.closed = on_worker_closed,
};
