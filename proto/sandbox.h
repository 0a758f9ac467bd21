/*
 * The sandbox of a process: which system calls it may make and which resources it may use, by the
 * row it has in sandbox.def. The skeleton (process.h) enters it between before_jail and after_jail.
 */
#ifndef GATEHOUSE_SANDBOX_H
#define GATEHOUSE_SANDBOX_H

#include "err.h"
#include "message.h"

enum sandbox {
#define SANDBOX(name, groups, limits) SANDBOX_##name,
#include "sandbox.def"
	SANDBOX_MAX,
};

enum sandbox_limit {
	SANDBOX_NO_CHILDREN = 1u,
	SANDBOX_NO_FILES = 2u,
	SANDBOX_NO_CORE = 4u,
};

struct syscall_filter;

/* The row of a role. */
enum sandbox sandbox_of_role(enum role role);
const char *sandbox_name(enum sandbox sandbox);
/* Or'ed enum syscall_group; 0: this row has no filter. */
unsigned sandbox_groups(enum sandbox sandbox);
/* Or'ed enum sandbox_limit. */
unsigned sandbox_limits(enum sandbox sandbox);

/*
 * For the calling process, for good: resource limits, then the filter. filter: compiled before from
 * the row's groups, borrowed; NULL: it is compiled now. Limits that cannot be set are done without.
 * A process that was built with a sanitizer is left as it is: its runtime needs more.
 * -ERR_SYSTEM with err when the kernel refuses the filter; -ERR_NO_MEMORY.
 */
int sandbox_enter(enum sandbox sandbox, struct syscall_filter *filter, struct err *err);

#endif
