/*
 * A growing byte buffer with a maximum. Every buffer of the project has one; the maxima stand in
 * bounds.h or in the configuration.
 *
 * Once something did not fit, nothing more is appended: a text that was written piece by piece is
 * whole when its last piece was appended, and one with a hole in it cannot come about.
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
	int failed; /* 0, or how the first append failed that did */
};

/* max in bytes. Allocates nothing. */
void buf_init(struct buf *buf, size_t max);
/* Frees the bytes; the buffer is then as after buf_init with the same max. */
void buf_free(struct buf *buf);
/* Length 0, memory kept; nothing has failed. */
void buf_clear(struct buf *buf);
/* Take back what was appended beyond len (at most what there is), and that something failed. */
void buf_cut(struct buf *buf, size_t len);

/*
 * Each returns 0, -ERR_TOO_LARGE or -ERR_NO_MEMORY, having appended all or nothing. After a
 * failure each fails in the same way, until buf_cut, buf_clear, buf_consume, buf_steal or buf_free.
 */
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_append_span(struct buf *buf, struct span span);
int buf_append_str(struct buf *buf, const char *s);
int buf_append_char(struct buf *buf, char c);
int buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * Make room for len more bytes; they may then be written at data + len and claimed by adding to
 * len. A failure is no failed append.
 */
int buf_reserve(struct buf *buf, size_t len);
/* Something could not be appended by other means: as if an append had failed with code. Returns it. */
int buf_fail(struct buf *buf, int code);

/* Remove the first len bytes (at most all). There is room again: nothing has failed. Cost: a move
 * of what remains. */
void buf_consume(struct buf *buf, size_t len);
/* What is in the buffer, valid until the next change. */
struct span buf_span(const struct buf *buf);
/* Hand the bytes to the caller (who frees them with free; ret_len may be NULL) and leave the buffer empty. May return
 * NULL if empty. */
char *buf_steal(struct buf *buf, size_t *ret_len);

#endif
