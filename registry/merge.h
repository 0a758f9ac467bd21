/*
 * Merging what all servers offer into the catalogue file (catalogue.h). A pure function of its
 * input: the same lists and configuration give the same bytes, whatever came first.
 */
#ifndef GATEHOUSE_MERGE_H
#define GATEHOUSE_MERGE_H

#include "arena.h"
#include "bounds.h"
#include "catalogue.h"
#include "config.h"

#define MERGE_NOTES_MAX 1024u /* notes kept; the rest is counted */
#define MERGE_INSTRUCTIONS_MAX 65536u /* bytes of the merged instructions */

enum merge_naming {
	MERGE_PREFIX, /* server__tool */
	MERGE_NONE,   /* as they are; of several the first in the configuration's order */
};

enum merge_note_kind {
#define MERGE_NOTE(NAME, word, dropped) MERGE_##NAME,
#include "merge_notes.def"
#undef MERGE_NOTE
	MERGE_NOTE_MAX,
};

struct merge_note {
	enum merge_note_kind note;
	enum catalogue_kind kind;
	uint32_t server;    /* index */
	uint32_t other;     /* CONFLICT, AMBIGUOUS: the server that has it already; else the same as
			       server */
	struct span name;   /* decoded, as the server names it; cut; empty where there is none */
	const char *detail; /* a sentence, or "" */
};

/* "duplicate", … and whether something was left out. */
const char *merge_note_word(enum merge_note_kind note);
bool merge_note_dropped(enum merge_note_kind note);

/* 0 gives the default in brackets. */
struct merge_limits {
	uint32_t items;    /* of one kind of one server [LIMIT_LIST_ITEMS] */
	uint32_t servers;  /* [CATALOGUE_SERVERS_MAX] */
	size_t item_bytes; /* of one item [256 KiB] */
	size_t list_bytes; /* of one list [LIMIT_LIST] */
	size_t bytes;      /* of all items [64 MiB] */
};

struct merge_config {
	enum merge_naming naming;
	bool tasks; /* tasks are routed, so their capability may be shown */
	const struct config_virtual *views; /* each gets a catalogue of its own behind that of all */
	size_t views_len;
	struct merge_limits limits;
	uint64_t generation;
};

/* Everything is borrowed during the call. */
struct merge_server {
	struct catalogue_server facts; /* count is ignored */
	/* JSON arrays as the server sent them, all pages; empty: none. Ignored while the server is
	 * disabled. */
	struct span lists[CATALOGUE_KIND_MAX];
	/* globs (* and ?) on the server's own tool names, NULL-terminated, or NULL; exclude wins */
	const char *const *include;
	const char *const *exclude;
	/* tools.rename, for its names here and in tools.include; NULL: none */
	const struct config_map *rename;
};

struct merge_result {
	int fd; /* the sealed memory file; owned */
	size_t bytes;
	uint32_t items;
	struct merge_note *notes;
	uint32_t notes_len;
	uint32_t notes_dropped;
	struct arena arena; /* holds the notes */
};

/*
 * servers in the order of the configuration. A bad list or item costs itself only and is noted.
 * -ERR_TOO_LARGE: more servers than allowed, or a catalogue beyond CATALOGUE_BYTES_MAX;
 * -ERR_NO_MEMORY; -ERR_SYSTEM.
 */
int merge_catalogue(const struct merge_config *config, const struct merge_server *servers,
	uint32_t n, struct merge_result **ret_result, struct err *err);
/* Closes fd unless it was taken (set to -1). NULL is accepted. */
void merge_result_free(struct merge_result *result);

#endif
