/* A session worker's link: one session (or the sessionless connections of one principal) and what
 * it asked for. */
#ifndef GATEHOUSE_CLIENT_H
#define GATEHOUSE_CLIENT_H

#include "call.h"
#include "catalogue.h"

/* Words that a session has here: uris it subscribed to, tasks it started. */
#define CLIENT_MARKS_MAX 4096u

#define CLIENT_EARLY_CANCELS 32u
#define CLIENT_PRINCIPAL_SIZE 128u

struct mark {
	UT_hash_handle hh;
	char key[];
};

/* A CALL_DONE that its link had no room for. */
struct undelivered;

struct client {
	struct client *prev, *next;
	struct upstream *up;
	struct link *link;
	struct instance *instance; /* its own, NULL until needed; never a shared one */
	struct call *calls;        /* by stream */
	unsigned n_calls;
	bool attached;
	char tag[24]; /* a word for logs */
	char session[LIMIT_SESSION_ID + 1];
	uint64_t absent_ms; /* since when it is known by name only, without a link (adopt.h) */
	char principal[CLIENT_PRINCIPAL_SIZE];
	enum mcp_era era; /* modern: no session, many clients of one principal */
	enum mcp_version version;
	enum mcp_log_level level;
	char *capabilities, *info; /* raw JSON */
	struct mark *subscriptions, *tasks;
	/* its own conversation: has called something, was asked something (alike.h) */
	bool called, asked;
	struct {
		uint64_t digest; /* of the items so far */
		bool more;       /* another page is to come */
	} seen[CATALOGUE_KIND_MAX];
	struct undelivered *undelivered;
	size_t undelivered_bytes;
	struct event *retry;
	/* streams whose CALL_CANCEL, a control message, overtook the CALL; the newest */
	uint32_t cancelled[CLIENT_EARLY_CANCELS];
	unsigned n_cancelled;
};

extern const struct link_handlers client_handlers;
void client_accepted(struct process *process, struct link *link);
/* One whose session worker is not there. NULL: no memory, or there are too many. */
struct client *client_new_absent(
	struct upstream *up, const char *session, const char *principal);
void client_free(struct client *client);

/* The one instance that serves it; NULL until there is one, or where a pool does. */
struct instance *client_instance(const struct client *client);
/* Does this instance serve it, alone or with others? */
bool client_uses(const struct client *client, const struct instance *instance);
/* Does it hear there of what it is subscribed to? Of a pool, in one conversation. */
bool client_hears(const struct client *client, const struct instance *instance);
/* A call's fate. */
void client_done(struct client *client, const struct call *call, struct outcome *outcome);
/* The fate of a call that it may not have any more. */
void client_tell(struct client *client, uint32_t stream, const struct outcome *outcome);
/* The server closed the stream on which the answer was awaited. */
void client_parked(struct client *client, const struct call *call);
/* A notification, of a call or of none (call NULL). Dropped when the link is full. */
void client_note(
	struct client *client, const struct call *call, struct span method, struct span params);
/* True when the call may leave: its worker has it in writing. */
bool client_knows(struct client *client, struct call *call);

bool mark_has(const struct mark *marks, struct span key);
/* -ERR_TOO_MANY: there are CLIENT_MARKS_MAX; -ERR_NO_MEMORY. */
int mark_add(struct mark **marks, struct span key);
/* The same with another limit. */
int mark_put(struct mark **marks, struct span key, unsigned max);
void mark_remove(struct mark **marks, struct span key);
void marks_free(struct mark **marks);
/* Has another client that the same instances serve subscribed to this? */
bool client_shares_subscription(const struct client *client, struct span uri);

#endif
