#include "metrics.h"
#include "call.h"
#include "instance.h"
#include "upstream.h"

#include <stdio.h>

/* OpenTelemetry's boundaries for mcp.client.operation.duration, in microseconds. */
static const uint64_t bounds_us[METRICS_BUCKETS] = {10000, 20000, 50000, 100000, 200000, 500000,
	1000000, 2000000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000};

static const char *const reason_names[RESTART_REASON_MAX] = {
#define X(name, text) [name] = text,
	METRICS_REASONS(X)
#undef X
};

void metrics_operation(struct metrics *metrics, enum mcp_method method, uint64_t us)
{
	struct metrics_histogram *h = &metrics->operations[method];
	unsigned i = 0;

	while (i < METRICS_BUCKETS && us > bounds_us[i])
		i++;
	h->buckets[i]++;
	h->count++;
	h->sum_us += us;
}

uint64_t metrics_restarts(const struct metrics *metrics)
{
	uint64_t sum = 0;

	for (int i = 0; i < RESTART_REASON_MAX; i++)
		sum += metrics->restarts[i];
	return sum;
}

static void write_histogram(const struct metrics_histogram *h, const char *labels, struct buf *out)
{
	uint64_t cumulative = 0;

	for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
		cumulative += h->buckets[i];
		buf_printf(out, "mcp_client_operation_duration_seconds_bucket{%s,le=\"%g\"} %llu\n",
			labels, (double)bounds_us[i] / 1e6, (unsigned long long)cumulative);
	}
	buf_printf(out,
		"mcp_client_operation_duration_seconds_bucket{%s,le=\"+Inf\"} %llu\n"
		"mcp_client_operation_duration_seconds_sum{%s} %.6f\n"
		"mcp_client_operation_duration_seconds_count{%s} %llu\n",
		labels, (unsigned long long)h->count, labels, (double)h->sum_us / 1e6, labels,
		(unsigned long long)h->count);
}

int metrics_write(const struct upstream *up, struct buf *out)
{
	const char *server = up->server->name;
	unsigned in_flight, queued;
	char labels[256];

	instances_count(up, &in_flight, &queued);
	buf_printf(out,
		"gatehouse_server_children{server=\"%s\"} %u\n"
		"gatehouse_server_stdout_invalid_lines_total{server=\"%s\"} %llu\n"
		"gatehouse_requests_in_flight{server=\"%s\"} %u\n"
		"gatehouse_server_queue_length{server=\"%s\"} %u\n",
		server, up->children, server, (unsigned long long)up->metrics.invalid_lines, server,
		in_flight, server, queued);
	for (int i = 0; i < RESTART_REASON_MAX; i++)
		buf_printf(out,
			"gatehouse_server_restarts_total{server=\"%s\",reason=\"%s\"} %llu\n",
			server, reason_names[i], (unsigned long long)up->metrics.restarts[i]);
	for (int method = 0; method < MCP_METHOD_MAX; method++) {
		struct span name = mcp_method_info((enum mcp_method)method)->name;

		if (up->metrics.operations[method].count == 0)
			continue;
		snprintf(labels, sizeof(labels), "server=\"%s\",mcp_method_name=\"%.*s\"", server,
			name.len ? (int)name.len : 6, name.len ? name.p : "_other");
		write_histogram(&up->metrics.operations[method], labels, out);
	}
	return buf_append(out, "", 0);
}
