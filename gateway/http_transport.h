/*
 * The seam below an HTTP connection: plain TCP, Unix stream socket, or TLS. All calls are
 * non-blocking.
 */
#ifndef GATEHOUSE_HTTP_TRANSPORT_H
#define GATEHOUSE_HTTP_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct http_transport_ops {
	/*
	 * At most len bytes into data. Returns their number, 0 at the peer's end of stream,
	 * -ERR_AGAIN when there is nothing now, -ERR_CLOSED when the connection is broken. A
	 * transport with a handshake makes it go on in here.
	 */
	ssize_t (*read)(void *state, void *data, size_t len);
	/* As many bytes of iov as are taken now (more than 0), or -ERR_AGAIN, or -ERR_CLOSED.
	 * iovcnt is 1 to 8. */
	ssize_t (*write)(void *state, const struct iovec *iov, int iovcnt);
	/* Tell the peer that nothing more comes (FIN, close_notify). */
	void (*shutdown)(void *state);
	/* Close the descriptor and free state. With reset, so that the peer gets an RST where the
	 * transport can. */
	void (*close)(void *state, bool reset);
	/* A read that returned fewer bytes than asked for proves that nothing is left to read. */
	bool short_read_drains;
	/* Between requests the descriptor is all there is: another process can go on with it. */
	bool may_move;
};

struct http_transport {
	const struct http_transport_ops *ops;
	void *state;
	int fd; /* watched for reading and writing; owned by state */
};

/* Plain stream socket; takes over fd, which must be non-blocking. */
struct http_transport http_transport_plain(int fd);

#endif
