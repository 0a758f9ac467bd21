/*
 * subscriptions/listen (2026-07-28): a request whose answer is a stream that lasts until the client
 * closes it. First comes what of the wish is granted; then, under the id of the request, that lists
 * have changed and resources were updated.
 */
#ifndef GATEHOUSE_LISTENS_H
#define GATEHOUSE_LISTENS_H

#include "request.h"

/* Of one worker, whose clients are all of one principal; resources of one stream. */
#define LISTENS_MAX 256u
#define LISTEN_URIS_MAX 256u

struct listen;

/* Answers the request now, or when the stream ends. */
void listen_request(struct request *request, struct span params);
/* The request ends. */
void listen_free(struct request *request);
/* A list has changed: its notification's method. */
void listens_changed(struct worker *worker, enum mcp_method note);
/* A server says that a resource was updated; params of the notification. */
void listens_updated(struct worker *worker, struct span params);
/* The process ends: every stream is told so. */
void listens_end(struct worker *worker);

#endif
