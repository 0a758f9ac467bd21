/*
 * What a client without a session (2026-07-28, extension io.modelcontextprotocol/tasks) knows a task
 * by: the server's name, so that any worker finds it; a MAC, which only the upstream worker makes and
 * checks, over server, principal and id; and the server's own id.
 */
#ifndef GATEHOUSE_TASK_HANDLE_H
#define GATEHOUSE_TASK_HANDLE_H

#include "span.h"

#include <stdbool.h>

#define TASK_HANDLE_PREFIX "gt1."
/* Hexadecimal digits of the MAC. */
#define TASK_HANDLE_MAC 32u
/* Bytes of a server's own id, decoded; and of the whole. */
#define TASK_ID_MAX 512u
#define TASK_HANDLE_MAX 768u

struct task_handle {
	struct span server, mac, id;
};

/* Take a decoded handle apart; views of text. False: it is none. */
bool task_handle_split(struct span text, struct task_handle *ret);

#endif
