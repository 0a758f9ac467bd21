/*
 * The configuration: read from a file, checked as a whole, normalised, written for the node's
 * processes and for people. The settings themselves are rows of config.def.
 *
 * The root (or the gatehouse command) reads the file with config_load and hands each child a view
 * of it as JSON, which the child reads with config_read_json. A struct config never changes after
 * it was made, except by config_add_listen.
 */
#ifndef GATEHOUSE_CONFIG_H
#define GATEHOUSE_CONFIG_H

#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* milliseconds */
#define CONFIG_HOUR (INT64_C(3600) * 1000)

/* The words of WORD settings, in the order of their enum. A new word is a row. */
#define CONFIG_NAMING(X) X(CONFIG_NAMING_PREFIX, "prefix") X(CONFIG_NAMING_NONE, "none")
#define CONFIG_SANDBOX(X) \
	X(CONFIG_SANDBOX_REQUIRE, "require") X(CONFIG_SANDBOX_BEST_EFFORT, "best-effort")
#define CONFIG_SYNC(X) X(CONFIG_SYNC_INTERVAL, "interval") X(CONFIG_SYNC_ALWAYS, "always")
/* in the order of enum log_format and enum log_level (log.h) */
#define CONFIG_LOG_FORMAT(X) \
	X(CONFIG_LOG_AUTO, "auto") X(CONFIG_LOG_JSON, "json") X(CONFIG_LOG_TEXT, "text")
#define CONFIG_LOG_LEVEL(X) \
	X(CONFIG_LOG_DEBUG, "debug") \
	X(CONFIG_LOG_INFO, "info") X(CONFIG_LOG_WARN, "warn") X(CONFIG_LOG_ERROR, "error")
#define CONFIG_TYPE(X) \
	X(CONFIG_TYPE_AUTO, "auto") /* after loading: a url still to be probed, HTTP then SSE */ \
	X(CONFIG_TYPE_STDIO, "stdio") \
	X(CONFIG_TYPE_HTTP, "http") X(CONFIG_TYPE_SSE, "sse") X(CONFIG_TYPE_WS, "ws")
#define CONFIG_ISOLATION(X) \
	X(CONFIG_ISOLATION_AUTO, "auto") /* never after loading */ \
	X(CONFIG_ISOLATION_SESSION, "session") X(CONFIG_ISOLATION_SHARED, "shared")
#define CONFIG_STDERR(X) X(CONFIG_STDERR_LOG, "log") X(CONFIG_STDERR_DISCARD, "discard")

#define CONFIG_WORD_ENUM(constant, word) constant,
enum config_naming { CONFIG_NAMING(CONFIG_WORD_ENUM) };
enum config_sandbox { CONFIG_SANDBOX(CONFIG_WORD_ENUM) };
enum config_sync { CONFIG_SYNC(CONFIG_WORD_ENUM) };
enum config_log_format { CONFIG_LOG_FORMAT(CONFIG_WORD_ENUM) };
enum config_log_level { CONFIG_LOG_LEVEL(CONFIG_WORD_ENUM) };
enum config_type { CONFIG_TYPE(CONFIG_WORD_ENUM) };
enum config_isolation { CONFIG_ISOLATION(CONFIG_WORD_ENUM) };
enum config_stderr { CONFIG_STDERR(CONFIG_WORD_ENUM) };

/* A string of the configuration; p is never NULL, "" when unset, zero-terminated. */
struct config_text {
	const char *p;
	bool secret; /* came from a ${file:…}, or looks like a password: people see *** */
};

struct config_list {
	const struct config_text *items;
	size_t count;
};

struct config_pair {
	const char *name;
	struct config_text value;
};

/* In the order of the file, names unique. */
struct config_map {
	const struct config_pair *items;
	size_t count;
};

enum config_access_mode {
	CONFIG_ACCESS_ALL,
	CONFIG_ACCESS_ERRORS,
	CONFIG_ACCESS_SLOW,
	CONFIG_ACCESS_OFF
};

struct config_access {
	enum config_access_mode mode;
	int64_t slow_ms; /* mode SLOW: requests that take longer, and errors */
};

/* C types of the rows of config.def. */
#define CONFIG_C_BOOL bool
#define CONFIG_C_INT int64_t
#define CONFIG_C_COUNT int64_t
#define CONFIG_C_DURATION int64_t
#define CONFIG_C_SIZE int64_t
#define CONFIG_C_WORD int
#define CONFIG_C_ACCESS struct config_access
#define CONFIG_C_TEXT struct config_text
#define CONFIG_C_PATH struct config_text
#define CONFIG_C_LIST struct config_list
#define CONFIG_C_MAP struct config_map
#define CONFIG_MEMBER(member, path, type, ...) CONFIG_C_##type member;

#define CONFIG_PRIVATE 1u /* not in the PUBLIC view */
#define CONFIG_RESTART 2u /* a change takes effect when the node starts anew */
#define CONFIG_UNUSED 4u  /* has no effect so far */
#define CONFIG_PLAIN 8u   /* never a secret */

#define CONFIG_COUNT_ONE(member, ...) +1
enum {
#define SETTING CONFIG_COUNT_ONE
	CONFIG_SETTING_COUNT = 0
#include "config.def"
	,
#define SERVER CONFIG_COUNT_ONE
	CONFIG_SERVER_ROWS = 0
#include "config.def"
	,
#define LISTEN CONFIG_COUNT_ONE
	CONFIG_LISTEN_ROWS = 0
#include "config.def"
	,
#define VIEW CONFIG_COUNT_ONE
	CONFIG_VIEW_ROWS = 0
#include "config.def"
};

/* One MCP server: the SERVER rows of config.def (type, command, args, env, url, timeout, …). */
struct config_server {
	const char *name;  /* slug: letters, digits, '-', single '_'; at most LIMIT_SERVER_NAME */
	const char *title; /* as the file has it */
	uint32_t line;
#define SERVER CONFIG_MEMBER
#include "config.def"
	uint32_t origin[CONFIG_SERVER_ROWS]; /* line each value comes from, 0: default */
};

enum config_listen_kind { CONFIG_LISTEN_TCP, CONFIG_LISTEN_UNIX };

/* One listener: the LISTEN rows, its limits filled in from http.* where it has none of its own. */
struct config_listen {
	enum config_listen_kind kind;
	const char *host; /* TCP: an address without brackets, or localhost */
	uint16_t port;    /* TCP: 0 takes any free one */
	const char *path; /* UNIX: absolute, fits sun_path */
	uint32_t line;
#define LISTEN CONFIG_MEMBER
#include "config.def"
	uint32_t origin[CONFIG_LISTEN_ROWS];
};

/*
 * One virtual server: the VIEW rows of config.def. What clients see at /mcp/NAME instead of all
 * that is at /mcp.
 */
struct config_virtual {
	const char *name; /* letters, digits, '-', '_'; at most LIMIT_VIEW_NAME */
	uint32_t line;
#define VIEW CONFIG_MEMBER
#include "config.def"
	uint32_t origin[CONFIG_VIEW_ROWS];
};

struct arena;

/* The whole: the SETTING rows of config.def (worker_max for "worker.max", …),
 * listeners, servers. */
struct config {
	const char *file; /* as given to config_load; "" without one */
	const char *dir;  /* absolute folder relative paths start at */
	struct config_listen *listen;
	size_t listen_count;
	struct config_server *servers; /* in the order of the file, disabled ones too */
	size_t server_count;
	struct config_virtual *views; /* in the order of the file */
	size_t view_count;
	const char *inputs; /* of config_load_verbatim: VS Code's list as JSON; else NULL */
#define SETTING CONFIG_MEMBER
#include "config.def"
	uint32_t origin[CONFIG_SETTING_COUNT];
	struct arena *arena; /* owns all of the above */
};

/* ---- what is told to the person ---- */

#define CONFIG_REPORT_MAX 100

enum config_severity { CONFIG_ERROR, CONFIG_NOTICE };

struct config_problem {
	enum config_severity severity;
	uint32_t line, column; /* from 1; 0: about no particular line */
	char *text;            /* owned; names the setting, what stands there, what was expected */
};

/* All mistakes and notices of one file, sorted by line; those beyond CONFIG_REPORT_MAX are counted
 * only. */
struct config_report {
	char *file; /* owned */
	struct config_problem *items;
	size_t count;
	size_t dropped;
	size_t errors; /* among all, dropped ones included */
};

void config_report_init(struct config_report *report);
void config_report_free(struct config_report *report);
/* "file:line:column: error: text" lines, and how many were left out. Returns 0 or the buffer's
 * error. */
int config_report_write(const struct config_report *report, struct buf *out);

/* ---- reading ---- */

enum config_syntax { CONFIG_SYNTAX_YAML, CONFIG_SYNTAX_JSON };

/*
 * Read, substitute, check and normalise the file at path: JSON with comments when its name ends in
 * .json or .jsonc, or when it begins with '{' and is not called .yaml or .yml; else YAML. Also
 * reads what it names: ${file:…} and envFile, as text in UTF-8. report must be empty. Returns 0
 * with *ret_config (config_free), report then holding notices only; -ERR_CONFIG when there are
 * mistakes (all in report; after one of YAML syntax, nothing else can be said); -ERR_NO_MEMORY.
 */
int config_load(const char *path, struct config **ret_config, struct config_report *report);
/*
 * The same with every ${…} left as it stands, for writing the configuration down again: nothing
 * needs to be set, and envFile is not read. Paths that begin with ${…} stay relative to nothing.
 */
int config_load_verbatim(
	const char *path, struct config **ret_config, struct config_report *report);
/* The same for text in memory. file names it in messages;
 * relative paths start at dir (absolute). */
int config_load_text(struct span text, enum config_syntax syntax, const char *file, const char *dir,
	struct config **ret_config, struct config_report *report);
/* Defaults only, no server and no listener; relative paths start at dir.
 * NULL when out of memory. */
struct config *config_new_default(const char *dir);
void config_free(struct config *config);

/*
 * Add a listener, as `serve --listen URL` does; replace drops those of the file first. -ERR_CONFIG
 * with err when url is none.
 */
int config_add_listen(struct config *config, const char *url, bool replace, struct err *err);
/* Can it only be reached from this machine? */
bool config_listen_is_local(const struct config_listen *listen);
/* The same of "HOST:PORT", as admin.http is written. */
bool config_host_is_local(const char *host_port);
/* "90s", "10m", "1h30m" as milliseconds; false if it is no duration. And the other way round. */
bool config_duration_parse(const char *text, int64_t *ret_ms);
void config_duration_format(int64_t ms, char *out, size_t size);
/* By slug; NULL if there is none. */
const struct config_server *config_find_server(const struct config *config, const char *name);

/* Names of enum values, as the file writes them. */
const char *config_type_name(int type);
const char *config_isolation_name(int isolation);

/* Is the tool offered, by tools.include and tools.exclude? name without the server's prefix. */
bool config_offers_tool(const struct config_server *server, struct span name);
/* What tools.rename calls the tool; name itself, where it says nothing. */
struct span config_tool_name(const struct config_server *server, struct span name);
/* NULL if there is none. */
const struct config_virtual *config_find_view(const struct config *config, struct span name);
bool config_view_has_server(const struct config_virtual *view, struct span server);
/* The parts of a view that have patterns of their own. */
enum config_part { CONFIG_TOOLS, CONFIG_PROMPTS, CONFIG_RESOURCES };
/* Is it in the view? name: as at /mcp; of a resource its URI, of a template the text of it. */
bool config_view_offers(
	const struct config_virtual *view, enum config_part part, struct span name);
/* Is it left out by name? */
bool config_view_excludes(
	const struct config_virtual *view, enum config_part part, struct span name);
/* Does it show all that its servers have? */
bool config_view_is_open(const struct config_virtual *view, enum config_part part);
/* Does the view leave all of it out, whatever there is? */
bool config_view_hides(const struct config_virtual *view, enum config_part part);
/* What the view calls a tool or prompt; name itself, where it says nothing. */
struct span config_view_name(
	const struct config_virtual *view, enum config_part part, struct span name);
/* In text, which is zero-terminated and gets no longer: each secret string of this server becomes
 * ***, also one that is cut at the end. server may be NULL. */
void config_hide_secrets(const struct config_server *server, char *text);
/* Is the tool declared idempotent? */
bool config_tool_idempotent(const struct config_server *server, struct span name);

/* ---- writing ---- */

enum config_view {
	CONFIG_VIEW_FULL, /* secrets too: launcher and upstream workers, in a sealed memory file */
	CONFIG_VIEW_PUBLIC,  /* without how servers are reached (CONFIG_PRIVATE rows): every other
				process */
	CONFIG_VIEW_DISPLAY, /* for people: secrets as *** */
	CONFIG_VIEW_ORIGIN,  /* as DISPLAY, each value as {"value": …, "origin": "file:line" or
				"default"} */
};

/*
 * Append the effective configuration as normalised JSON. server: only this one among the servers;
 * NULL: all. Returns 0, -ERR_NOT_FOUND for an unknown server, or the buffer's error (8 MiB suffice
 * for any configuration).
 */
int config_write_json(
	const struct config *config, enum config_view view, const char *server, struct buf *out);
/*
 * Read back what config_write_json wrote in view FULL or PUBLIC. From PUBLIC, the private rows have
 * their defaults. -ERR_CONFIG with err when it is none.
 */
int config_read_json(struct span json, struct config **ret_config, struct err *err);

/* The reference page (Markdown) and the JSON schema (2020-12), both from config.def. 0 or the
 * buffer's error. */
int config_write_reference(struct buf *out);
int config_write_schema(struct buf *out);

/* ---- comparing, for reload ---- */

enum config_change_kind {
	CONFIG_CHANGE_SETTING, /* name: the path of a global setting */
	CONFIG_CHANGE_ADDED,   /* name: a server, as for the next two */
	CONFIG_CHANGE_CHANGED,
	CONFIG_CHANGE_REMOVED,
	CONFIG_CHANGE_VIEW_ADDED, /* name: a virtual server, as for the next two */
	CONFIG_CHANGE_VIEW_CHANGED,
	CONFIG_CHANGE_VIEW_REMOVED,
};

struct config_change {
	enum config_change_kind kind;
	const char *name; /* lives as long as both configurations */
	char *keys;       /* CHANGED, VIEW_CHANGED: "env, timeout"; owned; else NULL */
	bool restart;     /* SETTING: takes effect only when the node starts anew */
};

struct config_diff {
	struct config_change
		*items; /* settings, then servers in the order of the new file, then removed ones; then
			   views likewise */
	size_t count;
};

/*
 * What a reload from before to after changes. A server that is disabled counts as absent. 0 with
 * *ret_diff (config_diff_free), or -ERR_NO_MEMORY.
 */
int config_diff(
	const struct config *before, const struct config *after, struct config_diff *ret_diff);
void config_diff_free(struct config_diff *diff);
/* The same text as the name of a changed setting, for as long as the program runs; NULL: no setting is called so. */
const char *config_setting_name(struct span text);
/* One line: "log.level  + wiki  ~ files (env)  - old", or "no changes". */
int config_diff_write(const struct config_diff *diff, struct buf *out);
/*
 * For a node that runs and read fresh: what takes effect only at a start stays as it runs, that is
 * the settings marked so (CONFIG_RESTART; texts, paths and numbers) and the listen addresses with
 * their order. An address that stands in both gets the limits of fresh, one that fresh lacks keeps
 * its own. -ERR_NO_MEMORY: fresh is to be freed.
 */
int config_keep_running(struct config *fresh, const struct config *running);

/* ---- checking against this machine ---- */

/* Worst case of this configuration, and what the machine allows (-1: no limit). */
struct config_budget {
	int64_t processes, descriptors, memory; /* memory in bytes */
	int64_t max_processes, max_descriptors, max_memory;
	const char
		*processes_limit; /* which limit max_processes is: "RLIMIT_NPROC", "pids.max", … */
	int64_t connections;     /* http.max_connections, the case in which descriptors are needed */
	int64_t connections_fit; /* how many of them max_descriptors suffices for */
	uint32_t commands, missing; /* stdio servers, and those whose command is not there */
};

/*
 * Resolve each command on the PATH its child will have, see whether there is a listener and whether
 * this user can make the admin socket, and compare the worst case with the limits; what is missing
 * or too little becomes a notice in report. Never fails.
 */
void config_check_environment(const struct config *config, struct config_report *report,
	struct config_budget *ret_budget);
/* The budget as lines for `gatehouse check`. 0 or the buffer's error. */
int config_budget_write(const struct config_budget *budget, struct buf *out);
/*
 * Where a stdio server's command is, on the PATH of its env, else of this process, else the
 * system's default. Returns 0 with an absolute path (free), or -ERR_NOT_FOUND.
 */
int config_resolve_command(const struct config_server *server, char **ret_path);
/* Where a node of this configuration makes the socket of the command: admin.socket, else the
 * standard place. */
void config_socket_path(const struct config *config, char *out, size_t size);

#endif
