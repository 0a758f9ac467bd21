/*
 * How fast the gateway reads JSON: json_check() in MB/s on several kinds of text, and the whole way
 * of a message (check, classify, splice the id) in nanoseconds. Run: bench_json [seconds per line,
 * default 0.5].
 */
#include "buf.h"
#include "json.h"
#include "jsonrpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TEXT_MAX (4u << 20)

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_json: %s\n", what);
	exit(EXIT_FAILURE);
}

static void must(int r)
{
	if (r < 0)
		die(err_reason(r));
}

/* One string of n times the piece. */
static void text_string(struct buf *out, const char *piece, size_t n)
{
	must(buf_append_char(out, '"'));
	while (n-- > 0)
		must(buf_append_str(out, piece));
	must(buf_append_char(out, '"'));
}

static void text_ascii(struct buf *out)
{
	text_string(out, "The quick brown fox jumps over the lazy dog. ", 20000);
}

static void text_base64(struct buf *out)
{
	text_string(out, "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", 20000);
}

static void text_cjk(struct buf *out)
{
	text_string(out, "\xe4\xb8\x96\xe7\x95\x8c\xe4\xbd\xa0\xe5\xa5\xbd", 60000);
}

static void text_latin(struct buf *out)
{
	text_string(out,
		"Gr\xc3\xbc\xc3\x9f"
		"e aus M\xc3\xbcnchen, sch\xc3\xb6ne Stra\xc3\x9f"
		"en. ",
		20000);
}

static void text_escaped(struct buf *out)
{
	text_string(out, "line of code;\\n\\tanother \\\"one\\\"\\n", 20000);
}

/* What tools/list returns: schemas, descriptions, small objects. */
static void text_tools(struct buf *out)
{
	must(buf_append_str(out, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"tools\":["));
	for (int i = 0; i < 500; i++)
		must(buf_printf(out,
			"%s{\"name\":\"tool_%d\",\"description\":\"Reads a file and returns its "
			"text, with line "
			"numbers if so "
			"asked.\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"path\":{"
			"\"type\":\"string\",\"description\":\"absolute "
			"path\"},\"limit\":{\"type\":\"integer\","
			"\"minimum\":1,\"maximum\":2000}},\"required\":[\"path\"]},\"annotations\":"
			"{"
			"\"readOnlyHint\":true}}",
			i ? "," : "", i));
	must(buf_append_str(out, "]}}"));
}

static void text_numbers(struct buf *out)
{
	must(buf_append_char(out, '['));
	for (int i = 0; i < 50000; i++)
		must(buf_printf(out, "%s%d.%d", i ? ", " : "", i * 37, i % 1000));
	must(buf_append_char(out, ']'));
}

static void text_pretty(struct buf *out)
{
	must(buf_append_str(out, "[\n"));
	for (int i = 0; i < 10000; i++)
		must(buf_printf(out,
			"%s    {\n        \"id\": %d,\n        \"ok\": true,\n        \"name\": "
			"\"x\"\n    }",
			i ? ",\n" : "", i));
	must(buf_append_str(out, "\n]\n"));
}

static void bench_check(const char *name, void (*make)(struct buf *), double seconds)
{
	struct buf text;
	double start, spent;
	unsigned long n = 0;

	buf_init(&text, TEXT_MAX);
	make(&text);
	start = now();
	do {
		must(json_check(buf_span(&text), 128, NULL));
		n++;
	} while ((spent = now() - start) < seconds);
	printf("json_check  %-16s %8zu bytes  %8.0f MB/s\n", name, text.len,
		(double)text.len * (double)n / spent / 1e6);
	buf_free(&text);
}

static struct span message(struct buf *text, size_t payload)
{
	must(buf_append_str(text, "{\"jsonrpc\":\"2.0\",\"id\":12345,\"method\":\"tools/"
				  "call\",\"params\":{\"name\":\"echo\","
				  "\"arguments\":{\"path\":\"/tmp/x\",\"text\":\""));
	while (payload-- > 0)
		must(buf_append_char(text, 'x'));
	must(buf_append_str(text, "\"},\"_meta\":{\"progressToken\":1}}}"));
	return buf_span(text);
}

/* Parse, find the name, put in another id and another name. */
static void one_message(struct span body, struct buf *out)
{
	struct json_edit edits[2] = {
		{.with = SPAN_LIT("4294967297")}, {.with = SPAN_LIT("\"server__echo\"")}};
	struct jsonrpc msg;

	must(jsonrpc_parse(body, &msg, NULL));
	edits[0].at = msg.id;
	edits[1].at = json_object_get(msg.params, SPAN_LIT("name"));
	json_edit_sort(edits, 2);
	buf_clear(out);
	must(json_splice(body, edits, 2, out));
}

static void bench_message(size_t payload, double seconds)
{
	struct buf text, out;
	struct span body;
	double start, spent;
	unsigned long n = 0;

	buf_init(&text, TEXT_MAX);
	buf_init(&out, TEXT_MAX);
	body = message(&text, payload);
	start = now();
	do {
		for (int i = 0; i < 100; i++)
			one_message(body, &out);
		n += 100;
	} while ((spent = now() - start) < seconds);
	printf("message     parse and splice %8zu bytes  %8.0f ns\n", body.len,
		spent / (double)n * 1e9);
	buf_free(&text);
	buf_free(&out);
}

static void bench_hostile(void)
{
	size_t n = 100000;
	char *text = malloc(n);
	double start;

	if (!text)
		die("no memory");
	memset(text, '[', n);
	start = now();
	for (int i = 0; i < 1000; i++)
		if (json_check(span_of(text, n), 128, NULL) != -ERR_TOO_DEEP)
			die("deep nesting was not refused");
	printf("hostile     100,000 brackets refused in %.0f ns\n", (now() - start) / 1000 * 1e9);
	free(text);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*make)(struct buf *);
	} rows[] = {
		{"ASCII string", text_ascii},
		{"base64 string", text_base64},
		{"CJK string", text_cjk},
		{"Latin string", text_latin},
		{"escaped string", text_escaped},
		{"tools/list", text_tools},
		{"numbers", text_numbers},
		{"pretty-printed", text_pretty},
	};
	static const size_t payloads[] = {16, 512, 16384, 1000000};
	double seconds = argc > 1 ? atof(argv[1]) : 0.5;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		bench_check(rows[i].name, rows[i].make, seconds);
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		bench_message(payloads[i], seconds);
	bench_hostile();
	return EXIT_SUCCESS;
}
