/*
 * See stdio_mcp.h.
 */
#include "stdio_mcp.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINE (8u * 1024u * 1024u)
#define MAX_DELAYED 4096
#define EXIT_LIMIT 3

struct delayed {
	int64_t due_ms;
	char *line;
	void (*then)(struct stdio_mcp *mcp); /* or NULL */
};

static struct {
	char *bytes;
	size_t used;
	size_t room;
	struct delayed delayed[MAX_DELAYED];
	size_t delayed_count;
} in;

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void stdio_mcp_write(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;
	while (size > 0) {
		ssize_t n = write(fd, at, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			exit(0);
		at += n;
		size -= (size_t)n;
	}
}

int stdio_mcp_int(const cJSON *arguments, const char *name, int otherwise)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(arguments, name);
	return cJSON_IsNumber(value) ? value->valueint : otherwise;
}

const char *stdio_mcp_text(const cJSON *arguments, const char *name, const char *otherwise)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(arguments, name);
	return cJSON_IsString(value) ? value->valuestring : otherwise;
}

static void say(struct stdio_mcp *mcp, const char *line)
{
	if (mcp->before_answer)
		mcp->before_answer(mcp);
	stdio_mcp_write(STDOUT_FILENO, line, strlen(line));
}

/* {"jsonrpc":"2.0","id":ID,"MEMBER":BODY}\n, to be freed. */
static char *make_line(const char *id, const char *member, const char *body)
{
	char *line = NULL;
	if (asprintf(&line, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"%s\":%s}\n", id, member, body) < 0)
		abort();
	return line;
}

static void answer(struct stdio_mcp *mcp, const char *id, const char *member, const char *body)
{
	char *line = make_line(id, member, body);
	say(mcp, line);
	free(line);
}

/* Takes line over. */
static void say_later(
	struct stdio_mcp *mcp, char *line, int delay_ms, void (*then)(struct stdio_mcp *mcp))
{
	if (delay_ms <= 0 && !then) {
		say(mcp, line);
		free(line);
		return;
	}
	if (in.delayed_count == MAX_DELAYED)
		exit(EXIT_LIMIT);
	in.delayed[in.delayed_count++] = (struct delayed){now_ms() + delay_ms, line, then};
}

void stdio_mcp_answer(struct stdio_mcp *mcp, const char *id, const char *text, int delay_ms)
{
	cJSON *result = cJSON_CreateObject();
	cJSON *block = cJSON_CreateObject();
	cJSON_AddStringToObject(block, "type", "text");
	cJSON_AddStringToObject(block, "text", text);
	cJSON_AddItemToArray(cJSON_AddArrayToObject(result, "content"), block);
	char *body = cJSON_PrintUnformatted(result);
	char *line = make_line(id, "result", body);
	cJSON_free(body);
	cJSON_Delete(result);
	say_later(mcp, line, delay_ms, NULL);
}

void stdio_mcp_notify(struct stdio_mcp *mcp, const char *method, const char *params, int delay_ms,
	void (*then)(struct stdio_mcp *mcp))
{
	char *line = NULL;
	if (asprintf(&line, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":%s}\n", method,
		    params) < 0)
		abort();
	say_later(mcp, line, delay_ms, then);
}

/* What is due first, or NULL. */
static struct delayed *first_delayed(void)
{
	struct delayed *first = NULL;
	for (size_t i = 0; i < in.delayed_count; i++)
		if (!first || in.delayed[i].due_ms < first->due_ms)
			first = &in.delayed[i];
	return first;
}

/* Says what is due; returns milliseconds until the next is, or -1. */
static int say_due(struct stdio_mcp *mcp)
{
	int64_t now = now_ms();
	struct delayed *first;
	while ((first = first_delayed()) && first->due_ms <= now) {
		struct delayed due = *first;
		*first = in.delayed[--in.delayed_count];
		say(mcp, due.line);
		free(due.line);
		if (due.then)
			due.then(mcp);
	}
	return first ? (int)(first->due_ms - now) : -1;
}

static void initialize(struct stdio_mcp *mcp, const char *id, const cJSON *params)
{
	const char *version = stdio_mcp_text(params, "protocolVersion", "2025-11-25");
	char *body = NULL;
	if (asprintf(&body,
		    "{\"protocolVersion\":\"%s\",\"capabilities\":{\"tools\":{}},"
		    "\"serverInfo\":{\"name\":\"%s\",\"version\":\"1.0.0\"}}",
		    version, mcp->name) < 0)
		abort();
	answer(mcp, id, "result", body);
	free(body);
}

static void list_tools(struct stdio_mcp *mcp, const char *id)
{
	cJSON *result = cJSON_CreateObject();
	cJSON *list = cJSON_AddArrayToObject(result, "tools");
	for (const struct stdio_mcp_tool *t = mcp->tools; t->name; t++) {
		cJSON *tool = cJSON_CreateObject();
		cJSON_AddStringToObject(tool, "name", t->name);
		cJSON_AddStringToObject(tool, "description", t->description);
		cJSON_AddRawToObject(tool, "inputSchema", t->schema);
		cJSON_AddItemToArray(list, tool);
	}
	char *body = cJSON_PrintUnformatted(result);
	answer(mcp, id, "result", body);
	cJSON_free(body);
	cJSON_Delete(result);
}

static void call_tool(struct stdio_mcp *mcp, const char *id, const cJSON *params)
{
	const char *name = stdio_mcp_text(params, "name", "");
	for (const struct stdio_mcp_tool *t = mcp->tools; t->name; t++) {
		if (strcmp(t->name, name) != 0)
			continue;
		t->call(mcp, id, cJSON_GetObjectItemCaseSensitive(params, "arguments"));
		return;
	}
	answer(mcp, id, "error", "{\"code\":-32602,\"message\":\"Unknown tool\"}");
}

static void dispatch(struct stdio_mcp *mcp, const cJSON *message)
{
	const char *method = stdio_mcp_text(message, "method", NULL);
	const cJSON *id_item = cJSON_GetObjectItemCaseSensitive(message, "id");
	const cJSON *params = cJSON_GetObjectItemCaseSensitive(message, "params");
	if (!method || !id_item)
		return;
	char *id = cJSON_PrintUnformatted(id_item);
	if (strcmp(method, "initialize") == 0)
		initialize(mcp, id, params);
	else if (strcmp(method, "ping") == 0)
		answer(mcp, id, "result", "{}");
	else if (strcmp(method, "tools/list") == 0)
		list_tools(mcp, id);
	else if (strcmp(method, "tools/call") == 0)
		call_tool(mcp, id, params);
	else
		answer(mcp, id, "error", "{\"code\":-32601,\"message\":\"Method not found\"}");
	cJSON_free(id);
}

static void take_lines(struct stdio_mcp *mcp)
{
	char *at = in.bytes;
	char *end = in.bytes + in.used;
	char *newline;
	while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
		cJSON *message = cJSON_ParseWithLength(at, (size_t)(newline - at));
		if (message)
			dispatch(mcp, message);
		cJSON_Delete(message);
		at = newline + 1;
	}
	in.used = (size_t)(end - at);
	memmove(in.bytes, at, in.used);
}

/* Returns 0 at the end of stdin. */
static int read_some(struct stdio_mcp *mcp)
{
	if (in.room - in.used < 65536) {
		if (in.room >= MAX_LINE)
			exit(EXIT_LIMIT);
		in.room = in.room ? in.room * 2 : 131072;
		in.bytes = realloc(in.bytes, in.room);
		if (!in.bytes)
			abort();
	}
	ssize_t n = read(STDIN_FILENO, in.bytes + in.used, in.room - in.used);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	in.used += (size_t)n;
	take_lines(mcp);
	return n > 0;
}

int stdio_mcp_run(struct stdio_mcp *mcp)
{
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
	int open = 1;
	signal(SIGPIPE, SIG_IGN);
	while (open || mcp->linger) {
		int wait_ms = say_due(mcp);
		if (!open) {
			poll(NULL, 0, wait_ms < 0 ? 1000 : wait_ms);
			continue;
		}
		if (poll(&pfd, 1, wait_ms) > 0)
			open = read_some(mcp);
	}
	return 0;
}
