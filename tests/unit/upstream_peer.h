/* tests/support/scripted_peer.py: the same MCP server over any transport, for the tests of the
 * upstream worker. */
#ifndef GATEHOUSE_UPSTREAM_PEER_H
#define GATEHOUSE_UPSTREAM_PEER_H

#include "upstream_world.h"

struct peer {
	const char *transport; /* stdio, http, sse, ws */
	const char *modes;
	bool tls;
	pid_t pid; /* 0: over stdio, where the world starts it */
	int in;
	int port;
	char dir[32], log[64], cert[64], key[64];
	char command[512];
};

/* modes: as the script's head tells, "-" for none. */
void peer_start(struct peer *peer, const char *transport, const char *modes, bool tls);
/* The program ends; the log stays until peer_end. */
void peer_kill(struct peer *peer);
void peer_end(struct peer *peer);
/* Start the upstream worker of it. type: as in the configuration, NULL to leave it out; more:
 * further lines of YAML. */
void peer_world(const struct peer *peer, struct world *world, const char *type, const char *more);

/* Lines of its log that match: '*' stands for any one word. */
unsigned peer_count(const struct peer *peer, const char *pattern);
/* Of the conversation that was opened as the nth (from 1): is its last line "end …"? */
bool peer_has_ended(const struct peer *peer, unsigned nth);

#endif
