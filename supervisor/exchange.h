/*
 * The root goes on as another program: execve in place, with the same pid, children and descriptors. What it holds passes
 * in a sealed memory file (state.h) whose number is in the argument --resume.
 *
 * The new program is on probation at first (upgrade.h). When it is hit by a fatal signal meanwhile, it executes the former
 * one, from a stack of its own, with the state as of the last turn of its loop.
 */
#ifndef GATEHOUSE_EXCHANGE_H
#define GATEHOUSE_EXCHANGE_H

#include "memfile.h"
#include "node.h"

/*
 * Go on as the root's program of these. because: NULL, or why the former one is returned to, in words. From the loop's
 * outside, where no action of the policy is to be taken. Returns only when nothing came of it, with everything as before:
 * -ERR_DRAINING (the node stops), -ERR_NO_MEMORY, -ERR_SYSTEM.
 */
int exchange_to(struct node *node, const struct programs *programs, const char *because, struct err *err);

/*
 * In a program that was executed so, first of all: the saved state in fd, mapped (for the caller to unmap). Descriptors it
 * names become close-on-exec again, and so does fd. -ERR_PROTOCOL: it is none that this program reads.
 */
int exchange_open(int fd, struct memfile *ret_map, struct span *ret_values, struct err *err);
/*
 * What to do when this program cannot go on with that state: execute the former one, if it is named there. Returns when
 * there is none, or it cannot be executed. options: what this program was started with.
 */
void exchange_give_back(const struct node_options *options, int fd, const char *because);
/* From here on a fatal signal does the same. Takes over fd; borrows options for as long as the program runs. */
void exchange_guard(const struct node_options *options, int fd);
/* The state that a fatal signal would go back with is as old as that: bring it up to date, unless it costs too much. */
void exchange_checkpoint(struct node *node);
/* The probation is over. */
void exchange_unguard(void);
/* Signals were blocked over the exec: take them. */
void exchange_take_signals(void);

#endif
