/* What may stand before HTTP on a connection: the PROXY protocol. Looked for in its first bytes. */
#include "http_internal.h"
#include "proxy_protocol.h"

static bool refuse(struct http_conn *conn, const char *detail)
{
	conn->fresh = false;
	conn->input = SPAN_NONE;
	http_input_refuse(conn, -ERR_BAD_HTTP, detail);
	return false;
}

static bool wait_for_more(struct http_conn *conn)
{
	if (!conn->preamble.len && buf_append_span(&conn->preamble, conn->input) < 0)
		conn->broken = true;
	conn->input = SPAN_NONE;
	return false;
}

static void take_client(struct http_conn *conn, const struct net_address *client)
{
	if (client->kind == NET_NONE)
		return;
	conn->peer = *client;
	net_format(client, conn->remote);
}

/*
 * What it was read from lives in conn->preamble when it came in pieces, until the connection ends.
 */
bool http_preamble_take(struct http_conn *conn)
{
	struct net_address client;
	struct err err;
	int r;

	if (!conn->may_have_proxy) {
		conn->fresh = false;
		if (proxy_preamble_begins(conn->input))
			return refuse(
				conn, "PROXY protocol from a peer that is not in trusted_proxies");
		return true;
	}
	if (conn->preamble.len) {
		if (buf_append_span(&conn->preamble, conn->input) < 0)
			return refuse(conn, "PROXY protocol: too much at once");
		conn->input = buf_span(&conn->preamble);
	}
	r = proxy_preamble_read(conn->input, &client, &err);
	if (r == 0)
		return wait_for_more(conn);
	if (r < 0 && r != -ERR_NOT_FOUND)
		return refuse(conn, err_text(&err));
	conn->fresh = false;
	if (r > 0) {
		take_client(conn, &client);
		conn->input = span_of(conn->input.p + r, conn->input.len - (size_t)r);
	}
	return true;
}
