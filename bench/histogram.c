/*
 * See histogram.h. Values below HISTOGRAM_STEPS have a bucket each; above, every power of two has
 * HISTOGRAM_STEPS.
 */
#include "histogram.h"

static unsigned int bucket_of(uint64_t us)
{
	if (us < HISTOGRAM_STEPS)
		return (unsigned int)us;
	unsigned int power = 63 - (unsigned int)__builtin_clzll(us); /* at least 6 */
	unsigned int step = (unsigned int)(us >> (power - 6)) - HISTOGRAM_STEPS;
	unsigned int bucket = (power - 5) * HISTOGRAM_STEPS + step;
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t upper_edge(unsigned int bucket)
{
	if (bucket < HISTOGRAM_STEPS)
		return bucket;
	unsigned int power = bucket / HISTOGRAM_STEPS + 5;
	uint64_t step = bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1;
	return (step << (power - 6)) - 1;
}

void histogram_add(struct histogram *h, uint64_t us)
{
	h->counts[bucket_of(us)]++;
	h->count++;
	h->sum_us += us;
	if (us > h->max_us)
		h->max_us = us;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)h->count + 0.5);
	uint64_t seen = 0;
	if (wanted < 1)
		wanted = 1;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->counts[i];
		if (seen >= wanted)
			return upper_edge(i) < h->max_us ? upper_edge(i) : h->max_us;
	}
	return 0;
}

double histogram_mean_us(const struct histogram *h)
{
	return h->count ? (double)h->sum_us / (double)h->count : 0;
}
