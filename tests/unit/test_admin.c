/*
 * The real admin process under a root that the test plays: commands by nngcat, rights, parts that
 * are silent or absent, metrics of several processes, health, events.
 */
#include "admin_node.h"
#include "clock.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define STRANGER 65534

static const struct node_answer answers[] = {
	{ROLE_ROOT, "", "status", "{\"version\":\"1\",\"state\":\"ready\",\"pid\":7,\"listen\":[]}",
		0, ""},
	{ROLE_ROOT, "", "tree", "{\"id\":\"root\",\"children\":[]}", 0, ""},
	{ROLE_ROOT, "", "metrics", "gatehouse_processes{role=\"root\"} 1\n", 0, ""},
	{ROLE_ROOT, "", "restart", "", 0, "2 restarted"},
	{ROLE_ROOT, "", "reload", "g.yaml:3:1: error: no such key\n", ERR_CONFIG,
		"1 mistakes in g.yaml"},
	{ROLE_ROOT, "", "reload-dry-run", "no changes\n", 0, ""},
	{ROLE_REGISTRY, "", "servers", "{\"servers\":[{\"name\":\"files\"}]}", 0, ""},
	{ROLE_REGISTRY, "", "resources", "{\"resources\":[]}", 0, ""},
	{ROLE_REGISTRY, "", "templates", "{\"templates\":[{\"name\":\"a\"}]}", 0, ""},
	{ROLE_REGISTRY, "", "metrics", "gatehouse_server_up{server=\"files\"} 1\n", 0, ""},
	{ROLE_SESSIONS, "", "sessions",
		"{\"sessions\":[{\"session\":\"aa\",\"worker\":0},{\"session\":\"bb\",\"worker\":"
		"77}]}",
		0, ""},
	{ROLE_SESSIONS, "", "close", "", ERR_NOT_FOUND, "no session of that name"},
	{ROLE_SESSIONS, "", "metrics", "gatehouse_sessions{era=\"legacy\",state=\"live\"} 4\n", 0,
		""},
	{ROLE_GATEWAY, "0", "metrics",
		"gatehouse_overhead_seconds_bucket{stage=\"total\",le=\"0.1\"} 3\n"
		"gatehouse_overhead_seconds_bucket{stage=\"total\",le=\"+Inf\"} 5\n"
		"gatehouse_overhead_seconds_sum{stage=\"total\"} 0.5\n"
		"gatehouse_overhead_seconds_count{stage=\"total\"} 5\n"
		"gatehouse_event_loop_lag_seconds{role=\"gateway\"} 0.25\n"
		"not a sample\n{} 7\nbad{unclosed=\"x 7\n",
		0, ""},
	{ROLE_GATEWAY, "1", "metrics",
		"gatehouse_overhead_seconds_bucket{stage=\"total\",le=\"0.1\"} 1\n"
		"gatehouse_overhead_seconds_bucket{stage=\"total\",le=\"+Inf\"} 2\n"
		"gatehouse_overhead_seconds_sum{stage=\"total\"} 0.25\n"
		"gatehouse_overhead_seconds_count{stage=\"total\"} 2\n"
		"gatehouse_event_loop_lag_seconds{role=\"gateway\"} 0.125\n",
		0, ""},
	{ROLE_UPSTREAM, "files", "metrics",
		"gatehouse_server_restarts_total{server=\"files\",reason=\"exit\"} 2\n", 0, ""},
	{ROLE_UPSTREAM, "files", "logs", "{\"lines\":[{\"n\":1,\"text\":\"a\"}]}", 0, ""},
	{ROLE_ROOT, "", "rolling", "{\"total\":3,\"running\":false}", 0, ""},
	{ROLE_ROOT, "", "restart-sessions", "", 0, "3 session workers are being replaced"},
	{ROLE_ROOT, "", "log-level", "", 0, "the node logs at debug"},
	{.what = NULL},
};

static const char one_server[] = "mcpServers:\n  files: { command: cat, required: true }\n";

static const char *text_of(const cJSON *object, const char *member)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, member);

	return cJSON_IsString(value) ? value->valuestring : "";
}

static bool is_ok(const cJSON *json)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "ok"));
}

static const char *reason_of(const cJSON *json)
{
	return text_of(cJSON_GetObjectItemCaseSensitive(json, "error"), "reason");
}

/* --- commands ------------------------------------------------------------------------------- */

START_TEST(test_commands)
{
	static const struct {
		const char *request;
		const char *member;    /* of the answer; NULL: it is an error */
		const char *reason;    /* of the error */
		const char *commanded; /* what a part was told */
	} rows[] = {
		{"{\"command\":\"help\"}", "commands", NULL, ""},
		{"{\"command\":\"status\"}", "sessions", NULL, ""},
		{"{\"command\":\"tree\"}", "tree", NULL, ""},
		{"{\"command\":\"servers\"}", "servers", NULL, ""},
		{"{\"command\":\"resources\"}", "templates", NULL, ""},
		{"{\"command\":\"logs\",\"server\":\"files\"}", "lines", NULL, ""},
		{"{\"command\":\"logs\"}", "not_answering", NULL, ""},
		{"{\"command\":\"rolling\"}", "rolling", NULL, ""},
		{"{\"command\":\"log-level\",\"level\":\"debug\"}", "message", NULL,
			"log-level debug  0 "},
		{"{\"command\":\"log-level\",\"level\":\"debug\",\"server\":\"files\",\"for_ms\":"
		 "90000}",
			"message", NULL, "log-level debug server/files 90000 90s"},
		{"{\"command\":\"log-level\",\"level\":\"warn\",\"role\":\"gateway\"}", "message",
			NULL, "log-level warn role/gateway 0 "},
		{"{\"command\":\"log-level\",\"level\":\"warn\",\"role\":\"a b\"}", NULL,
			"invalid_argument", ""},
		{"{\"command\":\"log-level\",\"level\":\"warn\",\"role\":\"a\",\"server\":\"b\"}",
			NULL, "invalid_argument", ""},
		{"{\"command\":\"log-level\",\"level\":\"warn\",\"for_ms\":-1}", NULL,
			"invalid_argument", ""},
		{"{\"command\":\"log-level\",\"level\":\"warn\",\"for_ms\":604800001}", NULL,
			"invalid_argument", ""},
		{"{\"command\":\"restart\",\"target\":\"sessions\",\"rolling\":true}", "message",
			NULL, "restart-sessions "},
		{"{\"command\":\"restart\",\"target\":\"sessions\"}", NULL, "invalid_argument", ""},
		{"{\"command\":\"metrics\"}", "metrics", NULL, ""},
		{"{\"command\":\"restart\",\"target\":\"server/files\"}", "message", NULL,
			"restart server/files"},
		{"{\"command\":\"restart\",\"target\":\"session/bb\"}", "message", NULL,
			"restart process/77"},
		{"{\"command\":\"restart\",\"target\":\"session/aa\"}", NULL, "not_found", ""},
		{"{\"command\":\"restart\",\"target\":\"session/cc\"}", NULL, "not_found", ""},
		{"{\"command\":\"session-close\",\"session\":\"zz\"}", NULL, "not_found",
			"close zz"},
		{"{\"command\":\"reload\"}", NULL, "config", "reload "},
		{"{\"command\":\"reload\",\"dry_run\":true}", "message", NULL, "reload-dry-run "},
		{"{\"command\":\"restart\"}", NULL, "invalid_argument", ""},
		{"{\"command\":\"restart\",\"target\":7}", NULL, "invalid_argument", ""},
		{"{\"command\":\"restart\",\"target\":\"\"}", NULL, "invalid_argument", ""},
		{"{\"command\":\"none\"}", NULL, "method_not_found", ""},
		{"{}", NULL, "invalid_argument", ""},
		{"[]", NULL, "invalid_argument", ""},
		{"nonsense", NULL, "parse", ""},
	};
	struct node node;

	node_start(&node, one_server, answers);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		cJSON *json;

		node.commanded[0] = '\0';
		json = node_ask(&node, rows[i].request);
		if (rows[i].member)
			ck_assert_msg(is_ok(json) && cJSON_HasObjectItem(json, rows[i].member),
				"%s: %s", rows[i].request, cJSON_PrintUnformatted(json));
		else
			ck_assert_msg(!is_ok(json) && strcmp(reason_of(json), rows[i].reason) == 0,
				"%s: %s", rows[i].request, cJSON_PrintUnformatted(json));
		ck_assert_str_eq(node.commanded, rows[i].commanded);
		cJSON_Delete(json);
	}
	node_end(&node);
}
END_TEST

/* A request of another size than any part's: the longest argument, and one that is too long. */
START_TEST(test_long_argument)
{
	static const unsigned lengths[] = {255, 256, 60000};
	struct node node;

	node_start(&node, one_server, answers);
	for (size_t i = 0; i < 3; i++) {
		char *request = malloc(lengths[i] + 64);
		cJSON *json;

		sprintf(request, "{\"command\":\"session-close\",\"session\":\"%0*d\"}",
			(int)lengths[i], 0);
		json = node_ask(&node, request);
		ck_assert_str_eq(
			reason_of(json), lengths[i] <= 255 ? "not_found" : "invalid_argument");
		cJSON_Delete(json);
		free(request);
	}
	node_end(&node);
}
END_TEST

/* --- parts that do not answer ---------------------------------------------------------------- */

static const struct node_answer silent[] = {
	{ROLE_ROOT, "", "status", "{\"state\":\"ready\"}", 0, ""},
	{ROLE_ROOT, "", "tree", NULL, 0, ""},
	{ROLE_REGISTRY, "", "metrics", "", 0, ""},
	{ROLE_REGISTRY, "", "servers", NULL, 0, ""},
	{ROLE_SESSIONS, "", "metrics", NULL, 0, ""},
	{.what = NULL},
};

START_TEST(test_silent_part_is_named)
{
	struct node node;
	uint64_t began;
	cJSON *json, *list;

	node_start(&node, "", silent);
	began = clock_ms();
	json = node_ask(&node, "{\"command\":\"status\"}");
	ck_assert(is_ok(json));
	ck_assert_uint_lt(clock_ms() - began, 4000);
	list = cJSON_GetObjectItemCaseSensitive(json, "not_answering");
	ck_assert_int_eq(cJSON_GetArraySize(list), 1);
	ck_assert_ptr_nonnull(strstr(cJSON_GetArrayItem(list, 0)->valuestring, "sessions"));
	cJSON_Delete(json);
	json = node_ask(&node, "{\"command\":\"tree\"}");
	ck_assert_str_eq(reason_of(json), "timeout");
	cJSON_Delete(json);
	/* the others go on, and the silent one is asked again */
	json = node_ask(&node, "{\"command\":\"help\"}");
	ck_assert(is_ok(json));
	cJSON_Delete(json);
	node_end(&node);
}
END_TEST

START_TEST(test_absent_part_is_named)
{
	struct node node;
	cJSON *json;

	node_start(&node, "", answers);
	node.absent = ROLE_REGISTRY;
	json = node_ask(&node, "{\"command\":\"servers\"}");
	ck_assert_str_eq(reason_of(json), "not_found");
	cJSON_Delete(json);
	/* it is there again */
	node.absent = ROLE_MAX;
	json = node_ask(&node, "{\"command\":\"servers\"}");
	ck_assert(is_ok(json));
	cJSON_Delete(json);
	/* its link closes; another is opened */
	ck_assert_uint_eq(node.n_parts, 1);
	link_free(node.parts[0].link);
	node.parts[0].link = NULL;
	node_turn(&node, 50);
	json = node_ask(&node, "{\"command\":\"servers\"}");
	ck_assert(is_ok(json));
	ck_assert_uint_eq(node.n_parts, 2);
	cJSON_Delete(json);
	node_end(&node);
}
END_TEST

/* More requests at once than there are seats, half of their askers gone before the answer. */
START_TEST(test_many_requests)
{
	enum { MANY = 40 };
	char command[512];
	const char *const argv[] = {"sh", "-c", command, NULL};
	struct node node;
	unsigned n = 0;
	char *text;

	node_start(&node, "", silent);
	snprintf(command, sizeof(command),
		"for i in $(seq %d); do nngcat --req --dial ipc://%s --recv-timeout $((i %% 2 * 15 "
		"+ 1)) "
		"--raw --data '{\"command\":\"status\"}' 2>/dev/null & done; wait",
		MANY, node.socket);
	text = node_run(&node, 0, argv);
	for (char *p = text; (p = strstr(p, "\"ok\":true")); p++)
		n++;
	ck_assert_uint_ge(n, MANY / 2);
	free(text);
	node_end(&node);
}
END_TEST

/* --- who may ---------------------------------------------------------------------------------- */

START_TEST(test_rights)
{
	struct node node;
	struct stat st;
	cJSON *json;

	if (geteuid() != 0)
		return; /* only root can be somebody else */
	node_start(&node, "", answers);
	ck_assert_int_eq(stat(node.socket, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(node.events, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_ptr_null(node_ask_as(&node, STRANGER, "{\"command\":\"status\"}"));
	node_end(&node);

	node_start(&node, "admin: { group: nogroup }\n", answers);
	ck_assert_int_eq(stat(node.socket, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0660);
	ck_assert_uint_eq(st.st_gid, STRANGER);
	json = node_ask_as(&node, STRANGER, "{\"command\":\"tree\"}");
	ck_assert(is_ok(json));
	cJSON_Delete(json);
	json = node_ask_as(&node, STRANGER, "{\"command\":\"restart\",\"target\":\"role/worker\"}");
	ck_assert_str_eq(reason_of(json), "forbidden");
	ck_assert_str_eq(node.commanded, "");
	cJSON_Delete(json);
	node_end(&node);
}
END_TEST

/* --- the socket ----------------------------------------------------------------------------- */

START_TEST(test_path_too_long)
{
	char path[160] = "/tmp/";
	struct node node;

	memset(path + 5, 'a', 104);
	node_start_at(&node, "", answers, path);
	ck_assert(!node.ready);
	ck_assert_int_eq(node_exit_status(&node), 1);
}
END_TEST

START_TEST(test_socket_is_taken)
{
	struct node node, second;
	cJSON *json;

	node_start(&node, "", answers);
	node_start_at(&second, "", answers, node.socket);
	ck_assert(!second.ready);
	ck_assert_int_eq(node_exit_status(&second), 1);
	json = node_ask(&node, "{\"command\":\"tree\"}");
	ck_assert(is_ok(json));
	cJSON_Delete(json);
	node_end(&node);
}
END_TEST

/* What a killed one left behind is replaced. */
START_TEST(test_stale_socket)
{
	struct node node, second;
	struct stat st;
	cJSON *json;

	node_start(&node, "", answers);
	kill(node.pid, SIGKILL);
	node_turn(&node, 50);
	ck_assert_int_eq(stat(node.socket, &st), 0);
	node_start_at(&second, "", answers, node.socket);
	ck_assert(second.ready);
	memcpy(second.socket, node.socket, sizeof(second.socket));
	json = node_ask(&second, "{\"command\":\"tree\"}");
	ck_assert(is_ok(json));
	cJSON_Delete(json);
	node_end(&second);
	ck_assert_int_eq(node_exit_status(&node), 128 + SIGKILL);
}
END_TEST

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Peers that leave before the handshake, say something else, or stay and say nothing. */
START_TEST(test_rude_peers)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	static const char huge[] = "\0SP\0\0\x30\0\0\x01\x7f\xff\xff\xff\xff\xff\xff\xff";
	static const char no_id[] = "\0SP\0\0\x30\0\0\x01\0\0\0\0\0\0\0\x02{}";
	int idle[200];
	struct node node;
	cJSON *json;

	node_start(&node, "", answers);
	for (int i = 0; i < 100; i++) {
		int fd = connect_to(i % 2 ? node.socket : node.events);

		if (i % 5 == 1)
			ck_assert_int_gt(write(fd, garbage, sizeof(garbage) - 1), 0);
		if (i % 5 == 2)
			ck_assert_int_gt(write(fd, huge, sizeof(huge) - 1), 0);
		if (i % 5 == 3)
			ck_assert_int_gt(write(fd, no_id, sizeof(no_id) - 1), 0);
		close(fd);
	}
	for (int i = 0; i < 200; i++) {
		idle[i] = connect_to(node.socket);
		node_turn(&node, 1);
	}
	json = node_ask(&node, "{\"command\":\"tree\"}");
	ck_assert(is_ok(json));
	cJSON_Delete(json);
	for (int i = 0; i < 200; i++)
		close(idle[i]);
	node_end(&node);
}
END_TEST

/* --- HTTP ----------------------------------------------------------------------------------- */

START_TEST(test_metrics)
{
	static const char *const expected[] = {
		"\ngatehouse_overhead_seconds_bucket{stage=\"total\",le=\"0.1\"} 4\n",
		"\ngatehouse_overhead_seconds_bucket{stage=\"total\",le=\"+Inf\"} 7\n",
		"\ngatehouse_overhead_seconds_sum{stage=\"total\"} 0.75\n",
		"\ngatehouse_overhead_seconds_count{stage=\"total\"} 7\n",
		"\n# TYPE gatehouse_overhead_seconds histogram\n",
		"\ngatehouse_event_loop_lag_seconds{role=\"gateway\"} 0.25\n",
		"\ngatehouse_server_up{server=\"files\"} 1\n",
		"\n# TYPE gatehouse_server_restarts_total counter\n",
		"\ngatehouse_part_up{part=\"gateway/1\"} 1\n",
		"\ngatehouse_part_up{part=\"upstream/files\"} 1\n",
		"\ngatehouse_build_info{version=",
		"Content-Type: text/plain; version=0.0.4",
	};
	const char *const promtool[] = {"sh", "-c",
		"command -v promtool >/dev/null || { echo ok; exit; };"
		"curl -s --noproxy '*' http://127.0.0.1:$PORT/metrics | promtool check metrics "
		"2>&1 && echo ok",
		NULL};
	struct node node;
	char *text, port[16];

	node_start(&node, one_server, answers);
	text = node_get(&node, "/metrics");
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
		ck_assert_msg(
			strstr(text, expected[i]) != NULL, "%s is not in %s", expected[i], text);
	ck_assert_ptr_null(strstr(text, "unclosed"));
	ck_assert_ptr_null(strstr(text, "not a sample"));
	free(text);
	snprintf(port, sizeof(port), "%u", node.http_port);
	setenv("PORT", port, 1);
	text = node_run(&node, 0, promtool);
	ck_assert_str_eq(text, "ok\n");
	free(text);
	node_end(&node);
}
END_TEST

START_TEST(test_health)
{
	struct node node;
	char *text;

	node_start(&node, one_server, answers);
	text = node_get(&node, "/livez");
	ck_assert_ptr_nonnull(strstr(text, " 200 "));
	free(text);
	text = node_get(&node, "/healthz");
	ck_assert_ptr_nonnull(strstr(text, " 200 "));
	free(text);
	/* the root is ready; the server that is required has not come up */
	text = node_get(&node, "/readyz");
	ck_assert_ptr_nonnull(strstr(text, " 503 "));
	ck_assert_ptr_nonnull(
		strstr(text, "\"name\":\"files\",\"state\":\"starting\",\"required\":true"));
	free(text);
	text = node_get(&node, "/elsewhere");
	ck_assert_ptr_nonnull(strstr(text, " 404 "));
	free(text);
	node_end(&node);

	node_start(&node, "", silent);
	text = node_get(&node, "/readyz");
	ck_assert_ptr_nonnull(strstr(text, " 200 "));
	free(text);
	text = node_get(&node, "/healthz");
	ck_assert_ptr_nonnull(strstr(text, " 503 "));
	ck_assert_ptr_nonnull(strstr(text, "sessions did not answer"));
	free(text);
	node_end(&node);
}
END_TEST

/* --- events --------------------------------------------------------------------------------- */

static void tell_exit(evutil_socket_t fd, short what, void *arg)
{
	const struct msg_exited exited = {.role = ROLE_UPSTREAM,
		.instance = 12,
		.name = SPAN_LIT("files"),
		.reason = SPAN_LIT("signal 9")};
	struct node *node = arg;

	(void)fd;
	(void)what;
	link_post(node->admin, MSG_EXITED, 0, &exited);
}

START_TEST(test_events)
{
	const struct timeval often = {.tv_usec = 100000};
	char url[128];
	const char *const argv[] = {"nngcat", "--sub", "--dial", url, "--recv-timeout", "3",
		"--raw", "--count", "2", NULL};
	struct node node;
	struct event *again;
	char *text;

	node_start(&node, one_server, answers);
	snprintf(url, sizeof(url), "ipc://%s", node.events);
	again = event_new(node.base, -1, EV_PERSIST, tell_exit, &node);
	event_add(again, &often);
	text = node_run(&node, 0, argv);
	event_free(again);
	ck_assert_msg(
		strstr(text,
			"\"event\":\"process.exited\",\"role\":\"upstream\",\"name\":\"files\","
			"\"instance\":12,\"reason\":\"signal 9\"}") != NULL,
		"%s", text);
	ck_assert_ptr_nonnull(strstr(text, "{\"seq\":"));
	free(text);
	node_end(&node);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("admin");
	TCase *tcase = tcase_create("admin");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_commands);
	tcase_add_test(tcase, test_long_argument);
	tcase_add_test(tcase, test_silent_part_is_named);
	tcase_add_test(tcase, test_absent_part_is_named);
	tcase_add_test(tcase, test_many_requests);
	tcase_add_test(tcase, test_rights);
	tcase_add_test(tcase, test_path_too_long);
	tcase_add_test(tcase, test_socket_is_taken);
	tcase_add_test(tcase, test_stale_socket);
	tcase_add_test(tcase, test_rude_peers);
	tcase_add_test(tcase, test_metrics);
	tcase_add_test(tcase, test_health);
	tcase_add_test(tcase, test_events);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
