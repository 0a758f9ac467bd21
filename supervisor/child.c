#include "child.h"
#include "clock.h"
#include "log.h"
#include "points.h"
#include "process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* For a process without its link to end by itself. */
#define LET_GO_MS 1000

void children_init(
	struct children *all, struct event_base *base, const struct child_ops *ops, void *arg)
{
	/* the policy numbers its own children from 1: keepers, which it does not know, stay clear
	 * of those */
	*all = (struct children){
		.base = base, .ops = ops, .arg = arg, .next_instance = CHILD_INSTANCE_FIRST,
		.epoch = 1, .last_epoch = 1};
}

struct child *children_find(struct children *all, uint64_t instance)
{
	struct child *child;

	HASH_FIND(hh, all->by_instance, &instance, sizeof(instance), child);
	return child;
}

bool role_is_named(enum role role)
{
	return role == ROLE_UPSTREAM || role == ROLE_GATEWAY;
}

#define NAME_KEY_LEN (sizeof(enum role) + LIMIT_SERVER_NAME + 1)

static_assert(offsetof(struct child, name) == offsetof(struct child, role) + sizeof(enum role),
	"role and name are one key");

static struct child *find_by_name(struct children *all, enum role role, const char *name)
{
	struct child key = {.role = role}, *child;

	snprintf(key.name, sizeof(key.name), "%s", name);
	HASH_FIND(hh_name, all->by_name, &key.role, NAME_KEY_LEN, child);
	return child;
}

struct child *children_find_named(struct children *all, enum role role, const char *name)
{
	struct child *child = NULL;

	if (role_is_singleton(role))
		child = all->singletons[role];
	else if (role_is_named(role))
		child = find_by_name(all, role, name);
	return child && child->state == CHILD_RUNNING ? child : NULL;
}

uint64_t children_next_instance(struct children *all)
{
	return all->next_instance++;
}

void child_describe_exit(int code, int status, char *text, size_t size)
{
	if (code == CLD_EXITED)
		snprintf(text, size, "exit %d", status);
	else
		snprintf(text, size, "signal %d (%s)", status, strsignal(status));
}

/* --- death ---------------------------------------------------------------------------------- */

void child_take_name(struct child *child)
{
	struct children *all = child->all;
	struct child *former = find_by_name(all, child->role, child->name);

	if (former)
		HASH_DELETE(hh_name, all->by_name, former);
	HASH_ADD(hh_name, all->by_name, role, NAME_KEY_LEN, child);
}

/* It is the one that goes by its role and name. */
static void make_current(struct children *all, struct child *child)
{
	if (role_is_singleton(child->role)) {
		all->singletons[child->role] = child;
	} else if (role_is_named(child->role)) {
		child_take_name(child);
	}
}

static void index_add(struct children *all, struct child *child)
{
	HASH_ADD(hh, all->by_instance, instance, sizeof(child->instance), child);
	all->total++;
	all->of_role[child->role]++;
}

static void index_remove(struct children *all, struct child *child)
{
	if (all->cursor == child)
		all->cursor = child->hh.next;
	HASH_DEL(all->by_instance, child);
	all->total--;
	all->of_role[child->role]--;
	if (child->pid > 0)
		HASH_DELETE(hh_pid, all->by_pid, child);
	if (all->singletons[child->role] == child)
		all->singletons[child->role] = NULL;
	if (role_is_named(child->role) && find_by_name(all, child->role, child->name) == child)
		HASH_DELETE(hh_name, all->by_name, child);
}

static void set_made(struct child *child, pid_t pid, int pidfd)
{
	child->pid = pid;
	child->pidfd = pidfd;
	child->state = CHILD_STARTING;
	child->all->asked--;
	HASH_ADD(hh_pid, child->all->by_pid, pid, sizeof(child->pid), child);
}

static void child_free(struct child *child)
{
	struct children *all = child->all;

	if (child->state == CHILD_ASKED)
		all->asked--;
	index_remove(all, child);
	free(child->reason);
	if (child->died)
		event_free(child->died);
	if (child->late)
		event_free(child->late);
	if (child->pidfd >= 0)
		close(child->pidfd);
	link_free(child->link);
	free(child);
}

/* Its last words first: what it had said before it died counts. */
static void hear_out(struct child *child)
{
	if (child->link)
		link_drain(child->link);
}

/* As waitid, which in glibc has no room for what the kernel tells of the time used. */
static int reap(int pidfd, siginfo_t *ret_info, struct rusage *ret_usage)
{
	return (int)syscall(SYS_waitid, P_PIDFD, pidfd, ret_info, WEXITED | WNOHANG, ret_usage);
}

static unsigned long long ticks_of(const struct timeval *tv)
{
	unsigned long long us =
		(unsigned long long)tv->tv_sec * 1000000 + (unsigned long long)tv->tv_usec;

	return us * (unsigned long long)sysconf(_SC_CLK_TCK) / 1000000;
}

static void on_died(evutil_socket_t fd, short what, void *arg)
{
	struct child *child = arg;
	siginfo_t info = {0};
	struct rusage usage = {0};

	(void)what;
	/* ECHILD: it is reaped already, by nobody we know; without a pid it has not exited after
	 * all */
	if (reap(fd, &info, &usage) < 0) {
		if (errno != ECHILD)
			return;
	} else if (info.si_pid == 0) {
		return;
	}
	event_del(child->died);
	/* a keeper's is that of its server, too */
	if (child->role != ROLE_KEEPER)
		child->cpu_ticks = ticks_of(&usage.ru_utime) + ticks_of(&usage.ru_stime);
	hear_out(child);
	child->all->ops->exited(child, info.si_code ? info.si_code : CLD_KILLED,
		info.si_pid ? info.si_status : SIGKILL, child->all->arg);
	child_free(child);
}

static int watch(struct child *child, struct err *err)
{
	child->died =
		event_new(child->all->base, child->pidfd, EV_READ | EV_PERSIST, on_died, child);
	if (!child->died || event_add(child->died, NULL) < 0)
		return err_set(err, ERR_NO_MEMORY, "cannot watch process %d", (int)child->pid);
	return 0;
}

/* --- birth ---------------------------------------------------------------------------------- */

static int child_new(struct children *all, enum role role, const char *name, uint64_t instance,
	int *ret_theirs, struct child **ret, struct err *err)
{
	const struct link_config config = {
		.self = ROLE_ROOT,
		.peer = {.role = role, .instance = instance},
		.opener = true,
	};
	struct child *child = calloc(1, sizeof(*child));
	int pair[2], r;

	if (!child)
		return err_set(err, ERR_NO_MEMORY, "no memory for a child");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		r = err_set_errno(err, "cannot make a link for %s %s", role_name(role), name);
		free(child);
		return r;
	}
	*child = (struct child){.instance = instance,
		.role = role,
		.pidfd = -1,
		.state = CHILD_ASKED,
		.born_ms = clock_ms(),
		.epoch = all->epoch,
		.all = all};
	snprintf(child->name, sizeof(child->name), "%s", name);
	r = link_new(all->base, pair[0], &config, all->ops->handlers, child, &child->link, err);
	if (r < 0) {
		close(pair[1]);
		free(child);
		return r;
	}
	index_add(all, child);
	make_current(all, child);
	all->asked++;
	*ret_theirs = pair[1];
	*ret = child;
	return 0;
}

/*
 * What processes of the node get of the root's environment; its other variables may be secrets
 * that ${VAR} in the configuration stands for. The first two rows are what the launcher hands on
 * to servers (launcher/recipes.c), the others are for the system's libraries.
 */
static const char *const kept_names[] = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG",
	"LANGUAGE", "TERM", "TZ", "TMPDIR",
	"LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "RES_OPTIONS", "LOCALDOMAIN",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF",
	"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "LLVM_PROFILE_FILE",
#ifdef GATEHOUSE_POINTS
	POINTS_FILE,
#endif
};
static const char *const kept_prefixes[] = {"LC_", "XDG_"};

static bool is_kept(const char *variable)
{
	size_t len = strcspn(variable, "=");

	for (size_t i = 0; i < sizeof(kept_names) / sizeof(*kept_names); i++)
		if (strlen(kept_names[i]) == len && strncmp(variable, kept_names[i], len) == 0)
			return true;
	for (size_t i = 0; i < sizeof(kept_prefixes) / sizeof(*kept_prefixes); i++)
		if (strncmp(variable, kept_prefixes[i], strlen(kept_prefixes[i])) == 0)
			return true;
	return false;
}

/* In the new process; the array is its own copy. */
static void reduce_environment(void)
{
	char **to = environ;

	for (char **from = environ; *from; from++)
		if (is_kept(*from))
			*to++ = *from;
	*to = NULL;
}

void child_begin_anew(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	reduce_environment();
}

/* In the new process: nothing but the standard descriptors and the link, no inherited mask or
 * disposition. */
static _Noreturn void become(const struct programs *programs, enum role role, int link_fd)
{
	char *argv[] = {(char *)(uintptr_t)role_program(role), NULL};
	struct err err = {0};

	/* what a terminal or a service manager sends to the whole group is for the root, which ends
	 * the others in order */
	setpgid(0, 0);
	if (link_fd == PROCESS_ROOT_FD)
		fcntl(link_fd, F_SETFD, 0);
	else
		dup2(link_fd, PROCESS_ROOT_FD);
	/* not closed at once: a log file is still needed when the program cannot be executed, and
	 * the program itself */
	close_range(PROCESS_ROOT_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	child_begin_anew();
	programs_exec(programs, role, argv, environ);
	err_set_errno(&err, "cannot execute %s/%s", programs->dir, role_program(role));
	log_error("process.start_failed", err_text(&err));
	_exit(127);
}

pid_t child_fork(int *ret_pidfd)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

int child_spawn(struct children *all, enum role role, const char *name, uint64_t instance,
	const struct programs *programs, struct child **ret_child, struct err *err)
{
	struct child *child = NULL;
	int theirs = -1, pidfd = -1, r;
	pid_t pid;

	r = child_new(all, role, name, instance, &theirs, &child, err);
	if (r < 0)
		return r;
	pid = child_fork(&pidfd);
	if (pid == 0)
		become(programs, role, theirs);
	close(theirs);
	if (pid < 0) {
		r = err_set_errno(err, "cannot fork %s %s", role_name(role), name);
		child_free(child);
		return r;
	}
	set_made(child, pid, pidfd);
	r = watch(child, err);
	if (r < 0) {
		child_kill(child);
		waitid(P_PIDFD, (id_t)child->pidfd, &(siginfo_t){0}, WEXITED);
		child_free(child);
		return r;
	}
	*ret_child = child;
	return 0;
}

int child_expect(struct children *all, enum role role, const char *name, uint64_t instance,
	const struct child *maker, int *ret_fd, struct child **ret_child, struct err *err)
{
	int r = child_new(all, role, name, instance, ret_fd, ret_child, err);

	if (r == 0)
		(*ret_child)->epoch = maker->epoch;
	return r;
}

int child_take_up(struct child *child, bool current, struct err *err)
{
	struct children *all = child->all;

	index_add(all, child);
	if (current)
		make_current(all, child);
	if (child->state == CHILD_ASKED) {
		all->asked++;
		return 0;
	}
	if (child->lost)
		return 0;
	HASH_ADD(hh_pid, all->by_pid, pid, sizeof(child->pid), child);
	return watch(child, err);
}

void child_mourn(struct child *child)
{
	hear_out(child);
	child->all->ops->exited(child, CLD_KILLED, SIGKILL, child->all->arg);
	child_free(child);
}

int child_made(struct child *child, pid_t pid, int pidfd, struct err *err)
{
	siginfo_t info = {0};

	/* only a child of ours can be waited for */
	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
		close(pidfd);
		return err_set(
			err, ERR_PROTOCOL, "process %d is not a child of the root", (int)pid);
	}
	set_made(child, pid, pidfd);
	return watch(child, err);
}

void child_failed(struct child *child)
{
	child_free(child);
}

/* --- signals -------------------------------------------------------------------------------- */

static void child_signal(struct child *child, int sig)
{
	if (child->pidfd >= 0)
		pidfd_send_signal(child->pidfd, sig, NULL, 0);
}

void child_stop(struct child *child, uint32_t deadline_ms)
{
	const struct msg_stop stop = {
		.deadline_ms = deadline_ms, .successor = child->replaced || child->hands_on};

	child->state = child->state == CHILD_ASKED ? CHILD_ASKED : CHILD_STOPPING;
	if (!child->link || link_post(child->link, MSG_STOP, 0, &stop) < 0)
		child_signal(child, SIGTERM);
}

void child_kill(struct child *child)
{
	child_signal(child, SIGKILL);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	child_kill(arg);
}

void child_kill_later(struct child *child, uint32_t ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	if (child->state == CHILD_ASKED || child->late)
		return;
	child->late_ms = clock_ms() + ms;
	child->late = evtimer_new(child->all->base, on_late, child);
	if (!child->late || event_add(child->late, &tv) < 0)
		child_kill(child);
}

void child_spare(struct child *child)
{
	if (child->late)
		event_free(child->late);
	child->late = NULL;
	child->late_ms = 0;
}

void child_let_go(struct child *child)
{
	link_free(child->link);
	child->link = NULL;
	child_kill_later(child, LET_GO_MS);
}

void child_set_reason(struct child *child, struct span reason)
{
	free(child->reason);
	child->reason = reason.len ? strndup(reason.p, reason.len) : NULL;
}

/* --- orphans -------------------------------------------------------------------------------- */

static bool is_child(const struct children *all, pid_t pid)
{
	const struct child *child;

	HASH_FIND(hh_pid, all->by_pid, &pid, sizeof(pid), child);
	return child != NULL || pid == all->stranger;
}

unsigned children_kill_orphans(struct children *all)
{
	char path[64];
	unsigned left = 0;
	FILE *list;
	pid_t pid;

	/* a process made for us a moment ago is no orphan, though its pid is not told yet */
	if (all->asked > 0)
		return 1;
	if (!POINT(GROUP))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "re");
	if (!list)
		return 0;
	while (fscanf(list, "%d", &pid) == 1) {
		siginfo_t info = {0};

		if (is_child(all, pid))
			continue;
		/* unreaped children keep their pid: no other process can have it */
		kill(pid, SIGKILL);
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
			left++;
	}
	fclose(list);
	return left;
}
