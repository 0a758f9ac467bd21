/*
 * WebSocket (RFC 6455): GET /mcp with Upgrade, subprotocol mcp. Each text message is one JSON-RPC
 * message, in both directions; a connection is a session of the legacy era (channel.h).
 */
#include "channel.h"
#include "edge.h"
#include "websocket.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#define SUBPROTOCOL "mcp"
/* With more bytes than these waiting for the client, nothing more is read from it. */
#define PAUSE_MIN (4u * LIMIT_FRAME_PAYLOAD)

struct ws_channel {
	struct channel channel;
	struct websocket *ws;
	bool awaits_pong;
	bool paused;
	size_t seen_len; /* of a message that was coming at the last tick */
};

/* --- the handshake -------------------------------------------------------------------------- */

static bool takes(
	const struct gateway *gateway, const struct http1_head *head, struct span *ret_view)
{
	(void)gateway;
	return is_mcp_path(head->path, ret_view) && span_is(head->method, "GET") && head->upgrade &&
	       http1_header_has_token(head, "Upgrade", "websocket");
}

static int check_handshake(const struct http1_head *head, struct err *err)
{
	struct span version = http1_header_get(head, "Sec-WebSocket-Version");
	char accept[WEBSOCKET_ACCEPT_SIZE];

	if (!span_is(version, "13") || http1_header_count(head, "Sec-WebSocket-Version") != 1)
		return err_set(err, ERR_UPGRADE_REQUIRED,
			"Sec-WebSocket-Version must be 13: no other is spoken here");
	if (http1_header_count(head, "Sec-WebSocket-Key") != 1 ||
		websocket_accept(http1_header_get(head, "Sec-WebSocket-Key"), accept) < 0 ||
		head->minor == 0)
		return err_set(err, ERR_BAD_HTTP,
			"the WebSocket handshake needs HTTP/1.1 and one Sec-WebSocket-Key of 16 "
			"bytes");
	if (http1_header_count(head, "Sec-WebSocket-Protocol") > 0 &&
		!http1_header_has_token(head, "Sec-WebSocket-Protocol", SUBPROTOCOL))
		return err_set(err, ERR_BAD_HTTP,
			"Sec-WebSocket-Protocol must contain " SUBPROTOCOL);
	return 0;
}

static int check(const struct door *door, const struct http1_head *head, const struct facts *facts,
	struct err *err)
{
	int r = admission_check(&door->admission, head->host, facts, err);

	if (r == 0 && door->gateway->draining)
		r = err_set(err, ERR_DRAINING, "this gateway is being stopped: connect again");
	return r ? r : check_handshake(head, err);
}

/* The example of RFC 6455 §1.3. When it is first used, libcrypto makes system calls. */
static int prepare(struct err *err)
{
	char accept[WEBSOCKET_ACCEPT_SIZE];

	if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) ||
		websocket_accept(SPAN_LIT("dGhlIHNhbXBsZSBub25jZQ=="), accept) < 0 ||
		strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != 0)
		return err_set(err, ERR_SYSTEM, "libcrypto does not compute SHA-1");
	return 0;
}

static int switch_protocol(struct http_conn *conn, const struct http1_head *head)
{
	struct answer_headers headers = {.n = 0};
	char accept[WEBSOCKET_ACCEPT_SIZE];
	int r = websocket_accept(http1_header_get(head, "Sec-WebSocket-Key"), accept);

	if (r < 0)
		return r;
	answer_headers_add(&headers, "Upgrade", SPAN_LIT("websocket"));
	answer_headers_add(&headers, "Sec-WebSocket-Accept", span_str(accept));
	if (http1_header_count(head, "Sec-WebSocket-Protocol") > 0)
		answer_headers_add(&headers, "Sec-WebSocket-Protocol", SPAN_LIT(SUBPROTOCOL));
	return http_conn_switch(conn, headers.list, headers.n);
}

/* --- frames --------------------------------------------------------------------------------- */

/* Everything that can leave does; a Close that has left ends the connection. */
static void pump(struct ws_channel *websocket)
{
	struct http_conn *conn = websocket->channel.conn;
	size_t waiting;

	if (!conn)
		return;
	websocket_flush(websocket->ws);
	if (websocket_ended(websocket->ws)) {
		/* first, because a connection that cannot end closes at once */
		channel_leave(&websocket->channel);
		http_conn_end(conn);
		return;
	}
	waiting = websocket_queued(websocket->ws);
	if (websocket->paused ? waiting < PAUSE_MIN / 2 : waiting > PAUSE_MIN) {
		websocket->paused = !websocket->paused;
		http_conn_pause(conn, websocket->paused);
	}
}

static size_t put(void *arg, struct span bytes)
{
	struct ws_channel *websocket = arg;
	struct span piece =
		span_of(bytes.p, bytes.len < LIMIT_FRAME_PAYLOAD ? bytes.len : LIMIT_FRAME_PAYLOAD);

	return http_conn_write(websocket->channel.conn, piece) == 0 ? piece.len : 0;
}

static void on_message(void *arg, struct span text)
{
	struct ws_channel *websocket = arg;
	struct channel *channel = &websocket->channel;
	struct channel_refusal refusal;
	struct err err = {0};

	if (channel->state >= CHANNEL_ENDING || channel_message(channel, text, &refusal, &err) == 0)
		return;
	channel_refuse(channel, &refusal, &err);
	/* what has no answer would be lost in silence, and whoever waits for it wait in vain */
	if (!refusal.is_answered && err.code == -ERR_TOO_MANY)
		channel_end(channel, CHANNEL_TOO_SLOW, "messages come faster than they are taken");
}

static const struct websocket_ops frame_ops = {.message = on_message, .put = put};

/* --- the channel ---------------------------------------------------------------------------- */

static struct ws_channel *of_channel(const struct channel *channel)
{
	return (struct ws_channel *)channel;
}

static int send_message(struct channel *channel, struct span json)
{
	int r = websocket_send(of_channel(channel)->ws, json);

	pump(of_channel(channel));
	return r;
}

static size_t queued(const struct channel *channel)
{
	return websocket_queued(of_channel(channel)->ws);
}

/* Is a message coming of which nothing came since the last tick? */
static bool is_stuck(struct ws_channel *websocket)
{
	size_t len;
	bool coming = websocket_in_message(websocket->ws, &len);
	bool stuck = coming && !websocket->paused && len + 1 == websocket->seen_len;

	websocket->seen_len = coming ? len + 1 : 0;
	return stuck;
}

static void tick(struct channel *channel, bool quiet)
{
	struct ws_channel *websocket = of_channel(channel);

	websocket_pardon(websocket->ws);
	if (is_stuck(websocket)) {
		channel_end(channel, CHANNEL_MISUSED, "a message that began was not completed");
	} else if (websocket->awaits_pong && !websocket->paused) {
		channel_end(channel, CHANNEL_FAILED, "no pong came");
	} else if (quiet && websocket_queued(websocket->ws) == 0) {
		websocket->awaits_pong = websocket_ping(websocket->ws) == 0;
		pump(websocket);
	}
}

/* An orderly end comes after what waits; with a client that misbehaves that would be never. */
static void end(struct channel *channel, enum channel_end why, const char *text)
{
	struct ws_channel *websocket = of_channel(channel);

	if (why == CHANNEL_DONE || why == CHANNEL_AWAY || why == CHANNEL_RESTART)
		websocket_finish(websocket->ws, (enum websocket_code)why, text);
	else
		websocket_close(websocket->ws, (enum websocket_code)why, text);
	pump(websocket);
}

static void ws_channel_free(struct channel *channel)
{
	channel_fini(channel);
	websocket_free(of_channel(channel)->ws);
	free(channel);
}

static const struct channel_ops channel_ops = {
	.transport = &transport_websocket,
	.send = send_message,
	.queued = queued,
	.tick = tick,
	.end = end,
	.free = ws_channel_free,
};

/* --- the connection ------------------------------------------------------------------------- */

static void on_input(struct conn_user *user, struct span bytes)
{
	struct ws_channel *websocket = (struct ws_channel *)user;

	websocket->awaits_pong = false;
	/* the Close that answers, or says what was wrong, is queued already */
	if (websocket_read(websocket->ws, bytes, NULL) < 0)
		channel_end(&websocket->channel, (enum channel_end)websocket_code(websocket->ws),
			"by the client's doing");
	pump(websocket);
}

static void on_writable(struct conn_user *user)
{
	pump((struct ws_channel *)user);
	channel_took((struct channel *)user);
}

static void on_gone(struct conn_user *user, enum http_gone gone)
{
	struct channel *channel = (struct channel *)user;

	if (gone == HTTP_GONE_STALLED)
		channel_end(channel, CHANNEL_TOO_SLOW, "messages are not read");
	else if (gone == HTTP_GONE_HALF)
		http_conn_close(channel->conn);
}

static void on_closed(struct conn_user *user)
{
	channel_closed((struct channel *)user);
}

static const struct conn_ops conn_ops = {
	.writable = on_writable, .gone = on_gone, .input = on_input, .closed = on_closed};

/* --- the request ---------------------------------------------------------------------------- */

static struct ws_channel *ws_channel_new(const struct door *door, struct http_conn *conn,
	const struct http1_head *head, const struct facts *facts)
{
	size_t message_max = edge_limits(door->gateway->config, door->index).body;
	struct ws_channel *websocket = calloc(1, sizeof(*websocket));

	if (!websocket)
		return NULL;
	websocket->ws = websocket_new(
		WEBSOCKET_SERVER, message_max, CHANNEL_QUEUE_MAX, &frame_ops, websocket);
	if (!websocket->ws ||
		channel_init(&websocket->channel, door, conn, head, facts, &channel_ops,
			&conn_ops) < 0) {
		ws_channel_free(&websocket->channel);
		return NULL;
	}
	return websocket;
}

static void on_request(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts)
{
	struct ws_channel *websocket = ws_channel_new(door, conn, request->head, facts);
	struct err err = {0};

	if (websocket && switch_protocol(conn, request->head) == 0)
		return;
	if (websocket) {
		http_conn_set_data(conn, NULL);
		ws_channel_free(&websocket->channel);
	}
	err_set(&err, ERR_NO_MEMORY, "the gateway is out of memory");
	edge_refuse(door, conn, request->head, &err, SPAN_NONE, NULL);
}

const struct client_transport transport_websocket = {
	.name = "websocket",
	.prepare = prepare,
	.takes = takes,
	.check = check,
	.allow = "GET",
	.request = on_request,
};
