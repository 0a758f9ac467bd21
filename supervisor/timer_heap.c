#include "timer_heap.h"

#include "err.h"

#include <stdlib.h>

int timer_heap_reserve(struct timer_heap *heap)
{
	if (heap->reserved == heap->cap) {
		size_t cap = heap->cap ? heap->cap * 2 : 32;
		struct heap_timer **timers =
			realloc(heap->timers, cap * sizeof(struct heap_timer *));

		if (!timers)
			return -ERR_NO_MEMORY;
		heap->timers = timers;
		heap->cap = cap;
	}
	heap->reserved++;
	return 0;
}

void timer_heap_unreserve(struct timer_heap *heap)
{
	heap->reserved--;
}

void timer_heap_free(struct timer_heap *heap)
{
	free(heap->timers);
	*heap = (struct timer_heap){0};
}

static void timer_heap_put(struct timer_heap *heap, size_t place, struct heap_timer *timer)
{
	heap->timers[place - 1] = timer;
	timer->place = place;
}

static void timer_heap_up(struct timer_heap *heap, struct heap_timer *timer, size_t place)
{
	while (place > 1 && heap->timers[place / 2 - 1]->at > timer->at) {
		timer_heap_put(heap, place, heap->timers[place / 2 - 1]);
		place /= 2;
	}
	timer_heap_put(heap, place, timer);
}

static void timer_heap_down(struct timer_heap *heap, struct heap_timer *timer, size_t place)
{
	while (place * 2 <= heap->count) {
		size_t below = place * 2;

		if (below < heap->count && heap->timers[below]->at < heap->timers[below - 1]->at)
			below++;
		if (heap->timers[below - 1]->at >= timer->at)
			break;
		timer_heap_put(heap, place, heap->timers[below - 1]);
		place = below;
	}
	timer_heap_put(heap, place, timer);
}

void timer_heap_disarm(struct timer_heap *heap, struct heap_timer *timer)
{
	size_t place = timer->place;
	struct heap_timer *last;

	if (place == 0)
		return;
	timer->place = 0;
	last = heap->timers[--heap->count];
	if (last == timer)
		return;
	timer_heap_up(heap, last, place);
	timer_heap_down(heap, last, last->place);
}

void timer_heap_arm(struct timer_heap *heap, struct heap_timer *timer, uint64_t at)
{
	timer_heap_disarm(heap, timer);
	timer->at = at;
	heap->count++;
	timer_heap_up(heap, timer, heap->count);
}

uint64_t timer_heap_next(const struct timer_heap *heap)
{
	return heap->count ? heap->timers[0]->at : TIMER_NONE;
}

struct heap_timer *timer_heap_pop(struct timer_heap *heap, uint64_t now)
{
	struct heap_timer *timer;

	if (heap->count == 0 || heap->timers[0]->at > now)
		return NULL;
	timer = heap->timers[0];
	timer_heap_disarm(heap, timer);
	return timer;
}
