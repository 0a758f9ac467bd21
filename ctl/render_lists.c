/* What the registry and the session manager list. */
#include "render.h"
#include "err.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

int render_servers(const cJSON *reply, const struct style *style, struct buf *out)
{
	static const struct column columns[] = {{"SERVER", false, true}, {"STATE", false, false},
		{"TRANSPORT", false, false}, {"ISOLATION", false, false}, {"TOOLS", true, false},
		{"RESOURCES", true, false}, {"PROMPTS", true, false}, {"SINCE", true, false}};
	struct table *table = table_new(columns, sizeof(columns) / sizeof(*columns));
	const cJSON *row;
	int r;

	cJSON_ArrayForEach(row, member(reply, "servers"))
	{
		char since[16];

		render_age((unsigned long long)json_number(row, "since_ms"), since);
		table_cell(table, "%s", json_text(row, "name"));
		table_cell(table, "%s", json_text(row, "state"));
		table_cell(table, "%s", json_text(row, "transport"));
		table_cell(table, "%s", json_text(row, "isolation"));
		table_cell(table, "%.0f", json_number(row, "tools"));
		table_cell(table, "%.0f",
			json_number(row, "resources") + json_number(row, "templates"));
		table_cell(table, "%.0f", json_number(row, "prompts"));
		table_cell(table, "%s", since);
		if (*json_text(row, "error"))
			table_note(table, json_text(row, "error"));
	}
	r = table_write(table, style, out);
	table_free(table);
	return r;
}

static bool any_view(const cJSON *sessions)
{
	const cJSON *row;

	cJSON_ArrayForEach(row, sessions) if (*json_text(row, "view")) return true;
	return false;
}

/* The view stands first, where any session has one. */
int render_sessions(const cJSON *reply, const struct style *style, struct buf *out)
{
	static const struct column columns[] = {{"VIEW", false, false}, {"SESSION", false, false},
		{"CLIENT", false, true}, {"PRINCIPAL", false, false}, {"ERA", false, false},
		{"STATE", false, false}, {"VERSION", false, false}, {"AGE", true, false}};
	bool views = any_view(member(reply, "sessions"));
	struct table *table =
		table_new(columns + !views, sizeof(columns) / sizeof(*columns) - !views);
	const cJSON *row;
	int r;

	cJSON_ArrayForEach(row, member(reply, "sessions"))
	{
		char age[16];

		render_age((unsigned long long)json_number(row, "age_s") * 1000, age);
		if (views)
			table_cell(table, "%s", json_text(row, "view"));
		table_cell(table, "%s", json_text(row, "session"));
		table_cell(table, "%s", json_text(row, "client"));
		table_cell(table, "%s", json_text(row, "principal"));
		table_cell(table, "%s", json_text(row, "era"));
		table_cell(table, "%s", json_text(row, "state"));
		table_cell(table, "%s", json_text(row, "version"));
		table_cell(table, "%s", age);
	}
	r = table_write(table, style, out);
	table_free(table);
	return r;
}

/* --- tools, resources, prompts -------------------------------------------------------------- */

static const char *description_of(const cJSON *item)
{
	const cJSON *definition = member(item, "definition");
	const char *text = json_text(definition, "description");

	return *text ? text : json_text(definition, "title");
}

/* Items of one list: name, server, a third column (RO, BYTES or none), description. */
static int render_items(const cJSON *list, const char *title, const char *third,
	const struct style *style, struct buf *out)
{
	bool sizes = strcmp(third, "BYTES") == 0;
	const struct column columns[] = {{title, false, false}, {"SERVER", false, false},
		{third, true, false}, {"DESCRIPTION", false, true}};
	struct table *table = table_new(columns, sizeof(columns) / sizeof(*columns));
	const cJSON *item;
	double total = 0;
	int r, n = 0;

	cJSON_ArrayForEach(item, list)
	{
		table_cell(table, "%s", json_text(item, "name"));
		table_cell(table, "%s", json_text(item, "server"));
		if (sizes)
			table_cell(table, "%.0f", json_number(item, "bytes"));
		else
			table_cell(table, "%s", cJSON_IsTrue(member(item, "readOnly")) ? "ro" : "");
		table_cell(table, "%s", description_of(item));
		total += json_number(item, "bytes");
		n++;
	}
	r = table_write(table, style, out);
	if (r == 0 && sizes)
		r = buf_printf(out, "%d, %.0f bytes\n", n, total);
	table_free(table);
	return r;
}

int render_tools(const cJSON *reply, const struct style *style, struct buf *out)
{
	return render_items(member(reply, "tools"), "TOOL", "RO", style, out);
}

int render_tool_sizes(const cJSON *reply, const struct style *style, struct buf *out)
{
	return render_items(member(reply, "tools"), "TOOL", "BYTES", style, out);
}

int render_prompts(const cJSON *reply, const struct style *style, struct buf *out)
{
	return render_items(member(reply, "prompts"), "PROMPT", "", style, out);
}

/* URIs are long and matter most: they are what is cut last. */
static int render_uris(
	const cJSON *list, const char *title, const struct style *style, struct buf *out)
{
	const struct column columns[] = {
		{title, false, true}, {"SERVER", false, false}, {"TYPE", false, false}};
	struct table *table = table_new(columns, sizeof(columns) / sizeof(*columns));
	const cJSON *item;
	int r;

	cJSON_ArrayForEach(item, list)
	{
		table_cell(table, "%s", json_text(item, "name"));
		table_cell(table, "%s", json_text(item, "server"));
		table_cell(table, "%s", json_text(member(item, "definition"), "mimeType"));
		if (*description_of(item))
			table_note(table, description_of(item));
	}
	r = table_write(table, style, out);
	table_free(table);
	return r;
}

int render_resources(const cJSON *reply, const struct style *style, struct buf *out)
{
	const cJSON *templates = member(reply, "templates");
	int r = render_uris(member(reply, "resources"), "RESOURCE", style, out);

	if (r == 0 && cJSON_GetArraySize(templates) > 0) {
		buf_append_char(out, '\n');
		r = render_uris(templates, "TEMPLATE", style, out);
	}
	return r;
}

/* --- logs, sentences ------------------------------------------------------------------------ */

/* Columns of the longest server's name, 0 when the lines are of one. */
static unsigned server_width(const cJSON *lines)
{
	unsigned width = 0;
	const cJSON *line;

	cJSON_ArrayForEach(line, lines)
	{
		unsigned one = text_width(json_text(line, "server"));

		width = one > width ? one : width;
	}
	return width;
}

int render_logs(const cJSON *reply, const struct style *style, struct buf *out)
{
	unsigned width = server_width(member(reply, "lines"));
	const cJSON *line;

	(void)style;
	cJSON_ArrayForEach(line, member(reply, "lines"))
	{
		time_t when = (time_t)json_number(line, "ts");
		const char *session = json_text(line, "session");
		char clock[32] = "";
		struct tm tm;

		if (gmtime_r(&when, &tm))
			strftime(clock, sizeof(clock), "%Y-%m-%dT%H:%M:%SZ", &tm);
		if (width > 0)
			buf_printf(out, "%-*s ", (int)width, json_text(line, "server"));
		buf_printf(out, "%s %s%s", clock, session, *session ? " " : "");
		/* whole, but a server may not drive the terminal */
		text_cut(json_text(line, "text"), 0, out);
		buf_append_char(out, '\n');
	}
	return buf_append(out, "", 0);
}

int render_message(const cJSON *reply, const struct style *style, struct buf *out)
{
	const char *text = json_text(reply, "message");
	size_t len = strlen(text);

	(void)style;
	if (len == 0)
		return 0;
	buf_append_str(out, text);
	return text[len - 1] == '\n' ? 0 : buf_append_char(out, '\n');
}

/* --- the result of a tool ------------------------------------------------------------------- */

static void write_content(const cJSON *part, struct buf *out)
{
	const char *type = json_text(part, "type");
	const cJSON *resource = member(part, "resource");

	if (strcmp(type, "text") == 0)
		buf_append_str(out, json_text(part, "text"));
	else if (resource && member(resource, "text"))
		buf_append_str(out, json_text(resource, "text"));
	else if (resource)
		buf_printf(out, "[resource %s, %zu bytes of base64]", json_text(resource, "uri"),
			strlen(json_text(resource, "blob")));
	else if (strcmp(type, "resource_link") == 0)
		buf_printf(out, "[resource %s]", json_text(part, "uri"));
	else
		buf_printf(out, "[%s %s, %zu bytes of base64]", type, json_text(part, "mimeType"),
			strlen(json_text(part, "data")));
	if (out->len == 0 || out->data[out->len - 1] != '\n')
		buf_append_char(out, '\n');
}

int render_call(const cJSON *result, const struct style *style, struct buf *out)
{
	const cJSON *content = member(result, "content"), *part;
	const cJSON *structured = member(result, "structuredContent");
	char *text;

	(void)style;
	cJSON_ArrayForEach(part, content) write_content(part, out);
	if (cJSON_GetArraySize(content) == 0 && structured) {
		text = cJSON_Print(structured);
		buf_printf(out, "%s\n", text ? text : "");
		cJSON_free(text);
	}
	return buf_append(out, "", 0);
}
