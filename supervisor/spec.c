#include "spec.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include <stdlib.h>
#include <string.h>

const char *spec_verdict_name(enum spec_verdict verdict)
{
	static const char *const names[SPEC_VERDICT_MAX] = {
#define VERDICT(name, word) [SPEC_##name] = word,
#include "verdicts.def"
#undef VERDICT
	};

	return verdict < SPEC_VERDICT_MAX ? names[verdict] : "unknown";
}

static enum spec_verdict spec_say(struct err *err, enum spec_verdict verdict, const char *id,
	const char *field, int64_t value)
{
	err_set(err, verdict == SPEC_NO_MEMORY ? ERR_NO_MEMORY : ERR_INVALID_ARGUMENT,
		"%s: %s%s%s%s%lld", spec_verdict_name(verdict), id ? "child '" : "", id ? id : "",
		id ? "': " : "", field, (long long)value);
	return verdict;
}

enum spec_verdict spec_check_flags(const struct supervisor_flags *flags, struct err *err)
{
	if ((unsigned)flags->strategy >= STRATEGY_MAX)
		return spec_say(err, SPEC_INVALID_STRATEGY, NULL, "strategy ", flags->strategy);
	if (flags->intensity < 0 || flags->intensity > SPEC_INTENSITY_MAX)
		return spec_say(err, SPEC_INVALID_INTENSITY, NULL, "intensity ", flags->intensity);
	if (flags->period_s <= 0 || flags->period_s > SPEC_PERIOD_MAX_S)
		return spec_say(err, SPEC_INVALID_PERIOD, NULL, "period ", flags->period_s);
	if ((unsigned)flags->auto_shutdown >= AUTO_SHUTDOWN_MAX)
		return spec_say(err, SPEC_INVALID_AUTO_SHUTDOWN, NULL, "auto_shutdown ",
			flags->auto_shutdown);
	/* A11 */
	if (flags->strategy == STRATEGY_SIMPLE_ONE_FOR_ONE &&
		flags->auto_shutdown > AUTO_SHUTDOWN_NEVER)
		return spec_say(err, SPEC_BAD_COMBINATION, NULL,
			"simple_one_for_one with auto_shutdown ", flags->auto_shutdown);
	return SPEC_OK;
}

static enum spec_verdict spec_check_times(const struct child_spec *spec, struct err *err)
{
	const struct shutdown_rule *shutdown = &spec->shutdown;

	if ((unsigned)shutdown->kind >= SHUTDOWN_MAX)
		return spec_say(err, SPEC_INVALID_SHUTDOWN, spec->id, "shutdown ", shutdown->kind);
	if (shutdown->kind == SHUTDOWN_AFTER &&
		(shutdown->ms < 0 || shutdown->ms > SPEC_TIME_MAX_MS))
		return spec_say(err, SPEC_INVALID_SHUTDOWN, spec->id, "shutdown ", shutdown->ms);
	if (spec->start_timeout_ms < SPEC_TIMEOUT_NONE || spec->start_timeout_ms > SPEC_TIME_MAX_MS)
		return spec_say(err, SPEC_INVALID_START_TIMEOUT, spec->id, "start timeout ",
			spec->start_timeout_ms);
	if (spec->backoff_min_ms < 0 || spec->backoff_min_ms > SPEC_TIME_MAX_MS)
		return spec_say(err, SPEC_INVALID_BACKOFF, spec->id, "back-off minimum ",
			spec->backoff_min_ms);
	if (spec->backoff_max_ms < 0 || spec->backoff_max_ms > SPEC_TIME_MAX_MS ||
		(spec->backoff_max_ms > 0 && spec->backoff_max_ms < spec->backoff_min_ms))
		return spec_say(err, SPEC_INVALID_BACKOFF, spec->id, "back-off maximum ",
			spec->backoff_max_ms);
	return SPEC_OK;
}

static enum spec_verdict spec_check_group(
	const struct supervisor_spec *spec, unsigned depth, struct err *err);

static enum spec_verdict spec_check_at(const struct child_spec *spec,
	enum auto_shutdown auto_shutdown, unsigned depth, struct err *err)
{
	enum spec_verdict verdict;

	if (!spec->id || !spec->id[0])
		return spec_say(err, SPEC_MISSING_ID, NULL, "id of length ", 0);
	if (strlen(spec->id) > SPEC_ID_MAX)
		return spec_say(
			err, SPEC_INVALID_ID, NULL, "id of length ", (int64_t)strlen(spec->id));
	if (!spec->start && !spec->supervisor)
		return spec_say(err, SPEC_MISSING_START, spec->id, "start ", 0);
	if ((unsigned)spec->restart >= RESTART_MAX)
		return spec_say(
			err, SPEC_INVALID_RESTART_TYPE, spec->id, "restart ", spec->restart);
	if ((unsigned)spec->type >= CHILD_MAX || (spec->supervisor && spec->type == CHILD_WORKER))
		return spec_say(err, SPEC_INVALID_CHILD_TYPE, spec->id, "type ", spec->type);
	if (spec->significant != 0 && spec->significant != 1)
		return spec_say(
			err, SPEC_INVALID_SIGNIFICANT, spec->id, "significant ", spec->significant);
	verdict = spec_check_times(spec, err);
	if (verdict != SPEC_OK)
		return verdict;
	if (spec->significant && auto_shutdown <= AUTO_SHUTDOWN_NEVER) /* A9 */
		return spec_say(err, SPEC_BAD_COMBINATION, spec->id,
			"significant under auto_shutdown never ", spec->significant);
	if (spec->significant && spec->restart <= RESTART_PERMANENT) /* A10 */
		return spec_say(err, SPEC_BAD_COMBINATION, spec->id, "significant and permanent ",
			spec->significant);
	return spec->supervisor ? spec_check_group(spec->supervisor, depth + 1, err) : SPEC_OK;
}

struct spec_name {
	UT_hash_handle hh;
};

static enum spec_verdict spec_check_duplicates(
	const struct child_spec *specs, size_t n_specs, struct err *err)
{
	struct spec_name *names = calloc(n_specs ? n_specs : 1, sizeof(*names));
	struct spec_name *table = NULL;
	enum spec_verdict verdict = SPEC_OK;

	if (!names)
		return spec_say(err, SPEC_NO_MEMORY, NULL, "children ", (int64_t)n_specs);
	for (size_t i = 0; i < n_specs && verdict == SPEC_OK; i++) {
		size_t len = strlen(specs[i].id);
		struct spec_name *found;

		HASH_FIND(hh, table, specs[i].id, len, found);
		if (found) {
			verdict = spec_say(
				err, SPEC_DUPLICATE_CHILD_NAME, specs[i].id, "place ", (int64_t)i);
			break;
		}
		HASH_ADD_KEYPTR(hh, table, specs[i].id, len, &names[i]);
		if (!names[i].hh.tbl)
			verdict = spec_say(err, SPEC_NO_MEMORY, NULL, "place ", (int64_t)i);
	}
	HASH_CLEAR(hh, table);
	free(names);
	return verdict;
}

static enum spec_verdict spec_check_list(const struct child_spec *specs, size_t n_specs,
	enum auto_shutdown auto_shutdown, unsigned depth, struct err *err)
{
	if (n_specs > SPEC_CHILDREN_MAX)
		return spec_say(err, SPEC_TOO_MANY_CHILDREN, NULL, "children ", (int64_t)n_specs);
	for (size_t i = 0; i < n_specs; i++) {
		enum spec_verdict verdict = spec_check_at(&specs[i], auto_shutdown, depth, err);

		if (verdict != SPEC_OK)
			return verdict;
	}
	return spec_check_duplicates(specs, n_specs, err);
}

static enum spec_verdict spec_check_group(
	const struct supervisor_spec *spec, unsigned depth, struct err *err)
{
	enum spec_verdict verdict = spec_check_flags(&spec->flags, err);

	if (verdict != SPEC_OK)
		return verdict;
	if (depth > SPEC_DEPTH_MAX)
		return spec_say(err, SPEC_TOO_DEEP, NULL, "depth ", depth);
	if (spec->flags.strategy == STRATEGY_SIMPLE_ONE_FOR_ONE && spec->n_children != 1)
		return spec_say(err, SPEC_BAD_START_SPEC, NULL, "simple_one_for_one, templates ",
			(int64_t)spec->n_children);
	return spec_check_list(
		spec->children, spec->n_children, spec->flags.auto_shutdown, depth, err);
}

enum spec_verdict spec_check_child(
	const struct child_spec *spec, enum auto_shutdown auto_shutdown, struct err *err)
{
	return spec_check_at(spec, auto_shutdown, 0, err);
}

enum spec_verdict spec_check_children(const struct child_spec *specs, size_t n_specs,
	enum auto_shutdown auto_shutdown, struct err *err)
{
	return spec_check_list(specs, n_specs, auto_shutdown, 0, err);
}

enum spec_verdict spec_check_supervisor(const struct supervisor_spec *spec, struct err *err)
{
	return spec_check_group(spec, 0, err);
}

static void spec_fill_defaults(struct child_spec *spec)
{
	if (spec->restart == RESTART_DEFAULT)
		spec->restart = RESTART_PERMANENT;
	if (spec->type == CHILD_DEFAULT)
		spec->type = spec->supervisor ? CHILD_SUPERVISOR : CHILD_WORKER;
	if (spec->shutdown.kind == SHUTDOWN_DEFAULT) {
		bool worker = spec->type == CHILD_WORKER;

		spec->shutdown.kind = worker ? SHUTDOWN_AFTER : SHUTDOWN_INFINITY;
		spec->shutdown.ms = worker ? SPEC_SHUTDOWN_MS : 0;
	}
	if (spec->start_timeout_ms == 0)
		spec->start_timeout_ms = SPEC_START_TIMEOUT_MS;
	if (spec->backoff_max_ms == 0)
		spec->backoff_max_ms = spec->backoff_min_ms;
	spec->supervisor = NULL;
}

static void flags_fill_defaults(struct supervisor_flags *flags)
{
	if (flags->strategy == STRATEGY_DEFAULT)
		flags->strategy = STRATEGY_ONE_FOR_ONE;
	if (flags->auto_shutdown == AUTO_SHUTDOWN_DEFAULT)
		flags->auto_shutdown = AUTO_SHUTDOWN_NEVER;
}

/* Copies are made without an owner, so that one that is given up half-way releases nothing. */
static void spec_set_owner(struct spec *spec, struct spec_owner owner)
{
	spec->owner = owner;
	if (spec->group)
		spec_group_set_owner(spec->group, owner);
}

void spec_group_set_owner(struct spec_group *group, struct spec_owner owner)
{
	for (size_t i = 0; i < group->n_specs; i++)
		spec_set_owner(group->specs[i], owner);
}

static struct spec_group *spec_group_dup(const struct supervisor_spec *from);

static struct spec *spec_dup(const struct child_spec *from)
{
	size_t len = strlen(from->id);
	struct spec *spec = calloc(1, sizeof(*spec) + len + 1);

	if (!spec)
		return NULL;
	spec->refs = 1;
	spec->data = *from;
	memcpy(spec->id, from->id, len);
	spec->data.id = spec->id;
	if (from->supervisor) {
		spec->group = spec_group_dup(from->supervisor);
		if (!spec->group) {
			spec_unref(spec);
			return NULL;
		}
	}
	spec_fill_defaults(&spec->data);
	return spec;
}

static struct spec_group *spec_group_dup(const struct supervisor_spec *from)
{
	struct spec_group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->refs = 1;
	group->flags = from->flags;
	flags_fill_defaults(&group->flags);
	group->specs = calloc(from->n_children ? from->n_children : 1, sizeof(struct spec *));
	for (size_t i = 0; group->specs && i < from->n_children; i++) {
		group->specs[i] = spec_dup(&from->children[i]);
		if (!group->specs[i])
			break;
		group->n_specs++;
	}
	if (!group->specs || group->n_specs < from->n_children) {
		spec_group_unref(group);
		return NULL;
	}
	return group;
}

struct spec *spec_copy(const struct child_spec *from, struct spec_owner owner)
{
	struct spec *spec = spec_dup(from);

	if (spec)
		spec_set_owner(spec, owner);
	return spec;
}

struct spec_group *spec_group_copy(const struct supervisor_spec *from, struct spec_owner owner)
{
	struct spec_group *group = spec_group_dup(from);

	if (group)
		spec_group_set_owner(group, owner);
	return group;
}

struct spec *spec_ref(struct spec *spec)
{
	spec->refs++;
	return spec;
}

void spec_unref(struct spec *spec)
{
	if (!spec || --spec->refs > 0)
		return;
	spec_group_unref(spec->group);
	if (spec->owner.release && spec->data.start)
		spec->owner.release(spec->owner.ctx, spec->data.start);
	free(spec);
}

struct spec_group *spec_group_ref(struct spec_group *group)
{
	group->refs++;
	return group;
}

void spec_group_unref(struct spec_group *group)
{
	if (!group || --group->refs > 0)
		return;
	for (size_t i = 0; i < group->n_specs; i++)
		spec_unref(group->specs[i]);
	free(group->specs);
	free(group);
}
