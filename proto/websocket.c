#include "websocket.h"
#include "buf.h"
#include "json_write.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

/* Payload of one frame that a server of ours sends: pings and Closes get between the frames of a long
 * message. A client sends each message in one, because some servers take no fragments. */
#define FRAME_MAX (64u * 1024)
/* The longest header, with its mask. */
#define HEADER_MAX 14u
/* Payload of a control frame, RFC 6455 §5.5. */
#define CONTROL_PAYLOAD_MAX 125u
/* Control frames that wait: pongs, at most as many as pings are taken, a ping, a Close. */
#define CONTROL_BYTES ((WEBSOCKET_CONTROL_MAX + 8) * (CONTROL_PAYLOAD_MAX + 6))
/* Sent bytes at the front of a queue are cut off when they are this many and half of it. */
#define COMPACT_MIN 65536u

struct out {
	struct buf bytes; /* whole frames */
	size_t used;      /* of which these have left */
};

struct websocket {
	wslay_frame_context_ptr wslay;
	enum websocket_side side;
	const struct websocket_ops *ops;
	void *arg;
	/* in */
	struct span input;   /* of the call that is running */
	uint64_t frame_left; /* bytes of the frame that is coming */
	struct buf message;
	struct buf control; /* payload of a control frame that is coming */
	bool in_message;
	unsigned wrong;    /* what the peer did, a code; 0: nothing */
	bool deaf;         /* nothing of what the peer says counts any more */
	bool busy;         /* websocket_read is at work */
	bool freed;        /* meanwhile */
	unsigned controls; /* since the last message */
	unsigned fragments;
	/* out */
	struct out messages, controls_out;
	size_t current; /* bytes left of the message frame that has begun to leave */
	struct buf *into; /* where wslay writes to */
	bool closing;     /* a Close is queued */
	bool peer_closed; /* one has come */
	enum websocket_code code;
	char peer_close[WEBSOCKET_REASON_MAX + 32]; /* what it said, for people */
};

/* --- wslay's callbacks ---------------------------------------------------------------------- */

static ssize_t on_recv(uint8_t *data, size_t len, int flags, void *arg)
{
	struct websocket *ws = arg;
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
	struct websocket *ws = arg;

	(void)flags;
	return buf_append(ws->into, data, len) < 0 ? -1 : (ssize_t)len;
}

static int on_mask(uint8_t *data, size_t len, void *arg)
{
	(void)arg;
	return RAND_bytes(data, (int)len) == 1 ? 0 : -1;
}

/* --- life ----------------------------------------------------------------------------------- */

struct websocket *websocket_new(enum websocket_side side, size_t message_max, size_t queue_max,
	const struct websocket_ops *ops, void *arg)
{
	static const struct wslay_frame_callbacks callbacks = {.send_callback = on_send,
		.recv_callback = on_recv,
		.genmask_callback = on_mask};
	struct websocket *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return NULL;
	if (wslay_frame_context_init(&ws->wslay, &callbacks, ws) < 0) {
		free(ws);
		return NULL;
	}
	ws->side = side;
	ws->ops = ops;
	ws->arg = arg;
	ws->code = WEBSOCKET_ABNORMAL;
	buf_init(&ws->message, message_max);
	buf_init(&ws->control, CONTROL_PAYLOAD_MAX);
	buf_init(&ws->messages.bytes, queue_max);
	buf_init(&ws->controls_out.bytes, CONTROL_BYTES);
	return ws;
}

static void destroy(struct websocket *ws)
{
	wslay_frame_context_free(ws->wslay);
	buf_free(&ws->message);
	buf_free(&ws->control);
	buf_free(&ws->messages.bytes);
	buf_free(&ws->controls_out.bytes);
	free(ws);
}

void websocket_free(struct websocket *ws)
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
	struct websocket *ws, struct buf *out, uint8_t opcode, bool fin, struct span payload)
{
	struct wslay_frame_iocb frame = {.fin = fin,
		.opcode = opcode,
		.mask = ws->side == WEBSOCKET_CLIENT,
		.payload_length = payload.len,
		.data = (const uint8_t *)payload.p,
		.data_length = payload.len};
	size_t need = payload.len + HEADER_MAX, before = out->len;
	int r = before + need > out->max ? -ERR_TOO_LARGE : buf_reserve(out, need);

	if (r < 0)
		return r;
	ws->into = out;
	/* with room for it all, on_send takes it all */
	if (wslay_frame_send(ws->wslay, &frame) == (ssize_t)payload.len)
		return 0;
	out->len = before;
	return -ERR_INTERNAL;
}

int websocket_send(struct websocket *ws, struct span text)
{
	struct buf *out = &ws->messages.bytes;
	size_t before = out->len, n;
	uint8_t opcode = WSLAY_TEXT_FRAME;
	int r = ws->closing ? -ERR_CLOSED : 0;

	while (r == 0) {
		n = ws->side == WEBSOCKET_CLIENT || text.len < FRAME_MAX ? text.len : FRAME_MAX;
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

static int queue_control(struct websocket *ws, uint8_t opcode, struct span payload)
{
	return ws->closing ? -ERR_CLOSED
			   : queue_frame(ws, &ws->controls_out.bytes, opcode, true, payload);
}

int websocket_ping(struct websocket *ws)
{
	return queue_control(ws, WSLAY_PING, SPAN_NONE);
}

/* What waits behind the frame that is leaving will not leave. */
static void drop_waiting(struct out *messages, size_t current)
{
	messages->bytes.len = messages->used + current;
}

static void queue_close(struct websocket *ws, enum websocket_code code, struct span reason, struct buf *out)
{
	char payload[CONTROL_PAYLOAD_MAX] = {(char)(code >> 8), (char)code};
	size_t len = reason.len < WEBSOCKET_REASON_MAX ? reason.len : WEBSOCKET_REASON_MAX;

	if (len)
		memcpy(payload + 2, reason.p, len);
	if (ws->closing)
		return;
	/* without memory for these few bytes the connection just ends */
	queue_frame(ws, out, WSLAY_CONNECTION_CLOSE, true,
		span_of(payload, code == WEBSOCKET_NO_CODE ? 0 : len + 2));
	ws->closing = true;
	ws->code = code;
}

void websocket_finish(struct websocket *ws, enum websocket_code code, const char *reason)
{
	queue_close(ws, code, span_str(reason), &ws->messages.bytes);
}

static void close_now(struct websocket *ws, enum websocket_code code, struct span reason)
{
	if (!ws->closing)
		drop_waiting(&ws->messages, ws->current);
	queue_close(ws, code, reason, &ws->controls_out.bytes);
}

void websocket_close(struct websocket *ws, enum websocket_code code, const char *reason)
{
	close_now(ws, code, span_str(reason));
}

/* Length of the frame that begins here, header and payload (RFC 6455 §5.2). */
static size_t frame_len(const char *p)
{
	const unsigned char *at = (const unsigned char *)p;
	unsigned len = at[1] & 0x7f, extended = len < 126 ? 0 : len == 126 ? 2 : 8;
	size_t payload = extended ? 0 : len;

	for (unsigned i = 0; i < extended; i++)
		payload = payload << 8 | at[2 + i];
	return 2 + extended + (at[1] & 0x80 ? 4 : 0) + payload;
}

static size_t waiting(const struct out *out)
{
	return out->bytes.len - out->used;
}

/* At most max bytes of it. Returns how many have left. */
static size_t put(struct websocket *ws, struct out *out, size_t max)
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

static size_t put_message(struct websocket *ws)
{
	struct out *out = &ws->messages;
	size_t n;

	if (ws->current == 0)
		ws->current = frame_len(out->bytes.data + out->used);
	n = put(ws, out, ws->current);
	ws->current -= n;
	return n;
}

void websocket_flush(struct websocket *ws)
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

size_t websocket_queued(const struct websocket *ws)
{
	return waiting(&ws->messages) + waiting(&ws->controls_out);
}

bool websocket_ended(const struct websocket *ws)
{
	return ws->closing && websocket_queued(ws) == 0;
}

bool websocket_close_received(const struct websocket *ws)
{
	return ws->peer_closed;
}

enum websocket_code websocket_code(const struct websocket *ws)
{
	return ws->code;
}

/* --- in ------------------------------------------------------------------------------------- */

static void refuse(struct websocket *ws, enum websocket_code code, const char *reason)
{
	websocket_close(ws, code, reason);
	ws->wrong = code;
	ws->deaf = true;
}

static int explain(const struct websocket *ws, struct err *err)
{
	switch (ws->wrong) {
	case 0:
		return err_set(err, ERR_CLOSED, "it closed the WebSocket: %s", ws->peer_close);
	case WEBSOCKET_TOO_BIG:
		return err_set(err, ERR_TOO_LARGE, "a message longer than %zu bytes came",
			ws->message.max);
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

/* The codes that may stand in a Close frame, RFC 6455 §7.4. */
static bool is_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != WEBSOCKET_NO_CODE &&
		       code != WEBSOCKET_ABNORMAL) ||
	       (code >= 3000 && code <= 4999);
}

/* It goes to logs and to people. */
static void note_close(struct websocket *ws, unsigned code, struct span payload)
{
	size_t len = payload.len > 2 ? payload.len - 2 : 0;

	if (code == WEBSOCKET_NO_CODE)
		snprintf(ws->peer_close, sizeof(ws->peer_close), "without a code");
	else
		snprintf(ws->peer_close, sizeof(ws->peer_close), "%u%s%.*s", code, len ? ", " : "",
			(int)len, len ? payload.p + 2 : "");
	for (char *p = ws->peer_close; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > 0x7e)
			*p = (unsigned char)*p < 0x80 ? ' ' : '?';
}

/* The same code goes back; then nothing more is said by either side. */
static void take_close(struct websocket *ws, struct span payload)
{
	const unsigned char *p = (const unsigned char *)payload.p;
	unsigned code = payload.len >= 2 ? (unsigned)p[0] << 8 | p[1] : WEBSOCKET_NO_CODE;

	ws->peer_closed = true;
	note_close(ws, code, payload);
	if (payload.len == 1 || (payload.len >= 2 && !is_code(code)))
		refuse(ws, WEBSOCKET_PROTOCOL, "a Close frame without a proper code");
	else if (payload.len > 2 && !json_is_utf8(span_of(payload.p + 2, payload.len - 2)))
		refuse(ws, WEBSOCKET_NOT_UTF8, "the reason is not UTF-8");
	else
		close_now(ws, (enum websocket_code)code, SPAN_NONE);
	ws->deaf = true;
}

static void take_control(struct websocket *ws, uint8_t opcode)
{
	struct span payload = buf_span(&ws->control);

	if (++ws->controls > WEBSOCKET_CONTROL_MAX)
		refuse(ws, WEBSOCKET_POLICY, "too many control frames");
	else if (opcode == WSLAY_CONNECTION_CLOSE)
		take_close(ws, payload);
	else if (opcode == WSLAY_PING && !ws->closing &&
		 queue_control(ws, WSLAY_PONG, payload) < 0)
		refuse(ws, WEBSOCKET_POLICY, "pongs are not read");
	buf_clear(&ws->control);
}

static void take_message(struct websocket *ws)
{
	struct buf whole = ws->message;

	ws->in_message = false;
	ws->controls = 0;
	buf_init(&ws->message, whole.max);
	if (!json_is_utf8(buf_span(&whole)))
		refuse(ws, WEBSOCKET_NOT_UTF8, "the text is not UTF-8");
	else if (!ws->closing)
		ws->ops->message(ws->arg, buf_span(&whole));
	buf_free(&whole);
}

/* May this frame come now? If not, the connection ends. */
static bool begin_frame(struct websocket *ws, const struct wslay_frame_iocb *frame)
{
	bool first = frame->opcode == WSLAY_TEXT_FRAME || frame->opcode == WSLAY_BINARY_FRAME;

	if (frame->rsv)
		refuse(ws, WEBSOCKET_PROTOCOL, "no extension was agreed on");
	else if (!frame->mask != (ws->side == WEBSOCKET_CLIENT))
		refuse(ws, WEBSOCKET_PROTOCOL,
			frame->mask ? "frames of a server are not masked"
				    : "frames of a client are masked");
	else if (frame->opcode > WSLAY_PONG || (frame->opcode > WSLAY_BINARY_FRAME &&
						       !wslay_is_ctrl_frame(frame->opcode)))
		refuse(ws, WEBSOCKET_PROTOCOL, "an unknown kind of frame");
	else if (wslay_is_ctrl_frame(frame->opcode))
		return true;
	else if (first == ws->in_message)
		refuse(ws, WEBSOCKET_PROTOCOL,
			first ? "a message within another" : "a fragment of no message");
	else if (frame->opcode == WSLAY_BINARY_FRAME)
		refuse(ws, WEBSOCKET_UNSUPPORTED, "messages are text");
	else if (frame->payload_length > ws->message.max - ws->message.len)
		refuse(ws, WEBSOCKET_TOO_BIG, "the message is too long");
	else if ((ws->fragments = first ? 1 : ws->fragments + 1) > WEBSOCKET_FRAMES_MAX)
		refuse(ws, WEBSOCKET_POLICY, "too many fragments");
	else
		ws->in_message = true;
	return !ws->deaf;
}

static void take_piece(struct websocket *ws, const struct wslay_frame_iocb *frame)
{
	bool is_control = wslay_is_ctrl_frame(frame->opcode);

	if (ws->frame_left == 0) {
		if (!begin_frame(ws, frame))
			return;
		ws->frame_left = frame->payload_length;
	}
	if (frame->data_length > 0 && buf_append(is_control ? &ws->control : &ws->message,
					       frame->data, frame->data_length) < 0) {
		refuse(ws, WEBSOCKET_INTERNAL, "out of memory");
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

int websocket_read(struct websocket *ws, struct span bytes, struct err *err)
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
			refuse(ws, WEBSOCKET_PROTOCOL, "a frame that cannot be");
	}
	ws->input = SPAN_NONE;
	ws->busy = false;
	if (ws->freed) {
		destroy(ws);
		return err_set(err, ERR_CLOSED, "the WebSocket is closed");
	}
	return ws->deaf ? explain(ws, err) : 0;
}

bool websocket_in_message(const struct websocket *ws, size_t *ret_len)
{
	*ret_len = ws->message.len;
	return ws->in_message;
}

void websocket_pardon(struct websocket *ws)
{
	ws->controls = 0;
}
