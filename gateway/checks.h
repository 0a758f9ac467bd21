/*
 * What is checked before anybody else is bothered with a request: who it says it is for (Host),
 * which page it comes from (Origin), what it brings and what it takes. Nothing here depends on the
 * rest of the gateway.
 */
#ifndef GATEHOUSE_CHECKS_H
#define GATEHOUSE_CHECKS_H

#include "config.h"
#include "err.h"
#include "http1.h"

/* Where MCP is; that of a virtual server is below it, under the server's name. */
#define MCP_PATH "/mcp"

/* The bits of EXCHANGE.accept (messages.def). */
#define ACCEPTS_JSON 1u
#define ACCEPTS_SSE 2u
#define ACCEPTS_SSE_FIRST 4u  /* named before application/json: preferred */
#define ACCEPTS_NO_PARAMS 16u /* no header says so: there are no Mcp-Param-… to compare */
#define ACCEPTS_TO_THE_END 8u /* no header says so: the client cannot come back for the rest */

/* What one pass over the headers found. Spans live as long as the head; p is NULL where absent. */
struct facts {
	struct span session;       /* Mcp-Session-Id */
	struct span version;       /* MCP-Protocol-Version */
	struct span mcp_method;    /* Mcp-Method */
	struct span mcp_name;      /* Mcp-Name */
	struct span last_event_id; /* Last-Event-ID */
	struct span traceparent;
	struct span origin;
	struct span content_type;
	struct span view; /* of the path: the virtual server's name; empty: of all, or no such path */
	unsigned accept;     /* ACCEPTS_…; 0: nothing that can be given */
	unsigned mcp_params; /* number of Mcp-Param-… headers */
	bool preflight;      /* Access-Control-Request-Method is there */
	bool ambiguous;      /* one that may stand once stands twice */
};

/*
 * Read the headers. In accept, a wildcard for a POST means application/json alone (a person with
 * curl reads that easier than an event stream), for a GET the event stream it asks for. No Accept
 * header counts as a wildcard (RFC 9110 §12.5.1).
 */
void facts_read(const struct http1_head *head, struct facts *ret);

/* By which names a listener may be asked. */
struct admission {
	const struct config *config;
	char host[256]; /* of the listener's URL, without brackets; empty for a Unix socket */
	bool loopback;
	bool local; /* a Unix socket: browsers do not reach it */
};

/* url as in LISTENER: http://HOST:PORT or unix:PATH. config is borrowed. */
void admission_init(struct admission *admission, const struct config *config, struct span url);

/*
 * 0, or with a sentence in err:
 *   -ERR_BAD_HTTP    a header stands twice that may stand once
 *   -ERR_BAD_HOST    (checked on loopback, and where allowed_hosts is set: a page on the web can
 *                    make a browser send its own name there, DNS rebinding)
 *   -ERR_BAD_ORIGIN  a page that is not in allowed_origins; on loopback, pages of this machine are
 *   -ERR_NOT_FOUND   a view that is not configured
 */
int admission_check(const struct admission *admission, struct span host, const struct facts *facts,
	struct err *err);

/*
 * Is path root itself, or that of a view below it? ret_view: as in struct facts. An empty root is
 * no path.
 */
bool is_path_at(struct span root, struct span path, struct span *ret_view);
/* The same for MCP_PATH. */
bool is_mcp_path(struct span path, struct span *ret_view);
/* Is it the name of a Mcp-Param-… header? */
bool is_mcp_param(struct span name);
/* Is a Content-Type that of JSON, with or without parameters? */
bool is_json_type(struct span content_type);

#endif
