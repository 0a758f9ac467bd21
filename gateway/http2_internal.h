/*
 * HTTP/2 (RFC 9113) over a client's socket, with libnghttp2 for frames, HPACK and the states of
 * streams. Each stream is to the owner what a request on a connection of HTTP/1 is: a struct
 * http_conn of its own. Shared by the http2_*.c files and the few places where the socket hands over.
 *
 *   http2_session.c  the connection: what comes, what leaves, its end
 *   http2_stream.c   a stream: its request, its timers, its end
 *   http2_head.c     a request's head, put together header by header
 *   http2_answer.c   answers, the protocol of http_conn.h
 *   http2_calm.c     what one client may ask of the parser and of the owner
 *
 * libnghttp2 must not be asked to send while one of its callbacks runs: what an owner does from
 * within one is queued, and leaves with the pump.
 */
#ifndef GATEHOUSE_HTTP2_INTERNAL_H
#define GATEHOUSE_HTTP2_INTERNAL_H

#include "arena.h"
#include "http_internal.h"

#include <nghttp2/nghttp2.h>

/* What a client begins with (RFC 9113 §3.4). */
#define HTTP2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HTTP2_PREFACE_LEN (sizeof(HTTP2_PREFACE) - 1)

/* Frames are put into the socket's queue up to this, so that a slow socket costs no more. */
#define HTTP2_FILL (64u * 1024u)
/* The window of a connection: so much of all its uploads may be under way. */
#define HTTP2_WINDOW (1024 * 1024)
/* Of a body without a length so much is taken before the owner is asked about the head. */
#define HTTP2_SCREEN (32u * 1024u)
/* After an answer so much more of the request is thrown away before the stream is reset: clients that
 * are still sending may else not see the answer. */
#define HTTP2_SWALLOW (256u * 1024u)
/* Bodies of all requests of a connection that are not answered, as a multiple of the largest one. */
#define HTTP2_BODIES 4u

/* Buckets of tokens: control frames, and streams that ended without an answer. */
struct http2_calm {
	uint64_t at_ms;
	uint64_t control;
	uint64_t resets;
};

struct http2_stream {
	struct http_conn conn;
	TAILQ_ENTRY(http2_stream) link;
	struct http2 *http2;
	int32_t id;
	enum http_phase phase; /* READING, IN_BODY, PENDING, STREAMING, CLOSING, DEAD */
	/* the request */
	struct arena arena; /* of the head */
	struct http1_head head;
	struct http1_header *headers;
	unsigned headers_room;
	size_t head_size; /* as the same head would have in HTTP/1 */
	struct span authority;
	int bad; /* the head is to be refused with this */
	const char *bad_detail;
	struct buf body;
	size_t body_window; /* bytes of body since the body timer was started */
	size_t swallowed;   /* bytes of body after the answer */
	struct http_timer read_timer;
	bool screened; /* the owner was asked about the head */
	/* the answer */
	struct buf out; /* of its body, not yet in frames */
	size_t out_used;
	struct http_timer write_timer;
	size_t write_window;  /* bytes that went into frames since the write timer was started */
	uint64_t stream_left; /* of HTTP_STREAM_LENGTH */
	enum http_stream stream;
	bool is_head;
	bool without_body; /* what is written is dropped */
	bool out_ended;
	bool answered; /* all of the answer is out */
	bool deferred; /* libnghttp2 waits to be told that there is more */
	bool wants_writable;
};
TAILQ_HEAD(http2_streams, http2_stream);

struct http2 {
	struct http_socket *sock;
	nghttp2_session *session;
	struct http2_streams streams;
	unsigned nstreams;
	unsigned waiting;  /* streams that want to be told when they can be written to */
	size_t held;       /* bytes of bodies */
	size_t queued;     /* bytes of answers */
	size_t block_size; /* of the headers that are coming in */
	struct http2_calm calm;
	/* stream numbers that the client passed over, for good (RFC 9113 §5.1.1); the last such gap */
	int32_t gap_first, gap_last, last_id;
	bool greeted;    /* the client's first SETTINGS came */
	bool in_head;    /* a block of headers has begun and not ended */
	bool said_final; /* GOAWAY with the last stream */
	bool ending;     /* GOAWAY, and nothing more is read */
	bool told_half;
};

/* --- http2_session.c, for the socket ---------------------------------------------------------- */

/* The preface is there (not yet taken): from now on sock->http2. 0 or -ERR_NO_MEMORY. */
int http2_begin(struct http_socket *sock);
/* Everything that came. */
void http2_read(struct http2 *http2, struct span bytes);
/* Frames into the socket, as long as it takes them. */
void http2_send(struct http2 *http2);
/* Tell the streams that have room again. */
void http2_tell_writable(struct http2 *http2);
/* The client has closed its side. */
void http2_tell_half(struct http2 *http2);
/* After all that: is this the end? Sets the timers too. */
void http2_settle(struct http2 *http2);
bool http2_wants_read(const struct http2 *http2);
/* Nothing new is begun; what is there is finished (RFC 9113 §6.8). */
void http2_drain(struct http2 *http2);
void http2_timer(struct http2 *http2, enum http_timer_kind kind);
/* The socket is closing: every stream is over. */
void http2_abandon(struct http2 *http2);
/* NULL is accepted. */
void http2_free(struct http2 *http2);

/* --- http2_session.c, for its parts ----------------------------------------------------------- */

/* GOAWAY with this code (NGHTTP2_…), then the end. */
void http2_terminate(struct http2 *http2, uint32_t code);
/* Something is to leave: with the pump that runs, or one soon. */
void http2_wake(struct http2 *http2);

/* --- http2_stream.c --------------------------------------------------------------------------- */

/* NULL: no memory. */
struct http2_stream *http2_stream_new(struct http2 *http2, int32_t id);
void http2_stream_free(struct http2_stream *stream);
/* The whole head came; more: a body follows. */
void http2_stream_head(struct http2_stream *stream, bool more);
void http2_stream_body(struct http2_stream *stream, struct span piece);
/* The answer is out: what is coming of the request is not wanted. */
void http2_stream_answered(struct http2_stream *stream, bool request_ended);
/* The whole request came. */
void http2_stream_complete(struct http2_stream *stream);
/* Answer with an error of ours. */
void http2_stream_refuse(struct http2_stream *stream, int code, const char *detail);
/* It is over; by_client: not by the owner's doing. The memory stays until libnghttp2 has closed it. */
void http2_stream_leave(struct http2_stream *stream, bool by_client);
/* RST_STREAM (NGHTTP2_…), and it is over. */
void http2_stream_reset(struct http2_stream *stream, uint32_t code, bool by_client);
/* Head and body of the request are not needed any more. */
void http2_stream_release(struct http2_stream *stream);

/* --- http2_head.c ----------------------------------------------------------------------------- */

/* One header as it came. */
void http2_head_add(struct http2_stream *stream, struct span name, struct span value);
/* All came: stream->head is complete, or stream->bad says why it is refused. */
void http2_head_finish(struct http2_stream *stream, bool more);

/* --- http2_answer.c --------------------------------------------------------------------------- */

extern const struct http_protocol http2_protocol;
size_t http2_unsent(const struct http2_stream *stream);
void http2_out_free(struct http2_stream *stream);

/* --- http2_calm.c ----------------------------------------------------------------------------- */

/*
 * Each takes its toll of the client's allowance, which grows with time and with what was answered;
 * when it is used up the connection ends with ENHANCE_YOUR_CALM.
 */
void http2_calm_init(struct http2_calm *calm);
/* A frame came that carries nothing. */
void http2_calm_control(struct http2 *http2);
/* A stream ended before its answer. */
void http2_calm_reset(struct http2 *http2);
/* A frame with so many bytes of an answer left. */
void http2_calm_sent(struct http2 *http2, size_t bytes);
/* An answer left whole. */
void http2_calm_answered(struct http2 *http2);

#endif
