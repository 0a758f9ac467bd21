/* The root as broker: two children that may talk get the two ends of a new socket pair. */
#include "node.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* How people call it: a server's worker goes by the server. */
static const char *word_of(enum role role)
{
	return role == ROLE_UPSTREAM ? "server" : role_name(role);
}

/* A session worker that was told to stop has its session until its calls are done. */
static bool takes_links(const struct child *target)
{
	return target->link && (target->state == CHILD_RUNNING ||
				       (target->role == ROLE_WORKER &&
					       target->state == CHILD_STOPPING));
}

static int find_target(struct node *node, const struct child *opener,
	const struct msg_link_open *open, struct child **ret, struct err *err)
{
	char name[LIMIT_SERVER_NAME + 1];
	struct child *target;

	if (open->role >= ROLE_MAX || !role_may_open(opener->role, (enum role)open->role))
		return err_set(err, ERR_FORBIDDEN, "%s may not open a link to %s",
			role_name(opener->role), role_name((enum role)open->role));
	snprintf(name, sizeof(name), "%.*s", SPAN_ARG(open->name));
	target = open->instance ? children_find(&node->children, open->instance)
				: children_find_named(&node->children, (enum role)open->role, name);
	if (!target || target->role != open->role)
		return err_set(err, ERR_NOT_FOUND, "no %s%s%s runs",
			word_of((enum role)open->role), *name ? " " : "", name);
	if (!takes_links(target))
		return err_set(
			err, ERR_BUSY, "%s%s%s is not ready", word_of(target->role),
			*target->name ? " " : "", target->name);
	*ret = target;
	return 0;
}

static int connect_pair(struct link *link, uint32_t stream, const struct child *opener,
	const struct child *target, struct err *err)
{
	const struct msg_link_grant grant = {
		.role = target->role, .name = span_str(target->name), .instance = target->instance};
	const struct msg_link_offer offer = {
		.role = opener->role, .name = span_str(opener->name), .instance = opener->instance};
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set_errno(err, "cannot make a link to %s", role_name(target->role));
	r = link_send(target->link, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &pair[1]);
	if (r == 0)
		r = link_send(link, MSG_LINK_GRANT, stream, &grant, SPAN_NONE, &pair[0]);
	close(pair[0]);
	close(pair[1]);
	return r < 0 ? err_set(err, (enum err_code) - r, "cannot hand out a link to %s",
			       role_name(target->role))
		     : 0;
}

void node_on_link_open(struct link *link, const struct message *msg, void *arg)
{
	struct child *opener = arg;
	struct child *target = NULL;
	struct err err = {0};
	struct msg_link_deny deny;
	int r = find_target(child_node(opener), opener, msg->fields, &target, &err);

	if (r == 0)
		r = connect_pair(link, msg->stream, opener, target, &err);
	if (r == 0)
		return;
	deny = (struct msg_link_deny){.code = (uint64_t)-r, .detail = span_str(err_text(&err))};
	link_post(link, MSG_LINK_DENY, msg->stream, &deny);
}
