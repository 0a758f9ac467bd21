#include "probe.h"
#include "clock.h"
#include "exchange.h"
#include "gateway.h"
#include "log.h"
#include "route.h"

#include <utlist.h>

#define PROBE_S 1
/* A request this old makes its worker one to be asked. */
#define OVERDUE_US 1000000u
/* Questions without an answer; counted, not timed, so that a pause of the whole machine kills
 * nobody. */
#define PROBE_MISSES 5u

static bool is_overdue(const struct route *route, uint64_t now_us)
{
	const struct exchange *exchange;

	DL_FOREACH(route->active, exchange)
	{
		if (!exchange_is_endless(exchange) && now_us - exchange->began_us > OVERDUE_US)
			return true;
	}
	return false;
}

static void probe(struct gateway *gateway, struct route *route, uint64_t now_us)
{
	const struct msg_worker_kill kill = {.instance = route->instance};

	if (!route->link || !is_overdue(route, now_us)) {
		route->probes = 0;
		return;
	}
	if (route->probes++ < PROBE_MISSES) {
		link_post(route->link, MSG_PING, 0, NULL);
		return;
	}
	route->probes = 0;
	log_warn("worker.stuck", "it does not answer and is ended",
		KV_STR("session", route->tag), KV_INT("instance", route->instance));
	link_post(process_root(gateway->process), MSG_WORKER_KILL, 0, &kill);
}

static void on_probe(evutil_socket_t fd, short what, void *arg)
{
	struct gateway *gateway = arg;
	struct route *route, *next;
	uint64_t now_us = clock_us();

	(void)fd;
	(void)what;
	HASH_ITER (hh, gateway->by_session, route, next)
		probe(gateway, route, now_us);
	DL_FOREACH(gateway->over, route)
	{
		probe(gateway, route, now_us);
	}
}

int probes_start(struct gateway *gateway)
{
	const struct timeval every = {PROBE_S, 0};

	gateway->probe =
		event_new(process_base(gateway->process), -1, EV_PERSIST, on_probe, gateway);
	if (!gateway->probe || event_add(gateway->probe, &every) < 0)
		return -ERR_NO_MEMORY;
	return 0;
}

void probes_stop(struct gateway *gateway)
{
	if (gateway->probe)
		event_free(gateway->probe);
	gateway->probe = NULL;
}

void probe_on_pong(struct link *link, const struct message *msg, void *arg)
{
	struct route *route = link_user(link);

	(void)msg;
	(void)arg;
	route->probes = 0;
}
