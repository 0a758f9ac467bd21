/*
 * The REST view: tools, resources and prompts for programs that are no MCP clients, below /v1 and,
 * of a virtual server, below /v1/views/NAME. A request becomes a message of 2026-07-28 to the
 * principal's shared workers, its answer the result as the server gave it, or a problem (RFC 9457).
 *
 *   rest.c          requests          rest_answer.c   answers, problems
 *   rest_path.c     what stands where rest_openapi.c  the description of it all (OpenAPI 3.1)
 */
#ifndef GATEHOUSE_REST_H
#define GATEHOUSE_REST_H

#include "buf.h"
#include "catalogue.h"
#include "exchange.h"

#define REST_PATH "/v1"
#define REST_VIEWS REST_PATH "/views/"
#define REST_PROBLEM_TYPE "application/problem+json"

/* What can be asked; a row each in rest_path.c. */
enum rest_kind {
	REST_NOTHING,
	REST_TOOLS,
	REST_TOOL,
	REST_RESOURCES,
	REST_TEMPLATES,
	REST_READ,
	REST_PROMPTS,
	REST_PROMPT,
	REST_OPENAPI,
};

struct rest_target {
	enum rest_kind kind;
	struct span view; /* as in struct facts */
	struct span name; /* of the tool or prompt, percent-encoded */
};

/* False: the path is not below REST_PATH. There, REST_NOTHING where nothing stands. */
bool rest_find(struct span path, struct rest_target *ret);
/* The methods for Allow. */
const char *rest_allow(enum rest_kind kind);
/* Append the text that percent-encoding (RFC 3986 §2.1) stands for. -ERR_INVALID_ARGUMENT: a
 * broken one, or it is no UTF-8 text; or the buffer's error. */
int rest_decode(struct span encoded, struct buf *out);
/* The value of a parameter of a query, encoded; p is NULL when it is not there. */
struct span rest_parameter(struct span query, const char *name);

/* rest_answer.c */
extern const struct answer_ops rest_answers;
/* Answer without a worker, and free the exchange. */
void rest_give(struct exchange *exchange, const char *type, struct span body);
/* An error of ours as a problem. Returns its HTTP status. */
unsigned rest_write_problem(struct buf *out, const struct err *err, struct span request_id);

/* rest_openapi.c: the whole document. view: the name for its addresses, or empty. 0 or the buffer's
 * error. */
int rest_write_openapi(const struct catalogue *catalogue, struct span view, struct buf *out);

#endif
