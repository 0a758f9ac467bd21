/*
 * What the next process in front of this server needs to know of a conversation to go on with it, told to the root, which
 * keeps it with the pipes of the server's process (SERVER_KEEP): one JSON object of at most LIMIT bytes,
 *
 *   v             of this form: 1
 *   kind          shared, session (session, principal: whose) or pool (principal, abilities, subscriber)
 *   era, version  that are spoken; knownEra: the server is known to speak no other
 *   facts         of initialize or server/discover, without instructions where nobody needs these any more
 *   level         that the server was told last, or none
 *   listen        id of the request on which a modern server tells of changes
 *   tasksUntil    monotonic ms: a task may be running until then
 *   tasks         ids that were given out
 *   subscriptions uris the server was asked to tell of (legacy)
 *   asks          ids of its questions that it waits to be answered
 *
 * It is told when it changes, a moment later where being behind does no harm. What does not fit is left out, lists first:
 * who is subscribed says so again. A conversation that has not begun, and the one that only reads the lists, are not kept.
 */
#ifndef GATEHOUSE_KEEP_H
#define GATEHOUSE_KEEP_H

#include "instance.h"

#define KEEP_FORM 1

int keep_init(struct upstream *up, struct err *err);
void keep_free(struct upstream *up);
/* Something of it has changed: tell the root soon. */
void keep_changed(struct instance *instance);
/* The same before anything that follows from it leaves this process. */
void keep_now(struct instance *instance);
/* This question of the server is answered: it counts as open until the answer has left. */
void keep_answered(struct instance *instance, struct span raw_id);
/*
 * Questions of the server belong to the one call that is under way here: while one is, nobody could go on, because its
 * client will be gone and the question's next to come would be another's.
 */
void keep_busy(struct instance *instance);
/* The conversation is over, or begins anew: nothing has been told. */
void keep_reset(struct instance *instance);

#endif
