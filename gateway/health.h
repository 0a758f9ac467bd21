/* Is this gateway alive, and can it serve? For load balancers, and for people who ask which server
 * is down. */
#ifndef GATEHOUSE_HEALTH_H
#define GATEHOUSE_HEALTH_H

#include "buf.h"

#include <stdbool.h>

struct gateway;

/* How long servers that never listed anything may keep a fresh node from being ready. */
#define HEALTH_STARTING_MS 3000u

/*
 * Append a JSON object: status, reason where it is not ok, and the servers that are not up with
 * what is known of them. ready: also counts servers that are starting for the first time, and a
 * drain. detail: the servers; else the first two alone. False: answer with 503.
 */
bool health_write(const struct gateway *gateway, bool ready, bool detail, struct buf *out);

#endif
