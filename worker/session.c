#include "session.h"
#include "hash.h"
#include "json.h"
#include "json_write.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

#define STATE_MAX (1024u * 1024)

/* --- marks ---------------------------------------------------------------------------------- */

const struct session_mark *session_mark_find(const struct session_marks *marks, struct span key)
{
	struct session_mark *mark;

	HASH_FIND(hh, marks->first, key.p, key.len, mark);
	return mark;
}

/* Bytes of a mark in the saved state, "key":"server", at most. */
static size_t mark_bytes(struct span key)
{
	struct buf text;
	size_t bytes;

	buf_init(&text, SESSION_MARKS_BYTES);
	bytes = json_write_string(&text, key) < 0 ? SESSION_MARKS_BYTES
						  : text.len + LIMIT_SERVER_NAME + 4;
	buf_free(&text);
	return bytes;
}

bool session_mark_fits(const struct session_marks *marks, struct span key)
{
	return marks->bytes + mark_bytes(key) <= SESSION_MARKS_BYTES;
}

/* Of bytes, not text: a zero may be among them. */
static char *copy_key(struct span key)
{
	char *copy = malloc(key.len + 1);

	if (copy && key.len)
		memcpy(copy, key.p, key.len);
	return copy;
}

int session_mark_add(struct session_marks *marks, struct span key, const char *server)
{
	struct session_mark *mark;

	HASH_FIND(hh, marks->first, key.p, key.len, mark);
	if (!mark) {
		if (!session_mark_fits(marks, key))
			return -ERR_TOO_MANY;
		mark = calloc(1, sizeof(*mark));
		if (!mark)
			return -ERR_NO_MEMORY;
		mark->key = copy_key(key);
		if (!mark->key) {
			free(mark);
			return -ERR_NO_MEMORY;
		}
		HASH_ADD_KEYPTR(hh, marks->first, mark->key, key.len, mark);
		marks->bytes += mark_bytes(key);
	}
	snprintf(mark->server, sizeof(mark->server), "%s", server);
	return 0;
}

static void mark_free(struct session_marks *marks, struct session_mark *mark)
{
	marks->bytes -= mark_bytes(span_of(mark->key, mark->hh.keylen));
	HASH_DEL(marks->first, mark);
	free(mark->key);
	free(mark);
}

void session_mark_remove(struct session_marks *marks, struct span key)
{
	struct session_mark *mark;

	HASH_FIND(hh, marks->first, key.p, key.len, mark);
	if (mark)
		mark_free(marks, mark);
}

/* --- state as JSON -------------------------------------------------------------------------- */

static void write_marks(struct buf *out, const char *name, const struct session_marks *marks)
{
	const struct session_mark *mark;

	buf_printf(out, ",\"%s\":{", name);
	for (mark = marks->first; mark; mark = mark->hh.next) {
		json_write_string(out, span_of(mark->key, mark->hh.keylen));
		buf_append_char(out, ':');
		json_write_string(out, span_str(mark->server));
		if (mark->hh.next)
			buf_append_char(out, ',');
	}
	buf_append_char(out, '}');
}

static int write_state(const struct worker *worker, struct buf *out)
{
	const struct session *session = &worker->session;

	buf_printf(out, "{\"version\":\"%s\",\"opened\":%s,\"initialized\":%s,\"logLevel\":%d",
		mcp_version_name(session->version), session->opened ? "true" : "false",
		session->initialized ? "true" : "false", (int)session->log_level);
	buf_printf(out, ",\"heard\":%llu", (unsigned long long)worker->streams.heard);
	buf_printf(
		out, ",\"capabilities\":%s", session->capabilities ? session->capabilities : "{}");
	buf_printf(out, ",\"clientInfo\":%s", session->client_info ? session->client_info : "{}");
	write_marks(out, "subscriptions", &session->subscriptions);
	write_marks(out, "tasks", &session->tasks);
	return buf_append_char(out, '}');
}

static void read_marks(struct span object, struct session_marks *marks)
{
	struct json_iter iter = json_iter(object);
	struct span key, value;

	while (json_iter_member(&iter, &key, &value)) {
		struct buf text;
		char server[LIMIT_SERVER_NAME + 1];
		struct span name;

		buf_init(&text, 65536);
		if (json_string_append(key, &text) == 0 &&
			json_string_copy(value, server, sizeof(server) - 1, &name) == 0) {
			server[name.len] = '\0';
			session_mark_add(marks, buf_span(&text), server);
		}
		buf_free(&text);
	}
}

static int read_state(struct session *session, struct span state, struct err *err)
{
	char version[32];
	struct span text = SPAN_NONE;
	int64_t level = 0, heard = 0;
	int r;

	if (json_check(state, LIMIT_JSON_DEPTH, err) < 0)
		return -ERR_STORE;
	if (json_string_copy(json_object_get(state, SPAN_LIT("version")), version, sizeof(version),
		    &text) < 0)
		text = SPAN_NONE;
	r = session_set_client(session, mcp_version_parse(text),
		json_object_get(state, SPAN_LIT("capabilities")),
		json_object_get(state, SPAN_LIT("clientInfo")));
	if (r < 0)
		return r;
	json_get_bool(json_object_get(state, SPAN_LIT("opened")), &session->opened);
	json_get_bool(json_object_get(state, SPAN_LIT("initialized")), &session->initialized);
	if (json_get_int64(json_object_get(state, SPAN_LIT("logLevel")), &level) == 0 &&
		level >= 0 && level < MCP_LOG_MAX)
		session->log_level = (enum mcp_log_level)level;
	if (json_get_int64(json_object_get(state, SPAN_LIT("heard")), &heard) == 0 && heard >= 0)
		session->heard = (uint64_t)heard;
	read_marks(json_object_get(state, SPAN_LIT("subscriptions")), &session->subscriptions);
	read_marks(json_object_get(state, SPAN_LIT("tasks")), &session->tasks);
	return 0;
}

int session_begin(struct session *session, const struct msg_lease *lease, struct span state,
	struct err *err)
{
	struct span id = lease->session, principal = lease->principal;

	if (id.len > LIMIT_SESSION_ID || principal.len >= sizeof(session->principal) ||
		lease->view.len > LIMIT_VIEW_NAME)
		return err_set(err, ERR_TOO_LARGE, "session id, principal or view is too long");
	*session = (struct session){
		.epoch = lease->epoch, .era = lease->era ? MCP_MODERN : MCP_LEGACY};
	snprintf(session->view, sizeof(session->view), "%.*s", SPAN_ARG(lease->view));
	snprintf(session->id, sizeof(session->id), "%.*s", SPAN_ARG(id));
	snprintf(session->tag, sizeof(session->tag), "%08x", (unsigned)hash64(id.p, id.len, 0));
	snprintf(session->principal, sizeof(session->principal), "%.*s", SPAN_ARG(principal));
	return state.len ? read_state(session, state, err) : 0;
}

void session_free(struct session *session)
{
	struct session_save *save, *next;

	while (session->subscriptions.first)
		mark_free(&session->subscriptions, session->subscriptions.first);
	while (session->tasks.first)
		mark_free(&session->tasks, session->tasks.first);
	HASH_ITER (hh, session->saves, save, next) {
		HASH_DEL(session->saves, save);
		free(save);
	}
	free(session->capabilities);
	free(session->client_info);
}

static char *copy_object(struct span value)
{
	return json_type(value) == JSON_OBJECT ? strndup(value.p, value.len) : strdup("{}");
}

int session_set_client(struct session *session, enum mcp_version version, struct span capabilities,
	struct span info)
{
	char *can, *who;
	struct span name;

	if (capabilities.len + info.len > SESSION_CLIENT_BYTES)
		return -ERR_TOO_LARGE;
	can = copy_object(capabilities);
	who = copy_object(info);
	if (!can || !who) {
		free(can);
		free(who);
		return -ERR_NO_MEMORY;
	}
	free(session->capabilities);
	free(session->client_info);
	session->capabilities = can;
	session->client_info = who;
	session->version = version;
	session->client_name[0] = '\0';
	if (json_string_copy(json_object_get(span_str(who), SPAN_LIT("name")), session->client_name,
		    sizeof(session->client_name) - 1, &name) == 0)
		session->client_name[name.len] = '\0';
	return 0;
}

uint64_t session_kind(const struct session *session)
{
	return mcp_client_digest(session->version,
		span_str(session->capabilities ? session->capabilities : "{}"),
		span_str(session->client_info ? session->client_info : "{}"));
}

bool session_client_can(const struct session *session, const char *capability)
{
	return session->capabilities && mcp_client_can(span_str(session->capabilities), capability);
}

/* --- saving --------------------------------------------------------------------------------- */

#define RETRY_MS 20u

static void send_state(struct worker *worker, struct session_save *save)
{
	const struct session *session = &worker->session;
	const struct msg_session_state fields = {.session = span_str(session->id),
		.epoch = session->epoch,
		.next_event = worker->streams.reserved_id};
	struct buf state;
	int r;

	buf_init(&state, STATE_MAX);
	r = write_state(worker, &state);
	if (r == 0)
		r = link_send(worker->manager.link, MSG_SESSION_STATE, save->stream, &fields,
			buf_span(&state), NULL);
	buf_free(&state);
	save->sent = r == 0;
	if (r == -ERR_AGAIN)
		worker_tick_in(worker, RETRY_MS);
	else if (r < 0 && r != -ERR_CLOSED)
		session_on_saved(worker, save->stream, r);
}

/* A save that has not left yet will carry what has changed since. */
static bool one_waits(const struct worker *worker)
{
	const struct session_save *save;

	for (save = worker->session.saves; save; save = save->hh.next)
		if (!save->sent)
			return true;
	return false;
}

void session_save(struct worker *worker, session_saved_fn *fn, void *arg)
{
	struct session_save *save;

	if (worker->session.era == MCP_MODERN) {
		if (fn)
			fn(worker, 0, arg);
		return;
	}
	if (!fn && one_waits(worker))
		return;
	save = calloc(1, sizeof(*save));
	if (!save) {
		worker_out_of_memory(worker);
		return;
	}
	save->stream = ++worker->next_save;
	save->fn = fn;
	save->arg = arg;
	HASH_ADD(hh, worker->session.saves, stream, sizeof(save->stream), save);
	if (worker->manager.link)
		send_state(worker, save);
}

void session_on_saved(struct worker *worker, uint32_t stream, int code)
{
	struct session_save *save;

	HASH_FIND(hh, worker->session.saves, &stream, sizeof(stream), save);
	if (!save)
		return;
	HASH_DEL(worker->session.saves, save);
	if (save->fn)
		save->fn(worker, code, save->arg);
	free(save);
}

void session_save_again(struct worker *worker)
{
	struct session_save *save;

	for (save = worker->session.saves; save; save = save->hh.next)
		save->sent = false;
	session_tick(worker);
}

void session_tick(struct worker *worker)
{
	struct session_save *save, *next;

	if (!worker->manager.link)
		return;
	HASH_ITER (hh, worker->session.saves, save, next)
		if (!save->sent)
			send_state(worker, save);
}
