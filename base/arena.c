#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#define ARENA_BLOCK_MIN 4096u

struct arena_block {
	struct arena_block *next;
	size_t size;
	size_t used;
	alignas(max_align_t) char data[];
};

void arena_init(struct arena *arena, size_t max)
{
	*arena = (struct arena){.max = max};
}

void arena_free(struct arena *arena)
{
	struct arena_block *block = arena->blocks, *next;

	for (; block; block = next) {
		next = block->next;
		free(block);
	}
	arena_init(arena, arena->max);
}

static struct arena_block *arena_grow(struct arena *arena, size_t size)
{
	size_t room = size > ARENA_BLOCK_MIN ? size : ARENA_BLOCK_MIN;
	struct arena_block *block = calloc(1, sizeof(*block) + room);

	if (!block)
		return NULL;
	block->size = room;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	void *p;

	if (rounded < size || rounded > arena->max - arena->used)
		return NULL;
	if (!block || block->size - block->used < rounded)
		block = arena_grow(arena, rounded);
	if (!block)
		return NULL;
	p = block->data + block->used;
	block->used += rounded;
	arena->used += rounded;
	return p;
}

char *arena_strdup(struct arena *arena, struct span text)
{
	char *copy = arena_alloc(arena, text.len + 1);

	if (copy && text.len)
		memcpy(copy, text.p, text.len);
	return copy;
}

struct span arena_copy(struct arena *arena, struct span bytes)
{
	char *copy = arena_strdup(arena, bytes);

	return copy ? span_of(copy, bytes.len) : SPAN_NONE;
}
