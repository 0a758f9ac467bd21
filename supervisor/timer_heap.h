/*
 * Deadlines of one tree: a heap of timers that live inside what they belong to. Arming and
 * disarming cost O(log n) and never fail, because room is reserved when a timer's owner is made.
 */
#ifndef GATEHOUSE_TIMER_HEAP_H
#define GATEHOUSE_TIMER_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define TIMER_NONE UINT64_MAX

struct heap_timer {
	uint64_t at;  /* ms */
	size_t place; /* 1-based place in the heap; 0: not armed */
	int kind;     /* the owner's: tells what the timer is part of */
};

struct timer_heap {
	struct heap_timer **timers;
	size_t count;
	size_t reserved; /* owners alive */
	size_t cap;
};

/* Room for one more timer: 0 or -ERR_NO_MEMORY. */
int timer_heap_reserve(struct timer_heap *heap);
/* The owner of one timer goes; its timer must not be armed. */
void timer_heap_unreserve(struct timer_heap *heap);
void timer_heap_free(struct timer_heap *heap);

/* Moves the deadline when already armed. */
void timer_heap_arm(struct timer_heap *heap, struct heap_timer *timer, uint64_t at);
void timer_heap_disarm(struct timer_heap *heap, struct heap_timer *timer);
/* The earliest deadline, TIMER_NONE without one. */
uint64_t timer_heap_next(const struct timer_heap *heap);
/* Takes out the earliest timer if its time has come, else NULL. */
struct heap_timer *timer_heap_pop(struct timer_heap *heap, uint64_t now);

#endif
