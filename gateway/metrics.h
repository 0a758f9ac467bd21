/* What a gateway counts. Rows of base/metrics.def; every set of labels is bounded. */
#ifndef GATEHOUSE_METRICS_H
#define GATEHOUSE_METRICS_H

#include "buf.h"
#include "err.h"
#include "http_server.h"

#include <stdint.h>

/* Listeners whose connections are counted. */
#define METRICS_DOORS_MAX 64u
/* Other processes of a slot whose counts are told. */
#define METRICS_OTHERS_MAX 16u

struct exchange;
struct gateway;
struct metrics;
struct outcome;

/* With memory of its own, until metrics_share. NULL when memory is out. */
struct metrics *metrics_new(void);
/* NULL is accepted. */
void metrics_free(struct metrics *metrics);
/*
 * Count in this memory file (borrowed) from now on, on top of what a predecessor had counted there:
 * so that nothing that was counted is lost with a process. To be called before anything is counted.
 * On an error all is as before.
 */
int metrics_share(struct metrics *metrics, int fd, struct err *err);
/* What another process of this slot has counted in this memory file, or still counts, is told too. */
void metrics_add_other(struct metrics *metrics, int fd);
/* Tools with a label of their own. */
void metrics_set_max_tools(struct metrics *metrics, unsigned max);

void metrics_exchange(struct metrics *metrics, const struct exchange *exchange,
	const struct outcome *outcome, uint64_t took_us);
/* code: why, as in errors.def. */
void metrics_refused(struct metrics *metrics, int code);
/* The same for a message that was no HTTP request. */
void metrics_message_refused(struct metrics *metrics, int code);
/* An answer with this status, that neither an exchange nor a refusal is. */
void metrics_response(struct metrics *metrics, unsigned status);
/* Where the connections of the listener of that index are counted. */
struct http_server_stats *metrics_door(struct metrics *metrics, uint32_t index);

/* Sample lines of the Prometheus text format. 0 or the buffer's error. */
int metrics_write(const struct metrics *metrics, const struct gateway *gateway, struct buf *out);

#endif
