#include "store_internal.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAP_FIRST (1024u * 1024u)
#define MAP_MAX (1024u * 1024u * 1024u)
#define MAP_UNIT 65536u
/* LMDB's lock file: 64 bytes a reader, and its head. */
#define LOCK_BYTES (STORE_READERS_MAX * 64 + 4096)

int store_fail(const struct store *store, int rc, struct err *err, const char *what)
{
	enum err_code code = rc == MDB_MAP_FULL || rc == MDB_READERS_FULL ? ERR_STORE_FULL
			     : rc == ENOMEM                               ? ERR_NO_MEMORY
									  : ERR_STORE;

	return err_set(err, code, "%s: %s: %s", store->path, what, mdb_strerror(rc));
}

/* Become the only writer, or say who is. */
static int writer_lock(const char *path, int *ret_fd, struct err *err)
{
	char file[4096], pid[24] = "";
	int r = store_path(path, ".writer", file, err);
	int fd;

	if (r < 0)
		return r;
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (pread(fd, pid, sizeof(pid) - 1, 0) < 0)
			pid[0] = '\0';
		pid[strcspn(pid, "\n")] = '\0';
		r = errno == EWOULDBLOCK
			    ? err_set(err, ERR_BUSY, "%s already has a writer: process %s", path,
				      pid)
			    : err_set(err, ERR_STORE, "%s: lock: %s", file, strerror(errno));
		close(fd);
		return r;
	}
	/* For people only: a full disk must not keep the node from starting. */
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, strlen(pid), 0) < 0)
		pid[0] = '\0';
	*ret_fd = fd;
	return 0;
}

/* Examine the file if there is one; *ret_bytes 0 when it is still to be made. */
static int data_check(const struct store *store, uint64_t *ret_bytes, struct err *err)
{
	bool writer = store->config.writer;
	int fd = open(store->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT) {
		*ret_bytes = 0;
		return writer ? 0 : err_set(err, ERR_AGAIN, "%s does not exist yet", store->path);
	}
	if (fd < 0)
		return err_set(err, ERR_STORE, "%s: %s", store->path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		r = err_set(err, ERR_STORE, "%s is not a regular file", store->path);
	else if (st.st_size == 0)
		/* LMDB would silently make an empty environment of it. */
		r = err_set(err, ERR_STORE,
			"%s is empty (zero bytes): remove it to begin anew, or restore it",
			store->path);
	else
		r = store_check_file(
			store->path, fd, writer, store->config.map_max, ret_bytes, err);
	close(fd);
	return r;
}

static size_t map_round(size_t bytes)
{
	return (bytes + MAP_UNIT - 1) / MAP_UNIT * MAP_UNIT;
}

static int env_configure(struct store *store, uint64_t used, struct err *err)
{
	size_t first = store->config.map_first;
	int rc = mdb_env_create(&store->env);

	if (rc == 0)
		rc = mdb_env_set_maxreaders(store->env, STORE_READERS_MAX);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(store->env, STORE_TABLES_MAX + 1);
	/* A reader takes the size that stands in the file. */
	if (rc == 0 && store->config.writer) {
		store->map_size = map_round(used > first ? used : first);
		rc = mdb_env_set_mapsize(store->env, store->map_size);
	}
	return rc != 0 ? store_fail(store, rc, err, "set up") : 0;
}

static int lock_identify(struct store *store, struct stat *ret_st, struct err *err)
{
	char file[4096];
	int r = store_path(store->path, "-lock", file, err);

	if (r < 0)
		return r;
	if (stat(file, ret_st) < 0)
		return err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
	return 0;
}

/*
 * LMDB makes its lock file sparse and writes it through a map: on a full disk that is a SIGBUS. So
 * its blocks are reserved before. Only before: closing it later would drop this process's locks on
 * it (POSIX).
 */
static int lock_reserve(const struct store *store, struct err *err)
{
	char file[4096];
	int r = store_path(store->path, "-lock", file, err);
	int fd;

	if (r < 0)
		return r;
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOCK_BYTES) < 0 && errno != EOPNOTSUPP)
		r = err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
	close(fd);
	return r;
}

/* LMDB 0.9.24 leaves its data descriptors open over exec, and names but one of them. */
static void close_on_exec(const struct store *store)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	struct stat data, st;

	if (!fds || stat(store->path, &data) < 0)
		data.st_ino = 0;
	while (fds && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);

		if (fd > 2 && fstat(fd, &st) == 0 && st.st_ino == data.st_ino &&
			st.st_dev == data.st_dev)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	if (fds)
		closedir(fds);
}

static int env_open(struct store *store, uint64_t used, struct err *err)
{
	unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
	struct stat st;
	MDB_envinfo info;
	int dead;
	int rc, r = env_configure(store, used, err);

	if (r == 0)
		r = lock_reserve(store, err);
	if (r < 0)
		return r;
	if (!store->config.writer)
		flags |= MDB_RDONLY;
	else if (store->config.durability != STORE_SYNC)
		flags |= MDB_NOSYNC;
	rc = mdb_env_open(store->env, store->path, flags, 0600);
	if (rc != 0)
		return store_fail(store, rc, err, "open");
	close_on_exec(store);
	mdb_reader_check(store->env, &dead);
	mdb_env_info(store->env, &info);
	store->map_size = info.me_mapsize;
	r = lock_identify(store, &st, err);
	if (r == 0) {
		store->lock_dev = st.st_dev;
		store->lock_ino = st.st_ino;
	}
	return r;
}

/* The writer makes what is not there yet. */
static int tables_open_in(struct store *store, MDB_txn *txn)
{
	unsigned flags = store->config.writer ? MDB_CREATE : 0;
	MDB_stat stat;
	int rc = mdb_dbi_open(txn, STORE_COMMITS_TABLE, flags, &store->commits);

	for (unsigned i = 0; i < store->tables && rc == 0; i++) {
		rc = mdb_dbi_open(txn, store->config.tables[i], 0, &store->dbis[i]);
		if (rc != MDB_NOTFOUND || !flags)
			continue;
		rc = mdb_dbi_open(txn, store->config.tables[i], flags, &store->dbis[i]);
		if (rc == 0)
			rc = store_note_commit(store, txn);
	}
	if (rc == 0 && flags)
		rc = mdb_stat(txn, store->commits, &stat);
	if (rc == 0 && flags && stat.ms_entries == 0)
		rc = store_note_commit(store, txn);
	return rc;
}

static int tables_open(struct store *store, struct err *err)
{
	bool writer = store->config.writer;
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, writer ? 0 : MDB_RDONLY, &txn);

	if (rc != 0)
		return store_fail(store, rc, err, "open of the tables");
	rc = tables_open_in(store, txn);
	if (rc != 0) {
		mdb_txn_abort(txn);
		if (rc == MDB_NOTFOUND)
			return err_set(err, ERR_AGAIN,
				"%s lacks a table: its writer must open it first", store->path);
		return store_fail(store, rc, err, "open of the tables");
	}
	/* For a reader, too: only a commit makes the handles outlive the transaction. */
	rc = mdb_txn_commit(txn);
	return rc != 0 ? store_fail(store, rc, err, "open of the tables") : 0;
}

static int config_take(struct store *store, const struct store_config *config, struct err *err)
{
	store->config = *config;
	store->lock_fd = store->state_fd = -1;
	store->pid = getpid();
	if (!store->config.map_max)
		store->config.map_max = MAP_MAX;
	if (!store->config.map_first)
		store->config.map_first = MAP_FIRST;
	while (config->tables && config->tables[store->tables])
		if (++store->tables > STORE_TABLES_MAX)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "more than %u tables", STORE_TABLES_MAX);
	store->path = strdup(config->path);
	if (!store->path)
		return err_set(err, ERR_NO_MEMORY, "%s: open", config->path);
	return store_boot_id(config->boot_id, store->boot_id, err);
}

static int open_steps(struct store *store, struct err *err)
{
	bool writer = store->config.writer;
	uint64_t used;
	int r = writer ? writer_lock(store->path, &store->lock_fd, err) : 0;

	if (r == 0)
		r = writer ? store_state_prepare(store, err) : store_state_reader(store, err);
	if (r == 0)
		r = data_check(store, &used, err);
	if (r == 0)
		r = env_open(store, used, err);
	if (r == 0 && writer)
		r = store_state_begin(store, err);
	if (r == 0)
		r = tables_open(store, err);
	return r;
}

int store_open(const struct store_config *config, struct store **ret_store, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return err_set(err, ERR_NO_MEMORY, "%s: open", config->path);
	r = config_take(store, config, err);
	if (r == 0)
		r = open_steps(store, err);
	if (r < 0) {
		store_close(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

static void queue_drop(struct store *store)
{
	struct err err = {0};

	err_set(&err, ERR_CLOSED, "%s was closed", store->path);
	for (size_t i = 0; i < store->queue_len; i++)
		if (store->queue[i].done)
			store->queue[i].done(store->queue[i].arg, -ERR_CLOSED, &err);
	free(store->queue);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	queue_drop(store);
	/* pid: a child made by fork must not touch what it shares with its parent. */
	if (store->env && store->pid == getpid()) {
		if (store->pin) {
			store_state_checkpoint(store, NULL);
			mdb_txn_abort(store->pin);
		}
		if (store->spare)
			mdb_txn_abort(store->spare);
		mdb_env_close(store->env);
	}
	if (store->state_fd >= 0)
		close(store->state_fd);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	free(store->path);
	free(store);
}

int store_remove(const char *path, struct err *err)
{
	static const char *const suffixes[] = {"", "-lock", ".state", ".writer"};
	char file[4096];
	int fd, r = writer_lock(path, &fd, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]) && r == 0; i++) {
		r = store_path(path, suffixes[i], file, err);
		if (r == 0 && unlink(file) < 0 && errno != ENOENT)
			r = err_set(err, ERR_STORE, "%s: remove: %s", file, strerror(errno));
	}
	close(fd);
	return r;
}

static int usable(const struct store *store, struct err *err)
{
	if (store->pid != getpid())
		return err_set(err, ERR_INTERNAL, "%s: used in a child made by fork", store->path);
	if (store->writing)
		return err_set(err, ERR_BUSY, "%s: used inside a write", store->path);
	return 0;
}

static int read_begin_once(struct store *store, MDB_txn **ret_txn)
{
	int rc;

	if (store->spare) {
		rc = mdb_txn_renew(store->spare);
		if (rc != 0)
			return rc;
		*ret_txn = store->spare;
		store->spare = NULL;
		return 0;
	}
	return mdb_txn_begin(store->env, NULL, MDB_RDONLY, ret_txn);
}

int store_read_begin(struct store *store, struct store_txn **ret_txn, struct err *err)
{
	struct store_txn *txn;
	MDB_txn *mdb;
	int dead, rc, r = usable(store, err);

	if (r < 0)
		return r;
	rc = read_begin_once(store, &mdb);
	if (rc == MDB_READERS_FULL && mdb_reader_check(store->env, &dead) == 0 && dead > 0)
		rc = read_begin_once(store, &mdb);
	if (rc == MDB_MAP_RESIZED && store->reading > 0)
		return err_set(err, ERR_BUSY, "%s has grown: end the open read first", store->path);
	if (rc == MDB_MAP_RESIZED && (rc = mdb_env_set_mapsize(store->env, 0)) == 0)
		rc = read_begin_once(store, &mdb);
	if (rc != 0)
		return store_fail(store, rc, err, "begin of a read");
	txn = calloc(1, sizeof(*txn));
	if (!txn) {
		mdb_txn_abort(mdb);
		return err_set(err, ERR_NO_MEMORY, "%s: begin of a read", store->path);
	}
	txn->store = store;
	txn->mdb = mdb;
	arena_init(&txn->upgraded, STORE_UPGRADED_MAX);
	store->reading++;
	*ret_txn = txn;
	return 0;
}

void store_read_end(struct store_txn *txn)
{
	struct store *store;

	if (!txn)
		return;
	store = txn->store;
	store->reading--;
	if (store->spare) {
		mdb_txn_abort(txn->mdb);
	} else {
		/* Keeps the reader slot, lets go of the pages. */
		mdb_txn_reset(txn->mdb);
		store->spare = txn->mdb;
	}
	arena_free(&txn->upgraded);
	free(txn);
}

/* At the maximum: win back what dead readers or, with PERIODIC, the last checkpoint keep. False:
 * nothing was won. */
static bool pages_win_back(struct store *store, struct err *err)
{
	int dead = 0;
	size_t pinned;

	if (mdb_reader_check(store->env, &dead) == 0 && dead > 0)
		return true;
	if (!store->pin)
		return false;
	pinned = mdb_txn_id(store->pin);
	return store_state_checkpoint(store, err) == 0 && mdb_txn_id(store->pin) != pinned;
}

/*
 * Double the map, up to the maximum. LMDB unmaps before it maps anew and cannot go back, so the
 * room is tried first. The pin survives: it owns a reader slot and never reads a page.
 */
static int map_grow(struct store *store, struct err *err)
{
	size_t max = store->config.map_max / MAP_UNIT * MAP_UNIT;
	size_t size = store->map_size * 2 < max ? store->map_size * 2 : max;
	void *room;
	int rc;

	if (store->map_size >= max) {
		if (pages_win_back(store, err))
			return 0;
		return err_set(err, ERR_STORE_FULL,
			"%s is full: its maximum of %zu bytes is reached", store->path, max);
	}
	room = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return err_set(err, ERR_STORE_FULL, "%s: no address space for %zu bytes",
			store->path, size);
	munmap(room, size);
	rc = mdb_env_set_mapsize(store->env, size);
	if (rc != 0)
		return store_fail(store, rc, err, "growth");
	store->map_size = size;
	store->stats.grown++;
	return 0;
}

/* One attempt; *ret_full tells that the map was too small for it. */
static int write_once(
	struct store *store, store_write_fn fn, void *arg, bool *ret_full, struct err *err)
{
	struct store_txn txn = {.store = store, .write = true};
	int rc, r;

	rc = mdb_txn_begin(store->env, NULL, 0, &txn.mdb);
	if (rc != 0)
		return store_fail(store, rc, err, "begin of a write");
	arena_init(&txn.upgraded, STORE_UPGRADED_MAX);
	store->writing = true;
	r = fn(&txn, arg, err);
	store->writing = false;
	arena_free(&txn.upgraded);
	*ret_full = txn.map_full;
	if (r < 0 || txn.map_full) {
		mdb_txn_abort(txn.mdb);
		return r < 0 ? r : -ERR_STORE_FULL;
	}
	rc = txn.wrote ? store_note_commit(store, txn.mdb) : 0;
	if (rc == 0)
		rc = mdb_txn_commit(txn.mdb);
	else
		mdb_txn_abort(txn.mdb);
	*ret_full = rc == MDB_MAP_FULL;
	return rc != 0 ? store_fail(store, rc, err, "commit") : 0;
}

int store_write(struct store *store, store_write_fn fn, void *arg, struct err *err)
{
	uint64_t began = clock_us();
	int r = usable(store, err);

	if (r == 0 && !store->config.writer)
		r = err_set(err, ERR_INTERNAL, "%s was opened to be read", store->path);
	if (r == 0 && store->reading > 0)
		r = err_set(err, ERR_BUSY, "%s: end the open read first", store->path);
	while (r == 0) {
		bool full = false;

		r = write_once(store, fn, arg, &full, err);
		if (!full)
			break;
		r = map_grow(store, err);
	}
	if (r == 0) {
		store->stats.commits++;
		if (store->config.durability != STORE_PERIODIC)
			histogram_observe(
				&store->stats.commit, histogram_overhead, clock_us() - began);
	}
	return r;
}

int store_sync(struct store *store, struct err *err)
{
	uint64_t began = clock_us();
	int rc, r = usable(store, err);

	if (r < 0)
		return r;
	if (store->config.durability == STORE_PERIODIC && store->config.writer) {
		r = store_state_checkpoint(store, err);
		histogram_observe(&store->stats.commit, histogram_overhead, clock_us() - began);
		return r;
	}
	rc = mdb_env_sync(store->env, 1);
	return rc != 0 ? store_fail(store, rc, err, "sync") : 0;
}

int store_reader_check(struct store *store, unsigned *ret_freed, struct err *err)
{
	struct stat st;
	int freed = 0, rc, r = usable(store, err);

	if (r == 0)
		r = lock_identify(store, &st, err);
	if (r < 0)
		return r;
	/* With another lock file, readers and the writer no longer see each other. */
	if (st.st_dev != store->lock_dev || st.st_ino != store->lock_ino)
		return err_set(err, ERR_STORE, "%s-lock was replaced while in use", store->path);
	rc = mdb_reader_check(store->env, &freed);
	if (rc != 0)
		return store_fail(store, rc, err, "reader check");
	*ret_freed = (unsigned)freed;
	return 0;
}

void store_get_stats(struct store *store, struct store_stats *ret_stats)
{
	MDB_envinfo info;
	MDB_stat stat;

	mdb_env_info(store->env, &info);
	mdb_env_stat(store->env, &stat);
	store->stats.map_bytes = info.me_mapsize;
	store->stats.used_bytes = (info.me_last_pgno + 1) * stat.ms_psize;
	store->stats.readers = info.me_numreaders;
	*ret_stats = store->stats;
}
