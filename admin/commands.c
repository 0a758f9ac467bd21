/*
 * The commands of the admin socket, a row each. A request is {"command":"word", …}, its answer
 * {"ok":true, …} or {"ok":false,"error":{"reason","message","next"}}.
 */
#include "admin.h"
#include "answers.h"
#include "bounds.h"
#include "json.h"
#include "json_write.h"
#include "samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENT_MAX 256u
#define DIR_MAX 4096u
#define WRAP 1u  /* the answer stands under the command's name, not beside "ok" */
#define LOUD 2u  /* a COMMAND: it changes something */
#define NAMED 4u /* the argument is the part's name, not the payload */
#define MAY_LACK 8u /* the argument need not be there */
#define NEXT_ALWAYS 16u /* next is what to try whatever went wrong */
#define NO_VIEW_NEXT "gatehouse config show -c FILE, for its views"
/* The longest for which a log level is set: a week. */
#define FOR_MS_MAX (7 * 24 * CONFIG_HOUR)

struct request;

/* One row to add one command. */
struct command {
	const char *name;
	enum right right;
	void (*start)(struct request *request);
	/* for relay(): who is asked what */
	enum role role;
	const char *what;
	unsigned flags;
	const char *argument; /* member of the request that must be there; NULL: none */
	const char *next;     /* what to try when the thing named is not found */
};

struct request {
	struct admin *admin;
	struct seat *seat;
	const struct command *command;
	bool dry_run;
	bool rolling;
	char argument[ARGUMENT_MAX];
	/* of log-level: "server/NAME", "role/NAME" or "", and for how long; 0: for good */
	char target[ARGUMENT_MAX];
	int64_t for_ms;
	char dir[DIR_MAX]; /* of upgrade; "": none was named */
};

/* --- answers -------------------------------------------------------------------------------- */

static void finish(struct request *request, const struct buf *out)
{
	seat_answer(request->seat, buf_span(out));
	free(request);
}

static void write_error(struct buf *out, const struct err *err, const char *next)
{
	buf_append_str(out, "{\"ok\":false,\"error\":{\"reason\":");
	json_write_string(out, span_str(err_reason(err->code)));
	buf_append_str(out, ",\"message\":");
	json_write_string(out, span_str(err_text(err)));
	buf_append_str(out, ",\"next\":");
	json_write_string(out, span_str(next));
	buf_append_str(out, "}}");
}

static const char *next_of(const struct request *request, const struct err *err)
{
	if (request->command->flags & NEXT_ALWAYS)
		return request->command->next;
	switch (-err->code) {
	case ERR_NOT_FOUND:
		return request->command->next ? request->command->next : "gatehouse tree";
	case ERR_INVALID_ARGUMENT:
		return "gatehouse --help";
	case ERR_CONFIG:
		return "gatehouse check -c FILE";
	case ERR_FORBIDDEN:
		return "run it as the user of the node, or as root";
	default:
		return "gatehouse tree";
	}
}

static void fail(struct request *request, const struct err *err)
{
	struct buf out;

	buf_init(&out, ADMIN_REPLY_MAX);
	write_error(&out, err, next_of(request, err));
	finish(request, &out);
	buf_free(&out);
}

static void write_answer(
	const struct request *request, const struct parts_answer *answer, struct buf *out)
{
	struct span payload = span_of(answer->payload, answer->len);

	buf_append_str(out, "{\"ok\":true");
	if (answer_is_json(answer) && request->command->flags & WRAP) {
		buf_printf(out, ",\"%s\":", request->command->name);
		buf_append_span(out, json_trim(payload));
	} else if (answer_is_json(answer)) {
		answers_splice(out, payload);
	} else {
		buf_append_str(out, ",\"message\":");
		json_write_string(out, payload.len ? payload : span_str(answer->err.detail));
	}
	buf_append_char(out, '}');
}

/* --- most commands: one part is asked, its answer is the answer ------------------------------ */

static void on_relayed(void *arg, const struct parts_answer *answers, size_t n)
{
	struct request *request = arg;
	struct buf out;

	(void)n;
	buf_init(&out, ADMIN_REPLY_MAX);
	if (answers[0].err.code == 0) {
		write_answer(request, &answers[0], &out);
	} else if (answers[0].payload) {
		/* the whole story is in the text: the mistakes of a configuration */
		struct err err = answers[0].err;
		struct buf text;

		buf_init(&text, ADMIN_REPLY_MAX);
		buf_printf(
			&text, "%s\n%.*s", err_text(&err), (int)answers[0].len, answers[0].payload);
		snprintf(err.detail, sizeof(err.detail), "%.*s", SPAN_ARG(buf_span(&text)));
		write_error(&out, &err, next_of(request, &err));
		buf_free(&text);
	} else {
		write_error(&out, &answers[0].err, next_of(request, &answers[0].err));
	}
	finish(request, &out);
	buf_free(&out);
}

static void ask(struct request *request, const struct parts_ask *asks, size_t n, uint32_t limit_ms,
	parts_done_fn *fn)
{
	struct err err = {0};
	int r = parts_ask(request->admin->parts, asks, n, limit_ms, fn, request);

	if (r == 0)
		return;
	err_set(&err, (enum err_code) - r, "the node is too busy to be asked");
	fail(request, &err);
}

static void relay_to(struct request *request, const char *what, struct span payload)
{
	const struct command *command = request->command;
	const struct parts_ask one = {
		.role = command->role,
		.name = command->flags & NAMED ? request->argument : "",
		.command = (command->flags & LOUD) != 0,
		.what = what,
		.payload = payload,
	};

	ask(request, &one, 1, command->flags & LOUD ? ADMIN_COMMAND_MS : ADMIN_QUERY_MS,
		on_relayed);
}

static void relay(struct request *request)
{
	bool payload = request->command->argument && !(request->command->flags & NAMED);

	relay_to(
		request, request->command->what, payload ? span_str(request->argument) : SPAN_NONE);
}

static void start_reload(struct request *request)
{
	relay_to(request, request->dry_run ? "reload-dry-run" : "reload", SPAN_NONE);
}

static void start_upgrade(struct request *request)
{
	relay_to(request, "upgrade", span_str(request->dir));
}

/* --- status: what one looks at first --------------------------------------------------------- */

static void write_sessions(struct buf *out, const struct parts_answer *answer)
{
	struct samples *samples = samples_new();

	if (samples && answer->err.code == 0)
		samples_add(samples, span_of(answer->payload, answer->len));
	if (samples && answer->err.code == 0)
		buf_printf(out, ",\"sessions\":{\"live\":%.0f,\"idle\":%.0f,\"modern\":%.0f}",
			samples_get(
				samples, "gatehouse_sessions{era=\"legacy\",state=\"live\"}", 0),
			samples_get(
				samples, "gatehouse_sessions{era=\"legacy\",state=\"idle\"}", 0),
			samples_get(
				samples, "gatehouse_sessions{era=\"modern\",state=\"live\"}", 0));
	samples_free(samples);
}

static void on_status(void *arg, const struct parts_answer *answers, size_t n)
{
	struct request *request = arg;
	bool first = true;
	struct buf out;

	buf_init(&out, ADMIN_REPLY_MAX);
	buf_append_str(&out, "{\"ok\":true");
	if (answers[0].err.code == 0 && answer_is_json(&answers[0]))
		answers_splice(&out, span_of(answers[0].payload, answers[0].len));
	buf_append_str(&out, ",\"servers\":");
	admin_write_servers(request->admin, &out);
	write_sessions(&out, &answers[1]);
	buf_append_str(&out, ",\"not_answering\":[");
	for (size_t i = 0; i < n; i++) {
		if (answers[i].err.code == 0)
			continue;
		buf_append_str(&out, first ? "" : ",");
		first = false;
		json_write_string(&out, span_str(err_text(&answers[i].err)));
	}
	buf_append_str(&out, "]}");
	finish(request, &out);
	buf_free(&out);
}

static void start_status(struct request *request)
{
	static const struct parts_ask asks[] = {{.role = ROLE_ROOT, .what = "status"},
		{.role = ROLE_SESSIONS, .what = "metrics"},
		{.role = ROLE_REGISTRY, .what = "metrics"}};

	ask(request, asks, sizeof(asks) / sizeof(*asks), ADMIN_QUERY_MS, on_status);
}

/* --- resources: two lists -------------------------------------------------------------------- */

static void on_resources(void *arg, const struct parts_answer *answers, size_t n)
{
	struct request *request = arg;
	struct buf out;

	buf_init(&out, ADMIN_REPLY_MAX);
	for (size_t i = 0; i < n; i++) {
		if (answers[i].err.code == 0)
			continue;
		write_error(&out, &answers[i].err, next_of(request, &answers[i].err));
		break;
	}
	if (out.len == 0) {
		buf_append_str(&out, "{\"ok\":true");
		for (size_t i = 0; i < n; i++)
			if (answer_is_json(&answers[i]))
				answers_splice(&out, span_of(answers[i].payload, answers[i].len));
		buf_append_char(&out, '}');
	}
	finish(request, &out);
	buf_free(&out);
}

static void start_resources(struct request *request)
{
	struct span view = span_str(request->argument);
	const struct parts_ask asks[] = {
		{.role = ROLE_REGISTRY, .what = "resources", .payload = view},
		{.role = ROLE_REGISTRY, .what = "templates", .payload = view}};

	ask(request, asks, 2, ADMIN_QUERY_MS, on_resources);
}

/* --- restart: roles and servers by the root; a session is its worker -------------------------- */

/* The instance of the session's worker, 0 when it has none, -1 when there is no such session. */
static int64_t worker_of(struct span json, const char *session)
{
	struct span row, sessions = json_object_get(json_trim(json), SPAN_LIT("sessions"));
	struct json_iter iter = json_iter(sessions);
	int64_t worker = 0;

	while (json_iter_element(&iter, &row)) {
		if (!json_equal_string(
			    json_object_get(row, SPAN_LIT("session")), span_str(session)))
			continue;
		return json_get_int64(json_object_get(row, SPAN_LIT("worker")), &worker) == 0
			       ? worker
			       : 0;
	}
	return -1;
}

static void on_sessions(void *arg, const struct parts_answer *answers, size_t n)
{
	struct request *request = arg;
	const char *session = request->argument + strlen("session/");
	struct err err = answers[0].err;
	char target[48];
	int64_t worker;

	(void)n;
	worker = err.code == 0 && answer_is_json(&answers[0])
			 ? worker_of(span_of(answers[0].payload, answers[0].len), session)
			 : -1;
	if (err.code == 0 && worker < 0)
		err_set(&err, ERR_NOT_FOUND, "there is no session %s", session);
	else if (err.code == 0 && worker == 0)
		err_set(&err, ERR_NOT_FOUND,
			"the session %s has no worker now: it gets a fresh one with its next "
			"request",
			session);
	if (err.code < 0) {
		fail(request, &err);
		return;
	}
	snprintf(target, sizeof(target), "process/%lld", (long long)worker);
	relay_to(request, "restart", span_str(target));
}

static void start_restart(struct request *request)
{
	static const struct parts_ask sessions = {.role = ROLE_SESSIONS, .what = "sessions"};
	struct err err = {0};

	if (strcmp(request->argument, "sessions") == 0 && request->rolling) {
		relay_to(request, "restart-sessions", SPAN_NONE);
	} else if (strcmp(request->argument, "edge") == 0 && request->rolling) {
		relay_to(request, "restart-edge", SPAN_NONE);
	} else if (strcmp(request->argument, "sessions") == 0 ||
		   strcmp(request->argument, "edge") == 0) {
		err_set(&err, ERR_INVALID_ARGUMENT,
			"all of them are restarted one after the other (rolling); all at once is "
			"role/worker or role/gateway");
		fail(request, &err);
	} else if (strncmp(request->argument, "session/", 8) == 0) {
		ask(request, &sessions, 1, ADMIN_QUERY_MS, on_sessions);
	} else {
		relay(request);
	}
}

/* --- log levels ------------------------------------------------------------------------------- */

static void start_log_level(struct request *request)
{
	char payload[3 * ARGUMENT_MAX], text[32] = "";

	if (request->for_ms > 0)
		config_duration_format(request->for_ms, text, sizeof(text));
	snprintf(payload, sizeof(payload), "%s %s %lld %s", request->argument, request->target,
		(long long)request->for_ms, text);
	relay_to(request, "log-level", span_str(payload));
}

/* --- logs: of one server, or of all ------------------------------------------------------------ */

static void on_logs(void *arg, const struct parts_answer *answers, size_t n)
{
	struct request *request = arg;
	struct err err = {0};
	struct buf out;

	if (!answers_logs_fit(answers, n)) {
		err_set(&err, ERR_TOO_MANY, "the lines of all servers are too many at once: name one");
		fail(request, &err);
		return;
	}
	buf_init(&out, ADMIN_REPLY_MAX);
	answers_write_logs(answers, n, &out);
	finish(request, &out);
	buf_free(&out);
}

static void ask_all_servers(struct request *request)
{
	const struct config *config = request->admin->config;
	struct parts_ask *asks = calloc(config->server_count + 1, sizeof(*asks));
	struct err err = {0};
	size_t n = 0;

	for (size_t i = 0; asks && i < config->server_count; i++)
		if (!config->servers[i].disabled)
			asks[n++] = (struct parts_ask){.role = ROLE_UPSTREAM,
				.name = config->servers[i].name,
				.what = "logs"};
	if (!asks) {
		err_set(&err, ERR_NO_MEMORY, "no memory to ask all servers");
		fail(request, &err);
	} else if (n == 0) {
		on_logs(request, NULL, 0);
	} else {
		ask(request, asks, n, ADMIN_QUERY_MS, on_logs);
	}
	free(asks);
}

static void start_logs(struct request *request)
{
	const struct config_server *server;
	struct err err = {0};

	if (!request->argument[0]) {
		ask_all_servers(request);
		return;
	}
	server = config_find_server(request->admin->config, request->argument);
	if (server && !server->disabled) {
		relay(request);
		return;
	}
	err_set(&err, ERR_NOT_FOUND, server ? "server %s is disabled" : "there is no server %s",
		request->argument);
	fail(request, &err);
}

/* --- metrics and help ----------------------------------------------------------------------- */

static void on_metrics(void *arg, struct span text, const struct err *err)
{
	struct request *request = arg;
	struct buf out;

	if (err) {
		fail(request, err);
		return;
	}
	buf_init(&out, ADMIN_REPLY_MAX);
	buf_append_str(&out, "{\"ok\":true,\"metrics\":");
	json_write_string(&out, text);
	buf_append_char(&out, '}');
	finish(request, &out);
	buf_free(&out);
}

static void start_metrics(struct request *request)
{
	admin_gather_metrics(request->admin, on_metrics, request);
}

static void start_help(struct request *request);

static const struct command commands[] = {
	{.name = "help", .right = RIGHT_VIEW, .start = start_help},
	{.name = "status", .right = RIGHT_VIEW, .start = start_status},
	{.name = "metrics", .right = RIGHT_VIEW, .start = start_metrics},
	{"tree", RIGHT_VIEW, relay, ROLE_ROOT, "tree", WRAP, NULL, NULL},
	{"ps", RIGHT_VIEW, relay, ROLE_ROOT, "ps", 0, NULL, NULL},
	{"config", RIGHT_VIEW, relay, ROLE_ROOT, "config", WRAP, NULL, NULL},
	{"servers", RIGHT_VIEW, relay, ROLE_REGISTRY, "servers", 0, NULL, NULL},
	{"tools", RIGHT_VIEW, relay, ROLE_REGISTRY, "tools", MAY_LACK, "view", NO_VIEW_NEXT},
	{"prompts", RIGHT_VIEW, relay, ROLE_REGISTRY, "prompts", MAY_LACK, "view", NO_VIEW_NEXT},
	{"resources", RIGHT_VIEW, start_resources, ROLE_REGISTRY, "resources", MAY_LACK, "view",
		NO_VIEW_NEXT},
	{"sessions", RIGHT_VIEW, relay, ROLE_SESSIONS, "sessions", 0, NULL, NULL},
	{"logs", RIGHT_VIEW, start_logs, ROLE_UPSTREAM, "logs", NAMED | MAY_LACK, "server",
		"gatehouse servers"},
	{"rolling", RIGHT_VIEW, relay, ROLE_ROOT, "rolling", WRAP, NULL, NULL},
	{"restart", RIGHT_OPERATE, start_restart, ROLE_ROOT, "restart", LOUD, "target",
		"gatehouse servers, or gatehouse ps for the roles"},
	{"session-close", RIGHT_OPERATE, relay, ROLE_SESSIONS, "close", LOUD, "session",
		"gatehouse sessions"},
	{"reload", RIGHT_OPERATE, start_reload, ROLE_ROOT, "reload", LOUD, NULL, NULL},
	{"log-level", RIGHT_OPERATE, start_log_level, ROLE_ROOT, "log-level", LOUD, "level",
		"gatehouse servers, or gatehouse ps for the roles"},
	{"upgrade", RIGHT_OPERATE, start_upgrade, ROLE_ROOT, "upgrade", LOUD | NEXT_ALWAYS, NULL,
		"gatehouse status, or gatehouse upgrade DIR with the folder of gatehouse-supervisor"},
	{"upgrade-status", RIGHT_VIEW, relay, ROLE_ROOT, "upgrade", WRAP, NULL, NULL},
	{"stop", RIGHT_OPERATE, relay, ROLE_ROOT, "stop", LOUD, NULL, NULL},
};

static void start_help(struct request *request)
{
	struct buf out;

	buf_init(&out, ADMIN_REPLY_MAX);
	buf_append_str(&out, "{\"ok\":true,\"commands\":[");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		buf_printf(&out, "%s{\"command\":\"%s\",\"right\":\"%s\",\"argument\":\"%s\"}",
			i ? "," : "", commands[i].name,
			commands[i].right == RIGHT_VIEW ? "view" : "operate",
			commands[i].argument ? commands[i].argument : "");
	buf_append_str(&out, "]}");
	finish(request, &out);
	buf_free(&out);
}

/* --- a request comes in --------------------------------------------------------------------- */

static int find_command(struct span name, const struct command **ret, struct err *err)
{
	char text[64];
	struct span decoded = SPAN_NONE;

	if (json_string_copy(name, text, sizeof(text), &decoded) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"a request is a JSON object with a \"command\", for example "
			"{\"command\":\"status\"}");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (!span_is(decoded, commands[i].name))
			continue;
		*ret = &commands[i];
		return 0;
	}
	return err_set(err, ERR_METHOD_NOT_FOUND,
		"there is no command '%.*s': {\"command\":\"help\"} lists them", SPAN_ARG(decoded));
}

/* Members that some commands take beside their argument. */
static int read_details(struct request *request, struct span json, struct err *err)
{
	static const char *const scopes[] = {"server", "role"};
	struct span value, text = SPAN_NONE;
	char name[ARGUMENT_MAX - 16];

	json_get_bool(json_object_get(json, SPAN_LIT("dry_run")), &request->dry_run);
	json_get_bool(json_object_get(json, SPAN_LIT("rolling")), &request->rolling);
	value = json_object_get(json, SPAN_LIT("for_ms"));
	if (value.len && (json_get_int64(value, &request->for_ms) < 0 || request->for_ms < 1 ||
				 request->for_ms > FOR_MS_MAX))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"\"for_ms\" is a number of milliseconds up to a week");
	value = json_object_get(json, SPAN_LIT("dir"));
	if (value.len && json_string_copy(value, request->dir, sizeof(request->dir) - 1, &text) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"\"dir\" is the path of a folder, of at most %u bytes", DIR_MAX - 1);
	request->dir[text.len] = '\0';
	for (size_t i = 0; i < sizeof(scopes) / sizeof(*scopes); i++) {
		value = json_object_get(json, span_str(scopes[i]));
		if (!value.len)
			continue;
		if (request->target[0] ||
			json_string_copy(value, name, sizeof(name), &text) < 0 || text.len == 0 ||
			memchr(text.p, ' ', text.len))
			return err_set(err, ERR_INVALID_ARGUMENT,
				"\"server\" or \"role\" is one name without spaces");
		snprintf(request->target, sizeof(request->target), "%s/%.*s", scopes[i],
			SPAN_ARG(text));
	}
	return 0;
}

static int read_argument(struct request *request, struct span json, struct err *err)
{
	const char *name = request->command->argument;
	struct span value = name ? json_object_get(json, span_str(name)) : SPAN_NONE;
	struct span text = SPAN_NONE;

	if (!name || (!value.len && request->command->flags & MAY_LACK))
		return 0;
	if (json_string_copy(value, request->argument, sizeof(request->argument) - 1, &text) < 0 ||
		text.len == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"'%s' needs \"%s\", a string of at most %u "
			"bytes",
			request->command->name, name, ARGUMENT_MAX - 1);
	request->argument[text.len] = '\0';
	return 0;
}

static int read_request(
	struct request *request, struct span json, enum right right, struct err *err)
{
	int r = json_check(json, LIMIT_JSON_DEPTH, err);

	if (r < 0)
		return r;
	json = json_trim(json);
	r = find_command(json_object_get(json, SPAN_LIT("command")), &request->command, err);
	if (r == 0 && right < request->command->right)
		r = err_set(err, ERR_FORBIDDEN, "you may look at this node, but not '%s'",
			request->command->name);
	if (r == 0)
		r = read_argument(request, json, err);
	if (r == 0)
		r = read_details(request, json, err);
	return r;
}

void admin_on_request(void *arg, struct seat *seat, struct span json, enum right right)
{
	struct request *request = calloc(1, sizeof(*request));
	struct err err = {0};
	struct buf out;

	if (!request) {
		seat_answer(seat, SPAN_LIT("{\"ok\":false,\"error\":{\"reason\":\"out_of_memory\","
					   "\"message\":\"no memory\",\"next\":\"\"}}"));
		return;
	}
	request->admin = arg;
	request->seat = seat;
	if (read_request(request, json, right, &err) == 0) {
		request->command->start(request);
		return;
	}
	buf_init(&out, ADMIN_REPLY_MAX);
	write_error(&out, &err,
		err.code == -ERR_FORBIDDEN ? "run it as the user of the node, or as root"
					   : "gatehouse --help");
	finish(request, &out);
	buf_free(&out);
}
