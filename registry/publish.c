/* From what is known of the servers to the catalogue that all processes read. */
#include "clock.h"
#include "hash.h"
#include "json.h"
#include "log.h"
#include "merge.h"
#include "mcp.h"
#include "registry.h"

#include <stdlib.h>
#include <unistd.h>

/* Taken from the store at once. */
#define GENERATIONS (1u << 20)
#define NOTES_LOGGED_MAX 100u

/* Globs as merge wants them: NULL-terminated. */
static const char **globs(const struct config_list *list)
{
	const char **out = calloc(list->count + 1, sizeof(*out));

	for (size_t i = 0; out && i < list->count; i++)
		out[i] = list->items[i].p;
	return out;
}

static struct catalogue_server facts_of(const struct server *server)
{
	static const enum server_transport transports[] = {
		[CONFIG_TYPE_AUTO] = SERVER_HTTP,
		[CONFIG_TYPE_STDIO] = SERVER_STDIO,
		[CONFIG_TYPE_HTTP] = SERVER_HTTP,
		[CONFIG_TYPE_SSE] = SERVER_SSE,
		[CONFIG_TYPE_WS] = SERVER_WEBSOCKET,
	};
	const struct config_server *config = server->config;
	struct span facts = span_of(server->facts.p, server->facts.len);
	struct catalogue_server out = {
		.name = span_str(config->name),
		.upstream = span_str(config->name),
		.version = span_str(server->version),
		.capabilities = json_object_get(facts, SPAN_LIT("capabilities")),
		.info = json_object_get(facts, SPAN_LIT("serverInfo")),
		.instructions = span_of(server->instructions.p, server->instructions.len),
		.error = span_str(server->error),
		.alike = span_of((const char *)server->alike,
			server->n_alike * sizeof(*server->alike)),
		.late = registry_is_late(server, clock_ms()),
		.state = config->disabled ? SERVER_DISABLED : server->state,
		.isolation = config->isolation == CONFIG_ISOLATION_SESSION ? SERVER_PER_SESSION
									   : SERVER_SHARED,
		.transport = transports[config->type],
		.era = mcp_version_parse(span_str(server->version)) >= MCP_FIRST_MODERN
			       ? CATALOGUE_MODERN
			       : CATALOGUE_LEGACY,
		.call_timeout_ms = (uint32_t)config->timeout,
		.start_timeout_ms = (uint32_t)config->start_timeout,
		.idle_ms = (uint32_t)config->idle,
	};

	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		out.ttl_ms[kind] = server->ttl_ms[kind];
		out.cache_private[kind] = !server->cache_public[kind];
	}
	return out;
}

static uint64_t digest_notes(const struct registry *registry, const struct merge_result *result)
{
	uint64_t digest = 0;

	for (uint32_t i = 0; i < result->notes_len; i++) {
		const struct merge_note *note = &result->notes[i];
		const char *server = registry->servers[note->server].config->name;

		digest = hash64(&note->note, sizeof(note->note), digest);
		digest = hash64(&note->kind, sizeof(note->kind), digest);
		digest = hash64(server, strlen(server), digest);
		digest = hash64(note->name.p, note->name.len, digest);
	}
	return digest;
}

/* Once, not each time the catalogue changes elsewhere. */
static void log_notes(struct registry *registry, const struct merge_result *result)
{
	uint64_t digest = digest_notes(registry, result);

	if (digest == registry->notes_digest)
		return;
	registry->notes_digest = digest;
	for (uint32_t i = 0; i < result->notes_len && i < NOTES_LOGGED_MAX; i++) {
		const struct merge_note *note = &result->notes[i];

		log_warn("catalogue.note", note->detail,
			KV_STR("note", merge_note_word(note->note)),
			KV_STR("kind", catalogue_kind_name(note->kind)),
			KV_SPAN("name", note->name),
			KV_STR("server", registry->servers[note->server].config->name),
			KV_STR("other", registry->servers[note->other].config->name));
	}
	if (result->notes_len > NOTES_LOGGED_MAX)
		log_warn("catalogue.notes", "there are more of these",
			KV_INT("count",
				result->notes_len - NOTES_LOGGED_MAX + result->notes_dropped));
}

static int merge(
	struct registry *registry, uint64_t generation, struct merge_result **ret, struct err *err)
{
	size_t n = registry->config->server_count;
	struct merge_config config = {
		.naming =
			registry->config->naming == CONFIG_NAMING_NONE ? MERGE_NONE : MERGE_PREFIX,
		.tasks = true,
		.views = registry->config->views,
		.views_len = registry->config->view_count,
		.generation = generation,
	};
	struct merge_server *servers = calloc(n + 1, sizeof(*servers));
	int r = -ERR_NO_MEMORY;

	if (!servers)
		return err_set(err, ERR_NO_MEMORY, "no memory to merge %zu servers", n);
	for (size_t i = 0; i < n; i++) {
		servers[i].facts = facts_of(&registry->servers[i]);
		servers[i].include = globs(&registry->servers[i].config->tools_include);
		servers[i].exclude = globs(&registry->servers[i].config->tools_exclude);
		servers[i].rename = &registry->servers[i].config->tools_rename;
		if (servers[i].include && !servers[i].include[0]) {
			free((void *)(uintptr_t)servers[i].include);
			servers[i].include = NULL;
		}
		for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
			servers[i].lists[kind] = span_of(registry->servers[i].lists[kind].p,
				registry->servers[i].lists[kind].len);
	}
	r = merge_catalogue(&config, servers, (uint32_t)n, ret, err);
	for (size_t i = 0; i < n; i++) {
		free((void *)(uintptr_t)servers[i].include);
		free((void *)(uintptr_t)servers[i].exclude);
	}
	free(servers);
	return r;
}

/* Generations go on growing over restarts, whatever the clock says: readers compare them. */
static int next_generation(struct registry *registry, uint64_t *ret, struct err *err)
{
	uint64_t first = (uint64_t)clock_wall_s() << 20;
	int r;

	if (registry->generation + 1 >= registry->generation_end) {
		r = records_take_generations(registry->records, GENERATIONS, &first, err);
		if (r < 0)
			return r;
		registry->generation = first - 1;
		registry->generation_end = first + GENERATIONS;
	}
	*ret = registry->generation + 1;
	return 0;
}

static int hand_out(struct registry *registry, const struct merge_result *result,
	uint64_t generation, struct err *err)
{
	const struct msg_catalogue fields = {.generation = generation};
	int r = link_send(
		process_root(registry->process), MSG_CATALOGUE, 0, &fields, SPAN_NONE, &result->fd);

	if (r < 0)
		return err_set(
			err, (enum err_code) - r, "the catalogue cannot be handed to the root");
	registry->generation = generation;
	registry->published = true;
	return 0;
}

int registry_publish(struct registry *registry, struct err *err)
{
	uint64_t start_us = clock_us();
	struct merge_result *result = NULL;
	struct catalogue *catalogue = NULL;
	uint64_t generation, digest = 0;
	int r = next_generation(registry, &generation, err);

	if (r == 0)
		r = merge(registry, generation, &result, err);
	if (r == 0)
		r = catalogue_open(result->fd, &catalogue, err);
	if (r == 0)
		digest = catalogue_digest(catalogue);
	if (r == 0 && !(registry->published && digest == registry->digest)) {
		r = hand_out(registry, result, generation, err);
		log_notes(registry, result);
	}
	if (r == 0) {
		catalogue_free(registry->catalogue);
		registry->catalogue = catalogue;
		registry->digest = digest;
	} else {
		catalogue_free(catalogue);
	}
	merge_result_free(result);
	registry->publish_us = clock_us() - start_us;
	return r;
}

static void in_us(struct event *timer, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

	if (!evtimer_pending(timer, NULL))
		event_add(timer, &tv);
}

/* A large catalogue costs all who read it something, too: many changes in a row are few new ones. */
void registry_publish_soon(struct registry *registry)
{
	uint64_t share_us = PUBLISH_SHARE * registry->publish_us;

	in_us(registry->publish, share_us > PUBLISH_MS * 1000u ? share_us : PUBLISH_MS * 1000u);
}

void registry_watch_late(struct registry *registry, uint64_t ms)
{
	in_us(registry->late, ms * 1000u);
}

void registry_look_for_late(struct registry *registry)
{
	uint64_t now_ms = clock_ms(), nearest = UINT64_MAX;

	for (size_t i = 0; i < registry->config->server_count; i++) {
		const struct server *server = &registry->servers[i];
		uint64_t age = now_ms - server->since_ms;

		if (server->state == SERVER_STARTING && age < LATE_MS && LATE_MS - age < nearest)
			nearest = LATE_MS - age;
	}
	if (nearest != UINT64_MAX)
		registry_watch_late(registry, nearest);
	registry_publish_soon(registry);
}
