/* Reading HTTP/1: collecting the head, framing of the body. */
#include "http1_internal.h"

#include <stdlib.h>

/* Empty lines before a request line that are forgiven: RFC 9112 §2.2 asks for at least one. */
#define EMPTY_LINES_MAX 4
/* Room beside the target in a request line: method, two spaces, version. */
#define REQUEST_LINE_REST 64
/* First piece of the head buffer: what a usual request needs, so that it grows once or never. */
#define HEAD_FIRST 1024

struct http1 *http1_new(enum http1_kind kind, const struct http1_limits *limits)
{
	struct http1 *http = calloc(1, sizeof(*http));

	if (!http)
		return NULL;
	http->kind = kind;
	http->limits = *limits;
	buf_init(&http->raw, limits->head);
	return http;
}

void http1_free(struct http1 *http)
{
	if (!http)
		return;
	http1_release(http);
	free(http);
}

void http1_release(struct http1 *http)
{
	buf_free(&http->raw);
	free(http->headers);
	http->headers = NULL;
	http->has_head = false;
}

void http1_next(struct http1 *http)
{
	bool interim = http->kind == HTTP1_RESPONSE && http->head.status < 200;

	if (http->state != HTTP1_AT_END)
		return;
	http1_release(http);
	http->head_response = http->head_response && interim;
	http->state = HTTP1_IN_HEAD;
	http->head = (struct http1_head){0};
	http->line_start = 0;
	http->lines = http->empty_lines = 0;
	http->body_seen = http->remaining = 0;
	http->chunk_state = CHUNK_SIZE_FIRST;
	http->chunk_digits = http->trailers = 0;
	http->chunk_extra = 0;
}

void http1_set_body_limit(struct http1 *http, uint64_t max)
{
	http->limits.body = max;
}

void http1_set_head_response(struct http1 *http)
{
	http->head_response = true;
}

const struct http1_head *http1_head(const struct http1 *http)
{
	return http->has_head ? &http->head : NULL;
}

bool http1_started(const struct http1 *http)
{
	return http->state != HTTP1_IN_HEAD || http->raw.len > 0;
}

/* The head may be longer than allowed because of its target, or because of its headers. */
static int refuse_long_head(struct http1 *http, struct err *err)
{
	if (http->kind == HTTP1_REQUEST && http->lines == 0)
		return err_set(err, ERR_URI_TOO_LONG, "the request line is longer than %zu bytes",
			http->raw.max);
	return err_set(err, ERR_HEADERS_TOO_LARGE, "the headers are longer than %zu bytes",
		http->limits.head);
}

static int check_first_byte(struct http1 *http, struct err *err)
{
	unsigned char c = (unsigned char)http->raw.data[http->line_start];

	if (http->lines > 0 && (c == ' ' || c == '\t'))
		return err_set(
			err, ERR_BAD_HTTP, "a header line is folded or begins with whitespace");
	if (http->lines == 0 && c == 0x16)
		return err_set(
			err, ERR_BAD_HTTP, "this looks like TLS, but plain HTTP is spoken here");
	if (http->lines == 0 && (c <= ' ' || c >= 0x7f) && c != '\r')
		return err_set(err, ERR_BAD_HTTP, "the start line begins with byte 0x%02x", c);
	return 0;
}

/*
 * Line ends must be CR LF, in both directions: llhttp and other readers differ in what a lone one
 * means. Looks at what was added from `from` on.
 */
static int check_line_end(const struct http1 *http, size_t from, struct err *err)
{
	const char *p = http->raw.data, *cr;
	size_t len = http->raw.len;

	if (p[len - 1] == '\n' && (len - http->line_start < 2 || p[len - 2] != '\r'))
		return err_set(err, ERR_BAD_HTTP, "a line ends with LF instead of CR LF");
	if (from > http->line_start)
		from--;
	cr = memchr(p + from, '\r', len - from);
	if (cr && cr != p + len - 1 && cr[1] != '\n')
		return err_set(err, ERR_BAD_HTTP, "a CR is not followed by LF");
	return 0;
}

/* A complete line. Returns 1 when it ends the head. */
static int end_line(struct http1 *http, struct err *err)
{
	size_t len = http->raw.len - http->line_start;

	if (len == 2 && http->lines > 0)
		return 1;
	if (len == 2) {
		if (++http->empty_lines > EMPTY_LINES_MAX)
			return err_set(err, ERR_BAD_HTTP, "empty lines instead of a start line");
		buf_free(&http->raw);
		return 0;
	}
	if (http->lines++ > http->limits.headers)
		return err_set(err, ERR_HEADERS_TOO_LARGE, "more than %u header lines",
			http->limits.headers);
	http->line_start = http->raw.len;
	return 0;
}

static int append_head(struct http1 *http, struct span piece, struct err *err)
{
	size_t from = http->raw.len;
	int r;

	if (!http->raw.data) {
		r = buf_reserve(
			&http->raw, http->raw.max < HEAD_FIRST ? http->raw.max : HEAD_FIRST);
		if (r < 0)
			return err_set(err, ERR_NO_MEMORY, "no memory for a head");
	}
	if (piece.len > http->raw.max - from)
		return refuse_long_head(http, err);
	r = buf_append_span(&http->raw, piece);
	if (r < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a head");
	if (from == http->line_start) {
		r = check_first_byte(http, err);
		if (r < 0)
			return r;
	}
	r = check_line_end(http, from, err);
	if (r < 0)
		return r;
	if (http->kind == HTTP1_REQUEST && http->lines == 0 &&
		http->raw.len > http->limits.target + REQUEST_LINE_REST)
		return err_set(err, ERR_URI_TOO_LONG, "the request target is longer than %zu bytes",
			http->limits.target);
	return 0;
}

static int begin_body(struct http1 *http, struct err *err)
{
	static const enum http1_state states[] = {
		[HTTP1_FRAMING_NONE] = HTTP1_AT_END,
		[HTTP1_FRAMING_LENGTH] = HTTP1_IN_LENGTH,
		[HTTP1_FRAMING_CHUNKED] = HTTP1_IN_CHUNKED,
		[HTTP1_FRAMING_EOF] = HTTP1_IN_EOF_BODY,
	};
	int r = http1_parse_head(http, err);

	if (r < 0)
		return r;
	http->has_head = true;
	http->state = states[http->head.framing];
	http->remaining =
		http->head.framing == HTTP1_FRAMING_LENGTH ? http->head.content_length : 0;
	return HTTP1_HEAD;
}

/* Line by line, so that what is wrong is found while it comes and nothing behind the head is
 * copied. */
static int read_head(struct http1 *http, struct span *input, struct err *err)
{
	while (input->len > 0) {
		const char *lf = memchr(input->p, '\n', input->len);
		size_t n = lf ? (size_t)(lf - input->p) + 1 : input->len;
		int r = append_head(http, span_of(input->p, n), err);

		if (r < 0)
			return r;
		*input = span_of(input->p + n, input->len - n);
		if (!lf)
			break;
		r = end_line(http, err);
		if (r < 0)
			return r;
		if (r > 0)
			return begin_body(http, err);
	}
	return HTTP1_MORE;
}

static int read_length(
	struct http1 *http, struct span *input, struct span *ret_body, struct err *err)
{
	size_t n = input->len;

	if (http->head.content_length > http->limits.body)
		return err_set(err, ERR_TOO_LARGE,
			"a body of %llu bytes is announced, %llu are allowed",
			(unsigned long long)http->head.content_length,
			(unsigned long long)http->limits.body);
	if (n == 0)
		return HTTP1_MORE;
	if (n > http->remaining)
		n = (size_t)http->remaining;
	*ret_body = span_of(input->p, n);
	*input = span_of(input->p + n, input->len - n);
	http->remaining -= n;
	if (http->remaining == 0)
		http->state = HTTP1_AT_END;
	return HTTP1_BODY;
}

static int read_until_eof(
	struct http1 *http, struct span *input, struct span *ret_body, struct err *err)
{
	if (input->len == 0)
		return HTTP1_MORE;
	if (input->len > http->limits.body - http->body_seen)
		return err_set(err, ERR_TOO_LARGE, "the body is larger than %llu bytes",
			(unsigned long long)http->limits.body);
	http->body_seen += input->len;
	*ret_body = *input;
	*input = span_of(input->p + input->len, 0);
	return HTTP1_BODY;
}

static int read_some(struct http1 *http, struct span *input, struct span *ret_body, struct err *err)
{
	switch (http->state) {
	case HTTP1_IN_HEAD:
		return read_head(http, input, err);
	case HTTP1_IN_LENGTH:
		return read_length(http, input, ret_body, err);
	case HTTP1_IN_CHUNKED:
		return http1_read_chunked(http, input, ret_body, err);
	case HTTP1_IN_EOF_BODY:
		return read_until_eof(http, input, ret_body, err);
	case HTTP1_AT_END:
		return HTTP1_COMPLETE;
	case HTTP1_FAILED:
		break;
	}
	return err_set(
		err, (enum err_code) - http->error, "an earlier error ended this connection");
}

int http1_read(struct http1 *http, struct span *input, struct span *ret_body, struct err *err)
{
	int r = read_some(http, input, ret_body, err);

	if (r < 0) {
		http->state = HTTP1_FAILED;
		http->error = r;
	}
	return r;
}

int http1_finish(struct http1 *http, struct err *err)
{
	if (http->state == HTTP1_IN_EOF_BODY)
		http->state = HTTP1_AT_END;
	if (http->state == HTTP1_AT_END)
		return HTTP1_COMPLETE;
	if (http->state == HTTP1_FAILED)
		return http->error;
	if (!http1_started(http))
		return HTTP1_MORE;
	http->state = HTTP1_FAILED;
	http->error = -ERR_BAD_HTTP;
	return err_set(err, ERR_BAD_HTTP, "the peer closed in the middle of a message");
}
