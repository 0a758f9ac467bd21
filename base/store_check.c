/*
 * Examination of an LMDB 0.9 file before LMDB maps it. LMDB trusts its pages: a wrong page number
 * or offset makes it abort or crash, and a wrong entry of the free list makes it overwrite live
 * pages later. So the writer walks everything once. Layout: page header, MDB_meta, MDB_db and
 * MDB_node of LMDB's mdb.c (64-bit, host byte order, data version 1).
 */
#include "store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0xBEEFC0DEu
#define DATA_VERSION 1u
#define PAGE_HEADER 16u
#define NODE_HEADER 8u
#define DB_BYTES 48u
#define NO_PAGE UINT64_MAX
#define PSIZE_MIN 512u
#define PSIZE_MAX 65536u
#define DEPTH_MAX 32u

enum { P_BRANCH = 0x01, P_LEAF = 0x02, P_OVERFLOW = 0x04, P_META = 0x08 };
enum { NODE_BIG = 0x01, NODE_SUBDB = 0x02 };
/* What the free list's db record may carry: integer keys, and the environment's NOSUBDIR. */
enum { FREE_FLAGS = MDB_INTEGERKEY, FREE_FLAGS_ALLOWED = MDB_INTEGERKEY | MDB_NOSUBDIR };

enum tree { TREE_FREE, TREE_MAIN, TREE_TABLE };

struct db {
	uint16_t flags;
	uint16_t depth;
	uint64_t entries;
	uint64_t root;
};

struct meta {
	uint32_t psize;
	struct db free;
	struct db main;
	uint64_t last_page;
	uint64_t txn;
};

struct check {
	const char *path;
	int fd;
	uint64_t size;
	struct meta meta;
	bool main_only; /* look for the commits table and nothing else */
	uint8_t *used;  /* a bit per page */
	uint64_t noted; /* the transaction that the commits table names */
	struct err *err;
};

struct walk {
	struct check *check;
	enum tree tree;
	struct db db;
	uint64_t entries;
	bool commits; /* the store's own table */
};

/* A page and the keys its content must lie between; high.p NULL: no upper bound. */
struct bounds {
	struct span low;
	struct span high;
};

struct node {
	struct span key;
	const uint8_t *data;
	uint32_t size;  /* leaf: bytes of data */
	uint64_t child; /* branch */
	uint16_t flags;
};

static uint16_t get16(const uint8_t *p)
{
	uint16_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static int bad(const struct check *check, const char *what, uint64_t page)
{
	return err_set(check->err, ERR_STORE, "%s is damaged: page %llu: %s", check->path,
		(unsigned long long)page, what);
}

static int read_at(const char *path, int fd, void *to, size_t len, uint64_t at, struct err *err)
{
	uint8_t *p = to;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, ERR_STORE, "%s: read: %s", path, strerror(errno));
		if (n == 0)
			return err_set(err, ERR_STORE, "%s is truncated: it ends before byte %llu",
				path, (unsigned long long)(at + len));
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static struct db db_parse(const uint8_t *p)
{
	return (struct db){get16(p + 4), get16(p + 6), get64(p + 32), get64(p + 40)};
}

static struct meta meta_parse(const uint8_t page[STORE_META_BYTES])
{
	const uint8_t *p = page + PAGE_HEADER;

	return (struct meta){
		.psize = get32(p + 24),
		.free = db_parse(p + 24),
		.main = db_parse(p + 24 + DB_BYTES),
		.last_page = get64(p + 24 + 2 * DB_BYTES),
		.txn = get64(p + 32 + 2 * DB_BYTES),
	};
}

static int meta_check(const char *path, const uint8_t page[STORE_META_BYTES], struct err *err)
{
	uint32_t psize = meta_parse(page).psize;

	if (get32(page + PAGE_HEADER) != MAGIC || !(get16(page + 10) & P_META))
		return err_set(err, ERR_STORE,
			"%s is not an LMDB environment, or its header is damaged", path);
	if (get32(page + PAGE_HEADER + 4) != DATA_VERSION)
		return err_set(err, ERR_STORE, "%s has LMDB data version %u, known is %u", path,
			get32(page + PAGE_HEADER + 4), DATA_VERSION);
	if (psize < PSIZE_MIN || psize > PSIZE_MAX || (psize & (psize - 1)) != 0)
		return err_set(
			err, ERR_STORE, "%s is damaged: page size %u in its header", path, psize);
	return 0;
}

/* Both meta pages, each proven to be one; they must agree on the page size. */
static int metas_read(
	const char *path, int fd, uint8_t ret_pages[2][STORE_META_BYTES], struct err *err)
{
	uint32_t psize;
	int r = read_at(path, fd, ret_pages[0], STORE_META_BYTES, 0, err);

	if (r == 0)
		r = meta_check(path, ret_pages[0], err);
	if (r < 0)
		return r;
	psize = meta_parse(ret_pages[0]).psize;
	r = read_at(path, fd, ret_pages[1], STORE_META_BYTES, psize, err);
	if (r == 0)
		r = meta_check(path, ret_pages[1], err);
	if (r == 0 && meta_parse(ret_pages[1]).psize != psize)
		r = err_set(
			err, ERR_STORE, "%s is damaged: its two headers differ in page size", path);
	return r;
}

int store_meta_read(const char *path, int fd, uint8_t ret_meta[STORE_META_BYTES], uint64_t *ret_txn,
	struct err *err)
{
	uint8_t pages[2][STORE_META_BYTES];
	uint64_t txn[2];
	int newest;
	int r = metas_read(path, fd, pages, err);

	if (r < 0)
		return r;
	txn[0] = meta_parse(pages[0]).txn;
	txn[1] = meta_parse(pages[1]).txn;
	newest = txn[0] < txn[1];
	memcpy(ret_meta, pages[newest], STORE_META_BYTES);
	*ret_txn = txn[newest];
	return 0;
}

int store_meta_restore(
	const char *path, int fd, const uint8_t meta[STORE_META_BYTES], struct err *err)
{
	uint64_t txn = meta_parse(meta).txn;
	uint32_t psize = meta_parse(meta).psize;
	int r = meta_check(path, meta, err);

	if (r < 0)
		return r;
	for (uint64_t slot = 0; slot < 2; slot++) {
		uint8_t page[STORE_META_BYTES];
		/* LMDB writes transaction n to slot n & 1 and trusts the greater number. */
		uint64_t number = (txn & 1) == slot || txn == 0 ? txn : txn - 1;

		memcpy(page, meta, sizeof(page));
		memcpy(page, &slot, sizeof(slot));
		memcpy(page + STORE_META_BYTES - 8, &number, sizeof(number));
		if (pwrite(fd, page, sizeof(page), (off_t)(slot * psize)) != (ssize_t)sizeof(page))
			return err_set(err, ERR_STORE, "%s: restoring the checkpoint: %s", path,
				strerror(errno));
	}
	if (fsync(fd) < 0)
		return err_set(err, ERR_STORE, "%s: sync: %s", path, strerror(errno));
	return 0;
}

/* Note that a page is in use; it must exist, and once only. */
static int page_claim(struct check *check, uint64_t page)
{
	if (page < 2 || page > check->meta.last_page)
		return bad(check, "a page number out of range", page);
	if (check->used[page / 8] & 1u << page % 8)
		return bad(check, "used twice", page);
	check->used[page / 8] |= (uint8_t)(1u << page % 8);
	return 0;
}

static int page_read(struct check *check, uint64_t page, uint8_t *to)
{
	int r = page_claim(check, page);

	if (r == 0)
		r = read_at(check->path, check->fd, to, check->meta.psize, page * check->meta.psize,
			check->err);
	if (r == 0 && get64(to) != page)
		r = bad(check, "carries another page's number", page);
	return r;
}

/* Read a value's own pages; *ret is malloced. */
static int overflow_read(struct check *check, uint64_t page, uint32_t size, uint8_t **ret)
{
	uint64_t psize = check->meta.psize;
	uint64_t need = (PAGE_HEADER - 1 + (uint64_t)size) / psize + 1;
	uint8_t header[PAGE_HEADER];
	uint8_t *data;
	uint64_t have;
	int r;

	if (page > check->meta.last_page || need > check->meta.last_page - page + 1)
		return bad(check, "a value reaches beyond the end", page);
	r = read_at(check->path, check->fd, header, sizeof(header), page * psize, check->err);
	if (r < 0)
		return r;
	have = get32(header + 12);
	if (get64(header) != page || get16(header + 10) != P_OVERFLOW || have < need ||
		have > check->meta.last_page - page + 1)
		return bad(check, "not the value page it should be", page);
	for (uint64_t i = 0; i < have && r == 0; i++)
		r = page_claim(check, page + i);
	if (r < 0)
		return r;
	data = malloc(size ? size : 1);
	if (!data)
		return err_set(check->err, ERR_NO_MEMORY, "%s: examining a value", check->path);
	r = read_at(check->path, check->fd, data, size, page * psize + PAGE_HEADER, check->err);
	if (r < 0) {
		free(data);
		return r;
	}
	*ret = data;
	return 0;
}

static int tree_walk(struct check *check, enum tree tree, struct db db, bool commits);

/* An entry of the free list: transaction → count and page numbers. Claimed, so that no page is free
 * twice. */
static int free_entry_check(
	struct check *check, struct span key, const uint8_t *data, uint32_t size)
{
	uint64_t count = size >= 8 ? get64(data) : 0;
	int r = 0;

	if (key.len != 8 || get64((const uint8_t *)key.p) > check->meta.txn || size < 8 ||
		count > size / 8 - 1)
		return bad(check, "a malformed entry of the free list", 0);
	for (uint64_t i = 0; i < count && r == 0; i++)
		r = page_claim(check, get64(data + 8 + 8 * i));
	return r;
}

static int entry_check(
	struct walk *walk, uint64_t page, const struct node *node, const uint8_t *data)
{
	struct span value = span_of((const char *)data, node->size);
	struct db db;

	switch (walk->tree) {
	case TREE_FREE:
		return free_entry_check(walk->check, node->key, data, node->size);
	case TREE_MAIN:
		if (node->flags != NODE_SUBDB || node->size != DB_BYTES)
			return bad(walk->check, "an entry that is no table: a foreign file", page);
		if (walk->check->main_only && !span_is(node->key, STORE_COMMITS_TABLE))
			return 0;
		db = db_parse(data);
		if (db.flags != 0)
			return bad(walk->check, "a table with unknown flags", page);
		return tree_walk(
			walk->check, TREE_TABLE, db, span_is(node->key, STORE_COMMITS_TABLE));
	case TREE_TABLE:
		if (!store_record_valid(node->key, value))
			return bad(walk->check, "a record whose check is wrong", page);
		if (walk->commits && value.len == STORE_RECORD_HEADER + 8)
			walk->check->noted = get64(data + STORE_RECORD_HEADER);
		return 0;
	}
	return 0;
}

static int leaf_node_check(struct walk *walk, uint64_t page, const struct node *node)
{
	uint8_t *big = NULL;
	int r = 0;

	walk->entries++;
	if (node->flags & ~(NODE_BIG | NODE_SUBDB))
		return bad(walk->check, "an entry with unknown flags", page);
	if (node->flags & NODE_BIG)
		r = overflow_read(walk->check, get64(node->data), node->size, &big);
	if (r == 0)
		r = entry_check(walk, page, node, big ? big : node->data);
	free(big);
	return r;
}

static int key_compare(enum tree tree, struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c;

	if (tree == TREE_FREE && a.len == 8 && b.len == 8) {
		uint64_t x = get64((const uint8_t *)a.p), y = get64((const uint8_t *)b.p);

		return x < y ? -1 : x > y;
	}
	c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* Node i of a page whose pointer array was proven to lie inside it. */
static int node_parse(
	struct check *check, const uint8_t *page, unsigned i, bool leaf, struct node *ret_node)
{
	uint32_t psize = check->meta.psize;
	uint32_t at = get16(page + PAGE_HEADER + 2 * i);
	uint32_t low, high, key_len, data_len;
	uint16_t flags;

	if (at < get16(page + 14) || at + NODE_HEADER > psize)
		return bad(check, "an entry outside the page", get64(page));
	low = get16(page + at);
	high = get16(page + at + 2);
	flags = get16(page + at + 4);
	key_len = get16(page + at + 6);
	data_len = !leaf ? 0 : flags & NODE_BIG ? 8 : low | high << 16;
	if (key_len > STORE_KEY_MAX || data_len > psize ||
		at + NODE_HEADER + key_len + data_len > psize)
		return bad(check, "an entry that leaves the page", get64(page));
	*ret_node = (struct node){
		.key = span_of((const char *)page + at + NODE_HEADER, key_len),
		.data = page + at + NODE_HEADER + key_len,
		.size = leaf ? low | high << 16 : 0,
		.child = leaf ? 0 : low | (uint64_t)high << 16 | (uint64_t)flags << 32,
		.flags = leaf ? flags : 0,
	};
	return 0;
}

static int page_header_check(struct walk *walk, const uint8_t *page, bool leaf)
{
	uint16_t lower = get16(page + 12), upper = get16(page + 14);
	unsigned keys = (lower - PAGE_HEADER) / 2;

	if (get16(page + 10) != (leaf ? P_LEAF : P_BRANCH))
		return bad(walk->check, "of another kind than its place in the tree", get64(page));
	if (lower < PAGE_HEADER || lower % 2 || lower > upper || upper > walk->check->meta.psize)
		return bad(walk->check, "a wrong page header", get64(page));
	/* LMDB aborts on a branch page with a single child, except in its free list. */
	if (keys < (leaf || walk->tree == TREE_FREE ? 1u : 2u))
		return bad(walk->check, "too few entries", get64(page));
	return 0;
}

static int page_walk(struct walk *walk, uint64_t number, unsigned depth, struct bounds bounds);

static int branch_child_walk(struct walk *walk, const uint8_t *page, unsigned i, unsigned keys,
	const struct node *node, unsigned depth, struct bounds bounds)
{
	struct bounds inner = {i == 0 ? bounds.low : node->key, bounds.high};
	struct node next;
	int r;

	if (i + 1 < keys) {
		r = node_parse(walk->check, page, i + 1, false, &next);
		if (r < 0)
			return r;
		inner.high = next.key;
	}
	return page_walk(walk, node->child, depth - 1, inner);
}

static int nodes_walk(struct walk *walk, const uint8_t *page, unsigned depth, struct bounds bounds)
{
	unsigned keys = (get16(page + 12) - PAGE_HEADER) / 2u;
	struct span before = SPAN_NONE;
	bool leaf = depth == 1;

	for (unsigned i = 0; i < keys; i++) {
		struct node node;
		int r = node_parse(walk->check, page, i, leaf, &node);

		if (r < 0)
			return r;
		/* The first key of a branch page means "all that is less", whatever it says. */
		if (leaf || i > 0) {
			if ((before.p && key_compare(walk->tree, before, node.key) >= 0) ||
				(bounds.low.p &&
					key_compare(walk->tree, node.key, bounds.low) < 0) ||
				(bounds.high.p &&
					key_compare(walk->tree, node.key, bounds.high) >= 0))
				return bad(walk->check, "keys out of order", get64(page));
			before = node.key;
		}
		r = leaf ? leaf_node_check(walk, get64(page), &node)
			 : branch_child_walk(walk, page, i, keys, &node, depth, bounds);
		if (r < 0)
			return r;
	}
	return 0;
}

/* depth 1 is a leaf. */
static int page_walk(struct walk *walk, uint64_t number, unsigned depth, struct bounds bounds)
{
	uint8_t *page = malloc(walk->check->meta.psize);
	int r;

	if (!page)
		return err_set(walk->check->err, ERR_NO_MEMORY, "%s: examining", walk->check->path);
	r = page_read(walk->check, number, page);
	if (r == 0)
		r = page_header_check(walk, page, depth == 1);
	if (r == 0)
		r = nodes_walk(walk, page, depth, bounds);
	free(page);
	return r;
}

static int tree_walk(struct check *check, enum tree tree, struct db db, bool commits)
{
	struct walk walk = {check, tree, db, 0, commits};
	int r;

	if (db.root == NO_PAGE)
		return db.entries == 0 && db.depth == 0
			       ? 0
			       : bad(check, "an empty tree that claims entries", db.root);
	if (db.depth == 0 || db.depth > DEPTH_MAX)
		return bad(check, "an impossible depth", db.root);
	r = page_walk(&walk, db.root, db.depth, (struct bounds){SPAN_NONE, SPAN_NONE});
	if (r == 0 && walk.entries != db.entries)
		r = bad(check, "the number of entries is wrong", db.root);
	return r;
}

/* The header's own statements, as far as they can be wrong. */
static int header_check(struct check *check, size_t map_max)
{
	const struct meta *meta = &check->meta;
	uint64_t most = check->size > map_max ? check->size : map_max;

	if (meta->last_page < 1 || meta->last_page >= most / meta->psize + 1)
		return err_set(check->err, ERR_STORE,
			"%s is damaged or too large: its header names page %llu as the last",
			check->path, (unsigned long long)meta->last_page);
	if ((meta->free.flags & ~FREE_FLAGS_ALLOWED) || !(meta->free.flags & FREE_FLAGS) ||
		meta->main.flags != 0)
		return err_set(
			check->err, ERR_STORE, "%s has unknown flags in its header", check->path);
	for (int i = 0; i < 2; i++) {
		uint64_t root = i ? meta->main.root : meta->free.root;

		if (root != NO_PAGE &&
			(root > meta->last_page || (root + 1) * meta->psize > check->size))
			return err_set(check->err, ERR_STORE,
				"%s is truncated: a root page lies behind its end", check->path);
	}
	return 0;
}

static int trees_walk(struct check *check)
{
	int r;

	check->noted = 0;
	check->used = calloc(check->meta.last_page / 8 + 1, 1);
	if (!check->used)
		return err_set(check->err, ERR_NO_MEMORY, "%s: examining", check->path);
	r = tree_walk(check, TREE_MAIN, check->meta.main, false);
	if (r == 0 && !check->main_only)
		r = tree_walk(check, TREE_FREE, check->meta.free, false);
	free(check->used);
	return r;
}

/*
 * The newest meta must be of the transaction that its content names, and the older one's content
 * (still whole: LMDB keeps it for its own recovery) must not be of a later one.
 */
static int deep_check(struct check *check, const struct meta *older)
{
	struct check before = *check;
	int r = trees_walk(check);

	if (r < 0 || check->meta.main.root == NO_PAGE)
		return r;
	before.meta = *older;
	before.meta.last_page = check->meta.last_page;
	before.main_only = true;
	if (check->noted == check->meta.txn && older->main.root != NO_PAGE)
		r = trees_walk(&before);
	if (r == 0 && (check->noted != check->meta.txn || before.noted > check->meta.txn))
		r = err_set(check->err, ERR_STORE,
			"%s is damaged or foreign: its header is of transaction %llu, its content "
			"of another",
			check->path, (unsigned long long)check->meta.txn);
	return r;
}

int store_check_file(
	const char *path, int fd, bool deep, size_t map_max, uint64_t *ret_bytes, struct err *err)
{
	struct check check = {.path = path, .fd = fd, .err = err};
	uint8_t pages[2][STORE_META_BYTES];
	struct meta metas[2];
	struct stat st;
	int newest, r;

	if (fstat(fd, &st) < 0)
		return err_set(err, ERR_STORE, "%s: %s", path, strerror(errno));
	check.size = (uint64_t)st.st_size;
	r = metas_read(path, fd, pages, err);
	if (r < 0)
		return r;
	metas[0] = meta_parse(pages[0]);
	metas[1] = meta_parse(pages[1]);
	newest = metas[0].txn < metas[1].txn;
	check.meta = metas[newest];
	r = header_check(&check, map_max);
	if (r == 0 && deep)
		r = deep_check(&check, &metas[!newest]);
	if (r == 0)
		*ret_bytes = (check.meta.last_page + 1) * check.meta.psize;
	return r;
}
