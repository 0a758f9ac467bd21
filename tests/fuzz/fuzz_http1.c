/*
 * The HTTP/1 reader: fed whole and in pieces (of the size in the first byte; its top bit chooses
 * requests or responses) it must see the same messages; what it accepted as a head must be safe to
 * write, and read the same again.
 */
#include "fuzz.h"
#include "http1.h"

#define ROOM (1u << 24)
#define BODY_MAX (1u << 20)

static const struct http1_limits limits = {
	.head = 1024, .target = 200, .headers = 20, .body = BODY_MAX};
static const struct http1_limits ample = {
	.head = 8192, .target = 2000, .headers = 100, .body = BODY_MAX};

static void note_head(struct buf *seen, const struct http1_head *head)
{
	FUZZ_CHECK(buf_printf(seen, "\n%.*s|%.*s|%.*s|%.*s|%.*s|%u|%u|%d|%llu|%d%d%d\n",
			   SPAN_ARG(head->method), SPAN_ARG(head->target), SPAN_ARG(head->path),
			   SPAN_ARG(head->query), SPAN_ARG(head->host), head->status, head->minor,
			   head->framing, (unsigned long long)head->content_length,
			   head->keep_alive, head->expect_continue, head->upgrade) == 0);
	FUZZ_CHECK(head->nheaders <= limits.headers && head->target.len <= limits.target);
	for (unsigned i = 0; i < head->nheaders; i++)
		FUZZ_CHECK(buf_printf(seen, "%.*s=%.*s\n", SPAN_ARG(head->headers[i].name),
				   SPAN_ARG(head->headers[i].value)) == 0);
}

/* Written by our own writers, a 1.1 request is accepted again and says the same. */
static void check_rewritten(const struct http1_head *head)
{
	struct http1 *http = http1_new(HTTP1_REQUEST, &ample);
	struct span in, body;
	struct buf out, before, after;

	buf_init(&out, ROOM);
	buf_init(&before, ROOM);
	buf_init(&after, ROOM);
	FUZZ_CHECK(http1_write_request_line(&out, head->method, head->target) == 0);
	for (unsigned i = 0; i < head->nheaders; i++)
		FUZZ_CHECK(http1_write_header(
				   &out, head->headers[i].name, head->headers[i].value) == 0);
	FUZZ_CHECK(http1_write_head_end(&out) == 0);
	in = buf_span(&out);
	FUZZ_CHECK(http1_read(http, &in, &body, NULL) == HTTP1_HEAD && in.len == 0);
	note_head(&before, head);
	note_head(&after, http1_head(http));
	FUZZ_CHECK(span_equal(buf_span(&before), buf_span(&after)));
	http1_free(http);
	buf_free(&out);
	buf_free(&before);
	buf_free(&after);
}

static void note_event(
	struct http1 *http, enum http1_kind kind, int event, struct span body, struct buf *seen)
{
	const struct http1_head *head = http1_head(http);

	if (event == HTTP1_HEAD) {
		note_head(seen, head);
		if (kind == HTTP1_REQUEST && head->minor == 1)
			check_rewritten(head);
	} else if (event == HTTP1_BODY) {
		FUZZ_CHECK(body.len > 0);
		FUZZ_CHECK(buf_append_span(seen, body) == 0);
	} else {
		FUZZ_CHECK(buf_append_str(seen, "\n--\n") == 0);
		http1_next(http);
	}
}

/* Each piece in memory of its own, so that reading past it is seen. Returns whether it failed. */
static bool run(enum http1_kind kind, struct span in, size_t step, struct buf *seen)
{
	struct http1 *http = http1_new(kind, &limits);
	struct err err = {0};
	int r = 0;

	FUZZ_CHECK(http);
	while (in.len > 0 && r >= 0) {
		size_t n = in.len < step ? in.len : step;
		char *copy = malloc(n);
		struct span piece = span_of(memcpy(copy, in.p, n), n), body = SPAN_NONE;

		while ((r = http1_read(http, &piece, &body, &err)) > HTTP1_MORE)
			note_event(http, kind, r, body, seen);
		FUZZ_CHECK(r < 0 ? err.code == r : piece.len == 0);
		in = span_of(in.p + n, in.len - n);
		free(copy);
	}
	http1_free(http);
	return r < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole, pieces;
	enum http1_kind kind;
	struct span text;
	bool failed;

	if (size < 2)
		return 0;
	kind = data[0] & 0x80 ? HTTP1_RESPONSE : HTTP1_REQUEST;
	text = span_of((const char *)data + 1, size - 1);
	buf_init(&whole, ROOM);
	buf_init(&pieces, ROOM);
	failed = run(kind, text, SIZE_MAX, &whole);
	FUZZ_CHECK(run(kind, text, (data[0] & 0x7f) + 1u, &pieces) == failed);
	FUZZ_CHECK(span_equal(buf_span(&whole), buf_span(&pieces)));
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
