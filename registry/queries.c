/* What the admin process asks of the registry, as JSON. */
#include "clock.h"
#include "json_write.h"
#include "log.h"
#include "registry.h"

#define REPLY_MAX (16u * 1024 * 1024)
/* Besides the JSON that is taken over as it is: names,
 * at worst escaped to six times their length. */
#define ROW_SPARE (6u * (CATALOGUE_URI_MAX + ERR_DETAIL_MAX) + 1024)

static void member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, "\"%s\":", key);
	json_write_string(out, value);
	buf_append_char(out, ',');
}

static bool has_room(const struct buf *out, size_t len)
{
	return out->len + len + ROW_SPARE < out->max;
}

/* The end of a list, which may have been cut. */
static void end_list(struct buf *out, bool whole)
{
	buf_append_str(out, whole ? "]}" : "],\"truncated\":true}");
}

/* NULL: it is no longer configured; the next catalogue has it no more. */
static const struct server *server_of(struct registry *registry, uint32_t index, struct span name)
{
	if (index < registry->config->server_count &&
		span_is(name, registry->servers[index].config->name))
		return &registry->servers[index];
	return registry_find(registry, name);
}

static void write_server(
	const struct server *server, const struct catalogue_server *row, struct buf *out)
{
	buf_append_char(out, '{');
	member(out, "name", row->name);
	member(out, "state", span_str(server_state_name(row->state)));
	member(out, "transport", span_str(server_transport_name(row->transport)));
	member(out, "isolation", span_str(server_isolation_name(row->isolation)));
	member(out, "version", row->version);
	member(out, "error", row->error);
	if (row->info.len) {
		buf_append_str(out, "\"serverInfo\":");
		buf_append_span(out, row->info);
		buf_append_char(out, ',');
	}
	buf_printf(out,
		"\"required\":%s,\"tools\":%u,\"resources\":%u,\"templates\":%u,\"prompts\":%u,\"timeout_ms\":%u,"
		"\"since_ms\":%llu}",
		server && server->config->required ? "true" : "false", row->count[CATALOGUE_TOOL],
		row->count[CATALOGUE_RESOURCE], row->count[CATALOGUE_TEMPLATE],
		row->count[CATALOGUE_PROMPT], row->call_timeout_ms,
		(unsigned long long)(server ? clock_ms() - server->since_ms : 0));
}

static void write_servers(struct registry *registry, struct buf *out)
{
	uint32_t n = catalogue_servers(registry->catalogue), i;

	buf_append_str(out, "{\"servers\":[");
	for (i = 0; i < n; i++) {
		struct catalogue_server row;

		catalogue_get_server(registry->catalogue, i, &row);
		if (!has_room(out, row.info.len))
			break;
		if (i > 0)
			buf_append_char(out, ',');
		write_server(server_of(registry, i, row.name), &row, out);
	}
	end_list(out, i == n);
}

static void write_item(const struct catalogue_item *item, struct span server, struct buf *out)
{
	buf_append_char(out, '{');
	member(out, "name", item->name);
	member(out, "server", server);
	buf_append_str(out, "\"original\":");
	buf_append_span(out, item->original.len ? item->original : SPAN_LIT("null"));
	buf_printf(out,
		",\"readOnly\":%s,\"idempotent\":%s,\"digest\":\"%016llx\",\"bytes\":%zu,"
		"\"definition\":",
		item->flags & CATALOGUE_READ_ONLY ? "true" : "false",
		item->flags & CATALOGUE_IDEMPOTENT ? "true" : "false",
		(unsigned long long)item->digest, item->json.len);
	buf_append_span(out, item->json);
	buf_append_char(out, '}');
}

static void write_items(const struct catalogue *catalogue, enum catalogue_kind kind,
	const char *name, struct buf *out)
{
	struct catalogue_item item;
	struct catalogue_server server;
	bool more;

	buf_printf(out, "{\"%s\":[", name);
	for (uint32_t n = 0;
		(more = catalogue_get(catalogue, kind, CATALOGUE_ALL_SERVERS, n, &item));
		n++) {
		/* a name may be as long as its JSON, and escaped anew */
		if (!has_room(out, item.json.len + item.original.len + 6 * item.name.len))
			break;
		catalogue_get_server(catalogue, item.server, &server);
		if (n > 0)
			buf_append_char(out, ',');
		write_item(&item, server.name, out);
	}
	end_list(out, !more);
}

/* The lists of all, or of the view that the question names. */
static const struct {
	const char *what;
	enum catalogue_kind kind;
} lists[] = {
	{"tools", CATALOGUE_TOOL},
	{"resources", CATALOGUE_RESOURCE},
	{"templates", CATALOGUE_TEMPLATE},
	{"prompts", CATALOGUE_PROMPT},
};

static int write_list(const struct catalogue *whole, const struct message *msg, struct buf *out,
	struct err *err)
{
	const struct msg_query *query = msg->fields;
	struct catalogue *view = NULL;
	struct span bytes;
	int r = -ERR_NOT_FOUND;

	if (msg->payload.len) {
		bytes = catalogue_view_bytes(whole, msg->payload);
		r = bytes.len ? catalogue_parse(bytes, &view, err)
			      : err_set(err, ERR_NOT_FOUND, "there is no virtual server '%.*s'",
					SPAN_ARG(msg->payload));
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		if (!span_is(query->what, lists[i].what))
			continue;
		write_items(view ? view : whole, lists[i].kind, lists[i].what, out);
		r = 0;
	}
	catalogue_free(view);
	return r;
}

static void write_metrics(struct registry *registry, struct buf *out)
{
	for (uint32_t i = 0; i < catalogue_servers(registry->catalogue); i++) {
		struct catalogue_server row;

		catalogue_get_server(registry->catalogue, i, &row);
		if (row.state != SERVER_DISABLED)
			buf_printf(out, "gatehouse_server_up{server=\"%.*s\"} %d\n",
				SPAN_ARG(row.name), row.state == SERVER_UP);
	}
	buf_printf(out, "gatehouse_log_dropped_total{role=\"registry\"} %llu\n",
		(unsigned long long)log_dropped());
	records_write_metrics(registry->records, out);
}

static const struct {
	const char *what;
	void (*write)(struct registry *registry, struct buf *out);
} queries[] = {
	{"servers", write_servers},
	{"metrics", write_metrics},
};

void registry_on_query(struct link *link, const struct message *msg, void *arg)
{
	struct registry *registry = process_user(arg);
	const struct msg_query *query = msg->fields;
	struct msg_query_reply reply = {.code = ERR_NOT_FOUND,
		.detail = SPAN_LIT("the registry does not know this question")};
	struct err err = {0};
	struct buf out;

	buf_init(&out, REPLY_MAX);
	if (write_list(registry->catalogue, msg, &out, &err) == 0)
		reply = (struct msg_query_reply){.code = 0};
	else if (err.code)
		reply = (struct msg_query_reply){
			.code = (uint64_t)-err.code, .detail = span_str(err_text(&err))};
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		queries[i].write(registry, &out);
		reply = (struct msg_query_reply){.code = 0};
	}
	if (link_send(link, MSG_QUERY_REPLY, msg->stream, &reply, buf_span(&out), NULL) < 0)
		log_warn("query.unanswered", "the admin process has not taken earlier answers",
			KV_SPAN("what", query->what));
	buf_free(&out);
}
