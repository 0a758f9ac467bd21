/* Reads the lists of the server for the catalogue: all pages, within bounds. */
#ifndef GATEHOUSE_LISTING_H
#define GATEHOUSE_LISTING_H

#include "instance.h"

struct listing;

struct listing *listing_new(struct instance *instance);
void listing_free(struct listing *listing);
/* The instance has just become ready: read everything, report, say that the server is up. */
void listing_begin(struct listing *listing);
/* The server says that a list changed; read it again soon. */
void listing_changed(struct listing *listing, enum mcp_method method);
/* The conversation is over. */
void listing_reset(struct listing *listing);

#endif
