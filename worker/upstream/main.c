/* gatehouse-upstream: see upstream.h. */
#include "adopt.h"
#include "client.h"
#include "clock.h"
#include "keep.h"
#include "listing.h"
#include "log.h"
#include "parked.h"
#include "points.h"
#include "pool.h"
#include "queries.h"
#include "seal.h"
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* How often a stopping process looks whether all is done. */
#define STOP_LOOK_MS 20
/* Looks at which nothing was under way, before it leaves for a successor. */
#define LEAVE_LOOKS 3
/* Of the time to stop, what the server's processes get to end by themselves. */
#define STOP_CHILDREN_MS 4200u

bool upstream_isolates(const struct upstream *up)
{
	return up->ops && POINT(OWN_CHILD) &&
	       (up->ops->per_session || up->server->isolation != CONFIG_ISOLATION_SHARED);
}

uint64_t upstream_next_id(struct upstream *up)
{
	uint64_t id;

	do {
		id = jsonrpc_own_id(process_instance(up->process), ++up->next_id);
	} while (id == 0);
	return id;
}

void upstream_note_error(struct upstream *up, const char *text)
{
	snprintf(up->last_error, sizeof(up->last_error), "%s", text);
}

void upstream_child_gone(struct upstream *up)
{
	adopt_sweep(up);
	if (!up->stop_until_ms)
		instances_admit(up);
}

/* --- configuration --------------------------------------------------------------------------- */

static int take_config(struct upstream *up, struct span json, struct err *err)
{
	const struct config_server *server;
	struct config *config;
	int r = config_read_json(json, &config, err);

	if (r < 0)
		return r;
	server = config_find_server(config, process_name(up->process));
	if (!server) {
		config_free(config);
		return err_set(
			err, ERR_CONFIG, "no server '%s' is configured", process_name(up->process));
	}
	operations_set_max_tools(up->metrics.operations, (unsigned)config->metrics_max_tools);
	config_free(up->config);
	up->config = config;
	up->server = server;
	log_set_format((enum log_format)config->log_format);
	return 0;
}

/* What concerns how the server is started or reached makes the root start this process anew; the
 * rest is read where it is used. */
static void configured(struct process *process, struct span config, uint64_t generation)
{
	struct err err = {0};

	(void)generation;
	if (take_config(upstream_of(process), config, &err) < 0)
		log_error("config.unreadable", err_text(&err));
}

/* --- starting -------------------------------------------------------------------------------- */

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct upstream *up = calloc(1, sizeof(*up));
	int r;

	if (!up)
		return err_set(err, ERR_NO_MEMORY, "no memory for an upstream worker");
	up->process = process;
	process_set_user(process, up);
	/* an answer to the server may be as long as a client's message */
	buf_init(&up->scratch, 80u * 1024u * 1024u);
	if (metrics_init(&up->metrics) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for metrics");
	r = take_config(up, config, err);
	if (r == 0 && up->server->type == CONFIG_TYPE_STDIO)
		process_set_sandbox(process, SANDBOX_UPSTREAM_STDIO);
	return r < 0 ? r : seal_new(process_state_dir(process), &up->seal, err);
}

static void tell_impossible(struct upstream *up, struct err *err)
{
	config_hide_secrets(up->server, err->detail);
	upstream_note_error(up, err_text(err));
	log_error("server.impossible", err_text(err), KV_STR("server", up->server->name));
	reporter_state(up, SERVER_DOWN, err_text(err), NULL, NULL);
}

static void start_transport(struct upstream *up)
{
	struct err err = {0};

	up->ops = transport_find(up->server, &err);
	if (up->ops && up->ops->start && up->ops->start(up, &err) < 0)
		up->ops = NULL;
	if (!up->ops)
		tell_impossible(up, &err);
}

static void start_catalogue(struct upstream *up)
{
	struct err err = {0};

	if (!up->ops)
		return;
	if (!up->catalogue)
		up->catalogue = instance_new(up, NULL, NULL);
	else
		listing_begin(up->catalogue->listing);
	if (up->catalogue) {
		instance_want(up->catalogue, &err);
		return;
	}
	err_set(&err, ERR_NO_MEMORY, "no memory for a conversation");
	tell_impossible(up, &err);
}

void upstream_begin(struct upstream *up)
{
	start_catalogue(up);
	process_ready(up->process);
}

static int after_jail(struct process *process, struct err *err)
{
	struct upstream *up = upstream_of(process);
	int r = reporter_init(up, err);

	if (r == 0)
		r = keep_init(up, err);
	if (r < 0)
		return r;
	start_transport(up);
	if (up->ops && up->ops->child && adopt_begin(up) == 0)
		return 1;
	start_catalogue(up);
	return 0;
}

/* --- stopping -------------------------------------------------------------------------------- */

static bool has_calls(const struct upstream *up)
{
	const struct client *client;

	DL_FOREACH(up->clients, client)
	{
		if (client->n_calls)
			return true;
	}
	return false;
}

static void stop_instances(struct upstream *up)
{
	struct instance *instance;

	DL_FOREACH(up->instances, instance)
	{
		if (instance->state != INSTANCE_STOPPED)
			instance_stop(instance);
	}
}

/*
 * What has not been sent waits for the successor, and so does the server: only what is under way is awaited, and that the
 * root has been told what has to be known of it.
 */
static bool may_leave(struct upstream *up)
{
	const struct instance *instance;
	bool busy = false;

	DL_FOREACH(up->instances, instance)
	{
		busy |= calls_under_way(instance);
	}
	up->idle_looks = busy ? 0 : up->idle_looks + 1;
	return up->idle_looks > LEAVE_LOOKS;
}

static void leave(struct upstream *up)
{
	const struct timeval tv = {.tv_usec = STOP_LOOK_MS * 1000};

	if (may_leave(up) || clock_ms() + STOP_CHILDREN_MS / 4 >= up->stop_until_ms)
		process_exit(up->process, EXIT_SUCCESS, NULL);
	else
		event_add(up->stop_timer, &tv);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = {.tv_usec = STOP_LOOK_MS * 1000};
	struct upstream *up = arg;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	if (up->leaving) {
		leave(up);
		return;
	}
	if (!has_calls(up) || now + STOP_CHILDREN_MS >= up->stop_until_ms)
		stop_instances(up);
	if ((!has_calls(up) && up->children == 0 &&
		    !(up->ops && up->ops->busy && up->ops->busy(up))) ||
		now >= up->stop_until_ms)
		process_exit(up->process, EXIT_SUCCESS, NULL);
	else
		event_add(up->stop_timer, &tv);
}

static void stop(struct process *process, uint32_t deadline_ms)
{
	struct upstream *up = upstream_of(process);

	up->stop_until_ms = clock_ms() + deadline_ms;
	up->leaving = process_has_successor(process);
	up->stop_timer = evtimer_new(process_base(process), on_stop_timer, up);
	if (up->stop_timer)
		on_stop_timer(-1, 0, up);
	else
		process_exit(process, EXIT_SUCCESS, NULL);
}

static void cleanup(struct process *process)
{
	struct upstream *up = upstream_of(process);

	if (!up)
		return;
	while (up->clients)
		client_free(up->clients);
	instance_free(up->catalogue, ERR_CLOSED, "the process ends");
	pools_free(up);
	parked_free_all(up);
	seal_free(up->seal);
	if (up->ops && up->ops->stop)
		up->ops->stop(up);
	link_free(up->admin);
	reporter_free(up);
	keep_free(up);
	logs_free(&up->logs);
	metrics_free(&up->metrics);
	buf_free(&up->scratch);
	if (up->stop_timer)
		event_free(up->stop_timer);
	config_free(up->config);
	free(up);
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_SERVER_SPAWNED] = stdio_on_spawned,
		[MSG_SERVER_SPAWN_FAILED] = stdio_on_spawn_failed,
		[MSG_SERVER_EXITED] = stdio_on_exited,
		[MSG_SERVER_KEPT] = adopt_on_kept,
		[MSG_SERVER_NONE] = adopt_on_none}};

static const struct process_peer peers[] = {
	{ROLE_WORKER, &client_handlers, client_accepted},
	{ROLE_REGISTRY, &reporter_handlers, NULL},
	{ROLE_ADMIN, &queries_handlers, queries_accepted},
	{ROLE_MAX, NULL, NULL},
};

static const struct process_role upstream_role = {
	.role = ROLE_UPSTREAM,
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
	return process_main(&upstream_role, argc, argv);
}
