/*
 * The root with the real programs: start, deaths of each kind, giving up, stop, a second node,
 * reload, a hanging process, and that it neither leaks nor leaves anything behind.
 */
#include "supervisor_node.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define MEMORY_SLACK_KB 16384 /* freed memory is kept in quarantine */
#else
#define MEMORY_SLACK_KB 512
#endif

static struct test_node node, second;

static void set_up(void)
{
	node = second = (struct test_node){0};
}

static void tear_down(void)
{
	/* a build with sanitizers writes what it finds to the log */
	if (node.dir[0]) {
		ck_assert_uint_eq(node_log_count(&node, "Sanitizer", ""), 0);
		ck_assert_uint_eq(node_log_count(&node, "runtime error", ""), 0);
	}
	if (second.dir[0])
		node_remove(&second);
	if (node.dir[0])
		node_remove(&node);
}

#define SERVER(name) "  " name ": {command: " COUNTING_SERVER ", args: [./" name ".calls]}\n"
#define SERVERS "servers:\n" SERVER("one")

static void start(const char *more)
{
	node_prepare(&node, more);
	node_start(&node, NULL);
	node_await_new(&node, "worker", 2, NULL, 5000);
}

static void stop(void)
{
	kill(node.pid, SIGTERM);
	ck_assert_int_eq(node_wait(&node, 10000), 0);
	ck_assert(node_await_no_process(&node, 100));
}

/* A process that was just forked has not taken its own name yet: those that are there for long. */
static struct pids settled(const char *what)
{
	unsigned long since = now_ms(), until = since + 5000;
	struct pids pids = node_find(&node, what), now;

	while (now_ms() < since + 100 && now_ms() < until) {
		pause_ms(10);
		now = node_find(&node, what);
		if (!pids_equal(&now, &pids))
			since = now_ms();
		pids = now;
	}
	return pids;
}

static void check_same(const char *what, const struct pids *before)
{
	unsigned long until = now_ms() + 5000;
	struct pids now = node_find(&node, what);

	while (!pids_equal(&now, before) && now_ms() < until) {
		pause_ms(10);
		now = node_find(&node, what);
	}
	ck_assert_msg(pids_equal(&now, before), "%s changed", what);
}

/* A worker that was just found may still be getting its link: the number it stays at. */
static unsigned settled_fds(pid_t pid)
{
	unsigned long since = now_ms(), until = since + 5000;
	unsigned fds = open_fds(pid), now;

	while (now_ms() < since + 300 && now_ms() < until) {
		pause_ms(10);
		now = open_fds(pid);
		if (now != fds)
			since = now_ms();
		fds = now;
	}
	return fds;
}

static bool exists(const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", node.dir, name);
	return lstat(path, &st) == 0;
}

/* --- start and stop ------------------------------------------------------------------------- */

START_TEST(starts_in_order_and_stops)
{
	static const char *const order[] = {"\"child\":\"admin\"", "\"child\":\"registry\"",
		"\"child\":\"sessions\"", "\"child\":\"launcher\"", "\"child\":\"zygote\"",
		"\"child\":\"0\"", "\"child\":\"1\"", "node.ready"};
	char text[65536], *at = text;
	FILE *file;

	start(SERVERS "listen: [http://127.0.0.1:0, unix:./run/mcp.sock]\n");
	node_one(&node, "upstream");
	ck_assert(exists("run/mcp.sock") && exists("run/admin.sock"));
	file = fopen(node.log, "re");
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		at = strstr(at, order[i]);
		ck_assert_msg(at, "%s comes too early or not at all:\n%s", order[i], text);
	}
	ck_assert_uint_eq(node_log_count(&node, "\"level\":\"warn\"", ""), 0);
	ck_assert_uint_eq(node_log_count(&node, "\"level\":\"error\"", ""), 0);
	stop();
	ck_assert(!exists("run/mcp.sock") && !exists("run/admin.sock"));
	ck_assert_uint_eq(node_log_count(&node, "\"level\":\"error\"", ""), 0);
	/* and once more on the same state */
	node_start(&node, NULL);
	stop();
}
END_TEST

START_TEST(interrupt_stops_in_order)
{
	start("");
	/* as a terminal does: to all of the group */
	for (int i = 0; i < 3; i++)
		kill(node_one(&node, i == 0 ? "registry" : i == 1 ? "gateway" : "zygote"), SIGINT);
	kill(node.pid, SIGINT);
	ck_assert_int_eq(node_wait(&node, 10000), 0);
	ck_assert_uint_eq(node_log_count(&node, "child_terminated", ""), 0);
	ck_assert_uint_eq(node_processes(&node), 0);
}
END_TEST

/* --- deaths --------------------------------------------------------------------------------- */

static const char *const kinds[] = {
	"admin", "registry", "session-manager", "launcher", "zygote", "gateway", "upstream"};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

/* Killing one of the first kind makes new those of the second, too. */
static const struct {
	const char *killed;
	const char *along;
} deaths[] = {{"admin", ""}, {"registry", "session-manager"}, {"session-manager", "registry"},
	{"launcher", ""}, {"zygote", ""}, {"gateway", ""}, {"upstream", ""}, {"worker", ""}};

START_TEST(a_death_changes_what_it_must)
{
	struct pids before[KINDS], workers;
	pid_t victim;

	start(SERVERS);
	node_one(&node, "upstream");
	workers = node_await_new(&node, "worker", 2, NULL, 5000);
	for (size_t i = 0; i < KINDS; i++)
		before[i] = settled(kinds[i]);
	victim = node_one(&node, deaths[_i].killed);
	kill(victim, SIGKILL);
	for (size_t i = 0; i < KINDS; i++) {
		struct pids one = {.pid = {victim}, .n = 1};

		if (strcmp(kinds[i], deaths[_i].killed) == 0)
			node_await_new(&node, kinds[i], before[i].n, &one, 5000);
		else if (strcmp(kinds[i], deaths[_i].along) == 0)
			node_await_new(&node, kinds[i], before[i].n, &before[i], 5000);
		if (strcmp(kinds[i], deaths[_i].killed) == 0 ||
			strcmp(kinds[i], deaths[_i].along) == 0)
			continue;
		check_same(kinds[i], &before[i]);
	}
	if (strcmp(deaths[_i].killed, "worker") == 0) {
		struct pids one = {.pid = {victim}, .n = 1};

		node_await_new(&node, "worker", 2, &one, 5000);
	} else if (strcmp(deaths[_i].along, "") == 0) {
		check_same("worker", &workers);
	}
	ck_assert(node_await_log(&node, "child_terminated", "killed",
		strcmp(deaths[_i].killed, "worker") ? 1 : 0, 2000));
	stop();
}
END_TEST

/* The kernel ends what the root leaves; sessions and servers do not outlive it. */
START_TEST(death_of_the_root)
{
	start(SERVERS);
	node_one(&node, "upstream");
	ck_assert_uint_gt(node_processes(&node), 8);
	kill(node.pid, SIGKILL);
	ck_assert(node_await_no_process(&node, 1000));
	ck_assert_int_eq(node_wait(&node, 1000), 128 + SIGKILL);
	node_start(&node, NULL);
	stop();
}
END_TEST

START_TEST(gives_up)
{
	start(SERVERS "supervisor: {core: {intensity: 0}, root: {intensity: 0}}\n");
	kill(node_one(&node, "registry"), SIGKILL);
	ck_assert_int_eq(node_wait(&node, 15000), 70);
	ck_assert_uint_eq(node_processes(&node), 0);
	ck_assert_uint_eq(node_log_count(&node, "node.gave_up", ""), 1);
	ck_assert(!exists("run/admin.sock"));
}
END_TEST

/* One group gives up, and the root starts it anew; the others do not notice. */
START_TEST(a_group_gives_up)
{
	struct pids registry, gateways;

	start("supervisor: {core: {intensity: 0}}\n");
	registry = node_find(&node, "registry");
	gateways = node_find(&node, "gateway");
	kill(registry.pid[0], SIGKILL);
	node_await_new(&node, "registry", 1, &registry, 5000);
	check_same("gateway", &gateways);
	stop();
}
END_TEST

/* --- a start that cannot succeed ------------------------------------------------------------ */

static void copy_program(const char *name, const char *to, bool link)
{
	char from[512], path[256], command[1024];

	snprintf(from, sizeof(from), "%s", SUPERVISOR_PROGRAM);
	snprintf(strrchr(from, '/') + 1, 64, "%s", name);
	snprintf(path, sizeof(path), "%s/%s", node.dir, to);
	snprintf(command, sizeof(command), "cp '%s' '%s'", from, path);
	ck_assert_int_eq(link ? symlink(from, path) : system(command), 0);
}

static void copy_programs(const char *without)
{
	static const char *const names[] = {"gatehouse-admin", "gatehouse-registry",
		"gatehouse-session-manager", "gatehouse-launcher", "gatehouse-upstream",
		"gatehouse-worker", "gatehouse-gateway"};

	copy_program("gatehouse-supervisor", "gatehouse-supervisor", false);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i], without) != 0)
			copy_program(names[i], names[i], true);
}

START_TEST(a_program_is_missing)
{
	char program[128];
	unsigned long began;

	node_prepare(&node, "");
	copy_programs("gatehouse-registry");
	snprintf(program, sizeof(program), "%s/gatehouse-supervisor", node.dir);
	began = now_ms();
	node_launch(&node, program);
	ck_assert_int_eq(node_wait(&node, 5000), 70);
	ck_assert_uint_lt(now_ms() - began, 2000);
	ck_assert_uint_eq(
		node_log_count(&node, "cannot execute", "/gatehouse-registry: No such file"), 1);
	ck_assert_uint_le(node_log_count(&node, "", ""), 3);
}
END_TEST

/* It was there when the node started. */
START_TEST(a_program_is_broken)
{
	char program[128], broken[128];
	FILE *file;

	node_prepare(&node, "");
	copy_programs("gatehouse-registry");
	snprintf(program, sizeof(program), "%s/gatehouse-supervisor", node.dir);
	snprintf(broken, sizeof(broken), "%s/gatehouse-registry", node.dir);
	file = fopen(broken, "we");
	fputs("neither a program nor a script\n", file);
	fclose(file);
	chmod(broken, 0755);
	node_launch(&node, program);
	ck_assert_int_eq(node_wait(&node, 5000), 70);
	ck_assert_uint_eq(
		node_log_count(&node, "cannot execute", "/gatehouse-registry: Exec format error"),
		1);
	ck_assert_uint_eq(node_processes(&node), 0);
}
END_TEST

/* --- a second node -------------------------------------------------------------------------- */

static void check_unharmed(const struct pids *gateways)
{
	check_same("gateway", gateways);
	ck_assert_uint_eq(node_log_count(&node, "child_terminated", ""), 0);
	ck_assert(exists("run/admin.sock"));
}

/* What such a kernel, or the policy of a container, says. */
static void refuse_filters(void)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);

	if (seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(seccomp), 0) < 0 ||
		seccomp_load(context) < 0)
		_exit(126);
	seccomp_release(context);
}

START_TEST(a_kernel_that_refuses_filters)
{
	node_prepare(&node, "");
	node.before_exec = refuse_filters;
	node_launch(&node, NULL);
	ck_assert_int_eq(node_wait(&node, 10000), 1);
	ck_assert_uint_eq(node_log_count(&node, "node.start_failed", "sandbox: best-effort"), 1);
	node_configure(&node, "sandbox: best-effort\n");
	node_start(&node, NULL);
	node_await_new(&node, "worker", 2, NULL, 5000);
#ifndef __SANITIZE_ADDRESS__ /* such a build enters none */
	ck_assert_uint_eq(node_log_count(&node, "sandbox.missing", "\"registry\""), 1);
	ck_assert(node_await_log(&node, "sandbox.missing", "\"worker\"", 2, 5000));
#endif
	stop();
}
END_TEST

START_TEST(a_violation_is_told)
{
	struct pids gateways;

	start("");
	gateways = node_find(&node, "gateway");
	kill(gateways.pid[0], SIGSYS);
	ck_assert(node_await_log(&node, "sandbox.violation", "\"gateway\"", 1, 5000));
	node_await_new(&node, "gateway", gateways.n, NULL, 5000);
	stop();
}
END_TEST

START_TEST(a_second_node_on_the_same_state)
{
	struct pids gateways;

	start("");
	gateways = node_find(&node, "gateway");
	second = node;
	snprintf(second.log, sizeof(second.log), "%s/second.log", node.dir);
	node_launch(&second, NULL);
	ck_assert_int_eq(node_wait(&second, 5000), 1);
	ck_assert_uint_eq(
		node_log_count(&second, "another node uses the state directory", node.dir), 1);
	second.dir[0] = '\0';
	check_unharmed(&gateways);
	stop();
}
END_TEST

static unsigned free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	getsockname(fd, (struct sockaddr *)&addr, &len);
	close(fd);
	return ntohs(addr.sin_port);
}

START_TEST(a_second_node_on_the_same_port)
{
	struct pids gateways;
	char listen[80];

	snprintf(listen, sizeof(listen), "listen: [http://127.0.0.1:%u]\n", free_port());
	start(listen);
	gateways = node_find(&node, "gateway");
	node_prepare(&second, listen);
	node_launch(&second, NULL);
	ck_assert_int_eq(node_wait(&second, 5000), 1);
	ck_assert_uint_eq(node_log_count(&second, "is in use by another program", "127.0.0.1"), 1);
	check_unharmed(&gateways);
	stop();
}
END_TEST

/* --- the listeners of a gateway that is away ------------------------------------------------ */

/* ms until an answer came; the test fails when it takes longer than limit. */
static unsigned ask(unsigned port, unsigned limit)
{
	static const char request[] =
		"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
	struct sockaddr_in addr = {.sin_family = AF_INET,
		.sin_addr = {htonl(INADDR_LOOPBACK)},
		.sin_port = htons((uint16_t)port)};
	const struct timeval tv = {limit / 1000, limit % 1000 * 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned long began = now_ms();
	char answer[64] = "";

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	ck_assert_msg(read(fd, answer, sizeof(answer) - 1) > 0, "no answer within %u ms", limit);
	ck_assert_int_eq(strncmp(answer, "HTTP/1.1 ", 9), 0);
	close(fd);
	return (unsigned)(now_ms() - began);
}

START_TEST(a_gateway_that_is_away_is_stood_in_for)
{
	struct pids gateways;
	unsigned port = free_port();
	char listen[80];

	snprintf(listen, sizeof(listen), "listen: [http://127.0.0.1:%u]\n", port);
	start(listen);
	gateways = node_find(&node, "gateway");
	ck_assert_uint_eq(gateways.n, 2);
	for (int round = 0; round < 2; round++) {
		kill(gateways.pid[round], SIGSTOP);
		/* some of these would wait for it until it is ended, ten seconds later */
		for (int i = 0; i < 40; i++)
			ask(port, 3000);
		kill(gateways.pid[round], SIGCONT);
		pause_ms(1200);
		for (int i = 0; i < 20; i++)
			ck_assert_uint_lt(ask(port, 3000), 900);
	}
	check_unharmed(&gateways);
	stop();
}
END_TEST

/* --- reload --------------------------------------------------------------------------------- */

START_TEST(reload)
{
	struct pids gateways, one;

	start(SERVERS);
	node_one(&node, "upstream");
	gateways = node_find(&node, "gateway");
	one = node_find(&node, "upstream");

	node_configure(&node, SERVERS SERVER("two"));
	kill(node.pid, SIGHUP);
	ck_assert(node_await_log(&node, "config.reloaded", "", 1, 3000));
	node_await_new(&node, "upstream", 2, NULL, 3000);

	node_configure(&node, "servers:\n  one: {command: 7, nonsense: 1}\n");
	kill(node.pid, SIGHUP);
	ck_assert(node_await_log(&node, "config.reload_failed", "nothing was changed", 1, 3000));
	node_await_new(&node, "upstream", 2, NULL, 1000);

	node_configure(&node,
		SERVERS "  two: {command: " COUNTING_SERVER ", args: [x], disabled: true}\n");
	kill(node.pid, SIGHUP);
	ck_assert(node_await_log(&node, "config.reloaded", "", 2, 3000));
	node_await_new(&node, "upstream", 1, NULL, 10000);

	node_configure(&node, "servers:\n" SERVER("two"));
	kill(node.pid, SIGHUP);
	ck_assert(node_await_log(&node, "config.reloaded", "", 3, 3000));
	node_await_new(&node, "upstream", 1, &one, 10000);
	check_unharmed(&gateways);
	stop();
}
END_TEST

/* Other addresses wait for the next start, and the log says so: also the second time. */
START_TEST(reload_keeps_the_addresses)
{
	unsigned port = free_port();
	char listen[80];

	snprintf(listen, sizeof(listen), "listen: [http://127.0.0.1:%u]\n", port);
	start(listen);
	node_configure(&node, "listen: [http://127.0.0.1:0]\n");
	for (unsigned i = 1; i <= 2; i++) {
		kill(node.pid, SIGHUP);
		ck_assert(node_await_log(&node, "config.reloaded",
			"listen (takes effect at the next start)", i, 3000));
		ask(port, 3000);
	}
	stop();
}
END_TEST

/* Servers that come and go faster than they start: none of that is an error. */
START_TEST(removed_before_it_started)
{
	static const char one[] = "servers:\n" SERVER("one");
	static const char many[] = "servers:\n" SERVER("one") SERVER("two") SERVER("three")
		SERVER("four");
	unsigned done = 0;

	start(one);
	for (int i = 0; i < 10; i++) {
		node_configure(&node, i % 2 ? one : many);
		kill(node.pid, SIGHUP);
		ck_assert(node_await_log(&node, "config.reloaded", "", ++done, 3000));
	}
	node_await_new(&node, "upstream", 1, NULL, 10000);
	ck_assert_uint_eq(node_log_count(&node, "\"level\":\"error\"", ""), 0);
	stop();
}
END_TEST

/* --- the long run --------------------------------------------------------------------------- */

START_TEST(two_hundred_workers_leave_no_trace)
{
	unsigned fds = 0, kb = 0;

	start("");
	for (int i = 0; i < 220; i++) {
		struct pids workers = node_await_new(&node, "worker", 2, NULL, 5000);
		struct pids one = {.pid = {workers.pid[0]}, .n = 1};

		if (i == 20) {
			fds = settled_fds(node.pid);
			kb = resident_kb(node.pid);
		}
		kill(one.pid[0], i % 2 ? SIGKILL : SIGABRT);
		node_await_new(&node, "worker", 2, &one, 5000);
	}
	ck_assert_uint_eq(settled_fds(node.pid), fds);
	ck_assert_msg(resident_kb(node.pid) < kb + MEMORY_SLACK_KB, "%u KB, then %u KB", kb,
		resident_kb(node.pid));
	stop();
}
END_TEST

/* Hanging is noticed where somebody would wait for it; a session worker is nobody's but its
 * client's. */
START_TEST(who_hangs_is_ended)
{
	static const char *const hung[] = {
		"admin", "session-manager", "launcher", "zygote", "gateway", "upstream"};
	struct pids before[6], worker;
	unsigned long began;

	start(SERVERS);
	/* one that is still starting is none that hangs */
	ck_assert(node_await_log(&node, "process.ready", "\"supervisor\":\"one\"", 1, 10000));
	worker = (struct pids){.pid = {node_one(&node, "worker")}, .n = 1};
	for (int i = 0; i < 6; i++) {
		before[i] = (struct pids){.pid = {node_one(&node, hung[i])}, .n = 1};
		kill(before[i].pid[0], SIGSTOP);
	}
	began = now_ms();
	for (int i = 0; i < 6; i++)
		node_await_new(&node, hung[i], i == 4 ? 2 : 1, &before[i], 20000);
	ck_assert_uint_gt(now_ms() - began, 8000);
	ck_assert(node_await_log(&node, "child.stuck", "does not answer", 6, 1000));
	/* the session manager has a new set of them, this one hangs unnoticed until it is asked */
	kill(worker.pid[0], SIGKILL);
	stop();
}
END_TEST

START_TEST(a_paused_root_kills_nobody)
{
	struct pids gateways;

	start("");
	gateways = node_find(&node, "gateway");
	kill(node.pid, SIGSTOP);
	pause_ms(12000);
	kill(node.pid, SIGCONT);
	pause_ms(1500);
	check_unharmed(&gateways);
	stop();
}
END_TEST

/* --- descriptors --------------------------------------------------------------------------- */

/* The root has hardly any left: no storm of forks or lines, and all is well again when there are
 * more. */
START_TEST(few_descriptors_make_no_storm)
{
	struct rlimit old, few;
	struct pids workers, gateways;

	start("");
	workers = node_await_new(&node, "worker", 2, NULL, 5000);
	gateways = node_find(&node, "gateway");
	ck_assert_int_eq(prlimit(node.pid, RLIMIT_NOFILE, NULL, &old), 0);
	few = (struct rlimit){settled_fds(node.pid) + 2, old.rlim_max};
	ck_assert_int_eq(prlimit(node.pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (unsigned i = 0; i < workers.n; i++)
		kill(workers.pid[i], SIGKILL);
	ck_assert(node_await_log(
		&node, "worker.none", "the root has used up its descriptors", 1, 5000));
	pause_ms(2000);
	/* one line, and another if a worker still had its link made when it was killed */
	ck_assert_uint_le(node_log_count(&node, "worker.none", ""), 2);
	ck_assert_uint_eq(node_log_count(&node, "child_terminated", ""), workers.n);
	check_same("gateway", &gateways);
	ck_assert_int_eq(prlimit(node.pid, RLIMIT_NOFILE, &old, NULL), 0);
	node_await_new(&node, "worker", workers.n, &workers, 5000);
	stop();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {starts_in_order_and_stops, interrupt_stops_in_order,
		death_of_the_root, gives_up, a_group_gives_up, a_program_is_missing,
		a_program_is_broken, a_kernel_that_refuses_filters, a_violation_is_told,
		a_second_node_on_the_same_state,
		a_second_node_on_the_same_port, a_gateway_that_is_away_is_stood_in_for, reload,
		reload_keeps_the_addresses, removed_before_it_started,
		two_hundred_workers_leave_no_trace, who_hangs_is_ended, a_paused_root_kills_nobody,
		few_descriptors_make_no_storm};
	Suite *suite = suite_create("supervisor");
	TCase *cases = tcase_create("supervisor");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_set_timeout(cases, 90);
	tcase_add_loop_test(
		cases, a_death_changes_what_it_must, 0, (int)(sizeof(deaths) / sizeof(*deaths)));
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		tcase_add_test(cases, tests[i]);
	suite_add_tcase(suite, cases);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
