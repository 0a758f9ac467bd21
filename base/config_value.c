/* One value of each type: reading, bounds, writing, comparing. */
#include "config_internal.h"
#include "json_write.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit duration_units[] = {{"d", 24 * CONFIG_HOUR}, {"h", CONFIG_HOUR},
	{"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const struct unit size_units[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1000000000}, {"MB", 1000000}, {"KB", 1000}, {"kB", 1000}, {"B", 1}, {NULL, 0}};

/* Decimal digits at *p, which then stands behind them. */
static bool parse_digits(const char **p, int64_t *ret)
{
	int64_t value = 0;

	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++)
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, **p - '0', &value))
			return false;
	*ret = value;
	return true;
}

/* "90s", "1h30m": numbers each with its unit, added up. */
static bool parse_units(const char *p, const struct unit *units, int64_t *ret)
{
	int64_t sum = 0;

	do {
		size_t len = 0;
		const struct unit *u;
		int64_t n;

		if (!parse_digits(&p, &n))
			return false;
		while (isalpha((unsigned char)p[len]))
			len++;
		for (u = units; u->name; u++)
			if (strlen(u->name) == len && strncmp(u->name, p, len) == 0)
				break;
		if (!u->name || __builtin_mul_overflow(n, u->factor, &n) ||
			__builtin_add_overflow(sum, n, &sum))
			return false;
		p += len;
	} while (*p);
	*ret = sum;
	return true;
}

static void format_units(int64_t n, const struct unit *units, char *out, size_t size)
{
	const struct unit *u = units;

	while (n != 0 && u->name && n % u->factor != 0)
		u++;
	if (n == 0)
		for (u = units; u->factor != 1 && u->factor != 1000; u++)
			;
	snprintf(out, size, "%" PRId64 "%s", n / u->factor, u->name);
}

void config_duration_format(int64_t ms, char *out, size_t size)
{
	format_units(ms, duration_units, out, size);
}

bool config_duration_parse(const char *text, int64_t *ret_ms)
{
	return parse_units(text, duration_units, ret_ms);
}

void config_size_format(int64_t bytes, char *out, size_t size)
{
	static const struct unit binary[] = {
		{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {NULL, 0}};

	format_units(bytes, binary, out, size);
}

bool config_is_bare_number(const char *text)
{
	int64_t n;

	return parse_digits(&text, &n) && *text == '\0';
}

static bool parse_bool(const struct config_row *row, const char *text, void *value)
{
	(void)row;
	*(bool *)value = strcmp(text, "true") == 0;
	return *(bool *)value || strcmp(text, "false") == 0;
}

static bool within(const struct config_row *row, int64_t n, void *value)
{
	if (n < row->min || n > row->max)
		return false;
	*(int64_t *)value = n;
	return true;
}

static bool parse_int(const struct config_row *row, const char *text, void *value)
{
	int64_t n;

	return parse_digits(&text, &n) && *text == '\0' && within(row, n, value);
}

static bool parse_count(const struct config_row *row, const char *text, void *value)
{
	if (strcmp(text, "auto") != 0)
		return parse_int(row, text, value);
	*(int64_t *)value = 0;
	return true;
}

static bool parse_duration(const struct config_row *row, const char *text, void *value)
{
	int64_t n;

	return parse_units(text, duration_units, &n) && within(row, n, value);
}

static bool parse_size(const struct config_row *row, const char *text, void *value)
{
	int64_t n;

	return parse_int(row, text, value) ||
	       (parse_units(text, size_units, &n) && within(row, n, value));
}

/* Our word for what other programs write. */
static const char *translate_word(const struct config_row *row, const char *text)
{
	static const struct {
		const char *path, *word, *ours;
	} aliases[] = {
#define WORD_ALIAS(path, word, ours) {path, word, ours},
#include "config_dialects.def"
	};

	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
		if (strcmp(aliases[i].path, row->path) == 0 && strcmp(aliases[i].word, text) == 0)
			return aliases[i].ours;
	return text;
}

static bool parse_word(const struct config_row *row, const char *text, void *value)
{
	text = translate_word(row, text);
	for (int i = 0; row->words[i]; i++)
		if (strcmp(row->words[i], text) == 0) {
			*(int *)value = i;
			return true;
		}
	return false;
}

static bool parse_access(const struct config_row *row, const char *text, void *value)
{
	struct config_access *access = value;
	char limit[32];
	int end = 0;

	(void)row;
	*access = (struct config_access){CONFIG_ACCESS_ALL, 0};
	if (strcmp(text, "errors") == 0)
		access->mode = CONFIG_ACCESS_ERRORS;
	else if (strcmp(text, "off") == 0)
		access->mode = CONFIG_ACCESS_OFF;
	else if (sscanf(text, "slow(%31[0-9a-z])%n", limit, &end) == 1 && end > 0 &&
		 text[end] == '\0')
		access->mode = CONFIG_ACCESS_SLOW;
	else
		return strcmp(text, "all") == 0;
	return access->mode != CONFIG_ACCESS_SLOW ||
	       parse_units(limit, duration_units, &access->slow_ms);
}

static int write_bool(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	(void)row;
	(void)secrets;
	return buf_append_str(out, *(const bool *)value ? "true" : "false");
}

static int write_int(const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	(void)row;
	(void)secrets;
	return buf_printf(out, "%" PRId64, *(const int64_t *)value);
}

static int write_count(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	if (*(const int64_t *)value == 0)
		return buf_append_str(out, "\"auto\"");
	return write_int(row, value, secrets, out);
}

static int write_duration(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	char text[32];

	(void)row;
	(void)secrets;
	config_duration_format(*(const int64_t *)value, text, sizeof(text));
	return buf_printf(out, "\"%s\"", text);
}

static int write_size(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	char text[32];

	(void)row;
	(void)secrets;
	config_size_format(*(const int64_t *)value, text, sizeof(text));
	return buf_printf(out, "\"%s\"", text);
}

static int write_word(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	(void)secrets;
	return buf_printf(out, "\"%s\"", row->words[*(const int *)value]);
}

static int write_access(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	static const char *const names[] = {"\"all\"", "\"errors\"", "\"slow(%s)\"", "\"off\""};
	const struct config_access *access = value;
	char text[32];

	(void)row;
	(void)secrets;
	config_duration_format(access->slow_ms, text, sizeof(text));
	if (access->mode == CONFIG_ACCESS_SLOW)
		return buf_printf(out, "\"slow(%s)\"", text);
	return buf_append_str(out, names[access->mode]);
}

static int write_one_text(const struct config_text *text, bool secrets, struct buf *out)
{
	int r;

	if (!text->secret)
		return json_write_string(out, span_str(text->p));
	if (!secrets)
		return buf_append_str(out, "\"***\"");
	r = buf_append_str(out, "{\"secret\":");
	if (r == 0)
		r = json_write_string(out, span_str(text->p));
	return r < 0 ? r : buf_append_char(out, '}');
}

static int write_text(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	(void)row;
	return write_one_text(value, secrets, out);
}

static int write_list(
	const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	const struct config_list *list = value;
	int r = buf_append_char(out, '[');

	(void)row;
	for (size_t i = 0; r == 0 && i < list->count; i++) {
		if (i > 0)
			r = buf_append_char(out, ',');
		if (r == 0)
			r = write_one_text(&list->items[i], secrets, out);
	}
	return r < 0 ? r : buf_append_char(out, ']');
}

static int write_map(const struct config_row *row, const void *value, bool secrets, struct buf *out)
{
	const struct config_map *map = value;
	int r = buf_append_char(out, '{');

	(void)row;
	for (size_t i = 0; r == 0 && i < map->count; i++) {
		if (i > 0)
			r = buf_append_char(out, ',');
		if (r == 0)
			r = json_write_string(out, span_str(map->items[i].name));
		if (r == 0)
			r = buf_append_char(out, ':');
		if (r == 0)
			r = write_one_text(&map->items[i].value, secrets, out);
	}
	return r < 0 ? r : buf_append_char(out, '}');
}

static bool equal_bool(const void *a, const void *b)
{
	return *(const bool *)a == *(const bool *)b;
}

static bool equal_int(const void *a, const void *b)
{
	return *(const int64_t *)a == *(const int64_t *)b;
}

static bool equal_word(const void *a, const void *b)
{
	return *(const int *)a == *(const int *)b;
}

static bool equal_access(const void *a, const void *b)
{
	const struct config_access *x = a, *y = b;

	return x->mode == y->mode && x->slow_ms == y->slow_ms;
}

static bool equal_text(const void *a, const void *b)
{
	return strcmp(((const struct config_text *)a)->p, ((const struct config_text *)b)->p) == 0;
}

static bool equal_list(const void *a, const void *b)
{
	const struct config_list *x = a, *y = b;

	if (x->count != y->count)
		return false;
	for (size_t i = 0; i < x->count; i++)
		if (!equal_text(&x->items[i], &y->items[i]))
			return false;
	return true;
}

/* The order of a map means nothing. */
static bool equal_map(const void *a, const void *b)
{
	const struct config_map *x = a, *y = b;
	size_t found = 0;

	for (size_t i = 0; i < x->count; i++)
		for (size_t j = 0; j < y->count; j++)
			if (strcmp(x->items[i].name, y->items[j].name) == 0)
				found += equal_text(&x->items[i].value, &y->items[j].value);
	return x->count == y->count && found == x->count;
}

static const struct {
	bool (*parse)(const struct config_row *row, const char *text, void *value);
	int (*write)(
		const struct config_row *row, const void *value, bool secrets, struct buf *out);
	bool (*equal)(const void *a, const void *b);
} types[] = {
	[CONFIG_ROW_BOOL] = {parse_bool, write_bool, equal_bool},
	[CONFIG_ROW_INT] = {parse_int, write_int, equal_int},
	[CONFIG_ROW_COUNT] = {parse_count, write_count, equal_int},
	[CONFIG_ROW_DURATION] = {parse_duration, write_duration, equal_int},
	[CONFIG_ROW_SIZE] = {parse_size, write_size, equal_int},
	[CONFIG_ROW_WORD] = {parse_word, write_word, equal_word},
	[CONFIG_ROW_ACCESS] = {parse_access, write_access, equal_access},
	[CONFIG_ROW_TEXT] = {NULL, write_text, equal_text},
	[CONFIG_ROW_PATH] = {NULL, write_text, equal_text},
	[CONFIG_ROW_LIST] = {NULL, write_list, equal_list},
	[CONFIG_ROW_MAP] = {NULL, write_map, equal_map},
};

bool config_value_parse(const struct config_row *row, const char *text, void *value)
{
	return types[row->type].parse && types[row->type].parse(row, text, value);
}

int config_value_write(
	const struct config_row *row, const void *value, bool show_secrets, struct buf *out)
{
	return types[row->type].write(row, value, show_secrets, out);
}

bool config_value_equal(const struct config_row *row, const void *a, const void *b)
{
	return types[row->type].equal(a, b);
}

static const char *expected_words(const struct config_row *row, char *out, size_t size)
{
	size_t used = (size_t)snprintf(out, size, "one of ");

	for (int i = 0; row->words[i] && used < size; i++)
		used += (size_t)snprintf(
			out + used, size - used, "%s%s", i > 0 ? ", " : "", row->words[i]);
	return out;
}

static const char *expected_range(const struct config_row *row, char *out, size_t size)
{
	bool duration = row->type == CONFIG_ROW_DURATION;
	char low[32], high[32];

	(duration ? config_duration_format : config_size_format)(row->min, low, sizeof(low));
	(duration ? config_duration_format : config_size_format)(row->max, high, sizeof(high));
	snprintf(out, size, "%s from %s to %s, such as %s", duration ? "a duration" : "a size", low,
		high, duration ? "60s or 500ms" : "64KiB or 4MiB");
	return out;
}

const char *config_value_expected(const struct config_row *row, char *out, size_t size)
{
	static const char *const plain[] = {
		[CONFIG_ROW_BOOL] = "true or false",
		[CONFIG_ROW_ACCESS] = "all, errors, slow(500ms) or off",
		[CONFIG_ROW_TEXT] = "a string",
		[CONFIG_ROW_PATH] = "a path",
		[CONFIG_ROW_LIST] = "a list of strings",
		[CONFIG_ROW_MAP] = "a map of names to strings",
	};

	switch (row->type) {
	case CONFIG_ROW_INT:
	case CONFIG_ROW_COUNT:
		snprintf(out, size, "%sa whole number from %" PRId64 " to %" PRId64,
			row->type == CONFIG_ROW_COUNT ? "auto or " : "", row->min, row->max);
		return out;
	case CONFIG_ROW_DURATION:
	case CONFIG_ROW_SIZE:
		return expected_range(row, out, size);
	case CONFIG_ROW_WORD:
		return expected_words(row, out, size);
	default:
		snprintf(out, size, "%s", plain[row->type]);
		return out;
	}
}
