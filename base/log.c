#include "log.h"
#include "buf.h"
#include "clock.h"
#include "err.h"
#include "json_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* One line, longest; also below PIPE_BUF would be nicer,
 * but a stderr line of a server may be 8 KB. */
#define LOG_LINE_MAX 16384

/* Lines that wait for each other leave in one write, which a pipe takes whole (PIPE_BUF of
 * pipe(7)). */
#define LOG_BATCH_MAX 4096

static const char *const level_names[LOG_LEVEL_MAX] = {"debug", "info", "warn", "error"};

static struct {
	const char *role;
	enum log_level level;
	bool text;
	bool terminal;
	pid_t pid;
	uint64_t *dropped;
	uint64_t own_dropped;
	int fd;
	bool batching;
	struct buf line;  /* memory of the last line, kept for the next */
	struct buf batch; /* whole lines */
	size_t batch_lines;
	time_t second; /* that text is of */
	char text_of_second[32];
} logger = {.role = "gatehouse",
	.dropped = &logger.own_dropped,
	.level = LOG_INFO,
	.fd = STDERR_FILENO,
	.line = {.max = LOG_LINE_MAX},
	.batch = {.max = LOG_BATCH_MAX}};

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

void log_set_file(int fd)
{
	log_flush();
	if (logger.fd != STDERR_FILENO)
		close(logger.fd);
	logger.fd = fd < 0 ? STDERR_FILENO : fd;
	if (fd >= 0)
		logger.terminal = false;
}

int log_fd(void)
{
	return logger.fd;
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
	return *logger.dropped;
}

void log_count_dropped_in(uint64_t *place)
{
	logger.dropped = place ? place : &logger.own_dropped;
}

/* printf is too slow for what is written with each request. */
static void append_uint(struct buf *line, uint64_t n, int min_digits)
{
	char digits[20];
	int i = (int)sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0 || (int)sizeof(digits) - i < min_digits);
	buf_append(line, digits + i, sizeof(digits) - (size_t)i);
}

static void append_int(struct buf *line, int64_t n)
{
	if (n < 0)
		buf_append_char(line, '-');
	append_uint(line, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 1);
}

static void append_time(struct buf *line)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != logger.second) {
		logger.second = now.tv_sec;
		gmtime_r(&now.tv_sec, &tm);
		strftime(logger.text_of_second, sizeof(logger.text_of_second), "%Y-%m-%dT%H:%M:%S.",
			&tm);
	}
	buf_append_str(line, logger.text_of_second);
	append_uint(line, (uint64_t)now.tv_nsec / 1000000, 3);
	buf_append_char(line, 'Z');
}

/* 0 or the buffer's error. */
static int append_value(struct buf *line, const struct log_kv *kv, bool text)
{
	switch (kv->kind) {
	case LOG_KV_STR:
		return text ? buf_append_span(line, kv->str) : json_write_string(line, kv->str);
	case LOG_KV_INT:
		append_int(line, kv->num);
		break;
	case LOG_KV_BOOL:
		return buf_append_str(line, kv->num ? "true" : "false");
	case LOG_KV_MS:
		append_int(line, kv->num / 1000);
		buf_append_char(line, '.');
		append_uint(line, (uint64_t)(kv->num < 0 ? -kv->num : kv->num) % 1000, 3);
		break;
	case LOG_KV_END:
		break;
	}
	return 0;
}

static void append_json(struct buf *line, enum log_level level, const char *event, const char *msg)
{
	buf_append_str(line, "{\"ts\":\"");
	append_time(line);
	buf_append_str(line, "\",\"level\":\"");
	buf_append_str(line, level_names[level]);
	buf_append_str(line, "\",\"role\":\"");
	buf_append_str(line, logger.role);
	buf_append_str(line, "\",\"pid\":");
	append_int(line, logger.pid);
	buf_append_str(line, ",\"event\":\"");
	buf_append_str(line, event);
	buf_append_char(line, '"');
	if (!*msg)
		return;
	buf_append_str(line, ",\"msg\":");
	json_write_string(line, span_str(msg));
}

static void append_text(struct buf *line, enum log_level level, const char *event, const char *msg)
{
	append_time(line);
	buf_printf(line, " %-5s %-9s %s%s%s", level_names[level], logger.role, event,
		*msg ? ": " : "", msg);
}

static void append_fields(struct buf *line, const struct log_kv *kv)
{
	for (; kv->kind != LOG_KV_END; kv++) {
		size_t before = line->len;

		if (kv->kind == LOG_KV_STR && kv->str.len == 0)
			continue;
		buf_append_str(line, logger.text ? " " : ",\"");
		buf_append_str(line, kv->key);
		buf_append_str(line, logger.text ? "=" : "\":");
		/* leave room for the end; a field that does not fit is left out whole */
		if (append_value(line, kv, logger.text) < 0 || line->failed < 0 ||
			line->len + 2 > LOG_LINE_MAX)
			buf_cut(line, before);
	}
}

static void put(const struct buf *bytes, size_t lines)
{
	if (bytes->len && write(logger.fd, bytes->data, bytes->len) != (ssize_t)bytes->len)
		*logger.dropped += lines;
}

void log_flush(void)
{
	put(&logger.batch, logger.batch_lines);
	buf_clear(&logger.batch);
	logger.batch_lines = 0;
}

void log_set_batching(bool batching)
{
	log_flush();
	logger.batching = batching;
}

static bool join_batch(enum log_level level)
{
	if (!logger.batching || level >= LOG_WARN)
		return false;
	if (logger.batch.len + logger.line.len > LOG_BATCH_MAX)
		log_flush();
	if (buf_append_span(&logger.batch, buf_span(&logger.line)) < 0)
		return false;
	logger.batch_lines++;
	return true;
}

void log_event(enum log_level level, const char *event, const char *msg, const struct log_kv *kv)
{
	struct buf *line = &logger.line;

	buf_clear(line);
	if (logger.text)
		append_text(line, level, event, msg);
	else
		append_json(line, level, event, msg);
	append_fields(line, kv);
	buf_append_str(line, logger.text ? "\n" : "}\n");
	if (join_batch(level))
		return;
	log_flush();
	put(line, 1);
}
