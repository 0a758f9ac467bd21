#include "histogram.h"

const uint64_t histogram_overhead[HISTOGRAM_BOUNDS] = {
	25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400, 1000000};
const uint64_t histogram_operation[HISTOGRAM_BOUNDS] = {10000, 20000, 50000, 100000, 200000, 500000,
	1000000, 2000000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000};

void histogram_observe(struct histogram *histogram, const uint64_t *bounds, uint64_t us)
{
	unsigned i = 0;

	while (i < HISTOGRAM_BOUNDS && us > bounds[i])
		i++;
	histogram->count[i]++;
	histogram->sum_us += us;
}

void sample_write_label(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "%s=\"", name);
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] == '\\' || value.p[i] == '"')
			buf_append_char(out, '\\');
		buf_append_char(out, (unsigned char)value.p[i] < ' ' ? ' ' : value.p[i]);
	}
	buf_append_char(out, '"');
}

void sample_write_seconds(struct buf *out, uint64_t us)
{
	buf_printf(out, "%llu.%06llu", (unsigned long long)(us / 1000000),
		(unsigned long long)(us % 1000000));
}

void histogram_write(const struct histogram *histogram, const uint64_t *bounds, const char *name,
	struct span labels, struct buf *out)
{
	const char *comma = labels.len ? "," : "";
	uint64_t total = 0;

	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		total += histogram->count[i];
		buf_printf(out, "%s_bucket{%.*s%sle=\"", name, SPAN_ARG(labels), comma);
		if (i < HISTOGRAM_BOUNDS)
			buf_printf(out, "%g", (double)bounds[i] / 1e6);
		else
			buf_append_str(out, "+Inf");
		buf_printf(out, "\"} %llu\n", (unsigned long long)total);
	}
	buf_printf(out, "%s_sum{%.*s} ", name, SPAN_ARG(labels));
	sample_write_seconds(out, histogram->sum_us);
	buf_printf(
		out, "\n%s_count{%.*s} %llu\n", name, SPAN_ARG(labels), (unsigned long long)total);
}

void sample_put(char *field, size_t size, struct span text)
{
	if (text.len)
		memcpy(field, text.p, text.len < size ? text.len : size);
}

void sample_write_field(struct buf *out, const char *name, const char *field, size_t size)
{
	buf_append_char(out, ',');
	sample_write_label(out, name, span_of(field, strnlen(field, size)));
}
