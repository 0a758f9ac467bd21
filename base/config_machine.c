/* The configuration against the machine it is to run on. */
#include "config_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the worst case is added up from. */
#define SINGLETONS 6 /* root, admin, registry, session manager, zygote, launcher */
#define SINGLETON_MEMORY (8 << 20)
#define GATEWAY_MEMORY (16 << 20)
#define WORKER_MEMORY \
	(160 << 10) /* an idle session worker, kernel memory included: 96 to 140 KB measured */
#define UPSTREAM_MEMORY (4 << 20)
#define KEEPER_MEMORY (256 << 10)
#define SERVER_MEMORY \
	(64 << 20)           /* a server of the usual kind, an interpreter with its libraries \
			      */
#define DESCRIPTORS_SPARE 64 /* of a gateway: listeners, links, databases, log */

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- commands ---- */

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static const char *search_path(const struct config_server *server)
{
	const char *own = getenv("PATH");

	for (size_t i = 0; i < server->env.count; i++)
		if (strcmp(server->env.items[i].name, "PATH") == 0)
			return server->env.items[i].value.p;
	return own && own[0] ? own : DEFAULT_PATH;
}

int config_resolve_command(const struct config_server *server, char **ret_path)
{
	const char *command = server->command.p;
	const char *path = search_path(server);

	if (command[0] == '/')
		return is_program(command) && (*ret_path = strdup(command)) ? 0 : -ERR_NOT_FOUND;
	while (command[0] && *path) {
		size_t len = strcspn(path, ":");
		char *candidate = NULL;

		/* a relative entry would mean another place for the child than for us */
		if (path[0] == '/' &&
			asprintf(&candidate, "%.*s/%s", (int)len, path, command) >= 0 &&
			is_program(candidate)) {
			*ret_path = candidate;
			return 0;
		}
		if (path[0] == '/')
			free(candidate);
		path += len + (path[len] == ':');
	}
	return -ERR_NOT_FOUND;
}

static void check_commands(
	const struct config *config, struct config_report *report, struct config_budget *budget)
{
	for (size_t i = 0; i < config->server_count; i++) {
		const struct config_server *server = &config->servers[i];
		const char *command = server->command.secret ? "***" : server->command.p;
		char *path;

		if (server->disabled || server->type != CONFIG_TYPE_STDIO)
			continue;
		budget->commands++;
		if (config_resolve_command(server, &path) == 0) {
			free(path);
			continue;
		}
		budget->missing++;
		config_report_add(report, CONFIG_NOTICE, server->line, 1,
			command[0] == '/'
				? "mcpServers.%s.command: \"%s\" is no program on this machine"
				: "mcpServers.%s.command: \"%s\" is not on the PATH it will have",
			server->title, command);
	}
}

/* ---- the socket of the command ---- */

void config_socket_path(const struct config *config, char *out, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (config->admin_socket.p[0])
		snprintf(out, size, "%s", config->admin_socket.p);
	else if (runtime && runtime[0])
		snprintf(out, size, "%s/gatehouse/admin.sock", runtime);
	else
		snprintf(out, size, "/run/gatehouse/admin.sock");
}

static bool may_make_in(const char *folder)
{
	struct stat st;

	return stat(folder, &st) == 0 && S_ISDIR(st.st_mode) && access(folder, W_OK | X_OK) == 0;
}

/* Its folder, or the first one above it that is there and the rest can be made in. */
static void check_socket(const struct config *config, struct config_report *report)
{
	const struct config_row *row = config_row_find(&config_settings, "admin.socket");
	uint32_t line = config_row_line(&config_settings, row, config);
	char path[PATH_MAX], folder[PATH_MAX];
	char *slash;

	config_socket_path(config, path, sizeof(path));
	snprintf(folder, sizeof(folder), "%s", path);
	do {
		slash = strrchr(folder, '/');
		if (!slash)
			return;
		*slash = '\0';
	} while (access(folder[0] ? folder : "/", F_OK) < 0);
	if (!may_make_in(folder[0] ? folder : "/"))
		config_report_add(report, CONFIG_NOTICE, line, line > 0,
			"admin.socket: this user cannot make %s, and the node would not start; set "
			"admin: { socket: ./admin.sock }, or start it with --socket PATH, in a folder "
			"you may write",
			path);
}

/* ---- what is needed ---- */

static int64_t cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Children of one server at worst; each comes with its keeper. */
static int64_t children(const struct config_server *server)
{
	if (server->type != CONFIG_TYPE_STDIO)
		return 0;
	return server->isolation == CONFIG_ISOLATION_SHARED ? 1 : server->max;
}

static void add_up(const struct config *config, struct config_budget *budget)
{
	int64_t gateways = config->gateways ? config->gateways : cores();
	int64_t workers =
		least(config->worker_max, config->http_max_connections) + config->worker_warm;

	budget->processes = SINGLETONS + gateways + workers;
	budget->memory = SINGLETONS * (int64_t)SINGLETON_MEMORY + gateways * GATEWAY_MEMORY +
			 workers * WORKER_MEMORY;
	for (size_t i = 0; i < config->server_count; i++) {
		const struct config_server *server = &config->servers[i];
		int64_t n = children(server);

		if (server->disabled)
			continue;
		budget->processes += 1 + 2 * n;
		budget->memory += UPSTREAM_MEMORY + n * (KEEPER_MEMORY + (int64_t)SERVER_MEMORY);
	}
	/*
	 * The most of any one process: a gateway may get all connections, each with a link to its
	 * worker; the root holds a pidfd and a link for each process, and pipes of the servers.
	 */
	budget->descriptors =
		DESCRIPTORS_SPARE + (config->http_max_connections + workers > 3 * budget->processes
						    ? config->http_max_connections + workers
						    : 3 * budget->processes);
}

/* The same sum, solved for the connections. */
static void fit_connections(struct config_budget *b, const struct config *config)
{
	int64_t workers = least(config->worker_max, config->http_max_connections);
	int64_t room = b->max_descriptors - DESCRIPTORS_SPARE;
	int64_t gateway = (room - config->worker_warm) / 2;
	int64_t root = room / 3 - (b->processes - workers);
	int64_t fit = least(gateway, root);

	b->connections = config->http_max_connections;
	b->connections_fit = b->max_descriptors < 0 || b->descriptors <= b->max_descriptors
				     ? b->connections
				     : fit > 0 ? fit : 0;
}

/* ---- what there is ---- */

/* First number of a file such as /proc/sys/kernel/pid_max; -1 if there is none ("max"). */
static int64_t read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long long n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%lld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

static int64_t read_available_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long long kb, ret = -1;

	if (!f)
		return -1;
	while (ret < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lld kB", &kb) == 1)
			ret = kb * 1024;
	fclose(f);
	return ret;
}

/* The number in a file of this process's cgroup (version 2); -1 if there is no limit. */
static int64_t read_cgroup(const char *name)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[1024], path[1200], group[900];
	int64_t ret = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "0::%899[^\n]", group) == 1) {
			snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", group, name);
			ret = read_number(path);
		}
	fclose(f);
	return ret;
}

static int64_t read_rlimit(int resource)
{
	struct rlimit limit;

	/* the hard limit: the root raises the soft one to it */
	if (getrlimit((__rlimit_resource_t)resource, &limit) < 0 ||
		limit.rlim_max == RLIM_INFINITY || limit.rlim_max > INT64_MAX)
		return -1;
	return (int64_t)limit.rlim_max;
}

static void take_least(struct config_budget *budget, int64_t limit, const char *name)
{
	if (limit < 0 || (budget->max_processes >= 0 && budget->max_processes <= limit))
		return;
	budget->max_processes = limit;
	budget->processes_limit = name;
}

static void read_limits(struct config_budget *budget)
{
	int64_t group = read_cgroup("memory.max");

	budget->max_processes = -1;
	budget->processes_limit = "";
	/* nobody counts root's processes against RLIMIT_NPROC */
	if (geteuid() != 0)
		take_least(budget, read_rlimit(RLIMIT_NPROC), "RLIMIT_NPROC");
	take_least(budget, read_number("/proc/sys/kernel/pid_max"), "kernel.pid_max");
	take_least(budget, read_number("/proc/sys/kernel/threads-max"), "kernel.threads-max");
	take_least(budget, read_cgroup("pids.max"), "pids.max of the cgroup");
	budget->max_descriptors = read_rlimit(RLIMIT_NOFILE);
	budget->max_memory = read_available_memory();
	if (group >= 0 && (budget->max_memory < 0 || group < budget->max_memory))
		budget->max_memory = group;
}

static const char *format_memory(int64_t bytes, char *out, size_t size)
{
	if (bytes >= 1 << 30)
		snprintf(out, size, "%.1f GiB", (double)bytes / (1 << 30));
	else
		snprintf(out, size, "%.0f MiB", (double)bytes / (1 << 20));
	return out;
}

static void notice_excess(const struct config_budget *b, struct config_report *report)
{
	char need[32], have[32];

	if (b->max_processes >= 0 && b->processes > b->max_processes)
		config_report_add(report, CONFIG_NOTICE, 0, 0,
			"up to %" PRId64 " processes, but %s allows %" PRId64
			"; lower worker.max or the servers' max",
			b->processes, b->processes_limit, b->max_processes);
	if (b->max_descriptors >= 0 && b->descriptors > b->max_descriptors)
		config_report_add(report, CONFIG_NOTICE, 0, 0,
			"with %" PRId64 " clients at once (http.max_connections) one process needs "
			"up to %" PRId64 " descriptors; the hard limit RLIMIT_NOFILE (ulimit -Hn) "
			"of %" PRId64 " suffices for about %" PRId64
			" clients: see docs/operating.md, What a machine needs",
			b->connections, b->descriptors, b->max_descriptors, b->connections_fit);
	if (b->max_memory >= 0 && b->memory > b->max_memory)
		config_report_add(report, CONFIG_NOTICE, 0, 0,
			"up to %s of memory (servers counted with 64 MiB each), but %s are "
			"available; "
			"lower worker.max or the servers' max",
			format_memory(b->memory, need, sizeof(need)),
			format_memory(b->max_memory, have, sizeof(have)));
}

void config_check_environment(
	const struct config *config, struct config_report *report, struct config_budget *ret_budget)
{
	struct config_budget budget = {0};

	check_commands(config, report, &budget);
	check_socket(config, report);
	if (config->listen_count == 0)
		config_report_add(report, CONFIG_NOTICE, 0, 0,
			"listen: none in this file; gatehouse serve needs an address then: --listen "
			"http://127.0.0.1:8080 (gatehouse stdio needs none)");
	add_up(config, &budget);
	read_limits(&budget);
	fit_connections(&budget, config);
	notice_excess(&budget, report);
	*ret_budget = budget;
}

static int write_line(
	struct buf *out, const char *what, int64_t need, int64_t have, const char *limit)
{
	if (have < 0)
		return buf_printf(out, "%-12s %10" PRId64 "   no limit\n", what, need);
	return buf_printf(out, "%-12s %10" PRId64 "   of %10" PRId64 "   %s%s\n", what, need, have,
		limit, need > have ? "   NOT ENOUGH" : "");
}

static int write_descriptors(struct buf *out, const struct config_budget *b)
{
	char limit[128];

	if (b->descriptors <= b->max_descriptors || b->max_descriptors < 0)
		return write_line(out, "descriptors", b->descriptors, b->max_descriptors,
			"in one process (ulimit -Hn)");
	snprintf(limit, sizeof(limit),
		"in one process (ulimit -Hn): about %" PRId64 " of %" PRId64 " clients fit",
		b->connections_fit, b->connections);
	return buf_printf(out, "%-12s %10" PRId64 "   of %10" PRId64 "   %s\n", "descriptors",
		b->descriptors, b->max_descriptors, limit);
}

int config_budget_write(const struct config_budget *b, struct buf *out)
{
	char need[32], have[32];
	int r = buf_printf(out, "%-12s %10u   %u missing\n", "commands", b->commands, b->missing);

	if (r == 0)
		r = write_line(
			out, "processes", b->processes, b->max_processes, b->processes_limit);
	if (r == 0)
		r = write_descriptors(out, b);
	if (r == 0)
		r = buf_printf(out, "%-12s %10s   of %10s   available%s\n", "memory",
			format_memory(b->memory, need, sizeof(need)),
			b->max_memory < 0 ? "?" : format_memory(b->max_memory, have, sizeof(have)),
			b->max_memory >= 0 && b->memory > b->max_memory ? "   NOT ENOUGH" : "");
	return r;
}
