/* What is known of each server. */
#include "bounds.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "merge.h"
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>

/* --- bytes ---------------------------------------------------------------------------------- */

static struct span span_text(const struct text *text)
{
	return span_of(text->p, text->len);
}

/* Keep a copy. -ERR_NO_MEMORY: the old stays. */
static int keep(struct text *text, struct span bytes)
{
	char *copy = malloc(bytes.len + 1);

	if (!copy)
		return -ERR_NO_MEMORY;
	if (bytes.len)
		memcpy(copy, bytes.p, bytes.len);
	copy[bytes.len] = '\0';
	free(text->p);
	*text = (struct text){copy, bytes.len};
	return 0;
}

/* --- one server ----------------------------------------------------------------------------- */

struct server *registry_find(struct registry *registry, struct span name)
{
	for (size_t i = 0; registry->config && i < registry->config->server_count; i++)
		if (span_is(name, registry->servers[i].config->name))
			return &registry->servers[i];
	return NULL;
}

struct server *registry_find_own(
	struct registry *registry, struct span name, const struct link *link)
{
	struct server *server = registry_find(registry, name);

	if (span_is(name, link_peer(link)->name))
		return server;
	log_warn("server.not_its_own", "an upstream worker speaks for another server",
		KV_STR("worker", link_peer(link)->name), KV_SPAN("server", name));
	return NULL;
}

void registry_set_state(struct registry *registry, struct server *server, enum server_state state,
	struct span detail)
{
	char error[ERR_DETAIL_MAX];

	snprintf(error, sizeof(error), "%.*s", SPAN_ARG(detail));
	if (server->state == state && strcmp(server->error, error) == 0)
		return;
	if (server->state != state) {
		server->since_ms = clock_ms();
		LOG_AT(state == SERVER_DOWN || state == SERVER_FAILED ? LOG_WARN : LOG_INFO,
			"server.state", server_state_name(state),
			KV_STR("server", server->config->name), KV_STR("detail", error));
	}
	if (state == SERVER_STARTING)
		registry_watch_late(registry, LATE_MS);
	server->state = state;
	memcpy(server->error, error, sizeof(error));
	registry_publish_soon(registry);
}

/* 0, or why they are not taken. */
static int take_facts(struct server *server, struct span version, struct span facts)
{
	struct buf instructions;
	int r = json_check(facts, LIMIT_JSON_DEPTH, NULL);

	if (r == 0)
		r = keep(&server->facts, json_trim(facts));
	if (r < 0)
		return r;
	snprintf(server->version, sizeof(server->version), "%.*s", SPAN_ARG(version));
	buf_init(&instructions, MERGE_INSTRUCTIONS_MAX);
	json_string_append(json_object_get(span_text(&server->facts), SPAN_LIT("instructions")),
		&instructions);
	r = keep(&server->instructions, buf_span(&instructions));
	buf_free(&instructions);
	return r;
}

static void log_store_failed(const struct server *server, const struct err *err)
{
	log_error("registry.store_failed", err_text(err), KV_STR("server", server->config->name));
}

void registry_set_facts(
	struct registry *registry, struct server *server, struct span version, struct span facts)
{
	struct err err = {0};
	int r;

	if (server->facts.p && span_equal(json_trim(facts), span_text(&server->facts)) &&
		span_is(version, server->version))
		return;
	r = take_facts(server, version, facts);
	if (r < 0) {
		log_warn("server.bad_facts", err_reason(r), KV_STR("server", server->config->name));
		return;
	}
	if (records_put_facts(registry->records, server->config->name, span_str(server->version),
		    span_text(&server->facts), &err) < 0)
		log_store_failed(server, &err);
	registry_publish_soon(registry);
}

void registry_set_list(struct registry *registry, struct server *server, enum catalogue_kind kind,
	struct span list)
{
	struct text *place = &server->lists[kind];
	struct err err = {0};

	if (list.len > LIMIT_LIST) {
		log_warn("server.list_too_large", catalogue_kind_name(kind),
			KV_STR("server", server->config->name), KV_INT("bytes", list.len));
		list = SPAN_NONE;
	}
	if (place->p && span_equal(list, span_text(place)))
		return;
	if (keep(place, list) < 0) {
		log_error("registry.no_memory", "no memory for a list",
			KV_STR("server", server->config->name));
		return;
	}
	if (records_put_list(registry->records, server->config->name, kind, list, &err) < 0)
		log_store_failed(server, &err);
	registry_publish_soon(registry);
}

void registry_set_freshness(struct registry *registry, struct server *server,
	enum catalogue_kind kind, uint32_t ttl_ms, bool is_public)
{
	if (server->ttl_ms[kind] == ttl_ms && server->cache_public[kind] == is_public)
		return;
	server->ttl_ms[kind] = ttl_ms;
	server->cache_public[kind] = is_public;
	registry_publish_soon(registry);
}

/* --- whom it shows the same ------------------------------------------------------------------ */

static void drop_alike(struct server *server, unsigned n)
{
	server->n_alike--;
	memmove(&server->alike[n], &server->alike[n + 1],
		(server->n_alike - n) * sizeof(*server->alike));
}

void registry_set_alike(
	struct registry *registry, struct server *server, uint64_t client, uint64_t kinds)
{
	unsigned n = 0;

	while (n < server->n_alike && server->alike[n].client != client)
		n++;
	if (n < server->n_alike ? server->alike[n].kinds == kinds : kinds == 0)
		return;
	if (n < server->n_alike)
		drop_alike(server, n);
	else if (server->n_alike == CATALOGUE_ALIKE_MAX)
		drop_alike(server, 0);
	if (kinds)
		server->alike[server->n_alike++] = (struct catalogue_alike){client, kinds};
	registry_publish_soon(registry);
}

void registry_forget_alike(struct registry *registry, struct server *server)
{
	if (server->n_alike == 0)
		return;
	server->n_alike = 0;
	registry_publish_soon(registry);
}

/* --- time ------------------------------------------------------------------------------------ */

bool registry_is_late(const struct server *server, uint64_t now_ms)
{
	return server->state == SERVER_STARTING && now_ms - server->since_ms >= LATE_MS;
}

/* --- all of them ---------------------------------------------------------------------------- */

static void forget(struct server *server)
{
	free(server->facts.p);
	free(server->instructions.p);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		free(server->lists[kind].p);
}

void registry_free_servers(struct registry *registry)
{
	for (size_t i = 0; registry->config && i < registry->config->server_count; i++)
		forget(&registry->servers[i]);
	free(registry->servers);
	registry->servers = NULL;
}

static void restore(void *arg, enum catalogue_kind kind, struct span payload)
{
	struct server *server = arg;
	const char *end;

	if (kind < CATALOGUE_KIND_MAX) {
		keep(&server->lists[kind], payload);
		return;
	}
	end = memchr(payload.p, '\0', payload.len);
	if (end)
		take_facts(server, span_of(payload.p, (size_t)(end - payload.p)),
			span_of(end + 1, payload.len - (size_t)(end + 1 - payload.p)));
}

static bool is_configured(void *arg, struct span name)
{
	return registry_find(arg, name) != NULL;
}

/* What is stored of servers that are no longer configured. */
static void prune(struct registry *registry)
{
	struct err err = {0};

	if (records_prune(registry->records, is_configured, registry, &err) < 0)
		log_error("registry.store_failed", err_text(&err));
}

static int read_stored(struct registry *registry, struct server *server, struct err *err)
{
	server->since_ms = clock_ms();
	return records_read(registry->records, server->config->name, restore, server, err);
}

int registry_set_config(struct registry *registry, struct span json, struct err *err)
{
	struct config *config;
	struct server *servers;
	int r = config_read_json(json, &config, err);

	if (r < 0)
		return r;
	servers = calloc(config->server_count + 1, sizeof(*servers));
	if (!servers) {
		config_free(config);
		return err_set(
			err, ERR_NO_MEMORY, "no memory for %zu servers", config->server_count);
	}
	for (size_t i = 0; i < config->server_count; i++) {
		struct server *old = registry_find(registry, span_str(config->servers[i].name));

		if (old) {
			servers[i] = *old;
			*old = (struct server){.config = old->config};
		}
		servers[i].config = &config->servers[i];
		/* without it the node still works: the server tells it all again */
		if (!old && read_stored(registry, &servers[i], err) < 0)
			log_error("registry.read_failed", err_text(err));
	}
	registry_free_servers(registry);
	config_free(registry->config);
	registry->servers = servers;
	registry->config = config;
	prune(registry);
	return 0;
}
