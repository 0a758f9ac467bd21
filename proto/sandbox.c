#include "sandbox.h"
#include "syscall_filter.h"

#define NOTHING 0u
#define BASE (MESSAGES | MEMORY | TIME | SELF)

/* The words of the rows. */
enum {
#define GROUP(name, what) name = SYSCALL_##name,
#include "syscalls.def"
	NO_CHILDREN = SANDBOX_NO_CHILDREN,
	NO_FILES = SANDBOX_NO_FILES,
	NO_CORE = SANDBOX_NO_CORE,
};

static const struct {
	const char *name;
	unsigned groups, limits;
} rows[SANDBOX_MAX] = {
#define SANDBOX(name, groups, limits) [SANDBOX_##name] = {#name, groups, limits},
#include "sandbox.def"
};

enum sandbox sandbox_of_role(enum role role)
{
	static const enum sandbox of_role[ROLE_MAX] = {
#define ROLE(name, word, program, singleton) [ROLE_##name] = SANDBOX_##name,
#include "roles.def"
#undef ROLE
	};

	return of_role[role];
}

const char *sandbox_name(enum sandbox sandbox)
{
	return rows[sandbox].name;
}

unsigned sandbox_groups(enum sandbox sandbox)
{
	return rows[sandbox].groups;
}

unsigned sandbox_limits(enum sandbox sandbox)
{
	return rows[sandbox].limits;
}
