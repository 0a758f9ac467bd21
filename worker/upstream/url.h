/* http and https addresses, as much of RFC 3986 as they need. */
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
/*
 * Where a Location header leads (RFC 9110 §10.2.2). -ERR_FORBIDDEN: to another origin.
 * -ERR_INVALID_ARGUMENT.
 */
int url_redirect(const struct url *from, struct span location, struct url *ret, struct err *err);

#endif
