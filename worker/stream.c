#include "stream.h"
#include "json_write.h"
#include "points.h"
#include "sse.h"
#include "worker.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* What may wait for the session manager before older records are left to memory alone. */
#define UNSAVED_MAX (4u * 1024 * 1024)
#define RECORD_HEADER 16u
/* For a client that is told to come back: how soon. */
#define RETRY_MS 1000u

void streams_init(
	struct streams *streams, struct worker *worker, size_t max_events, size_t max_bytes)
{
	*streams = (struct streams){.worker = worker,
		.max_events = max_events,
		.max_bytes = max_bytes,
		.next_id = 1,
		.reserved_id = 1};
	buf_init(&streams->unsaved, UNSAVED_MAX);
}

static void drop_oldest(struct streams *streams)
{
	struct event_record *oldest = streams->events;

	DL_DELETE(streams->events, oldest);
	streams->n_events--;
	streams->bytes -= oldest->len;
	free(oldest);
}

void streams_free(struct streams *streams)
{
	struct stream *stream, *next;

	while (streams->events)
		drop_oldest(streams);
	HASH_ITER (hh, streams->by_number, stream, next) {
		HASH_DEL(streams->by_number, stream);
		free(stream);
	}
	buf_free(&streams->unsaved);
}

/* --- ids ------------------------------------------------------------------------------------ */

/* The next block is reserved while half of this one is left, so that its save is through before it
 * is needed. */
static uint64_t next_id(struct streams *streams)
{
	struct link *manager = streams->worker->manager.link;

	if (streams->next_id + STREAM_ID_BLOCK / 2 >= streams->reserved_id) {
		bool used_up = streams->next_id >= streams->reserved_id;

		streams->reserved_id = streams->next_id + STREAM_ID_BLOCK;
		session_save(streams->worker, NULL, NULL);
		if (used_up && manager)
			link_flush(manager);
	}
	return streams->next_id++;
}

static void write_id(
	const struct streams *streams, uint32_t stream, uint64_t id, char *text, size_t size)
{
	snprintf(text, size, "%s-%u-%llu", streams->worker->session.tag, stream,
		(unsigned long long)id);
}

static int parse_id(const struct streams *streams, struct span text, uint32_t *ret_stream,
	uint64_t *ret_id, struct err *err)
{
	char copy[64], tag[16];
	unsigned stream;
	unsigned long long id;
	int end = 0;

	snprintf(copy, sizeof(copy), "%.*s", SPAN_ARG(text));
	if (text.len >= sizeof(copy) ||
		sscanf(copy, "%15[0-9a-f]-%u-%llu%n", tag, &stream, &id, &end) != 3 ||
		(size_t)end != text.len)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"Last-Event-ID is not an event id of this server");
	/* before the range, which is this session's: whether there is another is not told */
	if (strcmp(tag, streams->worker->session.tag) != 0 || id >= streams->next_id)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"Last-Event-ID is not an event id of this session");
	*ret_stream = stream;
	*ret_id = id;
	return 0;
}

/* --- the log -------------------------------------------------------------------------------- */

static struct event_record *keep(
	struct streams *streams, uint32_t stream, uint64_t id, struct span data)
{
	struct event_record *record;

	if (data.len > streams->max_bytes)
		return NULL;
	record = malloc(sizeof(*record) + data.len);
	if (!record)
		return NULL;
	*record = (struct event_record){.stream = stream, .id = id, .len = data.len};
	if (data.len)
		memcpy(record->data, data.p, data.len);
	DL_APPEND(streams->events, record);
	streams->n_events++;
	streams->bytes += data.len;
	while (streams->n_events > streams->max_events || streams->bytes > streams->max_bytes)
		drop_oldest(streams);
	return record;
}

static int write_record(struct buf *out, uint32_t stream, uint64_t id, struct span data)
{
	char header[RECORD_HEADER];
	uint32_t stream_be = htobe32(stream), len_be = htobe32((uint32_t)data.len);
	uint64_t id_be = htobe64(id);

	if (out->len + RECORD_HEADER + data.len > out->max)
		return -ERR_TOO_LARGE;
	memcpy(header, &stream_be, 4);
	memcpy(header + 4, &id_be, 8);
	memcpy(header + 12, &len_be, 4);
	buf_append(out, header, sizeof(header));
	return buf_append_span(out, data);
}

static void note_unsaved(struct streams *streams, uint32_t stream, uint64_t id, struct span data)
{
	if (write_record(&streams->unsaved, stream, id, data) < 0) {
		streams_save(streams);
		write_record(&streams->unsaved, stream, id, data);
	}
	worker_save_soon(streams->worker);
}

void streams_lease(struct streams *streams, uint64_t first_id, bool fresh)
{
	if (first_id > streams->next_id)
		streams->next_id = first_id;
	/* the save that opens a session persists its first block */
	streams->reserved_id = streams->next_id + (fresh ? STREAM_ID_BLOCK : 0);
}

void streams_restore(struct streams *streams, struct span records)
{
	while (records.len >= RECORD_HEADER) {
		uint32_t stream, len;
		uint64_t id;

		memcpy(&stream, records.p, 4);
		memcpy(&id, records.p + 4, 8);
		memcpy(&len, records.p + 12, 4);
		stream = be32toh(stream);
		id = be64toh(id);
		len = be32toh(len);
		if (len > records.len - RECORD_HEADER)
			return;
		if (!streams->events || id > streams->events->prev->id)
			keep(streams, stream, id, span_of(records.p + RECORD_HEADER, len));
		if (id >= streams->next_id)
			streams->next_id = streams->reserved_id = id + 1;
		records.p += RECORD_HEADER + len;
		records.len -= RECORD_HEADER + len;
	}
}

void streams_save(struct streams *streams)
{
	struct worker *worker = streams->worker;
	const struct msg_session_events fields = {
		.session = span_str(worker->session.id), .epoch = worker->session.epoch};

	if (streams->unsaved.len == 0 || !worker->manager.link)
		return;
	if (link_send(worker->manager.link, MSG_SESSION_EVENTS, 0, &fields,
		    buf_span(&streams->unsaved), NULL) == 0)
		buf_free(&streams->unsaved);
	else
		worker_save_soon(worker);
}

void streams_save_again(struct streams *streams)
{
	const struct event_record *record;

	buf_clear(&streams->unsaved);
	DL_FOREACH(streams->events, record)
	{
		note_unsaved(
			streams, record->stream, record->id, span_of(record->data, record->len));
	}
	streams_save(streams);
}

/* --- streams -------------------------------------------------------------------------------- */

struct stream *stream_find(struct streams *streams, uint32_t number)
{
	struct stream *stream;

	if (number == STREAM_STANDALONE)
		return &streams->standalone;
	HASH_FIND(hh, streams->by_number, &number, sizeof(number), stream);
	return stream;
}

struct stream *stream_new(struct streams *streams)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	/* an event id is given once, so it names the stream, too */
	stream->number = (uint32_t)next_id(streams);
	HASH_ADD(hh, streams->by_number, number, sizeof(stream->number), stream);
	return stream;
}

static void write_event(struct streams *streams, struct exchange *exchange, uint32_t stream,
	uint64_t id, struct span data, bool droppable)
{
	struct buf out;
	char text[64];

	write_id(streams, stream, id, text, sizeof(text));
	buf_init(&out, data.len * 8 + 1024);
	buf_reserve(&out, data.len + 128);
	if (exchange->era == MCP_MODERN)
		sse_write_event(&out, SPAN_NONE, SPAN_NONE, data);
	else
		sse_write_event(&out, span_str(text), SPAN_NONE, data);
	if (exchange_write(exchange, buf_span(&out), droppable) < 0)
		streams->dropped++;
	buf_free(&out);
}

/* 2025-11-25: an event with an id and no data comes first, so that even a stream that breaks at
 * once can be resumed. */
static void prime(struct streams *streams, struct stream *stream, struct exchange *exchange)
{
	struct buf out;
	char text[64];

	if (streams->worker->session.version < MCP_2025_11_25 || exchange->era == MCP_MODERN)
		return;
	write_id(streams, stream->number, next_id(streams), text, sizeof(text));
	buf_init(&out, 1024);
	sse_write_retry(&out, RETRY_MS);
	sse_write_event(&out, span_str(text), SPAN_NONE, SPAN_NONE);
	exchange_write(exchange, buf_span(&out), false);
	buf_free(&out);
}

static void let_listen(struct streams *streams, struct stream *stream, struct exchange *exchange)
{
	struct exchange *before = stream->sink;

	if (before && (stream != &streams->standalone || !POINT(SECOND_GET)))
		exchange_evict(before);
	exchange->events = stream;
	stream->sink = exchange;
	streams->unheard = streams->unheard_bytes = 0;
}

void stream_attach(struct streams *streams, struct stream *stream, struct exchange *exchange)
{
	let_listen(streams, stream, exchange);
	prime(streams, stream, exchange);
}

static void record_event(struct streams *streams, const struct stream *stream, uint64_t id,
	struct span data, bool droppable)
{
	bool full = streams->unheard > streams->max_events / 2 ||
		    streams->unheard_bytes > streams->max_bytes / 2;

	if (streams->worker->session.era == MCP_MODERN || (droppable && !stream->sink && full))
		return;
	if (!POINT(EARLY) && !stream->sink)
		return;
	if (!stream->sink) {
		streams->unheard++;
		streams->unheard_bytes += data.len;
	}
	keep(streams, stream->number, id, data);
	note_unsaved(streams, stream->number, id, data);
}

void stream_send(
	struct streams *streams, struct stream *stream, struct span message, bool droppable)
{
	uint64_t id = next_id(streams);

	record_event(streams, stream, id, message, droppable);
	if (!stream->sink)
		return;
	if (stream->number == STREAM_STANDALONE)
		streams->heard = id;
	write_event(streams, stream->sink, stream->number, id, message, droppable);
}

void stream_finish(struct streams *streams, struct stream *stream)
{
	struct exchange *sink = stream->sink;
	uint64_t id = next_id(streams);

	record_event(streams, stream, id, SPAN_NONE, false);
	stream->sink = NULL;
	HASH_DEL(streams->by_number, stream);
	free(stream);
	if (sink) {
		sink->events = NULL;
		exchange_end(sink);
	}
}

/* --- GET ------------------------------------------------------------------------------------ */

/* Everything of one stream after an id. Returns how many there were; *ret_complete: the last one
 * was its end. */
static unsigned replay(struct streams *streams, struct exchange *exchange, uint32_t number,
	uint64_t after, bool *ret_complete)
{
	struct event_record *record;
	unsigned n = 0;

	*ret_complete = false;
	DL_FOREACH(streams->events, record)
	{
		if ((record->stream != number && POINT(REPLAY)) || record->id <= after)
			continue;
		if (record->len == 0) {
			*ret_complete = true;
			return n;
		}
		write_event(streams, exchange, number, record->id,
			span_of(record->data, record->len), false);
		if (number == STREAM_STANDALONE && record->id > streams->heard)
			streams->heard = record->id;
		n++;
	}
	return n;
}

static bool has_events(const struct streams *streams, uint32_t number, uint64_t after)
{
	const struct event_record *record;

	DL_FOREACH(streams->events, record)
	{
		if (record->stream == number && record->id > after)
			return true;
	}
	return false;
}

/* What waited for a listener carries ids itself: a priming event before it would let a client skip
 * it. */
static void listen_standalone(struct streams *streams, struct exchange *exchange)
{
	struct stream *stream = &streams->standalone;
	bool complete;

	exchange_begin_stream(exchange, stream);
	let_listen(streams, stream, exchange);
	if (replay(streams, exchange, STREAM_STANDALONE, streams->heard, &complete) == 0)
		prime(streams, stream, exchange);
	else
		session_save(streams->worker, NULL, NULL);
}

static unsigned count_gets(const struct worker *worker)
{
	const struct exchange *exchange;
	unsigned n = 0;

	DL_FOREACH(worker->exchanges, exchange)
	n += exchange->verb == EXCHANGE_GET;
	return n;
}

int streams_get(
	struct streams *streams, struct exchange *exchange, struct span last_id, struct err *err)
{
	struct stream *stream;
	uint32_t number = 0;
	uint64_t id = 0;
	bool complete;
	int r;

	if (count_gets(streams->worker) > STREAM_GETS_MAX)
		return err_set(err, ERR_TOO_MANY, "this session has %u event streams open already",
			STREAM_GETS_MAX);
	if (last_id.len == 0) {
		listen_standalone(streams, exchange);
		return 0;
	}
	r = parse_id(streams, last_id, &number, &id, err);
	if (r < 0)
		return r;
	stream = stream_find(streams, number);
	/* an empty stream would bring the client back for ever */
	if (!stream && !has_events(streams, number, id))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"nothing follows this event: its stream is over, or was lost with its "
			"process");
	exchange_begin_stream(exchange, NULL);
	replay(streams, exchange, number, id, &complete);
	if (stream && !complete)
		stream_attach(streams, stream, exchange);
	else
		exchange_end(exchange);
	return 0;
}

void streams_end_gets(struct streams *streams)
{
	struct exchange *exchange, *next;

	DL_FOREACH_SAFE(streams->worker->exchanges, exchange, next)
	{
		if (exchange->verb == EXCHANGE_GET && exchange->state == EXCHANGE_STREAMING &&
			!exchange->ending)
			exchange_evict(exchange);
	}
}

bool streams_listened(const struct streams *streams)
{
	return streams->standalone.sink != NULL;
}

/* Another GET that is still open takes the standalone stream over. */
static struct exchange *other_listener(const struct streams *streams, const struct exchange *gone)
{
	struct exchange *exchange, *found = NULL;

	DL_FOREACH(streams->worker->exchanges, exchange)
	{
		if (exchange != gone && exchange->events == &streams->standalone &&
			exchange->gateway && !exchange->ending)
			found = exchange;
	}
	return found;
}

void streams_exchange_gone(struct streams *streams, struct exchange *exchange)
{
	if (exchange->events && exchange->events->sink == exchange) {
		exchange->events->sink = NULL;
		if (exchange->events == &streams->standalone)
			streams->standalone.sink = other_listener(streams, exchange);
	}
}
