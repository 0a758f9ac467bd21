/* The role of a session worker: its links and its life. What it does with messages is in router.c. */
#include "worker.h"
#include "clock.h"
#include "log.h"
#include "router.h"

#include <stdlib.h>
#include <utlist.h>

#define TICK_MS 100u
#define SAVE_MS 50u
/* A client opens its GET stream right after initialize; until then messages for it are kept. */
#define YOUNG_MS 10000u
/* A worker that the session manager does not take ends. */
#define UNLEASED_MS 60000u

struct worker_heritage worker_heritage;

struct worker *worker_of(const struct process *process)
{
	return process_user(process);
}

void worker_touch(struct worker *worker)
{
	worker->session.active_ms = clock_ms();
}

void worker_tick_soon(struct worker *worker)
{
	const struct timeval tv = {0, TICK_MS * 1000};

	if (!evtimer_pending(worker->tick, NULL))
		event_add(worker->tick, &tv);
}

void worker_save_soon(struct worker *worker)
{
	const struct timeval tv = {0, SAVE_MS * 1000};

	if (!evtimer_pending(worker->save, NULL))
		event_add(worker->save, &tv);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static void end(struct worker *worker)
{
	streams_save(&worker->streams);
	server_detach_all(worker);
	if (worker->sessions)
		link_flush(worker->sessions);
	process_exit(worker->process, EXIT_SUCCESS, NULL);
}

static bool is_idle(const struct worker *worker, uint64_t now)
{
	return worker->leased && !worker->exchanges && !worker->requests &&
	       now - worker->session.active_ms > (uint64_t)worker->config->session_idle;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	uint64_t now = clock_ms();
	bool busy = worker->requests || worker->exchanges || worker->session_young;
	const struct timeval tv = {busy ? 0 : 1, busy ? TICK_MS * 1000 : 0};

	(void)fd;
	(void)what;
	router_tick(worker, now);
	exchange_tick(worker, now);
	request_tick(worker, now);
	server_tick(worker, now);
	if (worker->session_young && now - worker->leased_ms > YOUNG_MS)
		worker->session_young = false;
	if (is_idle(worker, now)) {
		session_close(worker, "idle");
		end(worker);
		return;
	}
	if (!worker->leased && now - worker->leased_ms > UNLEASED_MS && !worker->sessions) {
		end(worker);
		return;
	}
	if (worker->session_over || (process_stopping(worker->process) && !worker->requests)) {
		end(worker);
		return;
	}
	event_add(worker->tick, &tv);
}

static void on_save(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	streams_save(&((struct worker *)arg)->streams);
}

static void on_catalogue(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);
	const struct msg_catalogue *fields = msg->fields;
	struct catalogue *before = worker->catalogue, *fresh;
	struct err err = {0};

	(void)link;
	if (catalogue_open(msg->fds[0], &fresh, &err) < 0) {
		log_error("catalogue.unreadable", err_text(&err));
		return;
	}
	worker->catalogue = fresh;
	worker->catalogue_generation = fields->generation;
	router_catalogue_changed(worker, before);
	catalogue_free(before);
}

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	(void)config;
	if (!worker)
		return err_set(err, ERR_NO_MEMORY, "no memory for a worker");
	worker->process = process;
	worker->config = worker_heritage.config;
	worker->leased_ms = clock_ms();
	worker->tick = evtimer_new(process_base(process), on_tick, worker);
	worker->save = evtimer_new(process_base(process), on_save, worker);
	streams_init(&worker->streams, worker, (size_t)worker->config->session_max_events,
		(size_t)worker->config->session_max_event_bytes);
	process_set_user(process, worker);
	if (!worker->tick || !worker->save)
		return err_set(err, ERR_NO_MEMORY, "no memory for a worker");
	return 0;
}

static void stop(struct process *process, uint32_t deadline_ms)
{
	(void)deadline_ms;
	/* the gateways have drained before; what still runs gets its answer */
	if (!worker_of(process)->requests)
		end(worker_of(process));
	else
		worker_tick_soon(worker_of(process));
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
	event_free(worker->tick);
	event_free(worker->save);
	free(worker);
}

/* --- the session manager ----------------------------------------------------------------------------------------- */

static void on_lease(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);
	const struct msg_lease *lease = msg->fields;
	const struct msg_lease_taken taken = {.session = lease->session, .epoch = lease->epoch};
	struct err err = {0};

	if (worker->leased && lease->epoch <= worker->session.epoch) {
		link_post(link, MSG_LEASE_TAKEN, msg->stream, &taken);
		return;
	}
	if (worker->leased || session_begin(&worker->session, lease->session, lease->principal, lease->epoch,
				      (enum mcp_era)lease->era, msg->payload, &err) < 0) {
		log_error("lease.refused", worker->leased ? "this worker has a session" : err_text(&err));
		process_exit(worker->process, EXIT_FAILURE, NULL);
		return;
	}
	worker->leased = true;
	worker->leased_ms = clock_ms();
	worker->session_young = worker->session.era == MCP_LEGACY;
	streams_restore(&worker->streams, lease->next_event, SPAN_NONE);
	worker_touch(worker);
	worker_tick_soon(worker);
	link_post(link, MSG_LEASE_TAKEN, msg->stream, &taken);
}

static void on_lease_events(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);

	(void)link;
	streams_restore(&worker->streams, worker->streams.next_id, msg->payload);
}

static void on_saved(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_saved *saved = msg->fields;

	(void)link;
	session_on_saved(worker_of(arg), msg->stream, -(int)saved->code);
}

static void on_session_close(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	end(worker_of(arg));
}

static void on_sessions_closed(struct link *link, int code, const char *why, void *arg)
{
	struct worker *worker = worker_of(arg);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why);
	link_free(link);
	worker->sessions = NULL;
	if (!worker->leased)
		end(worker);
}

static void sessions_accepted(struct process *process, struct link *link)
{
	struct worker *worker = worker_of(process);

	link_free(worker->sessions);
	worker->sessions = link;
	session_save_again(worker);
	streams_save(&worker->streams);
}

static const struct link_handlers sessions_handlers = {
	.on =
		{
			[MSG_LEASE] = on_lease,
			[MSG_LEASE_EVENTS] = on_lease_events,
			[MSG_SESSION_SAVED] = on_saved,
			[MSG_SESSION_CLOSE] = on_session_close,
		},
	.closed = on_sessions_closed,
};

/* --- gateways ------------------------------------------------------------------------------------------------------- */

static bool is_ours(const struct worker *worker, const struct msg_exchange *fields)
{
	return worker->leased && (worker->session.era == MCP_MODERN || (span_is(fields->session, worker->session.id) &&
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
	exchange_answer_status(exchange, 204);
	session_close(worker, "deleted");
	server_detach_all(worker);
	worker->session_over = true;
	worker_tick_soon(worker);
}

static void check_version(const struct exchange *exchange, struct span header, struct err *err)
{
	if (header.len && exchange->worker->session.era == MCP_LEGACY && mcp_version_parse(header) == MCP_VERSION_NONE)
		err_set(err, ERR_INVALID_REQUEST, "MCP-Protocol-Version: %.*s is not a revision this server speaks",
			(int)(header.len > 64 ? 64 : header.len), header.p);
}

static void on_exchange(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);
	const struct msg_exchange *fields = msg->fields;
	const struct mcp_headers headers = {
		.version = fields->version, .method = fields->mcp_method, .name = fields->mcp_name};
	struct exchange *exchange = exchange_new(worker, link, msg);
	struct err err = {0};

	if (!exchange) {
		process_exit(worker->process, EXIT_FAILURE, NULL);
		return;
	}
	worker_touch(worker);
	worker_tick_soon(worker);
	if (!is_ours(worker, fields) || worker->session_over)
		err_set(&err, ERR_SESSION_UNKNOWN, "this session is not known: send initialize to begin a new one");
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

	if (exchange)
		exchange_credit(exchange, (size_t)credit->bytes);
}

static void on_gateway_closed(struct link *link, int code, const char *why, void *arg)
{
	struct worker *worker = worker_of(arg);
	struct exchange *exchange, *next;

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why);
	DL_FOREACH_SAFE(worker->exchanges, exchange, next) {
		if (exchange->gateway == link)
			exchange_closed(exchange);
	}
	link_free(link);
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

/* --- the role ---------------------------------------------------------------------------------------------------------- */

static const struct link_handlers root_handlers = {.on = {[MSG_CATALOGUE] = on_catalogue}};

static const struct process_peer peers[] = {
	{ROLE_SESSIONS, &sessions_handlers, sessions_accepted},
	{ROLE_GATEWAY, &worker_gateway_handlers, NULL},
	{ROLE_UPSTREAM, &worker_upstream_handlers, NULL},
	{ROLE_MAX, NULL, NULL},
};

const struct process_role worker_role = {
	.role = ROLE_WORKER,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.stop = stop,
	.cleanup = cleanup,
};
