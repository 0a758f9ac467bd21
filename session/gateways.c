/* What gateways ask: a session to begin, or the worker of one that has begun. */
#include "clock.h"
#include "log.h"
#include "manager.h"
#include "points.h"

static int unknown(struct err *err)
{
	return err_set(err, POINT(UNKNOWN) ? ERR_SESSION_UNKNOWN : ERR_INVALID_REQUEST,
		"this session is not known: send initialize to begin a new one");
}

static unsigned per_principal(const struct manager *manager)
{
	return manager->config->worker_per_principal
		       ? (unsigned)manager->config->worker_per_principal
		       : manager->cores;
}

/* One of the workers that this owner's sessionless requests share, while there are enough of
 * them. */
static struct lease *find_shared(struct manager *manager, struct owner owner)
{
	unsigned count;
	struct lease *lease = lease_shared(manager, owner, &count);

	return count >= per_principal(manager) || pool_is_exhausted(manager) ? lease : NULL;
}

static int check_room(struct manager *manager, struct err *err)
{
	uint64_t sessions = records_count(manager->records) + manager->n_fresh;

	if (sessions < (uint64_t)manager->config->session_max)
		return 0;
	return err_set(err, ERR_TOO_MANY, "session.max (%lld) sessions are open: try again later",
		(long long)manager->config->session_max);
}

static int open_session(struct manager *manager, const struct msg_session_open *fields,
	struct lease **ret, struct err *err)
{
	enum mcp_era era = fields->era ? MCP_MODERN : MCP_LEGACY;
	const struct owner owner = {fields->principal, fields->view};
	char id[SESSION_ID_SIZE];
	int r = 0;

	if (fields->principal.len == 0 || fields->principal.len >= PRINCIPAL_SIZE)
		return err_set(err, ERR_INVALID_ARGUMENT, "a principal's name has 1 to %u bytes",
			PRINCIPAL_SIZE - 1);
	if (fields->view.len > LIMIT_VIEW_NAME)
		return err_set(err, ERR_INVALID_ARGUMENT, "a view's name has at most %u bytes",
			LIMIT_VIEW_NAME);
	if (era == MCP_MODERN && (*ret = find_shared(manager, owner)))
		return 0;
	if (era == MCP_LEGACY)
		r = check_room(manager, err);
	if (r == 0)
		r = ids_make(manager->ids, id, err);
	if (r < 0)
		return r;
	*ret = lease_new(manager, span_str(id), owner, era, 1);
	if (!*ret)
		return err_set(err, ERR_NO_MEMORY, "no memory for a session");
	if (era == MCP_LEGACY) {
		(*ret)->fresh = true;
		manager->n_fresh++;
		manager->opened++;
	}
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

/* A session without a worker: its record says whose it is, and of which epoch its next lease is. */
static int wake(struct manager *manager, const struct msg_session_find *fields, struct lease **ret,
	struct err *err)
{
	struct session_record record;
	int r;

	manager_flush(manager);
	r = records_get(manager->records, fields->session, &record, err);
	if (r == -ERR_NOT_FOUND || (r == 0 && (!span_equal(fields->principal, record.principal) ||
						      !span_equal(fields->view, record.view))))
		return unknown(err);
	if (r < 0)
		return r;
	*ret = lease_new(manager, fields->session, (struct owner){record.principal, record.view},
		MCP_LEGACY, record.epoch + 1);
	if (!*ret)
		return err_set(err, ERR_NO_MEMORY, "no memory for a session");
	manager->woken++;
	return 0;
}

static int find_session(struct manager *manager, const struct msg_session_find *fields,
	struct lease **ret, struct err *err)
{
	const struct owner owner = {fields->principal, fields->view};

	*ret = lease_find(manager, fields->session);
	/* another's session is as unknown as none; so is the name of what a principal shares */
	if (*ret && ((*ret)->era == MCP_MODERN || !lease_is_of(*ret, owner)))
		return unknown(err);
	if (*ret)
		return 0;
	if (!ids_valid(manager->ids, fields->session))
		return unknown(err);
	/* its worker may be about to claim it */
	if (clock_ms() < manager->grace_until_ms)
		return err_set(err, ERR_AGAIN, "the session manager has just started");
	return wake(manager, fields, ret, err);
}

static void on_find(struct link *link, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	struct lease *lease;
	struct err err = {0};
	int r = find_session(manager, msg->fields, &lease, &err);

	if (r < 0)
		lease_answer_error(link, msg->stream, r, err_text(&err));
	else
		lease_wait(manager, lease, link, msg->stream);
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "gateway"));
	leases_forget_gateway(manager_of(arg), link);
	guest_free(manager_of(arg), link_user(link));
}

const struct link_handlers manager_gateway_handlers = {
	.on = {[MSG_SESSION_OPEN] = on_open, [MSG_SESSION_FIND] = on_find}, .closed = on_closed};
