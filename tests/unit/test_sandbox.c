/*
 * proto/sandbox.def: what a row does not allow kills, everything it allows works. A probe child
 * enters the sandbox and makes one system call, for each row and each call the machine knows.
 */
#include "memfile.h"
#include "sandbox.h"
#include "syscall_filter.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1 /* such a process is left as it is */
#else
#define SANITIZED 0
#endif

/* More than any architecture has. */
#define CALLS_MAX 600
/* In a probe child: it could not enter; the call did what it should not. */
#define EXIT_NO_SANDBOX 99
#define EXIT_WRONG 98

static int file; /* open before the sandbox */

static int status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static bool is_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void enter(enum sandbox sandbox, struct syscall_filter *filter)
{
	struct err err = {0};

	if (sandbox_enter(sandbox, filter, &err) < 0)
		_exit(EXIT_NO_SANDBOX);
}

/* --- each row, each call -------------------------------------------------------------------- */

static const struct {
	unsigned group;
	int call;
	bool conditional;
} listed[] = {
#define CALL(group, call, ...) {SYSCALL_##group, SCMP_SYS(call), #__VA_ARGS__[0] != '\0'},
#define REFUSE(group, error, call) {SYSCALL_##group, SCMP_SYS(call), false},
#include "syscalls.def"
};

enum verdict { KILLS, ALLOWS, DEPENDS };

static enum verdict expect(enum sandbox sandbox, int call)
{
	enum verdict verdict = KILLS;

	for (size_t i = 0; i < sizeof(listed) / sizeof(*listed); i++) {
		if (listed[i].call != call || !(listed[i].group & sandbox_groups(sandbox)))
			continue;
		if (!listed[i].conditional)
			return ALLOWS;
		verdict = DEPENDS;
	}
	return verdict;
}

/* The arguments are such that a call that is let through does nothing. */
static int probe(enum sandbox sandbox, struct syscall_filter *filter, int call)
{
	pid_t pid = fork();

	if (pid == 0) {
		enter(sandbox, filter);
		syscall(call, -1l, -1l, -1l, -1l, -1l, -1l);
		_exit(0);
	}
	return status_of(pid);
}

START_TEST(each_call)
{
	enum sandbox sandbox = (enum sandbox)_i;
	struct syscall_filter *filter;
	struct err err = {0};
	unsigned kills = 0, allows = 0;

	if (SANITIZED || sandbox_groups(sandbox) == 0)
		return;
	ck_assert_int_eq(syscall_filter_new(sandbox_groups(sandbox), &filter, &err), 0);
	for (int call = 0; call < CALLS_MAX; call++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
		enum verdict verdict = expect(sandbox, call);

		if (name && verdict != DEPENDS) {
			int status = probe(sandbox, filter, call);

			ck_assert_msg(is_killed(status) == (verdict == KILLS), "%s: %s: status %x",
				sandbox_name(sandbox), name, (unsigned)status);
			kills += verdict == KILLS;
			allows += verdict == ALLOWS;
		}
		free(name);
	}
	syscall_filter_free(filter);
	/* the lists are there and were gone through */
	ck_assert_uint_gt(kills, 200);
	ck_assert_uint_gt(allows, 30);
}
END_TEST

/* --- what matters most, said once more ------------------------------------------------------ */

#define IS_FILTERED(sandbox) (sandbox_groups(sandbox) != 0)

START_TEST(which_rows)
{
	for (int sandbox = 0; sandbox < SANDBOX_MAX; sandbox++)
		ck_assert_msg(IS_FILTERED((enum sandbox)sandbox) ==
				      (sandbox != SANDBOX_ROOT && sandbox != SANDBOX_LAUNCHER &&
					      sandbox != SANDBOX_KEEPER),
			"%s", sandbox_name((enum sandbox)sandbox));
	for (int role = 0; role < ROLE_MAX; role++)
		ck_assert_int_lt(sandbox_of_role((enum role)role), SANDBOX_MAX);
	ck_assert_int_eq(sandbox_of_role(ROLE_WORKER), SANDBOX_WORKER);
}
END_TEST

/* Whatever changes in the lists: nobody executes a program, looks into another process, … */
static const int never[] = {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork),
	SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kill),
	SCMP_SYS(tkill), SCMP_SYS(pidfd_send_signal), SCMP_SYS(pidfd_getfd), SCMP_SYS(setuid),
	SCMP_SYS(setresuid), SCMP_SYS(capset), SCMP_SYS(mount), SCMP_SYS(unshare), SCMP_SYS(setns),
	SCMP_SYS(bpf), SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd), SCMP_SYS(keyctl),
	SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(rename), SCMP_SYS(renameat2), SCMP_SYS(mkdir),
	SCMP_SYS(chmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(symlink), SCMP_SYS(link)};

static const struct {
	enum sandbox sandbox;
	int call;
} never_of[] = {
	{SANDBOX_WORKER, SCMP_SYS(open)},
	{SANDBOX_WORKER, SCMP_SYS(openat)},
	{SANDBOX_WORKER, SCMP_SYS(socket)},
	{SANDBOX_WORKER, SCMP_SYS(socketpair)},
	{SANDBOX_WORKER, SCMP_SYS(connect)},
	{SANDBOX_WORKER, SCMP_SYS(bind)},
	{SANDBOX_WORKER, SCMP_SYS(accept4)},
	{SANDBOX_WORKER, SCMP_SYS(clone)},
	{SANDBOX_WORKER, SCMP_SYS(clone3)},
	{SANDBOX_WORKER, SCMP_SYS(prctl)},
	{SANDBOX_WORKER, SCMP_SYS(seccomp)},
	{SANDBOX_WORKER, SCMP_SYS(dup)},
	{SANDBOX_WORKER, SCMP_SYS(ioctl)},
	{SANDBOX_WORKER, SCMP_SYS(unlink)},
	{SANDBOX_WORKER, SCMP_SYS(memfd_create)},
	{SANDBOX_WORKER, SCMP_SYS(pwrite64)},
	{SANDBOX_GATEWAY, SCMP_SYS(open)},
	{SANDBOX_GATEWAY, SCMP_SYS(openat)},
	{SANDBOX_GATEWAY, SCMP_SYS(socket)},
	{SANDBOX_GATEWAY, SCMP_SYS(connect)},
	{SANDBOX_GATEWAY, SCMP_SYS(bind)},
	{SANDBOX_GATEWAY, SCMP_SYS(unlink)},
	{SANDBOX_GATEWAY, SCMP_SYS(clone)},
	{SANDBOX_GATEWAY, SCMP_SYS(clone3)},
	{SANDBOX_ADMIN, SCMP_SYS(openat)},
	{SANDBOX_ADMIN, SCMP_SYS(connect)},
	{SANDBOX_ADMIN, SCMP_SYS(bind)},
	{SANDBOX_ADMIN, SCMP_SYS(clone3)},
	{SANDBOX_REGISTRY, SCMP_SYS(openat)},
	{SANDBOX_REGISTRY, SCMP_SYS(socket)},
	{SANDBOX_REGISTRY, SCMP_SYS(accept4)},
	{SANDBOX_REGISTRY, SCMP_SYS(clone3)},
	{SANDBOX_SESSIONS, SCMP_SYS(openat)},
	{SANDBOX_SESSIONS, SCMP_SYS(socket)},
	{SANDBOX_SESSIONS, SCMP_SYS(memfd_create)},
	{SANDBOX_SESSIONS, SCMP_SYS(clone3)},
	{SANDBOX_UPSTREAM, SCMP_SYS(accept4)},
	{SANDBOX_UPSTREAM, SCMP_SYS(listen)},
	{SANDBOX_UPSTREAM, SCMP_SYS(unlink)},
	{SANDBOX_UPSTREAM_STDIO, SCMP_SYS(openat)},
	{SANDBOX_UPSTREAM_STDIO, SCMP_SYS(socket)},
	{SANDBOX_UPSTREAM_STDIO, SCMP_SYS(connect)},
	{SANDBOX_UPSTREAM_STDIO, SCMP_SYS(clone3)},
	{SANDBOX_ZYGOTE, SCMP_SYS(openat)},
	{SANDBOX_ZYGOTE, SCMP_SYS(socket)},
	{SANDBOX_ZYGOTE, SCMP_SYS(connect)},
};

START_TEST(never_allowed)
{
	for (int sandbox = 0; sandbox < SANDBOX_MAX; sandbox++)
		for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
			if (IS_FILTERED((enum sandbox)sandbox))
				ck_assert_msg(expect((enum sandbox)sandbox, never[i]) == KILLS,
					"%s: %zu", sandbox_name((enum sandbox)sandbox), i);
	for (size_t i = 0; i < sizeof(never_of) / sizeof(*never_of); i++)
		ck_assert_msg(expect(never_of[i].sandbox, never_of[i].call) == KILLS, "%s: %zu",
			sandbox_name(never_of[i].sandbox), i);
}
END_TEST

/* --- what depends on arguments, and what libraries do --------------------------------------- */

static void map(int protection, int flags)
{
	if (mmap(NULL, 4096, protection, flags | MAP_PRIVATE, flags ? -1 : file, 0) == MAP_FAILED)
		_exit(EXIT_WRONG);
}

static void map_code(void)
{
	map(PROT_READ | PROT_EXEC, MAP_ANONYMOUS);
}

static void map_library(void)
{
	map(PROT_READ | PROT_EXEC, 0);
}

static void map_writable_library(void)
{
	map(PROT_READ | PROT_WRITE | PROT_EXEC, 0);
}

static void map_data(void)
{
	map(PROT_READ | PROT_WRITE, MAP_ANONYMOUS);
}

static void make_code(void)
{
	syscall(SYS_mprotect, (uintptr_t)&make_code & ~4095ul, 4096, PROT_READ | PROT_EXEC);
}

static void make_memfile(void)
{
	struct err err;
	int fd;

	if (memfile_new("test", SPAN_LIT("x"), &fd, &err) < 0)
		_exit(EXIT_WRONG);
}

static void write_store(void)
{
	struct flock lock = {.l_type = F_WRLCK};

	if (pwrite(file, "x", 1, 0) != 1 || fdatasync(file) < 0 || ftruncate(file, 5) < 0 ||
		fcntl(file, F_SETLK, &lock) < 0)
		_exit(EXIT_WRONG);
}

static void use_memory(void)
{
	char *p = realloc(malloc(1u << 20), 64u << 20);

	memset(p, 1, 64u << 20);
	free(p);
	fprintf(stderr, "%s", "");
}

static void read_file(void)
{
	if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0)
		_exit(EXIT_WRONG);
}

static void write_file(void)
{
	open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static void create_file(void)
{
	open("/tmp", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
}

static void *in_thread(void *arg)
{
	free(malloc(1u << 20));
	return arg;
}

static void make_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, in_thread, NULL) != 0 || pthread_join(thread, NULL) != 0)
		_exit(EXIT_WRONG);
}

static void make_process(void)
{
	if (fork() == 0)
		_exit(0);
}

static void make_process_by_clone3(void)
{
	if (syscall(SYS_clone3, NULL, 0) == 0 || errno != ENOSYS)
		_exit(EXIT_WRONG);
}

static void resolve(void)
{
	struct addrinfo *list;

	if (getaddrinfo("localhost", "80", NULL, &list) != 0)
		_exit(EXIT_WRONG);
	freeaddrinfo(list);
}

static void raw_packets(void)
{
	socket(AF_PACKET, SOCK_RAW, 0);
}

static void socket_refused(void)
{
	if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EAFNOSUPPORT)
		_exit(EXIT_WRONG);
}

static void type_into_terminal(void)
{
	ioctl(0, TIOCSTI, "x");
}

static void count_readable(void)
{
	int n;

	ioctl(file, FIONREAD, &n);
}

static void copy_descriptor(void)
{
	if (fcntl(file, F_DUPFD_CLOEXEC, 3) < 0)
		_exit(EXIT_WRONG);
}

static void own_descriptor(void)
{
	fcntl(file, F_SETOWN, 1);
}

static void stat_path(void)
{
	struct stat st;

	stat("/etc/passwd", &st);
}

static void stat_descriptor(void)
{
	struct stat st;

	if (fstat(file, &st) < 0)
		_exit(EXIT_WRONG);
}

static void tell_time(void)
{
	time_t now = time(NULL);
	char text[64];
	struct tm tm;

	gmtime_r(&now, &tm);
	if (strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		_exit(EXIT_WRONG);
}

static void signal_other(void)
{
	syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static void signal_self(void)
{
	if (syscall(SYS_tgkill, getpid(), gettid(), 0) < 0)
		_exit(EXIT_WRONG);
}

static const struct {
	enum sandbox sandbox;
	const char *what;
	void (*act)(void);
	bool dies;
} acts[] = {
#define DIES(sandbox, act) {SANDBOX_##sandbox, #sandbox " " #act, act, true}
#define LIVES(sandbox, act) {SANDBOX_##sandbox, #sandbox " " #act, act, false}
	DIES(WORKER, map_code),
	DIES(WORKER, map_library),
	DIES(WORKER, make_code),
	DIES(WORKER, make_memfile),
	DIES(WORKER, copy_descriptor),
	DIES(WORKER, own_descriptor),
	DIES(WORKER, count_readable),
	DIES(WORKER, stat_path),
	DIES(WORKER, signal_other),
	DIES(WORKER, make_thread),
	LIVES(WORKER, map_data),
	LIVES(WORKER, use_memory),
	LIVES(WORKER, stat_descriptor),
	LIVES(WORKER, tell_time),
	LIVES(WORKER, signal_self),
	DIES(GATEWAY, map_code),
	DIES(GATEWAY, own_descriptor),
	DIES(GATEWAY, type_into_terminal),
	LIVES(GATEWAY, count_readable),
	LIVES(GATEWAY, copy_descriptor),
	LIVES(GATEWAY, use_memory),
	LIVES(ADMIN, socket_refused),
	DIES(ADMIN, type_into_terminal),
	DIES(REGISTRY, map_code),
	DIES(REGISTRY, read_file),
	LIVES(REGISTRY, make_memfile),
	LIVES(REGISTRY, write_store),
	DIES(SESSIONS, make_memfile),
	LIVES(SESSIONS, write_store),
	DIES(SESSIONS, signal_other),
	LIVES(UPSTREAM, read_file),
	LIVES(UPSTREAM, resolve),
	LIVES(UPSTREAM, make_thread),
	LIVES(UPSTREAM, map_library),
	LIVES(UPSTREAM, make_process_by_clone3),
	DIES(UPSTREAM, make_process),
	DIES(UPSTREAM, map_code),
	DIES(UPSTREAM, map_writable_library),
	DIES(UPSTREAM, write_file),
	DIES(UPSTREAM, create_file),
	DIES(UPSTREAM, raw_packets),
	DIES(UPSTREAM_STDIO, read_file),
	DIES(UPSTREAM_STDIO, make_thread),
	LIVES(UPSTREAM_STDIO, copy_descriptor),
	DIES(ZYGOTE, read_file),
	DIES(ZYGOTE, map_code),
};

START_TEST(act)
{
	FILE *open_file = tmpfile();
	int status;
	pid_t pid;

	if (SANITIZED)
		return;
	file = fileno(open_file);
	pid = fork();
	if (pid == 0) {
		enter(acts[_i].sandbox, NULL);
		acts[_i].act();
		_exit(0);
	}
	status = status_of(pid);
	fclose(open_file);
	ck_assert_msg(acts[_i].dies ? is_killed(status) : status == 0, "%s: status %x",
		acts[_i].what, (unsigned)status);
}
END_TEST

START_TEST(abort_is_abort)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		enter(SANDBOX_WORKER, NULL);
		abort();
	}
	status = status_of(pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

/* A worker is born in the zygote's sandbox and adds its own, compiled before. */
START_TEST(worker_of_zygote)
{
	struct syscall_filter *filter;
	struct err err = {0};
	int status;
	pid_t pid;

	if (SANITIZED)
		return;
	ck_assert_int_eq(syscall_filter_new(sandbox_groups(SANDBOX_WORKER), &filter, &err), 0);
	pid = fork();
	if (pid == 0) {
		enter(SANDBOX_ZYGOTE, NULL);
		enter(SANDBOX_WORKER, filter);
		use_memory();
		syscall(SYS_clone3, NULL, 0);
		_exit(0);
	}
	status = status_of(pid);
	syscall_filter_free(filter);
	ck_assert_msg(is_killed(status), "status %x", (unsigned)status);
}
END_TEST

/* --- limits --------------------------------------------------------------------------------- */

/* Of a worker whose stderr is fd, as the kernel has them. */
static void read_limits(int fd, struct rlimit *ret_nproc, struct rlimit *ret_fsize,
	struct rlimit *ret_core)
{
	int gate[2], said[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(gate), 0);
	ck_assert_int_eq(pipe(said), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fd, STDERR_FILENO);
		enter(SANDBOX_WORKER, NULL);
		if (write(said[1], "x", 1) != 1 || read(gate[0], &byte, 1) != 1)
			_exit(EXIT_WRONG);
		_exit(0);
	}
	ck_assert_int_eq(read(said[0], &byte, 1), 1);
	ck_assert_int_eq(prlimit(pid, RLIMIT_NPROC, NULL, ret_nproc), 0);
	ck_assert_int_eq(prlimit(pid, RLIMIT_FSIZE, NULL, ret_fsize), 0);
	ck_assert_int_eq(prlimit(pid, RLIMIT_CORE, NULL, ret_core), 0);
	ck_assert_int_eq(write(gate[1], "x", 1), 1);
	ck_assert_int_eq(status_of(pid), 0);
	for (int i = 0; i < 2; i++) {
		close(gate[i]);
		close(said[i]);
	}
}

START_TEST(limits_of_a_worker)
{
	struct rlimit nproc, fsize, core, before;
	FILE *log = tmpfile();
	int pair[2];

	if (SANITIZED)
		return;
	ck_assert_int_eq(pipe(pair), 0);
	read_limits(pair[1], &nproc, &fsize, &core);
	ck_assert_int_eq((int)nproc.rlim_max, 0);
	ck_assert_int_eq((int)fsize.rlim_max, 0);
	ck_assert_int_eq((int)core.rlim_max, 0);
	/* a log in a file can still be written */
	getrlimit(RLIMIT_FSIZE, &before);
	read_limits(fileno(log), &nproc, &fsize, &core);
	ck_assert_int_eq((int)nproc.rlim_max, 0);
	ck_assert(fsize.rlim_cur == before.rlim_cur);
	fclose(log);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* --- a kernel that refuses ------------------------------------------------------------------ */

static int refuse_filters(void)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	int r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(seccomp), 0);

	if (r == 0)
		r = seccomp_load(context);
	seccomp_release(context);
	return r;
}

START_TEST(refused)
{
	pid_t pid;

	if (SANITIZED)
		return;
	pid = fork();
	if (pid == 0) {
		struct err err = {0};

		if (refuse_filters() < 0)
			_exit(EXIT_NO_SANDBOX);
		if (sandbox_enter(SANDBOX_GATEWAY, NULL, &err) != -ERR_SYSTEM ||
			!strstr(err_text(&err), "refuses a system call filter"))
			_exit(EXIT_WRONG);
		_exit(0);
	}
	ck_assert_int_eq(status_of(pid), 0);
}
END_TEST

int main(void)
{
	static const struct rlimit no_core = {0, 0};
	Suite *s = suite_create("sandbox");
	TCase *tc = tcase_create("sandbox");
	SRunner *runner;
	int failed;

	setrlimit(RLIMIT_CORE, &no_core);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, each_call, 0, SANDBOX_MAX);
	tcase_add_test(tc, which_rows);
	tcase_add_test(tc, never_allowed);
	tcase_add_loop_test(tc, act, 0, sizeof(acts) / sizeof(*acts));
	tcase_add_test(tc, abort_is_abort);
	tcase_add_test(tc, worker_of_zygote);
	tcase_add_test(tc, limits_of_a_worker);
	tcase_add_test(tc, refused);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
