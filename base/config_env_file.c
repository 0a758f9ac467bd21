/* envFile: lines NAME=VALUE. */
#include "config_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static struct span trim(struct span s)
{
	while (s.len > 0 && isspace((unsigned char)s.p[0]))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len > 0 && isspace((unsigned char)s.p[s.len - 1]))
		s.len--;
	return s;
}

static struct span unquote(struct span s)
{
	if (s.len >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.len - 1] == s.p[0])
		return span_of(s.p + 1, s.len - 2);
	return s;
}

static bool has(const struct config_pair *items, size_t count, struct span name)
{
	for (size_t i = 0; i < count; i++)
		if (span_is(name, items[i].name))
			return true;
	return false;
}

/* One line into *pair. 1: a pair, 0: empty or a comment, -1: a mistake. */
static int read_line(struct config_loader *l, struct span line, struct config_pair *pair)
{
	const char *equals;
	struct span name;

	line = trim(line);
	if (line.len > 7 && memcmp(line.p, "export ", 7) == 0)
		line = trim(span_of(line.p + 7, line.len - 7));
	if (line.len == 0 || line.p[0] == '#')
		return 0;
	equals = memchr(line.p, '=', line.len);
	name = trim(span_of(line.p, equals ? (size_t)(equals - line.p) : 0));
	if (name.len == 0)
		return -1;
	pair->name = loader_strdup(l, name);
	pair->value.p = loader_strdup(
		l, unquote(trim(span_of(equals + 1, line.len - (size_t)(equals + 1 - line.p)))));
	pair->value.secret = true;
	return 1;
}

static void merge(
	struct config_loader *l, struct config_server *server, struct span text, uint32_t at)
{
	size_t lines = 2, number = 0, n = server->env.count, own = n;
	struct config_pair *items;

	for (size_t i = 0; i < text.len; i++)
		lines += text.p[i] == '\n';
	items = loader_alloc(l, (n + lines) * sizeof(*items));
	if (!items)
		return;
	if (n > 0)
		memcpy(items, server->env.items, n * sizeof(*items));
	while (text.len > 0) {
		const char *end = memchr(text.p, '\n', text.len);
		size_t len = end ? (size_t)(end - text.p) : text.len;
		int r = read_line(l, span_of(text.p, len), &items[n]);

		number++;
		if (r < 0)
			config_report_add(l->report, CONFIG_ERROR, at, 1,
				"mcpServers.%s.envFile: line %zu of %s: expected NAME=VALUE",
				server->title, number, server->env_file.p);
		else if (r > 0 && !has(items, own, span_str(items[n].name)))
			n++;
		text = end ? span_of(end + 1, text.len - len - 1) : SPAN_NONE;
	}
	server->env = (struct config_map){items, n};
}

void config_read_env_file(struct config_loader *l, struct config_server *server)
{
	const struct config_row *row = config_row_find(&config_server_section, "envFile");
	uint32_t line = config_row_line(&config_server_section, row, server);
	struct span text;
	struct err err = {0};

	if (!server->env_file.p[0])
		return;
	if (config_read_small_file(l, server->env_file.p, CONFIG_MAX_ENV_FILE, &text, &err) < 0) {
		config_report_add(l->report, l->lenient ? CONFIG_NOTICE : CONFIG_ERROR, line, 1,
			"mcpServers.%s.envFile: the file %s %s", server->title, server->env_file.p,
			err_text(&err));
		return;
	}
	merge(l, server, text, line);
}
