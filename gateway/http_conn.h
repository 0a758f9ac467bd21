/*
 * What a request comes on and its answer leaves by. Requests are handed to the owner (struct
 * http_server_ops) one at a time, in order, each with its whole body; answers are written with the
 * functions here. It is a connection of HTTP/1, which brings one request after the other, or a stream
 * of HTTP/2, which brings one and has a connection in common with others: peer and remote are that
 * one's, closing and cutting end the stream alone (RST_STREAM), and it is gone once its answer is out.
 *
 * Protocol errors, limits and timeouts are answered by the connection itself, with a JSON-RPC error
 * as body, and the connection is closed after the client had a chance to read it. An idle
 * connection owns no buffer.
 */
#ifndef GATEHOUSE_HTTP_CONN_H
#define GATEHOUSE_HTTP_CONN_H

#include "http1.h"
#include "http_server.h"
#include "http_transport.h"

/* How the body of a streamed response ends. */
enum http_stream {
	HTTP_STREAM_CHUNKED, /* chunked; for an HTTP/1.0 client until close */
	HTTP_STREAM_SSE, /* as CHUNKED, with text/event-stream, no-store and X-Accel-Buffering: no
			  */
	HTTP_STREAM_LENGTH, /* exactly length bytes */
};

/*
 * Take over a connected transport (closed too when this fails); its first bytes tell whether it
 * speaks HTTP/1 or HTTP/2. peer is copied. Returns 0, -ERR_NO_MEMORY, -ERR_TOO_MANY. Nothing is
 * called back before it returns, but `opened`.
 */
int http_conn_new(struct http_server *server, const struct http_transport *transport,
	const struct net_address *peer, struct http_conn **ret_conn);

/*
 * Take over a plain connection that another process had (http_server_hand_over); its descriptor is
 * closed too when this fails. Errors as above.
 */
int http_conn_adopt(struct http_server *server, const struct http_idle *idle);

/* Close at once; what is unsent is lost. `closed` is called before this returns. */
void http_conn_close(struct http_conn *conn);

/*
 * The whole answer. Adds Content-Length (not for 204 and 304; for HEAD without sending the body),
 * Date and Connection; headers must not hold those or Transfer-Encoding. status 200 … 599.
 * Everything is copied or sent before it returns. Returns 0; -ERR_CLOSED when the client is gone or
 * no request is waiting for an answer (nothing done); -ERR_INVALID_ARGUMENT for a header that must
 * not be written; -ERR_TOO_LARGE beyond limits.response; -ERR_NO_MEMORY.
 */
int http_conn_respond(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span body);

/* An answer in Gatehouse's own error form, status and code from errors.def:
 * {"jsonrpc":"2.0","id":null,"error":…}. */
int http_conn_respond_error(struct http_conn *conn, int code, const char *detail);

/*
 * Begin a streamed answer: the head is queued, and leaves with what is written in the same turn of
 * the loop. length only for HTTP_STREAM_LENGTH. For HEAD, 204 and 304 whatever is written
 * afterwards is accepted and dropped. Returns as http_conn_respond.
 */
int http_conn_begin(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, enum http_stream stream, uint64_t length);

/*
 * A piece of the body (copied). Returns 0; -ERR_AGAIN when limits.output would be passed: nothing
 * queued, `writable` will be called; -ERR_TOO_LARGE when longer than limits.output or than what is
 * left of a given length; -ERR_CLOSED; -ERR_NO_MEMORY.
 */
int http_conn_write(struct http_conn *conn, struct span data);

/*
 * The answer is complete; the next request comes at the end of this turn of the loop. If a given
 * length was not reached, the connection is closed: the client must not take a cut answer for a
 * whole one. Returns 0 or -ERR_CLOSED.
 */
int http_conn_end(struct http_conn *conn);

/* Cut a begun answer so that the client sees that it is not whole: closes the connection, with a
 * reset. */
void http_conn_abort(struct http_conn *conn);

/* Bytes accepted and not yet taken by the socket. */
size_t http_conn_unsent(const struct http_conn *conn);

/* The request's head and body are no longer needed (before a long stream): frees them. */
void http_conn_release_request(struct http_conn *conn);

/*
 * Leave HTTP, instead of an answer (WebSocket): 101 with these headers, which name the protocol in
 * Upgrade; Connection is added. From here on the connection carries bytes: what comes goes to
 * `input`, what http_conn_write takes leaves as it is, http_conn_end closes once that is out. The
 * request's head and body are gone. Allowed while a request of HTTP/1.1 waits for its answer.
 * Returns 0, -ERR_CLOSED, -ERR_INVALID_ARGUMENT, -ERR_NO_MEMORY.
 */
int http_conn_switch(
	struct http_conn *conn, const struct http1_header *headers, unsigned nheaders);

/* After http_conn_switch: take nothing in for now, or go on. */
void http_conn_pause(struct http_conn *conn, bool paused);

/* Of HTTP, as it is written in logs: "1.1". */
const char *http_conn_version(const struct http_conn *conn);

/* Something of the owner's; NULL at first. */
void http_conn_set_data(struct http_conn *conn, void *data);
void *http_conn_data(const struct http_conn *conn);

/*
 * Who is at the other end: the peer of the socket, or for whom it speaks by the PROXY protocol
 * (asked for by http_server_ops.trusts). http_conn_remote: the same for logs, "192.0.2.1:4711",
 * "[2001:db8::1]:4711" or "unix". Both live as long as conn.
 */
const struct net_address *http_conn_peer(const struct http_conn *conn);
const char *http_conn_remote(const struct http_conn *conn);

#endif
