/* What the files of the records share; nobody else includes it. */
#ifndef GATEHOUSE_RECORDS_INTERNAL_H
#define GATEHOUSE_RECORDS_INTERNAL_H

#include "records.h"
#include "store.h"

#include <uthash.h>

/*
 * sessions: SESSION → record
 * events: SESSION 00 first-id → chunk of events
 * unsynced: SESSION → nothing: the durable environment does not have it as it is here
 * about: "complete" → nothing: everything was once copied here
 */
enum { TABLE_SESSIONS, TABLE_EVENTS, TABLE_UNSYNCED, TABLE_ABOUT };
enum { RECORD_SESSION = 1, RECORD_EVENTS = 2, RECORD_MARK = 3 };

/* A session whose records the durable environment does not have yet. */
struct unsynced {
	char *session;
	bool noted;           /* in the live environment's table, too */
	bool whole;           /* all its events are to be copied, not only new ones */
	uint64_t events_from; /* the first id among the new ones */
	UT_hash_handle hh;
};

struct write;

struct records {
	struct store *live, *durable;
	bool always_durable;
	struct unsynced *unsynced;
	/* committed, and acknowledged once they are synced (always_durable) */
	struct write *committed, **committed_end;
	struct buf read; /* what records_get hands out */
};

struct span records_event_key(char room[STORE_KEY_MAX], struct span session, uint64_t first);
/* First id of the chunk with this key. */
uint64_t records_event_first(struct span key);
/* A cursor over the chunks of a session that begin at id from or later. */
int records_event_cursor(struct store_txn *txn, struct span session, uint64_t from,
	struct store_cursor **ret_cursor, struct err *err);
/* Remove the chunks that begin before an id. */
int records_remove_events(
	struct store_txn *txn, struct span session, uint64_t before, struct err *err);
/* From version 1 of a session's record. */
int records_upgrade_session(struct span old, struct buf *out, struct err *err);
int records_visit_store(struct store *store, struct span from, records_visit_fn *fn, void *arg);

/* records_durable.c */
/* NULL: out of memory. */
struct unsynced *records_mark(struct records *records, struct span session);
struct unsynced *records_marked(struct records *records, struct span session);
/* Carry everything marked over and sync. */
int records_copy_marked(struct records *records, struct err *err);
void records_forget_marks(struct records *records);

#endif
