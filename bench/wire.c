/*
 * See wire.h.
 */
#include "wire.h"

#include <stdlib.h>
#include <strings.h>

static bool name_is(struct span name, const char *word)
{
	return name.len == strlen(word) && strncasecmp(name.p, word, name.len) == 0;
}

static bool value_has(struct span value, const char *word)
{
	size_t len = strlen(word);
	for (size_t i = 0; i + len <= value.len; i++)
		if (strncasecmp(value.p + i, word, len) == 0)
			return true;
	return false;
}

static void take_header(struct wire_head *head, struct span name, struct span value)
{
	if (name_is(name, "content-length"))
		head->length = strtoll(value.p, NULL, 10);
	else if (name_is(name, "transfer-encoding"))
		head->chunked = value_has(value, "chunked");
	else if (name_is(name, "connection"))
		head->close = value_has(value, "close");
	else if (name_is(name, "content-type"))
		head->events = value_has(value, "text/event-stream");
	else if (name_is(name, "mcp-session-id"))
		head->session = value;
	else if (name_is(name, "mcp-protocol-version"))
		head->version = value;
}

static bool take_first_line(struct wire_head *head, struct span line)
{
	if (line.len > 12 && memcmp(line.p, "HTTP/1.", 7) == 0) {
		head->status = atoi(line.p + 9);
		return head->status >= 100;
	}
	const char *first = memchr(line.p, ' ', line.len);
	if (!first)
		return false;
	const char *rest = first + 1;
	const char *second = memchr(rest, ' ', (size_t)(line.p + line.len - rest));
	if (!second)
		return false;
	head->method = span_of(line.p, (size_t)(first - line.p));
	head->path = span_of(rest, (size_t)(second - rest));
	return true;
}

static struct span trim(const char *from, const char *to)
{
	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	while (to > from && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r'))
		to--;
	return span_of(from, (size_t)(to - from));
}

enum wire_state wire_read_head(struct span bytes, struct wire_head *ret_head)
{
	const char *end = bytes.p ? memmem(bytes.p, bytes.len, "\r\n\r\n", 4) : NULL;
	if (!end)
		return WIRE_MORE;
	struct wire_head head = {.length = -1, .size = (size_t)(end + 4 - bytes.p)};
	const char *line = bytes.p;
	while (line < end + 2) {
		const char *eol = memchr(line, '\n', (size_t)(end + 2 - line));
		if (line == bytes.p) {
			if (!take_first_line(&head, trim(line, eol)))
				return WIRE_BAD;
		} else {
			const char *colon = memchr(line, ':', (size_t)(eol - line));
			if (!colon)
				return WIRE_BAD;
			take_header(
				&head, span_of(line, (size_t)(colon - line)), trim(colon + 1, eol));
		}
		line = eol + 1;
	}
	*ret_head = head;
	return WIRE_DONE;
}

static enum wire_state read_chunks(struct span bytes, struct buf *scratch, size_t *ret_used)
{
	size_t at = 0;
	buf_clear(scratch);
	for (;;) {
		const char *eol = memmem(bytes.p + at, bytes.len - at, "\r\n", 2);
		if (!eol)
			return WIRE_MORE;
		char *stop;
		unsigned long long size = strtoull(bytes.p + at, &stop, 16);
		if (stop == bytes.p + at || size > scratch->max)
			return WIRE_BAD;
		at = (size_t)(eol + 2 - bytes.p);
		if (bytes.len - at < size + 2)
			return WIRE_MORE;
		if (buf_append(scratch, bytes.p + at, size) < 0)
			return WIRE_BAD;
		at += size + 2;
		if (size == 0)
			break;
	}
	*ret_used = at;
	return WIRE_DONE;
}

enum wire_state wire_read_body(const struct wire_head *head, struct span bytes, struct buf *scratch,
	struct span *ret_body, size_t *ret_used)
{
	if (head->chunked) {
		enum wire_state state =
			bytes.len ? read_chunks(bytes, scratch, ret_used) : WIRE_MORE;
		if (state == WIRE_DONE)
			*ret_body = buf_span(scratch);
		return state;
	}
	size_t length = head->length > 0 ? (size_t)head->length : 0;
	if (bytes.len < length)
		return WIRE_MORE;
	*ret_body = span_of(bytes.p, length);
	*ret_used = length;
	return WIRE_DONE;
}

struct span wire_last_event(struct span events)
{
	struct span last = SPAN_NONE;
	const char *line = events.p;
	const char *end = events.p + events.len;
	while (line < end) {
		const char *eol = memchr(line, '\n', (size_t)(end - line));
		const char *stop = eol ? eol : end;
		if (stop - line > 5 && memcmp(line, "data:", 5) == 0) {
			struct span data = trim(line + 5, stop);
			if (data.len)
				last = data;
		}
		line = stop + 1;
	}
	return last;
}
