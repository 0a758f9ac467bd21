#include "url.h"
#include "points.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static bool take_prefix(struct span *text, const char *prefix)
{
	size_t n = strlen(prefix);

	if (text->len < n || strncasecmp(text->p, prefix, n) != 0)
		return false;
	*text = span_of(text->p + n, text->len - n);
	return true;
}

static size_t length_until(struct span text, const char *stops)
{
	size_t n = 0;

	while (n < text.len && !strchr(stops, text.p[n]))
		n++;
	return n;
}

static bool is_clean(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= ' ' || text.p[i] == 0x7f)
			return false;
	return true;
}

/* host, or [address], and a port. */
static int read_authority(struct span text, struct url *ret)
{
	struct span host = span_of(text.p, length_until(text, ":"));
	const char *port = ret->tls ? "443" : "80";
	struct span rest;

	if (text.len > 0 && text.p[0] == '[') {
		size_t n = length_until(text, "]");

		if (n == text.len)
			return -ERR_INVALID_ARGUMENT;
		host = span_of(text.p + 1, n - 1);
		rest = span_of(text.p + n + 1, text.len - n - 1);
	} else {
		rest = span_of(text.p + host.len, text.len - host.len);
	}
	if (host.len == 0 || host.len >= sizeof(ret->host) || memchr(text.p, '@', text.len))
		return -ERR_INVALID_ARGUMENT;
	snprintf(ret->host, sizeof(ret->host), "%.*s", SPAN_ARG(host));
	snprintf(ret->port, sizeof(ret->port), "%s", port);
	if (rest.len > 1) {
		if (rest.p[0] != ':' || rest.len > 6 ||
			strspn(rest.p + 1, "0123456789") < rest.len - 1)
			return -ERR_INVALID_ARGUMENT;
		snprintf(ret->port, sizeof(ret->port), "%d", atoi(rest.p + 1));
	}
	snprintf(ret->authority, sizeof(ret->authority),
		strchr(ret->host, ':') ? "[%s]%s%s" : "%s%s%s", ret->host,
		strcmp(ret->port, port) ? ":" : "", strcmp(ret->port, port) ? ret->port : "");
	return 0;
}

static int read_target(struct span text, struct url *ret)
{
	text.len = length_until(text, "#");
	if (text.len + 2 > sizeof(ret->target) || !is_clean(text))
		return -ERR_INVALID_ARGUMENT;
	snprintf(ret->target, sizeof(ret->target), "%s%.*s",
		text.len && text.p[0] == '/' ? "" : "/", SPAN_ARG(text));
	return 0;
}

/* False: something else. */
static bool parse(struct span text, const char *secure, const char *plain, struct url *ret)
{
	struct url url = {0};
	size_t n;

	url.tls = take_prefix(&text, secure);
	if (!url.tls && !take_prefix(&text, plain))
		return false;
	n = length_until(text, "/?#");
	if (read_authority(span_of(text.p, n), &url) < 0 ||
		read_target(span_of(text.p + n, text.len - n), &url) < 0)
		return false;
	*ret = url;
	return true;
}

/* An address is not repeated in errors: it may hold a secret, and they are logged and shown. */

int url_parse(struct span text, struct url *ret, struct err *err)
{
	if (parse(text, "https://", "http://", ret))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		"its url is not an http:// or https:// address without a user name");
}

int url_parse_websocket(struct span text, struct url *ret, struct err *err)
{
	if (parse(text, "wss://", "ws://", ret))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		"its url is not a ws:// or wss:// address without a user name");
}

/* --- references ------------------------------------------------------------------------------ */

/* Take "." and ".." out of a path, in place (RFC 3986 §5.2.4); the query stays. */
static void remove_dots(char *target)
{
	size_t path = length_until(span_str(target), "?"), in = 0, out = 0;

	while (in < path) {
		struct span segment = span_of(target + in + 1, path - in - 1);
		bool last;

		segment.len = length_until(segment, "/");
		last = in + 1 + segment.len == path;
		in += 1 + segment.len;
		if (span_is(segment, "..")) {
			while (out > 0 && target[--out] != '/')
				;
		} else if (!span_is(segment, ".")) {
			memmove(target + out, segment.p - 1, segment.len + 1);
			out += segment.len + 1;
			continue;
		}
		if (last)
			target[out++] = '/';
	}
	memmove(target + out, target + path, strlen(target + path) + 1);
}

/* A path beside that of base, or only another query. */
static int resolve_relative(const struct url *base, struct span reference, struct url *url)
{
	char absolute[2 * URL_TARGET_MAX];
	size_t keep = length_until(span_str(base->target), "?");

	if (reference.len >= URL_TARGET_MAX)
		return -ERR_INVALID_ARGUMENT;
	while (reference.p[0] != '?' && keep > 0 && base->target[keep - 1] != '/')
		keep--;
	snprintf(absolute, sizeof(absolute), "%.*s%.*s", (int)keep, base->target,
		SPAN_ARG(reference));
	return read_target(span_str(absolute), url);
}

static int resolve(const struct url *base, struct span reference, struct url *url)
{
	char absolute[URL_TARGET_MAX];
	int r;

	*url = *base;
	if (reference.len == 0)
		return -ERR_INVALID_ARGUMENT;
	if (parse(reference, "https://", "http://", url))
		return 0;
	if (reference.len > 1 && reference.p[0] == '/' && reference.p[1] == '/') {
		snprintf(absolute, sizeof(absolute), "%s:%.*s", base->tls ? "https" : "http",
			SPAN_ARG(reference));
		return parse(span_str(absolute), "https://", "http://", url)
			       ? 0
			       : -ERR_INVALID_ARGUMENT;
	}
	if (memmem(reference.p, length_until(reference, "/?#"), ":", 1))
		return -ERR_INVALID_ARGUMENT; /* another scheme */
	r = reference.p[0] == '/' ? read_target(reference, url)
				  : resolve_relative(base, reference, url);
	if (r == 0)
		remove_dots(url->target);
	return r;
}

int url_resolve(const struct url *from, struct span reference, const char *what, struct url *ret,
	struct err *err)
{
	struct url url;

	if (resolve(from, reference, &url) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s '%.*s', which is no address", what,
			reference.len > 200 ? 200 : (int)reference.len,
			reference.p ? reference.p : "");
	if (POINT(ORIGINS) &&
		(url.tls != from->tls || strcasecmp(url.host, from->host) != 0 ||
			strcmp(url.port, from->port) != 0))
		return err_set(err, ERR_FORBIDDEN, "%s another origin, %s://%s: not followed",
			what, url.tls ? "https" : "http", url.authority);
	*ret = url;
	return 0;
}
