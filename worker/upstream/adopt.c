#include "adopt.h"
#include "ask.h"
#include "call.h"
#include "clock.h"
#include "keep.h"
#include "listen.h"
#include "listing.h"
#include "log.h"
#include "pool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* How long the output of a session's process is left in the pipe for it. */
#define UNHEARD_MS 3000u
/* Sessions that are there have attached again by then: a place may be taken from the others. */
#define ABSENT_MS 10000u
/* The same for who shares a process: what nobody is subscribed to then is ended at the server. */
#define SETTLE_MS 10000u

/* What was told of a conversation. */
struct kept_state {
	struct span text, facts;
	enum mcp_era era;
	enum mcp_version version;
	enum mcp_log_level level;
	bool known_era;
	uint64_t listen, tasks_until_ms;
};

/* --- reading it ------------------------------------------------------------------------------ */

static struct span member(const struct kept_state *state, const char *key)
{
	return json_object_get(state->text, span_str(key));
}

static bool copy_member(const struct kept_state *state, const char *key, char *room, size_t size)
{
	struct span text;

	if (json_string_copy(member(state, key), room, size, &text) < 0 || text.len >= size)
		return false;
	memmove(room, text.p, text.len);
	room[text.len] = '\0';
	return true;
}

static uint64_t number_member(const struct kept_state *state, const char *key)
{
	uint64_t number = 0;

	return jsonrpc_id_uint64(member(state, key), &number) == 0 ? number : 0;
}

static bool bool_member(const struct kept_state *state, const char *key)
{
	bool value = false;

	return json_get_bool(member(state, key), &value) == 0 && value;
}

static bool read_state(struct span payload, struct kept_state *ret)
{
	char version[32];

	*ret = (struct kept_state){.text = json_trim(payload)};
	if (json_check(payload, LIMIT_JSON_DEPTH, NULL) < 0 ||
		number_member(ret, "v") != KEEP_FORM ||
		!copy_member(ret, "version", version, sizeof(version)))
		return false;
	ret->version = mcp_version_parse(span_str(version));
	ret->era = number_member(ret, "era") == MCP_MODERN ? MCP_MODERN : MCP_LEGACY;
	ret->known_era = bool_member(ret, "knownEra");
	ret->facts = member(ret, "facts");
	ret->level = mcp_log_level_parse(member(ret, "level"));
	ret->listen = number_member(ret, "listen");
	ret->tasks_until_ms = number_member(ret, "tasksUntil");
	return ret->version != MCP_VERSION_NONE && json_type(ret->facts) == JSON_OBJECT;
}

static void read_marks(const struct kept_state *state, const char *key, struct mark **marks)
{
	struct json_iter iter = json_iter(member(state, key));
	struct span value;
	struct buf text;

	buf_init(&text, message_row(MSG_SERVER_KEEP)->max_payload);
	while (json_iter_element(&iter, &value)) {
		buf_clear(&text);
		if (json_string_append(value, &text) == 0)
			mark_put(marks, buf_span(&text), 2 * CLIENT_MARKS_MAX);
	}
	buf_free(&text);
}

/* --- whose it is ----------------------------------------------------------------------------- */

static struct instance *new_of_session(struct upstream *up, const struct kept_state *state)
{
	char session[LIMIT_SESSION_ID + 1], principal[CLIENT_PRINCIPAL_SIZE];
	struct instance *instance;
	struct client *client;

	if (!upstream_isolates(up) || !copy_member(state, "session", session, sizeof(session)) ||
		!session[0] || !copy_member(state, "principal", principal, sizeof(principal)))
		return NULL;
	client = client_new_absent(up, session, principal);
	instance = client ? instance_new(up, client, NULL) : NULL;
	if (!instance) {
		if (client)
			client_free(client);
		return NULL;
	}
	client->instance = instance;
	client->level = state->level;
	read_marks(state, "tasks", &client->tasks);
	return instance;
}

static struct instance *new_of_pool(struct upstream *up, const struct kept_state *state)
{
	char principal[CLIENT_PRINCIPAL_SIZE];
	struct instance *instance;

	if (!upstream_isolates(up) ||
		!copy_member(state, "principal", principal, sizeof(principal)))
		return NULL;
	instance = pool_adopt(
		up, span_str(principal), (unsigned)number_member(state, "abilities"));
	if (!instance)
		return NULL;
	instance->subscriber = bool_member(state, "subscriber");
	read_marks(state, "tasks", &instance->tasks);
	return instance;
}

static struct instance *new_of_all(struct upstream *up)
{
	if (upstream_isolates(up) || up->catalogue)
		return NULL;
	return up->catalogue = instance_new(up, NULL, NULL);
}

static struct instance *new_instance(struct upstream *up, const struct kept_state *state)
{
	struct span kind = member(state, "kind");

	if (json_equal_string(kind, SPAN_LIT("session")))
		return new_of_session(up, state);
	if (json_equal_string(kind, SPAN_LIT("pool")))
		return new_of_pool(up, state);
	return json_equal_string(kind, SPAN_LIT("shared")) ? new_of_all(up) : NULL;
}

static void discard(struct instance *instance)
{
	struct upstream *up = instance->up;

	if (instance->pool)
		pool_leave(instance);
	else if (instance->client)
		client_free(instance->client);
	else {
		up->catalogue = NULL;
		instance_free(instance, ERR_CLOSED, "it cannot be gone on with");
	}
}

/* --- going on with it ------------------------------------------------------------------------ */

/* They were read by the process that is gone, or asked of clients whose calls it took along. */
static void refuse_asks(struct instance *instance, const struct kept_state *state)
{
	struct json_iter iter = json_iter(member(state, "asks"));
	struct span id;

	while (json_iter_element(&iter, &id)) {
		if (!jsonrpc_id_valid(id))
			continue;
		ask_answer_err(instance, id, ERR_PROCESS_DIED,
			"the process that asked the client died: it is not known what became of it");
		keep_answered(instance, id);
	}
}

static void end_listen(struct instance *instance)
{
	struct upstream *up = instance->up;
	struct transport_message msg = {0};
	char params[64];

	if (!instance->former_listen)
		return;
	snprintf(params, sizeof(params), "{\"requestId\":%" PRIu64 "}", instance->former_listen);
	instance->former_listen = 0;
	buf_clear(&up->scratch);
	if (jsonrpc_write_notification(&up->scratch, mcp_method_info(MCP_CANCELLED)->name,
		    span_str(params)) < 0)
		return;
	msg.text = buf_span(&up->scratch);
	up->ops->send(instance->transport, &msg);
}

static bool take_facts(struct instance *instance, const struct kept_state *state)
{
	instance->facts = strndup(state->facts.p, state->facts.len);
	if (!instance->facts)
		return false;
	instance->capabilities =
		json_object_get(span_str(instance->facts), SPAN_LIT("capabilities"));
	return true;
}

static void take_state(struct instance *instance, const struct kept_state *state)
{
	struct upstream *up = instance->up;

	instance->state = INSTANCE_READY;
	instance->era = state->era;
	instance->version = state->version;
	instance->level = state->level;
	instance->former_listen = state->listen;
	instance->tasks_until_ms = state->tasks_until_ms;
	instance->ready_ms = clock_ms();
	instance_touch(instance);
	up->speaks[state->era] = SPEAKS_YES;
	if (state->known_era)
		up->speaks[!state->era] = SPEAKS_NO;
	up->was_modern = up->speaks[MCP_MODERN] == SPEAKS_YES;
	read_marks(state, "subscriptions", &instance->told);
	instance->unheard = instance->client != NULL;
	refuse_asks(instance, state);
	if (!instance->unheard)
		adopt_hear(instance);
	keep_now(instance);
}

static bool adopt(struct upstream *up, const struct message *msg)
{
	struct kept_state state;
	struct instance *instance =
		read_state(msg->payload, &state) ? new_instance(up, &state) : NULL;

	if (!instance)
		return false;
	if (!take_facts(instance, &state) ||
		stdio_adopt(up, msg, instance, &instance->transport) < 0) {
		discard(instance);
		return false;
	}
	take_state(instance, &state);
	instance_wait_idle(instance, instance->unheard ? UNHEARD_MS : 0);
	log_info("server.taken_up", "its process goes on under a new worker",
		KV_STR("server", up->server->name), KV_STR("session", instance->label));
	return true;
}

void adopt_hear(struct instance *instance)
{
	instance->unheard = false;
	stdio_hear(instance->transport);
	listen_update(instance);
	end_listen(instance);
}

int adopt_begin(struct upstream *up)
{
	struct link *root = process_root(up->process);

	return link_post(root, MSG_SERVER_TAKE, link_stream(root), NULL);
}

void adopt_on_kept(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_kept *fields = msg->fields;
	const struct msg_server_stop stop = {.instance = fields->instance, .grace_ms = 0};
	struct upstream *up = upstream_of(arg);

	if (up->stop_until_ms || !adopt(up, msg)) {
		log_warn("server.not_taken_up", "its process is ended",
			KV_STR("server", up->server->name), KV_SPAN("session", fields->session));
		link_post(link, MSG_SERVER_STOP, 0, &stop);
	}
	adopt_begin(up);
}

/* --- subscriptions that nobody has any more ---------------------------------------------------- */

static bool is_wanted(const struct instance *instance, struct span uri)
{
	const struct client *client;

	DL_FOREACH(instance->up->clients, client)
	{
		if (client_hears(client, instance) && mark_has(client->subscriptions, uri))
			return true;
	}
	return false;
}

static void settle(struct instance *instance)
{
	const struct mark *mark;

	for (mark = instance->told; mark; mark = mark->hh.next) {
		struct span uri = span_of(mark->key, mark->hh.keylen);

		if (!is_wanted(instance, uri))
			handshake_unsubscribe(instance, uri);
	}
	marks_free(&instance->told);
	keep_changed(instance);
}

static bool is_absent(const struct instance *instance)
{
	return instance->client && !instance->client->link;
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct upstream *up = arg;
	struct instance *each;

	(void)fd;
	(void)what;
	up->settling = false;
	DL_FOREACH(up->instances, each)
	{
		if (each->told && !is_absent(each))
			settle(each);
	}
	if (up->catalogue)
		handshake_set_level(up->catalogue);
}

void adopt_on_none(struct link *link, const struct message *msg, void *arg)
{
	static const struct timeval tv = {.tv_sec = SETTLE_MS / 1000};
	struct upstream *up = upstream_of(arg);

	(void)link;
	(void)msg;
	if (up->stop_until_ms)
		return;
	up->settling = up->instances && event_base_once(upstream_base(up), -1, EV_TIMEOUT,
						on_settle, up, &tv) == 0;
	upstream_begin(up);
}

/* --- the session is there again ---------------------------------------------------------------- */

static struct client *find_absent(const struct client *client)
{
	struct client *each;

	DL_FOREACH(client->up->clients, each)
	{
		if (!each->link && each->instance && each->session[0] &&
			strcmp(each->session, client->session) == 0 &&
			strcmp(each->principal, client->principal) == 0)
			return each;
	}
	return NULL;
}

void adopt_claim(struct client *client)
{
	struct client *absent = client->era == MCP_LEGACY && !client->instance && client->attached
					? find_absent(client)
					: NULL;
	struct instance *instance;

	if (!absent)
		return;
	instance = absent->instance;
	absent->instance = NULL;
	client->instance = instance;
	instance->client = client;
	marks_free(&client->tasks);
	client->tasks = absent->tasks;
	absent->tasks = NULL;
	/* what it lists now says nothing of a conversation that has just begun (alike.h) */
	client->called = true;
	client_free(absent);
	if (instance->state != INSTANCE_READY)
		return;
	if (instance->unheard)
		adopt_hear(instance);
	instance_touch(instance);
}

void adopt_settle(struct instance *instance)
{
	if (instance->client && instance->told)
		settle(instance);
}

bool adopt_make_room(struct upstream *up)
{
	uint64_t now = clock_ms();
	struct client *each;

	DL_FOREACH(up->clients, each)
	{
		if (each->link || !each->instance || each->instance->state != INSTANCE_READY ||
			now - each->absent_ms < ABSENT_MS)
			continue;
		instance_stop(each->instance);
		return true;
	}
	return false;
}

void adopt_sweep(struct upstream *up)
{
	struct client *each, *next;

	DL_FOREACH_SAFE(up->clients, each, next)
	{
		if (!each->link && (!each->instance || !each->instance->transport))
			client_free(each);
	}
}
