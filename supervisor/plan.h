/* Which processes a node has: the tree of DESIGN as child specs. */
#ifndef GATEHOUSE_PLAN_H
#define GATEHOUSE_PLAN_H

#include "node.h"

/* Build node->tree from node->config. Nothing is started. */
int plan_tree(struct node *node, struct err *err);

/* The supervisor of one MCP server, a temporary child of "upstreams". The spec borrows from room. */
struct plan_room {
	struct supervisor_spec supervisor;
	struct child_spec worker;
};
int plan_server(const struct node *node, const char *name, struct plan_room *room, struct child_spec *ret_spec);

/* A cookie; NULL when memory is out. */
struct program *program_new(enum role role, const char *name, uint32_t stop_ms);
/* spec_release_fn */
void program_release(void *ctx, void *cookie);

#endif
