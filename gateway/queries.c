#include "queries.h"
#include "gateway.h"
#include "health.h"
#include "log.h"
#include "metrics.h"
#include "json_write.h"
#include "route.h"

#define REPLY_MAX (16u * 1024 * 1024)

static void write_doors(const struct gateway *gateway, struct buf *out)
{
	buf_append_str(out, "\"listeners\":[");
	for (const struct door *door = gateway->doors; door; door = door->next) {
		buf_append_str(out, door == gateway->doors ? "{\"url\":" : ",{\"url\":");
		json_write_string(out, span_str(door->url));
		buf_printf(out, ",\"connections\":%u,\"requests\":%llu}",
			http_server_connections(door->server),
			(unsigned long long)http_server_stats(door->server)->requests);
	}
	buf_append_char(out, ']');
}

static void write_status(const struct gateway *gateway, struct buf *out)
{
	buf_append_str(out, "{\"name\":");
	json_write_string(out, span_str(process_name(gateway->process)));
	buf_printf(out,
		",\"draining\":%s,\"session_manager\":%s,\"exchanges\":%u,\"streams\":%u,"
		"\"workers\":%u,"
		"\"waiting_routes\":%u,",
		gateway->draining ? "true" : "false", gateway->sessions ? "true" : "false",
		gateway->n_exchanges, gateway->n_streams, gateway->n_ready,
		HASH_CNT(hh_ask, gateway->by_ask));
	write_doors(gateway, out);
	buf_append_str(out, ",\"ready\":");
	health_write(gateway, true, true, out);
	buf_append_str(out, "}\n");
}

static void write_metrics(const struct gateway *gateway, struct buf *out)
{
	metrics_write(gateway->metrics, gateway, out);
}

static const struct {
	const char *what;
	void (*write)(const struct gateway *gateway, struct buf *out);
} queries[] = {
	{"status", write_status},
	{"metrics", write_metrics},
};

static void on_query(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query *query = msg->fields;
	struct msg_query_reply reply = {.code = ERR_NOT_FOUND,
		.detail = SPAN_LIT("the gateway does not know this question")};
	struct buf out;

	buf_init(&out, REPLY_MAX);
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		queries[i].write(gateway_of(arg), &out);
		reply = (struct msg_query_reply){.code = 0};
		if (out.failed)
			reply = (struct msg_query_reply){.code = ERR_TOO_LARGE,
				.detail = SPAN_LIT("the answer is too long to be given")};
	}
	link_send(link, MSG_QUERY_REPLY, msg->stream, &reply,
		reply.code ? SPAN_NONE : buf_span(&out), NULL);
	buf_free(&out);
}

static void on_admin_closed(struct link *link, int code, const char *why, void *arg)
{
	struct gateway *gateway = gateway_of(arg);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "admin"));
	if (gateway->admin == link)
		gateway->admin = NULL;
	link_free(link);
}

const struct link_handlers queries_handlers = {
	.on = {[MSG_QUERY] = on_query}, .closed = on_admin_closed};

void queries_accepted(struct process *process, struct link *link)
{
	struct gateway *gateway = gateway_of(process);

	/* a new admin process takes the place of a dead one */
	link_free(gateway->admin);
	gateway->admin = link;
}
