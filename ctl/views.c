/* The commands that show something, or make the node do something: an answer of the admin socket
 * and its renderer. */
#include "client.h"
#include "config.h"
#include "json_write.h"
#include "log.h"
#include "render.h"
#include "views.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OUTPUT_MAX (64u * 1024 * 1024)
/* The longest for which a log level is set: a week. */
#define LEVEL_FOR_MAX_MS (7 * 24 * CONFIG_HOUR)
/* Columns of a terminal. */
#define WIDTH_MIN 20
#define WIDTH_USUAL 80
#define WIDTH_MAX 10000
#define ROLLING_LOOK_US 100000

struct style view_style(void)
{
	const char *said = getenv("COLUMNS");
	long columns = said ? strtol(said, NULL, 10) : 0;
	bool terminal = isatty(STDOUT_FILENO);
	struct style style = {.color = terminal && !getenv("NO_COLOR")};
	struct winsize size;

	if (columns >= WIDTH_MIN && columns <= WIDTH_MAX)
		style.width = (unsigned)columns;
	else if (terminal)
		style.width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
					      size.ws_col >= WIDTH_MIN
				      ? size.ws_col
				      : WIDTH_USUAL;
	return style;
}

int view_print(const struct invocation *inv, const char *text, const cJSON *json,
	render_fn *render, bool clear)
{
	const struct style style = view_style();
	struct buf out;
	int r = 0;

	buf_init(&out, OUTPUT_MAX);
	if (clear && style.color)
		buf_append_str(&out, "\033[H\033[2J");
	if (inv->option[OPT_JSON]) {
		buf_append_str(&out, text);
		r = buf_append_char(&out, '\n');
	} else {
		r = render(json, &style, &out);
	}
	if (r == 0 && out.len > 0 &&
		(fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
		r = -1;
	buf_free(&out);
	return r == 0 ? EXIT_DONE : EXIT_NODE;
}

static int show_once(const struct invocation *inv, struct client *client, const char *command,
	const char *arguments, render_fn *render, bool clear)
{
	char *text = NULL;
	cJSON *json = NULL;
	int status = client_ask(client, command, arguments, &text, &json);

	if (status == EXIT_DONE)
		status = view_print(inv, text, json, render, clear);
	free(text);
	cJSON_Delete(json);
	return status;
}

static int show(struct invocation *inv, const char *command, const char *arguments,
	render_fn *render, bool again)
{
	struct client *client;
	int status;

	status = client_open(inv, &client);
	if (status != EXIT_DONE)
		return status;
	do {
		status = show_once(inv, client, command, arguments, render, again);
		if (again && status == EXIT_DONE)
			sleep(1);
	} while (again && status == EXIT_DONE);
	client_close(client);
	return status;
}

static int show_list(struct invocation *inv, const char *command, render_fn *render)
{
	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	return show(inv, command, "", render, inv->option[OPT_WATCH] != NULL);
}

/* The one argument of the line, as the member of a request. */
static int show_named(struct invocation *inv, const char *command, const char *member,
	const char *missing, render_fn *render)
{
	struct buf arguments;
	int status;

	if (inv->n_args != 1)
		return ctl_usage(inv, "%s", missing);
	buf_init(&arguments, 65536);
	buf_printf(&arguments, "\"%s\":", member);
	json_write_string(&arguments, span_str(inv->args[0]));
	status = buf_append_char(&arguments, '\0') < 0
			 ? ctl_usage(inv, "'%s' is too long", inv->args[0])
			 : show(inv, command, arguments.data, render, false);
	buf_free(&arguments);
	return status;
}

int run_status(struct invocation *inv)
{
	return show_list(inv, "status", render_status);
}

int run_tree(struct invocation *inv)
{
	return show_list(inv, "tree", render_tree);
}

int run_ps(struct invocation *inv)
{
	return show_list(inv, "ps", render_ps);
}

int run_top(struct invocation *inv)
{
	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	return show(inv, "ps", "", render_top, !inv->option[OPT_JSON] && isatty(STDOUT_FILENO));
}

int run_servers(struct invocation *inv)
{
	return show_list(inv, "servers", render_servers);
}

int run_sessions(struct invocation *inv)
{
	return show_list(inv, "sessions", render_sessions);
}

const char *view_argument(const struct invocation *inv, struct buf *room)
{
	buf_init(room, 4096);
	if (!inv->option[OPT_VIEW])
		return "";
	buf_append_str(room, "\"view\":");
	json_write_string(room, span_str(inv->option[OPT_VIEW]));
	return buf_append_char(room, '\0') < 0 ? NULL : room->data;
}

/* A list that a virtual server may have, too. */
static int show_viewed(struct invocation *inv, const char *command, render_fn *render)
{
	struct buf room;
	const char *arguments = view_argument(inv, &room);
	int status;

	if (inv->n_args > 0)
		status = ctl_usage(inv, "'%s' is too much", inv->args[0]);
	else if (!arguments)
		status = ctl_usage(inv, "'%s' is too long", inv->option[OPT_VIEW]);
	else
		status = show(inv, command, arguments, render, false);
	buf_free(&room);
	return status;
}

int run_resources(struct invocation *inv)
{
	return show_viewed(inv, "resources", render_resources);
}

int run_prompts(struct invocation *inv)
{
	return show_viewed(inv, "prompts", render_prompts);
}

/* Until the process is gone; it may have calls to finish. */
static void await_end(pid_t pid)
{
	while (pid > 0 && (kill(pid, 0) == 0 || errno == EPERM))
		usleep(20000);
}

int run_stop(struct invocation *inv)
{
	struct client *client;
	cJSON *json = NULL;
	int status;

	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	status = client_open(inv, &client);
	if (status != EXIT_DONE)
		return status;
	status = client_ask(client, "status", "", NULL, &json);
	if (status == EXIT_DONE)
		status = client_ask(client, "stop", "", NULL, NULL);
	client_close(client);
	if (status == EXIT_DONE) {
		await_end((pid_t)json_number(json, "pid"));
		fputs(inv->option[OPT_JSON] ? "{\"ok\":true,\"message\":\"the node has stopped\"}\n"
					    : "the node has stopped\n",
			stdout);
	}
	cJSON_Delete(json);
	return status;
}

/* Where it stands, on one line of a terminal again and again; elsewhere, only in the end. */
static void show_progress(const cJSON *rolling, bool last)
{
	const cJSON *role = cJSON_GetObjectItemCaseSensitive(rolling, "role");
	bool gateways = cJSON_IsString(role) && strcmp(role->valuestring, "gateway") == 0;
	bool terminal = isatty(STDOUT_FILENO);

	if (terminal)
		printf("\r\033[K");
	if (terminal || last)
		printf("%.0f of %.0f %s replaced", json_number(rolling, "replaced"),
			json_number(rolling, "total"), gateways ? "gateways" : "session workers");
	if (json_number(rolling, "failed") > 0)
		printf(", %.0f not: see the log", json_number(rolling, "failed"));
	if (json_number(rolling, "finishing") > (last ? 0 : 1))
		printf(!last      ? ", %.0f finish requests"
		       : gateways ? ", %.0f of the former ones finish their requests"
				  : ", %.0f will be when they have finished their calls",
			json_number(rolling, "finishing"));
	if (last)
		putchar('\n');
	fflush(stdout);
}

static int await_rolling(const struct invocation *inv, struct client *client)
{
	cJSON *json;
	char *text;
	bool going = true;
	int status = EXIT_DONE;

	while (going && status == EXIT_DONE) {
		const cJSON *rolling;

		json = NULL;
		text = NULL;
		status = client_ask(client, "rolling", "", &text, &json);
		rolling = cJSON_GetObjectItemCaseSensitive(json, "rolling");
		going = status == EXIT_DONE &&
			cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(rolling, "running"));
		if (status == EXIT_DONE && !inv->option[OPT_JSON])
			show_progress(rolling, !going);
		else if (status == EXIT_DONE && !going)
			puts(text);
		free(text);
		cJSON_Delete(json);
		if (going)
			usleep(ROLLING_LOOK_US);
	}
	return status;
}

static int restart_rolling(struct invocation *inv)
{
	char target[64];
	struct client *client;
	int status = client_open(inv, &client);

	if (status != EXIT_DONE)
		return status;
	snprintf(target, sizeof(target), "\"target\":\"%s\",\"rolling\":true", inv->args[0]);
	status = client_ask(client, "restart", target, NULL, NULL);
	if (status == EXIT_DONE)
		status = await_rolling(inv, client);
	client_close(client);
	return status;
}

int run_restart(struct invocation *inv)
{
	bool all = inv->n_args == 1 && (strcmp(inv->args[0], "sessions") == 0 ||
					       strcmp(inv->args[0], "edge") == 0);

	if (all && inv->option[OPT_ROLLING])
		return restart_rolling(inv);
	if (all)
		return ctl_usage(inv, "sessions and edge are restarted one after the other, which "
				      "--rolling says; all at once is role/worker or "
				      "role/gateway");
	if (inv->option[OPT_ROLLING])
		return ctl_usage(inv, "--rolling goes with sessions and edge");
	return show_named(inv, "restart", "target",
		"name what to restart: server/NAME, role/NAME, gateway/SLOT, session/ID, "
		"sessions --rolling, or edge --rolling",
		render_message);
}

int run_session_close(struct invocation *inv)
{
	return show_named(inv, "session-close", "session",
		"name the session as gatehouse sessions shows it", render_message);
}

static void add_text(struct buf *out, const char *member, const char *text)
{
	if (!text)
		return;
	buf_printf(out, ",\"%s\":", member);
	json_write_string(out, span_str(text));
}

int run_log_level(struct invocation *inv)
{
	const char *time = inv->option[OPT_FOR];
	struct buf arguments;
	int64_t ms = 0;
	int status;

	if (inv->n_args != 1)
		return ctl_usage(inv, "name the level: debug, info, warn or error");
	if (log_level_parse(inv->args[0]) < 0)
		return ctl_usage(inv, "there is no level '%s': they are debug, info, warn and error",
			inv->args[0]);
	if (inv->option[OPT_SERVER] && inv->option[OPT_ROLE])
		return ctl_usage(inv, "--server and --role exclude each other");
	if (time && (!config_duration_parse(time, &ms) || ms < 1 || ms > LEVEL_FOR_MAX_MS))
		return ctl_usage(
			inv, "--for %s: expected a time up to a week, such as 30s, 10m or 2h", time);
	buf_init(&arguments, 65536);
	buf_append_str(&arguments, "\"level\":");
	json_write_string(&arguments, span_str(inv->args[0]));
	add_text(&arguments, "server", inv->option[OPT_SERVER]);
	add_text(&arguments, "role", inv->option[OPT_ROLE]);
	if (time)
		buf_printf(&arguments, ",\"for_ms\":%lld", (long long)ms);
	status = buf_append_char(&arguments, '\0') < 0
			 ? ctl_usage(inv, "that is too long")
			 : show(inv, "log-level", arguments.data, render_message, false);
	buf_free(&arguments);
	return status;
}

int run_reload(struct invocation *inv)
{
	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	return show(inv, "reload", inv->option[OPT_DRY_RUN] ? "\"dry_run\":true" : "",
		render_message, false);
}

static int render_metrics(const cJSON *reply, const struct style *style, struct buf *out)
{
	(void)style;
	return buf_append_str(out, json_text(reply, "metrics"));
}

int run_metrics(struct invocation *inv)
{
	return show_list(inv, "metrics", render_metrics);
}
