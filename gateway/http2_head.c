/* The head of a request, from its headers as they come out of HPACK. */
#include "http2_internal.h"

#include <strings.h>

#define HEADERS_FIRST 16u
/* What a name and a value have around them in HTTP/1. */
#define HEADER_EXTRA 4u

static void refuse(struct http2_stream *stream, int code, const char *detail)
{
	if (stream->bad)
		return;
	stream->bad = code;
	stream->bad_detail = detail;
}

static struct span keep(struct http2_stream *stream, struct span text)
{
	struct span kept = text.len ? arena_copy(&stream->arena, text) : SPAN_LIT("");

	if (!kept.p)
		refuse(stream, -ERR_NO_MEMORY, "no room for the request's headers");
	return kept;
}

static bool grow(struct http2_stream *stream)
{
	unsigned room = stream->headers_room ? stream->headers_room * 2 : HEADERS_FIRST;
	struct http1_header *headers = arena_alloc(&stream->arena, room * sizeof(*headers));

	if (!headers) {
		refuse(stream, -ERR_NO_MEMORY, "no room for the request's headers");
		return false;
	}
	if (stream->head.nheaders)
		memcpy(headers, stream->headers, stream->head.nheaders * sizeof(*headers));
	stream->headers = headers;
	stream->headers_room = room;
	return true;
}

static void add_header(struct http2_stream *stream, struct span name, struct span value)
{
	if (stream->head.nheaders >= stream->http2->sock->server->limits.headers) {
		refuse(stream, -ERR_HEADERS_TOO_LARGE, "too many headers");
		return;
	}
	if (stream->head.nheaders == stream->headers_room && !grow(stream))
		return;
	stream->headers[stream->head.nheaders++] =
		(struct http1_header){.name = keep(stream, name), .value = keep(stream, value)};
}

/* libnghttp2 has seen to it that there is one of each that must be there, before all others. */
static void add_pseudo(struct http2_stream *stream, struct span name, struct span value)
{
	if (span_is(name, ":method"))
		stream->head.method = keep(stream, value);
	else if (span_is(name, ":authority"))
		stream->authority = keep(stream, value);
	else if (span_is(name, ":path") && value.len > stream->http2->sock->server->limits.target)
		refuse(stream, -ERR_URI_TOO_LONG, "the path is too long");
	else if (span_is(name, ":path"))
		stream->head.target = keep(stream, value);
}

void http2_head_add(struct http2_stream *stream, struct span name, struct span value)
{
	const struct http_limits *limits = &stream->http2->sock->server->limits;

	stream->head_size += name.len + value.len + HEADER_EXTRA;
	if (stream->head_size > limits->head)
		refuse(stream, -ERR_HEADERS_TOO_LARGE, "the headers are too large");
	if (stream->bad)
		return;
	if (name.len && name.p[0] == ':')
		add_pseudo(stream, name, value);
	else
		add_header(stream, name, value);
}

static void split_target(struct http1_head *head)
{
	const char *mark = head->target.len ? memchr(head->target.p, '?', head->target.len) : NULL;

	head->path = head->target;
	if (!mark)
		return;
	head->path.len = (size_t)(mark - head->target.p);
	head->query = span_of(mark + 1, head->target.len - head->path.len - 1);
}

/* RFC 9113 §8.3.1: of two that say different things neither is believed. */
static void find_host(struct http2_stream *stream)
{
	struct span host = http1_header_get(&stream->head, "host");
	struct span authority = stream->authority;

	if (http1_header_count(&stream->head, "host") > 1)
		refuse(stream, -ERR_BAD_HTTP, "more than one Host");
	if (host.p && authority.p &&
		(host.len != authority.len || strncasecmp(host.p, authority.p, host.len) != 0))
		refuse(stream, -ERR_BAD_HTTP, "Host and :authority differ");
	stream->head.host = authority.p ? authority : host;
}

/* Digits, as libnghttp2 has checked; a number that does not fit is too large anyway. */
static uint64_t read_length(struct span digits)
{
	uint64_t n = 0;

	for (size_t i = 0; i < digits.len; i++) {
		if (n > (UINT64_MAX - 9) / 10)
			return UINT64_MAX;
		n = n * 10 + (uint64_t)(digits.p[i] - '0');
	}
	return n;
}

void http2_head_finish(struct http2_stream *stream, bool more)
{
	struct http1_head *head = &stream->head;
	struct span length;

	head->headers = stream->headers;
	head->minor = 1;
	head->keep_alive = true;
	split_target(head);
	find_host(stream);
	if (!more)
		return;
	length = http1_header_get(head, "content-length");
	head->framing = length.p ? HTTP1_FRAMING_LENGTH : HTTP1_FRAMING_CHUNKED;
	head->content_length = length.p ? read_length(length) : 0;
	if (length.p && head->content_length == 0)
		head->framing = HTTP1_FRAMING_NONE;
	head->expect_continue = http1_header_has_token(head, "expect", "100-continue");
}
