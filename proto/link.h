/*
 * A link: the catalogue's messages over an SP pair0 endpoint, between two processes of the node.
 * The link shakes hands, refuses what the peer's role may not say, cuts large payloads into frames
 * so that small messages of other streams pass between them, and puts the pieces together again at
 * the other side.
 */
#ifndef GATEHOUSE_LINK_H
#define GATEHOUSE_LINK_H

#include "err.h"
#include "message.h"
#include "saved.h"

#include <event2/event.h>

struct link;

/* fields and payload are borrowed for the duration of the call. The handler may free the link. */
typedef void link_handler(struct link *link, const struct message *msg, void *arg);

struct link_handlers {
	/* By message type; a message without a handler ends the link like an illegal one. */
	link_handler *on[MSG_MAX];
	/*
	 * The link is over; code as sp_ops.closed. Everything the peer had sent before has been
	 * delivered. Called once; the callee frees the link.
	 */
	void (*closed)(struct link *link, int code, const char *why, void *arg);
};

struct link_peer {
	enum role role;
	uint64_t instance; /* 0 when it does not matter */
	char name[LIMIT_SERVER_NAME + 1];
};

struct link_config {
	enum role self;
	uint64_t self_instance;
	struct link_peer peer;
	bool opener; /* the side that asked for the link: its streams are odd, the other's even */
};

/*
 * Take over fd, a connected Unix stream socket. The handshake is sent at once; messages may be sent
 * at once too. handlers must outlive the link. On failure fd is closed.
 */
int link_new(struct event_base *base, int fd, const struct link_config *config,
	const struct link_handlers *handlers, void *arg, struct link **ret_link, struct err *err);
void link_free(struct link *link);

/*
 * The link as it is, for the program that takes this one's place: who is at the other end, what was received of a message
 * that is not whole, what was sent and has not left. Its descriptors are among the values; they stay the link's.
 */
void link_save(const struct link *link, struct saved_writer *writer);
/*
 * The link that was saved as these values, with the descriptors they name, which become its own: it goes on where the
 * other was, and its peer notices nothing. handlers and arg as for link_new. -ERR_PROTOCOL: the values are no link;
 * -ERR_NO_MEMORY; then the descriptors are still the caller's.
 */
int link_load(struct event_base *base, struct span saved, const struct link_handlers *handlers, void *arg,
	struct link **ret_link, struct err *err);

/*
 * Send a message. fields: the struct msg_… of the type, or NULL. payload is copied. fds are
 * duplicated, their number is the row's. Control messages overtake waiting data. Data messages of
 * one stream keep their order, and one on stream 0 also goes before what is sent after it on
 * others; else streams take turns, frame by frame. Returns 0, -ERR_AGAIN (too much waits on this
 * link already: LIMIT_LINK_QUEUE, each for control and for data; a single message that is larger is
 * taken when no data waits), -ERR_TOO_LARGE (for its row), -ERR_FORBIDDEN (this role may not send
 * it to that one), -ERR_INVALID_ARGUMENT (no fields), -ERR_CLOSED, -ERR_NO_MEMORY, -ERR_SYSTEM (no
 * descriptors left).
 */
int link_send(struct link *link, enum message_type type, uint32_t stream, const void *fields,
	struct span payload, const int *fds);
/*
 * The same for data that must not arrive before anything that was sent earlier, on whatever stream:
 * a word about a long message (that it is cancelled, say). It waits until all that has left.
 */
int link_send_behind(struct link *link, enum message_type type, uint32_t stream, const void *fields,
	struct span payload);
/* As link_send, without payload and descriptors. */
int link_post(struct link *link, enum message_type type, uint32_t stream, const void *fields);

/* A stream number not used before on this link by this side (after 2^31 it begins anew). */
uint32_t link_stream(struct link *link);

/* Bytes accepted by link_send and not yet written. */
size_t link_queued(const struct link *link);
/* Deliver what is in the socket now. See sp_drain. */
void link_drain(struct link *link);
/*
 * Write what is queued as far as the socket takes it now. True when nothing is left: then all that
 * was sent is the peer's, even if this process dies at once.
 */
bool link_flush(struct link *link);

const struct link_peer *link_peer(const struct link *link);
/* Set by the owner when the peer gets to be known better (a worker's session, a server's name). */
struct link_peer *link_peer_mut(struct link *link);
/* For the owner's use. */
void *link_user(const struct link *link);
void link_set_user(struct link *link, void *user);

#endif
