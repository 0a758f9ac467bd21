#include "ws.h"
#include "buf.h"
#include "json_write.h"

#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

/* Payload of one frame that we send: pings and Closes get between the frames of a long message. */
#define FRAME_MAX (64u * 1024)
/* Payload of a control frame, RFC 6455 §5.5. */
#define CONTROL_PAYLOAD_MAX 125u
/* Control frames that wait: pongs, at most as many as pings are taken, a ping, a Close. */
#define CONTROL_BYTES ((WS_CONTROL_MAX + 8) * (CONTROL_PAYLOAD_MAX + 2))
/* Sent bytes at the front of a queue are cut off when they are this many and half of it. */
#define COMPACT_MIN 65536u

struct out {
	struct buf bytes; /* whole frames */
	size_t used;      /* of which these have left */
};

struct ws {
	wslay_frame_context_ptr wslay;
	const struct ws_ops *ops;
	void *arg;
	/* in */
	struct span input;   /* of the call that is running */
	uint64_t frame_left; /* bytes of the frame that is coming */
	struct buf message;
	struct buf control; /* payload of a control frame that is coming */
	bool in_message;
	bool deaf;         /* nothing of what the peer says counts any more */
	bool busy;         /* ws_read is at work */
	bool freed;        /* meanwhile */
	unsigned controls; /* since the last message */
	unsigned fragments;
	/* out */
	struct out messages, controls_out;
	size_t current; /* bytes left of the message frame that has begun to leave */
	struct buf *into; /* where wslay writes to */
	bool closing;   /* a Close is queued */
	enum ws_code code;
};

/* --- wslay's callbacks ---------------------------------------------------------------------- */

static ssize_t on_recv(uint8_t *data, size_t len, int flags, void *arg)
{
	struct ws *ws = arg;
	size_t n = ws->input.len < len ? ws->input.len : len;

	(void)flags;
	if (n == 0)
		return -1;
	memcpy(data, ws->input.p, n);
	ws->input = span_of(ws->input.p + n, ws->input.len - n);
	return (ssize_t)n;
}

static ssize_t on_send(const uint8_t *data, size_t len, int flags, void *arg)
{
	struct ws *ws = arg;

	(void)flags;
	return buf_append(ws->into, data, len) < 0 ? -1 : (ssize_t)len;
}

/* --- life ----------------------------------------------------------------------------------- */

struct ws *ws_new(size_t message_max, size_t queue_max, const struct ws_ops *ops, void *arg)
{
	static const struct wslay_frame_callbacks callbacks = {
		.send_callback = on_send, .recv_callback = on_recv};
	struct ws *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return NULL;
	if (wslay_frame_context_init(&ws->wslay, &callbacks, ws) < 0) {
		free(ws);
		return NULL;
	}
	ws->ops = ops;
	ws->arg = arg;
	ws->code = WS_ABNORMAL;
	buf_init(&ws->message, message_max);
	buf_init(&ws->control, CONTROL_PAYLOAD_MAX);
	buf_init(&ws->messages.bytes, queue_max);
	buf_init(&ws->controls_out.bytes, CONTROL_BYTES);
	return ws;
}

static void destroy(struct ws *ws)
{
	wslay_frame_context_free(ws->wslay);
	buf_free(&ws->message);
	buf_free(&ws->control);
	buf_free(&ws->messages.bytes);
	buf_free(&ws->controls_out.bytes);
	free(ws);
}

void ws_free(struct ws *ws)
{
	if (!ws)
		return;
	ws->freed = ws->deaf = true;
	if (!ws->busy)
		destroy(ws);
}

/* --- out ------------------------------------------------------------------------------------ */

/* One frame, whole or not at all. */
static int queue_frame(
	struct ws *ws, struct buf *out, uint8_t opcode, bool fin, struct span payload)
{
	struct wslay_frame_iocb frame = {.fin = fin,
		.opcode = opcode,
		.payload_length = payload.len,
		.data = (const uint8_t *)payload.p,
		.data_length = payload.len};
	/* the longest header is 10 bytes */
	int r = out->len + payload.len + 10 > out->max ? -ERR_TOO_LARGE
						       : buf_reserve(out, payload.len + 10);

	if (r < 0)
		return r;
	ws->into = out;
	/* with room for it all, on_send takes it all */
	return wslay_frame_send(ws->wslay, &frame) == (ssize_t)payload.len ? 0 : -ERR_INTERNAL;
}

int ws_send(struct ws *ws, struct span text)
{
	struct buf *out = &ws->messages.bytes;
	size_t before = out->len, n;
	uint8_t opcode = WSLAY_TEXT_FRAME;
	int r = ws->closing ? -ERR_CLOSED : 0;

	while (r == 0) {
		n = text.len < FRAME_MAX ? text.len : FRAME_MAX;
		r = queue_frame(ws, out, opcode, n == text.len, span_of(text.p, n));
		if (n == text.len)
			break;
		opcode = WSLAY_CONTINUATION_FRAME;
		text = span_of(text.p + n, text.len - n);
	}
	if (r < 0 && !ws->closing)
		out->len = before;
	return r;
}

static int queue_control(struct ws *ws, uint8_t opcode, struct span payload)
{
	return ws->closing ? -ERR_CLOSED
			   : queue_frame(ws, &ws->controls_out.bytes, opcode, true, payload);
}

int ws_ping(struct ws *ws)
{
	return queue_control(ws, WSLAY_PING, SPAN_NONE);
}

/* What waits behind the frame that is leaving will not leave. */
static void drop_waiting(struct out *messages, size_t current)
{
	messages->bytes.len = messages->used + current;
}

static void queue_close(struct ws *ws, enum ws_code code, struct span reason, struct buf *out)
{
	char payload[CONTROL_PAYLOAD_MAX] = {(char)(code >> 8), (char)code};
	size_t len = reason.len < WS_REASON_MAX ? reason.len : WS_REASON_MAX;

	if (len)
		memcpy(payload + 2, reason.p, len);
	if (ws->closing)
		return;
	/* without memory for these few bytes the connection just ends */
	queue_frame(ws, out, WSLAY_CONNECTION_CLOSE, true,
		span_of(payload, code == WS_NO_CODE ? 0 : len + 2));
	ws->closing = true;
	ws->code = code;
}

void ws_finish(struct ws *ws, enum ws_code code, const char *reason)
{
	queue_close(ws, code, span_str(reason), &ws->messages.bytes);
}

static void close_now(struct ws *ws, enum ws_code code, struct span reason)
{
	if (!ws->closing)
		drop_waiting(&ws->messages, ws->current);
	queue_close(ws, code, reason, &ws->controls_out.bytes);
}

void ws_close(struct ws *ws, enum ws_code code, const char *reason)
{
	close_now(ws, code, span_str(reason));
}

/* Length of the frame that begins here, header and payload; not masked (RFC 6455 §5.2). */
static size_t frame_len(const char *p)
{
	const unsigned char *at = (const unsigned char *)p;
	unsigned len = at[1] & 0x7f;

	/* ours are never longer than FRAME_MAX */
	if (len < 126)
		return 2 + len;
	if (len == 126)
		return 4 + ((size_t)at[2] << 8 | at[3]);
	return 10 + ((size_t)at[7] << 16 | (size_t)at[8] << 8 | at[9]);
}

static size_t waiting(const struct out *out)
{
	return out->bytes.len - out->used;
}

/* At most max bytes of it. Returns how many have left. */
static size_t put(struct ws *ws, struct out *out, size_t max)
{
	size_t n = ws->ops->put(ws->arg, span_of(out->bytes.data + out->used, max));

	out->used += n;
	if (waiting(out) == 0) {
		buf_free(&out->bytes);
		out->used = 0;
	} else if (out->used >= COMPACT_MIN && out->used >= out->bytes.len / 2) {
		buf_consume(&out->bytes, out->used);
		out->used = 0;
	}
	return n;
}

static size_t put_message(struct ws *ws)
{
	struct out *out = &ws->messages;
	size_t n;

	if (ws->current == 0)
		ws->current = frame_len(out->bytes.data + out->used);
	n = put(ws, out, ws->current);
	ws->current -= n;
	return n;
}

void ws_flush(struct ws *ws)
{
	size_t n = 1;

	while (n > 0) {
		if (ws->current == 0 && waiting(&ws->controls_out) > 0)
			n = put(ws, &ws->controls_out, waiting(&ws->controls_out));
		else if (waiting(&ws->messages) > 0)
			n = put_message(ws);
		else
			return;
	}
}

size_t ws_queued(const struct ws *ws)
{
	return waiting(&ws->messages) + waiting(&ws->controls_out);
}

bool ws_ended(const struct ws *ws)
{
	return ws->closing && ws_queued(ws) == 0;
}

enum ws_code ws_code(const struct ws *ws)
{
	return ws->code;
}

/* --- in ------------------------------------------------------------------------------------- */

static void refuse(struct ws *ws, enum ws_code code, const char *reason)
{
	ws_close(ws, code, reason);
	ws->deaf = true;
}

/* The codes that may stand in a Close frame, RFC 6455 §7.4. */
static bool is_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != WS_NO_CODE &&
		       code != WS_ABNORMAL) ||
	       (code >= 3000 && code <= 4999);
}

/* The same code goes back; then nothing more is said by either side. */
static void take_close(struct ws *ws, struct span payload)
{
	const unsigned char *p = (const unsigned char *)payload.p;
	unsigned code = payload.len >= 2 ? (unsigned)p[0] << 8 | p[1] : WS_NO_CODE;

	if (payload.len == 1 || (payload.len >= 2 && !is_code(code)))
		refuse(ws, WS_PROTOCOL, "a Close frame without a proper code");
	else if (payload.len > 2 && !json_is_utf8(span_of(payload.p + 2, payload.len - 2)))
		refuse(ws, WS_BAD_TEXT, "the reason is not UTF-8");
	else
		close_now(ws, (enum ws_code)code, SPAN_NONE);
	ws->deaf = true;
}

static void take_control(struct ws *ws, uint8_t opcode)
{
	struct span payload = buf_span(&ws->control);

	if (++ws->controls > WS_CONTROL_MAX)
		refuse(ws, WS_POLICY, "too many control frames");
	else if (opcode == WSLAY_CONNECTION_CLOSE)
		take_close(ws, payload);
	else if (opcode == WSLAY_PING && queue_control(ws, WSLAY_PONG, payload) < 0)
		refuse(ws, WS_POLICY, "pongs are not read");
	buf_clear(&ws->control);
}

static void take_message(struct ws *ws)
{
	struct buf whole = ws->message;

	ws->in_message = false;
	ws->controls = 0;
	buf_init(&ws->message, whole.max);
	if (!json_is_utf8(buf_span(&whole)))
		refuse(ws, WS_BAD_TEXT, "the text is not UTF-8");
	else
		ws->ops->message(ws->arg, buf_span(&whole));
	buf_free(&whole);
}

/* May this frame come now? If not, the connection ends. */
static bool begin_frame(struct ws *ws, const struct wslay_frame_iocb *frame)
{
	bool first = frame->opcode == WSLAY_TEXT_FRAME || frame->opcode == WSLAY_BINARY_FRAME;

	if (!frame->mask || frame->rsv)
		refuse(ws, WS_PROTOCOL,
			frame->rsv ? "no extension was agreed on" : "frames of a client are masked");
	else if (frame->opcode > WSLAY_PONG || (frame->opcode > WSLAY_BINARY_FRAME &&
						       !wslay_is_ctrl_frame(frame->opcode)))
		refuse(ws, WS_PROTOCOL, "an unknown kind of frame");
	else if (wslay_is_ctrl_frame(frame->opcode))
		return true;
	else if (first == ws->in_message)
		refuse(ws, WS_PROTOCOL,
			first ? "a message within another" : "a fragment of no message");
	else if (frame->opcode == WSLAY_BINARY_FRAME)
		refuse(ws, WS_UNSUPPORTED, "messages are text");
	else if (frame->payload_length > ws->message.max - ws->message.len)
		refuse(ws, WS_TOO_BIG, "the message is too long");
	else if ((ws->fragments = first ? 1 : ws->fragments + 1) > WS_FRAGMENTS_MAX)
		refuse(ws, WS_POLICY, "too many fragments");
	else
		ws->in_message = true;
	return !ws->deaf;
}

static void take_piece(struct ws *ws, const struct wslay_frame_iocb *frame)
{
	bool is_control = wslay_is_ctrl_frame(frame->opcode);

	if (ws->frame_left == 0) {
		if (!begin_frame(ws, frame))
			return;
		ws->frame_left = frame->payload_length;
	}
	if (frame->data_length > 0 && buf_append(is_control ? &ws->control : &ws->message,
					       frame->data, frame->data_length) < 0) {
		refuse(ws, WS_INTERNAL, "out of memory");
		return;
	}
	ws->frame_left -= frame->data_length;
	if (ws->frame_left > 0)
		return;
	if (is_control)
		take_control(ws, frame->opcode);
	else if (frame->fin)
		take_message(ws);
}

int ws_read(struct ws *ws, struct span bytes)
{
	struct wslay_frame_iocb frame;
	ssize_t r = 0;

	ws->busy = true;
	ws->input = bytes;
	while (!ws->deaf && r >= 0) {
		r = wslay_frame_recv(ws->wslay, &frame);
		if (r >= 0)
			take_piece(ws, &frame);
		else if (r != WSLAY_ERR_WANT_READ)
			refuse(ws, WS_PROTOCOL, "a frame that cannot be");
	}
	ws->input = SPAN_NONE;
	ws->busy = false;
	if (ws->freed) {
		destroy(ws);
		return -ERR_CLOSED;
	}
	return ws->deaf ? -ERR_CLOSED : 0;
}

bool ws_in_message(const struct ws *ws, size_t *ret_len)
{
	*ret_len = ws->message.len;
	return ws->in_message;
}

void ws_pardon(struct ws *ws)
{
	ws->controls = 0;
}
