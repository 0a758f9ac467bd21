/*
 * Latencies in buckets of at most 1.6 % width: microseconds up to an hour in a fixed 16 KB.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 28)

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t count;
	uint64_t sum_us;
	uint64_t max_us;
};

void histogram_add(struct histogram *h, uint64_t us);
/* The upper edge, in microseconds, of the bucket that holds the given share (0…1) of all values; 0
 * when empty. */
uint64_t histogram_at(const struct histogram *h, double share);
double histogram_mean_us(const struct histogram *h);

#endif
