/*
 * The catalogue: what all MCP servers offer, merged into one sealed memory file that the registry
 * writes, and session workers and gateways map read-only and search without parsing JSON. A look-up
 * costs a binary search; opening costs one pass over the fixed-width records, after which no offset
 * can lead outside the file.
 *
 * Virtual servers (views) have catalogues of their own in the same file: what is in them, under the
 * names it has there. Who serves one looks nowhere else.
 *
 * Everything handed out lies in the file and lives until catalogue_free. Layout:
 * catalogue_format.h.
 */
#ifndef GATEHOUSE_CATALOGUE_H
#define GATEHOUSE_CATALOGUE_H

#include "buf.h"
#include "err.h"
#include "mcp.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

#define CATALOGUE_BYTES_MAX (256u * 1024u * 1024u) /* of the file */
#define CATALOGUE_SERVERS_MAX 4096u
#define CATALOGUE_TEMPLATE_MAX 1024u /* bytes of a URI template; a longer one never matches */
#define CATALOGUE_URI_MAX \
	8192u /* bytes of a URI matched against templates; a longer one never matches */

/* The numbers are those of SERVER_LIST in messages.def. */
enum catalogue_kind {
	CATALOGUE_TOOL,
	CATALOGUE_RESOURCE,
	CATALOGUE_TEMPLATE,
	CATALOGUE_PROMPT,
	CATALOGUE_KIND_MAX,
};

/* Whose list a method asks for; CATALOGUE_KIND_MAX: none. */
enum catalogue_kind catalogue_kind_of(enum mcp_method method);

/* The numbers are those of SERVER_STATE in messages.def. */
enum server_state {
	SERVER_STARTING,
	SERVER_UP,
	SERVER_DOWN,     /* will be tried again */
	SERVER_FAILED,   /* crashed too often: tried again with back-off */
	SERVER_DISABLED, /* by configuration or by hand */
	SERVER_STOPPING, /* with the node */
	SERVER_STATE_MAX,
};

enum server_isolation { SERVER_SHARED, SERVER_PER_SESSION, SERVER_ISOLATION_MAX };
enum server_transport {
	SERVER_STDIO,
	SERVER_HTTP, /* Streamable HTTP */
	SERVER_SSE,  /* HTTP with SSE of 2024-11-05 */
	SERVER_WEBSOCKET,
	SERVER_TRANSPORT_MAX,
};
/* As enum mcp_era; a file of its own numbers does not depend on that header. */
enum catalogue_era { CATALOGUE_LEGACY, CATALOGUE_MODERN, CATALOGUE_ERA_MAX };

/* Words for people and the admin interface: "up", "session", "http", … */
const char *server_state_name(enum server_state state);
const char *server_isolation_name(enum server_isolation isolation);
const char *server_transport_name(enum server_transport transport);
/* "tool", "resource", "resource template", "prompt" */
const char *catalogue_kind_name(enum catalogue_kind kind);

struct catalogue_server {
	struct span name;         /* as configured */
	struct span upstream;     /* name of its upstream worker, for LINK_OPEN */
	struct span version;      /* protocol revision it speaks, empty until known */
	struct span capabilities; /* its JSON object, empty until known */
	struct span info;         /* its serverInfo, a JSON object */
	struct span instructions; /* text, decoded */
	struct span error;        /* why it is not up: a sentence */
	struct span alike;        /* clients that see these very lists: catalogue_is_alike() */
	enum server_state state;
	enum server_isolation isolation;
	enum server_transport transport;
	enum catalogue_era era;
	uint32_t call_timeout_ms;
	uint32_t start_timeout_ms;
	uint32_t idle_ms;
	bool late; /* starting for so long that nobody waits for it */
	uint32_t ttl_ms[CATALOGUE_KIND_MAX];    /* of its lists (2026-07-28); 0 in the legacy era */
	bool cache_private[CATALOGUE_KIND_MAX]; /* cacheScope of its lists; true in the legacy era
						 */
	uint32_t count[CATALOGUE_KIND_MAX]; /* items it has here; filled in by catalogue_write */
};

/* Do requests to it repeat arguments in headers (Streamable HTTP, 2026-07-28)? */
static inline bool catalogue_server_has_headers(const struct catalogue_server *server)
{
	return server->transport == SERVER_HTTP && server->era == CATALOGUE_MODERN;
}

enum catalogue_flags {
	/* annotations that are there and true */
	CATALOGUE_READ_ONLY = 1u << 0,
	CATALOGUE_IDEMPOTENT = 1u << 1,
	CATALOGUE_DESTRUCTIVE = 1u << 2,
	CATALOGUE_OPEN_WORLD = 1u << 3,
	CATALOGUE_TASK_OPTIONAL = 1u << 4, /* execution.taskSupport; neither bit: forbidden */
	CATALOGUE_TASK_REQUIRED = 1u << 5,
	CATALOGUE_HEADERS = 1u << 6, /* its input schema has x-mcp-header annotations */
	CATALOGUE_RENAMED = 1u << 7, /* exposed under another name than the server's */
};

struct catalogue_item {
	enum catalogue_kind kind;
	uint32_t server; /* index of its server */
	uint32_t flags;  /* enum catalogue_flags */
	/* what clients say, decoded: exposed name of a tool or prompt, uri of a resource,
	 * uriTemplate of a template */
	struct span name;
	struct span original; /* the server's own name for it as a JSON token with quotes, ready to
				 be spliced */
	struct span
		json; /* the item as clients see it: the server's bytes, with the exposed name */
	/* parts of json; empty if it has none */
	struct span name_token;    /* the JSON string that holds name */
	struct span schema;        /* inputSchema */
	struct span output_schema; /* outputSchema */
	uint64_t digest; /* hash64 of the item's bytes as the server sent them: changes when the
			    definition does */
};

struct catalogue;

/*
 * Map and examine the whole file. fd is borrowed (may be closed afterwards). -ERR_PROTOCOL: not
 * sealed, not a catalogue, of another format version, or damaged; -ERR_TOO_LARGE.
 */
int catalogue_open(int fd, struct catalogue **ret_catalogue, struct err *err);
/* The same over bytes that stay the caller's, aligned to 8, and outlive the catalogue. */
int catalogue_parse(struct span bytes, struct catalogue **ret_catalogue, struct err *err);
/* The catalogue of a view, in the file of the whole: for catalogue_parse. Empty: there is none. */
struct span catalogue_view_bytes(const struct catalogue *whole, struct span view);
/* Be that of a view from now on. -ERR_NOT_FOUND: it is not there, and all stays as it was. */
int catalogue_select(struct catalogue *catalogue, struct span view, struct err *err);
/* NULL is accepted. */
void catalogue_free(struct catalogue *catalogue);

uint64_t catalogue_generation(const struct catalogue *catalogue);
/* hash64 of everything in the file but generations: equal when nothing has changed. */
uint64_t catalogue_digest(const struct catalogue *catalogue);
/* Union of what the servers can and Gatehouse routes, a JSON object, for a client of that era. */
struct span catalogue_capabilities(const struct catalogue *catalogue, enum catalogue_era era);
/* Instructions of all servers, as text. */
struct span catalogue_instructions(const struct catalogue *catalogue);
/* The smallest ttl of the lists merged, in ms; *ret_private: one of them is private. */
uint32_t catalogue_ttl_ms(
	const struct catalogue *catalogue, enum catalogue_kind kind, bool *ret_private);

uint32_t catalogue_servers(const struct catalogue *catalogue);
/* index below catalogue_servers(); anything else gives an empty server, state disabled. */
void catalogue_get_server(
	const struct catalogue *catalogue, uint32_t index, struct catalogue_server *ret_server);
/* -ERR_NOT_FOUND. */
int catalogue_find_server(const struct catalogue *catalogue, struct span name, uint32_t *ret_index);

/*
 * Clients of one kind (mcp_client_digest) of whom it is known that a server shows each of them, in a
 * conversation of its own, what stands here. kinds: bit n for enum catalogue_kind n.
 */
struct catalogue_alike {
	uint64_t client;
	uint64_t kinds;
};
/* Of one server. */
#define CATALOGUE_ALIKE_MAX 64u
bool catalogue_is_alike(
	const struct catalogue_server *server, uint64_t client, enum catalogue_kind kind);

#define CATALOGUE_ALL_SERVERS UINT32_MAX
/* Items of a kind, of one server or of all. */
uint32_t catalogue_count(
	const struct catalogue *catalogue, enum catalogue_kind kind, uint32_t server);
/*
 * Item n of those, 0 ≤ n < catalogue_count(): servers in the order of the configuration, within a
 * server its own order. False beyond.
 */
bool catalogue_get(const struct catalogue *catalogue, enum catalogue_kind kind, uint32_t server,
	uint32_t n, struct catalogue_item *ret_item);

/*
 * Who has it: fills at most max items whose name is this (tools and prompts: at most one; a
 * resource's URI may be claimed by several servers, in their order). Returns how many there are,
 * which may be more than max.
 */
uint32_t catalogue_find(const struct catalogue *catalogue, enum catalogue_kind kind,
	struct span name, struct catalogue_item *ret_items, uint32_t max);

/*
 * Templates whose expansions can be this URI, best first: more literal characters, then list order.
 * As catalogue_find. {x} stands for one or more characters but '/', {+x} and {#x} for one or more
 * of any, other operators of RFC 6570 for any text, none included.
 */
uint32_t catalogue_match(const struct catalogue *catalogue, struct span uri,
	struct catalogue_item *ret_items, uint32_t max);
/* The same for one template. Values are not extracted. */
bool catalogue_template_matches(struct span template, struct span uri);

/* Characters of an exposed name, [A-Za-z0-9_-]: what servers and clients agree on in practice. */
#define CATALOGUE_NAME_MAX 64u
/* Names that are tried before an item goes without. */
#define CATALOGUE_NAME_ATTEMPTS 8u

/*
 * The exposed name of a server's tool or prompt under `naming: prefix`: server__name, made legal and
 * told from others by a hash where it had to be changed. attempt: 0 for the plainest, the next one
 * when that is taken. True when it differs from the plain server__name.
 */
bool catalogue_make_name(struct span server, struct span name, unsigned attempt,
	char ret_name[CATALOGUE_NAME_MAX + 1]);

/* What catalogue_write puts into a file. Spans are borrowed, from anywhere. */
struct catalogue_content {
	struct span view; /* empty: that of all, and the first in the file */
	uint64_t generation;
	struct span capabilities[CATALOGUE_ERA_MAX];
	struct span instructions;
	uint32_t ttl_ms[CATALOGUE_KIND_MAX];
	bool cache_private[CATALOGUE_KIND_MAX];
	const struct catalogue_server *servers;
	uint32_t servers_len;
	const struct catalogue_item *items; /* sorted by kind, then server */
	uint32_t items_len;
};
/* Append it to out: first that of all, then those of views. On failure out is as it was.
 * -ERR_INVALID_ARGUMENT: not sorted; -ERR_TOO_LARGE, -ERR_NO_MEMORY. */
int catalogue_write(const struct catalogue_content *content, struct buf *out, struct err *err);

#endif
