#include "yaml_tree.h"
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

struct anchor {
	char *name;
	const struct yaml_node *node;
};

struct builder {
	yaml_parser_t parser;
	struct arena *arena;
	yaml_tree_error *on_error;
	void *arg;
	struct anchor anchors[YAML_TREE_MAX_ANCHORS];
	size_t anchor_count;
	uint32_t nodes;
	bool mistakes; /* told, and parsing went on */
};

__attribute__((format(printf, 4, 5))) static int tell(
	struct builder *b, uint32_t line, uint32_t column, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	b->mistakes = true;
	b->on_error(b->arg, line, column, text);
	return -ERR_PARSE;
}

static int tell_mark(struct builder *b, const yaml_mark_t *mark, const char *text)
{
	return tell(b, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1, "%s", text);
}

/* libyaml gives a bad byte's offset, not its line. */
static int tell_offset(struct builder *b, struct span text, size_t offset, const char *problem)
{
	uint32_t line = 1, column = 1;

	for (size_t i = 0; i < offset && i < text.len; i++) {
		column++;
		if (text.p[i] == '\n') {
			line++;
			column = 1;
		}
	}
	return tell(b, line, column, "%s", problem);
}

static int tell_parser(struct builder *b, struct span text)
{
	const yaml_parser_t *parser = &b->parser;
	const char *problem = parser->problem ? parser->problem : "unreadable";

	if (parser->error == YAML_MEMORY_ERROR)
		return -ERR_NO_MEMORY;
	if (parser->error == YAML_READER_ERROR)
		return tell_offset(b, text, parser->problem_offset, problem);
	if (parser->context)
		return tell(b, (uint32_t)parser->problem_mark.line + 1,
			(uint32_t)parser->problem_mark.column + 1,
			"%s (%s that begins at line %zu)", problem, parser->context,
			parser->context_mark.line + 1);
	return tell_mark(b, &parser->problem_mark, problem);
}

static int next_event(struct builder *b, struct span text, yaml_event_t *event)
{
	return yaml_parser_parse(&b->parser, event) ? 0 : tell_parser(b, text);
}

static int count_nodes(struct builder *b, const yaml_mark_t *mark, uint32_t more)
{
	b->nodes += more;
	if (b->nodes <= YAML_TREE_MAX_NODES)
		return 0;
	return tell(b, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1,
		"more than %u values, those behind aliases counted", YAML_TREE_MAX_NODES);
}

static struct yaml_node *new_node(struct builder *b, enum yaml_kind kind, const yaml_mark_t *mark)
{
	struct yaml_node *node = arena_alloc(b->arena, sizeof(*node));

	if (node) {
		node->kind = kind;
		node->line = (uint32_t)mark->line + 1;
		node->column = (uint32_t)mark->column + 1;
		node->weight = 1;
	}
	return node;
}

static int add_anchor(struct builder *b, const yaml_char_t *name, const struct yaml_node *node)
{
	struct span span = span_str((const char *)name);
	char *copy;

	if (!name)
		return 0;
	if (b->anchor_count == YAML_TREE_MAX_ANCHORS)
		return tell(
			b, node->line, node->column, "more than %u anchors", YAML_TREE_MAX_ANCHORS);
	copy = arena_strdup(b->arena, span);
	if (!copy)
		return -ERR_NO_MEMORY;
	b->anchors[b->anchor_count++] = (struct anchor){copy, node};
	return 0;
}

static int build_alias(struct builder *b, const yaml_event_t *event, const struct yaml_node **ret)
{
	const char *name = (const char *)event->data.alias.anchor;

	/* backwards: a later anchor of the same name hides the earlier one */
	for (size_t i = b->anchor_count; i-- > 0;)
		if (strcmp(b->anchors[i].name, name) == 0) {
			*ret = b->anchors[i].node;
			return count_nodes(b, &event->start_mark, (*ret)->weight);
		}
	return tell(b, (uint32_t)event->start_mark.line + 1, (uint32_t)event->start_mark.column + 1,
		"the alias *%.60s names no anchor that stands complete before it", name);
}

static int build_scalar(struct builder *b, const yaml_event_t *event, const struct yaml_node **ret)
{
	const char *value = (const char *)event->data.scalar.value;
	struct yaml_node *node = new_node(b, YAML_KIND_SCALAR, &event->start_mark);
	char *copy;

	if (memchr(value, 0, event->data.scalar.length))
		return tell_mark(b, &event->start_mark, "a zero byte in a string");
	copy = arena_strdup(b->arena, span_of(value, event->data.scalar.length));
	if (!node || !copy)
		return -ERR_NO_MEMORY;
	node->text = span_of(copy, event->data.scalar.length);
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	*ret = node;
	return add_anchor(b, event->data.scalar.anchor, node);
}

static int check_tag(struct builder *b, const yaml_mark_t *mark, const yaml_char_t *tag)
{
	if (!tag || strncmp((const char *)tag, "tag:yaml.org,2002:", 18) == 0)
		return 0;
	return tell(b, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1,
		"the tag %.60s is not known here", (const char *)tag);
}

static int build_node(struct builder *b, struct span text, const yaml_event_t *event, int depth,
	const struct yaml_node **ret);

static int build_next(struct builder *b, struct span text, int depth, yaml_event_type_t end,
	bool *ret_end, const struct yaml_node **ret)
{
	yaml_event_t event;
	int r = next_event(b, text, &event);

	if (r < 0)
		return r;
	*ret_end = event.type == end;
	if (!*ret_end)
		r = build_node(b, text, &event, depth, ret);
	yaml_event_delete(&event);
	return r;
}

static int append_item(struct builder *b, struct yaml_node *node, struct yaml_item **last,
	const struct yaml_node *key, const struct yaml_node *value)
{
	struct yaml_item *item = arena_alloc(b->arena, sizeof(*item));

	if (!item)
		return -ERR_NO_MEMORY;
	item->key = key;
	item->value = value;
	if (*last)
		(*last)->next = item;
	else
		node->items = item;
	*last = item;
	node->count++;
	node->weight += value->weight + (key ? 1 : 0);
	return 0;
}

static int build_list(struct builder *b, struct span text, const yaml_event_t *event, int depth,
	const struct yaml_node **ret)
{
	struct yaml_node *node = new_node(b, YAML_KIND_LIST, &event->start_mark);
	const struct yaml_node *value = NULL;
	struct yaml_item *last = NULL;
	bool end = false;
	int r = node ? check_tag(b, &event->start_mark, event->data.sequence_start.tag)
		     : -ERR_NO_MEMORY;

	while (r == 0) {
		r = build_next(b, text, depth + 1, YAML_SEQUENCE_END_EVENT, &end, &value);
		if (r < 0 || end)
			break;
		r = append_item(b, node, &last, NULL, value);
	}
	if (r < 0)
		return r;
	*ret = node;
	return add_anchor(b, event->data.sequence_start.anchor, node);
}

static int check_key(struct builder *b, const struct yaml_node *node, const struct yaml_node *key)
{
	if (key->kind != YAML_KIND_SCALAR)
		return tell(b, key->line, key->column, "a key must be a string, this is a %s",
			key->kind == YAML_KIND_LIST ? "list" : "map");
	if (node->count >= YAML_TREE_MAX_KEYS)
		return tell(b, key->line, key->column, "more than %u keys in one map",
			YAML_TREE_MAX_KEYS);
	for (const struct yaml_item *i = node->items; i; i = i->next)
		if (span_equal(i->key->text, key->text)) {
			tell(b, key->line, key->column,
				"the key \"%.60s\" stands here for the second time, "
				"first at line %u",
				key->text.p, i->key->line);
			break;
		}
	return 0;
}

static int build_map(struct builder *b, struct span text, const yaml_event_t *event, int depth,
	const struct yaml_node **ret)
{
	struct yaml_node *node = new_node(b, YAML_KIND_MAP, &event->start_mark);
	const struct yaml_node *key = NULL, *value = NULL;
	struct yaml_item *last = NULL;
	bool end = false;
	int r = node ? check_tag(b, &event->start_mark, event->data.mapping_start.tag)
		     : -ERR_NO_MEMORY;

	while (r == 0) {
		r = build_next(b, text, depth + 1, YAML_MAPPING_END_EVENT, &end, &key);
		if (r < 0 || end)
			break;
		r = check_key(b, node, key);
		if (r == 0)
			r = build_next(b, text, depth + 1, YAML_NO_EVENT, &end, &value);
		if (r == 0)
			r = append_item(b, node, &last, key, value);
	}
	if (r < 0)
		return r;
	*ret = node;
	return add_anchor(b, event->data.mapping_start.anchor, node);
}

static int build_node(struct builder *b, struct span text, const yaml_event_t *event, int depth,
	const struct yaml_node **ret)
{
	int r;

	if (depth > YAML_TREE_MAX_DEPTH)
		return tell(b, (uint32_t)event->start_mark.line + 1,
			(uint32_t)event->start_mark.column + 1, "nested deeper than %d levels",
			YAML_TREE_MAX_DEPTH);
	if (event->type == YAML_ALIAS_EVENT)
		return build_alias(b, event, ret);
	r = count_nodes(b, &event->start_mark, 1);
	if (r < 0)
		return r;
	switch ((int)event->type) {
	case YAML_SCALAR_EVENT:
		r = check_tag(b, &event->start_mark, event->data.scalar.tag);
		return r < 0 ? r : build_scalar(b, event, ret);
	case YAML_SEQUENCE_START_EVENT:
		return build_list(b, text, event, depth, ret);
	case YAML_MAPPING_START_EVENT:
		return build_map(b, text, event, depth, ret);
	default:
		return tell_mark(b, &event->start_mark, "a value was expected here");
	}
}

/* The events around the one document. */
static int build_stream(struct builder *b, struct span text, const struct yaml_node **ret_root)
{
	bool more = true;
	int documents = 0, r = 0;

	while (r == 0 && more) {
		yaml_event_t event;

		r = next_event(b, text, &event);
		if (r < 0)
			break;
		if (event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
			r = tell_mark(b, &event.start_mark, "a second document; only one is read");
		else if (event.type == YAML_STREAM_END_EVENT)
			more = false;
		else if (event.type != YAML_STREAM_START_EVENT &&
			 event.type != YAML_DOCUMENT_START_EVENT &&
			 event.type != YAML_DOCUMENT_END_EVENT)
			r = build_node(b, text, &event, 0, ret_root);
		yaml_event_delete(&event);
	}
	return r;
}

static int build_text(struct builder *b, struct span text, const struct yaml_node **ret_root)
{
	int r;

	if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
		text = span_of(text.p + 3, text.len - 3);
	if (!yaml_parser_initialize(&b->parser))
		return -ERR_NO_MEMORY;
	yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
		&b->parser, (const unsigned char *)(text.p ? text.p : ""), text.len);
	r = build_stream(b, text, ret_root);
	yaml_parser_delete(&b->parser);
	return r < 0 ? r : b->mistakes ? -ERR_PARSE : 0;
}

int yaml_tree_parse(struct span text, enum yaml_syntax syntax, struct arena *arena,
	yaml_tree_error *on_error, void *arg, const struct yaml_node **ret_root)
{
	struct builder b = {.arena = arena, .on_error = on_error, .arg = arg};
	const struct yaml_node *root = NULL;
	struct buf blanked;
	uint32_t line = 0;
	int r = 0;

	if (text.len > YAML_TREE_MAX_SIZE)
		return tell(&b, 0, 0, "larger than %u bytes", YAML_TREE_MAX_SIZE);
	buf_init(&blanked, YAML_TREE_MAX_SIZE + 1);
	if (syntax == YAML_SYNTAX_JSON) {
		r = yaml_tree_blank_json(text, &blanked, &line);
		if (r == -ERR_PARSE)
			tell(&b, line, 1, "the comment that begins on this line does not end");
		text = buf_span(&blanked);
	}
	if (r == 0)
		r = build_text(&b, text, &root);
	buf_free(&blanked);
	if (r == 0)
		*ret_root = root;
	return r;
}

const struct yaml_node *yaml_tree_get(const struct yaml_node *node, const char *key)
{
	if (!node || node->kind != YAML_KIND_MAP)
		return NULL;
	for (const struct yaml_item *i = node->items; i; i = i->next)
		if (span_is(i->key->text, key))
			return i->value;
	return NULL;
}

bool yaml_tree_is_null(const struct yaml_node *node)
{
	return node->kind == YAML_KIND_SCALAR && !node->quoted &&
	       (node->text.len == 0 || span_is(node->text, "~") || span_is(node->text, "null"));
}
