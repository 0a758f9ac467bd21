/* Where the node's MCP endpoint is, as libcurl is told it. */
#ifndef GATEHOUSE_CTL_TARGET_H
#define GATEHOUSE_CTL_TARGET_H

#include "client.h"

#include <curl/curl.h>

struct target {
	char url[1024];
	char unix_path[108]; /* empty: over TCP */
};

/*
 * From an address as `listen` has it (http://0.0.0.0:8080, unix:PATH) or a URL with its path; /mcp
 * when there is none. Wildcard addresses become loopback. -1 when it is too long.
 */
int target_parse(const char *text, struct target *ret);
/* From --url, else by asking the node. Prints why not; returns an exit status. */
int target_find(const struct invocation *inv, struct target *ret);
/* By asking this node. */
int target_ask(struct client *client, struct target *ret);
void target_apply(const struct target *target, CURL *curl);

#endif
