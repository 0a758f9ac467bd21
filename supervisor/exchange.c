#include "exchange.h"
#include "clock.h"
#include "log.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A state that takes longer to write down is not written in each turn: at most this share of the time goes into it. */
#define CHECKPOINT_CHEAP_US 2000u
#define CHECKPOINT_SHARE 20u
#define BECAUSE_MAX ERR_DETAIL_MAX
#define ARGUMENTS_MAX (2 * NODE_LISTEN_OPTIONS_MAX + 24)

static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};

/* A state to go back with. */
struct way_back {
	int fd; /* of the state */
	struct memfile state;
	int program; /* the former root's */
	char resume[16];
};

/*
 * What a fatal signal finds ready: its handler may not allocate. At any moment one of the two ways is whole.
 */
static struct {
	struct way_back ways[2];
	volatile sig_atomic_t way; /* which; -1: nobody is on guard */
	char resume[16], because[BECAUSE_MAX];
	char *argv[ARGUMENTS_MAX];
	uint64_t cost_us, next_us;
	struct event *due; /* for the state that was not written down when it was too early */
	char stack[65536] __attribute__((aligned(16)));
} guard = {.way = -1};

/* --- descriptors over the exec ---------------------------------------------------------------- */

static void keep_open(int fd, void *arg)
{
	(void)arg;
	fcntl(fd, F_SETFD, 0);
}

static void close_on_exec(int fd, void *arg)
{
	(void)arg;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* --- arguments ------------------------------------------------------------------------------------ */

/* Those the node was started with, and where the state is. They borrow from options, resume and because. */
static void write_arguments(const struct node_options *options, char *resume, char *because,
	char **argv)
{
	unsigned n = 0;

	argv[n++] = (char *)(uintptr_t)role_program(ROLE_ROOT);
	argv[n++] = (char *)(uintptr_t)"--config";
	argv[n++] = (char *)(uintptr_t)options->config;
	for (unsigned i = 0; i < options->n_listen; i++) {
		argv[n++] = (char *)(uintptr_t)"--listen";
		argv[n++] = (char *)(uintptr_t)options->listen[i];
	}
	if (options->state) {
		argv[n++] = (char *)(uintptr_t)"--state";
		argv[n++] = (char *)(uintptr_t)options->state;
	}
	if (options->socket) {
		argv[n++] = (char *)(uintptr_t)"--socket";
		argv[n++] = (char *)(uintptr_t)options->socket;
	}
	if (options->dev)
		argv[n++] = (char *)(uintptr_t)"--dev";
	else if (options->watch)
		argv[n++] = (char *)(uintptr_t)"--watch";
	if (options->private)
		argv[n++] = (char *)(uintptr_t)"--private";
	argv[n++] = (char *)(uintptr_t)"--resume";
	argv[n++] = resume;
	if (because) {
		argv[n++] = (char *)(uintptr_t)"--because";
		argv[n++] = because;
	}
	argv[n] = NULL;
}

/* --- going over --------------------------------------------------------------------------------- */

/* Everything that happened until now, signals included, is still this program's to hear. */
static void hear_out(struct node *node)
{
	event_base_loop(node->base, EVLOOP_NONBLOCK);
	node_turn(node);
}

static int execute(struct node *node, const struct programs *programs, int fd, const char *because,
	struct err *err)
{
	char resume[16], reason[BECAUSE_MAX];
	char *argv[ARGUMENTS_MAX];
	struct memfile map = MEMFILE_NONE;
	struct span values;
	int r = state_open(fd, &map, &values, err);

	if (r < 0)
		return r;
	snprintf(resume, sizeof(resume), "%d", fd);
	snprintf(reason, sizeof(reason), "%s", because ? because : "");
	write_arguments(node->options, resume, because ? reason : NULL, argv);
	saved_each_fd(values, keep_open, NULL);
	keep_open(fd, NULL);
	log_flush();
	programs_exec(programs, ROLE_ROOT, argv, environ);
	r = err_set_errno(err, "cannot execute %s/%s", programs->dir, role_program(ROLE_ROOT));
	saved_each_fd(values, close_on_exec, NULL);
	memfile_unmap(&map);
	return r;
}

int exchange_to(struct node *node, const struct programs *programs, const char *because,
	struct err *err)
{
	sigset_t all, mask;
	int fd = -1, r = 0;

	/* their handlers end with this program; what comes now waits for those of the next */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &mask);
	hear_out(node);
	if (node->stopping || node->finished)
		r = err_set(err, ERR_DRAINING, "the node stops");
	if (r == 0)
		r = state_save(node, &fd, err);
	if (r == 0)
		r = execute(node, programs, fd, because, err);
	if (fd >= 0)
		close(fd);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return r;
}

int exchange_open(int fd, struct memfile *ret_map, struct span *ret_values, struct err *err)
{
	int r = state_open(fd, ret_map, ret_values, err);

	if (r == 0)
		saved_each_fd(*ret_values, close_on_exec, NULL);
	close_on_exec(fd, NULL);
	return r;
}

void exchange_take_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* --- and back ------------------------------------------------------------------------------------- */

/* Async-signal-safe. */
static void go_back(void)
{
	const struct way_back *way = &guard.ways[guard.way];
	struct span values;
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (saved_read(memfile_span(&way->state), STATE_VERSION, STATE_OLDEST, &values, NULL) < 0)
		return;
	saved_each_fd(values, keep_open, NULL);
	keep_open(way->fd, NULL);
	memcpy(guard.resume, way->resume, sizeof(guard.resume));
	execveat(way->program, "", guard.argv, environ, AT_EMPTY_PATH);
}

static void on_fatal(int sig)
{
	static const char words[] = "the new root was ended by signal ";
	size_t n = sizeof(words) - 1;

	memcpy(guard.because, words, n);
	if (sig >= 10)
		guard.because[n++] = (char)('0' + sig / 10);
	guard.because[n++] = (char)('0' + sig % 10);
	guard.because[n] = '\0';
	go_back();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* The former root's descriptor in a saved state, whatever else is there. */
static int former_root(struct span values)
{
	return saved_get_fd(saved_get_object(values, "former"), role_program(ROLE_ROOT));
}

static void free_way(struct way_back *way)
{
	memfile_unmap(&way->state);
	close(way->fd);
}

/* Takes over fd, if it names a former program. */
static bool take_guard(int fd)
{
	int former = guard.way, next = former == 0 ? 1 : 0;
	struct way_back *way = &guard.ways[next];
	struct span values;

	*way = (struct way_back){.fd = fd};
	if (state_open(fd, &way->state, &values, NULL) < 0)
		return false;
	way->program = former_root(values);
	if (way->program < 0) {
		memfile_unmap(&way->state);
		return false;
	}
	snprintf(way->resume, sizeof(way->resume), "%d", fd);
	guard.way = next;
	if (former >= 0)
		free_way(&guard.ways[former]);
	return true;
}

void exchange_give_back(const struct node_options *options, int fd, const char *because)
{
	if (guard.way < 0 && !take_guard(dup(fd)))
		return;
	write_arguments(options, guard.resume, guard.because, guard.argv);
	snprintf(guard.because, sizeof(guard.because), "%s", because);
	log_flush();
	go_back();
}

void exchange_guard(const struct node_options *options, int fd)
{
	const stack_t stack = {.ss_sp = guard.stack, .ss_size = sizeof(guard.stack)};
	struct sigaction action = {.sa_handler = on_fatal, .sa_flags = SA_ONSTACK | SA_RESETHAND};
	sigset_t those;

	if (!take_guard(fd)) {
		close(fd);
		return;
	}
	write_arguments(options, guard.resume, guard.because, guard.argv);
	sigaltstack(&stack, NULL);
	sigfillset(&action.sa_mask);
	sigemptyset(&those);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++) {
		sigaction(fatal[i], &action, NULL);
		sigaddset(&those, fatal[i]);
	}
	/* blocked over the exec: the kernel ends at once who commits one of them so */
	sigprocmask(SIG_UNBLOCK, &those, NULL);
}

/* The loop turns once more; that is all. */
static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void postpone(struct node *node, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

	if (!guard.due)
		guard.due = evtimer_new(node->base, on_due, NULL);
	if (guard.due && !evtimer_pending(guard.due, NULL))
		event_add(guard.due, &tv);
}

void exchange_checkpoint(struct node *node)
{
	uint64_t began = clock_us();
	struct err err = {0};
	int fd;

	if (guard.way < 0 || node->finished)
		return;
	if (began < guard.next_us) {
		postpone(node, guard.next_us - began);
		return;
	}
	if (state_save(node, &fd, &err) < 0)
		return;
	if (!take_guard(fd))
		close(fd);
	guard.cost_us = clock_us() - began;
	guard.next_us = guard.cost_us > CHECKPOINT_CHEAP_US
				? clock_us() + guard.cost_us * CHECKPOINT_SHARE
				: 0;
}

void exchange_unguard(void)
{
	if (guard.way < 0)
		return;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		signal(fatal[i], SIG_DFL);
	free_way(&guard.ways[guard.way]);
	guard.way = -1;
	if (guard.due)
		event_free(guard.due);
	guard.due = NULL;
}
