/* The last lines a server wrote to stderr, of all its processes, for `gatehouse logs`. */
#ifndef GATEHOUSE_UPSTREAM_LOGS_H
#define GATEHOUSE_UPSTREAM_LOGS_H

#include "buf.h"

#include <stdint.h>

#define LOGS_LINES_MAX 256u
#define LOGS_BYTES_MAX (64u * 1024u)
/* A longer line is cut into several. */
#define LOGS_LINE_MAX 4096u

struct logs_line {
	uint64_t n;   /* the how many-th of this worker, from 1 */
	int64_t when; /* seconds since 1970 */
	char *text;   /* owned */
	size_t len;
	char label[24]; /* whose process, empty when shared */
};

struct logs {
	struct logs_line lines[LOGS_LINES_MAX];
	unsigned first, count;
	uint64_t total; /* ever added */
	size_t bytes;
};

/* Keep a line; the oldest go when there are too many. Out of memory, it is lost. */
void logs_add(struct logs *logs, const char *label, struct span text);
/* {"lines":[{"n":1,"ts":seconds,"session":"…","text":"…"},…]}, oldest first. 0 or the buffer's error. */
int logs_write(const struct logs *logs, struct buf *out);
void logs_free(struct logs *logs);

#endif
