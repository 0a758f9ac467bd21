/* How long to wait before what has failed is tried again. */
#ifndef GATEHOUSE_BACKOFF_H
#define GATEHOUSE_BACKOFF_H

#include "clock.h"
#include "hash.h"

/*
 * After so many failures in a row (from 1): first_ms, doubled with each up to last_ms; of that
 * between a half and the whole, so that those who failed together do not come back together. salt:
 * anything that differs among them.
 */
static inline uint64_t backoff_ms(
	unsigned failures, uint64_t first_ms, uint64_t last_ms, uint64_t salt)
{
	uint64_t pause = first_ms, now = clock_us();

	for (; failures > 1 && pause < last_ms; failures--)
		pause *= 2;
	if (pause > last_ms)
		pause = last_ms;
	return pause / 2 + hash64(&now, sizeof(now), salt) % (pause / 2 + 1);
}

#endif
