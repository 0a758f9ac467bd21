#include "initialize.h"
#include "clock.h"
#include "json_write.h"
#include "worker.h"

/* How long `initialize` waits for servers that are starting,
 * so that the first list is not empty. */
#define STARTING_WAIT_MS 3000u

static void write_initialize(struct worker *worker, struct buf *out)
{
	const struct catalogue *catalogue = worker->catalogue;
	struct span instructions = catalogue ? catalogue_instructions(catalogue) : SPAN_NONE;

	buf_printf(out, "{\"protocolVersion\":\"%s\",\"capabilities\":",
		mcp_version_name(worker->session.version));
	buf_append_span(out,
		catalogue ? catalogue_capabilities(catalogue, CATALOGUE_LEGACY) : SPAN_LIT("{}"));
	buf_append_str(out, ",\"serverInfo\":{\"name\":\"gatehouse\",\"title\":\"Gatehouse\","
			    "\"version\":\"" GATEHOUSE_VERSION "\"}");
	if (instructions.len) {
		buf_append_str(out, ",\"instructions\":");
		json_write_string(out, instructions);
	}
	buf_append_char(out, '}');
}

/* There is no session then, and nothing this worker could still do. */
static void refuse(struct request *request, enum err_code code, const char *why)
{
	struct worker *worker = request->worker;

	worker->session.opened = false;
	worker->initialize = NULL;
	request_refuse(request, code, "%s", why);
	worker_end_session(worker, "not initialized", true);
}

static void on_saved(struct worker *worker, int code, void *arg)
{
	struct request *request = worker->initialize;
	struct buf out;

	(void)arg;
	worker->initialize = NULL;
	if (!request)
		return;
	if (code < 0) {
		refuse(request, ERR_STORE, "the session could not be stored: try again");
		return;
	}
	buf_init(&out, 4u * 1024 * 1024);
	write_initialize(worker, &out);
	if (request->exchange)
		request->exchange->opens_session = true;
	request_result(request, buf_span(&out));
	buf_free(&out);
}

static bool servers_settled(const struct worker *worker)
{
	struct catalogue_server server;

	if (!worker->catalogue)
		return false;
	for (uint32_t i = 0; i < catalogue_servers(worker->catalogue); i++) {
		catalogue_get_server(worker->catalogue, i, &server);
		if (server.state == SERVER_STARTING && server.capabilities.len == 0 && !server.late)
			return false;
	}
	return true;
}

void initialize_go_on(struct worker *worker, uint64_t now_ms)
{
	if (!worker->initialize_waits)
		return;
	if (!servers_settled(worker) && now_ms < worker->initialize_until_ms) {
		worker_tick_in(worker, worker->initialize_until_ms - now_ms);
		return;
	}
	worker->initialize_waits = false;
	worker->session.opened = true;
	session_save(worker, on_saved, NULL);
}

void initialize_request(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	struct span text = SPAN_NONE;
	char version[32];
	int r;

	if (worker->session.opened || worker->initialize) {
		request_refuse(request, ERR_INVALID_REQUEST, "this session is initialized already");
		return;
	}
	if (json_string_copy(json_object_get(params, SPAN_LIT("protocolVersion")), version,
		    sizeof(version), &text) < 0) {
		refuse(request, ERR_INVALID_PARAMS,
			"initialize: protocolVersion is missing or not a revision");
		return;
	}
	r = session_set_client(&worker->session, mcp_version_negotiate(text),
		json_object_get(params, SPAN_LIT("capabilities")),
		json_object_get(params, SPAN_LIT("clientInfo")));
	if (r < 0) {
		refuse(request, (enum err_code) - r,
			r == -ERR_TOO_LARGE ? "initialize: capabilities and clientInfo are too long"
					    : "no memory for the session");
		return;
	}
	worker->initialize = request;
	if (request->exchange)
		request->exchange->whole = true;
	worker->initialize_waits = true;
	worker->initialize_until_ms = clock_ms() + STARTING_WAIT_MS;
	initialize_go_on(worker, clock_ms());
}
