/* What this process counts about its server, as Prometheus samples. */
#ifndef GATEHOUSE_UPSTREAM_METRICS_H
#define GATEHOUSE_UPSTREAM_METRICS_H

#include "buf.h"
#include "operations.h"

struct call;
struct instance;
struct outcome;
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

struct metrics {
	uint64_t restarts[RESTART_REASON_MAX];
	uint64_t invalid_lines;
	uint64_t dropped_notes;
	struct operations *operations;
	void *memory; /* of these */
};

/* 0 or -ERR_NO_MEMORY. */
int metrics_init(struct metrics *metrics);
void metrics_free(struct metrics *metrics);
/* A call that was sent has ended. */
void metrics_call(
	const struct instance *instance, const struct call *call, const struct outcome *outcome);
uint64_t metrics_restarts(const struct metrics *metrics);
/* Sample lines. 0 or the buffer's error. */
int metrics_write(const struct upstream *up, struct buf *out);

#endif
