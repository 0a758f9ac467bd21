#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Instructions; what is listed here needs some 150. */
#define PROGRAM_MAX 4096u

struct jail {
	unsigned short len;
	struct sock_filter program[];
};

/* Whatever their arguments are. */
static const int always[] = {
	/* messages on descriptors it has */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(close),
	SCMP_SYS(shutdown),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(lseek),
	SCMP_SYS(poll),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(timerfd_settime),
	/* memory */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	/* time */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(restart_syscall),
	/* itself */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getppid),
	SCMP_SYS(getrandom),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

static int allow_always(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(always) / sizeof(*always); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, always[i], 0);
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

/* Flags of descriptors, and whether a memory file is sealed. */
static int allow_fcntl(scmp_filter_ctx filter)
{
	static const int commands[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_GET_SEALS};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(commands) / sizeof(*commands); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
			SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i]));
	return r;
}

static int read_program(int fd, struct jail **ret_jail, struct err *err)
{
	struct stat st;
	struct jail *jail;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "cannot export the system call filter");
	if ((size_t)st.st_size > PROGRAM_MAX * sizeof(*jail->program))
		return err_set(err, ERR_SYSTEM, "the system call filter is too long");
	jail = malloc(sizeof(*jail) + (size_t)st.st_size);
	if (!jail)
		return err_set(err, ERR_NO_MEMORY, "no memory for the system call filter");
	jail->len = (unsigned short)((size_t)st.st_size / sizeof(*jail->program));
	if (pread(fd, jail->program, (size_t)st.st_size, 0) != st.st_size) {
		free(jail);
		return err_set_errno(err, "cannot read the system call filter");
	}
	*ret_jail = jail;
	return 0;
}

static int export_program(scmp_filter_ctx filter, struct jail **ret_jail, struct err *err)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), r;

	if (fd < 0)
		return err_set_errno(err, "cannot export the system call filter");
	r = seccomp_export_bpf(filter, fd);
	if (r < 0)
		r = err_set(err, ERR_SYSTEM, "cannot export the system call filter");
	else
		r = read_program(fd, ret_jail, err);
	close(fd);
	return r;
}

int jail_new(struct jail **ret_jail, struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!filter)
		return err_set(err, ERR_NO_MEMORY, "no memory for the system call filter");
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	r = allow_always(filter);
	if (r == 0)
		r = allow_memory(filter);
	if (r == 0)
		r = allow_fcntl(filter);
	if (r < 0)
		r = err_set(err, ERR_SYSTEM, "cannot build the system call filter");
	else
		r = export_program(filter, ret_jail, err);
	seccomp_release(filter);
	return r;
}

void jail_free(struct jail *jail)
{
	free(jail);
}

/* A log that goes to a file must still be written; only then are files written to at all. */
static void limit_resources(void)
{
	static const struct rlimit none = {0, 0};
	struct stat st;

	setrlimit(RLIMIT_NPROC, &none);
	setrlimit(RLIMIT_CORE, &none);
	if (fstat(STDERR_FILENO, &st) == 0 && !S_ISREG(st.st_mode))
		setrlimit(RLIMIT_FSIZE, &none);
}

int jail_enter(const struct jail *jail, struct err *err)
{
	const struct sock_fprog program = {
		.len = jail->len, .filter = (struct sock_filter *)(uintptr_t)jail->program};

	limit_resources();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return err_set_errno(err, "cannot enter the system call filter");
	return 0;
}
