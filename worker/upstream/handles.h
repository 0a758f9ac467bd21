/*
 * Tasks of clients without a session (2026-07-28, extension io.modelcontextprotocol/tasks): they know
 * a task by a handle (task_handle.h) that leads any worker here and is worth nothing to another
 * principal. Nothing of it is kept: it outlives every process of the node.
 */
#ifndef GATEHOUSE_HANDLES_H
#define GATEHOUSE_HANDLES_H

#include "client.h"
#include "task_handle.h"

/* Does this result of the server name a task to a client that knows it by a handle? */
bool handle_is_in(const struct call *call, struct span result);
/*
 * Append a result of the server with a handle of this client in place of its taskId.
 * -ERR_PROTOCOL: it has none, or one that is too long; or the buffer's error.
 */
int handle_give(const struct client *client, struct span object, struct buf *out, struct err *err);
/*
 * Append params of the client with the server's own id in place of the handle.
 * -ERR_INVALID_PARAMS: it is none that was given to this principal for this server.
 */
int handle_take(const struct client *client, struct span params, struct buf *out, struct err *err);

#endif
