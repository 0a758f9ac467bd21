/*
 * Errors. A function that can fail returns 0 or a negative code from errors.def; where a person
 * needs to know more, its last argument is a struct err that the failing function fills in.
 */
#ifndef GATEHOUSE_ERR_H
#define GATEHOUSE_ERR_H

#include <stdbool.h>

enum err_code {
	ERR_NONE,
#define ERR(name, reason, rpc, http, level, retryable) ERR_##name,
#include "errors.def"
#undef ERR
	ERR_MAX,
};

/* Room for one sentence that names what was wrong, with its terminating zero. */
#define ERR_DETAIL_MAX 512

struct err {
	int code; /* negative err_code, as returned; 0 when unset */
	char detail[ERR_DETAIL_MAX];
};

/*
 * Record code (an enum err_code, positive) and a formatted detail. err may be NULL. Returns -code,
 * so that a failing function ends in `return err_set(err, ERR_X, "...")`. A detail too long is cut.
 */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set, with ": strerror(errno)" appended; the code is ERR_NO_MEMORY for ENOMEM, else
 * ERR_SYSTEM. */
int err_set_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Facts about a code; each takes it negative (as returned) or positive, and treats unknown as
 * INTERNAL. */
const char *err_reason(int code);
int err_rpc_code(int code);
int err_http_status(int code);
int err_log_level(int code);
bool err_retryable(int code);

/* The detail if there is one, else the reason. */
const char *err_text(const struct err *err);

#endif
