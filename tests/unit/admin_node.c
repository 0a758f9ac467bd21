#include "admin_node.h"
#include "clock.h"
#include "config.h"
#include "memfile.h"
#include "process.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000

/* --- the loop ------------------------------------------------------------------------------- */

bool node_wait(struct node *node, const bool *flag, unsigned ms)
{
	const struct timeval turn = {.tv_usec = 2000};
	uint64_t end = clock_ms() + ms;

	while (!*flag && clock_ms() < end) {
		event_base_loopexit(node->base, &turn);
		event_base_loop(node->base, EVLOOP_ONCE);
	}
	return *flag;
}

void node_turn(struct node *node, unsigned ms)
{
	static const bool never;

	node_wait(node, &never, ms);
}

/* --- what parts answer ---------------------------------------------------------------------- */

static void answer(struct node *node, enum role role, const char *name, struct link *link,
	const struct message *msg, struct span what)
{
	for (const struct node_answer *row = node->answers; row->what; row++) {
		struct msg_query_reply reply = {
			.code = (uint64_t)row->code, .detail = span_str(row->detail)};

		if (row->role != role || strcmp(row->name, name) != 0 || !span_is(what, row->what))
			continue;
		if (row->payload)
			ck_assert_int_eq(link_send(link, MSG_QUERY_REPLY, msg->stream, &reply,
						 span_str(row->payload), NULL),
				0);
		return;
	}
	ck_abort_msg("%s %s is asked for %.*s", role_name(role), name, SPAN_ARG(what));
}

static void on_part_query(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query *query = msg->fields;
	struct node_part *part = arg;

	part->questions++;
	answer(part->node, part->role, part->name, link, msg, query->what);
}

static void on_part_command(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_command *command = msg->fields;
	struct node_part *part = arg;

	snprintf(part->node->commanded, sizeof(part->node->commanded), "%.*s %.*s",
		SPAN_ARG(command->what), SPAN_ARG(msg->payload));
	answer(part->node, part->role, part->name, link, msg, command->what);
}

static void on_part_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node_part *part = arg;

	(void)code;
	(void)why;
	part->link = NULL;
	link_free(link);
}

static const struct link_handlers part_handlers = {
	.on = {[MSG_QUERY] = on_part_query, [MSG_COMMAND] = on_part_command},
	.closed = on_part_closed,
};

/* --- the root ------------------------------------------------------------------------------- */

static struct link *make_link(struct node *node, enum role self,
	const struct link_handlers *handlers, void *arg, bool opener, int *ret_fd)
{
	const struct link_config config = {
		.self = self, .peer = {.role = ROLE_ADMIN}, .opener = opener};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(node->base, pair[0], &config, handlers, arg, &link, &err), 0);
	*ret_fd = pair[1];
	return link;
}

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	struct node *node = arg;

	(void)link;
	(void)msg;
	node->ready = true;
}

static void on_query(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query *query = msg->fields;

	answer(arg, ROLE_ROOT, "", link, msg, query->what);
}

static void on_command(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_command *command = msg->fields;
	struct node *node = arg;

	snprintf(node->commanded, sizeof(node->commanded), "%.*s %.*s", SPAN_ARG(command->what),
		SPAN_ARG(msg->payload));
	answer(node, ROLE_ROOT, "", link, msg, command->what);
}

static void on_link_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_link_open *open = msg->fields;
	struct node *node = arg;
	const struct msg_link_grant grant = {
		.role = open->role, .name = open->name, .instance = 50};
	const struct msg_link_deny deny = {
		.code = ERR_NOT_FOUND, .detail = SPAN_LIT("no such process runs")};
	struct node_part *part;
	int fd;

	if (open->role == node->absent) {
		ck_assert_int_eq(link_post(link, MSG_LINK_DENY, msg->stream, &deny), 0);
		return;
	}
	ck_assert_uint_lt(node->n_parts, NODE_PARTS_MAX);
	part = &node->parts[node->n_parts++];
	*part = (struct node_part){.node = node, .role = (enum role)open->role};
	snprintf(part->name, sizeof(part->name), "%.*s", SPAN_ARG(open->name));
	part->link = make_link(node, part->role, &part_handlers, part, false, &fd);
	ck_assert_int_eq(link_send(link, MSG_LINK_GRANT, msg->stream, &grant, SPAN_NONE, &fd), 0);
	close(fd);
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("link with admin: %s", why);
	node->closed = true;
	node->admin = NULL;
	link_free(link);
}

static const struct link_handlers admin_handlers = {
	.on = {[MSG_READY] = on_ready,
		[MSG_QUERY] = on_query,
		[MSG_COMMAND] = on_command,
		[MSG_LINK_OPEN] = on_link_open},
	.closed = on_closed,
};

/* --- start and end -------------------------------------------------------------------------- */

static int config_file(const struct node *node, const char *yaml, const char *socket)
{
	struct config_report report;
	struct config *config = NULL;
	struct err err = {0};
	struct buf text, json;
	int fd;

	config_report_init(&report);
	buf_init(&text, 65536);
	buf_init(&json, 8u << 20);
	buf_printf(&text, "listen: [\"http://127.0.0.1:0\"]\ngateways: 2\n%s", yaml);
	ck_assert_int_eq(config_load_text(buf_span(&text), CONFIG_SYNTAX_YAML, "test.yaml",
				 node->dir, &config, &report),
		0);
	config->admin_socket = (struct config_text){.p = socket};
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_PUBLIC, NULL, &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&text);
	buf_free(&json);
	config_free(config);
	config_report_free(&report);
	return fd;
}

static void send_listener(struct node *node)
{
	const struct msg_listener listener = {
		.kind = SPAN_LIT("metrics"), .url = SPAN_LIT("http://127.0.0.1")};
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	node->http_port = ntohs(addr.sin_port);
	ck_assert_int_eq(link_send(node->admin, MSG_LISTENER, 0, &listener, SPAN_NONE, &fd), 0);
	close(fd);
}

void node_start_at(
	struct node *node, const char *yaml, const struct node_answer *answers, const char *socket)
{
	char *argv[] = {(char *)(uintptr_t)ADMIN_PROGRAM, NULL};
	struct msg_start start = {.instance = 3};
	int fd, config;

	signal(SIGPIPE, SIG_IGN);
	*node = (struct node){.base = event_base_new(), .answers = answers, .absent = ROLE_MAX};
	snprintf(node->dir, sizeof(node->dir), "/tmp/gatehouse-admin-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(node->dir));
	ck_assert_int_eq(chmod(node->dir, 0755), 0);
	snprintf(node->socket, sizeof(node->socket), "%s/admin.sock", node->dir);
	snprintf(node->events, sizeof(node->events), "%s/events.sock", node->dir);
	node->admin = make_link(node, ROLE_ROOT, &admin_handlers, node, true, &fd);
	node->pid = fork();
	if (node->pid == 0) {
		if (fd == PROCESS_ROOT_FD)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, PROCESS_ROOT_FD);
		execv(ADMIN_PROGRAM, argv);
		_exit(127);
	}
	close(fd);
	config = config_file(node, yaml, socket ? socket : node->socket);
	start.state_dir = start.run_dir = span_str(node->dir);
	ck_assert_int_eq(link_send(node->admin, MSG_START, 0, &start, SPAN_NONE, &config), 0);
	close(config);
	send_listener(node);
	for (uint64_t end = clock_ms() + PATIENCE_MS;
		!node->ready && !node->closed && clock_ms() < end;)
		node_turn(node, 2);
}

void node_start(struct node *node, const char *yaml, const struct node_answer *answers)
{
	node_start_at(node, yaml, answers, NULL);
	ck_assert(node->ready);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int node_exit_status(struct node *node)
{
	int status;

	for (uint64_t end = clock_ms() + PATIENCE_MS; clock_ms() < end; node_turn(node, 2)) {
		if (waitpid(node->pid, &status, WNOHANG) != node->pid)
			continue;
		for (unsigned i = 0; i < node->n_parts; i++)
			link_free(node->parts[i].link);
		link_free(node->admin);
		event_base_free(node->base);
		nftw(node->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	kill(node->pid, SIGKILL);
	ck_abort_msg("the admin process does not end");
}

void node_end(struct node *node)
{
	const struct msg_stop stop = {.deadline_ms = 1000};

	ck_assert_int_eq(link_post(node->admin, MSG_STOP, 0, &stop), 0);
	ck_assert_int_eq(node_exit_status(node), 0);
}

/* --- others that speak with it -------------------------------------------------------------- */

static void become(uid_t uid, int out, const char *const *argv)
{
	dup2(out, STDOUT_FILENO);
	if (uid != 0 && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
		_exit(126);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

char *node_run(struct node *node, uid_t uid, const char *const *argv)
{
	char *text = calloc(1, NODE_TEXT_MAX);
	size_t len = 0;
	int out[2], status;
	pid_t pid;
	ssize_t n;

	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		become(uid, out[1], argv);
	close(out[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	for (uint64_t end = clock_ms() + PATIENCE_MS; clock_ms() < end; node_turn(node, 2)) {
		n = read(out[0], text + len, NODE_TEXT_MAX - 1 - len);
		if (n > 0)
			len += (size_t)n;
		if (n == 0)
			break;
	}
	close(out[0]);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return text;
}

cJSON *node_ask_as(struct node *node, uid_t uid, const char *request)
{
	char url[128];
	const char *const argv[] = {"nngcat", "--req", "--dial", url, "--recv-timeout", "15",
		"--raw", "--data", request, NULL};
	char *text;
	cJSON *json;

	snprintf(url, sizeof(url), "ipc://%s", node->socket);
	text = node_run(node, uid, argv);
	json = cJSON_Parse(text);
	if (*text && !json)
		ck_abort_msg("no JSON: %s", text);
	free(text);
	return json;
}

cJSON *node_ask(struct node *node, const char *request)
{
	cJSON *json = node_ask_as(node, 0, request);

	ck_assert_msg(json != NULL, "no answer to %s", request);
	return json;
}

char *node_get(struct node *node, const char *path)
{
	char url[128];
	const char *const argv[] = {
		"curl", "-s", "-i", "--noproxy", "*", "--max-time", "15", url, NULL};

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", node->http_port, path);
	return node_run(node, 0, argv);
}
