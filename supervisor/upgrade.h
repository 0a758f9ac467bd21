/*
 * New programs for a node that runs (`gatehouse upgrade [DIR]`):
 *
 *   checking    the new root's program, in a child, reads a copy of the state and looks at the other programs (preflight.c)
 *   starting    the root goes on as the new program (exchange.h)
 *   replacing   one process after the other is started anew (replace.c)
 *   probation   all run the new programs. As long as it lasts, and while they are replaced, the root goes back to the former
 *               programs, which it has kept open, when a process does not start, a supervisor gives up, or a fatal signal
 *               hits the root itself
 *   done        the former ones are let go
 *
 * or refused (by the check), or returning and returned, with the reason.
 */
#ifndef GATEHOUSE_UPGRADE_H
#define GATEHOUSE_UPGRADE_H

#include "node.h"

enum upgrade_phase {
	UPGRADE_CHECKING,
	UPGRADE_STARTING,
	UPGRADE_REPLACING,
	UPGRADE_PROBATION,
	UPGRADE_DONE,
	UPGRADE_REFUSED,
	UPGRADE_RETURNING,
	UPGRADE_RETURNED,
	UPGRADE_PHASES,
};

/* "0.1.0 (build 1f2e…)" */
#define UPGRADE_BUILD_MAX 128

struct checking;
struct replacing;

struct upgrade {
	enum upgrade_phase phase;
	char from[UPGRADE_BUILD_MAX], to[UPGRADE_BUILD_MAX];
	char reason[ERR_DETAIL_MAX]; /* of a refusal or return */
	bool same;                   /* the programs are the files that ran already: only the root goes on anew */
	uint64_t former_epoch;       /* of the children before */
	uint64_t left_us;            /* when the former program stopped to listen */
	uint64_t until_ms;           /* of the probation */
	unsigned total, left;        /* processes to be replaced, and those of them that still run */
	struct programs next;        /* while checking and starting */
	struct checking *checking;
	struct replacing *replacing;
	struct event *probation;
};

/*
 * Begin. dir: absolute, or "" for the folder of the present programs. -ERR_BUSY: there is another under way, or the node is
 * not up; else what programs_open says. What comes of it afterwards shows in upgrade_write.
 */
int upgrade_begin(struct node *node, const char *dir, struct err *err);
/* The check has ended: with the build of the new programs, or a reason against them. */
void upgrade_checked(struct node *node, const char *build, const char *against);
/* With the loop left because of exchange_wanted. Returns only when nothing came of it. */
void upgrade_exchange(struct node *node);
/* In the program that goes on. because: why it was returned to; NULL: it is the new one. */
void upgrade_resume(struct node *node, const char *because);
/* All processes run the present programs. */
void upgrade_replaced(struct node *node);
/* While the programs are on probation: they are no good. */
void upgrade_return(struct node *node, const char *because);
bool upgrade_on_probation(const struct node *node);
/* {"state","from","to","total","replaced","probation_ms","reason"}; state "none" when there was none. */
void upgrade_write(struct node *node, struct buf *out);
bool upgrade_is_under_way(const struct node *node);
void upgrade_free(struct node *node);

void upgrade_save(const struct node *node, struct saved_writer *writer);
int upgrade_load(struct node *node, struct span values, struct err *err);

/* check.c: run `gatehouse-supervisor --preflight` of these programs. upgrade_checked follows, unless this fails. */
int check_begin(struct node *node, const struct programs *programs, struct err *err);
void check_free(struct node *node);

/* preflight.c: the same, in that program: exit status of main. state: descriptor; path: where its answer goes. */
int preflight_main(int state, const struct node_options *options);

/* replace.c */
#define REPLACE_REQUEST (UINT64_C(1) << 40) /* requests to the policy from here on are its own */
/* Processes of another epoch are replaced, and those that a former try has left out are started. */
int replace_begin(struct node *node, struct err *err);
void replace_answered(struct node *node, const struct action *action);
void replace_free(struct node *node);

#endif
