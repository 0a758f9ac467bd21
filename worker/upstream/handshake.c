/* How a conversation begins (MCP, lifecycle): initialize, initialized, and what was agreed on
 * before. */
#include "call.h"
#include "client.h"
#include "clock.h"
#include "era.h"
#include "json_write.h"
#include "keep.h"
#include "listen.h"
#include "listing.h"
#include "log.h"
#include "points.h"
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* What registry and workers take of it in one message. */
#define FACTS_MAX (1024u * 1024u - 4096u)

/* One that does not know `server/discover` may also keep silent; then it is asked the other way,
 * too. */
#define SILENCE_MS 2000u

static int write_initialize(const struct instance *instance, struct buf *out)
{
	const struct client *client = instance->client;
	enum mcp_version version = client ? client->version : MCP_LATEST_LEGACY;
	const char *capabilities = upstream_isolates(instance->up) ? ERA_EVERYTHING : "{}";
	const char *info = ERA_OUR_INFO;

	if (client) {
		if (POINT(ABILITIES))
			capabilities = client->capabilities;
		if (json_object_get(span_str(client->info), SPAN_LIT("name")).len)
			info = client->info;
	} else if (instance->pool) {
		capabilities = instance->pool->capabilities;
	}
	return buf_printf(out, "{\"protocolVersion\":\"%s\",\"capabilities\":%s,\"clientInfo\":%s}",
		mcp_version_name(version), capabilities, info);
}

/* An answer that is an error, or none. */
static void note_refusal(
	struct instance *instance, const char *method, const struct outcome *outcome)
{
	struct span message = SPAN_LIT("no message"), data;
	int64_t code = 0;

	/* what it said first is what people need to know */
	if (instance->refused.code)
		return;
	if (outcome->kind != 1) {
		instance->refused = outcome->err;
		return;
	}
	jsonrpc_error_get(outcome->payload, &code, &message, &data);
	if (message.len > 200)
		message.len = 200;
	err_set(&instance->refused, ERR_PROTOCOL, "it refuses %s: %lld %.*s", method,
		(long long)code, SPAN_ARG(message));
}

static void write_fact(struct buf *out, const char *key, struct span value, enum json_type type)
{
	if (json_type(value) != type || out->len + value.len + 64 > FACTS_MAX)
		return;
	buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", key);
	buf_append_span(out, value);
}

static int keep_facts(struct instance *instance, struct span result)
{
	struct span info = json_object_get(result, SPAN_LIT("serverInfo"));
	struct buf facts;

	if (!info.len)
		info = json_path(result, "_meta", MCP_META_SERVER_INFO, NULL);

	buf_init(&facts, FACTS_MAX + 64);
	buf_append_char(&facts, '{');
	write_fact(&facts, "capabilities", json_object_get(result, SPAN_LIT("capabilities")),
		JSON_OBJECT);
	write_fact(&facts, "serverInfo", info, JSON_OBJECT);
	write_fact(&facts, "instructions", json_object_get(result, SPAN_LIT("instructions")),
		JSON_STRING);
	if (buf_append(&facts, "}", 2) < 0) {
		buf_free(&facts);
		return -ERR_NO_MEMORY;
	}
	free(instance->facts);
	instance->facts = buf_steal(&facts, NULL);
	instance->capabilities =
		json_object_get(span_str(instance->facts), SPAN_LIT("capabilities"));
	return 0;
}

static int read_version(struct instance *instance, struct span result, struct err *err)
{
	char text[32];
	struct span version = SPAN_NONE;

	if (json_string_copy(json_object_get(result, SPAN_LIT("protocolVersion")), text,
		    sizeof(text), &version) < 0)
		return err_set(
			err, ERR_PROTOCOL, "its answer to initialize has no protocolVersion");
	instance->version = mcp_version_parse(version);
	if (instance->version == MCP_VERSION_NONE ||
		mcp_version_era(instance->version) != MCP_LEGACY)
		return err_set(err, ERR_PROTOCOL,
			"it speaks revision %.*s, which is not spoken with servers here",
			SPAN_ARG(version));
	return 0;
}

static void say_initialized(struct instance *instance)
{
	struct upstream *up = instance->up;
	struct transport_message msg = {.barrier = true};

	if (up->ops->negotiated)
		up->ops->negotiated(instance->transport, instance->version);
	buf_clear(&up->scratch);
	jsonrpc_write_notification(&up->scratch, SPAN_LIT("notifications/initialized"), SPAN_NONE);
	msg.text = buf_span(&up->scratch);
	up->ops->send(instance->transport, &msg);
}

static void become_ready(struct instance *instance, enum mcp_era era)
{
	const struct timeval idle = {(time_t)(instance->up->server->idle / 1000),
		(suseconds_t)(instance->up->server->idle % 1000 * 1000)};
	struct upstream *up = instance->up;

	up->speaks[era] = SPEAKS_YES;
	up->was_modern = up->speaks[MCP_MODERN] == SPEAKS_YES;
	/* silence, too, means that a server is of the older era */
	if (instance->denied[!era] || (era == MCP_LEGACY && instance->asked[MCP_MODERN]))
		up->speaks[!era] = SPEAKS_NO;
	event_del(instance->held);
	instance->state = INSTANCE_READY;
	instance->era = era;
	instance->ready_ms = clock_ms();
	instance_touch(instance);
	event_del(instance->timer);
	if (!instance->listing)
		event_add(instance->timer, &idle);
	log_debug("server.ready", "the server can be called", KV_STR("server", up->server->name),
		KV_STR("session", instance->label),
		KV_STR("protocol", mcp_version_name(instance->version)));
	if (era == MCP_LEGACY)
		say_initialized(instance);
	pool_settle(instance);
	keep_now(instance);
	handshake_restore(instance);
	if (instance->listing)
		listing_begin(instance->listing);
	listen_update(instance);
	calls_go(instance);
}

static void ask_era(struct instance *instance, enum mcp_era era);

/* It does not speak this era: perhaps the other one. */
static void try_other(struct instance *instance, enum mcp_era era)
{
	instance->denied[era] = true;
	if (!instance->asked[!era])
		ask_era(instance, !era);
	else if (instance->denied[!era])
		instance_fail(instance, RESTART_HANDSHAKE, &instance->refused);
}

static void on_answered(struct instance *instance, const struct outcome *outcome, void *arg)
{
	struct err err = {0};

	(void)arg;
	if (instance->state != INSTANCE_GREETING)
		return;
	if (outcome->kind != 0) {
		note_refusal(instance, "initialize", outcome);
		try_other(instance, MCP_LEGACY);
		return;
	}
	if (read_version(instance, outcome->payload, &err) == 0 &&
		keep_facts(instance, outcome->payload) < 0)
		err_set(&err, ERR_NO_MEMORY, "no memory for its answer to initialize");
	if (err.code) {
		instance->refused = err;
		try_other(instance, MCP_LEGACY);
		return;
	}
	become_ready(instance, MCP_LEGACY);
}

static bool has_version(struct span versions, enum mcp_version version)
{
	struct json_iter iter = json_iter(versions);
	struct span each;

	while (json_iter_element(&iter, &each))
		if (json_equal_string(each, span_str(mcp_version_name(version))))
			return true;
	return false;
}

/* It takes another revision than the one it was asked in, and names one that is spoken here: then
 * it is asked again, once. */
static bool asks_for_version(const struct outcome *outcome)
{
	struct span message, data;
	int64_t code = 0;

	return outcome->kind == 1 &&
	       jsonrpc_error_get(outcome->payload, &code, &message, &data) == 0 &&
	       code == err_rpc_code(-ERR_UNSUPPORTED_VERSION) &&
	       has_version(json_object_get(data, SPAN_LIT("supported")), MCP_FIRST_MODERN);
}

static void on_discovered(struct instance *instance, const struct outcome *outcome, void *arg)
{
	struct span versions =
		json_object_get(outcome->payload, SPAN_LIT("supportedVersions"));

	(void)arg;
	if (instance->state != INSTANCE_GREETING)
		return;
	if (!instance->asked_again && asks_for_version(outcome)) {
		instance->asked_again = true;
		ask_era(instance, MCP_MODERN);
		return;
	}
	if (outcome->kind != 0 || !has_version(versions, MCP_FIRST_MODERN) ||
		keep_facts(instance, outcome->payload) < 0) {
		/* an older server has many ways not to know it; what it says to initialize counts */
		if (instance->asked[MCP_LEGACY])
			note_refusal(instance, "server/discover", outcome);
		try_other(instance, MCP_MODERN);
		return;
	}
	instance->version = MCP_FIRST_MODERN;
	become_ready(instance, MCP_MODERN);
}

static int discover(struct instance *instance)
{
	const struct upstream *up = instance->up;
	uint64_t limit = (uint64_t)up->server->start_timeout / 2;
	struct timeval silence;

	limit = limit < SILENCE_MS ? limit : SILENCE_MS;
	silence = (struct timeval){(time_t)(limit / 1000), (suseconds_t)(limit % 1000 * 1000)};
	if (up->speaks[MCP_MODERN] == SPEAKS_UNKNOWN)
		event_add(instance->held, &silence);
	return call_own(instance, MCP_DISCOVER, SPAN_NONE, 0, on_discovered, NULL);
}

static int initialize(struct instance *instance)
{
	struct buf params;
	int r;

	buf_init(&params, 2u * 1024 * 1024);
	r = write_initialize(instance, &params);
	if (r == 0)
		r = call_own(instance, MCP_INITIALIZE, buf_span(&params), 0, on_answered, NULL);
	buf_free(&params);
	return r;
}

static void ask_era(struct instance *instance, enum mcp_era era)
{
	struct err err = {0};

	instance->era = era;
	instance->asked[era] = true;
	if ((era == MCP_MODERN ? discover(instance) : initialize(instance)) == 0)
		return;
	err_set(&err, ERR_NO_MEMORY, "the conversation cannot be begun");
	instance_fail(instance, RESTART_HANDSHAKE, &err);
}

void handshake_unanswered(struct instance *instance)
{
	if (!instance->asked[MCP_LEGACY])
		ask_era(instance, MCP_LEGACY);
}

/* A client is spoken for in its own era where the server speaks it: then nothing is lost. */
void handshake_begin(struct instance *instance)
{
	const struct upstream *up = instance->up;
	enum mcp_era era = instance->client ? instance->client->era : MCP_MODERN;

	if (up->speaks[era] == SPEAKS_NO)
		era = !era;
	/* HTTP+SSE is a transport of the legacy era */
	if (up->server->type == CONFIG_TYPE_SSE)
		era = MCP_LEGACY;
	instance->state = INSTANCE_GREETING;
	instance->refused = (struct err){0};
	ask_era(instance, era);
}

/* --- what was agreed on before --------------------------------------------------------------- */

/* Of several sessions, the one that wants to hear most counts; the session workers leave out the
 * rest. */
static enum mcp_log_level wanted_level(const struct instance *instance)
{
	enum mcp_log_level level = MCP_LOG_NONE;
	const struct client *client;

	if (instance->client)
		return instance->client->level;
	if (!instance_is_shared(instance))
		return MCP_LOG_NONE;
	DL_FOREACH(instance->up->clients, client)
	{
		if (client->level != MCP_LOG_NONE &&
			(level == MCP_LOG_NONE || client->level < level))
			level = client->level;
	}
	return level;
}

void handshake_set_level(struct instance *instance)
{
	enum mcp_log_level level = wanted_level(instance);
	char params[64];

	if (instance->state != INSTANCE_READY || instance->era != MCP_LEGACY ||
		level == instance->level ||
		level == MCP_LOG_NONE || !instance_can(instance, "logging"))
		return;
	/* who wants to hear more has perhaps not come back yet */
	if (instance->up->settling && !instance->client && level > instance->level &&
		instance->level != MCP_LOG_NONE)
		return;
	instance->level = level;
	snprintf(params, sizeof(params), "{\"level\":\"%s\"}", mcp_log_level_name(level));
	call_tell(instance, MCP_LOGGING_SET_LEVEL, span_str(params));
	keep_changed(instance);
}

static void tell_of(struct instance *instance, enum mcp_method method, struct span uri)
{
	struct buf params;

	buf_init(&params, 1024u * 1024);
	buf_append_str(&params, "{\"uri\":");
	json_write_string(&params, uri);
	if (buf_append_char(&params, '}') == 0)
		call_tell(instance, method, buf_span(&params));
	buf_free(&params);
}

void handshake_subscribe(struct instance *instance, const struct client *client)
{
	const struct mark *mark;

	if (instance->state != INSTANCE_READY || instance->era != MCP_LEGACY ||
		!mcp_capable(instance->capabilities, "resources.subscribe"))
		return;
	for (mark = client->subscriptions; mark; mark = mark->hh.next) {
		struct span uri = span_of(mark->key, mark->hh.keylen);

		if (!mark_has(instance->told, uri))
			tell_of(instance, MCP_RESOURCES_SUBSCRIBE, uri);
	}
	keep_changed(instance);
}

void handshake_unsubscribe(struct instance *instance, struct span uri)
{
	if (instance->state == INSTANCE_READY && instance->era == MCP_LEGACY)
		tell_of(instance, MCP_RESOURCES_UNSUBSCRIBE, uri);
}

void handshake_restore(struct instance *instance)
{
	const struct client *client;

	if (POINT(LEVEL))
		handshake_set_level(instance);
	if (instance->client) {
		handshake_subscribe(instance, instance->client);
		return;
	}
	DL_FOREACH(instance->up->clients, client)
	{
		if (client_hears(client, instance))
			handshake_subscribe(instance, client);
	}
}
