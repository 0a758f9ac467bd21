/* Records: their header, check and upgrade; look-ups, changes and walks. */
#include "hash.h"
#include "store_internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

struct record {
	uint16_t kind;
	uint16_t version;
	uint32_t check;
	struct span payload;
};

struct store_cursor {
	struct store_txn *txn;
	MDB_cursor *mdb;
	unsigned table;
	uint16_t kind;
	bool started;
	struct buf upgraded; /* the payload last returned, when it had to be upgraded */
	size_t prefix_len;
	size_t from_len;
	char prefix[STORE_KEY_MAX];
	char from[STORE_KEY_MAX];
};

static struct span val_span(MDB_val val)
{
	return span_of(val.mv_data, val.mv_size);
}

static MDB_val span_val(struct span span)
{
	return (MDB_val){span.len, (void *)span.p};
}

uint32_t store_record_check(struct span key, uint16_t kind, uint16_t version, struct span payload)
{
	uint64_t seed = hash64(key.p, key.len, (uint64_t)kind << 16 | version);
	uint64_t h = hash64(payload.p, payload.len, seed);

	return (uint32_t)(h ^ h >> 32);
}

static struct record record_parse(struct span value)
{
	uint16_t kind, version;
	uint32_t check;

	memcpy(&kind, value.p, 2);
	memcpy(&version, value.p + 2, 2);
	memcpy(&check, value.p + 4, 4);
	return (struct record){le16toh(kind), le16toh(version), le32toh(check),
		span_of(value.p + STORE_RECORD_HEADER, value.len - STORE_RECORD_HEADER)};
}

static void record_header(char *to, struct record record)
{
	uint16_t kind = htole16(record.kind), version = htole16(record.version);
	uint32_t check = htole32(record.check);

	memcpy(to, &kind, 2);
	memcpy(to + 2, &version, 2);
	memcpy(to + 4, &check, 4);
}

bool store_record_valid(struct span key, struct span value)
{
	struct record record;

	if (value.len < STORE_RECORD_HEADER)
		return false;
	record = record_parse(value);
	return record.check == store_record_check(key, record.kind, record.version, record.payload);
}

int store_note_commit(struct store *store, MDB_txn *txn)
{
	uint64_t number = htole64(mdb_txn_id(txn));
	struct span key = SPAN_LIT(STORE_COMMITS_KEY), payload = span_of((char *)&number, 8);
	char record[STORE_RECORD_HEADER + 8];
	MDB_val mdb_key = span_val(key), value = {sizeof(record), record};

	record_header(
		record, (struct record){0, 0, store_record_check(key, 0, 0, payload), payload});
	memcpy(record + STORE_RECORD_HEADER, &number, 8);
	return mdb_put(txn, store->commits, &mdb_key, &value, 0);
}

static const struct store_kind *kind_find(const struct store *store, uint16_t kind)
{
	for (size_t i = 0; i < store->config.kinds_len; i++)
		if (store->config.kinds[i].kind == kind)
			return &store->config.kinds[i];
	return NULL;
}

static const struct store_upgrade *upgrade_find(
	const struct store *store, uint16_t kind, uint16_t from)
{
	for (size_t i = 0; i < store->config.upgrades_len; i++)
		if (store->config.upgrades[i].kind == kind &&
			store->config.upgrades[i].from == from)
			return &store->config.upgrades[i];
	return NULL;
}

/* Step by step to the current version; out holds the result. */
static int record_upgrade(struct store *store, const struct store_kind *kind, struct record record,
	struct buf *out, struct err *err)
{
	struct span payload = record.payload;
	struct buf step;

	buf_init(&step, STORE_VALUE_MAX);
	for (uint16_t version = record.version; version < kind->version; version++) {
		const struct store_upgrade *row = upgrade_find(store, kind->kind, version);
		struct buf swap;
		int r;

		if (!row)
			r = err_set(err, ERR_STORE, "%s: no way from %s version %u to %u",
				store->path, kind->name, version, version + 1u);
		else
			r = row->upgrade(payload, &step, err);
		if (r < 0) {
			buf_free(&step);
			return r;
		}
		swap = *out;
		*out = step;
		step = swap;
		buf_clear(&step);
		payload = buf_span(out);
	}
	buf_free(&step);
	return 0;
}

/*
 * A stored value → the payload in the current version. When it had to be upgraded, it is in out,
 * else in the map.
 */
static int record_read(struct store *store, struct span key, struct span value, uint16_t want,
	struct buf *out, struct span *ret_payload, struct err *err)
{
	const struct store_kind *kind = kind_find(store, want);
	struct record record;
	int r;

	if (!kind)
		return err_set(
			err, ERR_INTERNAL, "%s: record kind %u is not declared", store->path, want);
	if (!store_record_valid(key, value))
		return err_set(err, ERR_STORE, "%s: a damaged record where a %s should be",
			store->path, kind->name);
	record = record_parse(value);
	if (record.kind != want)
		return err_set(err, ERR_STORE, "%s: a record of kind %u where a %s should be",
			store->path, record.kind, kind->name);
	if (record.version > kind->version)
		return err_set(err, ERR_STORE,
			"%s: %s version %u was written by a newer program; known is up to %u",
			store->path, kind->name, record.version, kind->version);
	if (record.version == kind->version) {
		*ret_payload = record.payload;
		return 0;
	}
	r = record_upgrade(store, kind, record, out, err);
	if (r == 0)
		*ret_payload = buf_span(out);
	return r;
}

static int arguments_check(
	const struct store_txn *txn, unsigned table, struct span key, struct err *err)
{
	if (table >= txn->store->tables)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "%s: no table %u", txn->store->path, table);
	if (key.len == 0 || key.len > STORE_KEY_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: a key of %zu bytes",
			txn->store->path, key.len);
	return 0;
}

int store_get(struct store_txn *txn, unsigned table, struct span key, uint16_t kind,
	struct span *ret_payload, struct err *err)
{
	MDB_val mdb_key = span_val(key), value;
	struct span payload;
	struct buf out;
	int rc, r = arguments_check(txn, table, key, err);

	if (r < 0)
		return r;
	rc = mdb_get(txn->mdb, txn->store->dbis[table], &mdb_key, &value);
	if (rc == MDB_NOTFOUND)
		return -ERR_NOT_FOUND;
	if (rc != 0)
		return store_fail(txn->store, rc, err, "get");
	buf_init(&out, STORE_VALUE_MAX);
	r = record_read(txn->store, key, val_span(value), kind, &out, &payload, err);
	if (r == 0 && payload.len > 0 && payload.p == out.data) {
		payload = arena_copy(&txn->upgraded, payload);
		if (!payload.p)
			r = err_set(err, ERR_NO_MEMORY, "%s: upgraded records", txn->store->path);
	}
	buf_free(&out);
	if (r == 0)
		*ret_payload = payload;
	return r;
}

/* The outcome of a change. */
static int changed(struct store_txn *txn, int rc, struct err *err, const char *what)
{
	if (rc == 0) {
		txn->changed = txn->wrote = true;
		return 0;
	}
	txn->map_full |= rc == MDB_MAP_FULL;
	return store_fail(txn->store, rc, err, what);
}

int store_put(struct store_txn *txn, unsigned table, struct span key, uint16_t kind_number,
	struct span payload, struct err *err)
{
	const struct store_kind *kind = kind_find(txn->store, kind_number);
	MDB_val mdb_key = span_val(key), value = {STORE_RECORD_HEADER + payload.len, NULL};
	struct record record;
	int rc, r = arguments_check(txn, table, key, err);

	if (r < 0)
		return r;
	if (!kind)
		return err_set(err, ERR_INTERNAL, "%s: record kind %u is not declared",
			txn->store->path, kind_number);
	if (payload.len > STORE_VALUE_MAX)
		return err_set(err, ERR_TOO_LARGE, "%s: a %s of %zu bytes", txn->store->path,
			kind->name, payload.len);
	rc = mdb_put(txn->mdb, txn->store->dbis[table], &mdb_key, &value, MDB_RESERVE);
	if (rc != 0)
		return changed(txn, rc, err, "put");
	record = (struct record){kind->kind, kind->version,
		store_record_check(key, kind->kind, kind->version, payload), payload};
	record_header(value.mv_data, record);
	if (payload.len)
		memcpy((char *)value.mv_data + STORE_RECORD_HEADER, payload.p, payload.len);
	return changed(txn, 0, err, "put");
}

int store_delete(struct store_txn *txn, unsigned table, struct span key, struct err *err)
{
	MDB_val mdb_key = span_val(key);
	int rc, r = arguments_check(txn, table, key, err);

	if (r < 0)
		return r;
	rc = mdb_del(txn->mdb, txn->store->dbis[table], &mdb_key, NULL);
	return rc == MDB_NOTFOUND ? -ERR_NOT_FOUND : changed(txn, rc, err, "delete");
}

int store_count(struct store_txn *txn, unsigned table, uint64_t *ret_count, struct err *err)
{
	MDB_stat stat;
	int rc, r = arguments_check(txn, table, SPAN_LIT("any"), err);

	if (r < 0)
		return r;
	rc = mdb_stat(txn->mdb, txn->store->dbis[table], &stat);
	if (rc != 0)
		return store_fail(txn->store, rc, err, "count");
	*ret_count = stat.ms_entries;
	return 0;
}

int store_cursor_new(struct store_txn *txn, unsigned table, uint16_t kind, struct span prefix,
	struct span from, struct store_cursor **ret_cursor, struct err *err)
{
	struct store_cursor *cursor;
	int rc, r = arguments_check(txn, table, SPAN_LIT("any"), err);

	if (r == 0 && (prefix.len > STORE_KEY_MAX || from.len > STORE_KEY_MAX))
		r = err_set(err, ERR_INVALID_ARGUMENT, "%s: a key too long", txn->store->path);
	if (r < 0)
		return r;
	cursor = calloc(1, sizeof(*cursor));
	if (!cursor)
		return err_set(err, ERR_NO_MEMORY, "%s: cursor", txn->store->path);
	rc = mdb_cursor_open(txn->mdb, txn->store->dbis[table], &cursor->mdb);
	if (rc != 0) {
		free(cursor);
		return store_fail(txn->store, rc, err, "cursor");
	}
	cursor->txn = txn;
	cursor->table = table;
	cursor->kind = kind;
	buf_init(&cursor->upgraded, STORE_VALUE_MAX);
	cursor->prefix_len = prefix.len;
	cursor->from_len = from.len;
	if (prefix.len)
		memcpy(cursor->prefix, prefix.p, prefix.len);
	if (from.len)
		memcpy(cursor->from, from.p, from.len);
	*ret_cursor = cursor;
	return 0;
}

/* The greater of prefix and from is where the walk begins. */
static int cursor_first(struct store_cursor *cursor, MDB_val *key, MDB_val *value)
{
	size_t n = cursor->prefix_len < cursor->from_len ? cursor->prefix_len : cursor->from_len;
	int c = memcmp(cursor->prefix, cursor->from, n);
	bool from = c < 0 || (c == 0 && cursor->from_len > cursor->prefix_len);

	cursor->started = true;
	*key = from ? (MDB_val){cursor->from_len, cursor->from}
		    : (MDB_val){cursor->prefix_len, cursor->prefix};
	return mdb_cursor_get(cursor->mdb, key, value, key->mv_size ? MDB_SET_RANGE : MDB_FIRST);
}

int store_cursor_next(struct store_cursor *cursor, struct span *ret_key, struct span *ret_payload,
	struct err *err)
{
	struct store *store = cursor->txn->store;
	MDB_val key, value;
	int rc, r;

	rc = cursor->started ? mdb_cursor_get(cursor->mdb, &key, &value, MDB_NEXT)
			     : cursor_first(cursor, &key, &value);
	if (rc == MDB_NOTFOUND)
		return -ERR_NOT_FOUND;
	if (rc != 0)
		return store_fail(store, rc, err, "walk");
	if (key.mv_size < cursor->prefix_len ||
		memcmp(key.mv_data, cursor->prefix, cursor->prefix_len) != 0)
		return -ERR_NOT_FOUND;
	buf_clear(&cursor->upgraded);
	r = record_read(store, val_span(key), val_span(value), cursor->kind, &cursor->upgraded,
		ret_payload, err);
	if (r == 0)
		*ret_key = val_span(key);
	return r;
}

int store_cursor_delete(struct store_cursor *cursor, struct err *err)
{
	return changed(cursor->txn, mdb_cursor_del(cursor->mdb, 0), err, "delete");
}

void store_cursor_free(struct store_cursor *cursor)
{
	if (!cursor)
		return;
	mdb_cursor_close(cursor->mdb);
	buf_free(&cursor->upgraded);
	free(cursor);
}
