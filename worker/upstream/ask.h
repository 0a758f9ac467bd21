/* Requests of the server to a client: sampling, elicitation, roots. */
#ifndef GATEHOUSE_ASK_H
#define GATEHOUSE_ASK_H

#include "instance.h"
#include "jsonrpc.h"

struct ask {
	struct ask *prev, *next;
	uint32_t stream; /* on the client's link */
	size_t id_len;
	char id[]; /* raw, as the server wrote it */
};

/* Answer the server's request, or have its client answer it. related: see transport_events. */
void ask_take(struct instance *instance, const struct jsonrpc *msg, uint64_t related);
/* The server does not want the answer any more. */
void ask_cancelled(struct instance *instance, struct span raw_id, struct span reason);
/* The client has answered; fields and payload of ANSWER. */
void ask_answered(struct instance *instance, uint32_t stream, const struct msg_answer *answer,
	struct span payload);
/* Answer the server's request of this raw id: a raw result, or an error. */
void ask_answer_result(struct instance *instance, struct span raw_id, struct span result);
void ask_answer_err(
	struct instance *instance, struct span raw_id, enum err_code code, const char *why);
/* The conversation is over; tell_client: its client is still there. */
void asks_drop(struct instance *instance, bool tell_client);

#endif
