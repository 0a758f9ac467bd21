/*
 * gatehouse-admin: what people and monitoring see of a node. The admin socket with its commands
 * (commands.c), events (events.h), metrics and health over HTTP (http.c). It knows nothing by
 * itself: each question is put to the parts of the node (parts.h); the catalogue and exits come
 * from the root unasked.
 */
#ifndef GATEHOUSE_ADMIN_H
#define GATEHOUSE_ADMIN_H

#include "catalogue.h"
#include "config.h"
#include "events.h"
#include "parts.h"
#include "process.h"
#include "socket.h"

/* How long a part may take for a question, and for a command. */
#define ADMIN_QUERY_MS 2000u
#define ADMIN_COMMAND_MS 10000u
#define ADMIN_REPLY_MAX SOCKET_REPLY_MAX

struct evhttp;

struct admin {
	struct process *process;
	struct config *config;
	struct catalogue *catalogue; /* NULL until the registry has published one */
	struct parts *parts;
	struct socket *socket;
	struct events *events;
	struct evhttp *http; /* NULL: no listener was given */
	int64_t cores;       /* asked for while files may be opened */
};

/* commands.c: for socket_open, with the struct admin as argument. */
void admin_on_request(void *arg, struct seat *seat, struct span request, enum right right);

/* metrics.c: gather from all parts; text is valid during the call. fn is called once, maybe with
 * an error and no text. */
typedef void admin_metrics_fn(void *arg, struct span text, const struct err *err);
void admin_gather_metrics(struct admin *admin, admin_metrics_fn *fn, void *arg);

/* http.c: serve on fd, which is taken over. */
int admin_http_listen(struct admin *admin, int fd, struct err *err);
void admin_http_close(struct admin *admin);

/* watch.c: what the root tells unasked becomes events. */
void admin_on_catalogue(struct link *link, const struct message *msg, void *arg);
void admin_on_exited(struct link *link, const struct message *msg, void *arg);
/* Append, of the servers:
 * {"total":3,"up":2,"down":[{"name":"files","state":"down","required":true,"error":"…"}]}. */
void admin_write_servers(const struct admin *admin, struct buf *out);
/* Is a server down without which the node is not ready? */
bool admin_lacks_required(const struct admin *admin);

#endif
