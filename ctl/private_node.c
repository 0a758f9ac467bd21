#include "private_node.h"
#include "clock.h"
#include "render.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 30000u
#define SETTLE_MS 10000u /* servers that start slower than this come with list_changed */
#define STOP_MS 10000u
#define PAUSE_US 20000

struct private_node {
	pid_t pid;
	char dir[64];
	char socket[96];
};

/* --- processes ------------------------------------------------------------------------------ */

static void become_node(const struct private_node *node, const char *config, pid_t parent)
{
	char program[PATH_MAX], self[PATH_MAX], listen[96], state[96];
	sigset_t none;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	self[n > 0 ? n : 0] = '\0';
	snprintf(program, sizeof(program), "%.*s/gatehouse-supervisor", PATH_MAX - 32,
		dirname(self));
	snprintf(listen, sizeof(listen), "unix:%s/mcp.sock", node->dir);
	snprintf(state, sizeof(state), "%s/state", node->dir);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* standard output is the client's: nothing but JSON-RPC may get there */
	dup2(STDERR_FILENO, STDOUT_FILENO);
	dup2(null, STDIN_FILENO);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() == parent)
		execl(program, program, "--config", config, "--listen", listen, "--state", state,
			"--socket", node->socket, "--private", (char *)NULL);
	fprintf(stderr, "gatehouse: cannot execute %s: %s\n", program, strerror(errno));
	_exit(EXIT_NODE);
}

/* Has it ended? *ret_status is its exit status then. */
static bool has_ended(struct private_node *node, int *ret_status)
{
	int status;

	if (node->pid <= 0 || waitpid(node->pid, &status, WNOHANG) == node->pid) {
		*ret_status = node->pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_NODE;
		node->pid = 0;
		return true;
	}
	return false;
}

/* --- waiting until it is ready --------------------------------------------------------------- */

static bool is_settled(const cJSON *status)
{
	const cJSON *servers = cJSON_GetObjectItemCaseSensitive(status, "servers"), *row;

	cJSON_ArrayForEach(row,
		cJSON_GetObjectItemCaseSensitive(servers,
			"down")) if (strcmp(json_text(row, "state"), "starting") == 0) return false;
	return true;
}

static int await_settled(struct client *client)
{
	uint64_t began = clock_ms();
	int result = EXIT_DONE;
	bool settled = false;

	while (!settled && result == EXIT_DONE && clock_ms() - began < SETTLE_MS) {
		cJSON *status = NULL;

		result = client_ask(client, "status", "", NULL, &status);
		settled = result == EXIT_DONE && strcmp(json_text(status, "state"), "ready") == 0 &&
			  is_settled(status);
		cJSON_Delete(status);
		if (!settled)
			usleep(PAUSE_US);
	}
	return result;
}

static int await_ready(struct private_node *node, struct target *ret_target)
{
	uint64_t began = clock_ms();
	struct client *client = NULL;
	int status;

	while (access(node->socket, F_OK) < 0 || client_open_quietly(node->socket, &client) < 0) {
		if (has_ended(node, &status))
			return ctl_fail(status, "gatehouse check -c FILE",
				"the node did not start (%d)", status);
		if (clock_ms() - began > READY_MS)
			return ctl_fail(EXIT_TIMEOUT, NULL, "the node did not start in time");
		usleep(PAUSE_US);
	}
	status = await_settled(client);
	if (status == EXIT_DONE)
		status = target_ask(client, ret_target);
	client_close(client);
	return status;
}

int private_node_start(
	const char *config, struct private_node **ret_node, struct target *ret_target)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct private_node *node = calloc(1, sizeof(*node));
	pid_t self = getpid();
	int status;

	if (!node)
		return ctl_fail(EXIT_NODE, NULL, "out of memory");
	/* short: the paths of sockets are limited */
	snprintf(node->dir, sizeof(node->dir), "%s/gatehouse-XXXXXX",
		runtime && *runtime && strlen(runtime) < 40 ? runtime : "/tmp");
	if (!mkdtemp(node->dir)) {
		status =
			ctl_fail(EXIT_NODE, NULL, "cannot make %s: %s", node->dir, strerror(errno));
		free(node);
		return status;
	}
	snprintf(node->socket, sizeof(node->socket), "%s/admin.sock", node->dir);
	node->pid = fork();
	if (node->pid == 0)
		become_node(node, config, self);
	status = node->pid < 0 ? ctl_fail(EXIT_NODE, NULL, "cannot fork: %s", strerror(errno))
			       : await_ready(node, ret_target);
	if (status != EXIT_DONE) {
		private_node_stop(node);
		return status;
	}
	*ret_node = node;
	return EXIT_DONE;
}

/* --- the end -------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void private_node_stop(struct private_node *node)
{
	uint64_t began = clock_ms();
	int status;

	if (!node)
		return;
	if (node->pid > 0)
		kill(node->pid, SIGTERM);
	while (node->pid > 0 && !has_ended(node, &status)) {
		if (clock_ms() - began > STOP_MS) {
			kill(node->pid, SIGKILL);
			waitpid(node->pid, NULL, 0);
			node->pid = 0;
			break;
		}
		usleep(PAUSE_US);
	}
	nftw(node->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(node);
}
