#include "answers.h"
#include "admin.h"
#include "bounds.h"
#include "json.h"
#include "json_write.h"

void answers_splice(struct buf *out, struct span json)
{
	json = json_trim(json);
	if (json_type(json) != JSON_OBJECT)
		return;
	json = json_trim(span_of(json.p + 1, json.len - 2));
	if (json.len == 0)
		return;
	buf_append_char(out, ',');
	buf_append_span(out, json);
}

bool answer_is_json(const struct parts_answer *answer)
{
	return answer->payload &&
	       json_check(span_of(answer->payload, answer->len), LIMIT_JSON_DEPTH, NULL) == 0;
}

/* --- logs of several servers ----------------------------------------------------------------- */

/* What a line gets longer by: its server's name as a member. */
#define LINE_EXTRA (LIMIT_SERVER_NAME + 16u)

static struct json_iter lines_of(const struct parts_answer *answer)
{
	return json_iter(json_object_get(
		json_trim(span_of(answer->payload, answer->len)), SPAN_LIT("lines")));
}

bool answers_logs_fit(const struct parts_answer *answers, size_t n)
{
	size_t sum = 64;

	for (size_t i = 0; i < n; i++) {
		struct json_iter iter;
		struct span line;

		sum += answers[i].len + LINE_EXTRA;
		if (answers[i].err.code != 0 || !answer_is_json(&answers[i]))
			continue;
		iter = lines_of(&answers[i]);
		while (json_iter_element(&iter, &line))
			sum += LINE_EXTRA;
	}
	return sum <= ADMIN_REPLY_MAX;
}

/* Each line is an object; the server's name becomes its first member. */
static void write_lines(const struct parts_answer *answer, bool *first, struct buf *out)
{
	struct json_iter iter = lines_of(answer);
	struct span line;

	while (json_iter_element(&iter, &line)) {
		buf_append_str(out, *first ? "{\"server\":" : ",{\"server\":");
		*first = false;
		json_write_string(out, span_str(answer->name));
		answers_splice(out, line);
		buf_append_char(out, '}');
	}
}

/* Names of those that did not answer. */
static void write_silent(const struct parts_answer *answers, size_t n, struct buf *out)
{
	bool first = true;

	for (size_t i = 0; i < n; i++) {
		if (answers[i].err.code == 0)
			continue;
		buf_append_str(out, first ? "" : ",");
		first = false;
		json_write_string(out, span_str(answers[i].name));
	}
}

void answers_write_logs(const struct parts_answer *answers, size_t n, struct buf *out)
{
	bool first = true;

	buf_append_str(out, "{\"ok\":true,\"lines\":[");
	for (size_t i = 0; i < n; i++)
		if (answers[i].err.code == 0 && answer_is_json(&answers[i]))
			write_lines(&answers[i], &first, out);
	buf_append_str(out, "],\"not_answering\":[");
	write_silent(answers, n, out);
	buf_append_str(out, "]}");
}
