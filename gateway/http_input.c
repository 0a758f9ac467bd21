/* What arrives on a connection: requests are read, collected and handed to the owner. */
#include "http2_internal.h"

#include <stdlib.h>

/* Part of an announced body that is made room for before it comes. */
#define BODY_FIRST_MAX (64u * 1024u)

size_t http_input_saved(const struct http_socket *sock)
{
	return sock->saved.len - sock->saved_used;
}

void http_input_free(struct http_socket *sock)
{
	buf_free(&sock->saved);
	sock->saved_used = 0;
	sock->input = SPAN_NONE;
}

void http_input_save(struct http_socket *sock)
{
	if (sock->input.len > 0 && buf_append_span(&sock->saved, sock->input) < 0)
		sock->broken = true;
	sock->input = SPAN_NONE;
}

void http_input_refuse(struct http_socket *sock, int code, const char *detail)
{
	struct http_server *server = sock->server;

	server->stats->refused++;
	/* to be answerable, whatever was or was not read of it; HEAD is only known when the head
	 * was */
	sock->phase = HTTP_IN_BODY;
	sock->keep_alive = false;
	sock->body_done = false;
	if (server->ops->refused)
		server->ops->refused(&sock->conn, code, detail, server->arg);
	if (sock->phase != HTTP_IN_BODY)
		return;
	if (http_conn_respond_error(&sock->conn, code, detail) < 0 && sock->phase != HTTP_DEAD)
		sock->broken = true;
}

void http_input_set_timer(struct http_socket *sock)
{
	enum http_timer_kind kind = sock->read_timer.kind;
	bool started = http1_started(sock->http);

	if (sock->phase == HTTP_IN_BODY) {
		if (kind != HTTP_TIMER_BODY) {
			sock->body_window = 0;
			http_timer_start(sock->server, &sock->read_timer, HTTP_TIMER_BODY);
		}
	} else if (sock->phase == HTTP_READING) {
		/* a new connection has the header timer already; only the wait between requests is
		 * longer */
		if (started ? kind != HTTP_TIMER_HEADER
			    : kind == HTTP_TIMER_NONE || kind == HTTP_TIMER_BODY)
			http_timer_start(sock->server, &sock->read_timer,
				started ? HTTP_TIMER_HEADER : HTTP_TIMER_IDLE);
	} else if (sock->phase != HTTP_LINGERING) {
		http_timer_stop(sock->server, &sock->read_timer);
	}
}

static void on_head(struct http_socket *sock)
{
	struct http_server *server = sock->server;
	const struct http1_head *head = http1_head(sock->http);

	sock->minor = head->minor;
	sock->is_head = span_is(head->method, "HEAD");
	sock->keep_alive = head->keep_alive;
	sock->body_done = head->framing == HTTP1_FRAMING_NONE;
	sock->owes_continue = head->expect_continue;
	sock->phase = HTTP_IN_BODY;
	http_timer_stop(server, &sock->read_timer);
	sock->body.max = server->limits.body;
	http1_set_body_limit(sock->http, server->limits.body);
	if (server->ops->head)
		server->ops->head(&sock->conn, head, server->arg);
}

static void on_body(struct http_socket *sock, struct span piece)
{
	const struct http1_head *head = http1_head(sock->http);
	size_t first = head && head->content_length < BODY_FIRST_MAX ? (size_t)head->content_length
								     : BODY_FIRST_MAX;
	int r = 0;

	sock->owes_continue = false;
	sock->body_window += piece.len;
	if (!sock->body.data && head && head->framing == HTTP1_FRAMING_LENGTH)
		r = buf_reserve(&sock->body, first);
	if (r == 0)
		r = buf_append_span(&sock->body, piece);
	if (r < 0)
		http_input_refuse(sock, r, "no room for the request's body");
}

static void on_complete(struct http_socket *sock)
{
	struct http_server *server = sock->server;
	struct http_request request = {
		.head = http1_head(sock->http),
		.body = buf_span(&sock->body),
	};

	sock->phase = HTTP_PENDING;
	sock->body_done = true;
	sock->told_half = false;
	server->stats->requests++;
	server->ops->request(&sock->conn, &request, server->arg);
}

/* Everything that came was taken: is the client waiting for leave to send its body? */
static void on_more(struct http_socket *sock)
{
	struct span go = SPAN_LIT("HTTP/1.1 100 Continue\r\n\r\n");

	if (sock->phase != HTTP_IN_BODY || !sock->owes_continue)
		return;
	sock->owes_continue = false;
	if (http_out_put(sock, &go, 1) < 0)
		sock->broken = true;
}

/* Bytes of another protocol: the owner takes them all, and may close the connection meanwhile. */
static void give_input(struct http_socket *sock)
{
	struct span bytes = sock->input;

	sock->input = SPAN_NONE;
	if (sock->phase == HTTP_STREAMING && !sock->broken)
		sock->server->ops->input(&sock->conn, bytes, sock->server->arg);
}

static void give_saved(struct http_socket *sock)
{
	struct buf saved = sock->saved;
	size_t used = sock->saved_used;

	if (sock->paused)
		return;
	/* out of reach of whoever frees the connection's buffers */
	buf_init(&sock->saved, saved.max);
	sock->saved_used = 0;
	sock->input = span_of(saved.data + used, saved.len - used);
	give_input(sock);
	buf_free(&saved);
}

void http_input_process(struct http_socket *sock)
{
	struct err err;
	struct span body = SPAN_NONE;

	if (sock->switched) {
		give_input(sock);
		return;
	}
	if (sock->http2) {
		http2_read(sock->http2, sock->input);
		sock->input = SPAN_NONE;
		return;
	}
	while ((sock->phase == HTTP_READING || sock->phase == HTTP_IN_BODY) && !sock->broken &&
		http_socket_unsent(sock) <= sock->server->limits.output) {
		int r = http1_read(sock->http, &sock->input, &body, &err);

		if (r < 0)
			http_input_refuse(sock, r, err.detail);
		else if (r == HTTP1_HEAD)
			on_head(sock);
		else if (r == HTTP1_BODY)
			on_body(sock, body);
		else if (r == HTTP1_COMPLETE)
			on_complete(sock);
		else
			return on_more(sock);
	}
}

void http_input_process_saved(struct http_socket *sock)
{
	size_t before = http_input_saved(sock);

	if (before == 0 || sock->phase == HTTP_DEAD)
		return;
	if (sock->switched) {
		give_saved(sock);
		return;
	}
	sock->input = span_of(sock->saved.data + sock->saved_used, before);
	http_input_process(sock);
	/* closed or wound up meanwhile: nothing is kept */
	if (http_input_saved(sock) == 0)
		return;
	sock->saved_used += before - sock->input.len;
	sock->input = SPAN_NONE;
	if (http_input_saved(sock) == 0)
		http_input_free(sock);
}
