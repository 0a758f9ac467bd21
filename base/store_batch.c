/* Group commit: many writes, one transaction, one sync. */
#include "store_internal.h"

#include <stdlib.h>

struct batch {
	struct store_queued *items;
	size_t len;
	bool again; /* a failed write had changed something: repeat without it */
};

int store_queue(struct store *store, store_write_fn fn, store_done_fn done, void *arg)
{
	struct store_queued *queue;
	size_t cap;

	if (store->queue_len == STORE_BATCH_MAX)
		return -ERR_TOO_MANY;
	if (store->queue_len == store->queue_cap) {
		cap = store->queue_cap ? store->queue_cap * 2 : 16;
		queue = realloc(store->queue, cap * sizeof(*queue));
		if (!queue)
			return -ERR_NO_MEMORY;
		store->queue = queue;
		store->queue_cap = cap;
	}
	store->queue[store->queue_len++] =
		(struct store_queued){.fn = fn, .done = done, .arg = arg};
	return 0;
}

size_t store_queued(const struct store *store)
{
	return store->queue_len;
}

static int batch_run(struct store_txn *txn, void *arg, struct err *err)
{
	struct batch *batch = arg;

	for (size_t i = 0; i < batch->len; i++) {
		struct store_queued *item = &batch->items[i];
		struct err detail = {0};
		int r;

		if (item->code < 0)
			continue;
		txn->changed = false;
		r = item->fn(txn, item->arg, &detail);
		if (txn->map_full)
			return err_set(err, ERR_STORE_FULL, "%s", err_text(&detail));
		if (r >= 0)
			continue;
		item->code = r;
		item->err = malloc(sizeof(detail));
		if (item->err)
			*item->err = detail;
		if (txn->changed) {
			batch->again = true;
			return -ERR_AGAIN;
		}
	}
	return 0;
}

static void batch_done(struct batch *batch, int r, const struct err *failed)
{
	static const struct err none = {0};

	for (size_t i = 0; i < batch->len; i++) {
		struct store_queued *item = &batch->items[i];

		if (item->done && item->code < 0)
			item->done(item->arg, item->code, item->err ? item->err : &none);
		else if (item->done)
			item->done(item->arg, r, failed);
		free(item->err);
	}
}

int store_flush(struct store *store, struct err *err)
{
	struct batch batch = {.items = store->queue, .len = store->queue_len};
	struct err failed = {0};
	int r;

	if (batch.len == 0)
		return 0;
	if (store->writing)
		return err_set(err, ERR_BUSY, "%s: flushed inside a write", store->path);
	/* Ours from here: done may queue again. */
	store->queue = NULL;
	store->queue_len = store->queue_cap = 0;
	do {
		batch.again = false;
		r = store_write(store, batch_run, &batch, &failed);
	} while (batch.again);
	batch_done(&batch, r, &failed);
	free(batch.items);
	if (r < 0 && err)
		*err = failed;
	return r;
}
