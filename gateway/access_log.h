/* One line per request: event "call" (OPERATING, logs).
 * What log.access leaves out costs nothing. */
#ifndef GATEHOUSE_ACCESS_LOG_H
#define GATEHOUSE_ACCESS_LOG_H

#include "network.h"

#include <stdint.h>

struct channel;
struct err;
struct exchange;
struct gateway;
struct http_conn;
struct http1_head;
struct outcome;

void access_log_exchange(
	const struct exchange *exchange, const struct outcome *outcome, uint64_t took_us);
/* A request that no worker saw. head may be NULL; code is negative. */
void access_log_refused(const struct gateway *gateway, const struct http_conn *conn,
	const struct http1_head *head, const char *request_id, int code, const char *detail);
/* The same for a message on a channel. */
void access_log_message_refused(
	const struct channel *channel, const char *request_id, const struct err *err);
/* The client, behind trusted proxies as far as their headers tell. head may be NULL. */
void access_log_remote(const struct gateway *gateway, const struct http_conn *conn,
	const struct http1_head *head, char out[NET_TEXT_MAX]);

#endif
