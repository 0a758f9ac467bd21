/* Session workers: their life as seen from here, and what they say. */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* --- life ----------------------------------------------------------------------------------- */

struct worker *worker_new(struct manager *manager, uint64_t instance)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->manager = manager;
	worker->instance = instance;
	worker->since_ms = clock_ms();
	worker->state = WORKER_LINKING;
	manager->n_linking++;
	HASH_ADD(hh, manager->workers, instance, sizeof(worker->instance), worker);
	return worker;
}

static struct worker **list_of(struct manager *manager, enum worker_state state)
{
	switch (state) {
	case WORKER_WARM:
		return &manager->warm;
	case WORKER_ENDING:
		return &manager->ending;
	default:
		return NULL;
	}
}

static void count(struct manager *manager, enum worker_state state, unsigned change)
{
	switch (state) {
	case WORKER_LINKING:
		manager->n_linking += change;
		break;
	case WORKER_WARM:
		manager->n_warm += change;
		break;
	case WORKER_ENDING:
	case WORKER_KILLED:
		manager->n_ending += change;
		break;
	case WORKER_LEASED:
		break;
	}
}

static void leave_list(struct worker *worker)
{
	struct worker **list = list_of(worker->manager, worker->state);

	if (list)
		DL_DELETE(*list, worker);
	count(worker->manager, worker->state, -1u);
}

void worker_set_state(struct worker *worker, enum worker_state state)
{
	struct worker **list = list_of(worker->manager, state);

	leave_list(worker);
	worker->state = state;
	worker->since_ms = clock_ms();
	if (list)
		DL_APPEND(*list, worker);
	count(worker->manager, state, 1);
}

void worker_free(struct worker *worker)
{
	leave_list(worker);
	HASH_DEL(worker->manager->workers, worker);
	link_free(worker->link);
	free(worker);
}

void worker_kill(struct worker *worker)
{
	const struct msg_worker_kill kill = {.instance = worker->instance};

	worker_set_state(worker, WORKER_KILLED);
	link_post(process_root(worker->manager->process), MSG_WORKER_KILL, 0, &kill);
}

void worker_dismiss(struct worker *worker, struct span session, uint64_t epoch, const char *reason)
{
	const struct msg_session_close fields = {
		.session = session, .epoch = epoch, .reason = span_str(reason)};

	link_post(worker->link, MSG_SESSION_CLOSE, 0, &fields);
	if (worker->state != WORKER_KILLED)
		worker_set_state(worker, WORKER_ENDING);
}

void workers_tick(struct manager *manager, uint64_t now_ms)
{
	while (manager->ending && now_ms >= manager->ending->since_ms + ENDING_MS) {
		log_warn("worker.lingers", "a worker without a session does not end and is killed",
			KV_INT("instance", manager->ending->instance));
		worker_kill(manager->ending);
	}
}

/* The link is gone, or the process is. */
static void lost(struct worker *worker)
{
	struct manager *manager = worker->manager;
	struct lease *lease = worker->lease;

	worker_free(worker);
	if (lease)
		lease_lost(manager, lease);
	pool_turn(manager);
}

static struct worker *find(struct manager *manager, uint64_t instance)
{
	struct worker *worker;

	HASH_FIND(hh, manager->workers, &instance, sizeof(instance), worker);
	return worker;
}

void workers_on_exited(struct manager *manager, uint64_t instance)
{
	struct worker *worker = find(manager, instance);

	/* while its link is on the way, the root's answer tells */
	if (!worker || !worker->link)
		return;
	/* its last words, and its end */
	link_drain(worker->link);
	worker = find(manager, instance);
	if (worker)
		lost(worker);
}

/* --- a worker of an earlier session manager ------------------------------------------------- */

void worker_accepted(struct process *process, struct link *link)
{
	struct manager *manager = manager_of(process);
	uint64_t instance = link_peer(link)->instance;
	struct worker *worker = find(manager, instance) ? NULL : worker_new(manager, instance);

	if (!worker) {
		/* it tries again */
		link_free(link);
		return;
	}
	worker->link = link;
	link_set_user(link, worker);
	worker_set_state(worker, WORKER_ENDING);
}

static struct lease *claim_session(struct manager *manager, const struct msg_lease_taken *taken)
{
	struct lease *lease = lease_find(manager, taken->session);
	struct session_record record;

	manager_flush(manager);
	if (records_get(manager->records, taken->session, &record, NULL) < 0 ||
		record.epoch > taken->epoch || (lease && lease->state != LEASE_NEEDY))
		return NULL;
	if (!lease)
		lease = lease_new(manager, taken->session,
			(struct owner){record.principal, record.view}, MCP_LEGACY, taken->epoch);
	if (!lease)
		return NULL;
	lease->epoch = taken->epoch;
	lease->opened_s = record.opened_s;
	lease_read_log(manager, lease);
	return lease;
}

/* What is shared has no record: that this node gave the name out is enough. */
static struct lease *claim_shared(struct manager *manager, const struct msg_lease_taken *taken)
{
	if (lease_find(manager, taken->session) || !ids_valid(manager->ids, taken->session))
		return NULL;
	return lease_new(manager, taken->session, (struct owner){taken->principal, taken->view},
		MCP_MODERN, taken->epoch);
}

static void claim(struct worker *worker, const struct msg_lease_taken *taken)
{
	struct manager *manager = worker->manager;
	struct lease *lease = taken->era == MCP_MODERN ? claim_shared(manager, taken)
						       : claim_session(manager, taken);

	if (!lease) {
		worker_dismiss(worker, taken->session, taken->epoch,
			"the session has ended, or another worker has it");
		return;
	}
	worker_set_state(worker, WORKER_LEASED);
	worker->lease = lease;
	lease->worker = worker;
	lease_taken(manager, lease);
}

/* --- what workers say ----------------------------------------------------------------------- */

static void on_taken(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_lease_taken *taken = msg->fields;
	struct worker *worker = link_user(link);
	struct lease *lease = worker->lease;

	(void)arg;
	if (worker->state == WORKER_ENDING)
		claim(worker, taken);
	else if (lease && lease->state == LEASE_OFFERED && lease->epoch == taken->epoch &&
		 !lease->loading)
		lease_taken(worker->manager, lease);
}

/* A worker may change a session only while it has it: the epoch says so. */
static bool is_current(const struct lease *lease, struct span session, uint64_t epoch)
{
	return lease && span_is(session, lease->session) && epoch == lease->epoch;
}

struct ack {
	struct manager *manager;
	uint64_t instance; /* the worker may be gone when the commit is through */
	char session[LIMIT_SESSION_ID + 1];
	uint32_t stream;
};

static void on_committed(void *arg, int code)
{
	struct ack *ack = arg;
	struct manager *manager = ack->manager;
	struct lease *lease = lease_find(manager, span_str(ack->session));
	const struct msg_session_saved saved = {.code = (uint64_t)(code < 0 ? -code : code)};

	if (lease && lease->worker && lease->worker->instance == ack->instance) {
		if (code == 0)
			lease_set_stored(manager, lease);
		link_post(lease->worker->link, MSG_SESSION_SAVED, ack->stream, &saved);
	}
	free(ack);
}

static int store_state(struct worker *worker, const struct message *msg)
{
	const struct msg_session_state *fields = msg->fields;
	struct manager *manager = worker->manager;
	const struct lease *lease = worker->lease;
	const struct session_record record = {
		.epoch = lease->epoch,
		.next_event = fields->next_event,
		.opened_s = lease->opened_s,
		.saved_s = clock_wall_s(),
		.principal = span_str(lease->principal),
		.view = span_str(lease->view),
		.state = msg->payload,
	};
	struct ack *ack = calloc(1, sizeof(*ack));
	int r;

	if (!ack)
		return -ERR_NO_MEMORY;
	*ack = (struct ack){
		.manager = manager, .instance = worker->instance, .stream = msg->stream};
	memcpy(ack->session, lease->session, sizeof(ack->session));
	r = records_put(manager->records, span_str(lease->session), &record, on_committed, ack);
	if (r < 0)
		free(ack);
	manager_flush_soon(manager);
	return r;
}

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_state *fields = msg->fields;
	struct worker *worker = link_user(link);
	struct msg_session_saved refused;
	int r = -ERR_FORBIDDEN;

	(void)arg;
	if (is_current(worker->lease, fields->session, fields->epoch) &&
		worker->lease->era == MCP_LEGACY)
		r = store_state(worker, msg);
	if (r == 0)
		return;
	refused.code = (uint64_t)-r;
	link_post(link, MSG_SESSION_SAVED, msg->stream, &refused);
}

static void on_events(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_events *fields = msg->fields;
	struct worker *worker = link_user(link);
	struct manager *manager = worker->manager;
	struct lease *lease = worker->lease;
	struct span events = msg->payload;
	struct event_chunk chunk;
	uint64_t keep_from;
	int r;

	(void)arg;
	if (!is_current(lease, fields->session, fields->epoch) || lease->era != MCP_LEGACY)
		return;
	r = event_chunk_read(&events, event_log_last(&lease->log), &chunk);
	/* a worker sends all again to a manager that has just started */
	if (r == -ERR_EXISTS)
		return;
	if (r == 0)
		r = event_log_add(&lease->log, &chunk,
			(uint64_t)manager->config->session_max_events,
			(uint64_t)manager->config->session_max_event_bytes, &keep_from);
	if (r == 0)
		r = records_put_events(
			manager->records, fields->session, events, chunk.first, keep_from);
	if (r < 0)
		log_warn("session.events_refused", err_reason(r),
			KV_INT("instance", worker->instance));
	manager_flush_soon(manager);
}

static void on_close(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_close *fields = msg->fields;
	struct worker *worker = link_user(link);
	char reason[64];

	(void)arg;
	if (!is_current(worker->lease, fields->session, fields->epoch))
		return;
	snprintf(reason, sizeof(reason), "%.*s", SPAN_ARG(fields->reason));
	lease_close(worker->manager, worker->lease, reason, false);
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	(void)arg;
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "worker"));
	lost(link_user(link));
}

const struct link_handlers manager_worker_handlers = {
	.on =
		{
			[MSG_LEASE_TAKEN] = on_taken,
			[MSG_SESSION_STATE] = on_state,
			[MSG_SESSION_EVENTS] = on_events,
			[MSG_SESSION_CLOSE] = on_close,
		},
	.closed = on_closed,
};
