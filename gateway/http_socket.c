/* The life of a connection: its events, its timeouts, its end. */
#include "http2_internal.h"
#include "proxy_protocol.h"

#include <poll.h>
#include <stdlib.h>

/* Beyond limits.response and limits.output: heads, chunk lines, errors. */
#define OUT_SLACK 65536u

static void destroy(struct http_socket *sock)
{
	http1_free(sock->http);
	http2_free(sock->http2);
	http_input_free(sock);
	buf_free(&sock->preamble);
	buf_free(&sock->body);
	buf_free(&sock->out);
	free(sock);
}

void http_socket_hold(struct http_socket *sock)
{
	sock->holds++;
}

/* While queued, the work list still points here. */
void http_socket_release(struct http_socket *sock)
{
	if (--sock->holds == 0 && sock->phase == HTTP_DEAD && !sock->queued)
		destroy(sock);
}

bool http_socket_must_end(const struct http_socket *sock)
{
	const struct http_server *server = sock->server;

	return server->draining &&
	       (server->drain == HTTP_DRAIN_CLOSE || !sock->transport.ops->may_move);
}

bool http_socket_is_idle(const struct http_socket *sock)
{
	return sock->phase == HTTP_READING && !sock->http2 && !sock->eof && !sock->broken &&
	       !http1_started(sock->http) && http_input_saved(sock) == 0 &&
	       http_socket_unsent(sock) == 0 &&
	       (sock->preamble.len == 0 || !(sock->fresh || sock->undecided));
}

/* Everything that leads to the connection is cut; the transport may live on in other hands. */
static void retire(struct http_socket *sock)
{
	struct http_server *server = sock->server;

	sock->phase = HTTP_DEAD;
	if (sock->registered)
		event_del(&sock->event);
	http_timer_stop(server, &sock->read_timer);
	http_timer_stop(server, &sock->write_timer);
	TAILQ_REMOVE(&server->conns, sock, link);
	server->nconns--;
	if (sock->http2) {
		http2_abandon(sock->http2);
		server->nhttp2--;
	}
	if (server->ops->closed)
		server->ops->closed(&sock->conn, server->arg);
	http_server_tell_room(server);
}

void http_socket_kill(struct http_socket *sock, bool reset)
{
	if (sock->phase == HTTP_DEAD)
		return;
	http_socket_hold(sock);
	/* out of the loop before the descriptor's number can be given to another */
	if (sock->registered)
		event_del(&sock->event);
	sock->registered = false;
	sock->transport.ops->close(sock->transport.state, reset);
	retire(sock);
	http_socket_release(sock);
}

void http_socket_wind_up(struct http_socket *sock, bool linger)
{
	sock->phase = HTTP_CLOSING;
	sock->linger = linger && !sock->eof;
	if (sock->http2)
		http2_abandon(sock->http2);
	http_timer_stop(sock->server, &sock->read_timer);
	http_input_free(sock);
	buf_free(&sock->body);
	http1_release(sock->http);
	if (!sock->pumping)
		http_server_queue(sock, HTTP_THIS_TURN);
}

/* --- reading --- */

static bool owner_has_it(const struct http_socket *sock)
{
	return (sock->phase == HTTP_PENDING || sock->phase == HTTP_STREAMING) && !sock->http2;
}

static bool wants_read(const struct http_socket *sock)
{
	if (sock->eof || sock->broken)
		return false;
	if (sock->http2 && sock->phase == HTTP_STREAMING)
		return http2_wants_read(sock->http2);
	switch (sock->phase) {
	case HTTP_READING:
	case HTTP_IN_BODY:
		return http_input_saved(sock) == 0 &&
		       http_socket_unsent(sock) <= sock->server->limits.output;
	case HTTP_PENDING:
	case HTTP_STREAMING:
		if (sock->switched)
			return !sock->paused && http_input_saved(sock) == 0;
		return http_input_saved(sock) < sock->server->limits.pipeline;
	case HTTP_LINGERING:
		return true;
	case HTTP_CLOSING:
	case HTTP_DEAD:
		break;
	}
	return false;
}

static void tell_gone(struct http_socket *sock, enum http_gone gone)
{
	struct http_server *server = sock->server;

	if (owner_has_it(sock) && server->ops->client_gone)
		server->ops->client_gone(&sock->conn, gone, server->arg);
}

static void tell_half(struct http_socket *sock)
{
	if (sock->eof && sock->http2 && sock->phase == HTTP_STREAMING)
		http2_tell_half(sock->http2);
	if (!sock->eof || sock->told_half || !owner_has_it(sock))
		return;
	sock->told_half = true;
	tell_gone(sock, HTTP_GONE_HALF);
}

static void take_input(struct http_socket *sock, size_t n)
{
	struct http_server *server = sock->server;

	server->stats->bytes_in += n;
	if (sock->phase == HTTP_LINGERING) {
		if (n >= sock->linger_left)
			http_socket_kill(sock, true);
		else
			sock->linger_left -= n;
		return;
	}
	sock->input = span_of(server->scratch, n);
	if ((sock->fresh || sock->undecided) && !http_preamble_take(sock))
		return;
	http_input_process(sock);
	if (sock->phase == HTTP_DEAD || sock->phase == HTTP_CLOSING)
		sock->input = SPAN_NONE;
	else
		http_input_save(sock);
}

/* An end between requests, or in the middle of one: there is nobody to answer. */
static void take_eof(struct http_socket *sock)
{
	sock->eof = true;
	sock->readable = false;
	if (sock->phase == HTTP_LINGERING)
		http_socket_kill(sock, false);
	else if (sock->phase == HTTP_READING || sock->phase == HTTP_IN_BODY)
		http_socket_wind_up(sock, false);
}

static void read_once(struct http_socket *sock)
{
	const struct http_transport *transport = &sock->transport;
	ssize_t n = transport->ops->read(transport->state, sock->server->scratch, HTTP_SCRATCH);

	if (n == -ERR_AGAIN) {
		sock->readable = false;
		return;
	}
	if (n < 0) {
		sock->broken = true;
		return;
	}
	if (n == 0) {
		take_eof(sock);
		return;
	}
	if ((size_t)n < HTTP_SCRATCH && transport->ops->short_read_drains && !sock->eof_hint)
		sock->readable = false;
	take_input(sock, (size_t)n);
}

/* --- the pump: everything that can be done now is done --- */

static void work_off_input(struct http_socket *sock)
{
	for (int i = 0; sock->readable && wants_read(sock); i++) {
		if (i == HTTP_READS_PER_TURN) {
			http_server_queue(sock, HTTP_NEXT_TURN);
			return;
		}
		read_once(sock);
	}
}

/* Requests that wait in `saved` because of their number or because too much was unsent. */
static bool has_more_to_do(const struct http_socket *sock)
{
	if (sock->switched && sock->phase == HTTP_STREAMING)
		return !sock->paused && !sock->broken && http_input_saved(sock) > 0;
	return (sock->phase == HTTP_READING || sock->phase == HTTP_IN_BODY) && !sock->broken &&
	       http_input_saved(sock) > 0 && http_socket_unsent(sock) <= sock->server->limits.output;
}

static void begin_linger(struct http_socket *sock)
{
	sock->transport.ops->shutdown(sock->transport.state);
	sock->phase = HTTP_LINGERING;
	sock->linger_left = sock->server->limits.linger;
	http_timer_start(sock->server, &sock->read_timer, HTTP_TIMER_LINGER);
	/* what came while CLOSING has had its event already */
	sock->readable = true;
	work_off_input(sock);
}

static void settle(struct http_socket *sock)
{
	struct http_server *server = sock->server;

	if (sock->phase == HTTP_DEAD)
		return;
	/* the client's last requests are answered before its end counts */
	if (sock->eof && (sock->phase == HTTP_READING || sock->phase == HTTP_IN_BODY) &&
		http_input_saved(sock) == 0)
		http_socket_wind_up(sock, false);
	if (server->draining && server->drain == HTTP_DRAIN_CLOSE && sock->phase == HTTP_READING &&
		sock->read_timer.kind == HTTP_TIMER_IDLE && !http1_started(sock->http))
		http_socket_wind_up(sock, true);
	if (sock->http2 && !sock->broken)
		http2_settle(sock->http2);
	if (sock->broken) {
		tell_gone(sock, HTTP_GONE_RESET);
		http_socket_kill(sock, true);
		return;
	}
	if (sock->phase == HTTP_CLOSING && http_socket_unsent(sock) == 0) {
		if (!sock->linger) {
			http_socket_kill(sock, false);
			return;
		}
		begin_linger(sock);
	}
	if (sock->phase == HTTP_DEAD)
		return;
	if (!sock->http2)
		http_input_set_timer(sock);
	if (http_socket_unsent(sock) == 0) {
		http_timer_stop(server, &sock->write_timer);
	} else if (sock->write_timer.kind == HTTP_TIMER_NONE) {
		sock->write_window = 0;
		http_timer_start(server, &sock->write_timer, HTTP_TIMER_WRITE);
	}
}

/* Rounds in which an owner may fill a queue that the socket empties at once, before others get
 * their turn. */
#define ROUNDS_PER_TURN 4

static bool owes_writable(const struct http_socket *sock)
{
	return sock->wants_writable && sock->phase == HTTP_STREAMING && !sock->broken &&
	       http_socket_unsent(sock) <= sock->server->limits.output / 2;
}

static void flush(struct http_socket *sock)
{
	if (sock->http2)
		http2_send(sock->http2);
	else
		http_out_flush(sock);
}

static void tell_writable(struct http_socket *sock)
{
	struct http_server *server = sock->server;

	if (sock->http2)
		http2_tell_writable(sock->http2);
	for (int i = 0; owes_writable(sock); i++) {
		if (i == ROUNDS_PER_TURN) {
			http_server_queue(sock, HTTP_NEXT_TURN);
			return;
		}
		sock->wants_writable = false;
		if (server->ops->writable)
			server->ops->writable(&sock->conn, server->arg);
		http_out_flush(sock);
	}
}

void http_socket_pump(struct http_socket *sock)
{
	http_socket_hold(sock);
	sock->pumping = true;
	do {
		flush(sock);
		http_input_process_saved(sock);
		work_off_input(sock);
		flush(sock);
	} while (has_more_to_do(sock));
	tell_half(sock);
	tell_writable(sock);
	flush(sock);
	settle(sock);
	sock->pumping = false;
	http_socket_release(sock);
}

/* Where reading says nothing (after FIN) or must not be done now, the poll flags still tell a
 * reset. */
static void check_reset(struct http_socket *sock)
{
	struct pollfd pfd = {.fd = sock->transport.fd};

	if (poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLERR | POLLHUP)))
		sock->broken = true;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_socket *sock = arg;

	(void)fd;
	if (what & EV_CLOSED)
		sock->eof_hint = true;
	if (what & (EV_READ | EV_CLOSED))
		sock->readable = true;
	if (what & EV_WRITE)
		sock->writable = true;
	if (!wants_read(sock))
		check_reset(sock);
	http_socket_pump(sock);
}

/* --- timeouts --- */

static void body_timeout(struct http_socket *sock)
{
	if (sock->body_window >= sock->server->limits.body_min) {
		sock->body_window = 0;
		http_timer_start(sock->server, &sock->read_timer, HTTP_TIMER_BODY);
		return;
	}
	sock->server->stats->timeouts++;
	http_input_refuse(sock, -ERR_REQUEST_TIMEOUT, "the body comes too slowly");
}

static void write_timeout(struct http_socket *sock)
{
	if (sock->write_window >= sock->server->limits.write_min) {
		sock->write_window = 0;
		http_timer_start(sock->server, &sock->write_timer, HTTP_TIMER_WRITE);
		return;
	}
	sock->server->stats->timeouts++;
	if (sock->switched && !sock->told_stalled) {
		sock->told_stalled = true;
		sock->write_window = 0;
		http_timer_start(sock->server, &sock->write_timer, HTTP_TIMER_WRITE);
		tell_gone(sock, HTTP_GONE_STALLED);
		return;
	}
	sock->broken = true;
	http_server_queue(sock, HTTP_THIS_TURN);
}

static void header_timeout(struct http_socket *sock)
{
	sock->server->stats->timeouts++;
	if (http1_started(sock->http) || (!sock->fresh && sock->preamble.len))
		http_input_refuse(sock, -ERR_REQUEST_TIMEOUT, "the headers come too slowly");
	else
		http_socket_wind_up(sock, false);
}

static void idle_timeout(struct http_socket *sock)
{
	/* still taking the last answer: the write timer watches over that */
	if (http_socket_unsent(sock) > 0)
		http_timer_start(sock->server, &sock->read_timer, HTTP_TIMER_IDLE);
	else
		http_socket_wind_up(sock, false);
}

static void on_timer(void *arg, enum http_timer_kind kind)
{
	struct http_socket *sock = arg;

	http_socket_hold(sock);
	if (sock->http2 && sock->phase == HTTP_STREAMING && kind != HTTP_TIMER_WRITE)
		http2_timer(sock->http2, kind);
	else if (kind == HTTP_TIMER_BODY)
		body_timeout(sock);
	else if (kind == HTTP_TIMER_WRITE)
		write_timeout(sock);
	else if (kind == HTTP_TIMER_HEADER)
		header_timeout(sock);
	else if (kind == HTTP_TIMER_IDLE)
		idle_timeout(sock);
	else
		http_socket_kill(sock, true);
	http_socket_release(sock);
}

/* --- beginning, and small things --- */

static int watch(struct http_socket *sock)
{
	short what = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;

	if (event_assign(&sock->event, sock->server->base, sock->transport.fd, what, on_event,
		    sock) < 0 ||
		event_add(&sock->event, NULL) < 0)
		return -ERR_NO_MEMORY;
	sock->registered = true;
	return 0;
}

static struct http_socket *new_conn(
	struct http_server *server, const struct http_transport *transport)
{
	const struct http_limits *limits = &server->limits;
	const struct http1_limits http1 = {
		.head = limits->head,
		.target = limits->target,
		.headers = limits->headers,
		.body = limits->body,
	};
	struct http_socket *sock = calloc(1, sizeof(*sock));

	if (!sock)
		return NULL;
	sock->http = http1_new(HTTP1_REQUEST, &http1);
	sock->conn = (struct http_conn){.protocol = &http1_protocol, .sock = sock};
	sock->server = server;
	sock->transport = *transport;
	sock->read_timer.fired = sock->write_timer.fired = on_timer;
	sock->read_timer.arg = sock->write_timer.arg = sock;
	sock->minor = 1;
	sock->writable = true;
	buf_init(&sock->saved, limits->pipeline + HTTP_SCRATCH);
	buf_init(&sock->preamble, LIMIT_PROXY_PREAMBLE + HTTP_SCRATCH);
	buf_init(&sock->body, limits->body);
	buf_init(&sock->out, limits->output + limits->response + OUT_SLACK);
	if (!sock->http || watch(sock) < 0) {
		destroy(sock);
		return NULL;
	}
	return sock;
}

/* Takes the transport over. NULL: there is no room or no memory for it; *ret says which. */
static struct http_socket *enter(struct http_server *server, const struct http_transport *transport,
	const struct net_address *peer, int *ret)
{
	struct http_socket *sock = NULL;
	bool room = server->nconns < server->limits.connections;

	if (room)
		sock = new_conn(server, transport);
	if (!sock) {
		transport->ops->close(transport->state, true);
		*ret = room ? -ERR_NO_MEMORY : -ERR_TOO_MANY;
		return NULL;
	}
	sock->peer = *peer;
	net_format(peer, sock->remote);
	TAILQ_INSERT_TAIL(&server->conns, sock, link);
	server->nconns++;
	return sock;
}

int http_conn_new(struct http_server *server, const struct http_transport *transport,
	const struct net_address *peer, struct http_conn **ret_conn)
{
	int r = 0;
	struct http_socket *sock = enter(server, transport, peer, &r);

	if (!sock)
		return r;
	sock->fresh = sock->undecided = true;
	sock->may_have_proxy = server->ops->trusts && server->ops->trusts(peer, server->arg);
	server->stats->accepted++;
	http_timer_start(server, &sock->read_timer, HTTP_TIMER_HEADER);
	*ret_conn = &sock->conn;
	if (server->ops->opened)
		server->ops->opened(&sock->conn, server->arg);
	return 0;
}

int http_conn_adopt(struct http_server *server, const struct http_idle *idle)
{
	const struct http_transport transport = http_transport_plain(idle->fd);
	int r = 0;
	struct http_socket *sock = enter(server, &transport, &idle->peer, &r);

	if (!sock)
		return r;
	sock->fresh = idle->fresh;
	sock->undecided = idle->undecided;
	sock->may_have_proxy = idle->fresh && server->ops->trusts &&
			       server->ops->trusts(&idle->peer, server->arg);
	http_timer_start(server, &sock->read_timer,
		idle->undecided ? HTTP_TIMER_HEADER : HTTP_TIMER_IDLE);
	if (server->ops->opened)
		server->ops->opened(&sock->conn, server->arg);
	return 0;
}
