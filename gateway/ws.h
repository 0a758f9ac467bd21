/*
 * WebSocket framing (RFC 6455), a server's side, on libwslay: bytes in, text messages out, and the
 * other way. It knows no sockets and nothing of MCP. No extension is spoken (permessage-deflate is
 * not offered).
 *
 * What a peer does wrong ends the connection with a Close frame of the fitting code:
 *   1002  a frame that is not masked, reserved bits, a fragment out of place, a bad control frame
 *   1003  a binary message     1007  text that is not UTF-8     1009  a message beyond the limit
 *   1008  more control frames or fragments than any honest peer sends
 */
#ifndef GATEHOUSE_WS_H
#define GATEHOUSE_WS_H

#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 6455 §7.4.1, and 1013 of the IANA registry. */
enum ws_code {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL = 1002,
	WS_UNSUPPORTED = 1003,
	WS_NO_CODE = 1005,  /* a Close without one; never sent */
	WS_ABNORMAL = 1006, /* no Close at all; never sent */
	WS_BAD_TEXT = 1007,
	WS_POLICY = 1008,
	WS_TOO_BIG = 1009,
	WS_INTERNAL = 1011,
	WS_TRY_LATER = 1013,
};

/* Control frames between two text messages, or between two calls of ws_pardon. */
#define WS_CONTROL_MAX 256u
/* Frames that one message may come in. */
#define WS_FRAGMENTS_MAX 65536u
/* Bytes of a Close frame's reason. */
#define WS_REASON_MAX 123u

struct ws;

struct ws_ops {
	/* A whole text message, valid UTF-8; the span lives for the call. May call all of ws. */
	void (*message)(void *arg, struct span text);
	/* Bytes for the peer. How many of them were taken; 0: none now, ws_flush comes later. Must
	 * not call ws. */
	size_t (*put)(void *arg, struct span bytes);
};

/*
 * message_max: bytes of one message of the peer; queue_max: bytes for it that may wait. ops and arg
 * are borrowed. NULL: no memory.
 */
struct ws *ws_new(size_t message_max, size_t queue_max, const struct ws_ops *ops, void *arg);
/* NULL is accepted. Also from within a callback. */
void ws_free(struct ws *ws);

/* Bytes of the peer, cut anywhere. 0; -ERR_CLOSED: nothing it says counts any more, and a Close is
 * queued. */
int ws_read(struct ws *ws, struct span bytes);
/* Queue a text message (copied, in frames of at most 64 KiB), or a ping. 0; -ERR_CLOSED after a
 * Close; -ERR_TOO_LARGE: more than queue_max would wait; -ERR_NO_MEMORY. */
int ws_send(struct ws *ws, struct span text);
int ws_ping(struct ws *ws);
/*
 * Queue a Close: behind all that waits; or at once, and whatever waits, but for a frame that has
 * begun to leave, is dropped. The first one counts.
 */
void ws_finish(struct ws *ws, enum ws_code code, const char *reason);
void ws_close(struct ws *ws, enum ws_code code, const char *reason);
/* Hand what is queued to put, as far as it is taken. */
void ws_flush(struct ws *ws);

/* Bytes that put has not taken. */
size_t ws_queued(const struct ws *ws);
/* Our Close has been taken by put: nothing else will be. */
bool ws_ended(const struct ws *ws);
/* Why it ended: the code of the first Close, of either side; WS_ABNORMAL: there is none. */
enum ws_code ws_code(const struct ws *ws);
/* A message has begun and is not whole; *ret_len: bytes of it so far. */
bool ws_in_message(const struct ws *ws, size_t *ret_len);
/* Time has passed: control frames are counted anew. */
void ws_pardon(struct ws *ws);

#endif
