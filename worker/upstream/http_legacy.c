#include "http.h"
#include "jsonrpc.h"
#include "log.h"
#include "points.h"

#include <stdio.h>

bool legacy_is_post(const struct exchange *x)
{
	return x->http && x->http->mode == HTTP_LEGACY && x->kind == EXCHANGE_POST;
}

int legacy_begin(struct http *http)
{
	const struct transport_message nothing = {0};
	struct exchange *stream = exchange_new(http->host, http, EXCHANGE_LEGACY, &nothing);

	if (!stream)
		return -ERR_NO_MEMORY;
	exchange_send(stream, false);
	return 0;
}

/* --- a bare url is asked both ways (MCP, transports, backwards compatibility) ---------------- */

static bool is_initialize(const struct exchange *x)
{
	struct jsonrpc msg;

	return jsonrpc_parse(span_of(x->text, x->len), &msg, NULL) == 0 &&
	       span_is(msg.method, "initialize");
}

bool legacy_probe(struct exchange *x)
{
	struct http *http = x->http;

	if (!http || http->mode != HTTP_STREAMABLE || http->version != MCP_VERSION_NONE ||
		http->host->up->server->type != CONFIG_TYPE_AUTO)
		return false;
	if ((x->status != 400 && x->status != 404 && x->status != 405) || !is_initialize(x))
		return false;
	if (legacy_begin(http) < 0)
		return false;
	http->mode = HTTP_PROBING;
	http->refused = x;
	return true;
}

/* Neither way: both reasons are told, since either may be the one that helps. */
static void probe_failed(struct http *http, const struct err *why)
{
	struct exchange *x = http->refused;
	struct span body;
	struct err err = {0};

	http->mode = HTTP_STREAMABLE;
	http->refused = NULL;
	if (!x)
		return;
	body = buf_span(&x->body);
	if (body.len > 150)
		body.len = 150;
	err_set(&err, ERR_SERVER_DOWN,
		"initialize by Streamable HTTP: %s%s%.*s; the stream of HTTP+SSE: %.150s",
		x->reason, body.len ? ": " : "", SPAN_ARG(body), err_text(why));
	exchange_refuse(x, &err);
}

static void probe_succeeded(struct http *http)
{
	struct exchange *x = http->refused;

	http->mode = HTTP_LEGACY;
	http->refused = NULL;
	if (!http->host->legacy)
		log_info("server.legacy_sse",
			"it speaks HTTP+SSE; with type: sse it is not asked for Streamable HTTP "
			"first",
			KV_STR("server", http->host->up->server->name));
	http->host->legacy = true;
	if (!x)
		return;
	x->url = http->endpoint;
	exchange_send(x, false);
}

/* --- the stream ------------------------------------------------------------------------------ */

void legacy_announced(struct exchange *x, struct span endpoint)
{
	struct http *http = x->http;
	struct url base = x->url;
	struct err err = {0};

	if (http->endpoint.target[0])
		return;
	if (!POINT(ENDPOINT))
		snprintf(base.target, sizeof(base.target), "/");
	if (url_resolve(&base, endpoint, "its endpoint event leads to", &http->endpoint, &err) <
		0)
		legacy_over(x, &err);
	else if (http->mode == HTTP_PROBING)
		probe_succeeded(http);
	else
		http->events->opened(http->arg);
}

void legacy_complete(struct exchange *x)
{
	struct err err = {0};

	if (x->status < 200 || x->status >= 300)
		err_set(&err, ERR_SERVER_DOWN, "%s", x->reason);
	else if (x->body_kind != BODY_EVENTS)
		err_set(&err, ERR_SERVER_GARBAGE, "%s, but not with an event stream", x->reason);
	else
		err_set(&err, ERR_SERVER_DIED, "it ended its event stream");
	legacy_over(x, &err);
}

void legacy_over(struct exchange *x, const struct err *err)
{
	struct http *http = x->http;

	exchange_free(x);
	/* what was found out before may not hold any more */
	if (!http->endpoint.target[0] && http->host->up->server->type == CONFIG_TYPE_AUTO)
		http->host->legacy = false;
	if (http->mode == HTTP_PROBING)
		probe_failed(http, err);
	else
		http->events->closed(http->arg, err);
}
