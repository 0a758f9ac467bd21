/*
 * A small language for traces of the supervision policy: processes that live only in a table, a
 * clock that stands still until told, and a trace of what happened. The unit tests write scripts in
 * it; the comparison with OTP reads the same scripts on both sides.
 *
 * A script is statements separated by newlines or ';'. Words are separated by blanks, '#' begins a
 * comment.
 *
 *   sup NAME PARENT STRATEGY INTENSITY PERIOD AUTO [RESTART SHUTDOWN SIGNIFICANT]
 *   child ID PARENT RESTART SHUTDOWN SIGNIFICANT [timeout=MS|none] [backoff=MIN-MAX]
 *       declare; the root is `sup root - ...`, a PARENT of + keeps it for `add` or `change`.
 *       STRATEGY  all|one|rest|simple
 *       AUTO      never|any|all
 *       RESTART   permanent|transient|temporary
 *       SHUTDOWN  brutal|infinity|MS; - is the default
 *   as ID PARENT RESTART SHUTDOWN SIGNIFICANT
 *       the child or supervisor declared as ID stands under PARENT too (for `change`), with these rules
 *   plan ID ok|fail|ignore|hang ...
 *       what its next starts come to; a last word ending in * stays; then ok
 *   onstop ID shutdown|normal|reason|abnormal|hang|after:MS
 *       what it does when asked to stop
 *   start; stop; advance MS; auto (time passes by itself whenever something waits for it)
 *   exit ID normal|shutdown|reason|abnormal|killed|code:N|signal:N; ready ID; gone ID (one that
 *       hangs); go ID ok|fail (its start hangs: that is what it comes to)
 *   add SUP ID; dyn SUP LABEL; terminate SUP ID; terminate_dyn SUP LABEL; restart SUP ID;
 *   delete SUP ID
 *   which SUP; count SUP; mark; same ID; reports; change SUP NEWSUP
 *
 * The trace: "start a", "begin a" (a start that hangs), "fail a", "ignore a", "stop a", "kill a",
 * "reply ok", "ready", "gave_up", "stopped", separated by ", ". SUP is a path from the root; "root"
 * is the root.
 */
#ifndef GATEHOUSE_POLICY_WORLD_H
#define GATEHOUSE_POLICY_WORLD_H

#include "policy.h"

struct world;

struct world *world_new(void);
void world_free(struct world *world); /* NULL is allowed */

/* Runs statements. 0, or -ERR_INVALID_ARGUMENT with the statement that makes no sense in err. */
int world_run(struct world *world, const char *script, struct err *err);
/* The trace since the last call; valid until the next call on this world. */
const char *world_take_trace(struct world *world);
/* The tree under test; NULL before `start`. */
struct tree *world_tree(struct world *world);
/* Processes that have not ended. */
size_t world_alive(const struct world *world);
/* Requests taken over by the tree and not answered. */
long world_unanswered(const struct world *world);
/* Frees the tree alone, at whatever point it is. */
void world_drop_tree(struct world *world);
/*
 * From now on the tree is saved after each statement, and the one that is loaded from that takes its place; a tree that is
 * saved again must come to the same bytes.
 */
void world_exchange_trees(struct world *world);
/* Cookies that the tree has not released: 0 once a tree was freed. */
long world_cookies(const struct world *world);

#endif
