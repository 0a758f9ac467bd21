/* What the root tells unasked: new catalogues and the end of processes, told on as events. */
#include "admin.h"
#include "json_write.h"
#include "log.h"

#define EVENT_MEMBERS_MAX 8192u

static void member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, "%s\"%s\":", out->len ? "," : "", key);
	json_write_string(out, value);
}

static enum server_state state_in(const struct catalogue *catalogue, struct span name)
{
	struct catalogue_server server;
	uint32_t index;

	if (!catalogue || catalogue_find_server(catalogue, name, &index) < 0)
		return SERVER_STATE_MAX;
	catalogue_get_server(catalogue, index, &server);
	return server.state;
}

static void tell_server(
	struct admin *admin, const struct catalogue_server *server, enum server_state was)
{
	struct buf out;

	buf_init(&out, EVENT_MEMBERS_MAX);
	member(&out, "server", server->name);
	member(&out, "state", span_str(server_state_name(server->state)));
	member(&out, "was",
		was < SERVER_STATE_MAX ? span_str(server_state_name(was)) : SPAN_LIT("absent"));
	if (server->error.len)
		member(&out, "error", server->error);
	events_publish(admin->events, "server.state", buf_span(&out));
	buf_free(&out);
}

static void tell_changes(struct admin *admin, const struct catalogue *fresh)
{
	struct catalogue_server server;
	struct buf out;

	for (uint32_t i = 0; i < catalogue_servers(fresh); i++) {
		enum server_state was;

		catalogue_get_server(fresh, i, &server);
		was = state_in(admin->catalogue, server.name);
		if (was != server.state)
			tell_server(admin, &server, was);
	}
	buf_init(&out, EVENT_MEMBERS_MAX);
	buf_printf(&out, "\"generation\":%llu,\"tools\":%u,\"resources\":%u,\"prompts\":%u",
		(unsigned long long)catalogue_generation(fresh),
		catalogue_count(fresh, CATALOGUE_TOOL, CATALOGUE_ALL_SERVERS),
		catalogue_count(fresh, CATALOGUE_RESOURCE, CATALOGUE_ALL_SERVERS),
		catalogue_count(fresh, CATALOGUE_PROMPT, CATALOGUE_ALL_SERVERS));
	events_publish(admin->events, "catalogue.changed", buf_span(&out));
	buf_free(&out);
}

void admin_on_catalogue(struct link *link, const struct message *msg, void *arg)
{
	struct admin *admin = process_user(arg);
	struct catalogue *fresh;
	struct err err = {0};

	(void)link;
	if (catalogue_open(msg->fds[0], &fresh, &err) < 0) {
		log_error("catalogue.unreadable", err_text(&err));
		return;
	}
	tell_changes(admin, fresh);
	catalogue_free(admin->catalogue);
	admin->catalogue = fresh;
}

void admin_on_exited(struct link *link, const struct message *msg, void *arg)
{
	struct admin *admin = process_user(arg);
	const struct msg_exited *exited = msg->fields;
	struct buf out;

	(void)link;
	buf_init(&out, EVENT_MEMBERS_MAX);
	member(&out, "role",
		span_str(exited->role < ROLE_MAX ? role_name((enum role)exited->role) : ""));
	if (exited->name.len)
		member(&out, "name", exited->name);
	buf_printf(&out, ",\"instance\":%llu", (unsigned long long)exited->instance);
	member(&out, "reason", exited->reason);
	events_publish(admin->events, "process.exited", buf_span(&out));
	buf_free(&out);
}

/* --- the state of the servers --------------------------------------------------------------- */

static enum server_state state_of(
	const struct admin *admin, const struct config_server *server, struct span *ret_error)
{
	struct catalogue_server row;
	uint32_t index;

	*ret_error = SPAN_NONE;
	if (!admin->catalogue ||
		catalogue_find_server(admin->catalogue, span_str(server->name), &index) < 0)
		return SERVER_STARTING;
	catalogue_get_server(admin->catalogue, index, &row);
	*ret_error = row.error;
	return row.state;
}

static void write_down(struct buf *out, bool first, const struct config_server *server,
	enum server_state state, struct span error)
{
	buf_append_str(out, first ? "{\"name\":" : ",{\"name\":");
	json_write_string(out, span_str(server->name));
	buf_printf(out, ",\"state\":\"%s\",\"required\":%s,\"error\":", server_state_name(state),
		server->required ? "true" : "false");
	json_write_string(out, error);
	buf_append_char(out, '}');
}

void admin_write_servers(const struct admin *admin, struct buf *out)
{
	unsigned total = 0, up = 0;
	struct buf down;

	buf_init(&down, ADMIN_REPLY_MAX);
	for (size_t i = 0; i < admin->config->server_count; i++) {
		const struct config_server *server = &admin->config->servers[i];
		enum server_state state;
		struct span error;

		if (server->disabled)
			continue;
		state = state_of(admin, server, &error);
		total++;
		if (state == SERVER_UP)
			up++;
		else
			write_down(&down, down.len == 0, server, state, error);
	}
	buf_printf(out, "{\"total\":%u,\"up\":%u,\"down\":[", total, up);
	buf_append_span(out, buf_span(&down));
	buf_append_str(out, "]}");
	buf_free(&down);
}

bool admin_lacks_required(const struct admin *admin)
{
	for (size_t i = 0; i < admin->config->server_count; i++) {
		const struct config_server *server = &admin->config->servers[i];
		struct span error;

		if (!server->disabled && server->required &&
			state_of(admin, server, &error) != SERVER_UP)
			return true;
	}
	return false;
}
