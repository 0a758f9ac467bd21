#include "keep.h"
#include "ask.h"
#include "call.h"
#include "client.h"
#include "json_write.h"
#include "listen.h"
#include "log.h"
#include "pool.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

/* Changes that come in a row are told once. */
#define SOON_MS 20
/* An answer that the server has not taken is looked after again; so is a link that is full. */
#define AGAIN_MS 200
#define OWED_MAX 4096u

static void in_a_while(struct upstream *up, unsigned ms)
{
	const struct timeval tv = {.tv_usec = (suseconds_t)ms * 1000};

	if (!evtimer_pending(up->keep_timer, NULL))
		event_add(up->keep_timer, &tv);
}

/* --- the text -------------------------------------------------------------------------------- */

static void write_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, ",\"%s\":", key);
	json_write_string(out, span_str(text));
}

static void write_whose(const struct instance *instance, struct buf *out)
{
	const struct pool *pool = instance->pool;
	char principal[CLIENT_PRINCIPAL_SIZE];

	if (pool) {
		snprintf(principal, sizeof(principal), "%.*s", (int)pool->principal_len, pool->key);
		buf_printf(out, ",\"kind\":\"pool\",\"abilities\":%u,\"subscriber\":%s",
			pool->abilities, instance->subscriber ? "true" : "false");
		write_text(out, "principal", principal);
	} else if (instance->client) {
		buf_append_str(out, ",\"kind\":\"session\"");
		write_text(out, "session", instance->client->session);
		write_text(out, "principal", instance->client->principal);
	} else {
		buf_append_str(out, ",\"kind\":\"shared\"");
	}
}

/* The shared one's are the catalogue's. */
static void write_facts(const struct instance *instance, struct buf *out)
{
	struct span facts = span_str(instance->facts), key, value;
	struct json_iter iter = json_iter(facts);
	bool first = true;

	buf_append_str(out, ",\"facts\":{");
	while (json_iter_member(&iter, &key, &value)) {
		if (json_equal_string(key, SPAN_LIT("instructions")) && !instance->listing)
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		buf_append_span(out, key);
		buf_append_char(out, ':');
		buf_append_span(out, value);
	}
	buf_append_char(out, '}');
}

static void write_marks(struct buf *out, const struct mark *marks, struct mark **written,
	unsigned *n)
{
	const struct mark *mark;

	for (mark = marks; mark; mark = mark->hh.next) {
		struct span key = span_of(mark->key, mark->hh.keylen);

		if (mark_has(*written, key) || mark_put(written, key, 2 * CLIENT_MARKS_MAX) < 0)
			continue;
		if ((*n)++ > 0)
			buf_append_char(out, ',');
		json_write_string(out, key);
	}
}

static void write_subscriptions(const struct instance *instance, struct buf *out)
{
	const struct client *client;
	struct mark *written = NULL;
	unsigned n = 0;

	buf_append_str(out, ",\"subscriptions\":[");
	write_marks(out, instance->told, &written, &n);
	DL_FOREACH(instance->up->clients, client)
	{
		if (client_hears(client, instance))
			write_marks(out, client->subscriptions, &written, &n);
	}
	buf_append_char(out, ']');
	marks_free(&written);
}

static void write_tasks(const struct instance *instance, struct buf *out)
{
	struct mark *written = NULL;
	unsigned n = 0;

	buf_append_str(out, ",\"tasks\":[");
	write_marks(out, instance->tasks, &written, &n);
	if (instance->client)
		write_marks(out, instance->client->tasks, &written, &n);
	buf_append_char(out, ']');
	marks_free(&written);
}

static void write_asks(const struct instance *instance, struct buf *out)
{
	const struct mark *mark;
	const struct ask *ask;
	unsigned n = 0;

	buf_append_str(out, ",\"asks\":[");
	DL_FOREACH(instance->asks, ask)
	{
		if (n++ > 0)
			buf_append_char(out, ',');
		buf_append(out, ask->id, ask->id_len);
	}
	for (mark = instance->owed; mark; mark = mark->hh.next) {
		if (n++ > 0)
			buf_append_char(out, ',');
		buf_append(out, mark->key, mark->hh.keylen);
	}
	buf_append_char(out, ']');
}

static int write_state(const struct instance *instance, bool lists, struct buf *out)
{
	const struct upstream *up = instance->up;

	buf_clear(out);
	buf_printf(out, "{\"v\":%d", KEEP_FORM);
	write_whose(instance, out);
	buf_printf(out, ",\"era\":%d,\"knownEra\":%s", (int)instance->era,
		up->speaks[!instance->era] == SPEAKS_NO ? "true" : "false");
	write_text(out, "version", mcp_version_name(instance->version));
	write_facts(instance, out);
	if (instance->level != MCP_LOG_NONE)
		write_text(out, "level", mcp_log_level_name(instance->level));
	if (listen_id(instance))
		buf_printf(out, ",\"listen\":%" PRIu64, listen_id(instance));
	if (instance->tasks_until_ms)
		buf_printf(out, ",\"tasksUntil\":%" PRIu64, instance->tasks_until_ms);
	write_asks(instance, out);
	if (lists && instance->era == MCP_LEGACY)
		write_subscriptions(instance, out);
	if (lists)
		write_tasks(instance, out);
	return buf_append_char(out, '}');
}

/* --- telling --------------------------------------------------------------------------------- */

static uint64_t child_of(const struct instance *instance)
{
	const struct transport_ops *ops = instance->up->ops;

	if (!ops || !ops->child || !instance->transport || instance->state != INSTANCE_READY ||
		(instance->listing && !instance_is_shared(instance)))
		return 0;
	return ops->child(instance->transport);
}

/* What has left is no longer owed. */
static bool settle_owed(struct instance *instance)
{
	if (instance->owed && instance->up->ops->queued(instance->transport) == 0)
		marks_free(&instance->owed);
	return !instance->owed;
}

static int tell(struct instance *instance, uint64_t child)
{
	struct link *root = process_root(instance->up->process);
	const struct msg_server_keep fields = {.instance = child, .busy = instance->kept_busy};
	struct buf state;
	int r;

	buf_init(&state, message_row(MSG_SERVER_KEEP)->max_payload);
	r = write_state(instance, true, &state);
	if (r < 0)
		r = write_state(instance, false, &state);
	if (r < 0)
		log_info("server.not_kept", "what it said to initialize is too long to be kept",
			KV_STR("server", instance->up->server->name));
	else
		r = link_send(root, MSG_SERVER_KEEP, 0, &fields, buf_span(&state), NULL);
	buf_free(&state);
	return r;
}

static void tell_if_changed(struct instance *instance)
{
	uint64_t child = child_of(instance);

	if (!instance->unkept || !child)
		return;
	if (!settle_owed(instance))
		in_a_while(instance->up, AGAIN_MS);
	if (tell(instance, child) == -ERR_AGAIN)
		in_a_while(instance->up, AGAIN_MS);
	else
		instance->unkept = false;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct upstream *up = arg;
	struct instance *each;

	(void)fd;
	(void)what;
	DL_FOREACH(up->instances, each)
	{
		if (each->owed && child_of(each)) {
			if (settle_owed(each))
				each->unkept = true;
			else
				in_a_while(up, AGAIN_MS);
		}
		tell_if_changed(each);
	}
}

void keep_changed(struct instance *instance)
{
	if (!child_of(instance))
		return;
	instance->unkept = true;
	in_a_while(instance->up, SOON_MS);
}

void keep_now(struct instance *instance)
{
	if (!child_of(instance))
		return;
	instance->unkept = true;
	tell_if_changed(instance);
	link_flush(process_root(instance->up->process));
}

void keep_answered(struct instance *instance, struct span raw_id)
{
	if (!child_of(instance))
		return;
	mark_put(&instance->owed, raw_id, OWED_MAX);
	keep_changed(instance);
}

void keep_busy(struct instance *instance)
{
	uint64_t child = child_of(instance);
	struct msg_server_keep fields = {.instance = child, .busy = pool_is_busy(instance)};

	if (!child || fields.busy == instance->kept_busy)
		return;
	instance->kept_busy = fields.busy;
	if (link_post(process_root(instance->up->process), MSG_SERVER_KEEP, 0, &fields) < 0)
		keep_changed(instance);
	else if (fields.busy)
		link_flush(process_root(instance->up->process));
}

void keep_reset(struct instance *instance)
{
	instance->unkept = instance->kept_busy = false;
	marks_free(&instance->owed);
	marks_free(&instance->told);
}

int keep_init(struct upstream *up, struct err *err)
{
	up->keep_timer = evtimer_new(upstream_base(up), on_timer, up);
	return up->keep_timer ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for an upstream worker");
}

void keep_free(struct upstream *up)
{
	if (up->keep_timer)
		event_free(up->keep_timer);
}
