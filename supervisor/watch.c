/*
 * The configuration file under watch: when it changes, the node reloads. The folder is watched, not
 * the file, since editors write a new file and rename it; and what counts is whether another file
 * stands there than was read last, since one save makes several events.
 */
#include "node.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* After the last event of a save. */
#define SETTLE_MS 200

struct watch {
	struct node *node;
	int fd;
	struct event *news;
	struct event *settled;
	char name[NAME_MAX + 1];
	struct stat seen;
};

static bool look(const struct watch *watch, struct stat *ret)
{
	return stat(watch->node->config_path, ret) == 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct watch *watch = arg;
	struct stat now;

	(void)fd;
	(void)what;
	/* between the removal of the old and the arrival of the new there is none */
	if (!look(watch, &now) || is_same(&now, &watch->seen))
		return;
	watch->seen = now;
	node_reload_aloud(watch->node);
}

/* Events of other files of the folder are passed over; after an overflow anything may have come. */
static bool concerns(const struct watch *watch, const struct inotify_event *event)
{
	return event->mask & IN_Q_OVERFLOW || (event->len && strcmp(event->name, watch->name) == 0);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval settle = {0, SETTLE_MS * 1000};
	char room[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct watch *watch = arg;
	ssize_t n;

	(void)what;
	while ((n = read(fd, room, sizeof(room))) > 0)
		for (char *p = room; p < room + n;) {
			const struct inotify_event *event = (const struct inotify_event *)p;

			if (concerns(watch, event))
				event_add(watch->settled, &settle);
			p += sizeof(*event) + event->len;
		}
}

static int begin(struct watch *watch, const char *folder, struct err *err)
{
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0)
		return err_set_errno(err, "cannot watch %s", folder);
	if (inotify_add_watch(watch->fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0)
		return err_set_errno(err, "cannot watch %s", folder);
	watch->news = event_new(
		watch->node->base, watch->fd, EV_READ | EV_PERSIST, on_news, watch);
	watch->settled = evtimer_new(watch->node->base, on_settled, watch);
	if (!watch->news || !watch->settled || event_add(watch->news, NULL) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory to watch %s", folder);
	return 0;
}

int node_watch_config(struct node *node, struct err *err)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	char folder[PATH_MAX], name[PATH_MAX];

	if (!watch)
		return err_set(err, ERR_NO_MEMORY, "no memory to watch the configuration");
	*watch = (struct watch){.node = node, .fd = -1};
	node->watch = watch;
	snprintf(folder, sizeof(folder), "%s", node->config_path);
	snprintf(name, sizeof(name), "%s", node->config_path);
	snprintf(watch->name, sizeof(watch->name), "%s", basename(name));
	look(watch, &watch->seen);
	return begin(watch, dirname(folder), err);
}

void node_unwatch_config(struct node *node)
{
	struct watch *watch = node->watch;

	if (!watch)
		return;
	if (watch->news)
		event_free(watch->news);
	if (watch->settled)
		event_free(watch->settled);
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
	node->watch = NULL;
}

/* --- saved ---------------------------------------------------------------------------------- */

/* Which file was read last; the watch itself is begun anew. */
void node_watch_save(const struct node *node, struct saved_writer *writer)
{
	const struct stat *seen = node->watch ? &node->watch->seen : NULL;

	if (!seen)
		return;
	saved_open(writer, "watched");
	saved_put_uint(writer, "dev", seen->st_dev);
	saved_put_uint(writer, "ino", seen->st_ino);
	saved_put_int(writer, "size", seen->st_size);
	saved_put_int(writer, "mtime_s", seen->st_mtim.tv_sec);
	saved_put_int(writer, "mtime_ns", seen->st_mtim.tv_nsec);
	saved_close(writer);
}

static int64_t get_int(struct span values, const char *name)
{
	struct saved_item item;

	while (saved_next(&values, &item))
		if (saved_is(&item, name, SAVED_INT))
			return (int64_t)item.number;
	return 0;
}

void node_watch_load(struct node *node, struct span values)
{
	static const struct timeval settle = {0, SETTLE_MS * 1000};
	struct stat *seen = node->watch ? &node->watch->seen : NULL;

	if (!seen)
		return;
	seen->st_dev = saved_get_uint(values, "dev", 0);
	seen->st_ino = saved_get_uint(values, "ino", 0);
	seen->st_size = get_int(values, "size");
	seen->st_mtim.tv_sec = get_int(values, "mtime_s");
	seen->st_mtim.tv_nsec = get_int(values, "mtime_ns");
	/* what happened while nobody watched */
	event_add(node->watch->settled, &settle);
}
