#include "bridge_private.h"
#include "clock.h"
#include "mcp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define READ_SIZE 65536u
#define READ_AHEAD (1024u * 1024)  /* read while a message waits for its turn */
#define CONNECT_PATIENCE_MS 10000u /* a node that restarts is waited for so long */
#define FAILURES_MAX 10u           /* attempts in a row to take up a stream */
#define FINISH_MS 10000u           /* for what is under way when input ends */
#define POLL_MS 1000

/* --- the session ---------------------------------------------------------------------------- */

static void start_or_fail(struct transfer *transfer)
{
	if (transfer_start(transfer) == 0)
		return;
	bridge_fail(transfer, ERR_NO_MEMORY, JSONRPC_EXECUTED_NO, "out of memory");
	transfer_free(transfer);
}

static void listen_to_server(struct bridge *bridge)
{
	struct transfer *transfer;

	if (!bridge->session[0] || bridge->stopping)
		return;
	DL_SEARCH_SCALAR(bridge->transfers, transfer, kind, TRANSFER_LISTEN);
	if (transfer)
		return;
	transfer = transfer_new(bridge, TRANSFER_LISTEN);
	if (transfer)
		start_or_fail(transfer);
}

/* The session is gone: open another one with the client's own initialize, whose answer the client
 * has already had. */
static void renew(struct bridge *bridge)
{
	struct transfer *transfer;
	struct jsonrpc msg;

	if (bridge->state == SESSION_RENEWING || bridge->stopping)
		return;
	bridge_complain("the server has forgotten the session, it is opened again", SPAN_NONE);
	bridge->state = SESSION_RENEWING;
	transfer = transfer_new(bridge, TRANSFER_RENEW);
	if (!transfer || buf_append_span(&transfer->body, buf_span(&bridge->initialize)) < 0 ||
		jsonrpc_parse(buf_span(&transfer->body), &msg, NULL) < 0)
		return;
	transfer->raw_id = msg.id;
	transfer->initialize = true;
	start_or_fail(transfer);
}

/* What waited for the session goes on, or learns that there is none. */
static void release_waiting(struct bridge *bridge, bool open)
{
	struct transfer *transfer, *next;

	bridge->state = SESSION_OPEN;
	DL_FOREACH_SAFE(bridge->transfers, transfer, next)
	{
		if (transfer->kind == TRANSFER_LISTEN) {
			transfer_free(transfer); /* it knows the events of the old session */
			continue;
		}
		if (!transfer->waits_session)
			continue;
		transfer->waits_session = false;
		transfer->renewed = true;
		if (open) {
			start_or_fail(transfer);
			continue;
		}
		bridge_fail(transfer, ERR_SESSION_UNKNOWN, JSONRPC_EXECUTED_NO,
			"the server has forgotten the session and opens no other");
		transfer_free(transfer);
	}
	if (open)
		listen_to_server(bridge);
}

static void announce(struct bridge *bridge)
{
	struct transfer *transfer = transfer_new(bridge, TRANSFER_RENEWED);

	if (!transfer)
		return;
	jsonrpc_write_notification(
		&transfer->body, SPAN_LIT("notifications/initialized"), SPAN_NONE);
	start_or_fail(transfer);
}

/* Did the server forget the session this was sent in? Then it waits for the next one. */
static bool lost_session(struct transfer *transfer, long status)
{
	struct bridge *bridge = transfer->bridge;

	if (status != 404 || !transfer->with_session || transfer->answered || transfer->renewed ||
		bridge->stopping)
		return false;
	transfer_stop(transfer);
	if (transfer->epoch != bridge->epoch && bridge->state == SESSION_OPEN) {
		/* another message was told before, and the new session is there already */
		transfer->renewed = true;
		start_or_fail(transfer);
		return true;
	}
	transfer->waits_session = true;
	renew(bridge);
	return true;
}

/* --- an exchange ends ----------------------------------------------------------------------- */

static void again_after(struct transfer *transfer, uint64_t ms)
{
	transfer_stop(transfer);
	transfer->again_ms = clock_ms() + ms;
}

static uint64_t pause_of(const struct transfer *transfer)
{
	int64_t said = transfer->sse ? sse_parser_retry_ms(transfer->sse) : -1;
	uint64_t backoff = transfer->failures < 5 ? 100u << transfer->failures : 5000u;

	return said >= 0 && said < 60000 ? (uint64_t)said : backoff;
}

/* Nothing was sent: it may be sent again while the node comes back. */
static bool retry_connect(struct transfer *transfer, CURLcode code)
{
	if (code != CURLE_COULDNT_CONNECT || transfer->bridge->stopping ||
		clock_ms() - transfer->first_ms > CONNECT_PATIENCE_MS)
		return false;
	again_after(transfer, 250);
	return true;
}

static void ended_listen(struct transfer *transfer, CURLcode code, long status)
{
	struct bridge *bridge = transfer->bridge;

	if (status == 404 && transfer->with_session && bridge->state == SESSION_OPEN &&
		!bridge->stopping) {
		transfer_free(transfer);
		renew(bridge);
		return;
	}
	/* 405: the server has nothing to say by itself */
	if ((status >= 400 && status < 500) || bridge->stopping) {
		transfer_free(transfer);
		return;
	}
	transfer->failures = code == CURLE_OK && status == 200 ? 0 : transfer->failures + 1;
	again_after(transfer, pause_of(transfer));
}

/* The stream of an answer broke off: the rest is asked for by the id of the last event. */
static bool resume(struct transfer *transfer, long status)
{
	if (transfer->answered || !transfer->last_event[0] || transfer->modern ||
		transfer->bridge->stopping || transfer->broken)
		return false;
	if (transfer->kind == TRANSFER_RESUME && status >= 400 && status < 500)
		return false;
	if (++transfer->failures > FAILURES_MAX)
		return false;
	transfer->kind = TRANSFER_RESUME;
	again_after(transfer, pause_of(transfer));
	return true;
}

static void ended_post(struct transfer *transfer, CURLcode code, long status)
{
	if (retry_connect(transfer, code) || resume(transfer, status))
		return;
	if (transfer->kind == TRANSFER_POST && lost_session(transfer, status))
		return;
	if (transfer->broken)
		bridge_fail(transfer, ERR_TOO_LARGE, JSONRPC_EXECUTED_UNKNOWN,
			"the answer is too long");
	else if (code == CURLE_COULDNT_CONNECT)
		bridge_fail(transfer, ERR_CLOSED, JSONRPC_EXECUTED_NO, "no node listens there");
	else if (code != CURLE_OK)
		bridge_fail(
			transfer, ERR_CLOSED, JSONRPC_EXECUTED_UNKNOWN, curl_easy_strerror(code));
	else if (transfer->kind == TRANSFER_POST && !transfer->sse)
		bridge_deliver_body(transfer, status);
	if (transfer->raw_id.len || (transfer->batch && transfer->sse))
		bridge_fail(transfer, ERR_CLOSED, JSONRPC_EXECUTED_UNKNOWN,
			"the stream ended before the answer");
	transfer_free(transfer);
}

static void ended_renew(struct transfer *transfer, CURLcode code, long status)
{
	struct bridge *bridge = transfer->bridge;
	bool open;

	if (retry_connect(transfer, code))
		return;
	if (code == CURLE_OK && !transfer->sse && transfer->answer.len && status == 200)
		bridge_deliver(transfer, buf_span(&transfer->answer));
	open = transfer->answered;
	transfer_free(transfer);
	if (open)
		announce(bridge);
	else
		release_waiting(bridge, false);
}

static bool is_method(const struct transfer *transfer, const char *method)
{
	struct jsonrpc msg;

	return jsonrpc_parse(buf_span(&transfer->body), &msg, NULL) == 0 &&
	       span_is(msg.method, method);
}

void bridge_ended(struct transfer *transfer, CURLcode code, long status)
{
	struct bridge *bridge = transfer->bridge;
	bool opened = transfer->kind == TRANSFER_POST && !transfer->raw_id.len && status < 300 &&
		      is_method(transfer, "notifications/initialized");

	switch (transfer->kind) {
	case TRANSFER_POST:
	case TRANSFER_RESUME:
		ended_post(transfer, code, status);
		break;
	case TRANSFER_LISTEN:
		ended_listen(transfer, code, status);
		break;
	case TRANSFER_RENEW:
		ended_renew(transfer, code, status);
		break;
	case TRANSFER_RENEWED:
		transfer_free(transfer);
		release_waiting(bridge, code == CURLE_OK && status < 300);
		break;
	case TRANSFER_END:
		transfer_free(transfer);
		break;
	}
	if (opened)
		listen_to_server(bridge);
}

/* --- lines in ------------------------------------------------------------------------------- */

/* No server has it: it waits for the session to be opened again, or for the node to come back. */
static bool waits_to_leave(const struct transfer *transfer)
{
	return transfer->waits_session || (transfer->kind == TRANSFER_POST && transfer->again_ms);
}

/*
 * In the modern era a request is cancelled by closing its exchange, and one that has not left by not
 * sending it: true, nothing is sent. Else the notification goes to the server, and nobody waits for
 * an answer any more.
 */
static bool cancel(struct bridge *bridge, const struct jsonrpc *msg)
{
	struct span id = json_object_get(msg->params, SPAN_LIT("requestId"));
	struct transfer *transfer;

	if (!span_is(msg->method, "notifications/cancelled"))
		return false;
	DL_FOREACH(bridge->transfers, transfer)
	{
		if (!transfer->raw_id.len || transfer->initialize ||
			!json_equal_scalar(transfer->raw_id, id))
			continue;
		transfer->answered = true;
		if (!transfer->modern && !waits_to_leave(transfer))
			return false;
		transfer_free(transfer);
		return true;
	}
	return false;
}

static void remember_initialize(struct bridge *bridge, struct span message)
{
	buf_clear(&bridge->initialize);
	buf_append_span(&bridge->initialize, message);
	bridge->session[0] = bridge->version[0] = '\0';
}

static void send_message(struct bridge *bridge, const struct jsonrpc *msg)
{
	struct transfer *transfer;
	struct jsonrpc own;

	if (cancel(bridge, msg))
		return;
	transfer = transfer_new(bridge, TRANSFER_POST);
	if (!transfer || buf_append_span(&transfer->body, msg->body) < 0 ||
		jsonrpc_parse(buf_span(&transfer->body), &own, NULL) < 0) {
		bridge_complain("out of memory, a message is lost", SPAN_NONE);
		return;
	}
	if (own.kind == JSONRPC_REQUEST)
		transfer->raw_id = own.id;
	transfer->batch = own.kind == JSONRPC_BATCH;
	transfer->modern = own.method.len && mcp_request_era(&own, NULL) == MCP_MODERN;
	transfer->initialize = span_is(own.method, "initialize") && !transfer->modern;
	transfer->safe = (mcp_method_info(mcp_method_find(own.method))->flags & MCP_SAFE) != 0;
	if (transfer->initialize)
		remember_initialize(bridge, own.body);
	/* what comes after these needs what they bring about */
	if (transfer->initialize || span_is(own.method, "notifications/initialized"))
		bridge->barrier = transfer;
	if (bridge->state == SESSION_RENEWING && !transfer->modern && !transfer->initialize)
		transfer->waits_session = true;
	else
		start_or_fail(transfer);
}

static void take_line(struct bridge *bridge, struct span line)
{
	struct jsonrpc msg;
	struct err err = {0};
	struct span text = json_trim(line);

	if (text.len == 0)
		return;
	if (jsonrpc_parse(text, &msg, &err) == 0)
		send_message(bridge, &msg);
	else
		bridge_refuse(bridge, msg.id, &err, JSONRPC_EXECUTED_NO);
}

static void refuse_long_line(struct bridge *bridge)
{
	struct err err = {0};

	err_set(&err, ERR_TOO_LARGE, "a message may have %u bytes", BRIDGE_MESSAGE_MAX);
	bridge_refuse(bridge, SPAN_NONE, &err, JSONRPC_EXECUTED_NO);
	bridge->skipping = true;
	buf_clear(&bridge->input);
}

/* Send what is whole. Returns false when messages have to wait. */
static bool take_lines(struct bridge *bridge)
{
	size_t start = 0;
	bool waits = false;

	while (start < bridge->input.len) {
		const char *line = bridge->input.data + start;
		const char *end = memchr(line, '\n', bridge->input.len - start);

		waits = bridge->barrier || bridge->n_transfers >= BRIDGE_TRANSFERS_MAX;
		if (waits || (!end && !bridge->in_closed))
			break;
		if (!bridge->skipping)
			take_line(bridge, span_of(line, end ? (size_t)(end - line)
							    : bridge->input.len - start));
		bridge->skipping = false;
		start = end ? (size_t)(end - bridge->input.data) + 1 : bridge->input.len;
	}
	buf_consume(&bridge->input, start);
	if (!waits && bridge->skipping)
		buf_clear(&bridge->input);
	return !waits;
}

static void read_input(struct bridge *bridge)
{
	ssize_t n;

	if (buf_reserve(&bridge->input, READ_SIZE) < 0) {
		refuse_long_line(bridge);
		return;
	}
	n = read(bridge->in, bridge->input.data + bridge->input.len, READ_SIZE);
	if (n > 0)
		bridge->input.len += (size_t)n;
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		bridge->in_closed = true;
}

/* --- the loop ------------------------------------------------------------------------------- */

static void start_due(struct bridge *bridge)
{
	struct transfer *transfer, *next;
	uint64_t now = clock_ms();

	DL_FOREACH_SAFE(bridge->transfers, transfer, next)
	if (transfer->again_ms && transfer->again_ms <= now)
		start_or_fail(transfer);
}

static int next_wait(const struct bridge *bridge)
{
	const struct transfer *transfer;
	uint64_t now = clock_ms();
	int wait = POLL_MS;

	DL_FOREACH(bridge->transfers, transfer)
	if (transfer->again_ms && transfer->again_ms < now + (uint64_t)wait)
		wait = transfer->again_ms > now ? (int)(transfer->again_ms - now) : 0;
	return wait;
}

static void work(struct bridge *bridge)
{
	struct transfer *transfer;
	CURLMsg *done;
	int running, left;

	curl_multi_perform(bridge->multi, &running);
	while ((done = curl_multi_info_read(bridge->multi, &left))) {
		CURLcode code = done->data.result;
		long status = 0;

		if (done->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(done->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		curl_easy_getinfo(done->easy_handle, CURLINFO_RESPONSE_CODE, &status);
		bridge_ended(transfer, code, status);
	}
	start_due(bridge);
}

/* Wait for something, and read. Returns false when told to stop. */
static bool wait_and_read(struct bridge *bridge, int stop, bool reading)
{
	struct curl_waitfd fds[2] = {
		{stop, CURL_WAIT_POLLIN, 0}, {bridge->in, CURL_WAIT_POLLIN, 0}};

	curl_multi_poll(bridge->multi, fds, reading ? 2 : 1, next_wait(bridge), NULL);
	if (fds[0].revents)
		return false;
	if (reading && fds[1].revents)
		read_input(bridge);
	return true;
}

/* Is there anything for whose end the client waits? */
static bool is_busy(const struct bridge *bridge)
{
	const struct transfer *transfer;

	DL_FOREACH(bridge->transfers, transfer)
	if (transfer->kind != TRANSFER_LISTEN && !transfer->answered)
		return true;
	return false;
}

static void converse(struct bridge *bridge, int stop)
{
	uint64_t closed_ms = 0;

	while (!bridge->out_closed) {
		bool ready = take_lines(bridge);

		/* from when all is sent: what waits for its turn has its time, too */
		if (bridge->in_closed && bridge->input.len == 0 && !closed_ms)
			closed_ms = clock_ms();
		if (closed_ms && (!is_busy(bridge) || clock_ms() - closed_ms > FINISH_MS))
			return;
		if (!wait_and_read(bridge, stop,
			    !bridge->in_closed && (ready || bridge->input.len < READ_AHEAD)))
			return;
		work(bridge);
	}
}

/* Close what is open and end the session. */
static void finish(struct bridge *bridge)
{
	struct transfer *transfer, *next;

	bridge->stopping = true;
	DL_FOREACH_SAFE(bridge->transfers, transfer, next)
	transfer_free(transfer);
	if (!bridge->session[0])
		return;
	transfer = transfer_new(bridge, TRANSFER_END);
	if (!transfer || transfer_start(transfer) < 0)
		return;
	while (bridge->transfers) {
		curl_multi_poll(bridge->multi, NULL, 0, POLL_MS, NULL);
		work(bridge);
	}
}

int bridge_run(const struct target *target, int in, int out, int stop)
{
	struct bridge bridge = {.target = target, .in = in, .out = out};
	struct transfer *transfer, *next;

	bridge.multi = curl_multi_init();
	if (!bridge.multi)
		return ctl_fail(EXIT_NODE, NULL, "out of memory");
	buf_init(&bridge.input, BRIDGE_MESSAGE_MAX);
	buf_init(&bridge.initialize, BRIDGE_MESSAGE_MAX);
	converse(&bridge, stop);
	finish(&bridge);
	DL_FOREACH_SAFE(bridge.transfers, transfer, next)
	transfer_free(transfer);
	buf_free(&bridge.input);
	buf_free(&bridge.initialize);
	curl_multi_cleanup(bridge.multi);
	return EXIT_DONE;
}
