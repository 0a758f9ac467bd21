/*
 * Event streams that can be resumed (2025-11-25, transports: "Resumability and Redelivery"). Every
 * message on a stream has an id that names session, stream and place; the last ones are kept, so
 * that a client whose connection broke can ask for what it missed: GET with Last-Event-ID. The
 * session manager gets them in batches, so that they outlive this process.
 */
#ifndef GATEHOUSE_STREAM_H
#define GATEHOUSE_STREAM_H

#include "buf.h"
#include "err.h"
#include "exchange.h"

#include <uthash.h>

/* The stream of a GET, for messages that belong to no request. */
#define STREAM_STANDALONE 0u
/* Ids are reserved in blocks, persisted before use: an id is never given twice, whoever dies. */
#define STREAM_ID_BLOCK 1024u
/* GET streams of one session at once. */
#define STREAM_GETS_MAX 16u

struct worker;

struct event_record {
	struct event_record *prev, *next;
	uint32_t stream;
	uint64_t id;
	size_t len; /* 0: the stream is complete */
	char data[];
};

struct stream {
	uint32_t number;
	struct exchange *sink; /* NULL: nobody listens now */
	UT_hash_handle hh;
};

struct streams {
	struct worker *worker;
	struct stream *by_number;
	struct stream standalone;
	uint64_t heard;              /* id of the last standalone event that had a listener */
	struct event_record *events; /* oldest first */
	size_t n_events, bytes;
	size_t max_events, max_bytes;
	size_t unheard, unheard_bytes; /* kept since somebody last began to listen, for nobody there */
	uint64_t next_id;
	uint64_t reserved_id; /* ids below it may be used */
	struct buf unsaved;   /* records for the session manager */
	uint64_t dropped;
};

void streams_init(
	struct streams *streams, struct worker *worker, size_t max_events, size_t max_bytes);
void streams_free(struct streams *streams);
/* A lease came: ids start at next_id, or behind what was restored. fresh: a session whose first
 * save is yet to come. */
void streams_lease(struct streams *streams, uint64_t next_id, bool fresh);
/* Records as logged before (see SESSION_EVENTS), in any order with the lease. Bad ones and repeated
 * ones are left out. */
void streams_restore(struct streams *streams, struct span records);

/* A stream for one POST's answer; NULL when memory is out. */
struct stream *stream_new(struct streams *streams);
/*
 * Let exchange listen to it, and give it the priming event where its revision has one. The newest
 * listener wins; on the standalone stream the earlier one stays open and takes over when the newer
 * one goes.
 */
void stream_attach(struct streams *streams, struct stream *stream, struct exchange *exchange);
/* A message for the client, logged; droppable ones without a listener only while what waits for one
 * fills less than half of the log. */
void stream_send(
	struct streams *streams, struct stream *stream, struct span message, bool droppable);
/* The last message has been sent. Ends the listening exchange. */
void stream_finish(struct streams *streams, struct stream *stream);

/*
 * Serve a GET: with last_id (may be empty) replay what followed it and go on with that stream, else
 * the standalone stream. -ERR_INVALID_ARGUMENT: the id is none of this session's; -ERR_TOO_MANY.
 */
int streams_get(
	struct streams *streams, struct exchange *exchange, struct span last_id, struct err *err);
/* Does the standalone stream have a listener? */
bool streams_listened(const struct streams *streams);
void streams_exchange_gone(struct streams *streams, struct exchange *exchange);
/* Send what is unsaved to the session manager. */
void streams_save(struct streams *streams);
/* A session manager that has just come back may have lost what was on its way:
 * send all there is. */
void streams_save_again(struct streams *streams);
/* All streams that somebody listens to with a GET end. */
void streams_end_gets(struct streams *streams);
/* NULL: there is none of that number, or it is complete. */
struct stream *stream_find(struct streams *streams, uint32_t number);

#endif
