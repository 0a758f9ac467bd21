#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

/* Askings under way: those of all admin requests and scrapes together. */
#define PARTS_ASKINGS_MAX 64u

/* A question that waits at a part. */
struct question {
	struct question *prev, *next;
	struct asking *asking;
	size_t index;    /* of its answer */
	uint32_t stream; /* 0: not sent yet, the link is opening */
	bool command;
	char *payload;
	size_t len;
};

struct part {
	enum role role;
	char name[LIMIT_SERVER_NAME + 1];
	char key[LIMIT_SERVER_NAME + 24];
	struct parts *parts;
	struct link *link; /* NULL: closed or opening */
	bool opening;
	struct question *questions;
	UT_hash_handle hh;
};

/* One call of parts_ask. */
struct asking {
	struct asking *prev, *next;
	struct parts *parts;
	struct parts_answer *answers;
	size_t n;
	size_t pending;
	uint32_t timeout_ms;
	struct event *timer;
	parts_done_fn *fn;
	void *arg;
};

struct parts {
	struct process *process;
	struct part *by_key;
	struct asking *askings;
	unsigned n_askings;
};

/* --- an asking ------------------------------------------------------------------------------ */

static void asking_free(struct asking *asking)
{
	DL_DELETE(asking->parts->askings, asking);
	asking->parts->n_askings--;
	if (asking->timer)
		event_free(asking->timer);
	for (size_t i = 0; i < asking->n; i++)
		free(asking->answers[i].payload);
	free(asking->answers);
	free(asking);
}

static void question_free(struct part *part, struct question *question)
{
	DL_DELETE(part->questions, question);
	free(question->payload);
	free(question);
}

static void asking_settle(struct asking *asking)
{
	const struct timeval now = {0, 0};

	if (--asking->pending == 0)
		event_add(asking->timer, &now);
}

static void question_fail(struct part *part, struct question *question, const struct err *err)
{
	struct asking *asking = question->asking;

	asking->answers[question->index].err = *err;
	question_free(part, question);
	asking_settle(asking);
}

/* The parts that owe an answer are named, and owe it no more. */
static void asking_expire(struct asking *asking)
{
	struct part *part, *next_part;
	struct question *question, *next;

	HASH_ITER (hh, asking->parts->by_key, part, next_part) {
		DL_FOREACH_SAFE(part->questions, question, next)
		{
			struct err *err;

			if (question->asking != asking)
				continue;
			err = &asking->answers[question->index].err;
			err_set(err, ERR_TIMEOUT, "%s did not answer within %u ms", part->key,
				asking->timeout_ms);
			question_free(part, question);
		}
	}
	asking->pending = 0;
}

/* All have answered, or the time is up. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct asking *asking = arg;

	(void)fd;
	(void)what;
	if (asking->pending > 0)
		asking_expire(asking);
	asking->fn(asking->arg, asking->answers, asking->n);
	asking_free(asking);
}

/* --- a part --------------------------------------------------------------------------------- */

static struct part *part_get(struct parts *parts, enum role role, const char *name)
{
	char key[LIMIT_SERVER_NAME + 24];
	struct part *part;

	snprintf(key, sizeof(key), "%s%s%.*s", role_name(role), *name ? "/" : "",
		(int)LIMIT_SERVER_NAME, name);
	HASH_FIND_STR(parts->by_key, key, part);
	if (part)
		return part;
	part = calloc(1, sizeof(*part));
	if (!part)
		return NULL;
	part->role = role;
	part->parts = parts;
	snprintf(part->name, sizeof(part->name), "%s", name);
	memcpy(part->key, key, sizeof(key));
	HASH_ADD_STR(parts->by_key, key, part);
	return part;
}

static void part_fail(struct part *part, const struct err *err)
{
	while (part->questions)
		question_fail(part, part->questions, err);
}

/* What is known of a part is its link: one that has none and owes nothing is forgotten. */
static void part_forget(struct part *part)
{
	if (part->link || part->opening || part->questions)
		return;
	HASH_DEL(part->parts->by_key, part);
	free(part);
}

static struct link *part_link(const struct part *part)
{
	return part->role == ROLE_ROOT ? process_root(part->parts->process) : part->link;
}

static int question_send(struct part *part, struct question *question)
{
	struct link *link = part_link(part);
	struct span payload = span_of(question->payload, question->len);
	const char *what = question->asking->answers[question->index].what;
	const struct msg_query query = {.what = span_str(what)};
	const struct msg_command command = {.what = span_str(what)};

	question->stream = link_stream(link);
	if (question->command)
		return link_send(link, MSG_COMMAND, question->stream, &command, payload, NULL);
	return link_send(link, MSG_QUERY, question->stream, &query, payload, NULL);
}

static void part_send(struct part *part)
{
	struct question *question, *next;

	DL_FOREACH_SAFE(part->questions, question, next)
	{
		struct err err = {0};
		int r;

		if (question->stream != 0)
			continue;
		r = question_send(part, question);
		if (r == 0)
			continue;
		err_set(&err, (enum err_code) - r, "%s cannot be asked: %s", part->key,
			err_reason(r));
		question_fail(part, question, &err);
	}
}

static void on_opened(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct part *part = arg;

	(void)process;
	part->opening = false;
	part->link = link;
	if (link) {
		link_set_user(link, part);
		part_send(part);
		return;
	}
	part_fail(part, err);
	part_forget(part);
}

static void part_open(struct part *part)
{
	struct err err = {0};
	int r;

	if (part->opening)
		return;
	part->opening = true;
	r = process_open_link(part->parts->process, part->role, part->name, 0, on_opened, part);
	if (r == 0)
		return;
	part->opening = false;
	err_set(&err, (enum err_code) - r, "%s cannot be reached: %s", part->key, err_reason(r));
	part_fail(part, &err);
}

/* --- what parts say ------------------------------------------------------------------------- */

static void take_reply(struct part *part, const struct message *msg)
{
	const struct msg_query_reply *reply = msg->fields;
	struct question *question;
	struct parts_answer *answer;
	struct asking *asking;

	DL_SEARCH_SCALAR(part->questions, question, stream, msg->stream);
	if (!question)
		return; /* too late: it was given up */
	asking = question->asking;
	answer = &asking->answers[question->index];
	if (reply->code != 0)
		err_set(&answer->err,
			reply->code < ERR_MAX ? (enum err_code)reply->code : ERR_INTERNAL, "%.*s",
			SPAN_ARG(reply->detail));
	else
		/* a sentence that comes with success is kept where a person can be told it */
		snprintf(answer->err.detail, sizeof(answer->err.detail), "%.*s",
			SPAN_ARG(reply->detail));
	if (msg->payload.len > 0) {
		answer->payload = malloc(msg->payload.len);
		if (answer->payload) {
			memcpy(answer->payload, msg->payload.p, msg->payload.len);
			answer->len = msg->payload.len;
		} else {
			err_set(&answer->err, ERR_NO_MEMORY, "no memory for an answer of %zu bytes",
				msg->payload.len);
		}
	}
	question_free(part, question);
	asking_settle(asking);
}

static void on_reply(struct link *link, const struct message *msg, void *arg)
{
	(void)arg;
	if (link_user(link))
		take_reply(link_user(link), msg);
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct part *part = link_user(link);
	struct err err = {0};

	(void)arg;
	link_free(link);
	if (!part)
		return;
	part->link = NULL;
	err_set(&err, ERR_CLOSED, "%s ended before it answered%s%s", part->key,
		code == -ERR_CLOSED ? "" : ": ", code == -ERR_CLOSED ? "" : why);
	part_fail(part, &err);
	part_forget(part);
}

const struct link_handlers parts_handlers = {
	.on = {[MSG_QUERY_REPLY] = on_reply}, .closed = on_closed};

void parts_root_replied(struct parts *parts, const struct message *msg)
{
	struct part *part = part_get(parts, ROLE_ROOT, "");

	if (part)
		take_reply(part, msg);
}

/* --- asking --------------------------------------------------------------------------------- */

static int add_question(struct asking *asking, size_t index, const struct parts_ask *ask)
{
	struct parts_answer *answer = &asking->answers[index];
	struct question *question = calloc(1, sizeof(*question));
	struct part *part;

	answer->role = ask->role;
	snprintf(answer->name, sizeof(answer->name), "%s", ask->name ? ask->name : "");
	snprintf(answer->what, sizeof(answer->what), "%s", ask->what);
	part = question ? part_get(asking->parts, ask->role, answer->name) : NULL;
	if (!part || (ask->payload.len && !(question->payload = malloc(ask->payload.len)))) {
		free(question);
		err_set(&answer->err, ERR_NO_MEMORY, "no memory to ask %s", role_name(ask->role));
		return -ERR_NO_MEMORY;
	}
	if (ask->payload.len)
		memcpy(question->payload, ask->payload.p, ask->payload.len);
	question->len = ask->payload.len;
	question->command = ask->command;
	question->asking = asking;
	question->index = index;
	DL_APPEND(part->questions, question);
	if (part_link(part))
		part_send(part);
	else
		part_open(part);
	return 0;
}

static struct asking *asking_new(struct parts *parts, size_t n)
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking)
		return NULL;
	asking->parts = parts;
	DL_APPEND(parts->askings, asking);
	parts->n_askings++;
	asking->answers = calloc(n + 1, sizeof(*asking->answers));
	asking->timer = evtimer_new(process_base(parts->process), on_timer, asking);
	if (asking->answers && asking->timer)
		return asking;
	asking_free(asking);
	return NULL;
}

int parts_ask(struct parts *parts, const struct parts_ask *asks, size_t n, uint32_t timeout_ms,
	parts_done_fn *fn, void *arg)
{
	const struct timeval limit = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
	struct asking *asking;

	if (n > PARTS_ASK_MAX || parts->n_askings >= PARTS_ASKINGS_MAX)
		return -ERR_TOO_MANY;
	asking = asking_new(parts, n);
	if (!asking)
		return -ERR_NO_MEMORY;
	asking->n = n;
	asking->timeout_ms = timeout_ms;
	asking->fn = fn;
	asking->arg = arg;
	/* one more than there are questions: it cannot be over before all are asked */
	asking->pending = n + 1;
	event_add(asking->timer, &limit);
	for (size_t i = 0; i < n; i++)
		if (add_question(asking, i, &asks[i]) < 0)
			asking->pending--;
	asking_settle(asking);
	return 0;
}

struct parts *parts_new(struct process *process)
{
	struct parts *parts = calloc(1, sizeof(*parts));

	if (!parts)
		return NULL;
	parts->process = process;
	return parts;
}

void parts_free(struct parts *parts)
{
	struct part *part, *next;

	if (!parts)
		return;
	HASH_ITER (hh, parts->by_key, part, next) {
		while (part->questions)
			question_free(part, part->questions);
		link_free(part->link);
		HASH_DEL(parts->by_key, part);
		free(part);
	}
	while (parts->askings)
		asking_free(parts->askings);
	free(parts);
}
