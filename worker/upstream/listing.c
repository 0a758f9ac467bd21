#include "listing.h"
#include "bounds.h"
#include "call.h"
#include "client.h"
#include "clock.h"
#include "hash.h"
#include "log.h"

#include <stdlib.h>
#include <utlist.h>

/* Changes that come in a row are read once; while they do not end, less and less often. */
#define SETTLE_MS 100u
#define SETTLE_MAX_MS 5000u

static const struct {
	enum mcp_method method;
	enum mcp_method changed;
	const char *capability;
} lists[CATALOGUE_KIND_MAX] = {
	[CATALOGUE_TOOL] = {MCP_TOOLS_LIST, MCP_TOOLS_CHANGED, "tools"},
	[CATALOGUE_RESOURCE] = {MCP_RESOURCES_LIST, MCP_RESOURCES_CHANGED, "resources"},
	[CATALOGUE_TEMPLATE] = {MCP_TEMPLATES_LIST, MCP_RESOURCES_CHANGED, "resources"},
	[CATALOGUE_PROMPT] = {MCP_PROMPTS_LIST, MCP_PROMPTS_CHANGED, "prompts"},
};

struct listing {
	struct instance *instance;
	struct event *timer;
	uint32_t settle_ms;  /* from a change until it is read */
	uint64_t changed_ms; /* when a change was read last */
	bool wanted[CATALOGUE_KIND_MAX];
	bool announced[CATALOGUE_KIND_MAX]; /* the server has said that it changed */
	bool reading;
	enum catalogue_kind kind; /* being read */
	struct buf items;
	unsigned n_items, n_pages;
	struct freshness freshness; /* of the pages so far */
	uint64_t cursors[LIMIT_LIST_PAGES]; /* hashes of those followed */
	struct event *deadline;      /* of the list being read */
	bool expired;
};

static void read_next(struct listing *listing);
static void on_page(struct instance *instance, const struct outcome *outcome, void *arg);

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct listing *listing = arg;

	(void)fd;
	(void)what;
	if (!listing->reading)
		read_next(listing);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct listing *listing = arg;

	(void)fd;
	(void)what;
	listing->expired = true;
}

struct listing *listing_new(struct instance *instance)
{
	struct listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	listing->instance = instance;
	listing->settle_ms = SETTLE_MS / 2;
	buf_init(&listing->items, LIMIT_LIST + 2);
	listing->timer = evtimer_new(upstream_base(instance->up), on_timer, listing);
	listing->deadline = evtimer_new(upstream_base(instance->up), on_deadline, listing);
	if (!listing->timer || !listing->deadline) {
		listing_free(listing);
		return NULL;
	}
	return listing;
}

void listing_free(struct listing *listing)
{
	if (!listing)
		return;
	if (listing->timer)
		event_free(listing->timer);
	if (listing->deadline)
		event_free(listing->deadline);
	buf_free(&listing->items);
	free(listing);
}

void listing_reset(struct listing *listing)
{
	event_del(listing->timer);
	event_del(listing->deadline);
	listing->reading = false;
	memset(listing->wanted, 0, sizeof(listing->wanted));
	memset(listing->announced, 0, sizeof(listing->announced));
	buf_free(&listing->items);
}

/* --- one list -------------------------------------------------------------------------------- */

static void give_up(struct listing *listing, const char *why)
{
	log_warn("server.list_failed", why, KV_STR("server", listing->instance->up->server->name),
		KV_SPAN("method", mcp_method_info(lists[listing->kind].method)->name));
}

/*
 * The server says that a list has changed, and it reads as before. What differs is told through the
 * catalogue; this is for those who asked to hear of the server's word.
 */
static void pass_on_announcement(struct listing *listing)
{
	const struct reporter *reporter = &listing->instance->up->reporter;
	enum catalogue_kind kind = listing->kind;
	bool announced = listing->announced[kind];
	struct client *client;

	listing->announced[kind] = false;
	if (!announced || kind == CATALOGUE_TEMPLATE || !reporter->lists[kind] ||
		!span_equal(buf_span(&listing->items),
			span_of(reporter->lists[kind], reporter->list_len[kind])))
		return;
	DL_FOREACH(listing->instance->up->clients, client)
	{
		const struct instance *instance = client_instance(client);

		/* others hear it in conversations of their own */
		if (client->era == MCP_MODERN || (instance && instance->era == MCP_MODERN))
			client_note(client, NULL, mcp_method_info(lists[kind].changed)->name,
				SPAN_NONE);
	}
}

static void list_over(struct listing *listing, bool complete)
{
	const struct freshness nothing = {0};
	struct upstream *up = listing->instance->up;

	listing->reading = false;
	event_del(listing->deadline);
	if (complete && buf_append_char(&listing->items, ']') == 0) {
		pass_on_announcement(listing);
		reporter_list(up, listing->kind, buf_span(&listing->items), listing->freshness);
	} else if (!up->reporter.lists[listing->kind]) {
		reporter_list(up, listing->kind, SPAN_LIT("[]"), nothing);
	}
	buf_free(&listing->items);
	read_next(listing);
}

static void ask_page(struct listing *listing, struct span cursor)
{
	struct instance *instance = listing->instance;
	struct buf params;

	buf_init(&params, cursor.len + 64);
	if (cursor.len) {
		buf_append_str(&params, "{\"cursor\":");
		buf_append_span(&params, cursor);
		buf_append_char(&params, '}');
	}
	if (call_own(instance, lists[listing->kind].method, buf_span(&params),
		    (uint32_t)instance->up->server->timeout, on_page, listing) < 0) {
		give_up(listing, "the list cannot be asked for");
		buf_free(&params);
		list_over(listing, false);
		return;
	}
	buf_free(&params);
}

static int take_items(struct listing *listing, struct span array)
{
	struct json_iter iter = json_iter(array);
	struct span item;
	int r = 0;

	while (r == 0 && json_iter_element(&iter, &item)) {
		if (json_type(item) != JSON_OBJECT)
			continue;
		if (listing->n_items == LIMIT_LIST_ITEMS)
			return -ERR_TOO_MANY;
		if (listing->items.len + item.len + 2 > LIMIT_LIST)
			return -ERR_TOO_LARGE;
		if (listing->n_items++ > 0)
			r = buf_append_char(&listing->items, ',');
		if (r == 0)
			r = buf_append_span(&listing->items, item);
	}
	return r;
}

/* The list is as fresh as its stalest page. */
static void take_freshness(struct listing *listing, struct span result)
{
	struct freshness *all = &listing->freshness;
	int64_t ttl = 0;
	bool is_public = json_equal_string(
		json_object_get(result, SPAN_LIT("cacheScope")), SPAN_LIT("public"));

	if (listing->instance->era != MCP_MODERN ||
		json_get_int64(json_object_get(result, SPAN_LIT("ttlMs")), &ttl) < 0 || ttl < 0)
		ttl = 0;
	if (ttl > UINT32_MAX)
		ttl = UINT32_MAX;
	if (ttl < all->ttl_ms)
		all->ttl_ms = (uint32_t)ttl;
	all->is_public &= is_public && listing->instance->era == MCP_MODERN;
}

/* A cursor that was followed before leads in a circle. */
static bool is_new_cursor(struct listing *listing, struct span cursor)
{
	uint64_t hash = hash64(cursor.p, cursor.len, 0);

	for (unsigned i = 0; i < listing->n_pages; i++)
		if (listing->cursors[i] == hash)
			return false;
	listing->cursors[listing->n_pages] = hash;
	return true;
}

/* What follows after a page: the next cursor, or none, with a word on why the list is cut. */
static struct span next_cursor(struct listing *listing, struct span result)
{
	struct span cursor = json_object_get(result, SPAN_LIT("nextCursor"));

	if (json_type(cursor) != JSON_STRING)
		return SPAN_NONE;
	if (listing->n_pages >= LIMIT_LIST_PAGES - 1 || listing->expired) {
		give_up(listing, listing->expired ? "it takes too long: the rest is left out"
						  : "it has too many pages: the rest is left out");
		return SPAN_NONE;
	}
	if (!is_new_cursor(listing, cursor)) {
		give_up(listing, "its cursor leads in a circle: the rest is left out");
		return SPAN_NONE;
	}
	listing->n_pages++;
	return cursor;
}

static void on_page(struct instance *instance, const struct outcome *outcome, void *arg)
{
	struct listing *listing = arg;
	struct span cursor, array;

	if (!listing->reading || instance->state != INSTANCE_READY)
		return;
	if (outcome->kind != 0) {
		/* servers often declare resources and know no templates */
		if (outcome->kind == 2 || listing->kind != CATALOGUE_TEMPLATE)
			give_up(listing, outcome->kind == 2 ? err_text(&outcome->err)
							    : "the server refuses it");
		list_over(listing, false);
		return;
	}
	take_freshness(listing, outcome->payload);
	array = json_object_get(
		outcome->payload, mcp_method_info(lists[listing->kind].method)->list);
	if (take_items(listing, array) < 0) {
		give_up(listing, "it is too long: the rest is left out");
		list_over(listing, true);
		return;
	}
	cursor = next_cursor(listing, outcome->payload);
	if (cursor.len)
		ask_page(listing, cursor);
	else
		list_over(listing, true);
}

static void read_list(struct listing *listing, enum catalogue_kind kind)
{
	int64_t ms = listing->instance->up->server->timeout;
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

	listing->kind = kind;
	listing->reading = true;
	listing->expired = false;
	listing->n_items = listing->n_pages = 0;
	listing->freshness = (struct freshness){UINT32_MAX, true};
	buf_clear(&listing->items);
	buf_append_char(&listing->items, '[');
	event_add(listing->deadline, &tv);
	ask_page(listing, SPAN_NONE);
}

/* --- all of them ----------------------------------------------------------------------------- */

static void all_read(struct listing *listing)
{
	struct instance *instance = listing->instance;
	struct upstream *up = instance->up;

	reporter_state(up, SERVER_UP, "", mcp_version_name(instance->version), instance->facts);
	if (up->ops->has_child && !instance_is_shared(instance))
		instance_stop(instance);
}

static void read_next(struct listing *listing)
{
	struct instance *instance = listing->instance;

	if (instance->state != INSTANCE_READY)
		return;
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		if (!listing->wanted[kind])
			continue;
		listing->wanted[kind] = false;
		if (instance_can(instance, lists[kind].capability)) {
			read_list(listing, (enum catalogue_kind)kind);
			return;
		}
		reporter_list(instance->up, (enum catalogue_kind)kind, SPAN_LIT("[]"),
			(struct freshness){0});
	}
	all_read(listing);
}

void listing_begin(struct listing *listing)
{
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		listing->wanted[kind] = true;
	if (!listing->reading)
		read_next(listing);
}

/* One that comes within a pause after the last was read doubles the pause. */
static uint32_t settle_ms(struct listing *listing)
{
	uint64_t now_ms = clock_ms();

	if (now_ms > listing->changed_ms + listing->settle_ms)
		listing->settle_ms = SETTLE_MS;
	else if (listing->settle_ms < SETTLE_MAX_MS)
		listing->settle_ms *= 2;
	listing->changed_ms = now_ms + listing->settle_ms;
	return listing->settle_ms;
}

void listing_changed(struct listing *listing, enum mcp_method method)
{
	struct timeval tv;
	uint32_t ms;

	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (lists[kind].changed == method)
			listing->wanted[kind] = listing->announced[kind] = true;
	/* what is due anyway comes no later for it */
	if (evtimer_pending(listing->timer, NULL))
		return;
	ms = settle_ms(listing);
	tv = (struct timeval){ms / 1000, ms % 1000 * 1000};
	event_add(listing->timer, &tv);
}
