/*
 * HTTP/1.0 and 1.1 messages (RFC 9110, 9112): a reader for requests and for responses, and writers.
 *
 * The reader is strict where leniency lets a message be understood in two ways (request smuggling):
 * bare LF or CR, folded lines, whitespace before a colon, Content-Length beside Transfer-Encoding,
 * Content-Length more than once or not plain digits, codings other than a single "chunked", chunk
 * sizes that are not plain hex, a 1.1 request without exactly one Host. The start line and the
 * header lines are parsed by llhttp once the head is complete; the framing of the body is done
 * here, because llhttp accepts chunk extensions without bound.
 *
 * Not linked by session workers: dependency `http1`.
 */
#ifndef GATEHOUSE_HTTP1_H
#define GATEHOUSE_HTTP1_H

#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

enum http1_kind { HTTP1_REQUEST, HTTP1_RESPONSE };

/* What http1_read saw; errors are negative, so that one int carries both. */
enum http1_event {
	HTTP1_MORE,     /* all input used, more is needed */
	HTTP1_HEAD,     /* start line and headers are there: http1_head */
	HTTP1_BODY,     /* a piece of the body, chunk framing removed */
	HTTP1_COMPLETE, /* the message ended; http1_next makes ready for the following one */
};

enum http1_framing {
	HTTP1_FRAMING_NONE,   /* no body */
	HTTP1_FRAMING_LENGTH, /* content_length bytes, more than 0 */
	HTTP1_FRAMING_CHUNKED,
	HTTP1_FRAMING_EOF, /* responses only: until the peer closes */
};

struct http1_limits {
	size_t head;      /* bytes of start line and headers together, line ends included; also of
			     trailers */
	size_t target;    /* bytes of the request target */
	unsigned headers; /* number of header lines */
	uint64_t body;    /* bytes of the decoded body; UINT64_MAX for no limit (a stream) */
};

struct http1_header {
	struct span name;  /* as it came; compare with http1_name_is */
	struct span value; /* without surrounding whitespace */
};

/* All spans point into the reader and live until http1_next, http1_release or http1_free. */
struct http1_head {
	/* requests */
	struct span method; /* "GET"; case-sensitive */
	struct span target; /* as it came */
	struct span path;   /* the target from the path on, without query ("*" for OPTIONS *) */
	struct span query;  /* after the '?', SPAN_NONE when there is none */
	struct span host;   /* authority of an absolute-form target, else the Host header, else
			       SPAN_NONE */
	/* responses */
	unsigned status; /* 100 … 599 */
	struct span reason;
	/* both */
	unsigned minor; /* 1 for HTTP/1.1, 0 for HTTP/1.0 */
	const struct http1_header *headers;
	unsigned nheaders;
	enum http1_framing framing;
	uint64_t content_length; /* with FRAMING_LENGTH, and of a response to HEAD when given; else
				    0 */
	bool keep_alive;         /* the connection may be used again after this message */
	bool expect_continue;    /* Expect: 100-continue in a 1.1 request with a body */
	bool upgrade;            /* an Upgrade header and "upgrade" in Connection */
};

struct http1;

/* limits are copied. Small (under 400 bytes): buffers exist only while a message is being read.
 * NULL: no memory. */
struct http1 *http1_new(enum http1_kind kind, const struct http1_limits *limits);
void http1_free(struct http1 *http); /* NULL is accepted */

/*
 * Read on. Takes bytes from the front of *input (advancing it) until there is something to say:
 *   HTTP1_MORE      *input is empty
 *   HTTP1_HEAD      see http1_head
 *   HTTP1_BODY      *ret_body is a piece of the body, not empty; it points into what was in *input
 *   HTTP1_COMPLETE  the message is over; what is left in *input belongs to the next one. Said
 *                   again, taking nothing, until http1_next is called: that is the pause between
 *                   pipelined messages.
 * Errors are final (the same code again until http1_free), with a sentence in err:
 *   -ERR_BAD_HTTP              not HTTP, or ambiguous: 400
 *   -ERR_HEADERS_TOO_LARGE     431
 *   -ERR_URI_TOO_LONG          414
 *   -ERR_TOO_LARGE             body announced or seen larger than limits.body: 413
 *   -ERR_HTTP_NOT_IMPLEMENTED  unknown method or transfer coding: 501
 *   -ERR_HTTP_VERSION          505
 *   -ERR_NO_MEMORY
 * A body announced too large is refused by the first call after HTTP1_HEAD, so that who sees the
 * head may still set another limit.
 */
int http1_read(struct http1 *http, struct span *input, struct span *ret_body, struct err *err);

/*
 * The peer will send no more. HTTP1_COMPLETE when that ends a response's body properly (or the
 * message was complete already), HTTP1_MORE when no byte of a message had come (a clean end), else
 * -ERR_BAD_HTTP: cut in the middle.
 */
int http1_finish(struct http1 *http, struct err *err);

/* Forget the complete message and free its memory; ready for the next. */
void http1_next(struct http1 *http);

/* Free the head's memory early (for streams that last):
 * http1_head is NULL until the next message. */
void http1_release(struct http1 *http);

/* A new limits.body from now on, for the body that is being read too
 * (checked as its bytes come). */
void http1_set_body_limit(struct http1 *http, uint64_t max);

/* The next response answers a HEAD request: it has no body. Holds until the next final (not 1xx)
 * response ended. */
void http1_set_head_response(struct http1 *http);

/* The head, from HTTP1_HEAD on; NULL before. */
const struct http1_head *http1_head(const struct http1 *http);

/* Has any byte of the current message been taken? (Empty lines before it do not count.) */
bool http1_started(const struct http1 *http);

/* ASCII case-insensitive comparison with a name (any case). */
bool http1_name_is(struct span name, const char *literal);

/* Value of the first header of that name, or SPAN_NONE (p == NULL).
 * An empty value has p != NULL. */
struct span http1_header_get(const struct http1_head *head, const char *name);

/* How many header lines of that name there are. */
unsigned http1_header_count(const struct http1_head *head, const char *name);

/* Is token (case-insensitive) a member of the comma-separated lists in all headers of that name? */
bool http1_header_has_token(const struct http1_head *head, const char *name, const char *token);

/* --- writers: each returns 0 or the buffer's error, having appended all or nothing --- */

/* "POST /mcp HTTP/1.1\r\n". -ERR_INVALID_ARGUMENT when method or target holds a space or control
 * character. */
int http1_write_request_line(struct buf *out, struct span method, struct span target);

/* "HTTP/1.1 200 OK\r\n"; always 1.1, whatever the client spoke (RFC 9110 §2.5).
 * status 100 … 599. */
int http1_write_status_line(struct buf *out, unsigned status);

/* "name: value\r\n". -ERR_INVALID_ARGUMENT when name is not a token or value holds a control
 * character but tab. */
int http1_write_header(struct buf *out, struct span name, struct span value);
int http1_write_header_uint(struct buf *out, struct span name, uint64_t value);

/* The empty line. */
int http1_write_head_end(struct buf *out);

/* One chunk with its framing; nothing at all for empty data (that would end the body). */
int http1_write_chunk(struct buf *out, struct span data);

/* The chunk that ends a body, without trailers. */
int http1_write_last_chunk(struct buf *out);

/* The line before a chunk's data alone, for gathered writes: "\r\n" must follow the data. Returns
 * its length. */
#define HTTP1_CHUNK_LINE_MAX 18
size_t http1_chunk_line(char out[HTTP1_CHUNK_LINE_MAX], size_t len);

/* "Not Found" for 404; "Unknown" for what is in no table. */
const char *http1_reason(unsigned status);

#endif
