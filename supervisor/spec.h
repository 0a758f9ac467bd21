/*
 * Child specs and supervisor flags: what a person declares, its check, and the policy's own copy of
 * it (SUPERVISION.md A; the words are OTP's supervisor's).
 */
#ifndef GATEHOUSE_SPEC_H
#define GATEHOUSE_SPEC_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPEC_ID_MAX 128u             /* bytes of an id without its terminating zero */
#define SPEC_CHILDREN_MAX 131072u    /* children of one supervisor, dynamic ones included */
#define SPEC_DEPTH_MAX 8u            /* supervisors below supervisors */
#define SPEC_INTENSITY_MAX 1000000   /* the restart window keeps one number per restart */
#define SPEC_PERIOD_MAX_S 31536000   /* a year */
#define SPEC_TIME_MAX_MS 31536000000 /* a year */

/* In each enum 0 is "not said": the default of A1/A2. */
enum restart_type {
	RESTART_DEFAULT, /* permanent */
	RESTART_PERMANENT,
	RESTART_TRANSIENT,
	RESTART_TEMPORARY,
	RESTART_MAX,
};

enum child_type {
	CHILD_DEFAULT, /* worker, or supervisor if the spec has one */
	CHILD_WORKER,
	CHILD_SUPERVISOR,
	CHILD_MAX,
};

enum shutdown_kind {
	SHUTDOWN_DEFAULT, /* 5000 ms for a worker, infinity for a supervisor */
	SHUTDOWN_BRUTAL_KILL,
	SHUTDOWN_INFINITY,
	SHUTDOWN_AFTER, /* stop signal, wait, kill */
	SHUTDOWN_MAX,
};

enum strategy {
	STRATEGY_DEFAULT, /* one_for_one */
	STRATEGY_ONE_FOR_ONE,
	STRATEGY_ONE_FOR_ALL,
	STRATEGY_REST_FOR_ONE,
	STRATEGY_SIMPLE_ONE_FOR_ONE,
	STRATEGY_MAX,
};

enum auto_shutdown {
	AUTO_SHUTDOWN_DEFAULT, /* never */
	AUTO_SHUTDOWN_NEVER,
	AUTO_SHUTDOWN_ANY_SIGNIFICANT,
	AUTO_SHUTDOWN_ALL_SIGNIFICANT,
	AUTO_SHUTDOWN_MAX,
};

struct shutdown_rule {
	enum shutdown_kind kind;
	int64_t ms; /* SHUTDOWN_AFTER: >= 0 */
};

struct supervisor_flags {
	enum strategy strategy;
	int64_t intensity; /* restarts survived within the period; 0 is legal */
	int64_t period_s;  /* > 0 */
	enum auto_shutdown auto_shutdown;
	/*
	 * Ours, not OTP's: a start_child of a temporary child is answered when it is ready, as
	 * always, but the supervisor serves its next request without waiting for that. For the
	 * sessions: one slow start must not make other clients wait.
	 */
	bool overlap_starts;
};

#define SUPERVISOR_FLAGS_INIT \
	(struct supervisor_flags) \
	{ \
		.intensity = 1, .period_s = 5 \
	}

struct supervisor_spec;

struct child_spec {
	const char *id; /* unique among siblings; for simple_one_for_one the template's name */
	void *start;    /* the runtime's cookie: what to run. Not looked at here. */
	enum restart_type restart;
	struct shutdown_rule shutdown;
	enum child_type type;
	int significant;          /* 0 or 1 */
	int64_t start_timeout_ms; /* Q1: 0 = the default of 10 s; -1 = none */
	int64_t backoff_min_ms;   /* Q2: pause after a failed start, doubled up to the maximum; 0 =
				     none */
	int64_t backoff_max_ms;   /* 0 = as the minimum */
	/*
	 * Not NULL: the child is a logical supervisor, a node of the same tree. NULL with type
	 * supervisor: a process that supervises others. Copied with the spec; NULL in what
	 * tree_get_childspec gives back.
	 */
	const struct supervisor_spec *supervisor;
};

#define SPEC_START_TIMEOUT_MS 10000
#define SPEC_TIMEOUT_NONE (-1)
#define SPEC_SHUTDOWN_MS 5000

struct supervisor_spec {
	struct supervisor_flags flags;
	const struct child_spec *children; /* start order */
	size_t n_children;                 /* simple_one_for_one: exactly one, the template */
};

enum spec_verdict {
#define VERDICT(name, word) SPEC_##name,
#include "verdicts.def"
#undef VERDICT
	SPEC_VERDICT_MAX,
};

const char *spec_verdict_name(enum spec_verdict verdict);

/*
 * The checks. Pure; the same that a start makes (A13). err, which may be NULL, gets a sentence
 * naming the child and the value. auto_shutdown is the one of the supervisor that the child is for.
 */
enum spec_verdict spec_check_flags(const struct supervisor_flags *flags, struct err *err);
enum spec_verdict spec_check_child(
	const struct child_spec *spec, enum auto_shutdown auto_shutdown, struct err *err);
enum spec_verdict spec_check_children(const struct child_spec *specs, size_t n_specs,
	enum auto_shutdown auto_shutdown, struct err *err);
/* Flags, children, and the supervisors below. */
enum spec_verdict spec_check_supervisor(const struct supervisor_spec *spec, struct err *err);

/* Told when the policy's last copy of a cookie is gone, once per cookie handed over. ctx is the
 * tree's. */
typedef void spec_release_fn(void *ctx, void *cookie);

struct spec_owner {
	spec_release_fn *release; /* may be NULL */
	void *ctx;
};

/* The policy's own copies. Counted; defaults filled in. */
struct spec_group {
	unsigned refs;
	unsigned saved_in; /* policy_save.c: in which saving it has which number */
	size_t saved;
	struct supervisor_flags flags;
	size_t n_specs;
	struct spec **specs;
};

struct spec {
	unsigned refs;
	unsigned saved_in; /* as of a group */
	size_t saved;
	struct spec_owner owner;
	struct child_spec data;   /* id points into this block; supervisor is NULL */
	struct spec_group *group; /* of a logical supervisor, else NULL */
	char id[];
};

/* Copies of checked specs, with one reference; NULL when memory is out, and then no cookie was
 * taken. */
struct spec *spec_copy(const struct child_spec *spec, struct spec_owner owner);
struct spec_group *spec_group_copy(const struct supervisor_spec *spec, struct spec_owner owner);

/* For a copy made with an owner of zeros that turned out to be wanted. */
void spec_group_set_owner(struct spec_group *group, struct spec_owner owner);

struct spec *spec_ref(struct spec *spec);
void spec_unref(struct spec *spec); /* NULL is allowed */
struct spec_group *spec_group_ref(struct spec_group *group);
void spec_group_unref(struct spec_group *group); /* NULL is allowed */

#endif
