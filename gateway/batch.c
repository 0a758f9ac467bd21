#include "batch.h"
#include "sse.h"

#include <stdlib.h>

/* An id that was answered, and how often. */
struct answered {
	struct span id;
	unsigned times;
};

int batch_note(struct exchange *exchange, struct span json)
{
	struct jsonrpc msg;
	int r;

	if (exchange->kind != JSONRPC_BATCH || jsonrpc_parse(json, &msg, NULL) < 0 ||
		!jsonrpc_is_reply(&msg))
		return 0;
	/* what is noted are ids of the body; a raw id has no line ends */
	if (!exchange->answered.max)
		buf_init(&exchange->answered, 2 * exchange->body.len);
	r = buf_append_span(&exchange->answered, msg.id);
	return r ? r : buf_append_char(&exchange->answered, '\n');
}

int batch_note_events(struct exchange *exchange, struct span bytes)
{
	struct sse_event event;
	int r;

	if (exchange->kind != JSONRPC_BATCH)
		return 0;
	if (!exchange->parser)
		exchange->parser = sse_parser_new(EXCHANGE_EVENT_MAX);
	if (!exchange->parser)
		return -ERR_NO_MEMORY;
	while ((r = sse_parser_next(exchange->parser, &bytes, &event, NULL)) == 1) {
		r = event.data.len ? batch_note(exchange, event.data) : 0;
		if (r < 0)
			break;
	}
	return r;
}

void batch_forget_half(struct exchange *exchange)
{
	if (exchange->kind == JSONRPC_BATCH && exchange->parser)
		sse_parser_reset(exchange->parser);
}

/* --- what is left --------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct span *x = &((const struct answered *)a)->id;
	const struct span *y = &((const struct answered *)b)->id;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->p, y->p, x->len);
}

static size_t count_lines(struct span text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += text.p[i] == '\n';
	return n;
}

/* Sorted, each id once. */
static struct answered *read_answered(struct span text, size_t *ret_n)
{
	size_t lines = count_lines(text), n = 0, unique = 0;
	struct answered *list = calloc(lines + 1, sizeof(*list));

	if (!list)
		return NULL;
	while (text.len) {
		size_t len = (size_t)((const char *)memchr(text.p, '\n', text.len) - text.p);

		list[n++] = (struct answered){.id = span_of(text.p, len), .times = 1};
		text = span_of(text.p + len + 1, text.len - len - 1);
	}
	qsort(list, n, sizeof(*list), compare);
	for (size_t i = 1; i < n; i++) {
		if (compare(&list[unique], &list[i]) == 0)
			list[unique].times++;
		else
			list[++unique] = list[i];
	}
	*ret_n = n ? unique + 1 : 0;
	return list;
}

static bool take(struct answered *list, size_t n, struct span id)
{
	const struct answered key = {.id = id};
	struct answered *found = bsearch(&key, list, n, sizeof(*list), compare);

	if (!found || found->times == 0)
		return false;
	found->times--;
	return true;
}

/* Bytes and number of the requests in body that list does not have. */
static int copy_others(struct span body, struct answered *list, size_t n, struct buf *out)
{
	struct json_iter iter = json_iter(json_trim(body));
	struct jsonrpc one;
	int r, count = 0;

	buf_append_char(out, '[');
	while ((r = jsonrpc_batch_next(&iter, &one, NULL)) != 0) {
		if (r < 0 || one.kind != JSONRPC_REQUEST || take(list, n, one.id))
			continue;
		if (count++ > 0)
			buf_append_char(out, ',');
		buf_append_span(out, one.body);
	}
	buf_append_char(out, ']');
	return out->failed ? -ERR_NO_MEMORY : count;
}

int batch_cut(struct exchange *exchange)
{
	struct answered *list;
	struct buf out;
	size_t n;
	int count;

	list = read_answered(buf_span(&exchange->answered), &n);
	if (!list)
		return -ERR_NO_MEMORY;
	buf_init(&out, exchange->body.len + 2);
	count = copy_others(exchange->body, list, n, &out);
	free(list);
	if (count < 0) {
		buf_free(&out);
		return count;
	}
	buf_free(&exchange->rest);
	buf_free(&exchange->answered);
	exchange->rest = out;
	exchange->body = buf_span(&exchange->rest);
	return count;
}
