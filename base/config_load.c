/* From a file to a struct config: reading, the root keys, what the parts share. */
#include "config_internal.h"
#include "json_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void *loader_alloc(struct config_loader *l, size_t size)
{
	void *p = arena_alloc(l->arena, size);

	l->no_memory |= !p;
	return p;
}

const char *loader_strdup(struct config_loader *l, struct span text)
{
	const char *copy = arena_strdup(l->arena, text);

	l->no_memory |= !copy;
	return copy ? copy : "";
}

const char *loader_path(struct config_loader *l, const char *path)
{
	const char *dir = l->config->dir;
	struct buf joined;
	const char *ret;

	if (l->raw || path[0] == '/' || path[0] == '\0' ||
		(l->verbatim && strncmp(path, "${", 2) == 0))
		return path;
	while (path[0] == '.' && path[1] == '/')
		path += 2;
	buf_init(&joined, 2 * CONFIG_MAX_STRING);
	l->no_memory |= buf_printf(&joined, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, path) < 0;
	ret = loader_strdup(l, buf_span(&joined));
	buf_free(&joined);
	return ret;
}

static struct config *config_new(const char *file, const char *dir)
{
	struct config *config = calloc(1, sizeof(*config));
	struct arena *arena = calloc(1, sizeof(*arena));

	if (!config || !arena) {
		free(config);
		free(arena);
		return NULL;
	}
	arena_init(arena, CONFIG_MAX_MEMORY);
	config->arena = arena;
	config->file = arena_strdup(arena, span_str(file));
	config->dir = arena_strdup(arena, span_str(dir));
	if (!config->file || !config->dir ||
		config_row_defaults(&config_settings, config, config->dir, arena) < 0) {
		config_free(config);
		return NULL;
	}
	return config;
}

struct config *config_new_default(const char *dir)
{
	return config_new("", dir);
}

void config_free(struct config *config)
{
	if (!config)
		return;
	arena_free(config->arena);
	free(config->arena);
	free(config);
}

/* ---- the root keys that are no rows ---- */

static void read_nothing(struct config_loader *l, const struct yaml_node *node)
{
	(void)l;
	(void)node;
}

static void read_file(struct config_loader *l, const struct yaml_node *node)
{
	l->config->file = loader_strdup(l, node->text);
}

static void read_dir(struct config_loader *l, const struct yaml_node *node)
{
	l->config->dir = loader_strdup(l, node->text);
}

/* VS Code's settings.json holds its servers one level down. */
static void read_mcp(struct config_loader *l, const struct yaml_node *node)
{
	const struct yaml_node *servers = yaml_tree_get(node, "servers");

	if (servers)
		config_read_servers(l, servers);
}

static const struct {
	const char *key;
	void (*read)(struct config_loader *l, const struct yaml_node *node);
	bool raw;    /* only in what config_write_json wrote */
	bool client; /* only in another program's JSON file */
} root_keys[] = {
	{"listen", config_read_listen, false, false},
	{"mcpServers", config_read_servers, false, false},
	{"servers", config_read_servers, false, false},
	{"views", config_read_views, false, false},
	{"inputs", read_nothing, false, false}, /* looked up by ${input:…} */
	{"$schema", read_nothing, false, false},
	{"mcp", read_mcp, false, true},
	{"file", read_file, true, false},
	{"dir", read_dir, true, false},
};

#define ROOT_KEYS (sizeof(root_keys) / sizeof(root_keys[0]))

static bool near_root_key(const char *key)
{
	for (size_t i = 0; i < ROOT_KEYS; i++)
		if (!root_keys[i].raw && config_near(key, root_keys[i].key))
			return true;
	return false;
}

static bool other_root_key(struct config_loader *l, void *base, const struct yaml_node *key,
	const struct yaml_node *value, const char *path)
{
	(void)base;
	for (size_t i = 0; i < ROOT_KEYS; i++)
		if (strcmp(root_keys[i].key, path) == 0 && (!root_keys[i].raw || l->raw) &&
			(!root_keys[i].client || l->json)) {
			root_keys[i].read(l, value);
			return true;
		}
	/* another version's, which knows more */
	if (l->raw)
		return true;
	if (l->json && strcmp(key->text.p, path) == 0 &&
		!config_row_is_group(&config_settings, path) &&
		!config_row_nearest(&config_settings, path) && !near_root_key(path)) {
		loader_notice(l, key, "%.60s: ignored: not a setting of this program", path);
		return true;
	}
	for (size_t i = 0; i < ROOT_KEYS; i++)
		if (!root_keys[i].raw && !root_keys[i].client &&
			config_near(path, root_keys[i].key) &&
			!config_row_is_group(&config_settings, path)) {
			loader_error(l, key, "%.60s: unknown setting; did you mean \"%s\"?", path,
				root_keys[i].key);
			return true;
		}
	return false;
}

/* A listener has the limits of http.* where it has none of its own. */
static void inherit_limits(struct config *config, struct config_listen *listen)
{
	for (size_t i = 0; i < config_listen_section.count; i++) {
		const struct config_row *row = &config_listen_section.rows[i];
		const struct config_row *from;
		char path[64];

		snprintf(path, sizeof(path), "http.%s", row->path);
		from = config_row_find(&config_settings, path);
		if (from && config_row_line(&config_listen_section, row, listen) == 0)
			memcpy((char *)listen + row->offset, (const char *)config + from->offset,
				sizeof(int64_t));
	}
}

/* Numbers become strings, which is as good where ${…} looks them up. */
static int write_scalar(const struct yaml_node *node, struct buf *out)
{
	if (yaml_tree_is_null(node))
		return buf_append_str(out, "null");
	if (!node->quoted && (span_is(node->text, "true") || span_is(node->text, "false")))
		return buf_append_span(out, node->text);
	return json_write_string(out, node->text);
}

/* A value as it stands in the file, as JSON. */
static int write_node(const struct yaml_node *node, struct buf *out)
{
	bool list = node->kind == YAML_KIND_LIST;
	int r;

	if (node->kind == YAML_KIND_SCALAR)
		return write_scalar(node, out);
	r = buf_append_char(out, list ? '[' : '{');
	for (const struct yaml_item *i = node->items; r == 0 && i; i = i->next) {
		if (i != node->items)
			buf_append_char(out, ',');
		if (!list) {
			json_write_string(out, i->key->text);
			buf_append_char(out, ':');
		}
		r = write_node(i->value, out);
	}
	return r < 0 ? r : buf_append_char(out, list ? ']' : '}');
}

static void keep_inputs(struct config_loader *l)
{
	struct buf out;

	buf_init(&out, CONFIG_MAX_MEMORY);
	l->no_memory |= write_node(l->inputs, &out) < 0;
	l->config->inputs = loader_strdup(l, buf_span(&out));
	buf_free(&out);
}

void config_read_root(struct config_loader *l, const struct yaml_node *root)
{
	char found[64];

	if (!root || yaml_tree_is_null(root))
		return;
	if (root->kind != YAML_KIND_MAP) {
		loader_error(l, root, "found %s, expected a map of settings",
			loader_found(root, found, sizeof(found)));
		return;
	}
	l->inputs = yaml_tree_get(root, "inputs");
	if (!l->inputs)
		l->inputs = yaml_tree_get(yaml_tree_get(root, "mcp"), "inputs");
	if (l->verbatim && l->inputs)
		keep_inputs(l);
	config_read_map(l, &config_settings, l->config, "", root, other_root_key);
	for (size_t i = 0; i < l->config->listen_count; i++)
		inherit_limits(l->config, &l->config->listen[i]);
}

/* ---- loading ---- */

/* The folder a client calls its workspace: a file in .vscode or the like belongs to the folder
 * above. */
static const char *find_workspace(struct config_loader *l)
{
	static const char *const inner[] = {"/.vscode", "/.cursor", "/.gemini"};
	struct span dir = span_str(l->config->dir);

	for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++) {
		size_t len = strlen(inner[i]);

		if (dir.len > len && memcmp(dir.p + dir.len - len, inner[i], len) == 0)
			return loader_strdup(l, span_of(dir.p, dir.len - len));
	}
	return l->config->dir;
}

static int load_tree(struct config_loader *l, struct span text, enum config_syntax syntax)
{
	const struct yaml_node *root = NULL;
	struct arena nodes;
	int r;

	arena_init(&nodes, 2 * (size_t)CONFIG_MAX_MEMORY);
	r = yaml_tree_parse(text,
		syntax == CONFIG_SYNTAX_JSON ? YAML_SYNTAX_JSON : YAML_SYNTAX_YAML, &nodes,
		config_report_tree_error, l->report, &root);
	if (r == 0) {
		config_read_root(l, root);
		config_check(l);
		if (l->no_memory)
			r = -ERR_NO_MEMORY;
	}
	arena_free(&nodes);
	if (r == -ERR_NO_MEMORY)
		return r;
	return l->report->errors > 0 ? -ERR_CONFIG : 0;
}

static int load_text(struct span text, enum config_syntax syntax, const char *file, const char *dir,
	bool verbatim, struct config **ret_config, struct config_report *report)
{
	struct config_loader l = {
		.report = report, .json = syntax == CONFIG_SYNTAX_JSON, .verbatim = verbatim};
	int r;

	l.config = config_new(file, dir);
	if (!l.config || config_report_set_file(report, file) < 0) {
		config_free(l.config);
		return -ERR_NO_MEMORY;
	}
	l.arena = l.config->arena;
	l.home = getenv("HOME") ? getenv("HOME") : "/";
	l.workspace = find_workspace(&l);
	r = load_tree(&l, text, syntax);
	config_report_sort(report);
	if (r < 0) {
		config_free(l.config);
		return r;
	}
	*ret_config = l.config;
	return 0;
}

int config_load_text(struct span text, enum config_syntax syntax, const char *file, const char *dir,
	struct config **ret_config, struct config_report *report)
{
	return load_text(text, syntax, file, dir, false, ret_config, report);
}

static int read_config_file(const char *path, struct buf *out, struct config_report *report)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;

	while (fd >= 0 && n != 0 && out->len <= YAML_TREE_MAX_SIZE) {
		if (buf_reserve(out, 65536) < 0) {
			close(fd);
			return -ERR_NO_MEMORY;
		}
		n = read(fd, out->data + out->len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		out->len += (size_t)n;
	}
	if (fd < 0 || n < 0) {
		config_report_add(
			report, CONFIG_ERROR, 0, 0, "cannot be read: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -ERR_CONFIG;
	}
	close(fd);
	return 0;
}

static bool ends_with(const char *path, const char *end)
{
	size_t a = strlen(path), b = strlen(end);

	return a >= b && strcmp(path + a - b, end) == 0;
}

static enum config_syntax guess_syntax(const char *path, struct span text)
{
	size_t i = 0;

	if (ends_with(path, ".json") || ends_with(path, ".jsonc"))
		return CONFIG_SYNTAX_JSON;
	/* in YAML's own flow style "//" is no comment */
	if (ends_with(path, ".yaml") || ends_with(path, ".yml"))
		return CONFIG_SYNTAX_YAML;
	while (i < text.len && strchr(" \t\r\n", text.p[i]))
		i++;
	return i < text.len && text.p[i] == '{' ? CONFIG_SYNTAX_JSON : CONFIG_SYNTAX_YAML;
}

/* The real folder a file is in; NULL with a report. Owned by the caller. */
static char *folder_of(const char *path, struct config_report *report)
{
	const char *slash = strrchr(path, '/');
	char *folder =
		slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	char *real = folder ? realpath(folder, NULL) : NULL;

	if (!real)
		config_report_add(report, CONFIG_ERROR, 0, 0, "its folder: %s", strerror(errno));
	free(folder);
	return real;
}

static int load_file(const char *path, bool verbatim, struct config **ret_config,
	struct config_report *report)
{
	struct buf text;
	char *dir = NULL;
	int r = config_report_set_file(report, path);

	buf_init(&text, YAML_TREE_MAX_SIZE + 2 * 65536);
	if (r == 0)
		r = read_config_file(path, &text, report);
	if (r == 0) {
		dir = folder_of(path, report);
		r = dir ? 0 : -ERR_CONFIG;
	}
	if (r == 0)
		r = load_text(buf_span(&text), guess_syntax(path, buf_span(&text)), path, dir,
			verbatim, ret_config, report);
	free(dir);
	buf_free(&text);
	return r;
}

int config_load(const char *path, struct config **ret_config, struct config_report *report)
{
	return load_file(path, false, ret_config, report);
}

int config_load_verbatim(
	const char *path, struct config **ret_config, struct config_report *report)
{
	return load_file(path, true, ret_config, report);
}

int config_add_listen(struct config *config, const char *url, bool replace, struct err *err)
{
	struct config_loader l = {.config = config, .arena = config->arena};
	size_t keep = replace ? 0 : config->listen_count;
	struct config_listen *listen = loader_alloc(&l, (keep + 1) * sizeof(*listen));
	const char *why = NULL;

	if (!listen)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	if (keep > 0)
		memcpy(listen, config->listen, keep * sizeof(*listen));
	config_row_defaults(&config_listen_section, &listen[keep], "", config->arena);
	listen[keep].url.p = loader_strdup(&l, span_str(url));
	if (!config_listen_resolve(&l, &listen[keep], &why))
		return err_set(err, ERR_CONFIG, "listen: found \"%s\", %s", url, why);
	inherit_limits(config, &listen[keep]);
	config->listen = listen;
	config->listen_count = keep + 1;
	return 0;
}
