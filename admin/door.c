#include "door.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#define BACKLOG 128
#define FULL_RETRY_MS 100 /* when there are no descriptors left to accept with */

struct door {
	const struct door_ops *ops;
	struct event_base *base;
	struct event *accepting, *retry;
	int fd;
	bool bound;
	bool grouped; /* the group may view */
	char path[DOOR_PATH_MAX + 1];
	struct door_peer *peers;
	unsigned n_peers;
};

/* --- those who are in ----------------------------------------------------------------------- */

static void peer_free(struct door_peer *peer)
{
	struct door *door = peer->door;

	if (door->ops->left)
		door->ops->left(peer);
	DL_DELETE(door->peers, peer);
	door->n_peers--;
	sp_free(peer->sp);
	free(peer);
}

void door_dismiss(struct door_peer *peer)
{
	peer_free(peer);
}

static void on_message(
	struct sp *sp, uint32_t id, struct span body, int *fds, unsigned nfds, void *arg)
{
	struct door_peer *peer = arg;

	(void)sp;
	(void)fds;
	(void)nfds;
	/* idle from now on, when it is not busy: the last to go */
	DL_DELETE(peer->door->peers, peer);
	DL_APPEND(peer->door->peers, peer);
	if (peer->door->ops->message)
		peer->door->ops->message(peer, id, body);
	else
		peer_free(peer);
}

static void on_closed(struct sp *sp, int code, void *arg)
{
	(void)sp;
	(void)code;
	peer_free(arg);
}

static const struct sp_ops peer_ops = {.message = on_message, .closed = on_closed};

/* --- coming in ------------------------------------------------------------------------------ */

static enum right right_of(const struct door *door, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return RIGHT_NONE;
	if (cred.uid == 0 || cred.uid == geteuid())
		return RIGHT_OPERATE;
	return door->grouped ? RIGHT_VIEW : RIGHT_NONE;
}

static void make_room(struct door *door)
{
	struct door_peer *peer, *next;

	DL_FOREACH_SAFE(door->peers, peer, next)
	{
		if (door->n_peers < DOOR_PEERS_MAX)
			return;
		if (!peer->busy)
			peer_free(peer);
	}
}

static void let_in(struct door *door, int fd)
{
	enum right right = right_of(door, fd);
	struct door_peer *peer;

	make_room(door);
	if (right == RIGHT_NONE || door->n_peers >= DOOR_PEERS_MAX ||
		!(peer = calloc(1, sizeof(*peer)))) {
		close(fd);
		return;
	}
	peer->door = door;
	peer->right = right;
	if (sp_new(door->base, fd, &door->ops->sp, &peer_ops, peer, &peer->sp, NULL) < 0) {
		free(peer);
		return;
	}
	DL_APPEND(door->peers, peer);
	door->n_peers++;
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
	const struct timeval later = {.tv_usec = FULL_RETRY_MS * 1000};
	struct door *door = arg;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (fd >= 0) {
		let_in(door, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		event_del(door->accepting);
		event_add(door->retry, &later);
	}
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct door *door = arg;

	(void)fd;
	(void)what;
	event_add(door->accepting, NULL);
}

/* --- the file ------------------------------------------------------------------------------- */

static int check_path(const struct sockaddr_un *addr, struct err *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	bool served;
	int fd;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_EXISTS,
			"%s exists and is no socket: move it away, or set admin.socket to another "
			"path",
			path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_errno(err, "cannot make a socket");
	served = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0;
	close(fd);
	if (served)
		return err_set(err, ERR_EXISTS,
			"%s is served by another node: stop that one (gatehouse stop --socket %s), "
			"or "
			"set admin.socket to another path",
			path, path);
	unlink(path);
	return 0;
}

static int give_to_group(const char *path, const char *name, struct err *err)
{
	const struct group *group = getgrnam(name);

	if (!group)
		return err_set(err, ERR_NOT_FOUND, "admin.group: there is no group %s", name);
	if (chown(path, (uid_t)-1, group->gr_gid) < 0)
		return err_set_errno(err, "cannot give %s to the group %s", path, name);
	if (chmod(path, 0660) < 0)
		return err_set_errno(err, "cannot open %s to the group %s", path, name);
	return 0;
}

static int bind_path(struct door *door, const char *group, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int r;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", door->path);
	r = check_path(&addr, err);
	if (r < 0)
		return r;
	door->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (door->fd < 0)
		return err_set_errno(err, "cannot make a socket");
	mask = umask(0177);
	r = bind(door->fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (r < 0)
		return err_set_errno(err, "cannot listen on %s", door->path);
	door->bound = true;
	door->grouped = *group != '\0';
	r = *group ? give_to_group(door->path, group, err) : 0;
	if (r == 0 && listen(door->fd, BACKLOG) < 0)
		r = err_set_errno(err, "cannot listen on %s", door->path);
	return r;
}

/* --- life ----------------------------------------------------------------------------------- */

static int watch(struct door *door, struct err *err)
{
	door->accepting = event_new(door->base, door->fd, EV_READ | EV_PERSIST, on_accept, door);
	door->retry = evtimer_new(door->base, on_retry, door);
	if (!door->accepting || !door->retry || event_add(door->accepting, NULL) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for %s", door->path);
	return 0;
}

int door_open(struct event_base *base, const char *path, const char *group,
	const struct door_ops *ops, struct door **ret_door, struct err *err)
{
	struct door *door;
	int r;

	if (strlen(path) > DOOR_PATH_MAX)
		return err_set(err, ERR_TOO_LARGE,
			"the socket path %s has %zu bytes, the system allows %u: set admin.socket "
			"to a "
			"shorter one",
			path, strlen(path), DOOR_PATH_MAX);
	door = calloc(1, sizeof(*door));
	if (!door)
		return err_set(err, ERR_NO_MEMORY, "no memory for %s", path);
	door->base = base;
	door->ops = ops;
	door->fd = -1;
	snprintf(door->path, sizeof(door->path), "%s", path);
	r = bind_path(door, group, err);
	if (r == 0)
		r = watch(door, err);
	if (r < 0) {
		door_close(door);
		return r;
	}
	*ret_door = door;
	return 0;
}

void door_close(struct door *door)
{
	if (!door)
		return;
	while (door->peers)
		peer_free(door->peers);
	if (door->accepting)
		event_free(door->accepting);
	if (door->retry)
		event_free(door->retry);
	if (door->fd >= 0)
		close(door->fd);
	if (door->bound)
		unlink(door->path);
	free(door);
}

void *door_arg(const struct door *door)
{
	return door->ops->arg;
}

struct door_peer *door_peers(const struct door *door)
{
	return door->peers;
}
