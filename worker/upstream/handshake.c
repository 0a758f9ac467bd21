/* How a conversation begins (MCP, lifecycle): initialize, initialized, and what was agreed on
 * before. */
#include "call.h"
#include "client.h"
#include "clock.h"
#include "json_write.h"
#include "listing.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* What registry and workers take of it in one message. */
#define FACTS_MAX (1024u * 1024u - 4096u)

#define OUR_INFO \
	"{\"name\":\"gatehouse\",\"title\":\"Gatehouse\",\"version\":\"" GATEHOUSE_VERSION "\"}"
/* A server offers the most to a client that can everything. */
#define EVERYTHING \
	"{\"roots\":{\"listChanged\":true},\"sampling\":{\"context\":{},\"tools\":{}}," \
	"\"elicitation\":{\"form\":{},\"url\":{}}}"

static int write_initialize(const struct instance *instance, struct buf *out)
{
	const struct client *client = instance->client;
	enum mcp_version version = client ? client->version : MCP_LATEST_LEGACY;
	const char *capabilities = upstream_isolates(instance->up) ? EVERYTHING : "{}";
	const char *info = OUR_INFO;

	if (client) {
		capabilities = client->capabilities;
		if (json_object_get(span_str(client->info), SPAN_LIT("name")).len)
			info = client->info;
	}
	return buf_printf(out, "{\"protocolVersion\":\"%s\",\"capabilities\":%s,\"clientInfo\":%s}",
		mcp_version_name(version), capabilities, info);
}

static void refuse(struct instance *instance, const struct err *err)
{
	instance_fail(instance, RESTART_HANDSHAKE, err);
}

/* The server answered initialize with an error. */
static void on_refused(struct instance *instance, struct span error)
{
	struct span message = SPAN_LIT("no message"), data;
	int64_t code = 0;
	struct err err = {0};

	jsonrpc_error_get(error, &code, &message, &data);
	if (message.len > 200)
		message.len = 200;
	if (code == err_rpc_code(ERR_METHOD_NOT_FOUND) ||
		code == err_rpc_code(ERR_UNSUPPORTED_VERSION)) {
		instance->era = MCP_MODERN;
		err_set(&err, ERR_PROTOCOL,
			"it refuses initialize (%lld %.*s): it speaks only revision %s or later, "
			"and "
			"servers are spoken with up to %s",
			(long long)code, SPAN_ARG(message), mcp_version_name(MCP_FIRST_MODERN),
			mcp_version_name(MCP_LATEST_LEGACY));
	} else {
		err_set(&err, ERR_PROTOCOL, "it refuses initialize: %lld %.*s", (long long)code,
			SPAN_ARG(message));
	}
	refuse(instance, &err);
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
	struct buf facts;

	buf_init(&facts, FACTS_MAX + 64);
	buf_append_char(&facts, '{');
	write_fact(&facts, "capabilities", json_object_get(result, SPAN_LIT("capabilities")),
		JSON_OBJECT);
	write_fact(
		&facts, "serverInfo", json_object_get(result, SPAN_LIT("serverInfo")), JSON_OBJECT);
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

static void on_answered(struct instance *instance, const struct outcome *outcome, void *arg)
{
	const struct timeval idle = {(time_t)(instance->up->server->idle / 1000),
		(suseconds_t)(instance->up->server->idle % 1000 * 1000)};
	struct err err = {0};

	(void)arg;
	if (instance->state != INSTANCE_GREETING)
		return;
	if (outcome->kind == 1) {
		on_refused(instance, outcome->payload);
		return;
	}
	if (outcome->kind == 2)
		err = outcome->err;
	else if (read_version(instance, outcome->payload, &err) == 0 &&
		 keep_facts(instance, outcome->payload) < 0)
		err_set(&err, ERR_NO_MEMORY, "no memory for its answer to initialize");
	if (err.code) {
		refuse(instance, &err);
		return;
	}
	instance->state = INSTANCE_READY;
	instance->era = MCP_LEGACY;
	instance->ready_ms = clock_ms();
	instance_touch(instance);
	event_del(instance->timer);
	if (instance->client)
		event_add(instance->timer, &idle);
	log_debug("server.ready", "the server can be called",
		KV_STR("server", instance->up->server->name), KV_STR("session", instance->label),
		KV_STR("protocol", mcp_version_name(instance->version)));
	say_initialized(instance);
	handshake_restore(instance);
	if (instance->listing)
		listing_begin(instance->listing);
	calls_go(instance);
}

void handshake_begin(struct instance *instance)
{
	struct err err = {0};
	struct buf params;

	instance->state = INSTANCE_GREETING;
	buf_init(&params, 2u * 1024 * 1024);
	if (write_initialize(instance, &params) < 0 ||
		call_own(instance, MCP_INITIALIZE, buf_span(&params), 0, on_answered, NULL) < 0) {
		err_set(&err, ERR_NO_MEMORY, "initialize cannot be sent");
		refuse(instance, &err);
	}
	buf_free(&params);
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

	if (instance->state != INSTANCE_READY || level == instance->level ||
		level == MCP_LOG_NONE || !instance_can(instance, "logging"))
		return;
	instance->level = level;
	snprintf(params, sizeof(params), "{\"level\":\"%s\"}", mcp_log_level_name(level));
	call_tell(instance, MCP_LOGGING_SET_LEVEL, span_str(params));
}

void handshake_subscribe(struct instance *instance, const struct client *client)
{
	const struct mark *mark;
	struct buf params;

	if (instance->state != INSTANCE_READY ||
		!mcp_capable(instance->capabilities, "resources.subscribe"))
		return;
	for (mark = client->subscriptions; mark; mark = mark->hh.next) {
		buf_init(&params, 1024u * 1024);
		buf_append_str(&params, "{\"uri\":");
		json_write_string(&params, span_of(mark->key, mark->hh.keylen));
		if (buf_append_char(&params, '}') == 0)
			call_tell(instance, MCP_RESOURCES_SUBSCRIBE, buf_span(&params));
		buf_free(&params);
	}
}

void handshake_restore(struct instance *instance)
{
	const struct client *client;

	handshake_set_level(instance);
	if (instance->client) {
		handshake_subscribe(instance, instance->client);
		return;
	}
	if (!instance_is_shared(instance))
		return;
	DL_FOREACH(instance->up->clients, client)
	handshake_subscribe(instance, client);
}
