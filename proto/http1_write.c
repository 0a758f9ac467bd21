/* Writing HTTP/1. */
#include "http1_internal.h"

#include <stdio.h>

static const struct {
	unsigned status;
	const char *reason;
} reasons[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{417, "Expectation Failed"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{426, "Upgrade Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
};

const char *http1_reason(unsigned status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

static bool is_value(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static bool is_target(struct span s)
{
	return s.len > 0 && is_value(s) && !memchr(s.p, ' ', s.len) && !memchr(s.p, '\t', s.len);
}

static char *put(char *p, struct span s)
{
	if (s.len)
		memcpy(p, s.p, s.len);
	return p + s.len;
}

int http1_write_request_line(struct buf *out, struct span method, struct span target)
{
	int r;
	char *p;

	if (!http1_is_token(method) || !is_target(target))
		return -ERR_INVALID_ARGUMENT;
	r = buf_reserve(out, method.len + target.len + 12);
	if (r < 0)
		return r;
	p = put(out->data + out->len, method);
	*p++ = ' ';
	p = put(p, target);
	p = put(p, SPAN_LIT(" HTTP/1.1\r\n"));
	out->len = (size_t)(p - out->data);
	return 0;
}

int http1_write_status_line(struct buf *out, unsigned status)
{
	struct span reason = span_str(http1_reason(status));
	int r;
	char *p;

	if (status < 100 || status > 599)
		return -ERR_INVALID_ARGUMENT;
	r = buf_reserve(out, reason.len + 15);
	if (r < 0)
		return r;
	p = put(out->data + out->len, SPAN_LIT("HTTP/1.1 "));
	*p++ = (char)('0' + status / 100);
	*p++ = (char)('0' + status / 10 % 10);
	*p++ = (char)('0' + status % 10);
	*p++ = ' ';
	p = put(p, reason);
	p = put(p, SPAN_LIT("\r\n"));
	out->len = (size_t)(p - out->data);
	return 0;
}

int http1_write_header(struct buf *out, struct span name, struct span value)
{
	int r;
	char *p;

	if (!http1_is_token(name) || !is_value(value))
		return -ERR_INVALID_ARGUMENT;
	r = buf_reserve(out, name.len + value.len + 4);
	if (r < 0)
		return r;
	p = put(out->data + out->len, name);
	p = put(p, SPAN_LIT(": "));
	p = put(p, value);
	p = put(p, SPAN_LIT("\r\n"));
	out->len = (size_t)(p - out->data);
	return 0;
}

int http1_write_header_uint(struct buf *out, struct span name, uint64_t value)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);

	return http1_write_header(out, name, span_of(digits, (size_t)n));
}

int http1_write_head_end(struct buf *out)
{
	return buf_append(out, "\r\n", 2);
}

size_t http1_chunk_line(char out[HTTP1_CHUNK_LINE_MAX], size_t len)
{
	static const char hex[] = "0123456789abcdef";
	size_t digits = 1, n;

	while (digits < 16 && len >> (4 * digits))
		digits++;
	for (n = 0; n < digits; n++)
		out[n] = hex[len >> (4 * (digits - 1 - n)) & 15];
	out[n++] = '\r';
	out[n++] = '\n';
	return n;
}

int http1_write_chunk(struct buf *out, struct span data)
{
	char line[HTTP1_CHUNK_LINE_MAX];
	size_t n = http1_chunk_line(line, data.len);
	int r;
	char *p;

	if (data.len == 0)
		return 0;
	r = buf_reserve(out, n + data.len + 2);
	if (r < 0)
		return r;
	p = put(out->data + out->len, span_of(line, n));
	p = put(p, data);
	p = put(p, SPAN_LIT("\r\n"));
	out->len = (size_t)(p - out->data);
	return 0;
}

int http1_write_last_chunk(struct buf *out)
{
	return buf_append(out, "0\r\n\r\n", 5);
}
