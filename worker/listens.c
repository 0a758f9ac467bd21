#include "listens.h"
#include "json_write.h"
#include "methods.h"
#include "modern.h"
#include "worker.h"

#include <stdlib.h>
#include <utlist.h>

#define URI_PARAMS_MAX (4u * CATALOGUE_URI_MAX)

struct wanted {
	char *uri; /* decoded */
	size_t len;
};

struct listen {
	struct request *request;
	bool lists[3]; /* as in list_notes */
	struct wanted uris[LISTEN_URIS_MAX];
	size_t n_uris;
};

static const struct {
	enum mcp_method note;
	const char *key, *capability;
} list_notes[] = {
	{MCP_TOOLS_CHANGED, "toolsListChanged", "tools"},
	{MCP_PROMPTS_CHANGED, "promptsListChanged", "prompts"},
	{MCP_RESOURCES_CHANGED, "resourcesListChanged", "resources"},
};
#define LIST_NOTES (sizeof(list_notes) / sizeof(*list_notes))

/* --- subscriptions at servers ------------------------------------------------------------ */

static bool hears_of(const struct listen *listen, struct span uri)
{
	for (size_t i = 0; i < listen->n_uris; i++)
		if (span_equal(span_of(listen->uris[i].uri, listen->uris[i].len), uri))
			return true;
	return false;
}

static unsigned count_listeners(const struct worker *worker, struct span uri)
{
	const struct request *request;
	unsigned n = 0;

	DL_FOREACH(worker->requests, request)
	{
		if (request->listen && hears_of(request->listen, uri))
			n++;
	}
	return n;
}

/* Nothing depends on the answer: who cannot subscribe hears nothing. */
static bool on_told(struct request *request, const struct reply *reply, void *arg)
{
	(void)request;
	(void)reply;
	(void)arg;
	return false;
}

static void tell_server(
	struct worker *worker, enum mcp_method method, struct span server, struct span uri)
{
	struct request *request = request_new_own(worker, method, on_told, NULL);
	struct buf params;

	if (!request)
		return;
	buf_init(&params, URI_PARAMS_MAX + 64);
	buf_append_str(&params, "{\"uri\":");
	json_write_string(&params, uri);
	if (buf_append_char(&params, '}') < 0 || server_call(worker, server, request, SPAN_NONE,
							  buf_span(&params), 0) < 0)
		request_free(request);
	buf_free(&params);
}

/* The server that has it and can tell of it. */
static bool find_server(struct worker *worker, struct span uri, struct catalogue_server *ret)
{
	uint32_t index;

	if (!method_find_resource(worker, uri, &index))
		return false;
	catalogue_get_server(worker->catalogue, index, ret);
	return mcp_capable(ret->capabilities, "resources.subscribe");
}

static bool add_uri(struct listen *listen, struct span uri)
{
	struct worker *worker = listen->request->worker;
	struct session_marks *marks = &worker->session.subscriptions;
	struct wanted *wanted = &listen->uris[listen->n_uris];
	struct catalogue_server server;
	char name[LIMIT_SERVER_NAME + 1];

	if (listen->n_uris == LISTEN_URIS_MAX || !session_mark_fits(marks, uri) ||
		hears_of(listen, uri) || !find_server(worker, uri, &server))
		return false;
	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(server.name));
	wanted->uri = strndup(uri.p, uri.len);
	wanted->len = uri.len;
	if (!wanted->uri || session_mark_add(marks, uri, name) < 0) {
		free(wanted->uri);
		return false;
	}
	listen->n_uris++;
	if (count_listeners(worker, uri) == 1)
		tell_server(worker, MCP_RESOURCES_SUBSCRIBE, span_str(name), uri);
	return true;
}

static void drop_uri(struct worker *worker, struct span uri)
{
	struct session_marks *marks = &worker->session.subscriptions;
	const struct session_mark *mark = session_mark_find(marks, uri);
	char name[LIMIT_SERVER_NAME + 1];

	if (!mark || count_listeners(worker, uri) > 0)
		return;
	memcpy(name, mark->server, sizeof(name));
	session_mark_remove(marks, uri);
	if (!worker->ending && !worker->session_over)
		tell_server(worker, MCP_RESOURCES_UNSUBSCRIBE, span_str(name), uri);
}

void listen_free(struct request *request)
{
	struct listen *listen = request->listen;

	if (!listen)
		return;
	request->listen = NULL;
	for (size_t i = 0; i < listen->n_uris; i++) {
		drop_uri(request->worker, span_of(listen->uris[i].uri, listen->uris[i].len));
		free(listen->uris[i].uri);
	}
	free(listen);
}

/* --- messages ---------------------------------------------------------------------------- */

static void write_id(const struct listen *listen, struct buf *out)
{
	buf_append_str(out, "\"" MCP_META_SUBSCRIPTION_ID "\":");
	buf_append_span(out, listen->request->id);
}

/* params as the server wrote them, with the id of this stream. */
static int write_params(const struct listen *listen, struct span params, struct buf *out)
{
	const struct span key = SPAN_LIT(MCP_META_SUBSCRIPTION_ID);
	struct span meta = json_object_get(params, SPAN_LIT("_meta"));
	bool has_meta = json_type(meta) == JSON_OBJECT;
	struct json_edit edits[8];
	struct buf members;
	size_t n = 0;
	int r;

	buf_init(&members, 1024);
	if (!has_meta)
		buf_append_str(&members, "\"_meta\":{");
	write_id(listen, &members);
	if (!has_meta)
		buf_append_char(&members, '}');
	if (!params.len)
		params = SPAN_LIT("{}");
	r = json_edit_object(has_meta ? meta : params, &key, has_meta ? 1 : 0, buf_span(&members),
		edits, sizeof(edits) / sizeof(*edits), &n);
	if (r == 0)
		r = json_splice(params, edits, n, out);
	buf_free(&members);
	return r;
}

static void tell(struct listen *listen, enum mcp_method note, struct span params)
{
	struct buf inner, out;

	buf_init(&inner, params.len + 1024);
	buf_init(&out, params.len + 2048);
	if (write_params(listen, params, &inner) == 0 &&
		jsonrpc_write_notification(
			&out, mcp_method_info(note)->name, buf_span(&inner)) == 0)
		request_note(listen->request, buf_span(&out), false);
	buf_free(&inner);
	buf_free(&out);
}

void listens_changed(struct worker *worker, enum mcp_method note)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(worker->requests, request, next)
	{
		for (size_t i = 0; request->listen && i < LIST_NOTES; i++)
			if (list_notes[i].note == note && request->listen->lists[i])
				tell(request->listen, note, SPAN_NONE);
	}
}

void listens_updated(struct worker *worker, struct span params)
{
	struct request *request, *next;
	struct buf uri;

	buf_init(&uri, CATALOGUE_URI_MAX);
	if (json_string_append(json_object_get(params, SPAN_LIT("uri")), &uri) == 0) {
		DL_FOREACH_SAFE(worker->requests, request, next)
		{
			if (request->listen && hears_of(request->listen, buf_span(&uri)))
				tell(request->listen, MCP_RESOURCE_UPDATED, params);
		}
	}
	buf_free(&uri);
}

/* --- the stream begins and ends ---------------------------------------------------------- */

static void take_filter(struct listen *listen, struct span filter, struct buf *uris)
{
	struct worker *worker = listen->request->worker;
	struct span can = catalogue_capabilities(worker->catalogue, CATALOGUE_MODERN), value;
	struct json_iter iter =
		json_iter(json_object_get(filter, SPAN_LIT("resourceSubscriptions")));
	struct buf uri;

	for (size_t i = 0; i < LIST_NOTES; i++)
		listen->lists[i] =
			span_is(json_object_get(filter, span_str(list_notes[i].key)), "true") &&
			mcp_capable(can, list_notes[i].capability);
	buf_init(&uri, CATALOGUE_URI_MAX);
	while (json_iter_element(&iter, &value)) {
		buf_clear(&uri);
		if (json_string_append(value, &uri) < 0 || !add_uri(listen, buf_span(&uri)))
			continue;
		buf_append_str(uris, uris->len ? "," : "");
		buf_append_span(uris, value);
	}
	buf_free(&uri);
}

/* True: something was granted. */
static bool acknowledge(struct listen *listen, struct span uris)
{
	bool any = false;
	struct buf params;

	buf_init(&params, uris.len + 1024);
	buf_append_str(&params, "{\"notifications\":{");
	for (size_t i = 0; i < LIST_NOTES; i++) {
		if (!listen->lists[i])
			continue;
		buf_printf(&params, "%s\"%s\":true", any ? "," : "", list_notes[i].key);
		any = true;
	}
	if (uris.len) {
		buf_append_str(&params,
			any ? ",\"resourceSubscriptions\":[" : "\"resourceSubscriptions\":[");
		buf_append_span(&params, uris);
		buf_append_char(&params, ']');
		any = true;
	}
	if (buf_append_str(&params, "}}") == 0)
		tell(listen, MCP_SUBSCRIPTIONS_ACKNOWLEDGED, buf_span(&params));
	buf_free(&params);
	return any;
}

static void end(struct request *request)
{
	struct buf result;

	buf_init(&result, 2048);
	buf_append_str(&result, "{\"resultType\":\"complete\",\"_meta\":{");
	write_id(request->listen, &result);
	buf_append_str(&result, "}}");
	request_result(request, buf_span(&result));
	buf_free(&result);
}

static unsigned count(const struct worker *worker)
{
	const struct request *request;
	unsigned n = 0;

	DL_FOREACH(worker->requests, request)
	n += request->listen != NULL;
	return n;
}

void listen_request(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	struct span filter = json_object_get(params, SPAN_LIT("notifications"));
	struct listen *listen;
	struct buf uris;

	if (json_type(filter) != JSON_OBJECT) {
		request_refuse(request, ERR_INVALID_PARAMS,
			"subscriptions/listen: notifications is missing, or not an object");
		return;
	}
	if (json_object_get(filter, SPAN_LIT("taskIds")).len &&
		!modern_declares(params, MCP_EXTENSION_TASKS)) {
		modern_refuse_undeclared(request, MCP_EXTENSION_TASKS);
		return;
	}
	if (!(request->exchange->accept & EXCHANGE_ACCEPTS_SSE)) {
		request_refuse(request, ERR_NOT_ACCEPTABLE,
			"subscriptions/listen: Accept must contain text/event-stream");
		return;
	}
	if (!worker->catalogue || count(worker) >= LISTENS_MAX) {
		request_refuse(request, ERR_TOO_MANY,
			"too many streams of subscriptions are open: close one of them");
		return;
	}
	listen = calloc(1, sizeof(*listen));
	if (!listen) {
		request_refuse(request, ERR_NO_MEMORY, "no memory for a stream of subscriptions");
		return;
	}
	listen->request = request;
	request->listen = listen;
	/* as many as may be wanted, each as long as it may be written */
	buf_init(&uris, LISTEN_URIS_MAX * 8u * CATALOGUE_URI_MAX);
	take_filter(listen, filter, &uris);
	/* the first message on it makes the answer a stream */
	if (!acknowledge(listen, buf_span(&uris)))
		end(request);
	buf_free(&uris);
}

void listens_end(struct worker *worker)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(worker->requests, request, next)
	{
		if (request->listen)
			end(request);
	}
}
