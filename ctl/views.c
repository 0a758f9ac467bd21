/* The commands that show something, or make the node do something: an answer of the admin socket
 * and its renderer. */
#include "client.h"
#include "json_write.h"
#include "render.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OUTPUT_MAX (64u * 1024 * 1024)

static struct style style_of_stdout(void)
{
	struct style style = {.width = 80};
	struct winsize size;

	if (!isatty(STDOUT_FILENO))
		return style;
	style.color = !getenv("NO_COLOR");
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
		style.width = size.ws_col;
	return style;
}

static int print_reply(const struct invocation *inv, const char *text, const cJSON *json,
	render_fn *render, bool clear)
{
	const struct style style = style_of_stdout();
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
	if (r == 0 && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
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
		status = print_reply(inv, text, json, render, clear);
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

int run_resources(struct invocation *inv)
{
	return show_list(inv, "resources", render_resources);
}

int run_prompts(struct invocation *inv)
{
	return show_list(inv, "prompts", render_prompts);
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

int run_restart(struct invocation *inv)
{
	return show_named(inv, "restart", "target",
		"name what to restart: server/NAME, role/NAME or session/ID", render_message);
}

int run_session_close(struct invocation *inv)
{
	return show_named(inv, "session-close", "session",
		"name the session as gatehouse sessions shows it", render_message);
}

int run_log_level(struct invocation *inv)
{
	return show_named(inv, "log-level", "level", "name the level: debug, info, warn or error",
		render_message);
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

/* --- logs ------------------------------------------------------------------------------------ */

/* Drop the lines of other sessions, and the first `seen` (they were shown before). */
static void keep_lines(cJSON *reply, const char *session, const cJSON *last)
{
	cJSON *lines = cJSON_GetObjectItemCaseSensitive(reply, "lines");
	int newest = -1;

	for (int i = 0; last && i < cJSON_GetArraySize(lines); i++)
		if (cJSON_Compare(cJSON_GetArrayItem(lines, i), last, true))
			newest = i;
	while (newest-- >= 0)
		cJSON_DeleteItemFromArray(lines, 0);
	for (int i = cJSON_GetArraySize(lines); session && i-- > 0;)
		if (strcmp(json_text(cJSON_GetArrayItem(lines, i), "session"), session) != 0)
			cJSON_DeleteItemFromArray(lines, i);
}

static int show_lines(
	const struct invocation *inv, struct client *client, const char *arguments, cJSON **last)
{
	cJSON *json = NULL, *newest;
	char *text = NULL;
	int n, status = client_ask(client, "logs", arguments, NULL, &json);

	if (status != EXIT_DONE)
		return status;
	newest = cJSON_GetObjectItemCaseSensitive(json, "lines");
	n = cJSON_GetArraySize(newest);
	newest = n > 0 ? cJSON_Duplicate(cJSON_GetArrayItem(newest, n - 1), true) : NULL;
	keep_lines(json, inv->option[OPT_SESSION], *last);
	if (inv->option[OPT_JSON])
		text = cJSON_PrintUnformatted(json);
	status = print_reply(inv, text ? text : "", json, render_logs, false);
	if (newest) {
		cJSON_Delete(*last);
		*last = newest;
	}
	cJSON_free(text);
	cJSON_Delete(json);
	return status;
}

int run_logs(struct invocation *inv)
{
	struct client *client;
	struct buf arguments;
	cJSON *last = NULL;
	int status;

	if (inv->n_args != 1)
		return ctl_usage(inv, "name the server: gatehouse servers lists them");
	status = client_open(inv, &client);
	if (status != EXIT_DONE)
		return status;
	buf_init(&arguments, 65536);
	buf_append_str(&arguments, "\"server\":");
	json_write_string(&arguments, span_str(inv->args[0]));
	if (buf_append_char(&arguments, '\0') < 0)
		status = ctl_usage(inv, "'%s' is too long", inv->args[0]);
	while (status == EXIT_DONE) {
		status = show_lines(inv, client, arguments.data, &last);
		if (!inv->option[OPT_FOLLOW])
			break;
		sleep(1);
	}
	cJSON_Delete(last);
	buf_free(&arguments);
	client_close(client);
	return status;
}
