/* The registry's LMDB environment: facts and lists of each server, so that a restarted node has its
 * catalogue at once. */
#ifndef GATEHOUSE_RECORDS_H
#define GATEHOUSE_RECORDS_H

#include "catalogue.h"
#include "err.h"
#include "span.h"

struct records;

/* Open STATE_DIR/registry as its writer. */
int records_open(const char *state_dir, struct records **ret_records, struct err *err);
void records_close(struct records *records);

/*
 * Take n numbers that were never taken before, *first or greater; *first is the first of them.
 * Durable.
 */
int records_take_generations(struct records *records, uint64_t n, uint64_t *first, struct err *err);
/* Remove what is stored of servers that fn does not want to keep. */
typedef bool records_keep_fn(void *arg, struct span name);
int records_prune(struct records *records, records_keep_fn *fn, void *arg, struct err *err);

/* version and facts of a server; list of one kind. Durable when they return 0. */
int records_put_facts(struct records *records, const char *server, struct span version,
	struct span facts, struct err *err);
int records_put_list(struct records *records, const char *server, enum catalogue_kind kind,
	struct span list, struct err *err);
/* fn is called for what is stored of the server: kind CATALOGUE_KIND_MAX are the facts (version in
 * front, a zero byte). */
typedef void records_fn(void *arg, enum catalogue_kind kind, struct span payload);
int records_read(
	struct records *records, const char *server, records_fn *fn, void *arg, struct err *err);
/* "gatehouse_lmdb_used_bytes{env=\"registry\"} …" lines. */
struct buf;
void records_write_metrics(struct records *records, struct buf *out);

#endif
