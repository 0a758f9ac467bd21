/* Reading checked JSON text: members, elements, strings, numbers. */
#include "json.h"
#include "json_internal.h"

#include <stdarg.h>

/* Behind the string that starts with the quote at p. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; (p = json_skip_to_quote(p, end)) < end;) {
		if (*p == '"')
			return p + 1;
		if (end - p < 2)
			break;
		p += 2;
	}
	return end;
}

/* Bytes that matter between values: quotes and brackets. */
static const unsigned char structural[256] = {
	['"'] = 1, ['{'] = 2, ['['] = 2, ['}'] = 3, [']'] = 3};

static const char *skip_container(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		switch (structural[(unsigned char)*p]) {
		case 1:
			p = skip_string(p, end);
			continue;
		case 2:
			depth++;
			break;
		case 3:
			if (--depth == 0)
				return p + 1;
			break;
		default:
			break;
		}
		p++;
	}
	return end;
}

static const char *skip_scalar(const char *p, const char *end)
{
	while (p < end && !json_is_space(*p) && *p != ',' && *p != ']' && *p != '}')
		p++;
	return p;
}

/* Behind the value at p, which is not white space. Always moves, unless p is at a comma or closing
 * bracket. */
static const char *skip_value(const char *p, const char *end)
{
	if (*p == '"')
		return skip_string(p, end);
	if (*p == '{' || *p == '[')
		return skip_container(p, end);
	return skip_scalar(p, end);
}

struct span json_trim(struct span text)
{
	const char *p = text.p, *end = text.p + text.len;

	if (text.len == 0)
		return SPAN_NONE;
	p = json_skip_space(p, end);
	while (end > p && json_is_space(end[-1]))
		end--;
	return p < end ? span_of(p, (size_t)(end - p)) : SPAN_NONE;
}

static void spaces_for(char *text, size_t len, char line_end)
{
	char *at = text;

	while ((at = memchr(at, line_end, len - (size_t)(at - text))))
		*at = ' ';
}

void json_one_line(char *text, size_t len)
{
	spaces_for(text, len, '\n');
	spaces_for(text, len, '\r');
}

enum json_type json_type(struct span value)
{
	if (value.len == 0)
		return JSON_NONE;
	switch (value.p[0]) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
	case 'f':
		return JSON_BOOL;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NUMBER;
	}
}

const char *json_type_name(enum json_type type)
{
	static const char *const names[JSON_TYPE_MAX] = {
		"nothing", "null", "boolean", "number", "string", "array", "object"};

	return (unsigned)type < JSON_TYPE_MAX ? names[type] : "nothing";
}

struct json_iter json_iter(struct span container)
{
	enum json_type type = json_type(container);

	if (type != JSON_OBJECT && type != JSON_ARRAY)
		return (struct json_iter){NULL, NULL};
	return (struct json_iter){container.p + 1, container.p + container.len};
}

/* To the next key or element, over white space and commas; false at the end. */
static bool iter_next(struct json_iter *iter)
{
	const char *p = iter->p, *end = iter->end;

	while (p < end && (json_is_space(*p) || *p == ','))
		p++;
	iter->p = p;
	return p < end && *p != '}' && *p != ']';
}

bool json_iter_element(struct json_iter *iter, struct span *ret_value)
{
	const char *start;

	if (!iter_next(iter))
		return false;
	start = iter->p;
	iter->p = skip_value(start, iter->end);
	*ret_value = span_of(start, (size_t)(iter->p - start));
	return true;
}

bool json_iter_member(struct json_iter *iter, struct span *ret_key, struct span *ret_value)
{
	const char *key, *p;

	if (!iter_next(iter) || *iter->p != '"')
		return false;
	key = iter->p;
	p = skip_string(key, iter->end);
	*ret_key = span_of(key, (size_t)(p - key));
	p = json_skip_space(p, iter->end);
	if (p >= iter->end || *p != ':')
		return false;
	p = json_skip_space(p + 1, iter->end);
	if (p >= iter->end)
		return false;
	iter->p = skip_value(p, iter->end);
	*ret_value = span_of(p, (size_t)(iter->p - p));
	return true;
}

size_t json_count(struct span container)
{
	struct json_iter iter = json_iter(container);
	struct span key, value;
	bool object = json_type(container) == JSON_OBJECT;
	size_t n = 0;

	while (object ? json_iter_member(&iter, &key, &value) : json_iter_element(&iter, &value))
		n++;
	return n;
}

struct span json_object_get(struct span object, struct span key)
{
	struct json_iter iter = json_iter(object);
	struct span k, value;

	if (json_type(object) != JSON_OBJECT)
		return SPAN_NONE;
	while (json_iter_member(&iter, &k, &value))
		if (json_equal_string(k, key))
			return value;
	return SPAN_NONE;
}

struct span json_path(struct span value, ...)
{
	const char *key;
	va_list keys;

	va_start(keys, value);
	while (value.len && (key = va_arg(keys, const char *)))
		value = json_object_get(value, span_str(key));
	va_end(keys);
	return value;
}

/* Without its quotes; SPAN_NONE if it is not a whole string. */
static struct span string_inner(struct span value)
{
	if (value.len < 2 || value.p[0] != '"' || value.p[value.len - 1] != '"')
		return SPAN_NONE;
	return span_of(value.p + 1, value.len - 2);
}

/* The four digits at p, which has n bytes; -1 if they are not there. */
static int hex4(const char *p, size_t n)
{
	int v = 0;

	if (n < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = json_hex_digit(p[i]);

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static size_t utf8_put(unsigned c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* \uXXXX at p, with its second half where there is one. Returns the bytes read. */
static size_t unescape_unicode(const char *p, size_t n, char out[4], size_t *ret_len)
{
	int c = hex4(p + 2, n - 2), low;
	size_t used = 6;

	if (c < 0) {
		*ret_len = utf8_put(0xfffd, out);
		return n < 6 ? n : 6;
	}
	if (c >= 0xd800 && c <= 0xdfff) {
		low = c < 0xdc00 && n >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, n - 8)
									   : -1;
		if (low >= 0xdc00 && low <= 0xdfff) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			used = 12;
		} else {
			c = 0xfffd;
		}
	}
	*ret_len = utf8_put((unsigned)c, out);
	return used;
}

/* The escape at p (a backslash, n bytes follow p included). Returns the bytes read, at least 1 and
 * at most n. */
static size_t unescape(const char *p, size_t n, char out[4], size_t *ret_len)
{
	static const char plain[256] = {
		['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};

	*ret_len = 1;
	out[0] = '\\';
	if (n < 2)
		return 1;
	if (p[1] == 'u')
		return unescape_unicode(p, n, out, ret_len);
	out[0] = plain[(unsigned char)p[1]] ? plain[(unsigned char)p[1]] : p[1];
	return 2;
}

/* The text of a string, piece by piece, without a buffer. */
struct reader {
	const char *p;
	const char *end;
	char piece[4];
};

/* The next piece, never empty; SPAN_NONE at the end. Valid until the next call. */
static struct span reader_next(struct reader *r)
{
	size_t len;

	if (r->p >= r->end)
		return SPAN_NONE;
	if (*r->p == '\\') {
		r->p += unescape(r->p, (size_t)(r->end - r->p), r->piece, &len);
		return span_of(r->piece, len);
	}
	const char *start = r->p;
	const char *stop = memchr(start, '\\', (size_t)(r->end - start));

	r->p = stop ? stop : r->end;
	return span_of(start, (size_t)(r->p - start));
}

static bool readers_equal(struct reader *a, struct reader *b)
{
	struct span x = SPAN_NONE, y = SPAN_NONE;

	for (;;) {
		size_t n;

		if (x.len == 0)
			x = reader_next(a);
		if (y.len == 0)
			y = reader_next(b);
		if (x.len == 0 || y.len == 0)
			return x.len == y.len;
		n = x.len < y.len ? x.len : y.len;
		if (memcmp(x.p, y.p, n) != 0)
			return false;
		x = span_of(x.p + n, x.len - n);
		y = span_of(y.p + n, y.len - n);
	}
}

/* Does raw, a text with escapes, decode to text? */
static bool escaped_equal(struct span raw, struct span text)
{
	struct reader r = {.p = raw.p, .end = raw.p + raw.len};
	struct span piece;

	while ((piece = reader_next(&r)).len) {
		if (piece.len > text.len || memcmp(piece.p, text.p, piece.len) != 0)
			return false;
		text = span_of(text.p + piece.len, text.len - piece.len);
	}
	return text.len == 0;
}

bool json_equal_string(struct span value, struct span text)
{
	struct span raw = string_inner(value);

	/* Decoding never makes a text longer. */
	if (!raw.p || raw.len < text.len)
		return false;
	if (raw.len == 0)
		return true;
	if (!memchr(raw.p, '\\', raw.len))
		return span_equal(raw, text);
	return escaped_equal(raw, text);
}

/* The field that key names; NULL if none does. Most keys are plain: they are compared without
 * decoding. */
static struct json_field *find_field(struct span key, struct json_field *fields, size_t n)
{
	struct span raw = string_inner(key);
	bool plain = raw.p && (raw.len == 0 || !memchr(raw.p, '\\', raw.len));

	for (size_t i = 0; i < n; i++)
		if (plain ? span_equal(raw, fields[i].key) : json_equal_string(key, fields[i].key))
			return &fields[i];
	return NULL;
}

size_t json_object_get_many(struct span object, struct json_field *fields, size_t n)
{
	struct json_iter iter = json_iter(object);
	struct json_field *field;
	struct span key, value;
	size_t members = 0;

	for (size_t i = 0; i < n; i++) {
		fields[i].value = SPAN_NONE;
		fields[i].count = 0;
	}
	if (json_type(object) != JSON_OBJECT)
		return 0;
	for (; json_iter_member(&iter, &key, &value); members++) {
		field = find_field(key, fields, n);
		if (field && field->count++ == 0)
			field->value = value;
	}
	return members;
}

bool json_equal_scalar(struct span a, struct span b)
{
	struct span x = string_inner(a), y = string_inner(b);

	if (!x.p || !y.p)
		return a.len > 0 && span_equal(a, b);
	struct reader r = {.p = x.p, .end = x.p + x.len}, s = {.p = y.p, .end = y.p + y.len};

	return readers_equal(&r, &s);
}

bool json_string_escaped(struct span value)
{
	return value.len > 0 && value.p[0] == '"' && memchr(value.p, '\\', value.len);
}

/* Decode raw into dst, which has room for raw.len bytes. Returns the bytes written. */
static size_t decode(struct span raw, char *dst)
{
	struct reader r = {.p = raw.p, .end = raw.p + raw.len};
	struct span piece;
	size_t n = 0;

	while ((piece = reader_next(&r)).len) {
		memcpy(dst + n, piece.p, piece.len);
		n += piece.len;
	}
	return n;
}

static size_t decoded_length(struct span raw)
{
	struct reader r = {.p = raw.p, .end = raw.p + raw.len};
	struct span piece;
	size_t n = 0;

	while ((piece = reader_next(&r)).len)
		n += piece.len;
	return n;
}

int json_string_decode(struct span value, struct arena *arena, struct span *ret)
{
	struct span raw = string_inner(value);
	char *dst;

	if (!raw.p)
		return -ERR_INVALID_ARGUMENT;
	if (!json_string_escaped(value)) {
		*ret = raw;
		return 0;
	}
	dst = arena_alloc(arena, raw.len);
	if (!dst)
		return -ERR_NO_MEMORY;
	*ret = span_of(dst, decode(raw, dst));
	return 0;
}

int json_string_copy(struct span value, char *dst, size_t size, struct span *ret)
{
	struct span raw = string_inner(value);

	if (!raw.p)
		return -ERR_INVALID_ARGUMENT;
	if (raw.len > size && decoded_length(raw) > size)
		return -ERR_TOO_LARGE;
	*ret = span_of(dst, decode(raw, dst));
	return 0;
}

int json_string_append(struct span value, struct buf *out)
{
	struct span raw = string_inner(value);
	size_t len;
	int r;

	if (!raw.p)
		return -ERR_INVALID_ARGUMENT;
	len = decoded_length(raw);
	r = out->failed;
	if (r < 0 || len == 0)
		return r;
	r = buf_reserve(out, len);
	if (r < 0)
		return buf_fail(out, r);
	out->len += decode(raw, out->data + out->len);
	return 0;
}

int json_get_int64(struct span value, int64_t *ret)
{
	bool negative = value.len > 0 && value.p[0] == '-';
	uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
	uint64_t v = 0;

	if (value.len <= (size_t)negative)
		return -ERR_INVALID_ARGUMENT;
	for (size_t i = negative; i < value.len; i++) {
		unsigned d = (unsigned)(unsigned char)value.p[i] - '0';

		if (d > 9 || v > (limit - d) / 10)
			return -ERR_INVALID_ARGUMENT;
		v = v * 10 + d;
	}
	*ret = negative ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int json_get_bool(struct span value, bool *ret)
{
	if (!span_is(value, "true") && !span_is(value, "false"))
		return -ERR_INVALID_ARGUMENT;
	*ret = value.p[0] == 't';
	return 0;
}
