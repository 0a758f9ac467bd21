/*
 * A gateway's listening sockets stay open while it is away: what clients ask meanwhile waits in the
 * kernel, and would wait as long as the gateway drains, hangs or fails to start. So a slot that
 * nobody has served for a moment is lent to a gateway that is well, and taken back afterwards.
 */
#include "node.h"

#include <stdio.h>

static bool is_well(const struct child *gateway)
{
	return gateway && gateway->state == CHILD_RUNNING && gateway->link &&
	       gateway->unanswered == 0;
}

static struct child *gateway_of(struct node *node, unsigned slot)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", slot);
	return children_find_named(&node->children, ROLE_GATEWAY, name);
}

static bool is_lendable(const struct node_listener *row, unsigned slot)
{
	/* a Unix socket is the same for all slots */
	return row->slot == slot && row->owned && strcmp(row->kind, "mcp") == 0 &&
	       strncmp(row->url, "unix:", 5) != 0;
}

static void take_back(struct node *node, unsigned slot)
{
	struct child *borrower = children_find(&node->children, node->lent[slot]);

	node->lent[slot] = 0;
	if (!borrower || !borrower->link)
		return;
	for (unsigned i = 0; i < node->n_listeners; i++) {
		const struct msg_listener_end end = {
			.index = node->listeners[i].index, .slot = slot};

		if (is_lendable(&node->listeners[i], slot))
			link_post(borrower->link, MSG_LISTENER_END, 0, &end);
	}
}

static void lend(struct node *node, unsigned slot, const struct child *borrower)
{
	node->lent[slot] = borrower->instance;
	for (unsigned i = 0; i < node->n_listeners; i++)
		if (is_lendable(&node->listeners[i], slot))
			node_send_listener(&node->listeners[i], borrower->link, true);
}

/* The next slot's gateway that is well, so that those that are away at once are not lent to one. */
static struct child *find_borrower(struct node *node, unsigned slot)
{
	for (unsigned i = 1; i < node->gateways; i++) {
		struct child *gateway = gateway_of(node, (slot + i) % node->gateways);

		if (is_well(gateway))
			return gateway;
	}
	return NULL;
}

static void on_loans(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	for (unsigned slot = 0; slot < node->gateways && slot < NODE_LISTENERS_MAX; slot++) {
		bool away = !node->stopping && !is_well(gateway_of(node, slot));
		struct child *borrower = children_find(&node->children, node->lent[slot]);

		if (node->lent[slot] && (!away || !is_well(borrower)))
			take_back(node, slot);
		borrower = away && !node->lent[slot] ? find_borrower(node, slot) : NULL;
		if (borrower)
			lend(node, slot, borrower);
	}
}

int node_make_loans(struct node *node)
{
	node->loans = evtimer_new(node->base, on_loans, node);
	return node->loans ? 0 : -ERR_NO_MEMORY;
}

void node_check_loans(struct node *node)
{
	static const struct timeval moment = {0, NODE_LOAN_MS * 1000};

	if (node->gateways > 1 && !evtimer_pending(node->loans, NULL))
		event_add(node->loans, &moment);
}
