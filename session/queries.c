/* What the admin process asks of the session manager, as JSON; and the one command. */
#include "clock.h"
#include "hash.h"
#include "json.h"
#include "json_write.h"
#include "manager.h"

#include <stdio.h>

#define REPLY_MAX (16u * 1024 * 1024)
#define ROWS_MAX 10000u

struct listing {
	struct manager *manager;
	struct buf *out;
	unsigned rows;
};

/* The id is a credential: people see a hash of it. */
static void write_tag(struct span session, char tag[9])
{
	snprintf(tag, 9, "%08x", (unsigned)hash64(session.p, session.len, 0));
}

static bool write_row(void *arg, struct span session, const struct session_record *record)
{
	struct listing *listing = arg;
	const struct lease *lease = lease_find(listing->manager, session);
	struct span info = json_object_get(record->state, SPAN_LIT("clientInfo"));
	struct span client = json_object_get(info, SPAN_LIT("name"));
	struct span version = json_object_get(record->state, SPAN_LIT("version"));
	char tag[9];

	write_tag(session, tag);
	buf_printf(listing->out, "%s{\"session\":\"%s\",\"principal\":", listing->rows ? "," : "", tag);
	json_write_string(listing->out, record->principal);
	buf_printf(listing->out, ",\"era\":\"legacy\",\"state\":\"%s\",\"worker\":%llu,\"epoch\":%llu,\"age_s\":%lld,\"version\":",
		lease && lease->state == LEASE_LIVE ? "live" : "idle", (unsigned long long)(lease ? lease->instance : 0),
		(unsigned long long)record->epoch, (long long)(clock_wall_s() - record->opened_s));
	buf_append_span(listing->out, version.len ? version : SPAN_LIT("\"\""));
	buf_append_str(listing->out, ",\"client\":");
	buf_append_span(listing->out, client.len ? client : SPAN_LIT("\"\""));
	buf_append_char(listing->out, '}');
	return ++listing->rows < ROWS_MAX;
}

static void write_sessionless(struct listing *listing)
{
	struct lease *lease;

	for (lease = listing->manager->leases; lease; lease = lease->hh.next) {
		char tag[9];

		if (lease->era != MCP_MODERN)
			continue;
		write_tag(span_str(lease->session), tag);
		buf_printf(listing->out, "%s{\"session\":\"%s\",\"principal\":", listing->rows ? "," : "", tag);
		json_write_string(listing->out, span_str(lease->principal));
		buf_printf(listing->out,
			",\"era\":\"modern\",\"state\":\"live\",\"worker\":%llu,\"epoch\":%llu,\"age_s\":%llu,\"version\":\"\","
			"\"client\":\"\"}",
			(unsigned long long)lease->instance, (unsigned long long)lease->epoch,
			(unsigned long long)((clock_ms() - lease->since_ms) / 1000));
		listing->rows++;
	}
}

static void write_sessions(struct manager *manager, struct buf *out)
{
	struct listing listing = {.manager = manager, .out = out};

	records_flush(manager->records);
	buf_append_str(out, "{\"sessions\":[");
	records_visit(manager->records, write_row, &listing);
	write_sessionless(&listing);
	buf_printf(out, "],\"count\":%llu,\"warm_workers\":%u}", (unsigned long long)records_count(manager->records),
		manager->n_warm);
}

static void write_metrics(struct manager *manager, struct buf *out)
{
	struct lease *lease;
	unsigned live = 0, sessionless = 0;
	uint64_t all = records_count(manager->records);

	for (lease = manager->leases; lease; lease = lease->hh.next) {
		if (lease->era == MCP_MODERN)
			sessionless++;
		else if (lease->state == LEASE_LIVE && !lease->fresh)
			live++;
	}
	buf_printf(out, "gatehouse_sessions{era=\"legacy\",state=\"live\"} %u\n", live);
	buf_printf(out, "gatehouse_sessions{era=\"legacy\",state=\"idle\"} %llu\n",
		(unsigned long long)(all > live ? all - live : 0));
	buf_printf(out, "gatehouse_sessions{era=\"modern\",state=\"live\"} %u\n", sessionless);
	records_write_metrics(manager->records, out);
}

static const struct {
	const char *what;
	void (*write)(struct manager *manager, struct buf *out);
} queries[] = {{"sessions", write_sessions}, {"metrics", write_metrics}};

void manager_on_query(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query *query = msg->fields;
	struct msg_query_reply reply = {
		.code = ERR_NOT_FOUND, .detail = SPAN_LIT("the session manager does not know this question")};
	struct buf out;

	buf_init(&out, REPLY_MAX);
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		queries[i].write(manager_of(arg), &out);
		reply = (struct msg_query_reply){.code = 0};
	}
	link_send(link, MSG_QUERY_REPLY, msg->stream, &reply, buf_span(&out), NULL);
	buf_free(&out);
}

struct wanted {
	struct span tag;
	char session[LIMIT_SESSION_ID + 1];
	char principal[128];
	uint64_t epoch;
};

static bool match(void *arg, struct span session, const struct session_record *record)
{
	struct wanted *wanted = arg;
	char tag[9];

	write_tag(session, tag);
	if (!span_is(wanted->tag, tag))
		return true;
	snprintf(wanted->session, sizeof(wanted->session), "%.*s", SPAN_ARG(session));
	snprintf(wanted->principal, sizeof(wanted->principal), "%.*s", SPAN_ARG(record->principal));
	wanted->epoch = record->epoch;
	return false;
}

/* "close", payload: the short name of a session as the listing shows it. */
static int close_session(struct manager *manager, struct span tag)
{
	const struct msg_session_close fields = {.reason = SPAN_LIT("closed by an operator")};
	struct wanted wanted = {.tag = tag};
	struct lease *lease;

	records_flush(manager->records);
	records_visit(manager->records, match, &wanted);
	if (!wanted.session[0])
		return -ERR_NOT_FOUND;
	lease = lease_find(manager, span_str(wanted.session));
	if (!lease)
		lease = lease_new(manager, span_str(wanted.session), span_str(wanted.principal), MCP_LEGACY, wanted.epoch);
	if (!lease)
		return -ERR_NO_MEMORY;
	if (lease->worker) {
		link_post(lease->worker, MSG_SESSION_CLOSE, 0, &fields);
		link_set_user(lease->worker, NULL);
		lease->worker = NULL;
	}
	lease_close(manager, lease, "closed by an operator");
	return 0;
}

void manager_on_command(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_command *command = msg->fields;
	struct msg_query_reply reply = {
		.code = ERR_NOT_FOUND, .detail = SPAN_LIT("the session manager does not know this command")};
	int r;

	if (span_is(command->what, "close")) {
		r = close_session(manager_of(arg), msg->payload);
		reply.code = (uint64_t)-r;
		reply.detail = r < 0 ? SPAN_LIT("no session of that name: see gatehouse sessions") : SPAN_LIT("closed");
	}
	link_post(link, MSG_QUERY_REPLY, msg->stream, &reply);
}
