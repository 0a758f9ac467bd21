#include "lease.h"
#include "clock.h"
#include "log.h"
#include "worker.h"

#include <stdlib.h>

/* A session manager that is away is looked for this often. */
#define REOPEN_MS 50u

/* --- what the session manager says ---------------------------------------------------------- */

static void take(struct worker *worker, const struct msg_lease *lease, struct span state)
{
	const struct msg_serving serving = {.session = span_str(worker->session.tag)};
	struct link *root = process_root(worker->process);

	if (root)
		link_post(root, MSG_SERVING, 0, &serving);
	worker->leased = true;
	worker_set_view(worker);
	worker->leased_ms = clock_ms();
	worker->streams.heard = worker->session.heard;
	streams_lease(&worker->streams, lease->next_event, state.len == 0);
	worker_touch(worker);
}

static void on_lease(struct link *link, const struct message *msg, void *arg)
{
	struct worker *worker = worker_of(arg);
	const struct msg_lease *lease = msg->fields;
	const struct msg_lease_taken taken = {.session = lease->session, .epoch = lease->epoch};
	struct err err = {0};

	if (worker->leased && span_is(lease->session, worker->session.id) &&
		lease->epoch <= worker->session.epoch) {
		link_post(link, MSG_LEASE_TAKEN, msg->stream, &taken);
		return;
	}
	if (worker->leased ||
		session_begin(&worker->session, lease, msg->payload, &err) < 0) {
		log_error("lease.refused",
			worker->leased ? "this worker has a session" : err_text(&err));
		process_exit(worker->process, EXIT_FAILURE, NULL);
		return;
	}
	take(worker, lease, msg->payload);
	link_post(link, MSG_LEASE_TAKEN, msg->stream, &taken);
	servers_resubscribe(worker);
}

/* They come before the lease, so that nothing is served without them. */
static void on_events(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	streams_restore(&worker_of(arg)->streams, msg->payload);
}

static void on_saved(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_saved *saved = msg->fields;
	struct worker *worker = worker_of(arg);

	(void)link;
	session_on_saved(worker, msg->stream, -(int)saved->code);
	/* another worker has this session by now */
	if (saved->code == ERR_FORBIDDEN)
		worker_end_session(worker, "this worker has lost its session", false);
}

static void on_session_close(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	worker_end_session(worker_of(arg), "the session was ended", false);
}

/* --- the session manager comes and goes ----------------------------------------------------- */

static void look_again(struct worker *worker)
{
	worker->manager.retry_ms = clock_ms() + REOPEN_MS;
	worker_tick_in(worker, REOPEN_MS);
}

static void send_close(struct worker *worker)
{
	const struct msg_session_close fields = {.session = span_str(worker->session.id),
		.epoch = worker->session.epoch,
		.reason = span_str(worker->manager.close_reason)};

	worker->manager.close_sent =
		link_post(worker->manager.link, MSG_SESSION_CLOSE, 0, &fields) == 0;
}

void lease_tell_closed(struct worker *worker, const char *reason)
{
	worker->manager.close_reason = reason;
	if (worker->manager.link)
		send_close(worker);
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct worker *worker = worker_of(arg);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "sessions"));
	link_free(link);
	if (worker->manager.link != link)
		return;
	worker->manager.link = NULL;
	worker->manager.close_sent = false;
	if (!worker->leased)
		worker_end(worker);
	else
		look_again(worker);
}

/* A session manager that has just started does not know yet who has this session. */
static void claim(struct worker *worker)
{
	const struct session *session = &worker->session;
	const struct msg_lease_taken taken = {.session = span_str(session->id),
		.epoch = session->epoch,
		.principal = span_str(session->principal),
		.era = session->era,
		.view = span_str(session->view)};

	link_post(worker->manager.link, MSG_LEASE_TAKEN, 0, &taken);
	if (worker->manager.close_reason) {
		send_close(worker);
		return;
	}
	session_save_again(worker);
	session_save(worker, NULL, NULL);
	streams_save_again(&worker->streams);
}

static void on_opened(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct worker *worker = arg;

	(void)process;
	worker->manager.opening = false;
	if (!link) {
		log_debug("sessions.no_link", err_text(err));
		look_again(worker);
		return;
	}
	link_free(worker->manager.link);
	worker->manager.link = link;
	claim(worker);
}

void lease_accepted(struct process *process, struct link *link)
{
	struct worker *worker = worker_of(process);

	link_free(worker->manager.link);
	worker->manager.link = link;
}

bool lease_flush(struct worker *worker)
{
	const struct manager_link *manager = &worker->manager;

	if (!manager->link)
		return !manager->close_reason;
	return link_flush(manager->link) && (!manager->close_reason || manager->close_sent);
}

void lease_tick(struct worker *worker, uint64_t now_ms)
{
	struct manager_link *manager = &worker->manager;

	if (manager->link && manager->close_reason && !manager->close_sent)
		send_close(worker);
	session_tick(worker);
	if (!worker->leased || manager->link || manager->opening)
		return;
	if (now_ms < manager->retry_ms) {
		worker_tick_in(worker, manager->retry_ms - now_ms);
		return;
	}
	manager->opening =
		process_open_link(worker->process, ROLE_SESSIONS, "", 0, on_opened, worker) == 0;
	if (!manager->opening)
		look_again(worker);
}

const struct link_handlers lease_handlers = {
	.on =
		{
			[MSG_LEASE] = on_lease,
			[MSG_LEASE_EVENTS] = on_events,
			[MSG_SESSION_SAVED] = on_saved,
			[MSG_SESSION_CLOSE] = on_session_close,
		},
	.closed = on_closed,
};
