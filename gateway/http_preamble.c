/* What may stand before HTTP on a connection: the PROXY protocol. Looked for in its first bytes. */
#include "http_internal.h"
#include "proxy_protocol.h"

static bool refuse(struct http_socket *sock, const char *detail)
{
	sock->fresh = false;
	sock->input = SPAN_NONE;
	http_input_refuse(sock, -ERR_BAD_HTTP, detail);
	return false;
}

static bool wait_for_more(struct http_socket *sock)
{
	if (!sock->preamble.len && buf_append_span(&sock->preamble, sock->input) < 0)
		sock->broken = true;
	sock->input = SPAN_NONE;
	return false;
}

static void take_client(struct http_socket *sock, const struct net_address *client)
{
	if (client->kind == NET_NONE)
		return;
	sock->peer = *client;
	net_format(client, sock->remote);
}

/*
 * What it was read from lives in sock->preamble when it came in pieces, until the connection ends.
 */
bool http_preamble_take(struct http_socket *sock)
{
	struct net_address client;
	struct err err;
	int r;

	if (!sock->may_have_proxy) {
		sock->fresh = false;
		if (proxy_preamble_begins(sock->input))
			return refuse(
				sock, "PROXY protocol from a peer that is not in trusted_proxies");
		return true;
	}
	if (sock->preamble.len) {
		if (buf_append_span(&sock->preamble, sock->input) < 0)
			return refuse(sock, "PROXY protocol: too much at once");
		sock->input = buf_span(&sock->preamble);
	}
	r = proxy_preamble_read(sock->input, &client, &err);
	if (r == 0)
		return wait_for_more(sock);
	if (r < 0 && r != -ERR_NOT_FOUND)
		return refuse(sock, err_text(&err));
	sock->fresh = false;
	if (r > 0) {
		take_client(sock, &client);
		sock->input = span_of(sock->input.p + r, sock->input.len - (size_t)r);
	}
	return true;
}
