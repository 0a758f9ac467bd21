#include "listen.h"
#include "call.h"
#include "client.h"
#include "hash.h"
#include "json_write.h"
#include "log.h"

#include <stdlib.h>
#include <utlist.h>

#define URIS_BYTES_MAX (1024u * 1024u)
/* A stream that ended is asked for again after this. */
#define AGAIN_MS 1000

struct listen {
	struct instance *instance;
	uint64_t id;     /* of the request; 0: none */
	uint64_t filter; /* hash of what it asks for */
	struct event *timer;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	listen_update(((struct listen *)arg)->instance);
}

static struct listen *listen_of(struct instance *instance)
{
	struct listen *listen = instance->listen;

	if (listen)
		return listen;
	listen = calloc(1, sizeof(*listen));
	if (!listen)
		return NULL;
	listen->instance = instance;
	listen->timer = evtimer_new(upstream_base(instance->up), on_timer, listen);
	if (!listen->timer) {
		free(listen);
		return NULL;
	}
	instance->listen = listen;
	return listen;
}

void listen_reset(struct instance *instance)
{
	if (!instance->listen)
		return;
	instance->listen->id = 0;
	event_del(instance->listen->timer);
}

void listen_free(struct instance *instance)
{
	if (!instance->listen)
		return;
	event_free(instance->listen->timer);
	free(instance->listen);
	instance->listen = NULL;
}

/* --- what for ---------------------------------------------------------------------------- */

static bool is_first_with(
	const struct client *client, const struct instance *instance, struct span uri)
{
	const struct client *other;

	DL_FOREACH(instance->up->clients, other)
	{
		if (other == client)
			return true;
		if (client_uses(other, instance) && mark_has(other->subscriptions, uri))
			return false;
	}
	return true;
}

static unsigned write_uris(const struct instance *instance, struct buf *out)
{
	const struct client *client;
	const struct mark *mark;
	unsigned n = 0;

	DL_FOREACH(instance->up->clients, client)
	{
		if (!client_uses(client, instance))
			continue;
		for (mark = client->subscriptions; mark; mark = mark->hh.next) {
			struct span uri = span_of(mark->key, mark->hh.keylen);

			if (!is_first_with(client, instance, uri))
				continue;
			if (n++ > 0)
				buf_append_char(out, ',');
			json_write_string(out, uri);
		}
	}
	return n;
}

/*
 * Lists are the same in every conversation with a server, and the catalogue's hears of them; but a
 * process of a client's own may have its own. Returns how many things it asks for.
 */
static unsigned write_filter(const struct instance *instance, struct buf *out)
{
	static const struct {
		const char *capability, *key;
	} lists[] = {
		{"tools.listChanged", "toolsListChanged"},
		{"prompts.listChanged", "promptsListChanged"},
		{"resources.listChanged", "resourcesListChanged"},
	};
	bool hears_lists =
		instance->listing || (!instance_is_shared(instance) && instance->up->ops->has_child);
	struct buf uris;
	unsigned n = 0;

	buf_append_str(out, "{\"notifications\":{");
	for (size_t i = 0; hears_lists && i < sizeof(lists) / sizeof(*lists); i++)
		if (instance_can(instance, lists[i].capability))
			buf_printf(out, "%s\"%s\":true", n++ ? "," : "", lists[i].key);
	buf_init(&uris, URIS_BYTES_MAX);
	if (write_uris(instance, &uris) > 0 && instance_can(instance, "resources.subscribe")) {
		buf_append_str(
			out, n++ ? ",\"resourceSubscriptions\":[" : "\"resourceSubscriptions\":[");
		buf_append_span(out, buf_span(&uris));
		buf_append_char(out, ']');
	}
	if (uris.failed)
		buf_fail(out, uris.failed);
	buf_free(&uris);
	buf_append_str(out, "}}");
	return n;
}

/* --- the request ------------------------------------------------------------------------- */

static void on_over(struct instance *instance, const struct outcome *outcome, void *arg)
{
	const struct timeval again = {.tv_sec = AGAIN_MS / 1000};
	struct listen *listen = instance->listen;

	(void)arg;
	if (!listen || (listen->id && call_find(instance, listen->id)))
		return;
	listen->id = 0;
	if (instance->state != INSTANCE_READY)
		return;
	if (outcome->kind == 1)
		log_debug("server.no_stream", "it refuses subscriptions/listen",
			KV_STR("server", instance->up->server->name));
	else
		event_add(listen->timer, &again);
}

static uint64_t newest(const struct instance *instance)
{
	const struct call *call;
	uint64_t id = 0;

	for (call = instance->calls; call; call = call->hh.next)
		if (call->method == MCP_SUBSCRIPTIONS_LISTEN && call->id > id)
			id = call->id;
	return id;
}

static void stop(struct instance *instance, uint64_t id)
{
	struct call *call = id ? call_find(instance, id) : NULL;

	if (call)
		call_cancel(call, SPAN_NONE);
}

void listen_update(struct instance *instance)
{
	struct listen *listen = instance->listen;
	struct buf params;
	uint64_t filter, before;
	unsigned n;

	if (instance->state != INSTANCE_READY || instance->era != MCP_MODERN)
		return;
	buf_init(&params, URIS_BYTES_MAX + 4096);
	n = write_filter(instance, &params);
	if (params.failed) {
		log_warn("server.no_stream", "there is too much to be listened for",
			KV_STR("server", instance->up->server->name));
		buf_free(&params);
		return;
	}
	filter = hash64(params.data, params.len, 0);
	before = listen ? listen->id : 0;
	if ((n > 0 || before) && (!before || listen->filter != filter) &&
		(listen = listen_of(instance))) {
		listen->id = 0;
		listen->filter = filter;
		if (n > 0 && call_own(instance, MCP_SUBSCRIPTIONS_LISTEN, buf_span(&params), 0,
				     on_over, NULL) == 0)
			listen->id = newest(instance);
		stop(instance, before);
	}
	buf_free(&params);
}
