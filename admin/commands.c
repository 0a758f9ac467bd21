/*
 * The commands of the admin socket, a row each. A request is {"command":"word", …}, its answer
 * {"ok":true, …} or {"ok":false,"error":{"reason","message","next"}}.
 */
#include "admin.h"
#include "bounds.h"
#include "json.h"
#include "json_write.h"
#include "samples.h"

#include <stdio.h>
#include <stdlib.h>

#define ARGUMENT_MAX 256u
#define WRAP 1u  /* the answer stands under the command's name, not beside "ok" */
#define LOUD 2u  /* a COMMAND: it changes something */
#define NAMED 4u /* the argument is the part's name, not the payload */

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
	char argument[ARGUMENT_MAX];
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
	switch (-err->code) {
	case ERR_NOT_FOUND:
		return request->command->next ? request->command->next : "gatehouse tree";
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

/* The members of a JSON object, with a leading comma; nothing for anything else. */
static void splice_members(struct buf *out, struct span json)
{
	json = json_trim(json);
	if (json_type(json) != JSON_OBJECT)
		return;
	json = json_trim(span_of(json.p + 1, json.len - 2));
	if (json.len == 0)
		return;
	buf_append_char(out, ',');
	buf_append_span(out, json);
}

static bool is_json(const struct parts_answer *answer)
{
	return answer->payload &&
	       json_check(span_of(answer->payload, answer->len), LIMIT_JSON_DEPTH, NULL) == 0;
}

static void write_answer(
	const struct request *request, const struct parts_answer *answer, struct buf *out)
{
	struct span payload = span_of(answer->payload, answer->len);

	buf_append_str(out, "{\"ok\":true");
	if (is_json(answer) && request->command->flags & WRAP) {
		buf_printf(out, ",\"%s\":", request->command->name);
		buf_append_span(out, json_trim(payload));
	} else if (is_json(answer)) {
		splice_members(out, payload);
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
	if (answers[0].err.code == 0 && is_json(&answers[0]))
		splice_members(&out, span_of(answers[0].payload, answers[0].len));
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
			if (is_json(&answers[i]))
				splice_members(&out, span_of(answers[i].payload, answers[i].len));
		buf_append_char(&out, '}');
	}
	finish(request, &out);
	buf_free(&out);
}

static void start_resources(struct request *request)
{
	static const struct parts_ask asks[] = {{.role = ROLE_REGISTRY, .what = "resources"},
		{.role = ROLE_REGISTRY, .what = "templates"}};

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
	worker = err.code == 0 && is_json(&answers[0])
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

	if (strncmp(request->argument, "session/", 8) == 0)
		ask(request, &sessions, 1, ADMIN_QUERY_MS, on_sessions);
	else
		relay(request);
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
	{"tools", RIGHT_VIEW, relay, ROLE_REGISTRY, "tools", 0, NULL, NULL},
	{"prompts", RIGHT_VIEW, relay, ROLE_REGISTRY, "prompts", 0, NULL, NULL},
	{.name = "resources", .right = RIGHT_VIEW, .start = start_resources},
	{"sessions", RIGHT_VIEW, relay, ROLE_SESSIONS, "sessions", 0, NULL, NULL},
	{"logs", RIGHT_VIEW, relay, ROLE_UPSTREAM, "logs", NAMED, "server", "gatehouse servers"},
	{"restart", RIGHT_OPERATE, start_restart, ROLE_ROOT, "restart", LOUD, "target",
		"gatehouse ps"},
	{"session-close", RIGHT_OPERATE, relay, ROLE_SESSIONS, "close", LOUD, "session",
		"gatehouse sessions"},
	{"reload", RIGHT_OPERATE, start_reload, ROLE_ROOT, "reload", LOUD, NULL, NULL},
	{"log-level", RIGHT_OPERATE, relay, ROLE_ROOT, "log-level", LOUD, "level",
		"gatehouse log-level info"},
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

static int read_argument(struct request *request, struct span json, struct err *err)
{
	const char *name = request->command->argument;
	struct span text = SPAN_NONE;

	json_get_bool(json_object_get(json, SPAN_LIT("dry_run")), &request->dry_run);
	if (!name)
		return 0;
	if (json_string_copy(json_object_get(json, span_str(name)), request->argument,
		    sizeof(request->argument) - 1, &text) < 0 ||
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
