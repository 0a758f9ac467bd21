#include "http_peer.h"
#include "clock.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 5000

static int listen_anywhere(uint16_t *ret_port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(fd, 256), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

void peer_start(struct peer *peer, const struct http_limits *limits,
	const struct http_server_ops *ops, void *arg)
{
	struct err err = {0};
	int fd = listen_anywhere(&peer->port);

	peer->base = event_base_new();
	ck_assert_int_eq(http_server_new(peer->base, limits, ops, arg, &peer->server, &err), 0);
	ck_assert_int_eq(http_listener_new(peer->server, fd, NULL, NULL, &peer->listener, &err), 0);
}

void peer_stop(struct peer *peer)
{
	http_listener_free(peer->listener);
	http_server_free(peer->server);
	event_base_free(peer->base);
}

static void turn(struct peer *peer)
{
	event_base_loop(peer->base, EVLOOP_NONBLOCK);
}

void peer_run(struct peer *peer, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	do {
		turn(peer);
		usleep(500);
	} while (clock_ms() < end);
}

void client_open(struct client *client, struct peer *peer, bool small_buffer)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(peer->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int size = 4096;

	*client = (struct client){.peer = peer};
	buf_init(&client->in, 256 * 1024 * 1024);
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(client->fd, 0);
	if (small_buffer)
		setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	fcntl(client->fd, F_SETFL, O_NONBLOCK);
	turn(peer);
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	buf_free(&client->in);
}

void client_reset(struct client *client)
{
	const struct linger linger = {.l_onoff = 1};

	setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	client_close(client);
}

size_t client_send(struct client *client, const char *data, size_t len)
{
	uint64_t end = clock_ms() + PATIENCE_MS;
	size_t sent = 0;

	while (sent < len && clock_ms() < end) {
		ssize_t n = send(client->fd, data + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		if (n > 0)
			sent += (size_t)n;
		turn(client->peer);
	}
	return sent;
}

size_t client_say(struct client *client, const char *text)
{
	return client_send(client, text, strlen(text));
}

void client_read(struct client *client)
{
	char data[65536];
	ssize_t n;

	while (!client->closed && (n = recv(client->fd, data, sizeof(data), 0)) != -1) {
		client->closed = n == 0;
		ck_assert_int_eq(buf_append(&client->in, data, (size_t)n), 0);
	}
	if (!client->closed && errno != EAGAIN)
		client->closed = client->reset = true;
}

unsigned client_count(const struct client *client, const char *text)
{
	size_t len = strlen(text), left = client->in.len;
	const char *p = client->in.data;
	unsigned n = 0;

	while (p && (p = memmem(p, left, text, len))) {
		n++;
		p += len;
		left = client->in.len - (size_t)(p - client->in.data);
	}
	return n;
}

bool client_wait(struct client *client, const char *text)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	for (;;) {
		turn(client->peer);
		client_read(client);
		if (client_count(client, text) > 0)
			return true;
		if (client->closed || clock_ms() >= end)
			return false;
		usleep(200);
	}
}

bool client_wait_closed(struct client *client, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (!client->closed && clock_ms() < end) {
		turn(client->peer);
		client_read(client);
		usleep(200);
	}
	return client->closed;
}
