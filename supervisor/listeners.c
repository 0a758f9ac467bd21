/* The node's listening sockets: one per gateway slot and address,
 * open as long as the root lives. */
#include "listen.h"
#include "log.h"
#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int add(struct node *node, const struct config_listen *where, unsigned index, unsigned slot,
	const char *kind, struct err *err)
{
	struct node_listener *row = &node->listeners[node->n_listeners];
	int r;

	if (node->n_listeners == NODE_LISTENERS_MAX)
		return err_set(err, ERR_TOO_MANY,
			"more than %d listening sockets (addresses times gateways): lower gateways",
			NODE_LISTENERS_MAX);
	*row = (struct node_listener){.index = index, .slot = slot, .owned = true};
	snprintf(row->kind, sizeof(row->kind), "%s", kind);
	r = listen_open(where, strcmp(kind, "mcp") == 0 && node->gateways > 1, &row->fd, err);
	if (r == 0)
		listen_describe(row->fd, row->url, sizeof(row->url));
	if (r == 0)
		node->n_listeners++;
	return r;
}

/* A Unix socket has no SO_REUSEPORT: all gateways accept from the same one. */
static void share(struct node *node, unsigned slot)
{
	struct node_listener *row = &node->listeners[node->n_listeners++];

	*row = row[-1];
	row->slot = slot;
	row->owned = false;
}

/* Sockets with SO_REUSEPORT share an address even with those of another node:
 * one without must fit. */
static int check_free(const struct node *node, const struct config_listen *where, struct err *err)
{
	int fd, r;

	if (node->gateways == 1 || where->kind != CONFIG_LISTEN_TCP || where->port == 0)
		return 0;
	r = listen_open(where, false, &fd, err);
	if (r == 0)
		close(fd);
	return r;
}

static int open_address(struct node *node, unsigned index, struct err *err)
{
	struct config_listen where = node->config->listen[index];
	int r = check_free(node, &where, err);

	if (r == 0)
		r = add(node, &where, index, 0, "mcp", err);
	/* port 0 took a free one: the other slots take the same */
	if (r == 0 && where.kind == CONFIG_LISTEN_TCP && where.port == 0)
		where.port = listen_port(node->listeners[node->n_listeners - 1].fd);
	for (unsigned slot = 1; r == 0 && slot < node->gateways; slot++) {
		if (where.kind == CONFIG_LISTEN_UNIX && node->n_listeners < NODE_LISTENERS_MAX)
			share(node, slot);
		else
			r = add(node, &where, index, slot, "mcp", err);
	}
	return r;
}

static int open_metrics(struct node *node, struct err *err)
{
	char host[256];
	const char *text = node->config->admin_http.p;
	const char *colon = strrchr(text, ':');
	struct config_listen where = {.kind = CONFIG_LISTEN_TCP, .host = host};

	if (!*text)
		return 0;
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return err_set(err, ERR_CONFIG, "admin.http: '%s' is not HOST:PORT", text);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	where.port = (uint16_t)atoi(colon + 1);
	return add(node, &where, 0, 0, "metrics", err);
}

int node_open_listeners(struct node *node, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < node->config->listen_count; i++)
		r = open_address(node, i, err);
	if (r == 0)
		r = open_metrics(node, err);
	return r;
}

void node_close_listeners(struct node *node)
{
	for (unsigned i = 0; i < node->n_listeners; i++) {
		const struct node_listener *row = &node->listeners[i];

		if (row->owned && strncmp(row->url, "unix:", 5) == 0)
			unlink(row->url + 5);
		if (row->owned)
			close(row->fd);
	}
	node_close_counters(node);
	node->n_listeners = 0;
}

void node_send_listener(const struct node_listener *row, struct link *link, bool lent)
{
	const struct msg_listener listener = {.index = row->index,
		.kind = span_str(row->kind),
		.url = span_str(row->url),
		.slot = row->slot,
		.lent = lent};

	link_send(link, MSG_LISTENER, 0, &listener, SPAN_NONE, &row->fd);
}

void node_give_listeners(struct node *node, struct child *child)
{
	const char *kind = child->role == ROLE_GATEWAY ? "mcp" : "metrics";

	if (child->role == ROLE_GATEWAY)
		node_give_counters(node, child);
	for (unsigned i = 0; i < node->n_listeners; i++) {
		const struct node_listener *row = &node->listeners[i];

		if (strcmp(row->kind, kind) != 0)
			continue;
		if (child->role == ROLE_GATEWAY && row->slot != (unsigned)atoi(child->name))
			continue;
		node_send_listener(row, child->link, false);
	}
}
