#include "records.h"
#include "buf.h"
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { TABLE_SERVERS };
enum { RECORD_FACTS = 1, RECORD_LIST = 2 };

static const char *const tables[] = {"servers", NULL};
static const struct store_kind kinds[] = {{RECORD_FACTS, 1, "server facts"}, {RECORD_LIST, 1, "server list"}};

struct records {
	struct store *store;
};

/* Keys: NAME 00 'f' for facts, NAME 00 '0'+kind for a list. */
static struct span make_key(char *room, const char *server, char which)
{
	size_t n = strlen(server);

	memcpy(room, server, n);
	room[n] = '\0';
	room[n + 1] = which;
	return span_of(room, n + 2);
}

int records_open(const char *state_dir, struct records **ret_records, struct err *err)
{
	struct records *records = calloc(1, sizeof(*records));
	char path[4200];
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
	r = store_open(&config, &records->store, err);
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
	struct span key, value;
	uint16_t kind;
};

static int run_put(struct store_txn *txn, void *arg, struct err *err)
{
	const struct put *put = arg;

	return store_put(txn, TABLE_SERVERS, put->key, put->kind, put->value, err);
}

int records_put_facts(struct records *records, const char *server, struct span version, struct span facts, struct err *err)
{
	char room[STORE_KEY_MAX];
	struct put put = {.key = make_key(room, server, 'f'), .kind = RECORD_FACTS};
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

int records_put_list(struct records *records, const char *server, enum catalogue_kind kind, struct span list,
	struct err *err)
{
	char room[STORE_KEY_MAX];
	struct put put = {.key = make_key(room, server, (char)('0' + kind)), .kind = RECORD_LIST, .value = list};

	return store_write(records->store, run_put, &put, err);
}

int records_read(struct records *records, const char *server, records_fn *fn, void *arg, struct err *err)
{
	char room[STORE_KEY_MAX];
	struct store_txn *txn;
	struct span payload;
	int r = store_read_begin(records->store, &txn, err);

	if (r < 0)
		return r;
	if (store_get(txn, TABLE_SERVERS, make_key(room, server, 'f'), RECORD_FACTS, &payload, NULL) == 0)
		fn(arg, CATALOGUE_KIND_MAX, payload);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (store_get(txn, TABLE_SERVERS, make_key(room, server, (char)('0' + kind)), RECORD_LIST, &payload, NULL) == 0)
			fn(arg, (enum catalogue_kind)kind, payload);
	store_read_end(txn);
	return 0;
}

void records_write_metrics(struct records *records, struct buf *out)
{
	struct store_stats stats;

	store_get_stats(records->store, &stats);
	buf_printf(out, "gatehouse_lmdb_used_bytes{env=\"registry\"} %llu\n", (unsigned long long)stats.used_bytes);
	buf_printf(out, "gatehouse_lmdb_map_bytes{env=\"registry\"} %llu\n", (unsigned long long)stats.map_bytes);
	buf_printf(out, "gatehouse_lmdb_commit_seconds{env=\"registry\"} %.6f\n", (double)stats.commit_us / 1e6);
}
