/* What is particular to the era without sessions (2026-07-28). */
#ifndef GATEHOUSE_MODERN_H
#define GATEHOUSE_MODERN_H

#include "buf.h"
#include "request.h"

/* The members that every cacheable result carries: resultType, ttlMs, cacheScope. */
void modern_write_members(struct buf *out, uint32_t ttl_ms, bool is_private);
/* Answer server/discover. */
void modern_discover(struct request *request);
/* A result of a server, of whatever era, as a modern client expects it; appended to out. 0 or the buffer's error. */
int modern_result(const struct request *request, struct span result, struct buf *out);
/* HTTP status for an error answered to a modern request. */
unsigned modern_status(int code);

#endif
