/* launcher/: how servers end, and everything they started with them. As test_launcher.c. */
#include "launcher_scene.h"
#include "clock.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- ending --------------------------------------------------------------------------------- */

START_TEST(test_stop_stubborn)
{
	const uint32_t grace = 200;
	struct kept *kept;
	uint64_t begin, took;

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "stubborn");
	expect_line(kept, "up");
	node_close_input(kept);
	begin = clock_ms();
	node_stop_server(kept, grace);
	await_exit(kept, "signal 9 (Killed)");
	took = clock_ms() - begin;
	ck_assert_uint_ge(took, (uint64_t)2 * grace - 10);
	ck_assert_uint_le(took, 2 * grace + 1000);
	scene_finish();
}
END_TEST

START_TEST(test_stop_polite)
{
	struct kept *kept;

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "polite");
	expect_line(kept, "up");
	node_close_input(kept);
	/* said again, it becomes quicker */
	node_stop_server(kept, 10000);
	node_stop_server(kept, 100);
	await_exit(kept, "exit 7");
	scene_finish();
}
END_TEST

START_TEST(test_stop_by_root)
{
	const struct msg_stop stop = {.deadline_ms = 300};
	struct kept *kept;

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "stubborn");
	expect_line(kept, "up");
	ck_assert_int_eq(link_post(kept->link, MSG_STOP, 0, &stop), 0);
	await_exit(kept, "signal 9 (Killed)");
	scene_finish();
}
END_TEST

START_TEST(test_stop_wrapper)
{
	struct kept *kept;

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "wrapper");
	expect_line(kept, "up");
	await_marked(4);
	node_close_input(kept);
	node_stop_server(kept, 100);
	await_exit(kept, "signal 15 (Terminated)");
	ck_assert_uint_eq(count_marked(scene.mark), 0);
	scene_finish();
}
END_TEST

/* The server goes by itself; its daemon, in another session, goes with it. */
START_TEST(test_daemon)
{
	struct kept *kept;

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "daemon");
	expect_line(kept, "up");
	await_marked(4);
	node_close_input(kept);
	await_exit(kept, "exit 5");
	ck_assert_uint_eq(count_marked(scene.mark), 0);
	scene_finish();
}
END_TEST

START_TEST(test_stop_swarm)
{
	struct kept *kept;

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "swarm");
	expect_line(kept, "up");
	await_marked(90);
	node_stop_server(kept, 0);
	node_wait(&scene.node, &kept->exited, PATIENCE_MS);
	ck_assert_uint_eq(count_marked(scene.mark), 0);
	await_exit(kept, kept->reason);
	scene_finish();
}
END_TEST

/* --- deaths --------------------------------------------------------------------------------- */

static const char *const victims[] = {"cat", "stubborn", "wrapper", "daemon", "swarm"};
#define VICTIMS (sizeof(victims) / sizeof(*victims))

START_TEST(test_root_gone)
{
	struct kept *kept[VICTIMS];
	int status;

	scene_start(_i);
	for (size_t i = 0; i < VICTIMS; i++)
		kept[i] = node_launch_ready(&scene.node, victims[i]);
	for (size_t i = 1; i < VICTIMS; i++)
		expect_line(kept[i], "up");
	await_marked(100);
	for (size_t i = 0; i < VICTIMS; i++)
		node_drop(kept[i]);
	ck_assert_uint_eq(count_marked_after(scene.mark, 1000), 0);
	for (size_t i = 0; i < VICTIMS; i++) {
		ck_assert(node_keeper_gone(kept[i], 1000, &status));
		ck_assert_int_eq(status, 1);
	}
	scene_finish();
}
END_TEST

/* The link is gone before the keeper has been told anything. */
START_TEST(test_root_gone_early)
{
	scene_start(_i);
	for (int i = 0; i < 10; i++) {
		struct kept *kept = node_launch(&scene.node, "cat");

		node_wait(&scene.node, &kept->closed, (unsigned)i);
		if (kept->link)
			link_flush(scene.node.launcher);
		node_drop(kept);
		ck_assert(node_wait(&scene.node, &kept->launched, PATIENCE_MS));
		ck_assert(node_keeper_gone(kept, 1000, NULL));
	}
	ck_assert_uint_eq(count_marked_after(scene.mark, 1000), 0);
	scene_finish();
}
END_TEST

START_TEST(test_launcher_killed)
{
	struct kept *kept;
	char line[100];

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "cat");
	kill(scene.node.launcher_pid, SIGKILL);
	ck_assert(node_wait(&scene.node, &scene.node.launcher_closed, PATIENCE_MS));
	ck_assert_int_eq(waitpid(scene.node.launcher_pid, NULL, 0), scene.node.launcher_pid);
	node_say(kept, "still there");
	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, "still there");
	node_close_input(kept);
	node_stop_server(kept, 5000);
	await_exit(kept, "exit 0");
	scene_finish();
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
	scene_finish();
	scene_start(poor);
	node_launch_ready(&scene.node, "cat");
	ck_assert(folder[0] == '\0' || access(folder, F_OK) < 0);
	scene_finish();
}

START_TEST(test_keeper_killed)
{
	struct kept *kept;
	char cgroup[400];

	scene_start(_i);
	kept = node_launch_ready(&scene.node, "stubborn");
	expect_line(kept, "up");
	find_cgroup(kept->pid, cgroup, sizeof(cgroup));
	kill(kept->keeper, SIGKILL);
	ck_assert(node_wait(&scene.node, &kept->closed, PATIENCE_MS));
	ck_assert_uint_eq(count_marked_after(scene.mark, 1000), 0);
	expect_swept(_i, cgroup);
}
END_TEST

/* In a pid namespace everything dies with its init. (Without, what is left comes to the root, which
 * kills it.) */
START_TEST(test_keeper_killed_namespace)
{
	char ours[64] = "", theirs[64] = "", path[64], cgroup[400];
	struct kept *kept;

	scene_start(false);
	kept = node_launch_ready(&scene.node, "swarm");
	expect_line(kept, "up");
	find_cgroup(kept->pid, cgroup, sizeof(cgroup));
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)kept->keeper);
	ck_assert_int_gt(readlink("/proc/self/ns/pid", ours, sizeof(ours) - 1), 0);
	if (readlink(path, theirs, sizeof(theirs) - 1) > 0 && strcmp(ours, theirs) != 0) {
		kill(kept->keeper, SIGKILL);
		ck_assert(node_wait(&scene.node, &kept->closed, PATIENCE_MS));
		ck_assert_uint_eq(count_marked_after(scene.mark, 1000), 0);
	}
	expect_swept(false, cgroup);
}
END_TEST

static Suite *keeper_suite(void)
{
	TCase *both = tcase_create("layers"), *once = tcase_create("once");
	Suite *suite = suite_create("keeper");

	tcase_set_timeout(both, 60);
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
	suite_add_tcase(suite, both);
	tcase_set_timeout(once, 60);
	tcase_add_test(once, test_keeper_killed_namespace);
	suite_add_tcase(suite, once);
	return suite;
}

int main(int argc, char **argv)
{
	return scene_main(argc, argv, keeper_suite);
}
