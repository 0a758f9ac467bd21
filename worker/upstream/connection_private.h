/* What the two files of a connection share: its socket, and what is said over it. */
#ifndef GATEHOUSE_CONNECTION_PRIVATE_H
#define GATEHOUSE_CONNECTION_PRIVATE_H

#include "connection.h"
#include "resolver.h"

#include <openssl/ssl.h>
#include <sys/types.h>

enum state { RESOLVING, CONNECTING, SHAKING, OPEN };

struct connection {
	struct connection *prev, *next;
	struct connections *all;
	enum state state;
	bool idle;
	int fd;
	unsigned address; /* being tried */
	SSL *ssl;
	struct event *readable, *writable, *timer;
	struct http1 *http;
	struct buf out;
	size_t sent;
	bool reused, written, answered;
	bool head_seen, interim, keep;
	bool switched; /* no longer HTTP: its bytes go as they are */
	uint64_t keep_ms;
	bool working, dead; /* freed when the work at hand is done */
	const struct connection_events *events;
	void *arg;
	struct err broken; /* noticed where nothing may be called back */
};

struct connections {
	struct event_base *base;
	struct url origin;
	SSL_CTX *tls;
	struct resolver *resolver;
	struct resolver_result addresses;
	uint64_t addresses_until_ms;
	bool resolving;
	struct connection *list;
	unsigned count, n_idle;
};

/* --- connection.c --- */

/* Go on from whatever state it is in: something can be read or written, or it is open. */
void connection_go_on(struct connection *c);
/* It is over: tell, and free it now or when the work at hand is done. */
void connection_fail(struct connection *c, const struct err *err);
void connection_fail_text(struct connection *c, enum err_code code, const char *text);
void connection_release(struct connection *c);
void connection_set_timer(struct connection *c, uint64_t ms);

/* --- connection_socket.c --- */

/* Begin to open it: by the addresses of the origin's name, which may have to be asked for. */
void connection_find_addresses(struct connection *c);
/* Try the address whose turn it is, or the next that can be tried; why: what came of the last. */
void connection_try_address(struct connection *c, int why);
/* CONNECTING, and something happened. True: it is connected. */
bool connection_connected(struct connection *c);
/* SHAKING. True: TLS is there. */
bool connection_shake(struct connection *c);
void connection_close_socket(struct connection *c);

/* Bytes; or IO_AGAIN (the loop will tell), IO_END, IO_BROKEN. */
enum io { IO_AGAIN = -1, IO_END = -2, IO_BROKEN = -3 };
ssize_t connection_read(struct connection *c, char *p, size_t size);
ssize_t connection_send(struct connection *c, const char *p, size_t len);

#endif
