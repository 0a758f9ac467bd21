#include "http.h"
#include "clock.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define FAREWELL_MS 2000u
/* A request nobody waits for any more may end by itself within this. */
#define LINGER_MS 5000u
/* A notification, or an answer of ours. */
#define NOTIFY_MS 30000u

static struct http *http_of(struct transport *transport)
{
	return (struct http *)transport;
}

void http_name_session(struct http *http, struct span name)
{
	if (http->session[0] || http->version != MCP_VERSION_NONE || name.len == 0 ||
		name.len > HTTP_SESSION_MAX)
		return;
	/* visible ASCII (MCP, transports, session management) */
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] < 0x21 || name.p[i] > 0x7e)
			return;
	memcpy(http->session, name.p, name.len);
	http->session[name.len] = '\0';
}

/* --- the barrier ----------------------------------------------------------------------------- */

static void begin_stream(struct http *http)
{
	const struct transport_message nothing = {0};
	struct exchange *stream;

	if (http->streaming || http->mode != HTTP_STREAMABLE)
		return;
	stream = exchange_new(http->host, http, EXCHANGE_STREAM, &nothing);
	if (!stream)
		return;
	http->streaming = true;
	exchange_send(stream, false);
}

static void launch(struct http *http, struct exchange *exchange)
{
	(void)http;
	if (!exchange->id)
		exchange_expire(exchange, NOTIFY_MS);
	exchange_send(exchange, false);
}

void http_taken(struct http *http, const struct exchange *exchange)
{
	struct exchange *held, *next;

	if (http->barrier != exchange)
		return;
	http->barrier = NULL;
	begin_stream(http);
	DL_FOREACH_SAFE(http->held, held, next)
	{
		DL_DELETE(http->held, held);
		held->list = &http->exchanges;
		DL_APPEND(http->exchanges, held);
		launch(http, held);
	}
	http->n_held = http->held_bytes = 0;
}

/* --- operations ------------------------------------------------------------------------------ */

static int http_send(struct transport *transport, const struct transport_message *msg)
{
	struct http *http = http_of(transport);
	struct exchange *exchange;

	if (http->barrier && http->held && http->held_bytes + msg->text.len > TRANSPORT_QUEUE_MAX)
		return -ERR_BUSY;
	exchange = exchange_new(http->host, http, EXCHANGE_POST, msg);
	if (!exchange)
		return -ERR_NO_MEMORY;
	if (http->barrier) {
		DL_DELETE(http->exchanges, exchange);
		exchange->list = &http->held;
		DL_APPEND(http->held, exchange);
		http->n_held++;
		http->held_bytes += msg->text.len;
		return 0;
	}
	if (msg->barrier)
		http->barrier = exchange;
	launch(http, exchange);
	return 0;
}

static struct exchange *find(struct http *http, uint64_t id)
{
	struct exchange *exchange;

	DL_SEARCH_SCALAR(http->exchanges, exchange, id, id);
	if (!exchange)
		DL_SEARCH_SCALAR(http->held, exchange, id, id);
	return exchange;
}

static bool http_forget(struct transport *transport, uint64_t id)
{
	struct http *http = http_of(transport);
	struct exchange *exchange = find(http, id);
	bool written;

	if (!exchange)
		return false;
	exchange->id = 0;
	if (exchange->list == &http->held) {
		http->n_held--;
		http->held_bytes -= exchange->len;
		exchange_free(exchange);
		return true;
	}
	written = exchange->ever_written ||
		  (exchange->connection && connection_written(exchange->connection));
	if (!written || !exchange->connection) {
		exchange_free(exchange);
		return !written;
	}
	exchange_expire(exchange, LINGER_MS);
	return false;
}

static bool http_withdraw(struct transport *transport, uint64_t id)
{
	struct http *http = http_of(transport);
	struct exchange *exchange = find(http, id);
	bool written = exchange && (exchange->ever_written ||
					   (exchange->connection &&
						   connection_written(exchange->connection)));

	if (written)
		exchange_free(exchange);
	return !written && http_forget(transport, id);
}

static void http_negotiated(struct transport *transport, enum mcp_version version)
{
	struct http *http = http_of(transport);

	if (http->version == MCP_VERSION_NONE)
		http->host->up->children++;
	http->version = version;
}

static size_t http_queued(const struct transport *transport)
{
	return ((const struct http *)transport)->n_held;
}

static void say_farewell(struct http *http)
{
	const struct transport_message nothing = {0};
	struct exchange *exchange = exchange_new(http->host, http, EXCHANGE_DELETE, &nothing);

	if (!exchange)
		return;
	exchange_send(exchange, false);
	DL_DELETE(http->exchanges, exchange);
	exchange->list = &http->host->farewells;
	DL_APPEND(http->host->farewells, exchange);
	exchange->http = NULL;
	exchange_expire(exchange, FAREWELL_MS);
}

static void http_close(struct transport *transport)
{
	struct http *http = http_of(transport);

	if (http->session[0])
		say_farewell(http);
	while (http->exchanges)
		exchange_free(http->exchanges);
	while (http->held)
		exchange_free(http->held);
	if (http->version != MCP_VERSION_NONE)
		http->host->up->children--;
	event_free(http->opened);
	free(http);
}

static void on_opened(evutil_socket_t fd, short what, void *arg)
{
	struct http *http = arg;
	struct err err = {0};

	(void)fd;
	(void)what;
	if (http->mode == HTTP_STREAMABLE) {
		http->events->opened(http->arg);
	} else if (legacy_begin(http) < 0) {
		err_set(&err, ERR_NO_MEMORY, "no memory for a request");
		http->events->closed(http->arg, &err);
	}
}

static int http_open(struct upstream *up, const char *label, const struct transport_events *events,
	void *arg, struct transport **ret, struct err *err)
{
	struct http *http = calloc(1, sizeof(*http));

	(void)label;
	if (http)
		http->opened = evtimer_new(upstream_base(up), on_opened, http);
	if (!http || !http->opened) {
		free(http);
		return err_set(err, ERR_NO_MEMORY, "no memory for a conversation");
	}
	http->base.ops = up->ops;
	http->host = up->shared;
	http->mode = http->host->legacy ? HTTP_LEGACY : HTTP_STREAMABLE;
	http->events = events;
	http->arg = arg;
	event_active(http->opened, EV_TIMEOUT, 0);
	*ret = &http->base;
	return 0;
}

/* --- the process ----------------------------------------------------------------------------- */

static int http_start(struct upstream *up, struct err *err)
{
	struct http_host *host = calloc(1, sizeof(*host));
	int r = host ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a server");

	if (r == 0)
		r = url_parse(span_str(up->server->url.p), &host->url, err);
	if (r == 0)
		r = connections_new(upstream_base(up), &host->url, &host->connections, err);
	if (r < 0) {
		free(host);
		return r;
	}
	host->up = up;
	host->legacy = up->server->type == CONFIG_TYPE_SSE;
	up->shared = host;
	return 0;
}

static void http_stop(struct upstream *up)
{
	struct http_host *host = up->shared;

	if (!host)
		return;
	while (host->farewells)
		exchange_free(host->farewells);
	connections_free(host->connections);
	free(host);
	up->shared = NULL;
}

static bool http_busy(const struct upstream *up)
{
	const struct http_host *host = up->shared;

	return host->farewells != NULL;
}

/* Over HTTP+SSE all comes on one stream. */
static bool http_relates(const struct upstream *up)
{
	const struct http_host *host = up->shared;

	return !host->legacy;
}

const struct transport_ops transport_http = {
	.name = "http",
	.per_session = true,
	.relates = http_relates,
	.open = http_open,
	.send = http_send,
	.negotiated = http_negotiated,
	.forget = http_forget,
	.withdraw = http_withdraw,
	.queued = http_queued,
	.close = http_close,
	.start = http_start,
	.stop = http_stop,
	.busy = http_busy,
};

/* The same, without asking for Streamable HTTP first. */
const struct transport_ops transport_sse = {
	.name = "sse",
	.per_session = true,
	.open = http_open,
	.send = http_send,
	.negotiated = http_negotiated,
	.forget = http_forget,
	.queued = http_queued,
	.close = http_close,
	.start = http_start,
	.stop = http_stop,
	.busy = http_busy,
};
