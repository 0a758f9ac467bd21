#include "link_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

	event_del(&link->retry);
	sp_free(link->sp);
	link_out_free(link);
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

/* --- receiving ------------------------------------------------------------------------------ */

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

static int may_begin(struct link *link, const struct message *msg, size_t len, struct err *err)
{
	const struct message_row *row = message_row(msg->type);
	struct incoming *in;

	HASH_FIND(hh, link->partial, &msg->stream, sizeof(msg->stream), in);
	if (row->kind != MESSAGE_DATA)
		return err_set(err, ERR_PROTOCOL, "%s does not come in pieces", row->name);
	if (in)
		return err_set(err, ERR_PROTOCOL, "%s on stream %u within a message of this stream",
			row->name, msg->stream);
	if (HASH_COUNT(link->partial) >= LINK_PARTIAL_MAX)
		return err_set(err, ERR_TOO_MANY, "more than %u messages in pieces at once",
			LINK_PARTIAL_MAX);
	if (link->partial_bytes + len > LIMIT_LINK_PARTIAL)
		return err_set(err, ERR_TOO_LARGE, "more than %u bytes in pieces at once",
			LIMIT_LINK_PARTIAL);
	return 0;
}

static int incoming_begin(
	struct link *link, const struct message *msg, struct span frame, struct err *err)
{
	struct incoming *in;
	int r = may_begin(link, msg, frame.len, err);

	if (r < 0)
		return r;
	in = calloc(1, sizeof(*in));
	if (!in)
		return err_set(err, ERR_NO_MEMORY, "no memory for a message in pieces");
	in->stream = msg->stream;
	in->type = msg->type;
	buf_init(&in->frame,
		frame.len - msg->payload.len + (size_t)message_row(msg->type)->max_payload);
	if (buf_append_span(&in->frame, frame) < 0) {
		free(in);
		return err_set(err, ERR_NO_MEMORY, "no memory for a message in pieces");
	}
	in->frame.data[2] = 0; /* whole, once it is handed out */
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

static int incoming_end(struct link *link, struct incoming *in, struct err *err)
{
	union message_fields storage;
	struct message whole;
	int r;

	link->partial_bytes -= in->frame.len;
	HASH_DEL(link->partial, in);
	r = message_decode(buf_span(&in->frame), &storage, &whole, err);
	if (r == 0)
		dispatch(link, &whole, NULL);
	buf_free(&in->frame);
	free(in);
	return r;
}

static int incoming_continue(struct link *link, const struct message *msg, struct err *err)
{
	struct incoming *in;
	int r;

	HASH_FIND(hh, link->partial, &msg->stream, sizeof(msg->stream), in);
	if (!in)
		return err_set(
			err, ERR_PROTOCOL, "DATA on stream %u, where nothing began", msg->stream);
	if (link->partial_bytes + msg->payload.len > LIMIT_LINK_PARTIAL)
		return err_set(err, ERR_TOO_LARGE, "more than %u bytes in pieces at once",
			LIMIT_LINK_PARTIAL);
	r = buf_append_span(&in->frame, msg->payload);
	if (r == -ERR_TOO_LARGE)
		return err_set(err, ERR_TOO_LARGE, "%s is longer than %u bytes",
			message_row(in->type)->name, message_row(in->type)->max_payload);
	if (r < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a message in pieces");
	link->partial_bytes += msg->payload.len;
	return msg->more ? 0 : incoming_end(link, in, err);
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

/* --- life ----------------------------------------------------------------------------------- */

static void on_writable(struct sp *sp, void *arg)
{
	(void)sp;
	link_out_pump(arg);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	link_out_pump(arg);
}

const struct sp_ops link_sp_handlers = {
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

struct sp_config link_sp_config(const struct link_config *config)
{
	return (struct sp_config){
		.protocol = SP_PAIR0,
		.mapping = SP_MAPPING_IPC,
		.max_message = LIMIT_FRAME,
		.max_queue = LINK_AHEAD,
		.max_control = LIMIT_LINK_QUEUE,
		.max_fds = config->self == ROLE_ROOT || config->peer.role == ROLE_ROOT
				   ? LIMIT_FRAME_FDS
				   : 0,
	};
}

int link_make(struct event_base *base, const struct link_config *config,
	const struct link_handlers *handlers, void *arg, struct link **ret_link, struct err *err)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return err_set(err, ERR_NO_MEMORY, "no memory for a link");
	link->config = *config;
	link->handlers = handlers;
	link->arg = arg;
	link->next_stream = config->opener ? 1 : 2;
	event_assign(&link->retry, base, -1, 0, on_retry, link);
	*ret_link = link;
	return 0;
}

int link_new(struct event_base *base, int fd, const struct link_config *config,
	const struct link_handlers *handlers, void *arg, struct link **ret_link, struct err *err)
{
	const struct sp_config sp_config = link_sp_config(config);
	struct link *link;
	int r = link_make(base, config, handlers, arg, &link, err);

	if (r < 0) {
		close(fd);
		return r;
	}
	r = sp_new(base, fd, &sp_config, &link_sp_handlers, link, &link->sp, err);
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

void link_drain(struct link *link)
{
	sp_drain(link->sp);
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
