/* registry/: the real program; the test plays the root,
 * the upstream workers and the admin process. */
#include "buf.h"
#include "catalogue.h"
#include "clock.h"
#include "config.h"
#include "memfile.h"
#include "process.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000u
#define TWO "mcpServers: {alpha: {command: a}, beta: {command: b}}\n"
#define FACTS \
	"{\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"n\",\"version\":\"1\"}," \
	"\"instructions\":\"be kind\"}"
#define TOOL(name) "{\"name\":\"" name "\",\"inputSchema\":{\"type\":\"object\"}}"

/* --- a node around the registry ------------------------------------------------------------- */

static struct {
	struct event_base *base;
	char dir[64];
	struct link *registry;
	pid_t pid;
	bool ready, closed;
	int status;
	size_t file_limit;
	unsigned published;
	uint64_t generation, published_ms;
	struct catalogue *catalogue; /* the newest */
	struct link *admin;
	bool replied;
	uint64_t code;
	struct buf reply;
	unsigned refreshes;
} node;

static void turn(void)
{
	const struct timeval tv = {.tv_usec = 2000};

	event_base_loopexit(node.base, &tv);
	event_base_loop(node.base, EVLOOP_ONCE);
}

#define AWAIT(condition) \
	do { \
		uint64_t end_ = clock_ms() + PATIENCE_MS; \
		while (!(condition) && clock_ms() < end_) \
			turn(); \
		ck_assert_msg((condition), "in vain: %s", #condition); \
	} while (0)

static void pass(unsigned ms)
{
	for (uint64_t end = clock_ms() + ms; clock_ms() < end;)
		turn();
}

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	(void)arg;
	/* the catalogue is there before the registry is ready */
	ck_assert_uint_eq(node.published, 1);
	node.ready = true;
}

static void on_catalogue(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_catalogue *fields = msg->fields;
	struct err err = {0};

	(void)link;
	(void)arg;
	catalogue_free(node.catalogue);
	ck_assert_msg(
		catalogue_open(msg->fds[0], &node.catalogue, &err) == 0, "%s", err_text(&err));
	ck_assert_uint_gt(fields->generation, node.generation);
	ck_assert_uint_eq(fields->generation, catalogue_generation(node.catalogue));
	node.generation = fields->generation;
	node.published_ms = clock_ms();
	node.published++;
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	(void)arg;
	if (link != node.registry && code != -ERR_CLOSED)
		ck_abort_msg("link: %s", why);
	if (link == node.registry) {
		node.closed = true;
		node.registry = NULL;
	}
	if (link == node.admin)
		node.admin = NULL;
	link_free(link);
}

static void on_reply(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query_reply *reply = msg->fields;

	(void)link;
	(void)arg;
	node.replied = true;
	node.code = reply->code;
	buf_clear(&node.reply);
	buf_append_span(&node.reply, msg->payload);
	buf_append_char(&node.reply, '\0');
}

static void on_refresh(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	(void)arg;
	node.refreshes++;
}

static const struct link_handlers registry_handlers = {
	.on = {[MSG_READY] = on_ready, [MSG_CATALOGUE] = on_catalogue}, .closed = on_closed};
static const struct link_handlers upstream_handlers = {
	.on = {[MSG_SERVER_REFRESH] = on_refresh}, .closed = on_closed};
static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY_REPLY] = on_reply}, .closed = on_closed};

static struct link *make_link(enum role self, const struct link_handlers *handlers, int *fd)
{
	const struct link_config config = {
		.self = self, .peer = {.role = ROLE_REGISTRY}, .opener = true};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(node.base, pair[0], &config, handlers, NULL, &link, &err), 0);
	*fd = pair[1];
	return link;
}

/* A link with the registry, as the root would make it. */
static struct link *introduce(enum role role, const char *name)
{
	const struct msg_link_offer offer = {.role = role, .name = span_str(name), .instance = 9};
	const struct link_handlers *handlers =
		role == ROLE_ADMIN ? &admin_handlers : &upstream_handlers;
	struct link *link;
	int fd;

	link = make_link(role, handlers, &fd);
	ck_assert_int_eq(link_send(node.registry, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
	close(fd);
	return link;
}

static int config_file(const char *yaml)
{
	struct config_report report;
	struct config *config;
	struct err err = {0};
	struct buf json;
	int fd;

	config_report_init(&report);
	buf_init(&json, 8u << 20);
	ck_assert_int_eq(config_load_text(span_str(yaml), CONFIG_SYNTAX_YAML, "test.yaml", "/",
				 &config, &report),
		0);
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_PUBLIC, NULL, &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&json);
	config_free(config);
	config_report_free(&report);
	return fd;
}

static void execute(int fd)
{
	char *argv[] = {(char *)(uintptr_t)REGISTRY_PROGRAM, NULL};
	const struct rlimit limit = {node.file_limit, node.file_limit};
	char log[80];

	snprintf(log, sizeof(log), "%s/log", node.dir);
	dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
	if (node.file_limit) {
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
	}
	if (fd == PROCESS_ROOT_FD)
		fcntl(fd, F_SETFD, 0);
	else
		dup2(fd, PROCESS_ROOT_FD);
	execv(REGISTRY_PROGRAM, argv);
	_exit(127);
}

static void launch(const char *yaml)
{
	const struct msg_start start = {
		.instance = 1, .state_dir = span_str(node.dir), .run_dir = span_str(node.dir)};
	int fd, view = config_file(yaml);

	node.ready = node.closed = false;
	node.published = 0;
	node.registry = make_link(ROLE_ROOT, &registry_handlers, &fd);
	node.pid = fork();
	if (node.pid == 0)
		execute(fd);
	close(fd);
	ck_assert_int_eq(link_send(node.registry, MSG_START, 0, &start, SPAN_NONE, &view), 0);
	close(view);
	AWAIT(node.ready || node.closed);
	if (node.closed)
		waitpid(node.pid, &node.status, 0);
}

static void start(const char *yaml)
{
	signal(SIGPIPE, SIG_IGN);
	node.base = event_base_new();
	buf_init(&node.reply, 1u << 25);
	snprintf(node.dir, sizeof(node.dir), "/tmp/gatehouse-registry-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(node.dir));
	launch(yaml);
	ck_assert(node.ready);
}

static void stop(bool kindly)
{
	const struct msg_stop fields = {.deadline_ms = 1000};

	if (kindly)
		link_post(node.registry, MSG_STOP, 0, &fields);
	else
		kill(node.pid, SIGKILL);
	AWAIT(node.closed && !node.admin);
	pass(10);
	waitpid(node.pid, &node.status, 0);
	if (kindly)
		ck_assert_int_eq(node.status, 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static void finish(void)
{
	if (!node.closed)
		stop(true);
	catalogue_free(node.catalogue);
	buf_free(&node.reply);
	event_base_free(node.base);
	nftw(node.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static bool logged(const char *words)
{
	static char text[1u << 20];
	char path[80];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/log", node.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	return strstr(text, words) != NULL;
}

static void configure(const char *yaml)
{
	const struct msg_config config = {.generation = 2};
	int fd = config_file(yaml);

	ck_assert_int_eq(link_send(node.registry, MSG_CONFIG, 0, &config, SPAN_NONE, &fd), 0);
	close(fd);
}

/* --- what upstream workers say -------------------------------------------------------------- */

/* A link that is full takes more when it has been written. */
static void say(struct link *link, enum message_type type, const void *fields, struct span payload)
{
	int r;

	while ((r = link_send(link, type, 0, fields, payload, NULL)) == -ERR_AGAIN)
		turn();
	ck_assert_int_eq(r, 0);
}

static void say_list(struct link *link, const char *server, unsigned kind, struct span list)
{
	const struct msg_server_list fields = {.server = span_str(server), .kind = kind};

	say(link, MSG_SERVER_LIST, &fields, list);
}

static void say_tools(struct link *link, const char *server, const char *list)
{
	say_list(link, server, CATALOGUE_TOOL, span_str(list));
}

static void say_fresh(struct link *link, const char *server, unsigned ttl_ms, bool is_public)
{
	const struct msg_server_list fields = {.server = span_str(server),
		.kind = CATALOGUE_TOOL,
		.ttl_ms = ttl_ms,
		.cache_public = is_public};

	say(link, MSG_SERVER_LIST, &fields, SPAN_LIT("[" TOOL("one") "]"));
}

static void say_state(struct link *link, const char *server, unsigned state, const char *detail,
	const char *facts)
{
	const struct msg_server_state fields = {.server = span_str(server),
		.state = state,
		.detail = span_str(detail),
		.version = SPAN_LIT("2025-11-25")};

	say(link, MSG_SERVER_STATE, &fields, span_str(facts));
}

static struct catalogue_server server_of(const char *name)
{
	struct catalogue_server server;
	uint32_t index;

	ck_assert_msg(catalogue_find_server(node.catalogue, span_str(name), &index) == 0,
		"no server %s", name);
	catalogue_get_server(node.catalogue, index, &server);
	return server;
}

static bool offers(const char *tool)
{
	struct catalogue_item item;

	return catalogue_find(node.catalogue, CATALOGUE_TOOL, span_str(tool), &item, 1) == 1;
}

static uint32_t tools(void)
{
	return catalogue_count(node.catalogue, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS);
}

static cJSON *query(const char *what)
{
	const struct msg_query fields = {.what = span_str(what)};
	cJSON *json;

	if (!node.admin)
		node.admin = introduce(ROLE_ADMIN, "");
	node.replied = false;
	link_post(node.admin, MSG_QUERY, 3, &fields);
	AWAIT(node.replied);
	ck_assert_uint_eq(node.code, 0);
	json = cJSON_Parse(node.reply.data);
	ck_assert_msg(json != NULL, "%s: no JSON: %.200s", what, node.reply.data);
	return json;
}

/* --- tests ---------------------------------------------------------------------------------- */

START_TEST(coalesces)
{
	struct link *alpha, *beta;
	uint64_t began;

	start(TWO);
	ck_assert_uint_eq(catalogue_servers(node.catalogue), 2);
	ck_assert_int_eq(server_of("alpha").state, SERVER_STARTING);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	beta = introduce(ROLE_UPSTREAM, "beta");
	began = clock_ms();
	say_tools(alpha, "alpha", "[" TOOL("one") "," TOOL("two") "]");
	say_tools(beta, "beta", "[" TOOL("one") "]");
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	say_state(beta, "beta", SERVER_UP, "", FACTS);
	AWAIT(node.published > 1);
	ck_assert_uint_ge(node.published_ms - began, 80);
	ck_assert_uint_le(node.published_ms - began, 400);
	pass(250);
	ck_assert_uint_eq(node.published, 2);
	ck_assert_uint_eq(tools(), 3);
	ck_assert(offers("alpha__one") && offers("alpha__two") && offers("beta__one"));
	ck_assert_int_eq(server_of("beta").state, SERVER_UP);
	ck_assert(span_is(server_of("beta").instructions, "be kind"));
	finish();
}
END_TEST

/* Of lists that are merged the stalest one counts, and one that is private makes all so. */
START_TEST(freshness)
{
	struct link *alpha, *beta;
	bool is_private = true;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	beta = introduce(ROLE_UPSTREAM, "beta");
	say_fresh(alpha, "alpha", 5000, true);
	say_fresh(beta, "beta", 3000, true);
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	say_state(beta, "beta", SERVER_UP, "", FACTS);
	AWAIT(catalogue_ttl_ms(node.catalogue, CATALOGUE_TOOL, &is_private) == 3000);
	ck_assert(!is_private);
	/* the list is the same, and less fresh */
	say_fresh(alpha, "alpha", 1000, false);
	AWAIT(catalogue_ttl_ms(node.catalogue, CATALOGUE_TOOL, &is_private) == 1000);
	ck_assert(is_private);
	finish();
}
END_TEST

/* What has been said already is not said again to the whole node. */
START_TEST(only_changes)
{
	struct link *alpha;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_tools(alpha, "alpha", "[" TOOL("one") "]");
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(node.published == 2);
	for (unsigned i = 0; i < 5; i++) {
		say_tools(alpha, "alpha", "[" TOOL("one") "]");
		say_state(alpha, "alpha", SERVER_UP, "", FACTS);
		say_state(alpha, "alpha", SERVER_UP, "", NULL);
		pass(60);
	}
	/* there and back again within one interval */
	say_state(alpha, "alpha", SERVER_DOWN, "it sleeps", NULL);
	say_state(alpha, "alpha", SERVER_UP, "", NULL);
	configure(TWO);
	pass(300);
	ck_assert_uint_eq(node.published, 2);
	say_state(alpha, "alpha", SERVER_DOWN, "it sleeps", NULL);
	AWAIT(node.published == 3);
	ck_assert(span_is(server_of("alpha").error, "it sleeps"));
	/* its tools stay known */
	ck_assert_uint_eq(tools(), 1);
	finish();
}
END_TEST

START_TEST(comes_back)
{
	uint64_t generation;
	struct link *alpha;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_tools(alpha, "alpha", "[" TOOL("one") "]");
	say_list(alpha, "alpha", CATALOGUE_PROMPT, SPAN_LIT("[{\"name\":\"p\"}]"));
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(node.published == 2);
	for (int i = 0; i < 3; i++) {
		generation = node.generation;
		stop(i == 0);
		launch(TWO);
		ck_assert(node.ready);
		ck_assert_uint_gt(node.generation, generation);
		ck_assert(offers("alpha__one"));
		ck_assert_uint_eq(
			catalogue_count(node.catalogue, CATALOGUE_PROMPT, CATALOGUE_ALL_SERVERS),
			1);
		ck_assert_int_eq(server_of("alpha").state, SERVER_STARTING);
		ck_assert(span_is(server_of("alpha").version, "2025-11-25"));
		ck_assert(span_is(server_of("alpha").instructions, "be kind"));
	}
	/* the worker is still there, and says all again: nothing new but the state */
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_tools(alpha, "alpha", "[" TOOL("one") "]");
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(node.published == 2);
	finish();
}
END_TEST

START_TEST(only_its_own)
{
	struct link *alpha;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_tools(alpha, "beta", "[" TOOL("stolen") "]");
	say_state(alpha, "beta", SERVER_UP, "", FACTS);
	say_tools(alpha, "gamma", "[" TOOL("stolen") "]");
	say_tools(alpha, "", "[" TOOL("stolen") "]");
	say_list(alpha, "alpha", 4, SPAN_LIT("[]"));
	say_list(alpha, "alpha", 255, SPAN_LIT("[]"));
	say_state(alpha, "alpha", 200, "", NULL);
	pass(300);
	ck_assert_uint_eq(node.published, 1);
	ck_assert(logged("server.not_its_own"));
	say_tools(alpha, "alpha", "[" TOOL("mine") "]");
	AWAIT(node.published == 2);
	ck_assert_uint_eq(tools(), 1);
	finish();
}
END_TEST

/* A bad list costs itself, and nobody else anything. */
static const struct {
	const char *what, *list;
	size_t len; /* 0: strlen; else the list is padded to it with pad */
	char pad;
	uint32_t tools; /* of alpha that remain */
} bad_lists[] = {
	{"not JSON", "[{\"name\":", 0, 0, 0},
	{"empty", "", 0, 0, 0},
	{"no array", "{\"name\":\"x\"}", 0, 0, 0},
	{"zero bytes", "[" TOOL("x") "]", 4096, 0, 0},
	{"one zero byte", "[" TOOL("x") "]", sizeof("[" TOOL("x") "]"), 0, 0},
	{"huge", "[" TOOL("x") "]", 20u << 20, ' ', 0},
	{"no object", "[1,null,\"x\"," TOOL("good") "]", 0, 0, 1},
	{"no name", "[{\"inputSchema\":{\"type\":\"object\"}}," TOOL("good") "]", 0, 0, 1},
	{"hostile names",
		"[" TOOL("../../etc") "," TOOL("\\u0000") "," TOOL("\\ud800") "," TOOL(
			"<script>alert(1)</script>") "," TOOL("\\u202e\\n\\r\\t\\\"") "," TOOL("goo"
											       "d") "]",
		0, 0, UINT32_MAX},
	{"half a surrogate pair",
		"[" TOOL("\\udc00") "," TOOL(
			"\\ud83d\\ude00 \\\\udc00") ","
						    "{\"name\":\"x\",\"inputSchema\":{\"type\":"
						    "\"object\"},\"description\":"
						    "\"\\ud800\\u0041\"}," TOOL("good") "]",
		0, 0, 2},
	{"twice", "[" TOOL("good") "," TOOL("good") "]", 0, 0, 1},
};

START_TEST(bad_list)
{
	size_t n = bad_lists[_i].len ? bad_lists[_i].len : strlen(bad_lists[_i].list);
	struct link *alpha, *beta;
	char *list = malloc(n + 1);
	cJSON *json;

	memset(list, bad_lists[_i].pad, n + 1);
	memcpy(list, bad_lists[_i].list, strlen(bad_lists[_i].list));
	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	beta = introduce(ROLE_UPSTREAM, "beta");
	say_tools(beta, "beta", "[" TOOL("one") "]");
	say_list(alpha, "alpha", CATALOGUE_TOOL, span_of(list, n));
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(node.published >= 2 && server_of("alpha").state == SERVER_UP);
	pass(150);
	ck_assert_msg(offers("beta__one"), "%s", bad_lists[_i].what);
	if (bad_lists[_i].tools != UINT32_MAX)
		ck_assert_msg(tools() == 1 + bad_lists[_i].tools, "%s: %u tools",
			bad_lists[_i].what, tools());
	json = query("tools");
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tools")), (int)tools());
	cJSON_Delete(json);
	/* stored or not, it does no harm after a restart either */
	stop(false);
	launch(TWO);
	ck_assert(node.ready && offers("beta__one"));
	free(list);
	finish();
}
END_TEST

START_TEST(bad_facts)
{
	static const char *const rows[] = {"{\"capabilities\":", "[]", "7",
		"{\"capabilities\":[1],\"serverInfo\":\"x\",\"instructions\":{}}",
		"{\"instructions\":\"\\u0000\\ud800 \\\"x\"}", "\x01\xff"};
	struct link *alpha;
	cJSON *json;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		say_state(alpha, "alpha", i % 2 ? SERVER_UP : SERVER_DOWN, "\x01\xff\"\\ why",
			rows[i]);
		pass(150);
		json = query("servers");
		ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "servers")), 2);
		cJSON_Delete(json);
	}
	ck_assert(logged("server.bad_facts"));
	finish();
}
END_TEST

static void say_upstream(const char *name, unsigned state, uint32_t retry_ms)
{
	const struct msg_upstream_state fields = {
		.name = span_str(name), .state = state, .retry_ms = retry_ms};

	ck_assert_int_eq(link_post(node.registry, MSG_UPSTREAM_STATE, 0, &fields), 0);
}

START_TEST(states)
{
	const struct msg_exited exited = {.role = ROLE_UPSTREAM, .name = SPAN_LIT("alpha")};
	const struct msg_exited other = {.role = ROLE_WORKER, .name = SPAN_LIT("alpha")};
	struct link *alpha;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_tools(alpha, "alpha", "[" TOOL("one") "]");
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(node.published == 2);
	say_upstream("alpha", 1, 0);
	link_post(node.registry, MSG_EXITED, 0, &other);
	pass(250);
	ck_assert_int_eq(server_of("alpha").state, SERVER_UP);
	link_post(node.registry, MSG_EXITED, 0, &exited);
	AWAIT(server_of("alpha").state == SERVER_STARTING);
	say_upstream("alpha", 2, 1500);
	say_upstream("nobody", 2, 1500);
	AWAIT(server_of("alpha").state == SERVER_FAILED);
	ck_assert(span_is(server_of("alpha").error,
		"its worker crashed too often; it is tried again in 2 s"));
	/* the exit that was the last straw may be told later */
	link_post(node.registry, MSG_EXITED, 0, &exited);
	pass(250);
	ck_assert_int_eq(server_of("alpha").state, SERVER_FAILED);
	say_upstream("alpha", 0, 0);
	AWAIT(server_of("alpha").state == SERVER_STARTING);
	ck_assert_uint_eq(tools(), 1);
	/* what a worker says or its end tells no longer counts */
	say_upstream("alpha", 3, 0);
	AWAIT(server_of("alpha").state == SERVER_STOPPING);
	say_state(alpha, "alpha", SERVER_DOWN, "gone", "");
	link_post(node.registry, MSG_EXITED, 0, &exited);
	pass(250);
	ck_assert_int_eq(server_of("alpha").state, SERVER_STOPPING);
	finish();
}
END_TEST

static void say_alike(struct link *link, const char *server, uint64_t client, unsigned kinds)
{
	const struct msg_server_alike fields = {
		.server = span_str(server), .client = client, .kinds = kinds};

	say(link, MSG_SERVER_ALIKE, &fields, SPAN_NONE);
}

static bool is_alike(uint64_t client, enum catalogue_kind kind)
{
	const struct catalogue_server alpha = server_of("alpha");

	return catalogue_is_alike(&alpha, client, kind);
}

/* What is known of clients stands in the catalogue until the server may be another one. */
START_TEST(alike)
{
	const struct msg_exited crashed = {.role = ROLE_UPSTREAM,
		.name = SPAN_LIT("alpha"),
		.reason = SPAN_LIT("signal 9 (Killed)")};
	const struct msg_exited replaced = {.role = ROLE_UPSTREAM,
		.name = SPAN_LIT("alpha"),
		.reason = SPAN_LIT("exit 0")};
	struct link *alpha;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	say_alike(alpha, "alpha", 7, 1u << CATALOGUE_TOOL);
	say_alike(alpha, "alpha", 8, 1u << CATALOGUE_TOOL | 1u << CATALOGUE_PROMPT);
	say_alike(alpha, "beta", 9, 1u << CATALOGUE_TOOL);
	AWAIT(is_alike(8, CATALOGUE_PROMPT));
	ck_assert(is_alike(7, CATALOGUE_TOOL) && !is_alike(7, CATALOGUE_PROMPT));
	ck_assert(!is_alike(9, CATALOGUE_TOOL));
	say_alike(alpha, "alpha", 8, 0);
	AWAIT(!is_alike(8, CATALOGUE_TOOL));
	/* the oldest make room */
	for (unsigned i = 0; i < CATALOGUE_ALIKE_MAX; i++)
		say_alike(alpha, "alpha", 100 + i, 1u << CATALOGUE_TOOL);
	AWAIT(is_alike(99 + CATALOGUE_ALIKE_MAX, CATALOGUE_TOOL));
	ck_assert(is_alike(100, CATALOGUE_TOOL) && !is_alike(7, CATALOGUE_TOOL));
	link_post(node.registry, MSG_EXITED, 0, &crashed);
	AWAIT(server_of("alpha").state == SERVER_STARTING);
	ck_assert(is_alike(100, CATALOGUE_TOOL));
	link_post(node.registry, MSG_EXITED, 0, &replaced);
	AWAIT(!is_alike(100, CATALOGUE_TOOL));
	finish();
}
END_TEST

/* A server that does not come up is waited for so long and no longer. */
START_TEST(late)
{
	struct link *alpha;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(server_of("alpha").state == SERVER_UP);
	ck_assert(!server_of("beta").late);
	AWAIT(server_of("beta").late);
	ck_assert(!server_of("alpha").late);
	finish();
}
END_TEST

START_TEST(reload)
{
	struct link *alpha, *beta;
	cJSON *json;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	beta = introduce(ROLE_UPSTREAM, "beta");
	say_tools(alpha, "alpha", "[" TOOL("one") "," TOOL("two") "]");
	say_tools(beta, "beta", "[" TOOL("one") "]");
	say_state(beta, "beta", SERVER_UP, "", FACTS);
	AWAIT(node.published == 2);
	/* alpha goes, gamma comes, beta stays what it was */
	configure("mcpServers: {gamma: {command: g, disabled: true}, beta: {command: b}}\n");
	/* at once: nothing is said of a server that is not configured */
	json = query("servers");
	cJSON_Delete(json);
	AWAIT(node.published == 3);
	ck_assert_uint_eq(catalogue_servers(node.catalogue), 2);
	ck_assert_int_eq(server_of("gamma").state, SERVER_DISABLED);
	ck_assert_int_eq(server_of("beta").state, SERVER_UP);
	ck_assert_uint_eq(tools(), 1);
	say_tools(alpha, "alpha", "[" TOOL("late") "]");
	pass(200);
	ck_assert_uint_eq(tools(), 1);
	/* what comes back under that name is another server: nothing is remembered of it */
	configure("mcpServers: {alpha: {command: other, tools: {include: [o*]}}, beta: {command: "
		  "b}}\n");
	AWAIT(node.published == 4);
	ck_assert_uint_eq(tools(), 1);
	say_tools(alpha, "alpha", "[" TOOL("one") "," TOOL("two") "]");
	AWAIT(node.published == 5);
	ck_assert(offers("alpha__one") && !offers("alpha__two"));
	/* no server at all */
	configure("{}\n");
	AWAIT(node.published == 6);
	ck_assert_uint_eq(catalogue_servers(node.catalogue), 0);
	stop(false);
	launch(TWO);
	ck_assert_uint_eq(tools(), 0);
	finish();
}
END_TEST

START_TEST(queries)
{
	static const char *const kinds[] = {"tools", "resources", "templates", "prompts"};
	static const char *const lists[] = {"[" TOOL("a\\\"b") "]",
		"[{\"uri\":\"file:///x\",\"name\":\"\\u00e9\\ud83d\\ude00\"}]",
		"[{\"uriTemplate\":\"f://{x}\",\"name\":\"t\"}]", "[{\"name\":\"p\"}]"};
	struct link *alpha;
	cJSON *json, *row;

	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	for (unsigned kind = 0; kind < 4; kind++)
		say_list(alpha, "alpha", kind, span_str(lists[kind]));
	say_state(alpha, "alpha", SERVER_UP, "", FACTS);
	AWAIT(node.published == 2);
	for (unsigned kind = 0; kind < 4; kind++) {
		json = query(kinds[kind]);
		row = cJSON_GetArrayItem(cJSON_GetObjectItem(json, kinds[kind]), 0);
		ck_assert_msg(row != NULL, "%s: %s", kinds[kind], node.reply.data);
		ck_assert_str_eq(cJSON_GetObjectItem(row, "server")->valuestring, "alpha");
		ck_assert(cJSON_IsObject(cJSON_GetObjectItem(row, "definition")));
		cJSON_Delete(json);
	}
	json = query("servers");
	row = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "servers"), 0);
	ck_assert_str_eq(cJSON_GetObjectItem(row, "state")->valuestring, "up");
	ck_assert_int_eq(cJSON_GetObjectItem(row, "tools")->valueint, 1);
	ck_assert_int_eq(cJSON_GetObjectItem(row, "resources")->valueint, 1);
	cJSON_Delete(json);
	node.replied = false;
	link_post(node.admin, MSG_QUERY, 5, &(struct msg_query){.what = SPAN_LIT("nonsense")});
	AWAIT(node.replied);
	ck_assert_uint_eq(node.code, ERR_NOT_FOUND);
	node.replied = false;
	link_post(node.admin, MSG_QUERY, 7, &(struct msg_query){.what = SPAN_LIT("metrics")});
	AWAIT(node.replied);
	ck_assert_ptr_nonnull(strstr(node.reply.data, "gatehouse_server_up{server=\"alpha\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(node.reply.data, "gatehouse_server_up{server=\"beta\"} 0\n"));
	finish();
}
END_TEST

/* More than an answer holds: it is cut between two rows, and says so. */
START_TEST(long_answers)
{
	struct link *alpha, *beta;
	struct buf list;
	cJSON *json;

	buf_init(&list, 20u << 20);
	for (unsigned i = 0; i < 1000; i++) {
		buf_printf(&list,
			"%s{\"name\":\"t%u\",\"inputSchema\":{\"type\":\"object\"},\"description\":"
			"\"%0*u\"}",
			i ? "," : "[", i, 12000, i);
	}
	buf_append_char(&list, ']');
	start(TWO);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	beta = introduce(ROLE_UPSTREAM, "beta");
	say_list(alpha, "alpha", CATALOGUE_TOOL, buf_span(&list));
	say_list(beta, "beta", CATALOGUE_TOOL, buf_span(&list));
	AWAIT(node.catalogue && tools() == 2000);
	json = query("tools");
	ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(json, "truncated")));
	ck_assert_int_gt(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tools")), 1300);
	cJSON_Delete(json);
	buf_free(&list);
	finish();
}
END_TEST

/* --- the store ------------------------------------------------------------------------------ */

static int data_file(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/registry/data", node.dir);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void replace_data(const char *text)
{
	int fd = data_file();

	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	close(fd);
}

static void damage_pages(void)
{
	int fd = data_file();
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	for (off_t at = 2 * 4096; at < st.st_size; at += 4096)
		ck_assert_int_eq(pwrite(fd, "XXXXXXXXXXXXXXXXXXXX", 20, at), 20);
	close(fd);
}

START_TEST(damaged)
{
	static const char *const rows[] = {"", "nothing of ours", NULL};

	start(TWO);
	say_tools(introduce(ROLE_UPSTREAM, "alpha"), "alpha", "[" TOOL("one") "]");
	AWAIT(node.published == 2);
	stop(true);
	if (rows[_i])
		replace_data(rows[_i]);
	else
		damage_pages();
	launch(TWO);
	ck_assert(node.closed);
	ck_assert(WIFEXITED(node.status) && WEXITSTATUS(node.status) == 1);
	ck_assert(logged("process.start_failed"));
	ck_assert(logged("/registry/data is "));
	ck_assert(logged("remove the folder"));
	finish();
}
END_TEST

/* The lists still reach the node; only a restart would miss them. */
START_TEST(no_room)
{
	struct link *alpha;
	struct buf list;

	buf_init(&list, 4u << 20);
	for (unsigned i = 0; i < 2; i++)
		buf_printf(&list,
			"%s{\"name\":\"big%u\",\"inputSchema\":{\"type\":\"object\"},"
			"\"description\":\"%0*u\"}",
			i ? "," : "[", i, 140000, 1);
	buf_append_char(&list, ']');
	start(TWO);
	stop(true);
	node.file_limit = 320u << 10;
	launch(TWO);
	ck_assert(node.ready);
	alpha = introduce(ROLE_UPSTREAM, "alpha");
	say_list(alpha, "alpha", CATALOGUE_TOOL, buf_span(&list));
	AWAIT(node.published == 2);
	ck_assert(offers("alpha__big1"));
	ck_assert(logged("registry.store_failed"));
	buf_free(&list);
	finish();
}
END_TEST

static void add(Suite *s, const char *name, const TTest *test, int end)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test, 0, end);
	suite_add_tcase(s, tc);
}

static Suite *suite(void)
{
	Suite *s = suite_create("registry");

	add(s, "coalesces", coalesces, 1);
	add(s, "freshness", freshness, 1);
	add(s, "only changes", only_changes, 1);
	add(s, "comes back", comes_back, 1);
	add(s, "only its own", only_its_own, 1);
	add(s, "bad list", bad_list, sizeof(bad_lists) / sizeof(*bad_lists));
	add(s, "bad facts", bad_facts, 1);
	add(s, "states", states, 1);
	add(s, "alike", alike, 1);
	add(s, "late", late, 1);
	add(s, "reload", reload, 1);
	add(s, "queries", queries, 1);
	add(s, "long answers", long_answers, 1);
	add(s, "damaged", damaged, 3);
	add(s, "no room", no_room, 1);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
