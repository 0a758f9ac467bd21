/*
 * A server over WebSocket: one JSON message per text message, subprotocol "mcp", as the official
 * SDKs speak it. One connection is one conversation.
 */
#include "connection.h"
#include "log.h"
#include "transport.h"
#include "websocket.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <utlist.h>

#define SUBPROTOCOL "mcp"
/* From our close frame to the server's. */
#define FAREWELL_MS 2000u
/* Messages are handed on together up to this; what was handed on cannot be taken back. */
#define BATCH (64u * 1024u)
/* One batch: one message more than that, and their frames. */
#define OUT_MAX (96u * 1024u * 1024u)

struct line {
	struct line *prev, *next;
	uint64_t id;
	size_t len;
	char data[];
};

/* Of the whole process. */
struct ws_host {
	struct upstream *up;
	struct url url;
	struct connections *connections;
	struct ws *farewells; /* closed by us, not yet by the server */
};

struct ws {
	struct transport base;
	struct ws *prev, *next; /* among the farewells */
	struct ws_host *host;
	const struct transport_events *events;
	void *arg;
	struct connection *connection; /* NULL: it is gone */
	struct websocket *socket;      /* NULL until the handshake is done */
	struct buf *out;               /* while frames are gathered */
	char key[WEBSOCKET_KEY_SIZE];
	struct line *queue;
	size_t n_queue, queue_bytes;
	struct event *flush, *timer;
	bool negotiated;
	bool heard, pinged; /* since the timer's last tick */
	bool closed;        /* our side is through with it */
	bool busy, dead;    /* freed when the work at hand is done */
};

static struct ws *ws_of(struct transport *transport)
{
	return (struct ws *)transport;
}

/* --- ends ------------------------------------------------------------------------------------ */

static void drop_queue(struct ws *ws)
{
	struct line *line, *next;

	DL_FOREACH_SAFE(ws->queue, line, next)
	{
		DL_DELETE(ws->queue, line);
		free(line);
	}
	ws->n_queue = ws->queue_bytes = 0;
}

static void ws_free(struct ws *ws)
{
	if (ws->connection)
		connection_abort(ws->connection);
	ws->connection = NULL;
	event_del(ws->timer);
	event_del(ws->flush);
	if (ws->busy) {
		ws->dead = true;
		return;
	}
	if (ws->closed && ws->prev)
		DL_DELETE(ws->host->farewells, ws);
	drop_queue(ws);
	websocket_free(ws->socket);
	event_free(ws->timer);
	event_free(ws->flush);
	free(ws);
}

/* Callbacks may close the transport: it is freed only after them. */
static void work_begin(struct ws *ws)
{
	ws->busy = true;
}

static void work_end(struct ws *ws)
{
	ws->busy = false;
	if (ws->dead)
		ws_free(ws);
}

/* The callee closes the transport. */
static void fail(struct ws *ws, enum err_code code, const char *detail)
{
	struct err err = {0};

	if (ws->closed)
		return;
	err_set(&err, code, "%s", detail);
	ws->events->closed(ws->arg, &err);
}

static void set_timer(struct ws *ws, uint64_t ms)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	event_add(ws->timer, &tv);
}

/* --- writing --------------------------------------------------------------------------------- */

static void drop_line(struct ws *ws, struct line *line)
{
	DL_DELETE(ws->queue, line);
	ws->n_queue--;
	ws->queue_bytes -= line->len;
	free(line);
}

static size_t on_put(void *arg, struct span bytes)
{
	struct ws *ws = arg;

	return buf_append_span(ws->out, bytes) < 0 ? 0 : bytes.len;
}

static int gather(struct ws *ws, struct buf *out)
{
	int r = 0;

	ws->out = out;
	websocket_flush(ws->socket);
	while (r == 0 && ws->queue && out->len < BATCH && !out->failed) {
		r = websocket_send(ws->socket, span_of(ws->queue->data, ws->queue->len));
		if (r < 0)
			break;
		drop_line(ws, ws->queue);
		websocket_flush(ws->socket);
	}
	ws->out = NULL;
	/* the server takes the answers to its pings */
	websocket_pardon(ws->socket);
	if (out->failed)
		return -ERR_NO_MEMORY;
	/* what waits behind a close frame is not sent, and not an error of its own */
	return r == -ERR_CLOSED ? 0 : r;
}

static void write_queue(struct ws *ws)
{
	struct buf out;
	bool written = true;

	while (written && ws->connection && ws->socket && !connection_is_full(ws->connection)) {
		buf_init(&out, OUT_MAX);
		if (gather(ws, &out) < 0) {
			buf_free(&out);
			fail(ws, ERR_NO_MEMORY, "no memory for a message");
			return;
		}
		written = out.len > 0 && connection_write(ws->connection, &out);
	}
}

/* Both sides have said that they are through. */
static bool is_over(const struct ws *ws)
{
	return ws->closed && (!ws->socket || !ws->connection ||
				     (websocket_close_received(ws->socket) &&
					     !connection_is_full(ws->connection)));
}

static void go_on(struct ws *ws)
{
	write_queue(ws);
	if (is_over(ws))
		ws_free(ws);
}

static void on_drained(void *arg)
{
	struct ws *ws = arg;

	work_begin(ws);
	go_on(ws);
	work_end(ws);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	on_drained(arg);
}

/* --- reading --------------------------------------------------------------------------------- */

static void on_message(void *arg, struct span text)
{
	struct ws *ws = arg;

	if (!ws->closed)
		ws->events->message(ws->arg, text, 0);
}

static const struct websocket_ops frame_ops = {.message = on_message, .put = on_put};

/* The server has closed, or was cut off for what it sent. */
static void end(struct ws *ws, const struct err *err)
{
	char detail[ERR_DETAIL_MAX];

	if (err->code == -ERR_CLOSED) {
		fail(ws, ERR_SERVER_DIED, err_text(err));
	} else if (err->code == -ERR_TOO_LARGE) {
		fail(ws, ERR_SERVER_GARBAGE, "it sent a message longer than maxMessage");
	} else {
		snprintf(detail, sizeof(detail), "over its WebSocket %.400s", err_text(err));
		fail(ws, ERR_SERVER_GARBAGE, detail);
	}
}

static void on_body(void *arg, struct span piece)
{
	struct ws *ws = arg;
	struct err err = {0};

	work_begin(ws);
	ws->heard = true;
	if (websocket_read(ws->socket, piece, &err) < 0)
		end(ws, &err);
	if (!ws->dead)
		go_on(ws);
	work_end(ws);
}

static void on_failed(void *arg, const struct err *err, bool written, bool stale)
{
	struct ws *ws = arg;

	(void)written;
	(void)stale;
	ws->connection = NULL;
	work_begin(ws);
	if (ws->closed)
		ws_free(ws);
	else
		ws->events->closed(ws->arg, err);
	work_end(ws);
}

/* --- the opening handshake (RFC 6455 §4.1) --------------------------------------------------- */

/* Headers that are ours to write, whatever the configuration says. */
static bool is_reserved(const char *name)
{
	static const char *const names[] = {"connection", "content-length", "host", "te", "trailer",
		"transfer-encoding", "upgrade"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return strncasecmp(name, "sec-websocket-", 14) == 0;
}

static void header(struct buf *out, const char *name, const char *value)
{
	http1_write_header(out, span_str(name), span_str(value));
}

static int write_request(const struct ws *ws, struct buf *out)
{
	const struct config_map *extra = &ws->host->up->server->headers;
	bool agent = false;

	http1_write_request_line(out, SPAN_LIT("GET"), span_str(ws->host->url.target));
	header(out, "Host", ws->host->url.authority);
	header(out, "Upgrade", "websocket");
	header(out, "Connection", "Upgrade");
	header(out, "Sec-WebSocket-Key", ws->key);
	header(out, "Sec-WebSocket-Version", "13");
	header(out, "Sec-WebSocket-Protocol", SUBPROTOCOL);
	for (size_t i = 0; i < extra->count; i++) {
		if (is_reserved(extra->items[i].name))
			continue;
		agent = agent || strcasecmp(extra->items[i].name, "user-agent") == 0;
		header(out, extra->items[i].name, extra->items[i].value.p);
	}
	if (!agent)
		header(out, "User-Agent", "gatehouse/" GATEHOUSE_VERSION);
	return http1_write_head_end(out);
}

/* NULL, or what is wrong with the server's side of it. */
static const char *check_response(const struct ws *ws, const struct http1_head *head)
{
	char accept[WEBSOCKET_ACCEPT_SIZE];
	struct span protocol = http1_header_get(head, "sec-websocket-protocol");

	if (!head->upgrade || !http1_header_has_token(head, "upgrade", "websocket"))
		return "it switches to another protocol than WebSocket";
	if (websocket_accept(span_str(ws->key), accept) < 0 ||
		http1_header_count(head, "sec-websocket-accept") != 1 ||
		!span_is(http1_header_get(head, "sec-websocket-accept"), accept))
		return "its Sec-WebSocket-Accept does not answer our key";
	if (http1_header_count(head, "sec-websocket-extensions") > 0)
		return "it uses a WebSocket extension, which was not offered";
	/* some servers leave it out, and speak MCP all the same */
	if (protocol.len && !span_is(protocol, SUBPROTOCOL))
		return "it chose another WebSocket subprotocol than " SUBPROTOCOL;
	return NULL;
}

static void on_switched(void *arg, const struct http1_head *head)
{
	struct ws *ws = arg;
	const char *wrong = check_response(ws, head);

	work_begin(ws);
	if (!wrong) {
		ws->socket = websocket_new(WEBSOCKET_CLIENT,
			(size_t)ws->host->up->server->max_message, OUT_MAX, &frame_ops, ws);
		wrong = ws->socket ? NULL : "no memory for a WebSocket";
	}
	if (wrong) {
		fail(ws, ERR_PROTOCOL, wrong);
	} else {
		set_timer(ws, (uint64_t)ws->host->up->server->ping_interval);
		ws->events->opened(ws->arg);
	}
	work_end(ws);
}

/* Any response but 101. */
static void on_head(void *arg, const struct http1_head *head)
{
	struct ws *ws = arg;
	char detail[160];

	snprintf(detail, sizeof(detail), "it answered the WebSocket handshake with HTTP %u %.60s",
		head->status, http1_reason(head->status));
	work_begin(ws);
	fail(ws, ERR_SERVER_DOWN, detail);
	work_end(ws);
}

/* on_head has closed the transport before the connection could say so. */
static void on_complete(void *arg)
{
	((struct ws *)arg)->connection = NULL;
}

static const struct connection_events events = {.head = on_head,
	.body = on_body,
	.complete = on_complete,
	.failed = on_failed,
	.switched = on_switched,
	.drained = on_drained};

/* --- time ------------------------------------------------------------------------------------ */

/* A quiet connection is pinged, which also keeps proxies from closing it. */
static void keep_alive(struct ws *ws)
{
	if (!ws->heard && ws->pinged) {
		fail(ws, ERR_SERVER_DIED, "it did not answer a ping within pingInterval");
		return;
	}
	ws->pinged = !ws->heard;
	ws->heard = false;
	if (ws->pinged)
		websocket_ping(ws->socket);
	write_queue(ws);
	if (!ws->dead && !ws->closed)
		set_timer(ws, (uint64_t)ws->host->up->server->ping_interval);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct ws *ws = arg;

	(void)fd;
	(void)what;
	work_begin(ws);
	if (ws->closed)
		ws_free(ws);
	else
		keep_alive(ws);
	work_end(ws);
}

/* --- operations ------------------------------------------------------------------------------ */

static int ws_send(struct transport *transport, const struct transport_message *msg)
{
	struct ws *ws = ws_of(transport);
	struct line *line;

	if (ws->closed || !ws->connection || !ws->socket)
		return -ERR_CLOSED;
	if (ws->queue && ws->queue_bytes + msg->text.len > TRANSPORT_QUEUE_MAX)
		return -ERR_BUSY;
	line = malloc(sizeof(*line) + msg->text.len);
	if (!line)
		return -ERR_NO_MEMORY;
	line->id = msg->id;
	line->len = msg->text.len;
	if (msg->text.len)
		memcpy(line->data, msg->text.p, msg->text.len);
	if (!ws->queue)
		event_active(ws->flush, EV_TIMEOUT, 0);
	DL_APPEND(ws->queue, line);
	ws->n_queue++;
	ws->queue_bytes += line->len;
	return 0;
}

static bool ws_forget(struct transport *transport, uint64_t id)
{
	struct ws *ws = ws_of(transport);
	struct line *line;

	DL_SEARCH_SCALAR(ws->queue, line, id, id);
	if (line)
		drop_line(ws, line);
	return line != NULL;
}

static size_t ws_queued(const struct transport *transport)
{
	return ((const struct ws *)transport)->n_queue;
}

static void ws_negotiated(struct transport *transport, enum mcp_version version)
{
	struct ws *ws = ws_of(transport);

	(void)version;
	if (!ws->negotiated)
		ws->host->up->children++;
	ws->negotiated = true;
}

static void ws_close(struct transport *transport)
{
	struct ws *ws = ws_of(transport);

	ws->closed = true;
	drop_queue(ws);
	if (ws->negotiated)
		ws->host->up->children--;
	if (!ws->socket || !ws->connection) {
		ws_free(ws);
		return;
	}
	websocket_close(ws->socket, WEBSOCKET_NORMAL, "");
	DL_APPEND(ws->host->farewells, ws);
	set_timer(ws, FAREWELL_MS);
	event_active(ws->flush, EV_TIMEOUT, 0);
}

static int connect_to(struct ws *ws, struct err *err)
{
	struct buf out;
	int r = websocket_key(ws->key);

	if (r < 0)
		return err_set(err, ERR_SYSTEM, "no random bytes for a WebSocket key");
	buf_init(&out, 2u * 1024 * 1024);
	r = write_request(ws, &out);
	if (r < 0)
		err_set(err, ERR_NO_MEMORY, "no memory for a request");
	else
		r = connection_request(ws->host->connections, buf_span(&out), true, &events, ws,
			&ws->connection, err);
	buf_free(&out);
	return r;
}

static int ws_open(struct upstream *up, const char *label, const struct transport_events *say,
	void *arg, struct transport **ret, struct err *err)
{
	struct ws *ws = calloc(1, sizeof(*ws));
	int r;

	(void)label;
	if (!ws)
		return err_set(err, ERR_NO_MEMORY, "no memory for a conversation");
	ws->base.ops = &transport_ws;
	ws->host = up->shared;
	ws->events = say;
	ws->arg = arg;
	ws->timer = evtimer_new(upstream_base(up), on_timer, ws);
	ws->flush = event_new(upstream_base(up), -1, 0, on_flush, ws);
	r = ws->timer && ws->flush ? connect_to(ws, err)
				   : err_set(err, ERR_NO_MEMORY, "no memory for a conversation");
	if (r < 0) {
		if (ws->timer)
			event_free(ws->timer);
		if (ws->flush)
			event_free(ws->flush);
		free(ws);
		return r;
	}
	*ret = &ws->base;
	return 0;
}

/* --- the process ----------------------------------------------------------------------------- */

static int ws_start(struct upstream *up, struct err *err)
{
	struct ws_host *host = calloc(1, sizeof(*host));
	int r = host ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a server");

	if (r == 0)
		r = url_parse_websocket(span_str(up->server->url.p), &host->url, err);
	if (r == 0)
		r = connections_new(upstream_base(up), &host->url, &host->connections, err);
	if (r < 0) {
		free(host);
		return r;
	}
	host->up = up;
	up->shared = host;
	return 0;
}

static void ws_stop(struct upstream *up)
{
	struct ws_host *host = up->shared;

	if (!host)
		return;
	while (host->farewells)
		ws_free(host->farewells);
	connections_free(host->connections);
	free(host);
	up->shared = NULL;
}

static bool ws_busy(const struct upstream *up)
{
	const struct ws_host *host = up->shared;

	return host->farewells != NULL;
}

const struct transport_ops transport_ws = {
	.name = "ws",
	.per_session = true,
	.open = ws_open,
	.send = ws_send,
	.negotiated = ws_negotiated,
	.forget = ws_forget,
	.queued = ws_queued,
	.close = ws_close,
	.start = ws_start,
	.stop = ws_stop,
	.busy = ws_busy,
};
