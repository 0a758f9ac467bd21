/* ${…} in strings, and what is secret. */
#include "config_internal.h"
#include "json_write.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 4 /* ${A:-${B:-${C}}} */

struct subst {
	struct config_loader *l;
	const struct yaml_node *node;
	struct buf out;
	bool secret;
	bool failed;
};

bool config_name_secret(struct span name)
{
	static const char *const parts[] = {
#define SECRET_NAME(part) part,
#include "config_dialects.def"
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t len = strlen(parts[i]);

		for (size_t at = 0; at + len <= name.len; at++)
			if (strncasecmp(name.p + at, parts[i], len) == 0)
				return true;
	}
	return false;
}

/* scheme://user:password@host */
static bool url_has_password(const char *value)
{
	const char *host = strstr(value, "://");
	size_t len;
	const char *at, *colon;

	if (!host)
		return false;
	host += 3;
	len = strcspn(host, "/?#");
	at = memchr(host, '@', len);
	colon = memchr(host, ':', len);
	return at && colon && colon < at;
}

/* Is a name before '=' (in a query, an option) or ':' (a header) one that people expect to be
 * secret? */
bool config_value_secret(const char *value)
{
	static const char separators[] = "?&; ";
	const char *start = value;

	if (url_has_password(value))
		return true;
	while (*start) {
		size_t len = strcspn(start, separators);
		size_t name = strcspn(start, "=:");

		if (name < len && !strchr("/", start[name + 1]) &&
			config_name_secret(span_of(start, name)))
			return true;
		start += len;
		start += strspn(start, separators);
	}
	return false;
}

__attribute__((format(printf, 2, 3))) static void fail(struct subst *s, const char *fmt, ...)
{
	char text[ERR_DETAIL_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	s->failed = true;
	loader_error(s->l, s->node, "%s", text);
}

static void put(struct subst *s, struct span text)
{
	/* what is not could not be handed on as JSON unchanged */
	if (!s->failed && !json_is_utf8(text))
		fail(s, "what ${…} stands for is not UTF-8 text");
	if (!s->failed && buf_append_span(&s->out, text) < 0)
		fail(s, "the string is longer than %u bytes after substitution", CONFIG_MAX_STRING);
}

static void expand(struct subst *s, struct span text, int depth);

/* What is not set is an error, except in a server that is disabled anyhow. */
static void missing(struct subst *s, const char *what, const char *hint)
{
	if (!s->l->lenient) {
		fail(s, "%s is not set; %s", what, hint);
		return;
	}
	loader_notice(
		s->l, s->node, "%s is not set; it is empty while this server is disabled", what);
}

static bool is_name(struct span name)
{
	if (name.len == 0 || isdigit((unsigned char)name.p[0]))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '_')
			return false;
	return true;
}

/* NAME or NAME:-default */
static void put_variable(struct subst *s, struct span body, int depth)
{
	const char *sep = memmem(body.p, body.len, ":-", 2);
	struct span name = sep ? span_of(body.p, (size_t)(sep - body.p)) : body;
	char copy[256], what[300];
	const char *value;

	if (!is_name(name) || name.len >= sizeof(copy)) {
		fail(s,
			"found \"${%.*s}\", expected ${VAR}, ${VAR:-default}, ${env:VAR}, "
			"${file:PATH}, "
			"${input:ID}, ${workspaceFolder} or ${userHome}; $${ stands for a plain ${",
			(int)(body.len < 60 ? body.len : 60), body.p);
		return;
	}
	snprintf(copy, sizeof(copy), "%.*s", SPAN_ARG(name));
	value = getenv(copy);
	if (value && (value[0] || !sep)) {
		s->secret |= config_name_secret(name);
		put(s, span_str(value));
		return;
	}
	if (sep) {
		expand(s, span_of(sep + 2, (size_t)(body.p + body.len - sep - 2)), depth + 1);
		return;
	}
	snprintf(what, sizeof(what), "the environment variable %s", copy);
	missing(s, what, "set it, or give a default: ${VAR:-default}");
}

static void put_env(struct subst *s, struct span body, int depth)
{
	put_variable(s, body, depth);
}

/* Read a whole descriptor, at most max bytes. */
static int read_all(int fd, size_t max, struct buf *out, struct err *err)
{
	for (;;) {
		ssize_t n;

		if (buf_reserve(out, 4096) < 0)
			return err_set(err, ERR_TOO_LARGE, "is larger than %zu bytes", max);
		n = read(fd, out->data + out->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set_errno(err, "cannot be read");
		if (n == 0)
			break;
		out->len += (size_t)n;
	}
	if (out->len > max)
		return err_set(err, ERR_TOO_LARGE, "is larger than %zu bytes", max);
	if (out->len > 0 && memchr(out->data, 0, out->len))
		return err_set(err, ERR_INVALID_ARGUMENT, "contains a zero byte");
	if (!json_is_utf8(buf_span(out)))
		return err_set(err, ERR_INVALID_ARGUMENT, "is not UTF-8 text");
	return 0;
}

int config_read_small_file(
	struct config_loader *l, const char *path, size_t max, struct span *ret, struct err *err)
{
	struct stat st;
	struct buf content;
	int r = 0, fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set_errno(err, "cannot be opened");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, ERR_INVALID_ARGUMENT, "is no regular file");
	}
	buf_init(&content, max + 8192);
	r = read_all(fd, max, &content, err);
	close(fd);
	if (r == 0 && content.len > 0 && content.data[content.len - 1] == '\n')
		content.len--;
	if (r == 0)
		*ret = span_of(loader_strdup(l, buf_span(&content)), content.len);
	buf_free(&content);
	return r;
}

static void put_file(struct subst *s, struct span body, int depth)
{
	char name[4096];
	const char *path;
	struct span content;
	struct err err = {0};

	(void)depth;
	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(body));
	path = loader_path(s->l, name);
	s->secret = true;
	if (body.len == 0)
		fail(s, "found \"${file:}\", expected ${file:PATH}");
	else if (config_read_small_file(s->l, path, CONFIG_MAX_SECRET_FILE, &content, &err) == 0)
		put(s, content);
	else if (s->l->lenient)
		loader_notice(s->l, s->node,
			"the file %s %s; it is empty while this server is disabled", path,
			err_text(&err));
	else
		fail(s, "the file %s %s", path, err_text(&err));
}

/* The entry of VS Code's inputs with this id. */
static const struct yaml_node *find_input(const struct config_loader *l, struct span id)
{
	if (!l->inputs || l->inputs->kind != YAML_KIND_LIST)
		return NULL;
	for (const struct yaml_item *i = l->inputs->items; i; i = i->next) {
		const struct yaml_node *name = yaml_tree_get(i->value, "id");

		if (name && name->kind == YAML_KIND_SCALAR && span_equal(name->text, id))
			return i->value;
	}
	return NULL;
}

static void put_input(struct subst *s, struct span id, int depth)
{
	const struct yaml_node *input = find_input(s->l, id);
	const struct yaml_node *password = yaml_tree_get(input, "password");
	const struct yaml_node *fallback = yaml_tree_get(input, "default");
	char name[128] = "GATEHOUSE_INPUT_", hint[160];
	size_t len = strlen(name);
	const char *value;

	(void)depth;
	for (size_t i = 0; i < id.len && len + 1 < sizeof(name); i++) {
		unsigned char c = (unsigned char)id.p[i];

		name[len++] = isalnum(c) ? (char)toupper(c) : '_';
		name[len] = '\0';
	}
	s->secret |= config_name_secret(id) || (password && password->kind == YAML_KIND_SCALAR &&
						       span_is(password->text, "true"));
	value = getenv(name);
	if (value) {
		put(s, span_str(value));
	} else if (fallback && fallback->kind == YAML_KIND_SCALAR) {
		put(s, fallback->text);
	} else {
		char what[200];

		snprintf(what, sizeof(what), "the input \"%.*s\"",
			(int)(id.len < 100 ? id.len : 100), id.p);
		snprintf(hint, sizeof(hint), "set the environment variable %s", name);
		missing(s, what, hint);
	}
}

static void put_word(struct subst *s, struct span body, int depth)
{
	const char *base = strrchr(s->l->workspace, '/');

	if (span_is(body, "workspaceFolder"))
		put(s, span_str(s->l->workspace));
	else if (span_is(body, "workspaceFolderBasename"))
		put(s, span_str(base ? base + 1 : s->l->workspace));
	else if (span_is(body, "userHome"))
		put(s, span_str(s->l->home));
	else if (span_is(body, "pathSeparator") || span_is(body, "/"))
		put(s, SPAN_LIT("/"));
	else
		put_variable(s, body, depth);
}

/* What stands between ${ and }, by how it begins. */
static void put_body(struct subst *s, struct span body, int depth)
{
	static const struct {
		const char *prefix;
		void (*put)(struct subst *s, struct span rest, int depth);
	} kinds[] = {{"env:", put_env}, {"file:", put_file}, {"input:", put_input}, {"", put_word}};

	for (size_t i = 0;; i++) {
		size_t len = strlen(kinds[i].prefix);

		if (body.len >= len && memcmp(body.p, kinds[i].prefix, len) == 0) {
			kinds[i].put(s, span_of(body.p + len, body.len - len), depth);
			return;
		}
	}
}

/* Bytes from behind "${" to its "}", other pairs inside skipped; SIZE_MAX if it has none. */
static size_t body_length(struct span text)
{
	size_t open = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '$' && i + 1 < text.len && text.p[i + 1] == '{')
			open++;
		else if (text.p[i] == '}' && open-- == 0)
			return i;
	}
	return SIZE_MAX;
}

static void expand(struct subst *s, struct span text, int depth)
{
	if (depth > MAX_DEPTH)
		fail(s, "${…} nested deeper than %d levels", MAX_DEPTH);
	while (text.len > 0 && !s->failed) {
		const char *dollar = memchr(text.p, '$', text.len);
		size_t plain = dollar ? (size_t)(dollar - text.p) : text.len;
		size_t used = plain;

		put(s, span_of(text.p, plain));
		if (dollar && plain + 1 < text.len && dollar[1] == '{') {
			size_t len = body_length(span_of(dollar + 2, text.len - plain - 2));

			if (len == SIZE_MAX) {
				fail(s, "found \"${\" without its \"}\"; $${ stands for a plain "
					"${");
				return;
			}
			put_body(s, span_of(dollar + 2, len), depth);
			used += len + 3;
		} else if (dollar) {
			/* $$ is a dollar, and so is one that begins nothing */
			put(s, SPAN_LIT("$"));
			used += plain + 1 < text.len && dollar[1] == '$' ? 2 : 1;
		}
		text = span_of(text.p + used, text.len - used);
	}
}

bool config_substitute(
	struct config_loader *l, const struct yaml_node *node, struct config_text *ret)
{
	struct subst s = {.l = l, .node = node};

	if (l->raw || l->verbatim || !memchr(node->text.p, '$', node->text.len)) {
		*ret = (struct config_text){loader_strdup(l, node->text), false};
		return true;
	}
	buf_init(&s.out, CONFIG_MAX_STRING);
	expand(&s, node->text, 0);
	if (!s.failed)
		*ret = (struct config_text){loader_strdup(l, buf_span(&s.out)), s.secret};
	buf_free(&s.out);
	return !s.failed;
}
