/*
 * What a session worker may ask of the kernel: read, write and pass messages on the sockets it is
 * given, memory, time, its own end. No new socket, file, process, thread or executable page:
 * whatever a client sends, that is all it could gain.
 *
 * The filter is compiled once, in the zygote; entering it costs a worker two system calls.
 */
#ifndef GATEHOUSE_JAIL_H
#define GATEHOUSE_JAIL_H

#include "err.h"

struct jail;

/* -ERR_SYSTEM, -ERR_NO_MEMORY. */
int jail_new(struct jail **ret_jail, struct err *err);
void jail_free(struct jail *jail);
/* For the calling process, for good. */
int jail_enter(const struct jail *jail, struct err *err);

#endif
