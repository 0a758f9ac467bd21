#include "log.h"
#include "buf.h"
#include "clock.h"
#include "err.h"
#include "json_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* One line, longest; also below PIPE_BUF would be nicer, but a stderr line of a server may be 8 KB.
 */
#define LOG_LINE_MAX 16384

static const char *const level_names[LOG_LEVEL_MAX] = {"debug", "info", "warn", "error"};

static struct {
	const char *role;
	enum log_level level;
	bool text;
	bool terminal;
	pid_t pid;
	uint64_t dropped;
} logger = {.role = "gatehouse", .level = LOG_INFO};

void log_init(const char *role)
{
	logger.terminal = isatty(STDERR_FILENO) == 1;
	logger.text = logger.terminal;
	log_reset_process(role);
}

/* In a pid namespace of its own a process would call itself 1; people look for what ps shows. */
static pid_t visible_pid(void)
{
	char text[32];
	ssize_t len = readlink("/proc/self", text, sizeof(text) - 1);

	if (len <= 0)
		return getpid();
	text[len] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}

void log_reset_process(const char *role)
{
	logger.role = role;
	logger.pid = visible_pid();
}

void log_set_level(enum log_level level)
{
	logger.level = level;
}

void log_set_format(enum log_format format)
{
	logger.text = format == LOG_FORMAT_TEXT || (format == LOG_FORMAT_AUTO && logger.terminal);
}

int log_level_parse(const char *name)
{
	for (int i = 0; i < LOG_LEVEL_MAX; i++)
		if (strcmp(level_names[i], name) == 0)
			return i;
	return -ERR_INVALID_ARGUMENT;
}

const char *log_level_name(int level)
{
	return level >= 0 && level < LOG_LEVEL_MAX ? level_names[level] : "unknown";
}

bool log_enabled(enum log_level level)
{
	return level >= logger.level;
}

uint64_t log_dropped(void)
{
	return logger.dropped;
}

static void append_time(struct buf *line)
{
	struct timespec now;
	struct tm tm;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(line, "%s.%03ldZ", text, now.tv_nsec / 1000000);
}

static void append_value(struct buf *line, const struct log_kv *kv, bool text)
{
	switch (kv->kind) {
	case LOG_KV_STR:
		if (text)
			buf_append_span(line, kv->str);
		else
			json_write_string(line, kv->str);
		break;
	case LOG_KV_INT:
		buf_printf(line, "%lld", (long long)kv->num);
		break;
	case LOG_KV_BOOL:
		buf_append_str(line, kv->num ? "true" : "false");
		break;
	case LOG_KV_MS:
		buf_printf(line, "%lld.%03lld", (long long)(kv->num / 1000),
			(long long)(kv->num % 1000));
		break;
	case LOG_KV_END:
		break;
	}
}

static void append_json(struct buf *line, enum log_level level, const char *event, const char *msg)
{
	buf_append_str(line, "{\"ts\":\"");
	append_time(line);
	buf_printf(line, "\",\"level\":\"%s\",\"role\":\"%s\",\"pid\":%d,\"event\":\"%s\",\"msg\":",
		level_names[level], logger.role, (int)logger.pid, event);
	json_write_string(line, span_str(msg));
}

static void append_text(struct buf *line, enum log_level level, const char *event, const char *msg)
{
	append_time(line);
	buf_printf(line, " %-5s %-9s %s: %s", level_names[level], logger.role, event, msg);
}

void log_event(enum log_level level, const char *event, const char *msg, const struct log_kv *kv)
{
	struct buf line;

	buf_init(&line, LOG_LINE_MAX);
	if (logger.text)
		append_text(&line, level, event, msg);
	else
		append_json(&line, level, event, msg);
	for (; kv->kind != LOG_KV_END; kv++) {
		size_t before = line.len;

		if (kv->kind == LOG_KV_STR && kv->str.len == 0)
			continue;
		buf_printf(&line, logger.text ? " %s=" : ",\"%s\":", kv->key);
		append_value(&line, kv, logger.text);
		/* leave room for the end; a field that does not fit is left out whole */
		if (line.len + 2 > LOG_LINE_MAX)
			line.len = before;
	}
	buf_append_str(&line, logger.text ? "\n" : "}\n");
	if (write(STDERR_FILENO, line.data, line.len) != (ssize_t)line.len)
		logger.dropped++;
	buf_free(&line);
}
