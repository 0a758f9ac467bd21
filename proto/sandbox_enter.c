#include "sandbox.h"
#include "log.h"
#include "syscall_filter.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* A log that goes to a file must still be written; only then are files written to at all. */
static bool logs_to_file(void)
{
	struct stat st;

	return fstat(log_fd(), &st) == 0 && S_ISREG(st.st_mode);
}

static void limit_resources(unsigned limits)
{
	static const struct rlimit none = {0, 0};

	if (limits & SANDBOX_NO_CHILDREN)
		setrlimit(RLIMIT_NPROC, &none);
	if (limits & SANDBOX_NO_CORE)
		setrlimit(RLIMIT_CORE, &none);
	if (limits & SANDBOX_NO_FILES && !logs_to_file())
		setrlimit(RLIMIT_FSIZE, &none);
}

int sandbox_enter(enum sandbox sandbox, struct syscall_filter *filter, struct err *err)
{
	struct syscall_filter *own = NULL;
	int r = 0;

	if (SANITIZED)
		return 0;
	/* a filter is compiled into a memory file: before none may be written to */
	if (!filter && sandbox_groups(sandbox))
		r = syscall_filter_new(sandbox_groups(sandbox), &own, err);
	limit_resources(sandbox_limits(sandbox));
	if (r == 0 && sandbox_groups(sandbox))
		r = syscall_filter_enter(filter ? filter : own, err);
	syscall_filter_free(own);
	return r;
}
