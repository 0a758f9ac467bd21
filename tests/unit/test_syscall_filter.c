/* base/syscall_filter.h: what is not allowed kills, what is allowed works. */
#include "memfile.h"
#include "syscall_filter.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int file; /* open before the filter */

static void map(int protection)
{
	if (mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		_exit(2);
}

static void map_code(void)
{
	map(PROT_READ | PROT_EXEC);
}

static void map_data(void)
{
	map(PROT_READ | PROT_WRITE);
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
		_exit(2);
}

static void write_store(void)
{
	if (pwrite(file, "x", 1, 0) != 1 || fdatasync(file) < 0 || ftruncate(file, 5) < 0)
		_exit(2);
}

static void use_memory(void)
{
	char *p = realloc(malloc(1u << 20), 1u << 24);

	free(p);
	fprintf(stderr, "%s", "");
}

#define CALL(name, ...) \
	static void call_##name(void) \
	{ \
		syscall(SYS_##name, __VA_ARGS__); \
	}
CALL(open, "/etc/passwd", O_RDONLY)
CALL(openat, AT_FDCWD, "/etc/passwd", O_RDONLY)
CALL(openat2, AT_FDCWD, "/etc/passwd", NULL, 0)
CALL(unlink, "/nowhere")
CALL(rename, "/nowhere", "/elsewhere")
CALL(socket, AF_INET, SOCK_STREAM, 0)
CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, NULL)
CALL(connect, 0, NULL, 0)
CALL(bind, 0, NULL, 0)
CALL(fork, 0)
CALL(clone, 0, 0, 0, 0, 0)
CALL(clone3, NULL, 0)
CALL(execve, "/bin/sh", NULL, NULL)
CALL(ptrace, 0, 0, 0, 0)
CALL(process_vm_readv, 1, NULL, 0, NULL, 0, 0)
CALL(kill, 1, 0)
CALL(setuid, 0)
CALL(mount, NULL, NULL, NULL, 0, NULL)
CALL(unshare, 0)
CALL(bpf, 0, NULL, 0)
CALL(io_uring_setup, 1, NULL)
CALL(keyctl, 0)
CALL(ioctl, 0, 0x5412 /* TIOCSTI: type into the terminal */, "x")

static const struct {
	const char *what;
	void (*call)(void);
	unsigned groups;
	bool dies;
} rows[] = {
#define ROW(name) \
	{ \
#name, call_##name, SYSCALL_STORE | SYSCALL_MEMFILE, true \
	}
	ROW(open),
	ROW(openat),
	ROW(openat2),
	ROW(unlink),
	ROW(rename),
	ROW(socket),
	ROW(socketpair),
	ROW(connect),
	ROW(bind),
	ROW(fork),
	ROW(clone),
	ROW(clone3),
	ROW(execve),
	ROW(ptrace),
	ROW(process_vm_readv),
	ROW(kill),
	ROW(setuid),
	ROW(mount),
	ROW(unshare),
	ROW(bpf),
	ROW(io_uring_setup),
	ROW(keyctl),
	ROW(ioctl),
	{"map code", map_code, 0, true},
	{"make code", make_code, 0, true},
	{"memory files without their group", make_memfile, SYSCALL_STORE, true},
	{"a store without its group", write_store, SYSCALL_MEMFILE, true},
	{"map data", map_data, 0, false},
	{"memory", use_memory, 0, false},
	{"memory files", make_memfile, SYSCALL_MEMFILE, false},
	{"a store", write_store, SYSCALL_STORE, false},
};

START_TEST(row)
{
	struct err err = {0};
	FILE *open_file = tmpfile();
	int status;
	pid_t pid;

	if (SANITIZED)
		return;
	file = fileno(open_file);
	pid = fork();
	if (pid == 0) {
		if (syscall_filter_enter(rows[_i].groups, &err) < 0)
			_exit(3);
		rows[_i].call();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	fclose(open_file);
	if (rows[_i].dies)
		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: status %x",
			rows[_i].what, (unsigned)status);
	else
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %x",
			rows[_i].what, (unsigned)status);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("syscall filter");
	TCase *tc = tcase_create("rows");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, row, 0, sizeof(rows) / sizeof(*rows));
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
