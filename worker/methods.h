/* What is done with each request of the client, by its method. */
#ifndef GATEHOUSE_METHODS_H
#define GATEHOUSE_METHODS_H

#include "request.h"

typedef void method_fn(struct request *request, struct span params);

struct worker;

/* Whose resource is it? *ret_server: its index in the catalogue. */
bool method_find_resource(struct worker *worker, struct span uri, uint32_t *ret_server);

/* NULL: no method of ours. Each answers the request now or later. */
method_fn *method_find(enum mcp_method method);

#endif
