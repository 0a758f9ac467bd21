/* gatehouse-gateway: see gateway.h. */
#include "channel.h"
#include "clock.h"
#include "edge.h"
#include "log.h"
#include "metrics.h"
#include "neighbours.h"
#include "probe.h"
#include "queries.h"
#include "route.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/random.h>

/* While draining: how often it is looked whether all is done. */
#define DRAIN_TICK_MS 10
/* Kept of the deadline, to exit before the root kills. */
#define DRAIN_MARGIN_MS 100u
/* Connections handed to the successor in one turn of the loop. */
#define HAND_OVER_MAX 64u
/* While more waits on the link with the root, nothing is handed over. */
#define HAND_OVER_QUEUE 4096u
/* How long a client may take to close its connection after the last answer
 * of a gateway that ends. */
#define DRAIN_LINGER_MS 1000u

struct gateway *gateway_of(const struct process *process)
{
	return process_user(process);
}

/* --- timers --------------------------------------------------------------------------------- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	routes_tick(arg);
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	routes_open_sessions(arg);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	log_flush();
}

static void on_keepalive(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	exchanges_keep_alive(arg);
}

/* --- listeners ------------------------------------------------------------------------------ */

static void door_free(struct door *door)
{
	http_listener_free(door->listener);
	http_server_free(door->server);
	free(door->url);
	free(door);
}

static int open_door(
	struct gateway *gateway, const struct msg_listener *fields, int fd, struct err *err)
{
	struct http_limits limits = edge_limits(gateway->config, (uint32_t)fields->index);
	struct door *door = calloc(1, sizeof(*door));
	int r;

	if (door)
		door->url = strndup(fields->url.p ? fields->url.p : "", fields->url.len);
	if (!door || !door->url) {
		free(door);
		return err_set(err, ERR_NO_MEMORY, "no memory for a listener");
	}
	door->gateway = gateway;
	door->index = (uint32_t)fields->index;
	admission_init(&door->admission, gateway->config, fields->url);
	r = http_server_new(
		process_base(gateway->process), &limits, &edge_ops, door, &door->server, err);
	if (r == 0)
		http_server_count_in(door->server, metrics_door(gateway->metrics, door->index));
	if (r == 0)
		r = http_listener_new(door->server, fd, NULL, NULL, &door->listener, err);
	if (r < 0) {
		door_free(door);
		return r;
	}
	door->next = gateway->doors;
	gateway->doors = door;
	return 0;
}

static struct door *find_door(struct gateway *gateway, uint64_t index)
{
	struct door *door = gateway->doors;

	while (door && door->index != index)
		door = door->next;
	return door;
}

static int borrow(
	struct gateway *gateway, const struct msg_listener *fields, int fd, struct err *err)
{
	struct door *door = find_door(gateway, fields->index);
	struct loan *loan;
	int r;

	loan = door ? calloc(1, sizeof(*loan)) : NULL;
	if (!loan) {
		close(fd);
		return err_set(err, ERR_NO_MEMORY, "cannot serve a neighbour's listener");
	}
	*loan = (struct loan){.next = gateway->loans, .index = fields->index, .slot = fields->slot};
	r = http_listener_new(door->server, fd, NULL, NULL, &loan->listener, err);
	if (r < 0) {
		free(loan);
		return r;
	}
	gateway->loans = loan;
	return 0;
}

static void give_back(struct loan **at)
{
	struct loan *loan = *at;

	*at = loan->next;
	http_listener_free(loan->listener);
	free(loan);
}

static void on_listener_end(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_listener_end *fields = msg->fields;
	struct loan **at = &gateway_of(arg)->loans;

	(void)link;
	while (*at) {
		if ((*at)->index == fields->index && (*at)->slot == fields->slot)
			give_back(at);
		else
			at = &(*at)->next;
	}
}

static void on_listener(struct link *link, const struct message *msg, void *arg)
{
	struct gateway *gateway = gateway_of(arg);
	const struct msg_listener *fields = msg->fields;
	struct err err = {0};
	int fd = msg->fds[0];

	(void)link;
	if (!span_is(fields->kind, "mcp") || gateway->draining)
		return;
	msg->fds[0] = -1;
	if ((fields->lent ? borrow : open_door)(gateway, fields, fd, &err) < 0)
		log_error("listener.failed", err_text(&err), KV_SPAN("url", fields->url));
	else
		log_debug("listener.open", "", KV_SPAN("url", fields->url));
}

/* The predecessor's: a client that does not know of it. */
static void on_connection(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_connection *fields = msg->fields;
	struct door *door = find_door(gateway_of(arg), fields->index);
	struct http_idle idle = {.fd = msg->fds[0],
		.peer = {.kind = (enum net_kind)fields->kind, .port = (uint16_t)fields->port},
		.fresh = fields->fresh,
		.undecided = fields->undecided};
	int r;

	(void)link;
	if (!door || fields->address.len != sizeof(idle.peer.bytes) || fields->kind > NET_UNIX) {
		log_error("connection.unusable", "a connection came that fits no listener");
		return;
	}
	memcpy(idle.peer.bytes, fields->address.p, sizeof(idle.peer.bytes));
	msg->fds[0] = -1;
	r = http_conn_adopt(door->server, &idle);
	if (r < 0)
		log_warn("connection.dropped", err_reason(r));
}

static void on_counters(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_counters *fields = msg->fields;
	struct metrics *metrics = gateway_of(arg)->metrics;
	struct err err = {0};

	(void)link;
	if (fields->other) {
		metrics_add_other(metrics, msg->fds[0]);
		msg->fds[0] = -1;
	} else if (metrics_share(metrics, msg->fds[0], &err) < 0) {
		log_error("counters.unusable", err_text(&err));
	}
}

static void on_catalogue(struct link *link, const struct message *msg, void *arg)
{
	struct gateway *gateway = gateway_of(arg);
	struct catalogue *fresh;
	struct err err = {0};

	(void)link;
	if (catalogue_open(msg->fds[0], &fresh, &err) < 0) {
		log_error("catalogue.unreadable", err_text(&err));
		return;
	}
	catalogue_free(gateway->catalogue);
	gateway->catalogue = fresh;
}

/* --- configuration -------------------------------------------------------------------------- */

unsigned gateway_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static int take_config(struct gateway *gateway, struct span json, struct err *err)
{
	struct config *config;
	struct trust trust;
	int r = config_read_json(json, &config, err);

	if (r < 0)
		return r;
	r = trust_read(&trust, &config->trusted_proxies);
	if (r < 0) {
		config_free(config);
		return err_set(err, ERR_NO_MEMORY, "no memory for trusted_proxies");
	}
	trust_free(&gateway->trust);
	gateway->trust = trust;
	config_free(gateway->config);
	gateway->config = config;
	metrics_set_max_tools(gateway->metrics, (unsigned)config->metrics_max_tools);
	for (struct door *door = gateway->doors; door; door = door->next) {
		struct http_limits limits = edge_limits(config, door->index);

		admission_init(&door->admission, config, span_str(door->url));
		http_server_set_limits(door->server, &limits, NULL);
	}
	return 0;
}

/* The pool keeps its size for life: routes stand in it. */
static void size_pool(struct gateway *gateway)
{
	int64_t want = gateway->config->worker_per_principal;

	if (want <= 0)
		want = gateway_cores();
	gateway->pool_size = want < POOL_MAX ? (unsigned)want : POOL_MAX;
}

static void configured(struct process *process, struct span config, uint64_t generation)
{
	struct err err = {0};

	(void)generation;
	if (take_config(gateway_of(process), config, &err) < 0)
		log_error("config.unreadable", err_text(&err));
}

/* --- life ----------------------------------------------------------------------------------- */

static int give(const struct http_idle *idle, void *arg)
{
	const struct door *door = arg;
	const struct msg_connection fields = {.index = door->index,
		.kind = idle->peer.kind,
		.address = span_of((const char *)idle->peer.bytes, sizeof(idle->peer.bytes)),
		.port = idle->peer.port,
		.fresh = idle->fresh,
		.undecided = idle->undecided};

	return link_send(process_root(door->gateway->process), MSG_CONNECTION, 0, &fields,
		SPAN_NONE, &idle->fd);
}

/* What has become idle since goes to the successor, and streams that were begun since end. */
static void hand_over(struct gateway *gateway)
{
	exchanges_end_streams(gateway);
	for (struct door *door = gateway->doors; door; door = door->next)
		if (link_queued(process_root(gateway->process)) < HAND_OVER_QUEUE)
			http_server_hand_over(door->server, HAND_OVER_MAX, give, door);
}

static unsigned count_connections(const struct gateway *gateway)
{
	unsigned connections = 0;

	for (const struct door *door = gateway->doors; door; door = door->next)
		connections += http_server_connections(door->server);
	return connections;
}

/* All that was handed over must have left. */
static bool is_drained(const struct gateway *gateway)
{
	return count_connections(gateway) == 0 && !gateway->channels &&
	       link_flush(process_root(gateway->process));
}

static void on_drain(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = {0, DRAIN_TICK_MS * 1000};
	struct gateway *gateway = arg;
	bool late = clock_ms() >= gateway->drain_until_ms;

	(void)fd;
	(void)what;
	if (process_has_successor(gateway->process))
		hand_over(gateway);
	if (!is_drained(gateway) && !late) {
		event_add(gateway->drain, &tv);
		return;
	}
	if (late)
		log_warn("gateway.drain_over", "drain.timeout is over: what is left is closed",
			KV_INT("connections", count_connections(gateway)),
			KV_INT("requests", gateway->n_exchanges));
	process_exit(gateway->process, EXIT_SUCCESS, NULL);
}

static void stop(struct process *process, uint32_t deadline_ms)
{
	struct gateway *gateway = gateway_of(process);
	struct http_limits limits;

	gateway->draining = true;
	gateway->drain_until_ms =
		clock_ms() + (deadline_ms > 2 * DRAIN_MARGIN_MS ? deadline_ms - DRAIN_MARGIN_MS
								: deadline_ms / 2);
	while (gateway->loans)
		give_back(&gateway->loans);
	for (struct door *door = gateway->doors; door; door = door->next) {
		http_listener_free(door->listener);
		door->listener = NULL;
		limits = edge_limits(gateway->config, door->index);
		limits.linger_ms = DRAIN_LINGER_MS;
		http_server_set_limits(door->server, &limits, NULL);
		http_server_drain(door->server, process_has_successor(process)
							? HTTP_DRAIN_HAND_OVER
							: HTTP_DRAIN_CLOSE);
	}
	exchanges_end_streams(gateway);
	channels_drain(gateway);
	on_drain(-1, 0, gateway);
}

static int make_timers(struct gateway *gateway)
{
	struct event_base *base = process_base(gateway->process);

	gateway->tick = evtimer_new(base, on_tick, gateway);
	gateway->reopen = evtimer_new(base, on_reopen, gateway);
	gateway->keepalive = evtimer_new(base, on_keepalive, gateway);
	gateway->drain = evtimer_new(base, on_drain, gateway);
	gateway->flush = evtimer_new(base, on_flush, NULL);
	return gateway->tick && gateway->reopen && gateway->keepalive && gateway->drain &&
			       gateway->flush && probes_start(gateway) == 0
		       ? 0
		       : -ERR_NO_MEMORY;
}

static void free_timer(struct event *timer)
{
	if (timer)
		event_free(timer);
}

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct gateway *gateway = calloc(1, sizeof(*gateway));
	int r;

	if (!gateway)
		return err_set(err, ERR_NO_MEMORY, "no memory for a gateway");
	gateway->process = process;
	process_set_user(process, gateway);
	gateway->started_ms = clock_ms();
	gateway->metrics = metrics_new();
	if (!gateway->metrics || make_timers(gateway) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a gateway");
	if (getrandom(&gateway->seed, sizeof(gateway->seed), 0) != sizeof(gateway->seed))
		return err_set_errno(err, "no random numbers");
	r = take_config(gateway, config, err);
	if (r < 0)
		return r;
	log_set_format((enum log_format)gateway->config->log_format);
	log_set_batching(true);
	size_pool(gateway);
	return transports_prepare(err);
}

static int after_jail(struct process *process, struct err *err)
{
	(void)err;
	routes_open_sessions(gateway_of(process));
	return 0;
}

static void cleanup(struct process *process)
{
	struct gateway *gateway = gateway_of(process);

	if (!gateway)
		return;
	while (gateway->loans)
		give_back(&gateway->loans);
	while (gateway->doors) {
		struct door *door = gateway->doors;

		gateway->doors = door->next;
		door_free(door);
	}
	channels_free(gateway);
	routes_free(gateway);
	neighbours_free(gateway);
	views_free(gateway);
	exchanges_free(gateway);
	link_free(gateway->sessions);
	link_free(gateway->admin);
	catalogue_free(gateway->catalogue);
	metrics_free(gateway->metrics);
	trust_free(&gateway->trust);
	config_free(gateway->config);
	free_timer(gateway->tick);
	free_timer(gateway->reopen);
	free_timer(gateway->keepalive);
	free_timer(gateway->drain);
	free_timer(gateway->flush);
	probes_stop(gateway);
	log_set_batching(false);
	free(gateway);
}

static const struct link_handlers root_handlers = {.on = {[MSG_LISTENER] = on_listener,
							   [MSG_LISTENER_END] = on_listener_end,
							   [MSG_COUNTERS] = on_counters,
							   [MSG_CONNECTION] = on_connection,
							   [MSG_CATALOGUE] = on_catalogue}};

static const struct process_peer peers[] = {
	{ROLE_SESSIONS, &route_sessions_handlers, NULL},
	{ROLE_WORKER, &route_worker_handlers, NULL},
	{ROLE_GATEWAY, &neighbour_handlers, neighbour_accepted},
	{ROLE_ADMIN, &queries_handlers, queries_accepted},
	{ROLE_MAX, NULL, NULL},
};

static const struct process_role gateway_role = {
	.role = ROLE_GATEWAY,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.after_jail = after_jail,
	.configured = configured,
	.stop = stop,
	.cleanup = cleanup,
};

int main(int argc, char **argv)
{
	return process_main(&gateway_role, argc, argv);
}
