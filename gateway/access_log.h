/* One line per request: event "call" (OPERATING, logs).
 * What log.access leaves out costs nothing. */
#ifndef GATEHOUSE_ACCESS_LOG_H
#define GATEHOUSE_ACCESS_LOG_H

#include "span.h"

#include <stdint.h>

struct exchange;
struct gateway;
struct http_conn;
struct http1_head;
struct outcome;

void access_log_exchange(
	const struct exchange *exchange, const struct outcome *outcome, uint64_t took_us);
/* A request that no worker saw. head may be NULL; code is negative. */
void access_log_refused(const struct gateway *gateway, const struct http_conn *conn,
	const struct http1_head *head, int code, const char *detail);

#endif
