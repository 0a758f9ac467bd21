/*
 * MCP as data: revisions, methods, capabilities, and what the modern era puts into every request.
 *
 * The legacy era is 2024-11-05 to 2025-11-25 (initialize, sessions), the modern era starts with
 * 2026-07-28 (every request stands alone). Sources: schema.ts and docs/specification of each
 * revision in github.com/modelcontextprotocol/modelcontextprotocol.
 */
#ifndef GATEHOUSE_MCP_H
#define GATEHOUSE_MCP_H

#include "buf.h"
#include "err.h"
#include "jsonrpc.h"
#include "span.h"

#include <stdbool.h>

/* revisions, in their order: compare with < */
enum mcp_version {
	MCP_VERSION_NONE,
	MCP_2024_11_05,
	MCP_2025_03_26,
	MCP_2025_06_18,
	MCP_2025_11_25,
	MCP_2026_07_28,
	MCP_VERSION_MAX,
};
#define MCP_LATEST_LEGACY MCP_2025_11_25
#define MCP_FIRST_MODERN MCP_2026_07_28
/* What a legacy HTTP request without a version header speaks (2025-06-18, transports). */
#define MCP_VERSION_ASSUMED MCP_2025_03_26

enum mcp_era { MCP_LEGACY, MCP_MODERN };

/* "2025-06-18" → MCP_2025_06_18; MCP_VERSION_NONE if we do not speak it. */
enum mcp_version mcp_version_parse(struct span text);
/* "" for MCP_VERSION_NONE. */
const char *mcp_version_name(enum mcp_version version);
enum mcp_era mcp_version_era(enum mcp_version version);
/* Is text shaped like a date not before the first modern revision (whether we speak it or not)? */
bool mcp_version_looks_modern(struct span text);
/* What `initialize` is answered: the client's revision if it is a legacy one we speak, else the
 * latest legacy one. */
enum mcp_version mcp_version_negotiate(struct span requested);
/* Append the modern revisions we speak as a JSON array of strings,
 * newest first (for `supported`). */
int mcp_write_versions(struct buf *out);

/* methods */
enum mcp_method {
	MCP_METHOD_NONE, /* not a method of MCP */
#define MCP_METHOD(NAME, text, direction, kind, since, until, route, need, list, flags) MCP_##NAME,
#include "mcp_methods.def"
#undef MCP_METHOD
	MCP_METHOD_MAX,
};

enum mcp_direction { MCP_TO_SERVER = 1, MCP_TO_CLIENT = 2, MCP_BOTH = 3 }; /* bits */
enum mcp_kind { MCP_REQUEST, MCP_NOTIFICATION };
enum mcp_route {
	MCP_ROUTE_NONE,
	MCP_ROUTE_TOOL,
	MCP_ROUTE_PROMPT,
	MCP_ROUTE_URI,
	MCP_ROUTE_REF,
	MCP_ROUTE_TASK,
	MCP_ROUTE_TOKEN,
	MCP_ROUTE_REQUEST,
	MCP_ROUTE_MAX,
};
enum mcp_flags {
	MCP_SAFE = 1,   /* reads only: may be sent again */
	MCP_INPUT = 2,  /* in the modern era part of inputRequests instead of a message */
	MCP_ROUNDS = 4, /* in the modern era the result may be input_required */
	MCP_CACHED = 8, /* in the modern era the result carries ttlMs and cacheScope */
};

struct mcp_method_info {
	struct span name;
	enum mcp_direction direction;
	enum mcp_kind kind;
	enum mcp_version since;
	enum mcp_version until;
	enum mcp_route route;
	const char *need; /* capability of the receiver, dotted; "" if none */
	struct span list; /* array member of the result; empty if not a paginated list */
	unsigned flags;   /* enum mcp_flags */
};

/* MCP_METHOD_NONE if name is not in the table. */
enum mcp_method mcp_method_find(struct span name);
/* Never NULL; MCP_METHOD_NONE (and anything out of range) has an empty name and no revision. */
const struct mcp_method_info *mcp_method_info(enum mcp_method method);
/* Is it a message of its own in that revision? */
bool mcp_method_in(enum mcp_method method, enum mcp_version version);
/*
 * The value in params that says whose the message is, as a raw JSON token ready to be spliced: the
 * tool's name, the uri, ... SPAN_NONE for MCP_ROUTE_NONE, or if it is missing.
 */
struct span mcp_route_value(enum mcp_method method, struct span params);

/*
 * Could two readers take params for different things? 0, or -ERR_INVALID_PARAMS if a member that MCP
 * gives a meaning (of params, params._meta or params.ref) stands there twice, or a member's name
 * differs from such a one in case alone: what is decided by one of them, a server might do with the
 * other. What else params have, and what is in arguments, is not looked at.
 */
int mcp_params_check(struct span params, struct err *err);

/* keys of _meta */
#define MCP_META_PROTOCOL_VERSION "io.modelcontextprotocol/protocolVersion"
#define MCP_META_CLIENT_INFO "io.modelcontextprotocol/clientInfo"
#define MCP_META_CLIENT_CAPABILITIES "io.modelcontextprotocol/clientCapabilities"
#define MCP_META_LOG_LEVEL "io.modelcontextprotocol/logLevel"
#define MCP_META_SERVER_INFO "io.modelcontextprotocol/serverInfo"
#define MCP_META_SUBSCRIPTION_ID "io.modelcontextprotocol/subscriptionId"
#define MCP_META_RELATED_TASK "io.modelcontextprotocol/related-task"
#define MCP_META_PROGRESS_TOKEN "progressToken"
#define MCP_EXTENSION_TASKS "io.modelcontextprotocol/tasks"

/* params._meta.progressToken as a raw token (string or number); SPAN_NONE if there is none or it is
 * something else. */
struct span mcp_progress_token(struct span params);

/* RFC 5424 severities in MCP's spelling, in their order. */
enum mcp_log_level {
	MCP_LOG_NONE, /* none asked for: in the modern era, send no log messages */
	MCP_LOG_DEBUG,
	MCP_LOG_INFO,
	MCP_LOG_NOTICE,
	MCP_LOG_WARNING,
	MCP_LOG_ERROR,
	MCP_LOG_CRITICAL,
	MCP_LOG_ALERT,
	MCP_LOG_EMERGENCY,
	MCP_LOG_MAX,
};
/* value: a raw JSON string. MCP_LOG_NONE if it is no level. */
enum mcp_log_level mcp_log_level_parse(struct span value);
const char *mcp_log_level_name(enum mcp_log_level level);

/* Values of the mirrored headers as they came; p is NULL where a header is absent. */
struct mcp_headers {
	struct span version; /* MCP-Protocol-Version */
	struct span method;  /* Mcp-Method */
	struct span name;    /* Mcp-Name */
};

/*
 * The era a message from a client belongs to. The body decides: a protocolVersion in params._meta
 * is modern, an `initialize` without one is legacy, else a version header that looks modern is
 * modern, else legacy. headers may be NULL (stdio).
 */
enum mcp_era mcp_request_era(const struct jsonrpc *msg, const struct mcp_headers *headers);
/* The same for who has looked up params._meta (SPAN_NONE: there is none). */
enum mcp_era mcp_era_of(
	const struct jsonrpc *msg, struct span meta, const struct mcp_headers *headers);

/* What a modern request says about itself. Spans are raw JSON values in the body; SPAN_NONE where
 * absent. */
struct mcp_meta {
	enum mcp_version version;
	enum mcp_method method;
	struct span meta;         /* the _meta object */
	struct span requested;    /* its protocolVersion: set also when we do not speak it */
	struct span capabilities; /* its clientCapabilities */
	struct span client_info;
	struct span progress_token;
	enum mcp_log_level log_level;
};

/*
 * Read and check the _meta of a modern request, and the headers against the body (not on stdio:
 * headers NULL). In this order, as the reference server does:
 *   -ERR_INVALID_PARAMS       _meta, protocolVersion or clientCapabilities missing or of a wrong
 *                             type
 *   -ERR_HEADER_MISMATCH      version or method header differs from the body
 *   -ERR_UNSUPPORTED_VERSION  ret->requested is set: see mcp_write_err
 *   -ERR_HEADER_MISMATCH      a required header missing; Mcp-Name differs, or is badly encoded
 * The method itself is not judged (-ERR_METHOD_NOT_FOUND is the caller's: mcp_method_in). A
 * notification needs neither _meta nor headers, but what it has must agree. *ret is always set as
 * far as it was read.
 */
int mcp_request_meta(const struct jsonrpc *msg, const struct mcp_headers *headers,
	struct mcp_meta *ret, struct err *err);

/*
 * jsonrpc_write_err() with what the modern era adds: for ERR_UNSUPPORTED_VERSION data.supported and
 * data.requested. meta may be NULL.
 */
int mcp_write_err(struct buf *out, struct span raw_id, const struct err *err,
	const struct mcp_meta *meta, enum jsonrpc_executed executed);
/* The answer to a request that needs a capability (dotted path) the client has not declared:
 * -32021, requiredCapabilities. */
int mcp_write_missing_capability(struct buf *out, struct span raw_id, const char *capability);
/* The same for an extension, by its id. */
int mcp_write_missing_extension(struct buf *out, struct span raw_id, const char *extension);

/* Without spaces and tabs around it; an empty value keeps its place (p). */
struct span mcp_header_trim(struct span value);

/*
 * Header values (2026-07-28, "Value Encoding"): plain, or =?base64?…?= around the Base64 of UTF-8.
 * decode appends the text; optional white space around the value is dropped. -ERR_HEADER_MISMATCH
 * for bytes that a header may not carry or bad Base64, or the buffer's error. encode appends what
 * may be sent.
 */
int mcp_header_decode(struct span value, struct buf *out, struct err *err);
int mcp_header_encode(struct span text, struct buf *out);
/*
 * Does a Mcp-Param-… (or Mcp-Name) header say what the body says? value is the raw JSON value at
 * the annotated path. Strings are compared decoded, numbers by value, booleans by name; if the
 * value is absent or null, or an object or array (which validation refuses), the header is ignored.
 * header.p is NULL when absent. 0 or -ERR_HEADER_MISMATCH; name is the header's, for the message.
 */
int mcp_header_check(const char *name, struct span header, struct span value, struct err *err);
/* The header value for a JSON string, number or boolean, as mcp_header_encode. 0,
 * -ERR_INVALID_ARGUMENT, buffer's error. */
int mcp_header_write(struct span value, struct buf *out);
/*
 * What is wrong with the x-mcp-header annotations of a tool's input schema: a sentence, or NULL.
 * Over Streamable HTTP of 2026-07-28 clients refuse such a tool (server/tools, "x-mcp-header").
 */
const char *mcp_header_fault(struct span schema);

/*
 * Is a capability declared? path is dotted: "roots", "sampling.tools", "elicitation.url",
 * "resources.subscribe". An object counts, and true. "elicitation.form" is also given by an
 * elicitation without url, as before 2025-11-25. capabilities: the raw object of a client or of a
 * server.
 */
bool mcp_capable(struct span capabilities, const char *path);
/* The same, named for the commoner question. */
bool mcp_client_can(struct span capabilities, const char *path);
/*
 * What a server may make its lists depend on: clients with the same digest are of one kind. Both are
 * raw objects, as the client sent them.
 */
uint64_t mcp_client_digest(
	enum mcp_version version, struct span capabilities, struct span client_info);
/* capabilities.extensions has that id. */
bool mcp_has_extension(struct span capabilities, const char *id);
/* The capability that a request to a client needs: as the table, but "elicitation.url" or
 * "elicitation.form", "sampling.tools" by what params ask. "" if none. */
const char *mcp_request_need(enum mcp_method method, struct span params);

#endif
