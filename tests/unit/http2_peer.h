/* A client of HTTP/2 on libnghttp2, for the server of http_peer.h. */
#ifndef GATEHOUSE_HTTP2_PEER_H
#define GATEHOUSE_HTTP2_PEER_H

#include "http_peer.h"

#include <nghttp2/nghttp2.h>

#define H2_STREAMS_MAX 512u
#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* What was seen of one stream. */
struct h2_stream {
	int32_t id;
	unsigned status, informed; /* informed: how often 100 came */
	struct buf body;
	char type[64]; /* content-type */
	size_t length; /* content-length */
	bool ended;    /* END_STREAM came */
	bool closed;
	uint32_t error; /* of the end */
	/* what it sends */
	size_t to_send;
	bool open_ended; /* the body has no end */
};

struct h2_client {
	struct client client;
	nghttp2_session *session;
	size_t fed; /* bytes of client.in that the session has */
	struct h2_stream streams[H2_STREAMS_MAX];
	unsigned n;
	unsigned goaways;
	uint32_t goaway_code;
	int32_t goaway_last;
	uint32_t max_streams; /* of the server's SETTINGS */
	unsigned pongs;
};

/* manual: windows are opened only by h2_consume. */
void h2_open(struct h2_client *h2, struct peer *peer, bool manual);
void h2_close(struct h2_client *h2);
/* A request without a body. Its place in streams. */
unsigned h2_get(struct h2_client *h2, const char *path);
/* One with a body of so many bytes 'x'; length: whether it is announced; more headers: name, value, …, NULL. */
unsigned h2_post(struct h2_client *h2, const char *path, size_t body, bool length,
	const char *const *more);
unsigned h2_ask(struct h2_client *h2, const char *method, const char *path, const char *const *more);
void h2_reset(struct h2_client *h2, unsigned i);
/* Open the windows for what was received of that stream, n bytes. */
void h2_consume(struct h2_client *h2, unsigned i, size_t n);
/* Send and receive what can be, for so long. */
void h2_run(struct h2_client *h2, unsigned ms);
/* Until that stream is closed; false after 5 seconds. */
bool h2_wait(struct h2_client *h2, unsigned i);
/* Until the stream has so many bytes of its answer's body. */
bool h2_wait_body(struct h2_client *h2, unsigned i, size_t len);
/* Until GOAWAY came, or so many of them. */
bool h2_wait_goaway(struct h2_client *h2, unsigned n);
/* Until the server has closed the connection. */
bool h2_wait_closed(struct h2_client *h2);

/* One frame as bytes, sent as it is, beside the session. */
void h2_frame(struct client *client, uint8_t type, uint8_t flags, int32_t stream,
	const void *payload, size_t len);

#endif
