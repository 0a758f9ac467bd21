/*
 * What becomes of a request whose worker died. The worker says EXCHANGE_FORWARDED before a request
 * can reach a server, and all it said has been read when its link closes: without that word the
 * request has run nowhere and is sent again, once. With it, only what may safely run twice is.
 */
#include "batch.h"
#include "gateway.h"
#include "route.h"

static bool may_retry(const struct exchange *exchange)
{
	return !exchange->retried && !exchange->released &&
	       (!exchange->forwarded || exchange->safe);
}

/* Of a batch, what has its answer is left alone. False: that was all of it, or it is over. */
static bool leave_answered(struct exchange *exchange)
{
	struct outcome outcome = exchange_outcome(exchange, "ok", 200);
	int left = exchange->answered.len ? batch_cut(exchange) : 1;

	if (left < 0)
		exchange->answers->broken(exchange);
	else if (left == 0)
		exchange->answers->end(exchange, &outcome);
	return left > 0;
}

static void tell(struct exchange *exchange)
{
	bool maybe = exchange->forwarded && !exchange->safe;
	struct err err = {0};

	err_set(&err, ERR_PROCESS_DIED, "the process that worked on this request died%s",
		maybe ? "; it is not known whether the request was executed" : "");
	exchange_fail(exchange, &err, maybe ? JSONRPC_EXECUTED_UNKNOWN : JSONRPC_EXECUTED_NO);
}

void exchange_worker_died(struct exchange *exchange, struct route *route)
{
	exchange_leave(exchange);
	if (exchange->streaming && exchange_is_endless(exchange)) {
		/* the client comes back, with Last-Event-ID where there is one */
		exchange->answers->cut(exchange);
	} else if (exchange->streaming && !exchange->between_events) {
		/* half an event cannot be taken back: the client must see that the stream broke */
		exchange->answers->broken(exchange);
	} else if (!leave_answered(exchange)) {
		return;
	} else if (may_retry(exchange)) {
		exchange->retried = true;
		exchange->forwarded = exchange->safe = false;
		exchange->answers->again(exchange);
		route_resume(route, exchange);
	} else {
		tell(exchange);
	}
}
