#include "listen.h"
#include "backoff.h"
#include "call.h"
#include "client.h"
#include "hash.h"
#include "json_write.h"
#include "keep.h"
#include "log.h"

#include <stdlib.h>
#include <utlist.h>

/* Of one stream, for all its clients. */
#define URIS_MAX 65536u
#define URIS_BYTES_MAX (1024u * 1024u)
/* A stream that ended is asked for again after a pause between these, */
#define AGAIN_FIRST_MS 1000u
#define AGAIN_LAST_MS 60000u
/* and one that lasted so long is the first to fail. */
#define LASTED_MS 60000u

struct listen {
	struct instance *instance;
	uint64_t id;     /* of the request; 0: none */
	uint64_t filter; /* hash of what it asks for */
	struct event *timer;
	uint64_t since_ms; /* since when it is asked for */
	unsigned failures; /* in a row */
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
	instance->listen->failures = 0;
	event_del(instance->listen->timer);
}

uint64_t listen_id(const struct instance *instance)
{
	return instance->listen ? instance->listen->id : 0;
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

/* What one client is subscribed to, but for what is there already. */
static void write_marks(
	const struct client *client, struct mark **written, unsigned *n, struct buf *out)
{
	const struct mark *mark;

	for (mark = client->subscriptions; mark; mark = mark->hh.next) {
		struct span uri = span_of(mark->key, mark->hh.keylen);
		int r = mark_has(*written, uri) ? 1 : mark_put(written, uri, URIS_MAX);

		if (r < 0)
			buf_fail(out, r);
		if (r != 0)
			continue;
		if ((*n)++ > 0)
			buf_append_char(out, ',');
		json_write_string(out, uri);
	}
}

static unsigned write_uris(const struct instance *instance, struct buf *out)
{
	const struct client *client;
	struct mark *written = NULL;
	unsigned n = 0;

	DL_FOREACH(instance->up->clients, client)
	{
		if (client_hears(client, instance))
			write_marks(client, &written, &n, out);
	}
	marks_free(&written);
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

static void ask_again_later(struct listen *listen)
{
	uint64_t ms;
	struct timeval tv;

	if (clock_ms() - listen->since_ms > LASTED_MS)
		listen->failures = 0;
	ms = backoff_ms(++listen->failures, AGAIN_FIRST_MS, AGAIN_LAST_MS,
		(uint64_t)(uintptr_t)listen);
	tv = (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
	event_add(listen->timer, &tv);
}

static void on_over(struct instance *instance, const struct outcome *outcome, void *arg)
{
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
		ask_again_later(listen);
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
		listen->since_ms = clock_ms();
		if (n > 0 && call_own(instance, MCP_SUBSCRIPTIONS_LISTEN, buf_span(&params), 0,
				     on_over, NULL) == 0)
			listen->id = newest(instance);
		stop(instance, before);
		keep_changed(instance);
	}
	buf_free(&params);
}
