/* The findings of gatehouse doctor. */
#include "err.h"
#include "render.h"

#include <stdio.h>
#include <string.h>

#define STATE_WIDTH 9u
#define CHECK_WIDTH 17u
#define INDENT (STATE_WIDTH + CHECK_WIDTH)

static const char *color_of(const char *state)
{
	return strcmp(state, "ok") == 0       ? "\033[32m"
	       : strcmp(state, "problem") == 0 ? "\033[31m"
					       : "\033[33m";
}

static void pad(const char *text, unsigned width, struct buf *out)
{
	unsigned is = text_width(text);

	buf_printf(out, "%*s", (int)(is < width ? width - is : 1), "");
}

static void write_finding(const cJSON *row, const struct style *style, struct buf *out)
{
	const char *state = json_text(row, "state"), *next = json_text(row, "next");
	char check[256], line[4096];
	struct buf cut;

	buf_init(&cut, sizeof(check));
	text_cut(json_text(row, "check"), CHECK_WIDTH - 1, &cut);
	buf_append_char(&cut, '\0');
	snprintf(check, sizeof(check), "%s", cut.data);
	buf_free(&cut);
	buf_printf(out, "%s%s%s", style->color ? color_of(state) : "", state,
		style->color ? "\033[0m" : "");
	pad(state, STATE_WIDTH, out);
	buf_append_str(out, check);
	pad(check, CHECK_WIDTH, out);
	text_wrap(json_text(row, "text"), INDENT, style->width, out);
	buf_append_char(out, '\n');
	if (!*next)
		return;
	snprintf(line, sizeof(line), "try: %s", next);
	buf_printf(out, "%*s", (int)INDENT, "");
	text_wrap(line, INDENT, style->width, out);
	buf_append_char(out, '\n');
}

static void write_count(double n, const char *one, const char *many, struct buf *out)
{
	buf_printf(out, "%.0f %s", n, n == 1 ? one : many);
}

int render_doctor(const cJSON *reply, const struct style *style, struct buf *out)
{
	const cJSON *row;

	cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(reply, "checks"))
		write_finding(row, style, out);
	write_count(json_number(reply, "problems"), "problem", "problems", out);
	buf_append_str(out, ", ");
	write_count(json_number(reply, "warnings"), "warning", "warnings", out);
	return buf_append_char(out, '\n');
}
