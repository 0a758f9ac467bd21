/*
 * The parser of server-sent events: fed whole and in pieces (of the size in the first byte), it
 * must give the same events; written and read again, they must be the same once more (but for an id
 * that was taken back by an empty one: an event is written without id then).
 */
#include "fuzz.h"
#include "sse.h"

#define EVENT_MAX 300u
#define ROOM (1u << 22)

struct seen {
	struct buf events; /* types and data, with their lengths: unambiguous */
	struct buf ids;
	struct buf written; /* each event as we would write it */
};

static void seen_init(struct seen *seen)
{
	buf_init(&seen->events, ROOM);
	buf_init(&seen->ids, ROOM);
	buf_init(&seen->written, ROOM);
}

static void seen_free(struct seen *seen)
{
	buf_free(&seen->events);
	buf_free(&seen->ids);
	buf_free(&seen->written);
}

static void note(struct seen *seen, const struct sse_event *e)
{
	FUZZ_CHECK(e->data.len <= EVENT_MAX && e->id.len <= SSE_ID_MAX && e->event.len > 0);
	FUZZ_CHECK(buf_printf(&seen->events, "%zu %zu ", e->event.len, e->data.len) == 0);
	FUZZ_CHECK(buf_append_span(&seen->events, e->event) == 0);
	FUZZ_CHECK(buf_append_span(&seen->events, e->data) == 0);
	FUZZ_CHECK(buf_printf(&seen->ids, "%zu ", e->id.len) == 0);
	FUZZ_CHECK(buf_append_span(&seen->ids, e->id) == 0);
	FUZZ_CHECK(sse_write_event(&seen->written, e->id, e->event, e->data) == 0);
}

static int run(struct span text, size_t step, struct seen *seen)
{
	struct sse_parser *parser = sse_parser_new(EVENT_MAX);
	int r = 0;

	FUZZ_CHECK(parser);
	while (text.len > 0 && r == 0) {
		struct span piece = span_of(text.p, step < text.len ? step : text.len);
		struct sse_event e;

		text = span_of(text.p + piece.len, text.len - piece.len);
		while ((r = sse_parser_next(parser, &piece, &e, NULL)) == 1)
			note(seen, &e);
	}
	FUZZ_CHECK(r == 0 || r == -ERR_TOO_LARGE);
	sse_parser_free(parser);
	return r;
}

static bool same(const struct buf *a, const struct buf *b)
{
	return span_equal(buf_span(a), buf_span(b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole, pieces, again;
	struct span text;

	if (size < 1)
		return 0;
	text = span_of((const char *)data + 1, size - 1);
	seen_init(&whole);
	seen_init(&pieces);
	seen_init(&again);
	FUZZ_CHECK(run(text, SIZE_MAX, &whole) == run(text, data[0] ? data[0] : 1, &pieces));
	FUZZ_CHECK(same(&whole.events, &pieces.events) && same(&whole.ids, &pieces.ids));
	/* Id and type are written with every event, which may pass the limit by that. */
	if (run(buf_span(&whole.written), SIZE_MAX, &again) == 0)
		FUZZ_CHECK(same(&whole.events, &again.events));
	seen_free(&whole);
	seen_free(&pieces);
	seen_free(&again);
	return 0;
}
