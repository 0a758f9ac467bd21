/* What a gateway shows beside MCP: health, and a word to those who come with a browser or curl. */
#include "edge.h"
#include "health.h"

#include <stdio.h>

#define PAGE_MAX (1024u * 1024)

/* How this gateway was addressed. */
struct place {
	struct span host;
	bool https;
	bool ours; /* by a name it listens to: not by one that somebody else's page made up */
};

typedef unsigned page_fn(const struct door *door, const struct place *place, struct buf *out);

static unsigned page_live(const struct door *door, const struct place *place, struct buf *out)
{
	(void)door;
	(void)place;
	buf_append_str(out, "{\"status\":\"ok\"}\n");
	return 200;
}

static unsigned page_health(const struct door *door, const struct place *place, struct buf *out)
{
	return health_write(door->gateway, false, place->ours, out) ? 200 : 503;
}

static unsigned page_ready(const struct door *door, const struct place *place, struct buf *out)
{
	return health_write(door->gateway, true, place->ours, out) ? 200 : 503;
}

static unsigned page_front(const struct door *door, const struct place *place, struct buf *out)
{
	char url[320] = "http://localhost" MCP_PATH;

	(void)door;
	if (place->host.len > 0 && place->host.len < 256)
		snprintf(url, sizeof(url), "%s://%.*s" MCP_PATH, place->https ? "https" : "http",
			SPAN_ARG(place->host));
	buf_printf(out,
		"Gatehouse " GATEHOUSE_VERSION ", a gateway for the Model Context Protocol.\n"
		"Point an MCP client at %s (Streamable HTTP or WebSocket), or look around with curl:\n\n"
		"  curl %s -H 'Content-Type: application/json' \\\n"
		"    -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' \\\n"
		"    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"_meta\":{\n"
		"         \"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\n"
		"         \"io.modelcontextprotocol/clientCapabilities\":{}}}}'\n\n"
		"Health: /livez /healthz /readyz\n",
		url, url);
	return 200;
}

static const struct {
	const char *path;
	const char *type;
	page_fn *write;
} pages[] = {
	{"/livez", "application/json", page_live},
	{"/healthz", "application/json", page_health},
	{"/readyz", "application/json", page_ready},
	{"/", "text/plain; charset=utf-8", page_front},
};

static size_t find(struct span path)
{
	size_t i = 0;

	while (i < sizeof(pages) / sizeof(*pages) && !span_is(path, pages[i].path))
		i++;
	return i;
}

bool page_exists(struct span path)
{
	return find(path) < sizeof(pages) / sizeof(*pages);
}

/* A Unix socket has no host of its own: what a client wrote there is of no use to others. */
static void place_of(const struct door *door, const struct http_conn *conn,
	const struct http1_head *head, struct place *ret)
{
	bool local = strncmp(door->url, "unix:", 5) == 0;
	struct facts facts;

	facts_read(head, &facts);
	*ret = (struct place){.host = local ? SPAN_NONE : head->host,
		.ours = admission_check(&door->admission, head->host, &facts, NULL) == 0};
	if (trust_has(&door->gateway->trust, http_conn_peer(conn)))
		ret->https = forwarded_host(head, &ret->host);
}

void page_answer(struct door *door, struct http_conn *conn, const struct http1_head *head)
{
	size_t i = find(head->path);
	struct answer_headers headers = {.n = 0};
	char request_id[REQUEST_ID_MAX];
	struct err err = {0};
	struct place place;
	struct buf body;
	unsigned status;

	if (!span_is(head->method, "GET") && !span_is(head->method, "HEAD")) {
		err_set(&err, ERR_METHOD_NOT_ALLOWED, "this page can only be read");
		edge_refuse(door, conn, head, &err, SPAN_NONE, "GET, HEAD");
		return;
	}
	buf_init(&body, PAGE_MAX);
	place_of(door, conn, head, &place);
	status = pages[i].write(door, &place, &body);
	answer_headers_add(&headers, "Content-Type", span_str(pages[i].type));
	answer_headers_add(&headers, "Cache-Control", SPAN_LIT("no-store"));
	answer_headers_retry(&headers, status);
	request_id_make(door->gateway, request_id);
	answer_headers_add(&headers, "X-Request-Id", span_str(request_id));
	http_conn_respond(conn, status, headers.list, headers.n, buf_span(&body));
	buf_free(&body);
}
