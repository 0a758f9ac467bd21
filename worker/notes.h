/* Notifications of servers, and what the client is told of its own accord. */
#ifndef GATEHOUSE_NOTES_H
#define GATEHOUSE_NOTES_H

#include "request.h"

struct server;
struct catalogue;

/* Lists whose changes a client is told: tools, prompts, resources. */
#define NOTES_CHANGES 3u

struct list_change {
	uint64_t told_ms; /* last time; 0: never */
	bool due;         /* it has changed since */
};

/* A notification of a server that belongs to a call. */
void notes_of_call(struct request *request, struct span method, struct span params);
/* One that belongs to none. */
void notes_of_server(
	struct worker *worker, struct server *server, struct span method, struct span params);
/*
 * A list has changed, by its notification's method. The client is told at once, and of what follows
 * closely, however often, once again a little later.
 */
void notes_changed(struct worker *worker, enum mcp_method note);
void notes_tick(struct worker *worker, uint64_t now_ms);
/* The catalogue has changed: the client is told which lists differ. */
void notes_catalogue_changed(struct worker *worker, const struct catalogue *before);

#endif
