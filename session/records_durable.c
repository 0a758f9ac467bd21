/* The durable environment: opening both, and carrying changes from the live one to it. */
#include "bounds.h"
#include "log.h"
#include "records_internal.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096

static const char *const tables[] = {"sessions", "events", "unsynced", "about", NULL};
static const struct store_kind kinds[] = {
	{RECORD_SESSION, 2, "session"},
	{RECORD_EVENTS, 1, "chunk of events"},
	{RECORD_MARK, 1, "mark"},
};
static const struct store_upgrade upgrades[] = {{RECORD_SESSION, 1, records_upgrade_session}};
#define COMPLETE SPAN_LIT("complete")

/* --- what is to be copied ------------------------------------------------------------------- */

struct unsynced *records_marked(struct records *records, struct span session)
{
	struct unsynced *mark;

	HASH_FIND(hh, records->unsynced, session.p, session.len, mark);
	return mark;
}

struct unsynced *records_mark(struct records *records, struct span session)
{
	struct unsynced *mark = records_marked(records, session);

	if (mark)
		return mark;
	mark = calloc(1, sizeof(*mark));
	if (!mark || !(mark->session = malloc(session.len + 1))) {
		free(mark);
		return NULL;
	}
	memcpy(mark->session, session.p, session.len);
	mark->session[session.len] = '\0';
	mark->events_from = UINT64_MAX;
	HASH_ADD_KEYPTR(hh, records->unsynced, mark->session, session.len, mark);
	return mark;
}

void records_forget_marks(struct records *records)
{
	struct unsynced *mark, *next;

	HASH_ITER (hh, records->unsynced, mark, next) {
		HASH_DEL(records->unsynced, mark);
		free(mark->session);
		free(mark);
	}
}

/* --- copying -------------------------------------------------------------------------------- */

/* Make what the written environment has of the marked sessions what "from" has. */
struct copy {
	struct store_txn *from;
	struct unsynced *marks;
};

static int copy_events(struct store_txn *from, struct store_txn *to, struct span session,
	uint64_t first, struct err *err)
{
	struct store_cursor *cursor = NULL;
	struct span key, value;
	int r = records_event_cursor(from, session, first, &cursor, err);

	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, err);
		if (r == 0)
			r = store_put(to, TABLE_EVENTS, key, RECORD_EVENTS, value, err);
	}
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

/* First id of the oldest chunk kept; UINT64_MAX: there is none. */
static int oldest_event(
	struct store_txn *txn, struct span session, uint64_t *ret_first, struct err *err)
{
	struct store_cursor *cursor = NULL;
	struct span key, value;
	int r = records_event_cursor(txn, session, 0, &cursor, err);

	if (r == 0)
		r = store_cursor_next(cursor, &key, &value, err);
	*ret_first = r == 0 ? records_event_first(key) : UINT64_MAX;
	store_cursor_free(cursor);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

static int copy_session(
	struct store_txn *from, struct store_txn *to, const struct unsynced *mark, struct err *err)
{
	struct span session = span_of(mark->session, mark->hh.keylen), value;
	uint64_t oldest = UINT64_MAX;
	int r = store_get(from, TABLE_SESSIONS, session, RECORD_SESSION, &value, err);

	if (r == 0)
		r = store_put(to, TABLE_SESSIONS, session, RECORD_SESSION, value, err);
	else if (r == -ERR_NOT_FOUND)
		r = store_delete(to, TABLE_SESSIONS, session, err);
	if (r == -ERR_NOT_FOUND)
		r = 0;
	if (r == 0 && !mark->whole)
		r = oldest_event(from, session, &oldest, err);
	if (r == 0)
		r = records_remove_events(to, session, oldest, err);
	if (r == 0)
		r = copy_events(from, to, session, mark->whole ? 0 : mark->events_from, err);
	return r;
}

static int copy_marked(struct store_txn *to, void *arg, struct err *err)
{
	const struct copy *copy = arg;
	const struct unsynced *mark;
	int r = 0;

	for (mark = copy->marks; mark && r == 0; mark = mark->hh.next)
		r = copy_session(copy->from, to, mark, err);
	return r == 0 ? store_put(to, TABLE_ABOUT, COMPLETE, RECORD_MARK, SPAN_NONE, err) : r;
}

static int copy_between(
	struct records *records, struct store *from, struct store *to, struct err *err)
{
	struct copy copy = {.marks = records->unsynced};
	int r = store_read_begin(from, &copy.from, err);

	if (r < 0)
		return r;
	r = store_write(to, copy_marked, &copy, err);
	store_read_end(copy.from);
	return r;
}

static int clear_notes(struct store_txn *txn, void *arg, struct err *err)
{
	const struct records *records = arg;
	const struct unsynced *mark;
	int r = 0;

	for (mark = records->unsynced; mark && r == 0; mark = mark->hh.next) {
		r = store_delete(txn, TABLE_UNSYNCED, span_of(mark->session, mark->hh.keylen), err);
		if (r == -ERR_NOT_FOUND)
			r = 0;
	}
	return r;
}

int records_copy_marked(struct records *records, struct err *err)
{
	int r = copy_between(records, records->live, records->durable, err);

	if (r == 0)
		r = store_sync(records->durable, err);
	if (r < 0)
		return r;
	/* when this fails, a later manager copies these once more */
	store_write(records->live, clear_notes, records, NULL);
	records_forget_marks(records);
	return 0;
}

/* --- opening -------------------------------------------------------------------------------- */

static bool is_complete(struct store *store)
{
	struct store_txn *txn;
	struct span value;
	bool complete;

	if (store_read_begin(store, &txn, NULL) < 0)
		return false;
	complete = store_get(txn, TABLE_ABOUT, COMPLETE, RECORD_MARK, &value, NULL) == 0;
	store_read_end(txn);
	return complete;
}

static bool mark_whole(void *arg, struct span session, const struct session_record *record)
{
	struct unsynced *mark;

	(void)record;
	/* never written so */
	if (session.len > LIMIT_SESSION_ID)
		return true;
	mark = records_mark(arg, session);
	if (mark)
		mark->whole = true;
	return mark != NULL;
}

/* What an earlier manager did not get to. */
static int read_notes(struct records *records, struct err *err)
{
	struct store_cursor *cursor = NULL;
	struct span key, value;
	struct store_txn *txn;
	int r = store_read_begin(records->live, &txn, err);

	if (r < 0)
		return r;
	r = store_cursor_new(txn, TABLE_UNSYNCED, RECORD_MARK, SPAN_NONE, SPAN_NONE, &cursor, err);
	while (r == 0) {
		r = store_cursor_next(cursor, &key, &value, err);
		if (r == 0 && !mark_whole(records, key, NULL))
			r = err_set(err, ERR_NO_MEMORY, "no memory for the sessions");
	}
	store_cursor_free(cursor);
	store_read_end(txn);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

/* The machine has booted: the live environment is new and empty,
 * the durable one has the sessions. */
static int fill_live(struct records *records, struct err *err)
{
	int r = records_visit_store(records->durable, SPAN_NONE, mark_whole, records);

	if (r == 0)
		r = copy_between(records, records->durable, records->live, err);
	records_forget_marks(records);
	return r;
}

static int reconcile(struct records *records, struct err *err)
{
	struct err why = {0};
	int r;

	if (!is_complete(records->live))
		return fill_live(records, err);
	if (is_complete(records->durable))
		return read_notes(records, err);
	r = records_visit_store(records->live, SPAN_NONE, mark_whole, records);
	/* the disk may be full: the sessions go on, and the marks bring them over later */
	if (r == 0 && records_copy_marked(records, &why) < 0)
		log_error("session.sync_failed", err_text(&why));
	return r;
}

static int open_store(const char *state_dir, const char *name, enum store_durability durability,
	struct store **ret, struct err *err)
{
	char path[PATH_SIZE];
	const struct store_config config = {
		.path = path,
		.writer = true,
		.durability = durability,
		.map_first = 16u << 20,
		.map_max = (size_t)16 << 30,
		.tables = tables,
		.kinds = kinds,
		.kinds_len = sizeof(kinds) / sizeof(*kinds),
		.upgrades = upgrades,
		.upgrades_len = sizeof(upgrades) / sizeof(*upgrades),
	};

	if (snprintf(path, sizeof(path), "%s/%s/data", state_dir, name) >= (int)sizeof(path))
		return err_set(
			err, ERR_INVALID_ARGUMENT, "the path '%.80s…' is too long", state_dir);
	path[strlen(path) - strlen("/data")] = '\0';
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, "cannot create %s", path);
	path[strlen(path)] = '/';
	return store_open(&config, ret, err);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

/* Sessions that changed within the last second may be a second older for it. */
static int replace_live(const char *state_dir, struct records *records, struct err *err)
{
	char from[PATH_SIZE], to[PATH_SIZE];
	struct err second = {0};

	snprintf(from, sizeof(from), "%s/sessions-live", state_dir);
	snprintf(to, sizeof(to), "%s/sessions-live.damaged", state_dir);
	nftw(to, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	if (rename(from, to) < 0)
		return err->code;
	/* whatever is wrong may be wrong with the disk: then the old files stay where they are */
	if (open_store(state_dir, "sessions-live", STORE_LIVE, &records->live, &second) < 0) {
		nftw(from, remove_one, 8, FTW_DEPTH | FTW_PHYS);
		if (rename(to, from) < 0)
			log_error("session.live_aside", to);
		return err->code;
	}
	log_error("session.live_damaged", err_text(err), KV_STR("moved_to", to),
		KV_STR("restored_from", "sessions"));
	return 0;
}

static int open_live(const char *state_dir, struct records *records, struct err *err)
{
	int r = open_store(state_dir, "sessions-live", STORE_LIVE, &records->live, err);

	return r == -ERR_STORE ? replace_live(state_dir, records, err) : r;
}

static int open_durable(const char *state_dir, struct records *records, struct err *err)
{
	struct err why = {0};
	int r = open_store(state_dir, "sessions", STORE_PERIODIC, &records->durable, &why);

	if (r == -ERR_STORE)
		return err_set(err, ERR_STORE,
			"%s. Free the disk or repair the file; or move the folder %s/sessions "
			"away: "
			"what sessions-live has is kept, without it sessions begin anew",
			why.detail, state_dir);
	if (r < 0)
		err_set(err, (enum err_code) - r, "%s", err_text(&why));
	return r;
}

int records_open(
	const char *state_dir, bool always_durable, struct records **ret_records, struct err *err)
{
	struct records *records = calloc(1, sizeof(*records));
	int r;

	if (!records)
		return err_set(err, ERR_NO_MEMORY, "no memory for the sessions");
	records->always_durable = always_durable;
	records->committed_end = &records->committed;
	buf_init(&records->read, STORE_VALUE_MAX);
	/* the durable one first: while it is refused, nothing is done to the live one */
	r = open_durable(state_dir, records, err);
	if (r == 0)
		r = open_live(state_dir, records, err);
	if (r == 0)
		r = reconcile(records, err);
	if (r < 0) {
		records_close(records);
		return r;
	}
	*ret_records = records;
	return 0;
}

void records_set_always_durable(struct records *records, bool always_durable)
{
	records->always_durable = always_durable;
}

void records_close(struct records *records)
{
	if (!records)
		return;
	if (records->live && records->durable)
		records_sync(records, NULL);
	store_close(records->live);
	store_close(records->durable);
	records_forget_marks(records);
	buf_free(&records->read);
	free(records);
}
