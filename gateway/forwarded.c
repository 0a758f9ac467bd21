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

/* --- lists, from the end ---------------------------------------------------------------------- */

static struct span trim(struct span s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Takes the last element off a list: what stands behind the last separator outside of quotes. */
static struct span take_last(struct span *list, char separator)
{
	size_t cut = 0;
	bool quoted = false, found = false;
	struct span last;

	for (size_t i = 0; i < list->len; i++) {
		if (quoted && list->p[i] == '\\') {
			i++;
		} else if (list->p[i] == '"') {
			quoted = !quoted;
		} else if (list->p[i] == separator && !quoted) {
			cut = i;
			found = true;
		}
	}
	last = found ? span_of(list->p + cut + 1, list->len - cut - 1) : *list;
	*list = found ? span_of(list->p, cut) : SPAN_NONE;
	return trim(last);
}

/* for=192.0.2.1;proto=https → 192.0.2.1, without quotes; empty when there is no for. */
static struct span for_of(struct span element)
{
	while (element.len) {
		struct span pair = take_last(&element, ';');

		if (pair.len < 4 || strncasecmp(pair.p, "for=", 4) != 0)
			continue;
		pair = span_of(pair.p + 4, pair.len - 4);
		if (pair.len >= 2 && pair.p[0] == '"' && pair.p[pair.len - 1] == '"')
			pair = span_of(pair.p + 1, pair.len - 2);
		return pair;
	}
	return SPAN_NONE;
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
		struct span value = head->headers[i].value;

		if (!http1_name_is(head->headers[i].name, name))
			continue;
		walk.seen = true;
		while (value.len && !walk.over) {
			struct span element = take_last(&value, ',');

			step(&walk, parameters ? for_of(element) : element);
		}
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
	for (unsigned i = head->nheaders; i-- > 0;) {
		struct span value = head->headers[i].value;

		if (http1_name_is(head->headers[i].name, name))
			return take_last(&value, ',');
	}
	return SPAN_NONE;
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
