/* What the admin process asks of the root, and what it commands. It has checked who asks; the root
 * obeys or says why not. */
#include "clock.h"
#include "json_write.h"
#include "log.h"
#include "node.h"
#include "upgrade.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define REPLY_MAX (16u * 1024 * 1024)
/* Processes whose figures are read for one answer, and how long they are good for another. */
#define MEASURE_AT_ONCE 1000u
#define MEASURE_FRESH_MS 1000u

static void reply(
	struct link *link, uint32_t stream, int code, const char *detail, struct span payload)
{
	const struct msg_query_reply fields = {
		.code = (uint64_t)(code < 0 ? -code : code), .detail = span_str(detail)};

	link_send(link, MSG_QUERY_REPLY, stream, &fields, payload, NULL);
}

static void member(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "\"%s\":", key);
	json_write_string(out, span_str(value));
	buf_append_char(out, ',');
}

/* A session worker that waits for its first session. */
static bool is_warm(const struct child *child)
{
	return child->role == ROLE_WORKER && child->state == CHILD_RUNNING && !child->label[0];
}

static const char *state_name(const struct child *child)
{
	static const char *const names[] = {[CHILD_ASKED] = "starting",
		[CHILD_STARTING] = "starting",
		[CHILD_RUNNING] = "running",
		[CHILD_STOPPING] = "stopping"};

	return is_warm(child) ? "warm" : names[child->state];
}

/* Resident bytes, shared pages included, and CPU time in clock ticks; zeros when the process is
 * just gone. */
static void measure(pid_t pid, long long *ret_rss, unsigned long long *ret_ticks)
{
	char path[64];
	unsigned long long user = 0, kernel = 0;
	long long rss = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file,
			    "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu "
			    "%*d %*d %*d %*d %*d %*d "
			    "%*u %*u %lld",
			    &user, &kernel, &rss) != 3)
			rss = 0;
		fclose(file);
	}
	*ret_rss = rss * sysconf(_SC_PAGESIZE);
	*ret_ticks = user + kernel;
}

/*
 * With many thousand processes a look at each would keep the root from its work for a good part of
 * a second: beyond MEASURE_AT_ONCE those are looked at whose figures are old.
 */
static void measure_child(struct child *child, unsigned *left)
{
	uint64_t now = clock_ms();

	if (child->pid == 0 || *left == 0 ||
		(child->measured_ms && now - child->measured_ms < MEASURE_FRESH_MS))
		return;
	(*left)--;
	child_look_for_filter(child);
	child->measured_ms = now;
	measure(child->pid, &child->rss_bytes, &child->cpu_ticks);
}

static void write_process(struct buf *out, struct child *child, unsigned *measures)
{
	measure_child(child, measures);
	buf_append_char(out, '{');
	member(out, "role", role_name(child->role));
	member(out, "name", child->name);
	if (child->label[0])
		member(out, "session", child->label);
	member(out, "state", state_name(child));
	buf_printf(out, "\"instance\":%llu,\"pid\":%d,", (unsigned long long)child->instance,
		(int)child->pid);
	if (child->filter != CHILD_FILTER_UNKNOWN)
		buf_printf(out, "\"filter\":%s,",
			child->filter == CHILD_FILTER_YES ? "true" : "false");
	if (child->server_pid)
		buf_printf(out, "\"server_pid\":%d,", (int)child->server_pid);
	buf_printf(out, "\"age_ms\":%llu,\"rss_bytes\":%lld,\"cpu_ms\":%llu}",
		(unsigned long long)(clock_ms() - child->born_ms), child->rss_bytes,
		child->cpu_ticks * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}

static void write_ps(struct node *node, struct buf *out)
{
	unsigned measures = MEASURE_AT_ONCE;
	struct child *child;
	struct child self = {.role = ROLE_ROOT,
		.pid = getpid(),
		.state = CHILD_RUNNING,
		.born_ms = node->started_ms};

	buf_append_str(out, "{\"processes\":[");
	write_process(out, &self, &measures);
	for (child = node->children.by_instance; child; child = child->hh.next) {
		if (child->state == CHILD_ASKED)
			continue;
		buf_append_char(out, ',');
		write_process(out, child, &measures);
	}
	buf_append_str(out, "]}");
}

/* --- the tree ------------------------------------------------------------------------------- */

static const char *status_name(enum child_status status)
{
	static const char *const names[CHILD_STATUS_MAX] = {
		[CHILD_STATUS_UNDEFINED] = "stopped",
		[CHILD_STATUS_STARTING] = "starting",
		[CHILD_STATUS_RUNNING] = "running",
		[CHILD_STATUS_STOPPING] = "stopping",
		[CHILD_STATUS_RESTARTING] = "restarting",
	};

	return names[status];
}

#define TREE_ROWS_MAX 1024

static void write_supervisor(struct node *node, uint64_t supervisor, struct buf *out);

static void write_row(struct node *node, const struct child_row *row, struct buf *out)
{
	const struct child *child =
		row->type == CHILD_SUPERVISOR ? NULL : node_acting(node, row->instance);

	buf_append_char(out, '{');
	member(out, "id", row->id ? row->id : "");
	member(out, "state",
		child && is_warm(child) && row->status == CHILD_STATUS_RUNNING
			? "warm"
			: status_name(row->status));
	if (child && child->label[0])
		member(out, "session", child->label);
	if (child)
		buf_printf(out, "\"role\":\"%s\",\"pid\":%d,\"age_ms\":%llu,",
			role_name(child->role), (int)child->pid,
			(unsigned long long)(clock_ms() - child->born_ms));
	buf_printf(out, "\"instance\":%llu", (unsigned long long)row->instance);
	if (row->type == CHILD_SUPERVISOR && row->instance)
		write_supervisor(node, row->instance, out);
	buf_append_char(out, '}');
}

/* In start order; under a supervisor of many, the newest TREE_ROWS_MAX and the number of all. */
static void write_supervisor(struct node *node, uint64_t supervisor, struct buf *out)
{
	struct child_row rows[TREE_ROWS_MAX];
	size_t n = 0;

	tree_which_children(node->tree, supervisor, rows, TREE_ROWS_MAX, &n);
	buf_printf(out, ",\"count\":%zu,\"children\":[", n);
	for (size_t i = n < TREE_ROWS_MAX ? n : TREE_ROWS_MAX; i-- > 0;) {
		write_row(node, &rows[i], out);
		if (i > 0)
			buf_append_char(out, ',');
	}
	buf_append_char(out, ']');
}

static void write_tree(struct node *node, struct buf *out)
{
	buf_printf(out, "{\"id\":\"root\",\"state\":\"%s\",\"pid\":%d,\"age_ms\":%llu",
		node->stopping ? "stopping" : "running", (int)getpid(),
		(unsigned long long)(clock_ms() - node->started_ms));
	write_supervisor(node, TREE_ROOT, out);
	buf_append_char(out, '}');
}

/* Of the processes that have been looked at, each once in its life. */
static void write_sandbox(struct node *node, struct buf *out)
{
	unsigned left = MEASURE_AT_ONCE, filtered = 0, lacking = 0;
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next) {
		if (child->filter == CHILD_FILTER_UNKNOWN && left > 0) {
			left--;
			child_look_for_filter(child);
		}
		filtered += child->filter == CHILD_FILTER_YES;
		lacking += child_lacks_filter(child);
	}
	buf_printf(out, "\"sandbox\":{\"mode\":\"%s\",\"filtered\":%u,\"lacking\":%u},",
		node->config->sandbox == CONFIG_SANDBOX_BEST_EFFORT ? "best-effort" : "require",
		filtered, lacking);
}

static void write_status(struct node *node, struct buf *out)
{
	bool first = true;

	buf_append_char(out, '{');
	member(out, "version", GATEHOUSE_VERSION);
	member(out, "build", GATEHOUSE_BUILD_ID);
	member(out, "state", node->stopping ? "stopping" : node->ready ? "ready" : "starting");
	member(out, "config", node->config_path ? node->config_path : "");
	member(out, "state_dir", node->state_dir);
	write_sandbox(node, out);
	buf_append_str(out, "\"upgrade\":");
	upgrade_write(node, out);
	buf_printf(out,
		",\"pid\":%d,\"uptime_ms\":%llu,\"generation\":%llu,\"catalogue\":%llu,"
		"\"processes\":%u,\"listen\":[",
		(int)getpid(), (unsigned long long)(clock_ms() - node->started_ms),
		(unsigned long long)node->generation,
		(unsigned long long)node->catalogue_generation, node->children.total + 1);
	for (unsigned i = 0; i < node->n_listeners; i++) {
		if (node->listeners[i].slot != 0)
			continue;
		buf_append_str(out, first ? "{" : ",{");
		first = false;
		member(out, "kind", node->listeners[i].kind);
		buf_append_str(out, "\"url\":");
		json_write_string(out, span_str(node->listeners[i].url));
		buf_append_char(out, '}');
	}
	buf_append_str(out, "],\"at_next_start\":[");
	for (unsigned i = 0; i < node->n_pending; i++)
		buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", node->pending[i]);
	buf_append_str(out, "]}");
}

/* One that has yet to answer counts with what it owes already. */
static uint64_t child_lag_us(const struct child *child)
{
	uint64_t owed = child->unanswered ? clock_us() - child->pinged_us : 0;

	return owed > child->lag_us ? owed : child->lag_us;
}

static void write_tally(const struct node *node, enum role role, uint64_t lag_us, struct buf *out)
{
	const struct node_tally *tally = &node->tally[role];
	const char *name = role_name(role);

	buf_printf(out,
		"gatehouse_process_restarts_total{role=\"%s\",reason=\"signal\"} %llu\n"
		"gatehouse_process_restarts_total{role=\"%s\",reason=\"exit\"} %llu\n",
		name, (unsigned long long)tally->killed, name, (unsigned long long)tally->failed);
	/* the others are not asked (heartbeat.c) */
	if (role != ROLE_ROOT && role != ROLE_WORKER && role != ROLE_KEEPER)
		buf_printf(out, "gatehouse_event_loop_lag_seconds{role=\"%s\"} %.6f\n", name,
			(double)lag_us / 1e6);
}

/* Samples of the processes, summed by role; the admin process adds the rest of Prometheus' form. */
static void write_metrics(struct node *node, struct buf *out)
{
	unsigned count[ROLE_MAX] = {[ROLE_ROOT] = 1};
	long long rss[ROLE_MAX] = {0};
	unsigned long long ticks[ROLE_MAX] = {0};
	uint64_t lag_us[ROLE_MAX] = {0};
	unsigned measures = MEASURE_AT_ONCE;
	struct child *child;

	measure(getpid(), &rss[ROLE_ROOT], &ticks[ROLE_ROOT]);
	for (child = node->children.by_instance; child; child = child->hh.next) {
		if (child->pid == 0)
			continue;
		measure_child(child, &measures);
		count[child->role]++;
		rss[child->role] += child->rss_bytes;
		ticks[child->role] += child->cpu_ticks;
		if (child_lag_us(child) > lag_us[child->role])
			lag_us[child->role] = child_lag_us(child);
	}
	for (int role = 0; role < ROLE_MAX; role++) {
		const char *name = role_name((enum role)role);

		buf_printf(out, "gatehouse_processes{role=\"%s\"} %u\n", name, count[role]);
		buf_printf(out, "gatehouse_process_resident_memory_bytes{role=\"%s\"} %lld\n", name,
			rss[role]);
		buf_printf(out, "gatehouse_process_cpu_seconds_total{role=\"%s\"} %.2f\n", name,
			(double)(ticks[role] + node->tally[role].cpu_ticks) /
				(double)sysconf(_SC_CLK_TCK));
		write_tally(node, (enum role)role, lag_us[role], out);
	}
	buf_printf(out,
		"gatehouse_config_generation %llu\n"
		"gatehouse_config_last_reload_successful %d\n"
		"gatehouse_log_dropped_total{role=\"root\"} %llu\n",
		(unsigned long long)node->generation, !node->reload_failed,
		(unsigned long long)log_dropped());
}

static const struct {
	const char *what;
	void (*write)(struct node *node, struct buf *out);
} queries[] = {
	{"ps", write_ps},
	{"tree", write_tree},
	{"status", write_status},
	{"metrics", write_metrics},
	{"rolling", node_write_rolling},
	{"upgrade", upgrade_write},
};

static void write_config(struct node *node, struct buf *out)
{
	config_write_json(node->config, CONFIG_VIEW_DISPLAY, NULL, out);
}

void node_on_query(struct link *link, const struct message *msg, void *arg)
{
	struct node *node = child_node(arg);
	const struct msg_query *query = msg->fields;
	struct buf out;

	buf_init(&out, REPLY_MAX);
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		if (!span_is(query->what, queries[i].what))
			continue;
		queries[i].write(node, &out);
		reply(link, msg->stream, 0, "", buf_span(&out));
		buf_free(&out);
		return;
	}
	if (span_is(query->what, "config")) {
		write_config(node, &out);
		reply(link, msg->stream, 0, "", buf_span(&out));
	} else {
		reply(link, msg->stream, ERR_NOT_FOUND, "the root does not know this question",
			SPAN_NONE);
	}
	buf_free(&out);
}

/* --- commands ------------------------------------------------------------------------------- */

/* Payload of the commands: plain text, not JSON; the root reads as little as possible. */
static void command_stop(struct node *node, struct link *link, const struct message *msg)
{
	reply(link, msg->stream, 0, "the node stops", SPAN_NONE);
	link_flush(link);
	node_stop(node, 0);
}

/* What else was named: is a server of the configuration just not running, or is there none? */
static void explain_restart(const struct node *node, struct span target, char *text, size_t size)
{
	bool slash = memchr(target.p, '/', target.len);
	bool server = target.len > 7 && strncmp(target.p, "server/", 7) == 0;
	char name[LIMIT_SERVER_NAME + 1];

	snprintf(name, sizeof(name), "%.*s", (int)(target.len - (server ? 7 : 0)),
		target.p + (server ? 7 : 0));
	if ((server || !slash) && config_find_server(node->config, name))
		snprintf(text, size, "server %s has no process now", name);
	else if (server || !slash)
		snprintf(text, size, "there is no server %s; what can be restarted is "
				     "server/NAME, role/NAME, gateway/SLOT, session/ID, "
				     "sessions or edge", name);
	else
		snprintf(text, size, "nothing is called %.*s; what can be restarted is "
				     "server/NAME, role/NAME, gateway/SLOT, session/ID, "
				     "sessions or edge",
			SPAN_ARG(target));
}

/* "role/NAME", "server/NAME", "gateway/SLOT", "process/INSTANCE", or the bare name of a server. */
static bool is_meant(const struct child *child, struct span target)
{
	char text[LIMIT_SERVER_NAME + 16];

	snprintf(text, sizeof(text), "process/%llu", (unsigned long long)child->instance);
	if (span_is(target, text))
		return true;
	snprintf(text, sizeof(text), "role/%s", role_name(child->role));
	if (span_is(target, text))
		return true;
	if (child->role != ROLE_UPSTREAM && child->role != ROLE_GATEWAY)
		return false;
	snprintf(text, sizeof(text), "%s/%s", child->role == ROLE_UPSTREAM ? "server" : "gateway",
		child->name);
	return span_is(target, text) ||
	       (child->role == ROLE_UPSTREAM && span_is(target, child->name));
}

/*
 * A gateway gets a successor first. A session worker ends when its calls are done. The others are
 * ended, and their supervisor starts them again: the policy does not know, it has asked nobody.
 */
static int restart_child(struct node *node, struct child *child, struct err *err)
{
	if (child->role == ROLE_GATEWAY)
		return node_swap(node, child, err);
	if (child->role == ROLE_WORKER) {
		child_stop(child, (uint32_t)node->config->session_request_timeout);
		return 0;
	}
	child_stop(child, child->stop_ms);
	child_kill_later(child, child->stop_ms);
	return 0;
}

static void command_restart(struct node *node, struct link *link, const struct message *msg)
{
	struct child *child, *next;
	unsigned n = 0;
	char text[320];
	struct err err = {0};
	int r = 0;

	HASH_ITER (hh, node->children.by_instance, child, next) {
		if (child->role == ROLE_KEEPER || child->state != CHILD_RUNNING ||
			child->replaces || !is_meant(child, msg->payload))
			continue;
		r = restart_child(node, child, &err);
		if (r < 0)
			break;
		n++;
	}
	if (r < 0)
		snprintf(text, sizeof(text), "%s", err_text(&err));
	else if (n)
		snprintf(text, sizeof(text), "%u restarted", n);
	else
		explain_restart(node, msg->payload, text, sizeof(text));
	reply(link, msg->stream, r < 0 ? r : n ? 0 : ERR_NOT_FOUND, text, SPAN_NONE);
}

/* "server/NAME" or "role/NAME"; empty: the whole node. name: room for the server's. */
static int read_target(const struct node *node, struct span text, struct level_target *target,
	char *name, size_t size, struct err *err)
{
	const char *slash = text.len ? memchr(text.p, '/', text.len) : NULL;

	target->server = "";
	if (text.len == 0)
		return 0;
	snprintf(name, size, "%.*s", slash ? (int)(text.p + text.len - slash - 1) : 0,
		slash ? slash + 1 : "");
	if (strncmp(text.p, "server/", 7) == 0) {
		if (!config_find_server(node->config, name))
			return err_set(err, ERR_NOT_FOUND, "there is no server %s", name);
		target->scope = LEVEL_OF_SERVER;
		target->server = name;
		return 0;
	}
	for (int role = 0; strncmp(text.p, "role/", 5) == 0 && role < ROLE_MAX; role++) {
		if (strcmp(role_name((enum role)role), name) != 0)
			continue;
		target->scope = LEVEL_OF_ROLE;
		target->role = (enum role)role;
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND,
		"there is no role %s: gatehouse ps shows them in its first column", name);
}

/* Up to the next space, which is passed over. text may be NULL. */
static struct span next_word(struct span *rest, char *text, size_t size)
{
	size_t len = 0;
	struct span word;

	while (len < rest->len && rest->p[len] != ' ')
		len++;
	word = span_of(rest->p, len);
	*rest = len < rest->len ? span_of(rest->p + len + 1, rest->len - len - 1) : SPAN_NONE;
	if (text)
		snprintf(text, size, "%.*s", SPAN_ARG(word));
	return word;
}

static void describe_level(const struct node *node, const struct level_target *target,
	const char *for_text, char *text, size_t size)
{
	const char *where = target->scope == LEVEL_OF_NODE     ? "the node logs"
			    : target->scope == LEVEL_OF_SERVER ? target->server
							       : role_name(target->role);

	snprintf(text, size, "%s%s at %s%s%s%s%s", where,
		target->scope == LEVEL_OF_SERVER ? ": its worker logs"
		: target->scope == LEVEL_OF_ROLE ? " processes log"
						 : "",
		log_level_name(target->level), *for_text ? " for " : "", for_text,
		*for_text && target->scope == LEVEL_OF_NODE ? ", then again at " : "",
		*for_text && target->scope == LEVEL_OF_NODE ? log_level_name(node->log_level) : "");
}

/* "LEVEL TARGET MS TEXT"; TARGET may be empty, MS 0: for good, TEXT says MS as a person does. */
static int set_level(struct node *node, struct span words, char *text, size_t size, struct err *err)
{
	char name[LIMIT_SERVER_NAME + 1], number[24];
	struct level_target target = {.scope = LEVEL_OF_NODE};
	int level, r;

	next_word(&words, name, sizeof(name));
	level = log_level_parse(name);
	if (level < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"there is no level %s: they are debug, info, warn and error", name);
	target.level = (enum log_level)level;
	r = read_target(node, next_word(&words, NULL, 0), &target, name, sizeof(name), err);
	if (r < 0)
		return r;
	next_word(&words, number, sizeof(number));
	r = node_set_level_of(node, &target, strtoull(number, NULL, 10), err);
	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "%.*s", SPAN_ARG(words));
	describe_level(node, &target, number, text, size);
	return 0;
}

static void command_log_level(struct node *node, struct link *link, const struct message *msg)
{
	char text[200] = "";
	struct err err = {0};
	int r = set_level(node, msg->payload, text, sizeof(text), &err);

	reply(link, msg->stream, r, r < 0 ? err_text(&err) : text, SPAN_NONE);
}

static void roll(struct node *node, struct link *link, const struct message *msg, enum role role)
{
	struct err err = {0};
	unsigned total = 0;
	char text[160];
	int r = node_roll(node, role, &total, &err);

	snprintf(text, sizeof(text), "%u %s are being replaced, one after the other", total,
		role == ROLE_GATEWAY ? "gateways" : "session workers");
	reply(link, msg->stream, r, r < 0 ? err_text(&err) : text, SPAN_NONE);
}

static void command_restart_sessions(
	struct node *node, struct link *link, const struct message *msg)
{
	roll(node, link, msg, ROLE_WORKER);
}

static void command_restart_edge(struct node *node, struct link *link, const struct message *msg)
{
	roll(node, link, msg, ROLE_GATEWAY);
}

static void reload(struct node *node, struct link *link, const struct message *msg, bool dry)
{
	struct err err = {0};
	struct buf out;
	int r;

	buf_init(&out, 65536);
	r = node_reload(node, dry, &out, &err);
	reply(link, msg->stream, r, r < 0 ? err_text(&err) : "", buf_span(&out));
	buf_free(&out);
}

static void command_reload(struct node *node, struct link *link, const struct message *msg)
{
	reload(node, link, msg, false);
}

static void command_reload_dry(struct node *node, struct link *link, const struct message *msg)
{
	reload(node, link, msg, true);
}

/* The folder of the new programs; empty: that of the present ones. */
static void command_upgrade(struct node *node, struct link *link, const struct message *msg)
{
	char dir[PROGRAMS_DIR_MAX];
	struct err err = {0};
	int r;

	if (msg->payload.len >= sizeof(dir)) {
		r = err_set(&err, ERR_TOO_LARGE, "the path of the folder is too long");
	} else if (msg->payload.len > 0 && msg->payload.p[0] != '/') {
		r = err_set(&err, ERR_INVALID_ARGUMENT, "the folder is not named from /");
	} else {
		snprintf(dir, sizeof(dir), "%.*s", SPAN_ARG(msg->payload));
		r = upgrade_begin(node, dir, &err);
	}
	reply(link, msg->stream, r, r < 0 ? err_text(&err) : "the new programs are being checked",
		SPAN_NONE);
}

static const struct {
	const char *what;
	void (*run)(struct node *node, struct link *link, const struct message *msg);
} commands[] = {
	{"stop", command_stop},
	{"restart", command_restart},
	{"restart-sessions", command_restart_sessions},
	{"restart-edge", command_restart_edge},
	{"log-level", command_log_level},
	{"reload", command_reload},
	{"reload-dry-run", command_reload_dry},
	{"upgrade", command_upgrade},
};

void node_on_command(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_command *command = msg->fields;

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (span_is(command->what, commands[i].what)) {
			commands[i].run(child_node(arg), link, msg);
			return;
		}
	}
	reply(link, msg->stream, ERR_NOT_FOUND, "the root does not know this command", SPAN_NONE);
}
