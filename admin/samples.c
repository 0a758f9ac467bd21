#include "samples.h"
#include "err.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

enum merge { COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM };

static const struct metric {
	const char *name;
	enum merge merge;
	const char *help;
} metrics[] = {
#define METRIC(name, type, help) {#name, type, help},
#include "metrics.def"
#undef METRIC
};

struct series {
	struct series *prev, *next; /* in its family, in the order they came */
	double value;
	UT_hash_handle hh;
	char text[]; /* name{labels} */
};

struct family {
	const struct metric *metric; /* NULL: not in the table */
	struct series *series;
	UT_hash_handle hh;
	char name[];
};

struct samples {
	struct family *families;
	struct series *all;
};

static const struct metric *find_metric(struct span name)
{
	for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics); i++)
		if (span_is(name, metrics[i].name))
			return &metrics[i];
	return NULL;
}

/* The metric that a sample's name belongs to: those of a histogram have suffixes. */
static const struct metric *metric_of(struct span name)
{
	static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
	const struct metric *metric = find_metric(name);

	for (size_t i = 0; !metric && i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		size_t len = strlen(suffixes[i]);

		if (name.len <= len || memcmp(name.p + name.len - len, suffixes[i], len) != 0)
			continue;
		metric = find_metric(span_of(name.p, name.len - len));
		if (metric && metric->merge != HISTOGRAM)
			metric = NULL;
	}
	return metric;
}

static struct family *family_get(struct samples *samples, struct span sample_name)
{
	const struct metric *metric = metric_of(sample_name);
	struct span name = metric ? span_str(metric->name) : sample_name;
	struct family *family;

	HASH_FIND(hh, samples->families, name.p, name.len, family);
	if (family)
		return family;
	family = calloc(1, sizeof(*family) + name.len + 1);
	if (!family)
		return NULL;
	family->metric = metric;
	memcpy(family->name, name.p, name.len);
	HASH_ADD_KEYPTR(hh, samples->families, family->name, name.len, family);
	return family;
}

static bool is_name_char(char c, bool first)
{
	return c == '_' || c == ':' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (!first && c >= '0' && c <= '9');
}

/* The length of name{labels} at the start of the line, 0 when there is none; *ret_name is without
 * labels. */
static size_t series_len(struct span line, struct span *ret_name)
{
	size_t n = 0;
	bool quoted = false;

	while (n < line.len && is_name_char(line.p[n], n == 0))
		n++;
	*ret_name = span_of(line.p, n);
	if (n == 0 || n == line.len || line.p[n] != '{')
		return n;
	for (; n < line.len; n++) {
		if (quoted && line.p[n] == '\\')
			n++;
		else if (line.p[n] == '"')
			quoted = !quoted;
		else if (!quoted && line.p[n] == '}')
			return n + 1;
	}
	return 0;
}

static int add_sample(struct samples *samples, struct span name, struct span text, double value)
{
	struct family *family = family_get(samples, name);
	struct series *series;

	if (!family)
		return -ERR_NO_MEMORY;
	HASH_FIND(hh, samples->all, text.p, text.len, series);
	if (series) {
		if (family->metric && family->metric->merge == GAUGE_MAX)
			series->value = fmax(series->value, value);
		else
			series->value += value;
		return 0;
	}
	if (HASH_COUNT(samples->all) >= SAMPLES_SERIES_MAX)
		return 0;
	series = calloc(1, sizeof(*series) + text.len + 1);
	if (!series)
		return -ERR_NO_MEMORY;
	memcpy(series->text, text.p, text.len);
	series->value = value;
	HASH_ADD_KEYPTR(hh, samples->all, series->text, text.len, series);
	DL_APPEND(family->series, series);
	return 0;
}

static int add_line(struct samples *samples, struct span line)
{
	char number[64], *end;
	struct span name;
	size_t len = series_len(line, &name);
	double value;

	if (len == 0 || len >= line.len || line.p[len] != ' ' ||
		line.len - len - 1 >= sizeof(number))
		return 0;
	memcpy(number, line.p + len + 1, line.len - len - 1);
	number[line.len - len - 1] = '\0';
	value = strtod(number, &end);
	if (end == number || *end)
		return 0;
	return add_sample(samples, name, span_of(line.p, len), value);
}

int samples_add(struct samples *samples, struct span text)
{
	int r = 0;

	while (r == 0 && text.len > 0) {
		const char *end = memchr(text.p, '\n', text.len);
		size_t len = end ? (size_t)(end - text.p) : text.len;

		if (len > 0 && len <= SAMPLES_LINE_MAX && text.p[0] != '#')
			r = add_line(samples, span_of(text.p, len));
		len += end ? 1 : 0;
		text = span_of(text.p + len, text.len - len);
	}
	return r;
}

static int by_name(const struct family *a, const struct family *b)
{
	return strcmp(a->name, b->name);
}

static int write_value(struct buf *out, double value)
{
	if (isinf(value))
		return buf_append_str(out, value < 0 ? "-Inf" : "+Inf");
	if (isnan(value))
		return buf_append_str(out, "NaN");
	if (value == floor(value) && fabs(value) < 9e15)
		return buf_printf(out, "%.0f", value);
	return buf_printf(out, "%.10g", value);
}

int samples_write(struct samples *samples, struct buf *out)
{
	static const char *const types[] = {"counter", "gauge", "gauge", "histogram"};
	struct family *family;
	struct series *series;
	int r = 0;

	HASH_SORT(samples->families, by_name);
	for (family = samples->families; family && r == 0; family = family->hh.next) {
		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name,
			family->metric ? family->metric->help : "Not described.", family->name,
			family->metric ? types[family->metric->merge] : "untyped");
		DL_FOREACH(family->series, series)
		{
			buf_append_str(out, series->text);
			buf_append_char(out, ' ');
			write_value(out, series->value);
			r = buf_append_char(out, '\n');
		}
	}
	return r;
}

double samples_get(const struct samples *samples, const char *text, double fallback)
{
	struct series *series;

	HASH_FIND_STR(samples->all, text, series);
	return series ? series->value : fallback;
}

struct samples *samples_new(void)
{
	return calloc(1, sizeof(struct samples));
}

void samples_free(struct samples *samples)
{
	struct family *family, *next_family;
	struct series *series, *next;

	if (!samples)
		return;
	HASH_ITER (hh, samples->all, series, next) {
		HASH_DEL(samples->all, series);
		free(series);
	}
	HASH_ITER (hh, samples->families, family, next_family) {
		HASH_DEL(samples->families, family);
		free(family);
	}
	free(samples);
}
