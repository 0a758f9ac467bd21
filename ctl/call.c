/* Tools: what they are, as the node or as a client sees them; calling one. */
#include "json.h"
#include "json_write.h"
#include "jsonrpc.h"
#include "bounds.h"
#include "mcp_client.h"
#include "render.h"
#include "views.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX (16u * 1024 * 1024)
#define KEYS_MAX 256

static int read_timeout(const struct invocation *inv, long *ret_ms)
{
	const char *text = inv->option[OPT_TIMEOUT];
	char *end;
	double seconds;

	*ret_ms = 60000;
	if (!text)
		return EXIT_DONE;
	seconds = strtod(text, &end);
	if (end == text || *end || seconds <= 0 || seconds > 86400)
		return ctl_usage(inv, "--timeout takes seconds, at most 86400");
	*ret_ms = (long)(seconds * 1000);
	return EXIT_DONE;
}

static int print(const struct buf *out)
{
	if (out->len)
		fwrite(out->data, 1, out->len, stdout);
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_NODE;
}

static const struct style plain;

/* --- arguments ------------------------------------------------------------------------------ */

static int read_file(const char *path, struct buf *out)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	int r = 0;

	if (!file)
		return ctl_fail(EXIT_USAGE, NULL, "cannot read %s: %s", path, strerror(errno));
	while (r == 0 && !feof(file) && !ferror(file)) {
		r = buf_reserve(out, 65536);
		if (r == 0)
			out->len += fread(out->data + out->len, 1, 65536, file);
	}
	if (file != stdin)
		fclose(file);
	return r == 0 ? EXIT_DONE
		      : ctl_fail(EXIT_USAGE, NULL, "%s is longer than %u bytes", path,
				ARGUMENTS_MAX);
}

/* The object of --args, or {}. */
static int read_object(const struct invocation *inv, struct buf *out)
{
	const char *text = inv->option[OPT_ARGS];
	struct err err = {0};
	int status = EXIT_DONE;

	if (!text)
		buf_append_str(out, "{}");
	else if (*text == '@')
		status = read_file(text + 1, out);
	else
		buf_append_str(out, text);
	if (status != EXIT_DONE)
		return status;
	if (json_check(buf_span(out), LIMIT_JSON_DEPTH, &err) < 0)
		return ctl_usage(inv, "--args is not JSON: %s", err_text(&err));
	if (json_type(json_trim(buf_span(out))) != JSON_OBJECT)
		return ctl_usage(inv, "--args is no JSON object");
	return EXIT_DONE;
}

/* key=value: the value is JSON if it parses, else a string. */
static int write_member(
	const struct invocation *inv, const char *text, struct buf *members, struct span *ret_key)
{
	const char *sign = strchr(text, '=');
	struct span value;

	if (!sign || sign == text)
		return ctl_usage(inv, "'%s' is not key=value", text);
	*ret_key = span_of(text, (size_t)(sign - text));
	value = span_str(sign + 1);
	if (members->len)
		buf_append_char(members, ',');
	json_write_string(members, *ret_key);
	buf_append_char(members, ':');
	if (value.len && json_check(value, LIMIT_JSON_DEPTH, NULL) == 0)
		buf_append_span(members, value);
	else
		json_write_string(members, value);
	return EXIT_DONE;
}

/* What key=value says wins over --args. */
static int read_arguments(const struct invocation *inv, struct buf *out)
{
	struct json_edit edits[2 * KEYS_MAX + 2];
	struct span keys[KEYS_MAX];
	struct buf base, members;
	size_t n_edits = 0;
	int n = inv->n_args - 1, status;

	buf_init(&base, ARGUMENTS_MAX);
	buf_init(&members, ARGUMENTS_MAX);
	status = n > KEYS_MAX ? ctl_usage(inv, "more than %d arguments: use --args", KEYS_MAX)
			      : read_object(inv, &base);
	for (int i = 0; i < n && status == EXIT_DONE; i++)
		status = write_member(inv, inv->args[i + 1], &members, &keys[i]);
	if (status == EXIT_DONE) {
		struct span object = json_trim(buf_span(&base));

		if (json_edit_object(object, keys, (size_t)n, buf_span(&members), edits,
			    sizeof(edits) / sizeof(*edits), &n_edits) < 0 ||
			json_splice(object, edits, n_edits, out) < 0)
			status = ctl_usage(inv, "the arguments are too many or too long");
	}
	buf_free(&base);
	buf_free(&members);
	return status;
}

/* --- call ----------------------------------------------------------------------------------- */

static int show_result(const struct invocation *inv, const struct mcp_answer *answer)
{
	cJSON *json = cJSON_ParseWithLength(answer->result.p, answer->result.len);
	bool failed = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "isError"));
	struct buf out;
	int status;

	buf_init(&out, 2 * MCP_CLIENT_ANSWER_MAX);
	if (inv->option[OPT_JSON]) {
		buf_append_span(&out, answer->result);
		buf_append_char(&out, '\n');
	} else {
		render_call(json, &plain, &out);
	}
	status = print(&out);
	buf_free(&out);
	cJSON_Delete(json);
	return status == EXIT_DONE && failed ? EXIT_TOOL : status;
}

/* Unknown tools are refused as bad params (MCP, tools, error handling): is it that? */
static bool is_unknown_tool(
	struct mcp_client *client, const struct mcp_answer *answer, const char *name)
{
	struct span message, data, tool;
	struct mcp_answer list;
	struct json_iter iter;
	bool found = false;
	int64_t code = 0;

	if (jsonrpc_error_get(answer->error, &code, &message, &data) < 0 || code != -32602 ||
		mcp_client_request(client, "tools/list", SPAN_LIT("{}"), &list) != EXIT_DONE)
		return false;
	iter = json_iter(json_object_get(list.result, SPAN_LIT("tools")));
	while (!found && json_iter_element(&iter, &tool))
		found = json_equal_string(json_object_get(tool, SPAN_LIT("name")), span_str(name));
	mcp_answer_free(&list);
	return !found;
}

static int call(
	const struct invocation *inv, struct mcp_client *client, const struct buf *arguments)
{
	struct mcp_answer answer;
	struct buf params;
	int status;

	buf_init(&params, ARGUMENTS_MAX + 4096);
	buf_append_str(&params, "{\"name\":");
	json_write_string(&params, span_str(inv->args[0]));
	buf_append_str(&params, ",\"arguments\":");
	buf_append_span(&params, buf_span(arguments));
	buf_append_char(&params, '}');
	status = mcp_client_request(client, "tools/call", buf_span(&params), &answer);
	buf_free(&params);
	if (status != EXIT_DONE)
		return status;
	if (answer.error.len && is_unknown_tool(client, &answer, inv->args[0]))
		status = ctl_fail(
			EXIT_NOT_FOUND, "gatehouse tools", "there is no tool '%s'", inv->args[0]);
	else if (answer.error.len)
		status = mcp_client_fail(&answer);
	else
		status = show_result(inv, &answer);
	if (inv->option[OPT_TIMINGS])
		fprintf(stderr, "%s%stotal;dur=%.3f\n", answer.timing, *answer.timing ? ", " : "",
			(double)answer.total_us / 1000);
	mcp_answer_free(&answer);
	return status;
}

static const cJSON *find_named(const cJSON *list, const char *name)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list) if (strcmp(json_text(item, "name"), name) == 0) return item;
	return NULL;
}

/* Does the tool's name begin with the server's, as names do unless naming is none? */
static bool belongs_to(const char *tool, const char *server)
{
	size_t len = strlen(server);

	return len > 0 && strncmp(tool, server, len) == 0 && strncmp(tool + len, "__", 2) == 0;
}

/* The server that such a tool would be of, where it is neither up nor about to be. */
static const cJSON *find_down(const cJSON *servers, const char *tool)
{
	const cJSON *row;

	cJSON_ArrayForEach(row, servers)
	{
		const char *state = json_text(row, "state");

		if (belongs_to(tool, json_text(row, "name")) && strcmp(state, "up") != 0 &&
			strcmp(state, "starting") != 0)
			return row;
	}
	return NULL;
}

/*
 * A tool that the node does not list may be one of a server that is down: then that is what is
 * wrong, and a call would only wait for it. A node that cannot be asked is left to the call.
 */
static int check_server(const struct invocation *inv)
{
	const char *tool = inv->args[0];
	cJSON *tools = NULL, *servers = NULL;
	const cJSON *down;
	struct client *client;
	char path[4096];
	int status = EXIT_DONE;

	if (inv->option[OPT_URL] || client_find_socket(inv, path, sizeof(path)) != EXIT_DONE ||
		client_open_quietly(path, &client) < 0)
		return EXIT_DONE;
	client_ask_quietly(client, "servers", &servers);
	down = find_down(cJSON_GetObjectItemCaseSensitive(servers, "servers"), tool);
	if (down && client_ask_quietly(client, "tools", &tools) == 0 &&
		!find_named(cJSON_GetObjectItemCaseSensitive(tools, "tools"), tool))
		status = ctl_fail(EXIT_NODE, "gatehouse servers", "server %s is %s%s%s",
			json_text(down, "name"), json_text(down, "state"),
			*json_text(down, "error") ? ": " : "", json_text(down, "error"));
	client_close(client);
	cJSON_Delete(tools);
	cJSON_Delete(servers);
	return status;
}

static int dry_run(const struct invocation *inv, const struct buf *arguments);

int run_call(struct invocation *inv)
{
	struct mcp_client *client;
	struct target target;
	struct buf arguments;
	long timeout_ms;
	int status;

	if (inv->n_args < 1)
		return ctl_usage(inv, "name the tool: gatehouse tools lists them");
	status = read_timeout(inv, &timeout_ms);
	if (status != EXIT_DONE)
		return status;
	buf_init(&arguments, ARGUMENTS_MAX);
	status = read_arguments(inv, &arguments);
	if (status == EXIT_DONE && inv->option[OPT_DRY_RUN]) {
		status = dry_run(inv, &arguments);
	} else if (status == EXIT_DONE) {
		status = check_server(inv);
		if (status == EXIT_DONE)
			status = target_find(inv, &target);
		if (status == EXIT_DONE)
			status = mcp_client_open(&target, inv->option[OPT_AS], timeout_ms, &client);
		if (status == EXIT_DONE) {
			status = call(inv, client, &arguments);
			mcp_client_close(client);
		}
	}
	buf_free(&arguments);
	return status;
}

/* --- call --dry-run ------------------------------------------------------------------------- */

/* Missing and unknown arguments, as far as the schema's top level tells. */
static int check_arguments(const cJSON *schema, const cJSON *arguments)
{
	const cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
	const cJSON *closed = cJSON_GetObjectItemCaseSensitive(schema, "additionalProperties");
	const cJSON *item;
	int status = EXIT_DONE;

	cJSON_ArrayForEach(
		item, cJSON_GetObjectItemCaseSensitive(
			      schema, "required")) if (cJSON_IsString(item) &&
						       !cJSON_GetObjectItemCaseSensitive(arguments,
							       item->valuestring)) status =
		ctl_fail(EXIT_USAGE, NULL, "the argument '%s' is missing", item->valuestring);
	cJSON_ArrayForEach(item,
		arguments) if (cJSON_IsFalse(closed) &&
			       !cJSON_GetObjectItemCaseSensitive(properties, item->string)) status =
		ctl_fail(EXIT_USAGE, NULL, "there is no argument '%s'", item->string);
	return status;
}

static void print_route(const struct invocation *inv, const cJSON *tool, const cJSON *server)
{
	bool read_only = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(tool, "readOnly"));
	bool idempotent = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(tool, "idempotent"));

	if (inv->option[OPT_JSON]) {
		printf("{\"tool\":\"%s\",\"server\":\"%s\",\"state\":\"%s\",\"timeout_ms\":%.0f,"
		       "\"repeatable\":%s}\n",
			json_text(tool, "name"), json_text(tool, "server"),
			json_text(server, "state"), json_number(server, "timeout_ms"),
			read_only || idempotent ? "true" : "false");
		return;
	}
	printf("tool        %s (%s)\n", json_text(tool, "name"), json_text(tool, "original"));
	printf("server      %s, %s over %s\n", json_text(tool, "server"),
		json_text(server, "state"), json_text(server, "transport"));
	printf("instance    %s\n", strcmp(json_text(server, "isolation"), "session") == 0
					   ? "one of the session's own"
					   : "shared by all sessions");
	printf("deadline    %.0f s\n", json_number(server, "timeout_ms") / 1000);
	printf("repeated    %s\n", read_only    ? "yes, it only reads"
				   : idempotent ? "yes, it is idempotent"
						: "never");
	printf("cached      no\n");
}

static int dry_run(const struct invocation *inv, const struct buf *arguments)
{
	cJSON *tools = NULL, *servers = NULL, *given = NULL;
	const cJSON *tool, *definition;
	struct client *client;
	int status = client_open(inv, &client);

	if (status != EXIT_DONE)
		return status;
	status = client_ask(client, "tools", "", NULL, &tools);
	if (status == EXIT_DONE)
		status = client_ask(client, "servers", "", NULL, &servers);
	client_close(client);
	tool = find_named(cJSON_GetObjectItemCaseSensitive(tools, "tools"), inv->args[0]);
	if (status == EXIT_DONE && !tool)
		status = ctl_fail(
			EXIT_NOT_FOUND, "gatehouse tools", "there is no tool '%s'", inv->args[0]);
	if (status == EXIT_DONE) {
		given = cJSON_ParseWithLength(arguments->data, arguments->len);
		definition = cJSON_GetObjectItemCaseSensitive(tool, "definition");
		status = check_arguments(
			cJSON_GetObjectItemCaseSensitive(definition, "inputSchema"), given);
	}
	if (status == EXIT_DONE)
		print_route(inv, tool,
			find_named(cJSON_GetObjectItemCaseSensitive(servers, "servers"),
				json_text(tool, "server")));
	cJSON_Delete(given);
	cJSON_Delete(tools);
	cJSON_Delete(servers);
	return status;
}

/* --- tools ---------------------------------------------------------------------------------- */

static int show_catalogue(const struct invocation *inv)
{
	const struct style style = view_style();
	struct client *client;
	cJSON *json = NULL;
	char *text = NULL;
	struct buf out, room;
	const char *arguments = view_argument(inv, &room);
	int status = arguments ? client_open(inv, &client)
			       : ctl_usage(inv, "'%s' is too long", inv->option[OPT_VIEW]);

	if (status == EXIT_DONE) {
		status = client_ask(client, "tools", arguments, &text, &json);
		client_close(client);
	}
	buf_free(&room);
	if (status == EXIT_DONE && !inv->option[OPT_JSON] &&
		cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "tools")) == 0) {
		fputs("no server that is up has tools: gatehouse servers says how they are\n",
			stderr);
	} else if (status == EXIT_DONE) {
		buf_init(&out, 2 * MCP_CLIENT_ANSWER_MAX);
		if (inv->option[OPT_JSON])
			buf_printf(&out, "%s\n", text);
		else
			(inv->option[OPT_SIZE] ? render_tool_sizes : render_tools)(
				json, &style, &out);
		status = print(&out);
		buf_free(&out);
	}
	free(text);
	cJSON_Delete(json);
	return status;
}

static void write_sizes(struct span result, struct buf *out)
{
	static const struct column columns[] = {{"TOOL", false, true}, {"BYTES", true, false}};
	struct table *table = table_new(columns, 2);
	struct json_iter iter = json_iter(json_object_get(result, SPAN_LIT("tools")));
	struct span tool;

	while (json_iter_element(&iter, &tool)) {
		char room[LIMIT_TOOL_NAME * 2];
		struct span name = SPAN_NONE;

		json_string_copy(
			json_object_get(tool, SPAN_LIT("name")), room, sizeof(room), &name);
		table_cell(table, "%.*s", SPAN_ARG(name));
		table_cell(table, "%zu", tool.len);
	}
	table_write(table, &plain, out);
	table_free(table);
	buf_printf(out, "%zu bytes\n", result.len);
}

/* The very bytes a client sees. */
static int show_as(const struct invocation *inv, long timeout_ms)
{
	struct mcp_client *client;
	struct mcp_answer answer;
	struct target target;
	struct buf out;
	int status = target_find(inv, &target);

	if (status == EXIT_DONE)
		status = mcp_client_open(&target, inv->option[OPT_AS], timeout_ms, &client);
	if (status != EXIT_DONE)
		return status;
	status = mcp_client_request(client, "tools/list", SPAN_LIT("{}"), &answer);
	if (status == EXIT_DONE) {
		buf_init(&out, 2 * MCP_CLIENT_ANSWER_MAX);
		if (answer.error.len)
			status = mcp_client_fail(&answer);
		else if (inv->option[OPT_SIZE] && !inv->option[OPT_JSON])
			write_sizes(answer.result, &out);
		else
			buf_printf(&out, "%.*s\n", SPAN_ARG(answer.result));
		if (status == EXIT_DONE)
			status = print(&out);
		buf_free(&out);
		mcp_answer_free(&answer);
	}
	mcp_client_close(client);
	return status;
}

int run_tools(struct invocation *inv)
{
	long timeout_ms;
	int status;

	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	status = read_timeout(inv, &timeout_ms);
	if (status != EXIT_DONE)
		return status;
	return inv->option[OPT_AS] || inv->option[OPT_URL] ? show_as(inv, timeout_ms)
							   : show_catalogue(inv);
}
