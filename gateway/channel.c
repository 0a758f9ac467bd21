#include "channel.h"
#include "access_log.h"
#include "clock.h"
#include "edge.h"
#include "gateway.h"
#include "log.h"
#include "metrics.h"
#include "payloads.h"
#include "route.h"
#include "sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Before the event stream is asked for again, when it did not last longer than this. */
#define LISTEN_AGAIN_MS 500u
/* An answer with an error of ours. */
#define REFUSAL_MAX (8u * 1024)

/* --- time ----------------------------------------------------------------------------------- */

static void set_timer(struct channel *channel)
{
	uint64_t now = clock_ms(), due = channel->tick_ms, ms;
	struct timeval tv;

	if (channel->events_due_ms && channel->events_due_ms < due)
		due = channel->events_due_ms;
	if (channel->state == CHANNEL_NEW && channel->begin_ms < due)
		due = channel->begin_ms;
	ms = due > now ? due - now : 0;
	tv = (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
	event_add(channel->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;
	uint64_t now = clock_ms(), pause = (uint64_t)channel->gateway->config->sse_keepalive;

	(void)fd;
	(void)what;
	if (channel->state >= CHANNEL_ENDING) {
		channel_closed(channel);
		return;
	}
	if (channel->state == CHANNEL_NEW && channel->begin_ms <= now) {
		channel_end(channel, CHANNEL_MISUSED,
			"no session was begun within http.idle_timeout");
		return;
	}
	if (channel->events_due_ms && channel->events_due_ms <= now) {
		channel->events_due_ms = 0;
		channel_listen(channel);
	}
	if (channel->tick_ms <= now && channel->state < CHANNEL_ENDING) {
		channel->tick_ms = now + pause;
		channel->ops->tick(channel, now - channel->wrote_ms >= pause);
	}
	if (channel->state < CHANNEL_ENDING)
		set_timer(channel);
}

/* --- life ----------------------------------------------------------------------------------- */

int channel_init(struct channel *channel, const struct door *door, struct http_conn *conn,
	const struct http1_head *head, const struct facts *facts, const struct channel_ops *ops,
	const struct conn_ops *user_ops)
{
	struct gateway *gateway = door->gateway;
	struct http_limits limits = edge_limits(gateway->config, door->index);

	channel->view = view_get(gateway, facts->view);
	if (!channel->view)
		return -ERR_NO_MEMORY;
	channel->timer = evtimer_new(process_base(gateway->process), on_timer, channel);
	if (!channel->timer)
		return -ERR_NO_MEMORY;
	channel->user.ops = user_ops;
	channel->gateway = gateway;
	channel->conn = conn;
	channel->ops = ops;
	channel->message_max = limits.body;
	channel->wrote_ms = clock_ms();
	channel->begin_pause = limits.idle_ms;
	channel->begin_ms = channel->wrote_ms + channel->begin_pause;
	channel->tick_ms = channel->wrote_ms + (uint64_t)gateway->config->sse_keepalive;
	access_log_remote(gateway, conn, head, channel->remote);
	http_conn_set_data(conn, channel);
	DL_APPEND(gateway->channels, channel);
	set_timer(channel);
	return 0;
}

void channel_fini(struct channel *channel)
{
	if (!channel->timer)
		return;
	event_free(channel->timer);
	DL_DELETE(channel->gateway->channels, channel);
}

void channels_free(struct gateway *gateway)
{
	struct channel *channel, *next;
	struct exchange *exchange, *after;

	DL_FOREACH_SAFE(gateway->channels, channel, next)
	{
		/* the last one would free the channel */
		channel->state = CHANNEL_ENDING;
		DL_FOREACH_SAFE2(channel->exchanges, exchange, after, channel_next)
		exchange_free(exchange);
		channel->ops->free(channel);
	}
}

static struct exchange *add_exchange(struct channel *channel, enum exchange_verb verb)
{
	struct exchange *exchange = exchange_new(channel->gateway, NULL, &channel_answers);

	if (!exchange)
		return NULL;
	exchange->channel = channel;
	exchange->view = channel->view;
	exchange->verb = verb;
	DL_APPEND2(channel->exchanges, exchange, channel_prev, channel_next);
	channel->n_exchanges++;
	channel->gateway->n_channel_exchanges++;
	if (channel->session_len)
		exchange->facts.session = span_of(channel->session, channel->session_len);
	return exchange;
}

bool channel_is_busy(const struct channel *channel)
{
	const struct exchange *exchange;

	DL_FOREACH2(channel->exchanges, exchange, channel_next)
	{
		if (exchange->verb == EXCHANGE_POST)
			return true;
	}
	return false;
}

static void drain(struct channel *channel)
{
	if (channel->state < CHANNEL_ENDING && !channel_is_busy(channel))
		channel_end(channel,
			process_has_successor(channel->gateway->process) ? CHANNEL_RESTART
									  : CHANNEL_AWAY,
			"this gateway is being stopped");
}

void channels_drain(struct gateway *gateway)
{
	struct channel *channel, *next;

	DL_FOREACH_SAFE(gateway->channels, channel, next)
	drain(channel);
}

static void listen_soon(struct channel *channel)
{
	uint64_t now = clock_ms();
	bool lasted = now - channel->events_since_ms > LISTEN_AGAIN_MS;

	if (channel->state != CHANNEL_OPEN)
		return;
	channel->events_due_ms = now + (lasted ? 0 : LISTEN_AGAIN_MS);
	set_timer(channel);
}

void channel_body_gone(struct channel *channel, struct exchange *exchange)
{
	if (!exchange->own_body)
		return;
	channel->body_bytes -= exchange->bytes_in;
	free(exchange->own_body);
	exchange->own_body = NULL;
}

void channel_forget(struct channel *channel, struct exchange *exchange)
{
	DL_DELETE2(channel->exchanges, exchange, channel_prev, channel_next);
	channel->n_exchanges--;
	channel->gateway->n_channel_exchanges--;
	channel_body_gone(channel, exchange);
	if (exchange == channel->opening) {
		channel->opening = NULL;
		if (channel->state == CHANNEL_OPENING) {
			channel->state = CHANNEL_NEW;
			channel->begin_ms = clock_ms() + channel->begin_pause;
		}
	}
	if (exchange == channel->events) {
		channel->events = NULL;
		listen_soon(channel);
	}
	if (channel->gateway->draining)
		drain(channel);
	if (channel->state == CHANNEL_CLOSED && !channel->exchanges)
		channel->ops->free(channel);
}

void channel_end(struct channel *channel, enum channel_end why, const char *text)
{
	if (channel->state >= CHANNEL_ENDING)
		return;
	channel->state = CHANNEL_ENDING;
	event_del(channel->timer);
	log_debug("channel.end", text, KV_STR("transport", channel->ops->transport->name),
		KV_STR("remote", channel->remote), KV_INT("code", why));
	channel->ops->end(channel, why, text);
}

/* Not here: exchanges that are being answered at the moment would be freed. */
void channel_leave(struct channel *channel)
{
	const struct timeval now = {0, 0};

	http_conn_set_data(channel->conn, NULL);
	channel->conn = NULL;
	channel->state = CHANNEL_ENDING;
	event_add(channel->timer, &now);
}

/* The session is of no use to anybody: nothing leads back to it. */
static void end_session(struct channel *channel)
{
	struct exchange *exchange =
		channel->session_len ? add_exchange(channel, EXCHANGE_DELETE) : NULL;

	channel->state = CHANNEL_CLOSED;
	if (exchange)
		route_to_session(exchange);
	else
		channel->ops->free(channel);
}

void channel_closed(struct channel *channel)
{
	struct exchange *exchange, *next;
	const struct route *route = channel->opening ? channel->opening->route : NULL;

	/* a session that is being opened is known to its route already */
	if (route && route->session_len)
		channel_opened(channel, span_of(route->session, route->session_len));
	channel->conn = NULL;
	channel->state = CHANNEL_ENDING;
	event_del(channel->timer);
	DL_FOREACH_SAFE2(channel->exchanges, exchange, next, channel_next)
	exchange_client_closed(exchange);
	end_session(channel);
}

/* --- what the client says ------------------------------------------------------------------- */

static int may_say(const struct channel *channel, const struct exchange *exchange, struct err *err)
{
	bool begins = exchange->kind == JSONRPC_REQUEST && exchange->method == MCP_INITIALIZE;

	if (exchange->era == MCP_MODERN)
		return err_set(err, ERR_METHOD_NOT_FOUND,
			"over %s only revisions with sessions are spoken: send initialize",
			channel->ops->transport->name);
	if (channel->gateway->draining && exchange->kind == JSONRPC_REQUEST)
		return err_set(err, ERR_DRAINING, "this gateway is being stopped");
	if (channel->n_exchanges > CHANNEL_EXCHANGES_MAX ||
		channel->body_bytes > channel->message_max * CHANNEL_BODIES_MAX)
		return err_set(err, ERR_TOO_MANY,
			"too many messages of this connection are under way: wait for answers");
	if (channel->state == CHANNEL_NEW && !begins)
		return err_set(err, ERR_SESSION_REQUIRED,
			"the session is not initialized: send initialize first");
	if (channel->state == CHANNEL_OPEN && begins)
		return err_set(err, ERR_INVALID_REQUEST, "this session is initialized already");
	if (channel->state == CHANNEL_OPENING)
		return err_set(err, ERR_SESSION_REQUIRED,
			"the session is being initialized: wait for the answer to initialize");
	return 0;
}

/* The one request that may come before there is a session. */
static bool answer_ping(struct channel *channel, const struct exchange *exchange)
{
	struct buf out;

	if (channel->state == CHANNEL_OPEN || exchange->kind != JSONRPC_REQUEST ||
		exchange->method != MCP_PING || exchange->era == MCP_MODERN)
		return false;
	buf_init(&out, JSONRPC_ID_MAX + 256);
	jsonrpc_write_result(&out, exchange->id, SPAN_NONE);
	channel_deliver(channel, buf_span(&out));
	buf_free(&out);
	return true;
}

static int keep_body(struct channel *channel, struct exchange *exchange, struct span message)
{
	exchange->own_body = malloc(message.len + 1);
	if (!exchange->own_body)
		return -ERR_NO_MEMORY;
	if (message.len)
		memcpy(exchange->own_body, message.p, message.len);
	exchange->own_body[message.len] = '\0';
	exchange->body = span_of(exchange->own_body, message.len);
	exchange->bytes_in = message.len;
	channel->body_bytes += message.len;
	if (channel->gateway->config->log_payloads)
		exchange->payloads = payloads_new(message);
	return 0;
}

static void go(struct channel *channel, struct exchange *exchange)
{
	/* answered whole: the session's id comes with it */
	exchange->facts.accept = channel->state == CHANNEL_OPEN
					 ? ACCEPTS_JSON | ACCEPTS_SSE | ACCEPTS_TO_THE_END
					 : ACCEPTS_JSON;
	if (channel->state == CHANNEL_OPEN) {
		route_to_session(exchange);
		return;
	}
	channel->state = CHANNEL_OPENING;
	channel->opening = exchange;
	route_to_new_session(exchange);
}

int channel_message(struct channel *channel, struct span message, struct channel_refusal *refusal,
	struct err *err)
{
	struct exchange *exchange = add_exchange(channel, EXCHANGE_POST);
	int r;

	*refusal = (struct channel_refusal){.is_answered = true};
	if (!exchange || keep_body(channel, exchange, message) < 0) {
		if (exchange)
			exchange_free(exchange);
		return err_set(err, ERR_NO_MEMORY, "the gateway is out of memory");
	}
	r = exchange_read_body(exchange, err);
	if (exchange->id.len)
		refusal->id = span_of(
			message.p + (exchange->id.p - exchange->own_body), exchange->id.len);
	if (r == 0 && !answer_ping(channel, exchange)) {
		refusal->is_answered =
			exchange->kind == JSONRPC_REQUEST || exchange->kind == JSONRPC_BATCH;
		r = may_say(channel, exchange, err);
		if (r == 0) {
			go(channel, exchange);
			return 0;
		}
	}
	exchange_free(exchange);
	return r;
}

void channel_refuse(struct channel *channel, const struct channel_refusal *refusal,
	const struct err *err)
{
	char request_id[REQUEST_ID_MAX];
	struct buf out;

	metrics_message_refused(channel->gateway->metrics, err->code);
	request_id_make(channel->gateway, request_id);
	access_log_message_refused(channel, request_id, err);
	if (!refusal->is_answered)
		return;
	buf_init(&out, REFUSAL_MAX);
	jsonrpc_write_err(&out, refusal->id, err, JSONRPC_EXECUTED_NO);
	channel_deliver(channel, buf_span(&out));
	buf_free(&out);
}

/* --- what it is told ------------------------------------------------------------------------ */

void channel_deliver(struct channel *channel, struct span json)
{
	int r = 0;

	if (channel->state >= CHANNEL_ENDING)
		return;
	channel->wrote_ms = clock_ms();
	r = channel->ops->queued(channel) > CHANNEL_QUEUE_HIGH ? -ERR_TOO_LARGE
							       : channel->ops->send(channel, json);
	if (r == -ERR_TOO_LARGE)
		channel_end(channel, CHANNEL_TOO_SLOW, "messages are not read fast enough");
	else if (r < 0 && r != -ERR_CLOSED)
		channel_end(channel, CHANNEL_FAILED, "a message could not be queued");
}

static bool is_half(const struct exchange *exchange)
{
	return exchange->parser && sse_parser_pending(exchange->parser) > 0;
}

static const struct exchange *first_half(const struct channel *channel)
{
	const struct exchange *exchange = channel->exchanges;

	while (exchange && !is_half(exchange))
		exchange = exchange->channel_next;
	return exchange;
}

void channel_grant(struct channel *channel, struct exchange *exchange)
{
	bool many = channel->half_bytes > CHANNEL_HALF_MAX;
	const struct exchange *only = many ? first_half(channel) : NULL;
	struct exchange *each;

	if (channel->ops->queued(channel) > CHANNEL_CONGESTED)
		return;
	if (exchange && (!many || exchange == only || !is_half(exchange))) {
		exchange_took(exchange, 0);
		return;
	}
	if (exchange)
		return;
	DL_FOREACH2(channel->exchanges, each, channel_next)
	{
		if (!many || each == only || !is_half(each))
			exchange_took(each, 0);
	}
}

void channel_note_half(struct channel *channel, size_t before, size_t now)
{
	bool were_many = channel->half_bytes > CHANNEL_HALF_MAX;

	channel->half_bytes += now;
	channel->half_bytes -= before;
	/* the one that others waited for, or one of those, is whole */
	if (were_many && now < before)
		channel_grant(channel, NULL);
}

void channel_took(struct channel *channel)
{
	channel_grant(channel, NULL);
}

void channel_opened(struct channel *channel, struct span session)
{
	channel->session_len = session.len < LIMIT_SESSION_ID ? session.len : LIMIT_SESSION_ID;
	memcpy(channel->session, session.p, channel->session_len);
	if (channel->state == CHANNEL_OPENING)
		channel->state = CHANNEL_OPEN;
}

void channel_listen(struct channel *channel)
{
	struct exchange *exchange;

	if (channel->state != CHANNEL_OPEN || channel->events)
		return;
	channel->events_since_ms = clock_ms();
	exchange = add_exchange(channel, EXCHANGE_GET);
	if (!exchange) {
		listen_soon(channel);
		return;
	}
	channel->events = exchange;
	exchange->facts.accept = ACCEPTS_SSE | ACCEPTS_TO_THE_END;
	exchange->facts.last_event_id = span_str(channel->last_event_id);
	route_to_session(exchange);
}
