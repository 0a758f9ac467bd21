/* The catalogue of the servers that worker_scene.h plays. */
#include "worker_scene.h"
#include "merge.h"

#define TOOLS \
	"[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}," \
	"{\"name\":\"read\",\"inputSchema\":{\"type\":\"object\"},\"annotations\":{" \
	"\"readOnlyHint\":true}}," \
	"{\"name\":\"idem1\",\"inputSchema\":{\"type\":\"object\"}}," \
	"{\"name\":\"zoned\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"region\":{" \
	"\"type\":\"string\"," \
	"\"x-mcp-header\":\"Region\"},\"at\":{\"type\":\"object\",\"properties\":{\"zone\":{" \
	"\"type\":\"integer\"," \
	"\"x-mcp-header\":\"Zone\"}}}}}}%s]"

static int make(uint64_t generation, const char *more_tools, bool starting, struct span alike)
{
	struct merge_config config = {
		.naming = MERGE_PREFIX, .generation = generation, .tasks = true};
	struct merge_server servers[2] = {
		{.facts = {.name = SPAN_LIT("alpha"),
			 .upstream = SPAN_LIT("alpha"),
			 .state = starting ? SERVER_STARTING : SERVER_UP,
			 .call_timeout_ms = 20000,
			 .isolation = SERVER_SHARED}},
		{.facts = {.name = SPAN_LIT("beta"),
			 .upstream = SPAN_LIT("beta"),
			 .era = CATALOGUE_MODERN,
			 .state = SERVER_UP,
			 .call_timeout_ms = 20000,
			 .isolation = SERVER_PER_SESSION}},
	};
	struct config *views = scene_config();
	struct merge_result *result;
	struct err err = {0};
	static char tools[131072];
	int fd;

	snprintf(tools, sizeof(tools), TOOLS, more_tools);
	if (!starting) {
		servers[0].facts.capabilities =
			SPAN_LIT("{\"tools\":{\"listChanged\":true},\"prompts\":{},\"logging\":{},"
				 "\"resources\":{\"subscribe\":true},\"completions\":{},"
				 "\"tasks\":{\"list\":{}}}");
		servers[0].lists[CATALOGUE_TOOL] = span_str(tools);
	}
	for (int i = 0; i < 2; i++)
		memset(servers[i].facts.cache_private, true,
			sizeof(servers[i].facts.cache_private));
	servers[0].facts.instructions = SPAN_LIT("Use alpha.");
	servers[0].lists[CATALOGUE_PROMPT] =
		SPAN_LIT("[{\"name\":\"greet\",\"arguments\":[{\"name\":\"who\"}]}]");
	servers[0].lists[CATALOGUE_RESOURCE] =
		SPAN_LIT("[{\"uri\":\"file:///a.txt\",\"name\":\"a\"}]");
	servers[0].lists[CATALOGUE_TEMPLATE] =
		SPAN_LIT("[{\"uriTemplate\":\"test://t/{id}/data\",\"name\":\"t\"}]");
	servers[1].facts.capabilities =
		SPAN_LIT("{\"tools\":{},\"tasks\":{\"list\":{}},\"extensions\":{"
			 "\"io.modelcontextprotocol/tasks\":{}}}");
	servers[1].facts.alike = alike;
	servers[1].lists[CATALOGUE_TOOL] =
		SPAN_LIT("[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}]");
	config.views = views->views;
	config.views_len = views->view_count;
	ck_assert_int_eq(merge_catalogue(&config, servers, 2, &result, &err), 0);
	config_free(views);
	fd = result->fd;
	result->fd = -1;
	merge_result_free(result);
	return fd;
}

int scene_catalogue(uint64_t generation, const char *more_tools, bool starting)
{
	return make(generation, more_tools, starting, SPAN_NONE);
}

int scene_catalogue_alike(uint64_t generation, uint64_t client)
{
	const struct catalogue_alike alike = {client, 1u << CATALOGUE_TOOL};

	return make(generation, "", false, span_of((const char *)&alike, sizeof(alike)));
}
