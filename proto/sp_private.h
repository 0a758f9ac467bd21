/* What the parts of the SP endpoint share: sp.c (life, what callers call), sp_in.c, sp_out.c and
 * sp_saved.c. */
#ifndef GATEHOUSE_SP_PRIVATE_H
#define GATEHOUSE_SP_PRIVATE_H

#include "sp.h"

#include <event2/event_struct.h>
#include <stdbool.h>

#define HELLO_LEN 8u
#define HEADER_MAX 9u /* IPC: type byte and length */
#define IPC_MESSAGE 0x01
#define ID_LEN 4u
#define ID_TOP 0x80000000u

#define SCRATCH_LEN (128u * 1024u)
/* Up to here a buffer is made as large as announced; beyond, it grows as the bytes arrive. */
#define BODY_FIRST_MAX (128u * 1024u)
#define BODY_SPARE_MIN 4096u /* smaller ones are left to malloc */
#define GATHER_MAX 64u       /* messages in one sendmsg */
#define FDS_MAX 253u         /* SCM_MAX_FD of Linux */
#define RETRY_US 10000       /* after the kernel had no memory or too many descriptors in flight */

/* One message on its way out. Its bytes follow its descriptors. */
struct out {
	struct out *next;
	size_t len;
	size_t sent;
	unsigned nfds;
	bool fds_sent;
	int fds[];
};

struct out_queue {
	struct out *first;
	struct out **last;
};

struct pending_fd {
	uint64_t at; /* stream offset of the last byte received with it */
	int fd;
};

struct sp {
	struct sp_config config;
	const struct sp_ops *ops;
	void *arg;
	int fd;
	unsigned depth; /* functions on the stack that may call back: sp_free then only marks */
	bool freed;
	bool over; /* closed was called */
	bool reading;
	bool draining;
	bool drain_wanted;
	bool paused;
	bool refused;
	bool hello_seen;
	bool in_body;
	int broken; /* writing failed with this code; closed follows the peer's last message */
	int loss;   /* descriptors were lost with the byte at loss_at */
	uint64_t loss_at;
	struct event read;
	struct event write;
	struct event retry;

	unsigned char head[HEADER_MAX];
	unsigned char head_len;
	char *body; /* of the incomplete message */
	size_t body_need;
	size_t body_len;
	size_t body_cap;
	char *backlog; /* received, not yet looked at, because reading was paused */
	size_t backlog_at;
	size_t backlog_len;
	uint64_t received; /* stream offsets */
	uint64_t parsed;
	struct pending_fd *fds;
	unsigned nfds;
	unsigned fds_cap;

	struct out *current; /* partly written: nothing may come between */
	struct out_queue queues[SP_PRIORITY_MAX];
	size_t queued;
};

static inline unsigned sp_header_len(const struct sp *sp)
{
	return sp->config.mapping == SP_MAPPING_IPC ? 9 : 8;
}

static inline unsigned sp_id_len(const struct sp *sp)
{
	return sp->config.protocol == SP_REQ0 || sp->config.protocol == SP_REP0 ? ID_LEN : 0;
}

static inline bool sp_alive(const struct sp *sp)
{
	return !sp->freed && !sp->over;
}

static inline uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)(v >> 24);
	p[1] = (unsigned char)(v >> 16);
	p[2] = (unsigned char)(v >> 8);
	p[3] = (unsigned char)v;
}

static inline uint64_t get64(const unsigned char *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static inline void put64(unsigned char *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

/* The 8 bytes each side sends first. */
void sp_hello_write(unsigned char *p, enum sp_protocol protocol);
/* An endpoint that does nothing yet: no event is added, nothing is queued. NULL: no memory. */
struct sp *sp_make(struct event_base *base, int fd, const struct sp_config *config,
	const struct sp_ops *ops, void *arg);
/* The end of the endpoint, code as for closed. Never called while a message is being handed out. */
void sp_fail(struct sp *sp, int code);

/* A message with room for len bytes; fds are duplicated. 0, -ERR_NO_MEMORY or -ERR_SYSTEM. */
int sp_out_new(size_t len, const int *fds, unsigned nfds, struct out **ret_out);
char *sp_out_bytes(struct out *out);
/* Queue it (takes it over), and see that it is written at the end of this turn of the loop. */
void sp_out_push(struct sp *sp, enum sp_priority priority, struct out *out);
/* The next to write, removed from its queue (the count of queued bytes stays). */
struct out *sp_out_pop(struct sp *sp);
void sp_out_free(struct out *out); /* NULL is accepted */
/* Write what the socket takes; arrange for the rest. */
void sp_out_write(struct sp *sp);
/* Writing is over. What the peer sent is still delivered, then closed is called with code. */
void sp_out_broken(struct sp *sp, int code);
void sp_out_drop_all(struct sp *sp);

/* Hand out what was held back by a pause. Returns whether nothing is left and sp is alive. */
bool sp_in_resume(struct sp *sp);
/* One recvmsg, and hand out what it completes. Returns whether bytes came and sp is alive. */
bool sp_in_receive(struct sp *sp);
/* Read and hand out all that is in the socket, paused or not. */
void sp_in_drain(struct sp *sp);
/* Close the descriptors that wait for their message. */
void sp_in_close_fds(struct sp *sp);
/* Free the buffers. */
void sp_in_free(struct sp *sp);

#endif
