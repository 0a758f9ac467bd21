/*
 * The programs of the node: the files of one folder, kept open from the moment it was chosen. What stands at their paths
 * may be replaced while the node runs, but all its processes are of one build until it is told to take up another.
 */
#ifndef GATEHOUSE_PROGRAMS_H
#define GATEHOUSE_PROGRAMS_H

#include "err.h"
#include "message.h"
#include "saved.h"

#define PROGRAMS_DIR_MAX 4000

struct programs {
	char dir[PROGRAMS_DIR_MAX]; /* absolute */
	int fds[ROLE_MAX];          /* O_PATH; roles of one program share a descriptor */
};

/*
 * Open the program of each role in dir. Refuses what cannot be executed. On failure nothing is left open; programs then hold
 * none.
 */
int programs_open(struct programs *programs, const char *dir, struct err *err);
/*
 * Whoever may operate the node must not thereby say what runs with its rights: -ERR_SYSTEM with err when others than root, the
 * node's user and the owner of the present programs could have written one of the next.
 */
int programs_check_owner(const struct programs *next, const struct programs *present, struct err *err);
/* Programs that hold none. */
void programs_none(struct programs *programs);
void programs_close(struct programs *programs);
bool programs_are_open(const struct programs *programs);
/*
 * Execute the role's program in place of this one. Returns only when that failed, with errno.
 */
void programs_exec(const struct programs *programs, enum role role, char *const *argv, char *const *env);

void programs_save(const struct programs *programs, struct saved_writer *writer);
/* Takes over the descriptors that are named. -ERR_PROTOCOL: one lacks. */
int programs_load(struct programs *ret_programs, struct span saved, struct err *err);

#endif
