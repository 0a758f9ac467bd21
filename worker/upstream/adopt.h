/*
 * A process of the server that was there before this one is gone on with: its predecessor died, the root kept the pipes
 * and what had been told of the conversation (keep.h). Nothing is said to the server twice: no initialize, no level, no
 * subscription. Questions it waits to be answered are answered with an error, because the call they belong to is over
 * for its client; late answers have ids of the predecessor, and nobody waits for them.
 *
 * That of a session waits for its session: its client is absent (no link) until a session worker attaches with the same
 * id. Meanwhile, for a while, the server's output is left in the pipe, so that nothing is lost that is for the client.
 */
#ifndef GATEHOUSE_ADOPT_H
#define GATEHOUSE_ADOPT_H

#include "client.h"

/* Ask for what is left; upstream_begin is called when all has come. */
int adopt_begin(struct upstream *up);
/* The root's answers; arg is the struct process. */
void adopt_on_kept(struct link *link, const struct message *msg, void *arg);
void adopt_on_none(struct link *link, const struct message *msg, void *arg);
/* A client has attached: is one of the conversations its own? Then it has it now. */
void adopt_claim(struct client *client);
/* The client has said what it is subscribed to: the rest of what a predecessor asked for is ended. */
void adopt_settle(struct instance *instance);
/* Its client is here, or has been waited for: hear what the server says. */
void adopt_hear(struct instance *instance);
/* A place is needed: end a conversation whose session has not come back in time. False: there is none. */
bool adopt_make_room(struct upstream *up);
/* A process has ended: absent clients that had it are forgotten. */
void adopt_sweep(struct upstream *up);

#endif
