#include "doctor.h"
#include "views.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const finding_names[] = {"ok", "warning", "problem"};

void doctor_found(struct doctor *doctor, enum finding finding, const char *check, const char *next,
	const char *fmt, ...)
{
	cJSON *row = cJSON_CreateObject();
	char text[2048];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (size_t len = strlen(text); len > 0 && text[len - 1] == '\n';)
		text[--len] = '\0';
	cJSON_AddStringToObject(row, "check", check);
	cJSON_AddStringToObject(row, "state", finding_names[finding]);
	cJSON_AddStringToObject(row, "text", text);
	cJSON_AddStringToObject(row, "next", finding != FINDING_OK && next ? next : "");
	cJSON_AddItemToArray(doctor->checks, row);
}

static unsigned count(const struct doctor *doctor, enum finding finding)
{
	const cJSON *row;
	unsigned n = 0;

	cJSON_ArrayForEach(row, doctor->checks)
	{
		n += strcmp(json_text(row, "state"), finding_names[finding]) == 0;
	}
	return n;
}

/* Takes over doctor->checks. */
static int report(struct doctor *doctor)
{
	unsigned problems = count(doctor, FINDING_PROBLEM);
	cJSON *reply = cJSON_CreateObject();
	char *text;
	int status;

	cJSON_AddBoolToObject(reply, "ok", problems == 0);
	cJSON_AddNumberToObject(reply, "problems", problems);
	cJSON_AddNumberToObject(reply, "warnings", count(doctor, FINDING_WARNING));
	cJSON_AddItemToObject(reply, "checks", doctor->checks);
	doctor->checks = NULL;
	text = cJSON_PrintUnformatted(reply);
	status = view_print(doctor->inv, text ? text : "", reply, render_doctor, false);
	cJSON_free(text);
	cJSON_Delete(reply);
	return status == EXIT_DONE && problems > 0 ? EXIT_NODE : status;
}

int run_doctor(struct invocation *inv)
{
	struct doctor doctor = {.inv = inv, .checks = cJSON_CreateArray()};
	int status;

	if (inv->n_args == 1 && !inv->option[OPT_CONFIG])
		inv->option[OPT_CONFIG] = inv->args[0];
	else if (inv->n_args > 0)
		return ctl_usage(inv, "'%s' is too much", inv->args[0]);
	doctor.config_file = inv->option[OPT_CONFIG];
	doctor_examine_config(&doctor);
	doctor_examine_node(&doctor);
	doctor_examine_machine(&doctor);
	status = report(&doctor);
	client_close(doctor.client);
	cJSON_Delete(doctor.status);
	config_free(doctor.config);
	return status;
}
