/*
 * Server-sent events: an incremental parser for what upstreams send, and writers for what we send.
 *
 * Source: WHATWG HTML, "Server-sent events", §9.2.5 and 9.2.6.
 */
#ifndef GATEHOUSE_SSE_H
#define GATEHOUSE_SSE_H

#include "buf.h"
#include "err.h"
#include "span.h"

#include <stddef.h>
#include <stdint.h>

/* The longest event id that is kept; a longer one is an error, because resuming needs it whole. */
#define SSE_ID_MAX 1024u

struct sse_parser;

/* A dispatched event. Spans live until the next call on the parser. */
struct sse_event {
	struct span event; /* its type; "message" if none was given */
	struct span data;  /* lines joined by '\n'; may be empty (a priming event) */
	struct span id;    /* the last id seen so far on the stream; empty if none */
};

/* event_max: bytes that one event's lines may have in all; also bounds the memory of the parser.
 * NULL: no memory. */
struct sse_parser *sse_parser_new(size_t event_max);
void sse_parser_free(struct sse_parser *parser);
/* Forget a half-read event, for a new connection; the last id and retry are kept. */
void sse_parser_reset(struct sse_parser *parser);

/*
 * Read from *input, which may be cut anywhere, and move it forward past what was read. Returns 1
 * with an event in *ret (call again: more may follow in input), 0 when input is used up,
 * -ERR_TOO_LARGE or -ERR_NO_MEMORY, after which only reset or free make sense. An event that the
 * end of the stream cuts off is never given out.
 */
int sse_parser_next(
	struct sse_parser *parser, struct span *input, struct sse_event *ret, struct err *err);

/* The last id, also from blocks without data; empty if none. Valid until the next call on the
 * parser. */
struct span sse_parser_last_id(const struct sse_parser *parser);
/* The last "retry:" in milliseconds, or -1. */
int64_t sse_parser_retry_ms(const struct sse_parser *parser);
/* Bytes read since the last empty line, comments included (0: the stream stands between events). */
size_t sse_parser_pending(const struct sse_parser *parser);

/*
 * Append one event; id and event are left out when empty and must not contain line ends (nor id a
 * zero byte): -ERR_INVALID_ARGUMENT. Data is split into one "data:" line per line (at LF, CR or
 * CRLF); empty data gives one empty line, so that the event is dispatched. 0 or the buffer's error;
 * out unchanged on failure.
 */
int sse_write_event(struct buf *out, struct span id, struct span event, struct span data);
/* ": text", a comment: keeps connections alive. text must not contain line ends. */
int sse_write_comment(struct buf *out, struct span text);
/* "retry:", in milliseconds, as a block of its own. */
int sse_write_retry(struct buf *out, uint32_t ms);

#endif
