/* What a gateway counts. Rows of base/metrics.def; every set of labels is bounded. */
#ifndef GATEHOUSE_METRICS_H
#define GATEHOUSE_METRICS_H

#include "buf.h"

#include <stdint.h>

struct exchange;
struct gateway;
struct metrics;
struct outcome;

struct metrics *metrics_new(void);
/* NULL is accepted. */
void metrics_free(struct metrics *metrics);
/* Tools with a label of their own. */
void metrics_set_max_tools(struct metrics *metrics, unsigned max);

void metrics_exchange(struct metrics *metrics, const struct exchange *exchange,
	const struct outcome *outcome, uint64_t took_us);
/* code: why, as in errors.def. */
void metrics_refused(struct metrics *metrics, int code);

/* Sample lines of the Prometheus text format. 0 or the buffer's error. */
int metrics_write(const struct metrics *metrics, const struct gateway *gateway, struct buf *out);

#endif
