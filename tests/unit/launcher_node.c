#include "launcher_node.h"
#include "clock.h"
#include "config.h"
#include "memfile.h"
#include "process.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <linux/capability.h>
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
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_FULL, NULL, &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&json);
	config_free(config);
	config_report_free(&report);
	return fd;
}

static void send_start(struct link *link, uint64_t instance, const char *name, int fd)
{
	const struct msg_start start = {.instance = instance,
		.name = span_str(name),
		.state_dir = SPAN_LIT("/"),
		.run_dir = SPAN_LIT("/")};

	ck_assert_int_eq(link_send(link, MSG_START, 0, &start, SPAN_NONE, &fd), 0);
	close(fd);
}

/* --- a keeper's link ------------------------------------------------------------------------ */

static void on_keeper_ready(struct link *link, const struct message *msg, void *arg)
{
	struct kept *kept = arg;

	(void)link;
	(void)msg;
	kept->ready = true;
}

static void on_server_pid(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_pid *said = msg->fields;
	struct kept *kept = arg;

	(void)link;
	kept->pid = (pid_t)said->pid;
}

static void on_server_exited(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_exited *said = msg->fields;
	struct kept *kept = arg;

	(void)link;
	ck_assert_uint_eq(said->instance, kept->instance);
	snprintf(kept->reason, sizeof(kept->reason), "%.*s", SPAN_ARG(said->reason));
	kept->exited = true;
}

static void on_keeper_closed(struct link *link, int code, const char *why, void *arg)
{
	struct kept *kept = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("keeper's link: %s", why);
	kept->closed = true;
	kept->link = NULL;
	link_free(link);
}

static const struct link_handlers keeper_handlers = {
	.on = {[MSG_READY] = on_keeper_ready,
		[MSG_SERVER_PID] = on_server_pid,
		[MSG_SERVER_EXITED] = on_server_exited},
	.closed = on_keeper_closed,
};

/* --- the launcher's link -------------------------------------------------------------------- */

static struct kept *find(struct node *node, uint64_t instance)
{
	for (unsigned i = 0; i < node->count; i++)
		if (node->servers[i].instance == instance)
			return &node->servers[i];
	ck_abort_msg("unknown instance %llu", (unsigned long long)instance);
}

static void on_launcher_ready(struct link *link, const struct message *msg, void *arg)
{
	struct node *node = arg;

	(void)link;
	(void)msg;
	node->launcher_ready = true;
}

static void on_launched(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_launched *said = msg->fields;
	struct kept *kept = find(arg, said->instance);
	struct err err = {0};
	siginfo_t info = {0};
	int fd;

	(void)link;
	kept->keeper = (pid_t)said->pid;
	kept->pidfd = msg->fds[0];
	kept->in = msg->fds[1];
	kept->out = msg->fds[2];
	kept->err = msg->fds[3];
	for (int i = 0; i < 4; i++)
		msg->fds[i] = -1;
	/* a child of ours, not of the launcher */
	ck_assert_int_eq(waitid(P_PIDFD, (id_t)kept->pidfd, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	kept->launched = true;
	if (!kept->link)
		return;
	ck_assert_int_eq(memfile_new("config", SPAN_NONE, &fd, &err), 0);
	send_start(kept->link, kept->instance, "server", fd);
}

static void on_fork_failed(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_fork_failed *said = msg->fields;
	struct kept *kept = find(arg, said->instance);

	(void)link;
	snprintf(kept->reason, sizeof(kept->reason), "%.*s", SPAN_ARG(said->reason));
	kept->refused = true;
}

static void on_launcher_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	(void)code;
	(void)why;
	node->launcher_closed = true;
	node->launcher = NULL;
	link_free(link);
}

static const struct link_handlers launcher_handlers = {
	.on = {[MSG_READY] = on_launcher_ready,
		[MSG_LAUNCHED] = on_launched,
		[MSG_FORK_FAILED] = on_fork_failed},
	.closed = on_launcher_closed,
};

static struct link *make_link(
	struct node *node, enum role role, const struct link_handlers *handlers, void *arg, int *fd)
{
	const struct link_config config = {
		.self = ROLE_ROOT, .peer = {.role = role}, .opener = true};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(node->base, pair[0], &config, handlers, arg, &link, &err), 0);
	*fd = pair[1];
	return link;
}

static void give_up_privileges(void)
{
	if (geteuid() != 0)
		return;
	if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) {
		umount2("/sys/fs/cgroup/unified", MNT_DETACH);
		umount2("/sys/fs/cgroup", MNT_DETACH);
	}
	prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN);
}

void node_start(struct node *node, const char *yaml, bool poor)
{
	char *argv[] = {(char *)(uintptr_t)LAUNCHER_PROGRAM, NULL};
	int fd;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	*node = (struct node){.base = event_base_new()};
	node->launcher = make_link(node, ROLE_LAUNCHER, &launcher_handlers, node, &fd);
	node->launcher_pid = fork();
	if (node->launcher_pid == 0) {
		if (poor)
			give_up_privileges();
		if (fd == PROCESS_ROOT_FD)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, PROCESS_ROOT_FD);
		execv(LAUNCHER_PROGRAM, argv);
		_exit(127);
	}
	close(fd);
	send_start(node->launcher, 1, "", config_file(yaml));
	node_wait(node, &node->launcher_ready, PATIENCE_MS);
}

void node_configure(struct node *node, const char *yaml)
{
	const struct msg_config config = {.generation = 2};
	int fd = config_file(yaml);

	ck_assert_int_eq(link_send(node->launcher, MSG_CONFIG, 0, &config, SPAN_NONE, &fd), 0);
	close(fd);
}

struct kept *node_launch(struct node *node, const char *server)
{
	struct kept *kept = &node->servers[node->count];
	struct msg_launch launch = {.server = span_str(server), .session = SPAN_LIT("s1")};
	int fd;

	ck_assert_uint_lt(node->count, NODE_SERVERS_MAX);
	*kept = (struct kept){.node = node,
		.instance = 100 + node->count,
		.pidfd = -1,
		.in = -1,
		.out = -1,
		.err = -1};
	node->count++;
	launch.instance = kept->instance;
	kept->link = make_link(node, ROLE_KEEPER, &keeper_handlers, kept, &fd);
	ck_assert_int_eq(link_send(node->launcher, MSG_LAUNCH, 0, &launch, SPAN_NONE, &fd), 0);
	close(fd);
	return kept;
}

struct kept *node_launch_ready(struct node *node, const char *server)
{
	struct kept *kept = node_launch(node, server);

	if (!node_wait(node, &kept->ready, PATIENCE_MS))
		ck_abort_msg("server %s is not ready: %s", server, kept->reason);
	return kept;
}

void node_close_input(struct kept *kept)
{
	close(kept->in);
	kept->in = -1;
}

void node_stop_server(struct kept *kept, uint32_t grace_ms)
{
	const struct msg_server_stop stop = {.instance = kept->instance, .grace_ms = grace_ms};

	ck_assert_int_eq(link_post(kept->link, MSG_SERVER_STOP, 0, &stop), 0);
}

void node_drop(struct kept *kept)
{
	link_free(kept->link);
	kept->link = NULL;
}

bool node_keeper_gone(struct kept *kept, unsigned ms, int *ret_status)
{
	struct pollfd poll_fd = {.fd = kept->pidfd, .events = POLLIN};
	siginfo_t info = {0};

	if (poll(&poll_fd, 1, (int)ms) != 1)
		return false;
	ck_assert_int_eq(waitid(P_PIDFD, (id_t)kept->pidfd, &info, WEXITED), 0);
	if (ret_status)
		*ret_status = info.si_status;
	close(kept->pidfd);
	kept->pidfd = -1;
	return true;
}

void node_say(struct kept *kept, const char *line)
{
	ck_assert_int_eq(write(kept->in, line, strlen(line)), (ssize_t)strlen(line));
	ck_assert_int_eq(write(kept->in, "\n", 1), 1);
}

static bool hear_byte(int fd, char *byte)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	if (poll(&poll_fd, 1, PATIENCE_MS) != 1)
		ck_abort_msg("nothing to hear");
	return read(fd, byte, 1) == 1;
}

void node_hear(int fd, char *line, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && hear_byte(fd, line + len) && line[len] != '\n')
		len++;
	line[len] = '\0';
}

void node_hear_all(int fd, char *text, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && hear_byte(fd, text + len))
		len++;
	text[len] = '\0';
}

void node_end(struct node *node)
{
	for (unsigned i = 0; i < node->count; i++) {
		struct kept *kept = &node->servers[i];

		link_free(kept->link);
		if (kept->pidfd >= 0)
			ck_assert(node_keeper_gone(kept, PATIENCE_MS, NULL));
		if (kept->in >= 0)
			close(kept->in);
		if (kept->out >= 0)
			close(kept->out);
		if (kept->err >= 0)
			close(kept->err);
	}
	link_free(node->launcher);
	/* the launcher goes with its link; orphans of killed keepers are the root's to kill */
	for (uint64_t end = clock_ms() + PATIENCE_MS; clock_ms() < end; usleep(1000))
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			break;
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	event_base_free(node->base);
}

/* --- marks ---------------------------------------------------------------------------------- */

static bool is_marked(const char *pid, const char *mark)
{
	static char text[65536];
	char path[300];
	size_t len, at;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/environ", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	for (at = 0; at < len; at += strlen(text + at) + 1)
		if (strcmp(text + at, mark) == 0)
			return true;
	return false;
}

unsigned count_marked(const char *mark)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	unsigned count = 0;

	while ((entry = readdir(dir)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			count += is_marked(entry->d_name, mark);
	closedir(dir);
	return count;
}

unsigned count_marked_after(const char *mark, unsigned ms)
{
	uint64_t end = clock_ms() + ms;
	unsigned count = count_marked(mark);

	for (; count > 0 && clock_ms() < end; count = count_marked(mark))
		usleep(5000);
	return count;
}
