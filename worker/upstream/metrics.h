/* What this process counts about its server, as Prometheus samples. */
#ifndef GATEHOUSE_UPSTREAM_METRICS_H
#define GATEHOUSE_UPSTREAM_METRICS_H

#include "buf.h"
#include "mcp.h"

struct upstream;

/* Why a conversation ended that should not have. */
#define METRICS_REASONS(X) \
	X(RESTART_EXIT, "exit") \
	X(RESTART_SPAWN, "spawn") \
	X(RESTART_HANDSHAKE, "handshake") \
	X(RESTART_GARBAGE, "garbage") \
	X(RESTART_SESSION, "session")

enum restart_reason {
#define X(name, text) name,
	METRICS_REASONS(X)
#undef X
		RESTART_REASON_MAX,
};

#define METRICS_BUCKETS 14u

struct metrics_histogram {
	uint64_t buckets[METRICS_BUCKETS + 1];
	uint64_t count;
	uint64_t sum_us;
};

struct metrics {
	uint64_t restarts[RESTART_REASON_MAX];
	uint64_t invalid_lines;
	uint64_t dropped_notes;
	struct metrics_histogram operations[MCP_METHOD_MAX];
};

void metrics_operation(struct metrics *metrics, enum mcp_method method, uint64_t us);
uint64_t metrics_restarts(const struct metrics *metrics);
/* Sample lines. 0 or the buffer's error. */
int metrics_write(const struct upstream *up, struct buf *out);

#endif
