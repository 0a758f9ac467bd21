#include "http2_peer.h"
#include "clock.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define NV(name, value) \
	{(uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}

static struct h2_stream *find(struct h2_client *h2, int32_t id)
{
	for (unsigned i = 0; i < h2->n; i++)
		if (h2->streams[i].id == id)
			return &h2->streams[i];
	return NULL;
}

static void take_status(struct h2_stream *stream, struct span value)
{
	unsigned status = (unsigned)atoi(value.p);

	if (status == 100)
		stream->informed++;
	else
		stream->status = status;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2_stream *stream = find(arg, frame->hd.stream_id);
	struct span n = span_of((const char *)name, name_len);
	struct span v = span_of((const char *)value, value_len);

	(void)session;
	(void)flags;
	ck_assert_ptr_nonnull(stream);
	if (span_is(n, ":status"))
		take_status(stream, v);
	else if (span_is(n, "content-type"))
		snprintf(stream->type, sizeof(stream->type), "%.*s", SPAN_ARG(v));
	else if (span_is(n, "content-length"))
		stream->length = (size_t)atol(v.p);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *arg)
{
	struct h2_stream *stream = find(arg, id);

	(void)session;
	(void)flags;
	ck_assert_int_eq(buf_append(&stream->body, data, len), 0);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_client *h2 = arg;
	struct h2_stream *stream = find(h2, frame->hd.stream_id);
	bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;

	(void)session;
	if (stream && carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		stream->ended = true;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		h2->goaways++;
		h2->goaway_code = frame->goaway.error_code;
		h2->goaway_last = frame->goaway.last_stream_id;
	}
	if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
		h2->pongs++;
	for (size_t i = 0; frame->hd.type == NGHTTP2_SETTINGS && i < frame->settings.niv; i++)
		if (frame->settings.iv[i].settings_id == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
			h2->max_streams = frame->settings.iv[i].value;
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct h2_stream *stream = find(arg, id);

	(void)session;
	stream->closed = true;
	stream->error = error;
	return 0;
}

void h2_open(struct h2_client *h2, struct peer *peer, bool manual)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	memset(h2, 0, sizeof(*h2));
	client_open(&h2->client, peer, false);
	ck_assert_int_eq(nghttp2_session_callbacks_new(&callbacks), 0);
	ck_assert_int_eq(nghttp2_option_new(&option), 0);
	nghttp2_option_set_no_auto_window_update(option, manual);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	ck_assert_int_eq(nghttp2_session_client_new2(&h2->session, callbacks, h2, option), 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	ck_assert_int_eq(nghttp2_submit_settings(h2->session, 0, NULL, 0), 0);
}

void h2_close(struct h2_client *h2)
{
	for (unsigned i = 0; i < h2->n; i++)
		buf_free(&h2->streams[i].body);
	nghttp2_session_del(h2->session);
	client_close(&h2->client);
}

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *data, size_t room,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_stream *stream = source->ptr;
	size_t n = stream->to_send < room ? stream->to_send : room;

	(void)session;
	(void)id;
	(void)arg;
	memset(data, 'x', n);
	stream->to_send -= n;
	if (stream->to_send == 0 && !stream->open_ended)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (n == 0)
		return NGHTTP2_ERR_DEFERRED;
	return (ssize_t)n;
}

static unsigned ask(struct h2_client *h2, const char *method, const char *path, size_t body,
	bool length, const char *const *more)
{
	struct h2_stream *stream = &h2->streams[h2->n];
	nghttp2_data_provider provider = {.source = {.ptr = stream}, .read_callback = give_body};
	nghttp2_nv nv[256] = {
		NV(":method", method), NV(":scheme", "http"), NV(":path", path), NV(":authority", "h")};
	char digits[24];
	size_t n = 4;

	ck_assert_uint_lt(h2->n, H2_STREAMS_MAX);
	buf_init(&stream->body, 64u * 1024 * 1024);
	stream->to_send = body;
	if (length) {
		snprintf(digits, sizeof(digits), "%zu", body);
		nv[n++] = (nghttp2_nv)NV("content-length", digits);
	}
	for (; more && more[0]; more += 2)
		nv[n++] = (nghttp2_nv)NV(more[0], more[1]);
	stream->id = nghttp2_submit_request(h2->session, NULL, nv, n, body ? &provider : NULL, NULL);
	ck_assert_int_gt(stream->id, 0);
	return h2->n++;
}

unsigned h2_get(struct h2_client *h2, const char *path)
{
	return ask(h2, "GET", path, 0, false, NULL);
}

unsigned h2_ask(struct h2_client *h2, const char *method, const char *path, const char *const *more)
{
	return ask(h2, method, path, 0, false, more);
}

unsigned h2_post(struct h2_client *h2, const char *path, size_t body, bool length,
	const char *const *more)
{
	return ask(h2, "POST", path, body, length, more);
}

void h2_reset(struct h2_client *h2, unsigned i)
{
	nghttp2_submit_rst_stream(h2->session, 0, h2->streams[i].id, NGHTTP2_CANCEL);
}

void h2_consume(struct h2_client *h2, unsigned i, size_t n)
{
	ck_assert_int_eq(nghttp2_session_consume(h2->session, h2->streams[i].id, n), 0);
}

static void feed(struct h2_client *h2)
{
	struct buf *in = &h2->client.in;
	ssize_t n;

	client_read(&h2->client);
	if (in->len == h2->fed)
		return;
	n = nghttp2_session_mem_recv(
		h2->session, (const uint8_t *)in->data + h2->fed, in->len - h2->fed);
	ck_assert_int_eq(n, (ssize_t)(in->len - h2->fed));
	h2->fed = in->len;
}

static void step(struct h2_client *h2)
{
	const uint8_t *frame;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(h2->session, &frame)) > 0)
		if (client_send(&h2->client, (const char *)frame, (size_t)n) < (size_t)n)
			break;
	ck_assert_int_ge(n, 0);
	peer_run(h2->client.peer, 0);
	feed(h2);
}

void h2_run(struct h2_client *h2, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	do
		step(h2);
	while (clock_ms() < end);
}

bool h2_wait(struct h2_client *h2, unsigned i)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!h2->streams[i].closed && !h2->client.closed && clock_ms() < end)
		step(h2);
	return h2->streams[i].closed;
}

bool h2_wait_body(struct h2_client *h2, unsigned i, size_t len)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (h2->streams[i].body.len < len && clock_ms() < end)
		step(h2);
	return h2->streams[i].body.len >= len;
}

bool h2_wait_goaway(struct h2_client *h2, unsigned n)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (h2->goaways < n && !h2->client.closed && clock_ms() < end)
		step(h2);
	return h2->goaways >= n;
}

bool h2_wait_closed(struct h2_client *h2)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!h2->client.closed && clock_ms() < end)
		step(h2);
	return h2->client.closed;
}

void h2_frame(struct client *client, uint8_t type, uint8_t flags, int32_t stream,
	const void *payload, size_t len)
{
	uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, flags,
		(uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8),
		(uint8_t)stream};

	client_send(client, (const char *)head, sizeof(head));
	if (len)
		client_send(client, payload, len);
}
