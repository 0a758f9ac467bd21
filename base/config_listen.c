/* Where the node listens. */
#include "config_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

static bool parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || end - text > 5 || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

static bool is_address(const char *host)
{
	struct in6_addr addr;

	return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, &addr) == 1 ||
	       inet_pton(AF_INET6, host, &addr) == 1;
}

bool config_host_port(
	struct config_loader *l, const char *text, const char **ret_host, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	struct span host;

	if (!colon || !parse_port(colon + 1, ret_port))
		return false;
	host = span_of(text, (size_t)(colon - text));
	if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
		host = span_of(host.p + 1, host.len - 2);
	else if (memchr(host.p, ':', host.len))
		return false;
	*ret_host = loader_strdup(l, host);
	return is_address(*ret_host);
}

static bool resolve_unix(
	struct config_loader *l, struct config_listen *listen, const char **ret_why)
{
	size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	struct buf url;

	if (!listen->url.p[5]) {
		*ret_why = "expected unix:PATH";
		return false;
	}
	listen->kind = CONFIG_LISTEN_UNIX;
	listen->path = l->raw ? listen->url.p + 5 : loader_path(l, listen->url.p + 5);
	if (strlen(listen->path) > max) {
		*ret_why = "the path of a socket has at most 107 bytes";
		return false;
	}
	buf_init(&url, CONFIG_MAX_STRING);
	if (buf_printf(&url, "unix:%s", listen->path) == 0)
		listen->url.p = loader_strdup(l, buf_span(&url));
	buf_free(&url);
	return true;
}

bool config_listen_resolve(
	struct config_loader *l, struct config_listen *listen, const char **ret_why)
{
	char authority[128];
	size_t len;

	listen->host = listen->path = "";
	if (strncmp(listen->url.p, "unix:", 5) == 0)
		return resolve_unix(l, listen, ret_why);
	*ret_why = "expected http://ADDRESS:PORT (an IP address or localhost) or unix:PATH";
	if (strncmp(listen->url.p, "http://", 7) != 0)
		return false;
	len = strlen(listen->url.p + 7);
	if (len > 0 && listen->url.p[7 + len - 1] == '/')
		len--;
	if (len >= sizeof(authority))
		return false;
	snprintf(authority, sizeof(authority), "%.*s", (int)len, listen->url.p + 7);
	listen->kind = CONFIG_LISTEN_TCP;
	return config_host_port(l, authority, &listen->host, &listen->port);
}

/* false: it is no listener, which is told. */
static bool read_one(
	struct config_loader *l, struct config_listen *listen, const struct yaml_node *node)
{
	char found[64];
	const char *why = NULL;

	config_row_defaults(&config_listen_section, listen, "", l->arena);
	listen->line = node->line;
	if (node->kind == YAML_KIND_MAP)
		config_read_map(l, &config_listen_section, listen, "listen", node, NULL);
	else
		config_read_value(l, &config_listen_section,
			config_row_find(&config_listen_section, "url"), listen, "listen", node);
	if (!listen->url.p[0]) {
		if (node->kind == YAML_KIND_MAP && !yaml_tree_get(node, "url"))
			loader_error(l, node, "listen: found a map without url, expected one");
		return false;
	}
	if (config_listen_resolve(l, listen, &why))
		return true;
	loader_error(l, node, "listen: found %s, %s",
		node->kind == YAML_KIND_MAP ? listen->url.p
					    : loader_found(node, found, sizeof(found)),
		why);
	return false;
}

static bool same_place(const struct config_listen *a, const struct config_listen *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == CONFIG_LISTEN_UNIX)
		return strcmp(a->path, b->path) == 0;
	return a->port != 0 && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static void append(struct config_loader *l, const struct yaml_node *node)
{
	struct config_listen *listen = &l->config->listen[l->config->listen_count];

	/* its place may hold what is left of one before it that was none */
	*listen = (struct config_listen){0};
	if (!read_one(l, listen, node))
		return;
	for (size_t i = 0; i < l->config->listen_count; i++)
		if (same_place(&l->config->listen[i], listen)) {
			loader_error(l, node,
				"listen: \"%s\" stands here for the second time, first at line %u",
				listen->url.p, l->config->listen[i].line);
			return;
		}
	l->config->listen_count++;
}

void config_read_listen(struct config_loader *l, const struct yaml_node *node)
{
	bool list = node->kind == YAML_KIND_LIST;
	size_t count = list ? node->count : 1;

	if (yaml_tree_is_null(node))
		return;
	if (count > CONFIG_MAX_LISTEN) {
		loader_error(l, node, "listen: found %zu listeners, expected at most %u", count,
			CONFIG_MAX_LISTEN);
		return;
	}
	l->config->listen = loader_alloc(l, (count + 1) * sizeof(*l->config->listen));
	if (!l->config->listen)
		return;
	if (!list) {
		append(l, node);
		return;
	}
	for (const struct yaml_item *i = node->items; i; i = i->next)
		append(l, i->value);
}
