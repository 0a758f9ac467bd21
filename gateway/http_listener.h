/*
 * Accepting connections from an inherited listening socket (the root made it and keeps its own
 * copy).
 */
#ifndef GATEHOUSE_HTTP_LISTENER_H
#define GATEHOUSE_HTTP_LISTENER_H

#include "http_server.h"
#include "http_transport.h"

struct http_listener;

/*
 * Makes a transport of an accepted, non-blocking, close-on-exec descriptor (takes it over, also on
 * error). The hook for TLS. Returns 0 or a negative error.
 */
typedef int (*http_wrap_fn)(int fd, void *arg, struct http_transport *ret_transport);

/*
 * Accept from fd (listening, TCP or Unix; made non-blocking; taken over and closed by
 * http_listener_free, which does not end the socket as others hold it too). wrap NULL: plain.
 * Accepting pauses while the server has limits.connections, and backs off from 10 ms to 1 s when
 * descriptors or memory run out. Returns 0, -ERR_NO_MEMORY, -ERR_SYSTEM.
 */
int http_listener_new(struct http_server *server, int fd, http_wrap_fn wrap, void *wrap_arg,
	struct http_listener **ret_listener, struct err *err);

/* Stop accepting and close this copy of the socket. NULL is accepted. */
void http_listener_free(struct http_listener *listener);

/* Stop or resume accepting (drain, overload); connections wait in the kernel's queue meanwhile. */
void http_listener_pause(struct http_listener *listener, bool paused);

#endif
