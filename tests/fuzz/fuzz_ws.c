/*
 * WebSocket framing as a client may send it: fed whole and in pieces (of the size in the first
 * byte), with an output that takes little at a time (the second byte), it must give the same
 * messages, the same bytes back and the same end. Messages are valid UTF-8 within the limit; each
 * is sent back.
 */
#include "fuzz.h"
#include "buf.h"
#include "json_write.h"
#include "websocket.h"

#define MESSAGE_MAX 300u
#define QUEUE_MAX (1u << 20)
#define ROOM (1u << 22)

struct side {
	struct websocket *ws;
	struct buf messages; /* with their lengths: unambiguous */
	struct buf sent;
	size_t take; /* bytes that are taken at once */
};

static void on_message(void *arg, struct span text)
{
	struct side *side = arg;

	FUZZ_CHECK(text.len <= MESSAGE_MAX && json_is_utf8(text));
	FUZZ_CHECK(buf_printf(&side->messages, "%zu ", text.len) == 0);
	FUZZ_CHECK(buf_append_span(&side->messages, text) == 0);
	websocket_send(side->ws, text);
}

static size_t put(void *arg, struct span bytes)
{
	struct side *side = arg;
	size_t n = bytes.len < side->take ? bytes.len : side->take;

	FUZZ_CHECK(n > 0 && buf_append(&side->sent, bytes.p, n) == 0);
	return n;
}

static void run(struct span input, size_t step, size_t take, struct side *side)
{
	static const struct websocket_ops ops = {.message = on_message, .put = put};
	int r = 0;

	*side = (struct side){.take = take};
	buf_init(&side->messages, ROOM);
	buf_init(&side->sent, ROOM);
	side->ws = websocket_new(WEBSOCKET_SERVER, MESSAGE_MAX, QUEUE_MAX, &ops, side);
	FUZZ_CHECK(side->ws);
	while (input.len > 0 && r == 0) {
		size_t n = step < input.len ? step : input.len;

		r = websocket_read(side->ws, span_of(input.p, n), NULL);
		input = span_of(input.p + n, input.len - n);
	}
	websocket_flush(side->ws);
	FUZZ_CHECK(websocket_queued(side->ws) == 0);
	FUZZ_CHECK(websocket_ended(side->ws) == (r < 0));
	FUZZ_CHECK((websocket_code(side->ws) == WEBSOCKET_ABNORMAL) == (r == 0));
}

static void end(struct side *side)
{
	websocket_free(side->ws);
	buf_free(&side->messages);
	buf_free(&side->sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct side whole, pieces;
	struct span input;

	if (size < 2)
		return 0;
	input = span_of((const char *)data + 2, size - 2);
	run(input, SIZE_MAX, SIZE_MAX, &whole);
	run(input, data[0] ? data[0] : 1, data[1] ? data[1] : 1, &pieces);
	FUZZ_CHECK(span_equal(buf_span(&whole.messages), buf_span(&pieces.messages)));
	FUZZ_CHECK(span_equal(buf_span(&whole.sent), buf_span(&pieces.sent)));
	FUZZ_CHECK(websocket_code(whole.ws) == websocket_code(pieces.ws));
	end(&whole);
	end(&pieces);
	return 0;
}
