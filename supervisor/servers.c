/*
 * The supervisor of each MCP server. One that keeps crashing gives up by itself and counts against
 * nobody; here it is tried again after a pause that doubles from 1 to 60 s.
 */
#include "clock.h"
#include "log.h"
#include "node.h"
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_FIRST_MS 1000u
#define RETRY_LAST_MS 60000u
/* A server that ran this long has recovered: its next pause is the first again. */
#define RETRY_FORGET_MS 60000u

struct server_retry {
	char name[LIMIT_SERVER_NAME + 1];
	struct node *node;
	struct event *timer;
	uint32_t wait_ms;
	uint64_t due_ms;   /* waiting: when it is tried again */
	uint64_t ready_ms; /* since when it runs; 0: it does not */
	bool waiting;      /* gave up, timer armed */
	UT_hash_handle hh;
};

enum { UPSTREAM_STARTING, UPSTREAM_RUNNING, UPSTREAM_GAVE_UP, UPSTREAM_STOPPING };

bool node_wants_server(const struct node *node, const char *name)
{
	const struct config_server *server = config_find_server(node->config, name);

	return server && !server->disabled;
}

static void tell(const struct server_retry *server, struct child *registry)
{
	const struct msg_upstream_state state = {
		.name = span_str(server->name),
		.state = server->node->stopping ? UPSTREAM_STOPPING
			 : server->waiting      ? UPSTREAM_GAVE_UP
			 : server->ready_ms     ? UPSTREAM_RUNNING
						: UPSTREAM_STARTING,
		.retry_ms = server->waiting ? server->wait_ms : 0,
	};

	if (registry && registry->link)
		link_post(registry->link, MSG_UPSTREAM_STATE, 0, &state);
}

static void tell_registry(const struct server_retry *server)
{
	tell(server, children_find_named(&server->node->children, ROLE_REGISTRY, ""));
}

void node_tell_server_states(struct node *node, struct child *registry)
{
	struct server_retry *server;

	for (server = node->retries; server; server = server->hh.next)
		tell(server, registry);
}

static int start_server(struct server_retry *server, struct err *err)
{
	struct node *node = server->node;
	struct plan_room room;
	struct child_spec spec;
	int r = plan_server(node, server->name, &room, &spec);

	if (r < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for server %s", server->name);
	r = tree_start_child(node->tree, clock_ms(), tree_find_supervisor(node->tree, "upstreams"),
		0, &spec, err);
	if (r < 0) {
		program_release(NULL, room.worker.start);
		program_release(NULL, spec.start);
	}
	return r;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct server_retry *server = arg;
	struct err err = {0};

	(void)fd;
	(void)what;
	server->waiting = false;
	if (server->node->stopping)
		return;
	if (start_server(server, &err) < 0)
		log_error("server.start_failed", err_text(&err), KV_STR("server", server->name));
	tell_registry(server);
	node_turn(server->node);
}

static struct server_retry *find(struct node *node, const char *name)
{
	struct server_retry *server;

	HASH_FIND_STR(node->retries, name, server);
	return server;
}

static struct server_retry *make(struct node *node, const char *name)
{
	struct server_retry *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	snprintf(server->name, sizeof(server->name), "%s", name);
	server->node = node;
	server->wait_ms = RETRY_FIRST_MS / 2;
	server->timer = event_new(node->base, -1, 0, on_retry, server);
	if (!server->timer) {
		free(server);
		return NULL;
	}
	HASH_ADD_STR(node->retries, name, server);
	return server;
}

int node_server_add(struct node *node, const char *name, struct err *err)
{
	struct server_retry *server = make(node, name);

	return server ? start_server(server, err)
		      : err_set(err, ERR_NO_MEMORY, "no memory for server %s", name);
}

static void forget(struct node *node, struct server_retry *server)
{
	HASH_DEL(node->retries, server);
	event_free(server->timer);
	free(server);
}

void node_server_remove(struct node *node, const char *name)
{
	struct server_retry *server = find(node, name);
	uint64_t upstreams = tree_find_supervisor(node->tree, "upstreams");

	if (server)
		forget(node, server);
	tree_terminate_child(node->tree, clock_ms(), upstreams, 0, name, NULL);
	node_end_waiting(node, name);
	node_turn(node);
}

static void wait_until_due(struct server_retry *server, uint64_t now)
{
	uint64_t ms = server->due_ms > now ? server->due_ms - now : 0;
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(server->timer, &tv);
}

void node_server_dropped(struct node *node, const char *name)
{
	struct server_retry *server = find(node, name);
	uint64_t now = clock_ms();

	if (!server || node->stopping)
		return;
	if (server->ready_ms && now - server->ready_ms > RETRY_FORGET_MS)
		server->wait_ms = RETRY_FIRST_MS / 2;
	server->wait_ms = server->wait_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : server->wait_ms * 2;
	server->ready_ms = 0;
	server->waiting = true;
	server->due_ms = now + server->wait_ms;
	wait_until_due(server, now);
	log_error("server.failed", "its worker keeps crashing; it is tried again after a pause",
		KV_STR("server", name), KV_INT("retry_ms", server->wait_ms));
	tell_registry(server);
}

void node_server_ready(struct node *node, const char *name)
{
	struct server_retry *server = find(node, name);

	if (!server)
		return;
	server->ready_ms = clock_ms();
	tell_registry(server);
}

void node_servers_free(struct node *node)
{
	struct server_retry *server, *next;

	HASH_ITER (hh, node->retries, server, next)
		forget(node, server);
}

/* --- saved ---------------------------------------------------------------------------------- */

static const struct saved_field retry_rows[] = {
	SAVED_MEMBER(struct server_retry, wait_ms),
	SAVED_MEMBER(struct server_retry, due_ms),
	SAVED_MEMBER(struct server_retry, ready_ms),
	SAVED_MEMBER(struct server_retry, waiting),
};

void node_servers_save(const struct node *node, struct saved_writer *writer)
{
	const struct server_retry *server;

	for (server = node->retries; server; server = server->hh.next) {
		saved_open(writer, "server");
		saved_put_bytes(writer, "name", span_str(server->name));
		saved_put_fields(writer, SAVED_ROWS(retry_rows), server);
		saved_close(writer);
	}
}

int node_server_load(struct node *node, struct span values, struct err *err)
{
	struct span name = saved_get_bytes(values, "name");
	char text[LIMIT_SERVER_NAME + 1];
	struct server_retry *server;
	int r;

	snprintf(text, sizeof(text), "%.*s", SPAN_ARG(name));
	server = make(node, text);
	if (!server)
		return err_set(err, ERR_NO_MEMORY, "no memory for server %s", text);
	r = saved_get_fields(values, SAVED_ROWS(retry_rows), server, err);
	if (r == 0 && server->waiting)
		wait_until_due(server, clock_ms());
	return r;
}
