/* gatehouse-registry: see registry.h. */
#include "bounds.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>

struct server *registry_find(struct registry *registry, struct span name)
{
	for (size_t i = 0; i < registry->config->server_count; i++)
		if (span_is(name, registry->servers[i].config->name))
			return &registry->servers[i];
	return NULL;
}

void registry_set_state(struct registry *registry, struct server *server, enum server_state state, struct span detail)
{
	char error[ERR_DETAIL_MAX];

	snprintf(error, sizeof(error), "%.*s", SPAN_ARG(detail));
	if (server->state == state && strcmp(server->error, error) == 0)
		return;
	if (server->state != state) {
		server->since_ms = clock_ms();
		LOG_AT(state == SERVER_DOWN || state == SERVER_FAILED ? LOG_WARN : LOG_INFO, "server.state",
			server_state_name(state), KV_STR("server", server->config->name), KV_STR("detail", error));
	}
	server->state = state;
	memcpy(server->error, error, sizeof(error));
	registry_publish_soon(registry);
}

int registry_keep(char **place, size_t *len, struct span bytes)
{
	char *copy = strndup(bytes.len ? bytes.p : "", bytes.len);

	if (!copy)
		return -ERR_NO_MEMORY;
	free(*place);
	*place = copy;
	if (len)
		*len = bytes.len;
	return 0;
}

void registry_set_facts(struct server *server, struct span facts)
{
	struct span instructions;
	struct buf text;

	if (json_check(facts, LIMIT_JSON_DEPTH, NULL) < 0 || registry_keep(&server->facts, NULL, json_trim(facts)) < 0)
		return;
	instructions = json_object_get(span_str(server->facts), SPAN_LIT("instructions"));
	buf_init(&text, 65536);
	json_string_append(instructions, &text);
	registry_keep(&server->instructions, NULL, buf_span(&text));
	buf_free(&text);
}

/* --- servers ------------------------------------------------------------------------------------------------------- */

static void forget_server(struct server *server)
{
	free(server->facts);
	free(server->instructions);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		free(server->lists[kind]);
}

static void restore(void *arg, enum catalogue_kind kind, struct span payload)
{
	struct server *server = arg;
	const char *end;

	if (kind < CATALOGUE_KIND_MAX) {
		registry_keep(&server->lists[kind], &server->list_len[kind], payload);
		return;
	}
	end = memchr(payload.p, '\0', payload.len);
	if (!end)
		return;
	snprintf(server->version, sizeof(server->version), "%s", payload.p);
	registry_set_facts(server, span_of(end + 1, payload.len - (size_t)(end + 1 - payload.p)));
}

/* The servers of a configuration: what is known of each goes on being known. */
static int take_config(struct registry *registry, struct span json, struct err *err)
{
	struct config *config;
	struct server *servers;
	int r = config_read_json(json, &config, err);

	if (r < 0)
		return r;
	servers = calloc(config->server_count + 1, sizeof(*servers));
	if (!servers) {
		config_free(config);
		return err_set(err, ERR_NO_MEMORY, "no memory for %zu servers", config->server_count);
	}
	for (size_t i = 0; i < config->server_count; i++) {
		struct server *old = registry->config ? registry_find(registry, span_str(config->servers[i].name)) : NULL;

		if (old) {
			servers[i] = *old;
			*old = (struct server){.config = old->config};
		} else {
			servers[i].since_ms = clock_ms();
			records_read(registry->records, config->servers[i].name, restore, &servers[i], NULL);
		}
		servers[i].config = &config->servers[i];
	}
	for (size_t i = 0; registry->config && i < registry->config->server_count; i++)
		forget_server(&registry->servers[i]);
	free(registry->servers);
	config_free(registry->config);
	registry->servers = servers;
	registry->config = config;
	return 0;
}

/* --- what upstream workers and the root say ------------------------------------------------------------------------- */

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_server_state *fields = msg->fields;
	struct server *server = registry_find(registry, fields->server);
	struct err err = {0};

	/* an upstream worker speaks for its own server */
	if (!server || !span_is(fields->server, link_peer(link)->name) || fields->state >= SERVER_STATE_MAX)
		return;
	if (msg->payload.len) {
		snprintf(server->version, sizeof(server->version), "%.*s", SPAN_ARG(fields->version));
		registry_set_facts(server, msg->payload);
		if (records_put_facts(registry->records, server->config->name, fields->version, msg->payload, &err) < 0)
			log_error("registry.store_failed", err_text(&err));
	}
	registry_set_state(registry, server, (enum server_state)fields->state, fields->detail);
	registry_publish_soon(registry);
}

static void on_list(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_server_list *fields = msg->fields;
	struct server *server = registry_find(registry, fields->server);
	enum catalogue_kind kind = (enum catalogue_kind)fields->kind;
	struct err err = {0};

	if (!server || !span_is(fields->server, link_peer(link)->name) || kind >= CATALOGUE_KIND_MAX)
		return;
	if (server->lists[kind] && span_equal(msg->payload, span_of(server->lists[kind], server->list_len[kind])))
		return;
	if (registry_keep(&server->lists[kind], &server->list_len[kind], msg->payload) < 0)
		return;
	if (records_put_list(registry->records, server->config->name, kind, msg->payload, &err) < 0)
		log_error("registry.store_failed", err_text(&err));
	registry_publish_soon(registry);
}

static void on_upstream_state(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_upstream_state *fields = msg->fields;
	struct server *server = registry_find(registry, fields->name);
	char detail[160];

	(void)link;
	if (!server || fields->state == 1)
		return;
	snprintf(detail, sizeof(detail), "its worker crashed too often; it is tried again in %u s",
		(unsigned)(fields->retry_ms / 1000));
	if (fields->state == 2)
		registry_set_state(registry, server, SERVER_FAILED, span_str(detail));
	else
		registry_set_state(registry, server, SERVER_STARTING, SPAN_NONE);
}

static void on_exited(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_exited *fields = msg->fields;
	struct server *server = fields->role == ROLE_UPSTREAM ? registry_find(registry, fields->name) : NULL;

	(void)link;
	if (server && server->state != SERVER_FAILED)
		registry_set_state(registry, server, SERVER_STARTING, SPAN_NONE);
}

/* --- the role ----------------------------------------------------------------------------------------------------------- */

static void on_publish(evutil_socket_t fd, short what, void *arg)
{
	struct err err = {0};

	(void)fd;
	(void)what;
	if (registry_publish(arg, &err) < 0)
		log_error("catalogue.failed", err_text(&err));
}

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	int r;

	if (!registry)
		return err_set(err, ERR_NO_MEMORY, "no memory for the registry");
	registry->process = process;
	/* generations go on growing over restarts: readers compare them */
	registry->generation = (uint64_t)clock_wall_s() << 20;
	process_set_user(process, registry);
	registry->publish = evtimer_new(process_base(process), on_publish, registry);
	if (!registry->publish)
		return err_set(err, ERR_NO_MEMORY, "no memory for the registry");
	r = records_open(process_state_dir(process), &registry->records, err);
	if (r == 0)
		r = take_config(registry, config, err);
	if (r == 0)
		r = registry_publish(registry, err);
	return r;
}

static void configured(struct process *process, struct span config, uint64_t generation)
{
	struct registry *registry = process_user(process);
	struct err err = {0};

	(void)generation;
	if (take_config(registry, config, &err) < 0)
		log_error("config.unreadable", err_text(&err));
	registry_publish_soon(registry);
}

static void cleanup(struct process *process)
{
	struct registry *registry = process_user(process);

	if (!registry)
		return;
	for (size_t i = 0; registry->config && i < registry->config->server_count; i++)
		forget_server(&registry->servers[i]);
	free(registry->servers);
	config_free(registry->config);
	records_close(registry->records);
	catalogue_free(registry->catalogue);
	if (registry->publish)
		event_free(registry->publish);
	free(registry);
}

static void on_peer_closed(struct link *link, int code, const char *why, void *arg)
{
	(void)arg;
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", role_name(link_peer(link)->role)));
	link_free(link);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_UPSTREAM_STATE] = on_upstream_state, [MSG_EXITED] = on_exited}};
static const struct link_handlers upstream_handlers = {
	.on = {[MSG_SERVER_STATE] = on_state, [MSG_SERVER_LIST] = on_list}, .closed = on_peer_closed};
static const struct link_handlers admin_handlers = {.on = {[MSG_QUERY] = registry_on_query}, .closed = on_peer_closed};

static const struct process_peer peers[] = {
	{ROLE_UPSTREAM, &upstream_handlers, NULL},
	{ROLE_ADMIN, &admin_handlers, NULL},
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

int main(void)
{
	return process_main(&registry_role);
}
