#include "proxy_protocol.h"

#include <arpa/inet.h>

static const struct span v1_signature = SPAN_LIT("PROXY ");
static const struct span v2_signature = SPAN_LIT("\r\n\r\n\0\r\nQUIT\n");

/* Version 2, behind the signature: version and command, family, length. */
#define V2_HEAD 16u
#define V2_LOCAL 0x20
#define V2_PROXY 0x21

/* Families of version 2, with the transport; and the bytes of both addresses with their ports. */
#define V2_UNSPEC 0x00
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define V2_UNIX 0x31
#define V2_TCP4_BYTES 12u
#define V2_TCP6_BYTES 36u
#define V2_UNIX_BYTES 216u

static int mistake(struct err *err, const char *what)
{
	return err_set(err, ERR_BAD_HTTP, "PROXY protocol: %s", what);
}

static bool begins(struct span data, struct span with)
{
	return data.len >= with.len && memcmp(data.p, with.p, with.len) == 0;
}

bool proxy_preamble_begins(struct span data)
{
	return begins(data, v1_signature) || begins(data, v2_signature);
}

/* Are these the first bytes of it, as far as they go? */
static bool may_become(struct span data, struct span with)
{
	return memcmp(data.p, with.p, data.len < with.len ? data.len : with.len) == 0;
}

/* --- version 1 ------------------------------------------------------------------------------- */

/* Up to the next space, or to the end; false when it is empty. */
static bool next_word(struct span *line, struct span *ret)
{
	const char *space = line->len ? memchr(line->p, ' ', line->len) : NULL;
	size_t len = space ? (size_t)(space - line->p) : line->len;

	*ret = span_of(line->p, len);
	len += space ? 1 : 0;
	*line = span_of(line->p + len, line->len - len);
	return ret->len > 0;
}

static bool read_host(struct span word, int family, void *bytes)
{
	char text[INET6_ADDRSTRLEN];

	if (word.len >= sizeof(text))
		return false;
	memcpy(text, word.p, word.len);
	text[word.len] = '\0';
	return strlen(text) == word.len && inet_pton(family, text, bytes) == 1;
}

/* Decimal, without leading zeros. */
static bool read_port(struct span word, uint16_t *ret)
{
	unsigned n = 0;

	if (word.len > 5 || (word.p[0] == '0' && word.len > 1))
		return false;
	for (size_t i = 0; i < word.len; i++) {
		if (word.p[i] < '0' || word.p[i] > '9')
			return false;
		n = n * 10 + (unsigned)(word.p[i] - '0');
	}
	*ret = (uint16_t)n;
	return n <= 65535;
}

/* "TCP4 192.0.2.1 192.0.2.2 4711 80", "UNKNOWN" with whatever follows. */
static int read_v1_line(struct span line, struct net_address *ret, struct err *err)
{
	struct span word[5];
	uint8_t source[16], target[16];
	uint16_t source_port, target_port;
	int family;

	if (!next_word(&line, &word[0]))
		return mistake(err, "the line names no protocol");
	if (span_is(word[0], "UNKNOWN"))
		return 0;
	if (!span_is(word[0], "TCP4") && !span_is(word[0], "TCP6"))
		return mistake(err, "the line names neither TCP4 nor TCP6 nor UNKNOWN");
	for (int i = 1; i < 5; i++)
		if (!next_word(&line, &word[i]))
			return mistake(err, "the line has too few words");
	family = span_is(word[0], "TCP4") ? AF_INET : AF_INET6;
	if (!read_host(word[1], family, source) || !read_host(word[2], family, target))
		return mistake(err, "the line has an address that is none");
	if (!read_port(word[3], &source_port) || !read_port(word[4], &target_port) ||
		line.p[-1] == ' ')
		return mistake(err, "the line has a port that is none");
	*ret = family == AF_INET ? net_from_v4(source, source_port)
				 : net_from_v6(source, source_port);
	return 0;
}

static int read_v1(struct span data, struct net_address *ret, struct err *err)
{
	size_t look = data.len < PROXY_V1_MAX ? data.len : PROXY_V1_MAX;
	const char *end = memchr(data.p, '\n', look);
	size_t len;
	int r;

	if (!end)
		return look < PROXY_V1_MAX ? 0 : mistake(err, "the line is longer than 107 bytes");
	len = (size_t)(end - data.p);
	if (data.p[len - 1] != '\r')
		return mistake(err, "the line does not end with CR LF");
	r = read_v1_line(span_of(data.p + v1_signature.len, len - 1 - v1_signature.len), ret, err);
	return r < 0 ? r : (int)len + 1;
}

/* --- version 2 ------------------------------------------------------------------------------- */

static unsigned read_u16(const char *p)
{
	return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

/* body: addresses, then extensions. */
static int read_v2_addresses(
	unsigned family, struct span body, struct net_address *ret, struct err *err)
{
	switch (family) {
	case V2_UNSPEC:
		return 0;
	case V2_TCP4:
		if (body.len < V2_TCP4_BYTES)
			return mistake(err, "it is too short for its addresses");
		*ret = net_from_v4(body.p, (uint16_t)read_u16(body.p + 8));
		return 0;
	case V2_TCP6:
		if (body.len < V2_TCP6_BYTES)
			return mistake(err, "it is too short for its addresses");
		*ret = net_from_v6(body.p, (uint16_t)read_u16(body.p + 32));
		return 0;
	case V2_UNIX:
		if (body.len < V2_UNIX_BYTES)
			return mistake(err, "it is too short for its addresses");
		*ret = (struct net_address){.kind = NET_UNIX};
		return 0;
	default:
		return mistake(err, "it names a family or transport that is not served");
	}
}

static int read_v2(struct span data, struct net_address *ret, struct err *err)
{
	unsigned command, length;
	int r = 0;

	if (data.len < V2_HEAD)
		return 0;
	command = (unsigned char)data.p[v2_signature.len];
	length = read_u16(data.p + v2_signature.len + 2);
	if (command != V2_LOCAL && command != V2_PROXY)
		return mistake(err, "it has a version or command that is not known");
	if (V2_HEAD + length > LIMIT_PROXY_PREAMBLE)
		return mistake(err, "it is longer than 4096 bytes");
	if (data.len < V2_HEAD + length)
		return 0;
	if (command == V2_PROXY)
		r = read_v2_addresses((unsigned char)data.p[v2_signature.len + 1],
			span_of(data.p + V2_HEAD, length), ret, err);
	return r < 0 ? r : (int)(V2_HEAD + length);
}

int proxy_preamble_read(struct span data, struct net_address *ret_client, struct err *err)
{
	*ret_client = (struct net_address){.kind = NET_NONE};
	if (begins(data, v1_signature))
		return read_v1(data, ret_client, err);
	if (begins(data, v2_signature))
		return read_v2(data, ret_client, err);
	if (data.len == 0 || may_become(data, v1_signature) || may_become(data, v2_signature))
		return 0;
	return -ERR_NOT_FOUND;
}
