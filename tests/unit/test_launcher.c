/*
 * launcher/: how servers come to be. The real program under a small root (launcher_node.h), with
 * real servers. Most tests run twice: with all the layers this machine allows, and without pid
 * namespaces and cgroups.
 */
#include "launcher_scene.h"
#include "clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- starting ------------------------------------------------------------------------------- */

START_TEST(test_cat)
{
	struct kept *kept;
	char line[100];

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "cat");
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
	scene_finish();
}
END_TEST

static const struct {
	const char *server;
	const char *reason;
} refused[] = {
	{"missing", "cannot run 'no-such-program-here': not found in PATH "},
	{"file", "cannot run '/etc/passwd': Permission denied"},
	{"hidden", "cannot run '***': No such file or directory"},
	{"remote", "no server 'remote' with a command"},
	{"off", "no server 'off' with a command"},
	{"nobody", "no server 'nobody' with a command"},
};

START_TEST(test_refused)
{
	scene_start(false);
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		struct kept *kept = node_launch(&scene.node, refused[i].server);

		ck_assert(node_wait(&scene.node, &kept->refused, PATIENCE_MS));
		if (strncmp(kept->reason, refused[i].reason, strlen(refused[i].reason)) != 0)
			ck_abort_msg("%s: %s", refused[i].server, kept->reason);
		/* our end of its link shows that nothing holds the other */
		ck_assert(node_wait(&scene.node, &kept->closed, PATIENCE_MS));
		ck_assert(!kept->launched);
	}
	scene_finish();
}
END_TEST

START_TEST(test_exec_failure)
{
	char expected[200];
	struct kept *kept;

	scene_start(_i);
	kept = node_launch(&scene.node, "badscript");
	snprintf(expected, sizeof(expected),
		"cannot run '%s': the interpreter of %s: No such file or directory",
		scene.bad_script, scene.bad_script);
	await_exit(kept, expected);
	ck_assert(!kept->ready);
	kept = node_launch(&scene.node, "nofolder");
	await_exit(kept,
		"cannot run 'cat': cannot enter its folder /no/such/folder: No such file or "
		"directory");
	ck_assert(!kept->ready);
	scene_finish();
}
END_TEST

/* READY comes even from one that is gone at once. */
START_TEST(test_quick)
{
	scene_start(_i);
	for (int i = 0; i < 20; i++) {
		struct kept *kept = node_launch(&scene.node, "quick");

		await_exit(kept, "exit 0");
		ck_assert(kept->ready);
	}
	scene_finish();
}
END_TEST

START_TEST(test_script_without_interpreter)
{
	struct kept *kept;
	char line[100];

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "plainscript");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "2 one/two words");
	await_exit(kept, "exit 3");
	scene_finish();
}
END_TEST

START_TEST(test_stderr)
{
	struct kept *kept;
	char line[100];

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "stderr");
	node_hear(kept->err, line, sizeof(line));
	ck_assert_str_eq(line, "complaint");
	scene_finish();
}
END_TEST

/*
 * Descriptors run out at each step in turn: the launch is refused, or it is not, or the launcher
 * can no longer hear; never is a process left that nobody knows.
 */
START_TEST(test_few_descriptors)
{
	unsigned launched = 0, not_launched = 0;

	scene_start(false);
	for (rlim_t limit = 24; limit > 4 && !scene.node.launcher_closed; limit--) {
		const struct rlimit few = {limit, limit};
		struct kept *kept;

		ck_assert_int_eq(prlimit(scene.node.launcher_pid, RLIMIT_NOFILE, &few, NULL), 0);
		kept = node_launch(&scene.node, "cat");
		while (!kept->ready && !kept->refused && !scene.node.launcher_closed &&
			!(kept->launched && kept->closed))
			node_wait(&scene.node, &kept->ready, 5);
		launched += kept->ready;
		not_launched += kept->refused;
		if (kept->refused)
			ck_assert_ptr_nonnull(strstr(kept->reason, "cat"));
		if (kept->link)
			node_drop(kept);
	}
	ck_assert_uint_ge(launched, 1);
	ck_assert_uint_ge(not_launched, 2);
	ck_assert_uint_eq(count_marked_after(scene.mark, 1000), 0);
	scene_finish();
}
END_TEST

/* What a server finds when it looks around. */
START_TEST(test_hygiene)
{
	struct kept *kept;
	char text[8192];

	setenv("GATEHOUSE_PRIVATE", "not for servers", 1);
	setenv("XDG_DATA_HOME", "/tmp/xdg", 1);
	setenv("LC_TIME", "C", 1);
	scene_start(_i);
	kept = node_launch_ready(&scene.node, "probe");
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
	scene_finish();
}
END_TEST

/* --- configuration, secrets, numbers -------------------------------------------------------- */

START_TEST(test_reload)
{
	struct kept *kept;
	char line[100];

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "cat");
	node_configure(&scene.node,
		"mcpServers:\n  other: { command: sh, args: [ -c, 'echo $WORD' ], "
		"env: { WORD: hi } }\n");
	kept = node_launch_ready(&scene.node, "other");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "hi");
	await_exit(kept, "exit 0");
	kept = node_launch(&scene.node, "cat");
	ck_assert(node_wait(&scene.node, &kept->refused, PATIENCE_MS));
	scene_finish();
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

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "cat");
	in_launcher = count_in_memory(scene.node.launcher_pid, SCENE_SECRET);
	if (in_launcher >= 0) {
		/* once: in the recipes */
		ck_assert_int_eq(in_launcher, 1);
		ck_assert_int_eq(count_in_memory(kept->keeper, SCENE_SECRET), 0);
		ck_assert_int_ge(count_in_memory(kept->pid, SCENE_SECRET), 1);
	}
	scene_finish();
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

	scene_start(_i);
	for (int i = 0; i < COUNT; i++)
		kept[i] = node_launch(&scene.node, "cat");
	for (int i = 0; i < COUNT; i++) {
		ck_assert(node_wait(&scene.node, &kept[i]->ready, PATIENCE_MS));
		node_say(kept[i], "hello");
		expect_line(kept[i], "hello");
	}
	ck_assert_uint_eq(count_marked(scene.mark), COUNT);
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
	scene_finish();
}
END_TEST

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
	tcase_add_loop_test(both, test_reload, 0, 2);
	tcase_add_loop_test(both, test_secrets, 0, 2);
	tcase_add_loop_test(both, test_fifty, 0, 2);
	suite_add_tcase(suite, both);
	tcase_set_timeout(once, 60);
	tcase_add_test(once, test_refused);
	tcase_add_test(once, test_few_descriptors);
	suite_add_tcase(suite, once);
	return suite;
}

int main(int argc, char **argv)
{
	return scene_main(argc, argv, launcher_suite);
}
