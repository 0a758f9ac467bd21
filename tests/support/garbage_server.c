/*
 * An MCP server on stdin and stdout that misbehaves in one way.
 *
 *     garbage_server MODE [MARK]
 *
 * MARK is ignored; it lets a test find the process, and what it left behind, by its command line.
 *
 *     noise        works, with lines that are not JSON before every answer
 *     twice        works, but says every answer twice, and answers questions nobody asked
 *     half         prints half a line, then nothing for ever
 *     long         one line of 100 MB
 *     random       bytes without meaning, for ever
 *     exit         exits 0 at once
 *     deaf         never reads
 *     mute         reads, never answers
 *     stubborn     works, ignores SIGTERM and the end of stdin
 *     daemon       works, and leaves behind a daemon (double fork, own session) that ignores
 * SIGTERM flood        works, and writes notifications as fast as it can flood_stderr works, and
 * writes to stderr as fast as it can crashy       works for three calls, dies by SIGSEGV in the
 * fourth
 *
 * What works has the tool echo {text, delay_ms}.
 */
#include "stdio_mcp.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONG_LINE (100u * 1024u * 1024u)
#define CRASHY_CALLS 3

static int calls_left = -1;
static const char *twice;

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void echo(struct stdio_mcp *mcp, const char *id, const cJSON *arguments)
{
	if (calls_left == 0)
		raise(SIGSEGV);
	if (calls_left > 0)
		calls_left--;
	int delay_ms = stdio_mcp_int(arguments, "delay_ms", 0);
	const char *text = stdio_mcp_text(arguments, "text", "");
	stdio_mcp_answer(mcp, id, text, delay_ms);
	if (twice) {
		stdio_mcp_answer(mcp, id, twice, delay_ms);
		stdio_mcp_answer(mcp, "987654321", twice, delay_ms);
		stdio_mcp_answer(mcp, "\"never asked\"", twice, delay_ms);
	}
}

static const struct stdio_mcp_tool tools[] = {
	{"echo", "Says the text again",
		"{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"},"
		"\"delay_ms\":{\"type\":\"integer\"}}}",
		echo},
	{0},
};

static struct stdio_mcp server = {.name = "garbage", .tools = tools};

static void make_noise(struct stdio_mcp *mcp)
{
	static const char noise[] =
		"Listening on stdio...\n\n{\"half\": \n[1,2,\n\xff\xfe\x01\n\"text\"\n42\n";
	(void)mcp;
	stdio_mcp_write(STDOUT_FILENO, noise, sizeof noise - 1);
}

static int run_noise(void)
{
	server.before_answer = make_noise;
	return stdio_mcp_run(&server);
}

static int run_twice(void)
{
	twice = "a second answer";
	return stdio_mcp_run(&server);
}

static int run_half(void)
{
	static const char half[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"resu";
	stdio_mcp_write(STDOUT_FILENO, half, sizeof half - 1);
	wait_for_ever();
	return 0;
}

static int run_long(void)
{
	static char block[65536];
	memset(block, 'x', sizeof block);
	for (size_t done = 0; done < LONG_LINE; done += sizeof block)
		stdio_mcp_write(STDOUT_FILENO, block, sizeof block);
	stdio_mcp_write(STDOUT_FILENO, "\n", 1);
	wait_for_ever();
	return 0;
}

static int run_random(void)
{
	static unsigned char block[65536];
	unsigned int seed = 12345;
	for (;;) {
		for (size_t i = 0; i < sizeof block; i++)
			block[i] = (unsigned char)(rand_r(&seed) >> 7);
		stdio_mcp_write(STDOUT_FILENO, block, sizeof block);
	}
	return 0;
}

static int run_exit(void)
{
	return 0;
}

static int run_deaf(void)
{
	wait_for_ever();
	return 0;
}

static int run_mute(void)
{
	static char block[65536];
	while (read(STDIN_FILENO, block, sizeof block) > 0)
		continue;
	return 0;
}

static int run_stubborn(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	server.linger = 1;
	return stdio_mcp_run(&server);
}

static void leave_daemon_behind(void)
{
	pid_t pid = fork();
	if (pid != 0)
		return;
	setsid();
	if (fork() != 0)
		_exit(0);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	for (int fd = 0; fd < 64; fd++)
		close(fd);
	wait_for_ever();
}

static int run_daemon(void)
{
	leave_daemon_behind();
	return stdio_mcp_run(&server);
}

static void *flood(void *arg)
{
	const int *fd = arg;
	static const char line[] =
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":"
		"{\"level\":\"info\",\"data\":\"flood flood flood flood flood flood flood\"}}\n";
	for (;;)
		stdio_mcp_write(*fd, line, sizeof line - 1);
	return NULL;
}

/* Whole lines of less than PIPE_BUF bytes are written at once,
 * so the two threads never mix theirs. */
static int run_flooding(int fd)
{
	static int where;
	pthread_t thread;
	where = fd;
	signal(SIGPIPE, SIG_IGN);
	if (pthread_create(&thread, NULL, flood, &where) != 0)
		return 1;
	return stdio_mcp_run(&server);
}

static int run_flood(void)
{
	return run_flooding(STDOUT_FILENO);
}

static int run_flood_stderr(void)
{
	return run_flooding(STDERR_FILENO);
}

static int run_crashy(void)
{
	calls_left = CRASHY_CALLS;
	return stdio_mcp_run(&server);
}

static const struct {
	const char *name;
	int (*run)(void);
} modes[] = {
	{"noise", run_noise},
	{"twice", run_twice},
	{"half", run_half},
	{"long", run_long},
	{"random", run_random},
	{"exit", run_exit},
	{"deaf", run_deaf},
	{"mute", run_mute},
	{"stubborn", run_stubborn},
	{"daemon", run_daemon},
	{"flood", run_flood},
	{"flood_stderr", run_flood_stderr},
	{"crashy", run_crashy},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc >= 2 && i < sizeof modes / sizeof modes[0]; i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			return modes[i].run();
	fprintf(stderr, "usage: garbage_server MODE [MARK]\nmodes:");
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
		fprintf(stderr, " %s", modes[i].name);
	fprintf(stderr, "\n");
	return 2;
}
