#include "round.h"
#include "client.h"

#include <stdio.h>
#include <stdlib.h>

/* Between two rounds in which the server asks nothing: it only wants to be asked later. */
#define LATER_MS 200

struct question {
	char *key;       /* raw */
	uint32_t stream; /* on the client's link; 0: answered */
	char *answer;    /* raw */
};

struct round {
	struct call *call;
	unsigned count, n_questions, open;
	struct question questions[ROUND_QUESTIONS_MAX];
	char *state; /* raw, as the server wrote it; or NULL */
	struct event *later;
};

static char *copy_of(struct span raw)
{
	return strndup(raw.p ? raw.p : "", raw.len);
}

static void forget_questions(struct round *round)
{
	const struct call *call = round->call;
	struct link *link = call->client ? call->client->link : NULL;

	for (unsigned i = 0; i < round->n_questions; i++) {
		struct question *question = &round->questions[i];

		if (question->stream && link)
			link_post(link, MSG_ASK_CANCEL, question->stream, NULL);
		free(question->key);
		free(question->answer);
	}
	round->n_questions = round->open = 0;
	free(round->state);
	round->state = NULL;
}

void round_free(struct call *call)
{
	struct round *round = call->round;

	if (!round)
		return;
	forget_questions(round);
	if (round->later)
		event_free(round->later);
	free(round);
	call->round = NULL;
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	call_resend(((struct round *)arg)->call);
}

static struct round *round_of(struct call *call)
{
	if (call->round)
		return call->round;
	call->round = calloc(1, sizeof(*call->round));
	if (!call->round)
		return NULL;
	call->round->call = call;
	call->round->later = evtimer_new(upstream_base(call->instance->up), on_later, call->round);
	return call->round;
}

/* --- asking ------------------------------------------------------------------------------ */

static bool ask(struct round *round, struct span key, struct span request)
{
	struct client *client = round->call->client;
	struct question *question = &round->questions[round->n_questions];
	char room[JSONRPC_METHOD_MAX];
	struct msg_ask fields = {.call = round->call->stream};
	struct span params = json_object_get(request, SPAN_LIT("params"));

	if (round->n_questions == ROUND_QUESTIONS_MAX || !client->link ||
		json_string_copy(json_object_get(request, SPAN_LIT("method")), room, sizeof(room),
			&fields.method) < 0 ||
		!(mcp_method_info(mcp_method_find(fields.method))->flags & MCP_INPUT))
		return false;
	*question = (struct question){
		.key = copy_of(key), .stream = link_stream(client->link)};
	round->n_questions++;
	round->open++;
	return question->key && link_send(client->link, MSG_ASK, question->stream, &fields,
					json_type(params) == JSON_OBJECT ? params : SPAN_NONE,
					NULL) == 0;
}

static bool ask_all(struct round *round, struct span requests)
{
	struct json_iter iter = json_iter(requests);
	struct span key, request;

	while (json_iter_member(&iter, &key, &request))
		if (!ask(round, key, request))
			return false;
	return true;
}

static void fail(struct call *call, const char *why)
{
	char text[ERR_DETAIL_MAX];

	snprintf(text, sizeof(text), "%s: %.400s", call->instance->up->server->name, why);
	call_fail(call, ERR_PROTOCOL, text, EXECUTED_UNKNOWN);
}

bool round_take(struct call *call, struct span result)
{
	const struct timeval later = {.tv_usec = LATER_MS * 1000};
	struct span requests = json_object_get(result, SPAN_LIT("inputRequests"));
	struct span state = json_object_get(result, SPAN_LIT("requestState"));
	struct round *round;

	if (!call->client || call->client->era == MCP_MODERN ||
		call->instance->era != MCP_MODERN ||
		!json_equal_string(json_object_get(result, SPAN_LIT("resultType")),
			SPAN_LIT("input_required")))
		return false;
	round = round_of(call);
	if (!round || !round->later) {
		call_fail(call, ERR_NO_MEMORY, "no memory for what the server asks",
			EXECUTED_UNKNOWN);
		return true;
	}
	call_rest(call);
	forget_questions(round);
	if (json_type(state) == JSON_STRING)
		round->state = copy_of(state);
	if (++round->count > ROUNDS_MAX)
		fail(call, "the server asks again and again");
	else if (!ask_all(round, requests))
		fail(call, "the server asks for something that the client cannot be asked");
	else if (round->open == 0)
		event_add(round->later, &later);
	return true;
}

/* --- being answered ---------------------------------------------------------------------- */

static void on_refusal(struct call *call, const struct msg_answer *answer, struct span payload)
{
	struct span message = answer->detail, data;
	int64_t code = 0;
	char text[ERR_DETAIL_MAX];

	if (answer->kind == 1)
		jsonrpc_error_get(payload, &code, &message, &data);
	if (message.len > 200)
		message.len = 200;
	snprintf(text, sizeof(text), "what the server asked was not answered: %.*s",
		SPAN_ARG(message));
	fail(call, text);
}

static struct question *find(struct call *call, uint32_t stream)
{
	for (unsigned i = 0; call->round && i < call->round->n_questions; i++)
		if (call->round->questions[i].stream == stream)
			return &call->round->questions[i];
	return NULL;
}

bool round_answered(struct client *client, uint32_t stream, const struct msg_answer *answer,
	struct span payload)
{
	struct question *question = NULL;
	struct call *call;

	for (call = client->calls; call; call = call->by_stream.next) {
		question = find(call, stream);
		if (question)
			break;
	}
	if (!question || stream == 0)
		return false;
	question->stream = 0;
	call->round->open--;
	if (answer->kind != 0) {
		on_refusal(call, answer, payload);
		return true;
	}
	question->answer = copy_of(payload);
	if (!question->answer)
		call_fail(call, ERR_NO_MEMORY, "no memory for the client's answer",
			EXECUTED_UNKNOWN);
	else if (call->round->open == 0)
		call_resend(call);
	return true;
}

void round_write_members(const struct round *round, struct buf *out)
{
	if (round->n_questions > 0) {
		buf_append_str(out, "\"inputResponses\":{");
		for (unsigned i = 0; i < round->n_questions; i++) {
			const struct question *question = &round->questions[i];

			buf_printf(out, "%s%s:", i ? "," : "", question->key);
			buf_append_str(out, question->answer ? question->answer : "{}");
		}
		buf_append_char(out, '}');
	}
	if (round->state) {
		buf_append_str(
			out, round->n_questions ? ",\"requestState\":" : "\"requestState\":");
		buf_append_str(out, round->state);
	}
}
