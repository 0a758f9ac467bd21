#include "parked.h"
#include "ask.h"
#include "client.h"
#include "pool.h"
#include "seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#define HELD_MS 2

struct question {
	struct question *prev, *next;
	char key[24];
	struct span id, method, params; /* in memory */
	char *answer;                   /* raw; NULL: not there yet */
	char memory[];
};

struct parked {
	UT_hash_handle hh; /* by name */
	char name[SEAL_NAME_SIZE];
	struct upstream *up;
	struct call *call; /* NULL: it is over */
	char *principal, *method;
	unsigned char digest[SEAL_DIGEST_SIZE];
	struct question *questions;
	unsigned n_questions, n_asked, rounds;
	bool away;           /* the client has the state; nobody waits here */
	struct event *timer; /* away: until when; else the answers may go */
	size_t bytes;        /* counted in the upstream worker's parked_bytes */
	/* how it ended while the client was away */
	struct outcome end;
	char *payload;
};

/* --- life -------------------------------------------------------------------------------- */

/* Keep so much more. False: all calls together would take too much. */
static bool take_room(struct parked *parked, size_t bytes)
{
	if (bytes > PARKED_BYTES_MAX - parked->up->parked_bytes)
		return false;
	parked->bytes += bytes;
	parked->up->parked_bytes += bytes;
	return true;
}

static void question_free(struct parked *parked, struct question *question)
{
	DL_DELETE(parked->questions, question);
	parked->n_questions--;
	free(question->answer);
	free(question);
}

static void parked_free(struct parked *parked)
{
	if (parked->call)
		parked->call->parked = NULL;
	while (parked->questions)
		question_free(parked, parked->questions);
	HASH_DEL(parked->up->parked, parked);
	parked->up->parked_bytes -= parked->bytes;
	if (parked->timer)
		event_free(parked->timer);
	free(parked->principal);
	free(parked->method);
	free(parked->payload);
	free(parked);
}

void parked_free_all(struct upstream *up)
{
	while (up->parked)
		parked_free(up->parked);
}

/* The server hears that nobody will answer. */
static void refuse_questions(struct parked *parked, struct instance *instance)
{
	while (parked->questions) {
		ask_answer_err(instance, parked->questions->id, ERR_CANCELLED,
			"the client has not answered");
		question_free(parked, parked->questions);
	}
}

static void answers_go(struct parked *parked);

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct parked *parked = arg;
	struct call *call = parked->call;

	(void)fd;
	(void)what;
	if (!parked->away) {
		answers_go(parked);
		return;
	}
	if (call) {
		refuse_questions(parked, call->instance);
		parked->away = false;
		call_cancel(call, SPAN_LIT("\"the client has not come back\""));
		return;
	}
	parked_free(parked);
}

static struct parked *parked_new(struct call *call)
{
	const struct client *client = call->client;
	struct upstream *up = call->instance->up;
	struct parked *parked =
		HASH_COUNT(up->parked) < PARKED_MAX ? calloc(1, sizeof(*parked)) : NULL;

	if (!parked)
		return NULL;
	if (seal_name(parked->name) < 0) {
		free(parked);
		return NULL;
	}
	parked->up = up;
	parked->call = call;
	parked->principal = strdup(client->principal);
	parked->method = strdup(call->name);
	parked->timer = evtimer_new(upstream_base(up), on_timer, parked);
	memcpy(parked->digest, call->digest, SEAL_DIGEST_SIZE);
	HASH_ADD(hh, up->parked, name[0], SEAL_NAME_SIZE - 1, parked);
	call->parked = parked;
	if (!parked->principal || !parked->method || !parked->timer) {
		parked_free(parked);
		return NULL;
	}
	return parked;
}

/* --- a round ----------------------------------------------------------------------------- */

static void write_questions(const struct parked *parked, struct buf *out)
{
	const struct question *question;

	DL_FOREACH(parked->questions, question)
	{
		buf_printf(out, "%s\"%s\":{\"method\":\"", question->prev->next ? "," : "",
			question->key);
		buf_append_span(out, question->method);
		buf_append_char(out, '"');
		if (question->params.len) {
			buf_append_str(out, ",\"params\":");
			buf_append_span(out, question->params);
		}
		buf_append_char(out, '}');
	}
}

static uint64_t patience_s(const struct upstream *up)
{
	return ((uint64_t)up->config->session_request_timeout + 999) / 1000;
}

static int write_round(const struct parked *parked, struct buf *out)
{
	struct seal_facts facts = {
		.expires_s = (uint64_t)time(NULL) + patience_s(parked->up),
		.server = span_str(parked->up->server->name),
		.principal = span_str(parked->principal),
		.method = span_str(parked->method),
		.digest = parked->digest,
	};
	int r;

	memcpy(facts.name, parked->name, sizeof(facts.name));
	buf_append_str(out, "{\"resultType\":\"input_required\",\"inputRequests\":{");
	write_questions(parked, out);
	buf_append_str(out, "},\"requestState\":\"");
	r = seal_write(parked->up->seal, &facts, out);
	return r < 0 ? r : buf_append_str(out, "\"}");
}

/* The client is told what the server asks, and need not wait here. */
static void give_round(struct parked *parked)
{
	struct outcome outcome = {.kind = 0, .executed = EXECUTED_UNKNOWN};
	const struct timeval tv = {.tv_sec = (time_t)patience_s(parked->up)};
	struct call *call = parked->call;
	struct client *client = call->client;
	struct buf out;

	buf_init(&out, (size_t)parked->up->server->max_message + 65536);
	if (++parked->rounds > PARKED_ROUNDS_MAX || write_round(parked, &out) < 0) {
		call_fail(call, ERR_PROTOCOL, "the server asks too much, or too often",
			EXECUTED_UNKNOWN);
	} else {
		outcome.payload = buf_span(&out);
		client_done(client, call, &outcome);
		call_part(call);
		parked->away = true;
		event_add(parked->timer, &tv);
	}
	buf_free(&out);
}

static struct question *question_new(struct parked *parked, const struct jsonrpc *msg)
{
	size_t size = msg->id.len + msg->method.len + msg->params.len;
	struct question *question = NULL;
	char *at;

	if (parked->n_questions < PARKED_QUESTIONS_MAX && take_room(parked, size))
		question = calloc(1, sizeof(*question) + size);
	if (!question)
		return NULL;
	at = question->memory;
	memcpy(at, msg->id.p, msg->id.len);
	question->id = span_of(at, msg->id.len);
	at += msg->id.len;
	memcpy(at, msg->method.p, msg->method.len);
	question->method = span_of(at, msg->method.len);
	at += msg->method.len;
	if (msg->params.len)
		memcpy(at, msg->params.p, msg->params.len);
	question->params = span_of(at, msg->params.len);
	snprintf(question->key, sizeof(question->key), "q%u", ++parked->n_asked);
	DL_APPEND(parked->questions, question);
	parked->n_questions++;
	return question;
}

void parked_ask(struct call *call, const struct jsonrpc *msg)
{
	struct instance *instance = call->instance;
	enum mcp_method method = mcp_method_find(msg->method);
	struct parked *parked = call->parked;

	if (!(mcp_method_info(method)->flags & MCP_INPUT) ||
		!(mcp_method_info(call->method)->flags & MCP_ROUNDS)) {
		ask_answer_err(instance, msg->id, ERR_METHOD_NOT_FOUND,
			"the client cannot be asked that now");
		return;
	}
	if (!mcp_client_can(span_str(instance->pool->capabilities),
		    mcp_request_need(method, msg->params))) {
		ask_answer_err(instance, msg->id, ERR_METHOD_NOT_FOUND,
			"the client has not declared the capability this needs");
		return;
	}
	if (!parked && call->client)
		parked = parked_new(call);
	if (!parked || !question_new(parked, msg)) {
		ask_answer_err(instance, msg->id, ERR_TOO_MANY, "too many questions are open");
		return;
	}
	/* while answers are on their way, or the client is, the next round has it */
	if (!parked->away && !evtimer_pending(parked->timer, NULL))
		give_round(parked);
}

void parked_unask(struct instance *instance, struct span raw_id)
{
	struct parked *parked;
	struct question *question, *next;

	for (parked = instance->up->parked; parked; parked = parked->hh.next) {
		if (!parked->call || parked->call->instance != instance)
			continue;
		DL_FOREACH_SAFE(parked->questions, question, next)
		{
			if (json_equal_scalar(question->id, raw_id))
				question_free(parked, question);
		}
	}
}

/* --- the client comes back --------------------------------------------------------------- */

void parked_digest(enum mcp_method method, struct span params, unsigned char ret[32])
{
	const struct span what[] = {
		json_object_get(params,
			method == MCP_RESOURCES_READ ? SPAN_LIT("uri") : SPAN_LIT("name")),
		json_object_get(params, SPAN_LIT("arguments")),
	};

	seal_digest(what, sizeof(what) / sizeof(*what), ret);
}

/* The state names one of ours; *ret is NULL when that is gone. */
static int find(struct client *client, const struct msg_call *fields, struct span params,
	struct parked **ret, struct err *err)
{
	struct span state = json_object_get(params, SPAN_LIT("requestState")), text;
	struct upstream *up = client->up;
	unsigned char digest[SEAL_DIGEST_SIZE];
	struct seal_facts facts = {
		.server = span_str(up->server->name),
		.principal = span_str(client->principal),
		.method = fields->method,
		.digest = digest,
	};
	char room[256];

	parked_digest(mcp_method_find(fields->method), params, digest);
	if (json_string_copy(state, room, sizeof(room), &text) < 0 ||
		seal_read(up->seal, text, &facts) < 0)
		return err_set(err, ERR_STATE_INVALID,
			"requestState is not one that was given out for this request");
	if (facts.expires_s < (uint64_t)time(NULL))
		return err_set(err, ERR_STATE_GONE,
			"the call this goes on with was given up: its time is over");
	HASH_FIND(hh, up->parked, facts.name, SEAL_NAME_SIZE - 1, *ret);
	if (!*ret || !(*ret)->away)
		return err_set(err, ERR_STATE_GONE, "%s",
			*ret ? "the call this goes on with has gone on already"
			     : "the call this goes on with is gone");
	return 0;
}

static int take_answers(struct parked *parked, struct span answers, struct err *err)
{
	struct question *question;

	DL_FOREACH(parked->questions, question)
	{
		struct span answer = json_object_get(answers, span_str(question->key));

		if (!answer.len)
			continue;
		if (json_type(answer) != JSON_OBJECT)
			return err_set(err, ERR_INVALID_PARAMS,
				"inputResponses: %s must be an object", question->key);
		if (!take_room(parked, answer.len))
			return err_set(err, ERR_TOO_MANY,
				"too much waits for its clients: try again later");
		free(question->answer);
		question->answer = strndup(answer.p, answer.len);
		if (!question->answer)
			return err_set(err, ERR_NO_MEMORY, "no memory for the client's answer");
	}
	return 0;
}

static void answers_go(struct parked *parked)
{
	const struct timeval held = {.tv_usec = HELD_MS * 1000};
	struct call *call = parked->call;
	struct question *question, *next;

	if (!client_knows(call->client, call)) {
		event_add(parked->timer, &held);
		return;
	}
	DL_FOREACH_SAFE(parked->questions, question, next)
	{
		if (!question->answer)
			continue;
		ask_answer_result(call->instance, question->id, span_str(question->answer));
		question_free(parked, question);
	}
	if (parked->questions)
		give_round(parked);
}

static void give_end(struct parked *parked, struct client *client, uint32_t stream)
{
	client_tell(client, stream, &parked->end);
	parked_free(parked);
}

bool parked_resume(struct client *client, const struct message *msg)
{
	const struct msg_call *fields = msg->fields;
	struct outcome refused = {.kind = 2, .executed = EXECUTED_NO};
	struct parked *parked = NULL;
	int r = find(client, fields, msg->payload, &parked, &refused.err);

	if (r == 0)
		r = take_answers(parked,
			json_object_get(msg->payload, SPAN_LIT("inputResponses")), &refused.err);
	/* perhaps it is the server's own, which is of the modern era */
	if (r == -ERR_STATE_INVALID && client->up->speaks[MCP_MODERN] != SPEAKS_NO)
		return false;
	if (r < 0) {
		if (r == -ERR_STATE_GONE)
			refused.executed = EXECUTED_UNKNOWN;
		client_tell(client, msg->stream, &refused);
		return true;
	}
	event_del(parked->timer);
	parked->away = false;
	if (!parked->call) {
		give_end(parked, client, msg->stream);
		return true;
	}
	call_rejoin(parked->call, client, msg->stream,
		fields->timeout_ms ? fields->timeout_ms : (uint64_t)client->up->server->timeout);
	answers_go(parked);
	return true;
}

/* --- the call is over -------------------------------------------------------------------- */

/* Where there is no room for what the server answered, its client is told that. */
static void keep_end(struct parked *parked, const struct outcome *outcome)
{
	struct span payload = outcome->payload;

	parked->end = *outcome;
	parked->end.payload = SPAN_NONE;
	if (outcome->kind == 2)
		return;
	if (take_room(parked, payload.len))
		parked->payload = strndup(payload.p ? payload.p : "", payload.len);
	if (parked->payload) {
		parked->end.payload = span_of(parked->payload, payload.len);
		return;
	}
	parked->end.kind = 2;
	err_set(&parked->end.err, ERR_TOO_LARGE,
		"%s: it has answered, but too much waits for clients: the answer is lost",
		parked->up->server->name);
}

void parked_over(struct call *call, const struct outcome *outcome)
{
	struct parked *parked = call->parked;

	call->parked = NULL;
	parked->call = NULL;
	if (call->instance->transport)
		refuse_questions(parked, call->instance);
	if (!parked->away) {
		parked_free(parked);
		return;
	}
	keep_end(parked, outcome);
}
