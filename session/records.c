#include "records.h"
#include "clock.h"
#include "store.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <uthash.h>

enum { TABLE_SESSIONS, TABLE_EVENTS };
enum { RECORD_SESSION = 1, RECORD_EVENTS = 2 };

static const char *const tables[] = {"sessions", "events", NULL};
static const struct store_kind kinds[] = {{RECORD_SESSION, 1, "session"}, {RECORD_EVENTS, 1, "session events"}};

/* Sessions whose records the durable environment does not have yet. */
struct dirty {
	char *session;
	UT_hash_handle hh;
};

struct records {
	struct store *live, *durable;
	bool always_durable;
	struct dirty *dirty;
	struct buf read; /* what records_get hands out */
};

/* --- encoding: epoch, next_event, opened, saved (64 bits each, big endian), length of principal (16 bits), principal, state */

#define HEADER_SIZE 34u

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

	put64(header, record->epoch);
	put64(header + 8, record->next_event);
	put64(header + 16, (uint64_t)record->opened_s);
	put64(header + 24, (uint64_t)record->saved_s);
	header[32] = (char)(record->principal.len >> 8);
	header[33] = (char)record->principal.len;
	buf_append(out, header, HEADER_SIZE);
	buf_append_span(out, record->principal);
	return buf_append_span(out, record->state);
}

static int decode(struct span bytes, struct session_record *ret)
{
	size_t n;

	if (bytes.len < HEADER_SIZE)
		return -ERR_STORE;
	n = (size_t)(unsigned char)bytes.p[32] << 8 | (unsigned char)bytes.p[33];
	if (n > bytes.len - HEADER_SIZE)
		return -ERR_STORE;
	*ret = (struct session_record){
		.epoch = get64(bytes.p),
		.next_event = get64(bytes.p + 8),
		.opened_s = (int64_t)get64(bytes.p + 16),
		.saved_s = (int64_t)get64(bytes.p + 24),
		.principal = span_of(bytes.p + HEADER_SIZE, n),
		.state = span_of(bytes.p + HEADER_SIZE + n, bytes.len - HEADER_SIZE - n),
	};
	return 0;
}

/* Events of a session are kept in the chunks they came in: SESSION 00 first-id. */
static struct span event_key(char *room, struct span session, uint64_t first)
{
	memcpy(room, session.p, session.len);
	room[session.len] = '\0';
	put64(room + session.len + 1, first);
	return span_of(room, session.len + 9);
}

/* --- writes --------------------------------------------------------------------------------------------------------- */

enum write_kind { WRITE_SESSION, WRITE_EVENTS, WRITE_REMOVE };

struct write {
	struct records *records;
	enum write_kind kind;
	struct span session, value; /* in memory */
	uint64_t first, keep_from;
	records_done_fn *done;
	void *arg;
	char memory[];
};

static int remove_events(struct store_txn *txn, struct span session, uint64_t before, struct err *err)
{
	char room[STORE_KEY_MAX];
	struct store_cursor *cursor;
	struct span key, value;
	int r = store_cursor_new(txn, TABLE_EVENTS, RECORD_EVENTS, span_of(event_key(room, session, 0).p, session.len + 1),
		SPAN_NONE, &cursor, err);

	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, err);
		if (r < 0 || key.len != session.len + 9 || get64(key.p + session.len + 1) >= before)
			break;
		r = store_cursor_delete(cursor, err);
	}
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

static int apply(struct store_txn *txn, void *arg, struct err *err)
{
	const struct write *write = arg;
	char room[STORE_KEY_MAX];
	int r;

	switch (write->kind) {
	case WRITE_SESSION:
		return store_put(txn, TABLE_SESSIONS, write->session, RECORD_SESSION, write->value, err);
	case WRITE_EVENTS:
		r = store_put(txn, TABLE_EVENTS, event_key(room, write->session, write->first), RECORD_EVENTS, write->value, err);
		return r == 0 && write->keep_from ? remove_events(txn, write->session, write->keep_from, err) : r;
	case WRITE_REMOVE:
		r = store_delete(txn, TABLE_SESSIONS, write->session, err);
		if (r == 0 || r == -ERR_NOT_FOUND)
			r = remove_events(txn, write->session, UINT64_MAX, err);
		return r;
	}
	return -ERR_INTERNAL;
}

static void mark_dirty(struct records *records, struct span session)
{
	struct dirty *dirty;

	HASH_FIND(hh, records->dirty, session.p, session.len, dirty);
	if (dirty)
		return;
	dirty = calloc(1, sizeof(*dirty));
	if (!dirty || !(dirty->session = strndup(session.p, session.len))) {
		free(dirty);
		return;
	}
	HASH_ADD_KEYPTR(hh, records->dirty, dirty->session, session.len, dirty);
}

static void done(void *arg, int code, const struct err *err)
{
	struct write *write = arg;

	(void)err;
	if (code == 0)
		mark_dirty(write->records, write->session);
	if (write->done)
		write->done(write->arg, code);
	free(write);
}

static int queue(struct records *records, enum write_kind kind, struct span session, struct span value, struct write **ret)
{
	struct write *write = malloc(sizeof(*write) + session.len + value.len + 1);
	int r;

	if (!write)
		return -ERR_NO_MEMORY;
	*write = (struct write){.records = records, .kind = kind};
	memcpy(write->memory, session.p, session.len);
	if (value.len)
		memcpy(write->memory + session.len, value.p, value.len);
	write->session = span_of(write->memory, session.len);
	write->value = span_of(write->memory + session.len, value.len);
	r = store_queue(records->live, apply, done, write);
	if (r == -ERR_TOO_MANY) {
		records_flush(records);
		r = store_queue(records->live, apply, done, write);
	}
	if (r < 0) {
		free(write);
		return r;
	}
	*ret = write;
	return 0;
}

int records_put(struct records *records, struct span session, const struct session_record *record, records_done_fn *fn,
	void *arg)
{
	struct write *write;
	struct buf value;
	int r;

	buf_init(&value, STORE_VALUE_MAX);
	r = encode(record, &value);
	if (r == 0)
		r = queue(records, WRITE_SESSION, session, buf_span(&value), &write);
	buf_free(&value);
	if (r < 0)
		return r;
	write->done = fn;
	write->arg = arg;
	return 0;
}

/* Ids of the first and the last event record. False: broken. */
static bool ids_in(struct span events, uint64_t *ret_first, uint64_t *ret_last)
{
	bool any = false;

	while (events.len >= 16) {
		uint32_t len;

		memcpy(&len, events.p + 12, 4);
		len = be32toh(len);
		if (len > events.len - 16)
			return false;
		*ret_last = get64(events.p + 4);
		if (!any)
			*ret_first = *ret_last;
		any = true;
		events.p += 16 + len;
		events.len -= 16 + len;
	}
	return any && events.len == 0;
}

int records_put_events(struct records *records, struct span session, struct span events, uint64_t keep)
{
	struct write *write;
	uint64_t first = 0, last = 0;
	int r;

	if (!ids_in(events, &first, &last))
		return -ERR_PROTOCOL;
	r = queue(records, WRITE_EVENTS, session, events, &write);
	if (r < 0)
		return r;
	write->first = first;
	write->keep_from = last > keep ? last - keep : 0;
	return 0;
}

int records_remove(struct records *records, struct span session)
{
	struct write *write;

	return queue(records, WRITE_REMOVE, session, SPAN_NONE, &write);
}

/* --- the durable environment ------------------------------------------------------------------------------------------ */

/* Make what "to" has of a session what "from" has. */
struct copy {
	struct store_txn *from;
	struct dirty *sessions;
};

static int copy_events(struct store_txn *from, struct store_txn *to, struct span session, struct err *err)
{
	char room[STORE_KEY_MAX];
	struct store_cursor *cursor;
	struct span key, value;
	int r = store_cursor_new(from, TABLE_EVENTS, RECORD_EVENTS, span_of(event_key(room, session, 0).p, session.len + 1),
		SPAN_NONE, &cursor, err);

	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, err);
		if (r == 0)
			r = store_put(to, TABLE_EVENTS, key, RECORD_EVENTS, value, err);
	}
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

static int copy_session(struct store_txn *from, struct store_txn *to, struct span session, struct err *err)
{
	struct span value;
	int r = store_get(from, TABLE_SESSIONS, session, RECORD_SESSION, &value, NULL);

	if (r == 0)
		r = store_put(to, TABLE_SESSIONS, session, RECORD_SESSION, value, err);
	else if (r == -ERR_NOT_FOUND)
		r = store_delete(to, TABLE_SESSIONS, session, NULL);
	if (r == 0 || r == -ERR_NOT_FOUND)
		r = remove_events(to, session, UINT64_MAX, err);
	if (r == 0)
		r = copy_events(from, to, session, err);
	return r;
}

static int copy_all(struct store_txn *to, void *arg, struct err *err)
{
	const struct copy *copy = arg;
	const struct dirty *dirty;
	int r = 0;

	for (dirty = copy->sessions; dirty && r == 0; dirty = dirty->hh.next)
		r = copy_session(copy->from, to, span_of(dirty->session, dirty->hh.keylen), err);
	return r;
}

static void forget_dirty(struct records *records)
{
	struct dirty *dirty, *next;

	HASH_ITER(hh, records->dirty, dirty, next) {
		HASH_DEL(records->dirty, dirty);
		free(dirty->session);
		free(dirty);
	}
}

int records_sync(struct records *records, struct err *err)
{
	struct copy copy = {.sessions = records->dirty};
	int r;

	if (!records->dirty)
		return 0;
	r = store_read_begin(records->live, &copy.from, err);
	if (r < 0)
		return r;
	r = store_write(records->durable, copy_all, &copy, err);
	store_read_end(copy.from);
	if (r == 0)
		r = store_sync(records->durable, err);
	if (r == 0)
		forget_dirty(records);
	return r;
}

void records_flush(struct records *records)
{
	struct err err;

	store_flush(records->live, &err);
	if (records->always_durable)
		records_sync(records, &err);
}

/* --- reading ------------------------------------------------------------------------------------------------------------- */

int records_get(struct records *records, struct span session, struct session_record *ret, struct err *err)
{
	struct store_txn *txn;
	struct span value;
	int r = store_read_begin(records->live, &txn, err);

	if (r < 0)
		return r;
	r = store_get(txn, TABLE_SESSIONS, session, RECORD_SESSION, &value, err);
	buf_clear(&records->read);
	if (r == 0)
		r = buf_append_span(&records->read, value);
	store_read_end(txn);
	return r == 0 ? decode(buf_span(&records->read), ret) : r;
}

int records_get_events(struct records *records, struct span session, struct buf *out)
{
	char room[STORE_KEY_MAX];
	struct store_cursor *cursor;
	struct store_txn *txn;
	struct span key, value;
	int r = store_read_begin(records->live, &txn, NULL);

	if (r < 0)
		return r;
	r = store_cursor_new(txn, TABLE_EVENTS, RECORD_EVENTS, span_of(event_key(room, session, 0).p, session.len + 1), SPAN_NONE,
		&cursor, NULL);
	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, NULL);
		if (r == 0)
			r = buf_append_span(out, value);
	}
	store_cursor_free(cursor);
	store_read_end(txn);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

static int visit(struct store *store, records_visit_fn *fn, void *arg)
{
	struct store_cursor *cursor;
	struct session_record record;
	struct store_txn *txn;
	struct span key, value;
	int r = store_read_begin(store, &txn, NULL);

	if (r < 0)
		return r;
	r = store_cursor_new(txn, TABLE_SESSIONS, RECORD_SESSION, SPAN_NONE, SPAN_NONE, &cursor, NULL);
	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, NULL);
		if (r == 0 && decode(value, &record) == 0 && !fn(arg, key, &record))
			break;
	}
	store_cursor_free(cursor);
	store_read_end(txn);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

int records_visit(struct records *records, records_visit_fn *fn, void *arg)
{
	return visit(records->live, fn, arg);
}

static uint64_t count(struct store *store)
{
	struct store_txn *txn;
	uint64_t n = 0;

	if (store_read_begin(store, &txn, NULL) < 0)
		return 0;
	store_count(txn, TABLE_SESSIONS, &n, NULL);
	store_read_end(txn);
	return n;
}

uint64_t records_count(struct records *records)
{
	return count(records->live);
}

void records_write_metrics(struct records *records, struct buf *out)
{
	static const char *const names[] = {"sessions-live", "sessions"};
	struct store *stores[] = {records->live, records->durable};

	for (int i = 0; i < 2; i++) {
		struct store_stats stats;

		store_get_stats(stores[i], &stats);
		buf_printf(out, "gatehouse_lmdb_used_bytes{env=\"%s\"} %llu\n", names[i], (unsigned long long)stats.used_bytes);
		buf_printf(out, "gatehouse_lmdb_map_bytes{env=\"%s\"} %llu\n", names[i], (unsigned long long)stats.map_bytes);
		buf_printf(out, "gatehouse_lmdb_commit_seconds{env=\"%s\"} %.6f\n", names[i], (double)stats.commit_us / 1e6);
	}
}

/* --- opening ---------------------------------------------------------------------------------------------------------------- */

static bool note_session(void *arg, struct span session, const struct session_record *record)
{
	(void)record;
	mark_dirty(arg, session);
	return true;
}

/* The machine has booted: the live environment is new and empty, the durable one has the sessions. */
static int fill_live(struct records *records, struct err *err)
{
	struct copy copy = {0};
	int r;

	if (count(records->live) > 0 || count(records->durable) == 0)
		return 0;
	r = visit(records->durable, note_session, records);
	if (r == 0)
		r = store_read_begin(records->durable, &copy.from, err);
	if (r < 0)
		return r;
	copy.sessions = records->dirty;
	r = store_write(records->live, copy_all, &copy, err);
	store_read_end(copy.from);
	forget_dirty(records);
	return r;
}

static int open_store(const char *state_dir, const char *name, enum store_durability durability, struct store **ret,
	struct err *err)
{
	char path[4200];
	const struct store_config config = {
		.path = path,
		.writer = true,
		.durability = durability,
		.map_first = 16u << 20,
		.map_max = (size_t)16 << 30,
		.tables = tables,
		.kinds = kinds,
		.kinds_len = sizeof(kinds) / sizeof(*kinds),
	};

	snprintf(path, sizeof(path), "%s/%s", state_dir, name);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/%s/data", state_dir, name);
	return store_open(&config, ret, err);
}

int records_open(const char *state_dir, bool always_durable, struct records **ret_records, struct err *err)
{
	struct records *records = calloc(1, sizeof(*records));
	int r;

	if (!records)
		return err_set(err, ERR_NO_MEMORY, "no memory for the sessions");
	records->always_durable = always_durable;
	buf_init(&records->read, STORE_VALUE_MAX);
	r = open_store(state_dir, "sessions-live", STORE_LIVE, &records->live, err);
	if (r == 0)
		r = open_store(state_dir, "sessions", STORE_PERIODIC, &records->durable, err);
	if (r == 0)
		r = fill_live(records, err);
	if (r < 0) {
		records_close(records);
		return r;
	}
	*ret_records = records;
	return 0;
}

void records_close(struct records *records)
{
	if (!records)
		return;
	if (records->live && records->durable) {
		records_flush(records);
		records_sync(records, NULL);
	}
	store_close(records->live);
	store_close(records->durable);
	forget_dirty(records);
	buf_free(&records->read);
	free(records);
}
