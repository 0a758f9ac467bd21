/*
 * Which system calls a process may make from now on (seccomp). A library of its own: only what
 * enters a filter links libseccomp.
 *
 * Always allowed: messages on descriptors the process has, memory that is not for running code,
 * timers, its own end. Never: a new file, socket, process, thread or program. Whoever makes another
 * call is killed.
 */
#ifndef GATEHOUSE_SYSCALL_FILTER_H
#define GATEHOUSE_SYSCALL_FILTER_H

#include "err.h"

enum syscall_group {
	SYSCALL_STORE = 1u,   /* an LMDB environment (store.h) that is open already */
	SYSCALL_MEMFILE = 2u, /* making sealed memory files (memfile.h) */
};

/*
 * For the calling process, for good. groups: bits of enum syscall_group. A process that was built
 * with a sanitizer is left as it is: its runtime needs more. -ERR_SYSTEM, -ERR_NO_MEMORY.
 */
int syscall_filter_enter(unsigned groups, struct err *err);

#endif
