/*
 * Lists tools as clients do, all pages, one list after the other, and tells how long the first list
 * of a session takes, and each further one. Sessions stay open until the end. The last line of
 * output is JSON.
 *
 *     lister --port PORT [--sessions N] [--lists N] [--stateless] [--hold] [--client NAME]
 *            [--call TOOL --calls N]
 *
 * --hold: after the lists, wait for the end of stdin. --call: then call this tool of the first
 * session so many times.
 */
#include "histogram.h"
#include "scan.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_MESSAGE (64u * 1024u * 1024u)
#define READ_SIZE (256u * 1024u)
#define MODERN_META \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
	"\"io.modelcontextprotocol/clientCapabilities\":{}}"

struct session {
	int fd;
	char id[160];
};

static struct {
	int port;
	int sessions, lists, calls;
	bool stateless, hold;
	const char *client;
	const char *tool;
	struct histogram first, further, called;
	unsigned long items, pages, bytes; /* of the last list */
	unsigned long left_out;            /* lists that said that servers are missing */
	unsigned long failures;
	struct buf in, out, body, scratch;
} lister = {.sessions = 1, .lists = 1, .client = "lister"};

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "lister: %s\n", what);
	exit(1);
}

static void open_connection(struct session *s)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)lister.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0)
		die("no connection");
}

static void send_all(const struct session *s)
{
	for (size_t at = 0; at < lister.out.len;) {
		ssize_t n =
			send(s->fd, lister.out.data + at, lister.out.len - at, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			die("the connection broke");
		at += n > 0 ? (size_t)n : 0;
	}
}

/* The body of the answer to what is sent; it lives until the next. */
static struct span receive(struct session *s)
{
	struct wire_head head = {0};
	struct span body = SPAN_NONE;
	size_t used;
	enum wire_state state = WIRE_MORE;
	buf_clear(&lister.in);
	while (state == WIRE_MORE) {
		if (buf_reserve(&lister.in, READ_SIZE) < 0)
			die("an answer is too large");
		ssize_t n = recv(s->fd, lister.in.data + lister.in.len, READ_SIZE, 0);
		if (n <= 0)
			die("the connection broke");
		lister.in.len += (size_t)n;
		struct span bytes = buf_span(&lister.in);
		state = wire_read_head(bytes, &head);
		if (state != WIRE_DONE)
			continue;
		if (head.length > 0 && bytes.len < head.size + (size_t)head.length)
			state = WIRE_MORE;
		else
			state = wire_read_body(&head,
				span_of(bytes.p + head.size, bytes.len - head.size),
				&lister.scratch, &body, &used);
	}
	if (state == WIRE_BAD)
		die("what answers speaks no HTTP");
	if (head.session.len && head.session.len < sizeof s->id)
		snprintf(s->id, sizeof s->id, "%.*s", SPAN_ARG(head.session));
	return head.events ? wire_last_event(body) : body;
}

/* Sends lister.body. */
static struct span post(struct session *s, const char *method, const char *name)
{
	buf_clear(&lister.out);
	buf_printf(&lister.out,
		"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
		"Accept: application/json, text/event-stream\r\nContent-Length: %zu\r\n",
		lister.port, lister.body.len);
	if (lister.stateless)
		buf_printf(&lister.out,
			"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: %s\r\n", method);
	if (lister.stateless && name)
		buf_printf(&lister.out, "Mcp-Name: %s\r\n", name);
	if (s->id[0])
		buf_printf(&lister.out,
			"MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: %s\r\n", s->id);
	buf_append_str(&lister.out, "\r\n");
	buf_append_span(&lister.out, buf_span(&lister.body));
	send_all(s);
	return receive(s);
}

static void begin(struct session *s)
{
	open_connection(s);
	if (lister.stateless)
		return;
	buf_clear(&lister.body);
	buf_printf(&lister.body,
		"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{"
		"\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"roots\":{}},"
		"\"clientInfo\":{\"name\":\"%s\",\"version\":\"1\"}}}",
		lister.client);
	if (!scan_member(post(s, "initialize", NULL), "result").len)
		die("initialize was refused");
	buf_clear(&lister.body);
	buf_append_str(&lister.body,
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}");
	post(s, "notifications/initialized", NULL);
}

static unsigned long count(struct span text, const char *word)
{
	unsigned long n = 0;
	size_t len = strlen(word);
	const char *p = text.p, *end = text.p + text.len;
	while (p < end && (p = memmem(p, (size_t)(end - p), word, len))) {
		n++;
		p += len;
	}
	return n;
}

static void write_list(const char *cursor)
{
	buf_clear(&lister.body);
	buf_append_str(&lister.body,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{");
	if (cursor[0])
		buf_printf(&lister.body, "\"cursor\":\"%s\"%s", cursor, lister.stateless ? "," : "");
	buf_printf(&lister.body, "%s}}", lister.stateless ? MODERN_META : "");
}

/* All pages. Returns the time on the wire; reading what came is left out. */
static uint64_t list(struct session *s)
{
	char cursor[128] = "";
	uint64_t spent = 0;
	lister.items = lister.pages = lister.bytes = 0;
	do {
		write_list(cursor);
		uint64_t start = now_us();
		struct span answer = post(s, "tools/list", NULL);
		spent += now_us() - start;
		struct span result = scan_member(answer, "result");
		struct span next = scan_string(result, "nextCursor");
		if (!result.len || next.len >= sizeof cursor)
			die("the list was refused");
		lister.items += count(result, "\"inputSchema\":");
		lister.bytes += result.len;
		lister.pages++;
		if (count(result, "\"gatehouse/leftOut\""))
			lister.left_out++;
		snprintf(cursor, sizeof cursor, "%.*s", SPAN_ARG(next));
	} while (cursor[0]);
	return spent;
}

static void call(struct session *s)
{
	buf_clear(&lister.body);
	buf_printf(&lister.body,
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\","
		"\"arguments\":{\"size\":64}%s%s}}",
		lister.tool, lister.stateless ? "," : "", lister.stateless ? MODERN_META : "");
	uint64_t start = now_us();
	struct span answer = post(s, "tools/call", lister.tool);
	histogram_add(&lister.called, now_us() - start);
	lister.failures += !scan_member(answer, "result").len;
}

static void print_histogram(const char *name, const struct histogram *h)
{
	if (h->count)
		printf("\"%s\":{\"count\":%lu,\"p50_us\":%lu,\"p99_us\":%lu,\"max_us\":%lu},", name,
			(unsigned long)h->count, (unsigned long)histogram_at(h, 0.5),
			(unsigned long)histogram_at(h, 0.99), (unsigned long)h->max_us);
}

static void report(void)
{
	printf("{");
	print_histogram("first", &lister.first);
	print_histogram("further", &lister.further);
	print_histogram("called", &lister.called);
	printf("\"items\":%lu,\"pages\":%lu,\"bytes\":%lu,\"left_out\":%lu,\"failures\":%lu}\n",
		lister.items, lister.pages, lister.bytes, lister.left_out, lister.failures);
	fflush(stdout);
}

static bool read_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'},
		{"sessions", required_argument, NULL, 's'},
		{"lists", required_argument, NULL, 'l'},
		{"stateless", no_argument, NULL, 'm'},
		{"hold", no_argument, NULL, 'h'},
		{"client", required_argument, NULL, 'c'},
		{"call", required_argument, NULL, 't'},
		{"calls", required_argument, NULL, 'n'},
		{0},
	};
	int c;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'p':
			lister.port = atoi(optarg);
			break;
		case 's':
			lister.sessions = atoi(optarg);
			break;
		case 'l':
			lister.lists = atoi(optarg);
			break;
		case 'm':
			lister.stateless = true;
			break;
		case 'h':
			lister.hold = true;
			break;
		case 'c':
			lister.client = optarg;
			break;
		case 't':
			lister.tool = optarg;
			break;
		case 'n':
			lister.calls = atoi(optarg);
			break;
		default:
			return false;
		}
	}
	return lister.port > 0 && lister.sessions > 0;
}

int main(int argc, char **argv)
{
	if (!read_options(argc, argv)) {
		fprintf(stderr, "usage: lister --port PORT [--sessions N] [--lists N] …\n");
		return 2;
	}
	struct session *sessions = calloc((size_t)lister.sessions, sizeof *sessions);
	if (!sessions)
		return 1;
	buf_init(&lister.in, MAX_MESSAGE);
	buf_init(&lister.out, MAX_MESSAGE);
	buf_init(&lister.body, MAX_MESSAGE);
	buf_init(&lister.scratch, MAX_MESSAGE);
	for (int i = 0; i < lister.sessions; i++) {
		begin(&sessions[i]);
		for (int n = 0; n < lister.lists; n++)
			histogram_add(n ? &lister.further : &lister.first, list(&sessions[i]));
	}
	for (int n = 0; lister.tool && n < lister.calls; n++)
		call(&sessions[0]);
	report();
	while (lister.hold && getchar() != EOF)
		;
	free(sessions);
	return 0;
}
