/* Timeouts of connections: a queue for each kind, one libevent timer for all. */
#include "http_internal.h"

/* The tick is rounded up to this, so that a burst of deadlines costs one wake-up. */
#define TICK_MIN_MS 10

static unsigned duration_ms(const struct http_server *server, enum http_timer_kind kind)
{
	const struct http_limits *limits = &server->limits;
	const unsigned durations[HTTP_TIMER_MAX] = {
		[HTTP_TIMER_HEADER] = limits->header_ms,
		[HTTP_TIMER_BODY] = limits->body_ms,
		[HTTP_TIMER_IDLE] = limits->idle_ms,
		[HTTP_TIMER_LINGER] = limits->linger_ms,
		[HTTP_TIMER_WRITE] = limits->write_ms,
	};

	return durations[kind];
}

static void set_tick(struct http_server *server, uint64_t now, uint64_t deadline)
{
	uint64_t wait = deadline > now + TICK_MIN_MS ? deadline - now : TICK_MIN_MS;
	struct timeval tv = {
		.tv_sec = (time_t)(wait / 1000), .tv_usec = (suseconds_t)(wait % 1000) * 1000};

	server->tick_ms = now + wait;
	event_add(&server->tick_event, &tv);
}

/* The tick is moved only to an earlier time: one that finds nothing to do costs less than moving it
 * for each request. */
void http_timer_start(
	struct http_server *server, struct http_timer *timer, enum http_timer_kind kind)
{
	uint64_t now = clock_ms();

	http_timer_stop(server, timer);
	timer->kind = kind;
	timer->deadline_ms = now + duration_ms(server, kind);
	TAILQ_INSERT_TAIL(&server->timers[kind], timer, link);
	if (server->tick_ms == 0 || timer->deadline_ms + TICK_MIN_MS < server->tick_ms)
		set_tick(server, now, timer->deadline_ms);
}

void http_timer_stop(struct http_server *server, struct http_timer *timer)
{
	if (timer->kind == HTTP_TIMER_NONE)
		return;
	TAILQ_REMOVE(&server->timers[timer->kind], timer, link);
	timer->kind = HTTP_TIMER_NONE;
}

/* Whatever a timeout does to its own or another connection, the queue's first is looked at anew. */
static void run_queue(struct http_server *server, enum http_timer_kind kind, uint64_t now)
{
	struct http_timer *timer;

	while ((timer = TAILQ_FIRST(&server->timers[kind])) && timer->deadline_ms <= now) {
		http_timer_stop(server, timer);
		timer->fired(timer->arg, kind);
	}
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;
	uint64_t now = clock_ms(), next = 0;

	(void)fd;
	(void)what;
	server->tick_ms = 0;
	for (int kind = HTTP_TIMER_NONE + 1; kind < HTTP_TIMER_MAX; kind++)
		run_queue(server, (enum http_timer_kind)kind, now);
	for (int kind = HTTP_TIMER_NONE + 1; kind < HTTP_TIMER_MAX; kind++) {
		const struct http_timer *first = TAILQ_FIRST(&server->timers[kind]);

		if (first && (next == 0 || first->deadline_ms < next))
			next = first->deadline_ms;
	}
	if (next && (server->tick_ms == 0 || next < server->tick_ms))
		set_tick(server, now, next);
}

void http_timers_init(struct http_server *server)
{
	for (int kind = 0; kind < HTTP_TIMER_MAX; kind++)
		TAILQ_INIT(&server->timers[kind]);
	evtimer_assign(&server->tick_event, server->base, tick, server);
}

void http_timers_free(struct http_server *server)
{
	event_del(&server->tick_event);
}
