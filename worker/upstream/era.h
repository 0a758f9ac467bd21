/*
 * What a request must look like for the server of its era, whatever era its client is of: members
 * of _meta, and the headers that repeat the body (2026-07-28, "Request Metadata").
 */
#ifndef GATEHOUSE_ERA_H
#define GATEHOUSE_ERA_H

#include "call.h"

#define ERA_OUR_INFO \
	"{\"name\":\"gatehouse\",\"title\":\"Gatehouse\",\"version\":\"" GATEHOUSE_VERSION "\"}"
/* A server offers the most to a client that can everything. */
#define ERA_EVERYTHING \
	"{\"roots\":{\"listChanged\":true},\"sampling\":{\"context\":{},\"tools\":{}}," \
	"\"elicitation\":{\"form\":{},\"url\":{}}}"

/* The era of who made this call; our own requests are of the server's. */
enum mcp_era era_of_caller(const struct call *call);
/*
 * Append the params of a call as its server shall see them; nothing where it has none. id: towards
 * the server, which becomes the progress token. 0 or the buffer's error.
 */
int era_write_params(const struct call *call, uint64_t id, struct span params, struct buf *out);
/*
 * Append "Name: value\r\n" for each header that repeats the body: Mcp-Method, Mcp-Name and
 * Mcp-Param-…, all of the server's own names. params: as era_write_params wrote them.
 */
int era_write_headers(const struct call *call, struct span params, struct buf *out);

/* What the client of a modern request can, of what a server can ask for: bits. */
#define ERA_ROOTS 1u
#define ERA_SAMPLING 2u
#define ERA_SAMPLING_TOOLS 4u
#define ERA_SAMPLING_CONTEXT 8u
#define ERA_FORM 16u
#define ERA_URL 32u
unsigned era_abilities(struct span capabilities);
/* The same as a capabilities object; room of ERA_ABILITIES_SIZE. */
#define ERA_ABILITIES_SIZE 160u
void era_write_abilities(unsigned abilities, char room[ERA_ABILITIES_SIZE]);

#endif
