#include "kept.h"
#include "clock.h"
#include "log.h"
#include "node.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* How long a process waits for an upstream worker; never longer than one that is not used is let live (idle). */
#define WAIT_MS 120000
/* What so many upstream workers in a row took and then died is perhaps what they die of. */
#define HANDED_MAX 5u
/* For one that nobody waits for, between the end of its input, TERM and KILL. */
#define GRACE_MS 2000u

int node_keep(struct node *node, struct child *keeper, int pipes[3])
{
	struct kept *kept = calloc(1, sizeof(*kept));

	if (!kept)
		return -ERR_NO_MEMORY;
	kept->instance = keeper->instance;
	for (int i = 0; i < 3; i++) {
		kept->pipes[i] = pipes[i];
		pipes[i] = -1;
	}
	DL_APPEND(node->kept, kept);
	keeper->kept = kept;
	return 0;
}

void node_drop_pipes(struct child *keeper)
{
	struct kept *kept = keeper->kept;

	for (int i = 0; kept && i < 3; i++) {
		if (kept->pipes[i] >= 0)
			close(kept->pipes[i]);
		kept->pipes[i] = -1;
	}
}

void node_let_server_go(struct child *keeper)
{
	node_drop_pipes(keeper);
	child_let_go(keeper);
}

void node_forget_kept(struct node *node, struct child *keeper)
{
	struct kept *kept = keeper->kept;

	if (!kept)
		return;
	node_drop_pipes(keeper);
	DL_DELETE(node->kept, kept);
	keeper->kept = NULL;
	free(kept->state);
	free(kept);
}

/* --- the end of one that nobody speaks with ---------------------------------------------------- */

static void end_server(struct child *keeper)
{
	const struct msg_server_stop stop = {.instance = keeper->instance, .grace_ms = GRACE_MS};

	node_drop_pipes(keeper);
	keeper->state = CHILD_STOPPING;
	if (!keeper->link || link_post(keeper->link, MSG_SERVER_STOP, 0, &stop) < 0)
		child_let_go(keeper);
}

static bool is_waiting(const struct child *keeper)
{
	return keeper && keeper->parent == 0 && keeper->state != CHILD_STOPPING;
}

void node_end_waiting(struct node *node, const char *name)
{
	const struct kept *kept;

	DL_FOREACH(node->kept, kept)
	{
		struct child *keeper = children_find(&node->children, kept->instance);

		if (is_waiting(keeper) && (!name || strcmp(keeper->name, name) == 0))
			end_server(keeper);
	}
}

static uint64_t patience_ms(const struct node *node, const char *name)
{
	const struct config_server *server = config_find_server(node->config, name);

	return server && server->idle < WAIT_MS ? (uint64_t)server->idle : WAIT_MS;
}

void node_look_at_waiting(struct node *node)
{
	uint64_t now = clock_ms();
	const struct kept *kept;

	DL_FOREACH(node->kept, kept)
	{
		struct child *keeper = children_find(&node->children, kept->instance);

		if (!is_waiting(keeper) ||
			now - kept->without_ms <= patience_ms(node, keeper->name))
			continue;
		log_warn("server.given_up", "no process has come to speak with it: it is ended",
			KV_STR("server", keeper->name), KV_STR("session", keeper->label));
		end_server(keeper);
	}
}

/* --- from one upstream worker to the next ------------------------------------------------------- */

static void keep_state(struct kept *kept, struct span state)
{
	free(kept->state);
	kept->state = malloc(state.len);
	kept->state_len = kept->state ? state.len : 0;
	if (kept->state)
		memcpy(kept->state, state.p, state.len);
}

static struct kept *find_of(const struct child *upstream, uint64_t instance)
{
	struct child *keeper = children_find(&child_node(upstream)->children, instance);

	return keeper && keeper->parent == upstream->instance ? keeper->kept : NULL;
}

void node_on_server_keep(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_keep *keep = msg->fields;
	struct kept *kept = find_of(arg, keep->instance);

	(void)link;
	if (!kept)
		return;
	if (msg->payload.len)
		keep_state(kept, msg->payload);
	kept->busy = keep->busy;
	kept->handed = 0;
	kept->without_ms = 0;
}

void node_on_server_amid(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_server_amid *amid = msg->fields;
	struct kept *kept = find_of(arg, amid->instance);

	(void)link;
	if (kept)
		kept->amid = amid->amid;
}

/* Its upstream worker was told to stop where its processes are to end, too. */
static bool can_go_on(const struct node *node, const struct child *upstream,
	const struct child *keeper)
{
	const struct kept *kept = keeper->kept;

	return !node->stopping && (upstream->state != CHILD_STOPPING || upstream->hands_on) &&
	       keeper->state != CHILD_STOPPING && keeper->link && kept && kept->state &&
	       !kept->busy && kept->handed < HANDED_MAX &&
	       node_wants_server(node, upstream->name);
}

static void leave(struct node *node, const struct child *upstream, struct child *keeper)
{
	if (keeper->state == CHILD_ASKED) {
		child_failed(keeper);
	} else if (can_go_on(node, upstream, keeper)) {
		keeper->parent = 0;
		if (!keeper->kept->without_ms)
			keeper->kept->without_ms = clock_ms();
	} else {
		node_let_server_go(keeper);
	}
}

void node_leave_servers(struct node *node, const struct child *upstream)
{
	struct child *child, *next;

	HASH_ITER (hh, node->children.by_instance, child, next)
		if (child->role == ROLE_KEEPER && child->parent == upstream->instance)
			leave(node, upstream, child);
}

static int hand(struct link *link, uint32_t stream, const struct child *upstream,
	struct child *keeper)
{
	const struct kept *kept = keeper->kept;
	const struct msg_server_kept fields = {.instance = keeper->instance,
		.session = span_str(keeper->label),
		.amid = kept->amid};

	keeper->parent = upstream->instance;
	keeper->kept->handed++;
	return link_send(link, MSG_SERVER_KEPT, stream, &fields,
		span_of(kept->state, kept->state_len), kept->pipes);
}

static struct child *find_waiting(struct node *node, const char *name)
{
	const struct kept *kept;

	DL_FOREACH(node->kept, kept)
	{
		struct child *keeper = children_find(&node->children, kept->instance);

		if (is_waiting(keeper) && strcmp(keeper->name, name) == 0)
			return keeper;
	}
	return NULL;
}

void node_on_server_take(struct link *link, const struct message *msg, void *arg)
{
	struct child *upstream = arg, *keeper;
	struct node *node = child_node(upstream);

	while (upstream->state != CHILD_STOPPING && (keeper = find_waiting(node, upstream->name))) {
		if (hand(link, msg->stream, upstream, keeper) == 0)
			return;
		end_server(keeper);
	}
	link_post(link, MSG_SERVER_NONE, msg->stream, NULL);
}
