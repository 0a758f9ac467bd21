/*
 * The SP endpoint, fed bytes through a socket pair. The first byte of the input chooses the
 * endpoint, the second how many bytes are written at a time; the rest is what the peer says.
 */
#include "fuzz.h"
#include "sp.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 100000u

struct seen {
	unsigned choice;
	unsigned messages;
	unsigned closed;
	size_t bytes;
	struct sp *sp;
};

static void on_message(
	struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg)
{
	struct seen *seen = arg;
	volatile char sum = 0;

	FUZZ_CHECK(!seen->closed && nfds == 0 && !fds && body.len <= MESSAGE_MAX);
	for (size_t i = 0; i < body.len; i++)
		sum = (char)(sum + body.p[i]);
	seen->messages++;
	seen->bytes += body.len + 8;
	if (id) {
		struct iovec iov = {(void *)body.p, body.len};

		FUZZ_CHECK(id & 0x80000000u);
		sp_send(sp, SP_DATA, id, &iov, 1, NULL, 0);
	}
	if ((seen->choice & 0x10) && seen->messages % 3 == 0)
		sp_pause_reading(sp, true);
	if ((seen->choice & 0x20) && seen->messages == 4) {
		sp_free(sp);
		seen->sp = NULL;
	}
}

static void on_closed(struct sp *sp, int code, void *arg)
{
	struct seen *seen = arg;

	(void)sp;
	FUZZ_CHECK(code == -ERR_CLOSED || code == -ERR_PROTOCOL || code == -ERR_TOO_LARGE);
	FUZZ_CHECK(seen->closed++ == 0);
}

static const struct sp_ops ops = {on_message, on_closed, NULL};

static void feed(struct event_base *base, struct seen *seen, int fd, const uint8_t *data,
	size_t size, size_t step)
{
	char sink[65536];

	while (size > 0 && seen->sp && !seen->closed) {
		size_t n = step < size ? step : size;
		ssize_t written = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (written > 0) {
			data += written;
			size -= (size_t)written;
		}
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			continue;
		if (seen->sp)
			sp_pause_reading(seen->sp, false);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum sp_protocol protocols[] = {SP_PAIR0, SP_REQ0, SP_REP0, SP_PAIR0};
	struct seen seen = {0};
	struct sp_config config = {.max_message = MESSAGE_MAX, .max_queue = 4 * MESSAGE_MAX};
	struct event_base *base;
	int fds[2];

	if (size < 2)
		return 0;
	seen.choice = data[0];
	config.protocol = protocols[data[0] & 3];
	config.mapping = (data[0] & 4) ? SP_MAPPING_TCP : SP_MAPPING_IPC;
	config.max_fds = (data[0] & 12) == 8 ? 4 : 0;
	base = event_base_new();
	FUZZ_CHECK(base && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	FUZZ_CHECK(sp_new(base, fds[0], &config, &ops, &seen, &seen.sp, NULL) == 0);
	feed(base, &seen, fds[1], data + 2, size - 2, data[1] ? data[1] * 16u : 1u);
	close(fds[1]);
	if (seen.sp)
		sp_drain(seen.sp);
	/* the peer is gone: either it was noticed, or message freed the endpoint */
	FUZZ_CHECK(!seen.sp || seen.closed == 1);
	FUZZ_CHECK(seen.bytes <= size);
	sp_free(seen.sp);
	event_base_free(base);
	return 0;
}
