#include "queries.h"
#include "client.h"
#include "json_write.h"
#include "log.h"

#include <utlist.h>

#define REPLY_MAX (16u * 1024u * 1024u)

typedef int query_fn(const struct upstream *up, struct buf *out);

static void write_instance(const struct instance *instance, struct buf *out)
{
	buf_append_str(out, "{\"session\":");
	json_write_string(out, span_str(instance->label));
	buf_printf(out,
		",\"state\":\"%s\",\"version\":\"%s\",\"in_flight\":%u,\"queued\":%u,\"failures\":%"
		"u}",
		instance_state_name(instance), mcp_version_name(instance->version),
		instance->n_calls, instance->n_waiting, instance->failures);
}

static int write_status(const struct upstream *up, struct buf *out)
{
	const struct instance *each;
	unsigned in_flight, queued;
	const char *comma = "";

	instances_count(up, &in_flight, &queued);
	buf_append_str(out, "{\"server\":");
	json_write_string(out, span_str(up->server->name));
	buf_printf(out,
		",\"transport\":\"%s\",\"state\":\"%s\",\"detail\":", up->ops ? up->ops->name : "",
		server_state_name(up->reporter.state));
	json_write_string(out, span_str(up->reporter.detail));
	buf_printf(out,
		",\"version\":\"%s\",\"children\":%u,\"sessions\":%u,\"in_flight\":%u,\"queue\":%u,"
		"\"restarts\":%llu,\"invalid_lines\":%llu,\"dropped_notes\":%llu,\"last_error\":",
		up->reporter.version, up->children, up->n_clients, in_flight, queued,
		(unsigned long long)metrics_restarts(&up->metrics),
		(unsigned long long)up->metrics.invalid_lines,
		(unsigned long long)up->metrics.dropped_notes);
	json_write_string(out, span_str(up->last_error));
	buf_append_str(out, ",\"instances\":[");
	DL_FOREACH(up->instances, each)
	{
		buf_append_str(out, comma);
		write_instance(each, out);
		comma = ",";
	}
	return buf_append_str(out, "]}");
}

static int write_logs(const struct upstream *up, struct buf *out)
{
	return logs_write(&up->logs, out);
}

static const struct {
	const char *what;
	query_fn *fn;
} queries[] = {
	{"status", write_status},
	{"logs", write_logs},
	{"metrics", metrics_write},
};

static void on_query(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query *query = msg->fields;
	struct msg_query_reply reply = {.code = ERR_NOT_FOUND, .detail = SPAN_LIT("no such query")};
	struct buf out;

	buf_init(&out, REPLY_MAX);
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		reply = (struct msg_query_reply){0};
		if (queries[i].fn(upstream_of(arg), &out) < 0) {
			buf_clear(&out);
			reply.code = ERR_TOO_LARGE;
			reply.detail = SPAN_LIT("the answer is too large");
		}
	}
	link_send(link, MSG_QUERY_REPLY, msg->stream, &reply, buf_span(&out), NULL);
	buf_free(&out);
}

/* "refresh" reads the server's lists again. */
static void on_command(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_command *command = msg->fields;
	struct msg_query_reply reply = {
		.code = ERR_NOT_FOUND, .detail = SPAN_LIT("no such command")};

	if (span_is(command->what, "refresh")) {
		instance_refresh(upstream_of(arg));
		reply = (struct msg_query_reply){0};
	}
	link_post(link, MSG_QUERY_REPLY, msg->stream, &reply);
}

void queries_accepted(struct process *process, struct link *link)
{
	struct upstream *up = upstream_of(process);

	link_free(up->admin);
	up->admin = link;
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct upstream *up = upstream_of(arg);

	if (up->admin == link)
		up->admin = NULL;
	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "admin"));
	link_free(link);
}

const struct link_handlers queries_handlers = {
	.on = {[MSG_QUERY] = on_query, [MSG_COMMAND] = on_command}, .closed = on_closed};
