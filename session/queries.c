/* What the admin process asks of the session manager, as JSON; and the one command. */
#include "clock.h"
#include "hash.h"
#include "json.h"
#include "json_write.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>

#define REPLY_MAX (16u * 1024 * 1024)
#define ROWS_MAX 10000u
/* One row and the end: a principal may be escaped to six times its length. */
#define ROW_SPARE 4096u
#define CLIENT_MAX 1024u

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

/* A string of the worker's JSON as it is; what is none is left out. */
static void write_token(struct buf *out, struct span token)
{
	if (json_type(token) != JSON_STRING || json_check(token, 1, NULL) < 0)
		token = SPAN_LIT("\"\"");
	buf_append_span(out, token);
}

static const char *state_word(const struct lease *lease)
{
	return lease && lease->state == LEASE_LIVE ? "live" : "idle";
}

static uint64_t instance_of(const struct lease *lease)
{
	return lease && lease->worker ? lease->worker->instance : 0;
}

/* False: there is no room for another row. */
static bool begin_row(struct listing *listing, struct span session, struct owner owner)
{
	char tag[9];

	if (listing->rows == ROWS_MAX || listing->out->len + ROW_SPARE > REPLY_MAX)
		return false;
	write_tag(session, tag);
	buf_printf(listing->out, "%s{\"session\":\"%s\",\"principal\":", listing->rows++ ? "," : "",
		tag);
	json_write_string(listing->out, owner.principal);
	buf_append_str(listing->out, ",\"view\":");
	json_write_string(listing->out, owner.view);
	return true;
}

static bool write_row(void *arg, struct span session, const struct session_record *record)
{
	struct listing *listing = arg;
	const struct lease *lease = lease_find(listing->manager, session);
	struct span info = json_object_get(record->state, SPAN_LIT("clientInfo"));
	struct span name = json_object_get(info, SPAN_LIT("name"));

	if (!begin_row(listing, session, (struct owner){record->principal, record->view}))
		return false;
	buf_printf(listing->out,
		",\"era\":\"legacy\",\"state\":\"%s\",\"worker\":%llu,\"epoch\":%llu,\"age_s\":%"
		"lld,"
		"\"version\":",
		state_word(lease), (unsigned long long)instance_of(lease),
		(unsigned long long)(lease ? lease->epoch : record->epoch),
		(long long)(clock_wall_s() - record->opened_s));
	write_token(listing->out, json_object_get(record->state, SPAN_LIT("version")));
	buf_append_str(listing->out, ",\"client\":");
	write_token(listing->out, name.len <= CLIENT_MAX ? name : SPAN_NONE);
	buf_append_char(listing->out, '}');
	return true;
}

static void write_sessionless(struct listing *listing)
{
	const struct lease *lease;

	for (lease = listing->manager->leases; lease; lease = lease->hh.next) {
		if (lease->era != MCP_MODERN)
			continue;
		if (!begin_row(listing, span_str(lease->session), lease_owner(lease)))
			return;
		buf_printf(listing->out,
			",\"era\":\"modern\",\"state\":\"%s\",\"worker\":%llu,\"epoch\":%llu,"
			"\"age_s\":%lld,\"version\":\"\",\"client\":\"\"}",
			state_word(lease), (unsigned long long)instance_of(lease),
			(unsigned long long)lease->epoch,
			(long long)(clock_wall_s() - lease->opened_s));
	}
}

static void write_sessions(struct manager *manager, struct buf *out)
{
	struct listing listing = {.manager = manager, .out = out};

	manager_flush(manager);
	buf_append_str(out, "{\"sessions\":[");
	records_visit(manager->records, SPAN_NONE, write_row, &listing);
	write_sessionless(&listing);
	buf_printf(out, "],\"count\":%llu,\"warm_workers\":%u}",
		(unsigned long long)records_count(manager->records), manager->n_warm);
}

static void write_metrics(struct manager *manager, struct buf *out)
{
	const struct lease *lease;
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
	histogram_write(&manager->wake, histogram_overhead, "gatehouse_worker_wake_seconds",
		SPAN_NONE, out);
	buf_printf(out, "gatehouse_log_dropped_total{role=\"sessions\"} %llu\n",
		(unsigned long long)log_dropped());
	records_write_metrics(manager->records, out);
}

static const struct {
	const char *what;
	void (*write)(struct manager *manager, struct buf *out);
} queries[] = {{"sessions", write_sessions}, {"metrics", write_metrics}};

void manager_on_query(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query *query = msg->fields;
	struct msg_query_reply reply = {.code = ERR_NOT_FOUND,
		.detail = SPAN_LIT("the session manager does not know this question")};
	struct buf out;

	buf_init(&out, REPLY_MAX);
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		queries[i].write(manager_of(arg), &out);
		reply = (struct msg_query_reply){.code = 0};
	}
	if (link_send(link, MSG_QUERY_REPLY, msg->stream, &reply, buf_span(&out), NULL) < 0)
		log_warn("query.unanswered", "the admin process has not taken earlier answers",
			KV_SPAN("what", query->what));
	buf_free(&out);
}

struct wanted {
	struct span tag;
	unsigned matches;
	char session[LIMIT_SESSION_ID + 1];
	char principal[PRINCIPAL_SIZE];
	char view[LIMIT_VIEW_NAME + 1];
	uint64_t epoch;
};

static bool match(void *arg, struct span session, const struct session_record *record)
{
	struct wanted *wanted = arg;
	char tag[9];

	write_tag(session, tag);
	if (!span_is(wanted->tag, tag))
		return true;
	wanted->matches++;
	snprintf(wanted->session, sizeof(wanted->session), "%.*s", SPAN_ARG(session));
	snprintf(wanted->principal, sizeof(wanted->principal), "%.*s", SPAN_ARG(record->principal));
	snprintf(wanted->view, sizeof(wanted->view), "%.*s", SPAN_ARG(record->view));
	wanted->epoch = record->epoch;
	return wanted->matches < 2;
}

/* "close", payload: the short name of a session as the listing shows it. */
static int close_session(struct manager *manager, struct span tag, struct err *err)
{
	struct wanted wanted = {.tag = tag};
	struct lease *lease;

	manager_flush(manager);
	records_visit(manager->records, SPAN_NONE, match, &wanted);
	if (wanted.matches == 0)
		return err_set(
			err, ERR_NOT_FOUND, "no session of that name: see gatehouse sessions");
	if (wanted.matches > 1)
		return err_set(err, ERR_EXISTS, "two sessions have this short name by chance");
	lease = lease_find(manager, span_str(wanted.session));
	if (!lease)
		lease = lease_new(manager, span_str(wanted.session),
			(struct owner){span_str(wanted.principal), span_str(wanted.view)},
			MCP_LEGACY, wanted.epoch);
	if (!lease)
		return err_set(err, ERR_NO_MEMORY, "no memory to close a session");
	lease_close(manager, lease, "closed by an operator", true);
	return 0;
}

void manager_on_command(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_command *command = msg->fields;
	struct msg_query_reply reply = {.code = ERR_NOT_FOUND,
		.detail = SPAN_LIT("the session manager does not know this command")};
	struct err err = {0};

	if (span_is(command->what, "close")) {
		reply.code = (uint64_t)-close_session(manager_of(arg), msg->payload, &err);
		reply.detail = reply.code ? span_str(err_text(&err)) : SPAN_LIT("closed");
	}
	link_post(link, MSG_QUERY_REPLY, msg->stream, &reply);
}
