/*
 * What a peer sends over a WebSocket, as client (first byte even) and as server: fed whole and in
 * pieces (of the size in the second byte), it must give the same messages and end the same way;
 * what is written in answer must be frames that the other side understands.
 */
#include "fuzz.h"
#include "buf.h"
#include "websocket.h"

#define MESSAGE_MAX 300u
#define ROOM (1u << 22)

struct end {
	struct websocket *ws;
	struct buf got;  /* messages, with their lengths: unambiguous */
	struct buf sent; /* frames */
};

static void on_message(void *arg, struct span text)
{
	struct end *end = arg;

	FUZZ_CHECK(text.len <= MESSAGE_MAX);
	FUZZ_CHECK(buf_printf(&end->got, "%zu ", text.len) == 0);
	FUZZ_CHECK(buf_append_span(&end->got, text) == 0);
}

static size_t put(void *arg, struct span bytes)
{
	struct end *end = arg;

	FUZZ_CHECK(buf_append_span(&end->sent, bytes) == 0);
	return bytes.len;
}

static void end_init(struct end *end, enum websocket_side side)
{
	static const struct websocket_ops ops = {.message = on_message, .put = put};

	buf_init(&end->got, ROOM);
	buf_init(&end->sent, ROOM);
	end->ws = websocket_new(side, MESSAGE_MAX, ROOM, &ops, end);
	FUZZ_CHECK(end->ws);
}

static void end_free(struct end *end)
{
	websocket_free(end->ws);
	buf_free(&end->got);
	buf_free(&end->sent);
}

static int feed(struct end *end, struct span text, size_t step)
{
	struct err err = {0};
	int r = 0;

	while (text.len > 0 && r == 0) {
		size_t n = step < text.len ? step : text.len;

		r = websocket_read(end->ws, span_of(text.p, n), &err);
		text = span_of(text.p + n, text.len - n);
	}
	FUZZ_CHECK(r == 0 || r == -ERR_CLOSED || r == -ERR_TOO_LARGE || r == -ERR_PROTOCOL);
	FUZZ_CHECK(r == err.code);
	return r;
}

/* Pongs and the close frame. Who asked for so many pongs would take time between them. */
static void check_answers(struct end *end, enum websocket_side side)
{
	struct span left;
	struct end other;
	int r = 0;

	end_init(&other, !side);
	websocket_flush(end->ws);
	FUZZ_CHECK(websocket_queued(end->ws) == 0);
	left = buf_span(&end->sent);
	while (left.len > 0 && r == 0) {
		size_t n = left.len < WEBSOCKET_CONTROL_MAX ? left.len : WEBSOCKET_CONTROL_MAX;

		r = feed(&other, span_of(left.p, n), SIZE_MAX);
		websocket_pardon(other.ws);
		left = span_of(left.p + n, left.len - n);
	}
	FUZZ_CHECK(r == 0 || r == -ERR_CLOSED);
	FUZZ_CHECK(other.got.len == 0);
	end_free(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum websocket_side side;
	struct end whole, pieces;
	struct span text;
	int r;

	if (size < 2)
		return 0;
	side = data[0] & 1 ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT;
	text = span_of((const char *)data + 2, size - 2);
	end_init(&whole, side);
	end_init(&pieces, side);
	r = feed(&whole, text, SIZE_MAX);
	FUZZ_CHECK(feed(&pieces, text, data[1] ? data[1] : 1) == r);
	FUZZ_CHECK(span_equal(buf_span(&whole.got), buf_span(&pieces.got)));
	check_answers(&whole, side);
	end_free(&whole);
	end_free(&pieces);
	return 0;
}
