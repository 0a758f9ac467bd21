#include "config_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void config_report_init(struct config_report *report)
{
	*report = (struct config_report){0};
}

void config_report_free(struct config_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->items[i].text);
	free(report->items);
	free(report->file);
	config_report_init(report);
}

int config_report_set_file(struct config_report *report, const char *file)
{
	char *copy = strdup(file);

	if (!copy)
		return -ERR_NO_MEMORY;
	free(report->file);
	report->file = copy;
	return 0;
}

/* A message's text must not break the line it is printed on, nor the terminal. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

void config_report_add(struct config_report *report, enum config_severity severity, uint32_t line,
	uint32_t column, const char *fmt, ...)
{
	char text[CONFIG_MAX_MESSAGE];
	va_list args;
	char *copy;

	report->errors += severity == CONFIG_ERROR;
	if (!report->items)
		report->items = calloc(CONFIG_REPORT_MAX, sizeof(*report->items));
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	make_printable(text);
	copy = report->items && report->count < CONFIG_REPORT_MAX ? strdup(text) : NULL;
	if (copy)
		report->items[report->count++] =
			(struct config_problem){severity, line, column, copy};
	else
		report->dropped++;
}

void config_report_tree_error(void *arg, uint32_t line, uint32_t column, const char *text)
{
	config_report_add(arg, CONFIG_ERROR, line, column, "%s", text);
}

/* By line, then column; insertion keeps the order of equals, and the list is short. */
void config_report_sort(struct config_report *report)
{
	for (size_t i = 1; i < report->count; i++) {
		struct config_problem moved = report->items[i];
		size_t j = i;

		for (; j > 0; j--) {
			const struct config_problem *p = &report->items[j - 1];

			if (p->line < moved.line ||
				(p->line == moved.line && p->column <= moved.column))
				break;
			report->items[j] = *p;
		}
		report->items[j] = moved;
	}
}

static int write_problem(const char *file, const struct config_problem *problem, struct buf *out)
{
	const char *kind = problem->severity == CONFIG_ERROR ? "error" : "notice";

	if (problem->line == 0)
		return buf_printf(out, "%s: %s: %s\n", file, kind, problem->text);
	return buf_printf(out, "%s:%u:%u: %s: %s\n", file, problem->line, problem->column, kind,
		problem->text);
}

int config_report_write(const struct config_report *report, struct buf *out)
{
	const char *file = report->file ? report->file : "configuration";
	int r = 0;

	for (size_t i = 0; r == 0 && i < report->count; i++)
		r = write_problem(file, &report->items[i], out);
	if (r == 0 && report->dropped > 0)
		r = buf_printf(out, "%s: %zu more are not shown\n", file, report->dropped);
	return r;
}
