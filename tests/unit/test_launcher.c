/*
 * launcher/: the real program under a small root (launcher_node.h), with real servers. Each test
 * runs twice: with all the layers this machine allows, and without pid namespaces and cgroups.
 */
#include "clock.h"
#include "launcher_node.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define MARK "GATEHOUSE_TEST_MARK"
#define SECRET "hush-8f3a-1c77-never-told"

static char self[4096];
static char mark[128];
static struct node node;

/* %1$s: this program, %2$s: the mark's value, %3$s and %4$s: two scripts */
static const char config_format[] =
	"mcpServers:\n"
	"  cat: { command: cat, env: { " MARK ": '%2$s', TOKEN: '" SECRET "' } }\n"
	"  missing: { command: no-such-program-here }\n"
	"  file: { command: /etc/passwd }\n"
	"  nofolder: { command: cat, cwd: /no/such/folder }\n"
	"  badscript: { command: '%3$s' }\n"
	"  plainscript: { command: '%4$s', args: [ one, 'two words' ] }\n"
	"  stderr: { command: sh, args: [ -c, 'echo complaint >&2; cat' ] }\n"
	"  stubborn: { command: '%1$s', args: [ stubborn ], env: { " MARK ": '%2$s' } }\n"
	"  polite: { command: sh, args: [ -c, 'trap \"exit 7\" TERM; echo up;"
	" while :; do sleep 0.02; done' ], env: { " MARK ": '%2$s' } }\n"
	"  wrapper: { command: sh, args: [ -c, 'sleep 1000 & sh -c \"sleep 1001 & wait\" &"
	" echo up; wait' ], env: { " MARK ": '%2$s' } }\n"
	"  daemon: { command: sh, args: [ -c, '(setsid sh -c \"sleep 1000 & sleep 1001\""
	" </dev/null >/dev/null 2>&1 &); sleep 0.1; echo up; read x; exit 5' ],"
	" env: { " MARK ": '%2$s' } }\n"
	"  swarm: { command: sh, args: [ -c, 'i=0; while [ $i -lt 100 ]; do setsid sleep 1000 &"
	" i=$((i+1)); done; echo up; while :; do sleep 0.01; done' ],"
	" env: { " MARK ": '%2$s' } }\n"
	"  probe: { command: '%1$s', args: [ probe ], env: { GREETING: 'hello you' }, cwd: /tmp }\n"
	"  quick: { command: 'true' }\n"
	"  remote: { url: 'http://127.0.0.1:1/mcp', type: http }\n"
	"  off: { command: cat, disabled: true }\n";

static char script_dir[] = "/tmp/gatehouse-launcher-XXXXXX";
static char bad_script[64], plain_script[64];

static void write_script(char *path, size_t size, const char *name, const char *text)
{
	FILE *file;

	snprintf(path, size, "%s/%s", script_dir, name);
	file = fopen(path, "we");
	if (!file)
		abort();
	fputs(text, file);
	fclose(file);
	chmod(path, 0755);
}

static char *config_text(void)
{
	char *text = NULL;

	ck_assert_int_gt(asprintf(&text, config_format, self, strchr(mark, '=') + 1, bad_script,
				 plain_script),
		0);
	return text;
}

static void start(int poor)
{
	char *text;

	snprintf(
		mark, sizeof(mark), MARK "=%d-%llu", (int)getpid(), (unsigned long long)clock_us());
	text = config_text();
	node_start(&node, text, poor);
	free(text);
	ck_assert(node.launcher_ready);
}

static void finish(void)
{
	node_end(&node);
	ck_assert_uint_eq(count_marked(mark), 0);
}

/* So many processes of the server are there. */
static void await_marked(unsigned count)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (count_marked(mark) < count && clock_ms() < end)
		usleep(5000);
	ck_assert_uint_ge(count_marked(mark), count);
}

static void await_exit(struct kept *kept, const char *reason)
{
	int status;

	if (!node_wait(&node, &kept->exited, PATIENCE_MS))
		ck_abort_msg("no SERVER_EXITED");
	ck_assert_str_eq(kept->reason, reason);
	ck_assert(node_wait(&node, &kept->closed, PATIENCE_MS));
	ck_assert(node_keeper_gone(kept, PATIENCE_MS, &status));
	ck_assert_int_eq(status, 0);
}

/* --- starting ------------------------------------------------------------------------------- */

START_TEST(test_cat)
{
	struct kept *kept;
	char line[100];

	start(_i);
	kept = node_launch_ready(&node, "cat");
	ck_assert_int_gt(kept->pid, 0);
	ck_assert_int_eq(kill(kept->pid, 0), 0);
	node_say(kept, "{\"jsonrpc\":\"2.0\"}");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "{\"jsonrpc\":\"2.0\"}");
	node_close_input(kept);
	node_stop_server(kept, 5000);
	await_exit(kept, "exit 0");
	/* nobody else holds the other ends */
	node_hear_all(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "");
	finish();
}
END_TEST

static const struct {
	const char *server;
	const char *reason;
} refused[] = {
	{"missing", "cannot run 'no-such-program-here': not found in PATH "},
	{"file", "cannot run '/etc/passwd': Permission denied"},
	{"remote", "no server 'remote' with a command"},
	{"off", "no server 'off' with a command"},
	{"nobody", "no server 'nobody' with a command"},
};

START_TEST(test_refused)
{
	start(false);
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		struct kept *kept = node_launch(&node, refused[i].server);

		ck_assert(node_wait(&node, &kept->refused, PATIENCE_MS));
		if (strncmp(kept->reason, refused[i].reason, strlen(refused[i].reason)) != 0)
			ck_abort_msg("%s: %s", refused[i].server, kept->reason);
		/* our end of its link shows that nothing holds the other */
		ck_assert(node_wait(&node, &kept->closed, PATIENCE_MS));
		ck_assert(!kept->launched);
	}
	finish();
}
END_TEST

START_TEST(test_exec_failure)
{
	char expected[200];
	struct kept *kept;

	start(_i);
	kept = node_launch(&node, "badscript");
	snprintf(expected, sizeof(expected),
		"cannot run '%s': the interpreter of %s: No such file or directory", bad_script,
		bad_script);
	await_exit(kept, expected);
	ck_assert(!kept->ready);
	kept = node_launch(&node, "nofolder");
	await_exit(kept,
		"cannot run 'cat': cannot enter its folder /no/such/folder: No such file or "
		"directory");
	ck_assert(!kept->ready);
	finish();
}
END_TEST

/* READY comes even from one that is gone at once. */
START_TEST(test_quick)
{
	start(_i);
	for (int i = 0; i < 20; i++) {
		struct kept *kept = node_launch(&node, "quick");

		await_exit(kept, "exit 0");
		ck_assert(kept->ready);
	}
	finish();
}
END_TEST

START_TEST(test_script_without_interpreter)
{
	struct kept *kept;
	char line[100];

	start(_i);
	kept = node_launch_ready(&node, "plainscript");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "2 one/two words");
	await_exit(kept, "exit 3");
	finish();
}
END_TEST

START_TEST(test_stderr)
{
	struct kept *kept;
	char line[100];

	start(_i);
	kept = node_launch_ready(&node, "stderr");
	node_hear(kept->err, line, sizeof(line));
	ck_assert_str_eq(line, "complaint");
	finish();
}
END_TEST

/*
 * Descriptors run out at each step in turn: the launch is refused, or it is not, or the launcher
 * can no longer hear; never is a process left that nobody knows.
 */
START_TEST(test_few_descriptors)
{
	unsigned launched = 0, not_launched = 0;

	start(false);
	for (rlim_t limit = 24; limit > 4 && !node.launcher_closed; limit--) {
		const struct rlimit few = {limit, limit};
		struct kept *kept;

		ck_assert_int_eq(prlimit(node.launcher_pid, RLIMIT_NOFILE, &few, NULL), 0);
		kept = node_launch(&node, "cat");
		while (!kept->ready && !kept->refused && !node.launcher_closed &&
			!(kept->launched && kept->closed))
			node_wait(&node, &kept->ready, 5);
		launched += kept->ready;
		not_launched += kept->refused;
		if (kept->refused)
			ck_assert_ptr_nonnull(strstr(kept->reason, "cat"));
		if (kept->link)
			node_drop(kept);
	}
	ck_assert_uint_ge(launched, 1);
	ck_assert_uint_ge(not_launched, 2);
	ck_assert_uint_eq(count_marked_after(mark, 1000), 0);
	finish();
}
END_TEST

static void expect_line(struct kept *kept, const char *expected)
{
	char line[4096];

	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, expected);
}

/* What a server finds when it looks around. */
START_TEST(test_hygiene)
{
	struct kept *kept;
	char text[8192];

	setenv("GATEHOUSE_PRIVATE", "not for servers", 1);
	setenv("XDG_DATA_HOME", "/tmp/xdg", 1);
	setenv("LC_TIME", "C", 1);
	start(_i);
	kept = node_launch_ready(&node, "probe");
	expect_line(kept, "descriptors 0 1 2");
	expect_line(kept, "masked 0 ignored 0");
	expect_line(kept, "core 0");
	expect_line(kept, "leader 1");
	expect_line(kept, "oom 500");
	expect_line(kept, "proc 1");
	expect_line(kept, "folder /tmp");
	node_hear_all(kept->out, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "PATH="));
	ck_assert_ptr_nonnull(strstr(text, "GREETING=hello you\n"));
	ck_assert_ptr_nonnull(strstr(text, "XDG_DATA_HOME=/tmp/xdg\n"));
	ck_assert_ptr_nonnull(strstr(text, "LC_TIME=C\n"));
	ck_assert_ptr_null(strstr(text, "GATEHOUSE_PRIVATE"));
	await_exit(kept, "exit 0");
	finish();
}
END_TEST

/* --- ending --------------------------------------------------------------------------------- */

START_TEST(test_stop_stubborn)
{
	const uint32_t grace = 200;
	struct kept *kept;
	uint64_t begin, took;

	start(_i);
	kept = node_launch_ready(&node, "stubborn");
	expect_line(kept, "up");
	node_close_input(kept);
	begin = clock_ms();
	node_stop_server(kept, grace);
	await_exit(kept, "signal 9 (Killed)");
	took = clock_ms() - begin;
	ck_assert_uint_ge(took, (uint64_t)2 * grace - 10);
	ck_assert_uint_le(took, 2 * grace + 1000);
	finish();
}
END_TEST

START_TEST(test_stop_polite)
{
	struct kept *kept;

	start(_i);
	kept = node_launch_ready(&node, "polite");
	expect_line(kept, "up");
	node_close_input(kept);
	/* said again, it becomes quicker */
	node_stop_server(kept, 10000);
	node_stop_server(kept, 100);
	await_exit(kept, "exit 7");
	finish();
}
END_TEST

START_TEST(test_stop_by_root)
{
	const struct msg_stop stop = {.deadline_ms = 300};
	struct kept *kept;

	start(_i);
	kept = node_launch_ready(&node, "stubborn");
	expect_line(kept, "up");
	ck_assert_int_eq(link_post(kept->link, MSG_STOP, 0, &stop), 0);
	await_exit(kept, "signal 9 (Killed)");
	finish();
}
END_TEST

START_TEST(test_stop_wrapper)
{
	struct kept *kept;

	start(_i);
	kept = node_launch_ready(&node, "wrapper");
	expect_line(kept, "up");
	await_marked(4);
	node_close_input(kept);
	node_stop_server(kept, 100);
	await_exit(kept, "signal 15 (Terminated)");
	ck_assert_uint_eq(count_marked(mark), 0);
	finish();
}
END_TEST

/* The server goes by itself; its daemon, in another session, goes with it. */
START_TEST(test_daemon)
{
	struct kept *kept;

	start(_i);
	kept = node_launch_ready(&node, "daemon");
	expect_line(kept, "up");
	await_marked(4);
	node_close_input(kept);
	await_exit(kept, "exit 5");
	ck_assert_uint_eq(count_marked(mark), 0);
	finish();
}
END_TEST

START_TEST(test_stop_swarm)
{
	struct kept *kept;

	start(_i);
	kept = node_launch_ready(&node, "swarm");
	expect_line(kept, "up");
	await_marked(90);
	node_stop_server(kept, 0);
	node_wait(&node, &kept->exited, PATIENCE_MS);
	ck_assert_uint_eq(count_marked(mark), 0);
	await_exit(kept, kept->reason);
	finish();
}
END_TEST

/* --- deaths --------------------------------------------------------------------------------- */

static const char *const victims[] = {"cat", "stubborn", "wrapper", "daemon", "swarm"};
#define VICTIMS (sizeof(victims) / sizeof(*victims))

START_TEST(test_root_gone)
{
	struct kept *kept[VICTIMS];
	int status;

	start(_i);
	for (size_t i = 0; i < VICTIMS; i++)
		kept[i] = node_launch_ready(&node, victims[i]);
	for (size_t i = 1; i < VICTIMS; i++)
		expect_line(kept[i], "up");
	await_marked(100);
	for (size_t i = 0; i < VICTIMS; i++)
		node_drop(kept[i]);
	ck_assert_uint_eq(count_marked_after(mark, 1000), 0);
	for (size_t i = 0; i < VICTIMS; i++) {
		ck_assert(node_keeper_gone(kept[i], 1000, &status));
		ck_assert_int_eq(status, 1);
	}
	finish();
}
END_TEST

/* The link is gone before the keeper has been told anything. */
START_TEST(test_root_gone_early)
{
	start(_i);
	for (int i = 0; i < 10; i++) {
		struct kept *kept = node_launch(&node, "cat");

		node_wait(&node, &kept->closed, (unsigned)i);
		if (kept->link)
			link_flush(node.launcher);
		node_drop(kept);
		ck_assert(node_wait(&node, &kept->launched, PATIENCE_MS));
		ck_assert(node_keeper_gone(kept, 1000, NULL));
	}
	ck_assert_uint_eq(count_marked_after(mark, 1000), 0);
	finish();
}
END_TEST

START_TEST(test_launcher_killed)
{
	struct kept *kept;
	char line[100];

	start(_i);
	kept = node_launch_ready(&node, "cat");
	kill(node.launcher_pid, SIGKILL);
	ck_assert(node_wait(&node, &node.launcher_closed, PATIENCE_MS));
	ck_assert_int_eq(waitpid(node.launcher_pid, NULL, 0), node.launcher_pid);
	node_say(kept, "still there");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "still there");
	node_close_input(kept);
	node_stop_server(kept, 5000);
	await_exit(kept, "exit 0");
	finish();
}
END_TEST

/* The folder of the cgroup that was made for this server, or "". */
static void find_cgroup(pid_t pid, char *folder, size_t size)
{
	static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	char path[64], line[256];
	FILE *file;

	folder[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		for (int i = 0; i < 2 && strncmp(line, "0::", 3) == 0; i++) {
			snprintf(folder, size, "%s%s", mounts[i], line + 3);
			if (strstr(line, "/gatehouse-") && access(folder, F_OK) == 0)
				break;
			folder[0] = '\0';
		}
	}
	if (file)
		fclose(file);
}

/* What a killed keeper leaves, the next launcher removes. */
static void expect_swept(int poor, const char *folder)
{
	finish();
	start(poor);
	node_launch_ready(&node, "cat");
	ck_assert(folder[0] == '\0' || access(folder, F_OK) < 0);
	finish();
}

START_TEST(test_keeper_killed)
{
	struct kept *kept;
	char cgroup[400];

	start(_i);
	kept = node_launch_ready(&node, "stubborn");
	expect_line(kept, "up");
	find_cgroup(kept->pid, cgroup, sizeof(cgroup));
	kill(kept->keeper, SIGKILL);
	ck_assert(node_wait(&node, &kept->closed, PATIENCE_MS));
	ck_assert_uint_eq(count_marked_after(mark, 1000), 0);
	expect_swept(_i, cgroup);
}
END_TEST

/* In a pid namespace everything dies with its init. (Without, what is left comes to the root, which
 * kills it.) */
START_TEST(test_keeper_killed_namespace)
{
	char ours[64] = "", theirs[64] = "", path[64], cgroup[400];
	struct kept *kept;

	start(false);
	kept = node_launch_ready(&node, "swarm");
	expect_line(kept, "up");
	find_cgroup(kept->pid, cgroup, sizeof(cgroup));
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)kept->keeper);
	ck_assert_int_gt(readlink("/proc/self/ns/pid", ours, sizeof(ours) - 1), 0);
	if (readlink(path, theirs, sizeof(theirs) - 1) > 0 && strcmp(ours, theirs) != 0) {
		kill(kept->keeper, SIGKILL);
		ck_assert(node_wait(&node, &kept->closed, PATIENCE_MS));
		ck_assert_uint_eq(count_marked_after(mark, 1000), 0);
	}
	expect_swept(false, cgroup);
}
END_TEST

/* --- configuration, secrets, numbers -------------------------------------------------------- */

START_TEST(test_reload)
{
	struct kept *kept;
	char line[100];

	start(_i);
	kept = node_launch_ready(&node, "cat");
	node_configure(&node, "mcpServers:\n  other: { command: sh, args: [ -c, 'echo $WORD' ], "
			      "env: { WORD: hi } }\n");
	kept = node_launch_ready(&node, "other");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "hi");
	await_exit(kept, "exit 0");
	kept = node_launch(&node, "cat");
	ck_assert(node_wait(&node, &kept->refused, PATIENCE_MS));
	finish();
}
END_TEST

/* How often text stands in the memory of a process; -1 when it may not be read. */
static int count_in_memory(pid_t pid, const char *text)
{
	char path[64], line[512];
	int count = 0, memory;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (memory < 0 || !maps)
		return -1;
	while (fgets(line, sizeof(line), maps)) {
		unsigned long begin, end;
		char perms[8], *bytes, *at;
		ssize_t len;

		if (sscanf(line, "%lx-%lx %7s", &begin, &end, perms) != 3 || perms[0] != 'r' ||
			end - begin > 64u << 20)
			continue;
		bytes = malloc(end - begin);
		len = pread(memory, bytes, end - begin, (off_t)begin);
		for (at = bytes; len > 0 &&
				 (at = memmem(at, (size_t)(bytes + len - at), text, strlen(text)));
			at++)
			count++;
		free(bytes);
	}
	fclose(maps);
	close(memory);
	return count;
}

START_TEST(test_secrets)
{
	struct kept *kept;
	int in_launcher;

	start(_i);
	kept = node_launch_ready(&node, "cat");
	in_launcher = count_in_memory(node.launcher_pid, SECRET);
	if (in_launcher >= 0) {
		/* once: in the recipes */
		ck_assert_int_eq(in_launcher, 1);
		ck_assert_int_eq(count_in_memory(kept->keeper, SECRET), 0);
		ck_assert_int_ge(count_in_memory(kept->pid, SECRET), 1);
	}
	finish();
}
END_TEST

/* Private memory of a process in KB, or 0. */
static unsigned private_kb(pid_t pid)
{
	char path[64], line[256];
	unsigned sum = 0, kb;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Private_Clean: %u kB", &kb) == 1 ||
			sscanf(line, "Private_Dirty: %u kB", &kb) == 1)
			sum += kb;
	fclose(file);
	return sum;
}

START_TEST(test_fifty)
{
	enum { COUNT = 50 };
	struct kept *kept[COUNT];
	unsigned kb;

	start(_i);
	for (int i = 0; i < COUNT; i++)
		kept[i] = node_launch(&node, "cat");
	for (int i = 0; i < COUNT; i++) {
		ck_assert(node_wait(&node, &kept[i]->ready, PATIENCE_MS));
		node_say(kept[i], "hello");
		expect_line(kept[i], "hello");
	}
	ck_assert_uint_eq(count_marked(mark), COUNT);
	kb = private_kb(kept[COUNT - 1]->keeper);
	if (getenv("GATEHOUSE_TEST_VERBOSE"))
		fprintf(stderr, "keeper: %u KB private\n", kb);
#ifndef __SANITIZE_ADDRESS__
	ck_assert_uint_lt(kb, 300);
#endif
	for (int i = 0; i < COUNT; i++) {
		node_close_input(kept[i]);
		node_stop_server(kept[i], 5000);
	}
	for (int i = 0; i < COUNT; i++)
		await_exit(kept[i], "exit 0");
	finish();
}
END_TEST

/* --- this program as a server --------------------------------------------------------------- */

static _Noreturn void be_stubborn(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	printf("up\n");
	fflush(stdout);
	for (;;)
		pause();
}

static void print_signals(void)
{
	sigset_t mask;
	int masked = 0, ignored = 0;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int sig = 1; sig < NSIG; sig++) {
		struct sigaction action;

		masked += sigismember(&mask, sig) == 1;
		ignored += sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
	}
	printf("masked %d ignored %d\n", masked, ignored);
}

static void print_file(const char *label, const char *path)
{
	char text[100] = "";
	FILE *file = fopen(path, "re");

	if (file && fgets(text, sizeof(text), file))
		text[strcspn(text, "\n")] = '\0';
	if (file)
		fclose(file);
	printf("%s %s\n", label, text);
}

static int be_probe(void)
{
	struct rlimit core;
	char path[64], folder[256] = "";

	printf("descriptors");
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf(" %d", fd);
	printf("\n");
	print_signals();
	getrlimit(RLIMIT_CORE, &core);
	printf("core %d\n", (int)core.rlim_max);
	printf("leader %d\n", getsid(0) == getpid() && getpgid(0) == getpid());
	print_file("oom", "/proc/self/oom_score_adj");
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)getpid());
	printf("proc %d\n", readlink("/proc/self", folder, sizeof(folder)) > 0 &&
				    (int)strtol(folder, NULL, 10) == (int)getpid() &&
				    access(path, R_OK) == 0);
	printf("folder %s\n", getcwd(folder, sizeof(folder)));
	for (char **variable = environ; *variable; variable++)
		printf("%s\n", *variable);
	return 0;
}

static Suite *launcher_suite(void)
{
	TCase *both = tcase_create("layers"), *once = tcase_create("once");
	Suite *suite = suite_create("launcher");

	tcase_set_timeout(both, 60);
	tcase_add_loop_test(both, test_cat, 0, 2);
	tcase_add_loop_test(both, test_exec_failure, 0, 2);
	tcase_add_loop_test(both, test_quick, 0, 2);
	tcase_add_loop_test(both, test_script_without_interpreter, 0, 2);
	tcase_add_loop_test(both, test_stderr, 0, 2);
	tcase_add_loop_test(both, test_hygiene, 0, 2);
	tcase_add_loop_test(both, test_stop_stubborn, 0, 2);
	tcase_add_loop_test(both, test_stop_polite, 0, 2);
	tcase_add_loop_test(both, test_stop_by_root, 0, 2);
	tcase_add_loop_test(both, test_stop_wrapper, 0, 2);
	tcase_add_loop_test(both, test_daemon, 0, 2);
	tcase_add_loop_test(both, test_stop_swarm, 0, 2);
	tcase_add_loop_test(both, test_root_gone, 0, 2);
	tcase_add_loop_test(both, test_root_gone_early, 0, 2);
	tcase_add_loop_test(both, test_launcher_killed, 0, 2);
	tcase_add_loop_test(both, test_keeper_killed, 0, 2);
	tcase_add_loop_test(both, test_reload, 0, 2);
	tcase_add_loop_test(both, test_secrets, 0, 2);
	tcase_add_loop_test(both, test_fifty, 0, 2);
	suite_add_tcase(suite, both);
	tcase_set_timeout(once, 60);
	tcase_add_test(once, test_refused);
	tcase_add_test(once, test_few_descriptors);
	tcase_add_test(once, test_keeper_killed_namespace);
	suite_add_tcase(suite, once);
	return suite;
}

int main(int argc, char **argv)
{
	SRunner *runner;
	int failed;

	if (argc > 1 && strcmp(argv[1], "stubborn") == 0)
		be_stubborn();
	if (argc > 1)
		return be_probe();
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !mkdtemp(script_dir))
		return 1;
	write_script(bad_script, sizeof(bad_script), "bad", "#!/no/such/interpreter\n");
	write_script(plain_script, sizeof(plain_script), "plain", "echo $# $1/$2\nexit 3\n");
	chmod(script_dir, 0755);
	runner = srunner_create(launcher_suite());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	unlink(bad_script);
	unlink(plain_script);
	rmdir(script_dir);
	return failed == 0 ? 0 : 1;
}
