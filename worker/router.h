/* Messages of the client: envelopes, eras, batches;
 * what is done with each method is in methods.h. */
#ifndef GATEHOUSE_ROUTER_H
#define GATEHOUSE_ROUTER_H

#include "exchange.h"

/* The body of a POST. headers: as the gateway saw them. Answers and frees the exchange now or
 * later. */
void router_post(struct worker *worker, struct exchange *exchange, struct span body,
	const struct mcp_headers *headers);

#endif
