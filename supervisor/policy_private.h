/*
 * Inside the policy: what policy.c, policy_memory.c, policy_step.c, policy_stop.c,
 * policy_request.c, policy_status.c and policy_change.c share. Nobody else includes it.
 *
 * A struct sup is a logical supervisor, driven like an OTP process: one mailbox served in order, one
 * operation at a time. Events only set state and put their child on the tree's list of notes; all
 * actions are made in small steps by tree_next_action, at most STEP_ACTIONS in one, so a small ring
 * holds them whatever the size of the tree.
 */
#ifndef GATEHOUSE_POLICY_PRIVATE_H
#define GATEHOUSE_POLICY_PRIVATE_H

#include "policy.h"
#include "timer_heap.h"
#include "window.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include <stddef.h>

#define STEP_ACTIONS 4u

enum child_state {
	CHILD_UNDEFINED,
	CHILD_STARTING,
	CHILD_RUNNING,
	CHILD_DEAD,       /* ended by itself; the exit waits in the mailbox */
	CHILD_STOPPING,   /* asked to stop */
	CHILD_KILLING,    /* killed, not yet gone */
	CHILD_RESTARTING, /* a start failed; the retry waits in the mailbox or for its back-off */
};

enum exit_note {
	NOTE_NONE,
	NOTE_EXITED,
	NOTE_FAILED, /* start failed; the reason is in exit.reason */
	NOTE_IGNORED,
};

enum outcome {
	OUTCOME_NONE,
	OUTCOME_STARTED,
	OUTCOME_IGNORED,
	OUTCOME_FAILED,
	OUTCOME_GONE,
};

enum op_kind {
	OP_NONE,
	OP_INIT,          /* start all, in order (B1) */
	OP_RESTART,       /* start one again */
	OP_GROUP_STOP,    /* one_for_all, rest_for_one: first half */
	OP_GROUP_START,   /* and second half */
	OP_ASKED_START,   /* start_child */
	OP_ASKED_RESTART, /* restart_child */
	OP_ASKED_STOP,    /* terminate_child */
	OP_STOP_ALL,      /* the end of a static supervisor (H1) */
	OP_SIGNAL_ALL,    /* the end of a simple_one_for_one (K5) */
	OP_WAIT_ALL,
	OP_KILL_ALL,
	OP_END, /* all children are gone */
	OP_MAX,
};

enum message_kind {
	MESSAGE_CHILD, /* its exit if CHILD_DEAD, its retry if CHILD_RESTARTING */
	MESSAGE_REQUEST,
};

struct message {
	struct message *prev;
	struct message *next;
	enum message_kind kind;
	bool queued;
};

struct args {
	unsigned refs;
	void *cookie;
};

struct child {
	struct sup *sup;    /* the supervisor it belongs to */
	struct child *prev; /* start order */
	struct child *next;
	struct spec *spec;
	struct args *args; /* simple_one_for_one */
	enum child_state state;
	uint64_t instance; /* of the latest incarnation, also when it is gone; 0: none yet */
	uint64_t former; /* simple_one_for_one: the last one that ran, by which a retry is found */
	struct sup *below;       /* the present incarnation of a logical supervisor */
	struct heap_timer timer; /* start timeout, stop timeout or back-off, by state */
	struct message message;
	unsigned failures; /* starts in a row */
	/* what the runtime posted and no step has looked at */
	struct child *note_next;
	bool noted;
	bool ready;
	enum exit_note exit_note;
	/* this incarnation */
	bool signalled;  /* stop signal sent */
	bool brutal;     /* killed because its spec says so */
	bool timed_out;  /* killed because it was not ready in time */
	bool overlapped; /* its start holds up nobody; request waits for it */
	uint64_t request;
	uint64_t extra;
	struct exit_status exit;
	size_t saved; /* policy_save.c: its number, from 1 */
	UT_hash_handle by_instance;
	UT_hash_handle by_id;
	char id[]; /* "" under simple_one_for_one */
};

struct op {
	enum op_kind kind;
	struct child *cursor;
	struct child *anchor;  /* group restarts: the child that died */
	struct child *waiting; /* nothing goes on until this one started or is gone */
	bool discard;          /* what waiting comes to is of no interest any more */
	enum outcome outcome;  /* of the last one waited for */
	bool asked;            /* request is to be answered */
	uint64_t request;
};

struct sup {
	struct tree *tree;
	struct child *self; /* NULL for the root */
	uint64_t instance;
	struct supervisor_flags flags;
	struct spec *template; /* simple_one_for_one */
	struct child *first;
	struct child *last;
	struct child *by_id;
	size_t n_children;
	size_t n_alive; /* with a process, or a supervisor, that is not gone */
	struct window window;
	struct message *mail_first;
	struct message *mail_last;
	size_t n_requests;
	struct op op;
	bool stop_wanted;
	bool killed;
	bool started; /* all children were once ready */
	bool gave_up;
	bool start_failed;
	char end_reason[SPEC_ID_MAX + EXIT_REASON_MAX + 64];
	struct heap_timer timer; /* the one timer of K5 */
	size_t saved;            /* policy_save.c: its number, from 1 */
	bool awake;
	struct sup *wake_prev;
	struct sup *wake_next;
};

enum request_kind {
	REQUEST_START_CHILD,
	REQUEST_START_DYNAMIC,
	REQUEST_TERMINATE_CHILD,
	REQUEST_TERMINATE_INSTANCE,
	REQUEST_RESTART_CHILD,
	REQUEST_DELETE_CHILD,
	REQUEST_CHANGE,
	REQUEST_MAX,
};

struct request {
	struct message message; /* first: a message of this kind is a request */
	enum request_kind kind;
	uint64_t number;
	uint64_t instance;
	struct spec *spec;
	struct args *args;
	struct spec_group *group;
	char id[];
};

struct action_slot {
	struct action action;
	struct spec *spec; /* held until the action is done with, so that its cookies stay valid */
	struct args *args;
};

struct tree {
	struct spec_owner owner;
	struct spec_group *group; /* the root's */
	struct sup *root;         /* NULL once it ended */
	uint64_t now;
	uint64_t last_instance;
	struct child *by_instance;
	struct timer_heap timers;
	struct child *note_first;
	struct child *note_last;
	struct sup *wake_first;
	struct sup *wake_last;
	struct action_slot ring[STEP_ACTIONS * 2];
	size_t ring_first;
	size_t ring_count;
	struct action_slot taken; /* whose cookies the runtime may be looking at */
	unsigned saves;
};

enum timer_owner {
	TIMER_OF_CHILD,
	TIMER_OF_SUP,
};

/* policy.c: actions */
struct action *tree_emit(struct tree *tree, enum action_kind kind);
struct action *tree_emit_child(struct child *child, enum action_kind kind);
void tree_report(struct child *child, enum report_context context, enum exit_class exit_class,
	const char *reason);
void tree_reply(struct sup *sup, uint64_t request, enum request_result result,
	const struct child *child, const char *reason);
void tree_note(struct child *child);
void tree_set_now(struct tree *tree, uint64_t now);

/* policy_memory.c: memory and lists */
struct sup *sup_new(struct tree *tree, struct child *self, const struct spec_group *group);
/* Without template and children. */
struct sup *sup_new_empty(
	struct tree *tree, struct child *self, const struct supervisor_flags *flags);
/* Frees the supervisor with all below it, without any action. */
void sup_free(struct sup *sup);
void sup_wake(struct sup *sup);
bool sup_is_simple(const struct sup *sup);
bool sup_is_ending(const struct sup *sup);
struct sup *sup_find(const struct tree *tree, uint64_t instance);
struct child *sup_find_child(const struct sup *sup, const char *id);
/* Appended at the end of the start order. Takes over spec and args on success; -ERR_NO_MEMORY,
 * -ERR_TOO_MANY. */
int sup_child_new(struct sup *sup, struct spec *spec, struct args *args, struct child **ret_child);
/* Not in its supervisor's list yet. Takes over spec and args on success. */
struct child *sup_child_make(struct sup *sup, struct spec *spec, struct args *args);
void sup_child_append(struct sup *sup, struct child *child);
void sup_child_free(struct child *child);
bool sup_child_is_alive(const struct child *child);
bool sup_child_is_temporary(const struct child *child);
struct args *sup_args_ref(struct args *args);
void sup_args_unref(struct tree *tree, struct args *args);
int tree_map_add(struct tree *tree, struct child *child, uint64_t instance);
void tree_map_remove(struct tree *tree, struct child *child);
struct child *tree_map_find(const struct tree *tree, uint64_t instance);
void sup_mail_push(struct sup *sup, struct message *message);
void sup_mail_remove(struct sup *sup, struct message *message);
void sup_request_free(struct tree *tree, struct request *request);

/* policy_step.c: what a supervisor does */
void sup_step(struct sup *sup);
void sup_op_none(struct sup *sup);
/* Starts a new incarnation; op.waiting is set, or op.outcome if it failed at once. */
void sup_child_start(struct sup *sup, struct child *child);
/* As above for a start that holds up nobody. False if it failed at once. */
bool sup_child_start_overlapped(struct sup *sup, struct child *child, uint64_t request);
void sup_child_note(struct child *child);
void sup_child_timer(struct child *child);
/* What the end of a child was, in words. */
void sup_child_describe_exit(
	const struct child *child, enum exit_class exit_class, char *text, size_t size);

/* policy_stop.c: how it ends */
/* Asks an alive child to end by its shutdown rule, or forgets a retry.
 * True: wait until it is gone. */
bool sup_child_stop(struct child *child);
void sup_child_kill(struct child *child);
/* Reports an end that was not as asked (H5). */
void sup_child_check_stop(struct child *child);
void sup_begin_stop(struct sup *sup, const char *reason);
void sup_kill(struct sup *sup);
void sup_step_killed(struct sup *sup);
void sup_step_stop_list(struct sup *sup);
void sup_step_signal_all(struct sup *sup);
void sup_step_wait_all(struct sup *sup);
void sup_step_kill_all(struct sup *sup);
void sup_step_end(struct sup *sup);
void sup_timer(struct sup *sup);

/* policy_request.c, policy_change.c: what it is asked */
void sup_serve(struct sup *sup, struct request *request);
enum request_result sup_change(struct sup *sup, struct spec_group *group);

#endif
