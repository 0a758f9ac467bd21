/* Preparing JSON with comments for libyaml. */
#include "yaml_tree.h"
#include "err.h"

#include <stdlib.h>

struct blank {
	const char *p, *end;
	struct buf *out;
	uint32_t line;
};

static int hex4(const char *p, const char *end, unsigned *ret)
{
	unsigned value = 0;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		char c = p[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			digit = (unsigned)(c - 'A') + 10;
		else
			return -1;
		value = value * 16 + digit;
	}
	*ret = value;
	return 0;
}

/* At a backslash: a surrogate pair becomes its UTF-8, anything else stays. */
static int blank_escape(struct blank *b)
{
	unsigned high, low, c;
	size_t len = b->end - b->p >= 2 ? 2 : 1;
	const char *start = b->p;

	if (hex4(b->p, b->end, &high) == 0 && high >= 0xd800 && high < 0xdc00 &&
		hex4(b->p + 6, b->end, &low) == 0 && low >= 0xdc00 && low < 0xe000) {
		c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
		b->p += 12;
		return buf_append(b->out,
			(const char[]){(char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3f)),
				(char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f))},
			4);
	}
	b->p += len;
	return buf_append(b->out, start, len);
}

static int blank_string(struct blank *b)
{
	int r = buf_append_char(b->out, *b->p++);

	while (r == 0 && b->p < b->end) {
		char c = *b->p;

		if (c == '\\') {
			r = blank_escape(b);
			continue;
		}
		if (c == '\n')
			b->line++;
		r = buf_append_char(b->out, c);
		b->p++;
		if (c == '"')
			break;
	}
	return r;
}

static int blank_char(struct blank *b)
{
	char c = *b->p++;

	if (c == '\n')
		b->line++;
	/* the bytes that continue a character would widen the line: one space per character */
	if (((unsigned char)c & 0xc0) == 0x80)
		return 0;
	return buf_append_char(b->out, c == '\n' || c == '\r' ? c : ' ');
}

static int blank_line_comment(struct blank *b)
{
	int r = 0;

	while (r == 0 && b->p < b->end && *b->p != '\n')
		r = blank_char(b);
	return r;
}

static int blank_block_comment(struct blank *b, uint32_t *ret_line)
{
	uint32_t start = b->line;
	const char *from = b->p + 2;
	int r = 0;

	while (r == 0 && b->p < b->end) {
		if (b->p >= from && b->end - b->p >= 2 && b->p[0] == '*' && b->p[1] == '/') {
			b->p += 2;
			return buf_append_str(b->out, "  ");
		}
		r = blank_char(b);
	}
	if (r == 0) {
		*ret_line = start;
		r = -ERR_PARSE;
	}
	return r;
}

int yaml_tree_blank_json(struct span text, struct buf *out, uint32_t *ret_line)
{
	struct blank b = {text.p, text.p + text.len, out, 1};
	int r = 0;

	while (r == 0 && b.p < b.end) {
		bool slash = b.end - b.p >= 2 && b.p[0] == '/';

		if (*b.p == '"')
			r = blank_string(&b);
		else if (slash && b.p[1] == '/')
			r = blank_line_comment(&b);
		else if (slash && b.p[1] == '*')
			r = blank_block_comment(&b, ret_line);
		else if (*b.p == '\t' || *b.p == '\n')
			r = blank_char(&b);
		else
			r = buf_append_char(out, *b.p++);
	}
	return r;
}
