/* gatehouse-admin: see admin.h. */
#include "admin.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int take_config(struct admin *admin, struct span json, struct err *err)
{
	struct config *config;
	int r = config_read_json(json, &config, err);

	if (r < 0)
		return r;
	config_free(admin->config);
	admin->config = config;
	return 0;
}

static int open_sockets(struct admin *admin, struct err *err)
{
	const char *path = admin->config->admin_socket.p;
	const char *group = admin->config->admin_group.p;
	char standard[4096];
	int r;

	if (!*path) {
		snprintf(standard, sizeof(standard), "%s/admin.sock",
			process_run_dir(admin->process));
		path = standard;
	}
	r = socket_open(process_base(admin->process), path, group, admin_on_request, admin,
		&admin->socket, err);
	if (r == 0)
		r = events_open(process_base(admin->process), path, group, &admin->events, err);
	return r;
}

static int before_jail(struct process *process, struct span config, struct err *err)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	int r;

	if (!admin)
		return err_set(err, ERR_NO_MEMORY, "no memory for the admin process");
	admin->process = process;
	process_set_user(process, admin);
	admin->cores = sysconf(_SC_NPROCESSORS_ONLN);
	admin->parts = parts_new(process);
	if (!admin->parts)
		return err_set(err, ERR_NO_MEMORY, "no memory for the admin process");
	r = take_config(admin, config, err);
	if (r == 0)
		r = open_sockets(admin, err);
	return r;
}

static void configured(struct process *process, struct span config, uint64_t generation)
{
	struct admin *admin = process_user(process);
	struct err err = {0};
	char text[48];

	if (take_config(admin, config, &err) < 0) {
		log_error("config.unreadable", err_text(&err));
		return;
	}
	snprintf(text, sizeof(text), "\"generation\":%llu", (unsigned long long)generation);
	events_publish(admin->events, "config.changed", span_str(text));
}

static void on_listener(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_listener *listener = msg->fields;
	struct admin *admin = process_user(arg);
	struct err err = {0};
	int fd = msg->fds[0];

	(void)link;
	if (!span_is(listener->kind, "metrics"))
		return;
	msg->fds[0] = -1;
	if (admin_http_listen(admin, fd, &err) < 0)
		log_error("metrics.failed", err_text(&err), KV_SPAN("url", listener->url));
}

static void on_root_reply(struct link *link, const struct message *msg, void *arg)
{
	struct admin *admin = process_user(arg);

	(void)link;
	parts_root_replied(admin->parts, msg);
}

static void cleanup(struct process *process)
{
	struct admin *admin = process_user(process);

	if (!admin)
		return;
	/* first what asks, then what is asked */
	admin_http_close(admin);
	socket_close(admin->socket);
	events_close(admin->events);
	parts_free(admin->parts);
	catalogue_free(admin->catalogue);
	config_free(admin->config);
	free(admin);
}

static const struct link_handlers root_handlers = {.on = {[MSG_QUERY_REPLY] = on_root_reply,
							   [MSG_LISTENER] = on_listener,
							   [MSG_CATALOGUE] = admin_on_catalogue,
							   [MSG_EXITED] = admin_on_exited}};

static const struct process_peer peers[] = {
	{ROLE_REGISTRY, &parts_handlers, NULL},
	{ROLE_SESSIONS, &parts_handlers, NULL},
	{ROLE_GATEWAY, &parts_handlers, NULL},
	{ROLE_UPSTREAM, &parts_handlers, NULL},
	{ROLE_MAX, NULL, NULL},
};

static const struct process_role admin_role = {
	.role = ROLE_ADMIN,
	.root = &root_handlers,
	.peers = peers,
	.before_jail = before_jail,
	.configured = configured,
	.cleanup = cleanup,
};

int main(int argc, char **argv)
{
	return process_main(&admin_role, argc, argv);
}
