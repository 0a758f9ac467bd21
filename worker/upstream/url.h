/* http, https, ws and wss addresses, as much of RFC 3986 as they need. */
#ifndef GATEHOUSE_UPSTREAM_URL_H
#define GATEHOUSE_UPSTREAM_URL_H

#include "err.h"
#include "span.h"

#include <stdint.h>

#define URL_HOST_MAX 256u
#define URL_TARGET_MAX 2048u

struct url {
	bool tls;
	char host[URL_HOST_MAX];           /* without brackets */
	char port[8];                      /* digits */
	char authority[URL_HOST_MAX + 16]; /* for the Host header: no default port */
	char target[URL_TARGET_MAX];       /* path and query; begins with '/' */
};

/* "https://host[:port][/path][?query][#fragment]". -ERR_INVALID_ARGUMENT: something else, or with a
 * user name. */
int url_parse(struct span text, struct url *ret, struct err *err);
/* The same with "ws://" and "wss://" (RFC 6455 §3). */
int url_parse_websocket(struct span text, struct url *ret, struct err *err);
/*
 * Where a reference leads (RFC 3986 §5.2): a Location header, an announced endpoint. what says in a
 * sentence who leads there, as "the server redirects to". -ERR_FORBIDDEN: to another origin.
 * -ERR_INVALID_ARGUMENT.
 */
int url_resolve(const struct url *from, struct span reference, const char *what, struct url *ret,
	struct err *err);

#endif
