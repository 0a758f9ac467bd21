#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>
#include <stdlib.h>

struct lease *lease_find(struct manager *manager, struct span session)
{
	struct lease *lease;

	HASH_FIND(hh, manager->leases, session.p, session.len, lease);
	return lease;
}

struct lease *lease_new(struct manager *manager, struct span session, struct span principal, enum mcp_era era, uint64_t epoch)
{
	struct lease *lease = calloc(1, sizeof(*lease));

	if (!lease)
		return NULL;
	snprintf(lease->session, sizeof(lease->session), "%.*s", SPAN_ARG(session));
	snprintf(lease->principal, sizeof(lease->principal), "%.*s", SPAN_ARG(principal));
	lease->era = era;
	lease->epoch = epoch;
	lease->since_ms = clock_ms();
	HASH_ADD_STR(manager->leases, session, lease);
	return lease;
}

/* --- waiters ---------------------------------------------------------------------------------------------------- */

static void answer(const struct lease *lease, struct link *gateway, uint32_t stream)
{
	const struct msg_session_leased fields = {
		.session = span_str(lease->session), .instance = lease->instance, .epoch = lease->epoch};

	link_post(gateway, MSG_SESSION_LEASED, stream, &fields);
}

void lease_answer_error(struct link *gateway, uint32_t stream, int code, const char *detail)
{
	const struct msg_session_leased fields = {
		.code = (uint64_t)(code < 0 ? -code : code), .detail = span_str(detail)};

	link_post(gateway, MSG_SESSION_LEASED, stream, &fields);
}

void lease_wait(struct manager *manager, struct lease *lease, struct link *gateway, uint32_t stream)
{
	struct waiter *waiter;

	if (lease->state == LEASE_LIVE) {
		answer(lease, gateway, stream);
		return;
	}
	waiter = lease->n_waiters < WAITERS_MAX ? calloc(1, sizeof(*waiter)) : NULL;
	if (!waiter) {
		lease_answer_error(gateway, stream, ERR_TOO_MANY, "too many requests wait for this session");
		return;
	}
	*waiter = (struct waiter){lease->waiters, gateway, stream};
	lease->waiters = waiter;
	lease->n_waiters++;
	if (lease->state == LEASE_IDLE)
		pool_need(manager, lease);
}

static void release_waiters(struct lease *lease, int code, const char *detail)
{
	struct waiter *waiter = lease->waiters, *next;

	lease->waiters = NULL;
	lease->n_waiters = 0;
	for (; waiter; waiter = next) {
		next = waiter->next;
		if (code == 0)
			answer(lease, waiter->gateway, waiter->stream);
		else
			lease_answer_error(waiter->gateway, waiter->stream, code, detail);
		free(waiter);
	}
}

void lease_forget_gateway(struct manager *manager, const struct link *gateway)
{
	struct lease *lease;

	for (lease = manager->leases; lease; lease = lease->hh.next) {
		struct waiter **place = &lease->waiters;

		while (*place) {
			struct waiter *waiter = *place;

			if (waiter->gateway != gateway) {
				place = &waiter->next;
				continue;
			}
			*place = waiter->next;
			lease->n_waiters--;
			free(waiter);
		}
	}
}

void lease_free(struct manager *manager, struct lease *lease)
{
	release_waiters(lease, ERR_SESSION_UNKNOWN, "the session has ended");
	pool_forget(manager, lease);
	HASH_DEL(manager->leases, lease);
	link_free(lease->worker);
	free(lease);
}

/* --- giving and taking -------------------------------------------------------------------------------------------- */

static void send_events(struct manager *manager, struct lease *lease)
{
	struct buf events;

	buf_init(&events, 16u * 1024 * 1024);
	if (records_get_events(manager->records, span_str(lease->session), &events) == 0 && events.len > 0)
		link_send(lease->worker, MSG_LEASE_EVENTS, 0, NULL, buf_span(&events), NULL);
	buf_free(&events);
}

void lease_offer(struct manager *manager, struct lease *lease, uint64_t instance, struct link *worker)
{
	struct session_record record = {.next_event = 1};
	struct msg_lease fields;
	struct err err = {0};

	lease->instance = instance;
	lease->worker = worker;
	lease->state = LEASE_OFFERED;
	link_set_user(worker, lease);
	records_flush(manager->records);
	if (!lease->fresh && lease->era == MCP_LEGACY &&
		records_get(manager->records, span_str(lease->session), &record, &err) < 0) {
		/* it was closed while it waited; the worker is left unused and ends with its link */
		lease_free(manager, lease);
		return;
	}
	/* what was logged comes first, so that the worker has it when it answers the first request */
	if (!lease->fresh && lease->era == MCP_LEGACY) {
		send_events(manager, lease);
		records_get(manager->records, span_str(lease->session), &record, &err);
	}
	fields = (struct msg_lease){
		.session = span_str(lease->session),
		.principal = span_str(lease->principal),
		.epoch = lease->epoch,
		.era = lease->era,
		.next_event = record.next_event,
	};
	link_send(worker, MSG_LEASE, 0, &fields, record.state, NULL);
}

void lease_taken(struct manager *manager, struct lease *lease)
{
	(void)manager;
	lease->state = LEASE_LIVE;
	release_waiters(lease, 0, NULL);
}

void lease_lost(struct manager *manager, struct lease *lease)
{
	lease->worker = NULL;
	lease->instance = 0;
	lease->epoch++;
	lease->state = LEASE_IDLE;
	/* sessionless workers have nothing to keep, nor has a session that was never stored; others are woken when asked for */
	if (lease->era == MCP_MODERN || (lease->fresh && !lease->waiters)) {
		release_waiters(lease, ERR_BUSY, "the worker died: try again");
		lease_free(manager, lease);
	} else if (lease->waiters) {
		pool_need(manager, lease);
	}
}

struct lease *lease_of_worker(struct manager *manager, const struct link *worker)
{
	(void)manager;
	return link_user(worker);
}

void lease_close(struct manager *manager, struct lease *lease, const char *reason)
{
	log_info("session.closed", reason, KV_STR("principal", lease->principal));
	if (lease->era == MCP_LEGACY) {
		records_remove(manager->records, span_str(lease->session));
		manager_flush_soon(manager);
		manager->closed++;
	}
	lease_free(manager, lease);
}

/* --- what workers say ------------------------------------------------------------------------------------------------- */

/* A worker of an earlier session manager has this session still. */
static void claim(struct manager *manager, struct link *worker, const struct msg_lease_taken *taken)
{
	struct session_record record;
	struct lease *lease = lease_find(manager, taken->session);
	struct err err = {0};

	if ((lease && (lease->state != LEASE_IDLE || lease->epoch > taken->epoch)) ||
		records_get(manager->records, taken->session, &record, &err) < 0 || record.epoch > taken->epoch) {
		const struct msg_session_close close = {
			.session = taken->session, .epoch = taken->epoch, .reason = SPAN_LIT("another worker has this session")};

		link_post(worker, MSG_SESSION_CLOSE, 0, &close);
		return;
	}
	if (!lease)
		lease = lease_new(manager, taken->session, record.principal, MCP_LEGACY, taken->epoch);
	if (!lease)
		return;
	pool_forget(manager, lease);
	lease->epoch = taken->epoch;
	lease->instance = link_peer(worker)->instance;
	lease->worker = worker;
	link_set_user(worker, lease);
	lease_taken(manager, lease);
}

static void on_taken(struct link *link, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	const struct msg_lease_taken *taken = msg->fields;
	struct lease *lease = link_user(link);

	if (!lease)
		claim(manager, link, taken);
	else if (lease->state == LEASE_OFFERED && lease->epoch == taken->epoch)
		lease_taken(manager, lease);
}

/* The worker may have asked for a lease's change only while it has it: the epoch says so. */
static bool is_current(const struct lease *lease, struct span session, uint64_t epoch)
{
	return lease && span_is(session, lease->session) && epoch == lease->epoch;
}

struct ack {
	struct manager *manager;
	uint64_t instance; /* the link may be gone when the commit is through */
	char session[LIMIT_SESSION_ID + 1];
	uint32_t stream;
};

static void on_committed(void *arg, int code)
{
	struct ack *ack = arg;
	struct lease *lease = lease_find(ack->manager, span_str(ack->session));
	const struct msg_session_saved saved = {.code = (uint64_t)(code < 0 ? -code : code)};

	if (lease && lease->instance == ack->instance && lease->worker) {
		link_post(lease->worker, MSG_SESSION_SAVED, ack->stream, &saved);
		if (code == 0)
			lease->fresh = false;
	}
	free(ack);
}

static int64_t opened_s(struct manager *manager, const struct lease *lease)
{
	struct session_record record;

	if (!lease->fresh && records_get(manager->records, span_str(lease->session), &record, NULL) == 0)
		return record.opened_s;
	return clock_wall_s();
}

static int store_state(struct manager *manager, struct lease *lease, const struct message *msg)
{
	const struct msg_session_state *fields = msg->fields;
	const struct session_record record = {
		.epoch = lease->epoch,
		.next_event = fields->next_event,
		.opened_s = opened_s(manager, lease),
		.saved_s = clock_wall_s(),
		.principal = span_str(lease->principal),
		.state = msg->payload,
	};
	struct ack *ack = calloc(1, sizeof(*ack));
	int r;

	if (!ack)
		return -ERR_NO_MEMORY;
	*ack = (struct ack){.manager = manager, .instance = lease->instance, .stream = msg->stream};
	snprintf(ack->session, sizeof(ack->session), "%s", lease->session);
	r = records_put(manager->records, span_str(lease->session), &record, on_committed, ack);
	if (r < 0)
		free(ack);
	manager_flush_soon(manager);
	return r;
}

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	const struct msg_session_state *fields = msg->fields;
	struct lease *lease = link_user(link);
	struct msg_session_saved refused = {.code = ERR_FORBIDDEN};
	int r = -ERR_FORBIDDEN;

	if (is_current(lease, fields->session, fields->epoch))
		r = store_state(manager, lease, msg);
	if (r < 0) {
		refused.code = (uint64_t)-r;
		link_post(link, MSG_SESSION_SAVED, msg->stream, &refused);
	}
}

static void on_events(struct link *link, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	const struct msg_session_events *fields = msg->fields;
	struct lease *lease = link_user(link);

	if (!is_current(lease, fields->session, fields->epoch))
		return;
	if (records_put_events(manager->records, fields->session, msg->payload, (uint64_t)manager->config->session_max_events) < 0)
		log_warn("session.events_refused", "the events of a session could not be kept");
	manager_flush_soon(manager);
}

static void on_close(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_close *fields = msg->fields;
	struct lease *lease = link_user(link);
	char reason[64];

	if (!is_current(lease, fields->session, fields->epoch))
		return;
	snprintf(reason, sizeof(reason), "%.*s", SPAN_ARG(fields->reason));
	/* the link stays until the worker has ended */
	lease->worker = NULL;
	link_set_user(link, NULL);
	lease_close(manager_of(arg), lease, reason);
}

static void on_worker_closed(struct link *link, int code, const char *why, void *arg)
{
	struct manager *manager = manager_of(arg);
	struct lease *lease = link_user(link);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "worker"));
	if (!pool_lost(manager, link) && lease)
		lease_lost(manager, lease);
	link_free(link);
}

void manager_worker_accepted(struct process *process, struct link *link)
{
	(void)process;
	link_set_user(link, NULL);
}

const struct link_handlers manager_worker_handlers = {
	.on =
		{
			[MSG_LEASE_TAKEN] = on_taken,
			[MSG_SESSION_STATE] = on_state,
			[MSG_SESSION_EVENTS] = on_events,
			[MSG_SESSION_CLOSE] = on_close,
		},
	.closed = on_worker_closed,
};
