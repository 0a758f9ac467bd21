/*
 * The admin socket: requests (JSON) of the gatehouse command, of nngcat and any nng program, over
 * SP req/rep on a Unix socket. Each connection has one request under way at a time, the next one
 * waits.
 */
#ifndef GATEHOUSE_ADMIN_SOCKET_H
#define GATEHOUSE_ADMIN_SOCKET_H

#include "door.h"
#include "span.h"

#define SOCKET_REQUEST_MAX 65536u
#define SOCKET_REPLY_MAX (32u * 1024 * 1024)

struct socket;
struct seat;

/* request is valid during the call. The seat must be answered once, from the loop. */
typedef void socket_request_fn(void *arg, struct seat *seat, struct span request, enum right right);

/* As door_open. */
int socket_open(struct event_base *base, const char *path, const char *group, socket_request_fn *fn,
	void *arg, struct socket **ret_socket, struct err *err);
/* Seats that are not answered yet must not be answered afterwards. */
void socket_close(struct socket *socket);

/* Sends the reply, if the peer is still there, and frees the seat. */
void seat_answer(struct seat *seat, struct span reply);

#endif
