/* gatehouse-registry: see registry.h. */
#include "log.h"
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* --- what upstream workers say -------------------------------------------------------------- */

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_server_state *fields = msg->fields;
	struct server *server = registry_find_own(registry, fields->server, link);

	if (!server || fields->state >= SERVER_STATE_MAX)
		return;
	if (msg->payload.len)
		registry_set_facts(registry, server, fields->version, msg->payload);
	/* a worker that ends tells that its server is gone */
	if (server->state != SERVER_STOPPING)
		registry_set_state(
			registry, server, (enum server_state)fields->state, fields->detail);
}

static void on_list(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_server_list *fields = msg->fields;
	struct server *server = registry_find_own(registry, fields->server, link);
	enum catalogue_kind kind = (enum catalogue_kind)fields->kind;

	if (!server || fields->kind >= CATALOGUE_KIND_MAX)
		return;
	registry_set_list(registry, server, kind, msg->payload);
	registry_set_freshness(
		registry, server, kind, (uint32_t)fields->ttl_ms, fields->cache_public);
}

static void on_alike(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_server_alike *fields = msg->fields;
	struct server *server = registry_find_own(registry, fields->server, link);

	if (server)
		registry_set_alike(registry, server, fields->client, fields->kinds);
}

/* --- what the root says --------------------------------------------------------------------- */

static void on_upstream_state(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_upstream_state *fields = msg->fields;
	struct server *server = registry_find(registry, fields->name);
	char detail[160];

	(void)link;
	/* of one that runs, the worker itself says how the server is */
	if (!server || fields->state == 1)
		return;
	registry_forget_alike(registry, server);
	snprintf(detail, sizeof(detail), "its worker crashed too often; it is tried again in %u s",
		(unsigned)((fields->retry_ms + 999) / 1000));
	if (fields->state == 3)
		registry_set_state(registry, server, SERVER_STOPPING, SPAN_NONE);
	else if (fields->state == 2)
		registry_set_state(registry, server, SERVER_FAILED, span_str(detail));
	else
		registry_set_state(registry, server, SERVER_STARTING, SPAN_NONE);
}

static void on_exited(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_exited *fields = msg->fields;
	struct server *server =
		fields->role == ROLE_UPSTREAM ? registry_find(registry, fields->name) : NULL;

	(void)link;
	/* one that did not crash may have been ended because its server is another one now */
	if (server && fields->reason.len > 4 && memcmp(fields->reason.p, "exit", 4) == 0)
		registry_forget_alike(registry, server);
	if (server && server->state != SERVER_FAILED && server->state != SERVER_STOPPING)
		registry_set_state(registry, server, SERVER_STARTING, SPAN_NONE);
}

/* --- upstream workers and the admin process ------------------------------------------------- */

static void guest_accepted(struct process *process, struct link *link)
{
	struct registry *registry = process_user(process);
	struct guest *guest = calloc(1, sizeof(*guest));

	if (!guest) {
		link_free(link);
		return;
	}
	guest->link = link;
	link_set_user(link, guest);
	DL_APPEND(registry->guests, guest);
}

static void guest_free(struct registry *registry, struct guest *guest)
{
	DL_DELETE(registry->guests, guest);
	link_free(guest->link);
	free(guest);
}

static void on_guest_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", role_name(link_peer(link)->role)));
	guest_free(process_user(arg), link_user(link));
}

/* --- the role ------------------------------------------------------------------------------- */

static void publish_now(struct registry *registry)
{
	struct err err = {0};

	if (registry_publish(registry, &err) < 0) {
		log_error("catalogue.failed", err_text(&err));
		registry_publish_soon(registry);
	}
}

static void on_publish(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	publish_now(arg);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	registry_look_for_late(arg);
}

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	int r;

	if (!registry)
		return err_set(err, ERR_NO_MEMORY, "no memory for the registry");
	registry->process = process;
	process_set_user(process, registry);
	registry->publish = evtimer_new(process_base(process), on_publish, registry);
	registry->late = evtimer_new(process_base(process), on_late, registry);
	if (!registry->publish || !registry->late)
		return err_set(err, ERR_NO_MEMORY, "no memory for the registry");
	r = records_open(process_state_dir(process), &registry->records, err);
	if (r == 0)
		r = registry_set_config(registry, config, err);
	if (r == 0)
		registry_watch_late(registry, LATE_MS);
	/* the node has its catalogue before any server has started */
	if (r == 0)
		r = registry_publish(registry, err);
	return r;
}

static void configured(struct process *process, struct span config, uint64_t generation)
{
	struct registry *registry = process_user(process);
	struct err err = {0};

	(void)generation;
	if (registry_set_config(registry, config, &err) < 0)
		log_error("config.unreadable", err_text(&err));
	else
		publish_now(registry);
}

static void cleanup(struct process *process)
{
	struct registry *registry = process_user(process);

	if (!registry)
		return;
	while (registry->guests)
		guest_free(registry, registry->guests);
	registry_free_servers(registry);
	config_free(registry->config);
	records_close(registry->records);
	catalogue_free(registry->catalogue);
	if (registry->publish)
		event_free(registry->publish);
	if (registry->late)
		event_free(registry->late);
	free(registry);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_UPSTREAM_STATE] = on_upstream_state, [MSG_EXITED] = on_exited}};
static const struct link_handlers upstream_handlers = {
	.on = {[MSG_SERVER_STATE] = on_state, [MSG_SERVER_LIST] = on_list,
		[MSG_SERVER_ALIKE] = on_alike},
	.closed = on_guest_closed};
static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY] = registry_on_query}, .closed = on_guest_closed};

static const struct process_peer peers[] = {
	{ROLE_UPSTREAM, &upstream_handlers, guest_accepted},
	{ROLE_ADMIN, &admin_handlers, guest_accepted},
	{ROLE_MAX, NULL, NULL},
};

static const struct process_role registry_role = {
	.role = ROLE_REGISTRY,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.configured = configured,
	.cleanup = cleanup,
};

int main(int argc, char **argv)
{
	return process_main(&registry_role, argc, argv);
}
