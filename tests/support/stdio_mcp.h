/*
 * The part that the scripted MCP servers of the tests share: a server on stdin and stdout that
 * answers initialize, ping and tools/list by itself and hands tools/call to a table of tools. One
 * client, one thread.
 *
 * Limits: a line of 8 MiB, 4096 delayed answers at once; a client that passes them ends the program
 * with status 3.
 */
#ifndef TESTS_STDIO_MCP_H
#define TESTS_STDIO_MCP_H

#include <cjson/cJSON.h>

struct stdio_mcp;

/* One row per tool. schema: the JSON text of its inputSchema. `id` is the JSON text of the
 * request's id. */
struct stdio_mcp_tool {
	const char *name;
	const char *description;
	const char *schema;
	void (*call)(struct stdio_mcp *mcp, const char *id, const cJSON *arguments);
};

struct stdio_mcp {
	const char *name;                   /* serverInfo.name */
	const struct stdio_mcp_tool *tools; /* ended by a row without a name */
	void *user;                         /* for the tools */
	void (*before_answer)(
		struct stdio_mcp *mcp); /* may be NULL; called before each answer is written */
	int linger;                     /* not zero: go on living after stdin has ended */
};

/* Serves until stdin ends; returns the exit status. */
int stdio_mcp_run(struct stdio_mcp *mcp);

/* Answers a tools/call with one text block, at once or `delay_ms` milliseconds later. */
void stdio_mcp_answer(struct stdio_mcp *mcp, const char *id, const char *text, int delay_ms);

/* A notification, `delay_ms` milliseconds from now, and then what follows. params: JSON. */
void stdio_mcp_notify(struct stdio_mcp *mcp, const char *method, const char *params, int delay_ms,
	void (*then)(struct stdio_mcp *mcp));

/* Writes all of it to a descriptor; ends the program when nobody reads any more. */
void stdio_mcp_write(int fd, const void *bytes, size_t size);

/* The value of a number or string argument, or the default. */
int stdio_mcp_int(const cJSON *arguments, const char *name, int otherwise);
const char *stdio_mcp_text(const cJSON *arguments, const char *name, const char *otherwise);

#endif
