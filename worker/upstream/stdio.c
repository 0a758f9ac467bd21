/*
 * A server as a child process: one JSON message per line on its stdin and stdout (MCP, transports,
 * stdio). The root makes the process, its keeper ends it; here are its three pipes.
 */
#include "clock.h"
#include "errors.h"
#include "json.h"
#include "instance.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

/* Between the end of stdin, TERM and KILL. */
#define GRACE_MS 2000u
/* After the end of stdout, how long the reason of the process' end is waited for. */
#define EXIT_WAIT_MS 300
#define READ_SIZE 65536u
/* Read in one turn of the loop, so that one noisy child does not keep the others waiting. */
#define READ_TURN (8u * READ_SIZE)
#define WRITE_LINES 64
/* When the root has not been told yet that a long line is begun. */
#define HELD_MS 2
/* A line buffer that grew beyond this is given back once it is empty. */
#define LINE_KEEP (256u * 1024u)

/* A pipe holds at most 1 MiB: what can still be in it when its writers are gone. */
#define PIPE_READS 17
#define TOO_LONG "it wrote a line longer than maxMessage"

enum state { SPAWNING, OPEN, ENDING };

struct line {
	struct line *prev, *next;
	uint64_t id;
	size_t len;
	char data[];
};

struct stdio {
	struct transport base;
	struct stdio *prev, *next;
	struct upstream *up;
	const struct transport_events *events;
	void *arg;
	char label[24];
	enum state state;
	uint32_t stream;   /* of SERVER_SPAWN */
	uint64_t instance; /* of the keeper; 0 until spawned */
	bool ended;        /* SERVER_STOP was sent */
	bool gone;         /* exited */
	bool half;         /* the first line may be the end of one that another began to read */
	bool amid;         /* as in SERVER_AMID */
	int in, out;
	struct event *writable, *flush, *readable, *exit_wait;
	struct line *queue;
	size_t n_queue, queue_bytes;
	size_t written; /* of the first line */
	struct buf line;
	size_t scanned; /* of line: no line end before */
	struct errors *errors;
};

/* The processes of this server, those that are ending included. */
struct stdio_host {
	struct stdio *all;
};

static struct stdio *stdio_of(struct transport *transport)
{
	return (struct stdio *)transport;
}

static struct stdio_host *host_of(const struct upstream *up)
{
	return up->shared;
}

static void drop_event(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_input(struct stdio *stdio)
{
	struct line *line, *next;

	drop_event(&stdio->writable);
	close_fd(&stdio->in);
	DL_FOREACH_SAFE(stdio->queue, line, next)
	{
		DL_DELETE(stdio->queue, line);
		free(line);
	}
	stdio->n_queue = 0;
	stdio->queue_bytes = 0;
	stdio->written = 0;
}

static void stdio_free(struct stdio *stdio)
{
	DL_DELETE(host_of(stdio->up)->all, stdio);
	close_input(stdio);
	drop_event(&stdio->flush);
	drop_event(&stdio->readable);
	errors_free(stdio->errors);
	drop_event(&stdio->exit_wait);
	close_fd(&stdio->out);
	buf_free(&stdio->line);
	free(stdio);
}

/* Have the keeper end the process: its stdin is closed, then come TERM and KILL. */
static void end_process(struct stdio *stdio)
{
	const struct msg_server_stop stop = {.instance = stdio->instance, .grace_ms = GRACE_MS};

	close_input(stdio);
	if (stdio->ended || stdio->gone)
		return;
	stdio->ended = true;
	stdio->up->children_closing++;
	if (stdio->instance)
		link_post(process_root(stdio->up->process), MSG_SERVER_STOP, 0, &stop);
}

static void fail(struct stdio *stdio, enum err_code code, const char *detail)
{
	struct err err = {0};

	if (stdio->state == ENDING)
		return;
	err_set(&err, code, "%s", detail);
	stdio->events->closed(stdio->arg, &err);
}

/* --- its stdout ------------------------------------------------------------------------------ */

static bool is_blank(struct span line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.p[i] != ' ' && line.p[i] != '\t')
			return false;
	return true;
}

/* No end of an object or array is one. */
static bool is_whole(struct span line)
{
	enum json_type type;

	if (json_check(line, LIMIT_JSON_DEPTH, NULL) < 0)
		return false;
	type = json_type(json_trim(line));
	return type == JSON_OBJECT || type == JSON_ARRAY;
}

static void take_line(struct stdio *stdio, struct span line)
{
	if (line.len > 0 && line.p[line.len - 1] == '\r')
		line.len--;
	if (stdio->half && !is_whole(line))
		line.len = 0;
	stdio->half = false;
	if (!is_blank(line))
		stdio->events->message(stdio->arg, line, 0);
}

/* Hand out the whole lines that are there. A callee may close the transport meanwhile. */
static void take_lines(struct stdio *stdio)
{
	size_t start = 0;
	char *end;

	while (stdio->state == OPEN && stdio->scanned < stdio->line.len &&
		(end = memchr(stdio->line.data + stdio->scanned, '\n',
			 stdio->line.len - stdio->scanned))) {
		struct span line =
			span_of(stdio->line.data + start, (size_t)(end - stdio->line.data) - start);

		start = stdio->scanned = (size_t)(end - stdio->line.data) + 1;
		if (line.len > (size_t)stdio->up->server->max_message)
			fail(stdio, ERR_SERVER_GARBAGE, TOO_LONG);
		else
			take_line(stdio, line);
	}
	if (stdio->state != OPEN) {
		buf_free(&stdio->line);
		stdio->scanned = 0;
		return;
	}
	buf_consume(&stdio->line, start);
	stdio->scanned = stdio->line.len;
	if (stdio->line.len == 0 && stdio->line.cap > LINE_KEEP)
		buf_free(&stdio->line);
	if (stdio->line.len > (size_t)stdio->up->server->max_message)
		fail(stdio, ERR_SERVER_GARBAGE, TOO_LONG);
}

static void input_ended(struct stdio *stdio)
{
	const struct timeval tv = {.tv_usec = EXIT_WAIT_MS * 1000};

	drop_event(&stdio->readable);
	close_fd(&stdio->out);
	end_process(stdio);
	event_add(stdio->exit_wait, &tv);
}

/* Read stdout; false: nothing more at the moment, or at all. */
static bool read_output(struct stdio *stdio)
{
	ssize_t n;

	if (stdio->out < 0)
		return false;
	if (stdio->state == ENDING)
		buf_clear(&stdio->line);
	if (buf_reserve(&stdio->line, READ_SIZE) < 0) {
		fail(stdio, ERR_SERVER_GARBAGE, "it wrote a line longer than there is memory for");
		return false;
	}
	n = read(stdio->out, stdio->line.data + stdio->line.len, READ_SIZE);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		input_ended(stdio);
		return false;
	}
	stdio->line.len += (size_t)n;
	if (stdio->state == OPEN)
		take_lines(stdio);
	else
		buf_clear(&stdio->line);
	return (size_t)n == READ_SIZE;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stdio *stdio = arg;

	(void)fd;
	(void)what;
	for (size_t turn = 0; turn < READ_TURN && read_output(stdio); turn += READ_SIZE)
		;
}

static void on_exit_wait(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fail(arg, ERR_SERVER_DIED, "it closed its stdin or stdout");
}

/* --- its stdin ------------------------------------------------------------------------------- */

/*
 * Of at most PIPE_BUF bytes a pipe takes all or nothing (pipe(7)). Of a longer line a half may be
 * there when this process dies: the next one needs to know, to end it. False: not told yet.
 */
static bool say_amid(struct stdio *stdio, bool amid)
{
	const struct msg_server_amid fields = {.instance = stdio->instance, .amid = amid};
	struct link *root = process_root(stdio->up->process);

	if (stdio->amid == amid)
		return true;
	if (link_post(root, MSG_SERVER_AMID, 0, &fields) < 0 || (amid && !link_flush(root)))
		return false;
	stdio->amid = amid;
	return true;
}

static void lines_written(struct stdio *stdio, size_t n)
{
	stdio->queue_bytes -= n;
	n += stdio->written;
	while (stdio->queue && n >= stdio->queue->len) {
		struct line *line = stdio->queue;

		n -= line->len;
		DL_DELETE(stdio->queue, line);
		stdio->n_queue--;
		free(line);
		say_amid(stdio, false);
	}
	stdio->written = n;
}

static unsigned gather(const struct stdio *stdio, struct iovec iov[WRITE_LINES])
{
	size_t skip = stdio->written, total = 0;
	const struct line *line;
	unsigned n = 0;

	DL_FOREACH(stdio->queue, line)
	{
		total += line->len - skip;
		if (n == WRITE_LINES || (n > 0 && total > PIPE_BUF))
			break;
		iov[n++] = (struct iovec){(char *)(uintptr_t)line->data + skip, line->len - skip};
		skip = 0;
	}
	return n;
}

static void write_queue(struct stdio *stdio)
{
	static const struct timeval held = {.tv_usec = HELD_MS * 1000};
	struct iovec iov[WRITE_LINES];

	while (stdio->queue && stdio->in >= 0) {
		ssize_t n;

		if (stdio->queue->len > PIPE_BUF && !say_amid(stdio, true)) {
			event_add(stdio->flush, &held);
			return;
		}
		n = writev(stdio->in, iov, (int)gather(stdio, iov));
		if (n > 0) {
			lines_written(stdio, (size_t)n);
		} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			event_add(stdio->writable, NULL);
			return;
		} else {
			/* its last words on stdout are still read */
			const struct timeval tv = {.tv_usec = EXIT_WAIT_MS * 1000};

			drop_event(&stdio->writable);
			close_fd(&stdio->in);
			event_add(stdio->exit_wait, &tv);
			return;
		}
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_queue(arg);
}

/* The lines of one turn of the loop leave together. */
static int write_line(struct stdio *stdio, uint64_t id, struct span text)
{
	struct line *line = malloc(sizeof(*line) + text.len + 1);

	if (!line)
		return -ERR_NO_MEMORY;
	line->id = id;
	line->len = text.len + 1;
	if (text.len)
		memcpy(line->data, text.p, text.len);
	json_one_line(line->data, text.len);
	line->data[text.len] = '\n';
	if (!stdio->queue)
		event_active(stdio->flush, EV_TIMEOUT, 0);
	DL_APPEND(stdio->queue, line);
	stdio->n_queue++;
	stdio->queue_bytes += line->len;
	return 0;
}

static int stdio_send(struct transport *transport, const struct transport_message *msg)
{
	struct stdio *stdio = stdio_of(transport);

	if (stdio->state != OPEN || stdio->in < 0)
		return -ERR_CLOSED;
	if (stdio->queue && stdio->queue_bytes + msg->text.len > TRANSPORT_QUEUE_MAX)
		return -ERR_BUSY;
	return write_line(stdio, msg->id, msg->text);
}

static bool stdio_forget(struct transport *transport, uint64_t id)
{
	struct stdio *stdio = stdio_of(transport);
	struct line *line;

	DL_FOREACH(stdio->queue, line)
	{
		if (line->id != id)
			continue;
		if (line == stdio->queue && stdio->written > 0)
			return false;
		DL_DELETE(stdio->queue, line);
		stdio->n_queue--;
		stdio->queue_bytes -= line->len;
		free(line);
		return true;
	}
	return false;
}

static size_t stdio_queued(const struct transport *transport)
{
	return ((const struct stdio *)transport)->n_queue;
}

/* --- its life -------------------------------------------------------------------------------- */

static bool make_events(struct stdio *stdio)
{
	struct event_base *base = upstream_base(stdio->up);

	stdio->flush = event_new(base, -1, 0, on_writable, stdio);
	stdio->exit_wait = evtimer_new(base, on_exit_wait, stdio);
	return stdio->flush && stdio->exit_wait;
}

static struct stdio *stdio_new(struct upstream *up, struct span label,
	const struct transport_events *events, void *arg)
{
	struct stdio *stdio = calloc(1, sizeof(*stdio));

	if (!stdio)
		return NULL;
	*stdio = (struct stdio){.base = {&transport_stdio},
		.up = up,
		.events = events,
		.arg = arg,
		.in = -1,
		.out = -1,
		.state = SPAWNING};
	snprintf(stdio->label, sizeof(stdio->label), "%.*s", SPAN_ARG(label));
	buf_init(&stdio->line, (size_t)up->server->max_message + 2 * READ_SIZE);
	DL_APPEND(host_of(up)->all, stdio);
	if (make_events(stdio))
		return stdio;
	stdio_free(stdio);
	return NULL;
}

static int stdio_open(struct upstream *up, const char *label, const struct transport_events *events,
	void *arg, struct transport **ret, struct err *err)
{
	const struct msg_server_spawn spawn = {.session = span_str(label)};
	struct stdio *stdio = stdio_new(up, span_str(label), events, arg);
	int r;

	if (!stdio)
		return err_set(err, ERR_NO_MEMORY, "no memory for a process of the server");
	stdio->stream = link_stream(process_root(up->process));
	r = link_post(process_root(up->process), MSG_SERVER_SPAWN, stdio->stream, &spawn);
	if (r < 0) {
		stdio_free(stdio);
		return err_set(err, (enum err_code) - r, "the process cannot be asked for");
	}
	up->children++;
	*ret = &stdio->base;
	return 0;
}

static void stdio_close(struct transport *transport)
{
	struct stdio *stdio = stdio_of(transport);

	stdio->state = ENDING;
	event_del(stdio->exit_wait);
	end_process(stdio);
}

static int take_fds(struct stdio *stdio, int *fds)
{
	struct event_base *base = upstream_base(stdio->up);

	stdio->in = fds[0];
	stdio->out = fds[1];
	stdio->errors = errors_new(stdio->up, stdio->label, fds[2]);
	fds[0] = fds[1] = fds[2] = -1;
	if (fcntl(stdio->in, F_SETFL, O_NONBLOCK) < 0 || fcntl(stdio->out, F_SETFL, O_NONBLOCK) < 0)
		return -ERR_SYSTEM;
	stdio->writable = event_new(base, stdio->in, EV_WRITE, on_writable, stdio);
	stdio->readable = event_new(base, stdio->out, EV_READ | EV_PERSIST, on_readable, stdio);
	return stdio->writable && stdio->readable && stdio->errors ? 0 : -ERR_NO_MEMORY;
}

void stdio_on_spawned(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_spawned *spawned = msg->fields;
	struct upstream *up = upstream_of(arg);
	const struct msg_server_stop stop = {.instance = spawned->instance, .grace_ms = GRACE_MS};
	struct stdio *stdio;

	DL_SEARCH_SCALAR(host_of(up)->all, stdio, stream, msg->stream);
	if (!stdio || stdio->instance) {
		link_post(link, MSG_SERVER_STOP, 0, &stop);
		return;
	}
	stdio->instance = spawned->instance;
	if (stdio->state == ENDING) {
		/* the descriptors close with the message: that is the end of its stdin */
		link_post(link, MSG_SERVER_STOP, 0, &stop);
		return;
	}
	stdio->state = OPEN;
	if (take_fds(stdio, msg->fds) < 0) {
		fail(stdio, ERR_SYSTEM, "its pipes cannot be watched");
		return;
	}
	event_add(stdio->readable, NULL);
	stdio->events->opened(stdio->arg);
}

/* The line that its predecessor was writing ends here, if it was. To others an empty line would be
 * harmless, but some servers end on one. */
int stdio_adopt(struct upstream *up, const struct message *msg, struct instance *instance,
	struct transport **ret)
{
	const struct msg_server_kept *kept = msg->fields;
	struct stdio *stdio = stdio_new(up, kept->session, &instance_events, instance);
	int r;

	if (!stdio)
		return -ERR_NO_MEMORY;
	stdio->instance = kept->instance;
	stdio->state = OPEN;
	stdio->half = true;
	stdio->amid = kept->amid;
	r = take_fds(stdio, msg->fds);
	if (r == 0 && kept->amid)
		r = write_line(stdio, 0, SPAN_NONE);
	if (r < 0) {
		stdio_free(stdio);
		return r;
	}
	up->children++;
	*ret = &stdio->base;
	return 0;
}

void stdio_hear(struct transport *transport)
{
	struct stdio *stdio = stdio_of(transport);

	if (stdio->state == OPEN && stdio->readable)
		event_add(stdio->readable, NULL);
}

static uint64_t stdio_child(const struct transport *transport)
{
	return ((const struct stdio *)transport)->instance;
}

static void child_over(struct stdio *stdio)
{
	struct upstream *up = stdio->up;

	up->children--;
	if (stdio->ended)
		up->children_closing--;
	stdio_free(stdio);
	upstream_child_gone(up);
}

void stdio_on_spawn_failed(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_spawn_failed *failed = msg->fields;
	char detail[ERR_DETAIL_MAX];
	struct stdio *stdio;

	(void)link;
	DL_SEARCH_SCALAR(host_of(upstream_of(arg))->all, stdio, stream, msg->stream);
	if (!stdio || stdio->instance)
		return;
	snprintf(detail, sizeof(detail), "%.*s", SPAN_ARG(failed->reason));
	stdio->gone = true;
	fail(stdio, ERR_SERVER_DOWN, detail);
	child_over(stdio);
}

void stdio_on_exited(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_exited *exited = msg->fields;
	char detail[ERR_DETAIL_MAX];
	struct stdio *stdio;

	(void)link;
	DL_SEARCH_SCALAR(host_of(upstream_of(arg))->all, stdio, instance, exited->instance);
	if (!stdio)
		return;
	stdio->gone = true;
	for (int i = 0; i < PIPE_READS && read_output(stdio); i++)
		;
	errors_finish(stdio->errors);
	snprintf(detail, sizeof(detail), "its process ended: %.*s", SPAN_ARG(exited->reason));
	fail(stdio, ERR_SERVER_DIED, detail);
	child_over(stdio);
}

static int stdio_start(struct upstream *up, struct err *err)
{
	up->shared = calloc(1, sizeof(struct stdio_host));
	return up->shared ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the server's processes");
}

static void stdio_stop(struct upstream *up)
{
	while (up->shared && host_of(up)->all)
		stdio_free(host_of(up)->all);
	free(up->shared);
	up->shared = NULL;
}

const struct transport_ops transport_stdio = {
	.name = "stdio",
	.has_child = true,
	.open = stdio_open,
	.send = stdio_send,
	.forget = stdio_forget,
	.child = stdio_child,
	.queued = stdio_queued,
	.close = stdio_close,
	.start = stdio_start,
	.stop = stdio_stop,
};
