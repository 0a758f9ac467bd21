/*
 * Values in HTTP headers that repeat values of the body.
 *
 * Source: 2026-07-28 basic/transports/streamable-http, "Value Encoding" and "Server Behavior for
 * Custom Headers".
 */
#include "mcp.h"
#include "json.h"

#include <stdlib.h>

#define PREFIX "=?base64?"
#define SUFFIX "?="
#define NUMBER_MAX 64u /* bytes of a number that is compared by value */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct span mcp_header_trim(struct span value)
{
	while (value.len && is_blank(value.p[0]))
		value = span_of(value.p + 1, value.len - 1);
	while (value.len && is_blank(value.p[value.len - 1]))
		value.len--;
	return value;
}

static bool is_encoded(struct span value)
{
	size_t p = sizeof(PREFIX) - 1, s = sizeof(SUFFIX) - 1;

	return value.len >= p + s && memcmp(value.p, PREFIX, p) == 0 &&
	       memcmp(value.p + value.len - s, SUFFIX, s) == 0;
}

/* Only bytes that a field value may carry (RFC 9110 §5.5, without obs-text). */
static bool is_visible(struct span value)
{
	for (size_t i = 0; i < value.len; i++)
		if ((value.p[i] < 0x20 || value.p[i] > 0x7e) && value.p[i] != '\t')
			return false;
	return true;
}

static int base64_digit(char c)
{
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

/* One group of four digits into 1 to 3 bytes; 0 if it is not canonical (RFC 4648 §3.5). */
static size_t base64_group(const char *p, bool last, char out[3])
{
	size_t pad = last ? (p[3] == '=') + (p[3] == '=' && p[2] == '=') : 0;
	unsigned v = 0;

	for (size_t i = 0; i < 4; i++) {
		int d = i < 4 - pad ? base64_digit(p[i]) : 0;

		if (d < 0)
			return 0;
		v = v << 6 | (unsigned)d;
	}
	if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
		return 0;
	out[0] = (char)(v >> 16);
	out[1] = (char)(v >> 8);
	out[2] = (char)v;
	return 3 - pad;
}

static int base64_decode(struct span text, struct buf *out)
{
	size_t start = out->len;
	int r = text.len % 4 ? -ERR_HEADER_MISMATCH : 0;

	for (size_t i = 0; r == 0 && i < text.len; i += 4) {
		char bytes[3];
		size_t n = base64_group(text.p + i, i + 4 == text.len, bytes);

		r = n ? buf_append(out, bytes, n) : -ERR_HEADER_MISMATCH;
	}
	if (r < 0)
		buf_cut(out, start);
	return r;
}

int mcp_header_decode(struct span value, struct buf *out, struct err *err)
{
	int r;

	value = mcp_header_trim(value);
	if (!is_visible(value))
		return err_set(
			err, ERR_HEADER_MISMATCH, "a header has bytes that are not visible ASCII");
	if (!is_encoded(value))
		return buf_append_span(out, value);
	r = base64_decode(span_of(value.p + sizeof(PREFIX) - 1,
				  value.len - (sizeof(PREFIX) - 1) - (sizeof(SUFFIX) - 1)),
		out);
	if (r == -ERR_HEADER_MISMATCH)
		err_set(err, ERR_HEADER_MISMATCH, "a header is not valid Base64 between %s and %s",
			PREFIX, SUFFIX);
	return r;
}

static int base64_encode(struct span text, struct buf *out)
{
	const unsigned char *p = (const unsigned char *)text.p;
	int r = 0;

	for (size_t i = 0; r == 0 && i < text.len; i += 3) {
		size_t left = text.len - i;
		unsigned v = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0u);
		char digits[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63],
			left > 1 ? alphabet[v >> 6 & 63] : '=', left > 2 ? alphabet[v & 63] : '='};

		r = buf_append(out, digits, 4);
	}
	return r;
}

int mcp_header_encode(struct span text, struct buf *out)
{
	size_t start = out->len;
	int r;

	if (is_visible(text) && !is_encoded(text) && mcp_header_trim(text).len == text.len)
		return buf_append_span(out, text);
	r = buf_append_str(out, PREFIX);
	if (r == 0)
		r = base64_encode(text, out);
	if (r == 0)
		r = buf_append_str(out, SUFFIX);
	if (r < 0)
		buf_cut(out, start);
	return r;
}

/* "-?digits(.digits)?", which is what a header may say of a number. */
static bool is_decimal(struct span text)
{
	size_t i = text.len > 0 && text.p[0] == '-', digits = 0;
	bool point = false;

	for (; i < text.len; i++) {
		if (text.p[i] == '.' && digits > 0 && !point) {
			point = true;
			digits = 0;
		} else if (text.p[i] >= '0' && text.p[i] <= '9') {
			digits++;
		} else {
			return false;
		}
	}
	return digits > 0;
}

/* 42.00 → 42 */
static struct span without_zeros(struct span text)
{
	if (!is_decimal(text) || !memchr(text.p, '.', text.len))
		return text;
	while (text.p[text.len - 1] == '0')
		text.len--;
	if (text.p[text.len - 1] == '.')
		text.len--;
	return text;
}

static double to_double(struct span text)
{
	char copy[NUMBER_MAX + 1];

	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	return strtod(copy, NULL);
}

static bool number_equal(struct span header, struct span value)
{
	struct span a = without_zeros(header), b = without_zeros(value);
	int64_t x, y;

	if (span_equal(a, b))
		return a.len > 0;
	/* Whole numbers exactly: as doubles, different ones beyond 2^53 would be equal. */
	if (json_get_int64(a, &x) == 0 && json_get_int64(b, &y) == 0)
		return is_decimal(header) && x == y;
	if (!is_decimal(header) || header.len > NUMBER_MAX || value.len > NUMBER_MAX)
		return false;
	return to_double(header) == to_double(value);
}

static bool value_equal(struct span text, struct span value)
{
	switch (json_type(value)) {
	case JSON_STRING:
		return json_equal_string(value, text);
	case JSON_NUMBER:
		return number_equal(text, value);
	default:
		return span_equal(text, value);
	}
}

int mcp_header_check(const char *name, struct span header, struct span value, struct err *err)
{
	enum json_type type = json_type(value);
	struct buf text;
	int r;

	if (type != JSON_STRING && type != JSON_NUMBER && type != JSON_BOOL)
		return 0;
	if (!header.p)
		return err_set(err, ERR_HEADER_MISMATCH, "header %s is missing", name);
	buf_init(&text, header.len + 1);
	r = mcp_header_decode(header, &text, err);
	if (r == 0 && !value_equal(buf_span(&text), value))
		r = err_set(err, ERR_HEADER_MISMATCH, "header %s differs from the body", name);
	buf_free(&text);
	return r;
}

int mcp_header_write(struct span value, struct buf *out)
{
	struct buf text;
	int r;

	switch (json_type(value)) {
	case JSON_NUMBER:
	case JSON_BOOL:
		return buf_append_span(out, value);
	case JSON_STRING:
		break;
	default:
		return -ERR_INVALID_ARGUMENT;
	}
	buf_init(&text, value.len);
	r = json_string_append(value, &text);
	if (r == 0)
		r = mcp_header_encode(buf_span(&text), out);
	buf_free(&text);
	return r;
}
