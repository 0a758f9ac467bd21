#include "render.h"
#include "err.h"

#include <stdio.h>
#include <string.h>

#define TREE_DEPTH_MAX 16
#define TREE_SIBLINGS_MAX 20

const char *json_text(const cJSON *object, const char *member)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, member);

	return cJSON_IsString(value) ? value->valuestring : "";
}

double json_number(const cJSON *object, const char *member)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, member);

	return cJSON_IsNumber(value) ? value->valuedouble : 0;
}

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

void render_age(unsigned long long ms, char text[16])
{
	unsigned long long s = ms / 1000;

	if (s < 120)
		snprintf(text, 16, "%llu s", s);
	else if (s < 120 * 60)
		snprintf(text, 16, "%llu min", s / 60);
	else if (s < 48 * 3600)
		snprintf(text, 16, "%llu h", s / 3600);
	else
		snprintf(text, 16, "%llu d", s / 86400 % 100000);
}

void render_bytes(double bytes, char text[16])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;

	while (bytes >= 1024 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 16, unit > 0 && bytes < 10 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static const char *color_of(const char *state)
{
	static const struct {
		const char *state, *color;
	} colors[] = {{"up", "\033[32m"}, {"ready", "\033[32m"}, {"down", "\033[31m"},
		{"failed", "\033[31m"}, {"starting", "\033[33m"}, {"stopping", "\033[33m"},
		{"restarting", "\033[33m"}};

	for (size_t i = 0; i < sizeof(colors) / sizeof(*colors); i++)
		if (strcmp(state, colors[i].state) == 0)
			return colors[i].color;
	return "";
}

static void write_state(const char *state, const struct style *style, struct buf *out)
{
	const char *color = style->color ? color_of(state) : "";

	buf_printf(out, "%s%s%s", color, state, *color ? "\033[0m" : "");
}

/* --- status --------------------------------------------------------------------------------- */

#define LABEL "%-11s "
#define LABEL_WIDTH 12u

static void write_fact(
	const char *label, const char *text, const struct style *style, struct buf *out)
{
	buf_printf(out, LABEL, label);
	text_wrap(text, LABEL_WIDTH, style->width, out);
	buf_append_char(out, '\n');
}

static void write_listeners(const cJSON *reply, const struct style *style, struct buf *out)
{
	const cJSON *row;

	cJSON_ArrayForEach(row, member(reply, "listen"))
	{
		bool mcp = strcmp(json_text(row, "kind"), "mcp") == 0;

		write_fact(
			mcp ? "listen" : json_text(row, "kind"), json_text(row, "url"), style, out);
	}
}

static void write_servers_down(const cJSON *servers, const struct style *style, struct buf *out)
{
	const cJSON *row;
	char text[TABLE_CELL_MAX];

	cJSON_ArrayForEach(row, member(servers, "down"))
	{
		const char *error = json_text(row, "error");

		snprintf(text, sizeof(text), "%s %s%s%s%s", json_text(row, "name"),
			json_text(row, "state"),
			cJSON_IsTrue(member(row, "required")) ? " (required)" : "",
			*error ? ": " : "", error);
		write_fact("", text, style, out);
	}
}

static void write_sandbox(const cJSON *sandbox, const struct style *style, struct buf *out)
{
	double lacking = json_number(sandbox, "lacking");
	char text[TABLE_CELL_MAX];

	if (lacking > 0)
		snprintf(text, sizeof(text), "%s: %.0f of %.0f processes lack their system call filter",
			json_text(sandbox, "mode"), lacking,
			lacking + json_number(sandbox, "filtered"));
	else
		snprintf(text, sizeof(text), "%s: %.0f processes with a system call filter",
			json_text(sandbox, "mode"), json_number(sandbox, "filtered"));
	write_fact("sandbox", text, style, out);
}

/* While it lasts; and how it ended, unless well. */
static void write_upgrade(const cJSON *upgrade, const struct style *style, struct buf *out)
{
	const char *state = json_text(upgrade, "state"), *reason = json_text(upgrade, "reason");
	char text[TABLE_CELL_MAX];

	if (!*state || strcmp(state, "none") == 0 || strcmp(state, "done") == 0)
		return;
	if (strcmp(state, "refused") == 0 || strcmp(state, "returned") == 0)
		snprintf(text, sizeof(text), "%s: %s", state, reason);
	else if (strcmp(state, "probation") == 0)
		snprintf(text, sizeof(text), "on probation, for another %.0f s back to %s",
			json_number(upgrade, "probation_ms") / 1000, json_text(upgrade, "from"));
	else
		snprintf(text, sizeof(text), "%s, %.0f of %.0f processes", state,
			json_number(upgrade, "replaced"), json_number(upgrade, "total"));
	write_fact("upgrade", text, style, out);
}

int render_status(const cJSON *reply, const struct style *style, struct buf *out)
{
	const cJSON *servers = member(reply, "servers"), *sessions = member(reply, "sessions"),
		    *row;
	char text[TABLE_CELL_MAX], age[16];

	render_age((unsigned long long)json_number(reply, "uptime_ms"), age);
	buf_printf(out, LABEL, "node");
	write_state(json_text(reply, "state"), style, out);
	buf_printf(out, ", up %s, pid %.0f, %.0f processes\n", age, json_number(reply, "pid"),
		json_number(reply, "processes"));
	snprintf(text, sizeof(text), "%s, build %s", json_text(reply, "version"),
		json_text(reply, "build"));
	write_fact("version", text, style, out);
	write_upgrade(member(reply, "upgrade"), style, out);
	snprintf(text, sizeof(text), "%s, generation %.0f", json_text(reply, "config"),
		json_number(reply, "generation"));
	write_fact("config", text, style, out);
	write_fact("state", json_text(reply, "state_dir"), style, out);
	if (member(reply, "sandbox"))
		write_sandbox(member(reply, "sandbox"), style, out);
	write_listeners(reply, style, out);
	cJSON_ArrayForEach(row, member(reply, "at_next_start"))
	{
		snprintf(text, sizeof(text), "%s: changed in the file, takes effect at the next start",
			cJSON_IsString(row) ? row->valuestring : "");
		write_fact("pending", text, style, out);
	}
	snprintf(text, sizeof(text), "%.0f of %.0f up", json_number(servers, "up"),
		json_number(servers, "total"));
	write_fact("servers", text, style, out);
	write_servers_down(servers, style, out);
	if (sessions) {
		snprintf(text, sizeof(text), "%.0f with a worker, %.0f hibernating, %.0f sessionless",
			json_number(sessions, "live"), json_number(sessions, "idle"),
			json_number(sessions, "modern"));
		write_fact("sessions", text, style, out);
	}
	cJSON_ArrayForEach(row, member(reply, "not_answering"))
		write_fact("silent", cJSON_IsString(row) ? row->valuestring : "", style, out);
	return buf_append(out, "", 0);
}

/* --- tree ----------------------------------------------------------------------------------- */

static void write_node(const cJSON *node, const struct style *style, struct buf *out)
{
	char age[16];

	buf_printf(out, "%s  ",
		*json_text(node, "id") ? json_text(node, "id") : json_text(node, "role"));
	write_state(json_text(node, "state"), style, out);
	if (*json_text(node, "session"))
		buf_printf(out, "  %s", json_text(node, "session"));
	if (member(node, "pid")) {
		render_age((unsigned long long)json_number(node, "age_ms"), age);
		buf_printf(out, "  pid %.0f  %s", json_number(node, "pid"), age);
	}
	buf_append_char(out, '\n');
}

static void write_branch(const cJSON *node, const char *prefix, int depth,
	const struct style *style, struct buf *out)
{
	const cJSON *children = member(node, "children"), *child;
	int shown = 0, n = cJSON_GetArraySize(children);
	int all = (int)json_number(node, "count");
	char deeper[TREE_DEPTH_MAX * 8];

	if (all < n)
		all = n;
	cJSON_ArrayForEach(child, children)
	{
		bool last = ++shown == all;

		if (shown > TREE_SIBLINGS_MAX) {
			buf_printf(out, "%s└── and %d more\n", prefix, all - TREE_SIBLINGS_MAX);
			return;
		}
		buf_printf(out, "%s%s", prefix, last ? "└── " : "├── ");
		write_node(child, style, out);
		if (depth >= TREE_DEPTH_MAX - 1)
			continue;
		snprintf(deeper, sizeof(deeper), "%s%s", prefix, last ? "    " : "│   ");
		write_branch(child, deeper, depth + 1, style, out);
	}
}

int render_tree(const cJSON *reply, const struct style *style, struct buf *out)
{
	const cJSON *tree = member(reply, "tree");

	write_node(tree, style, out);
	write_branch(tree, "", 0, style, out);
	return buf_append(out, "", 0);
}

/* --- processes ------------------------------------------------------------------------------ */

int render_ps(const cJSON *reply, const struct style *style, struct buf *out)
{
	static const struct column columns[] = {{"ROLE", false, false}, {"NAME", false, true},
		{"SESSION", false, false}, {"STATE", false, false}, {"PID", true, false},
		{"SERVER", true, false}, {"AGE", true, false}, {"MEMORY", true, false},
		{"CPU", true, false}};
	struct table *table = table_new(columns, sizeof(columns) / sizeof(*columns));
	const cJSON *row;
	int r;

	cJSON_ArrayForEach(row, member(reply, "processes"))
	{
		char age[16], memory[16];

		render_age((unsigned long long)json_number(row, "age_ms"), age);
		render_bytes(json_number(row, "rss_bytes"), memory);
		table_cell(table, "%s", json_text(row, "role"));
		table_cell(table, "%s", json_text(row, "name"));
		table_cell(table, "%s", json_text(row, "session"));
		table_cell(table, "%s", json_text(row, "state"));
		table_cell(table, "%.0f", json_number(row, "pid"));
		if (member(row, "server_pid"))
			table_cell(table, "%.0f", json_number(row, "server_pid"));
		else
			table_cell(table, "%s", "");
		table_cell(table, "%s", age);
		table_cell(table, "%s", memory);
		table_cell(table, "%.2f s", json_number(row, "cpu_ms") / 1000);
	}
	r = table_write(table, style, out);
	table_free(table);
	return r;
}

#define TOP_ROLES_MAX 32

struct role_sum {
	const char *role;
	unsigned count;
	double memory, cpu_ms;
};

static size_t sum_roles(const cJSON *processes, struct role_sum *sums)
{
	const cJSON *row;
	size_t n = 0, i;

	cJSON_ArrayForEach(row, processes)
	{
		const char *role = json_text(row, "role");

		for (i = 0; i < n && strcmp(sums[i].role, role) != 0; i++)
			;
		if (i == TOP_ROLES_MAX)
			continue;
		if (i == n)
			sums[n++] = (struct role_sum){.role = role};
		sums[i].count++;
		sums[i].memory += json_number(row, "rss_bytes");
		sums[i].cpu_ms += json_number(row, "cpu_ms");
	}
	return n;
}

/* The processes by role; cpu is what they used since they began. */
int render_top(const cJSON *reply, const struct style *style, struct buf *out)
{
	static const struct column columns[] = {{"ROLE", false, false}, {"PROCESSES", true, false},
		{"MEMORY", true, false}, {"CPU", true, false}};
	struct role_sum sums[TOP_ROLES_MAX];
	size_t n = sum_roles(member(reply, "processes"), sums);
	struct table *table = table_new(columns, sizeof(columns) / sizeof(*columns));
	int r;

	for (size_t i = 0; i < n; i++) {
		char memory[16];

		render_bytes(sums[i].memory, memory);
		table_cell(table, "%s", sums[i].role);
		table_cell(table, "%u", sums[i].count);
		table_cell(table, "%s", memory);
		table_cell(table, "%.2f s", sums[i].cpu_ms / 1000);
	}
	r = table_write(table, style, out);
	table_free(table);
	return r;
}
