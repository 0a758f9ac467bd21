/*
 * Log levels: one for the whole node, others for one role or the worker of one server, each for
 * good or for a while. The narrower wins: a server's, its role's, the node's for a while, the
 * node's.
 */
#include "clock.h"
#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

struct level_rule {
	struct node *node;
	struct level_rule *prev, *next;
	enum level_scope scope;
	enum role role;
	char server[LIMIT_SERVER_NAME + 1];
	enum log_level level;
	struct event *end; /* NULL: it stays */
	uint64_t end_ms;
};

static struct level_rule *find(
	const struct node *node, enum level_scope scope, enum role role, const char *server)
{
	struct level_rule *rule;

	DL_FOREACH(node->levels, rule)
	{
		if (rule->scope == scope && (scope != LEVEL_OF_ROLE || rule->role == role) &&
			(scope != LEVEL_OF_SERVER || strcmp(rule->server, server) == 0))
			return rule;
	}
	return NULL;
}

enum log_level node_log_level(const struct node *node, enum role role, const char *name)
{
	const struct level_rule *rule = NULL;

	if (role == ROLE_UPSTREAM)
		rule = find(node, LEVEL_OF_SERVER, role, name);
	if (!rule)
		rule = find(node, LEVEL_OF_ROLE, role, name);
	if (!rule)
		rule = find(node, LEVEL_OF_NODE, role, name);
	return rule ? rule->level : node->log_level;
}

/* All are told: a process takes a level it has already without a word. */
static void apply(struct node *node)
{
	struct child *child;

	log_set_level(node_log_level(node, ROLE_ROOT, ""));
	for (child = node->children.by_instance; child; child = child->hh.next) {
		const struct msg_log_level fields = {
			.level = node_log_level(node, child->role, child->name)};

		if (child->link)
			link_post(child->link, MSG_LOG_LEVEL, 0, &fields);
	}
}

static void rule_free(struct level_rule *rule)
{
	DL_DELETE(rule->node->levels, rule);
	rule->node->n_levels--;
	if (rule->end)
		event_free(rule->end);
	free(rule);
}

void node_levels_free(struct node *node)
{
	while (node->levels)
		rule_free(node->levels);
}

void node_set_log_level(struct node *node, enum log_level level)
{
	node_levels_free(node);
	node->log_level = level;
	apply(node);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct level_rule *rule = arg;
	struct node *node = rule->node;

	(void)fd;
	(void)what;
	rule_free(rule);
	apply(node);
	log_info("log.level_back", "a log level that was set for a while has ended");
}

static int arm(struct level_rule *rule, uint64_t for_ms)
{
	const struct timeval tv = {(time_t)(for_ms / 1000), (suseconds_t)(for_ms % 1000 * 1000)};

	if (for_ms == 0)
		return 0;
	rule->end_ms = clock_ms() + for_ms;
	rule->end = evtimer_new(rule->node->base, on_end, rule);
	return rule->end && event_add(rule->end, &tv) == 0 ? 0 : -ERR_NO_MEMORY;
}

int node_set_level_of(
	struct node *node, const struct level_target *target, uint64_t for_ms, struct err *err)
{
	struct level_rule *old = find(node, target->scope, target->role, target->server), *rule;

	if (target->scope == LEVEL_OF_NODE && for_ms == 0) {
		node_set_log_level(node, target->level);
		return 0;
	}
	if (!old && node->n_levels >= NODE_LEVELS_MAX)
		return err_set(err, ERR_TOO_MANY,
			"%u log levels of servers and roles are set: gatehouse log-level info "
			"ends them all",
			NODE_LEVELS_MAX);
	rule = calloc(1, sizeof(*rule));
	if (!rule)
		return err_set(err, ERR_NO_MEMORY, "no memory for a log level");
	*rule = (struct level_rule){.node = node,
		.scope = target->scope,
		.role = target->role,
		.level = target->level};
	snprintf(rule->server, sizeof(rule->server), "%s", target->server);
	DL_APPEND(node->levels, rule);
	node->n_levels++;
	if (arm(rule, for_ms) < 0) {
		rule_free(rule);
		return err_set(err, ERR_NO_MEMORY, "no memory for a log level");
	}
	if (old)
		rule_free(old);
	apply(node);
	return 0;
}

/* --- saved ---------------------------------------------------------------------------------- */

static const struct saved_field rule_rows[] = {
	SAVED_ENUM(struct level_rule, scope, LEVEL_OF_SERVER + 1),
	SAVED_ENUM(struct level_rule, role, ROLE_MAX),
	SAVED_TEXT(struct level_rule, server),
	SAVED_ENUM(struct level_rule, level, LOG_LEVEL_MAX),
	SAVED_MEMBER(struct level_rule, end_ms),
};

void node_levels_save(const struct node *node, struct saved_writer *writer)
{
	const struct level_rule *rule;

	DL_FOREACH(node->levels, rule)
	{
		saved_open(writer, "level");
		saved_put_fields(writer, SAVED_ROWS(rule_rows), rule);
		saved_close(writer);
	}
}

int node_level_load(struct node *node, struct span values, struct err *err)
{
	struct level_rule *rule = calloc(1, sizeof(*rule));
	uint64_t now = clock_ms();
	int r;

	if (!rule)
		return err_set(err, ERR_NO_MEMORY, "no memory for a log level");
	rule->node = node;
	r = saved_get_fields(values, SAVED_ROWS(rule_rows), rule, err);
	if (r < 0) {
		free(rule);
		return r;
	}
	DL_APPEND(node->levels, rule);
	node->n_levels++;
	if (rule->end_ms && arm(rule, rule->end_ms > now ? rule->end_ms - now : 1) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a log level");
	return 0;
}
