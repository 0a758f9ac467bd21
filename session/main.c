/* gatehouse-session-manager: see manager.h. */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#define BUSY_TICK_MS 50u
#define SYNC_MS 1000u
/* Workers that outlived an earlier session manager claim their sessions within this time. */
#define GRACE_MS 250u

struct manager *manager_of(const struct process *process)
{
	return process_user(process);
}

/* --- commits -------------------------------------------------------------------------------- */

/* Said when it begins and when it is over, not each time in between. */
static void note_outcome(bool *failed, int r, const struct err *err, const char *event)
{
	if (r < 0 && !*failed)
		log_error(event, err_text(err));
	else if (r == 0 && *failed)
		log_info(event, "it works again");
	*failed = r < 0;
}

void manager_flush(struct manager *manager)
{
	struct err err = {0};
	int r = records_flush(manager->records, &err);

	note_outcome(&manager->flush_failed, r, &err, "session.commit_failed");
}

static void sync_records(struct manager *manager)
{
	struct err err = {0};
	int r = records_sync(manager->records, &err);

	note_outcome(&manager->sync_failed, r, &err, "session.sync_failed");
}

void manager_flush_soon(struct manager *manager)
{
	event_active(manager->flush, EV_TIMEOUT, 0);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	manager_flush(arg);
}

/* --- time ----------------------------------------------------------------------------------- */

static bool is_busy(const struct manager *manager)
{
	return manager->waiters || manager->needy || manager->offered || manager->sweeping;
}

void manager_tick_soon(struct manager *manager)
{
	const struct timeval busy = {0, BUSY_TICK_MS * 1000};
	struct timeval due, limit;

	/* a tick that comes as soon is left alone, or a stream of requests would put it off */
	evutil_gettimeofday(&limit, NULL);
	evutil_timeradd(&limit, &busy, &limit);
	if (evtimer_pending(manager->tick, &due) && !evutil_timercmp(&due, &limit, >))
		return;
	event_add(manager->tick, &busy);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval calm = {1, 0};
	struct manager *manager = arg;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	offers_go_on(manager);
	leases_tick(manager, now);
	workers_tick(manager, now);
	pool_tick(manager, now);
	/* a tick that comes a little early counts, or every other one would */
	if (now - manager->synced_ms + BUSY_TICK_MS >= SYNC_MS) {
		manager->synced_ms = now;
		sync_records(manager);
	}
	sweep_tick(manager, now);
	if (is_busy(manager))
		manager_tick_soon(manager);
	else
		event_add(manager->tick, &calm);
}

/* --- gateways and the admin process --------------------------------------------------------- */

void guest_accepted(struct process *process, struct link *link)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	if (!guest) {
		link_free(link);
		return;
	}
	guest->link = link;
	link_set_user(link, guest);
	DL_APPEND(manager_of(process)->guests, guest);
}

void guest_free(struct manager *manager, struct guest *guest)
{
	DL_DELETE(manager->guests, guest);
	link_free(guest->link);
	free(guest);
}

static void on_admin_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "admin"));
	guest_free(manager_of(arg), link_user(link));
}

/* --- the role ------------------------------------------------------------------------------- */

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct manager *manager = calloc(1, sizeof(*manager));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int r;

	if (!manager)
		return err_set(err, ERR_NO_MEMORY, "no memory for the session manager");
	process_set_user(process, manager);
	manager->process = process;
	manager->cores = cores > 0 ? (unsigned)cores : 1;
	manager->tick = evtimer_new(process_base(process), on_tick, manager);
	manager->flush = evtimer_new(process_base(process), on_flush, manager);
	if (!manager->tick || !manager->flush)
		return err_set(err, ERR_NO_MEMORY, "no memory for the session manager");
	r = config_read_json(config, &manager->config, err);
	if (r == 0)
		r = ids_new(process_state_dir(process), 0, &manager->ids, err);
	if (r == 0)
		r = records_open(process_state_dir(process),
			manager->config->session_sync == CONFIG_SYNC_ALWAYS, &manager->records,
			err);
	return r;
}

static int after_jail(struct process *process, struct err *err)
{
	struct manager *manager = manager_of(process);
	uint64_t now = clock_ms();

	(void)err;
	/* from here workers can reach it */
	manager->grace_until_ms = now + GRACE_MS;
	manager->synced_ms = now;
	manager->sweep_ms = now + GRACE_MS;
	manager_tick_soon(manager);
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
	records_set_always_durable(manager->records, fresh->session_sync == CONFIG_SYNC_ALWAYS);
	pool_turn(manager);
}

static void stop(struct process *process, uint32_t deadline_ms)
{
	(void)deadline_ms;
	/* what workers have sent is acknowledged as long as they can hear it */
	sync_records(manager_of(process));
	process_exit(process, EXIT_SUCCESS, NULL);
}

static void cleanup(struct process *process)
{
	struct manager *manager = manager_of(process);
	struct worker *worker, *next;

	if (!manager)
		return;
	leases_free(manager);
	while (manager->guests)
		guest_free(manager, manager->guests);
	HASH_ITER (hh, manager->workers, worker, next)
		worker_free(worker);
	records_close(manager->records);
	ids_free(manager->ids);
	config_free(manager->config);
	if (manager->tick)
		event_free(manager->tick);
	if (manager->flush)
		event_free(manager->flush);
	free(manager);
}

static void on_exited(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exited *exited = msg->fields;

	(void)link;
	if (exited->role == ROLE_WORKER)
		workers_on_exited(manager_of(arg), exited->instance);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_WORKER_GIVEN] = pool_on_given, [MSG_EXITED] = on_exited}};
static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY] = manager_on_query, [MSG_COMMAND] = manager_on_command},
	.closed = on_admin_closed};

static const struct process_peer peers[] = {
	{ROLE_GATEWAY, &manager_gateway_handlers, guest_accepted},
	{ROLE_WORKER, &manager_worker_handlers, worker_accepted},
	{ROLE_ADMIN, &admin_handlers, guest_accepted},
	{ROLE_MAX, NULL, NULL},
};

static const struct process_role sessions_role = {
	.role = ROLE_SESSIONS,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.after_jail = after_jail,
	.configured = configured,
	.stop = stop,
	.cleanup = cleanup,
};

int main(int argc, char **argv)
{
	return process_main(&sessions_role, argc, argv);
}
