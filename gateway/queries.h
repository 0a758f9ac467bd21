/* What the admin process asks of a gateway. */
#ifndef GATEHOUSE_QUERIES_H
#define GATEHOUSE_QUERIES_H

#include "link.h"

extern const struct link_handlers queries_handlers;

#endif
