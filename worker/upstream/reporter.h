/*
 * What the registry knows of this server comes from here. The newest state and lists are kept, so
 * that a registry that starts anew is told everything again.
 */
#ifndef GATEHOUSE_REPORTER_H
#define GATEHOUSE_REPORTER_H

#include "catalogue.h"
#include "process.h"

#include <stdbool.h>

struct upstream;

/* How long a list may be thought fresh, and by whom (2026-07-28, caching). All zeros: it may not. */
struct freshness {
	uint32_t ttl_ms;
	bool is_public;
};

/* What is known of the clients of one kind (alike.h). */
struct reported_alike {
	uint64_t client;
	unsigned kinds; /* bits: lists that are the catalogue's */
	bool differs;   /* it is not worth while to look again */
};

struct reporter {
	struct link *link; /* NULL: not open */
	bool opening;
	struct event *timer;
	enum server_state state;
	char detail[ERR_DETAIL_MAX];
	char version[16];
	char *facts; /* {"capabilities":…}; NULL until known */
	char *lists[CATALOGUE_KIND_MAX];
	size_t list_len[CATALOGUE_KIND_MAX];
	struct freshness freshness[CATALOGUE_KIND_MAX];
	struct reported_alike alike[CATALOGUE_ALIKE_MAX]; /* the newest overwrites the oldest */
	unsigned n_alike;
	bool state_unsent;
	bool list_unsent[CATALOGUE_KIND_MAX];
};

extern const struct link_handlers reporter_handlers;

int reporter_init(struct upstream *up, struct err *err);
void reporter_free(struct upstream *up);
/* facts and version: NULL keeps what was said before. */
void reporter_state(struct upstream *up, enum server_state state, const char *detail,
	const char *version, const char *facts);
/* In a conversation of its own, a client of this kind was shown a list as it is here, or another. */
void reporter_alike(struct upstream *up, uint64_t client, enum catalogue_kind kind, bool same);
/* Clients of this kind must always be asked for. */
void reporter_differs(struct upstream *up, uint64_t client);
/* array: a JSON array; copied. */
void reporter_list(struct upstream *up, enum catalogue_kind kind, struct span array,
	struct freshness freshness);

#endif
