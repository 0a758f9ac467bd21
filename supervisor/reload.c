/* A new configuration: all or nothing, told as a person reads it. */
#include "log.h"
#include "node.h"

#include <string.h>
#include <unistd.h>

static void send_config(struct node *node, struct child *child)
{
	const struct msg_config fields = {.generation = node->generation};
	struct err err = {0};
	int fd, r;

	r = node_config_view(node, child, &fd, &err);
	if (r == 0) {
		r = link_send(child->link, MSG_CONFIG, 0, &fields, SPAN_NONE, &fd);
		close(fd);
		/* its copy of the descriptor is closed as soon as it is sent */
		link_flush(child->link);
	}
	if (r < 0)
		log_error("config.not_sent", err.code ? err_text(&err) : err_reason(r),
			KV_STR("child_role", role_name(child->role)), KV_STR("name", child->name));
}

/* The upstream worker of a server that is no longer there is about to be stopped. */
static bool gets_config(const struct node *node, const struct child *child)
{
	return child->link && child->role != ROLE_KEEPER &&
	       (child->role != ROLE_UPSTREAM || node_wants_server(node, child->name));
}

static void send_configs(struct node *node)
{
	struct child *child;

	for (child = node->children.by_instance; child; child = child->hh.next)
		if (gets_config(node, child))
			send_config(node, child);
}

/* Servers that changed get a new worker, unchanged ones are not touched. */
static void apply_servers(struct node *node, const struct config_diff *diff)
{
	struct err err = {0};

	for (size_t i = 0; i < diff->count; i++) {
		const struct config_change *change = &diff->items[i];

		if (change->kind == CONFIG_CHANGE_REMOVED || change->kind == CONFIG_CHANGE_CHANGED)
			node_server_remove(node, change->name);
		if ((change->kind == CONFIG_CHANGE_ADDED ||
			    change->kind == CONFIG_CHANGE_CHANGED) &&
			node_wants_server(node, change->name) &&
			node_server_add(node, change->name, &err) < 0)
			log_error("server.start_failed", err_text(&err),
				KV_STR("server", change->name));
	}
	node_turn(node);
}

static int load(struct node *node, struct config **ret, struct buf *out, struct err *err)
{
	struct config_report report;
	int r;

	config_report_init(&report);
	r = config_load(node->config_path, ret, &report);
	if (report.count > 0)
		config_report_write(&report, out);
	if (r < 0)
		err_set(err, (enum err_code) - r, "%zu mistakes in %s: nothing was changed",
			report.errors, node->config_path);
	config_report_free(&report);
	if (r < 0)
		return r;
	r = node_apply_options(node->options, *ret, err);
	if (r < 0)
		config_free(*ret);
	return r;
}

static void remember_pending(struct node *node, const struct config_diff *diff)
{
	node->n_pending = 0;
	for (size_t i = 0; i < diff->count; i++)
		if (diff->items[i].restart)
			node->pending[node->n_pending++] = diff->items[i].name;
}

static void put_in_force(struct node *node, struct config *fresh, const struct config_diff *diff,
	struct buf *out)
{
	bool level = fresh->log_level != node->config->log_level;

	node->config = fresh;
	node->generation++;
	buf_printf(out, "\ngeneration %llu\n", (unsigned long long)node->generation);
	remember_pending(node, diff);
	if (level)
		node_set_log_level(node, (enum log_level)fresh->log_level);
	send_configs(node);
	apply_servers(node, diff);
}

int node_reload(struct node *node, bool dry, struct buf *out, struct err *err)
{
	struct config *fresh, *old = node->config;
	struct config_diff diff;
	int r;

	if (!node->config_path)
		return err_set(
			err, ERR_CONFIG, "this node was started without a configuration file");
	r = load(node, &fresh, out, err);
	if (!dry)
		node->reload_failed = r < 0;
	if (r < 0)
		return r;
	r = config_diff(old, fresh, &diff);
	if (r < 0) {
		config_free(fresh);
		return err_set(err, (enum err_code) - r, "no memory to compare configurations");
	}
	config_diff_write(&diff, out);
	if (dry) {
		config_diff_free(&diff);
		config_free(fresh);
		return 0;
	}
	r = config_keep_running(fresh, old);
	if (r == 0)
		put_in_force(node, fresh, &diff, out);
	else
		err_set(err, (enum err_code) - r, "no memory for the new configuration");
	config_diff_free(&diff);
	config_free(r == 0 ? old : fresh);
	return r;
}

void node_reload_aloud(struct node *node)
{
	struct err err = {0};
	struct buf out;

	buf_init(&out, 65536);
	if (node_reload(node, false, &out, &err) < 0)
		log_error(
			"config.reload_failed", err_text(&err), KV_SPAN("detail", buf_span(&out)));
	else
		log_info("config.reloaded", "a new configuration is in force",
			KV_SPAN("detail", buf_span(&out)));
	buf_free(&out);
}
