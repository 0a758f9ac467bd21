#include "event_log.h"
#include "err.h"

#include <endian.h>
#include <stdlib.h>

#define RECORD_HEADER 16u

int event_chunk_read(struct span *events, uint64_t after, struct event_chunk *ret_chunk)
{
	struct event_chunk chunk = {0};
	struct span rest = *events;
	uint64_t before = 0;

	while (rest.len >= RECORD_HEADER) {
		uint64_t id;
		uint32_t len;

		memcpy(&id, rest.p + 4, 8);
		memcpy(&len, rest.p + 12, 4);
		id = be64toh(id);
		len = be32toh(len);
		if (len > rest.len - RECORD_HEADER || id <= before || id == UINT64_MAX)
			return -ERR_PROTOCOL;
		before = id;
		if (id > after && chunk.events++ == 0) {
			chunk.first = id;
			*events = rest;
		}
		chunk.bytes += id > after ? len : 0;
		rest.p += RECORD_HEADER + len;
		rest.len -= RECORD_HEADER + len;
	}
	if (before == 0 || rest.len > 0)
		return -ERR_PROTOCOL;
	chunk.last = before;
	*ret_chunk = chunk;
	return chunk.events > 0 ? 0 : -ERR_EXISTS;
}

void event_log_free(struct event_log *log)
{
	free(log->chunks);
	*log = (struct event_log){0};
}

static struct event_chunk *at(const struct event_log *log, unsigned n)
{
	return &log->chunks[(log->first + n) % log->cap];
}

uint64_t event_log_last(const struct event_log *log)
{
	return log->len ? at(log, log->len - 1)->last : 0;
}

static int grow(struct event_log *log)
{
	unsigned cap = log->cap ? log->cap * 2 : 8;
	struct event_chunk *chunks = malloc(cap * sizeof(*chunks));

	if (!chunks)
		return -ERR_NO_MEMORY;
	for (unsigned i = 0; i < log->len; i++)
		chunks[i] = *at(log, i);
	free(log->chunks);
	log->chunks = chunks;
	log->cap = cap;
	log->first = 0;
	return 0;
}

static void drop_oldest(struct event_log *log)
{
	const struct event_chunk *oldest = at(log, 0);

	log->events -= oldest->events;
	log->bytes -= oldest->bytes;
	log->first = (log->first + 1) % log->cap;
	log->len--;
}

int event_log_add(struct event_log *log, const struct event_chunk *chunk, uint64_t max_events,
	uint64_t max_bytes, uint64_t *ret_keep_from)
{
	if (chunk->first <= event_log_last(log))
		return -ERR_PROTOCOL;
	if (log->len == log->cap && grow(log) < 0)
		return -ERR_NO_MEMORY;
	log->len++;
	*at(log, log->len - 1) = *chunk;
	log->events += chunk->events;
	log->bytes += chunk->bytes;
	while (log->len > 1 &&
		(log->events - at(log, 0)->events >= max_events || log->bytes > max_bytes))
		drop_oldest(log);
	*ret_keep_from = at(log, 0)->first;
	return 0;
}
