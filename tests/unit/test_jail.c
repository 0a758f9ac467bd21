/* The system call filter of session workers: what it forbids kills,
 * what a worker does is allowed. */
#include "jail.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *what;
	long number, a, b, c;
} forbidden[] = {
	{"socket", SYS_socket, AF_INET, SOCK_STREAM, 0},
	{"socketpair", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0},
	{"connect", SYS_connect, 0, 0, 0},
	{"bind", SYS_bind, 0, 0, 0},
	{"accept4", SYS_accept4, 0, 0, 0},
	{"open", SYS_open, 0, O_RDONLY, 0},
	{"openat", SYS_openat, AT_FDCWD, 0, O_RDONLY},
	{"fork", SYS_fork, 0, 0, 0},
	{"vfork", SYS_vfork, 0, 0, 0},
	{"clone", SYS_clone, 0, 0, 0},
	{"clone3", SYS_clone3, 0, 0, 0},
	{"execve", SYS_execve, 0, 0, 0},
	{"ptrace", SYS_ptrace, PTRACE_TRACEME, 0, 0},
	{"process_vm_readv", SYS_process_vm_readv, 1, 0, 0},
	{"kill", SYS_kill, 1, 0, 0},
	{"prctl", SYS_prctl, 0, 0, 0},
	{"setuid", SYS_setuid, 0, 0, 0},
	{"unlink", SYS_unlink, 0, 0, 0},
	{"memfd_create", SYS_memfd_create, 0, 0, 0},
	{"io_uring_setup", SYS_io_uring_setup, 1, 0, 0},
	{"bpf", SYS_bpf, 0, 0, 0},
	{"userfaultfd", SYS_userfaultfd, 0, 0, 0},
	{"dup of a descriptor", SYS_fcntl, 1, F_DUPFD, 0},
	{"owner of a descriptor", SYS_fcntl, 1, F_SETOWN, 1},
	{"executable pages", SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC},
	{"pages made executable", SYS_mprotect, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC},
};

static void enter(void)
{
	struct jail *jail;
	struct err err = {0};

	if (jail_new(&jail, &err) < 0 || jail_enter(jail, &err) < 0)
		_exit(99);
}

static int status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(test_forbidden)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		enter();
		syscall(forbidden[_i].number, forbidden[_i].a, forbidden[_i].b, forbidden[_i].c, 0,
			0, 0);
		_exit(0);
	}
	status = status_of(pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: status %x",
		forbidden[_i].what, (unsigned)status);
}
END_TEST

/* What a worker does all day. */
static int work(int fd, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct timespec now;
	struct iovec iov = {(char[]){'x'}, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	void *pages;
	char *heap;

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 || sendmsg(fd, &msg, 0) != 1 ||
		epoll_wait(epoll, &event, 1, 0) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return 1;
	pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	heap = malloc(64 << 20);
	if (pages == MAP_FAILED || !heap)
		return 2;
	memset(heap, 1, 64 << 20);
	free(heap);
	munmap(pages, 1 << 20);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return close(fd) < 0 ? 3 : 0;
}

START_TEST(test_allowed)
{
	int pair[2], epoll = epoll_create1(EPOLL_CLOEXEC), status;
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		enter();
		_exit(work(pair[0], epoll));
	}
	status = status_of(pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
	close(pair[0]);
	close(pair[1]);
	close(epoll);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("jail");
	TCase *t = tcase_create("jail");

	tcase_add_loop_test(t, test_forbidden, 0, sizeof(forbidden) / sizeof(*forbidden));
	tcase_add_test(t, test_allowed);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
