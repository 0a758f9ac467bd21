#include "json_write.h"
#include "err.h"

/* Length of the valid UTF-8 sequence at p (RFC 3629), or 0. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool json_is_utf8(struct span text)
{
	size_t n;

	for (size_t i = 0; i < text.len; i += n) {
		n = utf8_length((const unsigned char *)text.p + i, text.len - i);
		if (n == 0)
			return false;
	}
	return true;
}

static int write_escape(struct buf *out, unsigned char c)
{
	switch (c) {
	case '"':
		return buf_append_str(out, "\\\"");
	case '\\':
		return buf_append_str(out, "\\\\");
	case '\n':
		return buf_append_str(out, "\\n");
	case '\r':
		return buf_append_str(out, "\\r");
	case '\t':
		return buf_append_str(out, "\\t");
	default:
		return buf_printf(out, "\\u%04x", c);
	}
}

int json_write_string(struct buf *out, struct span text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	size_t start = 0, i = 0;
	size_t rollback = out->len;
	int r = buf_append_char(out, '"');

	while (r == 0 && i < text.len) {
		size_t n = utf8_length(p + i, text.len - i);

		if (n > 0 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
			i += n;
			continue;
		}
		r = buf_append(out, p + start, i - start);
		if (r == 0)
			r = n == 0 ? buf_append_str(out, "\xef\xbf\xbd") : write_escape(out, p[i]);
		start = ++i;
	}
	if (r == 0)
		r = buf_append(out, p + start, text.len - start);
	if (r == 0)
		r = buf_append_char(out, '"');
	if (r < 0)
		buf_cut(out, rollback);
	return r;
}
