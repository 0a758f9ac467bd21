/*
 * The registry: what each MCP server offers and how it is, kept over restarts, merged into the catalogue.
 *
 *   main.c     the role              records.h   the LMDB environment
 *   publish.c  the catalogue file    queries.c   what the admin process asks
 */
#ifndef GATEHOUSE_REGISTRY_H
#define GATEHOUSE_REGISTRY_H

#include "catalogue.h"
#include "config.h"
#include "process.h"
#include "records.h"

struct server {
	const struct config_server *config;
	enum server_state state;
	char error[ERR_DETAIL_MAX];
	char version[32];
	/* owned; NULL until known */
	char *facts; /* JSON {"capabilities":…,"serverInfo":…,"instructions":…} */
	char *lists[CATALOGUE_KIND_MAX];
	size_t list_len[CATALOGUE_KIND_MAX];
	char *instructions; /* decoded from facts */
	uint64_t since_ms;  /* of the state */
};

struct registry {
	struct process *process;
	struct config *config;
	struct records *records;
	struct server *servers; /* as many as config->server_count, same order */
	struct event *publish;
	uint64_t generation;
	struct catalogue *catalogue; /* the newest, for queries */
	uint64_t published_ms;
};

struct server *registry_find(struct registry *registry, struct span name);
void registry_set_state(struct registry *registry, struct server *server, enum server_state state, struct span detail);
/* Publish within 100 ms, all that changes until then together. */
void registry_publish_soon(struct registry *registry);
int registry_publish(struct registry *registry, struct err *err);
/* Keep a copy; frees what was there. -ERR_NO_MEMORY: the old stays. */
int registry_keep(char **place, size_t *len, struct span bytes);
void registry_set_facts(struct server *server, struct span facts);

/* queries.c */
void registry_on_query(struct link *link, const struct message *msg, void *arg);

#endif
