/*
 * Batches (2025-03-26): which of its requests have their answer already. When a worker dies between
 * the answers of a batch, only the others are sent again or answered with an error.
 */
#ifndef GATEHOUSE_BATCH_H
#define GATEHOUSE_BATCH_H

#include "exchange.h"

/*
 * Something the client gets as part of the answer to this exchange; if it answers a request of a
 * batch, that is noted. 0 or -ERR_NO_MEMORY.
 */
int batch_note(struct exchange *exchange, struct span json);
/* The same for bytes of an event stream, cut anywhere. */
int batch_note_events(struct exchange *exchange, struct span bytes);
/* Half an event of a worker that died is forgotten. */
void batch_forget_half(struct exchange *exchange);

/*
 * Leave of the body only the requests that have no answer. Returns how many there are;
 * -ERR_NO_MEMORY.
 */
int batch_cut(struct exchange *exchange);

#endif
