#include "syscall_filter.h"

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* A row: the group that needs it, 0 for all; the call. */
static const struct {
	unsigned group;
	int call;
} allowed[] = {
	/* messages on descriptors it has */
	{0, SCMP_SYS(read)},
	{0, SCMP_SYS(readv)},
	{0, SCMP_SYS(write)},
	{0, SCMP_SYS(writev)},
	{0, SCMP_SYS(recvmsg)},
	{0, SCMP_SYS(sendmsg)},
	{0, SCMP_SYS(recvfrom)},
	{0, SCMP_SYS(sendto)},
	{0, SCMP_SYS(close)},
	{0, SCMP_SYS(shutdown)},
	{0, SCMP_SYS(dup)},
	{0, SCMP_SYS(fcntl)},
	{0, SCMP_SYS(fstat)},
	{0, SCMP_SYS(newfstatat)},
	{0, SCMP_SYS(lseek)},
	{0, SCMP_SYS(poll)},
	{0, SCMP_SYS(epoll_wait)},
	{0, SCMP_SYS(epoll_pwait)},
	{0, SCMP_SYS(epoll_pwait2)},
	{0, SCMP_SYS(epoll_ctl)},
	{0, SCMP_SYS(timerfd_settime)},
	/* memory */
	{0, SCMP_SYS(brk)},
	{0, SCMP_SYS(munmap)},
	{0, SCMP_SYS(mremap)},
	{0, SCMP_SYS(madvise)},
	{0, SCMP_SYS(futex)},
	{0, SCMP_SYS(sysinfo)}, /* qsort asks how much there is */
	/* time */
	{0, SCMP_SYS(clock_gettime)},
	{0, SCMP_SYS(clock_getres)},
	{0, SCMP_SYS(gettimeofday)},
	{0, SCMP_SYS(time)},
	{0, SCMP_SYS(clock_nanosleep)},
	{0, SCMP_SYS(nanosleep)},
	{0, SCMP_SYS(restart_syscall)},
	/* itself */
	{0, SCMP_SYS(getpid)},
	{0, SCMP_SYS(gettid)},
	{0, SCMP_SYS(getppid)},
	{0, SCMP_SYS(getrandom)},
	{0, SCMP_SYS(tgkill)}, /* abort */
	{0, SCMP_SYS(rt_sigaction)},
	{0, SCMP_SYS(rt_sigprocmask)},
	{0, SCMP_SYS(rt_sigreturn)},
	{0, SCMP_SYS(sigaltstack)},
	{0, SCMP_SYS(exit)},
	{0, SCMP_SYS(exit_group)},
	/* a database that is open */
	{SYSCALL_STORE, SCMP_SYS(pread64)},
	{SYSCALL_STORE, SCMP_SYS(pwrite64)},
	{SYSCALL_STORE, SCMP_SYS(pwritev)},
	{SYSCALL_STORE, SCMP_SYS(fdatasync)},
	{SYSCALL_STORE, SCMP_SYS(fsync)},
	{SYSCALL_STORE, SCMP_SYS(ftruncate)},
	/* memory files */
	{SYSCALL_MEMFILE, SCMP_SYS(memfd_create)},
	{SYSCALL_MEMFILE, SCMP_SYS(ftruncate)},
};

static int allow_calls(scmp_filter_ctx filter, unsigned groups)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(allowed) / sizeof(*allowed); i++)
		if (!allowed[i].group || allowed[i].group & groups)
			r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i].call, 0);
	return r;
}

/* Pages that are not for running code. */
static int allow_memory(scmp_filter_ctx filter)
{
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

/* How much is there to read. */
static int allow_ioctl(scmp_filter_ctx filter)
{
	return seccomp_rule_add(
		filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, FIONREAD));
}

int syscall_filter_enter(unsigned groups, struct err *err)
{
	scmp_filter_ctx filter;
	int r;

	if (SANITIZED)
		return 0;
	/* the first use of a calendar date reads the time zone's file */
	tzset();
	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return err_set(err, ERR_NO_MEMORY, "no memory for the system call filter");
	/* a search tree instead of a chain */
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/* all threads, or those of a library would go on without */
	r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = allow_calls(filter, groups);
	if (r == 0)
		r = allow_memory(filter);
	if (r == 0)
		r = allow_ioctl(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? err_set(err, ERR_SYSTEM, "cannot enter the system call filter (%d)", r) : 0;
}
