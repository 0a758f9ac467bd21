/*
 * JSON text without a tree: one strict pass that says whether a text is JSON, then accessors that
 * walk the checked bytes and hand out spans of them, then edits that replace single values and
 * leave every other byte as it came. Nothing here allocates unless an arena or a buffer is given.
 *
 * A value is the span of one JSON value without white space around it, pointing into the text it
 * was found in and living as long. Accessors expect text that json_check() has accepted; on other
 * text they give wrong answers but never read outside the span and always end.
 *
 * Source: RFC 8259. Escaped surrogates may stand alone (§8.2); decoded, such a one is U+FFFD.
 */
#ifndef GATEHOUSE_JSON_H
#define GATEHOUSE_JSON_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

/* The greatest depth_max that json_check() takes; a larger one is cut to it. */
#define JSON_DEPTH_LIMIT 1024u

enum json_type {
	JSON_NONE, /* an empty span: not there */
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
	JSON_TYPE_MAX,
};

/*
 * Is text exactly one JSON value (white space around it allowed) in valid UTF-8? An object or array
 * at the top has depth 1; depth_max levels pass, one more fails. Duplicate keys pass. No byte order
 * mark. Returns 0, -ERR_PARSE or -ERR_TOO_DEEP, with "byte N: expected ..." in err (N counts from
 * 0).
 */
int json_check(struct span text, unsigned depth_max, struct err *err);

/* The value in a checked text: without the white space around it. */
struct span json_trim(struct span text);
/*
 * Put a checked text onto one line, in place: its line ends stand between tokens, where a space
 * means the same. For transports that end a message with a line end (MCP, stdio transport:
 * messages "MUST NOT contain embedded newlines").
 */
void json_one_line(char *text, size_t len);
/* Told from the first byte; JSON_NONE for an empty span. */
enum json_type json_type(struct span value);
/* "object", "string", ... as a person reads it; "nothing" for JSON_NONE. */
const char *json_type_name(enum json_type type);

/*
 * The value of a member; SPAN_NONE if there is none or object is not an object. Keys are compared
 * decoded, so
 * "\u0061" is "a". Of duplicate keys the FIRST counts, here and in all functions below; where a
 * peer might read another one than we do, use json_object_get_many() and refuse a count above 1.
 */
struct span json_object_get(struct span object, struct span key);
/* json_object_get() from object to object: json_path(body, "params", "_meta", NULL). */
struct span json_path(struct span value, ...) __attribute__((sentinel));

/* One wanted member. Set key; the rest is filled in. */
struct json_field {
	struct span key;
	struct span value; /* of the first member of that name, else SPAN_NONE */
	unsigned count;    /* members of that name */
};
/* Fill n fields in one pass over object. Returns the number of members object has (0 if not an
 * object). */
size_t json_object_get_many(struct span object, struct json_field *fields, size_t n);

/* A walk over an object or an array; over anything else it ends at once. */
struct json_iter {
	const char *p;
	const char *end;
};
struct json_iter json_iter(struct span container);
/* The next member; *ret_key is the raw string with its quotes (compare with json_equal_string).
 * False at the end. */
bool json_iter_member(struct json_iter *iter, struct span *ret_key, struct span *ret_value);
/* The next element. False at the end. */
bool json_iter_element(struct json_iter *iter, struct span *ret_value);
/* Members or elements; 0 for anything else. */
size_t json_count(struct span container);

/* Is value a string that decodes to text? */
bool json_equal_string(struct span value, struct span text);
/* Do two strings decode to the same text, or are two other values the same bytes? For ids and
 * tokens. */
bool json_equal_scalar(struct span a, struct span b);
/* Does the string contain a backslash (so that its inner bytes are not its text)? */
bool json_string_escaped(struct span value);
/*
 * The text of a string. Without escapes *ret is a view of value, nothing is copied; else it lies in
 * the arena. 0, -ERR_INVALID_ARGUMENT (not a string), -ERR_NO_MEMORY (arena full).
 */
int json_string_decode(struct span value, struct arena *arena, struct span *ret);
/* The same into size bytes at dst (always copied, not terminated); -ERR_TOO_LARGE if it does not
 * fit. */
int json_string_copy(struct span value, char *dst, size_t size, struct span *ret);
/* The same, appended to out: all or nothing. */
int json_string_append(struct span value, struct buf *out);

/* 0, or -ERR_INVALID_ARGUMENT: not a number written as plain digits, or beyond 64 bits. 1.0 and 1e2
 * are refused. */
int json_get_int64(struct span value, int64_t *ret);
/* 0, or -ERR_INVALID_ARGUMENT. */
int json_get_bool(struct span value, bool *ret);

/* Replace the bytes at by the bytes with. An empty at (pointing where) inserts; an empty with
 * removes. */
struct json_edit {
	struct span at; /* part of the text to be spliced */
	struct span with;
	bool comma; /* write a comma after with */
};
/*
 * Append text to out with n edits made. Edits must lie inside text, sorted by position, without
 * overlap. 0, -ERR_INVALID_ARGUMENT, or the buffer's error; out is unchanged on failure.
 */
int json_splice(struct span text, const struct json_edit *edits, size_t n, struct buf *out);
/* Sort edits for json_splice(); those at the same place keep their order. For few edits. */
void json_edit_sort(struct json_edit *edits, size_t n);

/*
 * An edit that puts members (text: "\"a\":1,\"b\":2") in front of those that object has. One per
 * object and splice. The edit refers to members, which must live until the splice.
 */
struct json_edit json_edit_prepend(struct span object, struct span members);
/* An edit that removes the first member of that name, with its comma. False if there is none. One
 * per object and splice. */
bool json_edit_remove(struct span object, struct span key, struct json_edit *ret);
/*
 * Both at once, and any number of removals: remove every member named by one of the n_remove keys
 * (duplicates too), put members (may be empty) in front. Writes at most max sorted edits; 0 or
 * -ERR_TOO_MANY. Edits of values that are kept may be added by the caller (then json_edit_sort).
 * -ERR_INVALID_ARGUMENT if object is not an object.
 */
int json_edit_object(struct span object, const struct span *remove, size_t n_remove,
	struct span members, struct json_edit *edits, size_t max, size_t *ret_n);

#endif
