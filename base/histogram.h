/*
 * Histograms of durations, and how they and labels are written as samples of Prometheus. Plain
 * memory: all zeros is an empty one.
 */
#ifndef GATEHOUSE_HISTOGRAM_H
#define GATEHOUSE_HISTOGRAM_H

#include "buf.h"

#include <stdint.h>

#define HISTOGRAM_BOUNDS 14

struct histogram {
	/* of each bucket alone; the last: beyond all bounds */
	uint64_t count[HISTOGRAM_BOUNDS + 1];
	uint64_t sum_us;
};

/* Upper bounds of the buckets in microseconds, rising. */
/* Of what the node does itself: 25 µs to 1 s. */
extern const uint64_t histogram_overhead[HISTOGRAM_BOUNDS];
/* Of whole operations: OpenTelemetry's for mcp.*.operation.duration, 10 ms to 300 s. */
extern const uint64_t histogram_operation[HISTOGRAM_BOUNDS];

void histogram_observe(struct histogram *histogram, const uint64_t *bounds, uint64_t us);

/* Append name_bucket, name_sum and name_count. labels: "a=\"b\",c=\"d\"" or empty. */
void histogram_write(const struct histogram *histogram, const uint64_t *bounds, const char *name,
	struct span labels, struct buf *out);

/* Append name="value", escaped as the text format asks for. */
void sample_write_label(struct buf *out, const char *name, struct span value);
/* Labels kept in fields of rows, that end with the field or a zero: */
/* Fill one (all zeros), cut where it is full. */
void sample_put(char *field, size_t size, struct span text);
/* Append ,name="value" of one. */
void sample_write_field(struct buf *out, const char *name, const char *field, size_t size);
/* Append a value of microseconds as seconds. */
void sample_write_seconds(struct buf *out, uint64_t us);

#endif
