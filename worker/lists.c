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

static enum catalogue_kind kind_of(enum mcp_method method)
{
	switch (method) {
	case MCP_RESOURCES_LIST:
		return CATALOGUE_RESOURCE;
	case MCP_TEMPLATES_LIST:
		return CATALOGUE_TEMPLATE;
	case MCP_PROMPTS_LIST:
		return CATALOGUE_PROMPT;
	default:
		return CATALOGUE_TOOL;
	}
}

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

/* From item first on. Returns the number of the item after the last one written; 0: that was the
 * last. */
static uint32_t write_items(
	struct worker *worker, enum catalogue_kind kind, uint32_t first, struct buf *out)
{
	struct own_walk walk = own_walk(worker, kind);
	uint32_t n = 0;
	struct span json;

	while (own_walk_next(&walk, &json)) {
		if (n < first) {
			n++;
			continue;
		}
		if (n - first >= PAGE_ITEMS || (out->len + json.len > PAGE_BYTES && n > first))
			return n;
		if (n > first)
			buf_append_char(out, ',');
		buf_append_span(out, json);
		n++;
	}
	return 0;
}

void list_request(struct request *request, struct span params)
{
	/* on a page further on, the list stays the one that was begun */
	if (json_object_get(params, SPAN_LIT("cursor")).len ||
		!own_lists_fetch(request, kind_of(request->method)))
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
	enum catalogue_kind kind = kind_of(request->method);
	uint32_t total = own_lists_count(worker, kind);
	uint32_t first, next;
	struct err err = {0};
	struct buf out;

	if (!POINT(FAN_OUT) && is_any_down(catalogue)) {
		request_refuse(request, ERR_SERVER_DOWN, "one of the servers is down");
		return;
	}
	if (read_cursor(params, total, &first, &err) < 0) {
		request_fail(request, &err, JSONRPC_EXECUTED_NO);
		return;
	}
	buf_init(&out, 2u * PAGE_BYTES);
	buf_append_char(&out, '{');
	if (request->era == MCP_MODERN) {
		bool is_private = true;
		uint32_t ttl = catalogue ? catalogue_ttl_ms(catalogue, kind, &is_private) : 0;

		modern_write_members(&out, ttl, is_private);
		buf_append_char(&out, ',');
	}
	buf_printf(&out, "\"%.*s\":[", SPAN_ARG(info->list));
	next = write_items(worker, kind, first, &out);
	buf_append_char(&out, ']');
	if (next)
		buf_printf(&out, ",\"nextCursor\":\"g%llx-%u\"",
			(unsigned long long)catalogue_generation(catalogue), next);
	if (buf_append_char(&out, '}') == 0) {
		request_result(request, buf_span(&out));
	} else {
		err_set(&err, ERR_TOO_LARGE, "the list is too large to be written");
		request_fail(request, &err, JSONRPC_EXECUTED_NO);
	}
	buf_free(&out);
}

bool list_differs(const struct catalogue *a, const struct catalogue *b, enum catalogue_kind kind)
{
	uint32_t na = a ? catalogue_count(a, kind, CATALOGUE_ALL_SERVERS) : 0;
	uint32_t nb = b ? catalogue_count(b, kind, CATALOGUE_ALL_SERVERS) : 0;
	struct catalogue_item x, y;

	if (na != nb)
		return true;
	for (uint32_t n = 0; n < na; n++)
		if (!catalogue_get(a, kind, CATALOGUE_ALL_SERVERS, n, &x) ||
			!catalogue_get(b, kind, CATALOGUE_ALL_SERVERS, n, &y) ||
			x.digest != y.digest || !span_equal(x.name, y.name))
			return true;
	return false;
}
