#include "sse_stream.h"
#include "channel.h"
#include "edge.h"
#include "metrics.h"
#include "neighbours.h"
#include "sse.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <uthash.h>

#define ALLOWED "GET, POST"
/* The word that all implementations use, though it names no session of ours. */
#define KEY_NAME "sessionId="
/* What an event makes of its data at most: each line end begins another "data: ". */
#define EVENT_GROWTH 7u
#define QUEUE_MAX (CHANNEL_QUEUE_HIGH + EVENT_GROWTH * (size_t)LIMIT_MESSAGE_PAYLOAD + 64u)
/* Sent bytes at the front of the queue are cut off when they are this many and half of it. */
#define COMPACT_MIN 65536u
#define ENDPOINT_MAX 1024u

struct sse_stream {
	struct channel channel;
	uint64_t number; /* of this gateway's streams */
	UT_hash_handle hh;
	char secret[SSE_SECRET_LEN + 1];
	struct span principal;
	struct buf queue; /* what the connection has not taken */
	size_t used;      /* of which these have left */
	bool ends;        /* when the queue is out */
};

static struct sse_stream *of_channel(const struct channel *channel)
{
	return (struct sse_stream *)channel;
}

/* --- the key -------------------------------------------------------------------------------- */

static int make_secret(char out[SSE_SECRET_LEN + 1])
{
	unsigned char bytes[SSE_SECRET_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -ERR_SYSTEM;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* The text before the first dot; *rest what follows it. */
static struct span cut(struct span s, struct span *rest)
{
	const char *dot = s.len ? memchr(s.p, '.', s.len) : NULL;

	*rest = dot ? span_of(dot + 1, s.len - (size_t)(dot + 1 - s.p)) : SPAN_NONE;
	return dot ? span_of(s.p, (size_t)(dot - s.p)) : s;
}

static bool read_number(struct span text, uint64_t *ret)
{
	uint64_t n = 0;

	if (text.len == 0 || text.len > 18)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (!isdigit((unsigned char)text.p[i]))
			return false;
		n = n * 10 + (uint64_t)(text.p[i] - '0');
	}
	*ret = n;
	return true;
}

static struct span key_of(struct span query)
{
	const size_t name = sizeof(KEY_NAME) - 1;

	while (query.len) {
		const char *end = memchr(query.p, '&', query.len);
		size_t len = end ? (size_t)(end - query.p) : query.len;

		if (len > name && len <= name + SSE_KEY_MAX && memcmp(query.p, KEY_NAME, name) == 0)
			return span_of(query.p + name, len - name);
		query = end ? span_of(end + 1, query.len - len - 1) : SPAN_NONE;
	}
	return SPAN_NONE;
}

/* A number is no secret; the rest is compared in a time that tells nothing. */
static struct sse_stream *find(
	const struct gateway *gateway, struct span key, struct span principal)
{
	struct span secret, text;
	struct sse_stream *stream;
	uint64_t number;

	cut(key, &text);
	text = cut(text, &secret);
	if (!read_number(text, &number) || secret.len != SSE_SECRET_LEN)
		return NULL;
	HASH_FIND(hh, gateway->sse_streams, &number, sizeof(number), stream);
	if (!stream || CRYPTO_memcmp(stream->secret, secret.p, SSE_SECRET_LEN) != 0 ||
		stream->principal.len != principal.len ||
		CRYPTO_memcmp(stream->principal.p, principal.p, principal.len) != 0)
		return NULL;
	return stream->channel.state < CHANNEL_ENDING ? stream : NULL;
}

/* --- bytes for the client ------------------------------------------------------------------- */

static size_t waiting(const struct sse_stream *stream)
{
	return stream->queue.len - stream->used;
}

static void compact(struct sse_stream *stream)
{
	if (waiting(stream) == 0) {
		buf_free(&stream->queue);
		stream->used = 0;
	} else if (stream->used >= COMPACT_MIN && stream->used >= stream->queue.len / 2) {
		buf_consume(&stream->queue, stream->used);
		stream->used = 0;
	}
}

static void pump(struct sse_stream *stream)
{
	struct http_conn *conn = stream->channel.conn;
	size_t n;

	if (!conn)
		return;
	while ((n = waiting(stream)) > 0) {
		if (n > LIMIT_FRAME_PAYLOAD)
			n = LIMIT_FRAME_PAYLOAD;
		if (http_conn_write(conn, span_of(stream->queue.data + stream->used, n)) < 0)
			break;
		stream->used += n;
	}
	compact(stream);
	if (!stream->ends || waiting(stream) > 0)
		return;
	/* first, because a connection that cannot end closes at once */
	channel_leave(&stream->channel);
	http_conn_end(conn);
}

static int send_message(struct channel *channel, struct span json)
{
	struct sse_stream *stream = of_channel(channel);
	int r = sse_write_event(&stream->queue, SPAN_NONE, SPAN_LIT("message"), json);

	pump(stream);
	return r;
}

static size_t queued(const struct channel *channel)
{
	return waiting(of_channel(channel));
}

static void tick(struct channel *channel, bool quiet)
{
	struct sse_stream *stream = of_channel(channel);

	if (!quiet || waiting(stream) > 0 || http_conn_unsent(channel->conn) > 0)
		return;
	if (sse_write_comment(&stream->queue, SPAN_LIT("keep-alive")) == 0)
		pump(stream);
}

/* An orderly end comes after what waits. Else the client is to see that the stream is not whole. */
static void end(struct channel *channel, enum channel_end why, const char *text)
{
	struct sse_stream *stream = of_channel(channel);
	struct http_conn *conn = channel->conn;

	(void)text;
	if (why == CHANNEL_DONE || why == CHANNEL_AWAY || why == CHANNEL_RESTART) {
		stream->ends = true;
		pump(stream);
		return;
	}
	channel_leave(channel);
	http_conn_abort(conn);
}

static void stream_free(struct channel *channel)
{
	struct sse_stream *stream = of_channel(channel);

	if (stream->number)
		HASH_DEL(channel->gateway->sse_streams, stream);
	channel_fini(channel);
	buf_free(&stream->queue);
	free(stream);
}

static const struct channel_ops channel_ops = {
	.transport = &transport_sse,
	.send = send_message,
	.queued = queued,
	.tick = tick,
	.end = end,
	.free = stream_free,
};

/* --- the connection ------------------------------------------------------------------------- */

static void on_writable(struct conn_user *user)
{
	pump((struct sse_stream *)user);
	channel_took((struct channel *)user);
}

/* As in stream.c: a comment finds out whether somebody still listens. */
static void on_gone(struct conn_user *user, enum http_gone gone)
{
	struct sse_stream *stream = (struct sse_stream *)user;

	if (gone == HTTP_GONE_HALF && waiting(stream) == 0)
		http_conn_write(stream->channel.conn, SPAN_LIT(":\n\n"));
}

static void on_closed(struct conn_user *user)
{
	channel_closed((struct channel *)user);
}

static const struct conn_ops conn_ops = {
	.writable = on_writable, .gone = on_gone, .closed = on_closed};

/* --- opening a stream ----------------------------------------------------------------------- */

/* Where the client finds us: the path it asked for, and what proxies in front have cut off it. */
static int write_endpoint(
	struct sse_stream *stream, const struct http_conn *conn, const struct http1_head *head)
{
	const struct gateway *gateway = stream->channel.gateway;
	struct span prefix = SPAN_NONE;
	struct buf address;
	int r;

	if (trust_has(&gateway->trust, http_conn_peer(conn)))
		prefix = forwarded_prefix(head);
	buf_init(&address, ENDPOINT_MAX);
	r = buf_printf(&address, "%.*s%.*s?" KEY_NAME "%s.%llu.%s", SPAN_ARG(prefix),
		SPAN_ARG(head->path), process_name(gateway->process),
		(unsigned long long)stream->number, stream->secret);
	if (r == 0)
		r = sse_write_event(
			&stream->queue, SPAN_NONE, SPAN_LIT("endpoint"), buf_span(&address));
	buf_free(&address);
	return r;
}

static int begin(struct sse_stream *stream, struct http_conn *conn, struct span origin)
{
	struct gateway *gateway = stream->channel.gateway;
	struct answer_headers headers = {.n = 0};
	char request_id[REQUEST_ID_MAX];
	int r;

	request_id_make(gateway, request_id);
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	answer_headers_cors(&headers, origin);
	r = http_conn_begin(conn, 200, headers.list, headers.n, HTTP_STREAM_SSE, 0);
	if (r < 0)
		return r;
	metrics_response(gateway->metrics, 200);
	http_conn_release_request(conn);
	pump(stream);
	return 0;
}

static struct sse_stream *stream_new(const struct door *door, struct http_conn *conn,
	const struct http1_head *head, const struct facts *facts)
{
	struct gateway *gateway = door->gateway;
	struct sse_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	buf_init(&stream->queue, QUEUE_MAX);
	stream->principal = SPAN_LIT(PRINCIPAL);
	if (make_secret(stream->secret) < 0 ||
		channel_init(&stream->channel, door, conn, head, facts, &channel_ops, &conn_ops) <
			0) {
		buf_free(&stream->queue);
		free(stream);
		return NULL;
	}
	stream->number = ++gateway->sse_counter;
	HASH_ADD(hh, gateway->sse_streams, number, sizeof(stream->number), stream);
	return stream;
}

static void open_stream(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct facts *facts)
{
	struct sse_stream *stream = stream_new(door, conn, head, facts);
	struct err err = {0};

	if (stream && write_endpoint(stream, conn, head) == 0 &&
		begin(stream, conn, facts->origin) == 0)
		return;
	if (stream) {
		http_conn_set_data(conn, NULL);
		stream_free(&stream->channel);
	}
	err_set(&err, ERR_NO_MEMORY, "the gateway is out of memory");
	edge_refuse(door, conn, head, &err, SPAN_NONE, NULL);
}

/* --- messages ------------------------------------------------------------------------------- */

int sse_stream_message(struct gateway *gateway, struct span key, struct span principal,
	struct span message, struct err *err)
{
	struct sse_stream *stream = find(gateway, key, principal);
	struct channel_refusal refusal;
	int r;

	if (!stream)
		return err_set(err, ERR_SESSION_UNKNOWN,
			"there is no such event stream (any more): open one with GET");
	r = channel_message(&stream->channel, message, &refusal, err);
	/* a request has its answer on the stream; who posted anything else learns it at once */
	if (r == 0 || !refusal.is_answered || refusal.id.len == 0)
		return r;
	channel_refuse(&stream->channel, &refusal, err);
	return 0;
}

static void post_here(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts, struct span key)
{
	struct err err = {0};

	if (sse_stream_message(
		    door->gateway, key, SPAN_LIT(PRINCIPAL), request->body, &err) == 0)
		edge_accept(door, conn, facts->origin);
	else
		edge_refuse_body(door, conn, request, &err);
}

static void post(struct door *door, struct http_conn *conn, const struct http_request *request,
	const struct facts *facts)
{
	struct span rest, key = key_of(request->head->query), slot = cut(key, &rest);

	if (span_is(slot, process_name(door->gateway->process)))
		post_here(door, conn, request, facts, key);
	else
		neighbour_post(door, conn, request, facts, slot, key);
}

/* --- the transport -------------------------------------------------------------------------- */

static bool takes(
	const struct gateway *gateway, const struct http1_head *head, struct span *ret_view)
{
	return is_path_at(span_str(gateway->config->sse_path.p), head->path, ret_view);
}

static int check_post(const struct http1_head *head, const struct facts *facts, struct err *err)
{
	if (!key_of(head->query).len)
		return err_set(err, ERR_NOT_FOUND,
			"messages are posted to the address that an event stream names: open one "
			"with GET");
	if (!is_json_type(facts->content_type))
		return err_set(err, ERR_UNSUPPORTED_MEDIA, "Content-Type must be application/json");
	return 0;
}

static int check_get(const struct door *door, const struct facts *facts, struct err *err)
{
	if (door->gateway->draining)
		return err_set(err, ERR_DRAINING, "this gateway is being stopped: connect again");
	if (!(facts->accept & ACCEPTS_SSE))
		return err_set(err, ERR_NOT_ACCEPTABLE, "Accept must contain text/event-stream");
	return 0;
}

static int check(const struct door *door, const struct http1_head *head,
	const struct facts *facts, struct err *err)
{
	int r = admission_check(&door->admission, head->host, facts, err);

	if (r < 0)
		return r;
	if (span_is(head->method, "POST"))
		return check_post(head, facts, err);
	if (span_is(head->method, "GET"))
		return check_get(door, facts, err);
	return err_set(err, ERR_METHOD_NOT_ALLOWED,
		"GET opens an event stream; messages for it are sent with POST");
}

static void on_request(struct door *door, struct http_conn *conn,
	const struct http_request *request, const struct facts *facts)
{
	if (span_is(request->head->method, "POST"))
		post(door, conn, request, facts);
	else
		open_stream(door, conn, request->head, facts);
}

const struct client_transport transport_sse = {
	.name = "sse",
	.takes = takes,
	.check = check,
	.allow = ALLOWED,
	.request = on_request,
};
