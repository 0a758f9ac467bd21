/*
 * WebSocket framing (RFC 6455) without sockets, both sides of it, on libwslay: bytes in, text
 * messages out, and the other way; and the keys of the opening handshake. It knows nothing of MCP.
 * No extension is spoken (permessage-deflate is not offered).
 *
 * What a peer does wrong ends the conversation with a Close frame of the fitting code:
 *   1002  a frame that is masked and must not be, or the other way; reserved bits, a fragment out of
 *         place, a bad control frame
 *   1003  a binary message     1007  text that is not UTF-8     1009  a message beyond the limit
 *   1008  more control frames or fragments than any honest peer sends
 *
 * Not linked by session workers, zygote and root: dependency `websocket` (libwslay, OpenSSL).
 */
#ifndef GATEHOUSE_WEBSOCKET_H
#define GATEHOUSE_WEBSOCKET_H

#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of Sec-WebSocket-Key and Sec-WebSocket-Accept, with their terminating zeros. */
#define WEBSOCKET_KEY_SIZE 25
#define WEBSOCKET_ACCEPT_SIZE 29
/* Control frames of the peer between two text messages, or between two calls of websocket_pardon. */
#define WEBSOCKET_CONTROL_MAX 256u
/* Frames that one message may come in. */
#define WEBSOCKET_FRAMES_MAX 65536u
/* Bytes of a Close frame's reason (RFC 6455 §5.5). */
#define WEBSOCKET_REASON_MAX 123u

/* RFC 6455 §7.4.1, and 1013 of the IANA registry. */
enum websocket_code {
	WEBSOCKET_NORMAL = 1000,
	WEBSOCKET_GOING_AWAY = 1001,
	WEBSOCKET_PROTOCOL = 1002,
	WEBSOCKET_UNSUPPORTED = 1003,
	WEBSOCKET_NO_CODE = 1005,  /* a Close without one; never sent */
	WEBSOCKET_ABNORMAL = 1006, /* no Close at all; never sent */
	WEBSOCKET_NOT_UTF8 = 1007,
	WEBSOCKET_POLICY = 1008,
	WEBSOCKET_TOO_BIG = 1009,
	WEBSOCKET_INTERNAL = 1011,
	WEBSOCKET_RESTART = 1012, /* IANA's registry: Service Restart */
	WEBSOCKET_TRY_LATER = 1013,
};

enum websocket_side { WEBSOCKET_CLIENT, WEBSOCKET_SERVER };

struct websocket;

struct websocket_ops {
	/* A whole text message, valid UTF-8; the span lives for the call. May call all functions
	 * here; after a Close of ours nothing more is given out. */
	void (*message)(void *arg, struct span text);
	/* Bytes for the peer. How many of them were taken; 0: none now, websocket_flush comes
	 * later. Must not call back. */
	size_t (*put)(void *arg, struct span bytes);
};

/*
 * After the handshake. message_max: bytes of one message of the peer, all its frames together;
 * queue_max: bytes for the peer that may wait. ops and arg are borrowed. NULL: no memory.
 */
struct websocket *websocket_new(enum websocket_side side, size_t message_max, size_t queue_max,
	const struct websocket_ops *ops, void *arg);
/* NULL is accepted. Also from within `message`. */
void websocket_free(struct websocket *ws);

/*
 * Bytes of the peer, cut anywhere. 0, or, when nothing it says counts any more and a Close is
 * queued, with a sentence in err: -ERR_CLOSED (its Close came, or websocket_free was called),
 * -ERR_TOO_LARGE, -ERR_PROTOCOL, -ERR_NO_MEMORY.
 */
int websocket_read(struct websocket *ws, struct span bytes, struct err *err);
/* Queue a text message (copied), or a ping. 0; -ERR_CLOSED after a Close; -ERR_TOO_LARGE: more than
 * queue_max would wait; -ERR_NO_MEMORY. */
int websocket_send(struct websocket *ws, struct span text);
int websocket_ping(struct websocket *ws);
/*
 * Queue a Close: behind all that waits; or at once, and whatever waits, but for a frame that has
 * begun to leave, is dropped. The first one counts; the reason is cut.
 */
void websocket_finish(struct websocket *ws, enum websocket_code code, const char *reason);
void websocket_close(struct websocket *ws, enum websocket_code code, const char *reason);
/* Hand what is queued to put, as far as it is taken. */
void websocket_flush(struct websocket *ws);

/* Bytes that put has not taken. */
size_t websocket_queued(const struct websocket *ws);
/* Our Close has been taken by put: nothing else will be. */
bool websocket_ended(const struct websocket *ws);
/* Has a Close of the peer come? */
bool websocket_close_received(const struct websocket *ws);
/* Why it ended: the code of the first Close, of either side; WEBSOCKET_ABNORMAL: there is none. */
enum websocket_code websocket_code(const struct websocket *ws);
/* A message has begun and is not whole; *ret_len: bytes of it so far. */
bool websocket_in_message(const struct websocket *ws, size_t *ret_len);
/* Time has passed, or the answers were taken: control frames are counted anew. */
void websocket_pardon(struct websocket *ws);

/* --- the opening handshake (websocket_key.c) ------------------------------------------------ */

/* A fresh Sec-WebSocket-Key. -ERR_SYSTEM: no random bytes. */
int websocket_key(char ret[WEBSOCKET_KEY_SIZE]);
/* The Sec-WebSocket-Accept that answers key (RFC 6455 §4.2.2). -ERR_INVALID_ARGUMENT: not 16 bytes
 * in base64. */
int websocket_accept(struct span key, char ret[WEBSOCKET_ACCEPT_SIZE]);

#endif
