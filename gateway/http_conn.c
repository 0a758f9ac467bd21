/* What the owner calls, whatever the protocol. */
#include "http_internal.h"

int http_conn_respond(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, struct span body)
{
	return conn->protocol->respond(conn, status, headers, nheaders, body);
}

int http_conn_begin(struct http_conn *conn, unsigned status, const struct http1_header *headers,
	unsigned nheaders, enum http_stream stream, uint64_t length)
{
	return conn->protocol->begin(conn, status, headers, nheaders, stream, length);
}

int http_conn_write(struct http_conn *conn, struct span data)
{
	return conn->protocol->write(conn, data);
}

int http_conn_end(struct http_conn *conn)
{
	return conn->protocol->end(conn);
}

void http_conn_close(struct http_conn *conn)
{
	conn->protocol->close(conn, false);
}

void http_conn_abort(struct http_conn *conn)
{
	conn->protocol->close(conn, true);
}

size_t http_conn_unsent(const struct http_conn *conn)
{
	return conn->protocol->unsent(conn);
}

void http_conn_release_request(struct http_conn *conn)
{
	conn->protocol->release_request(conn);
}

const char *http_conn_version(const struct http_conn *conn)
{
	return conn->protocol->version(conn);
}

void http_conn_pause(struct http_conn *conn, bool paused)
{
	struct http_socket *sock = conn->sock;

	if (!sock->switched || paused == sock->paused)
		return;
	sock->paused = paused;
	/* what came meanwhile has had its event already */
	sock->readable |= !paused;
	if (!paused && sock->phase == HTTP_STREAMING)
		http_server_queue(sock, HTTP_THIS_TURN);
}

void http_conn_set_data(struct http_conn *conn, void *data)
{
	conn->data = data;
}

void *http_conn_data(const struct http_conn *conn)
{
	return conn->data;
}

const struct net_address *http_conn_peer(const struct http_conn *conn)
{
	return &conn->sock->peer;
}

const char *http_conn_remote(const struct http_conn *conn)
{
	return conn->sock->remote;
}
