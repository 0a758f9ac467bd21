/* A server on a free loopback port and clients for it, all on one loop in one thread: for tests of
 * http_conn. */
#ifndef GATEHOUSE_HTTP_PEER_H
#define GATEHOUSE_HTTP_PEER_H

#include "http_conn.h"
#include "http_listener.h"

#include <event2/event.h>

struct peer {
	struct event_base *base;
	struct http_server *server;
	struct http_listener *listener;
	uint16_t port;
};

struct client {
	struct peer *peer;
	int fd;
	struct buf in; /* everything received */
	bool closed;   /* end of stream or reset */
	bool reset;
};

void peer_start(struct peer *peer, const struct http_limits *limits,
	const struct http_server_ops *ops, void *arg);
void peer_stop(struct peer *peer);
/* Let the server do what it can for ms milliseconds. */
void peer_run(struct peer *peer, unsigned ms);

/* small_buffer: a receive buffer of a few KB, for slow readers. */
void client_open(struct client *client, struct peer *peer, bool small_buffer);
void client_close(struct client *client);
/* With an RST. */
void client_reset(struct client *client);
/* Sends all while the server runs; stops quietly when the server closed. Returns bytes sent. */
size_t client_send(struct client *client, const char *data, size_t len);
size_t client_say(struct client *client, const char *text);
/* Reads what is there. */
void client_read(struct client *client);
/* Until text was received (true), or the server closed or 5 seconds went by (false). */
bool client_wait(struct client *client, const char *text);
/* Until the server closed; false after ms milliseconds. */
bool client_wait_closed(struct client *client, unsigned ms);
unsigned client_count(const struct client *client, const char *text);

#endif
