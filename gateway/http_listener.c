/* Accepting connections. */
#include "http_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections accepted in one turn of the loop, before those that exist get their turn. */
#define ACCEPTS_PER_TURN 64
#define BACKOFF_FIRST_MS 10
#define BACKOFF_MAX_MS 1000

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage storage;
};

struct http_listener {
	struct http_server *server;
	int fd;
	int reserve; /* given up to shed a connection when there are no descriptors left; -1 while
			given up */
	http_wrap_fn wrap;
	void *wrap_arg;
	struct event accept_event;
	struct event backoff_event;
	unsigned backoff_ms; /* 0: not backing off */
	bool paused;
	struct http_room room;
};

static bool may_accept(const struct http_listener *listener)
{
	return !listener->paused && listener->backoff_ms == 0 &&
	       listener->server->nconns < listener->server->limits.connections;
}

static void update(struct http_listener *listener)
{
	if (may_accept(listener))
		event_add(&listener->accept_event, NULL);
	else
		event_del(&listener->accept_event);
}

static struct net_address peer_of(const union address *address)
{
	if (address->any.sa_family == AF_INET)
		return net_from_v4(&address->v4.sin_addr, ntohs(address->v4.sin_port));
	if (address->any.sa_family == AF_INET6)
		return net_from_v6(&address->v6.sin6_addr, ntohs(address->v6.sin6_port));
	return (struct net_address){.kind = NET_UNIX};
}

static void open_reserve(struct http_listener *listener)
{
	if (listener->reserve < 0)
		listener->reserve = eventfd(0, EFD_CLOEXEC);
}

/*
 * Descriptors ran out and stay so: who waits in the queue would wait for nothing. The reserve makes
 * room to accept and reset them, so that they try elsewhere or again.
 */
static void shed(struct http_listener *listener)
{
	const struct linger reset = {.l_onoff = 1};

	for (int i = 0; i < ACCEPTS_PER_TURN && listener->reserve >= 0; i++) {
		int fd;

		close(listener->reserve);
		listener->reserve = -1;
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			break;
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
		open_reserve(listener);
	}
	open_reserve(listener);
}

static void back_off(struct http_listener *listener)
{
	struct timeval wait;
	unsigned ms = listener->backoff_ms ? listener->backoff_ms * 2 : BACKOFF_FIRST_MS;

	if (ms >= BACKOFF_MAX_MS) {
		ms = BACKOFF_MAX_MS;
		shed(listener);
	}
	listener->backoff_ms = ms;
	listener->server->stats->accept_pauses++;
	wait = (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
	event_add(&listener->backoff_event, &wait);
	update(listener);
}

static void take(struct http_listener *listener, int fd, const union address *address)
{
	struct http_transport transport = http_transport_plain(fd);
	const struct net_address peer = peer_of(address);
	struct http_conn *conn;

	if (listener->wrap && listener->wrap(fd, listener->wrap_arg, &transport) < 0)
		return;
	http_conn_new(listener->server, &transport, &peer, &conn);
}

/* What accept says about one connection (already gone, refused by a filter) and not about this
 * process. */
static bool is_passing(int error)
{
	return error == EINTR || error == ECONNABORTED || error == EPROTO || error == EPERM ||
	       error == ENETDOWN || error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
	       error == EHOSTUNREACH || error == EOPNOTSUPP || error == ENETUNREACH;
}

/* Returns false when nothing more can be accepted now. */
static bool accept_one(struct http_listener *listener)
{
	union address address = {.storage = {0}};
	socklen_t len = sizeof(address);
	int fd = accept4(listener->fd, &address.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		listener->backoff_ms = 0;
		take(listener, fd, &address);
		return true;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		listener->backoff_ms = 0;
		return false;
	}
	if (is_passing(errno))
		return true;
	/* EMFILE, ENFILE, ENOBUFS, ENOMEM, and what nobody expects: waiting is right for all */
	back_off(listener);
	return false;
}

static void accept_some(struct http_listener *listener)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		if (listener->server->nconns >= listener->server->limits.connections)
			break;
		if (!accept_one(listener))
			break;
	}
	update(listener);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	accept_some(arg);
}

/* One try; only its success ends the backing off. */
static void on_backoff(evutil_socket_t fd, short what, void *arg)
{
	struct http_listener *listener = arg;

	(void)fd;
	(void)what;
	if (listener->paused || listener->server->nconns >= listener->server->limits.connections) {
		listener->backoff_ms = 0;
		update(listener);
		return;
	}
	accept_some(listener);
}

static void on_room(void *arg)
{
	update(arg);
}

/* Accepted sockets inherit it, which saves a call for each. */
static void set_nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int http_listener_new(struct http_server *server, int fd, http_wrap_fn wrap, void *wrap_arg,
	struct http_listener **ret_listener, struct err *err)
{
	struct http_listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return err_set(err, ERR_NO_MEMORY, "no memory for a listener");
	if (evutil_make_socket_nonblocking(fd) < 0) {
		free(listener);
		return err_set_errno(err, "cannot make the listening socket non-blocking");
	}
	set_nodelay(fd);
	listener->server = server;
	listener->fd = fd;
	listener->wrap = wrap;
	listener->wrap_arg = wrap_arg;
	listener->reserve = -1;
	open_reserve(listener);
	event_assign(&listener->accept_event, server->base, fd, EV_READ | EV_PERSIST, on_acceptable,
		listener);
	evtimer_assign(&listener->backoff_event, server->base, on_backoff, listener);
	listener->room = (struct http_room){.made = on_room, .arg = listener};
	LIST_INSERT_HEAD(&server->rooms, &listener->room, link);
	update(listener);
	*ret_listener = listener;
	return 0;
}

void http_listener_free(struct http_listener *listener)
{
	if (!listener)
		return;
	event_del(&listener->accept_event);
	event_del(&listener->backoff_event);
	LIST_REMOVE(&listener->room, link);
	close(listener->fd);
	if (listener->reserve >= 0)
		close(listener->reserve);
	free(listener);
}

void http_listener_pause(struct http_listener *listener, bool paused)
{
	listener->paused = paused;
	update(listener);
}
