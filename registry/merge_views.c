/* Views: from the items of all to the catalogue of each virtual server. */
#include "merge_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define DETAIL_MAX 160u

static enum config_part part_of(enum catalogue_kind kind)
{
	if (kind == CATALOGUE_TOOL)
		return CONFIG_TOOLS;
	return kind == CATALOGUE_PROMPT ? CONFIG_PROMPTS : CONFIG_RESOURCES;
}

/* A view on its way. place: of each server in it; UINT32_MAX: it is not. */
struct making {
	const struct merge *all;
	struct merge own;
	uint32_t *place, *numbers;
};

static bool is_in(const struct making *making, const struct catalogue_item *item)
{
	return making->place[item->server] != UINT32_MAX &&
	       config_view_offers(making->own.view, part_of(item->kind), item->name);
}

/* The names of views are unique but for what stands in the file: whoever wrote it is right. */
static bool is_given_away(const struct making *making, const struct catalogue_item *item)
{
	enum config_part part = part_of(item->kind);
	const struct config_map *rename = part == CONFIG_TOOLS ? &making->own.view->tools_rename
							       : &making->own.view->prompts_rename;

	for (size_t i = 0; part != CONFIG_RESOURCES && i < rename->count; i++) {
		struct span from = span_str(rename->items[i].name);
		uint32_t slot = 0, other = UINT32_MAX;

		if (span_is(item->name, rename->items[i].value.p) &&
			!span_equal(from, item->name) &&
			merge_names_next(making->all, item->kind, from, &slot, &other) &&
			is_in(making, &making->all->items[other]))
			return true;
	}
	return false;
}

static void note_given_away(struct making *making, const struct catalogue_item *item)
{
	char detail[DETAIL_MAX];

	snprintf(detail, sizeof(detail),
		"it is not in view %s, which gives this name to something else",
		making->own.view->name);
	merge_note(&making->own, MERGE_CONFLICT, item->kind, making->place[item->server],
		making->place[item->server], item->name, detail);
}

static int take(struct making *making, const struct catalogue_item *of_all)
{
	struct catalogue_item *item = &making->own.items[making->own.items_len];
	struct span name =
		config_view_name(making->own.view, part_of(of_all->kind), of_all->name);
	int r = 0;

	if (span_equal(name, of_all->name) && is_given_away(making, of_all)) {
		note_given_away(making, of_all);
		return 0;
	}
	*item = *of_all;
	item->server = making->place[of_all->server];
	if (!span_equal(name, of_all->name)) {
		item->name = name;
		item->flags |= CATALOGUE_RENAMED;
		r = merge_item_rename(&making->own, item);
	}
	making->own.facts[item->server].count[item->kind]++;
	making->own.items_len++;
	return r;
}

static void take_servers(struct making *making)
{
	const struct merge *all = making->all;

	for (uint32_t i = 0; i < all->servers_len; i++) {
		uint32_t n = making->own.servers_len;

		making->place[i] = UINT32_MAX;
		if (!config_view_has_server(making->own.view, all->facts[i].name))
			continue;
		making->place[i] = n;
		making->numbers[n] = i;
		making->own.facts[n] = all->facts[i];
		memset(making->own.facts[n].count, 0, sizeof(making->own.facts[n].count));
		making->own.servers_len++;
	}
}

static int fill(struct making *making)
{
	const struct merge *all = making->all;
	int r = 0;

	take_servers(making);
	for (uint32_t i = 0; i < all->items_len && r == 0; i++)
		if (is_in(making, &all->items[i]))
			r = take(making, &all->items[i]);
	return r;
}

/* The last resort: who serves the view finds that there is nothing in it. */
static int write_empty(struct making *making, struct buf *out)
{
	static const char detail[] = "a view is empty, because the catalogue has become too large";

	if (making->all->servers_len)
		merge_note(&making->own, MERGE_TOO_LARGE, CATALOGUE_TOOL, 0, 0,
			span_str(making->own.view->name), detail);
	making->own.servers_len = 0;
	making->own.items_len = 0;
	return merge_write(&making->own, out);
}

static int write_view(struct merge *all, const struct config_virtual *view, struct buf *out)
{
	struct making making = {.all = all, .own = *all};
	size_t n = all->servers_len + 1u;
	int r = -ERR_NO_MEMORY;

	making.own.view = view;
	making.own.servers_len = making.own.items_len = 0;
	making.own.facts = calloc(n, sizeof(*making.own.facts));
	making.own.items = calloc(all->items_len + 1u, sizeof(*making.own.items));
	making.place = calloc(n, sizeof(*making.place));
	making.numbers = calloc(n, sizeof(*making.numbers));
	making.own.numbers = making.numbers;
	if (making.own.facts && making.own.items && making.place && making.numbers) {
		r = fill(&making);
		if (r == 0)
			r = merge_write(&making.own, out);
		if (r == -ERR_TOO_LARGE)
			r = write_empty(&making, out);
	} else {
		err_set(all->err, ERR_NO_MEMORY, "merging a view");
	}
	/* what was written down goes on with all */
	all->arena = making.own.arena;
	all->text = making.own.text;
	free(making.own.facts);
	free(making.own.items);
	free(making.place);
	free(making.numbers);
	return r;
}

int merge_views(struct merge *merge, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < merge->config.views_len && r == 0; i++)
		r = write_view(merge, &merge->config.views[i], out);
	return r;
}
