/* A link that passes from a program to the one that takes its place. See sp_saved.c. */
#include "link_private.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const struct saved_field config_rows[] = {
	SAVED_ENUM(struct link_config, self, ROLE_MAX),
	SAVED_MEMBER(struct link_config, self_instance),
	SAVED_MEMBER(struct link_config, opener),
};

static const struct saved_field peer_rows[] = {
	SAVED_ENUM(struct link_peer, role, ROLE_MAX),
	SAVED_MEMBER(struct link_peer, instance),
	SAVED_TEXT(struct link_peer, name),
};

static const struct saved_field link_rows[] = {
	SAVED_MEMBER(struct link, next_stream),
	SAVED_MEMBER(struct link, greeted),
	SAVED_MEMBER(struct link, next_order),
};

static const struct saved_field outgoing_rows[] = {
	SAVED_MEMBER(struct outgoing, order),
	SAVED_MEMBER(struct outgoing, sent),
	SAVED_MEMBER(struct outgoing, begun),
	SAVED_MEMBER(struct outgoing, behind),
};

static void save_outgoing(
	const struct out_stream *stream, const struct outgoing *out, struct saved_writer *writer)
{
	saved_open(writer, "outgoing");
	saved_put_uint(writer, "stream", stream->stream);
	saved_put_fields(writer, SAVED_ROWS(outgoing_rows), out);
	saved_put_bytes(writer, "head", buf_span(&out->head));
	saved_put_bytes(writer, "payload", span_of(out->payload, out->len));
	saved_close(writer);
}

static void save_incoming(const struct incoming *in, struct saved_writer *writer)
{
	saved_open(writer, "incoming");
	saved_put_uint(writer, "stream", in->stream);
	saved_put_uint(writer, "message", message_row(in->type)->number);
	saved_put_uint(writer, "max", in->frame.max);
	saved_put_bytes(writer, "frame", buf_span(&in->frame));
	saved_close(writer);
}

void link_save(const struct link *link, struct saved_writer *writer)
{
	const struct out_stream *stream;
	const struct outgoing *out;

	saved_put_fields(writer, SAVED_ROWS(config_rows), &link->config);
	saved_open(writer, "peer");
	saved_put_fields(writer, SAVED_ROWS(peer_rows), &link->config.peer);
	saved_close(writer);
	saved_put_fields(writer, SAVED_ROWS(link_rows), link);
	saved_open(writer, "endpoint");
	sp_save(link->sp, writer);
	saved_close(writer);
	DL_FOREACH(link->turns, stream)
	{
		DL_FOREACH(stream->messages, out)
		{
			save_outgoing(stream, out, writer);
		}
	}
	for (const struct incoming *in = link->partial; in; in = in->hh.next)
		save_incoming(in, writer);
}

/* --- loading ---------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a saved link");
}

static int no_sense(struct err *err)
{
	return err_set(err, ERR_PROTOCOL, "a saved link makes no sense");
}

static int fill_outgoing(struct outgoing *out, struct span object, struct err *err)
{
	struct span payload = saved_get_bytes(object, "payload");
	int r = saved_get_fields(object, SAVED_ROWS(outgoing_rows), out, err);

	if (r < 0)
		return r;
	buf_init(&out->head, MESSAGE_HEADER_SIZE + LIMIT_FRAME_FIELDS);
	if (out->sent > payload.len)
		return no_sense(err);
	if (buf_append_span(&out->head, saved_get_bytes(object, "head")) < 0)
		return no_memory(err);
	if (out->head.len < MESSAGE_HEADER_SIZE)
		return no_sense(err);
	out->payload = payload.len ? malloc(payload.len) : NULL;
	if (payload.len && !out->payload)
		return no_memory(err);
	if (payload.len)
		memcpy(out->payload, payload.p, payload.len);
	out->len = payload.len;
	return 0;
}

static int load_outgoing(struct link *link, struct span object, struct err *err)
{
	struct outgoing *out = calloc(1, sizeof(*out));
	int r;

	if (!out)
		return no_memory(err);
	r = fill_outgoing(out, object, err);
	if (r < 0) {
		link_outgoing_free(out);
		return r;
	}
	if (link_out_append(link, (uint32_t)saved_get_uint(object, "stream", 0), out) < 0)
		return no_memory(err);
	return 0;
}

static int load_incoming(struct link *link, struct span object, struct err *err)
{
	struct span frame = saved_get_bytes(object, "frame");
	struct incoming *in = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return no_memory(err);
	in->stream = (uint32_t)saved_get_uint(object, "stream", 0);
	in->type = message_by_number((uint16_t)saved_get_uint(object, "message", 0));
	buf_init(&in->frame, saved_get_uint(object, "max", frame.len));
	r = in->type == MSG_NONE || frame.len < MESSAGE_HEADER_SIZE ? no_sense(err) : 0;
	if (r == 0 && buf_append_span(&in->frame, frame) < 0)
		r = no_memory(err);
	if (r < 0) {
		buf_free(&in->frame);
		free(in);
		return r;
	}
	link->partial_bytes += frame.len;
	HASH_ADD(hh, link->partial, stream, sizeof(in->stream), in);
	return 0;
}

static int load_parts(struct link *link, struct span saved, struct err *err)
{
	struct span values = saved;
	struct saved_item item;
	int r = saved_get_fields(saved, SAVED_ROWS(link_rows), link, err);

	while (r == 0 && saved_next(&values, &item)) {
		if (saved_is(&item, "outgoing", SAVED_OBJECT))
			r = load_outgoing(link, item.bytes, err);
		else if (saved_is(&item, "incoming", SAVED_OBJECT))
			r = load_incoming(link, item.bytes, err);
	}
	return r;
}

static void forget(struct link *link)
{
	struct incoming *in, *next;

	link_out_free(link);
	HASH_ITER (hh, link->partial, in, next) {
		HASH_DEL(link->partial, in);
		buf_free(&in->frame);
		free(in);
	}
	free(link);
}

int link_load(struct event_base *base, struct span saved, const struct link_handlers *handlers,
	void *arg, struct link **ret_link, struct err *err)
{
	struct link_config config = {0};
	struct sp_config sp_config;
	struct link *link;
	int r = saved_get_fields(saved, SAVED_ROWS(config_rows), &config, err);

	if (r == 0)
		r = saved_get_fields(
			saved_get_object(saved, "peer"), SAVED_ROWS(peer_rows), &config.peer, err);
	if (r == 0)
		r = link_make(base, &config, handlers, arg, &link, err);
	if (r < 0)
		return r;
	sp_config = link_sp_config(&config);
	r = load_parts(link, saved, err);
	/* last: from here the descriptors are the link's */
	if (r == 0)
		r = sp_load(base, saved_get_object(saved, "endpoint"), &sp_config,
			&link_sp_handlers, link, &link->sp, err);
	if (r < 0) {
		forget(link);
		return r;
	}
	if (link->waiting)
		event_active(&link->retry, EV_TIMEOUT, 0);
	*ret_link = link;
	return 0;
}
