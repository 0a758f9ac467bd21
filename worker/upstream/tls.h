/* TLS towards servers: the system's authorities, and the name in the certificate must be the
 * address's. */
#ifndef GATEHOUSE_UPSTREAM_TLS_H
#define GATEHOUSE_UPSTREAM_TLS_H

#include "err.h"

#include <openssl/ssl.h>

/* 1.2 or newer, HTTP/1.1. -ERR_SYSTEM. */
int tls_context_new(SSL_CTX **ret, struct err *err);
/* A handshake to come on fd (which stays the caller's) with host, a name or an address. NULL: no
 * memory. */
SSL *tls_connect(SSL_CTX *context, int fd, const char *host);
/* Why the handshake failed, as a sentence. */
void tls_explain(const SSL *ssl, const char *authority, struct err *err);

#endif
