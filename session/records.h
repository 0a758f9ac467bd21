/*
 * What sessions must not lose, in two LMDB environments of which this process is the writer: "live" survives the death of any
 * process (group commit, no sync); "durable" gets the changed records each second, or before each acknowledgement, and
 * survives power loss.
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
	struct span state; /* JSON of the session worker */
};

/* Open STATE_DIR/sessions-live and STATE_DIR/sessions. After a boot the live one is filled from the durable one. */
int records_open(const char *state_dir, bool always_durable, struct records **ret_records, struct err *err);
void records_close(struct records *records);

/* Told once a queued write is committed (code 0) or has failed. */
typedef void records_done_fn(void *arg, int code);

/* Queue the record of a session; everything is copied. done (may be NULL) comes from records_flush. */
int records_put(struct records *records, struct span session, const struct session_record *record, records_done_fn *done,
	void *arg);
/* Queue logged events (see SESSION_EVENTS); those older than keep events before the newest are removed. */
int records_put_events(struct records *records, struct span session, struct span events, uint64_t keep);
int records_remove(struct records *records, struct span session);
/* Commit what is queued. */
void records_flush(struct records *records);
/* Carry what changed to the durable environment, and sync it. */
int records_sync(struct records *records, struct err *err);

/* Read a session into out-parameters that live until the next call here; -ERR_NOT_FOUND. */
int records_get(struct records *records, struct span session, struct session_record *ret, struct err *err);
/* Append the logged events of a session. */
int records_get_events(struct records *records, struct span session, struct buf *out);
/* Visit all sessions; fn returns false to stop. The record lives during the call. */
typedef bool records_visit_fn(void *arg, struct span session, const struct session_record *record);
int records_visit(struct records *records, records_visit_fn *fn, void *arg);
uint64_t records_count(struct records *records);
void records_write_metrics(struct records *records, struct buf *out);

#endif
