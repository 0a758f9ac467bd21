/*
 * A link whose peer says anything. The first byte of the input chooses the roles, the second how
 * the owner behaves; the rest are frames, each after two bytes of length. The peer's SP header and
 * its HELLO are given, unless the second byte says otherwise.
 */
#include "fuzz.h"
#include "link.h"

#include <endian.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct seen {
	struct link *link;
	unsigned choice;
	unsigned messages;
	unsigned closed;
};

static void on_message(struct link *link, const struct message *msg, void *arg)
{
	const struct message_row *row = message_row(msg->type);
	struct seen *seen = arg;
	volatile char sum = 0;

	FUZZ_CHECK(!seen->closed && !msg->more && msg->payload.len <= row->max_payload);
	FUZZ_CHECK(row->senders & 1u << link_peer(link)->role);
	FUZZ_CHECK(msg->type != MSG_HELLO && msg->type != MSG_DATA);
	for (size_t i = 0; i < msg->payload.len; i++)
		sum = (char)(sum + msg->payload.p[i]);
	seen->messages++;
	if (seen->choice & 1)
		link_post(link, MSG_PING, msg->stream, NULL);
	if ((seen->choice & 2) && seen->messages == 3) {
		link_free(link);
		seen->link = NULL;
	}
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct seen *seen = arg;

	FUZZ_CHECK(code < 0 && *why);
	FUZZ_CHECK(seen->closed++ == 0);
	if (seen->choice & 4) {
		link_free(link);
		seen->link = NULL;
	}
}

static void say(int fd, const void *data, size_t len)
{
	unsigned char head[9] = {1};
	uint64_t wire = htobe64(len);
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)data, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	memcpy(head + 1, &wire, sizeof(wire));
	(void)!sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void greet(int fd, enum role role, bool hello)
{
	static const unsigned char header[8] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};
	const struct msg_hello fields = {.version = MESSAGE_VERSION, .role = role};
	struct buf frame;

	FUZZ_CHECK(write(fd, header, sizeof(header)) == sizeof(header));
	if (!hello)
		return;
	buf_init(&frame, LIMIT_FRAME);
	FUZZ_CHECK(message_encode(&frame, MSG_HELLO, 0, false, 0, &fields) == 0);
	say(fd, frame.data, frame.len);
	buf_free(&frame);
}

static void feed(
	struct event_base *base, struct seen *seen, int fd, const uint8_t *data, size_t size)
{
	char sink[65536];

	while (size > 2 && seen->link && !seen->closed) {
		size_t len = (size_t)data[0] << 8 | data[1];

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		say(fd, data, len);
		data += len;
		size -= len;
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			continue;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum role pairs[][2] = {{ROLE_WORKER, ROLE_GATEWAY},
		{ROLE_UPSTREAM, ROLE_WORKER}, {ROLE_GATEWAY, ROLE_WORKER},
		{ROLE_SESSIONS, ROLE_WORKER}, {ROLE_ROOT, ROLE_ADMIN},
		{ROLE_REGISTRY, ROLE_UPSTREAM}, {ROLE_GATEWAY, ROLE_ROOT},
		{ROLE_WORKER, ROLE_SESSIONS}};
	struct link_handlers handlers = {.closed = on_closed};
	struct link_config config = {0};
	struct seen seen = {0};
	struct event_base *base;
	int fds[2];

	if (size < 2)
		return 0;
	config.self = pairs[data[0] % 8][0];
	config.peer.role = pairs[data[0] % 8][1];
	seen.choice = data[1];
	for (int type = MSG_NONE + 1; type < MSG_MAX; type++)
		if ((seen.choice & 8) == 0 || type % 2)
			handlers.on[type] = on_message;
	base = event_base_new();
	FUZZ_CHECK(base && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	FUZZ_CHECK(link_new(base, fds[0], &config, &handlers, &seen, &seen.link, NULL) == 0);
	greet(fds[1], config.peer.role, !(seen.choice & 16));
	feed(base, &seen, fds[1], data + 2, size - 2);
	close(fds[1]);
	if (seen.link)
		link_drain(seen.link);
	FUZZ_CHECK(!seen.link || seen.closed == 1);
	link_free(seen.link);
	event_base_free(base);
	return 0;
}
