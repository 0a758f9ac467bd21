/*
 * Lists of a server that gives each session a conversation of its own, a process or a session over
 * HTTP: what it offers there may differ from the catalogue, because servers vary with the client's
 * capabilities. It is asked once the conversation has begun, and a list begins it where it is not
 * known that clients of this kind get what the catalogue has (catalogue_is_alike). Its items then
 * stand in the place of the catalogue's, under the same names where the catalogue knows them; when
 * they are the same, nothing is kept, and a conversation that was begun for the list alone ends.
 */
#ifndef GATEHOUSE_OWN_LISTS_H
#define GATEHOUSE_OWN_LISTS_H

#include "catalogue.h"
#include "request.h"

struct own_list;

/*
 * Ask servers for lists of this kind where that is due. True: there are some to wait for; request
 * is answered, by list_answer(), when they are there or have failed.
 */
bool own_lists_fetch(struct request *request, enum catalogue_kind kind);
/* Where the client asked for this name (of a resource: its URI). False: none of them has it. */
bool own_lists_find(struct worker *worker, enum catalogue_kind kind, struct span name,
	struct catalogue_item *ret_item);
/* A template of theirs that this URI can come from. */
bool own_lists_match(struct worker *worker, struct span uri, struct catalogue_item *ret_item);
/* A server says that lists of its have changed (list_changed), or may have (NONE: all). */
void own_lists_outdated(struct server *server, enum mcp_method note);
/* The configuration may say otherwise now which of it is offered, and under which names. */
void own_lists_forget(struct worker *worker);
/* The catalogue is another: what of it stood in the place of a list may differ. */
void own_lists_catalogue_changed(struct worker *worker, const struct catalogue *before);
/* Requests that have waited for too long go on with what is known. */
void own_lists_tick(struct worker *worker, uint64_t now_ms);
void own_lists_free(struct server *server);

/* A walk over all items of a kind, catalogue and own. */
struct own_walk {
	struct worker *worker;
	enum catalogue_kind kind;
	uint32_t server, n;
	bool own; /* at this server */
	const struct own_item *item;
};
struct own_walk own_walk(struct worker *worker, enum catalogue_kind kind);
/* The next item as clients see it. False at the end. */
bool own_walk_next(struct own_walk *walk, struct span *ret_json);
/* How many there are at most: URIs that several servers claim are counted for each. */
uint32_t own_lists_count(struct worker *worker, enum catalogue_kind kind);

#endif
