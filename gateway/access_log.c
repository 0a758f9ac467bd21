#include "access_log.h"
#include "channel.h"
#include "exchange.h"
#include "gateway.h"
#include "log.h"
#include "payloads.h"

static bool is_wanted(const struct gateway *gateway, bool failed, uint64_t took_us)
{
	const struct config_access *access = &gateway->config->log_access;

	if (!log_enabled(LOG_INFO))
		return failed && access->mode != CONFIG_ACCESS_OFF && log_enabled(LOG_WARN);
	switch (access->mode) {
	case CONFIG_ACCESS_ALL:
		return true;
	case CONFIG_ACCESS_ERRORS:
		return failed;
	case CONFIG_ACCESS_SLOW:
		return failed || took_us > (uint64_t)access->slow_ms * 1000;
	case CONFIG_ACCESS_OFF:
		break;
	}
	return false;
}

static const char *executed_word(const struct outcome *outcome)
{
	static const char *const words[] = {"no", "yes", "unknown"};

	return outcome->executed < 3 ? words[outcome->executed] : "unknown";
}

static struct span method_of(const struct exchange *exchange, const struct outcome *outcome)
{
	if (outcome->method.len)
		return outcome->method;
	if (exchange->verb == EXCHANGE_POST)
		return exchange->kind == JSONRPC_BATCH ? SPAN_LIT("batch") : SPAN_NONE;
	return exchange->verb == EXCHANGE_GET ? SPAN_LIT("GET") : SPAN_LIT("DELETE");
}

/* The lines of one turn of the loop leave together. */
static void flush_soon(const struct gateway *gateway)
{
	event_active(gateway->flush, EV_TIMEOUT, 0);
}

void access_log_exchange(
	const struct exchange *exchange, const struct outcome *outcome, uint64_t took_us)
{
	if (!is_wanted(exchange->gateway, outcome->code != 0 || outcome->status >= 400, took_us))
		return;
	log_event(LOG_INFO, "call", "",
		(const struct log_kv[]){
			KV_STR("session", exchange->session_tag),
			KV_STR("request", exchange->request_id),
			KV_SPAN("trace_id", exchange_trace_id(exchange)),
			KV_SPAN("method", method_of(exchange, outcome)),
			KV_SPAN("server", outcome->server),
			KV_SPAN("tool", outcome->tool),
			KV_STR("era", exchange->era == MCP_MODERN ? "modern" : "legacy"),
			KV_SPAN("protocol", outcome->version),
			KV_SPAN("client", outcome->client),
			KV_STR("principal", PRINCIPAL),
			KV_STR("view", exchange->view->name),
			KV_STR("remote", exchange->answers->remote(exchange)),
			KV_STR("transport", exchange->answers->transport(exchange)),
			KV_STR("http_version", exchange->conn ? http_conn_version(exchange->conn) : ""),
			KV_STR("outcome", outcome->word),
			KV_INT("code", outcome->code),
			KV_INT("http_status", outcome->status),
			KV_STR("executed", executed_word(outcome)),
			KV_INT("attempt", exchange->retried ? 2 : 1),
			KV_MS("dur_ms", took_us),
			KV_MS("queue_ms", exchange->waited_us + outcome->queue_us),
			KV_MS("upstream_ms", outcome->upstream_us),
			KV_INT("bytes_in", exchange->bytes_in),
			KV_INT("bytes_out", exchange->bytes_out),
			KV_SPAN("arguments", payloads_arguments(exchange->payloads)),
			KV_SPAN("result", payloads_result(exchange->payloads)),
			KV_SPAN("error", payloads_error(exchange->payloads)),
			{LOG_KV_END, NULL, {NULL, 0}, 0},
		});
	flush_soon(exchange->gateway);
}

void access_log_remote(const struct gateway *gateway, const struct http_conn *conn,
	const struct http1_head *head, char out[NET_TEXT_MAX])
{
	struct net_address client = *http_conn_peer(conn);

	if (head && trust_has(&gateway->trust, &client))
		client = forwarded_client(head, &client, &gateway->trust);
	net_format(&client, out);
}

static void write_refused(const struct gateway *gateway, const struct http1_head *head,
	const char *remote, const char *transport, const char *http_version,
	const char *request_id, int code, const char *detail)
{
	log_event(LOG_INFO, "call", detail,
		(const struct log_kv[]){
			KV_STR("request", request_id),
			KV_SPAN("method", head ? head->method : SPAN_NONE),
			KV_SPAN("path", head ? head->path : SPAN_NONE),
			KV_STR("remote", remote),
			KV_STR("transport", transport),
			KV_STR("http_version", http_version),
			KV_STR("outcome", "refused"),
			KV_STR("reason", err_reason(code)),
			KV_INT("code", err_rpc_code(code)),
			KV_INT("http_status", err_http_status(code)),
			KV_STR("executed", "no"),
			{LOG_KV_END, NULL, {NULL, 0}, 0},
		});
	flush_soon(gateway);
}

void access_log_refused(const struct gateway *gateway, const struct http_conn *conn,
	const struct http1_head *head, const char *request_id, int code, const char *detail)
{
	char remote[NET_TEXT_MAX];

	if (!is_wanted(gateway, true, 0))
		return;
	access_log_remote(gateway, conn, head, remote);
	write_refused(gateway, head, remote, NULL, http_conn_version(conn), request_id, code,
		detail);
}

void access_log_message_refused(
	const struct channel *channel, const char *request_id, const struct err *err)
{
	if (is_wanted(channel->gateway, true, 0))
		write_refused(channel->gateway, NULL, channel->remote, channel->ops->transport->name,
			NULL, request_id, err->code, err_text(err));
}
