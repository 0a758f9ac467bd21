#include "state.h"
#include "plan.h"
#include "upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define CONFIG_JSON_MAX (16u * 1024 * 1024)

static const struct saved_field node_rows[] = {
	SAVED_MEMBER(struct node, generation),
	SAVED_TEXT(struct node, state_dir),
	SAVED_TEXT(struct node, run_dir),
	SAVED_DESCRIPTOR(struct node, state_lock),
	SAVED_MEMBER(struct node, gateways),
	SAVED_DESCRIPTOR(struct node, catalogue),
	SAVED_MEMBER(struct node, catalogue_generation),
	SAVED_MEMBER(struct node, catalogues),
	SAVED_ENUM(struct node, log_level, LOG_LEVEL_MAX),
	SAVED_DESCRIPTOR(struct node, log_file),
	SAVED_MEMBER(struct node, log_dropped),
	SAVED_MEMBER(struct node, reload_failed),
	SAVED_MEMBER(struct node, started_ms),
	SAVED_MEMBER(struct node, ready),
	SAVED_MEMBER(struct node, servers_started),
};

static const struct saved_field listener_rows[] = {
	SAVED_DESCRIPTOR(struct node_listener, fd),
	SAVED_MEMBER(struct node_listener, owned),
	SAVED_MEMBER(struct node_listener, index),
	SAVED_MEMBER(struct node_listener, slot),
	SAVED_TEXT(struct node_listener, kind),
	SAVED_TEXT(struct node_listener, url),
};

static const struct saved_field tally_rows[] = {
	SAVED_MEMBER(struct node_tally, cpu_ticks),
	SAVED_MEMBER(struct node_tally, killed),
	SAVED_MEMBER(struct node_tally, failed),
};

static const struct saved_field program_rows[] = {
	SAVED_ENUM(struct program, role, ROLE_MAX),
	SAVED_TEXT(struct program, name),
	SAVED_MEMBER(struct program, stop_ms),
};

static const struct saved_field kept_rows[] = {
	SAVED_MEMBER(struct kept, instance),
	SAVED_MEMBER(struct kept, busy),
	SAVED_MEMBER(struct kept, amid),
	SAVED_MEMBER(struct kept, handed),
	SAVED_MEMBER(struct kept, without_ms),
};

static const struct saved_field spawn_rows[] = {
	SAVED_MEMBER(struct node_spawn, upstream),
	SAVED_MEMBER(struct node_spawn, stream),
	SAVED_TEXT(struct node_spawn, session),
};

static const char *const pipe_names[] = {"stdin", "stdout", "stderr"};

/* --- the cookies of the tree ---------------------------------------------------------------------- */

static void save_program(struct saved_writer *writer, const void *cookie)
{
	saved_put_fields(writer, SAVED_ROWS(program_rows), cookie);
}

static void *load_program(void *ctx, struct span values, struct err *err)
{
	struct program *program = calloc(1, sizeof(*program));

	(void)ctx;
	if (program && saved_get_fields(values, SAVED_ROWS(program_rows), program, err) < 0) {
		free(program);
		return NULL;
	}
	return program;
}

static const struct tree_cookies cookies = {save_program, load_program};

/* --- saving --------------------------------------------------------------------------------------- */

static void save_text(struct saved_writer *writer, const char *name, const char *text)
{
	if (text)
		saved_put_bytes(writer, name, span_str(text));
}

static int save_config(const struct node *node, struct saved_writer *writer, struct err *err)
{
	struct buf json;
	int r;

	buf_init(&json, CONFIG_JSON_MAX);
	r = config_write_json(node->config, CONFIG_VIEW_FULL, NULL, &json);
	if (r == 0)
		saved_put_bytes(writer, "config", buf_span(&json));
	else
		err_set(err, (enum err_code)-r, "cannot write the configuration");
	buf_free(&json);
	save_text(writer, "config_path", node->config_path);
	for (unsigned i = 0; i < node->n_pending; i++)
		save_text(writer, "pending", node->pending[i]);
	return r;
}

static void save_counters(
	struct saved_writer *writer, unsigned slot, const struct node_counters *rows)
{
	for (unsigned i = 0; i < NODE_GENERATIONS; i++) {
		if (rows[i].fd <= 0)
			continue;
		saved_open(writer, "counters");
		saved_put_uint(writer, "slot", slot);
		saved_put_uint(writer, "owner", rows[i].owner);
		saved_put_fd(writer, "memory", rows[i].fd);
		saved_close(writer);
	}
}

static void save_listeners(const struct node *node, struct saved_writer *writer)
{
	for (unsigned i = 0; i < node->n_listeners; i++) {
		saved_open(writer, "listener");
		saved_put_fields(writer, SAVED_ROWS(listener_rows), &node->listeners[i]);
		saved_close(writer);
	}
	for (unsigned slot = 0; slot < NODE_LISTENERS_MAX; slot++) {
		if (node->lent[slot]) {
			saved_open(writer, "loan");
			saved_put_uint(writer, "slot", slot);
			saved_put_uint(writer, "borrower", node->lent[slot]);
			saved_close(writer);
		}
		save_counters(writer, slot, node->counters[slot]);
	}
}

static void save_tallies(const struct node *node, struct saved_writer *writer)
{
	for (int role = 0; role < ROLE_MAX; role++) {
		saved_open(writer, "tally");
		save_text(writer, "role", role_name((enum role)role));
		saved_put_fields(writer, SAVED_ROWS(tally_rows), &node->tally[role]);
		saved_close(writer);
	}
}

static void save_kept(const struct node *node, struct saved_writer *writer)
{
	const struct kept *kept;

	DL_FOREACH(node->kept, kept)
	{
		saved_open(writer, "kept");
		saved_put_fields(writer, SAVED_ROWS(kept_rows), kept);
		for (int i = 0; i < 3; i++)
			saved_put_fd(writer, pipe_names[i], kept->pipes[i]);
		if (kept->state)
			saved_put_bytes(writer, "state", span_of(kept->state, kept->state_len));
		saved_close(writer);
	}
}

static void save_object(struct saved_writer *writer, const char *name, const struct programs *what)
{
	if (!programs_are_open(what))
		return;
	saved_open(writer, name);
	programs_save(what, writer);
	saved_close(writer);
}

static void save_parts(struct node *node, struct saved_writer *writer)
{
	save_text(writer, "log_path", node->log_path);
	save_object(writer, "programs", &node->programs);
	save_object(writer, "former", &node->former);
	save_listeners(node, writer);
	save_tallies(node, writer);
	save_kept(node, writer);
	node_servers_save(node, writer);
	node_levels_save(node, writer);
	node_rolling_save(node, writer);
	node_watch_save(node, writer);
	upgrade_save(node, writer);
	for (unsigned i = 0; i < node->n_early_wants; i++)
		saved_put_uint(writer, "early_want", node->early_wants[i]);
	for (unsigned i = 0; i < node->n_spawns; i++) {
		saved_open(writer, "spawn");
		saved_put_fields(writer, SAVED_ROWS(spawn_rows), &node->spawns[i]);
		saved_close(writer);
	}
	saved_open(writer, "children");
	children_save(&node->children, writer);
	saved_close(writer);
}

static int write_state(struct node *node, struct buf *out, struct err *err)
{
	struct saved_writer writer;
	int r;

	node->log_dropped = log_dropped();
	saved_begin(&writer, out, STATE_VERSION, STATE_OLDEST);
	saved_put_fields(&writer, SAVED_ROWS(node_rows), node);
	r = save_config(node, &writer, err);
	if (r < 0)
		return r;
	saved_open(&writer, "tree");
	r = tree_save(node->tree, &cookies, &writer);
	saved_close(&writer);
	save_parts(node, &writer);
	if (r == 0)
		r = saved_end(&writer);
	return r < 0 ? err_set(err, (enum err_code)-r, "cannot write down what the root holds") : 0;
}

int state_save(struct node *node, int *ret_fd, struct err *err)
{
	struct buf state;
	int r;

	buf_init(&state, STATE_MAX);
	r = write_state(node, &state, err);
	if (r == 0)
		r = memfile_new("gatehouse-state", buf_span(&state), ret_fd, err);
	buf_free(&state);
	return r;
}

int state_open(int fd, struct memfile *ret_map, struct span *ret_values, struct err *err)
{
	int r = memfile_map(ret_map, fd, err);

	if (r < 0)
		return r;
	r = saved_read(memfile_span(ret_map), STATE_VERSION, STATE_OLDEST, ret_values, err);
	if (r < 0)
		memfile_unmap(ret_map);
	return r;
}

/* --- loading -------------------------------------------------------------------------------------- */

static int copy_text(struct span text, char **ret, struct err *err)
{
	if (!text.p)
		return 0;
	*ret = strndup(text.p, text.len);
	return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for what was saved");
}

static int load_config(struct node *node, struct span values, struct err *err)
{
	struct saved_item item;
	int r = config_read_json(saved_get_bytes(values, "config"), &node->config, err);

	if (r == 0)
		r = copy_text(saved_get_bytes(values, "config_path"), &node->config_path, err);
	while (r == 0 && saved_next(&values, &item)) {
		const char *name = saved_is(&item, "pending", SAVED_BYTES)
					   ? config_setting_name(item.bytes)
					   : NULL;

		if (name && node->n_pending < CONFIG_SETTING_COUNT)
			node->pending[node->n_pending++] = name;
	}
	return r;
}

static int load_listener(struct node *node, struct span values, struct err *err)
{
	struct node_listener *row = &node->listeners[node->n_listeners];
	int r;

	if (node->n_listeners == NODE_LISTENERS_MAX)
		return err_set(err, ERR_TOO_MANY, "more than %d saved listeners",
			NODE_LISTENERS_MAX);
	r = saved_get_fields(values, SAVED_ROWS(listener_rows), row, err);
	if (r == 0)
		node->n_listeners++;
	return r;
}

static int load_loan(struct node *node, struct span values, struct err *err)
{
	uint64_t slot = saved_get_uint(values, "slot", NODE_LISTENERS_MAX);

	(void)err;
	if (slot < NODE_LISTENERS_MAX)
		node->lent[slot] = saved_get_uint(values, "borrower", 0);
	return 0;
}

static int load_counters(struct node *node, struct span values, struct err *err)
{
	uint64_t slot = saved_get_uint(values, "slot", NODE_LISTENERS_MAX);
	int fd = saved_get_fd(values, "memory");

	(void)err;
	if (slot >= NODE_LISTENERS_MAX || fd <= 0 || (node->aged && !saved_fds_stand(values)))
		return 0;
	for (unsigned i = 0; i < NODE_GENERATIONS; i++) {
		if (node->counters[slot][i].fd > 0)
			continue;
		node->counters[slot][i] = (struct node_counters){
			.fd = fd, .owner = saved_get_uint(values, "owner", 0)};
		break;
	}
	return 0;
}

static int load_tally(struct node *node, struct span values, struct err *err)
{
	struct span name = saved_get_bytes(values, "role");

	for (int role = 0; role < ROLE_MAX; role++)
		if (span_is(name, role_name((enum role)role)))
			return saved_get_fields(
				values, SAVED_ROWS(tally_rows), &node->tally[role], err);
	return 0;
}

static int load_kept(struct node *node, struct span values, struct err *err)
{
	struct span state = saved_get_bytes(values, "state");
	struct kept *kept = calloc(1, sizeof(*kept));
	struct child *keeper;
	int r;

	if (!kept)
		return err_set(err, ERR_NO_MEMORY, "no memory for what is kept of a server");
	r = saved_get_fields(values, SAVED_ROWS(kept_rows), kept, err);
	keeper = children_find(&node->children, kept->instance);
	for (int i = 0; i < 3; i++)
		kept->pipes[i] = node->aged && !saved_fds_stand(values)
					 ? -1
					 : saved_get_fd(values, pipe_names[i]);
	if (r == 0 && (!keeper || keeper->kept))
		r = err_set(err, ERR_PROTOCOL, "what is kept of a server has no keeper");
	if (r == 0 && state.p)
		r = copy_text(state, &kept->state, err);
	if (r < 0) {
		free(kept);
		return r;
	}
	kept->state_len = state.len;
	DL_APPEND(node->kept, kept);
	keeper->kept = kept;
	return 0;
}

static int load_spawn(struct node *node, struct span values, struct err *err)
{
	if (node->n_spawns == NODE_SPAWNS_MAX)
		return 0;
	return saved_get_fields(
		values, SAVED_ROWS(spawn_rows), &node->spawns[node->n_spawns++], err);
}

static int load_watched(struct node *node, struct span values, struct err *err)
{
	int r = node->options->watch ? node_watch_config(node, err) : 0;

	if (r == 0)
		node_watch_load(node, values);
	return r;
}

static int load_programs(struct node *node, struct span values, struct err *err)
{
	return programs_load(&node->programs, values, err);
}

static int load_former(struct node *node, struct span values, struct err *err)
{
	return programs_load(&node->former, values, err);
}

static int load_children(struct node *node, struct span values, struct err *err)
{
	return children_load(&node->children, values, node->aged, err);
}

static int load_tree(struct node *node, struct span values, struct err *err)
{
	return tree_load(values, &cookies, program_release, node, &node->tree, err);
}

/* In the order in which they need each other. */
static const struct {
	const char *name;
	int (*load)(struct node *node, struct span values, struct err *err);
} parts[] = {
	{"programs", load_programs},
	{"former", load_former},
	{"tree", load_tree},
	{"children", load_children},
	{"listener", load_listener},
	{"loan", load_loan},
	{"counters", load_counters},
	{"tally", load_tally},
	{"kept", load_kept},
	{"spawn", load_spawn},
	{"server", node_server_load},
	{"level", node_level_load},
	{"rolling", node_rolling_load},
	{"watched", load_watched},
	{"upgrade", upgrade_load},
};

static int load_parts(struct node *node, struct span values, struct err *err)
{
	struct saved_item item;
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(*parts); i++)
		for (struct span rest = values; r == 0 && saved_next(&rest, &item);)
			if (saved_is(&item, parts[i].name, SAVED_OBJECT))
				r = parts[i].load(node, item.bytes, err);
	while (r == 0 && saved_next(&values, &item))
		if (saved_is(&item, "early_want", SAVED_UINT) &&
			node->n_early_wants < NODE_EARLY_WANTS_MAX)
			node->early_wants[node->n_early_wants++] = (uint32_t)item.number;
	return r;
}

/* It was exchanged for a newer one that is not known: none is given out until the next. */
static void drop_old_catalogue(struct node *node, struct span values)
{
	struct saved_item item;

	while (saved_next(&values, &item))
		if (saved_is(&item, "catalogue", SAVED_FD) && !saved_fd_stands(&item))
			node->catalogue = -1;
}

int state_load(struct node *node, struct span values, bool aged, struct err *err)
{
	int r = saved_get_fields(values, SAVED_ROWS(node_rows), node, err);

	node->aged = aged;
	if (aged)
		drop_old_catalogue(node, values);

	if (r == 0)
		r = load_config(node, values, err);
	if (r == 0)
		r = copy_text(saved_get_bytes(values, "log_path"), &node->log_path, err);
	if (r == 0)
		r = load_parts(node, values, err);
	if (r == 0 && !node->tree)
		r = err_set(err, ERR_PROTOCOL, "the saved state has no tree of supervisors");
	/* who lacks the newest catalogue, and whose slots need help, is found out again */
	node->spread_left = node->children.total;
	return r;
}

int state_check(struct span values, struct config **ret_config, struct err *err)
{
	struct node node = {0};
	struct tree *tree;
	int r = saved_get_fields(values, SAVED_ROWS(node_rows), &node, err);

	if (r == 0)
		r = tree_load(saved_get_object(values, "tree"), &cookies, program_release, NULL,
			&tree, err);
	if (r < 0)
		return r;
	tree_free(tree);
	r = children_check(saved_get_object(values, "children"), err);
	return r == 0 ? config_read_json(saved_get_bytes(values, "config"), ret_config, err) : r;
}
