/* Answers of exchanges that belong to a channel: message by message, whatever they come in. */
#include "batch.h"
#include "channel.h"
#include "gateway.h"
#include "payloads.h"
#include "sse.h"

#include <stdio.h>

static bool is_unknown_session(const struct outcome *outcome)
{
	return outcome->status == 404 && outcome->code == err_rpc_code(ERR_SESSION_UNKNOWN);
}

/* An array holds the answers of a batch; each leaves as a message of its own. */
static void deliver_all(struct channel *channel, struct span body)
{
	struct json_iter iter;
	struct span element;

	body = json_trim(body);
	if (!body.len)
		return;
	if (body.p[0] != '[') {
		channel_deliver(channel, body);
		return;
	}
	iter = json_iter(body);
	while (json_iter_element(&iter, &element))
		channel_deliver(channel, element);
}

static void give_post(
	struct exchange *exchange, const struct answer *answer, const struct outcome *outcome)
{
	struct channel *channel = exchange->channel;
	bool opens = exchange == channel->opening && answer->session.len > 0;

	if (opens)
		channel_opened(channel, answer->session);
	/* a notification or a reply has no answer, whatever became of it */
	if (exchange->kind == JSONRPC_REQUEST || exchange->kind == JSONRPC_BATCH)
		deliver_all(channel, answer->body);
	else if (outcome->status >= 500)
		channel_end(channel, CHANNEL_TOO_SLOW,
			"a message could not be handed to the session");
	if (opens)
		channel_listen(channel);
	if (is_unknown_session(outcome))
		channel_end(channel, CHANNEL_DONE, "the session has ended");
}

/* A refused GET. It is tried again, but for a session that is no more. */
static void give_get(struct channel *channel, const struct outcome *outcome)
{
	if (is_unknown_session(outcome))
		channel_end(channel, CHANNEL_DONE, "the session has ended");
	else if (outcome->code == err_rpc_code(ERR_INVALID_ARGUMENT))
		channel->last_event_id[0] = '\0';
}

static void give(
	struct exchange *exchange, const struct answer *answer, const struct outcome *outcome)
{
	exchange->bytes_out += answer->body.len;
	payloads_answer(exchange->payloads, answer->body);
	if (exchange->verb == EXCHANGE_POST)
		give_post(exchange, answer, outcome);
	else if (exchange->verb == EXCHANGE_GET)
		give_get(exchange->channel, outcome);
	exchange_finish(exchange, outcome);
}

static int begin(struct exchange *exchange, unsigned status, struct span session)
{
	(void)status;
	(void)session;
	if (!exchange->parser)
		exchange->parser = sse_parser_new(EXCHANGE_EVENT_MAX);
	exchange->streaming = exchange->parser != NULL;
	return exchange->streaming ? 0 : -ERR_NO_MEMORY;
}

/* What it has seen is what a successor of its worker need not say again. */
static void take_event(struct exchange *exchange, const struct sse_event *event)
{
	struct channel *channel = exchange->channel;

	if (event->data.len) {
		if (batch_note(exchange, event->data) < 0)
			channel_end(channel, CHANNEL_FAILED, "no memory for a batch");
		payloads_answer(exchange->payloads, event->data);
		channel_deliver(channel, event->data);
	}
	if (exchange == channel->events && event->id.len <= CHANNEL_EVENT_ID_MAX)
		snprintf(channel->last_event_id, sizeof(channel->last_event_id), "%.*s",
			SPAN_ARG(event->id));
}

static void write_bytes(struct exchange *exchange, struct span bytes)
{
	struct channel *channel = exchange->channel;
	size_t n = bytes.len, half = sse_parser_pending(exchange->parser);
	struct sse_event event;
	struct err err = {0};
	int r;

	exchange->bytes_out += n;
	while ((r = sse_parser_next(exchange->parser, &bytes, &event, &err)) == 1)
		take_event(exchange, &event);
	if (r < 0)
		channel_end(channel, CHANNEL_FAILED, "a message is too long");
	exchange->owed += n;
	channel_note_half(channel, half, sse_parser_pending(exchange->parser));
	channel_grant(channel, exchange);
}

static void end(struct exchange *exchange, const struct outcome *outcome)
{
	if (outcome->cut)
		channel_end(exchange->channel, CHANNEL_TOO_SLOW,
			"messages are not read fast enough");
	exchange_finish(exchange, outcome);
}

static void forget_half(struct exchange *exchange)
{
	if (!exchange->parser)
		return;
	channel_note_half(exchange->channel, sse_parser_pending(exchange->parser), 0);
	sse_parser_reset(exchange->parser);
}

static void again(struct exchange *exchange)
{
	forget_half(exchange);
	exchange->owed = 0;
	exchange->streaming = false;
}

static void cut(struct exchange *exchange)
{
	const struct outcome outcome = exchange_outcome(exchange, "failed", 200);

	exchange_tell_closed(exchange);
	exchange_finish(exchange, &outcome);
}

static void broken(struct exchange *exchange)
{
	struct err err = {0};

	exchange_tell_closed(exchange);
	err_set(&err, ERR_INTERNAL, "the answer to this request makes no sense");
	exchange_fail(exchange, &err, JSONRPC_EXECUTED_UNKNOWN);
}

static void stop(struct exchange *exchange)
{
	forget_half(exchange);
	sse_parser_free(exchange->parser);
	exchange->parser = NULL;
	exchange->streaming = false;
	channel_forget(exchange->channel, exchange);
}

static const char *remote(const struct exchange *exchange)
{
	return exchange->channel->remote;
}

static const char *transport(const struct exchange *exchange)
{
	return exchange->channel->ops->transport->name;
}

const struct answer_ops channel_answers = {
	.give = give,
	.begin = begin,
	.write = write_bytes,
	.end = end,
	.again = again,
	.cut = cut,
	.broken = broken,
	.stop = stop,
	.remote = remote,
	.transport = transport,
};
