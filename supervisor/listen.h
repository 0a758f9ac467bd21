/* Listening sockets. The root makes them, keeps them open while the node runs, and hands duplicates to its children. */
#ifndef GATEHOUSE_LISTEN_H
#define GATEHOUSE_LISTEN_H

#include "config.h"
#include "err.h"

/*
 * Bind and listen. reuse_port: one of several sockets on the same address (SO_REUSEPORT). A Unix socket's stale file is
 * replaced when nobody listens on it; one that is in use is -ERR_EXISTS. The caller owns the descriptor.
 * Errors name the address and what to do: -ERR_EXISTS (in use), -ERR_SYSTEM.
 */
int listen_open(const struct config_listen *where, bool reuse_port, int *ret_fd, struct err *err);

/* The address as people write it ("http://127.0.0.1:8080"), with the port the kernel chose where 0 was asked for. */
int listen_describe(int fd, char *text, size_t size);

/* The TCP port fd is bound to, 0 for others. */
uint16_t listen_port(int fd);

#endif
