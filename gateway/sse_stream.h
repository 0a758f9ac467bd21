/*
 * HTTP+SSE, the transport of revision 2024-11-05: a GET opens an event stream, whose first event,
 * `endpoint`, says where the client's messages are to be posted; answers come as events of the
 * stream. A stream is a session (channel.h).
 *
 *   sse_stream.c   the transport: the stream, the messages for it
 *   neighbours.h   messages that were posted to another gateway than the one with the stream
 */
#ifndef GATEHOUSE_SSE_STREAM_H
#define GATEHOUSE_SSE_STREAM_H

#include "err.h"
#include "span.h"

#include <stdint.h>

struct gateway;

/* Random bytes in the address of a stream, which nobody must guess; and in hexadecimal. */
#define SSE_SECRET_BYTES 24u
#define SSE_SECRET_LEN (2u * SSE_SECRET_BYTES)
/* SLOT.NUMBER.SECRET */
#define SSE_KEY_MAX (SSE_SECRET_LEN + 32u)

/*
 * A message for the stream of this key (what the endpoint's query says), from this principal. 0: it
 * is on its way, or its answer, an error included, comes on the stream. Negative, with a sentence
 * in err: it went nowhere; -ERR_SESSION_UNKNOWN when there is no such stream.
 */
int sse_stream_message(struct gateway *gateway, struct span key, struct span principal,
	struct span message, struct err *err);

#endif
