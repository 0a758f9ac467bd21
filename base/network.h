/*
 * Addresses and networks: who a peer is, and whether it belongs to a list. An IPv4 address and the
 * same one mapped into IPv6 (RFC 4291 §2.5.5.2) are one and the same.
 */
#ifndef GATEHOUSE_NETWORK_H
#define GATEHOUSE_NETWORK_H

#include "span.h"

#include <stdint.h>

enum net_kind { NET_NONE, NET_INET, NET_UNIX };

struct net_address {
	enum net_kind kind;
	uint8_t bytes[16]; /* of NET_INET, in network order; IPv4 mapped */
	uint16_t port;     /* 0: not known */
};

struct network {
	struct net_address address;
	unsigned bits; /* leading ones that must agree; of 128 */
};

/* "[2001:db8::1]:65535" and its end. */
#define NET_TEXT_MAX 56

struct net_address net_from_v4(const void *bytes, uint16_t port);
struct net_address net_from_v6(const void *bytes, uint16_t port);

/*
 * "192.0.2.1", "192.0.2.1:4711", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711". Returns 0 or
 * -ERR_INVALID_ARGUMENT; *ret is then untouched.
 */
int net_parse(struct span text, struct net_address *ret);

/* "10.0.0.0/8", "fd00::/8", a bare address, or "unix" for all peers on Unix sockets. As net_parse.
 */
int network_parse(struct span text, struct network *ret);

bool network_contains(const struct network *network, const struct net_address *address);

/* As net_parse reads it, with the port where there is one; "unix"; "" for none. */
void net_format(const struct net_address *address, char out[NET_TEXT_MAX]);

#endif
