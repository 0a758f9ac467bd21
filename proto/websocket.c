#include "websocket.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <wslay/wslay.h>

/* One control frame with its mask. */
#define LAST_MAX 256
/* RFC 6455 §1.3 */
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct websocket {
	wslay_event_context_ptr events;
	websocket_message_fn *message;
	void *arg;
	size_t message_max;
	unsigned frames;   /* of the message being read, so far */
	struct span input; /* while reading */
	struct buf *out;   /* while writing */
	struct buf last;   /* the frame that ends a conversation that went wrong */
	unsigned broken;   /* the code of that; 0: nothing is wrong */
	bool closing;      /* a close frame is queued, or was sent */
	char peer_close[WEBSOCKET_REASON_MAX + 32];
};

/* --- what libwslay asks for ------------------------------------------------------------------ */

static ssize_t on_recv(
	wslay_event_context_ptr events, uint8_t *p, size_t size, int flags, void *arg)
{
	struct websocket *ws = arg;
	size_t n = size < ws->input.len ? size : ws->input.len;

	(void)flags;
	if (n == 0) {
		wslay_event_set_error(events, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(p, ws->input.p, n);
	ws->input = span_of(ws->input.p + n, ws->input.len - n);
	return (ssize_t)n;
}

static ssize_t on_send(
	wslay_event_context_ptr events, const uint8_t *p, size_t len, int flags, void *arg)
{
	struct websocket *ws = arg;

	(void)flags;
	if (buf_append(ws->out, p, len) == 0)
		return (ssize_t)len;
	wslay_event_set_error(events, WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static int on_mask(wslay_event_context_ptr events, uint8_t *p, size_t len, void *arg)
{
	(void)events;
	(void)arg;
	return RAND_bytes(p, (int)len) == 1 ? 0 : -1;
}

static void on_frame(wslay_event_context_ptr events,
	const struct wslay_event_on_frame_recv_start_arg *frame, void *arg)
{
	struct websocket *ws = arg;

	(void)events;
	if (wslay_is_ctrl_frame(frame->opcode) || ws->broken)
		return;
	if (frame->opcode != WSLAY_CONTINUATION_FRAME)
		ws->frames = 0;
	if (frame->opcode == WSLAY_BINARY_FRAME) {
		ws->broken = WEBSOCKET_UNSUPPORTED;
		websocket_close(ws, WEBSOCKET_UNSUPPORTED, "text messages only");
	} else if (++ws->frames > WEBSOCKET_FRAMES_MAX) {
		ws->broken = WEBSOCKET_POLICY;
		websocket_close(ws, WEBSOCKET_POLICY, "too many frames");
	}
}

static void note_close(struct websocket *ws, const struct wslay_event_on_msg_recv_arg *msg)
{
	size_t len = msg->msg_length > 2 ? msg->msg_length - 2 : 0;

	if (msg->status_code)
		snprintf(ws->peer_close, sizeof(ws->peer_close), "%u%s%.*s", msg->status_code,
			len ? ", " : "", (int)len, len ? (const char *)msg->msg + 2 : "");
	else
		snprintf(ws->peer_close, sizeof(ws->peer_close), "without a code");
	/* it goes to logs and to people, and libwslay does not check all of its UTF-8 */
	for (char *p = ws->peer_close; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > 0x7e)
			*p = (unsigned char)*p < 0x80 ? ' ' : '?';
}

static void on_message(
	wslay_event_context_ptr events, const struct wslay_event_on_msg_recv_arg *msg, void *arg)
{
	struct websocket *ws = arg;

	if (msg->opcode == WSLAY_CONNECTION_CLOSE) {
		note_close(ws, msg);
		return;
	}
	if (wslay_event_get_queued_msg_count(events) > WEBSOCKET_CONTROL_MAX && !ws->broken) {
		ws->broken = WEBSOCKET_POLICY;
		websocket_close(ws, WEBSOCKET_POLICY, "too many pings");
	}
	if (msg->opcode == WSLAY_TEXT_FRAME && !ws->closing)
		ws->message(ws->arg, span_of((const char *)msg->msg, msg->msg_length));
}

/* --- life ------------------------------------------------------------------------------------ */

struct websocket *websocket_new(
	enum websocket_side side, size_t message_max, websocket_message_fn *message, void *arg)
{
	static const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv,
		.send_callback = on_send,
		.genmask_callback = on_mask,
		.on_frame_recv_start_callback = on_frame,
		.on_msg_recv_callback = on_message};
	struct websocket *ws = calloc(1, sizeof(*ws));
	int r;

	if (!ws)
		return NULL;
	ws->message = message;
	ws->message_max = message_max;
	ws->arg = arg;
	buf_init(&ws->last, LAST_MAX);
	r = side == WEBSOCKET_CLIENT ? wslay_event_context_client_init(&ws->events, &callbacks, ws)
				     : wslay_event_context_server_init(&ws->events, &callbacks, ws);
	if (r != 0) {
		free(ws);
		return NULL;
	}
	wslay_event_config_set_max_recv_msg_length(ws->events, message_max);
	return ws;
}

void websocket_free(struct websocket *ws)
{
	if (!ws)
		return;
	wslay_event_context_free(ws->events);
	buf_free(&ws->last);
	free(ws);
}

/* --- reading --------------------------------------------------------------------------------- */

static int explain(const struct websocket *ws, struct err *err)
{
	switch (ws->broken) {
	case WEBSOCKET_TOO_BIG:
		return err_set(err, ERR_TOO_LARGE, "a message longer than %zu bytes came",
			ws->message_max);
	case WEBSOCKET_POLICY:
		return err_set(err, ERR_PROTOCOL,
			"pings came faster than they can be answered, or a message in too many "
			"frames");
	case WEBSOCKET_UNSUPPORTED:
		return err_set(err, ERR_PROTOCOL, "a binary message came");
	case WEBSOCKET_NOT_UTF8:
		return err_set(err, ERR_PROTOCOL, "a text came that is not UTF-8");
	case WEBSOCKET_INTERNAL:
		return err_set(err, ERR_NO_MEMORY, "no memory for a message");
	default:
		return err_set(err, ERR_PROTOCOL, "a frame came that WebSocket does not allow");
	}
}

/* libwslay tells what was wrong only by the close frame that it sends. */
static void find_reason(struct websocket *ws)
{
	if (websocket_write(ws, &ws->last) == 0)
		ws->broken = wslay_event_get_status_code_sent(ws->events);
	if (!ws->broken)
		ws->broken = WEBSOCKET_PROTOCOL;
	ws->closing = true;
}

int websocket_read(struct websocket *ws, struct span input, struct err *err)
{
	int r;

	if (ws->broken)
		return explain(ws, err);
	ws->input = input;
	r = wslay_event_recv(ws->events);
	ws->input = SPAN_NONE;
	if (!ws->broken && wslay_event_get_close_received(ws->events)) {
		ws->closing = true;
		return err_set(err, ERR_CLOSED, "it closed the WebSocket: %s", ws->peer_close);
	}
	if (r == WSLAY_ERR_NOMEM)
		ws->broken = WEBSOCKET_INTERNAL;
	if (!ws->broken && (ws->closing || wslay_event_get_read_enabled(ws->events)))
		return 0;
	if (!ws->broken)
		find_reason(ws);
	return explain(ws, err);
}

bool websocket_close_received(const struct websocket *ws)
{
	return wslay_event_get_close_received(ws->events);
}

/* --- writing --------------------------------------------------------------------------------- */

static int queue(struct websocket *ws, uint8_t opcode, struct span payload)
{
	const struct wslay_event_msg msg = {
		.opcode = opcode, .msg = (const uint8_t *)payload.p, .msg_length = payload.len};

	if (ws->closing)
		return -ERR_CLOSED;
	switch (wslay_event_queue_msg(ws->events, &msg)) {
	case 0:
		return 0;
	case WSLAY_ERR_NOMEM:
		return -ERR_NO_MEMORY;
	default:
		return -ERR_CLOSED;
	}
}

int websocket_send(struct websocket *ws, struct span text)
{
	return queue(ws, WSLAY_TEXT_FRAME, text);
}

int websocket_ping(struct websocket *ws)
{
	return queue(ws, WSLAY_PING, SPAN_NONE);
}

void websocket_close(struct websocket *ws, enum websocket_code code, const char *reason)
{
	size_t len = strlen(reason);

	if (ws->closing)
		return;
	ws->closing = true;
	wslay_event_queue_close(ws->events, (uint16_t)code, (const uint8_t *)reason,
		len < WEBSOCKET_REASON_MAX ? len : WEBSOCKET_REASON_MAX);
}

int websocket_write(struct websocket *ws, struct buf *out)
{
	int r = 0;

	if (ws->last.len && out != &ws->last) {
		r = buf_append_span(out, buf_span(&ws->last));
		buf_free(&ws->last);
		return r;
	}
	ws->out = out;
	if (wslay_event_want_write(ws->events) && wslay_event_send(ws->events) != 0)
		r = -ERR_NO_MEMORY;
	ws->out = NULL;
	return r;
}

/* --- the opening handshake ------------------------------------------------------------------- */

int websocket_key(char ret[WEBSOCKET_KEY_SIZE])
{
	unsigned char bytes[16];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -ERR_SYSTEM;
	EVP_EncodeBlock((unsigned char *)ret, bytes, sizeof(bytes));
	return 0;
}

/* 16 bytes in base64: 22 characters of its alphabet and two paddings. */
static bool is_key(struct span key)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	if (key.len != WEBSOCKET_KEY_SIZE - 1 || key.p[22] != '=' || key.p[23] != '=')
		return false;
	for (size_t i = 0; i < 22; i++)
		if (!memchr(alphabet, key.p[i], sizeof(alphabet) - 1))
			return false;
	return true;
}

int websocket_accept(struct span key, char ret[WEBSOCKET_ACCEPT_SIZE])
{
	char text[WEBSOCKET_KEY_SIZE + sizeof(ACCEPT_GUID)];
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;

	if (!is_key(key))
		return -ERR_INVALID_ARGUMENT;
	snprintf(text, sizeof(text), "%.*s" ACCEPT_GUID, SPAN_ARG(key));
	if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) != 1)
		return -ERR_SYSTEM;
	EVP_EncodeBlock((unsigned char *)ret, digest, (int)len);
	return 0;
}
