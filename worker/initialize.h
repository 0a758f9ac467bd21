/* The beginning of a session (legacy era). */
#ifndef GATEHOUSE_INITIALIZE_H
#define GATEHOUSE_INITIALIZE_H

#include "request.h"

/* Answer `initialize` once the session is stored,
 * and a little later if servers are still starting. */
void initialize_request(struct request *request, struct span params);
/* The catalogue has changed, or time has passed. */
void initialize_go_on(struct worker *worker, uint64_t now_ms);

#endif
