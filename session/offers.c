/*
 * Handing a session to a worker: its logged events first, so that the worker has them when it
 * answers the first request, then the lease. The epoch is committed before anything is sent: no two
 * workers ever get the same one, even if this process dies in between.
 */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <utlist.h>

/* Events in one message; a larger chunk goes alone. */
#define LOAD_BYTES (1024u * 1024)
#define LOAD_MAX (8u * 1024 * 1024)
/* load_from: all events are sent. */
#define LOADED UINT64_MAX

static int send_lease(struct lease *lease, const struct session_record *record)
{
	uint64_t after_log = event_log_last(&lease->log) + 1;
	const struct msg_lease fields = {
		.session = span_str(lease->session),
		.principal = span_str(lease->principal),
		.view = span_str(lease->view),
		.epoch = lease->epoch,
		.era = lease->era,
		.next_event = record->next_event > after_log ? record->next_event : after_log,
	};

	return link_send(lease->worker->link, MSG_LEASE, 0, &fields, record->state, NULL);
}

/* The next message of events. -ERR_AGAIN: the link is full. */
static int send_events(struct manager *manager, struct lease *lease)
{
	uint64_t next = 0;
	struct buf events;
	int r;

	buf_init(&events, LOAD_MAX);
	r = records_get_events(manager->records, span_str(lease->session), lease->load_from,
		LOAD_BYTES, &events, &next);
	if (r < 0)
		/* the session matters more than what a client may want to hear again */
		log_error("lease.events_lost", err_reason(r));
	else if (events.len > 0)
		r = link_send(
			lease->worker->link, MSG_LEASE_EVENTS, 0, NULL, buf_span(&events), NULL);
	buf_free(&events);
	if (r != -ERR_AGAIN)
		lease->load_from = next ? next : LOADED;
	return r;
}

static void go_on(struct manager *manager, struct lease *lease)
{
	struct session_record record;
	struct worker *worker = lease->worker;
	struct err err = {0};
	int r = 0;

	while (lease->load_from != LOADED && r != -ERR_AGAIN)
		r = send_events(manager, lease);
	if (r == -ERR_AGAIN)
		return;
	if (records_get(manager->records, span_str(lease->session), &record, &err) < 0) {
		log_error("lease.record_lost", err_text(&err));
		worker->lease = NULL;
		worker_dismiss(worker, span_str(lease->session), lease->epoch, "no record");
		lease->worker = NULL;
		lease_refuse(manager, lease, ERR_SESSION_UNKNOWN,
			"this session is not known: send initialize to begin a new one");
		return;
	}
	lease->opened_s = record.opened_s;
	lease->loading = send_lease(lease, &record) == -ERR_AGAIN;
}

static void add_chunk(void *arg, struct span events)
{
	struct lease *lease = arg;
	struct event_chunk chunk;
	uint64_t keep_from;

	if (event_chunk_read(&events, 0, &chunk) == 0)
		event_log_add(&lease->log, &chunk, UINT64_MAX, UINT64_MAX, &keep_from);
}

void lease_read_log(struct manager *manager, struct lease *lease)
{
	event_log_free(&lease->log);
	records_visit_events(manager->records, span_str(lease->session), add_chunk, lease);
}

void lease_offer(struct manager *manager, struct lease *lease, struct worker *worker)
{
	const struct session_record none = {0};

	worker_set_state(worker, WORKER_LEASED);
	worker->lease = lease;
	lease->worker = worker;
	lease_set_state(manager, lease, LEASE_OFFERED);
	manager_tick_soon(manager);
	if (lease->fresh || lease->era == MCP_MODERN) {
		send_lease(lease, &none);
		return;
	}
	records_touch(manager->records, span_str(lease->session), lease->epoch, clock_wall_s());
	manager_flush(manager);
	lease_read_log(manager, lease);
	lease->loading = true;
	lease->load_from = 0;
	go_on(manager, lease);
}

void offers_go_on(struct manager *manager)
{
	struct lease *lease, *next;

	DL_FOREACH_SAFE(manager->offered, lease, next)
	if (lease->loading)
		go_on(manager, lease);
}
