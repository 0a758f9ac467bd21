#include "link.h"
#include "sp.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

/* Bytes handed to the endpoint ahead of the socket: enough for one large write, little enough that
 * control stays quick. */
#define LINK_AHEAD (4u * LIMIT_FRAME_PAYLOAD)
/* Half-received messages at once on one link. */
#define LINK_PARTIAL_MAX 256

/* A message whose payload does not leave at once. */
struct outgoing {
	struct outgoing *prev, *next;
	uint32_t stream;
	bool begun; /* its first frame has left */
	enum message_type type;
	struct buf head;
	char *payload;
	size_t len, sent;
};

/* A message that has not arrived whole. */
struct incoming {
	uint32_t stream;
	enum message_type type;
	struct buf frame; /* header, fields and payload as if it had come in one frame */
	UT_hash_handle hh;
};

struct link {
	struct sp *sp;
	struct link_config config;
	const struct link_handlers *handlers;
	void *arg;
	void *user;
	uint32_t next_stream;
	bool greeted;
	bool dispatching;
	bool freed; /* while dispatching */
	bool closed;
	struct outgoing *waiting;
	size_t waiting_bytes;
	struct incoming *partial;
	size_t partial_bytes;
};

static void outgoing_free(struct link *link, struct outgoing *out)
{
	link->waiting_bytes -= out->len - out->sent;
	DL_DELETE(link->waiting, out);
	buf_free(&out->head);
	free(out->payload);
	free(out);
}

static void incoming_free(struct link *link, struct incoming *in)
{
	link->partial_bytes -= in->frame.len;
	HASH_DEL(link->partial, in);
	buf_free(&in->frame);
	free(in);
}

static void link_release(struct link *link)
{
	struct incoming *in, *next;

	sp_free(link->sp);
	while (link->waiting)
		outgoing_free(link, link->waiting);
	HASH_ITER (hh, link->partial, in, next)
		incoming_free(link, in);
	free(link);
}

void link_free(struct link *link)
{
	if (!link)
		return;
	if (link->dispatching)
		link->freed = true;
	else
		link_release(link);
}

static void link_fail(struct link *link, int code, const char *why)
{
	if (link->closed || link->freed)
		return;
	link->closed = true;
	link->handlers->closed(link, code, why, link->arg);
}

/* --- receiving
 * ------------------------------------------------------------------------------------------ */

static int check_allowed(
	const struct link *link, const struct message *msg, unsigned nfds, struct err *err)
{
	const struct message_row *row = message_row(msg->type);

	if (!(row->senders & 1u << link->config.peer.role) ||
		!(row->receivers & 1u << link->config.self))
		return err_set(err, ERR_PROTOCOL, "%s may not send %s to %s",
			role_name(link->config.peer.role), row->name, role_name(link->config.self));
	if (msg->nfds != row->fds || nfds != row->fds)
		return err_set(err, ERR_PROTOCOL, "%s with %u descriptors instead of %u", row->name,
			nfds, row->fds);
	if (msg->payload.len > row->max_payload)
		return err_set(err, ERR_TOO_LARGE, "%s with %zu bytes; at most %u", row->name,
			msg->payload.len, row->max_payload);
	return 0;
}

static int greet(struct link *link, const struct message *msg, struct err *err)
{
	const struct msg_hello *hello = msg->fields;

	if (msg->type != MSG_HELLO)
		return err_set(err, ERR_PROTOCOL, "%s before HELLO", message_row(msg->type)->name);
	if (hello->version < MESSAGE_VERSION_OLDEST)
		return err_set(err, ERR_PROTOCOL,
			"the peer speaks catalogue version %u, the oldest accepted is %u",
			(unsigned)hello->version, MESSAGE_VERSION_OLDEST);
	if (hello->role != link->config.peer.role)
		return err_set(err, ERR_PROTOCOL, "the peer says it is %s, not %s",
			role_name((enum role)hello->role), role_name(link->config.peer.role));
	link->greeted = true;
	return 0;
}

static int incoming_begin(
	struct link *link, const struct message *msg, struct span frame, struct err *err)
{
	const struct message_row *row = message_row(msg->type);
	struct incoming *in;

	HASH_FIND(hh, link->partial, &msg->stream, sizeof(msg->stream), in);
	if (in || HASH_COUNT(link->partial) >= LINK_PARTIAL_MAX || row->kind != MESSAGE_DATA)
		return err_set(err, ERR_PROTOCOL, "%s cannot begin in pieces on stream %u",
			row->name, msg->stream);
	in = calloc(1, sizeof(*in));
	if (!in)
		return err_set(err, ERR_NO_MEMORY, "no memory for a message in pieces");
	in->stream = msg->stream;
	in->type = msg->type;
	buf_init(&in->frame, MESSAGE_HEADER_SIZE + LIMIT_FRAME_FIELDS + (size_t)row->max_payload);
	if (buf_append_span(&in->frame, frame) < 0) {
		free(in);
		return err_set(err, ERR_NO_MEMORY, "no memory for a message in pieces");
	}
	link->partial_bytes += frame.len;
	HASH_ADD(hh, link->partial, stream, sizeof(in->stream), in);
	return 0;
}

static void dispatch(struct link *link, const struct message *msg, int *fds)
{
	link_handler *handler = link->handlers->on[msg->type];
	struct message whole = *msg;
	char why[128];

	if (msg->type == MSG_HELLO)
		return;
	if (msg->type == MSG_PING && !handler) {
		link_post(link, MSG_PONG, msg->stream, NULL);
		return;
	}
	if (!handler) {
		snprintf(why, sizeof(why), "no handler for %s", message_row(msg->type)->name);
		link_fail(link, -ERR_PROTOCOL, why);
		return;
	}
	whole.fds = fds;
	handler(link, &whole, link->arg);
}

static int incoming_continue(struct link *link, const struct message *msg, struct err *err)
{
	union message_fields storage;
	struct message whole;
	struct incoming *in;
	int r;

	HASH_FIND(hh, link->partial, &msg->stream, sizeof(msg->stream), in);
	if (!in)
		return err_set(
			err, ERR_PROTOCOL, "DATA on stream %u, where nothing began", msg->stream);
	if (in->frame.len + msg->payload.len > in->frame.max)
		return err_set(err, ERR_TOO_LARGE, "%s is longer than %u bytes",
			message_row(in->type)->name, message_row(in->type)->max_payload);
	r = buf_append_span(&in->frame, msg->payload);
	if (r < 0)
		return err_set(err, (enum err_code) - r, "no memory for a message in pieces");
	link->partial_bytes += msg->payload.len;
	if (msg->more)
		return 0;
	HASH_DEL(link->partial, in);
	r = message_decode(buf_span(&in->frame), &storage, &whole, err);
	if (r == 0)
		r = check_allowed(link, &whole, 0, err);
	link->partial_bytes -= in->frame.len;
	if (r == 0)
		dispatch(link, &whole, NULL);
	buf_free(&in->frame);
	free(in);
	return r;
}

static int receive(struct link *link, struct span frame, int *fds, unsigned nfds, struct err *err)
{
	union message_fields storage;
	struct message msg;
	int r = message_decode(frame, &storage, &msg, err);

	if (r == 0)
		r = check_allowed(link, &msg, nfds, err);
	if (r == 0 && !link->greeted)
		return greet(link, &msg, err);
	if (r < 0)
		return r;
	if (msg.type == MSG_DATA)
		return incoming_continue(link, &msg, err);
	if (msg.more)
		return incoming_begin(link, &msg, frame, err);
	dispatch(link, &msg, fds);
	return 0;
}

static void on_message(
	struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg)
{
	struct link *link = arg;
	struct err err = {0};
	bool outer = link->dispatching;
	int r;

	(void)sp;
	(void)id;
	if (link->freed || link->closed) {
		for (unsigned i = 0; i < nfds; i++)
			close(fds[i]);
		return;
	}
	link->dispatching = true;
	r = receive(link, body, fds, nfds, &err);
	for (unsigned i = 0; i < nfds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (r < 0)
		link_fail(link, r, err_text(&err));
	link->dispatching = outer;
	if (link->freed && !outer)
		link_release(link);
}

static void on_closed(struct sp *sp, int code, void *arg)
{
	struct link *link = arg;
	bool outer = link->dispatching;

	(void)sp;
	link->dispatching = true;
	link_fail(link, code, err_reason(code));
	link->dispatching = outer;
	if (link->freed && !outer)
		link_release(link);
}

/* --- sending
 * --------------------------------------------------------------------------------------------- */

/* Hand the endpoint the next frame of a waiting message. 1: the message is through; 0: more to
 * come; negative: not now. */
static int outgoing_step(struct link *link, struct outgoing *out)
{
	size_t piece = out->len - out->sent;
	bool more = piece > LIMIT_FRAME_PAYLOAD;
	struct buf data_head;
	struct iovec iov[2];
	int r;

	if (more)
		piece = LIMIT_FRAME_PAYLOAD;
	buf_init(&data_head, MESSAGE_HEADER_SIZE);
	if (out->begun) {
		r = message_encode(&data_head, MSG_DATA, out->stream, more, 0, NULL);
		if (r < 0)
			return r;
		iov[0] = (struct iovec){data_head.data, data_head.len};
	} else {
		out->head.data[2] = more ? MESSAGE_FLAG_MORE : 0;
		iov[0] = (struct iovec){out->head.data, out->head.len};
	}
	iov[1] = (struct iovec){out->payload + out->sent, piece};
	r = sp_send(link->sp, SP_DATA, 0, iov, 2, NULL, 0);
	buf_free(&data_head);
	if (r < 0)
		return r;
	out->begun = true;
	out->sent += piece;
	link->waiting_bytes -= piece;
	return more ? 0 : 1;
}

/* Is an earlier message of the same stream still waiting? */
static bool must_wait(const struct link *link, const struct outgoing *until, uint32_t stream)
{
	const struct outgoing *out;

	DL_FOREACH(link->waiting, out)
	{
		if (out == until)
			return false;
		if (out->stream == stream)
			return true;
	}
	return false;
}

/* Streams take turns, one frame each, until the endpoint has enough; it calls on_writable when it
 * wants more. */
static void pump(struct link *link)
{
	bool moved = true;

	while (moved && link->waiting) {
		struct outgoing *out, *next;

		moved = false;
		DL_FOREACH_SAFE(link->waiting, out, next)
		{
			int r;

			if (must_wait(link, out, out->stream))
				continue;
			r = outgoing_step(link, out);
			if (r < 0)
				return;
			moved = true;
			if (r == 1)
				outgoing_free(link, out);
		}
	}
}

static void on_writable(struct sp *sp, void *arg)
{
	(void)sp;
	pump(arg);
}

static int wait_in_line(struct link *link, enum message_type type, uint32_t stream,
	struct buf *head, struct span payload)
{
	struct outgoing *out;

	if (link->waiting_bytes + payload.len > LIMIT_LINK_QUEUE && link->waiting_bytes > 0)
		return -ERR_AGAIN;
	out = calloc(1, sizeof(*out));
	if (!out)
		return -ERR_NO_MEMORY;
	if (payload.len > 0) {
		out->payload = malloc(payload.len);
		if (!out->payload) {
			free(out);
			return -ERR_NO_MEMORY;
		}
		memcpy(out->payload, payload.p, payload.len);
	}
	out->type = type;
	out->stream = stream;
	out->head = *head;
	buf_init(head, head->max);
	out->len = payload.len;
	link->waiting_bytes += payload.len;
	DL_APPEND(link->waiting, out);
	pump(link);
	return 0;
}

int link_send(struct link *link, enum message_type type, uint32_t stream, const void *fields,
	struct span payload, const int *fds)
{
	const struct message_row *row = message_row(type);
	bool control = row->kind == MESSAGE_CONTROL;
	struct buf head;
	int r;

	if (link->closed || link->freed)
		return -ERR_CLOSED;
	if (payload.len > row->max_payload)
		return -ERR_TOO_LARGE;
	buf_init(&head, MESSAGE_HEADER_SIZE + LIMIT_FRAME_FIELDS);
	r = message_encode(&head, type, stream, false, row->fds, fields);
	if (r == 0 && !control && (link->waiting || payload.len > LIMIT_FRAME_PAYLOAD)) {
		r = wait_in_line(link, type, stream, &head, payload);
	} else if (r == 0) {
		struct iovec iov[2] = {
			{head.data, head.len}, {(void *)(uintptr_t)payload.p, payload.len}};

		r = sp_send(link->sp, control ? SP_CONTROL : SP_DATA, 0, iov, payload.len ? 2 : 1,
			fds, row->fds);
		if (r == -ERR_AGAIN && !control)
			r = wait_in_line(link, type, stream, &head, payload);
	}
	buf_free(&head);
	return r;
}

int link_post(struct link *link, enum message_type type, uint32_t stream, const void *fields)
{
	return link_send(link, type, stream, fields, SPAN_NONE, NULL);
}

/* --- life
 * ----------------------------------------------------------------------------------------------------
 */

static const struct sp_ops sp_handlers = {
	.message = on_message, .closed = on_closed, .writable = on_writable};

static int say_hello(struct link *link)
{
	const struct msg_hello hello = {
		.version = MESSAGE_VERSION,
		.build = SPAN_LIT(GATEHOUSE_BUILD_ID),
		.role = link->config.self,
		.instance = link->config.self_instance,
	};

	return link_post(link, MSG_HELLO, 0, &hello);
}

int link_new(struct event_base *base, int fd, const struct link_config *config,
	const struct link_handlers *handlers, void *arg, struct link **ret_link, struct err *err)
{
	const struct sp_config sp_config = {
		.protocol = SP_PAIR0,
		.mapping = SP_MAPPING_IPC,
		.max_message = LIMIT_FRAME,
		.max_queue = LINK_AHEAD,
		.max_fds = config->self == ROLE_ROOT || config->peer.role == ROLE_ROOT
				   ? LIMIT_FRAME_FDS
				   : 0,
	};
	struct link *link = calloc(1, sizeof(*link));
	int r;

	if (!link) {
		close(fd);
		return err_set(err, ERR_NO_MEMORY, "no memory for a link");
	}
	link->config = *config;
	link->handlers = handlers;
	link->arg = arg;
	link->next_stream = config->opener ? 1 : 2;
	r = sp_new(base, fd, &sp_config, &sp_handlers, link, &link->sp, err);
	if (r < 0) {
		free(link);
		return r;
	}
	r = say_hello(link);
	if (r < 0) {
		link_release(link);
		return err_set(err, (enum err_code) - r, "cannot send HELLO");
	}
	*ret_link = link;
	return 0;
}

uint32_t link_stream(struct link *link)
{
	uint32_t stream = link->next_stream;

	link->next_stream += 2;
	if (link->next_stream < 2)
		link->next_stream += 2;
	return stream;
}

size_t link_queued(const struct link *link)
{
	return link->waiting_bytes + sp_queued(link->sp);
}

void link_drain(struct link *link)
{
	sp_drain(link->sp);
}

bool link_flush(struct link *link)
{
	return sp_flush(link->sp) == 0 && !link->waiting;
}

const struct link_peer *link_peer(const struct link *link)
{
	return &link->config.peer;
}

struct link_peer *link_peer_mut(struct link *link)
{
	return &link->config.peer;
}

void *link_user(const struct link *link)
{
	return link->user;
}

void link_set_user(struct link *link, void *user)
{
	link->user = user;
}
