/*
 * The description of the REST view (OpenAPI 3.1), from the catalogue: one path for each tool, with
 * the server's own schemas in it.
 */
#include "json.h"
#include "json_write.h"
#include "rest.h"

#include <ctype.h>

#define PROBLEM_ANSWER "\"default\":{\"$ref\":\"#/components/responses/Problem\"}"
#define JSON_ANSWER(text) \
	"\"200\":{\"description\":\"" text "\",\"content\":{\"application/json\":{\"schema\":"

/* --- names in addresses --------------------------------------------------------------------- */

static void write_segment(struct buf *out, struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~')
			buf_append_char(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

/* --- schemas -------------------------------------------------------------------------------- */

static bool mentions(struct span schema, const char *word)
{
	return memmem(schema.p, schema.len, word, strlen(word)) != NULL;
}

/*
 * As the server gave it. One that refers to parts of itself gets an identity, without which its
 * references would lead into this document ("$id", JSON Schema 2020-12, 8.2.1).
 */
static void write_schema(
	struct buf *out, struct span schema, struct span name, const char *which)
{
	struct span inside = json_trim(span_of(schema.p + 1, schema.len - 2));

	if (!mentions(schema, "\"$ref\"") || mentions(schema, "\"$id\"")) {
		buf_append_span(out, schema);
		return;
	}
	buf_append_str(out, "{\"$id\":\"urn:gatehouse:schema:");
	write_segment(out, name);
	buf_printf(out, ":%s\"%s", which, inside.len ? "," : "");
	buf_append_span(out, span_of(schema.p + 1, schema.len - 1));
}

static void write_text(struct buf *out, const char *member, struct span item, const char *key)
{
	struct span text = json_object_get(item, span_str(key));

	if (json_type(text) != JSON_STRING)
		return;
	buf_printf(out, ",\"%s\":", member);
	buf_append_span(out, text);
}

/* --- paths ---------------------------------------------------------------------------------- */

/* One path with the operation post, up to its request body. */
static void begin_post(
	struct buf *out, const struct catalogue_item *item, struct span id, struct span server)
{
	buf_printf(out, ",\"/%s/", item->kind == CATALOGUE_TOOL ? "tools" : "prompts");
	write_segment(out, item->name);
	buf_append_str(out, "\":{\"post\":{\"operationId\":");
	json_write_string(out, id);
	buf_append_str(out, ",\"tags\":[");
	json_write_string(out, server);
	buf_append_char(out, ']');
	write_text(out, "summary", item->json, "title");
	write_text(out, "description", item->json, "description");
	buf_append_str(out, ",\"requestBody\":{\"content\":{\"application/json\":{\"schema\":");
}

static void write_tool(struct buf *out, const struct catalogue_item *item, struct span server)
{
	begin_post(out, item, item->name, server);
	write_schema(out, item->schema, item->name, "input");
	buf_append_str(out, "}}},\"responses\":{" JSON_ANSWER("What the tool says")
			    "{\"type\":\"object\",\"required\":[\"content\"],\"properties\":{"
			    "\"content\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}");
	if (item->output_schema.len) {
		buf_append_str(out, ",\"structuredContent\":");
		write_schema(out, item->output_schema, item->name, "output");
	}
	buf_append_str(out, "}}}}},\"422\":{\"$ref\":\"#/components/responses/ToolError\"},"
			    PROBLEM_ANSWER "}}}");
}

static void write_arguments(struct buf *out, struct span prompt)
{
	struct json_iter iter = json_iter(json_object_get(prompt, SPAN_LIT("arguments")));
	struct span argument, name;
	bool first = true;

	buf_append_str(out, "{\"type\":\"object\",\"properties\":{");
	while (json_iter_element(&iter, &argument)) {
		name = json_object_get(argument, SPAN_LIT("name"));
		if (json_type(name) != JSON_STRING)
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		buf_append_span(out, name);
		buf_append_str(out, ":{\"type\":\"string\"");
		write_text(out, "description", argument, "description");
		buf_append_char(out, '}');
	}
	buf_append_str(out, "}}");
}

static void write_prompt(struct buf *out, const struct catalogue_item *item, struct span server)
{
	struct buf id;

	/* a tool may have the same name */
	buf_init(&id, item->name.len + 16);
	buf_printf(&id, "prompts.%.*s", SPAN_ARG(item->name));
	begin_post(out, item, buf_span(&id), server);
	buf_free(&id);
	write_arguments(out, item->json);
	buf_append_str(out, "}}},\"responses\":{" JSON_ANSWER("The prompt's messages")
			    "{\"type\":\"object\",\"required\":[\"messages\"],\"properties\":{"
			    "\"messages\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}}}}}},"
			    PROBLEM_ANSWER "}}}");
}

typedef void write_fn(struct buf *out, const struct catalogue_item *item, struct span server);

static void write_all(struct buf *out, const struct catalogue *catalogue,
	enum catalogue_kind kind, write_fn *write)
{
	struct catalogue_item item;
	struct catalogue_server server;

	for (uint32_t n = 0; catalogue_get(catalogue, kind, CATALOGUE_ALL_SERVERS, n, &item); n++) {
		catalogue_get_server(catalogue, item.server, &server);
		write(out, &item, server.name);
	}
}

/* --- what is always there ------------------------------------------------------------------- */

#define LIST(path, id, text, member) \
	"\"" path "\":{\"get\":{\"operationId\":\"" id "\",\"summary\":\"" text \
	"\",\"parameters\":[{\"$ref\":\"#/components/parameters/Cursor\"}],\"responses\":{" \
	JSON_ANSWER("One page") \
	"{\"type\":\"object\",\"required\":[\"" member "\"],\"properties\":{\"" member \
	"\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}," \
	"\"nextCursor\":{\"type\":\"string\"}}}}}}," PROBLEM_ANSWER "}}}"

static const char fixed_paths[] =
	LIST("/tools", "tools.list", "The tools", "tools") ","
	LIST("/resources", "resources.list", "The resources", "resources") ","
	LIST("/resources/templates", "resources.templates", "The resource templates",
		"resourceTemplates") ","
	LIST("/prompts", "prompts.list", "The prompts", "prompts") ","
	"\"/resources/read\":{\"get\":{\"operationId\":\"resources.read\",\"summary\":"
	"\"What a resource holds\",\"parameters\":[{\"name\":\"uri\",\"in\":\"query\","
	"\"required\":true,\"schema\":{\"type\":\"string\"}}],\"responses\":{"
	JSON_ANSWER("Its contents")
	"{\"type\":\"object\",\"required\":[\"contents\"],\"properties\":{\"contents\":{"
	"\"type\":\"array\",\"items\":{\"type\":\"object\"}}}}}}}," PROBLEM_ANSWER "}}},"
	"\"/tools/{name}\":{\"get\":{\"operationId\":\"tools.get\",\"summary\":"
	"\"The definition of a tool\",\"parameters\":[{\"name\":\"name\",\"in\":\"path\","
	"\"required\":true,\"schema\":{\"type\":\"string\"}}],\"responses\":{"
	JSON_ANSWER("As MCP has it") "{\"type\":\"object\"}}}}," PROBLEM_ANSWER "}}}";

static const char components[] =
	"\"components\":{\"parameters\":{\"Cursor\":{\"name\":\"cursor\",\"in\":\"query\","
	"\"description\":\"nextCursor of the page before\",\"schema\":{\"type\":\"string\"}}},"
	"\"responses\":{\"Problem\":{\"description\":\"What went wrong (RFC 9457)\",\"content\":{"
	"\"" REST_PROBLEM_TYPE "\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}},"
	"\"ToolError\":{\"description\":\"The tool ran and failed; result is what it said\","
	"\"content\":{\"" REST_PROBLEM_TYPE "\":{\"schema\":{\"$ref\":"
	"\"#/components/schemas/Problem\"}}}}},"
	"\"schemas\":{\"Problem\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\","
	"\"detail\"],\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
	"\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
	"\"code\":{\"type\":\"integer\"},\"retryable\":{\"type\":\"boolean\"},"
	"\"executed\":{\"type\":\"string\",\"enum\":[\"no\",\"yes\",\"unknown\"]},"
	"\"request\":{\"type\":\"string\"},\"result\":{\"type\":\"object\"},\"data\":{}}}}}";

int rest_write_openapi(const struct catalogue *catalogue, struct span view, struct buf *out)
{
	buf_append_str(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Gatehouse");
	buf_printf(out, "%s%.*s\",\"version\":\"" GATEHOUSE_VERSION "\"},\"servers\":[{\"url\":\"",
		view.len ? ": " : "", SPAN_ARG(view));
	buf_printf(out, "%s%.*s\"}],\"paths\":{%s", view.len ? REST_VIEWS : REST_PATH,
		SPAN_ARG(view), fixed_paths);
	write_all(out, catalogue, CATALOGUE_TOOL, write_tool);
	write_all(out, catalogue, CATALOGUE_PROMPT, write_prompt);
	buf_append_str(out, "},");
	buf_append_str(out, components);
	return buf_append_char(out, '}');
}
