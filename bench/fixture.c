/*
 * The MCP server that benchmarks put behind what they measure: one process, one thread, as little
 * work per call as an honest server can do.
 *
 *     fixture --stdio [--tools N] [--changes RATE] [--hung]
 *     fixture --port PORT [--stateless] [--modern] [--tools N]
 *
 * Streamable HTTP on 127.0.0.1:PORT, with sessions unless --stateless; each path that ends in /mcp is
 * a server, one that begins with /hung takes requests and never answers. --modern: also revision
 * 2026-07-28. --tools: so many are listed (1). --changes: says so many times a second that the list
 * has changed. --hung: reads and never answers.
 */
#include "answer.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_MESSAGE (8u * 1024u * 1024u)
#define READ_SIZE 65536u
#define EVENTS 256

struct connection {
	int fd;
	bool closing;
	bool waits_to_write;
	struct buf in;
	struct buf out;
};

static struct {
	int epoll;
	bool stateless;
	bool modern;
	bool hung;
	unsigned tools;
	unsigned changes; /* per second */
	unsigned long sessions;
	struct buf body;
	struct buf scratch;
} fixture;

static void connection_free(struct connection *c)
{
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

static void respond(struct connection *c, const char *status, const char *headers, struct span body)
{
	buf_printf(&c->out, "HTTP/1.1 %s\r\n%s%sContent-Length: %zu\r\n\r\n", status, headers,
		body.len ? "Content-Type: application/json\r\n" : "", body.len);
	buf_append_span(&c->out, body);
}

static void refuse(struct connection *c, const char *status, const char *message)
{
	buf_clear(&fixture.body);
	buf_printf(&fixture.body,
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"%s\"}}",
		message);
	respond(c, status, "", buf_span(&fixture.body));
}

static void serve_post(struct connection *c, const struct wire_head *head, struct span body)
{
	char session[64] = "";
	bool modern = fixture.modern && span_is(head->version, "2026-07-28");
	buf_clear(&fixture.body);
	enum answer_kind kind = answer_request(body, modern, fixture.tools, &fixture.body);
	bool in_session = modern || fixture.stateless || head->session.len > 0;
	if (kind == ANSWER_BAD) {
		refuse(c, "400 Bad Request", "Not a request");
	} else if (kind == ANSWER_INITIALIZE) {
		if (!fixture.stateless)
			snprintf(session, sizeof session, "Mcp-Session-Id: bench-%d-%lu\r\n",
				(int)getpid(), ++fixture.sessions);
		respond(c, "200 OK", session, buf_span(&fixture.body));
	} else if (!in_session) {
		refuse(c, "400 Bad Request", "No session");
	} else if (kind == ANSWER_NOTHING) {
		respond(c, "202 Accepted", "", SPAN_NONE);
	} else {
		respond(c, "200 OK", "", buf_span(&fixture.body));
	}
}

static void serve(struct connection *c, const struct wire_head *head, struct span body)
{
	if (head->path.len >= 5 && memcmp(head->path.p, "/hung", 5) == 0)
		return;
	if (head->path.len < 4 || memcmp(head->path.p + head->path.len - 4, "/mcp", 4) != 0)
		refuse(c, "404 Not Found", "Not found");
	else if (span_is(head->method, "POST"))
		serve_post(c, head, body);
	else if (span_is(head->method, "DELETE"))
		respond(c, "200 OK", "", SPAN_NONE);
	else
		respond(c, "405 Method Not Allowed", "Allow: POST, DELETE\r\n", SPAN_NONE);
	c->closing = head->close;
}

/* Serves every whole request that has arrived. Returns false when the client speaks no HTTP. */
static bool serve_all(struct connection *c)
{
	size_t at = 0;
	while (at < c->in.len && !c->closing) {
		struct span bytes = span_of(c->in.data + at, c->in.len - at);
		struct wire_head head;
		struct span body;
		size_t used;
		enum wire_state state = wire_read_head(bytes, &head);
		if (state == WIRE_DONE)
			state = wire_read_body(&head,
				span_of(bytes.p + head.size, bytes.len - head.size),
				&fixture.scratch, &body, &used);
		if (state == WIRE_BAD)
			return false;
		if (state == WIRE_MORE)
			break;
		serve(c, &head, body);
		at += head.size + used;
	}
	buf_consume(&c->in, at);
	return true;
}

/* Returns false when the connection is over. */
static bool flush(struct connection *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n < 0)
			break;
		buf_consume(&c->out, (size_t)n);
	}
	bool wait = c->out.len > 0;
	if (wait != c->waits_to_write) {
		struct epoll_event event = {
			.events = EPOLLIN | (wait ? EPOLLOUT : 0), .data.ptr = c};
		epoll_ctl(fixture.epoll, EPOLL_CTL_MOD, c->fd, &event);
		c->waits_to_write = wait;
	}
	return wait || !c->closing;
}

static bool take(struct connection *c)
{
	if (buf_reserve(&c->in, READ_SIZE) < 0)
		return false;
	ssize_t n = recv(c->fd, c->in.data + c->in.len, READ_SIZE, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	c->in.len += (size_t)n;
	return serve_all(c);
}

static void accept_all(int listener)
{
	for (;;) {
		int on = 1;
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		struct connection *c = calloc(1, sizeof *c);
		if (!c)
			abort();
		c->fd = fd;
		buf_init(&c->in, MAX_MESSAGE);
		buf_init(&c->out, MAX_MESSAGE);
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
		epoll_ctl(fixture.epoll, EPOLL_CTL_ADD, fd, &event);
	}
}

static int listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
		perror("fixture: listen");
		exit(1);
	}
	return fd;
}

static int run_http(int port)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	int listener = listen_on(port);
	fixture.epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	epoll_ctl(fixture.epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(fixture.epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (!c) {
				accept_all(listener);
				continue;
			}
			bool alive = !(events[i].events & EPOLLIN) || take(c);
			if (!alive || !flush(c))
				connection_free(c);
		}
	}
	return 0;
}

static bool write_all(struct buf *out)
{
	size_t at = 0;
	while (at < out->len) {
		ssize_t n = write(STDOUT_FILENO, out->data + at, out->len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	buf_clear(out);
	return true;
}

/* Answers every whole line of in. */
static void answer_lines(struct buf *in)
{
	size_t at = 0;
	const char *eol;
	while ((eol = memchr(in->data + at, '\n', in->len - at))) {
		size_t end = (size_t)(eol - in->data);
		enum answer_kind kind = answer_request(span_of(in->data + at, end - at), false,
			fixture.tools, &fixture.body);
		if (kind == ANSWER_RESULT || kind == ANSWER_INITIALIZE)
			buf_append_char(&fixture.body, '\n');
		at = end + 1;
	}
	buf_consume(in, at);
}

/* Says as often as is due that the list has changed. */
static void tell_changes(uint64_t *told)
{
	static uint64_t start_ms;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t now_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	if (!start_ms)
		start_ms = now_ms;
	for (; *told < (now_ms - start_ms) * fixture.changes / 1000; ++*told)
		buf_append_str(&fixture.body,
			"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n");
}

static int run_stdio(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct buf in;
	uint64_t told = 0;
	bool greeted = false;
	buf_init(&in, MAX_MESSAGE);
	for (;;) {
		if (poll(&input, 1, greeted && fixture.changes ? 1 : -1) > 0) {
			if (buf_reserve(&in, READ_SIZE) < 0)
				return 3;
			ssize_t n = read(STDIN_FILENO, in.data + in.len, READ_SIZE);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			in.len += (size_t)n;
			if (fixture.hung)
				buf_clear(&in);
			greeted |= memmem(in.data, in.len, "\"notifications/initialized\"", 27) != NULL;
			answer_lines(&in);
		}
		if (greeted && fixture.changes)
			tell_changes(&told);
		if (!write_all(&fixture.body))
			break;
	}
	buf_free(&in);
	return 0;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: fixture --stdio [--changes RATE] [--hung] | --port PORT [--stateless] "
		"[--modern] [--tools N]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"stdio", no_argument, NULL, 'i'},
		{"port", required_argument, NULL, 'p'},
		{"stateless", no_argument, NULL, 's'},
		{"modern", no_argument, NULL, 'm'},
		{"tools", required_argument, NULL, 't'},
		{"changes", required_argument, NULL, 'c'},
		{"hung", no_argument, NULL, 'h'},
		{0},
	};
	int port = -1;
	bool stdio = false;
	int c;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			stdio = true;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 's':
			fixture.stateless = true;
			break;
		case 'm':
			fixture.modern = true;
			break;
		case 't':
			fixture.tools = (unsigned)atoi(optarg);
			break;
		case 'c':
			fixture.changes = (unsigned)atoi(optarg);
			break;
		case 'h':
			fixture.hung = true;
			break;
		default:
			return usage();
		}
	}
	signal(SIGPIPE, SIG_IGN);
	buf_init(&fixture.body, MAX_MESSAGE);
	buf_init(&fixture.scratch, MAX_MESSAGE);
	if (stdio)
		return run_stdio();
	return port > 0 ? run_http(port) : usage();
}
