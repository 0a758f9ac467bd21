/*
 * WebSocket (RFC 6455) without sockets: bytes in, messages out, and the other way. Framing, masking
 * and UTF-8 are libwslay's; limits, closing and the opening handshake's keys are here.
 *
 * Not linked by session workers, zygote and root: dependency `websocket` (libwslay, OpenSSL).
 */
#ifndef GATEHOUSE_WEBSOCKET_H
#define GATEHOUSE_WEBSOCKET_H

#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

/* Of Sec-WebSocket-Key and Sec-WebSocket-Accept, with their terminating zeros. */
#define WEBSOCKET_KEY_SIZE 25
#define WEBSOCKET_ACCEPT_SIZE 29
/* Pongs and the like that wait for a peer that does not read; beyond it, it is cut off. */
#define WEBSOCKET_CONTROL_MAX 256u
/* Frames of one message: each costs memory beyond its bytes. */
#define WEBSOCKET_FRAMES_MAX 65536u
/* Bytes of a reason for closing (RFC 6455 §5.5). */
#define WEBSOCKET_REASON_MAX 123u

/* Status codes of a close frame (RFC 6455 §7.4.1). */
enum websocket_code {
	WEBSOCKET_NORMAL = 1000,
	WEBSOCKET_GOING_AWAY = 1001,
	WEBSOCKET_PROTOCOL = 1002,
	WEBSOCKET_UNSUPPORTED = 1003,
	WEBSOCKET_NO_CODE = 1005, /* never sent: the peer gave none */
	WEBSOCKET_NOT_UTF8 = 1007,
	WEBSOCKET_POLICY = 1008,
	WEBSOCKET_TOO_BIG = 1009,
	WEBSOCKET_INTERNAL = 1011,
};

enum websocket_side { WEBSOCKET_CLIENT, WEBSOCKET_SERVER };

/* A whole text message, valid UTF-8; borrowed. websocket_free must not be called from here;
 * websocket_close may: nothing more is given out then. */
typedef void websocket_message_fn(void *arg, struct span text);

struct websocket;

/* After the handshake. message_max: bytes of one message of the peer, all its frames together.
 * NULL: no memory. */
struct websocket *websocket_new(
	enum websocket_side side, size_t message_max, websocket_message_fn *message, void *arg);
void websocket_free(struct websocket *websocket); /* NULL is accepted */

/*
 * Understand what came, cut anywhere. 0, or, when the conversation is over, with a sentence in err:
 * -ERR_CLOSED (a close frame came), -ERR_TOO_LARGE, -ERR_PROTOCOL, -ERR_NO_MEMORY. What is to be
 * written then holds the close frame; nothing more is read.
 */
int websocket_read(struct websocket *websocket, struct span input, struct err *err);

/* Queue one text message; copied. -ERR_NO_MEMORY; -ERR_CLOSED after a close frame either way. */
int websocket_send(struct websocket *websocket, struct span text);
/* Queue a ping. As websocket_send. */
int websocket_ping(struct websocket *websocket);
/* Queue a close frame; reason is cut. After the first, and when the peer's was answered, nothing
 * happens. */
void websocket_close(struct websocket *websocket, enum websocket_code code, const char *reason);

/* Move what is queued to the end of out, as frames. 0; after an error the conversation is lost. */
int websocket_write(struct websocket *websocket, struct buf *out);
/* Has a close frame of the peer come? */
bool websocket_close_received(const struct websocket *websocket);

/* A fresh Sec-WebSocket-Key. -ERR_SYSTEM: no random bytes. */
int websocket_key(char ret[WEBSOCKET_KEY_SIZE]);
/* The Sec-WebSocket-Accept that answers key (RFC 6455 §4.2.2). -ERR_INVALID_ARGUMENT: not 16 bytes
 * in base64. */
int websocket_accept(struct span key, char ret[WEBSOCKET_ACCEPT_SIZE]);

#endif
