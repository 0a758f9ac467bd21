#include "connection.h"
#include "clock.h"
#include "resolver.h"
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define CONNECT_MS 10000u
/* While other addresses are left to try. */
#define CONNECT_NEXT_MS 2500u
/* Servers that do not say how long they keep a connection commonly do so for 5 s. */
#define IDLE_MS 4000u
#define IDLE_LONGEST_MS 60000u
#define RESOLVED_MS 30000u
#define READ_SIZE 65536u
#define READ_TURNS 8
#define HEAD_MAX 65536u

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

static void advance(struct connection *c);

/* --- ends ------------------------------------------------------------------------------------ */

static void drop_event(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

static void close_socket(struct connection *c)
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

static void release(struct connection *c)
{
	if (c->working) {
		c->dead = true;
		return;
	}
	close_socket(c);
	drop_event(&c->timer);
	http1_free(c->http);
	buf_free(&c->out);
	DL_DELETE(c->all->list, c);
	c->all->count--;
	if (c->idle)
		c->all->n_idle--;
	free(c);
}

void connection_abort(struct connection *c)
{
	c->events = NULL;
	release(c);
}

static void fail(struct connection *c, const struct err *err)
{
	const struct connection_events *events = c->events;
	bool stale = c->reused && !c->answered;

	c->events = NULL;
	if (events)
		events->failed(c->arg, err, c->written, stale);
	release(c);
}

static void fail_text(struct connection *c, enum err_code code, const char *text)
{
	struct err err = {0};

	err_set(&err, code, "%s", text);
	fail(c, &err);
}

static void set_timer(struct connection *c, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(c->timer, &tv);
}

/* --- bytes ----------------------------------------------------------------------------------- */

enum io { IO_AGAIN = -1, IO_END = -2, IO_BROKEN = -3 };

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

static ssize_t read_some(struct connection *c, char *p, size_t size)
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

static ssize_t write_some(struct connection *c, const char *p, size_t len)
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

/* Write what waits. A broken connection is noticed by reading, too: there may be an answer. */
static void write_out(struct connection *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = write_some(c, c->out.data + c->sent, c->out.len - c->sent);

		if (n < 0)
			return;
		c->sent += (size_t)n;
		c->written = true;
	}
	buf_free(&c->out);
	c->sent = 0;
}

/* What is wrong with a response is the server's, not our client's. */
static void fail_response(struct connection *c, const struct err *why)
{
	struct err err = {0};

	err_set(&err, ERR_SERVER_GARBAGE, "its HTTP response is not well-formed: %s", err_text(why));
	fail(c, &err);
}

/* --- the response ---------------------------------------------------------------------------- */

static uint64_t read_keep_alive(const struct http1_head *head)
{
	struct span value = http1_header_get(head, "keep-alive");
	const char *timeout = value.len ? memmem(value.p, value.len, "timeout=", 8) : NULL;
	uint64_t seconds = 0;

	if (!timeout)
		return IDLE_MS;
	for (timeout += 8; timeout < value.p + value.len && *timeout >= '0' && *timeout <= '9' &&
			   seconds < 3600;
		timeout++)
		seconds = seconds * 10 + (uint64_t)(*timeout - '0');
	if (seconds * 1000 > IDLE_LONGEST_MS)
		return IDLE_LONGEST_MS;
	return seconds > 1 ? (seconds - 1) * 1000 : 0;
}

static void switch_over(struct connection *c, const struct http1_head *head)
{
	if (!c->events || !c->events->switched) {
		fail_text(c, ERR_SERVER_GARBAGE, "the server switches protocols, unasked");
		return;
	}
	c->switched = true;
	c->events->switched(c->arg, head);
	if (!c->dead)
		http1_release(c->http);
}

static void on_head(struct connection *c)
{
	const struct http1_head *head = http1_head(c->http);

	c->interim = head->status < 200;
	if (head->status == 101) {
		switch_over(c, head);
		return;
	}
	if (c->interim)
		return;
	c->keep = head->keep_alive;
	c->keep_ms = read_keep_alive(head);
	if (c->events)
		c->events->head(c->arg, head);
}

static void be_idle(struct connection *c, bool clean)
{
	c->events = NULL;
	if (!clean || !c->keep || c->keep_ms == 0 || c->out.len ||
		c->all->n_idle >= CONNECTIONS_IDLE_MAX) {
		release(c);
		return;
	}
	http1_next(c->http);
	c->idle = true;
	c->all->n_idle++;
	set_timer(c, c->keep_ms);
}

static void on_complete(struct connection *c, bool clean)
{
	const struct connection_events *events = c->events;

	if (c->interim) {
		http1_next(c->http);
		return;
	}
	c->events = NULL;
	if (events)
		events->complete(c->arg);
	if (!c->dead)
		be_idle(c, clean);
}

/* Understand what was read. False: this connection's response is over, or it is. */
static bool take(struct connection *c, struct span input)
{
	struct span body;
	struct err err = {0};
	int r;

	c->answered = true;
	while (!c->dead && c->events) {
		if (c->switched) {
			if (input.len)
				c->events->body(c->arg, input);
			return !c->dead;
		}
		r = http1_read(c->http, &input, &body, &err);
		if (r == HTTP1_MORE)
			return true;
		if (r == HTTP1_HEAD)
			on_head(c);
		else if (r == HTTP1_BODY)
			c->events->body(c->arg, body);
		else if (r == HTTP1_COMPLETE)
			on_complete(c, input.len == 0);
		else
			fail_response(c, &err);
	}
	return false;
}

static void on_end(struct connection *c)
{
	struct err err = {0};
	int r;

	if (!c->events) {
		release(c);
		return;
	}
	if (c->switched) {
		fail_text(c, ERR_SERVER_DIED, "the server closed the connection");
		return;
	}
	r = http1_finish(c->http, &err);
	if (r == HTTP1_COMPLETE)
		on_complete(c, false);
	else
		fail_text(c, ERR_SERVER_DIED,
			r == HTTP1_MORE
				? "the server closed the connection without an answer"
				: "the server closed the connection in the middle of an answer");
}

static void read_in(struct connection *c)
{
	static char buffer[READ_SIZE];

	for (int turn = 0; turn < READ_TURNS && !c->dead; turn++) {
		ssize_t n = read_some(c, buffer, sizeof(buffer));

		if (n == IO_AGAIN)
			return;
		if (n < 0) {
			on_end(c);
			return;
		}
		if (c->idle) {
			/* bytes that answer nothing */
			release(c);
			return;
		}
		if (!take(c, span_of(buffer, (size_t)n)))
			return;
	}
	if (!c->dead)
		event_active(c->readable, EV_READ, 0);
}

/* --- opening --------------------------------------------------------------------------------- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd;
	(void)what;
	c->working = true;
	advance(c);
	c->working = false;
	if (c->dead)
		release(c);
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
static void try_address(struct connection *c, int why)
{
	for (; c->address < c->all->addresses.count; c->address++) {
		close_socket(c);
		why = open_socket(c);
		if (why)
			continue;
		c->state = CONNECTING;
		set_timer(
			c, c->address + 1 < c->all->addresses.count ? CONNECT_NEXT_MS : CONNECT_MS);
		return;
	}
	/* the name may lead elsewhere by now */
	c->all->addresses_until_ms = 0;
	err_set(&c->broken, ERR_SERVER_DOWN, "cannot connect to %s:%s: %s", c->all->origin.host,
		c->all->origin.port, strerror(why));
	set_timer(c, 0);
}

static void fail_tls(struct connection *c)
{
	struct err err = {0};

	tls_explain(c->ssl, c->all->origin.authority, &err);
	fail(c, &err);
}

static bool shake(struct connection *c)
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

static bool connected(struct connection *c)
{
	socklen_t len = sizeof(int);
	int why = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
		why = errno;
	if (why) {
		c->address++;
		try_address(c, why);
		return false;
	}
	event_add(c->readable, NULL);
	c->state = c->all->tls ? SHAKING : OPEN;
	if (!c->all->tls)
		return true;
	c->ssl = tls_connect(c->all->tls, c->fd, c->all->origin.host);
	if (!c->ssl)
		fail_text(c, ERR_NO_MEMORY, "no memory for a TLS connection");
	return !c->dead;
}

/* Go on from whatever state the connection is in. */
static void advance(struct connection *c)
{
	bool full;

	if (c->state == CONNECTING && !connected(c))
		return;
	if (c->state == SHAKING) {
		if (!shake(c))
			return;
		c->state = OPEN;
	}
	if (c->state != OPEN)
		return;
	if (!c->idle)
		event_del(c->timer);
	full = c->out.len > 0;
	write_out(c);
	if (full && c->switched && c->out.len == 0 && c->events)
		c->events->drained(c->arg);
	if (!c->dead)
		read_in(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd;
	(void)what;
	c->working = true;
	if (c->idle) {
		c->dead = true;
	} else if (c->broken.code) {
		fail(c, &c->broken);
	} else if (c->state == CONNECTING && c->address + 1 < c->all->addresses.count) {
		c->address++;
		try_address(c, ETIMEDOUT);
	} else {
		fail_text(c, ERR_SERVER_DOWN, "the connection could not be opened in time");
	}
	c->working = false;
	if (c->dead)
		release(c);
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
			try_address(c, ENETUNREACH);
		} else {
			c->broken = result->err;
			set_timer(c, 0);
		}
	}
}

static void find_addresses(struct connection *c)
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
	set_timer(c, CONNECT_MS);
	if (all->resolving)
		return;
	if (err.code) {
		c->broken = err;
		set_timer(c, 0);
		return;
	}
	try_address(c, ENETUNREACH);
}

/* --- requests -------------------------------------------------------------------------------- */

static struct connection *connection_new(struct connections *all)
{
	const struct http1_limits limits = {
		.head = HEAD_MAX, .target = 8192, .headers = 200, .body = UINT64_MAX};
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->all = all;
	c->fd = -1;
	c->http = http1_new(HTTP1_RESPONSE, &limits);
	c->timer = evtimer_new(all->base, on_timer, c);
	if (!c->http || !c->timer) {
		http1_free(c->http);
		drop_event(&c->timer);
		free(c);
		return NULL;
	}
	DL_APPEND(all->list, c);
	all->count++;
	return c;
}

/* A kept connection that the peer has not closed meanwhile. */
static struct connection *take_idle(struct connections *all)
{
	struct connection *c, *next;
	char byte;

	DL_FOREACH_SAFE(all->list, c, next)
	{
		if (!c->idle || c->working)
			continue;
		if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN) {
			if (!c->ssl || SSL_pending(c->ssl) == 0) {
				release(c);
				continue;
			}
		}
		c->idle = false;
		all->n_idle--;
		event_del(c->timer);
		c->reused = true;
		c->written = c->answered = c->head_seen = c->keep = false;
		return c;
	}
	return NULL;
}

int connection_request(struct connections *all, struct span request, bool fresh,
	const struct connection_events *events, void *arg, struct connection **ret, struct err *err)
{
	struct connection *c = fresh ? NULL : take_idle(all);

	if (!c && all->count >= CONNECTIONS_MAX)
		return err_set(
			err, ERR_BUSY, "%u connections to the server are in use", all->count);
	if (!c)
		c = connection_new(all);
	if (!c)
		return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
	c->events = events;
	c->arg = arg;
	buf_init(&c->out, request.len);
	if (buf_append_span(&c->out, request) < 0) {
		release(c);
		return err_set(err, ERR_NO_MEMORY, "no memory for a request");
	}
	if (c->state == OPEN)
		write_out(c);
	else
		find_addresses(c);
	*ret = c;
	return 0;
}

bool connection_write(struct connection *c, struct buf *bytes)
{
	buf_free(&c->out);
	c->out = *bytes;
	buf_steal(bytes, NULL);
	c->sent = 0;
	write_out(c);
	return c->out.len == 0;
}

bool connection_is_full(const struct connection *c)
{
	return c->out.len > 0;
}

bool connection_written(const struct connection *c)
{
	return c->written;
}

/* --- the origin ------------------------------------------------------------------------------ */

int connections_new(struct event_base *base, const struct url *origin, struct connections **ret,
	struct err *err)
{
	struct connections *all = calloc(1, sizeof(*all));
	int r = all ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for connections");

	if (r < 0)
		return r;
	all->base = base;
	all->origin = *origin;
	all->resolver = resolver_new(base);
	if (!all->resolver)
		r = err_set(err, ERR_NO_MEMORY, "no memory for a resolver");
	else if (origin->tls)
		r = tls_context_new(&all->tls, err);
	if (r < 0) {
		connections_free(all);
		return r;
	}
	*ret = all;
	return 0;
}

void connections_free(struct connections *all)
{
	if (!all)
		return;
	while (all->list)
		connection_abort(all->list);
	resolver_free(all->resolver);
	SSL_CTX_free(all->tls);
	free(all);
}
