/*
 * A YAML or JSON document as a tree of nodes that know where they stand. Parsed by libyaml; bounded
 * in size, depth and number of nodes; mistakes are told to a callback with their place.
 *
 * JSON goes the same way: comments and tabs are blanked out first, so that each character keeps its
 * line and column, and what libyaml knows of flow style does the rest (a trailing comma is
 * allowed).
 */
#ifndef GATEHOUSE_YAML_TREE_H
#define GATEHOUSE_YAML_TREE_H

#include "arena.h"
#include "buf.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

#define YAML_TREE_MAX_SIZE (1024u * 1024u) /* bytes of the document */
#define YAML_TREE_MAX_DEPTH 32             /* nesting of lists and maps */
#define YAML_TREE_MAX_NODES 100000u        /* nodes, those behind an alias counted each time */
#define YAML_TREE_MAX_KEYS 4096u           /* keys of one map */
#define YAML_TREE_MAX_ANCHORS 256u

enum yaml_kind { YAML_KIND_SCALAR, YAML_KIND_LIST, YAML_KIND_MAP };

struct yaml_node;

/* A list's element (key NULL) or a map's pair (key a scalar), in the order of the document. */
struct yaml_item {
	const struct yaml_node *key;
	const struct yaml_node *value;
	struct yaml_item *next;
};

struct yaml_node {
	enum yaml_kind kind;
	bool quoted; /* scalar written in quotes or as a block: never null, never a number */
	uint32_t line, column;   /* from 1 */
	uint32_t weight;         /* nodes in this subtree, itself included */
	struct span text;        /* scalar; zero-terminated, without zero bytes inside */
	struct yaml_item *items; /* list, map */
	size_t count;
};

/* Told once per mistake. text is valid during the call. */
typedef void yaml_tree_error(void *arg, uint32_t line, uint32_t column, const char *text);

enum yaml_syntax { YAML_SYNTAX_YAML, YAML_SYNTAX_JSON };

/*
 * Parse one document. Nodes live in arena. An empty document gives *ret_root NULL. Aliases refer to
 * a node that is complete (so there are no cycles). Returns 0; -ERR_PARSE when there was a mistake
 * (on_error was called at least once; duplicate keys are all told); -ERR_NO_MEMORY.
 */
int yaml_tree_parse(struct span text, enum yaml_syntax syntax, struct arena *arena,
	yaml_tree_error *on_error, void *arg, const struct yaml_node **ret_root);

/* The value of a key in a map; NULL when it is not there, or node is no map, or NULL. */
const struct yaml_node *yaml_tree_get(const struct yaml_node *node, const char *key);
/* An empty value, ~ or null. */
bool yaml_tree_is_null(const struct yaml_node *node);

/*
 * Blank out the comments of a JSON text (// and slash-star) and the tabs between its tokens, and
 * join the surrogate pairs of its \u escapes, which libyaml refuses. Lines stay what they were.
 * Returns 0, -ERR_PARSE with *ret_line when a comment does not end, or out's error.
 */
int yaml_tree_blank_json(struct span text, struct buf *out, uint32_t *ret_line);

#endif
