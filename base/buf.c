#include "buf.h"
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_CAP 256

void buf_init(struct buf *buf, size_t max)
{
	*buf = (struct buf){.max = max};
}

void buf_free(struct buf *buf)
{
	free(buf->data);
	buf_init(buf, buf->max);
}

void buf_clear(struct buf *buf)
{
	buf_cut(buf, 0);
}

void buf_cut(struct buf *buf, size_t len)
{
	if (len < buf->len)
		buf->len = len;
	buf->failed = 0;
}

int buf_fail(struct buf *buf, int code)
{
	if (!buf->failed)
		buf->failed = code;
	return buf->failed;
}

int buf_reserve(struct buf *buf, size_t len)
{
	size_t need = buf->len + len;
	size_t cap = buf->cap ? buf->cap : BUF_FIRST_CAP;
	char *data;

	if (need < len || need > buf->max)
		return -ERR_TOO_LARGE;
	if (need <= buf->cap)
		return 0;
	while (cap < need)
		cap *= 2;
	if (cap > buf->max)
		cap = buf->max;
	data = realloc(buf->data, cap);
	if (!data)
		return -ERR_NO_MEMORY;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
	int r = buf->failed;

	if (r < 0 || len == 0)
		return r;
	r = buf_reserve(buf, len);
	if (r < 0)
		return buf_fail(buf, r);
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

int buf_append_span(struct buf *buf, struct span span)
{
	return buf_append(buf, span.p, span.len);
}

int buf_append_str(struct buf *buf, const char *s)
{
	return buf_append(buf, s, strlen(s));
}

int buf_append_char(struct buf *buf, char c)
{
	return buf_append(buf, &c, 1);
}

int buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list args;
	int need, r;

	if (buf->failed)
		return buf->failed;
	va_start(args, fmt);
	need = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (need < 0)
		return buf_fail(buf, -ERR_INVALID_ARGUMENT);
	/* vsnprintf writes a terminating zero too: room for it, not counted in len */
	r = buf_reserve(buf, (size_t)need + 1);
	if (r < 0)
		return buf_fail(buf, r);
	va_start(args, fmt);
	vsnprintf(buf->data + buf->len, (size_t)need + 1, fmt, args);
	va_end(args);
	buf->len += (size_t)need;
	return 0;
}

void buf_consume(struct buf *buf, size_t len)
{
	buf->failed = 0;
	if (len >= buf->len) {
		buf->len = 0;
		return;
	}
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
}

struct span buf_span(const struct buf *buf)
{
	return span_of(buf->data, buf->len);
}

char *buf_steal(struct buf *buf, size_t *ret_len)
{
	char *data = buf->data;

	if (ret_len)
		*ret_len = buf->len;
	buf_init(buf, buf->max);
	return data;
}
