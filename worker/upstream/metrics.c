#include "metrics.h"
#include "call.h"
#include "instance.h"
#include "log.h"
#include "transport.h"
#include "upstream.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const reason_names[RESTART_REASON_MAX] = {
#define X(name, text) [name] = text,
	METRICS_REASONS(X)
#undef X
};

int metrics_init(struct metrics *metrics)
{
	metrics->memory = calloc(1, operations_size());
	metrics->operations = metrics->memory ? operations_new(metrics->memory) : NULL;
	return metrics->operations ? 0 : -ERR_NO_MEMORY;
}

void metrics_free(struct metrics *metrics)
{
	operations_free(metrics->operations);
	free(metrics->memory);
}

/* What was the server's error has its code; what failed here, that which the client is told. */
static int code_of(const struct outcome *outcome)
{
	int64_t code = 0;
	struct span message, data;

	if (outcome->kind == 2)
		return err_rpc_code(outcome->err.code);
	if (outcome->kind == 1)
		jsonrpc_error_get(outcome->payload, &code, &message, &data);
	return (int)code;
}

void metrics_call(
	const struct instance *instance, const struct call *call, const struct outcome *outcome)
{
	operations_observe(instance->up->metrics.operations, call->method,
		call->tool ? call->tool : "", span_str(mcp_version_name(instance->version)),
		code_of(outcome), outcome->upstream_us);
}

uint64_t metrics_restarts(const struct metrics *metrics)
{
	uint64_t sum = 0;

	for (int i = 0; i < RESTART_REASON_MAX; i++)
		sum += metrics->restarts[i];
	return sum;
}

/* network.transport of OpenTelemetry. */
static const char *transport_label(const struct upstream *up)
{
	return up->ops && up->ops->has_child ? "pipe" : "tcp";
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
		"gatehouse_server_queue_length{server=\"%s\"} %u\n"
		"gatehouse_notes_dropped_total{server=\"%s\"} %llu\n"
		"gatehouse_log_dropped_total{role=\"upstream\",server=\"%s\"} %llu\n",
		server, up->children, server, (unsigned long long)up->metrics.invalid_lines, server,
		in_flight, server, queued, server, (unsigned long long)up->metrics.dropped_notes,
		server, (unsigned long long)log_dropped());
	for (int i = 0; i < RESTART_REASON_MAX; i++)
		buf_printf(out,
			"gatehouse_server_restarts_total{server=\"%s\",reason=\"%s\"} %llu\n",
			server, reason_names[i], (unsigned long long)up->metrics.restarts[i]);
	snprintf(labels, sizeof(labels), "server=\"%s\",network_transport=\"%s\"", server,
		transport_label(up));
	operations_write(up->metrics.operations, "mcp_client_operation_duration_seconds",
		span_str(labels), out);
	return buf_append(out, "", 0);
}
