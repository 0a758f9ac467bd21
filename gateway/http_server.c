/* What all HTTP connections share. */
#include "http2_internal.h"

#include <stdlib.h>

const struct http_limits http_limits_default = {
	.connections = 10000,
	.head = 16 * 1024,
	.target = 8 * 1024,
	.headers = 100,
	.body = 4 * 1024 * 1024,
	.pipeline = 64 * 1024,
	.streams = 100,
	.output = 1024 * 1024,
	.response = 64 * 1024 * 1024,
	.linger = 64 * 1024 * 1024,
	.header_ms = 10 * 1000,
	.body_ms = 30 * 1000,
	.body_min = 1024,
	.idle_ms = 75 * 1000,
	.write_ms = 30 * 1000,
	.write_min = 1024,
	.linger_ms = 5 * 1000,
};

static int check_limits(const struct http_limits *limits, struct err *err)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"connections", limits->connections},
		{"head", limits->head},
		{"target", limits->target},
		{"headers", limits->headers},
		{"body", limits->body},
		{"pipeline", limits->pipeline},
		{"streams", limits->streams},
		{"output", limits->output},
		{"response", limits->response},
		{"linger", limits->linger},
		{"header_ms", limits->header_ms},
		{"body_ms", limits->body_ms},
		{"body_min", limits->body_min},
		{"idle_ms", limits->idle_ms},
		{"write_ms", limits->write_ms},
		{"write_min", limits->write_min},
		{"linger_ms", limits->linger_ms},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].value == 0)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "HTTP limit '%s' is 0", rows[i].name);
	return 0;
}

/*
 * What is queued while this runs waits for its own run, so that a connection cannot keep the loop.
 * A connection that died while it was queued is freed here.
 */
static void run_work(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;
	struct http_socket_list work = TAILQ_HEAD_INITIALIZER(work);
	struct http_socket *sock;

	(void)fd;
	(void)what;
	TAILQ_CONCAT(&work, &server->work, work_link);
	while ((sock = TAILQ_FIRST(&work))) {
		TAILQ_REMOVE(&work, sock, work_link);
		sock->queued = false;
		http_socket_pump(sock);
	}
}

void http_server_queue(struct http_socket *sock, enum http_when when)
{
	struct http_server *server = sock->server;
	struct timeval now = {0};

	if (!sock->queued) {
		sock->queued = true;
		TAILQ_INSERT_TAIL(&server->work, sock, work_link);
	}
	if (when == HTTP_THIS_TURN)
		event_active(&server->work_event, EV_TIMEOUT, 0);
	else
		event_add(&server->work_event, &now);
}

struct span http_server_date(struct http_server *server)
{
	int64_t now = clock_wall_s();
	time_t t = (time_t)now;
	struct tm tm;

	if (now != server->date_s) {
		server->date_s = now;
		gmtime_r(&t, &tm);
		server->date_len = strftime(
			server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return span_of(server->date, server->date_len);
}

void http_server_tell_room(struct http_server *server)
{
	struct http_room *room;

	LIST_FOREACH(room, &server->rooms, link)
	room->made(room->arg);
}

int http_server_new(struct event_base *base, const struct http_limits *limits,
	const struct http_server_ops *ops, void *arg, struct http_server **ret_server,
	struct err *err)
{
	struct http_server *server;
	int r = check_limits(limits, err);

	if (r < 0)
		return r;
	server = calloc(1, sizeof(*server));
	if (server)
		server->scratch = malloc(HTTP_SCRATCH);
	if (!server || !server->scratch) {
		free(server);
		return err_set(err, ERR_NO_MEMORY, "no memory for an HTTP server");
	}
	server->base = base;
	server->limits = *limits;
	server->ops = ops;
	server->arg = arg;
	server->stats = &server->own_stats;
	TAILQ_INIT(&server->conns);
	TAILQ_INIT(&server->work);
	LIST_INIT(&server->rooms);
	evtimer_assign(&server->work_event, base, run_work, server);
	http_timers_init(server);
	*ret_server = server;
	return 0;
}

void http_server_free(struct http_server *server)
{
	struct http_socket *sock;

	if (!server)
		return;
	while ((sock = TAILQ_FIRST(&server->conns)))
		http_socket_kill(sock, false);
	run_work(-1, 0, server);
	event_del(&server->work_event);
	http_timers_free(server);
	free(server->scratch);
	free(server);
}

int http_server_set_limits(
	struct http_server *server, const struct http_limits *limits, struct err *err)
{
	int r = check_limits(limits, err);

	if (r == 0) {
		server->limits = *limits;
		http_server_tell_room(server);
	}
	return r;
}

static void give_one(struct http_socket *sock, http_give_fn *give, void *arg)
{
	const struct http_idle idle = {.fd = sock->transport.fd,
		.peer = sock->peer,
		.fresh = sock->fresh,
		.undecided = sock->undecided};

	if (give(&idle, arg) == 0)
		http_socket_kill(sock, false);
}

void http_server_hand_over(struct http_server *server, unsigned max, http_give_fn *give, void *arg)
{
	struct http_socket *sock = TAILQ_FIRST(&server->conns), *next;

	for (; sock && max > 0; sock = next) {
		next = TAILQ_NEXT(sock, link);
		if (!sock->transport.ops->may_move || !http_socket_is_idle(sock))
			continue;
		max--;
		give_one(sock, give, arg);
	}
}

/*
 * An idle connection is pumped once more before it closes: a request may stand in its socket whose
 * event has not come yet. Not here, because a callback of another connection may be running, which
 * has the scratch buffer.
 */
void http_server_drain(struct http_server *server, enum http_drain how)
{
	struct http_socket *sock;

	server->draining = true;
	server->drain = how;
	TAILQ_FOREACH(sock, &server->conns, link)
	{
		if (sock->http2)
			http2_drain(sock->http2);
		if (sock->http2 || sock->read_timer.kind != HTTP_TIMER_IDLE ||
			how == HTTP_DRAIN_HAND_OVER)
			continue;
		sock->readable = true;
		http_server_queue(sock, HTTP_THIS_TURN);
	}
}

unsigned http_server_connections(const struct http_server *server)
{
	return server->nconns;
}

struct http2_counts http_server_http2(const struct http_server *server)
{
	return (struct http2_counts){.connections = server->nhttp2,
		.busy = server->busy_http2,
		.streams = server->streams};
}

void http_server_count_in(struct http_server *server, struct http_server_stats *stats)
{
	server->stats = stats;
}

const struct http_server_stats *http_server_stats(const struct http_server *server)
{
	return server->stats;
}
