/* json_check(): the one strict pass over a text. */
#include "json.h"
#include "json_internal.h"

/* What may come next. */
enum state { VALUE, VALUE_OR_END, KEY, KEY_OR_END, AFTER_VALUE, DONE };

struct scan {
	const char *start;
	const char *p;
	const char *end;
	unsigned depth;
	unsigned depth_max;
	uint64_t in_object[JSON_DEPTH_LIMIT / 64 + 1]; /* a bit per open level */
	struct err *err;
	int failed; /* the negative code, once there is one */
};

/* In a string: what a byte asks for. */
enum { PLAIN, QUOTE, BACKSLASH, CONTROL, LEAD2, LEAD3, LEAD4, BAD };

static const unsigned char string_class[256] = {
	[0 ... 0x1f] = CONTROL,
	['"'] = QUOTE,
	['\\'] = BACKSLASH,
	[0x80 ... 0xc1] = BAD,
	[0xc2 ... 0xdf] = LEAD2,
	[0xe0 ... 0xef] = LEAD3,
	[0xf0 ... 0xf4] = LEAD4,
	[0xf5 ... 0xff] = BAD,
};

static bool fail(struct scan *s, const char *at, const char *expected)
{
	size_t offset = (size_t)(at - s->start);

	if (at >= s->end)
		s->failed = err_set(s->err, ERR_PARSE, "byte %zu: expected %s, found the end",
			offset, expected);
	else if (*at > 0x20 && *at < 0x7f)
		s->failed = err_set(s->err, ERR_PARSE, "byte %zu: expected %s, found '%c'", offset,
			expected, *at);
	else
		s->failed = err_set(s->err, ERR_PARSE, "byte %zu: expected %s, found byte 0x%02x",
			offset, expected, (unsigned)(unsigned char)*at);
	return false;
}

static bool digit(const struct scan *s, const char *p)
{
	return p < s->end && *p >= '0' && *p <= '9';
}

/* Past the bytes that stand for themselves: ASCII but for quote,
 * backslash and control characters. */
static const char *skip_plain(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t v = json_load8(p);
		uint64_t hit = json_zero_bytes(v ^ (JSON_ONES * '"')) |
			       json_zero_bytes(v ^ (JSON_ONES * '\\')) |
			       ((v - JSON_ONES * 0x20) & ~v & JSON_HIGH) | (v & JSON_HIGH);

		if (hit)
			return p + (__builtin_ctzll(hit) >> 3);
		p += 8;
	}
	while (p < end && string_class[(unsigned char)*p] == PLAIN)
		p++;
	return p;
}

/* A sequence of n bytes at p whose first byte already fits n: RFC 3629, without surrogates. */
static bool utf8_rest_valid(const char *p, const char *end, unsigned n)
{
	const unsigned char *u = (const unsigned char *)p;

	if ((size_t)(end - p) < n)
		return false;
	for (unsigned i = 1; i < n; i++)
		if ((u[i] & 0xc0) != 0x80)
			return false;
	switch (u[0]) {
	case 0xe0:
		return u[1] >= 0xa0;
	case 0xed:
		return u[1] <= 0x9f;
	case 0xf0:
		return u[1] >= 0x90;
	case 0xf4:
		return u[1] <= 0x8f;
	default:
		return true;
	}
}

static bool scan_escape(struct scan *s)
{
	const char *p = s->p + 1;

	if (p >= s->end)
		return fail(s, p, "an escaped character");
	switch (*p) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		s->p = p + 1;
		return true;
	case 'u':
		for (p++; p < s->p + 6; p++)
			if (p >= s->end || json_hex_digit(*p) < 0)
				return fail(s, p, "four hexadecimal digits after \\u");
		s->p = p;
		return true;
	default:
		return fail(s, p, "one of \"\\/bfnrtu after a backslash");
	}
}

/* Length of a valid sequence of two or three bytes at p, which has four; 0 for anything else. */
static unsigned utf8_common(const char *p)
{
	uint32_t v = json_load4(p);

	/* 1110xxxx 10xxxxxx 10xxxxxx, not overlong (e0 8x, e0 9x), not a surrogate
	 * (ed ax, ed bx). */
	if ((v & 0xc0c0f0) == 0x8080e0 && (v & 0x200f) != 0 && (v & 0x200f) != 0x200d)
		return 3;
	/* 110xxxxx 10xxxxxx, not overlong (c0, c1). */
	if ((v & 0xc0e0) == 0x80c0 && (v & 0x1e) != 0)
		return 2;
	return 0;
}

/* A run of text in another script: one sequence at least. */
static bool scan_utf8(struct scan *s)
{
	unsigned n;

	while (s->end - s->p >= 4 && (n = utf8_common(s->p)) > 0)
		s->p += n;
	if (s->p >= s->end || string_class[(unsigned char)*s->p] < LEAD2)
		return true;
	n = string_class[(unsigned char)*s->p] - LEAD2 + 2u;
	if (n > 4 || !utf8_rest_valid(s->p, s->end, n))
		return fail(s, s->p, "valid UTF-8");
	s->p += n;
	return true;
}

/* From the opening quote to behind the closing one. */
static bool scan_string(struct scan *s)
{
	s->p++;
	for (;;) {
		s->p = skip_plain(s->p, s->end);
		if (s->p >= s->end)
			return fail(s, s->p, "a closing quote");
		switch (string_class[(unsigned char)*s->p]) {
		case QUOTE:
			s->p++;
			return true;
		case BACKSLASH:
			if (!scan_escape(s))
				return false;
			break;
		case LEAD2:
		case LEAD3:
		case LEAD4:
			if (!scan_utf8(s))
				return false;
			break;
		case CONTROL:
			return fail(s, s->p, "a character above 0x1f in a string");
		default:
			return fail(s, s->p, "valid UTF-8");
		}
	}
}

static bool scan_digits(struct scan *s, const char *expected)
{
	if (!digit(s, s->p))
		return fail(s, s->p, expected);
	while (digit(s, s->p))
		s->p++;
	return true;
}

static bool scan_number(struct scan *s)
{
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0') {
		s->p++;
		if (digit(s, s->p))
			return fail(s, s->p, "no digit after a leading zero");
	} else if (!scan_digits(s, "a digit")) {
		return false;
	}
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!scan_digits(s, "a digit after the decimal point"))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		return scan_digits(s, "a digit of the exponent");
	}
	return true;
}

static bool scan_literal(struct scan *s, const char *literal, const char *expected)
{
	for (const char *l = literal; *l; l++, s->p++)
		if (s->p >= s->end || *s->p != *l)
			return fail(s, s->p, expected);
	return true;
}

static bool scan_open(struct scan *s, bool object)
{
	uint64_t bit = (uint64_t)1 << (s->depth % 64);

	if (s->depth >= s->depth_max) {
		s->failed = err_set(s->err, ERR_TOO_DEEP,
			"byte %zu: expected at most %u levels of nesting",
			(size_t)(s->p - s->start), s->depth_max);
		return false;
	}
	if (object)
		s->in_object[s->depth / 64] |= bit;
	else
		s->in_object[s->depth / 64] &= ~bit;
	s->depth++;
	s->p++;
	return true;
}

static enum state scan_close(struct scan *s)
{
	s->depth--;
	s->p++;
	return s->depth ? AFTER_VALUE : DONE;
}

static bool inside_object(const struct scan *s)
{
	return s->in_object[(s->depth - 1) / 64] >> ((s->depth - 1) % 64) & 1;
}

/* One value, or the opening of one. */
static bool scan_value(struct scan *s, enum state *ret_next)
{
	if (s->p >= s->end)
		return fail(s, s->p, "a value");
	*ret_next = s->depth ? AFTER_VALUE : DONE;
	switch (*s->p) {
	case '"':
		return scan_string(s);
	case '{':
		*ret_next = KEY_OR_END;
		return scan_open(s, true);
	case '[':
		*ret_next = VALUE_OR_END;
		return scan_open(s, false);
	case 't':
		return scan_literal(s, "true", "true");
	case 'f':
		return scan_literal(s, "false", "false");
	case 'n':
		return scan_literal(s, "null", "null");
	case '-':
	case '0' ... '9':
		return scan_number(s);
	default:
		return fail(s, s->p, "a value");
	}
}

/* A key and its colon. */
static bool scan_key(struct scan *s)
{
	if (s->p >= s->end || *s->p != '"')
		return fail(s, s->p, "a key in quotes");
	if (!scan_string(s))
		return false;
	s->p = json_skip_space(s->p, s->end);
	if (s->p >= s->end || *s->p != ':')
		return fail(s, s->p, "a colon");
	s->p++;
	return true;
}

/* The comma or the bracket behind a member or element. */
static bool scan_after(struct scan *s, enum state *ret_next)
{
	bool object = inside_object(s);

	if (s->p < s->end && *s->p == ',') {
		s->p++;
		*ret_next = object ? KEY : VALUE;
		return true;
	}
	if (s->p < s->end && *s->p == (object ? '}' : ']')) {
		*ret_next = scan_close(s);
		return true;
	}
	return fail(s, s->p, object ? "a comma or }" : "a comma or ]");
}

static bool scan_step(struct scan *s, enum state *state)
{
	s->p = json_skip_space(s->p, s->end);
	switch (*state) {
	case VALUE_OR_END:
		if (s->p < s->end && *s->p == ']') {
			*state = scan_close(s);
			return true;
		}
		return scan_value(s, state);
	case VALUE:
		return scan_value(s, state);
	case KEY_OR_END:
		if (s->p < s->end && *s->p == '}') {
			*state = scan_close(s);
			return true;
		}
		*state = VALUE;
		return scan_key(s);
	case KEY:
		*state = VALUE;
		return scan_key(s);
	default:
		return scan_after(s, state);
	}
}

int json_check(struct span text, unsigned depth_max, struct err *err)
{
	struct scan s = {.start = text.len ? text.p : "", .err = err};
	enum state state = VALUE;

	s.p = s.start;
	s.end = s.start + text.len;
	s.depth_max = depth_max < JSON_DEPTH_LIMIT ? depth_max : JSON_DEPTH_LIMIT;
	while (state != DONE)
		if (!scan_step(&s, &state))
			return s.failed;
	s.p = json_skip_space(s.p, s.end);
	if (s.p < s.end)
		fail(&s, s.p, "nothing after the value");
	return s.failed;
}
