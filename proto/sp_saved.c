/*
 * An endpoint that passes from a program to the one that takes its place (execve): what was received of a message that
 * is not whole, and what was sent and has not left, go along. The socket itself stays open all the time.
 */
#include "sp_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Which queue a message waits in; the one that is partly written is in none. */
#define CURRENT SP_PRIORITY_MAX

static const struct saved_field sp_rows[] = {
	SAVED_MEMBER(struct sp, paused),
	SAVED_MEMBER(struct sp, refused),
	SAVED_MEMBER(struct sp, hello_seen),
	SAVED_MEMBER(struct sp, in_body),
	SAVED_SIGNED(struct sp, broken),
	SAVED_SIGNED(struct sp, loss),
	SAVED_MEMBER(struct sp, loss_at),
	SAVED_MEMBER(struct sp, body_need),
	SAVED_MEMBER(struct sp, received),
	SAVED_MEMBER(struct sp, parsed),
};

static void save_out(const struct out *out, unsigned queue, struct saved_writer *writer)
{
	saved_open(writer, "out");
	saved_put_uint(writer, "queue", queue);
	saved_put_uint(writer, "sent", out->sent);
	saved_put_bytes(writer, "bytes", span_of((const char *)(out->fds + out->nfds), out->len));
	for (unsigned i = 0; i < out->nfds && !out->fds_sent; i++)
		saved_put_fd(writer, "fd", out->fds[i]);
	saved_close(writer);
}

void sp_save(const struct sp *sp, struct saved_writer *writer)
{
	saved_put_fd(writer, "socket", sp->fd);
	saved_put_fields(writer, SAVED_ROWS(sp_rows), sp);
	saved_put_bytes(writer, "head", span_of((const char *)sp->head, sp->head_len));
	saved_put_bytes(writer, "body", span_of(sp->body, sp->body_len));
	if (sp->backlog)
		saved_put_bytes(writer, "backlog",
			span_of(sp->backlog + sp->backlog_at, sp->backlog_len - sp->backlog_at));
	for (unsigned i = 0; i < sp->nfds; i++) {
		saved_open(writer, "pending");
		saved_put_uint(writer, "at", sp->fds[i].at);
		saved_put_fd(writer, "fd", sp->fds[i].fd);
		saved_close(writer);
	}
	if (sp->current)
		save_out(sp->current, CURRENT, writer);
	for (unsigned i = 0; i < SP_PRIORITY_MAX; i++)
		for (const struct out *out = sp->queues[i].first; out; out = out->next)
			save_out(out, i, writer);
}

/* --- loading ---------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a saved endpoint");
}

static int no_sense(struct err *err)
{
	return err_set(err, ERR_PROTOCOL, "a saved endpoint makes no sense");
}

/* The descriptors are named, not duplicated. */
static struct out *make_out(struct span bytes, struct span object)
{
	struct span rest = object;
	struct saved_item item;
	unsigned nfds = 0;
	struct out *out;

	while (saved_next(&rest, &item))
		nfds += saved_is(&item, "fd", SAVED_FD);
	out = malloc(sizeof(*out) + nfds * sizeof(int) + bytes.len);
	if (!out)
		return NULL;
	*out = (struct out){.len = bytes.len, .nfds = nfds};
	nfds = 0;
	while (saved_next(&object, &item))
		if (saved_is(&item, "fd", SAVED_FD))
			out->fds[nfds++] = (int)item.number;
	memcpy(out->fds + nfds, bytes.p, bytes.len);
	return out;
}

static int load_out(struct sp *sp, struct span object, struct err *err)
{
	uint64_t queue = saved_get_uint(object, "queue", SP_DATA);
	uint64_t sent = saved_get_uint(object, "sent", 0);
	struct span bytes = saved_get_bytes(object, "bytes");
	struct out *out;

	if (queue > CURRENT || sent > bytes.len || bytes.len == 0 ||
		(queue == CURRENT && sp->current))
		return no_sense(err);
	out = make_out(bytes, object);
	if (!out)
		return no_memory(err);
	out->sent = sent;
	if (queue == CURRENT) {
		sp->current = out;
	} else {
		*sp->queues[queue].last = out;
		sp->queues[queue].last = &out->next;
	}
	sp->queued += out->len - out->sent;
	return 0;
}

static int load_pending(struct sp *sp, struct span object, struct err *err)
{
	struct pending_fd *grown = realloc(sp->fds, (sp->nfds + 1) * sizeof(*grown));

	if (!grown)
		return no_memory(err);
	sp->fds = grown;
	sp->fds_cap = sp->nfds + 1;
	sp->fds[sp->nfds++] = (struct pending_fd){
		saved_get_uint(object, "at", 0), saved_get_fd(object, "fd")};
	return 0;
}

static int load_bytes(struct span bytes, char **ret, size_t *ret_len, struct err *err)
{
	if (bytes.len == 0)
		return 0;
	*ret = malloc(bytes.len);
	if (!*ret)
		return no_memory(err);
	memcpy(*ret, bytes.p, bytes.len);
	*ret_len = bytes.len;
	return 0;
}

static int load_received(struct sp *sp, struct span saved, struct err *err)
{
	struct span head = saved_get_bytes(saved, "head");
	int r = load_bytes(saved_get_bytes(saved, "body"), &sp->body, &sp->body_len, err);

	sp->body_cap = sp->body_len;
	if (r == 0)
		r = load_bytes(
			saved_get_bytes(saved, "backlog"), &sp->backlog, &sp->backlog_len, err);
	if (r < 0)
		return r;
	if (head.len >= HEADER_MAX || sp->body_need > sp->config.max_message ||
		(sp->in_body ? sp->body_len >= sp->body_need : sp->body_len > 0))
		return no_sense(err);
	if (head.len)
		memcpy(sp->head, head.p, head.len);
	sp->head_len = (unsigned char)head.len;
	return 0;
}

static int load_parts(struct sp *sp, struct span saved, struct err *err)
{
	struct saved_item item;
	int r = saved_get_fields(saved, SAVED_ROWS(sp_rows), sp, err);

	if (r == 0)
		r = load_received(sp, saved, err);
	while (r == 0 && saved_next(&saved, &item)) {
		if (saved_is(&item, "out", SAVED_OBJECT))
			r = load_out(sp, item.bytes, err);
		else if (saved_is(&item, "pending", SAVED_OBJECT))
			r = load_pending(sp, item.bytes, err);
	}
	return r;
}

/* As it was: waiting for what the peer says, and for room to say the rest. */
static int wake(struct sp *sp, struct err *err)
{
	if (!sp->paused && event_add(&sp->read, NULL) < 0)
		return err_set(err, ERR_SYSTEM, "cannot watch socket %d", sp->fd);
	if (!sp->paused && (sp->backlog || sp->broken))
		event_active(&sp->read, EV_READ, 0);
	if (!sp->broken && (sp->queued > 0 || sp->refused))
		event_active(&sp->write, EV_WRITE, 0);
	return 0;
}

/* All but the descriptors, which are the caller's. */
static void forget(struct sp *sp)
{
	if (sp->current)
		sp->current->fds_sent = true;
	for (unsigned i = 0; i < SP_PRIORITY_MAX; i++)
		for (struct out *out = sp->queues[i].first; out; out = out->next)
			out->fds_sent = true;
	sp_out_drop_all(sp);
	sp_in_free(sp);
	event_del(&sp->read);
	event_del(&sp->write);
	free(sp);
}

int sp_load(struct event_base *base, struct span saved, const struct sp_config *config,
	const struct sp_ops *ops, void *arg, struct sp **ret_sp, struct err *err)
{
	int fd = saved_get_fd(saved, "socket"), r;
	struct sp *sp;

	if (fd < 0)
		return no_sense(err);
	sp = sp_make(base, fd, config, ops, arg);
	if (!sp)
		return no_memory(err);
	r = load_parts(sp, saved, err);
	if (r == 0)
		r = wake(sp, err);
	if (r < 0) {
		forget(sp);
		return r;
	}
	*ret_sp = sp;
	return 0;
}
