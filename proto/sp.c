#include "sp_private.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void events_stop(struct sp *sp)
{
	event_del(&sp->read);
	event_del(&sp->write);
	event_del(&sp->retry);
}

void sp_fail(struct sp *sp, int code)
{
	if (!sp_alive(sp))
		return;
	sp->over = true;
	events_stop(sp);
	sp_in_close_fds(sp);
	sp_out_drop_all(sp);
	if (sp->ops->closed)
		sp->ops->closed(sp, code, sp->arg);
}

static void destroy(struct sp *sp)
{
	sp_in_free(sp);
	free(sp);
}

static void enter(struct sp *sp)
{
	sp->depth++;
}

static void leave(struct sp *sp)
{
	if (--sp->depth == 0 && sp->freed)
		destroy(sp);
}

void sp_hello_write(unsigned char *p, enum sp_protocol protocol)
{
	const unsigned char hello[HELLO_LEN] = {0, 'S', 'P', 0, 0, (unsigned char)protocol, 0, 0};

	memcpy(p, hello, HELLO_LEN);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	struct sp *sp = arg;

	(void)fd;
	(void)what;
	if (sp->reading || sp->paused || !sp_alive(sp))
		return;
	enter(sp);
	sp->reading = true;
	/* with writing broken the socket may never be readable again:
	 * come back until it is empty */
	if (sp_in_resume(sp) && sp_in_receive(sp) && sp->broken && !sp->paused)
		event_active(&sp->read, EV_READ, 0);
	if (sp->drain_wanted && sp_alive(sp))
		sp_in_drain(sp);
	sp->reading = false;
	leave(sp);
}

static bool writable_due(const struct sp *sp)
{
	return sp->refused && !sp->broken && sp->queued <= sp->config.max_queue / 2;
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	struct sp *sp = arg;

	(void)fd;
	(void)what;
	enter(sp);
	sp_out_write(sp);
	if (sp_alive(sp) && writable_due(sp)) {
		sp->refused = false;
		if (sp->ops->writable)
			sp->ops->writable(sp, sp->arg);
	}
	leave(sp);
}

static int config_check(const struct sp_config *config, struct err *err)
{
	if (config->protocol != SP_PAIR0 && config->protocol != SP_REQ0 &&
		config->protocol != SP_REP0 && config->protocol != SP_PUB0 &&
		config->protocol != SP_SUB0)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "unknown SP protocol %d", (int)config->protocol);
	if (config->max_fds > FDS_MAX)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "at most %u descriptors fit a message", FDS_MAX);
	if (config->mapping == SP_MAPPING_TCP && config->max_fds)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "a TCP connection carries no descriptors");
	return 0;
}

static int socket_prepare(int fd, enum sp_mapping mapping, struct err *err)
{
	int flags = fcntl(fd, F_GETFL), one = 1;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set_errno(err, "cannot prepare socket %d", fd);
	/* a Unix socket may speak the TCP mapping too: that it has no such option is no error */
	if (mapping == SP_MAPPING_TCP)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}

static int hello_queue(struct sp *sp, struct err *err)
{
	struct out *out;
	int r = sp_out_new(HELLO_LEN, NULL, 0, &out);

	if (r < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for an endpoint");
	sp_hello_write((unsigned char *)sp_out_bytes(out), sp->config.protocol);
	sp_out_push(sp, SP_CONTROL, out);
	/* as if it were partly written: nothing goes before it */
	sp->current = sp_out_pop(sp);
	return 0;
}

struct sp *sp_make(struct event_base *base, int fd, const struct sp_config *config,
	const struct sp_ops *ops, void *arg)
{
	struct sp *sp = calloc(1, sizeof(*sp));

	if (!sp)
		return NULL;
	*sp = (struct sp){.config = *config, .ops = ops, .arg = arg, .fd = fd};
	for (int i = 0; i < SP_PRIORITY_MAX; i++)
		sp->queues[i].last = &sp->queues[i].first;
	event_assign(&sp->read, base, fd, EV_READ | EV_PERSIST, on_read, sp);
	event_assign(&sp->write, base, fd, EV_WRITE, on_write, sp);
	event_assign(&sp->retry, base, -1, 0, on_write, sp);
	return sp;
}

int sp_new(struct event_base *base, int fd, const struct sp_config *config,
	const struct sp_ops *ops, void *arg, struct sp **ret_sp, struct err *err)
{
	struct sp *sp = NULL;
	int r = config_check(config, err);

	if (r == 0)
		r = socket_prepare(fd, config->mapping, err);
	if (r == 0) {
		sp = sp_make(base, fd, config, ops, arg);
		if (!sp)
			r = err_set(err, ERR_NO_MEMORY, "no memory for an endpoint");
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	r = hello_queue(sp, err);
	if (r == 0 && event_add(&sp->read, NULL) < 0)
		r = err_set(err, ERR_SYSTEM, "cannot watch socket %d", fd);
	if (r < 0) {
		sp_free(sp);
		return r;
	}
	*ret_sp = sp;
	return 0;
}

void sp_free(struct sp *sp)
{
	if (!sp || sp->freed)
		return;
	sp->freed = true;
	events_stop(sp);
	sp_in_close_fds(sp);
	sp_out_drop_all(sp);
	close(sp->fd);
	sp->fd = -1;
	if (sp->depth == 0)
		destroy(sp);
}

static int send_check(
	const struct sp *sp, enum sp_priority priority, uint32_t id, size_t wire, unsigned nfds)
{
	size_t len = wire + sp_header_len(sp), max = sp->config.max_queue;

	if (!sp_alive(sp) || sp->broken)
		return -ERR_CLOSED;
	if (sp_id_len(sp) && !(id & ID_TOP))
		return -ERR_INVALID_ARGUMENT;
	if (nfds > 0 && sp->config.mapping != SP_MAPPING_IPC)
		return -ERR_INVALID_ARGUMENT;
	if (nfds > FDS_MAX || wire > sp->config.max_message || len > max)
		return -ERR_TOO_LARGE;
	/* flow control must get through when data no longer does */
	if (priority == SP_CONTROL && sp->config.max_control)
		max = sp->config.max_control;
	else if (priority == SP_CONTROL && __builtin_mul_overflow(max, (size_t)2, &max))
		max = SIZE_MAX;
	if (sp->queued > max || len > max - sp->queued)
		return -ERR_AGAIN;
	return 0;
}

static void message_write(const struct sp *sp, unsigned char *p, uint32_t id, size_t wire,
	const struct iovec *iov, int iovcnt)
{
	if (sp->config.mapping == SP_MAPPING_IPC)
		*p++ = IPC_MESSAGE;
	put64(p, wire);
	p += 8;
	if (sp_id_len(sp)) {
		put32(p, id);
		p += ID_LEN;
	}
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len == 0)
			continue;
		memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
}

int sp_send(struct sp *sp, enum sp_priority priority, uint32_t id, const struct iovec *iov,
	int iovcnt, const int *fds, unsigned nfds)
{
	size_t wire = sp_id_len(sp);
	struct out *out;
	int r;

	for (int i = 0; i < iovcnt; i++)
		if (__builtin_add_overflow(wire, iov[i].iov_len, &wire) || wire > PTRDIFF_MAX)
			return -ERR_TOO_LARGE;
	r = send_check(sp, priority, id, wire, nfds);
	if (r == -ERR_AGAIN)
		sp->refused = true;
	if (r < 0)
		return r;
	r = sp_out_new(sp_header_len(sp) + wire, fds, nfds, &out);
	if (r < 0)
		return r;
	message_write(sp, (unsigned char *)sp_out_bytes(out), id, wire, iov, iovcnt);
	sp_out_push(sp, priority, out);
	return 0;
}

ssize_t sp_flush(struct sp *sp)
{
	if (!sp_alive(sp) || sp->broken)
		return -ERR_CLOSED;
	sp_out_write(sp);
	if (sp->broken)
		return -ERR_CLOSED;
	/* nothing is called back from here */
	if (writable_due(sp))
		event_active(&sp->write, EV_WRITE, 0);
	return (ssize_t)sp->queued;
}

size_t sp_queued(const struct sp *sp)
{
	return sp->queued;
}

void sp_pause_reading(struct sp *sp, bool paused)
{
	if (!sp_alive(sp) || sp->paused == paused)
		return;
	sp->paused = paused;
	if (paused) {
		event_del(&sp->read);
		return;
	}
	if (event_add(&sp->read, NULL) < 0)
		sp_out_broken(sp, -ERR_SYSTEM);
	else if (sp->backlog || sp->broken)
		event_active(&sp->read, EV_READ, 0);
}

void sp_drain(struct sp *sp)
{
	if (!sp_alive(sp))
		return;
	if (sp->reading) {
		sp->drain_wanted = !sp->draining;
		return;
	}
	enter(sp);
	sp->reading = true;
	sp_in_drain(sp);
	sp->reading = false;
	leave(sp);
}

int sp_fd(const struct sp *sp)
{
	return sp->fd;
}
