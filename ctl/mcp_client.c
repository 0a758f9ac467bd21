#include "mcp_client.h"
#include "clock.h"
#include "json.h"
#include "jsonrpc.h"
#include "bounds.h"
#include "sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REVISION "2025-11-25"

struct mcp_client {
	CURL *curl;
	struct target target;
	char session[LIMIT_SESSION_ID + 64];
	bool own;         /* the session was opened here */
	char version[16]; /* negotiated; empty before, and in another client's session */
	uint64_t next_id;
	/* of the exchange under way */
	uint64_t id;
	struct mcp_answer *answer;
	struct sse_parser *sse; /* NULL: the answer is JSON */
	bool done, broken;
};

/* --- receiving ------------------------------------------------------------------------------ */

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
	struct mcp_client *client = arg;
	struct span value, line = span_of(data, size * n);

	if (header_is(line, "mcp-session-id", &value) && client->own)
		snprintf(client->session, sizeof(client->session), "%.*s", SPAN_ARG(value));
	else if (header_is(line, "server-timing", &value) && client->answer)
		snprintf(client->answer->timing, sizeof(client->answer->timing), "%.*s",
			SPAN_ARG(value));
	else if (header_is(line, "content-type", &value) && value.len >= 17 &&
		 strncasecmp(value.p, "text/event-stream", 17) == 0 && !client->sse)
		client->sse = sse_parser_new(MCP_CLIENT_ANSWER_MAX);
	return size * n;
}

static bool is_answer(const struct mcp_client *client, struct span data)
{
	struct jsonrpc msg;
	uint64_t id;

	return jsonrpc_parse(data, &msg, NULL) == 0 && jsonrpc_is_reply(&msg) &&
	       jsonrpc_id_uint64(msg.id, &id) == 0 && id == client->id;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct mcp_client *client = arg;
	struct span input = span_of(data, size * n);
	struct sse_event event;

	if (!client->answer)
		return size * n;
	if (!client->sse) {
		client->broken |= buf_append_span(&client->answer->message, input) < 0;
		return client->broken ? 0 : size * n;
	}
	while (sse_parser_next(client->sse, &input, &event, NULL) == 1) {
		if (!is_answer(client, event.data))
			continue;
		client->broken |= buf_append_span(&client->answer->message, event.data) < 0;
		client->done = true;
		return 0; /* the answer is here, whatever else the stream has */
	}
	return size * n;
}

/* --- sending -------------------------------------------------------------------------------- */

static struct curl_slist *headers_of(const struct mcp_client *client)
{
	char line[LIMIT_SESSION_ID + 96];
	struct curl_slist *list = NULL;

	list = curl_slist_append(list, "Content-Type: application/json");
	list = curl_slist_append(list, "Accept: application/json, text/event-stream");
	list = curl_slist_append(list, "Expect:");
	if (client->session[0]) {
		snprintf(line, sizeof(line), "Mcp-Session-Id: %s", client->session);
		list = curl_slist_append(list, line);
	}
	if (client->version[0]) {
		snprintf(line, sizeof(line), "MCP-Protocol-Version: %s", client->version);
		list = curl_slist_append(list, line);
	}
	return list;
}

static int transport_failed(const struct mcp_client *client, CURLcode code)
{
	const char *where =
		client->target.unix_path[0] ? client->target.unix_path : client->target.url;

	if (code == CURLE_OPERATION_TIMEDOUT)
		return ctl_fail(EXIT_TIMEOUT, "a longer --timeout SECONDS, or gatehouse servers",
			"no answer in time");
	if (code == CURLE_COULDNT_CONNECT)
		return ctl_fail(EXIT_NO_NODE, "gatehouse status", "no node listens at %s", where);
	return ctl_fail(EXIT_NODE, "gatehouse status", "%s: %s", where, curl_easy_strerror(code));
}

/* POST body; answer NULL for a notification. */
static int post(struct mcp_client *client, const struct buf *body, struct mcp_answer *answer)
{
	struct curl_slist *headers = headers_of(client);
	uint64_t began = clock_us();
	CURLcode code;

	client->answer = answer;
	client->done = client->broken = false;
	curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, NULL);
	curl_easy_setopt(client->curl, CURLOPT_POST, 1L);
	curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
	curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body->data);
	curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers);
	code = curl_easy_perform(client->curl);
	curl_slist_free_all(headers);
	sse_parser_free(client->sse);
	client->sse = NULL;
	client->answer = NULL;
	if (answer)
		answer->total_us = (int64_t)(clock_us() - began);
	if (client->broken)
		return ctl_fail(EXIT_NODE, NULL, "the answer is longer than %u bytes",
			MCP_CLIENT_ANSWER_MAX);
	return code == CURLE_OK || client->done ? EXIT_DONE : transport_failed(client, code);
}

static int read_answer(const struct mcp_client *client, struct mcp_answer *answer)
{
	struct jsonrpc msg;
	long status = 0;

	curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (jsonrpc_parse(buf_span(&answer->message), &msg, NULL) < 0 || !jsonrpc_is_reply(&msg))
		return ctl_fail(status == 404 ? EXIT_NOT_FOUND : EXIT_NODE, NULL,
			"%s answered %ld, and not with JSON-RPC", client->target.url, status);
	answer->result = msg.result;
	answer->error = msg.error;
	return EXIT_DONE;
}

int mcp_client_request(struct mcp_client *client, const char *method, struct span params,
	struct mcp_answer *ret_answer)
{
	struct mcp_answer answer = {0};
	struct buf body;
	int status;

	buf_init(&body, MCP_CLIENT_ANSWER_MAX);
	buf_init(&answer.message, MCP_CLIENT_ANSWER_MAX);
	client->id = ++client->next_id;
	/* on a connection that was used before, libcurl sends again by itself when it breaks
	 * without an answer: a call gets a fresh one */
	curl_easy_setopt(
		client->curl, CURLOPT_FRESH_CONNECT, strcmp(method, "tools/call") == 0 ? 1L : 0L);
	status = jsonrpc_write_request(&body, client->id, span_str(method), params) < 0
			 ? ctl_fail(EXIT_NODE, NULL, "the request is too long")
			 : post(client, &body, &answer);
	buf_free(&body);
	if (status == EXIT_DONE)
		status = read_answer(client, &answer);
	if (status != EXIT_DONE) {
		mcp_answer_free(&answer);
		return status;
	}
	*ret_answer = answer;
	return EXIT_DONE;
}

void mcp_answer_free(struct mcp_answer *answer)
{
	buf_free(&answer->message);
}

int mcp_client_fail(const struct mcp_answer *answer)
{
	struct span message = SPAN_NONE, data = SPAN_NONE, text = SPAN_NONE;
	char room[2048];
	int64_t code = 0;
	int status = EXIT_NODE;

	jsonrpc_error_get(answer->error, &code, &message, &data);
	json_string_copy(message, room, sizeof(room), &text);
	if (json_equal_string(json_object_get(data, SPAN_LIT("reason")), SPAN_LIT("timeout")))
		status = EXIT_TIMEOUT;
	else if (json_equal_string(
			 json_object_get(data, SPAN_LIT("reason")), SPAN_LIT("not_found")))
		status = EXIT_NOT_FOUND;
	return ctl_fail(status, status == EXIT_NOT_FOUND ? "gatehouse tools" : "gatehouse servers",
		"%.*s (%lld)", SPAN_ARG(text), (long long)code);
}

/* --- a session ------------------------------------------------------------------------------ */

static int open_session(struct mcp_client *client)
{
	static const char hello[] =
		"{\"protocolVersion\":\"" REVISION "\",\"capabilities\":{},"
		"\"clientInfo\":{\"name\":\"gatehouse\",\"version\":\"" GATEHOUSE_VERSION "\"}}";
	struct mcp_answer answer;
	struct span version = SPAN_NONE;
	struct buf body;
	int status = mcp_client_request(client, "initialize", span_str(hello), &answer);

	if (status != EXIT_DONE)
		return status;
	if (answer.error.len) {
		status = mcp_client_fail(&answer);
	} else if (json_string_copy(json_object_get(answer.result, SPAN_LIT("protocolVersion")),
			   client->version, sizeof(client->version) - 1, &version) == 0) {
		client->version[version.len] = '\0';
	}
	mcp_answer_free(&answer);
	if (status != EXIT_DONE)
		return status;
	buf_init(&body, 4096);
	jsonrpc_write_notification(&body, SPAN_LIT("notifications/initialized"), SPAN_NONE);
	status = post(client, &body, NULL);
	buf_free(&body);
	return status;
}

static void end_session(struct mcp_client *client)
{
	struct curl_slist *headers = headers_of(client);

	curl_easy_setopt(client->curl, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, "DELETE");
	curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_perform(client->curl);
	curl_slist_free_all(headers);
}

int mcp_client_open(const struct target *target, const char *session, long timeout_ms,
	struct mcp_client **ret_client)
{
	struct mcp_client *client = calloc(1, sizeof(*client));
	int status = EXIT_DONE;

	if (!client || !(client->curl = curl_easy_init())) {
		free(client);
		return ctl_fail(EXIT_NODE, NULL, "out of memory");
	}
	client->target = *target;
	client->own = !session;
	snprintf(client->session, sizeof(client->session), "%s", session ? session : "");
	target_apply(target, client->curl);
	curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(client->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(client->curl, CURLOPT_HEADERDATA, client);
	curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, client);
	if (client->own)
		status = open_session(client);
	if (status != EXIT_DONE) {
		mcp_client_close(client);
		return status;
	}
	*ret_client = client;
	return EXIT_DONE;
}

void mcp_client_close(struct mcp_client *client)
{
	if (!client)
		return;
	if (client->own && client->session[0])
		end_session(client);
	curl_easy_cleanup(client->curl);
	free(client);
}
