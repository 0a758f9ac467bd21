/*
 * What the manager knows of a session's logged events: which chunks are stored, so that the oldest
 * go when there are too many. A chunk is what a worker sent in one SESSION_EVENTS: records {stream
 * u32, id u64, length u32, bytes}, big endian, ids in order.
 */
#ifndef GATEHOUSE_EVENT_LOG_H
#define GATEHOUSE_EVENT_LOG_H

#include "span.h"

#include <stdint.h>

struct event_chunk {
	uint64_t first, last; /* ids */
	uint32_t events;
	uint32_t bytes; /* of their data */
};

/*
 * Read a chunk, without what it has up to the id after, of which *events is shortened. -ERR_EXISTS:
 * nothing is left; -ERR_PROTOCOL: these are no such records, or their ids are out of order.
 */
int event_chunk_read(struct span *events, uint64_t after, struct event_chunk *ret_chunk);

struct event_log {
	struct event_chunk *chunks; /* a ring */
	unsigned first, len, cap;
	uint64_t events, bytes;
};

void event_log_free(struct event_log *log);
/*
 * A chunk is stored. The oldest go while the rest still holds max_events or has more than
 * max_bytes; *ret_keep_from is the first id that stays. -ERR_NO_MEMORY; -ERR_PROTOCOL when its ids
 * are not above those that are there.
 */
int event_log_add(struct event_log *log, const struct event_chunk *chunk, uint64_t max_events,
	uint64_t max_bytes, uint64_t *ret_keep_from);
/* The greatest id stored, 0: none. */
uint64_t event_log_last(const struct event_log *log);

#endif
