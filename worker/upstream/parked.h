/*
 * Calls of clients without a session (2026-07-28) at servers of the legacy era that asked something
 * back. The client is answered input_required, with a requestState of ours; meanwhile the call
 * stays at the server, parked. The client's next request brings the state and the answers: these go
 * to the server, and the call goes on. Nothing of it depends on the process the client's first
 * request went through.
 */
#ifndef GATEHOUSE_PARKED_H
#define GATEHOUSE_PARKED_H

#include "call.h"
#include "jsonrpc.h"

/* Calls at once, of all clients; questions of one call that are open; rounds of one call. */
#define PARKED_MAX 256u
/* What all of them keep: questions, answers, results that are not fetched yet. */
#define PARKED_BYTES_MAX (64u * 1024u * 1024u)
#define PARKED_QUESTIONS_MAX 32u
#define PARKED_ROUNDS_MAX 64u

/* What a call asks for, without what differs from round to round. */
void parked_digest(enum mcp_method method, struct span params, unsigned char ret[32]);
/* The server asks something while this call is under way. Answers it in any case, now or later. */
void parked_ask(struct call *call, const struct jsonrpc *msg);
/* The server does not want the answer any more. */
void parked_unask(struct instance *instance, struct span raw_id);
/*
 * A call that comes with a requestState. True: it was ours, or should have been, and the call is
 * answered or has been taken up. False: only the server can tell.
 */
bool parked_resume(struct client *client, const struct message *msg);
/* The call is over. */
void parked_over(struct call *call, const struct outcome *outcome);
/* The process ends. */
void parked_free_all(struct upstream *up);

#endif
