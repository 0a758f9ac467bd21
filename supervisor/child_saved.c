/* The children as bytes, and from them again. See link.h and saved.h. */
#include "child.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

static const struct saved_field child_rows[] = {
	SAVED_MEMBER(struct child, instance),
	SAVED_ENUM(struct child, role, ROLE_MAX),
	SAVED_TEXT(struct child, name),
	SAVED_TEXT(struct child, label),
	SAVED_ENUM(struct child, state, CHILD_STOPPING + 1),
	SAVED_SIGNED(struct child, pid),
	SAVED_DESCRIPTOR(struct child, pidfd),
	SAVED_MEMBER(struct child, born_ms),
	SAVED_MEMBER(struct child, replaces),
	SAVED_MEMBER(struct child, stands_for),
	SAVED_MEMBER(struct child, replaced),
	SAVED_MEMBER(struct child, hands_on),
	SAVED_MEMBER(struct child, parent),
	SAVED_MEMBER(struct child, stream),
	SAVED_MEMBER(struct child, said_ready),
	SAVED_MEMBER(struct child, handed),
	SAVED_SIGNED(struct child, server_pid),
	SAVED_MEMBER(struct child, stop_ms),
	SAVED_MEMBER(struct child, unanswered),
	SAVED_MEMBER(struct child, pinged_us),
	SAVED_MEMBER(struct child, lag_us),
	SAVED_MEMBER(struct child, catalogue),
	SAVED_MEMBER(struct child, measured_ms),
	SAVED_SIGNED(struct child, rss_bytes),
	SAVED_MEMBER(struct child, cpu_ticks),
	SAVED_ENUM(struct child, filter, CHILD_FILTER_NO + 1),
	SAVED_MEMBER(struct child, epoch),
	SAVED_MEMBER(struct child, late_ms),
};

static const struct saved_field children_rows[] = {
	SAVED_MEMBER(struct children, next_instance),
	SAVED_MEMBER(struct children, epoch),
	SAVED_MEMBER(struct children, last_epoch),
};

static bool is_current(const struct children *all, const struct child *child)
{
	const struct child *one;

	if (!role_is_named(child->role))
		return all->singletons[child->role] == child;
	for (one = all->by_name; one; one = one->hh_name.next)
		if (one == child)
			return true;
	return false;
}

static void save(const struct children *all, const struct child *child, struct saved_writer *writer)
{
	saved_open(writer, "child");
	saved_put_fields(writer, SAVED_ROWS(child_rows), child);
	saved_put_uint(writer, "current", is_current(all, child));
	if (child->reason)
		saved_put_bytes(writer, "reason", span_str(child->reason));
	if (child->link) {
		saved_open(writer, "link");
		link_save(child->link, writer);
		saved_close(writer);
	}
	saved_close(writer);
}

void children_save(const struct children *all, struct saved_writer *writer)
{
	const struct child *child;

	saved_put_fields(writer, SAVED_ROWS(children_rows), all);
	for (child = all->by_instance; child; child = child->hh.next)
		save(all, child, writer);
}

/* --- loading ------------------------------------------------------------------------------------ */

/* Without a process there must be no descriptor of one, and the other way round. */
static int read_child(struct child *child, struct span values, struct err *err)
{
	int r = saved_get_fields(values, SAVED_ROWS(child_rows), child, err);

	if (r < 0)
		return r;
	if (child->instance == 0 || (child->state == CHILD_ASKED) != (child->pidfd < 0) ||
		(child->state != CHILD_ASKED && child->pid <= 0))
		return err_set(err, ERR_PROTOCOL, "a saved child makes no sense");
	return 0;
}

/* A pidfd of this very process? */
static bool is_pidfd_of(int fd, pid_t pid)
{
	char path[64], line[128];
	int found = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file) && sscanf(line, "Pid: %d", &found) != 1)
		;
	fclose(file);
	return found == pid;
}

static void look_after_aging(struct child *child)
{
	if (child->state == CHILD_ASKED || is_pidfd_of(child->pidfd, child->pid))
		return;
	child->lost = true;
	child->pid = 0;
	child->pidfd = -1;
}

static int load_link(struct child *child, struct span values, bool aged, struct err *err)
{
	struct span link = saved_get_object(values, "link");

	if (link.len == 0 || (aged && !saved_fds_stand(link)))
		return 0;
	return link_load(child->all->base, link, child->all->ops->handlers, child, &child->link,
		err);
}

static void resume_lateness(struct child *child)
{
	uint64_t late_ms = child->late_ms, now = clock_ms();

	if (late_ms)
		child_kill_later(child, late_ms > now ? (uint32_t)(late_ms - now) : 0);
}

static int load(struct children *all, struct span values, bool aged, struct err *err)
{
	struct child *child = calloc(1, sizeof(*child));
	int r;

	if (!child)
		return err_set(err, ERR_NO_MEMORY, "no memory for a child");
	r = read_child(child, values, err);
	child->all = all;
	if (r == 0 && aged)
		look_after_aging(child);
	if (r == 0)
		r = load_link(child, values, aged, err);
	if (r < 0) {
		free(child);
		return r;
	}
	child_set_reason(child, saved_get_bytes(values, "reason"));
	r = child_take_up(child, saved_get_uint(values, "current", 0) != 0, err);
	if (r == 0 && !child->lost)
		resume_lateness(child);
	return r;
}

void children_bury(struct children *all)
{
	struct child *child, *next;

	HASH_ITER (hh, all->by_instance, child, next) {
		if (child->lost)
			child_mourn(child);
		else if (!child->link)
			child_let_go(child);
	}
}

int children_load(struct children *all, struct span saved, bool aged, struct err *err)
{
	struct saved_item item;
	int r = saved_get_fields(saved, SAVED_ROWS(children_rows), all, err);

	while (r == 0 && saved_next(&saved, &item))
		if (saved_is(&item, "child", SAVED_OBJECT))
			r = load(all, item.bytes, aged, err);
	return r;
}

int children_check(struct span saved, struct err *err)
{
	struct saved_item item;
	struct child child;
	int r = 0;

	while (r == 0 && saved_next(&saved, &item)) {
		child = (struct child){0};
		if (saved_is(&item, "child", SAVED_OBJECT))
			r = read_child(&child, item.bytes, err);
	}
	return r;
}
