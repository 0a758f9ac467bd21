#include "own_lists.h"
#include "json_write.h"
#include "lists.h"
#include "log.h"
#include "methods.h"
#include "notes.h"
#include "points.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Servers that start a process for it are asked so many at a time. */
#define STARTS_MAX 16u

struct own_item {
	struct span name;     /* exposed, decoded; of resources and templates the URI */
	struct span original; /* the server's own, a JSON string */
	struct span json;     /* as clients see it */
	unsigned flags;       /* enum catalogue_flags */
	UT_hash_handle hh;
	char memory[];
};

struct own_list {
	struct server *server;
	enum catalogue_kind kind;
	bool loaded, outdated;
	bool same;   /* as the catalogue's, which is shown then */
	bool slow; /* the last time: nobody waits for it */
	struct own_item *items;
	uint32_t hint; /* where in the catalogue its next item may be */
	/* while it is to be asked for */
	bool wanted;
	bool waited_for;
	uint64_t deadline_ms;
	struct request *request; /* NULL: not asked yet */
	struct own_item *fresh;
	size_t fresh_bytes;
	unsigned pages;
	bool cut;     /* it is longer than what is taken */
	char *cursor; /* of the page asked for, raw */
};

static const struct {
	enum mcp_method list;
	enum mcp_method use; /* what may wait for the list to find a name */
	enum mcp_method changed;
	const char *key;
	bool named; /* by a name of ours, not by its own URI */
	enum config_part part;
} kinds[CATALOGUE_KIND_MAX] = {
	[CATALOGUE_TOOL] = {MCP_TOOLS_LIST, MCP_TOOLS_CALL, MCP_TOOLS_CHANGED, "name", true,
		CONFIG_TOOLS},
	[CATALOGUE_RESOURCE] = {MCP_RESOURCES_LIST, MCP_METHOD_NONE, MCP_RESOURCES_CHANGED, "uri",
		false, CONFIG_RESOURCES},
	[CATALOGUE_TEMPLATE] = {MCP_TEMPLATES_LIST, MCP_METHOD_NONE, MCP_RESOURCES_CHANGED,
		"uriTemplate", false, CONFIG_RESOURCES},
	[CATALOGUE_PROMPT] = {MCP_PROMPTS_LIST, MCP_METHOD_NONE, MCP_PROMPTS_CHANGED, "name", true,
		CONFIG_PROMPTS},
};

static void items_free(struct own_item **items)
{
	struct own_item *item, *next;

	HASH_ITER (hh, *items, item, next) {
		HASH_DEL(*items, item);
		free(item);
	}
}

void own_lists_free(struct server *server)
{
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		struct own_list *list = server->own[kind];

		if (!list)
			continue;
		items_free(&list->items);
		items_free(&list->fresh);
		free(list->cursor);
		free(list);
		server->own[kind] = NULL;
	}
}

/* The first of the session's servers; NULL when the catalogue's lists stand for all of them. */
static struct server *first_own(const struct worker *worker, enum catalogue_kind kind)
{
	return worker->own_lists[kind] ? worker->servers : NULL;
}

static void count_own(struct worker *worker, enum catalogue_kind kind)
{
	const struct server *server;

	worker->own_lists[kind] = 0;
	for (server = worker->servers; server; server = server->hh.next)
		worker->own_lists[kind] += server->own[kind] && server->own[kind]->loaded &&
					   !server->own[kind]->same;
}

void own_lists_forget(struct worker *worker)
{
	struct server *server;

	for (server = worker->servers; server; server = server->hh.next)
		for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
			struct own_list *list = server->own[kind];

			if (!list)
				continue;
			items_free(&list->items);
			list->loaded = list->same = false;
			list->outdated = true;
		}
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		worker->own_lists[kind] = 0;
}

/* --- names ---------------------------------------------------------------------------------- */

static const struct config_server *config_of(const struct server *server)
{
	return config_find_server(server->worker->config, server->name);
}

/* The name that the catalogue gave it. */
static bool known_name(
	struct own_list *list, uint32_t server, struct span token, struct span *ret_name)
{
	const struct catalogue *catalogue = list->server->worker->catalogue;
	struct catalogue_item item;

	uint32_t count = catalogue_count(catalogue, list->kind, server);

	/* most often in the same order */
	for (uint32_t n = 0; n < count; n++) {
		uint32_t at = (list->hint + n) % count;

		if (!catalogue_get(catalogue, list->kind, server, at, &item) ||
			!json_equal_scalar(item.original, token))
			continue;
		list->hint = at + 1;
		*ret_name = item.name;
		return true;
	}
	return false;
}

/* Does another server have this name, in the catalogue or for this session? */
static bool is_taken(const struct own_list *list, struct span name)
{
	struct worker *worker = list->server->worker;
	struct own_item *item;
	struct catalogue_item other;
	const struct server *server;

	if (catalogue_find(worker->catalogue, list->kind, name, &other, 1) > 0)
		return true;
	for (server = first_own(worker, list->kind); server; server = server->hh.next) {
		item = NULL;
		if (server != list->server && server->own[list->kind])
			HASH_FIND(hh, server->own[list->kind]->items, name.p, name.len, item);
		if (item)
			return true;
	}
	return false;
}

/* Is it in the session's view, and under which name there? name: as at /mcp. */
static bool in_view(const struct own_list *list, struct span name, struct span *ret_name)
{
	return worker_sees(list->server->worker, kinds[list->kind].part, name, ret_name);
}

/* One that the catalogue does not know, made by the same rule. False: it goes without. */
static bool new_name(const struct own_list *list, struct span original,
	char room[CATALOGUE_NAME_MAX + 1], struct span *ret_name)
{
	const struct config_server *config = config_of(list->server);
	struct span given = original;

	if (list->kind == CATALOGUE_TOOL && config) {
		if (!config_offers_tool(config, original))
			return false;
		given = config_tool_name(config, original);
	}
	if (list->server->worker->config->naming != CONFIG_NAMING_PREFIX)
		return given.len > 0 && given.len <= LIMIT_TOOL_NAME &&
		       in_view(list, given, ret_name) && !is_taken(list, *ret_name);
	for (unsigned attempt = 0; given.len && attempt < CATALOGUE_NAME_ATTEMPTS; attempt++) {
		catalogue_make_name(span_str(list->server->name), given, attempt, room);
		if (!in_view(list, span_str(room), ret_name))
			return false;
		if (!is_taken(list, *ret_name))
			return true;
	}
	return false;
}

/* --- items ---------------------------------------------------------------------------------- */

static unsigned flags_of(struct span json, bool renamed)
{
	static const struct {
		const char *name;
		unsigned flag;
	} hints[] = {
		{"readOnlyHint", CATALOGUE_READ_ONLY}, {"idempotentHint", CATALOGUE_IDEMPOTENT}};
	unsigned flags = renamed ? CATALOGUE_RENAMED : 0;

	for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
		if (span_is(json_path(json, "annotations", hints[i].name, NULL), "true"))
			flags |= hints[i].flag;
	return flags;
}

static struct span put(char **at, struct span bytes)
{
	struct span copy = span_of(*at, bytes.len);

	memcpy(*at, bytes.p, bytes.len);
	*at += bytes.len;
	return copy;
}

static void add(struct own_list *list, struct span name, struct span token, struct span json,
	unsigned flags)
{
	struct own_item *item;
	size_t bytes = name.len + token.len + json.len;
	char *at;

	HASH_FIND(hh, list->fresh, name.p, name.len, item);
	if (item)
		return;
	list->cut |= HASH_COUNT(list->fresh) >= LIMIT_LIST_ITEMS ||
		     list->fresh_bytes + bytes > LIMIT_LIST;
	if (list->cut)
		return;
	item = malloc(sizeof(*item) + bytes);
	if (!item)
		return;
	at = item->memory;
	*item = (struct own_item){.flags = flags};
	item->name = put(&at, name);
	item->original = put(&at, token);
	item->json = put(&at, json);
	list->fresh_bytes += bytes;
	HASH_ADD_KEYPTR(hh, list->fresh, item->name.p, item->name.len, item);
}

static void add_renamed(
	struct own_list *list, struct span name, struct span token, struct span json)
{
	struct json_edit edit = {.at = token};
	struct buf quoted, out;

	buf_init(&quoted, 1024);
	buf_init(&out, json.len + 1024);
	if (json_write_string(&quoted, name) == 0) {
		edit.with = buf_span(&quoted);
		if (json_splice(json, &edit, 1, &out) == 0)
			add(list, name, token, buf_span(&out), flags_of(json, true));
	}
	buf_free(&quoted);
	buf_free(&out);
}

/* As the registry does with what it reads itself. */
static bool is_refused(const struct own_list *list, uint32_t index, struct span json)
{
	struct catalogue_server server;

	if (list->kind != CATALOGUE_TOOL || !memmem(json.p, json.len, "\"x-mcp-header\"", 14))
		return false;
	catalogue_get_server(list->server->worker->catalogue, index, &server);
	return catalogue_server_has_headers(&server) &&
	       mcp_header_fault(json_object_get(json, SPAN_LIT("inputSchema")));
}

static void take_item(struct own_list *list, uint32_t server, struct span json)
{
	struct span token = json_object_get(json, span_str(kinds[list->kind].key)), original, name;
	char room[CATALOGUE_TEMPLATE_MAX], exposed[CATALOGUE_NAME_MAX + 1];

	if (json_string_copy(token, room, sizeof(room), &original) < 0 ||
		is_refused(list, server, json))
		return;
	if (!kinds[list->kind].named) {
		if (in_view(list, original, &name))
			add(list, name, token, json, 0);
	} else if (known_name(list, server, token, &name) ||
		   new_name(list, original, exposed, &name)) {
		add_renamed(list, name, token, json);
	}
}

/* --- asking --------------------------------------------------------------------------------- */

static bool is_waited_for(const struct worker *worker, enum catalogue_kind kind)
{
	const struct server *server;

	for (server = worker->servers; server; server = server->hh.next)
		if (server->own[kind] && server->own[kind]->wanted && server->own[kind]->waited_for)
			return true;
	return false;
}

static struct request *next_waiting(const struct worker *worker, enum catalogue_kind kind)
{
	struct request *request;

	DL_FOREACH(worker->requests, request)
	{
		if (request->awaits_lists &&
			(request->method == kinds[kind].list || request->method == kinds[kind].use))
			return request;
	}
	return NULL;
}

/* What waited is answered; a call finds its name, or is told that there is none. */
static void go_on(struct request *request, enum catalogue_kind kind)
{
	char *params = request->params;
	struct span copy = span_of(params, request->params_len);

	request->awaits_lists = false;
	if (request->method == kinds[kind].list) {
		list_answer(request, SPAN_NONE);
		return;
	}
	request->params = NULL;
	request->params_len = 0;
	method_find(request->method)(request, copy);
	free(params);
}

static void all_go_on(struct worker *worker, enum catalogue_kind kind)
{
	struct request *request;

	while (!is_waited_for(worker, kind) && (request = next_waiting(worker, kind)))
		go_on(request, kind);
}

/* Item by item what the catalogue has of this server: it need not be kept twice. */
static bool is_catalogues(const struct own_list *list)
{
	const struct catalogue *catalogue = list->server->worker->catalogue;
	const struct own_item *own;
	struct catalogue_item item;
	uint32_t server, n = 0;

	if (!catalogue ||
		catalogue_find_server(catalogue, span_str(list->server->name), &server) < 0 ||
		catalogue_count(catalogue, list->kind, server) != HASH_COUNT(list->items))
		return false;
	for (own = list->items; own; own = own->hh.next, n++)
		if (!catalogue_get(catalogue, list->kind, server, n, &item) ||
			!span_equal(own->name, item.name) || !span_equal(own->json, item.json))
			return false;
	return true;
}

static void take_over(struct own_list *list)
{
	struct server *server = list->server;

	items_free(&list->items);
	list->items = list->fresh;
	list->fresh = NULL;
	list->loaded = true;
	list->same = is_catalogues(list);
	if (list->same)
		items_free(&list->items);
	count_own(server->worker, list->kind);
	/* what it was asked for alone ends with it */
	if (list->same && !server->called)
		server_let_go(server);
	/* the client has been shown the catalogue's meanwhile */
	if (!list->same && !list->waited_for)
		notes_changed(server->worker, kinds[list->kind].changed);
}

static void ask_wanted(struct worker *worker, enum catalogue_kind kind);

static void over(struct own_list *list, bool complete)
{
	struct worker *worker = list->server->worker;

	if (list->cut)
		log_warn("server.list_cut", "the list is too long: the rest is left out",
			KV_STR("server", list->server->name),
			KV_SPAN("method", mcp_method_info(kinds[list->kind].list)->name));
	if (complete)
		take_over(list);
	else
		list->outdated = true;
	list->slow = !complete && worker_now(worker) >= list->deadline_ms;
	items_free(&list->fresh);
	list->fresh_bytes = 0;
	free(list->cursor);
	list->cursor = NULL;
	list->request = NULL;
	list->wanted = list->waited_for = false;
	ask_wanted(worker, list->kind);
	all_go_on(worker, list->kind);
}

static int ask_page(struct own_list *list, struct span cursor)
{
	uint64_t now_ms = worker_now(list->server->worker);
	struct buf params;
	int r;

	buf_init(&params, 65536);
	if (cursor.len)
		buf_printf(&params, "{\"cursor\":%.*s}", SPAN_ARG(cursor));
	free(list->cursor);
	list->cursor = strndup(cursor.p ? cursor.p : "", cursor.len);
	list->cut |= list->pages++ == LIMIT_LIST_PAGES || now_ms >= list->deadline_ms;
	r = list->cursor && !list->cut ? 0 : -ERR_TOO_MANY;
	if (r == 0)
		r = server_call(list->server->worker, span_str(list->server->name), list->request,
			SPAN_NONE, buf_span(&params), (uint32_t)(list->deadline_ms - now_ms));
	buf_free(&params);
	return r;
}

/* True: there is another page, which has been asked for. */
static bool take_page(struct own_list *list, struct span result)
{
	struct worker *worker = list->server->worker;
	struct json_iter iter =
		json_iter(json_object_get(result, mcp_method_info(kinds[list->kind].list)->list));
	struct span cursor = json_object_get(result, SPAN_LIT("nextCursor")), item;
	uint32_t server;

	if (!worker->catalogue ||
		catalogue_find_server(worker->catalogue, span_str(list->server->name), &server) < 0)
		return false;
	while (json_iter_element(&iter, &item))
		take_item(list, server, item);
	/* one that leads nowhere is no page */
	return json_type(cursor) == JSON_STRING && POINT(PAGES) &&
	       !json_equal_scalar(cursor, span_str(list->cursor)) && ask_page(list, cursor) == 0;
}

static bool on_page(struct request *request, const struct reply *reply, void *arg)
{
	struct own_list *list = arg;

	(void)request;
	if (reply->kind == 0 && take_page(list, reply->payload))
		return true;
	over(list, reply->kind == 0);
	return false;
}

/* False: it could not be asked. */
static bool ask(struct own_list *list)
{
	struct worker *worker = list->server->worker;

	list->outdated = false;
	list->cut = false;
	list->pages = 0;
	list->hint = 0;
	list->deadline_ms = worker_now(worker) + (uint64_t)worker->config->session_list_timeout;
	list->request = request_new_own(worker, kinds[list->kind].list, on_page, list);
	if (list->request && ask_page(list, SPAN_NONE) == 0)
		return true;
	if (list->request)
		request_free(list->request);
	list->request = NULL;
	list->wanted = list->waited_for = false;
	list->outdated = true;
	return false;
}

/* Does asking it start a process? */
static bool is_heavy(const struct own_list *list)
{
	struct catalogue_server facts = {.transport = SERVER_HTTP};
	uint32_t index;

	if (!list->server->link && list->server->worker->catalogue &&
		catalogue_find_server(list->server->worker->catalogue,
			span_str(list->server->name), &index) == 0)
		catalogue_get_server(list->server->worker->catalogue, index, &facts);
	return facts.transport == SERVER_STDIO;
}

/* Ask those that are wanted, but not all at once. */
static void ask_wanted(struct worker *worker, enum catalogue_kind kind)
{
	struct server *server;
	unsigned asked = 0;

	for (server = worker->servers; server; server = server->hh.next)
		asked += server->own[kind] && server->own[kind]->request;
	for (server = worker->servers; server; server = server->hh.next) {
		struct own_list *list = server->own[kind];

		if (list && list->wanted && !list->request &&
			(asked < STARTS_MAX || !is_heavy(list)))
			asked += ask(list);
	}
}

/*
 * Must this server be asked for its list? What it offers to this client is known only by asking
 * where each session has a conversation of its own with it: a process, or a session over HTTP. The
 * first list begins that conversation, unless others have shown that clients of this kind get what
 * the catalogue has.
 */
static bool is_due(const struct worker *worker, const struct catalogue_server *facts,
	const struct server *server, enum catalogue_kind kind)
{
	static const char *const capabilities[CATALOGUE_KIND_MAX] = {
		"tools", "resources", "resources", "prompts"};
	const struct own_list *list = server ? server->own[kind] : NULL;

	if ((facts->isolation == SERVER_SHARED && facts->transport == SERVER_STDIO) ||
		facts->state != SERVER_UP || !mcp_capable(facts->capabilities, capabilities[kind]))
		return false;
	if ((!server || !server->link) &&
		catalogue_is_alike(facts, session_kind(&worker->session), kind))
		return false;
	return !list || !list->loaded || list->outdated;
}

static struct server *server_at(struct worker *worker, uint32_t index)
{
	struct catalogue_server facts;

	catalogue_get_server(worker->catalogue, index, &facts);
	return server_find(worker, facts.name);
}

static void want(struct worker *worker, const struct catalogue_server *facts, enum catalogue_kind kind)
{
	struct server *server = server_get(worker, facts->name);
	struct own_list *list = server ? server->own[kind] : NULL;

	if (server && !list) {
		list = calloc(1, sizeof(*list));
		if (list)
			*list = (struct own_list){.server = server, .kind = kind};
		server->own[kind] = list;
	}
	if (!list || list->wanted)
		return;
	list->wanted = true;
	/* of one that has kept others waiting the next answer comes when it comes */
	list->waited_for = !list->slow;
}

bool own_lists_fetch(struct request *request, enum catalogue_kind kind)
{
	struct worker *worker = request->worker;
	uint32_t n = worker->catalogue && worker->session.era == MCP_LEGACY
			     ? catalogue_servers(worker->catalogue)
			     : 0;
	struct catalogue_server facts;

	for (uint32_t i = 0; i < n; i++) {
		catalogue_get_server(worker->catalogue, i, &facts);
		if (is_due(worker, &facts, server_find(worker, facts.name), kind))
			want(worker, &facts, kind);
	}
	ask_wanted(worker, kind);
	request->awaits_lists = is_waited_for(worker, kind);
	request->lists_until_ms =
		worker_now(worker) + (uint64_t)worker->config->session_list_timeout;
	if (request->awaits_lists)
		worker_tick_in(worker, (uint64_t)worker->config->session_list_timeout);
	return request->awaits_lists;
}

/* Those for whom it takes too long: what comes later is told as a change. */
static void stop_waiting(struct worker *worker, enum catalogue_kind kind)
{
	struct server *server;

	for (server = worker->servers; server; server = server->hh.next) {
		struct own_list *list = server->own[kind];

		if (!list || !list->wanted || !list->waited_for)
			continue;
		list->waited_for = false;
		log_info("server.list_late", "a list went out without asking it further",
			KV_STR("server", server->name),
			KV_SPAN("method", mcp_method_info(kinds[kind].list)->name));
	}
	all_go_on(worker, kind);
}

void own_lists_tick(struct worker *worker, uint64_t now_ms)
{
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		const struct request *request = next_waiting(worker, (enum catalogue_kind)kind);

		if (!request)
			continue;
		if (now_ms >= request->lists_until_ms)
			stop_waiting(worker, (enum catalogue_kind)kind);
		else
			worker_tick_in(worker, request->lists_until_ms - now_ms);
	}
}

void own_lists_outdated(struct server *server, enum mcp_method note)
{
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (server->own[kind] &&
			(note == MCP_METHOD_NONE || note == kinds[kind].changed))
			server->own[kind]->outdated = true;
}

static bool part_differs(const struct catalogue *a, const struct catalogue *b, struct span server,
	enum catalogue_kind kind)
{
	uint32_t x, y;

	/* none: its view has not come yet */
	return !a || !b || catalogue_find_server(a, server, &x) < 0 ||
	       catalogue_find_server(b, server, &y) < 0 ||
	       list_part_differs(a, x, b, y, kind);
}

void own_lists_catalogue_changed(struct worker *worker, const struct catalogue *before)
{
	struct server *server;

	for (server = worker->servers; server; server = server->hh.next)
		for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
			if (server->own[kind] && part_differs(before, worker->catalogue,
							 span_str(server->name),
							 (enum catalogue_kind)kind))
				server->own[kind]->outdated = true;
}

/* --- looking -------------------------------------------------------------------------------- */

static bool give(struct worker *worker, const struct server *server, const struct own_item *found,
	enum catalogue_kind kind, struct catalogue_item *ret_item)
{
	uint32_t index;

	if (!worker->catalogue ||
		catalogue_find_server(worker->catalogue, span_str(server->name), &index) < 0)
		return false;
	*ret_item = (struct catalogue_item){
		.kind = kind,
		.server = index,
		.flags = found->flags,
		.name = found->name,
		.original = found->original,
		.json = found->json,
	};
	return true;
}

/* Of servers that claim the same, the first of the configuration has it, as in the catalogue. */
static bool give_first(struct worker *worker, const struct server *server,
	const struct own_item *found, enum catalogue_kind kind, bool before,
	struct catalogue_item *item)
{
	struct catalogue_item candidate;

	if (!give(worker, server, found, kind, &candidate))
		return before;
	if (!before || candidate.server < item->server)
		*item = candidate;
	return true;
}

bool own_lists_find(struct worker *worker, enum catalogue_kind kind, struct span name,
	struct catalogue_item *ret_item)
{
	const struct server *server;
	struct own_item *item;
	bool found = false;

	for (server = first_own(worker, kind); server; server = server->hh.next) {
		if (!server->own[kind])
			continue;
		HASH_FIND(hh, server->own[kind]->items, name.p, name.len, item);
		if (item)
			found = give_first(worker, server, item, kind, found, ret_item);
	}
	return found;
}

bool own_lists_match(struct worker *worker, struct span uri, struct catalogue_item *ret_item)
{
	const struct server *server;
	const struct own_item *item;
	bool found = false;

	for (server = first_own(worker, CATALOGUE_TEMPLATE); server; server = server->hh.next) {
		for (item = server->own[CATALOGUE_TEMPLATE] ? server->own[CATALOGUE_TEMPLATE]->items
							    : NULL;
			item && !catalogue_template_matches(item->name, uri); item = item->hh.next)
			;
		if (item)
			found = give_first(
				worker, server, item, CATALOGUE_TEMPLATE, found, ret_item);
	}
	return found;
}

/* The list that stands in the place of the catalogue's; NULL: none. */
static const struct own_list *instead(const struct own_walk *walk)
{
	const struct server *server =
		first_own(walk->worker, walk->kind) ? server_at(walk->worker, walk->server) : NULL;
	const struct own_list *list = server ? server->own[walk->kind] : NULL;

	return list && list->loaded && !list->same ? list : NULL;
}

static void enter_server(struct own_walk *walk)
{
	const struct catalogue *catalogue = walk->worker->catalogue;
	const struct own_list *list = NULL;

	if (catalogue && walk->server < catalogue_servers(catalogue))
		list = instead(walk);
	walk->n = 0;
	walk->own = list != NULL;
	walk->item = list ? list->items : NULL;
}

struct own_walk own_walk(struct worker *worker, enum catalogue_kind kind)
{
	struct own_walk walk = {.worker = worker, .kind = kind};

	enter_server(&walk);
	return walk;
}

/* A URI that several servers claim is read from one of them: the others' items are not shown. */
static bool is_shadowed(const struct own_walk *walk, struct span name)
{
	struct catalogue_item owner;

	if (kinds[walk->kind].named)
		return false;
	return (own_lists_find(walk->worker, walk->kind, name, &owner) ||
		       catalogue_find(walk->worker->catalogue, walk->kind, name, &owner, 1) > 0) &&
	       owner.server != walk->server;
}

static bool take_step(struct own_walk *walk, struct span *ret_name, struct span *ret_json)
{
	const struct catalogue *catalogue = walk->worker->catalogue;
	struct catalogue_item item;

	while (catalogue && walk->server < catalogue_servers(catalogue)) {
		if (walk->item) {
			*ret_name = walk->item->name;
			*ret_json = walk->item->json;
			walk->item = walk->item->hh.next;
			return true;
		}
		if (!walk->own &&
			catalogue_get(catalogue, walk->kind, walk->server, walk->n, &item)) {
			walk->n++;
			*ret_name = item.name;
			*ret_json = item.json;
			return true;
		}
		walk->server++;
		enter_server(walk);
	}
	return false;
}

bool own_walk_next(struct own_walk *walk, struct span *ret_json)
{
	struct span name;

	while (take_step(walk, &name, ret_json))
		if (!is_shadowed(walk, name))
			return true;
	return false;
}

uint32_t own_lists_count(struct worker *worker, enum catalogue_kind kind)
{
	struct own_walk walk = {.worker = worker, .kind = kind};
	uint32_t total = 0;

	if (!worker->catalogue)
		return 0;
	for (; walk.server < catalogue_servers(worker->catalogue); walk.server++) {
		const struct own_list *list = instead(&walk);

		total += list ? HASH_COUNT(list->items)
			      : catalogue_count(worker->catalogue, kind, walk.server);
	}
	return total;
}
