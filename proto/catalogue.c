#include "catalogue_format.h"
#include "hash.h"
#include "memfile.h"

#include <stdlib.h>

struct catalogue {
	struct memfile file; /* MEMFILE_NONE when the bytes are the caller's */
	struct span whole;   /* all of the file, with the views */
	const char *bytes;   /* of the one that is read */
	const struct file_header *header;
	const struct file_server *servers;
	const struct file_item *items;
	const uint32_t *index;
};

enum catalogue_kind catalogue_kind_of(enum mcp_method method)
{
	switch (method) {
	case MCP_TOOLS_LIST:
		return CATALOGUE_TOOL;
	case MCP_RESOURCES_LIST:
		return CATALOGUE_RESOURCE;
	case MCP_TEMPLATES_LIST:
		return CATALOGUE_TEMPLATE;
	case MCP_PROMPTS_LIST:
		return CATALOGUE_PROMPT;
	default:
		return CATALOGUE_KIND_MAX;
	}
}

static const char *const state_names[SERVER_STATE_MAX] = {
	[SERVER_STARTING] = "starting",
	[SERVER_UP] = "up",
	[SERVER_DOWN] = "down",
	[SERVER_FAILED] = "failed",
	[SERVER_DISABLED] = "disabled",
	[SERVER_STOPPING] = "stopping",
};
static const char *const isolation_names[SERVER_ISOLATION_MAX] = {
	[SERVER_SHARED] = "shared",
	[SERVER_PER_SESSION] = "session",
};
static const char *const transport_names[SERVER_TRANSPORT_MAX] = {
	[SERVER_STDIO] = "stdio",
	[SERVER_HTTP] = "http",
	[SERVER_SSE] = "sse",
	[SERVER_WEBSOCKET] = "websocket",
};
static const char *const kind_names[CATALOGUE_KIND_MAX] = {
	[CATALOGUE_TOOL] = "tool",
	[CATALOGUE_RESOURCE] = "resource",
	[CATALOGUE_TEMPLATE] = "resource template",
	[CATALOGUE_PROMPT] = "prompt",
};

static const char *name_of(const char *const *names, unsigned max, unsigned value)
{
	return value < max ? names[value] : "unknown";
}

const char *server_state_name(enum server_state state)
{
	return name_of(state_names, SERVER_STATE_MAX, state);
}

const char *server_isolation_name(enum server_isolation isolation)
{
	return name_of(isolation_names, SERVER_ISOLATION_MAX, isolation);
}

const char *server_transport_name(enum server_transport transport)
{
	return name_of(transport_names, SERVER_TRANSPORT_MAX, transport);
}

const char *catalogue_kind_name(enum catalogue_kind kind)
{
	return name_of(kind_names, CATALOGUE_KIND_MAX, kind);
}

static struct span text(const struct catalogue *catalogue, struct text_ref ref)
{
	return ref.len ? span_of(catalogue->bytes + ref.at, ref.len) : SPAN_NONE;
}

static int span_compare(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* --- examination: after it, no number in the file leads outside ----------------------------- */

static bool ref_inside(const struct file_header *header, const struct text_ref *ref, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (ref[i].len && (ref[i].at < header->text_at ||
					  (uint64_t)ref[i].at + ref[i].len > header->size))
			return false;
	return true;
}

/* A part of an item's JSON, or nothing. */
static bool ref_within(struct text_ref part, struct text_ref whole)
{
	return part.len == 0 || (part.at >= whole.at && (uint64_t)part.at + part.len <=
								(uint64_t)whole.at + whole.len);
}

static bool table_inside(
	const struct file_header *header, uint32_t at, uint64_t len, uint64_t row, unsigned align)
{
	return at >= sizeof(*header) && at % align == 0 && at + len * row <= header->text_at;
}

static bool range_inside(struct kind_range range, struct kind_range outer)
{
	return range.first >= outer.first &&
	       (uint64_t)range.first + range.count <= (uint64_t)outer.first + outer.count;
}

static bool flags_are_bool(const uint8_t *flags, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (flags[i] > 1)
			return false;
	return true;
}

/* The kinds' ranges cover the item table in their order, without a gap. */
static bool kinds_right(const struct file_header *header)
{
	uint64_t next = 0;

	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		if (header->kinds[kind].first != next)
			return false;
		next += header->kinds[kind].count;
	}
	return next == header->items_len;
}

static bool header_right(const struct file_header *header)
{
	return header->text_at <= header->size && header->servers_len <= CATALOGUE_SERVERS_MAX &&
	       table_inside(header, header->servers_at, header->servers_len,
		       sizeof(struct file_server), 8) &&
	       table_inside(
		       header, header->items_at, header->items_len, sizeof(struct file_item), 8) &&
	       table_inside(header, header->index_at, header->items_len, sizeof(uint32_t), 4) &&
	       flags_are_bool(header->cache_private, CATALOGUE_KIND_MAX) && kinds_right(header) &&
	       ref_inside(header, header->capabilities, CATALOGUE_ERA_MAX) &&
	       ref_inside(header, &header->instructions, 1) &&
	       ref_inside(header, &header->view, 1);
}

static bool server_right(const struct catalogue *catalogue, const struct file_server *server)
{
	const struct file_header *header = catalogue->header;
	const struct text_ref refs[] = {server->name, server->upstream, server->version,
		server->capabilities, server->info, server->instructions, server->error,
		server->alike};

	if (server->late > 1 || server->state >= SERVER_STATE_MAX || server->isolation >= SERVER_ISOLATION_MAX ||
		server->transport >= SERVER_TRANSPORT_MAX || server->era >= CATALOGUE_ERA_MAX)
		return false;
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (!range_inside(server->kinds[kind], header->kinds[kind]))
			return false;
	return flags_are_bool(server->cache_private, CATALOGUE_KIND_MAX) &&
	       ref_inside(header, refs, sizeof(refs) / sizeof(refs[0]));
}

static bool item_right(const struct catalogue *catalogue, const struct file_item *item)
{
	const struct text_ref refs[] = {item->name, item->original, item->json};

	return item->server < catalogue->header->servers_len &&
	       ref_inside(catalogue->header, refs, sizeof(refs) / sizeof(refs[0])) &&
	       ref_within(item->name_token, item->json) && ref_within(item->schema, item->json) &&
	       ref_within(item->output_schema, item->json);
}

/* Strictly sorted by name, then number: so every item of the kind stands there, and once. */
static bool index_right(const struct catalogue *catalogue, struct kind_range range)
{
	for (uint32_t i = range.first; i < range.first + range.count; i++) {
		uint32_t item = catalogue->index[i], before;
		int c;

		if (item < range.first || item - range.first >= range.count)
			return false;
		if (i == range.first)
			continue;
		before = catalogue->index[i - 1];
		c = span_compare(text(catalogue, catalogue->items[before].name),
			text(catalogue, catalogue->items[item].name));
		if (c > 0 || (c == 0 && before >= item))
			return false;
	}
	return true;
}

static bool tables_right(const struct catalogue *catalogue)
{
	const struct file_header *header = catalogue->header;

	for (uint32_t i = 0; i < header->servers_len; i++)
		if (!server_right(catalogue, &catalogue->servers[i]))
			return false;
	for (uint32_t i = 0; i < header->items_len; i++)
		if (!item_right(catalogue, &catalogue->items[i]))
			return false;
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (!index_right(catalogue, header->kinds[kind]))
			return false;
	return true;
}

/* One catalogue, the first in bytes. */
static int examine(struct catalogue *catalogue, struct span bytes, struct err *err)
{
	const struct file_header *header = (const void *)bytes.p;

	if (bytes.len < sizeof(*header) || header->magic != CATALOGUE_MAGIC)
		return err_set(err, ERR_PROTOCOL, "not a catalogue");
	if (header->version != CATALOGUE_VERSION)
		return err_set(err, ERR_PROTOCOL, "a catalogue of format %u, known is %u",
			header->version, CATALOGUE_VERSION);
	if (header->size > bytes.len || !header_right(header))
		return err_set(err, ERR_PROTOCOL, "a catalogue with a damaged header");
	catalogue->bytes = bytes.p;
	catalogue->header = header;
	catalogue->servers = (const void *)(bytes.p + header->servers_at);
	catalogue->items = (const void *)(bytes.p + header->items_at);
	catalogue->index = (const void *)(bytes.p + header->index_at);
	if (!tables_right(catalogue))
		return err_set(err, ERR_PROTOCOL, "a catalogue with damaged tables");
	return 0;
}

/* The next catalogue in a file, cut off its beginning. Empty: there is none, or only a piece of one. */
static struct span next_part(struct span *rest)
{
	const struct file_header *header = (const void *)rest->p;
	struct span part = SPAN_NONE;
	size_t step;

	if (rest->len < sizeof(*header) || header->magic != CATALOGUE_MAGIC ||
		header->size < sizeof(*header) || header->size > rest->len)
		return part;
	part = span_of(rest->p, header->size);
	step = CATALOGUE_ALIGN(header->size) < rest->len ? CATALOGUE_ALIGN(header->size)
							 : rest->len;
	*rest = span_of(rest->p + step, rest->len - step);
	return part;
}

/* Nothing but catalogues, one behind the other. */
static bool is_complete(struct span whole)
{
	while (whole.len && next_part(&whole).len)
		;
	return whole.len == 0;
}

static struct span part_view(struct span part)
{
	const struct file_header *header = (const void *)part.p;
	struct text_ref view = header->view;

	if (view.len == 0 || !ref_inside(header, &view, 1))
		return SPAN_NONE;
	return span_of(part.p + view.at, view.len);
}

struct span catalogue_view_bytes(const struct catalogue *whole, struct span view)
{
	struct span rest = whole->whole, part;

	while ((part = next_part(&rest)).len)
		if (view.len && span_equal(part_view(part), view))
			return part;
	return SPAN_NONE;
}

int catalogue_select(struct catalogue *catalogue, struct span view, struct err *err)
{
	struct span part = catalogue_view_bytes(catalogue, view);
	struct catalogue selected = *catalogue;
	int r;

	if (!part.len)
		return err_set(err, ERR_NOT_FOUND, "the catalogue has no view of that name");
	r = examine(&selected, part, err);
	if (r == 0)
		*catalogue = selected;
	return r;
}

static int open_whole(struct catalogue *catalogue, struct span bytes, struct err *err)
{
	int r;

	if (bytes.len > CATALOGUE_BYTES_MAX)
		return err_set(err, ERR_TOO_LARGE, "a catalogue of %zu bytes", bytes.len);
	if ((uintptr_t)bytes.p % 8 != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "a catalogue that is not aligned");
	r = examine(catalogue, bytes, err);
	if (r == 0 && !is_complete(bytes))
		r = err_set(err, ERR_PROTOCOL, "a catalogue with a damaged header");
	catalogue->whole = bytes;
	return r;
}

/* Takes the mapping over, also on failure. */
static int catalogue_make(
	struct memfile file, struct span bytes, struct catalogue **ret_catalogue, struct err *err)
{
	struct catalogue *catalogue = calloc(1, sizeof(*catalogue));
	int r;

	if (!catalogue) {
		memfile_unmap(&file);
		return err_set(err, ERR_NO_MEMORY, "catalogue");
	}
	catalogue->file = file;
	r = open_whole(catalogue, bytes, err);
	if (r < 0) {
		catalogue_free(catalogue);
		return r;
	}
	*ret_catalogue = catalogue;
	return 0;
}

int catalogue_parse(struct span bytes, struct catalogue **ret_catalogue, struct err *err)
{
	return catalogue_make(MEMFILE_NONE, bytes, ret_catalogue, err);
}

int catalogue_open(int fd, struct catalogue **ret_catalogue, struct err *err)
{
	struct memfile file;
	int r = memfile_map(&file, fd, err);

	if (r < 0)
		return r;
	return catalogue_make(file, memfile_span(&file), ret_catalogue, err);
}

void catalogue_free(struct catalogue *catalogue)
{
	if (!catalogue)
		return;
	memfile_unmap(&catalogue->file);
	free(catalogue);
}

/* --- looking things up ---------------------------------------------------------------------- */

uint64_t catalogue_generation(const struct catalogue *catalogue)
{
	return catalogue->header->generation;
}

uint64_t catalogue_digest(const struct catalogue *catalogue)
{
	struct span rest = catalogue->whole, part;
	uint64_t digest = 0;

	while ((part = next_part(&rest)).len) {
		struct file_header header;

		memcpy(&header, part.p, sizeof(header));
		header.generation = 0;
		digest = hash64(&header, sizeof(header), digest);
		digest = hash64(part.p + sizeof(header), part.len - sizeof(header), digest);
	}
	return digest;
}

struct span catalogue_capabilities(const struct catalogue *catalogue, enum catalogue_era era)
{
	return era < CATALOGUE_ERA_MAX ? text(catalogue, catalogue->header->capabilities[era])
				       : SPAN_NONE;
}

struct span catalogue_instructions(const struct catalogue *catalogue)
{
	return text(catalogue, catalogue->header->instructions);
}

uint32_t catalogue_ttl_ms(
	const struct catalogue *catalogue, enum catalogue_kind kind, bool *ret_private)
{
	*ret_private = catalogue->header->cache_private[kind];
	return catalogue->header->ttl_ms[kind];
}

uint32_t catalogue_servers(const struct catalogue *catalogue)
{
	return catalogue->header->servers_len;
}

void catalogue_get_server(
	const struct catalogue *catalogue, uint32_t index, struct catalogue_server *ret_server)
{
	const struct file_server *row;

	*ret_server = (struct catalogue_server){.state = SERVER_DISABLED};
	if (index >= catalogue->header->servers_len)
		return;
	row = &catalogue->servers[index];
	*ret_server = (struct catalogue_server){
		.name = text(catalogue, row->name),
		.upstream = text(catalogue, row->upstream),
		.version = text(catalogue, row->version),
		.capabilities = text(catalogue, row->capabilities),
		.info = text(catalogue, row->info),
		.instructions = text(catalogue, row->instructions),
		.error = text(catalogue, row->error),
		.alike = text(catalogue, row->alike),
		.state = row->state,
		.isolation = row->isolation,
		.transport = row->transport,
		.era = row->era,
		.call_timeout_ms = row->call_timeout_ms,
		.start_timeout_ms = row->start_timeout_ms,
		.idle_ms = row->idle_ms,
		.late = row->late,
	};
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		ret_server->ttl_ms[kind] = row->ttl_ms[kind];
		ret_server->cache_private[kind] = row->cache_private[kind];
		ret_server->count[kind] = row->kinds[kind].count;
	}
}

int catalogue_find_server(const struct catalogue *catalogue, struct span name, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < catalogue->header->servers_len; i++)
		if (span_equal(text(catalogue, catalogue->servers[i].name), name)) {
			*ret_index = i;
			return 0;
		}
	return -ERR_NOT_FOUND;
}

bool catalogue_is_alike(
	const struct catalogue_server *server, uint64_t client, enum catalogue_kind kind)
{
	struct catalogue_alike row;

	for (size_t at = 0; at + sizeof(row) <= server->alike.len; at += sizeof(row)) {
		memcpy(&row, server->alike.p + at, sizeof(row));
		if (row.client == client)
			return row.kinds >> kind & 1;
	}
	return false;
}

static void item_view(
	const struct catalogue *catalogue, uint32_t number, struct catalogue_item *ret_item)
{
	const struct file_item *row = &catalogue->items[number];
	int kind = 0;

	while (number - catalogue->header->kinds[kind].first >=
		catalogue->header->kinds[kind].count)
		kind++;
	*ret_item = (struct catalogue_item){
		.kind = (enum catalogue_kind)kind,
		.server = row->server,
		.flags = row->flags,
		.name = text(catalogue, row->name),
		.original = text(catalogue, row->original),
		.json = text(catalogue, row->json),
		.name_token = text(catalogue, row->name_token),
		.schema = text(catalogue, row->schema),
		.output_schema = text(catalogue, row->output_schema),
		.digest = row->digest,
	};
}

static struct kind_range range_of(
	const struct catalogue *catalogue, enum catalogue_kind kind, uint32_t server)
{
	if (kind >= CATALOGUE_KIND_MAX)
		return (struct kind_range){0, 0};
	if (server == CATALOGUE_ALL_SERVERS)
		return catalogue->header->kinds[kind];
	if (server >= catalogue->header->servers_len)
		return (struct kind_range){0, 0};
	return catalogue->servers[server].kinds[kind];
}

uint32_t catalogue_count(
	const struct catalogue *catalogue, enum catalogue_kind kind, uint32_t server)
{
	return range_of(catalogue, kind, server).count;
}

bool catalogue_get(const struct catalogue *catalogue, enum catalogue_kind kind, uint32_t server,
	uint32_t n, struct catalogue_item *ret_item)
{
	struct kind_range range = range_of(catalogue, kind, server);

	if (n >= range.count)
		return false;
	item_view(catalogue, range.first + n, ret_item);
	return true;
}

/* First place in the kind's index whose name is not less. */
static uint32_t index_lower(
	const struct catalogue *catalogue, struct kind_range range, struct span name)
{
	uint32_t low = range.first, high = range.first + range.count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct file_item *item = &catalogue->items[catalogue->index[middle]];

		if (span_compare(text(catalogue, item->name), name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint32_t catalogue_find(const struct catalogue *catalogue, enum catalogue_kind kind,
	struct span name, struct catalogue_item *ret_items, uint32_t max)
{
	struct kind_range range = range_of(catalogue, kind, CATALOGUE_ALL_SERVERS);
	uint32_t found = 0;

	for (uint32_t i = index_lower(catalogue, range, name); i < range.first + range.count; i++) {
		uint32_t number = catalogue->index[i];

		if (!span_equal(text(catalogue, catalogue->items[number].name), name))
			break;
		if (found < max)
			item_view(catalogue, number, &ret_items[found]);
		found++;
	}
	return found;
}
