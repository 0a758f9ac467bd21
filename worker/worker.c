/* The role of a session worker: its hooks, gateways, time, and its end. */
#include "worker.h"
#include "clock.h"
#include "initialize.h"
#include "listens.h"
#include "log.h"
#include "notes.h"
#include "own_lists.h"
#include "points.h"
#include "router.h"

#include <stdlib.h>
#include <utlist.h>

#define SAVE_MS 50u
/* A worker that no session manager wants ends. */
#define UNLEASED_MS 60000u
/* What a worker that ends waits for: its last words to leave, and a session manager to tell the end
 * of the session to. */
#define LAST_WORDS_MS 2000u
#define NEWS_OF_END_MS 10000u
#define ENDING_TICK_MS 10u

struct worker_heritage worker_heritage;

struct worker *worker_of(const struct process *process)
{
	return process_user(process);
}

uint64_t worker_now_us(struct worker *worker)
{
	uint64_t now_us = clock_us();

	worker->seen_ms = now_us / 1000;
	return now_us;
}

uint64_t worker_now(struct worker *worker)
{
	return worker_now_us(worker) / 1000;
}

void worker_tick_in(struct worker *worker, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	/* most often it comes soon enough anyway, which an older look at the clock tells as well */
	if (worker->tick_ms && worker->tick_ms <= worker->seen_ms + ms)
		return;
	worker->tick_ms = worker_now(worker) + ms;
	event_add(worker->tick, &tv);
}

void worker_touch(struct worker *worker)
{
	worker->session.active_ms = worker_now(worker);
	worker_tick_in(worker, (uint64_t)worker->config->session_idle);
}

void worker_save_soon(struct worker *worker)
{
	const struct timeval tv = {0, SAVE_MS * 1000};

	if (!evtimer_pending(worker->save, NULL))
		event_add(worker->save, &tv);
}

bool worker_is_young(const struct worker *worker)
{
	return clock_ms() - worker->leased_ms < WORKER_YOUNG_MS;
}

void worker_out_of_memory(struct worker *worker)
{
	log_error("worker.no_memory", "out of memory: this worker ends",
		KV_STR("session", worker->session.tag));
	process_exit(worker->process, EXIT_FAILURE, NULL);
}

/* --- the end -------------------------------------------------------------------------------- */

static bool gateways_flush(struct worker *worker)
{
	struct worker_gateway *gateway;
	bool all = true;

	DL_FOREACH(worker->gateways, gateway)
	all &= link_flush(gateway->link);
	return all;
}

/* Everything said has left, and everybody who must know of the end does. */
static bool last_words_are_out(struct worker *worker)
{
	bool out = !worker->exchanges;

	streams_save(&worker->streams);
	out &= gateways_flush(worker);
	out &= servers_flush(worker);
	out &= lease_flush(worker);
	return out;
}

static void go_on_ending(struct worker *worker, uint64_t now_ms)
{
	if (now_ms >= worker->ending_until_ms || last_words_are_out(worker))
		process_exit(worker->process, EXIT_SUCCESS, NULL);
	else
		worker_tick_in(worker, ENDING_TICK_MS);
}

void worker_end(struct worker *worker)
{
	bool news = worker->manager.close_reason;

	if (worker->ending)
		return;
	worker->ending = true;
	worker->ending_until_ms = clock_ms() + (news ? NEWS_OF_END_MS : LAST_WORDS_MS);
	server_detach_all(worker);
	/* not from within what is being done at the moment */
	worker_tick_in(worker, 0);
}

void worker_end_session(struct worker *worker, const char *reason, bool tell)
{
	if (worker->session_over)
		return;
	worker->session_over = true;
	if (tell)
		lease_tell_closed(worker, reason);
	request_end_all(worker, "the session has ended");
	streams_end_gets(&worker->streams);
	worker_end(worker);
}

/* --- time ----------------------------------------------------------------------------------- */

/* Both end by themselves: a session that nobody has used for long,
 * and a worker that nobody wants. */
static void look_after_idleness(struct worker *worker)
{
	uint64_t idle_ms = worker->leased ? (uint64_t)worker->config->session_idle : UNLEASED_MS;
	uint64_t since_ms = worker->leased ? worker->session.active_ms : worker->leased_ms;
	uint64_t quiet_ms = worker_now(worker) - since_ms;

	if (worker->leased ? worker->exchanges || worker->requests : worker->manager.link != NULL)
		return;
	if (quiet_ms < idle_ms)
		worker_tick_in(worker, idle_ms - quiet_ms);
	else if (worker->leased)
		worker_end_session(worker, "idle", true);
	else
		worker_end(worker);
}

static bool answers_are_due(const struct worker *worker)
{
	const struct exchange *exchange;

	DL_FOREACH(worker->exchanges, exchange)
	{
		if (exchange->verb == EXCHANGE_POST)
			return true;
	}
	return worker->requests != NULL;
}

/* Each looks at the clock anew: what it compares with may have been noted by the one before. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	worker->tick_ms = 0;
	lease_tick(worker, worker_now(worker));
	exchange_tick(worker, worker_now(worker));
	if (worker->ending) {
		go_on_ending(worker, worker_now(worker));
		return;
	}
	initialize_go_on(worker, worker_now(worker));
	request_tick(worker, worker_now(worker));
	own_lists_tick(worker, worker_now(worker));
	notes_tick(worker, worker_now(worker));
	server_tick(worker, worker_now(worker));
	asks_tick(worker, worker_now(worker));
	look_after_idleness(worker);
	if (worker->view_gone && !answers_are_due(worker))
		worker_end_session(worker, "its view was removed", true);
	if (process_stopping(worker->process)) {
		if (!answers_are_due(worker))
			worker_end(worker);
		worker_tick_in(worker, ENDING_TICK_MS);
	}
}

static void on_save(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	streams_save(&((struct worker *)arg)->streams);
}

/* --- life ----------------------------------------------------------------------------------- */

/* A view that the registry has not heard of yet comes with its next catalogue. */
static int select_view(const struct worker *worker, struct catalogue *catalogue, struct err *err)
{
	const struct session *session = &worker->session;

	return worker->leased && session->view[0]
		       ? catalogue_select(catalogue, span_str(session->view), err)
		       : 0;
}

void worker_set_view(struct worker *worker)
{
	struct err err = {0};

	if (!worker->catalogue || select_view(worker, worker->catalogue, &err) == 0)
		return;
	log_info("view.awaited", err_text(&err), KV_STR("view", worker->session.view));
	catalogue_free(worker->catalogue);
	worker->catalogue = NULL;
}

const struct config_virtual *worker_view(const struct worker *worker)
{
	return config_find_view(worker->config, span_str(worker->session.view));
}

bool worker_sees(const struct worker *worker, enum config_part part, struct span name,
	struct span *ret_name)
{
	const struct config_virtual *view = worker_view(worker);

	*ret_name = view ? config_view_name(view, part, name) : name;
	return view ? config_view_offers(view, part, name) : !worker->session.view[0];
}

static void on_catalogue(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);
	struct catalogue *before = worker->catalogue, *fresh;
	struct err err = {0};

	(void)link;
	if (catalogue_open(msg->fds[0], &fresh, &err) < 0) {
		log_error("catalogue.unreadable", err_text(&err));
		return;
	}
	if (select_view(worker, fresh, &err) < 0) {
		log_info("view.awaited", err_text(&err), KV_STR("view", worker->session.view));
		catalogue_free(fresh);
		fresh = NULL;
	}
	worker->catalogue = fresh;
	notes_catalogue_changed(worker, before);
	catalogue_free(before);
	initialize_go_on(worker, clock_ms());
}

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	(void)config;
	if (!worker)
		return err_set(err, ERR_NO_MEMORY, "no memory for a worker");
	process_set_user(process, worker);
	worker->process = process;
	worker->config = worker_heritage.config;
	worker->leased_ms = clock_ms();
	worker->tick = evtimer_new(process_base(process), on_tick, worker);
	worker->save = evtimer_new(process_base(process), on_save, worker);
	streams_init(&worker->streams, worker, (size_t)worker->config->session_max_events,
		(size_t)worker->config->session_max_event_bytes);
	if (!worker->tick || !worker->save)
		return err_set(err, ERR_NO_MEMORY, "no memory for a worker");
	worker_tick_in(worker, UNLEASED_MS);
	return 0;
}

static void stop(struct process *process, uint32_t deadline_ms)
{
	struct worker *worker = worker_of(process);

	(void)deadline_ms;
	/* what still runs gets its answer; clients that only listen come back to the next node */
	streams_end_gets(&worker->streams);
	listens_end(worker);
	worker_tick_in(worker, 0);
}

/* What is under way keeps what it began with: deadlines, sizes. */
static void configured(struct process *process, struct span json, uint64_t generation)
{
	struct worker *worker = worker_of(process);
	struct config *fresh;
	struct err err = {0};

	(void)generation;
	if (config_read_json(json, &fresh, &err) < 0) {
		log_error("config.unreadable", err_text(&err));
		return;
	}
	config_free(worker->reloaded);
	worker->config = worker->reloaded = fresh;
	worker->view_gone =
		worker->session.view[0] &&
		!config_find_view(fresh, span_str(worker->session.view));
	own_lists_forget(worker);
	if (worker->view_gone)
		listens_end(worker);
	/* a shorter session.idle counts from now on */
	worker_tick_in(worker, 0);
}

static void gateways_free(struct worker *worker)
{
	while (worker->gateways) {
		struct worker_gateway *gateway = worker->gateways;

		DL_DELETE(worker->gateways, gateway);
		link_free(gateway->link);
		free(gateway);
	}
}

static void cleanup(struct process *process)
{
	struct worker *worker = worker_of(process);

	if (!worker)
		return;
	while (worker->requests)
		request_free(worker->requests);
	while (worker->exchanges)
		exchange_free(worker->exchanges);
	asks_free(worker);
	servers_free(worker);
	session_free(&worker->session);
	streams_free(&worker->streams);
	catalogue_free(worker->catalogue);
	gateways_free(worker);
	link_free(worker->manager.link);
	config_free(worker->reloaded);
	if (worker->tick)
		event_free(worker->tick);
	if (worker->save)
		event_free(worker->save);
	free(worker);
}

/* --- gateways ------------------------------------------------------------------------------- */

static bool is_ours(const struct worker *worker, const struct msg_exchange *fields)
{
	return worker->leased &&
	       (worker->session.era == MCP_MODERN ||
		       (span_is(fields->session, worker->session.id) &&
			       span_is(fields->principal, worker->session.principal)));
}

static void get_stream(struct worker *worker, struct exchange *exchange, struct span last_event_id)
{
	struct err err = {0};

	if (worker->session.era == MCP_MODERN)
		err_set(&err, ERR_METHOD_NOT_ALLOWED, "event streams by GET belong to a session");
	else if (!(exchange->accept & EXCHANGE_ACCEPTS_SSE))
		err_set(&err, ERR_NOT_ACCEPTABLE, "Accept must contain text/event-stream");
	else if (streams_get(&worker->streams, exchange, last_event_id, &err) == 0)
		return;
	exchange_answer_err(exchange, SPAN_NONE, &err, JSONRPC_EXECUTED_NO);
}

static void delete_session(struct worker *worker, struct exchange *exchange)
{
	struct err err = {0};

	if (worker->session.era == MCP_MODERN) {
		err_set(&err, ERR_METHOD_NOT_ALLOWED, "there is no session to delete");
		exchange_answer_err(exchange, SPAN_NONE, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	exchange_answer_status(exchange, 204);
	if (POINT(DELETE))
		worker_end_session(worker, "deleted", true);
}

static void check_version(const struct exchange *exchange, struct span header, struct err *err)
{
	if (header.len && exchange->worker->session.era == MCP_LEGACY &&
		mcp_version_parse(mcp_header_trim(header)) == MCP_VERSION_NONE)
		err_set(err, ERR_INVALID_REQUEST,
			"MCP-Protocol-Version: %.*s is not a revision this server speaks",
			(int)(header.len > 64 ? 64 : header.len), header.p);
}

/*
 * This process ends and its session goes on: what comes now is for the successor. The gateway sends
 * it there when the link closes, because nothing was said of it here.
 */
static bool is_for_the_next(const struct worker *worker, const struct msg_exchange *fields)
{
	return !worker->session_over &&
	       (worker->ending ||
		       (process_stopping(worker->process) && fields->verb == EXCHANGE_GET));
}

static void on_exchange(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);
	const struct msg_exchange *fields = msg->fields;
	const struct mcp_headers headers = {
		.version = fields->version, .method = fields->mcp_method, .name = fields->mcp_name};
	struct exchange *exchange;
	struct err err = {0};

	if (is_for_the_next(worker, fields))
		return;
	exchange = exchange_new(worker, link, msg);
	if (!exchange) {
		worker_out_of_memory(worker);
		return;
	}
	worker->session.active_ms = exchange->began_ms;
	if (!is_ours(worker, fields) || worker->session_over)
		err_set(&err, ERR_SESSION_UNKNOWN,
			"this session is not known: send initialize to begin a new one");
	else
		check_version(exchange, fields->version, &err);
	if (err.code)
		exchange_answer_err(exchange, SPAN_NONE, &err, JSONRPC_EXECUTED_NO);
	else if (exchange->verb == EXCHANGE_POST)
		router_post(worker, exchange, msg->payload, &headers);
	else if (exchange->verb == EXCHANGE_GET)
		get_stream(worker, exchange, fields->last_event_id);
	else
		delete_session(worker, exchange);
}

static void on_exchange_closed(struct link *link, const struct message *msg, void *arg)
{
	struct exchange *exchange = exchange_find(worker_of(arg), link, msg->stream);

	if (exchange)
		exchange_closed(exchange);
}

static void on_credit(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_credit *credit = msg->fields;
	struct exchange *exchange = exchange_find(worker_of(arg), link, msg->stream);

	if (exchange && exchange->state == EXCHANGE_STREAMING)
		exchange_credit(exchange, (size_t)credit->bytes);
}

static void on_gateway_closed(struct link *link, int code, const char *why, void *arg)
{
	struct worker *worker = worker_of(arg);
	struct worker_gateway *gateway = link_user(link);
	struct exchange *exchange, *next;

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "gateway"));
	DL_FOREACH_SAFE(worker->exchanges, exchange, next)
	{
		if (exchange->gateway == link)
			exchange_closed(exchange);
	}
	DL_DELETE(worker->gateways, gateway);
	free(gateway);
	link_free(link);
}

static void gateway_accepted(struct process *process, struct link *link)
{
	struct worker *worker = worker_of(process);
	struct worker_gateway *gateway = calloc(1, sizeof(*gateway));

	if (!gateway) {
		link_free(link);
		return;
	}
	gateway->link = link;
	link_set_user(link, gateway);
	DL_APPEND(worker->gateways, gateway);
}

const struct link_handlers worker_gateway_handlers = {
	.on =
		{
			[MSG_EXCHANGE] = on_exchange,
			[MSG_EXCHANGE_CLOSED] = on_exchange_closed,
			[MSG_CREDIT] = on_credit,
		},
	.closed = on_gateway_closed,
};

/* --- the role ------------------------------------------------------------------------------- */

static const struct link_handlers root_handlers = {.on = {[MSG_CATALOGUE] = on_catalogue}};

static const struct process_peer peers[] = {
	{ROLE_SESSIONS, &lease_handlers, lease_accepted},
	{ROLE_GATEWAY, &worker_gateway_handlers, gateway_accepted},
	{ROLE_UPSTREAM, &worker_upstream_handlers, NULL},
	{ROLE_MAX, NULL, NULL},
};

const struct process_role worker_role = {
	.role = ROLE_WORKER,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.configured = configured,
	.stop = stop,
	.cleanup = cleanup,
};
