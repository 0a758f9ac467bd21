/* What merge*.c share. */
#ifndef GATEHOUSE_MERGE_INTERNAL_H
#define GATEHOUSE_MERGE_INTERNAL_H

#include "merge.h"

struct merge {
	struct merge_config config;
	const struct merge_server *servers;
	uint32_t servers_len;
	const struct config_virtual *view; /* whose catalogue is made; NULL: that of all */
	const uint32_t *numbers;	   /* of the view's servers, among all; NULL: the same */
	struct catalogue_server *facts; /* what goes into the file */
	struct catalogue_item *items;
	uint32_t items_len, items_cap;
	uint32_t *slots; /* open addressing: item number + 1; a power of two */
	uint32_t slots_len;
	size_t bytes; /* of all items so far */
	struct arena arena;
	struct buf text; /* scratch for one item */
	struct merge_result *result;
	struct err *err;
};

/* Record a note; never fails (what does not fit is counted). name is copied, detail is not. */
void merge_note(struct merge *merge, enum merge_note_kind note, enum catalogue_kind kind,
	uint32_t server, uint32_t other, struct span name, const char *detail);

/* merge_items.c: all lists of all servers → merge->items. */
int merge_items(struct merge *merge);
/* Put item->name into the item's bytes (in the arena); spans behind it move. */
int merge_item_rename(struct merge *merge, struct catalogue_item *item);
/* merge.c: the catalogue of merge, at the end of out. */
int merge_write(struct merge *merge, struct buf *out);
/* merge_views.c: those of the views, from the items of all. */
int merge_views(struct merge *merge, struct buf *out);

/*
 * merge_names.c: where an item of that name is. Walks the items of this kind and name: start with
 * *ret_item = UINT32_MAX; false when there is no further one.
 */
bool merge_names_next(const struct merge *merge, enum catalogue_kind kind, struct span name,
	uint32_t *slot, uint32_t *ret_item);
int merge_names_add(struct merge *merge, uint32_t item);
/* merge_facts.c: texts in the arena. */
int merge_capabilities(struct merge *merge, enum catalogue_era era, struct span *ret_json);
int merge_instructions(struct merge *merge, struct span *ret_text);
void merge_ttl(const struct merge *merge, struct catalogue_content *content);

/*
 * Does the JSON have an escaped surrogate without its other half? RFC 8259 allows it, yet many
 * readers refuse the whole text because of it.
 */
bool merge_has_half_pair(struct span json);

#endif
