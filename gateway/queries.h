/* What the admin process asks of a gateway. */
#ifndef GATEHOUSE_QUERIES_H
#define GATEHOUSE_QUERIES_H

#include "process.h"

extern const struct link_handlers queries_handlers;
void queries_accepted(struct process *process, struct link *link);

#endif
