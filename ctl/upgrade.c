/* gatehouse upgrade: has the node go over to other programs, and tells what comes of it. */
#include "client.h"
#include "clock.h"
#include "ctl.h"
#include "json_write.h"
#include "render.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US 100000
/* The admin process is replaced, too: so long it may be away. */
#define PATIENCE_MS 20000u

static bool is_state(const cJSON *upgrade, const char *state)
{
	return strcmp(json_text(upgrade, "state"), state) == 0;
}

/* "dir":"…" in full, or nothing: the folder of the present programs. 0, or an exit status. */
static int write_argument(const struct invocation *inv, struct buf *out)
{
	char *path;

	if (inv->n_args == 0)
		return EXIT_DONE;
	path = realpath(inv->args[0], NULL);
	if (!path)
		return ctl_fail(EXIT_USAGE, "name the folder with the new gatehouse-supervisor",
			"%s: %s", inv->args[0], strerror(errno));
	buf_append_str(out, "\"dir\":");
	json_write_string(out, span_str(path));
	free(path);
	return EXIT_DONE;
}

/* Of the node that runs now; from another process of it than before, perhaps. NULL: it does not answer. */
static cJSON *look(const struct invocation *inv)
{
	struct client *client;
	char path[4096];
	cJSON *json = NULL;

	if (client_find_socket(inv, path, sizeof(path)) != EXIT_DONE ||
		client_open_quietly(path, &client) < 0)
		return NULL;
	if (client_ask_quietly(client, "upgrade-status", &json) < 0)
		json = NULL;
	client_close(client);
	return json;
}

static void show_progress(const cJSON *upgrade)
{
	if (!isatty(STDOUT_FILENO))
		return;
	printf("\r\033[K%s", json_text(upgrade, "state"));
	if (is_state(upgrade, "replacing") || is_state(upgrade, "returning"))
		printf(": %.0f of %.0f processes", json_number(upgrade, "replaced"),
			json_number(upgrade, "total"));
	fflush(stdout);
}

static bool is_going_on(const cJSON *upgrade)
{
	return is_state(upgrade, "checking") || is_state(upgrade, "starting") ||
	       is_state(upgrade, "replacing") || is_state(upgrade, "returning");
}

/* The end of it, or NULL when the node has not answered for long. */
static cJSON *await(const struct invocation *inv)
{
	uint64_t heard_ms = clock_ms();

	while (clock_ms() - heard_ms < PATIENCE_MS) {
		cJSON *json = look(inv);
		const cJSON *upgrade = cJSON_GetObjectItemCaseSensitive(json, "upgrade-status");

		if (upgrade && !is_going_on(upgrade))
			return json;
		if (upgrade) {
			heard_ms = clock_ms();
			if (!inv->option[OPT_JSON])
				show_progress(upgrade);
		}
		cJSON_Delete(json);
		usleep(LOOK_US);
	}
	return NULL;
}

static int tell_failure(const cJSON *upgrade)
{
	bool refused = is_state(upgrade, "refused");

	return ctl_fail(EXIT_NODE,
		refused ? "the node goes on as before; gatehouse status"
			: "the node goes on with its former programs; gatehouse status",
		refused ? "the new programs were refused: %s" : "the new programs were given up: %s",
		json_text(upgrade, "reason"));
}

static void tell_success(const cJSON *upgrade)
{
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(upgrade, "root_only"))) {
		printf("the root was started anew with the programs that all processes run: %s\n",
			json_text(upgrade, "to"));
		return;
	}
	printf("the node runs %s; %.0f processes were replaced", json_text(upgrade, "to"),
		json_number(upgrade, "replaced"));
	if (json_number(upgrade, "replaced") < json_number(upgrade, "total"))
		printf(", %.0f will be when they have finished their calls",
			json_number(upgrade, "total") - json_number(upgrade, "replaced"));
	putchar('\n');
	if (is_state(upgrade, "probation"))
		printf("for another %.0f s it goes back to %s by itself if they do not do well\n",
			json_number(upgrade, "probation_ms") / 1000, json_text(upgrade, "from"));
}

static int tell(const struct invocation *inv, const cJSON *json)
{
	const cJSON *upgrade = cJSON_GetObjectItemCaseSensitive(json, "upgrade-status");
	bool good = is_state(upgrade, "probation") || is_state(upgrade, "done");

	if (inv->option[OPT_JSON]) {
		char *text = cJSON_PrintUnformatted(json);

		puts(text ? text : "");
		free(text);
		return good ? EXIT_DONE : EXIT_NODE;
	}
	if (isatty(STDOUT_FILENO))
		printf("\r\033[K");
	fflush(stdout);
	if (!good)
		return tell_failure(upgrade);
	tell_success(upgrade);
	return EXIT_DONE;
}

static int begin(const struct invocation *inv, const char *argument)
{
	struct client *client;
	int status = client_open(inv, &client);

	if (status != EXIT_DONE)
		return status;
	status = client_ask(client, "upgrade", argument, NULL, NULL);
	client_close(client);
	return status;
}

int run_upgrade(struct invocation *inv)
{
	struct buf argument;
	cJSON *json;
	int status;

	if (inv->n_args > 1)
		return ctl_usage(inv, "'%s' is too much", inv->args[1]);
	buf_init(&argument, 16384);
	status = write_argument(inv, &argument);
	if (status == EXIT_DONE && buf_append_char(&argument, '\0') < 0)
		status = ctl_usage(inv, "'%s' is too long", inv->args[0]);
	if (status == EXIT_DONE)
		status = begin(inv, argument.data);
	buf_free(&argument);
	if (status != EXIT_DONE)
		return status;
	json = await(inv);
	if (!json)
		return ctl_fail(EXIT_NODE, "gatehouse status, and the node's log",
			"the node has not answered for %u s", PATIENCE_MS / 1000);
	status = tell(inv, json);
	cJSON_Delete(json);
	return status;
}
