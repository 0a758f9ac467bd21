/*
 * An arena: allocations that are freed all at once, when the request (or whatever it belongs to) is
 * over.
 */
#ifndef GATEHOUSE_ARENA_H
#define GATEHOUSE_ARENA_H

#include "span.h"

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks; /* newest first */
	size_t used;                /* bytes handed out, all blocks */
	size_t max;                 /* arena_alloc returns NULL beyond it */
};

/* max in bytes. Allocates nothing. */
void arena_init(struct arena *arena, size_t max);
/* Frees everything; the arena may be used again. */
void arena_free(struct arena *arena);
/* Zeroed, aligned for any type. NULL when max would be passed or memory is out. */
void *arena_alloc(struct arena *arena, size_t size);
/* A zero-terminated copy of the span; NULL as above. */
char *arena_strdup(struct arena *arena, struct span text);
/* A copy as a span (not zero-terminated by promise); SPAN_NONE with len 0 on failure of a non-empty
 * copy. */
struct span arena_copy(struct arena *arena, struct span bytes);

#endif
