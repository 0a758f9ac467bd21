#include "alike.h"
#include "client.h"
#include "hash.h"

/* The bytes between the items do not count. */
static uint64_t digest_items(struct span array, uint64_t digest)
{
	struct json_iter iter = json_iter(array);
	struct span item;

	while (json_iter_element(&iter, &item))
		digest = hash64(item.p, item.len, digest);
	return digest;
}

static uint64_t digest_of(const struct client *client)
{
	return mcp_client_digest(
		client->version, span_str(client->capabilities), span_str(client->info));
}

static void compare(struct client *client, enum catalogue_kind kind)
{
	const struct reporter *reporter = &client->up->reporter;
	struct span known = span_of(reporter->lists[kind], reporter->list_len[kind]);

	if (!reporter->lists[kind])
		return;
	reporter_alike(client->up, digest_of(client), kind,
		digest_items(known, 0) == client->seen[kind].digest);
}

void alike_answered(const struct call *call, struct span result)
{
	struct client *client = call->client;
	enum catalogue_kind kind = catalogue_kind_of(call->method);
	struct span next = json_object_get(result, SPAN_LIT("nextCursor"));

	if (!client->instance || client->instance != call->instance)
		return;
	/* what a call has changed for this session says nothing of others */
	client->called |= kind == CATALOGUE_KIND_MAX;
	if (client->called || client->asked)
		return;
	client->seen[kind].digest = digest_items(
		json_object_get(result, mcp_method_info(call->method)->list),
		client->seen[kind].more ? client->seen[kind].digest : 0);
	client->seen[kind].more = json_type(next) == JSON_STRING;
	if (!client->seen[kind].more)
		compare(client, kind);
}

void alike_asked(struct client *client)
{
	if (client->asked)
		return;
	client->asked = true;
	reporter_differs(client->up, digest_of(client));
}
