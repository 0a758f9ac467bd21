/* Notifications of servers, and what the client is told of its own accord. */
#ifndef GATEHOUSE_NOTES_H
#define GATEHOUSE_NOTES_H

#include "request.h"

struct server;
struct catalogue;

/* A notification of a server that belongs to a call. */
void notes_of_call(struct request *request, struct span method, struct span params);
/* One that belongs to none. */
void notes_of_server(
	struct worker *worker, struct server *server, struct span method, struct span params);
/* The catalogue has changed: the client is told which lists differ. */
void notes_catalogue_changed(struct worker *worker, const struct catalogue *before);

#endif
