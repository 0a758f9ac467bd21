#include "supervisor_node.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

unsigned long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned long)ts.tv_sec * 1000 + (unsigned long)ts.tv_nsec / 1000000;
}

void pause_ms(unsigned ms)
{
	const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

/* --- life ----------------------------------------------------------------------------------- */

void node_configure(const struct test_node *node, const char *more)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/node.yaml", node->dir);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fprintf(file,
		"state: ./state\nadmin: {socket: ./run/admin.sock}\nlog: {format: json}\n"
		"gateways: 2\nworker: {warm: 2}\ndrain: {timeout: 2s}\n%s%s",
		strstr(more, "listen:") ? "" : "listen: [http://127.0.0.1:0]\n", more);
	fclose(file);
}

void node_prepare(struct test_node *node, const char *more)
{
	snprintf(node->dir, sizeof(node->dir), "/tmp/gatehouse-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(node->dir));
	snprintf(node->log, sizeof(node->log), "%s/log", node->dir);
	/* XDG_*: of the environment that the root hands on */
	snprintf(node->mark, sizeof(node->mark), "XDG_GATEHOUSE_TEST=%s", node->dir);
	node->pid = 0;
	node_configure(node, more);
}

void node_launch(struct test_node *node, const char *program)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/node.yaml", node->dir);
	node->pid = fork();
	ck_assert_int_ge(node->pid, 0);
	if (node->pid == 0) {
		int log = open(node->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

		dup2(log, 1);
		dup2(log, 2);
		putenv((char *)(uintptr_t)node->mark);
		/* a leak at the end would be taken for a death */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
		if (node->before_exec)
			node->before_exec();
		execl(program ? program : SUPERVISOR_PROGRAM, "gatehouse-supervisor", "--config",
			path, NULL);
		_exit(127);
	}
}

static void show_log(const struct test_node *node)
{
	char line[2048];
	FILE *file = fopen(node->log, "re");

	while (file && fgets(line, sizeof(line), file))
		fputs(line, stderr);
	if (file)
		fclose(file);
}

void node_start(struct test_node *node, const char *program)
{
	unsigned ready = node_log_count(node, "node.ready", "");

	node_launch(node, program);
	if (!node_await_log(node, "node.ready", "", ready + 1, 20000)) {
		show_log(node);
		ck_abort_msg("the node does not get ready");
	}
}

int node_wait(struct test_node *node, unsigned ms)
{
	unsigned long until = now_ms() + ms;
	int status;

	while (waitpid(node->pid, &status, WNOHANG) == 0) {
		if (now_ms() > until) {
			show_log(node);
			ck_abort_msg("the node does not end");
		}
		pause_ms(5);
	}
	node->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void node_remove(struct test_node *node)
{
	char command[128];

	if (node->pid > 0) {
		kill(node->pid, SIGKILL);
		waitpid(node->pid, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf -- '%s'", node->dir);
	ck_assert_int_eq(system(command), 0);
}

/* --- processes ------------------------------------------------------------------------------ */

static bool runs_program(pid_t pid, const char *what)
{
	char path[64], target[512], name[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	snprintf(name, sizeof(name), "gatehouse-%s", what);
	return strcmp(basename(target), name) == 0;
}

static char state_of(pid_t pid)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (file)
		fclose(file);
	return state;
}

/* A forked process has its maker's file, and gives itself a name of its own. */
static bool is_forked(pid_t pid)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (file && !fgets(name, sizeof(name), file))
		name[0] = '\0';
	if (file)
		fclose(file);
	return strncmp(name, "gatehouse-sessn", 15) == 0 ||
	       strncmp(name, "gatehouse-keepe", 15) == 0;
}

struct pids node_find(const struct test_node *node, const char *what)
{
	const char *program = strcmp(what, "zygote") == 0 ? "worker" : what;
	bool forked = strcmp(what, "worker") == 0;
	struct pids found = {.n = 0};
	char path[64];
	FILE *file;
	int pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)node->pid, (int)node->pid);
	file = fopen(path, "re");
	while (file && fscanf(file, "%d", &pid) == 1 && found.n < NODE_PIDS_MAX)
		if (runs_program(pid, program) && state_of(pid) != 'Z' && is_forked(pid) == forked)
			found.pid[found.n++] = pid;
	if (file)
		fclose(file);
	return found;
}

bool pids_equal(const struct pids *a, const struct pids *b)
{
	return a->n == b->n && memcmp(a->pid, b->pid, a->n * sizeof(*a->pid)) == 0;
}

static bool have_common(const struct pids *a, const struct pids *b)
{
	for (unsigned i = 0; i < a->n; i++)
		for (unsigned j = 0; j < b->n; j++)
			if (a->pid[i] == b->pid[j])
				return true;
	return false;
}

struct pids node_await_new(const struct test_node *node, const char *what, unsigned n,
	const struct pids *former, unsigned ms)
{
	unsigned long until = now_ms() + ms;
	struct pids now;

	for (;;) {
		now = node_find(node, what);
		if (now.n == n && !(former && have_common(&now, former)))
			return now;
		if (now_ms() > until) {
			show_log(node);
			ck_abort_msg("%u instead of %u new processes of %s", now.n, n, what);
		}
		pause_ms(5);
	}
}

pid_t node_one(const struct test_node *node, const char *what)
{
	unsigned long until = now_ms() + 5000;
	struct pids found = node_find(node, what);

	while (found.n == 0 && now_ms() < until) {
		pause_ms(5);
		found = node_find(node, what);
	}
	ck_assert_msg(found.n > 0, "no %s", what);
	return found.pid[0];
}

static bool has_mark(const char *pid, const char *mark)
{
	char path[300], text[16384];
	size_t n, len = strlen(mark) + 1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/environ", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text), file);
	fclose(file);
	return memmem(text, n, mark, len) != NULL;
}

unsigned node_processes(const struct test_node *node)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	unsigned n = 0;

	while ((entry = readdir(dir)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			has_mark(entry->d_name, node->mark))
			n++;
	closedir(dir);
	return n;
}

bool node_await_no_process(const struct test_node *node, unsigned ms)
{
	unsigned long until = now_ms() + ms;

	while (node_processes(node) > 0) {
		if (now_ms() > until)
			return false;
		pause_ms(10);
	}
	return true;
}

unsigned open_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

unsigned resident_kb(pid_t pid)
{
	char path[64];
	unsigned pages = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	if (file && fscanf(file, "%*u %u", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages * (unsigned)(sysconf(_SC_PAGESIZE) / 1024);
}

/* --- log ------------------------------------------------------------------------------------ */

unsigned node_log_count(const struct test_node *node, const char *one, const char *other)
{
	char line[4096];
	unsigned n = 0;
	FILE *file = fopen(node->log, "re");

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, one) && strstr(line, other))
			n++;
	if (file)
		fclose(file);
	return n;
}

bool node_await_log(
	const struct test_node *node, const char *one, const char *other, unsigned n, unsigned ms)
{
	unsigned long until = now_ms() + ms;

	while (node_log_count(node, one, other) < n) {
		if (now_ms() > until)
			return false;
		pause_ms(10);
	}
	return true;
}
