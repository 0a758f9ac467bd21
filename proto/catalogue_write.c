/* Laying out a catalogue file. */
#include "catalogue_format.h"

#include <stdlib.h>

struct layout {
	struct file_header header;
	struct file_server *servers;
	struct file_item *items;
	uint32_t *index;
	struct buf text;
	int r; /* the first error of appending text */
};

static struct text_ref put_text(struct layout *layout, struct span span)
{
	struct text_ref ref = {
		layout->header.text_at + (uint32_t)layout->text.len, (uint32_t)span.len};

	if (span.len == 0)
		return (struct text_ref){0, 0};
	if (layout->r == 0)
		layout->r = buf_append_span(&layout->text, span);
	return ref;
}

/* Where a part of a text that has been put stands. */
static struct text_ref part_ref(struct span part, struct span whole, struct text_ref put)
{
	if (part.len == 0)
		return (struct text_ref){0, 0};
	return (struct text_ref){put.at + (uint32_t)(part.p - whole.p), (uint32_t)part.len};
}

static bool part_inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.p >= whole.p && part.p + part.len <= whole.p + whole.len);
}

static int content_check(const struct catalogue_content *content, struct err *err)
{
	const struct catalogue_item *before = NULL;

	if (content->servers_len > CATALOGUE_SERVERS_MAX)
		return err_set(err, ERR_TOO_LARGE, "%u servers", content->servers_len);
	for (uint32_t i = 0; i < content->items_len; i++) {
		const struct catalogue_item *item = &content->items[i];

		if (item->kind >= CATALOGUE_KIND_MAX || item->server >= content->servers_len ||
			!part_inside(item->name_token, item->json) ||
			!part_inside(item->schema, item->json) ||
			!part_inside(item->output_schema, item->json))
			return err_set(
				err, ERR_INVALID_ARGUMENT, "catalogue item %u is malformed", i);
		if (before && (before->kind > item->kind || (before->kind == item->kind &&
								    before->server > item->server)))
			return err_set(err, ERR_INVALID_ARGUMENT, "catalogue items are not sorted");
		before = item;
	}
	return 0;
}

static void put_header(struct layout *layout, const struct catalogue_content *content)
{
	struct file_header *header = &layout->header;

	*header = (struct file_header){
		.magic = CATALOGUE_MAGIC,
		.version = CATALOGUE_VERSION,
		.generation = content->generation,
		.servers_at = sizeof(*header),
		.servers_len = content->servers_len,
		.items_len = content->items_len,
	};
	header->items_at =
		header->servers_at + content->servers_len * (uint32_t)sizeof(struct file_server);
	header->index_at =
		header->items_at + content->items_len * (uint32_t)sizeof(struct file_item);
	header->text_at = header->index_at + content->items_len * (uint32_t)sizeof(uint32_t);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		header->ttl_ms[kind] = content->ttl_ms[kind];
		header->cache_private[kind] = content->cache_private[kind];
	}
	for (int era = 0; era < CATALOGUE_ERA_MAX; era++)
		header->capabilities[era] = put_text(layout, content->capabilities[era]);
	header->instructions = put_text(layout, content->instructions);
	header->view = put_text(layout, content->view);
}

static void put_server(
	struct layout *layout, struct file_server *row, const struct catalogue_server *server)
{
	*row = (struct file_server){
		.name = put_text(layout, server->name),
		.upstream = put_text(layout, server->upstream),
		.version = put_text(layout, server->version),
		.capabilities = put_text(layout, server->capabilities),
		.info = put_text(layout, server->info),
		.instructions = put_text(layout, server->instructions),
		.error = put_text(layout, server->error),
		.alike = put_text(layout, server->alike),
		.state = (uint8_t)server->state,
		.isolation = (uint8_t)server->isolation,
		.transport = (uint8_t)server->transport,
		.era = (uint8_t)server->era,
		.call_timeout_ms = server->call_timeout_ms,
		.start_timeout_ms = server->start_timeout_ms,
		.idle_ms = server->idle_ms,
		.late = server->late,
	};
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		row->ttl_ms[kind] = server->ttl_ms[kind];
		row->cache_private[kind] = server->cache_private[kind];
	}
}

static void put_items(struct layout *layout, const struct catalogue_content *content)
{
	for (uint32_t i = 0; i < content->items_len; i++) {
		const struct catalogue_item *item = &content->items[i];
		struct text_ref json = put_text(layout, item->json);

		layout->items[i] = (struct file_item){
			.digest = item->digest,
			.server = item->server,
			.flags = item->flags,
			.name = put_text(layout, item->name),
			.original = put_text(layout, item->original),
			.json = json,
			.name_token = part_ref(item->name_token, item->json, json),
			.schema = part_ref(item->schema, item->json, json),
			.output_schema = part_ref(item->output_schema, item->json, json),
		};
	}
}

/* The items are sorted: each kind, and in it each server, is a range. */
static void put_ranges(struct layout *layout, const struct catalogue_content *content)
{
	uint32_t i = 0;

	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		struct kind_range *range = &layout->header.kinds[kind];

		range->first = i;
		for (uint32_t server = 0; server < content->servers_len; server++) {
			struct kind_range *own = &layout->servers[server].kinds[kind];

			own->first = i;
			while (i < content->items_len && content->items[i].kind == kind &&
				content->items[i].server == server)
				i++;
			own->count = i - own->first;
		}
		range->count = i - range->first;
	}
}

static int index_compare(const void *a, const void *b, void *arg)
{
	const struct catalogue_item *items = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	struct span x = items[i].name, y = items[j].name;
	size_t n = x.len < y.len ? x.len : y.len;
	int c = n ? memcmp(x.p, y.p, n) : 0;

	if (c == 0)
		c = (x.len > y.len) - (x.len < y.len);
	return c ? c : (i > j) - (i < j);
}

static void put_index(struct layout *layout, const struct catalogue_content *content)
{
	for (uint32_t i = 0; i < content->items_len; i++)
		layout->index[i] = i;
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		struct kind_range range = layout->header.kinds[kind];

		qsort_r(layout->index + range.first, range.count, sizeof(uint32_t), index_compare,
			(void *)content->items);
	}
}

static int layout_append(struct layout *layout, struct buf *out)
{
	static const char gap[8];
	size_t before = CATALOGUE_ALIGN(out->len) - out->len;
	int r;

	layout->header.size = layout->header.text_at + (uint32_t)layout->text.len;
	r = buf_reserve(out, before + layout->header.size);
	if (r < 0)
		return r;
	buf_append(out, gap, before);
	buf_append(out, &layout->header, sizeof(layout->header));
	buf_append(out, layout->servers, layout->header.servers_len * sizeof(*layout->servers));
	buf_append(out, layout->items, layout->header.items_len * sizeof(*layout->items));
	buf_append(out, layout->index, layout->header.items_len * sizeof(*layout->index));
	return buf_append_span(out, buf_span(&layout->text));
}

int catalogue_write(const struct catalogue_content *content, struct buf *out, struct err *err)
{
	struct layout layout = {0};
	int r = content_check(content, err);

	if (r < 0)
		return r;
	if (content->items_len > CATALOGUE_BYTES_MAX / 2 / sizeof(struct file_item))
		return err_set(err, ERR_TOO_LARGE, "%u items in the catalogue", content->items_len);
	buf_init(&layout.text, CATALOGUE_BYTES_MAX / 2);
	layout.servers = calloc(content->servers_len + 1u, sizeof(*layout.servers));
	layout.items = calloc(content->items_len + 1u, sizeof(*layout.items));
	layout.index = calloc(content->items_len + 1u, sizeof(*layout.index));
	if (!layout.servers || !layout.items || !layout.index) {
		r = -ERR_NO_MEMORY;
	} else {
		put_header(&layout, content);
		for (uint32_t i = 0; i < content->servers_len; i++)
			put_server(&layout, &layout.servers[i], &content->servers[i]);
		put_items(&layout, content);
		put_ranges(&layout, content);
		put_index(&layout, content);
		r = layout.r < 0 ? layout.r : layout_append(&layout, out);
	}
	buf_free(&layout.text);
	free(layout.servers);
	free(layout.items);
	free(layout.index);
	return r < 0 ? err_set(err, (enum err_code) - r, "writing the catalogue: %s", err_reason(r))
		     : 0;
}
