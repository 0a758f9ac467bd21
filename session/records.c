/* Sessions' records: encoding, group commit, reading. What becomes durable: records_durable.c. */
#include "bounds.h"
#include "records_internal.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

/* --- encoding ------------------------------------------------------------------------------- */

/* epoch, next_event, opened, saved (64 bits each, big endian), lengths of principal (16 bits) and
 * view (8 bits), principal, view, state. Version 1 had no view. */
#define HEADER_SIZE 35u
#define HEADER_SIZE_1 34u

static void put64(char *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
}

static uint64_t get64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return be64toh(v);
}

static int encode(const struct session_record *record, struct buf *out)
{
	char header[HEADER_SIZE];
	int r;

	if (record->principal.len > UINT16_MAX || record->view.len > UINT8_MAX)
		return -ERR_TOO_LARGE;
	put64(header, record->epoch);
	put64(header + 8, record->next_event);
	put64(header + 16, (uint64_t)record->opened_s);
	put64(header + 24, (uint64_t)record->saved_s);
	header[32] = (char)(record->principal.len >> 8);
	header[33] = (char)record->principal.len;
	header[34] = (char)record->view.len;
	r = buf_append(out, header, HEADER_SIZE);
	if (r == 0)
		r = buf_append_span(out, record->principal);
	if (r == 0)
		r = buf_append_span(out, record->view);
	return r == 0 ? buf_append_span(out, record->state) : r;
}

static int decode(struct span bytes, struct session_record *ret)
{
	size_t n, view;

	if (bytes.len < HEADER_SIZE)
		return -ERR_STORE;
	n = (size_t)(unsigned char)bytes.p[32] << 8 | (unsigned char)bytes.p[33];
	view = (unsigned char)bytes.p[34];
	if (n + view > bytes.len - HEADER_SIZE)
		return -ERR_STORE;
	*ret = (struct session_record){
		.epoch = get64(bytes.p),
		.next_event = get64(bytes.p + 8),
		.opened_s = (int64_t)get64(bytes.p + 16),
		.saved_s = (int64_t)get64(bytes.p + 24),
		.principal = span_of(bytes.p + HEADER_SIZE, n),
		.view = span_of(bytes.p + HEADER_SIZE + n, view),
		.state = span_of(bytes.p + HEADER_SIZE + n + view,
			bytes.len - HEADER_SIZE - n - view),
	};
	return 0;
}

int records_upgrade_session(struct span old, struct buf *out, struct err *err)
{
	int r;

	if (old.len < HEADER_SIZE_1)
		return err_set(err, ERR_STORE, "a session's record is cut");
	r = buf_append(out, old.p, HEADER_SIZE_1);
	if (r == 0)
		r = buf_append_char(out, '\0');
	return r < 0 ? r : buf_append(out, old.p + HEADER_SIZE_1, old.len - HEADER_SIZE_1);
}

/* --- events --------------------------------------------------------------------------------- */

struct span records_event_key(char room[STORE_KEY_MAX], struct span session, uint64_t first)
{
	memcpy(room, session.p, session.len);
	room[session.len] = '\0';
	put64(room + session.len + 1, first);
	return span_of(room, session.len + 9);
}

uint64_t records_event_first(struct span key)
{
	return key.len > 8 ? get64(key.p + key.len - 8) : 0;
}

int records_event_cursor(struct store_txn *txn, struct span session, uint64_t from,
	struct store_cursor **ret_cursor, struct err *err)
{
	char room[STORE_KEY_MAX];
	struct span key = records_event_key(room, session, from);

	return store_cursor_new(txn, TABLE_EVENTS, RECORD_EVENTS, span_of(room, session.len + 1),
		key, ret_cursor, err);
}

int records_remove_events(
	struct store_txn *txn, struct span session, uint64_t before, struct err *err)
{
	struct store_cursor *cursor = NULL;
	struct span key, value;
	int r = records_event_cursor(txn, session, 0, &cursor, err);

	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, err);
		if (r < 0 || records_event_first(key) >= before)
			break;
		r = store_cursor_delete(cursor, err);
	}
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

/* --- writes --------------------------------------------------------------------------------- */

enum write_kind { WRITE_SESSION, WRITE_TOUCH, WRITE_EVENTS, WRITE_REMOVE };

struct write {
	struct write *next;
	struct records *records;
	enum write_kind kind;
	struct span session, value; /* in memory */
	uint64_t first, keep_from;
	uint64_t epoch;
	int64_t saved_s;
	records_done_fn *done;
	void *arg;
	char memory[];
};

static int touch(struct store_txn *txn, const struct write *write, struct err *err)
{
	struct session_record record;
	struct span old;
	struct buf fresh;
	int r = store_get(txn, TABLE_SESSIONS, write->session, RECORD_SESSION, &old, err);

	if (r < 0)
		return r == -ERR_NOT_FOUND ? 0 : r;
	r = decode(old, &record);
	record.saved_s = write->saved_s;
	if (record.epoch < write->epoch)
		record.epoch = write->epoch;
	buf_init(&fresh, STORE_VALUE_MAX);
	if (r == 0)
		r = encode(&record, &fresh);
	if (r == 0)
		r = store_put(
			txn, TABLE_SESSIONS, write->session, RECORD_SESSION, buf_span(&fresh), err);
	buf_free(&fresh);
	return r;
}

static int change(struct store_txn *txn, const struct write *write, struct err *err)
{
	char room[STORE_KEY_MAX];
	int r;

	switch (write->kind) {
	case WRITE_SESSION:
		return store_put(
			txn, TABLE_SESSIONS, write->session, RECORD_SESSION, write->value, err);
	case WRITE_TOUCH:
		return touch(txn, write, err);
	case WRITE_EVENTS:
		r = store_put(txn, TABLE_EVENTS,
			records_event_key(room, write->session, write->first), RECORD_EVENTS,
			write->value, err);
		return r == 0 ? records_remove_events(txn, write->session, write->keep_from, err)
			      : r;
	case WRITE_REMOVE:
		r = store_delete(txn, TABLE_SESSIONS, write->session, err);
		if (r == 0 || r == -ERR_NOT_FOUND)
			r = records_remove_events(txn, write->session, UINT64_MAX, err);
		return r;
	}
	return -ERR_INTERNAL;
}

static int apply(struct store_txn *txn, void *arg, struct err *err)
{
	const struct write *write = arg;
	const struct unsynced *mark = records_marked(write->records, write->session);
	int r = change(txn, write, err);

	if (r == 0 && (!mark || !mark->noted))
		r = store_put(txn, TABLE_UNSYNCED, write->session, RECORD_MARK, SPAN_NONE, err);
	return r;
}

static void write_end(struct write *write, int code)
{
	if (write->done)
		write->done(write->arg, code);
	free(write);
}

static void done(void *arg, int code, const struct err *err)
{
	struct write *write = arg;
	struct records *records = write->records;
	struct unsynced *mark = records_marked(records, write->session);

	(void)err;
	if (code == 0 && mark)
		mark->noted = true;
	if (code < 0 || !records->always_durable || !write->done) {
		write_end(write, code);
		return;
	}
	write->next = NULL;
	*records->committed_end = write;
	records->committed_end = &write->next;
}

static struct write *write_new(
	struct records *records, enum write_kind kind, struct span session, struct span value)
{
	struct write *write = malloc(sizeof(*write) + session.len + value.len + 1);

	if (!write)
		return NULL;
	*write = (struct write){.records = records, .kind = kind};
	memcpy(write->memory, session.p, session.len);
	if (value.len)
		memcpy(write->memory + session.len, value.p, value.len);
	write->session = span_of(write->memory, session.len);
	write->value = span_of(write->memory + session.len, value.len);
	return write;
}

static int queue(struct records *records, struct write *write)
{
	struct unsynced *mark = write ? records_mark(records, write->session) : NULL;
	int r;

	if (!mark) {
		free(write);
		return -ERR_NO_MEMORY;
	}
	if (write->kind == WRITE_EVENTS && write->first < mark->events_from)
		mark->events_from = write->first;
	r = store_queue(records->live, apply, done, write);
	if (r == -ERR_TOO_MANY) {
		records_flush(records, NULL);
		r = store_queue(records->live, apply, done, write);
	}
	if (r < 0)
		free(write);
	return r;
}

int records_put(struct records *records, struct span session, const struct session_record *record,
	records_done_fn *fn, void *arg)
{
	struct write *write = NULL;
	struct buf value;
	int r;

	if (session.len == 0 || session.len > LIMIT_SESSION_ID)
		return -ERR_INVALID_ARGUMENT;
	buf_init(&value, STORE_VALUE_MAX);
	r = encode(record, &value);
	if (r == 0)
		write = write_new(records, WRITE_SESSION, session, buf_span(&value));
	buf_free(&value);
	if (r < 0)
		return r;
	if (write) {
		write->done = fn;
		write->arg = arg;
	}
	return queue(records, write);
}

int records_touch(struct records *records, struct span session, uint64_t epoch, int64_t saved_s)
{
	struct write *write = write_new(records, WRITE_TOUCH, session, SPAN_NONE);

	if (write) {
		write->epoch = epoch;
		write->saved_s = saved_s;
	}
	return queue(records, write);
}

int records_put_events(struct records *records, struct span session, struct span events,
	uint64_t first, uint64_t keep_from)
{
	struct write *write;

	if (session.len == 0 || session.len > LIMIT_SESSION_ID)
		return -ERR_INVALID_ARGUMENT;
	write = write_new(records, WRITE_EVENTS, session, events);
	if (write) {
		write->first = first;
		write->keep_from = keep_from;
	}
	return queue(records, write);
}

int records_remove(struct records *records, struct span session)
{
	return queue(records, write_new(records, WRITE_REMOVE, session, SPAN_NONE));
}

/* With always_durable what was committed is synced now, and then acknowledged. */
static int acknowledge(struct records *records, struct err *err)
{
	struct write *write = records->committed, *next;
	int r = records_copy_marked(records, err);

	records->committed = NULL;
	records->committed_end = &records->committed;
	for (; write; write = next) {
		next = write->next;
		write_end(write, r);
	}
	return r;
}

int records_flush(struct records *records, struct err *err)
{
	int r = store_flush(records->live, err);

	if (records->committed && store_queued(records->live) == 0) {
		int synced = acknowledge(records, err);

		r = r < 0 ? r : synced;
	}
	return r;
}

int records_sync(struct records *records, struct err *err)
{
	int r = records_flush(records, err);

	/* a failed commit leaves nothing behind: what is marked can be carried over all the same */
	if (store_queued(records->live) == 0 && records->unsynced) {
		int synced = records_copy_marked(records, err);

		r = r < 0 ? r : synced;
	}
	return r;
}

/* --- reading -------------------------------------------------------------------------------- */

int records_get(
	struct records *records, struct span session, struct session_record *ret, struct err *err)
{
	struct store_txn *txn;
	struct span value;
	int r;

	if (session.len == 0 || session.len > LIMIT_SESSION_ID)
		return -ERR_NOT_FOUND;
	r = store_read_begin(records->live, &txn, err);
	if (r < 0)
		return r;
	r = store_get(txn, TABLE_SESSIONS, session, RECORD_SESSION, &value, err);
	buf_clear(&records->read);
	if (r == 0)
		r = buf_append_span(&records->read, value);
	store_read_end(txn);
	return r == 0 ? decode(buf_span(&records->read), ret) : r;
}

int records_get_events(struct records *records, struct span session, uint64_t from, size_t max,
	struct buf *out, uint64_t *ret_next)
{
	struct store_cursor *cursor = NULL;
	struct span key, value;
	struct store_txn *txn;
	uint64_t next = 0;
	int r = store_read_begin(records->live, &txn, NULL);

	if (r < 0)
		return r;
	r = records_event_cursor(txn, session, from, &cursor, NULL);
	while (r == 0 && !next) {
		r = store_cursor_next(cursor, &key, &value, NULL);
		if (r == 0 && out->len > 0 && out->len + value.len > max)
			next = records_event_first(key);
		else if (r == 0)
			r = buf_append_span(out, value);
	}
	store_cursor_free(cursor);
	store_read_end(txn);
	if (r < 0 && r != -ERR_NOT_FOUND)
		return r;
	*ret_next = next;
	return 0;
}

int records_visit_events(
	struct records *records, struct span session, records_chunk_fn *fn, void *arg)
{
	struct store_cursor *cursor = NULL;
	struct span key, value;
	struct store_txn *txn;
	int r = store_read_begin(records->live, &txn, NULL);

	if (r < 0)
		return r;
	r = records_event_cursor(txn, session, 0, &cursor, NULL);
	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, NULL);
		if (r == 0)
			fn(arg, value);
	}
	store_cursor_free(cursor);
	store_read_end(txn);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

int records_visit_store(struct store *store, struct span from, records_visit_fn *fn, void *arg)
{
	struct store_cursor *cursor = NULL;
	struct session_record record;
	struct store_txn *txn;
	struct span key, value;
	int r = store_read_begin(store, &txn, NULL);

	if (r < 0)
		return r;
	r = store_cursor_new(txn, TABLE_SESSIONS, RECORD_SESSION, SPAN_NONE, from, &cursor, NULL);
	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, NULL);
		if (r == 0 && decode(value, &record) == 0 && !fn(arg, key, &record))
			break;
	}
	store_cursor_free(cursor);
	store_read_end(txn);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

int records_visit(struct records *records, struct span from, records_visit_fn *fn, void *arg)
{
	return records_visit_store(records->live, from, fn, arg);
}

uint64_t records_count(struct records *records)
{
	struct store_txn *txn;
	uint64_t n = 0;

	if (store_read_begin(records->live, &txn, NULL) < 0)
		return 0;
	store_count(txn, TABLE_SESSIONS, &n, NULL);
	store_read_end(txn);
	return n;
}

void records_write_metrics(struct records *records, struct buf *out)
{
	static const char *const names[] = {"sessions-live", "sessions"};
	struct store *stores[] = {records->live, records->durable};

	for (int i = 0; i < 2; i++) {
		struct store_stats stats;
		char label[32];

		store_get_stats(stores[i], &stats);
		buf_printf(out, "gatehouse_lmdb_used_bytes{env=\"%s\"} %llu\n", names[i],
			(unsigned long long)stats.used_bytes);
		buf_printf(out, "gatehouse_lmdb_map_bytes{env=\"%s\"} %llu\n", names[i],
			(unsigned long long)stats.map_bytes);
		snprintf(label, sizeof(label), "env=\"%s\"", names[i]);
		histogram_write(&stats.commit, histogram_overhead, "gatehouse_lmdb_commit_seconds",
			span_str(label), out);
	}
}
