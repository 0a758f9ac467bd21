#include "clock.h"
#include "json.h"
#include "merge.h"
#include "log.h"
#include "mcp.h"
#include "registry.h"

#include <stdlib.h>
#include <unistd.h>

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
	struct span facts = span_str(server->facts);
	struct catalogue_server out = {
		.name = span_str(config->name),
		.upstream = span_str(config->name),
		.version = span_str(server->version),
		.capabilities = json_object_get(facts, SPAN_LIT("capabilities")),
		.info = json_object_get(facts, SPAN_LIT("serverInfo")),
		.instructions = span_str(server->instructions),
		.error = span_str(server->error),
		.state = config->disabled ? SERVER_DISABLED : server->state,
		.isolation = config->isolation == CONFIG_ISOLATION_SESSION ? SERVER_PER_SESSION : SERVER_SHARED,
		.transport = transports[config->type],
		.era = mcp_version_parse(span_str(server->version)) >= MCP_FIRST_MODERN ? CATALOGUE_MODERN : CATALOGUE_LEGACY,
		.call_timeout_ms = (uint32_t)config->timeout,
		.start_timeout_ms = (uint32_t)config->start_timeout,
		.idle_ms = (uint32_t)config->idle,
	};

	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		out.cache_private[kind] = true;
	return out;
}

static void log_notes(const struct registry *registry, const struct merge_result *result)
{
	for (uint32_t i = 0; i < result->notes_len; i++) {
		const struct merge_note *note = &result->notes[i];

		log_warn("catalogue.note", note->detail, KV_STR("note", merge_note_word(note->note)),
			KV_STR("kind", catalogue_kind_name(note->kind)), KV_SPAN("name", note->name),
			KV_STR("server", registry->servers[note->server].config->name),
			KV_STR("other", registry->servers[note->other].config->name));
	}
}

static int merge(struct registry *registry, struct merge_result **ret, struct err *err)
{
	size_t n = registry->config->server_count;
	struct merge_config config = {
		.naming = registry->config->naming == CONFIG_NAMING_NONE ? MERGE_NONE : MERGE_PREFIX,
		.tasks = true,
		.generation = registry->generation + 1,
	};
	struct merge_server *servers = calloc(n + 1, sizeof(*servers));
	int r = -ERR_NO_MEMORY;

	if (!servers)
		return err_set(err, ERR_NO_MEMORY, "no memory to merge %zu servers", n);
	for (size_t i = 0; i < n; i++) {
		servers[i].facts = facts_of(&registry->servers[i]);
		servers[i].include = globs(&registry->servers[i].config->tools_include);
		servers[i].exclude = globs(&registry->servers[i].config->tools_exclude);
		if (servers[i].include && !servers[i].include[0]) {
			free((void *)(uintptr_t)servers[i].include);
			servers[i].include = NULL;
		}
		for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
			servers[i].lists[kind] = span_of(registry->servers[i].lists[kind], registry->servers[i].list_len[kind]);
	}
	r = merge_catalogue(&config, servers, (uint32_t)n, ret, err);
	for (size_t i = 0; i < n; i++) {
		free((void *)(uintptr_t)servers[i].include);
		free((void *)(uintptr_t)servers[i].exclude);
	}
	free(servers);
	return r;
}

int registry_publish(struct registry *registry, struct err *err)
{
	struct merge_result *result;
	struct catalogue *catalogue;
	struct msg_catalogue fields;
	int r = merge(registry, &result, err);

	if (r < 0)
		return r;
	r = catalogue_open(result->fd, &catalogue, err);
	if (r == 0) {
		catalogue_free(registry->catalogue);
		registry->catalogue = catalogue;
		fields.generation = ++registry->generation;
		r = link_send(process_root(registry->process), MSG_CATALOGUE, 0, &fields, SPAN_NONE, &result->fd);
		if (r < 0)
			err_set(err, (enum err_code)-r, "the catalogue cannot be handed to the root");
		log_notes(registry, result);
	}
	registry->published_ms = clock_ms();
	merge_result_free(result);
	return r;
}

void registry_publish_soon(struct registry *registry)
{
	const struct timeval tv = {0, 100000};

	if (!evtimer_pending(registry->publish, NULL))
		event_add(registry->publish, &tv);
}
