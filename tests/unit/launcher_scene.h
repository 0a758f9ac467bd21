/*
 * What the tests of the launcher share: a node whose configuration has servers of all kinds of
 * conduct, and things to expect of them. The test program is some of these servers itself.
 */
#ifndef GATEHOUSE_LAUNCHER_SCENE_H
#define GATEHOUSE_LAUNCHER_SCENE_H

#include "launcher_node.h"

#include <check.h>

#define PATIENCE_MS 20000
/* In the environment of the server cat only. */
#define SCENE_SECRET "hush-8f3a-1c77-never-told"

extern struct scene {
	struct node node;
	char mark[128];        /* what the servers' processes have in their environment */
	char bad_script[64];   /* command of server badscript */
	char plain_script[64]; /* of plainscript */
} scene;

/* Start a node with the scene's servers. poor: see node_start. */
void scene_start(int poor);
/* End it; nothing may be left. */
void scene_finish(void);

/* Wait until so many marked processes are there. */
void await_marked(unsigned count);
/* Wait for SERVER_EXITED with this reason, the end of the link, and the keeper's exit with 0. */
void await_exit(struct kept *kept, const char *reason);
/* The next line of the server's output. */
void expect_line(struct kept *kept, const char *expected);

/* The test program's main: runs the suite, or is a server when there are arguments. */
int scene_main(int argc, char **argv, Suite *(*make_suite)(void));

#endif
