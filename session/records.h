/*
 * What sessions must not lose, in two LMDB environments of which this process is the writer: "live"
 * survives the death of any process (group commit, no sync); "durable" gets the changed records
 * each second, or before each acknowledgement, and survives power loss.
 *
 * Which sessions the durable one does not have yet stands in the live one, too, so that a manager
 * that was killed in between leaves nothing behind.
 */
#ifndef GATEHOUSE_RECORDS_H
#define GATEHOUSE_RECORDS_H

#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdint.h>

struct records;

struct session_record {
	uint64_t epoch;
	uint64_t next_event;
	int64_t opened_s; /* wall clock */
	int64_t saved_s;
	struct span principal;
	struct span view; /* of the virtual server; empty: all */
	struct span state; /* JSON of the session worker */
};

/*
 * Open STATE_DIR/sessions-live and STATE_DIR/sessions. After a boot the live one is filled from the
 * durable one. A damaged live one is put aside (sessions-live.damaged) and filled anew, which is
 * logged; a damaged durable one is refused: err says what a person can do.
 */
int records_open(
	const char *state_dir, bool always_durable, struct records **ret_records, struct err *err);
/* After a reload. */
void records_set_always_durable(struct records *records, bool always_durable);
/* Commits and syncs what is left. */
void records_close(struct records *records);

/* Told once a queued write is committed (code 0; with always_durable: synced) or has failed. */
typedef void records_done_fn(void *arg, int code);

/* Queue the record of a session; everything is copied. done (may be NULL)
 * comes from records_flush. */
int records_put(struct records *records, struct span session, const struct session_record *record,
	records_done_fn *done, void *arg);
/* Queue a change of its saved_s, and of its epoch where that is lower. A session without a record
 * stays without. */
int records_touch(struct records *records, struct span session, uint64_t epoch, int64_t saved_s);
/*
 * Queue logged events (see SESSION_EVENTS), whose first id is first. Chunks of the session that
 * begin before keep_from are removed; 0 keeps all.
 */
int records_put_events(struct records *records, struct span session, struct span events,
	uint64_t first, uint64_t keep_from);
/* Queue the removal of the session's record and events. */
int records_remove(struct records *records, struct span session);
/* Commit what is queued. Returns the outcome of the commit. */
int records_flush(struct records *records, struct err *err);
/* The same, then carry what changed to the durable environment, and sync it. */
int records_sync(struct records *records, struct err *err);

/* Of what is committed. Spans live until the next call here. -ERR_NOT_FOUND. */
int records_get(
	struct records *records, struct span session, struct session_record *ret, struct err *err);
/*
 * Append the session's chunks of events from the one that begins at id from, as many as fit in max
 * bytes, but at least one. *ret_next: where to go on, 0: that was all.
 */
int records_get_events(struct records *records, struct span session, uint64_t from, size_t max,
	struct buf *out, uint64_t *ret_next);
/* Visit the chunks of a session, oldest first. */
typedef void records_chunk_fn(void *arg, struct span events);
int records_visit_events(
	struct records *records, struct span session, records_chunk_fn *fn, void *arg);
/*
 * Visit sessions in the order of their ids, from the first that is not less than from; fn returns
 * false to stop, and changes no records. The record lives during the call.
 */
typedef bool records_visit_fn(void *arg, struct span session, const struct session_record *record);
int records_visit(struct records *records, struct span from, records_visit_fn *fn, void *arg);
uint64_t records_count(struct records *records);
void records_write_metrics(struct records *records, struct buf *out);

#endif
