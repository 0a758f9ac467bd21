/* What the files of the store share; nobody else includes it. */
#ifndef GATEHOUSE_STORE_INTERNAL_H
#define GATEHOUSE_STORE_INTERNAL_H

#include "arena.h"
#include "store.h"

#include <lmdb.h>
#include <sys/stat.h>
#include <sys/types.h>

/* A record: kind (16 bits), version (16 bits), check (32 bits over key, kind, version and payload),
 * payload. */
#define STORE_RECORD_HEADER 8u

struct store_queued {
	store_write_fn fn;
	store_done_fn done;
	void *arg;
	int code;        /* 0, or why its fn failed */
	struct err *err; /* malloced; NULL unless its fn failed */
};

struct store_txn {
	struct store *store;
	MDB_txn *mdb;
	bool write;
	bool map_full; /* a change met a full map: grow and repeat */
	bool changed;  /* something was put or deleted since the group commit looked */
	bool wrote;    /* something was put or deleted at all */
	struct arena upgraded;
};

struct store {
	struct store_config config; /* path is owned */
	char *path;
	char boot_id[40];
	MDB_env *env;
	MDB_dbi dbis[STORE_TABLES_MAX];
	MDB_dbi commits;
	unsigned tables;
	int lock_fd;  /* PATH.writer; -1 for a reader */
	int state_fd; /* PATH.state; -1 when the durability needs none */
	uint64_t state_seq;
	MDB_txn *pin;   /* PERIODIC: keeps the pages of the last checkpoint */
	MDB_txn *spare; /* a reset read transaction, kept for the next store_read_begin */
	unsigned reading;
	bool writing;
	pid_t pid;
	dev_t lock_dev;
	ino_t lock_ino;
	size_t map_size;
	struct store_queued *queue;
	size_t queue_len, queue_cap;
	struct store_stats stats;
};

/* Fill err from an LMDB or errno code; returns the negative code of errors.def. */
int store_fail(const struct store *store, int rc, struct err *err, const char *what);
/*
 * A table of the store's own with one record: the number of the transaction that wrote it, put by
 * every write. LMDB takes the meta page with the greater number and has no check on it: one flipped
 * bit there brings back an older state.
 */
#define STORE_COMMITS_TABLE "store.commits"
#define STORE_COMMITS_KEY "last"
int store_note_commit(struct store *store, MDB_txn *txn);

/* The check over a record. */
uint32_t store_record_check(struct span key, uint16_t kind, uint16_t version, struct span payload);
/* True when the stored value is a whole record with a right check. */
bool store_record_valid(struct span key, struct span value);

/*
 * store_check.c: the file as LMDB 0.9 lays it out, read with pread only. The header must be there.
 * deep walks all trees and the free list. *ret_bytes: bytes up to the last used page. -ERR_STORE
 * with a text that names the file.
 */
int store_check_file(
	const char *path, int fd, bool deep, size_t map_max, uint64_t *ret_bytes, struct err *err);
/* Page header and meta of one of the two meta pages. */
#define STORE_META_BYTES 152u
/* The newest meta page as it is in the file; *ret_txn its transaction. */
int store_meta_read(const char *path, int fd, uint8_t ret_meta[STORE_META_BYTES], uint64_t *ret_txn,
	struct err *err);
/* Make a saved meta the newest again, and sync. */
int store_meta_restore(
	const char *path, int fd, const uint8_t meta[STORE_META_BYTES], struct err *err);

/* store_state.c: the boot id and the checkpoint. */
int store_boot_id(const char *given, char ret_id[40], struct err *err);
/*
 * Writer, before LMDB opens the file: discard or put back what an earlier boot left, as PATH.state
 * tells, and open the state file when the durability needs one.
 */
int store_state_prepare(struct store *store, struct err *err);
/* Writer, after LMDB opened the file: note this boot (and the first checkpoint). */
int store_state_begin(struct store *store, struct err *err);
/* Reader: -ERR_AGAIN when the file belongs to an earlier boot. */
int store_state_reader(const struct store *store, struct err *err);
/* PERIODIC: sync, keep the meta page, pin its pages. */
int store_state_checkpoint(struct store *store, struct err *err);

/* path with suffix, in a static-size buffer; -ERR_INVALID_ARGUMENT when too long. */
int store_path(const char *path, const char *suffix, char ret_path[4096], struct err *err);

#endif
