/* gatehouse-session-manager: see manager.h. */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BUSY_TICK_MS 50u
#define SYNC_MS 1000u
#define SWEEP_MS 60000u
/* Sessions collected by one sweep; the rest in the next. */
#define SWEEP_MAX 1000u
/* Workers that outlived an earlier session manager claim their sessions within this time. */
#define GRACE_MS 250u

struct manager *manager_of(const struct process *process)
{
	return process_user(process);
}

void manager_tick_soon(struct manager *manager)
{
	const struct timeval tv = {0, BUSY_TICK_MS * 1000};

	event_add(manager->tick, &tv);
}

void manager_flush_soon(struct manager *manager)
{
	event_active(manager->flush, EV_TIMEOUT, 0);
}

/* --- gateways ------------------------------------------------------------------------------------------------------ */

static unsigned per_principal(const struct manager *manager)
{
	return manager->config->worker_per_principal ? (unsigned)manager->config->worker_per_principal
						     : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

/* One of the workers that this principal's sessionless requests share; the longest unasked, or a new one. */
static struct lease *find_shared(struct manager *manager, struct span principal)
{
	struct lease *lease, *oldest = NULL;
	unsigned n = 0;

	for (lease = manager->leases; lease; lease = lease->hh.next) {
		if (lease->era != MCP_MODERN || !span_is(principal, lease->principal))
			continue;
		n++;
		if (!oldest || lease->since_ms < oldest->since_ms)
			oldest = lease;
	}
	if (n < per_principal(manager))
		return NULL;
	oldest->since_ms = clock_ms();
	return oldest;
}

static int open_session(struct manager *manager, const struct msg_session_open *fields, struct lease **ret, struct err *err)
{
	enum mcp_era era = fields->era ? MCP_MODERN : MCP_LEGACY;
	char id[SESSION_ID_SIZE];
	int r;

	if (era == MCP_MODERN && (*ret = find_shared(manager, fields->principal)))
		return 0;
	if (era == MCP_LEGACY &&
		records_count(manager->records) >= (uint64_t)manager->config->session_max)
		return err_set(err, ERR_TOO_MANY, "session.max (%lld) sessions are open: try again later",
			(long long)manager->config->session_max);
	r = ids_make(manager->ids, id, err);
	if (r < 0)
		return r;
	*ret = lease_new(manager, span_str(id), fields->principal, era, 1);
	if (!*ret)
		return err_set(err, ERR_NO_MEMORY, "no memory for a session");
	(*ret)->fresh = true;
	manager->opened++;
	return 0;
}

static void on_open(struct link *link, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	struct lease *lease;
	struct err err = {0};
	int r = open_session(manager, msg->fields, &lease, &err);

	if (r < 0)
		lease_answer_error(link, msg->stream, r, err_text(&err));
	else
		lease_wait(manager, lease, link, msg->stream);
}

/* A session without a worker: its record says whether it is one, and of which epoch its next lease is. */
static struct lease *wake(struct manager *manager, struct span session, struct err *err)
{
	struct session_record record;
	struct lease *lease;

	records_flush(manager->records);
	if (!ids_valid(manager->ids, session) || records_get(manager->records, session, &record, err) < 0) {
		err_set(err, ERR_SESSION_UNKNOWN, "this session is not known: send initialize to begin a new one");
		return NULL;
	}
	lease = lease_new(manager, session, record.principal, MCP_LEGACY, record.epoch + 1);
	if (!lease)
		err_set(err, ERR_NO_MEMORY, "no memory for a session");
	manager->woken++;
	return lease;
}

static void on_find(struct link *link, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	const struct msg_session_find *fields = msg->fields;
	struct lease *lease = lease_find(manager, fields->session);
	struct err err = {0};

	/* its worker may be about to claim it */
	if (!lease && clock_ms() < manager->grace_until_ms) {
		lease_answer_error(link, msg->stream, ERR_AGAIN, "the session manager has just started");
		return;
	}
	if (!lease)
		lease = wake(manager, fields->session, &err);
	if (lease && !span_is(fields->principal, lease->principal)) {
		/* another principal's session is as unknown as none */
		err_set(&err, ERR_SESSION_UNKNOWN, "this session is not known: send initialize to begin a new one");
		if (lease->state == LEASE_IDLE && !lease->waiters)
			lease_free(manager, lease);
		lease = NULL;
	}
	if (lease)
		lease_wait(manager, lease, link, msg->stream);
	else
		lease_answer_error(link, msg->stream, err.code, err_text(&err));
}

static void on_gateway_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "gateway"));
	lease_forget_gateway(manager_of(arg), link);
	link_free(link);
}

static void on_admin_closed(struct link *link, int code, const char *why, void *arg)
{
	(void)arg;
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "admin"));
	link_free(link);
}

/* The link of a worker closes when it dies; this only tells of those whose link was not open yet. */
static void on_exited(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	pool_fill(manager_of(arg));
}

/* --- time ---------------------------------------------------------------------------------------------------------- */

static bool sweep_one(void *arg, struct span session, const struct session_record *record)
{
	struct manager *manager = arg;

	if (lease_find(manager, session) || (clock_wall_s() - record->saved_s) * 1000 < manager->config->session_idle)
		return true;
	if (manager->n_swept < SWEEP_MAX)
		snprintf(manager->swept[manager->n_swept++], LIMIT_SESSION_ID + 1, "%.*s", SPAN_ARG(session));
	return manager->n_swept < SWEEP_MAX;
}

/* Sessions that no worker has and nobody came back for. */
static void sweep(struct manager *manager)
{
	manager->n_swept = 0;
	manager->swept = calloc(SWEEP_MAX, sizeof(*manager->swept));
	if (!manager->swept)
		return;
	records_visit(manager->records, sweep_one, manager);
	for (unsigned i = 0; i < manager->n_swept; i++)
		records_remove(manager->records, span_str(manager->swept[i]));
	if (manager->n_swept > 0) {
		log_info("session.collected", "sessions that nobody used have ended", KV_INT("count", manager->n_swept));
		manager->closed += manager->n_swept;
		records_flush(manager->records);
	}
	free(manager->swept);
	manager->swept = NULL;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct manager *manager = arg;
	const struct timeval calm = {1, 0};
	uint64_t now = clock_ms();
	struct err err = {0};

	(void)fd;
	(void)what;
	pool_fill(manager);
	if (now - manager->synced_ms >= SYNC_MS) {
		manager->synced_ms = now;
		if (records_sync(manager->records, &err) < 0)
			log_error("session.sync_failed", err_text(&err));
	}
	if (now - manager->swept_ms >= SWEEP_MS) {
		manager->swept_ms = now;
		sweep(manager);
	}
	if (manager->needy)
		manager_tick_soon(manager);
	else
		event_add(manager->tick, &calm);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	records_flush(((struct manager *)arg)->records);
}

/* --- the role ---------------------------------------------------------------------------------------------------------- */

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct manager *manager = calloc(1, sizeof(*manager));
	int r;

	if (!manager)
		return err_set(err, ERR_NO_MEMORY, "no memory for the session manager");
	process_set_user(process, manager);
	manager->process = process;
	manager->needy_end = &manager->needy;
	manager->grace_until_ms = clock_ms() + GRACE_MS;
	manager->swept_ms = manager->synced_ms = clock_ms();
	manager->tick = evtimer_new(process_base(process), on_tick, manager);
	manager->flush = evtimer_new(process_base(process), on_flush, manager);
	if (!manager->tick || !manager->flush)
		return err_set(err, ERR_NO_MEMORY, "no memory for the session manager");
	r = config_read_json(config, &manager->config, err);
	if (r == 0)
		r = ids_new(process_state_dir(process), 0, &manager->ids, err);
	if (r == 0)
		r = records_open(process_state_dir(process), manager->config->session_sync == CONFIG_SYNC_ALWAYS,
			&manager->records, err);
	return r;
}

static int after_jail(struct process *process, struct err *err)
{
	(void)err;
	manager_tick_soon(manager_of(process));
	return 0;
}

static void configured(struct process *process, struct span json, uint64_t generation)
{
	struct manager *manager = manager_of(process);
	struct config *fresh;
	struct err err = {0};

	(void)generation;
	if (config_read_json(json, &fresh, &err) < 0) {
		log_error("config.unreadable", err_text(&err));
		return;
	}
	config_free(manager->config);
	manager->config = fresh;
}

static void cleanup(struct process *process)
{
	struct manager *manager = manager_of(process);

	if (!manager)
		return;
	while (manager->leases)
		lease_free(manager, manager->leases);
	pool_free(manager);
	records_close(manager->records);
	ids_free(manager->ids);
	config_free(manager->config);
	if (manager->tick)
		event_free(manager->tick);
	if (manager->flush)
		event_free(manager->flush);
	free(manager);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_WORKER_GIVEN] = pool_on_given, [MSG_EXITED] = on_exited}};
static const struct link_handlers gateway_handlers = {
	.on = {[MSG_SESSION_OPEN] = on_open, [MSG_SESSION_FIND] = on_find}, .closed = on_gateway_closed};
static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY] = manager_on_query, [MSG_COMMAND] = manager_on_command}, .closed = on_admin_closed};

static const struct process_peer peers[] = {
	{ROLE_GATEWAY, &gateway_handlers, NULL},
	{ROLE_WORKER, &manager_worker_handlers, manager_worker_accepted},
	{ROLE_ADMIN, &admin_handlers, NULL},
	{ROLE_MAX, NULL, NULL},
};

static const struct process_role sessions_role = {
	.role = ROLE_SESSIONS,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.after_jail = after_jail,
	.configured = configured,
	.cleanup = cleanup,
};

int main(void)
{
	return process_main(&sessions_role);
}
