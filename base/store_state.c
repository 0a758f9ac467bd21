/*
 * PATH.state: under which boot an unsynced environment was written, and the meta page of its last
 * sync. Two slots of 512 bytes, written in turn, so that a torn write leaves the older one whole.
 */
#include "hash.h"
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BYTES 512
#define SLOT_MAGIC 0x6774656b63656863ull

struct slot {
	uint64_t magic;
	uint64_t seq;
	char boot_id[40];
	uint32_t durability;
	uint32_t has_meta;
	uint8_t meta[STORE_META_BYTES];
	uint64_t check; /* over all before */
};

int store_path(const char *path, const char *suffix, char ret_path[4096], struct err *err)
{
	if (snprintf(ret_path, 4096, "%s%s", path, suffix) >= 4096)
		return err_set(err, ERR_INVALID_ARGUMENT, "the path '%.80s…' is too long", path);
	return 0;
}

int store_boot_id(const char *given, char ret_id[40], struct err *err)
{
	const char *file = "/proc/sys/kernel/random/boot_id";
	ssize_t n;
	int fd;

	memset(ret_id, 0, 40);
	if (given) {
		snprintf(ret_id, 40, "%s", given);
		return 0;
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, "%s", file);
	n = read(fd, ret_id, 39);
	close(fd);
	if (n <= 0)
		return err_set(err, ERR_SYSTEM, "%s is empty", file);
	ret_id[strcspn(ret_id, "\n")] = '\0';
	return 0;
}

static uint64_t slot_check(const struct slot *slot)
{
	return hash64(slot, offsetof(struct slot, check), SLOT_MAGIC);
}

/* The newest whole slot; -ERR_NOT_FOUND when there is none. */
static int slot_read(int fd, struct slot *ret_slot)
{
	bool found = false;

	for (int i = 0; i < 2; i++) {
		struct slot slot;

		if (pread(fd, &slot, sizeof(slot), i * SLOT_BYTES) != (ssize_t)sizeof(slot) ||
			slot.magic != SLOT_MAGIC || slot.check != slot_check(&slot))
			continue;
		if (found && slot.seq < ret_slot->seq)
			continue;
		*ret_slot = slot;
		found = true;
	}
	return found ? 0 : -ERR_NOT_FOUND;
}

static int slot_write(struct store *store, const uint8_t *meta, struct err *err)
{
	struct slot slot;

	memset(&slot, 0, sizeof(slot));
	slot.magic = SLOT_MAGIC;
	slot.seq = ++store->state_seq;
	memcpy(slot.boot_id, store->boot_id, sizeof(slot.boot_id));
	slot.durability = store->config.durability;
	slot.has_meta = meta != NULL;
	if (meta)
		memcpy(slot.meta, meta, sizeof(slot.meta));
	slot.check = slot_check(&slot);
	if (pwrite(store->state_fd, &slot, sizeof(slot), (off_t)(slot.seq & 1) * SLOT_BYTES) !=
			(ssize_t)sizeof(slot) ||
		fdatasync(store->state_fd) < 0)
		return err_set(err, ERR_STORE, "%s.state: write: %s", store->path, strerror(errno));
	return 0;
}

/* Make the existence of new files survive power loss. */
static int directory_sync(const char *path, struct err *err)
{
	char dir[4096];
	char *slash;
	int fd, r = 0;

	r = store_path(path, "", dir, err);
	if (r < 0)
		return r;
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		r = err_set(err, ERR_STORE, "%s: sync of its directory: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return r;
}

static int discard(const char *path, struct err *err)
{
	static const char *const suffixes[] = {"", "-lock"};
	char file[4096];

	for (size_t i = 0; i < 2; i++) {
		int r = store_path(path, suffixes[i], file, err);

		if (r < 0)
			return r;
		if (unlink(file) < 0 && errno != ENOENT)
			return err_set(err, ERR_STORE, "%s: discard: %s", file, strerror(errno));
	}
	return 0;
}

static int restore(const char *path, const uint8_t *meta, struct err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set(err, ERR_STORE, "%s: %s", path, strerror(errno));
	r = store_meta_restore(path, fd, meta, err);
	close(fd);
	return r;
}

/* What the state file says about the data, applied to the data. */
static int state_apply(struct store *store, const struct slot *slot, struct err *err)
{
	if (!slot)
		/* LIVE data of which nobody knows the boot cannot be trusted. */
		return store->config.durability == STORE_LIVE ? discard(store->path, err) : 0;
	store->state_seq = slot->seq;
	if (strncmp(slot->boot_id, store->boot_id, sizeof(slot->boot_id)) == 0)
		return 0;
	if (slot->durability == STORE_PERIODIC && slot->has_meta)
		return restore(store->path, slot->meta, err);
	return discard(store->path, err);
}

int store_state_prepare(struct store *store, struct err *err)
{
	bool needed = store->config.durability != STORE_SYNC;
	struct slot slot;
	char file[4096];
	int r = store_path(store->path, ".state", file, err);

	if (r < 0)
		return r;
	store->state_fd = open(file, O_RDWR | O_CLOEXEC | (needed ? O_CREAT : 0), 0600);
	if (store->state_fd < 0) {
		if (errno == ENOENT && !needed)
			return 0;
		return err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
	}
	r = state_apply(store, slot_read(store->state_fd, &slot) == 0 ? &slot : NULL, err);
	return r;
}

int store_state_begin(struct store *store, struct err *err)
{
	char file[4096];
	int r;

	switch (store->config.durability) {
	case STORE_SYNC:
		if (store->state_fd < 0)
			return 0;
		/* It was written with less before: make that durable, then forget about boots. */
		if (mdb_env_sync(store->env, 1) != 0)
			return err_set(err, ERR_STORE, "%s: sync failed", store->path);
		r = store_path(store->path, ".state", file, err);
		if (r == 0 && unlink(file) < 0)
			r = err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
		return r;
	case STORE_LIVE:
		return slot_write(store, NULL, err);
	case STORE_PERIODIC:
		r = store_state_checkpoint(store, err);
		return r < 0 ? r : directory_sync(store->path, err);
	}
	return 0;
}

int store_state_reader(const struct store *store, struct err *err)
{
	struct slot slot;
	char file[4096];
	int r = store_path(store->path, ".state", file, err);
	int fd;

	if (r < 0)
		return r;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0
				       : err_set(err, ERR_STORE, "%s: %s", file, strerror(errno));
	r = slot_read(fd, &slot);
	close(fd);
	if (r < 0 || strncmp(slot.boot_id, store->boot_id, sizeof(slot.boot_id)) != 0)
		return err_set(err, ERR_AGAIN,
			"%s is of an earlier boot: its writer must open it first", store->path);
	return 0;
}

int store_state_checkpoint(struct store *store, struct err *err)
{
	uint8_t meta[STORE_META_BYTES];
	MDB_txn *pin = NULL;
	mdb_filehandle_t fd;
	uint64_t txn;
	int rc, r;

	/* The new pin first: no page of what is about to be synced may be reused before it is. */
	rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &pin);
	if (rc != 0)
		return store_fail(store, rc, err, "checkpoint");
	if (store->pin && mdb_txn_id(pin) == mdb_txn_id(store->pin)) {
		mdb_txn_abort(pin);
		return 0;
	}
	rc = mdb_env_sync(store->env, 1);
	r = rc != 0 ? store_fail(store, rc, err, "sync") : 0;
	mdb_env_get_fd(store->env, &fd);
	if (r == 0)
		r = store_meta_read(store->path, fd, meta, &txn, err);
	if (r == 0 && txn != mdb_txn_id(pin))
		r = err_set(err, ERR_INTERNAL, "%s: written by somebody else", store->path);
	if (r == 0)
		r = slot_write(store, meta, err);
	if (r < 0) {
		mdb_txn_abort(pin);
		return r;
	}
	if (store->pin)
		mdb_txn_abort(store->pin);
	store->pin = pin;
	return 0;
}
