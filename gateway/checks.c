#include "checks.h"
#include "points.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
	while (s.len && is_blank(s.p[0]))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool same(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || strncasecmp(a.p, b.p, a.len) == 0);
}

/* What stands before the first c; *rest is what follows it. */
static struct span cut(struct span s, char c, struct span *rest)
{
	const char *at = s.len ? memchr(s.p, c, s.len) : NULL;

	if (!at) {
		*rest = SPAN_NONE;
		return s;
	}
	*rest = span_of(at + 1, s.len - (size_t)(at + 1 - s.p));
	return span_of(s.p, (size_t)(at - s.p));
}

/* --- Accept --------------------------------------------------------------------------------- */

#define ACCEPTS_ANY 8u

static bool is_refused(struct span parameters)
{
	while (parameters.len) {
		struct span one = trim(cut(parameters, ';', &parameters));

		/* q=0, q=0.0, q=0.00, q=0.000 */
		if (one.len < 3 || (one.p[0] | 0x20) != 'q' || one.p[1] != '=')
			continue;
		for (one = span_of(one.p + 2, one.len - 2); one.len;
			one = span_of(one.p + 1, one.len - 1))
			if (one.p[0] != '0' && one.p[0] != '.')
				return false;
		return true;
	}
	return false;
}

/* Lines of the same header make one list (RFC 9110 §5.3): bits are those of the lines before. */
static unsigned read_accept(struct span value, unsigned bits)
{
	static const struct {
		struct span range;
		unsigned bits;
	} known[] = {
		{SPAN_LIT("application/json"), ACCEPTS_JSON},
		{SPAN_LIT("text/event-stream"), ACCEPTS_SSE},
		{SPAN_LIT("*/*"), ACCEPTS_ANY},
		{SPAN_LIT("application/*"), ACCEPTS_JSON},
		{SPAN_LIT("text/*"), ACCEPTS_SSE},
	};

	while (value.len) {
		struct span parameters, range = cut(cut(value, ',', &value), ';', &parameters);

		range = trim(range);
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
			if (!same(range, known[i].range))
				continue;
			if (is_refused(parameters))
				break;
			if (known[i].bits == ACCEPTS_SSE && !(bits & ACCEPTS_JSON))
				bits |= ACCEPTS_SSE_FIRST;
			bits |= known[i].bits;
			break;
		}
	}
	return bits;
}

static unsigned settle_accept(unsigned bits, bool seen, bool is_get)
{
	if (!seen)
		bits = ACCEPTS_ANY;
	if (bits & ACCEPTS_ANY)
		bits |= is_get ? ACCEPTS_SSE : ACCEPTS_JSON;
	return bits & (ACCEPTS_JSON | ACCEPTS_SSE | ACCEPTS_SSE_FIRST);
}

/* --- headers -------------------------------------------------------------------------------- */

/* The first of these letters, lower case, and the length tell nearly always that a header is none
 * of ours. */
static const struct {
	struct span name;
	size_t offset;
} once[] = {
	{SPAN_LIT("origin"), offsetof(struct facts, origin)},
	{SPAN_LIT("mcp-name"), offsetof(struct facts, mcp_name)},
	{SPAN_LIT("mcp-method"), offsetof(struct facts, mcp_method)},
	{SPAN_LIT("traceparent"), offsetof(struct facts, traceparent)},
	{SPAN_LIT("content-type"), offsetof(struct facts, content_type)},
	{SPAN_LIT("last-event-id"), offsetof(struct facts, last_event_id)},
	{SPAN_LIT("mcp-session-id"), offsetof(struct facts, session)},
	{SPAN_LIT("mcp-protocol-version"), offsetof(struct facts, version)},
};

static bool take_once(struct facts *facts, const struct http1_header *header)
{
	for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++) {
		struct span *place = (struct span *)((char *)facts + once[i].offset);

		if (once[i].name.len != header->name.len ||
			(header->name.p[0] | 0x20) != once[i].name.p[0] ||
			!same(once[i].name, header->name))
			continue;
		facts->ambiguous |= place->p != NULL;
		*place = header->value;
		return true;
	}
	return false;
}

static bool begins(struct span name, struct span prefix)
{
	return name.len > prefix.len && same(span_of(name.p, prefix.len), prefix);
}

bool is_mcp_param(struct span name)
{
	return begins(name, SPAN_LIT("mcp-param-"));
}

void facts_read(const struct http1_head *head, struct facts *ret)
{
	unsigned accept = 0;
	bool seen = false;

	*ret = (struct facts){0};
	for (unsigned i = 0; i < head->nheaders; i++) {
		const struct http1_header *header = &head->headers[i];

		if (header->name.len < 6 || take_once(ret, header))
			continue;
		if (same(header->name, SPAN_LIT("accept"))) {
			accept = read_accept(header->value, accept);
			seen = true;
		} else if (is_mcp_param(header->name)) {
			ret->mcp_params++;
		} else if (same(header->name, SPAN_LIT("access-control-request-method"))) {
			ret->preflight = true;
		}
	}
	ret->accept = settle_accept(accept, seen, span_is(head->method, "GET"));
}

bool is_path_at(struct span root, struct span path, struct span *ret_view)
{
	*ret_view = SPAN_NONE;
	if (!root.len)
		return false;
	if (span_equal(path, root))
		return true;
	if (path.len <= root.len + 1 || memcmp(path.p, root.p, root.len) != 0 ||
		path.p[root.len] != '/' ||
		memchr(path.p + root.len + 1, '/', path.len - root.len - 1))
		return false;
	*ret_view = span_of(path.p + root.len + 1, path.len - root.len - 1);
	return true;
}

bool is_mcp_path(struct span path, struct span *ret_view)
{
	return is_path_at(SPAN_LIT(MCP_PATH), path, ret_view);
}

bool is_json_type(struct span content_type)
{
	struct span parameters;

	return same(trim(cut(content_type, ';', &parameters)), SPAN_LIT("application/json"));
}

/* --- Host and Origin ------------------------------------------------------------------------ */

/* "[::1]:80", "localhost:80", "localhost" → without port and brackets. */
static struct span host_of(struct span authority)
{
	struct span rest;

	if (authority.len && authority.p[0] == '[') {
		struct span inside = cut(span_of(authority.p + 1, authority.len - 1), ']', &rest);

		return inside;
	}
	return cut(authority, ':', &rest);
}

static bool is_loopback(struct span host)
{
	struct span rest = host;
	unsigned dots = 0;

	if (same(host, SPAN_LIT("localhost")) || same(host, SPAN_LIT("::1")))
		return true;
	if (!begins(host, SPAN_LIT("127.")))
		return false;
	for (; rest.len; rest = span_of(rest.p + 1, rest.len - 1)) {
		dots += rest.p[0] == '.';
		if (rest.p[0] != '.' && !isdigit((unsigned char)rest.p[0]))
			return false;
	}
	return dots == 3;
}

void admission_init(struct admission *admission, const struct config *config, struct span url)
{
	struct span host = SPAN_NONE;

	*admission = (struct admission){.config = config};
	if (begins(url, SPAN_LIT("unix:")))
		admission->local = true;
	else if (begins(url, SPAN_LIT("http://")))
		host = host_of(span_of(url.p + 7, url.len - 7));
	snprintf(admission->host, sizeof(admission->host), "%.*s", SPAN_ARG(host));
	admission->loopback = is_loopback(span_str(admission->host));
}

static bool in_list(const struct config_list *list, struct span whole, struct span host)
{
	for (size_t i = 0; i < list->count; i++) {
		struct span item = span_str(list->items[i].p);

		if (same(item, whole) || (host.len && same(item, host)))
			return true;
	}
	return false;
}

static bool is_listen_host(const struct admission *admission, struct span host)
{
	const struct config *config = admission->config;

	if (host.len && same(host, span_str(admission->host)))
		return true;
	for (size_t i = 0; i < config->listen_count; i++)
		if (config->listen[i].kind == CONFIG_LISTEN_TCP && host.len &&
			same(host, host_of(span_str(config->listen[i].host))))
			return true;
	return false;
}

static bool may_host(const struct admission *admission, struct span authority)
{
	const struct config_list *allowed = &admission->config->allowed_hosts;
	struct span host = host_of(authority);

	if (allowed->count == 0 && (admission->local || !admission->loopback))
		return true;
	return is_loopback(host) || is_listen_host(admission, host) ||
	       in_list(allowed, authority, host);
}

static bool may_origin(const struct admission *admission, struct span origin)
{
	struct span authority = SPAN_NONE;

	if (in_list(&admission->config->allowed_origins, origin, SPAN_NONE))
		return true;
	if (begins(origin, SPAN_LIT("http://")))
		authority = span_of(origin.p + 7, origin.len - 7);
	else if (begins(origin, SPAN_LIT("https://")))
		authority = span_of(origin.p + 8, origin.len - 8);
	return admission->loopback && is_loopback(host_of(authority));
}

int admission_check(const struct admission *admission, struct span host, const struct facts *facts,
	struct err *err)
{
	if (facts->ambiguous)
		return err_set(err, ERR_BAD_HTTP, "a header that may be given once is given twice");
	if (!POINT(ORIGIN))
		return 0;
	if (!may_host(admission, host))
		return err_set(err, ERR_BAD_HOST,
			"Host '%.*s' is not served here: add it to allowed_hosts",
			(int)(host.len > 100 ? 100 : host.len), host.p ? host.p : "");
	if (facts->origin.p && !may_origin(admission, facts->origin))
		return err_set(err, ERR_BAD_ORIGIN,
			"pages of '%.*s' may not call this gateway: add the origin to "
			"allowed_origins",
			(int)(facts->origin.len > 100 ? 100 : facts->origin.len), facts->origin.p);
	if (facts->view.len && !config_find_view(admission->config, facts->view))
		return err_set(err, ERR_NOT_FOUND,
			"there is no virtual server '%.*s' here: the configuration has none of this name",
			(int)(facts->view.len > 100 ? 100 : facts->view.len), facts->view.p);
	return 0;
}
