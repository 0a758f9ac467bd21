/*
 * A gateway replaced by a successor that is ready first: both serve the same listening sockets for a
 * moment, then the old one is told to stop, hands over the connections on which nothing is under way,
 * answers the others and ends. The policy knows nothing of it: to it, the successor is the process
 * that it started (struct child, stands_for). A successor that does not become ready changes nothing.
 */
#include "clock.h"
#include "node.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* As the policy gives the processes that it starts. */
#define SWAP_START_MS 10000u

uint64_t node_policy_number(const struct child *child)
{
	return child->stands_for ? child->stands_for : child->instance;
}

struct child *node_acting(struct node *node, uint64_t number)
{
	struct child *child = children_find(&node->children, number);

	if (child && !child->replaced)
		return child;
	for (child = node->children.by_name; child; child = child->hh_name.next)
		if (child->stands_for == number)
			return child;
	return NULL;
}

static struct child *successor_of(struct node *node, const struct child *old)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (child->replaces == old->instance)
			return child;
	return NULL;
}

bool node_is_being_swapped(struct node *node, const struct child *child)
{
	return successor_of(node, child) != NULL;
}

static unsigned count_predecessors(struct node *node, const struct child *child)
{
	const struct child *other;
	unsigned n = 0;

	for (other = node->children.by_instance; other; other = other->hh.next)
		n += other->replaced && strcmp(other->name, child->name) == 0;
	return n;
}

int node_swap(struct node *node, struct child *child, struct err *err)
{
	struct child *fresh;
	int r;

	if (node->stopping || node_is_being_swapped(node, child))
		return err_set(err, ERR_BUSY, "gateway %s is being %s already", child->name,
			node->stopping ? "stopped" : "replaced");
	if (count_predecessors(node, child) + 2 > NODE_GENERATIONS)
		return err_set(err, ERR_BUSY,
			"%d predecessors of gateway %s still finish their requests: try again "
			"later",
			NODE_GENERATIONS - 1, child->name);
	r = child_spawn(&node->children, child->role, child->name,
		children_next_instance(&node->children), &node->programs, &fresh, err);
	if (r < 0)
		return r;
	child_take_name(child);
	fresh->stop_ms = child->stop_ms;
	fresh->replaces = child->instance;
	child_kill_later(fresh, SWAP_START_MS);
	node_introduce(node, fresh);
	return 0;
}

bool node_swap_ready(struct child *fresh)
{
	struct node *node = child_node(fresh);
	struct child *old;

	if (!fresh->replaces)
		return false;
	old = children_find(&node->children, fresh->replaces);
	fresh->replaces = 0;
	child_spare(fresh);
	if (!old || old->state != CHILD_RUNNING || old->replaced || node->stopping) {
		/* it died meanwhile, and the policy has started another */
		fresh->replaced = true;
		child_stop(fresh, fresh->stop_ms);
		child_kill_later(fresh, fresh->stop_ms);
		return true;
	}
	fresh->stands_for = node_policy_number(old);
	child_take_name(fresh);
	old->replaced = true;
	child_stop(old, old->stop_ms);
	child_kill_later(old, old->stop_ms);
	log_info("process.replaced", "a successor has taken the place of a process",
		KV_STR("child_role", role_name(old->role)), KV_STR("name", old->name),
		KV_INT("child_pid", fresh->pid), KV_INT("former_pid", old->pid));
	return true;
}

bool node_swap_exited(const struct child *child, const char *reason)
{
	if (child->replaces)
		log_error("process.not_replaced", reason, KV_STR("child_role", role_name(child->role)),
			KV_STR("name", child->name));
	return child->replaces || child->replaced;
}

void node_swaps_abandon(struct node *node)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (child->replaces)
			child_kill(child);
}

/* --- connections handed over ------------------------------------------------------------------ */

static bool may_take(const struct child *child, const struct child *from)
{
	return child != from && child->role == ROLE_GATEWAY && child->link && !child->replaced &&
	       !child->replaces &&
	       (child->state == CHILD_RUNNING || child->state == CHILD_STARTING);
}

/* The one in its place, else any. */
static struct child *find_taker(struct node *node, const struct child *from)
{
	struct child *child, *found = NULL;

	for (child = node->children.by_instance; child; child = child->hh.next) {
		if (!may_take(child, from))
			continue;
		if (strcmp(child->name, from->name) == 0)
			return child;
		found = child;
	}
	return found;
}

void node_on_connection(struct link *link, const struct message *msg, void *arg)
{
	const struct child *from = arg;
	struct child *taker = find_taker(child_node(from), from);

	(void)link;
	if (!taker || link_send(taker->link, MSG_CONNECTION, 0, msg->fields, SPAN_NONE,
			      msg->fds) < 0)
		log_warn("connection.dropped", "no gateway takes an idle connection over",
			KV_STR("gateway", from->name));
}

/* --- what gateways count ---------------------------------------------------------------------- */

/*
 * What one process of a slot has counted, a later one goes on with; what the others have counted, or
 * still count while they finish, it tells with its own. Without memory a gateway counts for itself.
 */
void node_give_counters(struct node *node, struct child *child)
{
	unsigned slot = (unsigned)atoi(child->name);
	struct node_counters *own = NULL, *row;

	if (slot >= NODE_LISTENERS_MAX)
		return;
	for (unsigned i = 0; i < NODE_GENERATIONS; i++) {
		row = &node->counters[slot][i];
		if (!own && !children_find(&node->children, row->owner))
			own = row;
		else if (row->fd > 0)
			link_send(child->link, MSG_COUNTERS, 0,
				&(struct msg_counters){.other = 1}, SPAN_NONE, &row->fd);
	}
	if (own && own->fd <= 0)
		own->fd = memfd_create("gatehouse-counters", MFD_CLOEXEC);
	if (!own || own->fd <= 0)
		return;
	own->owner = child->instance;
	link_send(child->link, MSG_COUNTERS, 0, &(struct msg_counters){0}, SPAN_NONE, &own->fd);
}

void node_close_counters(struct node *node)
{
	for (unsigned slot = 0; slot < NODE_LISTENERS_MAX; slot++)
		for (unsigned i = 0; i < NODE_GENERATIONS; i++) {
			if (node->counters[slot][i].fd > 0)
				close(node->counters[slot][i].fd);
			node->counters[slot][i].fd = 0;
		}
}
