/*
 * What a tool's input schema says of headers.
 *
 * Source: 2026-07-28 server/tools, "x-mcp-header".
 */
#include "json.h"
#include "mcp.h"

#include <string.h>
#include <strings.h>

/* Annotations of one tool, and bytes of a name. */
#define ANNOTATIONS_MAX 64u
#define NAME_SIZE 128u
/* Schemas within schemas that are looked into. */
#define SCHEMAS_MAX 64u

struct scan {
	char names[ANNOTATIONS_MAX][NAME_SIZE];
	unsigned n;
	const char *fault; /* the first one */
};

/* RFC 9110 §5.6.2 */
static bool is_token(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return text.len > 0;
}

static bool is_plain(struct span type)
{
	return json_equal_string(type, SPAN_LIT("string")) ||
	       json_equal_string(type, SPAN_LIT("integer")) ||
	       json_equal_string(type, SPAN_LIT("boolean"));
}

static bool is_repeated(const struct scan *scan, const char *name)
{
	for (unsigned i = 0; i < scan->n; i++)
		if (strcasecmp(scan->names[i], name) == 0)
			return true;
	return false;
}

static const char *examine(struct scan *scan, struct span annotation, struct span schema, bool may)
{
	struct span name = SPAN_NONE;
	char *room;

	if (!may)
		return "x-mcp-header stands where no argument can be found by it";
	if (scan->n == ANNOTATIONS_MAX)
		return "it has too many x-mcp-header annotations";
	room = scan->names[scan->n];
	if (json_string_copy(annotation, room, NAME_SIZE - 1, &name) < 0 || !is_token(name))
		return "its x-mcp-header is no name of a header";
	room[name.len] = '\0';
	if (is_repeated(scan, room))
		return "two of its arguments have the same x-mcp-header";
	if (!is_plain(json_object_get(schema, SPAN_LIT("type"))))
		return "its x-mcp-header is not on a string, integer or boolean";
	scan->n++;
	return NULL;
}

/* Members whose values are no schemas, whatever they look like. */
static bool is_data(struct span key)
{
	return json_equal_string(key, SPAN_LIT("const")) ||
	       json_equal_string(key, SPAN_LIT("default")) ||
	       json_equal_string(key, SPAN_LIT("enum")) ||
	       json_equal_string(key, SPAN_LIT("examples"));
}

static void look_into(struct scan *scan, struct span schema, bool may, bool chain, unsigned depth);

/* Arguments, where chain: only properties lead from the top to here. */
static void look_into_properties(
	struct scan *scan, struct span properties, bool chain, unsigned depth)
{
	struct json_iter iter = json_iter(properties);
	struct span key, property;

	while (json_iter_member(&iter, &key, &property))
		look_into(scan, property, chain, chain, depth);
}

static void look_into_all(struct scan *scan, struct span array, unsigned depth)
{
	struct json_iter iter = json_iter(array);
	struct span each;

	while (json_iter_element(&iter, &each))
		look_into(scan, each, false, false, depth);
}

static void look_into(struct scan *scan, struct span schema, bool may, bool chain, unsigned depth)
{
	struct json_iter iter = json_iter(schema);
	struct span key, value;

	if (json_type(schema) != JSON_OBJECT || depth == 0)
		return;
	while (!scan->fault && json_iter_member(&iter, &key, &value)) {
		if (json_equal_string(key, SPAN_LIT("x-mcp-header")))
			scan->fault = examine(scan, value, schema, may);
		else if (json_equal_string(key, SPAN_LIT("properties")) &&
			 json_type(value) == JSON_OBJECT)
			look_into_properties(scan, value, chain, depth - 1);
		else if (json_type(value) == JSON_OBJECT && !is_data(key))
			look_into(scan, value, false, false, depth - 1);
		else if (json_type(value) == JSON_ARRAY && !is_data(key))
			look_into_all(scan, value, depth - 1);
	}
}

const char *mcp_header_fault(struct span schema)
{
	struct scan scan = {.n = 0};

	look_into(&scan, schema, false, true, SCHEMAS_MAX);
	return scan.fault;
}
