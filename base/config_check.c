/* What one row alone cannot see: settings that need, exclude or bound each other. */
#include "config_internal.h"
#include "network.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define report(l, at_line, ...) \
	config_report_add((l)->report, CONFIG_ERROR, at_line, 1, __VA_ARGS__)
#define notice(l, at_line, ...) \
	config_report_add((l)->report, CONFIG_NOTICE, at_line, 1, __VA_ARGS__)

static uint32_t server_line(const struct config_server *server, const char *path)
{
	const struct config_row *row = config_row_find(&config_server_section, path);
	uint32_t line = config_row_line(&config_server_section, row, server);

	return line ? line : server->line;
}

static uint32_t setting_line(const struct config *config, const char *path)
{
	return config_row_line(&config_settings, config_row_find(&config_settings, path), config);
}

static bool given(const struct config_server *server, const char *path)
{
	return config_row_line(&config_server_section,
		       config_row_find(&config_server_section, path), server) > 0;
}

static bool scheme_is(const char *url, const char *a, const char *b)
{
	return (strncmp(url, a, strlen(a)) == 0 && url[strlen(a)]) ||
	       (strncmp(url, b, strlen(b)) == 0 && url[strlen(b)]);
}

static bool has_user(const char *url)
{
	const char *host = strstr(url, "://") + 3;

	return memchr(host, '@', strcspn(host, "/?#")) != NULL;
}

static void check_url(struct config_loader *l, const struct config_server *server)
{
	bool ws = server->type == CONFIG_TYPE_WS;
	const char *url = server->url.p;

	for (const char *p = url; *p; p++)
		if ((unsigned char)*p <= 0x20 || *p == 0x7f) {
			report(l, server_line(server, "url"),
				"mcpServers.%s.url: found a space or control character, expected "
				"none",
				server->title);
			return;
		}
	if (!(ws ? scheme_is(url, "ws://", "wss://") : scheme_is(url, "http://", "https://")))
		report(l, server_line(server, "url"), "mcpServers.%s.url: expected %s",
			server->title,
			ws ? "ws://HOST… or wss://HOST…" : "http://HOST… or https://HOST…");
	else if (has_user(url))
		report(l, server_line(server, "url"),
			"mcpServers.%s.url: found a user name before the host, expected an "
			"Authorization header in headers",
			server->title);
}

static void settle_type(struct config_server *server)
{
	if (server->type == CONFIG_TYPE_AUTO && server->command.p[0])
		server->type = CONFIG_TYPE_STDIO;
	else if (server->type == CONFIG_TYPE_AUTO && scheme_is(server->url.p, "ws://", "wss://"))
		server->type = CONFIG_TYPE_WS;
	if (server->isolation == CONFIG_ISOLATION_AUTO)
		server->isolation = server->type == CONFIG_TYPE_STDIO ? CONFIG_ISOLATION_SESSION
								      : CONFIG_ISOLATION_SHARED;
}

/* Settings that say nothing about this type of server. */
static void notice_unused(
	struct config_loader *l, const struct config_server *server, const char *const *paths)
{
	for (; *paths; paths++)
		if (given(server, *paths))
			notice(l, server_line(server, *paths),
				"mcpServers.%s.%s: not used by a server of type %s", server->title,
				*paths, config_type_name(server->type));
}

/* clean: nothing was wrong with any one setting of it, so what is empty was never there. */
static void check_reach(struct config_loader *l, const struct config_server *server, bool clean)
{
	static const char *const not_stdio[] = {"headers", "pingInterval", NULL};
	static const char *const not_http[] = {
		"args", "env", "envFile", "cwd", "stderr", "pingInterval", NULL};
	static const char *const not_ws[] = {"args", "env", "envFile", "cwd", "stderr", NULL};
	bool stdio = server->type == CONFIG_TYPE_STDIO;
	bool command = server->command.p[0] != '\0', url = server->url.p[0] != '\0';

	if (command && url)
		report(l, server_line(server, "url"),
			"mcpServers.%s: found command and url, expected one of them",
			server->title);
	else if (!command && !url && clean && !server->disabled)
		report(l, server->line,
			"mcpServers.%s: found neither command nor url, expected one of them",
			server->title);
	else if (stdio && url)
		report(l, server_line(server, "type"),
			"mcpServers.%s.type: found stdio with a url, expected a command",
			server->title);
	else if (!stdio && command)
		report(l, server_line(server, "type"),
			"mcpServers.%s.type: found %s with a command, expected a url",
			server->title, config_type_name(server->type));
	else if (clean)
		notice_unused(l, server,
			stdio                            ? not_stdio
			: server->type == CONFIG_TYPE_WS ? not_ws
							 : not_http);
}

/* RFC 9110 §5.6.2 */
static bool is_token(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("!#$%&'*+-.^_`|~", *p))
			return false;
	return name[0] != '\0';
}

/* A line break in a value would become a header of its own. */
static bool header_value_valid(const char *value)
{
	for (; *value; value++)
		if (((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f)
			return false;
	return true;
}

static void check_headers(struct config_loader *l, const struct config_server *server)
{
	uint32_t line = server_line(server, "headers");

	for (size_t i = 0; i < server->headers.count; i++) {
		const struct config_pair *pair = &server->headers.items[i];

		if (!is_token(pair->name))
			report(l, line,
				"mcpServers.%s.headers: found the name \"%.60s\", expected a "
				"header's",
				server->title, pair->name);
		if (!header_value_valid(pair->value.p))
			report(l, line,
				"mcpServers.%s.headers.%.60s: found a control character in the "
				"value, "
				"expected none",
				server->title, pair->name);
	}
}

static void check_env(struct config_loader *l, const struct config_server *server)
{
	for (size_t i = 0; i < server->env.count; i++) {
		const char *name = server->env.items[i].name;

		if (!name[0] || strchr(name, '='))
			report(l, server_line(server, "env"),
				"mcpServers.%s.env: found the name \"%.60s\", expected one without "
				"\"=\"",
				server->title, name);
	}
}

static void check_patterns(struct config_loader *l, const struct config_server *server,
	const char *path, const struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (!list->items[i].p[0])
			report(l, server_line(server, path),
				"mcpServers.%s.%s: found \"\", expected a tool's name or pattern",
				server->title, path);
}

static void check_rename(struct config_loader *l, const struct config_server *server)
{
	for (size_t i = 0; i < server->tools_rename.count; i++) {
		const char *wrong = config_rename_wrong(&server->tools_rename, i);

		if (wrong)
			report(l, server_line(server, "tools.rename"),
				"mcpServers.%s.tools.rename.%.60s: found \"%.80s\", %s", server->title,
				server->tools_rename.items[i].name,
				server->tools_rename.items[i].value.p, wrong);
	}
}

/* A command with a slash starts at the configuration's folder;
 * a bare one is looked up on the PATH. */
static void settle_paths(struct config_loader *l, struct config_server *server)
{
	if (strchr(server->command.p, '/'))
		server->command.p = loader_path(l, server->command.p);
}

void config_check_server(struct config_loader *l, struct config_server *server, bool clean)
{
	settle_type(server);
	settle_paths(l, server);
	check_reach(l, server, clean);
	/* what is empty was told already, or belongs to a disabled server */
	if (server->url.p[0] && !(l->verbatim && strstr(server->url.p, "${")))
		check_url(l, server);
	check_headers(l, server);
	if (!l->verbatim)
		config_read_env_file(l, server);
	check_env(l, server);
	check_patterns(l, server, "tools.include", &server->tools_include);
	check_patterns(l, server, "tools.exclude", &server->tools_exclude);
	check_patterns(l, server, "idempotent", &server->idempotent);
	check_rename(l, server);
	if (server->required && server->disabled)
		notice(l, server_line(server, "required"),
			"mcpServers.%s.required: has no effect while the server is disabled",
			server->title);
}

static void check_network_lists(struct config_loader *l)
{
	const struct config *c = l->config;
	struct network network;

	for (size_t i = 0; i < c->trusted_proxies.count; i++)
		if (network_parse(span_str(c->trusted_proxies.items[i].p), &network) < 0)
			report(l, setting_line(c, "trusted_proxies"),
				"trusted_proxies: found \"%.60s\", expected an IP address or "
				"network such as "
				"10.0.0.0/8, or unix",
				c->trusted_proxies.items[i].p);
	for (size_t i = 0; i < c->allowed_origins.count; i++) {
		const char *origin = c->allowed_origins.items[i].p;
		const char *host = strstr(origin, "://");

		if (!host || host == origin || !host[3] || strchr(host + 3, '/'))
			report(l, setting_line(c, "allowed_origins"),
				"allowed_origins: found \"%.60s\", expected scheme://host or "
				"scheme://host:port",
				origin);
	}
	for (size_t i = 0; i < c->allowed_hosts.count; i++)
		if (!c->allowed_hosts.items[i].p[0] || strpbrk(c->allowed_hosts.items[i].p, "/ @"))
			report(l, setting_line(c, "allowed_hosts"),
				"allowed_hosts: found \"%.60s\", expected a host name, with a port "
				"or without",
				c->allowed_hosts.items[i].p);
}

static void check_sse_path(struct config_loader *l)
{
	static const char *const ours[] = {"/", "/mcp", "/livez", "/healthz", "/readyz"};
	static const char *const above[] = {"/mcp/", "/v1/"};
	const char *path = l->config->sse_path.p;
	bool good = !path[0] || (path[0] == '/' && strlen(path) <= 128);

	for (const char *p = path; *p && good; p++)
		good = isalnum((unsigned char)*p) || strchr("/-._~", *p);
	for (size_t i = 0; good && i < sizeof(ours) / sizeof(*ours); i++)
		good = strcmp(path, ours[i]) != 0;
	for (size_t i = 0; good && i < sizeof(above) / sizeof(*above); i++)
		good = strncmp(path, above[i], strlen(above[i])) != 0;
	if (!good)
		report(l, setting_line(l->config, "sse.path"),
			"sse.path: found \"%.60s\", expected a path such as /sse that is not below "
			"/mcp or /v1 nor one of the node's own pages, or nothing",
			path);
}

static void check_admin(struct config_loader *l)
{
	const struct config *c = l->config;
	const char *host;
	uint16_t port;

	if (strlen(c->admin_socket.p) > 107)
		report(l, setting_line(c, "admin.socket"),
			"admin.socket: found a path of %zu bytes, expected at most 107",
			strlen(c->admin_socket.p));
	if (c->admin_http.p[0] && !config_host_port(l, c->admin_http.p, &host, &port))
		report(l, setting_line(c, "admin.http"),
			"admin.http: found \"%.60s\", expected ADDRESS:PORT such as 127.0.0.1:9464",
			c->admin_http.p);
}

static void check_bounds(struct config_loader *l)
{
	const struct config *c = l->config;

	if (c->worker_warm > c->worker_max)
		report(l,
			setting_line(c, "worker.warm") ? setting_line(c, "worker.warm")
						       : setting_line(c, "worker.max"),
			"worker.warm: found %lld, expected at most worker.max (%lld)",
			(long long)c->worker_warm, (long long)c->worker_max);
}

static bool is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strcmp(host, "localhost") == 0;
}

bool config_listen_is_local(const struct config_listen *listen)
{
	return listen->kind == CONFIG_LISTEN_UNIX || is_loopback(listen->host);
}

bool config_host_is_local(const char *host_port)
{
	return strncmp(host_port, "127.", 4) == 0 || strncmp(host_port, "[::1]:", 6) == 0 ||
	       strncmp(host_port, "localhost:", 10) == 0;
}

/* The node asks nobody for a password yet lets programs run:
 * people should know who can reach it. */
static void notice_reach(struct config_loader *l)
{
	for (size_t i = 0; i < l->config->listen_count; i++) {
		const struct config_listen *listen = &l->config->listen[i];

		if (!config_listen_is_local(listen))
			notice(l, listen->line, "listen: %s can be reached from other machines",
				listen->url.p);
	}
}

/* Whoever sets them to something counts on it. */
static void notice_unused_rows(struct config_loader *l)
{
	for (size_t i = 0; i < config_settings.count; i++) {
		const struct config_row *row = &config_settings.rows[i];
		const char *value = (const char *)l->config + row->offset;

		if (row->flags & CONFIG_UNUSED && !config_row_is_default(row, value))
			notice(l, config_row_line(&config_settings, row, l->config),
				"%s: has no effect in this version", row->path);
	}
}

void config_check(struct config_loader *l)
{
	notice_unused_rows(l);
	check_network_lists(l);
	check_sse_path(l);
	check_admin(l);
	check_bounds(l);
	config_check_views(l);
	notice_reach(l);
}
