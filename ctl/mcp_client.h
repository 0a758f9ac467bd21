/* A small MCP client over Streamable HTTP (2025-11-25), one request at a time. */
#ifndef GATEHOUSE_CTL_MCP_CLIENT_H
#define GATEHOUSE_CTL_MCP_CLIENT_H

#include "target.h"

#define MCP_CLIENT_ANSWER_MAX (64u * 1024 * 1024)

struct mcp_client;

struct mcp_answer {
	struct buf message; /* the JSON-RPC response as it came */
	struct span result; /* in message; empty if it is an error */
	struct span error;  /* the error object */
	char timing[1024];  /* Server-Timing, empty if none */
	int64_t total_us;
};

/*
 * Open a session, or use that of another client (session, not NULL; it is not closed then).
 * timeout_ms is for each request. Prints why not; returns an exit status.
 */
int mcp_client_open(const struct target *target, const char *session, long timeout_ms,
	struct mcp_client **ret_client);
/* params: a JSON object. On EXIT_DONE the answer is filled (free with mcp_answer_free), error
 * responses too. */
int mcp_client_request(struct mcp_client *client, const char *method, struct span params,
	struct mcp_answer *ret_answer);
void mcp_answer_free(struct mcp_answer *answer);
/* Ends the session that mcp_client_open opened. */
void mcp_client_close(struct mcp_client *client);

/* Print an error response; its exit status. */
int mcp_client_fail(const struct mcp_answer *answer);

#endif
