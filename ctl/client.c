#include "client.h"
#include "config.h"
#include "render.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 30000
#define PATH_ROOM 4096

struct client {
	nng_socket nng;
	char path[PATH_ROOM];
};

/* --- where ---------------------------------------------------------------------------------- */

static int from_config(const char *file, char *path, size_t size)
{
	struct config_report report;
	struct config *config;
	struct buf text;
	int r;

	config_report_init(&report);
	r = config_load(file, &config, &report);
	if (r < 0) {
		buf_init(&text, 1u << 20);
		config_report_write(&report, &text);
		fwrite(text.data, 1, text.len, stderr);
		buf_free(&text);
	} else {
		snprintf(path, size, "%s", config->admin_socket.p);
		config_free(config);
	}
	config_report_free(&report);
	return r < 0 ? EXIT_CONFIG : EXIT_DONE;
}

static void standard_place(char *path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (runtime && *runtime) {
		snprintf(path, size, "%s/gatehouse/admin.sock", runtime);
		if (access(path, F_OK) == 0)
			return;
	}
	/* a node of the system, unless only the user's own could be meant */
	if (!runtime || !*runtime || access("/run/gatehouse/admin.sock", F_OK) == 0)
		snprintf(path, size, "/run/gatehouse/admin.sock");
}

int client_find_socket(const struct invocation *inv, char *path, size_t size)
{
	const char *said = inv->option[OPT_SOCKET];
	int status;

	path[0] = '\0';
	if (!said && inv->option[OPT_CONFIG]) {
		status = from_config(inv->option[OPT_CONFIG], path, size);
		if (status != EXIT_DONE)
			return status;
	} else if (!said) {
		said = getenv("GATEHOUSE_SOCKET");
	}
	if (said && *said)
		snprintf(path, size, "%s", said);
	if (!path[0])
		standard_place(path, size);
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return ctl_fail(EXIT_USAGE, NULL,
			"the socket path %s has %zu bytes, the system allows %zu: set admin.socket "
			"to a shorter one",
			path, strlen(path), sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	return EXIT_DONE;
}

/* --- connecting ----------------------------------------------------------------------------- */

static int dial(struct client *client)
{
	char url[PATH_ROOM + 8];
	int r;

	snprintf(url, sizeof(url), "ipc://%s", client->path);
	r = nng_req0_open(&client->nng);
	if (r != 0)
		return r;
	nng_socket_set_size(client->nng, NNG_OPT_RECVMAXSZ, CLIENT_REPLY_MAX);
	nng_socket_set_ms(client->nng, NNG_OPT_RECVTIMEO, ANSWER_MS);
	nng_socket_set_ms(client->nng, NNG_OPT_SENDTIMEO, ANSWER_MS);
	/* a command that changes something is never said twice */
	nng_socket_set_ms(client->nng, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
	return nng_dial(client->nng, url, NULL, 0);
}

static int dial_new(const char *path, struct client **ret_client)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return NNG_ENOMEM;
	snprintf(client->path, sizeof(client->path), "%s", path);
	r = dial(client);
	if (r != 0) {
		client_close(client);
		return r;
	}
	*ret_client = client;
	return 0;
}

int client_open_quietly(const char *path, struct client **ret_client)
{
	return dial_new(path, ret_client) == 0 ? 0 : -1;
}

int client_open(const struct invocation *inv, struct client **ret_client)
{
	char path[PATH_ROOM];
	int status = client_find_socket(inv, path, sizeof(path));
	int r;

	if (status != EXIT_DONE)
		return status;
	r = dial_new(path, ret_client);
	if (r == NNG_EPERM)
		return ctl_fail(EXIT_NODE, "run it as the user of the node, or set admin.group",
			"you may not use %s", path);
	if (r == NNG_ECONNREFUSED || r == NNG_ENOENT)
		return ctl_fail(EXIT_NO_NODE,
			"gatehouse serve -c FILE, or name the node's socket: --socket PATH",
			"no node answers at %s", path);
	if (r != 0)
		return ctl_fail(EXIT_NODE, NULL, "%s: %s", path, nng_strerror(r));
	return EXIT_DONE;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	if (nng_socket_id(client->nng) > 0)
		nng_close(client->nng);
	free(client);
}

/* --- asking --------------------------------------------------------------------------------- */

/* Returns 0 with *ret (free), or an error of nng. */
static int exchange(struct client *client, const char *command, const char *arguments, char **ret)
{
	struct buf request;
	size_t len = 0;
	char *reply = NULL;
	int r;

	buf_init(&request, 65536);
	buf_printf(&request, "{\"command\":\"%s\"%s%s}", command, *arguments ? "," : "", arguments);
	r = nng_send(client->nng, request.data, request.len, 0);
	if (r == 0)
		r = nng_recv(client->nng, &reply, &len, NNG_FLAG_ALLOC);
	buf_free(&request);
	if (r != 0)
		return r;
	*ret = strndup(reply, len);
	nng_free(reply, len);
	return *ret ? 0 : NNG_ENOMEM;
}

static int tell_no_answer(const char *command, int r)
{
	if (r == NNG_ETIMEDOUT)
		return ctl_fail(EXIT_TIMEOUT, "gatehouse status",
			"the node did not answer '%s' within "
			"%d s",
			command, ANSWER_MS / 1000);
	return ctl_fail(EXIT_NODE, "gatehouse status", "'%s': %s", command, nng_strerror(r));
}

int client_ask_with(
	struct client *client, const char *command, const char *arguments, cJSON **ret_json)
{
	char *text = NULL;

	*ret_json = NULL;
	if (exchange(client, command, arguments, &text) == 0)
		*ret_json = cJSON_Parse(text);
	free(text);
	return *ret_json ? 0 : -1;
}

int client_ask_quietly(struct client *client, const char *command, cJSON **ret_json)
{
	if (client_ask_with(client, command, "", ret_json) < 0)
		return -1;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(*ret_json, "ok")))
		return 0;
	cJSON_Delete(*ret_json);
	*ret_json = NULL;
	return -1;
}

/* What the node says is wrong, and the exit status that goes with its reason. */
static int refused(const cJSON *json)
{
	static const struct {
		const char *reason;
		int status;
	} statuses[] = {{"not_found", EXIT_NOT_FOUND}, {"timeout", EXIT_TIMEOUT},
		{"invalid_argument", EXIT_USAGE}, {"config", EXIT_CONFIG}};
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
	int status = EXIT_NODE;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
		if (strcmp(json_text(error, "reason"), statuses[i].reason) == 0)
			status = statuses[i].status;
	return ctl_fail(status, json_text(error, "next"), "%s", json_text(error, "message"));
}

int client_ask(struct client *client, const char *command, const char *arguments, char **ret_text,
	cJSON **ret_json)
{
	char *text = NULL;
	cJSON *json;
	int status = EXIT_DONE, r = exchange(client, command, arguments, &text);

	if (r != 0)
		return tell_no_answer(command, r);
	json = cJSON_Parse(text);
	if (!json)
		status = ctl_fail(EXIT_NODE, NULL, "the node's answer is not JSON");
	else if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "ok")))
		status = refused(json);
	if (status == EXIT_DONE && ret_text) {
		*ret_text = text;
		text = NULL;
	}
	if (status == EXIT_DONE && ret_json) {
		*ret_json = json;
		json = NULL;
	}
	free(text);
	cJSON_Delete(json);
	return status;
}
