/*
 * Durations of MCP requests by the attributes of OpenTelemetry's semantic conventions for MCP, in
 * the form that Prometheus gives to their names: mcp_method_name, gen_ai_tool_name,
 * mcp_protocol_version, error_type. Sets of labels are bounded: beyond max_tools tools, further
 * ones are _other.
 */
#ifndef GATEHOUSE_OPERATIONS_H
#define GATEHOUSE_OPERATIONS_H

#include "bounds.h"
#include "histogram.h"
#include "mcp.h"

/* Sets of labels. What comes beyond them has no tool, no version, and then is not counted. */
#define OPERATIONS_MAX 4096u
/* The value of labels that are too many. */
#define OPERATIONS_OTHER "_other"

struct operations;

/* Bytes of memory that the rows need. */
size_t operations_size(void);
/*
 * On memory (borrowed, aligned as malloc's) that is all zeros, or was counted in by another process
 * of the same build that is gone: then it goes on. NULL when memory is out.
 */
struct operations *operations_new(void *memory);
/* NULL is accepted. The memory stays as it is. */
void operations_free(struct operations *operations);
/* Tools with a label of their own. */
void operations_set_max_tools(struct operations *operations, unsigned max);

/*
 * The label for a tool: its name (cut at LIMIT_TOOL_NAME), OPERATIONS_OTHER, or "" for none. Lives
 * as long as operations.
 */
const char *operations_tool(struct operations *operations, struct span name);

/* code: of the JSON-RPC error, 0 for none. tool: from operations_tool. */
void operations_observe(struct operations *operations, enum mcp_method method, const char *tool,
	struct span version, int code, uint64_t took_us);

/* Append all as a histogram of that name; labels: further ones for each, or empty. */
void operations_write(
	const struct operations *operations, const char *name, struct span labels, struct buf *out);
/* The same of what stands in memory that another process has, or had, for its operations. */
void operations_write_memory(
	const void *memory, const char *name, struct span labels, struct buf *out);

/* The value of the label mcp_method_name: methods that MCP does not know share one. */
struct span operations_method(enum mcp_method method);

#endif
