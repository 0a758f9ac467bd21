/*
 * A process that hangs is as bad as one that died, and nobody's exit tells. Singletons, gateways
 * and upstream workers must answer a PING; session workers are too many to be woken for it.
 */
#include "clock.h"
#include "node.h"

/* PINGs without an answer; counted, not timed,
 * so that a pause of the whole machine kills nobody. */
#define HEARTBEAT_MISSES 10

static void beat(struct child *child)
{
	if (!child || child->state != CHILD_RUNNING || !child->link)
		return;
	if (child->unanswered >= HEARTBEAT_MISSES) {
		child->unanswered = 0;
		node_child_stuck(child, "it does not answer");
		return;
	}
	if (child->unanswered++ == 0)
		child->pinged_us = clock_us();
	link_post(child->link, MSG_PING, 0, NULL);
}

void node_on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;
	struct child *child, *next;

	(void)fd;
	(void)what;
	for (int role = 0; role < ROLE_MAX; role++)
		beat(node->children.singletons[role]);
	HASH_ITER (hh_name, node->children.by_name, child, next)
		beat(child);
	node_check_loans(node);
	node_look_at_waiting(node);
}
