/*
 * How descriptors find their message. A stream socket keeps no message boundaries, and recvmsg may
 * join bytes sent without descriptors to the ones that follow with them: it then stops inside or at
 * the end of what one sendmsg call sent (unix(7), "ancillary data forms a barrier"). So the one
 * thing known about received descriptors is that the last byte returned with them was sent by the
 * call that carried them. The rule is therefore: descriptors belong to the message that holds the
 * last byte received with them. For it to hold, sp_send's side gives a message with descriptors a
 * sendmsg call of its own, which carries them on the message's first byte.
 *
 * Memory. Bytes are read into one scratch buffer shared by all endpoints of the process, and whole
 * messages are handed out from there; an endpoint owns a buffer only while a message is incomplete
 * (or while reading is paused).
 */
#include "sp_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	char *scratch; /* SCRATCH_LEN, made at the first read */
	bool scratch_taken;
	char *spare; /* the last message buffer let go */
	size_t spare_cap;
} process;

/* A callback may drain another endpoint while the caller's message still lies in the scratch
 * buffer. */
static char *scratch_take(void)
{
	if (process.scratch_taken)
		return malloc(SCRATCH_LEN);
	if (!process.scratch)
		process.scratch = malloc(SCRATCH_LEN);
	process.scratch_taken = process.scratch != NULL;
	return process.scratch;
}

static void scratch_give(char *scratch)
{
	if (scratch == process.scratch)
		process.scratch_taken = false;
	else
		free(scratch);
}

static bool may_deliver(const struct sp *sp)
{
	return sp_alive(sp) && (!sp->paused || sp->draining);
}

void sp_in_close_fds(struct sp *sp)
{
	for (unsigned i = 0; i < sp->nfds; i++)
		close(sp->fds[i].fd);
	sp->nfds = 0;
}

static void body_release(struct sp *sp)
{
	if (sp->body_cap >= BODY_SPARE_MIN && sp->body_cap <= BODY_FIRST_MAX &&
		sp->body_cap > process.spare_cap) {
		free(process.spare);
		process.spare = sp->body;
		process.spare_cap = sp->body_cap;
	} else {
		free(sp->body);
	}
	sp->body = NULL;
	sp->body_cap = sp->body_len = sp->body_need = 0;
	sp->in_body = false;
}

/* Descriptors of the message that ends at sp->parsed, moved to fds. Returns how many; more than
 * max_fds: none moved. */
static unsigned fds_take(struct sp *sp, int *fds)
{
	unsigned n = 0;

	while (n < sp->nfds && sp->fds[n].at < sp->parsed)
		n++;
	if (n == 0 || n > sp->config.max_fds)
		return n;
	for (unsigned i = 0; i < n; i++)
		fds[i] = sp->fds[i].fd;
	sp->nfds -= n;
	memmove(sp->fds, sp->fds + n, sp->nfds * sizeof(*sp->fds));
	return n;
}

static void deliver(struct sp *sp, const char *p, size_t len)
{
	int fds[FDS_MAX];
	unsigned nfds;
	uint32_t id = 0;

	if (sp->loss && sp->loss_at < sp->parsed) {
		sp_fail(sp, sp->loss);
		return;
	}
	if (sp_id_len(sp)) {
		id = len >= ID_LEN ? get32((const unsigned char *)p) : 0;
		if (!(id & ID_TOP)) {
			sp_fail(sp, -ERR_PROTOCOL);
			return;
		}
		p += ID_LEN;
		len -= ID_LEN;
	}
	nfds = fds_take(sp, fds);
	if (nfds > sp->config.max_fds) {
		sp_fail(sp, -ERR_PROTOCOL);
		return;
	}
	sp->ops->message(sp, id, span_of(p, len), nfds ? fds : NULL, nfds, sp->arg);
}

/* Room for at least one more byte of the incomplete message. */
static int body_reserve(struct sp *sp)
{
	size_t cap = sp->body_need < BODY_FIRST_MAX ? sp->body_need : BODY_FIRST_MAX;
	char *body;

	if (sp->body_len < sp->body_cap)
		return 0;
	if (sp->body_cap == 0 && cap >= BODY_SPARE_MIN && process.spare_cap >= cap) {
		sp->body = process.spare;
		sp->body_cap = process.spare_cap;
		process.spare = NULL;
		process.spare_cap = 0;
		return 0;
	}
	if (sp->body_cap)
		cap = sp->body_need / 2 < sp->body_cap ? sp->body_need : sp->body_cap * 2;
	body = realloc(sp->body, cap);
	if (!body)
		return -ERR_NO_MEMORY;
	sp->body = body;
	sp->body_cap = cap;
	return 0;
}

/* n more bytes of the incomplete message are in its buffer. */
static void body_grown(struct sp *sp, size_t n)
{
	sp->body_len += n;
	sp->parsed += n;
	if (sp->body_len < sp->body_need)
		return;
	deliver(sp, sp->body, sp->body_need);
	body_release(sp);
}

static size_t feed_body(struct sp *sp, const char *p, size_t len)
{
	size_t n = sp->body_need - sp->body_len;
	int r = body_reserve(sp);

	if (r < 0) {
		sp_fail(sp, r);
		return 0;
	}
	if (n > sp->body_cap - sp->body_len)
		n = sp->body_cap - sp->body_len;
	if (n > len)
		n = len;
	memcpy(sp->body + sp->body_len, p, n);
	body_grown(sp, n);
	return n;
}

static enum sp_protocol peer_protocol(enum sp_protocol protocol)
{
	switch (protocol) {
	case SP_REQ0:
		return SP_REP0;
	case SP_REP0:
		return SP_REQ0;
	case SP_PUB0:
		return SP_SUB0;
	case SP_SUB0:
		return SP_PUB0;
	case SP_PAIR0:
		break;
	}
	return SP_PAIR0;
}

static void hello_check(struct sp *sp, const unsigned char *p)
{
	unsigned char expected[HELLO_LEN];
	bool with_fds = (sp->nfds > 0 && sp->fds[0].at < sp->parsed) ||
			(sp->loss && sp->loss_at < sp->parsed);

	sp_hello_write(expected, peer_protocol(sp->config.protocol));
	if (memcmp(p, expected, HELLO_LEN) != 0 || with_fds)
		sp_fail(sp, -ERR_PROTOCOL);
	sp->hello_seen = true;
}

/* A message header, and the len bytes after it. Returns how many of those were used: the whole body
 * or none. */
static size_t feed_message(struct sp *sp, const unsigned char *head, const char *p, size_t len)
{
	bool ipc = sp->config.mapping == SP_MAPPING_IPC;
	uint64_t need = get64(head + (ipc ? 1 : 0));

	if (ipc && head[0] != IPC_MESSAGE) {
		sp_fail(sp, -ERR_PROTOCOL);
		return 0;
	}
	if (need > sp->config.max_message) {
		sp_fail(sp, -ERR_TOO_LARGE);
		return 0;
	}
	if (need > len) {
		sp->body_need = (size_t)need;
		sp->in_body = true;
		return 0;
	}
	sp->parsed += need;
	deliver(sp, p, (size_t)need);
	return (size_t)need;
}

static size_t feed_head(struct sp *sp, const char *p, size_t len)
{
	unsigned need = sp->hello_seen ? sp_header_len(sp) : HELLO_LEN;
	const unsigned char *head = (const unsigned char *)p;
	size_t n = need - sp->head_len;

	if (n > len)
		n = len;
	sp->parsed += n;
	if (n < need) {
		memcpy(sp->head + sp->head_len, p, n);
		sp->head_len = (unsigned char)(sp->head_len + n);
		if (sp->head_len < need)
			return n;
		head = sp->head;
	}
	sp->head_len = 0;
	if (!sp->hello_seen) {
		hello_check(sp, head);
		return n;
	}
	return n + feed_message(sp, head, p + n, len - n);
}

/* Returns how many bytes were looked at: all, unless reading was paused or the endpoint ended. */
static size_t parse(struct sp *sp, const char *p, size_t len)
{
	size_t used = 0;

	while (used < len && may_deliver(sp)) {
		if (sp->in_body)
			used += feed_body(sp, p + used, len - used);
		else
			used += feed_head(sp, p + used, len - used);
	}
	return used;
}

/* All that was received has been looked at: what is left over belongs to the incomplete message. */
static void check_leftover(struct sp *sp)
{
	if (sp->loss)
		sp_fail(sp, sp->loss);
	else if (sp->nfds > sp->config.max_fds)
		sp_fail(sp, -ERR_PROTOCOL);
}

static void backlog_keep(struct sp *sp, const char *p, size_t len)
{
	sp->backlog = malloc(len);
	if (!sp->backlog) {
		sp_fail(sp, -ERR_NO_MEMORY);
		return;
	}
	memcpy(sp->backlog, p, len);
	sp->backlog_at = 0;
	sp->backlog_len = len;
}

bool sp_in_resume(struct sp *sp)
{
	if (!sp->backlog)
		return true;
	sp->backlog_at += parse(sp, sp->backlog + sp->backlog_at, sp->backlog_len - sp->backlog_at);
	if (!sp_alive(sp) || sp->backlog_at < sp->backlog_len)
		return false;
	free(sp->backlog);
	sp->backlog = NULL;
	check_leftover(sp);
	return sp_alive(sp);
}

static int fds_append(struct sp *sp, const int *fds, unsigned n)
{
	unsigned need = sp->nfds + n;

	if (need > sp->fds_cap) {
		struct pending_fd *grown = realloc(sp->fds, need * sizeof(*grown));

		if (!grown)
			return -ERR_NO_MEMORY;
		sp->fds = grown;
		sp->fds_cap = need;
	}
	for (unsigned i = 0; i < n; i++)
		sp->fds[sp->nfds++] = (struct pending_fd){sp->received - 1, fds[i]};
	return 0;
}

/* Queue what came with the bytes just received. Descriptors that were lost end the endpoint at
 * their message. */
static void fds_receive(struct sp *sp, struct msghdr *msg)
{
	int loss = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		int fds[FDS_MAX];
		unsigned n = (unsigned)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS || n > FDS_MAX)
			continue;
		memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
		if (fds_append(sp, fds, n) < 0) {
			loss = -ERR_NO_MEMORY;
			for (unsigned i = 0; i < n; i++)
				close(fds[i]);
		}
	}
	/* there was room for all the kernel allows, so it ran into this process's limit of
	 * descriptors */
	if (msg->msg_flags & MSG_CTRUNC)
		loss = sp->config.max_fds ? -ERR_SYSTEM : -ERR_PROTOCOL;
	if (loss && !sp->loss) {
		sp->loss = loss;
		sp->loss_at = sp->received - 1;
	}
}

static ssize_t receive_bytes(struct sp *sp, struct iovec *iov, unsigned iovcnt)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = iovcnt};
	ssize_t n;

	/* without room for any, the kernel drops descriptors and says MSG_CTRUNC */
	if (sp->config.max_fds) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
	}
	do
		n = recvmsg(sp->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		sp->received += (uint64_t)n;
		fds_receive(sp, &msg);
	}
	return n;
}

static bool receive_ended(struct sp *sp, ssize_t n)
{
	if (n < 0 && errno == EAGAIN) {
		if (sp->broken)
			sp_fail(sp, sp->broken);
		return false;
	}
	sp_fail(sp, n == 0 || errno == ECONNRESET || errno == EPIPE ? -ERR_CLOSED : -ERR_SYSTEM);
	return false;
}

/* One recvmsg, and deliver what it completes. The rest of a message already begun goes straight to
 * its buffer. */
static bool receive_into(struct sp *sp, char *scratch)
{
	struct iovec iov[2];
	unsigned iovcnt = 0;
	size_t begun = 0, left, used;
	ssize_t n;

	if (sp->in_body) {
		int r = body_reserve(sp);

		if (r < 0) {
			sp_fail(sp, r);
			return false;
		}
		begun = sp->body_need - sp->body_len;
		if (begun > sp->body_cap - sp->body_len)
			begun = sp->body_cap - sp->body_len;
		iov[iovcnt++] = (struct iovec){sp->body + sp->body_len, begun};
	}
	iov[iovcnt++] = (struct iovec){scratch, SCRATCH_LEN};
	n = receive_bytes(sp, iov, iovcnt);
	if (n <= 0)
		return receive_ended(sp, n);
	if (begun > (size_t)n)
		begun = (size_t)n;
	if (begun > 0)
		body_grown(sp, begun);
	left = (size_t)n - begun;
	used = parse(sp, scratch, left);
	if (!sp_alive(sp))
		return false;
	if (used < left)
		backlog_keep(sp, scratch + used, left - used);
	else
		check_leftover(sp);
	return sp_alive(sp);
}

bool sp_in_receive(struct sp *sp)
{
	char *scratch = scratch_take();
	bool more;

	if (!scratch) {
		sp_fail(sp, -ERR_NO_MEMORY);
		return false;
	}
	more = receive_into(sp, scratch);
	scratch_give(scratch);
	return more;
}

void sp_in_drain(struct sp *sp)
{
	uint64_t start;
	int waiting = 0;

	sp->drain_wanted = false;
	sp->draining = true;
	if (sp_in_resume(sp) && ioctl(sp->fd, FIONREAD, &waiting) < 0)
		waiting = 0;
	/* bounded by what was there at first: a lively peer must not hold the caller here */
	start = sp->received;
	while (sp_alive(sp) && sp->received - start <= (uint64_t)waiting && sp_in_receive(sp))
		continue;
	sp->draining = false;
}

void sp_in_free(struct sp *sp)
{
	body_release(sp);
	free(sp->backlog);
	free(sp->fds);
}
