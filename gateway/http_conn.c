/* The life of a connection: its events, its timeouts, its end. */
#include "http_internal.h"
#include "proxy_protocol.h"

#include <poll.h>
#include <stdlib.h>

/* Beyond limits.response and limits.output: heads, chunk lines, errors. */
#define OUT_SLACK 65536u

static void destroy(struct http_conn *conn)
{
	http1_free(conn->http);
	http_input_free(conn);
	buf_free(&conn->preamble);
	buf_free(&conn->body);
	buf_free(&conn->out);
	free(conn);
}

void http_conn_hold(struct http_conn *conn)
{
	conn->holds++;
}

/* While queued, the work list still points here. */
void http_conn_release(struct http_conn *conn)
{
	if (--conn->holds == 0 && conn->phase == HTTP_DEAD && !conn->queued)
		destroy(conn);
}

/* Everything that leads to the connection is cut; the transport may live on in other hands. */
static void retire(struct http_conn *conn)
{
	struct http_server *server = conn->server;

	conn->phase = HTTP_DEAD;
	if (conn->registered)
		event_del(&conn->event);
	http_timer_stop(server, &conn->read_timer);
	http_timer_stop(server, &conn->write_timer);
	TAILQ_REMOVE(&server->conns, conn, link);
	server->nconns--;
	if (server->ops->closed)
		server->ops->closed(conn, server->arg);
	http_server_tell_room(server);
}

void http_conn_kill(struct http_conn *conn, bool reset)
{
	if (conn->phase == HTTP_DEAD)
		return;
	http_conn_hold(conn);
	/* out of the loop before the descriptor's number can be given to another */
	if (conn->registered)
		event_del(&conn->event);
	conn->registered = false;
	conn->transport.ops->close(conn->transport.state, reset);
	retire(conn);
	http_conn_release(conn);
}

void http_conn_close(struct http_conn *conn)
{
	http_conn_kill(conn, false);
}

void http_conn_wind_up(struct http_conn *conn, bool linger)
{
	conn->phase = HTTP_CLOSING;
	conn->linger = linger && !conn->eof;
	http_timer_stop(conn->server, &conn->read_timer);
	http_input_free(conn);
	buf_free(&conn->body);
	http1_release(conn->http);
	if (!conn->pumping)
		http_server_queue(conn, HTTP_THIS_TURN);
}

/* --- reading --- */

static bool owner_has_it(const struct http_conn *conn)
{
	return conn->phase == HTTP_PENDING || conn->phase == HTTP_STREAMING;
}

static bool wants_read(const struct http_conn *conn)
{
	if (conn->eof || conn->broken)
		return false;
	switch (conn->phase) {
	case HTTP_READING:
	case HTTP_IN_BODY:
		return http_input_saved(conn) == 0 &&
		       http_conn_unsent(conn) <= conn->server->limits.output;
	case HTTP_PENDING:
	case HTTP_STREAMING:
		if (conn->switched)
			return !conn->paused && http_input_saved(conn) == 0;
		return http_input_saved(conn) < conn->server->limits.pipeline;
	case HTTP_LINGERING:
		return true;
	case HTTP_CLOSING:
	case HTTP_DEAD:
		break;
	}
	return false;
}

static void tell_gone(struct http_conn *conn, enum http_gone gone)
{
	struct http_server *server = conn->server;

	if (owner_has_it(conn) && server->ops->client_gone)
		server->ops->client_gone(conn, gone, server->arg);
}

static void tell_half(struct http_conn *conn)
{
	if (!conn->eof || conn->told_half || !owner_has_it(conn))
		return;
	conn->told_half = true;
	tell_gone(conn, HTTP_GONE_HALF);
}

static void take_input(struct http_conn *conn, size_t n)
{
	struct http_server *server = conn->server;

	server->stats->bytes_in += n;
	if (conn->phase == HTTP_LINGERING) {
		if (n >= conn->linger_left)
			http_conn_kill(conn, true);
		else
			conn->linger_left -= n;
		return;
	}
	conn->input = span_of(server->scratch, n);
	if (conn->fresh && !http_preamble_take(conn))
		return;
	http_input_process(conn);
	if (conn->phase == HTTP_DEAD || conn->phase == HTTP_CLOSING)
		conn->input = SPAN_NONE;
	else
		http_input_save(conn);
}

/* An end between requests, or in the middle of one: there is nobody to answer. */
static void take_eof(struct http_conn *conn)
{
	conn->eof = true;
	conn->readable = false;
	if (conn->phase == HTTP_LINGERING)
		http_conn_kill(conn, false);
	else if (conn->phase == HTTP_READING || conn->phase == HTTP_IN_BODY)
		http_conn_wind_up(conn, false);
}

static void read_once(struct http_conn *conn)
{
	const struct http_transport *transport = &conn->transport;
	ssize_t n = transport->ops->read(transport->state, conn->server->scratch, HTTP_SCRATCH);

	if (n == -ERR_AGAIN) {
		conn->readable = false;
		return;
	}
	if (n < 0) {
		conn->broken = true;
		return;
	}
	if (n == 0) {
		take_eof(conn);
		return;
	}
	if ((size_t)n < HTTP_SCRATCH && transport->ops->short_read_drains && !conn->eof_hint)
		conn->readable = false;
	take_input(conn, (size_t)n);
}

/* --- the pump: everything that can be done now is done --- */

static void work_off_input(struct http_conn *conn)
{
	for (int i = 0; conn->readable && wants_read(conn); i++) {
		if (i == HTTP_READS_PER_TURN) {
			http_server_queue(conn, HTTP_NEXT_TURN);
			return;
		}
		read_once(conn);
	}
}

/* Requests that wait in `saved` because of their number or because too much was unsent. */
static bool has_more_to_do(const struct http_conn *conn)
{
	if (conn->switched && conn->phase == HTTP_STREAMING)
		return !conn->paused && !conn->broken && http_input_saved(conn) > 0;
	return (conn->phase == HTTP_READING || conn->phase == HTTP_IN_BODY) && !conn->broken &&
	       http_input_saved(conn) > 0 && http_conn_unsent(conn) <= conn->server->limits.output;
}

static void begin_linger(struct http_conn *conn)
{
	conn->transport.ops->shutdown(conn->transport.state);
	conn->phase = HTTP_LINGERING;
	conn->linger_left = conn->server->limits.linger;
	http_timer_start(conn->server, &conn->read_timer, HTTP_TIMER_LINGER);
	/* what came while CLOSING has had its event already */
	conn->readable = true;
	work_off_input(conn);
}

static void settle(struct http_conn *conn)
{
	struct http_server *server = conn->server;

	if (conn->phase == HTTP_DEAD)
		return;
	/* the client's last requests are answered before its end counts */
	if (conn->eof && (conn->phase == HTTP_READING || conn->phase == HTTP_IN_BODY) &&
		http_input_saved(conn) == 0)
		http_conn_wind_up(conn, false);
	if (server->draining && conn->phase == HTTP_READING &&
		conn->read_timer.kind == HTTP_TIMER_IDLE && !http1_started(conn->http))
		http_conn_wind_up(conn, true);
	if (conn->broken) {
		tell_gone(conn, HTTP_GONE_RESET);
		http_conn_kill(conn, true);
		return;
	}
	if (conn->phase == HTTP_CLOSING && http_conn_unsent(conn) == 0) {
		if (!conn->linger) {
			http_conn_kill(conn, false);
			return;
		}
		begin_linger(conn);
	}
	if (conn->phase == HTTP_DEAD)
		return;
	http_input_set_timer(conn);
	if (http_conn_unsent(conn) == 0) {
		http_timer_stop(server, &conn->write_timer);
	} else if (conn->write_timer.kind == HTTP_TIMER_NONE) {
		conn->write_window = 0;
		http_timer_start(server, &conn->write_timer, HTTP_TIMER_WRITE);
	}
}

/* Rounds in which an owner may fill a queue that the socket empties at once, before others get
 * their turn. */
#define ROUNDS_PER_TURN 4

static bool owes_writable(const struct http_conn *conn)
{
	return conn->wants_writable && conn->phase == HTTP_STREAMING && !conn->broken &&
	       http_conn_unsent(conn) <= conn->server->limits.output / 2;
}

static void tell_writable(struct http_conn *conn)
{
	struct http_server *server = conn->server;

	for (int i = 0; owes_writable(conn); i++) {
		if (i == ROUNDS_PER_TURN) {
			http_server_queue(conn, HTTP_NEXT_TURN);
			return;
		}
		conn->wants_writable = false;
		if (server->ops->writable)
			server->ops->writable(conn, server->arg);
		http_out_flush(conn);
	}
}

void http_conn_pump(struct http_conn *conn)
{
	http_conn_hold(conn);
	conn->pumping = true;
	do {
		http_out_flush(conn);
		http_input_process_saved(conn);
		work_off_input(conn);
		http_out_flush(conn);
	} while (has_more_to_do(conn));
	tell_half(conn);
	tell_writable(conn);
	http_out_flush(conn);
	settle(conn);
	conn->pumping = false;
	http_conn_release(conn);
}

/* Where reading says nothing (after FIN) or must not be done now, the poll flags still tell a
 * reset. */
static void check_reset(struct http_conn *conn)
{
	struct pollfd pfd = {.fd = conn->transport.fd};

	if (poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLERR | POLLHUP)))
		conn->broken = true;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *conn = arg;

	(void)fd;
	if (what & EV_CLOSED)
		conn->eof_hint = true;
	if (what & (EV_READ | EV_CLOSED))
		conn->readable = true;
	if (what & EV_WRITE)
		conn->writable = true;
	if (!wants_read(conn))
		check_reset(conn);
	http_conn_pump(conn);
}

/* --- timeouts --- */

static void body_timeout(struct http_conn *conn)
{
	if (conn->body_window >= conn->server->limits.body_min) {
		conn->body_window = 0;
		http_timer_start(conn->server, &conn->read_timer, HTTP_TIMER_BODY);
		return;
	}
	conn->server->stats->timeouts++;
	http_input_refuse(conn, -ERR_REQUEST_TIMEOUT, "the body comes too slowly");
}

static void write_timeout(struct http_conn *conn)
{
	if (conn->write_window >= conn->server->limits.write_min) {
		conn->write_window = 0;
		http_timer_start(conn->server, &conn->write_timer, HTTP_TIMER_WRITE);
		return;
	}
	conn->server->stats->timeouts++;
	if (conn->switched && !conn->told_stalled) {
		conn->told_stalled = true;
		conn->write_window = 0;
		http_timer_start(conn->server, &conn->write_timer, HTTP_TIMER_WRITE);
		tell_gone(conn, HTTP_GONE_STALLED);
		return;
	}
	conn->broken = true;
	http_server_queue(conn, HTTP_THIS_TURN);
}

static void header_timeout(struct http_conn *conn)
{
	conn->server->stats->timeouts++;
	if (http1_started(conn->http))
		http_input_refuse(conn, -ERR_REQUEST_TIMEOUT, "the headers come too slowly");
	else
		http_conn_wind_up(conn, false);
}

static void idle_timeout(struct http_conn *conn)
{
	/* still taking the last answer: the write timer watches over that */
	if (http_conn_unsent(conn) > 0)
		http_timer_start(conn->server, &conn->read_timer, HTTP_TIMER_IDLE);
	else
		http_conn_wind_up(conn, false);
}

void http_conn_timer(struct http_conn *conn, enum http_timer_kind kind)
{
	http_conn_hold(conn);
	if (kind == HTTP_TIMER_BODY)
		body_timeout(conn);
	else if (kind == HTTP_TIMER_WRITE)
		write_timeout(conn);
	else if (kind == HTTP_TIMER_HEADER)
		header_timeout(conn);
	else if (kind == HTTP_TIMER_IDLE)
		idle_timeout(conn);
	else
		http_conn_kill(conn, true);
	http_conn_release(conn);
}

/* --- beginning, and small things --- */

static int watch(struct http_conn *conn)
{
	short what = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;

	if (event_assign(&conn->event, conn->server->base, conn->transport.fd, what, on_event,
		    conn) < 0 ||
		event_add(&conn->event, NULL) < 0)
		return -ERR_NO_MEMORY;
	conn->registered = true;
	return 0;
}

static struct http_conn *new_conn(
	struct http_server *server, const struct http_transport *transport)
{
	const struct http_limits *limits = &server->limits;
	const struct http1_limits http1 = {
		.head = limits->head,
		.target = limits->target,
		.headers = limits->headers,
		.body = limits->body,
	};
	struct http_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->http = http1_new(HTTP1_REQUEST, &http1);
	conn->server = server;
	conn->transport = *transport;
	conn->read_timer.conn = conn->write_timer.conn = conn;
	conn->minor = 1;
	conn->writable = true;
	buf_init(&conn->saved, limits->pipeline + HTTP_SCRATCH);
	buf_init(&conn->preamble, LIMIT_PROXY_PREAMBLE + HTTP_SCRATCH);
	buf_init(&conn->body, limits->body);
	buf_init(&conn->out, limits->output + limits->response + OUT_SLACK);
	if (!conn->http || watch(conn) < 0) {
		destroy(conn);
		return NULL;
	}
	return conn;
}

int http_conn_new(struct http_server *server, const struct http_transport *transport,
	const struct net_address *peer, struct http_conn **ret_conn)
{
	struct http_conn *conn = NULL;
	bool room = server->nconns < server->limits.connections;

	if (room)
		conn = new_conn(server, transport);
	if (!conn) {
		transport->ops->close(transport->state, true);
		return room ? -ERR_NO_MEMORY : -ERR_TOO_MANY;
	}
	conn->peer = *peer;
	net_format(peer, conn->remote);
	conn->fresh = true;
	conn->may_have_proxy = server->ops->trusts && server->ops->trusts(peer, server->arg);
	TAILQ_INSERT_TAIL(&server->conns, conn, link);
	server->nconns++;
	server->stats->accepted++;
	http_timer_start(server, &conn->read_timer, HTTP_TIMER_HEADER);
	*ret_conn = conn;
	if (server->ops->opened)
		server->ops->opened(conn, server->arg);
	return 0;
}

void http_conn_release_request(struct http_conn *conn)
{
	if (!owner_has_it(conn) || !conn->body_done)
		return;
	buf_free(&conn->body);
	http1_release(conn->http);
}

void http_conn_pause(struct http_conn *conn, bool paused)
{
	if (!conn->switched || paused == conn->paused)
		return;
	conn->paused = paused;
	/* what came meanwhile has had its event already */
	conn->readable |= !paused;
	if (!paused && conn->phase == HTTP_STREAMING)
		http_server_queue(conn, HTTP_THIS_TURN);
}

void http_conn_set_data(struct http_conn *conn, void *data)
{
	conn->data = data;
}

void *http_conn_data(const struct http_conn *conn)
{
	return conn->data;
}

const struct net_address *http_conn_peer(const struct http_conn *conn)
{
	return &conn->peer;
}

const char *http_conn_remote(const struct http_conn *conn)
{
	return conn->remote;
}
