/*
 * The preamble by which a proxy that passes on bytes says for whom it does: PROXY protocol,
 * versions 1 (a line of text) and 2 (binary).
 *
 * Source: proxy-protocol.txt of HAProxy, sections 2.1 and 2.2.
 */
#ifndef GATEHOUSE_PROXY_PROTOCOL_H
#define GATEHOUSE_PROXY_PROTOCOL_H

#include "err.h"
#include "network.h"

/* The longest line of version 1, with its line end. */
#define PROXY_V1_MAX 107u
/* The longest preamble of version 2 that is taken, with the extensions (TLV) that are skipped. */
#define LIMIT_PROXY_PREAMBLE 4096u

/* Does data begin with the whole signature of either version? */
bool proxy_preamble_begins(struct span data);

/*
 * data: what the connection brought so far. Returns
 *   > 0             the length of the preamble; *ret_client is who is behind it, or of kind
 *                   NET_NONE when it does not say (LOCAL, UNKNOWN): the peer speaks for itself
 *   0               it may be one: more is needed
 *   -ERR_NOT_FOUND  it is none
 *   -ERR_BAD_HTTP   it is one with a mistake, or too long; err says which
 */
int proxy_preamble_read(struct span data, struct net_address *ret_client, struct err *err);

#endif
