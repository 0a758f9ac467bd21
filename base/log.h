/*
 * Structured log: one event per line, JSON (or text on a terminal), written without blocking to
 * standard error, or to the file of log_set_file. What cannot be written at once is dropped and counted. Library code does not log:
 * it returns an error, its caller logs. Field names are those of docs/operating.md.
 */
#ifndef GATEHOUSE_LOG_H
#define GATEHOUSE_LOG_H

#include "span.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVEL_MAX };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT, LOG_FORMAT_MAX };

enum log_kind { LOG_KV_END, LOG_KV_STR, LOG_KV_INT, LOG_KV_BOOL, LOG_KV_MS };

struct log_kv {
	enum log_kind kind;
	const char *key;
	struct span str;
	int64_t num;
};

#define KV_STR(k, v) ((struct log_kv){LOG_KV_STR, (k), span_str(v), 0})
#define KV_SPAN(k, v) ((struct log_kv){LOG_KV_STR, (k), (v), 0})
#define KV_INT(k, v) ((struct log_kv){LOG_KV_INT, (k), SPAN_NONE, (int64_t)(v)})
#define KV_BOOL(k, v) ((struct log_kv){LOG_KV_BOOL, (k), SPAN_NONE, (v)})
/* v in microseconds, shown as milliseconds with three decimals */
#define KV_MS(k, v) ((struct log_kv){LOG_KV_MS, (k), SPAN_NONE, (int64_t)(v)})

/* role is kept by reference. Also reads whether standard error is a terminal. */
void log_init(const char *role);
/* After a fork that gives the process another role or pid. */
void log_reset_process(const char *role);
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
/* "debug" … "error" → level, or -ERR_INVALID_ARGUMENT. */
int log_level_parse(const char *name);
const char *log_level_name(int level);
bool log_enabled(enum log_level level);
/*
 * Write to this file from now on, instead of to the one before it or to standard error; -1: to
 * standard error again. Takes fd over. A file is no terminal: format auto means JSON.
 */
void log_set_file(int fd);
/* The descriptor lines are written to; owned by the log. */
int log_fd(void);
/* Lines dropped because they could not be written at once. */
uint64_t log_dropped(void);
/* Count them there (borrowed), on top of what stands there; NULL: again for this process alone. */
void log_count_dropped_in(uint64_t *place);

/*
 * For a process that logs with each request: lines below warn are kept, up to 4 KB of them, until
 * log_flush, a line of warn or error, or the next one that has no room. Whoever sets it flushes at
 * the end of each turn of its loop and before it exits.
 */
void log_set_batching(bool batching);
void log_flush(void);

/* event: a short dotted word ("call", "session.opened"). kv ends with a LOG_KV_END row; strings
 * with "" are left out. */
void log_event(enum log_level level, const char *event, const char *msg, const struct log_kv *kv);

#define LOG_AT(level, event, msg, ...) \
	do { \
		if (log_enabled(level)) \
			log_event(level, event, msg, \
				(const struct log_kv[]){__VA_ARGS__ __VA_OPT__(, ){ \
					LOG_KV_END, NULL, {NULL, 0}, 0}}); \
	} while (0)
#define log_debug(event, msg, ...) LOG_AT(LOG_DEBUG, event, msg, __VA_ARGS__)
#define log_info(event, msg, ...) LOG_AT(LOG_INFO, event, msg, __VA_ARGS__)
#define log_warn(event, msg, ...) LOG_AT(LOG_WARN, event, msg, __VA_ARGS__)
#define log_error(event, msg, ...) LOG_AT(LOG_ERROR, event, msg, __VA_ARGS__)

#endif
