/* What the files config_*.c share; nobody else includes it. */
#ifndef GATEHOUSE_CONFIG_INTERNAL_H
#define GATEHOUSE_CONFIG_INTERNAL_H

#include "config.h"
#include "arena.h"
#include "yaml_tree.h"

/* bytes; what a configuration and the files it names may take in memory */
#define CONFIG_MAX_MEMORY (32u * 1024u * 1024u)
#define CONFIG_MAX_STRING \
	(128u * 1024u) /* one string after substitution: what exec takes (MAX_ARG_STRLEN) */
#define CONFIG_MAX_SECRET_FILE (64u * 1024u)
#define CONFIG_MAX_ENV_FILE (256u * 1024u)
#define CONFIG_MAX_MESSAGE 1024u /* one mistake or notice; a longer one is cut */
#define CONFIG_MAX_SERVERS 1000u
#define CONFIG_MAX_VIEWS 100u
#define CONFIG_MAX_LISTEN 64u

/* ---- rows (config_rows.c) ---- */

enum config_row_type {
	CONFIG_ROW_BOOL,
	CONFIG_ROW_INT,
	CONFIG_ROW_COUNT,
	CONFIG_ROW_DURATION,
	CONFIG_ROW_SIZE,
	CONFIG_ROW_WORD,
	CONFIG_ROW_ACCESS,
	CONFIG_ROW_TEXT,
	CONFIG_ROW_PATH,
	CONFIG_ROW_LIST,
	CONFIG_ROW_MAP,
};

struct config_row {
	const char *path;
	enum config_row_type type;
	const char *def;
	int64_t min, max;
	const char *const *words; /* NULL-terminated */
	unsigned flags;
	size_t offset; /* of the value in its struct */
	const char *about;
};

/* A struct made of rows. */
struct config_section {
	const struct config_row *rows;
	size_t count;
	size_t origin; /* offset of the array of line numbers */
};

extern const struct config_section config_settings, config_server_section, config_listen_section,
	config_view_section;
/* Row of a whole path; NULL if there is none. */
const struct config_row *config_row_find(const struct config_section *section, const char *path);
/* Is path the beginning of a row's path, up to a dot? */
bool config_row_is_group(const struct config_section *section, const char *path);
/* The known path nearest to what somebody wrote, NULL if none is near. */
const char *config_row_nearest(const struct config_section *section, const char *path);
/* The same among the groups ("http", "supervisor.root"); false if none is near. */
bool config_row_nearest_group(
	const struct config_section *section, const char *path, char *ret, size_t size);
/* Is there a typing mistake or so between a and b? */
bool config_near(const char *a, const char *b);
uint32_t *config_row_origin(
	const struct config_section *section, const struct config_row *row, void *base);
uint32_t config_row_line(
	const struct config_section *section, const struct config_row *row, const void *base);
/* Is the value the default? For rows that config_value_parse reads. */
bool config_row_is_default(const struct config_row *row, const void *value);
/* Fill in the defaults. 0 or -ERR_NO_MEMORY. */
int config_row_defaults(
	const struct config_section *section, void *base, const char *dir, struct arena *arena);

/* ---- values (config_value.c) ---- */

/* Reads text as the row's type (not LIST, MAP, TEXT, PATH) into value; false if it is none or out
 * of bounds. */
bool config_value_parse(const struct config_row *row, const char *text, void *value);
/* "a whole number from 1 to 100", for "expected …". Returns out. */
const char *config_value_expected(const struct config_row *row, char *out, size_t size);
/* As JSON. show_secrets: FULL view, where secret strings are objects {"secret": "…"}. */
int config_value_write(
	const struct config_row *row, const void *value, bool show_secrets, struct buf *out);
bool config_value_equal(const struct config_row *row, const void *a, const void *b);
/* "4MiB" */
void config_size_format(int64_t bytes, char *out, size_t size);
/* A digit string that stands for a duration but has no unit. */
bool config_is_bare_number(const char *text);

/* ---- report (config_report.c) ---- */

void config_report_add(struct config_report *report, enum config_severity severity, uint32_t line,
	uint32_t column, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* As yaml_tree_error; arg is the report. */
void config_report_tree_error(void *arg, uint32_t line, uint32_t column, const char *text);
void config_report_sort(struct config_report *report);
int config_report_set_file(struct config_report *report, const char *file);

/* ---- loading ---- */

struct config_loader {
	struct config *config;
	struct arena *arena; /* the config's */
	struct config_report *report;
	const struct yaml_node *inputs; /* VS Code's list, or NULL */
	const char *workspace;
	const char *home;
	bool json; /* a JSON file: other programs' keys may stand in it */
	bool verbatim; /* nothing is substituted: to be written down again */
	bool raw;  /* reading back what config_write_json wrote: nothing is substituted or resolved
		    */
	bool lenient; /* in a disabled server: what is not set is empty */
	bool no_memory;
};

#define loader_error(l, node, ...) \
	config_report_add((l)->report, CONFIG_ERROR, (node)->line, (node)->column, __VA_ARGS__)
#define loader_notice(l, node, ...) \
	config_report_add((l)->report, CONFIG_NOTICE, (node)->line, (node)->column, __VA_ARGS__)

void *loader_alloc(struct config_loader *l, size_t size);
/* Never NULL: "" when out of memory, which l->no_memory remembers. */
const char *loader_strdup(struct config_loader *l, struct span text);
/* path made absolute at the configuration's folder; "" stays. */
const char *loader_path(struct config_loader *l, const char *path);
/* "nothing", "a list", "\"lots\"": what stands in the file. Returns out. */
const char *loader_found(const struct yaml_node *node, char *out, size_t size);

/* The string at a scalar node, substituted. false: a mistake, reported. (config_subst.c) */
bool config_substitute(
	struct config_loader *l, const struct yaml_node *node, struct config_text *ret);
/* Regular file at path into an arena string, without its last newline. 0, or -ERR_… with err. */
int config_read_small_file(
	struct config_loader *l, const char *path, size_t max, struct span *ret, struct err *err);

/* Would people expect this name's value to be secret? Does the value itself show it (a password in
 * a URL)? */
bool config_name_secret(struct span name);
bool config_value_secret(const char *value);

/*
 * Read a map's keys into base by the section's rows. label begins messages ("mcpServers.files" or
 * ""). other takes keys no row knows (its prefix "" or "tools."), false if it does not know them
 * either; NULL: nobody does. (config_read.c)
 */
typedef bool config_other_key(struct config_loader *l, void *base, const struct yaml_node *key,
	const struct yaml_node *value, const char *path);
void config_read_map(struct config_loader *l, const struct config_section *section, void *base,
	const char *label, const struct yaml_node *map, config_other_key *other);
/* One value; reports what is wrong with it. label as above. */
void config_read_value(struct config_loader *l, const struct config_section *section,
	const struct config_row *row, void *base, const char *label, const struct yaml_node *node);

/* The whole tree, into l->config. (config_root.c) */
void config_read_root(struct config_loader *l, const struct yaml_node *root);
/* A map of servers under its root key. (config_servers.c) */
void config_read_servers(struct config_loader *l, const struct yaml_node *map);
void config_read_env_file(struct config_loader *l, struct config_server *server);
/* The root key views. (config_views.c) */
void config_read_views(struct config_loader *l, const struct yaml_node *map);
/* The name a rename gives: NULL if it is one that clients take, else what is wrong with it. */
const char *config_rename_wrong(const struct config_map *rename, size_t i);
/* The root key listen. (config_listen.c) */
void config_read_listen(struct config_loader *l, const struct yaml_node *node);
/* Fill in kind, host, port, path from url; false if it is none, *ret_why then saying why. */
bool config_listen_resolve(
	struct config_loader *l, struct config_listen *listen, const char **ret_why);
bool config_host_port(
	struct config_loader *l, const char *text, const char **ret_host, uint16_t *ret_port);
/* Views, when all servers are known: what they name and is not there. (config_views.c) */
void config_check_views(struct config_loader *l);
/* What rows alone cannot check. (config_check.c) */
void config_check(struct config_loader *l);
/* One server, after its rows were read; clean: without a mistake. */
void config_check_server(struct config_loader *l, struct config_server *server, bool clean);

/* ---- walking rows as a tree (config_rows.c) ---- */

struct config_walk {
	int (*open)(void *arg, const char *name);
	int (*close)(void *arg);
	int (*leaf)(void *arg, const struct config_row *row, const char *name);
};
/* Calls open for each group of dotted paths, leaf for each row, close; rows of a group stand
 * together. */
int config_row_walk(
	const struct config_section *section, const struct config_walk *walk, void *arg);

#endif
