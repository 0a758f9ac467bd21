/* gatehouse logs: the lines that upstream workers keep, of one server or of all. */
#include "client.h"
#include "json_write.h"
#include "views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLLOW_S 1u

/* The number of the newest line of each server, as {"files":17}; "" when one was asked for. */
static cJSON *newest_of(const cJSON *lines)
{
	cJSON *newest = cJSON_CreateObject();
	const cJSON *line;

	cJSON_ArrayForEach(line, lines)
	{
		const char *server = json_text(line, "server");

		cJSON_DeleteItemFromObjectCaseSensitive(newest, server);
		cJSON_AddNumberToObject(newest, server, json_number(line, "n"));
	}
	return newest;
}

/* A worker that has begun anew counts from 1 again: then all it has is news. */
static bool is_news(const cJSON *line, const cJSON *newest, const cJSON *seen)
{
	const char *server = json_text(line, "server");
	double last = json_number(seen, server);

	return json_number(line, "n") > last || json_number(newest, server) < last;
}

/* Drop the lines that were shown before, and those of other sessions. */
static void keep_news(cJSON *lines, const char *session, const cJSON *newest, const cJSON *seen)
{
	cJSON *line, *next;

	for (line = lines ? lines->child : NULL; line; line = next) {
		next = line->next;
		if (!is_news(line, newest, seen) ||
			(session && strcmp(json_text(line, "session"), session) != 0))
			cJSON_Delete(cJSON_DetachItemViaPointer(lines, line));
	}
}

static int compare_lines(const void *a, const void *b)
{
	const cJSON *const *one = a, *const *other = b;
	double first = json_number(*one, "ts"), second = json_number(*other, "ts");

	return first < second ? -1 : first > second;
}

/* They come server by server. Lines of one second keep that order (the sort of glibc is stable). */
static void sort_by_time(cJSON *lines)
{
	size_t n = (size_t)cJSON_GetArraySize(lines), i = 0;
	cJSON **sorted = calloc(n + 1, sizeof(cJSON *));

	while (sorted && lines && lines->child)
		sorted[i++] = cJSON_DetachItemViaPointer(lines, lines->child);
	if (sorted)
		qsort(sorted, i, sizeof(cJSON *), compare_lines);
	for (size_t k = 0; sorted && k < i; k++)
		cJSON_AddItemToArray(lines, sorted[k]);
	free(sorted);
}

static void remember(cJSON **seen, cJSON *newest)
{
	const cJSON *one;

	cJSON_ArrayForEach(one, newest)
	{
		cJSON_DeleteItemFromObjectCaseSensitive(*seen, one->string);
		cJSON_AddNumberToObject(*seen, one->string, one->valuedouble);
	}
	cJSON_Delete(newest);
}

static int print_news(const struct invocation *inv, cJSON *json, cJSON **seen)
{
	cJSON *lines, *newest;
	char *text = NULL;
	int status;

	lines = cJSON_GetObjectItemCaseSensitive(json, "lines");
	newest = newest_of(lines);
	keep_news(lines, inv->option[OPT_SESSION], newest, *seen);
	sort_by_time(lines);
	if (inv->option[OPT_JSON])
		text = cJSON_PrintUnformatted(json);
	status = view_print(inv, text ? text : "", json, render_logs, false);
	remember(seen, newest);
	cJSON_free(text);
	return status;
}

/* A server whose worker is just being started again has nothing to say for a moment. */
static int show_more(
	const struct invocation *inv, struct client *client, const char *arguments, cJSON **seen)
{
	cJSON *json = NULL;
	int status = EXIT_DONE;

	if (client_ask_with(client, "logs", arguments, &json) < 0)
		return ctl_fail(EXIT_NO_NODE, "gatehouse status", "the node has gone");
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "ok")))
		status = print_news(inv, json, seen);
	cJSON_Delete(json);
	return status;
}

/* To standard error, so that what reads the lines gets lines only. */
static void tell_silence(const struct invocation *inv)
{
	const char *session = inv->option[OPT_SESSION];

	fprintf(stderr, "%s%s has written nothing%s%s; gatehouse servers shows how %s\n",
		inv->n_args ? "server " : "no server", inv->n_args ? inv->args[0] : "",
		session ? " for session " : "", session ? session : "",
		inv->n_args ? "it is" : "they are");
}

static int show_all(struct invocation *inv, struct client *client, const char *arguments)
{
	cJSON *seen = cJSON_CreateObject(), *json = NULL;
	int status = client_ask(client, "logs", arguments, NULL, &json);

	if (status == EXIT_DONE)
		status = print_news(inv, json, &seen);
	if (status == EXIT_DONE && !inv->option[OPT_JSON] && !inv->option[OPT_FOLLOW] &&
		cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "lines")) == 0)
		tell_silence(inv);
	while (status == EXIT_DONE && inv->option[OPT_FOLLOW]) {
		sleep(FOLLOW_S);
		status = show_more(inv, client, arguments, &seen);
	}
	cJSON_Delete(json);
	cJSON_Delete(seen);
	return status;
}

int run_logs(struct invocation *inv)
{
	struct client *client;
	struct buf arguments;
	int status;

	if (inv->n_args > 1)
		return ctl_usage(inv, "'%s' is too much", inv->args[1]);
	status = client_open(inv, &client);
	if (status != EXIT_DONE)
		return status;
	buf_init(&arguments, 65536);
	if (inv->n_args == 1) {
		buf_append_str(&arguments, "\"server\":");
		json_write_string(&arguments, span_str(inv->args[0]));
	}
	status = buf_append_char(&arguments, '\0') < 0
			 ? ctl_usage(inv, "'%s' is too long", inv->args[0])
			 : show_all(inv, client, arguments.data);
	buf_free(&arguments);
	client_close(client);
	return status;
}
