/*
 * Load generator: N connections, each an MCP session that calls a tool back to back or at a rate,
 * and checks every answer: its id, its length, each of its letters. With a rate, latency counts
 * from the moment a call was due, so that a slow server cannot hide calls that were never sent. The
 * last line of output is JSON.
 */
#include "histogram.h"
#include "load_options.h"
#include "scan.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_MESSAGE (8u * 1024u * 1024u)
#define READ_SIZE 16384u
#define EVENTS 256
#define LEGACY_VERSION "2025-11-25"
#define MODERN_VERSION "2026-07-28"

enum state { CLOSED, CONNECTING, INITIALIZING, ANNOUNCING, IDLE, CALLING };

enum failure {
	FAIL_CONNECT,
	FAIL_CLOSED,
	FAIL_HTTP,
	FAIL_ERROR,
	FAIL_WRONG,
	FAIL_TIMEOUT,
	FAIL_MAX
};

static const char *const failure_names[FAIL_MAX] = {
	"connect", "closed", "http", "error", "wrong", "timeout"};

struct connection {
	int fd;
	enum state state;
	bool waits_to_write;
	char session[160];
	unsigned long id;      /* of the request on its way */
	uint64_t sent_us;      /* when it was sent, or due */
	uint64_t owed;         /* calls that are due and not sent (with a rate) */
	uint64_t first_due_us; /* when the oldest of them was due */
	unsigned long calls;
	struct buf in;
	struct buf out;
};

static struct {
	struct load_options options;
	int epoll;
	struct connection *connections;
	int opened; /* connections that have begun to open */
	int open;   /* whose session is open */
	int opening;
	uint64_t start_us; /* measured time begins */
	uint64_t end_us;
	uint64_t tickets; /* calls that have come due (with a rate) */
	bool running;
	struct histogram latency;
	uint64_t failures[FAIL_MAX];
	struct buf scratch;
	struct buf body;
} load;

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool measured(uint64_t us)
{
	return load.running && us >= load.start_us && us < load.end_us;
}

static void drop(struct connection *c, enum failure why)
{
	if (c->state < IDLE && c->state != CLOSED)
		load.opening--;
	else if (c->state != CLOSED)
		load.open--;
	if (!load.running || measured(now_us()))
		load.failures[why]++;
	close(c->fd);
	c->fd = -1;
	c->state = CLOSED;
	c->waits_to_write = false;
	buf_clear(&c->in);
	buf_clear(&c->out);
}

static void watch(struct connection *c, int operation, bool write)
{
	struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
	epoll_ctl(load.epoll, operation, c->fd, &event);
	c->waits_to_write = write;
}

static void connect_to(struct connection *c)
{
	int on = 1;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		perror("load: socket");
		exit(1);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	const struct sockaddr_in *to = &load.options.address;
	int r = connect(c->fd, (const struct sockaddr *)to, sizeof *to);
	c->state = CONNECTING;
	c->sent_us = now_us();
	load.opening++;
	if (r < 0 && errno != EINPROGRESS) {
		drop(c, FAIL_CONNECT);
		return;
	}
	watch(c, EPOLL_CTL_ADD, true);
}

static void flush(struct connection *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			drop(c, FAIL_CLOSED);
			return;
		}
		if (n < 0)
			break;
		buf_consume(&c->out, (size_t)n);
	}
	if ((c->out.len > 0) != c->waits_to_write)
		watch(c, EPOLL_CTL_MOD, c->out.len > 0);
}

/* Sends load.body. */
static void post(struct connection *c, const char *method, const char *name)
{
	const struct load_options *o = &load.options;
	buf_printf(&c->out,
		"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
		"Accept: application/json, text/event-stream\r\nContent-Length: %zu\r\n",
		o->path, o->host, load.body.len);
	if (o->stateless) {
		buf_printf(&c->out,
			"MCP-Protocol-Version: " MODERN_VERSION "\r\nMcp-Method: %s\r\n", method);
		if (name)
			buf_printf(&c->out, "Mcp-Name: %s\r\n", name);
	} else if (c->state != INITIALIZING) {
		buf_append_str(&c->out, "MCP-Protocol-Version: " LEGACY_VERSION "\r\n");
		if (c->session[0])
			buf_printf(&c->out, "Mcp-Session-Id: %s\r\n", c->session);
	}
	buf_append_str(&c->out, "\r\n");
	buf_append_span(&c->out, buf_span(&load.body));
	flush(c);
}

static void initialize(struct connection *c)
{
	c->state = INITIALIZING;
	c->id++;
	buf_clear(&load.body);
	buf_printf(&load.body,
		"{\"jsonrpc\":\"2.0\",\"id\":%lu,\"method\":\"initialize\",\"params\":{"
		"\"protocolVersion\":\"" LEGACY_VERSION
		"\",\"capabilities\":{},\"clientInfo\":{\"name\":\"load\",\"version\":\"1\"}}}",
		c->id);
	post(c, "initialize", NULL);
}

static void announce(struct connection *c)
{
	c->state = ANNOUNCING;
	buf_clear(&load.body);
	buf_append_str(
		&load.body, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}");
	post(c, "notifications/initialized", NULL);
}

static void call(struct connection *c, uint64_t due_us)
{
	const struct load_options *o = &load.options;
	c->state = CALLING;
	c->sent_us = due_us;
	c->id++;
	buf_clear(&load.body);
	buf_printf(&load.body,
		"{\"jsonrpc\":\"2.0\",\"id\":%lu,\"method\":\"tools/"
		"call\",\"params\":{\"name\":\"%s\",\"arguments\":"
		"{\"size\":%d}",
		c->id, o->tool, o->size);
	if (o->stateless)
		buf_append_str(&load.body,
			",\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"" MODERN_VERSION
			"\",\"io.modelcontextprotocol/clientCapabilities\":{}}");
	buf_append_str(&load.body, "}}");
	post(c, "tools/call", o->tool);
}

static uint64_t due_of(uint64_t ticket)
{
	return load.start_us - (uint64_t)(load.options.warmup_s * 1e6) +
	       (uint64_t)((double)ticket * 1e6 / load.options.rate);
}

/* The next call of a connection that has nothing on its way. */
static void go_on(struct connection *c)
{
	c->state = IDLE;
	if (load.options.hold) {
		if (c->calls == 0)
			call(c, now_us());
		return;
	}
	if (!load.running)
		return;
	if (load.options.rate == 0) {
		call(c, now_us());
		return;
	}
	if (c->owed == 0)
		return;
	uint64_t due = c->first_due_us;
	c->owed--;
	c->first_due_us += (uint64_t)((double)load.options.connections * 1e6 / load.options.rate);
	call(c, due);
}

static void opened(struct connection *c)
{
	load.opening--;
	load.open++;
	go_on(c);
}

static bool answer_is_right(struct connection *c, struct span json)
{
	char id[24];
	snprintf(id, sizeof id, "%lu", c->id);
	if (!span_is(scan_member(json, "id"), id))
		return false;
	struct span content = scan_member(scan_member(json, "result"), "content");
	if (content.len < 2)
		return false;
	struct span text = scan_string(span_of(content.p + 1, content.len - 2), "text");
	if (text.len != (size_t)load.options.size)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.p[i] != 'x')
			return false;
	return true;
}

static void take_call_answer(struct connection *c, const struct wire_head *head, struct span json)
{
	uint64_t now = now_us();
	bool counts = measured(now);
	c->calls++;
	if (head->status != 200)
		load.failures[FAIL_HTTP] += counts;
	else if (answer_is_right(c, json))
		counts ? histogram_add(&load.latency, now - c->sent_us) : (void)0;
	else
		load.failures[scan_member(json, "error").len ? FAIL_ERROR : FAIL_WRONG] += counts;
	go_on(c);
}

static void take_answer(struct connection *c, const struct wire_head *head, struct span body)
{
	struct span json = head->events ? wire_last_event(body) : body;
	switch (c->state) {
	case INITIALIZING:
		if (head->status != 200 || scan_member(json, "result").len == 0) {
			drop(c, FAIL_HTTP);
			return;
		}
		snprintf(c->session, sizeof c->session, "%.*s", SPAN_ARG(head->session));
		announce(c);
		return;
	case ANNOUNCING:
		if (head->status != 202) {
			drop(c, FAIL_HTTP);
			return;
		}
		opened(c);
		return;
	case CALLING:
		take_call_answer(c, head, json);
		return;
	default:
		drop(c, FAIL_WRONG);
	}
}

static void take_answers(struct connection *c)
{
	while (c->in.len > 0 && c->state != CLOSED) {
		struct wire_head head;
		struct span body;
		size_t used;
		enum wire_state state = wire_read_head(buf_span(&c->in), &head);
		if (state == WIRE_DONE)
			state = wire_read_body(&head,
				span_of(c->in.data + head.size, c->in.len - head.size),
				&load.scratch, &body, &used);
		if (state == WIRE_BAD) {
			drop(c, FAIL_WRONG);
			return;
		}
		if (state == WIRE_MORE)
			return;
		size_t whole = head.size + used;
		bool close_after = head.close;
		take_answer(c, &head, body);
		if (c->state == CLOSED)
			return;
		buf_consume(&c->in, whole);
		if (close_after) {
			drop(c, FAIL_CLOSED);
			return;
		}
	}
}

static void take(struct connection *c)
{
	if (buf_reserve(&c->in, READ_SIZE) < 0) {
		drop(c, FAIL_WRONG);
		return;
	}
	ssize_t n = recv(c->fd, c->in.data + c->in.len, READ_SIZE, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c, c->state == CONNECTING ? FAIL_CONNECT : FAIL_CLOSED);
		return;
	}
	c->in.len += (size_t)n;
	take_answers(c);
	if (load.options.hold &&
		c->in.len == 0) { /* idle sessions must not cost this process's memory */
		buf_free(&c->in);
		buf_free(&c->out);
	}
}

static void on_connected(struct connection *c)
{
	int error = 0;
	socklen_t len = sizeof error;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		drop(c, FAIL_CONNECT);
		return;
	}
	watch(c, EPOLL_CTL_MOD, false);
	if (load.options.stateless || c->session[0])
		opened(c);
	else
		initialize(c);
}

static void on_event(struct connection *c, unsigned int events)
{
	if (c->state == CLOSED)
		return;
	if (c->state == CONNECTING) {
		on_connected(c);
		return;
	}
	if (events & EPOLLOUT)
		flush(c);
	if (c->state != CLOSED && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		take(c);
}

/* Opens what is not open, new sessions first, then lost connections again. */
static void open_more(void)
{
	while (load.opened < load.options.connections && load.opening < load.options.opening)
		connect_to(&load.connections[load.opened++]);
	if (!load.running)
		return;
	for (int i = 0; i < load.opened && load.opening < load.options.opening; i++)
		if (load.connections[i].state == CLOSED)
			connect_to(&load.connections[i]);
}

static void hand_out_tickets(uint64_t now)
{
	while (due_of(load.tickets) <= now) {
		struct connection *c =
			&load.connections[load.tickets % (unsigned int)load.options.connections];
		uint64_t due = due_of(load.tickets++);
		if (c->owed++ == 0)
			c->first_due_us = due;
		if (c->state == IDLE)
			go_on(c);
	}
}

static void time_out(uint64_t now)
{
	uint64_t limit = (uint64_t)(load.options.timeout_s * 1e6);
	for (int i = 0; i < load.opened; i++) {
		struct connection *c = &load.connections[i];
		if (c->state != CLOSED && c->state != IDLE && now > c->sent_us + limit)
			drop(c, FAIL_TIMEOUT);
	}
}

static void step(int wait_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(load.epoll, events, EVENTS, wait_ms);
	for (int i = 0; i < n; i++)
		on_event(events[i].data.ptr, events[i].events);
}

/* Until every session is open; gives up when one cannot be. */
static bool open_all(void)
{
	uint64_t next_look = now_us() + 1000000;
	while (load.open < load.options.connections) {
		open_more();
		step(100);
		uint64_t now = now_us();
		if (now > next_look) {
			time_out(now);
			next_look = now + 1000000;
		}
		for (int i = 0; i < FAIL_MAX; i++)
			if (load.failures[i]) {
				fprintf(stderr, "load: session %d could not be opened: %s\n",
					load.open + 1, failure_names[i]);
				return false;
			}
	}
	return true;
}

static void run(void)
{
	load.start_us = now_us() + (uint64_t)(load.options.warmup_s * 1e6);
	load.end_us = load.start_us + (uint64_t)(load.options.duration_s * 1e6);
	load.running = true;
	for (int i = 0; i < load.options.connections; i++)
		if (load.connections[i].state == IDLE)
			go_on(&load.connections[i]);
	uint64_t next_look = load.start_us;
	for (uint64_t now = now_us(); now < load.end_us; now = now_us()) {
		if (load.options.rate > 0)
			hand_out_tickets(now);
		if (now > next_look) {
			time_out(now);
			open_more();
			next_look = now + 200000;
		}
		step(load.options.rate > 0 ? 1 : 100);
	}
}

static uint64_t failures(void)
{
	uint64_t sum = 0;
	for (int i = 0; i < FAIL_MAX; i++)
		sum += load.failures[i];
	return sum;
}

static void print_table(void)
{
	const struct histogram *h = &load.latency;
	printf("%-14s %d, %s, answers of %d letters\n", "connections", load.options.connections,
		load.options.stateless ? "revision " MODERN_VERSION : "a session each",
		load.options.size);
	printf("%-14s %.0f /s\n", "calls", (double)h->count / load.options.duration_s);
	printf("%-14s mean %.3f  p50 %.3f  p95 %.3f  p99 %.3f  max %.3f ms\n", "latency",
		histogram_mean_us(h) / 1e3, (double)histogram_at(h, 0.5) / 1e3,
		(double)histogram_at(h, 0.95) / 1e3, (double)histogram_at(h, 0.99) / 1e3,
		(double)h->max_us / 1e3);
	printf("%-14s %llu", "failures", (unsigned long long)failures());
	for (int i = 0; i < FAIL_MAX; i++)
		if (load.failures[i])
			printf("  %s %llu", failure_names[i], (unsigned long long)load.failures[i]);
	printf("\n");
}

static void print_json(void)
{
	const struct histogram *h = &load.latency;
	printf("{\"connections\":%d,\"stateless\":%s,\"size\":%d,\"rate\":%.0f,\"duration_s\":%.3f,"
	       "\"calls\":%llu,"
	       "\"calls_per_s\":%.1f,\"mean_us\":%.1f,\"p50_us\":%llu,\"p95_us\":%llu,\"p99_us\":%"
	       "llu,\"max_us\":%llu,"
	       "\"failures\":%llu",
		load.options.connections, load.options.stateless ? "true" : "false",
		load.options.size, load.options.rate, load.options.duration_s,
		(unsigned long long)h->count, (double)h->count / load.options.duration_s,
		histogram_mean_us(h), (unsigned long long)histogram_at(h, 0.5),
		(unsigned long long)histogram_at(h, 0.95),
		(unsigned long long)histogram_at(h, 0.99), (unsigned long long)h->max_us,
		(unsigned long long)failures());
	for (int i = 0; i < FAIL_MAX; i++)
		printf(",\"%s\":%llu", failure_names[i], (unsigned long long)load.failures[i]);
	printf("}\n");
}

/* All sessions open and called once: say so, then serve the connections until stdin ends. */
static int hold(void)
{
	bool asked = false;
	while (!asked) {
		step(100);
		asked = true;
		for (int i = 0; i < load.options.connections && asked; i++)
			asked = load.connections[i].calls > 0;
		if (failures())
			break;
	}
	printf("{\"held\":%d,\"failures\":%llu}\n", load.open, (unsigned long long)failures());
	fflush(stdout);
	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	char c;
	ssize_t n;
	while ((n = read(STDIN_FILENO, &c, 1)) != 0 && (n > 0 || errno == EAGAIN))
		step(100);
	return failures() ? 1 : 0;
}

static void prepare(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	buf_init(&load.scratch, MAX_MESSAGE);
	buf_init(&load.body, MAX_MESSAGE);
	load.connections = calloc((size_t)load.options.connections, sizeof *load.connections);
	if (!load.connections)
		abort();
	for (int i = 0; i < load.options.connections; i++) {
		buf_init(&load.connections[i].in, MAX_MESSAGE);
		buf_init(&load.connections[i].out, MAX_MESSAGE);
	}
}

static void clean_up(void)
{
	for (int i = 0; i < load.options.connections; i++) {
		struct connection *c = &load.connections[i];
		if (c->state != CLOSED)
			close(c->fd);
		buf_free(&c->in);
		buf_free(&c->out);
	}
	free(load.connections);
	buf_free(&load.scratch);
	buf_free(&load.body);
}

int main(int argc, char **argv)
{
	int status = 1;
	if (load_options_read(&load.options, argc, argv) < 0)
		return 2;
	prepare();
	if (open_all()) {
		if (load.options.hold) {
			status = hold();
		} else {
			run();
			if (!load.options.quiet)
				print_table();
			print_json();
			status = failures() ? 1 : 0;
		}
	}
	clean_up();
	return status;
}
