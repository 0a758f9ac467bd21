/* What is particular to the era without sessions (2026-07-28). */
#ifndef GATEHOUSE_MODERN_H
#define GATEHOUSE_MODERN_H

#include "buf.h"
#include "request.h"

/* The members that every cacheable result carries: resultType, ttlMs, cacheScope. */
void modern_write_members(struct buf *out, uint32_t ttl_ms, bool is_private);
/* Answer server/discover. */
void modern_discover(struct request *request);
/* Has the client said with these params that it knows this extension? */
bool modern_declares(struct span params, const char *extension);
/* Answer a request that needs an extension which its client has not declared. */
void modern_refuse_undeclared(struct request *request, const char *extension);
/*
 * Is this error of a server the wish of the legacy era that the user visit some URLs before the
 * request is sent again? This era asks for it as input, and the client sends the request again with
 * its answers: it begins anew, so that nothing is kept for it. ask: answer request so, or that its
 * client cannot be asked.
 */
bool modern_wants_urls(const struct request *request, struct span error);
void modern_ask_urls(struct request *request, struct span error);
/* A result of a server, of whatever era, as a modern client expects it; appended to out. 0 or the
 * buffer's error. */
int modern_result(const struct request *request, struct span result, struct buf *out);
/* The same for an error object: codes that this era does not have. -ERR_INVALID_ARGUMENT: it may
 * stay as it is. */
int modern_error(struct span error, struct buf *out);
/*
 * Do the Mcp-Param-… headers (as in EXCHANGE) say what the arguments say, where the schema asks for
 * them? 0 or -ERR_HEADER_MISMATCH.
 */
int modern_check_headers(
	struct span schema, struct span arguments, struct span headers, struct err *err);
/* HTTP status for an error answered to a modern request. */
unsigned modern_status(int code);
/* The same for the JSON-RPC code of an error that a server answered. */
unsigned modern_status_of_rpc(int64_t code);

#endif
