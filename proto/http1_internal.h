/* Shared by the parts of the HTTP/1 reader; nobody else includes it. */
#ifndef GATEHOUSE_HTTP1_INTERNAL_H
#define GATEHOUSE_HTTP1_INTERNAL_H

#include "http1.h"

enum http1_state {
	HTTP1_IN_HEAD,
	HTTP1_IN_LENGTH,
	HTTP1_IN_CHUNKED,
	HTTP1_IN_EOF_BODY,
	HTTP1_AT_END,
	HTTP1_FAILED,
};

enum http1_chunk_state {
	CHUNK_SIZE_FIRST, /* a hex digit must come */
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER_FIRST, /* first byte of a trailer line, or of the line that ends the message
			      */
	CHUNK_TRAILER_NAME,
	CHUNK_TRAILER_VALUE,
	CHUNK_TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_STATE_MAX,
};

struct http1 {
	enum http1_kind kind;
	enum http1_state state;
	struct http1_limits limits;
	int error; /* in HTTP1_FAILED */
	bool has_head;
	bool head_response; /* the response being read answers HEAD */
	/* the head as it comes */
	struct buf raw;
	size_t line_start; /* of the line that is not complete yet */
	unsigned lines;    /* complete ones, start line included */
	unsigned empty_lines;
	struct http1_header *headers; /* owned; filled when the head is complete */
	struct http1_head head;
	/* the body */
	uint64_t body_seen; /* decoded bytes, announced chunks included */
	uint64_t remaining; /* of the length or of the chunk */
	enum http1_chunk_state chunk_state;
	unsigned chunk_digits;
	unsigned trailers;
	size_t chunk_extra; /* bytes of extensions and trailers so far */
};

/* http1_head.c: raw holds a complete head, `lines` lines and the empty one;
 * fills headers and head. */
int http1_parse_head(struct http1 *http, struct err *err);

/* http1_chunk.c: as http1_read, of a chunked body; HTTP1_COMPLETE after its last line. */
int http1_read_chunked(
	struct http1 *http, struct span *input, struct span *ret_body, struct err *err);

/* RFC 9110 §5.6.2 */
bool http1_is_token_char(unsigned char c);
bool http1_is_token(struct span s);

#endif
