/*
 * The session manager, as its workers see it: it gives a lease, is told of every change, and may
 * die and come back; then the worker opens the link itself and claims its session.
 */
#ifndef GATEHOUSE_LEASE_H
#define GATEHOUSE_LEASE_H

#include "link.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct process;

struct manager_link {
	struct link *link; /* NULL: the session manager is away */
	bool opening;
	uint64_t retry_ms;        /* not asked for again before */
	const char *close_reason; /* the session is over, which the manager must know; else NULL */
	bool close_sent;          /* on this link */
};

extern const struct link_handlers lease_handlers;
void lease_accepted(struct process *process, struct link *link);
/* The session is over; reason is kept by reference. */
void lease_tell_closed(struct worker *worker, const char *reason);
/* All that it must know has left. */
bool lease_flush(struct worker *worker);
void lease_tick(struct worker *worker, uint64_t now_ms);

#endif
