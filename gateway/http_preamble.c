/*
 * The first bytes of a connection: the PROXY protocol may stand before HTTP, and HTTP/2 begins with a
 * preface of its own. That is so with TLS too (RFC 9113 §3.3): once ALPN has named "h2", the client
 * sends the preface.
 */
#include "http2_internal.h"
#include "proxy_protocol.h"

static bool refuse(struct http_socket *sock, const char *detail)
{
	sock->fresh = sock->undecided = false;
	sock->input = SPAN_NONE;
	http_input_refuse(sock, -ERR_BAD_HTTP, detail);
	return false;
}

/* What is left of the input may be the end of what was kept. */
static bool wait_for_more(struct http_socket *sock)
{
	struct buf *kept = &sock->preamble;

	if (kept->len)
		buf_consume(kept, kept->len - sock->input.len);
	else if (buf_append_span(kept, sock->input) < 0)
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

static bool take_proxy(struct http_socket *sock)
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

static bool decide(struct http_socket *sock)
{
	struct span input = sock->input;
	size_t n = input.len < HTTP2_PREFACE_LEN ? input.len : HTTP2_PREFACE_LEN;

	if (memcmp(input.p, HTTP2_PREFACE, n) != 0) {
		sock->undecided = false;
		return true;
	}
	if (n < HTTP2_PREFACE_LEN)
		return wait_for_more(sock);
	sock->undecided = false;
	if (http2_begin(sock) < 0)
		sock->broken = true;
	return !sock->broken;
}

/*
 * What it was read from lives in sock->preamble when it came in pieces, until the connection ends.
 */
bool http_preamble_take(struct http_socket *sock)
{
	if (sock->preamble.len) {
		if (buf_append_span(&sock->preamble, sock->input) < 0)
			return refuse(sock, "PROXY protocol: too much at once");
		sock->input = buf_span(&sock->preamble);
	}
	if (sock->fresh && !take_proxy(sock))
		return false;
	return decide(sock);
}
