#include "window.h"

#include <stdlib.h>

void window_init(struct window *window, uint64_t intensity, uint64_t period_ms)
{
	*window = (struct window){.intensity = intensity, .period_ms = period_ms};
}

void window_free(struct window *window)
{
	free(window->times);
	*window = (struct window){.intensity = window->intensity, .period_ms = window->period_ms};
}

static void window_drop_oldest(struct window *window)
{
	window->first = (window->first + 1) % window->cap;
	window->count--;
}

static void window_prune(struct window *window, uint64_t now)
{
	while (window->count > 0) {
		uint64_t oldest = window->times[window->first];

		if (now < oldest || now - oldest <= window->period_ms)
			return;
		window_drop_oldest(window);
	}
}

static bool window_grow(struct window *window)
{
	size_t cap = window->cap ? window->cap * 2 : 8;
	uint64_t *times;

	if (cap > window->intensity)
		cap = (size_t)window->intensity;
	times = malloc(cap * sizeof(*times));
	if (!times)
		return false;
	for (size_t i = 0; i < window->count; i++)
		times[i] = window->times[(window->first + i) % window->cap];
	free(window->times);
	window->times = times;
	window->first = 0;
	window->cap = cap;
	return true;
}

bool window_add(struct window *window, uint64_t now)
{
	window_prune(window, now);
	if (window->count >= window->intensity)
		return false;
	if (window->count == window->cap && !window_grow(window)) {
		if (window->cap == 0)
			return true;
		window_drop_oldest(window);
	}
	window->times[(window->first + window->count) % window->cap] = now;
	window->count++;
	return true;
}

void window_recall(struct window *window, uint64_t then)
{
	uint64_t intensity = window->intensity;

	window->intensity = UINT64_MAX;
	window_add(window, then);
	window->intensity = intensity;
}

void window_set(struct window *window, uint64_t intensity, uint64_t period_ms)
{
	window->intensity = intensity;
	window->period_ms = period_ms;
}
