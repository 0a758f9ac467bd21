#include "socket.h"

#include <stdlib.h>

struct socket {
	struct door_ops ops;
	struct door *door;
	socket_request_fn *fn;
	void *arg;
};

/* A request under way. */
struct seat {
	struct door_peer *peer; /* NULL: it has left */
	uint32_t id;
};

static void on_request(struct door_peer *peer, uint32_t id, struct span body)
{
	struct socket *socket = door_arg(peer->door);
	struct seat *seat = body.len <= SOCKET_REQUEST_MAX ? calloc(1, sizeof(*seat)) : NULL;

	if (!seat) {
		door_dismiss(peer);
		return;
	}
	seat->peer = peer;
	seat->id = id;
	peer->user = seat;
	peer->busy = true;
	sp_pause_reading(peer->sp, true);
	socket->fn(socket->arg, seat, body, peer->right);
}

static void on_left(struct door_peer *peer)
{
	struct seat *seat = peer->user;

	if (seat)
		seat->peer = NULL;
}

void seat_answer(struct seat *seat, struct span reply)
{
	const struct iovec part = {(void *)(uintptr_t)reply.p, reply.len};
	struct door_peer *peer = seat->peer;
	uint32_t id = seat->id;

	free(seat);
	if (!peer)
		return;
	peer->user = NULL;
	peer->busy = false;
	if (sp_send(peer->sp, SP_DATA, id, &part, 1, NULL, 0) < 0)
		/* it does not take what it asked for */
		door_dismiss(peer);
	else
		sp_pause_reading(peer->sp, false);
}

int socket_open(struct event_base *base, const char *path, const char *group, socket_request_fn *fn,
	void *arg, struct socket **ret_socket, struct err *err)
{
	struct socket *socket = calloc(1, sizeof(*socket));
	int r;

	if (!socket)
		return err_set(err, ERR_NO_MEMORY, "no memory for the admin socket");
	socket->fn = fn;
	socket->arg = arg;
	socket->ops = (struct door_ops){
		.sp = {.protocol = SP_REP0,
			.mapping = SP_MAPPING_IPC,
			.max_message = SOCKET_REPLY_MAX + 4, /* both ways */
			.max_queue = SOCKET_REPLY_MAX + 4096},
		.message = on_request,
		.left = on_left,
		.arg = socket,
	};
	r = door_open(base, path, group, &socket->ops, &socket->door, err);
	if (r < 0) {
		free(socket);
		return r;
	}
	*ret_socket = socket;
	return 0;
}

void socket_close(struct socket *socket)
{
	if (!socket)
		return;
	door_close(socket->door);
	free(socket);
}
