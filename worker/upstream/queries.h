/* What the admin process asks of this server's worker. */
#ifndef GATEHOUSE_UPSTREAM_QUERIES_H
#define GATEHOUSE_UPSTREAM_QUERIES_H

#include "link.h"

extern const struct link_handlers queries_handlers;

#endif
