/* What policy_world.c (processes, time, the trace) and policy_script.c (statements) share. */
#ifndef GATEHOUSE_POLICY_WORLD_PRIVATE_H
#define GATEHOUSE_POLICY_WORLD_PRIVATE_H

#include "policy_world.h"

#include "buf.h"

#include <uthash.h>

#define PLAN_MAX 32
#define NAME_MAX_LEN 48
#define CHILDREN_MAX 64

enum plan {
	PLAN_OK,
	PLAN_FAIL,
	PLAN_IGNORE,
	PLAN_HANG,
	PLAN_MAX_KIND,
};

enum onstop {
	ONSTOP_EXIT,
	ONSTOP_HANG,
	ONSTOP_AFTER,
};

/* A declared child or supervisor, and how its processes behave. */
struct decl {
	char name[NAME_MAX_LEN];
	struct child_spec spec;
	struct supervisor_spec sup;
	struct decl *children[CHILDREN_MAX];
	struct decl *of;  /* this is another spec for that one's process or supervisor */
	struct decl *now; /* a supervisor: what it was last changed to */
	struct child_spec *specs; /* the children's, as the policy wants them */
	size_t n_children;
	enum plan plan[PLAN_MAX];
	size_t n_plan;
	bool plan_sticks;
	enum onstop onstop;
	struct exit_status onstop_exit;
	uint64_t onstop_after;
	uint64_t instance; /* of its process; 0: none */
	uint64_t last;     /* the latest that was ready or hung, also when it is gone */
	bool began;        /* its start hangs */
	uint64_t marked;
	uint64_t dies_at; /* TREE_NO_DEADLINE: not by itself */
	UT_hash_handle hh;
	UT_hash_handle by_instance;
};

struct world {
	struct tree *tree;
	struct decl *decls;
	struct decl *processes;
	struct decl *root;
	uint64_t now;
	uint64_t requests;
	bool by_itself;
	bool reports;
	bool exchanging;
	long cookies;
	long unanswered;
	struct buf trace;
	struct err *err;
};

void say(struct world *world, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct decl *decl_find(struct world *world, const char *name);
struct decl *decl_new(struct world *world, const char *name);
/* Fills in what the policy is given: the declared children, and theirs. Returns the number of
 * cookies. */
long decl_build(struct decl *decl);
/* A process is gone; word, if any, is said. */
void process_ends(
	struct world *world, struct decl *decl, const char *word, const struct exit_status *status);
/* spec_release_fn */
void cookie_released(void *ctx, void *cookie);
/* The tree, saved and loaded, if that is wanted. 0, or what went wrong, in world->err. */
int world_exchange(struct world *world);
/* Carries out what the policy wants. */
void world_drain(struct world *world);
/* Lets time pass up to a moment, stopping at all that happens on the way. */
void world_pass(struct world *world, uint64_t until);

#endif
