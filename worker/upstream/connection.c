#include "connection_private.h"
#include "clock.h"
#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/* Servers that do not say how long they keep a connection commonly do so for 5 s. */
#define IDLE_MS 4000u
#define IDLE_LONGEST_MS 60000u
#define READ_SIZE 65536u
#define READ_TURNS 8
#define HEAD_MAX 65536u

/* --- ends ------------------------------------------------------------------------------------ */

void connection_release(struct connection *c)
{
	if (c->working) {
		c->dead = true;
		return;
	}
	connection_close_socket(c);
	if (c->timer)
		event_free(c->timer);
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
	connection_release(c);
}

void connection_fail(struct connection *c, const struct err *err)
{
	const struct connection_events *events = c->events;
	bool stale = c->reused && !c->answered;

	c->events = NULL;
	if (events)
		events->failed(c->arg, err, c->written, stale);
	connection_release(c);
}

void connection_fail_text(struct connection *c, enum err_code code, const char *text)
{
	struct err err = {0};

	err_set(&err, code, "%s", text);
	connection_fail(c, &err);
}

void connection_set_timer(struct connection *c, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(c->timer, &tv);
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* Write what waits. A broken connection is noticed by reading, too: there may be an answer. */
static void write_out(struct connection *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = connection_send(c, c->out.data + c->sent, c->out.len - c->sent);

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
	connection_fail(c, &err);
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
		connection_fail_text(c, ERR_SERVER_GARBAGE, "the server switches protocols, unasked");
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
		connection_release(c);
		return;
	}
	http1_next(c->http);
	c->idle = true;
	c->all->n_idle++;
	connection_set_timer(c, c->keep_ms);
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
		connection_release(c);
		return;
	}
	if (c->switched) {
		connection_fail_text(c, ERR_SERVER_DIED, "the server closed the connection");
		return;
	}
	r = http1_finish(c->http, &err);
	if (r == HTTP1_COMPLETE)
		on_complete(c, false);
	else
		connection_fail_text(c, ERR_SERVER_DIED,
			r == HTTP1_MORE
				? "the server closed the connection without an answer"
				: "the server closed the connection in the middle of an answer");
}

static void read_in(struct connection *c)
{
	static char buffer[READ_SIZE];

	for (int turn = 0; turn < READ_TURNS && !c->dead; turn++) {
		ssize_t n = connection_read(c, buffer, sizeof(buffer));

		if (n == IO_AGAIN)
			return;
		if (n < 0) {
			on_end(c);
			return;
		}
		if (c->idle) {
			/* bytes that answer nothing */
			connection_release(c);
			return;
		}
		if (!take(c, span_of(buffer, (size_t)n)))
			return;
	}
	if (!c->dead)
		event_active(c->readable, EV_READ, 0);
}

/* --- what happens to it ---------------------------------------------------------------------- */

void connection_go_on(struct connection *c)
{
	bool full;

	if (c->state == CONNECTING && !connection_connected(c))
		return;
	if (c->state == SHAKING) {
		if (!connection_shake(c))
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
		connection_fail(c, &c->broken);
	} else if (c->state == CONNECTING && c->address + 1 < c->all->addresses.count) {
		c->address++;
		connection_try_address(c, ETIMEDOUT);
	} else {
		connection_fail_text(
			c, ERR_SERVER_DOWN, "the connection could not be opened in time");
	}
	c->working = false;
	if (c->dead)
		connection_release(c);
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
		if (c->timer)
		event_free(c->timer);
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
				connection_release(c);
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
		connection_release(c);
		return err_set(err, ERR_NO_MEMORY, "no memory for a request");
	}
	if (c->state == OPEN)
		write_out(c);
	else
		connection_find_addresses(c);
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
