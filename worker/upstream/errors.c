#include "errors.h"
#include "log.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* In one turn of the loop, and of what a process left in the pipe (at most 1 MiB). */
#define READS_TURN 16
#define READS_LAST 257

struct errors {
	struct upstream *up;
	char label[24];
	int fd;
	struct event *readable;
	struct buf line;
};

static void take_line(struct errors *errors, struct span line)
{
	char text[LOGS_LINE_MAX + 1];

	if (line.len > 0 && line.p[line.len - 1] == '\r')
		line.len--;
	if (line.len == 0)
		return;
	logs_add(&errors->up->logs, errors->label, line);
	if (errors->up->server->stderr_to != CONFIG_STDERR_LOG)
		return;
	snprintf(text, sizeof(text), "%.*s", SPAN_ARG(line));
	log_info("server.stderr", text, KV_STR("server", errors->up->server->name),
		KV_STR("session", errors->label));
}

/* last: what has no line end yet is a line, too. */
static void take_lines(struct errors *errors, bool last)
{
	size_t start = 0;
	char *end;

	while (start < errors->line.len &&
		(end = memchr(errors->line.data + start, '\n', errors->line.len - start))) {
		take_line(errors, span_of(errors->line.data + start,
					  (size_t)(end - errors->line.data) - start));
		start = (size_t)(end - errors->line.data) + 1;
	}
	if (start == 0 && errors->line.len >= LOGS_LINE_MAX)
		last = true;
	if (last && start < errors->line.len) {
		take_line(errors, span_of(errors->line.data + start, errors->line.len - start));
		start = errors->line.len;
	}
	buf_consume(&errors->line, start);
}

static bool read_some(struct errors *errors)
{
	size_t room = LOGS_LINE_MAX - errors->line.len;
	ssize_t n;

	if (buf_reserve(&errors->line, room) < 0)
		return false;
	n = read(errors->fd, errors->line.data + errors->line.len, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0)
		errors->line.len += (size_t)n;
	else
		event_del(errors->readable);
	take_lines(errors, n <= 0);
	return n > 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	for (int i = 0; i < READS_TURN && read_some(arg); i++)
		;
}

struct errors *errors_new(struct upstream *up, const char *label, int fd)
{
	struct errors *errors = calloc(1, sizeof(*errors));

	if (!errors) {
		close(fd);
		return NULL;
	}
	errors->up = up;
	errors->fd = fd;
	snprintf(errors->label, sizeof(errors->label), "%s", label);
	buf_init(&errors->line, LOGS_LINE_MAX);
	errors->readable =
		event_new(upstream_base(up), fd, EV_READ | EV_PERSIST, on_readable, errors);
	if (!errors->readable || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		errors_free(errors);
		return NULL;
	}
	event_add(errors->readable, NULL);
	return errors;
}

void errors_finish(struct errors *errors)
{
	if (!errors)
		return;
	for (int i = 0; i < READS_LAST && read_some(errors); i++)
		;
	take_lines(errors, true);
}

void errors_free(struct errors *errors)
{
	if (!errors)
		return;
	if (errors->readable)
		event_free(errors->readable);
	close(errors->fd);
	buf_free(&errors->line);
	free(errors);
}
