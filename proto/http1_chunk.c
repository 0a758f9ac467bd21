/*
 * The chunked coding (RFC 9112 §7.1), strictly: plain hex sizes, CR LF everywhere, extensions and
 * trailers skipped but counted. One function per state looks at one byte of framing; data is passed
 * on in spans.
 */
#include "http1_internal.h"

/* Digits of a size: 16 hold 64 bits, and more would only hide something. */
#define SIZE_DIGITS_MAX 16

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_BAD_HTTP, "chunked body: %s", what);
}

static int hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int count_extra(struct http1 *http, struct err *err)
{
	if (++http->chunk_extra > http->limits.head)
		return err_set(err, ERR_HEADERS_TOO_LARGE,
			"chunk extensions and trailers are longer than %zu bytes",
			http->limits.head);
	return 0;
}

static bool is_text(unsigned char c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

static int size_first(struct http1 *http, unsigned char c, struct err *err)
{
	int value = hex_value(c);

	if (value < 0)
		return bad(err, "a chunk size does not begin with a hex digit");
	http->remaining = (uint64_t)value;
	http->chunk_digits = 1;
	http->chunk_state = CHUNK_SIZE;
	return 0;
}

static int size_next(struct http1 *http, unsigned char c, struct err *err)
{
	int value = hex_value(c);

	if (value >= 0) {
		if (++http->chunk_digits > SIZE_DIGITS_MAX)
			return bad(err, "a chunk size has more than 16 digits");
		http->remaining = http->remaining << 4 | (uint64_t)value;
		return 0;
	}
	if (c == '\r')
		http->chunk_state = CHUNK_SIZE_LF;
	else if (c == ';')
		http->chunk_state = CHUNK_EXTENSION;
	else
		return bad(err, "a chunk size is not plain hex digits");
	return 0;
}

static int extension(struct http1 *http, unsigned char c, struct err *err)
{
	if (c == '\r')
		http->chunk_state = CHUNK_SIZE_LF;
	else if (!is_text(c))
		return bad(err, "a control character in a chunk extension");
	return count_extra(http, err);
}

/* The size is known: is it allowed? */
static int size_lf(struct http1 *http, unsigned char c, struct err *err)
{
	if (c != '\n')
		return bad(err, "CR after a chunk size is not followed by LF");
	if (http->remaining == 0) {
		http->chunk_state = CHUNK_TRAILER_FIRST;
		return 0;
	}
	if (http->body_seen > http->limits.body ||
		http->remaining > http->limits.body - http->body_seen)
		return err_set(err, ERR_TOO_LARGE, "the chunks announce more than %llu bytes",
			(unsigned long long)http->limits.body);
	http->body_seen += http->remaining;
	http->chunk_state = CHUNK_DATA;
	return 0;
}

static int data_cr(struct http1 *http, unsigned char c, struct err *err)
{
	if (c != '\r')
		return bad(err, "a chunk is longer than its size");
	http->chunk_state = CHUNK_DATA_LF;
	return 0;
}

static int data_lf(struct http1 *http, unsigned char c, struct err *err)
{
	if (c != '\n')
		return bad(err, "CR after a chunk is not followed by LF");
	http->chunk_state = CHUNK_SIZE_FIRST;
	return 0;
}

static int trailer_first(struct http1 *http, unsigned char c, struct err *err)
{
	if (c == '\r') {
		http->chunk_state = CHUNK_END_LF;
		return 0;
	}
	if (!http1_is_token_char(c))
		return bad(err, "a trailer does not begin with a name");
	if (++http->trailers > http->limits.headers)
		return err_set(
			err, ERR_HEADERS_TOO_LARGE, "more than %u trailers", http->limits.headers);
	http->chunk_state = CHUNK_TRAILER_NAME;
	return count_extra(http, err);
}

static int trailer_name(struct http1 *http, unsigned char c, struct err *err)
{
	if (c == ':')
		http->chunk_state = CHUNK_TRAILER_VALUE;
	else if (!http1_is_token_char(c))
		return bad(err, "a trailer's name is not a token followed by a colon");
	return count_extra(http, err);
}

static int trailer_value(struct http1 *http, unsigned char c, struct err *err)
{
	if (c == '\r')
		http->chunk_state = CHUNK_TRAILER_LF;
	else if (!is_text(c))
		return bad(err, "a control character in a trailer");
	return count_extra(http, err);
}

static int trailer_lf(struct http1 *http, unsigned char c, struct err *err)
{
	if (c != '\n')
		return bad(err, "CR in a trailer is not followed by LF");
	http->chunk_state = CHUNK_TRAILER_FIRST;
	return 0;
}

static int end_lf(struct http1 *http, unsigned char c, struct err *err)
{
	if (c != '\n')
		return bad(err, "the last CR is not followed by LF");
	http->state = HTTP1_AT_END;
	return HTTP1_COMPLETE;
}

/* Each returns 0 to go on, HTTP1_COMPLETE at the end, or an error. */
static int (*const steps[CHUNK_STATE_MAX])(struct http1 *, unsigned char, struct err *) = {
	[CHUNK_SIZE_FIRST] = size_first,
	[CHUNK_SIZE] = size_next,
	[CHUNK_EXTENSION] = extension,
	[CHUNK_SIZE_LF] = size_lf,
	[CHUNK_DATA_CR] = data_cr,
	[CHUNK_DATA_LF] = data_lf,
	[CHUNK_TRAILER_FIRST] = trailer_first,
	[CHUNK_TRAILER_NAME] = trailer_name,
	[CHUNK_TRAILER_VALUE] = trailer_value,
	[CHUNK_TRAILER_LF] = trailer_lf,
	[CHUNK_END_LF] = end_lf,
};

static struct span take(struct span *input, size_t n)
{
	struct span taken = span_of(input->p, n);

	*input = span_of(input->p + n, input->len - n);
	return taken;
}

int http1_read_chunked(
	struct http1 *http, struct span *input, struct span *ret_body, struct err *err)
{
	while (input->len > 0) {
		int r;

		if (http->chunk_state == CHUNK_DATA) {
			size_t n =
				input->len < http->remaining ? input->len : (size_t)http->remaining;

			http->remaining -= n;
			if (http->remaining == 0)
				http->chunk_state = CHUNK_DATA_CR;
			*ret_body = take(input, n);
			return HTTP1_BODY;
		}
		r = steps[http->chunk_state](http, (unsigned char)*input->p, err);
		if (r < 0)
			return r;
		take(input, 1);
		if (r > 0)
			return r;
	}
	return HTTP1_MORE;
}
