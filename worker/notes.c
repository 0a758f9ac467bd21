#include "notes.h"
#include "listens.h"
#include "lists.h"
#include "own_lists.h"
#include "points.h"
#include "worker.h"

/* Is a log message below what was asked for? */
static bool too_quiet(enum mcp_log_level wanted, struct span params)
{
	enum mcp_log_level level = mcp_log_level_parse(json_object_get(params, SPAN_LIT("level")));

	return level != MCP_LOG_NONE && level < wanted;
}

/* Without a level the legacy era leaves the choice to the server;
 * the modern one wants none then. */
static bool is_wanted(const struct request *request, struct span params)
{
	if (request->era == MCP_MODERN)
		return request->log_level != MCP_LOG_NONE && !too_quiet(request->log_level, params);
	return !too_quiet(request->worker->session.log_level, params);
}

#define PROGRESS_HEAD "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":"

/* The client gets the token it gave, value and type. */
static void note_progress(struct request *request, struct span params)
{
	struct span token = json_object_get(params, SPAN_LIT("progressToken"));
	struct json_edit edit = {.at = token, .with = POINT(TOKENS) ? request->token : token};
	struct buf out;

	if (!token.len || !request->token.len)
		return;
	buf_init(&out, params.len + request->token.len + sizeof(PROGRESS_HEAD) + 1);
	buf_append_str(&out, PROGRESS_HEAD);
	if (json_splice(params, &edit, 1, &out) == 0 && buf_append_char(&out, '}') == 0)
		request_note(request, buf_span(&out), true);
	buf_free(&out);
}

void notes_of_call(struct request *request, struct span method, struct span params)
{
	enum mcp_method which = mcp_method_find(method);
	struct buf out;

	if (which == MCP_PROGRESS) {
		note_progress(request, params);
		return;
	}
	if (which == MCP_MESSAGE && !is_wanted(request, params))
		return;
	buf_init(&out, params.len + 512);
	if (jsonrpc_write_notification(&out, method, params) == 0)
		request_note(request, buf_span(&out), which == MCP_MESSAGE);
	buf_free(&out);
}

static void tell_client(
	struct worker *worker, struct span method, struct span params, bool droppable)
{
	struct buf out;

	if (worker->session.era == MCP_MODERN || !worker->session.opened)
		return;
	buf_init(&out, params.len + 512);
	if (jsonrpc_write_notification(&out, method, params) == 0)
		stream_send(
			&worker->streams, &worker->streams.standalone, buf_span(&out), droppable);
	buf_free(&out);
}

static bool is_subscribed(const struct worker *worker, struct span params)
{
	struct buf uri;
	bool found;

	buf_init(&uri, CATALOGUE_URI_MAX);
	json_string_append(json_object_get(params, SPAN_LIT("uri")), &uri);
	found = session_mark_find(&worker->session.subscriptions, buf_span(&uri)) != NULL;
	buf_free(&uri);
	return found;
}

/* --- lists ----------------------------------------------------------------------------------- */

/* No client can make use of more. */
#define CHANGES_PAUSE_MS 1000u

static const struct {
	enum catalogue_kind kind;
	enum mcp_method note;
} changes[NOTES_CHANGES] = {
	{CATALOGUE_TOOL, MCP_TOOLS_CHANGED},
	{CATALOGUE_PROMPT, MCP_PROMPTS_CHANGED},
	{CATALOGUE_RESOURCE, MCP_RESOURCES_CHANGED},
};

static void tell_change(struct worker *worker, unsigned which, uint64_t now_ms)
{
	enum mcp_method note = changes[which].note;

	worker->changes[which] = (struct list_change){.told_ms = now_ms};
	listens_changed(worker, note);
	if (worker->session.initialized)
		tell_client(worker, mcp_method_info(note)->name, SPAN_NONE, false);
}

void notes_changed(struct worker *worker, enum mcp_method note)
{
	unsigned which = 0;
	uint64_t now_ms = worker_now(worker);

	while (which < NOTES_CHANGES && changes[which].note != note)
		which++;
	if (which == NOTES_CHANGES)
		return;
	worker->changes[which].due = true;
	notes_tick(worker, now_ms);
}

void notes_tick(struct worker *worker, uint64_t now_ms)
{
	for (unsigned which = 0; which < NOTES_CHANGES; which++) {
		struct list_change *change = &worker->changes[which];
		uint64_t next_ms = change->told_ms ? change->told_ms + CHANGES_PAUSE_MS : 0;

		if (!change->due)
			continue;
		if (now_ms >= next_ms)
			tell_change(worker, which, now_ms);
		else
			worker_tick_in(worker, next_ms - now_ms);
	}
}

static bool is_change(enum mcp_method note)
{
	return note == MCP_TOOLS_CHANGED || note == MCP_PROMPTS_CHANGED ||
	       note == MCP_RESOURCES_CHANGED;
}

void notes_of_server(
	struct worker *worker, struct server *server, struct span method, struct span params)
{
	enum mcp_method which = mcp_method_find(method);
	uint32_t index;

	/* one that was taken out of the session's view says no more */
	if (worker->session.view[0] && worker->catalogue &&
		catalogue_find_server(worker->catalogue, span_str(server->name), &index) < 0)
		return;
	if (worker->session.era == MCP_MODERN) {
		if (which == MCP_RESOURCE_UPDATED)
			listens_updated(worker, params);
		else
			notes_changed(worker, which);
		return;
	}
	if (is_change(which)) {
		own_lists_outdated(server, which);
		notes_changed(worker, which);
		return;
	}
	if ((which == MCP_MESSAGE && too_quiet(worker->session.log_level, params)) ||
		(which == MCP_RESOURCE_UPDATED && !is_subscribed(worker, params)))
		return;
	tell_client(worker, method, params, which == MCP_MESSAGE);
}

void notes_catalogue_changed(struct worker *worker, const struct catalogue *before)
{
	if (!before)
		return;
	own_lists_catalogue_changed(worker, before);
	for (size_t i = 0; i < NOTES_CHANGES; i++)
		if (list_differs(before, worker->catalogue, changes[i].kind) ||
			(changes[i].kind == CATALOGUE_RESOURCE &&
				list_differs(before, worker->catalogue, CATALOGUE_TEMPLATE)))
			notes_changed(worker, changes[i].note);
}
