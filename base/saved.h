/*
 * What a process hands to the program that takes its place, as bytes that describe themselves:
 * named values in objects. A reader passes over names it does not know and leaves alone what is
 * missing, so that programs of different versions read each other's.
 *
 * Bytes: "GHSAVED\n", version, oldest, length of all (32 bits each), then values, all little
 * endian: one byte kind, one byte length of the name, the name; then for numbers 64 bits, for
 * descriptors as much and 64 bits for the inode, for bytes and objects a 32-bit length and that
 * much (an object's are again values).
 */
#ifndef GATEHOUSE_SAVED_H
#define GATEHOUSE_SAVED_H

#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAVED_DEPTH_MAX 16u
#define SAVED_NONE ((size_t)-1)

enum saved_kind {
	SAVED_UINT = 'u',
	SAVED_INT = 'i',
	SAVED_BYTES = 'b',
	SAVED_FD = 'd',
	SAVED_OBJECT = 'o',
};

/* --- writing: all or nothing; saved_end tells whether something did not fit --------------------------------------- */

struct saved_writer {
	struct buf *out;
	size_t start;
	unsigned depth;
	size_t open[SAVED_DEPTH_MAX]; /* where the lengths of the objects that are open stand */
};

/* version: of the names; oldest: readers that know this one or a later one understand it. */
void saved_begin(struct saved_writer *writer, struct buf *out, uint32_t version, uint32_t oldest);
/* The document is whole. Returns 0, or why it did not fit. */
int saved_end(struct saved_writer *writer);
void saved_put_uint(struct saved_writer *writer, const char *name, uint64_t value);
void saved_put_int(struct saved_writer *writer, const char *name, int64_t value);
void saved_put_bytes(struct saved_writer *writer, const char *name, struct span bytes);
/* fd below 0: nothing is written. */
void saved_put_fd(struct saved_writer *writer, const char *name, int fd);
void saved_open(struct saved_writer *writer, const char *name);
void saved_close(struct saved_writer *writer);

/* --- reading ---------------------------------------------------------------------------------------------------------- */

struct saved_item {
	enum saved_kind kind;
	struct span name;
	uint64_t number;   /* UINT, INT and FD (the latter two as int64_t) */
	uint64_t inode;    /* FD: of what the descriptor was */
	struct span bytes; /* BYTES and OBJECT */
};

/*
 * Check the whole and hand out its values. -ERR_PROTOCOL with err: it is cut or damaged, or so new that a reader of
 * `version` cannot read it, or older than `oldest`.
 */
int saved_read(struct span document, uint32_t version, uint32_t oldest, struct span *ret_values, struct err *err);
/* The next value of an object of a document that was checked; false: there is none. */
bool saved_next(struct span *rest, struct saved_item *ret_item);
bool saved_is(const struct saved_item *item, const char *name, enum saved_kind kind);
/* By name, the first; what is missing is what the caller says. */
uint64_t saved_get_uint(struct span object, const char *name, uint64_t missing);
struct span saved_get_bytes(struct span object, const char *name);
/* -1 if there is none. */
int saved_get_fd(struct span object, const char *name);
/* An object; SPAN_NONE if there is none, or it is empty. */
struct span saved_get_object(struct span object, const char *name);
/*
 * fn for each descriptor anywhere in the values of a checked document. Neither this nor saved_next allocates or calls
 * anything else, so that a signal handler may.
 */
void saved_each_fd(struct span values, void (*fn)(int fd, void *arg), void *arg);

/* Is the descriptor still what it was when it was saved? For sockets, pipes and files; others share an inode. */
bool saved_fd_stands(const struct saved_item *item);
/* All of an object that are anywhere in it. */
bool saved_fds_stand(struct span object);

/* --- structs by tables -------------------------------------------------------------------------------------------------- */

/* One member. Renaming a member renames the value: the old name then needs a row of its own. */
struct saved_field {
	const char *name;
	enum saved_kind kind;
	size_t offset, size;
	uint64_t max; /* UINT: a larger value is refused; 0: whatever fits the member */
};

#define SAVED_FIELD_(type, member, kind, max) \
	{ \
		#member, kind, offsetof(type, member), sizeof(((type *)0)->member), max \
	}
/* unsigned, bool, size_t */
#define SAVED_MEMBER(type, member) SAVED_FIELD_(type, member, SAVED_UINT, 0)
#define SAVED_SIGNED(type, member) SAVED_FIELD_(type, member, SAVED_INT, 0)
/* an enum below end */
#define SAVED_ENUM(type, member, end) SAVED_FIELD_(type, member, SAVED_UINT, (end)-1)
/* an array of char, zero-terminated */
#define SAVED_TEXT(type, member) SAVED_FIELD_(type, member, SAVED_BYTES, 0)
/* an int; -1 if it is none, and where it is missing */
#define SAVED_DESCRIPTOR(type, member) SAVED_FIELD_(type, member, SAVED_FD, 0)

void saved_put_fields(struct saved_writer *writer, const struct saved_field *rows, size_t n, const void *members);
/* -ERR_PROTOCOL with err: a value that this program cannot take. */
int saved_get_fields(struct span object, const struct saved_field *rows, size_t n, void *members, struct err *err);

#define SAVED_ROWS(rows) (rows), sizeof(rows) / sizeof(*(rows))

#endif
