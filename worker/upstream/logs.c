#include "logs.h"
#include "clock.h"
#include "json_write.h"

#include <stdio.h>
#include <stdlib.h>

static void drop_oldest(struct logs *logs)
{
	struct logs_line *line = &logs->lines[logs->first];

	logs->bytes -= line->len;
	free(line->text);
	*line = (struct logs_line){0};
	logs->first = (logs->first + 1) % LOGS_LINES_MAX;
	logs->count--;
}

void logs_add(struct logs *logs, const char *label, struct span text)
{
	char *copy = strndup(text.len ? text.p : "", text.len);
	struct logs_line *line;

	if (!copy)
		return;
	while (logs->count > 0 &&
		(logs->count == LOGS_LINES_MAX || logs->bytes + text.len > LOGS_BYTES_MAX))
		drop_oldest(logs);
	line = &logs->lines[(logs->first + logs->count) % LOGS_LINES_MAX];
	*line = (struct logs_line){
		.n = ++logs->total, .when = clock_wall_s(), .text = copy, .len = text.len};
	snprintf(line->label, sizeof(line->label), "%s", label);
	logs->count++;
	logs->bytes += text.len;
}

int logs_write(const struct logs *logs, struct buf *out)
{
	buf_append_str(out, "{\"lines\":[");
	for (unsigned i = 0; i < logs->count; i++) {
		const struct logs_line *line = &logs->lines[(logs->first + i) % LOGS_LINES_MAX];

		buf_printf(out, "%s{\"n\":%llu,\"ts\":%lld,\"session\":", i ? "," : "",
			(unsigned long long)line->n, (long long)line->when);
		json_write_string(out, span_str(line->label));
		buf_append_str(out, ",\"text\":");
		json_write_string(out, span_of(line->text, line->len));
		buf_append_char(out, '}');
	}
	return buf_append_str(out, "]}");
}

void logs_free(struct logs *logs)
{
	while (logs->count > 0)
		drop_oldest(logs);
}
