/*
 * A call of a session (legacy era) at a server of the modern era: the server answers
 * input_required, and what it wants to know is asked of the client with requests; then the call is
 * sent again with the answers and the server's requestState, byte for byte (2026-07-28,
 * "Multi Round-Trip Requests").
 */
#ifndef GATEHOUSE_ROUND_H
#define GATEHOUSE_ROUND_H

#include "call.h"

/* Of one call. */
#define ROUNDS_MAX 32u
#define ROUND_QUESTIONS_MAX 32u

struct round;

/*
 * A result came. True: it is input_required, and the client is asked (or the call has failed);
 * false: it is the client's.
 */
bool round_take(struct call *call, struct span result);
/* The client has answered what was asked on this stream. False: that was no round's. */
bool round_answered(struct client *client, uint32_t stream, const struct msg_answer *answer,
	struct span payload);
/* The members that the call is sent again with: "\"inputResponses\":{…},\"requestState\":…". */
void round_write_members(const struct round *round, struct buf *out);
/* The call is over: what is still being asked is taken back. */
void round_free(struct call *call);

#endif
