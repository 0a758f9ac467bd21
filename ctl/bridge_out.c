/* The bridge's words to its client: what the server says, and what went wrong. */
#include "bridge_private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define ERROR_MAX 65536u
#define FULL_MS 1000

void bridge_complain(const char *what, struct span detail)
{
	fprintf(stderr, "gatehouse stdio: %s%s%.*s\n", what, detail.len ? ": " : "",
		SPAN_ARG(detail));
}

/* --- lines out ------------------------------------------------------------------------------ */

static void write_all(struct bridge *bridge, const char *data, size_t len)
{
	while (len > 0 && !bridge->out_closed) {
		ssize_t n = write(bridge->out, data, len);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){bridge->out, POLLOUT, 0}, 1, FULL_MS);
		else if (n < 0 && errno != EINTR)
			bridge->out_closed = true;
		if (n <= 0)
			continue;
		data += n;
		len -= (size_t)n;
	}
}

/* One message, one line. */
static void write_line(struct bridge *bridge, struct span message)
{
	struct buf line;

	buf_init(&line, message.len + 1);
	if (buf_append_span(&line, message) < 0) {
		bridge_complain("out of memory, a message is lost", SPAN_NONE);
		return;
	}
	json_one_line(line.data, line.len);
	buf_append_char(&line, '\n');
	write_all(bridge, line.data, line.len);
	buf_free(&line);
}

void bridge_refuse(struct bridge *bridge, struct span raw_id, const struct err *err,
	enum jsonrpc_executed executed)
{
	struct buf out;

	buf_init(&out, ERROR_MAX);
	if (jsonrpc_write_err(&out, raw_id, err, executed) == 0)
		write_line(bridge, buf_span(&out));
	buf_free(&out);
}

/* The ids of its requests, one after the other; iter begins as json_iter(its body). False: no
 * more. */
static bool next_request(const struct transfer *transfer, struct json_iter *iter, bool first,
	struct span *ret_id)
{
	struct jsonrpc msg;
	int r;

	if (!transfer->batch) {
		*ret_id = transfer->raw_id;
		return first && transfer->raw_id.len;
	}
	while ((r = jsonrpc_batch_next(iter, &msg, NULL)) != 0) {
		if (r < 0 || msg.kind != JSONRPC_REQUEST)
			continue;
		*ret_id = msg.id;
		return true;
	}
	return false;
}

void bridge_fail(struct transfer *transfer, enum err_code code, enum jsonrpc_executed executed,
	const char *text)
{
	struct json_iter iter = json_iter(buf_span(&transfer->body));
	struct err err = {0};
	struct span id;
	bool first = true;

	if (transfer->answered)
		return;
	if (transfer->batch && transfer->batch_begun) {
		bridge_complain(text, SPAN_NONE);
		return;
	}
	err_set(&err, code, "%s", text);
	for (; next_request(transfer, &iter, first, &id); first = false)
		bridge_refuse(transfer->bridge, id, &err, executed);
	if (first)
		bridge_complain(text, SPAN_NONE);
	transfer->answered = true;
}

/* An error that could not name the request is told as that of the request, or of each. */
static bool pass_error(struct transfer *transfer, const struct jsonrpc *msg)
{
	struct json_iter iter = json_iter(buf_span(&transfer->body));
	struct span message = SPAN_NONE, data = SPAN_NONE, text = SPAN_NONE, id;
	bool first = true;
	char room[1024];
	struct buf out;
	int64_t code;

	if (msg->kind != JSONRPC_ERROR || transfer->answered || transfer->batch_begun ||
		jsonrpc_error_get(msg->error, &code, &message, &data) < 0)
		return false;
	json_string_copy(message, room, sizeof(room), &text);
	buf_init(&out, BRIDGE_MESSAGE_MAX);
	for (; next_request(transfer, &iter, first, &id); first = false) {
		buf_clear(&out);
		if (jsonrpc_write_error(&out, id, code, text, data) == 0)
			write_line(transfer->bridge, buf_span(&out));
	}
	buf_free(&out);
	transfer->answered = !first;
	return !first;
}

/* --- messages from the server --------------------------------------------------------------- */

static void take_version(struct bridge *bridge, struct span result)
{
	struct span text = SPAN_NONE;

	if (json_string_copy(json_object_get(result, SPAN_LIT("protocolVersion")), bridge->version,
		    sizeof(bridge->version) - 1, &text) == 0)
		bridge->version[text.len] = '\0';
}

void bridge_deliver(struct transfer *transfer, struct span message)
{
	struct bridge *bridge = transfer->bridge;
	struct jsonrpc msg;
	struct err err = {0};

	if (jsonrpc_parse(message, &msg, &err) < 0) {
		bridge_complain("what the server said is no JSON-RPC", span_str(err_text(&err)));
		return;
	}
	transfer->batch_begun |= msg.kind == JSONRPC_BATCH || jsonrpc_is_reply(&msg);
	if (jsonrpc_is_reply(&msg) && transfer->raw_id.len &&
		json_equal_scalar(msg.id, transfer->raw_id)) {
		if (transfer->answered)
			return; /* a stream taken up again may begin with it */
		transfer->answered = true;
		if (transfer->initialize && msg.kind == JSONRPC_RESULT) {
			take_version(bridge, msg.result);
			bridge->epoch++;
			snprintf(bridge->session, sizeof(bridge->session), "%s", transfer->session);
			if (transfer->kind == TRANSFER_POST)
				bridge->state = SESSION_OPEN;
		}
		if (transfer->kind == TRANSFER_RENEW)
			return;
	}
	write_line(bridge, msg.body);
}

/* An answer that is no stream: the response, or why there is none. */
void bridge_deliver_body(struct transfer *transfer, long status)
{
	struct span body = buf_span(&transfer->answer);
	struct jsonrpc msg;
	char why[64];

	if (body.len && jsonrpc_parse(body, &msg, NULL) == 0) {
		if (!jsonrpc_is_reply(&msg) ||
			(msg.id.len && json_equal_scalar(msg.id, transfer->raw_id))) {
			bridge_deliver(transfer, body);
			return;
		}
		if (pass_error(transfer, &msg))
			return;
	}
	if (status < 300 && !transfer->raw_id.len)
		return;
	snprintf(why, sizeof(why), "the server answered HTTP %ld without a response", status);
	bridge_fail(transfer, ERR_PROTOCOL,
		status >= 400 && status < 500 ? JSONRPC_EXECUTED_NO : JSONRPC_EXECUTED_UNKNOWN,
		why);
}
