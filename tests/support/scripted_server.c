/*
 * An MCP server on stdin and stdout that does what its callers tell it, so that a test can script
 * both sides.
 *
 *     scripted_server [--pages N] [--circle] [--refuse CODE] [--version REVISION] [--mute] [--bare]
 *                     [--modern] [--silent] [--narrow] [--point] [--lenient]
 *
 * --pages N: the list of tools comes in pages of N; --circle: its cursors never end; --refuse:
 * initialize is refused;
 * --version: the revision it answers; --mute: never answers; --bare: has no capabilities but tools;
 * --modern: speaks revision 2026-07-28 alone; --silent: does not answer what it does not know;
 * --narrow: keeps ids in 32 bits; --point: reads them as doubles, and writes these with a point;
 * --lenient: what is no message is counted, else it exits.
 *
 * Tools (arguments are {"text","n","ms"}): echo, pid, whoami (what initialize said), state (what it
 * was told since), slow (answers after ms), hang (never answers), die (exits with n), deaf (closes
 * its stdin, answers, and exits after ms), progress (n notes, then the answer), log, garbage (lines that are no messages), cut (the answer byte by
 * byte), long (a line of n bytes), big (an answer of n bytes), changed (a tool more, and a note),
 * update (a note for uri text), ask (sends the request named text to the client and answers with
 * what it was told), unask (asks, then cancels), ping, stderr, rounds (--modern: asks by
 * input_required once, and answers with the params it is then called with), task (--modern: becomes
 * the task t1.x, of which tasks/get says with what params it was asked).
 */
#include "json.h"
#include "json_write.h"
#include "jsonrpc.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u * 1024u * 1024u)
#define SLOW_MAX 256

static struct {
	const char *version;
	unsigned pages;
	bool circle, mute, bare, modern, silent, narrow, point, lenient;
	char listen_id[64]; /* of subscriptions/listen */
	int refuse;
	unsigned extra_tools;
	char initialize[8192];
	char task[64];      /* the id of its task; "": t1.x */
	struct buf told;    /* what it was told, a JSON array's elements */
	char asked_for[64]; /* id of the call that waits for the client's answer */
	struct {
		long long due_ms;
		char id[64];
	} slow[SLOW_MAX];
} server = {.version = NULL};

static const char *const tool_names[] = {"echo", "pid", "whoami", "state", "slow", "hang", "die", "deaf",
	"progress", "log", "garbage", "cut", "long", "big", "changed", "update", "ask", "unask",
	"ping", "stderr", "rounds", "task"};
#define TOOLS (sizeof(tool_names) / sizeof(*tool_names))

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void put(const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n <= 0)
			exit(3);
		p += n;
		len -= (size_t)n;
	}
}

static void say(struct buf *line)
{
	buf_append_char(line, '\n');
	put(line->data, line->len);
	buf_free(line);
}

static void answer(struct span id, struct span result)
{
	struct buf line;

	buf_init(&line, LINE_MAX_BYTES);
	jsonrpc_write_result(&line, id, result);
	say(&line);
}

static void write_text(struct buf *result, struct span text)
{
	buf_append_str(result, "{\"content\":[{\"type\":\"text\",\"text\":");
	json_write_string(result, text);
	buf_append_str(result, "}]}");
}

static void answer_text(struct span id, struct span text)
{
	struct buf result;

	buf_init(&result, LINE_MAX_BYTES);
	write_text(&result, text);
	answer(id, buf_span(&result));
	buf_free(&result);
}

static void note(const char *method, const char *params)
{
	struct buf line;

	buf_init(&line, LINE_MAX_BYTES);
	jsonrpc_write_notification(&line, span_str(method), span_str(params));
	say(&line);
}

static void remember(struct span what)
{
	buf_printf(&server.told, "%s%.*s", server.told.len ? "," : "", SPAN_ARG(what));
}

/* --- lists ----------------------------------------------------------------------------------- */

static void list_tools(struct span id, struct span params)
{
	unsigned total = (unsigned)TOOLS + server.extra_tools, first = 0, last = total;
	struct span cursor = json_object_get(params, SPAN_LIT("cursor"));
	struct buf result;

	if (cursor.len > 2)
		first = (unsigned)atoi(cursor.p + 1);
	if (server.pages && first + server.pages < total)
		last = first + server.pages;
	buf_init(&result, 65536);
	buf_append_char(&result, '{');
	if (server.modern)
		buf_printf(&result, "\"resultType\":\"complete\",\"ttlMs\":%u,\"cacheScope\":\"%s\",",
			9000 - first, first > 2 ? "private" : "public");
	buf_append_str(&result, "\"tools\":[");
	for (unsigned i = first; i < last; i++)
		buf_printf(&result, "%s{\"name\":\"%s%.0u\",\"inputSchema\":{\"type\":\"object\"}}",
			i > first ? "," : "", i < TOOLS ? tool_names[i] : "extra",
			i < TOOLS ? 0 : i);
	buf_append_char(&result, ']');
	if (server.circle)
		buf_append_str(&result, ",\"nextCursor\":\"0\"");
	else if (last < total)
		buf_printf(&result, ",\"nextCursor\":\"%u\"", last);
	buf_append_char(&result, '}');
	answer(id, buf_span(&result));
	buf_free(&result);
}

static void initialize(struct span id, struct span params)
{
	struct buf result;

	snprintf(server.initialize, sizeof(server.initialize), "%.*s", SPAN_ARG(params));
	buf_init(&result, 65536);
	if (server.modern)
		server.refuse = -32022;
	if (server.refuse) {
		jsonrpc_write_error(
			&result, id, server.refuse, SPAN_LIT("not like this"), SPAN_NONE);
		say(&result);
		return;
	}
	buf_append_str(&result, "{\"protocolVersion\":");
	if (server.version)
		json_write_string(&result, span_str(server.version));
	else
		buf_append_span(&result, json_object_get(params, SPAN_LIT("protocolVersion")));
	buf_append_str(&result, server.bare ? ",\"capabilities\":{\"tools\":{}}"
					    : ",\"capabilities\":{\"tools\":{\"listChanged\":true},"
					      "\"prompts\":{},\"logging\":{},"
					      "\"resources\":{\"subscribe\":true}}");
	buf_append_str(&result, ",\"serverInfo\":{\"name\":\"scripted\",\"version\":\"1\"},"
				"\"instructions\":\"Say what to do.\"}");
	answer(id, buf_span(&result));
	buf_free(&result);
}

#define CAPABILITIES \
	"{\"tools\":{\"listChanged\":true},\"prompts\":{},\"logging\":{}," \
	"\"resources\":{\"subscribe\":true}}"

static void discover(struct span id)
{
	answer(id,
		SPAN_LIT("{\"resultType\":\"complete\",\"ttlMs\":7,\"cacheScope\":\"public\","
			 "\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":" CAPABILITIES
			 ",\"instructions\":\"Say what to do.\",\"_meta\":{\"io.modelcontextprotocol/"
			 "serverInfo\":{\"name\":\"scripted\",\"version\":\"2\"}}}"));
}

static void listen(const struct jsonrpc *msg)
{
	char params[256];

	snprintf(server.listen_id, sizeof(server.listen_id), "%.*s", SPAN_ARG(msg->id));
	snprintf(params, sizeof(params),
		"{\"notifications\":{},\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%s}}",
		server.listen_id);
	remember(msg->params);
	note("notifications/subscriptions/acknowledged", params);
}

/* --- tools ----------------------------------------------------------------------------------- */

struct work {
	struct span id, params, text_token, text;
	int64_t n, ms;
};

static void do_deaf(const struct work *work)
{
	close(STDIN_FILENO);
	answer_text(work->id, work->text);
	poll(NULL, 0, (int)work->ms);
	exit(0);
}

static void do_slow(const struct work *work)
{
	for (int i = 0; i < SLOW_MAX; i++)
		if (!server.slow[i].due_ms) {
			server.slow[i].due_ms = now_ms() + work->ms;
			snprintf(server.slow[i].id, sizeof(server.slow[i].id), "%.*s",
				SPAN_ARG(work->id));
			return;
		}
	exit(4);
}

static void do_progress(const struct work *work)
{
	struct span token = json_path(work->params, "_meta", "progressToken", NULL);
	char params[200];

	for (int64_t i = 1; i <= work->n; i++) {
		snprintf(params, sizeof(params),
			"{\"progressToken\":%.*s,\"progress\":%lld,\"total\":%lld}",
			SPAN_ARG(token), (long long)i, (long long)work->n);
		note("notifications/progress", params);
	}
	answer_text(work->id, token);
}

static void do_cut(const struct work *work)
{
	struct buf result, line;

	buf_init(&result, 65536);
	buf_init(&line, 65536);
	write_text(&result, work->text);
	jsonrpc_write_result(&line, work->id, buf_span(&result));
	buf_append_char(&line, '\n');
	for (size_t i = 0; i < line.len; i++) {
		put(line.data + i, 1);
		usleep(200);
	}
	buf_free(&result);
	buf_free(&line);
}

static void do_long(const struct work *work)
{
	char *block = malloc((size_t)work->n);

	memset(block, 'x', (size_t)work->n);
	put(block, (size_t)work->n);
	free(block);
}

static void do_big(const struct work *work)
{
	char *block = malloc((size_t)work->n);

	memset(block, 'y', (size_t)work->n);
	answer_text(work->id, span_of(block, (size_t)work->n));
	free(block);
}

static void do_ask(const struct work *work, bool take_back)
{
	struct buf line;

	snprintf(server.asked_for, sizeof(server.asked_for), "%.*s", SPAN_ARG(work->id));
	buf_init(&line, 65536);
	jsonrpc_write_request_raw(
		&line, SPAN_LIT("\"q\\u0031\""), work->text, SPAN_LIT("{\"x\":1.50}"));
	say(&line);
	if (take_back)
		note("notifications/cancelled",
			"{\"requestId\":\"q1\",\"reason\":\"changed my mind\"}");
}

static void do_rounds(const struct work *work)
{
	if (json_object_get(work->params, SPAN_LIT("requestState")).len)
		answer_text(work->id, work->params);
	else
		answer(work->id,
			SPAN_LIT("{\"resultType\":\"input_required\",\"inputRequests\":{\"k\\u0031\":"
				 "{\"method\":\"elicitation/create\",\"params\":{\"message\":\"m\","
				 "\"x\":1.50}}},\"requestState\":\"s\\u0031 \\/ 1\"}"));
}

#define TASK_STATE "\"status\":\"working\",\"ttlMs\":60000,\"createdAt\":\"1\""

static void do_task(const struct work *work)
{
	struct buf line;

	if (work->text.len > 0)
		snprintf(server.task, sizeof(server.task), "%.*s", SPAN_ARG(work->text));
	buf_init(&line, 65536);
	buf_printf(&line,
		"{\"resultType\":\"task\",\"taskId\":\"%s\"," TASK_STATE ",\"pid\":%d}",
		work->text.len > 0 ? server.task : "t\\u0031.x", (int)getpid());
	answer(work->id, buf_span(&line));
	buf_free(&line);
}

static void get_task(const struct jsonrpc *msg)
{
	struct span id = json_object_get(msg->params, SPAN_LIT("taskId"));
	struct buf line;

	buf_init(&line, 65536);
	if (!json_equal_string(id, span_str(server.task[0] ? server.task : "t1.x"))) {
		jsonrpc_write_error(
			&line, msg->id, -32602, SPAN_LIT("Task not found"), SPAN_NONE);
		say(&line);
		return;
	}
	buf_printf(&line, "{\"resultType\":\"complete\",\"taskId\":%.*s," TASK_STATE ",\"pid\":%d,\"with\":",
		SPAN_ARG(id), (int)getpid());
	buf_append_span(&line, msg->params);
	buf_append_char(&line, '}');
	answer(msg->id, buf_span(&line));
	buf_free(&line);
}

static void do_state(const struct work *work)
{
	struct buf text;

	buf_init(&text, LINE_MAX_BYTES);
	buf_append_char(&text, '[');
	buf_append_span(&text, buf_span(&server.told));
	buf_append_char(&text, ']');
	answer_text(work->id, buf_span(&text));
	buf_free(&text);
}

static void do_note(const struct work *work, const char *name)
{
	struct buf params;

	buf_init(&params, 65536);
	if (strcmp(name, "update") == 0) {
		buf_printf(&params, "{\"uri\":%.*s}", SPAN_ARG(work->text_token));
		buf_append_char(&params, '\0');
		note("notifications/resources/updated", params.data);
	} else if (strcmp(name, "log") == 0) {
		note("notifications/message", "{\"level\":\"info\",\"data\":\"hello\"}");
	} else if (strcmp(name, "changed") == 0) {
		server.extra_tools++;
		note("notifications/tools/list_changed", "");
	} else if (strcmp(name, "garbage") == 0) {
		static const char garbage[] =
			"Listening...\n\n{\"half\": \n[1,2,\n\xff\xfe\x01\n\"text\"\n42\n[]\n";

		put(garbage, sizeof(garbage) - 1);
	} else if (strcmp(name, "stderr") == 0) {
		fprintf(stderr, "%.*s\n", SPAN_ARG(work->text));
	}
	buf_free(&params);
	answer_text(work->id, SPAN_LIT("done"));
}

static void call(struct span id, struct span params)
{
	struct span arguments = json_object_get(params, SPAN_LIT("arguments"));
	struct span name = json_object_get(params, SPAN_LIT("name"));
	struct work work = {.id = id,
		.params = params,
		.text_token = json_object_get(arguments, SPAN_LIT("text"))};
	char tool[64] = "", pid[32];
	struct buf text;

	buf_init(&text, LINE_MAX_BYTES);
	json_string_append(work.text_token, &text);
	work.text = buf_span(&text);
	json_get_int64(json_object_get(arguments, SPAN_LIT("n")), &work.n);
	json_get_int64(json_object_get(arguments, SPAN_LIT("ms")), &work.ms);
	snprintf(tool, sizeof(tool), "%.*s", name.len > 2 ? (int)name.len - 2 : 0,
		name.len > 2 ? name.p + 1 : "");
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (server.modern)
		snprintf(server.initialize, sizeof(server.initialize), "%.*s", SPAN_ARG(params));
	if (strcmp(tool, "echo") == 0)
		answer_text(id, work.text);
	else if (strcmp(tool, "pid") == 0)
		answer_text(id, span_str(pid));
	else if (strcmp(tool, "whoami") == 0)
		answer_text(id, span_str(server.initialize));
	else if (strcmp(tool, "state") == 0)
		do_state(&work);
	else if (strcmp(tool, "rounds") == 0)
		do_rounds(&work);
	else if (strcmp(tool, "task") == 0)
		do_task(&work);
	else if (strcmp(tool, "slow") == 0)
		do_slow(&work);
	else if (strcmp(tool, "die") == 0)
		exit((int)work.n);
	else if (strcmp(tool, "deaf") == 0)
		do_deaf(&work);
	else if (strcmp(tool, "progress") == 0)
		do_progress(&work);
	else if (strcmp(tool, "cut") == 0)
		do_cut(&work);
	else if (strcmp(tool, "long") == 0)
		do_long(&work);
	else if (strcmp(tool, "big") == 0)
		do_big(&work);
	else if (strcmp(tool, "ask") == 0 || strcmp(tool, "unask") == 0)
		do_ask(&work, strcmp(tool, "unask") == 0);
	else if (strcmp(tool, "ping") == 0)
		do_ask(&(struct work){.id = id, .text = SPAN_LIT("ping")}, false);
	else if (strcmp(tool, "hang") != 0)
		do_note(&work, tool);
	buf_free(&text);
}

/* --- messages -------------------------------------------------------------------------------- */

static void take_request(const struct jsonrpc *msg)
{
	if (server.modern && span_is(msg->method, "server/discover"))
		discover(msg->id);
	else if (server.modern && span_is(msg->method, "subscriptions/listen"))
		listen(msg);
	else if (server.silent && span_is(msg->method, "server/discover"))
		return;
	else if (span_is(msg->method, "initialize"))
		initialize(msg->id, msg->params);
	else if (span_is(msg->method, "tools/list"))
		list_tools(msg->id, msg->params);
	else if (span_is(msg->method, "tools/call"))
		call(msg->id, msg->params);
	else if (server.modern && span_is(msg->method, "tasks/get"))
		get_task(msg);
	else if (span_is(msg->method, "resources/list"))
		answer(msg->id,
			SPAN_LIT("{\"resources\":[{\"uri\":\"test://a\",\"name\":\"a\"}]}"));
	else if (span_is(msg->method, "prompts/list"))
		answer(msg->id, SPAN_LIT("{\"prompts\":[]}"));
	else if (span_is(msg->method, "resources/templates/list") ||
		 span_is(msg->method, "server/discover")) {
		struct buf line;

		buf_init(&line, 4096);
		jsonrpc_write_error(
			&line, msg->id, -32601, SPAN_LIT("Method not found"), SPAN_NONE);
		say(&line);
	} else {
		remember(msg->body);
		answer(msg->id, SPAN_LIT("{}"));
	}
}

/* What becomes of a request's id in a server that keeps it as a number of its language. */
static struct span kept_id(struct span id)
{
	static char text[64];
	uint64_t number;

	if (!(server.narrow || server.point) || jsonrpc_id_uint64(id, &number) < 0)
		return id;
	snprintf(text, sizeof(text), server.point ? "%u.0" : "%u", (unsigned)number);
	return span_str(text);
}

static void take(struct span line)
{
	struct jsonrpc msg;

	if (jsonrpc_parse(line, &msg, NULL) < 0) {
		if (!server.lenient)
			exit(5);
		remember(SPAN_LIT("\"no message\""));
		return;
	}
	if (server.mute)
		return;
	if (msg.kind == JSONRPC_REQUEST) {
		msg.id = kept_id(msg.id);
		take_request(&msg);
	} else if (jsonrpc_is_reply(&msg)) {
		if (server.lenient)
			remember(msg.body);
		answer_text(span_str(server.asked_for), msg.body);
	} else {
		remember(msg.body);
	}
}

static void answer_slow(void)
{
	for (int i = 0; i < SLOW_MAX; i++)
		if (server.slow[i].due_ms && server.slow[i].due_ms <= now_ms()) {
			server.slow[i].due_ms = 0;
			answer_text(span_str(server.slow[i].id), SPAN_LIT("slow"));
		}
}

static void run(void)
{
	static struct buf in;

	buf_init(&in, LINE_MAX_BYTES);
	for (;;) {
		struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
		char *end;
		ssize_t n;

		if (poll(&input, 1, 5) == 0) {
			answer_slow();
			continue;
		}
		if (buf_reserve(&in, 65536) < 0)
			exit(6);
		n = read(STDIN_FILENO, in.data + in.len, 65536);
		if (n <= 0)
			return;
		in.len += (size_t)n;
		while ((end = memchr(in.data, '\n', in.len))) {
			take(span_of(in.data, (size_t)(end - in.data)));
			buf_consume(&in, (size_t)(end - in.data) + 1);
		}
		answer_slow();
	}
}

int main(int argc, char **argv)
{
	buf_init(&server.told, LINE_MAX_BYTES);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--pages") == 0 && i + 1 < argc)
			server.pages = (unsigned)atoi(argv[++i]);
		else if (strcmp(argv[i], "--refuse") == 0 && i + 1 < argc)
			server.refuse = atoi(argv[++i]);
		else if (strcmp(argv[i], "--version") == 0 && i + 1 < argc)
			server.version = argv[++i];
		else if (strcmp(argv[i], "--circle") == 0)
			server.circle = true;
		else if (strcmp(argv[i], "--mute") == 0)
			server.mute = true;
		else if (strcmp(argv[i], "--modern") == 0)
			server.modern = true;
		else if (strcmp(argv[i], "--silent") == 0)
			server.silent = true;
		else if (strcmp(argv[i], "--narrow") == 0)
			server.narrow = true;
		else if (strcmp(argv[i], "--point") == 0)
			server.point = true;
		else if (strcmp(argv[i], "--lenient") == 0)
			server.lenient = true;
		else if (strcmp(argv[i], "--bare") == 0)
			server.bare = true;
	}
	run();
	return 0;
}
