/*
 * All session workers, or all gateways, replaced one after the other. A session worker is told to
 * stop, and hands its session over when its calls are done; a gateway gets a successor (swap.c).
 * Nobody is ended in the middle of a call.
 */
#include "clock.h"
#include "node.h"

#include <stdlib.h>

/* A worker that has a long call to finish does so by itself while the next ones go on. */
#define PATIENCE_MS 5000u
#define LOOK_MS 5u

struct rolling {
	enum role role;
	uint64_t *instances;
	unsigned total, next;
	unsigned failed; /* gateways that could not be replaced */
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

static void give_successor(struct node *node, struct child *child)
{
	struct err err = {0};

	if (node_swap(node, child, &err) < 0)
		log_error("process.not_replaced", err_text(&err),
			KV_STR("child_role", role_name(child->role)), KV_STR("name", child->name));
}

static void replace_next(struct node *node, struct rolling *rolling)
{
	struct child *child = children_find(&node->children, rolling->instances[rolling->next++]);

	rolling->asked_ms = clock_ms();
	if (!child || child->state != CHILD_RUNNING)
		return;
	if (rolling->role == ROLE_GATEWAY)
		give_successor(node, child);
	else
		/* no kill follows: how long it takes is for its calls to say */
		child_stop(child, (uint32_t)node->config->session_request_timeout);
}

/* With the one before next, or for now. */
static bool is_through(struct node *node, const struct rolling *rolling)
{
	const struct child *child =
		rolling->next == 0 ? NULL
				   : children_find(&node->children,
					     rolling->instances[rolling->next - 1]);

	if (!child)
		return true;
	return rolling->role == ROLE_GATEWAY
		       ? child->replaced || !node_is_being_swapped(node, child)
		       : clock_ms() >= rolling->asked_ms + PATIENCE_MS;
}

/* The one before next is a gateway that got no successor. */
static void note_failure(struct node *node, struct rolling *rolling)
{
	const struct child *child =
		children_find(&node->children, rolling->instances[rolling->next - 1]);

	rolling->failed += rolling->role == ROLE_GATEWAY && child && !child->replaced;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;
	struct rolling *rolling = node->rolling;

	(void)fd;
	(void)what;
	if (node->stopping)
		return;
	if (!is_through(node, rolling)) {
		look_soon(rolling);
		return;
	}
	if (rolling->next > 0)
		note_failure(node, rolling);
	if (rolling->next < rolling->total) {
		replace_next(node, rolling);
		look_soon(rolling);
		return;
	}
	log_info("processes.replaced", "", KV_STR("of", role_name(rolling->role)),
		KV_INT("count", rolling->total - rolling->failed),
		KV_INT("failed", rolling->failed),
		KV_INT("finishing", count_waiting(rolling, &node->children)));
}

bool node_is_rolling(struct node *node)
{
	return node->rolling && event_pending(node->rolling->tick, EV_TIMEOUT, NULL);
}

/* Those of now; later ones are fresh anyway. */
static void collect(struct node *node, struct rolling *rolling)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (child->role == rolling->role && child->state == CHILD_RUNNING &&
			!child->replaced && !child->replaces)
			rolling->instances[rolling->total++] = child->instance;
}

static struct rolling *make(struct node *node, enum role role, unsigned room)
{
	struct rolling *rolling = node->rolling = calloc(1, sizeof(*rolling));

	if (rolling) {
		rolling->role = role;
		rolling->instances = calloc(room + 1, sizeof(*rolling->instances));
		rolling->tick = evtimer_new(node->base, on_tick, node);
	}
	if (!rolling || !rolling->instances || !rolling->tick)
		node_rolling_free(node);
	return node->rolling;
}

int node_roll(struct node *node, enum role role, unsigned *ret_total, struct err *err)
{
	struct rolling *rolling;

	if (node_is_rolling(node))
		return err_set(err, ERR_BUSY, "processes are being replaced already");
	node_rolling_free(node);
	rolling = make(node, role, node->children.of_role[role]);
	if (!rolling)
		return err_set(err, ERR_NO_MEMORY, "no memory for a list of processes");
	collect(node, rolling);
	*ret_total = rolling->total;
	look_soon(rolling);
	return 0;
}

void node_write_rolling(struct node *node, struct buf *out)
{
	static const struct rolling none = {.role = ROLE_WORKER};
	const struct rolling *rolling = node->rolling ? node->rolling : &none;
	unsigned waiting = count_waiting(rolling, &node->children);
	/* a gateway that still finishes has its successor, a worker has not yet handed over */
	unsigned open = rolling->role == ROLE_WORKER ? waiting : rolling->failed;

	buf_printf(out,
		"{\"role\":\"%s\",\"total\":%u,\"replaced\":%u,\"finishing\":%u,\"failed\":%u,"
		"\"running\":%s}",
		role_name(rolling->role), rolling->total,
		rolling->next > open ? rolling->next - open : 0, waiting, rolling->failed,
		node_is_rolling(node) ? "true" : "false");
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

/* --- saved ---------------------------------------------------------------------------------- */

static const struct saved_field rolling_rows[] = {
	SAVED_ENUM(struct rolling, role, ROLE_MAX),
	SAVED_MEMBER(struct rolling, next),
	SAVED_MEMBER(struct rolling, failed),
	SAVED_MEMBER(struct rolling, asked_ms),
};

void node_rolling_save(struct node *node, struct saved_writer *writer)
{
	const struct rolling *rolling = node->rolling;

	if (!rolling)
		return;
	saved_open(writer, "rolling");
	saved_put_fields(writer, SAVED_ROWS(rolling_rows), rolling);
	saved_put_uint(writer, "running", node_is_rolling(node));
	for (unsigned i = 0; i < rolling->total; i++)
		saved_put_uint(writer, "instance", rolling->instances[i]);
	saved_close(writer);
}

int node_rolling_load(struct node *node, struct span values, struct err *err)
{
	struct rolling *rolling;
	struct saved_item item;
	unsigned n = 0;
	int r;

	for (struct span rest = values; saved_next(&rest, &item);)
		n += saved_is(&item, "instance", SAVED_UINT);
	rolling = make(node, ROLE_WORKER, n);
	if (!rolling)
		return err_set(err, ERR_NO_MEMORY, "no memory for a list of processes");
	r = saved_get_fields(values, SAVED_ROWS(rolling_rows), rolling, err);
	for (struct span rest = values; saved_next(&rest, &item);)
		if (saved_is(&item, "instance", SAVED_UINT))
			rolling->instances[rolling->total++] = item.number;
	if (rolling->next > rolling->total)
		rolling->next = rolling->total;
	if (saved_get_uint(values, "running", 0))
		look_soon(rolling);
	return r;
}
