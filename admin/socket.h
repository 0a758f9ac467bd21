/*
 * The admin socket: requests (JSON) of the gatehouse command and of nngcat, over SP req/rep on a
 * Unix socket. libnng serves it in threads of its own; requests are handed to the event loop, one
 * at a time and never more than SOCKET_SEATS at once, the others wait at the socket.
 */
#ifndef GATEHOUSE_ADMIN_SOCKET_H
#define GATEHOUSE_ADMIN_SOCKET_H

#include "err.h"
#include "span.h"

#include <event2/event.h>

#define SOCKET_SEATS 16u
#define SOCKET_REQUEST_MAX 65536u
/* The longest path of a Unix socket, without its terminating zero (unix(7)). */
#define SOCKET_PATH_MAX 107u

/* What the credentials of the peer allow. */
enum right { RIGHT_NONE, RIGHT_VIEW, RIGHT_OPERATE };

struct socket;
struct seat;

/* request is valid until the seat is answered, which must happen once, from the loop. */
typedef void socket_request_fn(void *arg, struct seat *seat, struct span request, enum right right);

/*
 * Listen at path, mode 0600, or 0660 and owned by the group where group is a name. The user of this
 * process and root may operate; whoever else the kernel lets in is of the group and may view. A
 * file nobody serves any more is replaced. -ERR_TOO_LARGE for a path over SOCKET_PATH_MAX,
 * -ERR_EXISTS when another program serves it, -ERR_NOT_FOUND for an unknown group.
 */
int socket_open(struct event_base *base, const char *path, const char *group, socket_request_fn *fn,
	void *arg, struct socket **ret_socket, struct err *err);
/* Also removes the file. */
void socket_close(struct socket *socket);

/* Sends the reply and frees the seat for the next request. */
void seat_answer(struct seat *seat, struct span reply);

/* May we listen there? -ERR_TOO_LARGE: the path is too long, -ERR_EXISTS: another program serves
 * it. */
int socket_check_path(const char *path, struct err *err);
/* Give a socket file its mode and group. group: "" for none. */
int socket_set_access(const char *path, const char *group, struct err *err);

#endif
