/*
 * All session workers replaced, one after the other: each is told to stop, answers what it was
 * asked, and ends; with the next request, or at once where one waits, a fresh worker takes up its
 * session. Nobody is ended in the middle of a call.
 */
#include "clock.h"
#include "node.h"

#include <stdlib.h>

/* One that has a long call to finish does so by itself while the next ones go on. */
#define PATIENCE_MS 5000u
#define LOOK_MS 5u

struct rolling {
	uint64_t *instances;
	unsigned total, next;
	uint64_t asked_ms; /* when the one before next was */
	struct event *tick;
};

static unsigned count_waiting(const struct rolling *rolling, struct children *all)
{
	unsigned n = 0;

	for (unsigned i = 0; i < rolling->next; i++)
		n += children_find(all, rolling->instances[i]) != NULL;
	return n;
}

static void look_soon(struct rolling *rolling)
{
	static const struct timeval soon = {0, LOOK_MS * 1000};

	event_add(rolling->tick, &soon);
}

static void ask_to_stop(struct node *node, struct rolling *rolling)
{
	struct child *child = children_find(&node->children, rolling->instances[rolling->next++]);

	rolling->asked_ms = clock_ms();
	/* no kill follows: how long it takes is for its calls to say */
	if (child && child->state == CHILD_RUNNING)
		child_stop(child, (uint32_t)node->config->session_request_timeout);
}

/* With the one before next, or for now. */
static bool is_through(struct node *node, const struct rolling *rolling)
{
	return rolling->next == 0 || clock_ms() >= rolling->asked_ms + PATIENCE_MS ||
	       !children_find(&node->children, rolling->instances[rolling->next - 1]);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;
	struct rolling *rolling = node->rolling;

	(void)fd;
	(void)what;
	if (node->stopping)
		return;
	if (is_through(node, rolling) && rolling->next < rolling->total)
		ask_to_stop(node, rolling);
	if (rolling->next < rolling->total || !is_through(node, rolling))
		look_soon(rolling);
	else
		log_info("sessions.replaced", "the session workers have been replaced",
			KV_INT("workers", rolling->total),
			KV_INT("finishing", count_waiting(rolling, &node->children)));
}

static bool is_under_way(struct node *node)
{
	return node->rolling && event_pending(node->rolling->tick, EV_TIMEOUT, NULL);
}

/* Those of now; later ones are fresh anyway. */
static void collect(struct node *node, struct rolling *rolling)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (child->role == ROLE_WORKER && child->state == CHILD_RUNNING)
			rolling->instances[rolling->total++] = child->instance;
}

int node_roll_sessions(struct node *node, unsigned *ret_total, struct err *err)
{
	struct rolling *rolling;

	if (is_under_way(node))
		return err_set(err, ERR_BUSY, "session workers are being replaced already");
	node_rolling_free(node);
	rolling = node->rolling = calloc(1, sizeof(*rolling));
	if (rolling) {
		rolling->instances = calloc(node->children.of_role[ROLE_WORKER] + 1,
			sizeof(*rolling->instances));
		rolling->tick = evtimer_new(node->base, on_tick, node);
	}
	if (!rolling || !rolling->instances || !rolling->tick) {
		node_rolling_free(node);
		return err_set(err, ERR_NO_MEMORY, "no memory for a list of session workers");
	}
	collect(node, rolling);
	*ret_total = rolling->total;
	look_soon(rolling);
	return 0;
}

void node_write_rolling(struct node *node, struct buf *out)
{
	const struct rolling *rolling = node->rolling;
	unsigned total = rolling ? rolling->total : 0, asked = rolling ? rolling->next : 0;
	unsigned waiting = rolling ? count_waiting(rolling, &node->children) : 0;

	buf_printf(out, "{\"total\":%u,\"replaced\":%u,\"finishing\":%u,\"running\":%s}", total,
		asked - waiting, waiting, is_under_way(node) ? "true" : "false");
}

void node_rolling_free(struct node *node)
{
	if (!node->rolling)
		return;
	free(node->rolling->instances);
	if (node->rolling->tick)
		event_free(node->rolling->tick);
	free(node->rolling);
	node->rolling = NULL;
}
