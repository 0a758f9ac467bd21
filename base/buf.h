/*
 * A growing byte buffer with a maximum. Every buffer of the project has one; the maxima stand in
 * bounds.h or in the configuration.
 */
#ifndef GATEHOUSE_BUF_H
#define GATEHOUSE_BUF_H

#include "span.h"

#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t cap;
	size_t max; /* appending beyond it fails, nothing appended */
};

/* max in bytes. Allocates nothing. */
void buf_init(struct buf *buf, size_t max);
/* Frees the bytes; the buffer is then as after buf_init with the same max. */
void buf_free(struct buf *buf);
/* Length 0, memory kept. */
void buf_clear(struct buf *buf);

/* Each returns 0, -ERR_TOO_LARGE or -ERR_NO_MEMORY, having appended all or nothing. */
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_append_span(struct buf *buf, struct span span);
int buf_append_str(struct buf *buf, const char *s);
int buf_append_char(struct buf *buf, char c);
int buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Make room for len more bytes; they may then be written at data + len and claimed by adding to
 * len. */
int buf_reserve(struct buf *buf, size_t len);

/* Remove the first len bytes (at most all). Cost: a move of what remains. */
void buf_consume(struct buf *buf, size_t len);
/* What is in the buffer, valid until the next change. */
struct span buf_span(const struct buf *buf);
/* Hand the bytes to the caller (who frees them with free; ret_len may be NULL) and leave the buffer empty. May return
 * NULL if empty. */
char *buf_steal(struct buf *buf, size_t *ret_len);

#endif
