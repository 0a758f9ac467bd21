/* gatehouse stdio: for clients that start a program and speak with it. */
#include "bridge.h"
#include "private_node.h"
#include "render.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Is there a node of this very configuration? Then where it listens. */
static bool find_running(const struct invocation *inv, struct target *ret_target)
{
	char path[4096], wanted[PATH_MAX];
	struct client *client;
	cJSON *status = NULL;
	bool same = false;

	if (client_find_socket(inv, path, sizeof(path)) != EXIT_DONE ||
		!realpath(inv->option[OPT_CONFIG], wanted) || access(path, F_OK) < 0 ||
		client_open_quietly(path, &client) < 0)
		return false;
	if (client_ask(client, "status", "", NULL, &status) == EXIT_DONE)
		same = strcmp(json_text(status, "config"), wanted) == 0;
	if (same)
		same = target_ask(client, ret_target) == EXIT_DONE;
	cJSON_Delete(status);
	client_close(client);
	return same;
}

/* From now on the signals that end programs are read. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int run_stdio(struct invocation *inv)
{
	struct private_node *node = NULL;
	struct target target;
	int stop, status = EXIT_DONE;

	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	if (inv->option[OPT_CONFIG] && inv->option[OPT_URL])
		return ctl_usage(inv, "-c and --url exclude each other");
	stop = open_signals();
	if (stop < 0)
		return ctl_fail(EXIT_NODE, NULL, "cannot watch signals");
	if (!inv->option[OPT_CONFIG])
		status = target_find(inv, &target);
	else if (!find_running(inv, &target))
		status = private_node_start(inv->option[OPT_CONFIG], &node, &target);
	if (status == EXIT_DONE)
		status = bridge_run(&target, STDIN_FILENO, STDOUT_FILENO, stop);
	private_node_stop(node);
	close(stop);
	return status;
}
