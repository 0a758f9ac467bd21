#include "lists.h"
#include "json_write.h"
#include "modern.h"
#include "own_lists.h"
#include "points.h"
#include "worker.h"

#include <stdio.h>

/* Items on one page: few clients follow cursors well, so a page is long; a hostile catalogue still
 * cannot make it endless. */
#define PAGE_ITEMS 1000u
#define PAGE_BYTES (32u * 1024 * 1024)
/* What is written of a page beside its items, at most. */
#define PAGE_REST 65536u
/* Of servers that have nothing in a list, the names that are told, and where (MCP, _meta). */
#define LEFT_OUT_MAX 256u
#define LEFT_OUT_KEY "gatehouse/leftOut"

/* A cursor is "g<generation>-<first item>": one of another catalogue still leads to the same place
 * or is refused. */
static int read_cursor(struct span params, uint32_t total, uint32_t *ret_first, struct err *err)
{
	struct span cursor = json_object_get(params, SPAN_LIT("cursor"));
	unsigned long long generation;
	char text[64];
	struct span copy;
	int end = 0;

	*ret_first = 0;
	if (!cursor.len || json_type(cursor) == JSON_NULL)
		return 0;
	if (json_string_copy(cursor, text, sizeof(text) - 1, &copy) == 0) {
		text[copy.len] = '\0';
		if (sscanf(text, "g%llx-%u%n", &generation, ret_first, &end) == 2 &&
			(size_t)end == copy.len && *ret_first > 0 && *ret_first < total)
			return 0;
	}
	return err_set(err, ERR_INVALID_PARAMS,
		"the cursor is not one that a list of this server gave out");
}

struct page {
	struct span items[PAGE_ITEMS];
	unsigned n;
	size_t bytes;
};

/* From item first on. Returns the number of the item after the last one; 0: that was the last. */
static uint32_t take_page(
	struct worker *worker, enum catalogue_kind kind, uint32_t first, struct page *page)
{
	struct own_walk walk = own_walk(worker, kind);
	struct span json;

	page->n = 0;
	page->bytes = 0;
	for (uint32_t n = 0; own_walk_next(&walk, &json); n++) {
		if (n < first)
			continue;
		if (page->n == PAGE_ITEMS || (page->bytes + json.len > PAGE_BYTES && page->n > 0))
			return n;
		page->items[page->n++] = json;
		page->bytes += json.len + 1;
	}
	return 0;
}

static void write_page(const struct page *page, struct buf *out)
{
	buf_reserve(out, page->bytes + PAGE_REST);
	for (unsigned i = 0; i < page->n; i++) {
		if (i > 0)
			buf_append_char(out, ',');
		buf_append_span(out, page->items[i]);
	}
}

/* Has it lists of this kind, as far as is known, and none of them is here? */
static bool is_left_out(const struct catalogue_server *server, enum catalogue_kind kind)
{
	static const char *const capabilities[CATALOGUE_KIND_MAX] = {
		"tools", "resources", "resources", "prompts"};

	if (server->state == SERVER_UP || server->state == SERVER_DISABLED ||
		server->count[kind] > 0)
		return false;
	return !server->capabilities.len || mcp_capable(server->capabilities, capabilities[kind]);
}

/* A list without them is better than none, and says so. */
static void write_left_out(
	const struct catalogue *catalogue, enum catalogue_kind kind, struct buf *out)
{
	uint32_t n = catalogue ? catalogue_servers(catalogue) : 0;
	struct catalogue_server server;
	unsigned found = 0;

	for (uint32_t i = 0; i < n && found < LEFT_OUT_MAX; i++) {
		catalogue_get_server(catalogue, i, &server);
		if (!is_left_out(&server, kind))
			continue;
		buf_append_str(out, found++ ? "," : "\"_meta\":{\"" LEFT_OUT_KEY "\":[");
		json_write_string(out, server.name);
	}
	if (found)
		buf_append_str(out, "]},");
}

void list_request(struct request *request, struct span params)
{
	/* on a page further on, the list stays the one that was begun */
	if (json_object_get(params, SPAN_LIT("cursor")).len ||
		!own_lists_fetch(request, catalogue_kind_of(request->method)))
		list_answer(request, params);
}

static bool is_any_down(const struct catalogue *catalogue)
{
	struct catalogue_server server;

	for (uint32_t i = 0; catalogue && i < catalogue_servers(catalogue); i++) {
		catalogue_get_server(catalogue, i, &server);
		if (server.state == SERVER_DOWN)
			return true;
	}
	return false;
}

void list_answer(struct request *request, struct span params)
{
	struct worker *worker = request->worker;
	const struct catalogue *catalogue = worker->catalogue;
	const struct mcp_method_info *info = mcp_method_info(request->method);
	enum catalogue_kind kind = catalogue_kind_of(request->method);
	uint32_t total = own_lists_count(worker, kind);
	uint32_t first, next;
	struct err err = {0};
	struct page page;
	struct buf out;

	if (!POINT(FAN_OUT) && is_any_down(catalogue)) {
		request_refuse(request, ERR_SERVER_DOWN, "one of the servers is down");
		return;
	}
	if (read_cursor(params, total, &first, &err) < 0) {
		request_fail(request, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	next = take_page(worker, kind, first, &page);
	buf_init(&out, 2u * PAGE_BYTES);
	request_begin_result(request, &out);
	buf_append_char(&out, '{');
	if (request->era == MCP_MODERN) {
		bool is_private = true;
		uint32_t ttl = catalogue ? catalogue_ttl_ms(catalogue, kind, &is_private) : 0;

		modern_write_members(&out, ttl, is_private);
		buf_append_char(&out, ',');
	}
	write_left_out(catalogue, kind, &out);
	buf_printf(&out, "\"%.*s\":[", SPAN_ARG(info->list));
	write_page(&page, &out);
	buf_append_char(&out, ']');
	if (next)
		buf_printf(&out, ",\"nextCursor\":\"g%llx-%u\"",
			(unsigned long long)catalogue_generation(catalogue), next);
	if (buf_append_str(&out, "}}") == 0) {
		request_answer(request, buf_span(&out));
	} else {
		err_set(&err, ERR_TOO_LARGE, "the list is too large to be written");
		request_fail(request, &err, JSONRPC_EXECUTED_NO);
	}
	buf_free(&out);
}

bool list_part_differs(const struct catalogue *a, uint32_t server_a, const struct catalogue *b,
	uint32_t server_b, enum catalogue_kind kind)
{
	uint32_t na = a ? catalogue_count(a, kind, server_a) : 0;
	uint32_t nb = b ? catalogue_count(b, kind, server_b) : 0;
	struct catalogue_item x, y;

	if (na != nb)
		return true;
	for (uint32_t n = 0; n < na; n++)
		if (!catalogue_get(a, kind, server_a, n, &x) ||
			!catalogue_get(b, kind, server_b, n, &y) || x.digest != y.digest ||
			!span_equal(x.name, y.name))
			return true;
	return false;
}

bool list_differs(const struct catalogue *a, const struct catalogue *b, enum catalogue_kind kind)
{
	return list_part_differs(a, CATALOGUE_ALL_SERVERS, b, CATALOGUE_ALL_SERVERS, kind);
}
