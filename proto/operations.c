#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

/* Compared byte for byte: no padding, unused bytes zero. */
struct key {
	int32_t code;
	uint8_t method;
	char version[15];
	char tool[LIMIT_TOOL_NAME];
};

/* The handles are of the process that counts at present. */
struct row {
	struct key key;
	struct histogram took;
	UT_hash_handle hh;
};

struct table {
	unsigned n;
	struct row rows[OPERATIONS_MAX];
};

struct tool {
	UT_hash_handle hh;
	char name[LIMIT_TOOL_NAME + 1];
};

struct operations {
	struct table *table;
	struct row *by_key;
	struct tool *tools;
	unsigned max_tools;
};

size_t operations_size(void)
{
	return sizeof(struct table);
}

static struct tool *add_tool(struct operations *operations, struct span name)
{
	struct tool *tool = calloc(1, sizeof(*tool));

	if (!tool)
		return NULL;
	memcpy(tool->name, name.p, name.len);
	HASH_ADD_KEYPTR(hh, operations->tools, tool->name, name.len, tool);
	return tool;
}

static struct tool *find_tool(struct operations *operations, struct span name)
{
	struct tool *tool;

	HASH_FIND(hh, operations->tools, name.p, name.len, tool);
	return tool;
}

static struct span bounded(struct span name)
{
	return name.len > LIMIT_TOOL_NAME ? span_of(name.p, LIMIT_TOOL_NAME) : name;
}

struct operations *operations_new(void *memory)
{
	struct operations *operations = calloc(1, sizeof(*operations));

	if (!operations)
		return NULL;
	operations->table = memory;
	if (operations->table->n > OPERATIONS_MAX)
		operations->table->n = 0;
	for (unsigned i = 0; i < operations->table->n; i++) {
		struct row *row = &operations->table->rows[i];
		struct span tool = span_of(row->key.tool, strnlen(row->key.tool, LIMIT_TOOL_NAME));

		HASH_ADD(hh, operations->by_key, key, sizeof(row->key), row);
		if (tool.len && !span_is(tool, OPERATIONS_OTHER) && !find_tool(operations, tool))
			add_tool(operations, tool);
	}
	return operations;
}

void operations_free(struct operations *operations)
{
	struct tool *tool, *next;

	if (!operations)
		return;
	HASH_CLEAR(hh, operations->by_key);
	HASH_ITER (hh, operations->tools, tool, next) {
		HASH_DEL(operations->tools, tool);
		free(tool);
	}
	free(operations);
}

void operations_set_max_tools(struct operations *operations, unsigned max)
{
	operations->max_tools = max;
}

const char *operations_tool(struct operations *operations, struct span name)
{
	struct tool *tool;

	name = bounded(name);
	if (name.len == 0)
		return "";
	tool = find_tool(operations, name);
	if (!tool && HASH_COUNT(operations->tools) < operations->max_tools)
		tool = add_tool(operations, name);
	return tool ? tool->name : OPERATIONS_OTHER;
}

/* The row is whole before it counts as one: who counts may be killed at any time. */
static struct row *add_row(struct operations *operations, const struct key *key)
{
	struct table *table = operations->table;
	struct row *row = &table->rows[table->n];

	memset(row, 0, sizeof(*row));
	row->key = *key;
	__atomic_store_n(&table->n, table->n + 1, __ATOMIC_RELEASE);
	HASH_ADD(hh, operations->by_key, key, sizeof(row->key), row);
	return row;
}

/* The last places are kept for rows of methods alone. */
static struct row *get_row(struct operations *operations, struct key *key)
{
	struct row *row;

	HASH_FIND(hh, operations->by_key, key, sizeof(*key), row);
	if (row)
		return row;
	if (operations->table->n >= OPERATIONS_MAX - MCP_METHOD_MAX) {
		*key = (struct key){.method = key->method};
		HASH_FIND(hh, operations->by_key, key, sizeof(*key), row);
	}
	if (row || operations->table->n >= OPERATIONS_MAX)
		return row;
	return add_row(operations, key);
}

void operations_observe(struct operations *operations, enum mcp_method method, const char *tool,
	struct span version, int code, uint64_t took_us)
{
	struct key key;
	struct row *row;

	memset(&key, 0, sizeof(key));
	key.code = code;
	key.method = (uint8_t)method;
	sample_put(key.version, sizeof(key.version), version);
	sample_put(key.tool, sizeof(key.tool), span_str(tool));
	row = get_row(operations, &key);
	if (row)
		histogram_observe(&row->took, histogram_operation, took_us);
}

struct span operations_method(enum mcp_method method)
{
	return method > MCP_METHOD_NONE && method < MCP_METHOD_MAX ? mcp_method_info(method)->name
								   : SPAN_LIT(OPERATIONS_OTHER);
}

void operations_write(
	const struct operations *operations, const char *name, struct span labels, struct buf *out)
{
	operations_write_memory(operations->table, name, labels, out);
}

void operations_write_memory(
	const void *memory, const char *name, struct span labels, struct buf *out)
{
	const struct table *table = memory;
	struct buf all;
	char code[16];

	buf_init(&all, 4096);
	for (unsigned i = 0; i < table->n && i < OPERATIONS_MAX; i++) {
		const struct row *row = &table->rows[i];

		buf_clear(&all);
		sample_write_label(&all, "mcp_method_name",
			operations_method((enum mcp_method)row->key.method));
		sample_write_field(&all, "gen_ai_tool_name", row->key.tool, sizeof(row->key.tool));
		sample_write_field(&all, "mcp_protocol_version", row->key.version, sizeof(row->key.version));
		snprintf(code, sizeof(code), "%d", row->key.code);
		sample_write_field(&all, "error_type", row->key.code ? code : "", sizeof(code));
		if (labels.len) {
			buf_append_char(&all, ',');
			buf_append_span(&all, labels);
		}
		histogram_write(&row->took, histogram_operation, name, buf_span(&all), out);
	}
	buf_free(&all);
}
