/*
 * The bridge of `gatehouse stdio`: JSON-RPC lines on one side, Streamable HTTP on the other. Each
 * message is POSTed by itself, several at once; answers and everything else the server says go out
 * as lines in the order they arrive. A broken stream is resumed by Last-Event-ID; a session that
 * the server has forgotten is opened again with the client's own initialize.
 *
 * Sources: MCP 2025-11-25, basic/transports; 2026-07-28 (headers, cancellation by closing).
 */
#ifndef GATEHOUSE_CTL_BRIDGE_H
#define GATEHOUSE_CTL_BRIDGE_H

#include "target.h"

#define BRIDGE_MESSAGE_MAX (64u * 1024 * 1024) /* one line, one answer */
#define BRIDGE_TRANSFERS_MAX 256u              /* requests under way; then reading waits */

/*
 * Until in ends (then what is under way may finish, for a short while) or stop, a signalfd, is
 * readable. Prints errors to standard error, never to out. Returns an exit status.
 */
int bridge_run(const struct target *target, int in, int out, int stop);

#endif
