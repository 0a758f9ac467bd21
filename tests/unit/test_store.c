/* base/store: records, group commit, growth, what is refused, and what survives which death. */
#include "hash.h"
#include "store.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TABLE_A, TABLE_B };
enum { KIND_NOTE = 1, KIND_OTHER = 2 };

static const char *const tables[] = {"a", "b", NULL};
static const struct store_kind kinds_v1[] = {{KIND_NOTE, 1, "note"}, {KIND_OTHER, 1, "other"}};
static const struct store_kind kinds_v3[] = {{KIND_NOTE, 3, "note"}, {KIND_OTHER, 1, "other"}};

static char dir[64];
static char path[80];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/test_store.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/env", dir);
}

static void teardown(void)
{
	struct dirent *entry;
	DIR *d = opendir(dir);

	while (d && (entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

static struct store_config config(bool writer, enum store_durability durability)
{
	return (struct store_config){
		.path = path,
		.writer = writer,
		.durability = durability,
		.map_max = 64 << 20,
		.tables = tables,
		.kinds = kinds_v1,
		.kinds_len = 2,
	};
}

static struct store *open_store(bool writer, enum store_durability durability)
{
	struct store_config c = config(writer, durability);
	struct store *store;
	struct err err = {0};
	int r = store_open(&c, &store, &err);

	ck_assert_msg(r == 0, "%s", err_text(&err));
	return store;
}

/* Expect a refusal whose text contains word. */
static void open_fails(const struct store_config *c, int code, const char *word)
{
	struct store *store = NULL;
	struct err err = {0};
	int r = store_open(c, &store, &err);

	ck_assert_msg(r == code, "%d instead of %d: %s", r, code, err_text(&err));
	ck_assert_msg(strstr(err_text(&err), word), "'%s' not in: %s", word, err_text(&err));
	ck_assert_ptr_null(store);
}

struct pair {
	struct span key;
	struct span value;
};

static int put_pair(struct store_txn *txn, void *arg, struct err *err)
{
	struct pair *pair = arg;

	return store_put(txn, TABLE_A, pair->key, KIND_NOTE, pair->value, err);
}

static int put(struct store *store, const char *key, struct span value, struct err *err)
{
	struct pair pair = {span_str(key), value};

	return store_write(store, put_pair, &pair, err);
}

static void put_ok(struct store *store, const char *key, struct span value)
{
	struct err err = {0};
	int r = put(store, key, value, &err);

	ck_assert_msg(r == 0, "%s", err_text(&err));
}

static int get_code(struct store *store, const char *key, const char *expect)
{
	struct store_txn *txn;
	struct span value;
	struct err err = {0};
	int r;

	r = store_read_begin(store, &txn, &err);
	ck_assert_msg(r == 0, "%s", err_text(&err));
	r = store_get(txn, TABLE_A, span_str(key), KIND_NOTE, &value, &err);
	if (r == 0)
		ck_assert_msg(span_is(value, expect), "%.*s", SPAN_ARG(value));
	store_read_end(txn);
	return r;
}

/* A reader in a process of its own, as LMDB demands: it keeps the environment open and looks up
 * what it is told. */
struct peer {
	pid_t pid;
	int ask, answer;
};

struct question {
	char key[16];
	char expect[16];
};

static void peer_run(int ask, int answer)
{
	struct store *reader = open_store(false, STORE_SYNC);
	struct question question;

	while (read(ask, &question, sizeof(question)) == (ssize_t)sizeof(question)) {
		int code = get_code(reader, question.key, question.expect);

		if (write(answer, &code, sizeof(code)) != (ssize_t)sizeof(code))
			break;
	}
	store_close(reader);
	_exit(0);
}

static int peer_get(const struct peer *peer, const char *key, const char *expect)
{
	struct question question = {"", ""};
	int code = 1;

	snprintf(question.key, sizeof(question.key), "%s", key);
	snprintf(question.expect, sizeof(question.expect), "%s", expect);
	ck_assert_int_eq(write(peer->ask, &question, sizeof(question)), sizeof(question));
	ck_assert_int_eq(read(peer->answer, &code, sizeof(code)), sizeof(code));
	return code;
}

static struct peer peer_start(void)
{
	int ask[2], answer[2];
	struct peer peer;

	ck_assert_int_eq(pipe2(ask, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(answer, O_CLOEXEC), 0);
	peer.pid = fork();
	if (peer.pid == 0) {
		close(ask[1]);
		close(answer[0]);
		peer_run(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	peer.ask = ask[1];
	peer.answer = answer[0];
	ck_assert_int_eq(peer_get(&peer, "no such key", ""), -ERR_NOT_FOUND);
	return peer;
}

static void peer_stop(const struct peer *peer)
{
	int status;

	close(peer->ask);
	close(peer->answer);
	ck_assert_int_eq(waitpid(peer->pid, &status, 0), peer->pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(test_hash_vectors)
{
	/* of the XXH64 specification's reference implementation, seed 0 */
	ck_assert_uint_eq(hash64("", 0, 0), 0xef46db3751d8e999ull);
	ck_assert_uint_eq(hash64("a", 1, 0), 0xd24ec4f1a98c6e5bull);
	ck_assert_uint_eq(hash64("abc", 3, 0), 0x44bc2cf5ad770999ull);
	ck_assert_uint_eq(
		hash64("Nobody inspects the spammish repetition", 39, 0), 0xfbcea83c8a378bf1ull);
}
END_TEST

static int delete_a(struct store_txn *txn, void *arg, struct err *err)
{
	return store_delete(txn, TABLE_A, span_str(arg), err);
}

START_TEST(test_round_trip)
{
	enum store_durability durability = (enum store_durability)_i;
	struct store *store = open_store(true, durability);
	struct store *reader;
	struct store_stats stats;
	struct err err = {0};

	put_ok(store, "k1", SPAN_LIT("one"));
	put_ok(store, "k2", SPAN_NONE);
	put_ok(store, "k1", SPAN_LIT("uno"));
	ck_assert_int_eq(get_code(store, "k1", "uno"), 0);
	ck_assert_int_eq(get_code(store, "k2", ""), 0);
	ck_assert_int_eq(get_code(store, "k3", ""), -ERR_NOT_FOUND);
	ck_assert_int_eq(store_write(store, delete_a, (void *)"k1", &err), 0);
	ck_assert_int_eq(store_write(store, delete_a, (void *)"k1", &err), -ERR_NOT_FOUND);
	ck_assert_int_eq(get_code(store, "k1", ""), -ERR_NOT_FOUND);
	ck_assert_int_eq(put(store, "", SPAN_NONE, &err), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(store_sync(store, &err), 0);
	store_get_stats(store, &stats);
	ck_assert_uint_eq(stats.commits, 4);
	ck_assert_uint_gt(stats.used_bytes, 0);
	store_close(store);

	store = open_store(true, durability);
	ck_assert_int_eq(get_code(store, "k2", ""), 0);
	store_close(store);
	reader = open_store(false, durability);
	ck_assert_int_eq(get_code(reader, "k2", ""), 0);
	ck_assert_int_eq(put(reader, "k9", SPAN_NONE, &err), -ERR_INTERNAL);
	store_close(reader);
	ck_assert_int_eq(store_remove(path, &err), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

static int fill_range(struct store_txn *txn, void *arg, struct err *err)
{
	char key[16];
	int r = 0;

	for (int i = 0; i < *(int *)arg && r == 0; i++) {
		snprintf(key, sizeof(key), "%c/%03d", 'a' + i % 3, i);
		r = store_put(txn, TABLE_B, span_str(key), KIND_NOTE, span_str(key), err);
	}
	return r;
}

static int walk(struct store_txn *txn, const char *prefix, const char *from, const char *first)
{
	struct store_cursor *cursor;
	struct span key, value, last = SPAN_NONE;
	struct err err = {0};
	int n = 0, r;

	ck_assert_int_eq(store_cursor_new(txn, TABLE_B, KIND_NOTE, span_str(prefix), span_str(from),
				 &cursor, &err),
		0);
	while ((r = store_cursor_next(cursor, &key, &value, &err)) == 0) {
		ck_assert(span_equal(key, value));
		if (n++ == 0)
			ck_assert(span_is(key, first));
		else
			ck_assert_int_lt(memcmp(last.p, key.p, key.len), 0);
		last = key;
	}
	ck_assert_int_eq(r, -ERR_NOT_FOUND);
	store_cursor_free(cursor);
	return n;
}

static int delete_b_range(struct store_txn *txn, void *arg, struct err *err)
{
	struct store_cursor *cursor;
	struct span key, value;
	int *n = arg;
	int r = store_cursor_new(txn, TABLE_B, KIND_NOTE, SPAN_LIT("b/"), SPAN_NONE, &cursor, err);

	*n = 0;
	while (r == 0 && (r = store_cursor_next(cursor, &key, &value, err)) == 0) {
		r = store_cursor_delete(cursor, err);
		++*n;
	}
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

START_TEST(test_cursor)
{
	struct store *store = open_store(true, STORE_SYNC);
	struct store_txn *txn;
	struct err err = {0};
	uint64_t count;
	int n = 300;

	ck_assert_int_eq(store_write(store, fill_range, &n, &err), 0);
	ck_assert_int_eq(store_read_begin(store, &txn, &err), 0);
	ck_assert_int_eq(walk(txn, NULL, NULL, "a/000"), 300);
	ck_assert_int_eq(walk(txn, "b/", NULL, "b/001"), 100);
	ck_assert_int_eq(walk(txn, "b/", "b/150", "b/151"), 50);
	ck_assert_int_eq(walk(txn, "b/", "a/150", "b/001"), 100);
	ck_assert_int_eq(walk(txn, "b/", "c/000", NULL), 0);
	ck_assert_int_eq(walk(txn, "d/", NULL, NULL), 0);
	/* one read at a time and a write: refused, not deadlocked */
	ck_assert_int_eq(store_write(store, fill_range, &n, &err), -ERR_BUSY);
	store_read_end(txn);
	ck_assert_int_eq(store_write(store, delete_b_range, &n, &err), 0);
	ck_assert_int_eq(n, 100);
	ck_assert_int_eq(store_read_begin(store, &txn, &err), 0);
	ck_assert_int_eq(store_count(txn, TABLE_B, &count, &err), 0);
	ck_assert_uint_eq(count, 200);
	ck_assert_int_eq(walk(txn, "b/", NULL, NULL), 0);
	store_read_end(txn);
	store_close(store);
}
END_TEST

struct batch_item {
	char key[8];
	bool change_then_fail;
	bool fail;
	int outcome;
	int order;
};

static int done_count;

static int batch_put(struct store_txn *txn, void *arg, struct err *err)
{
	struct batch_item *item = arg;
	int r;

	if (item->fail)
		return err_set(err, ERR_EXISTS, "%s exists", item->key);
	r = store_put(txn, TABLE_A, span_str(item->key), KIND_NOTE, SPAN_LIT("v"), err);
	return item->change_then_fail ? err_set(err, ERR_FORBIDDEN, "%s", item->key) : r;
}

static void batch_done(void *arg, int code, const struct err *err)
{
	struct batch_item *item = arg;

	item->outcome = code;
	item->order = done_count++;
	if (code < 0)
		ck_assert_ptr_nonnull(strstr(err->detail, item->key));
}

START_TEST(test_group_commit)
{
	struct store *store = open_store(true, STORE_SYNC);
	struct batch_item items[50] = {0};
	struct store_stats before, after;
	struct err err = {0};

	done_count = 0;
	store_get_stats(store, &before);
	for (int i = 0; i < 50; i++) {
		snprintf(items[i].key, sizeof(items[i].key), "k%02d", i);
		items[i].change_then_fail = i == 10 || i == 20;
		items[i].fail = i == 30;
		ck_assert_int_eq(store_queue(store, batch_put, batch_done, &items[i]), 0);
	}
	ck_assert_uint_eq(store_queued(store), 50);
	ck_assert_int_eq(store_flush(store, &err), 0);
	ck_assert_uint_eq(store_queued(store), 0);
	store_get_stats(store, &after);
	ck_assert_uint_eq(after.commits - before.commits, 1);
	for (int i = 0; i < 50; i++) {
		int expect = items[i].fail               ? -ERR_EXISTS
			     : items[i].change_then_fail ? -ERR_FORBIDDEN
							 : 0;

		ck_assert_int_eq(items[i].outcome, expect);
		ck_assert_int_eq(items[i].order, i);
		ck_assert_int_eq(get_code(store, items[i].key, "v"), expect ? -ERR_NOT_FOUND : 0);
	}
	/* what is never flushed is told so */
	ck_assert_int_eq(store_queue(store, batch_put, NULL, &items[0]), 0);
	store_close(store);
}
END_TEST

START_TEST(test_batch_bounded)
{
	struct store *store = open_store(true, STORE_LIVE);
	struct batch_item item = {.key = "k"};
	struct err err = {0};

	for (unsigned i = 0; i < STORE_BATCH_MAX; i++)
		ck_assert_int_eq(store_queue(store, batch_put, NULL, &item), 0);
	ck_assert_int_eq(store_queue(store, batch_put, NULL, &item), -ERR_TOO_MANY);
	ck_assert_int_eq(store_flush(store, &err), 0);
	store_close(store);
}
END_TEST

START_TEST(test_growth)
{
	struct store_config c = config(true, (enum store_durability)_i);
	struct store *store;
	struct peer reader;
	struct store_stats stats;
	struct err err = {0};
	size_t len = 200000;
	char *big = calloc(1, len);
	char key[16];
	int r = 0, n;

	c.map_first = 256 << 10;
	c.map_max = 8 << 20;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	reader = peer_start();
	for (n = 0; n < 100; n++) {
		snprintf(key, sizeof(key), "n%d", n);
		r = put(store, key, span_of(big, len), &err);
		if (r < 0)
			break;
		if (n != 10)
			continue;
		/* the reader follows */
		put_ok(store, "mark", SPAN_LIT("here"));
		ck_assert_int_eq(peer_get(&reader, "mark", "here"), 0);
	}
	ck_assert_int_eq(r, -ERR_STORE_FULL);
	ck_assert_ptr_nonnull(strstr(err_text(&err), path));
	ck_assert_int_gt(n, 30);
	ck_assert_int_eq(peer_get(&reader, "mark", "here"), 0);
	ck_assert_int_eq(get_code(store, "mark", "here"), 0);
	store_get_stats(store, &stats);
	ck_assert_uint_ge(stats.grown, 4);
	ck_assert_uint_le(stats.map_bytes, 8 << 20);
	/* room again after a delete (pages become free two commits later; PERIODIC: two syncs) */
	ck_assert_int_eq(store_write(store, delete_a, (void *)"n1", &err), 0);
	ck_assert_int_eq(store_sync(store, &err), 0);
	put_ok(store, "small", SPAN_LIT("s"));
	ck_assert_int_eq(store_sync(store, &err), 0);
	put_ok(store, "small", SPAN_LIT("t"));
	ck_assert_int_eq(put(store, "n1", span_of(big, len / 2), &err), 0);
	peer_stop(&reader);
	store_close(store);
	free(big);
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	ck_assert_int_eq(get_code(store, "small", "t"), 0);
	store_close(store);
}
END_TEST

static int put_then_die(struct store_txn *txn, void *arg, struct err *err)
{
	int r = put_pair(txn, arg, err);

	ck_assert_int_eq(r, 0);
	kill(getpid(), SIGKILL);
	return 0;
}

static void wait_killed(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(test_writer_killed)
{
	enum store_durability durability = (enum store_durability)_i;
	struct store *store;
	struct peer reader;
	pid_t pid = fork();

	if (pid == 0) {
		struct pair pair = {SPAN_LIT("lost"), SPAN_LIT("x")};

		store = open_store(true, durability);
		put_ok(store, "kept", SPAN_LIT("v"));
		store_write(store, put_then_die, &pair, NULL);
		_exit(1);
	}
	wait_killed(pid);
	store = open_store(true, durability);
	reader = peer_start();
	ck_assert_int_eq(peer_get(&reader, "kept", "v"), 0);
	ck_assert_int_eq(peer_get(&reader, "lost", ""), -ERR_NOT_FOUND);
	put_ok(store, "next", SPAN_LIT("n"));
	ck_assert_int_eq(peer_get(&reader, "next", "n"), 0);
	peer_stop(&reader);
	store_close(store);
}
END_TEST

START_TEST(test_reader_killed)
{
	struct store *store = open_store(true, STORE_LIVE);
	struct err err = {0};
	unsigned freed = 9;
	int ready[2];
	char c;
	pid_t pid;

	put_ok(store, "k", SPAN_LIT("v"));
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct store *reader = open_store(false, STORE_LIVE);
		struct store_txn *txn;

		ck_assert_int_eq(store_read_begin(reader, &txn, &err), 0);
		if (write(ready[1], "r", 1) == 1)
			pause();
		_exit(1);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_int_eq(store_reader_check(store, &freed, &err), 0);
	ck_assert_uint_eq(freed, 0);
	kill(pid, SIGKILL);
	wait_killed(pid);
	ck_assert_int_eq(store_reader_check(store, &freed, &err), 0);
	ck_assert_uint_eq(freed, 1);
	close(ready[0]);
	close(ready[1]);
	store_close(store);
}
END_TEST

/* A dead reader's pages are won back by growth itself when the maximum is reached. */
START_TEST(test_stale_reader_full)
{
	struct store_config c = config(true, STORE_LIVE);
	struct store *store;
	struct err err = {0};
	size_t len = 50000;
	char *big = calloc(1, len);
	pid_t pid;

	c.map_max = 1 << 20;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	put_ok(store, "k", span_of(big, len));
	pid = fork();
	if (pid == 0) {
		struct store *reader = open_store(false, STORE_LIVE);
		struct store_txn *txn;

		store_read_begin(reader, &txn, &err);
		kill(getpid(), SIGKILL);
	}
	wait_killed(pid);
	for (int i = 0; i < 200; i++)
		put_ok(store, "k", span_of(big, len));
	store_close(store);
	free(big);
}
END_TEST

/* Without a sync nothing is used again, so the maximum is reached soon: then a sync is made. */
START_TEST(test_periodic_full)
{
	struct store_config c = config(true, STORE_PERIODIC);
	struct store_stats stats;
	struct store *store;
	struct err err = {0};

	c.map_max = 1 << 20;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	for (int i = 0; i < 1000; i++)
		put_ok(store, i % 2 ? "k" : "l", SPAN_LIT("value"));
	store_get_stats(store, &stats);
	ck_assert_uint_le(stats.map_bytes, 1 << 20);
	store_close(store);
}
END_TEST

START_TEST(test_second_writer)
{
	struct store *store = open_store(true, STORE_SYNC);
	struct store_config c = config(true, STORE_SYNC);
	struct err err = {0};
	char pid[32];

	snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
	open_fails(&c, -ERR_BUSY, pid);
	ck_assert_int_eq(store_remove(path, &err), -ERR_BUSY);
	put_ok(store, "k", SPAN_LIT("v"));
	store_close(store);
	store = open_store(true, STORE_SYNC);
	ck_assert_int_eq(get_code(store, "k", "v"), 0);
	store_close(store);
}
END_TEST

START_TEST(test_fork_refused)
{
	struct store *store = open_store(true, STORE_SYNC);
	struct store_txn *txn;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		bool refused = store_read_begin(store, &txn, NULL) == -ERR_INTERNAL &&
			       put(store, "k", SPAN_NONE, NULL) == -ERR_INTERNAL;

		store_close(store);
		_exit(refused ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	put_ok(store, "k", SPAN_LIT("v"));
	store_close(store);
}
END_TEST

START_TEST(test_close_on_exec)
{
	struct store *store = open_store(true, (enum store_durability)_i);

	for (int fd = 3; fd < 64; fd++) {
		char link[32], target[256];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strstr(target, dir))
			ck_assert_msg(fcntl(fd, F_GETFD) & FD_CLOEXEC, "%s", target);
	}
	store_close(store);
}
END_TEST

START_TEST(test_boot_id)
{
	struct store_config c = config(true, STORE_LIVE);
	struct store *store;
	struct err err = {0};

	c.boot_id = "boot-1";
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	put_ok(store, "k", SPAN_LIT("v"));
	store_close(store);
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	ck_assert_int_eq(get_code(store, "k", "v"), 0);
	store_close(store);
	/* after a boot a reader waits for the writer, who begins anew */
	c.boot_id = "boot-2";
	c.writer = false;
	open_fails(&c, -ERR_AGAIN, "earlier boot");
	c.writer = true;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	ck_assert_int_eq(get_code(store, "k", "v"), -ERR_NOT_FOUND);
	put_ok(store, "k", SPAN_LIT("w"));
	store_close(store);
	/* from LIVE to SYNC: kept, and independent of boots from then on */
	c.durability = STORE_SYNC;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	store_close(store);
	c.boot_id = "boot-3";
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	ck_assert_int_eq(get_code(store, "k", "w"), 0);
	store_close(store);
}
END_TEST

static char *slurp(const char *file, size_t *ret_len)
{
	FILE *f = fopen(file, "rb");
	struct stat st;
	char *data;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fstat(fileno(f), &st), 0);
	data = malloc((size_t)st.st_size + 1);
	*ret_len = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	return data;
}

static void spill(const char *file, const char *data, size_t len)
{
	FILE *f = fopen(file, "wb");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	fclose(f);
}

/*
 * Power loss of an unsynced environment: any mixture of the pages as they were at the last sync and
 * as they were written since may be on the disk. Whatever it is, the state of the last sync comes
 * back.
 */
START_TEST(test_power_loss_periodic)
{
	struct store_config c = config(true, STORE_PERIODIC);
	struct store *store;
	struct err err = {0};
	char *synced, *later, *mixed, *state, state_path[96], key[16];
	size_t synced_len, later_len, state_len;
	unsigned seed = 12345;

	snprintf(state_path, sizeof(state_path), "%s.state", path);
	c.boot_id = "boot-1";
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "k%03d", i);
		put_ok(store, key, SPAN_LIT("synced"));
	}
	ck_assert_int_eq(store_sync(store, &err), 0);
	synced = slurp(path, &synced_len);
	state = slurp(state_path, &state_len);
	for (int i = 0; i < 600; i++) {
		snprintf(key, sizeof(key), "k%03d", i % 400);
		put_ok(store, key, SPAN_LIT("later, not synced"));
	}
	later = slurp(path, &later_len);
	store_close(store);
	ck_assert_uint_ge(later_len, synced_len);
	mixed = malloc(later_len);
	c.boot_id = "boot-2";
	for (int round = 0; round < 20; round++) {
		memset(mixed, 0, later_len);
		memcpy(mixed, synced, synced_len);
		for (size_t at = 0; at < later_len; at += 4096)
			if (rand_r(&seed) & 1)
				memcpy(mixed + at, later + at, 4096);
		spill(path, mixed, later_len);
		spill(state_path, state, state_len);
		ck_assert_msg(store_open(&c, &store, &err) == 0, "%s", err_text(&err));
		for (int i = 0; i < 400; i++) {
			snprintf(key, sizeof(key), "k%03d", i);
			ck_assert_int_eq(
				get_code(store, key, "synced"), i < 300 ? 0 : -ERR_NOT_FOUND);
		}
		put_ok(store, "new", SPAN_LIT("boot 2"));
		store_close(store);
	}
	free(synced);
	free(later);
	free(mixed);
	free(state);
}
END_TEST

static int upgrade_1(struct span old, struct buf *out, struct err *err)
{
	(void)err;
	buf_append_str(out, "two:");
	return buf_append_span(out, old);
}

static int upgrade_2(struct span old, struct buf *out, struct err *err)
{
	if (span_is(old, "two:bad"))
		return err_set(err, ERR_STORE, "cannot read the old note");
	buf_append_str(out, "three:");
	return buf_append_span(out, old);
}

static const struct store_upgrade upgrades[] = {
	{KIND_NOTE, 2, upgrade_2}, {KIND_NOTE, 1, upgrade_1}};

static int walk_upgraded(struct store *store)
{
	struct store_txn *txn;
	struct store_cursor *cursor;
	struct span key, value;
	struct err err = {0};
	int n = 0, r;

	ck_assert_int_eq(store_read_begin(store, &txn, &err), 0);
	ck_assert_int_eq(
		store_cursor_new(txn, TABLE_A, KIND_NOTE, SPAN_NONE, SPAN_NONE, &cursor, &err), 0);
	/* a record that cannot be read does not end the walk */
	while ((r = store_cursor_next(cursor, &key, &value, &err)) != -ERR_NOT_FOUND)
		n += r == 0 && value.len > 6 && memcmp(value.p, "three:", 6) == 0;
	store_cursor_free(cursor);
	store_read_end(txn);
	return n;
}

START_TEST(test_upgrade)
{
	struct store_config c = config(true, STORE_SYNC);
	struct store *store = open_store(true, STORE_SYNC);
	struct store_txn *txn;
	struct span value;
	struct err err = {0};

	put_ok(store, "k", SPAN_LIT("old"));
	put_ok(store, "bad", SPAN_LIT("bad"));
	store_close(store);
	c.kinds = kinds_v3;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	ck_assert_int_eq(get_code(store, "k", ""), -ERR_STORE);
	store_close(store);
	c.upgrades = upgrades;
	c.upgrades_len = 2;
	ck_assert_int_eq(store_open(&c, &store, &err), 0);
	ck_assert_int_eq(get_code(store, "k", "three:two:old"), 0);
	ck_assert_int_eq(get_code(store, "bad", ""), -ERR_STORE);
	ck_assert_int_eq(walk_upgraded(store), 1);
	put_ok(store, "k", SPAN_LIT("new"));
	ck_assert_int_eq(get_code(store, "k", "new"), 0);
	store_close(store);
	/* the older program says why it cannot, and does not misread */
	store = open_store(true, STORE_SYNC);
	ck_assert_int_eq(store_read_begin(store, &txn, &err), 0);
	ck_assert_int_eq(
		store_get(txn, TABLE_A, SPAN_LIT("k"), KIND_NOTE, &value, &err), -ERR_STORE);
	ck_assert_ptr_nonnull(strstr(err_text(&err), "newer program"));
	ck_assert_int_eq(
		store_get(txn, TABLE_A, SPAN_LIT("k"), KIND_OTHER, &value, &err), -ERR_STORE);
	store_read_end(txn);
	store_close(store);
}
END_TEST

START_TEST(test_disk_full)
{
	struct store *store;
	struct err err = {0};
	size_t len = 60000;
	char *big = calloc(1, len), key[16];
	int r = 0, fd, filler_ok;

	if (mount("none", dir, "tmpfs", 0, "size=2m") < 0) {
		ck_assert(errno == EPERM || errno == EACCES);
		fprintf(stderr, "test_disk_full: skipped, mount is not permitted\n");
		free(big);
		return;
	}
	store = open_store(true, (enum store_durability)_i);
	put_ok(store, "first", SPAN_LIT("v"));
	for (int i = 0; i < 200 && r == 0; i++) {
		snprintf(key, sizeof(key), "n%03d", i);
		r = put(store, key, span_of(big, len), &err);
	}
	ck_assert_msg(r == -ERR_STORE, "%d %s", r, err_text(&err));
	ck_assert_ptr_nonnull(strstr(err_text(&err), path));
	ck_assert_int_eq(get_code(store, "first", "v"), 0);
	ck_assert_int_eq(get_code(store, key, ""), -ERR_NOT_FOUND);
	/* space returns */
	ck_assert_int_eq(mount("none", dir, "tmpfs", MS_REMOUNT, "size=4m"), 0);
	put_ok(store, key, span_of(big, len));
	store_close(store);
	store = open_store(true, (enum store_durability)_i);
	ck_assert_int_eq(get_code(store, "first", "v"), 0);
	store_close(store);
	/* opening with no room at all is an error, too, not a crash */
	ck_assert_int_eq(store_remove(path, &err), 0);
	fd = openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	filler_ok = fd >= 0 && ftruncate(fd, 0) == 0;
	ck_assert(filler_ok);
	while (write(fd, big, len) > 0)
		;
	close(fd);
	ck_assert_int_eq(rename(path, key), -1); /* another file system: stays */
	snprintf(path, sizeof(path), "%s/other", dir);
	{
		struct store_config c = config(true, (enum store_durability)_i);

		open_fails(&c, -ERR_STORE, path);
	}
	ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
	free(big);
}
END_TEST

/* An environment with every kind of page in it: branches, leaves, big values, a free list. */
static char *sample(size_t *ret_len)
{
	struct store *store = open_store(true, STORE_SYNC);
	char big[9000], key[16];
	struct err err = {0};
	int n = 300;

	memset(big, 'b', sizeof(big));
	ck_assert_int_eq(store_write(store, fill_range, &n, &err), 0);
	for (int i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "big%d", i);
		put_ok(store, key, span_of(big, sizeof(big)));
	}
	ck_assert_int_eq(store_write(store, delete_b_range, &n, &err), 0);
	ck_assert_int_eq(store_write(store, delete_a, (void *)"big3", &err), 0);
	store_close(store);
	return slurp(path, ret_len);
}

/* Everything that can be read back, as one number. */
static uint64_t content(struct store *store)
{
	struct store_txn *txn;
	struct err err = {0};
	uint64_t h = 0;

	ck_assert_int_eq(store_read_begin(store, &txn, &err), 0);
	for (unsigned table = 0; table < 2; table++) {
		struct store_cursor *cursor;
		struct span key, value;
		int r;

		ck_assert_int_eq(store_cursor_new(txn, table, KIND_NOTE, SPAN_NONE, SPAN_NONE,
					 &cursor, &err),
			0);
		while ((r = store_cursor_next(cursor, &key, &value, &err)) == 0)
			h = hash64(value.p, value.len, hash64(key.p, key.len, h));
		ck_assert_int_eq(r, -ERR_NOT_FOUND);
		store_cursor_free(cursor);
	}
	store_read_end(txn);
	return h;
}

START_TEST(test_bad_files)
{
	struct store_config writer = config(true, STORE_SYNC), reader = config(false, STORE_SYNC);
	struct store *intact;
	size_t len;
	char *data, *copy;
	uint64_t good;

	open_fails(&reader, -ERR_AGAIN, path);
	data = sample(&len);
	copy = malloc(len);
	intact = open_store(true, STORE_SYNC);
	good = content(intact);
	store_close(intact);
	spill(path, "", 0);
	open_fails(&writer, -ERR_STORE, "empty");
	open_fails(&reader, -ERR_STORE, path);
	memset(copy, 0, len);
	spill(path, copy, len);
	open_fails(&writer, -ERR_STORE, "not an LMDB");
	open_fails(&reader, -ERR_STORE, "not an LMDB");
	spill(path, "hello, this is text\n", 20);
	open_fails(&writer, -ERR_STORE, path);
	/* the last pages may be free ones: then nothing is lost */
	for (size_t cut = 100; cut < len; cut += 4096) {
		struct store *store;
		struct err err = {0};
		int r;

		spill(path, data, cut);
		r = store_open(&writer, &store, &err);
		ck_assert(r == 0 || (r == -ERR_STORE && strstr(err_text(&err), path)));
		ck_assert(r < 0 || cut > len / 2);
		if (r == 0) {
			ck_assert_uint_eq(content(store), good);
			store_close(store);
		}
	}
	memcpy(copy, data, len);
	copy[20] = 7; /* data version */
	spill(path, copy, len);
	open_fails(&writer, -ERR_STORE, "version");
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	open_fails(&writer, -ERR_STORE, path);
	rmdir(path);
	free(data);
	free(copy);
}
END_TEST

static int put_many(struct store_txn *txn, void *arg, struct err *err)
{
	char key[16], value[3000];
	int r = 0;

	(void)arg;
	memset(value, 'v', sizeof(value));
	for (int i = 0; i < 30 && r == 0; i++) {
		snprintf(key, sizeof(key), "many%d", i);
		r = store_put(
			txn, TABLE_A, span_str(key), KIND_NOTE, span_of(value, sizeof(value)), err);
	}
	return r;
}

/* Use the free pages up; then everything that can be read back. */
static uint64_t written_to(struct store *store)
{
	struct err err = {0};
	int r = store_write(store, put_many, NULL, &err);

	ck_assert_msg(r == 0, "%s", err_text(&err));
	return content(store);
}

/* The root page of the free list, as the newer of the two headers names it (LMDB's MDB_meta). */
static size_t free_list_page(const char *data)
{
	uint64_t txn[2], root;

	memcpy(&txn[0], data + 144, 8);
	memcpy(&txn[1], data + 4096 + 144, 8);
	memcpy(&root, data + (txn[0] < txn[1] ? 4096 : 0) + 80, 8);
	return (size_t)root;
}

/*
 * One bit flipped anywhere: refused with a text that names the file, or without effect on what is
 * read. A flip in the newer header may bring back the older one; then its pages, where reused,
 * betray it.
 */
START_TEST(test_bit_flips)
{
	struct store_config c = config(true, STORE_SYNC);
	char *data, *copy;
	size_t len, refused = 0, harmless = 0, step, free_page;
	struct store *store;
	uint64_t good, good_written;

	data = sample(&len);
	copy = malloc(len);
	store = open_store(true, STORE_SYNC);
	good = content(store);
	store_close(store);
	store = open_store(true, STORE_SYNC);
	good_written = written_to(store);
	store_close(store);
	free_page = free_list_page(data);
	for (size_t at = 0; at < len; at += step) {
		struct err err = {0};
		int r;

		memcpy(copy, data, len);
		copy[at] ^= (char)(1 << at % 8);
		spill(path, copy, len);
		r = store_open(&c, &store, &err);
		if (r == 0) {
			ck_assert_msg(content(store) == good, "byte %zu", at);
			/* what is written then must not hit what is in use */
			if (harmless++ % 8 == 0 || at / 4096 == free_page)
				ck_assert_msg(written_to(store) == good_written, "byte %zu", at);
			store_close(store);
		} else {
			ck_assert_int_eq(r, -ERR_STORE);
			ck_assert_ptr_nonnull(strstr(err_text(&err), path));
			refused++;
		}
		/* headers byte by byte, of the rest a sample */
		step = at / 4096 == free_page ? 2 : at % 4096 < 152 ? (at < 8192 ? 1 : 3) : 37;
	}
	ck_assert_uint_gt(refused, 100);
	ck_assert_uint_gt(harmless, 100);
	free(data);
	free(copy);
}
END_TEST

START_TEST(test_lock_replaced)
{
	struct store *store = open_store(true, STORE_SYNC);
	struct err err = {0};
	char lock[96];
	unsigned freed;

	snprintf(lock, sizeof(lock), "%s-lock", path);
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(store_reader_check(store, &freed, &err), -ERR_STORE);
	ck_assert_ptr_nonnull(strstr(err_text(&err), "-lock"));
	spill(lock, "", 0);
	ck_assert_int_eq(store_reader_check(store, &freed, &err), -ERR_STORE);
	store_close(store);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tc = tcase_create("store");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 100);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_hash_vectors);
	tcase_add_loop_test(tc, test_round_trip, STORE_SYNC, STORE_PERIODIC + 1);
	tcase_add_test(tc, test_cursor);
	tcase_add_test(tc, test_group_commit);
	tcase_add_test(tc, test_batch_bounded);
	tcase_add_loop_test(tc, test_growth, STORE_SYNC, STORE_PERIODIC + 1);
	tcase_add_loop_test(tc, test_writer_killed, STORE_SYNC, STORE_PERIODIC + 1);
	tcase_add_test(tc, test_reader_killed);
	tcase_add_test(tc, test_stale_reader_full);
	tcase_add_test(tc, test_periodic_full);
	tcase_add_test(tc, test_second_writer);
	tcase_add_test(tc, test_fork_refused);
	tcase_add_loop_test(tc, test_close_on_exec, STORE_SYNC, STORE_PERIODIC + 1);
	tcase_add_test(tc, test_boot_id);
	tcase_add_test(tc, test_power_loss_periodic);
	tcase_add_test(tc, test_upgrade);
	tcase_add_loop_test(tc, test_disk_full, STORE_SYNC, STORE_PERIODIC + 1);
	tcase_add_test(tc, test_bad_files);
	tcase_add_test(tc, test_bit_flips);
	tcase_add_test(tc, test_lock_replaced);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
