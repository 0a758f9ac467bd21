/*
 * gatehouse-supervisor: the root of a node. Reads the configuration, opens the listeners, starts
 * the tree of processes and stays until it is told to stop. `gatehouse serve` executes it; it may
 * also be run by itself (systemd).
 */
#include "clock.h"
#include "exchange.h"
#include "log.h"
#include "memory.h"
#include "node.h"
#include "plan.h"
#include "points.h"
#include "process.h"
#include "state.h"
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_CONFIG 78

#define NO_STATE (-1)

static const char usage[] = "usage: gatehouse-supervisor --config FILE [--listen URL ...] [--state "
			    "DIR] [--socket PATH]\n"
			    "                            [--watch] [--dev] [--private]\n"
			    "People use: gatehouse serve -c FILE\n";

static int parse_options(int argc, char **argv, struct node_options *ret)
{
	static const struct option known[] = {{"config", required_argument, NULL, 'c'},
		{"listen", required_argument, NULL, 'l'}, {"state", required_argument, NULL, 'd'},
		{"socket", required_argument, NULL, 's'}, {"private", no_argument, NULL, 'p'},
		{"watch", no_argument, NULL, 'w'}, {"dev", no_argument, NULL, 'D'},
		/* of one root to the next: exchange.h, check.c */
		{"resume", required_argument, NULL, 'R'},
		{"because", required_argument, NULL, 'B'},
		{"preflight", required_argument, NULL, 'P'}, {NULL, 0, NULL, 0}};
	int c;

	ret->resume = ret->preflight = NO_STATE;

	while ((c = getopt_long(argc, argv, "c:l:d:s:pwD", known, NULL)) != -1) {
		if (c == 'c')
			ret->config = optarg;
		else if (c == 'd')
			ret->state = optarg;
		else if (c == 's')
			ret->socket = optarg;
		else if (c == 'p')
			ret->private = true;
		else if (c == 'w')
			ret->watch = true;
		else if (c == 'D')
			ret->dev = ret->watch = true;
		else if (c == 'R')
			ret->resume = atoi(optarg);
		else if (c == 'B')
			ret->because = optarg;
		else if (c == 'P')
			ret->preflight = atoi(optarg);
		else if (c == 'l' && ret->n_listen < NODE_LISTEN_OPTIONS_MAX)
			ret->listen[ret->n_listen++] = optarg;
		else
			return -ERR_INVALID_ARGUMENT;
	}
	return ret->config && optind == argc ? 0 : -ERR_INVALID_ARGUMENT;
}

/* Everything that is said is shown: nobody but this machine may be there. */
static int apply_dev(struct config *config, struct err *err)
{
	for (size_t i = 0; i < config->listen_count; i++)
		if (!config_listen_is_local(&config->listen[i]))
			return err_set(err, ERR_CONFIG,
				"listen: %s can be reached from other machines, which --dev does "
				"not allow: use --listen http://127.0.0.1:PORT, or leave --dev out",
				config->listen[i].url.p);
	if (*config->admin_http.p && !config_host_is_local(config->admin_http.p))
		return err_set(err, ERR_CONFIG,
			"admin.http: %s can be reached from other machines, which --dev does not "
			"allow: use 127.0.0.1:PORT, or leave --dev out",
			config->admin_http.p);
	config->log_format = CONFIG_LOG_TEXT;
	config->log_level = CONFIG_LOG_DEBUG;
	config->log_payloads = true;
	config->log_file = (struct config_text){.p = ""};
	return 0;
}

int node_apply_options(const struct node_options *options, struct config *config, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < options->n_listen; i++)
		r = config_add_listen(config, options->listen[i], i == 0, err);
	if (options->state)
		config->state = (struct config_text){.p = options->state};
	if (options->socket)
		config->admin_socket = (struct config_text){.p = options->socket};
	if (options->private)
		config->admin_http = (struct config_text){.p = ""};
	if (r == 0 && options->dev)
		r = apply_dev(config, err);
	return r;
}

/* Paths of the command line start where the command was given. */
static const char *absolute(const char *path, char *room, size_t size)
{
	char here[4096];

	if (!path || *path == '/' || !getcwd(here, sizeof(here)))
		return path;
	snprintf(room, size, "%s/%s", here, path);
	return room;
}

static void make_absolute(struct node_options *options)
{
	static char state[8200], socket[8200];

	options->state = absolute(options->state, state, sizeof(state));
	options->socket = absolute(options->socket, socket, sizeof(socket));
}

static int load_config(struct node *node, const struct node_options *options)
{
	struct config_report report;
	struct err err = {0};
	struct buf text;
	int r;

	config_report_init(&report);
	buf_init(&text, 1u << 20);
	r = config_load(options->config, &node->config, &report);
	if (r == 0)
		r = node_apply_options(options, node->config, &err);
	config_report_write(&report, &text);
	if (text.len > 0)
		fwrite(text.data, 1, text.len, stderr);
	if (err.code)
		fprintf(stderr, "%s\n", err_text(&err));
	buf_free(&text);
	config_report_free(&report);
	node->config_path = realpath(options->config, NULL);
	return r;
}

static int make_dir(const char *path, struct err *err)
{
	char copy[4096];
	char *p;

	snprintf(copy, sizeof(copy), "%s", path);
	for (p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return err_set_errno(err, "cannot make directory %s", copy);
		*p = '/';
	}
	if (mkdir(copy, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, "cannot make directory %s", copy);
	return 0;
}

/* Those beside this one. All must be there: a node that lacks one would only try again and again. */
static int find_programs(struct node *node, struct err *err)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	return programs_open(&node->programs, dirname(self), err);
}

static void find_run_dir(struct node *node)
{
	char path[4096];

	config_socket_path(node->config, path, sizeof(path));
	snprintf(node->run_dir, sizeof(node->run_dir), "%s", dirname(path));
}

static int make_run_dir(const struct node *node, struct err *err)
{
	struct err why = {0};
	int r = make_dir(node->run_dir, &why);

	if (r == 0 && access(node->run_dir, W_OK | X_OK) < 0)
		r = err_set_errno(&why, "cannot make sockets in %s", node->run_dir);
	if (r < 0)
		err_set(err, (enum err_code) - r,
			"%.300s: set admin: { socket: ./admin.sock } in the configuration, or give "
			"--socket PATH, in a folder you may write",
			err_text(&why));
	return r;
}

/* As people know it: without what led there ("deploy/samples/../.."). */
static void tidy_state_dir(struct node *node)
{
	char *path = realpath(node->state_dir, NULL);

	if (path)
		snprintf(node->state_dir, sizeof(node->state_dir), "%s", path);
	free(path);
}

/* For scripts and people: kill -USR1 $(cat STATE/lock) */
static int write_pid(struct node *node, struct err *err)
{
	if (ftruncate(node->state_lock, 0) < 0 ||
		dprintf(node->state_lock, "%d\n", (int)getpid()) < 0)
		return err_set_errno(err, "cannot write %s/lock", node->state_dir);
	return 0;
}

/* gatehouse doctor has a look at the lock, for a moment. */
static int take_lock(int fd)
{
	for (int i = 0; i < 5; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		usleep(20000);
	}
	return -ERR_BUSY;
}

/* One node per state directory: the databases have one writer. */
static int lock_state(struct node *node, struct err *err)
{
	char path[4200];
	int r;

	snprintf(node->state_dir, sizeof(node->state_dir), "%s", node->config->state.p);
	find_run_dir(node);
	r = make_dir(node->state_dir, err);
	if (r == 0)
		r = make_run_dir(node, err);
	if (r < 0)
		return r;
	tidy_state_dir(node);
	snprintf(path, sizeof(path), "%s/lock", node->state_dir);
	node->state_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (node->state_lock < 0)
		return err_set_errno(err, "cannot open %s", path);
	if (take_lock(node->state_lock) < 0) {
		close(node->state_lock);
		node->state_lock = 0;
		return err_set(err, ERR_BUSY,
			"another node uses the state directory %s: stop it (gatehouse stop), or "
			"set state: to another",
			node->state_dir);
	}
	return write_pid(node, err);
}

/* Every worker, link and client costs descriptors here and in the children, which inherit the
 * limit. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* --- events of the loop --------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	tree_tick(node->tree, clock_ms());
	node_turn(node);
}

static void on_stop_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	node_stop(arg, 0);
}

static void on_reload_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	node_reload_aloud(arg);
}

static void on_reopen_signal(evutil_socket_t sig, short what, void *arg)
{
	struct node *node = arg;
	struct err err = {0};

	(void)sig;
	(void)what;
	if (node_reopen_log(node, &err) < 0)
		log_error("log.reopen_failed", err_text(&err));
	else if (node->log_path)
		log_info("log.reopened", "the log file was opened anew");
}

static void on_orphans(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval again = {0, 50000};
	struct node *node = arg;

	(void)fd;
	(void)what;
	if (children_kill_orphans(&node->children) > 0)
		event_add(node->orphans, &again);
}

static void on_spread(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	node_spread_catalogue(arg);
}

static int make_events(struct node *node)
{
	static const struct {
		int sig;
		event_callback_fn fn;
	} signals[] = {
		{SIGTERM, on_stop_signal}, {SIGINT, on_stop_signal}, {SIGHUP, on_reload_signal},
		{SIGUSR1, on_reopen_signal}};
	const struct timeval beat = {NODE_HEARTBEAT_MS / 1000, NODE_HEARTBEAT_MS % 1000 * 1000};

	node->base = event_base_new();
	if (!node->base)
		return -ERR_NO_MEMORY;
	node->timer = event_new(node->base, -1, 0, on_timer, node);
	node->orphans = event_new(node->base, -1, 0, on_orphans, node);
	node->spread = event_new(node->base, -1, 0, on_spread, node);
	node->heartbeat = event_new(node->base, -1, EV_PERSIST, node_on_heartbeat, node);
	if (!node->timer || !node->orphans || !node->spread || !node->heartbeat ||
		node_make_loans(node) < 0 || event_add(node->heartbeat, &beat) < 0)
		return -ERR_NO_MEMORY;
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		node->signals[i] = evsignal_new(node->base, signals[i].sig, signals[i].fn, node);
		if (!node->signals[i] || event_add(node->signals[i], NULL) < 0)
			return -ERR_NO_MEMORY;
	}
	return 0;
}

static int set_up(struct node *node, struct err *err)
{
	int r;

	node->started_ms = clock_ms();
	node->catalogue = -1;
	node->generation = 1;
	node->gateways = node->config->gateways ? (unsigned)node->config->gateways
						: (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	r = node_check_sandbox(node, err);
	if (r == 0)
		r = lock_state(node, err);
	if (r == 0 && make_events(node) < 0)
		r = err_set(err, ERR_NO_MEMORY, "no event loop");
	if (r < 0)
		return r;
	children_init(&node->children, node->base, &node_child_ops, node);
	r = node_open_listeners(node, err);
	if (r == 0 && node->options->watch)
		r = node_watch_config(node, err);
	if (r == 0)
		r = plan_tree(node, err);
	return r;
}

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

/* Keepers may still be ending their servers. */
static void await_rest(struct node *node)
{
	const struct timeval step = {0, 20000};
	uint64_t until = clock_ms() + 2000;

	while (node->children.total + children_kill_orphans(&node->children) > 0 &&
		clock_ms() < until) {
		event_base_loopexit(node->base, &step);
		event_base_loop(node->base, EVLOOP_ONCE);
	}
}

static void tear_down(struct node *node)
{
	exchange_unguard();
	upgrade_free(node);
	programs_close(&node->programs);
	programs_close(&node->former);
	node_servers_free(node);
	node_unwatch_config(node);
	node_rolling_free(node);
	node_levels_free(node);
	node_close_listeners(node);
	tree_free(node->tree);
	for (size_t i = 0; i < sizeof(node->signals) / sizeof(*node->signals); i++)
		free_event(node->signals[i]);
	free_event(node->timer);
	free_event(node->orphans);
	free_event(node->spread);
	free_event(node->heartbeat);
	free_event(node->loans);
	if (node->base)
		event_base_free(node->base);
	config_free(node->config);
	free(node->config_path);
	node_close_log(node);
	/* who signals the pid that stands there must not meet another process */
	if (node->state_lock > 0 && ftruncate(node->state_lock, 0) < 0)
		log_warn("node.lock_left", "cannot empty the lock file");
}

/* Whoever starts a node looks at its standard error, even when the log goes to a file. */
static void tell_failure(const struct node *node, const struct err *err)
{
	log_error("node.start_failed", err_text(err));
	if (node->log_path)
		fprintf(stderr, "the node does not start: %s\n", err_text(err));
}

static void prepare(void)
{
	raise_limits();
	/* what outlives its keeper comes to the root, which ends it */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, role_program(ROLE_ROOT));
	signal(SIGPIPE, SIG_IGN);
}

static int start(struct node *node, const struct node_options *options)
{
	struct err err = {0};
	int r;

	if (load_config(node, options) < 0)
		return EXIT_CONFIG;
	node->log_level = (enum log_level)node->config->log_level;
	log_set_level(node->log_level);
	if (node_open_log(node, &err) < 0) {
		tell_failure(node, &err);
		return EXIT_CONFIG;
	}
	log_set_format((enum log_format)node->config->log_format);
	if (find_programs(node, &err) < 0) {
		tell_failure(node, &err);
		return EXIT_GAVE_UP;
	}
	r = set_up(node, &err);
	if (r < 0) {
		tell_failure(node, &err);
		tear_down(node);
		return EXIT_FAILURE;
	}
	log_info("node.starting", "the node starts", KV_STR("version", GATEHOUSE_VERSION),
		KV_STR("build", GATEHOUSE_BUILD_ID));
	tree_start(node->tree, clock_ms());
	return 0;
}

static int take_up(struct node *node, struct span state, bool aged, struct err *err)
{
	int r;

	if (make_events(node) < 0)
		return err_set(err, ERR_NO_MEMORY, "no event loop");
	children_init(&node->children, node->base, &node_child_ops, node);
	r = state_load(node, state, aged, err);
	if (r == 0)
		r = node_resume_log(node, err);
	if (r < 0)
		return r;
	log_set_format((enum log_format)node->config->log_format);
	log_set_level(node_log_level(node, ROLE_ROOT, ""));
	log_count_dropped_in(&node->log_dropped);
	return 0;
}

/* As another program's successor: see exchange.h. */
static int resume(struct node *node, const struct node_options *options)
{
	struct memfile map = MEMFILE_NONE;
	struct err err = {0};
	struct span state;
	int r;

	r = exchange_open(options->resume, &map, &state, &err);
	if (r == 0 && !options->because)
		exchange_guard(options, options->resume);
	if (r == 0)
		r = take_up(node, state, options->because != NULL, &err);
	if (r < 0) {
		log_error("upgrade.failed", err_text(&err));
		if (!options->because)
			exchange_give_back(options, options->resume, err_text(&err));
		return EXIT_GAVE_UP;
	}
	memfile_unmap(&map);
	if (options->because)
		close(options->resume);
	if (options->because)
		children_bury(&node->children);
	upgrade_resume(node, options->because);
	node_spread_catalogue(node);
	node_check_loans(node);
	event_active(node->orphans, EV_TIMEOUT, 0);
	exchange_take_signals();
	return 0;
}

/* On probation, what a fatal signal would go back with is kept up to date. */
static void loop(struct node *node)
{
	if (!upgrade_on_probation(node)) {
		event_base_dispatch(node->base);
		return;
	}
	event_base_loop(node->base, EVLOOP_ONCE);
	exchange_checkpoint(node);
}

static int live(struct node *node)
{
	int r;

	node_turn(node);
	/* the tree may have given up in its first turn */
	while (!node->finished) {
		loop(node);
		if (node->exchange_wanted && !node->finished) {
			node->exchange_wanted = false;
			upgrade_exchange(node);
		}
	}
	await_rest(node);
	r = node->exit_status;
	tear_down(node);
	return r;
}

int main(int argc, char **argv)
{
	static struct node node;
	static struct node_options options;
	int r;

	points_open();
	memory_tune();
	log_init(role_name(ROLE_ROOT));
	if (process_version(ROLE_ROOT, argc, argv))
		return EXIT_SUCCESS;
	if (parse_options(argc, argv, &options) < 0) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (options.preflight != NO_STATE)
		return preflight_main(options.preflight, &options);
	make_absolute(&options);
	node.options = &options;
	programs_none(&node.programs);
	programs_none(&node.former);
	prepare();
	r = options.resume == NO_STATE ? start(&node, &options) : resume(&node, &options);
	return r ? r : live(&node);
}
