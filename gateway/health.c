#include "health.h"
#include "clock.h"
#include "gateway.h"
#include "json_write.h"

#include <stdio.h>

static bool is_required(const struct gateway *gateway, struct span name)
{
	for (size_t i = 0; i < gateway->config->server_count; i++)
		if (span_is(name, gateway->config->servers[i].name))
			return gateway->config->servers[i].required;
	return false;
}

static bool is_expected(const struct gateway *gateway, const struct catalogue_server *server)
{
	for (size_t i = 0; i < gateway->config->server_count; i++)
		if (span_is(server->name, gateway->config->servers[i].name))
			return !gateway->config->servers[i].disabled &&
			       server->state != SERVER_DISABLED;
	return false;
}

/* Why requests cannot be served, or NULL. */
static const char *obstacle(const struct gateway *gateway, bool ready)
{
	bool young = clock_ms() - gateway->started_ms < HEALTH_STARTING_MS;
	struct catalogue_server server;

	if (ready && gateway->draining)
		return "draining";
	if (!gateway->catalogue)
		return "no catalogue yet";
	if (!gateway->sessions)
		return "no link to the session manager";
	for (uint32_t i = 0; i < catalogue_servers(gateway->catalogue); i++) {
		catalogue_get_server(gateway->catalogue, i, &server);
		if (server.state == SERVER_UP)
			continue;
		if (is_required(gateway, server.name))
			return "a required server is not up";
		if (ready && young && server.state == SERVER_STARTING &&
			server.capabilities.len == 0)
			return "servers are starting";
	}
	return NULL;
}

static void write_server(const struct catalogue_server *server, struct buf *out)
{
	json_write_string(out, server->name);
	buf_printf(out, ":{\"state\":\"%s\"", server_state_name(server->state));
	if (server->error.len) {
		buf_append_str(out, ",\"error\":");
		json_write_string(out, server->error);
	}
	buf_append_char(out, '}');
}

static void write_servers(const struct gateway *gateway, struct buf *out)
{
	struct catalogue_server server;
	uint32_t up = 0;
	bool first = true;

	buf_append_str(out, ",\"not_up\":{");
	for (uint32_t i = 0; gateway->catalogue && i < catalogue_servers(gateway->catalogue); i++) {
		catalogue_get_server(gateway->catalogue, i, &server);
		up += server.state == SERVER_UP;
		if (server.state == SERVER_UP || !is_expected(gateway, &server))
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		write_server(&server, out);
	}
	buf_printf(out, "},\"up\":%u", up);
}

bool health_write(const struct gateway *gateway, bool ready, bool detail, struct buf *out)
{
	const char *why = obstacle(gateway, ready);

	buf_printf(out, "{\"status\":\"%s\"", why ? "unavailable" : "ok");
	if (why)
		buf_printf(out, ",\"reason\":\"%s\"", why);
	if (detail)
		write_servers(gateway, out);
	buf_append_str(out, "}\n");
	return why == NULL;
}
