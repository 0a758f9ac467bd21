#include "clock.h"
#include "http.h"
#include "jsonrpc.h"
#include "log.h"
#include "points.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <utlist.h>

/* The rest of a response that says nothing more. */
#define LINGER_MS 5000u
#define REDIRECTS_MAX 5u
#define RESUMES_MAX 20u
/* Between attempts to read on: as the server says, else these, doubling. */
#define RESUME_MS 1000u
#define RESUME_LAST_MS 60000u
/* A stream that lasted so long was a good one. */
#define STREAM_GOOD_MS 5000u
/* What is kept of a response that is no answer. */
#define ERROR_BODY_MAX 65536u
/* Of a server's text in an error: its message, and its details. */
#define REASON_MAX 200u

/* Headers that are ours to write, whatever the configuration says. */
static const char *const reserved[] = {"accept", "connection", "content-length", "content-type",
	"host", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id",
	"transfer-encoding", "upgrade", "te", "trailer"};

static const struct connection_events events;

/* --- life ------------------------------------------------------------------------------------ */

static void on_timer(evutil_socket_t fd, short what, void *arg);

struct exchange *exchange_new(struct http_host *host, struct http *http, enum exchange_kind kind,
	const struct transport_message *msg)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->host = host;
	x->http = http;
	x->kind = kind;
	x->id = msg->id;
	x->safe = msg->safe || kind != EXCHANGE_POST;
	x->modern = msg->modern && http->mode != HTTP_LEGACY;
	x->headers = msg->headers.len ? strndup(msg->headers.p, msg->headers.len) : NULL;
	x->url = legacy_is_post(x) ? http->endpoint : host->url;
	x->len = msg->text.len;
	x->text = malloc(msg->text.len + 1);
	x->timer = evtimer_new(upstream_base(host->up), on_timer, x);
	if (!x->text || !x->timer || (msg->headers.len && !x->headers)) {
		free(x->text);
		free(x->headers);
		if (x->timer)
			event_free(x->timer);
		free(x);
		return NULL;
	}
	if (msg->text.len)
		memcpy(x->text, msg->text.p, msg->text.len);
	snprintf(x->traceparent, sizeof(x->traceparent), "%.*s", SPAN_ARG(msg->traceparent));
	buf_init(&x->body, (size_t)host->up->server->max_message);
	x->list = &http->exchanges;
	DL_APPEND(http->exchanges, x);
	return x;
}

void exchange_free(struct exchange *x)
{
	if (x->connection)
		connection_abort(x->connection);
	x->connection = NULL;
	if (x->list)
		DL_DELETE(*x->list, x);
	x->list = NULL;
	if (x->http && x->http->refused == x)
		x->http->refused = NULL;
	x->http = NULL;
	event_del(x->timer);
	if (x->busy) {
		x->dead = true;
		return;
	}
	event_free(x->timer);
	sse_parser_free(x->events);
	buf_free(&x->body);
	free(x->text);
	free(x->headers);
	free(x);
}

void exchange_expire(struct exchange *x, unsigned ms)
{
	const struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000 * 1000)};

	event_add(x->timer, &tv);
}

/* The work at hand may have freed it. */
static void work_begin(struct exchange *x)
{
	x->busy = true;
}

static void work_end(struct exchange *x)
{
	x->busy = false;
	if (x->dead)
		exchange_free(x);
}

/* It is over. A message that waits for an answer will have none. */
static void over(struct exchange *x, const struct err *err, enum executed executed)
{
	struct http *http = x->http;
	uint64_t id = x->id;
	struct err told;

	if (x->kind == EXCHANGE_LEGACY) {
		legacy_over(x, err);
		return;
	}
	x->id = 0;
	if (http && id && err) {
		told = *err;
		config_hide_secrets(x->host->up->server, told.detail);
		http->events->failed(http->arg, id, &told, executed);
	}
	if (x->dead)
		return;
	if (http)
		http_taken(http, x);
	exchange_free(x);
}

void exchange_refuse(struct exchange *x, const struct err *err)
{
	work_begin(x);
	over(x, err, EXECUTED_NO);
	work_end(x);
}

/* --- the request ----------------------------------------------------------------------------- */

static bool is_reserved(const char *name)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
		if (strcasecmp(name, reserved[i]) == 0)
			return true;
	return false;
}

static void header(struct buf *out, const char *name, const char *value)
{
	http1_write_header(out, span_str(name), span_str(value));
}

static void write_conversation(const struct exchange *x, struct buf *out)
{
	const struct http *http = x->http;
	enum mcp_version version = x->modern ? MCP_FIRST_MODERN : http->version;

	if (version > MCP_2025_03_26)
		header(out, "MCP-Protocol-Version", mcp_version_name(version));
	if (x->headers)
		buf_append_str(out, x->headers);
	if (http->session[0] && !x->modern)
		header(out, "Mcp-Session-Id", http->session);
	if (x->last_event[0])
		header(out, "Last-Event-ID", x->last_event);
	if (x->traceparent[0])
		header(out, "traceparent", x->traceparent);
}

static int write_request(const struct exchange *x, struct buf *out)
{
	static const char *const verbs[] = {
		[EXCHANGE_POST] = "POST", [EXCHANGE_STREAM] = "GET", [EXCHANGE_DELETE] = "DELETE",
		[EXCHANGE_LEGACY] = "GET"};
	const struct config_map *extra = &x->host->up->server->headers;
	bool post = x->kind == EXCHANGE_POST && !x->moved;
	bool agent = false;

	http1_write_request_line(
		out, span_str(x->moved ? "GET" : verbs[x->kind]), span_str(x->url.target));
	header(out, "Host", x->url.authority);
	header(out, "Accept",
		!post		? "text/event-stream"
		: POINT(ACCEPT) ? "application/json, text/event-stream"
				: "application/json");
	if (post) {
		header(out, "Content-Type", "application/json");
		http1_write_header_uint(out, SPAN_LIT("Content-Length"), x->len);
	}
	write_conversation(x, out);
	for (size_t i = 0; i < extra->count; i++) {
		if (is_reserved(extra->items[i].name))
			continue;
		agent = agent || strcasecmp(extra->items[i].name, "user-agent") == 0;
		header(out, extra->items[i].name, extra->items[i].value.p);
	}
	if (!agent)
		header(out, "User-Agent", "gatehouse/" GATEHOUSE_VERSION);
	http1_write_head_end(out);
	return post ? buf_append(out, x->text, x->len) : 0;
}

static void on_failed(void *arg, const struct err *err, bool written, bool stale);

void exchange_send(struct exchange *x, bool fresh)
{
	struct err err = {0};
	struct buf out;

	x->status = 0;
	x->body_kind = BODY_NONE;
	x->redirected = false;
	x->began_ms = clock_ms();
	buf_clear(&x->body);
	if (x->events)
		sse_parser_reset(x->events);
	buf_init(&out, x->len + 2u * 1024 * 1024);
	if (write_request(x, &out) < 0)
		err_set(&err, ERR_NO_MEMORY, "no memory for a request");
	else
		connection_request(x->host->connections, buf_span(&out), fresh, &events, x,
			&x->connection, &err);
	buf_free(&out);
	if (!err.code)
		return;
	/* told from the loop */
	snprintf(x->reason, sizeof(x->reason), "%.60s", err.detail);
	exchange_expire(x, 0);
}

/* --- reading on after a break ---------------------------------------------------------------- */

static uint64_t resume_pause(const struct exchange *x)
{
	int64_t said = x->events ? sse_parser_retry_ms(x->events) : -1;
	uint64_t pause = RESUME_MS << (x->resumes < 6 ? x->resumes : 6);

	if (said >= 0 && x->resumes == 0)
		pause = (uint64_t)said;
	return pause < RESUME_LAST_MS ? pause : RESUME_LAST_MS;
}

static void resume_later(struct exchange *x)
{
	uint64_t pause;

	if (clock_ms() - x->began_ms > STREAM_GOOD_MS)
		x->resumes = 0;
	pause = resume_pause(x);
	x->resumes++;
	x->resume_due = true;
	exchange_expire(x, (unsigned)pause);
}

/* Can the rest of this response still be had? */
static bool can_resume(const struct exchange *x)
{
	if (!x->http || x->modern)
		return false;
	if (x->kind == EXCHANGE_STREAM)
		return true;
	return x->kind == EXCHANGE_POST && x->id && x->last_event[0] && x->resumes < RESUMES_MAX;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *x = arg;
	struct err err = {0};

	(void)fd;
	(void)what;
	work_begin(x);
	if (x->resume_due) {
		x->resume_due = false;
		x->moved = x->kind == EXCHANGE_POST;
		exchange_send(x, false);
	} else {
		err_set(&err, ERR_SERVER_DOWN, "%s",
			x->reason[0] ? x->reason : "the server does not answer");
		over(x, &err, x->ever_written ? EXECUTED_UNKNOWN : EXECUTED_NO);
	}
	work_end(x);
}

/* --- the response ---------------------------------------------------------------------------- */

static bool media_is(struct span value, const char *type)
{
	size_t n = strlen(type);

	return value.len >= n && strncasecmp(value.p, type, n) == 0 &&
	       (value.len == n || value.p[n] == ';' || value.p[n] == ' ' || value.p[n] == '\t');
}

/* Where the server says it is. True when the request goes there. */
static bool follow(struct exchange *x, const struct http1_head *head)
{
	struct span location = http1_header_get(head, "location");
	struct err err = {0};
	struct url url;

	if (x->redirects++ >= REDIRECTS_MAX)
		err_set(&err, ERR_SERVER_DOWN, "the server redirects again and again");
	else if (url_resolve(&x->url, location, "the server redirects to", &url, &err) == 0) {
		x->url = url;
		if (!POINT(ORIGINS))
			connections_new(
				upstream_base(x->host->up), &url, &x->host->connections, &err);
		if ((head->status == 301 || head->status == 308) && !legacy_is_post(x))
			x->host->url = url;
		return true;
	}
	over(x, &err, EXECUTED_NO);
	return false;
}

static void begin_events(struct exchange *x)
{
	x->body_kind = BODY_EVENTS;
	if (!x->events)
		x->events = sse_parser_new((size_t)x->host->up->server->max_message + 4096);
}

static void on_head(void *arg, const struct http1_head *head)
{
	struct exchange *x = arg;
	struct span type = http1_header_get(head, "content-type");
	bool good = head->status >= 200 && head->status < 300;

	x->ever_written = true;
	x->status = head->status;
	snprintf(x->reason, sizeof(x->reason), "HTTP %u %.40s", head->status,
		http1_reason(head->status));
	if (head->status == 301 || head->status == 302 || head->status == 307 ||
		head->status == 308) {
		work_begin(x);
		x->redirected = follow(x, head);
		work_end(x);
		return;
	}
	if (good && x->http && x->kind == EXCHANGE_POST && x->http->mode == HTTP_STREAMABLE &&
		!x->modern)
		http_name_session(x->http, http1_header_get(head, "mcp-session-id"));
	if (good && media_is(type, "text/event-stream"))
		begin_events(x);
	else if (media_is(type, "application/json"))
		x->body_kind = BODY_JSON;
	else
		x->body_kind = BODY_OTHER;
	if (good && legacy_is_post(x)) {
		/* the answer comes on the other stream */
		x->id = 0;
		x->body_kind = BODY_OTHER;
		exchange_expire(x, LINGER_MS);
	}
	/* a notification may be answered by a stream: that it began says enough */
	if (good && x->http && (x->body_kind == BODY_EVENTS || legacy_is_post(x))) {
		work_begin(x);
		http_taken(x->http, x);
		work_end(x);
	}
}

static void give_message(struct exchange *x, struct span text)
{
	if (x->http)
		x->http->events->message(x->http->arg, text, x->kind == EXCHANGE_POST ? x->id : 0);
}

static void too_long(struct exchange *x)
{
	struct err err = {0};

	err_set(&err, ERR_SERVER_GARBAGE, "it sent a message longer than maxMessage");
	over(x, &err, EXECUTED_UNKNOWN);
}

static void take_events(struct exchange *x, struct span piece)
{
	struct sse_event event;
	int r;

	while (!x->dead && x->events &&
		(r = sse_parser_next(x->events, &piece, &event, NULL)) != 0) {
		if (r < 0) {
			too_long(x);
			return;
		}
		if (event.id.len && event.id.len < sizeof(x->last_event)) {
			memcpy(x->last_event, event.id.p, event.id.len);
			x->last_event[event.id.len] = '\0';
		}
		if (event.data.len && span_is(event.event, "message"))
			give_message(x, event.data);
		else if (x->kind == EXCHANGE_LEGACY && span_is(event.event, "endpoint"))
			legacy_announced(x, event.data);
	}
}

static void on_body(void *arg, struct span piece)
{
	struct exchange *x = arg;
	size_t room;

	work_begin(x);
	if (x->body_kind == BODY_EVENTS) {
		take_events(x, piece);
	} else if (x->status < 200 || x->status >= 300 || x->body_kind == BODY_OTHER) {
		room = x->body.len < ERROR_BODY_MAX ? ERROR_BODY_MAX - x->body.len : 0;
		buf_append(&x->body, piece.p, piece.len < room ? piece.len : room);
	} else if (buf_append_span(&x->body, piece) < 0) {
		too_long(x);
	}
	work_end(x);
}

/* --- the end of the response ----------------------------------------------------------------- */

/* Bytes of text that are shown: at most max, and no character cut in two. */
static int shown(struct span text, size_t max)
{
	size_t len = text.len < max ? text.len : max;

	while (len > 0 && len < text.len && ((unsigned char)text.p[len] & 0xc0) == 0x80)
		len--;
	return (int)len;
}

/* Is it our request's error, though with an HTTP error? Then it is an answer like others. */
static bool is_answer(const struct exchange *x, const struct jsonrpc *msg)
{
	uint64_t id;

	return msg->kind == JSONRPC_ERROR && jsonrpc_id_uint64(msg->id, &id) == 0 && id == x->id;
}

/* What the server says is wrong: of a JSON-RPC error its message, and its data where that is text,
 * which often tells more; else the body. */
static void write_reason(const struct exchange *x, const struct jsonrpc *msg, struct buf *out)
{
	struct span body = buf_span(&x->body), message, data;
	size_t start;
	int64_t code;

	if (msg->kind != JSONRPC_ERROR ||
		jsonrpc_error_get(msg->error, &code, &message, &data) < 0) {
		buf_append(out, body.p, (size_t)shown(body, REASON_MAX));
		return;
	}
	json_string_append(message, out);
	if (out->len > REASON_MAX)
		buf_cut(out, (size_t)shown(buf_span(out), REASON_MAX));
	start = out->len + 2;
	if (json_type(data) != JSON_STRING)
		return;
	buf_append_str(out, ": ");
	json_string_append(data, out);
	if (out->len > start + REASON_MAX)
		buf_cut(out, start + (size_t)shown(span_of(out->data + start, out->len - start),
					REASON_MAX));
}

/* The server answered with an HTTP error. */
static void refused(struct exchange *x)
{
	bool known = x->http && !x->modern && x->http->version != MCP_VERSION_NONE;
	bool named = known && x->http->session[0];
	enum executed executed = x->status < 500 ? EXECUTED_NO : EXECUTED_UNKNOWN;
	enum err_code code = ERR_SERVER_DOWN;
	struct jsonrpc msg = {0};
	struct err err = {0};
	struct buf reason;

	if (x->body_kind == BODY_JSON)
		jsonrpc_parse(buf_span(&x->body), &msg, NULL);
	if (is_answer(x, &msg) && (x->status != 404 || x->modern)) {
		give_message(x, buf_span(&x->body));
		if (!x->dead)
			over(x, NULL, EXECUTED_NO);
		return;
	}
	if (legacy_probe(x))
		return;
	if (x->moved) {
		/* the request itself had been taken */
		code = ERR_SERVER_DIED;
		executed = EXECUTED_UNKNOWN;
	} else if ((named || (known && legacy_is_post(x))) && x->status == 404 && POINT(FORGOTTEN))
		code = ERR_SESSION_UNKNOWN;
	else if (named && (x->status == 400 || x->status == 401 || x->status == 503))
		code = ERR_SESSION_REQUIRED;
	buf_init(&reason, 2 * ERROR_BODY_MAX);
	write_reason(x, &msg, &reason);
	err_set(&err, code, "%s%s%.*s", x->reason, reason.len ? ": " : "",
		SPAN_ARG(buf_span(&reason)));
	buf_free(&reason);
	over(x, &err, executed);
}

/* A stream for the server's own messages: many servers have none, and say so in many ways. */
static void stream_ended(struct exchange *x)
{
	bool good = x->status >= 200 && x->status < 300 && x->body_kind == BODY_EVENTS;

	if ((good || x->status >= 500 || x->status == 429) && x->resumes < RESUMES_MAX) {
		resume_later(x);
	} else {
		log_debug(
			"server.no_stream", x->reason, KV_STR("server", x->host->up->server->name));
		exchange_free(x);
	}
}

static void post_ended(struct exchange *x)
{
	struct err err = {0};

	if (x->status < 200 || x->status >= 300) {
		refused(x);
		return;
	}
	if (x->body_kind == BODY_JSON && x->body.len)
		give_message(x, buf_span(&x->body));
	if (x->dead)
		return;
	if (x->id && can_resume(x)) {
		x->http->events->parked(x->http->arg, x->id);
		resume_later(x);
		return;
	}
	if (x->body_kind == BODY_EVENTS)
		err_set(&err, ERR_SERVER_DIED, "the response stream ended without the answer");
	else
		err_set(&err, ERR_SERVER_GARBAGE, "%s without an answer to the request", x->reason);
	over(x, &err, EXECUTED_UNKNOWN);
}

static void on_complete(void *arg)
{
	struct exchange *x = arg;

	x->connection = NULL;
	work_begin(x);
	if (x->redirected)
		exchange_send(x, false);
	else if (x->kind == EXCHANGE_POST)
		post_ended(x);
	else if (x->kind == EXCHANGE_STREAM)
		stream_ended(x);
	else if (x->kind == EXCHANGE_LEGACY)
		legacy_complete(x);
	else
		over(x, NULL, EXECUTED_NO);
	work_end(x);
}

static void on_failed(void *arg, const struct err *err, bool written, bool stale)
{
	struct exchange *x = arg;

	x->connection = NULL;
	x->ever_written = x->ever_written || written;
	work_begin(x);
	if (stale && !x->repeated && (x->safe || !written || !POINT(REPEAT))) {
		x->repeated = true;
		exchange_send(x, true);
	} else if (x->redirected) {
		exchange_send(x, true);
	} else if (can_resume(x) && (x->kind != EXCHANGE_STREAM || x->resumes < RESUMES_MAX)) {
		resume_later(x);
	} else {
		over(x, err, x->ever_written ? EXECUTED_UNKNOWN : EXECUTED_NO);
	}
	work_end(x);
}

static const struct connection_events events = {
	.head = on_head, .body = on_body, .complete = on_complete, .failed = on_failed};
