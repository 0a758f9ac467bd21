/*
 * As much of HTTP/1.1 as the load generator and the fixture speak to each other and to what stands
 * between them.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "buf.h"

struct wire_head {
	size_t size;        /* bytes up to and with the empty line */
	struct span method; /* of a request */
	struct span path;   /* of a request */
	int status;         /* of a response */
	long long length;   /* Content-Length, -1: not given */
	bool chunked;
	bool close;          /* Connection: close */
	bool events;         /* Content-Type: text/event-stream */
	struct span session; /* Mcp-Session-Id, may be empty */
	struct span version; /* MCP-Protocol-Version, may be empty */
};

enum wire_state { WIRE_BAD = -1, WIRE_MORE = 0, WIRE_DONE = 1 };

/* Reads the head of a request or response at the start of bytes; the spans point into them. */
enum wire_state wire_read_head(struct span bytes, struct wire_head *ret_head);

/*
 * Takes the body that follows a head. ret_body points into bytes, or into scratch where the body
 * was chunked. ret_used: bytes the body occupies.
 */
enum wire_state wire_read_body(const struct wire_head *head, struct span bytes, struct buf *scratch,
	struct span *ret_body, size_t *ret_used);

/* The JSON of the last event of an event stream that carries data; SPAN_NONE when there is none. */
struct span wire_last_event(struct span events);

#endif
