/* The parts of a link: link.c its life and what comes in, link_out.c what goes out, link_saved.c a
 * link that passes to another program. */
#ifndef GATEHOUSE_LINK_PRIVATE_H
#define GATEHOUSE_LINK_PRIVATE_H

#include "link.h"
#include "sp.h"

#include <event2/event_struct.h>
#include <uthash.h>

/* Bytes handed to the endpoint ahead of the socket: enough for one large write, little enough that
 * control stays quick. */
#define LINK_AHEAD (4u * LIMIT_FRAME_PAYLOAD)
/* Messages that wait for the endpoint. */
#define LINK_WAITING_MAX 16384u
/*
 * Messages begun in pieces and not ended: what a sender keeps to, and what a receiver accepts. With
 * LIMIT_LINK_QUEUE the first also keeps a sender within LIMIT_LINK_PARTIAL.
 */
#define LINK_BEGUN_MAX 32u
#define LINK_PARTIAL_MAX 256u

/* A message whose payload does not leave at once. */
struct outgoing {
	struct outgoing *prev, *next;
	uint64_t order;  /* among all that ever waited on this link */
	struct buf head; /* of the next frame */
	char *payload;
	size_t len, sent;
	bool begun;  /* its first frame has left */
	bool behind; /* goes when all that waited before it has left */
};

/* The messages of one stream that wait for the endpoint, oldest first. */
struct out_stream {
	uint32_t stream;
	struct outgoing *messages;
	struct out_stream *prev, *next; /* the ring of streams that take turns */
	UT_hash_handle hh;
};

/* A message that has not arrived whole. */
struct incoming {
	uint32_t stream;
	enum message_type type;
	struct buf frame; /* header, fields and payload as if it had come in one frame */
	UT_hash_handle hh;
};

struct link {
	struct sp *sp;
	struct link_config config;
	const struct link_handlers *handlers;
	void *arg;
	void *user;
	uint32_t next_stream;
	bool greeted;
	bool dispatching;
	bool freed; /* while dispatching */
	bool closed;

	struct out_stream *streams; /* by number; only those where something waits */
	struct out_stream *turns;   /* the same, the next one first */
	struct event retry;         /* for want of memory */
	uint64_t next_order;
	size_t waiting_bytes;
	unsigned waiting;
	unsigned begun;

	struct incoming *partial;
	size_t partial_bytes;
};

/* The endpoint has room, or had no memory a moment ago. */
void link_out_pump(struct link *link);
void link_out_free(struct link *link);
/* Queue it behind its stream (takes it over); nothing is written yet. -ERR_NO_MEMORY. */
int link_out_append(struct link *link, uint32_t number, struct outgoing *out);
void link_outgoing_free(struct outgoing *out); /* NULL is accepted */
/* A link without an endpoint. -ERR_NO_MEMORY */
int link_make(struct event_base *base, const struct link_config *config,
	const struct link_handlers *handlers, void *arg, struct link **ret_link, struct err *err);
struct sp_config link_sp_config(const struct link_config *config);
extern const struct sp_ops link_sp_handlers;

#endif
