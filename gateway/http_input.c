/* What arrives on a connection: requests are read, collected and handed to the owner. */
#include "http_internal.h"

#include <stdlib.h>

/* Part of an announced body that is made room for before it comes. */
#define BODY_FIRST_MAX (64u * 1024u)

size_t http_input_saved(const struct http_conn *conn)
{
	return conn->saved.len - conn->saved_used;
}

void http_input_free(struct http_conn *conn)
{
	buf_free(&conn->saved);
	conn->saved_used = 0;
	conn->input = SPAN_NONE;
}

void http_input_save(struct http_conn *conn)
{
	if (conn->input.len > 0 && buf_append_span(&conn->saved, conn->input) < 0)
		conn->broken = true;
	conn->input = SPAN_NONE;
}

void http_input_refuse(struct http_conn *conn, int code, const char *detail)
{
	struct http_server *server = conn->server;

	server->stats->refused++;
	/* to be answerable, whatever was or was not read of it; HEAD is only known when the head
	 * was */
	conn->phase = HTTP_IN_BODY;
	conn->keep_alive = false;
	conn->body_done = false;
	if (server->ops->refused)
		server->ops->refused(conn, code, detail, server->arg);
	if (conn->phase != HTTP_IN_BODY)
		return;
	if (http_conn_respond_error(conn, code, detail) < 0 && conn->phase != HTTP_DEAD)
		conn->broken = true;
}

void http_input_set_timer(struct http_conn *conn)
{
	enum http_timer_kind kind = conn->read_timer.kind;
	bool started = http1_started(conn->http);

	if (conn->phase == HTTP_IN_BODY) {
		if (kind != HTTP_TIMER_BODY) {
			conn->body_window = 0;
			http_timer_start(conn->server, &conn->read_timer, HTTP_TIMER_BODY);
		}
	} else if (conn->phase == HTTP_READING) {
		/* a new connection has the header timer already; only the wait between requests is
		 * longer */
		if (started ? kind != HTTP_TIMER_HEADER
			    : kind == HTTP_TIMER_NONE || kind == HTTP_TIMER_BODY)
			http_timer_start(conn->server, &conn->read_timer,
				started ? HTTP_TIMER_HEADER : HTTP_TIMER_IDLE);
	} else if (conn->phase != HTTP_LINGERING) {
		http_timer_stop(conn->server, &conn->read_timer);
	}
}

static void on_head(struct http_conn *conn)
{
	struct http_server *server = conn->server;
	const struct http1_head *head = http1_head(conn->http);

	conn->minor = head->minor;
	conn->is_head = span_is(head->method, "HEAD");
	conn->keep_alive = head->keep_alive;
	conn->body_done = head->framing == HTTP1_FRAMING_NONE;
	conn->owes_continue = head->expect_continue;
	conn->phase = HTTP_IN_BODY;
	http_timer_stop(server, &conn->read_timer);
	conn->body.max = server->limits.body;
	http1_set_body_limit(conn->http, server->limits.body);
	if (server->ops->head)
		server->ops->head(conn, head, server->arg);
}

static void on_body(struct http_conn *conn, struct span piece)
{
	const struct http1_head *head = http1_head(conn->http);
	size_t first = head && head->content_length < BODY_FIRST_MAX ? (size_t)head->content_length
								     : BODY_FIRST_MAX;
	int r = 0;

	conn->owes_continue = false;
	conn->body_window += piece.len;
	if (!conn->body.data && head && head->framing == HTTP1_FRAMING_LENGTH)
		r = buf_reserve(&conn->body, first);
	if (r == 0)
		r = buf_append_span(&conn->body, piece);
	if (r < 0)
		http_input_refuse(conn, r, "no room for the request's body");
}

static void on_complete(struct http_conn *conn)
{
	struct http_server *server = conn->server;
	struct http_request request = {
		.head = http1_head(conn->http),
		.body = buf_span(&conn->body),
	};

	conn->phase = HTTP_PENDING;
	conn->body_done = true;
	conn->told_half = false;
	server->stats->requests++;
	server->ops->request(conn, &request, server->arg);
}

/* Everything that came was taken: is the client waiting for leave to send its body? */
static void on_more(struct http_conn *conn)
{
	struct span go = SPAN_LIT("HTTP/1.1 100 Continue\r\n\r\n");

	if (conn->phase != HTTP_IN_BODY || !conn->owes_continue)
		return;
	conn->owes_continue = false;
	if (http_out_put(conn, &go, 1) < 0)
		conn->broken = true;
}

/* Bytes of another protocol: the owner takes them all, and may close the connection meanwhile. */
static void give_input(struct http_conn *conn)
{
	struct span bytes = conn->input;

	conn->input = SPAN_NONE;
	if (conn->phase == HTTP_STREAMING && !conn->broken)
		conn->server->ops->input(conn, bytes, conn->server->arg);
}

static void give_saved(struct http_conn *conn)
{
	struct buf saved = conn->saved;
	size_t used = conn->saved_used;

	if (conn->paused)
		return;
	/* out of reach of whoever frees the connection's buffers */
	buf_init(&conn->saved, saved.max);
	conn->saved_used = 0;
	conn->input = span_of(saved.data + used, saved.len - used);
	give_input(conn);
	buf_free(&saved);
}

void http_input_process(struct http_conn *conn)
{
	struct err err;
	struct span body = SPAN_NONE;

	if (conn->switched) {
		give_input(conn);
		return;
	}
	while ((conn->phase == HTTP_READING || conn->phase == HTTP_IN_BODY) && !conn->broken &&
		http_conn_unsent(conn) <= conn->server->limits.output) {
		int r = http1_read(conn->http, &conn->input, &body, &err);

		if (r < 0)
			http_input_refuse(conn, r, err.detail);
		else if (r == HTTP1_HEAD)
			on_head(conn);
		else if (r == HTTP1_BODY)
			on_body(conn, body);
		else if (r == HTTP1_COMPLETE)
			on_complete(conn);
		else
			return on_more(conn);
	}
}

void http_input_process_saved(struct http_conn *conn)
{
	size_t before = http_input_saved(conn);

	if (before == 0 || conn->phase == HTTP_DEAD)
		return;
	if (conn->switched) {
		give_saved(conn);
		return;
	}
	conn->input = span_of(conn->saved.data + conn->saved_used, before);
	http_input_process(conn);
	/* closed or wound up meanwhile: nothing is kept */
	if (http_input_saved(conn) == 0)
		return;
	conn->saved_used += before - conn->input.len;
	conn->input = SPAN_NONE;
	if (http_input_saved(conn) == 0)
		http_input_free(conn);
}
