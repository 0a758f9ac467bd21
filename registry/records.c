#include "records.h"
#include "buf.h"
#include "store.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/*
 * servers: NAME 00 'f' → facts; NAME 00 '0'+kind → list
 * known: NAME → nothing: the servers of which there is something
 * about: "generation" → the first number not taken
 */
enum { TABLE_SERVERS, TABLE_KNOWN, TABLE_ABOUT };
enum { RECORD_FACTS = 1, RECORD_LIST = 2, RECORD_MARK = 3, RECORD_NUMBER = 4 };

static const char *const tables[] = {"servers", "known", "about", NULL};
static const struct store_kind kinds[] = {
	{RECORD_FACTS, 1, "server's facts"},
	{RECORD_LIST, 1, "server's list"},
	{RECORD_MARK, 1, "mark"},
	{RECORD_NUMBER, 1, "number"},
};
#define GENERATION SPAN_LIT("generation")
#define NAME_MAX_BYTES (STORE_KEY_MAX - 2)
#define PATH_SIZE 4096

struct records {
	struct store *store;
};

static struct span make_key(char room[STORE_KEY_MAX], struct span server, char which)
{
	memcpy(room, server.p, server.len);
	room[server.len] = '\0';
	room[server.len + 1] = which;
	return span_of(room, server.len + 2);
}

int records_open(const char *state_dir, struct records **ret_records, struct err *err)
{
	struct records *records = calloc(1, sizeof(*records));
	char path[PATH_SIZE];
	struct err why = {0};
	struct store_config config = {
		.path = path,
		.writer = true,
		.durability = STORE_SYNC,
		.map_first = 16u << 20,
		.tables = tables,
		.kinds = kinds,
		.kinds_len = sizeof(kinds) / sizeof(*kinds),
	};
	int r;

	if (!records)
		return err_set(err, ERR_NO_MEMORY, "no memory for the registry");
	snprintf(path, sizeof(path), "%s/registry", state_dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/registry/data", state_dir);
	r = store_open(&config, &records->store, &why);
	if (r == -ERR_STORE)
		err_set(err, ERR_STORE,
			"%s. Free the disk or repair the file; or remove the folder %s/registry: "
			"the "
			"servers tell their lists again when they start",
			why.detail, state_dir);
	else if (r < 0)
		err_set(err, (enum err_code) - r, "%s", err_text(&why));
	if (r < 0) {
		free(records);
		return r;
	}
	*ret_records = records;
	return 0;
}

void records_close(struct records *records)
{
	if (!records)
		return;
	store_close(records->store);
	free(records);
}

struct put {
	struct span server, value;
	char which;
	uint16_t kind;
};

static int run_put(struct store_txn *txn, void *arg, struct err *err)
{
	const struct put *put = arg;
	char room[STORE_KEY_MAX];
	int r = store_put(txn, TABLE_SERVERS, make_key(room, put->server, put->which), put->kind,
		put->value, err);

	return r == 0 ? store_put(txn, TABLE_KNOWN, put->server, RECORD_MARK, SPAN_NONE, err) : r;
}

int records_put_facts(struct records *records, const char *server, struct span version,
	struct span facts, struct err *err)
{
	struct put put = {.server = span_str(server), .which = 'f', .kind = RECORD_FACTS};
	struct buf value;
	int r;

	buf_init(&value, STORE_VALUE_MAX);
	buf_append_span(&value, version);
	buf_append_char(&value, '\0');
	r = buf_append_span(&value, facts);
	put.value = buf_span(&value);
	if (r == 0)
		r = store_write(records->store, run_put, &put, err);
	buf_free(&value);
	return r;
}

int records_put_list(struct records *records, const char *server, enum catalogue_kind kind,
	struct span list, struct err *err)
{
	struct put put = {.server = span_str(server),
		.which = (char)('0' + kind),
		.kind = RECORD_LIST,
		.value = list};

	return store_write(records->store, run_put, &put, err);
}

/* --- numbers -------------------------------------------------------------------------------- */

struct take {
	uint64_t n, least, first;
};

static int run_take(struct store_txn *txn, void *arg, struct err *err)
{
	struct take *take = arg;
	struct span stored;
	uint64_t next = 0;
	int r = store_get(txn, TABLE_ABOUT, GENERATION, RECORD_NUMBER, &stored, err);

	if (r < 0 && r != -ERR_NOT_FOUND)
		return r;
	if (r == 0 && stored.len == sizeof(next))
		memcpy(&next, stored.p, sizeof(next));
	next = le64toh(next);
	take->first = next > take->least ? next : take->least;
	next = htole64(take->first + take->n);
	return store_put(txn, TABLE_ABOUT, GENERATION, RECORD_NUMBER,
		span_of((const char *)&next, sizeof(next)), err);
}

int records_take_generations(struct records *records, uint64_t n, uint64_t *first, struct err *err)
{
	struct take take = {.n = n, .least = *first};
	int r = store_write(records->store, run_take, &take, err);

	if (r == 0)
		*first = take.first;
	return r;
}

/* --- servers that are gone ------------------------------------------------------------------ */

struct prune {
	records_keep_fn *keep;
	void *arg;
};

static int remove_server(struct store_txn *txn, struct span name, struct err *err)
{
	char room[STORE_KEY_MAX], copy[NAME_MAX_BYTES];
	/* a name out of the database is good until the next change */
	struct span server = span_of(memcpy(copy, name.p, name.len), name.len);
	int r = store_delete(txn, TABLE_SERVERS, make_key(room, server, 'f'), err);

	for (int kind = 0; kind < CATALOGUE_KIND_MAX && (r == 0 || r == -ERR_NOT_FOUND); kind++)
		r = store_delete(
			txn, TABLE_SERVERS, make_key(room, server, (char)('0' + kind)), err);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

static int run_prune(struct store_txn *txn, void *arg, struct err *err)
{
	const struct prune *prune = arg;
	struct store_cursor *cursor = NULL;
	struct span name, value;
	int r = store_cursor_new(txn, TABLE_KNOWN, RECORD_MARK, SPAN_NONE, SPAN_NONE, &cursor, err);

	while (r == 0) {
		r = store_cursor_next(cursor, &name, &value, err);
		if (r < 0 || name.len > NAME_MAX_BYTES || prune->keep(prune->arg, name))
			continue;
		r = remove_server(txn, name, err);
		if (r == 0)
			r = store_cursor_delete(cursor, err);
	}
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

int records_prune(struct records *records, records_keep_fn *fn, void *arg, struct err *err)
{
	struct prune prune = {fn, arg};

	return store_write(records->store, run_prune, &prune, err);
}

/* --- reading -------------------------------------------------------------------------------- */

int records_read(
	struct records *records, const char *server, records_fn *fn, void *arg, struct err *err)
{
	char room[STORE_KEY_MAX];
	struct store_txn *txn;
	struct span payload;
	int r = store_read_begin(records->store, &txn, err);

	if (r < 0)
		return r;
	if (store_get(txn, TABLE_SERVERS, make_key(room, span_str(server), 'f'), RECORD_FACTS,
		    &payload, NULL) == 0)
		fn(arg, CATALOGUE_KIND_MAX, payload);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (store_get(txn, TABLE_SERVERS,
			    make_key(room, span_str(server), (char)('0' + kind)), RECORD_LIST,
			    &payload, NULL) == 0)
			fn(arg, (enum catalogue_kind)kind, payload);
	store_read_end(txn);
	return 0;
}

void records_write_metrics(struct records *records, struct buf *out)
{
	struct store_stats stats;

	store_get_stats(records->store, &stats);
	buf_printf(out, "gatehouse_lmdb_used_bytes{env=\"registry\"} %llu\n",
		(unsigned long long)stats.used_bytes);
	buf_printf(out, "gatehouse_lmdb_map_bytes{env=\"registry\"} %llu\n",
		(unsigned long long)stats.map_bytes);
	histogram_write(&stats.commit, histogram_overhead, "gatehouse_lmdb_commit_seconds",
		SPAN_LIT("env=\"registry\""), out);
}
