#include "forwarded.h"
#include "err.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

/* Addresses looked at in one chain of proxies. */
#define HOPS_MAX 32u
#define PREFIX_MAX 256u

int trust_read(struct trust *trust, const struct config_list *list)
{
	*trust = (struct trust){0};
	if (list->count == 0)
		return 0;
	trust->networks = calloc(list->count, sizeof(*trust->networks));
	if (!trust->networks)
		return -ERR_NO_MEMORY;
	for (size_t i = 0; i < list->count; i++)
		if (network_parse(span_str(list->items[i].p), &trust->networks[trust->count]) == 0)
			trust->count++;
	return 0;
}

void trust_free(struct trust *trust)
{
	free(trust->networks);
	*trust = (struct trust){0};
}

bool trust_has(const struct trust *trust, const struct net_address *address)
{
	for (size_t i = 0; i < trust->count; i++)
		if (network_contains(&trust->networks[i], address))
			return true;
	return false;
}

/* --- lists ------------------------------------------------------------------------------------ */

static struct span trim(struct span s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Takes the first element off a list: what stands before the first separator outside of quotes.
 * False: there is none left. */
static bool take_first(struct span *list, char separator, struct span *ret)
{
	bool quoted = false;
	size_t i = 0;

	if (!list->p)
		return false;
	for (; i < list->len && (quoted || list->p[i] != separator); i++) {
		if (quoted && list->p[i] == '\\')
			i++;
		else if (list->p[i] == '"')
			quoted = !quoted;
	}
	if (i > list->len)
		i = list->len;
	*ret = trim(span_of(list->p, i));
	*list = i < list->len ? span_of(list->p + i + 1, list->len - i - 1) : SPAN_NONE;
	return true;
}

/* The last elements of a list, the last one first; at most HOPS_MAX + 1. Returns how many. */
static unsigned last_elements(struct span list, struct span ret[HOPS_MAX + 1])
{
	struct span ring[HOPS_MAX + 1];
	unsigned seen = 0, n;

	while (list.len + seen > 0 && take_first(&list, ',', &ring[seen % (HOPS_MAX + 1)]))
		seen++;
	n = seen < HOPS_MAX + 1 ? seen : HOPS_MAX + 1;
	for (unsigned i = 0; i < n; i++)
		ret[i] = ring[(seen - 1 - i) % (HOPS_MAX + 1)];
	return n;
}

/* for=192.0.2.1;proto=https → 192.0.2.1, without quotes; empty when there is no for. */
static struct span for_of(struct span element)
{
	struct span pair, found = SPAN_NONE;

	while (take_first(&element, ';', &pair))
		if (pair.len >= 4 && strncasecmp(pair.p, "for=", 4) == 0)
			found = span_of(pair.p + 4, pair.len - 4);
	if (found.len >= 2 && found.p[0] == '"' && found.p[found.len - 1] == '"')
		found = span_of(found.p + 1, found.len - 2);
	return found;
}

struct walk {
	const struct trust *trust;
	struct net_address client; /* as far as it is known */
	unsigned hops;
	bool seen; /* there was such a header */
	bool over; /* what is left was written by nobody who is trusted */
};

static void step(struct walk *walk, struct span node)
{
	struct net_address address;

	/* "unknown", "_hidden" and nonsense: the last who is known stays */
	if (++walk->hops > HOPS_MAX || net_parse(node, &address) < 0) {
		walk->over = true;
		return;
	}
	walk->client = address;
	walk->over = !trust_has(walk->trust, &address);
}

/* The lines of a header are one list, the last line its end. */
static struct walk walk_back(const struct http1_head *head, const char *name, bool parameters,
	const struct net_address *peer, const struct trust *trust)
{
	struct walk walk = {.trust = trust, .client = *peer};

	for (unsigned i = head->nheaders; i-- > 0 && !walk.over;) {
		struct span elements[HOPS_MAX + 1];
		unsigned n;

		if (!http1_name_is(head->headers[i].name, name))
			continue;
		walk.seen = true;
		n = last_elements(head->headers[i].value, elements);
		for (unsigned k = 0; k < n && !walk.over; k++)
			step(&walk, parameters ? for_of(elements[k]) : elements[k]);
	}
	return walk;
}

static bool same_host(const struct net_address *a, const struct net_address *b)
{
	return a->kind == b->kind && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

struct net_address forwarded_client(
	const struct http1_head *head, const struct net_address *peer, const struct trust *trust)
{
	struct walk standard = walk_back(head, "Forwarded", true, peer, trust);
	struct walk usual = walk_back(head, "X-Forwarded-For", false, peer, trust);

	if (!standard.seen)
		return usual.client;
	if (!usual.seen || same_host(&standard.client, &usual.client))
		return standard.client;
	return *peer;
}

/* --- how it was addressed --------------------------------------------------------------------- */

/* Of the header's last line, its last element: what the proxy next to us wrote. */
static struct span last_of(const struct http1_head *head, const char *name)
{
	struct span last = SPAN_NONE;

	for (unsigned i = head->nheaders; i-- > 0;) {
		struct span value = head->headers[i].value;

		if (!http1_name_is(head->headers[i].name, name))
			continue;
		while (take_first(&value, ',', &last))
			;
		return last;
	}
	return last;
}

static bool is_authority(struct span host)
{
	for (size_t i = 0; i < host.len; i++)
		if (!isalnum((unsigned char)host.p[i]) && !memchr(".-_:[]", host.p[i], 6))
			return false;
	return host.len > 0;
}

bool forwarded_host(const struct http1_head *head, struct span *ret_host)
{
	struct span host = last_of(head, "X-Forwarded-Host");
	struct span proto = last_of(head, "X-Forwarded-Proto");

	*ret_host = is_authority(host) ? host : head->host;
	return proto.len == 5 && strncasecmp(proto.p, "https", 5) == 0;
}

struct span forwarded_prefix(const struct http1_head *head)
{
	struct span prefix = last_of(head, "X-Forwarded-Prefix");

	while (prefix.len && prefix.p[prefix.len - 1] == '/')
		prefix.len--;
	/* "//" would begin a host */
	if (prefix.len < 2 || prefix.len > PREFIX_MAX || prefix.p[0] != '/' || prefix.p[1] == '/')
		return SPAN_NONE;
	for (size_t i = 0; i < prefix.len; i++)
		if (!isalnum((unsigned char)prefix.p[i]) && !strchr("/-._~%", prefix.p[i]))
			return SPAN_NONE;
	return prefix;
}
