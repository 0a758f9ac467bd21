/*
 * The registry: what each MCP server offers and how it is, kept over restarts, merged into the
 * catalogue.
 *
 *   main.c     the role, what is said to it   servers.c   what is known of each server
 *   publish.c  the catalogue file             queries.c   what the admin process asks
 *   records.h  the LMDB environment           merge.h     many lists into one
 */
#ifndef GATEHOUSE_REGISTRY_H
#define GATEHOUSE_REGISTRY_H

#include "catalogue.h"
#include "config.h"
#include "process.h"
#include "records.h"

/* Changes within this time are published together, or within so many times what that takes. */
#define PUBLISH_MS 100u
#define PUBLISH_SHARE 10u
/* A server that has not come up by then is not waited for. */
#define LATE_MS 10000u

/* Owned bytes with a zero behind them; p is NULL until known. */
struct text {
	char *p;
	size_t len;
};

struct server {
	const struct config_server *config;
	enum server_state state;
	char error[ERR_DETAIL_MAX];
	char version[32];
	struct text facts; /* JSON {"capabilities":…,"serverInfo":…,"instructions":…} */
	struct text lists[CATALOGUE_KIND_MAX];
	uint32_t ttl_ms[CATALOGUE_KIND_MAX];    /* of these, as the server says (2026-07-28); */
	bool cache_public[CATALOGUE_KIND_MAX];  /* of one from the store: 0 and false */
	struct text instructions; /* decoded from facts */
	uint64_t since_ms;        /* of the state */
	struct catalogue_alike alike[CATALOGUE_ALIKE_MAX]; /* the longest known first */
	unsigned n_alike;
};

/* An upstream worker or the admin process. User of its link. */
struct guest {
	struct link *link;
	struct guest *prev, *next;
};

struct registry {
	struct process *process;
	struct config *config;
	struct records *records;
	struct server *servers; /* as many as config->server_count, same order */
	struct guest *guests;
	struct event *publish;
	struct event *late;          /* when the next server that is starting has taken too long */
	uint64_t publish_us;         /* what the last time took */
	uint64_t generation;         /* of the catalogue last handed out */
	uint64_t generation_end;     /* those below are this process's to give */
	uint64_t digest;             /* of what was last handed out */
	bool published;              /* something was */
	uint64_t notes_digest;       /* of what was last logged about the lists */
	struct catalogue *catalogue; /* the newest, for queries */
};

/* servers.c */
struct server *registry_find(struct registry *registry, struct span name);
/* NULL unless the server is that of this upstream worker, which may speak for no other. */
struct server *registry_find_own(
	struct registry *registry, struct span name, const struct link *link);
void registry_set_state(struct registry *registry, struct server *server, enum server_state state,
	struct span detail);
/* Keep, and store unless it is known already. What is no JSON is refused: the old stays. */
void registry_set_facts(
	struct registry *registry, struct server *server, struct span version, struct span facts);
/* A list that is too large counts as none. Whether it is good is seen when it is merged. */
void registry_set_list(struct registry *registry, struct server *server, enum catalogue_kind kind,
	struct span list);
/* How long clients may keep it, and whether others than one principal may. */
void registry_set_freshness(struct registry *registry, struct server *server,
	enum catalogue_kind kind, uint32_t ttl_ms, bool is_public);
/* Clients of this kind are shown what is known of the server, in lists of these kinds (bits). */
void registry_set_alike(
	struct registry *registry, struct server *server, uint64_t client, uint64_t kinds);
/* The server starts anew, perhaps as another one: that is to be found out again. */
void registry_forget_alike(struct registry *registry, struct server *server);
/* Has it been starting for too long? */
bool registry_is_late(const struct server *server, uint64_t now_ms);
/* Take over a configuration (JSON): what is known of a server goes on being known, of a new one
 * what is stored. */
int registry_set_config(struct registry *registry, struct span json, struct err *err);
void registry_free_servers(struct registry *registry);

/* publish.c */
/* See within so many ms which servers are late. */
void registry_watch_late(struct registry *registry, uint64_t ms);
void registry_look_for_late(struct registry *registry);
/* Publish within PUBLISH_MS, all that changes until then together. */
void registry_publish_soon(struct registry *registry);
/* Now, unless nothing has changed. */
int registry_publish(struct registry *registry, struct err *err);

/* queries.c */
void registry_on_query(struct link *link, const struct message *msg, void *arg);

#endif
