/*
 * The root's children as operating-system processes: made, watched through their pidfds, signalled, reaped. What a death
 * means is not decided here (policy.h), nor what is said to a child (its link's handlers).
 *
 * A child is known by its instance number, which is never used twice; a pid is only ever signalled through the pidfd
 * that was opened before the child could be reaped.
 */
#ifndef GATEHOUSE_CHILD_H
#define GATEHOUSE_CHILD_H

#include "link.h"
#include "programs.h"

#include <sys/types.h>
#include <uthash.h>

enum child_state {
	CHILD_ASKED,    /* the zygote or the launcher was asked to make it; no pid yet */
	CHILD_STARTING, /* it runs, and has not said READY */
	CHILD_RUNNING,
	CHILD_STOPPING, /* told to stop */
};

enum child_filter {
	CHILD_FILTER_UNKNOWN, /* not looked at since it was ready */
	CHILD_FILTER_YES,
	CHILD_FILTER_NO,
};

struct children;
struct kept;

/* What a root that goes on as another program must not forget of it has a row in child_saved.c. */
struct child {
	uint64_t instance;
	/* one after the other, without a gap: the key of children.by_name */
	enum role role;
	char name[LIMIT_SERVER_NAME + 1];
	char label[LIMIT_SERVER_NAME + 1]; /* what it works for, for people: a session's short name */
	enum child_state state;
	pid_t pid;
	int pidfd;          /* -1 while ASKED */
	struct link *link;  /* NULL when it is closed */
	uint64_t born_ms;
	uint64_t replaces;  /* a successor that is not ready yet: whose; else 0 (swap.c) */
	uint64_t stands_for; /* the number of the process whose place it has taken; 0: its own */
	bool replaced;      /* another has its place */
	bool hands_on;      /* when it stops, another goes on with what it had */
	uint64_t parent;    /* instance this one works for (a keeper's upstream worker), or 0 */
	uint32_t stream;    /* of the request that asked for it */
	bool said_ready;
	bool handed;        /* a worker: given to the session manager */
	pid_t server_pid;   /* a keeper: its server's */
	struct kept *kept;  /* a keeper: what is kept of its server (kept.h); NULL: nothing yet */
	uint32_t stop_ms;   /* how long it may take to stop; told to it */
	unsigned unanswered; /* PINGs in a row */
	uint64_t pinged_us;  /* when the first of these was sent */
	uint64_t lag_us;     /* how long the last answer took */
	uint64_t catalogue; /* the newest it was sent: node.catalogues then; 0: none */
	char *reason;       /* what it said before it left (EXIT_REASON); NULL: nothing */
	uint64_t measured_ms; /* when these were read from /proc; 0: never */
	long long rss_bytes;
	unsigned long long cpu_ticks;
	enum child_filter filter; /* of system calls: for good, once it is ready */
	uint64_t epoch;     /* of the node's programs: which it runs, or its maker does */
	struct event *died; /* the pidfd's */
	struct event *late; /* when it is killed if it has not ended by itself */
	uint64_t late_ms;   /* when that is; 0: never */
	bool lost;          /* loaded, and gone before (children_bury) */
	struct children *all;
	UT_hash_handle hh;
	UT_hash_handle hh_name;
	UT_hash_handle hh_pid;
};

struct child_ops {
	/* Reaped: code and status as waitid gave them. Everything the child said is delivered before. The child is freed afterwards. */
	void (*exited)(struct child *child, int code, int status, void *arg);
	/* Handlers of every child's link with the root; their arg is the child. */
	const struct link_handlers *handlers;
};

struct children {
	struct event_base *base;
	const struct child_ops *ops;
	void *arg;
	struct child *by_instance;         /* all, oldest first */
	struct child *by_pid;              /* those that are made */
	struct child *by_name;             /* upstream workers and gateways */
	struct child *singletons[ROLE_MAX];
	struct child *cursor;              /* of whoever walks by_instance in several turns; NULL: at the end */
	unsigned asked;                    /* in state ASKED */
	unsigned total;
	unsigned of_role[ROLE_MAX];
	uint64_t next_instance;
	uint64_t epoch;                    /* of the programs that new ones run */
	uint64_t last_epoch;               /* counts the programs that the node has run */
	pid_t stranger;                    /* a child that is none of these and no orphan either; 0: none */
};

void children_init(struct children *all, struct event_base *base, const struct child_ops *ops, void *arg);
struct child *children_find(struct children *all, uint64_t instance);
/* The running child of a singleton role, or the running upstream worker or gateway of that name; NULL if none. */
struct child *children_find_named(struct children *all, enum role role, const char *name);
/* Does name tell the children of this role apart? */
bool role_is_named(enum role role);
/*
 * A number for a child that the policy does not know (it numbers its own, from 1): still exact as a JSON number.
 */
#define CHILD_INSTANCE_FIRST (UINT64_C(1) << 48)
uint64_t children_next_instance(struct children *all);

/*
 * Fork and execute the role's program with its end of a new link as descriptor 3. instance from children_next_instance.
 * On failure nothing is left.
 */
int child_spawn(struct children *all, enum role role, const char *name, uint64_t instance,
	const struct programs *programs, struct child **ret_child, struct err *err);
/*
 * A child that another process, maker, will make: the record, with our end of its link; *ret_fd is the child's end, for the
 * caller to send and close.
 */
int child_expect(struct children *all, enum role role, const char *name, uint64_t instance, const struct child *maker,
	int *ret_fd, struct child **ret_child, struct err *err);
/* It was made. Takes over pidfd. -ERR_PROTOCOL when it is not a pidfd of a child of ours. */
int child_made(struct child *child, pid_t pid, int pidfd, struct err *err);
/* It could not be made. Frees the child. */
void child_failed(struct child *child);

/* Tell the child to stop, by message if its link is open, else by SIGTERM. */
void child_stop(struct child *child, uint32_t deadline_ms);
void child_kill(struct child *child);
/* Kill it if it is still there after ms. */
void child_kill_later(struct child *child, uint32_t ms);
/* It is not killed after all. */
void child_spare(struct child *child);
/* children_find_named gives this one from now on, and no other of the same role and name. */
void child_take_name(struct child *child);
/* Keep what it said about its end. */
void child_set_reason(struct child *child, struct span reason);
/*
 * Close its link, on which a process ends by itself (a keeper with all its server left behind), and kill it if it still is
 * there after a second.
 */
void child_let_go(struct child *child);

/* Kill and reap processes that came to us as orphans. Returns how many are still there; call again while any is. */
unsigned children_kill_orphans(struct children *all);

/* Fork as the children are made; 0 in the new process. -1 with errno. */
pid_t child_fork(int *ret_pidfd);
/* In a new process: default dispositions, no mask, and of the root's environment what processes of the node get of it. */
void child_begin_anew(void);

/* child_saved.c: the children for the program that takes this one's place, oldest first, and the numbers to be given. */
void children_save(const struct children *all, struct saved_writer *writer);
/*
 * Those that were saved as these values, added to all, with their descriptors, which become theirs. aged: what was saved is
 * not quite what is, since a program went on a moment longer: who has died meanwhile is lost, and a link on which something
 * has changed is not taken up, which ends its process. -ERR_PROTOCOL, -ERR_NO_MEMORY, -ERR_SYSTEM: all is to be given up.
 */
int children_load(struct children *all, struct span saved, bool aged, struct err *err);
/* After children_load, once all else is there: tell of those that were gone already. */
void children_bury(struct children *all);
/* Whether children_load would read these values; nothing is made of them. */
int children_check(struct span saved, struct err *err);
/* For children_load: index it, and watch it. current: it is the one that is found by role and name. */
int child_take_up(struct child *child, bool current, struct err *err);
/* As if it had been killed by SIGKILL. Frees it. */
void child_mourn(struct child *child);

/* "exit 3", "signal 9 (Killed)"; for logs and people. */
void child_describe_exit(int code, int status, char *text, size_t size);

#endif
