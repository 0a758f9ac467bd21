/* The commands that need no node: serve (which becomes one), check, config. */
#include "config.h"
#include "ctl.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_MAX (8u * 1024 * 1024)
/* Where a node listens that is only being tried out. */
#define DEV_LISTEN "http://127.0.0.1:8080"

static int need_config(struct invocation *inv)
{
	if (!inv->option[OPT_CONFIG] && inv->n_args == 1)
		inv->option[OPT_CONFIG] = inv->args[0];
	else if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	if (!inv->option[OPT_CONFIG])
		return ctl_usage(inv, "name the configuration: -c FILE");
	return EXIT_DONE;
}

static void write_out(const struct buf *out, FILE *file)
{
	if (out->len)
		fwrite(out->data, 1, out->len, file);
	fflush(file);
}

static void print_report(const struct config_report *report)
{
	struct buf text;

	buf_init(&text, OUTPUT_MAX);
	config_report_write(report, &text);
	write_out(&text, stderr);
	buf_free(&text);
}

/* Mistakes are printed here; notices only when asked for. */
static int load_by(
	int (*read)(const char *path, struct config **ret, struct config_report *report),
	const char *file, bool notices, struct config **ret, struct config_report *report)
{
	int r;

	config_report_init(report);
	r = read(file, ret, report);
	if (r < 0 || notices)
		print_report(report);
	if (r == -ERR_CONFIG)
		return EXIT_CONFIG;
	return r < 0 ? ctl_fail(EXIT_CONFIG, NULL, "%s: %s", file, err_reason(r)) : EXIT_DONE;
}

static int load(const char *file, bool notices, struct config **ret, struct config_report *report)
{
	return load_by(config_load, file, notices, ret, report);
}

/* --- serve ---------------------------------------------------------------------------------- */

static int supervisor_path(char *path, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return -1;
	self[n] = '\0';
	return snprintf(path, size, "%s/gatehouse-supervisor", dirname(self)) < (int)size ? 0 : -1;
}

/* The root, which looks again, refuses what --dev does not allow. */
static int check_listen(struct invocation *inv, struct config *config)
{
	struct err err = {0};

	if (inv->option[OPT_DEV] && config->listen_count == 0 && inv->n_listen == 0)
		inv->listen[inv->n_listen++] = DEV_LISTEN;
	for (unsigned i = 0; i < inv->n_listen; i++)
		if (config_add_listen(config, inv->listen[i], i == 0, &err) < 0)
			return ctl_fail(EXIT_CONFIG, NULL, "--listen: %s", err_text(&err));
	if (config->listen_count == 0)
		return ctl_fail(EXIT_CONFIG,
			"gatehouse serve -c FILE --listen http://127.0.0.1:8080",
			"%s names no address to listen on", inv->option[OPT_CONFIG]);
	return EXIT_DONE;
}

int run_serve(struct invocation *inv)
{
	char path[PATH_MAX];
	char *argv[10 + 2 * LISTEN_OPTIONS_MAX];
	struct config_report report;
	struct config *config = NULL;
	int n = 0, status = need_config(inv);

	if (status == EXIT_DONE) {
		status = load(inv->option[OPT_CONFIG], false, &config, &report);
		if (status == EXIT_DONE)
			status = check_listen(inv, config);
		config_free(config);
		config_report_free(&report);
	}
	if (status != EXIT_DONE)
		return status;
	if (supervisor_path(path, sizeof(path)) < 0)
		return ctl_fail(EXIT_NODE, NULL, "cannot tell where this program is");
	argv[n++] = path;
	argv[n++] = (char *)"--config";
	argv[n++] = (char *)inv->option[OPT_CONFIG];
	if (inv->option[OPT_STATE]) {
		argv[n++] = (char *)"--state";
		argv[n++] = (char *)inv->option[OPT_STATE];
	}
	if (inv->option[OPT_SOCKET]) {
		argv[n++] = (char *)"--socket";
		argv[n++] = (char *)inv->option[OPT_SOCKET];
	}
	if (inv->option[OPT_WATCH_FILE])
		argv[n++] = (char *)"--watch";
	if (inv->option[OPT_DEV])
		argv[n++] = (char *)"--dev";
	for (unsigned i = 0; i < inv->n_listen; i++) {
		argv[n++] = (char *)"--listen";
		argv[n++] = (char *)inv->listen[i];
	}
	argv[n] = NULL;
	execv(path, argv);
	return ctl_fail(EXIT_NODE, NULL, "cannot execute %s: %s", path, strerror(errno));
}

/* --- check ---------------------------------------------------------------------------------- */

static cJSON *problems_as_json(const struct config_report *report)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < report->count; i++) {
		const struct config_problem *problem = &report->items[i];
		cJSON *row = cJSON_CreateObject();

		cJSON_AddStringToObject(
			row, "severity", problem->severity == CONFIG_ERROR ? "error" : "notice");
		cJSON_AddNumberToObject(row, "line", problem->line);
		cJSON_AddNumberToObject(row, "column", problem->column);
		cJSON_AddStringToObject(row, "text", problem->text);
		cJSON_AddItemToArray(list, row);
	}
	return list;
}

static void add_need(cJSON *json, const char *name, int64_t need, int64_t have)
{
	cJSON *row = cJSON_AddObjectToObject(json, name);

	cJSON_AddNumberToObject(row, "needed", (double)need);
	if (have >= 0)
		cJSON_AddNumberToObject(row, "limit", (double)have);
	else
		cJSON_AddNullToObject(row, "limit");
}

/* config and budget: NULL after a mistake. */
static int print_check_json(const struct config_report *report, const struct config *config,
	const struct config_budget *budget)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	cJSON_AddBoolToObject(json, "ok", config != NULL);
	cJSON_AddItemToObject(json, "problems", problems_as_json(report));
	if (config) {
		cJSON_AddNumberToObject(json, "servers", (double)config->server_count);
		cJSON_AddNumberToObject(json, "views", (double)config->view_count);
		cJSON_AddNumberToObject(json, "listeners", (double)config->listen_count);
		add_need(json, "processes", budget->processes, budget->max_processes);
		add_need(json, "descriptors", budget->descriptors, budget->max_descriptors);
		add_need(json, "memory_bytes", budget->memory, budget->max_memory);
		cJSON_AddNumberToObject(json, "commands", budget->commands);
		cJSON_AddNumberToObject(json, "commands_missing", budget->missing);
	}
	text = cJSON_PrintUnformatted(json);
	cJSON_Delete(json);
	if (!text)
		return ctl_fail(EXIT_NODE, NULL, "out of memory");
	puts(text);
	cJSON_free(text);
	return EXIT_DONE;
}

static void print_check(const struct invocation *inv, const struct config_report *report,
	const struct config *config, const struct config_budget *budget)
{
	struct buf out;

	print_report(report);
	buf_init(&out, OUTPUT_MAX);
	buf_printf(&out, "%s: %zu %s, %zu %s", inv->option[OPT_CONFIG], config->server_count,
		config->server_count == 1 ? "server" : "servers", config->listen_count,
		config->listen_count == 1 ? "listener" : "listeners");
	if (config->view_count)
		buf_printf(&out, ", %zu %s", config->view_count,
			config->view_count == 1 ? "virtual server" : "virtual servers");
	buf_append_char(&out, '\n');
	config_budget_write(budget, &out);
	write_out(&out, stdout);
	buf_free(&out);
}

static int check_file(
	const struct invocation *inv, struct config_report *report, struct config **ret_config)
{
	const char *file = inv->option[OPT_CONFIG];
	bool json = inv->option[OPT_JSON] != NULL;
	struct config_budget budget;
	int r = config_load(file, ret_config, report), status = EXIT_DONE;

	if (r == 0)
		config_check_environment(*ret_config, report, &budget);
	if (r < 0 && r != -ERR_CONFIG)
		return ctl_fail(EXIT_CONFIG, NULL, "%s: %s", file, err_reason(r));
	if (json)
		status = print_check_json(report, *ret_config, &budget);
	else if (r == 0)
		print_check(inv, report, *ret_config, &budget);
	else
		print_report(report);
	return r < 0 ? EXIT_CONFIG : status;
}

int run_check(struct invocation *inv)
{
	struct config_report report;
	struct config *config = NULL;
	int status = need_config(inv);

	if (status != EXIT_DONE)
		return status;
	config_report_init(&report);
	status = check_file(inv, &report, &config);
	config_free(config);
	config_report_free(&report);
	return status;
}

/* --- config --------------------------------------------------------------------------------- */

static int write_config(const struct config *config, enum config_view view)
{
	struct buf out;
	int r;

	buf_init(&out, OUTPUT_MAX);
	r = config_write_json(config, view, NULL, &out);
	if (r == 0)
		r = buf_append_char(&out, '\n');
	if (r == 0)
		write_out(&out, stdout);
	buf_free(&out);
	return r == 0 ? EXIT_DONE : ctl_fail(EXIT_NODE, NULL, "cannot write it: %s", err_reason(r));
}

int run_config_show(struct invocation *inv)
{
	struct config_report report;
	struct config *config = NULL;
	int status = need_config(inv);

	if (status != EXIT_DONE)
		return status;
	status = load(inv->option[OPT_CONFIG], true, &config, &report);
	if (status == EXIT_DONE)
		status = write_config(
			config, inv->option[OPT_ORIGIN] ? CONFIG_VIEW_ORIGIN : CONFIG_VIEW_DISPLAY);
	config_free(config);
	config_report_free(&report);
	return status;
}

int run_config_schema(struct invocation *inv)
{
	struct buf out;
	int r;

	if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	buf_init(&out, OUTPUT_MAX);
	r = config_write_schema(&out);
	write_out(&out, stdout);
	buf_free(&out);
	return r == 0 ? EXIT_DONE : EXIT_NODE;
}

/* --- config import -------------------------------------------------------------------------- */

static cJSON *view_of(const struct config *config, enum config_view view)
{
	struct buf out;
	cJSON *json = NULL;

	buf_init(&out, OUTPUT_MAX);
	if (config_write_json(config, view, NULL, &out) == 0)
		json = cJSON_ParseWithLength(out.data, out.len);
	if (out.data)
		explicit_bzero(out.data, out.len);
	buf_free(&out);
	return json;
}

/* Drop what the file did not say. origins: the same tree with {"value","origin"} for leaves.
 * Returns whether anything is left. */
static bool keep_said(cJSON *full, const cJSON *origins)
{
	const cJSON *origin = cJSON_GetObjectItemCaseSensitive(origins, "origin");
	cJSON *item, *next;
	int index = 0;
	bool any = false;

	if (cJSON_IsString(origin))
		return strcmp(origin->valuestring, "default") != 0;
	for (item = full->child; item; item = next, index++) {
		const cJSON *of = item->string
					  ? cJSON_GetObjectItemCaseSensitive(origins, item->string)
					  : cJSON_GetArrayItem(origins, index);

		next = item->next;
		if (of && keep_said(item, of))
			any = true;
		else if (item->string)
			cJSON_Delete(cJSON_DetachItemViaPointer(full, item));
	}
	return any;
}

/* As a file has it: secrets are plain strings. */
static void make_plain(cJSON *item)
{
	const cJSON *secret = cJSON_GetObjectItemCaseSensitive(item, "secret");
	cJSON *text;

	if (!cJSON_IsString(secret) || secret->next || item->child != secret) {
		for (cJSON *child = item->child; child; child = child->next)
			make_plain(child);
		return;
	}
	text = cJSON_DetachItemViaPointer(item, item->child);
	item->type = cJSON_String;
	item->valuestring = text->valuestring;
	text->valuestring = NULL;
	cJSON_Delete(text);
}

/* What a client's file has no word for: where to listen, and what VS Code asks its user for. */
static void complete_import(const struct config *config, cJSON *full)
{
	cJSON *inputs = config->inputs ? cJSON_Parse(config->inputs) : NULL;
	const char *listen = DEV_LISTEN;

	if (inputs)
		cJSON_AddItemToObject(full, "inputs", inputs);
	if (config->listen_count > 0)
		return;
	cJSON_DeleteItemFromObject(full, "listen");
	cJSON_AddItemToObject(full, "listen", cJSON_CreateStringArray(&listen, 1));
}

/* A client's file is read as it is, ${…} included; what comes out is the same in Gatehouse's own
 * words: a file to be served. */
static int write_import(const struct config *config)
{
	cJSON *full = view_of(config, CONFIG_VIEW_FULL);
	cJSON *origins = view_of(config, CONFIG_VIEW_ORIGIN);
	char *text = NULL;

	if (full && origins) {
		keep_said(full, origins);
		make_plain(full);
		complete_import(config, full);
		text = cJSON_Print(full);
	}
	cJSON_Delete(full);
	cJSON_Delete(origins);
	if (!text)
		return ctl_fail(EXIT_NODE, NULL, "out of memory");
	puts(text);
	cJSON_free(text);
	return EXIT_DONE;
}

int run_config_import(struct invocation *inv)
{
	struct config_report report;
	struct config *config = NULL;
	int status = need_config(inv);

	if (status != EXIT_DONE)
		return status;
	status = load_by(config_load_verbatim, inv->option[OPT_CONFIG], true, &config, &report);
	if (status == EXIT_DONE)
		status = write_import(config);
	config_free(config);
	config_report_free(&report);
	return status;
}
