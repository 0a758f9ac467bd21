/* A node for one client: started beside it, in a temporary folder, and stopped with it. */
#ifndef GATEHOUSE_CTL_PRIVATE_NODE_H
#define GATEHOUSE_CTL_PRIVATE_NODE_H

#include "target.h"

struct private_node;

/*
 * Start a node of this configuration that listens on a Unix socket only, and wait until it is ready
 * and its servers have had a moment to come up. Its log goes to standard error. Prints why not;
 * returns an exit status.
 */
int private_node_start(
	const char *config, struct private_node **ret_node, struct target *ret_target);
/* NULL is accepted. */
void private_node_stop(struct private_node *node);

#endif
