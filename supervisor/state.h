/*
 * All that the root holds, as bytes for the program that takes its place (saved.h): the tree of supervisors, the children
 * with their links, the listeners, the configuration in force, what is kept of servers, and what goes on at the moment.
 *
 * Descriptors are named by number; they must stay open over the exec. What is not here is made anew: the event loop, the
 * watch over the configuration file, views of the configuration.
 */
#ifndef GATEHOUSE_STATE_H
#define GATEHOUSE_STATE_H

#include "memfile.h"
#include "node.h"

/*
 * Of the names of the saved values. A program that does not know a name passes over it, so that this number rises only when
 * an older program would go wrong by doing so; STATE_OLDEST then rises, too.
 */
#define STATE_VERSION 1u
#define STATE_OLDEST 1u
#define STATE_MAX (1024u * 1024u * 1024u)

/*
 * All of it in a sealed memory file, for the caller to close. Only where no action of the policy is
 * to be taken: not from within node_turn. On failure *ret_fd is as before: -ERR_NO_MEMORY,
 * -ERR_TOO_LARGE, -ERR_SYSTEM.
 */
int state_save(struct node *node, int *ret_fd, struct err *err);
/* Such a file, mapped (for the caller to unmap), and its values. -ERR_PROTOCOL: it is none that this
 * program reads; -ERR_SYSTEM. Then nothing is mapped. */
int state_open(int fd, struct memfile *ret_map, struct span *ret_values, struct err *err);
/*
 * Before the node has anything: take over what was saved as these values (of a document that saved_read has checked).
 * node->base and node->options must be there. aged: as for children_load; children_bury is to follow. On failure the node is
 * to be given up.
 */
int state_load(struct node *node, struct span values, bool aged, struct err *err);
/* Whether state_load would; without touching a descriptor. ret_config: the configuration in force, for the caller to free. */
int state_check(struct span values, struct config **ret_config, struct err *err);

#endif
