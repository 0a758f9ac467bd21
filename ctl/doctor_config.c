/* The configuration, and what it needs of this machine. */
#include "bounds.h"
#include "doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROOM_PROBLEM (INT64_C(32) << 20)
#define ROOM_WARNING (INT64_C(512) << 20)
/* Mistakes that are told one by one; the others are counted. */
#define TOLD_MAX 20u

/* --- the file -------------------------------------------------------------------------------- */

static void tell_report(struct doctor *doctor, const struct config_report *report)
{
	char next[512];
	size_t told = report->count < TOLD_MAX ? report->count : TOLD_MAX;

	snprintf(next, sizeof(next), "gatehouse check -c %s", doctor->config_file);
	for (size_t i = 0; i < told; i++) {
		const struct config_problem *problem = &report->items[i];
		bool bad = problem->severity == CONFIG_ERROR;

		doctor_found(doctor, bad ? FINDING_PROBLEM : FINDING_WARNING, "configuration",
			next, "line %u: %s", problem->line, problem->text);
	}
	if (report->count + report->dropped > told)
		doctor_found(doctor, report->errors ? FINDING_PROBLEM : FINDING_WARNING,
			"configuration", next, "%zu more mistakes and notices",
			report->count + report->dropped - told);
}

static void load(struct doctor *doctor)
{
	struct config_report report;
	int r;

	config_report_init(&report);
	r = config_load(doctor->config_file, &doctor->config, &report);
	tell_report(doctor, &report);
	if (r < 0 && report.count == 0)
		doctor_found(doctor, FINDING_PROBLEM, "configuration", NULL, "%s: %s",
			doctor->config_file, err_reason(r));
	else if (r == 0)
		doctor_found(doctor, FINDING_OK, "configuration", NULL,
			"%s: %zu %s, %zu %s", doctor->config_file, doctor->config->server_count,
			doctor->config->server_count == 1 ? "server" : "servers",
			doctor->config->listen_count,
			doctor->config->listen_count == 1 ? "listener" : "listeners");
	config_report_free(&report);
}

/* --- commands and limits --------------------------------------------------------------------- */

static void examine_commands(struct doctor *doctor)
{
	const struct config *config = doctor->config;

	for (size_t i = 0; i < config->server_count; i++) {
		const struct config_server *server = &config->servers[i];
		const char *command = server->command.secret ? "***" : server->command.p;
		char check[LIMIT_SERVER_NAME + 16], *path = NULL;

		if (server->disabled || server->type != CONFIG_TYPE_STDIO)
			continue;
		snprintf(check, sizeof(check), "command %s", server->name);
		if (config_resolve_command(server, &path) == 0)
			doctor_found(doctor, FINDING_OK, check, NULL, "%s",
				server->command.secret ? "***" : path);
		else
			doctor_found(doctor, FINDING_PROBLEM, check,
				"install it, or give command with its whole path, or PATH in env",
				command[0] == '/' ? "%s is no program on this machine"
						  : "%s is not on the PATH it will have",
				command);
		free(path);
	}
}

static void compare(struct doctor *doctor, const char *check, int64_t need, int64_t have,
	const char *unit, const char *limit, const char *next)
{
	if (have >= 0 && need > have)
		doctor_found(doctor, FINDING_WARNING, check, next,
			"up to %lld%s at worst, %lld%s are there (%s)", (long long)need, unit,
			(long long)have, unit, limit);
	else
		doctor_found(doctor, FINDING_OK, check, NULL, "up to %lld%s at worst, %s%lld%s",
			(long long)need, unit, have < 0 ? "no limit: " : "of ", (long long)have,
			unit);
}

static void examine_limits(struct doctor *doctor)
{
	struct config_report report;
	struct config_budget budget;

	config_report_init(&report);
	config_check_environment(doctor->config, &report, &budget);
	config_report_free(&report);
	compare(doctor, "processes", budget.processes, budget.max_processes, "",
		budget.processes_limit, "raise it, or lower worker.max and the servers' max");
	compare(doctor, "descriptors", budget.descriptors, budget.max_descriptors, "",
		"RLIMIT_NOFILE", "ulimit -Hn, LimitNOFILE= of the unit, or lower "
				 "http.max_connections");
	compare(doctor, "memory", budget.memory >> 20,
		budget.max_memory < 0 ? -1 : budget.max_memory >> 20, " MiB", "available",
		"lower worker.max and the servers' max");
}

/* --- the state folder ------------------------------------------------------------------------ */

static void examine_room(struct doctor *doctor, const char *dir)
{
	struct statvfs fs;
	int64_t room;

	if (statvfs(dir, &fs) < 0)
		return;
	room = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
	doctor_found(doctor,
		room < ROOM_PROBLEM   ? FINDING_PROBLEM
		: room < ROOM_WARNING ? FINDING_WARNING
				      : FINDING_OK,
		"disk", "free some space there, or set state: to another folder",
		"%lld MiB free for %s", (long long)(room >> 20), dir);
}

/* The node that holds the lock: its pid as the lock says; 0: nobody; -1: somebody nameless. */
static int holder(const char *dir)
{
	char path[4200], text[24] = "";
	int fd, pid;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
		close(fd);
		return 0;
	}
	pid = read(fd, text, sizeof(text) - 1) > 0 ? atoi(text) : 0;
	close(fd);
	return pid > 0 ? pid : -1;
}

static void examine_holder(struct doctor *doctor, const char *dir, int pid)
{
	int other = holder(dir);

	if (other == 0)
		doctor_found(doctor, FINDING_OK, "state", NULL, "%s, in use by no node", dir);
	else if (pid > 0 && other == pid)
		doctor_found(doctor, FINDING_OK, "state", NULL, "%s, in use by this node", dir);
	else if (other > 0)
		doctor_found(doctor, FINDING_PROBLEM, "state",
			"gatehouse stop, with the --socket of that node; or set state: to another "
			"folder",
			"%s is in use by another node, pid %d", dir, other);
	else
		doctor_found(doctor, FINDING_PROBLEM, "state", "set state: to another folder",
			"%s is in use by another program", dir);
}

void doctor_examine_state(struct doctor *doctor, const char *dir, int pid)
{
	char parent[4200];
	struct stat st;

	if (stat(dir, &st) < 0 && errno == ENOENT) {
		snprintf(parent, sizeof(parent), "%s", dir);
		for (char *slash = strrchr(parent, '/');
			slash && slash > parent && access(parent, F_OK) < 0;
			slash = strrchr(parent, '/'))
			*slash = '\0';
		if (access(parent, W_OK) < 0)
			doctor_found(doctor, FINDING_PROBLEM, "state",
				"make it, owned by the user of the node",
				"%s does not exist and cannot be made in %s: %s", dir, parent,
				strerror(errno));
		else
			doctor_found(doctor, FINDING_OK, "state", NULL,
				"%s, made with the first start", dir);
		examine_room(doctor, parent);
		return;
	}
	if (access(dir, W_OK | X_OK) < 0)
		doctor_found(doctor, FINDING_PROBLEM, "state",
			"chown it to the user of the node, or run this as that user",
			"%s cannot be written: %s", dir, strerror(errno));
	else
		examine_holder(doctor, dir, pid);
	examine_room(doctor, dir);
}

/* --- addresses, when no node has them -------------------------------------------------------- */

static int try_bind(const char *host, uint16_t port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr = {0};
	socklen_t len = sizeof(addr.in);
	int fd, on = 1, r = 0;

	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1",
		    &addr.in.sin_addr) == 1) {
		addr.in.sin_family = AF_INET;
		addr.in.sin_port = htons(port);
	} else if (inet_pton(AF_INET6, host, &addr.in6.sin6_addr) == 1) {
		addr.in6.sin6_family = AF_INET6;
		addr.in6.sin6_port = htons(port);
		len = sizeof(addr.in6);
	} else {
		return 0;
	}
	fd = socket(addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &addr.any, len) < 0)
		r = -errno;
	close(fd);
	return r;
}

static void examine_addresses(struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->config->listen_count; i++) {
		const struct config_listen *listen = &doctor->config->listen[i];
		int r = listen->kind == CONFIG_LISTEN_TCP ? try_bind(listen->host, listen->port)
							  : 0;

		if (r < 0)
			doctor_found(doctor, FINDING_PROBLEM, "listen",
				r == -EADDRINUSE ? "ss -ltnp shows who has it; or take another port"
						 : "take another address or port",
				"%s: %s", listen->url.p, strerror(-r));
		else
			doctor_found(doctor, FINDING_OK, "listen", NULL, "%s", listen->url.p);
	}
	if (doctor->config->listen_count == 0)
		doctor_found(doctor, FINDING_WARNING, "listen",
			"gatehouse serve -c FILE --listen http://127.0.0.1:8080",
			"the configuration names no address to listen on");
}

void doctor_examine_config(struct doctor *doctor)
{
	if (!doctor->config_file)
		return;
	load(doctor);
	if (!doctor->config)
		return;
	examine_commands(doctor);
	examine_limits(doctor);
	if (holder(doctor->config->state.p) == 0)
		examine_addresses(doctor);
}
