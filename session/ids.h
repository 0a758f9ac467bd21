/*
 * Session ids: 128 random bits, the node that made them, and a MAC, so that a node tells its own
 * ids from made-up ones without looking anywhere. An id authenticates nobody.
 */
#ifndef GATEHOUSE_IDS_H
#define GATEHOUSE_IDS_H

#include "err.h"
#include "span.h"

#include <stdint.h>

#define SESSION_ID_SIZE 40u /* with the terminating zero */

struct ids;

/* The key is STATE_DIR/session.key, made at the first start (mode 0600). */
int ids_new(const char *state_dir, uint16_t node, struct ids **ret_ids, struct err *err);
void ids_free(struct ids *ids);
/* A new id: characters of base64url. -ERR_SYSTEM when the system has no randomness. */
int ids_make(const struct ids *ids, char text[SESSION_ID_SIZE], struct err *err);
/* Did this node (its key) make it? */
bool ids_valid(const struct ids *ids, struct span id);

#endif
