/*
 * Server-sent events.
 *
 * The parser cuts its input into lines as it comes: of a line that is whole in one chunk nothing is
 * copied but the value of a field that matters, and only the rest of a chunk is kept for the next.
 */
#include "sse.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

/* Memory kept by each buffer of a stream between events; one large event must not hold it for
 * hours. */
#define BUF_KEPT 16384u

struct sse_parser {
	struct buf line; /* start of a line whose end has not come */
	struct buf data;
	struct buf event;
	struct buf id;  /* last id of the stream */
	size_t pending; /* bytes since the last empty line */
	size_t spent;   /* bytes of the event being read */
	size_t event_max;
	int64_t retry_ms;
	unsigned bom;  /* bytes of a byte order mark seen; 3: past the start of the stream */
	bool after_cr; /* the last line ended in CR: an LF now belongs to it */
	bool has_data;
	bool given_out; /* the buffers hold an event that was handed out */
};

struct sse_parser *sse_parser_new(size_t event_max)
{
	struct sse_parser *parser = calloc(1, sizeof(*parser));

	if (!parser)
		return NULL;
	parser->event_max = event_max;
	parser->retry_ms = -1;
	buf_init(&parser->line, event_max);
	buf_init(&parser->data, event_max);
	buf_init(&parser->event, event_max);
	buf_init(&parser->id, SSE_ID_MAX);
	return parser;
}

void sse_parser_free(struct sse_parser *parser)
{
	if (!parser)
		return;
	buf_free(&parser->line);
	buf_free(&parser->data);
	buf_free(&parser->event);
	buf_free(&parser->id);
	free(parser);
}

static void release(struct buf *buf)
{
	if (buf->cap > BUF_KEPT)
		buf_free(buf);
	else
		buf_clear(buf);
}

static void event_clear(struct sse_parser *parser)
{
	release(&parser->data);
	release(&parser->event);
	parser->pending = 0;
	parser->has_data = false;
	parser->given_out = false;
	parser->spent = 0;
}

void sse_parser_reset(struct sse_parser *parser)
{
	event_clear(parser);
	release(&parser->line);
	parser->bom = 0;
	parser->after_cr = false;
}

struct span sse_parser_last_id(const struct sse_parser *parser)
{
	return buf_span(&parser->id);
}

int64_t sse_parser_retry_ms(const struct sse_parser *parser)
{
	return parser->retry_ms;
}

size_t sse_parser_pending(const struct sse_parser *parser)
{
	return parser->pending;
}

static int set(struct buf *buf, struct span value)
{
	buf_clear(buf);
	return buf_append_span(buf, value);
}

static int field_data(struct sse_parser *parser, struct span value)
{
	int r = parser->has_data ? buf_append_char(&parser->data, '\n') : 0;

	parser->has_data = true;
	return r < 0 ? r : buf_append_span(&parser->data, value);
}

static int field_id(struct sse_parser *parser, struct span value)
{
	if (value.len && memchr(value.p, '\0', value.len))
		return 0;
	return set(&parser->id, value);
}

static void field_retry(struct sse_parser *parser, struct span value)
{
	int64_t ms = 0;

	if (value.len == 0)
		return;
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return;
		/* More than a 32-bit number of milliseconds is 49 days: cut there. */
		ms = ms * 10 + (value.p[i] - '0');
		if (ms > UINT32_MAX)
			ms = UINT32_MAX;
	}
	parser->retry_ms = ms;
}

static int take_field(struct sse_parser *parser, struct span name, struct span value)
{
	if (span_is(name, "data"))
		return field_data(parser, value);
	if (span_is(name, "event"))
		return set(&parser->event, value);
	if (span_is(name, "id"))
		return field_id(parser, value);
	if (span_is(name, "retry"))
		field_retry(parser, value);
	return 0;
}

/* A line without its end. Returns 1 if it completes an event. */
static int take_line(struct sse_parser *parser, struct span line)
{
	const char *colon;
	struct span value = SPAN_NONE;

	if (line.len == 0) {
		if (parser->has_data)
			return 1;
		event_clear(parser);
		return 0;
	}
	colon = memchr(line.p, ':', line.len);
	if (colon == line.p)
		return 0;
	if (colon) {
		value = span_of(colon + 1, line.len - (size_t)(colon - line.p) - 1);
		if (value.len && value.p[0] == ' ')
			value = span_of(value.p + 1, value.len - 1);
		line.len = (size_t)(colon - line.p);
	}
	return take_field(parser, line, value);
}

/* The first CR or LF; NULL if there is none. */
static const char *find_line_end(struct span text)
{
	const char *lf = memchr(text.p, '\n', text.len);
	const char *cr = memchr(text.p, '\r', lf ? (size_t)(lf - text.p) : text.len);

	return cr ? cr : lf;
}

static void advance(struct sse_parser *parser, struct span *input, size_t n)
{
	*input = span_of(input->p + n, input->len - n);
	parser->pending += n;
}

/* A byte order mark at the start of the stream, and the LF of a CRLF whose CR ended the line
 * before. */
static int skip_marks(struct sse_parser *parser, struct span *input)
{
	static const char bom[3] = {'\xef', '\xbb', '\xbf'};

	while (parser->bom < 3 && input->len > 0) {
		if (input->p[0] != bom[parser->bom]) {
			/* It was none: what looked like one starts the line. */
			int r = buf_append(&parser->line, bom, parser->bom);

			parser->bom = 3;
			if (r < 0)
				return r;
			break;
		}
		parser->bom++;
		advance(parser, input, 1);
	}
	if (parser->after_cr && input->len > 0) {
		parser->after_cr = false;
		if (input->p[0] == '\n')
			*input = span_of(input->p + 1, input->len - 1);
	}
	return 0;
}

/* Count n bytes of the event being read; comments count too, so that an endless one ends. */
static int spend(struct sse_parser *parser, size_t n)
{
	if (n > parser->event_max - parser->spent)
		return -ERR_TOO_LARGE;
	parser->spent += n;
	return 0;
}

/* Up to one line from input. Returns 1 if it completes an event. */
static int read_line(struct sse_parser *parser, struct span *input)
{
	const char *end = find_line_end(*input);
	size_t n = end ? (size_t)(end - input->p) : input->len;
	struct span line = span_of(input->p, n);
	bool cr = end && *end == '\r', comment;
	int r = spend(parser, n);

	if (r == 0 && (!end || parser->line.len > 0))
		r = buf_append_span(&parser->line, line);
	if (r < 0)
		return r;
	advance(parser, input, n + (end ? 1 : 0));
	if (!end)
		return 0;
	parser->after_cr = cr;
	if (parser->line.len > 0)
		line = buf_span(&parser->line);
	comment = line.len > 0 && line.p[0] == ':';
	if (comment)
		parser->spent -= line.len;
	r = take_line(parser, line);
	release(&parser->line);
	return r;
}

static void hand_out(struct sse_parser *parser, struct sse_event *ret)
{
	ret->data = buf_span(&parser->data);
	ret->event = parser->event.len ? buf_span(&parser->event) : SPAN_LIT("message");
	ret->id = buf_span(&parser->id);
	parser->given_out = true;
	parser->pending = 0;
}

static int fail(const struct sse_parser *parser, int r, struct err *err)
{
	if (r == -ERR_TOO_LARGE)
		return err_set(err, ERR_TOO_LARGE,
			"a server-sent event of more than %zu bytes, or an id of more than %u",
			parser->event_max, SSE_ID_MAX);
	return err_set(err, ERR_NO_MEMORY, "no memory for a server-sent event");
}

int sse_parser_next(
	struct sse_parser *parser, struct span *input, struct sse_event *ret, struct err *err)
{
	int r;

	if (parser->given_out)
		event_clear(parser);
	r = skip_marks(parser, input);
	while (r == 0 && input->len > 0) {
		r = read_line(parser, input);
		if (r == 0)
			r = skip_marks(parser, input);
	}
	if (r < 0)
		return fail(parser, r, err);
	if (r == 1)
		hand_out(parser, ret);
	return r;
}

static bool one_line(struct span text)
{
	return text.len == 0 ||
	       (!memchr(text.p, '\n', text.len) && !memchr(text.p, '\r', text.len));
}

static int write_field(struct buf *out, const char *name, struct span value)
{
	int r = buf_append_str(out, name);

	if (r == 0)
		r = buf_append_span(out, value);
	return r < 0 ? r : buf_append_char(out, '\n');
}

/* One line of data off the front of *data; false after the last. */
static bool next_line(struct span *data, bool *more, struct span *ret_line)
{
	const char *end;
	size_t n, skip = 1;

	if (!*more)
		return false;
	end = data->len ? find_line_end(*data) : NULL;
	*more = end != NULL;
	n = end ? (size_t)(end - data->p) : data->len;
	*ret_line = span_of(data->p, n);
	if (end && *end == '\r' && n + 1 < data->len && end[1] == '\n')
		skip = 2;
	if (end)
		*data = span_of(data->p + n + skip, data->len - n - skip);
	return true;
}

static int write_data(struct buf *out, struct span data)
{
	struct span line;
	bool more = true;
	int r = 0;

	while (r == 0 && next_line(&data, &more, &line))
		r = write_field(out, "data: ", line);
	return r;
}

int sse_write_event(struct buf *out, struct span id, struct span event, struct span data)
{
	size_t start = out->len;
	int r = 0;

	if (!one_line(id) || !one_line(event) || (id.len && memchr(id.p, '\0', id.len)))
		return -ERR_INVALID_ARGUMENT;
	if (id.len)
		r = write_field(out, "id: ", id);
	if (r == 0 && event.len)
		r = write_field(out, "event: ", event);
	if (r == 0)
		r = write_data(out, data);
	if (r == 0)
		r = buf_append_char(out, '\n');
	if (r < 0)
		buf_cut(out, start);
	return r;
}

int sse_write_comment(struct buf *out, struct span text)
{
	size_t start = out->len;
	int r;

	if (!one_line(text))
		return -ERR_INVALID_ARGUMENT;
	r = write_field(out, text.len ? ": " : ":", text);
	if (r == 0)
		r = buf_append_char(out, '\n');
	if (r < 0)
		buf_cut(out, start);
	return r;
}

int sse_write_retry(struct buf *out, uint32_t ms)
{
	return buf_printf(out, "retry: %" PRIu32 "\n\n", ms);
}
