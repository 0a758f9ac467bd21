#include "upgrade.h"
#include "clock.h"
#include "exchange.h"
#include "json_write.h"
#include "log.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define THIS_BUILD PROCESS_VERSION

static const char *const phase_names[UPGRADE_PHASES] = {
	[UPGRADE_CHECKING] = "checking",
	[UPGRADE_STARTING] = "starting",
	[UPGRADE_REPLACING] = "replacing",
	[UPGRADE_PROBATION] = "probation",
	[UPGRADE_DONE] = "done",
	[UPGRADE_REFUSED] = "refused",
	[UPGRADE_RETURNING] = "returning",
	[UPGRADE_RETURNED] = "returned",
};

static bool is_over(enum upgrade_phase phase)
{
	return phase == UPGRADE_DONE || phase == UPGRADE_REFUSED || phase == UPGRADE_RETURNED;
}

bool upgrade_is_under_way(const struct node *node)
{
	return node->upgrade && !is_over(node->upgrade->phase);
}

bool upgrade_on_probation(const struct node *node)
{
	return node->upgrade && (node->upgrade->phase == UPGRADE_REPLACING ||
					node->upgrade->phase == UPGRADE_PROBATION);
}

void upgrade_free(struct node *node)
{
	struct upgrade *upgrade = node->upgrade;

	if (!upgrade)
		return;
	check_free(node);
	replace_free(node);
	if (upgrade->probation)
		event_free(upgrade->probation);
	programs_close(&upgrade->next);
	free(upgrade);
	node->upgrade = NULL;
}

static struct upgrade *make(struct node *node)
{
	struct upgrade *upgrade = calloc(1, sizeof(*upgrade));

	if (!upgrade)
		return NULL;
	programs_none(&upgrade->next);
	node->upgrade = upgrade;
	return upgrade;
}

/* --- up to the new program ------------------------------------------------------------------ */

static void end_probation(struct node *node)
{
	exchange_unguard();
	programs_close(&node->former);
	node->upgrade->phase = UPGRADE_DONE;
	log_info("upgrade.done", "the new programs are here to stay",
		KV_STR("build", node->upgrade->to));
}

static int may_begin(struct node *node, struct err *err)
{
	if (node->stopping || !node->ready)
		return err_set(err, ERR_BUSY, "the node %s",
			node->stopping ? "stops" : "is not up yet: try again in a moment");
	/* what runs has done well so far, and its operator wants another */
	if (node->upgrade && node->upgrade->phase == UPGRADE_PROBATION)
		end_probation(node);
	if (upgrade_is_under_way(node))
		return err_set(err, ERR_BUSY,
			"another upgrade is under way (%s): gatehouse status shows it",
			phase_names[node->upgrade->phase]);
	return 0;
}

int upgrade_begin(struct node *node, const char *dir, struct err *err)
{
	struct programs next;
	int r = may_begin(node, err);

	if (r == 0)
		r = programs_open(&next, *dir ? dir : node->programs.dir, err);
	if (r < 0)
		return r;
	r = programs_check_owner(&next, &node->programs, err);
	if (r < 0) {
		programs_close(&next);
		return r;
	}
	upgrade_free(node);
	if (!make(node)) {
		programs_close(&next);
		return err_set(err, ERR_NO_MEMORY, "no memory for an upgrade");
	}
	node->upgrade->next = next;
	snprintf(node->upgrade->from, UPGRADE_BUILD_MAX, "%s", THIS_BUILD);
	r = check_begin(node, &node->upgrade->next, err);
	if (r < 0)
		upgrade_free(node);
	else
		log_info("upgrade.checking", "new programs are looked at", KV_STR("dir", next.dir));
	return r;
}

static void refuse(struct node *node, const char *against)
{
	struct upgrade *upgrade = node->upgrade;

	upgrade->phase = UPGRADE_REFUSED;
	snprintf(upgrade->reason, sizeof(upgrade->reason), "%s", against);
	programs_close(&upgrade->next);
	log_error("upgrade.refused", against);
}

void upgrade_checked(struct node *node, const char *build, const char *against)
{
	struct upgrade *upgrade = node->upgrade;

	check_free(node);
	if (against || node->stopping) {
		refuse(node, against ? against : "the node stops");
		return;
	}
	snprintf(upgrade->to, sizeof(upgrade->to), "%s", build);
	upgrade->phase = UPGRADE_STARTING;
	node->exchange_wanted = true;
	event_base_loopbreak(node->base);
}

static bool is_same_file(int a, int b)
{
	struct stat one, other;

	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

static bool are_same(const struct programs *a, const struct programs *b)
{
	for (int role = 0; role < ROLE_MAX; role++)
		if (!is_same_file(a->fds[role], b->fds[role]))
			return false;
	return true;
}

/* What the next program is to find: its own programs, and the former ones to return to. */
static void go_on_with_next(struct node *node)
{
	struct upgrade *upgrade = node->upgrade;
	struct err err = {0};

	upgrade->same = are_same(&node->programs, &upgrade->next);
	node->former = node->programs;
	node->programs = upgrade->next;
	programs_none(&upgrade->next);
	upgrade->left_us = clock_us();
	upgrade->former_epoch = node->children.epoch;
	if (!upgrade->same)
		node->children.epoch = ++node->children.last_epoch;
	exchange_to(node, &node->programs, NULL, &err);
	/* it did not come to that */
	node->children.epoch = upgrade->former_epoch;
	programs_close(&node->programs);
	node->programs = node->former;
	programs_none(&node->former);
	refuse(node, err_text(&err));
}

static void go_back(struct node *node)
{
	struct err err = {0};

	exchange_to(node, &node->former, node->upgrade->reason, &err);
	log_error("upgrade.stuck", err_text(&err));
	node->upgrade->phase = UPGRADE_PROBATION;
	upgrade_replaced(node);
}

void upgrade_exchange(struct node *node)
{
	if (node->upgrade->phase == UPGRADE_STARTING)
		go_on_with_next(node);
	else
		go_back(node);
}

/* --- in the new program ----------------------------------------------------------------------- */

static void on_probation_end(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	if (node->upgrade->phase == UPGRADE_PROBATION)
		end_probation(node);
}

static void begin_probation(struct node *node)
{
	struct upgrade *upgrade = node->upgrade;
	uint64_t now = clock_ms(), ms;
	struct timeval tv;

	if (!upgrade->until_ms)
		upgrade->until_ms = now + (uint64_t)node->config->upgrade_probation;
	ms = upgrade->until_ms > now ? upgrade->until_ms - now : 0;
	tv = (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
	upgrade->phase = UPGRADE_PROBATION;
	if (!upgrade->probation)
		upgrade->probation = evtimer_new(node->base, on_probation_end, node);
	if (!upgrade->probation || event_add(upgrade->probation, &tv) < 0)
		end_probation(node);
}

void upgrade_replaced(struct node *node)
{
	struct upgrade *upgrade = node->upgrade;

	replace_free(node);
	if (upgrade->phase == UPGRADE_RETURNING) {
		upgrade->phase = UPGRADE_RETURNED;
		log_error("upgrade.returned", upgrade->reason);
		return;
	}
	if (upgrade->phase == UPGRADE_REPLACING)
		log_info("upgrade.replaced", "all processes run the new programs",
			KV_STR("build", upgrade->to), KV_INT("processes", upgrade->total));
	begin_probation(node);
}

static void replace(struct node *node, enum upgrade_phase phase)
{
	struct err err = {0};

	node->upgrade->phase = phase;
	if (replace_begin(node, &err) < 0)
		upgrade_return(node, err_text(&err));
}

static void take_back(struct node *node, const char *because)
{
	struct upgrade *upgrade = node->upgrade;

	programs_close(&node->programs);
	node->programs = node->former;
	programs_none(&node->former);
	snprintf(upgrade->reason, sizeof(upgrade->reason), "%s", because);
	log_error("upgrade.returning", because, KV_STR("build", THIS_BUILD));
	if (upgrade->same) {
		upgrade->phase = UPGRADE_RETURNED;
		return;
	}
	node->children.epoch = upgrade->former_epoch;
	replace(node, UPGRADE_RETURNING);
}

void upgrade_resume(struct node *node, const char *because)
{
	struct upgrade *upgrade = node->upgrade;

	if (!upgrade)
		return;
	if (because) {
		take_back(node, because);
		return;
	}
	log_info("upgrade.started", "the root goes on as the new program",
		KV_STR("build", THIS_BUILD), KV_STR("former", upgrade->from),
		KV_MS("away_ms", clock_us() - upgrade->left_us));
	if (upgrade->same)
		end_probation(node);
	else
		replace(node, UPGRADE_REPLACING);
}

void upgrade_return(struct node *node, const char *because)
{
	struct upgrade *upgrade = node->upgrade;

	if (!upgrade_on_probation(node) || !programs_are_open(&node->former) || node->stopping)
		return;
	snprintf(upgrade->reason, sizeof(upgrade->reason), "%s", because);
	upgrade->phase = UPGRADE_RETURNING;
	node->exchange_wanted = true;
	event_base_loopbreak(node->base);
}

/* --- told, saved ------------------------------------------------------------------------------ */

static void member(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "\"%s\":", key);
	json_write_string(out, span_str(value));
	buf_append_char(out, ',');
}

static unsigned count_left(const struct node *node)
{
	const struct child *child;
	unsigned n = 0;

	for (child = node->children.by_instance; child; child = child->hh.next)
		n += child->role != ROLE_KEEPER && !child->replaced &&
		     child->epoch != node->children.epoch;
	return n;
}

void upgrade_write(struct node *node, struct buf *out)
{
	const struct upgrade *upgrade = node->upgrade;
	uint64_t now = clock_ms();
	unsigned left = count_left(node);

	if (!upgrade) {
		buf_append_str(out, "{\"state\":\"none\"}");
		return;
	}
	buf_append_char(out, '{');
	member(out, "state", phase_names[upgrade->phase]);
	member(out, "from", upgrade->from);
	member(out, "to", upgrade->to);
	if (upgrade->reason[0])
		member(out, "reason", upgrade->reason);
	if (upgrade->phase == UPGRADE_PROBATION)
		buf_printf(out, "\"probation_ms\":%llu,",
			(unsigned long long)(upgrade->until_ms > now ? upgrade->until_ms - now : 0));
	buf_printf(out, "\"total\":%u,\"replaced\":%u,\"root_only\":%s}", upgrade->total,
		upgrade->total > left ? upgrade->total - left : 0,
		upgrade->same ? "true" : "false");
}

static const struct saved_field upgrade_rows[] = {
	SAVED_ENUM(struct upgrade, phase, UPGRADE_PHASES),
	SAVED_TEXT(struct upgrade, from),
	SAVED_TEXT(struct upgrade, to),
	SAVED_TEXT(struct upgrade, reason),
	SAVED_MEMBER(struct upgrade, same),
	SAVED_MEMBER(struct upgrade, former_epoch),
	SAVED_MEMBER(struct upgrade, left_us),
	SAVED_MEMBER(struct upgrade, until_ms),
	SAVED_MEMBER(struct upgrade, total),
};

void upgrade_save(const struct node *node, struct saved_writer *writer)
{
	if (!node->upgrade)
		return;
	saved_open(writer, "upgrade");
	saved_put_fields(writer, SAVED_ROWS(upgrade_rows), node->upgrade);
	saved_close(writer);
}

int upgrade_load(struct node *node, struct span values, struct err *err)
{
	if (!make(node))
		return err_set(err, ERR_NO_MEMORY, "no memory for an upgrade");
	return saved_get_fields(values, SAVED_ROWS(upgrade_rows), node->upgrade, err);
}
