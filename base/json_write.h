/*
 * Writing JSON text into a buffer. Each returns 0 or the buffer's error; a caller that writes many
 * parts may check only the last, because a full buffer refuses every later part too unless that
 * part is shorter: build into a buffer with an ample max where a partial text would matter.
 */
#ifndef GATEHOUSE_JSON_WRITE_H
#define GATEHOUSE_JSON_WRITE_H

#include "buf.h"

/*
 * Append text as a JSON string with its quotes. Control characters, quote and backslash are
 * escaped; bytes that are not UTF-8 become U+FFFD, so that the output is always valid JSON (RFC
 * 8259 §8.1).
 */
int json_write_string(struct buf *out, struct span text);

/* Is all of text UTF-8 (RFC 3629), so that json_write_string replaces nothing? */
bool json_is_utf8(struct span text);

#endif
