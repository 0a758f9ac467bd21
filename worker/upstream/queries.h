/* What the admin process asks of this server's worker. */
#ifndef GATEHOUSE_UPSTREAM_QUERIES_H
#define GATEHOUSE_UPSTREAM_QUERIES_H

#include "process.h"

void queries_accepted(struct process *process, struct link *link);
extern const struct link_handlers queries_handlers;

#endif
