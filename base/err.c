#include "err.h"
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
	const char *reason;
	int rpc;
	int http;
	int level;
	bool retryable;
};

static const struct err_row err_rows[ERR_MAX] = {
	[ERR_NONE] = {"none", 0, 200, LOG_DEBUG, false},
#define ERR(name, reason, rpc, http, level, retryable) \
	[ERR_##name] = {reason, rpc, http, level, retryable},
#include "errors.def"
#undef ERR
};

static const struct err_row *err_row(int code)
{
	if (code < 0)
		code = -code;
	if (code < 0 || code >= ERR_MAX)
		code = ERR_INTERNAL;
	return &err_rows[code];
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	if (err) {
		va_list args;

		err->code = -(int)code;
		va_start(args, fmt);
		vsnprintf(err->detail, sizeof(err->detail), fmt, args);
		va_end(args);
	}
	return -(int)code;
}

int err_set_errno(struct err *err, const char *fmt, ...)
{
	int saved = errno;
	enum err_code code = saved == ENOMEM ? ERR_NO_MEMORY : ERR_SYSTEM;

	if (err) {
		va_list args;
		size_t used;

		err->code = -(int)code;
		va_start(args, fmt);
		vsnprintf(err->detail, sizeof(err->detail), fmt, args);
		va_end(args);
		used = strlen(err->detail);
		snprintf(err->detail + used, sizeof(err->detail) - used, ": %s", strerror(saved));
	}
	errno = saved;
	return -(int)code;
}

const char *err_reason(int code)
{
	return err_row(code)->reason;
}

int err_rpc_code(int code)
{
	return err_row(code)->rpc;
}

int err_http_status(int code)
{
	return err_row(code)->http;
}

int err_log_level(int code)
{
	return err_row(code)->level;
}

bool err_retryable(int code)
{
	return err_row(code)->retryable;
}

const char *err_text(const struct err *err)
{
	return err->detail[0] ? err->detail : err_reason(err->code);
}
