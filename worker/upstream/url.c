#include "url.h"

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

int url_parse(struct span text, struct url *ret, struct err *err)
{
	struct span rest = text;
	struct url url = {0};
	size_t n;

	url.tls = take_prefix(&rest, "https://");
	if (url.tls || take_prefix(&rest, "http://")) {
		n = length_until(rest, "/?#");
		if (read_authority(span_of(rest.p, n), &url) == 0 &&
			read_target(span_of(rest.p + n, rest.len - n), &url) == 0) {
			*ret = url;
			return 0;
		}
	}
	/* not repeated here: an address may hold a secret, and this is logged and shown */
	return err_set(err, ERR_INVALID_ARGUMENT,
		"its url is not an http:// or https:// address without a user name");
}

int url_redirect(const struct url *from, struct span location, struct url *ret, struct err *err)
{
	struct url url = *from;
	struct span copy = location;
	size_t keep;
	int r;

	if (take_prefix(&copy, "http://") || take_prefix(&copy, "https://")) {
		r = url_parse(location, &url, err);
	} else if (location.len > 1 && location.p[0] == '/' && location.p[1] == '/') {
		char absolute[URL_TARGET_MAX];

		snprintf(absolute, sizeof(absolute), "%s:%.*s", from->tls ? "https" : "http",
			SPAN_ARG(location));
		r = url_parse(span_str(absolute), &url, err);
	} else if (location.len > 0 && location.p[0] == '/') {
		r = read_target(location, &url);
	} else {
		/* relative to the folder of the old path */
		char absolute[2 * URL_TARGET_MAX];
		struct span path = span_of(from->target, length_until(span_str(from->target), "?"));

		for (keep = path.len; keep > 0 && path.p[keep - 1] != '/'; keep--)
			;
		snprintf(absolute, sizeof(absolute), "%.*s%.*s", (int)keep, path.p,
			SPAN_ARG(location));
		r = read_target(span_str(absolute), &url);
	}
	if (r < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the server redirects to '%.*s', which is no address",
			location.len > 200 ? 200 : (int)location.len, location.p ? location.p : "");
	if (url.tls != from->tls || strcasecmp(url.host, from->host) != 0 ||
		strcmp(url.port, from->port) != 0)
		return err_set(err, ERR_FORBIDDEN,
			"the server redirects to another origin, %s://%s: not followed",
			url.tls ? "https" : "http", url.authority);
	*ret = url;
	return 0;
}
