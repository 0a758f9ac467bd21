/*
 * The restart window: how many restarts lie within the last period (SUPERVISION.md F). Milliseconds
 * of a clock that never goes back; a restart counts while now - then <= period.
 */
#ifndef GATEHOUSE_WINDOW_H
#define GATEHOUSE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct window {
	uint64_t intensity;
	uint64_t period_ms;
	uint64_t *times; /* ring, oldest at first */
	size_t first;
	size_t count; /* at most the largest intensity there was (F8) */
	size_t cap;
};

void window_init(struct window *window, uint64_t intensity, uint64_t period_ms);
void window_free(struct window *window);

/*
 * One more restart at now. True if it is allowed, and then recorded. When memory for the record is
 * out the oldest restart is forgotten: too lenient is better than a node that ends because of it.
 */
bool window_add(struct window *window, uint64_t now);
/* A restart that was allowed earlier, under whatever limit; oldest first. */
void window_recall(struct window *window, uint64_t then);

/* Other limits from now on; the recorded restarts stay (F6), also those that are too many now. */
void window_set(struct window *window, uint64_t intensity, uint64_t period_ms);

#endif
