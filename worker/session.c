#include "session.h"
#include "hash.h"
#include "json.h"
#include "json_write.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

#define STATE_MAX (1024u * 1024)

/* --- marks ---------------------------------------------------------------------------------------------------- */

const struct session_mark *session_mark_find(struct session_mark *marks, struct span key)
{
	struct session_mark *mark;

	HASH_FIND(hh, marks, key.p, key.len, mark);
	return mark;
}

int session_mark_add(struct session_mark **marks, unsigned max, struct span key, const char *server)
{
	struct session_mark *mark;

	HASH_FIND(hh, *marks, key.p, key.len, mark);
	if (!mark) {
		if (HASH_COUNT(*marks) >= max)
			return -ERR_TOO_MANY;
		mark = calloc(1, sizeof(*mark));
		if (!mark)
			return -ERR_NO_MEMORY;
		mark->key = strndup(key.p, key.len);
		if (!mark->key) {
			free(mark);
			return -ERR_NO_MEMORY;
		}
		HASH_ADD_KEYPTR(hh, *marks, mark->key, key.len, mark);
	}
	snprintf(mark->server, sizeof(mark->server), "%s", server);
	return 0;
}

static void mark_free(struct session_mark **marks, struct session_mark *mark)
{
	HASH_DEL(*marks, mark);
	free(mark->key);
	free(mark);
}

void session_mark_remove(struct session_mark **marks, struct span key)
{
	struct session_mark *mark;

	HASH_FIND(hh, *marks, key.p, key.len, mark);
	if (mark)
		mark_free(marks, mark);
}

/* --- state as JSON ---------------------------------------------------------------------------------------------- */

static void write_marks(struct buf *out, const char *name, struct session_mark *marks)
{
	struct session_mark *mark;

	buf_printf(out, ",\"%s\":{", name);
	for (mark = marks; mark; mark = mark->hh.next) {
		json_write_string(out, span_of(mark->key, mark->hh.keylen));
		buf_append_char(out, ':');
		json_write_string(out, span_str(mark->server));
		if (mark->hh.next)
			buf_append_char(out, ',');
	}
	buf_append_char(out, '}');
}

static int write_state(const struct session *session, struct buf *out)
{
	buf_printf(out, "{\"version\":\"%s\",\"opened\":%s,\"initialized\":%s,\"logLevel\":%d",
		mcp_version_name(session->version), session->opened ? "true" : "false",
		session->initialized ? "true" : "false", (int)session->log_level);
	buf_printf(out, ",\"capabilities\":%s", session->capabilities ? session->capabilities : "{}");
	buf_printf(out, ",\"clientInfo\":%s", session->client_info ? session->client_info : "{}");
	write_marks(out, "subscriptions", session->subscriptions);
	write_marks(out, "tasks", session->tasks);
	return buf_append_char(out, '}');
}

static void read_marks(struct span object, struct session_mark **marks, unsigned max)
{
	struct json_iter iter = json_iter(object);
	struct span key, value;

	while (json_iter_member(&iter, &key, &value)) {
		struct buf text;
		char server[LIMIT_SERVER_NAME + 1];
		struct span name;

		buf_init(&text, 65536);
		if (json_string_append(key, &text) == 0 && json_string_copy(value, server, sizeof(server) - 1, &name) == 0) {
			server[name.len] = '\0';
			session_mark_add(marks, max, buf_span(&text), server);
		}
		buf_free(&text);
	}
}

static int read_state(struct session *session, struct span state, struct err *err)
{
	char version[32];
	struct span text = SPAN_NONE;
	int64_t level = 0;
	int r;

	if (json_check(state, LIMIT_JSON_DEPTH, err) < 0)
		return -ERR_STORE;
	if (json_string_copy(json_object_get(state, SPAN_LIT("version")), version, sizeof(version), &text) < 0)
		text = SPAN_NONE;
	r = session_set_client(session, mcp_version_parse(text), json_object_get(state, SPAN_LIT("capabilities")),
		json_object_get(state, SPAN_LIT("clientInfo")));
	if (r < 0)
		return r;
	json_get_bool(json_object_get(state, SPAN_LIT("opened")), &session->opened);
	json_get_bool(json_object_get(state, SPAN_LIT("initialized")), &session->initialized);
	if (json_get_int64(json_object_get(state, SPAN_LIT("logLevel")), &level) == 0 && level >= 0 && level < MCP_LOG_MAX)
		session->log_level = (enum mcp_log_level)level;
	read_marks(json_object_get(state, SPAN_LIT("subscriptions")), &session->subscriptions, SESSION_SUBSCRIPTIONS_MAX);
	read_marks(json_object_get(state, SPAN_LIT("tasks")), &session->tasks, SESSION_TASKS_MAX);
	return 0;
}

int session_begin(struct session *session, struct span id, struct span principal, uint64_t epoch, enum mcp_era era,
	struct span state, struct err *err)
{
	if (id.len > LIMIT_SESSION_ID || principal.len >= sizeof(session->principal))
		return err_set(err, ERR_TOO_LARGE, "session id or principal is too long");
	*session = (struct session){.epoch = epoch, .era = era};
	snprintf(session->id, sizeof(session->id), "%.*s", SPAN_ARG(id));
	snprintf(session->tag, sizeof(session->tag), "%08x", (unsigned)hash64(id.p, id.len, 0));
	snprintf(session->principal, sizeof(session->principal), "%.*s", SPAN_ARG(principal));
	return state.len ? read_state(session, state, err) : 0;
}

void session_free(struct session *session)
{
	struct session_save *save, *next;

	while (session->subscriptions)
		mark_free(&session->subscriptions, session->subscriptions);
	while (session->tasks)
		mark_free(&session->tasks, session->tasks);
	HASH_ITER(hh, session->saves, save, next) {
		HASH_DEL(session->saves, save);
		free(save);
	}
	free(session->capabilities);
	free(session->client_info);
}

int session_set_client(struct session *session, enum mcp_version version, struct span capabilities, struct span info)
{
	char *can = capabilities.len ? strndup(capabilities.p, capabilities.len) : strdup("{}");
	char *who = info.len ? strndup(info.p, info.len) : strdup("{}");
	struct span name;

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

bool session_client_can(const struct session *session, const char *capability)
{
	return mcp_client_can(span_str(session->capabilities), capability);
}

/* --- saving -------------------------------------------------------------------------------------------------------- */

static void send_state(struct worker *worker, uint32_t stream)
{
	const struct session *session = &worker->session;
	const struct msg_session_state fields = {.session = span_str(session->id),
		.epoch = session->epoch,
		.next_event = worker->streams.reserved_id};
	struct buf state;

	buf_init(&state, STATE_MAX);
	if (write_state(session, &state) == 0)
		link_send(worker->sessions, MSG_SESSION_STATE, stream, &fields, buf_span(&state), NULL);
	else
		session_on_saved(worker, stream, -ERR_TOO_LARGE);
	buf_free(&state);
}

void session_save(struct worker *worker, session_saved_fn *fn, void *arg)
{
	struct session_save *save;

	if (worker->session.era == MCP_MODERN) {
		if (fn)
			fn(worker, 0, arg);
		return;
	}
	save = calloc(1, sizeof(*save));
	if (!save) {
		if (fn)
			fn(worker, -ERR_NO_MEMORY, arg);
		return;
	}
	save->stream = ++worker->next_save;
	save->fn = fn;
	save->arg = arg;
	HASH_ADD(hh, worker->session.saves, stream, sizeof(save->stream), save);
	if (worker->sessions)
		send_state(worker, save->stream);
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
	struct session_save *save, *next;

	HASH_ITER(hh, worker->session.saves, save, next)
		send_state(worker, save->stream);
}

void session_close(struct worker *worker, const char *reason)
{
	const struct msg_session_close fields = {
		.session = span_str(worker->session.id), .epoch = worker->session.epoch, .reason = span_str(reason)};

	if (worker->sessions)
		link_post(worker->sessions, MSG_SESSION_CLOSE, 0, &fields);
}
