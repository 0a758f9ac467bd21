/*
 * LMDB environments with versioned, checked records: one writer process per environment, any number
 * of readers that look up without a lock. A library of its own, because the root and the session
 * workers must not link LMDB.
 *
 * Single-threaded, as every process of the house. Never use a store in a child made by fork
 * (refused), from two pid namespaces, or open one environment twice in a process, not even to read:
 * LMDB then resets the table of readers, and either's close drops the POSIX locks of both.
 *
 * Files, all mode 0600:
 * - PATH: the data
 * - PATH-lock: LMDB's table of readers
 * - PATH.writer: held with flock by the writer, for its life
 * - PATH.state: LIVE and PERIODIC: the boot id under which PATH was written, and the checkpoint
 *
 * What survives: kill -9 of anything, always. Power loss: see enum store_durability.
 */
#ifndef GATEHOUSE_STORE_H
#define GATEHOUSE_STORE_H

#include "buf.h"
#include "err.h"
#include "histogram.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_READERS_MAX 1024u               /* read transactions at once, all processes */
#define STORE_TABLES_MAX 32u                  /* named tables of one environment */
#define STORE_KEY_MAX 511u                    /* bytes of a key, at least 1 */
#define STORE_VALUE_MAX (64u * 1024u * 1024u) /* bytes of a payload */
#define STORE_UPGRADED_MAX \
	(64u * 1024u * 1024u) /* bytes of upgraded records held by one transaction */
#define STORE_BATCH_MAX 4096u /* writes waiting for one group commit */

enum store_durability {
	/* Synced at each commit: a committed record survives power loss. */
	STORE_SYNC,
	/* Never synced. Discarded by the writer's store_open when the machine has booted since. */
	STORE_LIVE,
	/*
	 * Synced when the writer calls store_sync. After power loss the environment is exactly as
	 * it was at the last store_sync that returned 0. Unsynced LMDB alone does not promise that
	 * (pages and both meta pages may reach the disk in any order): between syncs a read
	 * transaction keeps the synced pages from reuse, and the synced meta page is kept in
	 * PATH.state, from where it is put back when the boot id has changed.
	 * The price: pages freed between two syncs are not used again before the second. The file
	 * grows by some pages a commit and sync interval, so group commits; at map_max a sync is
	 * made early.
	 */
	STORE_PERIODIC,
};

/* A kind of record: kinds and versions are the caller's enum;
 * version is what this program writes. */
struct store_kind {
	uint16_t kind;
	uint16_t version;
	const char *name; /* for error texts */
};

/*
 * One step of an upgrade: turn a payload of version `from` into version from + 1, appended to out
 * (empty, maximum STORE_VALUE_MAX). Called when an older record is read; the record on disk stays
 * as it is until it is put again.
 */
struct store_upgrade {
	uint16_t kind;
	uint16_t from;
	int (*upgrade)(struct span old, struct buf *out, struct err *err);
};

/* Everything is borrowed and must outlive the store, except path and boot_id, which are copied. */
struct store_config {
	const char *path;
	bool writer;
	enum store_durability durability; /* looked at for the writer only */
	size_t map_first;          /* bytes of map to begin with; 0 gives 1 MiB; writer only */
	size_t map_max;            /* growth ends here; 0 gives 1 GiB */
	const char *const *tables; /* NULL-terminated; a table is named by its index */
	const struct store_kind *kinds;
	size_t kinds_len;
	const struct store_upgrade *upgrades;
	size_t upgrades_len;
	const char *boot_id; /* NULL: that of the running kernel */
};

struct store_stats {
	uint64_t map_bytes;
	uint64_t used_bytes; /* up to the last page ever used; freed pages inside are not subtracted
			      */
	uint64_t commits;
	struct histogram commit; /* durations of commits, or of syncs for PERIODIC */
	uint32_t readers;   /* slots in use or not yet cleared */
	uint32_t grown;     /* times the map grew in this process */
};

struct store;
struct store_txn;
struct store_cursor;

/*
 * Open, and for the writer create, the environment. The writer first examines the whole file: a
 * foreign, truncated or damaged one is refused before LMDB maps it. A reader examines the header.
 * -ERR_BUSY: another process is its writer (the text names its pid). -ERR_AGAIN: a reader came
 * before the writer has made the file, or a table, or has taken it over after a boot: try again.
 * -ERR_STORE: refused, the text names the file.
 */
int store_open(const struct store_config *config, struct store **ret_store, struct err *err);

/* PERIODIC syncs first. Every transaction and cursor must be ended. NULL is accepted. */
void store_close(struct store *store);

/* Remove the files of an environment that no process has open; 0 also when there are none.
 * -ERR_BUSY: it has a writer. */
int store_remove(const char *path, struct err *err);

/*
 * Begin a read transaction: a snapshot, which pins pages until store_read_end, so keep it short. A
 * map that the writer has grown is taken over here. -ERR_STORE_FULL: all reader slots are taken by
 * living processes.
 */
int store_read_begin(struct store *store, struct store_txn **ret_txn, struct err *err);
void store_read_end(struct store_txn *txn);

/*
 * The change of one write. May run more than once (a full map grows and the write is repeated), so
 * it changes nothing but the transaction. Returns 0 to commit, or a negative code to undo, which
 * store_write returns.
 */
typedef int (*store_write_fn)(struct store_txn *txn, void *arg, struct err *err);

/*
 * Run fn in a write transaction and commit. No read transaction of this process may be open. Waits
 * while another transaction writes (there is none: one writer). -ERR_STORE_FULL: map_max is
 * reached; -ERR_STORE: disk full or failing. In both cases nothing was written and reads go on.
 */
int store_write(struct store *store, store_write_fn fn, void *arg, struct err *err);

/*
 * Group commit: queue a write; store_flush runs all queued ones in one transaction, in order, and
 * commits once. done (may be NULL) is then called for each, in order, with its outcome: one whose
 * fn failed is left out and does not spoil the others; a failed commit fails all. err as given to
 * done is valid during the call. done may queue again. arg must live until done. -ERR_TOO_MANY:
 * STORE_BATCH_MAX wait: flush first.
 */
typedef void (*store_done_fn)(void *arg, int code, const struct err *err);
int store_queue(struct store *store, store_write_fn fn, store_done_fn done, void *arg);
/* Returns the outcome of the commit; 0 when nothing waits. What is still queued at store_close is
 * done with -ERR_CLOSED. */
int store_flush(struct store *store, struct err *err);
size_t store_queued(const struct store *store);

/* Make everything committed so far survive power loss (any durability). For PERIODIC: call each N
 * ms. */
int store_sync(struct store *store, struct err *err);

/* Free the slots of dead readers. Call when a reader's death is reported. Also notices a replaced
 * lock file. */
int store_reader_check(struct store *store, unsigned *ret_freed, struct err *err);

void store_get_stats(struct store *store, struct store_stats *ret_stats);

/*
 * Look up. The payload points into the map (or, when it had to be upgraded, into memory of the
 * transaction) and is valid until the transaction ends or, in a write transaction, until its next
 * change. Not aligned. -ERR_NOT_FOUND; -ERR_STORE: the record is damaged, of another kind, or newer
 * than this program knows.
 */
int store_get(struct store_txn *txn, unsigned table, struct span key, uint16_t kind,
	struct span *ret_payload, struct err *err);

/* Insert or replace, in a write transaction. payload must not point into the map (a result of
 * store_get). */
int store_put(struct store_txn *txn, unsigned table, struct span key, uint16_t kind,
	struct span payload, struct err *err);

/* -ERR_NOT_FOUND when there is none. */
int store_delete(struct store_txn *txn, unsigned table, struct span key, struct err *err);

/* Records of a table. */
int store_count(struct store_txn *txn, unsigned table, uint64_t *ret_count, struct err *err);

/*
 * Walk the records whose key begins with prefix (SPAN_NONE: all), in byte order, from the first key
 * that is not less than from (SPAN_NONE: the first). prefix is copied. Free the cursor before its
 * transaction ends.
 */
int store_cursor_new(struct store_txn *txn, unsigned table, uint16_t kind, struct span prefix,
	struct span from, struct store_cursor **ret_cursor, struct err *err);
/* The next record, valid until the next call; -ERR_NOT_FOUND at the end; other errors as store_get
 * (the walk may go on). */
int store_cursor_next(struct store_cursor *cursor, struct span *ret_key, struct span *ret_payload,
	struct err *err);
/* Delete the record last returned (write transaction). */
int store_cursor_delete(struct store_cursor *cursor, struct err *err);
void store_cursor_free(struct store_cursor *cursor);

#endif
