#include "metrics.h"
#include "channel.h"
#include "exchange.h"
#include "gateway.h"
#include "log.h"
#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

/* Label sets of one metric; what comes beyond them is counted with server _other. */
#define REQUESTS_MAX 4096u

/* Where the time of a request goes that is not the server's own (metrics.def). */
enum stage { STAGE_TOTAL, STAGE_GATEWAY, STAGE_WORKER, STAGE_QUEUE, STAGE_MAX };

static const char *const stage_names[STAGE_MAX] = {"total", "gateway", "worker", "queue"};

/* Keys are compared byte for byte: no padding, unused bytes zero. */
struct request_key {
	uint8_t method; /* enum mcp_method */
	uint8_t era;
	char outcome[14];
	char server[LIMIT_SERVER_NAME];
};

/* The handles are of the process that counts at present. */
struct request_row {
	struct request_key key;
	uint64_t count;
	UT_hash_handle hh;
};

/* All that is counted: memory that may outlive the process. The operations follow it. */
struct ledger {
	uint64_t size; /* of all; also tells memory of another layout */
	uint64_t log_dropped;
	struct histogram overhead[STAGE_MAX];
	uint64_t refused[ERR_MAX];
	uint64_t responses[600]; /* by status */
	struct http_server_stats doors[METRICS_DOORS_MAX];
	unsigned n_requests;
	struct request_row requests[REQUESTS_MAX];
};

struct metrics {
	struct ledger *ledger;
	bool shared;
	struct request_row *by_key;
	struct operations *operations;
	unsigned max_tools;
	/* of other processes of this slot, which may still count there */
	const struct ledger *others[METRICS_OTHERS_MAX];
	unsigned n_others;
};

/* --- memory ------------------------------------------------------------------------------------ */

static size_t ledger_size(void)
{
	return sizeof(struct ledger) + operations_size();
}

/* Takes ledger over. */
static int begin(struct metrics *metrics, struct ledger *ledger)
{
	metrics->operations = operations_new(ledger + 1);
	if (!metrics->operations)
		return -ERR_NO_MEMORY;
	metrics->ledger = ledger;
	metrics->by_key = NULL;
	for (unsigned i = 0; i < ledger->n_requests; i++) {
		struct request_row *row = &ledger->requests[i];

		HASH_ADD(hh, metrics->by_key, key, sizeof(row->key), row);
	}
	operations_set_max_tools(metrics->operations, metrics->max_tools);
	log_count_dropped_in(&ledger->log_dropped);
	return 0;
}

static void end(struct metrics *metrics)
{
	log_count_dropped_in(NULL);
	HASH_CLEAR(hh, metrics->by_key);
	operations_free(metrics->operations);
	if (metrics->shared)
		munmap(metrics->ledger, ledger_size());
	else
		free(metrics->ledger);
}

struct metrics *metrics_new(void)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));
	struct ledger *ledger = calloc(1, ledger_size());

	if (!metrics || !ledger || begin(metrics, ledger) < 0) {
		free(ledger);
		free(metrics);
		return NULL;
	}
	return metrics;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	end(metrics);
	while (metrics->n_others > 0)
		munmap((void *)metrics->others[--metrics->n_others], ledger_size());
	free(metrics);
}

static int map(int fd, struct ledger **ret, struct err *err)
{
	struct ledger *ledger;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "cannot look at the counters' memory");
	if (st.st_size == 0 && ftruncate(fd, (off_t)ledger_size()) < 0)
		return err_set_errno(err, "cannot make memory for counters");
	if (st.st_size != 0 && (size_t)st.st_size != ledger_size())
		return err_set(err, ERR_PROTOCOL, "the counters' memory is of another build");
	ledger = mmap(NULL, ledger_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ledger == MAP_FAILED)
		return err_set_errno(err, "cannot map the counters' memory");
	if (ledger->size != ledger_size() || ledger->n_requests > REQUESTS_MAX)
		memset(ledger, 0, ledger_size());
	ledger->size = ledger_size();
	*ret = ledger;
	return 0;
}

int metrics_share(struct metrics *metrics, int fd, struct err *err)
{
	struct metrics fresh = {.max_tools = metrics->max_tools, .shared = true};
	struct ledger *ledger = NULL;
	int r = map(fd, &ledger, err);

	if (r < 0)
		return r;
	r = begin(&fresh, ledger);
	if (r < 0) {
		munmap(ledger, ledger_size());
		return err_set(err, ERR_NO_MEMORY, "no memory for metrics");
	}
	ledger->log_dropped += metrics->ledger->log_dropped;
	memcpy(fresh.others, metrics->others, sizeof(fresh.others));
	fresh.n_others = metrics->n_others;
	end(metrics);
	*metrics = fresh;
	log_count_dropped_in(&ledger->log_dropped);
	return 0;
}

void metrics_add_other(struct metrics *metrics, int fd)
{
	struct ledger *ledger;
	struct stat st;

	/* nothing was counted there, or it is of another build */
	if (metrics->n_others == METRICS_OTHERS_MAX || fstat(fd, &st) < 0 ||
		(size_t)st.st_size != ledger_size())
		return;
	ledger = mmap(NULL, ledger_size(), PROT_READ, MAP_SHARED, fd, 0);
	if (ledger != MAP_FAILED)
		metrics->others[metrics->n_others++] = ledger;
}

void metrics_set_max_tools(struct metrics *metrics, unsigned max)
{
	metrics->max_tools = max;
	operations_set_max_tools(metrics->operations, max);
}

struct http_server_stats *metrics_door(struct metrics *metrics, uint32_t index)
{
	return &metrics->ledger->doors[index % METRICS_DOORS_MAX];
}

/* --- counting ---------------------------------------------------------------------------------- */

/* The row is whole before it counts as one: the process may be killed at any time. */
static struct request_row *add_row(struct metrics *metrics, const struct request_key *key)
{
	struct ledger *ledger = metrics->ledger;
	struct request_row *row = &ledger->requests[ledger->n_requests];

	*row = (struct request_row){.key = *key};
	__atomic_store_n(&ledger->n_requests, ledger->n_requests + 1, __ATOMIC_RELEASE);
	HASH_ADD(hh, metrics->by_key, key, sizeof(row->key), row);
	return row;
}

/* When nearly all places are taken, servers share what is left. */
static void count_request(struct metrics *metrics, struct request_key *key)
{
	struct request_row *row;

	HASH_FIND(hh, metrics->by_key, key, sizeof(*key), row);
	if (!row && metrics->ledger->n_requests >= REQUESTS_MAX / 2) {
		memset(key->server, 0, sizeof(key->server));
		sample_put(key->server, sizeof(key->server), SPAN_LIT(OPERATIONS_OTHER));
		HASH_FIND(hh, metrics->by_key, key, sizeof(*key), row);
	}
	if (!row && metrics->ledger->n_requests < REQUESTS_MAX)
		row = add_row(metrics, key);
	if (row)
		row->count++;
}

void metrics_response(struct metrics *metrics, unsigned status)
{
	/* a client that went away got none */
	if (status < 600 && status != 499)
		metrics->ledger->responses[status]++;
}

static void time_stages(struct metrics *metrics, const struct exchange *exchange,
	const struct outcome *outcome, uint64_t took_us)
{
	const uint64_t spent[STAGE_MAX] = {
		[STAGE_TOTAL] = took_us > outcome->upstream_us ? took_us - outcome->upstream_us : 0,
		[STAGE_GATEWAY] = exchange->gateway_us,
		[STAGE_WORKER] = outcome->worker_us,
		[STAGE_QUEUE] = exchange->waited_us + outcome->queue_us,
	};

	for (int i = 0; i < STAGE_MAX; i++)
		histogram_observe(&metrics->ledger->overhead[i], histogram_overhead, spent[i]);
}

void metrics_exchange(struct metrics *metrics, const struct exchange *exchange,
	const struct outcome *outcome, uint64_t took_us)
{
	struct request_key request = {
		.method = (uint8_t)exchange->method, .era = (uint8_t)exchange->era};

	sample_put(request.outcome, sizeof(request.outcome), span_str(outcome->word));
	sample_put(request.server, sizeof(request.server), outcome->server);
	count_request(metrics, &request);
	if (exchange->conn)
		metrics_response(metrics, outcome->status);
	if (exchange->kind != JSONRPC_REQUEST || exchange_is_endless(exchange))
		return;
	operations_observe(metrics->operations, exchange->method,
		operations_tool(metrics->operations, outcome->tool), outcome->version,
		outcome->code, took_us);
	time_stages(metrics, exchange, outcome, took_us);
}

void metrics_message_refused(struct metrics *metrics, int code)
{
	unsigned n = (unsigned)(code < 0 ? -code : code);

	metrics->ledger->refused[n < ERR_MAX ? n : ERR_INTERNAL]++;
}

void metrics_refused(struct metrics *metrics, int code)
{
	metrics_message_refused(metrics, code);
	metrics_response(metrics, (unsigned)err_http_status(code));
}

/* --- writing ----------------------------------------------------------------------------------- */

static void write_requests(const struct ledger *ledger, struct buf *out)
{
	for (unsigned i = 0; i < ledger->n_requests && i < REQUESTS_MAX; i++) {
		const struct request_row *row = &ledger->requests[i];

		buf_append_str(out, "gatehouse_requests_total{");
		sample_write_label(
			out, "method", operations_method((enum mcp_method)row->key.method));
		sample_write_field(out, "server", row->key.server, sizeof(row->key.server));
		sample_write_field(out, "era", row->key.era == MCP_MODERN ? "modern" : "legacy", 8);
		sample_write_field(out, "outcome", row->key.outcome, sizeof(row->key.outcome));
		buf_printf(out, "} %llu\n", (unsigned long long)row->count);
	}
}

static void write_overhead(const struct ledger *ledger, struct buf *out)
{
	char labels[32];

	for (int i = 0; i < STAGE_MAX; i++) {
		snprintf(labels, sizeof(labels), "stage=\"%s\"", stage_names[i]);
		histogram_write(&ledger->overhead[i], histogram_overhead,
			"gatehouse_overhead_seconds", span_str(labels), out);
	}
}

static void write_by_reason(const struct ledger *ledger, struct buf *out)
{
	for (unsigned code = 0; code < ERR_MAX; code++)
		if (ledger->refused[code])
			buf_printf(out, "gatehouse_http_refused_total{reason=\"%s\"} %llu\n",
				err_reason((int)code), (unsigned long long)ledger->refused[code]);
	for (unsigned status = 0; status < 600; status++)
		if (ledger->responses[status])
			buf_printf(out, "gatehouse_http_responses_total{status=\"%u\"} %llu\n",
				status, (unsigned long long)ledger->responses[status]);
}

/* active: a request is being answered. */
static unsigned write_channels(
	const struct gateway *gateway, const struct client_transport *transport, struct buf *out)
{
	const struct channel *channel;
	unsigned count[2] = {0, 0};

	for (channel = gateway->channels; channel; channel = channel->next)
		if (channel->ops->transport == transport && channel->conn)
			count[channel_is_busy(channel)]++;
	buf_printf(out, "gatehouse_connections{transport=\"%s\",state=\"active\"} %u\n",
		transport->name, count[1]);
	buf_printf(out, "gatehouse_connections{transport=\"%s\",state=\"idle\"} %u\n",
		transport->name, count[0]);
	return count[0] + count[1];
}

static void add_door(const struct door *door, unsigned *connections, struct http2_counts *http2)
{
	const struct http2_counts counts = http_server_http2(door->server);

	*connections += http_server_connections(door->server);
	http2->connections += counts.connections;
	http2->busy += counts.busy;
	http2->streams += counts.streams;
}

static void write_connections(const struct gateway *gateway, struct buf *out)
{
	struct http2_counts http2 = {0};
	unsigned total = 0, exchanges = gateway->n_exchanges - gateway->n_channel_exchanges;
	const struct client_transport *transport;
	unsigned busy, channels = 0;

	for (const struct door *door = gateway->doors; door; door = door->next)
		add_door(door, &total, &http2);
	for (unsigned i = 0; (transport = transport_at(i)); i++)
		if (transport != &transport_streamable)
			channels += write_channels(gateway, transport, out);
	/* a connection of HTTP/2 has many requests or none */
	busy = channels + http2.busy +
	       (exchanges > http2.streams ? exchanges - http2.streams : 0);
	buf_printf(out, "gatehouse_connections{transport=\"http\",state=\"streaming\"} %u\n",
		gateway->n_streams);
	buf_printf(out, "gatehouse_connections{transport=\"http\",state=\"active\"} %u\n",
		exchanges - gateway->n_streams);
	buf_printf(out, "gatehouse_connections{transport=\"http\",state=\"idle\"} %u\n",
		total > busy ? total - busy : 0);
	buf_printf(out, "gatehouse_http2_connections %u\ngatehouse_http2_streams %u\n",
		http2.connections, http2.streams);
}

static void write_doors(const struct ledger *ledger, struct buf *out)
{
	struct http_server_stats sum = {0};

	for (unsigned i = 0; i < METRICS_DOORS_MAX; i++) {
		sum.accepted += ledger->doors[i].accepted;
		sum.bytes_in += ledger->doors[i].bytes_in;
		sum.bytes_out += ledger->doors[i].bytes_out;
		sum.accept_pauses += ledger->doors[i].accept_pauses;
	}
	buf_printf(out,
		"gatehouse_connections_total %llu\n"
		"gatehouse_accept_pauses_total %llu\n"
		"gatehouse_http_received_bytes_total %llu\n"
		"gatehouse_http_sent_bytes_total %llu\n",
		(unsigned long long)sum.accepted, (unsigned long long)sum.accept_pauses,
		(unsigned long long)sum.bytes_in, (unsigned long long)sum.bytes_out);
}

static int write_ledger(const struct ledger *ledger, struct buf *out)
{
	write_requests(ledger, out);
	operations_write_memory(
		ledger + 1, "mcp_server_operation_duration_seconds", SPAN_NONE, out);
	write_overhead(ledger, out);
	write_by_reason(ledger, out);
	write_doors(ledger, out);
	return buf_printf(out, "gatehouse_log_dropped_total{role=\"gateway\"} %llu\n",
		(unsigned long long)ledger->log_dropped);
}

int metrics_write(const struct metrics *metrics, const struct gateway *gateway, struct buf *out)
{
	int r = write_ledger(metrics->ledger, out);

	for (unsigned i = 0; i < metrics->n_others; i++)
		r = write_ledger(metrics->others[i], out);
	write_connections(gateway, out);
	return r;
}
