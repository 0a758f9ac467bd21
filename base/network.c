#include "network.h"
#include "err.h"

#include <arpa/inet.h>
#include <stdio.h>

#define V4_BITS 96u /* what stands before an IPv4 address */

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const struct net_address *address)
{
	return memcmp(address->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

struct net_address net_from_v4(const void *bytes, uint16_t port)
{
	struct net_address address = {.kind = NET_INET, .port = port};

	memcpy(address.bytes, v4_prefix, sizeof(v4_prefix));
	memcpy(address.bytes + sizeof(v4_prefix), bytes, 4);
	return address;
}

struct net_address net_from_v6(const void *bytes, uint16_t port)
{
	struct net_address address = {.kind = NET_INET, .port = port};

	memcpy(address.bytes, bytes, 16);
	return address;
}

/* Decimal digits alone, up to max. */
static int parse_number(struct span text, unsigned max, unsigned *ret)
{
	unsigned n = 0;

	if (text.len == 0 || text.len > 5)
		return -ERR_INVALID_ARGUMENT;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return -ERR_INVALID_ARGUMENT;
		n = n * 10 + (unsigned)(text.p[i] - '0');
	}
	if (n > max)
		return -ERR_INVALID_ARGUMENT;
	*ret = n;
	return 0;
}

static int parse_host(struct span host, struct net_address *ret)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t bytes[16];

	if (host.len == 0 || host.len >= sizeof(text))
		return -ERR_INVALID_ARGUMENT;
	memcpy(text, host.p, host.len);
	text[host.len] = '\0';
	/* inet_pton would stop at a zero byte */
	if (strlen(text) != host.len)
		return -ERR_INVALID_ARGUMENT;
	if (inet_pton(AF_INET, text, bytes) == 1)
		*ret = net_from_v4(bytes, 0);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		*ret = net_from_v6(bytes, 0);
	else
		return -ERR_INVALID_ARGUMENT;
	return 0;
}

/* Separates ":4711" from what may have a port. A bare IPv6 address has several colons. */
static int split_port(struct span text, struct span *ret_host, struct span *ret_port)
{
	const char *end, *colon;

	*ret_host = text;
	*ret_port = SPAN_NONE;
	if (text.len && text.p[0] == '[') {
		end = memchr(text.p, ']', text.len);
		if (!end)
			return -ERR_INVALID_ARGUMENT;
		*ret_host = span_of(text.p + 1, (size_t)(end - text.p) - 1);
		*ret_port = span_of(end + 1, text.len - (size_t)(end + 1 - text.p));
		return 0;
	}
	colon = text.len ? memchr(text.p, ':', text.len) : NULL;
	if (!colon || memchr(colon + 1, ':', text.len - (size_t)(colon + 1 - text.p)))
		return 0;
	*ret_host = span_of(text.p, (size_t)(colon - text.p));
	*ret_port = span_of(colon, text.len - ret_host->len);
	return 0;
}

int net_parse(struct span text, struct net_address *ret)
{
	struct net_address address;
	struct span host, port;
	unsigned number = 0;
	int r = split_port(text, &host, &port);

	if (r == 0)
		r = parse_host(host, &address);
	/* brackets are for IPv6 */
	if (r == 0 && host.p != text.p && is_v4(&address))
		r = -ERR_INVALID_ARGUMENT;
	if (r == 0 && port.len)
		r = port.p[0] == ':'
			    ? parse_number(span_of(port.p + 1, port.len - 1), 65535, &number)
			    : -ERR_INVALID_ARGUMENT;
	if (r < 0)
		return r;
	address.port = (uint16_t)number;
	*ret = address;
	return 0;
}

int network_parse(struct span text, struct network *ret)
{
	const char *slash = text.len ? memchr(text.p, '/', text.len) : NULL;
	struct span host = slash ? span_of(text.p, (size_t)(slash - text.p)) : text;
	struct network network = {.bits = 128};
	unsigned before, bits;
	int r;

	if (span_is(text, "unix")) {
		*ret = (struct network){.address = {.kind = NET_UNIX}};
		return 0;
	}
	r = parse_host(host, &network.address);
	if (r == 0 && slash) {
		before = memchr(host.p, ':', host.len) ? 0 : V4_BITS;
		r = parse_number(span_of(slash + 1, text.len - host.len - 1), 128 - before, &bits);
		network.bits = before + bits;
	}
	if (r == 0)
		*ret = network;
	return r;
}

bool network_contains(const struct network *network, const struct net_address *address)
{
	unsigned bytes = network->bits / 8, rest = network->bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	if (address->kind != network->address.kind)
		return false;
	if (address->kind != NET_INET)
		return address->kind == NET_UNIX;
	if (memcmp(address->bytes, network->address.bytes, bytes) != 0)
		return false;
	return rest == 0 || ((address->bytes[bytes] ^ network->address.bytes[bytes]) & mask) == 0;
}

void net_format(const struct net_address *address, char out[NET_TEXT_MAX])
{
	char text[INET6_ADDRSTRLEN];
	bool v4 = is_v4(address);

	if (address->kind != NET_INET) {
		snprintf(out, NET_TEXT_MAX, "%s", address->kind == NET_UNIX ? "unix" : "");
		return;
	}
	inet_ntop(v4 ? AF_INET : AF_INET6, address->bytes + (v4 ? sizeof(v4_prefix) : 0), text,
		sizeof(text));
	if (!address->port)
		snprintf(out, NET_TEXT_MAX, "%s", text);
	else
		snprintf(out, NET_TEXT_MAX, v4 ? "%s:%u" : "[%s]:%u", text, address->port);
}
