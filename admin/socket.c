#include "socket.h"

#include <errno.h>
#include <grp.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum seat_state { SEAT_RECEIVING, SEAT_WAITING, SEAT_TAKEN, SEAT_SENDING, SEAT_OVER };

/* One nng context: it receives a request, waits for the loop, sends the answer, begins anew. */
struct seat {
	struct socket *socket;
	nng_ctx ctx;
	nng_aio *aio;
	nng_msg *request;
	enum seat_state state;
};

struct socket {
	nng_socket nng;
	char path[SOCKET_PATH_MAX + 1];
	int wake; /* eventfd: a seat waits */
	struct event *woken;
	pthread_mutex_t lock; /* of the seats' state; it also publishes their request */
	struct seat seats[SOCKET_SEATS];
	unsigned open;
	socket_request_fn *fn;
	void *arg;
};

/* --- in nng's threads ----------------------------------------------------------------------- */

/* The lock is never held while nng is called: it may call back at once. */
static void seat_set(struct seat *seat, enum seat_state state)
{
	pthread_mutex_lock(&seat->socket->lock);
	seat->state = state;
	pthread_mutex_unlock(&seat->socket->lock);
}

static void seat_receive(struct seat *seat)
{
	seat_set(seat, SEAT_RECEIVING);
	nng_ctx_recv(seat->ctx, seat->aio);
}

static void wake_loop(struct socket *socket)
{
	const uint64_t one = 1;
	ssize_t n = write(socket->wake, &one, sizeof(one));

	(void)n; /* full means the loop has been woken already */
}

static void on_aio(void *arg)
{
	struct seat *seat = arg;
	int r = nng_aio_result(seat->aio);

	if (r == NNG_ECLOSED || r == NNG_ECANCELED) {
		seat_set(seat, SEAT_OVER);
	} else if (seat->state == SEAT_RECEIVING && r == 0) {
		seat->request = nng_aio_get_msg(seat->aio);
		seat_set(seat, SEAT_WAITING);
		wake_loop(seat->socket);
	} else {
		/* sent, or the peer has gone: either way the next one */
		if (seat->state == SEAT_SENDING && r != 0)
			nng_msg_free(nng_aio_get_msg(seat->aio));
		seat_receive(seat);
	}
}

/* --- in the loop ---------------------------------------------------------------------------- */

static enum right right_of(nng_msg *msg)
{
	uint64_t uid;

	if (nng_pipe_get_uint64(nng_msg_get_pipe(msg), NNG_OPT_IPC_PEER_UID, &uid) != 0)
		return RIGHT_NONE;
	return uid == 0 || uid == geteuid() ? RIGHT_OPERATE : RIGHT_VIEW;
}

static bool seat_take(struct seat *seat)
{
	bool waits;

	pthread_mutex_lock(&seat->socket->lock);
	waits = seat->state == SEAT_WAITING;
	if (waits)
		seat->state = SEAT_TAKEN;
	pthread_mutex_unlock(&seat->socket->lock);
	return waits;
}

static void on_woken(evutil_socket_t fd, short what, void *arg)
{
	struct socket *socket = arg;
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	(void)n;
	(void)what;
	for (unsigned i = 0; i < socket->open; i++) {
		struct seat *seat = &socket->seats[i];

		if (seat_take(seat))
			socket->fn(socket->arg, seat,
				span_of(nng_msg_body(seat->request), nng_msg_len(seat->request)),
				right_of(seat->request));
	}
}

void seat_answer(struct seat *seat, struct span reply)
{
	nng_msg *msg = seat->request;

	/* the request's message becomes the reply's, so that there is always one to send */
	seat->request = NULL;
	nng_msg_clear(msg);
	if (nng_msg_append(msg, reply.p, reply.len) != 0)
		nng_msg_clear(msg);
	nng_aio_set_msg(seat->aio, msg);
	seat_set(seat, SEAT_SENDING);
	nng_ctx_send(seat->ctx, seat->aio);
}

/* --- the file ------------------------------------------------------------------------------- */

/* libnng finds that out too late: when it cannot listen, it removes the other's file. */
static bool is_served(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool served;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	served = fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	if (fd >= 0)
		close(fd);
	return served;
}

int socket_check_path(const char *path, struct err *err)
{
	if (strlen(path) > SOCKET_PATH_MAX)
		return err_set(err, ERR_TOO_LARGE,
			"the socket path %s has %zu bytes, the system allows %u: set admin.socket "
			"to a shorter one",
			path, strlen(path), SOCKET_PATH_MAX);
	if (is_served(path))
		return err_set(err, ERR_EXISTS,
			"%s is served by another node: stop that one (gatehouse stop --socket %s), "
			"or "
			"set admin.socket to another path",
			path, path);
	return 0;
}

int socket_set_access(const char *path, const char *group, struct err *err)
{
	const struct group *entry;

	if (!*group)
		return 0;
	errno = 0;
	entry = getgrnam(group);
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "admin.group: there is no group %s", group);
	if (chown(path, (uid_t)-1, entry->gr_gid) < 0)
		return err_set_errno(err, "cannot give %s to the group %s", path, group);
	if (chmod(path, 0660) < 0)
		return err_set_errno(err, "cannot open %s to the group %s", path, group);
	return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

static int listen_at(struct socket *socket, struct err *err)
{
	nng_listener listener;
	char url[SOCKET_PATH_MAX + 8];
	int r;

	snprintf(url, sizeof(url), "ipc://%s", socket->path);
	r = nng_rep0_open(&socket->nng);
	if (r != 0)
		return err_set(
			err, ERR_SYSTEM, "cannot open the admin socket: %s", nng_strerror(r));
	nng_socket_set_size(socket->nng, NNG_OPT_RECVMAXSZ, SOCKET_REQUEST_MAX);
	r = nng_listener_create(&listener, socket->nng, url);
	if (r == 0)
		r = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, 0600);
	if (r == 0)
		r = nng_listener_start(listener, 0);
	if (r != 0)
		return err_set(
			err, ERR_SYSTEM, "cannot listen on %s: %s", socket->path, nng_strerror(r));
	return 0;
}

static int open_seats(struct socket *socket, struct err *err)
{
	for (unsigned i = 0; i < SOCKET_SEATS; i++) {
		struct seat *seat = &socket->seats[i];

		seat->socket = socket;
		if (nng_aio_alloc(&seat->aio, on_aio, seat) != 0 ||
			nng_ctx_open(&seat->ctx, socket->nng) != 0) {
			nng_aio_free(seat->aio);
			seat->aio = NULL;
			return err_set(err, ERR_NO_MEMORY, "no memory for the admin socket");
		}
		socket->open++;
		seat_receive(seat);
	}
	return 0;
}

static int open_wake(struct socket *socket, struct event_base *base, struct err *err)
{
	socket->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (socket->wake < 0)
		return err_set_errno(err, "cannot make an eventfd");
	socket->woken = event_new(base, socket->wake, EV_READ | EV_PERSIST, on_woken, socket);
	if (!socket->woken || event_add(socket->woken, NULL) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for the admin socket");
	return 0;
}

int socket_open(struct event_base *base, const char *path, const char *group, socket_request_fn *fn,
	void *arg, struct socket **ret_socket, struct err *err)
{
	struct socket *socket;
	int r = socket_check_path(path, err);

	if (r < 0)
		return r;
	socket = calloc(1, sizeof(*socket));
	if (!socket)
		return err_set(err, ERR_NO_MEMORY, "no memory for the admin socket");
	socket->wake = -1;
	socket->fn = fn;
	socket->arg = arg;
	pthread_mutex_init(&socket->lock, NULL);
	snprintf(socket->path, sizeof(socket->path), "%s", path);
	r = open_wake(socket, base, err);
	if (r == 0)
		r = listen_at(socket, err);
	if (r == 0)
		r = socket_set_access(socket->path, group, err);
	if (r == 0)
		r = open_seats(socket, err);
	if (r < 0) {
		socket_close(socket);
		return r;
	}
	*ret_socket = socket;
	return 0;
}

void socket_close(struct socket *socket)
{
	if (!socket)
		return;
	for (unsigned i = 0; i < socket->open; i++)
		nng_ctx_close(socket->seats[i].ctx);
	for (unsigned i = 0; i < socket->open; i++) {
		nng_aio_stop(socket->seats[i].aio);
		nng_aio_free(socket->seats[i].aio);
		nng_msg_free(socket->seats[i].request);
	}
	if (nng_socket_id(socket->nng) > 0)
		nng_close(socket->nng);
	if (socket->woken)
		event_free(socket->woken);
	if (socket->wake >= 0)
		close(socket->wake);
	pthread_mutex_destroy(&socket->lock);
	free(socket);
}
