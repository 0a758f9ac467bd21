/* Paths and queries of the REST view. */
#include "rest.h"
#include "json_write.h"

#include <ctype.h>
#include <stdlib.h>

static const struct {
	struct span path; /* below the root; one that ends with '/' is followed by a name */
	enum rest_kind kind;
	const char *allow;
} rows[] = {
	{SPAN_LIT("/tools"), REST_TOOLS, "GET"},
	{SPAN_LIT("/tools/"), REST_TOOL, "GET, POST"},
	{SPAN_LIT("/resources"), REST_RESOURCES, "GET"},
	{SPAN_LIT("/resources/templates"), REST_TEMPLATES, "GET"},
	{SPAN_LIT("/resources/read"), REST_READ, "GET"},
	{SPAN_LIT("/prompts"), REST_PROMPTS, "GET"},
	{SPAN_LIT("/prompts/"), REST_PROMPT, "POST"},
	{SPAN_LIT("/openapi.json"), REST_OPENAPI, "GET"},
};

static bool begins(struct span text, struct span with)
{
	return text.len >= with.len && memcmp(text.p, with.p, with.len) == 0;
}

static struct span behind(struct span text, size_t n)
{
	return span_of(text.p + n, text.len - n);
}

/* Cuts /v1, or /v1/views/NAME, off the path. */
static struct span take_root(struct span *path)
{
	const char *slash;
	struct span view;

	if (!begins(*path, SPAN_LIT(REST_VIEWS))) {
		*path = behind(*path, sizeof(REST_PATH) - 1);
		return SPAN_NONE;
	}
	*path = behind(*path, sizeof(REST_VIEWS) - 1);
	slash = path->len ? memchr(path->p, '/', path->len) : NULL;
	view = span_of(path->p, slash ? (size_t)(slash - path->p) : path->len);
	*path = behind(*path, view.len);
	return view;
}

static bool fits(struct span path, struct span row)
{
	if (row.p[row.len - 1] != '/')
		return span_equal(path, row);
	return begins(path, row) && path.len > row.len &&
	       !memchr(path.p + row.len, '/', path.len - row.len);
}

bool rest_find(struct span path, struct rest_target *ret)
{
	bool in_view;

	*ret = (struct rest_target){.kind = REST_NOTHING};
	if (!begins(path, SPAN_LIT(REST_PATH "/")))
		return false;
	in_view = begins(path, SPAN_LIT(REST_VIEWS));
	ret->view = take_root(&path);
	/* a view without a name is not the whole */
	if (in_view && !ret->view.len)
		return true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (!fits(path, rows[i].path))
			continue;
		ret->kind = rows[i].kind;
		ret->name = behind(path, rows[i].path.len);
		break;
	}
	return true;
}

const char *rest_allow(enum rest_kind kind)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].kind == kind)
			return rows[i].allow;
	return NULL;
}

int rest_decode(struct span encoded, struct buf *out)
{
	size_t before = out->len;
	int r = 0;

	for (size_t i = 0; i < encoded.len && r == 0; i++) {
		char hex[3] = "", c = encoded.p[i];

		if (c == '%') {
			if (encoded.len - i < 3 || !isxdigit((unsigned char)encoded.p[i + 1]) ||
				!isxdigit((unsigned char)encoded.p[i + 2]))
				return -ERR_INVALID_ARGUMENT;
			memcpy(hex, encoded.p + i + 1, 2);
			c = (char)strtoul(hex, NULL, 16);
			i += 2;
		}
		r = c ? buf_append_char(out, c) : -ERR_INVALID_ARGUMENT;
	}
	if (r == 0 && !json_is_utf8(span_of(out->data + before, out->len - before)))
		r = -ERR_INVALID_ARGUMENT;
	return r;
}

struct span rest_parameter(struct span query, const char *name)
{
	while (query.len) {
		const char *end = memchr(query.p, '&', query.len);
		struct span pair = span_of(query.p, end ? (size_t)(end - query.p) : query.len);
		const char *equals = pair.len ? memchr(pair.p, '=', pair.len) : NULL;
		size_t key = equals ? (size_t)(equals - pair.p) : pair.len;

		if (equals && span_is(span_of(pair.p, key), name))
			return behind(pair, key + 1);
		query = behind(query, end ? pair.len + 1 : pair.len);
	}
	return SPAN_NONE;
}
