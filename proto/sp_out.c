#include "sp_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

char *sp_out_bytes(struct out *out)
{
	return (char *)(out->fds + out->nfds);
}

static void out_close_fds(struct out *out)
{
	if (!out->fds_sent)
		for (unsigned i = 0; i < out->nfds; i++)
			close(out->fds[i]);
	out->fds_sent = true;
}

void sp_out_free(struct out *out)
{
	if (!out)
		return;
	out_close_fds(out);
	free(out);
}

int sp_out_new(size_t len, const int *fds, unsigned nfds, struct out **ret_out)
{
	struct out *out = malloc(sizeof(*out) + nfds * sizeof(int) + len);

	if (!out)
		return -ERR_NO_MEMORY;
	*out = (struct out){.len = len, .nfds = nfds};
	for (unsigned i = 0; i < nfds; i++) {
		out->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (out->fds[i] < 0) {
			while (i-- > 0)
				close(out->fds[i]);
			free(out);
			return -ERR_SYSTEM;
		}
	}
	*ret_out = out;
	return 0;
}

void sp_out_push(struct sp *sp, enum sp_priority priority, struct out *out)
{
	struct out_queue *queue = &sp->queues[priority];

	*queue->last = out;
	queue->last = &out->next;
	/* with bytes already queued, a flush is due, or the socket is full and being waited for */
	if (sp->queued == 0)
		event_active(&sp->write, EV_WRITE, 0);
	sp->queued += out->len;
}

struct out *sp_out_pop(struct sp *sp)
{
	for (int i = 0; i < SP_PRIORITY_MAX; i++) {
		struct out_queue *queue = &sp->queues[i];
		struct out *out = queue->first;

		if (!out)
			continue;
		queue->first = out->next;
		if (!queue->first)
			queue->last = &queue->first;
		return out;
	}
	return NULL;
}

void sp_out_drop_all(struct sp *sp)
{
	sp_out_free(sp->current);
	while ((sp->current = sp_out_pop(sp)))
		sp_out_free(sp->current);
	sp->queued = 0;
}

/* Up to the first message with descriptors; *ret_all: there is none, the whole queue was taken. */
static unsigned gather_queue(
	const struct out *out, struct iovec *iov, unsigned n, size_t *len, bool *ret_all)
{
	for (; out && out->nfds == 0 && n < GATHER_MAX; out = out->next, n++) {
		iov[n] = (struct iovec){sp_out_bytes((struct out *)out), out->len};
		*len += out->len;
	}
	*ret_all = !out;
	return n;
}

/* The bytes of the next sendmsg. A message whose descriptors are to be sent goes alone. */
static unsigned gather(struct sp *sp, struct iovec *iov, size_t *ret_len)
{
	struct out *out = sp->current;
	unsigned n = 0;
	bool all;

	*ret_len = 0;
	if (!out && sp->queues[SP_CONTROL].first && sp->queues[SP_CONTROL].first->nfds)
		out = sp->current = sp_out_pop(sp);
	else if (!out && !sp->queues[SP_CONTROL].first && sp->queues[SP_DATA].first->nfds)
		out = sp->current = sp_out_pop(sp);
	if (out) {
		iov[n++] = (struct iovec){sp_out_bytes(out) + out->sent, out->len - out->sent};
		*ret_len = out->len - out->sent;
		if (!out->fds_sent && out->nfds)
			return n;
	}
	n = gather_queue(sp->queues[SP_CONTROL].first, iov, n, ret_len, &all);
	/* out_consume takes the queues in this order: nothing may be passed over */
	if (!all)
		return n;
	return gather_queue(sp->queues[SP_DATA].first, iov, n, ret_len, &all);
}

static ssize_t send_gathered(struct sp *sp, struct iovec *iov, unsigned n)
{
	struct out *out = sp->current;
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};

	if (out && out->nfds && !out->fds_sent) {
		size_t fds_len = out->nfds * sizeof(int);
		struct cmsghdr *cmsg = (struct cmsghdr *)control;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(fds_len);
		memset(control, 0, CMSG_SPACE(fds_len));
		*cmsg = (struct cmsghdr){CMSG_LEN(fds_len), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(cmsg), out->fds, fds_len);
	}
	return sendmsg(sp->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void out_consume(struct sp *sp, size_t n)
{
	sp->queued -= n;
	while (n > 0) {
		struct out *out = sp->current;
		size_t left;

		if (!out)
			out = sp->current = sp_out_pop(sp);
		if (!out->fds_sent)
			out_close_fds(out);
		left = out->len - out->sent;
		if (n < left) {
			out->sent += n;
			return;
		}
		n -= left;
		sp->current = NULL;
		sp_out_free(out);
	}
}

void sp_out_broken(struct sp *sp, int code)
{
	sp->broken = code;
	sp_out_drop_all(sp);
	event_del(&sp->write);
	event_del(&sp->retry);
	if (!sp->paused)
		event_active(&sp->read, EV_READ, 0);
}

static void write_wait(struct sp *sp, int error)
{
	const struct timeval retry = {.tv_usec = RETRY_US};
	int r;

	switch (error) {
	case EAGAIN:
		r = event_add(&sp->write, NULL);
		break;
	case ENOBUFS:
	case ENOMEM:
	case ETOOMANYREFS:
		/* the socket may well be writable, waiting for that would spin */
		r = event_add(&sp->retry, &retry);
		break;
	case EPIPE:
	case ECONNRESET:
		sp_out_broken(sp, -ERR_CLOSED);
		return;
	default:
		r = -1;
	}
	if (r < 0)
		sp_out_broken(sp, -ERR_SYSTEM);
}

void sp_out_write(struct sp *sp)
{
	struct iovec iov[GATHER_MAX];

	while (sp->queued > 0) {
		size_t len;
		unsigned n = gather(sp, iov, &len);
		ssize_t sent = send_gathered(sp, iov, n);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			write_wait(sp, errno);
			return;
		}
		out_consume(sp, (size_t)sent);
		if ((size_t)sent < len) {
			write_wait(sp, EAGAIN);
			return;
		}
	}
}
