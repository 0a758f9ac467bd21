/* The socket below a connection: names, addresses, TLS, bytes. */
#include "connection_private.h"
#include "clock.h"
#include "tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define CONNECT_MS 10000u
/* While other addresses are left to try. */
#define CONNECT_NEXT_MS 2500u
#define RESOLVED_MS 30000u

static void drop_event(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

void connection_close_socket(struct connection *c)
{
	drop_event(&c->readable);
	drop_event(&c->writable);
	if (c->ssl)
		SSL_free(c->ssl);
	c->ssl = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* --- bytes ----------------------------------------------------------------------------------- */

static ssize_t tls_result(struct connection *c, int n)
{
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		return IO_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		event_add(c->writable, NULL);
		return IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return IO_END;
	default:
		return IO_BROKEN;
	}
}

ssize_t connection_read(struct connection *c, char *p, size_t size)
{
	ssize_t n;

	if (c->ssl) {
		ERR_clear_error();
		n = SSL_read(c->ssl, p, (int)size);
		return n > 0 ? n : tls_result(c, (int)n);
	}
	n = recv(c->fd, p, size, MSG_DONTWAIT);
	if (n > 0)
		return n;
	if (n == 0)
		return IO_END;
	return errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_BROKEN;
}

ssize_t connection_send(struct connection *c, const char *p, size_t len)
{
	ssize_t n;

	if (c->ssl) {
		ERR_clear_error();
		n = SSL_write(c->ssl, p, len > 1u << 20 ? 1 << 20 : (int)len);
		return n > 0 ? n : tls_result(c, (int)n);
	}
	n = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	if (errno != EAGAIN && errno != EINTR)
		return IO_BROKEN;
	event_add(c->writable, NULL);
	return IO_AGAIN;
}

/* --- opening --------------------------------------------------------------------------------- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd;
	(void)what;
	c->working = true;
	connection_go_on(c);
	c->working = false;
	if (c->dead)
		connection_release(c);
}

static int open_socket(struct connection *c)
{
	const struct resolver_address *address = &c->all->addresses.list[c->address];
	int one = 1;

	c->fd = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return errno;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (connect(c->fd, (const struct sockaddr *)&address->address, address->len) < 0 &&
		errno != EINPROGRESS)
		return errno;
	c->readable = event_new(c->all->base, c->fd, EV_READ | EV_PERSIST, on_event, c);
	c->writable = event_new(c->all->base, c->fd, EV_WRITE, on_event, c);
	if (!c->readable || !c->writable)
		return ENOMEM;
	event_add(c->writable, NULL);
	return 0;
}

/* Try the address whose turn it is, or the next that can be tried. */
void connection_try_address(struct connection *c, int why)
{
	for (; c->address < c->all->addresses.count; c->address++) {
		connection_close_socket(c);
		why = open_socket(c);
		if (why)
			continue;
		c->state = CONNECTING;
		connection_set_timer(
			c, c->address + 1 < c->all->addresses.count ? CONNECT_NEXT_MS : CONNECT_MS);
		return;
	}
	/* the name may lead elsewhere by now */
	c->all->addresses_until_ms = 0;
	err_set(&c->broken, ERR_SERVER_DOWN, "cannot connect to %s:%s: %s", c->all->origin.host,
		c->all->origin.port, strerror(why));
	connection_set_timer(c, 0);
}

static void fail_tls(struct connection *c)
{
	struct err err = {0};

	tls_explain(c->ssl, c->all->origin.authority, &err);
	connection_fail(c, &err);
}

bool connection_shake(struct connection *c)
{
	ssize_t r;
	int n;

	ERR_clear_error();
	n = SSL_do_handshake(c->ssl);
	if (n == 1)
		return true;
	r = tls_result(c, n);
	if (r != IO_AGAIN)
		fail_tls(c);
	return false;
}

bool connection_connected(struct connection *c)
{
	socklen_t len = sizeof(int);
	int why = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
		why = errno;
	if (why) {
		c->address++;
		connection_try_address(c, why);
		return false;
	}
	event_add(c->readable, NULL);
	c->state = c->all->tls ? SHAKING : OPEN;
	if (!c->all->tls)
		return true;
	c->ssl = tls_connect(c->all->tls, c->fd, c->all->origin.host);
	if (!c->ssl)
		connection_fail_text(c, ERR_NO_MEMORY, "no memory for a TLS connection");
	return !c->dead;
}

static void on_resolved(const struct resolver_result *result, void *arg)
{
	struct connections *all = arg;
	struct connection *c, *next;

	all->resolving = false;
	all->addresses = *result;
	all->addresses_until_ms = result->count ? clock_ms() + RESOLVED_MS : 0;
	DL_FOREACH_SAFE(all->list, c, next)
	{
		if (c->state != RESOLVING)
			continue;
		if (result->count) {
			connection_try_address(c, ENETUNREACH);
		} else {
			c->broken = result->err;
			connection_set_timer(c, 0);
		}
	}
}

void connection_find_addresses(struct connection *c)
{
	struct connections *all = c->all;
	struct err err = {0};

	if (!all->resolving && clock_ms() >= all->addresses_until_ms) {
		if (resolver_numeric(all->origin.host, all->origin.port, &all->addresses))
			all->addresses_until_ms = UINT64_MAX;
		else if (resolver_start(all->resolver, all->origin.host, all->origin.port,
				 on_resolved, all, &err) == 0)
			all->resolving = true;
	}
	connection_set_timer(c, CONNECT_MS);
	if (all->resolving)
		return;
	if (err.code) {
		c->broken = err;
		connection_set_timer(c, 0);
		return;
	}
	connection_try_address(c, ENETUNREACH);
}
