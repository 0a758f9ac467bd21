/* What the admin process asks of the registry, as JSON. */
#include "clock.h"
#include "json_write.h"
#include "log.h"
#include "registry.h"

#define REPLY_MAX (16u * 1024 * 1024)

static void member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, "\"%s\":", key);
	json_write_string(out, value);
	buf_append_char(out, ',');
}

static void write_server(const struct registry *registry, uint32_t index, struct buf *out)
{
	const struct server *server = &registry->servers[index];
	struct catalogue_server row;

	catalogue_get_server(registry->catalogue, index, &row);
	buf_append_char(out, '{');
	member(out, "name", row.name);
	member(out, "state", span_str(server_state_name(row.state)));
	member(out, "transport", span_str(server_transport_name(row.transport)));
	member(out, "isolation", span_str(server_isolation_name(row.isolation)));
	member(out, "version", row.version);
	member(out, "error", row.error);
	if (row.info.len) {
		buf_append_str(out, "\"serverInfo\":");
		buf_append_span(out, row.info);
		buf_append_char(out, ',');
	}
	buf_printf(out, "\"required\":%s,\"tools\":%u,\"resources\":%u,\"templates\":%u,\"prompts\":%u,\"timeout_ms\":%u,\"since_ms\":%llu}",
		server->config->required ? "true" : "false", row.count[CATALOGUE_TOOL], row.count[CATALOGUE_RESOURCE],
		row.count[CATALOGUE_TEMPLATE], row.count[CATALOGUE_PROMPT], row.call_timeout_ms,
		(unsigned long long)(clock_ms() - server->since_ms));
}

static void write_servers(const struct registry *registry, struct buf *out)
{
	buf_append_str(out, "{\"servers\":[");
	for (uint32_t i = 0; i < catalogue_servers(registry->catalogue); i++) {
		if (i > 0)
			buf_append_char(out, ',');
		write_server(registry, i, out);
	}
	buf_append_str(out, "]}");
}

static void write_items(const struct registry *registry, enum catalogue_kind kind, const char *name, struct buf *out)
{
	struct catalogue_item item;
	struct catalogue_server server;

	buf_printf(out, "{\"%s\":[", name);
	for (uint32_t n = 0; catalogue_get(registry->catalogue, kind, CATALOGUE_ALL_SERVERS, n, &item); n++) {
		catalogue_get_server(registry->catalogue, item.server, &server);
		buf_append_str(out, n ? ",{" : "{");
		member(out, "name", item.name);
		member(out, "server", server.name);
		buf_append_str(out, "\"original\":");
		buf_append_span(out, item.original.len ? item.original : SPAN_LIT("null"));
		buf_printf(out, ",\"readOnly\":%s,\"idempotent\":%s,\"digest\":\"%016llx\",\"bytes\":%zu,\"definition\":",
			item.flags & CATALOGUE_READ_ONLY ? "true" : "false", item.flags & CATALOGUE_IDEMPOTENT ? "true" : "false",
			(unsigned long long)item.digest, item.json.len);
		buf_append_span(out, item.json);
		buf_append_char(out, '}');
	}
	buf_append_str(out, "]}");
}

static void write_tools(const struct registry *registry, struct buf *out)
{
	write_items(registry, CATALOGUE_TOOL, "tools", out);
}

static void write_resources(const struct registry *registry, struct buf *out)
{
	write_items(registry, CATALOGUE_RESOURCE, "resources", out);
}

static void write_templates(const struct registry *registry, struct buf *out)
{
	write_items(registry, CATALOGUE_TEMPLATE, "templates", out);
}

static void write_prompts(const struct registry *registry, struct buf *out)
{
	write_items(registry, CATALOGUE_PROMPT, "prompts", out);
}

static void write_metrics(const struct registry *registry, struct buf *out)
{
	for (uint32_t i = 0; i < catalogue_servers(registry->catalogue); i++) {
		struct catalogue_server row;

		catalogue_get_server(registry->catalogue, i, &row);
		if (row.state != SERVER_DISABLED)
			buf_printf(out, "gatehouse_server_up{server=\"%.*s\"} %d\n", SPAN_ARG(row.name), row.state == SERVER_UP);
	}
	records_write_metrics(registry->records, out);
}

static const struct {
	const char *what;
	void (*write)(const struct registry *registry, struct buf *out);
} queries[] = {
	{"servers", write_servers},
	{"tools", write_tools},
	{"resources", write_resources},
	{"templates", write_templates},
	{"prompts", write_prompts},
	{"metrics", write_metrics},
};

void registry_on_query(struct link *link, const struct message *msg, void *arg)
{
	const struct registry *registry = process_user(arg);
	const struct msg_query *query = msg->fields;
	struct msg_query_reply reply = {.code = ERR_NOT_FOUND, .detail = SPAN_LIT("the registry does not know this question")};
	struct buf out;

	buf_init(&out, REPLY_MAX);
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		queries[i].write(registry, &out);
		reply = (struct msg_query_reply){.code = 0};
	}
	link_send(link, MSG_QUERY_REPLY, msg->stream, &reply, buf_span(&out), NULL);
	buf_free(&out);
}
