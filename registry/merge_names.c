/* Exposed names of the merged catalogue: who has which (resolved by table, never by splitting). */
#include "hash.h"
#include "merge_internal.h"

#include <stdlib.h>

#define SLOTS_FIRST 1024u

static uint64_t name_hash(enum catalogue_kind kind, struct span name)
{
	return hash64(name.p, name.len, kind);
}

bool merge_names_next(const struct merge *merge, enum catalogue_kind kind, struct span name,
	uint32_t *slot, uint32_t *ret_item)
{
	uint32_t mask = merge->slots_len - 1;
	uint32_t i;

	if (merge->slots_len == 0)
		return false;
	i = *ret_item == UINT32_MAX ? (uint32_t)name_hash(kind, name) & mask : (*slot + 1) & mask;
	for (; merge->slots[i]; i = (i + 1) & mask) {
		const struct catalogue_item *item = &merge->items[merge->slots[i] - 1];

		if (item->kind == kind && span_equal(item->name, name)) {
			*slot = i;
			*ret_item = merge->slots[i] - 1;
			return true;
		}
	}
	return false;
}

static void slot_fill(struct merge *merge, uint32_t number)
{
	const struct catalogue_item *item = &merge->items[number];
	uint32_t mask = merge->slots_len - 1;
	uint32_t i = (uint32_t)name_hash(item->kind, item->name) & mask;

	while (merge->slots[i])
		i = (i + 1) & mask;
	merge->slots[i] = number + 1;
}

int merge_names_add(struct merge *merge, uint32_t number)
{
	uint32_t *slots;

	/* At most half full, so that a search always meets an empty slot. */
	if ((number + 1) * 2 > merge->slots_len) {
		uint32_t len = merge->slots_len ? merge->slots_len * 2 : SLOTS_FIRST;

		slots = calloc(len, sizeof(*slots));
		if (!slots)
			return err_set(merge->err, ERR_NO_MEMORY, "merging names");
		free(merge->slots);
		merge->slots = slots;
		merge->slots_len = len;
		for (uint32_t i = 0; i < number; i++)
			slot_fill(merge, i);
	}
	slot_fill(merge, number);
	return 0;
}
