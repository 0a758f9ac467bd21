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

/* The request gets an answer, if it is one and has none yet. */
void bridge_fail(struct transfer *transfer, enum err_code code, enum jsonrpc_executed executed,
	const char *text)
{
	struct err err = {0};

	if (transfer->answered)
		return;
	if (!transfer->raw_id.len) {
		bridge_complain(text, SPAN_NONE);
		return;
	}
	err_set(&err, code, "%s", text);
	bridge_refuse(transfer->bridge, transfer->raw_id, &err, executed);
	transfer->answered = true;
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
	struct span body = buf_span(&transfer->answer), message = SPAN_NONE, data = SPAN_NONE;
	struct span text = SPAN_NONE;
	char room[1024], why[1200];
	struct jsonrpc msg;
	int64_t code;

	if (body.len && jsonrpc_parse(body, &msg, NULL) == 0) {
		bool reply = jsonrpc_is_reply(&msg);

		if (!reply || (msg.id.len && json_equal_scalar(msg.id, transfer->raw_id)) ||
			msg.kind == JSONRPC_BATCH) {
			bridge_deliver(transfer, body);
			return;
		}
		/* an error that could not name the request is told as the request's */
		if (msg.kind == JSONRPC_ERROR && transfer->raw_id.len &&
			jsonrpc_error_get(msg.error, &code, &message, &data) == 0) {
			struct buf out;

			json_string_copy(message, room, sizeof(room), &text);
			buf_init(&out, BRIDGE_MESSAGE_MAX);
			if (jsonrpc_write_error(&out, transfer->raw_id, code, text, data) == 0)
				write_line(transfer->bridge, buf_span(&out));
			buf_free(&out);
			transfer->answered = true;
			return;
		}
	}
	if (status >= 300 || transfer->raw_id.len) {
		snprintf(why, sizeof(why), "the server answered HTTP %ld without a response",
			status);
		bridge_fail(transfer, ERR_PROTOCOL,
			status >= 400 && status < 500 ? JSONRPC_EXECUTED_NO
						      : JSONRPC_EXECUTED_UNKNOWN,
			why);
	}
}
