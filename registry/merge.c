#include "merge_internal.h"

#include "bounds.h"
#include "json.h"
#include "memfile.h"

#include <stdlib.h>
#include <unistd.h>

#define NOTE_NAME_MAX 128u
#define ARENA_SPARE (16u * 1024u * 1024u) /* names and texts beside the items themselves */

static const struct {
	const char *word;
	bool dropped;
} note_rows[MERGE_NOTE_MAX] = {
#define MERGE_NOTE(NAME, word, dropped) [MERGE_##NAME] = {word, dropped},
#include "merge_notes.def"
#undef MERGE_NOTE
};

const char *merge_note_word(enum merge_note_kind note)
{
	return note < MERGE_NOTE_MAX ? note_rows[note].word : "unknown";
}

bool merge_note_dropped(enum merge_note_kind note)
{
	return note < MERGE_NOTE_MAX && note_rows[note].dropped;
}

void merge_note(struct merge *merge, enum merge_note_kind note, enum catalogue_kind kind,
	uint32_t server, uint32_t other, struct span name, const char *detail)
{
	struct merge_result *result = merge->result;
	struct merge_note *row;

	if (name.len > NOTE_NAME_MAX)
		name.len = NOTE_NAME_MAX;
	if (result->notes_len == MERGE_NOTES_MAX) {
		result->notes_dropped++;
		return;
	}
	row = &result->notes[result->notes_len++];
	*row = (struct merge_note){.note = note,
		.kind = kind,
		.server = merge->numbers ? merge->numbers[server] : server,
		.other = merge->numbers ? merge->numbers[other] : other};
	row->name = name.len ? arena_copy(&result->arena, name) : SPAN_NONE;
	row->detail = arena_strdup(&result->arena, span_str(detail));
	if (!row->detail)
		row->detail = "";
}

static void limit_default(size_t *limit, size_t value)
{
	if (*limit == 0)
		*limit = value;
}

static void config_take(struct merge *merge, const struct merge_config *config)
{
	struct merge_limits *limits = &merge->config.limits;

	merge->config = *config;
	if (!limits->items)
		limits->items = LIMIT_LIST_ITEMS;
	if (!limits->servers || limits->servers > CATALOGUE_SERVERS_MAX)
		limits->servers = CATALOGUE_SERVERS_MAX;
	limit_default(&limits->item_bytes, 256u * 1024u);
	limit_default(&limits->list_bytes, LIMIT_LIST);
	limit_default(&limits->bytes, 64u * 1024u * 1024u);
	arena_init(&merge->arena, 2 * limits->bytes + ARENA_SPARE);
	buf_init(&merge->text, limits->item_bytes + CATALOGUE_NAME_MAX + 2);
}

/* The code unit of an escape \uXXXX that begins at p; 0: it is no such escape. */
static unsigned escaped_unit(const char *p, const char *end)
{
	char hex[5] = "";

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return 0;
	memcpy(hex, p + 2, 4);
	return (unsigned)strtoul(hex, NULL, 16);
}

bool merge_has_half_pair(struct span json)
{
	const char *p = json.p, *end = json.p + json.len;

	while (p < end && (p = memchr(p, '\\', (size_t)(end - p)))) {
		unsigned unit = escaped_unit(p, end);

		if (unit >= 0xdc00 && unit <= 0xdfff)
			return true;
		if (unit < 0xd800 || unit > 0xdbff) {
			p += 2;
			continue;
		}
		unit = escaped_unit(p + 6, end);
		if (unit < 0xdc00 || unit > 0xdfff)
			return true;
		p += 12;
	}
	return false;
}

/* JSON that is not what it should be is worse than none. */
static void facts_take(struct merge *merge)
{
	for (uint32_t i = 0; i < merge->servers_len; i++) {
		struct catalogue_server *facts = &merge->facts[i];
		struct span *objects[] = {&facts->capabilities, &facts->info};

		*facts = merge->servers[i].facts;
		for (size_t j = 0; j < 2; j++) {
			if (objects[j]->len == 0)
				continue;
			if (json_check(*objects[j], LIMIT_JSON_DEPTH, NULL) == 0 &&
				json_type(json_trim(*objects[j])) == JSON_OBJECT &&
				!merge_has_half_pair(*objects[j])) {
				*objects[j] = json_trim(*objects[j]);
				continue;
			}
			*objects[j] = SPAN_NONE;
			merge_note(merge, MERGE_BAD_CAPABILITIES, CATALOGUE_TOOL, i, i, SPAN_NONE,
				j == 0 ? "its capabilities are not a JSON object"
				       : "its serverInfo is not a JSON object");
		}
	}
}

int merge_write(struct merge *merge, struct buf *out)
{
	struct catalogue_content content = {
		.view = merge->view ? span_str(merge->view->name) : SPAN_NONE,
		.generation = merge->config.generation,
		.servers = merge->facts,
		.servers_len = merge->servers_len,
		.items = merge->items,
		.items_len = merge->items_len,
	};
	int r = 0;

	if (merge->view && merge->view->instructions.p[0])
		content.instructions = span_str(merge->view->instructions.p);
	else
		r = merge_instructions(merge, &content.instructions);
	for (unsigned era = 0; era < CATALOGUE_ERA_MAX && r == 0; era++)
		r = merge_capabilities(merge, (enum catalogue_era)era, &content.capabilities[era]);
	if (r < 0)
		return r;
	merge_ttl(merge, &content);
	return catalogue_write(&content, out, merge->err);
}

static int file_make(struct merge *merge)
{
	struct buf out;
	int r;

	buf_init(&out, CATALOGUE_BYTES_MAX);
	r = merge_write(merge, &out);
	if (r == 0)
		r = merge_views(merge, &out);
	if (r == 0)
		r = memfile_new(
			"gatehouse-catalogue", buf_span(&out), &merge->result->fd, merge->err);
	merge->result->bytes = out.len;
	merge->result->items = merge->items_len;
	buf_free(&out);
	return r;
}

static int result_new(struct merge *merge)
{
	struct merge_result *result = calloc(1, sizeof(*result));

	if (!result)
		return err_set(merge->err, ERR_NO_MEMORY, "merging");
	result->fd = -1;
	arena_init(&result->arena, MERGE_NOTES_MAX * (sizeof(struct merge_note) + 1024));
	merge->result = result;
	result->notes = arena_alloc(&result->arena, MERGE_NOTES_MAX * sizeof(struct merge_note));
	merge->facts = calloc(merge->servers_len + 1u, sizeof(*merge->facts));
	if (!result->notes || !merge->facts)
		return err_set(merge->err, ERR_NO_MEMORY, "merging");
	return 0;
}

int merge_catalogue(const struct merge_config *config, const struct merge_server *servers,
	uint32_t n, struct merge_result **ret_result, struct err *err)
{
	struct merge merge = {.servers = servers, .servers_len = n, .err = err};
	int r;

	config_take(&merge, config);
	if (n > merge.config.limits.servers)
		return err_set(err, ERR_TOO_LARGE, "%u servers, the limit is %u", n,
			merge.config.limits.servers);
	r = result_new(&merge);
	if (r == 0) {
		facts_take(&merge);
		r = merge_items(&merge);
	}
	if (r == 0)
		r = file_make(&merge);
	free(merge.facts);
	free(merge.items);
	free(merge.slots);
	buf_free(&merge.text);
	arena_free(&merge.arena);
	if (r < 0) {
		merge_result_free(merge.result);
		return r;
	}
	*ret_result = merge.result;
	return 0;
}

void merge_result_free(struct merge_result *result)
{
	if (!result)
		return;
	if (result->fd >= 0)
		close(result->fd);
	arena_free(&result->arena);
	free(result);
}
