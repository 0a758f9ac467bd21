/*
 * Which system calls a process may make from now on (seccomp): those of the groups it has
 * (syscalls.def). Whoever makes another one is killed by SIGSYS. A library of its own: only what
 * enters a filter links libseccomp.
 */
#ifndef GATEHOUSE_SYSCALL_FILTER_H
#define GATEHOUSE_SYSCALL_FILTER_H

#include "err.h"

enum syscall_group_number {
#define GROUP(name, what) SYSCALL_NUMBER_##name,
#include "syscalls.def"
	SYSCALL_NUMBER_MAX,
};

/* Sets of groups are these or'ed. */
enum syscall_group {
#define GROUP(name, what) SYSCALL_##name = 1u << SYSCALL_NUMBER_##name,
#include "syscalls.def"
};

struct syscall_filter;

/*
 * Compile a filter (0.3 ms), while files can still be opened. It holds for whoever enters it: a
 * process may compile what its copies enter. -ERR_SYSTEM when the kernel refuses; -ERR_NO_MEMORY.
 */
int syscall_filter_new(unsigned groups, struct syscall_filter **ret_filter, struct err *err);
void syscall_filter_free(struct syscall_filter *filter); /* NULL is accepted */

/*
 * For the calling process, all its threads, and whatever it will fork or execute; for good. The
 * process gains no rights by executing a program any more (no_new_privs). -ERR_SYSTEM when the
 * kernel refuses.
 */
int syscall_filter_enter(struct syscall_filter *filter, struct err *err);

#endif
