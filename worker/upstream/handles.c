#include "handles.h"
#include "json_write.h"
#include "seal.h"

static int make_mac(const struct client *client, struct span id, char hex[SEAL_MAC_SIZE])
{
	const struct span facts[] = {
		SPAN_LIT("task"),
		span_str(client->up->server->name),
		span_str(client->principal),
		id,
	};

	return seal_mac(client->up->seal, facts, sizeof(facts) / sizeof(*facts), hex);
}

/* object with another string in place of its taskId. */
static int replace(struct span object, struct span token, struct span text, struct buf *out)
{
	struct buf quoted;
	struct json_edit edit = {.at = token};
	int r;

	buf_init(&quoted, 6 * TASK_HANDLE_MAX + 2);
	r = json_write_string(&quoted, text);
	edit.with = buf_span(&quoted);
	if (r == 0)
		r = json_splice(object, &edit, 1, out);
	buf_free(&quoted);
	return r;
}

bool handle_is_in(const struct call *call, struct span result)
{
	if (!call->client || call->client->era != MCP_MODERN ||
		call->instance->era != MCP_MODERN)
		return false;
	if (mcp_method_info(call->method)->route == MCP_ROUTE_TASK)
		return json_object_get(result, SPAN_LIT("taskId")).len > 0;
	return json_equal_string(
		json_object_get(result, SPAN_LIT("resultType")), SPAN_LIT("task"));
}

int handle_give(const struct client *client, struct span object, struct buf *out, struct err *err)
{
	struct span token = json_object_get(object, SPAN_LIT("taskId")), id;
	char room[TASK_ID_MAX], mac[SEAL_MAC_SIZE];
	struct buf text;
	int r;

	if (json_string_copy(token, room, sizeof(room), &id) < 0 || id.len == 0)
		return err_set(err, ERR_PROTOCOL,
			"%s: a task's taskId is missing, no string, or longer than %u bytes",
			client->up->server->name, TASK_ID_MAX);
	r = make_mac(client, id, mac);
	buf_init(&text, TASK_HANDLE_MAX);
	if (r == 0)
		r = buf_printf(&text, TASK_HANDLE_PREFIX "%s.%.*s.", client->up->server->name,
			(int)TASK_HANDLE_MAC, mac);
	if (r == 0)
		r = buf_append_span(&text, id);
	if (r == 0)
		r = replace(object, token, buf_span(&text), out);
	buf_free(&text);
	return r < 0 ? err_set(err, (enum err_code) - r, "a task's handle cannot be written") : 0;
}

int handle_take(const struct client *client, struct span params, struct buf *out, struct err *err)
{
	struct span token = json_object_get(params, SPAN_LIT("taskId")), text;
	char room[TASK_HANDLE_MAX], mac[SEAL_MAC_SIZE];
	struct task_handle handle;
	int r;

	if (json_string_copy(token, room, sizeof(room), &text) < 0 ||
		!task_handle_split(text, &handle) ||
		!span_is(handle.server, client->up->server->name) ||
		make_mac(client, handle.id, mac) < 0 ||
		!seal_same(span_of(mac, TASK_HANDLE_MAC), handle.mac))
		return err_set(err, ERR_INVALID_PARAMS, "taskId: the task is not known");
	r = replace(params, token, handle.id, out);
	return r < 0 ? err_set(err, (enum err_code) - r, "the request cannot be written") : 0;
}
