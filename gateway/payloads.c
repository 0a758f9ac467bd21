#include "payloads.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>

/* "… (of 16777216 bytes)" */
#define MARK_MAX 40u
/* What stands before a result in its event: id, type, the envelope with its id. */
#define EVENT_HEAD_MAX 512u

struct text {
	size_t len;
	char bytes[LIMIT_LOGGED_PAYLOAD + MARK_MAX];
};

struct payloads {
	struct text arguments, result, error;
	/* the last event of a stream, which is the answer once the stream has ended */
	size_t event_len;   /* bytes of it here */
	size_t event_whole; /* in all */
	char event[EVENT_HEAD_MAX + LIMIT_LOGGED_PAYLOAD];
};

/* Not within a character. */
static size_t cut_at(struct span text, size_t len)
{
	while (len > 0 && ((unsigned char)text.p[len] & 0xc0) == 0x80)
		len--;
	return len;
}

/* whole: its length, of which text may be the beginning. */
static void keep(struct text *to, struct span text, size_t whole)
{
	size_t len = text.len;

	if (len > LIMIT_LOGGED_PAYLOAD)
		len = cut_at(text, LIMIT_LOGGED_PAYLOAD);
	if (len)
		memcpy(to->bytes, text.p, len);
	to->len = len;
	if (len < whole)
		to->len += (size_t)snprintf(
			to->bytes + len, MARK_MAX, "\xe2\x80\xa6 (of %zu bytes)", whole);
}

struct payloads *payloads_new(struct span body)
{
	struct payloads *payloads = calloc(1, sizeof(*payloads));
	struct span params, arguments;

	if (!payloads)
		return NULL;
	body = json_trim(body);
	params = json_object_get(body, SPAN_LIT("params"));
	arguments = json_object_get(params, SPAN_LIT("arguments"));
	if (json_type(body) == JSON_ARRAY)
		arguments = body;
	else if (!arguments.len)
		arguments = params;
	keep(&payloads->arguments, arguments, arguments.len);
	return payloads;
}

void payloads_free(struct payloads *payloads)
{
	free(payloads);
}

void payloads_answer(struct payloads *payloads, struct span body)
{
	struct span result, error;

	if (!payloads)
		return;
	body = json_trim(body);
	result = json_object_get(body, SPAN_LIT("result"));
	error = json_object_get(body, SPAN_LIT("error"));
	if (json_type(body) == JSON_ARRAY)
		result = body;
	keep(&payloads->result, result, result.len);
	keep(&payloads->error, error, error.len);
}

void payloads_event(struct payloads *payloads, struct span bytes, bool begins)
{
	size_t room;

	if (!payloads)
		return;
	if (begins)
		payloads->event_len = payloads->event_whole = 0;
	room = sizeof(payloads->event) - payloads->event_len;
	payloads->event_whole += bytes.len;
	if (bytes.len < room)
		room = bytes.len;
	memcpy(payloads->event + payloads->event_len, bytes.p, room);
	payloads->event_len += room;
}

/*
 * The member of the answer that the event carries. It may be cut, so that it cannot be read as
 * JSON; but the envelope is of the session worker, and has its members in this order.
 */
static void read_event(const struct payloads *payloads, const char *member, struct text *to)
{
	const char *event = payloads->event;
	size_t len = payloads->event_len, head = len < EVENT_HEAD_MAX ? len : EVENT_HEAD_MAX;
	const char *at = memmem(event, head, member, strlen(member));
	size_t before, tail, whole;

	if (!at)
		return;
	before = (size_t)(at - event) + strlen(member);
	tail = sizeof("}\n\n") - 1;
	if (payloads->event_whole < before + tail)
		return;
	whole = payloads->event_whole - before - tail;
	keep(to, span_of(event + before, len - before < whole ? len - before : whole), whole);
}

struct span payloads_arguments(const struct payloads *payloads)
{
	return payloads ? span_of(payloads->arguments.bytes, payloads->arguments.len) : SPAN_NONE;
}

struct span payloads_result(struct payloads *payloads)
{
	if (!payloads)
		return SPAN_NONE;
	if (payloads->event_len)
		read_event(payloads, ",\"result\":", &payloads->result);
	return span_of(payloads->result.bytes, payloads->result.len);
}

struct span payloads_error(struct payloads *payloads)
{
	if (!payloads)
		return SPAN_NONE;
	if (payloads->event_len)
		read_event(payloads, ",\"error\":", &payloads->error);
	return span_of(payloads->error.bytes, payloads->error.len);
}
