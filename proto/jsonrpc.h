/*
 * JSON-RPC 2.0 envelopes as MCP uses them: read without a tree, written with ids and payloads byte
 * for byte.
 *
 * Sources: https://www.jsonrpc.org/specification; MCP schema, JSONRPCMessage (ids are strings or
 * integers, never null; params is an object; an error response may lack its id).
 */
#ifndef GATEHOUSE_JSONRPC_H
#define GATEHOUSE_JSONRPC_H

#include "buf.h"
#include "err.h"
#include "json.h"
#include "span.h"

#include <stdint.h>

/* The longest raw id token that is taken, quotes included. */
#define JSONRPC_ID_MAX 512u
/* The longest method name, decoded. */
#define JSONRPC_METHOD_MAX 128u

enum jsonrpc_kind {
	JSONRPC_NONE,
	JSONRPC_REQUEST,
	JSONRPC_NOTIFICATION,
	JSONRPC_RESULT, /* a response that succeeded */
	JSONRPC_ERROR,  /* a response that failed */
	JSONRPC_BATCH,  /* an array: see jsonrpc_batch_next */
	JSONRPC_KIND_MAX,
};

/*
 * One message. Spans point into the body, except that a method that was written with escapes lies
 * in method_buf: then the struct must not be copied. SPAN_NONE where absent.
 */
struct jsonrpc {
	enum jsonrpc_kind kind;
	struct span body;   /* the whole value, trimmed */
	struct span id;     /* raw token: 7 or "x" with quotes */
	struct span method; /* decoded, without quotes */
	struct span params; /* an object; null counts as absent */
	struct span result; /* any value */
	struct span error;  /* an object; see jsonrpc_error_get */
	size_t batch_len;   /* elements of a batch */
	char method_buf[JSONRPC_METHOD_MAX];
};

/*
 * Check body (json_check, LIMIT_JSON_DEPTH) and classify it. A message with a method is a request
 * or a notification, never a reply. Returns 0 or
 *   -ERR_PARSE, -ERR_TOO_DEEP  not JSON
 *   -ERR_INVALID_REQUEST       not a JSON-RPC 2.0 message: "jsonrpc" is not "2.0"; an id that is
 *                              null, fractional, boolean or too long; an envelope key given twice;
 *                              both or neither of result and error
 *   -ERR_INVALID_PARAMS        params is an array
 * In every case *ret is set; on failure only ret->id, kind (JSONRPC_NONE) and body mean something:
 * id is what the error answer echoes, SPAN_NONE (written as null) if it could not be told. A
 * message that fails and has a readable method but no "id" key was a notification; MCP over HTTP
 * still answers it with the HTTP error.
 */
int jsonrpc_parse(struct span body, struct jsonrpc *ret, struct err *err);
/* The same for a value that is part of a text already checked. */
int jsonrpc_parse_checked(struct span value, struct jsonrpc *ret, struct err *err);
/*
 * The next element of a batch; start with iter = json_iter(batch->body). Returns 1 with an element
 * in *ret, 0 at the end, or a negative error about this element (the walk may go on; a nested batch
 * is -ERR_INVALID_REQUEST).
 */
int jsonrpc_batch_next(struct json_iter *iter, struct jsonrpc *ret, struct err *err);

const char *jsonrpc_kind_name(enum jsonrpc_kind kind);
/* True for JSONRPC_RESULT and JSONRPC_ERROR. */
bool jsonrpc_is_reply(const struct jsonrpc *msg);
/* Is raw a usable id token (a string, or a whole number: digits, perhaps with zeros behind a point,
 * which some peers write; of at most JSONRPC_ID_MAX bytes)? */
bool jsonrpc_id_valid(struct span raw);
/* A raw id that is one of our own small integers: a whole number without a sign, below 2^63. 0 or
 * -ERR_INVALID_ARGUMENT. */
int jsonrpc_id_uint64(struct span raw, uint64_t *ret);
/*
 * The n-th id that a process gives out, below 2^31: there are peers that keep ids in 32 bits. Those
 * of processes that follow one another (maker: their number) lie far apart, so that a late answer to
 * one is not taken for one to the next. 0 is none: take the next n.
 */
uint64_t jsonrpc_own_id(uint64_t maker, uint64_t n);
/* Parts of an error object; *ret_message is the raw string token. 0 or -ERR_INVALID_REQUEST (no
 * integer code or no message). */
int jsonrpc_error_get(
	struct span error, int64_t *ret_code, struct span *ret_message, struct span *ret_data);

/* Did the call that failed run? Part of every error that Gatehouse makes. */
enum jsonrpc_executed {
	JSONRPC_EXECUTED_NO,
	JSONRPC_EXECUTED_UNKNOWN,
};

/*
 * Writers append one message without a newline; 0 or the buffer's error, out unchanged on failure.
 * Spans of JSON (raw ids, params, result, data) are copied as they are and trusted; empty ones are
 * left out, an empty raw_id is written as null, an empty result as {}. method and message are plain
 * text.
 */
int jsonrpc_write_request(struct buf *out, uint64_t id, struct span method, struct span params);
int jsonrpc_write_request_raw(
	struct buf *out, struct span raw_id, struct span method, struct span params);
int jsonrpc_write_notification(struct buf *out, struct span method, struct span params);
int jsonrpc_write_result(struct buf *out, struct span raw_id, struct span result);
int jsonrpc_write_error(
	struct buf *out, struct span raw_id, int64_t code, struct span message, struct span data);
/*
 * An error of our own: code from errors.def, message from err's detail, and data {"reason",
 * "retryable", "executed"}.
 */
int jsonrpc_write_err(
	struct buf *out, struct span raw_id, const struct err *err, enum jsonrpc_executed executed);
/* The same with more members in data, in front: extra is "\"a\":1,\"b\":2" or empty. */
int jsonrpc_write_err_data(struct buf *out, struct span raw_id, const struct err *err,
	enum jsonrpc_executed executed, struct span extra);

#endif
