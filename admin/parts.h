/*
 * The other parts of the node, as the admin process reaches them: the root over the link it was
 * born with, the rest over links that open when something is asked and stay open. A part that does
 * not answer in time, or is not there, is named in the answer; nobody waits for it.
 */
#ifndef GATEHOUSE_ADMIN_PARTS_H
#define GATEHOUSE_ADMIN_PARTS_H

#include "process.h"

/* Parts asked at once; a node of more servers than that is told so. */
#define PARTS_ASK_MAX 4352u
#define PARTS_WHAT_MAX 32u

struct parts;

/* One question (QUERY) or command (COMMAND) to one part. All strings are copied. */
struct parts_ask {
	enum role role;
	const char *name; /* of an upstream worker or a gateway; NULL or "" for a singleton */
	bool command;
	const char *what; /* the word of the message */
	struct span payload;
};

/* What came of it; valid during the call of parts_done_fn. */
struct parts_answer {
	enum role role;
	char name[LIMIT_SERVER_NAME + 1];
	char what[PARTS_WHAT_MAX];
	struct err err; /* code 0: answered; else what the part said, or why it did not answer */
	char *payload;  /* owned by the asking; NULL when empty */
	size_t len;
};

/* n answers in the order of the asks. Called once, from the loop, never from within parts_ask. */
typedef void parts_done_fn(void *arg, const struct parts_answer *answers, size_t n);

/* Handlers of the links with all parts but the root, for process_role.peers. */
extern const struct link_handlers parts_handlers;

/* NULL when out of memory. */
struct parts *parts_new(struct process *process);
void parts_free(struct parts *parts);
/* A QUERY_REPLY came over the link with the root. */
void parts_root_replied(struct parts *parts, const struct message *msg);

/* Returns 0, or -ERR_NO_MEMORY or -ERR_TOO_MANY, and then fn is not called. */
int parts_ask(struct parts *parts, const struct parts_ask *asks, size_t n, uint32_t timeout_ms,
	parts_done_fn *fn, void *arg);

#endif
