#include "metrics.h"
#include "exchange.h"
#include "gateway.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

/* Label sets of one metric; what comes beyond them is counted with server and tool _other. */
#define REQUESTS_MAX 4096u
#define OPERATIONS_MAX 4096u
#define OTHER "_other"

/* µs. The first: a gateway's own time; OpenTelemetry's buckets for operations begin where that
 * should have ended. */
static const uint64_t overhead_bounds[] = {
	25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400, 1000000};
static const uint64_t operation_bounds[] = {10000, 20000, 50000, 100000, 200000, 500000, 1000000,
	2000000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000};
#define BOUNDS 14

struct histogram {
	uint64_t count[BOUNDS + 1];
	uint64_t sum_us;
};

/* Keys are compared byte for byte: no padding, unused bytes zero. */
struct request_key {
	uint8_t method; /* enum mcp_method */
	uint8_t era;
	char outcome[14];
	char server[LIMIT_SERVER_NAME];
};

struct request_row {
	struct request_key key;
	uint64_t count;
	UT_hash_handle hh;
};

struct operation_key {
	int32_t code;
	uint8_t method;
	char version[15];
	char tool[LIMIT_TOOL_NAME];
};

struct operation_row {
	struct operation_key key;
	struct histogram took;
	UT_hash_handle hh;
};

struct tool {
	char name[LIMIT_TOOL_NAME];
	UT_hash_handle hh;
};

struct metrics {
	struct request_row *requests;
	struct operation_row *operations;
	struct tool *tools;
	unsigned max_tools;
	struct histogram overhead;
	uint64_t refused[ERR_MAX];
	uint64_t responses[600]; /* by status */
};

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

void metrics_set_max_tools(struct metrics *metrics, unsigned max)
{
	metrics->max_tools = max;
}

void metrics_free(struct metrics *metrics)
{
	struct request_row *request, *next_request;
	struct operation_row *operation, *next_operation;
	struct tool *tool, *next_tool;

	if (!metrics)
		return;
	HASH_ITER (hh, metrics->requests, request, next_request) {
		HASH_DEL(metrics->requests, request);
		free(request);
	}
	HASH_ITER (hh, metrics->operations, operation, next_operation) {
		HASH_DEL(metrics->operations, operation);
		free(operation);
	}
	HASH_ITER (hh, metrics->tools, tool, next_tool) {
		HASH_DEL(metrics->tools, tool);
		free(tool);
	}
	free(metrics);
}

/* --- counting ------------------------------------------------------------------------------- */

static void observe(struct histogram *histogram, const uint64_t *bounds, uint64_t us)
{
	unsigned i = 0;

	while (i < BOUNDS && us > bounds[i])
		i++;
	histogram->count[i]++;
	histogram->sum_us += us;
}

static void put(char *place, size_t size, struct span text)
{
	memcpy(place, text.p ? text.p : "", text.len < size ? text.len : size);
}

static void count_request(struct metrics *metrics, const struct request_key *key)
{
	struct request_key other = *key;
	struct request_row *row;

	HASH_FIND(hh, metrics->requests, key, sizeof(*key), row);
	if (!row && HASH_COUNT(metrics->requests) >= REQUESTS_MAX) {
		memset(other.server, 0, sizeof(other.server));
		put(other.server, sizeof(other.server), SPAN_LIT(OTHER));
		HASH_FIND(hh, metrics->requests, &other, sizeof(other), row);
	}
	if (!row) {
		row = calloc(1, sizeof(*row));
		if (!row)
			return;
		row->key = HASH_COUNT(metrics->requests) >= REQUESTS_MAX ? other : *key;
		HASH_ADD(hh, metrics->requests, key, sizeof(row->key), row);
	}
	row->count++;
}

/* May it have a label of its own? */
static bool is_known_tool(struct metrics *metrics, const char *name)
{
	struct tool *tool;

	HASH_FIND(hh, metrics->tools, name, LIMIT_TOOL_NAME, tool);
	if (tool)
		return true;
	if (HASH_COUNT(metrics->tools) >= metrics->max_tools)
		return false;
	tool = calloc(1, sizeof(*tool));
	if (!tool)
		return false;
	memcpy(tool->name, name, LIMIT_TOOL_NAME);
	HASH_ADD(hh, metrics->tools, name, LIMIT_TOOL_NAME, tool);
	return true;
}

static void time_operation(struct metrics *metrics, struct operation_key *key, uint64_t took_us)
{
	struct operation_row *row;

	HASH_FIND(hh, metrics->operations, key, sizeof(*key), row);
	if (!row && HASH_COUNT(metrics->operations) >= OPERATIONS_MAX)
		return;
	if (!row && key->tool[0] && !is_known_tool(metrics, key->tool)) {
		memset(key->tool, 0, sizeof(key->tool));
		put(key->tool, sizeof(key->tool), SPAN_LIT(OTHER));
		HASH_FIND(hh, metrics->operations, key, sizeof(*key), row);
	}
	if (!row) {
		row = calloc(1, sizeof(*row));
		if (!row)
			return;
		row->key = *key;
		HASH_ADD(hh, metrics->operations, key, sizeof(row->key), row);
	}
	observe(&row->took, operation_bounds, took_us);
}

static void count_response(struct metrics *metrics, unsigned status)
{
	/* a client that went away got none */
	if (status < 600 && status != 499)
		metrics->responses[status]++;
}

void metrics_exchange(struct metrics *metrics, const struct exchange *exchange,
	const struct outcome *outcome, uint64_t took_us)
{
	struct request_key request = {
		.method = (uint8_t)exchange->method, .era = (uint8_t)exchange->era};
	struct operation_key operation = {
		.code = outcome->code, .method = (uint8_t)exchange->method};

	put(request.outcome, sizeof(request.outcome), span_str(outcome->word));
	put(request.server, sizeof(request.server), outcome->server);
	count_request(metrics, &request);
	count_response(metrics, outcome->status);
	if (exchange->kind != JSONRPC_REQUEST || exchange_is_endless(exchange))
		return;
	put(operation.version, sizeof(operation.version), outcome->version);
	put(operation.tool, sizeof(operation.tool), outcome->tool);
	time_operation(metrics, &operation, took_us);
	observe(&metrics->overhead, overhead_bounds,
		took_us > outcome->upstream_us ? took_us - outcome->upstream_us : 0);
}

void metrics_refused(struct metrics *metrics, int code)
{
	unsigned n = (unsigned)(code < 0 ? -code : code);

	metrics->refused[n < ERR_MAX ? n : ERR_INTERNAL]++;
	count_response(metrics, (unsigned)err_http_status(code));
}

/* --- writing -------------------------------------------------------------------------------- */

static void write_label(struct buf *out, const char *name, const char *value, size_t max)
{
	buf_printf(out, "%s=\"", name);
	for (size_t i = 0; i < max && value[i]; i++) {
		if (value[i] == '\\' || value[i] == '"')
			buf_append_char(out, '\\');
		buf_append_char(out, (unsigned char)value[i] < ' ' ? ' ' : value[i]);
	}
	buf_append_char(out, '"');
}

/* Methods that MCP does not know share a label; without one it is an HTTP method or a batch. */
static const char *method_label(uint8_t method)
{
	return method == MCP_METHOD_NONE ? OTHER : mcp_method_info((enum mcp_method)method)->name.p;
}

static void write_seconds(struct buf *out, uint64_t us)
{
	buf_printf(out, "%llu.%06llu", (unsigned long long)(us / 1000000),
		(unsigned long long)(us % 1000000));
}

/* labels: "a=\"b\"" or empty. */
static void write_histogram(struct buf *out, const char *name, struct span labels,
	const struct histogram *histogram, const uint64_t *bounds)
{
	const char *comma = labels.len ? "," : "";
	uint64_t total = 0;

	for (unsigned i = 0; i <= BOUNDS; i++) {
		total += histogram->count[i];
		buf_printf(out, "%s_bucket{%.*s%sle=\"", name, SPAN_ARG(labels), comma);
		if (i < BOUNDS)
			buf_printf(out, "%g", (double)bounds[i] / 1e6);
		else
			buf_append_str(out, "+Inf");
		buf_printf(out, "\"} %llu\n", (unsigned long long)total);
	}
	buf_printf(out, "%s_sum{%.*s} ", name, SPAN_ARG(labels));
	write_seconds(out, histogram->sum_us);
	buf_printf(
		out, "\n%s_count{%.*s} %llu\n", name, SPAN_ARG(labels), (unsigned long long)total);
}

static void write_requests(const struct metrics *metrics, struct buf *out)
{
	const struct request_row *row;

	for (row = metrics->requests; row; row = row->hh.next) {
		buf_append_str(out, "gatehouse_requests_total{");
		write_label(out, "method", method_label(row->key.method), 64);
		buf_append_char(out, ',');
		write_label(out, "server", row->key.server, sizeof(row->key.server));
		buf_append_char(out, ',');
		write_label(out, "era", row->key.era == MCP_MODERN ? "modern" : "legacy", 8);
		buf_append_char(out, ',');
		write_label(out, "outcome", row->key.outcome, sizeof(row->key.outcome));
		buf_printf(out, "} %llu\n", (unsigned long long)row->count);
	}
}

static void write_operations(const struct metrics *metrics, struct buf *out)
{
	const struct operation_row *row;
	struct buf labels;
	char code[16];

	buf_init(&labels, 4096);
	for (row = metrics->operations; row; row = row->hh.next) {
		buf_clear(&labels);
		write_label(&labels, "mcp_method_name", method_label(row->key.method), 64);
		buf_append_char(&labels, ',');
		write_label(&labels, "gen_ai_tool_name", row->key.tool, sizeof(row->key.tool));
		buf_append_char(&labels, ',');
		write_label(&labels, "mcp_protocol_version", row->key.version,
			sizeof(row->key.version));
		snprintf(code, sizeof(code), "%d", row->key.code);
		buf_append_char(&labels, ',');
		write_label(&labels, "error_type", row->key.code ? code : "", sizeof(code));
		write_histogram(out, "mcp_server_operation_duration_seconds", buf_span(&labels),
			&row->took, operation_bounds);
	}
	buf_free(&labels);
}

static void write_connections(const struct gateway *gateway, struct buf *out)
{
	unsigned total = 0;
	uint64_t in = 0, sent = 0, accepted = 0;

	for (const struct door *door = gateway->doors; door; door = door->next) {
		const struct http_server_stats *stats = http_server_stats(door->server);

		total += http_server_connections(door->server);
		in += stats->bytes_in;
		sent += stats->bytes_out;
		accepted += stats->accepted;
	}
	buf_printf(out, "gatehouse_connections{transport=\"http\",state=\"streaming\"} %u\n",
		gateway->n_streams);
	buf_printf(out, "gatehouse_connections{transport=\"http\",state=\"active\"} %u\n",
		gateway->n_exchanges - gateway->n_streams);
	buf_printf(out, "gatehouse_connections{transport=\"http\",state=\"idle\"} %u\n",
		total > gateway->n_exchanges ? total - gateway->n_exchanges : 0);
	buf_printf(out, "gatehouse_connections_total %llu\n", (unsigned long long)accepted);
	buf_printf(out, "gatehouse_http_received_bytes_total %llu\n", (unsigned long long)in);
	buf_printf(out, "gatehouse_http_sent_bytes_total %llu\n", (unsigned long long)sent);
}

int metrics_write(const struct metrics *metrics, const struct gateway *gateway, struct buf *out)
{
	write_requests(metrics, out);
	write_operations(metrics, out);
	write_histogram(out, "gatehouse_overhead_seconds", SPAN_LIT("stage=\"total\""),
		&metrics->overhead, overhead_bounds);
	for (unsigned code = 0; code < ERR_MAX; code++)
		if (metrics->refused[code])
			buf_printf(out, "gatehouse_http_refused_total{reason=\"%s\"} %llu\n",
				err_reason((int)code), (unsigned long long)metrics->refused[code]);
	for (unsigned status = 0; status < 600; status++)
		if (metrics->responses[status])
			buf_printf(out, "gatehouse_http_responses_total{status=\"%u\"} %llu\n",
				status, (unsigned long long)metrics->responses[status]);
	write_connections(gateway, out);
	return buf_printf(out, "gatehouse_log_dropped_total{role=\"gateway\"} %llu\n",
		(unsigned long long)log_dropped());
}
