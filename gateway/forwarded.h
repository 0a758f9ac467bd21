/*
 * Who is behind the proxies. Each proxy adds the address of whom it got the request from at the end
 * of Forwarded (RFC 7239) or X-Forwarded-For. Nothing but what a trusted proxy wrote is believed:
 * from the end of the list, the first address that is no trusted proxy is the client.
 */
#ifndef GATEHOUSE_FORWARDED_H
#define GATEHOUSE_FORWARDED_H

#include "config.h"
#include "http1.h"
#include "network.h"

/* trusted_proxies, read. */
struct trust {
	struct network *networks;
	size_t count;
};

/* What the list says that config has checked. 0 or -ERR_NO_MEMORY; *trust is then empty. */
int trust_read(struct trust *trust, const struct config_list *list);
void trust_free(struct trust *trust);
bool trust_has(const struct trust *trust, const struct net_address *address);

/*
 * The client of a request that came from peer, a trusted proxy; peer itself where the headers do
 * not say. Both headers may stand there (a proxy that writes one may pass on the other as its
 * client
 * sent it): then they are believed as far as they agree.
 */
struct net_address forwarded_client(
	const struct http1_head *head, const struct net_address *peer, const struct trust *trust);

/*
 * How the client wrote the address of this gateway, by X-Forwarded-Proto and X-Forwarded-Host of a
 * trusted proxy: *ret_host is head->host where it does not say; returns whether it said https.
 */
bool forwarded_host(const struct http1_head *head, struct span *ret_host);

/*
 * X-Forwarded-Prefix of the last proxy: what it has cut off the front of the path, "/mcp-gateway",
 * without a slash at its end; empty where there is none, or none that may stand in a path.
 */
struct span forwarded_prefix(const struct http1_head *head);

#endif
