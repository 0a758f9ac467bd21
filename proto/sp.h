/*
 * An endpoint of the Scalability Protocols (the protocol nng speaks) over one connected stream socket: Unix socket
 * pair, Unix socket or TCP. Single-threaded, on libevent. Interoperates with libnng in both directions.
 *
 * Wire (SP TCP mapping RFC, sp-tcp-mapping-01; nng's IPC mapping): both sides send 8 bytes 00 'S' 'P' 00, protocol
 * number (big endian, 16 bits), 00 00. Then messages: on IPC one byte 01, on both a 64-bit big-endian length, and
 * that many bytes. A req message begins with a 32-bit id whose top bit is set; the rep carries it back.
 *
 * Beyond nng, an endpoint on a Unix socket can carry descriptors (SCM_RIGHTS) with a message.
 */
#ifndef GATEHOUSE_SP_H
#define GATEHOUSE_SP_H

#include "err.h"
#include "saved.h"
#include "span.h"

#include <event2/event.h>
#include <stdint.h>
#include <sys/uio.h>

enum sp_protocol {
	SP_PAIR0 = 0x10,
	SP_PUB0 = 0x20,
	SP_SUB0 = 0x21,
	SP_REQ0 = 0x30,
	SP_REP0 = 0x31,
};

enum sp_mapping { SP_MAPPING_IPC, SP_MAPPING_TCP };

/* Two queues towards the peer: every control message leaves before the first waiting data message. */
enum sp_priority { SP_CONTROL, SP_DATA, SP_PRIORITY_MAX };

struct sp;

struct sp_config {
	enum sp_protocol protocol;
	enum sp_mapping mapping;
	/* bytes, the id of REQ0 and REP0 included; a longer announced length closes the endpoint with ERR_TOO_LARGE */
	size_t max_message;
	/* unsent bytes, headers included, beyond which data is refused; control is accepted up to twice as much */
	size_t max_queue;
	/* not 0: control is accepted up to this many unsent bytes instead */
	size_t max_control;
	/* descriptors accepted with one message, at most 253; with more they are closed, and the endpoint too (ERR_PROTOCOL) */
	unsigned max_fds;
};

struct sp_ops {
	/*
	 * A whole message. body is borrowed for the duration of the call (for REP0 and REQ0 it is what follows the id, and
	 * id holds it; for the others id is 0). The nfds descriptors, close-on-exec, become the callee's, which closes them.
	 * Descriptors belong to the message that holds the last byte received with them; a peer that is not this endpoint
	 * must send a message with descriptors by a sendmsg of its own. The callee may free the endpoint.
	 */
	void (*message)(struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg);
	/*
	 * The endpoint is no longer usable: code is -ERR_CLOSED (the peer closed), -ERR_PROTOCOL, -ERR_TOO_LARGE,
	 * -ERR_SYSTEM (also when descriptors sent to us could not be taken, being out of them), -ERR_NO_MEMORY.
	 * Everything the peer had sent before it closed has been delivered. Called once; the callee may free the endpoint.
	 */
	void (*closed)(struct sp *sp, int code, void *arg);
	/* The queue fell below half of max_queue after sp_send had refused. May be NULL. */
	void (*writable)(struct sp *sp, void *arg);
};

/*
 * Take over fd (a connected, stream socket; made non-blocking; closed by sp_free, and also when sp_new fails). Sends
 * the protocol header at the next turn of the loop; messages may be queued at once. base, config and ops->… are
 * borrowed: ops must outlive the endpoint. Nothing is called back before sp_new has returned.
 */
int sp_new(struct event_base *base, int fd, const struct sp_config *config, const struct sp_ops *ops,
	void *arg, struct sp **ret_sp, struct err *err);

/*
 * The endpoint as it is, for the program that takes this one's place. Not from within one of its calls.
 */
void sp_save(const struct sp *sp, struct saved_writer *writer);
/*
 * The endpoint that was saved as these values; config, ops and arg as for sp_new. Its socket, and the descriptors that
 * wait in it, are the numbers that were saved: they are its own from here on. On failure (-ERR_PROTOCOL, -ERR_NO_MEMORY,
 * -ERR_SYSTEM) they are the caller's.
 */
int sp_load(struct event_base *base, struct span saved, const struct sp_config *config, const struct sp_ops *ops,
	void *arg, struct sp **ret_sp, struct err *err);

/* Close the socket and free. What is queued and not yet written is lost: see sp_flush. NULL is accepted. */
void sp_free(struct sp *sp);

/*
 * Queue one message made of the iov parts (copied) and nfds descriptors (duplicated: the caller keeps its own). id is
 * the request id for REQ0 and REP0 (its top bit set), ignored for the others. Writing happens at the end of this turn of the loop, so that
 * all messages of a turn leave with as few system calls as possible.
 * Returns 0, -ERR_AGAIN (queue full: nothing queued), -ERR_TOO_LARGE (could never be queued, or more than 253 fds),
 * -ERR_INVALID_ARGUMENT (an id without its top bit, descriptors over TCP), -ERR_CLOSED, -ERR_NO_MEMORY, -ERR_SYSTEM.
 * Nothing is called back from here.
 */
int sp_send(struct sp *sp, enum sp_priority priority, uint32_t id, const struct iovec *iov, int iovcnt,
	const int *fds, unsigned nfds);

/* Write what is queued now, as far as the socket takes it; calls nothing back. Returns bytes still queued, or -ERR_CLOSED. */
ssize_t sp_flush(struct sp *sp);

/* Unsent bytes. */
size_t sp_queued(const struct sp *sp);

/*
 * Stop or resume reading (for whoever must not take more now). No message comes while it is stopped, and the peer's
 * end is noticed only by writing; what was already read is delivered from the loop after resuming.
 */
void sp_pause_reading(struct sp *sp, bool paused);

/*
 * Read and deliver everything that is in the socket now, without waiting and even while reading is paused: for draining
 * a dead peer's last words. Calls message and closed. From within message of the same endpoint it takes effect when
 * that call has returned.
 */
void sp_drain(struct sp *sp);

int sp_fd(const struct sp *sp);

#endif
