#include "link_private.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define RETRY_US 20000

static size_t outgoing_left(const struct outgoing *out)
{
	return out->head.len + out->len - out->sent;
}

void link_outgoing_free(struct outgoing *out)
{
	if (!out)
		return;
	buf_free(&out->head);
	free(out->payload);
	free(out);
}

static void outgoing_remove(struct link *link, struct out_stream *stream)
{
	struct outgoing *out = stream->messages;

	link->waiting_bytes -= outgoing_left(out);
	link->waiting--;
	if (out->begun)
		link->begun--;
	DL_DELETE(stream->messages, out);
	link_outgoing_free(out);
	if (stream->messages)
		return;
	HASH_DEL(link->streams, stream);
	DL_DELETE(link->turns, stream);
	free(stream);
}

void link_out_free(struct link *link)
{
	while (link->turns)
		outgoing_remove(link, link->turns);
}

static struct out_stream *find_stream(struct link *link, uint32_t number)
{
	struct out_stream *stream;

	HASH_FIND(hh, link->streams, &number, sizeof(number), stream);
	return stream;
}

/* Does anything wait that was sent before this? The first of each stream is its oldest. */
static bool is_behind(const struct link *link, const struct outgoing *out)
{
	const struct out_stream *stream;

	DL_FOREACH(link->turns, stream)
	{
		if (stream->messages->order < out->order)
			return true;
	}
	return false;
}

/* What is sent on stream 0 goes before what is sent after it on others. */
static bool may_go(struct link *link, const struct out_stream *stream)
{
	const struct outgoing *out = stream->messages;
	const struct out_stream *zero = stream->stream ? find_stream(link, 0) : NULL;

	if (out->begun)
		return true;
	if (zero && zero->messages->order < out->order)
		return false;
	if (out->behind && is_behind(link, out))
		return false;
	return out->len <= LIMIT_FRAME_PAYLOAD || link->begun < LINK_BEGUN_MAX;
}

/* Hand the endpoint the next frame of the stream's first message. */
static int send_frame(struct link *link, struct out_stream *stream)
{
	struct outgoing *out = stream->messages;
	size_t piece = out->len - out->sent, before = outgoing_left(out);
	bool more = piece > LIMIT_FRAME_PAYLOAD;
	struct iovec iov[2];
	int r;

	if (more)
		piece = LIMIT_FRAME_PAYLOAD;
	out->head.data[2] = more ? MESSAGE_FLAG_MORE : 0;
	iov[0] = (struct iovec){out->head.data, out->head.len};
	iov[1] = (struct iovec){out->payload + out->sent, piece};
	r = sp_send(link->sp, SP_DATA, 0, iov, piece ? 2 : 1, NULL, 0);
	if (r < 0)
		return r;
	out->sent += piece;
	if (more && !out->begun) {
		out->begun = true;
		link->begun++;
		/* fits: a head of at least the same size stood there */
		buf_clear(&out->head);
		message_encode(&out->head, MSG_DATA, stream->stream, true, 0, NULL);
	}
	link->waiting_bytes -= before - outgoing_left(out);
	if (!more)
		outgoing_remove(link, stream);
	return 0;
}

/* One frame of each stream whose turn it is. Returns how many,
 * or why the endpoint takes no more. */
static int take_turns(struct link *link)
{
	unsigned streams = HASH_COUNT(link->streams);
	int sent = 0;

	while (streams-- > 0) {
		struct out_stream *stream = link->turns;
		unsigned before = HASH_COUNT(link->streams);

		if (may_go(link, stream)) {
			int r = send_frame(link, stream);

			if (r < 0)
				return r;
			sent++;
		}
		if (HASH_COUNT(link->streams) < before)
			continue;
		DL_DELETE(link->turns, stream);
		DL_APPEND(link->turns, stream);
	}
	return sent;
}

/* Streams take turns, one frame each, until the endpoint has enough;
 * it calls when it wants more. */
void link_out_pump(struct link *link)
{
	const struct timeval tv = {.tv_usec = RETRY_US};
	int r;

	if (link->closed || link->freed)
		return;
	do
		r = take_turns(link);
	while (r > 0);
	if (r == -ERR_NO_MEMORY)
		event_add(&link->retry, &tv);
}

static struct out_stream *get_stream(struct link *link, uint32_t number)
{
	struct out_stream *stream = find_stream(link, number);

	if (stream)
		return stream;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return NULL;
	stream->stream = number;
	HASH_ADD(hh, link->streams, stream, sizeof(stream->stream), stream);
	DL_APPEND(link->turns, stream);
	return stream;
}

static struct outgoing *outgoing_new(struct buf *head, struct span payload)
{
	struct outgoing *out = calloc(1, sizeof(*out));

	if (!out)
		return NULL;
	out->payload = payload.len ? malloc(payload.len) : NULL;
	if (payload.len && !out->payload) {
		free(out);
		return NULL;
	}
	if (payload.len)
		memcpy(out->payload, payload.p, payload.len);
	out->len = payload.len;
	out->head = *head;
	buf_init(head, head->max);
	return out;
}

int link_out_append(struct link *link, uint32_t number, struct outgoing *out)
{
	struct out_stream *stream = get_stream(link, number);

	if (!stream) {
		link_outgoing_free(out);
		return -ERR_NO_MEMORY;
	}
	link->waiting_bytes += outgoing_left(out);
	link->waiting++;
	link->begun += out->begun;
	DL_APPEND(stream->messages, out);
	return 0;
}

static int wait_in_line(
	struct link *link, uint32_t number, struct buf *head, struct span payload, bool behind)
{
	size_t len = head->len + payload.len;
	struct outgoing *out;
	int r;

	if (link->waiting > 0 &&
		(link->waiting_bytes + len > LIMIT_LINK_QUEUE || link->waiting >= LINK_WAITING_MAX))
		return -ERR_AGAIN;
	out = outgoing_new(head, payload);
	if (!out)
		return -ERR_NO_MEMORY;
	out->order = link->next_order++;
	out->behind = behind;
	r = link_out_append(link, number, out);
	if (r < 0)
		return r;
	link_out_pump(link);
	return 0;
}

static int may_send(const struct link *link, const struct message_row *row, size_t payload_len)
{
	if (link->closed || link->freed)
		return -ERR_CLOSED;
	if (!(row->senders & 1u << link->config.self) ||
		!(row->receivers & 1u << link->config.peer.role))
		return -ERR_FORBIDDEN;
	return payload_len > row->max_payload ? -ERR_TOO_LARGE : 0;
}

static int send_message(struct link *link, enum message_type type, uint32_t stream,
	const void *fields, struct span payload, const int *fds, bool behind)
{
	const struct message_row *row = message_row(type);
	bool control = row->kind == MESSAGE_CONTROL;
	struct buf head;
	int r = may_send(link, row, payload.len);

	if (r < 0)
		return r;
	buf_init(&head, MESSAGE_HEADER_SIZE + LIMIT_FRAME_FIELDS);
	r = message_encode(&head, type, stream, false, row->fds, fields);
	if (r == 0 && !control && (link->waiting || payload.len > LIMIT_FRAME_PAYLOAD)) {
		r = wait_in_line(link, stream, &head, payload, behind);
	} else if (r == 0) {
		struct iovec iov[2] = {
			{head.data, head.len}, {(void *)(uintptr_t)payload.p, payload.len}};

		r = sp_send(link->sp, control ? SP_CONTROL : SP_DATA, 0, iov, payload.len ? 2 : 1,
			fds, row->fds);
		if (r == -ERR_AGAIN && !control)
			r = wait_in_line(link, stream, &head, payload, behind);
	}
	buf_free(&head);
	return r;
}

int link_send(struct link *link, enum message_type type, uint32_t stream, const void *fields,
	struct span payload, const int *fds)
{
	return send_message(link, type, stream, fields, payload, fds, false);
}

int link_send_behind(struct link *link, enum message_type type, uint32_t stream, const void *fields,
	struct span payload)
{
	return send_message(link, type, stream, fields, payload, NULL, true);
}

int link_post(struct link *link, enum message_type type, uint32_t stream, const void *fields)
{
	return link_send(link, type, stream, fields, SPAN_NONE, NULL);
}

size_t link_queued(const struct link *link)
{
	return link->waiting_bytes + sp_queued(link->sp);
}

bool link_flush(struct link *link)
{
	size_t before;

	do {
		before = link_queued(link);
		link_out_pump(link);
		if (sp_flush(link->sp) != 0)
			return false;
	} while (link_queued(link) < before);
	return !link->waiting;
}
