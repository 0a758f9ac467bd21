/* Exposed names: made by this rule, resolved by table, never by splitting at a separator. */
#include "catalogue.h"
#include "hash.h"

#include <stdio.h>

#define HASH_DIGITS 8u

static bool legal(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

/* Append as far as there is room, illegal bytes as '_'.
 * True if nothing had to be changed or cut. */
static bool name_append(char *name, size_t *len, size_t max, struct span part)
{
	bool plain = true;

	for (size_t i = 0; i < part.len; i++) {
		if (*len == max)
			return false;
		plain &= legal(part.p[i]);
		name[(*len)++] = legal(part.p[i]) ? part.p[i] : '_';
	}
	return plain;
}

bool catalogue_make_name(
	struct span server, struct span name, unsigned attempt, char ret_name[CATALOGUE_NAME_MAX + 1])
{
	size_t len = 0, max = attempt == 0 ? CATALOGUE_NAME_MAX : CATALOGUE_NAME_MAX - HASH_DIGITS - 1;
	bool plain = name_append(ret_name, &len, max, server);
	uint64_t hash;

	plain &= name_append(ret_name, &len, max, SPAN_LIT("__"));
	plain &= name_append(ret_name, &len, max, name);
	ret_name[len] = '\0';
	if (attempt == 0 && plain)
		return false;
	if (len > CATALOGUE_NAME_MAX - HASH_DIGITS - 1)
		len = CATALOGUE_NAME_MAX - HASH_DIGITS - 1;
	/* The hash is over both names apart, so that what was cut or replaced still tells. */
	hash = hash64(name.p, name.len, hash64(server.p, server.len, attempt ? attempt - 1 : 0));
	snprintf(ret_name + len, HASH_DIGITS + 2, "_%08x", (uint32_t)(hash ^ hash >> 32));
	return true;
}
