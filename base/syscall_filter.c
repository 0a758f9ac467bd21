#include "syscall_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Instructions; the longest filter has some 190. */
#define PROGRAM_MAX 4096u
#define CONDITIONS_MAX 2
/* Stands in a compiled filter for the id of who enters it: no process has such a number. */
#define OWN_PID 0x7fedcba9u

struct syscall_filter {
	unsigned short len;
	struct sock_filter program[];
};

struct rule {
	unsigned group;
	uint32_t action;
	int call;
	struct scmp_arg_cmp conditions[CONDITIONS_MAX]; /* up to the first without an operator */
};

static const struct rule rules[] = {
#define CALL(group, call, ...) \
	{SYSCALL_##group, SCMP_ACT_ALLOW, SCMP_SYS(call), {__VA_ARGS__}},
#define REFUSE(group, error, call) \
	{SYSCALL_##group, SCMP_ACT_ERRNO(error), SCMP_SYS(call), {}},
#include "syscalls.def"
};

/* --- compiling ------------------------------------------------------------------------------ */

static unsigned count_conditions(const struct rule *rule)
{
	unsigned n = 0;

	while (n < CONDITIONS_MAX && rule->conditions[n].op)
		n++;
	return n;
}

static int add_rules(scmp_filter_ctx context, unsigned groups)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(rules) / sizeof(*rules); i++) {
		const struct rule *rule = &rules[i];

		if (!(rule->group & groups))
			continue;
		r = seccomp_rule_add_array(context, rule->action, rule->call,
			count_conditions(rule), rule->conditions);
		/* two groups may have the same */
		if (r == -EEXIST)
			r = 0;
	}
	return r;
}

static int read_program(int fd, struct syscall_filter **ret_filter, struct err *err)
{
	struct stat st;
	struct syscall_filter *filter;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "cannot export the system call filter");
	if ((size_t)st.st_size > PROGRAM_MAX * sizeof(*filter->program))
		return err_set(err, ERR_SYSTEM, "the system call filter is too long");
	filter = malloc(sizeof(*filter) + (size_t)st.st_size);
	if (!filter)
		return err_set(err, ERR_NO_MEMORY, "no memory for the system call filter");
	filter->len = (unsigned short)((size_t)st.st_size / sizeof(*filter->program));
	if (pread(fd, filter->program, (size_t)st.st_size, 0) != st.st_size) {
		free(filter);
		return err_set_errno(err, "cannot read the system call filter");
	}
	*ret_filter = filter;
	return 0;
}

static int export_program(
	scmp_filter_ctx context, struct syscall_filter **ret_filter, struct err *err)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), r;

	if (fd < 0)
		return err_set_errno(err, "cannot export the system call filter");
	r = seccomp_export_bpf(context, fd);
	if (r < 0)
		r = err_set(err, ERR_SYSTEM, "cannot export the system call filter (%d)", r);
	else
		r = read_program(fd, ret_filter, err);
	close(fd);
	return r;
}

int syscall_filter_new(unsigned groups, struct syscall_filter **ret_filter, struct err *err)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	/* the first use of a calendar date reads the time zone's file */
	tzset();
	/* it asks the kernel */
	if (!context)
		return err_set(err, ERR_SYSTEM, "the kernel refuses a system call filter");
	/* a search tree instead of a chain */
	seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	r = add_rules(context, groups);
	if (r < 0)
		r = err_set(err, ERR_SYSTEM, "cannot build the system call filter (%d)", r);
	else
		r = export_program(context, ret_filter, err);
	seccomp_release(context);
	return r;
}

void syscall_filter_free(struct syscall_filter *filter)
{
	free(filter);
}

/* --- entering ------------------------------------------------------------------------------- */

static void put_own_pid(struct syscall_filter *filter)
{
	for (unsigned i = 0; i < filter->len; i++)
		if (filter->program[i].code == (BPF_JMP | BPF_JEQ | BPF_K) &&
			filter->program[i].k == OWN_PID)
			filter->program[i].k = (uint32_t)getpid();
}

int syscall_filter_enter(struct syscall_filter *filter, struct err *err)
{
	const struct sock_fprog program = {.len = filter->len, .filter = filter->program};
	long r;

	put_own_pid(filter);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set_errno(err, "the kernel refuses a system call filter");
	/* all threads, or those of a library would go on without */
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (r < 0)
		return err_set_errno(err, "the kernel refuses a system call filter");
	if (r > 0)
		return err_set(err, ERR_SYSTEM, "thread %ld cannot have the system call filter", r);
	return 0;
}
