/*
 * An MCP server on stdin and stdout whose executions can be counted from outside.
 *
 *     counting_server FILE
 *
 * Tool count: {key, delay_ms}. Appends "KEY BORN\n" to FILE with one write (born: a number that no
 * other process has), then answers "counted KEY", after delay_ms milliseconds if given. Each line in
 * FILE is one execution, whatever became of the answer. Tool ticks: {count, every_ms}. Answers, then
 * says count log messages, numbered from 1, that belong to no call. Tool crash: ends by SIGSEGV
 * without an answer. Tool quit: exits 0 without an answer.
 */
#include "stdio_mcp.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int file = -1;
static long long born_ns;

static struct {
	int said, count, every_ms;
} ticks;

static void count(struct stdio_mcp *mcp, const char *id, const cJSON *arguments)
{
	const char *key = stdio_mcp_text(arguments, "key", "");
	char line[256];
	char said[256];
	int n = snprintf(line, sizeof line, "%.200s %lld\n", key, born_ns);
	stdio_mcp_write(file, line, (size_t)n);
	snprintf(said, sizeof said, "counted %.200s", key);
	stdio_mcp_answer(mcp, id, said, stdio_mcp_int(arguments, "delay_ms", 0));
}

static void next_tick(struct stdio_mcp *mcp)
{
	char params[64];
	if (ticks.said >= ticks.count)
		return;
	snprintf(params, sizeof params, "{\"level\":\"info\",\"data\":{\"tick\":%d}}", ++ticks.said);
	stdio_mcp_notify(mcp, "notifications/message", params, ticks.every_ms, next_tick);
}

static void start_ticks(struct stdio_mcp *mcp, const char *id, const cJSON *arguments)
{
	ticks.said = 0;
	ticks.count = stdio_mcp_int(arguments, "count", 1);
	ticks.every_ms = stdio_mcp_int(arguments, "every_ms", 10);
	stdio_mcp_answer(mcp, id, "ticking", 0);
	next_tick(mcp);
}

static void crash(struct stdio_mcp *mcp, const char *id, const cJSON *arguments)
{
	(void)mcp;
	(void)id;
	(void)arguments;
	raise(SIGSEGV);
}

static void quit(struct stdio_mcp *mcp, const char *id, const cJSON *arguments)
{
	(void)mcp;
	(void)id;
	(void)arguments;
	exit(0);
}

#define NO_ARGUMENTS "{\"type\":\"object\",\"properties\":{}}"

static const struct stdio_mcp_tool tools[] = {
	{"count", "Counts an execution",
		"{\"type\":\"object\",\"properties\":{\"key\":{\"type\":\"string\"},"
		"\"delay_ms\":{\"type\":\"integer\"}},\"required\":[\"key\"]}",
		count},
	{"ticks", "Says log messages",
		"{\"type\":\"object\",\"properties\":{\"count\":{\"type\":\"integer\"},"
		"\"every_ms\":{\"type\":\"integer\"}}}",
		start_ticks},
	{"crash", "Dies by a signal", NO_ARGUMENTS, crash},
	{"quit", "Exits", NO_ARGUMENTS, quit},
	{0},
};

int main(int argc, char **argv)
{
	struct stdio_mcp mcp = {.name = "counting", .tools = tools};
	struct timespec now;
	if (argc != 2) {
		fprintf(stderr, "usage: counting_server FILE\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	born_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
	file = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (file < 0) {
		perror(argv[1]);
		return 1;
	}
	return stdio_mcp_run(&mcp);
}
