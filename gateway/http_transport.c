/* Plain stream sockets below HTTP. */
#include "http_transport.h"
#include "err.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

static int plain_fd(void *state)
{
	return (int)(intptr_t)state;
}

static ssize_t result(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EWOULDBLOCK ? -ERR_AGAIN : -ERR_CLOSED;
}

static ssize_t plain_read(void *state, void *data, size_t len)
{
	ssize_t n;

	do
		n = recv(plain_fd(state), data, len, 0);
	while (n < 0 && errno == EINTR);
	return result(n);
}

static ssize_t plain_write(void *state, const struct iovec *iov, int iovcnt)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt};
	ssize_t n;

	do
		n = sendmsg(plain_fd(state), &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return result(n);
}

static void plain_shutdown(void *state)
{
	shutdown(plain_fd(state), SHUT_WR);
}

static void plain_close(void *state, bool reset)
{
	struct linger linger = {.l_onoff = 1};

	if (reset)
		setsockopt(plain_fd(state), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(plain_fd(state));
}

struct http_transport http_transport_plain(int fd)
{
	static const struct http_transport_ops ops = {
		.read = plain_read,
		.write = plain_write,
		.shutdown = plain_shutdown,
		.close = plain_close,
		.short_read_drains = true,
		.may_move = true,
	};

	return (struct http_transport){.ops = &ops, .state = (void *)(intptr_t)fd, .fd = fd};
}
