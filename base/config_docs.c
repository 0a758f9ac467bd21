/* The reference page and the JSON schema, from the rows. */
#include "config_internal.h"
#include "json_write.h"

#include <inttypes.h>

/* ---- reference ---- */

static int write_row(struct buf *out, const struct config_row *row)
{
	char expected[256];
	int r = buf_printf(out, "| `%s` | %s | ", row->path,
		config_value_expected(row, expected, sizeof(expected)));

	if (r == 0)
		r = row->def[0] ? buf_printf(out, "`%s`", row->def) : 0;
	if (r == 0)
		r = buf_printf(out, " | %s", row->about);
	if (r == 0 && (row->flags & CONFIG_RESTART))
		r = buf_printf(out, "%sA change needs a restart", row->about[0] ? ". " : "");
	if (r == 0 && (row->flags & CONFIG_UNUSED))
		r = buf_append_str(out, ". **Has no effect so far**");
	return r < 0 ? r : buf_append_str(out, " |\n");
}

static int write_table(struct buf *out, const char *heading, const char *text,
	const struct config_section *section)
{
	int r = buf_printf(out,
		"\n## %s\n\n%s\n\n| setting | value | default | what it is |\n|---|---|---|---|\n",
		heading, text);

	for (size_t i = 0; r == 0 && i < section->count; i++)
		r = write_row(out, &section->rows[i]);
	return r;
}

static const char introduction[] =
	"# The configuration\n\n"
	"Written by `config_pages` from base/config.def. The file is YAML, or JSON "
	"with comments when its "
	"name ends in .json or .jsonc; the file of an MCP client (`mcpServers`, or `servers` and "
	"`inputs`) works as it "
	"is. Relative paths start at the file's folder.\n\n"
	"In every string: `${VAR}` and `${env:VAR}` an environment variable, `${VAR:-text}` with a "
	"default, "
	"`${file:PATH}` a file's content without its last line break, `${input:ID}` the variable "
	"`GATEHOUSE_INPUT_ID`, `${workspaceFolder}` the file's folder (the one above, when that is "
	".vscode, .cursor or .gemini), "
	"`${userHome}`, `$$` a dollar. What is not set is an error.\n\n"
	"A dot in a name stands for nesting: `worker.max` is `max` within `worker`, or that one "
	"key with its dot.\n";

int config_write_reference(struct buf *out)
{
	static const struct {
		const char *heading, *text;
		const struct config_section *section;
	} tables[] = {
		{"The node", "At the root of the file.", &config_settings},
		{"Listeners",
			"`listen` is a list of addresses, or of maps with these keys; an empty "
			"default is that of http.*. A reload takes up changed limits; other "
			"addresses take effect at the next start.",
			&config_listen_section},
		{"MCP servers",
			"Each under its name in `mcpServers`. A name of other characters than "
			"letters, digits, `-` and single `_` is turned into one of them.",
			&config_server_section},
		{"Virtual servers",
			"Each under its name (letters, digits, `-`, `_`) in `views`: what a client "
			"sees at `/mcp/NAME`. All of this takes effect at a reload.",
			&config_view_section},
	};
	int r = buf_append_str(out, introduction);

	for (size_t i = 0; r == 0 && i < sizeof(tables) / sizeof(tables[0]); i++)
		r = write_table(out, tables[i].heading, tables[i].text, tables[i].section);
	return r;
}

/* ---- schema ---- */

struct schema {
	struct buf *out;
	bool comma;
};

static int schema_key(struct schema *s, const char *name)
{
	int r = s->comma ? buf_append_char(s->out, ',') : 0;

	s->comma = true;
	if (r == 0)
		r = json_write_string(s->out, span_str(name));
	return r < 0 ? r : buf_append_char(s->out, ':');
}

static int schema_open(void *arg, const char *name)
{
	struct schema *s = arg;
	int r = schema_key(s, name);

	s->comma = false;
	return r < 0 ? r : buf_append_str(s->out, "{\"type\":\"object\",\"properties\":{");
}

static int schema_close(void *arg)
{
	struct schema *s = arg;

	s->comma = true;
	return buf_append_str(s->out, "},\"additionalProperties\":false}");
}

static int schema_words(struct buf *out, const struct config_row *row)
{
	int r = buf_append_str(out, "\"enum\":[");

	for (int i = 0; r == 0 && row->words[i]; i++)
		r = buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", row->words[i]);
	return r < 0 ? r : buf_append_char(out, ']');
}

#define SCHEMA_VARIABLE "{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"}"

/* Every simple value may also be a string with ${…} in it. */
static int schema_type(struct buf *out, const struct config_row *row)
{
	switch (row->type) {
	case CONFIG_ROW_BOOL:
		return buf_append_str(
			out, "\"anyOf\":[{\"type\":\"boolean\"}," SCHEMA_VARIABLE "]");
	case CONFIG_ROW_INT:
	case CONFIG_ROW_COUNT:
		return buf_printf(out,
			"\"anyOf\":[{\"type\":\"integer\",\"minimum\":%" PRId64
			",\"maximum\":%" PRId64 "},%s" SCHEMA_VARIABLE "]",
			row->min, row->max,
			row->type == CONFIG_ROW_COUNT ? "{\"const\":\"auto\"}," : "");
	case CONFIG_ROW_DURATION:
		return buf_append_str(out,
			"\"type\":\"string\",\"pattern\":\"^([0-9]+(ms|s|m|h|d))+$|\\\\$\\\\{\"");
	case CONFIG_ROW_SIZE:
		return buf_append_str(out,
			"\"type\":[\"string\",\"integer\"],"
			"\"pattern\":\"^[0-9]+([KMG]iB|[KMG]B|kB|B)?$|\\\\$\\\\{\"");
	case CONFIG_ROW_WORD:
		return schema_words(out, row);
	case CONFIG_ROW_ACCESS:
		return buf_append_str(out,
			"\"type\":\"string\",\"pattern\":"
			"\"^(all|errors|off|slow\\\\([0-9a-z]+\\\\))$|\\\\$\\\\{\"");
	case CONFIG_ROW_LIST:
		return buf_append_str(out, "\"type\":\"array\",\"items\":{\"type\":\"string\"}");
	case CONFIG_ROW_MAP:
		return buf_append_str(out,
			"\"type\":\"object\",\"additionalProperties\":"
			"{\"type\":[\"string\",\"number\",\"boolean\",\"null\"]}");
	default:
		return buf_append_str(out, "\"type\":\"string\"");
	}
}

static int schema_leaf(void *arg, const struct config_row *row, const char *name)
{
	struct schema *s = arg;
	int r = schema_key(s, name);

	if (r == 0)
		r = buf_append_str(s->out, "{\"description\":");
	if (r == 0)
		r = json_write_string(s->out, span_str(row->about));
	if (r == 0)
		r = buf_append_char(s->out, ',');
	if (r == 0)
		r = schema_type(s->out, row);
	if (r == 0 && row->def[0]) {
		r = buf_append_str(s->out, ",\"default\":");
		if (r == 0)
			r = row->type == CONFIG_ROW_BOOL || row->type == CONFIG_ROW_INT
				    ? buf_append_str(s->out, row->def)
				    : json_write_string(s->out, span_str(row->def));
	}
	return r < 0 ? r : buf_append_char(s->out, '}');
}

static int schema_rows(struct buf *out, const struct config_section *section)
{
	static const struct config_walk walk = {schema_open, schema_close, schema_leaf};
	struct schema s = {out, false};

	return config_row_walk(section, &walk, &s);
}

/* Other programs' keys stand in a server too, so a server is open to them; the loader tells which
 * it knows. */
int config_write_schema(struct buf *out)
{
	int r = buf_append_str(out,
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
		"\"title\":\"Gatehouse configuration\",\"type\":\"object\",\"properties\":{"
		"\"$schema\":{\"type\":\"string\"},\"listen\":{\"type\":\"array\",\"items\":{"
		"\"anyOf\":["
		"{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{");

	if (r == 0)
		r = schema_rows(out, &config_listen_section);
	if (r == 0)
		r = buf_append_str(
			out, "},\"required\":[\"url\"],\"additionalProperties\":false}]}},");
	if (r == 0)
		r = schema_rows(out, &config_settings);
	if (r == 0)
		r = buf_append_str(out,
			",\"views\":{\"type\":\"object\",\"additionalProperties\":"
			"{\"type\":\"object\",\"properties\":{");
	if (r == 0)
		r = schema_rows(out, &config_view_section);
	if (r == 0)
		r = buf_append_str(out,
			"},\"additionalProperties\":false}}"
			",\"mcpServers\":{\"$ref\":\"#/$defs/servers\"},"
			"\"servers\":{\"$ref\":\"#/$defs/"
			"servers\"},\"inputs\":{\"type\":\"array\"}},"
			"\"$defs\":{\"servers\":{\"type\":\"object\",\"additionalProperties\":"
			"{\"type\":\"object\",\"properties\":{");
	if (r == 0)
		r = schema_rows(out, &config_server_section);
	return r < 0 ? r : buf_append_str(out, "}}}}}");
}
