/* One HTTP exchange of the bridge. */
#include "bridge_private.h"
#include "clock.h"
#include "mcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#define CONNECT_S 10L
#define END_MS 2000L

/* --- what is said --------------------------------------------------------------------------- */

static void add_header(struct transfer *transfer, const char *name, struct span value)
{
	char line[4096];
	struct curl_slist *list;

	if (snprintf(line, sizeof(line), "%s: %.*s", name, SPAN_ARG(value)) >= (int)sizeof(line))
		return;
	list = curl_slist_append(transfer->headers, line);
	if (list)
		transfer->headers = list;
}

/* What the modern era repeats in headers. */
static void add_modern(struct transfer *transfer)
{
	char version[32];
	struct span text = SPAN_NONE, value;
	struct jsonrpc msg;
	struct buf name;

	if (jsonrpc_parse(buf_span(&transfer->body), &msg, NULL) < 0)
		return;
	value = json_path(msg.params, "_meta", MCP_META_PROTOCOL_VERSION, NULL);
	if (json_string_copy(value, version, sizeof(version), &text) == 0)
		add_header(transfer, "MCP-Protocol-Version", text);
	add_header(transfer, "Mcp-Method", msg.method);
	value = mcp_route_value(mcp_method_find(msg.method), msg.params);
	buf_init(&name, 8192);
	if (json_type(value) == JSON_STRING && json_string_append(value, &name) == 0) {
		struct buf safe;

		buf_init(&safe, 16384);
		if (mcp_header_encode(buf_span(&name), &safe) == 0)
			add_header(transfer, "Mcp-Name", buf_span(&safe));
		buf_free(&safe);
	}
	buf_free(&name);
}

static void add_headers(struct transfer *transfer)
{
	const struct bridge *bridge = transfer->bridge;
	bool post = transfer->kind != TRANSFER_RESUME && transfer->kind != TRANSFER_LISTEN &&
		    transfer->kind != TRANSFER_END;

	add_header(transfer, "Accept",
		post ? SPAN_LIT("application/json, text/event-stream")
		     : SPAN_LIT("text/event-stream"));
	if (post) {
		add_header(transfer, "Content-Type", SPAN_LIT("application/json"));
		add_header(transfer, "Expect", SPAN_NONE);
	}
	if (transfer->modern) {
		add_modern(transfer);
		return;
	}
	if (transfer->initialize)
		return;
	transfer->with_session = bridge->session[0] != '\0';
	transfer->epoch = bridge->epoch;
	if (bridge->session[0])
		add_header(transfer, "Mcp-Session-Id", span_str(bridge->session));
	if (bridge->version[0])
		add_header(transfer, "MCP-Protocol-Version", span_str(bridge->version));
	if (transfer->last_event[0])
		add_header(transfer, "Last-Event-ID", span_str(transfer->last_event));
}

/* --- what is heard -------------------------------------------------------------------------- */

static bool header_is(struct span line, const char *name, struct span *ret_value)
{
	size_t len = strlen(name);

	if (line.len <= len || line.p[len] != ':' || strncasecmp(line.p, name, len) != 0)
		return false;
	line = span_of(line.p + len + 1, line.len - len - 1);
	while (line.len && (*line.p == ' ' || *line.p == '\t'))
		line = span_of(line.p + 1, line.len - 1);
	while (line.len && (line.p[line.len - 1] == '\r' || line.p[line.len - 1] == '\n'))
		line.len--;
	*ret_value = line;
	return true;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	struct span value, line = span_of(data, size * n);

	if (header_is(line, "mcp-session-id", &value)) {
		snprintf(transfer->session, sizeof(transfer->session), "%.*s", SPAN_ARG(value));
	} else if (header_is(line, "content-type", &value) && value.len >= 17 &&
		   strncasecmp(value.p, "text/event-stream", 17) == 0 && !transfer->sse) {
		transfer->sse = sse_parser_new(BRIDGE_MESSAGE_MAX);
		transfer->broken |= !transfer->sse;
	}
	return size * n;
}

static void hear_events(struct transfer *transfer, struct span input)
{
	struct sse_event event;
	struct span id;
	int r;

	while ((r = sse_parser_next(transfer->sse, &input, &event, NULL)) == 1) {
		if (event.id.len) {
			snprintf(transfer->last_event, sizeof(transfer->last_event), "%.*s",
				SPAN_ARG(event.id));
			transfer->failures = 0;
		}
		if (event.data.len)
			bridge_deliver(transfer, event.data);
	}
	id = sse_parser_last_id(transfer->sse);
	if (r == 0 && id.len)
		snprintf(transfer->last_event, sizeof(transfer->last_event), "%.*s", SPAN_ARG(id));
	transfer->broken |= r < 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	struct span input = span_of(data, size * n);

	if (transfer->sse)
		hear_events(transfer, input);
	else
		transfer->broken |= buf_append_span(&transfer->answer, input) < 0;
	return transfer->broken ? 0 : size * n;
}

/* --- life ----------------------------------------------------------------------------------- */

static void set_verb(struct transfer *transfer)
{
	CURL *curl = transfer->curl;

	switch (transfer->kind) {
	case TRANSFER_RESUME:
	case TRANSFER_LISTEN:
		curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
		break;
	case TRANSFER_END:
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "DELETE");
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, END_MS);
		break;
	case TRANSFER_POST:
	case TRANSFER_RENEW:
	case TRANSFER_RENEWED:
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body.len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, transfer->body.data);
		/* on a connection that was used before, libcurl sends again by itself when it
		 * breaks without an answer: what may not run twice gets a fresh one */
		curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, transfer->safe ? 0L : 1L);
		break;
	}
}

int transfer_start(struct transfer *transfer)
{
	transfer->again_ms = 0;
	transfer->waits_session = false;
	/* the head of a stream that is taken up again names no session */
	if (transfer->kind != TRANSFER_RESUME)
		transfer->session[0] = '\0';
	if (!transfer->first_ms)
		transfer->first_ms = clock_ms();
	transfer->curl = curl_easy_init();
	if (!transfer->curl)
		return -ERR_NO_MEMORY;
	add_headers(transfer);
	target_apply(transfer->bridge->target, transfer->curl);
	curl_easy_setopt(transfer->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(transfer->curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(transfer->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(transfer->curl, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(transfer->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(transfer->curl, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(transfer->curl, CURLOPT_PRIVATE, transfer);
	set_verb(transfer);
	return curl_multi_add_handle(transfer->bridge->multi, transfer->curl) == CURLM_OK
		       ? 0
		       : -ERR_NO_MEMORY;
}

void transfer_stop(struct transfer *transfer)
{
	if (transfer->curl) {
		curl_multi_remove_handle(transfer->bridge->multi, transfer->curl);
		curl_easy_cleanup(transfer->curl);
		transfer->curl = NULL;
	}
	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
	sse_parser_free(transfer->sse);
	transfer->sse = NULL;
	buf_free(&transfer->answer);
	transfer->broken = false;
}

struct transfer *transfer_new(struct bridge *bridge, enum transfer_kind kind)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return NULL;
	transfer->bridge = bridge;
	transfer->kind = kind;
	buf_init(&transfer->body, BRIDGE_MESSAGE_MAX);
	buf_init(&transfer->answer, BRIDGE_MESSAGE_MAX);
	DL_APPEND(bridge->transfers, transfer);
	bridge->n_transfers++;
	return transfer;
}

void transfer_free(struct transfer *transfer)
{
	struct bridge *bridge = transfer->bridge;

	transfer_stop(transfer);
	if (bridge->barrier == transfer)
		bridge->barrier = NULL;
	DL_DELETE(bridge->transfers, transfer);
	bridge->n_transfers--;
	buf_free(&transfer->body);
	free(transfer);
}
